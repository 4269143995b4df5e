"""The run's log, runs/<id>/log.ndjson, by structlog: for whoever debugs. What the operator reads comes from events."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from orchestrator.adapters.lean import without

QUIET = frozenset({"check.asked", "gate.waiting", "run.heartbeat"})


class RunLog:
    """One log file. `mask` takes secrets out of every line. structlog is imported here, when a run begins, and not before."""

    def __init__(self, path: Path, *, run: str, mask: Callable[[str], str] = str) -> None:
        with without("rich"):  # draws tracebacks on terminals; this log is a file
            import structlog

        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(handle, 0o600)
        self._file = os.fdopen(handle, "a", buffering=1, encoding="utf-8", errors="backslashreplace")
        render = structlog.processors.JSONRenderer()

        def masked(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
            line = render(logger, name, event)
            return mask(line if isinstance(line, str) else line.decode())

        self.logger = structlog.wrap_logger(
            structlog.WriteLogger(self._file),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),  # locals may hold secrets
                masked,
            ],
        ).bind(run=run)

    def event(self, event: Mapping[str, Any]) -> None:
        """Log an event of the run; a listener for `EventLog`."""
        data = {name: event[name] for name in ("phase", "step", "node", "attempt") if event.get(name) is not None}
        data |= {name: value for name, value in event["data"].items() if name not in ("action", "card")}
        data.pop("event", None)
        (self.logger.debug if event["kind"] in QUIET else self.logger.info)(event["kind"], **data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
