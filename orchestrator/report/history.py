"""The journal for people: one line a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.report.paint import short


def history(records: Iterable[Mapping[str, Any]], width: int = 100) -> str:
    """Oldest first: number, time, what happened, to what, and the words that matter."""
    return "\n".join(_line(record, width) for record in records)


def _line(record: Mapping[str, Any], width: int) -> str:
    data = record.get("data") or {}
    where = record.get("step") or record.get("phase") or record.get("run") or ""
    said = next((str(data[key]) for key in ("reason", "text", "title", "wanted", "command", "verdict") if data.get(key)), "")
    if isinstance(data.get("argv"), list):
        said = " ".join(str(part) for part in data["argv"])
    return f"{record['seq']:>6}  {record['at']}  {record['kind']:<18}  {where}  {short(said, width)}".rstrip()
