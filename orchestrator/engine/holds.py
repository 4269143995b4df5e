"""Holds: things that only one step may have at a time, taken whole and in the order of asking."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

Stopped = Callable[[], bool]
LOOK = 0.2  # seconds between two looks at a person's wish to stop


class Holds:
    """Who has what. A step gets all its holds at once or waits, behind those that asked for any of them before it.

    `first` are steps that an earlier run left in the middle of an action, with their holds: nobody else gets these before
    the step had its turn, however late it asks; but for those that it must itself wait for (`behind(first, other)`).
    """

    def __init__(self, first: Mapping[str, tuple[str, ...]], behind: Callable[[str, str], bool] = lambda first, other: False) -> None:
        self._changed = threading.Condition()
        self._behind = behind
        self._asking: set[str] = set()
        self._queue: list[tuple[str, frozenset[str]]] = [(step, frozenset(names)) for step, names in first.items() if names]
        self._owners: dict[str, str] = {}

    def owner(self, names: Iterable[str]) -> str | None:
        """The step that has one of these now."""
        with self._changed:
            return next((self._owners[name] for name in names if name in self._owners), None)

    def forget(self, step: str) -> None:
        """Give up the place that was kept for a step."""
        with self._changed:
            self._queue = [one for one in self._queue if one[0] != step]
            self._changed.notify_all()

    @contextmanager
    def having(self, step: str, names: tuple[str, ...], stop: Stopped) -> Iterator[bool]:
        """Have `names` while the block runs. Yields False, having nothing, when `stop` came first."""
        if not names:
            yield True
            return
        got = self._take(step, frozenset(names), stop)
        try:
            yield got
        finally:
            if got:
                with self._changed:
                    for name in names:
                        del self._owners[name]
                    self._changed.notify_all()

    def _take(self, step: str, names: frozenset[str], stop: Stopped) -> bool:
        with self._changed:
            self._asking.add(step)
            if all(one != step for one, _ in self._queue):
                self._queue.append((step, names))
            self._changed.notify_all()
            while not self._turn(step, names):
                if stop():
                    self._queue = [one for one in self._queue if one[0] != step]
                    self._changed.notify_all()
                    return False
                self._changed.wait(LOOK)
            self._queue = [one for one in self._queue if one[0] != step]
            self._owners.update(dict.fromkeys(names, step))
            return True

    def _turn(self, step: str, names: frozenset[str]) -> bool:
        if any(name in self._owners for name in names):
            return False
        for one, wanted in self._queue:
            if one == step:
                return True
            if wanted & names and (one in self._asking or not self._behind(one, step)):
                return False
        return True
