"""`up`: acts once, waits, fails with a card, resumes, stops where it is safe."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from orchestrator.engine import status
from orchestrator.engine.api import Choice, Stop, approve, last_choice, plan, resolve, status_of, verify
from orchestrator.engine.plan import Plan
from orchestrator.model.action import Approval, Await, Command
from orchestrator.model.check import Check
from orchestrator.model.errors import NeedsError, PlanStale, UsageError
from orchestrator.model.phase import Fan, Step
from orchestrator.model.ports import Child
from orchestrator.model.verdict import unmet
from tests.unit.engine_world import Bench, Killed, MemoryJournal, Process, World, do, goal, phase, step


def two_weeks() -> Bench:
    talos = [phase(f"talos@{c}", step(f"talos@{c}/apply"), step(f"talos@{c}/etcd", do(f"talos@{c}/etcd", once=True)), needs=("preflight",), gates=(goal(f"talos@{c}/apply"),)) for c in ("infra", "apps")]
    network = [phase(f"network@{c}", step(f"network@{c}/gateway", holds=("gateway",)), needs=(f"talos@{c}",), week=2) for c in ("infra", "apps")]
    return Bench((phase("preflight", step("preflight/tools")), *talos, *network, phase("mesh", step("mesh/connect"), needs=("network@infra", "network@apps"), week=2)))


def one_step() -> Bench:
    return Bench((phase("a", step("a/one")),))


def killed_while(make: Callable[[], Bench], name: str) -> Bench:
    """A world whose orchestrator was killed between the intent and the effect of a step's action."""
    for boundary in range(200):
        bench = make()
        with pytest.raises(Killed):
            bench.up(process=Process(boundary))
        if status.fold(bench.kept).step(name).unsettled() and not bench.world.calls[name]:
            return bench
    raise AssertionError("no such boundary")


def test_up_reaches_every_goal_in_order_and_once() -> None:
    bench = two_weeks()
    report = bench.up()
    assert report.exit_code == 0
    assert set(bench.world.calls.values()) == {1}
    assert bench.world.order[0] == "do preflight/tools" and bench.world.order[-1] == "do mesh/connect"
    assert report.done[-1] == "mesh" and report.actions == 8


def test_a_second_up_changes_nothing_and_grows_the_journal_by_its_run_alone() -> None:
    bench = two_weeks()
    bench.up()
    before = len(bench.kept)
    report = bench.up()
    assert report.exit_code == 0 and report.actions == 0
    assert [record["kind"] for record in bench.kept[before:]] == ["run.started", "run.done"]


def test_a_platform_that_stands_is_adopted_without_a_journal() -> None:
    bench = two_weeks()
    bench.up()
    lost = Bench(bench.phases, World(facts=dict(bench.world.facts)))
    assert not plan(lost.subject, Choice(), reader=lost.reader(), records=(), clock=lost.clock).pending
    report = lost.up()
    assert report.actions == 0 and len(report.done) == 6


def test_a_failing_command_with_an_unmet_goal_fails_the_step_with_a_card() -> None:
    bench = two_weeks()
    bench.world.script["talos@infra/apply"] = ["fail"] * 3
    report = bench.up()
    assert report.exit_code == 5
    card = report.failures[0]
    assert card.step == "talos@infra/apply" and "fail" in card.found and card.error == "ToolError"
    assert bench.world.calls["talos@infra/apply"] == 3
    assert report.blocked == {"network@infra": "talos@infra", "mesh": "network@infra"}
    assert "network@apps" in report.done
    standing = status_of(bench.subject, bench.kept, bench.clock.now())
    assert standing.failure is not None and standing.failure["step"] == "talos@infra/apply"
    assert bench.up().exit_code == 0


def test_a_failing_command_whose_effect_is_there_counts_as_done() -> None:
    bench = two_weeks()
    bench.world.script["talos@infra/etcd"] = ["fail-done"]
    assert bench.up().exit_code == 0
    assert bench.world.calls["talos@infra/etcd"] == 1


