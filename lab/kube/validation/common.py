"""What the validation of many kinds shares: selectors, names, quantities, numbers.

Source: k8s.io/kubernetes/pkg/apis/core/validation validation.go, k8s.io/apimachinery/pkg/apis/meta/v1/validation (v1.33).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from lab.kube import errors, names, quantity
from lab.kube.errors import FieldError, Raw
from lab.kube.schema import meta

Json = dict[str, Any]
Errors = list[FieldError]
STRUCT: Final = Raw("{...}")  # a Go struct, whose dump nobody compares
NON_NEGATIVE: Final = "must be greater than or equal to 0"
IMMUTABLE: Final = "field is immutable"
STANDARD_RESOURCES: Final = {
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu",
    "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas", "services", "replicationcontrollers", "secrets",
    "persistentvolumeclaims", "configmaps", "storage", "requests.storage", "services.nodeports", "services.loadbalancers",
}  # fmt: skip
QUOTA_RESOURCES: Final = {
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage",
    "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas", "services", "replicationcontrollers",
    "secrets", "persistentvolumeclaims", "configmaps", "services.nodeports", "services.loadbalancers",
}  # fmt: skip
INTEGER_RESOURCES: Final = {
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
}  # fmt: skip


def each(field: str, value: Any, texts: Iterable[str]) -> Errors:
    """One error a complaint."""
    return [errors.wrong(field, value, text) for text in texts]


def non_negative(value: int | None, field: str) -> Errors:
    """0 or more; nothing is fine."""
    return [errors.wrong(field, value, NON_NEGATIVE)] if value is not None and value < 0 else []


def positive(value: int, field: str) -> Errors:
    """1 or more."""
    return [errors.wrong(field, value, "must be greater than 0")] if value <= 0 else []


def immutable(new: Any, old: Any, field: str) -> Errors:
    """Unchanged; empty and absent are the same."""
    if new == old or (not new and not old and not isinstance(new, int) and not isinstance(old, int)):
        return []
    shown = (
        new
        if isinstance(new, str | int)
        else ""
        if new is None and isinstance(old, str)
        else STRUCT
        if new is not None
        else Raw("{...}")
    )
    return [errors.wrong(field, shown, IMMUTABLE)]


def label_name(value: str, field: str) -> Errors:
    """A label's key."""
    return each(field, value, names.qualified_name(value))


def selector(found: Json | None, field: str) -> Errors:
    """A LabelSelector."""
    if found is None:
        return []
    result = meta.labels(found.get("matchLabels"), f"{field}.matchLabels")
    for place, expression in enumerate(found.get("matchExpressions") or ()):
        result += _requirement(expression, f"{field}.matchExpressions[{place}]")
    return result


