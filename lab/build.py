"""Makes a world out of a site: the actors, wired, in a folder of their own."""

from __future__ import annotations

import random
import secrets as entropy
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from inventory.model import Site
from lab import faults as faultfile
from lab.bgp import BgpFabric
from lab.clock import Clock
from lab.cluster import LabCluster
from lab.ctl.base import Controller
from lab.factory import Factory
from lab.faults import Faults
from lab.gitremote import GitRemote, Token
from lab.machines import Machine
from lab.record import Record
from lab.s3 import S3Store, User
from lab.sitecopy import Credentials
from lab.world import World

TOKEN_DAYS = 330  # a token that outlives the ten weeks


def build(
    folder: Path,
    site: Site,
    *,
    seed: int = 0,
    speed: float,
    world_file: Path | None = None,
    ports: dict[str, int] | None = None,
    credentials: Credentials | None = None,
    elapsed: float = 0.0,
    control_plane: Path | None = None,
    blank: bool = False,
) -> tuple[World, Credentials]:
    """A world that has not started. `ports` of an earlier process are taken again where they are given. `blank`: a snapshot will fill it.

    Raises WorldFileError where `world_file` is not one.
    """
    ports = ports or {}
    clock = Clock(speed, elapsed=elapsed)
    rules, conditions = faultfile.load(world_file) if world_file else ([], [])
    faults = Faults(clock, random.Random(f"{seed}/faults"), rules, conditions)
    world = World(
        dir=folder,
        site=site,
        seed=seed,
        clock=clock,
        rng=random.Random(seed),
        record=Record(clock, folder / "record.ndjson"),
        faults=faults,
        control_plane=control_plane,
        resumed_at=elapsed,
    )
    have = credentials or new_credentials(site)
    for part in ("git", "gateway"):
        (folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
    world.bgp = BgpFabric(clock, world.random_for("bgp"), faults)
    world.factory = Factory(world, tcp_port=ports.get("factory", 0))
    world.git = _git(world, have, ports)
    world.s3 = _store(world, have, ports)
    if site.gateway is not None:
        world.gateway = _gateway(world, have, ports)
    for node in site.nodes:
        world.machines[node.name] = Machine(node, world)
    meshes: list[Any] = []  # the one lab.cilium.mesh.Meshes of the world, once a cluster needs it
    for spec in site.clusters:
        cluster = LabCluster(spec.name, spec, world, tcp_port=ports.get(f"api:{spec.name}", 0), blank=blank)
        world.clusters[spec.name] = cluster
        cluster.extras.append(lambda c: _cilium(world, c, meshes))
    for condition in conditions:
        if condition.node in world.machines:
            world.machines[condition.node].begin(condition)
    return world, have


def new_credentials(site: Site) -> Credentials:
    """Fresh ones, in the shapes of the real ones."""
    gateway_key = site.gateway.private_key if site.gateway else None
    return Credentials(
        gateway_password=entropy.token_urlsafe(15),
        git_token=f"ghp_{entropy.token_hex(18)}",
        access_key=f"LAB{entropy.token_hex(8).upper()}",
        secret_key=entropy.token_urlsafe(30),
        gateway_key=_new_key() if gateway_key is not None else "",
        git_key=_new_key() if site.git.private_key is not None else "",
    )


def _new_key() -> str:
    key = ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()


def _public(private: str) -> str:
    """ "type base64" of a private key."""
    key = serialization.load_ssh_private_key(private.encode(), None)
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return line.decode()


def _git(world: World, have: Credentials, ports: dict[str, int]) -> GitRemote:
    git = world.site.git
    owner, repository = repository_of(world.site)
    return GitRemote(
        clock=world.clock,
        rng=world.random_for("git"),
        record=world.record,
        dir=world.dir / "git",
        owner=owner,
        repository=repository,
        branch=git.branch,
        tokens={have.git_token: Token(owner, expires=world.clock.epoch + timedelta(days=TOKEN_DAYS))},
        keys={_public(have.git_key): owner} if have.git_key else {},
        faults=world.faults,
        organization=not git.personal,
        port=ports.get("git", 0),
        ssh_port=ports.get("git-ssh", 0),
        initial={} if git.provider == "git" or git.token is None else None,  # a forge's API makes it, nobody else can
    )


def repository_of(site: Site) -> tuple[str, str]:
    """Owner and name of the repository, from their own keys or out of the URL."""
    path = site.git.url.rstrip("/").removesuffix(".git").replace(":", "/").split("/")
    return site.git.owner or path[-2] or "lab", site.git.repository or path[-1]


def _store(world: World, have: Credentials, ports: dict[str, int]) -> S3Store:
    store = S3Store(
        clock=world.clock,
        rng=world.random_for("s3"),
        record=world.record,
        users={have.access_key: User(have.secret_key)},
        region=world.site.store.region if world.site.store else "us-east-1",
        faults=world.faults,
        port=ports.get("s3", 0),
    )
    if world.site.store is not None:
        store.buckets.setdefault(world.site.store.bucket, {})
    return store


def _gateway(world: World, have: Credentials, ports: dict[str, int]) -> Any:
    from lab.junos.device import JunosDevice
    from lab.junos.factory import Surroundings, configuration
    from lab.junos.server import Account, Gateway

    gateway = world.site.gateway
    if gateway is None:
        raise ValueError("the site has no gateway")
    lengths = {n.version: n.prefixlen for n in world.site.network.cidrs if gateway.peer.version == n.version}
    own = [f"{gateway.peer}/{lengths.get(gateway.peer.version, 24)}"]
    if world.site.network.gateway6 is not None:
        cidr6 = next((n for n in world.site.network.cidrs if n.version == 6), ip_network("fd00::/64"))
        own.append(f"{world.site.network.gateway6}/{cidr6.prefixlen}")
    surroundings = Surroundings(
        asn=gateway.asn, zone=gateway.zone, interface=gateway.interface, user=gateway.user, addresses=own
    )
    device = JunosDevice(world.clock, world.random_for("gateway"), world.bgp, configuration(surroundings))
    keys = (_public(have.gateway_key),) if have.gateway_key else ()
    account = Account(have.gateway_password if gateway.password is not None else "", keys)
    return Gateway(
        device, world.dir / "gateway", {gateway.user: account}, world.record, world.faults, ports.get("gateway", 0)
    )


def _cilium(world: World, cluster: LabCluster, shared: list[Any]) -> list[Controller]:
    """Cilium's and Flux' controllers. Imported here: a lab that has just started has no API yet, and is to be there soon."""
    from lab.cilium.attach import attach
    from lab.cilium.mesh import Meshes
    from lab.flux.attach import attach as attach_flux

    if not shared:
        shared.append(Meshes())
    meshes: Meshes = shared[0]
    gateway = str(world.site.gateway.peer) if world.site.gateway is not None else ""

    def reach(host: str, port: str, node: str) -> str:
        """Why the API does not answer an agent on `node` there, or nothing: KubePrism, or an address of the API itself."""
        if not cluster.up:
            return f"dial tcp {host}:{port}: connect: connection refused"
        if host in ("localhost", "127.0.0.1"):
            return (
                "" if port == str(cluster.kubeprism_port) else f"dial tcp 127.0.0.1:{port}: connect: connection refused"
            )
        if (
            host == service_ip
        ):  # the Service of the API needs kube-proxy, or Cilium in its place, which is only coming up
            return "" if cluster.has_kube_proxy else f"dial tcp {host}:{port}: i/o timeout"
        return "" if cluster.leads_here(host, int(port)) else f"dial tcp {host}:{port}: connect: no route to host"

    service_ip = str(next(iter(cluster.spec.services))[1])
    cluster.cilium = attach(
        cluster, meshes=meshes, fabric=world.bgp, reach=reach, service_ip=service_ip, gateway=gateway
    )
    return [*cluster.cilium.controllers, *attach_flux(cluster, world.git)]
