"""CustomResourceDefinitions. Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation (v0.33).

The real server judges an internal form in which what all versions share stands at the top of the spec; so do the paths here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from lab.kube import errors, names, plain
from lab.kube.errors import FieldError
from lab.kube.plain import clone
from lab.kube.schema import cel, celtypes, structural
from lab.kube.validation.common import IMMUTABLE, STRUCT, Errors

Json = dict[str, Any]
TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS: Final = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
REASONS: Final = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
SHARED: Final = {
    "schema": "validation", "subresources": "subresources", "additionalPrinterColumns": "additionalPrinterColumns",
    "selectableFields": "selectableFields",
}  # fmt: skip
ROOT_FIELDS: Final = {
    "description": "Description", "type": "Type", "format": "Format", "title": "Title", "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum", "minimum": "Minimum", "exclusiveMinimum": "ExclusiveMinimum", "maxLength": "MaxLength",
    "minLength": "MinLength", "pattern": "Pattern", "maxItems": "MaxItems", "minItems": "MinItems", "uniqueItems": "UniqueItems",
    "multipleOf": "MultipleOf", "required": "Required", "items": "Items", "properties": "Properties",
    "externalDocs": "ExternalDocs", "example": "Example", "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields",
    "x-kubernetes-validations": "XValidations",
}  # fmt: skip
META: Final = ("metadata", "kind", "apiVersion")
INT_OR_STRING: Final = [{"type": "integer"}, {"type": "string"}]
LIST_MAP_KEY: Final = "this property is in x-kubernetes-list-map-keys, so it"
SELECTABLE: Final = (
    "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
)
APPROVED: Final = "api-approved.kubernetes.io"


def definition(new: Json, old: Json | None) -> Errors:
    """Creation and update."""
    spec = new["spec"]
    result = _spec(spec, old)
    if old is not None:
        result += _fixed(spec, old)
    status = new.get("status") or {}
    result += _names(status.get("acceptedNames") or {}, "status.acceptedNames")
    result += _stored(status.get("storedVersions") or [], spec.get("versions") or [])
    result += _approval(new, old)
    if spec.get("preserveUnknownFields") and not (old or {}).get("spec", {}).get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        result.append(errors.wrong("spec.preserveUnknownFields", True, text))
    return result


def status(new: Json, old: Json | None) -> Errors:
    """The status subresource."""
    return _names((new.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames")


def name_complaints(new: Json) -> Errors:
    """The name says what is defined."""
    spec, name = new["spec"], new["metadata"].get("name", "")
    wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
    return (
        []
        if name == wanted or not name
        else [errors.wrong("metadata.name", name, 'must be spec.names.plural+"."+spec.group')]
    )


def _fixed(spec: Json, old: Json) -> Errors:
    before = old["spec"]
    pairs: list[tuple[str, Any, Any]] = []
    mine, theirs = spec.get("names") or {}, before.get("names") or {}
    if any(
        one.get("type") == "Established" and one.get("status") == "True"
        for one in (old.get("status") or {}).get("conditions") or ()
    ):
        pairs += [("spec.scope", spec.get("scope", ""), before.get("scope", ""))]
        pairs += [("spec.names.kind", mine.get("kind", ""), theirs.get("kind", ""))]
    pairs += [("spec.group", spec.get("group", ""), before.get("group", ""))]
    pairs += [("spec.names.plural", mine.get("plural", ""), theirs.get("plural", ""))]
    return [errors.wrong(field, now, IMMUTABLE) for field, now, then in pairs if now != then]


def _stored(stored: list[str], versions: list[Json]) -> Errors:
    here = "status.storedVersions"
    if not stored:
        return [errors.wrong(here, errors.Raw("[]string(nil)"), "must have at least one stored version")]
    result: Errors = []
    known = {one.get("name") for one in versions}
    left = set(stored)
    for one in versions:
        if one.get("storage") and one.get("name") not in left:
            result.append(errors.wrong(here, stored, f"must have the storage version {one.get('name', '')}"))
        left.discard(one.get("name"))
    for place, name in enumerate(stored):
        if name not in known:
            text = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a "
                f"storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            )
            result.append(errors.wrong(f"{here}[{place}]", name, text))
    return result


def _approval(new: Json, old: Json | None) -> Errors:
    group = new["spec"].get("group", "")
    if not (group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io")):
        return []
    notes = new["metadata"].get("annotations") or {}
    said = notes.get(APPROVED)
    if old is not None and (old["metadata"].get("annotations") or {}).get(APPROVED) == said:
        return []
    here = f"metadata.annotations[{APPROVED}]"
    if not said:
        text = 'protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111'
        return [errors.required(here, text)]
    if said.startswith("unapproved") or re.match(r"https?://[^/]+", said):
        return []
    text = 'protected groups must have approval annotation "api-approved.kubernetes.io" with either a URL or a reason starting with "unapproved", see https://github.com/kubernetes/enhancements/pull/1111'
    return [errors.wrong(here, said, text)]


# ---------------------------------------------------------------------------------------------------------------- spec
def _internal(spec: Json) -> Json:
    """With what all versions share at the top."""
    made = dict(spec)
    versions = [dict(one) for one in spec.get("versions") or ()]
    for key, top in SHARED.items():
        first = versions[0].get(key) if versions else None
        if first and all(one.get(key) == first for one in versions):
            made[top] = first
            for one in versions:
                one.pop(key, None)
    made["versions"] = versions
    if versions:
        made["version"] = versions[0].get("name", "")
    return made


def _schemas(spec: Json) -> Iterator[Json]:
    for one in spec.get("versions") or ():
        found = (one.get("schema") or {}).get("openAPIV3Schema")
        if isinstance(found, dict):
            yield found


def nodes(schema: Any) -> Iterator[Json]:
    """A schema and everything below it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("items", "not", "additionalProperties"):
        yield from nodes(schema.get(key))
    for key in ("allOf", "anyOf", "oneOf"):
        for one in schema.get(key) or ():
            yield from nodes(one)
    for one in (schema.get("properties") or {}).values():
        yield from nodes(one)


