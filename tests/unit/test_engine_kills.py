"""Kills at every journal boundary, random worlds and failures: nothing is lost, nothing twice, never two where one may be."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from orchestrator.engine import status
from orchestrator.engine.transitions import EVENTS, TABLES, mermaid
from orchestrator.model.phase import Fan, Phase, Step
from tests.unit.engine_world import Bench, Killed, Process, do, goal, phase, step


def small() -> Bench:
    """Two clusters side by side with one hold, a once-only action, a fan and a compensated half."""
    phases = [phase("pre", step("pre/tools"))]
    for c in ("x", "y"):
        fan = Fan(f"workers-{c}", 1)
        phases.append(
            phase(
                f"t@{c}",
                step(f"t@{c}/etcd", do(f"t@{c}/etcd", once=True)),
                *(step(f"t@{c}/n/{n}", fan=fan, node=str(n)) for n in range(3)),
                step(f"t@{c}/gw", do(f"t@{c}/first"), do(f"t@{c}/gw"), holds=("gateway",)),
                needs=("pre",),
                gates=(goal(f"t@{c}/gw"),),
            )
        )
    phases.append(phase("mesh", step("mesh/a", undo=(do("mesh/a", verb="undo"),), compensate_on=("mesh/b",)), step("mesh/b"), needs=("t@x", "t@y")))
    return Bench(tuple(phases))


def assert_sound(bench: Bench) -> None:
    """What holds at every moment of every history."""
    assert bench.world.clashes == []
    for group, most in bench.world.most_down.items():
        width = min(s.fan.width for p in bench.phases for s in p.steps if s.fan and s.fan.group == group)
        assert most <= width, group
    once = {s.id for p in bench.phases for s in p.steps if any(getattr(a, "once", False) for a in s.actions)}
    assert {name: bench.world.effects[name] for name in once if bench.world.effects[name] > 1} == {}


def assert_once(bench: Bench) -> None:
    """No effect came twice, but that of a repeatable action that others follow: the step's goal cannot tell of it."""
    assert {name: count for name, count in bench.world.effects.items() if count > 1 and not name.endswith("first")} == {}


def test_a_kill_at_every_boundary_loses_nothing_and_repeats_nothing() -> None:
    undisturbed = small()
    process = Process()
    assert undisturbed.up(process=process).exit_code == 0
    boundaries = process.passed
    assert boundaries > 100
    for boundary in range(boundaries):
        bench = small()
        try:
            bench.up(process=Process(boundary))
        except Killed:
            report = bench.up()
            assert report.exit_code == 0, (boundary, report.failures)
        assert_sound(bench)
        assert bench.world.facts == undisturbed.world.facts
        assert_once(bench)


def test_kills_of_the_resumed_run_too() -> None:
    chance = random.Random(5)
    for _ in range(60):
        bench = small()
        for _ in range(40):
            try:
                report = bench.up(process=Process(chance.randrange(3, 60)))
            except Killed:
                continue
            break
        else:
            report = bench.up()
        assert report.exit_code == 0
        assert_sound(bench)
        assert_once(bench)


def test_every_prefix_of_a_journal_can_be_folded_and_gone_on_from() -> None:
    bench = small()
    bench.world.script["t@x/n/1"] = ["fail"] * 3
    bench.world.script["mesh/b"] = ["permanent"]
    assert bench.up().exit_code == 5
    assert bench.up().exit_code == 5
    assert bench.up().exit_code == 0
    view = status.View()
    for count, record in enumerate(bench.kept, 1):
        view.apply(record)
        assert view == status.fold(bench.kept[:count])
        again = Bench(bench.phases)
        again.world.facts = dict(bench.world.facts)
        again.kept = list(bench.kept[:count])
        report = again.up()
        assert report.exit_code == 0 and sum(again.world.calls.values()) == 0, count


NAMES = some.integers(0, 4)


@some.composite
def benches(draw: some.DrawFn) -> Bench:
    """Random phases: chains and diamonds, fans, holds, once-only actions, several actions a step."""
    phases: list[Phase] = []
    for index in range(draw(some.integers(1, 4))):
        earlier = [one.id for one in phases]
        needs = tuple(sorted(draw(some.sets(some.sampled_from(earlier), max_size=2)))) if earlier else ()
        steps: list[Step] = []
        for place in range(draw(some.integers(1, 4))):
            name = f"p{index}/s{place}"
            kind = draw(some.sampled_from(["plain", "once", "fan", "hold", "two"]))
            if kind == "fan":
                fan = Fan(name, draw(some.integers(1, 2)))
                steps += [step(f"{name}/{n}", fan=fan, node=str(n)) for n in range(draw(some.integers(2, 4)))]
            elif kind == "two":
                steps.append(step(name, do(f"{name}-first"), do(name)))
            else:
                steps.append(step(name, do(name, once=kind == "once"), holds=("gateway",) if kind == "hold" else ()))
        gate = replace(goal(steps[-1].id, within=timedelta(minutes=1), in_a_row=draw(some.integers(1, 2))), id=f"p{index}.gate")
        gates = (gate,) if draw(some.booleans()) else ()
        phases.append(phase(f"p{index}", *steps, needs=needs, gates=gates))
    bench = Bench(tuple(phases))
    for one in phases:
        for each in one.steps:
            if draw(some.integers(0, 5)) == 0 and not any(getattr(a, "once", False) for a in each.actions):
                bench.world.script[each.id] = draw(some.lists(some.sampled_from(["fail", "fail-done", "slow", "permanent"]), max_size=3))
    return bench


@settings(max_examples=150, deadline=None)
@given(benches(), some.lists(some.integers(0, 80), max_size=6))
def test_random_failures_and_kills_end_well_with_nothing_twice(bench: Bench, kills: list[int]) -> None:
    for boundary in kills:
        with suppress(Killed):
            bench.up(process=Process(boundary))
        assert_sound(bench)
    for _ in range(12):
        report = bench.up()
        assert_sound(bench)
        if report.exit_code == 0:
            break
        assert report.exit_code == 5
    assert report.exit_code == 0
    assert all(bench.world.facts[s.id] for p in bench.phases for s in p.steps)
    assert bench.up().actions == 0


def test_the_diagram_shows_the_whole_table() -> None:
    text = mermaid()
    assert all(event in text for event in EVENTS)
    assert text.count("stateDiagram-v2") == len(TABLES)


def test_what_cannot_be_is_refused() -> None:
    bench = small()
    bench.up()
    with pytest.raises(Exception, match="cannot be"):
        status.fold([*bench.kept, {**bench.kept[-1], "kind": "action.started", "step": "mesh/b", "data": {"index": 0, "digest": ""}}])
