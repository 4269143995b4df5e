"""Garbage: objects whose owners are gone, deletions with propagation, pods without a node. Events expire in the API server.

The graph of owners is kept from a slim watch of every kind that can be deleted, custom ones included. Source:
k8s.io/kubernetes/pkg/controller/{garbagecollector,podgc}, 1.33.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar

from lab.clock import Clock
from lab.ctl.base import Controller, Handler, Informer, Informers, Keys, compact, key_of, split_key
from lab.ctl.objects import Object, ReadOnly, condition_status, deleting, pod_finished, seconds_since
from lab.kube.port import CRDS, KubeError, KubePort
from lab.kube.registry import builtin_resources

EVENTS, PODS, NODES = "v1/events", "v1/pods", "v1/nodes"
SKIPPED = frozenset((EVENTS, "events.k8s.io/v1/events", "v1/componentstatuses"))
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


def slim(obj: Object) -> Object:
    """What the graph keeps of an object."""
    meta = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "ownerReferences", "finalizers", "deletionTimestamp")
    out: Object = {"metadata": {key: meta[key] for key in kept if key in meta}}
    slimmed: Object = compact({"apiVersion": obj.get("apiVersion", ""), "kind": obj.get("kind", ""), **out})
    return slimmed


class Graph:
    """Who owns whom, over all kinds. A node is (gvr, key); `listeners` hear (gvr, kind of change, object).

    Kinds that other controllers follow are read from their informers, all others from slim ones of its own.
    """

    def __init__(self, port: KubePort, clock: Clock, informers: Informers) -> None:
        self.listeners: list[Callable[[str, str, Object], None]] = []
        self._port = port
        self._clock = clock
        self._informers = informers
        self._kinds: dict[str, Informer] = {}
        self._names: dict[tuple[str, str], str] = {}  # (group, kind) -> gvr
        self._handlers: dict[str, Handler] = {}
        self._own: set[str] = set()
        self._namespaced: dict[str, bool] = {}
        self._by_uid: dict[str, tuple[str, str]] = {}
        self._dependents: dict[str, dict[tuple[str, str], None]] = {}  # owner uid -> nodes
        self._started = False

    async def start(self) -> None:
        """Follow the built-in kinds and those of CRDs, as they come and go."""
        if self._started:
            return
        self._started = True
        seen: set[tuple[str, str]] = set()
        for resource in builtin_resources():
            identity = (resource.group, resource.plural)  # one version of each is enough
            if (
                {"list", "watch", "delete"} <= set(resource.verbs)
                and resource.gvr not in SKIPPED
                and identity not in seen
            ):
                seen.add(identity)
                self._follow(resource.gvr, resource.namespaced, resource.kind)
        crds = self._informers.of(CRDS)
        crds.add_handler(self._crd_changed)
        for crd in crds.values():
            self._crd_changed("ADDED", crd, None)

    async def stop(self) -> None:
        """Follow nothing more and forget all."""
        self._started = False
        self._informers.of(CRDS).remove_handler(self._crd_changed)
        for gvr, handler in self._handlers.items():
            self._kinds[gvr].remove_handler(handler)
        await asyncio.gather(*(self._kinds[gvr].stop() for gvr in self._own))
        self._kinds.clear()
        self._handlers.clear()
        self._own.clear()
        self._by_uid.clear()
        self._dependents.clear()

    def namespaced(self) -> list[str]:
        """The gvrs of all namespaced kinds, events included."""
        return [*(gvr for gvr, namespaced in self._namespaced.items() if namespaced), EVENTS]

    @property
    def synced(self) -> bool:
        """Whether every kind has been listed once."""
        return all(informer.synced.is_set() for informer in self._kinds.values())

    def holder(self, uid: str) -> tuple[str, Object] | None:
        """(gvr, object) with a uid."""
        place = self._by_uid.get(uid)
        if place is None or place[0] not in self._kinds:
            return None
        obj = self._kinds[place[0]].get(place[1])
        return (place[0], obj) if obj is not None and obj["metadata"]["uid"] == uid else None

    def dependents(self, uid: str) -> list[tuple[str, Object]]:
        """(gvr, object) of all that name this owner."""
        found = []
        for gvr, key in self._dependents.get(uid, ()):
            obj = self._kinds[gvr].get(key) if gvr in self._kinds else None
            if obj is not None:
                found.append((gvr, obj))
        return found

    def get(self, gvr: str, key: str) -> Object | None:
        """The slim object."""
        return self._kinds[gvr].get(key) if gvr in self._kinds else None

    def gvr_of(self, reference: ReadOnly) -> str | None:
        """The gvr of an owner reference's kind, where it is known; any version of a group will do."""
        return self._names.get((reference["apiVersion"].rpartition("/")[0], reference["kind"]))

    def _follow(self, gvr: str, namespaced: bool, kind_name: str) -> None:
        if gvr in self._kinds:
            return
        self._names[(split_key(split_key(gvr)[0])[0], kind_name)] = gvr
        shared = self._informers.known(gvr)
        informer = self._kinds[gvr] = shared or Informer(self._port, self._clock, gvr, slim)
        self._namespaced[gvr] = namespaced

        def changed(kind: str, obj: Object, old: Object | None) -> None:
            self._changed(gvr, kind, obj, old)

        self._handlers[gvr] = changed
        informer.add_handler(changed)
        for obj in informer.values():
            changed("ADDED", obj, None)
        if shared is None:
            self._own.add(gvr)
            informer.start()

    def _crd_changed(self, kind: str, crd: Object, _old: Object | None) -> None:
        spec = crd["spec"]
        served = [v["name"] for v in spec["versions"] if v.get("storage") and v.get("served")]
        served = served or [v["name"] for v in spec["versions"] if v.get("served")]
        gvrs = [f"{spec['group']}/{version}/{spec['names']['plural']}" for version in served[:1]]
        if kind == "DELETED":
            for gvr in gvrs:
                informer = self._kinds.pop(gvr, None)
                self._namespaced.pop(gvr, None)
                self._names.pop((spec["group"], spec["names"]["kind"]), None)
                if informer is not None:
                    informer.remove_handler(self._handlers.pop(gvr))
                if informer is not None and gvr in self._own:
                    self._own.remove(gvr)
                    asyncio.ensure_future(informer.stop())  # noqa: RUF006 - it ends by itself, nothing waits for it
        elif condition_status(crd, "Established") == "True":
            for gvr in gvrs:
                self._follow(gvr, spec["scope"] == "Namespaced", spec["names"]["kind"])

    def _changed(self, gvr: str, kind: str, obj: Object, old: Object | None) -> None:
        place = (gvr, key_of(obj))
        for owner in (old or {"metadata": {}})["metadata"].get("ownerReferences", ()):
            held = self._dependents.get(owner["uid"])
            if held is not None:
                held.pop(place, None)
                if not held:
                    del self._dependents[owner["uid"]]
        if kind == "DELETED":
            if self._by_uid.get(obj["metadata"]["uid"]) == place:
                del self._by_uid[obj["metadata"]["uid"]]
        else:
            self._by_uid[obj["metadata"]["uid"]] = place
            for owner in obj["metadata"].get("ownerReferences", ()):
                self._dependents.setdefault(owner["uid"], {})[place] = None
        for listener in self.listeners:
            listener(gvr, kind, obj)


