"""Journal and events behind the masker: whatever a judge or an error quoted, no secret is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.adapters.masking import Masker
from orchestrator.model.ports import Events, Journal


def masked(value: Any, masker: Masker) -> Any:
    """The same data with every text masked. Keys are ours."""
    if isinstance(value, str):
        return masker.mask(value) if len(value) > 5 else value
    if isinstance(value, Mapping):
        return {key: masked(one, masker) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked(one, masker) for one in value]
    return value


class MaskedJournal:
    """The journal's port."""

    def __init__(self, journal: Journal, masker: Masker) -> None:
        self._journal, self._masker = journal, masker

    def append(self, kind: str, *, run: str | None = None, phase: str | None = None, step: str | None = None, node: str | None = None, attempt: int | None = None, data: Mapping[str, Any] | None = None, durable: bool = True) -> Mapping[str, Any]:
        """As the journal's, masked."""
        return self._journal.append(kind, run=run, phase=phase, step=step, node=node, attempt=attempt, data=masked(data or {}, self._masker), durable=durable)

    def records(self) -> Sequence[Mapping[str, Any]]:
        """As the journal's."""
        return self._journal.records()


class MaskedEvents:
    """The events' port."""

    def __init__(self, events: Events, masker: Masker) -> None:
        self._events, self._masker = events, masker

    def emit(self, kind: str, *, phase: str | None = None, step: str | None = None, node: str | None = None, attempt: int | None = None, data: Mapping[str, Any] | None = None) -> None:
        """As the events', masked."""
        self._events.emit(kind, phase=phase, step=step, node=node, attempt=attempt, data=masked(data or {}, self._masker))
