"""Cilium as the site wants it: Helm values, address pools, BGP or L2 announcements. Source: foundation.md 5.3, 6, 8.3, 9.2."""

from __future__ import annotations

from typing import Any

from inventory.model import Cluster, Node, Role, Site
from orchestrator.tools.kube import namespace

CAPABILITIES = {  # the chart's default minus SYS_MODULE, which Talos forbids
    "ciliumAgent": ["CHOWN", "KILL", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "SYS_ADMIN", "SYS_RESOURCE", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"],
    "cleanCiliumState": ["NET_ADMIN", "SYS_ADMIN", "SYS_RESOURCE"],
}
FLOW_FIELDS = ["time", "verdict", "drop_reason_desc", "IP", "l4", "source", "destination", "Type", "node_name", "is_reply", "event_type", "traffic_direction"]
HELM = {"app.kubernetes.io/managed-by": "Helm"}
RELEASE = {"meta.helm.sh/release-name": "cilium", "meta.helm.sh/release-namespace": "kube-system"}
PEER = "gateway"
BGP_SECRET = "bgp-gateway"
ADVERTISE = {"advertise": "bgp"}
EVERY_SERVICE = {"matchExpressions": [{"key": "somekey", "operator": "NotIn", "values": ["never-used-value"]}]}  # no selector selects none


def mesh_name(cluster: Cluster) -> str:
    """The cluster's name in the mesh; a later change restarts every workload."""
    return cluster.cilium.name or cluster.name


def families(cluster: Cluster) -> tuple[int, ...]:
    """IP versions of the pods."""
    return tuple(sorted({network.version for network in cluster.pods}))


def values(site: Site, cluster: Cluster) -> dict[str, Any]:
    """Helm values, the very same for the first install and for Flux. No key is in them: the CA is a Secret that stands before."""
    nodes = site.nodes_of(cluster.name)
    wanted: dict[str, Any] = {
        "cluster": {"name": mesh_name(cluster), "id": cluster.cilium.id},
        "ipam": {"mode": "kubernetes"},
        "kubeProxyReplacement": True,
        "k8sServiceHost": "localhost",
        "k8sServicePort": 7445,
        "cgroup": {"autoMount": {"enabled": False}, "hostRoot": "/sys/fs/cgroup"},
        "securityContext": {"capabilities": CAPABILITIES},
        "routingMode": "tunnel",
        "operator": {"replicas": min(2, len(nodes)), "prometheus": {"enabled": True}},
        "prometheus": {"enabled": True},
        "hubble": _hubble(),
        "extraHostPathMounts": [{"name": "hubble-log", "mountPath": "/var/log/hubble", "hostPath": "/var/log/hubble", "hostPathType": "DirectoryOrCreate"}],
    }
    if 6 in families(cluster):
        wanted["ipv6"] = {"enabled": True}
    if 4 not in families(cluster):
        wanted["ipv4"] = {"enabled": False}
    if site.gateway is not None and cluster.bgp is not None:
        wanted["bgpControlPlane"] = {"enabled": True}
    elif cluster.pools:
        wanted["l2announcements"] = {"enabled": True}
        wanted["k8sClientRateLimit"] = {"qps": 20, "burst": 40}  # leases of L2 announcements are renewed often
    return wanted


def _hubble() -> dict[str, Any]:
    """Relay and exporter from the first day: week 7 derives policies from the flows of six weeks (foundation.md 13, row 34)."""
    static = {
        "enabled": True,
        "filePath": "/var/log/hubble/events.log",
        "fileMaxSizeMb": 100,
        "fileMaxBackups": 20,
        "fileCompress": True,
        "fieldMask": FLOW_FIELDS,
        "denyList": ['{"source_label":["reserved:health"]}', '{"destination_label":["reserved:health"]}'],
    }
    return {
        "enabled": True,
        "relay": {"enabled": True},
        "tls": {"auto": {"method": "cronJob"}},
        "metrics": {"enabled": ["dns", "drop", "tcp", "flow", "port-distribution", "icmp"]},
        "export": {"static": static},
    }


def ca_secret() -> dict[str, Any]:
    """The CA that all clusters of the mesh share. Helm's labels, or a chart that renders it refuses it (foundation.md 8.2)."""
    metadata = {"name": "cilium-ca", "namespace": "kube-system", "labels": HELM, "annotations": RELEASE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": {}}


def bgp_secret() -> dict[str, Any]:
    """The sessions' MD5 key."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": BGP_SECRET, "namespace": "kube-system"}, "type": "Opaque", "data": {}}


def marks_namespace() -> dict[str, Any]:
    """Where tests leave their marks."""
    return namespace("bootstrap-system")


def marks_namespace_in_git() -> dict[str, Any]:
    """The same for Flux, which must never prune it."""
    wanted = marks_namespace()
    return {**wanted, "metadata": {**wanted["metadata"], "annotations": {"kustomize.toolkit.fluxcd.io/prune": "disabled"}}}


def pools(cluster: Cluster) -> tuple[dict[str, Any], ...]:
    """Addresses of load balancer Services. `allowFirstLastIPs` is a word, not a boolean."""
    return tuple(
        {
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumLoadBalancerIPPool",
            "metadata": {"name": pool.name},
            "spec": {"allowFirstLastIPs": "No", "blocks": [{"cidr": str(pool.cidr)}]},
        }
        for pool in cluster.pools
    )


def announcements(site: Site, cluster: Cluster) -> tuple[dict[str, Any], ...]:
    """How the pools become known: BGP with the gateway, or ARP and NDP on the node network where there is none."""
    if not cluster.pools:
        return ()
    if site.gateway is None or cluster.bgp is None:
        return (_l2(site, cluster),)
    gateway, asn = site.gateway, cluster.bgp.asn
    versions = sorted({pool.cidr.version for pool in cluster.pools})
    spoken = [{"afi": f"ipv{version}", "safi": "unicast", "advertisements": {"matchLabels": ADVERTISE}} for version in versions]
    peer: dict[str, Any] = {
        "timers": {"connectRetryTimeSeconds": 5, "holdTimeSeconds": 30, "keepAliveTimeSeconds": 10},
        "gracefulRestart": {"enabled": True, "restartTimeSeconds": 60},
        "families": spoken,
    }
    if gateway.bgp_password is not None:
        peer = {"authSecretRef": BGP_SECRET, **peer}
    instance = {"name": f"instance-{asn}", "localASN": asn, "peers": [_peer(gateway.asn, str(gateway.peer))]}
    service = {"advertisementType": "Service", "service": {"addresses": ["LoadBalancerIP"]}, "selector": EVERY_SERVICE}
    return (
        {"apiVersion": "cilium.io/v2", "kind": "CiliumBGPPeerConfig", "metadata": {"name": PEER}, "spec": peer},
        {
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumBGPAdvertisement",
            "metadata": {"name": "load-balancers", "labels": ADVERTISE},
            "spec": {"advertisements": [service]},
        },
        {
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumBGPClusterConfig",
            "metadata": {"name": cluster.name},
            "spec": {"nodeSelector": {"matchLabels": {"kubernetes.io/os": "linux"}}, "bgpInstances": [instance]},
        },
    )


def _peer(asn: int, address: str) -> dict[str, Any]:
    return {"name": PEER, "peerASN": asn, "peerAddress": address, "peerConfigRef": {"name": PEER}}


def _l2(site: Site, cluster: Cluster) -> dict[str, Any]:
    """One node answers for each address. Control planes take part only where there are no workers."""
    workers = [node for node in site.nodes_of(cluster.name) if node.role is Role.WORKER]
    spec: dict[str, Any] = {"loadBalancerIPs": True, "externalIPs": False}
    if workers:
        spec["nodeSelector"] = {"matchExpressions": [{"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"}]}
    return {"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumL2AnnouncementPolicy", "metadata": {"name": cluster.name}, "spec": spec}


# --- mesh ------------------------------------------------------------------------------------------------------------


def mesh_apiserver(cluster: Cluster) -> dict[str, Any]:
    """First half: every cluster serves its state to the others. The node port differs from cluster to cluster: with kube-proxy
    replacement the same one would lead back into the own cluster (foundation.md 8.3)."""
    apiserver = {"service": {"type": "NodePort", "nodePort": cluster.mesh_port}, "tls": {"auto": {"method": "cronJob"}}}
    return {"clustermesh": {"useAPIServer": True, "apiserver": apiserver}}


def mesh_connected(site: Site, cluster: Cluster) -> dict[str, Any]:
    """Second half: every cluster knows where the others serve theirs. A shared CA needs no certificates here."""
    others = [
        {"name": mesh_name(other), "port": other.mesh_port, "ips": [str(node.address) for node in entrances(site, other)]}
        for other in site.clusters
        if other.name != cluster.name
    ]
    half = mesh_apiserver(cluster)["clustermesh"]
    return {"clustermesh": {**half, "config": {"enabled": True, "domain": "mesh.cilium.io", "clusters": others}}}


def entrances(site: Site, cluster: Cluster) -> tuple[Node, ...]:
    """Nodes through which the other clusters come: three give redundancy, more would only restart agents more often."""
    return site.nodes_of(cluster.name)[:3]
