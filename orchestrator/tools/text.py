"""YAML for people and for Git: stable, block style, no anchors; and durations as Go's flags take them.

An emitter of its own: what is written here is plain data, and PyYAML's took most of the time of compiling a site.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.@+-]*(?: [A-Za-z0-9_/.@+=,-]+)*|\d+(?:\.\d+){2,3}(?:/\d+|-[A-Za-z0-9.-]+)?|\d+[a-z]")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "~", ".", "..", ".inf", ".nan", "-", "---", "..."})
_LIKE_A_NUMBER = re.compile(r"[-+.]?\d[\d_,]*(?:\.[\d_]*)?(?:e[-+]?\d+)?|0x[0-9a-f_]+|0o?[0-7_]+|[-+]?\.(?:inf|nan)", re.IGNORECASE)


def dump(*documents: Mapping[str, Any]) -> str:
    """YAML documents in the given order of keys, `---` between them. Takes what JSON takes."""
    return "---\n".join("".join(f"{line}\n" for line in _block(document, 0)) for document in documents)


def _block(value: Any, depth: int) -> Iterator[str]:
    """The lines of a mapping or a list that is not empty."""
    pad = "  " * depth
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _entry(f"{pad}{_scalar(key)}:", one, depth)
        return
    for one in value:
        if isinstance(one, Mapping | list | tuple) and one:
            first, *rest = _block(one, depth + 1)
            yield f"{pad}- {first[len(pad) + 2 :]}"
            yield from rest
        else:
            yield from _entry(f"{pad}-", one, depth)


def _entry(head: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, Mapping | list | tuple) and value:
        yield head
        yield from _block(value, depth + 1)
    elif isinstance(value, str) and _literal(value):
        yield f"{head} |"
        yield from ("  " * (depth + 1) + line if line else "" for line in value[:-1].split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _literal(text: str) -> bool:
    """Whether a text can stand as a literal block without any indicator: it ends in one newline and begins with no blank."""
    whole = text.endswith("\n") and not text.endswith("\n\n") and len(text) > 1 and text[0] not in " \n"
    return whole and all(line.isprintable() for line in text.split("\n"))


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS and not _LIKE_A_NUMBER.fullmatch(value):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return quoted if quoted.isprintable() else "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def duration(span: timedelta) -> str:
    """As Go takes it in a flag: `10m`, `90s`."""
    seconds = int(span.total_seconds())
    return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"
