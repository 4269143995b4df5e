"""The site: everything the operator wants, as frozen, validated data.

Names of fields are the operator's own words in `site.yaml`, and each carries the sentence that the JSON Schema and the
reference print. Rules that need more than one field stand in `rules`; reading files, positions and error texts in `loader`.
Addresses and networks are `ipaddress` types, durations `timedelta`.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from inventory.references import SecretRef
from inventory.types import (
    Address,
    Asn,
    Branch,
    Bucket,
    Choice,
    DiskSize,
    DnsName,
    Duration,
    Email,
    Extension,
    Flag,
    Folder,
    GitUrl,
    Hardware,
    Host,
    HttpsUrl,
    HttpUrl,
    JunosInterface,
    JunosName,
    Mac,
    MeshName,
    Name,
    Network,
    NodePort,
    PersonName,
    PlainVersion,
    Port,
    Registry,
    SiteAddress,
    SiteNetwork,
    VVersion,
    Word,
    positive,
    whole,
)

__all__ = [
    "Address",
    "Author",
    "CiliumIdentity",
    "Cluster",
    "ClusterBgp",
    "Connectivity",
    "DiskSelector",
    "Endpoint",
    "Factory",
    "Gateway",
    "Git",
    "Network",
    "Node",
    "NodeNetwork",
    "Pool",
    "Role",
    "Site",
    "Store",
    "Timing",
    "Versions",
]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Role(StrEnum):
    """What a node does: every control plane is an etcd member."""

    CONTROLPLANE = "controlplane"
    WORKER = "worker"


class Versions(_Data):
    """Pins of what is installed; the command line tools are expected at the matching version."""

    talos: VVersion = Field(default="v1.11.2", description="Talos, on the nodes and as talosctl")
    kubernetes: PlainVersion = Field(
        default="1.33.5", description="Kubernetes; must be in the range of Talos, Cilium and Flux alike"
    )
    cilium: PlainVersion = Field(default="1.18.12", description="the Cilium chart")
    flux: VVersion = Field(default="v2.7.5", description="Flux, its command and its controllers")
    cilium_cli: VVersion = Field(default="v0.18.8", description="the cilium command")
    helm: VVersion = Field(default="v3.19.2", description="the helm command")


class DiskSelector(_Data):
    """One disk, by what does not move between boots. All given fields must match."""

    serial: Hardware | None = Field(default=None, description="serial number of the disk")
    wwid: Hardware | None = Field(default=None, description="world wide id of the disk")
    model: Hardware | None = Field(default=None, description="model of the disk; * stands for anything")
    size: DiskSize | None = Field(default=None, description="a comparison as Talos takes it: '<= 512GB'")
    type: Annotated[Literal["ssd", "hdd", "nvme", "sd"], Choice()] | None = Field(
        default=None, description="what the disk is"
    )


class Node(_Data):
    """One machine: who it is (MAC or serial), where it answers, and which disks are whose."""

    name: Name = Field(description="host name, unique in the site")
    cluster: Name = Field(description="the cluster that it belongs to")
    role: Annotated[Role, Choice()] = Field(
        default=Role.CONTROLPLANE, description="control planes are etcd members and take workloads too"
    )
    address: SiteAddress = Field(description="where it answers once it is installed; static")
    addresses: tuple[SiteAddress, ...] = Field(
        default=(), description="further addresses of the node, as for dual stack"
    )
    maintenance_address: SiteAddress | None = Field(
        default=None, description="where it answers in maintenance mode, when not `address`"
    )
    mac: Mac | None = Field(
        default=None, description="MAC address of the network card; either this or `serial` identifies the machine"
    )
    serial: Hardware | None = Field(
        default=None, description="SMBIOS serial number of the machine; either this or `mac` identifies it"
    )
    install_disk: DiskSelector = Field(description="the disk that Talos takes whole")
    data_disks: tuple[DiskSelector, ...] = Field(
        default=(), description="disks for storage; never touched by the installation"
    )


class Endpoint(_Data):
    """Where the cluster's Kubernetes API answers: a VIP of Talos, or a name with records for every control plane."""

    vip: SiteAddress | None = Field(
        default=None, description="unused address on the node network, held by one control plane at a time"
    )
    host: Host | None = Field(
        default=None, description="name with a record for every control plane; with only one, its address serves"
    )
    port: Port = Field(default=6443, description="port of the Kubernetes API")

    @property
    def name(self) -> str:
        """The VIP or the host, as text and without brackets."""
        return str(self.vip) if self.vip is not None else (self.host or "")

    @property
    def url(self) -> str:
        """The API's URL as the machine configs hold it."""
        return f"https://[{self.name}]:{self.port}" if ":" in self.name else f"https://{self.name}:{self.port}"


