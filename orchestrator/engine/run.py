"""One run: phase instances side by side, each behind its needs; in each, steps in order, then its gates.

When one instance fails the others go on to their own end; what needs it does not start. Before a phase: the gates of the phases
that it needs, the identity of its target, its preconditions.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby

from orchestrator.engine.asking import Waiter, ask_all, observe, rfc3339
from orchestrator.engine.converge import Context, converge, undo
from orchestrator.engine.graph import Graph, Selection, compile_graph, select
from orchestrator.engine.holds import Holds
from orchestrator.engine.plan import Plan
from orchestrator.engine.planning import ask_goals, make_plan, refuse_moved_facts, refuse_needs, refuse_stale
from orchestrator.engine.recorder import Recorder
from orchestrator.engine.status import View, fold
from orchestrator.engine.terms import Card, Choice, Count, Ports, Report, Stop, Subject, UpOptions
from orchestrator.model.check import Check
from orchestrator.model.errors import (
    BootstrapError,
    GateTimeout,
    Interrupted,
    NotOursError,
    PreconditionError,
    StepError,
    UsageError,
    WaitingForPerson,
)
from orchestrator.model.phase import Phase, Step
from orchestrator.model.verdict import State, Verdict

BATCH = 8  # goals asked at once while the first one that is left to do is looked for
DOWN = ("disrupts", "destroys")  # classes of steps that take a node down
TICK = 0.5  # seconds between two looks at the person's wish to stop and at the heartbeat
UNKNOWN_WITHIN = timedelta(seconds=30)  # that a precondition or a gate may take to be answered at all


def up(subject: Subject, choice: Choice, *, ports: Ports, options: UpOptions, stop: Stop) -> Report:
    """Run the choice, or the saved plan. See `api.up`."""
    graph = compile_graph(subject.phases)
    records = ports.journal.records()
    view = fold(records)
    if options.plan is not None:
        choice = _plans_choice(options.plan, choice)
        refuse_stale(options.plan, subject, records)
    selection = select(graph, choice)
    refuse_needs(graph, selection, view, ports.reader, options.parallel)
    if options.plan is not None and not any(run.plan == options.plan.id for run in view.runs.values()):
        now = make_plan(subject, choice, reader=ports.reader, records=records, clock=ports.clock, parallel=options.parallel)
        refuse_moved_facts(options.plan, now, view)
    return _Run(subject, graph, selection, ports, options, stop, view).run()


def _plans_choice(plan: Plan, choice: Choice) -> Choice:
    if choice != Choice():
        raise UsageError("a saved plan has its own selection", hint="bootstrap up PLAN, without --phase and the like")
    return plan.choice


@dataclass(slots=True)
class _Ends:
    """How the instances ended, in the order in which they did."""

    done: list[str] = field(default_factory=list)
    errors: list[tuple[str, BaseException]] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    acted: list[str] = field(default_factory=list)


class _Run:
    """The scheduler. One thread an instance, one more a step of a fan; this one only starts them and listens."""

    def __init__(self, subject: Subject, graph: Graph, selection: Selection, ports: Ports, options: UpOptions, stop: Stop, view: View) -> None:
        self.graph, self.selection, self.options = graph, selection, options
        recorder = Recorder(options.run, ports.journal, ports.events, view)
        poll, beat = subject.poll.total_seconds(), options.heartbeat.total_seconds()
        self.waiter = Waiter(ports.reader, ports.clock, poll, subject.scale, beat, Count())
        self.context = Context(
            subject=subject,
            ports=ports,
            options=options,
            stop=stop,
            recorder=recorder,
            waiter=self.waiter,
            holds=Holds(_left_in_the_middle(selection, view), self._behind),
            ceiling=options.plan.steps() if options.plan else None,
        )
        self.recorder = recorder
        self.ends = _Ends()
        self._finished: queue.Queue[str] = queue.Queue()

    def run(self) -> Report:
        """All instances to their ends -> the report."""
        clock = self.context.ports.clock
        begun = clock.monotonic()
        self._begin()
        self._schedule()
        report = self._report(clock.monotonic() - begun)
        self._end(report)
        return report

    def _begin(self) -> None:
        plan = self.options.plan
        data = {
            "command": self.options.command,
            "choice": self.selection.choice.to_json(),
            "plan": plan.id if plan else None,
            "site": self.context.subject.site,
            "site_digest": self.context.subject.site_digest,
            "tools": dict(sorted(self.context.subject.tools.items())),
        }
        self.recorder.note("run.started", data=data)
        for name in sorted(self.selection.skipped):
            phase = name.partition("/")[0]
            skip = {"name": name, "reason": self.selection.choice.reason}
            self.recorder.note("decision.skipped", phase=phase, step=name if "/" in name else None, data=skip, durable=False)

    def _schedule(self) -> None:
        waiting, running = list(self.selection.phases), set[str]()
        clock, beat = self.context.ports.clock, self.options.heartbeat.total_seconds()
        beaten, said_stop = clock.monotonic(), False
        while waiting or running:
            for name in self._ready(waiting, running):
                waiting.remove(name)
                running.add(name)
                threading.Thread(target=self._instance, args=(self.graph.phases[name],), name=name, daemon=True).start()
            self._let_go(waiting)
            if not running:
                break
            try:
                running.discard(self._finished.get(timeout=TICK))
            except queue.Empty:
                if clock.monotonic() - beaten >= beat:
                    beaten = clock.monotonic()
                    self.recorder.say("run.heartbeat", data={"active": dict(self.context.active), "running": sorted(running)})
            if self.context.stop.soft() and not said_stop:
                said_stop = True
                self.recorder.say("run.stopping", data={"safe_points": {step: f"after: {what}" for step, what in dict(self.context.active).items()}})
        for name in waiting:
            self.ends.blocked[name] = next((need for need in self.graph.phases[name].needs if need in self.selection.steps), "the run's end")

    def _ready(self, waiting: Sequence[str], running: set[str]) -> list[str]:
        """Instances that may start now: everything that they need and that was selected is done."""
        if self.context.soft():
            return []
        done = set(self.ends.done)
        return [n for n in waiting if all(need in done or need not in self.selection.steps for need in self.graph.phases[n].needs)]

    def _behind(self, first: str, other: str) -> bool:
        """Whether a step must wait for another: the other's phase is needed by its own, or is its own."""
        mine, theirs = (self.graph.steps[name].phase for name in (first, other))
        return mine == theirs or theirs in self.graph.needs_of(mine)

    def _let_go(self, waiting: Sequence[str]) -> None:
        """Nobody waits for the holds of steps whose phase cannot start any more in this run."""
        lost = {name for name, _ in self.ends.errors}
        for name in waiting:
            if lost & self.graph.needs_of(name):
                for step in self.selection.steps[name]:
                    self.context.holds.forget(step.id)

    def _instance(self, phase: Phase) -> None:
        try:
            _Instance(self.context, self.graph, self.selection, phase, self.ends.acted).run()
            self.ends.done.append(phase.id)
        except BaseException as error:  # every end of a thread is told to the scheduler, a bug's too
            self.ends.errors.append((phase.id, error))
            if not isinstance(error, BootstrapError) or error.exit_code in (8, 11):
                self.context.halt.request()  # nothing can be written down any more, or nobody knows what happened
        finally:
            for step in self.selection.steps[phase.id]:
                self.context.holds.forget(step.id)
            self._finished.put(phase.id)

    def _report(self, seconds: float) -> Report:
        bug = next((error for _, error in self.ends.errors if not isinstance(error, BootstrapError)), None)
        if bug is not None:
            raise bug
        errors = [(name, error) for name, error in self.ends.errors if isinstance(error, BootstrapError)]
        cards = tuple(self._card(name, error) for name, error in errors if not isinstance(error, Interrupted))
        return Report(
            run=self.options.run,
            exit_code=self._exit_code([error for _, error in errors]),
            failures=cards,
            errors=tuple(error for _, error in errors),
            done=tuple(self.ends.done),
            blocked=self.ends.blocked,
            acted=tuple(self.ends.acted),
            actions=self.context.actions.value,
            asked=self.waiter.asked.value,
            seconds=seconds,
        )

    def _exit_code(self, errors: Sequence[BootstrapError]) -> int:
        """The lock's loss and an unusable state folder first, then a person's stop, then failures, then approvals."""
        lost = next((error.exit_code for error in errors if error.exit_code in (8, 11)), None)
        if lost is not None:
            return lost
        if self.context.stop.soft() and (self.ends.blocked or any(isinstance(error, Interrupted) for error in errors)):
            return self.context.stop.exit_code
        failed = [error.exit_code for error in errors if not isinstance(error, WaitingForPerson | Interrupted)]
        waiting = [error.exit_code for error in errors if isinstance(error, WaitingForPerson)]
        return next(iter((*failed, *waiting)), 0)

    def _card(self, phase: str, error: BootstrapError) -> Card:
        if error.card is not None:
            return card_from(error.card)
        now = rfc3339(self.context.ports.clock.now())
        follow = (error.hint,) if error.hint else ()
        return Card(phase, None, None, "to go on", str(error), now, 0, (), follow, f"runs/{self.options.run}", error.exit_code, type(error).__name__)

    def _end(self, report: Report) -> None:
        kinds = {0: "run.done", 7: "run.waiting", self.context.stop.exit_code: "run.stopped"}
        if report.exit_code in (8, 11):
            return  # the journal is not ours any more, or cannot be written
        data = report.to_json()
        self.recorder.note(kinds.get(report.exit_code, "run.failed"), data=data)


