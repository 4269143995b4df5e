"""A world of nodes for the real phases: random sites compiled, questions and actions replaced, structure kept; and what must always hold.

`staged` keeps ids, order, needs, fans, widths, holds, classes, waits and what may be done once; every question is answered by the World, every
action is done to it. A node goes down with the step that disrupts or installs it and comes back some seconds after the last of its actions.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import yaml

import inventory
import phases
from orchestrator.engine.api import Choice, Ports, Report, Stop, Subject, UpOptions, up
from orchestrator.model.action import Action, Approval, Await, Command
from orchestrator.model.check import Check
from orchestrator.model.errors import NotOursError
from orchestrator.model.phase import Fan, Phase, Step
from orchestrator.model.ports import Outcome, Place
from orchestrator.model.query import Answer, Query, ToolQuery
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from tests.unit.engine_world import MINUTE, Children, FakeClock, Fence, Killed, MemoryEvents, MemoryJournal, Process

EXAMPLES = Path(inventory.__file__).parent / "sites"
RESTS = 30.0  # seconds after an effect until it shows, at most: less than a check waits
AT = "2026-03-02T07:00:00.000Z"
TAKES_DOWN = ("disrupts", "destroys")


def judge(answers: tuple[Answer, ...]) -> Verdict:
    """As the world says."""
    match answers[0].body:
        case "MET":
            return met()
        case "UNKNOWN":
            return unknown("does not answer")
        case "FOREIGN":
            return unmet("is somebody else's", foreign=True)
    return unmet("not yet")


def staged_check(check: Check) -> Check:
    """The same question, asked of the world."""
    return replace(check, ask=(ToolQuery(("world", "ask", check.id)),), judge=judge, hears_silence=False, within=max(check.within, MINUTE))


def staged(phase: Phase) -> Phase:
    """A phase whose questions and actions are the world's."""
    return replace(
        phase,
        steps=tuple(_step(step) for step in phase.steps),
        gates=tuple(staged_check(gate) for gate in phase.gates),
        preconditions=tuple(staged_check(check) for check in phase.preconditions),
        identity=tuple(staged_check(check) for check in phase.identity),
    )


def _step(step: Step) -> Step:
    return replace(
        step,
        goal=staged_check(step.goal),
        actions=tuple(_action(step, index, action) for index, action in enumerate(step.actions)),
        undo=tuple(Command(("world", "undo", step.id, str(index))) for index, _ in enumerate(step.undo)),
    )


def _action(step: Step, index: int, action: Action) -> Action:
    if isinstance(action, Await):
        return replace(action, check=staged_check(action.check))
    if isinstance(action, Approval):
        return action
    return Command(("world", "do", step.id, str(index)), once=isinstance(action, Command) and action.once)


