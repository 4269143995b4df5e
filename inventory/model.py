"""The site: everything the operator wants, as frozen, validated data.

Names of fields are the operator's own words in `site.yaml`, and each carries the sentence that the JSON Schema and the
reference print. Rules that need more than one field stand in `rules`; reading files, positions and error texts in `loader`.
Addresses and networks are `ipaddress` types, durations `timedelta`.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from inventory.references import SecretRef
from inventory.structure import Data, key
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


class Role(StrEnum):
    """What a node does: every control plane is an etcd member."""

    CONTROLPLANE = "controlplane"
    WORKER = "worker"


class Versions(Data):
    """Pins of what is installed; the command line tools are expected at the matching version."""

    talos: VVersion = key("Talos, on the nodes and as talosctl", default="v1.11.2")
    kubernetes: PlainVersion = key("Kubernetes; must be in the range of Talos, Cilium and Flux alike", default="1.33.5")
    cilium: PlainVersion = key("the Cilium chart", default="1.18.12")
    flux: VVersion = key("Flux, its command and its controllers", default="v2.7.5")
    cilium_cli: VVersion = key("the cilium command", default="v0.18.8")
    helm: VVersion = key("the helm command", default="v3.19.2")


class DiskSelector(Data):
    """One disk, by what does not move between boots. All given fields must match."""

    serial: Hardware | None = key("serial number of the disk", default=None)
    wwid: Hardware | None = key("world wide id of the disk", default=None)
    model: Hardware | None = key("model of the disk; * stands for anything", default=None)
    size: DiskSize | None = key("a comparison as Talos takes it: '<= 512GB'", default=None)
    type: Annotated[Literal["ssd", "hdd", "nvme", "sd"], Choice()] | None = key("what the disk is", default=None)


class Node(Data):
    """One machine: who it is (MAC or serial), where it answers, and which disks are whose."""

    name: Name = key("host name, unique in the site")
    cluster: Name = key("the cluster that it belongs to")
    role: Annotated[Role, Choice()] = key(
        "control planes are etcd members and take workloads too", default=Role.CONTROLPLANE
    )
    address: SiteAddress = key("where it answers once it is installed; static")
    addresses: tuple[SiteAddress, ...] = key("further addresses of the node, as for dual stack", default=())
    maintenance_address: SiteAddress | None = key(
        "where it answers in maintenance mode, when not `address`", default=None
    )
    mac: Mac | None = key(
        "MAC address of the network card; either this or `serial` identifies the machine", default=None
    )
    serial: Hardware | None = key(
        "SMBIOS serial number of the machine; either this or `mac` identifies it", default=None
    )
    install_disk: DiskSelector = key("the disk that Talos takes whole")
    data_disks: tuple[DiskSelector, ...] = key("disks for storage; never touched by the installation", default=())


class Endpoint(Data):
    """Where the cluster's Kubernetes API answers: a VIP of Talos, or a name with records for every control plane."""

    vip: SiteAddress | None = key(
        "unused address on the node network, held by one control plane at a time", default=None
    )
    host: Host | None = key(
        "name with a record for every control plane; with only one, its address serves", default=None
    )
    port: Port = key("port of the Kubernetes API", default=6443)

    @property
    def name(self) -> str:
        """The VIP or the host, as text and without brackets."""
        return str(self.vip) if self.vip is not None else (self.host or "")

    @property
    def url(self) -> str:
        """The API's URL as the machine configs hold it."""
        return f"https://[{self.name}]:{self.port}" if ":" in self.name else f"https://{self.name}:{self.port}"


class Pool(Data):
    """Addresses for Services of type LoadBalancer."""

    name: Name = key("name of the CiliumLoadBalancerIPPool")
    cidr: SiteNetwork = key("the addresses: off the node network with BGP, on it without a gateway")


class CiliumIdentity(Data):
    """The mesh's name (default: the cluster's) and id of a cluster. A later change restarts every workload."""

    name: MeshName | None = key("name in the mesh; default: the cluster's", default=None)
    id: Annotated[int, whole(0, 255)] = key("id in the mesh, unique; 0 is for a cluster that never joins one")


class ClusterBgp(Data):
    """The cluster's side of its BGP sessions with the gateway."""

    asn: Asn = key("autonomous system of the cluster's nodes; not the gateway's")
    group: JunosName | None = key("the group on the gateway; default K8S-<CLUSTER>", default=None)


