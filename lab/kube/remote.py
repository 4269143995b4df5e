"""The port over HTTPS: the lab's controllers on any Kubernetes API, a real control plane included.

A small HTTP/1.1 client on asyncio streams, so that controllers stay on one loop and need no package. Connections are kept and used
again; a watch has its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import yaml

from lab.kube.pki import KeyPair, load_pair
from lab.kube.port import KubeError, Object, Objects, Patch

JSON = "application/json"
PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
APPLY = "application/apply-patch+yaml"
WATCH_SECONDS = 300  # what client-go's reflectors ask for at least; a watch that ends is taken up where it was
LINE_LIMIT_BYTES = 16 << 20  # an event holds a whole object, and etcd takes 1.5 MiB of those

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RemotePort:
    """A KubePort on a server elsewhere. Raises OSError where it cannot be reached."""

    def __init__(
        self,
        server: str,
        tls: ssl.SSLContext | None,
        *,
        token: str = "",
        user_agent: str = "lab",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        url = urlsplit(server)
        self._host, self._port = url.hostname or "127.0.0.1", url.port or 443
        self._tls = tls
        self._head = f"Host: {self._host}:{self._port}\r\nUser-Agent: {user_agent}\r\nAccept: {JSON}\r\n"
        self._head += f"Authorization: Bearer {token}\r\n" if token else ""
        self._head += "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._idle: list[Stream] = []

    @classmethod
    def from_kubeconfig(cls, text: str, context: str = "", *, user_agent: str = "lab") -> Self:
        """From a kubeconfig with embedded credentials. Raises KeyError where a part is missing."""
        config = yaml.safe_load(text)
        chosen = _named(config["contexts"], context or config["current-context"])["context"]
        cluster = _named(config["clusters"], chosen["cluster"])["cluster"]
        user = _named(config["users"], chosen["user"])["user"]
        tls = None
        if cluster["server"].startswith("https:"):
            tls = ssl.create_default_context(cadata=_plain(cluster["certificate-authority-data"]))
            if "client-certificate-data" in user:
                pair = KeyPair(_plain(user["client-certificate-data"]), _plain(user["client-key-data"]))
                load_pair(tls, pair)
        return cls(cluster["server"], tls, token=user.get("token", ""), user_agent=user_agent)

    async def close(self) -> None:
        """Close what is idle."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def raw(self, path: str) -> Object:
        """GET of any path; what is not JSON is in `message`. Raises KubeError, OSError."""
        return await self._send("GET", path)

    # the port -----------------------------------------------------------------------------------------------------
    async def get(self, gvr: str, name: str, namespace: str = "") -> Object | None:
        """See KubePort."""
        try:
            return await self._send("GET", path_of(gvr, namespace, name))
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self, gvr: str, namespace: str = "", labels: str = "", fields: str = "", *, shared: bool = False
    ) -> tuple[Objects, str]:
        """See KubePort; read in pages."""
        found: Objects = []
        query = {"limit": "500", "labelSelector": labels, "fieldSelector": fields, "continue": ""}
        while True:
            page = await self._send("GET", path_of(gvr, namespace), query)
            api_version, kind = page["apiVersion"], page["kind"].removesuffix("List")
            found += [{"apiVersion": api_version, "kind": kind, **item} for item in page.get("items") or ()]
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return found, str(page["metadata"]["resourceVersion"])

    async def watch(self, gvr: str, namespace: str = "", since: str = "") -> AsyncIterator[tuple[str, Object]]:
        """See KubePort. A watch that the server ends is taken up again; a version that is gone raises KubeError 410."""
        if not since:
            objects, since = await self.list(gvr, namespace)
            for obj in objects:
                yield "ADDED", obj
        while True:
            query = {
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": since,
                "timeoutSeconds": str(WATCH_SECONDS),
            }
            async for event in self._lines(path_of(gvr, namespace), query):
                if event["type"] == "ERROR":
                    raise _error(event["object"].get("code", 500), event["object"])
                since = event["object"]["metadata"]["resourceVersion"]
                yield event["type"], event["object"]

    async def create(self, gvr: str, obj: Object, namespace: str = "", subresource: str = "") -> Object:
        """See KubePort."""
        meta = obj.get("metadata") or {}
        name = meta["name"] if subresource else ""
        path = path_of(gvr, namespace or meta.get("namespace", ""), name, subresource)
        return await self._send("POST", path, body=obj)

    async def update(self, gvr: str, obj: Object, subresource: str = "") -> Object:
        """See KubePort."""
        meta = obj["metadata"]
        return await self._send("PUT", path_of(gvr, meta.get("namespace", ""), meta["name"], subresource), body=obj)

    async def patch(
        self, gvr: str, name: str, patch: Patch, namespace: str = "", subresource: str = "", kind: str = "merge"
    ) -> Object:
        """See KubePort."""
        return await self._send("PATCH", path_of(gvr, namespace, name, subresource), body=patch, media=PATCHES[kind])

    async def apply(self, gvr: str, obj: Object, manager: str, force: bool = True, subresource: str = "") -> Object:
        """See KubePort."""
        meta = obj["metadata"]
        query = {"fieldManager": manager, "force": str(force).lower()}
        path = path_of(gvr, meta.get("namespace", ""), meta["name"], subresource)
        return await self._send("PATCH", path, query, body=obj, media=APPLY)

    async def delete(
        self, gvr: str, name: str, namespace: str = "", propagation: str = "Background", grace: int | None = None
    ) -> None:
        """See KubePort."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        options |= {} if grace is None else {"gracePeriodSeconds": grace}
        await self._send("DELETE", path_of(gvr, namespace, name), body=options)

    # HTTP -----------------------------------------------------------------------------------------------------------
    async def _send(
        self, method: str, path: str, query: Mapping[str, str] | None = None, *, body: Any = None, media: str = JSON
    ) -> Object:
        """One request; a kept connection that has been closed meanwhile is replaced, before anything was answered."""
        request = self._request(method, path, query, body, media)
        while True:
            kept_stream = self._kept()
            kept = kept_stream is not None
            stream = kept_stream or await self._open()
            try:
                stream[1].write(request)
                status, headers = await _head(stream[0])
                content = await _body(stream[0], headers)
            except (OSError, asyncio.IncompleteReadError) as error:
                stream[1].close()
                if kept and method == "GET":
                    continue
                raise ConnectionError(f"{method} {path}: the server went away") from error
            if headers.get("connection", "").lower() == "close":
                stream[1].close()
            else:
                self._idle.append(stream)
            answer = (
                json.loads(content)
                if JSON in headers.get("content-type", "")
                else {"message": content.decode(errors="replace")}
            )
            if status >= 400:
                raise _error(status, answer)
            return dict(answer)

    def _request(self, method: str, path: str, query: Mapping[str, str] | None, body: Any, media: str) -> bytes:
        wanted = {key: value for key, value in (query or {}).items() if value}
        target = f"{path}?{urlencode(wanted)}" if wanted else path
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\n{self._head}"
        if body is not None:
            head += f"Content-Type: {media}\r\nContent-Length: {len(content)}\r\n"
        return head.encode() + b"\r\n" + content

    def _kept(self) -> Stream | None:
        """An idle connection that the server has not closed meanwhile, or None."""
        while self._idle:
            stream = self._idle.pop()
            if not stream[0].at_eof() and not stream[1].is_closing():
                return stream
            stream[1].close()
        return None

    async def _open(self) -> Stream:
        return await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=LINE_LIMIT_BYTES)

    async def _lines(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Any]:
        """The events of one watch, until the server ends it."""
        reader, writer = await self._open()
        try:
            writer.write(self._request("GET", path, query, None, JSON))
            status, headers = await _head(reader)
            if status >= 400:
                content = await _body(reader, headers)
                raise _error(status, json.loads(content) if content[:1] == b"{" else {})
            rest = b""
            while chunk := await _chunk(reader):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)
        except asyncio.IncompleteReadError as error:
            raise ConnectionError(f"watch of {path}: the connection was cut") from error
        finally:
            writer.close()


def path_of(gvr: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The URL path of a resource, an object or a subresource."""
    api, _, plural = gvr.rpartition("/")
    parts = ["/apis" if "/" in api else "/api", api]
    parts += ["namespaces", quote(namespace)] if namespace else []
    parts += [part for part in (plural, quote(name, safe=":"), subresource) if part]
    return "/".join(parts)


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = raw[:-4].split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(first.split(" ")[1]), headers


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while part := await _chunk(reader):
            parts.append(part)
        return b"".join(parts)
    return await reader.readexactly(int(headers.get("content-length", "0")))


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    """The next chunk, or nothing at the end."""
    size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
    data = await reader.readexactly(size)
    await reader.readexactly(2)
    return data


def _error(status: int, answer: Mapping[str, Any]) -> KubeError:
    return KubeError(status, answer.get("reason", ""), answer.get("message", ""), answer.get("details"))


def _named(entries: Objects, name: str) -> Object:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise KeyError(name)


def _plain(text: str) -> str:
    return base64.b64decode(text).decode()
