"""One pure table moves runs, phases and steps: (state, event) -> state. The events are the journal's kinds.

A pair that is not in the table cannot happen: the fold of a journal that holds one refuses it, so the table, the
engine and the diagram in the docs cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from orchestrator.model.errors import StateError


class RunState(StrEnum):
    """Where a run stands. `lost`: its process ended without a word (power cut, kill -9)."""

    NONE = "none"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    WAITING = "waiting"
    STOPPED = "stopped"
    LOST = "lost"


class PhaseState(StrEnum):
    """Where a phase instance stands, as the journal tells."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    WAITING = "waiting"
    STOPPED = "stopped"
    SKIPPED = "skipped"


class StepState(StrEnum):
    """Where a step stands, as the journal tells. In `acting` an intent has no outcome yet."""

    PENDING = "pending"
    RUNNING = "running"
    ACTING = "acting"
    WAITING = "waiting"
    UNKNOWN = "unknown"
    DONE = "done"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"
    SKIPPED = "skipped"


Table = Mapping[tuple[str, str], str]


def _table(rows: Iterable[tuple[Iterable[str], str, str]]) -> Table:
    """Plain strings: an enum's hash is slow, and a journal's fold looks here for each record."""
    return {(str(state), event): str(then) for states, event, then in rows for state in states}


_R, _P, _S = RunState, PhaseState, StepState

RUNS: Table = _table(
    (
        ((_R.NONE,), "run.started", _R.RUNNING),
        ((_R.RUNNING,), "run.done", _R.DONE),
        ((_R.RUNNING,), "run.failed", _R.FAILED),
        ((_R.RUNNING,), "run.waiting", _R.WAITING),
        ((_R.RUNNING,), "run.stopped", _R.STOPPED),
        ((_R.RUNNING,), "run.lost", _R.LOST),
    )
)
PHASES: Table = _table(
    (
        (tuple(_P), "phase.started", _P.RUNNING),
        ((_P.RUNNING,), "phase.done", _P.DONE),
        ((_P.RUNNING,), "phase.failed", _P.FAILED),
        ((_P.RUNNING,), "phase.waiting", _P.WAITING),
        ((_P.RUNNING,), "phase.stopped", _P.STOPPED),
        (tuple(_P), "phase.skipped", _P.SKIPPED),
    )
)
STEPS: Table = _table(
    (
        (tuple(_S), "step.started", _S.RUNNING),
        ((_S.RUNNING,), "action.started", _S.ACTING),
        ((_S.ACTING,), "action.spawned", _S.ACTING),
        ((_S.ACTING,), "action.ended", _S.RUNNING),
        ((_S.RUNNING,), "action.settled", _S.RUNNING),
        (tuple(_S), "step.done", _S.DONE),
        ((_S.RUNNING, _S.ACTING), "step.failed", _S.FAILED),
        ((_S.RUNNING,), "step.waiting", _S.WAITING),
        ((_S.RUNNING,), "step.unknown", _S.UNKNOWN),
        ((_S.DONE,), "undo.started", _S.UNDOING),
        ((_S.UNDOING,), "action.started", _S.UNDOING),
        ((_S.UNDOING,), "action.spawned", _S.UNDOING),
        ((_S.UNDOING,), "action.ended", _S.UNDOING),
        ((_S.UNDOING,), "undo.failed", _S.FAILED),
        ((_S.UNDOING,), "step.undone", _S.UNDONE),
        (tuple(_S), "step.skipped", _S.SKIPPED),
    )
)
TABLES: Mapping[str, Table] = {"Run": RUNS, "Phase": PHASES, "Step": STEPS}
EVENTS = frozenset(event for table in TABLES.values() for _, event in table)


def after(table: Table, state: str, event: str) -> str:
    """The state after `event`. Raises StateError for a pair that cannot happen."""
    try:
        return table[state, event]
    except KeyError:
        raise StateError(
            f"the journal says {event} of something that is {state}, which cannot be",
            hint="bootstrap history --verify; see the operator's guide, a journal that is refused",
        ) from None


def mermaid() -> str:
    """The tables as Mermaid state diagrams, one each for runs, phases and steps."""
    return "\n\n".join(_diagram(name, table) for name, table in TABLES.items()) + "\n"


def _diagram(name: str, table: Table) -> str:
    everywhere = _from_all(table)
    lines = [f"```mermaid\n---\ntitle: {name}\n---\nstateDiagram-v2"]
    lines += [f"    [*] --> {next(iter(table))[0]}"]
    lines += [f"    any --> {then}: {event}" for event, then in everywhere.items()]
    lines += [f"    {state} --> {then}: {event}" for (state, event), then in table.items() if event not in everywhere]
    return "\n".join([*lines, "```"])


def _from_all(table: Table) -> dict[str, str]:
    """Events that are taken in every state -> the state that they lead to."""
    states = {state for state, _ in table} | set(table.values())
    events = {event: then for (_, event), then in table.items()}
    return {event: then for event, then in events.items() if all((state, event) in table for state in states)}
