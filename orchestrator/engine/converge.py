"""One step: ask its goal, act when it is unmet, wait for it, and write down each of these before and after.

What an earlier run left in the middle is settled first: living children are awaited, then the goal is asked. Exit codes of
tools are hints; the goal decides. Nothing is done twice on a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from typing import Any

from orchestrator.engine.asking import Found, Waiter, ask_facts, rfc3339
from orchestrator.engine.holds import Holds
from orchestrator.engine.plan import PlanStep
from orchestrator.engine.planning import NEW_PLAN, approved, is_decision
from orchestrator.engine.recorder import Recorder
from orchestrator.engine.render import digest, facts_wanted, label, render, step_digest, within_plan
from orchestrator.engine.status import ActionView, StepView, View
from orchestrator.engine.terms import Card, Count, Ports, Stop, Subject, UpOptions
from orchestrator.model.action import Action, Approval, Await, Command, DeleteSelected
from orchestrator.model.check import Check
from orchestrator.model.data import dataclass
from orchestrator.model.errors import (
    BootstrapError,
    GateTimeout,
    Interrupted,
    NotOursError,
    OutcomeUnknown,
    PlanStale,
    StepError,
    ToolError,
    WaitingForPerson,
)
from orchestrator.model.phase import Step
from orchestrator.model.ports import Child, Outcome, Place
from orchestrator.model.verdict import State, Verdict

EVERY = frozenset(State)
KNOWN = frozenset({State.MET, State.UNMET})
SHORT_POLLS = 2  # questions that a failed try gets before the next one


@dataclass(frozen=True, slots=True)
class Context:
    """All that a run's steps share."""

    subject: Subject
    ports: Ports
    options: UpOptions
    stop: Stop
    recorder: Recorder
    waiter: Waiter
    holds: Holds
    ceiling: Mapping[str, PlanStep] | None = None
    halt: Stop = field(default_factory=Stop)  # the run's own wish to stop: nothing more can be written down
    actions: Count = field(default_factory=Count)
    active: dict[str, str] = field(default_factory=dict)  # step -> what it does now

    @property
    def view(self) -> View:
        """What the journal tells, this run's records included."""
        return self.recorder.view

    def soft(self) -> bool:
        """Whether to stop at the next safe point."""
        return self.stop.soft() or self.halt.soft()

    def hard(self) -> bool:
        """Whether children are to be ended now."""
        return self.stop.hard() or self.halt.hard()


def converge(context: Context, step: Step, known: Verdict | None = None) -> bool:
    """Bring one step to its goal. -> whether it acted. `known` is a MET that was seen a moment ago.

    Raises StepError, ToolError, GateTimeout, NotOursError, WaitingForPerson, OutcomeUnknown, PlanStale, Interrupted with their
    cards, journaled; LockHeld and StateError when nothing can be written down any more.
    """
    attempt = _Attempt(context, step)
    context.active[step.id] = "asks whether it is done"
    try:
        if known is not None and known.met and not attempt.before.unsettled():
            return attempt.adopted(known)
        attempt.await_orphans()
        if is_decision(step):
            return attempt.decide()
        found = attempt.first_answer()
        if found.verdict.met:
            return attempt.adopted(found.verdict)
        with context.holds.having(step.id, step.holds, context.soft) as got:
            if not got:
                raise attempt.interrupted(f"before {step.id}")
            return attempt.reach(found if not step.holds else attempt.first_answer())
    except BootstrapError as error:
        attempt.failed(error)
        raise
    finally:
        context.active.pop(step.id, None)