class Cluster(Data):
    """One Talos cluster."""

    name: Name = key("name of the cluster, its kubeconfig context and its folder in Git")
    week: Annotated[int, whole(1, 10)] = key("the week of the plan in which it is installed", default=1)
    endpoint: Endpoint = key("where the Kubernetes API answers: `vip` or `host`")
    api: HttpsUrl | None = key(
        "URL at which this workstation reaches the Kubernetes API, when not the endpoint", default=None
    )
    pods: tuple[SiteNetwork, ...] = key("addresses of pods: one network a family")
    services: tuple[SiteNetwork, ...] = key("addresses of services: one network a family, in the order of `pods`")
    domain: DnsName = key("DNS domain of the cluster", default="cluster.local")
    cilium: CiliumIdentity = key("identity in the mesh")
    pools: tuple[Pool, ...] = key("addresses for Services of type LoadBalancer", default=())
    bgp: ClusterBgp | None = key("the cluster's side of BGP; required with a gateway", default=None)
    mesh_port: NodePort = key("NodePort of the mesh's API server; differs from cluster to cluster", default=32379)
    talos_secrets: SecretRef = key("where the Talos secrets bundle is kept: file: or op://, made there once")
    kubelet_certificates: Annotated[Literal["self-signed", "approve"], Choice()] = key(
        "self-signed: no rotation; approve: rotation on, CSRs of known nodes approved", default="self-signed"
    )

    @property
    def mesh_name(self) -> str:
        """The name that Cilium goes by."""
        return self.cilium.name or self.name


class NodeNetwork(Data):
    """The segment that all nodes share."""

    cidrs: tuple[SiteNetwork, ...] = key("networks of the segment, one a family")
    gateway: SiteAddress = key("default route of the nodes")
    gateway6: SiteAddress | None = key("default route for IPv6; may be link-local", default=None)
    nameservers: tuple[SiteAddress, ...] = key("DNS servers of the nodes")
    ntp: tuple[Host, ...] = key("time servers of the nodes; without the right time etcd does not start")


class Factory(Data):
    """The Image Factory and what the machines' image holds."""

    url: HttpUrl = key("the factory, as this workstation reaches it", default="https://factory.talos.dev")
    registry: Registry = key("host of installer images, pulled by the nodes", default="factory.talos.dev")
    extensions: tuple[Extension, ...] = key("system extensions; their order is part of the image's id", default=())
    architecture: Annotated[Literal["amd64", "arm64"], Choice()] = key("architecture of the machines", default="amd64")
    secure_boot: Flag = key("images for UEFI SecureBoot", default=False)


class Gateway(Data):
    """The Juniper gateway: `address` and `port` are dialled by SSH, `peer` is what the nodes peer with."""

    address: Host = key("where SSH answers")
    port: Port = key("port of SSH", default=22)
    peer: SiteAddress = key("the gateway's address on the node network, where BGP answers")
    asn: Asn = key("autonomous system of the gateway")
    zone: JunosName = key("security zone of the node network; exists already")
    interface: JunosInterface = key("logical interface on the node network")
    user: Word = key("login on the gateway")
    password: SecretRef | None = key("the login's password; this or `private_key`", default=None)
    private_key: SecretRef | None = key("the login's SSH key; this or `password`", default=None)
    known_hosts: SecretRef = key("the gateway's host keys in the form of OpenSSH; an unknown key is refused")
    bgp_password: SecretRef | None = key(
        "the sessions' MD5 key; file: or op:// is made there when absent", default=None
    )
    confirm_minutes: Annotated[int, whole(1, 60)] = key(
        "minutes until the gateway rolls back an unconfirmed commit", default=5
    )


class Author(Data):
    """Who commits."""

    name: PersonName = key("name of the commits' author", default="bootstrap")
    email: Email = key("mail address of the commits' author", default="bootstrap@localhost.invalid")


class Git(Data):
    """The repository that Flux reconciles. `url` is dialled by this workstation."""

    provider: Annotated[Literal["github", "gitea", "git"], Choice()] = key(
        "which flux bootstrap is used", default="git"
    )
    url: GitUrl = key("the repository, as this workstation reaches it: https:// or ssh://")
    owner: Word | None = key("github and gitea: organisation or user that owns the repository", default=None)
    repository: Word | None = key("github and gitea: name of the repository", default=None)
    hostname: Registry | None = key("gitea: host of the server; github: host of an enterprise server", default=None)
    personal: Flag = key("the owner is a user, not an organisation", default=False)
    branch: Branch = key("the branch that Flux follows", default="main")
    path: Folder = key("folder above the clusters' folders", default="clusters")
    auth: Annotated[Literal["deploy-key", "token"], Choice()] = key(
        "how Flux reads: a key of its own, or the token kept in the cluster", default="deploy-key"
    )
    username: Word = key("user name that goes with the token over HTTPS", default="git")
    token: SecretRef | None = key("access token; required by github, gitea and git over HTTPS", default=None)
    private_key: SecretRef | None = key("git over SSH: a key that may write", default=None)
    known_hosts: SecretRef | None = key("git over SSH: host keys in the form of OpenSSH", default=None)
    author: Author = key("who commits", default=Author())


