"""The Cilium chart as code: the real objects' names, kinds, labels and shapes, from the real chart's values.

Values that change nothing here are kept and ignored, as the chart's schema lets unknown keys pass.
Source: install/kubernetes/cilium of github.com/cilium/cilium at v1.18.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lab.cilium import ca
from lab.helm import goyaml
from lab.helm.charts import Chart, ChartError, Context, Offer, Source
from lab.helm.objects import Object
from lab.helm.template import text_of

REPOSITORY = "https://helm.cilium.io"
VERSIONS = tuple(f"1.18.{i}" for i in range(13)) + tuple(f"1.17.{i}" for i in range(10))
ENVOY_IMAGE = "v1.34.7"
CERTGEN_IMAGE = "quay.io/cilium/certgen:v0.2.4"
NAME = re.compile(r"^([a-z0-9][-a-z0-9]*)?[a-z0-9]$")
V = Mapping[str, Any]


@lru_cache(maxsize=1)
def default_values() -> dict[str, Any]:
    """The chart's defaults."""
    loaded: dict[str, Any] = goyaml.load((Path(__file__).parents[1] / "data/charts/cilium-values.yaml").read_text())
    return loaded


@lru_cache(maxsize=64)
def chart(version: str) -> Chart:
    """The chart at a version."""
    metadata = {
        "name": "cilium", "home": "https://cilium.io/", "sources": ["https://github.com/cilium/cilium"], "version": version,
        "description": "eBPF-based Networking, Security, and Observability", "apiVersion": "v2", "appVersion": version, "kubeVersion": ">= 1.21.0-0",
    }  # fmt: skip
    return Chart(metadata=metadata, values=default_values(), schema=_schema(), make=make, values_text=goyaml.dump(default_values()))


OFFER = Offer("cilium", VERSIONS, chart)


def _schema() -> dict[str, Any]:
    """Types of values, as the chart's values.schema.json states them: those of the defaults, wider where it is wider."""
    schema = _typed(default_values())
    for path, types in _WIDER.items():
        node = schema
        *above, last = path.split(".")
        for key in above:
            node = node["properties"][key]
        node["properties"][last] = {"type": types}
    return schema


_WIDER = {
    "kubeProxyReplacement": ["string", "boolean"], "k8sServicePort": ["string", "integer"], "clustermesh.config.clusters": ["array", "object"],
    "envoy.prometheus.port": ["string", "integer"], "devices": ["string", "array"], "operator.updateStrategy": ["object"], "updateStrategy": ["object"],
    "hubble.relay.updateStrategy": ["object"], "clustermesh.apiserver.updateStrategy": ["object"], "envoy.updateStrategy": ["object"],
}  # fmt: skip


def _typed(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "integer"}
    if isinstance(value, str):
        return {"type": "string"}
    if isinstance(value, list):
        return {"type": "array"}
    if isinstance(value, Mapping):
        return {"type": "object", "properties": {k: _typed(v) for k, v in value.items()}}
    return {}


