"""Rules of names and ids: what must differ, and what the mesh asks of clusters.

Sources: foundation.md 0.1 and 8.3; Cilium 1.18, `ValidateClusterName` and `ClusterInfo.Validate`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import TYPE_CHECKING

from inventory.findings import Finding, Keys, Rule

if TYPE_CHECKING:
    from inventory.model import Cluster, Site

MAX_MESH_NAME = 32
FIRST_MESH_PORT = 32379

_Claim = tuple[Keys, Hashable, str]


def names_differ(site: Site) -> Iterator[Finding]:
    """Names that are looked up by somebody are given once."""
    yield from _repeated(
        "name", ((("clusters", n, "name"), c.name, f"cluster {n + 1}") for n, c in enumerate(site.clusters))
    )
    yield from _repeated(
        "name", ((("nodes", n, "name"), node.name, f"node {n + 1}") for n, node in enumerate(site.nodes))
    )
    for number, cluster in enumerate(site.clusters):
        yield from _repeated(
            "name",
            (
                (("clusters", number, "pools", n, "name"), pool.name, f"pool {n + 1}")
                for n, pool in enumerate(cluster.pools)
            ),
        )
    yield from _repeated(
        "extension",
        ((("factory", "extensions", n), name, f"entry {n + 1}") for n, name in enumerate(site.factory.extensions)),
    )


def machines_differ(site: Site) -> Iterator[Finding]:
    """A machine stands in the site once."""
    yield from _repeated(
        "MAC address",
        ((("nodes", n, "mac"), node.mac, f"node {node.name}") for n, node in enumerate(site.nodes) if node.mac),
    )
    yield from _repeated(
        "serial number",
        (
            (("nodes", n, "serial"), node.serial, f"node {node.name}")
            for n, node in enumerate(site.nodes)
            if node.serial
        ),
    )


def clusters_answer_apart(site: Site) -> Iterator[Finding]:
    """Two clusters behind one name or port would be taken for each other."""
    clusters = tuple(enumerate(site.clusters))
    hosts = (
        (("clusters", n, "endpoint", "host"), (c.endpoint.host.lower().rstrip("."), c.endpoint.port), c.name)
        for n, c in clusters
        if c.endpoint.host
    )
    yield from _repeated("endpoint", ((keys, value, f"cluster {name}") for keys, value, name in hosts))
    yield from _repeated(
        "URL", ((("clusters", n, "api"), c.api.rstrip("/"), f"cluster {c.name}") for n, c in clusters if c.api)
    )
    groups = (
        (("clusters", n, "bgp", "group"), c.bgp.group or f"K8S-{c.name.upper()}", f"cluster {c.name}")
        for n, c in clusters
        if c.bgp and (c.bgp.group or c.name not in {earlier.name for earlier in site.clusters[:n]})
    )
    yield from _repeated("group on the gateway", groups)


def mesh_identities_are_valid(site: Site) -> Iterator[Finding]:
    """Cilium takes a short name, which is `default` only while the cluster stays alone (id 0)."""
    for number, cluster in enumerate(site.clusters):
        keys = _mesh_key(number, cluster)
        if len(cluster.mesh_name) > MAX_MESH_NAME:
            yield Finding(
                keys,
                "Cilium takes no cluster name as long as this",
                allowed=f"up to {MAX_MESH_NAME} characters",
                hint="give a shorter one as `cilium: {name: ...}`",
            )
        elif cluster.mesh_name == "default" and cluster.cilium.id != 0:
            yield Finding(
                keys,
                "Cilium keeps the name `default` for clusters outside of a mesh",
                allowed="any other name",
                hint="give one as `cilium: {name: ...}`",
            )


def mesh_identities_differ(site: Site) -> Iterator[Finding]:
    """With two clusters or more there is a mesh: names, ids and NodePorts are each one cluster's."""
    if len(site.clusters) < 2:
        return
    clusters = tuple(enumerate(site.clusters))
    zero = [n for n, c in clusters if c.cilium.id == 0]
    for number in zero:
        yield Finding(
            ("clusters", number, "cilium", "id"),
            "a cluster of a mesh has an id above 0",
            allowed="a whole number from 1 to 255",
        )
    yield from _repeated(
        "id",
        ((("clusters", n, "cilium", "id"), c.cilium.id, f"cluster {c.name}") for n, c in clusters if n not in zero),
    )
    named = ((n, c) for n, c in clusters if c.cilium.name)
    others = {c.name for _, c in clusters if not c.cilium.name}
    yield from _repeated(
        "name in the mesh",
        ((("clusters", n, "cilium", "name"), c.mesh_name, f"cluster {c.name}") for n, c in named),
        taken=others,
    )


def mesh_ports_differ(site: Site) -> Iterator[Finding]:
    """One NodePort in two clusters would keep traffic for the other cluster at home."""
    if len(site.clusters) < 2:
        return
    clusters = tuple(enumerate(site.clusters))
    used = {c.mesh_port for _, c in clusters}
    free = next(port for port in range(FIRST_MESH_PORT, FIRST_MESH_PORT + 300) if port not in used)
    ports = ((("clusters", n, "mesh_port"), c.mesh_port, f"cluster {c.name}") for n, c in clusters)
    yield from _repeated(
        "NodePort of the mesh",
        ports,
        show=True,
        hint=f"{free} is free; with the same port, traffic to the other cluster would stay in this one",
    )


def _mesh_key(number: int, cluster: Cluster) -> Keys:
    return ("clusters", number, "cilium", "name") if cluster.cilium.name else ("clusters", number, "name")


def _repeated(
    what: str, claims: Iterable[_Claim], *, taken: set[str] | None = None, show: bool = False, hint: str | None = None
) -> Iterator[Finding]:
    """A finding for each claim whose value an earlier one has; `show` names the value, for defaults that no file holds."""
    seen: dict[Hashable, str] = {name: f"cluster {name}" for name in taken or ()}
    for keys, value, who in claims:
        if value in seen:
            yield Finding(
                keys,
                f"the {what} is already that of {seen[value]}",
                found=str(value) if show else None,
                allowed=f"{_article(what)} {what} of its own",
                hint=hint,
            )
        else:
            seen[value] = who


def _article(word: str) -> str:
    return "an" if word[0] in "aeio" else "a"


RULES = (
    Rule("names-differ", names_differ, "foundation.md 0.1"),
    Rule("machines-differ", machines_differ, "foundation.md 0.1"),
    Rule("clusters-answer-apart", clusters_answer_apart, "foundation.md 7.1 and 8.1"),
    Rule("mesh-identities-are-valid", mesh_identities_are_valid, "Cilium 1.18, ValidateClusterName"),
    Rule("mesh-identities-differ", mesh_identities_differ, "foundation.md 8.3"),
    Rule("mesh-ports-differ", mesh_ports_differ, "foundation.md 8.3", frozenset({"clusters"})),
)
