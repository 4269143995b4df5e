"""BGP between the gateway and the nodes: a session is up only while both ends agree, and carries what the policies let through.

Each end says what it is configured for (`NodeSide` by the agents, `GatewaySide` by the gateway's committed configuration); the
fabric works out what becomes of them over simulated time. States are Cilium's words on the node's side ("active", "established",
..., Source: CiliumBGPNodeConfig status, 1.18) and Junos' on the gateway's ("Active", "Established").
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lab.actor import OnChange, Snapshot
from lab.clock import Clock
from lab.faults import Faults, Happening

DEFAULT_HOLD = 90.0
TICK_WALL_SECONDS = 0.5  # how often scripted faults are looked for, where the world file has any for BGP
IPV4, IPV6 = "ipv4-unicast", "ipv6-unicast"


@dataclass(frozen=True, slots=True)
class NodeSide:
    """One peer of one node. `peer_asn` 0 takes any; `local_port` 0 means that it only dials out; durations in seconds."""

    cluster: str
    node: str
    address: str
    peer_address: str
    local_asn: int
    peer_asn: int
    password: str = ""
    families: tuple[str, ...] = (IPV4,)
    hold: float = DEFAULT_HOLD
    retry: float = 120.0
    port: int = 179
    local_port: int = 0
    routes: tuple[str, ...] = ()

    @property
    def key(self) -> Pair:
        """Who speaks with whom."""
        return (self.address, self.peer_address)


@dataclass(frozen=True, slots=True)
class GatewaySide:
    """One configured neighbour of the gateway. `admits`: its zone lets BGP in; `limit` 0 is none; `idle` None means for ever."""

    group: str
    neighbor: str
    peer_as: int
    local_as: int
    password: str = ""
    passive: bool = False
    shutdown: bool = False
    families: tuple[str, ...] = (IPV4,)
    hold: float = DEFAULT_HOLD
    minimum_hold: float = 0.0
    admits: bool = True
    limit: int = 0
    teardown: bool = False
    idle: float | None = 0.0
    imports: Callable[[str], bool] = lambda _prefix: True
    exports: Callable[[str], bool] = lambda _prefix: True


Pair = tuple[str, str]


@dataclass(slots=True)
class Session:
    """What became of one pair. `since` is when it came to this state, in simulated seconds."""

    state: str = "idle"
    gateway_state: str = "Idle"
    reason: str = ""
    since: float = 0.0
    flaps: int = 0
    hold: float = 0.0
    received: tuple[str, ...] = ()  # by the gateway, before its import policy
    accepted: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()  # by the gateway to the node

    @property
    def established(self) -> bool:
        """Whether routes flow."""
        return self.state == "established"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What two configurations come to: the states in which they stay, and why."""

    state: str
    gateway_state: str
    reason: str = ""

    @property
    def up(self) -> bool:
        """Whether the session comes up."""
        return self.state == "established"


UP = Outcome("established", "Established")
EXPIRED = Outcome("idle", "Active", "hold timer expired")
TIMEOUT = "dial tcp {0}:{1}: i/o timeout"


