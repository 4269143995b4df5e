"""Verify: gates and goals of finished phases asked again, with readers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.engine.asking import ask_all, rfc3339
from orchestrator.engine.graph import compile_graph, select
from orchestrator.engine.planning import ask_goals
from orchestrator.engine.status import fold
from orchestrator.engine.terms import Choice, Subject
from orchestrator.model.data import dataclass
from orchestrator.model.ports import Clock, Reader
from orchestrator.model.verdict import Verdict

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: one row for each gate and goal of the phases that were proven before."""

    at: str
    phases: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def drifted(self) -> tuple[Row, ...]:
        """Gates and goals that do not stand any more, or could not be asked."""
        return tuple(row for row in self.rows if row["verdict"] != "MET")

    def to_json(self) -> dict[str, Any]:
        """The verification in its fixed order of keys."""
        return {
            "schema": 1,
            "at": self.at,
            "phases": list(self.phases),
            "drifted": len(self.drifted),
            "rows": [dict(row) for row in self.rows],
        }


def verify(
    subject: Subject, choice: Choice, *, reader: Reader, records: Sequence[Mapping[str, Any]], clock: Clock, parallel: int
) -> Verification:
    """Ask everything that finished phases rest on. A phase that the journal does not call done is left out; where the journal
    knows no phase at all (it was lost), every phase with all its goals met counts as finished."""
    graph = compile_graph(subject.phases)
    selection = select(graph, choice)
    view = fold(records)
    verdicts, _ = ask_goals(selection.all_steps(), view, reader, parallel)

    def finished(name: str) -> bool:
        return view.done(name) if view.phases else all(verdicts[step.id].met for step in selection.steps[name])

    phases = tuple(name for name in selection.phases if finished(name))
    gates = {f"{name} {gate.id}": gate for name in phases for gate in graph.phases[name].gates}
    found, _ = ask_all(gates, reader, parallel)
    rows: list[Row] = []
    for name in phases:
        rows += [_row(name, "goal", step.id, step.goal.title, step.goal.hint, verdicts[step.id]) for step in selection.steps[name]]
        rows += [_row(name, "gate", g.id, g.title, g.hint, found[f"{name} {g.id}"]) for g in graph.phases[name].gates]
    return Verification(rfc3339(clock.now()), phases, tuple(rows))


def _row(phase: str, kind: str, name: str, title: str, hint: str, verdict: Verdict) -> Row:
    return {
        "phase": phase,
        "kind": kind,
        "id": name,
        "title": title,
        "verdict": str(verdict.state),
        "reason": verdict.reason,
        "hint": hint,
        "foreign": verdict.foreign,
    }
