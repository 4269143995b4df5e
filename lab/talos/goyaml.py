"""YAML as Go programs write it: yaml.v3 with an indent of four (Talos), and sigs.k8s.io/yaml with sorted keys (kubectl, patches)."""

from __future__ import annotations

import re
from typing import Any

import yaml

from lab.talos.loader import SafeLoader

PLAIN = re.compile(r"[A-Za-z0-9_/.][A-Za-z0-9_/.:@%+=~,;()!\[\]{}<>|*&^$ -]*", re.ASCII)


def dump(value: Any) -> str:
    """yaml.v3's text of a document, with an indent of four."""
    if isinstance(value, dict | list) and value:
        return "\n".join(_lines(value, 0)) + "\n"
    return f"{_scalar(value)}\n"


def dump_sorted(value: Any) -> str:
    """What sigs.k8s.io/yaml writes: keys sorted, lists not indented, two blanks a level."""
    text: str = yaml.dump(
        value, Dumper=_Sorted, default_flow_style=False, sort_keys=True, allow_unicode=True, width=10**9
    )
    return text


def _lines(value: Any, column: int) -> list[str]:
    pad = " " * column
    lines: list[str] = []
    if isinstance(value, dict):
        for key, item in value.items():
            lines += _entry(f"{pad}{_scalar(str(key))}:", item, column + 4)
        return lines
    for item in value:
        if isinstance(item, dict) and item:
            inner = _item(item, column)
            lines += [f"{pad}- {inner[0].lstrip()}", *inner[1:]]
        elif isinstance(item, list) and item:
            inner = _lines(item, column + 2)
            lines += [f"{pad}- {inner[0].lstrip()}", *inner[1:]]
        else:
            lines += _entry(f"{pad}-", item, column + 2)
    return lines


def _item(item: dict[str, Any], column: int) -> list[str]:
    """A mapping in a list: its keys stand two right of the dash, what they hold four right of it."""
    lines: list[str] = []
    for key, value in item.items():
        lines += _entry(f"{' ' * (column + 2)}{_scalar(str(key))}:", value, column + 4)
    return lines


def _entry(start: str, item: Any, column: int) -> list[str]:
    if isinstance(item, dict | list) and item:
        return [start, *_lines(item, column)]
    if isinstance(item, str) and "\n" in item.rstrip("\n"):
        chomp = "|" if item.endswith("\n") else "|-"
        return [
            f"{start} {chomp}",
            *(f"{' ' * column}{line}" if line else "" for line in item.rstrip("\n").split("\n")),
        ]
    if item is None:
        return [start]
    return [f"{start} {_scalar(item)}"]


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list):
        return "[]"
    if not isinstance(value, str):
        return str(value)
    if value == "" or not _is_text(value) or "\n" in value:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if PLAIN.fullmatch(value) and ": " not in value and " #" not in value and not value.endswith((":", " ")):
        return value
    return "'" + value.replace("'", "''") + "'"


def _is_text(value: str) -> bool:
    """Whether a plain scalar would be read back as text."""
    resolvers = SafeLoader.yaml_implicit_resolvers
    return not any(regexp.match(value) for first in (value[:1], None) for _, regexp in resolvers.get(first, ()))


class _Sorted(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _quoted(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else '"' if value == "" else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Sorted.add_representer(str, _quoted)
