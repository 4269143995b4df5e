"""`bootstrap lab ...`: the embedded lab is a program of its own, started as a child and never imported."""

from __future__ import annotations

import subprocess
import sys

import click

from orchestrator.cli.shared import Shared


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []})
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def lab(shared: Shared, args: tuple[str, ...]) -> int:
    """Start, stop and look into the embedded lab: start, stop, status, log, dump, save, resume."""
    return subprocess.run([sys.executable, "-m", "lab", *(args or ("--help",))], check=False, cwd=shared.directory).returncode
