"""ReplicaSets: keep so many pods of a template. Source: k8s.io/kubernetes/pkg/controller/replicaset, 1.33."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from lab.ctl.base import Controller, Keys, key_of, split_key
from lab.ctl.objects import (
    Object,
    ReadOnly,
    after,
    condition,
    controller_of,
    deleting,
    deletion_rank,
    matches,
    owner_reference,
    pod_active,
    pod_available,
    pod_from_template,
    pod_ready,
    set_condition,
    stamp,
)
from lab.kube.port import KubeError

BURST = 500  # pods made or deleted in one sync, as the real one


class ReplicaSets(Controller):
    """Keys are "namespace/name" of ReplicaSets."""

    name: ClassVar[str] = "replicaset"
    component: ClassVar[str] = "replicaset-controller"
    gvr: ClassVar[str] = "apps/v1/replicasets"
    kind: ClassVar[str] = "ReplicaSet"

    def watches(self) -> Mapping[str, Keys]:
        return {self.gvr: lambda obj: (key_of(obj),), "v1/pods": self._of_pod}

    def _of_pod(self, pod: Object) -> Iterable[str]:
        owner = controller_of(pod)
        if owner is not None:
            return (f"{pod['metadata']['namespace']}/{owner['name']}",) if owner["kind"] == self.kind else ()
        labels = pod["metadata"].get("labels") or {}
        sets = self.informers.of(self.gvr).find("namespace", pod["metadata"]["namespace"]) if labels else ()
        return [key_of(rs) for rs in sets if matches(rs["spec"]["selector"], labels)]

    async def reconcile(self, key: str) -> float | None:
        rs = self.informers.of(self.gvr).get(key)
        if rs is None:
            return None
        pods = await self._pods(rs)
        active = [pod for pod in pods if pod_active(pod)]
        failure = "" if deleting(rs) else await self._scale(rs, active)
        active = [pod for pod in await self._pods(rs) if pod_active(pod)]
        await self._post(rs, active, failure)
        return minimum_wait(rs, active, self.clock.now())

    async def _pods(self, rs: Object) -> list[Object]:
        """Owned pods; orphans that match are adopted."""
        pods = self.informers.of("v1/pods")
        owned = pods.find("owner", rs["metadata"]["uid"])
        if deleting(rs):
            return owned
        for pod in pods.find("orphan", rs["metadata"]["namespace"]):
            if pod_active(pod) and matches(rs["spec"]["selector"], pod["metadata"].get("labels") or {}):
                owned.append(await self._adopt(rs, pod))
        return owned

    async def _adopt(self, rs: Object, pod: Object) -> Object:
        owners = [*(pod["metadata"].get("ownerReferences") or ()), owner_reference(rs)]
        namespace, name = split_key(key_of(pod))
        adopted = await self.port.patch("v1/pods", name, {"metadata": {"ownerReferences": owners}}, namespace)
        self.informers.of("v1/pods").note(adopted)
        return adopted

    async def _scale(self, rs: Object, active: Sequence[Object]) -> str:
        """Make or delete pods; answers why making failed."""
        wanted = rs["spec"].get("replicas", 1)
        for _ in range(min(wanted - len(active), BURST)):
            failure = await create_pod(self, rs, self._new_pod(rs))
            if failure:
                return failure
        for pod in sorted(active, key=deletion_rank)[: max(len(active) - wanted, 0)]:
            await delete_pod(self, rs, pod)
        return ""

    def _new_pod(self, rs: ReadOnly) -> Object:
        pod = pod_from_template(rs["spec"]["template"], rs)
        pod["metadata"]["generateName"] = f"{rs['metadata']['name']}-"
        return pod

    async def _post(self, rs: Object, active: Sequence[Object], failure: str) -> None:
        now = self.clock.now()
        labels = (rs["spec"]["template"].get("metadata", {}).get("labels") or {}).items()
        counts = {
            "fullyLabeledReplicas": sum(labels <= (p["metadata"].get("labels") or {}).items() for p in active),
            "readyReplicas": sum(map(pod_ready, active)),
            "availableReplicas": sum(pod_available(p, rs["spec"].get("minReadySeconds", 0), now) for p in active),
        }
        status: Object = {"replicas": len(active), "observedGeneration": rs["metadata"].get("generation", 1)}
        status |= {key: count or None for key, count in counts.items()}  # zeros are left out in this kind
        conditions = [c for c in rs.get("status", {}).get("conditions") or () if c["type"] != "ReplicaFailure"]
        if failure:
            new = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failure}
            conditions = set_condition(rs.get("status", {}).get("conditions") or (), new, stamp(now))
        status["conditions"] = conditions or None
        await post_status(self, self.gvr, rs, status)


def minimum_wait(owner: ReadOnly, pods: Sequence[ReadOnly], now: datetime) -> float | None:
    """Simulated seconds until the next ready pod will have been ready for `minReadySeconds`."""
    seconds = owner["spec"].get("minReadySeconds", 0)
    if not seconds:
        return None
    waits = [
        (after(ready["lastTransitionTime"], seconds) - now).total_seconds()
        for pod in pods
        if (ready := condition(pod, "Ready")) and ready["status"] == "True"
    ]
    return min((wait + 0.1 for wait in waits if wait > 0), default=None)


async def create_pod(controller: Controller, owner: Object, pod: Object) -> str:
    """Create a pod for a workload, with its event; answers the message of a refusal."""
    try:
        made = await controller.port.create("v1/pods", pod, owner["metadata"]["namespace"])
    except KubeError as error:
        if error.status not in (400, 403, 422):
            raise
        controller.events.emit(owner, "FailedCreate", f"Error creating: {error.message}", "Warning")
        return error.message
    controller.informers.of("v1/pods").note(made)
    controller.events.emit(owner, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")
    return ""


async def delete_pod(controller: Controller, owner: Object, pod: Object) -> None:
    """Delete a workload's pod, with its event. The cache takes it as gone from now on."""
    namespace, name = split_key(key_of(pod))
    try:
        await controller.port.delete("v1/pods", name, namespace)
    except KubeError as error:
        if error.status != 404:
            raise
        return
    controller.events.emit(owner, "SuccessfulDelete", f"Deleted pod: {name}")
    now = await controller.port.get("v1/pods", name, namespace)
    if now is None:
        controller.informers.of("v1/pods").note_deleted(pod)
    else:
        controller.informers.of("v1/pods").note(now)


async def post_status(controller: Controller, gvr: str, obj: Object, status: Mapping[str, Any]) -> None:
    """Patch the status subresource where something differs; a value of None removes its key."""
    old = obj.get("status") or {}
    if all(old.get(key) == value for key, value in status.items()):
        return
    namespace, name = split_key(key_of(obj))
    try:
        posted = await controller.port.patch(gvr, name, {"status": dict(status)}, namespace, subresource="status")
    except KubeError as error:
        if error.status != 404:
            raise
        return
    controller.informers.of(gvr).note(posted)