def validate(v: V, served: frozenset[str]) -> None:
    """The chart's own checks. Raises ChartError."""
    name, number = str(v["cluster"]["name"]), v["cluster"]["id"]
    checks = (
        (len(name) > 32, "The cluster name is invalid: must not be more than 32 characters. Configure 'cluster.name'"),
        (not NAME.match(name), "The cluster name is invalid: must consist of lower case alphanumeric characters and '-', and must start and end with an alphanumeric character. Configure 'cluster.name'"),
        (name == "default" and number != 0, "The cluster name is invalid: cannot use default value with cluster.id != 0"),
        (not 0 <= number <= v["clustermesh"]["maxConnectedClusters"], f"The cluster is invalid: cluster.id cannot be greater than {v['clustermesh']['maxConnectedClusters']}"),
        (v["clustermesh"]["maxConnectedClusters"] not in (255, 511), "maxConnectedClusters must be set to 255 or 511"),
        (v["clustermesh"]["useAPIServer"] and number == 0, "The cluster is invalid: cluster.id must be set when clustermesh is enabled"),
        (v["hubble"]["ui"]["enabled"] and not v["hubble"]["relay"]["enabled"], "Hubble UI requires .Values.hubble.relay.enabled=true"),
        (v["hubble"]["relay"]["enabled"] and not v["hubble"]["enabled"], "Hubble Relay requires .Values.hubble.enabled=true"),
        (
            (v["prometheus"]["serviceMonitor"]["enabled"] or v["operator"]["prometheus"]["serviceMonitor"]["enabled"]) and "monitoring.coreos.com/v1" not in served,
            "Service Monitor requires monitoring.coreos.com/v1 CRDs. Please refer to https://github.com/prometheus-operator/prometheus-operator/blob/master/example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        ),
        (str(v["kubeProxyReplacement"]) not in ("true", "True", "false", "False"), f"kubeProxyReplacement must be explicitly set to a valid value (true or false), instead of {v['kubeProxyReplacement']}"),
        (v["routingMode"] not in ("", "tunnel", "native"), f"unknown routingMode {v['routingMode']}"),
    )  # fmt: skip
    for i, (broken, message) in enumerate(checks):
        if broken:
            raise ChartError(f"execution error at (cilium/templates/validate.yaml:{3 + 4 * i}:7): {message}")


async def make(context: Context, this: Chart) -> tuple[list[Source], str]:
    """All files of the chart with their objects, and the notes."""
    v = context.values
    validate(v, context.capabilities.APIVersions.served)
    namespace, version = context.namespace, f"v{this.version}"
    mesh = bool(v["clustermesh"]["useAPIServer"])
    authority = await _authority(context, v)
    files: list[Source] = [
        ("templates/cilium-secrets-namespace.yaml", [_secrets_namespace(v)]),
        *((f"templates/{component}/serviceaccount.yaml", [_account(name, namespace)]) for component, name in _accounts(v)),
    ]
    if authority and (v["tls"]["ca"]["cert"] or _method(v, "hubble") == "helm" or (mesh and _method(v, "mesh") == "helm")):
        files.append(("templates/cilium-ca-secret.yaml", [_secret("cilium-ca", namespace, authority.data("ca.crt", "ca.key"))]))
    files += [
        ("templates/cilium-configmap.yaml", [_configmap("cilium-config", namespace, config(v, this.version, namespace))]),
        ("templates/cilium-envoy/configmap.yaml", [_configmap("cilium-envoy-config", namespace, {"bootstrap-config.json": _ENVOY_BOOTSTRAP})]),
        *_rbac(v, namespace),
        ("templates/cilium-agent/daemonset.yaml", [_agent(v, namespace, version)]),
        ("templates/cilium-envoy/daemonset.yaml", [_envoy(v, namespace)]),
        ("templates/cilium-envoy/service.yaml", [_envoy_service(namespace)]),
        ("templates/cilium-operator/deployment.yaml", [_operator(v, namespace, version)]),
    ]
    if v["hubble"]["enabled"]:
        files += _hubble(v, namespace, version, authority, context)
    if mesh:
        files += _mesh(v, namespace, version, authority, context)
    if v["clustermesh"]["config"]["enabled"]:
        files.append(("templates/clustermesh-config/clustermesh-secret.yaml", [_secret("cilium-clustermesh", namespace, _mesh_config(v, local=mesh))]))
        if mesh:
            files.append(("templates/clustermesh-config/kvstoremesh-secret.yaml", [_secret("cilium-kvstoremesh", namespace, _mesh_config(v, local=False))]))
    return files, _notes(v, this.version)


def _notes(v: V, version: str) -> str:
    what = "Cilium with Hubble" if v["hubble"]["enabled"] else "Cilium"
    extra = " Relay" if v["hubble"]["relay"]["enabled"] else ""
    minor = ".".join(version.split(".")[:2])
    return f"You have successfully installed {what}{extra}.\n\nYour release version is {version}.\n\nFor any further help, visit https://docs.cilium.io/en/v{minor}/gettinghelp\n"


async def _authority(context: Context, v: V) -> ca.Pair | None:
    """The CA that the chart signs with: the given one, else the cluster's own, else a new one. None where nothing wants it."""
    given = v["tls"]["ca"]
    if given["cert"] and given["key"]:
        pair = ca.Pair(ca.unb64(given["cert"]), ca.unb64(given["key"]))
        if not ca.is_pair(pair.cert, pair.key):
            raise ChartError(
                'template: cilium/templates/cilium-ca-secret.yaml:9:12: executing "cilium/templates/cilium-ca-secret.yaml" at '
                '<include "cilium.ca.setup" .>: error calling include: template: cilium/templates/_helpers.tpl:68:13: executing "cilium.ca.setup" at '
                "<buildCustomCert $crt $key>: error calling buildCustomCert: unable to decode certificate"
            )
        return pair
    if not (_method(v, "hubble") == "helm" or (v["clustermesh"]["useAPIServer"] and _method(v, "mesh") == "helm")):
        return None
    there = await context.lookup("v1", "Secret", context.namespace, "cilium-ca")
    if there and (there.get("data") or {}).get("ca.crt"):
        return ca.Pair(ca.unb64(there["data"]["ca.crt"]), ca.unb64(there["data"]["ca.key"]))
    return ca.make_ca(context.now, given["certValidityDuration"])


def _method(v: V, what: str) -> str:
    """ "helm", "cronJob", "certmanager" or "" of the certificates of Hubble or the mesh."""
    if what == "hubble":
        tls = v["hubble"]["tls"]
        return str(tls["auto"]["method"]) if v["hubble"]["enabled"] and tls["enabled"] and tls["auto"]["enabled"] else ""
    auto = v["clustermesh"]["apiserver"]["tls"]["auto"]
    return str(auto["method"]) if auto["enabled"] else ""


def _accounts(v: V) -> list[tuple[str, str]]:
    names = [("cilium-agent", "cilium"), ("cilium-envoy", "cilium-envoy"), ("cilium-operator", "cilium-operator")]
    if v["hubble"]["relay"]["enabled"]:
        names.append(("hubble-relay", "hubble-relay"))
    if _method(v, "hubble") == "cronJob":
        names.append(("hubble/tls-cronjob", "hubble-generate-certs"))
    if v["clustermesh"]["useAPIServer"]:
        names.append(("clustermesh-apiserver", "clustermesh-apiserver"))
        if _method(v, "mesh") == "cronJob":
            names.append(("clustermesh-apiserver/tls-cronjob", "clustermesh-apiserver-generate-certs"))
    return names


def _meta(name: str, namespace: str = "", **labels: str) -> Object:
    out: Object = {"name": name}
    if namespace:
        out["namespace"] = namespace
    if labels:
        out["labels"] = {k.replace("__", "/").replace("_", "-"): v for k, v in labels.items()}
    return out


def _labels(app: str, name: str) -> Object:
    return {"k8s-app": app, "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "cilium"}


def _account(name: str, namespace: str) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(name, namespace)}


def _secret(name: str, namespace: str, data: Mapping[str, str], kind: str = "Opaque") -> Object:
    out: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": _meta(name, namespace), "data": dict(data)}
    return out if kind == "Opaque" else out | {"type": kind}


def _configmap(name: str, namespace: str, data: Mapping[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(name, namespace), "data": dict(data)}


def _secrets_namespace(v: V) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": v["tls"]["secretsNamespace"]["name"], "labels": {"app.kubernetes.io/part-of": "cilium"}}}


_ENVOY_BOOTSTRAP = json.dumps({"node": {"id": "host~127.0.0.1~no-id~localdomain", "cluster": "ingress-cluster"}, "admin": {"address": {"pipe": {"path": "/var/run/cilium/envoy/sockets/admin.sock"}}}}, indent=2)  # fmt: skip


def config(v: V, version: str, namespace: str) -> dict[str, str]:
    """The data of ConfigMap cilium-config."""
    replacement = str(v["kubeProxyReplacement"]).lower()
    kpr = replacement == "true"
    mode = v["routingMode"] or "tunnel"
    data: dict[str, Any] = {
        "agent-not-ready-taint-key": "node.cilium.io/agent-not-ready",
        "auto-direct-node-routes": v["autoDirectNodeRoutes"],
        "bgp-router-id-allocation-ip-pool": v["bgpControlPlane"]["routerIDAllocation"]["ipPool"],
        "bgp-router-id-allocation-mode": v["bgpControlPlane"]["routerIDAllocation"]["mode"],
        "bgp-secrets-namespace": v["bgpControlPlane"]["secretsNamespace"]["name"],
        "bpf-distributed-lru": v["bpf"]["distributedLRU"]["enabled"],
        "bpf-events-drop-enabled": v["bpf"]["events"]["drop"]["enabled"],
        "bpf-events-policy-verdict-enabled": v["bpf"]["events"]["policyVerdict"]["enabled"],
        "bpf-events-trace-enabled": v["bpf"]["events"]["trace"]["enabled"],
        "bpf-lb-acceleration": v["loadBalancer"]["acceleration"],
        "bpf-lb-algorithm-annotation": v["bpf"]["lbAlgorithmAnnotation"],
        "bpf-lb-external-clusterip": v["bpf"]["lbExternalClusterIP"],
        "bpf-lb-map-max": 65536,
        "bpf-lb-mode-annotation": False,
        "bpf-lb-sock": False,
        "bpf-lb-source-range-all-types": False,
        "bpf-map-dynamic-size-ratio": "0.0025",
        "bpf-policy-map-max": 16384,
        "bpf-policy-stats-map-max": 65536,
        "bpf-root": "/sys/fs/bpf",
        "cgroup-root": v["cgroup"]["hostRoot"],
        "cilium-endpoint-gc-interval": "5m0s",
        "cluster-id": v["cluster"]["id"],
        "cluster-name": v["cluster"]["name"],
        "clustermesh-enable-endpoint-sync": v["clustermesh"]["enableEndpointSliceSynchronization"],
        "clustermesh-enable-mcs-api": v["clustermesh"]["enableMCSAPISupport"],
        "cni-exclusive": v["cni"]["exclusive"],
        "cni-log-file": v["cni"]["logFile"],
        "custom-cni-conf": False,
        "datapath-mode": "veth",
        "debug": v["debug"]["enabled"],
        "debug-verbose": v["debug"]["verbose"] or "",
        "default-lb-service-ipam": "lbipam",
        "direct-routing-skip-unreachable": False,
        "dnsproxy-enable-transparent-mode": True,
        "egress-gateway-reconciliation-trigger-interval": "1s",
        "enable-auto-protect-node-port-range": v["nodePort"]["autoProtectPortRange"],
        "enable-bgp-control-plane": v["bgpControlPlane"]["enabled"],
        "enable-bgp-control-plane-status-report": v["bgpControlPlane"]["statusReport"]["enabled"],
        "enable-bpf-clock-probe": False,
        "enable-endpoint-health-checking": True,
        "enable-endpoint-lockdown-on-policy-overflow": False,
        "enable-health-check-loadbalancer-ip": False,
        "enable-health-check-nodeport": v["nodePort"]["enableHealthCheck"],
        "enable-health-checking": v["healthChecking"],
        "enable-hubble": v["hubble"]["enabled"],
        "enable-internal-traffic-policy": v["enableInternalTrafficPolicy"],
        "enable-ipv4": v["ipv4"]["enabled"],
        "enable-ipv4-big-tcp": False,
        "enable-ipv4-masquerade": v["enableIPv4Masquerade"],
        "enable-ipv6": v["ipv6"]["enabled"],
        "enable-ipv6-big-tcp": False,
        "enable-ipv6-masquerade": v["enableIPv6Masquerade"],
        "enable-k8s-networkpolicy": True,
        "enable-l2-announcements": v["l2announcements"]["enabled"],
        "enable-l2-neigh-discovery": v["l2NeighDiscovery"]["enabled"],
        "enable-l7-proxy": v["l7Proxy"],
        "enable-lb-ipam": True,
        "enable-local-redirect-policy": v["localRedirectPolicy"],
        "enable-masquerade-to-route-source": False,
        "enable-metrics": True,
        "enable-node-port": v["nodePort"]["enabled"],
        "enable-node-selector-labels": False,
        "enable-non-default-deny-policies": True,
        "enable-policy": v["policyEnforcementMode"],
        "enable-policy-secrets-sync": True,
        "enable-sctp": False,
        "enable-source-ip-verification": True,
        "enable-tcx": True,
        "enable-vtep": False,
        "enable-well-known-identities": False,
        "enable-xt-socket-fallback": True,
        "envoy-access-log-buffer-size": 4096,
        "envoy-base-id": 0,
        "envoy-keep-cap-netbindservice": False,
        "external-envoy-proxy": True,
        "health-check-icmp-failure-threshold": 3,
        "http-retry-count": 3,
        "hubble-disable-tls": not v["hubble"]["tls"]["enabled"],
        "identity-allocation-mode": v["identityAllocationMode"],
        "identity-gc-interval": "15m0s",
        "identity-heartbeat-timeout": "30m0s",
        "install-no-conntrack-iptables-rules": False,
        "ipam": v["ipam"]["mode"],
        "ipam-cilium-node-update-rate": v["ipam"]["ciliumNodeUpdateRate"],
        "iptables-random-fully": False,
        "k8s-require-ipv4-pod-cidr": v["k8s"]["requireIPv4PodCIDR"],
        "k8s-require-ipv6-pod-cidr": v["k8s"]["requireIPv6PodCIDR"],
        "kube-proxy-replacement": replacement,
        "kube-proxy-replacement-healthz-bind-address": "",
        "max-connected-clusters": v["clustermesh"]["maxConnectedClusters"],
        "mesh-auth-enabled": True,
        "mesh-auth-gc-interval": "5m0s",
        "mesh-auth-queue-size": 1024,
        "mesh-auth-rotated-identities-queue-size": 1024,
        "metrics-sampling-interval": "5m",
        "monitor-aggregation": v["bpf"]["monitorAggregation"],
        "monitor-aggregation-flags": "all",
        "monitor-aggregation-interval": "5s",
        "nat-map-stats-entries": 32,
        "nat-map-stats-interval": "30s",
        "node-port-bind-protection": v["nodePort"]["bindProtection"],
        "nodeport-addresses": "",
        "nodes-gc-interval": "5m0s",
        "operator-api-serve-addr": "127.0.0.1:9234",
        "operator-prometheus-serve-addr": f":{v['operator']['prometheus']['port']}",
        "policy-cidr-match-mode": "",
        "policy-default-local-cluster": v["clustermesh"]["policyDefaultLocalCluster"],
        "policy-secrets-namespace": v["tls"]["secretsNamespace"]["name"],
        "preallocate-bpf-maps": v["bpf"]["preallocateMaps"],
        "procfs": "/host/proc",
        "proxy-connect-timeout": 2,
        "proxy-idle-timeout-seconds": 60,
        "proxy-initial-fetch-timeout": 30,
        "remove-cilium-node-taints": v["operator"]["removeNodeTaints"],
        "routing-mode": mode,
        "service-no-backend-response": "reject",
        "set-cilium-is-up-condition": v["operator"]["setNodeNetworkStatus"],
        "set-cilium-node-taints": True,
        "synchronize-k8s-nodes": True,
        "tofqdns-dns-reject-response-code": "refused",
        "tofqdns-enable-dns-compression": True,
        "tofqdns-endpoint-max-ip-per-hostname": 1000,
        "tunnel-source-port-range": "0-0",
        "unmanaged-pod-watcher-interval": 15,
        "vtep-cidr": "", "vtep-endpoint": "", "vtep-mac": "", "vtep-mask": "",
        "write-cni-conf-when-ready": "/host/etc/cni/net.d/05-cilium.conflist",
    }  # fmt: skip
    if mode == "tunnel":
        data["tunnel-protocol"] = v["tunnelProtocol"] or "vxlan"
    if kpr:
        data["bpf-lb-sock-terminate-pod-connections"] = True
    if v["policyAuditMode"]:
        data["policy-audit-mode"] = True
    if v["ipam"]["mode"] == "cluster-pool":
        data["cluster-pool-ipv4-cidr"] = " ".join(v["ipam"]["operator"]["clusterPoolIPv4PodCIDRList"])
        data["cluster-pool-ipv4-mask-size"] = v["ipam"]["operator"]["clusterPoolIPv4MaskSize"]
    if v["ipv4NativeRoutingCIDR"]:
        data["ipv4-native-routing-cidr"] = v["ipv4NativeRoutingCIDR"]
    if v["prometheus"]["enabled"]:
        data["prometheus-serve-addr"] = f":{v['prometheus']['port']}"
    if v["l2announcements"]["enabled"]:
        for key, name in (("leaseDuration", "l2-announcements-lease-duration"), ("leaseRenewDeadline", "l2-announcements-renew-deadline"), ("leaseRetryPeriod", "l2-announcements-retry-period")):
            if v["l2announcements"].get(key):
                data[name] = v["l2announcements"][key]
    if v["hubble"]["enabled"]:
        data |= _hubble_config(v)
    data |= v["extraConfig"]
    return {k: text_of(x) for k, x in data.items()}


def _hubble_config(v: V) -> dict[str, Any]:
    hubble = v["hubble"]
    data: dict[str, Any] = {"hubble-socket-path": hubble["socketPath"], "hubble-listen-address": hubble["listenAddress"], "hubble-network-policy-correlation-enabled": True}
    if hubble["eventBufferCapacity"]:
        data["hubble-event-buffer-capacity"] = hubble["eventBufferCapacity"]
    if hubble["tls"]["enabled"]:
        folder = "/var/lib/cilium/tls/hubble"
        data |= {"hubble-tls-cert-file": f"{folder}/server.crt", "hubble-tls-key-file": f"{folder}/server.key", "hubble-tls-client-ca-files": f"{folder}/client-ca.crt"}
    if hubble["metrics"]["enabled"]:
        data |= {"hubble-metrics": " ".join(hubble["metrics"]["enabled"]), "hubble-metrics-server": f":{hubble['metrics']['port']}"}
    static = hubble["export"]["static"]
    if static["enabled"]:
        data |= {
            "hubble-export-file-path": static["filePath"], "hubble-export-file-max-size-mb": static["fileMaxSizeMb"],
            "hubble-export-file-max-backups": static["fileMaxBackups"], "hubble-export-file-compress": static["fileCompress"],
            "hubble-export-fieldmask": " ".join(static["fieldMask"]), "hubble-export-allowlist": " ".join(static["allowList"]),
            "hubble-export-denylist": " ".join(static["denyList"]),
        }  # fmt: skip
    return data


def _rbac(v: V, namespace: str) -> list[Source]:
    files: list[Source] = []
    roles: dict[str, tuple[str, list[Object]]] = {
        "cilium": ("cilium-agent", [
            _rule([""], ["namespaces", "services", "pods", "endpoints", "nodes"], ["get", "list", "watch"]),
            _rule(["networking.k8s.io"], ["networkpolicies"], ["get", "list", "watch"]),
            _rule(["discovery.k8s.io"], ["endpointslices"], ["get", "list", "watch"]),
            _rule(["apiextensions.k8s.io"], ["customresourcedefinitions"], ["list", "watch", "get"]),
            _rule(["cilium.io"], ["*"], ["*"]),
        ]),
        "cilium-operator": ("cilium-operator", [
            _rule([""], ["pods", "nodes", "nodes/status", "services", "services/status", "namespaces", "secrets", "configmaps"], ["get", "list", "watch", "patch", "update", "delete"]),
            _rule(["apiextensions.k8s.io"], ["customresourcedefinitions"], ["create", "get", "list", "watch", "update"]),
            _rule(["cilium.io"], ["*"], ["*"]),
            _rule(["coordination.k8s.io"], ["leases"], ["create", "get", "update"]),
        ]),
    }  # fmt: skip
    if v["clustermesh"]["useAPIServer"]:
        roles["clustermesh-apiserver"] = ("clustermesh-apiserver", [
            _rule(["cilium.io"], ["ciliumidentities", "ciliumendpoints", "ciliumnodes", "ciliumendpointslices"], ["get", "list", "watch"]),
            _rule([""], ["namespaces", "services", "endpoints"], ["get", "list", "watch"]),
        ])  # fmt: skip
    for name, (folder, rules) in roles.items():
        files.append((f"templates/{folder}/clusterrole.yaml", [{"apiVersion": _RBAC, "kind": "ClusterRole", "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "cilium"}}, "rules": rules}]))
        files.append((f"templates/{folder}/clusterrolebinding.yaml", [_binding("ClusterRoleBinding", name, "", namespace, name)]))
    files.append(("templates/cilium-agent/role.yaml", [_role("cilium-config-agent", namespace, [_rule([""], ["configmaps"], ["get", "list", "watch"])])]))
    files.append(("templates/cilium-agent/rolebinding.yaml", [_binding("RoleBinding", "cilium-config-agent", namespace, namespace, "cilium")]))
    for what, name in (("hubble", "hubble-generate-certs"), ("mesh", "clustermesh-apiserver-generate-certs")):
        if _method(v, what) == "cronJob" and (what == "hubble" or v["clustermesh"]["useAPIServer"]):
            folder = "hubble/tls-cronjob" if what == "hubble" else "clustermesh-apiserver/tls-cronjob"
            files.append((f"templates/{folder}/role.yaml", [_role(name, namespace, [_rule([""], ["secrets"], ["create", "get", "update", "patch"])])]))
            files.append((f"templates/{folder}/rolebinding.yaml", [_binding("RoleBinding", name, namespace, namespace, name)]))
    return files


_RBAC = "rbac.authorization.k8s.io/v1"


def _rule(groups: list[str], resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


def _role(name: str, namespace: str, rules: list[Object]) -> Object:
    return {"apiVersion": _RBAC, "kind": "Role", "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "cilium"}}, "rules": rules}


def _binding(kind: str, name: str, namespace: str, account_namespace: str, account: str) -> Object:
    role = "ClusterRole" if kind == "ClusterRoleBinding" else "Role"
    metadata = _meta(name, namespace) | {"labels": {"app.kubernetes.io/part-of": "cilium"}}
    return {
        "apiVersion": _RBAC, "kind": kind, "metadata": metadata, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": account_namespace}],
    }  # fmt: skip


def _probe(port: int, path: str = "/healthz", **times: int) -> Object:
    return {"httpGet": {"host": "127.0.0.1", "path": path, "port": port, "scheme": "HTTP"}, **times}


def _host_env(v: V) -> list[Object]:
    env: list[Object] = [
        {"name": "K8S_NODE_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
        {"name": "CILIUM_K8S_NAMESPACE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}},
    ]
    if v["k8sServiceHost"]:
        env.append({"name": "KUBERNETES_SERVICE_HOST", "value": str(v["k8sServiceHost"])})
    if v["k8sServicePort"]:
        env.append({"name": "KUBERNETES_SERVICE_PORT", "value": str(v["k8sServicePort"])})
    return env


def _host_path(name: str, path: str, kind: str = "DirectoryOrCreate") -> Object:
    return {"name": name, "hostPath": {"path": path, "type": kind} if kind else {"path": path}}


def _agent(v: V, namespace: str, version: str) -> Object:
    image = f"{v['image']['repository']}:{version}"
    caps = v["securityContext"]["capabilities"]
    security: Object = {"privileged": True} if v["securityContext"]["privileged"] else {
        "seLinuxOptions": dict(v["securityContext"]["seLinuxOptions"]), "capabilities": {"add": list(caps["ciliumAgent"]), "drop": ["ALL"]},
    }  # fmt: skip
    mounts: list[Object] = [
        {"name": "envoy-sockets", "mountPath": "/var/run/cilium/envoy/sockets", "readOnly": False}, {"name": "host-proc-sys-net", "mountPath": "/host/proc/sys/net"},
        {"name": "host-proc-sys-kernel", "mountPath": "/host/proc/sys/kernel"}, {"name": "bpf-maps", "mountPath": "/sys/fs/bpf", "mountPropagation": "HostToContainer"},
        {"name": "cilium-run", "mountPath": "/var/run/cilium"}, {"name": "etc-cni-netd", "mountPath": "/host/etc/cni/net.d"},
        {"name": "clustermesh-secrets", "mountPath": "/var/lib/cilium/clustermesh", "readOnly": True},
        {"name": "lib-modules", "mountPath": "/lib/modules", "readOnly": True}, {"name": "xtables-lock", "mountPath": "/run/xtables.lock"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]  # fmt: skip
    volumes: list[Object] = [
        {"name": "tmp", "emptyDir": {}}, _host_path("cilium-run", "/var/run/cilium"), _host_path("bpf-maps", "/sys/fs/bpf"), _host_path("hostproc", "/proc", "Directory"),
        _host_path("cilium-cgroup", v["cgroup"]["hostRoot"]), _host_path("cni-path", v["cni"]["binPath"]), _host_path("etc-cni-netd", v["cni"]["confPath"]),
        _host_path("lib-modules", "/lib/modules", ""), _host_path("xtables-lock", "/run/xtables.lock", "FileOrCreate"),
        _host_path("envoy-sockets", "/var/run/cilium/envoy/sockets"),
        {"name": "clustermesh-secrets", "projected": {"defaultMode": 256, "sources": [
            {"secret": {"name": "cilium-clustermesh", "optional": True}},
            {"secret": {"name": "clustermesh-apiserver-remote-cert", "optional": True, "items": [
                {"key": "tls.key", "path": "common-etcd-client.key"}, {"key": "tls.crt", "path": "common-etcd-client.crt"}, {"key": "ca.crt", "path": "common-etcd-client-ca.crt"}]}},
            {"secret": {"name": "clustermesh-apiserver-local-cert", "optional": True, "items": [
                {"key": "tls.key", "path": "local-etcd-client.key"}, {"key": "tls.crt", "path": "local-etcd-client.crt"}, {"key": "ca.crt", "path": "local-etcd-client-ca.crt"}]}},
        ]}},
        _host_path("host-proc-sys-net", "/proc/sys/net", "Directory"), _host_path("host-proc-sys-kernel", "/proc/sys/kernel", "Directory"),
    ]  # fmt: skip
    if v["hubble"]["enabled"] and v["hubble"]["tls"]["enabled"]:
        mounts.append({"name": "hubble-tls", "mountPath": "/var/lib/cilium/tls/hubble", "readOnly": True})
        volumes.append({"name": "hubble-tls", "projected": {"defaultMode": 256, "sources": [{"secret": {"name": "hubble-server-certs", "optional": True, "items": [
            {"key": "tls.crt", "path": "server.crt"}, {"key": "tls.key", "path": "server.key"}, {"key": "ca.crt", "path": "client-ca.crt"}]}}]}})  # fmt: skip
    for extra in v["extraHostPathMounts"]:
        mounts.append({"name": extra["name"], "mountPath": extra["mountPath"], "readOnly": bool(extra.get("readOnly", False))})
        volumes.append(_host_path(extra["name"], extra["hostPath"], extra.get("hostPathType", "")))
    spec: Object = {
        "containers": [{
            "name": "cilium-agent", "image": image, "imagePullPolicy": v["image"]["pullPolicy"], "command": ["cilium-agent"],
            "args": ["--config-dir=/tmp/cilium/config-map", *v["extraArgs"]],
            "startupProbe": _probe(v["healthPort"], failureThreshold=300, periodSeconds=2, successThreshold=1, initialDelaySeconds=5),
            "livenessProbe": _probe(v["healthPort"], periodSeconds=30, successThreshold=1, failureThreshold=10, timeoutSeconds=5),
            "readinessProbe": _probe(v["healthPort"], periodSeconds=30, successThreshold=1, failureThreshold=3, timeoutSeconds=5),
            "env": [*_host_env(v), {"name": "CILIUM_CLUSTERMESH_CONFIG", "value": "/var/lib/cilium/clustermesh/"}, *v["extraEnv"]],
            "lifecycle": {"preStop": {"exec": {"command": ["/cni-uninstall.sh"]}}}, "securityContext": security,
            "terminationMessagePolicy": "FallbackToLogsOnError", "volumeMounts": [*mounts, *v["extraVolumeMounts"]],
            **({"resources": dict(v["resources"])} if v["resources"] else {}),
        }],
        "initContainers": [
            {"name": "config", "image": image, "imagePullPolicy": v["image"]["pullPolicy"], "command": ["cilium-dbg", "build-config"], "env": _host_env(v),
             "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}], "terminationMessagePolicy": "FallbackToLogsOnError"},
            *([_helper_container("mount-cgroup", image, v, caps["mountCgroup"])] if v["cgroup"]["autoMount"]["enabled"] else []),
            *([_helper_container("apply-sysctl-overwrites", image, v, caps["applySysctlOverwrites"])] if v["sysctlfix"]["enabled"] else []),
            {"name": "mount-bpf-fs", "image": image, "imagePullPolicy": v["image"]["pullPolicy"], "args": ['mount | grep "/sys/fs/bpf type bpf" || mount -t bpf bpf /sys/fs/bpf'],
             "command": ["/bin/bash", "-c", "--"], "securityContext": {"privileged": True}, "volumeMounts": [{"name": "bpf-maps", "mountPath": "/sys/fs/bpf", "mountPropagation": "Bidirectional"}]},
            {**_helper_container("clean-cilium-state", image, v, caps["cleanCiliumState"]), "command": ["/init-container.sh"]},
            {"name": "install-cni-binaries", "image": image, "imagePullPolicy": v["image"]["pullPolicy"], "command": ["/install-plugin.sh"],
             "securityContext": {"seLinuxOptions": dict(v["securityContext"]["seLinuxOptions"]), "capabilities": {"drop": ["ALL"]}},
             "volumeMounts": [{"name": "cni-path", "mountPath": "/host/opt/cni/bin"}]},
        ],
        "restartPolicy": "Always", "priorityClassName": v["priorityClassName"] or "system-node-critical", "serviceAccountName": "cilium", "automountServiceAccountToken": True,
        "terminationGracePeriodSeconds": v["terminationGracePeriodSeconds"], "hostNetwork": True, "affinity": dict(v["affinity"]), "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": list(v["tolerations"]), "volumes": [*volumes, *v["extraVolumes"]], "securityContext": {"appArmorProfile": {"type": "Unconfined"}, "seccompProfile": {"type": "Unconfined"}},
    }  # fmt: skip
    aliases = _host_aliases(v)
    if aliases:
        spec["hostAliases"] = aliases
    annotations = {**v["podAnnotations"], "kubectl.kubernetes.io/default-container": "cilium-agent"}
    if v["prometheus"]["enabled"] and not v["prometheus"]["serviceMonitor"]["enabled"]:
        annotations |= {"prometheus.io/port": str(v["prometheus"]["port"]), "prometheus.io/scrape": "true"}
    if v["rollOutCiliumPods"]:
        annotations["cilium.io/cilium-configmap-checksum"] = _checksum(config(v, version.removeprefix("v"), namespace))
    labels = _labels("cilium", "cilium-agent")
    return {
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "cilium", "namespace": namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"k8s-app": "cilium"}}, "updateStrategy": dict(v["updateStrategy"]),
            "template": {"metadata": {"annotations": annotations, "labels": {**labels, **v["podLabels"]}}, "spec": spec},
        },
    }  # fmt: skip


def _checksum(data: Mapping[str, Any]) -> str:
    return ca.fingerprint(json.dumps(data, sort_keys=True))


def _helper_container(name: str, image: str, v: V, caps: list[str]) -> Object:
    return {
        "name": name, "image": image, "imagePullPolicy": v["image"]["pullPolicy"], "command": ["sh", "-ec", f"/{name}"],
        "volumeMounts": [{"name": "hostproc", "mountPath": "/hostproc"}, {"name": "cni-path", "mountPath": "/hostbin"}], "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"seLinuxOptions": dict(v["securityContext"]["seLinuxOptions"]), "capabilities": {"add": list(caps), "drop": ["ALL"]}},
    }  # fmt: skip


def _envoy(v: V, namespace: str) -> Object:
    labels = {**_labels("cilium-envoy", "cilium-envoy"), "name": "cilium-envoy"}
    container = {
        "name": "cilium-envoy", "image": f"{v['envoy']['image']['repository']}:{ENVOY_IMAGE}", "imagePullPolicy": "IfNotPresent", "command": ["/usr/bin/cilium-envoy-starter"],
        "args": ["--", "-c /var/run/cilium/envoy/bootstrap-config.json", "--base-id 0", "--log-level info"],
        "startupProbe": _probe(9878, failureThreshold=105, periodSeconds=2, successThreshold=1, initialDelaySeconds=5),
        "livenessProbe": _probe(9878, periodSeconds=30, successThreshold=1, failureThreshold=10, timeoutSeconds=5),
        "readinessProbe": _probe(9878, periodSeconds=30, successThreshold=1, failureThreshold=3, timeoutSeconds=5),
        "env": _host_env(v), "ports": [{"name": "envoy-metrics", "containerPort": int(v["envoy"]["prometheus"]["port"]), "hostPort": int(v["envoy"]["prometheus"]["port"]), "protocol": "TCP"}],
        "securityContext": {"seLinuxOptions": {"level": "s0", "type": "spc_t"}, "capabilities": {"add": ["NET_ADMIN", "SYS_ADMIN"], "drop": ["ALL"]}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "envoy-sockets", "mountPath": "/var/run/cilium/envoy/sockets", "readOnly": False}, {"name": "envoy-config", "mountPath": "/var/run/cilium/envoy/", "readOnly": True},
                         {"name": "bpf-maps", "mountPath": "/sys/fs/bpf", "mountPropagation": "HostToContainer"}],
    }  # fmt: skip
    spec: Object = {
        "containers": [container], "restartPolicy": "Always", "priorityClassName": "system-node-critical", "serviceAccountName": "cilium-envoy", "terminationGracePeriodSeconds": 1,
        "hostNetwork": True, "nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": list(v["envoy"]["tolerations"]),
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"k8s-app": "cilium-envoy"}}}]},
                     "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"k8s-app": "cilium"}}}]}},
        "volumes": [_host_path("envoy-sockets", "/var/run/cilium/envoy/sockets"), _host_path("bpf-maps", "/sys/fs/bpf"),
                    {"name": "envoy-config", "configMap": {"name": "cilium-envoy-config", "defaultMode": 256, "items": [{"key": "bootstrap-config.json", "path": "bootstrap-config.json"}]}}],
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "cilium-envoy", "namespace": namespace, "labels": labels},
        "spec": {"selector": {"matchLabels": {"k8s-app": "cilium-envoy"}}, "updateStrategy": dict(v["envoy"]["updateStrategy"]), "template": {"metadata": {"labels": labels}, "spec": spec}},
    }  # fmt: skip


def _envoy_service(namespace: str) -> Object:
    metadata = {"name": "cilium-envoy", "namespace": namespace, "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9964"}, "labels": {**_labels("cilium-envoy", "cilium-envoy"), "io.cilium/app": "proxy"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"clusterIP": "None", "type": "ClusterIP", "selector": {"k8s-app": "cilium-envoy"}, "ports": [{"name": "envoy-metrics", "port": 9964, "protocol": "TCP", "targetPort": "envoy-metrics"}]}}  # fmt: skip


def _operator(v: V, namespace: str, version: str) -> Object:
    labels = {"io.cilium/app": "operator", "name": "cilium-operator", "app.kubernetes.io/part-of": "cilium", "app.kubernetes.io/name": "cilium-operator"}
    container = {
        "name": "cilium-operator", "image": f"{v['operator']['image']['repository']}-generic:{version}", "imagePullPolicy": "IfNotPresent", "command": ["cilium-operator-generic"],
        "args": ["--config-dir=/tmp/cilium/config-map", "--debug=$(CILIUM_DEBUG)"],
        "env": [*_host_env(v), {"name": "CILIUM_DEBUG", "valueFrom": {"configMapKeyRef": {"key": "debug", "name": "cilium-config", "optional": True}}}],
        "ports": [{"name": "prometheus", "containerPort": v["operator"]["prometheus"]["port"], "hostPort": v["operator"]["prometheus"]["port"], "protocol": "TCP"}],
        "livenessProbe": _probe(9234, initialDelaySeconds=60, periodSeconds=10, timeoutSeconds=3), "readinessProbe": _probe(9234, initialDelaySeconds=0, periodSeconds=5, timeoutSeconds=3, failureThreshold=5),
        "volumeMounts": [{"name": "cilium-config-path", "mountPath": "/tmp/cilium/config-map", "readOnly": True}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}, "terminationMessagePolicy": "FallbackToLogsOnError",
    }  # fmt: skip
    spec: Object = {
        "containers": [container], "hostNetwork": True, "restartPolicy": "Always", "priorityClassName": "system-cluster-critical", "serviceAccountName": "cilium-operator", "automountServiceAccountToken": True,
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"io.cilium/app": "operator"}}}]}},
        "nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": list(v["operator"]["tolerations"]), "volumes": [{"name": "cilium-config-path", "configMap": {"name": "cilium-config"}}],
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    }  # fmt: skip
    annotations = {"prometheus.io/port": str(v["operator"]["prometheus"]["port"]), "prometheus.io/scrape": "true"} if v["operator"]["prometheus"]["enabled"] else {}
    if v["operator"]["rollOutPods"]:
        annotations["cilium.io/cilium-configmap-checksum"] = _checksum(config(v, version.removeprefix("v"), namespace))
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "cilium-operator", "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": v["operator"]["replicas"], "selector": {"matchLabels": {"io.cilium/app": "operator", "name": "cilium-operator"}}, "strategy": dict(v["operator"]["updateStrategy"]),
            "template": {"metadata": {"annotations": annotations, "labels": labels}, "spec": spec},
        },
    }  # fmt: skip


