"""One call of a simulated program: what it was given, where its output goes, and whether it could change the world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.clock import Clock
    from lab.faults import Effect
    from lab.world import World


@dataclass(slots=True)
class Call:
    """A running program. Output is streamed: what is written is sent at once.

    `flags` has every flag of the command by its long name: given or default, typed (bool, int, float for durations in
    seconds, str, list of str for repeatable ones, dict for stringToString); `given` names those that stood in argv.
    `command` is the path of subcommands, for example ("etcd", "members").
    """

    argv: list[str]
    cwd: Path
    env: dict[str, str]
    stdin: bytes
    world: World
    write: Callable[[int, bytes], None]  # stream 1 or 2
    command: tuple[str, ...] = ()
    flags: dict[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    args: list[str] = field(default_factory=list)
    mutated: bool = False
    signal: str = (
        ""  # "TERM" or "INT" once the client was told to stop: the task is cancelled, the program says what that leaves
    )
    effect: Effect | None = None  # the scripted fault of this call, for what a program plays itself: `wrong_cluster`

    def out(self, text: str | bytes) -> None:
        """Write to standard output."""
        self.write(1, text if isinstance(text, bytes) else text.encode())

    def err(self, text: str | bytes) -> None:
        """Write to standard error."""
        self.write(2, text if isinstance(text, bytes) else text.encode())

    def mutates(self) -> None:
        """From here on the stored state of the world could change by this call: its record says so."""
        self.mutated = True

    def path(self, name: str) -> Path:
        """A path of the command line, relative to the caller's working directory."""
        return self.cwd / name

    @property
    def clock(self) -> Clock:
        """The world's clock."""
        return self.world.clock

    async def sleep(self, seconds: float) -> None:
        """Wait for simulated time."""
        await self.world.clock.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished program left, for tests that call one in process."""

    rc: int
    stdout: str
    stderr: str
