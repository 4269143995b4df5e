"""Making a plan, with readers alone, and refusing one that is stale. Nothing here can change anything: no writer is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.engine.asking import ask_all, rfc3339
from orchestrator.engine.graph import Graph, Selection, compile_graph, refuse_unmet_needs, select
from orchestrator.engine.plan import Plan, PlanPhase, PlanStep
from orchestrator.engine.render import (
    Facts,
    check_row,
    digest,
    facts_wanted,
    key_of,
    phases_digest,
    render,
    step_digest,
)
from orchestrator.engine.status import View, fold
from orchestrator.engine.terms import Choice, Subject
from orchestrator.model.action import Approval
from orchestrator.model.errors import NeedsError, PlanStale
from orchestrator.model.phase import Phase, Step
from orchestrator.model.ports import Clock, Reader
from orchestrator.model.query import GitRead
from orchestrator.model.verdict import State, Verdict, met, unmet

Records = Sequence[Mapping[str, Any]]
NEW_PLAN = "make a new one: bootstrap plan --out FILE"


def make_plan(subject: Subject, choice: Choice, *, reader: Reader, records: Records, clock: Clock, parallel: int) -> Plan:
    """What `up` would do now with this choice."""
    graph = compile_graph(subject.phases)
    selection = select(graph, choice)
    view = fold(records)
    refuse_needs(graph, selection, view, reader, parallel)
    steps = selection.all_steps()
    verdicts, facts = ask_goals(steps, view, reader, parallel)
    left = [step for step in steps if verdicts[step.id].state is not State.MET]
    wanted = {key_of(query): query for step in left for action in step.actions for query in facts_wanted(action)}
    finished = [name for name in selection.phases if not any(verdicts[step.id].state is not State.MET for step in selection.steps[name])]
    gates = {f"{name} {gate.id}": gate for name in finished if name in selection.whole for gate in graph.phases[name].gates}
    gate_verdicts, more = ask_all(gates, reader, parallel, [query for key, query in wanted.items() if key not in facts.answers])
    facts = Facts({**facts.answers, **more.answers})
    phases = _phases(graph, selection, verdicts, gate_verdicts, facts)
    return Plan(
        site=subject.site,
        site_digest=subject.site_digest,
        phases_digest=phases_digest(subject.phases),
        tools=dict(sorted(subject.tools.items())),
        journal_head={"count": view.count, "hash": view.head},
        made_at=rfc3339(clock.now()),
        choice=choice,
        phases=phases,
        summary=_summary(phases),
    )


def refuse_needs(graph: Graph, selection: Selection, view: View, reader: Reader, parallel: int) -> None:
    """Raises NeedsError when a selected phase, or the first selected step of one, comes too early."""

    def stands(steps: Iterable[Step]) -> Step | None:
        """The first of these steps whose goal is not met, if any."""
        steps = tuple(steps)
        verdicts, _ = ask_goals(steps, view, reader, parallel)
        return next((step for step in steps if verdicts[step.id].state is not State.MET), None)

    refuse_unmet_needs(graph, selection, lambda name: view.done(name) or stands(graph.phases[name].steps) is None)
    for name in selection.phases:
        if name in selection.whole or not selection.steps[name]:
            continue
        ids = [step.id for step in graph.phases[name].steps]
        before = ids[: ids.index(selection.steps[name][0].id)]
        early = stands(graph.steps[one] for one in before if one not in selection.skipped)
        if early is not None:
            raise NeedsError(
                f"{selection.steps[name][0].id} comes after {early.id}, which is not done; run {early.id} first",
                hint=f"bootstrap up --step {early.id}",
            )


def ask_goals(steps: Iterable[Step], view: View, reader: Reader, parallel: int) -> tuple[dict[str, Verdict], Facts]:
    """What these steps' goals say now, by step id; decisions are looked up in the journal."""
    steps = tuple(steps)
    found, facts = ask_all({step.id: step.goal for step in steps if not is_decision(step)}, reader, parallel)
    return {step.id: decision(step, view) if is_decision(step) else found[step.id] for step in steps}, facts


