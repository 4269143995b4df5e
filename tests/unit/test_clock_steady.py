"""The world's clock: simulated seconds, and none of them while the loop is starved."""

from __future__ import annotations

import asyncio
import time

import pytest

from lab import clock as module
from lab.clock import Clock


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Wall time that only the test moves."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_time_runs_faster_by_the_speed(wall: list[float]) -> None:
    clock = Clock(60.0)
    wall[0] += 2.0
    assert clock.seconds() == pytest.approx(120.0)


def test_a_starved_loop_stops_a_steady_clock(wall: list[float]) -> None:
    async def main() -> tuple[float, float]:
        clock = Clock(100.0)
        clock.keep_steady()
        wall[0] += 5.0  # the loop got no turn for five seconds
        starved = clock.seconds()
        clock.stop_ticking()
        wall[0] += 1.0
        return starved, clock.seconds()

    starved, after = asyncio.new_event_loop().run_until_complete(main())
    assert starved <= module.LONGEST_TICK_SECONDS * 100
    assert after == pytest.approx(starved + 100.0)
