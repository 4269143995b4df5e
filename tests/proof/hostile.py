"""Hostile answers: what a broken, confused or malicious program may print, and what a server may send.

Words are taken from the judges' own sources, so that deep paths are reached with wrong types behind right keys.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from orchestrator.model.query import Answer, JunosShow, Query, ToolQuery

ROOMS = ("orchestrator/tools", "phases")
LONG = 200_000
NASTY = ("", " ", "\n", "\0", "\x1b[2J\x1b]0;pwned\x07", "\u202e\u2028", "-o", "--force", "../../etc/passwd", "/", "null", "NaN", "1e999", "9" * 400, "٣", "\ud800", "a" * 5000, "{", "[[", "%s%n", "${jndi:x}", "$(reboot)")


@cache
def words() -> tuple[str, ...]:
    """Every short text that a judge's source holds: keys, states, words to look for."""
    root = Path(__file__).parents[2]
    found: set[str] = set()
    for room in ROOMS:
        for path in sorted((root / room).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and 0 < len(node.value) < 40:
                    found.add(node.value)
    return tuple(sorted(found))


def value(chance: Random, depth: int = 0) -> Any:
    """Any JSON value, of words that mean something."""
    kind = chance.randrange(10 if depth < 4 else 6)
    match kind:
        case 0:
            return chance.choice((None, True, False, 0, -1, 1 << 80, 1e308, float("inf"), float("nan")))
        case 1:
            return chance.choice(NASTY)
        case 2 | 3 | 4 | 5:
            return chance.choice(words())
        case 6 | 7:
            return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(words()): value(chance, depth + 1) for _ in range(chance.randrange(6))}


def kubernetes(chance: Random) -> Any:
    """Something like an object or a list of them."""

    def one() -> Any:
        made = {"apiVersion": "v1", "kind": chance.choice(words()), "metadata": {"name": chance.choice(words()), "labels": value(chance, 3), "annotations": value(chance, 3)}}
        for part in ("spec", "status", "data"):
            made[part] = value(chance, 1)
        if chance.random() < 0.6:
            made["status"] = {"conditions": [{"type": chance.choice(("Ready", "Available", *NASTY)), "status": chance.choice(("True", "False", 1, None)), "reason": value(chance, 4)} for _ in range(chance.randrange(3))], chance.choice(words()): value(chance, 2)}
        if chance.random() < 0.2:
            made[chance.choice(list(made))] = chance.choice((None, 1, "x", []))
        return made

    return {"kind": "List", "items": chance.choice(([one() for _ in range(chance.randrange(4))], None, {}, "x", [None], [1]))} if chance.random() < 0.5 else one()


def text(chance: Random) -> str:
    """Output of a program: JSON (whole, cut, of several documents), tables, noise."""
    match chance.randrange(7):
        case 0:
            return json.dumps(value(chance), allow_nan=True)
        case 1:
            whole = json.dumps(kubernetes(chance))
            return whole[: chance.randrange(len(whole) + 1)]
        case 2:
            return "\n".join(json.dumps(value(chance, 1)) for _ in range(chance.randrange(4)))
        case 3:
            return "\n".join("  ".join(chance.choice(words()) for _ in range(chance.randrange(8))) for _ in range(chance.randrange(12)))
        case 4:
            return "\n".join(f"{chance.choice(words())}: {chance.choice((*words(), *NASTY))}" for _ in range(chance.randrange(12)))
        case 5:
            return "".join(chr(chance.randrange(0x250)) for _ in range(chance.randrange(300)))
    return chance.choice(NASTY)


def fixed(query: Query) -> Iterator[Answer]:
    """The same hostile answers for every question."""
    bodies: tuple[Any, ...] = (None, {}, [], "", 0, True, {"items": None}, {"items": [None]}, {"items": {}}, {"status": None}, {"status": []}, {"exists": None}, {"files": None, "rendered": None, "head": 1}, {"fields": None})
    texts = ("", "{", "null", "[]", "{}", "0", '"x"', "[[[[", "\0" * 100, *NASTY, "[" * 100_000, "{" + '"a":{' * 20_000, "a" * LONG, "a: b\n" * (LONG // 10), " " * LONG, "\n" * LONG, "- " * (LONG // 2), '{"a": "' + "\\u0000" * 1000 + '"}', "set " * 20_000, "\x1b[31m" * 20_000)
    for rc in (0, 1, -9, 255):
        yield Answer(rc=rc)
    for body in bodies:
        yield Answer(status=200, body=body)
        yield Answer(status=404, body=body)
    for one in texts:
        yield Answer(stdout=one, status=200)
        yield Answer(rc=1, stderr=one, status=500, stdout=one[:100])
    for status in (None, 0, 201, 301, 401, 403, 409, 429, 500, 503, -1):
        yield Answer(status=status, body=None)
    yield Answer(unreachable="\x1b[2J" + "x" * 1000)
    yield Answer(unreachable="", timed_out=True)


def random_answer(query: Query, chance: Random) -> Answer:
    """One more, of the kind that the question may get."""
    extra: Mapping[str, Any] = MappingProxyType({}) if chance.random() < 0.7 else MappingProxyType({"headers": value(chance, 2), "live": value(chance, 1)})
    if isinstance(query, ToolQuery | JunosShow):
        return Answer(rc=chance.choice((0, 0, 0, 1, 2)), stdout=text(chance), stderr=text(chance) if chance.random() < 0.4 else "", unreachable="silent" if chance.random() < 0.05 else None)
    body = kubernetes(chance) if chance.random() < 0.7 else value(chance)
    return Answer(status=chance.choice((200, 200, 200, 404, 403, 500, None)), body=body, stdout=text(chance) if chance.random() < 0.5 else "", extra=extra, unreachable="silent" if chance.random() < 0.05 else None)
