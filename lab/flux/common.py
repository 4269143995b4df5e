"""What Flux' controllers share: who runs, artifacts, conditions, durations, requests to reconcile."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lab.clock import Clock
from lab.ctl.base import Controller, Informers
from lab.kube.port import KubeError, KubePort

Object = dict[str, Any]

PODS, SECRETS, CONFIGMAPS = "v1/pods", "v1/secrets", "v1/configmaps"
SOURCE = "source.toolkit.fluxcd.io/v1"
GIT, HELM_REPO, CHARTS, OCI = f"{SOURCE}/gitrepositories", f"{SOURCE}/helmrepositories", f"{SOURCE}/helmcharts", f"{SOURCE}/ocirepositories"
KUSTOMIZATIONS = "kustomize.toolkit.fluxcd.io/v1/kustomizations"
RELEASES = "helm.toolkit.fluxcd.io/v2/helmreleases"
FINALIZER = "finalizers.fluxcd.io"
REQUESTED = "reconcile.fluxcd.io/requestedAt"
WALL_FLOOR = 8.0  # wall seconds: periodic work is not done more often, however fast the clock runs
GVRS = {"GitRepository": GIT, "HelmRepository": HELM_REPO, "HelmChart": CHARTS, "OCIRepository": OCI}


class Remote(Protocol):
    """The Git remote, as source-controller reaches it (lab.gitremote.GitRemote has it)."""

    owner: str
    repository: str
    on_push: list[Any]

    @property
    def exists(self) -> bool: ...
    def head(self, branch: str = "") -> str: ...
    def allows(self, need: Any, *, token: str = "", key: str = "") -> bool: ...
    def tree(self, commit: str) -> dict[str, bytes]: ...
    async def fetch(self, branch: str = "", *, token: str = "", key: str = "") -> tuple[str, dict[str, bytes]]: ...


@dataclass(slots=True)
class Artifacts:
    """What source-controller keeps in its /data: (kind, namespace, name) -> (revision, content). Gone with the process."""

    files: dict[tuple[str, str, str], tuple[str, Mapping[str, bytes]]] = field(default_factory=dict)
    charts: dict[tuple[str, str], tuple[tuple[str, ...], Any]] = field(default_factory=dict)
    """(namespace, name) -> (where the chart is from, the chart)"""

    def of(self, kind: str, namespace: str, name: str, revision: str) -> Mapping[str, bytes] | None:
        """The files of a source at a revision; None where they are not kept (any more)."""
        have = self.files.get((kind, namespace, name))
        return have[1] if have and have[0] == revision else None


def running(informers: Informers, app: str) -> bool:
    """Whether a controller of Flux has a ready pod, in any namespace."""
    for pod in informers.of(PODS).values():
        mine = (pod["metadata"].get("labels") or {}).get("app") == app and not pod["metadata"].get("deletionTimestamp")
        if mine and any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions") or ()):
            return True
    return False


def seconds(text: str | None, default: float = 0.0) -> float:
    """A Go duration in seconds."""
    if not text:
        return default
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "ns": 1e-9}
    parts = re.findall(r"([0-9.]+)(h|ms|us|ns|m|s)", text)
    return sum(float(n) * units[u] for n, u in parts)


def go_duration(value: float) -> str:
    """Seconds as Go prints a Duration."""
    if value < 1:
        return f"{value * 1000:.6g}ms"
    whole = int(value)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    fraction = value - whole
    tail = f"{left + fraction:.9g}s"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + tail


def stamp(clock: Clock) -> str:
    """Now, as Kubernetes writes times."""
    return f"{clock.now():%Y-%m-%dT%H:%M:%SZ}"


def condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """A condition; empty where there is none."""
    return next((c for c in (obj.get("status") or {}).get("conditions") or () if c["type"] == kind), {})


def conditions(obj: Mapping[str, Any], wanted: Sequence[tuple[str, str, str, str]], now: str, *, drop: Sequence[str] = ()) -> list[Object]:
    """The object's conditions with (type, status, reason, message) put in, at its generation; Reconciling first, then Stalled, Ready and the rest."""
    out = {c["type"]: dict(c) for c in (obj.get("status") or {}).get("conditions") or () if c["type"] not in drop}
    generation = obj["metadata"].get("generation", 1)
    for kind, status, reason, message in wanted:
        old = out.get(kind)
        moved = old is None or old["status"] != status or old["reason"] != reason or old["message"] != message
        at = now if moved or old is None else old["lastTransitionTime"]
        out[kind] = {"type": kind, "status": status, "reason": reason, "message": message[:32768], "observedGeneration": generation, "lastTransitionTime": at}
    rank = {"Reconciling": 0, "Stalled": 1, "Ready": 2}
    return sorted(out.values(), key=lambda c: (rank.get(c["type"], 3), c["type"]))


