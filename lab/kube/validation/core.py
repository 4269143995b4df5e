"""Secrets, config maps, nodes, namespaces, quotas and limits. Source: pkg/apis/core/validation validation.go (v1.33)."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from lab.kube import errors, names, quantity
from lab.kube.schema import meta
from lab.kube.validation import common, pods
from lab.kube.validation.common import STRUCT, Errors, each
from lab.kube.validation.services import cidr

Json = dict[str, Any]
MAX_BYTES: Final = 1024 * 1024
FROZEN: Final = "field is immutable when `immutable` is set"
HIDDEN: Final = "<secret contents redacted>"
SCOPES: Final = (
    "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
)  # fmt: skip
COMPUTE: Final = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "pods")
EXISTS_ONLY: Final = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)
NEEDED_KEYS: Final = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
}


def _keys(found: Json | None, field: str) -> Errors:
    result: Errors = []
    for key in found or {}:
        result += each(f"{field}[{key}]", key, names.config_map_key(key))
    return result


def _decoded(value: str) -> bytes:
    return base64.b64decode(value or "")


def _frozen(new: Json, old: Json, keys: tuple[str, ...]) -> Errors:
    if not old.get("immutable"):
        return []
    result = [] if new.get("immutable") else [errors.forbidden_field("immutable", FROZEN)]
    for key in keys:
        if (new.get(key) or {}) != (old.get(key) or {}):
            result.append(errors.forbidden_field(key, FROZEN))
    return result


def secret_update(new: Json, old: Json) -> Errors:
    """What an update asks first."""
    return common.immutable(new.get("type", ""), old.get("type", ""), "type") + _frozen(new, old, ("data",))


def secret(new: Json, old: Json | None) -> Errors:
    """Source: ValidateSecret."""
    data: Json = new.get("data") or {}
    result = _keys(data, "data")
    if sum(len(_decoded(value)) for value in data.values()) > MAX_BYTES:
        result.append(errors.too_long("data", MAX_BYTES))
    sort = new.get("type", "")
    if sort == "kubernetes.io/service-account-token":
        if not (new["metadata"].get("annotations") or {}).get("kubernetes.io/service-account.name"):
            result.append(errors.required("metadata.annotations[kubernetes.io/service-account.name]"))
    elif sort == "kubernetes.io/basic-auth":
        if not {"username", "password"} & data.keys():
            result += [errors.required(f"data[{key}]") for key in ("username", "password")]
    elif sort == "kubernetes.io/ssh-auth":
        if not data.get("ssh-privatekey"):
            result.append(errors.required("data[ssh-privatekey]"))
    else:
        result += _needed(data, sort)
    return result


def _needed(data: Json, sort: str) -> Errors:
    keys = NEEDED_KEYS.get(sort, ())
    missing = [errors.required(f"data[{key}]") for key in keys if key not in data]
    if missing or sort not in ("kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson"):
        return missing
    try:
        found = json.loads(_decoded(data[keys[0]]))
    except ValueError as error:
        return [errors.wrong(f"data[{keys[0]}]", HIDDEN, _go_complaint(_decoded(data[keys[0]]), error))]
    if found is None or isinstance(found, dict):
        return []
    sort = {list: "array", str: "string", bool: "bool"}.get(type(found), "number")
    text = f"json: cannot unmarshal {sort} into Go value of type map[string]interface {{}}"
    return [errors.wrong(f"data[{keys[0]}]", HIDDEN, text)]


def _go_complaint(raw: bytes, error: ValueError) -> str:
    place = getattr(error, "pos", 0)
    if place >= len(raw):
        return "unexpected end of JSON input"
    char = chr(raw[place])
    return f"invalid character '{char}' looking for beginning of value"


def secret_warnings(new: Json, old: Json | None) -> list[str]:
    """A certificate that is none. Source: registry/core/secret/strategy.go warningsForSecret."""
    data = new.get("data") or {}
    if new.get("type") != "kubernetes.io/tls":
        return []
    for key, words in (("tls.crt", "certificate"), ("tls.key", "key")):
        if b"-----BEGIN " not in _decoded(data.get(key, "")):
            return [f"tls: failed to find any PEM data in {words} input"]
    return []


def config_map_update(new: Json, old: Json) -> Errors:
    """What an update asks first."""
    return _frozen(new, old, ("data", "binaryData"))


def config_map(new: Json, old: Json | None) -> Errors:
    """Source: ValidateConfigMap."""
    data, binary = new.get("data") or {}, new.get("binaryData") or {}
    result: Errors = []
    for key in data:
        result += each(f"data[{key}]", key, names.config_map_key(key))
        if key in binary:
            result.append(errors.wrong(f"data[{key}]", key, "duplicate of key present in binaryData"))
    result += _keys(binary, "binaryData")
    size = sum(len(value.encode()) for value in data.values()) + sum(len(_decoded(value)) for value in binary.values())
    if size > MAX_BYTES:
        result.append(errors.too_long("", MAX_BYTES))
    return result


# --------------------------------------------------------------------------------------------------------------- nodes
def _taints(found: list[Json] | None, field: str) -> Errors:
    result: Errors = []
    seen: set[tuple[str, str]] = set()
    for place, taint in enumerate(found or ()):
        here = f"{field}[{place}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        result += common.label_name(key, f"{here}.key")
        complaints = names.label_value(value)
        if complaints:
            result.append(errors.wrong(f"{here}.value", value, ";".join(complaints)))
        result += pods.taint_effect(effect, f"{here}.effect", empty=False)
        if (key, effect) in seen:
            shown = errors.Raw(f'core.Taint{{Key:"{key}", Value:"{value}", Effect:"{effect}", TimeAdded:<nil>}}')
            text = "taints must be unique by key and effect pair"
            result.append(errors.FieldError(errors.DUPLICATE, here, shown, text))
        seen.add((key, effect))
    return result


def _node_resources(node: Json) -> Errors:
    result: Errors = []
    status = node.get("status") or {}
    for key in ("capacity", "allocatable"):
        for name, value in (status.get(key) or {}).items():
            result += common.quantity_value(name, value, f"status.{key}.{name}")
    return result


def node(new: Json, old: Json | None) -> Errors:
    """Creation and update, of the status too."""
    spec = new.get("spec") or {}
    if old is not None:
        return _node_update(new, spec, old)
    result = _taints(spec.get("taints"), "metadata.taints") + _node_resources(new)
    every = spec.get("podCIDRs") or []
    for place, value in enumerate(every):
        result += cidr(value, f"spec.podCIDRs[{place}]")
    if len(every) > 2 or (len(every) == 2 and (":" in every[0]) == (":" in every[1])):
        result.append(errors.wrong("spec.podCIDRs", every, "may specify no more than one CIDR for each IP family"))
    return result


def _node_update(new: Json, spec: Json, old: Json) -> Errors:
    before = old.get("spec") or {}
    result = _node_resources(new)
    addresses = (new.get("status") or {}).get("addresses") or []
    for place, one in enumerate(addresses):
        if one in addresses[:place]:
            result.append(errors.duplicate(f"status.addresses[{place}]", STRUCT))
    text = 'node updates may not change podCIDR except from "" to valid'
    now, then = spec.get("podCIDRs") or [], before.get("podCIDRs") or []
    if then and len(now) != len(then):
        result.append(errors.forbidden_field("spec.podCIDRs", text))
    elif then:
        result += [errors.forbidden_field("spec.podCIDRs", text) for a, b in zip(now, then, strict=True) if a != b]
    if before.get("providerID") and before["providerID"] != spec.get("providerID", ""):
        text = 'node updates may not change providerID except from "" to valid'
        result.append(errors.forbidden_field("spec.providerID", text))
    result += _taints(spec.get("taints"), "metadata.taints")
    if before.get("externalID", "") != spec.get("externalID", ""):
        result.append(errors.forbidden_field("spec.externalID", "may not be updated"))
    return result


def namespace(new: Json, old: Json | None) -> Errors:
    """Creation."""
    result: Errors = []
    if old is None:
        for name in (new.get("spec") or {}).get("finalizers") or ():
            result += finalizer(name, "spec.finalizers")
    return result


def namespace_finalize(new: Json, old: Json) -> Errors:
    """The finalize subresource."""
    result: Errors = []
    for place, name in enumerate((new.get("spec") or {}).get("finalizers") or ()):
        result += finalizer(name, f"spec.finalizers[{place}]")
    return result


def finalizer(name: str, field: str) -> Errors:
    """A finalizer as core kinds take it."""
    result = each(field, name, names.qualified_name(name))
    if not result and "/" not in name and name not in meta.STANDARD_FINALIZERS:
        result.append(errors.wrong(field, name, "name is neither a standard finalizer name nor is it fully qualified"))
    return result


# -------------------------------------------------------------------------------------------------------------- quotas
def _scope_fits(scope: str, resource: str) -> bool:
    if resource not in common.QUOTA_RESOURCES or scope not in SCOPES:
        return True
    if scope in ("BestEffort",):
        return resource == "pods"
    if scope == "VolumeAttributesClass":
        return resource in ("persistentvolumeclaims", "requests.storage")
    return resource in COMPUTE or resource.endswith("ephemeral-storage")


def _conflicts(scopes: list[str], shown: Any, field: str) -> Errors:
    result: Errors = []
    for pair in ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"}):
        if pair <= set(scopes):
            result.append(errors.wrong(field, shown, "conflicting scopes"))
    return result


def _go_scopes(scopes: list[str]) -> errors.Raw:
    return errors.Raw("[]core.ResourceQuotaScope{" + ", ".join(f'"{one}"' for one in scopes) + "}")


def quota(new: Json, old: Json | None) -> Errors:
    """Source: ValidateResourceQuotaSpec."""
    spec = new.get("spec") or {}
    hard = spec.get("hard") or {}
    result: Errors = []
    for name, value in hard.items():
        here = f"spec.hard[{name}]"
        result += common.resource_name(name, here)
        if "/" not in name and not _quota_name(name):
            result.append(errors.wrong(here, errors.Raw(name), "must be a standard resource for quota"))
        result += common.quantity_value(name, value, here)
    scopes = spec.get("scopes") or []
    for scope in scopes:
        if scope not in SCOPES:
            result.append(errors.wrong("spec.scopes", _go_scopes(scopes), "unsupported scope"))
        for name in sorted(hard):
            if not _scope_fits(scope, name):
                result.append(errors.wrong("spec.scopes", _go_scopes(scopes), "unsupported scope applied to resource"))
    result += _conflicts(scopes, _go_scopes(scopes), "spec.scopes")
    if spec.get("scopeSelector") is not None:
        result += _scope_selector(spec["scopeSelector"], hard)
    if old is not None and set((old.get("spec") or {}).get("scopes") or ()) != set(scopes):
        result.append(errors.wrong("spec.scopes", _go_scopes(scopes), common.IMMUTABLE))
    return result


def _quota_name(name: str) -> bool:
    return name in common.QUOTA_RESOURCES or common.is_hugepages(name) or name.startswith("requests.hugepages-")


def _scope_selector(found: Json, hard: Json) -> Errors:
    here, result = "spec.scopeSelector.matchExpressions", []
    scopes: list[str] = []
    for one in found.get("matchExpressions") or ():
        scope, operator, values = one.get("scopeName", ""), one.get("operator", ""), one.get("values") or []
        if scope not in SCOPES:
            result.append(errors.wrong(f"{here}.scopeName", scope, "unsupported scope"))
        for name in sorted(hard):
            if not _scope_fits(scope, name):
                result.append(errors.wrong(here, STRUCT, "unsupported scope applied to resource"))
        if scope not in ("PriorityClass", "VolumeAttributesClass") and scope in SCOPES and operator != "Exists":
            result.append(errors.wrong(f"{here}.operator", operator, EXISTS_ONLY))
        if operator in ("In", "NotIn"):
            if not values:
                text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                result.append(errors.required(f"{here}.values", text))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                result.append(errors.wrong(f"{here}.values", values, text))
        else:
            result.append(errors.wrong(f"{here}.operator", operator, "not a valid selector operator"))
        scopes.append(scope)
    return result + _conflicts(scopes, STRUCT, here)


# -------------------------------------------------------------------------------------------------------------- limits
def limit_range(new: Json, old: Json | None) -> Errors:
    """Source: ValidateLimitRange."""
    result: Errors = []
    seen: set[str] = set()
    for place, limit in enumerate((new.get("spec") or {}).get("limits") or ()):
        here, sort = f"spec.limits[{place}]", limit.get("type", "")
        complaints = each(f"{here}.type", sort, names.qualified_name(sort))
        if not complaints and "/" not in sort and sort not in ("Pod", "Container", "PersistentVolumeClaim"):
            complaints.append(errors.wrong(f"{here}.type", sort, "must be a standard limit type or fully qualified"))
        result += complaints
        if sort in seen:
            result.append(errors.duplicate(f"{here}.type", sort))
        seen.add(sort)
        result += _limit(limit, sort, here)
    return result


def _limit(limit: Json, sort: str, here: str) -> Errors:
    check = common.container_resource_name if sort in ("Pod", "Container") else common.resource_name
    result: Errors = []
    keys: dict[str, None] = {}

    def names_of(key: str) -> None:
        nonlocal result
        for name in limit.get(key) or {}:
            result += check(name, f"{here}.{key}[{name}]")
            keys[name] = None

    names_of("max")
    names_of("min")
    if sort == "Pod":
        for key in ("default", "defaultRequest"):
            if limit.get(key):
                text = "may not be specified when `type` is 'Pod'"
                result.append(errors.forbidden_field(f"{here}.{key}", text))
    else:
        names_of("default")
        names_of("defaultRequest")
    if sort == "PersistentVolumeClaim" and not (
        "storage" in (limit.get("min") or {}) or "storage" in (limit.get("max") or {})
    ):
        text = "either minimum or maximum storage value is required, but neither was provided"
        result.append(errors.required(f"{here}.limits", text))
    names_of("maxLimitRequestRatio")
    for name in keys:
        result += _limit_order(limit, name, sort, here)
    return result


def _limit_order(limit: Json, name: str, sort: str, here: str) -> Errors:
    low, high = (limit.get("min") or {}).get(name), (limit.get("max") or {}).get(name)
    usual = None if sort == "Pod" else (limit.get("default") or {}).get(name)
    asked = None if sort == "Pod" else (limit.get("defaultRequest") or {}).get(name)
    ratio = (limit.get("maxLimitRequestRatio") or {}).get(name)
    result: Errors = []

    def above(one: str | None, other: str | None, key: str, text: str) -> None:
        if one is not None and other is not None and quantity.compare(one, other) > 0:
            result.append(errors.wrong(f"{here}.{key}[{name}]", STRUCT, text))

    above(low, high, "min", f"min value {low} is greater than max value {high}")
    above(low, asked, "defaultRequest", f"min value {low} is greater than default request value {asked}")
    above(asked, high, "defaultRequest", f"default request value {asked} is greater than max value {high}")
    above(asked, usual, "defaultRequest", f"default request value {asked} is greater than default limit value {usual}")
    above(low, usual, "default", f"min value {low} is greater than default value {usual}")
    above(usual, high, "default", f"default value {usual} is greater than max value {high}")
    if ratio is not None:
        spot = f"{here}.maxLimitRequestRatio[{name}]"
        if quantity.compare(ratio, "1") < 0:
            result.append(errors.wrong(spot, STRUCT, f"ratio {ratio} is less than 1"))
        if low is not None and high is not None and quantity.value_of(low):
            most = float(quantity.value_of(high) / quantity.value_of(low))
            if float(quantity.value_of(ratio)) > most:
                result.append(errors.wrong(spot, STRUCT, f"ratio {ratio} is greater than max/min = {most:f}"))
    fixed = not common.is_native(name) or common.is_hugepages(name)
    if fixed and usual is not None and asked is not None and quantity.compare(usual, asked) != 0:
        text = f"default value {usual} must equal to defaultRequest value {asked} in {name}"
        result.append(errors.wrong(f"{here}.defaultRequest[{name}]", STRUCT, text))
    return result
