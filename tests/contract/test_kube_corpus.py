"""Recorded answers of a real kube-apiserver, replayed: a seeded sample, or all of them with LAB_CORPUS=all."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from lab.kube.runner import running

CHECKS = Path(__file__).parents[2].parent / "shared" / "checks"
FILES = ("core", "custom", "own", "definitions")
SAMPLE = 25  # sequences of each file
LEAST = {"L2": 97.0, "L3": 95.0, "L4": 93.0}  # of a sample; the whole stands higher


def sample(name: str, folder: Path) -> Path:
    """A part of a file, the same on every run."""
    source = CHECKS / "corpus" / f"{name}.ndjson.gz"
    if os.environ.get("LAB_CORPUS") == "all":
        return source
    header, *sequences = gzip.decompress(source.read_bytes()).splitlines()
    chosen = random.Random(1).sample(sequences, min(SAMPLE, len(sequences)))
    target = folder / f"{name}.ndjson.gz"
    target.write_bytes(gzip.compress(b"\n".join([header, *chosen]) + b"\n"))
    return target


@pytest.mark.shared
@pytest.mark.skipif(not CHECKS.exists(), reason="the reference folder ../shared is not here")
def test_answers_are_the_recorded_ones(tmp_path: Path) -> None:
    files = [str(sample(name, tmp_path)) for name in FILES]
    with running(tmp_path, controllers=False, speed=10.0) as lab:
        done = subprocess.run(
            [sys.executable, str(CHECKS / "replay.py"), "--kubeconfig", str(lab.kubeconfig), "--controllers", "no", "--json", *files],
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
    total = json.loads(done.stdout)["total"]
    shares = {level: 100 * total["agreed"][level] / total["compared"][level] for level in LEAST}
    assert {level: share for level, share in shares.items() if share < LEAST[level]} == {}
