"""One writer to a state folder: the lock, its heartbeat, and the fence that a former owner runs into.

The lock is a file that says who has it. Taking it over puts another file in its place, so an owner that slept meanwhile sees
before its next mutation that the file under the name is not the one that it holds open. Every change of the lock is made
under `flock` on `lock.guard`; the kernel drops that with the process. The file's time of change is the heartbeat.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.adapters.children import start_time
from orchestrator.model.data import dataclass
from orchestrator.model.errors import LockHeld, StateError

FRESH = 0.002  # seconds
BEAT = 10.0  # seconds between two heartbeats
SILENT = 120.0  # seconds without one after which an owner on another host counts as gone
_MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the lock. `started` is the start time of process `pid` on `host`, as its kernel told it."""

    token: str
    owner: str
    host: str
    pid: int
    started: str
    command: str
    run: str
    since: str

    def here(self) -> bool:
        """Whether it was taken on this host."""
        return self.host == socket.gethostname()

    def alive(self) -> bool | None:
        """Whether its process lives; None where that cannot be seen from here."""
        return (bool(self.started) and start_time(self.pid) == self.started) if self.here() else None


@dataclass(frozen=True, slots=True)
class Seen:
    """A holder and the seconds since its last heartbeat."""

    holder: Holder
    silent: float

    @property
    def dead(self) -> bool:
        """Whether the owner is surely gone: its process ended on this host."""
        return self.holder.alive() is False

    def explain(self) -> str:
        """One sentence for the operator."""
        one = self.holder
        life = "its process has ended" if self.dead else f"last sign of life {self.silent:.0f} s ago"
        return f"{one.owner} on {one.host} holds the lock since {one.since} (pid {one.pid}, `{one.command}`, run {one.run or '-'}); {life}"


def look(folder: Path) -> Seen | None:
    """Who has the lock now; None when nobody has. Changes nothing. Raises StateError for a file that is not a lock."""
    path = folder / "lock"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"the lock {path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
    try:
        data = json.loads(os.read(handle, _MOST_BYTES))
        holder = Holder(**{one.name: _typed(data[one.name], int if one.name == "pid" else str) for one in fields(Holder)})
        return Seen(holder, max(0.0, time.time() - os.fstat(handle).st_mtime))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateError(f"the lock {path} says nothing that can be read", hint=f"when no bootstrap runs anywhere: rm {path}") from error
    finally:
        os.close(handle)


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} should be")
    return value


class Lock:
    """The lock, held. `took_over` is whose place was taken, if anybody's. Asked before every mutation (`check`)."""

    def __init__(self, folder: Path, holder: Holder, handle: int, took_over: Seen | None) -> None:
        self.holder, self.took_over = holder, took_over
        self._folder, self._path, self._handle = folder, folder / "lock", handle
        mine = os.fstat(handle)
        self._mine = (mine.st_dev, mine.st_ino)
        self._looked = 0.0
        self._closed = threading.Event()
        self._beat = threading.Thread(target=self._beats, name="lock", daemon=True)
        self._beat.start()

    @classmethod
    def take(cls, folder: Path, *, command: str, run: str = "", force: bool = False) -> Lock:
        """Take the lock. That of a process that ended on this host is taken over by itself, any other only with `force`.

        Raises LockHeld that says who has it, StateError.
        """
        holder = Holder(
            uuid.uuid4().hex,
            getpass.getuser(),
            socket.gethostname(),
            os.getpid(),
            start_time(os.getpid()),
            command,
            run,
            datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        try:
            with _guard(folder):
                seen = look(folder)
                if seen is not None and not seen.dead and not force:
                    raise LockHeld(seen.explain(), hint=_hint(seen))
                return cls(folder, holder, _put(folder, holder), seen)
        except OSError as error:
            raise StateError(f"the lock in {folder} cannot be taken: {error.strerror or error}", hint=f"ls -ld {folder}; df -h {folder}") from error

    def check(self) -> None:
        """Raises LockHeld when somebody else has taken the lock, or removed it.

        A look is good for `FRESH`; a process that was stopped meanwhile finds that this time has passed.
        """
        now = time.monotonic()
        if now - self._looked < FRESH:
            return
        try:
            there: os.stat_result | None = self._path.lstat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != self._mine:
            raise LockHeld(self._lost(), hint="bootstrap status")
        self._looked = now

    def _lost(self) -> str:
        with suppress(StateError):
            seen = look(self._folder)
            if seen is not None:
                return f"the lock was taken over while this process slept: {seen.explain()}"
        return "the lock was removed while this process held it"

    def release(self) -> None:
        """Let it go. What somebody else took over is left alone."""
        self._closed.set()
        self._beat.join()
        with _guard(self._folder), suppress(LockHeld):
            self._looked = 0.0
            self.check()
            self._path.unlink()
        os.close(self._handle)

    def _beats(self) -> None:
        while not self._closed.wait(BEAT):
            with suppress(OSError):
                os.utime(self._handle)


def unlock(folder: Path, *, force: bool = False) -> Seen | None:
    """Remove the lock of an owner that is gone: ended on this host, or silent for long on another. -> who had it.

    Raises LockHeld while its owner lives, unless `force`: the owner then notices before its next mutation.
    """
    with _guard(folder):
        seen = look(folder)
        if seen is None:
            return None
        gone = seen.dead or (not seen.holder.here() and seen.silent > SILENT)
        if not gone and not force:
            raise LockHeld(seen.explain(), hint="when it is sure that it is gone: bootstrap unlock --force")
        (folder / "lock").unlink()
        return seen


def _hint(seen: Seen) -> str:
    if seen.holder.here() or seen.silent <= SILENT:
        return "wait for it, or bootstrap status; when it is sure that it is gone: bootstrap unlock"
    return "it was silent for long: bootstrap unlock"


def _put(folder: Path, holder: Holder) -> int:
    """Put the lock in its place, whole and durably. -> the handle that stays open on it"""
    temporary = folder / f".lock.{holder.token}"
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(handle, 0o600)
    os.write(handle, json.dumps(asdict(holder), indent=1).encode() + b"\n")
    os.fsync(handle)
    temporary.replace(folder / "lock")
    return handle


@contextmanager
def _guard(folder: Path) -> Iterator[None]:
    handle = os.open(folder / "lock.guard", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
