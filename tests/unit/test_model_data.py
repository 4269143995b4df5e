"""The model's `dataclass` against the standard library's."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.model.data import dataclass


@dataclass(frozen=True, slots=True)
class Pair:
    """Two values."""

    left: int
    right: tuple[str, ...] = ("r",)
    more: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def both(self) -> str:
        return f"{self.left}{self.right}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Values by name."""

    one: str
    two: str = "2"


@dataclass(frozen=True, slots=True)
class Nothing:
    """No value at all."""


@dataclasses.dataclass(frozen=True, slots=True)
class Theirs:
    """Two values."""

    left: int
    right: tuple[str, ...] = ("r",)
    more: dict[str, int] = dataclasses.field(default_factory=dict)


def test_it_looks_as_the_librarys() -> None:
    assert repr(Pair(1)) == repr(Theirs(1)).replace("Theirs", "Pair")
    assert Pair.__match_args__ == Theirs.__match_args__ and Pair.__slots__ == Theirs.__slots__ and Pair.__doc__ == "Two values."  # type: ignore[attr-defined]  # slots are made
    assert [one.name for one in dataclasses.fields(Pair)] == ["left", "right", "more"] and Pair(3).both == "3('r',)"
    assert dataclasses.asdict(Pair(1)) == dataclasses.asdict(Theirs(1))
    assert Pair(1).more is not Pair(1).more
    assert repr(Nothing()) == "Nothing()" and Nothing() == Nothing()


def test_values_make_it_equal() -> None:
    assert Pair(1) == Pair(1, ("r",)) != Pair(2) and Pair(1) != Theirs(1)
    assert hash(Named(one="a")) == hash(Named(one="a", two="2")) and len({Named(one="a"), Named(one="a"), Named(one="b")}) == 2
    with pytest.raises(TypeError):
        hash(Pair(1))


def test_it_cannot_be_changed_but_copied() -> None:
    pair: Any = Pair(1)
    for change in (lambda: setattr(pair, "left", 2), lambda: delattr(pair, "left"), lambda: setattr(pair, "other", 2)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            change()
    assert not hasattr(pair, "__dict__")
    assert dataclasses.replace(pair, left=2) == Pair(2)
    assert copy.deepcopy(pair) == pickle.loads(pickle.dumps(pair)) == pair


@pytest.mark.parametrize("wrong", [lambda: Pair(), lambda: Pair(1, (), {}, 4), lambda: Pair(other=1), lambda: Named("a"), lambda: Named(two="b")])  # type: ignore[call-arg,misc]  # what must not go
def test_it_wants_its_own_arguments(wrong: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        wrong()
