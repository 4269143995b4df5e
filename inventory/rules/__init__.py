"""Rules that need more than one field: pure functions from a site to what is wrong with it.

Each rule yields findings by the path of the value to change; `loader` gives them file, line and column. A rule names the value
that comes later in the file where two do not go together, and says the other in its message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from inventory.findings import Finding, Rule
from inventory.rules import addresses, machines, names, services, versions

if TYPE_CHECKING:
    from inventory.model import Site

RULES: tuple[Rule, ...] = (*versions.RULES, *machines.RULES, *names.RULES, *addresses.RULES, *services.RULES)


def judge(site: Site, broken: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """Every finding of every rule whose needs are whole; `broken` names sections that lost something."""
    for rule in RULES:
        if not rule.needs & broken:
            yield from rule.check(site)