def judge(node: NodeSide, gateway: GatewaySide | None, addresses: Iterable[str]) -> Outcome:
    """Whether two ends agree. `addresses` are the gateway's own; `gateway` is its neighbour for the node, if any. Pure."""
    if node.peer_address not in addresses:
        return Outcome("active", "Idle", TIMEOUT.format(node.peer_address, node.port))
    if gateway is None:
        return Outcome("active", "Idle", f"dial tcp {node.peer_address}:{node.port}: connection reset by peer")
    if gateway.shutdown:
        return Outcome("active", "Idle", "peer is administratively shut down")
    if node.port != 179 or not (gateway.admits or (node.local_port and not gateway.passive)):
        return Outcome("active", "Active" if gateway.passive else "Connect", TIMEOUT.format(node.peer_address, node.port))
    if node.password != gateway.password:
        return Outcome("active", "Active" if gateway.passive else "Connect", TIMEOUT.format(node.peer_address, node.port))
    if gateway.peer_as != node.local_asn:
        text = f"received notification: bad peer AS (expected {gateway.peer_as}, received {node.local_asn})"
        return Outcome("active", "Active", text)
    if node.peer_asn and node.peer_asn != gateway.local_as:
        return Outcome("idle", "Active", f"as number mismatch expected {node.peer_asn}, received {gateway.local_as}")
    if gateway.minimum_hold and min(node.hold, gateway.hold) < gateway.minimum_hold:
        return Outcome("open_sent", "Active", "received notification: unacceptable hold time")
    if not set(node.families) & set(gateway.families):
        return Outcome("open_sent", "OpenSent", "received notification: unsupported capability")
    if gateway.limit and gateway.teardown and len(_carried(node, gateway)) > gateway.limit:
        return Outcome("idle", "Idle", "received notification: maximum number of prefixes reached")
    return UP


