"""The lock with real processes: it explains itself, is taken over safely, and its former owner notices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.adapters import lock as module
from orchestrator.adapters.children import SystemChildren
from orchestrator.adapters.lock import Lock, look, unlock
from orchestrator.adapters.state import StateFolder
from orchestrator.model.errors import LockHeld, StateError

OWNER = """
import sys
from pathlib import Path
from orchestrator.adapters.lock import Lock
lock = Lock.take(Path(sys.argv[1]), command="bootstrap up", run="r1")
print("held", flush=True)
for line in sys.stdin:
    try:
        lock.check()
        print("mutated", flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""


class Owner:
    """Another process that holds the lock, and mutates when told."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            (sys.executable, "-c", OWNER, str(folder)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        assert self.read() == "held"

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def mutate(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.read()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def owner(tmp_path: Path):  # type: ignore[no-untyped-def]  # a generator of an Owner
    one = Owner(tmp_path)
    yield one
    one.kill()


def test_a_second_writer_is_told_who_holds_the_lock(tmp_path: Path, owner: Owner) -> None:
    with pytest.raises(LockHeld, match=rf"pid {owner.process.pid}, `bootstrap up`, run r1") as caught:
        Lock.take(tmp_path, command="bootstrap up")
    assert caught.value.exit_code == 8 and "unlock" in caught.value.hint
    assert owner.mutate() == "mutated"


def test_the_lock_of_a_dead_owner_is_taken_over(tmp_path: Path, owner: Owner) -> None:
    owner.kill()
    lock = Lock.take(tmp_path, command="bootstrap up")
    assert lock.took_over is not None and lock.took_over.dead
    lock.check()
    lock.release()
    assert look(tmp_path) is None


def test_a_pid_that_is_used_again_is_not_the_owner(tmp_path: Path, owner: Owner) -> None:
    path = tmp_path / "lock"
    owner.kill()
    data = json.loads(path.read_text()) | {"pid": os.getpid()}
    path.write_text(json.dumps(data))
    Lock.take(tmp_path, command="bootstrap up").release()


def test_a_paused_owner_notices_before_its_next_mutation(tmp_path: Path, owner: Owner) -> None:
    os.kill(owner.process.pid, signal.SIGSTOP)
    with pytest.raises(LockHeld):
        unlock(tmp_path)
    unlock(tmp_path, force=True)
    lock = Lock.take(tmp_path, command="bootstrap up")
    os.kill(owner.process.pid, signal.SIGCONT)
    assert owner.mutate() == "LockHeld"
    lock.check()
    lock.release()


def test_an_owner_on_another_host_counts_as_gone_when_it_is_silent(tmp_path: Path) -> None:
    Lock.take(tmp_path, command="bootstrap up")._closed.set()
    path = tmp_path / "lock"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere"}))
    with pytest.raises(LockHeld, match="elsewhere"):
        Lock.take(tmp_path, command="bootstrap up")
    with pytest.raises(LockHeld):
        unlock(tmp_path)
    os.utime(path, (time.time() - module.SILENT - 5,) * 2)
    with pytest.raises(LockHeld, match="last sign of life"):
        Lock.take(tmp_path, command="bootstrap up")
    seen = unlock(tmp_path)
    assert seen is not None and seen.silent > module.SILENT


def test_what_was_taken_over_is_not_released(tmp_path: Path) -> None:
    first = Lock.take(tmp_path, command="bootstrap up")
    second = Lock.take(tmp_path, command="bootstrap up", force=True)
    with pytest.raises(LockHeld, match="taken over"):
        first.check()
    first.release()
    second.check()
    second.release()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": 1}', "\0" * 50])
def test_a_lock_that_cannot_be_read_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with pytest.raises(StateError, match="says nothing"):
        Lock.take(tmp_path, command="bootstrap up")


def test_an_orphan_is_found_by_its_marker_and_ended(tmp_path: Path) -> None:
    children = SystemChildren()
    child = subprocess.Popen(("sleep", "60"), env={**os.environ, "BOOTSTRAP_ACTION": "r:a/b:1:0"}, start_new_session=True)
    try:
        until = time.monotonic() + 5
        while not (found := children.find("r:a/b:1:0")) and time.monotonic() < until:
            pass  # between fork and exec the child still has our own environment
        assert [one.pid for one in found] == [child.pid] and children.find("r:a/b:1") == ()
        assert children.living(found[0]) and children.identify(child.pid) == found[0]
    finally:
        children.end(children.identify(child.pid)) if child.poll() is None else None
    assert child.wait(5) == -signal.SIGTERM
    assert not children.living(found[0])


@pytest.mark.parametrize("part", ["", "journal", "runs", "lock"])
def test_a_linked_state_folder_is_refused(tmp_path: Path, part: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    state = StateFolder(tmp_path)
    if part:
        state.path.mkdir()
    (state.path / part if part else state.path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="symbolic link"):
        state.prepare()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_state_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        state = StateFolder(tmp_path)
        state.prepare()
        run = state.new_run()
    finally:
        os.umask(old)
    folders = [state.path, state.journal, state.runs, state.runs / run]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    assert (state.path / ".gitignore").read_text() == "*\n"
    state.path.chmod(0o777)
    state.prepare()
    assert state.path.stat().st_mode & 0o777 == 0o700


def test_a_full_or_foreign_state_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = StateFolder(tmp_path)
    state.prepare()
    monkeypatch.setattr("orchestrator.adapters.state.ROOM_BYTES", 1 << 60)
    with pytest.raises(StateError, match="MiB are free"):
        state.prepare()
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(StateError, match="belongs to user"):
        state.prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_state_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StateError, match="Permission denied"):
            StateFolder(tmp_path).prepare()
    finally:
        tmp_path.chmod(0o700)