def _spec(given: Json, old: Json | None) -> Errors:
    return list(_judged(plain.text(given), _unchanged(given, old)))


@lru_cache(maxsize=128)
def _judged(written: bytes, unchanged: bool) -> tuple[FieldError, ...]:
    """Remembered by text: the same definitions come to every cluster, and again with every change of their status."""
    given = plain.value_of(written)
    spec = _internal(given)
    result = _group(spec.get("group", ""))
    scope = spec.get("scope", "")
    if not scope:
        result.append(errors.required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        result.append(errors.unsupported("spec.scope", scope, ("Cluster", "Namespaced")))
    if not (spec.get("validation") or {}).get("openAPIV3Schema"):
        for place, one in enumerate(spec["versions"]):
            if not (one.get("schema") or {}).get("openAPIV3Schema"):
                result.append(errors.required(f"spec.versions[{place}].schema.openAPIV3Schema", "schemas are required"))
    if spec.get("preserveUnknownFields") and any(
        "default" in node for schema in _schemas(given) for node in nodes(schema)
    ):
        text = "must be false in order to use defaults in the schema"
        result.append(errors.wrong("spec.preserveUnknownFields", True, text))
    for place, one in enumerate(spec["versions"]):
        here = f"spec.versions[{place}]"
        complaints = names.dns1035_label(one.get("name", ""))
        if complaints:
            result.append(errors.wrong(f"{here}.name", one.get("name", ""), ",".join(complaints)))
        top = (
            spec.get("subresources")
            if not any(other.get("subresources") for other in spec["versions"])
            else one.get("subresources")
        )
        result += _version(one, here, (top or {}).get("status") is not None, unchanged)
    result += _identity(spec)
    result += _names(spec.get("names") or {}, "spec.names")
    live = (spec.get("subresources") or {}).get("status") is not None or any(
        (one.get("subresources") or {}).get("status") is not None for one in spec["versions"]
    )
    result += _validation(spec.get("validation"), "spec.validation", live, unchanged)
    result += _subresources(spec.get("subresources"), "spec.subresources")
    for place, column in enumerate(spec.get("additionalPrinterColumns") or ()):
        result += _column(column, f"spec.additionalPrinterColumns[{place}]")
    if spec.get("selectableFields"):
        schema = (spec.get("validation") or {}).get("openAPIV3Schema")
        if schema is None:
            text = "selectableFields may only be set when validations.schema is included"
            result.append(errors.wrong("spec.selectableFields", "", text))
        else:
            result += _selectable(spec["selectableFields"], schema, "spec.selectableFields")
    return (*result, *_conversion(spec))


def _unchanged(given: Json, old: Json | None) -> bool:
    """Whether an update leaves all schemas as they are; their rules were judged before."""
    return old is not None and list(_schemas(given)) == list(_schemas(old["spec"]))


def _group(group: str) -> Errors:
    here = "spec.group"
    if not group:
        return [errors.required(here)]
    complaints = names.dns1123_subdomain(group)
    if complaints:
        return [errors.wrong(here, group, ",".join(complaints))]
    return [] if "." in group else [errors.wrong(here, group, "should be a domain with at least one dot")]


def _identity(spec: Json) -> Errors:
    versions, result = spec["versions"], []
    every = [one.get("name", "") for one in versions]
    if len(set(every)) != len(every):
        result.append(errors.wrong("spec.versions", STRUCT, "must contain unique version names"))
    if sum(1 for one in versions if one.get("storage")) != 1:
        text = "must have exactly one version marked as storage version"
        result.append(errors.wrong("spec.versions", STRUCT, text))
    version = spec.get("version", "")
    if version and (complaints := names.dns1035_label(version)):
        result.append(errors.wrong("spec.version", version, ",".join(complaints)))
    found = spec.get("names") or {}
    return result + [
        errors.required(f"spec.names.{key}") for key in ("plural", "singular", "kind", "listKind") if not found.get(key)
    ]


def _names(found: Json, field: str) -> Errors:
    result: Errors = []
    for key in ("plural", "singular", "kind", "listKind"):
        value = found.get(key, "")
        mixed = key in ("kind", "listKind")
        complaints = names.dns1035_label(value.lower() if mixed else value) if value else []
        if complaints:
            lead = "may have mixed case, but should otherwise match: " if mixed else ""
            result.append(errors.wrong(f"{field}.{key}", value, lead + ",".join(complaints)))
    result += _labels(found.get("shortNames"), f"{field}.shortNames")
    if found.get("kind") and found["kind"] == found.get("listKind"):
        result.append(errors.wrong(f"{field}.listKind", found["listKind"], "kind and listKind may not be the same"))
    return result + _labels(found.get("categories"), f"{field}.categories")


def _labels(found: list[str] | None, field: str) -> Errors:
    result: Errors = []
    for place, value in enumerate(found or ()):
        complaints = names.dns1035_label(value)
        if complaints:
            result.append(errors.wrong(f"{field}[{place}]", value, ",".join(complaints)))
    return result


def _version(version: Json, field: str, live: bool, unchanged: bool) -> Errors:
    result: Errors = []
    said = version.get("deprecationWarning")
    if said is not None:
        result += [
            errors.wrong(f"{field}.deprecationWarning", said, text)
            for text in _warning(said, bool(version.get("deprecated")))
        ]
    result += _validation(version.get("schema"), f"{field}.schema", live, unchanged)
    result += _subresources(version.get("subresources"), f"{field}.subresources")
    for place, column in enumerate(version.get("additionalPrinterColumns") or ()):
        result += _column(column, f"{field}.additionalPrinterColumns[{place}]")
    if version.get("selectableFields"):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is not None:
            result += _selectable(version["selectableFields"], schema, f"{field}.selectableFields")
    return result


def _warning(text: str, deprecated: bool) -> list[str]:
    if not deprecated:
        return ["can only be set for deprecated versions"]
    found = ["must be <= 256 characters long"] if len(text.encode()) > 256 else []
    if not text:
        found.append("must not be an empty string")
    for place, char in enumerate(text):
        if not char.isprintable():
            found.append(
                f"must only contain printable UTF-8 characters; non-printable character found at index {place}"
            )
            break
    return found


def _column(column: Json, field: str) -> Errors:
    result: Errors = []
    if not column.get("name"):
        result.append(errors.required(f"{field}.name"))
    sort = column.get("type", "")
    text = f"must be one of {','.join(COLUMN_TYPES)}"
    if not sort:
        result.append(errors.required(f"{field}.type", text))
    elif sort not in COLUMN_TYPES:
        result.append(errors.wrong(f"{field}.type", sort, text))
    form = column.get("format", "")
    if form and form not in COLUMN_FORMATS:
        result.append(errors.wrong(f"{field}.format", form, f"must be one of {','.join(COLUMN_FORMATS)}"))
    path = column.get("jsonPath", "")
    return result + (_simple_path(path, f"{field}.JSONPath") if path else [errors.required(f"{field}.JSONPath")])


def _simple_path(path: str, field: str) -> Errors:
    if not path.startswith("."):
        return [errors.wrong(field, path, "must be a simple json path starting with .")]
    return []


def _subresources(found: Json | None, field: str) -> Errors:
    scale = (found or {}).get("scale")
    result: Errors = []
    if scale is None:
        return result
    for key, start in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        here, path = f"{field}.scale.{key}", scale.get(key, "")
        if not path:
            result.append(errors.required(here))
            continue
        complaints = _simple_path(path, here)
        if not complaints and not path.startswith(start):
            complaints = [errors.wrong(here, path, f"should be a json path under {start[:-1]}")]
        result += complaints
    path = scale.get("labelSelectorPath")
    if path:
        here = f"{field}.scale.labelSelectorPath"
        complaints = _simple_path(path, here)
        if not complaints and not path.startswith((".spec.", ".status.")):
            complaints = [errors.wrong(here, path, "should be a json path under either .spec or .status")]
        result += complaints
    return result


def _selectable(found: list[Json], schema: Json, field: str) -> Errors:
    result: Errors = []
    seen: set[str] = set()
    for place, one in enumerate(found):
        here, path = f"{field}[{place}].jsonPath", one.get("jsonPath", "")
        if not path:
            result.append(errors.required(here))
            continue
        try:
            node = _at_path(schema, path)
        except ValueError as error:
            result.append(errors.wrong(here, path, f"is an invalid path: {error}"))
            continue
        if path.split(".")[1:2] == ["metadata"]:
            result.append(errors.wrong(here, path, "must not point to fields in metadata"))
        if node is None or node.get("type") not in ("string", "boolean", "integer"):
            result.append(errors.wrong(here, path, SELECTABLE))
        if path in seen:
            result.append(errors.duplicate(here, path))
        seen.add(path)
    if len(seen) > 8:
        result.append(errors.too_many(field, len(seen), 8))
    return result


def _at_path(schema: Json, path: str) -> Json | None:
    """Source: cel.ValidFieldPath without array notation. Raises ValueError."""
    if not path.startswith("."):
        raise ValueError(f"expected [ or . but got: {path[:1]}")
    node: Json | None = schema
    for part in path[1:].split("."):
        if not part:
            raise ValueError("unexpected end of JSON path") from None
        if "[" in part:
            raise ValueError("array notation is not supported")
        properties = (node or {}).get("properties") or {}
        if part not in properties:
            raise ValueError("does not refer to a valid field")
        node = properties[part]
    return node


def _conversion(spec: Json) -> Errors:
    found = spec.get("conversion")
    here, result = "spec.conversion", []
    if found is None:
        return []
    strategy, hook = found.get("strategy", ""), found.get("webhook")
    if strategy != "None" and spec.get("preserveUnknownFields"):
        text = "must be None if spec.preserveUnknownFields is true"
        result.append(errors.wrong(f"{here}.strategy", strategy, text))
    if not strategy:
        result.append(errors.required(f"{here}.strategy"))
    elif strategy not in ("None", "Webhook"):
        result.append(errors.unsupported(f"{here}.strategy", strategy, ("None", "Webhook")))
    client, versions = (hook or {}).get("clientConfig"), (hook or {}).get("conversionReviewVersions") or []
    if strategy != "Webhook":
        why = "should not be set when strategy is not set to Webhook"
        if client is not None:
            result.append(errors.forbidden_field(f"{here}.webhookClientConfig", why))
        if versions:
            result.append(errors.forbidden_field(f"{here}.conversionReviewVersions", why))
        return result
    if client is None:
        text = "required when strategy is set to Webhook"
        result.append(errors.required(f"{here}.webhookClientConfig", text))
    elif (client.get("url") is None) == (client.get("service") is None):
        text = "exactly one of url or service is required"
        result.append(errors.required(f"{here}.webhookClientConfig", text))
    if not versions:
        result.append(errors.required(f"{here}.conversionReviewVersions"))
    for place, version in enumerate(versions):
        if version in versions[:place]:
            result.append(errors.wrong(f"{here}.conversionReviewVersions[{place}]", version, "duplicate version"))
            continue
        result += [
            errors.wrong(f"{here}.conversionReviewVersions[{place}]", version, text)
            for text in names.dns1035_label(version)
        ]
    if versions and not {"v1", "v1beta1"} & set(versions):
        text = "must include at least one of v1, v1beta1"
        result.append(errors.wrong(f"{here}.conversionReviewVersions", versions, text))
    return result


# -------------------------------------------------------------------------------------------------------------- schemas
def _validation(found: Json | None, field: str, live: bool, unchanged: bool) -> Errors:
    schema = (found or {}).get("openAPIV3Schema")
    if not isinstance(schema, dict):
        return []
    here, result = f"{field}.openAPIV3Schema", []
    if live:
        result += _root_of_live(schema, here)
    if schema.get("nullable"):
        result.append(errors.forbidden_field(f"{here}.nullable", "nullable cannot be true at the root"))
    complaints = sorted([*_invariants(schema, "root", here), *_completeness(schema, here)], key=lambda one: one.text)
    complaints = complaints or _defaults(schema, here, root=True)
    result += complaints
    judge = _Judge(rules=not complaints and not unchanged)
    result += judge.schema(schema, here, _Place(), root=True)
    return result + judge.rule_errors


def _root_of_live(schema: Json, here: str) -> Errors:
    for key in schema:
        if key == "type":
            if schema["type"] != "object":
                text = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
                return [errors.wrong(f"{here}.type", schema["type"], text)]
        elif schema[key] and key not in ROOT_FIELDS:
            text = f"only [{' '.join(ROOT_FIELDS.values())}] fields are allowed at the root of the schema if the status subresource is enabled"
            return [errors.wrong(here, STRUCT, text)]
    return []


def _invariants(schema: Json, level: str, field: str) -> Errors:
    """Source: validateStructuralInvariants."""
    result: Errors = []
    sort, items = schema.get("type", ""), schema.get("items")
    if sort == "array" and items is None:
        result.append(errors.required(f"{field}.items", "must be specified"))
    if isinstance(items, dict):
        result += _invariants(items, "item", f"{field}.items")
    properties = schema.get("properties") or {}
    for name, inner in properties.items():
        result += _invariants(inner, "field", f"{field}.properties[{name}]")
    more = schema.get("additionalProperties")
    if more is not None:
        if level == "root":
            result.append(errors.forbidden_field(f"{field}.additionalProperties", "must not be used at the root"))
        if isinstance(more, dict):
            result += _invariants(more, "field", f"{field}.additionalProperties")
    embedded, either = schema.get("x-kubernetes-embedded-resource"), schema.get("x-kubernetes-int-or-string")
    kept = schema.get("x-kubernetes-preserve-unknown-fields")
    for key, value in (("x-kubernetes-preserve-unknown-fields", kept), ("x-kubernetes-embedded-resource", embedded)):
        if either and value:
            text = "must be false if x-kubernetes-int-or-string is true"
            result.append(errors.wrong(f"{field}.{key}", True, text))
    any_of = bool(either) and schema.get("anyOf") == INT_OR_STRING
    first = bool(either) and bool(schema.get("allOf")) and schema["allOf"][0].get("anyOf") == INT_OR_STRING
    result += _values(schema, field, any_of, first)
    if embedded and sort != "object":
        text = "must be object if x-kubernetes-embedded-resource is true"
        result.append(errors.wrong(f"{field}.type", sort, text) if sort else errors.required(f"{field}.type", text))
    elif not sort and not either and not kept:
        where = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}[
            level
        ]
        result.append(errors.required(f"{field}.type", f"must not be empty {where}"))
    if embedded and more is not None:
        text = "must not be used if x-kubernetes-embedded-resource is set"
        result.append(errors.forbidden_field(f"{field}.additionalProperties", text))
    if level == "root" and sort and sort != "object":
        result.append(errors.wrong(f"{field}.type", sort, "must be object at the root"))
    return result + _object_fields(schema, level, field)