class Pool(_Data):
    """Addresses for Services of type LoadBalancer."""

    name: Name = Field(description="name of the CiliumLoadBalancerIPPool")
    cidr: SiteNetwork = Field(description="the addresses: off the node network with BGP, on it without a gateway")


class CiliumIdentity(_Data):
    """The mesh's name (default: the cluster's) and id of a cluster. A later change restarts every workload."""

    name: MeshName | None = Field(default=None, description="name in the mesh; default: the cluster's")
    id: Annotated[int, whole(0, 255)] = Field(
        description="id in the mesh, unique; 0 is for a cluster that never joins one"
    )


class ClusterBgp(_Data):
    """The cluster's side of its BGP sessions with the gateway."""

    asn: Asn = Field(description="autonomous system of the cluster's nodes; not the gateway's")
    group: JunosName | None = Field(default=None, description="the group on the gateway; default K8S-<CLUSTER>")


class Cluster(_Data):
    """One Talos cluster."""

    name: Name = Field(description="name of the cluster, its kubeconfig context and its folder in Git")
    week: Annotated[int, whole(1, 10)] = Field(default=1, description="the week of the plan in which it is installed")
    endpoint: Endpoint = Field(description="where the Kubernetes API answers: `vip` or `host`")
    api: HttpsUrl | None = Field(
        default=None, description="URL at which this workstation reaches the Kubernetes API, when not the endpoint"
    )
    pods: tuple[SiteNetwork, ...] = Field(description="addresses of pods: one network a family")
    services: tuple[SiteNetwork, ...] = Field(
        description="addresses of services: one network a family, in the order of `pods`"
    )
    domain: DnsName = Field(default="cluster.local", description="DNS domain of the cluster")
    cilium: CiliumIdentity = Field(description="identity in the mesh")
    pools: tuple[Pool, ...] = Field(default=(), description="addresses for Services of type LoadBalancer")
    bgp: ClusterBgp | None = Field(default=None, description="the cluster's side of BGP; required with a gateway")
    mesh_port: NodePort = Field(
        default=32379, description="NodePort of the mesh's API server; differs from cluster to cluster"
    )
    talos_secrets: SecretRef = Field(
        description="where the Talos secrets bundle is kept: file: or op://, made there once"
    )
    kubelet_certificates: Annotated[Literal["self-signed", "approve"], Choice()] = Field(
        default="self-signed",
        description="self-signed: no rotation; approve: rotation on, CSRs of known nodes approved",
    )

    @property
    def mesh_name(self) -> str:
        """The name that Cilium goes by."""
        return self.cilium.name or self.name


class NodeNetwork(_Data):
    """The segment that all nodes share."""

    cidrs: tuple[SiteNetwork, ...] = Field(description="networks of the segment, one a family")
    gateway: SiteAddress = Field(description="default route of the nodes")
    gateway6: SiteAddress | None = Field(default=None, description="default route for IPv6; may be link-local")
    nameservers: tuple[SiteAddress, ...] = Field(description="DNS servers of the nodes")
    ntp: tuple[Host, ...] = Field(description="time servers of the nodes; without the right time etcd does not start")


