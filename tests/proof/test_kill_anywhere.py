"""A seeded sample of `make kill-anywhere`, and proof that the proof can fail."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.journal import records_of
from orchestrator.engine.status import fold
from orchestrator.model.action import Await
from tests.proof import tiny
from tests.proof.kill_anywhere import (
    GAP,
    SOME_TO_THE_END,
    TO_THE_END,
    Boundary,
    Segments,
    chains,
    chosen,
    draw,
    in_turn,
    share,
    standing,
    step_of,
)
from tests.unit.engine_world import Fan, do, goal, phase, step

SAMPLE = 40
ROOT = Path(__file__).parents[2]
LIFE = """
import json, os, signal, sys
from pathlib import Path
from tests.proof import kill_anywhere, tiny
key = tuple(json.loads(sys.argv.pop(1)))
passed = Path(sys.argv[sys.argv.index("-C") + 1]) / "passed"
def on(one):
    with passed.open("a") as file: file.write(json.dumps(one) + "\\n")
    if one == key: kill_anywhere.die()
kill_anywhere.Watch(lambda *record: "", on, lambda segment: None, every=True).install()
sys.exit(tiny.main())
"""


@pytest.mark.xdist_group("proof-kills")
def test_a_seeded_sample_of_all_boundaries(counted: Callable[[str], None]) -> None:
    argv = [sys.executable, "-m", "tests.proof.kill_anywhere", "--sample", str(SAMPLE), "--seed", os.environ.get("KILL_SEED", "0"), "--shards", "1"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    count = int(done.stdout.splitlines()[-1].removesuffix(" boundaries, 0 lost, 0 twice, 0 asked"))
    assert SAMPLE * 0.9 <= count <= SAMPLE
    counted(f"kill-anywhere: {done.stdout.splitlines()[-1]}")


def life(folder: Path, key: list[object]) -> int:
    """One life of the command on a tiny site, killed at a boundary."""
    from tests.proof.offline import environment

    argv = [sys.executable, "-c", LIFE, json.dumps(key), "-C", str(folder), "-q", "up", "--yes"]
    return subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, check=False).returncode


def passed(folder: Path) -> list[list[object]]:
    """The boundaries that were passed so far."""
    return [json.loads(line) for line in (folder / "passed").read_text().splitlines()]


def test_every_boundary_of_a_tiny_run_in_real_processes(tmp_path: Path, counted: Callable[[str], None]) -> None:
    """No lab, no fork, no snapshot: real programs, a real disk, SIGKILL. A step may run once and leaves a count of how often it did."""
    steps = (tiny.row("a", "echo x >> a.count; touch a", once=True, within=1, settle=1), tiny.row("b", "echo x >> b.count; touch b", once=True, within=1, settle=1))
    undisturbed = tiny.write(tmp_path / "undisturbed", *steps)
    assert life(undisturbed, ["never"]) == 0
    wanted = standing(fold(records_of(undisturbed / ".bootstrap/journal")))
    boundaries = passed(undisturbed)
    assert len(boundaries) == len({json.dumps(one) for one in boundaries}) > 25
    picked = boundaries[::3]  # all of them are killed at in the lab; here a third keeps the suite short
    for number, key in enumerate(picked):
        folder = tiny.write(tmp_path / str(number), *steps)
        assert life(folder, key) == -9, key
        assert life(folder, ["never"]) == 0, key
        assert [(folder / f"{name}.count").read_text() for name in "ab"] == ["x\n", "x\n"], key
        assert standing(fold(records_of(folder / ".bootstrap/journal"))) == wanted, key
    counted(f"kill-anywhere: {len(picked)} of {len(boundaries)} boundaries of a tiny run: 0 lost, 0 twice, 0 asked")


def test_the_proof_can_fail(tmp_path: Path) -> None:
    """A journal that says less is seen to say less."""
    folder = tiny.write(tmp_path / "site", tiny.row("a", "touch a"))
    assert life(folder, ["never"]) == 0
    records = records_of(folder / ".bootstrap/journal")
    whole, part = fold(records), fold(records[:-3])
    assert standing(whole) != standing(part)


PHASE = phase(
    "p",
    step("p/a", do("a"), Await(goal("up")), do("b"), do("c")),
    *(step(f"p/fan.{n}", do(n), do(f"{n}.2"), fan=Fan("p/fan", 1)) for n in "xy"),
    step("p/z", Await(goal("ready")), do("z")),
)


def test_a_phase_is_cut_at_its_actions_and_a_fan_is_one_piece() -> None:
    segments = Segments(PHASE)
    assert segments.order == ["", "p/a", "p/a#2", "p/a#3", "p/fan", "p/z", "~end"]
    place = segments.place
    assert [place("run.started", None, {}), place("step.started", "p/a", {}), place("action.started", "p/a", {"index": 0})] == ["", "p/a", "p/a"]
    assert [place("action.started", "p/a", {"index": 2}), place("action.ended", "p/a", {"index": 2})] == ["p/a#2", "p/a"]
    assert [place("action.started", "p/fan.y", {"index": 1}), place("gate.met", None, {})] == ["p/fan", "~end"]
    assert segments.behind("p/fan", "p/a#3")
    assert not segments.behind("p/a", "p/a#2")


BOUNDARIES = st.lists(st.builds(Boundary, st.sampled_from("pqr"), st.sampled_from(Segments(PHASE).order), st.tuples(st.just("written"), st.just("k"), st.just("s"), st.integers(0, 3))), unique=True)


@given(BOUNDARIES, st.booleans())
def test_chains_hold_every_boundary_once_and_in_order(picked: list[Boundary], hasty: bool) -> None:
    place = step_of if hasty else str
    order = list(dict.fromkeys(map(place, Segments(PHASE).order)))
    made = chains(picked, dict.fromkeys("pqr", Segments(PHASE)), hasty=hasty)
    assert Counter(one for chain in made for one in chain) == Counter(picked)
    for chain in made:
        assert len({one.phase for one in chain}) == 1
        places = [order.index(place(one.segment)) for one in chain]
        assert all(1 <= after - before <= GAP + 1 for before, after in itertools.pairwise(places))


@given(BOUNDARIES, st.integers(0, 30), st.integers(0, 9))
def test_some_of_every_phase_go_on_to_the_end(boundaries: list[Boundary], sample: int, seed: int) -> None:
    ending = in_turn(sorted({(one.phase, one.segment) for one in boundaries}), by=lambda place: place[0], seed=seed)
    picked = chosen(boundaries, ending, sample, seed)
    assert picked == chosen(boundaries[::-1], ending, sample, seed)  # so that shards agree
    assert len({one for one, _ in picked}) == len(picked) == min(sample or len(boundaries), len(boundaries))
    ends = [one for one, to_the_end in picked if to_the_end]
    assert len(ends) == (min(TO_THE_END, max(1, len(picked) // SOME_TO_THE_END)) if picked else 0)
    assert len(ends) < len({one.phase for one, _ in picked}) or not ends or {one.phase for one in ends} == {one.phase for one, _ in picked}


@given(st.lists(st.integers(0, 4), min_size=1).map(sorted))
def test_two_that_go_on_to_the_end_together_are_of_different_phases(phases: list[int]) -> None:
    left = list(zip(phases, range(len(phases)), strict=True))
    drawn = list[int]()
    while left:
        one = draw(left)
        assert [phases[number] for number in one] == sorted({phases[number] for number in one})
        drawn += one
    assert sorted(drawn) == list(range(len(phases)))


@pytest.mark.parametrize("of", [1, 2, 3, 4, 9])
def test_every_phase_is_in_one_shard(of: int) -> None:
    shards = [share("abcdefgh", number, of) for number in range(of)]
    assert sorted(name for one in shards for name in one) == list("abcdefgh")
    assert of != 4 or shards[0] == {"a", "h"}
