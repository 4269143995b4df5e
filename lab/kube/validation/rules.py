"""Which rules belong to which resource, and what is set or dropped before they are asked.

Source: k8s.io/kubernetes/pkg/registry/*/*/strategy.go (v1.33).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from lab.kube import services as allocation
from lab.kube.defaults import TEMPLATE_GENERATION
from lab.kube.errors import FieldError
from lab.kube.schema import meta
from lab.kube.strategies import Context, Strategy
from lab.kube.validation import batch, core, definitions, others, pods, services, storage, workloads

Json = dict[str, Any]
Check = Callable[[Json, Json | None], list[FieldError]]
First = Callable[[Json, Json], list[FieldError]]
Warn = Callable[[Json, Json | None], list[str]]
Prepare = Callable[[Json, Json | None, Context], None]
STATUS_KEPT: Final = {("", "nodes"), ("networking.k8s.io", "servicecidrs")}


def _fine(new: Json, old: Json | None) -> list[FieldError]:
    return []


def _nothing_first(new: Json, old: Json) -> list[FieldError]:
    return []


def _no_preparation(new: Json, old: Json | None, context: Context) -> None:
    return None


def _no_warnings(new: Json, old: Json | None) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Rules:
    """`order` says what an update asks, a letter a step.

    M: metadata as at creation; F: that and the rules as at creation; U: metadata against the old one; C: the rules, knowing the
    old object; O: `update`.
    """

    check: Check = _fine
    order: str = "U"
    core: bool = True  # finalizers have to be standard or qualified
    update: First = _nothing_first
    status: Check = _fine
    status_order: str = "U"
    prepare: Prepare = _no_preparation
    prepare_status: Prepare = _no_preparation
    warn: Warn = _no_warnings
    names: meta.NameCheck | None = None


def _whole(new: Json, rules: Rules, strategy: Strategy) -> list[FieldError]:
    found = meta.validate(new["metadata"], strategy.namespaced, rules.names or strategy.names)
    return found + _finalizers(new["metadata"], rules)


def _update(new: Json, old: Json, rules: Rules, strategy: Strategy) -> list[FieldError]:
    found: list[FieldError] = []
    for step in rules.order:
        if step in "MF":
            found += _whole(new, rules, strategy)
        if step == "F":
            found += rules.check(new, None)
        elif step == "U":
            found += meta.validate_update(new["metadata"], old["metadata"]) + _finalizers(new["metadata"], rules)
        elif step == "C":
            found += rules.check(new, old)
        elif step == "O":
            found += rules.update(new, old)
    return found


def _finalizers(meta_: Json, rules: Rules) -> list[FieldError]:
    found: list[FieldError] = []
    for place, name in enumerate(meta_.get("finalizers") or ()) if rules.core else ():
        found += core.finalizer(name, f"metadata.finalizers[{place}]")
    return found


# ------------------------------------------------------------------------------------------------------- preparations
def _namespace(new: Json, old: Json | None, context: Context) -> None:
    if old is not None:
        new["spec"] = {**(new.get("spec") or {}), "finalizers": (old.get("spec") or {}).get("finalizers")}
        if new["spec"]["finalizers"] is None:
            del new["spec"]["finalizers"]
        return
    spec = new["spec"] = new.get("spec") or {}
    finalizers = list(spec.get("finalizers") or ())
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    spec["finalizers"] = finalizers
    new["status"] = {"phase": "Active"}


def _pod(new: Json, old: Json | None, context: Context) -> None:
    if old is None:
        new["status"] = {"phase": "Pending", "qosClass": pods.quality(new["spec"])}


def _pod_status(new: Json, old: Json | None, context: Context) -> None:
    kept = ((old or {}).get("status") or {}).get("qosClass")
    if kept:
        new["status"] = {**(new.get("status") or {}), "qosClass": kept}


def _daemon_set(new: Json, old: Json | None, context: Context) -> None:
    notes = new["metadata"].get("annotations") or {}
    new["metadata"]["annotations"] = notes
    if old is None:
        notes[TEMPLATE_GENERATION] = "1"
        return
    before = (old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "1")
    moved = new["spec"].get("template") != old["spec"].get("template")
    notes[TEMPLATE_GENERATION] = str(int(before) + 1) if moved else before


def _job(new: Json, old: Json | None, context: Context) -> None:
    batch.prepare_job(new, old)


def _volume(new: Json, old: Json | None, context: Context) -> None:
    if old is None:
        new["status"] = {"phase": "Pending", "lastPhaseTransitionTime": context.now}


def _volume_status(new: Json, old: Json | None, context: Context) -> None:
    status, before = new.get("status") or {}, (old or {}).get("status") or {}
    if status.get("phase") != before.get("phase") and status.get("lastPhaseTransitionTime") in (
        None,
        before.get("lastPhaseTransitionTime"),
    ):
        status["lastPhaseTransitionTime"] = context.now


def _claim(new: Json, old: Json | None, context: Context) -> None:
    if old is None:
        new["status"] = {"phase": "Pending"}
    spec = new["spec"]
    one, other = spec.get("dataSource"), spec.get("dataSourceRef")
    if one is not None and other is None:
        spec["dataSourceRef"] = dict(one)
    elif other is not None and one is None and not other.get("namespace"):
        spec["dataSource"] = dict(other)


def _service(new: Json, old: Json | None, context: Context) -> None:
    if old is not None:
        allocation.drop_dependent(new["spec"], old["spec"])
        if new["spec"].get("type") != "LoadBalancer":
            new["status"] = {**(new.get("status") or {}), "loadBalancer": {}}


def _signing_request(new: Json, old: Json | None, context: Context) -> None:
    if old is not None:
        new["spec"] = old["spec"]


def _lease(new: Json, old: Json | None, context: Context) -> None:
    """Coordinated leader election is off by default."""
    for key in ("strategy", "preferredHolder"):
        if key in (new.get("spec") or {}) and key not in ((old or {}).get("spec") or {}):
            del new["spec"][key]


def _definition(new: Json, old: Json | None, context: Context) -> None:
    if old is None:
        stored = [one["name"] for one in new["spec"].get("versions") or () if one.get("storage") and one.get("name")]
        new["status"] = {"storedVersions": stored, "conditions": None, "acceptedNames": {"plural": "", "kind": ""}}
        return
    status = new["status"] = dict(new.get("status") or {})
    stored = list(status.get("storedVersions") or ())
    for one in new["spec"].get("versions") or ():
        if one.get("storage") and one.get("name") not in stored:
            stored.append(one["name"])
    status["storedVersions"] = stored


def _template_warnings(new: Json, old: Json | None) -> list[str]:
    if old is not None and old["metadata"].get("generation") == new["metadata"].get("generation"):
        return []
    template = new["spec"].get("template") or {}
    return pods.warnings(template.get("spec") or {}, "spec.template.spec")


def _named_definition(new: Json, old: Json | None) -> list[FieldError]:
    return (definitions.name_complaints(new) if old is None else []) + definitions.definition(new, old)


TABLE: Final[dict[tuple[str, str], Rules]] = {
    ("", "configmaps"): Rules(core.config_map, "UOF", update=core.config_map_update),
    ("", "secrets"): Rules(core.secret, "UOF", update=core.secret_update, warn=core.secret_warnings),
    ("", "serviceaccounts"): Rules(order="UF"),
    ("", "namespaces"): Rules(core.namespace, "FU", prepare=_namespace),
    ("", "nodes"): Rules(core.node, "FUC", status=core.node),
    ("", "pods"): Rules(pods.pod, "UC", status=pods.pod_status, prepare_status=_pod_status, prepare=_pod, warn=lambda new, old: pods.warnings(new.get("spec") or {}, "spec")),
    ("", "services"): Rules(services.service, "UOF", update=services.upgrade, status=services.status, prepare=_service),
    ("", "endpoints"): Rules(services.endpoints, "UMC"),
    ("", "limitranges"): Rules(core.limit_range, "F"),
    ("", "resourcequotas"): Rules(core.quota, "UC"),
    ("", "persistentvolumes"): Rules(storage.volume, "FMC", prepare=_volume, prepare_status=_volume_status),
    ("", "persistentvolumeclaims"): Rules(storage.claim, "FUMC", status=storage.claim_status, prepare=_claim),
    ("", "podtemplates"): Rules(workloads.pod_template, "UF"),
    ("", "replicationcontrollers"): Rules(workloads.replication_controller, "FUC", status=workloads.replica_set_status, warn=_template_warnings),
    ("apps", "deployments"): Rules(workloads.deployment, "UC", status=workloads.deployment_status, warn=_template_warnings),
    ("apps", "replicasets"): Rules(workloads.replica_set, "FUC", status=workloads.replica_set_status, warn=_template_warnings),
    ("apps", "daemonsets"): Rules(workloads.daemon_set, "FUC", status=workloads.daemon_set_status, prepare=_daemon_set, warn=_template_warnings),
    ("apps", "statefulsets"): Rules(workloads.stateful_set, "UC", status=workloads.stateful_set_status, names=meta.label, warn=_template_warnings),
    ("apps", "controllerrevisions"): Rules(workloads.controller_revision, "UMC"),
    ("batch", "jobs"): Rules(batch.job, "FUC", prepare=_job, warn=_template_warnings),
    ("batch", "cronjobs"): Rules(batch.cron_job, "UC", status_order=""),
    ("autoscaling", "horizontalpodautoscalers"): Rules(others.autoscaler, "UC"),
    ("policy", "poddisruptionbudgets"): Rules(others.budget, "C", names=meta.path_segment, core=False, status=others.budget_status, status_order=""),
    ("networking.k8s.io", "ingresses"): Rules(others.ingress, "UMC", status=others.ingress_status),
    ("networking.k8s.io", "ingressclasses"): Rules(others.ingress_class, "UOF", update=others.ingress_class_update),
    ("networking.k8s.io", "networkpolicies"): Rules(others.network_policy, "FUC"),
    ("rbac.authorization.k8s.io", "roles"): Rules(others.role, "FFU"),
    ("rbac.authorization.k8s.io", "rolebindings"): Rules(others.role_binding, "FFUO", update=others.binding_moved),
    ("rbac.authorization.k8s.io", "clusterroles"): Rules(others.cluster_role, "FFU"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): Rules(others.cluster_role_binding, "FFUO", update=others.binding_moved),
    ("coordination.k8s.io", "leases"): Rules(others.lease, "UC", core=False, prepare=_lease),
    ("discovery.k8s.io", "endpointslices"): Rules(services.slices, "MCU"),
    ("scheduling.k8s.io", "priorityclasses"): Rules(others.priority_class, "UC"),
    ("storage.k8s.io", "storageclasses"): Rules(storage.storage_class, "FUC"),
    ("storage.k8s.io", "volumeattachments"): Rules(storage.attachment, "MC"),
    ("node.k8s.io", "runtimeclasses"): Rules(others.runtime_class, "UC"),
    ("apiextensions.k8s.io", "customresourcedefinitions"): Rules(
        _named_definition, "UC", core=False, status=definitions.status, prepare=_definition,
    ),
    ("certificates.k8s.io", "certificatesigningrequests"): Rules(prepare=_signing_request),
}  # fmt: skip


def _prepared(key: tuple[str, str], strategy: Strategy, made: Sequence[Prepare]) -> Prepare:
    """Preparations in order, with an empty status where the kind has one."""
    fresh = strategy.has_status and key not in STATUS_KEPT

    def prepare(new: Json, old: Json | None, context: Context) -> None:
        if fresh and old is None:
            new.pop("status", None)
        for one in made:
            one(new, old, context)

    return prepare


def complete(group: str, plural: str, strategy: Strategy) -> Strategy:
    """A strategy with its rules."""
    key = (group, plural)
    rules = TABLE.get(key, Rules())
    if rules.names is not None:
        strategy = replace(strategy, names=rules.names)

    def validate(new: Json, old: Json | None) -> list[FieldError]:
        if old is None:
            return _finalizers(new["metadata"], rules) + rules.check(new, None)
        return _update(new, old, rules, strategy)

    def validate_status(new: Json, old: Json | None) -> list[FieldError]:
        found: list[FieldError] = []
        if old is not None and rules.status_order:
            found += meta.validate_update(new["metadata"], old["metadata"]) + _finalizers(new["metadata"], rules)
        return found + rules.status(new, old)

    return replace(
        strategy,
        validate=validate,
        validate_status=validate_status,
        prepare=_prepared(key, strategy, (strategy.prepare, rules.prepare)),
        prepare_status=rules.prepare_status,
        warn=rules.warn,
    )
