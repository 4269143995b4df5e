"""The gateway's state: the active configuration, candidates, locks, commits with automatic rollback, and its BGP neighbours.

It knows no socket: `cli` speaks for it, `server` carries the speech. Everything runs on the world's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

from lab.actor import Snapshot
from lab.bgp import IPV4, IPV6, BgpFabric, GatewaySide
from lab.clock import Clock
from lab.junos import check, factory, policy
from lab.junos.secret import MAGIC, decode, encode
from lab.junos.tree import (
    Branch,
    Config,
    NotFound,
    StatementError,
    below,
    compare,
    has,
    items,
    leaf,
    parse,
    tokenize,
    values,
)

Mode = Literal["shared", "exclusive", "private"]
ROLLBACKS = 49  # Source: max-configuration-rollbacks, at most 49
GRACE_WALL_SECONDS = 30.0  # design.md 8 "Time": a timer that races a client does not run out sooner
HELD_POLL_WALL_SECONDS = 0.02
SECRET_LEAVES = ("authentication-key",)


class Refused(Exception):
    """The device says no; the text is what it prints."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One entry of the commit history. `minutes` is set for a confirmed commit."""

    config: Config
    at: datetime
    user: str
    via: str = "cli"
    comment: str = ""
    minutes: int = 0


@dataclass(slots=True)
class Editor:
    """Somebody in configuration mode."""

    user: str
    terminal: str
    pid: int
    mode: Mode
    since: datetime
    last: datetime
    own: Config | None = None  # a private candidate
    base: Config | None = None  # what it was made from


