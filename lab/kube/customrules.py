"""How custom resources are written: validation by schema, by list types and by rules. See lab/kube/schema/structural.py."""

from __future__ import annotations

from typing import Any, Final

from lab.kube import errors
from lab.kube.errors import FieldError
from lab.kube.schema import crd, structural
from lab.kube.schema.smd import ABSENT
from lab.kube.strategies import Strategy

Json = dict[str, Any]
BLOCKING: Final = {errors.UNSUPPORTED, errors.REQUIRED, errors.TOO_LONG, errors.TOO_MANY, errors.TYPE_INVALID}
BLOCKED: Final = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"


def custom_strategy(definition: Json, version: str) -> Strategy:
    """The strategy of one version."""
    schema = crd.schema_of(definition, version)
    declared = crd.version_of(definition, version)
    has_rules = crd.rules_of(definition, version)
    subresources = declared.get("subresources") or {}
    has_status = subresources.get("status") is not None

    def validate(new: Json, old: Json | None) -> list[FieldError]:
        before: Any = ABSENT if old is None else _body(old)
        found = structural.validate(_body(new), schema, before)
        found += (
            structural.validate_lists(new, schema)
            if old is None or not found
            else structural.validate_lists(new, schema)
        )
        if has_rules:
            found += _rules(new, old, found)
        return found

    def _rules(new: Json, old: Json | None, found: list[FieldError]) -> list[FieldError]:
        if any(error.sort in BLOCKING for error in found):
            return [errors.wrong("<nil>", None, BLOCKED)]
        from lab.kube.schema import cel

        return cel.validate(schema, new, old)

    def prepare(new: Json, old: Json | None, context: Any) -> None:
        if has_status and old is None:
            new.pop("status", None)

    return Strategy(
        namespaced=definition["spec"]["scope"] == "Namespaced",
        generation=("spec",),
        has_status=has_status,
        unconditional=False,
        prepare=prepare,
        validate=validate,
        validate_status=validate,
        selectable=_selectable(declared),
        unknown_field="field label not supported: {label}",
        status_reset={"f:metadata": {".": {}}, "f:spec": {}} if False else {"f:spec": {}},
    )


def _body(obj: Json) -> Json:
    return obj


def _selectable(declared: Json) -> dict[str, Any]:
    from lab.kube.scale import at_path

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