def requested(obj: Mapping[str, Any]) -> str:
    """The annotation by which a reconciliation is asked for."""
    return str((obj["metadata"].get("annotations") or {}).get(REQUESTED, ""))


def digest(parts: Mapping[str, bytes]) -> str:
    """sha256 over paths and contents."""
    total = hashlib.sha256()
    for path in sorted(parts):
        total.update(path.encode() + b"\0" + hashlib.sha256(parts[path]).digest())
    return f"sha256:{total.hexdigest()}"


class Flux(Controller):
    """A controller of Flux: it works while its pod is ready, and knows of each object what it last dealt with.

    `due` answers whether there is something to do for an object, or the seconds until there is.
    """

    app = ""

    def __init__(self, port: KubePort, clock: Clock, informers: Informers) -> None:
        super().__init__(port, clock, informers)
        self._handled: dict[str, tuple[Any, float]] = {}  # key -> what was dealt with, and when to look again

    def memory(self) -> Object:
        """What was dealt with: a resumed world does not begin to look at everything again."""
        return {"handled": {key: [list(facts), until] for key, (facts, until) in self._handled.items()}}

    def recall(self, memory: Object) -> None:
        """Take over a memory."""
        self._handled = {key: (tuple(facts), until) for key, (facts, until) in memory["handled"].items()}

    @property
    def up(self) -> bool:
        """Whether the controller's pod runs."""
        return running(self.informers, self.app)

    async def attended(self, gvr: str, key: str, finalize: Callable[[Object], Awaitable[None]]) -> Object | None:
        """The object that may want attention. None where it is gone or going (`finalize` sees it off), suspended, or nobody is up."""
        obj: Object | None = self.informers.of(gvr).get(key)
        if obj is None:
            self.forget(key)
            return None
        if not self.up:
            return None
        if obj["metadata"].get("deletionTimestamp"):
            await finalize(obj)
            return None
        if obj["spec"].get("suspend"):
            self.forget(key)
            return None
        return obj

    def due(self, key: str, facts: Any) -> float:
        """0 where the object wants attention, else seconds until its next turn."""
        known = self._handled.get(key)
        if known is None or known[0] != facts:
            return 0.0
        return max(known[1] - self.clock.seconds(), 0.0)

    def settle(self, key: str, facts: Any, after: float) -> float:
        """Remember what was dealt with; the seconds until the next turn, not shorter than `WALL_FLOOR` unless it is a retry."""
        self._handled[key] = (facts, self.clock.seconds() + after)
        return after

    def hasten(self, key: str, after: float) -> None:
        """Look again in so many seconds, or at its turn where that is sooner."""
        known = self._handled.get(key)
        if known is not None:
            self._handled[key] = (known[0], min(known[1], self.clock.seconds() + after))
        self.enqueue(key, after)

    def forget(self, key: str) -> None:
        """The object is gone."""
        self._handled.pop(key, None)

    def periodic(self, interval: float) -> float:
        """An interval of the spec, stretched so that an idle lab costs next to nothing."""
        return max(interval, WALL_FLOOR * self.clock.speed)

    async def write(self, gvr: str, obj: Mapping[str, Any], status: Object) -> Object:
        """Merge into the object's status; the object as stored. A vanished object is no error."""
        have = obj.get("status") or {}
        change = {k: v for k, v in status.items() if have.get(k) != v}
        if not change:
            return dict(obj)
        meta = obj["metadata"]
        try:
            stored = await self.port.patch(gvr, meta["name"], {"status": change}, meta["namespace"], "status")
        except KubeError as error:
            if error.status == 404:
                return dict(obj)
            raise
        self.informers.of(gvr).note(stored)
        return stored

    async def ensure_finalizer(self, gvr: str, obj: Mapping[str, Any]) -> Object:
        """The object with Flux' finalizer."""
        meta = obj["metadata"]
        if FINALIZER in (meta.get("finalizers") or ()):
            return dict(obj)
        stored = await self.port.patch(gvr, meta["name"], {"metadata": {"finalizers": [*(meta.get("finalizers") or ()), FINALIZER]}}, meta["namespace"])
        self.informers.of(gvr).note(stored)
        return stored

    async def drop_finalizer(self, gvr: str, obj: Mapping[str, Any]) -> None:
        """Let a deleted object go."""
        meta = obj["metadata"]
        if FINALIZER in (meta.get("finalizers") or ()):
            left = [f for f in meta["finalizers"] if f != FINALIZER]
            try:
                await self.port.patch(gvr, meta["name"], {"metadata": {"finalizers": left or None}}, meta["namespace"])
            except KubeError as error:
                if error.status != 404:
                    raise