def _hubble(v: V, namespace: str, version: str, authority: ca.Pair | None, context: Context) -> list[Source]:
    files: list[Source] = []
    peer = {"name": "hubble-peer", "namespace": namespace, "labels": _labels("cilium", "hubble-peer")}
    files.append(("templates/hubble/peer-service.yaml", [{
        "apiVersion": "v1", "kind": "Service", "metadata": peer,
        "spec": {"selector": {"k8s-app": "cilium"}, "internalTrafficPolicy": "Local", "ports": [{"name": "peer-service", "port": 443 if v["hubble"]["tls"]["enabled"] else 80, "protocol": "TCP", "targetPort": v["hubble"]["peerService"]["targetPort"]}]},
    }]))  # fmt: skip
    method = _method(v, "hubble")
    if method == "helm" and authority:
        days, cluster = v["hubble"]["tls"]["auto"]["certValidityDuration"], v["cluster"]["name"].replace(".", "-")
        server = ca.sign(authority, f"*.{cluster}.hubble-grpc.cilium.io", [f"*.{cluster}.hubble-grpc.cilium.io"], context.now, days)
        files.append(("templates/hubble/tls-helm/server-secret.yaml", [_tls("hubble-server-certs", namespace, server, authority)]))
        if v["hubble"]["relay"]["enabled"]:
            client = ca.sign(authority, "*.hubble-relay.cilium.io", ["*.hubble-relay.cilium.io"], context.now, days)
            files.append(("templates/hubble/tls-helm/relay-client-secret.yaml", [_tls("hubble-relay-client-certs", namespace, client, authority)]))
    if method == "cronJob":
        args = ["--ca-generate=true", "--ca-reuse-secret", "--ca-secret-namespace=kube-system", "--ca-secret-name=cilium-ca", f"--hubble-server-cert-generate --cluster={v['cluster']['name']}"]
        files += _certgen("hubble/tls-cronjob", "hubble-generate-certs", namespace, args, v["hubble"]["tls"]["auto"]["schedule"], v, hook=True)
    if v["hubble"]["relay"]["enabled"]:
        files += _relay(v, namespace, version)
    dynamic = v["hubble"]["export"]["dynamic"]
    if dynamic["enabled"] and dynamic["config"]["createConfigMap"]:
        flow = {"flowlogs.yaml": goyaml.dump({"flowLogs": dynamic["config"]["content"]})}
        files.append(("templates/cilium-flowlog-configmap.yaml", [_configmap(dynamic["config"]["configMapName"], namespace, flow)]))
    return files


