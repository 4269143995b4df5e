"""Recorded answers of a real kube-apiserver, all of them replayed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.kube.runner import running

CHECKS = Path(__file__).parents[2].parent / "shared" / "checks"
FILES = ("core", "custom", "own", "definitions")
LEAST = {"L2": 99.0, "L3": 97.0, "L4": 90.0}  # % of the steps that agree: status and body; causes, messages, warnings; managedFields


@pytest.mark.shared
@pytest.mark.skipif(not CHECKS.exists(), reason="the reference folder ../shared is not here")
def test_answers_are_the_recorded_ones(tmp_path: Path, counted: Callable[[str], None]) -> None:
    files = [str(CHECKS / "corpus" / f"{name}.ndjson.gz") for name in FILES]
    with running(tmp_path, controllers=False, speed=10.0) as lab:
        done = subprocess.run(
            [sys.executable, str(CHECKS / "replay.py"), "--kubeconfig", str(lab.kubeconfig), "--controllers", "no", "--json", *files],
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
    total = json.loads(done.stdout)["total"]
    shares = {level: 100 * total["agreed"][level] / total["compared"][level] for level in LEAST}
    assert {level: share for level, share in shares.items() if share < LEAST[level]} == {}
    counted("corpus: " + ", ".join(f"{level} {share:.2f} % of {total['compared'][level]}" for level, share in shares.items()))
