"""What Talos puts into a new cluster: CoreDNS, kubelet and API server identities, the node's shape, static pods, the admin kubeconfig.

Source: talos `internal/app/machined/pkg/controllers/k8s` (bootstrap manifests, static pods), v1.11.2.
"""

from __future__ import annotations

import base64
import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from inventory.model import Cluster
from lab.ctl.kubelet import NodeSpec
from lab.kube.pki import ClusterCA
from lab.kube.port import KubeError, KubePort

if TYPE_CHECKING:
    from lab.machines import Machine

Object = dict[str, Any]
MANAGER = "talos"
COREDNS_IMAGE = "registry.k8s.io/coredns/coredns:v1.12.3"
COREFILE = """.:53 {
    errors
    health {
        lameduck 5s
    }
    ready
    log . {
        class error
    }
    prometheus :9153

    kubernetes %s in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
        disable success %s
        disable denial %s
    }
    loop
    reload
    loadbalance
}
"""


async def install(port: KubePort, document: Object, spec: Cluster) -> None:
    """Create the bootstrap manifests; what is there already is left alone, as Talos leaves it."""
    for gvr, obj in bootstrap_manifests(document, spec):
        meta = obj["metadata"]
        if await port.get(gvr, meta["name"], meta.get("namespace", "")) is None:
            try:
                await port.apply(gvr, obj, MANAGER)
            except KubeError as error:
                if error.status not in (404, 409):  # its namespace may come a little later; the next start tries again
                    raise


def bootstrap_manifests(document: Object, spec: Cluster) -> list[tuple[str, Object]]:
    """(gvr, object) of every manifest."""
    domain = (document.get("network") or {}).get("dnsDomain", "cluster.local")
    network = document.get("network") or {}
    subnets = network.get("serviceSubnets") or [str(n) for n in spec.services]
    found: list[tuple[str, Object]] = []
    if not (document.get("coreDNS") or {}).get("disabled"):
        found += _coredns(domain, [str(ipaddress.ip_network(s)[10]) for s in subnets])
    cni = (network.get("cni") or {}).get("name", "flannel")
    if cni == "flannel":
        found.append(("apps/v1/daemonsets", _daemonset("kube-flannel", "ghcr.io/siderolabs/flannel:v0.27.2")))
    if not (document.get("proxy") or {}).get("disabled"):
        image = (document.get("proxy") or {}).get("image", "registry.k8s.io/kube-proxy:v1.33.5")
        found.append(("apps/v1/daemonsets", _daemonset("kube-proxy", image)))
    return found


def pod_security(document: Object) -> tuple[dict[str, str], frozenset[str]]:
    """The API server's Pod Security defaults, as namespace labels, and the namespaces that are exempt. Source: the config's admissionControl."""
    for plugin in (document.get("apiServer") or {}).get("admissionControl") or ():
        if plugin.get("name") == "PodSecurity":
            config = plugin.get("configuration") or {}
            defaults = {f"pod-security.kubernetes.io/{k}": str(v) for k, v in (config.get("defaults") or {}).items()}
            return defaults, frozenset((config.get("exemptions") or {}).get("namespaces") or ())
    return {}, frozenset()


def _coredns(domain: str, addresses: list[str]) -> list[tuple[str, Object]]:
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta("coredns")}
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _meta("coredns"),
        "data": {"Corefile": COREFILE % (domain, domain, domain)},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_meta("coredns"), "labels": labels},
        "spec": {
            "replicas": 2,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
            "template": {
                "metadata": {"labels": {"k8s-app": "kube-dns"}},
                "spec": {
                    "serviceAccountName": "coredns",
                    "priorityClassName": "system-cluster-critical",
                    "tolerations": [
                        {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
                        {
                            "key": "node.cloudprovider.kubernetes.io/uninitialized",
                            "operator": "Exists",
                            "effect": "NoSchedule",
                        },
                    ],
                    "containers": [
                        {
                            "name": "coredns",
                            "image": COREDNS_IMAGE,
                            "args": ["-conf", "/etc/coredns/Corefile"],
                            "ports": [
                                {"name": "dns", "protocol": "UDP", "containerPort": 53},
                                {"name": "dns-tcp", "protocol": "TCP", "containerPort": 53},
                                {"name": "metrics", "protocol": "TCP", "containerPort": 9153},
                            ],
                            "resources": {"limits": {"memory": "170Mi"}, "requests": {"cpu": "100m", "memory": "70Mi"}},
                            "volumeMounts": [{"name": "config-volume", "mountPath": "/etc/coredns", "readOnly": True}],
                        }
                    ],
                    "dnsPolicy": "Default",
                    "volumes": [
                        {
                            "name": "config-volume",
                            "configMap": {"name": "coredns", "items": [{"key": "Corefile", "path": "Corefile"}]},
                        }
                    ],
                },
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            **_meta("kube-dns"),
            "labels": {**labels, "kubernetes.io/cluster-service": "true"},
            "annotations": {"prometheus.io/port": "9153", "prometheus.io/scrape": "true"},
        },
        "spec": {
            "selector": {"k8s-app": "kube-dns"},
            "clusterIP": addresses[0],
            "clusterIPs": addresses,
            "ipFamilyPolicy": "SingleStack" if len(addresses) == 1 else "RequireDualStack",
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                {"name": "metrics", "port": 9153, "protocol": "TCP"},
            ],
        },
    }
    return [
        ("v1/serviceaccounts", account),
        ("v1/configmaps", config),
        ("apps/v1/deployments", deployment),
        ("v1/services", service),
    ]


