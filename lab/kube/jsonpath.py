"""The JSONPath of printer columns and scale paths: fields, quoted fields, indexes, wildcards, simple filters.

Source: k8s.io/client-go/util/jsonpath, 1.33. Left out: recursive descent, unions, slices with a step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

TOKEN = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\\])+)
      |\[(?P<quoted>'(?:\\.|[^'])*'|"(?:\\.|[^"])*")\]
      |\[(?P<index>-?\d+)\]
      |\[(?P<star>\*)\]
      |\[\?\((?P<filter>(?:'[^']*'|"[^"]*"|[^)'"])*)\)\]""",
    re.VERBOSE,
)
FILTER = re.compile(r"^\s*(?P<left>@[^=!<>\s]*)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<right>.+?))?\s*$")


class PathError(ValueError):
    """Not a JSONPath that this module knows."""


@lru_cache(maxsize=2048)
def parse(path: str) -> tuple[tuple[str, str], ...]:
    """(kind, text) of each part. Raises PathError."""
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    text = text.removeprefix("$")
    if text and text[0] not in ".[":
        text = "." + text
    parts, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise PathError(f"unrecognized path {path!r} at {at}")
        kind, value = match.lastgroup, match[match.lastgroup]
        if kind == "quoted":
            kind, value = "field", value[1:-1]
        if kind == "field":
            value = re.sub(r"\\(.)", r"\1", value)
            kind = "star" if value == "*" else "field"
        parts.append((kind, value))
        at = match.end()
    return tuple(parts)


def find(path: str, obj: Any) -> list[Any]:
    """All values at a path; none where the path or a part of it is not there."""
    try:
        parts = parse(path)
    except PathError:
        return []
    found = [obj]
    for kind, text in parts:
        found = [value for at in found for value in _step(kind, text, at)]
    return found


def _step(kind: str, text: str, at: Any) -> Iterator[Any]:
    if kind == "field":
        if isinstance(at, dict) and text in at:
            yield at[text]
    elif kind == "index":
        if isinstance(at, list) and -len(at) <= int(text) < len(at):
            yield at[int(text)]
    elif kind == "star":
        yield from at.values() if isinstance(at, dict) else at if isinstance(at, list) else ()
    elif isinstance(at, list):
        yield from (item for item in at if _passes(text, item))


def _passes(text: str, item: Any) -> bool:
    match = FILTER.match(text)
    if match is None:
        return False
    left = find(match["left"].removeprefix("@") or ".", item) if match["left"] != "@" else [item]
    if match["op"] is None:
        return bool(left)
    if not left:
        return False
    right = _literal(match["right"])
    value = left[0]
    match match["op"]:
        case "==":
            return bool(value == right)
        case "!=":
            return bool(value != right)
    if type(value) is not type(right):
        return False
    return bool({"<": value < right, ">": value > right, "<=": value <= right, ">=": value >= right}[match["op"]])


def _literal(text: str) -> Any:
    text = text.strip()
    if text[:1] in "'\"" and text[-1:] == text[:1] and len(text) > 1:
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        return text
