"""What `verify` found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.report.paint import Paint, count


def verification(document: Mapping[str, Any], paint: Paint, *, verbose: bool = False) -> str:
    """One line for each that does not stand (with `verbose` for all), then the sum."""
    lines = []
    for row in document["rows"]:
        if verbose or row["verdict"] != "MET":
            lines.append(f"{paint.state(row['verdict'])}  {row['phase']}  {row['title']}" + (f": {row['reason']}" if row["reason"] else ""))
            if row["verdict"] != "MET" and row["hint"]:
                lines.append(f"    next  {paint(row['hint'], 'bold')}")
    lines += [paint(f"DRIFT  {path}: changed by somebody else; kept", "yellow") for path in document["theirs"]]
    bad = document["drifted"] + len(document["theirs"])
    text = f"{count(len(document['phases']), 'finished phase')}, {count(len(document['rows']), 'check')}: "
    return "\n".join([*lines, paint(text + (f"{bad} do not stand" if bad else "all stand"), "red" if bad else "green")])
