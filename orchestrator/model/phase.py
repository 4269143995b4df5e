"""Steps and phases as data."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from orchestrator.model.action import Action
from orchestrator.model.check import Check
from orchestrator.model.data import dataclass

Disruption = Literal["installs", "disrupts", "destroys"]
Reversible = Literal["yes", "compensable", "no"]


@dataclass(frozen=True, slots=True)
class Fan:
    """Steps in a row with the same fan run side by side, at most `width` at once (control planes that go down: always 1)."""

    group: str
    width: int


@dataclass(frozen=True, slots=True)
class Step:
    """One change to the platform: the goal to reach, and the actions, in order, for when it is unmet.

    `id` is `PHASE[@CLUSTER]/NAME[/NODE]`, the journal's key: never renamed, never reused. `settle` bounds how long the
    goal may stay UNKNOWN, `goal.within` how long it may take to be met after the actions. `undo` compensates the step
    when `compensated_by` a later step of the same phase fails.
    """

    id: str
    title: str
    days: str
    goal: Check
    actions: tuple[Action, ...]
    node: str | None = None
    fan: Fan | None = None
    holds: tuple[str, ...] = ()
    disruption: Disruption | None = None
    reversible: Reversible = "yes"
    undo: tuple[Action, ...] = ()
    compensate_on: tuple[str, ...] = ()  # ids of later steps whose failure undoes this one
    settle: timedelta = timedelta(minutes=5)
    notes: tuple[str, ...] = ()  # where the plan and the reference differ, and why; shown by `plan -v`

    @property
    def phase(self) -> str:
        return self.id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase instance: `id` is `NAME` or `NAME@CLUSTER`; `needs` are ids of instances."""

    id: str
    title: str
    week: int
    days: str
    needs: tuple[str, ...]
    steps: tuple[Step, ...]
    gates: tuple[Check, ...]
    preconditions: tuple[Check, ...] = ()
    identity: tuple[Check, ...] = ()
    adr: tuple[str, ...] = ()
    summary: str = ""

    @property
    def name(self) -> str:
        return self.id.partition("@")[0]

    @property
    def cluster(self) -> str | None:
        return self.id.partition("@")[2] or None
