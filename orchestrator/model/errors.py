"""Errors for the operator: two lines each, one exit code a kind.

BootstrapError
├── SiteError 3 · PreconditionError 4 (├── NeedsError, NotOursError) · StepError 5 (└── ToolError)
├── GateTimeout 6 · WaitingForPerson 7 · LockHeld 8 · PlanStale 9 · OutcomeUnknown 10
└── StateError 11 · UsageError 64 · Interrupted 130
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class BootstrapError(Exception):
    """Line one says what was wanted and what was found; `hint` is a command or a file."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", card: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.card = card


class SiteError(BootstrapError):
    exit_code = 3


class PreconditionError(BootstrapError):
    exit_code = 4


class NeedsError(PreconditionError):
    """A selected phase needs one that is not done."""


class NotOursError(PreconditionError):
    """The target is not the one of the inventory."""


class StepError(BootstrapError):
    exit_code = 5


class ToolError(StepError):
    """A wrapped program failed, and its step's goal is not met."""


class GateTimeout(BootstrapError):
    exit_code = 6


class WaitingForPerson(BootstrapError):
    exit_code = 7


class LockHeld(BootstrapError):
    exit_code = 8


class PlanStale(BootstrapError):
    exit_code = 9


class OutcomeUnknown(BootstrapError):
    exit_code = 10


class StateError(BootstrapError):
    exit_code = 11


class UsageError(BootstrapError):
    exit_code = 64


class Interrupted(BootstrapError):
    exit_code = 130
