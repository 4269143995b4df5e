"""Child processes of a ground: started with their output in files, ended by pid, gone with the lab however it ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

STOP_SECONDS = 3.0  # what a process may take to end in order; nothing here has to be written then
PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h
LINE_LIMIT_BYTES = 4 << 20  # an audit event with a large object's metadata

Line = Callable[[bytes], None]


class Process:
    """One running program. `lines` gets what it writes to stdout, line by line, while it runs."""

    def __init__(self, name: str, child: asyncio.subprocess.Process, reader: asyncio.Task[None] | None) -> None:
        self.name = name
        self._child = child
        self._reader = reader

    @classmethod
    async def start(cls, argv: Sequence[str], folder: Path, lines: Line | None = None) -> Process:
        """Start `argv`; its output is appended to NAME.log in `folder`. Raises OSError where it cannot be run."""
        name = Path(argv[0]).name
        with (folder / f"{name}.log").open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                *argv,
                cwd=folder,
                env={"HOME": str(folder), "PATH": os.defpath},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log if lines is None else asyncio.subprocess.PIPE,
                stderr=log,
                limit=LINE_LIMIT_BYTES,
                preexec_fn=_end_with_parent,
            )
        reader = asyncio.ensure_future(_read(child.stdout, lines)) if lines is not None and child.stdout else None
        return cls(name, child, reader)

    @property
    def ended(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._child.returncode

    async def stop(self) -> None:
        """End it, by force where it does not end in time."""
        with suppress(ProcessLookupError):
            self._child.terminate()
        try:
            await asyncio.wait_for(self._child.wait(), STOP_SECONDS)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)


async def _read(stream: asyncio.StreamReader, lines: Line) -> None:
    while line := await stream.readline():
        lines(line)


def _end_with_parent() -> None:
    """In the child: a lab that is killed takes its control planes along. Linux alone can; elsewhere they are ended in order only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