class Store(Data):
    """The S3 store for backups."""

    endpoint: HttpUrl = key("URL of the store")
    region: Word = key("region, as the store calls it", default="us-east-1")
    bucket: Bucket = key("bucket for backups")
    access_key: SecretRef = key("access key id")
    secret_key: SecretRef = key("secret access key")


class Connectivity(Data):
    """What `cilium connectivity test` may talk to outside of the cluster; without targets the tests to the world are skipped."""

    external_target: DnsName | None = key("name that answers HTTPS, outside of the cluster", default=None)
    external_ip: SiteAddress | None = key("address of an HTTPS server in `external_cidr`", default=None)
    external_other_ip: SiteAddress | None = key("another address of an HTTPS server in `external_cidr`", default=None)
    external_cidr: SiteNetwork | None = key("network of the two addresses", default=None)
    timeout: Duration = key("deadline of one test", default=timedelta(minutes=30))


class Timing(Data):
    """Every wait: deadlines are wall time times `scale`; `poll` is the time between two questions."""

    poll: Duration = key("time between two questions", default=timedelta(seconds=5))
    scale: Annotated[float, positive(1000)] = key("multiplies every deadline: above 1 for slow machines", default=1.0)
    reachable: Duration = key("a machine or service answers", default=timedelta(minutes=5))
    boot: Duration = key("people boot the machines from the image", default=timedelta(hours=72))
    install: Duration = key("a node installs and reboots", default=timedelta(minutes=15))
    etcd_bootstrap: Duration = key("a node takes the bootstrap of etcd", default=timedelta(minutes=10))
    etcd: Duration = key("etcd has all its members", default=timedelta(minutes=10))
    api: Duration = key("the Kubernetes API answers", default=timedelta(minutes=10))
    cilium: Duration = key("Cilium is rolled out", default=timedelta(minutes=10))
    nodes_ready: Duration = key("all nodes are Ready", default=timedelta(minutes=5))
    health: Duration = key("talosctl health passes", default=timedelta(minutes=15))
    crds: Duration = key("custom resources are served", default=timedelta(minutes=3))
    bgp: Duration = key("BGP sessions are established on both ends", default=timedelta(minutes=3))
    gateway_lock: Duration = key("the gateway's configuration is free to be locked", default=timedelta(minutes=5))
    flux_bootstrap: Duration = key("flux bootstrap ends", default=timedelta(minutes=15))
    reconcile: Duration = key("a Kustomization or release is reconciled", default=timedelta(minutes=10))
    mesh: Duration = key("the clusters of the mesh are connected", default=timedelta(minutes=10))
    mesh_test: Duration = key("the connectivity test across the mesh ends", default=timedelta(minutes=40))
    unknown: Duration = key(
        "an outcome that cannot be asked stays open, before a person decides", default=timedelta(minutes=5)
    )


class Site(Data):
    """The operator's wish, whole."""

    schema_: Annotated[int, whole(1, 1)] = key("version of this format", default=1, alias="schema")
    name: Name = key("name of the site")
    versions: Versions = key("pins of what is installed", default=Versions())
    network: NodeNetwork = key("the segment that all nodes share")
    factory: Factory = key("the Image Factory and what the machines' image holds", default=Factory())
    clusters: tuple[Cluster, ...] = key("the Talos clusters; two or more are joined to a mesh")
    nodes: tuple[Node, ...] = key("the machines of all clusters")
    gateway: Gateway | None = key(
        "the Juniper gateway; without one, pools are announced on the node network (L2)", default=None
    )
    git: Git = key("the repository that Flux reconciles")
    store: Store | None = key("the S3 store for backups", default=None)
    cilium_ca: SecretRef = key(
        "where the CA that all clusters of the mesh share is kept: file: or op://, made there once"
    )
    connectivity: Connectivity = key("targets of the connectivity test outside of the cluster", default=Connectivity())
    timing: Timing = key("every wait", default=Timing())

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
