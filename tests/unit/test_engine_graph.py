"""The graph compiles once and fails clearly; a choice selects what it says; holds are exclusive and ordered."""

from __future__ import annotations

import threading

import pytest

from orchestrator.engine.api import Choice
from orchestrator.engine.graph import Graph, compile_graph, refuse_unmet_needs, select
from orchestrator.engine.holds import Holds
from orchestrator.model.errors import BootstrapError, NeedsError, UsageError
from orchestrator.model.phase import Fan
from tests.unit.engine_world import do, goal, phase, step


def ten_weeks() -> Graph:
    return compile_graph(
        (
            phase("preflight", step("preflight/tools")),
            phase("talos@infra", step("talos@infra/apply/n1"), step("talos@infra/apply/n2"), step("talos@infra/etcd"), needs=("preflight",)),
            phase("talos@apps", step("talos@apps/apply/n3"), step("talos@apps/etcd"), needs=("preflight",)),
            phase("network@infra", step("network@infra/cilium"), needs=("talos@infra",), week=2),
            phase("network@apps", step("network@apps/cilium"), needs=("talos@apps",), week=2),
            phase("mesh", step("mesh/ca"), step("mesh/connect"), needs=("network@infra", "network@apps"), week=2),
        )
    )


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ((phase("a", step("a/x"), needs=("b",)),), "a needs b, which is not there"),
        ((phase("network", step("network/x")), phase("b", step("b/x"), needs=("netwrok",))), "did you mean network"),
        ((phase("a", step("a/x"), needs=("b",)), phase("b", step("b/x"), needs=("a",))), "circle: a -> b -> a"),
        ((phase("a", step("a/x")), phase("a", step("a/y"))), "phase a is there twice"),
        ((phase("a", step("a/x"), step("a/x")),), "step a/x is there twice"),
        ((phase("a", step("a/x"), gates=(goal("g"), goal("g", in_a_row=2))),), "two checks of a are called g.goal"),
        ((phase("a", step("b/x")),), "step b/x stands in phase a"),
        ((phase("a", step("a/x", undo=(do("x"),), compensate_on=("a/y",))),), "compensates a/y, which is no later step"),
        ((phase("a", step("a/x", fan=Fan("f", 0))),), "fans out 0 wide"),
    ],
)
def test_phases_that_do_not_fit_fail_with_one_clear_error(phases: tuple, said: str) -> None:  # type: ignore[type-arg]  # phases of any number
    with pytest.raises(BootstrapError, match=said):
        compile_graph(phases)


@pytest.mark.parametrize(
    ("choice", "steps"),
    [
        (Choice(), 10),
        (Choice(phases=("talos",)), 5),
        (Choice(phases=("talos@apps", "mesh")), 4),
        (Choice(steps=("talos/apply",)), 3),
        (Choice(steps=("talos@infra/apply",)), 2),
        (Choice(steps=("talos@infra/apply/n2",)), 1),
        (Choice(until="talos"), 6),
        (Choice(until="talos@infra/apply"), 3),
        (Choice(first="network"), 4),
        (Choice(first="mesh/connect"), 1),
        (Choice(first="talos", until="network"), 7),
        (Choice(weeks=(2,)), 4),
        (Choice(clusters=("infra",)), 5),
        (Choice(clusters=("infra",), until="talos"), 4),
        (Choice(skip=("mesh",), reason="later"), 8),
        (Choice(skip=("mesh/ca",), reason="by hand"), 9),
        (Choice(skip=("talos/etcd",), reason="by hand"), 8),
    ],
)
def test_a_choice_selects_what_it_says(choice: Choice, steps: int) -> None:
    selection = select(ten_weeks(), choice)
    assert len(selection.all_steps()) == steps
    assert Choice.from_json(choice.to_json()) == choice


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (Choice(phases=("tallos",)), "did you mean talos"),
        (Choice(steps=("talos@infra/aply",)), "did you mean talos@infra/apply"),
        (Choice(until="nowhere"), "no phase nowhere"),
        (Choice(first="mesh/conect"), "did you mean mesh/connect"),
        (Choice(weeks=(7,)), "week 7"),
        (Choice(clusters=("infar",)), "did you mean infra"),
        (Choice(skip=("mesh",)), "wants a reason"),
        (Choice(skip=("meshh",), reason="x"), "did you mean mesh"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(choice: Choice, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        select(ten_weeks(), choice)


@pytest.mark.parametrize(
    ("choice", "done", "first"),
    [
        (Choice(phases=("network@infra",)), set(), "run preflight first"),
        (Choice(phases=("network@infra",)), {"preflight"}, "run talos@infra first"),
        (Choice(phases=("mesh",)), {"preflight", "talos@infra", "talos@apps", "network@infra"}, "run network@apps first"),
        (Choice(phases=("network",), steps=("talos/etcd",)), {"preflight"}, "run talos@infra first"),
        (Choice(skip=("talos@apps",), reason="x"), set(), "network@apps needs talos@apps, which is skipped"),
    ],
)
def test_needs_that_are_not_done_name_what_to_run_first(choice: Choice, done: set[str], first: str) -> None:
    graph = ten_weeks()
    with pytest.raises(NeedsError, match=first):
        refuse_unmet_needs(graph, select(graph, choice), lambda name: name in done)


def test_a_skipped_phase_that_is_done_holds_nobody_back() -> None:
    graph = ten_weeks()
    refuse_unmet_needs(graph, select(graph, Choice(skip=("talos@apps",), reason="x")), lambda name: name == "talos@apps")


def test_whoever_was_left_in_the_middle_gets_its_hold_first() -> None:
    holds = Holds({"late": ("gateway",)})
    order: list[str] = []
    entered = threading.Event()

    def other() -> None:
        entered.set()
        with holds.having("other", ("gateway", "git"), lambda: False) as got:
            order.append(f"other {got}")

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait()
    with holds.having("git-only", ("git",), lambda: True) as got:
        order.append(f"git-only {got}")
    with holds.having("late", ("gateway",), lambda: False) as got:
        order.append(f"late {got}")
    thread.join()
    assert order[-2:] == ["late True", "other True"]


def test_a_place_that_is_kept_does_not_hold_up_what_it_waits_for() -> None:
    holds = Holds({"late": ("gateway",)}, lambda first, other: other == "before")
    with holds.having("before", ("gateway",), lambda: True) as got:
        assert got
    with holds.having("other", ("gateway",), lambda: True) as got:
        assert not got
    holds.forget("late")
    with holds.having("other", ("gateway",), lambda: True) as got:
        assert got


def test_a_wish_to_stop_ends_the_wait_for_a_hold() -> None:
    holds = Holds({})
    with holds.having("one", ("git",), lambda: False), holds.having("two", ("git",), lambda: True) as got:
        assert not got and holds.owner(("git",)) == "one"
    assert holds.owner(("git",)) is None
