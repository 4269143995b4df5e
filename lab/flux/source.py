"""source-controller: fetches Git repositories, charts and their indexes, and keeps them as artifacts.

Source: github.com/fluxcd/source-controller v1.7.4 internal/controller.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from lab.clock import Clock
from lab.ctl.base import Informers, Keys, key_of
from lab.flux.common import (
    GIT,
    GVRS,
    PODS,
    SECRETS,
    Artifacts,
    Flux,
    Object,
    Remote,
    condition,
    conditions,
    digest,
    requested,
    seconds,
    stamp,
)
from lab.helm import catalog
from lab.helm.charts import Chart, ChartError, load_folder_files
from lab.kube.port import KubePort

IGNORED = (".git/", ".github/", ".circleci/")
IGNORED_NAMES = (".gitignore", ".gitmodules", ".gitattributes", ".travis.yml", ".gitlab-ci.yml", "appveyor.yml", ".drone.yml", "cloudbuild.yaml", "codeship-services.yml", "codeship-steps.yml", ".goreleaser.yml", ".sops.yaml", ".flux.yaml")  # fmt: skip
IGNORED_ENDS = (".jpg", ".jpeg", ".gif", ".png", ".wmv", ".flv", ".tar.gz", ".zip")


class FetchError(Exception):
    """A source that cannot be had: reason and message of its conditions."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def secret_value(secret: Mapping[str, Any], key: str) -> str:
    """A decoded key of a Secret; empty where it is not there."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(key, "")).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def kept(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """What of a repository gets into an artifact."""
    return {
        path: data
        for path, data in files.items()
        if not path.startswith(IGNORED) and path.rsplit("/", 1)[-1] not in IGNORED_NAMES and not path.endswith(IGNORED_ENDS)
    }


class Sources(Flux):
    """All kinds of sources. Keys are "Kind/namespace/name"."""

    name: ClassVar[str] = "flux-source"
    component: ClassVar[str] = "source-controller"
    app = "source-controller"
    parallel: ClassVar[int] = 2

    def __init__(self, port: KubePort, clock: Clock, informers: Informers, artifacts: Artifacts, remote: Remote | None) -> None:
        super().__init__(port, clock, informers)
        self.artifacts, self.remote = artifacts, remote

    def watches(self) -> Mapping[str, Keys]:
        own: dict[str, Keys] = {gvr: self._key(kind) for kind, gvr in GVRS.items()}
        return own | {PODS: lambda p: self._all() if (p["metadata"].get("labels") or {}).get("app") == self.app else ()}

    @staticmethod
    def _key(kind: str) -> Keys:
        return lambda obj: (f"{kind}/{key_of(obj)}",)

    def _all(self) -> Iterable[str]:
        return tuple(f"{kind}/{key_of(obj)}" for kind, gvr in GVRS.items() for obj in self.informers.of(gvr).values())

    def pushed(self) -> None:
        """A branch moved: sources see it at their next turn, which a push does not hasten."""
        for obj in self.informers.of(GIT).values():
            self.hasten(f"GitRepository/{key_of(obj)}", self._next_look(obj))

    def _next_look(self, obj: Object) -> float:
        """Seconds until its turn comes within its interval."""
        return self._random.uniform(0.2, 1.0) * seconds(obj["spec"].get("interval"), 60.0)

    def memory(self) -> Object:
        files = [[*place, revision] for place, (revision, _) in self.artifacts.files.items()]
        charts = [[*place, *origin] for place, (origin, _) in self.artifacts.charts.items()]
        return super().memory() | {"files": files, "charts": charts}

    def recall(self, memory: Object) -> None:
        super().recall(memory)
        for kind, namespace, name, revision in memory["files"]:
            if self.remote is not None:
                self.artifacts.files[kind, namespace, name] = (revision, kept(self.remote.tree(revision.rpartition(":")[2])))
        for namespace, name, *origin in memory["charts"]:
            self.artifacts.charts[namespace, name] = (tuple(origin), self._made(*origin))

    async def reconcile(self, key: str) -> float | None:
        kind, _, rest = key.partition("/")
        gvr = GVRS[kind]
        obj = self.informers.of(gvr).get(rest)
        if obj is None:
            self.forget(key)
            self.artifacts.files.pop((kind, *rest.split("/")), None)  # type: ignore[arg-type]  # namespace and name
            return None
        if not self.up:
            return None
        if obj["metadata"].get("deletionTimestamp"):
            await self.drop_finalizer(gvr, obj)
            return None
        if obj["spec"].get("suspend"):
            return None
        if kind == "HelmRepository" and obj["spec"].get("type") == "oci":
            return None
        facts = self._facts(kind, obj)
        wait = self.due(key, facts)
        if wait:
            return wait
        obj = await self.ensure_finalizer(gvr, obj)
        return await self._fetch(kind, gvr, key, obj, facts)

    def _facts(self, kind: str, obj: Object) -> Any:
        meta = obj["metadata"]
        facts: list[Any] = [meta.get("generation"), requested(obj), meta["uid"]]
        if kind == "HelmChart":
            source = self._source_of(obj)
            facts.append(((source or {}).get("status") or {}).get("artifact", {}).get("revision"))
        return tuple(facts)

    def _source_of(self, chart: Object) -> Object | None:
        ref = chart["spec"]["sourceRef"]
        return self.informers.of(GVRS.get(ref["kind"], GIT)).get(f"{chart['metadata']['namespace']}/{ref['name']}")

    async def _fetch(self, kind: str, gvr: str, key: str, obj: Object, facts: Any) -> float:
        interval = seconds(obj["spec"].get("interval"), 60.0)
        now = stamp(self.clock)
        handled = {"lastHandledReconcileAt": requested(obj)} if requested(obj) else {}
        try:
            artifact, message, extra = await self._content(kind, obj)
        except FetchError as error:
            wanted = [("Ready", "False", error.reason, str(error)), ("FetchFailed", "True", error.reason, str(error))]
            wanted.append(("Reconciling", "True", "ProgressingWithRetry", "reconciliation in progress"))
            await self.write(gvr, obj, {"conditions": conditions(obj, wanted, now), "observedGeneration": (obj.get("status") or {}).get("observedGeneration", -1), **handled})
            self.events.emit(obj, error.reason, str(error), "Warning")
            return self.settle(key, facts, min(interval, 30.0))
        fresh = ((obj.get("status") or {}).get("artifact") or {}).get("revision") != artifact["revision"]
        reason = "ChartPullSucceeded" if kind == "HelmChart" else "Succeeded"
        wanted = [("Ready", "True", reason, message), ("ArtifactInStorage", "True", "Succeeded", message)]
        status = {"conditions": conditions(obj, wanted, now, drop=("FetchFailed", "Reconciling", "Stalled", "StorageOperationFailed")), "observedGeneration": obj["metadata"].get("generation", 1), **handled, **extra}
        if fresh:
            status["artifact"] = artifact
        await self.write(gvr, obj, status)
        if fresh:
            self.events.emit(obj, "NewArtifact", f"stored artifact for {'commit' if kind == 'GitRepository' else 'revision'} '{artifact['revision']}'")
        moved = kind == "GitRepository" and self.remote is not None and not artifact["revision"].endswith(self.remote.head(_branch(obj)))
        return self.settle(key, facts, self._next_look(obj) if moved else self.periodic(interval))  # moved: a push came while it was fetched

    async def _content(self, kind: str, obj: Object) -> tuple[Object, str, Object]:
        if kind == "GitRepository":
            return await self._git(obj)
        if kind == "HelmRepository":
            return self._index(obj)
        if kind == "HelmChart":
            return await self._chart(obj)
        return self._oci(obj)

    def _artifact(self, kind: str, obj: Object, revision: str, content: str, size: int, file: str) -> Object:
        meta = obj["metadata"]
        path = f"{kind.lower()}/{meta['namespace']}/{meta['name']}/{file}"
        return {"digest": content, "lastUpdateTime": stamp(self.clock), "path": path, "revision": revision, "size": size, "url": f"http://source-controller.flux-system.svc.cluster.local./{path}"}

    async def _git(self, obj: Object) -> tuple[Object, str, Object]:
        spec, meta = obj["spec"], obj["metadata"]
        url, branch = spec["url"], _branch(obj)
        token, key = await self._credentials(obj)
        await self.clock.sleep(self._random.uniform(0.5, 2.0))
        clone = f"failed to checkout and determine revision: unable to clone '{url}': "
        if self.remote is None or not self.remote.exists or not same_repository(url, self.remote):
            raise FetchError("GitOperationFailed", clone + ("repository not found" if self.remote is not None else "dial tcp: no such host"))
        try:
            head, files = await self.remote.fetch(branch, token=token, key=key)
        except Exception as error:  # DeniedError of the remote, or whatever it says instead of an answer
            text = str(error)
            denied = "authentication" in text.lower() or "denied" in text.lower()
            raise FetchError("GitOperationFailed", clone + ("authentication required" if denied else text)) from error
        if not head:
            raise FetchError("GitOperationFailed", f"failed to checkout and determine revision: unable to clone '{url}': couldn't find remote ref \"refs/heads/{branch}\"")
        wanted = kept(files)
        revision = f"{branch}@sha1:{head}"
        self.artifacts.files["GitRepository", meta["namespace"], meta["name"]] = (revision, wanted)
        size = sum(len(d) for d in wanted.values())
        return self._artifact("GitRepository", obj, revision, digest(wanted), size, f"{head}.tar.gz"), f"stored artifact for revision '{revision}'", {}

    async def _credentials(self, obj: Object) -> tuple[str, str]:
        """(token, public key) of the source's Secret."""
        ref = obj["spec"].get("secretRef")
        if not ref:
            return "", ""
        namespace = obj["metadata"]["namespace"]
        secret = await self.port.get(SECRETS, ref["name"], namespace)
        if secret is None:
            raise FetchError("AuthenticationFailed", f"failed to configure authentication options: secrets \"{ref['name']}\" not found")
        return secret_value(secret, "password") or secret_value(secret, "bearerToken"), secret_value(secret, "identity.pub")

    def _index(self, obj: Object) -> tuple[Object, str, Object]:
        url = obj["spec"]["url"]
        try:
            offers = catalog.index(url)
        except ChartError as error:
            text = str(error).partition("Get ")[2]
            raise FetchError("Failed", f"failed to fetch Helm repository index: failed to cache index to temporary file: Get {text}") from error
        content = hashlib.sha256("\n".join(f"{o.name} {v}" for o in offers for v in o.versions).encode()).hexdigest()
        revision = f"sha256:{content}"
        return self._artifact("HelmRepository", obj, revision, revision, 4096, f"index-{content}.yaml"), f"stored artifact: revision '{revision}'", {"url": ""}

    async def _chart(self, obj: Object) -> tuple[Object, str, Object]:
        spec, meta = obj["spec"], obj["metadata"]
        source = self._source_of(obj)
        ref = spec["sourceRef"]
        if source is None:
            raise FetchError("SourceUnavailable", f"failed to get source: {GVRS[ref['kind']].rsplit('/', 1)[1]}.source.toolkit.fluxcd.io \"{ref['name']}\" not found")
        oci = source["spec"].get("type") == "oci"
        if not oci and not (source.get("status") or {}).get("artifact"):
            raise FetchError("NoSourceArtifact", f"no artifact available for {ref['kind']} source '{ref['name']}'")
        try:
            origin = self._origin(spec, ref["kind"], source, oci=oci)
            made = self._made(*origin)
        except ChartError as error:
            raise FetchError("ChartPullError", f"chart pull error: failed to get chart version for remote reference: {error}") from error
        self.artifacts.charts[meta["namespace"], meta["name"]] = (origin, made)
        await self.clock.sleep(self._random.uniform(0.5, 2.0))
        content = f"sha256:{hashlib.sha256(f'{made.name}-{made.version}'.encode()).hexdigest()}"
        message = f"pulled '{made.name}' chart with version '{made.version}'" if ref["kind"] == "HelmRepository" else f"packaged '{made.name}' chart with version '{made.version}'"
        extra = {"observedChartName": made.name, "observedSourceArtifactRevision": ((source.get("status") or {}).get("artifact") or {}).get("revision", "")}
        return self._artifact("HelmChart", obj, made.version, content, 200_000, f"{made.name}-{made.version}.tgz"), message, extra

    @staticmethod
    def _origin(spec: Object, kind: str, source: Object, *, oci: bool) -> tuple[str, ...]:
        """Where a HelmChart's chart is from: a registry, a repository or a folder of a source."""
        if kind == "HelmRepository":
            url, version = source["spec"]["url"], str(spec.get("version", "*"))
            version = "" if version == "*" else version
            return ("registry", f"{url.rstrip('/')}/{spec['chart']}", version) if oci else ("repository", url, spec["chart"], version)
        meta = source["metadata"]
        folder = spec["chart"].removeprefix("./").strip("/") + "/"
        return ("folder", kind, meta["namespace"], meta["name"], source["status"]["artifact"]["revision"], folder)

    def _made(self, how: str, *where: str) -> Chart:
        """The chart that is there. Raises ChartError."""
        if how == "registry":
            return catalog.from_registry(where[0], where[1])
        if how == "repository":
            return catalog.from_repository(where[0], where[1], where[2])
        kind, namespace, name, revision, folder = where
        files = self.artifacts.of(kind, namespace, name, revision) or {}
        return load_folder_files({p.removeprefix(folder): d for p, d in files.items() if p.startswith(folder)})

    def _oci(self, obj: Object) -> tuple[Object, str, Object]:
        spec, meta = obj["spec"], obj["metadata"]
        ref = spec.get("ref") or {}
        tag = ref.get("tag") or ref.get("semver") or "latest"
        origin = ("registry", spec["url"], "" if tag == "latest" else tag)
        try:
            made = self._made(*origin)
        except ChartError as error:
            raise FetchError("OCIArtifactPullFailed", f"failed to pull artifact from '{spec['url']}': {error}") from error
        content = f"sha256:{hashlib.sha256(f'{made.name}-{made.version}'.encode()).hexdigest()}"
        revision = f"{made.version}@{content}"
        self.artifacts.charts[meta["namespace"], f"oci/{meta['name']}"] = (origin, made)
        return self._artifact("OCIRepository", obj, revision, content, 200_000, f"{content.removeprefix('sha256:')}.tar.gz"), f"stored artifact for digest '{revision}'", {}


def _branch(obj: Mapping[str, Any]) -> str:
    ref = obj["spec"].get("ref") or {}
    return str(ref.get("branch") or (ref.get("name") or "").removeprefix("refs/heads/") or "master")


def same_repository(url: str, remote: Remote) -> bool:
    """Whether a URL means the world's repository: by owner and name, whatever host it was written with."""
    path = url.removesuffix("/").removesuffix(".git").replace(":", "/").split("/")
    return path[-2:] == [remote.owner, remote.repository]


def is_ready(obj: Mapping[str, Any]) -> bool:
    """Ready at its generation."""
    ready = condition(obj, "Ready")
    return ready.get("status") == "True" and ready.get("observedGeneration", 0) >= obj["metadata"].get("generation", 1)