def test_a_command_that_ends_well_without_effect_fails_at_its_goal() -> None:
    bench = two_weeks()
    bench.world.script["talos@infra/apply"] = ["lost"]
    report = bench.up()
    assert report.exit_code == 5 and bench.world.calls["talos@infra/apply"] == 1
    assert report.failures[0].check == "talos@infra/apply.goal"


def test_a_permanent_failure_is_not_tried_again() -> None:
    bench = two_weeks()
    bench.world.script["talos@infra/apply"] = ["permanent"]
    assert bench.up().exit_code == 5
    assert bench.world.calls["talos@infra/apply"] == 1


def test_what_is_not_ours_is_not_touched() -> None:
    bench = two_weeks()
    bench.world.foreign.add("talos@infra/apply")
    report = bench.up()
    assert report.exit_code == 4 and bench.world.calls["talos@infra/apply"] == 0


def test_a_goal_that_cannot_be_asked_is_waited_for_and_never_acted_on() -> None:
    bench = two_weeks()
    bench.world.unknown.add("talos@infra/apply")
    report = bench.up()
    assert report.exit_code == 6 and bench.world.calls["talos@infra/apply"] == 0


def test_a_once_only_action_that_ended_well_is_never_done_again() -> None:
    bench = two_weeks()
    bench.world.script["talos@infra/etcd"] = ["lost"]
    assert bench.up().exit_code == 5
    report = bench.up()
    assert report.exit_code == 10 and bench.world.calls["talos@infra/etcd"] == 1
    resolve(bench.subject, MemoryJournal(bench.kept), "talos@infra/etcd", done=False, reason="looked", by="me")
    assert bench.up().exit_code == 0
    assert bench.world.calls["talos@infra/etcd"] == 2


def test_an_outcome_that_stays_unknown_is_a_persons_to_decide() -> None:
    bench = killed_while(two_weeks, "talos@infra/etcd")
    bench.world.unknown.add("talos@infra/etcd")
    report = bench.up()
    assert report.exit_code == 10
    assert report.failures[0].next[-2].startswith("bootstrap resolve talos@infra/etcd")
    resolve(bench.subject, MemoryJournal(bench.kept), "talos@infra/etcd", done=True, reason="seen", by="me")
    report = bench.up(Choice(phases=("talos@infra",)))
    assert report.exit_code == 0


def test_needs_that_are_not_done_are_named() -> None:
    bench = two_weeks()
    with pytest.raises(NeedsError, match="run preflight first"):
        bench.up(Choice(phases=("network@infra",)))
    with pytest.raises(UsageError, match="did you mean network"):
        bench.up(Choice(phases=("netwrok",)))
    bench.up(Choice(until="talos"))
    assert bench.up(Choice(phases=("network@infra",))).exit_code == 0


def test_an_approval_waits_for_a_person() -> None:
    bench = Bench((phase("a", step("a/one"), _decision("a/ok"), step("a/two")),))
    report = bench.up()
    assert report.exit_code == 7 and bench.world.calls["a/two"] == 0
    approve(bench.subject, MemoryJournal(bench.kept), "a/ok", reason="yes", by="me")
    assert bench.up().exit_code == 0 and bench.world.calls["a/one"] == 1


def _decision(name: str) -> Step:
    return Step(name, name, "1", Check(f"{name}.goal", "a person's word", (), lambda answers: unmet("nobody asked")), (Approval("go?"),))


def test_what_destroys_wants_its_name() -> None:
    bench = Bench((phase("a", step("a/wipe", disruption="destroys", node="n1")),))
    assert bench.up().exit_code == 7
    assert bench.up(confirmed=frozenset({"n1"})).exit_code == 0


