"""The world's clock: simulated time that runs faster than the wall's by a constant factor.

Every delay, TTL and back-off of the lab goes through one `Clock`, so that a rehearsal of weeks takes seconds. While the
clock is held (a client's call is in progress) timers that race a client do not run out: see `Clock.race`.
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
RACE_FLOOR_WALL_SECONDS = 30.0  # design.md 8 "Time": no timer that races a client ends sooner
TICK_SECONDS = 0.01  # wall, between two looks of a steady clock
LONGEST_TICK_SECONDS = 0.03  # wall; what a look took longer does not count
LEAST_SHARE = 0.1  # of wall time that counts however busy the loop is, so that every wait ends


class Clock:
    """Simulated time. `speed` simulated seconds pass in one second of wall time."""

    def __init__(self, speed: float = 1.0, *, epoch: datetime = EPOCH, elapsed: float = 0.0) -> None:
        if speed <= 0:
            raise ValueError(f"the clock's speed must be above 0, not {speed}")
        self.speed = speed
        self.epoch = epoch
        self.race_floor = RACE_FLOOR_WALL_SECONDS
        self._start = time.monotonic()
        self._before = self._shown = elapsed
        self._worked = 0.0
        self._ticker: asyncio.TimerHandle | None = None
        self._held = 0
        self._standing = 0
        self._released: list[Callable[[], None]] = []

    def seconds(self) -> float:
        """Simulated seconds since the world began. Never goes back but by `set`."""
        if self._standing:
            return self._shown
        passed = time.monotonic() - self._start
        if self._ticker is None:
            return self._before + passed * self.speed
        self._shown = max(self._shown, self._before + min(passed, LONGEST_TICK_SECONDS) * self.speed)
        return self._shown

    def keep_steady(self) -> None:
        """From now on time passes while the loop waits, and stands (almost) still while it works or is starved.

        So a slow or busy machine slows the world down as a whole, and the time limits of simulated programs do not run out
        before what they wait for had its turn.
        """
        if self._ticker is None:
            self.set(self.seconds())
            self._worked = time.thread_time()
            self._ticker = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def stop_ticking(self) -> None:
        """Go back to plain wall time; the loop can end."""
        if self._ticker is not None:
            self._ticker.cancel()
            elapsed = self.seconds()
            self._ticker = None
            self.set(elapsed)

    def _tick(self) -> None:
        now, worked = time.monotonic(), time.thread_time()
        passed = min(now - self._start, LONGEST_TICK_SECONDS)
        idle = max(passed - (worked - self._worked), passed * LEAST_SHARE)
        self._before += 0.0 if self._standing else idle * self.speed
        self._start, self._worked = now, worked
        self._ticker = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def set(self, elapsed: float) -> None:
        """Go on from `elapsed` simulated seconds: a restored world's time. Timers that wait are not moved."""
        self._before = self._shown = elapsed
        self._start = time.monotonic()

    def now(self) -> datetime:
        """The simulated time of day, in UTC."""
        return self.epoch + timedelta(seconds=self.seconds())

    def wall(self, seconds: float) -> float:
        """Wall seconds that `seconds` of simulated time take."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of simulated time."""
        end = self.seconds() + seconds
        await asyncio.sleep(self.wall(seconds))
        while self._ticker is not None and (left := end - self.seconds()) > 0:
            await asyncio.sleep(self.wall(left))

    def call_later(self, seconds: float, fn: Callable[[], object]) -> asyncio.TimerHandle:
        """Call `fn` on the running loop after `seconds` of simulated time."""
        return asyncio.get_running_loop().call_later(self.wall(seconds), fn)

    def race(self, seconds: float, fn: Callable[[], object]) -> Race:
        """Call `fn` after `seconds` of simulated time, not sooner than 30 s of wall time, and never while the clock is held.

        For what races a client: commit confirmed, TTLs, leases.
        """
        return Race(self, max(self.wall(seconds), self.race_floor), fn)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A client's call is in progress: timers that race clients (see `race`) do not run out meanwhile."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if not self._held:
                waiting, self._released = self._released, []
                for go in waiting:
                    go()

    @contextmanager
    def standing(self) -> Iterator[None]:
        """No simulated time passes: what goes on meanwhile takes none in the world. Only a steady clock can stand."""
        self._shown = self.seconds()
        self._standing += 1
        try:
            yield
        finally:
            self._standing -= 1

    @property
    def held(self) -> bool:
        """Whether any client call is in progress now."""
        return self._held > 0

    def when_free(self, fn: Callable[[], None]) -> None:
        """Call `fn` when the clock is no longer held: at once when it is not."""
        if self._held:
            self._released.append(fn)
        else:
            fn()


class Race:
    """A timer that races a client; see `Clock.race`."""

    def __init__(self, clock: Clock, wall_seconds: float, fn: Callable[[], object]) -> None:
        self._clock = clock
        self._fn = fn
        self._over = False
        self._due = time.monotonic() + wall_seconds
        self._timer = asyncio.get_running_loop().call_later(wall_seconds, clock.when_free, self._fire)

    def cancel(self) -> None:
        """It will not run; no harm when it already has."""
        self._over = True
        self._timer.cancel()

    @property
    def remaining(self) -> float:
        """Simulated seconds that are left, at least 0; to persist the timer."""
        return max(0.0, self._due - time.monotonic()) * self._clock.speed

    def _fire(self) -> None:
        if not self._over:
            self._over = True
            self._fn()
