"""Scripted faults: which rule hits when, and what a world file may say."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lab import faults
from lab.faults import Faults, Happening, WorldFileError


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def seconds(self) -> float:
        return self.at


def world(*rules: dict[str, object]) -> tuple[Faults, Hands]:
    clock = Hands()
    parsed, _ = faults.parse({"faults": list(rules)})
    return Faults(clock, random.Random(1), parsed), clock


def test_the_first_rule_that_matches_hits() -> None:
    found, _ = world(
        {"name": "a", "actor": "helm", "verb": "upgrade", "effect": {"exit": 1}},
        {"name": "b", "actor": "*", "effect": {"exit": 2}},
    )
    upgrade = found.find(Happening("helm", "upgrade"))
    other = found.find(Happening("flux", "get"))
    assert upgrade is not None and upgrade.exit == 1
    assert other is not None and other.exit == 2
    assert found.hits() == {"a": 1, "b": 1}


def test_skip_count_and_time_bound_a_rule() -> None:
    found, clock = world({"name": "a", "actor": "git", "verb": "push", "skip": 1, "count": 2, "after": "10m", "until": "1h", "effect": {"race": True}})
    push = Happening("git", "push")
    assert found.find(push) is None
    clock.at = 600.0
    assert [found.find(push) is not None for _ in range(4)] == [False, True, True, False]
    clock.at = 3600.0
    assert found.find(push) is None


def test_every_field_is_a_pattern() -> None:
    found, _ = world(
        {"name": "a", "actor": "api:*", "verb": "GET", "object": "/apis/*/pods*", "cluster": "infra", "user": "kubectl*", "node": "*", "argv": "*", "effect": {"status": 429}}
    )
    hit = Happening("api:infra", "GET", object="/apis/v1/pods/x", cluster="infra", user="kubectl/v1")
    assert found.find(hit) is not None
    assert found.find(Happening("api:infra", "GET", object="/apis/v1/pods/x", cluster="apps", user="kubectl/v1")) is None


def test_a_chance_is_the_seeds() -> None:
    def hits() -> list[bool]:
        found, _ = world({"name": "a", "chance": 0.5, "effect": {"cut": True}})
        return [found.find(Happening("s3", "PUT")) is not None for _ in range(20)]

    assert hits() == hits()
    assert 0 < sum(hits()) < 20


def test_counts_survive_a_snapshot_and_lifting_forgets_them() -> None:
    found, _ = world({"name": "a", "count": 1, "effect": {"cut": True}})
    assert found.find(Happening("s3", "PUT")) is not None
    again, _ = world({"name": "a", "count": 1, "effect": {"cut": True}})
    again.restore(found.snapshot())
    assert again.find(Happening("s3", "PUT")) is None
    again.lift("a")
    assert again.rules == []


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ([], "a world file is a mapping"),
        ({"fault": []}, "unknown key 'fault'"),
        ({"faults": [{"effect": {"cut": True}}]}, r"faults\[0\]: name and effect are required"),
        ({"faults": [{"name": "a", "effect": {"cutt": True}}]}, "unknown key 'cutt'"),
        ({"faults": [{"name": "a", "after": "soon", "effect": {"cut": True}}]}, 'invalid duration "soon"'),
        ({"faults": [{"name": "a", "effect": {"cut": True}}] * 2}, "name used twice: a"),
        ({"conditions": [{"nod": "x"}]}, "unknown key 'nod'"),
        ({"conditions": ["x"]}, r"conditions\[0\]: not a mapping"),
    ],
)
def test_a_wrong_world_file_says_where(document: object, text: str) -> None:
    with pytest.raises(WorldFileError, match=text):
        faults.parse(document)


def test_broken_yaml_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("faults: [")
    with pytest.raises(WorldFileError, match=r"w\.yaml"):
        faults.load(path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("500ms", 0.5), (7, 7), ("0", 0), ("-2s", -2), ("1.5h", 5400)]
)
def test_durations(text: object, seconds: float) -> None:
    assert faults.seconds(text) == seconds
