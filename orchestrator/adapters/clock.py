"""Wall time. Waiting looks at `stop` a few times a second, so that a Ctrl-C is never slept through."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

LOOK = 0.1  # seconds between two looks at `stop`


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """The time of day, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wait(self, seconds: float, stop: Callable[[], bool]) -> bool:
        """Wait; -> whether `stop` ended it."""
        until = time.monotonic() + seconds
        while not stop():
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(LOOK, left))
        return True
