"""The pure parts of a drill: what is drawn, and when an answer is the expected one."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cli import drill
from orchestrator.cli.drill import Fault, chosen, mixed
from orchestrator.model.errors import UsageError


def fault(name: str, **changed: Any) -> Fault:
    values: dict[str, Any] = {
        "name": name, "about": "x", "after": "blank", "until": "preflight", "world": {"faults": [{"name": name, "effect": {"cut": True}}], "conditions": []},
        "exit": 4, "by": "preflight/factory", "words": ("503",), "hit": True, "random": True,
    }  # fmt: skip
    return Fault(**values | changed)


FAULTS = tuple(fault(f"f{i}", after="talos" if i > 4 else "blank", until="network" if i > 4 else "preflight") for i in range(9))
CARD = {"phase": "preflight", "step": None, "check": "preflight/factory", "found": "the factory answered 503", "next": ["curl"]}


def test_all_random_and_names_are_chosen_once() -> None:
    assert chosen(FAULTS, ["all", "f3"], 1) == FAULTS
    assert [one.name for one in chosen(FAULTS, ["random", "f3"], 7)] == ["random-7", "f3"]


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError) as told:
        chosen(FAULTS, ["f33"], 1)
    assert "did you mean f3?" in told.value.hint


def test_a_mix_is_the_seeds_and_of_one_place() -> None:
    for seed in range(30):
        one, other = mixed(FAULTS, seed), mixed(FAULTS, seed)
        assert one == other
        assert 2 <= len(one.world["faults"]) <= 3 and one.until == {"blank": "preflight", "talos": "network"}[one.after]
    assert len({mixed(FAULTS, seed).about for seed in range(30)}) > 5


@pytest.mark.parametrize(
    ("code", "card", "struck", "said"),
    [
        (4, CARD, {"f": 1}, []),
        (4, CARD, {"f": 0}, ["never struck"]),
        (5, CARD, {"f": 1}, ["exit 5, wanted 4"]),
        (4, CARD | {"check": "preflight/store"}, {"f": 1}, ["caught by preflight/store"]),
        (4, CARD | {"found": "timed out"}, {"f": 1}, ["does not say '503'"]),
    ],
)
def test_an_answer_is_held_against_the_expected_one(code: int, card: dict[str, Any], struck: dict[str, int], said: list[str]) -> None:
    found = list(drill._judged(fault("f"), code, {"failures": [card]}, struck))
    assert len(found) == len(said) and all(a in b for a, b in zip(said, found, strict=True))


def test_a_bug_is_no_answer_to_a_mix() -> None:
    mix = fault("random-1", exit=None, hit=False)
    assert list(drill._judged(mix, 0, {}, {})) == []
    assert "exit 1" in next(iter(drill._judged(mix, 1, {"error": "Traceback"}, {})))
    assert list(drill._judged(mix, 5, {"failures": [CARD]}, {})) == []
    assert "what to do next" in next(iter(drill._judged(mix, 5, {"failures": [CARD | {"next": []}]}, {})))
