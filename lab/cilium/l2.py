"""L2 announcements: for each service that a policy selects, one node holds a lease and answers ARP for its addresses.

Source: github.com/cilium/cilium pkg/l2announcer, v1.18: lease `cilium-l2announce-NAMESPACE-NAME` in kube-system.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from lab.cilium.common import (
    AGENT,
    L2_POLICIES,
    NAMESPACE,
    NODES,
    PODS,
    SERVICES,
    Object,
    agent_on,
    config_of,
    has_labels,
    labels_of,
    selects,
    service_labels,
)
from lab.ctl.base import Controller, Keys
from lab.ctl.objects import micro_stamp
from lab.kube.port import KubeError

LEASES = "coordination.k8s.io/v1/leases"
PREFIX = "cilium-l2announce-"


class L2Announcer(Controller):
    """Keeps the leases: a holder stays while its agent is ready and a policy selects it."""

    name: ClassVar[str] = "cilium-agent-l2"
    component: ClassVar[str] = "cilium-agent"

    def watches(self) -> Mapping[str, Keys]:
        return {L2_POLICIES: self._all, SERVICES: self._all, PODS: lambda p: ("all",) if has_labels(p, AGENT) else (), NODES: lambda _: ()}

    def _all(self, _obj: Object) -> Iterable[str]:
        return ("all",)

    async def reconcile(self, key: str) -> float | None:
        if config_of(self.informers).get("enable-l2-announcements") != "true":
            return None
        wanted = self._wanted()
        leases, _ = await self.port.list(LEASES, NAMESPACE)
        mine = {x["metadata"]["name"]: x for x in leases if x["metadata"]["name"].startswith(PREFIX)}
        for name in mine.keys() - wanted.keys():
            await self._drop(name)
        for name, nodes in wanted.items():
            holder = mine.get(name, {"spec": {}})["spec"].get("holderIdentity", "")
            if holder not in nodes and nodes:
                await self._hold(name, sorted(nodes)[0], name in mine)
        return None

    def _wanted(self) -> dict[str, set[str]]:
        """Lease name -> nodes that may hold it."""
        out: dict[str, set[str]] = {}
        for policy in self.informers.of(L2_POLICIES).values():
            spec = policy["spec"]
            nodes = {n["metadata"]["name"] for n in self.informers.of(NODES).values() if selects(spec.get("nodeSelector"), labels_of(n)) and agent_on(self.informers, n["metadata"]["name"])}
            for service in self.informers.of(SERVICES).values():
                announced = (spec.get("loadBalancerIPs") and ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress")) or (spec.get("externalIPs") and service["spec"].get("externalIPs"))
                fits = service["spec"].get("loadBalancerClass") in (None, "io.cilium/l2-announcer") and selects(spec.get("serviceSelector"), service_labels(service))
                if announced and fits:
                    out.setdefault(f"{PREFIX}{service['metadata']['namespace']}-{service['metadata']['name']}", set()).update(nodes)
        return out

    async def _hold(self, name: str, node: str, exists: bool) -> None:
        spec = {"holderIdentity": node, "leaseDurationSeconds": 15, "acquireTime": micro_stamp(self.clock.now()), "renewTime": micro_stamp(self.clock.now())}
        if exists:
            await self.port.patch(LEASES, name, {"spec": spec}, NAMESPACE)
        else:
            await self.port.create(LEASES, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}, NAMESPACE)

    async def _drop(self, name: str) -> None:
        try:
            await self.port.delete(LEASES, name, NAMESPACE)
        except KubeError as error:
            if error.status != 404:
                raise
