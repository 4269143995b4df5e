"""YAML as sigs.k8s.io/yaml reads and writes it: what Helm and Flux print, and what they accept.

Source: sigs.k8s.io/yaml v1.6 on go-yaml v2: sorted keys, lists at their key's indent, double quotes where a plain string would be read
as another type; no timestamps and no base-60 numbers on reading.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

Value = Any  # what JSON can hold


class YamlError(ValueError):
    """The text is not YAML; the message is worded as go-yaml's."""


class _Loader(yaml.CSafeLoader):
    pass


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _own_resolvers() -> None:
    """Copy the implicit resolvers without timestamps and with go-yaml's integers, for both directions."""
    for cls in (_Loader, _Dumper):
        table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
        for first, pairs in cls.yaml_implicit_resolvers.items():
            kept = [(t, r) for t, r in pairs if t not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int")]
            table[first] = kept
        cls.yaml_implicit_resolvers = table
        cls.add_implicit_resolver(
            "tag:yaml.org,2002:int", re.compile(r"^[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|[0-9][0-9_]*)$"), list("-+0123456789")
        )


_own_resolvers()


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    for prefix, base in (("0x", 16), ("0b", 2), ("0o", 8)):
        if digits.startswith(prefix):
            return sign * int(digits[2:], base)
    octal = len(digits) > 1 and digits.startswith("0") and all(d in "01234567" for d in digits)
    return sign * int(digits, 8 if octal else 10)


_Loader.add_constructor("tag:yaml.org,2002:int", _int)


_LOOKS_TYPED = re.compile(
    r"^(|~|null|Null|NULL|true|True|TRUE|false|False|FALSE|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|y|Y|n|N"
    r"|[-+]?(0x[0-9a-fA-F_]+|0b[01_]+|0o?[0-7_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9_]+([eE][-+]?[0-9]+)?)"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|<<|="
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ]\s*[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?(\s*(Z|[-+][0-9]{1,2}(:?[0-9]{2})?))?)?|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)$"
)


def _string(dumper: _Dumper, data: str) -> yaml.ScalarNode:
    style = None
    if _LOOKS_TYPED.match(data):
        style = '"'
    elif "\n" in data:
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _string)


def load(text: str | bytes) -> Value:
    """The one document in `text`; None where it is empty. Raises YamlError."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(_worded(error)) from error


def load_all(text: str | bytes) -> list[Value]:
    """All documents that are not empty. Raises YamlError."""
    try:
        return [doc for doc in yaml.load_all(text, _Loader) if doc is not None]
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(_worded(error)) from error


def dump(value: Value) -> str:
    """Block style with sorted keys and a final newline."""
    return yaml.dump(value, Dumper=_Dumper, default_flow_style=False, sort_keys=True, width=10**9, allow_unicode=True)


def dump_all(values: list[Value]) -> str:
    """Each document behind its own `---` line."""
    return "".join(f"---\n{dump(value)}" for value in values)


def _worded(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        problem = error.problem or "could not parse"
        mark = error.problem_mark
        line = f"line {mark.line + 1}: " if mark and mark.line else ""
        return f"yaml: {line}{problem.replace('mapping values are not allowed here', 'mapping values are not allowed in this context')}"
    return f"yaml: {error}"
