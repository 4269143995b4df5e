"""`make judge`: the lab against a real control plane. The black-box suite and the recorded corpus on both grounds, then the rehearsal of the
plan's own site on both: the same phases must reach the same end. What differs is a defect of the lab.

    python -m tests.judge.run [--until PHASE] [--skip-rehearsal] [--speed N]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.judge.build import BINARIES, ROOT, WORK

SHARED = ROOT.parent / "shared" / "checks"
SITE = ROOT / "inventory" / "sites" / "ten-weeks" / "site.yaml"
KUBECTL = Path(sys.executable).with_name("kubectl")
GROUNDS = ("lab", "real")
LEVELS = ("L2", "L3", "L4")
UNDER_ENV = '. "$0"; exec "$@"'


@dataclass
class Verdict:
    """What one ground did."""

    checks: str = "-"
    failed: list[str] = field(default_factory=list)
    corpus: dict[str, float] = field(default_factory=dict)
    phases: dict[str, str] = field(default_factory=dict)
    code: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@contextmanager
def lab(folder: Path, ground: str, *extra: str) -> Iterator[Path]:
    """A lab on one of the grounds, ended with the block."""
    shutil.rmtree(folder, ignore_errors=True)
    stand = ["--control-plane", str(BINARIES)] if ground == "real" else []
    command = [sys.executable, "-m", "lab"]
    subprocess.run([*command, "start", "--dir", str(folder), *extra, *stand], cwd=ROOT, check=True)
    try:
        yield folder
    finally:
        subprocess.run([*command, "stop", "--dir", str(folder)], cwd=ROOT, check=False)


def conformance(ground: str, verdict: Verdict) -> None:
    """The suite and the corpus, on a cluster without machines."""
    with lab(WORK / "run" / f"{ground}-api", ground, "--at", "kubernetes", "--speed", "10") as folder:
        target = ["--kubeconfig", str(folder / "kubeconfig")]
        begun = time.monotonic()
        done = subprocess.run([sys.executable, str(SHARED / "apicheck.py"), *target, "--kubectl", str(KUBECTL), "--jobs", "4"], capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines() or [done.stderr[-200:]]
        verdict.checks, verdict.failed = lines[-1], [line for line in lines if line.startswith("FAIL")]
        verdict.seconds["checks"] = time.monotonic() - begun
        begun = time.monotonic()
        files = sorted(str(path) for path in (SHARED / "corpus").glob("*.ndjson.gz"))
        done = subprocess.run([sys.executable, str(SHARED / "replay.py"), *target, "--json", *files], capture_output=True, text=True, check=False)
        verdict.seconds["corpus"] = time.monotonic() - begun
        try:
            total = json.loads(done.stdout)["total"]
        except ValueError:
            verdict.failed.append(f"replay: {done.stderr[-300:]}")
            return
        verdict.corpus = {level: 100 * total["agreed"][level] / total["compared"][level] for level in LEVELS if total["compared"].get(level)}


def rehearsal(ground: str, verdict: Verdict, until: str, speed: str) -> None:
    """The product on a blank world; how each phase ended is read from its own events."""
    begun = time.monotonic()
    faster = ["--speed", speed] if speed and ground == "real" else []
    with lab(WORK / "run" / f"{ground}-plan", ground, "--site", str(SITE), *faster) as folder:
        limit = ["--until", until] if until else []
        product = [sys.executable, "-m", "orchestrator", "-C", str(folder / "site"), "up", "--yes", *limit]
        with (folder / "up.log").open("w") as log:
            done = subprocess.run(["/bin/sh", "-euc", UNDER_ENV, str(folder / "env"), *product], stdout=log, stderr=log, cwd=ROOT, check=False)
        verdict.code = done.returncode
        verdict.phases = dict(phases(folder / "site" / ".bootstrap"))
    verdict.seconds["rehearsal"] = time.monotonic() - begun


def phases(state: Path) -> Iterator[tuple[str, str]]:
    """(phase, how it ended) of every phase that a run has ended."""
    for path in sorted((state / "runs").glob("*/events.ndjson")):
        for line in path.read_text().splitlines():
            event = json.loads(line)
            if str(event.get("kind", "")).startswith("phase."):
                phase = (event.get("data") or {}).get("phase") or event.get("phase") or ""
                yield str(phase), str(event["kind"]).removeprefix("phase.")


def table(verdicts: dict[str, Verdict]) -> Iterator[str]:
    """The figures of both grounds side by side, then what differs."""
    own, real = (verdicts[ground] for ground in GROUNDS)
    yield f"{'':24} {'the lab':>24} {'real control plane':>24}"
    yield f"{'apicheck':24} {own.checks:>24} {real.checks:>24}"
    for level in LEVELS:
        yield f"{'corpus ' + level:24} {_percent(own, level):>24} {_percent(real, level):>24}"
    for phase in {**own.phases, **real.phases}:
        yield f"{phase:24} {own.phases.get(phase, '-'):>24} {real.phases.get(phase, '-'):>24}"
    yield f"{'exit code':24} {own.code!s:>24} {real.code!s:>24}"
    for what in {**own.seconds, **real.seconds}:
        yield f"{what + ', seconds':24} {own.seconds.get(what, 0):>24.0f} {real.seconds.get(what, 0):>24.0f}"
    for ground, verdict in verdicts.items():
        yield from (f"{ground}: {line}" for line in verdict.failed)


def _percent(verdict: Verdict, level: str) -> str:
    return f"{verdict.corpus[level]:.2f} %" if level in verdict.corpus else "-"


def same(verdicts: dict[str, Verdict]) -> bool:
    """Whether both grounds passed every check and the plan ended alike, in success."""
    own, real = (verdicts[ground] for ground in GROUNDS)
    return not own.failed and not real.failed and own.phases == real.phases and own.code == real.code and own.code in (0, None)


def main() -> int:
    """Judge, print, and say by the exit code whether the grounds agree."""
    parser = argparse.ArgumentParser(prog="make judge")
    parser.add_argument("--until", default="", help="rehearse up to this phase")
    parser.add_argument("--skip-rehearsal", action="store_true")
    parser.add_argument("--speed", default="", help="speed of the clock on the real control plane")
    options = parser.parse_args()
    verdicts = {ground: Verdict() for ground in GROUNDS}
    for ground, verdict in verdicts.items():
        if SHARED.is_dir():
            print(f"judge: apicheck and corpus, {ground}", file=sys.stderr, flush=True)
            conformance(ground, verdict)
        if not options.skip_rehearsal:
            print(f"judge: rehearsal, {ground}", file=sys.stderr, flush=True)
            rehearsal(ground, verdict, options.until, options.speed)
    text = "\n".join(table(verdicts))
    print(text)
    (WORK / "judge.txt").write_text(text + "\n", encoding="utf-8")
    return 0 if same(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
