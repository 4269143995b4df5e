"""The lab as a process: its command line, its files, its shims, and clients that die."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory import load
from lab.control import ask

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.lab


def lab(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "lab", *argv], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("lab") / "a lab"
    lab("start", "--dir", str(path), "--seed", "5")
    yield path
    lab("stop", "--dir", str(path))


def sh(folder: Path, script: str, **options: object) -> subprocess.CompletedProcess[str]:
    text = f'. "{folder}/env"\n{script}'
    return subprocess.run(["sh", "-euc", text], capture_output=True, text=True, timeout=60, cwd=folder, **options)  # type: ignore[call-overload,no-any-return]


def writes(folder: Path) -> list[dict[str, object]]:
    lines = lab("log", "--dir", str(folder), "--writes", "-o", "ndjson").stdout.splitlines()
    return [json.loads(line) for line in lines]


def test_it_leaves_its_files_private(folder: Path) -> None:
    for name in ("env", "control", "kubeconfig"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    copy = load(folder / "site" / "site.yaml")
    assert copy.factory.url.startswith("http://127.0.0.1:")
    assert all(c.api and c.api.startswith("https://127.0.0.1:") for c in copy.clusters)
    assert copy.gateway is not None
    assert copy.gateway.address == "127.0.0.1"
    original = load(ROOT / "inventory/sites/ten-weeks/site.yaml")
    assert copy.nodes == original.nodes
    assert copy.network == original.network
    assert (folder / "site/secrets/gateway.known_hosts").read_text().startswith("[127.0.0.1]:")


def test_a_program_answers_through_its_shim(folder: Path) -> None:
    done = sh(folder, "talosctl get machinestatus --insecure -n 10.25.11.11 -e 10.25.11.11 -o json")
    assert json.loads(done.stdout)["spec"]["stage"] == "maintenance"
    refused = sh(folder, "talosctl bootstrap --nope")
    assert refused.returncode == 1
    assert refused.stderr.startswith("unknown flag: --nope\n\nUsage:\n")
    assert sh(folder, 'talosctl machineconfig patch "it is not there" --patch @x').stderr == "open it is not there: no such file or directory\n"


def test_reads_leave_no_write_in_the_record(folder: Path) -> None:
    before = len(writes(folder))
    sh(folder, "talosctl get disks --insecure -n 10.25.11.12 -e 10.25.11.12; talosctl version --client")
    assert len(writes(folder)) == before
    entries = [json.loads(line) for line in lab("log", "--dir", str(folder), "-o", "ndjson").stdout.splitlines()]
    last = entries[-1]
    assert list(last) == ["at", "actor", "via", "what", "argv", "mutates", "ok"]
    assert last["argv"] == ["talosctl", "version", "--client"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_client_that_dies_ends_its_call(folder: Path, number: int, code: int) -> None:
    environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    sh(folder, "talosctl gen secrets -o s.yaml --force; talosctl gen config infra https://10.25.11.10:6443 --with-secrets s.yaml --output o --force")
    argv = ["talosctl", "--talosconfig", "o/talosconfig", "-e", "10.25.11.99", "-n", "10.25.11.99", "reboot", "--timeout", "24h"]
    client = subprocess.Popen(argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert client.stderr is not None
    assert "no route to host" in client.stderr.readline()
    client.send_signal(number)
    assert client.wait(10) == code
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        entries = [json.loads(line) for line in lab("log", "--dir", str(folder), "-o", "ndjson").stdout.splitlines()]
        if entries and entries[-1]["argv"] == argv:
            assert entries[-1]["ok"] is False
            return
    raise AssertionError("the call goes on")


def test_dump_is_canonical_and_a_saved_lab_resumes(folder: Path, tmp_path: Path) -> None:
    first = lab("dump", "--dir", str(folder)).stdout
    assert json.loads(first)["machines"]["infra-01"]["stage"] == "maintenance"
    lab("save", "--dir", str(folder), "--to", str(tmp_path / "saved"))
    sh(folder, "talosctl wipe disk nvme1n1 --insecure -n 10.25.11.11 -e 10.25.11.11")
    assert [e["what"] for e in writes(folder)][-1] == "talosctl wipe disk"
    status = json.loads(lab("status", "--dir", str(folder)).stdout)
    lab("stop", "--dir", str(folder))
    assert lab("status", "--dir", str(folder), check=False).returncode == 1
    lab("resume", "--dir", str(folder), "--from", str(tmp_path / "saved"))
    assert lab("dump", "--dir", str(folder)).stdout == first
    again = json.loads(lab("status", "--dir", str(folder)).stdout)
    assert again["clusters"] == status["clusters"]


def test_a_restored_world_has_nothing_of_the_present_one(tmp_path: Path) -> None:
    def ask_lab(verb: str, *words: str) -> object:
        port, token = (folder / "control").read_text().split()
        return ask(int(port), token, verb, list(words))

    folder = tmp_path / "lab"
    lab("start", "--dir", str(folder), "--speed", "1000")
    try:
        blank = lab("dump", "--dir", str(folder)).stdout
        ask_lab("save", str(tmp_path / "saved"))
        ask_lab("power", "infra-01", "off")
        assert lab("dump", "--dir", str(folder)).stdout != blank
        ask_lab("restore", str(tmp_path / "saved"))
        assert lab("dump", "--dir", str(folder)).stdout == blank
        assert sh(folder, "talosctl -n 10.25.150.11 version --insecure", check=False).returncode == 1  # its shims lead to the world of now
        assert [entry for entry in ask_lab("log") if "talosctl" in str(entry)]  # type: ignore[attr-defined]
    finally:
        lab("stop", "--dir", str(folder))


def test_a_second_start_and_a_broken_site_are_refused(folder: Path, tmp_path: Path) -> None:
    assert lab("start", "--dir", str(folder), check=False).returncode == 1
    (tmp_path / "site.yaml").write_text("schema: 1\n")
    done = lab("start", "--dir", str(tmp_path / "x"), "--site", str(tmp_path / "site.yaml"), check=False)
    assert done.returncode == 3
    (tmp_path / "world.yaml").write_text("faults: [{name: a, actr: git, effect: {hang: true}}]\n")
    done = lab("start", "--dir", str(tmp_path / "y"), "--world", str(tmp_path / "world.yaml"), check=False)
    assert done.returncode == 3
    assert "unknown key 'actr'" in done.stderr
