"""Where everything stands: a pure fold of the journal's records.

`View` is what the engine itself knows of earlier runs, and grows with each record; `standing` is what an operator reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from orchestrator.engine.graph import Graph
from orchestrator.engine.transitions import PHASES, RUNS, STEPS, PhaseState, RunState, StepState, after
from orchestrator.model import garbage
from orchestrator.model.errors import StateError
from orchestrator.model.ports import Child

Record = Mapping[str, Any]
_OF_STEPS = frozenset(event for _, event in STEPS)
_OF_PHASES = frozenset(event for _, event in PHASES) | {"gate.met", "gate.failed"}
_OF_RUNS = frozenset(event for _, event in RUNS)


@dataclass(slots=True)
class ActionView:
    """One action of a step's attempt: its intent, its child while it may live, its outcome once it is known."""

    digest: str
    at: str
    once: bool
    within: float
    run: str
    attempt: int
    undo: bool = False
    child: Child | None = None
    outcome: Mapping[str, Any] | None = None

    @property
    def settled(self) -> bool:
        """Whether an outcome is known; one that was cut short by a person is not."""
        return self.outcome is not None and not self.outcome.get("stopped", False)

    @property
    def ok(self) -> bool:
        """Whether it is known to have ended well."""
        return self.settled and self.outcome is not None and bool(self.outcome.get("ok"))


@dataclass(slots=True)
class StepView:
    """A step as the journal tells. `actions` are those of the last attempt."""

    state: str = StepState.PENDING.value
    attempt: int = 0
    run: str = ""
    digest: str = ""
    started_at: str | None = None
    ended_at: str | None = None
    acted: bool = False
    done_seq: int = 0
    question: str | None = None
    card: Mapping[str, Any] | None = None
    reason: str = ""
    actions: dict[int, ActionView] = field(default_factory=dict)
    spent: dict[str, str] = field(default_factory=dict)  # digests of once-only actions that ended well -> when

    @property
    def open(self) -> bool:
        """Whether an attempt began and did not end: its actions may have been carried out in part."""
        return self.state in (StepState.RUNNING, StepState.ACTING, StepState.WAITING, StepState.UNKNOWN)

    def unsettled(self) -> dict[int, ActionView]:
        """Actions with an intent and no outcome."""
        return {index: action for index, action in self.actions.items() if not action.settled and not action.undo}


@dataclass(slots=True)
class PhaseView:
    """A phase instance as the journal tells."""

    state: str = PhaseState.PENDING.value
    run: str = ""
    started_at: str | None = None
    ended_at: str | None = None
    done_seq: int = 0
    gates: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    card: Mapping[str, Any] | None = None


@dataclass(slots=True)
class RunView:
    """One run. `plan` is the id of the saved plan that was its ceiling."""

    run: str
    state: str = RunState.NONE.value
    command: str = ""
    choice: Mapping[str, Any] = field(default_factory=dict)
    plan: str | None = None
    started_at: str = ""
    ended_at: str | None = None
    exit_code: int | None = None


