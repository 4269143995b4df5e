"""What the engine costs: steps that run /bin/true, ten at a time, against bare threads and subprocess in the same run.

Each step is planned for, journaled (intent and outcome both on disk before the next thing), run by the product's own writer with
its output in files, and proven by its goal. The bare peer starts the same program from ten threads, output to a file each, and
keeps nothing. Also: how long a journal of 100,000 records takes to be resumed from.

    python bench/engine.py [--steps 300,10000] [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parents[1]))

from orchestrator.adapters import journal as journal_file
from orchestrator.adapters.children import SystemChildren
from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.events import EventLog
from orchestrator.adapters.git import Repository
from orchestrator.adapters.journal import Journal, load
from orchestrator.adapters.lock import Lock
from orchestrator.adapters.masking import Masker
from orchestrator.adapters.reader import SiteReader
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.state import StateFolder
from orchestrator.adapters.writer import SiteWriter
from orchestrator.engine.api import Choice, Ports, Stop, Subject, UpOptions, up
from orchestrator.engine.status import fold
from orchestrator.model.action import Command
from orchestrator.model.check import Check
from orchestrator.model.phase import Fan, Phase, Step
from orchestrator.model.query import Answer, FileRead, Query
from orchestrator.model.verdict import Verdict, met, unmet

WIDTH = 10
RECORDS = 100_000
TRUE = shutil.which("true") or "/bin/true"


class FileReader:
    """Answers whether a file is there: the goal of each step is the output that it left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ask(self, query: Query) -> Answer:
        """`body` is whether the file exists."""
        return Answer(body=isinstance(query, FileRead) and (self._folder / query.path).exists())

    def watch(self, check: Check, stop: Callable[[], bool], seconds: float) -> bool:
        """Nothing to watch."""
        return False


def there(answers: tuple[Answer, ...]) -> Verdict:
    """Whether the step left its output."""
    return met() if answers[0].body else unmet("no output yet")


def phase_of(count: int) -> Phase:
    """`count` independent steps, ten at a time."""
    fan = Fan("true", WIDTH)

    def step(n: int) -> Step:
        name = f"bench/true/{n}"
        output = f".bootstrap/runs/bench/{name.replace('/', '__')}__01-00.stdout"
        goal = Check(f"{name}.goal", "the output", (FileRead(output),), there, within=timedelta(seconds=5))
        return Step(name, name, "1", goal, (Command((TRUE,)),), fan=fan)

    return Phase("bench", "steps that run true", 1, "1", (), tuple(step(n) for n in range(count)), ())


def engine(count: int, folder: Path) -> float:
    """Seconds that `up` takes for `count` steps, from its call to its report."""
    state = StateFolder(folder)
    state.prepare()
    (state.runs / "bench").mkdir()
    lock = Lock.take(state.path, command="bench", run="bench")
    journal = Journal(state.journal, fence=lock.check)
    events = EventLog(state.runs / "bench" / "events.ndjson", run="bench", site="bench", listeners=[lambda event: None])
    ports = Ports(
        reader=FileReader(folder),
        writer=_writer(folder, state.runs),
        clock=SystemClock(),
        journal=journal,
        events=events,
        fence=lock,
        children=SystemChildren(),
    )
    subject = Subject(site="bench", site_digest="", phases=(phase_of(count),), poll=timedelta(seconds=0.05))
    begun = time.perf_counter()
    report = up(subject, Choice(), ports=ports, options=UpOptions(run="bench"), stop=Stop())
    seconds = time.perf_counter() - begun
    journal.close()
    events.close()
    lock.release()
    assert report.exit_code == 0 and report.actions == count, report
    return seconds


def _writer(folder: Path, runs: Path) -> SiteWriter:
    """The product's writer; what commands do not need is not there."""
    masker = Masker()
    return SiteWriter(
        folder,
        runs,
        reader=cast(SiteReader, None),
        clusters={},
        gateway=None,
        repository=cast(Repository, None),
        secrets=Secrets(folder, masker, {}),
        masker=masker,
        environ={},
        classify=lambda argv, rc, out, err: "unknown",
        poll=0.05,
        scale=1.0,
    )


def bare(count: int, folder: Path) -> float:
    """Seconds that ten threads take to start the same program `count` times, output to a file each."""

    def one(n: int) -> int:
        with (folder / f"{n}.out").open("wb") as output:
            return subprocess.run((TRUE,), stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True).returncode

    begun = time.perf_counter()
    with ThreadPoolExecutor(WIDTH) as pool:
        assert sum(pool.map(one, range(count))) == 0
    return time.perf_counter() - begun


def journal_of(count: int, folder: Path) -> Path:
    """A journal of `count` records as a long run leaves them."""
    file = folder / "000001.ndjson"
    kinds = ("step.started", "action.started", "action.ended", "step.done")
    prev, lines = "", []
    for n in range(count):
        kind = kinds[(n - 1) % 4] if n else "journal.file"
        data: dict[str, Any] = {"schema": 1} if not n else {"index": 0, "digest": "d" * 64, "ok": True, "acted": True, "text": "", "what": TRUE}
        record = {
            "at": "2026-03-02T07:00:00.000Z",
            "attempt": 1,
            "data": data,
            "kind": kind,
            "node": None,
            "phase": "a",
            "prev": prev,
            "run": "r",
            "seq": n + 1,
            "step": f"a/{(n - 1) // 4}",
        }
        line, prev = journal_file.line_of(record)
        lines.append(line)
    file.write_bytes(b"".join(lines))
    return folder


def resume(count: int) -> float:
    """Seconds from a journal on disk to what it tells, every hash checked."""
    with tempfile.TemporaryDirectory() as folder:
        journal = journal_of(count, Path(folder))
        begun = time.perf_counter()
        view = fold(load(journal).records)
        seconds = time.perf_counter() - begun
        assert view.count == count
        return seconds


def measured(measure: Callable[[int, Path], float], count: int) -> float:
    """One measurement in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(count, Path(folder))


def main() -> int:
    """Print the table; exit 1 when a target is missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", default="300,10000")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    rows: list[dict[str, Any]] = []
    for count in (int(one) for one in chosen.steps.split(",")):
        rounds = chosen.rounds if count <= 1000 else 1
        pairs = [(measured(engine, count), measured(bare, count)) for _ in range(rounds)]
        ours, peer = min(one for one, _ in pairs), min(other for _, other in pairs)
        rows.append({"what": f"{count} steps", "ours": ours, "bare": peer, "ratio": ours / peer, "per_step_ms": ours / count * 1000})
    rows.append({"what": f"resume {RECORDS} records", "ours": min(resume(RECORDS) for _ in range(chosen.rounds))})
    if chosen.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print("  ".join(f"{name} {value:.3f}" if isinstance(value, float) else f"{value:<24}" for name, value in row.items()))
    return 0 if all(row.get("ratio", 0) <= 3 for row in rows) and rows[-1]["ours"] <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
