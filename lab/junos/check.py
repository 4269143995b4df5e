"""What `commit check` refuses: rules that need more than one statement. Pure; texts as the device prints them.

Source: Junos CLI reference for each statement; wording from public transcripts of the same errors (guessed where none was found:
the zone rules).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

from lab.junos.tree import Branch, Config, below, has, items, leaf, values

FAILED = "error: configuration check-out failed"


def faults(config: Config) -> list[str]:
    """Every fault of the configuration, each a block of lines; empty where it can be committed."""
    return [*_bgp(config), *_policies(config), *_zones(config), *_interfaces(config), *_system(config)]


def local_as(config: Config) -> int:
    """The device's own AS number; 0 where none is set."""
    value = config.branch("routing-options", "autonomous-system").items.get(("",))
    return int(value) if isinstance(value, str) else 0


def policy_lists(config: Config) -> Iterator[tuple[tuple[str, ...], str, tuple[str, ...]]]:
    """Every place that names policies: its path, `import` or `export`, and the names."""
    bgp = config.branch("protocols", "bgp")
    places: list[tuple[tuple[str, ...], Branch]] = [(("protocols", "bgp"), bgp)]
    for group, body in items(bgp, "group"):
        places.append((("protocols", "bgp", "group", group), body))
        for neighbour, peer in items(body, "neighbor"):
            places.append((("protocols", "bgp", "group", group, "neighbor", neighbour), peer))
    places.append((("routing-options", "forwarding-table"), config.branch("routing-options", "forwarding-table")))
    for path, place in places:
        for word in ("import", "export"):
            if named := values(place, word):
                yield path, word, named


def _block(path: tuple[str, ...], statement: str, *text: str) -> str:
    return "\n".join([f"[edit {' '.join(path)}]", f"  '{statement}'", *(f"    {line}" for line in text)])


def _bgp(config: Config) -> Iterator[str]:
    bgp = config.branch("protocols", "bgp")
    own = local_as(config)
    for group, body in items(bgp, "group"):
        path = ("protocols", "bgp", "group", group)
        peers = list(items(body, "neighbor"))
        internal = leaf(body, "type") == "internal"
        if leaf(body, "type") not in ("", "internal", "external"):
            yield _block(path, "type", f"invalid value '{leaf(body, 'type')}'")
        for address, peer in peers:
            if not own and not has(peer, "local-as") and not has(body, "local-as"):
                yield _error_in(address, group, "must define local autonomous system when enabling BGP")
            if not internal and not leaf(peer, "peer-as") and not leaf(body, "peer-as"):
                yield _error_in(address, group, "peer AS number must be configured for an external peer")
            peer_as = leaf(peer, "peer-as") or leaf(body, "peer-as")
            if own and not internal and peer_as == str(own) and leaf(body, "type") == "external":
                yield _error_in(address, group, "peer AS number must not be the same as the local AS number for an external peer")
        yield from _prefix_limits(path, body)
        if own and str(own) == body_local_as(body):
            yield _block(path, "local-as", "local AS number must not be the same as the global AS number")
    yield from _twice(bgp)


def body_local_as(body: Branch) -> str:
    """The `local-as` number of a group or neighbour, "" where it has none."""
    value = below(body, "local-as").items.get(("",))
    return value if isinstance(value, str) else ""


def _error_in(address: str, group: str, text: str) -> str:
    return _block(("protocols",), "bgp", f"Error in neighbor {address} of group {group}:", text)


def _prefix_limits(path: tuple[str, ...], body: Branch) -> Iterator[str]:
    for family in ("inet", "inet6"):
        limit = below(body, "family", family, "unicast", "prefix-limit")
        if has(limit, "teardown") and not leaf(limit, "maximum"):
            yield _block((*path, "family", family, "unicast"), "prefix-limit", "Missing mandatory statement: 'maximum'")


def _twice(bgp: Branch) -> Iterator[str]:
    seen: dict[str, str] = {}
    for group, body in items(bgp, "group"):
        for address, _ in items(body, "neighbor"):
            if address in seen:
                text = f"peer {address} is already configured in group {seen[address]}"
                yield _block(("protocols", "bgp", "group", group), f"neighbor {address}", text)
            seen.setdefault(address, group)


