"""What `talosctl gen config` writes: control plane and worker configs from a secrets bundle.

Source: talos `pkg/machinery/config/generate`, v1.11.2; recorded/talosctl/gen-config*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lab.talos.config import Document
from lab.talos.secrets import Bundle

DEFAULT_KUBERNETES = "1.34.1"
DEFAULT_INSTALLER = "ghcr.io/siderolabs/installer:v1.11.2"


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of `gen config` that shape its output."""

    kubernetes: str = DEFAULT_KUBERNETES
    installer: str = DEFAULT_INSTALLER
    disk: str = "/dev/sda"
    sans: tuple[str, ...] = ()
    dns_domain: str = "cluster.local"
    persist: bool = True
    discovery: bool = True
    kubespan: bool = False
    mirrors: tuple[str, ...] = ()
    docs: bool = True


def controlplane(name: str, endpoint: str, bundle: Bundle, options: Options) -> Document:
    """The config of a control plane machine, keys in Talos' order."""
    certs = bundle["certs"]
    version = options.kubernetes
    machine = _machine("controlplane", bundle, options, certs["os"])
    machine["nodeLabels"] = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
    cluster = {
        **_cluster_head(name, endpoint, bundle, options),
        "secretboxEncryptionSecret": bundle["secrets"]["secretboxencryptionsecret"],
        "ca": certs["k8s"],
        "aggregatorCA": certs["k8saggregator"],
        "serviceAccount": certs["k8sserviceaccount"],
        "apiServer": {
            "image": f"registry.k8s.io/kube-apiserver:v{version}",
            "certSANs": [urlsplit(endpoint).hostname or "", *options.sans],
            "disablePodSecurityPolicy": True,
            "admissionControl": [_pod_security()],
            "auditPolicy": {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]},
        },
        "controllerManager": {"image": f"registry.k8s.io/kube-controller-manager:v{version}"},
        "proxy": {"image": f"registry.k8s.io/kube-proxy:v{version}"},
        "scheduler": {"image": f"registry.k8s.io/kube-scheduler:v{version}"},
        "discovery": _discovery(options),
        "etcd": {"ca": certs["etcd"]},
    }
    return _config(machine, cluster, options)


def worker(name: str, endpoint: str, bundle: Bundle, options: Options) -> Document:
    """The config of a worker machine, keys in Talos' order."""
    certs = bundle["certs"]
    machine = _machine("worker", bundle, options, {"crt": certs["os"]["crt"], "key": ""})
    cluster = {
        **_cluster_head(name, endpoint, bundle, options),
        "ca": {"crt": certs["k8s"]["crt"], "key": ""},
        "discovery": _discovery(options),
    }
    return _config(machine, cluster, options)


def _config(machine: Document, cluster: Document, options: Options) -> Document:
    return {
        "version": "v1alpha1",
        "debug": False,
        "persist": options.persist,
        "machine": machine,
        "cluster": cluster,
    }


def _machine(kind: str, bundle: Bundle, options: Options, ca: Document) -> Document:
    machine: Document = {
        "type": kind,
        "token": bundle["trustdinfo"]["token"],
        "ca": ca,
        "certSANs": list(options.sans),
        "kubelet": {
            "image": f"ghcr.io/siderolabs/kubelet:v{options.kubernetes}",
            "defaultRuntimeSeccompProfileEnabled": True,
            "disableManifestsDirectory": True,
        },
        "network": {"kubespan": {"enabled": True}} if options.kubespan else {},
        "install": {"disk": options.disk, "image": options.installer, "wipe": False},
    }
    if options.mirrors:
        mirrors: dict[str, Any] = {}
        for mirror in options.mirrors:
            host, _, url = mirror.partition("=")
            mirrors.setdefault(host, {"endpoints": []})["endpoints"].append(url)
        machine["registries"] = {"mirrors": mirrors}
    elif options.docs:
        machine["registries"] = {}  # an empty one carries the documentation
    machine["features"] = {
        "rbac": True,
        "stableHostname": True,
        "apidCheckExtKeyUsage": True,
        "diskQuotaSupport": True,
        "kubePrism": {"enabled": True, "port": 7445},
        "hostDNS": {"enabled": True, "forwardKubeDNSToHost": True},
    }
    return machine


def _cluster_head(name: str, endpoint: str, bundle: Bundle, options: Options) -> Document:
    return {
        "id": bundle["cluster"]["id"],
        "secret": bundle["cluster"]["secret"],
        "controlPlane": {"endpoint": endpoint},
        "clusterName": name,
        "network": {
            "dnsDomain": options.dns_domain,
            "podSubnets": ["10.244.0.0/16"],
            "serviceSubnets": ["10.96.0.0/12"],
        },
        "token": bundle["secrets"]["bootstraptoken"],
    }


def _discovery(options: Options) -> Document:
    return {"enabled": options.discovery, "registries": {"kubernetes": {"disabled": True}, "service": {}}}


def _pod_security() -> Document:
    return {
        "name": "PodSecurity",
        "configuration": {
            "apiVersion": "pod-security.admission.config.k8s.io/v1alpha1",
            "defaults": {
                "audit": "restricted",
                "audit-version": "latest",
                "enforce": "baseline",
                "enforce-version": "latest",
                "warn": "restricted",
                "warn-version": "latest",
            },
            "exemptions": {"namespaces": ["kube-system"], "runtimeClasses": [], "usernames": []},
            "kind": "PodSecurityConfiguration",
        },
    }