@dataclass(slots=True)
class Pending:
    """A commit that is rolled back unless confirmed. `due` is simulated time; `wall` the loop's time before which nothing happens."""

    minutes: int
    due: float
    wall: float
    before: Config
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class JunosDevice:
    """One SRX. `commit_seconds` is how long a commit takes, in simulated time, jittered by `rng`."""

    clock: Clock
    rng: random.Random
    fabric: BgpFabric
    active: Config
    name: str = "gateway"
    grace: float = GRACE_WALL_SECONDS
    commit_seconds: float = 8.0
    history: list[Commit] = field(default_factory=list)
    shared: Config = field(default_factory=Config)
    editors: list[Editor] = field(default_factory=list)
    pending: Pending | None = None
    broadcasts: list[Callable[[str], None]] = field(default_factory=list)
    booted: datetime | None = None
    _pids: int = 20000
    _committing: bool = False
    _restored: int = 0

    def __post_init__(self) -> None:
        self.shared = self.active.copy()
        self.booted = self.clock.now() - timedelta(days=40, hours=3, minutes=2)
        if not self.history:
            self.history = [Commit(self.active.copy(), self.clock.now() - timedelta(days=12), "root")]
        self._neighbours()
        if (carrier := factory.upstream(self.active)) is not None:
            self.fabric.node_side(carrier)

    # -- the actor ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Go on; a confirmed commit that was pending in a snapshot is timed anew."""
        if self.pending is not None and self.pending.task is None:
            self._arm(self.pending)
        self._neighbours()

    async def stop(self) -> None:
        """Stop timers; whoever edits is thrown out."""
        for editor in list(self.editors):
            self.leave(editor)
        if self.pending is not None and self.pending.task is not None:
            self.pending.task.cancel()
            self.pending.task = None

    def snapshot(self) -> Snapshot:
        """Configurations as set lines, the newest commit first; a pending confirmation with the time it has left."""
        left = None
        if self.pending is not None:
            left = {
                "minutes": self.pending.minutes,
                "left": self.pending.due - self.clock.seconds(),
                "before": self.pending.before.lines(),
            }
        return {
            "active": self.active.lines(),
            "shared": self.shared.lines(),
            "history": [
                {
                    "lines": c.config.lines(),
                    "at": c.at.isoformat(),
                    "user": c.user,
                    "via": c.via,
                    "comment": c.comment,
                    "minutes": c.minutes,
                }
                for c in self.history
            ],
            "pending": left,
            "pids": self._pids,
        }

    def restore(self, state: Snapshot) -> None:
        """Take over a snapshot; whoever edits is thrown out, and a commit in progress comes to nothing."""
        self._restored += 1
        for editor in list(self.editors):
            self.leave(editor)
        if self.pending is not None and self.pending.task is not None:
            self.pending.task.cancel()
        self.active, self.shared = config_of(state["active"]), config_of(state["shared"])
        self.history = [
            Commit(
                config_of(entry["lines"]),
                datetime.fromisoformat(entry["at"]),
                entry["user"],
                entry["via"],
                entry["comment"],
                entry["minutes"],
            )
            for entry in state["history"]
        ]
        self._pids = state["pids"]
        self.pending = None
        if state["pending"] is not None:
            due = self.clock.seconds() + state["pending"]["left"]
            self.pending = Pending(state["pending"]["minutes"], due, 0.0, config_of(state["pending"]["before"]))
            with contextlib.suppress(RuntimeError):  # no loop yet: `start` does it
                self._arm(self.pending)
        self._neighbours()

    def dump(self) -> Snapshot:
        """The active configuration with secrets as placeholders, what is uncommitted, and whether a confirmation is pending.

        Lines are sorted, since who came first is no difference between two worlds; `order` holds the orders that mean something.
        """
        return {
            "configuration": masked(sorted(self.active.lines())),
            "order": orders(self.active),
            "uncommitted": masked(compare(self.active, self.shared).splitlines()),
            "pending_confirmation": self.pending is not None,
            "editing": sorted(f"{editor.user} {editor.mode}" for editor in self.editors),
        }

    def busy(self) -> bool:
        """Whether a commit runs or waits for its confirmation, which end by themselves."""
        return self.pending is not None or self._committing

    # -- editing -----------------------------------------------------------------------------------------------------

    def enter(self, user: str, terminal: str, mode: Mode) -> Editor:
        """Go to configuration mode. Raises Refused where a lock or an unsaved candidate is in the way."""
        locked = self.locked_by(None)
        if mode == "exclusive":
            if locked is not None or any(e.mode == "shared" and self.modified for e in self.editors):
                holder = locked or self.editors[0]
                raise Refused(f"error: configuration database locked by:\n{self.describe(holder)}")
            if self.modified:
                raise Refused("error: configuration database modified")
        if mode == "private" and self.modified:
            raise Refused("error: shared configuration database modified")
        if mode == "shared" and any(e.mode == "private" for e in self.editors):
            raise Refused("error: private edits in use. Try 'configure private' or 'configure exclusive'.")
        self._pids += self.rng.randint(1, 9)
        now = self.clock.now()
        editor = Editor(user, terminal, self._pids, mode, now, now)
        if mode == "private":
            editor.own, editor.base = self.active.copy(), self.active.copy()
        self.editors.append(editor)
        return editor

    def leave(self, editor: Editor) -> None:
        """Leave configuration mode: what is uncommitted in an exclusive or private candidate is discarded, the lock let go."""
        if editor not in self.editors:
            return
        self.editors.remove(editor)
        if editor.mode == "exclusive":
            self.shared = self.active.copy()

    def locked_by(self, asker: Editor | None) -> Editor | None:
        """Who holds the exclusive lock, other than `asker`."""
        return next((e for e in self.editors if e.mode == "exclusive" and e is not asker), None)

    def lock(self, user: str) -> Editor:
        """Somebody at another terminal takes the exclusive lock (for drills); `leave` ends it. Raises Refused."""
        return self.enter(user, "p0", "exclusive")

    @property
    def modified(self) -> bool:
        """Whether the shared candidate differs from what is active."""
        return self.shared != self.active

    def candidate(self, editor: Editor) -> Config:
        """The candidate that `editor` changes."""
        return editor.own if editor.own is not None else self.shared

    def edit(self, editor: Editor, line: str) -> None:
        """One `set` or `delete` line of `editor`. Raises Refused, StatementError, NotFound."""
        self._writable(editor)
        verb, _, rest = line.strip().partition(" ")
        tokens = tokenize(rest)
        config = self.candidate(editor)
        if verb == "delete":
            config.delete(tokens)
        elif verb == "set":
            trial = config.copy()
            trial.set(self._keyed(tokens))
            self._put(editor, trial)
        else:
            raise StatementError("unknown command.", 0)

    def replace(self, editor: Editor, config: Config) -> None:
        """The candidate becomes a copy of `config`. Raises Refused."""
        self._writable(editor)
        self._put(editor, config.copy())

    def rollback(self, number: int) -> Config:
        """The configuration `number` commits ago. Raises Refused."""
        if number >= len(self.history):
            raise Refused(f"error: could not open configuration file for rollback {number}: No such file or directory")
        return self.history[number].config

    def describe(self, editor: Editor) -> str:
        """The line about an editor that other editors are shown."""
        idle = _clock(self.clock.now() - editor.last)
        at = f"terminal {editor.terminal} (pid {editor.pid})" if editor.terminal else f"(pid {editor.pid})"
        mode = {"exclusive": "exclusive [edit]", "private": "private [edit]", "shared": "[edit]"}[editor.mode]
        return f"  {editor.user} {at} on since {editor.since:%Y-%m-%d %H:%M:%S} UTC, idle {idle}\n      {mode}"

    def _writable(self, editor: Editor) -> None:
        editor.last = self.clock.now()
        holder = self.locked_by(editor)
        if holder is not None and editor.mode != "private":
            raise Refused(f"error: configuration database locked by:\n{self.describe(holder)}")

    def _put(self, editor: Editor, config: Config) -> None:
        if editor.own is not None:
            editor.own = config
        else:
            self.shared = config

    def _keyed(self, tokens: Sequence[str]) -> list[str]:
        """The line with plain keys in the form in which the device keeps them, under a new salt each time."""
        secrets = [step.value for step in parse(tokens) if step.path[-1][0] in SECRET_LEAVES and step.value is not None]
        kept = {plain: encode(plain, self.rng) for plain in secrets if not plain.startswith(MAGIC)}
        return [
            kept.get(token, token) if index and tokens[index - 1] in SECRET_LEAVES else token
            for index, token in enumerate(tokens)
        ]

    # -- commits -----------------------------------------------------------------------------------------------------

    async def commit(
        self, editor: Editor, *, only_check: bool = False, minutes: int = 0, comment: str = "", synced: bool = False
    ) -> str:
        """`commit`, `commit check` or `commit confirmed`. Returns what the device prints. Raises Refused."""
        if editor.mode == "private" and minutes:
            raise Refused("error: commit confirmed is not allowed in private mode")
        holder = self.locked_by(editor)
        if holder is not None:
            raise Refused(f"error: configuration database locked by:\n{self.describe(holder)}")
        if self._committing:
            raise Refused("error: configuration database locked: another commit is in progress")
        config = self._merged(editor)
        found = check.faults(config)
        if found:
            raise Refused("\n".join([*found, check.FAILED]))
        self._committing, world = True, self._restored
        try:
            await self.clock.sleep(self.commit_seconds * self.rng.uniform(0.6, 1.4) * (0.5 if only_check else 1))
        finally:
            self._committing = False
        if world != self._restored:
            raise Refused("error: session failure: unexpected termination of remote session")
        if only_check:
            self._confirm()
            return "configuration check succeeds"
        self._activate(config, editor.user, minutes=minutes, comment=comment)
        if editor.own is not None:
            editor.own, editor.base = config.copy(), config.copy()
        said = "commit complete"
        if minutes:
            unit = "minutes"
            said = f"commit confirmed will be automatically rolled back in {minutes} {unit} unless confirmed\n{said}"
        return f"configuration check succeeds\n{said}" if synced else said

    def remaining(self) -> int:
        """Minutes until the automatic rollback, rounded up; 0 where none is pending."""
        if self.pending is None:
            return 0
        return max(1, -int(-(self.pending.due - self.clock.seconds()) // 60))

    def _merged(self, editor: Editor) -> Config:
        """What a commit would activate: a private candidate's own changes over what is active now."""
        if editor.own is None or editor.base is None or editor.base == self.active:
            return self.candidate(editor).copy()
        before, after = editor.base.lines(), editor.own.lines()
        merged = self.active.copy()
        for line in before:
            if line not in after:
                with contextlib.suppress(NotFound):
                    merged.delete(tokenize(line)[1:])
        for line in after:
            if line not in before:
                merged.set(tokenize(line)[1:])
        return merged

    def _activate(self, config: Config, user: str, *, minutes: int = 0, comment: str = "", via: str = "cli") -> None:
        before = self.pending.before if self.pending is not None else self.active
        self._confirm()
        untouched = not self.modified
        self.active = config.copy()
        self.history.insert(0, Commit(config.copy(), self.clock.now(), user, via, comment, minutes))
        del self.history[ROLLBACKS + 1 :]
        if untouched:
            self.shared = config.copy()
        if minutes:
            self.pending = Pending(minutes, self.clock.seconds() + 60.0 * minutes, 0.0, before.copy())
            self._arm(self.pending)
        self._neighbours()

    def _confirm(self) -> None:
        if self.pending is not None and self.pending.task is not None:
            self.pending.task.cancel()
        self.pending = None

    def _arm(self, pending: Pending) -> None:
        loop = asyncio.get_running_loop()
        pending.wall = loop.time() + max(self.clock.wall(pending.due - self.clock.seconds()), self.grace)
        pending.task = loop.create_task(self._unless_confirmed(pending))

    async def _unless_confirmed(self, pending: Pending) -> None:
        loop = asyncio.get_running_loop()
        while (left := pending.wall - loop.time()) > 0:
            await asyncio.sleep(left)
        while self.clock.held or self._committing:
            await asyncio.sleep(HELD_POLL_WALL_SECONDS)
        if self.pending is not pending:
            return
        self.pending = None
        self._activate(pending.before, "root", via="other")
        text = f"\nBroadcast Message from root@{self.host}\n        (no tty) at {self.clock.now():%H:%M} UTC...\n\n"
        for tell in list(self.broadcasts):
            tell(f"{text}Commit was not confirmed; automatic rollback complete.\n\n")

    # -- what the configuration means --------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The device's host name."""
        return leaf(self.active.branch("system"), "host-name") or "Amnesiac"

    def addresses(self) -> dict[str, str]:
        """The device's own addresses, each with its unit."""
        return check.own_addresses(self.active)

    def groups(self) -> list[tuple[str, Branch]]:
        """The BGP groups, in order."""
        return list(items(self.active.branch("protocols", "bgp"), "group"))

    def _neighbours(self) -> None:
        self.fabric.gateway_side(sides(self.active), self.addresses())


def sides(config: Config) -> list[GatewaySide]:
    """The neighbours of a configuration, with what their groups and BGP itself say."""
    bgp = config.branch("protocols", "bgp")
    own = check.local_as(config)
    return [
        _side(config, [peer, body, bgp], group, address, own)
        for group, body in items(bgp, "group")
        for address, peer in items(body, "neighbor")
    ]


def _side(config: Config, levels: Sequence[Branch], group: str, address: str, own: int) -> GatewaySide:
    def first(*names: str) -> str:
        return next((leaf(level, *names) for level in levels if leaf(level, *names)), "")

    imports = next((values(level, "import") for level in levels if values(level, "import")), ())
    exports = next((values(level, "export") for level in levels if values(level, "export")), ())
    internal = first("type") == "internal"
    families = _families(levels)
    limit = next((found for level in levels if (found := below(level, "family", "inet", "unicast", "prefix-limit")).items), Branch())
    local = next((value for level in levels[:2] if (value := check.body_local_as(level))), "")
    interface = check.interface_of(config, address)
    return GatewaySide(
        group=group,
        neighbor=address,
        peer_as=own if internal else int(first("peer-as") or 0),
        local_as=int(local or own),
        password=decode(first("authentication-key")),
        passive=any(has(level, "passive") for level in levels[:2]),
        shutdown=has(levels[0], "shutdown"),
        families=families,
        hold=float(first("hold-time") or 90),
        minimum_hold=float(first("minimum-hold-time") or 0),
        admits=bool(interface) and check.inbound(config, interface, "protocols", "bgp"),
        limit=int(leaf(limit, "maximum") or 0),
        teardown=has(limit, "teardown"),
        idle=_idle(limit),
        imports=lambda prefix: policy.accepts(config, imports, prefix),
        exports=lambda prefix: policy.accepts(config, exports, prefix),
    )


def _families(levels: Sequence[Branch]) -> tuple[str, ...]:
    """A family statement names all families there are; without any it is IPv4 unicast."""
    for level in levels:
        family = below(level, "family")
        if family.items:
            return tuple(name for word, name in (("inet", IPV4), ("inet6", IPV6)) if has(family, word))
    return (IPV4,)


def _idle(limit: Branch) -> float | None:
    """Seconds for which a session stays down after its prefix limit; None for ever, as where no time is given: 0."""
    idle = below(limit, "teardown", "idle-timeout")
    if has(idle, "forever"):
        return None
    minutes = idle.items.get(("",))
    return 60.0 * int(minutes) if isinstance(minutes, str) else 0.0


def config_of(lines: Sequence[str]) -> Config:
    """The configuration that set lines make. Raises StatementError."""
    return _parsed(tuple(lines)).copy()


@lru_cache(maxsize=256)
def _parsed(lines: tuple[str, ...]) -> Config:
    """Snapshots hold the same configurations again and again: each is parsed once. Never changed, only copied."""
    config = Config()
    for line in lines:
        config.set(tokenize(line)[1:])
    return config


def orders(config: Config) -> dict[str, list[str]]:
    """The terms of each policy and the policies of each list, where there are several: their order decides."""
    policies = items(config.branch("policy-options"), "policy-statement")
    found = {f"policy-statement {name}": [term for term, _ in items(body, "term")] for name, body in policies}
    found |= {" ".join((*path, word)): list(named) for path, word, named in check.policy_lists(config)}
    return {place: several for place, several in sorted(found.items()) if len(several) > 1}


def masked(lines: Sequence[str]) -> list[str]:
    """Lines without secrets: each `$9$` value becomes a placeholder, the same for the same secret, numbered as they come."""
    numbers: dict[str, int] = {}
    out = []
    for line in lines:
        words = line.split('"')
        for index, word in enumerate(words):
            if word.startswith(MAGIC):
                words[index] = f"<secret:{numbers.setdefault(decode(word), len(numbers) + 1)}>"
        out.append('"'.join(words))
    return out


def gateway(
    clock: Clock, rng: random.Random, fabric: BgpFabric, site: factory.Surroundings, **options: Any
) -> JunosDevice:
    """The gateway of a site before the project's first change, with its upstream. `options` are JunosDevice's."""
    return JunosDevice(clock, rng, fabric, factory.configuration(site), **options)


def _clock(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"

