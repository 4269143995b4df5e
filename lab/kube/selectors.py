"""Label and field selectors: parsing with the real server's words, and matching.

Source: k8s.io/apimachinery/pkg/labels selector.go and pkg/fields selector.go (v0.33).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from lab.kube import errors, names

_SYMBOLS: Final = "=!(),><"
_TOKENS: Final = {")", ",", "!", "==", "=", ">", "in", "<", "!=", "notin", "("}
_BINARY: Final = "in, notin, =, ==, !=, gt, lt"
END: Final = ""


class SelectorError(ValueError):
    """Not a selector; the text is the real server's."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term. Operators: in, notin, exists, !, gt, lt; equality is `in` with one value."""

    key: str
    operator: str
    values: frozenset[str]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels fulfil the term."""
        value = labels.get(self.key)
        if self.operator == "in":
            return value is not None and value in self.values
        if self.operator == "notin":
            return value is None or value not in self.values
        if self.operator == "exists":
            return value is not None
        if self.operator == "!":
            return value is None
        return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        if not re.fullmatch(r"[+-]?\d+", value):
            return False
        bound = int(next(iter(self.values)))
        return int(value) > bound if self.operator == "gt" else int(value) < bound


Selector = tuple[Requirement, ...]


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether labels fulfil all terms; an empty selector matches everything."""
    return all(term.matches(labels) for term in selector)


@lru_cache(maxsize=512)
def parse_labels(text: str) -> Selector:
    """Raises SelectorError."""
    return _Parser(list(_lex(text))).parse() if text else ()


def _lex(text: str) -> Iterable[tuple[str, str]]:
    """Pairs of token and literal; the token of identifiers is "id", that of the end is END."""
    at = 0
    while True:
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        if at >= len(text):
            yield END, ""
            return
        start = at
        if text[at] in _SYMBOLS:
            at += 1
            while at < len(text) and text[at] in _SYMBOLS and text[start : at + 1] in _TOKENS:
                at += 1
            yield text[start:at], text[start:at]
        else:
            while at < len(text) and text[at] not in _SYMBOLS and text[at] not in " \t\r\n":
                at += 1
            word = text[start:at]
            yield (word if word in ("in", "notin") else "id"), word


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens, self._at = tokens, 0

    def _look(self, *, values: bool = True) -> tuple[str, str]:
        token, literal = self._tokens[min(self._at, len(self._tokens) - 1)]
        return ("id" if values and token in ("in", "notin") else token), literal

    def _take(self, *, values: bool = True) -> tuple[str, str]:
        found = self._look(values=values)
        self._at += 1
        return found

    def parse(self) -> Selector:
        terms: list[Requirement] = []
        while True:
            token, literal = self._look()
            if token == END:
                break
            if token not in ("id", "!"):
                raise SelectorError(f"found '{literal}', expected: !, identifier, or 'end of string'")
            try:
                terms.append(self._requirement())
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            token, literal = self._take()
            if token == END:
                break
            if token != ",":
                raise SelectorError(f"found '{literal}', expected: ',' or 'end of string'")
            token, literal = self._look()
            if token not in ("id", "!"):
                raise SelectorError(f"found '{literal}', expected: identifier after ','")
        return tuple(sorted(terms, key=lambda term: term.key))

    def _requirement(self) -> Requirement:
        token, key = self._take()
        negated = token == "!"
        if negated:
            token, key = self._take()
        if token != "id":
            raise SelectorError(f"found '{key}', expected: identifier")
        complaints = names.qualified_name(key)
        if complaints:
            raise SelectorError(errors.wrong("<nil>", key, "; ".join(complaints)).text)
        if negated:
            return Requirement(key, "!", frozenset())
        if self._look()[0] in (END, ","):
            return Requirement(key, "exists", frozenset())
        return self._binary(key)

    def _binary(self, key: str) -> Requirement:
        token, literal = self._take(values=False)
        if token not in ("in", "notin", "=", "==", "!=", ">", "<"):
            raise SelectorError(f"found '{literal}', expected: {_BINARY}")
        values = self._values() if token in ("in", "notin") else {self._exact()}
        for place, value in enumerate(sorted(values)):
            if token in "<>" and not re.fullmatch(r"[+-]?\d+", value):
                words = "for 'Gt', 'Lt' operators, the value must be an integer"
                raise SelectorError(errors.wrong(f"values[{place}]", value, words).text)
            complaints = names.label_value(value)
            if complaints:
                raise SelectorError(errors.wrong(f"values[{place}][{key}]", value, "; ".join(complaints)).text)
        operator = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}.get(token, token)
        return Requirement(key, operator, frozenset(values))

    def _exact(self) -> str:
        if self._look()[0] in (END, ","):
            return ""
        token, literal = self._take()
        if token != "id":
            raise SelectorError(f"found '{literal}', expected: identifier")
        return literal

    def _values(self) -> set[str]:
        token, literal = self._take()
        if token != "(":
            raise SelectorError(f"found '{literal}' expected: '('")
        token, literal = self._look()
        if token == ")":
            self._take()
            return {""}
        if token not in ("id", ","):
            raise SelectorError(f"found '{literal}', expected: ',', ')' or identifier")
        found = self._identifiers()
        if self._take()[0] != ")":
            raise SelectorError(f"found '{literal}', expected: ')'")
        return found

    def _identifiers(self) -> set[str]:
        found: set[str] = set()
        while True:
            token, literal = self._take()
            if token == "id":
                found.add(literal)
                token, literal = self._look()
                if token == ")":
                    return found
                if token != ",":
                    raise SelectorError(f"found '{literal}', expected: ',' or ')'")
            elif token == ",":
                if not found:
                    found.add("")
                after = self._look()[0]
                if after == ")":
                    return found | {""}
                if after == ",":
                    self._take()
                    found.add("")
            else:
                raise SelectorError(f"found '{literal}', expected: ',', or identifier")


