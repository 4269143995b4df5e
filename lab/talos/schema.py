"""The keys of a v1alpha1 machine config, in the order in which Talos writes them.

A key's shape is a nested mapping, a list of one shape (`[shape]`), a map of one shape (`{"*": shape}`), or `ANY` for scalars and
free-form values. Source: talos `pkg/machinery/config/types/v1alpha1/v1alpha1_types.go`, v1.11.2.
"""

from __future__ import annotations

from typing import Any

Shape = dict[str, Any] | list[Any] | str
ANY = "any"

PAIR: Shape = {"crt": ANY, "key": ANY}
RESOURCES: Shape = {"requests": ANY, "limits": ANY}
VOLUMES: Shape = [{"hostPath": ANY, "mountPath": ANY, "readonly": ANY}]

ROUTES: Shape = [{"network": ANY, "gateway": ANY, "source": ANY, "metric": ANY, "mtu": ANY}]
VIP: Shape = {
    "ip": ANY,
    "equinixMetal": {"apiToken": ANY},
    "hcloud": {"apiToken": ANY},
}
DHCP_OPTIONS: Shape = {"routeMetric": ANY, "ipv4": ANY, "ipv6": ANY, "duidv6": ANY}
SELECTOR: Shape = {
    "busPath": ANY,
    "hardwareAddr": ANY,
    "permanentAddr": ANY,
    "pciID": ANY,
    "driver": ANY,
    "physical": ANY,
}
VLANS: Shape = [
    {
        "addresses": [ANY],
        "routes": ROUTES,
        "dhcp": ANY,
        "vlanId": ANY,
        "mtu": ANY,
        "vip": VIP,
        "dhcpOptions": DHCP_OPTIONS,
    }
]
INTERFACES: Shape = [
    {
        "interface": ANY,
        "deviceSelector": SELECTOR,
        "addresses": [ANY],
        "routes": ROUTES,
        "bond": ANY,
        "bridge": ANY,
        "bridgePort": ANY,
        "vlans": VLANS,
        "mtu": ANY,
        "dhcp": ANY,
        "ignore": ANY,
        "dummy": ANY,
        "dhcpOptions": DHCP_OPTIONS,
        "wireguard": ANY,
        "vip": VIP,
    }
]
KUBELET: Shape = {
    "image": ANY,
    "clusterDNS": [ANY],
    "extraArgs": {"*": ANY},
    "extraMounts": [
        {
            "destination": ANY,
            "type": ANY,
            "source": ANY,
            "options": [ANY],
            "uidMappings": ANY,
            "gidMappings": ANY,
        }
    ],
    "extraConfig": ANY,
    "credentialProviderConfig": ANY,
    "defaultRuntimeSeccompProfileEnabled": ANY,
    "registerWithFQDN": ANY,
    "nodeIP": {"validSubnets": [ANY]},
    "skipNodeRegistration": ANY,
    "disableManifestsDirectory": ANY,
}
INSTALL: Shape = {
    "disk": ANY,
    "diskSelector": {
        "size": ANY,
        "name": ANY,
        "model": ANY,
        "serial": ANY,
        "modalias": ANY,
        "uuid": ANY,
        "wwid": ANY,
        "type": ANY,
        "busPath": ANY,
    },
    "extraKernelArgs": [ANY],
    "image": ANY,
    "extensions": [{"image": ANY}],
    "wipe": ANY,
    "legacyBIOSSupport": ANY,
}
FEATURES: Shape = {
    "rbac": ANY,
    "stableHostname": ANY,
    "kubernetesTalosAPIAccess": {
        "enabled": ANY,
        "allowedRoles": [ANY],
        "allowedKubernetesNamespaces": [ANY],
    },
    "apidCheckExtKeyUsage": ANY,
    "diskQuotaSupport": ANY,
    "kubePrism": {"enabled": ANY, "port": ANY},
    "hostDNS": {"enabled": ANY, "forwardKubeDNSToHost": ANY, "resolveMemberNames": ANY},
    "imageCache": {"localEnabled": ANY},
    "nodeAddressSortAlgorithm": ANY,
}
MACHINE: Shape = {
    "type": ANY,
    "token": ANY,
    "ca": PAIR,
    "acceptedCAs": [PAIR],
    "certSANs": [ANY],
    "controlPlane": {"controllerManager": {"disabled": ANY}, "scheduler": {"disabled": ANY}},
    "kubelet": KUBELET,
    "pods": [ANY],
    "network": {
        "hostname": ANY,
        "interfaces": INTERFACES,
        "nameservers": [ANY],
        "searchDomains": [ANY],
        "extraHostEntries": [{"ip": ANY, "aliases": [ANY]}],
        "kubespan": {
            "enabled": ANY,
            "advertiseKubernetesNetworks": ANY,
            "allowDownPeerBypass": ANY,
            "harvestExtraEndpoints": ANY,
            "mtu": ANY,
            "filters": ANY,
        },
        "disableSearchDomain": ANY,
    },
    "disks": [{"device": ANY, "partitions": [{"size": ANY, "mountpoint": ANY}]}],
    "install": INSTALL,
    "files": [{"content": ANY, "permissions": ANY, "path": ANY, "op": ANY}],
    "env": {"*": ANY},
    "time": {"disabled": ANY, "servers": [ANY], "bootTimeout": ANY},
    "sysctls": {"*": ANY},
    "sysfs": {"*": ANY},
    "registries": {
        "mirrors": {"*": {"endpoints": [ANY], "overridePath": ANY, "skipFallback": ANY}},
        "config": {"*": {"tls": ANY, "auth": ANY}},
    },
    "systemDiskEncryption": ANY,
    "features": FEATURES,
    "udev": {"rules": [ANY]},
    "logging": {"destinations": [ANY]},
    "kernel": {"modules": [{"name": ANY, "parameters": [ANY]}]},
    "seccompProfiles": [{"name": ANY, "value": ANY}],
    "baseRuntimeSpecOverrides": ANY,
    "nodeLabels": {"*": ANY},
    "nodeAnnotations": {"*": ANY},
    "nodeTaints": {"*": ANY},
}
CLUSTER: Shape = {
    "id": ANY,
    "secret": ANY,
    "controlPlane": {"endpoint": ANY, "localAPIServerPort": ANY},
    "clusterName": ANY,
    "network": {
        "cni": {"name": ANY, "urls": [ANY], "flannel": {"extraArgs": [ANY]}},
        "dnsDomain": ANY,
        "podSubnets": [ANY],
        "serviceSubnets": [ANY],
    },
    "token": ANY,
    "aescbcEncryptionSecret": ANY,
    "secretboxEncryptionSecret": ANY,
    "ca": PAIR,
    "acceptedCAs": [PAIR],
    "aggregatorCA": PAIR,
    "serviceAccount": {"key": ANY},
    "apiServer": {
        "image": ANY,
        "extraArgs": {"*": ANY},
        "extraVolumes": VOLUMES,
        "env": {"*": ANY},
        "certSANs": [ANY],
        "disablePodSecurityPolicy": ANY,
        "admissionControl": [{"name": ANY, "configuration": ANY}],
        "auditPolicy": ANY,
        "resources": RESOURCES,
        "authorizationConfig": [ANY],
    },
    "controllerManager": {
        "image": ANY,
        "extraArgs": {"*": ANY},
        "extraVolumes": VOLUMES,
        "env": {"*": ANY},
        "resources": RESOURCES,
    },
    "proxy": {"disabled": ANY, "image": ANY, "mode": ANY, "extraArgs": {"*": ANY}},
    "scheduler": {
        "image": ANY,
        "extraArgs": {"*": ANY},
        "extraVolumes": VOLUMES,
        "env": {"*": ANY},
        "resources": RESOURCES,
        "config": ANY,
    },
    "discovery": {
        "enabled": ANY,
        "registries": {"kubernetes": {"disabled": ANY}, "service": {"disabled": ANY, "endpoint": ANY}},
    },
    "etcd": {
        "image": ANY,
        "ca": PAIR,
        "extraArgs": {"*": ANY},
        "subnet": ANY,
        "advertisedSubnets": [ANY],
        "listenSubnets": [ANY],
    },
    "coreDNS": {"disabled": ANY, "image": ANY},
    "externalCloudProvider": {"enabled": ANY, "manifests": [ANY]},
    "extraManifests": [ANY],
    "extraManifestHeaders": {"*": ANY},
    "inlineManifests": [{"name": ANY, "contents": ANY}],
    "adminKubeconfig": {"certLifetime": ANY},
    "allowSchedulingOnMasters": ANY,
    "allowSchedulingOnControlPlanes": ANY,
}
CONFIG: dict[str, Any] = {
    "version": ANY,
    "debug": ANY,
    "persist": ANY,
    "machine": MACHINE,
    "cluster": CLUSTER,
}

# Documents that may stand beside the v1alpha1 one. Source: talos `pkg/machinery/config/types`, v1.11.2.
DOCUMENT_KINDS = frozenset(
    {
        "EthernetConfig",
        "EventSinkConfig",
        "ExistingVolumeConfig",
        "ExtensionServiceConfig",
        "KmsgLogConfig",
        "KubespanEndpointsConfig",
        "NetworkDefaultActionConfig",
        "NetworkRuleConfig",
        "OOMConfig",
        "PCIDriverRebindConfig",
        "RawVolumeConfig",
        "SideroLinkConfig",
        "SwapVolumeConfig",
        "TrustedRootsConfig",
        "UserVolumeConfig",
        "VolumeConfig",
        "WatchdogTimerConfig",
        "ZswapConfig",
    }
)
