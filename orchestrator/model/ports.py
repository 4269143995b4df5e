"""The ports that the engine is handed: how it reaches the world, and the only ways it can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from orchestrator.model.action import Action
from orchestrator.model.check import Check
from orchestrator.model.query import Answer, Query


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an action ended: exit status where it has one, a short text, and files kept as evidence (relative to the state folder)."""

    ok: bool
    rc: int | None = None
    text: str = ""  # last lines of stderr, masked
    evidence: tuple[str, ...] = ()
    seconds: float = 0.0
    timed_out: bool = False
    permanent: bool = False  # the tool's text is classed permanent by the reference


@dataclass(frozen=True, slots=True)
class Place:
    """Where an action runs: names its output files and lets a second Ctrl-C end it."""

    run: str
    step: str
    attempt: int
    index: int  # of the action in its step


class Reader(Protocol):
    """Answers queries; changes nothing. Never raises for a target that does not answer: `Answer.unreachable`."""

    def ask(self, query: Query) -> Answer: ...

    def watch(self, check: Check, stop: Callable[[], bool], seconds: float) -> bool:
        """Wait up to `seconds` until something that `check` asks about may have changed. True when it may have; False
        at once when no watch serves these queries (the engine polls then)."""
        ...


class Writer(Protocol):
    """Carries out actions. Built in one place, by `up`."""

    def do(self, action: Action, place: Place, stopped: Callable[[], bool]) -> Outcome: ...


class Clock(Protocol):
    """Wall time. `wait` returns True when `stop` became true before `seconds` were over."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def wait(self, seconds: float, stop: Callable[[], bool]) -> bool: ...


class Journal(Protocol):
    """Append-only, durable: `append` returns when the record is on disk."""

    def append(self, kind: str, data: Mapping[str, Any]) -> Mapping[str, Any]: ...

    def records(self) -> Sequence[Mapping[str, Any]]: ...


class Events(Protocol):
    """Where events go: the live view, events.ndjson, the log."""

    def emit(self, kind: str, *, phase: str | None = None, step: str | None = None, node: str | None = None, attempt: int | None = None, data: Mapping[str, Any] | None = None) -> None: ...


class Fence(Protocol):
    """Asked before every mutation: raises LockHeld when the lock was taken over by somebody else."""

    def check(self) -> None: ...


RecordIterator = Iterator[Mapping[str, Any]]