def test_a_later_failure_undoes_the_first_half() -> None:
    first = step("mesh/a", undo=(do("mesh/a", verb="undo"),), compensate_on=("mesh/b",))
    bench = Bench((phase("mesh", first, step("mesh/b")),))
    bench.world.script["mesh/b"] = ["permanent"]
    assert bench.up().exit_code == 5
    assert bench.world.order == ["do mesh/a", "do mesh/b", "undo mesh/a"]
    assert status.fold(bench.kept).step("mesh/a").state == "undone"
    assert bench.up().exit_code == 0


def test_a_gate_holds_until_met_and_fails_at_its_deadline() -> None:
    bench = Bench((phase("a", step("a/one"), gates=(goal("gate", within=timedelta(minutes=2)),)),))
    report = bench.up()
    assert report.exit_code == 6 and report.failures[0].check == "gate.goal"
    assert report.failures[0].asked >= 24
    ticks = iter(range(1000))
    bench.clock.on_wait = lambda: bench.world.facts.update(gate=next(ticks) > 5)
    assert bench.up().exit_code == 0
    assert "gate.waiting" in bench.events.kinds()


def test_a_wait_inside_of_a_step_holds_its_next_action() -> None:
    bench = Bench((phase("a", step("a/one", Await(goal("ready")), do("a/one"))),))
    assert bench.up().exit_code == 5 and bench.world.calls["a/one"] == 0
    bench.world.facts["ready"] = True
    assert bench.up().exit_code == 0


def test_a_first_wish_to_stop_ends_at_a_safe_point() -> None:
    bench = two_weeks()
    stop = Stop()
    stop.request()
    report = bench.up(stop=stop)
    assert report.exit_code == 130 and sum(bench.world.calls.values()) == 0
    assert bench.up().exit_code == 0


def test_a_living_orphan_is_awaited_not_doubled() -> None:
    bench = killed_while(one_step, "a/one")
    bench.world.orphans["r1:a/one:1:0"] = Child(77, "t", "here")

    def tick() -> None:
        if bench.clock.monotonic() > 20 and bench.world.orphans:
            bench.world.orphans.clear()
            bench.world.facts["a/one"] = True

    bench.clock.on_wait = tick
    assert bench.up().exit_code == 0
    assert bench.world.calls["a/one"] == 0


def test_an_orphan_past_its_deadline_is_ended() -> None:
    bench = killed_while(one_step, "a/one")
    bench.world.orphans["r1:a/one:1:0"] = Child(77, "t", "here")
    assert bench.up().exit_code == 0
    assert bench.children is not None and bench.children.ended == [77]


def test_a_saved_plan_is_a_ceiling_and_goes_stale() -> None:
    bench = two_weeks()
    saved = Plan.parse(plan(bench.subject, Choice(), reader=bench.reader(), records=bench.kept, clock=bench.clock).text())
    bench.site_digest = "other"
    with pytest.raises(PlanStale, match="site"):
        bench.up(plan=saved)
    bench.site_digest, bench.tools = "d", {"talosctl": "1.2"}
    with pytest.raises(PlanStale, match="talosctl"):
        bench.up(plan=saved)
    bench.tools = {}
    bench.world.facts["talos@infra/apply"] = True
    with pytest.raises(PlanStale, match="talos@infra/apply was UNMET, is MET"):
        bench.up(plan=saved)
    bench.world.facts["talos@infra/apply"] = False
    with pytest.raises(Killed):
        bench.up(plan=saved, process=Process(20))
    assert bench.up(plan=saved).exit_code == 0
    bench.up()
    with pytest.raises(PlanStale, match="journal moved"):
        bench.up(plan=saved)


def test_a_plan_does_nothing_that_it_did_not_list() -> None:
    bench = two_weeks()
    bench.world.facts["preflight/tools"] = True
    saved = plan(bench.subject, Choice(), reader=bench.reader(), records=bench.kept, clock=bench.clock)
    with pytest.raises(Killed):
        bench.up(plan=saved, process=Process(30))
    bench.world.facts["preflight/tools"] = False
    report = bench.up(plan=saved)
    assert report.exit_code == 9 and bench.world.calls["preflight/tools"] == 0


