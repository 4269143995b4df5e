"""StatefulSets: pods with an identity, in order, each with its claims. Source: k8s.io/kubernetes/pkg/controller/statefulset, 1.33."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from lab.ctl.base import Controller, Keys, key_of, split_key
from lab.ctl.objects import (
    REVISION_LABEL,
    Object,
    ReadOnly,
    controller_of,
    deleting,
    pod_available,
    pod_finished,
    pod_from_template,
    pod_ready,
)
from lab.ctl.replicaset import minimum_wait, post_status
from lab.ctl.revisions import ensure_revision, prune_revisions
from lab.kube.plain import clone
from lab.kube.port import KubeError

SETS, PODS, CLAIMS = "apps/v1/statefulsets", "v1/pods", "v1/persistentvolumeclaims"
NAME_LABEL, INDEX_LABEL = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


class StatefulSets(Controller):
    """Keys are "namespace/name" of StatefulSets."""

    name: ClassVar[str] = "statefulset"
    component: ClassVar[str] = "statefulset-controller"

    def watches(self) -> Mapping[str, Keys]:
        return {SETS: lambda obj: (key_of(obj),), PODS: _of_pod, CLAIMS: lambda _: ()}

    async def reconcile(self, key: str) -> float | None:
        sts = self.informers.of(SETS).get(key)
        if sts is None or deleting(sts):
            return None
        digest = await ensure_revision(self, sts)
        revision = f"{sts['metadata']['name']}-{digest}"
        await self._advance(sts, revision)
        pods = self._pods(sts)
        await self._post(sts, pods, revision)
        used = [
            str(p["metadata"]["labels"].get(REVISION_LABEL, "")).removeprefix(f"{sts['metadata']['name']}-")
            for p in pods
        ]
        await prune_revisions(self, sts, [digest, *used])
        return minimum_wait(sts, pods, self.clock.now())

    def _pods(self, sts: ReadOnly) -> list[Object]:
        return sorted(self.informers.of(PODS).find("owner", sts["metadata"]["uid"]), key=ordinal)

    async def _advance(self, sts: Object, revision: str) -> None:
        """One step: replace, create, scale down or update, in this order, waiting for each pod unless Parallel."""
        pods = {ordinal(pod): pod for pod in self._pods(sts)}
        first = (sts["spec"].get("ordinals") or {}).get("start", 0)
        wanted = range(first, first + sts["spec"].get("replicas", 1))
        in_order = sts["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        for number in wanted:
            pod = pods.get(number)
            if pod is not None and pod_finished(pod) and not deleting(pod):
                await self._delete(sts, pod)
                return
            if pod is None:
                await self._create(sts, number, self._revision_for(sts, number, revision))
            elif not in_order or (pod_ready(pod) and not deleting(pod)):
                continue
            if in_order:
                return
        condemned = [pods[number] for number in sorted(pods, reverse=True) if number not in wanted]
        for pod in condemned:
            if not deleting(pod):
                await self._delete(sts, pod)
            if in_order:
                return
        await self._update(sts, [pods[n] for n in wanted if n in pods], revision)

    def _revision_for(self, sts: ReadOnly, number: int, revision: str) -> str:
        """Pods below the partition come back in the old revision."""
        rolling = (sts["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
        current = sts.get("status", {}).get("currentRevision")
        return str(current) if current and number < rolling.get("partition", 0) else revision

    async def _update(self, sts: Object, pods: Sequence[Object], revision: str) -> None:
        """Delete the highest outdated pod once all above it are healthy."""
        strategy = sts["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
        for pod in reversed(pods):
            if ordinal(pod) < partition:
                return
            if pod["metadata"]["labels"].get(REVISION_LABEL) != revision and not deleting(pod):
                await self._delete(sts, pod)
                return
            if not pod_ready(pod) or deleting(pod):
                return

    async def _create(self, sts: Object, number: int, revision: str) -> None:
        pod = new_pod(sts, number, revision)
        namespace, name = split_key(key_of(pod))
        owner = sts["metadata"]["name"]
        for claim in claims(sts, number):
            if self.informers.of(CLAIMS).get(key_of(claim)) is None:
                try:
                    self.informers.of(CLAIMS).note(await self.port.create(CLAIMS, claim, namespace))
                except KubeError as error:
                    if error.status != 409:
                        raise
                text = f"create Claim {claim['metadata']['name']} Pod {name} in StatefulSet {owner} success"
                self.events.emit(sts, "SuccessfulCreate", text)
        try:
            made = await self.port.create(PODS, pod, namespace)
        except KubeError as error:
            if error.status not in (400, 403, 422):
                raise
            text = f"create Pod {name} in StatefulSet {owner} failed error: {error.message}"
            self.events.emit(sts, "FailedCreate", text, "Warning")
            return
        self.informers.of(PODS).note(made)
        self.events.emit(sts, "SuccessfulCreate", f"create Pod {name} in StatefulSet {owner} successful")

    async def _delete(self, sts: Object, pod: Object) -> None:
        namespace, name = split_key(key_of(pod))
        await self.port.delete(PODS, name, namespace)
        now = await self.port.get(PODS, name, namespace)
        if now is None:
            self.informers.of(PODS).note_deleted(pod)
        else:
            self.informers.of(PODS).note(now)
        text = f"delete Pod {name} in StatefulSet {sts['metadata']['name']} successful"
        self.events.emit(sts, "SuccessfulDelete", text)

    async def _post(self, sts: Object, pods: Sequence[Object], revision: str) -> None:
        now = self.clock.now()
        old = sts.get("status", {})
        current = old.get("currentRevision") or revision
        alive = [p for p in pods if not deleting(p)]
        updated = sum(p["metadata"]["labels"].get(REVISION_LABEL) == revision for p in alive)
        ready = sum(map(pod_ready, alive))
        wanted = sts["spec"].get("replicas", 1)
        if current != revision and updated == len(pods) == wanted and ready == wanted:
            current = revision
        of_current = sum(p["metadata"]["labels"].get(REVISION_LABEL) == current for p in alive)
        available = sum(pod_available(p, sts["spec"].get("minReadySeconds", 0), now) for p in alive)
        status: Object = {
            "observedGeneration": sts["metadata"].get("generation", 1),
            "replicas": len(pods),
            "currentRevision": current,
            "updateRevision": revision,
            "collisionCount": 0,
            "availableReplicas": available,
            "readyReplicas": ready or None,
            "currentReplicas": of_current or None,
            "updatedReplicas": updated or None,
        }
        await post_status(self, SETS, sts, status)


def _of_pod(pod: Object) -> Iterable[str]:
    owner = controller_of(pod)
    if owner is None or owner["kind"] != "StatefulSet":
        return ()
    return (f"{pod['metadata']['namespace']}/{owner['name']}",)


def ordinal(pod: ReadOnly) -> int:
    """The number at the end of the pod's name."""
    return int(pod["metadata"]["name"].rpartition("-")[2])