def random_site(chance: Random, folder: Path) -> inventory.Site:
    """The plan's site or another example with other numbers of machines. Loaded and checked like any site."""
    folder.mkdir(parents=True, exist_ok=True)
    name = chance.choice(["ten-weeks", "no-gateway", "three-clusters", "workers", "dual-stack", "other-names"])
    site = inventory.load(EXAMPLES / name / "site.yaml")
    data: dict[str, Any] = site.model_dump(mode="json", by_alias=True, exclude_none=True)
    data.pop("include", None)
    kept = []
    for cluster in data["clusters"]:
        own = [node for node in data["nodes"] if node["cluster"] == cluster["name"]]
        control = [node for node in own if node.get("role", "controlplane") == "controlplane"]
        workers = [node for node in own if node not in control]
        kept += control[: chance.choice([1, 3] if len(control) >= 3 else [1])] + workers[: chance.randrange(len(workers) + 1)]
    data["nodes"] = kept
    (folder / "site.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    try:
        return inventory.load(folder / "site.yaml")
    except inventory.SiteErrors:  # a rule that counts machines: the example as it is
        return site


def compiled_phases(chance: Random, folder: Path) -> tuple[Phase, ...]:
    """The product's phases of a random site, staged."""
    return tuple(staged(phase) for phase in phases.compile(random_site(chance, folder)))


def upgrade_phases(chance: Random) -> tuple[Phase, ...]:
    """What later weeks will do to machines: install, bootstrap once, then rolling upgrades of control planes and workers, a drain, a wipe."""
    found: list[Phase] = []
    for cluster in ("x", "y")[: chance.randrange(1, 3)]:
        control = [f"{cluster}-cp{n}" for n in range(chance.choice([1, 3, 5]))]
        workers = [f"{cluster}-w{n}" for n in range(chance.randrange(0, 5))]
        width = chance.randrange(1, 3)
        install = f"install@{cluster}"
        identity = {node: _check(f"{install}/identity/{node}") for node in (*control, *workers)}
        steps = [
            Step(f"{install}/apply/{node}", node, "1", _check(f"{install}/apply/{node}"), (Await(identity[node]), _do(f"{install}/apply/{node}", 1)), node=node, fan=Fan(f"{install}/apply", 5), disruption="installs", reversible="no")
            for node in (*control, *workers)
        ]
        boot = f"{install}/etcd-bootstrap"
        steps.append(Step(boot, boot, "1", _check(boot), (_do(boot, 0, once=True),), node=control[0], reversible="no"))
        found.append(Phase(install, install, 1, "1", (), tuple(steps), (_check(f"{install}/gate"),)))
        roll = f"upgrade@{cluster}"
        rows = [(control, Fan(f"{roll}/control", 1)), (workers, Fan(f"{roll}/workers", width))]
        found.append(
            Phase(roll, roll, 2, "8", (install,), tuple(Step(f"{roll}/{node}", node, "8", _check(f"{roll}/{node}"), (_do(f"{roll}/{node}", 0), _do(f"{roll}/{node}", 1)), node=node, fan=fan, holds=(f"nodes@{cluster}",) if fan.width == 1 else (), disruption="disrupts") for nodes, fan in rows for node in nodes), ())
        )
    return tuple(found)


def _check(name: str) -> Check:
    return staged_check(Check(name, name, (), judge, hint="look"))


def _do(step: str, index: int, *, once: bool = False) -> Command:
    return Command(("world", "do", step, str(index)), once=once)


@dataclass
class World:
    """Nodes, facts, and what was ever done to them. Invariants are checked at each deed, not at the end."""

    phases: tuple[Phase, ...]
    chance: Random
    trouble: float = 0.15  # of an action to fail, to be lost, to hang
    done: dict[str, set[int]] = field(default_factory=dict)
    rests: dict[str, float] = field(default_factory=dict)  # step -> when its goal shows, by the clock: threads share it, and one may be slow
    clock: FakeClock = field(default_factory=FakeClock)
    down: dict[str, str] = field(default_factory=dict)  # node -> the step that took it down
    confirmed: set[str] = field(default_factory=set)  # identity checks that were MET in this run
    foreign: set[str] = field(default_factory=set)  # identity checks of machines that are somebody else's
    effects: Counter[tuple[str, int]] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.steps = {step.id: step for phase in self.phases for step in phase.steps}
        self.goals = {step.goal.id: step.id for step in self.steps.values()}
        self.last = {name: max((i for i, a in enumerate(step.actions) if isinstance(a, Command)), default=-1) for name, step in self.steps.items()}

    def ask(self, check: str) -> str:
        """MET, UNMET, UNKNOWN or FOREIGN."""
        with self.lock:
            if check in self.foreign:
                return "FOREIGN"
            if self.chance.random() < self.trouble / 5:
                return "UNKNOWN"
            step = self.goals.get(check)
            if step is None:
                self.confirmed.add(check)
                return "MET"
            if self.last[step] >= 0 and self.last[step] not in self.done.get(step, ()):
                return "UNMET"
            if self.rests.get(step, 0.0) > self.clock.monotonic():
                return "UNMET"
            node = self.steps[step].node
            if node is not None and self.down.get(node) == step:
                del self.down[node]
            return "MET"

    def do(self, step: str, index: int) -> Outcome:
        """One action: checked against the rules first, then done, lost, or done and reported as failed."""
        with self.lock:
            row = self.steps[step]
            self._check(row, index)
            once = isinstance(row.actions[index], Command) and row.actions[index].once  # type: ignore[union-attr]
            way = "ok" if once or self.chance.random() >= self.trouble else self.chance.choice(["fail", "fail-done", "slow", "permanent"])
            if row.node is not None and row.disruption in TAKES_DOWN:
                self.down[row.node] = step
            if way in ("ok", "fail-done"):
                self.done.setdefault(step, set()).add(index)
                self.effects[step, index] += 1
                self.rests[step] = self.clock.monotonic() + self.chance.uniform(0.0, RESTS)
            return Outcome(way == "ok", 0 if way == "ok" else 1, way, permanent=way == "permanent", timed_out=way == "slow")

    def _check(self, step: Step, index: int) -> None:
        action = step.actions[index]
        if isinstance(action, Command) and action.once and self.effects[step.id, index]:
            self.violations.append(f"{step.id} action {index} was done twice")
        if step.id.endswith("etcd-bootstrap"):
            cluster = step.phase.partition("@")[2]
            others = [name for (name, _), count in self.effects.items() if count and name.endswith("etcd-bootstrap") and name.partition("/")[0].partition("@")[2] == cluster]
            if others:
                self.violations.append(f"etcd of {cluster} was bootstrapped again by {step.id}")
        if step.disruption == "installs":
            waits = [a.check.id for a in step.actions[:index] if isinstance(a, Await)]
            if not any(one in self.confirmed for one in waits):
                self.violations.append(f"{step.id}: the disk's identity was not confirmed in this run")
            if any(one in self.foreign for one in waits):
                self.violations.append(f"{step.id}: the machine is somebody else's")
        if step.disruption in TAKES_DOWN and step.fan is not None:
            group = {one.node for one in self.steps.values() if one.fan is not None and one.fan.group == step.fan.group}
            down = {node for node in self.down if node in group} | {step.node}
            if len(down) > step.fan.width:
                self.violations.append(f"{step.id}: {sorted(str(node) for node in down)} would be down at once, {step.fan.width} may be")


class Reader:
    """Answers from the world."""

    def __init__(self, world: World, process: Process) -> None:
        self.world, self.process = world, process

    def ask(self, query: Query) -> Answer:
        """One question."""
        self.process.alive()
        assert isinstance(query, ToolQuery)
        return Answer(body=self.world.ask(query.argv[2]))

    def watch(self, check: Check, stop: Callable[[], bool], seconds: float) -> bool:
        """No watch serves here."""
        return False


class Writer:
    """Acts on the world; a kill may come before and after the effect."""

    def __init__(self, world: World, process: Process) -> None:
        self.world, self.process = world, process

    def do(self, action: Action, place: Place, stopped: Callable[[], bool], spawned: Callable[[int], None]) -> Outcome:
        """One action."""
        assert isinstance(action, Command)
        self.process.boundary()
        if action.argv[1] == "undo":
            with self.world.lock:
                self.world.done.pop(action.argv[2], None)
            return Outcome(True, 0)
        outcome = self.world.do(action.argv[2], int(action.argv[3]))
        self.process.boundary()
        return outcome


class Journal(MemoryJournal):
    """The port, in memory, without copies: a case writes hundreds of records. A kill may come before and after each."""

    def append(self, kind: str, *, run: str | None = None, phase: str | None = None, step: str | None = None, node: str | None = None, attempt: int | None = None, data: Mapping[str, Any] | None = None, durable: bool = True) -> Mapping[str, Any]:
        """One record."""
        self.process.boundary()
        with self._lock:
            self.process.alive()
            number = len(self.kept) + 1
            record = {"seq": number, "at": AT, "run": run, "kind": kind, "phase": phase, "step": step, "node": node, "attempt": attempt, "data": data or {}, "prev": str(number - 1), "hash": str(number)}
            self.kept.append(record)
        self.process.boundary()
        return record


class InOrder:
    """Asks one question after the other: which of them comes first is the world's chance, not the scheduler's."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __enter__(self) -> InOrder:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    map = staticmethod(map)


@dataclass
class Case:
    """A world over several lives of the engine, with one journal."""

    world: World
    kept: list[dict[str, Any]] = field(default_factory=list)
    runs: int = 0

    def up(self, choice: Choice | None = None, *, boundaries: int | None = None, stop: Stop | None = None) -> Report | None:
        """One life. None when it was killed; raises what is refused before anything started."""
        process = Process(boundaries)
        self.runs += 1
        self.world.confirmed.clear()
        ports = Ports(reader=Reader(self.world, process), writer=Writer(self.world, process), clock=self.world.clock, journal=Journal(self.kept, process, self.world.clock), events=MemoryEvents(), fence=Fence(), children=_NoChildren())
        subject = Subject(site="s", site_digest="d", phases=self.world.phases, poll=MINUTE / 12)
        try:
            return up(subject, choice or Choice(), ports=ports, options=UpOptions(run=f"r{self.runs}"), stop=stop or Stop())
        except Killed:
            return None


class _NoChildren(Children):
    """Nothing outlives a run here."""

    def __init__(self) -> None:
        super().__init__(_NoOrphans())  # type: ignore[arg-type]  # only `orphans` is read


class _NoOrphans:
    orphans: Mapping[str, Any] = {}


__all__ = ["Case", "NotOursError", "World", "compiled_phases", "random_site", "staged", "upgrade_phases"]
