"""What the commands of `flux` share: the cluster, kinds, progress lines on stderr, tables on stdout."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.flux import kstatus
from lab.flux.common import go_duration, seconds
from lab.helm.objects import Kinds
from lab.kube.port import KubeError
from lab.programs.access import ConfigError, GuardedPort, Target, Unreachable, kinds_of, resolve
from lab.programs.call import Call

VERSION = "v2.7.5"
REFUSED = (Unreachable, KubeError)
DURATIONS = ("interval", "timeout", "retryInterval")
LEFT_OUT = (("force", False), ("suspend", False))  # zero values that Go's JSON does not print
POLL = 2.0
Object = dict[str, Any]


class Fail(Exception):
    """Ends the program with `✗ MESSAGE` on stderr; an empty message prints nothing."""

    def __init__(self, message: str, rc: int = 1) -> None:
        super().__init__(message)
        self.rc = rc


@dataclass(frozen=True, slots=True)
class KindOf:
    """One kind as the commands name it: `word` in progress lines, `short` in `get all`."""

    kind: str
    api: str
    plural: str
    word: str
    short: str

    @property
    def gvr(self) -> str:
        """As KubePort takes it."""
        return f"{self.api}/{self.plural}"

    @property
    def resource(self) -> str:
        """As errors name it: "kustomizations.kustomize.toolkit.fluxcd.io"."""
        return f"{self.plural}.{self.api.rpartition('/')[0]}"


SOURCE, NOTIFY = "source.toolkit.fluxcd.io/v1", "notification.toolkit.fluxcd.io"
KINDS = {
    "kustomization": KindOf("Kustomization", "kustomize.toolkit.fluxcd.io/v1", "kustomizations", "kustomization", "kustomization"),
    "helmrelease": KindOf("HelmRelease", "helm.toolkit.fluxcd.io/v2", "helmreleases", "helmrelease", "helmrelease"),
    "source git": KindOf("GitRepository", SOURCE, "gitrepositories", "source git", "gitrepository"),
    "source helm": KindOf("HelmRepository", SOURCE, "helmrepositories", "source helm", "helmrepository"),
    "source chart": KindOf("HelmChart", SOURCE, "helmcharts", "source chart", "helmchart"),
    "source oci": KindOf("OCIRepository", SOURCE, "ocirepositories", "source oci", "ocirepository"),
    "source bucket": KindOf("Bucket", SOURCE, "buckets", "source bucket", "bucket"),
    "alert": KindOf("Alert", f"{NOTIFY}/v1beta3", "alerts", "alert", "alert"),
    "alert-provider": KindOf("Provider", f"{NOTIFY}/v1beta3", "providers", "alert-provider", "provider"),
    "receiver": KindOf("Receiver", f"{NOTIFY}/v1", "receivers", "receiver", "receiver"),
}
BY_KIND = {k.kind: k for k in KINDS.values()}


class Client:
    """The cluster of a call, and what the program prints."""

    def __init__(self, call: Call, target: Target) -> None:
        self.call = call
        self.target = target
        self.port = GuardedPort(target, f"flux/{VERSION}")
        self.kinds: Kinds = kinds_of(target)
        self.namespace: str = call.flags["namespace"]
        self.end = call.clock.seconds() + call.flags["timeout"]

    def action(self, text: str) -> None:
        self.call.err(f"► {text}\n")

    def waiting(self, text: str) -> None:
        self.call.err(f"◎ {text}\n")

    def success(self, text: str) -> None:
        self.call.err(f"✔ {text}\n")

    def failure(self, text: str) -> None:
        self.call.err(f"✗ {text}\n")

    def generate(self, text: str) -> None:
        self.call.err(f"✚ {text}\n")

    def warning(self, text: str) -> None:
        self.call.err(f"⚠️  {text}\n")

    def reachable(self) -> None:
        """Ask for the server's groups, as every command does first. Raises Fail."""
        try:
            self.port.check("/api")
        except REFUSED as error:
            raise Fail(f"failed to get server groups: {error}") from error

    def served(self, kind: KindOf) -> None:
        """Raises Fail where the kind's CRD is not there."""
        self.reachable()
        if self.kinds.find(kind.api, kind.kind) is None:
            raise Fail(f"unable to retrieve the complete list of server APIs: {kind.api}: no matches for {kind.api}, Resource=")

    async def get(self, kind: KindOf, name: str, namespace: str = "") -> Object:
        """An object. Raises Fail where it is not."""
        self.served(kind)
        found = await self.port.get(kind.gvr, name, namespace or self.namespace)
        if found is None:
            raise Fail(f'{kind.resource} "{name}" not found')
        return {"apiVersion": kind.api, "kind": kind.kind, **found}

    async def list(self, kind: KindOf, *, everywhere: bool = False, labels: str = "") -> list[Object]:
        """Objects by namespace and name."""
        self.served(kind)
        found, _ = await self.port.list(kind.gvr, "" if everywhere else self.namespace, labels=labels)
        return sorted(({"apiVersion": kind.api, "kind": kind.kind, **o} for o in found), key=lambda o: (o["metadata"]["namespace"], o["metadata"]["name"]))

    def late(self) -> bool:
        """Whether --timeout is over."""
        over: bool = self.call.clock.seconds() >= self.end
        return over

    async def until(self, done: Callable[[], Awaitable[bool]]) -> None:
        """Wait. Raises Fail with `context deadline exceeded` at the end of --timeout."""
        while not await done():
            if self.late():
                raise Fail("context deadline exceeded")
            await self.call.sleep(min(POLL, max(self.end - self.call.clock.seconds(), 0.05)))

    async def ready(self, kind: KindOf, name: str, namespace: str = "", handled: str = "") -> Object:
        """Wait until an object is Current, and has dealt with the request `handled`. Raises Fail."""
        last: list[Object] = []

        async def done() -> bool:
            obj = await self.get(kind, name, namespace)
            last[:] = [obj]
            status = obj.get("status") or {}
            if handled and status.get("lastHandledReconcileAt") != handled:
                return False
            if status.get("observedGeneration", -1) < obj["metadata"].get("generation", 1):
                return False
            return kstatus.status_of(obj) == kstatus.CURRENT and bool(kstatus.condition(obj, "Ready"))

        await self.until(done)
        return last[0]