def _object_fields(schema: Json, level: str, field: str) -> Errors:
    result: Errors = []
    properties, embedded = schema.get("properties") or {}, schema.get("x-kubernetes-embedded-resource")
    whole = level == "root" or bool(embedded)
    for key in ("kind", "apiVersion"):
        if key in properties and whole and properties[key].get("type", "") != "string":
            here = f"{field}.properties[{key}].type"
            result.append(errors.wrong(here, properties[key].get("type", ""), "must be string"))
    if "metadata" in properties:
        here, inner = f"{field}.properties[metadata]", properties["metadata"]
        if whole and inner.get("type", "") != "object":
            result.append(errors.wrong(f"{here}.type", inner.get("type", ""), "must be object"))
        extra = {key for key, value in inner.items() if value not in (None, False, {}, [], "")} - {"type", "default"}
        if set(inner.get("properties") or {}) <= {"name", "generateName"}:
            extra.discard("properties")
        if level == "root" and extra:
            text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            result.append(errors.forbidden_field(here, text))
    if embedded and not schema.get("x-kubernetes-preserve-unknown-fields") and not properties:
        text = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        result.append(errors.required(f"{field}.properties", text))
    return result


def _values(schema: Json, field: str, any_of: bool, first: bool) -> Errors:
    """Source: validateValueValidation."""
    result: Errors = []
    for place, one in enumerate(schema.get("anyOf") or ()):
        if not any_of:
            result += _nested(one, f"{field}.anyOf[{place}]", False)
    for place, one in enumerate(schema.get("allOf") or ()):
        result += _nested(one, f"{field}.allOf[{place}]", first and place == 0)
    for place, one in enumerate(schema.get("oneOf") or ()):
        result += _nested(one, f"{field}.oneOf[{place}]", False)
    if isinstance(schema.get("not"), dict):
        result += _nested(schema["not"], f"{field}.not", False)
    pattern = schema.get("pattern")
    if pattern:
        try:
            structural.regex(pattern)
        except re.error as error:
            text = f"must be a valid regular expression, but isn't: {_regex_words(pattern, error)}"
            result.append(errors.wrong(f"{field}.pattern", pattern, text))
    return result


