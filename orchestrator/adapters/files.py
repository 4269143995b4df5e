"""Files below the site's folder: written whole, durably and private, whatever the umask."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

from orchestrator.model.errors import PreconditionError

PRIVATE = 0o600
PRIVATE_DIR = 0o700


def private_dir(path: Path) -> None:
    """Make the folder and its missing parents, 0700, durably."""
    if path.exists():
        return
    missing = list(takewhile(lambda parent: not parent.exists(), (path, *path.parents)))
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        parent.chmod(PRIVATE_DIR)
        _sync_dir(parent.parent)  # else a power cut takes the folder, with the file that was synced into it


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically and durably, 0600."""
    private_dir(path.parent)
    temporary = path.with_name(f".{path.name}.new")
    _write(temporary, text, os.O_TRUNC)
    temporary.replace(path)
    _sync_dir(path.parent)


def create_private(path: Path, text: str) -> None:
    """Create a file durably, 0600. Raises PreconditionError when it exists: nothing is ever overwritten."""
    private_dir(path.parent)
    temporary = path.with_name(f".{path.name}.new")
    _write(temporary, text, os.O_TRUNC)
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise PreconditionError(f"{path.name} exists already; it is never overwritten", hint=f"ls -l {path}") from error
    finally:
        temporary.unlink()
    _sync_dir(path.parent)


def make_private(path: Path) -> None:
    """Take from others what a wrapped program let them read."""
    if path.is_dir():
        path.chmod(PRIVATE_DIR)
        for child in path.iterdir():
            make_private(child)
    elif path.exists():
        path.chmod(PRIVATE)


def describe(path: Path, *, text: bool) -> dict[str, Any]:
    """`{"exists", "mode", "sha256", "text"}` of a file."""
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return {"exists": False, "mode": None, "sha256": None, "text": None}
    shown = raw.decode("utf-8", "replace") if text else None
    return {"exists": True, "mode": path.stat().st_mode & 0o777, "sha256": hashlib.sha256(raw).hexdigest(), "text": shown}


def workstation(site_dir: Path) -> dict[str, Any]:
    """Facts of this machine that preflight wants."""
    return {
        "now": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "free_bytes": shutil.disk_usage(site_dir).free,
        "writable": os.access(site_dir, os.W_OK),
    }


def _write(path: Path, text: str, flag: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | flag, PRIVATE)
    try:
        os.fchmod(handle, PRIVATE)
        view = memoryview(text.encode())
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_dir(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
