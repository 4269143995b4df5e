"""Rules of the address plan: what may not overlap, what must lie on the node network, and how large networks are.

Source of the plan's rules: foundation.md 0.1. Sizes: the kube-controller-manager's `--node-cidr-mask-size` defaults (24 and 64,
at most 16 bits below the cluster's network) and kube-apiserver's limit of 20 bits for services.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from inventory.findings import Finding, Keys, Rule

if TYPE_CHECKING:
    from inventory.model import Address, Cluster, Network, Site

HOST_DNS = ip_address("169.254.116.108")  # Talos answers its own DNS queries here on every node
NODE_MASK = {4: 24, 6: 64}  # prefix length of the part of `pods` that each node gets
MAX_NODE_BITS = 16
SERVICE_PREFIX = {
    4: (12, 28),
    6: (108, 124),
}  # at most 20 bits; at least 16 addresses, since cluster DNS takes the tenth
TALOS_DEFAULTS = (ip_network("10.244.0.0/16"), ip_network("10.96.0.0/12"))

_RESERVED = (
    (ip_network("169.254.116.108/32"), "169.254.116.108, where Talos answers DNS"),
    (ip_network("127.0.0.0/8"), "the loopback network"),
    (ip_network("169.254.0.0/16"), "the link-local network"),
    (ip_network("224.0.0.0/3"), "multicast and reserved addresses"),
    (ip_network("0.0.0.0/8"), "the unspecified network"),
    (ip_network("::/127"), "the loopback address"),
    (ip_network("fe80::/10"), "the link-local network"),
    (ip_network("ff00::/8"), "multicast addresses"),
)


@dataclass(frozen=True, slots=True)
class _Net:
    keys: Keys
    network: Network
    what: str
    pool: bool = False


@dataclass(frozen=True, slots=True)
class _Addr:
    keys: Keys
    address: Address
    what: str


def networks_are_apart(site: Site) -> Iterator[Finding]:
    """No network of the site overlaps another, nor what is reserved. Pools and the node network have a rule of their own."""
    seen: list[_Net] = []
    for net in _networks(site):
        reserved = next((what for other, what in _RESERVED if _overlap(net.network, other)), None)
        if reserved:
            yield Finding(
                net.keys, f"{net.what} overlap {reserved}", allowed="a private network that nothing else uses"
            )
            continue
        other = next(
            (
                earlier
                for earlier in seen
                if _overlap(net.network, earlier.network) and not _pool_on_nodes(net, earlier)
            ),
            None,
        )
        if other:
            hint = (
                "these are Talos' defaults, the same in every cluster: choose others"
                if net.network in TALOS_DEFAULTS
                else None
            )
            yield Finding(
                net.keys,
                f"{net.what} overlap {other.what} ({other.network})",
                allowed="a network that nothing else uses",
                hint=hint,
            )
        else:
            seen.append(net)


def addresses_are_apart(site: Site) -> Iterator[Finding]:
    """Nodes, VIPs and gateways each have addresses of their own."""
    seen: dict[Address, _Addr] = {}
    for claim in _addresses(site):
        other = seen.setdefault(claim.address, claim)
        if other is not claim and not _may_share(claim, other):
            yield Finding(
                claim.keys,
                f"the address of {claim.what} is already that of {other.what}",
                allowed="an address that nothing else has",
            )


def addresses_are_on_the_segment(site: Site) -> Iterator[Finding]:
    """What nodes speak to without a router lies on the node network, and is a host's address there."""
    for claim in _addresses(site):
        if claim.keys[-1] == "maintenance_address" or (claim.keys[-1] == "gateway6" and claim.address.is_link_local):
            continue
        home = next((net for net in site.network.cidrs if claim.address in net), None)
        if home is None:
            yield Finding(
                claim.keys,
                f"the address of {claim.what} is not on the node network",
                allowed=_listed(site.network.cidrs),
            )
        elif (
            home.version == 4
            and home.prefixlen < 31
            and claim.address in (home.network_address, home.broadcast_address)
        ):
            yield Finding(
                claim.keys, f"the address of {claim.what} is no host's address", allowed=f"a host's address in {home}"
            )


def maintenance_addresses_are_usable(site: Site) -> Iterator[Finding]:
    """A machine in maintenance mode answers at a host's address outside of what clusters use."""
    for claim in _addresses(site):
        if claim.keys[-1] != "maintenance_address":
            continue
        taken = next(
            (net for net in _networks(site) if net.keys[0] == "clusters" and claim.address in net.network), None
        )
        if (
            claim.address.is_loopback
            or claim.address.is_multicast
            or claim.address.is_unspecified
            or claim.address == HOST_DNS
        ):
            yield Finding(
                claim.keys,
                f"the address of {claim.what} is no host's address",
                allowed="the address that the machine gets by DHCP",
            )
        elif taken:
            yield Finding(
                claim.keys,
                f"the address of {claim.what} lies in {taken.what} ({taken.network})",
                allowed="an address outside of it",
            )


