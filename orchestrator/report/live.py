"""What runs now, folded from events: running steps per phase, elapsed, the last observation, time left. Pure.

`lines` renders an event as one plain line (CI and pipes), `frame` the whole picture for a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.report.paint import Paint, count, short, span

Event = Mapping[str, Any]


@dataclass(slots=True)
class Running:
    """One step, or the gates of one phase, at work."""

    since: float
    doing: str = ""
    check: str = ""
    observed: str = ""
    left: float | None = None
    left_at: float = 0.0


@dataclass(slots=True)
class Live:
    """The picture of a run. `take` folds one event; `now` is a monotonic time of the caller."""

    phases: dict[str, str] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    done: int = 0
    failed: list[str] = field(default_factory=list)

    def take(self, event: Event, now: float) -> None:
        """Fold one event."""
        kind, data = event["kind"], event.get("data") or {}
        key = event.get("step") or event.get("phase") or ""
        if kind.startswith("phase."):
            self.phases[event["phase"]] = kind.removeprefix("phase.")
            if kind != "phase.started":
                self.running.pop(event["phase"], None)
        elif kind == "step.started":
            self.running[key] = Running(now)
        elif kind in ("step.done", "step.failed", "step.waiting", "step.unknown", "step.skipped", "step.undone"):
            self.running.pop(key, None)
            self.done += kind == "step.done"
            if kind in ("step.failed", "step.unknown"):
                self.failed.append(key)
        elif kind == "action.started" and key in self.running:
            self.running[key].doing = _doing(data)
        elif kind == "action.ended" and key in self.running:
            self.running[key].doing = ""
        elif kind in ("check.asked", "gate.waiting") and key:
            row = self.running.setdefault(key, Running(now))
            row.check, row.observed = str(data.get("title", "")), str(data.get("reason") or data.get("verdict", ""))
            row.left, row.left_at = data.get("left"), now


def frame(live: Live, now: float, elapsed: float, width: int, paint: Paint) -> list[str]:
    """The picture as lines: a head, then one or two lines a running step."""
    done = sum(1 for state in live.phases.values() if state == "done")
    head = f"{span(elapsed)}  {count(done, 'phase')} and {count(live.done, 'step')} done"
    lines = [paint(head, "bold")]
    for name, row in live.running.items():
        left = "" if row.left is None or not row.check else f"  {span(max(0.0, row.left - (now - row.left_at)))} left"
        lines.append(short(f"  ▸ {name}  {span(now - row.since)}{left}", width))
        said = row.doing or (f"waiting for {row.check}: {row.observed}" if row.check else "")
        if said:
            lines.append(paint(short(f"      {said}", width), "dim"))
    return lines


def line(event: Event, paint: Paint, *, verbose: bool = False) -> str | None:
    """An event as one plain line, or None where it is not worth one."""
    kind, data = event["kind"], event.get("data") or {}
    name = event.get("step") or event.get("phase") or event.get("run") or ""
    match kind:
        case "phase.started":
            return paint(f"▸ {name}", "bold") + (f"  {data['title']}" if data.get("title") else "")
        case "phase.done":
            return paint(f"✓ {name}", "green", "bold")
        case "phase.failed" | "step.failed" | "step.unknown":
            return paint(f"✗ {name}", "red") + f"  {short(str((data.get('card') or {}).get('found') or data.get('reason') or ''), 160)}"
        case "step.done":
            acted = "" if data.get("acted") else "  as wished already"
            return f"  {paint('✓', 'green')} {name}{paint(acted, 'dim')}"
        case "step.waiting" | "phase.waiting":
            return paint(f"‖ {name}  {data.get('question', 'waits for a person')}", "yellow")
        case "action.started":
            return paint(f"    {name}: {short(_doing(data), 200)}", "dim")
        case "check.asked" | "gate.waiting" if data.get("verdict") != "MET" and data.get("left"):
            return paint(f"    {name}: waiting for {data.get('title')}: {short(str(data.get('reason')), 120)} ({span(float(data.get('left') or 0))} left)", "dim")
        case "action.orphaned":
            return paint(f"    {name}: waits for process {data.get('pid')} of an earlier run ({span(float(data.get('left') or 0))} at most)", "yellow")
        case "run.stopping":
            points = [f"{step} ({short(str(point), 80)})" for step, point in (data.get("safe_points") or {}).items()]
            return paint(f"stopping: {'; '.join(points) or 'nothing runs'}", "yellow")
        case "gate.met":
            again = " (still)" if data.get("again") else ""
            return paint(f"  ✓ {name}: {data.get('title', data.get('check'))}{again}", "dim")
    return f"    {kind} {name}" if verbose else None


def _doing(data: Mapping[str, Any]) -> str:
    """The action in a few words, as the engine calls it."""
    return str(data.get("what") or "acts")
