"""`lab start --at PHASE`: a world in which the phases up to PHASE are done, made once by the product itself and kept by digest."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROOMS = ("orchestrator", "phases", "inventory", "lab")
SOURCES = (".py", ".yaml", ".json", ".sh", ".gz")


def start_at(
    options: argparse.Namespace, settings: dict[str, Any], launch: Callable[[Path, dict[str, Any]], int]
) -> int:
    """Resume the kept world of the digest, or make it: start blank, run `up --until PHASE`, save."""
    folder: Path = options.dir
    kept = _cache(options) / _digest(settings, options.at)
    blank = {**settings, "at": "blank"}
    if (kept / "world.json.gz").is_file():
        shutil.copytree(kept / "site", folder / "site", dirs_exist_ok=True)
        return launch(folder, {**blank, "saved": str(kept)})
    code = launch(folder, blank)
    if code:
        return code
    code = _up(folder, options.at)
    if code:
        print(f"lab: up --until {options.at} ended with {code}; the lab goes on as it is", file=sys.stderr)
        return code
    from lab.__main__ import main

    part = kept.with_name(f".{kept.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    if main(["save", "--dir", str(folder), "--to", str(part)]):
        return 1
    shutil.copytree(folder / "site", part / "site")
    shutil.rmtree(kept, ignore_errors=True)
    part.rename(kept)
    return 0


def _up(folder: Path, phase: str) -> int:
    """The product, as an operator runs it after `. DIR/env`."""
    command = [sys.executable, "-m", "orchestrator", "-C", str(folder / "site"), "up", "--until", phase, "--yes"]
    script = '. "$0/env"; shift 0; exec "$@"'
    run = subprocess.run(["sh", "-euc", script, str(folder), *command], stdout=sys.stderr, check=False)
    return run.returncode


def _cache(options: argparse.Namespace) -> Path:
    if options.cache:
        return Path(options.cache).absolute()
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "bootstrap" / "lab"


def _digest(settings: dict[str, Any], phase: str) -> str:
    """Over the site, the settings and every source file: any change of the product makes another world."""
    total = hashlib.sha256(json.dumps([phase, settings["seed"], settings["speed"]]).encode())
    site = Path(settings["site"])
    files = [*sorted(site.parent.glob("*.yaml")), *([Path(settings["world"])] if settings["world"] else [])]
    for room in ROOMS:
        files += sorted(p for p in (ROOT / room).rglob("*") if p.suffix in SOURCES)
    for file in files:
        total.update(file.name.encode() + b"\0" + file.read_bytes())
    return total.hexdigest()[:24]
