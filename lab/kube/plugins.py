"""The admission plugins that a server has by default, in order.

Source: k8s.io/kubernetes/plugin/pkg/admission (v1.33).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from lab.kube import errors, limits, podsecurity, quotas
from lab.kube.admission import Mutator, Plugins, Validator
from lab.kube.errors import ApiError
from lab.kube.rest import Call

Json = dict[str, Any]
UNTOUCHABLE: Final = "must not be provided in pod spec; priority admission controller computed"
NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"
PROTECTED: Final = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
}
CLASS_BETA: Final = "volume.beta.kubernetes.io/storage-class"


def refused(call: Call, new: Json | None, why: str) -> ApiError:
    """Source: admission.NewForbidden."""
    name = ((new or {}).get("metadata") or {}).get("name") or call.name or "Unknown"
    return errors.forbidden(call.resource.group, call.resource.plural, name, why)


def _objects(plugins: Plugins, group: str, plural: str, namespace: str = "") -> Iterator[Json]:
    for stored in plugins.store.collection((group, plural)).sorted(namespace)[1]:
        yield stored.decode()


def _is_pod(call: Call) -> bool:
    return call.resource.qualified == "pods" and not call.subresource


def taint_new_nodes(plugins: Plugins, call: Call, new: Json, old: Json | None) -> None:
    """A new node is not ready. Source: nodetaint/admission.go."""
    if call.resource.qualified != "nodes" or call.subresource or old is not None:
        return
    taints = (new.setdefault("spec", {}) or {}).get("taints") or []
    if not any(one.get("key") == NOT_READY and one.get("effect") == "NoSchedule" for one in taints):
        new["spec"]["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]


def priority(plugins: Plugins, call: Call, new: Json, old: Json | None) -> None:
    """The number of a pod's priority class. Source: priority/admission.go."""
    if not _is_pod(call):
        return
    spec = new["spec"]
    if old is not None:
        for key in ("priority", "preemptionPolicy"):
            if spec.get(key) is None and old["spec"].get(key) is not None:
                spec[key] = old["spec"][key]
        return
    name = spec.get("priorityClassName", "")
    if name:
        found = plugins.get("scheduling.k8s.io", "priorityclasses", "", name)
        if found is None:
            raise refused(call, new, f"no PriorityClass with name {name} was found")
    else:
        found = _default_priority(plugins)
        if found is not None:
            spec["priorityClassName"] = found["metadata"]["name"]
    value = (found or {}).get("value", 0)
    policy = (found or {}).get("preemptionPolicy", "PreemptLowerPriority")
    if spec.get("priority") is not None and spec["priority"] != value:
        text = f"the integer value of priority ({spec['priority']}) {UNTOUCHABLE} {value} from the given PriorityClass name"
        raise refused(call, new, text)
    if spec.get("preemptionPolicy") is not None and spec["preemptionPolicy"] != policy:
        text = f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) {UNTOUCHABLE} {policy} from the given PriorityClass name"
        raise refused(call, new, text)
    spec["priority"], spec["preemptionPolicy"] = value, policy


def _default_priority(plugins: Plugins) -> Json | None:
    every = [one for one in _objects(plugins, "scheduling.k8s.io", "priorityclasses") if one.get("globalDefault")]
    return min(every, key=lambda one: one.get("value", 0), default=None)


def tolerate_briefly(plugins: Plugins, call: Call, new: Json, old: Json | None) -> None:
    """Pods stay five minutes on a node that is gone. Source: defaulttolerationseconds/admission.go."""
    if not _is_pod(call):
        return
    tolerations = list(new["spec"].get("tolerations") or ())

    def covered(key: str) -> bool:
        return any(
            one.get("key", "") in (key, "") and one.get("effect", "") in ("NoExecute", "")
            for one in tolerations
            if one.get("key") or one.get("operator") == "Exists"
        )

    added = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in (NOT_READY, UNREACHABLE)
        if not covered(key)
    ]
    if added:
        new["spec"]["tolerations"] = tolerations + added


def protect_storage(plugins: Plugins, call: Call, new: Json, old: Json | None) -> None:
    """Volumes and claims in use are not deleted. Source: storage/storageobjectinuseprotection/admission.go."""
    finalizer = PROTECTED.get(call.resource.qualified)
    if finalizer is None or old is not None or call.subresource:
        return
    found = new["metadata"].get("finalizers") or []
    if finalizer not in found:
        new["metadata"]["finalizers"] = [*found, finalizer]


