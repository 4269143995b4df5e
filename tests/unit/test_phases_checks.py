"""Every check of every example site can say all three words, and means them (design.md promise 4)."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

import inventory
import phases
from inventory.model import Site
from orchestrator.engine.graph import compile_graph
from orchestrator.model.check import Check, verdict
from orchestrator.model.phase import Phase
from orchestrator.model.verdict import State
from tests.unit.phases_platform import Mood, Platform

SITES = sorted((Path(__file__).parents[2] / "inventory" / "sites").glob("*/site.yaml"))
EMPTY_IS_UNMET_ONLY = frozenset[str]()


@pytest.fixture(params=SITES, ids=lambda path: path.parent.name, scope="module")
def site(request: pytest.FixtureRequest) -> Site:
    return inventory.load(request.param)


@pytest.fixture(scope="module")
def compiled(site: Site) -> tuple[Phase, ...]:
    return phases.compile(site)


@pytest.fixture(scope="module")
def said(site: Site, compiled: tuple[Phase, ...]) -> dict[str, dict[Mood, State]]:
    """Check id -> what it says in every mood."""
    platforms = {mood: Platform(site, compiled, mood) for mood in get_args(Mood)}
    return {check.id: {mood: _state(check, platform) for mood, platform in platforms.items()} for _, check in phases.checks(compiled)}


def _state(check: Check, platform: Platform) -> State:
    return verdict(check, tuple(platform.ask(query) for query in check.ask)).state


def test_phases_fit_together(compiled: tuple[Phase, ...]) -> None:
    compile_graph(compiled)


def test_ids_are_unique_but_for_a_step_and_its_goal(compiled: tuple[Phase, ...]) -> None:
    ids = [check.id for _, check in phases.checks(compiled)]
    assert sorted(ids) == sorted(set(ids))
    assert {step.id for phase in compiled for step in phase.steps} == {check.id for kind, check in phases.checks(compiled) if kind == "goal"}


def test_goals_and_gates_stand_on_the_finished_platform(compiled: tuple[Phase, ...], said: dict[str, dict[Mood, State]]) -> None:
    closed = {check.id: said[check.id]["finished"] for kind, check in phases.checks(compiled) if kind in ("goal", "gate", "identity", "precondition")}
    assert {name: state for name, state in closed.items() if state is not State.MET} == {}


def test_no_goal_stands_on_blank_machines(compiled: tuple[Phase, ...], said: dict[str, dict[Mood, State]]) -> None:
    booted = {check.id for kind, check in phases.checks(compiled) if kind == "goal" and check.id.endswith("/boot")}
    met = {check.id for kind, check in phases.checks(compiled) if kind == "goal" and said[check.id]["maintenance"] is State.MET}
    assert met == booted


@pytest.mark.parametrize("wanted", list(State))
def test_every_check_can_say(wanted: State, said: dict[str, dict[Mood, State]]) -> None:
    never = sorted(name for name, states in said.items() if wanted not in states.values())
    assert never == []


def test_garbage_is_never_taken_for_an_answer(said: dict[str, dict[Mood, State]]) -> None:
    assert {name for name, states in said.items() if states["garbled"] is not State.UNKNOWN} == set()


def test_every_check_helps_the_operator(compiled: tuple[Phase, ...]) -> None:
    for kind, check in phases.checks(compiled):
        assert check.hint, check.id
        assert check.title and not check.title.endswith("."), check.id
        assert kind != "gate" or check.within.total_seconds() > 0 or check.id.startswith("mesh/ca"), f"{check.id} has no deadline"


def test_every_phase_has_a_gate_and_days(compiled: tuple[Phase, ...]) -> None:
    assert all(phase.gates and phase.days and phase.summary for phase in compiled)