def _daemonset(name: str, image: str) -> Object:
    labels = {"k8s-app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {**_meta(name), "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "hostNetwork": True,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": name, "image": image}],
                },
            },
        },
    }


def _meta(name: str) -> Object:
    return {"name": name, "namespace": "kube-system"}


def node_spec(machine: Machine) -> NodeSpec:
    """The Node as this machine's kubelet registers it."""
    config = machine.machine_config
    labels = {str(k): str(v) for k, v in (config.get("nodeLabels") or {}).items()}
    taints: list[dict[str, str]] = []
    if machine.control_plane:
        labels["node-role.kubernetes.io/control-plane"] = ""
        if not (machine.cluster_config.get("allowSchedulingOnControlPlanes") or False):
            taints.append({"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"})
    subnets = ((config.get("kubelet") or {}).get("nodeIP") or {}).get("validSubnets") or []
    return NodeSpec(
        name=machine.hostname,
        addresses=tuple(node_ips(machine.addresses, [str(s) for s in subnets])),
        labels=labels,
        annotations={str(k): str(v) for k, v in (config.get("nodeAnnotations") or {}).items()},
        taints=tuple(taints),
        os_image=f"Talos ({machine.state.version})",
        kernel="6.12.48-talos",
        container_runtime="containerd://2.1.4",
        kubelet_version=_tag((config.get("kubelet") or {}).get("image", "")) or "v1.33.5",
        machine_id=machine.uuid.replace("-", ""),
        system_uuid=machine.uuid,
        boot_id=machine.state.boot_id,
    )


def node_ips(addresses: list[str], subnets: list[str]) -> list[str]:
    """The addresses that a kubelet reports: one of each family, out of the valid subnets where those are given."""
    networks = [ipaddress.ip_network(s, strict=False) for s in subnets if not s.startswith("!")]
    found: dict[int, str] = {}
    for text in addresses:
        address = ipaddress.ip_address(text)
        if not networks or any(address.version == n.version and address in n for n in networks):
            found.setdefault(address.version, text)
    families = [4, 6]
    return [found[f] for f in families if f in found]


def static_pods(machine: Machine) -> list[Object]:
    """The control plane's static pods on this machine."""
    if not machine.control_plane:
        return []
    cluster = machine.cluster_config
    components = (
        ("kube-apiserver", "apiServer"),
        ("kube-controller-manager", "controllerManager"),
        ("kube-scheduler", "scheduler"),
    )
    return [
        _static_pod(name, (cluster.get(key) or {}).get("image", f"registry.k8s.io/{name}:v1.33.5"))
        for name, key in components
    ]


def _static_pod(name: str, image: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "kube-system",
            "labels": {"app.kubernetes.io/name": name, "component": name, "k8s-app": name, "tier": "control-plane"},
        },
        "spec": {
            "hostNetwork": True,
            "priorityClassName": "system-cluster-critical",
            "containers": [
                {"name": name, "image": image, "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}
            ],
            "tolerations": [{"operator": "Exists", "effect": "NoExecute"}],
        },
    }


def admin_kubeconfig(name: str, endpoint: str, ca_cert: str, ca_key: str, days: int | None = None) -> str:
    """The text that Talos writes: context admin@NAME, certificates embedded, valid for a year (or `days`)."""
    ca = ClusterCA(ca_cert, ca_key)
    end = None if days is None else datetime.now(UTC) + timedelta(days=days)
    pair = ca.issue("admin", ("system:masters",), not_after=end)
    user = f"admin@{name}"
    return (
        "apiVersion: v1\n"
        "kind: Config\n"
        "clusters:\n"
        f"- name: {name}\n"
        "  cluster:\n"
        f"    server: {endpoint}\n"
        f"    certificate-authority-data: {_b64(ca_cert)}\n"
        "users:\n"
        f"- name: {user}\n"
        "  user:\n"
        f"    client-certificate-data: {_b64(pair.cert)}\n"
        f"    client-key-data: {_b64(pair.key)}\n"
        "contexts:\n"
        "- context:\n"
        f"    cluster: {name}\n"
        "    namespace: default\n"
        f"    user: {user}\n"
        f"  name: {user}\n"
        f"current-context: {user}\n"
    )


def _tag(image: str) -> str:
    return image.rsplit(":", 1)[-1] if ":" in image else ""


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
