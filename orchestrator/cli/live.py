"""Who listens to a run: a live picture on a terminal, plain lines elsewhere, NDJSON for programs."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from orchestrator.cli.shared import Shared
from orchestrator.report.live import Live, frame, line
from orchestrator.report.paint import Paint

Event = Mapping[str, Any]
REFRESH = 4  # pictures a second
HEARTBEAT = 30.0  # seconds without a line after which one is printed where nobody watches


@contextmanager
def listener(shared: Shared, form: str) -> Iterator[Callable[[Event], None]]:
    """The listener for this command's output."""
    if form == "ndjson":
        yield lambda event: click.echo(json.dumps(event))
    elif shared.quiet or form == "json":
        yield lambda event: None
    elif shared.terminal:
        with _picture(shared) as listen:
            yield listen
    else:
        yield _Plain(shared).listen


class _Plain:
    """One line an event that matters; a waiting gate is not repeated while its observation is the same."""

    def __init__(self, shared: Shared) -> None:
        self._paint = Paint(shared.color and sys.stderr.isatty())
        self._verbose = shared.verbose
        self._seen: dict[str, str] = {}
        self._said = time.monotonic()
        self._live = Live()

    def listen(self, event: Event) -> None:
        """Print what is worth a line."""
        now = time.monotonic()
        self._live.take(event, now)
        text = line(event, self._paint, verbose=self._verbose)
        key = str(event.get("step") or event.get("phase"))
        data = event.get("data") or {}
        same = event["kind"] in ("check.asked", "gate.waiting") and self._seen.get(key) == f"{data.get('check')} {data.get('reason')}"
        if event["kind"] in ("check.asked", "gate.waiting"):
            self._seen[key] = f"{data.get('check')} {data.get('reason')}"
        if text is not None and not (same and now - self._said < HEARTBEAT):
            self._said = now
            click.echo(text, err=True)
        elif event["kind"] == "run.heartbeat":
            self._said = now
            running = ", ".join(f"{name}: {what}" for name, what in (data.get("active") or {}).items()) or "waiting"
            click.echo(f"… {running}", err=True)


@contextmanager
def _picture(shared: Shared) -> Iterator[Callable[[Event], None]]:
    """rich draws the running steps at the bottom; what ended scrolls above."""
    from rich.console import Console
    from rich.live import Live as Drawn
    from rich.text import Text

    paint, live, started = Paint(shared.color), Live(), time.monotonic()
    lock = threading.Lock()

    def draw() -> Text:
        with lock:
            rows = frame(live, time.monotonic(), time.monotonic() - started, shutil.get_terminal_size().columns - 1, paint)
        return Text.from_ansi("\n".join(rows))

    console = Console(stderr=True, no_color=not shared.color)
    with Drawn(get_renderable=draw, console=console, refresh_per_second=REFRESH, transient=True) as drawn:

        def listen(event: Event) -> None:
            with lock:
                live.take(event, time.monotonic())
            text = line(event, paint)
            if text is not None and event["kind"] not in ("check.asked", "gate.waiting", "action.started"):
                drawn.console.print(Text.from_ansi(text))

        yield listen
