"""A world in memory for the engine's tests: goals, effects, a clock that jumps, and a process that can be killed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.engine.api import Choice, Ports, Report, Stop, Subject, UpOptions, up
from orchestrator.model.action import Action, Approval, Command, DeleteSelected
from orchestrator.model.check import Check
from orchestrator.model.errors import LockHeld
from orchestrator.model.phase import Fan, Phase, Step
from orchestrator.model.ports import Child, Outcome, Place
from orchestrator.model.query import Answer, Query, ToolQuery
from orchestrator.model.verdict import Verdict, met, unknown, unmet

START = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Killed(BaseException):
    """The process is gone. Not an Exception: nothing may catch it and go on."""


def judge(answers: tuple[Answer, ...]) -> Verdict:
    """MET, UNMET or UNKNOWN as the world says."""
    body = answers[0].body
    match body["state"]:
        case "MET":
            return met()
        case "UNKNOWN":
            return unknown("does not answer")
    return unmet(body.get("reason", "not there yet"), permanent=body.get("permanent", False), foreign=body.get("foreign", False))


def goal(name: str, *, within: timedelta = MINUTE, in_a_row: int = 1) -> Check:
    """A check of the fact called `name`."""
    return Check(f"{name}.goal", f"{name} to stand", (ToolQuery(("fake", "get", name)),), judge, hint=f"fake get {name}", within=within, in_a_row=in_a_row)


def do(name: str, *, once: bool = False, verb: str = "do") -> Command:
    """A command that brings the fact called `name` about."""
    return Command(("fake", verb, name), once=once)


def step(name: str, *actions: Action, **more: Any) -> Step:
    """A step whose goal is the fact of its own name."""
    within = more.pop("within", MINUTE)
    return Step(name, name, "1", goal(name, within=within), actions or (do(name),), **more)


def phase(name: str, *steps: Step, needs: tuple[str, ...] = (), gates: tuple[Check, ...] = (), week: int = 1, **more: Any) -> Phase:
    """A phase of these steps."""
    return Phase(name, name, week, "1-5", needs, steps, gates, **more)


@dataclass
class World:
    """Facts by name. `script` says how the next calls of a command go: ok, fail, fail-done, lost, permanent, slow."""

    facts: dict[str, bool] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    permanent: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    script: dict[str, list[str]] = field(default_factory=dict)
    refused_by: dict[str, str] = field(default_factory=dict)  # a command -> the fact for which it refuses to run
    calls: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    down: set[str] = field(default_factory=set)
    most_down: Counter[str] = field(default_factory=Counter)
    groups: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    clashes: list[str] = field(default_factory=list)
    holds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    orphans: dict[str, Child] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def state(self, name: str) -> dict[str, Any]:
        """What a question about `name` is answered."""
        with self.lock:
            self.asked[name] += 1
            if name in self.unknown:
                return {"state": "UNKNOWN"}
            done = self.facts.get(name, False)
            return {"state": "MET" if done else "UNMET", "permanent": name in self.permanent, "foreign": name in self.foreign}


class Reader:
    """Answers from the world."""

    def __init__(self, world: World, alive: Callable[[], None] = lambda: None) -> None:
        self.world, self.alive = world, alive

    def ask(self, query: Query) -> Answer:
        self.alive()
        assert isinstance(query, ToolQuery)
        return Answer(body=self.world.state(query.argv[2]))

    def watch(self, check: Check, stop: Callable[[], bool], seconds: float) -> bool:
        return False


class FakeClock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self._now = 0.0
        self._lock = threading.Lock()
        self.on_wait: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return START + timedelta(seconds=self._now)

    def monotonic(self) -> float:
        return self._now

    def wait(self, seconds: float, stop: Callable[[], bool]) -> bool:
        self.on_wait()
        with self._lock:
            self._now += max(seconds, 0.001)
        return stop()


class Process:
    """One life of the orchestrator: after `boundaries` it is dead, and so is every thread of it."""

    def __init__(self, boundaries: int | None = None) -> None:
        self.left = boundaries
        self.passed = 0
        self.dead = False
        self._lock = threading.Lock()

    def boundary(self) -> None:
        """A moment at which a kill may come."""
        with self._lock:
            if self.dead:
                raise Killed
            self.passed += 1
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    self.dead = True
                    raise Killed

    def alive(self) -> None:
        """Raises when dead."""
        if self.dead:
            raise Killed


class MemoryJournal:
    """The port, in memory; a kill may come before and after each record."""

    def __init__(self, kept: list[dict[str, Any]] | None = None, process: Process | None = None, clock: FakeClock | None = None) -> None:
        self.kept = kept if kept is not None else []
        self.process, self.clock = process or Process(), clock or FakeClock()
        self._lock = threading.Lock()

    def append(self, kind: str, *, run: str | None = None, phase: str | None = None, step: str | None = None, node: str | None = None, attempt: int | None = None, data: Mapping[str, Any] | None = None, durable: bool = True) -> Mapping[str, Any]:
        self.process.boundary()
        with self._lock:
            self.process.alive()
            prev = self.kept[-1]["hash"] if self.kept else ""
            at = self.clock.now()
            text = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
            record = {"seq": len(self.kept) + 1, "at": text, "run": run, "kind": kind, "phase": phase, "step": step, "node": node, "attempt": attempt, "data": json.loads(json.dumps(data or {})), "prev": prev}
            record["hash"] = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
            self.kept.append(record)
        self.process.boundary()
        return record

    def records(self) -> Sequence[Mapping[str, Any]]:
        return list(self.kept)


class MemoryEvents:
    """The port, in memory."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def emit(self, kind: str, **more: Any) -> None:
        self.events.append({"kind": kind, **more})

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events]


