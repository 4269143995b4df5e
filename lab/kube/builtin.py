"""Strategies of the built-in resources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from lab.kube import defaults
from lab.kube.conversion import convert
from lab.kube.schema import crd, meta
from lab.kube.schema.fieldset import FieldSet
from lab.kube.strategies import GENERIC, Strategy
from lab.kube.validation import rules

Json = dict[str, Any]
UNSUPPORTED: Final = "field label not supported: {label}"
Read = Callable[[Json], str]


def _at(*path: str) -> Read:
    def read(obj: Json) -> str:
        value: Any = obj
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else str(value)

    return read


def _fields(*paths: str) -> dict[str, Read]:
    return {path: _at(*path.split(".")) for path in paths}


def _flag(*path: str) -> Read:
    read = _at(*path)
    return lambda obj: read(obj) or "false"


POD_FIELDS: Final = _fields(
    "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase", "status.podIP",
    "status.nominatedNodeName",
) | {"spec.hostNetwork": _flag("spec", "hostNetwork"), "spec.host": _at("spec", "nodeName")}  # fmt: skip
EVENT_FIELDS: Final = _fields(
    "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
    "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "type",
) | {
    "reportingComponent": _at("reportingComponent"),
    "source": lambda obj: str((obj.get("source") or {}).get("component", "") or obj.get("reportingComponent", "")),
}  # fmt: skip
EVENTS_V1_FIELDS: Final = {
    "reason": _at("reason"),
    "type": _at("type"),
    "reportingController": _at("reportingController"),
    **{
        f"regarding.{name}": _at("regarding", name)
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    },
}
CLUSTER = {"namespaced": False}
STATUS_AND_META: Final[FieldSet] = {"f:spec": {}, "f:metadata": {}}
_spec = replace(GENERIC, generation=("spec",), has_status=True)

STRATEGIES: Final[dict[tuple[str, str], Strategy]] = {
    ("", "configmaps"): GENERIC,
    ("", "secrets"): replace(GENERIC, selectable=_fields("type"), unknown_field=UNSUPPORTED),
    ("", "serviceaccounts"): GENERIC,
    ("", "namespaces"): replace(
        GENERIC, names=meta.label, namespaced=False, has_status=True, selectable=_fields("status.phase"), unknown_field=UNSUPPORTED, collected=True,
    ),
    ("", "nodes"): replace(
        GENERIC, namespaced=False, has_status=True, selectable={"spec.unschedulable": _flag("spec", "unschedulable")}, unknown_field=UNSUPPORTED,
    ),
    ("", "pods"): replace(
        GENERIC,
        generation=("spec",),
        has_status=True,
        graceful=True,
        selectable=POD_FIELDS,
        unknown_field=UNSUPPORTED,
        status_reset={"f:spec": {}, "f:metadata": {"f:deletionTimestamp": {}, "f:ownerReferences": {}}},
    ),
    ("", "services"): replace(
        GENERIC, names=meta.label_1035, has_status=True, create_on_update=True, selectable=_fields("spec.clusterIP", "spec.type"), unknown_field=UNSUPPORTED,
    ),
    ("", "endpoints"): replace(GENERIC, create_on_update=True),
    ("", "events"): replace(GENERIC, create_on_update=True, selectable=EVENT_FIELDS, unknown_field=UNSUPPORTED, collected=False),
    ("events.k8s.io", "events"): replace(GENERIC, create_on_update=True, selectable=EVENTS_V1_FIELDS, unknown_field=UNSUPPORTED, collected=False),
    ("", "limitranges"): replace(GENERIC, create_on_update=True),
    ("", "resourcequotas"): replace(GENERIC, has_status=True),
    ("", "persistentvolumes"): replace(GENERIC, namespaced=False, has_status=True),
    ("", "persistentvolumeclaims"): replace(GENERIC, has_status=True),
    ("", "podtemplates"): replace(GENERIC, generation=("template",)),
    ("", "replicationcontrollers"): replace(_spec, selectable=_fields("status.replicas"), unknown_field=UNSUPPORTED, orphans=True),
    ("apps", "deployments"): replace(
        _spec, generation=("spec", "annotations"), status_reset={"f:spec": {}, "f:metadata": {"f:labels": {}}},
    ),
    ("apps", "replicasets"): replace(_spec, selectable=_fields("status.replicas"), unknown_field=UNSUPPORTED),
    ("apps", "daemonsets"): _spec,
    ("apps", "statefulsets"): _spec,
    ("apps", "controllerrevisions"): GENERIC,
    ("batch", "jobs"): replace(
        _spec, selectable={"status.successful": lambda obj: str((obj.get("status") or {}).get("succeeded", 0))},
        unknown_field="field label {quoted} not supported for Job", orphans=False,
    ),
    ("batch", "cronjobs"): _spec,
    ("autoscaling", "horizontalpodautoscalers"): replace(GENERIC, has_status=True),
    ("policy", "poddisruptionbudgets"): replace(_spec, unconditional=False),
    ("networking.k8s.io", "ingresses"): _spec,
    ("networking.k8s.io", "ingressclasses"): replace(GENERIC, namespaced=False, generation=("spec",)),
    ("networking.k8s.io", "networkpolicies"): replace(GENERIC, generation=("spec",)),
    ("networking.k8s.io", "ipaddresses"): replace(GENERIC, namespaced=False),
    ("networking.k8s.io", "servicecidrs"): replace(GENERIC, namespaced=False, has_status=True),
    ("rbac.authorization.k8s.io", "roles"): replace(GENERIC, names=meta.path_segment, create_on_update=True),
    ("rbac.authorization.k8s.io", "rolebindings"): replace(GENERIC, names=meta.path_segment, create_on_update=True),
    ("rbac.authorization.k8s.io", "clusterroles"): replace(GENERIC, names=meta.path_segment, namespaced=False, create_on_update=True),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): replace(GENERIC, names=meta.path_segment, namespaced=False, create_on_update=True),
    ("coordination.k8s.io", "leases"): replace(GENERIC, unconditional=False, create_on_update=True),
    ("discovery.k8s.io", "endpointslices"): replace(GENERIC, generation=("endpoints", "ports", "addressType")),
    ("scheduling.k8s.io", "priorityclasses"): replace(GENERIC, namespaced=False, generation=("value",)),
    ("storage.k8s.io", "storageclasses"): replace(GENERIC, namespaced=False),
    ("storage.k8s.io", "csidrivers"): replace(GENERIC, namespaced=False, unconditional=False),
    ("storage.k8s.io", "csinodes"): replace(GENERIC, namespaced=False, unconditional=False),
    ("storage.k8s.io", "csistoragecapacities"): replace(GENERIC, unconditional=False),
    ("storage.k8s.io", "volumeattachments"): replace(GENERIC, namespaced=False, has_status=True, unconditional=False, status_reset=STATUS_AND_META),
    ("node.k8s.io", "runtimeclasses"): replace(GENERIC, namespaced=False, unconditional=False, create_on_update=True),
    ("certificates.k8s.io", "certificatesigningrequests"): replace(
        GENERIC, namespaced=False, has_status=True, selectable=_fields("spec.signerName"), unknown_field=UNSUPPORTED,
    ),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): replace(GENERIC, namespaced=False, generation=("webhooks",), unconditional=False),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): replace(GENERIC, namespaced=False, generation=("webhooks",), unconditional=False),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): replace(
        GENERIC, namespaced=False, generation=("spec",), has_status=True, unconditional=False, status_reset=STATUS_AND_META,
    ),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"): replace(GENERIC, namespaced=False, generation=("spec",), unconditional=False),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): replace(_spec, namespaced=False, status_reset=STATUS_AND_META),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): replace(_spec, namespaced=False, status_reset=STATUS_AND_META),
    ("apiregistration.k8s.io", "apiservices"): replace(GENERIC, namespaced=False, has_status=True, unconditional=False, status_reset=STATUS_AND_META),
    ("apiextensions.k8s.io", "customresourcedefinitions"): replace(
        _spec, namespaced=False, unconditional=False, default=crd.default, status_reset={"f:metadata": {}, "f:spec": {}},
    ),
}  # fmt: skip


def strategy_of(group: str, plural: str) -> Strategy:
    """The strategy of a built-in resource, with its defaults and validation."""
    strategy = STRATEGIES.get((group, plural), GENERIC)
    made = defaults.BY_RESOURCE.get((group, plural))
    if made is not None:
        strategy = replace(strategy, default=made)
    return rules.complete(group, plural, strategy)


def event_fields(event: Json) -> dict[str, str]:
    """What field selectors can ask of an event (in its v1 form) in either of its groups."""
    other = convert(event, "events.k8s.io/v1")
    found = {name: read(event) for name, read in EVENT_FIELDS.items()}
    return found | {name: value for name, read in EVENTS_V1_FIELDS.items() if (value := read(other))}