def _tls(name: str, namespace: str, pair: ca.Pair, authority: ca.Pair) -> Object:
    return _secret(name, namespace, {"ca.crt": ca.b64(authority.cert), **pair.data()}, "kubernetes.io/tls")


def _certgen(folder: str, name: str, namespace: str, args: list[str], schedule: str, v: V, *, hook: bool) -> list[Source]:
    """CronJob and Job that make certificates; `args` say for what.

    Hubble's Job is a hook; the mesh's is an ordinary object named by its content, else `--wait` would wait for an API server that waits for the
    certificates of a hook that waits for `--wait`.
    """
    labels = {"k8s-app": name, "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "cilium"}
    pod: Object = {
        "metadata": {"labels": labels},
        "spec": {
            "containers": [{"name": "certgen", "image": CERTGEN_IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["/usr/bin/cilium-certgen"], "args": args,
                            "securityContext": {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False}}],
            "serviceAccountName": name, "automountServiceAccountToken": True, "restartPolicy": "OnFailure", "tolerations": list(v["certgen"]["tolerations"]),
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        },
    }  # fmt: skip
    cron = {
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"schedule": schedule, "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": {"template": pod}}},
    }  # fmt: skip
    metadata: Object = {"name": name if hook else f"{name}-{_checksum(pod)[:10]}", "namespace": namespace, "labels": labels}
    if hook:
        metadata["annotations"] = {"helm.sh/hook": "post-install,post-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation"}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": pod}}
    return [(f"templates/{folder}/cronjob.yaml", [cron]), (f"templates/{folder}/job.yaml", [job])]


