"""`bootstrap rehearse`: the lab in a new folder, the real `bootstrap up --yes` as a child against it, a summary."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.drill import UNDER_ENV, lab
from orchestrator.cli.options import option, output
from orchestrator.cli.shared import Shared, dump
from orchestrator.model.errors import UsageError

if TYPE_CHECKING:
    from inventory.model import Site

@click.command()
@option("--site", "site_file", env="REHEARSE_SITE", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None, help="Rehearse this site (default: the ten-week plan's).")
@option("--until", env="UNTIL", metavar="NAME", help="Up to this phase, inclusive.")
@option("--seed", env="SEED", type=int, default=0, show_default=True, help="Seed of everything that is random in the lab.")
@option("--speed", env="SPEED", type=float, default=None, help="Simulated seconds in one second of wall time.")
@option("--world", env="WORLD", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None, help="A world file that scripts faults.")
@option("--faults", env="FAULTS", multiple=True, metavar="NAME", help="Play named faults and judge the answers: a name (repeatable), all, random; list names them.")
@option("--dir", "folder", env="REHEARSE_DIR", type=click.Path(path_type=Path), default=None, help="A new folder for the lab (default: a temporary one).")
@option("--keep", env="KEEP", is_flag=True, help="Leave the lab running.")
@output("json", "yaml")
@click.pass_obj
def rehearse(shared: Shared, site_file: Path | None, until: str | None, seed: int, speed: float | None, world: Path | None, faults: tuple[str, ...], folder: Path | None, keep: bool, form: str) -> int:
    """Run the plan in the embedded lab: nothing leaves this machine, and nothing real is touched.

    The lab's record, the journal and the output of every command stay in the folder that the summary names.
    """
    from orchestrator.report.paint import Paint
    from orchestrator.report.rehearsal import figures, summary

    if faults:
        return _drills(shared, faults, site_file, until, world, folder, seed=seed, keep=keep, form=form)
    site_path = (site_file or _own_site(shared)).resolve()
    where = (folder or Path(tempfile.mkdtemp(prefix="bootstrap-rehearsal-"))).resolve()
    started = time.monotonic()
    shared.say(f"starting the lab in {where}")
    extra = [*(["--world", str(world.resolve())] if world else []), *(["--speed", str(speed)] if speed else [])]
    lab("start", "--dir", str(where), "--site", str(site_path), "--seed", str(seed), *extra)
    try:
        limit = ["--until", until] if until else []
        plan_file = where / "plan.json"
        _product(where, "plan", "--out", str(plan_file), *limit, quiet=True)
        code = _product(where, "up", "--yes", *limit, quiet=form != "text" or shared.quiet)
        wall = time.monotonic() - started
        record = list(_ndjson(lab("log", "--dir", str(where), "-o", "ndjson")))
        (where / "record.ndjson").write_text("".join(json.dumps(one) + "\n" for one in record))
    finally:
        if not keep:
            lab("stop", "--dir", str(where))
    journal = [one for path in sorted((where / "site" / ".bootstrap" / "journal").glob("*.ndjson")) for one in _ndjson(path.read_text())]
    document = figures(record, [one for one in journal if "kind" in one], _deeds(plan_file, where), wall) | {"exit_code": code, "folder": str(where)}
    differing = _differing(site_path, where / "site" / "site.yaml")
    shared.data(dump(form, document | {"differs_on_real_site": differing}) if form != "text" else summary(document, Paint(shared.color and sys.stdout.isatty()), folder=str(where), code=code, differing=differing))
    return code


def _drills(shared: Shared, names: tuple[str, ...], site_file: Path | None, until: str | None, world: Path | None, folder: Path | None, *, seed: int, keep: bool, form: str) -> int:
    """Named faults, each in a lab of its own. Exit 5 when an answer was not the expected one."""
    from orchestrator.cli import drill
    from orchestrator.report.rehearsal import drills

    known = drill.catalogue()
    if "list" in names:
        rows = [{"name": one.name, "about": one.about, "after": one.after, "exit": one.exit, "by": one.by} for one in known]
        shared.data(dump(form, rows) if form != "text" else "\n".join(f"{one['name']:<34} {one['about']}" for one in rows))
        return 0
    if world is not None or until is not None:
        raise UsageError("--faults goes with neither --world nor --until: a named fault says where it strikes", hint="bootstrap rehearse --faults list")
    wanted = drill.chosen(known, names, seed)
    where = (folder or Path(tempfile.mkdtemp(prefix="bootstrap-faults-"))).resolve()
    site_path = (site_file or _own_site(shared)).resolve()
    played = [drill.play(one, where, site_path, seed=seed, keep=keep, say=shared.say) for one in wanted]
    document = {"drills": [one.to_json() for one in played], "folder": str(where)}
    shared.data(dump(form, document) if form != "text" else drills(document))
    return 5 if any(one.problems for one in played) else 0


def _deeds(plan_file: Path, where: Path) -> dict[str, Any] | None:
    """How much of what was done was exactly as the plan had shown."""
    from orchestrator.engine import api

    if not plan_file.exists():
        return None
    events = [one for path in sorted((where / "site" / ".bootstrap" / "runs").glob("*/events.ndjson")) for one in _ndjson(path.read_text())]
    return api.equality(api.Plan.parse(plan_file.read_text()), events).to_json()


def _own_site(shared: Shared) -> Path:
    """The site in this folder; else the plan's own."""
    import inventory

    here = Path(shared.directory) / (shared.site_file or "site.yaml")
    return here if here.is_file() else Path(inventory.__file__).parent / "sites" / "ten-weeks" / "site.yaml"


def _product(where: Path, *args: str, quiet: bool) -> int:
    """Run the real command on the lab's copy of the site, in the environment that the lab left."""
    argv = ["/bin/sh", "-c", UNDER_ENV, str(where / "env"), sys.executable, "-m", "orchestrator", "-C", str(where / "site"), *args]
    if not quiet:
        return subprocess.run(argv, check=False, stdin=subprocess.DEVNULL).returncode
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        click.echo(done.stderr, err=True, nl=False)
    return done.returncode


def _ndjson(text: str) -> Iterator[dict[str, Any]]:
    for line in filter(None, text.splitlines()):
        yield json.loads(line)


def _differing(real: Path, lab: Path) -> list[str]:
    """Every argv that would differ on the real site: `STEP: REAL WORD instead of LAB WORD`."""
    import inventory

    mine, theirs = _argvs(inventory.load(real)), _argvs(inventory.load(lab))
    found = []
    for step, argvs in mine.items():
        for one, other in zip(argvs, theirs.get(step, ()), strict=False):
            words = [f"{a} for {b}" for a, b in zip(one, other, strict=False) if a != b]
            if words or len(one) != len(other):
                found.append(f"{step}: {'; '.join(words) or 'another number of words'}")
    return found


def _argvs(site: Site) -> dict[str, list[tuple[str, ...]]]:
    import phases
    from orchestrator.model.action import Command

    return {step.id: [action.argv for action in step.actions if isinstance(action, Command)] for phase in phases.compile(site) for step in phase.steps}
