"""How custom resources are written: validation by schema, by list types and by rules. See lab/kube/schema/structural.py.

Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource strategy.go, validator.go (v0.33).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from lab.kube import errors, names
from lab.kube.errors import FieldError
from lab.kube.scale import at_path
from lab.kube.schema import cel, crd, meta, structural
from lab.kube.schema.smd import ABSENT
from lab.kube.strategies import Context, Strategy

Json = dict[str, Any]
BLOCKING: Final = {errors.UNSUPPORTED, errors.REQUIRED, errors.TOO_LONG, errors.TOO_MANY, errors.TYPE_INVALID}
BLOCKED: Final = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
ELSEWHERE: Final = "to avoid accidental conflicts with other finalizer writers"


def custom_strategy(definition: Json, version: str) -> Strategy:
    """The strategy of one version."""
    schema = crd.schema_of(definition, version)
    declared = crd.version_of(definition, version)
    has_rules = crd.rules_of(definition, version)
    subresources = declared.get("subresources") or {}
    has_status = subresources.get("status") is not None
    namespaced = definition["spec"]["scope"] == "Namespaced"
    kind = definition["spec"]["names"]["kind"]
    paths = subresources.get("scale") or {}

    def check(new: Json, old: Json | None, scaled: tuple[str, ...], *, status: bool = False) -> list[FieldError]:
        found: list[FieldError] = []
        judged = meta.validate(new["metadata"], namespaced, meta.subdomain) if old is None else []
        if old is not None:
            found += meta.validate_update(new["metadata"], old["metadata"])
        if new.get("kind") != kind:
            found.append(errors.wrong("kind", new.get("kind", ""), f"must be {kind}"))
        if status:
            found += _status(new, old, schema)
        else:
            found += structural.validate(new, schema, ABSENT if old is None else old)
        for key in scaled:
            found += _count(new, paths.get(key))
        found += _embedded(new, schema, "")
        found += structural.validate_lists(new, schema)
        if has_rules:
            found += _rules(new, old, [*judged, *found])
        return found

    def _rules(new: Json, old: Json | None, found: list[FieldError]) -> list[FieldError]:
        if any(error.sort in BLOCKING for error in found):
            return [errors.wrong("<nil>", None, BLOCKED)]
        return cel.validate(schema, new, old)

    def validate(new: Json, old: Json | None) -> list[FieldError]:
        return check(new, old, ("specReplicasPath", "statusReplicasPath"))

    def validate_status(new: Json, old: Json | None) -> list[FieldError]:
        return check(new, old, ("statusReplicasPath",), status=True)

    def prepare(new: Json, old: Json | None, context: Context) -> None:
        if has_status and old is None:
            new.pop("status", None)

    return Strategy(
        namespaced=namespaced,
        generation=("spec",),
        has_status=has_status,
        unconditional=False,
        prepare=prepare,
        validate=validate,
        validate_status=validate_status,
        warn=_finalizers,
        selectable=_selectable(declared),
        unknown_field="field label not supported: {label}",
        status_reset={"f:spec": {}},
    )


def _status(new: Json, old: Json | None, schema: Any) -> list[FieldError]:
    """Only the status, which the messages take for the whole."""
    inner = (schema.get("properties") or {}).get("status")
    if inner is None or "status" not in new:
        return []
    found = structural.validate(new["status"], inner, (old or {}).get("status", ABSENT))
    return [replace(one, field=f"status.{one.field}" if one.field not in ("", "<nil>") else "status") for one in found]


def _finalizers(new: Json, old: Json | None) -> list[str]:
    """New finalizers that anybody's could clash with."""
    known = ((old or {}).get("metadata") or {}).get("finalizers") or ()
    found = []
    for name in new["metadata"].get("finalizers") or ():
        if name in known or name in meta.STANDARD_FINALIZERS or "/" in name:
            continue
        how = "including a path (/) " if "." in name else ""
        found.append(
            f"metadata.finalizers: {errors.quote(name)}: prefer a domain-qualified finalizer name {how}{ELSEWHERE}"
        )
    return found


def _count(obj: Json, path: str | None) -> list[FieldError]:
    """A scale subresource's count. Source: validateScaleSpec, validateScaleStatus."""
    if not path:
        return []
    try:
        value = at_path(obj, path)
    except (KeyError, TypeError, ValueError):
        return []
    if value is None:
        return []
    if isinstance(value, bool) or not isinstance(value, int):
        sort = {str: "string", bool: "bool", float: "float64", dict: "map[string]interface {}"}.get(
            type(value), "[]interface {}"
        )
        shown = value if isinstance(value, str) else errors.dump(value)
        return [errors.wrong(path, 0, f"{path} accessor error: {shown} is of the type {sort}, expected int64")]
    if value < 0:
        return [errors.wrong(path, value, "should be a non-negative integer")]
    if value > 2**31 - 1:
        return [errors.wrong(path, value, f"should be less than or equal to {2**31 - 1}")]
    return []


def _embedded(value: Any, schema: Any, path: str) -> list[FieldError]:
    """Embedded objects have a version and a kind. Source: pkg/apiserver/schema/objectmeta validation.go."""
    found: list[FieldError] = []
    if isinstance(value, list):
        items = schema.get("items")
        for place, item in enumerate(value) if isinstance(items, dict) else ():
            found += _embedded(item, items, f"{path}[{place}]")
    elif isinstance(value, dict):
        if schema.get("x-kubernetes-embedded-resource"):
            found += _resource(value, path)
        for key, inner in value.items():
            below = structural.child(schema, key)
            if below is not None:
                named = key in (schema.get("properties") or {})
                found += _embedded(inner, below, (f"{path}.{key}" if path else key) if named else f"{path}[{key}]")
    return found


def _resource(value: Json, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for key in ("apiVersion", "kind"):
        here = f"{path}.{key}"
        said = value.get(key)
        if key not in value:
            found.append(errors.required(here, "must not be empty"))
        elif not isinstance(said, str):
            found.append(errors.wrong(here, said, "must be a string"))
        elif not said:
            found.append(errors.wrong(here, said, "must not be empty"))
        elif key == "apiVersion" and said.count("/") > 1:
            found.append(errors.wrong(here, said, f"unexpected GroupVersion string: {said}"))
        elif key == "kind" and (complaints := names.dns1035_label(said.lower())):
            text = f"may have mixed case, but should otherwise match: {','.join(complaints)}"
            found.append(errors.wrong(here, said, text))
    inner = value.get("metadata")
    if isinstance(inner, dict):
        judged = inner | {"name": inner.get("name") or "fakename"}
        found += meta.validate(judged, bool(inner.get("namespace")), meta.path_segment, f"{path}.metadata")
    return found


def _selectable(declared: Json) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for one in declared.get("selectableFields") or ():
        path = one["jsonPath"]

        def read(obj: Json, path: str = path) -> str:
            value = at_path(obj, path)
            if isinstance(value, bool):
                return "true" if value else "false"
            return "" if value is None else str(value)

        made[path.lstrip(".")] = read
    return made