def _regex_words(pattern: str, error: re.error) -> str:
    """RE2's words for the commonest faults."""
    text = error.msg
    if "missing )" in text or "unterminated subpattern" in text:
        return f"error parsing regexp: missing closing ): `{pattern}`"
    if "unbalanced" in text:
        return f"error parsing regexp: unexpected ): `{pattern}`"
    if "unterminated character set" in text:
        return f"error parsing regexp: missing closing ]: `{pattern[error.pos or 0 :]}`"
    if "nothing to repeat" in text:
        return f"error parsing regexp: missing argument to repetition operator: `{pattern[error.pos or 0 : (error.pos or 0) + 1]}`"
    if "bad escape" in text:
        return f"error parsing regexp: invalid escape sequence: `{pattern[error.pos or 0 : (error.pos or 0) + 2]}`"
    return (
        f"error parsing regexp: invalid or unsupported Perl syntax: `{pattern[error.pos or 0 : (error.pos or 0) + 3]}`"
    )


NESTED: Final = (
    ("default", "undefined"), ("title", "empty"), ("description", "empty"), ("nullable", "false"),
    ("x-kubernetes-preserve-unknown-fields", "false"), ("x-kubernetes-embedded-resource", "false"),
    ("x-kubernetes-int-or-string", "false"), ("x-kubernetes-list-map-keys", "empty"), ("x-kubernetes-list-type", "undefined"),
    ("x-kubernetes-map-type", "undefined"), ("x-kubernetes-validations", "empty"),
)  # fmt: skip


