"""Waiting for a check: what counts as the last answer."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.engine.asking import Waiter
from orchestrator.engine.terms import Count
from orchestrator.model.check import Check
from orchestrator.model.query import Answer, Query, ToolQuery
from orchestrator.model.verdict import State, Verdict, met, unmet
from tests.unit.engine_world import FakeClock


def judge(answers: tuple[Answer, ...]) -> Verdict:
    return met() if answers[0].body else unmet("not yet")


class Paused:
    """Its effect shows after 20 s; after the first answer the process stands still for 100 s, as after SIGSTOP."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.asked = clock, 0

    def ask(self, query: Query) -> Answer:
        self.asked += 1
        answer = Answer(body=self.clock.monotonic() >= 20.0)
        if self.asked == 1:
            self.clock.wait(100.0, lambda: False)
        return answer

    def watch(self, check: Check, stop: object, seconds: float) -> bool:
        return False


def waited(reader: Paused) -> tuple[State, int]:
    waiter = Waiter(reader, reader.clock, poll=5.0, scale=1.0, heartbeat=30.0, asked=Count())
    check = Check("c", "c", (ToolQuery(("x",)),), judge, hint="look")
    found = waiter.until(check, lambda kind, data: None, lambda: False, within=timedelta(seconds=60))
    return found.verdict.state, found.asked


def test_an_answer_from_before_a_pause_is_not_the_last_one() -> None:
    assert waited(Paused(FakeClock())) == (State.MET, 2)


def test_a_check_that_is_never_met_ends_with_its_deadline() -> None:
    class Never(Paused):
        def ask(self, query: Query) -> Answer:
            self.asked += 1
            return Answer(body=False)

    assert waited(Never(FakeClock())) == (State.UNMET, 13)
