"""Pure parts of the controllers: schedules, selectors, taints, ranges, statuses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lab.ctl import objects
from lab.ctl.job import fields_of, latest, next_time
from lab.ctl.nodelifecycle import free_range, taints
from lab.ctl.scheduler import obstacle

ZONE = ZoneInfo("UTC")
MONDAY = datetime(2026, 1, 5, 8, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "then"),
    [
        ("* * * * *", "2026-01-05T08:01:00Z"),
        ("*/15 * * * *", "2026-01-05T08:15:00Z"),
        ("0 3 * * *", "2026-01-06T03:00:00Z"),
        ("@weekly", "2026-01-11T00:00:00Z"),
        ("0 12 29 2 *", "2028-02-29T12:00:00Z"),
        ("30 9 1,15 * *", "2026-01-15T09:30:00Z"),
        ("0 0 13 * fri", "2026-01-09T00:00:00Z"),
        ("5-7 8 * jan mon-wed", "2026-01-05T08:05:00Z"),
    ],
)
def test_the_next_time_of_a_schedule(schedule: str, then: str) -> None:
    found = next_time(schedule, MONDAY, ZONE)
    if schedule == "0 12 29 2 *":  # two years ahead: further than a search looks
        assert found is None
        return
    assert found is not None
    assert objects.stamp(found) == then


def test_only_the_last_missed_time_counts() -> None:
    now = datetime(2026, 1, 5, 9, 1, tzinfo=UTC)
    due = latest("*/10 * * * *", MONDAY, now, ZONE)
    assert due is not None
    assert objects.stamp(due) == "2026-01-05T09:00:00Z"


@pytest.mark.parametrize("schedule", ["* * * *", "61 * * * *", "x * * * *"])
def test_bad_schedules(schedule: str) -> None:
    with pytest.raises(ValueError):
        fields_of(schedule)


@pytest.mark.parametrize(
    ("selector", "met"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "b", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
    ],
)
def test_label_selectors(selector: dict[str, Any] | None, met: bool) -> None:
    assert objects.matches(selector, {"a": "1"}) is met


@pytest.mark.parametrize(
    ("toleration", "met"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], met: bool) -> None:
    assert objects.tolerates([toleration], {"key": "k", "value": "v", "effect": "NoSchedule"}) is met


def test_a_conditions_transition_moves_with_its_status() -> None:
    old = [{"type": "Ready", "status": "True", "reason": "A", "lastTransitionTime": "then"}]
    same = objects.set_condition(old, {"type": "Ready", "status": "True", "reason": "B"}, "now")
    other = objects.set_condition(old, {"type": "Ready", "status": "False", "reason": "B"}, "now")
    assert same[0] == {"type": "Ready", "status": "True", "reason": "B", "lastTransitionTime": "then"}
    assert other[0]["lastTransitionTime"] == "now"


@pytest.mark.parametrize(
    ("value", "up", "count"), [("25%", True, 1), ("25%", False, 0), (2, True, 2), ("100%", False, 3)]
)
def test_percentages(value: str | int, up: bool, count: int) -> None:
    assert objects.int_or_percent(value, 3, up=up) == count


def test_node_ranges_are_given_once() -> None:
    assert free_range("10.244.0.0/16", {"10.244.0.0/24"}) == "10.244.1.0/24"
    assert free_range("fd00::/48", set()) == "fd00::/64"
    with pytest.raises(ValueError, match="no free range"):
        free_range("10.0.0.0/24", {"10.0.0.0/24"})


def node(ready: str, **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "metadata": {"name": "n"},
        "spec": spec,
        "status": {"conditions": conditions, "allocatable": {"cpu": "1", "pods": "2"}},
    }


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        (node("True"), []),
        (node("True", unschedulable=True), ["unschedulable/NoSchedule"]),
        (node("False"), ["not-ready/NoSchedule", "not-ready/NoExecute"]),
        (node("Unknown"), ["unreachable/NoSchedule", "unreachable/NoExecute"]),
    ],
)
def test_conditions_become_taints(given: dict[str, Any], keys: list[str]) -> None:
    assert [f"{t['key'].rpartition('/')[2]}/{t['effect']}" for t in taints(given, "now")] == keys


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "d"}, "spec": {"containers": [{"name": "c", "image": "i"}]} | spec}


@pytest.mark.parametrize(
    ("given", "on", "placed", "why"),
    [
        (pod(), node("True"), [], ""),
        (pod(), node("True", unschedulable=True), [], "node(s) were unschedulable"),
        (pod(), node("True", taints=[{"key": "k", "effect": "NoSchedule"}]), [], "node(s) had untolerated taint {k: }"),
        (pod(nodeSelector={"a": "b"}), node("True"), [], "node(s) didn't match Pod's node affinity/selector"),
        (pod(), node("True"), [pod(), pod()], "Too many pods"),
    ],
)
def test_why_a_pod_does_not_fit(given: dict[str, Any], on: dict[str, Any], placed: list[Any], why: str) -> None:
    assert obstacle(given, on, placed) == why