class Factory(_Data):
    """The Image Factory and what the machines' image holds."""

    url: HttpUrl = Field(default="https://factory.talos.dev", description="the factory, as this workstation reaches it")
    registry: Registry = Field(default="factory.talos.dev", description="host of installer images, pulled by the nodes")
    extensions: tuple[Extension, ...] = Field(
        default=(), description="system extensions; their order is part of the image's id"
    )
    architecture: Annotated[Literal["amd64", "arm64"], Choice()] = Field(
        default="amd64", description="architecture of the machines"
    )
    secure_boot: Flag = Field(default=False, description="images for UEFI SecureBoot")


class Gateway(_Data):
    """The Juniper gateway: `address` and `port` are dialled by SSH, `peer` is what the nodes peer with."""

    address: Host = Field(description="where SSH answers")
    port: Port = Field(default=22, description="port of SSH")
    peer: SiteAddress = Field(description="the gateway's address on the node network, where BGP answers")
    asn: Asn = Field(description="autonomous system of the gateway")
    zone: JunosName = Field(description="security zone of the node network; exists already")
    interface: JunosInterface = Field(description="logical interface on the node network")
    user: Word = Field(description="login on the gateway")
    password: SecretRef | None = Field(default=None, description="the login's password; this or `private_key`")
    private_key: SecretRef | None = Field(default=None, description="the login's SSH key; this or `password`")
    known_hosts: SecretRef = Field(
        description="the gateway's host keys in the form of OpenSSH; an unknown key is refused"
    )
    bgp_password: SecretRef | None = Field(
        default=None, description="the sessions' MD5 key; file: or op:// is made there when absent"
    )
    confirm_minutes: Annotated[int, whole(1, 60)] = Field(
        default=5, description="minutes until the gateway rolls back an unconfirmed commit"
    )


class Author(_Data):
    """Who commits."""

    name: PersonName = Field(default="bootstrap", description="name of the commits' author")
    email: Email = Field(default="bootstrap@localhost.invalid", description="mail address of the commits' author")


class Git(_Data):
    """The repository that Flux reconciles. `url` is dialled by this workstation."""

    provider: Annotated[Literal["github", "gitea", "git"], Choice()] = Field(
        default="git", description="which flux bootstrap is used"
    )
    url: GitUrl = Field(description="the repository, as this workstation reaches it: https:// or ssh://")
    owner: Word | None = Field(
        default=None, description="github and gitea: organisation or user that owns the repository"
    )
    repository: Word | None = Field(default=None, description="github and gitea: name of the repository")
    hostname: Registry | None = Field(
        default=None, description="gitea: host of the server; github: host of an enterprise server"
    )
    personal: Flag = Field(default=False, description="the owner is a user, not an organisation")
    branch: Branch = Field(default="main", description="the branch that Flux follows")
    path: Folder = Field(default="clusters", description="folder above the clusters' folders")
    auth: Annotated[Literal["deploy-key", "token"], Choice()] = Field(
        default="deploy-key", description="how Flux reads: a key of its own, or the token kept in the cluster"
    )
    username: Word = Field(default="git", description="user name that goes with the token over HTTPS")
    token: SecretRef | None = Field(
        default=None, description="access token; required by github, gitea and git over HTTPS"
    )
    private_key: SecretRef | None = Field(default=None, description="git over SSH: a key that may write")
    known_hosts: SecretRef | None = Field(default=None, description="git over SSH: host keys in the form of OpenSSH")
    author: Author = Field(default=Author(), description="who commits")


class Store(_Data):
    """The S3 store for backups."""

    endpoint: HttpUrl = Field(description="URL of the store")
    region: Word = Field(default="us-east-1", description="region, as the store calls it")
    bucket: Bucket = Field(description="bucket for backups")
    access_key: SecretRef = Field(description="access key id")
    secret_key: SecretRef = Field(description="secret access key")


class Connectivity(_Data):
    """What `cilium connectivity test` may talk to outside of the cluster; without targets the tests to the world are skipped."""

    external_target: DnsName | None = Field(default=None, description="name that answers HTTPS, outside of the cluster")
    external_ip: SiteAddress | None = Field(default=None, description="address of an HTTPS server in `external_cidr`")
    external_other_ip: SiteAddress | None = Field(
        default=None, description="another address of an HTTPS server in `external_cidr`"
    )
    external_cidr: SiteNetwork | None = Field(default=None, description="network of the two addresses")
    timeout: Duration = Field(default=timedelta(minutes=30), description="deadline of one test")