def test_a_plan_says_what_is_known_only_later() -> None:
    bench = two_weeks()
    bench.world.unknown |= {"talos@infra/etcd", "mesh/connect"}
    made = plan(bench.subject, Choice(), reader=bench.reader(), records=(), clock=bench.clock)
    steps = made.steps()
    assert steps["talos@infra/etcd"].known_after == "talos@infra/apply"
    assert steps["mesh/connect"].known_after == "network@apps/gateway"
    assert made.pending and made.summary["known_after"] == 2
    assert sum(bench.world.calls.values()) == 0
    assert steps["talos@infra/etcd"].actions[0]["argv"] == ["fake", "do", "talos@infra/etcd"]


def test_whoever_lost_the_lock_does_nothing_more() -> None:
    bench = two_weeks()
    bench.fence.lost = True
    report = bench.up()
    assert report.exit_code == 8 and sum(bench.world.calls.values()) == 0


def test_verify_finds_drift_and_resume_takes_the_same_selection() -> None:
    bench = two_weeks()
    bench.up(Choice(until="talos"))
    assert last_choice(bench.kept) == Choice(until="talos")
    found = verify(bench.subject, Choice(), reader=bench.reader(), records=bench.kept, clock=bench.clock)
    assert not found.drifted and found.phases == ("preflight", "talos@infra", "talos@apps")
    bench.world.facts["talos@infra/apply"] = False
    found = verify(bench.subject, Choice(), reader=bench.reader(), records=bench.kept, clock=bench.clock)
    assert {row["kind"] for row in found.drifted} == {"goal", "gate"}


def test_a_fan_is_never_wider_than_it_says() -> None:
    fan = Fan("workers", 2)
    bench = Bench((phase("a", *(step(f"a/s/{n}", fan=fan, node=str(n)) for n in range(12))),))
    bench.world.script["a/s/3"] = ["fail"] * 3
    assert bench.up().exit_code == 5
    assert bench.up().exit_code == 0
    assert bench.world.most_down["workers"] <= 2


def test_a_node_that_an_earlier_run_left_down_counts() -> None:
    fan = Fan("workers", 1)
    bench = Bench((phase("a", *(step(f"a/reboot/{n}", fan=fan, node=n, disruption="disrupts") for n in ("n1", "n2"))),))
    bench.world.script["a/reboot/n1"] = ["permanent"]
    assert bench.up().exit_code == 5
    bench.world.permanent.add("a/reboot/n1")
    report = bench.up(Choice(skip=("a/reboot/n1",), reason="broken"))
    assert report.exit_code == 4 and bench.world.calls["a/reboot/n2"] == 0
    assert "a/reboot/n1 was begun" in report.failures[0].found
    bench.world.facts["a/reboot/n1"] = True
    assert bench.up(Choice(skip=("a/reboot/n1",), reason="mended by hand")).exit_code == 0


def test_skips_are_journaled_and_what_needs_them_is_refused() -> None:
    bench = two_weeks()
    with pytest.raises(UsageError, match="reason"):
        bench.up(Choice(skip=("mesh",)))
    with pytest.raises(NeedsError, match="which is skipped"):
        bench.up(Choice(skip=("talos@infra",), reason="x"))
    assert bench.up(Choice(skip=("mesh",), reason="later")).exit_code == 0
    assert status.fold(bench.kept).skips["mesh"]["reason"] == "later"


def test_commands_hold_what_the_plan_shows() -> None:
    bench = Bench((phase("a", step("a/one", Command(("fake", "do", "a/one"), env={"TOKEN": "x"}))),))
    made = plan(bench.subject, Choice(), reader=bench.reader(), records=(), clock=bench.clock)
    bench.up()
    shown = made.steps()["a/one"].actions[0]
    done = next(event["data"]["action"] for event in bench.events.events if event["kind"] == "action.started")
    assert shown == done and shown["env"] == ["TOKEN"]
