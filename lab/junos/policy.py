"""Routing policies: whether a list of policies lets a prefix through. Pure.

Source: Junos "Evaluation of routing policies": terms in order, the first terminating action decides, else the protocol's default.
Route filters match by themselves here; Junos looks for the longest one of a term first, which no policy of the lab depends on.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from lab.junos.tree import Branch, Config, below, has, items, leaf, values

Network = IPv4Network | IPv6Network


def accepts(config: Config, names: Sequence[str], prefix: str, *, protocol: str = "bgp", default: bool = True) -> bool:
    """Whether the policies `names` accept `prefix`; `default` is what happens where none of them decides."""
    network = ip_network(prefix)
    for name in names:
        policy = config.branch("policy-options", "policy-statement", name)
        for term in [*(body for _, body in items(policy, "term")), policy]:
            if not has(term, "then") or not _matches(config, below(term, "from"), network, protocol):
                continue
            if has(term, "then", "accept"):
                return True
            if has(term, "then", "reject"):
                return False
    return default


def _matches(config: Config, wanted: Branch, network: Network, protocol: str) -> bool:
    protocols = values(wanted, "protocol")
    if protocols and protocol not in protocols:
        return False
    filters = [(prefix, body) for prefix, body in items(wanted, "route-filter")]
    if filters and not any(_filter(ip_network(prefix, strict=False), body, network) for prefix, body in filters):
        return False
    lists = [name for name, _ in items(wanted, "prefix-list")]
    return not lists or any(str(network) in _listed(config, name) for name in lists)


def _listed(config: Config, name: str) -> set[str]:
    return {key[0] for key in config.branch("policy-options", "prefix-list", name).items}


def _filter(base: Network, how: Branch, network: Network) -> bool:
    if base.version != network.version or not network.subnet_of(base):  # type: ignore[arg-type]  # versions are equal
        return False
    length, own = network.prefixlen, base.prefixlen
    if bounds := leaf(how, "prefix-length-range"):
        low, high = (int(part.strip("/")) for part in bounds.split("-"))
        return low <= length <= high
    if limit := leaf(how, "upto"):
        return length <= int(limit.strip("/"))
    if has(how, "orlonger"):
        return True
    return length > own if has(how, "longer") else length == own
