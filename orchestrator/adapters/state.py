"""The state folder `.bootstrap/` beside the site file: made private, refused when it is not usable, laid out.

    journal/ runs/<id>/ lock clusters/<name>/ .gitignore
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.adapters.files import write_private
from orchestrator.model.errors import StateError

NAME = ".bootstrap"
ROOM_BYTES = 8 << 20  # that must be free before anything is changed: a run's records and outputs
PARTS = ("journal", "runs", "clusters")


class StateFolder:
    """The folder of one site. `path` need not exist before `prepare`."""

    def __init__(self, site_folder: Path) -> None:
        self.path = site_folder / NAME
        self.journal = self.path / "journal"
        self.runs = self.path / "runs"

    def refuse_foreign(self) -> None:
        """Raises StateError when the folder, or a part of it, is a link, no folder, or somebody else's. Changes nothing."""
        for path in (self.path, *(self.path / part for part in PARTS), self.path / "lock"):
            try:
                there = path.lstat()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _unusable(path, error.strerror or str(error)) from error
            folder = path.name != "lock"
            if stat.S_ISLNK(there.st_mode):
                raise _unusable(path, "it is a symbolic link")
            if folder and not stat.S_ISDIR(there.st_mode):
                raise _unusable(path, "it is no folder")
            if there.st_uid != os.geteuid():
                raise _unusable(path, f"it belongs to user {there.st_uid}")

    def prepare(self) -> None:
        """Make the folder where it is missing, private whatever the umask. Raises StateError when it is foreign, read-only or full."""
        self.refuse_foreign()
        try:
            for path in (self.path, *(self.path / part for part in PARTS)):
                if not path.is_dir():
                    path.mkdir()
                    _sync_names(path.parent)
                path.chmod(0o700)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                write_private(ignore, "*\n")
            self._prove_writable()
        except OSError as error:
            raise _unusable(self.path, error.strerror or str(error)) from error

    def _prove_writable(self) -> None:
        room = os.statvfs(self.path)
        free = room.f_bavail * room.f_frsize
        if free < ROOM_BYTES:
            raise _unusable(self.path, f"{free >> 20} MiB are free, {ROOM_BYTES >> 20} are needed")
        probe = self.path / ".probe"  # one name for all: what a killed process left there is in nobody's way
        handle = os.open(probe, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        try:
            os.write(handle, b"\0" * 65536)
            os.fsync(handle)
        finally:
            os.close(handle)
            probe.unlink(missing_ok=True)

    def new_run(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> str:
        """Make the folder of a new run. -> its id, which sorts by time"""
        name = f"{now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        folder = self.runs / name
        try:
            folder.mkdir()
            folder.chmod(0o700)
        except OSError as error:
            raise _unusable(folder, error.strerror or str(error)) from error
        return name


def _sync_names(folder: Path) -> None:
    """Return when the names in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unusable(path: Path, why: str) -> StateError:
    return StateError(f"the state folder cannot be used: {path}: {why}", hint=f"ls -ld {path}; df -h {path.parent}")
