"""Rules of machines: whose they are, how many hold etcd, and that no selector can mean two disks.

Sources: foundation.md 0.1, 3.2 and 4.1; Talos 1.11, `install.diskSelector`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import combinations
from typing import TYPE_CHECKING

from inventory.findings import Finding, Keys, Rule
from inventory.selection import nearest

if TYPE_CHECKING:
    from inventory.model import DiskSelector, Node, Site

CONTROL_PLANES = (1, 3, 5)  # etcd: an even member adds a failure and tolerates none more; above five, writes suffer

_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def nodes_belong_to_clusters(site: Site) -> Iterator[Finding]:
    """Every node names a cluster of the site."""
    names = tuple(cluster.name for cluster in site.clusters)
    for number, node in enumerate(site.nodes):
        if names and node.cluster not in names:
            yield Finding(
                ("nodes", number, "cluster"),
                "there is no such cluster",
                allowed=", ".join(names),
                nearest=nearest(node.cluster, names),
            )


def clusters_are_given(site: Site) -> Iterator[Finding]:
    """A site has at least one cluster."""
    if not site.clusters:
        yield Finding(("clusters",), "the site has no cluster", allowed="at least one")


def control_planes_have_a_quorum(site: Site) -> Iterator[Finding]:
    """One, three or five control planes; more or fewer only when no node names a cluster that does not exist."""
    names = {cluster.name for cluster in site.clusters}
    if any(node.cluster not in names for node in site.nodes):
        return
    for number, cluster in enumerate(site.clusters):
        count = len(site.control_planes(cluster.name))
        if count not in CONTROL_PLANES and cluster.name not in {earlier.name for earlier in site.clusters[:number]}:
            yield Finding(
                ("clusters", number, "name"),
                f"cluster {cluster.name} has {count} control plane nodes"
                if count
                else f"cluster {cluster.name} has no control plane node",
                found=f"{count} control plane nodes",
                allowed="1, 3 or 5 control plane nodes",
                hint="an even member of etcd helps nothing: make one a worker, or add one"
                if count % 2 == 0 and count
                else "give one of its nodes `role: controlplane`",
            )


def endpoints_are_vip_or_host(site: Site) -> Iterator[Finding]:
    """The Kubernetes API answers at a VIP or at a name, and not at one node of several."""
    for number, cluster in enumerate(site.clusters):
        keys: Keys = ("clusters", number, "endpoint")
        vip, host = cluster.endpoint.vip, cluster.endpoint.host
        if (vip is None) == (host is None):
            yield Finding(
                keys,
                "the endpoint is either a VIP or a host",
                found="both" if vip else "neither",
                allowed="`vip` or `host`",
            )
        elif host is not None and _is_address(host):
            planes = site.control_planes(cluster.name)
            if len(planes) != 1 or host not in {
                str(planes[0].address),
                *(str(address) for address in planes[0].addresses),
            }:
                yield Finding(
                    (*keys, "host"),
                    "the host is one address, so the API would end with one node",
                    allowed="a name with a record for every control plane",
                    hint="an address that moves between nodes is a `vip`",
                )


def nodes_are_identified_once(site: Site) -> Iterator[Finding]:
    """A machine is known by its MAC address or by its serial number."""
    for number, node in enumerate(site.nodes):
        if (node.mac is None) == (node.serial is None):
            yield Finding(
                ("nodes", number),
                f"node {node.name} is identified by a MAC address or a serial number",
                found="both" if node.mac else "neither",
                allowed="`mac` or `serial`",
            )


def selectors_say_something(site: Site) -> Iterator[Finding]:
    """A selector without a field would match every disk."""
    for keys, selector, _ in _selectors(site):
        if not _says(selector):
            yield Finding(
                keys,
                "the selector names no disk",
                found="nothing",
                allowed="at least one of serial, wwid, model, size, type",
            )


def selectors_mean_different_disks(site: Site) -> Iterator[Finding]:
    """On one machine no disk can match two selectors: Talos would take a data disk, or storage the system's."""
    for number, node in enumerate(site.nodes):
        for (_, first, first_role), (keys, other, role) in combinations(_selectors_of(number, node), 2):
            if _says(first) and _says(other) and not _apart(first, other):
                yield Finding(
                    keys,
                    f"{role} of node {node.name} may be the same disk as its {first_role}",
                    found=_shown(other),
                    allowed=f"a selector that {_shown(first)} cannot match",
                    hint="name both by serial, or by types that differ",
                )
                break


