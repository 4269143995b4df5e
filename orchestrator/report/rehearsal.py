"""What a rehearsal showed: pure figures from the lab's record, the journal and the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.report.paint import Paint, columns, count, span

Json = Mapping[str, Any]


def figures(record: Sequence[Json], journal: Sequence[Json], deed: Json | None, wall: float) -> dict[str, Any]:
    """The numbers of one rehearsal as a document."""
    commands = Counter(str(one["what"]).split()[0] for one in record if one["via"] == "cli")
    times = [datetime.fromisoformat(str(one["at"])) for one in record]
    simulated = (max(times) - min(times)).total_seconds() if times else 0.0
    done = [r for r in journal if r["kind"] == "phase.done"]
    return {
        "phases": list(dict.fromkeys(r["phase"] for r in done)),
        "steps": len({r["step"] for r in journal if r["kind"] == "step.done"}),
        "commands": dict(sorted(commands.items())),
        "mutations": sum(1 for one in record if one["mutates"]),
        "gates": len({r["data"].get("check") for r in journal if r["kind"].startswith("gate.")}),
        "simulated_seconds": round(simulated, 1),
        "wall_seconds": round(wall, 1),
        "plan": deed,
    }


def summary(data: Json, paint: Paint, *, folder: str, code: int, differing: Iterable[str], injected: Iterable[str] = ()) -> str:
    """The summary as text."""
    commands = ", ".join(f"{name} {number}" for name, number in data["commands"].items())
    rows = [
        ("phases", f"{len(data['phases'])}: {', '.join(data['phases'])}"),
        ("steps", str(data["steps"])),
        ("commands", commands or "none"),
        ("mutations", f"{data['mutations']} by the lab's own record"),
        ("gates", f"{data['gates']} asked"),
        ("time", f"{span(data['simulated_seconds'])} simulated in {span(data['wall_seconds'])}"),
    ]
    deed = data["plan"]
    if deed is not None and deed["deeds"]:
        rows.append(("plan = deed", f"{deed['equal']} of {count(deed['deeds'], 'action')} ({100 * deed['share']:.1f} %)"))
        rows += [("", f"known later, as the plan said: {one}") for one in deed["after"]]
        rows += [("", f"differs: {one}") for one in deed["other"]]
    rows += [("fault", text) for text in injected]
    rows += [("real site", f"differs: {text}") for text in differing]
    rows.append(("evidence", folder))
    verdict = paint("rehearsal passed", "green", "bold") if code == 0 else paint(f"rehearsal ended with exit {code}", "red", "bold")
    return "\n".join([verdict, *columns(rows, "  ")])


def drills(data: Json) -> str:
    """The summary of drills as text: what was injected, and how it was caught."""
    played = data["drills"]
    bad = [one for one in played if one["problems"]]
    caught = Counter("got over" if one["exit"] == 0 else f"exit {one['exit']}" for one in played)
    lines = [f"{len(played)} faults, {len(played) - len(bad)} answered as expected ({', '.join(f'{how} {n}' for how, n in sorted(caught.items()))})"]
    for one in played:
        how = "got over it" if one["exit"] == 0 else f"exit {one['exit']} by {one['by']}"
        lines.append(f"  {one['name']}: {one['about']} -> {how}, lifted: exit {one['lifted_exit']}")
    lines += [f"  ✗ {one['name']}: {text}" for one in bad for text in one["problems"]]
    return "\n".join([*lines, *([f"  evidence {data['folder']}"] if bad else [])])
