"""DaemonSets: one pod a node that it may run on. Source: k8s.io/kubernetes/pkg/controller/daemon, 1.33."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from lab.ctl.base import Controller, Keys, key_of
from lab.ctl.objects import (
    REVISION_LABEL,
    Object,
    ReadOnly,
    controller_of,
    deleting,
    int_or_percent,
    node_affinity_met,
    pod_available,
    pod_finished,
    pod_from_template,
    pod_ready,
    tolerates,
)
from lab.ctl.replicaset import create_pod, delete_pod, minimum_wait, post_status
from lab.ctl.revisions import ensure_revision, prune_revisions

SETS, PODS, NODES = "apps/v1/daemonsets", "v1/pods", "v1/nodes"
GENERATION = "pod-template-generation"
# Source: util.AddOrUpdateDaemonPodTolerations
NODE_TAINTS = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)


class DaemonSets(Controller):
    """Keys are "namespace/name" of DaemonSets."""

    name: ClassVar[str] = "daemonset"
    component: ClassVar[str] = "daemonset-controller"

    def watches(self) -> Mapping[str, Keys]:
        return {SETS: lambda obj: (key_of(obj),), PODS: _of_pod, NODES: self._of_node}

    def _of_node(self, _node: Object) -> Iterable[str]:
        return list(self.informers.of(SETS).objects)

    async def reconcile(self, key: str) -> float | None:
        ds = self.informers.of(SETS).get(key)
        if ds is None or deleting(ds):
            return None
        digest = await ensure_revision(self, ds)
        await self._place(ds, digest)
        pods = self._by_node(ds)
        if (ds["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate":
            await self._roll(ds, pods, digest)
        await self._post(ds, digest)
        used = [p["metadata"].get("labels", {}).get(REVISION_LABEL, "") for group in pods.values() for p in group]
        await prune_revisions(self, ds, [digest, *used])
        return minimum_wait(ds, [p for group in pods.values() for p in group], self.clock.now())

    def _by_node(self, ds: ReadOnly) -> dict[str, list[Object]]:
        """Its pods by the node that they are on or meant for."""
        found: dict[str, list[Object]] = {}
        for pod in self.informers.of(PODS).find("owner", ds["metadata"]["uid"]):
            found.setdefault(node_of(pod), []).append(pod)
        return found

    async def _place(self, ds: Object, digest: str) -> None:
        """Make missing pods, delete those that may not be where they are, and those that failed."""
        pods = self._by_node(ds)
        nodes = self.informers.of(NODES).objects
        for name, node in nodes.items():
            alive = [p for p in pods.get(name, ()) if not deleting(p)]
            for pod in [p for p in alive if pod_finished(p)]:
                text = f"Found failed daemon pod {key_of(pod)} on node {name}, will try to kill it"
                self.events.emit(ds, "FailedDaemonPod", text, "Warning")
                await delete_pod(self, ds, pod)
            running = [p for p in alive if not pod_finished(p)]
            should_run, should_stay = fits(ds, node)
            if should_run and not pods.get(name):
                if await create_pod(self, ds, new_pod(ds, name, digest)):
                    return
            elif not should_stay:
                for pod in running:
                    await delete_pod(self, ds, pod)
            else:
                for pod in sorted(running, key=lambda p: str(p["metadata"].get("creationTimestamp")))[1:]:
                    await delete_pod(self, ds, pod)
        for name in pods.keys() - nodes.keys():
            for pod in pods[name]:
                if not deleting(pod):
                    await delete_pod(self, ds, pod)

    async def _roll(self, ds: Object, pods: Mapping[str, Sequence[Object]], digest: str) -> None:
        """Replace outdated pods, at most maxUnavailable at a time; those that are not available go at once."""
        rolling = (ds["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
        wanted = [name for name, node in self.informers.of(NODES).objects.items() if fits(ds, node)[0]]
        limit = max(int_or_percent(rolling.get("maxUnavailable", 1), len(wanted), up=True), 1)
        now = self.clock.now()
        ready = ds["spec"].get("minReadySeconds", 0)
        unavailable = 0
        outdated = []
        for name in wanted:
            alive = [p for p in pods.get(name, ()) if not deleting(p)]
            available = [p for p in alive if pod_available(p, ready, now)]
            old = [p for p in alive if p["metadata"].get("labels", {}).get(REVISION_LABEL) != digest]
            if not available:
                unavailable += 1
                for pod in old:
                    await delete_pod(self, ds, pod)
            else:
                outdated += old
        for pod in outdated[: max(limit - unavailable, 0)]:
            await delete_pod(self, ds, pod)

    async def _post(self, ds: Object, digest: str) -> None:
        now = self.clock.now()
        pods = self._by_node(ds)
        desired = current = ready = available = updated = misscheduled = 0
        for name, node in self.informers.of(NODES).objects.items():
            should_run, _ = fits(ds, node)
            alive = [p for p in pods.get(name, ()) if not deleting(p)]
            if not should_run:
                misscheduled += bool(alive)
                continue
            desired += 1
            current += bool(alive)
            ready += any(pod_ready(p) for p in alive)
            available += any(pod_available(p, ds["spec"].get("minReadySeconds", 0), now) for p in alive)
            updated += any(p["metadata"].get("labels", {}).get(REVISION_LABEL) == digest for p in alive)
        status: Object = {
            "currentNumberScheduled": current,
            "desiredNumberScheduled": desired,
            "numberMisscheduled": misscheduled,
            "numberReady": ready,
            "observedGeneration": ds["metadata"].get("generation", 1),
            "updatedNumberScheduled": updated or None,
            "numberAvailable": available or None,
            "numberUnavailable": (desired - available) or None,
        }
        await post_status(self, SETS, ds, status)


def _of_pod(pod: Object) -> Iterable[str]:
    owner = controller_of(pod)
    if owner is None or owner["kind"] != "DaemonSet":
        return ()
    return (f"{pod['metadata']['namespace']}/{owner['name']}",)


def node_of(pod: ReadOnly) -> str:
    """The node of a daemon pod: where it is bound, else where its affinity wants it."""
    bound = pod["spec"].get("nodeName")
    if bound:
        return str(bound)
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", ()):
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name":
                return str(field["values"][0])
    return ""


def tolerations(ds: ReadOnly) -> list[Object]:
    """Those of the template and those that every daemon pod gets."""
    spec = ds["spec"]["template"]["spec"]
    own = [dict(t) for t in spec.get("tolerations") or ()]
    added = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect} for key, effect in NODE_TAINTS
    ]
    if spec.get("hostNetwork"):
        added.append({"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"})
    return own + [t for t in added if t not in own]


def fits(ds: ReadOnly, node: ReadOnly) -> tuple[bool, bool]:
    """(a pod should run there, one that runs there may stay). Source: NodeShouldRunDaemonPod."""
    spec = ds["spec"]["template"]["spec"]
    if spec.get("nodeName") and spec["nodeName"] != node["metadata"]["name"]:
        return False, False
    if not node_affinity_met(spec, node):
        return False, False
    allowed = tolerations(ds)
    taints = [t for t in node["spec"].get("taints") or () if not tolerates(allowed, t)]
    should_run = all(t["effect"] == "PreferNoSchedule" for t in taints)
    return should_run, all(t["effect"] != "NoExecute" for t in taints)


def new_pod(ds: ReadOnly, node: str, digest: str) -> Object:
    """The pod for a node; the scheduler binds it there by its affinity."""
    labels = {REVISION_LABEL: digest, GENERATION: str(ds["metadata"].get("generation", 1))}
    pod = pod_from_template(ds["spec"]["template"], ds, labels)
    pod["metadata"]["generateName"] = f"{ds['metadata']['name']}-"
    spec = pod["spec"]
    spec["tolerations"] = tolerations(ds)
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [{**term, "matchFields": [field]} for term in terms]
    return pod