# --------------------------------------------------------------------------------------------- LabelSelector objects
def of_object(selector: Mapping[str, Any] | None) -> Selector | None:
    """A LabelSelector object; None (no selector) matches nothing. Raises SelectorError."""
    if selector is None:
        return None
    terms = [Requirement(key, "in", frozenset((value,))) for key, value in (selector.get("matchLabels") or {}).items()]
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    for expression in selector.get("matchExpressions") or ():
        operator = operators.get(expression.get("operator", ""))
        if operator is None:
            raise SelectorError(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        terms.append(Requirement(expression["key"], operator, frozenset(expression.get("values") or ())))
    return tuple(terms)


# ----------------------------------------------------------------------------------------------------- field selectors
@dataclass(frozen=True, slots=True)
class FieldTerm:
    """`field` equals, or does not equal, `value`."""

    field: str
    value: str
    negated: bool


FieldSelector = tuple[FieldTerm, ...]


def parse_fields(text: str) -> FieldSelector:
    """Raises SelectorError."""
    terms = []
    for part in sorted(_split_terms(text)):
        if not part:
            continue
        found = re.search(r"!=|==|=", part)
        if not found:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        value = _unescape(part[found.end() :])
        terms.append(FieldTerm(part[: found.start()], value, found[0] == "!="))
    return tuple(terms)


def _split_terms(text: str) -> list[str]:
    return re.split(r"(?<!\\),", text) if text else []


def _unescape(text: str) -> str:
    made, escaped = [], False
    for char in text:
        if escaped:
            if char not in "\\,=":
                raise SelectorError(f"invalid field selector: invalid escape sequence: \\{char}")
            made.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in ",=":
            raise SelectorError(f"invalid field selector: unescaped character in value: {ord(char)}")
        else:
            made.append(char)
    if escaped:
        raise SelectorError("invalid field selector: invalid escape sequence: \\")
    return "".join(made)


def fields_match(selector: FieldSelector, read: Callable[[str], str]) -> bool:
    """Whether an object's fields, had by `read`, fulfil all terms."""
    return all((read(term.field) == term.value) != term.negated for term in selector)
