"""Programs as an operator starts them: the command, the lab, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNDER_ENV = 'set -a; . "$0"; exec "$@"'


def python(*args: str) -> None:
    """An interpreter to its end."""
    subprocess.run([sys.executable, *args], check=True, capture_output=True, text=True, cwd=ROOT)


def bootstrap(*args: str) -> None:
    """The command, from the entry point where it is installed."""
    entry = Path(sys.executable).with_name("bootstrap")
    argv = [str(entry)] if entry.exists() else [sys.executable, "-m", "orchestrator"]
    subprocess.run([*argv, *args], check=True, capture_output=True, text=True, cwd=ROOT)


class Lab:
    """A lab in a folder of its own; `seconds` until it was ready."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self._options = folder, options
        self.seconds = 0.0

    def __enter__(self) -> Lab:
        begun = time.perf_counter()
        python("-m", "lab", "start", "--dir", str(self.folder), *self._options)
        self.seconds = time.perf_counter() - begun
        return self

    def __exit__(self, *_: object) -> None:
        python("-m", "lab", "stop", "--dir", str(self.folder))

    def bootstrap(self, *args: str) -> None:
        """The command on the lab's copy of the site, in its environment."""
        argv = ["/bin/sh", "-c", UNDER_ENV, str(self.folder / "env"), sys.executable, "-m", "orchestrator", "-C", str(self.folder / "site"), *args]
        subprocess.run(argv, check=True, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL)
