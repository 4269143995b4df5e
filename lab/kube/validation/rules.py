"""Which rules belong to which resource, and what is set or dropped before they are asked.

Source: k8s.io/kubernetes/pkg/registry/*/*/strategy.go (v1.33).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from lab.kube.errors import FieldError
from lab.kube import services as allocation
from lab.kube.schema import meta
from lab.kube.strategies import Context, Strategy
from lab.kube.validation import batch, core, others, pods, services, storage, workloads

Json = dict[str, Any]
Check = Callable[[Json, Json | None], list[FieldError]]
First = Callable[[Json, Json], list[FieldError]]
Prepare = Callable[[Json, Json | None, Context], None]
STATUS_KEPT: Final = {("", "nodes"), ("networking.k8s.io", "servicecidrs")}
GENERATION: Final = "deprecated.daemonset.template.generation"


def _fine(new: Json, old: Json | None) -> list[FieldError]:
    return []


def _nothing_first(new: Json, old: Json) -> list[FieldError]:
    return []


def _no_preparation(new: Json, old: Json | None, context: Context) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Rules:
    """`again` says how much of the metadata an update judges a second time: nothing, its update, or all of it."""

    check: Check = _fine
    again: str = "update"
    core: bool = True  # finalizers have to be standard or qualified
    first: First = _nothing_first
    status: Check = _fine
    prepare: Prepare = _no_preparation
    prepare_status: Prepare = _no_preparation
    names: meta.NameCheck | None = None


def _metadata(new: Json, old: Json | None, rules: Rules, strategy: Strategy, again: str) -> list[FieldError]:
    meta_ = new["metadata"]
    found: list[FieldError] = []
    if old is not None and again:
        found += meta.validate_update(meta_, old["metadata"]) + _finalizers(meta_, rules)
        found += rules.first(new, old)
    if old is None or again == "full":
        if old is not None:
            found += meta.validate(meta_, strategy.namespaced, rules.names or strategy.names)
        found += _finalizers(meta_, rules)
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


def _daemon_set(new: Json, old: Json | None, context: Context) -> None:
    notes = new["metadata"].get("annotations") or {}
    new["metadata"]["annotations"] = notes
    if old is None:
        notes[GENERATION] = "1"
        return
    before = (old["metadata"].get("annotations") or {}).get(GENERATION, "1")
    moved = new["spec"].get("template") != old["spec"].get("template")
    notes[GENERATION] = str(int(before) + 1) if moved else before


def _job(new: Json, old: Json | None, context: Context) -> None:
    batch.prepare_job(new, old)


def _volume(new: Json, old: Json | None, context: Context) -> None:
    if old is None:
        new["status"] = {"phase": "Pending", "lastPhaseTransitionTime": context.now}


def _volume_status(new: Json, old: Json | None, context: Context) -> None:
    status, before = new.get("status") or {}, (old or {}).get("status") or {}
    if status.get("phase") != before.get("phase") and status.get("lastPhaseTransitionTime") in (None, before.get("lastPhaseTransitionTime")):
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


TABLE: Final[dict[tuple[str, str], Rules]] = {
    ("", "configmaps"): Rules(core.config_map, "full", first=core.config_map_update),
    ("", "secrets"): Rules(core.secret, "full", first=core.secret_update),
    ("", "serviceaccounts"): Rules(again="full"),
    ("", "namespaces"): Rules(core.namespace, prepare=_namespace),
    ("", "nodes"): Rules(core.node, status=core.node),
    ("", "pods"): Rules(pods.pod, status=pods.pod_status, prepare=_pod),
    ("", "services"): Rules(services.service, "full", first=services.upgrade, status=services.status, prepare=_service),
    ("", "endpoints"): Rules(services.endpoints, "full"),
    ("", "limitranges"): Rules(core.limit_range, ""),
    ("", "resourcequotas"): Rules(core.quota),
    ("", "persistentvolumes"): Rules(storage.volume, "", prepare=_volume, prepare_status=_volume_status),
    ("", "persistentvolumeclaims"): Rules(storage.claim, "full", status=storage.claim_status, prepare=_claim),
    ("", "podtemplates"): Rules(workloads.pod_template, "full"),
    ("", "replicationcontrollers"): Rules(workloads.replication_controller, status=workloads.replica_set_status),
    ("apps", "deployments"): Rules(workloads.deployment, status=workloads.deployment_status),
    ("apps", "replicasets"): Rules(workloads.replica_set, status=workloads.replica_set_status),
    ("apps", "daemonsets"): Rules(workloads.daemon_set, "full", status=workloads.daemon_set_status, prepare=_daemon_set),
    ("apps", "statefulsets"): Rules(workloads.stateful_set, status=workloads.stateful_set_status, names=meta.label),
    ("apps", "controllerrevisions"): Rules(workloads.controller_revision, "full"),
    ("batch", "jobs"): Rules(batch.job, prepare=_job),
    ("batch", "cronjobs"): Rules(batch.cron_job),
    ("autoscaling", "horizontalpodautoscalers"): Rules(others.autoscaler),
    ("policy", "poddisruptionbudgets"): Rules(others.budget, "", core=False, status=others.budget_status),
    ("networking.k8s.io", "ingresses"): Rules(others.ingress, "full", status=others.ingress_status),
    ("networking.k8s.io", "ingressclasses"): Rules(others.ingress_class, "full", first=others.ingress_class_update),
    ("networking.k8s.io", "networkpolicies"): Rules(others.network_policy, "update"),
    ("rbac.authorization.k8s.io", "roles"): Rules(others.role, "full"),
    ("rbac.authorization.k8s.io", "rolebindings"): Rules(others.role_binding, "full", first=others.binding_moved),
    ("rbac.authorization.k8s.io", "clusterroles"): Rules(others.cluster_role, "full"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): Rules(others.cluster_role_binding, "full", first=others.binding_moved),
    ("coordination.k8s.io", "leases"): Rules(others.lease, core=False),
    ("discovery.k8s.io", "endpointslices"): Rules(services.slices, "full"),
    ("scheduling.k8s.io", "priorityclasses"): Rules(others.priority_class),
    ("storage.k8s.io", "storageclasses"): Rules(storage.storage_class),
    ("storage.k8s.io", "volumeattachments"): Rules(storage.attachment, ""),
    ("node.k8s.io", "runtimeclasses"): Rules(others.runtime_class),
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
        return _metadata(new, old, rules, strategy, rules.again) + rules.check(new, old)

    def validate_status(new: Json, old: Json | None) -> list[FieldError]:
        again = "update" if rules.status is not _fine or rules.again else ""
        return _metadata(new, old, replace(rules, first=_nothing_first), strategy, again) + rules.status(new, old)

    return replace(
        strategy,
        validate=validate,
        validate_status=validate_status,
        prepare=_prepared(key, strategy, (strategy.prepare, rules.prepare)),
        prepare_status=rules.prepare_status,
    )
