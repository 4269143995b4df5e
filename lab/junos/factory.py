"""The gateway as the project finds it: in service for years, with an upstream, policies and zones of others that must stay.

Names and addresses that the site gives are the site's; the rest is invented (RFC 5737 and RFC 6996 numbers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

from lab.bgp import NodeSide, far_end
from lab.junos.tree import Branch, Config, items, leaf, tokenize

UPSTREAM_GROUP = "UPSTREAM"
UPSTREAM_AS = 64496
# The networks of others and their ports: the first that the site does not use itself.
UPLINKS = ("198.51.100.2/30", "203.0.113.2/30", "100.64.255.2/30")
OFFICES = ("192.0.2.1/24", "172.31.254.1/24", "100.64.254.1/24")
PORTS = ("ge-0/0/0", "ge-0/0/2", "ge-0/0/4")

BASE = """
version 21.4R3-S5.4
system host-name {host}
system root-authentication encrypted-password "$6$lab$root"
system login user {user} uid 2001
system login user {user} class super-user
system login user {user} authentication encrypted-password "$6$lab$user"
system login user oncall uid 2002
system login user oncall class operator
system services ssh root-login deny
system services ssh protocol-version v2
system services netconf ssh
system time-zone UTC
system name-server 198.51.100.53
system ntp server 198.51.100.123
system syslog file messages any notice
system syslog file messages authorization info
system syslog file interactive-commands interactive-commands any
security policies from-zone trust to-zone untrust policy out match source-address any
security policies from-zone trust to-zone untrust policy out match destination-address any
security policies from-zone trust to-zone untrust policy out match application any
security policies from-zone trust to-zone untrust policy out then permit
security policies from-zone {zone} to-zone untrust policy nodes-out match source-address any
security policies from-zone {zone} to-zone untrust policy nodes-out match destination-address any
security policies from-zone {zone} to-zone untrust policy nodes-out match application any
security policies from-zone {zone} to-zone untrust policy nodes-out then permit
security zones security-zone trust host-inbound-traffic system-services ssh
security zones security-zone trust host-inbound-traffic system-services ping
security zones security-zone trust interfaces {office_port}.0
security zones security-zone untrust screen untrust-screen
security zones security-zone untrust interfaces {uplink_port}.0 host-inbound-traffic system-services ping
security zones security-zone untrust interfaces {uplink_port}.0 host-inbound-traffic protocols bgp
security zones security-zone {zone} host-inbound-traffic system-services ping
security zones security-zone {zone} host-inbound-traffic system-services ssh
security zones security-zone {zone} host-inbound-traffic system-services dns
security zones security-zone {zone} host-inbound-traffic system-services ntp
security screen ids-option untrust-screen icmp ping-death
security screen ids-option untrust-screen tcp land
interfaces {uplink_port} description upstream
interfaces {uplink_port} unit 0 family inet address {uplink}
interfaces {office_port} unit 0 family inet address {office}
policy-options policy-statement FROM-UPSTREAM term default from route-filter 0.0.0.0/0 exact
policy-options policy-statement FROM-UPSTREAM term default then accept
policy-options policy-statement FROM-UPSTREAM term rest then reject
policy-options policy-statement TO-UPSTREAM term own from route-filter {office_net} exact
policy-options policy-statement TO-UPSTREAM term own then accept
policy-options policy-statement TO-UPSTREAM term rest then reject
policy-options policy-statement UPSTREAM-HASH then load-balance per-packet
routing-options autonomous-system {asn}
routing-options forwarding-table export UPSTREAM-HASH
protocols bgp group UPSTREAM type external
protocols bgp group UPSTREAM import FROM-UPSTREAM
protocols bgp group UPSTREAM export TO-UPSTREAM
protocols bgp group UPSTREAM peer-as {upstream_as}
protocols bgp group UPSTREAM neighbor {carrier} description carrier
"""

INTERFACE_LIST = """
security zones security-zone {zone} interfaces {interface} host-inbound-traffic system-services ssh
security zones security-zone {zone} interfaces {interface} host-inbound-traffic system-services ping
security zones security-zone {zone} interfaces {interface} host-inbound-traffic system-services netconf
"""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the site says of its gateway: `addresses` are the gateway's own on the nodes' segment, with prefix length.

    `own_list`: the interface has a host-inbound list of its own, which replaces the zone's (foundation.md 7.1).
    """

    asn: int
    zone: str
    interface: str
    user: str
    addresses: Sequence[str]
    host: str = "srx320"
    own_list: bool = True


def upstream(config: Config) -> NodeSide | None:
    """The carrier's router, which sends a default route; None where the configuration does not peer with one."""
    group = config.get("protocols", "bgp", "group", UPSTREAM_GROUP)
    carrier = next((address for address, _ in items(group, "neighbor")), "") if isinstance(group, Branch) else ""
    if not isinstance(group, Branch) or not carrier:
        return None
    own = str(ip_interface(f"{carrier}/30").network[2])
    ours = config.branch("routing-options", "autonomous-system").items.get(("",))
    asn = int(ours) if isinstance(ours, str) else 0
    return far_end(carrier, own, asn=int(leaf(group, "peer-as")), peer_asn=asn, routes=("0.0.0.0/0",))


def configuration(site: Surroundings) -> Config:
    """The configuration before the project's first change."""
    uplink, office = _unused(UPLINKS, site.addresses), _unused(OFFICES, site.addresses)
    ports = [port for port in PORTS if port != site.interface.partition(".")[0]]
    words = {
        "host": site.host,
        "user": site.user,
        "zone": site.zone,
        "interface": site.interface,
        "asn": site.asn,
        "upstream_as": UPSTREAM_AS if site.asn != UPSTREAM_AS else UPSTREAM_AS + 1,
        "uplink": uplink,
        "uplink_port": ports[0],
        "carrier": ip_interface(uplink).network[1],
        "office": office,
        "office_port": ports[1],
        "office_net": ip_interface(office).network,
    }
    device, _, unit = site.interface.partition(".")
    unit = unit or "0"
    lines = BASE.format(**words).strip().splitlines()
    if site.own_list:
        lines += INTERFACE_LIST.format(**words).strip().splitlines()
    else:
        lines.append(f"security zones security-zone {site.zone} interfaces {site.interface}")
    for address in site.addresses:
        family = "inet6" if ":" in address else "inet"
        lines.append(f"interfaces {device} unit {unit} family {family} address {address}")
    lines.insert(0, f"interfaces {device} description nodes")
    config = Config()
    for line in lines:
        config.set(tokenize(line))
    return config


def _unused(networks: Sequence[str], taken: Sequence[str]) -> str:
    """The first of `networks` that overlaps none of the site's own."""
    own = [ip_interface(address).network for address in taken]
    return next(n for n in networks if not any(ip_interface(n).network.overlaps(net) for net in own if net.version == 4))