@dataclass(slots=True)
class BgpFabric:
    """All sessions of the gateway. The gateway and the agents tell it their sides; it tells `on_change` what became of them."""

    clock: Clock
    rng: random.Random
    faults: Faults | None = None
    on_change: list[OnChange] = field(default_factory=list)
    name: str = "bgp"
    _nodes: dict[Pair, NodeSide] = field(default_factory=dict)
    _gateway: dict[str, GatewaySide] = field(default_factory=dict)
    _addresses: tuple[str, ...] = ()
    _sessions: dict[Pair, Session] = field(default_factory=dict)
    _coming: dict[Pair, asyncio.TimerHandle] = field(default_factory=dict)
    _leaving: dict[Pair, asyncio.TimerHandle] = field(default_factory=dict)
    _kept_down: dict[Pair, float | None] = field(default_factory=dict)  # prefix limit: until when, None for ever
    _ticker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look for scripted faults. No harm where it runs already."""
        if self._ticker is not None:
            return
        self._ticker = asyncio.get_running_loop().create_task(self._tick())
        self.update()

    async def stop(self) -> None:
        """Let go of every timer; sessions stay as they are."""
        for handle in [*self._coming.values(), *self._leaving.values()]:
            handle.cancel()
        self._coming.clear()
        self._leaving.clear()
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
            self._ticker = None

    def node_side(self, side: NodeSide) -> Session:
        """An agent runs this peer now, in place of what it ran before. Returns what is known of the session."""
        before = self._nodes.get(side.key)
        self._nodes[side.key] = side
        if side.key in self._leaving:  # it is back before the gateway had noticed: the old session is closed
            self._down(side.key, EXPIRED)
        if before != side:
            self.update()
        return self.session(side.address, side.peer_address)

    def node_gone(self, address: str, peer_address: str = "", *, dead: bool = False) -> None:
        """The node's peer is no longer configured, or the machine is dead: then the gateway notices only at the hold time."""
        for key in [k for k in self._nodes if k[0] == address and peer_address in ("", k[1])]:
            del self._nodes[key]
            self._cancel(self._coming, key)
            session = self._sessions.get(key)
            if session is not None and session.established and dead:
                self._later(self._leaving, key, session.hold, partial(self._down, key, EXPIRED))
            elif session is not None:
                self._down(key, Outcome("idle", "Active", "peer closed the session"))
        self.update()

    def gateway_side(self, sides: Sequence[GatewaySide], addresses: Iterable[str]) -> None:
        """The gateway's committed configuration: its neighbours, and its own addresses."""
        self._gateway = {side.neighbor: side for side in sides}
        self._addresses = tuple(addresses)
        self.update()

    def session(self, address: str, peer_address: str = "") -> Session:
        """The session of a node's address with a peer (any, where none is given); an idle one where there is none."""
        for key, session in self._sessions.items():
            if key[0] == address and peer_address in ("", key[1]):
                return session
        return Session()

    def neighbor(self, address: str) -> Session:
        """The session as the gateway sees it: an unconfigured or silent neighbour is Active, a passive one too."""
        for key, session in self._sessions.items():
            if key[0] == address:
                return session
        side = self._gateway.get(address)
        waiting = "Idle" if side is None or side.shutdown else "Active" if side.passive else "Connect"
        return Session(gateway_state=waiting)

    def routes(self) -> dict[str, list[str]]:
        """Prefixes that the gateway accepted, each with the neighbours that it came from, in order of arrival."""
        table: dict[str, list[str]] = {}
        for (address, _), session in sorted(self._sessions.items(), key=lambda item: item[1].since):
            for prefix in session.accepted if session.established else ():
                table.setdefault(prefix, []).append(address)
        return table

    def snapshot(self) -> Snapshot:
        """Sessions and node sides; the gateway's side comes with the gateway."""
        return {
            "nodes": [{slot: getattr(side, slot) for slot in NodeSide.__slots__} for side in self._nodes.values()],
            "sessions": [[*key, {slot: getattr(s, slot) for slot in Session.__slots__}] for key, s in self._sessions.items()],
            "kept_down": [[*key, until] for key, until in self._kept_down.items()],
        }

    def restore(self, state: Snapshot) -> None:
        """Take over a snapshot. Sessions that were coming up begin to do so anew at `start` or with the next change."""
        for handle in [*self._coming.values(), *self._leaving.values()]:
            handle.cancel()
        self._coming.clear()
        self._leaving.clear()
        self._nodes = {}
        for entry in state["nodes"]:
            side = NodeSide(**{**entry, "families": tuple(entry["families"]), "routes": tuple(entry["routes"])})
            self._nodes[side.key] = side
        self._sessions = {(a, b): Session(**_tupled(entry)) for a, b, entry in state["sessions"]}
        self._kept_down = {(a, b): until for a, b, until in state["kept_down"]}

    def dump(self) -> Snapshot:
        """Each session's state and what it carries."""
        return {
            f"{address} {peer}": {
                "state": s.state,
                "reason": s.reason,
                "received": sorted(s.received),
                "accepted": sorted(s.accepted),
                "sent": sorted(s.sent),
            }
            for (address, peer), s in sorted(self._sessions.items())
        }

    def busy(self) -> bool:
        """Whether a session is coming up, or is about to be given up."""
        return bool(self._coming or self._leaving)

    def update(self) -> None:
        """Ask of every pair what it comes to, and set timers for what takes time."""
        changed = False
        for key in [k for k in self._sessions if k not in self._nodes and k not in self._leaving]:
            changed |= self._sessions.pop(key).established
        for key, node in self._nodes.items():
            outcome = self._outcome(node)
            session = self._sessions.setdefault(key, Session(since=self.clock.seconds()))
            if not outcome.up:
                self._cancel(self._coming, key)
                changed |= self._down(key, outcome, tell=False)
            elif not session.established and key not in self._coming:
                self._expect(node)
        changed |= self._flow()
        if changed:
            self._tell()

    def _outcome(self, node: NodeSide) -> Outcome:
        side = self._gateway.get(node.address)
        kept = self._kept_down.get(node.key, 0.0)
        if side is not None and (kept is None or self.clock.seconds() < kept):
            return Outcome("active", "Idle", "maximum number of prefixes reached")
        outcome = judge(node, side, self._addresses)
        if side is not None and "maximum number of prefixes" in outcome.reason:
            self._kept_down[node.key] = None if side.idle is None else self.clock.seconds() + side.idle
            if side.idle and _running():
                self.clock.call_later(side.idle + 1, self.update)
        if outcome.up and self._stopped(node):
            return Outcome("active", "Active", TIMEOUT.format(node.peer_address, node.port))
        return outcome

    def _stopped(self, node: NodeSide) -> bool:
        if self.faults is None or not self.faults.rules:
            return False
        what = Happening(actor="bgp", verb="session", object=node.address, node=node.node, cluster=node.cluster)
        effect = self.faults.find(what)
        return effect is not None and effect.stop

    def _expect(self, node: NodeSide) -> None:
        """The next attempt to connect finds the other end ready: within the retry time, then the handshake."""
        if not _running():
            return
        session = self._sessions[node.key]
        session.state = "active" if session.state == "idle" else session.state
        delay = self.rng.uniform(0.5, min(node.retry, 5.0)) + self.rng.uniform(0.1, 0.5)
        self._later(self._coming, node.key, delay, lambda: self._up(node.key))

    def _up(self, key: Pair) -> None:
        node, side = self._nodes.get(key), self._gateway.get(key[0])
        session = self._sessions[key]
        if node is None or side is None or not judge(node, side, self._addresses).up:
            self.update()
            return
        self._cancel(self._leaving, key)
        session.state, session.gateway_state, session.reason = UP.state, UP.gateway_state, ""
        session.since, session.hold = self.clock.seconds(), min(node.hold, side.hold)
        self._flow()
        self._tell()

    def _down(self, key: Pair, outcome: Outcome, *, tell: bool = True) -> bool:
        """The session is in this state, which is not up. Returns whether that is news."""
        session = self._sessions[key]
        self._cancel(self._leaving, key)
        news = (session.state, session.gateway_state, session.reason) != (outcome.state, outcome.gateway_state, outcome.reason)
        if session.established:
            session.flaps += 1
        if news:
            session.since = self.clock.seconds()
        session.state, session.gateway_state, session.reason = outcome.state, outcome.gateway_state, outcome.reason
        session.received, session.accepted, session.sent = (), (), ()
        if news and tell:
            self._flow()
            self._tell()
        return news

    def _flow(self) -> bool:
        """Work out what every session that is up carries. Returns whether that is news."""
        news = False
        up = [(k, s) for k, s in self._sessions.items() if s.established and k in self._nodes and k[0] in self._gateway]
        for key, session in up:
            node, side = self._nodes[key], self._gateway[key[0]]
            received = _carried(node, side)
            accepted = tuple(prefix for prefix in received if side.imports(prefix))
            news |= (session.received, session.accepted) != (received, accepted)
            session.received, session.accepted = received, accepted
        for key, session in up:
            side = self._gateway[key[0]]
            others = {p for other, s in up if other != key for p in s.accepted if _family(p) in self._nodes[key].families}
            sent = tuple(sorted(prefix for prefix in others if side.exports(prefix)))
            news |= session.sent != sent
            session.sent = sent
        return news

    def _tell(self) -> None:
        for tell in list(self.on_change):
            tell()

    def _later(self, where: dict[Pair, asyncio.TimerHandle], key: Pair, seconds: float, fn: Callable[[], object]) -> None:
        def run() -> None:
            where.pop(key, None)
            fn()

        self._cancel(where, key)
        if _running():
            where[key] = self.clock.call_later(seconds, run)

    def _cancel(self, where: dict[Pair, asyncio.TimerHandle], key: Pair) -> None:
        handle = where.pop(key, None)
        if handle is not None:
            handle.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(max(TICK_WALL_SECONDS, self.clock.wall(10)))
            if self.faults is not None and any(rule.effect.stop and rule.actor.startswith("bgp") for rule in self.faults.rules):
                self.update()


def far_end(address: str, peer_address: str, *, asn: int, peer_asn: int, routes: tuple[str, ...]) -> NodeSide:
    """Somebody else's router, outside of the site: it is configured for the gateway as the gateway is for it."""
    return NodeSide("", "carrier", address, peer_address, asn, peer_asn, routes=routes, local_port=179)


def _carried(node: NodeSide, gateway: GatewaySide) -> tuple[str, ...]:
    families = set(node.families) & set(gateway.families)
    return tuple(prefix for prefix in node.routes if _family(prefix) in families)


def _family(prefix: str) -> str:
    return IPV6 if ":" in prefix else IPV4


def _tupled(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}


def _running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
