"""The real command line with phases of a test's own: `python -m tests.proof.tiny -C DIR up --yes`.

DIR/tiny.json lists phases; a step runs one argv and its goal is a file: everything else (command line, engine, journal, lock, writer) is the
product's. `spawn` starts it as a program of its own, to be stopped, killed and looked at from outside.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from orchestrator.model.action import Command
from orchestrator.model.check import Check
from orchestrator.model.phase import Phase, Step
from orchestrator.model.query import Answer, FileRead, Secret
from orchestrator.model.verdict import Verdict, met, unmet
from tests.proof import offline

PATIENCE = 20.0  # seconds that a real process may take on a busy machine; nothing waits that long when all is well


def there(answers: tuple[Answer, ...]) -> Verdict:
    """MET when the file exists."""
    return met() if answers[0].body["exists"] else unmet("the file is not there")


def step(row: Mapping[str, Any]) -> Step:
    """One row of tiny.json as a step."""
    goal = Check(f"{row['id']}.goal", f"{row['goal']} to be there", (FileRead(row["goal"]),), there, hint=f"ls {row['goal']}", within=timedelta(seconds=row.get("within", 5)))
    env = {name: Secret(ref) for name, ref in row.get("env", {}).items()}
    command = Command(tuple(row["argv"]), env=env, once=row.get("once", False), within=timedelta(seconds=row.get("deadline", 60)))
    return Step(row["id"], row["id"], "1", goal, (command,), settle=timedelta(seconds=row.get("settle", 2)))


def compiled(rows: Sequence[Mapping[str, Any]]) -> tuple[Phase, ...]:
    """tiny.json as phases; each needs the one before."""
    names = [row["phase"] for row in rows]
    return tuple(
        Phase(row["phase"], row["phase"], 1, "1", tuple(names[max(0, place - 1) : place]), tuple(step(one) for one in row["steps"]), ())
        for place, row in enumerate(rows)
    )


def row(name: str, script: str, **more: Any) -> dict[str, Any]:
    """A step that runs a shell script in the site's folder and is done when the file `name` is there."""
    return {"id": f"only/{name}", "argv": ["sh", "-c", script], "goal": name} | more


def write(folder: Path, *steps: Mapping[str, Any]) -> Path:
    """A site with one phase `only` of these steps."""
    offline.write(folder)
    with (folder / "site.yaml").open("a") as file:
        file.write("# phases: tiny.json\n")
    text = (folder / "site.yaml").read_text().replace("scale: 0.001", "scale: 1.0")
    (folder / "site.yaml").write_text(text)
    (folder / "tiny.json").write_text(json.dumps([{"phase": "only", "steps": list(steps)}]))
    return folder


def spawn(folder: Path, *args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start it in a session of its own, as a terminal would."""
    argv = [sys.executable, "-m", "tests.proof.tiny", "-C", str(folder), *args]
    return subprocess.Popen(argv, env=offline.environment(**(env or {})), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def run(folder: Path, *args: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """To its end. -> exit code, stdout, stderr"""
    child = spawn(folder, *args, env=env)
    out, err = child.communicate(timeout=60)
    return child.returncode, out, err


def until(happened: Callable[[], bool], what: str) -> None:
    """Wait for another process to get somewhere. Raises AssertionError after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.01)  # a real process has no fake clock


def main() -> int:
    """The real command line, with the phases of DIR/tiny.json in place of the product's."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import phases
    from orchestrator.cli import run as command

    folder = Path(sys.argv[sys.argv.index("-C") + 1])
    found = compiled(json.loads((folder / "tiny.json").read_text()))
    phases.compile = lambda site: found
    return command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