def _marked(plugins: Plugins, group: str, plural: str, annotation: str) -> Json | None:
    """The default class; the newest of several."""
    every = [
        one
        for one in _objects(plugins, group, plural)
        if (one["metadata"].get("annotations") or {}).get(annotation) == "true"
    ]
    return max(every, key=lambda one: one["metadata"]["creationTimestamp"], default=None)


def default_storage_class(plugins: Plugins, call: Call, new: Json, old: Json | None) -> None:
    """Source: storage/storageclass/setdefault/admission.go."""
    if call.resource.qualified != "persistentvolumeclaims" or old is not None or call.subresource:
        return
    if new["spec"].get("storageClassName") is not None or CLASS_BETA in (new["metadata"].get("annotations") or {}):
        return
    found = _marked(plugins, "storage.k8s.io", "storageclasses", "storageclass.kubernetes.io/is-default-class")
    if found is not None:
        new["spec"]["storageClassName"] = found["metadata"]["name"]


def default_ingress_class(plugins: Plugins, call: Call, new: Json, old: Json | None) -> None:
    """Source: network/defaultingressclass/admission.go."""
    if call.resource.qualified != "ingresses.networking.k8s.io" or old is not None or call.subresource:
        return
    if new["spec"].get("ingressClassName") is not None:
        return
    if "kubernetes.io/ingress.class" in (new["metadata"].get("annotations") or {}):
        return
    found = _marked(plugins, "networking.k8s.io", "ingressclasses", "ingressclass.kubernetes.io/is-default-class")
    if found is not None:
        new["spec"]["ingressClassName"] = found["metadata"]["name"]


def limit_pods(plugins: Plugins, call: Call, new: Json, old: Json | None) -> None:
    """Fill in a namespace's usual amounts. Source: limitranger/admission.go."""
    if _is_pod(call) and old is None:
        for found in _objects(plugins, "", "limitranges", call.namespace):
            limits.fill_in(new, found)


def one_default_priority(plugins: Plugins, call: Call, new: Json | None, old: Json | None) -> None:
    """Only one priority class is the default one."""
    if call.resource.qualified != "priorityclasses.scheduling.k8s.io" or new is None or not new.get("globalDefault"):
        return
    found = _default_priority(plugins)
    if found is not None and (
        old is None or not old.get("globalDefault") or found["metadata"]["name"] != new["metadata"]["name"]
    ):
        name = found["metadata"]["name"]
        text = f"PriorityClass {name} is already marked as default. Only one default can exist"
        raise refused(call, new, text)


def within_limits(plugins: Plugins, call: Call, new: Json | None, old: Json | None) -> None:
    """Nothing beyond a namespace's limits."""
    if new is None or call.subresource or call.resource.qualified not in ("pods", "persistentvolumeclaims"):
        return
    if call.resource.qualified == "pods" and old is not None:
        return
    for found in _objects(plugins, "", "limitranges", call.namespace):
        complaints = limits.complaints(new, call.resource.kind, found)
        if complaints:
            text = complaints[0] if len(complaints) == 1 else f"[{', '.join(complaints)}]"
            raise refused(call, new, text)


def secure(plugins: Plugins, call: Call, new: Json | None, old: Json | None) -> None:
    """Pod Security Standards, by the labels of the namespace and the cluster's defaults."""
    if new is None or call.subresource or not call.namespace or call.namespace in plugins.pod_security_exempt:
        return
    namespace = plugins.get("", "namespaces", "", call.namespace)
    if namespace is None:
        return
    labels = {**plugins.pod_security, **(namespace["metadata"].get("labels") or {})}
    if not any(key.startswith(podsecurity.PREFIX) for key in labels):
        return
    verdict = podsecurity.judge(new, old, call.resource.kind, labels)
    for text in verdict.warnings:
        call.warn(text)
    if verdict.refusal:
        raise refused(call, new, verdict.refusal)


def within_quota(plugins: Plugins, call: Call, new: Json | None, old: Json | None) -> None:
    """Nothing beyond a namespace's quota. Source: apiserver/pkg/admission/plugin/resourcequota."""
    if new is None or call.subresource or not call.namespace or call.resource.qualified == "resourcequotas":
        return
    complaint = quotas.complaint(plugins.store, call.resource, new, old, call.namespace)
    if complaint:
        raise refused(call, new, complaint)


MUTATORS: tuple[Mutator, ...] = (
    limit_pods,
    taint_new_nodes,
    priority,
    tolerate_briefly,
    protect_storage,
    default_storage_class,
    default_ingress_class,
)
VALIDATORS: tuple[Validator, ...] = (within_limits, one_default_priority, secure, within_quota)
