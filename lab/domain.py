"""What lives in the clusters of a world: Cilium and Flux, each idle until its objects are there.

`inhabit` is called once, before the clusters start; the programs then find a cluster's Cilium by `cilium_of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from lab.cilium.attach import Cilium, attach
from lab.cilium.mesh import Meshes
from lab.ctl.base import Controller
from lab.flux.attach import attach as attach_flux

if TYPE_CHECKING:
    from lab.cluster import LabCluster
    from lab.world import World

KUBE_PROXY = "kube-system/kube-proxy"
_CILIUM: WeakKeyDictionary[Any, Cilium] = WeakKeyDictionary()


def cilium_of(cluster: LabCluster) -> Cilium | None:
    """Cilium in a cluster that has been up."""
    return _CILIUM.get(cluster)


def inhabit(world: World) -> None:
    """Give every cluster of the world its inhabitants."""
    meshes = Meshes()
    for cluster in world.clusters.values():
        cluster.extras.append(lambda one: _controllers(one, meshes))


def _controllers(cluster: LabCluster, meshes: Meshes) -> Sequence[Controller]:
    world = cluster.world
    subnet = cluster.spec.services[0]
    gateway = str(world.site.gateway.peer) if world.site.gateway is not None else ""
    cilium = attach(
        cluster, meshes=meshes, fabric=world.bgp, service_ip=str(subnet[1]), gateway=gateway,
        reach=lambda host, port, node: reach(cluster, host, port, node),
    )  # fmt: skip
    _CILIUM[cluster] = cilium
    return [*cilium.controllers, *attach_flux(cluster)]


def reach(cluster: LabCluster, host: str, port: str, node: str) -> str:
    """Why the Kubernetes API does not answer a host-network pod of `node` at an address; empty where it does."""
    if cluster.without_machines:
        return ""
    if host in ("localhost", "127.0.0.1"):
        machine = next((m for m in cluster.world.machines.values() if m.cluster is cluster and m.hostname == node), None)
        prism = ((machine.machine_config.get("features") or {}).get("kubePrism") or {}) if machine is not None else {}
        own = machine is not None and machine.control_plane and port == "6443"
        return "" if own or (prism.get("enabled") and port == str(prism.get("port", 7445))) else "connect: connection refused"
    if host == str(cluster.spec.services[0][1]):
        proxy = cluster.informers.of("apps/v1/daemonsets").get(KUBE_PROXY)
        return "" if proxy is not None else "i/o timeout"
    return "" if port.isdigit() and cluster.leads_here(host, int(port)) else "i/o timeout"
