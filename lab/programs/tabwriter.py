"""Go's text/tabwriter, which lines up what cilium and other Go programs print. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def align(rows: Sequence[Sequence[str]], *, minimum: int = 0, padding: int = 4) -> str:
    """Rows of cells; all but a row's last cell end with a tab. A column is as wide as its widest cell in a run of rows that have it."""
    widths = [[0] * max(len(row) - 1, 0) for row in rows]
    for column in range(max((len(r) - 1 for r in rows), default=0)):
        start = 0
        while start < len(rows):
            if len(rows[start]) - 1 <= column:
                start += 1
                continue
            end = start
            while end < len(rows) and len(rows[end]) - 1 > column:
                end += 1
            width = max(minimum, max(visible(rows[i][column]) for i in range(start, end)) + padding)
            for i in range(start, end):
                widths[i][column] = width
            start = end
    lines = []
    for row, own in zip(rows, widths, strict=True):
        cells = [cell + " " * (width - visible(cell)) for cell, width in zip(row, own, strict=False)]
        lines.append("".join([*cells, row[-1] if row else ""]))
    return "\n".join(lines) + "\n"


def visible(text: str) -> int:
    """Length as tabwriter counts it: runes, escape sequences too."""
    return len(text)
