"""The site: everything the operator wants, as frozen, validated data.

Names of fields are the operator's own words in `site.yaml`. Rules that need more than one field stand in `rules`;
reading files, positions and error texts in `loader`. Addresses and networks are `ipaddress` types, durations `timedelta`.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from inventory.references import SecretRef

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Asn = Annotated[int, Field(ge=1, le=4294967294)]
Port = Annotated[int, Field(ge=1, le=65535)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Role(StrEnum):
    """What a node does: every control plane is an etcd member."""

    CONTROLPLANE = "controlplane"
    WORKER = "worker"


class Versions(_Data):
    """Pins of what is installed; the command line tools are expected at the matching version (foundation.md 0)."""

    talos: str = "v1.11.2"
    kubernetes: str = "1.33.5"
    cilium: str = "1.18.12"
    flux: str = "v2.7.5"
    cilium_cli: str = "v0.18.8"
    helm: str = "v3.19.2"


class DiskSelector(_Data):
    """One disk, by what does not move between boots. Exactly the given fields must match."""

    serial: str | None = None
    wwid: str | None = None
    model: str | None = None
    size: str | None = Field(None, description="a comparison as Talos takes it: '<= 512GB'")
    type: Literal["ssd", "hdd", "nvme", "sd"] | None = None


class Node(_Data):
    """One machine: who it is (MAC or serial), where it answers, and which disks are whose."""

    name: str
    cluster: str
    role: Role = Role.CONTROLPLANE
    address: Address
    addresses: tuple[Address, ...] = Field((), description="further addresses of the node, as for dual stack")
    maintenance_address: Address | None = Field(None, description="where it answers in maintenance mode, when not `address`")
    mac: str | None = None
    serial: str | None = Field(None, description="SMBIOS serial number")
    install_disk: DiskSelector
    data_disks: tuple[DiskSelector, ...] = ()


class Endpoint(_Data):
    """Where the cluster's Kubernetes API answers: a VIP of Talos, or a name with records for every control plane."""

    vip: Address | None = None
    host: str | None = None
    port: Port = 6443


class Pool(_Data):
    """Addresses for Services of type LoadBalancer."""

    name: str
    cidr: Network


class CiliumIdentity(_Data):
    """The mesh's name (default: the cluster's) and id of a cluster. A later change restarts every workload."""

    name: str | None = None
    id: Annotated[int, Field(ge=0, le=255)]


class ClusterBgp(_Data):
    """The cluster's side of its BGP sessions with the gateway."""

    asn: Asn
    group: str | None = Field(None, description="the group on the gateway; default K8S-<CLUSTER>")


class Cluster(_Data):
    """One Talos cluster."""

    name: str
    week: Annotated[int, Field(ge=1, le=10)] = Field(1, description="the week of the plan in which it is installed")
    endpoint: Endpoint
    api: str | None = Field(None, description="URL at which this workstation reaches the Kubernetes API, when not the endpoint")
    pods: tuple[Network, ...]
    services: tuple[Network, ...]
    domain: str = "cluster.local"
    cilium: CiliumIdentity
    pools: tuple[Pool, ...] = ()
    bgp: ClusterBgp | None = None
    mesh_port: Annotated[int, Field(ge=30000, le=32767)] = 32379
    talos_secrets: SecretRef
    kubelet_certificates: Literal["self-signed", "approve"] = Field(
        "self-signed", description="self-signed: no rotation; approve: rotation on, CSRs of known nodes approved (foundation.md 3.3)"
    )


class NodeNetwork(_Data):
    """The segment that all nodes share."""

    cidrs: tuple[Network, ...]
    gateway: Address
    gateway6: Address | None = None
    nameservers: tuple[Address, ...]
    ntp: tuple[str, ...]


class Factory(_Data):
    """The Image Factory and what the machines' image holds."""

    url: str = "https://factory.talos.dev"
    registry: str = Field("factory.talos.dev", description="host of installer images, pulled by the nodes")
    extensions: tuple[str, ...] = ()
    architecture: Literal["amd64", "arm64"] = "amd64"
    secure_boot: bool = False