def claims(sts: ReadOnly, number: int) -> Iterator[Object]:
    """The claims of one pod, from the templates."""
    for template in sts["spec"].get("volumeClaimTemplates") or ():
        meta = template["metadata"]
        name = f"{meta['name']}-{sts['metadata']['name']}-{number}"
        labels = {**(meta.get("labels") or {}), **(sts["spec"]["selector"].get("matchLabels") or {})}
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": name,
                "namespace": sts["metadata"]["namespace"],
                "labels": labels,
                **({"annotations": meta["annotations"]} if meta.get("annotations") else {}),
            },
            "spec": clone(template["spec"]),
        }


def new_pod(sts: ReadOnly, number: int, revision: str) -> Object:
    """The pod with an ordinal, in a revision."""
    name = f"{sts['metadata']['name']}-{number}"
    labels = {NAME_LABEL: name, INDEX_LABEL: str(number), REVISION_LABEL: revision}
    pod = pod_from_template(sts["spec"]["template"], sts, labels)
    pod["metadata"]["name"] = name
    spec = pod["spec"]
    spec["hostname"] = name
    if sts["spec"].get("serviceName"):
        spec["subdomain"] = sts["spec"]["serviceName"]
    made = [
        {"name": t["metadata"]["name"], "persistentVolumeClaim": {"claimName": f"{t['metadata']['name']}-{name}"}}
        for t in sts["spec"].get("volumeClaimTemplates") or ()
    ]
    if made:
        names = {volume["name"] for volume in made}
        spec["volumes"] = made + [v for v in spec.get("volumes") or () if v["name"] not in names]
    return pod
