"""What is wrong with a site: one value for each mistake, and the exception that carries all of them.

SiteErrors   every mistake that was found; `errors` is never empty, in the order of the files
└ SiteError  one mistake: where it stands, what was found there, what would be right
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class SiteError:
    """One mistake in a site file.

    `line` and `column` count from 1; for a key that is missing they are those of the mapping that lacks it. `key` is a dotted
    path from the top of the site (`clusters[0].endpoint.vip`), empty for a file that cannot be read at all. Nothing in here is a
    secret: the text of a value that should have been a reference is left out.
    """

    file: Path
    line: int
    column: int
    key: str
    message: str
    found: str | None = None
    allowed: str | None = None
    nearest: str | None = None
    hint: str | None = None

    @property
    def where(self) -> str:
        """`file:line:column`, as editors and terminals link it."""
        return f"{self.file}:{self.line}:{self.column}"

    def __str__(self) -> str:
        """Line one says what was found and what is wanted, line two (`hint:`) what to write instead."""
        told = f"{self.where}: {self.key}: {self.message}" if self.key else f"{self.where}: {self.message}"
        facts = [f"{word} {value}" for word, value in (("found", self.found), ("allowed:", self.allowed)) if value]
        first = f"{told} ({'; '.join(facts)})" if facts else told
        advice = "; ".join(
            ([f"did you mean {self.nearest}?"] if self.nearest else []) + ([self.hint] if self.hint else [])
        )
        return f"{first}\nhint: {advice}" if advice else first


class SiteErrors(Exception):
    """The site cannot be used: all mistakes of its files, in their order."""

    exit_code = 3

    def __init__(self, errors: tuple[SiteError, ...]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors
