"""What the operational `show` commands answer: text, and the structure behind `display json` and `display xml`.

Junos JSON: every element is a list, every leaf `[{"data": "text"}]`. Source: foundation.md 7.3 and the Junos CLI reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any
from xml.sax.saxutils import escape

from lab.bgp import GatewaySide, Session
from lab.junos.check import inbound, interface_of
from lab.junos.device import JunosDevice, sides
from lab.junos.tree import Branch, Config, below, has, items, leaf

MODEL, RELEASE, SERIAL = "srx320", "21.4R3-S5.4", "CW0000LAB001"


class Unknown(Exception):
    """No such command. `index` is the word at fault."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer: its text, and its structure under one element name; no structure where Junos has none either."""

    text: str
    element: str = ""
    body: dict[str, Any] | None = None


Element = dict[str, Any]


def data(value: object) -> list[Element]:
    """A leaf as Junos writes it."""
    return [{"data": str(value)}]


def as_json(shown: Shown) -> str:
    """`display json`."""
    return json.dumps({shown.element: [shown.body or {}]}, indent=4) + "\n"


def as_xml(shown: Shown) -> str:
    """`display xml`."""
    body = "".join(_xml(name, value, 2) for name, value in (shown.body or {}).items())
    head = f'<rpc-reply xmlns:junos="http://xml.juniper.net/junos/{RELEASE}/junos">\n'
    tail = "    <cli>\n        <banner></banner>\n    </cli>\n</rpc-reply>\n"
    return f"{head}    <{shown.element}>\n{body}    </{shown.element}>\n{tail}"


def _xml(name: str, value: Any, depth: int) -> str:
    if name == "attributes":
        return ""
    pad, out = "    " * depth, []
    for entry in value:
        if not isinstance(entry, dict):
            out.append(f"{pad}<{name}/>\n")
        elif "data" in entry:
            text = entry["data"]
            out.append(f"{pad}<{name}>{escape(text)}</{name}>\n" if isinstance(text, str) else f"{pad}<{name}/>\n")
        else:
            inner = "".join(_xml(key, inner, depth + 1) for key, inner in entry.items())
            out.append(f"{pad}<{name}>\n{inner}{pad}</{name}>\n")
    return "".join(out)


def show(device: JunosDevice, words: Sequence[str]) -> Shown:
    """The answer to `show WORDS`, apart from `show configuration`. Raises Unknown."""
    if not words:
        raise Unknown(1)
    for names, answer in COMMANDS.items():
        if tuple(words[: len(names)]) == names:
            return answer(device, words[len(names) :])
    known = max((_agreeing(names, words) for names in COMMANDS), default=0)
    raise Unknown(1 + known)


def _agreeing(names: Sequence[str], words: Sequence[str]) -> int:
    count = 0
    for name, word in zip(names, words, strict=False):
        if name != word:
            break
        count += 1
    return count


# -- BGP ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peer:
    """A configured neighbour, its session and what the summary counts."""

    side: GatewaySide
    session: Session

    @property
    def up(self) -> bool:
        """Whether it is Established."""
        return self.session.gateway_state == "Established"


def peers(device: JunosDevice) -> list[Peer]:
    """All configured neighbours in the order of their addresses, as Junos lists them."""
    found = [Peer(side, device.fabric.neighbor(side.neighbor)) for side in sides(device.active)]
    return sorted(found, key=lambda peer: (ip_address(peer.side.neighbor).version, int(ip_address(peer.side.neighbor))))


def active_routes(device: JunosDevice) -> dict[str, list[str]]:
    """BGP routes in the table: prefix to neighbours, the one that is used first (the lowest address: equal paths here)."""
    return {p: sorted(via, key=lambda a: int(ip_address(a))) for p, via in device.fabric.routes().items()}


