"""What Cilium's controllers share: where things are, who is up, conditions, selectors; and the gate that waits for CRDs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from lab.clock import Clock
from lab.ctl.base import Controller, Informers, Keys
from lab.faults import Effect
from lab.kube.port import CRDS, KubePort

Object = dict[str, Any]

NAMESPACE = "kube-system"
PODS, NODES, SERVICES, SECRETS = "v1/pods", "v1/nodes", "v1/services", "v1/secrets"
CONFIGMAPS, NAMESPACES = "v1/configmaps", "v1/namespaces"
V2 = "cilium.io/v2"
POOLS = f"{V2}/ciliumloadbalancerippools"
CILIUM_NODES = f"{V2}/ciliumnodes"
CLUSTER_CONFIGS, NODE_CONFIGS = f"{V2}/ciliumbgpclusterconfigs", f"{V2}/ciliumbgpnodeconfigs"
PEER_CONFIGS, ADVERTISEMENTS = f"{V2}/ciliumbgppeerconfigs", f"{V2}/ciliumbgpadvertisements"
OVERRIDES = f"{V2}/ciliumbgpnodeconfigoverrides"
L2_POLICIES = "cilium.io/v2alpha1/ciliuml2announcementpolicies"

AGENT, OPERATOR = {"k8s-app": "cilium"}, {"io.cilium/app": "operator"}
APISERVER = {"k8s-app": "clustermesh-apiserver"}


@lru_cache(maxsize=1)
def crds() -> tuple[Object, ...]:
    """The CRDs that the operator brings. Source: lab/data/cilium/SOURCE.txt."""
    return tuple(json.loads(gzip.decompress((Path(__file__).parents[1] / "data/cilium/crds.json.gz").read_bytes())))


def labels_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """metadata.labels."""
    return obj["metadata"].get("labels") or {}


def has_labels(obj: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether every wanted label is there."""
    have = labels_of(obj)
    return all(have.get(k) == v for k, v in wanted.items())


def ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod's Ready condition is True and it is not going away."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions") or ())


def pods_of(informers: Informers, wanted: Mapping[str, str]) -> list[Object]:
    """The pods of kube-system with these labels, by name."""
    found = [p for p in informers.of(PODS).find("namespace", NAMESPACE) if has_labels(p, wanted)]
    return sorted(found, key=lambda p: str(p["metadata"]["name"]))


def operator_up(informers: Informers) -> bool:
    """Whether a Cilium operator runs."""
    return any(ready(p) for p in pods_of(informers, OPERATOR))


def agent_on(informers: Informers, node: str) -> Object | None:
    """The ready agent of a node."""
    return next((p for p in pods_of(informers, AGENT) if p["spec"].get("nodeName") == node and ready(p)), None)


def config_of(informers: Informers) -> Mapping[str, str]:
    """The data of cilium-config; empty where Cilium is not installed."""
    found = informers.of(CONFIGMAPS).get(f"{NAMESPACE}/cilium-config")
    return (found or {}).get("data") or {}


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """A LabelSelector; None selects all."""
    if selector is None:
        return True
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for need in selector.get("matchExpressions") or ():
        have, values = labels.get(need["key"]), need.get("values") or ()
        verdict = {
            "In": have in values, "NotIn": have not in values, "Exists": have is not None, "DoesNotExist": have is None,
        }[need["operator"]]  # fmt: skip
        if not verdict:
            return False
    return True


def stamp(clock: Clock) -> str:
    """Now, as Kubernetes writes times."""
    return f"{clock.now():%Y-%m-%dT%H:%M:%SZ}"


def conditions(before: Sequence[Mapping[str, Any]] | None, wanted: Iterable[Mapping[str, Any]], now: str) -> list[Object]:
    """`before` with `wanted` put in; a condition whose status and message stay keeps its time."""
    out = {c["type"]: dict(c) for c in before or ()}
    for new in wanted:
        old = out.get(new["type"])
        same = old is not None and all(old.get(k) == v for k, v in new.items())
        if old is None or not same:
            moved = old is None or old.get("status") != new["status"] or old.get("message") != new.get("message")
            out[new["type"]] = {**new, "lastTransitionTime": now if moved or old is None else old["lastTransitionTime"]}
    return list(out.values())


def service_labels(service: Mapping[str, Any]) -> Mapping[str, str]:
    """A service's labels as Cilium's selectors see them."""
    meta = service["metadata"]
    return {**labels_of(service), "io.kubernetes.service.name": meta["name"], "io.kubernetes.service.namespace": meta["namespace"]}


class CrdGate(Controller):
    """Runs controllers once the CRDs that they watch are served: an informer of a kind that is not there would ask for ever."""

    name: ClassVar[str] = "crd-gate"

    def __init__(self, port: KubePort, clock: Clock, informers: Informers, behind: Sequence[tuple[Sequence[str], Controller]]) -> None:
        super().__init__(port, clock, informers)
        self.behind = [(tuple(names), controller) for names, controller in behind]
        self._names = {n for names, _ in self.behind for n in names}

    def watches(self) -> Mapping[str, Keys]:
        return {CRDS: lambda crd: ("all",) if crd["metadata"]["name"] in self._names else ()}

    def script(self, fault: Callable[[str, str], Effect | None]) -> None:
        super().script(fault)
        for _, controller in self.behind:
            controller.script(fault)

    def memory(self) -> dict[str, Any]:
        return {c.name: told for _, c in self.behind if (told := c.memory())}

    def recall(self, memory: dict[str, Any]) -> None:
        for _, controller in self.behind:
            if controller.name in memory:
                controller.recall(memory[controller.name])

    async def reconcile(self, key: str) -> float | None:
        for names, controller in self.behind:
            served = all(_established(self.informers.of(CRDS).get(n)) for n in names)
            if served and not controller.running:
                await controller.start()
            elif not served and controller.running:
                await controller.stop()
        return None

    async def stop(self) -> None:
        for _, controller in self.behind:
            await controller.stop()
        await super().stop()

    @property
    def idle(self) -> bool:
        return super().idle and all(c.idle for _, c in self.behind)


def _established(crd: Mapping[str, Any] | None) -> bool:
    return crd is not None and any(c["type"] == "Established" and c["status"] == "True" for c in crd.get("status", {}).get("conditions") or ())