def _relay(v: V, namespace: str, version: str) -> list[Source]:
    relay = v["hubble"]["relay"]
    labels = _labels("hubble-relay", "hubble-relay")
    volumes: list[Object] = [{"name": "config", "configMap": {"name": "hubble-relay-config", "items": [{"key": "config.yaml", "path": "config.yaml"}]}}]
    if v["hubble"]["tls"]["enabled"]:
        volumes.append({"name": "tls", "projected": {"defaultMode": 256, "sources": [{"secret": {"name": "hubble-relay-client-certs", "items": [
            {"key": "tls.crt", "path": "client.crt"}, {"key": "tls.key", "path": "client.key"}, {"key": "ca.crt", "path": "hubble-server-ca.crt"}]}}]}})  # fmt: skip
    container = {
        "name": "hubble-relay", "image": f"{relay['image']['repository']}:{version}", "imagePullPolicy": "IfNotPresent", "command": ["hubble-relay"], "args": ["serve"],
        "ports": [{"name": "grpc", "containerPort": 4245}], "readinessProbe": {"grpc": {"port": 4222}, "timeoutSeconds": 3},
        "livenessProbe": {"grpc": {"port": 4222}, "timeoutSeconds": 10, "initialDelaySeconds": 10, "periodSeconds": 10, "failureThreshold": 12},
        "startupProbe": {"grpc": {"port": 4222}, "initialDelaySeconds": 10, "failureThreshold": 20, "periodSeconds": 3},
        "volumeMounts": [{"name": v_["name"], "mountPath": f"/{v_['name']}", "readOnly": True} for v_ in volumes], "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsGroup": 65532, "runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    }  # fmt: skip
    spec: Object = {
        "containers": [container], "restartPolicy": "Always", "serviceAccountName": "hubble-relay", "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
        "securityContext": {"fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}, "nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": list(relay["tolerations"]), "volumes": volumes,
        "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"k8s-app": "cilium"}}}]}},
    }  # fmt: skip
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "hubble-relay", "namespace": namespace, "labels": labels},
        "spec": {"replicas": relay["replicas"], "selector": {"matchLabels": {"k8s-app": "hubble-relay"}}, "strategy": dict(relay["updateStrategy"]), "template": {"metadata": {"labels": labels}, "spec": spec}},
    }  # fmt: skip
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "hubble-relay", "namespace": namespace, "labels": labels},
        "spec": {"type": relay["service"]["type"], "selector": {"k8s-app": "hubble-relay"}, "ports": [{"protocol": "TCP", "port": 80, "targetPort": "grpc"}]},
    }  # fmt: skip
    settings = f"cluster-name: {v['cluster']['name']}\npeer-service: \"hubble-peer.{namespace}.svc.{v['hubble']['peerService']['clusterDomain']}.:443\"\nlisten-address: :4245\n"
    return [
        ("templates/hubble-relay/configmap.yaml", [_configmap("hubble-relay-config", namespace, {"config.yaml": settings})]),
        ("templates/hubble-relay/deployment.yaml", [deployment]),
        ("templates/hubble-relay/service.yaml", [service]),
    ]