def _nested(schema: Json, field: str, any_of: bool) -> Errors:
    """Source: validateNestedValueValidation."""
    result = _values(schema, field, any_of, False)
    if isinstance(schema.get("items"), dict):
        result += _nested(schema["items"], f"{field}.items", False)
    for name, inner in (schema.get("properties") or {}).items():
        result += _nested(inner, f"{field}.properties[{name}]", False)
    if schema.get("type"):
        result.append(errors.forbidden_field(f"{field}.type", "must be empty to be structural"))
    if schema.get("additionalProperties") is not None:
        text = "must be undefined to be structural"
        result.append(errors.forbidden_field(f"{field}.additionalProperties", text))
    for key, wanted in NESTED:
        if schema.get(key) not in (None, False, "", []):
            result.append(errors.forbidden_field(f"{field}.{key}", f"must be {wanted} to be structural"))
    if "metadata" in (schema.get("properties") or {}):
        text = "must not be specified in a nested context"
        result.append(errors.forbidden_field(f"{field}.properties[metadata]", text))
    return result


def _completeness(schema: Json, field: str) -> Errors:
    """What is constrained in a nested context is specified outside. Source: validateStructuralCompleteness."""
    result: Errors = []
    for key in ("allOf", "anyOf", "oneOf"):
        for place, one in enumerate(schema.get(key) or ()):
            result += _covered(one, schema, field, f"{field}.{key}[{place}]")
    if isinstance(schema.get("not"), dict):
        result += _covered(schema["not"], schema, field, f"{field}.not")
    if isinstance(schema.get("items"), dict):
        result += _completeness(schema["items"], f"{field}.items")
    for name, inner in (schema.get("properties") or {}).items():
        result += _completeness(inner, f"{field}.properties[{name}]")
    if isinstance(schema.get("additionalProperties"), dict):
        result += _completeness(schema["additionalProperties"], f"{field}.additionalProperties")
    return result