class _Attempt:
    """One attempt at one step. An attempt that was cut short is gone on with under its number."""

    def __init__(self, context: Context, step: Step) -> None:
        self.context, self.step = context, step
        self.before: StepView = context.view.step(step.id)
        self._digest: str | None = None
        self.resumed = self.before.open and self.before.digest == self.digest
        self.number = self.before.attempt if self.resumed else self.before.attempt + 1
        self.started = False
        self.acted = False
        self.left: dict[int, ActionView] = dict(self.before.actions) if self.resumed else {}
        self.unsettled: dict[int, ActionView] = self.before.unsettled() if self.before.open else {}
        self.unfinished = {} if self.before.state == "done" else {i: a for i, a in self.before.actions.items() if not a.settled}

    @property
    def digest(self) -> str:
        """Of what the step rests on; computed once, when first needed."""
        if self._digest is None:
            self._digest = step_digest(self.step)
        return self._digest

    # What an earlier run left

    def await_orphans(self) -> None:
        """Wait for children of an earlier run that still live, and end those that are past their deadline."""
        for index, action in self.unfinished.items():
            for child in self._living(index, action):
                self._await_child(child, action)

    def _living(self, index: int, action: ActionView) -> tuple[Child, ...]:
        place = Place(action.run, self.step.id, action.attempt, index)
        found = {child.pid: child for child in self.context.ports.children.find(place.marker)}
        if action.child is not None and self.context.ports.children.living(action.child):
            found[action.child.pid] = action.child
        return tuple(found.values())

    def _await_child(self, child: Child, action: ActionView) -> None:
        clock, children = self.context.ports.clock, self.context.ports.children
        begun = clock.monotonic()
        limit = action.within * self.context.subject.scale
        self._say("action.orphaned", {"pid": child.pid, "since": action.at, "left": limit})
        self.context.active[self.step.id] = f"waits for process {child.pid} of an earlier run"
        while children.living(child) and clock.monotonic() - begun < limit:
            if clock.wait(min(1.0, self.context.waiter.poll), self.context.soft):
                raise self.interrupted(f"while process {child.pid} of an earlier run goes on")
        if children.living(child):
            children.end(child)

    # Asking

    def first_answer(self) -> Found:
        """The goal's verdict; an UNKNOWN is waited out within the step's own time. Raises when it stays UNKNOWN."""
        found = self._wait(self.step.goal, timedelta(0), EVERY)
        if found.verdict.state is not State.UNKNOWN:
            return found
        if self.step.id in self.context.view.resolves:
            return found
        self.context.active[self.step.id] = f"waits until it can be asked: {self.step.goal.title}"
        found = self._wait(self.step.goal, self.step.settle, KNOWN)
        if found.stopped:
            raise self.interrupted(f"while {self.step.goal.title} could not be asked")
        if found.verdict.state is not State.UNKNOWN:
            return found
        if self.unsettled:
            raise self._outcome_unknown(found)
        raise GateTimeout(f"{self.step.id}: {self.step.goal.title} could not be asked", hint=self.step.goal.hint, card=self._card(self.step.goal, found, GateTimeout))

    def _wait(self, check: Check, within: timedelta, settled: frozenset[State]) -> Found:
        return self.context.waiter.until(check, self._say, self.context.soft, within=within, settled=settled, kind="goal")

    # Ends

    def adopted(self, verdict: Verdict) -> bool:
        """The goal stands without our doing now. Journaled where the journal did not know it."""
        known = self.before.state == "done" and self.before.digest == self.digest
        if not known:
            if self.unsettled:
                self._start(ok=True)
            self._done(verdict.reason)
        else:
            self._say("step.done", {"acted": False, "reason": verdict.reason})
        return self.acted

    def decide(self) -> bool:
        """A step that is nothing but a person's decision."""
        if not approved(self.step, self.context.view):
            self._start()
            raise self._waiting(next(action for action in self.step.actions if isinstance(action, Approval)))
        return self.adopted(Verdict(State.MET, "approved"))

    def _done(self, reason: str) -> None:
        data = {"acted": self.acted or (self.before.acted and self.resumed), "reason": reason, "digest": self.digest}
        self._note("step.done", data, durable=False)

    def reach(self, found: Found) -> bool:
        """From a goal that is not met to one that is."""
        verdict = found.verdict
        resolve = self.context.view.resolves.get(self.step.id)
        if verdict.met:
            return self.adopted(verdict)
        if verdict.state is State.UNKNOWN and resolve is not None and resolve["as"] == "done":
            self._done(f"resolved by {resolve['by']}: {resolve['reason']}")
            return False
        if verdict.foreign:
            raise NotOursError(f"{self.step.id}: {verdict.reason}", hint=self.step.goal.hint, card=self._card(self.step.goal, found, NotOursError))
        if verdict.permanent:
            raise StepError(f"{self.step.id}: {verdict.reason}", hint=self.step.goal.hint, card=self._card(self.step.goal, found, StepError))
        if self._quiet_after_once(resolve is not None):
            return self.adopted(Verdict(State.MET, "settled"))
        self._refuse_unconfirmed()
        if self.context.soft():
            raise self.interrupted(f"before {self.step.id}")
        self._start()
        if not self._act():
            self._await_goal()
        self._done("")
        return self.acted

    def _quiet_after_once(self, resolved: bool) -> bool:
        """Before a once-only action could be started again: give the first one's effect its time to show. -> goal met

        Where other actions follow it, the step's goal cannot tell whether it took effect: a person must.
        """
        cut_short = [index for index, action in self.unsettled.items() if action.once]
        if resolved or not cut_short:
            return False
        self.context.active[self.step.id] = "waits whether an action that was cut short took effect"
        found = self._wait(self.step.goal, max(self.step.settle, self.step.goal.within), frozenset({State.MET}))
        if found.stopped:
            raise self.interrupted(f"while the outcome of {self.step.id} was awaited")
        if found.verdict.state is State.UNKNOWN:
            raise self._outcome_unknown(found)
        if not found.verdict.met and any(not isinstance(action, Await) for action in self.step.actions[cut_short[0] + 1 :]):
            raise self._outcome_unknown(found, "a once-only action was cut short, and the goal cannot tell whether it took effect")
        return found.verdict.met

    def _refuse_unconfirmed(self) -> None:
        if self.step.disruption != "destroys" or self.context.options.confirmed & {self.step.id, self.step.node}:
            return
        name = self.step.node or self.step.id
        raise WaitingForPerson(
            f"{self.step.id} destroys what is ours: it wants its name typed",
            hint=f"bootstrap up --confirm {name}",
            card=self._plain_card(f"{name} to be confirmed by name", "it was not", (f"bootstrap up --confirm {name}",), WaitingForPerson),
        )

    # Acting

    def _start(self, *, ok: bool = False) -> None:
        """Journal that the attempt begins, and how the goal settled (`ok`: as done) what an earlier run left open."""
        if self.started:
            return
        self.started = True
        self._note("step.started", {"digest": self.digest, "resumed": self.resumed, "title": self.step.title}, durable=False)
        if self.resumed:
            for index in self.unsettled:
                self._note("action.settled", {"index": index, "ok": ok, "how": "by its goal"}, durable=False)

    def _act(self) -> bool:
        """Carry out the actions in order. -> whether the goal was seen to be met on the way."""
        for index, action in enumerate(self.step.actions):
            if self.context.soft():
                raise self.interrupted(f"before action {index + 1} of {self.step.id}")
            self.context.active[self.step.id] = label(action)
            if isinstance(action, Await):
                if not (action.once and any(begun > index for begun in self.left)):
                    self._await(action)
            elif isinstance(action, Approval):
                if not approved(self.step, self.context.view):
                    raise self._waiting(action)
            elif self._do(index, action):
                return True
        return False

    def _await(self, action: Await) -> None:
        found = self._wait(action.check, action.check.within, frozenset({State.MET}))
        if found.stopped:
            raise self.interrupted(f"while waiting for {action.check.title}")
        if not found.verdict.met:
            error = NotOursError if found.verdict.foreign else StepError
            raise error(f"{self.step.id}: {found.verdict.reason}", hint=action.check.hint, card=self._card(action.check, found, error))

    def _await_goal(self) -> None:
        goal = self.step.goal
        self.context.active[self.step.id] = f"waits for {goal.title}"
        found = self._wait(goal, goal.within, frozenset({State.MET}))
        if found.verdict.state is State.UNKNOWN and not found.stopped:
            found = self._wait(goal, self.step.settle, KNOWN)
        if found.stopped:
            raise self.interrupted(f"while waiting for {goal.title}")
        if found.verdict.state is State.UNKNOWN:
            raise self._outcome_unknown(found)
        if not found.verdict.met:
            raise StepError(f"{self.step.id}: {found.verdict.reason}", hint=goal.hint, card=self._card(goal, found, StepError))

    def _do(self, index: int, action: Action) -> bool:
        """One action, tried again where its failure may pass. -> whether the goal was seen to be met after a failure."""
        bare = render(action)
        wanted, name = facts_wanted(action), digest(bare)
        rendered = render(action, ask_facts(wanted, self.context.ports.reader)) if wanted else bare
        earlier = self.left.get(index)
        if earlier is not None and earlier.ok and earlier.digest == name and not self._clears_the_way(index):
            return False
        once = isinstance(action, Command) and action.once
        self._refuse_spent(once, name)
        self._refuse_beyond(index, rendered)
        tries = 1 if once else self.context.options.tries
        for number in range(1, tries + 1):
            outcome = self._carry_out(index, action, name, once, rendered, number)
            if outcome.ok:
                return False
            last = number == tries or outcome.permanent
            found = self._after_failure(index, outcome, once, last)
            if found.verdict.met:
                return True
            if last:
                raise self._tool_error(action, outcome, found)
            if self.context.soft():
                raise self.interrupted(f"before another try of {label(action)}")
        return False

    def _clears_the_way(self, index: int) -> bool:
        """Whether a deletion that was made is to be made again: the action behind it did not end well, and what cut that short may have left
        again what was deleted (a killed helm its pending release)."""
        behind = next((i for i, one in enumerate(self.step.actions) if i > index and not isinstance(one, Await | Approval)), None)
        return isinstance(self.step.actions[index], DeleteSelected) and not (behind in self.left and self.left[behind].ok)

    def _refuse_spent(self, once: bool, name: str) -> None:
        """A once-only action that ended well is not done again, whatever its goal says now: a person must look."""
        at = self.context.view.step(self.step.id).spent.get(name) if once else None
        if at is None:
            return
        found = self._wait(self.step.goal, self.step.goal.within, frozenset({State.MET}))
        if found.stopped:
            raise self.interrupted(f"while waiting for {self.step.goal.title}")
        if not found.verdict.met:
            raise self._outcome_unknown(found, f"was done at {at}, must not be done twice, and {found.verdict.reason or 'its goal is not met'}")

    def _refuse_beyond(self, index: int, rendered: Mapping[str, Any]) -> None:
        """A saved plan is a ceiling."""
        if self.context.ceiling is None:
            return
        listed = self.context.ceiling[self.step.id].actions if self.step.id in self.context.ceiling else ()
        if index >= len(listed) or not within_plan(dict(rendered), dict(listed[index])):
            message = f"{self.step.id} would now do what the plan does not list: {rendered['kind']}"
            raise PlanStale(message, hint=NEW_PLAN, card=self._plain_card("nothing beyond the plan", message, (NEW_PLAN,), PlanStale))

    def _carry_out(self, index: int, action: Action, name: str, once: bool, rendered: Mapping[str, Any], number: int, *, undo: bool = False) -> Outcome:
        ports = self.context.ports
        ports.fence.check()
        within = getattr(action, "within", timedelta(0)).total_seconds()
        intent = {"index": index, "try": number, "kind": rendered["kind"], "what": label(action), "digest": name, "once": once, "within": within, "undo": undo}
        self._note("action.started", intent, said={"action": dict(rendered)})
        self.acted = True
        self.context.actions.add()
        ports.fence.check()  # a process that slept between intent and deed may have lost the lock meanwhile

        def spawned(pid: int) -> None:
            child = ports.children.identify(pid)
            self._note("action.spawned", {"index": index, "pid": child.pid, "started": child.started, "host": child.host}, durable=False)

        place = Place(self.context.recorder.run, self.step.id, self.number, index)
        try:
            outcome = ports.writer.do(action, place, self.context.hard, spawned)
        except BootstrapError as error:  # refused before anything was changed
            self._note("action.ended", _outcome(index, number, Outcome(ok=False, text=str(error), permanent=True), False))
            raise
        stopped = self.context.hard() and not outcome.ok
        self._note("action.ended", _outcome(index, number, outcome, stopped))
        if stopped:
            raise self.interrupted(f"in the middle of {label(action)}")
        return outcome

    def _after_failure(self, index: int, outcome: Outcome, once: bool, last: bool) -> Found:
        """What the goal says after a failed action. Where the effect may still come it gets its time. Raises OutcomeUnknown."""
        goal = self.step.goal
        slow = (once or outcome.timed_out) and index == len(self.step.actions) - 1
        polls = timedelta(seconds=SHORT_POLLS * self.context.waiter.poll / self.context.subject.scale)
        found = self._wait(goal, goal.within if slow else timedelta(0) if outcome.permanent else polls, frozenset({State.MET}))
        if found.verdict.state is State.UNKNOWN and not found.stopped:
            found = self._wait(goal, self.step.settle, KNOWN)
        if found.stopped:
            raise self.interrupted(f"while waiting for {goal.title}")
        if found.verdict.state is State.UNKNOWN:
            raise self._outcome_unknown(found)
        return found

    # Undoing

    def undo(self, because: str) -> None:
        """Carry out the step's undo actions, because a later step failed."""
        self._note("undo.started", {"because": because})
        for index, action in enumerate(self.step.undo):
            rendered = render(action)
            outcome = self._carry_out(index, action, digest(rendered), False, rendered, 1, undo=True)
            if not outcome.ok:
                card = self._plain_card(f"{self.step.id} to be undone after {because} failed", outcome.text or f"exit status {outcome.rc}", (), StepError)
                self._note("undo.failed", {"card": card})
                return
        self._note("step.undone", {"because": because})

    # Words

    def failed(self, error: BootstrapError) -> None:
        """Journal how the attempt ended, where the journal can still be written and the attempt had begun."""
        if isinstance(error, Interrupted) or error.exit_code in (8, 11) or isinstance(error, WaitingForPerson):
            return
        if error.card is None:
            error.card = self._plain_card(self.step.goal.title, str(error), tuple(filter(None, (error.hint, "bootstrap up"))), type(error))
        self._start()
        kind = "step.unknown" if isinstance(error, OutcomeUnknown) else "step.failed"
        self._note(kind, {"card": error.card, "error": type(error).__name__})

    def interrupted(self, where: str) -> Interrupted:
        """The error of an attempt that a person stopped at a safe point."""
        return Interrupted(f"stopped {where}", hint="bootstrap up", card=self._plain_card("to go on", f"stopped {where}", ("bootstrap up",), Interrupted))

    def _waiting(self, action: Approval) -> WaitingForPerson:
        command = f"bootstrap approve {self.step.id} --reason TEXT"
        self._note("step.waiting", {"question": action.question})
        return WaitingForPerson(
            f"{self.step.id} waits for a person: {action.question}",
            hint=command,
            card=self._plain_card(action.question, "not approved yet", (command, "bootstrap up"), WaitingForPerson),
        )

    def _outcome_unknown(self, found: Found, why: str = "") -> OutcomeUnknown:
        command = f"bootstrap resolve {self.step.id} --as done|not-done --reason TEXT"
        card = self._card(self.step.goal, found, OutcomeUnknown)
        card["found"] = why or f"outcome unknown: {found.verdict.reason}"
        card["next"] = [*([self.step.goal.hint] if self.step.goal.hint else []), command, "bootstrap up"]
        return OutcomeUnknown(f"{self.step.id}: {card['found']}; a person must decide", hint=command, card=card)

    def _tool_error(self, action: Action, outcome: Outcome, found: Found) -> ToolError:
        card = self._card(self.step.goal, found, ToolError)
        told = outcome.text.strip() or ("ran out of time" if outcome.timed_out else f"exit status {outcome.rc}")
        card["found"] = f"{label(action)}: {told}" + (f"; {found.verdict.reason}" if found.verdict.reason else "")
        if outcome.evidence:
            card["evidence"] = outcome.evidence[0]
        last = told.splitlines()[-1] if told else ""
        return ToolError(f"{self.step.id}: {label(action)} failed: {last}", hint=self.step.goal.hint, card=card)

    def _card(self, check: Check, found: Found, error: type[BootstrapError]) -> dict[str, Any]:
        follow = (*([check.hint] if check.hint else []), "bootstrap up")
        return Card(
            self.step.phase,
            self.step.id,
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
        ).to_json()

    def _plain_card(self, wanted: str, found: str, follow: tuple[str, ...], error: type[BootstrapError]) -> dict[str, Any]:
        now = rfc3339(self.context.ports.clock.now())
        evidence = f"runs/{self.context.recorder.run}"
        return Card(self.step.phase, self.step.id, None, wanted, found, now, 0, (), follow, evidence, error.exit_code, error.__name__).to_json()

    def _note(self, kind: str, data: Mapping[str, Any], *, durable: bool = True, said: Mapping[str, Any] | None = None) -> None:
        step = self.step
        self.context.recorder.note(
            kind, phase=step.phase, step=step.id, node=step.node, attempt=self.number, data=data, durable=durable, said=said
        )

    def _say(self, kind: str, data: Mapping[str, Any]) -> None:
        step = self.step
        self.context.recorder.say(kind, phase=step.phase, step=step.id, node=step.node, attempt=self.number, data=data)


def undo(context: Context, step: Step, because: str) -> None:
    """Compensate a step because a later one failed. What fails here is journaled, not raised: the first failure counts."""
    _Attempt(context, step).undo(because)


def _outcome(index: int, number: int, outcome: Outcome, stopped: bool) -> dict[str, Any]:
    return {
        "index": index,
        "try": number,
        "ok": outcome.ok,
        "rc": outcome.rc,
        "seconds": round(outcome.seconds, 3),
        "timed_out": outcome.timed_out,
        "permanent": outcome.permanent,
        "stopped": stopped,
        "text": outcome.text,
        "evidence": list(outcome.evidence),
    }