def _rib(device: JunosDevice, peer: Peer, table: str) -> tuple[int, int, int]:
    """Active, received and accepted counts of a peer in inet.0 or inet6.0."""
    version = 6 if table == "inet6.0" else 4
    routes = active_routes(device)
    multipath = _multipath(device, peer.side.group)

    def counted(prefixes: Sequence[str]) -> list[str]:
        return [p for p in prefixes if ip_network(p).version == version]

    accepted = counted(peer.session.accepted)
    active = [p for p in accepted if routes.get(p, [""])[0] == peer.side.neighbor or multipath]
    return len(active), len(counted(peer.session.received)), len(accepted)


def _multipath(device: JunosDevice, group: str) -> bool:
    return has(device.active.branch("protocols", "bgp", "group", group), "multipath")


def _tables(peer: Peer) -> list[str]:
    return [{"ipv4-unicast": "inet.0", "ipv6-unicast": "inet6.0"}[family] for family in peer.side.families]


def bgp_summary(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show bgp summary`."""
    wanted = words[1] if len(words) == 2 and words[0] == "group" else ""
    if words and not wanted:
        raise Unknown(3)
    shown = [peer for peer in peers(device) if not wanted or peer.side.group == wanted]
    if not shown:
        return Shown("BGP is not running\n", "bgp-information", {"output": data("BGP is not running")})
    down = sum(not peer.up for peer in shown)
    groups = len({peer.side.group for peer in shown})
    tables = sorted({table for peer in shown for table in _tables(peer)})
    lines = [
        "Threading mode: BGP I/O",
        "Default eBGP mode: advertise - accept, receive - accept",
        f"Groups: {groups} Peers: {len(shown)} Down peers: {down}",
        "Table          Tot Paths  Act Paths Suppressed    History Damp State    Pending",
    ]
    ribs = []
    for table in tables:
        total, active = _table_counts(device, table)
        lines += [f"{table:<21}", f"{total:>24} {active:>10} {0:>10} {0:>10} {0:>10} {0:>10}"]
        ribs.append(_rib_element(table, total, active))
    lines.append("Peer                     AS      InPkt     OutPkt    OutQ   Flaps Last Up/Dwn State|#Active/Received/Accepted/Damped...")
    for peer in shown:
        lines += _summary_lines(device, peer)
    body: Element = {
        "attributes": {"xmlns": f"http://xml.juniper.net/junos/{RELEASE}/junos-routing"},
        "bgp-thread-mode": data("BGP I/O"),
        "thread-state": data(""),
        "default-ebgp-advertise-mode": data("accept"),
        "default-ebgp-receive-mode": data("accept"),
        "group-count": data(groups),
        "peer-count": data(len(shown)),
        "down-peer-count": data(down),
        "bgp-rib": ribs,
        "bgp-peer": [_summary_element(device, peer) for peer in shown],
    }
    return Shown("\n".join(lines) + "\n", "bgp-information", body)


def _table_counts(device: JunosDevice, table: str) -> tuple[int, int]:
    version = 6 if table == "inet6.0" else 4
    routes = {p: via for p, via in active_routes(device).items() if ip_network(p).version == version}
    return sum(len(via) for via in routes.values()), len(routes)


def _rib_element(table: str, total: int, active: int) -> Element:
    return {
        "name": data(table),
        "total-prefix-count": data(total),
        "received-prefix-count": data(total),
        "accepted-prefix-count": data(total),
        "active-prefix-count": data(active),
        "suppressed-prefix-count": data(0),
        "history-prefix-count": data(0),
        "damped-prefix-count": data(0),
        "total-external-prefix-count": data(total),
        "active-external-prefix-count": data(active),
        "pending-prefix-count": data(0),
        "bgp-rib-state": data("BGP restart is complete"),
    }


def _packets(device: JunosDevice, peer: Peer) -> int:
    if not peer.up:
        return 0
    return int((device.clock.seconds() - peer.session.since) / max(1.0, peer.session.hold / 3)) + 2


def _summary_lines(device: JunosDevice, peer: Peer) -> list[str]:
    packets = _packets(device, peer)
    age = elapsed(device.clock.seconds() - peer.session.since)
    state = "Establ" if peer.up else peer.session.gateway_state
    first = f"{peer.side.neighbor:<20} {peer.side.peer_as:>9} {packets:>10} {packets:>10} {0:>7} {peer.session.flaps:>7} {age:>11} {state}"
    if not peer.up:
        return [first]
    return [first, *(f"  {table}: {'/'.join(str(n) for n in _rib(device, peer, table))}/0" for table in _tables(peer))]


def _summary_element(device: JunosDevice, peer: Peer) -> Element:
    seconds = int(device.clock.seconds() - peer.session.since)
    element: Element = {
        "attributes": {"junos:style": "terse", "heading": "Peer"},
        "peer-address": data(peer.side.neighbor),
        "peer-as": data(peer.side.peer_as),
        "input-messages": data(_packets(device, peer)),
        "output-messages": data(_packets(device, peer)),
        "route-queue-count": data(0),
        "flap-count": data(peer.session.flaps),
        "elapsed-time": [{"data": elapsed(seconds), "attributes": {"junos:seconds": str(max(0, seconds))}}],
        "description": data(_description(device, peer)),
        "peer-state": [
            {
                "data": peer.session.gateway_state,
                "attributes": {"junos:format": "Establ" if peer.up else peer.session.gateway_state},
            }
        ],
    }
    if not _description(device, peer):
        del element["description"]
    if peer.up:
        element["bgp-rib"] = [_peer_rib(device, peer, table) for table in _tables(peer)]
    return element


def _peer_rib(device: JunosDevice, peer: Peer, table: str) -> Element:
    active, received, accepted = _rib(device, peer, table)
    return {
        "attributes": {"junos:style": "terse"},
        "name": data(table),
        "active-prefix-count": data(active),
        "received-prefix-count": data(received),
        "accepted-prefix-count": data(accepted),
        "suppressed-prefix-count": data(0),
    }


def _description(device: JunosDevice, peer: Peer) -> str:
    return leaf(device.active.branch("protocols", "bgp", "group", peer.side.group, "neighbor", peer.side.neighbor), "description")


def bgp_neighbor(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show bgp neighbor [ADDRESS]`."""
    shown = [peer for peer in peers(device) if not words or peer.side.neighbor == words[0]]
    if not shown:
        text = "BGP is not running\n" if not peers(device) else ""
        return Shown(text, "bgp-information", {})
    blocks, elements = [], []
    for peer in shown:
        local = next((a for a in device.addresses() if _together(device, a, peer.side.neighbor)), "0.0.0.0")
        last = peer.session.reason if not peer.up else ""
        error = _last_error(last)
        block = [
            f"Peer: {peer.side.neighbor}{_port(peer)} AS {peer.side.peer_as}     Local: {local}{'+179' if peer.up else ''} AS {peer.side.local_as}",
        ]
        if _description(device, peer):
            block.append(f"  Description: {_description(device, peer)}")
        block += [
            f"  Group: {peer.side.group:<22}Routing-Instance: master",
            "  Forwarding routing-instance: master  ",
            f"  Type: External    State: {peer.session.gateway_state:<14} Flags: <{'Sync' if peer.up else ''}>",
            f"  Last State: {'OpenConfirm' if peer.up else 'Idle':<13} Last Event: {'RecvKeepAlive' if peer.up else 'Start'}",
            f"  Last Error: {error}",
            f"  Options: <{_options(peer)}>",
            f"  Holdtime: {int(peer.side.hold)} Preference: 170",
            f"  Number of flaps: {peer.session.flaps}",
        ]
        element: Element = {
            "attributes": {"junos:style": "detail"},
            "peer-address": data(f"{peer.side.neighbor}{_port(peer)}"),
            "peer-as": data(peer.side.peer_as),
            "local-address": data(f"{local}{'+179' if peer.up else ''}"),
            "local-as": data(peer.side.local_as),
            "peer-group": data(peer.side.group),
            "peer-type": data("External"),
            "peer-state": data(peer.session.gateway_state),
            "last-error": data(error),
            "bgp-option-information": [{"bgp-options": data(_options(peer)), "holdtime": data(int(peer.side.hold))}],
            "flap-count": data(peer.session.flaps),
        }
        if peer.up:
            hold = int(peer.session.hold)
            block += [
                f"  Peer ID: {peer.side.neighbor:<16} Local ID: {local:<16}  Active Holdtime: {hold}",
                f"  Keepalive Interval: {hold // 3:<10}Group index: 0    Peer index: 0    SNMP index: 0",
            ]
            element |= {
                "peer-id": data(peer.side.neighbor),
                "local-id": data(local),
                "active-holdtime": data(hold),
                "keepalive-interval": data(hold // 3),
                "bgp-rib": [_neighbor_rib(device, peer, table) for table in _tables(peer)],
            }
            for table in _tables(peer):
                active, received, accepted = _rib(device, peer, table)
                block += [
                    f"  Table {table} Bit: 20000",
                    "    RIB State: BGP restart is complete",
                    "    Send state: in sync",
                    f"    Active prefixes:              {active}",
                    f"    Received prefixes:            {received}",
                    f"    Accepted prefixes:            {accepted}",
                    "    Suppressed due to damping:    0",
                    f"    Advertised prefixes:          {len(peer.session.sent)}",
                ]
        blocks.append("\n".join(block))
        elements.append(element)
    return Shown("\n\n".join(blocks) + "\n", "bgp-information", {"bgp-peer": elements})


def _neighbor_rib(device: JunosDevice, peer: Peer, table: str) -> Element:
    rib = _peer_rib(device, peer, table)
    rib["advertised-prefix-count"] = data(len(peer.session.sent))
    return rib


def _together(device: JunosDevice, own: str, other: str) -> bool:
    return bool(interface_of(device.active, other)) and interface_of(device.active, other) == device.addresses()[own]


def _port(peer: Peer) -> str:
    return f"+{40000 + int(ip_address(peer.side.neighbor)) % 20000}" if peer.up else ""


def _options(peer: Peer) -> str:
    words = ["Preference", "HoldTime", "AuthKey" if peer.side.password else "", "Passive" if peer.side.passive else ""]
    return " ".join([*filter(None, words), "AddressFamily PeerAS Refresh"])


def _last_error(reason: str) -> str:
    if "bad peer AS" in reason or "as number mismatch" in reason:
        return "Open Message Error"
    return {"hold timer expired": "Hold Timer Expired Error"}.get(reason, "Cease" if "maximum number" in reason else "None")


def elapsed(seconds: float) -> str:
    """A time as BGP shows it: 5:10, 1:05:10, 3d 4:05:10, 1w2d 3:04:05."""
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86400)
    hours, minutes, secs = rest // 3600, rest // 60 % 60, rest % 60
    if days >= 7:
        return f"{days // 7}w{days % 7}d {hours}:{minutes:02}:{secs:02}"
    if days:
        return f"{days}d {hours}:{minutes:02}:{secs:02}"
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


# -- routes ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Route:
    """One path to a prefix."""

    prefix: str
    protocol: str
    preference: int
    hops: tuple[str, ...]
    selected: str
    active: bool
    age: float
    as_path: str = ""
    source: str = ""


def table(device: JunosDevice) -> list[Route]:
    """Every path in the device's tables, by prefix; the active one first."""
    now = device.clock.seconds()
    found: list[Route] = []
    for own, interface in device.addresses().items():
        net = next(str(ip_network(a, strict=False)) for a in _configured(device, interface) if a.split("/")[0] == own)
        found.append(Route(net, "Direct", 0, (interface,), "", True, now + 3_000_000))
        found.append(Route(f"{own}/{128 if ':' in own else 32}", "Local", 0, (interface,), "", True, now + 3_000_000))
    known = {peer.side.neighbor: peer for peer in peers(device)}
    for prefix, via in active_routes(device).items():
        found += _bgp_paths(device, prefix, [known[a] for a in via if a in known])
    order = {route.prefix: (ip_network(route.prefix).version, int(ip_network(route.prefix).network_address)) for route in found}
    return sorted(found, key=lambda route: (order[route.prefix], ip_network(route.prefix).prefixlen))


def _bgp_paths(device: JunosDevice, prefix: str, via: Sequence[Peer]) -> list[Route]:
    paths = []
    for index, peer in enumerate(via):
        age = device.clock.seconds() - peer.session.since
        alike = [other.side.neighbor for other in via if other.side.group == peer.side.group]
        hops = tuple(alike) if index == 0 and _multipath(device, peer.side.group) else (peer.side.neighbor,)
        selected = hops[-1] if len(hops) > 1 else hops[0]
        paths.append(
            Route(prefix, "BGP", 170, hops, selected, index == 0, age, f"{peer.side.peer_as} I", peer.side.neighbor)
        )
    return paths


def _configured(device: JunosDevice, interface: str) -> list[str]:
    name, _, unit = interface.partition(".")
    place = device.active.branch("interfaces", name, "unit", unit, "family")
    return [a for family in ("inet", "inet6") for a, _ in items(below(place, family), "address")]


def route(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show route [PREFIX] [exact] [protocol P] [table T] [terse|extensive|detail]`."""
    wanted, protocol, only, exact, terse = "", "", "", False, False
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("protocol", "table") and rest:
            value = rest.pop(0)
            protocol, only = (value, only) if word == "protocol" else (protocol, value)
        elif word in ("exact", "best", "active-path", "all"):
            exact = exact or word == "exact"
        elif word in ("terse", "detail", "extensive", "brief"):
            terse = word == "terse"
        elif _is_network(word) and not wanted:
            wanted = word
        else:
            raise Unknown(2 + words.index(word))
    everything = table(device)
    text, elements = [], []
    for name, version in (("inet.0", 4), ("inet6.0", 6)):
        mine = [r for r in everything if ip_network(r.prefix).version == version]
        shown = [r for r in mine if _wanted(r, wanted, exact, protocol)]
        if not shown or (only and only != name):
            continue
        counts = _counts(mine)
        header = f"{name}: {counts[0]} destinations, {counts[1]} routes ({counts[2]} active, 0 holddown, 0 hidden)"
        text += ["", header, "+ = Active Route, - = Last Active, * = Both", "", *_route_lines(device, shown, terse), ""]
        elements.append(_route_table(device, name, counts, shown))
    body: Element = {"attributes": {"xmlns": f"http://xml.juniper.net/junos/{RELEASE}/junos-routing"}}
    if elements:
        body["route-table"] = elements
    return Shown("\n".join(text) + ("\n" if text else ""), "route-information", body)


def _is_network(word: str) -> bool:
    try:
        ip_network(word, strict=False)
    except ValueError:
        return False
    return True


def _wanted(found: Route, wanted: str, exact: bool, protocol: str) -> bool:
    if protocol and found.protocol.lower() != protocol:
        return False
    if not wanted:
        return True
    network, own = ip_network(wanted, strict=False), ip_network(found.prefix)
    if network.version != own.version:
        return False
    if exact:
        return network == own
    if "/" not in wanted:  # an address: the route to it
        return network.subnet_of(own)  # type: ignore[arg-type]  # versions are equal
    return own.subnet_of(network)  # type: ignore[arg-type]  # versions are equal


def _counts(routes: Sequence[Route]) -> tuple[int, int, int]:
    prefixes = {r.prefix for r in routes}
    return len(prefixes), len(routes), len(prefixes)


def _via(device: JunosDevice, hop: str) -> str:
    return interface_of(device.active, hop)


def _route_lines(device: JunosDevice, routes: Sequence[Route], terse: bool) -> list[str]:
    lines, before = [], ""
    for found in routes:
        prefix = found.prefix if found.prefix != before else ""
        before = found.prefix
        mark = "*" if found.active else " "
        if terse:
            hop = f">{found.selected or found.hops[0]}"
            lines.append(f"{mark} ? {prefix:<18} {found.protocol[0]} {found.preference:>3}   {'100' if found.as_path else '':<10} {hop:<16} {found.as_path}")
            continue
        pref = f", localpref 100{f', from {found.source}' if len(found.hops) > 1 else ''}" if found.as_path else ""
        lines.append(f"{prefix:<19}{mark}[{found.protocol}/{found.preference}] {elapsed(found.age)}{pref}")
        if found.as_path:
            lines.append(f"{'':<22}AS path: {found.as_path}, validation-state: unverified")
        for hop in found.hops:
            arrow = ">" if hop == found.selected or not found.selected else " "
            where = f"to {hop} via {_via(device, hop)}" if found.as_path else f"via {hop}"
            lines.append(f"{'':<20}{arrow} {where}")
    return lines


def _route_table(device: JunosDevice, name: str, counts: tuple[int, int, int], routes: Sequence[Route]) -> Element:
    entries: dict[str, list[Element]] = {}
    for found in routes:
        entries.setdefault(found.prefix, []).append(_route_entry(device, found))
    return {
        "comment": "keepnone",
        "table-name": data(name),
        "destination-count": data(counts[0]),
        "total-route-count": data(counts[1]),
        "active-route-count": data(counts[2]),
        "holddown-route-count": data(0),
        "hidden-route-count": data(0),
        "rt": [
            {"attributes": {"junos:style": "brief"}, "rt-destination": data(prefix), "rt-entry": found}
            for prefix, found in entries.items()
        ],
    }


def _route_entry(device: JunosDevice, found: Route) -> Element:
    entry: Element = {}
    if found.active:
        empty = [{"data": [None]}]
        entry |= {"active-tag": data("*"), "current-active": empty, "last-active": empty}
    entry |= {
        "protocol-name": data(found.protocol),
        "preference": data(found.preference),
        "age": [{"data": elapsed(found.age), "attributes": {"junos:seconds": str(int(found.age))}}],
    }
    if found.as_path:
        entry["local-preference"] = data(100)
        if len(found.hops) > 1:
            entry["learned-from"] = data(found.source)
        entry |= {"as-path": data(found.as_path), "validation-state": data("unverified")}
        entry["nh"] = [_next_hop(device, hop, selected=hop == found.selected) for hop in found.hops]
    else:
        entry["nh"] = [{"selected-next-hop": [{"data": [None]}], "via": data(hop)} for hop in found.hops]
    return entry


def _next_hop(device: JunosDevice, hop: str, *, selected: bool) -> Element:
    chosen: Element = {"selected-next-hop": [{"data": [None]}]} if selected else {}
    return {**chosen, "to": data(hop), "via": data(_via(device, hop))}


# -- the system -----------------------------------------------------------------------------------------------------------


def version(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show version`."""
    text = f"Hostname: {device.host}\nModel: {MODEL}\nJunos: {RELEASE}\nJUNOS Software Release [{RELEASE}]\n"
    package = {"name": data("junos"), "comment": data(f"JUNOS Software Release [{RELEASE}]")}
    body = {
        "host-name": data(device.host),
        "product-model": data(MODEL),
        "product-name": data(MODEL),
        "junos-version": data(RELEASE),
        "package-information": [package],
    }
    return Shown(text, "software-information", body)


def uptime(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show system uptime`."""
    now, booted = device.clock.now(), device.booted or device.clock.now()
    last = device.history[0]
    up = now - booted
    text = (
        f"Current time: {_at(now)}\nTime Source:  NTP CLOCK \nSystem booted: {_at(booted)} ({_ago(up)} ago)\n"
        f"Protocols started: {_at(booted + timedelta(minutes=2))} ({_ago(up - timedelta(minutes=2))} ago)\n"
        f"Last configured: {_at(last.at)} ({_ago(now - last.at)} ago) by {last.user}\n"
        f"{now:%I:%M%p}  up {up.days} days, {up.seconds // 3600}:{up.seconds // 60 % 60:02}, 1 users, load averages: 0.21, 0.17, 0.12\n"
    )
    body = {
        "current-time": [{"date-time": data(_at(now))}],
        "time-source": data("NTP CLOCK"),
        "system-booted-time": [{"date-time": data(_at(booted)), "time-length": data(_ago(up))}],
        "last-configured-time": [{"date-time": data(_at(last.at)), "time-length": data(_ago(now - last.at)), "user": data(last.user)}],
    }
    return Shown(text, "system-uptime-information", body)


def commits(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show system commit`."""
    lines, entries = [], []
    for number, commit in enumerate(device.history):
        note = ""
        if commit.minutes:
            note = f" commit confirmed, rollback in {commit.minutes}min{'s' if commit.minutes > 1 else ''}"
        lines.append(f"{number:<4}{_at(commit.at)} by {commit.user} via {commit.via}{note}")
        if commit.comment:
            lines.append(f"    {commit.comment}")
        entry = {
            "sequence-number": data(number),
            "user": data(commit.user),
            "client": data(commit.via),
            "date-time": data(_at(commit.at)),
        }
        if note:
            entry["comment"] = data(note.strip())
        if commit.comment:
            entry["log"] = data(commit.comment)
        entries.append(entry)
    return Shown("\n".join(lines) + "\n", "commit-information", {"commit-history": entries})


def users(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show system users`: who edits."""
    now = device.clock.now()
    lines = [f"{now:%I:%M%p}  up 40 days, 1 users, load averages: 0.21, 0.17, 0.12", "USER     TTY      FROM                              LOGIN@  IDLE WHAT"]
    lines += [f"{e.user:<8} {e.terminal or '-':<8} {'127.0.0.1':<33} {e.since:%I:%M%p}     - cli" for e in device.editors]
    return Shown("\n".join(lines) + "\n", "system-users-information", {})


def zones(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show security zones [NAME]`."""
    lines, elements = [], []
    for name, zone in items(device.active.branch("security", "zones"), "security-zone"):
        if words and words[0] not in (name, "detail", "terse"):
            continue
        bound = [key[0] for key in below(zone, "interfaces").items]
        screen = leaf(zone, "screen")
        lines += [
            "",
            f"Security zone: {name}",
            f"  Send reset for non-SYN session TCP packets: {'On' if has(zone, 'tcp-rst') else 'Off'}",
            "  Policy configurable: Yes  ",
            *([f"  Screen: {screen}"] if screen else []),
            f"  Interfaces bound: {len(bound)}",
            "  Interfaces:",
            *(f"    {interface}" for interface in bound),
        ]
        interfaces = [{"zones-security-interface-name": data(interface)} for interface in bound]
        elements.append(
            {
                "zones-security-zonename": data(name),
                "zones-security-interfaces-bound": data(len(bound)),
                "zones-security-interfaces": interfaces,
            }
        )
    if words and not elements:
        return Shown(f"error: Zone {words[0]} does not exist\n", "zones-information", {})
    return Shown("\n".join(lines) + "\n", "zones-information", {"zones-security": elements})


def host_inbound(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show interfaces INTERFACE`: the part that says which host-inbound traffic is allowed."""
    if not words:
        return terse(device, ())
    name, _, unit = words[0].partition(".")
    if not isinstance(device.active.get("interfaces", name), Branch):
        return Shown(f"error: device {name} not found\n", "interface-information", {})
    zone = next((z for z, body in items(device.active.branch("security", "zones"), "security-zone") if has(body, "interfaces", words[0])), "Null")
    allowed = _allowed(device.active, zone, words[0]) if unit else []
    lines = [f"Physical interface: {name}, Enabled, Physical link is Up"]
    if unit:
        lines += ["", f"  Logical interface {words[0]} (Index 72) (SNMP ifIndex 517)", f"    Security: Zone: {zone}"]
        lines.append(f"    Allowed host-inbound traffic : {' '.join(allowed)}")
    logical = {"name": data(words[0]), "zone-name": data(zone), "allowed-host-inbound-traffic": [{"inbound-" + a: [{"data": [None]}] for a in allowed}]}
    body = {"physical-interface": [{"name": data(name), "oper-status": data("up"), "logical-interface": [logical] if unit else []}]}
    return Shown("\n".join(lines) + "\n", "interface-information", body)


def _allowed(config: Config, zone: str, interface: str) -> list[str]:
    services = ("ping", "ssh", "netconf", "dhcp", "dns", "http", "https", "ntp", "snmp", "ike", "traceroute")
    routing = ("bgp", "bfd", "ospf", "rip", "vrrp", "router-discovery")
    return [
        *(p for p in routing if inbound(config, interface, "protocols", p)),
        *(s for s in services if inbound(config, interface, "system-services", s)),
    ]


def terse(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show interfaces terse [NAME]`."""
    lines, elements = ["Interface               Admin Link Proto    Local                 Remote"], []
    for key, body in device.active.branch("interfaces").items.items():
        if not isinstance(body, Branch) or (words and words[0].partition(".")[0] != key[0]):
            continue
        admin = "down" if has(body, "disable") else "up"
        lines.append(f"{key[0]:<24}{admin:<6}{admin}")
        units = []
        for unit, content in items(body, "unit"):
            first = f"{f'{key[0]}.{unit}':<24}{admin:<6}{admin:<5}"
            for family in ("inet", "inet6"):
                for address, _ in items(below(content, "family", family), "address"):
                    lines.append(f"{first}{family:<9}{address}")
                    first = " " * len(first)
            if first.strip():
                lines.append(first.rstrip())
            units.append({"name": data(f"{key[0]}.{unit}"), "admin-status": data(admin), "oper-status": data(admin)})
        elements.append({"name": data(key[0]), "admin-status": data(admin), "oper-status": data(admin), "logical-interface": units})
    return Shown("\n".join(lines) + "\n", "interface-information", {"physical-interface": elements})


def hardware(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show chassis hardware`."""
    text = (
        "Hardware inventory:\nItem             Version  Part number  Serial number     Description\n"
        f"Chassis                                {SERIAL}      {MODEL.upper()}\n"
        f"Routing Engine   REV 0x05 650-065039   {SERIAL}      RE-{MODEL.upper()}\n"
    )
    chassis = {"name": data("Chassis"), "serial-number": data(SERIAL), "description": data(MODEL.upper())}
    return Shown(text, "chassis-inventory", {"chassis": [chassis]})


def alarms(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show system alarms`, `show chassis alarms`."""
    return Shown("No alarms currently active\n", "alarm-information", {"alarm-summary": [{"no-active-alarms": [{"data": [None]}]}]})


def arp(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show arp no-resolve`: neighbours with a session."""
    up = [peer.side.neighbor for peer in peers(device) if peer.up]
    lines = ["MAC Address       Address         Interface                Flags"]
    lines += [f"{'aa:bb:cc:00:00:' + format(int(ip_address(a)) % 256, '02x'):<18}{a:<16}{_via(device, a):<25}none" for a in up]
    return Shown("\n".join([*lines, f"Total entries: {len(up)}"]) + "\n", "arp-table-information", {})


def ntp(device: JunosDevice, words: Sequence[str]) -> Shown:
    """`show ntp status`."""
    text = f'status=0644 leap_none, sync_ntp, 4 events, event_peer/strat_chg,\nstratum=3, offset=0.213, reftime={device.clock.now():%Y-%m-%dT%H:%M:%SZ}\n'
    return Shown(text, "output", {})


def _at(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def _ago(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}"
    if days:
        return f"{days // 7}w{days % 7}d {clock}" if days >= 7 else f"{days}d {clock}"
    return f"{clock}:{rest % 60:02}"


COMMANDS: dict[tuple[str, ...], Callable[[JunosDevice, Sequence[str]], Shown]] = {
    ("bgp", "summary"): bgp_summary,
    ("bgp", "neighbor"): bgp_neighbor,
    ("route",): route,
    ("version",): version,
    ("system", "uptime"): uptime,
    ("system", "commit"): commits,
    ("system", "users"): users,
    ("system", "alarms"): alarms,
    ("chassis", "alarms"): alarms,
    ("chassis", "hardware"): hardware,
    ("security", "zones"): zones,
    ("interfaces", "terse"): terse,
    ("interfaces",): host_inbound,
    ("arp",): arp,
    ("ntp", "status"): ntp,
}
