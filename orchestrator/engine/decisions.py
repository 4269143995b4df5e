"""A person's decisions as journal records: approvals, resolved outcomes; and the selection of the run that stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.engine.graph import Graph, matching_steps
from orchestrator.engine.render import step_digest
from orchestrator.engine.status import View, fold
from orchestrator.engine.terms import Choice
from orchestrator.model.action import Approval
from orchestrator.model.errors import UsageError
from orchestrator.model.phase import Step
from orchestrator.model.ports import Journal


def approve(graph: Graph, journal: Journal, name: str, *, reason: str, by: str) -> Mapping[str, Any]:
    """Journal the approval of one step, as its inputs are now."""
    step = _one(graph, name, "approve", reason)
    questions = [action.question for action in step.actions if isinstance(action, Approval)]
    if not questions:
        asking = sorted(s.id for s in graph.steps.values() if any(isinstance(action, Approval) for action in s.actions))
        raise UsageError(f"{step.id} asks for no approval", hint=f"these do: {', '.join(asking) or 'none'}")
    data = {"reason": reason, "by": by, "question": questions[0], "digest": step_digest(step)}
    return journal.append("decision.approved", phase=step.phase, step=step.id, data=data)


def resolve(graph: Graph, journal: Journal, name: str, *, done: bool, reason: str, by: str) -> Mapping[str, Any]:
    """Journal how a person found the outcome of one step."""
    step = _one(graph, name, "resolve", reason)
    seen = fold(journal.records()).step(step.id)
    if not (seen.open or seen.spent):
        raise UsageError(f"nothing about {step.id} is unknown: the journal says {seen.state}", hint="bootstrap status")
    data = {"as": "done" if done else "not-done", "reason": reason, "by": by}
    return journal.append("decision.resolved", phase=step.phase, step=step.id, data=data)


def _one(graph: Graph, name: str, verb: str, reason: str) -> Step:
    if not reason.strip():
        raise UsageError(f"{verb} wants a reason", hint=f"bootstrap {verb} STEP --reason TEXT")
    found = matching_steps(graph, name)
    if len(found) > 1:
        raise UsageError(f"{name} stands for {len(found)} steps: decide about one", hint=", ".join(found))
    return graph.steps[found[0]]


def last_choice(view: View) -> Choice:
    """The selection of the last run. Raises UsageError when there was none."""
    run = view.runs.get(view.run) if view.run else None
    if run is None:
        raise UsageError("there is no run to resume", hint="bootstrap up")
    return Choice.from_json(run.choice)
