"""Peers that run the same steps: doit, where it can be installed into an environment of its own, and Terraform, where it is on PATH.

Both keep state as they go: doit a database of what is up to date, Terraform its state file. Neither is a part of the project.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

WIDTH = 10
PATIENCE = 600
DODO = """
def task_true():
    for n in range({count}):
        yield {{"name": str(n), "actions": ["true > out/{{}} 2>&1".format(n)], "targets": ["out/{{}}".format(n)]}}
"""
MAIN_TF = """
resource "terraform_data" "step" {{
  count = {count}
  provisioner "local-exec" {{
    command = "true > out/${{count.index}} 2>&1"
  }}
}}
"""


def measured(count: int) -> Iterator[tuple[str, float | None, str]]:
    """(peer, seconds or None, why it was not measured or how it ran)."""
    for name, measure in (("doit", doit), ("Terraform", terraform)):
        with tempfile.TemporaryDirectory() as folder:
            yield (name, *measure(count, Path(folder)))


def doit(count: int, folder: Path) -> tuple[float | None, str]:
    """doit with ten processes, in a throw-away environment."""
    where = folder / "venv"
    try:
        subprocess.run([sys.executable, "-m", "venv", str(where)], check=True, capture_output=True, timeout=PATIENCE)
        subprocess.run([where / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "doit"], check=True, capture_output=True, timeout=PATIENCE)
    except (subprocess.SubprocessError, OSError):
        return None, "not measured: it cannot be installed here"
    (folder / "out").mkdir()
    (folder / "dodo.py").write_text(DODO.format(count=count))
    return _run([str(where / "bin/doit"), "run", "-n", str(WIDTH), "--verbosity", "0"], folder)


def terraform(count: int, folder: Path) -> tuple[float | None, str]:
    """`terraform apply` of resources that run the same command."""
    program = shutil.which("terraform")
    if program is None:
        return None, "not measured: it is not on PATH"
    (folder / "out").mkdir()
    (folder / "main.tf").write_text(MAIN_TF.format(count=count))
    ready = subprocess.run([program, "init", "-input=false"], cwd=folder, capture_output=True, timeout=PATIENCE, check=False)
    if ready.returncode != 0:
        return None, "not measured: terraform init failed"
    return _run([program, "apply", "-auto-approve", "-input=false", f"-parallelism={WIDTH}"], folder)


def _run(argv: list[str], folder: Path) -> tuple[float | None, str]:
    begun = time.perf_counter()
    done = subprocess.run(argv, cwd=folder, capture_output=True, timeout=PATIENCE, check=False)
    seconds = time.perf_counter() - begun
    return (seconds, "") if done.returncode == 0 else (None, f"not measured: exit {done.returncode}")
