"""Reads YAML as Go's yaml.v3 does: YAML 1.2 booleans, no dates, duplicate keys refused with their lines."""

from __future__ import annotations

import re
from typing import Any

import yaml


class DuplicateKeyError(Exception):
    """A mapping has a key twice. `lines` are of the second and the first, counted from 1."""

    def __init__(self, key: str, second: int, first: int) -> None:
        super().__init__(f'line {second}: mapping key "{key}" already defined at line {first}')


class _Unambiguous(yaml.constructor.SafeConstructor):
    """Takes no duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises DuplicateKeyError."""
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise DuplicateKeyError(key.value, line, seen[key.value])
            seen[str(key.value)] = line
        return super().construct_mapping(node, deep)


class SafeLoader(_Unambiguous, yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2 and without duplicate keys."""


class _QuickLoader(_Unambiguous, yaml.CSafeLoader):
    """The same by the parser in C, ten times as fast; its errors are worded in another way."""


for _loader in (SafeLoader, _QuickLoader):
    _loader.yaml_implicit_resolvers = {
        first: [
            (tag, regexp)
            for tag, regexp in resolvers
            if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool",
        re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
        list("tTfF"),
    )


def load_all(text: str) -> list[Any]:
    """Every document. Raises yaml.YAMLError and DuplicateKeyError."""
    try:
        return _documents(text, _QuickLoader)
    except yaml.YAMLError:
        return _documents(text, SafeLoader)


def _documents(text: str, loader: Any) -> list[Any]:
    return [document for document in yaml.load_all(text, Loader=loader) if document is not None]