@dataclass(slots=True)
class View:
    """All that the journal tells, folded. Grows by `apply`, one record after the other."""

    count: int = 0
    head: str = ""
    runs: dict[str, RunView] = field(default_factory=dict)
    phases: dict[str, PhaseView] = field(default_factory=dict)
    steps: dict[str, StepView] = field(default_factory=dict)
    approvals: dict[str, Record] = field(default_factory=dict)
    resolves: dict[str, Record] = field(default_factory=dict)
    skips: dict[str, Record] = field(default_factory=dict)
    failure: Mapping[str, Any] | None = None
    run: str | None = None  # the last one

    def apply(self, record: Record) -> None:
        """Take one more record in. Raises StateError for one that cannot follow what was there, or does not hold what its kind holds."""
        self.count = record["seq"]
        self.head = record["hash"]
        try:
            self._take(record["kind"], record)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            hint = "bootstrap history --verify; see the operator's guide, a journal that is refused"
            raise StateError(f"record {self.count} of the journal does not hold what a {record['kind']} holds ({type(error).__name__})", hint=hint) from error

    def _take(self, kind: str, record: Record) -> None:
        if kind in _OF_STEPS:
            self._step(kind, record)
        elif kind in _OF_PHASES:
            self._phase(kind, record)
        elif kind in _OF_RUNS:
            self._run(kind, record)
        elif kind.startswith("decision."):
            self._decision(kind, record)

    def step(self, name: str) -> StepView:
        """The step's view; a new one where the journal does not know it."""
        return self.steps.get(name) or StepView()

    def phase(self, name: str) -> PhaseView:
        """The phase's view; a new one where the journal does not know it."""
        return self.phases.get(name) or PhaseView()

    def done(self, phase: str) -> bool:
        """Whether the journal says that the phase was proven, and nothing of it was begun again since."""
        return self.phase(phase).state == PhaseState.DONE

    def _step(self, kind: str, record: Record) -> None:
        step = self.steps.get(record["step"])
        if step is None:
            step = self.steps[record["step"]] = StepView()
        data = record["data"]
        step.state = after(STEPS, step.state, kind)
        if kind == "action.started":
            step.actions[data["index"]] = ActionView(
                data["digest"], record["at"], data.get("once", False), data.get("within", 0.0), record["run"], record["attempt"], data.get("undo", False)
            )
        elif kind == "action.spawned":
            step.actions[data["index"]].child = Child(data["pid"], data["started"], data["host"])
        elif kind in ("action.ended", "action.settled"):
            action = step.actions[data["index"]]
            action.outcome = data
            if action.once and action.ok:
                step.spent[action.digest] = record["at"]
        elif kind == "step.started":
            if not data.get("resumed"):
                step.actions = {}
                step.started_at = record["at"]
            step.attempt, step.run, step.ended_at, step.question, step.card = record["attempt"], record["run"], None, None, None
            step.digest = data.get("digest", "")
        else:
            self._step_ended(kind, step, record)

    def _step_ended(self, kind: str, step: StepView, record: Record) -> None:
        data = record["data"]
        step.ended_at = record["at"]
        if kind == "step.done":
            step.acted, step.reason, step.digest = data.get("acted", False), data.get("reason", ""), data.get("digest", step.digest)
            step.done_seq = record["seq"]
            self.resolves.pop(record["step"], None)
        elif kind == "step.waiting":
            step.question = data.get("question")
        elif kind in ("step.failed", "step.unknown", "undo.failed"):
            step.card = self.failure = data.get("card")
            if kind == "step.unknown":
                self.resolves.pop(record["step"], None)  # a decision settles one unknown outcome, not the next

    def _phase(self, kind: str, record: Record) -> None:
        phase = self.phases.get(record["phase"])
        if phase is None:
            phase = self.phases[record["phase"]] = PhaseView()
        data = record["data"]
        if kind.startswith("gate."):
            phase.gates[data["check"]] = {"state": kind, "at": record["at"], **data}
            return
        phase.state = after(PHASES, phase.state, kind)
        if kind == "phase.started":
            phase.run, phase.started_at, phase.ended_at, phase.card = record["run"], record["at"], None, None
            return
        phase.ended_at = record["at"]
        if kind == "phase.done":
            phase.done_seq = record["seq"]
        elif kind == "phase.failed":
            phase.card = data.get("card")
            self.failure = phase.card or self.failure

    def _run(self, kind: str, record: Record) -> None:
        name: str = record["run"]
        data = record["data"]
        if kind == "run.started":
            before = self.runs.get(self.run) if self.run else None
            if before is not None and before.state == RunState.RUNNING:
                before.state = after(RUNS, before.state, "run.lost")
            self.runs[name] = run = RunView(name)
            run.command, run.choice, run.plan = data.get("command", ""), data.get("choice", {}), data.get("plan")
            run.started_at = record["at"]
            self.run = name
        else:
            run = self.runs[name]
            run.ended_at, run.exit_code = record["at"], data.get("exit_code")
            if kind == "run.done":
                self.failure = None
        run.state = after(RUNS, run.state, kind)

    def _decision(self, kind: str, record: Record) -> None:
        data = record["data"]
        if kind == "decision.approved":
            self.approvals[record["step"]] = {"at": record["at"], **data}
        elif kind == "decision.resolved":
            self.resolves[record["step"]] = {"at": record["at"], **data}
            if data["as"] == "not-done" and record["step"] in self.steps:
                self.steps[record["step"]].spent.clear()
        elif kind == "decision.skipped":
            self.skips[data["name"]] = {"at": record["at"], **data}


def fold(records: Iterable[Record]) -> View:
    """Where everything stands after these records, oldest first."""
    view = View()
    with garbage.later():
        for record in records:
            view.apply(record)
    return view