class Gateway(_Data):
    """The Juniper gateway: `address` and `port` are dialled by SSH, `peer` is what the nodes peer with."""

    address: str
    port: Port = 22
    peer: Address
    asn: Asn
    zone: str
    interface: str
    user: str
    password: SecretRef | None = None
    private_key: SecretRef | None = None
    known_hosts: SecretRef
    bgp_password: SecretRef | None = Field(None, description="the sessions' MD5 key; made and kept there when absent")
    confirm_minutes: Annotated[int, Field(ge=1, le=60)] = 5


class Author(_Data):
    name: str = "bootstrap"
    email: str = "bootstrap@localhost.invalid"


class Git(_Data):
    """The repository that Flux reconciles. `url` is dialled by this workstation."""

    provider: Literal["github", "gitea", "git"] = "git"
    url: str
    owner: str | None = None
    repository: str | None = None
    hostname: str | None = None
    personal: bool = False
    branch: str = "main"
    path: str = Field("clusters", description="folder above the clusters' folders")
    auth: Literal["deploy-key", "token"] = Field("deploy-key", description="how Flux reads: a key of its own, or the token kept in the cluster")
    username: str = "git"
    token: SecretRef | None = None
    private_key: SecretRef | None = None
    known_hosts: SecretRef | None = None
    author: Author = Author()


class Store(_Data):
    """The S3 store for backups."""

    endpoint: str
    region: str = "us-east-1"
    bucket: str
    access_key: SecretRef
    secret_key: SecretRef


class Connectivity(_Data):
    """What `cilium connectivity test` may talk to outside of the cluster; without targets the tests to the world are skipped."""

    external_target: str | None = None
    external_ip: Address | None = None
    external_other_ip: Address | None = None
    external_cidr: Network | None = None
    timeout: timedelta = timedelta(minutes=30)


class Timing(_Data):
    """Every wait: deadlines are wall time times `scale`; `poll` is the time between two questions."""

    poll: timedelta = timedelta(seconds=5)
    scale: Annotated[float, Field(gt=0)] = 1.0
    reachable: timedelta = timedelta(minutes=5)
    boot: timedelta = timedelta(hours=72)
    install: timedelta = timedelta(minutes=15)
    etcd_bootstrap: timedelta = timedelta(minutes=10)
    etcd: timedelta = timedelta(minutes=10)
    api: timedelta = timedelta(minutes=10)
    cilium: timedelta = timedelta(minutes=10)
    nodes_ready: timedelta = timedelta(minutes=5)
    health: timedelta = timedelta(minutes=15)
    crds: timedelta = timedelta(minutes=3)
    bgp: timedelta = timedelta(minutes=3)
    gateway_lock: timedelta = timedelta(minutes=5)
    flux_bootstrap: timedelta = timedelta(minutes=15)
    reconcile: timedelta = timedelta(minutes=10)
    mesh: timedelta = timedelta(minutes=10)
    mesh_test: timedelta = timedelta(minutes=40)
    unknown: timedelta = timedelta(minutes=5)


class Site(_Data):
    """The operator's wish, whole."""

    schema_: Literal[1] = Field(1, alias="schema")
    name: str
    versions: Versions = Versions()
    network: NodeNetwork
    factory: Factory = Factory()
    clusters: tuple[Cluster, ...]
    nodes: tuple[Node, ...]
    gateway: Gateway | None = None
    git: Git
    store: Store | None = None
    cilium_ca: SecretRef = Field(description="where the CA that all clusters of the mesh share is kept")
    connectivity: Connectivity = Connectivity()
    timing: Timing = Timing()

    def cluster(self, name: str) -> Cluster:
        """The cluster called `name`. Raises KeyError."""
        return next((c for c in self.clusters if c.name == name), None) or _missing(name)

    def nodes_of(self, cluster: str) -> tuple[Node, ...]:
        """The nodes of `cluster`, in the order of the file."""
        return tuple(n for n in self.nodes if n.cluster == cluster)

    def control_planes(self, cluster: str) -> tuple[Node, ...]:
        """The control plane nodes of `cluster`, in the order of the file."""
        return tuple(n for n in self.nodes_of(cluster) if n.role is Role.CONTROLPLANE)


def _missing(name: str) -> Cluster:
    raise KeyError(name)
