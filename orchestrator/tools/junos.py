"""The gateway's configuration as set lines: what is wanted, what is missing, and what the device says of its sessions.

A plan computes the difference from `show configuration | display set` alone; the Writer sends exactly these lines and
refuses when the device's own `show | compare` differs. Source: foundation.md 7; Junos CLI 21.4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from inventory.model import Cluster, Gateway, Site
from orchestrator.model.check import Answers
from orchestrator.model.query import JunosShow, Secret
from orchestrator.model.setlines import GLOBAL_AS, awaits_confirmation, current_lines, missing, newest_commit, settled
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from orchestrator.tools.answers import dig, listed

CONFIGURATION = JunosShow("show configuration | display set")
SUMMARY = JunosShow("show bgp summary | display json")
COMMITS = JunosShow("show system commit")
OUT = "K8S-OUT"
ECMP = "K8S-ECMP"
LB = "K8S-LB"
PREFIX_LIMIT = 64  # routes of one node: the pool's addresses in use stay far below


def group(cluster: Cluster) -> str:
    """The BGP group of a cluster on the gateway."""
    named = cluster.bgp.group if cluster.bgp is not None else None
    return named or f"K8S-{cluster.name.upper()}"


def wanted(site: Site, cluster: Cluster) -> tuple[str, ...]:
    """All lines of this cluster, without the key. Lines that depend on the device stand with their alternative: `settled` chooses."""
    gateway, bgp = site.gateway, cluster.bgp
    if gateway is None or bgp is None:
        return ()
    name, policy = group(cluster), f"{group(cluster)}-IN"
    return (*_shared(gateway), *_filter(cluster, policy), *_security(gateway.zone), *_group(site, cluster, name, policy, bgp.asn))


def _shared(gateway: Gateway) -> tuple[str, ...]:
    zone = f"set security zones security-zone {gateway.zone}"
    return (
        f"{zone} host-inbound-traffic protocols bgp",
        f"{zone} interfaces {gateway.interface} host-inbound-traffic protocols bgp",
        f"set policy-options policy-statement {OUT} then reject",
        f"set policy-options policy-statement {ECMP} then load-balance per-packet",
        f"set routing-options forwarding-table export {ECMP}",
        f"set routing-options autonomous-system {gateway.asn}",
    )


def _filter(cluster: Cluster, policy: str) -> tuple[str, ...]:
    term = f"set policy-options policy-statement {policy} term lb"
    ranges = tuple(f"{term} from route-filter {p.cidr} prefix-length-range /{p.cidr.max_prefixlen}-/{p.cidr.max_prefixlen}" for p in cluster.pools)
    return (f"{term} from protocol bgp", *ranges, f"{term} then accept", f"set policy-options policy-statement {policy} term rest then reject")


def _security(zone: str) -> tuple[str, ...]:
    """Node to VIP inside of the zone (hairpin). Who else may reach the VIPs is for the gateway's owner to say, and so are
    address books: zone-level and global ones exclude each other on a device."""
    policy = f"set security policies from-zone {zone} to-zone {zone} policy {LB}"
    match = tuple(f"{policy} match {what} any" for what in ("source-address", "destination-address", "application"))
    return (*match, f"{policy} then permit")


def _group(site: Site, cluster: Cluster, name: str, policy: str, asn: int) -> tuple[str, ...]:
    """Passive: Cilium dials (it listens on no port). The prefix limit closes a session that floods."""
    line = f"set protocols bgp group {name}"
    families = ("inet", *(("inet6",) if any(p.cidr.version == 6 for p in cluster.pools) else ()))
    limits = tuple(
        text
        for family in families
        for text in (
            f"{line} family {family} unicast prefix-limit maximum {PREFIX_LIMIT}",
            f"{line} family {family} unicast prefix-limit teardown 80",
            f"{line} family {family} unicast prefix-limit teardown idle-timeout 5",
        )
    )
    neighbours = tuple(f"{line} neighbor {node.address} description {node.name}" for node in site.nodes_of(cluster.name))
    head = (f"{line} type external", f"{line} peer-as {asn}", f"{line} passive", f"{line} multipath")
    return (*head, f"{line} import {policy}", f"{line} export {OUT}", *limits, *neighbours)


def owned(site: Site, cluster: Cluster) -> tuple[str, ...]:
    """Prefixes of the hierarchy that are ours: outside of them nothing is ever removed."""
    name = group(cluster)
    zone = site.gateway.zone if site.gateway is not None else ""
    return (
        f"protocols bgp group {name} ",
        f"policy-options policy-statement {name}-IN ",
        f"policy-options policy-statement {OUT} ",
        f"policy-options policy-statement {ECMP} ",
        f"security policies from-zone {zone} to-zone {zone} policy {LB} ",
    )


def key_line(cluster: Cluster) -> str:
    """The line of the sessions' MD5 key, without the key."""
    return f"set protocols bgp group {group(cluster)} authentication-key"


