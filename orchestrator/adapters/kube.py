"""The Kubernetes API over HTTPS; answers stay plain JSON. Credentials and TLS: see kubeconfig.py.

Paths come from the API's own discovery, asked once per group. Transient errors (429 with Retry-After, 5xx, connection errors,
a kind that is not served yet; for changes also 409) are retried by tenacity within the query's time. Source of the classes: foundation.md 12.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
)

from orchestrator.adapters.kubeconfig import BadKubeconfig, Connection, connect
from orchestrator.adapters.targets import KubeTarget
from orchestrator.model.action import DeleteSelected
from orchestrator.model.data import dataclass
from orchestrator.model.query import Answer, KubeDryRun, KubeGet, KubeList, KubeRaw

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
PAGE = 500  # objects of one page of a list
TRANSIENT = frozenset({429, 500, 502, 503, 504})
AGENT = "bootstrap"
ASK_TRIES = 4  # of one question, within its time
Kube = KubeGet | KubeList | KubeRaw | KubeDryRun


class Transient(Exception):
    """Worth another try: `after` seconds when the server said so."""

    def __init__(self, text: str, *, after: float | None = None, answer: Answer | None = None) -> None:
        super().__init__(text)
        self.after = after
        self.answer = answer


class Unserved(Transient):
    """The API does not serve this kind (yet): its CRD is being installed."""


@dataclass(frozen=True, slots=True)
class _Kind:
    plural: str
    namespaced: bool


class Cluster:
    """One cluster's API. Safe for threads."""

    def __init__(self, target: KubeTarget, *, pause: float) -> None:
        self._target = target
        self._pause = pause
        self._api: Connection | None = None
        self._stamp: tuple[int, int] | None = None
        self._kinds: dict[str, dict[str, _Kind]] = {}
        self._versions: dict[Kube, str] = {}
        self._lock = threading.Lock()
        self._discovering: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def ask(self, query: Kube) -> Answer:
        """Answer a question; nothing that a person has to act on is raised."""
        if not self._target.kubeconfig.exists():
            return Answer(unreachable=f"there is no kubeconfig for {self._target.context} yet")
        retrying = Retrying(retry=retry_if_exception(_worth_asking_again), stop=stop_after_delay(query.within.total_seconds()) | stop_after_attempt(ASK_TRIES), wait=self._wait, reraise=True)
        try:
            return retrying(self._ask, query)
        except Transient as error:
            return error.answer or Answer(unreachable=f"{self._target.context}: {error}")
        except KubeRefused as error:
            return Answer(unreachable=f"{self._target.context}: {error}")

    def apply(self, manifest: Mapping[str, Any], manager: str, within: float) -> dict[str, Any]:
        """Server-side apply. Raises KubeRefused with the server's message."""
        return self._change("PATCH", manifest, within, {"fieldManager": manager, "force": "true"}, manifest, APPLY)

    def delete(self, manifest: Mapping[str, Any], within: float) -> None:
        """Delete an object and wait until it is gone, as kubectl does; one that is not there is fine."""
        meta = manifest["metadata"]

        def gone() -> None:
            status, text, _ = self._request("GET", self._object_path(manifest, within), {}, None, JSON, within)
            if status != 404:
                raise Transient(f"{manifest['kind']} {meta['name']} is still being deleted: {_phase(text)}")

        with suppress(KubeMissing):
            self._change("DELETE", manifest, within, {"propagationPolicy": "Background"}, None, JSON)
            self._retrying(within)(gone)

    def delete_selected(self, action: DeleteSelected, within: float) -> None:
        """Delete all objects of a kind with these labels."""

        def once() -> dict[str, Any]:
            path = self._path(action.api_version, action.kind, action.namespace, None, within)
            return self._checked(self._request("DELETE", path, {"labelSelector": action.labels}, None, JSON, within))

        self._retrying(within)(once)

    def approve(self, name: str, within: float) -> None:
        """Approve a CertificateSigningRequest, as `kubectl certificate approve` does."""
        path = f"/apis/certificates.k8s.io/v1/certificatesigningrequests/{quote(name)}"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {"type": "Approved", "status": "True", "reason": "BootstrapApprove", "message": "kubelet of a node of the inventory", "lastUpdateTime": now}

        def put() -> None:
            found = self._checked(self._request("GET", path, {}, None, JSON, within))
            held = found.setdefault("status", {}).get("conditions", [])
            if not any(one.get("type") == "Approved" for one in held):
                found["status"]["conditions"] = [*held, condition]
                self._checked(self._request("PUT", f"{path}/approval", {}, found, JSON, within))

        self._retrying(within)(put)

    def watch(self, query: KubeGet | KubeList, stop: Callable[[], bool], seconds: float) -> bool:
        """Wait until what `query` asks about changes. False at once where no watch serves."""
        version = self._versions.get(query)
        if not version:
            return False
        try:
            path = self._path(query.api_version, query.kind, query.namespace, None, 5.0)
            for event in self._events(path, _selector(query, version, seconds), seconds):
                if stop() or event.get("type") != "BOOKMARK":
                    self._versions.pop(query, None)
                    return True
        except (Transient, KubeRefused):
            return False
        return True

    def _ask(self, query: Kube) -> Answer:
        within = query.within.total_seconds()
        if isinstance(query, KubeRaw):
            reply = self._request("GET", query.path, {}, None, "*/*", within)
            return Answer(status=reply[0], stdout=reply[1], body=_json(reply[1]))
        if isinstance(query, KubeList):
            return self._list(query, within)
        if isinstance(query, KubeGet):
            path = self._path(query.api_version, query.kind, query.namespace, query.name, within)
            answer = _answer(self._request("GET", path, {}, None, JSON, within))
            self._versions[query] = _version(answer.body)
            return answer
        manifest = query.object
        path = self._object_path(manifest, within)
        live = _answer(self._request("GET", path, {}, None, JSON, within))
        params = {"fieldManager": query.field_manager, "force": "true", "dryRun": "All"}
        would = _answer(self._request("PATCH", path, params, manifest, APPLY, within))
        return Answer(status=would.status, body=would.body, extra={"live": live.body if live.status == 200 else None})

    def _list(self, query: KubeList, within: float) -> Answer:
        path = self._path(query.api_version, query.kind, query.namespace, None, within)
        items: list[Any] = []
        params = {"limit": str(PAGE)} | ({"labelSelector": query.labels} if query.labels else {}) | ({"fieldSelector": query.fields} if query.fields else {})
        while True:
            answer = _answer(self._request("GET", path, params, None, JSON, within))
            if answer.status != 200 or not isinstance(answer.body, dict):
                return answer
            items += answer.body.get("items") or []
            more = answer.body.get("metadata", {}).get("continue")
            if not more:
                self._versions[query] = _version(answer.body)
                return Answer(status=200, body=answer.body | {"items": items})
            params["continue"] = more

    def _change(self, method: str, manifest: Mapping[str, Any], within: float, params: dict[str, str], body: Any, kind: str) -> dict[str, Any]:
        def once() -> dict[str, Any]:
            return self._checked(self._request(method, self._object_path(manifest, within), params, body, kind, within))

        found: dict[str, Any] = self._retrying(within)(once)
        return found

    def _checked(self, reply: tuple[int, str, Mapping[str, str]]) -> dict[str, Any]:
        status, text, _ = reply
        body = _json(text)
        if status < 300:
            return body if isinstance(body, dict) else {}
        message = body.get("message", text) if isinstance(body, dict) else text
        if status == 409:  # somebody else wrote in between: the same wish fits what is there now
            raise Transient(f"HTTP 409: {message}")
        raise (KubeMissing if status == 404 else KubeRefused)(f"HTTP {status}: {message}")

    def _object_path(self, manifest: Mapping[str, Any], within: float) -> str:
        meta = manifest["metadata"]
        return self._path(manifest["apiVersion"], manifest["kind"], meta.get("namespace"), meta["name"], within)

    def _path(self, api_version: str, kind: str, namespace: str | None, name: str | None, within: float) -> str:
        found = self._kind(api_version, kind, within)
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        scope = f"/namespaces/{quote(namespace)}" if namespace and found.namespaced else ""
        return f"{root}{scope}/{found.plural}" + (f"/{quote(name)}" if name else "")

    def _kind(self, api_version: str, kind: str, within: float) -> _Kind:
        found = self._kinds.get(api_version, {})
        if kind not in found:
            found = self._discovered(api_version, kind, within)
        if kind not in found:
            message = f'no matches for kind "{kind}" in version "{api_version}"'
            raise Unserved(message, answer=Answer(status=404, body={"message": message, "reason": "NotFound"}, extra={"unserved": True}))
        return found[kind]

    def _discovered(self, api_version: str, kind: str, within: float) -> dict[str, _Kind]:
        """Many threads begin with the same group: one asks, the others wait for its answer. Where it got none, each asks by itself."""
        asking = self._discovering[api_version]
        if asking.acquire(blocking=False):
            try:
                return self._discover(api_version, within)
            finally:
                asking.release()
        with asking:
            known = self._kinds.get(api_version, {})
        return known if kind in known else self._discover(api_version, within)

    def _discover(self, api_version: str, within: float) -> dict[str, _Kind]:
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        status, text, _ = self._request("GET", root, {}, None, JSON, within)
        body = _json(text)
        if status in (401, 403):
            raise KubeRefused(f"HTTP {status}: {body.get('message', '') if isinstance(body, dict) else text}")
        rows = body.get("resources", []) if status == 200 and isinstance(body, dict) else []
        found = {row["kind"]: _Kind(row["name"], row["namespaced"]) for row in rows if "/" not in row["name"]}
        self._kinds[api_version] = found
        return found

    def _request(self, method: str, path: str, params: Mapping[str, str], body: Any, content: str, within: float) -> tuple[int, str, Mapping[str, str]]:
        headers = {"Accept": JSON if content != "*/*" else "*/*", "User-Agent": AGENT} | ({"Content-Type": content} if body is not None else {})
        data = None if body is None else json.dumps(body, default=str)
        reply = self._send(method, path, params, headers, data, within, stream=False)
        status, text = int(reply.status), reply.data.decode("utf-8", "backslashreplace")
        if status in TRANSIENT and not (status == 500 and content == "*/*"):
            after = reply.headers.get("Retry-After", "")
            raise Transient(f"HTTP {status}: {_message(text)}", after=float(after) if after.isdigit() else None, answer=_answer((status, text, {})) if status != 429 else None)
        return status, text, dict(reply.headers)

    def _send(self, method: str, path: str, params: Mapping[str, str], headers: Mapping[str, str], data: str | None, within: float, *, stream: bool) -> Any:
        import urllib3

        api = self._connected()
        url = api.host + path + (f"?{urlencode(params)}" if params else "")
        sent = {**headers, **api.headers()}
        timeout = urllib3.Timeout(connect=min(5.0, within), read=within)
        try:
            return api.pool.request(method, url, headers=sent, body=data, timeout=timeout, retries=False, preload_content=not stream)
        except urllib3.exceptions.SSLError as error:
            raise KubeRefused(f"TLS: {error}") from error
        except urllib3.exceptions.HTTPError as error:
            raise Transient(_why(error)) from error

    def _connected(self) -> Connection:
        """The connection of the kubeconfig as it is now; made anew when the file changed."""
        facts = self._target.kubeconfig.stat()
        stamp = (facts.st_mtime_ns, facts.st_size)
        with self._lock:
            if self._api is None or stamp != self._stamp:
                try:
                    self._api = connect(self._target.kubeconfig, self._target.context)
                except BadKubeconfig as error:
                    raise KubeRefused(f"the kubeconfig cannot be used: {error}") from error
                self._stamp = stamp
                self._kinds.clear()
            return self._api

    def _events(self, path: str, params: Mapping[str, str], seconds: float) -> Iterator[dict[str, Any]]:
        import urllib3

        reply = self._send("GET", path, params, {"Accept": JSON, "User-Agent": AGENT}, None, seconds + 5.0, stream=True)
        try:
            if reply.status != 200:
                raise Transient(f"HTTP {reply.status}")
            rest = b""
            for chunk in reply.stream(1 << 16, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event.get("type") == "ERROR":
                        raise Transient(str(event.get("object", {}).get("message", "watch ended")))
                    yield event
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise Transient(f"the watch was cut: {error.__class__.__name__}") from error
        finally:
            reply.close()

    def _retrying(self, within: float) -> Retrying:
        return Retrying(retry=retry_if_exception_type(Transient), stop=stop_after_delay(within), wait=self._wait, reraise=True)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        told = error.after if isinstance(error, Transient) and error.after is not None else None
        return told if told is not None else min(self._pause * 2 ** min(state.attempt_number - 1, 4), 5.0)


def _worth_asking_again(error: BaseException) -> bool:
    """A server that is there and says "later". One that is not there is asked again by whoever waits for it."""
    return isinstance(error, Transient) and not isinstance(error, Unserved) and (error.answer is not None or error.after is not None)


class KubeRefused(Exception):
    """The API said no: its message."""


class KubeMissing(KubeRefused):
    """404."""


def encode_secret(manifest: dict[str, Any], path: Sequence[str], value: str) -> None:
    """Put a secret into a manifest; what stands under `data` of a Secret is base64."""
    place = manifest
    for part in path[:-1]:
        place = place.setdefault(part, {})
    plain = path[0] != "data"
    place[path[-1]] = value if plain else base64.b64encode(value.encode()).decode()


def _answer(reply: tuple[int, str, Mapping[str, str]]) -> Answer:
    return Answer(status=reply[0], body=_json(reply[1]), stdout="")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _phase(text: str) -> str:
    """What keeps an object, where it says so."""
    body = _json(text)
    status = body.get("status", {}) if isinstance(body, dict) else {}
    told = [one.get("message", "") for one in status.get("conditions") or () if one.get("status") == "True"]
    return "; ".join(filter(None, told)) or str(status.get("phase", "finalizers are at work"))


def _message(text: str) -> str:
    body = _json(text)
    return str(body.get("message", text)) if isinstance(body, dict) else text.strip()[:200]


def _version(body: Any) -> str:
    return str(body.get("metadata", {}).get("resourceVersion", "")) if isinstance(body, dict) else ""


def _selector(query: KubeGet | KubeList, version: str, seconds: float) -> dict[str, str]:
    params = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(max(1, int(seconds))), "allowWatchBookmarks": "true"}
    fields = f"metadata.name={query.name}" if isinstance(query, KubeGet) else query.fields
    labels = "" if isinstance(query, KubeGet) else query.labels
    return params | ({"fieldSelector": fields} if fields else {}) | ({"labelSelector": labels} if labels else {})


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    text = str(reason)
    return text.rsplit(": ", 1)[-1] if ": " in text else text


def pause_of(poll: float) -> float:
    """The first pause between two tries of one query, from the site's poll."""
    return min(max(poll / 10, 0.02), 0.5)