def _requirement(found: Json, field: str) -> Errors:
    operator, values = found.get("operator", ""), found.get("values") or ()
    result: Errors = []
    if operator in ("In", "NotIn"):
        if not values:
            result.append(errors.required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            result.append(errors.forbidden_field(f"{field}.values", text))
    else:
        result.append(errors.wrong(f"{field}.operator", operator, "not a valid selector operator"))
    result += label_name(found.get("key", ""), f"{field}.key")
    for place, value in enumerate(values):
        result += each(f"{field}.values[{place}]", value, names.label_value(value))
    return result


def is_empty_selector(found: Json | None) -> bool:
    """Whether a LabelSelector has no term."""
    return not (found or {}).get("matchLabels") and not (found or {}).get("matchExpressions")


def one_of(value: str, allowed: Iterable[str], field: str, *, required: bool = True) -> Errors:
    """One of a few words; `allowed` in the order of the message."""
    if not value and required:
        return [errors.required(field)]
    return [] if value in allowed else [errors.unsupported(field, value, allowed)]


def object_name(value: str, check: Callable[[str], list[str]], field: str) -> Errors:
    """A reference's name."""
    return each(field, value, check(value))


def integer_or_percent(value: Any, field: str) -> Errors:
    """A count, or a percentage."""
    if isinstance(value, str):
        return each(field, value, names.percent(value))
    return non_negative(value, field)


def percent_of(value: Any) -> int | None:
    """The number of a percentage."""
    return int(value[:-1]) if isinstance(value, str) and not names.percent(value) else None


def at_most_100(value: Any, field: str) -> Errors:
    """A percentage up to 100."""
    found = percent_of(value)
    return [errors.wrong(field, STRUCT, "must not be greater than 100%")] if found is not None and found > 100 else []


def number_of(value: Any) -> int:
    """The value of an integer or percentage, 0 where it is neither."""
    if isinstance(value, str):
        return percent_of(value) or 0
    return int(value or 0)


# ----------------------------------------------------------------------------------------------------------- resources
def is_hugepages(name: str) -> bool:
    """hugepages-2Mi."""
    return name.startswith("hugepages-")


def is_native(name: str) -> bool:
    """A resource of Kubernetes itself."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """A resource of somebody else."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not names.qualified_name(f"requests.{name}")


def resource_name(value: str, field: str) -> Errors:
    """Source: validateResourceName."""
    complaints = names.qualified_name(value)
    if complaints:
        return each(field, Raw(value), complaints)
    standard = value in STANDARD_RESOURCES or is_hugepages(value) or value.startswith("requests.hugepages-")
    if "/" not in value and not standard:
        return [errors.wrong(field, Raw(value), "must be a standard resource type or fully qualified")]
    return []


def container_resource_name(value: str, field: str) -> Errors:
    """Source: validateContainerResourceName."""
    result = resource_name(value, field)
    if "/" not in value:
        if value not in ("cpu", "memory", "ephemeral-storage") and not is_hugepages(value):
            return [*result, errors.wrong(field, Raw(value), "must be a standard resource for containers")]
    elif not is_native(value) and not is_extended(value):
        return [*result, errors.wrong(field, Raw(value), "doesn't follow extended resource name standard")]
    return result


def quantity_value(name: str, value: str, field: str) -> Errors:
    """Source: ValidateResourceQuantityValue."""
    amount = quantity.value_of(value)
    result = [errors.wrong(field, value, NON_NEGATIVE)] if amount < 0 else []
    if (name in INTEGER_RESOURCES or is_extended(name) or is_hugepages(name)) and amount * 1000 % 1000 != 0:
        result.append(errors.wrong(field, Raw(value), "must be an integer"))
    return result


def resources(
    found: Json | None, field: str, name_check: Callable[[str, str], Errors] = container_resource_name
) -> Errors:
    """Requests and limits of a container. Source: validateResourceRequirements."""
    found = found or {}
    limits, requests = found.get("limits") or {}, found.get("requests") or {}
    result: Errors = []
    for name, value in limits.items():
        here = f"{field}.limits[{name}]"
        result += name_check(name, here) + quantity_value(name, value, here)
    for name, value in requests.items():
        here = f"{field}.requests[{name}]"
        result += name_check(name, here) + quantity_value(name, value, here)
        overcommits = is_native(name) and not is_hugepages(name)
        if name in limits:
            order = quantity.compare(value, limits[name])
            if order != 0 and not overcommits:
                result.append(
                    errors.wrong(f"{field}.requests", value, f"must be equal to {name} limit of {limits[name]}")
                )
            elif order > 0:
                text = f"must be less than or equal to {name} limit of {limits[name]}"
                result.append(errors.wrong(f"{field}.requests", value, text))
        elif not overcommits:
            result.append(errors.required(f"{field}.limits", "Limit must be set for non overcommitable resources"))
    every = {*limits, *requests}
    if any(map(is_hugepages, every)) and not every & {"cpu", "memory"}:
        result.append(errors.forbidden_field(field, "HugePages require cpu or memory"))
    return result