def _mesh(v: V, namespace: str, version: str, authority: ca.Pair | None, context: Context) -> list[Source]:
    server = v["clustermesh"]["apiserver"]
    labels = _labels("clustermesh-apiserver", "clustermesh-apiserver")
    image = f"quay.io/cilium/clustermesh-apiserver:{version}"
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    certs = [{"name": f"etcd-{n}-secrets", "projected": {"defaultMode": 256, "sources": [{"secret": {"name": f"clustermesh-apiserver-{n}-cert"}}]}} for n in ("server", "admin")]
    containers: list[Object] = [
        {"name": "etcd", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["/usr/bin/etcd"], "args": ["--data-dir=/var/run/etcd"], "ports": [{"name": "etcd", "containerPort": 2379, "protocol": "TCP"}], "securityContext": security,
         "volumeMounts": [{"name": "etcd-server-secrets", "mountPath": "/var/lib/etcd-secrets", "readOnly": True}, {"name": "etcd-data-dir", "mountPath": "/var/run/etcd"}], "terminationMessagePolicy": "FallbackToLogsOnError"},
        {"name": "apiserver", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["/usr/bin/clustermesh-apiserver"],
         "args": ["clustermesh", f"--cluster-name={v['cluster']['name']}", f"--cluster-id={v['cluster']['id']}", "--kvstore-opt", "etcd.config=/var/lib/cilium/etcd-config.yaml"],
         "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9880}}, "securityContext": security, "volumeMounts": [{"name": "etcd-admin-secrets", "mountPath": "/var/lib/cilium/etcd-secrets", "readOnly": True}]},
    ]  # fmt: skip
    if server["kvstoremesh"]["enabled"]:
        containers.append({"name": "kvstoremesh", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["/usr/bin/clustermesh-apiserver"], "args": ["kvstoremesh", f"--cluster-name={v['cluster']['name']}", f"--cluster-id={v['cluster']['id']}"],
                           "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9881}}, "securityContext": security, "volumeMounts": [{"name": "kvstoremesh-secrets", "mountPath": "/var/lib/cilium/clustermesh", "readOnly": True}]})  # fmt: skip
    mesh_secrets: Object = {"name": "kvstoremesh-secrets", "projected": {"defaultMode": 256, "sources": [
        {"secret": {"name": "cilium-kvstoremesh", "optional": True}}, {"secret": {"name": "clustermesh-apiserver-remote-cert", "optional": True}}]}}  # fmt: skip
    spec: Object = {
        "restartPolicy": "Always", "serviceAccountName": "clustermesh-apiserver", "automountServiceAccountToken": True, "terminationGracePeriodSeconds": 30, "containers": containers,
        "initContainers": [{"name": "etcd-init", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["/usr/bin/clustermesh-apiserver"], "args": ["etcdinit"], "env": [{"name": "CILIUM_CLUSTER_NAME", "value": v["cluster"]["name"]}],
                            "volumeMounts": [{"name": "etcd-data-dir", "mountPath": "/var/run/etcd"}], "securityContext": security}],
        "volumes": [*certs, {"name": "etcd-data-dir", "emptyDir": {"medium": "Memory"}}, mesh_secrets], "nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": list(server["tolerations"]),
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"k8s-app": "clustermesh-apiserver"}}}}]}},
    }  # fmt: skip
    if _host_aliases(v):
        spec["hostAliases"] = _host_aliases(v)
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "clustermesh-apiserver", "namespace": namespace, "labels": labels},
        "spec": {"replicas": server["replicas"], "selector": {"matchLabels": {"k8s-app": "clustermesh-apiserver"}}, "strategy": dict(server["updateStrategy"]), "template": {"metadata": {"labels": labels}, "spec": spec}},
    }  # fmt: skip
    port: Object = {"port": 2379}
    if server["service"]["type"] == "NodePort":
        port["nodePort"] = server["service"]["nodePort"]
    service = {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "clustermesh-apiserver", "namespace": namespace, "labels": labels, **({"annotations": dict(server["service"]["annotations"])} if server["service"]["annotations"] else {})},
        "spec": {"type": server["service"]["type"], "selector": {"k8s-app": "clustermesh-apiserver"}, "ports": [port], "internalTrafficPolicy": server["service"]["internalTrafficPolicy"],
                 **({"externalTrafficPolicy": server["service"]["externalTrafficPolicy"]} if server["service"]["type"] != "ClusterIP" else {})},
    }  # fmt: skip
    files: list[Source] = [("templates/clustermesh-apiserver/deployment.yaml", [deployment]), ("templates/clustermesh-apiserver/service.yaml", [service])]
    if _method(v, "mesh") == "helm" and authority:
        for what, cn, names in mesh_certificates(str(v["cluster"]["name"]), str(v["clustermesh"]["config"]["domain"]), namespace):
            pair = ca.sign(authority, cn, names, context.now, server["tls"]["auto"]["certValidityDuration"])
            files.append((f"templates/clustermesh-apiserver/tls-helm/{what}-secret.yaml", [_tls(f"clustermesh-apiserver-{what}-cert", namespace, pair, authority)]))
    if _method(v, "mesh") == "cronJob":
        args = ["--ca-generate=true", "--ca-reuse-secret", "--ca-secret-namespace=kube-system", "--ca-secret-name=cilium-ca", "--clustermesh-apiserver-server-cert-generate", f"--cluster={v['cluster']['name']}", f"--domain={v['clustermesh']['config']['domain']}"]
        files += _certgen("clustermesh-apiserver/tls-cronjob", "clustermesh-apiserver-generate-certs", namespace, args, server["tls"]["auto"]["schedule"], v, hook=False)
    return files


