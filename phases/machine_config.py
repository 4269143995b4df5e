"""What the product wants of a Talos node beyond the generated configuration, as patches. Source: foundation.md 3.3.

Maps merge into the generated configuration; `podSubnets` and `serviceSubnets` replace, other lists append (foundation.md 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inventory.model import Cluster, Node, Role, Site
from orchestrator.tools.paths import Local
from orchestrator.tools.text import dump


def everywhere(site: Site, cluster: Cluster) -> dict[str, Any]:
    """All nodes of a cluster: no CNI and no kube-proxy (Cilium is both), own subnets, KubePrism, node addresses, time."""
    subnets = [str(cidr) for cidr in site.network.cidrs]
    kubelet: dict[str, Any] = {
        "nodeIP": {"validSubnets": subnets},
        "extraMounts": [{"destination": "/var/openebs/local", "type": "bind", "source": "/var/openebs/local", "options": ["bind", "rshared", "rw"]}],
    }
    if cluster.kubelet_certificates == "approve":
        kubelet["extraArgs"] = {"rotate-server-certificates": "true"}
    return {
        "machine": {
            "kubelet": kubelet,
            "network": {"nameservers": [str(address) for address in site.network.nameservers]},
            "time": {"servers": list(site.network.ntp)},
            "features": {"kubePrism": {"enabled": True, "port": 7445}, "hostDNS": {"enabled": True, "forwardKubeDNSToHost": True}},
        },
        "cluster": {
            "network": {
                "cni": {"name": "none"},
                "podSubnets": [str(cidr) for cidr in cluster.pods],
                "serviceSubnets": [str(cidr) for cidr in cluster.services],
            },
            "proxy": {"disabled": True},
        },
    }


def control_planes(site: Site, cluster: Cluster) -> dict[str, Any]:
    """Metrics of the control plane, etcd on the node network, and workloads where there is no worker to take them."""
    return {
        "cluster": {
            "allowSchedulingOnControlPlanes": all(node.role is Role.CONTROLPLANE for node in taking_workloads(site, cluster)),
            "controllerManager": {"extraArgs": {"bind-address": "0.0.0.0"}},
            "scheduler": {"extraArgs": {"bind-address": "0.0.0.0"}},
            "etcd": {
                "extraArgs": {"listen-metrics-urls": "http://0.0.0.0:2381"},
                "advertisedSubnets": [str(cidr) for cidr in site.network.cidrs],
            },
        },
    }


def taking_workloads(site: Site, cluster: Cluster) -> tuple[Node, ...]:
    """The nodes that plain pods find: the workers, or the control planes where there is none."""
    nodes = site.nodes_of(cluster.name)
    return tuple(node for node in nodes if node.role is Role.WORKER) or nodes


def one_node(site: Site, cluster: Cluster, node: Node) -> dict[str, Any]:
    """Who the node is and where it installs to. The interface is chosen by MAC where the inventory has it."""
    interface: dict[str, Any] = {
        "deviceSelector": {"hardwareAddr": node.mac.lower()} if node.mac else {"physical": True},
        "addresses": [_with_prefix(site, address) for address in (node.address, *node.addresses)],
        "routes": _routes(site),
    }
    if node.role is Role.CONTROLPLANE and cluster.endpoint.vip is not None:
        interface["vip"] = {"ip": str(cluster.endpoint.vip)}
    install = {"diskSelector": node.install_disk.model_dump(exclude_none=True), "wipe": False}
    return {"machine": {"network": {"hostname": node.name, "interfaces": [interface]}, "install": install}}


def _with_prefix(site: Site, address: Any) -> str:
    network = next((cidr for cidr in site.network.cidrs if address in cidr), None)
    return f"{address}/{network.prefixlen if network is not None else address.max_prefixlen}"


def _routes(site: Site) -> list[dict[str, str]]:
    gateways = [gateway for gateway in (site.network.gateway, site.network.gateway6) if gateway is not None]
    return [{"network": "::/0" if gateway.version == 6 else "0.0.0.0/0", "gateway": str(gateway)} for gateway in gateways]


def files(site: Site, cluster: Cluster) -> Mapping[str, str]:
    """Path below the site's folder -> text; nothing in them is secret."""
    local = Local(cluster.name)
    nodes = {local.node(f"{node.name}.patch"): dump(one_node(site, cluster, node)) for node in site.nodes_of(cluster.name)}
    return {local.patch("all"): dump(everywhere(site, cluster)), local.patch("controlplane"): dump(control_planes(site, cluster)), **nodes}
