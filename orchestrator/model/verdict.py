"""What a check found: MET, UNMET with the reason, or UNKNOWN when it cannot be asked now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from orchestrator.model.data import dataclass


class State(StrEnum):
    """The three answers that a check can have. UNKNOWN is never acted on."""

    MET = "MET"
    UNMET = "UNMET"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's finding. `permanent` marks an UNMET that waiting cannot mend; `foreign` one that is not ours to change."""

    state: State
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    permanent: bool = False
    foreign: bool = False

    @property
    def met(self) -> bool:
        """Whether the check's goal stands."""
        return self.state is State.MET


def met(reason: str = "", **evidence: Any) -> Verdict:
    """The goal stands; `evidence` is small and JSON-able."""
    return Verdict(State.MET, reason, evidence)


def unmet(reason: str, *, permanent: bool = False, foreign: bool = False, **evidence: Any) -> Verdict:
    """The goal does not stand, and `reason` says what was found instead."""
    return Verdict(State.UNMET, reason, evidence, permanent, foreign)


def unknown(reason: str, **evidence: Any) -> Verdict:
    """The question could not be asked, or its answer could not be read."""
    return Verdict(State.UNKNOWN, reason, evidence)
