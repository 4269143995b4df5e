"""`make faults`: the whole catalogue, then `rehearse --faults random` with many seeds. Prints what was injected and how it was caught."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="how many random mixes")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--no-catalogue", action="store_true", help="only the random mixes")
    options = parser.parse_args(argv)
    rehearse = [sys.executable, "-m", "orchestrator", "rehearse"]
    bad = 0
    if not options.no_catalogue:
        bad += subprocess.run([*rehearse, "--faults", "all"], check=False).returncode != 0
    red = []
    for seed in range(options.first, options.first + options.seeds):
        if subprocess.run([*rehearse, "--faults", "random", "--seed", str(seed)], check=False).returncode != 0:
            red.append(seed)
    print(f"{options.seeds} random mixes, {len(red)} not green{': seeds ' + ', '.join(map(str, red)) if red else ''}")
    return 1 if bad or red else 0


if __name__ == "__main__":
    sys.exit(main())
