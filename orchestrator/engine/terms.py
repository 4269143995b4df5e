"""What the engine is asked with and what it answers: subject, choice, ports, stop, card, report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from orchestrator.model.data import dataclass
from orchestrator.model.errors import BootstrapError
from orchestrator.model.phase import Phase
from orchestrator.model.ports import Children, Clock, Events, Fence, Journal, Reader, Writer

if TYPE_CHECKING:
    from orchestrator.engine.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a plan or a run is about: a site's phases, and what decides about them from outside.

    `site_digest` is the digest of the validated site, `tools` the versions of the wrapped programs as found on PATH;
    every deadline is wall time times `scale`.
    """

    site: str
    site_digest: str
    phases: tuple[Phase, ...]
    tools: Mapping[str, str] = field(default_factory=dict)
    poll: timedelta = timedelta(seconds=5)
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the operator selects, as given on the command line. An empty choice is everything.

    `phases`: NAME or NAME@CLUSTER; `steps`: PHASE/STEP, where PHASE without @ means all its instances and STEP without a
    node all its nodes; `first` and `until` (inclusive): a phase or a step; `skip`: phases or steps, with one `reason`.
    """

    phases: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    first: str | None = None
    until: str | None = None
    weeks: tuple[int, ...] = ()
    clusters: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The choice as a record keeps it."""
        return {
            "phases": list(self.phases),
            "steps": list(self.steps),
            "from": self.first,
            "until": self.until,
            "weeks": list(self.weeks),
            "clusters": list(self.clusters),
            "skip": list(self.skip),
            "reason": self.reason,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Choice:
        """The choice that `to_json` wrote."""
        return Choice(
            phases=tuple(data.get("phases", ())),
            steps=tuple(data.get("steps", ())),
            first=data.get("from"),
            until=data.get("until"),
            weeks=tuple(data.get("weeks", ())),
            clusters=tuple(data.get("clusters", ())),
            skip=tuple(data.get("skip", ())),
            reason=data.get("reason", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """How `up` reaches the world. Readers and writers are called from several threads at once."""

    reader: Reader
    writer: Writer
    clock: Clock
    journal: Journal
    events: Events
    fence: Fence
    children: Children


class Stop:
    """A person's wish to stop, safe to call from a signal handler: once for the next safe point, twice to end children."""

    __slots__ = ("_asked", "exit_code")

    def __init__(self) -> None:
        self._asked = 0
        self.exit_code = 130

    def request(self, exit_code: int = 130) -> int:
        """Ask once more; -> how often it was asked now. Only an assignment: a handler may run inside of any lock."""
        self._asked += 1
        self.exit_code = exit_code
        return self._asked

    def soft(self) -> bool:
        """Whether to stop at the next safe point."""
        return self._asked > 0

    def hard(self) -> bool:
        """Whether children are to be ended now."""
        return self._asked > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """How one `up` goes. `run` names the folder runs/<run>/; `plan` is a ceiling; `confirmed` are typed names that may be
    destroyed (a step's id or its node); `command` is what the operator typed, kept for `status` and `history`."""

    run: str
    command: str = "bootstrap up"
    plan: Plan | None = None
    confirmed: frozenset[str] = frozenset()
    heartbeat: timedelta = timedelta(seconds=30)
    tries: int = 3  # of an action whose failure may pass
    parallel: int = 8  # readers at once


@dataclass(frozen=True, slots=True)
class Card:
    """What an operator needs when something failed (design.md section 9); `evidence` is relative to the state folder."""

    phase: str | None
    step: str | None
    check: str | None
    wanted: str
    found: str
    since: str
    asked: int
    causes: tuple[str, ...]
    next: tuple[str, ...]
    evidence: str
    exit_code: int = 5
    error: str = "StepError"

    def to_json(self) -> dict[str, Any]:
        """The card in its fixed order of keys."""
        return {
            "phase": self.phase,
            "step": self.step,
            "check": self.check,
            "wanted": self.wanted,
            "found": self.found,
            "since": self.since,
            "asked": self.asked,
            "causes": list(self.causes),
            "next": list(self.next),
            "evidence": self.evidence,
            "exit_code": self.exit_code,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a run ended. `exit_code` is 0, or that of the first failure; `failures` are all, in the order in which they came."""

    run: str
    exit_code: int
    failures: tuple[Card, ...] = ()
    errors: tuple[BootstrapError, ...] = ()
    done: tuple[str, ...] = ()  # phases, proven in this run
    blocked: Mapping[str, str] = field(default_factory=dict)  # phase that could not start -> what it waits for
    acted: tuple[str, ...] = ()  # steps that changed something
    actions: int = 0
    asked: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The summary as `up -o json` shows it."""
        return {
            "run": self.run,
            "exit_code": self.exit_code,
            "failures": [card.to_json() for card in self.failures],
            "done": list(self.done),
            "blocked": dict(self.blocked),
            "acted": list(self.acted),
            "actions": self.actions,
            "asked": self.asked,
            "seconds": round(self.seconds, 3),
        }


class Count:
    """A number that several threads add to."""

    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = 0

    def add(self, n: int = 1) -> None:
        """Add `n`."""
        with self._lock:
            self.value += n


Stopped = Callable[[], bool]
