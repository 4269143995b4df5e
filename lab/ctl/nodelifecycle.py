"""Nodes as the controller manager sees them: silence becomes Unknown, conditions become taints, pods on lost nodes are marked and evicted.

The lab's own kubelets say when they fall silent (`Informers.silent`), so that an idle lab needs no heartbeat. Sources:
k8s.io/kubernetes/pkg/controller/{nodelifecycle,tainteviction,nodeipam}, 1.33.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from lab.clock import Clock
from lab.ctl.base import Controller, Informers, Keys, key_of, split_key
from lab.ctl.objects import (
    Object,
    ReadOnly,
    condition,
    condition_status,
    deleting,
    pod_finished,
    seconds_since,
    set_condition,
    stamp,
    tolerates,
)
from lab.kube.port import KubeError, KubePort

NODES, PODS = "v1/nodes", "v1/pods"
GRACE_SECONDS = 50.0  # --node-monitor-grace-period since 1.32
STARTUP_GRACE_SECONDS = 60.0
CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
PREFIX = "node.kubernetes.io/"
TAINTED = {
    "MemoryPressure": "memory-pressure",
    "DiskPressure": "disk-pressure",
    "PIDPressure": "pid-pressure",
    "NetworkUnavailable": "network-unavailable",
}
OURS = frozenset(PREFIX + key for key in (*TAINTED.values(), "not-ready", "unreachable", "unschedulable"))


class NodeLifecycle(Controller):
    """Keys are names of nodes. `pod_cidrs` are ranges of which each node gets a /24 (or /64), as nodeipam does; none by default."""

    name: ClassVar[str] = "nodelifecycle"
    component: ClassVar[str] = "node-controller"

    def __init__(
        self,
        port: KubePort,
        clock: Clock,
        informers: Informers | None = None,
        *,
        seed: int = 0,
        pod_cidrs: Sequence[str] = (),
    ) -> None:
        super().__init__(port, clock, informers, seed=seed)
        self.pod_cidrs = tuple(pod_cidrs)
        self._registered: set[str] = set()

    def watches(self) -> Mapping[str, Keys]:
        return {NODES: lambda obj: (obj["metadata"]["name"],), PODS: lambda _: ()}

    async def start(self) -> None:
        """As any controller, and listening to silence."""
        if not self.running:
            self.informers.on_silence.append(self._silence)
        await super().start()

    async def stop(self) -> None:
        """Stop listening."""
        if self.running:
            self.informers.on_silence.remove(self._silence)
        await super().stop()

    def _silence(self, node: str) -> None:
        if self.running:
            self.enqueue(node)

    async def reconcile(self, key: str) -> float | None:
        node = self.informers.of(NODES).get(key)
        if node is None:
            self._registered.discard(key)
            return None
        if key not in self._registered:
            self._registered.add(key)
            about = {**node, "metadata": {**node["metadata"], "uid": node["metadata"]["uid"]}}
            self.events.emit(about, "RegisteredNode", f"Node {key} event: Registered Node {key} in Controller")
        if self.pod_cidrs and not node["spec"].get("podCIDR"):
            node = await self._give_range(node)
        node, wait = await self._judge(node)
        await self._taint(node)
        if condition_status(node, "Ready") not in ("True", ""):
            await self._mark_pods(node)
        return wait

    async def _judge(self, node: Object) -> tuple[Object, float | None]:
        """Set conditions to Unknown once the kubelet has been silent for long; answers when to look again."""
        name = node["metadata"]["name"]
        since = self.informers.silent.get(name)
        if condition(node, "Ready") is None:
            left = STARTUP_GRACE_SECONDS - seconds_since(self.clock, node["metadata"]["creationTimestamp"])
            if left > 0:
                return node, left + 0.1
            why = ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
        elif since is not None:
            left = GRACE_SECONDS - (self.clock.seconds() - since)
            if left > 0:
                return node, left + 0.1
            why = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
        else:
            return node, None
        if all(condition_status(node, kind) == "Unknown" for kind in CONDITIONS):
            return node, None
        now = stamp(self.clock.now())
        conditions: list[Object] = list(node.get("status", {}).get("conditions") or ())
        for kind in CONDITIONS:
            conditions = set_condition(
                conditions, {"type": kind, "status": "Unknown", "reason": why[0], "message": why[1]}, now
            )
        was_ready = condition_status(node, "Ready") == "True"
        node = await self.port.patch(NODES, name, {"status": {"conditions": conditions}}, subresource="status")
        self.informers.of(NODES).note(node)
        if was_ready:
            self.events.emit(node, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        return node, None

    async def _taint(self, node: Object) -> None:
        old = node["spec"].get("taints") or []
        kept = [t for t in old if t["key"] not in OURS]
        held = {(t["key"], t["effect"]): t for t in old}
        now = stamp(self.clock.now())
        wanted = kept + [held.get((t["key"], t["effect"]), t) for t in taints(node, now)]
        if sorted(map(_taint_key, wanted)) == sorted(map(_taint_key, old)):
            return
        change = {
            "metadata": {"resourceVersion": node["metadata"]["resourceVersion"]},
            "spec": {"taints": wanted or None},
        }
        self.informers.of(NODES).note(await self.port.patch(NODES, node["metadata"]["name"], change))

    async def _mark_pods(self, node: ReadOnly) -> None:
        """Pods of a node that is not ready are not ready either."""
        now = stamp(self.clock.now())
        for pod in self.informers.of(PODS).find("node", node["metadata"]["name"]):
            if condition_status(pod, "Ready") != "True":
                continue
            if condition_status(node, "Ready") != "Unknown":
                continue  # its kubelet still speaks for them
            conditions = set_condition(pod["status"]["conditions"], {"type": "Ready", "status": "False"}, now)
            namespace, name = split_key(key_of(pod))
            try:
                posted = await self.port.patch(
                    PODS, name, {"status": {"conditions": conditions}}, namespace, subresource="status"
                )
            except KubeError as error:
                if error.status != 404:
                    raise
                continue
            self.informers.of(PODS).note(posted)
            self.events.emit(pod, "NodeNotReady", "Node is not ready", "Warning")

    async def _give_range(self, node: Object) -> Object:
        taken = {c for n in self.informers.of(NODES).values() for c in n["spec"].get("podCIDRs") or ()}
        ranges = [free_range(cidr, taken) for cidr in self.pod_cidrs]
        change = {"spec": {"podCIDR": ranges[0], "podCIDRs": ranges}}
        patched = await self.port.patch(NODES, node["metadata"]["name"], change)
        self.informers.of(NODES).note(patched)
        return patched


def free_range(cidr: str, taken: set[str]) -> str:
    """The first /24 (IPv4) or /64 (IPv6) of a range that no node has. Raises ValueError when all are given."""
    network = ipaddress.ip_network(cidr)
    size = max(network.prefixlen, 24 if network.version == 4 else 64)
    for part in network.subnets(new_prefix=size):
        if str(part) not in taken:
            return str(part)
    raise ValueError(f"no free range left in {cidr}")


def taints(node: ReadOnly, now: str) -> Iterator[Object]:
    """The taints that conditions and `unschedulable` call for."""
    if node["spec"].get("unschedulable"):
        yield {"key": PREFIX + "unschedulable", "effect": "NoSchedule", "timeAdded": now}
    ready = condition_status(node, "Ready")
    if ready == "Unknown":
        yield {"key": PREFIX + "unreachable", "effect": "NoSchedule", "timeAdded": now}
        yield {"key": PREFIX + "unreachable", "effect": "NoExecute", "timeAdded": now}
    elif ready != "True":
        yield {"key": PREFIX + "not-ready", "effect": "NoSchedule", "timeAdded": now}
        if ready == "False":
            yield {"key": PREFIX + "not-ready", "effect": "NoExecute", "timeAdded": now}
    for kind, key in TAINTED.items():
        if condition_status(node, kind) == "True":
            yield {"key": PREFIX + key, "effect": "NoSchedule", "timeAdded": now}


def _taint_key(taint: ReadOnly) -> tuple[str, str, str]:
    return taint["key"], taint["effect"], taint.get("value", "")


class TaintEviction(Controller):
    """Deletes pods that do not tolerate a NoExecute taint of their node (for long enough). Keys are "namespace/name" of pods."""

    name: ClassVar[str] = "tainteviction"
    component: ClassVar[str] = "taint-eviction-controller"

    def watches(self) -> Mapping[str, Keys]:
        return {NODES: self._of_node, PODS: self._of_pod}

    def _no_execute(self, name: str) -> list[Object]:
        node = self.informers.of(NODES).get(name)
        return [t for t in (node["spec"].get("taints") or () if node else ()) if t["effect"] == "NoExecute"]

    def _of_node(self, node: Object) -> Iterator[str]:
        if any(t["effect"] == "NoExecute" for t in node["spec"].get("taints") or ()):
            for pod in self.informers.of(PODS).find("node", node["metadata"]["name"]):
                yield key_of(pod)

    def _of_pod(self, pod: Object) -> Iterable[str]:
        node = pod["spec"].get("nodeName")
        return (key_of(pod),) if node and self._no_execute(node) else ()

    async def reconcile(self, key: str) -> float | None:
        pod = self.informers.of(PODS).get(key)
        if pod is None or deleting(pod) or pod_finished(pod):
            return None
        found = self._no_execute(pod["spec"].get("nodeName", ""))
        if not found:
            return None
        left = min(self._left(pod, taint) for taint in found)
        if left == float("inf"):
            return None
        if left > 0:
            return left + 0.1
        namespace, name = split_key(key)
        self.events.emit(pod, "TaintManagerEviction", f"Marking for deletion Pod {namespace}/{name}")
        try:
            await self.port.delete(PODS, name, namespace)
        except KubeError as error:
            if error.status != 404:
                raise
        return None

    def _left(self, pod: ReadOnly, taint: ReadOnly) -> float:
        """Simulated seconds that the pod may stay: infinite where it tolerates the taint without a limit."""
        fitting = [t for t in pod["spec"].get("tolerations") or () if tolerates([t], taint)]
        if not fitting:
            return 0.0
        limits = [t["tolerationSeconds"] for t in fitting if t.get("tolerationSeconds") is not None]
        if not limits:
            return float("inf")
        since = seconds_since(self.clock, taint["timeAdded"]) if taint.get("timeAdded") else 0.0
        return float(max(min(limits), 0)) - since