def _covered(nested: Json, schema: Json | None, outside: str, inside: str) -> Errors:
    result: Errors = []
    for name, inner in (nested.get("properties") or {}).items():
        there = ((schema or {}).get("properties") or {}).get(name)
        spot = f"{outside}.properties[{name}]"
        if there is None:
            result.append(errors.required(spot, f"because it is defined in {inside}.properties[{name}]"))
        else:
            result += _covered(inner, there, spot, f"{inside}.properties[{name}]")
    if isinstance(nested.get("items"), dict):
        there = (schema or {}).get("items")
        if there is None:
            result.append(errors.required(f"{outside}.items", f"because it is defined in {inside}.items"))
        else:
            result += _covered(nested["items"], there, f"{outside}.items", f"{inside}.items")
    for key in ("allOf", "anyOf", "oneOf"):
        for place, one in enumerate(nested.get(key) or ()):
            result += _covered(one, schema, outside, f"{inside}.{key}[{place}]")
    if isinstance(nested.get("not"), dict):
        result += _covered(nested["not"], schema, outside, f"{inside}.not")
    return result


def _defaults(schema: Json, field: str, *, root: bool = False, inside: bool = False) -> Errors:
    """Source: structuraldefaulting.ValidateDefaults."""
    result: Errors = []
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    if "default" in schema and schema["default"] is not None and not inside:
        result += _default(schema, f"{field}.default")
    if isinstance(schema.get("items"), dict):
        result += _defaults(schema["items"], f"{field}.items", inside=inside)
    for name, inner in (schema.get("properties") or {}).items():
        below = inside or ((root or embedded) and name in META)
        result += _defaults(inner, f"{field}.properties[{name}]", inside=below)
    if isinstance(schema.get("additionalProperties"), dict):
        result += _defaults(schema["additionalProperties"], f"{field}.additionalProperties", inside=inside)
    return result


def _default(schema: Json, field: str) -> Errors:
    value = schema["default"]
    result: Errors = []
    if isinstance(value, dict | list):
        pruned = clone(value)
        structural.prune({"x": pruned}, {"properties": {"x": schema}})
        if pruned != value:
            result.append(errors.wrong(field, STRUCT, "must be pruned"))
    for error in structural.validate(value, schema):
        spot = field if error.field in ("", "<nil>") else f"{field}.{error.field}".replace(".[", "[")
        result.append(replace(error, field=spot))
    if not result and schema.get("x-kubernetes-validations"):
        for error in cel.validate(schema, value, None):
            result.append(replace(error, field=field))
    return result


@dataclass(frozen=True, slots=True)
class _Place:
    """What the outer schemas mean for an inner one."""

    reason: str | None = None  # why there may be no defaults
    inside_meta: bool = False
    uncorrelated: str = ""  # the schema within which old values cannot be found
    rules: bool = True


