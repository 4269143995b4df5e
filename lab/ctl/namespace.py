"""Namespaces: what a new one gets, and how one ends. Sources: k8s.io/kubernetes/pkg/controller/{namespace,serviceaccount}, 1.33."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import ClassVar

from lab.clock import Clock
from lab.ctl.base import Controller, Informers, Keys, split_key
from lab.ctl.gc import Graph
from lab.ctl.objects import Object, condition_status, deleting, stamp
from lab.kube.port import KubeError, KubePort

NAMESPACES, ACCOUNTS, CONFIGS = "v1/namespaces", "v1/serviceaccounts", "v1/configmaps"
ROOT_CA = "kube-root-ca.crt"
RETRY_SECONDS = 2.0
DONE = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
}


class ServiceAccounts(Controller):
    """The `default` ServiceAccount of each namespace, and the CA bundle. Keys are names of namespaces."""

    name: ClassVar[str] = "serviceaccount"

    def __init__(
        self, port: KubePort, clock: Clock, informers: Informers | None = None, *, seed: int = 0, root_ca: str = ""
    ) -> None:
        super().__init__(port, clock, informers, seed=seed)
        self.root_ca = root_ca

    def watches(self) -> Mapping[str, Keys]:
        return {
            NAMESPACES: lambda obj: (obj["metadata"]["name"],),
            ACCOUNTS: lambda obj: _named(obj, "default"),
            CONFIGS: lambda obj: _named(obj, ROOT_CA),
        }

    async def reconcile(self, key: str) -> float | None:
        namespace = self.informers.of(NAMESPACES).get(key)
        if namespace is None or deleting(namespace):
            return None
        if self.informers.of(ACCOUNTS).get(f"{key}/default") is None:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": key}}
            await self._create(ACCOUNTS, account, key)
        bundle = self.informers.of(CONFIGS).get(f"{key}/{ROOT_CA}")
        text = (
            "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
            "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
            "Kubernetes clusters."
        )
        if self.root_ca and bundle is None:
            annotations = {"kubernetes.io/description": text}
            meta = {"name": ROOT_CA, "namespace": key, "annotations": annotations}
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"ca.crt": self.root_ca}}
            await self._create(CONFIGS, made, key)
        elif self.root_ca and bundle is not None and bundle.get("data") != {"ca.crt": self.root_ca}:
            await self.port.patch(CONFIGS, ROOT_CA, {"data": {"ca.crt": self.root_ca}}, key)
        return None

    async def _create(self, gvr: str, obj: Object, namespace: str) -> None:
        try:
            self.informers.of(gvr).note(await self.port.create(gvr, obj, namespace))
        except KubeError as error:
            if error.status not in (403, 404, 409):  # the namespace ends, or somebody else was first
                raise


def _named(obj: Object, name: str) -> Iterable[str]:
    return (obj["metadata"]["namespace"],) if obj["metadata"]["name"] == name else ()


class Namespaces(Controller):
    """Empties namespaces that end, then finalizes them. Keys are names of namespaces."""

    name: ClassVar[str] = "namespace"
    lag: ClassVar[tuple[float, float]] = (0.2, 0.5)

    def __init__(
        self, port: KubePort, clock: Clock, informers: Informers | None = None, *, graph: Graph, seed: int = 0
    ) -> None:
        super().__init__(port, clock, informers, seed=seed)
        self._graph = graph

    def watches(self) -> Mapping[str, Keys]:
        return {NAMESPACES: lambda obj: (obj["metadata"]["name"],) if deleting(obj) else ()}

    async def reconcile(self, key: str) -> float | None:
        namespace = self.informers.of(NAMESPACES).get(key)
        if (
            namespace is None
            or not deleting(namespace)
            or "kubernetes" not in (namespace["spec"].get("finalizers") or ())
        ):
            return None
        left: Counter[str] = Counter()
        held: Counter[str] = Counter()
        for gvr in self._graph.namespaced():
            await self._empty(gvr, key, left, held)
        await self._post(namespace, left, held)
        if left:
            return RETRY_SECONDS
        spec = {**namespace["spec"], "finalizers": [f for f in namespace["spec"]["finalizers"] if f != "kubernetes"]}
        now = await self.port.get(NAMESPACES, key)
        if now is not None:
            await self.port.update(NAMESPACES, {**now, "spec": spec}, subresource="finalize")
        return None

    async def _empty(self, gvr: str, namespace: str, left: Counter[str], held: Counter[str]) -> None:
        """Delete what is there; counts what stays."""
        try:
            objects, _ = await self.port.list(gvr, namespace)
            for obj in objects:
                if not deleting(obj):
                    await self._delete(gvr, obj["metadata"]["name"], namespace)
            if objects:
                objects, _ = await self.port.list(gvr, namespace)
        except KubeError as error:
            if error.status not in (404, 405):  # a kind that is served no more, or cannot be listed
                raise
            return
        resource = _qualified(gvr)
        if objects:
            left[resource] += len(objects)
        for obj in objects:
            held.update(obj["metadata"].get("finalizers") or ())

    async def _delete(self, gvr: str, name: str, namespace: str) -> None:
        try:
            await self.port.delete(gvr, name, namespace)
        except KubeError as error:
            if error.status not in (404, 405, 409):
                raise

    async def _post(self, namespace: Object, left: Counter[str], held: Counter[str]) -> None:
        now = stamp(self.clock.now())
        remaining = ", ".join(f"{resource} has {count} resource instances" for resource, count in sorted(left.items()))
        finalizers = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(held.items()))
        wanted = [
            {"type": kind, "status": "False", "reason": why, "message": text} for kind, (why, text) in DONE.items()
        ]
        for kind, what, some, all_done, reasons in (
            (
                "NamespaceContentRemaining",
                remaining,
                "Some resources are remaining: ",
                "All content successfully removed",
                ("SomeResourcesRemain", "ContentRemoved"),
            ),
            (
                "NamespaceFinalizersRemaining",
                finalizers,
                "Some content in the namespace has finalizers remaining: ",
                "All content-preserving finalizers finished",
                ("SomeFinalizersRemain", "ContentHasNoFinalizers"),
            ),
        ):
            wanted.append(
                {
                    "type": kind,
                    "status": "True" if what else "False",
                    "reason": reasons[0] if what else reasons[1],
                    "message": some + what if what else all_done,
                }
            )
        old = {c["type"]: c for c in namespace.get("status", {}).get("conditions") or ()}
        if all(
            old.get(str(c["type"]), {}).get(key) == c[key] for c in wanted for key in ("status", "reason", "message")
        ) or (not old and not left):
            return
        conditions = [
            {**c, "lastTransitionTime": old[str(c["type"])]["lastTransitionTime"]}
            if condition_status(namespace, str(c["type"])) == c["status"]
            else {**c, "lastTransitionTime": now}
            for c in wanted
        ]
        name = namespace["metadata"]["name"]
        posted = await self.port.patch(NAMESPACES, name, {"status": {"conditions": conditions}}, subresource="status")
        self.informers.of(NAMESPACES).note(posted)


def _qualified(gvr: str) -> str:
    """ "pods." or "deployments.apps", as the real message writes it."""
    api, name = split_key(gvr)
    group = split_key(api)[0]
    return f"{name}.{group}"
