"""Processes: who they are, which of an earlier run still live, and how they are ended. Linux's /proc; elsewhere `ps`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from orchestrator.model.ports import Child

PROC = Path("/proc")
MARKER = "BOOTSTRAP_ACTION"
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
LOOK = 0.05


def start_time(pid: int) -> str:
    """When a process started, as the kernel tells it, with the boot that it belongs to; empty when there is none (or it is a zombie)."""
    try:
        with open(f"{PROC}/{pid}/stat", "rb") as file:  # noqa: PTH123  # asked once a child: a Path costs more than the file
            stat = file.read()
    except FileNotFoundError:
        return "" if PROC.joinpath("self").exists() else _ps(pid)
    except (OSError, ValueError):
        return ""
    fields = stat.rpartition(b")")[2].split()  # behind the name, which may hold anything
    return "" if fields[0] in b"ZX" else f"{_boot()}:{fields[19].decode()}"


def _ps(pid: int) -> str:
    """Where there is no /proc."""
    done = subprocess.run(("ps", "-o", "lstart=", "-p", str(pid)), capture_output=True, text=True, check=False)
    return done.stdout.strip()


@cache
def _boot() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return ""




class SystemChildren:
    """The processes of this host. Keeps no state."""

    def __init__(self) -> None:
        self._host = socket.gethostname()

    def identify(self, pid: int) -> Child:
        """Who `pid` is now."""
        return Child(pid, start_time(pid), self._host)

    def find(self, marker: str) -> tuple[Child, ...]:
        """Living processes of ours whose environment holds `BOOTSTRAP_ACTION=marker`; what they started carries it too."""
        wanted = f"{MARKER}={marker}".encode()
        found = []
        for entry in PROC.glob("[0-9]*") if PROC.is_dir() else ():
            with suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(self.identify(int(entry.name)))
        return tuple(child for child in found if child.started)

    def living(self, child: Child) -> bool:
        """Whether this very process still runs here."""
        return child.host == self._host and bool(child.started) and start_time(child.pid) == child.started

    def end(self, child: Child) -> None:
        """End it and its process group: SIGTERM, then SIGKILL. Never touches a process that is not `child`."""
        for number, grace in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
            if not self.living(child):
                return
            with suppress(ProcessLookupError, PermissionError):
                group = os.getpgid(child.pid)
                os.kill(child.pid, number) if group == os.getpgrp() else os.killpg(group, number)
            until = time.monotonic() + grace
            while self.living(child) and time.monotonic() < until:
                time.sleep(LOOK)
