"""Schemas of custom resources: pruning, defaulting, validation of values, with the real server's words.

Schemas are JSON as in a CRD (`openAPIV3Schema`). Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema (v0.33) and
k8s.io/kube-openapi/pkg/validation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from lab.kube import errors
from lab.kube.errors import FieldError
from lab.kube.plain import canonical, clone, same
from lab.kube.schema import formats, gotypes
from lab.kube.schema.smd import ABSENT

Schema = Mapping[str, Any]
NOTHING: Final[Schema] = {}
_ROOT_FIELDS: Final = ("apiVersion", "kind", "metadata")


def preserves(schema: Schema) -> bool:
    """Whether undeclared fields are kept."""
    return schema.get("x-kubernetes-preserve-unknown-fields") is True


def child(schema: Schema, key: str) -> Schema | None:
    """The schema of a field; None where none is declared."""
    properties = schema.get("properties")
    if properties and key in properties:
        return properties[key]  # type: ignore[no-any-return]  # a schema by construction
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        return more
    return NOTHING if more is True else None


# -------------------------------------------------------------------------------------------------------------- prune
def prune(obj: dict[str, Any], schema: Schema) -> list[str]:
    """Drop what the schema does not declare, in place; the paths of what was dropped, in document order."""
    dropped: list[str] = []
    _prune_map(obj, schema, "", dropped, resource=True)
    return dropped


def _prune(value: Any, schema: Schema, path: str, dropped: list[str]) -> None:
    if isinstance(value, dict):
        _prune_map(value, schema, path, dropped, resource=schema.get("x-kubernetes-embedded-resource") is True)
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for place, entry in enumerate(value):
                _prune(entry, items, f"{path}[{place}]", dropped)
        elif not preserves(schema):
            for place, entry in enumerate(value):
                _prune(entry, NOTHING, f"{path}[{place}]", dropped)


def _prune_map(value: dict[str, Any], schema: Schema, path: str, dropped: list[str], *, resource: bool) -> None:
    keeps = preserves(schema)
    for key in list(value):
        if resource and key in _ROOT_FIELDS:
            continue
        here = f"{path}.{key}" if path else key
        inner = child(schema, key)
        if inner is not None:
            _prune(value[key], inner, here, dropped)
        elif not keeps:
            del value[key]
            dropped.append(here)


# ------------------------------------------------------------------------------------------------------------- default
def _null_not_allowed(value: Any, schema: Schema) -> bool:
    return value is None and schema.get("nullable") is not True


def default(value: Any, schema: Schema) -> None:
    """Fill in defaults, in place, and drop nulls that are not allowed."""
    _default(value, schema)
    _drop_nulls(value, schema)


def _default(value: Any, schema: Schema) -> None:
    if isinstance(value, dict):
        properties = schema.get("properties") or NOTHING
        for key, inner in properties.items():
            if inner.get("default") is not None and (key not in value or _null_not_allowed(value[key], inner)):
                value[key] = clone(inner["default"])
        more = schema.get("additionalProperties")
        for key in value:
            inner = properties.get(key)
            if inner is None and isinstance(more, dict):
                inner = more
                if _null_not_allowed(value[key], inner) and inner.get("default") is not None:
                    value[key] = clone(inner["default"])
            if inner is not None:
                _default(value[key], inner)
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for place, entry in enumerate(value):
                if _null_not_allowed(entry, items) and items.get("default") is not None:
                    value[place] = clone(items["default"])
                _default(value[place], items)


def _drop_nulls(value: Any, schema: Schema) -> None:
    if isinstance(value, dict):
        for key in list(value):
            inner = child(schema, key)
            if inner is None or inner is NOTHING:
                continue
            if _null_not_allowed(value[key], inner):
                del value[key]
            else:
                _drop_nulls(value[key], inner)
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for entry in value:
                _drop_nulls(entry, items)


# ---------------------------------------------------------------------------------------------------- value validation
class _Result:
    """Errors, and how many checks went well: the best failure of an anyOf is the one with most of them."""

    __slots__ = ("found", "matches")

    def __init__(self, found: list[FieldError] | None = None, matches: int = 0) -> None:
        self.found = found or []
        self.matches = matches

    def add(self, other: _Result) -> None:
        self.found += other.found
        self.matches += other.matches


def validate(value: Any, schema: Schema, old: Any = ABSENT) -> list[FieldError]:
    """Violations of a value, the root of an object. What is unchanged from `old` is not judged again."""
    return _validate(value, schema, "", old).found


def _field(path: str) -> str:
    return path.removeprefix(".") or "<nil>"


def _types(schema: Schema) -> tuple[str, ...]:
    if schema.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    return (schema["type"],) if schema.get("type") else ()


def _validate(value: Any, schema: Schema, path: str, old: Any) -> _Result:
    if old is not ABSENT and same(value, old):
        return _Result(matches=1)
    result = _Result()
    types = _types(schema)
    if value is None:
        if types and not schema.get("nullable"):
            result.add(_type_failure(path, ",".join(types), "null"))
        if schema.get("enum") is not None:
            result.add(_enum(value, schema, path))
        return result
    if types or schema.get("format"):
        result.add(_type(value, types, formats.known(schema.get("format", "")), path))
        result.matches += 1
    result.add(_combined(value, schema, path, old))
    result.matches += 1
    if isinstance(value, str):
        result.add(_string(value, schema, path))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        result.add(_number(value, schema, types, path))
    elif isinstance(value, list):
        result.add(_list(value, schema, path, old))
    if schema.get("enum") is not None:
        result.add(_enum(value, schema, path))
    result.matches += 1
    if isinstance(value, dict):
        result.add(_map(value, schema, path, old))
    result.matches += 1
    return result


def _failure(path: str, value: Any, text: str) -> _Result:
    return _Result([errors.wrong(_field(path), value, text)])


def _type_failure(path: str, wanted: str, found: str) -> _Result:
    text = f"{path} in body must be of type {wanted}: {errors.quote(found)}"
    return _Result([FieldError(errors.TYPE_INVALID, _field(path), found, text)])


def _type(value: Any, types: tuple[str, ...], form: str, path: str) -> _Result:
    if isinstance(value, bool):
        sort = "boolean"
    elif isinstance(value, str):
        sort = "string"
    elif isinstance(value, int):
        sort = "integer"
    elif isinstance(value, float):
        sort = "number"
    else:
        sort = "array" if isinstance(value, list) else "object"
    float_as_int = sort == "number" and value.is_integer() and "integer" in types
    int_as_float = sort == "integer" and "number" in types
    fits = sort in types or float_as_int or int_as_float
    own_format = {"integer": "int64", "number": "float64"}.get(sort, "")
    if sort not in ("string", "array") and form and not (fits or own_format == form):
        return _type_failure(path, form, own_format)
    if not ({"number", "integer"} & set(types)) and form and sort in ("string", "array"):
        return _Result(matches=1)
    if not types or fits:
        return _Result(matches=1) if types else _type_failure(path, "", sort)
    return _type_failure(path, ",".join(types), sort)


def _string(value: str, schema: Schema, path: str) -> _Result:
    most, least, pattern = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    result = _Result(matches=1)
    if most is not None and len(value) > most:
        result.found.append(errors.too_long(_field(path), int(most)))
    elif least is not None and len(value) < least:
        result.add(_failure(path, value, f"{path} in body should be at least {int(least)} chars long"))
    elif pattern and not regex(pattern).search(value):
        result.add(_failure(path, value, f"{path} in body should match '{pattern}'"))
    form = schema.get("format", "")
    if form and formats.known(form):
        result.matches += 1
        if not formats.valid(form, value):
            text = f"{path} in body must be of type {form}: {errors.quote(value)}"
            result.found.append(FieldError(errors.TYPE_INVALID, _field(path), value, text))
    return result


@lru_cache(maxsize=2048)
def regex(pattern: str) -> re.Pattern[str]:
    """A Go regular expression as Python's: $ and \\z mean the end of the text."""
    translated = pattern.replace(r"\z", r"\Z")
    translated = re.sub(r"(?<!\\)((?:\\\\)*)\$(?=$|\)|\|)", r"\1\\Z", translated)
    translated = re.sub(
        r"\\[pP](?:\{(\w+)\}|(\w))", lambda match: _unicode_class(match[1] or match[2], match[0][1] == "P"), translated
    )
    translated = translated.replace("[[:alnum:]]", "[0-9A-Za-z]").replace("[:alnum:]", "0-9A-Za-z")
    translated = translated.replace("[:alpha:]", "A-Za-z").replace("[:digit:]", "0-9").replace("[:space:]", r"\s")
    return re.compile(translated, re.ASCII)


