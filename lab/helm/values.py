"""Values: merging, `--set` expressions, and the check against a chart's schema. Pure.

Source: helm v3.19 pkg/strvals, pkg/chartutil/coalesce.go, pkg/chartutil/jsonschema.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from lab.kube.plain import clone

Values = dict[str, Any]


class SetError(ValueError):
    """A `--set` expression that does not parse; the message is strvals'."""


def coalesce(base: Mapping[str, Any], over: Mapping[str, Any]) -> Values:
    """`base` (defaults) under `over`; a null in `over` removes the default."""
    out: Values = clone(dict(base))
    for key, value in over.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = coalesce(out[key], value)
        else:
            out[key] = clone(value)
    return out


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Values:
    """Two values files, the later wins; a null is kept, to remove a default later."""
    out: Values = clone(dict(base))
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = merge(out[key], value)
        else:
            out[key] = clone(value)
    return out


def apply_set(values: Values, expression: str, *, as_string: bool = False, as_json: bool = False) -> None:
    """Apply `a.b[0]=x,c=y` in place. Raises SetError."""
    if as_json:
        key, _, text = expression.partition("=")
        try:
            _assign(values, list(_path(key)), json.loads(text))
        except json.JSONDecodeError as error:
            raise SetError(f"key {key!r}: {error}") from error
        return
    for part in _split(expression, ","):
        key, separator, text = _cut(part)
        if not separator:
            raise SetError(f'key "{key}" has no value')
        _assign(values, list(_path(key)), _read(text, as_string=as_string))


def _split(text: str, separator: str) -> list[str]:
    """Split outside of braces and escapes."""
    parts, current, depth, escaped = [], "", 0, False
    for char in text:
        if escaped:
            current += "\\" + char
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == separator and depth == 0:
            parts.append(current)
            current = ""
        else:
            depth += (char == "{") - (char == "}")
            current += char
    return [*parts, current]


def _cut(part: str) -> tuple[str, str, str]:
    match = re.match(r"((?:\\.|[^=\\])*)(=?)(.*)", part, re.S)
    assert match is not None  # every part of the pattern may be empty
    bracket = match[1].rfind("[")
    if bracket > match[1].rfind("]"):
        raise SetError("error parsing index: EOF")
    return match[1], match[2], match[3]


def _path(key: str) -> Iterator[str | int]:
    for piece in re.findall(r"((?:\\.|[^.\[\]\\])+)|\[([^\]]*)\]", key):
        if piece[0]:
            yield re.sub(r"\\(.)", r"\1", piece[0])
            continue
        try:
            yield int(piece[1])
        except ValueError as error:
            raise SetError(f'error parsing index: strconv.Atoi: parsing "{piece[1]}": invalid syntax') from error


def _read(text: str, *, as_string: bool) -> Any:
    if text.startswith("{") and text.endswith("}"):
        inner = text[1:-1]
        return [_read(t, as_string=as_string) for t in _split(inner, ",")] if inner else []
    plain = re.sub(r"\\(.)", r"\1", text)
    if as_string:
        return plain
    if plain in ("true", "false"):
        return plain == "true"
    if plain == "null":
        return None
    if re.fullmatch(r"0|-?[1-9][0-9]*", plain):
        return int(plain)
    return plain


def _assign(values: Any, path: list[str | int], value: Any) -> None:
    for here, after in pairwise(path):
        fresh: Any = [] if isinstance(after, int) else {}
        if isinstance(here, int):
            while len(values) <= here:
                values.append(None)
            if values[here] is None:
                values[here] = fresh
        elif not isinstance(values.get(here), dict | list):
            values[here] = fresh
        values = values[here]
    last = path[-1]
    if isinstance(last, int):
        while len(values) <= last:
            values.append(None)
    values[last] = value


def schema_errors(schema: Mapping[str, Any], value: Any, at: str = "") -> list[str]:
    """Each `at '/path': got string, want integer`, in the order of the schema. The keywords that charts use."""
    errors: list[str] = []
    wanted = schema.get("type")
    if wanted is not None:
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        if not any(_is(value, name) for name in names):
            return [f"at '{at}': got {_name(value)}, want {' or '.join(names)}"]
    if "enum" in schema and value not in schema["enum"]:
        errors.append(f"at '{at}': value must be one of {', '.join(json.dumps(v).replace(chr(34), chr(39)) for v in schema['enum'])}")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        errors.append(f"at '{at}': '{value}' does not match pattern '{schema['pattern']}'")
    if isinstance(value, int | float) and not isinstance(value, bool):
        for key, low in (("minimum", True), ("maximum", False)):
            if key in schema and (value < schema[key] if low else value > schema[key]):
                errors.append(f"at '{at}': {key}: got {value}, want {schema[key]}")
    if isinstance(value, Mapping):
        errors += _object_errors(schema, value, at)
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for i, item in enumerate(value):
            errors += schema_errors(schema["items"], item, f"{at}/{i}")
    for key in ("anyOf", "oneOf"):
        if key in schema and all(schema_errors(s, value, at) for s in schema[key]):
            errors.append(f"at '{at}': {key} failed, none matched")
    return errors


def _object_errors(schema: Mapping[str, Any], value: Mapping[str, Any], at: str) -> list[str]:
    known = schema.get("properties", {})
    missing = [f"'{k}'" for k in schema.get("required", ()) if k not in value]
    errors = [f"at '{at}': missing propert{'y' if len(missing) == 1 else 'ies'} {', '.join(missing)}"] if missing else []
    for key, inner in known.items():
        if key in value:
            errors += schema_errors(inner, value[key], f"{at}/{key}")
    extra = [k for k in value if k not in known]
    if schema.get("additionalProperties") is False and extra:
        errors.append(f"at '{at}': additional properties {', '.join(f'{chr(39)}{k}{chr(39)}' for k in extra)} not allowed")
    return errors


def _is(value: Any, name: str) -> bool:
    have = _name(value)
    return have == name or (name == "number" and have == "integer") or (name == "integer" and isinstance(value, float) and value.is_integer())


def _name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return {int: "integer", float: "number", str: "string", list: "array", dict: "object"}.get(type(value), "object")
