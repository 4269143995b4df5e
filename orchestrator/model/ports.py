"""The ports that the engine is handed: how it reaches the world, and the only ways it can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from orchestrator.model.action import Action
from orchestrator.model.check import Check
from orchestrator.model.data import dataclass
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

    @property
    def marker(self) -> str:
        """The value of `BOOTSTRAP_ACTION` in the environment of the action's child, by which an orphan is found."""
        return f"{self.run}:{self.step}:{self.attempt}:{self.index}"


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours. `started` is its start time as the kernel gives it, so that a pid used again is not mistaken for it."""

    pid: int
    started: str
    host: str


class Reader(Protocol):
    """Answers queries; changes nothing. Never raises for a target that does not answer: `Answer.unreachable`."""

    def ask(self, query: Query) -> Answer: ...

    def watch(self, check: Check, stop: Callable[[], bool], seconds: float) -> bool:
        """Wait up to `seconds` until something that `check` asks about may have changed. True when it may have; False
        at once when no watch serves these queries (the engine polls then)."""
        ...


class Writer(Protocol):
    """Carries out actions. Built in one place, by `up`."""

    def do(self, action: Action, place: Place, stopped: Callable[[], bool], spawned: Callable[[int], None]) -> Outcome:
        """Do `action` once. A child gets `BOOTSTRAP_ACTION=place.marker` in its environment and `spawned` is told its pid
        as soon as it lives; when `stopped` turns true children are ended and the outcome says so (`ok` is False).
        Raises BootstrapError when the action is refused before anything was changed; any other error leaves the outcome open.
        """
        ...


class Children(Protocol):
    """The processes of earlier runs that may outlive them."""

    def identify(self, pid: int) -> Child:
        """Who `pid` is now."""
        ...

    def find(self, marker: str) -> tuple[Child, ...]:
        """Living processes of this host that carry `BOOTSTRAP_ACTION=marker`."""
        ...

    def living(self, child: Child) -> bool:
        """Whether this very process still runs here."""
        ...

    def end(self, child: Child) -> None:
        """End its process group: politely, then surely."""
        ...


class Clock(Protocol):
    """Wall time. `wait` returns True when `stop` became true before `seconds` were over."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def wait(self, seconds: float, stop: Callable[[], bool]) -> bool: ...


class Journal(Protocol):
    """Append-only memory of a site's runs.

    A record is `{seq, at, run, kind, phase, step, node, attempt, data, prev, hash}`: an event, numbered and chained.
    """

    def append(
        self,
        kind: str,
        *,
        run: str | None = None,
        phase: str | None = None,
        step: str | None = None,
        node: str | None = None,
        attempt: int | None = None,
        data: Mapping[str, Any] | None = None,
        durable: bool = True,
    ) -> Mapping[str, Any]:
        """Add one record. Returns when it is on disk; with `durable=False` when it would survive the end of this process
        (the next durable record takes it along). Raises StateError when the disk refuses it."""
        ...

    def records(self) -> Sequence[Mapping[str, Any]]: ...


class Events(Protocol):
    """Where events go: the live view, events.ndjson, the log. Never raises and never waits for a listener."""

    def emit(
        self,
        kind: str,
        *,
        phase: str | None = None,
        step: str | None = None,
        node: str | None = None,
        attempt: int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None: ...


class Fence(Protocol):
    """Asked before every mutation: raises LockHeld when the lock was taken over by somebody else."""

    def check(self) -> None: ...


RecordIterator = Iterator[Mapping[str, Any]]