def _policies(config: Config) -> Iterator[str]:
    defined = {name for name, _ in items(config.branch("policy-options"), "policy-statement")}
    for path, word, named in policy_lists(config):
        missing = [name for name in named if name not in defined]
        if missing:
            applied = "BGP" if path[0] == "protocols" else "Forwarding table"
            first = "\n".join(f"error: Policy error: Policy {name} referenced but not defined" for name in missing)
            yield first + "\n" + _block((*path, word), word, f"{applied}: {word} list not applied")
    for name, body in items(config.branch("policy-options"), "policy-statement"):
        if not body.items:
            yield _block(("policy-options",), f"policy-statement {name}", "policy has no terms")


def _zones(config: Config) -> Iterator[str]:
    known = {f"{name}.{unit}" for name, unit in _units(config)}
    owner: dict[str, str] = {}
    zones = dict(items(config.branch("security", "zones"), "security-zone"))
    for zone, body in zones.items():
        path = ("security", "zones", "security-zone", zone)
        for key in below(body, "interfaces").items:
            interface = key[0]
            if interface not in known:
                yield _block(path, f"interfaces {interface}", f"Interface {interface} must be configured under interfaces")
            if interface in owner:
                yield _block(path, f"interfaces {interface}", f"Interface {interface} already assigned to another zone")
            owner.setdefault(interface, zone)
    for source, body in items(config.branch("security", "policies"), "from-zone"):
        for target, _ in items(body, "to-zone"):
            for zone in (source, target):
                if zone not in zones and zone != "junos-host":
                    yield _block(("security", "policies"), f"from-zone {source} to-zone {target}", f"Security zone {zone} is not defined")


def _units(config: Config) -> Iterator[tuple[str, str]]:
    for key, interface in config.branch("interfaces").items.items():
        if isinstance(interface, Branch):
            for unit, _ in items(interface, "unit"):
                yield key[0], unit


def _interfaces(config: Config) -> Iterator[str]:
    seen: dict[str, str] = {}
    for name, unit in _units(config):
        inet = config.branch("interfaces", name, "unit", unit, "family", "inet")
        for address, _ in items(inet, "address"):
            host = str(ip_interface(address).ip)
            if host in seen and seen[host] != f"{name}.{unit}":
                path = ("interfaces", name, "unit", unit, "family", "inet")
                yield _block(path, f"address {address}", f"address {host} is already configured on {seen[host]}")
            seen.setdefault(host, f"{name}.{unit}")


def _system(config: Config) -> Iterator[str]:
    if not has(config.branch("system"), "root-authentication"):
        yield "[edit]\n  'system'\n    Missing mandatory statement: 'root-authentication'"


def interface_of(config: Config, address: str) -> str:
    """The unit whose network holds `address`, such as "ge-0/0/1.0"; "" where none does."""
    for name, unit in _units(config):
        for family in ("inet", "inet6"):
            place = config.branch("interfaces", name, "unit", unit, "family", family)
            for own, _ in items(place, "address"):
                if ip_address(address) in ip_interface(own).network and not has(config.branch("interfaces", name), "disable"):
                    return f"{name}.{unit}"
    return ""


def own_addresses(config: Config) -> dict[str, str]:
    """The device's own addresses, each with its unit."""
    found = {}
    for name, unit in _units(config):
        for family in ("inet", "inet6"):
            place = config.branch("interfaces", name, "unit", unit, "family", family)
            found.update({str(ip_interface(own).ip): f"{name}.{unit}" for own, _ in items(place, "address")})
    return found


def inbound(config: Config, interface: str, kind: str, service: str) -> bool:
    """Whether the zone of `interface` lets `service` in; an interface's own list replaces its zone's (foundation.md 7.1).

    `kind` is "protocols" or "system-services".
    """
    for _, zone in items(config.branch("security", "zones"), "security-zone"):
        if not has(zone, "interfaces", interface):
            continue
        own = below(zone, "interfaces", interface, "host-inbound-traffic")
        rules = below(own if own.items else below(zone, "host-inbound-traffic"), kind)
        return has(rules, service) or has(rules, "all") or has(rules, "any-service")
    return False
