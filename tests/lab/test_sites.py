"""Every example site rehearses from blank machines to its end: one cluster or three, workers, no gateway, dual stack, other Git."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SITES = Path(__file__).parents[2] / "inventory" / "sites"
IN_CI = ("single-node", "no-gateway")  # the others are behind `make sites`
NAMES = sorted(path.name for path in SITES.iterdir() if (path / "site.yaml").is_file() and path.name != "ten-weeks")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.lab] if name in IN_CI else [pytest.mark.long]) for name in NAMES])
def test_an_example_site_rehearses_to_its_end(name: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "orchestrator", "-q", "rehearse", "--site", str(SITES / name / "site.yaml"), "--dir", str(tmp_path / "lab"), "-o", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["exit_code"] == 0 and found["steps"] > 0
    assert found["plan"]["share"] >= 0.99 or not found["plan"]["other"]
