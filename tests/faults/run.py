"""`make faults`: the whole catalogue, then `rehearse --faults random` with many seeds, some of them side by side.

Prints what was injected and how it was caught as it comes, and at last how many were answered as they should be.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab import catalogue

Drill = tuple[str, tuple[str, ...]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="how many random mixes")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--no-catalogue", action="store_true", help="only the random mixes")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="drills at once")
    options = parser.parse_args(argv)
    began = time.monotonic()
    named: list[Drill] = [] if options.no_catalogue else [(entry.name, ("--faults", entry.name)) for entry in catalogue.load()]
    mixes: list[Drill] = [(f"seed {seed}", ("--faults", "random", "--seed", str(seed))) for seed in range(options.first, options.first + options.seeds)]
    red = play([*named, *mixes], options.jobs)
    bad = [name for name, _ in named if name in red]
    print(f"{len(named)} named faults, {len(bad)} not answered as expected{': ' + ', '.join(bad) if bad else ''}")
    mixed = [name for name, _ in mixes if name in red]
    print(f"{len(mixes)} random mixes, {len(mixed)} not green{': ' + ', '.join(mixed) if mixed else ''}; {time.monotonic() - began:.0f} s")
    return 1 if red else 0


def play(drills: Sequence[Drill], jobs: int) -> set[str]:
    """Play all, so many at once. -> the names of those that went wrong."""
    left: Iterator[Drill] = iter(drills)
    turn, red = threading.Lock(), set()

    def work(cache: str) -> None:
        env = {**os.environ, "XDG_CACHE_HOME": cache}  # a kept world comes back on its own ports: each job keeps its own
        while True:
            with turn:
                name, words = next(left, ("", ()))
            if not name:
                return
            done = subprocess.run([sys.executable, "-m", "orchestrator", "rehearse", *words], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            with turn:
                said = [line for line in done.stdout.splitlines() if line[:1] in "✓✗" or line.startswith("    ")]
                print("\n".join(said) if said and done.returncode in (0, 5) else f"✗ {name}: exit {done.returncode}\n{done.stdout[-3000:]}", flush=True)
                if done.returncode != 0:
                    red.add(name)

    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        workers = [threading.Thread(target=work, args=(str(Path(folder) / str(number)),)) for number in range(jobs)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return red


if __name__ == "__main__":
    sys.exit(main())
