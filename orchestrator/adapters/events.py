"""Events: one NDJSON line each in runs/<id>/events.ndjson, and a copy to whoever listens (the live view, the log).

The file is written at once. Listeners get their events in order from a thread of their own: one that is slow, or that
fails, never holds up a run; when it falls too far behind it misses some, and is told how many.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SCHEMA = 1
MOST_BYTES = 256 << 20  # of one file; beyond it what is only progress is left out
MOST_WAITING = 20_000  # events that a slow listener may be behind
TOGETHER = 0.02  # seconds in which events are gathered, so that listeners do not take the processor from the run for each one
PATIENCE = 5.0  # seconds that the end of a run waits for a listener
PROGRESS = frozenset({"check.asked", "check.met", "gate.waiting", "run.heartbeat"})
Event = Mapping[str, Any]
Listener = Callable[[Event], None]
_encode = json.JSONEncoder(separators=(",", ":")).encode


class EventLog:
    """The events of one run. Safe for threads."""

    def __init__(
        self,
        path: Path,
        *,
        run: str,
        site: str,
        listeners: Sequence[Listener] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._run, self._now, self._most = run, now, most_bytes
        self._handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(self._handle, 0o600)
        self._lock = threading.Lock()
        self._size = self._missed = 0
        self._closed = False
        self._listeners = tuple(listeners)
        self._waiting: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._most_waiting = MOST_WAITING
        self._thread = threading.Thread(target=self._deliver, name="events", daemon=True)
        header = {"schema": SCHEMA, "run": run, "site": site, "at": _text(now())}
        self._put(header)
        if self._listeners:
            self._thread.start()

    def emit(
        self,
        kind: str,
        *,
        phase: str | None = None,
        step: str | None = None,
        node: str | None = None,
        attempt: int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Write an event and hand it to the listeners. Never raises: a full disk shows at the journal."""
        event = {
            "at": _text(self._now()),
            "run": self._run,
            "phase": phase,
            "step": step,
            "node": node,
            "attempt": attempt,
            "kind": kind,
            "data": data or {},
        }
        self._put(event)

    def close(self) -> None:
        """Write nothing more; return when the listeners have had everything, or are stuck."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._listeners:
            self._waiting.put(None)
            self._thread.join(PATIENCE)
        os.close(self._handle)

    def _put(self, event: dict[str, Any]) -> None:
        line = _encode(event).encode() + b"\n"
        with self._lock:
            if self._closed:
                return
            if self._size < self._most or event.get("kind") not in PROGRESS:
                self._size += len(line)
                with suppress(OSError):
                    os.write(self._handle, line)
            if self._listeners and "kind" in event:
                self._offer(event)

    def _offer(self, event: dict[str, Any]) -> None:
        if self._waiting.qsize() >= self._most_waiting:
            self._missed += 1
            return
        if self._missed:
            self._waiting.put({**event, "kind": "events.missed", "data": {"missed": self._missed}})
            self._missed = 0
        self._waiting.put(event)

    def _deliver(self) -> None:
        while (event := self._waiting.get()) is not None:
            for listener in self._listeners:
                with suppress(Exception):  # a view that fails must not end a run; the file has everything
                    listener(event)
            if self._waiting.empty():
                time.sleep(TOGETHER)


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
