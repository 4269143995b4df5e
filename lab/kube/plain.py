"""JSON values: their text, their copies, whether two are the same.

orjson does the work several times as fast as the standard library. What it refuses (numbers beyond 64 bits, half surrogates,
very deep nesting) goes the standard way, so the text is the same one. For bodies that clients send see lab/kube/gojson.py.
"""

from __future__ import annotations

import copy
import json
import marshal
from typing import Any, TypeVar, cast

import orjson

Value = TypeVar("Value")


def clone(value: Value) -> Value:
    """A deep copy of a JSON value; of anything else too, only slower.

    marshal writes and reads the built-in types in C, several times as fast as copy.deepcopy walks them; it refuses subclasses.
    """
    try:
        made: Value = marshal.loads(marshal.dumps(cast(Any, value)))  # what it takes is found out by trying
    except ValueError:
        return copy.deepcopy(value)
    return made


def text(value: Any) -> bytes:
    """Compact JSON, as UTF-8."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def canonical(value: Any) -> bytes:
    """Compact JSON with sorted keys: the same for the same value."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()


def value_of(own: bytes) -> Any:
    """What a text of ours says. A number beyond 64 bits becomes a float, as in Go."""
    return orjson.loads(own)


def sent(value: Any) -> Any:
    """What arrives of a value that is sent as JSON: a copy, with lists in place of tuples."""
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError:
        return json.loads(json.dumps(value))


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values print the same: 1 is neither true nor 1.0."""
    return bool(one == other) and canonical(one) == canonical(other)
