"""The scheduler: filters by taints, selectors, affinity, ports, volumes and requests, then spreads; says why nothing fits.

Sources: k8s.io/kubernetes/pkg/scheduler (framework/plugins, messages), 1.33. Left out: preemption, topology spread as a hard rule,
inter-pod affinity beyond required anti-affinity and affinity on a node's hostname or zone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from lab.ctl.base import Controller, Keys, key_of, split_key
from lab.ctl.objects import (
    Object,
    ReadOnly,
    condition,
    deleting,
    matches,
    node_affinity_met,
    pod_finished,
    set_condition,
    stamp,
    tolerates,
)
from lab.kube.port import KubeError
from lab.kube.quantity import value_of

PODS, NODES, CLAIMS = "v1/pods", "v1/nodes", "v1/persistentvolumeclaims"
CLASSES, VOLUMES = "storage.k8s.io/v1/storageclasses", "v1/persistentvolumes"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
ENOUGH = 50  # feasible nodes after which the search ends, as percentageOfNodesToScore does on large clusters
RETRY_SECONDS = 30.0  # simulated; a change of a node or a claim comes sooner


class Scheduler(Controller):
    """Binds pods to nodes. Keys are "namespace/name" of pods that wait."""

    name: ClassVar[str] = "scheduler"
    component: ClassVar[str] = "default-scheduler"
    lag: ClassVar[tuple[float, float]] = (0.1, 0.4)
    _next = 0

    def watches(self) -> Mapping[str, Keys]:
        return {
            PODS: self._pod_keys,
            NODES: self._waiting,
            CLAIMS: self._waiting_in,
            CLASSES: _nothing,
            VOLUMES: _nothing,
        }

    def _pod_keys(self, pod: Object) -> Iterable[str]:
        return (key_of(pod),) if waits(pod) else ()

    def _waiting(self, _node: Object) -> Iterator[str]:
        for pod in self.informers.of(PODS).find("node", ""):
            if waits(pod):
                yield key_of(pod)

    def _waiting_in(self, claim: Object) -> Iterator[str]:
        for pod in self.informers.of(PODS).find("node", ""):
            if waits(pod) and pod["metadata"]["namespace"] == claim["metadata"]["namespace"]:
                yield key_of(pod)

    async def reconcile(self, key: str) -> float | None:
        pod = self.informers.of(PODS).get(key)
        if pod is None or not waits(pod):
            return None
        why = self._claims_missing(pod)
        if not why:
            node, why = self._choose(pod)
            if node:
                await self._bind(pod, node)
                return None
        await self._unschedulable(pod, why)
        return RETRY_SECONDS

    # ---------------------------------------------------------------------------------------------------- choosing
    def _choose(self, pod: ReadOnly) -> tuple[str, str]:
        """(node, "") or ("", why none fits)."""
        nodes = self.informers.of(NODES).values()
        if not nodes:
            return "", "no nodes available to schedule pods"
        reasons: Counter[str] = Counter()
        feasible: list[tuple[float, int, str]] = []
        self._next = (self._next + 1) % len(nodes)
        settled = self._settled(pod)
        for place in range(len(nodes)):
            node = nodes[(self._next + place) % len(nodes)]
            placed = [p for p in self.informers.of(PODS).find("node", node["metadata"]["name"]) if not pod_finished(p)]
            reason = obstacle(pod, node, placed) or self._volume_obstacle(pod, node)
            if reason:
                reasons[reason] += 1
            elif node["metadata"]["name"] == settled:
                return settled, ""
            else:
                feasible.append((crowding(pod, node, placed), place, node["metadata"]["name"]))
                if len(feasible) >= ENOUGH and not settled:
                    break
        if feasible:
            return min(feasible)[2], ""
        parts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        tail = f"preemption: 0/{len(nodes)} nodes are available: {len(nodes)} Preemption is not helpful for scheduling."
        return "", f"0/{len(nodes)} nodes are available: {parts}. {tail}"

    def _settled(self, pod: ReadOnly) -> str:
        """The node that the pod's late-binding claims have been told already, or ""."""
        for _, claim in self._claims(pod):
            if claim is not None and not claim["spec"].get("volumeName"):
                told = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)
                if told:
                    return str(told)
        return ""

    def _claims(self, pod: ReadOnly) -> Iterator[tuple[str, Object | None]]:
        namespace = pod["metadata"]["namespace"]
        for volume in pod["spec"].get("volumes") or ():
            name = volume.get("persistentVolumeClaim", {}).get("claimName")
            if not name and "ephemeral" in volume:
                name = f"{pod['metadata']['name']}-{volume['name']}"
            if name:
                yield name, self.informers.of(CLAIMS).get(f"{namespace}/{name}")

    def _late(self, claim: ReadOnly) -> bool:
        """Whether the claim's class binds at first use."""
        found = self.informers.of(CLASSES).get(claim["spec"].get("storageClassName") or "")
        return bool(found and found.get("volumeBindingMode") == "WaitForFirstConsumer")

    def _claims_missing(self, pod: ReadOnly) -> str:
        nodes = len(self.informers.of(NODES).objects)
        tail = f"preemption: 0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling."
        for name, claim in self._claims(pod):
            if claim is None:
                return f'0/{nodes} nodes are available: persistentvolumeclaim "{name}" not found. {tail}'
            if not claim["spec"].get("volumeName") and not self._late(claim):
                return f"0/{nodes} nodes are available: pod has unbound immediate PersistentVolumeClaims. {tail}"
        return ""

    def _volume_obstacle(self, pod: ReadOnly, node: ReadOnly) -> str:
        for _, claim in self._claims(pod):
            volume = self.informers.of(VOLUMES).get((claim or {"spec": {}})["spec"].get("volumeName") or "")
            required = (volume or {"spec": {}})["spec"].get("nodeAffinity", {}).get("required")
            if required:
                spec = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}
                if not node_affinity_met(spec, node):
                    return "node(s) had volume node affinity conflict"
        return ""

    # ----------------------------------------------------------------------------------------------------- writing
    async def _bind(self, pod: Object, node: str) -> None:
        namespace, name = split_key(key_of(pod))
        if await self._select_node(pod, node):
            return  # its volumes are made on that node first; the claim's change wakes this pod
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod["metadata"]["uid"]},
            "target": target,
        }
        try:
            await self.port.create(PODS, binding, namespace, subresource="binding")
        except KubeError as error:
            if error.status in (404, 409):  # gone, or bound by somebody else
                return
            raise
        bound = await self.port.get(PODS, name, namespace)
        if bound is not None:
            self.informers.of(PODS).note(bound)
        self.events.emit(pod, "Scheduled", f"Successfully assigned {namespace}/{name} to {node}")

    async def _select_node(self, pod: ReadOnly, node: str) -> bool:
        """Tell late-binding claims their node; True while any of them is not bound yet."""
        waiting = False
        for name, claim in self._claims(pod):
            if claim is None or claim["spec"].get("volumeName"):
                continue
            waiting = True
            if (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE) != node:
                change = {"metadata": {"annotations": {SELECTED_NODE: node}}}
                changed = await self.port.patch(CLAIMS, name, change, pod["metadata"]["namespace"])
                self.informers.of(CLAIMS).note(changed)
        return waiting

    async def _unschedulable(self, pod: Object, why: str) -> None:
        old = condition(pod, "PodScheduled")
        if old and old.get("message") == why and old["status"] == "False":
            return
        self.events.emit(pod, "FailedScheduling", why, "Warning")
        new = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
        now = stamp(self.clock.now())
        conditions = set_condition(pod.get("status", {}).get("conditions") or (), new, now)
        namespace, name = split_key(key_of(pod))
        try:
            posted = await self.port.patch(
                PODS, name, {"status": {"conditions": conditions}}, namespace, subresource="status"
            )
        except KubeError as error:
            if error.status != 404:
                raise
            return
        self.informers.of(PODS).note(posted)