def _unicode_class(name: str, negated: bool) -> str:
    classes = {"L": "[^\\W\\d_]", "N": "\\d", "Lu": "[A-Z]", "Ll": "[a-z]"}
    return classes.get(name, "\\W" if negated else "\\w")


def _number(value: float, schema: Schema, types: tuple[str, ...], path: str) -> _Result:
    result = _Result(matches=1)
    least, most, factor = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if isinstance(value, int) and types[:1] == ("integer",) and not -(1 << 63) <= value < 1 << 63:
        text = f"Checked value must be of type integer (default format) in {path}"
        result.found.append(errors.wrong("<nil>", "", text))
    if factor and not _multiple(value, factor):
        result.add(_failure(path, value, f"{path} in body should be a multiple of {_plain(factor)}"))
    if least is not None:
        exclusive = schema.get("exclusiveMinimum") is True
        if value < least or (exclusive and value == least):
            words = "greater than" if exclusive else "greater than or equal to"
            result.add(_failure(path, value, f"{path} in body should be {words} {_plain(least)}"))
    if most is not None:
        exclusive = schema.get("exclusiveMaximum") is True
        if value > most or (exclusive and value == most):
            words = "less than" if exclusive else "less than or equal to"
            result.add(_failure(path, value, f"{path} in body should be {words} {_plain(most)}"))
    return result


