"""The cluster that the flux recordings were made on: Flux' CRDs and Deployments, objects with status set by hand, somebody who answers requests."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from lab.flux.manifests import Options, components
from lab.kube.port import KubeError, KubePort
from lab.programs.flux.base import BY_KIND
from lab.programs.flux.check import apply_order

SHA = "8987925e78be460c9b232bb1afb6ff66d020c0a0"
REVISION = f"main@sha1:{SHA}"
Object = dict[str, Any]
NOW = "2026-01-02T03:04:05Z"
GIT_URL = "http://127.0.0.1:1/org/k8s-gitops.git"


def _ready(status: str, message: str) -> Object:
    reason = "ReconciliationSucceeded" if message.startswith("Applied") else {"True": "Succeeded", "False": "Failed", "Unknown": "Progressing"}[status]
    return {"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": NOW, "observedGeneration": 1}


def _kustomization(name: str, **spec: Any) -> Object:
    base = {"interval": "10m0s", "path": "./", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "flux-system"}}
    return {"kind": "Kustomization", "metadata": {"name": name, "namespace": "flux-system"}, "spec": base | spec}


def _applied(entries: list[Object] | None = None) -> Object:
    status: Object = {"conditions": [_ready("True", f"Applied revision: {REVISION}")], "lastAppliedRevision": REVISION, "lastAttemptedRevision": REVISION, "observedGeneration": 1}
    return status | ({"inventory": {"entries": entries}} if entries else {})


def _source(kind: str, name: str, spec: Object, revision: str = "", message: str = "", namespace: str = "flux-system") -> tuple[Object, Object]:
    obj = {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}
    if not revision:
        return obj, {"conditions": [_ready("False", message)], "observedGeneration": 1}
    artifact = {"digest": f"sha256:{'a' * 64}", "lastUpdateTime": NOW, "path": "x", "revision": revision, "size": 10240, "url": "http://x/x"}
    return obj, {"conditions": [_ready("True", message)], "artifact": artifact, "observedGeneration": 1}


def _release(name: str) -> Object:
    chart = {"chart": "cilium", "version": "1.18.12", "sourceRef": {"kind": "HelmRepository", "name": "cilium", "namespace": "flux-system"}}
    return {"kind": "HelmRelease", "metadata": {"name": name, "namespace": "kube-system"}, "spec": {"interval": "1h0m0s", "releaseName": name, "chart": {"spec": chart}}}


ENTRIES = [
    {"id": "_apps__Namespace", "v": "v1"}, {"id": "apps_settings__ConfigMap", "v": "v1"}, {"id": "kube-system_cilium_helm.toolkit.fluxcd.io_HelmRelease", "v": "v2"},
]  # fmt: skip
OCI, INDEX = f"v1.18.11@sha256:{'ab' * 32}", f"sha256:{'cd' * 32}"
HISTORY = {
    "name": "cilium", "namespace": "kube-system", "version": 2, "chartName": "cilium", "chartVersion": "1.18.12", "status": "deployed", "firstDeployed": NOW, "lastDeployed": NOW,
    "configDigest": "sha256:x", "digest": "sha256:y",
}  # fmt: skip


LATE = ("bad-made",)  # made by a recorded command, and there for the last of them only


def objects() -> list[tuple[Object, Object]]:
    """(object, its status) of everything that the recorded cluster held."""
    broken = "kustomize build failed: accumulating resources: open nope.yaml: no such file or directory"
    failed = "Helm install failed for release kube-system/bad-release with chart nope@1.0.0: timed out waiting for the condition"
    done = "Helm upgrade succeeded for release kube-system/cilium.v2 with chart cilium@1.18.12"
    progress = {"type": "Reconciling", "status": "True", "reason": "Progressing", "message": "x", "lastTransitionTime": NOW, "observedGeneration": 1}
    clone = "failed to checkout and determine revision: unable to clone 'https://git.example.net/org/nope': authentication required"
    return [
        _source("OCIRepository", "rook", {"interval": "1h0m0s", "url": "oci://ghcr.io/rook/rook-ceph", "ref": {"tag": "v1.18.11"}}, OCI, f"stored artifact for digest '{OCI}'"),
        _source("GitRepository", "bad-repo", {"interval": "1m0s", "url": "https://git.example.net/org/nope"}, "", clone),
        _source("GitRepository", "flux-system", {"interval": "1m0s", "url": GIT_URL, "ref": {"branch": "main"}, "secretRef": {"name": "flux-system"}}, REVISION, f"stored artifact for revision '{REVISION}'"),
        _source("GitRepository", "bad-made", {"interval": "1m0s", "url": "https://git.example.net/org/made", "ref": {"branch": "main"}}, "", clone),
        _source("HelmRepository", "cilium", {"interval": "1h0m0s", "url": "https://helm.cilium.io"}, INDEX, f"stored artifact: revision '{INDEX}'"),
        _source("HelmChart", "kube-system-cilium", {"interval": "1h0m0s", "chart": "cilium", "version": "1.18.12", "sourceRef": {"kind": "HelmRepository", "name": "cilium"}}, "1.18.12", "pulled 'cilium' chart with version '1.18.12'"),
        (_kustomization("apps", path="./apps", dependsOn=[{"name": "infra"}]), _applied(ENTRIES)),
        (_kustomization("bad-apps"), {"conditions": [_ready("False", broken)], "observedGeneration": 1}),
        (_kustomization("flux-system"), _applied()),
        (_kustomization("infra"), _applied()),
        (_kustomization("parked", suspend=True), {}),
        (_kustomization("raw-apps"), {"conditions": [progress, _ready("Unknown", "Reconciliation in progress")], "observedGeneration": 1}),
        (_kustomization("slow-apps"), {}),
        (_release("bad-release"), {"conditions": [_ready("False", failed)], "observedGeneration": 1}),
        (_release("cilium"), {"conditions": [_ready("True", done)], "observedGeneration": 1, "history": [HISTORY]}),
        (_release("slow-release"), {}),
    ]  # fmt: skip


async def apply(port: KubePort, gvr: str, obj: Object) -> None:
    """Create or change by server-side apply."""
    await port.apply(gvr, obj, "flux")


async def install(port: KubePort, registry: Any, *, running: bool = True) -> None:
    """CRDs, and all else that `flux install` brings; Deployments ready."""
    for obj in apply_order(components(Options())):
        version = obj["apiVersion"]
        found = registry.by_kind(*(version.split("/") if "/" in version else ("", version)), obj["kind"])
        await apply(port, found.gvr, obj)
        if obj["kind"] == "Deployment" and running:
            await deployed(port, obj["metadata"]["name"])
    while not all(registry.by_kind(*k.api.split("/"), k.kind) for k in BY_KIND.values()):
        await asyncio.sleep(0.01)


async def deployed(port: KubePort, name: str) -> None:
    """A Deployment of Flux is ready."""
    available = {"type": "Available", "status": "True", "reason": "x", "message": "x"}
    status = {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "updatedReplicas": 1, "conditions": [available]}
    await port.patch("apps/v1/deployments", name, {"status": status}, "flux-system", "status")


async def fill(port: KubePort, *, late: bool = False) -> None:
    """All objects with their status; and the namespace that Kustomization `apps` applied. `late` ones alone, where asked for."""
    for obj, status in objects():
        if (obj["metadata"]["name"] in LATE) is not late:
            continue
        kind = BY_KIND[obj["kind"]]
        await port.create(kind.gvr, {"apiVersion": kind.api, **obj}, obj["metadata"]["namespace"])
        if status:
            await port.patch(kind.gvr, obj["metadata"]["name"], {"status": status}, obj["metadata"]["namespace"], "status")
    if late:
        return
    owner = {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
    await port.create("v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps", "labels": owner}})
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "apps", "labels": owner}, "data": {"a": "b"}}
    await port.create("v1/configmaps", settings, "apps")


class Answerer:
    """Plays the controllers as the recordings had them played: requests of good objects are marked as handled, `bad-` and `slow-` ones never."""

    def __init__(self, port: KubePort) -> None:
        self.port = port
        self.root_message = ""  # how the root Kustomization fails, where it does
        self.deaf: set[str] = set()  # kinds that never answer
        self.head = ""  # the revision that sources are said to have, where a test moves it

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for kind in BY_KIND.values():
                if kind.kind in self.deaf or kind.kind in ("Alert", "Provider", "Receiver", "Bucket"):
                    continue
                with contextlib.suppress(KubeError):  # its CRD is not there yet
                    for obj in (await self.port.list(kind.gvr))[0]:
                        await self._look(kind.gvr, obj)
            await asyncio.sleep(0.005)

    async def _look(self, gvr: str, obj: Object) -> None:
        meta, status = obj["metadata"], obj.get("status") or {}
        asked = (meta.get("annotations") or {}).get("reconcile.fluxcd.io/requestedAt", "")
        if meta["name"].startswith(("slow-", "raw-")) or obj["spec"].get("suspend"):
            return
        bad = meta["name"].startswith("bad-") or (meta["name"] == "flux-system" and gvr.endswith("kustomizations") and self.root_message)
        generation = meta["generation"]
        current = status.get("observedGeneration") == generation
        revision = f"main@sha1:{self.head or SHA}"
        moved = meta["name"] == "flux-system" and self.head and revision not in str(status)
        if current and not moved and (not asked or status.get("lastHandledReconcileAt") == asked):
            return
        message = self.root_message if bad and self.root_message else next((c["message"] for c in status.get("conditions") or () if c["type"] == "Ready"), "x")
        change: Object = {"conditions": [{**_ready("False" if bad else "True", message), "observedGeneration": generation}], "observedGeneration": generation}
        if asked:
            change["lastHandledReconcileAt"] = asked
        if gvr.endswith("kustomizations") and moved:
            change |= {"lastAttemptedRevision": revision} if bad else {"lastAttemptedRevision": revision, "lastAppliedRevision": revision}
        if gvr.endswith("gitrepositories") and (moved or not status.get("artifact")) and not bad:
            change["artifact"] = {"digest": f"sha256:{'a' * 64}", "lastUpdateTime": NOW, "path": "x", "revision": revision, "size": 10240, "url": "http://x/x"}
        await self.port.patch(gvr, meta["name"], {"status": change}, meta["namespace"], "status")
