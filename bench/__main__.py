"""All figures of the product beside their targets, and peers measured in the same run: `python -m bench` (`make bench`).

    python -m bench [--rounds 3] [--steps 300,10000] [--only WORD]

Exit 1 when a target is missed. Other work on the machine shows in all figures: each row is the median of its rounds, ratios are of pairs measured
next to each other.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import big, engine, peers
from bench.rig import Lab, bootstrap, python

ROOT = Path(__file__).parents[1]
NODES = 300  # of the large site


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: `value` in `unit` beside `target` (None: no target, a peer or for comparison)."""

    what: str
    value: float | None
    unit: str
    target: float | None = None
    note: str = ""

    @property
    def missed(self) -> bool:
        """Whether it has a target and is past it."""
        return self.value is not None and self.target is not None and self.value > self.target

    def line(self) -> str:
        """One line of the table."""
        value = "-" if self.value is None else f"{self.value:,.3f}" if self.value < 10 else f"{self.value:,.1f}"
        target = "" if self.target is None else f"<= {self.target:g} {self.unit}"
        return f"{self.what:<58} {value:>10} {self.unit:<4} {target:<12} {'MISSED' if self.missed else '':<7} {self.note}".rstrip()


def of_engine(rounds: int, steps: tuple[int, ...]) -> Iterator[Row]:
    """Steps that run `true`, ten at a time, with the durable journal; against bare threads, doit and Terraform."""
    per_step: dict[int, float] = {}
    for count in steps:
        times = rounds if count <= 1000 else 1
        pairs = [(engine.measured(engine.engine, count), engine.measured(engine.bare, count)) for _ in range(times)]
        ours, bare = median(one for one, _ in pairs), median(other for _, other in pairs)
        per_step[count] = ours / count * 1000
        yield Row(f"engine: {count:,} steps", ours, "s")
        yield Row(f"  threads + subprocess, {count:,}", bare, "s")
        yield Row("  ours / bare", median(one / other for one, other in pairs), "x", 3.0)
        if count <= 1000:
            yield from (Row(f"  {name}, {count:,}", seconds, "s", note=note) for name, seconds, note in peers.measured(count))
    first, last = per_step[steps[0]], per_step[steps[-1]]
    yield Row(f"engine: a step of {steps[-1]:,} / a step of {steps[0]:,}", last / first, "x", 1.25, f"{last:.2f} ms / {first:.2f} ms")
    yield Row(f"journal: resume {engine.RECORDS:,} records", median(engine.resume(engine.RECORDS) for _ in range(rounds)), "s", 1.0)


def of_start(rounds: int) -> Iterator[Row]:
    """How soon the command speaks. An interpreter that does nothing is the measure where the machine is slow."""
    empty = median(timed(lambda: python("-c", "pass")) for _ in range(3 * rounds))
    spoken = median(timed(lambda: bootstrap("--help")) for _ in range(3 * rounds))
    yield Row("an empty interpreter", empty * 1000, "ms")
    yield Row("bootstrap --help", spoken * 1000, "ms", max(100.0, 7 * empty * 1000), f"{spoken / empty:.1f}x the interpreter")


def of_lab(rounds: int) -> Iterator[Row]:
    """The lab, and the product in it: from blank machines to the end of what is built."""
    with tempfile.TemporaryDirectory() as folder:
        starts = []
        for number in range(rounds):
            with Lab(Path(folder) / f"lab-{number}") as lab:
                starts.append(lab.seconds)
        yield Row("lab: two clusters ready", median(starts), "s", 0.5)
        with Lab(Path(folder) / "lab") as lab:
            yield from of_weeks(lab, rounds)
        yield Row("rehearse, weeks 1-2", timed(lambda: bootstrap("rehearse", "--dir", str(Path(folder) / "rehearsal"))), "s", 20.0)


def of_scale(rounds: int) -> Iterator[Row]:
    """The size of a large platform: the lab's API alone, and the product's plan of a site of 300 nodes in a lab (issue 4 section 5)."""
    done = subprocess.run([sys.executable, "-m", "bench.scale"], check=True, capture_output=True, text=True, cwd=ROOT)
    found = json.loads(done.stdout)
    yield Row("lab: 3,000 nodes and 50,000 pods made", found["filled"], "s")
    yield Row("  GET, p99 of 2,000", found["get"] * 1000, "ms", 20.0)
    yield Row("  LIST in pages of 500, the slowest page", found["page"] * 1000, "ms", note=f"{found['pages']:.1f} s all")
    yield Row("  200 watches, 100 changes each", found["watches"], "s")
    yield Row("  memory", found["memory"], "MiB", 1024.0)
    with tempfile.TemporaryDirectory() as folder:
        site = big.write(Path(folder) / "site", NODES)
        with Lab(Path(folder) / "lab", "--site", str(site)) as lab:
            yield Row(f"lab: {NODES} nodes ready", lab.seconds, "s")
            yield Row(f"plan, blank, {NODES} nodes", median(timed(lambda: lab.bootstrap("plan")) for _ in range(rounds)), "s", 5.0)


def of_weeks(lab: Lab, rounds: int) -> Iterator[Row]:
    """The product in one lab."""
    yield Row("plan, blank", median(timed(lambda: lab.bootstrap("plan")) for _ in range(rounds)), "s", 1.5)
    yield Row("up, both clusters, weeks 1-2", timed(lambda: lab.bootstrap("up", "--yes")), "s", 20.0)
    yield Row("plan, finished", median(timed(lambda: lab.bootstrap("plan", "--detailed-exitcode")) for _ in range(rounds)), "s", 1.5)
    yield Row("status, finished", median(timed(lambda: lab.bootstrap("status")) for _ in range(3 * rounds)) * 1000, "ms", 250.0)
    yield Row("up, nothing to do", timed(lambda: lab.bootstrap("up", "--yes")), "s")


def timed(call: Callable[[], object]) -> float:
    """Seconds of wall time."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> int:
    """Print the table as it grows."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--steps", default="300,10000")
    options.add_argument("--only", default="", help="engine, start, lab or scale")
    chosen = options.parse_args()
    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "start": lambda: of_start(chosen.rounds),
        "engine": lambda: of_engine(chosen.rounds, tuple(int(one) for one in chosen.steps.split(","))),
        "lab": lambda: of_lab(chosen.rounds),
        "scale": lambda: of_scale(chosen.rounds),
    }
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, {shutil.disk_usage(ROOT).free >> 30} GiB free")
    missed = 0
    for name, part in parts.items():
        if chosen.only in ("", name):
            try:
                for row in part():
                    missed += row.missed
                    print(row.line(), flush=True)
            except subprocess.CalledProcessError as error:
                missed += 1
                print(f"{name}: {' '.join(map(str, error.cmd))[-60:]} ended with {error.returncode}: {(error.stderr or '')[-400:]}", flush=True)
    print(f"{missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
