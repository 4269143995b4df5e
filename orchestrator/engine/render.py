"""Actions as the plan shows them, and digests of plain data. Pure: the same action and the same facts give the same text.

A secret stands as `{"secret": reference}`. What an action would change is shown against the facts it was given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import timedelta
from difflib import unified_diff
from enum import Enum
from typing import Any

from orchestrator.model.action import (
    Action,
    Approval,
    ApproveCsrs,
    Await,
    Command,
    DeleteSelected,
    GitCommit,
    HttpCall,
    JunosChange,
    Kubeconfig,
    MakeSecret,
    Mark,
    Objects,
    WriteFile,
)
from orchestrator.model.check import Check
from orchestrator.model.data import dataclass
from orchestrator.model.phase import Phase, Step
from orchestrator.model.query import Answer, FileRead, GitRead, JunosShow, Query, Secret
from orchestrator.model.setlines import to_send

SHOW_CONFIGURATION = JunosShow("show configuration | display set")
HEAD = GitRead()
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an action is shown against: answers by query key. A query that was not asked has no answer."""

    answers: Mapping[str, Answer]

    def get(self, query: Query) -> Answer | None:
        """The answer, or None where there is none or the target did not answer."""
        answer = self.answers.get(key_of(query))
        return None if answer is None or answer.unreachable is not None else answer


NO_FACTS = Facts({})
_FIELDS: dict[Any, tuple[str, ...]] = {}
_SCALARS = frozenset({str, int, float, bool, type(None)})


def canonical(data: Any) -> str:
    """JSON with sorted keys and no blanks."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(data: Any) -> str:
    """SHA-256 over the canonical JSON."""
    return hashlib.sha256(canonical(data).encode("utf-8", "surrogatepass")).hexdigest()


def plain(value: Any) -> Any:
    """Any part of the model as JSON-able data: durations in seconds, secrets by reference, functions by name."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is tuple or kind is list:
        return [plain(one) for one in value]
    if kind is timedelta:
        return value.total_seconds()
    if kind is Secret:
        return {"secret": value.ref}
    if is_dataclass(value):
        return {"type": kind.__name__} | {name: plain(getattr(value, name)) for name in _fields(kind)}
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(plain(one) for one in value)
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    return str(value)


def _fields(kind: Any) -> tuple[str, ...]:
    """The names of a dataclass's fields; looked up once a class."""
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(one.name for one in fields(kind))
    return names


def key_of(query: Query) -> str:
    """Equal for queries that ask the same."""
    return repr(query)


def step_digest(step: Step) -> str:
    """The digest of what a step rests on: its goal's question and its actions."""
    return digest([step.id, plain(step.goal.ask), plain(step.actions)])


def phases_digest(phases: Sequence[Phase]) -> str:
    """The digest of everything that the phases say."""
    return digest(plain(tuple(phases)))


def facts_wanted(action: Action) -> tuple[Query, ...]:
    """The questions whose answers `render` shows an action against."""
    if isinstance(action, GitCommit):
        return (HEAD,)
    if isinstance(action, JunosChange):
        return (SHOW_CONFIGURATION,)
    if isinstance(action, WriteFile):
        return (FileRead(action.path, text=True),)
    return ()


def render(action: Action, facts: Facts = NO_FACTS) -> Json:
    """The action whole, as data in a fixed order of keys."""
    match action:
        case Command():
            return _command(action)
        case Objects():
            return _objects(action)
        case GitCommit():
            return _commit(action, facts.get(HEAD))
        case JunosChange():
            return _junos(action, facts.get(SHOW_CONFIGURATION))
        case HttpCall():
            headers = {name: plain(value) for name, value in action.headers.items()}
            return {"kind": "http", "method": action.method, "url": action.url, "headers": headers, "body": action.body, "within": _seconds(action.within)}
        case WriteFile():
            return _file(action, facts.get(FileRead(action.path, text=True)))
        case MakeSecret():
            return {"kind": "secret", "secret": plain(action.secret), "recipe": action.recipe, "subject": action.subject, "path": action.path}
        case Kubeconfig():
            return {"kind": "kubeconfig", **_without_type(action)}
        case DeleteSelected():
            return {"kind": "delete", **_without_type(action, target="object_kind")}
        case ApproveCsrs():
            return {"kind": "csrs", **_without_type(action)}
        case Mark():
            return {"kind": "mark", **_without_type(action)}
        case Await():
            return {"kind": "await", "check": action.check.id, "title": action.check.title, "within": _seconds(action.check.within)}
        case Approval():
            return {"kind": "approval", "question": action.question}


def label(action: Action) -> str:
    """The action in a few words, for a line of progress or history."""
    match action:
        case Command():
            return " ".join(action.argv)
        case Objects():
            return f"{'delete' if action.delete else 'apply'} {len(action.objects)} objects in {action.cluster}"
        case GitCommit():
            return f"commit {action.message.splitlines()[0] if action.message else ''}"
        case JunosChange():
            return f"gateway: {len(action.lines)} lines"
        case HttpCall():
            return f"{action.method} {action.url}"
        case WriteFile() | Kubeconfig():
            return f"write {action.path}"
        case MakeSecret():
            return f"make {action.recipe} {action.secret.ref}"
        case DeleteSelected():
            return f"delete {action.kind} with {action.labels} in {action.cluster}"
        case ApproveCsrs():
            return f"approve serving certificates of {', '.join(action.nodes)}"
        case Mark():
            return f"mark {action.name} in {action.cluster}"
        case Await():
            return f"wait for {action.check.title}"
        case Approval():
            return f"approval: {action.question}"


