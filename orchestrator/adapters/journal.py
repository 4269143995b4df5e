"""The journal: append-only NDJSON, hash-chained, durable; `.bootstrap/journal/NNNNNN.ndjson` and the anchor beside them.

A record is one line of canonical JSON (sorted keys, no blanks, ASCII) with `hash` put last: SHA-256 over the line without
it. `prev` is the hash of the record before, over all files. The first record of a file, `journal.file`, names the schema.

The anchor holds, in two slots that are written in turn, `count` and `hash` of the last record that is surely on disk, and
`written`, the last one that was handed to the operating system. It never names a record as durable before it is, so after a
power cut the journal has at least `count` records: fewer means that somebody cut it. What lies behind `count` and is
damaged was never acknowledged, and is dropped on opening.
"""

from __future__ import annotations

import gc
import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from orchestrator.adapters.disk import Disk
from orchestrator.model import garbage
from orchestrator.model.data import dataclass
from orchestrator.model.errors import BootstrapError, StateError

SCHEMA = 1
ROTATE_BYTES = 16 << 20
SLOT_BYTES = 4096  # apart, so that a torn write of one cannot reach the other
TEXT_BYTES = 256  # of a slot that are used
ANCHOR_EVERY = 0.05  # seconds between two syncs of the anchor while records come in
_TAIL = len(',"hash":""}') + 64
_MANY = 10_000  # records
_MOST_LINE_BYTES = 64 << 20
GUIDE = "bootstrap history --verify shows where; restore .bootstrap/journal from a copy, or move it aside: what was built is found again"

Record = dict[str, Any]
Migration = Callable[[Record], Record]
MIGRATIONS: Mapping[int, Migration] = {}  # schema -> how its records become the next schema's; schema 1 is the first
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the anchor says: `count` records up to `hash` are on disk, `written` were given to the operating system."""

    count: int
    hash: str
    written: int


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that is wrong in a journal, and where: what comes before it is whole."""

    file: Path
    line: int
    offset: int
    why: str
    last: bool  # nothing that looks like a record comes after it


@dataclass(frozen=True, slots=True)
class Loaded:
    """All records up to the first fault."""

    records: list[Record]
    files: tuple[Path, ...]
    fault: Fault | None
    anchor: Anchor | None


def load(folder: Path) -> Loaded:
    """Read the journal, check every hash and link, change nothing. Raises StateError for a newer schema."""
    files = tuple(sorted(folder.glob("[0-9]*.ndjson"))) if folder.is_dir() else ()
    records: list[Record] = []
    fault: Fault | None = None
    with garbage.later():
        for number, file in enumerate(files):
            fault = _load_file(file, records)
            if fault is not None:
                last = fault.last and not any(one.stat().st_size for one in files[number + 1 :])
                fault = replace(fault, last=last)
                break
    if len(records) > _MANY:
        gc.freeze()
    return Loaded(records, files, fault, read_anchor(folder))


def _load_file(file: Path, records: list[Record]) -> Fault | None:
    data = file.read_bytes()
    lines = data.split(b"\n")
    rest = lines.pop()
    try:
        parsed = orjson.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):  # also what only the standard library reads: a lone surrogate in a tool's text
        parsed = [_parsed(line) for line in lines]
    if len(parsed) != len(lines):
        parsed = [_parsed(line) for line in lines]
    if _sound(lines, parsed, records):
        for record in parsed:
            if record["kind"] == "journal.file":
                _refuse_newer(record, file)
        records.extend(parsed)
        offset = len(data) - len(rest)
        return Fault(file, len(lines) + 1, offset, "the last line is torn", last=True) if rest else None
    return _first_fault(file, lines, parsed, records)


