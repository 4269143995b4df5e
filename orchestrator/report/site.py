"""Errors of a site file: where, what was found, what is allowed, and the nearest match."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.report.paint import count


def site_errors(errors: Iterable[Any]) -> str:
    """All errors of a site, in the order of the file: `FILE:LINE:COLUMN: key: message`, then found, allowed, nearest, hint."""
    lines: list[str] = []
    found = tuple(errors)
    for error in found:
        place = ":".join(str(part) for part in (error.file, error.line, error.column) if part)
        lines.append(f"{place}: error: {error.key + ': ' if error.key else ''}{error.message}")
        rows = (("found", error.found), ("allowed", error.allowed), ("nearest", error.nearest), ("hint", error.hint))
        lines += [f"  {name}: {value}" for name, value in rows if value]
    lines.append(f"{count(len(found), 'error')}; nothing was run")
    return "\n".join(lines)