def client(call: Call) -> Client:
    """The cluster of a call. Raises Fail where its context is not there."""
    try:
        return Client(call, resolve(call, call.flags["context"], call.flags["kubeconfig"]))
    except ConfigError as error:
        raise Fail(f"kubernetes configuration load failed: {error}") from error


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, header: bool = True) -> str:
    """olekukonko/tablewriter as flux sets it up: cells padded to their column, a tab behind each, a blank behind the header."""
    body = [list(r) for r in rows]
    shown = ([[h.upper() for h in head]] if header else []) + body
    if not shown:
        return ""
    widths = [max(len(r[i]) for r in shown) for i in range(len(head))]
    lines = ["\t".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in shown]
    return "".join(f"{line} \n" if header and not i else f"{line}\t\n" for i, line in enumerate(lines))


def short_hash(text: str) -> str:
    """Digests cut to eight hex digits, as tables show them."""
    return re.sub(r"(sha1|sha256):([0-9a-f]{8})[0-9a-f]+", r"\1:\2", text)


def exported(obj: Mapping[str, Any]) -> Object:
    """An object as `flux export` prints it."""
    meta = obj["metadata"]
    kept = {k: meta[k] for k in ("name", "namespace", "labels", "annotations") if meta.get(k)}
    spec = {k: go_duration(seconds(v)) if k in DURATIONS and isinstance(v, str) else v for k, v in obj["spec"].items() if (k, v) not in LEFT_OUT}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": kept, "spec": spec}
