"""The engine as the command line uses it. Readers, writers, journal and clock are handed in; nothing here does I/O itself.

plan      readers only -> Plan (to_json, from_json); pending(plan) tells whether anything is left to do
up        runs a choice, or a saved plan as its ceiling -> Report; raises what is refused before anything started
status    a fold of the journal's records -> Standing
verify    gates of finished phases and drift -> Verification
equality  how much of a run's deeds was exactly as a plan had shown
approve, resolve   a person's decisions, as journal records
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.engine import decisions, planning, run, status, verification
from orchestrator.engine.equality import Equality, equality
from orchestrator.engine.graph import Graph, Selection, compile_graph, select
from orchestrator.engine.plan import Plan
from orchestrator.engine.status import Standing, View
from orchestrator.engine.terms import Choice, Ports, Report, Stop, Subject, UpOptions
from orchestrator.engine.verification import Verification
from orchestrator.model.ports import Clock, Journal, Reader

__all__ = [
    "Choice",
    "Equality",
    "Graph",
    "Plan",
    "Ports",
    "Report",
    "Selection",
    "Standing",
    "Stop",
    "Subject",
    "UpOptions",
    "Verification",
    "View",
    "approve",
    "equality",
    "graph",
    "last_choice",
    "plan",
    "resolve",
    "selection",
    "status_of",
    "up",
    "verify",
]

Records = Sequence[Mapping[str, Any]]


def graph(subject: Subject) -> Graph:
    """The phases' graph, compiled once. Raises BootstrapError (a bug in phases/): unknown need, cycle, duplicate id."""
    return compile_graph(subject.phases)


def selection(subject: Subject, choice: Choice) -> Selection:
    """What a choice selects. Raises UsageError naming the nearest name."""
    return select(graph(subject), choice)


def plan(subject: Subject, choice: Choice, *, reader: Reader, records: Records, clock: Clock, parallel: int = 16) -> Plan:
    """What `up` with this choice would do now. Asks readers only. `plan.pending` is True when anything is left to do.

    `records` are the journal's, or () where there is none. Raises UsageError, NeedsError.
    """
    return planning.make_plan(subject, choice, reader=reader, records=records, clock=clock, parallel=parallel)


def up(subject: Subject, choice: Choice, *, ports: Ports, options: UpOptions, stop: Stop) -> Report:
    """Run the choice to its end, a failure, a person's turn or a stop. The lock is held by the caller.

    Raises before anything was changed: UsageError, NeedsError, PlanStale. All later failures are in the report, as cards.
    With `options.plan` the choice is the plan's own (`options.plan.choice`), and `choice` must be empty.
    """
    return run.up(subject, choice, ports=ports, options=options, stop=stop)


def status_of(subject: Subject | None, records: Records, now: datetime) -> Standing:
    """Where everything stands, from the journal alone. Without a subject only what the journal itself names."""
    return status.standing(None if subject is None else compile_graph(subject.phases), status.fold(records), now)


def verify(subject: Subject, choice: Choice, *, reader: Reader, records: Records, clock: Clock, parallel: int = 16) -> Verification:
    """Ask gates and goals of the finished phases again, with readers only. `.drifted` -> exit 2."""
    return verification.verify(subject, choice, reader=reader, records=records, clock=clock, parallel=parallel)


def approve(subject: Subject, journal: Journal, step: str, *, reason: str, by: str) -> Mapping[str, Any]:
    """Journal a person's approval of a step. Raises UsageError: unknown step, one that asks for none, no reason."""
    return decisions.approve(compile_graph(subject.phases), journal, step, reason=reason, by=by)


def resolve(subject: Subject, journal: Journal, step: str, *, done: bool, reason: str, by: str) -> Mapping[str, Any]:
    """Journal how an unknown outcome was found by a person. Raises UsageError: unknown step, nothing to resolve, no reason."""
    return decisions.resolve(compile_graph(subject.phases), journal, step, done=done, reason=reason, by=by)


def last_choice(records: Records) -> Choice:
    """The choice of the last run, for `resume`. Raises UsageError when there was none."""
    return decisions.last_choice(status.fold(records))
