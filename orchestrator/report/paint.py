"""Colour and columns, as plain functions of text."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.model.data import dataclass

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


@dataclass(frozen=True, slots=True)
class Paint:
    """Colours text, or leaves it as it is."""

    on: bool = True

    def __call__(self, text: str, *styles: str) -> str:
        if not self.on or not styles:
            return text
        return f"\x1b[{';'.join(CODES[style] for style in styles)}m{text}\x1b[0m"

    def state(self, word: str, text: str | None = None) -> str:
        """A state's word in its colour."""
        shown = word if text is None else text
        return self(shown, *STATES.get(word, ()))


STATES: dict[str, tuple[str, ...]] = {
    "MET": ("green",),
    "UNMET": ("yellow",),
    "UNKNOWN": ("dim",),
    "done": ("green",),
    "running": ("cyan",),
    "acting": ("cyan",),
    "failed": ("red", "bold"),
    "unknown": ("red",),
    "waiting": ("yellow",),
    "stopped": ("yellow",),
    "skipped": ("dim",),
    "undone": ("yellow",),
    "pending": ("dim",),
    "lost": ("red",),
}


def columns(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Rows as aligned columns, without trailing blanks. Widths are of the plain text, so colour the result, not the cells."""
    widths = [max((len(row[index]) for row in rows if index < len(row)), default=0) for index in range(max(map(len, rows), default=0))]
    return [(indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))).rstrip() for row in rows]


def span(seconds: float) -> str:
    """A duration for people: 0.4s, 12s, 3m05s, 2h10m, 3d4h."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def count(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def short(text: str, width: int) -> str:
    """One line of at most `width` characters; what it is indented by stays."""
    indent = text[: len(text) - len(text.lstrip(" "))]
    flat = indent + " ".join(text.split())
    return flat if len(flat) <= width else flat[: max(0, width - 1)] + "…"