def is_decision(step: Step) -> bool:
    """Whether the step is nothing but a person's decision: nothing on the platform shows it, the journal does."""
    return not step.goal.ask and bool(step.actions) and all(isinstance(action, Approval) for action in step.actions)


def decision(step: Step, view: View) -> Verdict:
    """MET when the step, as it is now, was approved."""
    return met("approved") if approved(step, view) else unmet("not approved yet")


def approved(step: Step, view: View) -> bool:
    """Whether a person approved the step as it is now. An approval of other inputs does not count."""
    approval = view.approvals.get(step.id)
    return approval is not None and approval["digest"] == step_digest(step)


def _phases(
    graph: Graph, selection: Selection, verdicts: Mapping[str, Verdict], gate_verdicts: Mapping[str, Verdict], facts: Facts
) -> tuple[PlanPhase, ...]:
    last_pending: dict[str, str] = {}  # phase -> its last step (or itself, for its gates) that has something left to do
    rows = []
    for name in selection.phases:
        phase = graph.phases[name]
        behind = graph.needs_of(name)
        pending = next((last_pending[one] for one in reversed(selection.phases) if one in behind and one in last_pending), None)
        steps = []
        for step in selection.steps[name]:
            row = _step(step, verdicts[step.id], pending, facts)
            steps.append(row)
            if row.verdict != State.MET:
                pending = last_pending[name] = step.id
        gates = tuple(_gate(gate_verdicts.get(f"{name} {gate.id}"), check_row(gate)) for gate in phase.gates)
        state = _state(steps, gates if name in selection.whole else ())
        if state != "done":
            last_pending.setdefault(name, name)
        rows.append(_row(phase, state, name in selection.whole, tuple(steps), gates))
    return tuple(rows)


def _row(phase: Phase, state: str, whole: bool, steps: tuple[PlanStep, ...], gates: tuple[Mapping[str, Any], ...]) -> PlanPhase:
    return PlanPhase(phase.id, phase.title, phase.week, phase.days, phase.needs, phase.adr, state, whole, steps, gates)


def _gate(found: Verdict | None, row: dict[str, Any]) -> dict[str, Any]:
    return row | {"verdict": None if found is None else str(found.state), "reason": "" if found is None else found.reason}


def _state(steps: Sequence[PlanStep], gates: Sequence[Mapping[str, Any]]) -> str:
    """done: all steps and gates are met; unknown: nothing is known to be left, but something could not be asked."""
    left = [step for step in steps if step.verdict != State.MET]
    verdicts = {gate["verdict"] for gate in gates}
    if not left and verdicts <= {"MET"}:
        return "done"
    open_ones = all(step.verdict == State.UNKNOWN and step.known_after is None for step in left)
    return "unknown" if open_ones and "UNMET" not in verdicts else "pending"


def _step(step: Step, found: Verdict, pending: str | None, facts: Facts) -> PlanStep:
    actions = () if found.state is State.MET else tuple(render(action, facts) for action in step.actions)
    unknown = found.state is State.UNKNOWN
    return PlanStep(
        id=step.id,
        title=step.title,
        days=step.days,
        node=step.node,
        goal=step.goal.title,
        verdict=str(found.state),
        reason=found.reason,
        known_after=pending if unknown else None,
        permanent=found.permanent,
        foreign=found.foreign,
        holds=step.holds,
        fan=step.fan.group if step.fan else None,
        disruption=step.disruption,
        reversible=step.reversible,
        notes=step.notes,
        hint=step.goal.hint,
        fact=None if unknown or is_decision(step) else _fact(step, found, actions, facts),
        actions=actions,
    )


