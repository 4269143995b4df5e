"""Deployments and the other owners of pods. Source: k8s.io/kubernetes/pkg/apis/apps/validation validation.go (v1.33)."""

from __future__ import annotations

import json
from typing import Any, Final

from lab.kube import errors, names, selectors
from lab.kube.errors import Raw
from lab.kube.schema import meta
from lab.kube.validation import common, pods
from lab.kube.validation.common import STRUCT, Errors, each

Json = dict[str, Any]
MISMATCH: Final = "`selector` does not match template `labels`"
ABOVE: Final = "cannot be greater than status.replicas"
STATEFUL_FORBIDDEN: Final = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
STATEFUL_FREE: Final = (
    "replicas", "template", "updateStrategy", "minReadySeconds", "ordinals", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
)  # fmt: skip


def go_labels(found: Json | None) -> Raw:
    """A map of strings as Go dumps it in an error."""
    if found is None:
        return Raw("map[string]string(nil)")
    return Raw(json.dumps(found, separators=(",", ":"), sort_keys=True))


def matches(selector: Json | None, found: Json | None) -> bool | None:
    """Whether labels fit a selector; None where it is none."""
    if selector is None:
        return False
    try:
        made = selectors.of_object(selector)
    except ValueError:
        return None
    return made is None or selectors.matches(made, found or {})


def _count(spec: Json, key: str, field: str = "spec") -> Errors:
    return common.non_negative(spec.get(key, 0), f"{field}.{key}")


def _template_labels(spec: Json, field: str) -> Errors:
    selector, template = spec.get("selector"), spec.get("template") or {}
    found = (template.get("metadata") or {}).get("labels")
    if (selector is None or not common.is_empty_selector(selector)) and matches(selector, found) is False:
        return [errors.wrong(f"{field}.metadata.labels", go_labels(found), MISMATCH)]
    return []


