"""PodDisruptionBudgets: how many pods may be evicted now. Source: k8s.io/kubernetes/pkg/controller/disruption, 1.33."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from lab.ctl.base import Controller, Keys, key_of
from lab.ctl.objects import (
    Object,
    ReadOnly,
    controller_of,
    int_or_percent,
    matches,
    pod_active,
    pod_ready,
    set_condition,
    stamp,
)
from lab.ctl.replicaset import post_status

BUDGETS, PODS = "policy/v1/poddisruptionbudgets", "v1/pods"
SCALED = {"ReplicaSet": "apps/v1/replicasets", "StatefulSet": "apps/v1/statefulsets"}


class Disruption(Controller):
    """Keys are "namespace/name" of budgets."""

    name: ClassVar[str] = "disruption"
    component: ClassVar[str] = "controllermanager"

    def watches(self) -> Mapping[str, Keys]:
        return {
            BUDGETS: lambda obj: (key_of(obj),),
            PODS: self._of_pod,
            **{gvr: (lambda _: ()) for gvr in SCALED.values()},
        }

    def _of_pod(self, pod: Object) -> Iterator[str]:
        labels = pod["metadata"].get("labels") or {}
        for budget in self.informers.of(BUDGETS).find("namespace", pod["metadata"]["namespace"]):
            if matches(budget["spec"].get("selector"), labels):
                yield key_of(budget)

    async def reconcile(self, key: str) -> float | None:
        budget = self.informers.of(BUDGETS).get(key)
        if budget is None:
            return None
        pods = [
            pod
            for pod in self.informers.of(PODS).find("namespace", budget["metadata"]["namespace"])
            if pod_active(pod) and matches(budget["spec"].get("selector"), pod["metadata"].get("labels") or {})
        ]
        expected, desired = self._wanted(budget, pods)
        healthy = sum(map(pod_ready, pods))
        allowed = max(healthy - desired, 0) if expected else 0
        condition = {
            "type": "DisruptionAllowed",
            "status": "True" if allowed else "False",
            "reason": "SufficientPods" if allowed else "InsufficientPods",
            "message": "",
            "observedGeneration": budget["metadata"].get("generation", 1),
        }
        old = budget.get("status", {}).get("conditions") or ()
        status = {
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "disruptionsAllowed": allowed,
            "expectedPods": expected,
            "observedGeneration": budget["metadata"].get("generation", 1),
            "conditions": set_condition(old, condition, stamp(self.clock.now())),
        }
        await post_status(self, BUDGETS, budget, status)
        return None

    def _wanted(self, budget: ReadOnly, pods: Sequence[ReadOnly]) -> tuple[int, int]:
        """(expected pods, how many must stay healthy)."""
        most, least = budget["spec"].get("maxUnavailable"), budget["spec"].get("minAvailable")
        if most is not None:
            expected = self._scale(pods)
            return expected, max(expected - int_or_percent(most, expected, up=True), 0)
        if isinstance(least, str):
            expected = self._scale(pods)
            return expected, int_or_percent(least, expected, up=True)
        return len(pods), int(least or 0)

    def _scale(self, pods: Sequence[ReadOnly]) -> int:
        """The sum of what the pods' controllers want; pods without one count themselves."""
        owners: dict[str, int] = {}
        for pod in pods:
            owner = controller_of(pod)
            gvr = SCALED.get(owner["kind"]) if owner else None
            held = (
                self.informers.of(gvr).get(f"{pod['metadata']['namespace']}/{owner['name']}") if gvr and owner else None
            )
            if held is not None:
                owners[held["metadata"]["uid"]] = held["spec"].get("replicas", 1)
            else:
                owners[pod["metadata"]["uid"]] = 1
        return sum(owners.values())
