"""Power loss at any call of any state file: nothing that was acknowledged is lost, and what is left can be gone on from."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.adapters import journal as journal_module
from orchestrator.adapters import state
from orchestrator.adapters.files import write_private
from orchestrator.adapters.journal import Journal, records_of, verify
from orchestrator.adapters.lock import Lock, look
from orchestrator.adapters.masking import Masker
from orchestrator.adapters.secrets import SecretMissing, Secrets
from orchestrator.adapters.state import StateFolder
from orchestrator.model.errors import StateError
from tests.proof import powercut, tiny
from tests.proof.offline import write

COUNTS: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _said(counted: Callable[[str], None]) -> Iterator[None]:
    """What each test cut, by name."""
    before = dict(COUNTS)
    yield
    for name, count in COUNTS.items():
        if count > before.get(name, 0):
            counted(f"power loss: {name}: {count - before.get(name, 0)} cuts")


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk under these tests is a model: the machine's own need not turn."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(os, "fdatasync", lambda handle: None)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def after_each_cut(name: str, log: powercut.Log, tmp_path: Path, some: int = 4) -> Iterator[tuple[Path, list[object]]]:
    """All cuts, counted, each cleaned up behind."""
    for folder, acknowledged in powercut.cuts(log, tmp_path, random.Random(7), some):
        COUNTS[name] = COUNTS.get(name, 0) + 1
        yield folder, acknowledged
        shutil.rmtree(folder)


def test_the_model_loses_what_a_careless_program_did_not_sync(disk: Path, tmp_path: Path) -> None:
    """The proof can fail: a rename without fsync is caught."""
    with powercut.recorded(disk) as log:
        handle = os.open(disk / ".new", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(handle, b"value")
        os.close(handle)
        (disk / ".new").replace(disk / "file")
        log.acknowledge("file")
    left = [(folder / "file").read_bytes() if (folder / "file").exists() else None for folder, acks in powercut.cuts(log, tmp_path, random.Random(7)) if acks]
    assert {None, b"", b"value"} < set(left) and b"val" in left


def test_a_run_from_an_empty_folder_keeps_every_acknowledged_record(disk: Path, tmp_path: Path) -> None:
    with powercut.recorded(disk) as log:
        folder = StateFolder(disk)
        folder.prepare()
        lock = Lock.take(folder.path, command="x")
        journal = Journal(folder.journal, rotate_bytes=1500, fence=lock.check)
        for n in range(9):
            record = journal.append("test", data={"n": n}, durable=n % 3 != 1)
            if n % 3 != 1:
                log.acknowledge(record["hash"])
        journal.close()
        lock.release()
    for cut, acknowledged in after_each_cut("journal with its folder", log, tmp_path, 3):
        again = StateFolder(cut)
        again.prepare()
        before = [record["hash"] for record in records_of(again.journal)]
        assert set(acknowledged) <= set(before), (len(acknowledged), len(before))
        reopened = Journal(again.journal)
        assert [record["hash"] for record in reopened.records()][: len(before)] == before
        reopened.append("goes on")
        reopened.close()
        assert verify(again.journal).faults == ()


def test_a_record_torn_at_every_byte_is_dropped_alone(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    journal = Journal(tmp_path / "whole" / "journal")
    for n in range(3):
        journal.append("test", data={"n": n, "text": "ä\x1b\u2028"})
    file, start = tmp_path / "whole/journal/000001.ndjson", (tmp_path / "whole/journal/000001.ndjson").stat().st_size
    shutil.copytree(file.parent, tmp_path / "anchored")
    journal.append("test", durable=False)
    line = file.read_bytes()[start:]
    journal.close()
    for torn in range(len(line)):
        shutil.copytree(tmp_path / "anchored", tmp_path / "cut")
        with (tmp_path / "cut/000001.ndjson").open("ab") as end:
            end.write(line[:torn])
        again = Journal(tmp_path / "cut")
        assert [r["data"].get("n") for r in again.records()][1:4] == [0, 1, 2] and (again.repaired is None) == (torn == 0)
        again.close()
        assert verify(tmp_path / "cut").faults == ()
        shutil.rmtree(tmp_path / "cut")
        COUNTS["one record torn"] = COUNTS.get("one record torn", 0) + 1


def test_a_second_cut_during_the_repair_of_the_first_loses_nothing_either(disk: Path, tmp_path: Path) -> None:
    with powercut.recorded(disk) as log:
        (disk / "journal").mkdir()
        log.settle()
        _sync(disk)
        journal = Journal(disk / "journal", rotate_bytes=1500)
        for n in range(6):
            log.acknowledge(journal.append("test", data={"n": n})["hash"])
        journal.append("test", data={"n": 6}, durable=False)
        journal.close()
    chance = random.Random(3)
    (tmp_path / "first").mkdir()
    firsts = [(folder, acks) for folder, acks in powercut.cuts(log, tmp_path / "first", random.Random(7), 2) if chance.random() < 0.15]
    for number, (first, acknowledged) in enumerate(firsts):
        base = tmp_path / f"second-{number}"
        base.mkdir()
        for cut, _ in after_each_cut("journal, twice", _reopened(first, base / "again"), base, 1):
            assert set(acknowledged) <= {record["hash"] for record in records_of(cut / "journal")}


def _reopened(first: Path, again: Path) -> powercut.Log:
    """The log of opening a journal that a cut left: what lay there is on disk, then come the repair's own calls."""
    again.mkdir()
    with powercut.recorded(again) as log:
        for path in sorted(first.rglob("*"), key=lambda path: len(path.parts)):
            target = again / path.relative_to(first)
            if path.is_dir():
                target.mkdir()
                _sync(target.parent)
                continue
            handle = os.open(target, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(handle, path.read_bytes())
            os.fsync(handle)
            os.close(handle)
            _sync(target.parent)
        log.settle()
        if (again / "journal").is_dir():
            journal = Journal(again / "journal")
            journal.append("goes on")
            journal.close()
    return log


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(handle)
    os.close(handle)


def test_a_file_is_the_old_one_or_the_new_one_and_stays_once_it_was_written(disk: Path, tmp_path: Path) -> None:
    texts = ["", "first\n", "second, longer\n" * 3]
    with powercut.recorded(disk) as log:
        for text in texts[1:]:
            write_private(disk / "clusters" / "infra" / "kubeconfig", text)
            log.acknowledge(text)
    for cut, acknowledged in after_each_cut("private files", log, tmp_path):
        path = cut / "clusters" / "infra" / "kubeconfig"
        found = path.read_text() if path.exists() else ""
        assert found in texts and texts.index(found) >= len(acknowledged)


def test_a_kept_secret_is_whole_or_absent_and_stays_once_it_was_kept(disk: Path, tmp_path: Path) -> None:
    value = "a-very-secret-value-of-some-length"
    with powercut.recorded(disk) as log:
        Secrets(disk, Masker(), {}).keep("file:secrets/deep/ca.yaml", value)
        log.acknowledge(value)
    for cut, acknowledged in after_each_cut("kept secrets", log, tmp_path):
        try:
            assert Secrets(cut, Masker(), {}).resolve("file:secrets/deep/ca.yaml") == value
        except SecretMissing:
            assert not acknowledged
            Secrets(cut, Masker(), {}).keep("file:secrets/deep/ca.yaml", value)


def test_a_lock_that_a_cut_left_is_whole_or_absent(disk: Path, tmp_path: Path) -> None:
    with powercut.recorded(disk) as log:
        Lock.take(disk, command="first").release()
        Lock.take(disk, command="second").release()
    for cut, _ in after_each_cut("lock", log, tmp_path):
        seen = look(cut)
        assert seen is None or seen.holder.command in ("first", "second")
        again = Lock.take(cut, command="third", force=True)
        again.release()


def test_a_migration_that_is_cut_leaves_the_old_journal_or_the_new_one(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrations = {1: lambda record: {**record, "kind": record["kind"].replace("test", "trial")}}
    with powercut.recorded(disk) as log:
        (disk / "journal").mkdir()
        _sync(disk)
        journal = Journal(disk / "journal")
        for n in range(5):
            journal.append("test", data={"n": n})
        journal.close()
        log.acknowledge(5)
        monkeypatch.setattr(journal_module, "SCHEMA", 2)
        Journal(disk / "journal", migrations=migrations).close()
    for cut, acknowledged in after_each_cut("migration", log, tmp_path, 2):
        if not acknowledged:
            continue
        again = Journal(cut / "journal", migrations=migrations)
        assert [r["data"]["n"] for r in again.records() if r["kind"] == "trial"] == list(range(5))
        again.close()


class TestUnusableStateFolders:
    """Full, read-only, too small: refused before any mutation, with a card's words and exit code 11."""

    def test_a_full_disk_is_refused_before_anything_is_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        from orchestrator.cli import run

        folder = write(tmp_path / "site")
        real = os.statvfs(folder)
        full = os.statvfs_result((real.f_bsize, real.f_frsize, real.f_blocks, 0, 0, *tuple(real)[5:]))
        monkeypatch.setattr(state.os, "statvfs", lambda path: full)
        assert run(["-C", str(folder), "up", "--yes"]) == 11
        err = capsys.readouterr().err
        assert "0 MiB are free" in err and "hint: " in err and "df -h" in err
        assert not list((folder / ".bootstrap/journal").iterdir()) and not list((folder / ".bootstrap/runs").iterdir())

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
    def test_a_disk_that_refuses_writes_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        real = os.open

        def refuse(path: object, flags: int, *rest: object, **more: object) -> int:
            if flags & os.O_WRONLY and ".bootstrap" in str(path):
                raise OSError(number, os.strerror(number))
            return real(path, flags, *rest, **more)  # type: ignore[arg-type]  # passed through

        monkeypatch.setattr(state.os, "open", refuse)
        with pytest.raises(StateError, match=os.strerror(number)):
            StateFolder(tmp_path).prepare()

    @pytest.mark.parametrize("left", range(0, 40, 3))
    def test_a_disk_that_fills_up_during_a_run_stops_it_before_the_next_deed(self, tmp_path: Path, left: int) -> None:
        """The journal takes `left` writes more: each deed that was done has its intent on disk, none came after the end."""
        folder = tiny.write(tmp_path / "site", *(tiny.row(name, f"echo x >> {name}.count; touch {name}") for name in "abc"))
        code, err = _with_a_disk_of(folder, left)
        assert code in (0, 11) and "Traceback" not in err, err
        records = records_of(folder / ".bootstrap/journal") if (folder / ".bootstrap/journal").is_dir() else []
        intended = {r["step"] for r in records if r["kind"] == "action.started"}
        assert {f"only/{path.stem}" for path in folder.glob("*.count")} <= intended
        assert code == 11 or len(intended) == 3
        assert tiny_up(folder) == 0
        assert [(folder / f"{name}.count").read_text() for name in "abc"] == ["x\n"] * 3


def tiny_up(folder: Path) -> int:
    """`up --yes` in this process."""
    code, _ = _with_a_disk_of(folder, 1 << 30)
    return code


def _with_a_disk_of(folder: Path, left: int) -> tuple[int, str]:
    """`up --yes` in this process, with a disk that takes `left` more writes of the journal's. -> exit code, stderr"""
    import contextlib
    import io

    import phases
    from orchestrator.adapters.disk import Disk
    from orchestrator.cli import run

    found = tiny.compiled(json.loads((folder / "tiny.json").read_text()))
    room = [left]

    def limited(self: Disk, handle: int, data: bytes) -> None:
        room[0] -= 1
        if room[0] < 0:
            os.write(handle, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        while data:
            data = data[os.write(handle, data) :]

    err = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(err):
        patch.setattr(phases, "compile", lambda site: found)
        patch.setattr(Disk, "append", limited)
        return run(["-C", str(folder), "up", "--yes"]), err.getvalue()
