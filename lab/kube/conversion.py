"""Built-in kinds that are served in two forms but stored in one: events, and autoscalers.

Source: k8s.io/kubernetes/pkg/apis/events/v1/conversion.go and pkg/apis/autoscaling/v1/conversion.go (v1.33).
"""

from __future__ import annotations

import json
from typing import Any, Final

from lab.kube.plain import clone

Json = dict[str, Any]
STORED: Final = {
    ("autoscaling", "horizontalpodautoscalers"): "autoscaling/v2",
    ("", "events"): "v1",
    ("events.k8s.io", "events"): "v1",
}
EVENT_NAMES: Final = (
    ("involvedObject", "regarding"), ("source", "deprecatedSource"), ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"), ("count", "deprecatedCount"), ("message", "note"),
    ("reportingComponent", "reportingController"),
)  # fmt: skip
METRICS: Final = "autoscaling.alpha.kubernetes.io/metrics"
BEHAVIOR: Final = "autoscaling.alpha.kubernetes.io/behavior"


def convert(obj: Json, api_version: str) -> Json:
    """An object in another form. Only autoscalers and events change more than the name of their version."""
    if obj.get("apiVersion") == api_version:
        return obj
    made = obj | {"apiVersion": api_version}
    if obj.get("kind") == "Event":
        back = api_version == "v1"
        for core, other in EVENT_NAMES:
            source, target = (other, core) if back else (core, other)
            if source in made:
                made[target] = made.pop(source)
    elif obj.get("kind") == "HorizontalPodAutoscaler":
        return _to_v1(made) if api_version == "autoscaling/v1" else _to_v2(made)
    return made


def _is_cpu(metric: Json) -> bool:
    resource = metric.get("resource") or {}
    return resource.get("name") == "cpu" and (resource.get("target") or {}).get("averageUtilization") is not None


def _to_v1(obj: Json) -> Json:
    made = clone(obj)
    spec, status = made.get("spec") or {}, made.get("status") or {}
    metrics, notes = spec.pop("metrics", None) or [], {}
    behavior = spec.pop("behavior", None)
    for metric in metrics:
        if _is_cpu(metric):
            spec["targetCPUUtilizationPercentage"] = metric["resource"]["target"]["averageUtilization"]
            break
    others = [metric for metric in metrics if not _is_cpu(metric)]
    if others:
        notes[METRICS] = json.dumps(others, separators=(",", ":"))
    if behavior is not None:
        notes[BEHAVIOR] = json.dumps(behavior, separators=(",", ":"))
    for metric in status.pop("currentMetrics", None) or ():
        current = (metric.get("resource") or {}).get("current") or {}
        if (metric.get("resource") or {}).get("name") == "cpu" and current.get("averageUtilization") is not None:
            status["currentCPUUtilizationPercentage"] = current["averageUtilization"]
    status.pop("conditions", None)
    if notes:
        made["metadata"]["annotations"] = {**(made["metadata"].get("annotations") or {}), **notes}
    return made


def _to_v2(obj: Json) -> Json:
    made = clone(obj)
    spec, status = made.get("spec") or {}, made.get("status") or {}
    notes = dict(made.get("metadata", {}).get("annotations") or {})
    metrics = json.loads(notes.pop(METRICS, "[]"))
    if BEHAVIOR in notes:
        spec["behavior"] = json.loads(notes.pop(BEHAVIOR))
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    used = status.pop("currentCPUUtilizationPercentage", None)
    if used is not None:
        current = {"averageUtilization": used, "averageValue": "0"}
        status["currentMetrics"] = [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
    if made.get("metadata", {}).get("annotations") is not None:
        made["metadata"]["annotations"] = notes
        if not notes:
            del made["metadata"]["annotations"]
    return made
