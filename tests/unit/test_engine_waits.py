"""Waits and deletions inside of a step, over kills: what guards an action is asked again, what a later action ends is not."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from orchestrator.model.action import Await, Command, DeleteSelected
from orchestrator.model.phase import Phase
from tests.unit.engine_world import Bench, Killed, Process, do, goal, phase, step


def parts_of(once: bool) -> tuple[Phase, ...]:
    made = Await(replace(goal("made"), id="made.wait"), once=once)
    return (phase("a", step("a/test", do("made"), made, Command(("fake", "undo", "made")), do("a/test"))),)


@pytest.mark.parametrize(("once", "codes"), [(True, {0}), (False, {0, 5})])
def test_a_run_that_was_cut_behind_a_wait_goes_on_without_it(once: bool, codes: set[int]) -> None:
    """The object of a test is made, awaited, and removed: a run that was cut in the removal cannot wait for it again."""
    undisturbed = Process()
    Bench(parts_of(once)).up(process=undisturbed)
    found = set()
    for boundary in range(undisturbed.passed):
        bench = Bench(parts_of(once))
        with suppress(Killed):
            bench.up(process=Process(boundary))
        found.add(bench.up().exit_code)
    assert found == codes


def test_what_guards_an_action_is_asked_by_the_run_that_does_it() -> None:
    parts = (phase("a", step("a/install", Await(replace(goal("identity"), id="identity")), do("a/install"))),)
    undisturbed = Process()
    bench = Bench(parts)
    bench.world.facts["identity"] = True
    bench.up(process=undisturbed)
    for boundary in range(undisturbed.passed):
        bench = Bench(parts)
        bench.world.facts["identity"] = True
        with suppress(Killed):
            bench.up(process=Process(boundary))
        before, called = bench.world.asked["identity"], bench.world.calls["a/install"]
        assert bench.up().exit_code == 0
        assert bench.world.calls["a/install"] == called or bench.world.asked["identity"] > before


def test_what_clears_the_way_for_a_command_is_done_again_by_the_run_that_repeats_it() -> None:
    """A helm that was killed leaves its release pending, after the step has removed what an earlier one had left."""
    parts = (phase("a", step("a/install", DeleteSelected("c", "v1", "Secret", "pending"), do("a/install"), Await(replace(goal("a/install"), id="up")))),)
    undisturbed = Process()
    Bench(parts).up(process=undisturbed)
    left = 0
    for boundary in range(undisturbed.passed):
        bench = Bench(parts)
        bench.world.refused_by["a/install"] = "pending"
        with suppress(Killed):
            bench.up(process=Process(boundary))
        begun = any(one["kind"] == "action.started" and one["data"]["index"] == 1 for one in bench.kept)
        if begun and not bench.world.facts.get("a/install"):
            bench.world.facts["pending"] = True
            left += 1
        assert bench.up().exit_code == 0, boundary
        assert bench.world.effects["a/install"] == 1
    assert left > 0


def test_what_cleared_the_way_is_left_alone_once_the_command_behind_it_is_done() -> None:
    parts = (phase("a", step("a/install", DeleteSelected("c", "v1", "Secret", "made"), do("made"), do("a/install"))),)
    undisturbed = Process()
    Bench(parts).up(process=undisturbed)
    for boundary in range(undisturbed.passed):
        bench = Bench(parts)
        with suppress(Killed):
            bench.up(process=Process(boundary))
        assert bench.up().exit_code == 0
        assert bench.world.facts["made"], boundary
