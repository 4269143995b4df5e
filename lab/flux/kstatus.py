"""Whether a live object is what it is meant to be: kstatus, as Flux waits by it. Pure.

Source: github.com/fluxcd/cli-utils pkg/kstatus/status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

CURRENT, IN_PROGRESS, FAILED, TERMINATING, NOT_FOUND = "Current", "InProgress", "Failed", "Terminating", "NotFound"
Live = Mapping[str, Any]


def condition(obj: Live, kind: str) -> Live:
    """A condition; empty where there is none."""
    return next((c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") == kind), {})


def status_of(obj: Live | None) -> str:
    """The state of an object."""
    if obj is None:
        return NOT_FOUND
    if obj["metadata"].get("deletionTimestamp"):
        return TERMINATING
    status = obj.get("status") or {}
    observed = status.get("observedGeneration")
    if observed is not None and observed != obj["metadata"].get("generation", observed):
        return IN_PROGRESS
    own = {
        "Deployment": _deployment, "DaemonSet": _daemonset, "StatefulSet": _statefulset, "ReplicaSet": _replicaset, "Pod": _pod, "PersistentVolumeClaim": _claim, "Service": _service,
        "Job": _job, "CustomResourceDefinition": _crd,
    }.get(str(obj.get("kind")))  # fmt: skip
    if own is not None and str(obj.get("apiVersion")) in ("v1", "apps/v1", "batch/v1", "apiextensions.k8s.io/v1"):
        return own(obj)
    return _generic(obj)


def _generic(obj: Live) -> str:
    if condition(obj, "Stalled").get("status") == "True":
        return FAILED
    if condition(obj, "Reconciling").get("status") == "True":
        return IN_PROGRESS
    ready = condition(obj, "Ready")
    if ready:
        return CURRENT if ready.get("status") == "True" else IN_PROGRESS
    return CURRENT


def _deployment(obj: Live) -> str:
    status, wanted = obj.get("status") or {}, obj["spec"].get("replicas", 1)
    if "observedGeneration" not in status:
        return IN_PROGRESS
    progressing = condition(obj, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return FAILED
    numbers = [status.get(k, 0) for k in ("updatedReplicas", "availableReplicas", "readyReplicas")]
    if any(n < wanted for n in numbers) or status.get("replicas", 0) > status.get("updatedReplicas", 0):
        return IN_PROGRESS
    return CURRENT if condition(obj, "Available").get("status") == "True" or not wanted else IN_PROGRESS


def _daemonset(obj: Live) -> str:
    status = obj.get("status") or {}
    if "observedGeneration" not in status:
        return IN_PROGRESS
    wanted = status.get("desiredNumberScheduled", 0)
    return CURRENT if all(status.get(k, 0) >= wanted for k in ("updatedNumberScheduled", "numberAvailable", "numberReady", "currentNumberScheduled")) else IN_PROGRESS


def _statefulset(obj: Live) -> str:
    status, wanted = obj.get("status") or {}, obj["spec"].get("replicas", 1)
    return CURRENT if all(status.get(k, 0) >= wanted for k in ("readyReplicas", "currentReplicas")) else IN_PROGRESS


def _replicaset(obj: Live) -> str:
    status, wanted = obj.get("status") or {}, obj["spec"].get("replicas", 1)
    return CURRENT if all(status.get(k, 0) >= wanted for k in ("readyReplicas", "availableReplicas")) else IN_PROGRESS


def _pod(obj: Live) -> str:
    phase = (obj.get("status") or {}).get("phase")
    if phase == "Succeeded":
        return CURRENT
    if phase == "Failed":
        return FAILED
    return CURRENT if condition(obj, "Ready").get("status") == "True" else IN_PROGRESS


def _claim(obj: Live) -> str:
    return CURRENT if (obj.get("status") or {}).get("phase") == "Bound" else IN_PROGRESS


def _service(obj: Live) -> str:
    if obj["spec"].get("type") == "LoadBalancer":
        return CURRENT if ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") else IN_PROGRESS
    return CURRENT


def _job(obj: Live) -> str:
    if condition(obj, "Failed").get("status") == "True":
        return FAILED
    return CURRENT if condition(obj, "Complete").get("status") == "True" or (obj.get("status") or {}).get("startTime") else IN_PROGRESS


def _crd(obj: Live) -> str:
    if condition(obj, "NamesAccepted").get("status") == "False":
        return FAILED
    return CURRENT if condition(obj, "Established").get("status") == "True" else IN_PROGRESS


@lru_cache(maxsize=256)
def _compiled(expression: str) -> Any:
    import cel  # brings a command line with it: a third of a second that only sites with expressions spend

    return cel.compile(expression)


def evaluate(expression: str, variables: Mapping[str, Any]) -> bool | None:
    """A CEL expression's verdict; None where it errs, as one that touches a missing field does."""
    try:
        return bool(_compiled(expression).execute(dict(variables)))
    except (ValueError, RuntimeError, TypeError, KeyError):
        return None


def by_expressions(obj: Live | None, expressions: Sequence[Mapping[str, Any]]) -> str | None:
    """The state by the healthCheckExprs of the object's kind; None where there are none for it."""
    if obj is None:
        return None
    for one in expressions:
        if one["apiVersion"] == obj.get("apiVersion") and one["kind"] == obj.get("kind"):
            for key, state in (("inProgress", IN_PROGRESS), ("failed", FAILED), ("current", CURRENT)):
                if one.get(key) and evaluate(one[key], {**obj, "self": obj}) is True:
                    return state
            return IN_PROGRESS
    return None