def mesh_certificates(cluster: str, domain: str, namespace: str) -> list[tuple[str, str, list[str]]]:
    """(secret's middle name, common name, DNS names) of the mesh's certificates."""
    return [
        ("server", "clustermesh-apiserver.cilium.io", ["clustermesh-apiserver.cilium.io", f"*.{domain}", f"clustermesh-apiserver.{namespace}.svc"]),
        ("admin", f"admin-{cluster}", ["localhost"]),
        ("remote", "remote", []),
        ("local", f"local-{cluster}", []),
    ]


def mesh_clusters(v: V) -> list[V]:
    """clustermesh.config.clusters as a list, whichever form it has; disabled ones left out."""
    clusters = v["clustermesh"]["config"]["clusters"]
    if isinstance(clusters, Mapping):
        clusters = [{**c, "name": n} for n, c in sorted(clusters.items())]
    return [c for c in clusters if c.get("enabled", True) is not False]


def _host_aliases(v: V) -> list[Object]:
    config_ = v["clustermesh"]["config"]
    if not config_["enabled"]:
        return []
    return [{"ip": ip, "hostnames": [f"{c['name']}.{config_['domain']}"]} for c in mesh_clusters(v) for ip in c.get("ips") or ()]


def _mesh_config(v: V, *, local: bool) -> dict[str, str]:
    """One etcd configuration a remote cluster; agents go through the local kvstoremesh where it runs."""
    config_ = v["clustermesh"]["config"]
    through = local and v["clustermesh"]["apiserver"]["kvstoremesh"]["enabled"]
    data: dict[str, str] = {}
    folder = "/var/lib/cilium/clustermesh"
    for cluster in mesh_clusters(v):
        tls = cluster.get("tls") or {}
        own = bool(tls.get("cert") and tls.get("key"))
        prefix = "local-" if through else f"{cluster['name']}." if own else "common-"
        if not through and not cluster.get("ips") and not cluster.get("address"):
            raise ChartError(
                "execution error at (cilium/templates/clustermesh-config/clustermesh-secret.yaml:18:16): missing clustermesh.apiserver.config.clusters.address"
            )
        if through:
            endpoint = "https://clustermesh-apiserver.kube-system.svc:2379"
        elif cluster.get("ips"):
            endpoint = f"https://{cluster['name']}.{config_['domain']}:{cluster['port']}"
        else:
            endpoint = f"https://{cluster['address']}:{cluster['port']}"
        authority = f"{prefix}etcd-client-ca.crt" if through or (own and tls.get("caCert")) else "common-etcd-client-ca.crt"
        text = f"endpoints:\n- {endpoint}\ntrusted-ca-file: {folder}/{authority}\nkey-file: {folder}/{prefix}etcd-client.key\ncert-file: {folder}/{prefix}etcd-client.crt\n"
        data[cluster["name"]] = ca.b64(text)
        if own and not through:
            data[f"{cluster['name']}.etcd-client-ca.crt"] = tls.get("caCert", "")
            data[f"{cluster['name']}.etcd-client.key"] = tls["key"]
            data[f"{cluster['name']}.etcd-client.crt"] = tls["cert"]
    return data