@dataclass(frozen=True, slots=True)
class Standing:
    """What `status` shows. `phases` are in the order of the plan; those that the journal does not know are pending."""

    phases: tuple[Mapping[str, Any], ...]
    run: Mapping[str, Any] | None
    failure: Mapping[str, Any] | None
    waiting: tuple[Mapping[str, Any], ...]
    approvals: Mapping[str, Record]
    resolves: Mapping[str, Record]
    skips: Mapping[str, Record]
    summary: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The standing in its fixed order of keys."""
        return {
            "schema": 1,
            "summary": dict(self.summary),
            "run": None if self.run is None else dict(self.run),
            "failure": None if self.failure is None else dict(self.failure),
            "waiting": [dict(one) for one in self.waiting],
            "approvals": {name: dict(one) for name, one in self.approvals.items()},
            "resolves": {name: dict(one) for name, one in self.resolves.items()},
            "skips": {name: dict(one) for name, one in self.skips.items()},
            "phases": [dict(one) for one in self.phases],
        }


def standing(graph: Graph | None, view: View, now: datetime) -> Standing:
    """The operator's reading of a view; with a graph also of what was never begun."""
    phases = tuple(_phase_row(name, graph, view) for name in (graph.order if graph else tuple(view.phases)))
    counts = {state.value: sum(1 for row in phases if row["state"] == state) for state in PhaseState}
    steps = [row for phase in phases for row in phase["steps"]]
    summary = {
        "phases": len(phases),
        "phases_done": counts["done"],
        "steps": len(steps),
        "steps_done": sum(1 for row in steps if row["state"] == StepState.DONE),
        "records": view.count,
        "weeks": sorted({row["week"] for row in phases if row["week"] is not None}),
    }
    return Standing(phases, _run_row(view, now), view.failure, _waiting(view), view.approvals, view.resolves, view.skips, summary)


def lost(found: Standing, last: datetime) -> Standing:
    """The standing when nobody carries its last run on any more: its process ended without a word, `last` heard of at that time."""
    assert found.run is not None  # there was one
    begun = datetime.fromisoformat(found.run["started_at"])
    run = {**found.run, "state": after(RUNS, found.run["state"], "run.lost"), "seconds": round((last - begun).total_seconds(), 3)}
    return replace(found, run=run)


def _phase_row(name: str, graph: Graph | None, view: View) -> dict[str, Any]:
    phase, seen = (graph.phases[name] if graph else None), view.phase(name)
    prefix = f"{name}/"
    ids = tuple(s.id for s in phase.steps) if phase else tuple(s for s in view.steps if s.startswith(prefix))
    titles = {s.id: s for s in phase.steps} if phase else {}
    return {
        "id": name,
        "title": phase.title if phase else name,
        "week": phase.week if phase else None,
        "days": phase.days if phase else None,
        "needs": list(phase.needs) if phase else [],
        "state": str(seen.state),
        "since": seen.ended_at or seen.started_at,
        "steps": [
            {
                "id": one,
                "title": titles[one].title if one in titles else one,
                "days": titles[one].days if one in titles else None,
                "state": str(view.step(one).state),
                "attempt": view.step(one).attempt,
                "since": view.step(one).ended_at or view.step(one).started_at,
                "reason": view.step(one).reason,
            }
            for one in ids
        ],
        "gates": [
            {"id": gate.id, "title": gate.title, "state": seen.gates.get(gate.id, {}).get("state", "pending")}
            for gate in (phase.gates if phase else ())
        ],
    }


def _run_row(view: View, now: datetime) -> dict[str, Any] | None:
    run = view.runs.get(view.run) if view.run else None
    if run is None:
        return None
    begun = datetime.fromisoformat(run.started_at)
    ended = datetime.fromisoformat(run.ended_at) if run.ended_at else now
    return {
        "id": run.run,
        "state": str(run.state),
        "command": run.command,
        "choice": dict(run.choice),
        "plan": run.plan,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "exit_code": run.exit_code,
        "seconds": round(max(timedelta(0), ended - begun).total_seconds(), 3),
    }


def _waiting(view: View) -> tuple[Mapping[str, Any], ...]:
    """Steps that wait for a person, and what the person runs next."""
    rows: list[Mapping[str, Any]] = []
    for name, step in view.steps.items():
        if step.state == StepState.WAITING:
            rows.append({"step": name, "what": step.question or "", "next": f"bootstrap approve {name} --reason TEXT"})
        elif step.state == StepState.UNKNOWN and name not in view.resolves:
            rows.append({"step": name, "what": "outcome unknown", "next": f"bootstrap resolve {name} --as done|not-done --reason TEXT"})
    return tuple(rows)
