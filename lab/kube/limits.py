"""LimitRanges: what they fill in and what they refuse. Source: k8s.io/kubernetes/plugin/pkg/admission/limitranger (v1.33)."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from lab.kube import quantity

Json = dict[str, Any]


def _items(found: Json, sort: str) -> Iterator[Json]:
    for item in (found.get("spec") or {}).get("limits") or ():
        if item.get("type") == sort:
            yield item


def fill_in(pod: Json, found: Json) -> None:
    """Default requests and limits of containers, in place, with an annotation that tells of it."""
    notes: list[str] = []
    for item in _items(found, "Container"):
        for key, words in (("containers", "container"), ("initContainers", "init container")):
            for container in pod["spec"].get(key) or ():
                _container(container, item, words, notes)
    if notes:
        annotations = pod["metadata"].get("annotations") or {}
        text = f"LimitRanger plugin set: {'; '.join(notes)}"
        pod["metadata"]["annotations"] = annotations | {"kubernetes.io/limit-ranger": text}


def _container(container: Json, item: Json, words: str, notes: list[str]) -> None:
    resources = container.setdefault("resources", {})
    for key, source, name in (("limits", "default", "limit"), ("requests", "defaultRequest", "request")):
        given = dict(resources.get(key) or {})
        added = [one for one in item.get(source) or {} if one not in given]
        for one in added:
            given[one] = item[source][one]
        if given:
            resources[key] = given
        if added:
            notes.append(f"{', '.join(sorted(added))} {name} for {words} {container.get('name', '')}")


def _amounts(spec: Json, key: str) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for container in spec.get("containers") or ():
        for name, value in ((container.get("resources") or {}).get(key) or {}).items():
            total[name] = total.get(name, Decimal(0)) + quantity.value_of(value)
    for container in spec.get("initContainers") or ():
        for name, value in ((container.get("resources") or {}).get(key) or {}).items():
            total[name] = max(total.get(name, Decimal(0)), quantity.value_of(value))
    return total


def complaints(obj: Json, kind: str, found: Json) -> list[str]:
    """Why a pod or claim is beyond the limits."""
    result: list[str] = []
    if kind == "PersistentVolumeClaim":
        requests = ((obj["spec"].get("resources") or {}).get("requests")) or {}
        for item in _items(found, kind):
            for name, low in (item.get("min") or {}).items():
                have = requests.get(name)
                if have is None or quantity.compare(have, low) < 0:
                    shown = "" if have is None else f", but request is {have}"
                    result.append(f"minimum {name} usage per {kind} is {low}{shown or '.  No request is specified'}")
            for name, high in (item.get("max") or {}).items():
                have = requests.get(name)
                if have is not None and quantity.compare(have, high) > 0:
                    result.append(f"maximum {name} usage per {kind} is {high}, but request is {have}")
        return result
    spec = obj["spec"]
    for item in _items(found, "Container"):
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            resources = container.get("resources") or {}
            result += _bounds(item, resources.get("requests") or {}, resources.get("limits") or {}, "Container")
    for item in _items(found, "Pod"):
        asked = {name: quantity.render(value) for name, value in _amounts(spec, "requests").items()}
        most = {name: quantity.render(value) for name, value in _amounts(spec, "limits").items()}
        result += _bounds(item, asked, most, "Pod")
    return result


def _bounds(item: Json, requests: Json, limits: Json, sort: str) -> list[str]:
    result: list[str] = []
    for name, low in (item.get("min") or {}).items():
        words = f"minimum {name} usage per {sort} is {low}"
        if name not in requests:
            result.append(f"{words}.  No request is specified")
        elif quantity.compare(requests[name], low) < 0:
            result.append(f"{words}, but request is {requests[name]}")
        elif name in limits and quantity.compare(limits[name], low) < 0:
            result.append(f"{words}, but limit is {limits[name]}")
    for name, high in (item.get("max") or {}).items():
        words = f"maximum {name} usage per {sort} is {high}"
        if name not in limits:
            result.append(f"{words}.  No limit is specified")
        elif quantity.compare(limits[name], high) > 0:
            result.append(f"{words}, but limit is {limits[name]}")
        elif name in requests and quantity.compare(requests[name], high) > 0:
            result.append(f"{words}, but request is {requests[name]}")
    for name, ratio in (item.get("maxLimitRequestRatio") or {}).items():
        words = f"{name} max limit to request ratio per {sort} is {ratio}"
        if not quantity.value_of(requests.get(name, "0")):
            result.append(f"{words}, but no request is specified or request is 0")
        elif name not in limits:
            result.append(f"{words}, but no limit is specified or limit is 0")
        else:
            have = quantity.value_of(limits[name]) / quantity.value_of(requests[name])
            if have > quantity.value_of(ratio):
                result.append(f"{words}, but provided ratio is {have:f}")
    return result
