"""Running the wrapped programs: own process group, stdin closed, a deadline of our own, output masked on its way to disk.

The environment of a child is an allow-list: ambient configuration (KUBECONFIG, TALOSCONFIG, HELM_*, proxies) never
reaches a wrapped program unless the call itself names it.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.adapters.masking import MaskedStream, Masker
from orchestrator.model.data import dataclass

ALLOWED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
FIXED = {"NO_COLOR": "1", "TERM": "dumb", "KUBECONFIG": "/dev/null", "TALOSCONFIG": "/dev/null", "HELM_NO_PLUGINS": "1"}
CHUNK = 1 << 16
TAIL_LINES = 20
MOST_OUTPUT = 64 << 20  # bytes kept in memory of one query's answer
LOOK = 0.2  # seconds between two looks at `stopped`
GRACE = 5.0  # seconds between SIGTERM and SIGKILL for a child's group


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended. `tail` are the last lines of stderr (or of stdout where stderr is empty), masked."""

    rc: int
    stdout: str
    stderr: str
    tail: str
    timed_out: bool
    stopped: bool
    seconds: float


def environment(environ: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """What one child gets: the allow-list, fixed values, and what its own call names."""
    return {name: environ[name] for name in ALLOWED if name in environ} | FIXED | dict(extra)


def run(
    argv: tuple[str, ...],
    *,
    env: Mapping[str, str],
    cwd: Path,
    within: float,
    masker: Masker,
    stdout: Path | None = None,
    stderr: Path | None = None,
    stdin: str | None = None,
    tail: bool = True,
    stopped: Callable[[], bool] = lambda: False,
    spawned: Callable[[int], None] = lambda pid: None,
) -> Ended:
    """Run a program to its end. With `stdout`/`stderr` its masked output goes to these files as it comes; without, it is
    kept in memory as it is, and without `tail` nobody reads it masked. Raises FileNotFoundError when the program is not on PATH.
    """
    started = time.monotonic()
    child = subprocess.Popen(argv, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    spawned(child.pid)
    sinks = (_Sink(masker, stdout, tail=tail), _Sink(masker, stderr, tail=tail, late=True))
    try:
        if stdin is not None and child.stdin is not None:
            with suppress(BrokenPipeError), child.stdin:
                child.stdin.write(stdin.encode())
        timed_out, was_stopped = _pump(child, sinks, started + within, stopped)
    except BaseException:
        end(child)
        raise
    finally:
        for sink in sinks:
            sink.close()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
    rc = child.wait()
    last = "\n".join(sinks[1].tail or sinks[0].tail)
    return Ended(rc, sinks[0].text(), sinks[1].text(), last, timed_out, was_stopped, time.monotonic() - started)


def _pump(child: subprocess.Popen[bytes], sinks: tuple[_Sink, _Sink], deadline: float, stopped: Callable[[], bool]) -> tuple[bool, bool]:
    """Move output until both pipes end; end the group at the deadline or when stopped. -> (timed out, stopped)"""
    timed_out = was_stopped = False
    kill_at: float | None = None
    with selectors.PollSelector() as ready:  # two pipes: cheaper than an epoll of its own
        for pipe, sink in zip((child.stdout, child.stderr), sinks, strict=True):
            assert pipe is not None  # Popen was asked for pipes
            ready.register(pipe, selectors.EVENT_READ, sink)
        while ready.get_map():
            now = time.monotonic()
            if kill_at is None and (now >= deadline or stopped()):
                timed_out, was_stopped = now >= deadline, now < deadline
                signal_group(child.pid, signal.SIGTERM)
                kill_at = now + GRACE
            elif kill_at is not None and now >= kill_at:
                signal_group(child.pid, signal.SIGKILL)
                break
            for key, _ in ready.select(min(LOOK, max(0.0, (kill_at or deadline) - now))):
                chunk = os.read(key.fd, CHUNK)
                if chunk:
                    key.data.feed(chunk)
                else:
                    ready.unregister(key.fileobj)
    with suppress(subprocess.TimeoutExpired):
        child.wait(max(0.0, deadline - time.monotonic()) if kill_at is None else GRACE)
    if child.poll() is None:  # it closed its pipes and lives on
        timed_out = timed_out or kill_at is None
        end(child)
    return timed_out, was_stopped


class _Sink:
    """Where one stream of a child goes: a masked file, or memory. A `late` file is made with the first output."""

    def __init__(self, masker: Masker, path: Path | None, *, tail: bool, late: bool = False) -> None:
        self._filter: MaskedStream | None = masker.stream() if tail or path is not None else None
        self._raw = bytearray()
        self._path = path
        self._handle = None if path is None or late else _open(path)
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)

    def feed(self, chunk: bytes) -> None:
        if self._path is None and len(self._raw) < MOST_OUTPUT:
            self._raw += chunk
        if self._filter is not None:
            self._put(self._filter.feed(chunk))

    def close(self) -> None:
        if self._filter is not None:
            self._put(self._filter.close())
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def text(self) -> str:
        return self._raw.decode("utf-8", "backslashreplace")

    def _put(self, text: str) -> None:
        if text:
            self.tail.extend(text.splitlines())
            if self._path is not None:
                self._handle = _open(self._path) if self._handle is None else self._handle
                os.write(self._handle, text.encode())


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a child's process group, which carries the child's pid."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child and all that it started: politely, then surely."""
    signal_group(child.pid, signal.SIGTERM)
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        signal_group(child.pid, signal.SIGKILL)
        child.wait()
