"""The real command against the real lab, as an operator would: children, exit codes, text. Nothing here is mocked."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEN_WEEKS = Path(__file__).parents[2] / "inventory" / "sites" / "ten-weeks" / "site.yaml"
PATIENCE = 240.0  # seconds after which a command of a test counts as hung


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    rc: int
    out: str
    err: str


class Rig:
    """One lab in a folder of its own, and `bootstrap` on its copy of the site. `with Rig(...) as rig:` ends the lab."""

    def __init__(self, folder: Path, *, site: Path = TEN_WEEKS, at: str = "blank", world: Path | None = None, seed: int = 0, resume: Path | None = None) -> None:
        self.folder = folder
        if resume is None:
            extra = ["--world", str(world)] if world else []
            self._lab("start", "--dir", str(folder), "--site", str(site), "--seed", str(seed), "--at", at, *extra)
        else:
            self._lab("resume", "--dir", str(folder), "--from", str(resume))

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self._lab("stop", "--dir", str(self.folder))

    @property
    def site(self) -> Path:
        """The folder of the lab's copy of the site."""
        return self.folder / "site"

    @property
    def state(self) -> Path:
        """Its state folder."""
        return self.site / ".bootstrap"

    def env(self) -> dict[str, str]:
        """The environment that `. DIR/env` makes, on top of a bare one."""
        text = (self.folder / "env").read_text()
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder / "empty-home"), "CI": "true"}
        for name, value in re.findall(r"^(?:export )?(\w+)=(.*)$", text, re.MULTILINE):
            plain = "".join(shlex.split(value))
            env[name] = plain.replace("$PATH", env["PATH"])
        return env

    def argv(self, *args: str) -> list[str]:
        """The command line of `bootstrap -C SITE ...`."""
        return [sys.executable, "-m", "orchestrator", "-C", str(self.site), *args]

    def run(self, *args: str, expect: int | None = 0) -> Done:
        """Run `bootstrap` to its end."""
        done = subprocess.run(self.argv(*args), env=self.env(), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)
        found = Done(done.returncode, done.stdout, done.stderr)
        if expect is not None:
            assert found.rc == expect, f"bootstrap {' '.join(args)}: exit {found.rc}, wanted {expect}\n{found.err[-3000:]}"
        return found

    def up(self, *args: str, expect: int | None = 0) -> Done:
        """`bootstrap up --yes`."""
        return self.run("up", "--yes", *args, expect=expect)

    def spawn(self, *args: str) -> subprocess.Popen[str]:
        """Start `bootstrap` and return at once."""
        return subprocess.Popen(self.argv(*args), env=self.env(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, start_new_session=True)

    def tool(self, *argv: str) -> Done:
        """Run a program in the lab's environment."""
        done = subprocess.run(argv, env=self.env(), cwd=self.site, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def kubectl(self, cluster: str, *args: str) -> Done:
        """The real kubectl on a cluster's kubeconfig as the product keeps it."""
        kubectl = Path(sys.executable).parent / "kubectl"
        return self.tool(str(kubectl), "--kubeconfig", str(self.state / "clusters" / cluster / "kubeconfig"), "--cache-dir", str(self.folder / "cache"), *args)

    def record(self) -> list[dict[str, Any]]:
        """What was done to the world, by its own record."""
        return [json.loads(line) for line in self._lab("log", "--dir", str(self.folder), "-o", "ndjson").splitlines()]

    def writes(self) -> list[str]:
        """What could have changed the world."""
        return [f"{one['via']} {one['what']}" for one in self.record() if one["mutates"]]

    def dump(self) -> list[str]:
        """The world once it is quiet, line by line."""
        return self._lab("dump", "--dir", str(self.folder)).splitlines()

    def save(self, folder: Path) -> None:
        """Keep the world in a folder."""
        self._lab("save", "--dir", str(self.folder), "--to", str(folder))

    def events(self) -> Iterator[dict[str, Any]]:
        """All events of all runs so far."""
        for path in sorted((self.state / "runs").glob("*/events.ndjson")):
            for line in path.read_text().splitlines():
                try:
                    yield json.loads(line)
                except ValueError:
                    continue  # the last line of a run that was killed

    def kill_at(self, word: str) -> None:
        """Start `up` and kill it with SIGKILL while the action that `word` names is under way."""
        before = sum(1 for _ in self.events())
        child = self.spawn("up", "--yes")
        deadline = time.monotonic() + PATIENCE
        try:
            while not any(word in str((one.get("data") or {}).get("what", "")) for one in list(self.events())[before:] if one.get("kind") == "action.started"):
                assert child.poll() is None, f"up ended before {word!r}: {child.stderr.read() if child.stderr else ''}"
                assert time.monotonic() < deadline, f"{word!r} never started"
                time.sleep(0.01)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
            if child.stderr:
                child.stderr.close()

    def records(self) -> int:
        """How many records the journal holds, by its lines."""
        return sum(path.read_bytes().count(b"\n") for path in (self.state / "journal").glob("*.ndjson"))

    def kill_after(self, records: int) -> None:
        """Start `up` and kill it with SIGKILL once it has written so many more records (or let it end before)."""
        wanted = self.records() + records
        child = self.spawn("up", "--yes")
        deadline = time.monotonic() + PATIENCE
        while child.poll() is None and self.records() < wanted:
            assert time.monotonic() < deadline, f"no {records} records within {PATIENCE:.0f} s"
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.communicate()

    @staticmethod
    def _lab(*args: str) -> str:
        done = subprocess.run([sys.executable, "-m", "lab", *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)
        assert done.returncode == 0, f"lab {' '.join(args)}: {done.stderr}"
        return done.stdout


def once(record: Sequence[dict[str, Any]], words: str) -> int:
    """How often a mutating program call with these words was accepted."""
    return sum(1 for one in record if one["mutates"] and one["ok"] and words in " ".join(one.get("argv") or ()))
