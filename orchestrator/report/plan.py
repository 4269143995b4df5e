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
    if kind == "command":
        env = " ".join(f"{name}=…" for name in action.get("env") or ())
        return [paint("$ ", "cyan") + (f"{env} " if env else "") + _argv(action["argv"])]
    if kind == "objects":
        verb = "delete" if action.get("delete") else "apply"
        rows = [paint(f"{verb} ", "cyan") + _object(one) for one in action["objects"]]
        return rows if not verbose else [line for one, row in zip(action["objects"], rows, strict=True) for line in (row, *_indented(json.dumps(one, indent=2)))]
    if kind == "commit":
        diff = action.get("diff") or ""
        body = diff if isinstance(diff, str) else "\n".join(str(part) for part in diff)
        shown = body.splitlines() if verbose else _diffstat(body, action)
        return [paint("commit ", "cyan") + str(action["message"]).splitlines()[0], *(f"  {_coloured(line, paint)}" for line in shown)]
    if kind == "junos":
        lines = action.get("diff") or action.get("lines") or ()
        rows = lines.splitlines() if isinstance(lines, str) else list(lines)
        return [paint("gateway ", "cyan") + count(len(rows), "line"), *(f"  {_coloured(str(row), paint)}" for row in rows)]
    if kind == "http":
        return [paint(f"{action['method']} ", "cyan") + str(action["url"])]
    if kind == "file":
        return [paint("write ", "cyan") + str(action["path"]), *(f"  {_coloured(line, paint)}" for line in (str(action.get("diff") or "").splitlines() if verbose else ()))]
    if kind == "approval":
        return [paint("approval ", "yellow") + str(action.get("question", ""))]
    rest = ", ".join(f"{name} {value}" for name, value in action.items() if name != "kind" and isinstance(value, str | int))
    return [paint(f"{kind} ", "cyan") + rest]


def _argv(argv: Iterable[Any]) -> str:
    import shlex

    return " ".join(f"<{part['secret']}>" if isinstance(part, Mapping) else shlex.quote(str(part)) for part in argv)


def _object(one: Json) -> str:
    meta = one.get("metadata", {})
    namespace = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return f"{one.get('kind')} {namespace}{meta.get('name')}"


def _diffstat(diff: str, action: Json) -> list[str]:
    files = action.get("files")
    if isinstance(files, Mapping):
        return [f"+ {path}" for path in files]
    found = [line[6:] for line in diff.splitlines() if line.startswith("+++ b/")]
    return [f"+ {path}" for path in found] if found else diff.splitlines()[:8]


def _coloured(line: str, paint: Paint) -> str:
    return paint(line, "green") if line.startswith(("+", "set ")) else paint(line, "red") if line.startswith(("-", "delete ")) else line


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]
