"""The journal on disk: chain, anchor, repair, power loss, rotation, migration, speed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import threading
import time
from pathlib import Path

import pytest

from orchestrator.adapters import journal as module
from orchestrator.adapters.disk import Disk
from orchestrator.adapters.journal import Journal, load, records_of, verify
from orchestrator.engine.status import fold
from orchestrator.model.errors import LockHeld, StateError


def filled(folder: Path, count: int = 20, **more: object) -> Path:
    """A closed journal of `count` records behind its header."""
    journal = Journal(folder / "journal", **more)  # type: ignore[arg-type]  # passed through
    for n in range(count):
        journal.append("test", run="r", step=f"a/{n}", data={"n": n, "text": "ä\x1b[31m\u2028"})
    journal.close()
    return folder / "journal"


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "000001.ndjson").read_bytes().splitlines(keepends=True)


def test_records_come_back_as_they_were_written_and_the_chain_holds(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    records = records_of(folder)
    assert [record["data"].get("n") for record in records] == [None, *range(20)]
    assert verify(folder).faults == ()
    again = Journal(folder)
    assert again.append("more")["prev"] == records[-1]["hash"]
    again.close()
    assert verify(folder).records == 22


def test_the_hash_is_that_of_the_canonical_line_without_it(tmp_path: Path) -> None:
    for line in lines_of(filled(tmp_path)):
        record = json.loads(line)
        found = record.pop("hash")
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == found


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        folder = filled(tmp_path)
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_torn_last_line_is_repaired_and_said(tmp_path: Path, cut: int) -> None:
    folder = filled(tmp_path)
    file = folder / "000001.ndjson"
    file.write_bytes(file.read_bytes() + b'{"at":"2026-03-02T07:00:00.000Z","attempt":null,"data":{}, and so on'[:cut])
    assert len(records_of(folder)) == 21
    journal = Journal(folder)
    assert journal.repaired is not None and str(cut) in journal.repaired
    assert journal.records()[-1]["kind"] == "journal.repaired"
    journal.close()
    assert verify(folder).faults == ()


def test_every_byte_changed_is_found(tmp_path: Path) -> None:
    folder = filled(tmp_path, 3)
    file = folder / "000001.ndjson"
    data = file.read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        file.write_bytes(bytes(changed))
        assert verify(folder).faults, place
        with pytest.raises(StateError):
            records_of(folder)
        with pytest.raises(StateError):
            Journal(folder)


def test_dropped_swapped_and_appended_records_and_a_cut_tail_are_found(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    lines = lines_of(folder)
    swapped = [*lines[:5], lines[6], lines[5], *lines[7:]]
    forged = json.loads(lines[-1])
    journal_like = module.line_of({**forged, "seq": 22, "prev": forged["hash"]})[0]
    for changed in (lines[:5] + lines[6:], swapped, [*lines, lines[-1]], lines[:-1], lines[1:], [*lines, journal_like], []):
        (folder / "000001.ndjson").write_bytes(b"".join(changed))
        assert verify(folder).faults, changed[-1:]
    (folder / "000001.ndjson").write_bytes(b"".join(lines[:-3]))
    with pytest.raises(StateError, match="was cut"):
        Journal(folder)


def test_a_newer_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = filled(tmp_path)
    monkeypatch.setattr(module, "SCHEMA", 0)
    with pytest.raises(StateError, match="schema 1"):
        Journal(folder)


def test_an_older_schema_is_migrated_with_a_copy_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = filled(tmp_path)
    monkeypatch.setattr(module, "SCHEMA", 2)
    journal = Journal(folder, migrations={1: lambda record: {**record, "kind": record["kind"].replace("test", "trial")}})
    assert [record["kind"] for record in journal.records()].count("trial") == 20
    journal.close()
    assert verify(folder).faults == ()
    assert len(lines_of(tmp_path / "journal.schema-1")) == 21
    monkeypatch.setattr(module, "SCHEMA", 3)
    with pytest.raises(StateError, match="nothing migrates"):
        Journal(folder, migrations={})


def test_files_rotate_and_the_chain_goes_on(tmp_path: Path) -> None:
    folder = filled(tmp_path, 60, rotate_bytes=2000)
    assert len(list(folder.glob("*.ndjson"))) > 5
    assert verify(folder).faults == ()
    assert [r["data"]["n"] for r in records_of(folder) if r["kind"] == "test"] == list(range(60))
    (sorted(folder.glob("*.ndjson"))[2]).unlink()
    assert verify(folder).faults


def test_concurrent_records_share_syncs_and_keep_their_order(tmp_path: Path) -> None:
    class Slow(Disk):
        syncs = 0

        def sync(self, handle: int) -> None:
            self.syncs += 1
            time.sleep(0.002)  # lets others queue up behind this sync; nothing is measured
            super().sync(handle)

    disk = Slow()
    journal = Journal(tmp_path / "journal", disk=disk, rotate_bytes=20_000)

    def work(name: int) -> None:
        for n in range(40):
            journal.append("test", run=str(name), data={"n": n}, durable=n % 3 != 0)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    records = records_of(tmp_path / "journal")
    for name in range(8):
        assert [r["data"]["n"] for r in records if r["run"] == str(name)] == list(range(40))
    assert disk.syncs < 8 * 40 * 2 / 3
    assert verify(tmp_path / "journal").faults == ()


def test_a_full_disk_ends_the_journal_with_an_error_and_loses_nothing(tmp_path: Path) -> None:
    class Full(Disk):
        left = 5

        def append(self, handle: int, data: bytes) -> None:
            self.left -= 1
            if self.left < 0:
                super().append(handle, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            super().append(handle, data)

    journal = Journal(tmp_path / "journal", disk=Full())
    for n in range(4):
        journal.append("test", data={"n": n})
    for _ in range(2):
        with pytest.raises(StateError, match="No space left"):
            journal.append("test")
    journal.close()
    again = Journal(tmp_path / "journal")
    assert [r["data"].get("n") for r in again.records()][1:5] == [0, 1, 2, 3] and again.repaired
    again.close()


def test_a_lost_lock_writes_nothing(tmp_path: Path) -> None:
    lost = False

    def fence() -> None:
        if lost:
            raise LockHeld("taken over")

    journal = Journal(tmp_path / "journal", fence=fence)
    journal.append("test")
    lost = True
    with pytest.raises(LockHeld):
        journal.append("test")
    journal.close()
    assert len(records_of(tmp_path / "journal")) == 2


class Recorded(Disk):
    """Writes for real, and keeps the log of calls and of acknowledged records, to replay any power cut."""

    def __init__(self) -> None:
        self.log: list[tuple[str, object, object]] = []
        self._names: dict[int, str] = {}

    def create(self, path: Path) -> int:
        handle = super().create(path)
        self._names[handle] = path.name
        self.log.append(("create", path.name, b""))
        return handle

    def open_append(self, path: Path) -> int:
        handle = super().open_append(path)
        self._names[handle] = path.name
        return handle

    def open_slots(self, path: Path) -> int:
        handle = super().open_slots(path)
        self._names[handle] = path.name
        self.log.append(("create", path.name, b""))
        return handle

    def append(self, handle: int, data: bytes) -> None:
        super().append(handle, data)
        self.log.append(("append", self._names[handle], data))

    def put(self, handle: int, data: bytes, offset: int) -> None:
        super().put(handle, data, offset)
        self.log.append(("put", self._names[handle], (data, offset)))

    def sync(self, handle: int) -> None:
        super().sync(handle)
        self.log.append(("sync", self._names[handle], b""))

    def sync_dir(self, path: Path) -> None:
        super().sync_dir(path)
        self.log.append(("sync_dir", path.name, b""))

    def acknowledged(self, seq: int) -> None:
        self.log.append(("ack", seq, b""))


def after_power_cut(log: list[tuple[str, object, object]], folder: Path, chance: random.Random) -> int:
    """What a disk may hold when the power went after these calls: synced data surely, each later write in full, in part, as
    zeros or not at all, each on its own. -> the last record that was acknowledged"""
    content: dict[str, bytearray] = {}
    named: set[str] = set()
    pending: dict[str, list[tuple[int, bytes]]] = {}
    sizes: dict[str, int] = {}
    acknowledged = 0
    for what, name, value in log:
        match what, name, value:
            case "ack", int(seq), _:
                acknowledged = seq
            case "create", str(one), _:
                content.setdefault(one, bytearray())
                sizes.setdefault(one, 0)
                pending.setdefault(one, [])
            case "append", str(one), bytes(data):
                pending[one].append((sizes[one], data))
                sizes[one] += len(data)
            case "put", str(one), (bytes(data), int(offset)):
                pending[one].append((offset, data))
                sizes[one] = max(sizes[one], offset + len(data))
            case "sync", str(one), _:
                for offset, data in pending[one]:
                    _lay(content[one], offset, data)
                pending[one] = []
            case "sync_dir", "journal", _:
                named |= set(content)
    folder.mkdir(parents=True)
    for one, data in content.items():
        for offset, late in pending[one]:
            fate = chance.randrange(4)
            if fate == 0:
                _lay(data, offset, late)
            elif fate == 1:
                _lay(data, offset, late[: chance.randrange(len(late) + 1)])
            elif fate == 2:
                _lay(data, offset, b"\0" * len(late)) if one != "anchor" else None
        if one in named or chance.random() < 0.5:
            (folder / one).write_bytes(bytes(data))
    return acknowledged


def _lay(data: bytearray, offset: int, late: bytes) -> None:
    if len(data) < offset:
        data.extend(b"\0" * (offset - len(data)))
    data[offset : offset + len(late)] = late


def test_a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(11)
    disk = Recorded()
    journal = Journal(tmp_path / "journal", disk=disk, rotate_bytes=3000)
    for n in range(40):
        durable = n % 4 != 1
        record = journal.append("test", data={"n": n}, durable=durable)
        if durable:
            disk.acknowledged(record["seq"])
    journal.close()
    cuts = 0
    for length in range(len(disk.log) + 1):
        for _ in range(2):
            folder = tmp_path / f"cut-{cuts}" / "journal"
            seq = after_power_cut(disk.log[:length], folder, chance)
            again = Journal(folder)
            kept = again.records()
            assert len(kept) >= seq, (length, seq)
            assert [r["seq"] for r in kept] == list(range(1, len(kept) + 1))
            again.append("goes on")
            again.close()
            assert verify(folder).faults == ()
            cuts += 1
    assert cuts > 300


def test_a_hundred_thousand_records_are_read_and_folded_in_one_pass(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    prev, lines = "", []
    kinds = ("step.started", "action.started", "action.ended", "step.done")
    for n in range(100_000):
        kind = kinds[(n - 1) % 4] if n else "journal.file"
        data: dict[str, object] = {"index": 0, "digest": "d" * 64, "ok": True, "acted": True, "schema": 1, "text": "", "resumed": False}
        record = {"at": "2026-03-02T07:00:00.000Z", "attempt": 1, "data": data, "kind": kind, "node": None, "phase": "a", "prev": prev, "run": "r", "seq": n + 1, "step": f"a/{(n - 1) // 4}"}
        line, prev = module.line_of(record)
        lines.append(line)
    (folder / "000001.ndjson").write_bytes(b"".join(lines))
    begun = time.process_time()
    view = fold(load(folder).records)
    assert view.count == 100_000
    assert time.process_time() - begun < 4.0  # a guard against a change of order; bench/engine.py measures the figure


def test_an_anchor_that_counts_to_infinity_is_none() -> None:
    """JSON's 1e999 has a checksum like any other text."""
    body = module._anchor_body(float("inf"), "h", 1)  # type: ignore[arg-type]  # what a reader makes of 1e999
    slot = f'{{{body.replace("inf", "1e999")},"sum":"{hashlib.sha256(body.encode()).hexdigest()[:16]}"}}'
    assert module._anchor(slot.encode()) is None
    assert module._anchor(slot.replace("1e999", "7").encode()) is None  # the sum is of another text