def node_network_has_one_of_a_family(site: Site) -> Iterator[Finding]:
    """The node network is one network of each family, and the default route has a family of it."""
    if not site.network.cidrs:
        yield Finding(("network", "cidrs"), "the node network is empty", allowed="one network of each family")
    for number, net in enumerate(site.network.cidrs):
        if net.version in {earlier.version for earlier in site.network.cidrs[:number]}:
            yield Finding(
                ("network", "cidrs", number), f"a second IPv{net.version} network", allowed="one network of each family"
            )
    if site.network.gateway6 is not None and site.network.gateway6.version != 6:
        yield Finding(
            ("network", "gateway6"), "the default route for IPv6 is an IPv4 address", allowed="an IPv6 address"
        )
    for key in ("nameservers", "ntp"):
        if not getattr(site.network, key):
            yield Finding(("network", key), "the list is empty", allowed="at least one")


def families_agree(site: Site) -> Iterator[Finding]:
    """Pods and services have the same families in the same order, and nodes have addresses of each."""
    for number, cluster in enumerate(site.clusters):
        keys: Keys = ("clusters", number)
        pods, services = _families(cluster.pods), _families(cluster.services)
        if not pods or len(set(pods)) < len(pods):
            yield Finding(
                (*keys, "pods"),
                "pods need one network of each family",
                found=_named(pods),
                allowed="IPv4, IPv6, or one of each",
            )
        elif pods != services:
            yield Finding(
                (*keys, "services"),
                "services have other families than pods, or another order",
                found=_named(services),
                allowed=_named(pods),
            )
        else:
            yield from _nodes_have(site, cluster, pods)
            yield from _cluster_uses(cluster, keys, pods)


def _nodes_have(site: Site, cluster: Cluster, families: tuple[int, ...]) -> Iterator[Finding]:
    for number, node in enumerate(site.nodes):
        if node.cluster != cluster.name:
            continue
        own = {node.address.version, *(address.version for address in node.addresses)}
        missing = [family for family in families if family not in own]
        if node.address.version != families[0]:
            yield Finding(
                ("nodes", number, "address"),
                f"pods of {cluster.name} are IPv{families[0]} first, so is the node's address",
                allowed=f"an IPv{families[0]} address",
            )
        elif missing:
            yield Finding(
                ("nodes", number, "addresses"),
                f"the node has no IPv{missing[0]} address, as pods of {cluster.name} have",
                allowed=f"an IPv{missing[0]} address",
            )


def _cluster_uses(cluster: Cluster, keys: Keys, families: tuple[int, ...]) -> Iterator[Finding]:
    vip = cluster.endpoint.vip
    if vip is not None and vip.version not in families:
        yield Finding(
            (*keys, "endpoint", "vip"), f"the VIP is IPv{vip.version}, the cluster is not", allowed=_named(families)
        )
    for number, pool in enumerate(cluster.pools):
        if pool.cidr.version not in families:
            yield Finding(
                (*keys, "pools", number, "cidr"),
                f"the pool is IPv{pool.cidr.version}, the cluster is not",
                allowed=_named(families),
            )


def networks_are_large_enough(site: Site) -> Iterator[Finding]:
    """Every node gets its part of `pods`, and services fit what kube-apiserver takes."""
    for number, cluster in enumerate(site.clusters):
        nodes = len(site.nodes_of(cluster.name))
        for place, net in enumerate(cluster.pods):
            mask = NODE_MASK[net.version]
            if not mask - MAX_NODE_BITS <= net.prefixlen <= mask:
                yield Finding(
                    ("clusters", number, "pods", place),
                    f"each node gets a /{mask} of pods",
                    allowed=f"a prefix length from {mask - MAX_NODE_BITS} to {mask}",
                )
            elif 1 << (mask - net.prefixlen) < nodes:
                room = 1 << (mask - net.prefixlen)
                yield Finding(
                    ("clusters", number, "pods", place),
                    f"pods have room for {room} times /{mask}, one a node, and {nodes} nodes are given",
                    allowed="a larger network",
                )
        for place, net in enumerate(cluster.services):
            low, high = SERVICE_PREFIX[net.version]
            if not low <= net.prefixlen <= high:
                yield Finding(
                    ("clusters", number, "services", place),
                    "the network's size does not fit services",
                    allowed=f"a prefix length from {low} to {high}",
                )


def pools_are_where_they_are_announced(site: Site) -> Iterator[Finding]:
    """BGP advertises single addresses, so pools lie off the node network; without a gateway nodes answer ARP, so they lie on it."""
    for number, cluster in enumerate(site.clusters):
        for place, pool in enumerate(cluster.pools):
            keys: Keys = ("clusters", number, "pools", place, "cidr")
            if cluster.bgp is not None or site.gateway is not None:
                near = next((net for net in site.network.cidrs if _overlap(net, pool.cidr)), None)
                if near:
                    yield Finding(
                        keys,
                        f"the pool lies on the node network ({near}), where nobody answers for it",
                        allowed="a network off the nodes', since BGP advertises it",
                    )
            else:
                yield from _on_segment(site, keys, pool.cidr)