def _sound(lines: list[bytes], parsed: list[Any], before: list[Record]) -> bool:
    """Whether every line has its hash, its number and its link; whole lists at a time, for speed."""
    sha = hashlib.sha256
    try:
        hashes = [record["hash"] for record in parsed]
        return (
            hashes == [sha(line[:-_TAIL] + b"}").hexdigest() for line in lines]
            and [record["prev"] for record in parsed] == [before[-1]["hash"] if before else "", *hashes[:-1]][: len(parsed)]
            and [record["seq"] for record in parsed] == list(range(len(before) + 1, len(before) + len(parsed) + 1))
        )
    except (TypeError, KeyError, AttributeError):
        return False


def _first_fault(file: Path, lines: list[bytes], parsed: list[Any], records: list[Record]) -> Fault:
    """Find the fault in a file that has one; the records before it are taken in."""
    prev = records[-1]["hash"] if records else ""
    seq, offset = len(records), 0
    sha = hashlib.sha256
    for number, (line, record) in enumerate(zip(lines, parsed, strict=True)):
        seq += 1
        try:
            good = (
                record["hash"] == sha(line[:-_TAIL] + b"}").hexdigest()
                and line.endswith(record["hash"].encode() + b'"}')
                and record["prev"] == prev
                and record["seq"] == seq
            )
        except (TypeError, KeyError, AttributeError):
            good = False
        if not good:
            return Fault(file, number + 1, offset, _why(record, seq, prev), not any(_whole(one) for one in lines[number + 1 :]))
        if record["kind"] == "journal.file":
            _refuse_newer(record, file)
        prev = record["hash"]
        records.append(record)
        offset += len(line) + 1
    return Fault(file, len(lines), offset, "a line cannot be read", last=False)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _whole(line: bytes) -> bool:
    record = _parsed(line)
    return isinstance(record, dict) and record.get("hash") == hashlib.sha256(line[:-_TAIL] + b"}").hexdigest()


def _why(record: Any, seq: int, prev: str) -> str:
    if not isinstance(record, dict) or "hash" not in record:
        return f"record {seq} cannot be read"
    if record.get("seq") != seq:
        return f"record {seq} is missing: record {record.get('seq')} stands in its place"
    if record.get("prev") != prev:
        return f"record {seq} does not follow the one before it"
    return f"record {seq} was changed"


def _refuse_newer(record: Record, file: Path) -> None:
    schema = record["data"].get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise StateError(f"{file.name} has schema {schema}, this program knows {SCHEMA} and older", hint="use the newer bootstrap that wrote it")


def read_anchor(folder: Path) -> Anchor | None:
    """The newest anchor whose own sum is right; None where there is none."""
    try:
        data = (folder / "anchor").read_bytes()
    except OSError:
        return None
    slots = (_anchor(data[start : start + TEXT_BYTES]) for start in (0, SLOT_BYTES))
    return max((slot for slot in slots if slot), key=lambda slot: (slot.count, slot.written), default=None)


