"""One place where the engine writes down what it does: the journal, the view of it, and the events."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from orchestrator.engine.status import View
from orchestrator.model.ports import Events, Journal

Data = Mapping[str, Any]


class Recorder:
    """Notes go to the journal and are events too; what is only said is an event. Safe for threads."""

    def __init__(self, run: str, journal: Journal, events: Events, view: View) -> None:
        self.run = run
        self.view = view
        self._journal = journal
        self._events = events
        self._lock = threading.Lock()

    def note(
        self,
        kind: str,
        *,
        phase: str | None = None,
        step: str | None = None,
        node: str | None = None,
        attempt: int | None = None,
        data: Data | None = None,
        durable: bool = True,
        said: Data | None = None,
    ) -> None:
        """Journal it, then tell it. `said` is what the event holds beyond the record. Raises StateError: nothing was told."""
        data = data or {}
        record = self._journal.append(kind, run=self.run, phase=phase, step=step, node=node, attempt=attempt, data=data, durable=durable)
        with self._lock:
            self.view.apply(record)
        self._events.emit(kind, phase=phase, step=step, node=node, attempt=attempt, data=data if said is None else {**data, **said})

    def say(
        self,
        kind: str,
        *,
        phase: str | None = None,
        step: str | None = None,
        node: str | None = None,
        attempt: int | None = None,
        data: Data | None = None,
    ) -> None:
        """Tell it without keeping it."""
        self._events.emit(kind, phase=phase, step=step, node=node, attempt=attempt, data=data or {})
