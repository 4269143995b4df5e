"""The plan as a document: shown whole, read back, refused when it is damaged; actions as data; plan equals deed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from orchestrator.engine.api import Choice, equality, plan
from orchestrator.engine.plan import Plan
from orchestrator.engine.render import Facts, digest, key_of, phases_digest, plain, render, within_plan
from orchestrator.model.action import Command, GitCommit, MakeSecret, Mark, Objects, SecretField, WriteFile
from orchestrator.model.errors import BootstrapError, PlanStale, UsageError
from orchestrator.model.query import Answer, FileRead, GitRead, Secret
from tests.unit.engine_world import Bench, do, goal, phase, step


def bench() -> Bench:
    return Bench(
        (
            phase("a@x", step("a@x/one"), step("a@x/two", do("a@x/two-first"), do("a@x/two"), holds=("git",), disruption="disrupts"), gates=(goal("g"),)),
            phase("b", step("b/one", reversible="no"), needs=("a@x",), week=2),
        )
    )


def made(one: Bench) -> Plan:
    return plan(one.subject, Choice(), reader=one.reader(), records=one.kept, clock=one.clock)


def test_the_document_has_the_shape_of_the_design() -> None:
    data = made(bench()).to_json()
    assert list(data)[:8] == ["schema", "site", "site_digest", "phases_digest", "tools", "journal_head", "made_at", "choice"]
    first = data["phases"][0]
    assert {"id", "week", "days", "needs", "state", "steps", "gates"} <= set(first)
    wanted = {"id", "title", "days", "goal", "verdict", "reason", "known_after", "holds", "class", "reversible", "actions"}
    assert wanted <= set(first["steps"][0])
    assert data["summary"]["disrupts"] == ["a@x/two"] and data["summary"]["irreversible"] == ["b/one"]
    assert data["made_at"] == "2026-03-02T07:00:00.000Z"


def test_it_is_read_back_as_it_was_and_has_one_id() -> None:
    one = made(bench())
    again = Plan.parse(one.text())
    assert again == one and again.id == one.id
    assert made(bench()).to_json() == one.to_json()


def test_gates_are_asked_once_all_steps_are_met_and_keep_a_phase_pending() -> None:
    one = bench()
    one.world.facts |= {"a@x/one": True, "a@x/two": True}
    document = made(one)
    assert document.phases[0].state == "pending" and document.phases[0].gates[0]["verdict"] == "UNMET"
    one.world.facts["g"] = True
    assert made(one).phases[0].state == "done"


def test_the_same_question_is_asked_once() -> None:
    shared = goal("shared")
    steps = tuple(replace(step(f"a/{n}"), goal=replace(shared, id=f"g{n}")) for n in range(9))
    one = Bench((phase("a", *steps),))
    made(one)
    assert one.world.asked["shared"] == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": "1"}', '{"schema": 1}', '{"schema": 1, "phases": 3}', "[" * 5000])
def test_what_is_no_plan_is_a_clear_error(text: str) -> None:
    with pytest.raises(UsageError):
        Plan.parse(text)


@pytest.mark.parametrize("count", ["1e999", "-Infinity", "NaN", "1.5", "true", '"1"', "null"])
def test_a_count_that_is_no_whole_number_is_a_clear_error(count: str) -> None:
    document = made(bench()).to_json()
    head = {**document["journal_head"], "count": "HERE"}
    text = json.dumps(document | {"journal_head": head}).replace('"HERE"', count)
    with pytest.raises(UsageError, match="damaged"):
        Plan.parse(text)


def test_a_newer_plan_is_refused() -> None:
    with pytest.raises(PlanStale, match="schema 2"):
        Plan.parse(json.dumps(made(bench()).to_json() | {"schema": 2}))


JSON = some.recursive(some.none() | some.booleans() | some.integers() | some.text(max_size=5), lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3), max_leaves=8)
GOOD = made(bench()).to_json()


def paths(data: object, before: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [before] if before else []
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, value in items:
        found += paths(value, (*before, name))
    return found


@settings(max_examples=200, deadline=None)
@given(some.sampled_from(paths(GOOD)), JSON)
def test_a_plan_that_was_tampered_with_is_read_or_refused_but_never_a_traceback(path: tuple[object, ...], value: object) -> None:
    data = json.loads(json.dumps(GOOD))
    place = data
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    try:
        assert isinstance(Plan.from_json(data), Plan)
    except BootstrapError as error:
        assert error.hint


def test_secrets_stand_as_references() -> None:
    password = Secret("op://v/i/password")
    objects = Objects("infra", ({"kind": "Secret", "data": {}},), ((0, SecretField(("data", "password"), password, "p")),))
    shown = [
        render(Command(("flux", "bootstrap"), env={"TOKEN": password, "PLAIN": "x"}, stdin=password)),
        render(objects),
        render(MakeSecret(password, "password")),
    ]
    assert shown[0]["env"] == ["PLAIN", "TOKEN"] and shown[0]["env_values"]["TOKEN"] == {"secret": "op://v/i/password"}
    assert shown[1]["objects"][0]["data"]["password"] == {"secret": "op://v/i/password", "field": "p"}
    assert dict(objects.objects[0]) == {"kind": "Secret", "data": {}}
    assert "password" in json.dumps(shown[2])


def test_a_commit_shows_its_difference_and_keeps_what_is_theirs() -> None:
    ours, theirs = "a: 1\n", "theirs\n"
    body = {"head": "c1", "files": {"ours": ours, "theirs": theirs, "same": "s\n"}, "rendered": {"ours": sha256(ours.encode()).hexdigest()}}
    action = GitCommit("Change", {"ours": "a: 2\n", "theirs": "mine\n", "same": "s\n", "new": "n\n"})
    shown = render(action, Facts({key_of(GitRead()): Answer(body=body)}))
    assert [file["path"] for file in shown["files"]] == ["new", "ours"]
    assert "-a: 1\n+a: 2\n" in shown["files"][1]["diff"] and shown["kept"] == ["theirs"]
    unknown = render(action)
    assert not unknown["base_known"]
    assert within_plan(shown, unknown) and within_plan(shown, shown)
    other = render(GitCommit("Change", {**action.files, "more": "m\n"}), Facts({key_of(GitRead()): Answer(body=body)}))
    assert not within_plan(other, shown)


def test_a_file_shows_its_difference() -> None:
    action = WriteFile("f", "b\n")
    shown = render(action, Facts({key_of(FileRead("f", text=True)): Answer(body={"exists": True, "text": "a\n"})}))
    assert "-a\n+b\n" in shown["diff"] and shown["mode"] == "0600"
    assert within_plan(render(action), shown)
    assert not within_plan(render(WriteFile("f", "c\n")), shown)


def test_digests_follow_what_they_are_of() -> None:
    one, other = bench(), bench()
    assert phases_digest(one.phases) == phases_digest(other.phases)
    assert phases_digest(one.phases) != phases_digest(one.phases[:1])
    assert plain(timedelta(minutes=1)) == 60.0 and digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    assert render(Mark("infra", "m", "d"))["kind"] == "mark"


def test_plan_equals_deed() -> None:
    one = bench()
    before = made(one)
    one.up()
    found = equality(before, one.events.events)
    assert found.deeds == 3 and found.share == 1.0
    other = Bench((phase("a@x", step("a@x/one", do("else"), do("a@x/one"))),))
    other.up()
    found = equality(before, other.events.events)
    assert found.equal == 0 and found.other == ("a@x/one action 1", "a@x/one action 2")
