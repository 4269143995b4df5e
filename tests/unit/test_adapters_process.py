"""Running programs: what reaches a child, what comes back, how it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from orchestrator.adapters import process
from orchestrator.adapters.masking import Masker

PYTHON = sys.executable


def run(tmp_path: Path, code: str, **rest: object) -> process.Ended:
    defaults: dict[str, object] = {"env": {"PATH": os.environ["PATH"]}, "cwd": tmp_path, "within": 20.0, "masker": Masker()}
    return process.run((PYTHON, "-c", code), **(defaults | rest))  # type: ignore[arg-type]  # keywords by name


def test_output_and_exit_status_come_back(tmp_path: Path) -> None:
    ended = run(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (ended.rc, ended.stdout, ended.stderr, ended.tail) == (3, "out\n", "err\n", "err")


def test_stdin_is_closed(tmp_path: Path) -> None:
    assert run(tmp_path, "import sys; print(repr(sys.stdin.read()))").stdout == "''\n"


def test_a_child_leads_a_group_of_its_own(tmp_path: Path) -> None:
    assert run(tmp_path, "import os; print(os.getpid() == os.getpgrp())").stdout == "True\n"


def test_ambient_configuration_never_reaches_a_child() -> None:
    env = process.environment({"PATH": "/bin", "KUBECONFIG": "/home/me/.kube/config", "HTTPS_PROXY": "x", "GITHUB_TOKEN": "t"}, {"GIT_PASSWORD": "p"})
    assert env["KUBECONFIG"] == "/dev/null" and env["GIT_PASSWORD"] == "p"
    assert "HTTPS_PROXY" not in env and "GITHUB_TOKEN" not in env


def test_output_files_are_masked_and_private(tmp_path: Path) -> None:
    masker = Masker()
    masker.add("very-secret-value")
    out, err = tmp_path / "o", tmp_path / "e"
    os.umask(0)
    run(tmp_path, "print('a very-secret-value b')", masker=masker, stdout=out, stderr=err)
    assert out.read_text() == "a *** b\n" and out.stat().st_mode & 0o777 == 0o600


def test_the_deadline_ends_a_child(tmp_path: Path) -> None:
    ended = run(tmp_path, "import time; time.sleep(600)", within=0.3)
    assert ended.timed_out and ended.rc != 0


def test_a_second_stop_ends_a_child(tmp_path: Path) -> None:
    ended = run(tmp_path, "import time; time.sleep(600)", stopped=lambda: True)
    assert ended.stopped and not ended.timed_out and ended.rc != 0


def test_the_pid_is_told_at_once(tmp_path: Path) -> None:
    pids: list[int] = []
    ended = run(tmp_path, "import os; print(os.getpid())", spawned=pids.append)
    assert pids == [int(ended.stdout)]


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        process.run(("no-such-program-here",), env={"PATH": "/nowhere"}, cwd=tmp_path, within=1.0, masker=Masker())