def disks_are_in_one_machine(site: Site) -> Iterator[Finding]:
    """A serial number or world wide id belongs to one disk, so to one node."""
    seen: dict[tuple[str, str], Node] = {}
    for keys, selector, node in _selectors(site):
        for field in ("serial", "wwid"):
            value = getattr(selector, field)
            owner = seen.setdefault((field, value), node) if value else node
            if owner is not node:
                yield Finding(
                    (*keys, field), f"the disk is already in node {owner.name}", allowed="a disk of this node"
                )


def _selectors(site: Site) -> Iterator[tuple[Keys, DiskSelector, Node]]:
    for number, node in enumerate(site.nodes):
        for keys, selector, _ in _selectors_of(number, node):
            yield keys, selector, node


def _selectors_of(number: int, node: Node) -> tuple[tuple[Keys, DiskSelector, str], ...]:
    data = (
        (("nodes", number, "data_disks", n), selector, f"data disk {n + 1}")
        for n, selector in enumerate(node.data_disks)
    )
    return ((("nodes", number, "install_disk"), node.install_disk, "install disk"), *data)


def _says(selector: DiskSelector) -> bool:
    return any(getattr(selector, name) is not None for name in type(selector).model_fields)


def _apart(one: DiskSelector, other: DiskSelector) -> bool:
    """Whether no disk can match both: some field that both have tells them apart."""
    for name in ("serial", "wwid", "type"):
        first, second = getattr(one, name), getattr(other, name)
        if first is not None and second is not None and first != second:
            return True
    if one.model is not None and other.model is not None and not _models_meet(one.model, other.model):
        return True
    return one.size is not None and other.size is not None and not _sizes_meet(one.size, other.size)


def _models_meet(one: str, other: str) -> bool:
    """Whether a model can match both globs. Two globs are compared by what stands before their first wildcard."""
    if fnmatchcase(one, other) or fnmatchcase(other, one):
        return True
    first, second = re.split(r"[*?]", one)[0], re.split(r"[*?]", other)[0]
    both = first != one and second != other
    return both and (first.startswith(second) or second.startswith(first))


def _sizes_meet(one: str, other: str) -> bool:
    (low, high), (least, most) = _interval(one), _interval(other)
    return max(low, least) <= min(high, most)


def _interval(comparison: str) -> tuple[float, float]:
    """The sizes in bytes that a comparison allows, both ends included. Source: Talos parses sizes by go-humanize."""
    found = re.fullmatch(r"(<=|>=|<|>|==) ?([0-9.]+) ?([KMGTP]?)(i?)B", comparison)
    assert found is not None  # the type of `size` allows nothing else
    size = float(found[2]) * (1024 if found[4] else 1000) ** _UNITS[found[3]]
    return {
        "<=": (0.0, size),
        "<": (0.0, size - 1),
        "==": (size, size),
        ">=": (size, float("inf")),
        ">": (size + 1, float("inf")),
    }[found[1]]


def _shown(selector: DiskSelector) -> str:
    given = ((name, getattr(selector, name)) for name in type(selector).model_fields)
    return "{" + ", ".join(f"{name}: {value}" for name, value in given if value is not None) + "}"


def _is_address(host: str) -> bool:
    return ":" in host or re.fullmatch(r"[0-9.]+", host) is not None


_BOTH = frozenset({"clusters", "nodes"})
RULES = (
    Rule("clusters-are-given", clusters_are_given, "design.md 2", frozenset({"clusters"})),
    Rule("nodes-belong-to-clusters", nodes_belong_to_clusters, "design.md 2", _BOTH),
    Rule("control-planes-have-a-quorum", control_planes_have_a_quorum, "etcd, failure tolerance", _BOTH),
    Rule("endpoints-are-vip-or-host", endpoints_are_vip_or_host, "foundation.md 0.1", _BOTH),
    Rule("nodes-are-identified-once", nodes_are_identified_once, "foundation.md 4.1", frozenset({"nodes"})),
    Rule("selectors-say-something", selectors_say_something, "Talos 1.11, install.diskSelector", frozenset({"nodes"})),
    Rule("selectors-mean-different-disks", selectors_mean_different_disks, "foundation.md 4.1"),
    Rule("disks-are-in-one-machine", disks_are_in_one_machine, "foundation.md 4.1"),
)
