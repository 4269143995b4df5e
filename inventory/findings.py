"""What a rule says: a mistake by its path in the site, before anybody knows in which file and line it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inventory.model import Site

Keys = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake that needs more than one field to be seen. `keys` is the path of the value to change."""

    keys: Keys
    message: str
    found: str | None = None
    allowed: str | None = None
    nearest: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A named rule. `needs` are the sections of the site that it counts or misses things in.

    While one of those has mistakes of its own the rule is not asked: what it would miss may stand in the broken part.
    """

    name: str
    check: Callable[[Site], Iterator[Finding]]
    source: str
    needs: frozenset[str] = frozenset()