def _anchor(slot: bytes) -> Anchor | None:
    try:
        data = json.loads(slot.rstrip(b" \n\0"))
        body = _anchor_body(data["count"], data["hash"], data["written"])
        if data["sum"] != hashlib.sha256(body.encode()).hexdigest()[:16]:
            return None
        return Anchor(int(data["count"]), str(data["hash"]), int(data["written"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _anchor_body(count: int, head: str, written: int) -> str:
    return f'"count":{count},"hash":"{head}","schema":1,"written":{written}'


def _anchor_slot(count: int, head: str, written: int) -> bytes:
    body = _anchor_body(count, head, written)
    text = f'{{{body},"sum":"{hashlib.sha256(body.encode()).hexdigest()[:16]}"}}'
    return text.encode().ljust(TEXT_BYTES - 1) + b"\n"


def records_of(folder: Path) -> Sequence[Mapping[str, Any]]:
    """The records, for readers: nothing is changed, a tail that was never acknowledged is left out.

    Raises StateError for a journal that is damaged or was cut.
    """
    loaded = load(folder)
    refuse_damage(loaded, folder)
    return loaded.records


def refuse_damage(loaded: Loaded, folder: Path) -> None:
    """Raises StateError for damage that a power cut does not explain."""
    count, anchor, fault = len(loaded.records), loaded.anchor, loaded.fault
    if fault is not None and (count < anchor.count if anchor else not fault.last):
        raise StateError(f"the journal is damaged: {fault.file.name} line {fault.line}: {fault.why}", hint=GUIDE)
    if anchor is not None and count < anchor.count:
        raise StateError(f"the journal was cut: {anchor.count} records were on disk, {count} are there ({folder})", hint=GUIDE)
    if anchor is not None and anchor.count and loaded.records[anchor.count - 1]["hash"] != anchor.hash:
        raise StateError(f"the journal was rewritten: record {anchor.count} is not the one in the anchor ({folder})", hint=GUIDE)


@dataclass(frozen=True, slots=True)
class History:
    """What `history --verify` found. `faults` is empty when the chain is whole and ends where the anchor says."""

    records: int
    head: str
    faults: tuple[str, ...]


def verify(folder: Path) -> History:
    """Recompute the chain and compare it with the anchor."""
    loaded = load(folder)
    records, anchor, fault = loaded.records, loaded.anchor, loaded.fault
    faults = [f"{fault.file.name} line {fault.line}: {fault.why}"] if fault else []
    count = len(records)
    if anchor is None:
        faults += ["the anchor is missing or damaged: a cut tail could not be seen"] if records else []
    elif count < anchor.count:
        faults.append(f"{anchor.count - count} records are missing at the end: the anchor counts {anchor.count}")
    elif anchor.count and records[anchor.count - 1]["hash"] != anchor.hash:
        faults.append(f"record {anchor.count} is not the one in the anchor: the chain was rewritten")
    elif fault is None and count != anchor.written:
        what = "were added behind the anchor" if count > anchor.written else "are missing at the end (cut, or lost in a power cut)"
        faults.append(f"{abs(count - anchor.written)} records {what}: the anchor counts {anchor.written}")
    return History(count, records[-1]["hash"] if records else "", tuple(faults))


class Journal:
    """The journal of one site, open for writing by the one that holds the lock. Safe for threads.

    `fence` is asked before every write. Concurrent records share a sync: whoever comes first syncs for all.
    """

    def __init__(
        self,
        folder: Path,
        *,
        disk: Disk | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        fence: Callable[[], None] = lambda: None,
        rotate_bytes: int = ROTATE_BYTES,
        migrations: Mapping[int, Migration] = MIGRATIONS,
    ) -> None:
        """Open, and repair a tail that a power cut tore (`repaired` says what was dropped). Raises StateError."""
        self._folder, self._disk, self._now, self._fence = folder, disk or Disk(), now, fence
        self._rotate_bytes = rotate_bytes
        self._changed = threading.Condition()
        self._syncing = False
        self._broken: BootstrapError | None = None
        self._handle: int | None = None
        self.repaired: str | None = None
        try:
            self._open(migrations)
        except OSError as error:
            raise _unusable(folder, error) from error

    def _open(self, migrations: Mapping[int, Migration]) -> None:
        loaded = self._load_newest(migrations)
        refuse_damage(loaded, self._folder)
        dropped = self._repair(loaded) if loaded.fault is not None else 0
        self._records = loaded.records
        self._synced = len(self._records)
        self._slots = self._disk.open_slots(self._folder / "anchor")
        self._slot, self._anchor_synced_at = 0, 0.0
        files = [file for file in loaded.files if file.exists()]
        if files:
            self._handle, self._size = self._disk.open_append(files[-1]), files[-1].stat().st_size
            self._number = int(files[-1].stem)
            self._disk.sync(self._handle)  # what a killed writer left unsynced
        else:
            self._number = 0
            self._next_file()
        for _ in range(2):  # both slots: an old one must not outvote the new one
            self._set_anchor(force=True)
        self._disk.sync_dir(self._folder)
        if dropped:
            self.repaired = f"{dropped} bytes at the journal's end were torn by a power cut and never acknowledged: dropped"
            self.append("journal.repaired", data={"dropped_bytes": dropped})

    def _load_newest(self, migrations: Mapping[int, Migration]) -> Loaded:
        """The journal as it is, made first where there is none, or as migrated from an older schema."""
        folder, new = self._folder, self._folder.with_name(self._folder.name + ".new")
        if not folder.is_dir():
            if new.is_dir():  # a migration that was cut short between its two renames
                self._disk.rename(new, folder)
            else:
                self._disk.mkdir(folder)
            self._disk.sync_dir(folder.parent)
        loaded = load(folder)
        schema = min((r["data"]["schema"] for r in loaded.records if r["kind"] == "journal.file"), default=SCHEMA)
        if schema == SCHEMA:
            return loaded
        refuse_damage(loaded, folder)
        missing = [number for number in range(schema, SCHEMA) if number not in migrations]
        if missing:
            raise StateError(f"the journal has schema {schema}, and nothing migrates schema {missing[0]}", hint=GUIDE)
        self._migrate(loaded.records, schema, migrations, new)
        return load(folder)

    def _migrate(self, records: Sequence[Record], schema: int, migrations: Mapping[int, Migration], new: Path) -> None:
        """Write the journal anew in today's schema, and keep the old one beside it as `journal.schema-N`."""
        for path in sorted(new.glob("*")) if new.is_dir() else ():
            self._disk.unlink(path)
        if not new.is_dir():
            self._disk.mkdir(new)
        handle, prev = self._disk.create(new / "000001.ndjson"), ""
        for seq, record in enumerate(records, 1):
            for number in range(schema, SCHEMA):
                record = migrations[number](dict(record))
            if record["kind"] == "journal.file":
                record = {**record, "data": {**record["data"], "schema": SCHEMA}}
            line, prev = line_of({**record, "seq": seq, "prev": prev})
            self._disk.append(handle, line)
        self._disk.sync(handle)
        self._disk.close(handle)
        self._disk.sync_dir(new)
        self._disk.sync_dir(new.parent)  # the copy has its name before the old one loses its own
        self._disk.rename(self._folder, self._folder.with_name(f"{self._folder.name}.schema-{schema}"))
        self._disk.rename(new, self._folder)
        self._disk.sync_dir(self._folder.parent)

    def _repair(self, loaded: Loaded) -> int:
        """Drop the tail behind the first fault, and files behind it. -> bytes dropped"""
        assert loaded.fault is not None  # the caller's condition
        index = loaded.files.index(loaded.fault.file)
        dropped = loaded.fault.file.stat().st_size - loaded.fault.offset
        for file in reversed(loaded.files[index + 1 :]):
            dropped += file.stat().st_size
            self._disk.unlink(file)
        self._disk.truncate(loaded.fault.file, loaded.fault.offset)
        if loaded.fault.offset == 0:
            self._disk.unlink(loaded.fault.file)
        self._disk.sync_dir(self._folder)
        return dropped

    def records(self) -> Sequence[Mapping[str, Any]]:
        """All records, oldest first."""
        with self._changed:
            return list(self._records)

    def append(
        self,
        kind: str,
        *,
        run: str | None = None,
        phase: str | None = None,
        step: str | None = None,
        node: str | None = None,
        attempt: int | None = None,
        data: Mapping[str, Any] | None = None,
        durable: bool = True,
    ) -> Mapping[str, Any]:
        """Add one record; see the port. Raises StateError when the disk refuses it, LockHeld when the lock was lost."""
        event = {"attempt": attempt, "data": data or {}, "kind": kind, "node": node, "phase": phase, "run": run, "step": step}
        with self._changed:
            self._alive()
            try:
                self._fence()
                while self._size >= self._rotate_bytes:
                    if self._syncing:
                        self._changed.wait()  # the file's handle is in use
                    else:
                        self._next_file()
                self._alive()
                record = self._write(event)
            except OSError as error:
                raise self._break(_unusable(self._folder, error)) from error
            except BootstrapError as error:
                raise self._break(error) from None
        if durable:
            self._sync_to(record["seq"])
        return record

    def close(self) -> None:
        """Sync what is left, and the anchor."""
        if self._handle is None:
            return
        try:
            if self._broken is None:
                self._sync_to(len(self._records))
                with self._changed:
                    self._set_anchor(force=True)
        finally:
            self._disk.close(self._handle)
            self._disk.close(self._slots)
            self._handle = None

    def _alive(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._handle is None:
            raise StateError("the journal is closed", hint="a bug: please report it")

    def _break(self, error: BootstrapError) -> BootstrapError:
        """No more records after one that failed: what follows would not be chained to what is on disk."""
        self._broken = self._broken or error
        self._changed.notify_all()
        return self._broken

    def _write(self, event: Record) -> Record:
        """Chain an event and hand it to the operating system. Under the lock, so that lines stand in the order of `seq`."""
        assert self._handle is not None  # `_alive` looked
        at = self._now()
        prev = self._records[-1]["hash"] if self._records else ""
        record = {"at": at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z", **event, "prev": prev, "seq": len(self._records) + 1}
        line, record["hash"] = line_of(record)
        if len(line) > _MOST_LINE_BYTES:
            raise StateError(f"a record of {len(line)} bytes is too long for the journal", hint="a bug: please report it")
        self._disk.append(self._handle, line)
        self._records.append(record)
        self._size += len(line)
        self._put_anchor()
        return record

    def _next_file(self) -> None:
        """Begin a file: the old one is on disk before the new one has its name."""
        if self._handle is not None:
            self._disk.sync(self._handle)
            self._synced = len(self._records)
            self._disk.close(self._handle)
        self._number += 1
        self._handle = self._disk.create(self._folder / f"{self._number:06d}.ndjson")
        self._size = 0
        self._disk.sync_dir(self._folder)
        empty = {"attempt": None, "node": None, "phase": None, "run": None, "step": None}
        self._write({**empty, "kind": "journal.file", "data": {"schema": SCHEMA, "file": self._number}})

    def _sync_to(self, seq: int) -> None:
        """Return when record `seq` is on disk: by another's sync, or by one of our own for all that is written."""
        with self._changed:
            while self._syncing and self._synced < seq and self._broken is None:
                self._changed.wait()
            if self._broken is not None:
                raise self._broken
            if self._synced >= seq:
                return
            self._syncing = True
            handle, upto = self._handle, len(self._records)
        error: OSError | None = None
        try:
            assert handle is not None  # a closed journal takes no record
            self._disk.sync(handle)
        except OSError as failed:
            error = failed
        with self._changed:
            self._syncing = False
            try:
                if error is not None:
                    raise error
                self._synced = max(self._synced, upto)
                self._set_anchor(force=False)
            except OSError as failed:
                raise self._break(_unusable(self._folder, failed)) from failed
            finally:
                self._changed.notify_all()

    def _put_anchor(self) -> None:
        """Write the anchor as it is now into the slot that is not the last one synced."""
        head = self._records[self._synced - 1]["hash"] if self._synced else ""
        self._disk.put(self._slots, _anchor_slot(self._synced, head, len(self._records)), self._slot * SLOT_BYTES)

    def _set_anchor(self, *, force: bool) -> None:
        """The anchor after a sync of the journal. Once synced itself, its slot is left alone and the other one is used."""
        self._put_anchor()
        if force or time.monotonic() - self._anchor_synced_at >= ANCHOR_EVERY:
            self._disk.sync(self._slots)
            self._slot = 1 - self._slot
            self._anchor_synced_at = time.monotonic()


def line_of(record: Record) -> tuple[bytes, str]:
    """A record as its line, and its hash."""
    body = _encode({name: value for name, value in record.items() if name != "hash"} if "hash" in record else record).encode()
    digest = hashlib.sha256(body).hexdigest()
    return body[:-1] + b',"hash":"' + digest.encode() + b'"}\n', digest


def _unusable(folder: Path, error: OSError) -> StateError:
    return StateError(f"the journal in {folder} cannot be written: {error.strerror or error}", hint=f"df -h {folder}; ls -ld {folder}")
