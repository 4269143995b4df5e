"""Deployments: ReplicaSets by revision, rolled by surge and unavailability. Source: k8s.io/kubernetes/pkg/controller/deployment, 1.33."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from lab.ctl.base import Controller, Keys, key_of, split_key
from lab.ctl.objects import (
    HASH_LABEL,
    Object,
    ReadOnly,
    condition,
    controller_of,
    deleting,
    int_or_percent,
    owner_reference,
    pod_finished,
    safe_hash,
    seconds_since,
    set_condition,
    stamp,
)
from lab.ctl.replicaset import post_status
from lab.kube.plain import clone
from lab.kube.port import KubeError

SETS, DEPLOYMENTS = "apps/v1/replicasets", "apps/v1/deployments"
REVISION = "deployment.kubernetes.io/revision"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"
NOT_COPIED = (
    REVISION,
    DESIRED,
    MAX,
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
)


class Deployments(Controller):
    """Keys are "namespace/name" of Deployments."""

    name: ClassVar[str] = "deployment"
    component: ClassVar[str] = "deployment-controller"

    def watches(self) -> Mapping[str, Keys]:
        return {DEPLOYMENTS: lambda obj: (key_of(obj),), SETS: _owner_key, "v1/pods": self._of_pod}

    def _of_pod(self, pod: Object) -> Iterable[str]:
        """Only Recreate waits for pods themselves: they matter when they go."""
        owner = controller_of(pod)
        if owner is None or owner["kind"] != "ReplicaSet" or not deleting(pod):
            return ()
        rs = self.informers.of(SETS).get(f"{pod['metadata']['namespace']}/{owner['name']}")
        return _owner_key(rs) if rs else ()

    async def reconcile(self, key: str) -> float | None:
        deployment = self.informers.of(DEPLOYMENTS).get(key)
        if deployment is None:
            return None
        sets: Sequence[Object] = self.informers.of(SETS).find("owner", deployment["metadata"]["uid"])
        if deleting(deployment):
            await self._post(deployment, sets, self._current(deployment, sets), "")
            return None
        if deployment["spec"].get("paused"):
            current = self._current(deployment, sets)
            sets = await self._proportion(deployment, sets)
            await self._post(deployment, sets, current, "")
            return None
        current, created = await self._ensure_current(deployment, sets)
        sets = [rs for rs in sets if rs["metadata"]["uid"] != current["metadata"]["uid"]] + [current]
        await self._adjust(deployment, sets, current)
        sets = self.informers.of(SETS).find("owner", deployment["metadata"]["uid"])
        current = self.informers.of(SETS).get(key_of(current)) or current
        deployment = self.informers.of(DEPLOYMENTS).get(key) or deployment
        await self._clean_up(deployment, sets, current)
        return await self._post(deployment, sets, current, created)

    # -------------------------------------------------------------------------------------------------------- sets
    def _current(self, deployment: ReadOnly, sets: Sequence[Object]) -> Object | None:
        """The oldest ReplicaSet with the wanted template."""
        wanted = _plain(deployment["spec"]["template"])
        same = [rs for rs in sets if _plain(rs["spec"]["template"]) == wanted]
        return min(same, key=lambda rs: str(rs["metadata"].get("creationTimestamp")), default=None)

    async def _ensure_current(self, deployment: Object, sets: Sequence[Object]) -> tuple[Object, str]:
        """The ReplicaSet of the wanted template with its revision, and the name of one that was made now."""
        revision = max((_revision(rs) for rs in sets), default=0)
        current = self._current(deployment, sets)
        created = ""
        if current is None:
            revision += 1
            current = await self._create(deployment, revision)
            created = current["metadata"]["name"]
        else:
            others = max((_revision(rs) for rs in sets if rs is not current), default=0)
            revision = max(_revision(current), others + 1 if others >= _revision(current) else 0)
            wanted = self._annotations(deployment, revision)
            held = current["metadata"].get("annotations") or {}
            if any(held.get(key) != value for key, value in wanted.items()):
                current = await self._annotate(SETS, current, wanted)
        annotations = deployment["metadata"].get("annotations") or {}
        if annotations.get(REVISION) != str(revision):
            await self._annotate(DEPLOYMENTS, deployment, {REVISION: str(revision)})
        return current, created

    def _annotations(self, deployment: ReadOnly, revision: int) -> Object:
        replicas = deployment["spec"].get("replicas", 1)
        own = deployment["metadata"].get("annotations") or {}
        return {
            **{key: value for key, value in own.items() if key not in NOT_COPIED},
            REVISION: str(revision),
            DESIRED: str(replicas),
            MAX: str(replicas + _surge(deployment)),
        }

    async def _create(self, deployment: Object, revision: int) -> Object:
        template = clone(deployment["spec"]["template"])
        name = deployment["metadata"]["name"]
        digest = safe_hash(template)
        labels = {**(template.get("metadata", {}).get("labels") or {}), HASH_LABEL: digest}
        template.setdefault("metadata", {})["labels"] = labels
        selector = clone(deployment["spec"]["selector"])
        selector.setdefault("matchLabels", {})[HASH_LABEL] = digest
        namespace = deployment["metadata"]["namespace"]
        rs: Object = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{name}-{digest}",
                "namespace": namespace,
                "labels": labels,
                "annotations": self._annotations(deployment, revision),
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {"replicas": 0, "selector": selector, "template": template},
        }
        if deployment["spec"].get("minReadySeconds"):
            rs["spec"]["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
        rs["spec"]["replicas"] = self._first_size(deployment)
        try:
            made = await self.port.create(SETS, rs, namespace)
        except KubeError as error:
            existing = await self.port.get(SETS, rs["metadata"]["name"], namespace) if error.status == 409 else None
            owner = controller_of(existing) if existing else None
            if existing is None or owner is None or owner["uid"] != deployment["metadata"]["uid"]:
                raise
            return existing
        self.informers.of(SETS).note(made)
        if rs["spec"]["replicas"]:
            self._scaled(deployment, made, 0, rs["spec"]["replicas"])
        return made

    def _first_size(self, deployment: ReadOnly) -> int:
        """How many pods a new ReplicaSet starts with."""
        sets = self.informers.of(SETS).find("owner", deployment["metadata"]["uid"])
        wanted: int = deployment["spec"].get("replicas", 1)
        total: int = sum(rs["spec"].get("replicas", 0) for rs in sets)
        if _strategy(deployment) == "Recreate":
            return 0 if self._old_pods(sets) else wanted
        return max(min(wanted + _surge(deployment) - total, wanted), 0)

    def _old_pods(self, sets: Iterable[ReadOnly]) -> list[Object]:
        pods = self.informers.of("v1/pods")
        return [p for rs in sets for p in pods.find("owner", rs["metadata"]["uid"]) if not pod_finished(p)]

    async def _adjust(self, deployment: Object, sets: Sequence[Object], current: Object) -> None:
        """One move of the rollout."""
        old = [rs for rs in sets if rs["metadata"]["uid"] != current["metadata"]["uid"]]
        wanted: int = deployment["spec"].get("replicas", 1)
        if _strategy(deployment) == "Recreate":
            for rs in old:
                await self._resize(deployment, rs, 0)
            if not self._old_pods(old):
                await self._resize(deployment, current, wanted)
            return
        total = sum(rs["spec"].get("replicas", 0) for rs in sets)
        size = current["spec"].get("replicas", 0)
        if size > wanted:
            await self._resize(deployment, current, wanted)
        elif size < wanted:
            room = wanted + _surge(deployment) - total
            if room > 0:
                current = await self._resize(deployment, current, min(size + room, wanted))
        await self._shrink(deployment, old, current, wanted)

    async def _shrink(self, deployment: Object, old: Sequence[Object], current: Object, wanted: int) -> None:
        """Scale old sets down as far as availability allows; pods that are not healthy go first."""
        sizes = {rs["metadata"]["name"]: rs["spec"].get("replicas", 0) for rs in old}
        total_old = sum(sizes.values())
        if not total_old:
            return
        least = wanted - _unavailable(deployment)
        new_size = current["spec"].get("replicas", 0)
        missing = new_size - _available(current)
        budget = total_old + new_size - least - missing
        if budget <= 0:
            return
        ordered = sorted(old, key=lambda rs: str(rs["metadata"].get("creationTimestamp")))
        for rs in ordered:  # unhealthy ones cost no availability
            idle = sizes[rs["metadata"]["name"]] - _available(rs)
            take = min(idle, budget)
            if take > 0:
                sizes[rs["metadata"]["name"]] -= take
                budget -= take
        # a status lags behind its spec: what has been scaled away is not available for long
        available = sum(min(_available(rs), rs["spec"].get("replicas", 0)) for rs in (*old, current))
        spare = available - least
        for rs in ordered:
            take = min(sizes[rs["metadata"]["name"]], spare)
            if take > 0:
                sizes[rs["metadata"]["name"]] -= take
                spare -= take
        for rs in ordered:
            await self._resize(deployment, rs, sizes[rs["metadata"]["name"]])

    async def _proportion(self, deployment: Object, sets: Sequence[Object]) -> Sequence[Object]:
        """A paused Deployment scales what it has: here the newest set alone takes the difference."""
        wanted = deployment["spec"].get("replicas", 1)
        alive = [rs for rs in sets if rs["spec"].get("replicas", 0)]
        newest = max(alive or list(sets), key=_revision, default=None)
        if newest is not None:
            others = sum(rs["spec"].get("replicas", 0) for rs in sets if rs is not newest)
            await self._resize(deployment, newest, max(wanted - others, 0))
        return self.informers.of(SETS).find("owner", deployment["metadata"]["uid"])

    async def _resize(self, deployment: Object, rs: Object, size: int) -> Object:
        before = rs["spec"].get("replicas", 0)
        if before == size:
            return rs
        namespace, name = split_key(key_of(rs))
        replicas = deployment["spec"].get("replicas", 1)
        marks = {DESIRED: str(replicas), MAX: str(replicas + _surge(deployment))}
        change = {"spec": {"replicas": size}, "metadata": {"annotations": marks}}
        resized = await self.port.patch(SETS, name, change, namespace)
        self.informers.of(SETS).note(resized)
        self._scaled(deployment, rs, before, size)
        return resized

    def _scaled(self, deployment: Object, rs: ReadOnly, before: int, size: int) -> None:
        way = "up" if size > before else "down"
        text = f"Scaled {way} replica set {rs['metadata']['name']} from {before} to {size}"
        self.events.emit(deployment, "ScalingReplicaSet", text)

    async def _annotate(self, gvr: str, obj: Object, annotations: Object) -> Object:
        """Through the status where it is the Deployment's: the real controller does so, and its generation stays."""
        namespace, name = split_key(key_of(obj))
        change = {"metadata": {"annotations": annotations}}
        subresource = "status" if gvr == DEPLOYMENTS else ""
        changed = await self.port.patch(gvr, name, change, namespace, subresource=subresource)
        self.informers.of(gvr).note(changed)
        return changed

    async def _clean_up(self, deployment: ReadOnly, sets: Sequence[Object], current: ReadOnly) -> None:
        """Old empty sets beyond the history limit are deleted once the rollout is complete."""
        if not _complete(deployment, sets, current):
            return
        empty = [
            rs
            for rs in sets
            if rs["metadata"]["uid"] != current["metadata"]["uid"]
            and not rs["spec"].get("replicas", 0)
            and not rs.get("status", {}).get("replicas", 0)
            and not deleting(rs)
        ]
        for rs in sorted(empty, key=_revision)[
            : max(len(empty) - deployment["spec"].get("revisionHistoryLimit", 10), 0)
        ]:
            namespace, name = split_key(key_of(rs))
            await self.port.delete(SETS, name, namespace)

    # ------------------------------------------------------------------------------------------------------ status
    async def _post(
        self, deployment: Object, sets: Sequence[Object], current: Object | None, created: str
    ) -> float | None:
        """Write the status; answers when the progress deadline runs out."""
        now = stamp(self.clock.now())
        status = counts(deployment, sets, current)
        conditions: list[Object] = list(deployment.get("status", {}).get("conditions") or ())
        conditions = with_condition(conditions, _availability(deployment, status), now)
        failed = next((c for rs in sets if (c := condition(rs, "ReplicaFailure"))), None)
        if failed is not None:
            copied = {key: failed[key] for key in ("type", "status", "reason", "message")}
            conditions = with_condition(conditions, copied, now)
        else:
            conditions = [c for c in conditions if c["type"] != "ReplicaFailure"]
        left = None
        if not deployment["spec"].get("paused"):
            progressing, left = self._progress(deployment, sets, current, status, created)
            if progressing:
                conditions = with_condition(conditions, progressing, now)
        else:
            paused = {
                "type": "Progressing",
                "status": "Unknown",
                "reason": "DeploymentPaused",
                "message": "Deployment is paused",
            }
            conditions = with_condition(conditions, paused, now)
        await post_status(self, DEPLOYMENTS, deployment, {**status, "conditions": conditions})
        return left

    def _progress(
        self, deployment: ReadOnly, sets: Sequence[ReadOnly], current: ReadOnly | None, status: ReadOnly, created: str
    ) -> tuple[Object | None, float | None]:
        """The Progressing condition to set (None to leave it), and the seconds to its deadline."""
        name = current["metadata"]["name"] if current else ""
        old = condition(deployment, "Progressing")
        if current is not None and _complete(deployment, sets, current):
            text = f'ReplicaSet "{name}" has successfully progressed.'
            return {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": text}, None
        if created:
            text = f'Created new replica set "{created}"'
            return {"type": "Progressing", "status": "True", "reason": "NewReplicaSetCreated", "message": text}, None
        limit = deployment["spec"].get("progressDeadlineSeconds", 600)
        before = deployment.get("status") or {}
        moved = any(
            (status.get(key) or 0) > (before.get(key) or 0)
            for key in ("updatedReplicas", "readyReplicas", "availableReplicas")
        )
        if old is None or moved or (old["reason"] == "NewReplicaSetAvailable"):
            text = f'ReplicaSet "{name}" is progressing.'
            return {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": text}, limit
        waited = seconds_since(self.clock, old.get("lastUpdateTime") or old["lastTransitionTime"])
        if waited >= limit:
            text = f'ReplicaSet "{name}" has timed out progressing.'
            return {
                "type": "Progressing",
                "status": "False",
                "reason": "ProgressDeadlineExceeded",
                "message": text,
            }, None
        return None, limit - waited + 0.5


def counts(deployment: ReadOnly, sets: Sequence[ReadOnly], current: ReadOnly | None) -> Object:
    """The counters of a Deployment's status; zeros are left out (None), as the real kind does."""

    def total(key: str, among: Iterable[ReadOnly]) -> int:
        return sum(rs.get("status", {}).get(key) or 0 for rs in among)

    wanted = sum(rs["spec"].get("replicas", 0) for rs in sets)
    available = total("availableReplicas", sets)
    numbers = {
        "replicas": total("replicas", sets),
        "updatedReplicas": total("replicas", [current] if current else ()),
        "readyReplicas": total("readyReplicas", sets),
        "availableReplicas": available,
        "unavailableReplicas": max(wanted - available, 0),
    }
    observed: dict[str, Any] = {"observedGeneration": deployment["metadata"].get("generation", 1)}
    return observed | {key: number or None for key, number in numbers.items()}


def with_condition(conditions: list[Object], new: ReadOnly, now: str) -> list[Object]:
    """`set_condition` for Deployments, whose conditions carry an update time too."""
    held = next((c for c in conditions if c["type"] == new["type"]), None)
    if held is None:
        return set_condition(conditions, {**new, "lastUpdateTime": now}, now)
    if new["type"] == "Progressing" and new["reason"] == "ReplicaSetUpdated":
        # every step of a rollout moves its time
        conditions = [{**c, "lastUpdateTime": now} if c["type"] == "Progressing" else c for c in conditions]
    return set_condition(conditions, new, now)


def _availability(deployment: ReadOnly, status: ReadOnly) -> Object:
    least = deployment["spec"].get("replicas", 1) - _unavailable(deployment)
    if (status.get("availableReplicas") or 0) >= least:
        text = "Deployment has minimum availability."
        return {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": text}
    text = "Deployment does not have minimum availability."
    return {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "message": text}


def _complete(deployment: ReadOnly, sets: Sequence[ReadOnly], current: ReadOnly) -> bool:
    wanted = deployment["spec"].get("replicas", 1)
    status = counts(deployment, sets, current)
    return bool(
        (status["updatedReplicas"] or 0) == wanted
        and (status["replicas"] or 0) == wanted
        and (status["availableReplicas"] or 0) == wanted
        and current["spec"].get("replicas", 0) == wanted
    )


def _available(rs: ReadOnly) -> int:
    return int(rs.get("status", {}).get("availableReplicas") or 0)


def _strategy(deployment: ReadOnly) -> str:
    return str((deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate"))


def _rolling(deployment: ReadOnly, key: str, *, up: bool) -> int:
    if _strategy(deployment) == "Recreate":
        return 0
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    return int_or_percent(rolling.get(key, "25%"), deployment["spec"].get("replicas", 1), up=up)


def _surge(deployment: ReadOnly) -> int:
    return _rolling(deployment, "maxSurge", up=True)


def _unavailable(deployment: ReadOnly) -> int:
    """maxUnavailable; when both resolve to zero one pod may be missing, as ResolveFenceposts says."""
    count = _rolling(deployment, "maxUnavailable", up=False)
    if _strategy(deployment) == "Recreate":
        return 0
    replicas: int = deployment["spec"].get("replicas", 1)
    return min(count or (0 if _surge(deployment) else 1), replicas)


def _plain(template: ReadOnly) -> Object:
    """A template without the hash label, to compare by."""
    meta = dict(template.get("metadata") or {})
    meta["labels"] = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH_LABEL}
    meta.pop("creationTimestamp", None)
    return {"metadata": meta, "spec": template["spec"]}


def _revision(rs: ReadOnly) -> int:
    return int((rs["metadata"].get("annotations") or {}).get(REVISION, "0"))


def _owner_key(obj: Object) -> Iterable[str]:
    owner = controller_of(obj)
    if owner is None or owner["kind"] != "Deployment":
        return ()
    return (f"{obj['metadata']['namespace']}/{owner['name']}",)
