"""ResourceQuotas: what a namespace uses, and whether one thing more fits.

Source: k8s.io/apiserver/pkg/admission/plugin/resourcequota and k8s.io/kubernetes/pkg/quota/v1/evaluator/core (v1.33).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from lab.kube import quantity
from lab.kube.registry import Resource
from lab.kube.store import Store
from lab.kube.validation.pods import quality

Json = dict[str, Any]
Usage = dict[str, Decimal]
COUNTED: Final = {
    "pods",
    "services",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
}
COMPUTE: Final = ("cpu", "memory", "ephemeral-storage")


def _ended(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def usage(resource: Resource, obj: Json) -> Usage:
    """What one object counts for."""
    if resource.qualified == "pods":
        return _pod_usage(obj)
    one = Decimal(1)
    found: Usage = {f"count/{resource.qualified}": one}
    if resource.qualified in COUNTED:
        found[resource.plural] = one
    if resource.qualified == "services":
        spec = obj.get("spec") or {}
        ports = Decimal(len(spec.get("ports") or ()))
        if spec.get("type") == "NodePort":
            found["services.nodeports"] = ports
        if spec.get("type") == "LoadBalancer":
            found["services.loadbalancers"] = one
            found["services.nodeports"] = (
                ports if spec.get("allocateLoadBalancerNodePorts") is not False else Decimal(0)
            )
    if resource.qualified == "persistentvolumeclaims":
        spec = obj.get("spec") or {}
        size = quantity.value_of(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))
        found["requests.storage"] = size
        if spec.get("storageClassName"):
            prefix = f"{spec['storageClassName']}.storageclass.storage.k8s.io"
            found |= {f"{prefix}/requests.storage": size, f"{prefix}/persistentvolumeclaims": one}
    return found


def _pod_usage(pod: Json) -> Usage:
    found: Usage = {"count/pods": Decimal(1)}
    if _ended(pod):
        return found
    found["pods"] = Decimal(1)
    spec = pod.get("spec") or {}
    for key in ("requests", "limits"):
        for name, value in _sum(spec, key).items():
            found[f"{key}.{name}"] = value
            if key == "requests":
                found[name] = value
    return found


def _sum(spec: Json, key: str) -> Usage:
    total: Usage = {}
    for container in spec.get("containers") or ():
        for name, value in ((container.get("resources") or {}).get(key) or {}).items():
            total[name] = total.get(name, Decimal(0)) + quantity.value_of(value)
    for container in spec.get("initContainers") or ():
        for name, value in ((container.get("resources") or {}).get(key) or {}).items():
            total[name] = max(total.get(name, Decimal(0)), quantity.value_of(value))
    return total


def _scopes_match(quota: Json, resource: Resource, obj: Json) -> bool:
    spec = quota.get("spec") or {}
    terms = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    terms += (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    if not terms:
        return True
    if resource.qualified != "pods":
        return False
    return all(_scope(term, obj.get("spec") or {}) for term in terms)


def _scope(term: Json, spec: Json) -> bool:
    name = term.get("scopeName")
    if name in ("Terminating", "NotTerminating"):
        limited = spec.get("activeDeadlineSeconds") is not None
        return bool(limited == (name == "Terminating"))
    if name in ("BestEffort", "NotBestEffort"):
        free = quality(spec) == "BestEffort"
        return bool(free == (name == "BestEffort"))
    if name != "PriorityClass":
        return False
    held, operator = spec.get("priorityClassName", ""), term.get("operator")
    if operator in ("Exists", "DoesNotExist"):
        return bool(held) is (operator == "Exists")
    listed = held in (term.get("values") or ())
    return bool(listed) is (operator == "In")


def used(store: Store, namespace: str, quota: Json, resources: Iterable[Resource]) -> Usage:
    """What a namespace uses of what a quota limits."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    total: Usage = {name: Decimal(0) for name in hard}
    for resource in resources:
        for stored in store.collection(resource.storage_key).sorted(namespace)[1]:
            obj = stored.decode()
            if _scopes_match(quota, resource, obj):
                for name, value in usage(resource, obj).items():
                    if name in total:
                        total[name] += value
    return total


def _form(name: str) -> str:
    return "BinarySI" if name.endswith(("memory", "storage")) else "DecimalSI"


def _listed(amounts: Usage, names: Iterable[str]) -> str:
    return ",".join(f"{name}={quantity.render(amounts[name], _form(name))}" for name in sorted(names))


def complaint(store: Store, resource: Resource, new: Json, old: Json | None, namespace: str) -> str:
    """Why a quota refuses an object; nothing where it does not."""
    wanted = usage(resource, new)
    before = usage(resource, old) if old is not None else {}
    for stored in store.collection(("", "resourcequotas")).sorted(namespace)[1]:
        quota = stored.decode()
        hard = {name: quantity.value_of(value) for name, value in ((quota.get("spec") or {}).get("hard") or {}).items()}
        if not hard or not _scopes_match(quota, resource, new):
            continue
        name = quota["metadata"]["name"]
        if resource.qualified == "pods" and old is None:
            missing = _unset(new.get("spec") or {}, hard)
            if missing:
                return f"failed quota: {name}: must specify {missing}"
        delta = {one: wanted[one] - before.get(one, Decimal(0)) for one in wanted if one in hard}
        delta = {one: value for one, value in delta.items() if value > 0}
        if not delta:
            continue
        now = used(store, namespace, quota, [resource])
        over = [one for one in delta if now[one] + delta[one] > hard[one]]
        if over:
            return (
                f"exceeded quota: {name}, requested: {_listed(delta, over)}, used: {_listed(now, over)}, "
                f"limited: {_listed(hard, over)}"
            )
    return ""


def _unset(spec: Json, hard: Usage) -> str:
    """Limited computing resources that a container does not ask for."""
    found: dict[str, list[str]] = {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        for name in hard:
            part, _, bare = name.rpartition(".")
            if bare in COMPUTE and bare not in (resources.get(part or "requests") or {}):
                found.setdefault(name, []).append(container.get("name", ""))
    return "; ".join(f"{name} for: {','.join(sorted(found[name]))}" for name in sorted(found))