def _seconds(value: timedelta) -> float:
    return value.total_seconds()


def _without_type(action: Action, *, target: str = "kind") -> Json:
    """The action's own fields; a field called `kind` (of an object) goes by the name `target`."""
    data: Json = plain(action)
    data.pop("type")
    return {target if name == "kind" else name: value for name, value in data.items()}


def _command(action: Command) -> Json:
    return {
        "kind": "command",
        "argv": list(action.argv),
        "env": sorted(action.env),
        "env_values": {name: plain(action.env[name]) for name in sorted(action.env)},
        "cwd": ".",
        "stdin": plain(action.stdin),
        "within": _seconds(action.within),
        "once": action.once,
        "evidence": list(action.evidence),
    }


def _objects(action: Objects) -> Json:
    objects = [plain(one) for one in action.objects]
    for index, place in action.secrets:
        shown = {"secret": place.secret.ref} | ({"field": place.field} if place.field else {})
        _put(objects[index], place.path, shown)
    return {
        "kind": "objects",
        "cluster": action.cluster,
        "verb": "delete" if action.delete else "apply",
        "field_manager": action.field_manager,
        "objects": objects,
        "within": _seconds(action.within),
    }


def _put(data: Json, path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        data = data.setdefault(name, {})
    data[path[-1]] = value


def _commit(action: GitCommit, head: Answer | None) -> Json:
    """Files that are as wanted are left out; files that somebody else changed since are kept, and named."""
    body: Mapping[str, Any] = head.body if head is not None and head.body is not None else {}
    there, rendered = body.get("files", {}), body.get("rendered", {})
    files: list[Json] = []
    kept: list[str] = []
    for path in sorted(action.files):
        old, new = there.get(path), action.files[path]
        if old == new:
            continue
        if old is not None and rendered.get(path) != text_digest(old):
            kept.append(path)
            continue
        files.append({"path": path, "diff": _diff(path, old, new)})
    return {
        "kind": "commit",
        "message": action.message,
        "files": files,
        "kept": kept,
        "tree": digest(plain(action.files)),
        "base_known": head is not None,
    }


def text_digest(text: str) -> str:
    """SHA-256 of a file's text, as the trailers of our commits name it."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _diff(path: str, old: str | None, new: str | None) -> str:
    before = "/dev/null" if old is None else f"a/{path}"
    after = "/dev/null" if new is None else f"b/{path}"
    lines = unified_diff((old or "").splitlines(), (new or "").splitlines(), before, after, lineterm="")
    return "\n".join(lines) + "\n"


def _junos(action: JunosChange, answer: Answer | None) -> Json:
    return {
        "kind": "junos",
        "lines": list(action.lines),
        "secrets": [{"line": prefix, "secret": secret.ref} for prefix, secret in action.secrets],
        "diff": None if answer is None else _junos_diff(action, answer.stdout),
        "owned": list(action.owned),
        "confirm_minutes": action.confirm_minutes,
        "sessions": list(action.sessions),
        "within": _seconds(action.within),
    }


def _junos_diff(action: JunosChange, there: str) -> list[str]:
    """Lines that the device would gain, in the order in which they are sent. A secret's line stands without its value."""
    keys = {prefix for prefix, _ in action.secrets}
    return [f"+ {line} <secret>" if line in keys else f"+ {line}" for line in to_send(action, there)]


def _file(action: WriteFile, answer: Answer | None) -> Json:
    body: Mapping[str, Any] = answer.body if answer is not None and answer.body is not None else {}
    return {"kind": "file", "path": action.path, "mode": "0600", "sha256": text_digest(action.text), "diff": _diff(action.path, body.get("text") if body.get("exists") else None, action.text)}


def within_plan(deed: Json, listed: Json) -> bool:
    """Whether a rendered deed does nothing that the listed action did not: the same data, the same or a smaller difference."""
    if {**deed, **_BARE} != {**listed, **_BARE}:
        return False
    match deed["kind"]:
        case "commit":
            return not listed["base_known"] or all(one in listed["files"] for one in deed["files"])
        case "junos":
            return listed["diff"] is None or set(deed["diff"] or ()) <= set(listed["diff"])
    return True


_BARE: Json = {"diff": None, "files": None, "kept": None, "base_known": None}


def deed(rendered: Mapping[str, Any]) -> Json:
    """What is carried out, without what it was shown against: argv, whole objects, the tree's digest, the gateway's lines."""
    return {name: value for name, value in rendered.items() if name not in _BARE}


def check_row(check: Check) -> Json:
    """A gate as the plan lists it."""
    return {"id": check.id, "title": check.title, "within": _seconds(check.within)}
