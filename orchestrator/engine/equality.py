"""Plan equals deed, measured: what a run carried out against what a saved plan showed, byte for byte.

Compared is the deed itself. The difference that it is shown against (of a file, a branch, the gateway) moves with what other
steps did in between; of a commit the digest of its tree is compared, of the gateway its lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.engine.plan import Plan
from orchestrator.engine.render import canonical, deed
from orchestrator.model.data import dataclass


@dataclass(frozen=True, slots=True)
class Equality:
    """How many deeds were as shown. `after` differ, and the plan had said that they are known only later; `other` differ though
    it had not."""

    deeds: int
    equal: int
    after: tuple[str, ...]
    other: tuple[str, ...]

    @property
    def share(self) -> float:
        """The part of the deeds that were exactly as shown; 1 when there were none."""
        return self.equal / self.deeds if self.deeds else 1.0

    def to_json(self) -> dict[str, Any]:
        """The measure in its fixed order of keys."""
        return {"deeds": self.deeds, "equal": self.equal, "share": round(self.share, 4), "after": list(self.after), "other": list(self.other)}


def equality(plan: Plan, events: Iterable[Mapping[str, Any]]) -> Equality:
    """Compare the deeds among a run's events (`action.started`) with the plan that was made before it."""
    steps = plan.steps()
    deeds = equal = 0
    after: list[str] = []
    other: list[str] = []
    for event in events:
        if event.get("kind") != "action.started" or event["data"].get("undo"):
            continue
        deeds += 1
        step, index = steps.get(event["step"]), event["data"]["index"]
        shown = step.actions[index] if step is not None and index < len(step.actions) else None
        if shown is not None and canonical(deed(shown)) == canonical(deed(event["data"]["action"])):
            equal += 1
        else:
            name = f"{event['step']} action {index + 1}"
            (after if step is not None and step.known_after is not None else other).append(name)
    return Equality(deeds, equal, tuple(after), tuple(other))