def _nothing(_obj: Object) -> Iterable[str]:
    return ()


def waits(pod: ReadOnly) -> bool:
    """Whether the pod is this scheduler's to place."""
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and not spec.get("schedulingGates")
        and spec.get("schedulerName", "default-scheduler") == "default-scheduler"
        and not deleting(pod)
        and not pod_finished(pod)
    )


def obstacle(pod: ReadOnly, node: ReadOnly, placed: Iterable[ReadOnly]) -> str:
    """Why the pod does not fit on the node, in the real wording, or ""."""
    spec = pod["spec"]
    tolerations = spec.get("tolerations") or ()
    unschedulable = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    if node["spec"].get("unschedulable") and not tolerates(tolerations, unschedulable):
        return "node(s) were unschedulable"
    for taint in node["spec"].get("taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerates(tolerations, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    if not node_affinity_met(spec, node):
        return "node(s) didn't match Pod's node affinity/selector"
    placed = list(placed)
    if ports(pod) & {port for other in placed for port in ports(other)}:
        return "node(s) didn't have free ports for the requested pod ports"
    return _anti_affinity(pod, placed) or _too_full(pod, node, placed)


def ports(pod: ReadOnly) -> set[tuple[int, str]]:
    """Host ports that the pod takes."""
    return {
        (p["hostPort"], p.get("protocol", "TCP"))
        for c in pod["spec"]["containers"]
        for p in c.get("ports") or ()
        if p.get("hostPort")
    }


def _anti_affinity(pod: ReadOnly, placed: Iterable[ReadOnly]) -> str:
    terms = ((pod["spec"].get("affinity") or {}).get("podAntiAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or ()
    for term in terms:
        if term.get("topologyKey") != "kubernetes.io/hostname":
            continue
        namespaces = term.get("namespaces") or [pod["metadata"]["namespace"]]
        for other in placed:
            meta = other["metadata"]
            if meta["namespace"] in namespaces and matches(term.get("labelSelector"), meta.get("labels") or {}):
                return "node(s) didn't match pod anti-affinity rules"
    return ""


@lru_cache(maxsize=1024)
def amount(text: str) -> float:
    """A quantity as a number: few different ones are asked for again and again."""
    return float(value_of(text))


def requests(pod: ReadOnly) -> tuple[float, float]:
    """Requested CPU cores and memory bytes."""
    cpu = memory = 0.0
    for container in pod["spec"]["containers"]:
        wanted = (container.get("resources") or {}).get("requests") or {}
        cpu += amount(wanted.get("cpu", "0"))
        memory += amount(wanted.get("memory", "0"))
    return cpu, memory


def _allocatable(node: ReadOnly, key: str, default: str) -> float:
    return amount(str(node.get("status", {}).get("allocatable", {}).get(key, default)))


def _too_full(pod: ReadOnly, node: ReadOnly, placed: Sequence[ReadOnly]) -> str:
    if len(placed) + 1 > _allocatable(node, "pods", "110"):
        return "Too many pods"
    cpu, memory = requests(pod)
    if not cpu and not memory:
        return ""
    used = [requests(other) for other in placed]
    if cpu + sum(u[0] for u in used) > _allocatable(node, "cpu", "0"):
        return "Insufficient cpu"
    if memory + sum(u[1] for u in used) > _allocatable(node, "memory", "0"):
        return "Insufficient memory"
    return ""


def crowding(pod: ReadOnly, node: ReadOnly, placed: Sequence[ReadOnly]) -> float:
    """The lower the better: pods of the same owner weigh most, then all pods, then taints of preference."""
    owners = {ref["uid"] for ref in pod["metadata"].get("ownerReferences", ())}
    same = sum(1 for p in placed for ref in p["metadata"].get("ownerReferences", ()) if ref["uid"] in owners)
    shunned = any(t["effect"] == "PreferNoSchedule" for t in node["spec"].get("taints") or ())
    share: dict[str, Any] = node.get("status", {}).get("allocatable", {})
    return (
        100.0 * same + 100.0 * len(placed) / max(float(share.get("pods", 110) or 110), 1.0) + (50.0 if shunned else 0.0)
    )
