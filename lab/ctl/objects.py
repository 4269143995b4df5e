"""Pure functions on Kubernetes objects that several controllers need. Nothing here changes its arguments unless it says so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from lab.clock import Clock
from lab.kube.plain import clone

Object = dict[str, Any]
ReadOnly = Mapping[str, Any]

SAFE = "bcdfghjklmnpqrstvwxz2456789"  # k8s.io/apimachinery/pkg/util/rand: no vowels, nothing that looks like another
HASH_LABEL = "pod-template-hash"
REVISION_LABEL = "controller-revision-hash"


def stamp(moment: datetime) -> str:
    """RFC 3339 in whole seconds, as metav1.Time."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def micro_stamp(moment: datetime) -> str:
    """RFC 3339 with microseconds, as metav1.MicroTime."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"


def moment_of(text: str) -> datetime:
    """The inverse of `stamp` and `micro_stamp`."""
    return datetime.fromisoformat(text).astimezone(UTC)


def seconds_since(clock: Clock, text: str) -> float:
    """Simulated seconds from a time in an object until now."""
    return (clock.now() - moment_of(text)).total_seconds()


def after(text: str, seconds: float) -> datetime:
    """`seconds` after a time in an object."""
    return moment_of(text) + timedelta(seconds=seconds)


def owner_reference(owner: ReadOnly, *, blocks: bool = True) -> Object:
    """The reference by which `owner` controls its dependents."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": blocks,
    }


def controller_of(obj: ReadOnly) -> Object | None:
    """The owner reference of the managing controller."""
    return next((ref for ref in obj["metadata"].get("ownerReferences", ()) if ref.get("controller")), None)


def deleting(obj: ReadOnly) -> bool:
    """Whether the object is on its way out."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def safe_hash(value: Any) -> str:
    """A hash of a JSON value in the alphabet of generated names. Source: controller.ComputeHash (FNV-32a, SafeEncodeString)."""
    return _hashed(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


@lru_cache(maxsize=512)
def _hashed(text: bytes) -> str:
    """Byte by byte: templates are hashed again at every look at their workload."""
    digest = 2166136261
    for byte in text:
        digest = (digest ^ byte) * 16777619 & 0xFFFFFFFF
    return "".join(SAFE[ord(char) % len(SAFE)] for char in str(digest))


def matches(selector: ReadOnly | None, labels: ReadOnly) -> bool:
    """Whether a LabelSelector selects these labels. None selects nothing, an empty one everything."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(requirement_met(r, labels) for r in selector.get("matchExpressions") or ())


