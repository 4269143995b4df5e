"""CustomResourceDefinitions: defaults, the resources that they serve, the schemas and rules of their versions.

A definition is a JSON object as stored (apiextensions.k8s.io/v1). Definitions are immutable once stored, so what is derived
from one is cached by uid and generation. Source: k8s.io/apiextensions-apiserver (v0.33).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from lab.kube.registry import Resource, Subresource, load_gz, version_hash
from lab.kube.schema import smd

Json = dict[str, Any]
VERBS: Final = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
AGE_COLUMN: Final = {
    "name": "Age",
    "type": "date",
    "format": "",
    "priority": 0,
    "description": (
        "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be "
        "set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 "
        "form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
        "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
    ),
    "jsonPath": ".metadata.creationTimestamp",
}
_PERMISSIVE: Final[Json] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def version_of(definition: Json, version: str) -> Json:
    """One entry of spec.versions. Raises KeyError."""
    for found in definition["spec"]["versions"]:
        if found["name"] == version:
            return found  # type: ignore[no-any-return]  # JSON
    raise KeyError(version)


def schema_of(definition: Json, version: str) -> Json:
    """The schema of a version."""
    schema = (version_of(definition, version).get("schema") or {}).get("openAPIV3Schema")
    return schema if isinstance(schema, dict) else _PERMISSIVE


def storage_version(definition: Json) -> str:
    """The version that objects are stored in."""
    return str(next(found["name"] for found in definition["spec"]["versions"] if found.get("storage")))


def has_defaults(definition: Json, version: str) -> bool:
    """Whether reading an object can add something to it."""
    return _names_default(schema_of(definition, version))


def _names_default(schema: Mapping[str, Any]) -> bool:
    if "default" in schema:
        return True
    inner = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return any(_names_default(one) for one in inner if isinstance(one, dict))


def rules_of(definition: Json, version: str) -> bool:
    """Whether the schema has validation rules anywhere."""
    return names_rules(schema_of(definition, version))


def names_rules(schema: Mapping[str, Any]) -> bool:
    """Whether a schema has x-kubernetes-validations, at any depth."""
    if schema.get("x-kubernetes-validations"):
        return True
    inner = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    inner += [part for key in ("allOf", "anyOf", "oneOf") for part in schema.get(key) or ()]
    return any(names_rules(one) for one in inner if isinstance(one, dict))


def columns(version: Json) -> tuple[Json, ...]:
    """Table columns: the name, then those of the definition, or the age."""
    own = version.get("additionalPrinterColumns")
    name = {"name": "Name", "type": "string", "format": "name", "priority": 0, "jsonPath": ".metadata.name"}
    found = [
        {
            "name": column["name"],
            "type": column["type"],
            "format": column.get("format", ""),
            "description": column.get("description")
            or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
            "priority": column.get("priority", 0),
            "jsonPath": column["jsonPath"],
        }
        for column in own or ()
    ]
    return (name, *(found or (AGE_COLUMN,)))


def resources(definition: Json) -> tuple[Resource, ...]:
    """What an established definition serves, one resource a version."""
    spec, accepted = definition["spec"], definition["status"]["acceptedNames"]
    group, stored = spec["group"], storage_version(definition)
    made = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        name = version["name"]
        made.append(
            Resource(
                group=group,
                version=name,
                plural=accepted["plural"],
                singular=accepted.get("singular", ""),
                kind=accepted["kind"],
                list_kind=accepted.get("listKind", accepted["kind"] + "List"),
                namespaced=spec["scope"] == "Namespaced",
                short_names=tuple(accepted.get("shortNames") or ()),
                categories=tuple(accepted.get("categories") or ()),
                verbs=VERBS,
                subresources=_subresources(group, name, accepted["kind"], version.get("subresources") or {}),
                storage_version_hash=version_hash(group, stored, accepted["kind"]),
                crd=definition,
                table_columns=columns(version),
                response_kind=(group, name, accepted["kind"]),
            )
        )
    return tuple(made)


def _subresources(group: str, version: str, kind: str, declared: Json) -> dict[str, Subresource]:
    made = {}
    verbs = ("get", "patch", "update")
    if declared.get("status") is not None:
        made["status"] = Subresource("status", kind, group, version, verbs)
    if declared.get("scale") is not None:
        made["scale"] = Subresource("scale", "Scale", "autoscaling", "v1", verbs)
    return made


# ---------------------------------------------------------------------------------------------------------- typed schema
def typed(definition: Json) -> Callable[[str], smd.Atom | None]:
    """The typed schema of each version, read when first asked for; None for a version that is not served."""
    cache: dict[str, smd.Atom | None] = {}

    def atom(version: str) -> smd.Atom | None:
        if version not in cache:
            try:
                cache[version] = _typed(schema_of(definition, version))
            except KeyError:
                cache[version] = None
        return cache[version]

    return atom


def _typed(schema: Json) -> smd.Atom:
    return _reader().atom(with_object_fields(schema))


@lru_cache(maxsize=1)
def _reader() -> smd.SchemaReader:
    """Knows the metadata that every object has."""
    return smd.SchemaReader(load_gz("openapi-v3/core-v1.json.gz")["components"]["schemas"])


OBJECT_META: Final = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def with_object_fields(schema: Json) -> Json:
    """A schema with the fields that every object has. Source: controller/openapi/builder (v0.33)."""
    made: Json = _embed(schema)
    properties = dict(made.get("properties") or {})
    properties["apiVersion"] = {"type": "string"}
    properties["kind"] = {"type": "string"}
    properties["metadata"] = {"$ref": OBJECT_META}
    return made | {"properties": properties}


def _embed(schema: Any) -> Any:
    """Embedded resources get the fields of objects, and int-or-string loses its type."""
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        for key in ("anyOf", "allOf", "oneOf"):
            made.pop(key, None)
        return made
    for key in ("anyOf", "allOf", "oneOf", "not"):
        made.pop(key, None)
    if "properties" in made:
        made["properties"] = {name: _embed(inner) for name, inner in made["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in made:
            made[key] = _embed(made[key])
    if made.get("x-kubernetes-embedded-resource"):
        properties = dict(made.get("properties") or {})
        properties["apiVersion"] = {"type": "string"}
        properties["kind"] = {"type": "string"}
        properties["metadata"] = {"$ref": OBJECT_META}
        made["properties"] = properties
    return made


# -------------------------------------------------------------------------------------------------------------- defaults
def default(definition: Json) -> None:
    """Defaults of a definition, in place. Source: pkg/apis/apiextensions/v1/defaults.go."""
    spec = definition.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if not names.get("singular"):
        names["singular"] = (names.get("kind") or "").lower()
    if not names.get("listKind") and names.get("kind"):
        names["listKind"] = names["kind"] + "List"
    conversion = spec.get("conversion")
    if conversion is None:
        spec["conversion"] = {"strategy": "None"}
    elif conversion.get("strategy") == "Webhook" and (conversion.get("webhook") or {}).get("clientConfig", {}).get(
        "service"
    ):
        conversion["webhook"]["clientConfig"]["service"].setdefault("port", 443)
