"""The world's own record of what clients outside the lab's process did to it.

Tests ask this record, not the orchestrator, whether a dry run wrote nothing and whether a command ran twice. Entries that
mutate are appended to a file and are never dropped; of the rest the last ones are kept in memory. Source: design.md 8 "Record".
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal, Protocol

Via = Literal["api", "cli", "ssh", "git", "s3", "http"]
READS_KEPT = 50_000


class _Now(Protocol):
    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a client did. `argv` for programs, `request` for everything else; `at` is simulated time."""

    seq: int
    at: str
    actor: str
    via: Via
    what: str
    argv: tuple[str, ...] | None
    request: str | None
    mutates: bool
    ok: bool

    def whole(self) -> dict[str, Any]:
        """Every field; its values are plain already, so that nothing is copied."""
        return {name: getattr(self, name) for name in self.__slots__}

    def public(self) -> dict[str, Any]:
        """The entry as `lab log -o ndjson` prints it: no `seq`, and only one of `argv` and `request`."""
        fields = self.whole()
        del fields["seq"]
        del fields["request" if self.argv is not None else "argv"]
        return fields


class Record:
    """What was done to the world, oldest first."""

    def __init__(self, clock: _Now, path: Path | None = None, *, reads: int = READS_KEPT) -> None:
        """Writes go to `path` (NDJSON, one entry a line) too, and are read back from it when it exists."""
        self._clock = clock
        self._path = path
        self._file: IO[str] | None = None
        self._reads: deque[Entry] = deque(maxlen=reads)
        self._writes: list[Entry] = []
        self._seq = 0
        if path is not None and path.exists():
            self._load(path)

    def stamp(self) -> str:
        """The simulated time of now as an entry's `at`."""
        return self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def add(
        self,
        *,
        actor: str,
        via: Via,
        what: str,
        mutates: bool,
        ok: bool,
        argv: Sequence[str] | None = None,
        request: str | None = None,
        at: str | None = None,
    ) -> Entry:
        """Note one finished thing. `at` is when it began, where that is not now. Secrets are the caller's to leave out."""
        self._seq += 1
        entry = Entry(
            self._seq, at or self.stamp(), actor, via, what, None if argv is None else tuple(argv), request, mutates, ok
        )
        if mutates:
            self._writes.append(entry)
            self._append(entry)
        else:
            self._reads.append(entry)
        return entry

    def entries(self) -> list[Entry]:
        """Everything that is kept, oldest first."""
        return sorted([*self._writes, *self._reads], key=lambda e: e.seq)

    def writes(self) -> list[Entry]:
        """Every entry that could change the world's stored state, oldest first."""
        return list(self._writes)

    def snapshot(self) -> list[dict[str, Any]]:
        """Every write, for a snapshot of the world."""
        return [e.whole() for e in self._writes]

    def restore(self, entries: Sequence[dict[str, Any]]) -> None:
        """Replace what is kept by the writes of a snapshot; the file follows."""
        self._reads.clear()
        self._writes = [_entry(e) for e in entries]
        self._seq = max((e.seq for e in self._writes), default=0)
        self.close()
        if self._path is not None:
            self._path.write_text("".join(_line(e) for e in self._writes), encoding="utf-8")

    def close(self) -> None:
        """Close the file; a later entry opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, entry: Entry) -> None:
        if self._path is None:
            return
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(_line(entry))
        self._file.flush()

    def _load(self, path: Path) -> None:
        for line in path.read_text(encoding="utf-8").splitlines():
            self._writes.append(_entry(json.loads(line)))
        self._seq = max((e.seq for e in self._writes), default=0)


def _line(entry: Entry) -> str:
    return json.dumps(entry.whole(), separators=(",", ":")) + "\n"


def _entry(fields: dict[str, Any]) -> Entry:
    argv = fields["argv"]
    return Entry(**{**fields, "argv": None if argv is None else tuple(argv)})