def requirement_met(requirement: ReadOnly, labels: ReadOnly) -> bool:
    """One expression of a label selector or node selector."""
    key = requirement["key"]
    values: Sequence[Any] = requirement.get("values") or ()
    match requirement["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case "Gt":
            return key in labels and int(labels[key]) > int(values[0])
        case "Lt":
            return key in labels and int(labels[key]) < int(values[0])
    return False


def selector_text(selector: ReadOnly) -> str:
    """A LabelSelector as a query writes it."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for r in selector.get("matchExpressions") or ():
        values = ",".join(sorted(r.get("values") or ()))
        forms = {"In": f"{r['key']} in ({values})", "NotIn": f"{r['key']} notin ({values})", "Exists": r["key"]}
        parts.append(forms.get(r["operator"], f"!{r['key']}"))
    return ",".join(parts)


# ------------------------------------------------------------------------------------------------------- conditions


def condition(obj: ReadOnly, kind: str) -> Object | None:
    """The condition of a type in `status.conditions`."""
    return next((c for c in obj.get("status", {}).get("conditions") or () if c["type"] == kind), None)


def condition_status(obj: ReadOnly, kind: str) -> str:
    """ "True", "False", "Unknown", or "" where it is not there."""
    found = condition(obj, kind)
    return str(found["status"]) if found else ""


def set_condition(conditions: Iterable[ReadOnly], new: ReadOnly, now: str) -> list[Object]:
    """The conditions with one set; its transition time moves with its status alone, an old `lastUpdateTime` with any change."""
    out: list[Object] = [dict(c) for c in conditions]
    for place, old in enumerate(out):
        if old["type"] != new["type"]:
            continue
        same_status = old.get("status") == new["status"]
        changed = any(old.get(key) != new.get(key) for key in ("status", "reason", "message"))
        merged = {**old, **new}
        merged["lastTransitionTime"] = old.get("lastTransitionTime", now) if same_status else now
        if "lastUpdateTime" in old:
            merged["lastUpdateTime"] = now if changed else old["lastUpdateTime"]
        out[place] = merged
        return out
    out.append({**new, "lastTransitionTime": now})
    return out


# ------------------------------------------------------------------------------------------------------------- pods


def pod_ready(pod: ReadOnly) -> bool:
    """Whether the pod's Ready condition is True."""
    return condition_status(pod, "Ready") == "True"


def pod_available(pod: ReadOnly, min_ready_seconds: int, now: datetime) -> bool:
    """Ready, and for long enough."""
    found = condition(pod, "Ready")
    if not found or found["status"] != "True":
        return False
    if not min_ready_seconds:
        return True
    return bool(after(found["lastTransitionTime"], min_ready_seconds) <= now)


def pod_finished(pod: ReadOnly) -> bool:
    """Succeeded or Failed."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def pod_active(pod: ReadOnly) -> bool:
    """Neither finished nor on its way out. Source: controller.IsPodActive."""
    return not pod_finished(pod) and not deleting(pod)


def deletion_rank(pod: ReadOnly) -> tuple[bool, int, bool, str]:
    """Sort key: the pods to delete first when scaling down. Source: controller.ActivePods (simplified)."""
    phase = {"Pending": 0, "Unknown": 1}.get(pod.get("status", {}).get("phase", ""), 2)
    return (
        bool(pod["spec"].get("nodeName")),
        phase,
        pod_ready(pod),
        "".join(chr(255 - ord(c)) if ord(c) < 255 else c for c in pod["metadata"].get("creationTimestamp", "")),
    )


def pod_from_template(template: ReadOnly, owner: ReadOnly, labels: ReadOnly | None = None) -> Object:
    """A new pod of a workload's template, owned by it; nameless."""
    meta: Object = {"labels": {**(template.get("metadata", {}).get("labels") or {}), **(labels or {})}}
    annotations = template.get("metadata", {}).get("annotations")
    if annotations:
        meta["annotations"] = dict(annotations)
    if template.get("metadata", {}).get("finalizers"):
        meta["finalizers"] = list(template["metadata"]["finalizers"])
    meta["namespace"] = owner["metadata"]["namespace"]
    meta["ownerReferences"] = [owner_reference(owner)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": clone(dict(template["spec"]))}


def int_or_percent(value: int | str | None, total: int, *, up: bool) -> int:
    """An IntOrString resolved against `total`; percentages are rounded up or down."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    scaled = int(value.rstrip("%")) * total
    return -(-scaled // 100) if up else scaled // 100


# ---------------------------------------------------------------------------------------------- taints and affinity


def tolerates(tolerations: Sequence[ReadOnly], taint: ReadOnly) -> bool:
    """Whether any of the tolerations covers a taint. Source: k8s.io/component-helpers/scheduling/corev1."""
    for t in tolerations:
        if t.get("effect") and t["effect"] != taint["effect"]:
            continue
        if t.get("key") and t["key"] != taint["key"]:
            continue
        if not t.get("key") and t.get("operator") != "Exists":
            continue
        if t.get("operator", "Equal") == "Exists" or (t.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


def node_affinity_met(spec: ReadOnly, node: ReadOnly) -> bool:
    """nodeSelector and required node affinity of a pod spec."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        all(requirement_met(r, labels) for r in term.get("matchExpressions") or ())
        and all(requirement_met(r, fields) for r in term.get("matchFields") or ())
        for term in required["nodeSelectorTerms"]
        if term.get("matchExpressions") or term.get("matchFields")
    )