def _always(template: Json, owner: str, field: str) -> Errors:
    spec = template.get("spec") or {}
    result: Errors = []
    if spec.get("restartPolicy") != "Always":
        result.append(errors.unsupported(f"{field}.spec.restartPolicy", spec.get("restartPolicy", ""), ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        text = f"activeDeadlineSeconds in {owner} is not Supported"
        result.append(errors.forbidden_field(f"{field}.spec.activeDeadlineSeconds", text))
    return result


def _selector(spec: Json, owner: str) -> Errors:
    found = spec.get("selector")
    if found is None:
        return [errors.required("spec.selector")]
    result = common.selector(found, "spec.selector")
    if common.is_empty_selector(found):
        text = f"empty selector is invalid for {owner}"
        result.append(errors.wrong("spec.selector", Raw("{}"), text))
    return result


def _replica_template(spec: Json) -> Errors:
    if matches(spec.get("selector"), {}) is None:
        return [errors.wrong("spec.selector", STRUCT, "invalid label selector")]
    template = spec.get("template") or {}
    here = "spec.template"
    return _template_labels(spec, here) + pods.template(template, here) + _always(template, "ReplicaSet", here)


def deployment(new: Json, old: Json | None) -> Errors:
    """Source: ValidateDeploymentSpec."""
    spec = new["spec"]
    result = _count(spec, "replicas") + _selector(spec, "deployment") + _replica_template(spec)
    result += _deployment_strategy(spec.get("strategy") or {}) + _count(spec, "minReadySeconds")
    if spec.get("revisionHistoryLimit") is not None:
        result += _count(spec, "revisionHistoryLimit")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        result += _count(spec, "progressDeadlineSeconds")
        if deadline <= spec.get("minReadySeconds", 0):
            text = "must be greater than minReadySeconds"
            result.append(errors.wrong("spec.progressDeadlineSeconds", deadline, text))
    if old is not None:
        result += common.immutable(spec.get("selector"), old["spec"].get("selector"), "spec.selector")
    return result


def _deployment_strategy(found: Json) -> Errors:
    sort, rolling, here = found.get("type", ""), found.get("rollingUpdate"), "spec.strategy"
    if sort == "Recreate":
        if rolling is None:
            return []
        text = "may not be specified when strategy `type` is 'Recreate'"
        return [errors.forbidden_field(f"{here}.rollingUpdate", text)]
    if sort != "RollingUpdate":
        return [errors.unsupported(here, STRUCT, ("Recreate", "RollingUpdate"))]
    if rolling is None:
        return [errors.required(f"{here}.rollingUpdate", "this should be defaulted and never be nil")]
    down, up, here = rolling.get("maxUnavailable"), rolling.get("maxSurge"), f"{here}.rollingUpdate"
    result = common.integer_or_percent(down, f"{here}.maxUnavailable") + common.integer_or_percent(
        up, f"{here}.maxSurge"
    )
    if common.number_of(down) == 0 and common.number_of(up) == 0:
        result.append(errors.wrong(f"{here}.maxUnavailable", down, "may not be 0 when `maxSurge` is 0"))
    return result + common.at_most_100(down, f"{here}.maxUnavailable")


def replica_set(new: Json, old: Json | None) -> Errors:
    """Source: ValidateReplicaSetSpec."""
    spec = new["spec"]
    result = _count(spec, "replicas") + _count(spec, "minReadySeconds")
    result += _selector(spec, "deployment") + _replica_template(spec)
    if old is not None:
        result += common.immutable(spec.get("selector"), old["spec"].get("selector"), "spec.selector")
    return result


def replication_controller(new: Json, old: Json | None) -> Errors:
    """Source: ValidateReplicationControllerSpec."""
    spec = new["spec"]
    result = _count(spec, "minReadySeconds")
    selector, template = spec.get("selector") or {}, spec.get("template")
    if not selector:
        result.append(errors.required("spec.selector"))
    result += _count(spec, "replicas")
    here = "spec.template"
    if template is None:
        return [*result, errors.required(here)]
    found = (template.get("metadata") or {}).get("labels") or {}
    if selector and any(found.get(key) != value for key, value in selector.items()):
        result.append(errors.wrong(f"{here}.metadata.labels", go_labels(found), MISMATCH))
    return result + pods.template(template, here) + _always(template, "ReplicationController", here)


def daemon_set(new: Json, old: Json | None) -> Errors:
    """Source: ValidateDaemonSetSpec."""
    spec = new["spec"]
    selector, template, here = spec.get("selector"), spec.get("template") or {}, "spec.template"
    result = common.selector(selector, "spec.selector")
    found = (template.get("metadata") or {}).get("labels")
    if matches(selector, found) is False:
        result.append(errors.wrong(f"{here}.metadata.labels", go_labels(found), MISMATCH))
    if selector is not None and common.is_empty_selector(selector):
        result.append(errors.wrong("spec.selector", Raw("{}"), "empty selector is invalid for daemonset"))
    result += pods.template(template, here) + _always(template, "DaemonSet", here) + _count(spec, "minReadySeconds")
    result += _daemon_strategy(spec.get("updateStrategy") or {})
    if spec.get("revisionHistoryLimit") is not None:
        result += _count(spec, "revisionHistoryLimit")
    if old is not None:
        result += common.immutable(selector, old["spec"].get("selector"), "spec.selector")
    return result


def _daemon_strategy(found: Json) -> Errors:
    sort, rolling, here = found.get("type", ""), found.get("rollingUpdate"), "spec.updateStrategy"
    if sort == "OnDelete":
        return []
    if sort != "RollingUpdate":
        return [errors.unsupported(here, STRUCT, ("RollingUpdate", "OnDelete"))]
    here = f"{here}.rollingUpdate"
    if rolling is None:
        return [errors.required(here)]
    down, up = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    result = common.integer_or_percent(down, f"{here}.maxUnavailable") + common.integer_or_percent(
        up, f"{here}.maxSurge"
    )
    result += common.at_most_100(down, f"{here}.maxUnavailable") + common.at_most_100(up, f"{here}.maxSurge")
    lost, extra = common.number_of(down), common.number_of(up)
    if lost and extra:
        result.append(errors.wrong(f"{here}.maxSurge", up, "may not be set when maxUnavailable is non-zero"))
    elif not lost and not extra:
        result.append(errors.required(f"{here}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return result


def stateful_set(new: Json, old: Json | None) -> Errors:
    """Source: ValidateStatefulSetSpec."""
    spec, result = new["spec"], []
    policy = spec.get("podManagementPolicy", "")
    if not policy:
        result.append(errors.required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        result.append(errors.wrong("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    result += _stateful_strategy(spec.get("updateStrategy") or {})
    keep = spec.get("persistentVolumeClaimRetentionPolicy")
    for key in ("whenDeleted", "whenScaled") if keep is not None else ():
        if keep.get(key) not in ("Retain", "Delete"):
            here = f"spec.persistentVolumeClaimRetentionPolicy.{key}"
            result.append(errors.unsupported(here, keep.get(key, ""), ("Retain", "Delete")))
    result += _count(spec, "replicas") + _count(spec, "minReadySeconds")
    if spec.get("ordinals") is not None:
        result += common.non_negative(spec["ordinals"].get("start", 0), "spec.ordinals.start")
    if old is None and spec.get("serviceName"):
        result += each("spec.serviceName", spec["serviceName"], names.dns1123_label(spec["serviceName"]))
    result += _selector(spec, "statefulset")
    template, here = spec.get("template") or {}, "spec.template"
    if matches(spec.get("selector"), {}) is None:
        result.append(errors.wrong("spec.selector", STRUCT, ""))
    else:
        inner = template.get("metadata") or {}
        result += _template_labels(spec, here) + meta.labels(inner.get("labels"), f"{here}.labels")
        result += meta.annotation_map(inner.get("annotations"), f"{here}.annotations")
        result += pods.pod_annotations(inner.get("annotations"), f"{here}.annotations")
    result += _always(template, "StatefulSet", here)
    if old is not None:
        fixed = {key: value for key, value in spec.items() if key not in STATEFUL_FREE}
        before = {key: value for key, value in old["spec"].items() if key not in STATEFUL_FREE}
        if fixed != before:
            result.append(errors.forbidden_field("spec", STATEFUL_FORBIDDEN))
    return result


def _stateful_strategy(found: Json) -> Errors:
    sort, rolling, here = found.get("type", ""), found.get("rollingUpdate"), "spec.updateStrategy"
    if not sort:
        return [errors.required(here)]
    if sort == "OnDelete":
        if rolling is None:
            return []
        text = "only allowed for updateStrategy 'RollingUpdate'"
        return [errors.wrong(f"{here}.rollingUpdate", STRUCT, text)]
    if sort != "RollingUpdate":
        return [errors.wrong(here, STRUCT, "must be 'RollingUpdate' or 'OnDelete'")]
    if rolling is None:
        return []
    here = f"{here}.rollingUpdate"
    result = common.non_negative(rolling.get("partition", 0), f"{here}.partition")
    down = rolling.get("maxUnavailable")
    if down is not None:
        here = f"{here}.maxUnavailable"
        result += common.integer_or_percent(down, here)
        if common.number_of(down) == 0:
            result.append(errors.wrong(here, down, "cannot be 0"))
        result += common.at_most_100(down, here)
    return result


def controller_revision(new: Json, old: Json | None) -> Errors:
    """Source: ValidateControllerRevision."""
    result = common.non_negative(new.get("revision", 0), "revision")
    data = new.get("data")
    if old is not None:
        return result + common.immutable(data, old.get("data"), "data")
    if data is None:
        result.append(errors.required("data", "data is mandatory"))
    elif not isinstance(data, dict):
        result.append(errors.required("data", "data must be a valid JSON object"))
    return result


def pod_template(new: Json, old: Json | None) -> Errors:
    """A PodTemplate object."""
    return pods.template(new.get("template"), "template")


# -------------------------------------------------------------------------------------------------------------- status
def _status(
    new: Json, keys: tuple[str, ...], below: tuple[str, ...], ready: str = "", *, signed: bool = False
) -> Errors:
    status = new.get("status") or {}
    result: Errors = []
    for key in keys:
        result += common.non_negative(status.get(key, 0), f"status.{key}")
    for key in below:
        if status.get(key, 0) > status.get("replicas", 0):
            result.append(errors.wrong(f"status.{key}", status[key], ABOVE))
    if ready and status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        result.append(errors.wrong("status.availableReplicas", status["availableReplicas"], ready))
    return result


def _decremented(new: Json, old: Json | None) -> Errors:
    now = (new.get("status") or {}).get("collisionCount")
    before = ((old or {}).get("status") or {}).get("collisionCount")
    if before is not None and (now is None or now < before):
        return [errors.wrong("status.collisionCount", now or 0, "cannot be decremented")]
    return []


def deployment_status(new: Json, old: Json | None) -> Errors:
    """Source: ValidateDeploymentStatus."""
    keys = (
        "observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas",
        "terminatingReplicas", "collisionCount",
    )  # fmt: skip
    below = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return _status(new, keys, below, "cannot be greater than readyReplicas") + _decremented(new, old)


def replica_set_status(new: Json, old: Json | None) -> Errors:
    """Source: ValidateReplicaSetStatus."""
    keys = (
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    )
    below = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    return _status(new, keys, below, "cannot be greater than readyReplicas")


def stateful_set_status(new: Json, old: Json | None) -> Errors:
    """Source: ValidateStatefulSetStatus."""
    keys = (
        "replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas", "observedGeneration",
        "collisionCount",
    )  # fmt: skip
    below = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    return _status(new, keys, below, "cannot be greater than status.readyReplicas") + _decremented(new, old)


def daemon_set_status(new: Json, old: Json | None) -> Errors:
    """Source: validateDaemonSetStatus."""
    keys = (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
        "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount",
    )  # fmt: skip
    return _status(new, keys, ()) + _decremented(new, old)
