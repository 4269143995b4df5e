"""Where the ten weeks stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.report.card import card
from orchestrator.report.paint import Paint, columns, span

Json = Mapping[str, Any]
SIGNS = {"done": "✓", "failed": "✗", "running": "▸", "waiting": "‖", "stopped": "‖", "skipped": "-", "unknown": "?"}


def status(document: Json, paint: Paint, *, warnings: tuple[str, ...] = (), verbose: bool = False) -> str:
    """The standing as text: a row a phase, what is open in it, the last run, what waits for a person, the last failure."""
    total = document["summary"]
    lines = [paint(f"{total['phases_done']} of {total['phases']} phases done, {total['steps_done']} of {total['steps']} steps", "bold")]
    rows = [(str(p["week"] or ""), str(p["days"] or ""), f"{SIGNS.get(p['state'], '·')} {p['id']}", p["state"], _progress(p), p["since"] or "") for p in document["phases"]]
    for phase, line in zip(document["phases"], columns([("week", "days", "phase", "state", "steps", "since"), *rows])[1:], strict=True):
        lines.append(paint.state(phase["state"], line))
        if verbose or phase["state"] not in ("done", "pending", "skipped"):
            lines += [paint.state(s["state"], f"            {SIGNS.get(s['state'], '·')} {s['id']}  {s['state']}") for s in phase["steps"] if verbose or s["state"] not in ("done", "pending")]
    run = document["run"]
    if run:
        code = "" if run["exit_code"] is None else f", exit {run['exit_code']}"
        lines += ["", f"last run  {run['id']}  {paint.state(run['state'])}  {span(run['seconds'])}{code}  {run['command']}"]
        if run["state"] == "lost":
            again = "bootstrap up PLAN, with the plan that it had" if run["plan"] else "bootstrap resume"
            lines += ["  its process ended without a word (killed, or a power cut); what it had begun is asked for, not done again", f"  next  {paint(again, 'bold')}"]
    for one in document["waiting"]:
        lines += ["", paint(f"waiting for you: {one['step']}: {one['what']}", "yellow"), f"  next  {paint(one['next'], 'bold')}"]
    lines += [f"skipped: {name}: {one.get('reason', '')}" for name, one in document["skips"].items()]
    lines += [paint(f"warning: {text}", "yellow") for text in warnings]
    if document["failure"]:
        lines += ["", card(document["failure"], paint)]
    return "\n".join(lines)


def _progress(phase: Json) -> str:
    done = sum(1 for step in phase["steps"] if step["state"] == "done")
    return f"{done}/{len(phase['steps'])}"