def _fact(step: Step, found: Verdict, actions: Sequence[Mapping[str, Any]], facts: Facts) -> str:
    """What the step's line rests on: the verdict, what would be done, and where the repository stood if it was looked at."""
    queries = [*step.goal.ask, *(query for action in step.actions for query in facts_wanted(action))]
    bodies = [facts.get(query) for query in queries if isinstance(query, GitRead)]
    heads = [answer.body.get("head") for answer in bodies if answer is not None and answer.body]
    return digest([str(found.state), [dict(action) for action in actions], heads])


def _summary(phases: Sequence[PlanPhase]) -> dict[str, Any]:
    steps = [step for phase in phases for step in phase.steps]
    left = [step for step in steps if step.verdict != State.MET]
    kinds: dict[str, int] = {}
    for step in left:
        for action in step.actions:
            kinds[action["kind"]] = kinds.get(action["kind"], 0) + 1
    return {
        "phases": len(phases),
        "phases_done": sum(1 for phase in phases if phase.state == "done"),
        "steps": len(steps),
        "met": len(steps) - len(left),
        "unmet": sum(1 for step in left if step.verdict == State.UNMET),
        "unknown": sum(1 for step in left if step.verdict == State.UNKNOWN),
        "known_after": sum(1 for step in left if step.known_after is not None),
        "actions": dict(sorted(kinds.items())),
        **{kind: [step.id for step in left if step.disruption == kind] for kind in ("installs", "disrupts", "destroys")},
        "irreversible": [step.id for step in left if step.reversible == "no"],
        "approvals": [step.id for step in left if any(action["kind"] == "approval" for action in step.actions)],
        "foreign": [step.id for step in left if step.foreign],
    }


def refuse_stale(plan: Plan, subject: Subject, records: Records) -> None:
    """Raises PlanStale that names what moved: site, phases, tools or journal."""
    if plan.site != subject.site:
        raise PlanStale(f"the plan is for site {plan.site}, this is {subject.site}", hint=NEW_PLAN)
    if plan.site_digest != subject.site_digest:
        raise PlanStale("the site was changed since the plan was made", hint=NEW_PLAN)
    if plan.phases_digest != phases_digest(subject.phases):
        raise PlanStale("the phases of this program are not those of the plan", hint=NEW_PLAN)
    for tool in sorted({*plan.tools, *subject.tools}):
        then, now = plan.tools.get(tool, "not found"), subject.tools.get(tool, "not found")
        if then != now:
            raise PlanStale(f"{tool} was {then} when the plan was made, and is {now} now", hint=NEW_PLAN)
    _refuse_moved_journal(plan, records)


def _refuse_moved_journal(plan: Plan, records: Records) -> None:
    """Records of runs of this plan and decisions on its steps do not count as movement."""
    count, head = plan.journal_head["count"], plan.journal_head["hash"]
    if count > len(records) or (count and records[count - 1]["hash"] != head):
        raise PlanStale("the journal is not the one that the plan was made with", hint=NEW_PLAN)
    steps, runs = plan.steps(), set()
    for record in records[count:]:
        kind = record["kind"]
        if kind == "run.started" and record["data"].get("plan") == plan.id:
            runs.add(record["run"])
        ours = record["run"] in runs or kind.startswith(("journal.", "lock.")) or (kind.startswith("decision.") and record["step"] in steps)
        if not ours:
            raise PlanStale(f"the journal moved since the plan was made: {kind} at {record['at']}", hint=NEW_PLAN)


def refuse_moved_facts(plan: Plan, now: Plan, view: View) -> None:
    """Raises PlanStale that names the first step whose facts moved. Once this plan began to act, its own deeds move facts,
    and the ceiling alone (`render.within_plan`) decides."""
    if any(run.plan == plan.id for run in view.runs.values()):
        return
    today = now.steps()
    for name, then in plan.steps().items():
        step = today.get(name)
        if step is None or then.fact is None or step.fact is None or then.fact == step.fact:
            continue
        change = f"was {then.verdict}, is {step.verdict}" if then.verdict != step.verdict else "would do something else now"
        raise PlanStale(f"the facts moved since the plan was made: {name} {change} ({step.reason or 'no reason given'})", hint=NEW_PLAN)
