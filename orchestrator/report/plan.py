"""A plan as an operator reads it: by week and day, each step's verdict, the very commands, objects and diffs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.report.paint import Paint, count

Json = Mapping[str, Any]
SIGNS = {"MET": "✓", "UNMET": "+", "UNKNOWN": "?"}
DISRUPTION = {"installs": "INSTALLS", "disrupts": "DISRUPTS", "destroys": "DESTROYS"}


def plan(document: Json, paint: Paint, *, verbose: bool = False) -> str:
    """The whole plan. Steps that are as wished take one line; with `verbose` whole objects and notes are shown."""
    lines: list[str] = [paint(f"site {document['site']}", "bold") + paint(f"  ({document['site_digest'][:12]}, {document['made_at']})", "dim")]
    week = None
    for phase in document["phases"]:
        if phase["week"] != week:
            week = phase["week"]
            lines += ["", paint(f"Week {week}", "bold")]
        lines += _phase(phase, paint, verbose)
    lines += ["", summary(document, paint)]
    return "\n".join(lines)


def summary(document: Json, paint: Paint) -> str:
    """The one-line sum, and what cannot be taken back."""
    steps = [step for phase in document["phases"] for step in phase["steps"]]
    todo = [step for step in steps if step["verdict"] != "MET"]
    kinds = {kind: [s for s in todo if s["class"] == kind] for kind in DISRUPTION}
    text = f"{count(len(document['phases']), 'phase')}, {count(len(steps), 'step')}: {len(steps) - len(todo)} as wished, {len(todo)} to do"
    if not todo:
        return paint(text + ". Nothing to do.", "green")
    parts = [f"{len(found)} {kind} ({_names(found)})" for kind, found in kinds.items() if found]
    final = [step for step in todo if step["reversible"] == "no"]
    if final:
        parts.append(f"{len(final)} irreversible ({_names(final)})")
    return paint("; ".join([text, *parts]) + ".", "bold")


def _names(steps: Iterable[Json]) -> str:
    names = list(dict.fromkeys(step["id"].split("/", 1)[-1] for step in steps))
    return ", ".join(names[:6]) + (f", {len(names) - 6} more" if len(names) > 6 else "")


def _phase(phase: Json, paint: Paint, verbose: bool) -> list[str]:
    lines = [f"  {paint(phase['id'], 'bold')}  {paint.state(phase['state'])}  {paint('days ' + phase['days'], 'dim')}"]
    for step in phase["steps"]:
        lines += _step(step, paint, verbose)
    if phase["gates"] and phase["state"] != "done":
        lines += [paint(f"      gate  {gate['title']} (within {gate['within']:g} s)", "dim") for gate in phase["gates"]]
    return lines


def _step(step: Json, paint: Paint, verbose: bool) -> list[str]:
    verdict = step["verdict"]
    marks = [paint(DISRUPTION[step["class"]], "red" if step["class"] == "destroys" else "yellow")] if step["class"] and verdict != "MET" else []
    if step["reversible"] == "no" and verdict != "MET":
        marks.append(paint("irreversible", "yellow"))
    name = step["id"].split("/", 1)[-1]
    head = f"    {paint.state(verdict, SIGNS[verdict])} {name}  {step['title']}"
    if verdict == "MET":
        return [paint(head, "dim")] if not paint.on else [f"    {paint.state(verdict, '✓')} {paint(name + '  ' + step['title'], 'dim')}"]
    lines = [" ".join([head, *marks])]
    if step["known_after"]:
        lines.append(paint(f"        known after {step['known_after']}", "dim"))
    elif step["reason"]:
        lines.append(paint(f"        {step['reason']}", "dim"))
    for action in step["actions"]:
        lines += [f"        {line}" for line in _action(action, paint, verbose)]
    if verbose:
        lines += [paint(f"        note: {note}", "dim") for note in step.get("notes") or ()]
    return lines


def _action(action: Json, paint: Paint, verbose: bool) -> list[str]:
    kind = action["kind"]
    shower = _SHOWN.get(kind, _other)
    return shower(action, paint, verbose)


def _command(action: Json, paint: Paint, verbose: bool) -> list[str]:
    env = "".join(f"{name}=… " for name in action["env"])
    return [paint("$ ", "cyan") + env + _argv(action["argv"])]


def _objects(action: Json, paint: Paint, verbose: bool) -> list[str]:
    lines = []
    for one in action["objects"]:
        lines.append(paint(f"{action['verb']} ", "cyan") + _object(one))
        if verbose:
            lines += [f"    {line}" for line in json.dumps(one, indent=2).splitlines()]
    return lines


def _commit(action: Json, paint: Paint, verbose: bool) -> list[str]:
    lines = [paint("commit ", "cyan") + str(action["message"]).splitlines()[0] + paint(f"  {count(len(action['files']), 'file')}", "dim")]
    for one in action["files"]:
        added, removed = _changed(one["diff"])
        lines.append(f"  {one['path']}  {paint(f'+{added}', 'green')} {paint(f'-{removed}', 'red')}")
        if verbose:
            lines += [f"    {_coloured(line, paint)}" for line in one["diff"].splitlines()]
    lines += [paint(f"  kept as somebody else left it: {path}", "yellow") for path in action["kept"]]
    return lines


def _changed(diff: str) -> tuple[int, int]:
    rows = [line for line in diff.splitlines() if not line.startswith(("+++", "---"))]
    return sum(line.startswith("+") for line in rows), sum(line.startswith("-") for line in rows)


def _junos(action: Json, paint: Paint, verbose: bool) -> list[str]:
    if action["diff"] is None:
        rows = [f"+ {line}" for line in action["lines"]]
        head = f"{count(len(rows), 'line')}; the device's own configuration is not known yet"
    else:
        rows = action["diff"]
        head = count(len(rows), "line")
    return [paint("gateway ", "cyan") + head, *(f"  {_coloured(row, paint)}" for row in rows)]


def _file(action: Json, paint: Paint, verbose: bool) -> list[str]:
    body = [f"  {_coloured(line, paint)}" for line in action["diff"].splitlines()] if verbose else []
    return [paint("write ", "cyan") + str(action["path"]), *body]


def _other(action: Json, paint: Paint, verbose: bool) -> list[str]:
    match action["kind"]:
        case "http":
            text = f"{action['method']} {action['url']}"
        case "secret":
            text = f"a new {action['recipe']}, kept at {action['secret']['secret']}"
        case "await":
            text = f"{action['title']} (within {action['within']:g} s)"
        case "approval":
            text = str(action["question"])
        case _:
            text = ", ".join(f"{name} {value}" for name, value in action.items() if name != "kind" and isinstance(value, str))
    return [paint(f"{action['kind']} ", "cyan") + text]


_SHOWN = {"command": _command, "objects": _objects, "commit": _commit, "junos": _junos, "file": _file}


def _argv(argv: Iterable[Any]) -> str:
    import shlex

    return " ".join(f"<{part['secret']}>" if isinstance(part, Mapping) else shlex.quote(str(part)) for part in argv)


def _object(one: Json) -> str:
    meta = one.get("metadata", {})
    namespace = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return f"{one.get('kind')} {namespace}{meta.get('name')}"


def _coloured(line: str, paint: Paint) -> str:
    return paint(line, "green") if line.startswith(("+", "set ")) else paint(line, "red") if line.startswith(("-", "delete ")) else line

