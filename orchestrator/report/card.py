"""The failure card: what was wanted, what was found, since when, likely causes, what to run next, where the evidence lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.report.paint import Paint


def card(data: Mapping[str, Any], paint: Paint) -> str:
    """A card as text. The last lines are commands that can be pasted."""
    where = data.get("step") or data.get("phase") or data.get("check") or "?"
    lines = [paint(f"✗ {where}", "red", "bold")]
    rows = [("wanted", data.get("wanted")), ("found", data.get("found")), ("since", data.get("since"))]
    if data.get("asked", 0) > 1:
        rows.append(("asked", f"{data['asked']} times"))
    lines += [f"  {name:<9}{_block(str(value))}" for name, value in rows if value]
    lines += [f"  {'cause' if not index else '':<9}{text}" for index, text in enumerate(data.get("causes") or ())]
    if data.get("evidence"):
        lines.append(f"  {'evidence':<9}.bootstrap/{data['evidence']}")
    lines += [f"  {'next' if not index else '':<9}{paint(text, 'bold')}" for index, text in enumerate(data.get("next") or ())]
    return "\n".join(lines)


def _block(text: str) -> str:
    return text.rstrip().replace("\n", "\n           ")