def _multiple(value: float, factor: float) -> bool:
    quotient = value / factor
    return quotient == int(quotient)


def _plain(number: float) -> str:
    if isinstance(number, float) and number.is_integer() and abs(number) < 1e21:
        return str(int(number))
    return str(number)


def _enum(value: Any, schema: Schema, path: str) -> _Result:
    allowed = schema["enum"]
    if any(same(value, one) for one in allowed):
        return _Result()
    texts = [one if isinstance(one, str) else json.dumps(one, separators=(",", ":")) for one in allowed]
    return _Result([errors.unsupported(_field(path), value, texts)])


def _list(value: list[Any], schema: Schema, path: str, old: Any) -> _Result:
    result = _Result(matches=1)
    items = schema.get("items")
    if isinstance(items, dict):
        before = _correlated(old, schema)
        for place, entry in enumerate(value):
            earlier = before(place, entry) if before else ABSENT
            result.add(_validate(entry, items, f"{path}[{place}]", earlier))
    least, most = schema.get("minItems"), schema.get("maxItems")
    if least is not None and len(value) < least:
        result.add(_failure(path, len(value), f"{path} in body should have at least {int(least)} items"))
    if most is not None and len(value) > most:
        result.found.append(errors.too_many(_field(path), len(value), int(most)))
    if schema.get("uniqueItems") and len({canonical(entry) for entry in value}) != len(value):
        result.add(_failure(path, "", f"{path} in body shouldn't contain duplicates"))
    return result


def _correlated(old: Any, schema: Schema) -> Any:
    """How to find the former item of a list: by keys, by position in an atomic list of equal items; None where it cannot be."""
    if not isinstance(old, list):
        return None
    if schema.get("x-kubernetes-list-type") == "map":
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        index = {_map_key(entry, keys): entry for entry in old if isinstance(entry, dict)}
        return lambda place, entry: index.get(_map_key(entry, keys), ABSENT) if isinstance(entry, dict) else ABSENT
    return None


def _map_key(entry: dict[str, Any], keys: Any) -> str:
    return json.dumps([entry.get(key) for key in keys])


def _map(value: dict[str, Any], schema: Schema, path: str, old: Any) -> _Result:
    result = _Result(matches=1)
    before = old if isinstance(old, dict) and schema.get("x-kubernetes-map-type") != "atomic" else NOTHING
    least, most = schema.get("minProperties"), schema.get("maxProperties")
    if least is not None and len(value) < least:
        result.add(_failure(path, len(value), f"{path} in body should have at least {int(least)} properties"))
    if most is not None and len(value) > most:
        result.found.append(errors.too_many(_field(path), len(value), int(most)))
    properties, more = schema.get("properties") or NOTHING, schema.get("additionalProperties")
    for key, entry in value.items():
        inner = properties.get(key)
        here = f"{path}.{key}" if path or inner is None else key
        if inner is None and isinstance(more, dict):
            inner = more
        elif inner is None and more is False:
            result.add(_failure(path, "", f"{path}.{key} in body is a forbidden property"))
        if inner is not None:
            result.add(_validate(entry, inner, here, before.get(key, ABSENT)))
    for key in schema.get("required") or ():
        if key not in value:
            result.found.append(errors.required(_field(f"{path}.{key}")))
    return result