def secrets(site: Site, cluster: Cluster) -> tuple[tuple[str, Secret], ...]:
    """(line, secret): sent only where the device has no key: Junos encodes it anew at each load, so it never compares equal."""
    if site.gateway is None or site.gateway.bgp_password is None:
        return ()
    return ((key_line(cluster), Secret(str(site.gateway.bgp_password))),)


# --- judges ----------------------------------------------------------------------------------------------------------


def judge_configured(lines: tuple[str, ...], keys: tuple[str, ...], answers: Answers) -> Verdict:
    """All our lines are active and confirmed. Answers: the configuration, `show system commit`."""
    configuration, commits = answers
    if configuration.rc != 0 or ("set version" not in configuration.stdout and "set system" not in configuration.stdout):
        return unknown("the gateway did not show its configuration")
    if commits.rc != 0 or not newest_commit(commits.stdout).lstrip().startswith("0 "):
        return unknown("the gateway did not show its commits")
    new = missing(lines, keys, configuration.stdout)
    if new:
        return unmet(f"{len(new)} lines are missing, first: {new[0]}", lines=list(new))
    if awaits_confirmation(commits.stdout):
        return unmet("the change waits for its confirmation")
    return met(f"{len(settled(lines, current_lines(configuration.stdout)))} lines are active")


def judge_global_as(gateway: Gateway, answers: Answers) -> Verdict:
    """The gateway's AS is the site's, or none is set: it is never changed, so Cilium must peer with the one that is there."""
    answer = answers[0]
    if answer.rc != 0 or "set " not in answer.stdout:
        return unknown("the gateway did not show its configuration")
    found = [line.removeprefix(GLOBAL_AS).split()[0] for line in current_lines(answer.stdout) if line.startswith(GLOBAL_AS)]
    if found and str(gateway.asn) not in found:
        return unmet(f"the gateway's AS is {found[0]}, the site says {gateway.asn}", permanent=True)
    zone = f"set security zones security-zone {gateway.zone} "
    if not any(line.startswith(zone) for line in current_lines(answer.stdout)):
        return unmet(f"the gateway has no security zone {gateway.zone}", permanent=True)
    return met(f"AS {gateway.asn}, zone {gateway.zone}")


def peers(text: str) -> Mapping[str, str]:
    """Peer address -> state. `show bgp neighbor` prints the address with its port. Raises ValueError."""
    if "BGP is not running" in text:
        return {}
    found: dict[str, str] = {}
    for information in listed(dig(json.loads(text), "bgp-information")):
        for peer in listed(dig(information, "bgp-peer")):
            address = str(dig(peer, "peer-address", 0, "data", default="")).partition("+")[0]
            found[address] = str(dig(peer, "peer-state", 0, "data", default="unknown"))
    return found


def judge_sessions(neighbours: tuple[str, ...], answers: Answers) -> Verdict:
    """The gateway has every session of the group Established. Answer: `show bgp summary | display json`."""
    answer = answers[0]
    if answer.rc != 0:
        return unknown("the gateway did not show its sessions")
    if "bgp-information" not in answer.stdout and "BGP is not running" not in answer.stdout:
        return unknown("the gateway's answer holds no BGP summary")
    found = peers(answer.stdout)
    waiting = [f"{address} {found.get(address, 'not configured')}" for address in neighbours if found.get(address) != "Established"]
    return unmet(f"not established: {', '.join(waiting)}") if waiting else met(f"{len(neighbours)} of {len(neighbours)} sessions established")


def rendered(site: Site, cluster: Cluster) -> str:
    """All lines of a cluster for people, with the places of keys marked."""
    lines: list[str] = [*wanted(site, cluster), *(f'{line} "<{secret.ref}>"' for line, secret in secrets(site, cluster))]
    return "".join(f"{line}\n" for line in lines)