class Timing(_Data):
    """Every wait: deadlines are wall time times `scale`; `poll` is the time between two questions."""

    poll: Duration = Field(default=timedelta(seconds=5), description="time between two questions")
    scale: Annotated[float, positive(1000)] = Field(
        default=1.0, description="multiplies every deadline: above 1 for slow machines"
    )
    reachable: Duration = Field(default=timedelta(minutes=5), description="a machine or service answers")
    boot: Duration = Field(default=timedelta(hours=72), description="people boot the machines from the image")
    install: Duration = Field(default=timedelta(minutes=15), description="a node installs and reboots")
    etcd_bootstrap: Duration = Field(default=timedelta(minutes=10), description="a node takes the bootstrap of etcd")
    etcd: Duration = Field(default=timedelta(minutes=10), description="etcd has all its members")
    api: Duration = Field(default=timedelta(minutes=10), description="the Kubernetes API answers")
    cilium: Duration = Field(default=timedelta(minutes=10), description="Cilium is rolled out")
    nodes_ready: Duration = Field(default=timedelta(minutes=5), description="all nodes are Ready")
    health: Duration = Field(default=timedelta(minutes=15), description="talosctl health passes")
    crds: Duration = Field(default=timedelta(minutes=3), description="custom resources are served")
    bgp: Duration = Field(default=timedelta(minutes=3), description="BGP sessions are established on both ends")
    gateway_lock: Duration = Field(
        default=timedelta(minutes=5), description="the gateway's configuration is free to be locked"
    )
    flux_bootstrap: Duration = Field(default=timedelta(minutes=15), description="flux bootstrap ends")
    reconcile: Duration = Field(default=timedelta(minutes=10), description="a Kustomization or release is reconciled")
    mesh: Duration = Field(default=timedelta(minutes=10), description="the clusters of the mesh are connected")
    mesh_test: Duration = Field(default=timedelta(minutes=40), description="the connectivity test across the mesh ends")
    unknown: Duration = Field(
        default=timedelta(minutes=5), description="an outcome that cannot be asked stays open, before a person decides"
    )


class Site(_Data):
    """The operator's wish, whole."""

    schema_: Annotated[int, whole(1, 1)] = Field(default=1, alias="schema", description="version of this format")
    name: Name = Field(description="name of the site")
    versions: Versions = Field(default=Versions(), description="pins of what is installed")
    network: NodeNetwork = Field(description="the segment that all nodes share")
    factory: Factory = Field(default=Factory(), description="the Image Factory and what the machines' image holds")
    clusters: tuple[Cluster, ...] = Field(description="the Talos clusters; two or more are joined to a mesh")
    nodes: tuple[Node, ...] = Field(description="the machines of all clusters")
    gateway: Gateway | None = Field(
        default=None, description="the Juniper gateway; without one, pools are announced on the node network (L2)"
    )
    git: Git = Field(description="the repository that Flux reconciles")
    store: Store | None = Field(default=None, description="the S3 store for backups")
    cilium_ca: SecretRef = Field(
        description="where the CA that all clusters of the mesh share is kept: file: or op://, made there once"
    )
    connectivity: Connectivity = Field(
        default=Connectivity(), description="targets of the connectivity test outside of the cluster"
    )
    timing: Timing = Field(default=Timing(), description="every wait")

    def cluster(self, name: str) -> Cluster:
        """The cluster called `name`. Raises KeyError."""
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise KeyError(name)

    def nodes_of(self, cluster: str) -> tuple[Node, ...]:
        """The nodes of `cluster`, in the order of the file."""
        return tuple(n for n in self.nodes if n.cluster == cluster)

    def control_planes(self, cluster: str) -> tuple[Node, ...]:
        """The control plane nodes of `cluster`, in the order of the file."""
        return tuple(n for n in self.nodes_of(cluster) if n.role is Role.CONTROLPLANE)
