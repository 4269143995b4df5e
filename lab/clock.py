"""The world's clock: simulated time that runs faster than the wall's by a constant factor.

Every delay, TTL and back-off of the lab goes through one `Clock`, so that a rehearsal of weeks takes seconds. While the
clock is held (a client's call is in progress) timers that race a client do not run out: see `Clock.hold`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

EPOCH = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


class Clock:
    """Simulated time. `speed` simulated seconds pass in one second of wall time."""

    def __init__(self, speed: float = 1.0, *, epoch: datetime = EPOCH, elapsed: float = 0.0) -> None:
        if speed <= 0:
            raise ValueError(f"the clock's speed must be above 0, not {speed}")
        self.speed = speed
        self.epoch = epoch
        self._start = time.monotonic()
        self._before = elapsed
        self._held = 0

    def seconds(self) -> float:
        """Simulated seconds since the world began."""
        return self._before + (time.monotonic() - self._start) * self.speed

    def now(self) -> datetime:
        """The simulated time of day, in UTC."""
        return self.epoch + timedelta(seconds=self.seconds())

    def wall(self, seconds: float) -> float:
        """Wall seconds that `seconds` of simulated time take."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of simulated time."""
        await asyncio.sleep(self.wall(seconds))

    def call_later(self, seconds: float, fn: Callable[[], object]) -> asyncio.TimerHandle:
        """Call `fn` on the running loop after `seconds` of simulated time."""
        return asyncio.get_running_loop().call_later(self.wall(seconds), fn)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A client's call is in progress: timers that race clients (see `held`) do not run out meanwhile."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    @property
    def held(self) -> bool:
        """Whether any client call is in progress now."""
        return self._held > 0