def _on_segment(site: Site, keys: Keys, pool: Network) -> Iterator[Finding]:
    if not any(_within(pool, net) for net in site.network.cidrs):
        yield Finding(
            keys,
            "the pool is not on the node network, where L2 announcements are heard",
            allowed=f"a part of {_listed(site.network.cidrs)}",
            hint="or give a `gateway` to advertise it by BGP",
        )
        return
    taken = next((claim for claim in _addresses(site) if claim.address in pool), None)
    if taken:
        yield Finding(
            keys,
            f"the pool holds {taken.address}, the address of {taken.what}",
            allowed="a part of the node network that nothing else uses",
        )


# --- what the rules walk over ---------------------------------------------------------------------------------------------------


def _networks(site: Site) -> Iterator[_Net]:
    for number, net in enumerate(site.network.cidrs):
        yield _Net(("network", "cidrs", number), net, "addresses of nodes")
    for number, cluster in enumerate(site.clusters):
        for place, net in enumerate(cluster.pods):
            yield _Net(("clusters", number, "pods", place), net, f"pods of {cluster.name}")
        for place, net in enumerate(cluster.services):
            yield _Net(("clusters", number, "services", place), net, f"services of {cluster.name}")
        for place, pool in enumerate(cluster.pools):
            yield _Net(
                ("clusters", number, "pools", place, "cidr"), pool.cidr, f"addresses of pool {pool.name}", pool=True
            )


def _addresses(site: Site) -> Iterator[_Addr]:
    """Every single address that somebody holds: gateways, then nodes, then VIPs, so that the VIP is the one that is named."""
    yield _Addr(("network", "gateway"), site.network.gateway, "the default route")
    if site.network.gateway6 is not None:
        yield _Addr(("network", "gateway6"), site.network.gateway6, "the default route for IPv6")
    if site.gateway is not None:
        yield _Addr(("gateway", "peer"), site.gateway.peer, "the gateway")
    for number, node in enumerate(site.nodes):
        yield _Addr(("nodes", number, "address"), node.address, f"node {node.name}")
        for place, address in enumerate(node.addresses):
            yield _Addr(("nodes", number, "addresses", place), address, f"node {node.name}")
        if node.maintenance_address is not None:
            yield _Addr(
                ("nodes", number, "maintenance_address"),
                node.maintenance_address,
                f"node {node.name} in maintenance mode",
            )
    for number, cluster in enumerate(site.clusters):
        if cluster.endpoint.vip is not None:
            yield _Addr(("clusters", number, "endpoint", "vip"), cluster.endpoint.vip, f"the VIP of {cluster.name}")


def _may_share(claim: _Addr, other: _Addr) -> bool:
    """The gateway is usually the default route; a machine may keep its address from maintenance mode on."""
    if claim.keys == ("gateway", "peer"):
        return other.keys[0] == "network"
    return claim.keys[-1] == "maintenance_address" and claim.keys[:2] == other.keys[:2]


def _pool_on_nodes(net: _Net, other: _Net) -> bool:
    return net.pool and other.keys[0] == "network"


def _overlap(one: Network, other: Network) -> bool:
    if one.version != other.version:
        return False
    return int(one.network_address) <= int(other.broadcast_address) and int(other.network_address) <= int(
        one.broadcast_address
    )


def _within(one: Network, other: Network) -> bool:
    return _overlap(one, other) and one.prefixlen >= other.prefixlen


def _families(networks: tuple[Network, ...]) -> tuple[int, ...]:
    return tuple(net.version for net in networks)


def _named(families: tuple[int, ...]) -> str:
    return ", then ".join(f"IPv{family}" for family in families) or "nothing"


def _listed(networks: tuple[Network, ...]) -> str:
    return " or ".join(str(net) for net in networks)


_PLAN = "foundation.md 0.1"
RULES = (
    Rule("networks-are-apart", networks_are_apart, _PLAN),
    Rule("addresses-are-apart", addresses_are_apart, _PLAN),
    Rule("addresses-are-on-the-segment", addresses_are_on_the_segment, _PLAN, frozenset({"network"})),
    Rule("maintenance-addresses-are-usable", maintenance_addresses_are_usable, "issue 3, 1"),
    Rule(
        "node-network-has-one-of-a-family",
        node_network_has_one_of_a_family,
        "foundation.md 3.3",
        frozenset({"network"}),
    ),
    Rule("families-agree", families_agree, "Kubernetes dual-stack", frozenset({"clusters", "nodes"})),
    Rule("networks-are-large-enough", networks_are_large_enough, "kube-controller-manager and kube-apiserver flags"),
    Rule(
        "pools-are-where-they-are-announced",
        pools_are_where_they_are_announced,
        _PLAN,
        frozenset({"network", "gateway", "clusters"}),
    ),
)
