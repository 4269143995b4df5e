"""The plan as a document (design.md section 9): frozen, written and read back whole. Times UTC, durations seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.engine.render import canonical, digest
from orchestrator.engine.terms import Choice
from orchestrator.model.data import dataclass
from orchestrator.model.errors import PlanStale, UsageError

SCHEMA = 1
MOST_CHARACTERS = 100_000_000
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step: what its goal says now, and what would be done. MET steps list no action: a saved plan allows them none."""

    id: str
    title: str
    days: str
    node: str | None
    goal: str
    verdict: str
    reason: str
    known_after: str | None
    permanent: bool
    foreign: bool
    holds: tuple[str, ...]
    fan: str | None
    disruption: str | None
    reversible: str
    notes: tuple[str, ...]
    hint: str
    fact: str | None  # digest of what was known; None where nothing was
    actions: tuple[Mapping[str, Any], ...]

    def to_json(self) -> Json:
        """The step in its fixed order of keys."""
        return {
            "id": self.id,
            "title": self.title,
            "days": self.days,
            "node": self.node,
            "goal": self.goal,
            "verdict": self.verdict,
            "reason": self.reason,
            "known_after": self.known_after,
            "permanent": self.permanent,
            "foreign": self.foreign,
            "holds": list(self.holds),
            "fan": self.fan,
            "class": self.disruption,
            "reversible": self.reversible,
            "notes": list(self.notes),
            "hint": self.hint,
            "fact": self.fact,
            "actions": [dict(action) for action in self.actions],
        }


@dataclass(frozen=True, slots=True)
class PlanPhase:
    """One phase instance. `whole` is False where the choice left steps out: its gates are not asked then."""

    id: str
    title: str
    week: int
    days: str
    needs: tuple[str, ...]
    adr: tuple[str, ...]
    state: str
    whole: bool
    steps: tuple[PlanStep, ...]
    gates: tuple[Mapping[str, Any], ...]

    def to_json(self) -> Json:
        """The phase in its fixed order of keys."""
        return {
            "id": self.id,
            "title": self.title,
            "week": self.week,
            "days": self.days,
            "needs": list(self.needs),
            "adr": list(self.adr),
            "state": self.state,
            "whole": self.whole,
            "steps": [step.to_json() for step in self.steps],
            "gates": [dict(gate) for gate in self.gates],
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What `up` would do now, and what that rests on."""

    site: str
    site_digest: str
    phases_digest: str
    tools: Mapping[str, str]
    journal_head: Mapping[str, Any]  # {"count", "hash"}
    made_at: str
    choice: Choice
    phases: tuple[PlanPhase, ...]
    summary: Mapping[str, Any]

    @property
    def pending(self) -> bool:
        """Whether anything is left to do (`plan --detailed-exitcode` 2)."""
        return any(phase.state != "done" for phase in self.phases)

    @property
    def id(self) -> str:
        """The digest of the document, by which runs name their ceiling."""
        return digest(self.to_json())

    def steps(self) -> dict[str, PlanStep]:
        """All steps by id, in order."""
        return {step.id: step for phase in self.phases for step in phase.steps}

    def to_json(self) -> Json:
        """The document in its fixed order of keys."""
        return {
            "schema": SCHEMA,
            "site": self.site,
            "site_digest": self.site_digest,
            "phases_digest": self.phases_digest,
            "tools": dict(self.tools),
            "journal_head": dict(self.journal_head),
            "made_at": self.made_at,
            "choice": self.choice.to_json(),
            "phases": [phase.to_json() for phase in self.phases],
            "summary": dict(self.summary),
        }

    def text(self) -> str:
        """The document as it is saved."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(data: Any) -> Plan:
        """The plan that `to_json` wrote. Raises UsageError for anything else, PlanStale for a newer schema."""
        if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
            raise UsageError("this is no saved plan: it names no schema", hint="bootstrap plan --out FILE")
        if data["schema"] != SCHEMA:
            raise PlanStale(
                f"the plan has schema {data['schema']}, this program reads schema {SCHEMA}", hint="make it anew: bootstrap plan --out FILE"
            )
        try:
            return _plan(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"the saved plan is damaged: {type(error).__name__} {error}", hint="make it anew: bootstrap plan --out FILE") from error

    @staticmethod
    def parse(text: str) -> Plan:
        """The plan in a file's text. Raises UsageError, PlanStale."""
        if len(text) > MOST_CHARACTERS:
            raise UsageError("the saved plan is too large to be one of ours", hint="bootstrap plan --out FILE")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the saved plan is not JSON: {error}", hint="make it anew: bootstrap plan --out FILE") from error
        return Plan.from_json(data)


def _plan(data: Json) -> Plan:
    head = data["journal_head"]
    canonical(data)  # raises ValueError where a text could not have been written by us
    return Plan(
        site=_text(data["site"]),
        site_digest=_text(data["site_digest"]),
        phases_digest=_text(data["phases_digest"]),
        tools={_text(name): _text(version) for name, version in data["tools"].items()},
        journal_head={"count": _count(head["count"]), "hash": _text(head["hash"])},
        made_at=_text(data["made_at"]),
        choice=Choice.from_json(data["choice"]),
        phases=tuple(_phase(one) for one in data["phases"]),
        summary=dict(data["summary"]),
    )


def _phase(data: Json) -> PlanPhase:
    return PlanPhase(
        id=_text(data["id"]),
        title=_text(data["title"]),
        week=_count(data["week"]),
        days=_text(data["days"]),
        needs=tuple(_text(one) for one in data["needs"]),
        adr=tuple(_text(one) for one in data["adr"]),
        state=_text(data["state"]),
        whole=bool(data["whole"]),
        steps=tuple(_step(one) for one in data["steps"]),
        gates=tuple(dict(one) for one in data["gates"]),
    )


def _step(data: Json) -> PlanStep:
    return PlanStep(
        id=_text(data["id"]),
        title=_text(data["title"]),
        days=_text(data["days"]),
        node=_maybe(data["node"]),
        goal=_text(data["goal"]),
        verdict=_text(data["verdict"]),
        reason=_text(data["reason"]),
        known_after=_maybe(data["known_after"]),
        permanent=bool(data["permanent"]),
        foreign=bool(data["foreign"]),
        holds=tuple(_text(one) for one in data["holds"]),
        fan=_maybe(data["fan"]),
        disruption=_maybe(data["class"]),
        reversible=_text(data["reversible"]),
        notes=tuple(_text(one) for one in data["notes"]),
        hint=_text(data["hint"]),
        fact=_maybe(data["fact"]),
        actions=tuple(dict(one) for one in data["actions"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} where a text should be")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):  # JSON's 1e999 is a float without an integer
        raise TypeError(f"{value!r:.40} where a whole number should be")
    return value


def _maybe(value: Any) -> str | None:
    return None if value is None else _text(value)
