"""A program that an `exec:` reference of the site names: it prints the lab's secret for these arguments, as `pass show` would."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.programs.call import Call


def run(call: Call) -> int:
    """Print the secret of exactly these arguments, or fail."""
    tool = call.argv[0].rsplit("/", 1)[-1]
    secret = call.world.printed.get((tool, *call.argv[1:]))
    if secret is None:
        call.err(f"{tool}: the lab keeps nothing for these arguments\n")
        return 1
    call.out(secret + "\n")
    return 0
