"""What an actor will do later: named timers in simulated time that survive a stop, a snapshot and a restore."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.clock import Clock


class Agenda:
    """Named timers of one actor. While it is stopped nothing fires, and what is left of each is kept."""

    def __init__(self, clock: Clock, fire: Callable[[str], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._due: dict[str, float] = {}  # simulated time; while stopped: what is left
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._running = False

    def set(self, name: str, seconds: float) -> None:
        """Fire `name` after so many simulated seconds; a timer of that name is replaced."""
        self.cancel(name)
        if self._running:
            self._due[name] = self._clock.seconds() + seconds
            self._timers[name] = self._clock.call_later(seconds, lambda: self._ring(name))
        else:
            self._due[name] = seconds

    def cancel(self, name: str) -> None:
        """Forget `name`; no harm where it is not set."""
        self._due.pop(name, None)
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def clear(self) -> None:
        """Forget everything."""
        for name in list(self._due):
            self.cancel(name)

    def __contains__(self, name: str) -> bool:
        return name in self._due

    def __bool__(self) -> bool:
        return bool(self._due)

    def start(self) -> None:
        """Let the timers run."""
        if not self._running:
            self._running = True
            left, self._due = self._due, {}
            for name, seconds in left.items():
                self.set(name, seconds)

    def stop(self) -> None:
        """Hold every timer; what is left of it is kept."""
        if self._running:
            left = self.snapshot()
            self.clear()
            self._running = False
            self._due = left

    def snapshot(self) -> dict[str, float]:
        """What is left of each timer, in simulated seconds."""
        if not self._running:
            return dict(self._due)
        now = self._clock.seconds()
        return {name: round(max(0.0, due - now), 3) for name, due in self._due.items()}

    def restore(self, left: dict[str, float]) -> None:
        """Replace every timer."""
        running = self._running
        if running:
            self.stop()
        self._due = dict(left)
        if running:
            self.start()

    def _ring(self, name: str) -> None:
        self._due.pop(name, None)
        self._timers.pop(name, None)
        self._fire(name)
