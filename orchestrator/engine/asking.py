"""Asking: one check now, many checks at once, and one check until it is met. The only waiter of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from orchestrator.engine.render import Facts, key_of
from orchestrator.engine.terms import Count, Stopped
from orchestrator.model.check import Check, verdict
from orchestrator.model.data import dataclass
from orchestrator.model.ports import Clock, Reader
from orchestrator.model.query import Answer, Query
from orchestrator.model.verdict import State, Verdict

Emit = Callable[..., None]
LONGEST_WATCH = 5.0  # seconds of one watch: a person's wish to stop is seen between two


def observe(check: Check, reader: Reader) -> Verdict:
    """What the check finds now."""
    return verdict(check, tuple(reader.ask(query) for query in check.ask))


def ask_all(
    checks: Mapping[str, Check], reader: Reader, parallel: int, more: Iterable[Query] = ()
) -> tuple[dict[str, Verdict], Facts]:
    """Verdicts under the checks' keys, and all answers. The same query is asked once; `parallel` at a time."""
    queries: dict[str, Query] = {key_of(query): query for check in checks.values() for query in check.ask}
    queries.update({key_of(query): query for query in more})
    with ThreadPoolExecutor(max(1, min(parallel, len(queries)))) as pool:
        answers = dict(zip(queries, pool.map(reader.ask, queries.values()), strict=True))
    found = {name: verdict(check, tuple(answers[key_of(query)] for query in check.ask)) for name, check in checks.items()}
    return found, Facts(answers)


def ask_facts(queries: Iterable[Query], reader: Reader) -> Facts:
    """The answers to a few questions."""
    answers: Mapping[str, Answer] = {key_of(query): reader.ask(query) for query in queries}
    return Facts(answers)


@dataclass(frozen=True, slots=True)
class Found:
    """How a wait ended: the last verdict, how often and since when it was asked, and whether a person stopped the wait."""

    verdict: Verdict
    asked: int
    since: datetime
    seconds: float
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Waiter:
    """Holds a check until it is met, its deadline is over or a person stops it.

    It watches where the reader's watch serves and polls else; `emit(kind, data=...)` gets each change of the observation at
    once, and the same observation again every `heartbeat` seconds. `scale` stretches every deadline.
    """

    reader: Reader
    clock: Clock
    poll: float
    scale: float
    heartbeat: float
    asked: Count

    def until(
        self, check: Check, emit: Emit, stop: Stopped, *, within: timedelta, settled: frozenset[State] = frozenset({State.MET}), kind: str = "gate"
    ) -> Found:
        """Ask until the verdict is one of `settled` (`check.in_a_row` times where that is MET) or a permanent UNMET.

        UNKNOWN is waited out until the deadline. The check is asked at least once, and the last time not before the deadline: a process
        that was paused after a question must not take an old answer for the last one.
        """
        begun, since = self.clock.monotonic(), self.clock.now()
        limit = within.total_seconds() * self.scale
        asked = row = 0
        said: tuple[State, str] | None = None
        said_at = begun
        while True:
            left = limit - (self.clock.monotonic() - begun)
            found = observe(check, self.reader)
            asked += 1
            self.asked.add()
            now = self.clock.monotonic()
            row = row + 1 if found.state is State.MET else 0
            if (found.state, found.reason) != said or now - said_at >= self.heartbeat:
                said, said_at = (found.state, found.reason), now
                emit("check.asked", data=_observation(check, found, asked, since, left, kind))
            if self._over(check, found, row, settled, left) or stop():
                return Found(found, asked, since, now - begun, stopped=stop() and found.state not in settled)
            self._pause(check, stop, left, streak=row > 0)

    def _over(self, check: Check, found: Verdict, row: int, settled: frozenset[State], left: float) -> bool:
        if found.state is State.MET:
            return State.MET in settled and row >= check.in_a_row
        return found.state in settled or (found.state is State.UNMET and (found.permanent or found.foreign)) or left <= 0

    def _pause(self, check: Check, stop: Stopped, left: float, *, streak: bool) -> None:
        """Until something may have changed, the next poll is due or the deadline is there. A streak of MET that began in
        time may end past the deadline."""
        begun = self.clock.monotonic()
        longest = max(self.poll, min(LONGEST_WATCH, self.heartbeat))
        if check.in_a_row == 1 and self.reader.watch(check, stop, max(0.0, min(longest, left))):
            self.clock.wait(self.poll / 10, stop)  # an object that never rests must not make a busy loop
            return
        rest = (self.poll if streak else min(self.poll, left)) - (self.clock.monotonic() - begun)
        if rest > 0:
            self.clock.wait(rest, stop)


def _observation(check: Check, found: Verdict, asked: int, since: datetime, left: float, kind: str) -> dict[str, object]:
    return {
        "check": check.id,
        "title": check.title,
        "as": kind,
        "verdict": str(found.state),
        "reason": found.reason,
        "asked": asked,
        "since": rfc3339(since),
        "left": round(max(0.0, left), 3),
    }


def rfc3339(at: datetime) -> str:
    """UTC with milliseconds: 2026-03-02T07:00:00.000Z."""
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