class _Judge:
    """Source: ValidateCustomResourceDefinitionOpenAPISchema."""

    def __init__(self, *, rules: bool) -> None:
        self._rules = rules
        self.rule_errors: Errors = []

    def schema(self, schema: Any, field: str, place: _Place, *, root: bool = False) -> Errors:
        """Everything about a schema but its structure."""
        if not isinstance(schema, dict):
            return []
        result = self._standard(schema, field, place)
        if schema.get("uniqueItems"):
            text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            result.append(errors.forbidden_field(f"{field}.uniqueItems", text))
        result += self._children(schema, field, place, root)
        if schema.get("x-kubernetes-preserve-unknown-fields") is False:
            here = f"{field}.x-kubernetes-preserve-unknown-fields"
            result.append(errors.wrong(here, False, "must be true or undefined"))
        result += self._map_type(schema, field) + self._list_type(schema, field)
        found = schema.get("x-kubernetes-validations") or []
        for number, rule in enumerate(found):
            result += self._rule(schema, rule, f"{field}.x-kubernetes-validations[{number}]")
        if found and not result and self._rules and place.rules:
            self._compile(schema, field, place, root)
        return result

    @staticmethod
    def _standard(schema: Json, field: str, place: _Place) -> Errors:
        result: Errors = []
        sort = schema.get("type", "")
        if sort and sort not in TYPES:
            result.append(errors.unsupported(f"{field}.type", sort, TYPES))
        if schema.get("default") is not None and place.reason is not None:
            result.append(errors.forbidden_field(f"{field}.default", f"must not be set {place.reason}"))
        for key in ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"):
            if schema.get(key):
                result.append(errors.forbidden_field(f"{field}.{key}", f"{key} is not supported"))
        if sort == "null":
            text = "type cannot be set to null, use nullable as an alternative"
            result.append(errors.forbidden_field(f"{field}.type", text))
        if isinstance(schema.get("items"), list):
            text = "items must be a schema object and not an array"
            result.append(errors.forbidden_field(f"{field}.items", text))
        if place.inside_meta and schema.get("x-kubernetes-embedded-resource"):
            here = f"{field}.x-kubernetes-embedded-resource"
            result.append(errors.forbidden_field(here, "must not be used inside of resource meta"))
        return result

    def _children(self, schema: Json, field: str, place: _Place, root: bool) -> Errors:
        result: Errors = []
        more, properties = schema.get("additionalProperties"), schema.get("properties") or {}
        if more is not None:
            if properties and more is not True:
                text = "additionalProperties and properties are mutual exclusive"
                result.append(errors.forbidden_field(f"{field}.additionalProperties", text))
            inner = (
                replace(place, reason="inside additionalProperties applying to object metadata")
                if place.inside_meta
                else place
            )
            result += self.schema(more, f"{field}.additionalProperties", inner)
        for name, below in properties.items():
            inner = place
            if schema.get("x-kubernetes-map-type") == "atomic" and not place.uncorrelated:
                inner = replace(inner, uncorrelated=field)
            if (root or schema.get("x-kubernetes-embedded-resource")) and name in META:
                inner = replace(inner, inside_meta=True, reason=f"in top-level {name}" if root else inner.reason)
            result += self.schema(below, f"{field}.properties[{name}]", inner)
        apart = replace(place, rules=False)
        result += self.schema(schema.get("not"), f"{field}.not", apart)
        for key in ("allOf", "oneOf", "anyOf"):
            for number, one in enumerate(schema.get(key) or ()):
                result += self.schema(one, f"{field}.{key}[{number}]", apart)
        if isinstance(schema.get("items"), dict):
            inner = place
            if schema.get("x-kubernetes-list-type") != "map" and not place.uncorrelated:
                inner = replace(place, uncorrelated=field)
            result += self.schema(schema["items"], f"{field}.items", inner)
        return result

    @staticmethod
    def _map_type(schema: Json, field: str) -> Errors:
        sort, kind = schema.get("type", ""), schema.get("x-kubernetes-map-type")
        result: Errors = []
        if kind is None:
            return result
        if sort != "object":
            text = "must be object if x-kubernetes-map-type is specified"
            result.append(errors.wrong(f"{field}.type", sort, text) if sort else errors.required(f"{field}.type", text))
        if kind not in ("atomic", "granular"):
            result.append(errors.unsupported(f"{field}.x-kubernetes-map-type", kind, ("atomic", "granular")))
        return result

    def _list_type(self, schema: Json, field: str) -> Errors:
        sort, kind, items = schema.get("type", ""), schema.get("x-kubernetes-list-type"), schema.get("items")
        keys, result = schema.get("x-kubernetes-list-map-keys") or [], []
        here = f"{field}.x-kubernetes-list-type"
        if kind is not None and sort != "array":
            text = "must be array if x-kubernetes-list-type is specified"
            result.append(errors.wrong(f"{field}.type", sort, text) if sort else errors.required(f"{field}.type", text))
        elif kind == "set" and isinstance(items, dict):
            text = "must be atomic as item of a list with x-kubernetes-list-type=set"
            inner = items.get("x-kubernetes-list-type")
            if items.get("type") == "array" and inner not in (None, "atomic"):
                result.append(errors.wrong(f"{field}.items.x-kubernetes-list-type", inner, text))
            if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
                result.append(errors.wrong(f"{field}.items.x-kubernetes-map-type", inner, text))
        if kind is not None and kind not in ("atomic", "set", "map"):
            result.append(errors.unsupported(here, kind, ("atomic", "set", "map")))
        if keys and kind is None:
            result.append(errors.required(here, "must be map if x-kubernetes-list-map-keys is non-empty"))
        elif keys and kind != "map":
            result.append(errors.wrong(here, kind, "must be map if x-kubernetes-list-map-keys is non-empty"))
        if kind == "map":
            result += self._map_list(items, keys, field)
        return result + self._keys(kind, items, keys, field)

    @staticmethod
    def _map_list(items: Any, keys: list[str], field: str) -> Errors:
        result: Errors = []
        here = f"{field}.x-kubernetes-list-map-keys"
        if not keys:
            result.append(errors.required(here, "must not be empty if x-kubernetes-list-type is map"))
        if items is None:
            result.append(errors.required(f"{field}.items", "must have a schema if x-kubernetes-list-type is map"))
            return result
        if items.get("type", "") != "object":
            text = "must be object if parent array's x-kubernetes-list-type is map"
            return [*result, errors.wrong(f"{field}.items.type", items.get("type", ""), text)]
        for number, key in enumerate(keys):
            found = (items.get("properties") or {}).get(key)
            if found is None:
                result.append(errors.wrong(here, keys, "entries must all be names of item properties"))
            elif found.get("type") in ("array", "object"):
                text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
                result.append(errors.wrong(f"{field}.items.properties[{key}].type", items.get("type", ""), text))
            if key in keys[:number]:
                result.append(errors.wrong(here, keys, "must not contain duplicate entries"))
        return result

    @staticmethod
    def _keys(kind: str | None, items: Any, keys: list[str], field: str) -> Errors:
        """Source: validateMapListKeysMapSet."""
        result: Errors = []
        if not isinstance(items, dict) or kind not in ("set", "map"):
            return result
        if items.get("nullable"):
            text = f"cannot be nullable when x-kubernetes-list-type is {kind}"
            result.append(errors.forbidden_field(f"{field}.items.nullable", text))
        for key in keys if kind == "map" else ():
            found = (items.get("properties") or {}).get(key)
            if found is None:
                continue
            here = f"{field}.items.properties[{key}]"
            if key not in (items.get("required") or ()) and found.get("default") is None:
                text = f"{LIST_MAP_KEY} must have a default or be a required property"
                result.append(errors.required(f"{here}.default", text))
            if found.get("nullable"):
                result.append(errors.forbidden_field(f"{here}.nullable", f"{LIST_MAP_KEY} cannot be nullable"))
        return result

    @staticmethod
    def _rule(schema: Json, rule: Json, field: str) -> Errors:
        result: Errors = []
        text, message, made = rule.get("rule", ""), rule.get("message", ""), rule.get("messageExpression", "")
        if not text.strip():
            result.append(errors.required(f"{field}.rule", "rule is not specified"))
        elif message and not message.strip():
            result.append(errors.wrong(f"{field}.message", message, "message must be non-empty if specified"))
        elif re.search(r"[\n\r]", message.strip()):
            result.append(errors.wrong(f"{field}.message", message, "message must not contain line breaks"))
        elif re.search(r"[\n\r]", text.strip()) and not message.strip():
            result.append(errors.required(f"{field}.message", "message must be specified if rule contains line breaks"))
        if made and not made.strip():
            why = "messageExpression must be non-empty if specified"
            result.append(errors.required(f"{field}.messageExpression", why))
        reason, path = rule.get("reason"), rule.get("fieldPath", "")
        if reason is not None and reason not in REASONS:
            result.append(errors.unsupported(f"{field}.reason", reason, REASONS))
        if path and not path.strip():
            result.append(errors.wrong(f"{field}.fieldPath", path, "fieldPath must be non-empty if specified"))
        if re.search(r"[\n\r]", path):
            result.append(errors.wrong(f"{field}.fieldPath", path, "fieldPath must not contain line breaks"))
        if path and not _points_somewhere(schema, path):
            result.append(errors.wrong(f"{field}.fieldPath", path, "fieldPath must be a valid path"))
        return result

    def _compile(self, schema: Json, field: str, place: _Place, root: bool) -> None:
        kind = celtypes.type_of(schema, root=root)
        for number, rule in enumerate(schema["x-kubernetes-validations"]):
            here = f"{field}.x-kubernetes-validations[{number}]"
            made = cel.compile_rule(rule, kind)
            if made.error:
                self.rule_errors.append(errors.wrong(f"{here}.rule", STRUCT, made.error))
            if made.message_error:
                self.rule_errors.append(errors.wrong(f"{here}.messageExpression", STRUCT, made.message_error))
            if made.uses_old:
                if place.uncorrelated:
                    text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.uncorrelated}"
                    self.rule_errors.append(errors.wrong(f"{here}.rule", rule["rule"], text))
            elif rule.get("optionalOldSelf") is not None and not made.error:
                text = "may not be set if oldSelf is not used in rule"
                self.rule_errors.append(errors.wrong(f"{here}.optionalOldSelf", rule["optionalOldSelf"], text))


def _points_somewhere(schema: Json, path: str) -> bool:
    """Source: cel.ValidFieldPath."""
    node: Any = schema
    for dotted, quoted in re.findall(r"\.([A-Za-z_][\w-]*)|\['((?:[^'\\]|\\.)*)'\]", path):
        name = dotted or quoted
        properties = node.get("properties") or {} if isinstance(node, dict) else {}
        if name in properties:
            node = properties[name]
        elif isinstance(node, dict) and isinstance(node.get("additionalProperties"), dict):
            node = node["additionalProperties"]
        else:
            return False
    rebuilt = re.sub(r"\.([A-Za-z_][\w-]*)|\['((?:[^'\\]|\\.)*)'\]", "", path)
    return not rebuilt
