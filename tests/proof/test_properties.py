"""Quorum is sacred: a seeded sample of `make properties`, proofs that the proof can fail, and what the product's phases promise by their shape."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import phases
from orchestrator.engine import run
from orchestrator.model.action import Await, Command
from orchestrator.model.phase import Phase
from tests.proof import properties
from tests.proof.quorum import EXAMPLES, Case, World, random_site, staged, upgrade_phases

SAMPLE = 150
SITES = 12


def test_a_seeded_sample_of_what_later_weeks_do(counted: Callable[[str], None]) -> None:
    properties.SEEN.clear()
    properties.check(SAMPLE, 7, shape=1)
    counted(f"properties: {properties.said()}, none violated")
    assert properties.SEEN["cases"] >= SAMPLE


def test_a_seeded_sample_of_the_products_own_phases(counted: Callable[[str], None]) -> None:
    properties.SEEN.clear()
    properties.check(12, 7, shape=32)
    counted(f"properties: {properties.said()}, none violated")


class TestTheProofCanFail:
    """Broken on purpose, each rule is seen to be broken."""

    def broken(self, parts: tuple[Phase, ...], times: int = 60) -> set[str]:
        found: set[str] = set()
        for number in range(times):
            chance = Random(number)
            world = World(parts, chance, trouble=0.4)
            case = Case(world)
            for _ in range(4):
                case.up(boundaries=chance.randrange(5, 90))
            found |= set(world.violations)
        return found

    def parts(self) -> tuple[Phase, ...]:
        return next(parts for parts in map(upgrade_phases, map(Random, range(99))) if sum("cp" in step.id for part in parts for step in part.steps) >= 6)

    def test_a_fan_that_is_too_wide(self) -> None:
        parts = self.parts()
        wide = tuple(replace(part, steps=tuple(replace(step, fan=replace(step.fan, width=9), holds=()) if step.fan else step for step in part.steps)) for part in parts)
        found: list[str] = []
        for number in range(30):
            world = World(wide, Random(number))
            world.steps = {step.id: step for part in parts for step in part.steps}  # the world knows the rule, the engine is told another
            case = Case(world)
            case.world.clock.on_wait = os.sched_yield
            case.up()
            found += world.violations
        assert any("would be down at once" in one for one in found)

    def test_a_disk_without_a_confirmation(self) -> None:
        hasty = tuple(replace(part, steps=tuple(replace(step, actions=tuple(a for a in step.actions if isinstance(a, Command))) if step.disruption == "installs" else step for step in part.steps)) for part in self.parts())
        assert any("was not confirmed" in one for one in self.broken(_reindexed(hasty), 5))

    def test_a_second_bootstrap(self) -> None:
        careless = tuple(replace(part, steps=tuple(replace(step, actions=tuple(replace(a, once=False) if isinstance(a, Command) else a for a in step.actions)) for step in part.steps)) for part in self.parts())
        assert any("bootstrapped again" in one for one in self.broken(careless))

    def test_a_node_left_down_by_an_earlier_life(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run, "_touched", lambda view, step: False)
        for number in range(300):
            chance = Random(number)
            world = World(upgrade_phases(chance), chance, trouble=0.4)
            case = Case(world)
            for _ in range(6):
                order = Random(number + case.runs)
                _shuffled_answers(world, order)
                case.up(boundaries=chance.randrange(20, 120))
            if any("would be down" in one for one in world.violations):
                return
        pytest.fail("never seen")


def _shuffled_answers(world: World, chance: Random) -> None:
    """Drift: nodes that were done are not any more, so that the order of the fan alone would begin with another one."""
    for name, step in world.steps.items():
        if step.disruption == "disrupts" and chance.random() < 0.5 and step.node not in world.down:
            world.done.pop(name, None)


def _reindexed(parts: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Commands name their place among the actions."""
    return tuple(
        replace(part, steps=tuple(replace(step, actions=tuple(replace(a, argv=(*a.argv[:3], str(n))) if isinstance(a, Command) else a for n, a in enumerate(step.actions))) for step in part.steps))
        for part in parts
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, tuple[Phase, ...]]]:
    """The product's phases of random sites and of every example."""
    import inventory

    folder: Path = tmp_path_factory.mktemp("sites")
    sites = [random_site(Random(number), folder / str(number)) for number in range(SITES)] + [inventory.load(path) for path in sorted(EXAMPLES.glob("*/site.yaml"))]
    return [(site, phases.compile(site)) for site in sites]


def test_no_disk_is_written_before_its_machine_was_confirmed(compiled: list[tuple[object, tuple[Phase, ...]]]) -> None:
    count = 0
    for _, parts in compiled:
        for step in (step for part in parts for step in part.steps if step.disruption == "installs"):
            first = next(index for index, action in enumerate(step.actions) if isinstance(action, Command))
            waits = [action.check for action in step.actions[:first] if isinstance(action, Await)]
            assert waits and all("identity" in check.id and check.id.endswith(f"/{step.node}") for check in waits), step.id
            count += 1
    assert count > 50


def test_etcd_is_bootstrapped_by_one_command_that_may_run_once_on_one_node(compiled: list[tuple[object, tuple[Phase, ...]]]) -> None:
    for site, parts in compiled:
        commands = [(part.cluster, step, action) for part in parts for step in part.steps for action in step.actions if isinstance(action, Command) and action.argv[0] == "talosctl" and "bootstrap" in action.argv]
        assert sorted(cluster or "" for cluster, _, _ in commands) == sorted(cluster.name for cluster in site.clusters)  # type: ignore[attr-defined]  # a Site
        for _, step, action in commands:
            nodes = [action.argv[index + 1] for index, word in enumerate(action.argv) if word in ("-n", "--nodes")]
            assert action.once and len(nodes) == 1 and "," not in nodes[0] and step.fan is None


def test_two_control_planes_never_go_down_side_by_side(compiled: list[tuple[object, tuple[Phase, ...]]]) -> None:
    """Steps that disrupt control planes of one cluster: in one phase with a width of one, and no other phase beside it without a hold in common."""
    for site, parts in compiled:
        control = {node.name for node in site.nodes if node.role == "controlplane"}  # type: ignore[attr-defined]  # a Site
        for part in parts:
            for step in part.steps:
                if step.disruption in ("disrupts", "destroys") and step.node in control:
                    assert step.fan is None or step.fan.width == 1, step.id


def test_staging_keeps_the_structure() -> None:
    import inventory

    for part in phases.compile(inventory.load(EXAMPLES / "ten-weeks" / "site.yaml")):
        same = staged(part)
        assert [(s.id, s.node, s.fan, s.holds, s.disruption, len(s.actions)) for s in part.steps] == [(s.id, s.node, s.fan, s.holds, s.disruption, len(s.actions)) for s in same.steps]
        assert [getattr(a, "once", False) for s in part.steps for a in s.actions] == [getattr(a, "once", False) for s in same.steps for a in s.actions]