def _left_in_the_middle(selection: Selection, view: View) -> dict[str, tuple[str, ...]]:
    """Selected steps with an intent and no outcome, and the holds that nobody may take before them."""
    steps = (step for step in selection.all_steps() if step.holds)
    return {step.id: step.holds for step in steps if view.step(step.id).open and view.step(step.id).unsettled()}


def card_from(data: Mapping[str, object]) -> Card:
    """The card that an error carries."""
    values = {**data, "causes": tuple(_texts(data["causes"])), "next": tuple(_texts(data["next"]))}
    return Card(**values)  # type: ignore[arg-type]  # the values are those of Card.to_json


def _texts(value: object) -> Iterator[str]:
    assert isinstance(value, Iterable)  # Card.to_json writes lists
    return (str(one) for one in value)


class _Instance:
    """One phase instance, in its own thread."""

    def __init__(self, context: Context, graph: Graph, selection: Selection, phase: Phase, acted: list[str]) -> None:
        self.context, self.graph, self.selection, self.phase = context, graph, selection, phase
        self.steps = selection.steps[phase.id]
        self.whole = phase.id in selection.whole
        self.acted = acted
        self.started = False
        self.met: set[str] = set()

    def run(self) -> None:
        """To the phase's end. Raises what stopped it, journaled."""
        try:
            self._run()
        except Interrupted:
            self._ended("phase.stopped", {})
            raise
        except WaitingForPerson as error:
            self._ended("phase.waiting", {"card": error.card})
            raise
        except BootstrapError as error:
            if error.exit_code not in (8, 11):
                self._start()
                self._ended("phase.failed", {"card": error.card, "error": type(error).__name__})
            raise

    def _run(self) -> None:
        known = self._met_prefix()
        if len(known) < len(self.steps):
            self._start()
            self._before()
        self._steps(known)
        if not self.whole:
            self._ended("phase.stopped", {"reason": "only some of its steps were selected"})
            return
        if not self.context.view.done(self.phase.id):
            self._start()
        self._gates(self.phase, self.phase.gates)
        if self.started:
            self._ended("phase.done", {"acted": len(self.met)})
        else:
            self._say("phase.done", {"acted": 0})

    def _met_prefix(self) -> dict[str, Verdict]:
        """The leading steps that are done already, asked in batches until one is not."""
        known: dict[str, Verdict] = {}
        view, reader = self.context.view, self.context.ports.reader
        for start in range(0, len(self.steps), BATCH):
            verdicts, _ = ask_goals(self.steps[start : start + BATCH], view, reader, BATCH)
            self.context.waiter.asked.add(len(verdicts))
            for name, verdict in verdicts.items():
                if not verdict.met or view.step(name).unsettled():
                    return known
                known[name] = verdict
        return known

    # Before

    def _before(self) -> None:
        """Needs proven again, the target's identity, the preconditions: all before the first mutation of the phase."""
        for need in self.phase.needs:
            if need not in self.selection.skipped:
                self._gates(self.graph.phases[need], self.graph.phases[need].gates, again=True)
        self._once(self.phase.identity, NotOursError)
        self._once(self.phase.preconditions, PreconditionError)

    def _once(self, checks: Sequence[Check], kind: type[PreconditionError]) -> None:
        found, _ = ask_all({check.id: check for check in checks}, self.context.ports.reader, BATCH) if checks else ({}, None)
        for check in checks:
            verdict = found[check.id]
            if verdict.met and check.in_a_row == 1:
                self._say("check.met", {"check": check.id, "title": check.title, "reason": verdict.reason})
                continue
            within = max(check.within, UNKNOWN_WITHIN) if verdict.state is State.UNKNOWN else check.within
            self._hold(check, within, kind, self.phase.id)

    def _hold(self, check: Check, within: timedelta, kind: type[BootstrapError], phase: str) -> Verdict:
        """Wait for one check. Raises `kind` with its card when it is not met in time."""

        def emit(event: str, data: Mapping[str, object]) -> None:
            self._say("gate.waiting" if event == "check.asked" and data["verdict"] != State.MET else event, data)

        self.context.active[f"{phase} {check.id}"] = f"waits for {check.title}"
        try:
            found = self.context.waiter.until(check, emit, self.context.soft, within=within)
        finally:
            self.context.active.pop(f"{phase} {check.id}", None)
        if found.verdict.met and not found.stopped:
            return found.verdict
        if found.stopped:
            raise Interrupted(f"stopped while waiting for {check.title}", hint="bootstrap up")
        error = NotOursError if found.verdict.foreign else kind
        follow = (*([check.hint] if check.hint else []), "bootstrap up")
        card = Card(
            phase,
            None,
            check.id,
            check.title,
            found.verdict.reason or str(found.verdict.state),
            rfc3339(found.since),
            found.asked,
            check.causes,
            follow,
            f"runs/{self.context.recorder.run}",
            error.exit_code,
            error.__name__,
        )
        raise error(f"{phase}: {check.title}: {card.found}", hint=check.hint, card=card.to_json())

    # Steps

    def _steps(self, known: Mapping[str, Verdict]) -> None:
        for _, row in groupby(self.steps, key=lambda step: step.fan.group if step.fan else step.id):
            steps = list(row)
            try:
                if steps[0].fan is None:
                    self._step(steps[0], known.get(steps[0].id))
                else:
                    self._fan(steps, known)
            except (StepError, GateTimeout) as error:
                self._compensate(error)
                raise

    def _step(self, step: Step, known: Verdict | None) -> None:
        if self.context.soft():
            raise Interrupted(f"stopped before {step.id}", hint="bootstrap up")
        self._log(step, converge(self.context, step, known))

    def _log(self, step: Step, acted: bool) -> None:
        if acted:
            self.met.add(step.id)
            self.acted.append(step.id)

    def _fan(self, steps: Sequence[Step], known: Mapping[str, Verdict]) -> None:
        """Steps side by side, never more than the fan is wide. Those that an earlier run began or failed come first: what they
        took down counts. After a failure none is begun any more."""
        view = self.context.view
        begun = [step for step in steps if _touched(view, step)]
        left = iter([*begun, *(step for step in steps if not _touched(view, step))])
        width = min(step.fan.width for step in steps if step.fan)
        if any(step.id not in known for step in steps):
            width -= self._down_elsewhere(steps, width)
        errors: list[BaseException] = []
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    step = None if errors else next(left, None)
                if step is None:
                    return
                try:
                    self._step(step, known.get(step.id))
                except BaseException as error:  # handed to the instance's thread, which raises it
                    with lock:
                        errors.append(error)

        _side_by_side(work, min(width, len(steps)))
        if errors:
            raise next((one for one in errors if not isinstance(one, Interrupted)), errors[0])

    def _down_elsewhere(self, steps: Sequence[Step], width: int) -> int:
        """How many of the fan's nodes an earlier run took down and this one leaves out. Raises PreconditionError when there are
        as many as may be down at once."""
        here, group = {step.id for step in steps}, steps[0].fan.group if steps[0].fan else None
        left_out = [
            step
            for step in self.phase.steps
            if step.fan and step.fan.group == group and step.id not in here and step.disruption in DOWN and _touched(self.context.view, step)
        ]
        down = [step for step in left_out if not observe(step.goal, self.context.ports.reader).met]
        if len(down) >= width:
            raise PreconditionError(
                f"{steps[0].id} would take one more node down: {down[0].id} was begun and is not done",
                hint=f"bootstrap up --step {down[0].id}",
            )
        return len(down)

    def _compensate(self, error: BootstrapError) -> None:
        """Undo what was done for the step that failed, the last first; only what was done since the phase was last proven."""
        failed = (error.card or {}).get("step")
        proven = self.context.view.phase(self.phase.id).done_seq
        for step in reversed(self.steps):
            seen = self.context.view.step(step.id)
            if failed in step.compensate_on and step.undo and seen.state == "done" and seen.acted and seen.done_seq > proven:
                undo(self.context, step, str(failed))

    # Gates

    def _gates(self, phase: Phase, gates: Sequence[Check], *, again: bool = False) -> None:
        """Hold until all gates are met. `again`: of a phase that was proven before."""
        if not gates:
            return
        found, _ = ask_all({gate.id: gate for gate in gates}, self.context.ports.reader, BATCH)
        self.context.waiter.asked.add(len(gates))
        for gate in gates:
            verdict = found[gate.id]
            if not verdict.met or gate.in_a_row > 1:
                try:
                    within = max(gate.within, UNKNOWN_WITHIN) if verdict.state is State.UNKNOWN else gate.within
                    verdict = self._hold(gate, within, GateTimeout, phase.id)
                except BootstrapError as error:
                    if not isinstance(error, Interrupted):
                        self._note("gate.failed", {"check": gate.id, "card": error.card}, phase.id)
                    raise
            data = {"check": gate.id, "title": gate.title, "reason": verdict.reason, "again": again}
            if again or not self.started:
                self._say("gate.met", data)
            else:
                self._note("gate.met", data, phase.id)

    # Words

    def _start(self) -> None:
        if not self.started:
            self.started = True
            phase = self.phase
            self._note("phase.started", {"title": phase.title, "week": phase.week, "days": phase.days, "whole": self.whole}, phase.id)

    def _ended(self, kind: str, data: Mapping[str, object]) -> None:
        if self.started:
            self.context.recorder.note(kind, phase=self.phase.id, data=data)

    def _note(self, kind: str, data: Mapping[str, object], phase: str) -> None:
        self.context.recorder.note(kind, phase=phase, data=data, durable=False)

    def _say(self, kind: str, data: Mapping[str, object]) -> None:
        self.context.recorder.say(kind, phase=self.phase.id, data=data)


def _touched(view: View, step: Step) -> bool:
    """Whether an earlier run may have left the step's node down: begun and not ended well."""
    return view.step(step.id).state in ("running", "acting", "unknown", "failed", "undoing")


def _side_by_side(work: Callable[[], None], width: int) -> None:
    threads = [threading.Thread(target=work, daemon=True) for _ in range(width - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
