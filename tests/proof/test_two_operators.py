"""One writer to a state folder: real processes race, die, sleep and wake up; another host is known by its heartbeat."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.adapters import lock as module
from orchestrator.adapters.children import start_time
from orchestrator.adapters.lock import Lock, look, unlock
from orchestrator.model.errors import LockHeld, StateError
from tests.proof import tiny
from tests.proof.offline import bootstrap, environment

RACE = """
import sys, time
from pathlib import Path
from orchestrator.adapters.lock import Lock
from orchestrator.model.errors import LockHeld
folder = Path(sys.argv[1])
(folder / f"ready.{sys.argv[2]}").touch()
while not (folder / "go").exists(): time.sleep(0.001)
try:
    lock = Lock.take(folder, command="racer " + sys.argv[2])
except LockHeld:
    print("held"); sys.exit()
print("took", flush=True)
sys.stdin.read()
lock.release()
"""


def holder(folder: Path, **changed: object) -> Path:
    """A lock file that says what it is told to."""
    path = folder / "lock"
    told = {"token": "t", "owner": "ann", "host": "elsewhere", "pid": 1, "started": "x", "command": "bootstrap up", "run": "r", "since": "2026-03-02T07:00:00Z"}
    path.write_text(json.dumps(told | changed))
    return path


def test_of_many_that_take_the_lock_at_once_one_has_it(tmp_path: Path) -> None:
    racers = [subprocess.Popen([sys.executable, "-c", RACE, str(tmp_path), str(n)], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for n in range(6)]
    tiny.until(lambda: len(list(tmp_path.glob("ready.*"))) == 6, "the racers")
    (tmp_path / "go").touch()
    first = [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]
    for racer in racers:
        racer.communicate(timeout=30)
    assert sorted(first) == ["held"] * 5 + ["took"]
    assert look(tmp_path) is None


def test_the_second_of_two_runs_is_told_who_has_the_lock(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "site", tiny.row("a", "touch begun; until [ -e enough ]; do sleep 0.05; done; touch a"))
    first = tiny.spawn(folder, "up", "--yes")
    tiny.until((folder / "begun").exists, "the first run's command")
    code, _, err = tiny.run(folder, "up", "--yes")
    assert code == 8 and f"pid {first.pid}" in err and "up --yes" in err and "sign of life" in err, err
    (folder / "enough").touch()
    first.communicate(timeout=30)
    assert first.returncode == 0


def test_the_lock_of_a_killed_run_is_taken_over_by_itself_and_its_child_is_awaited(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "site", tiny.row("a", "echo x >> count; echo $$ > begun; until [ -e enough ]; do sleep 0.05; done; touch a", once=True))
    first = tiny.spawn(folder, "up", "--yes")
    tiny.until((folder / "begun").exists, "the first run's command")
    first.kill()
    first.communicate(timeout=30)
    second = tiny.spawn(folder, "up", "--yes")
    assert second.stderr is not None  # it is a pipe
    seen: list[str] = []
    for line in second.stderr:
        seen.append(line)
        if f"process {int((folder / 'begun').read_text())} of an earlier run" in line:
            break
    (folder / "enough").touch()
    _, err = second.communicate(timeout=30)
    said = "".join(seen) + err
    assert second.returncode == 0, said
    assert "took over the lock" in said and "its process has ended" in said
    assert (folder / "count").read_text() == "x\n"


def test_a_paused_owner_that_wakes_up_after_a_take_over_stops_before_its_next_mutation(tmp_path: Path) -> None:
    folder = tiny.write(
        tmp_path / "site",
        tiny.row("a", "echo x >> a.count; touch begun; until [ -e enough ]; do sleep 0.05; done; touch a"),
        tiny.row("b", "echo x >> b.count; touch b"),
        tiny.row("c", "echo x >> c.count; touch c"),
    )
    first = tiny.spawn(folder, "up", "--yes")
    tiny.until((folder / "begun").exists, "the first run's command")
    os.kill(first.pid, signal.SIGSTOP)
    assert bootstrap("-C", folder, "unlock").returncode == 8  # it lives: nobody takes it away without being sure
    assert bootstrap("-C", folder, "unlock", "--force").returncode == 0
    (folder / "enough").touch()
    code, _, err = tiny.run(folder, "up", "--yes")
    assert code == 0, err
    journal = (folder / ".bootstrap/journal/000001.ndjson").read_bytes()
    os.kill(first.pid, signal.SIGCONT)
    _, err = first.communicate(timeout=30)
    assert first.returncode == 8, err
    assert "taken over" in err or "removed" in err
    assert [(folder / f"{name}.count").read_text() for name in "abc"] == ["x\n"] * 3
    assert (folder / ".bootstrap/journal/000001.ndjson").read_bytes() == journal
    assert bootstrap("-C", folder, "history", "--verify").returncode == 0


def test_an_owner_that_lost_the_lock_leaves_the_new_ones_lock_alone(tmp_path: Path) -> None:
    first = Lock.take(tmp_path, command="first")
    second = Lock.take(tmp_path, command="second", force=True)
    assert second.took_over is not None and second.took_over.holder.command == "first"
    with pytest.raises(LockHeld, match="taken over"):
        first.check()
    first.release()
    second.check()
    second.release()
    assert look(tmp_path) is None


def test_a_lock_that_was_removed_stops_its_owner(tmp_path: Path) -> None:
    lock = Lock.take(tmp_path, command="x")
    (tmp_path / "lock").unlink()
    with pytest.raises(LockHeld, match="removed"):
        lock.check()
    lock.release()


def test_an_owner_on_another_host_counts_as_living_while_its_heart_beats(tmp_path: Path) -> None:
    path = holder(tmp_path)
    with pytest.raises(LockHeld, match="ann on elsewhere"):
        Lock.take(tmp_path, command="x")
    with pytest.raises(LockHeld):
        unlock(tmp_path)
    old = time.time() - module.SILENT - 1
    os.utime(path, (old, old))
    with pytest.raises(LockHeld) as caught:  # silent for long: a person decides, it is never taken by itself
        Lock.take(tmp_path, command="x")
    assert "bootstrap unlock" in caught.value.hint
    assert unlock(tmp_path) is not None
    Lock.take(tmp_path, command="x").release()


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT", 0.01)
    lock = Lock.take(tmp_path, command="x")
    os.utime(tmp_path / "lock", (1, 1))
    tiny.until(lambda: (tmp_path / "lock").stat().st_mtime > 1, "a heartbeat")
    lock.release()


def test_a_process_number_that_was_used_again_is_not_the_owner(tmp_path: Path) -> None:
    import socket

    holder(tmp_path, host=socket.gethostname(), pid=os.getpid(), started=start_time(os.getpid()) + "0")
    lock = Lock.take(tmp_path, command="x")
    assert lock.took_over is not None and lock.took_over.dead
    lock.release()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"token": 1}', "\0" * 100, json.dumps({key: [] for key in ("token", "owner", "host", "pid", "started", "command", "run", "since")}), '{"a":' * 5000])
def test_a_file_that_is_no_lock_is_refused_and_never_removed(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with pytest.raises(StateError, match="nothing that can be read"):
        Lock.take(tmp_path, command="x")
    assert (tmp_path / "lock").read_text() == text


def test_threads_of_one_process_are_two_owners_too(tmp_path: Path) -> None:
    took: list[Lock] = []
    held: list[LockHeld] = []

    def take() -> None:
        try:
            took.append(Lock.take(tmp_path, command="x"))
        except LockHeld as error:
            held.append(error)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(took), len(held)) == (1, 7)
    took[0].release()