class Writer:
    """Acts on the world as its script says; a kill may come before and after the effect."""

    def __init__(self, world: World, process: Process) -> None:
        self.world, self.process = world, process

    def do(self, action: Action, place: Place, stopped: Callable[[], bool], spawned: Callable[[int], None]) -> Outcome:
        if isinstance(action, DeleteSelected):
            self.process.boundary()
            self.world.facts[action.labels] = False
            self.process.boundary()
            return Outcome(True, 0)
        assert isinstance(action, Command)
        name = action.argv[2]
        with self._working(name, place.step):
            self.process.boundary()
            spawned(4000 + self.world.calls[name])
            with self.world.lock:
                self.world.calls[name] += 1
                self.world.order.append(" ".join(action.argv[1:]))
                how = self.world.script.get(name, [])
                way = "permanent" if self.world.facts.get(self.world.refused_by.get(name, "")) else how.pop(0) if how else "ok"
                if way in ("ok", "fail-done"):
                    self.world.facts[name] = action.argv[1] != "undo"
                    self.world.effects[name] += 1
            self.process.boundary()
            if way == "later":
                self.world.script.setdefault("later", []).append(name)
        if way in ("ok", "lost", "later"):
            return Outcome(True, 0)
        return Outcome(False, 1, f"{name}: {way}", permanent=way == "permanent", timed_out=way == "slow")

    @contextmanager
    def _working(self, name: str, step: str) -> Any:
        world = self.world
        with world.lock:
            for hold in world.holds.get(step, ()):
                if hold in world.owners:
                    world.clashes.append(f"{step} and {world.owners[hold]} both have {hold}")
                world.owners[hold] = step
            group = world.groups.get(step)
            if group:
                world.down.add(step)
                world.most_down[group] = max(world.most_down[group], sum(1 for one in world.down if world.groups[one] == group))
        try:
            yield
        finally:
            with world.lock:
                for hold in world.holds.get(step, ()):
                    world.owners.pop(hold, None)
                if self.world.facts.get(step, False):
                    world.down.discard(step)


class Fence:
    """Held until it is said to be lost."""

    def __init__(self) -> None:
        self.lost = False

    def check(self) -> None:
        if self.lost:
            raise LockHeld("taken over")


class Children:
    """Orphans of the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ended: list[int] = []

    def identify(self, pid: int) -> Child:
        return Child(pid, "t", "here")

    def find(self, marker: str) -> tuple[Child, ...]:
        return (self.world.orphans[marker],) if marker in self.world.orphans else ()

    def living(self, child: Child) -> bool:
        return child in self.world.orphans.values()

    def end(self, child: Child) -> None:
        self.ended.append(child.pid)
        self.world.orphans = {m: c for m, c in self.world.orphans.items() if c != child}


@dataclass
class Bench:
    """A subject with its world and its journal, over several lives of the orchestrator."""

    phases: tuple[Phase, ...]
    world: World = field(default_factory=World)
    kept: list[dict[str, Any]] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)
    tools: Mapping[str, str] = field(default_factory=dict)
    site_digest: str = "d"
    runs: int = 0
    events: MemoryEvents = field(default_factory=MemoryEvents)
    children: Children | None = None
    fence: Fence = field(default_factory=Fence)

    def __post_init__(self) -> None:
        for one in self.phases:
            for each in one.steps:
                self.world.holds[each.id] = each.holds
                if each.fan:
                    self.world.groups[each.id] = each.fan.group

    @property
    def subject(self) -> Subject:
        return Subject(site="s", site_digest=self.site_digest, phases=self.phases, tools=self.tools, poll=timedelta(seconds=5))

    def reader(self) -> Reader:
        return Reader(self.world)

    def up(self, choice: Choice | None = None, *, process: Process | None = None, stop: Stop | None = None, **options: Any) -> Report:
        process = process or Process()
        self.runs += 1
        self.events = MemoryEvents()
        self.children = Children(self.world)
        ports = Ports(
            reader=Reader(self.world, process.alive),
            writer=Writer(self.world, process),
            clock=self.clock,
            journal=MemoryJournal(self.kept, process, self.clock),
            events=self.events,
            fence=self.fence,
            children=self.children,
        )
        return up(self.subject, choice or Choice(), ports=ports, options=UpOptions(run=f"r{self.runs}", **options), stop=stop or Stop())


__all__ = ["MINUTE", "Approval", "Bench", "Children", "FakeClock", "Fan", "Killed", "MemoryJournal", "Process", "Reader", "World", "do", "goal", "phase", "step"]
