"""The catalogue as data, and a seeded sample of it played (`make faults` plays all)."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import inventory
import phases
from lab import catalogue
from lab.faults import WorldFileError
from orchestrator.cli import drill

SITE = Path(__file__).parents[2] / "inventory" / "sites" / "ten-weeks" / "site.yaml"
ENTRIES = catalogue.load()
SEED = int(os.environ.get("FAULTS_SEED", "1"))
NEAR = [entry.name for entry in ENTRIES if entry.after == "blank"]  # no world has to be made first
SAMPLE = random.Random(SEED).sample(NEAR, 3)


def test_there_are_sixty_named_faults() -> None:
    assert len(ENTRIES) >= 60
    assert {entry.after for entry in ENTRIES} == set(catalogue.PLACES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_expects_an_answer_that_exists(entry: catalogue.Entry) -> None:
    from fnmatch import fnmatchcase

    compiled = phases.compile(inventory.load(SITE))
    known = {phase.id for phase in compiled} | {check.id for _, check in phases.checks(compiled)}
    assert entry.exit in (0, 4, 5, 6, 10)
    assert entry.exit == 0 or any(fnmatchcase(name, entry.by) for name in known), f"nothing is called {entry.by}"
    assert entry.world["faults"] or entry.world["conditions"]
    assert catalogue.PLACES.index(entry.after) < (*catalogue.PLACES, "mesh").index(entry.until)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {name: a, about: x, after: nowhere, until: talos, answer: {exit: 0}}", "nowhere"),
        ("- {name: a, about: x, after: blank, until: talos, colour: red, answer: {exit: 0}}", "colour"),
        ("- {name: a, about: x, after: blank, until: talos, faults: [{actor: git}], answer: {exit: 0}}", "effect"),
        ("- {name: a, after: blank, until: talos, answer: {exit: 0}}", "about"),
    ],
)
def test_a_wrong_entry_says_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(WorldFileError, match=said):
        catalogue.load(tmp_path)


def _rehearse(folder: Path, *args: str) -> dict[str, list[dict[str, object]]]:
    argv = [sys.executable, "-m", "orchestrator", "-q", "rehearse", "--dir", str(folder / "drills"), "-o", "json", *args]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=280, check=False, env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    found: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    return found


@pytest.mark.xdist_group("faults")
def test_a_sample_is_answered_as_expected(tmp_path: Path, counted: Callable[[str], None]) -> None:
    played = _rehearse(tmp_path, *(word for name in SAMPLE for word in ("--faults", name)))["drills"]
    assert [one["name"] for one in played] == SAMPLE
    assert all(one["lifted_exit"] == 0 for one in played)
    counted(f"faults: {len(ENTRIES)} named; {', '.join(SAMPLE)} played and answered as expected")


def _seeds() -> list[int]:
    """Five seeds whose mixes strike early: four on blank machines, one while Talos is installed (`make faults` takes fifty as they come)."""
    faults = tuple(drill.Fault.of(entry.to_json()) for entry in ENTRIES)
    places = {seed: drill.mixed(faults, seed).after for seed in range(SEED, SEED + 200)}
    return [*[seed for seed, after in places.items() if after == "blank"][:4], *[seed for seed, after in places.items() if after == "preflight"][:1]]


@pytest.mark.xdist_group("faults")
@pytest.mark.parametrize("seed", _seeds())
def test_random_faults_end_green_and_say_what_was_injected(seed: int, tmp_path: Path, counted: Callable[[str], None]) -> None:
    played = _rehearse(tmp_path, "--faults", "random", "--seed", str(seed))["drills"]
    assert played[0]["lifted_exit"] == 0 and played[0]["about"]
    counted(f"faults: seed {seed}: {played[0]['about']}; finished once lifted")
