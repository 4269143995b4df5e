"""JSON and YAML as Go reads them: duplicate keys are noted, and syntax errors are worded as Go words them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import yaml

from lab.kube.errors import quote


class SyntaxFault(ValueError):
    """A body that is not JSON (or YAML); the text is Go's."""


class Duplicates:
    """Whether any object of a document named a key twice; `paths` tells where, on demand."""

    def __init__(self) -> None:
        self.seen = False

    def hook(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """For json's object_pairs_hook."""
        made = dict(pairs)
        if len(made) != len(pairs):
            self.seen = True
        return made


def _constant(text: str) -> Any:
    raise SyntaxFault(f"invalid character {text[:1]!r} looking for beginning of value")


def loads(text: str | bytes) -> tuple[Any, bool]:
    """The value, and whether some key stood twice in an object. Raises SyntaxFault."""
    noted = Duplicates()
    try:
        source = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        return json.loads(source, object_pairs_hook=noted.hook, parse_constant=_constant), noted.seen
    except RecursionError:
        raise SyntaxFault("exceeded max depth") from None
    except ValueError as error:
        raise SyntaxFault(explain(source)) from error


def duplicate_paths(text: str | bytes) -> list[str]:
    """Paths like "spec.ports[0].name" of the keys that stand twice, in document order, each once."""
    source = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    tree = json.loads(source, object_pairs_hook=lambda pairs: _Pairs(pairs))
    found: list[str] = []
    _walk(tree, "", found)
    return list(dict.fromkeys(found))


class _Pairs(list[tuple[str, Any]]):
    """An object with all of its keys."""


def _walk(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen = set()
        for key, entry in value:
            here = f"{path}.{key}" if path else key
            if key in seen:
                found.append(here)
            seen.add(key)
            _walk(entry, here, found)
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            _walk(entry, f"{path}[{place}]", found)


def load_yaml(text: bytes) -> Any:
    """One YAML document as JSON values. Raises SyntaxFault."""
    try:
        return _plain(yaml.load(text, yaml.CSafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SyntaxFault(f"error converting YAML to JSON: yaml: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is not None:
        return f"line {mark.line + 1}: {problem}"
    return str(error).splitlines()[0]


def _plain(value: Any) -> Any:
    """YAML's dates and odd keys as JSON has them."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else _key(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SyntaxFault(f"json: unsupported value: {value}")
        return int(value) if value.is_integer() else value
    if hasattr(value, "isoformat"):
        text = str(value.isoformat())
        return text.replace("+00:00", "Z") if "T" in text else text
    return str(value)


def _key(key: Any) -> str:
    return (
        {True: "true", False: "false", None: "null"}.get(key, str(key))
        if not isinstance(key, int | float) or isinstance(key, bool)
        else str(key)
    )


# ---------------------------------------------------------------------------------------- Go's scanner, for its errors
def explain(text: str) -> str:
    """The message of Go's encoding/json for a text that is not JSON."""
    scanner = _Scanner(text)
    try:
        scanner.value()
        scanner.space()
        if scanner.at < len(text):
            scanner.fail("after top-level value")
    except SyntaxFault as fault:
        return str(fault)
    return "unexpected end of JSON input"


class _Scanner:
    """Walks a text to the place where Go gives up."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, context: str) -> None:
        if self.at >= len(self.text):
            raise SyntaxFault("unexpected end of JSON input")
        raise SyntaxFault(f"invalid character {go_char(self.text[self.at])} {context}")

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
            self.at += 1

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def value(self) -> None:
        self.space()
        char = self.peek()
        if char == "{":
            self.members("}", self.member, "after object key:value pair")
        elif char == "[":
            self.members("]", self.value, "after array element")
        elif char == '"':
            self.string()
        elif char and char in "-0123456789":
            self.number()
        elif char and char in "tfn":
            self.word({"t": "true", "f": "false", "n": "null"}[char])
        else:
            self.fail("looking for beginning of value")

    def members(self, end: str, each: Callable[[], None], after: str) -> None:
        self.at += 1
        self.space()
        if self.peek() == end:
            self.at += 1
            return
        while True:
            each()
            self.space()
            if self.peek() == end:
                self.at += 1
                return
            if self.peek() != ",":
                self.fail(after)
            self.at += 1

    def member(self) -> None:
        self.space()
        if self.peek() != '"':
            self.fail("looking for beginning of object key string")
        self.string()
        self.space()
        if self.peek() != ":":
            self.fail("after object key")
        self.at += 1
        self.value()

    def string(self) -> None:
        self.at += 1
        while True:
            char = self.peek()
            if char == "":
                self.fail("")
            if char == '"':
                self.at += 1
                return
            if char == "\\":
                self.at += 1
                if self.peek() not in '"\\/bfnrtu':
                    self.fail("in string escape code")
            elif char < " ":
                self.fail("in string literal")
            self.at += 1

    def number(self) -> None:
        if self.peek() == "-":
            self.at += 1
            if not self.peek().isdigit():
                self.fail("in numeric literal")
        if self.peek() == "0":
            self.at += 1
        else:
            self.digits()
        if self.peek() == ".":
            self.at += 1
            if not self.peek().isdigit():
                self.fail("after decimal point in numeric literal")
            self.digits()
        if self.peek() and self.peek() in "eE":
            self.at += 1
            if self.peek() and self.peek() in "+-":
                self.at += 1
            if not self.peek().isdigit():
                self.fail("in exponent of numeric literal")
            self.digits()

    def digits(self) -> None:
        while self.peek().isdigit():
            self.at += 1

    def word(self, wanted: str) -> None:
        for place, char in enumerate(wanted):
            if self.peek() != char:
                self.fail(f"in literal {wanted} (expecting {go_char(wanted[place])})")
            self.at += 1


def go_char(char: str) -> str:
    """A character in single quotes as Go's scanner prints it."""
    if char == "'":
        return "'\\''"
    if char == '"':
        return "'\"'"
    return "'" + quote(char)[1:-1] + "'"