def _combined(value: Any, schema: Schema, path: str, old: Any) -> _Result:
    """allOf, anyOf, oneOf and not. Source: schema_props.go."""
    result = _Result(matches=1)
    if schema.get("anyOf"):
        tried = [_validate(value, part, path, ABSENT) for part in schema["anyOf"]]
        good = next((one for one in tried if not one.found), None)
        if good is None:
            result.add(_failure_of_schema(f'"{path}" must validate at least one schema (anyOf)'))
        result.add(good or _best(tried))
    if schema.get("oneOf"):
        tried = [_validate(value, part, path, ABSENT) for part in schema["oneOf"]]
        good_ones = [one for one in tried if not one.found]
        if len(good_ones) == 1:
            result.add(good_ones[0])
        else:
            words = "Found none valid" if not good_ones else f"Found {len(good_ones)} valid alternatives"
            result.add(_failure_of_schema(f'"{path}" must validate one and only one schema (oneOf). {words}'))
            if not good_ones:
                result.add(_best(tried))
    if schema.get("allOf"):
        tried = [_validate(value, part, path, ABSENT) for part in schema["allOf"]]
        for one in tried:
            result.add(one)
        good_count = sum(not one.found for one in tried)
        if good_count != len(tried):
            words = "" if good_count else ". None validated"
            result.add(_failure_of_schema(f'"{path}" must validate all the schemas (allOf){words}'))
    if schema.get("not") is not None and not _validate(value, schema["not"], path, ABSENT).found:
        result.add(_failure_of_schema(f'"{path}" must not validate the schema (not)'))
    return result


def _failure_of_schema(text: str) -> _Result:
    return _Result([errors.wrong("<nil>", "", text)])


def _best(tried: list[_Result]) -> _Result:
    best = tried[0]
    for one in tried[1:]:
        if one.matches > best.matches:
            best = one
    return best


# ---------------------------------------------------------------------------------------------------- lists' invariants
def validate_lists(value: Any, schema: Schema, path: str = "") -> list[FieldError]:
    """Duplicates in lists of type set and map. Source: schema/listtype validation.go."""
    found: list[FieldError] = []
    if isinstance(value, dict):
        for key, entry in value.items():
            inner = child(schema, key)
            if inner:
                properties = schema.get("properties") or NOTHING
                here = (f"{path}.{key}" if path else key) if key in properties else f"{path}[{key}]"
                found += validate_lists(entry, inner, here)
    elif isinstance(value, list):
        found += _duplicates(value, schema, path)
        items = schema.get("items")
        if isinstance(items, dict):
            for place, entry in enumerate(value):
                found += validate_lists(entry, items, f"{path}[{place}]")
    return found


def _duplicates(value: list[Any], schema: Schema, path: str) -> list[FieldError]:
    sort = schema.get("x-kubernetes-list-type")
    if sort not in ("set", "map"):
        return []
    found, seen, told = [], set(), set()
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    for place, entry in enumerate(value):
        shown: Any = entry
        if sort == "map":
            if not isinstance(entry, dict):
                continue
            shown = {key: entry[key] for key in keys if key in entry}
        text = canonical(shown)
        if text in seen and text not in told:
            told.add(text)
            found.append(errors.duplicate(f"{path}[{place}]", shown))
        seen.add(text)
    return found


# ---------------------------------------------------------------------------------------------------- embedded objects
def metadata_type() -> gotypes.Type:
    """The type of every object's metadata."""
    return gotypes.types().named("meta/v1.ObjectMeta")


def coerce_metadata(value: Any, schema: Schema, path: str, *, unknown: list[str]) -> str:
    """Bring metadata of embedded resources into form, in place; the first complaint, or nothing.

    Source: schema/objectmeta coerce.go.
    """
    if isinstance(value, dict):
        if schema.get("x-kubernetes-embedded-resource") is True and path:
            complaint = _coerce_embedded(value, path, unknown)
            if complaint:
                return complaint
        for key, entry in value.items():
            inner = child(schema, key)
            if inner and not (not path and key == "metadata"):
                complaint = coerce_metadata(entry, inner, f"{path}.{key}" if path else key, unknown=unknown)
                if complaint:
                    return complaint
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for place, entry in enumerate(value):
            complaint = coerce_metadata(entry, schema["items"], f"{path}[{place}]", unknown=unknown)
            if complaint:
                return complaint
    return ""


def _coerce_embedded(value: dict[str, Any], path: str, unknown: list[str]) -> str:
    for key in ("apiVersion", "kind"):
        if key in value and not isinstance(value[key], str):
            return errors.wrong(f"{path}.{key}", value[key], "must be a string").text
    if "metadata" not in value:
        return ""
    notes = gotypes.Notes()
    done = metadata_type().conform(value["metadata"], notes)
    if notes.error:
        shown = value["metadata"]
        return errors.wrong(f"{path}.metadata", shown, notes.error).text
    unknown += [f"{path}.metadata.{name}" for name in notes.unknown]
    value["metadata"] = {key: entry for key, entry in done.items() if entry is not None}
    if not value["metadata"]:
        value["metadata"] = {}
    return ""
