"""Power cuts by replay: every call that changes a folder is recorded, and what a disk may hold after any prefix of them is laid out again.

The model is the least that POSIX promises. Written data is on disk after fsync of the file and not before: until then each write is there
whole, in part, as zeros or not at all, on its own. A name (made, linked, renamed, removed, a folder's too) is on disk after fsync of the folder
that holds it: until then each such change is there or not, on its own; a rename is there or not as a whole.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Op = tuple[Any, ...]
ROOT = 0
SHORT = 16  # bytes of a write that is torn everywhere


@dataclass
class Log:
    """The calls, in order: what the operating system was told, and what was acknowledged to somebody in between."""

    ops: list[Op] = field(default_factory=list)
    before: list[Op] = field(default_factory=list)  # calls that were over, and on disk, before the first cut

    def settle(self) -> None:
        """All that was done so far is on disk: cuts come later."""
        self.before, self.ops = [*self.before, *self.ops], []

    def acknowledge(self, value: Any) -> None:
        """From here on `value` must survive."""
        self.ops.append(("ack", value))


class _Tracker:
    """Follows the calls below one folder: which number each file and folder has, and where each handle writes."""

    def __init__(self, root: Path, log: Log) -> None:
        self.root, self.log = str(root), log
        self.names: dict[tuple[int, str], int] = {}
        self.sizes: dict[int, int] = {}
        self.handles: dict[int, list[int]] = {}  # fd -> [number, position, appends]
        self.next = 1

    def place(self, path: Any) -> tuple[int, str] | None:
        """(folder's number, name) of a path below the root; None elsewhere."""
        text = str(Path(path).absolute())
        if not text.startswith(self.root + "/"):
            return None
        here, *parts = ROOT, *text[len(self.root) + 1 :].split("/")
        for part in parts[:-1]:
            here = self.names.get((here, part), -1)
        return (here, parts[-1]) if here >= 0 else None

    def number(self, path: Any) -> int | None:
        """The number of what a path names."""
        if str(Path(path).absolute()) == self.root:
            return ROOT
        place = self.place(path)
        return None if place is None else self.names.get(place)

    def made(self, kind: str, path: Any) -> int | None:
        """A new file or folder."""
        place = self.place(path)
        if place is None:
            return None
        number, self.next = self.next, self.next + 1
        self.names[place] = number
        self.sizes[number] = 0
        self.log.ops.append((kind, *place, number))
        return number


@contextmanager
def recorded(root: Path) -> Iterator[Log]:
    """Record every call of `os` that changes something below `root`, which is empty now. Not for other threads' use of `os`."""
    log = Log()
    seen = _Tracker(root, log)
    real = {name: getattr(os, name) for name in ("open", "write", "pwrite", "fsync", "fdatasync", "ftruncate", "close", "replace", "rename", "link", "unlink", "mkdir", "rmdir")}

    def opened(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        there = os.path.lexists(path) if isinstance(path, str | os.PathLike) else True
        handle: int = real["open"](path, flags, *rest, **more)
        if isinstance(path, str | os.PathLike):
            number = seen.number(path)
            if number is None and flags & os.O_CREAT and not there:
                number = seen.made("create", path)
            if number is not None:
                if flags & os.O_TRUNC and seen.sizes.get(number):
                    log.ops.append(("truncate", number, 0))
                    seen.sizes[number] = 0
                seen.handles[handle] = [number, 0, flags & os.O_APPEND]
        return handle

    def wrote(handle: int, data: Any) -> int:
        done: int = real["write"](handle, data)
        if handle in seen.handles:
            number, position, appends = seen.handles[handle]
            at = seen.sizes[number] if appends else position
            _put(seen, number, at, bytes(data)[:done])
            seen.handles[handle][1] = at + done
        return done

    def put(handle: int, data: Any, offset: int) -> int:
        done: int = real["pwrite"](handle, data, offset)
        if handle in seen.handles:
            _put(seen, seen.handles[handle][0], offset, bytes(data)[:done])
        return done

    def synced(name: str) -> Callable[[int], None]:
        def sync(handle: int) -> None:
            real[name](handle)
            if handle in seen.handles:
                log.ops.append(("sync", seen.handles[handle][0]))

        return sync

    def cut(handle: int, size: int) -> None:
        real["ftruncate"](handle, size)
        if handle in seen.handles:
            log.ops.append(("truncate", seen.handles[handle][0], size))
            seen.sizes[seen.handles[handle][0]] = size

    def closed(handle: int) -> None:
        seen.handles.pop(handle, None)
        real["close"](handle)

    def moved(old: Any, new: Any, **more: Any) -> None:
        real["replace"](old, new, **more)
        source, target = seen.place(old), seen.place(new)
        if source is not None and target is not None and source in seen.names:
            number = seen.names.pop(source)
            seen.names[target] = number
            log.ops.append(("rename", *source, *target, number))

    def linked(old: Any, new: Any, **more: Any) -> None:
        real["link"](old, new, **more)
        number, target = seen.number(old), seen.place(new)
        if number is not None and target is not None:
            seen.names[target] = number
            log.ops.append(("create", *target, number))

    def removed(path: Any, **more: Any) -> None:
        real["unlink"](path, **more)
        place = seen.place(path)
        if place is not None and seen.names.pop(place, None) is not None:
            log.ops.append(("unlink", *place))

    def folder(path: Any, *rest: Any, **more: Any) -> None:
        real["mkdir"](path, *rest, **more)
        seen.made("mkdir", path)

    fakes = {"open": opened, "write": wrote, "pwrite": put, "fsync": synced("fsync"), "fdatasync": synced("fdatasync"), "ftruncate": cut, "close": closed, "replace": moved, "rename": moved, "link": linked, "unlink": removed, "mkdir": folder}
    for name, fake in fakes.items():
        setattr(os, name, fake)
    try:
        yield log
    finally:
        for name in fakes:
            setattr(os, name, real[name])


def _put(seen: _Tracker, number: int, offset: int, data: bytes) -> None:
    seen.log.ops.append(("write", number, offset, data))
    seen.sizes[number] = max(seen.sizes[number], offset + len(data))


Fate = Callable[[str, Op], int]
"""(kind of change, the call) -> what became of an unsynced change: bytes of a write that arrived (-1: as zeros), 1 or 0 of a name."""


@dataclass
class Disk:
    """What a disk surely holds, and what is still on its way."""

    content: dict[int, bytearray] = field(default_factory=dict)
    names: dict[tuple[int, str], int] = field(default_factory=dict)
    writes: dict[int, list[Op]] = field(default_factory=dict)
    changes: list[Op] = field(default_factory=list)
    folders: set[int] = field(default_factory=lambda: {ROOT})
    acknowledged: list[Any] = field(default_factory=list)

    def take(self, op: Op) -> None:
        """One call after the other."""
        match op:
            case ("ack", value):
                self.acknowledged.append(value)
            case ("write", number, _, _) | ("truncate", number, _):
                self.writes.setdefault(number, []).append(op)
            case ("sync", number) if number in self.folders:
                for change in [one for one in self.changes if number in _folders(one)]:
                    self.changes.remove(change)
                    self._rename(change)
            case ("sync", number):
                for write in self.writes.pop(number, []):
                    self._write(write, len(write[-1]) if write[0] == "write" else 1)
            case ("mkdir", _, _, number):
                self.folders.add(number)
                self.changes.append(op)
            case ("create", _, _, number):
                self.content.setdefault(number, bytearray())
                self.changes.append(op)
            case _:
                self.changes.append(op)

    def cut(self, folder: Path, fate: Fate) -> None:
        """The power goes now: lay out what is left in `folder`, a new one."""
        left = Disk({n: bytearray(c) for n, c in self.content.items()}, dict(self.names), folders=self.folders)
        for writes in self.writes.values():
            for write in writes:
                left._write(write, fate("write", write))
        for change in self.changes:
            if fate("name", change):
                left._rename(change)
        left._lay_out(ROOT, folder)

    def _rename(self, change: Op) -> None:
        match change:
            case ("mkdir" | "create", parent, name, number):
                self.names[parent, name] = number
            case ("unlink", parent, name):
                self.names.pop((parent, name), None)
            case ("rename", parent, name, to, other, number):
                if self.names.get((parent, name)) == number:
                    del self.names[parent, name]
                self.names[to, other] = number

    def _write(self, write: Op, arrived: int) -> None:
        content = self.content.setdefault(write[1], bytearray())
        if write[0] == "truncate":
            if arrived:
                del content[write[2] :]
            return
        _, _, offset, data = write
        data = b"\0" * len(data) if arrived < 0 else data[:arrived]
        if data:
            content.extend(b"\0" * (offset - len(content)))
            content[offset : offset + len(data)] = data

    def _lay_out(self, number: int, folder: Path) -> None:
        folder.mkdir()
        for (parent, name), child in self.names.items():
            if parent == number and child in self.folders:
                self._lay_out(child, folder / name)
            elif parent == number:
                (folder / name).write_bytes(self.content.get(child, b""))
                (folder / name).chmod(0o600)


def _folders(change: Op) -> tuple[int, ...]:
    return (change[1], change[3]) if change[0] == "rename" else (change[1],)


def fates(disk: Disk, chance: random.Random, some: int) -> Iterator[Fate]:
    """Ways in which a cut can go: nothing arrived, all did, the last write torn at every byte (of long ones at some bytes), `some` at random."""
    yield lambda kind, op: 0
    yield lambda kind, op: len(op[-1]) if op[0] == "write" else 1
    pending = [write for writes in disk.writes.values() for write in writes if write[0] == "write"]
    if pending:
        last = max(pending, key=lambda write: write[2])
        size = len(last[3])
        for torn in range(size) if size <= SHORT else sorted(chance.sample(range(size), some)):
            yield lambda kind, op, torn=torn: torn if op is last else len(op[-1]) if op[0] == "write" else 1
    if pending or disk.changes:
        for _ in range(some):
            seed = chance.random()
            yield _random_fate(random.Random(seed))


def _random_fate(chance: random.Random) -> Fate:
    def fate(kind: str, op: Op) -> int:
        if op[0] != "write":
            return chance.randrange(2)
        return chance.choice((0, -1, len(op[3]), chance.randrange(len(op[3]) + 1)))

    return fate


def cuts(log: Log, base: Path, chance: random.Random, some: int = 4) -> Iterator[tuple[Path, list[Any]]]:
    """Every prefix of the log in every way: (a folder as the disk holds it, what had been acknowledged)."""
    disk = Disk()
    for op in log.before:
        disk.take(op)
    number = 0
    for op in [None, *log.ops]:
        if op is not None:
            disk.take(op)
        if op is None or op[0] != "ack" or op is log.ops[-1]:
            for fate in fates(disk, chance, some):
                number += 1
                folder = base / f"cut-{number}"
                disk.cut(folder, fate)
                yield folder, list(disk.acknowledged)