class GarbageCollector(Controller):
    """Keys are "GVR|KEY" of objects to look at: dependents of what is gone, and what waits with a propagation finalizer."""

    name: ClassVar[str] = "garbagecollector"

    def __init__(
        self, port: KubePort, clock: Clock, informers: Informers | None = None, *, graph: Graph, seed: int = 0
    ) -> None:
        super().__init__(port, clock, informers, seed=seed)
        self.graph = graph

    def watches(self) -> Mapping[str, Keys]:
        return {}

    async def start(self) -> None:
        """As any controller, fed by the graph."""
        if not self.running:
            self.graph.listeners.append(self._heard)
        await self.graph.start()
        await super().start()

    async def stop(self) -> None:
        """Stop, and the graph with it."""
        if self.running:
            self.graph.listeners.remove(self._heard)
        await super().stop()
        await self.graph.stop()

    def _heard(self, gvr: str, kind: str, obj: Object) -> None:
        meta = obj["metadata"]
        if kind == "DELETED":
            for other, dependent in self.graph.dependents(meta["uid"]):
                self.enqueue(f"{other}|{key_of(dependent)}")
            for owner in meta.get("ownerReferences", ()):
                self._look_at_owner(owner["uid"])
            return
        if deleting(obj) and {ORPHAN, FOREGROUND} & set(meta.get("finalizers") or ()):
            self.enqueue(f"{gvr}|{key_of(obj)}")
        if kind == "ADDED" and meta.get("ownerReferences"):
            self.enqueue(f"{gvr}|{key_of(obj)}")

    def _look_at_owner(self, uid: str) -> None:
        held = self.graph.holder(uid)
        if held is not None and deleting(held[1]):
            self.enqueue(f"{held[0]}|{key_of(held[1])}")

    async def reconcile(self, key: str) -> float | None:
        gvr, _, name = key.partition("|")
        obj = self.graph.get(gvr, name)
        if obj is None:
            return None
        finalizers = obj["metadata"].get("finalizers") or ()
        if deleting(obj):
            if ORPHAN in finalizers:
                await self._orphan(gvr, obj)
            elif FOREGROUND in finalizers:
                return await self._foreground(gvr, obj)
            return None
        if obj["metadata"].get("ownerReferences"):
            return await self._solitary(gvr, obj)
        return None

    async def _solitary(self, gvr: str, obj: Object) -> float | None:
        """Delete an object whose owners are all gone."""
        if not self.graph.synced:
            return 0.5
        owners = obj["metadata"]["ownerReferences"]
        gone = [owner for owner in owners if await self._is_gone(obj, owner)]
        if len(gone) < len(owners):
            return None
        namespace, name = split_key(key_of(obj))
        now = await self.port.get(gvr, name, namespace)
        if now is None or now["metadata"]["uid"] != obj["metadata"]["uid"] or deleting(now):
            return None
        if now["metadata"].get("ownerReferences") != owners:
            return 0.5
        finalizers = obj["metadata"].get("finalizers") or ()
        policy = "Orphan" if ORPHAN in finalizers else "Foreground" if FOREGROUND in finalizers else "Background"
        await self._delete(gvr, name, namespace, policy)
        return None

    async def _is_gone(self, obj: ReadOnly, owner: ReadOnly) -> bool:
        """Not in the graph, and not in the API either."""
        if self.graph.holder(owner["uid"]) is not None:
            return False
        gvr = self.graph.gvr_of(owner)
        if gvr is None:
            return False  # a kind that is not served: the real collector waits too
        for namespace in {obj["metadata"].get("namespace", ""), ""}:
            try:
                found = await self.port.get(gvr, owner["name"], namespace)
            except KubeError:
                continue  # the other scope
            if found is not None and found["metadata"]["uid"] == owner["uid"]:
                return False
        return True

    async def _foreground(self, gvr: str, obj: Object) -> float | None:
        """Dependents first; those that block hold the owner."""
        uid = obj["metadata"]["uid"]
        blocking = False
        for other, dependent in self.graph.dependents(uid):
            reference = next(o for o in dependent["metadata"]["ownerReferences"] if o["uid"] == uid)
            blocking = blocking or bool(reference.get("blockOwnerDeletion"))
            if not deleting(dependent):
                namespace, name = split_key(key_of(dependent))
                others = [o for o in dependent["metadata"]["ownerReferences"] if o["uid"] != uid]
                if any(self.graph.holder(o["uid"]) for o in others):
                    change = {"metadata": {"ownerReferences": others}}
                    await self._patch(other, name, change, namespace)
                else:
                    await self._delete(other, name, namespace, "Foreground")
        if not blocking or not self.graph.dependents(uid):
            await self._drop_finalizer(gvr, obj, FOREGROUND)
            return None
        return 1.0

    async def _orphan(self, gvr: str, obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        for other, dependent in self.graph.dependents(uid):
            namespace, name = split_key(key_of(dependent))
            kept = [o for o in dependent["metadata"]["ownerReferences"] if o["uid"] != uid]
            await self._patch(other, name, {"metadata": {"ownerReferences": kept or None}}, namespace)
        await self._drop_finalizer(gvr, obj, ORPHAN)

    async def _drop_finalizer(self, gvr: str, obj: Object, finalizer: str) -> None:
        namespace, name = split_key(key_of(obj))
        now = await self.port.get(gvr, name, namespace)
        if now is None or finalizer not in (now["metadata"].get("finalizers") or ()):
            return
        kept = [f for f in now["metadata"]["finalizers"] if f != finalizer]
        version = now["metadata"]["resourceVersion"]
        await self._patch(gvr, name, {"metadata": {"resourceVersion": version, "finalizers": kept or None}}, namespace)

    async def _delete(self, gvr: str, name: str, namespace: str, policy: str) -> None:
        try:
            await self.port.delete(gvr, name, namespace, propagation=policy)
        except KubeError as error:
            if error.status != 404:
                raise

    async def _patch(self, gvr: str, name: str, change: Object, namespace: str) -> None:
        try:
            await self.port.patch(gvr, name, change, namespace)
        except KubeError as error:
            if error.status != 404:
                raise


class PodGarbage(Controller):
    """Pods on nodes that are gone, and deleted ones that were never placed. Keys are "namespace/name" of pods."""

    name: ClassVar[str] = "podgc"
    component: ClassVar[str] = "pod-garbage-collector-controller"

    def watches(self) -> Mapping[str, Keys]:
        return {PODS: self._of_pod, NODES: self._of_node}

    def _of_pod(self, pod: Object) -> Iterable[str]:
        node = pod["spec"].get("nodeName")
        gone = bool(node) and self.informers.of(NODES).get(node) is None
        return (key_of(pod),) if gone or (not node and deleting(pod)) else ()

    def _of_node(self, node: Object) -> Iterator[str]:
        if self.informers.of(NODES).get(node["metadata"]["name"]) is None:
            for pod in self.informers.of(PODS).find("node", node["metadata"]["name"]):
                yield key_of(pod)

    async def reconcile(self, key: str) -> float | None:
        pod = self.informers.of(PODS).get(key)
        if pod is None:
            return None
        node = pod["spec"].get("nodeName")
        if node:
            if self.informers.of(NODES).get(node) is not None or await self.port.get(NODES, node) is not None:
                return None
            age = seconds_since(self.clock, pod["metadata"]["creationTimestamp"])
            if not deleting(pod) and age < 40:  # podgc's quarantine: the node may be about to register
                return 40 - age
        elif not deleting(pod):
            return None
        namespace, name = split_key(key)
        if node and not pod_finished(pod):
            message = {"phase": "Failed", "message": f'PodGC: node "{node}" no longer exists', "reason": "NodeLost"}
            await self.port.patch(PODS, name, {"status": message}, namespace, subresource="status")
        await self.port.delete(PODS, name, namespace, grace=0)
        return None
