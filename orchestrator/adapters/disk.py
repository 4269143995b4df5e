"""The few file system calls that the journal's promises rest on, behind a seam: tests record and replay them.

What is on disk after a power cut: what was written to a file before its last `sync`, under names that were there before
the last `sync_dir`; of anything later, any part.
"""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE = 0o600


class Disk:
    """The calls as the operating system does them. Handles are file descriptors."""

    def create(self, path: Path) -> int:
        """A new, empty file, 0600 whatever the umask, open for appending. Raises FileExistsError."""
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
        os.fchmod(handle, PRIVATE)
        return handle

    def open_append(self, path: Path) -> int:
        """A file that is there, open for appending."""
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)

    def open_slots(self, path: Path) -> int:
        """A file to be written in place; created, 0600, where it is missing."""
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
        os.fchmod(handle, PRIVATE)
        return handle

    def append(self, handle: int, data: bytes) -> None:
        """Write all of `data` behind the file's end."""
        while data:
            data = data[os.write(handle, data) :]

    def put(self, handle: int, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        while data:
            done = os.pwrite(handle, data, offset)
            data, offset = data[done:], offset + done

    def sync(self, handle: int) -> None:
        """Return when everything written to the file is on disk."""
        os.fdatasync(handle) if hasattr(os, "fdatasync") else os.fsync(handle)

    def truncate(self, path: Path, size_bytes: int) -> None:
        """Cut a file, durably."""
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.ftruncate(handle, size_bytes)
            os.fsync(handle)
        finally:
            os.close(handle)

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        path.unlink()

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or folder another name, replacing what has it."""
        old.replace(new)

    def mkdir(self, path: Path) -> None:
        """A new folder, 0700 whatever the umask."""
        path.mkdir(mode=0o700)
        path.chmod(0o700)

    def sync_dir(self, path: Path) -> None:
        """Return when the names in a folder are on disk."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def close(self, handle: int) -> None:
        """Let a handle go."""
        os.close(handle)
