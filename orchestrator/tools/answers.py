"""Reading answers without trusting them: every accessor gives a default, every judge is kept from raising."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

from orchestrator.model.check import Answers, Judge
from orchestrator.model.query import Answer
from orchestrator.model.verdict import State, Verdict, unknown

MOST_TEXT = 8 << 20  # characters of one answer that a judge looks at
GARBLED = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)


def careful(judge: Callable[[Answers], Verdict]) -> Judge:
    """A judge that says UNKNOWN where an answer cannot be read: a broken answer is never proof of anything."""

    @wraps(judge)
    def judged(answers: Answers) -> Verdict:
        try:
            return judge(answers)
        except GARBLED as error:
            return unknown(f"the answer could not be read ({type(error).__name__})")

    return judged


def dig(value: Any, *path: str | int, default: Any = None) -> Any:
    """What stands at `path`, or `default` where the answer has another shape."""
    for key in path:
        in_map = isinstance(value, Mapping) and key in value
        if in_map or (isinstance(value, list) and isinstance(key, int) and -len(value) <= key < len(value)):
            value = value[key]
        else:
            return default
    return default if value is None else value


def listed(value: Any) -> list[Any]:
    """The list, or nothing where it is none."""
    return value if isinstance(value, list) else []


def items(answer: Answer) -> list[Any]:
    """The objects of a KubeList's answer. Raises ValueError when it is no list: an empty list is an answer, a broken one is not."""
    if not isinstance(answer.body, Mapping) or not isinstance(answer.body.get("items"), list):
        raise ValueError("not a list of objects")
    return list(answer.body["items"])


def stream(text: str) -> list[dict[str, Any]]:
    """The objects of `talosctl get -o json`: indented JSON one after the other, not an array. Raises ValueError."""
    decoder, at = json.JSONDecoder(), 0
    found: list[dict[str, Any]] = []
    text = text[:MOST_TEXT]
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at >= len(text):
            return found
        value, at = decoder.raw_decode(text, at)
        if not isinstance(value, dict):
            raise ValueError("not a stream of objects")
        found.append(value)


def parsed(answer: Answer) -> Any:
    """The JSON on stdout. Raises ValueError."""
    return json.loads(answer.stdout[:MOST_TEXT])


def last_line(text: str) -> str:
    """The line that a failure is known by, without control characters."""
    lines = [line.strip() for line in text[-4096:].splitlines() if line.strip()]
    return "".join(c if c.isprintable() else " " for c in lines[-1])[:300] if lines else ""


def said(answer: Answer) -> str:
    """Why a program failed, as it said it."""
    return last_line(answer.stderr) or last_line(answer.stdout) or f"exit {answer.rc} without a word"


def gone(answer: Answer) -> bool:
    """Whether the API answered that there is no such object (or no such kind yet)."""
    return answer.status == 404


def silent(answer: Answer) -> Verdict | None:
    """UNKNOWN where nothing answered; for judges that hear silence themselves."""
    return None if answer.unreachable is None else unknown(answer.unreachable)


def refused(answer: Answer) -> Verdict | None:
    """UNKNOWN where the API answered neither with the object nor with its absence."""
    if answer.unreachable is not None:
        return unknown(answer.unreachable)
    if answer.status == 404:
        return None
    if answer.status in (None, 200, 201):
        return None if isinstance(answer.body, Mapping) else unknown("the API's answer is no object")
    return unknown(f"the API answered {answer.status}: {dig(answer.body, 'message', default='no message')}")


def digest(*parts: Any) -> str:
    """A stable SHA-256 of JSON-able inputs."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The first that closes: permanent, then UNMET, then UNKNOWN. None when all are MET."""
    seen = tuple(verdicts)
    for wanted in _order(seen):
        return wanted
    return None


def _order(seen: tuple[Verdict, ...]) -> Iterator[Verdict]:
    yield from (v for v in seen if v.state is State.UNMET and v.permanent)
    yield from (v for v in seen if v.state is State.UNMET)
    yield from (v for v in seen if v.state is State.UNKNOWN)
