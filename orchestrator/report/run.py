"""How a run ended, in one or two lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.report.paint import Paint, count, span


def ending(report: Mapping[str, Any], paint: Paint, *, folder: str) -> str:
    """The sum of a run and where its evidence lies."""
    did = f"{count(len(report['done']), 'phase')} proven, {count(len(report['acted']), 'step')} changed something, {count(report['actions'], 'action')}, {span(report['seconds'])}"
    code = report["exit_code"]
    if code == 0:
        text = paint("done", "green", "bold") + f": {did}"
    elif code in (130, 143):
        text = paint("stopped", "yellow", "bold") + f": {did}; go on with: bootstrap up"
    elif code == 7:
        text = paint("waiting for you", "yellow", "bold") + f": {did}"
    else:
        text = paint(f"failed (exit {code})", "red", "bold") + f": {did}"
    lines = [text]
    lines += [f"  not started: {phase} waits for {need}" for phase, need in report["blocked"].items()]
    lines.append(paint(f"  evidence in {folder}", "dim"))
    return "\n".join(lines)
