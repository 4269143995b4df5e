"""Kubernetes objects as Helm and Flux handle them: kinds, order, three-way merges, and readiness.

Everything here is pure but `Kinds`, which asks what a cluster serves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """One served kind: `gvr` as KubePort takes it."""

    gvr: str
    kind: str
    plural: str
    group: str
    version: str
    namespaced: bool


class Kinds(Protocol):
    """What a cluster serves now."""

    def find(self, api_version: str, kind: str) -> Kind | None:
        """The kind, or None where it is not served."""
        ...

    def api_versions(self) -> frozenset[str]:
        """As Helm's Capabilities.APIVersions: "apps/v1" and "apps/v1/Deployment"."""
        ...


class _Resource(Protocol):
    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str: ...
    @property
    def gvr(self) -> str: ...


class _Registry(Protocol):
    revision: int

    def all(self) -> Iterable[Any]: ...


class RegistryKinds:
    """Kinds of an API server in this process, from its registry."""

    def __init__(self, registry: _Registry) -> None:
        self._registry = registry
        self._revision = -1
        self._kinds: dict[tuple[str, str], Kind] = {}

    def find(self, api_version: str, kind: str) -> Kind | None:
        """The kind, or None where it is not served."""
        return self._fresh().get((api_version, kind))

    def api_versions(self) -> frozenset[str]:
        """Group versions, alone and with each of their kinds."""
        return frozenset(v for v, _ in self._fresh()) | frozenset(f"{v}/{k}" for v, k in self._fresh())

    def _fresh(self) -> dict[tuple[str, str], Kind]:
        if self._revision != self._registry.revision:
            self._kinds = {}
            for r in self._registry.all():
                self._kinds.setdefault((r.api_version, r.kind), Kind(r.gvr, r.kind, r.plural, r.group, r.version, r.namespaced))
            self._revision = self._registry.revision
        return self._kinds


def name_of(obj: Object) -> str:
    """metadata.name, or the empty string."""
    return str(obj.get("metadata", {}).get("name", ""))


def namespace_of(obj: Object) -> str:
    """metadata.namespace, or the empty string."""
    return str(obj.get("metadata", {}).get("namespace", "") or "")


# Source: helm v3.19 pkg/releaseutil/kind_sorter.go
INSTALL_ORDER = (
    "PriorityClass", "Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "PodSecurityPolicy", "PodDisruptionBudget",
    "ServiceAccount", "Secret", "SecretList", "ConfigMap", "StorageClass", "PersistentVolume", "PersistentVolumeClaim",
    "CustomResourceDefinition", "ClusterRole", "ClusterRoleList", "ClusterRoleBinding", "ClusterRoleBindingList", "Role", "RoleList",
    "RoleBinding", "RoleBindingList", "Service", "DaemonSet", "Pod", "ReplicationController", "ReplicaSet", "Deployment",
    "HorizontalPodAutoscaler", "StatefulSet", "Job", "CronJob", "IngressClass", "Ingress", "APIService",
)  # fmt: skip
_RANK = {kind: i for i, kind in enumerate(INSTALL_ORDER)}


def install_rank(kind: str) -> tuple[int, str]:
    """Sort key: known kinds in Helm's order, unknown ones after them by name."""
    return (_RANK[kind], "") if kind in _RANK else (len(_RANK), kind)


def three_way(original: Any, target: Any, live: Any) -> Any:
    """`live` with what `target` says, without what only `original` said; lists of named items are merged by name.

    Source: the result of Helm's three-way strategic merge (helm v3.19 pkg/kube/client.go createPatch).
    """
    if isinstance(target, Mapping) and isinstance(live, Mapping):
        before = original if isinstance(original, Mapping) else {}
        out = {k: v for k, v in live.items() if k in target or k not in before}
        for key, value in target.items():
            if value is None:
                out.pop(key, None)
            elif key not in live and _unset(value):
                continue  # a zero value is not stored: asking for it changes nothing
            else:
                out[key] = three_way(before.get(key), value, live.get(key))
        return out
    if isinstance(target, list) and isinstance(live, list):
        key = _merge_key(target, live)
        if key:
            return _merge_named(original if isinstance(original, list) else [], target, live, key)
    return target


def _unset(value: Any) -> bool:
    """Whether Go would leave a value out of JSON (strings apart, which maps of strings keep)."""
    return value is False or (value == 0 and not isinstance(value, str | bool)) or value in ([], {})


def _merge_key(target: list[Any], live: list[Any]) -> str:
    for key in ("name", "mountPath", "port", "containerPort", "uid", "ip"):
        sides = (target, live)
        if all(side and all(isinstance(i, Mapping) and key in i for i in side) for side in sides) and all(
            len({str(i[key]) for i in side}) == len(side) for side in sides
        ):
            return key
    return ""


def _merge_named(original: list[Any], target: list[Any], live: list[Any], key: str) -> list[Any]:
    was = {str(i[key]): i for i in original if isinstance(i, Mapping) and key in i}
    now = {str(i[key]): i for i in live}
    wanted = {str(i[key]) for i in target}
    merged = [three_way(was.get(str(i[key])), i, now[str(i[key])]) if str(i[key]) in now else i for i in target]
    return merged + [i for i in live if str(i[key]) not in wanted and str(i[key]) not in was]


def merge_patch(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> Object:
    """The RFC 7386 patch that turns `live` into `wanted`; empty where they are equal."""
    patch: Object = {k: None for k in live if k not in wanted}
    for key, value in wanted.items():
        if key not in live:
            patch[key] = value
        elif isinstance(value, Mapping) and isinstance(live[key], Mapping):
            inner = merge_patch(live[key], value)
            if inner:
                patch[key] = inner
        elif value != live[key]:
            patch[key] = value
    return patch


def compact(value: Any) -> str:
    """JSON without blanks and with sorted keys, as digests want it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def share(value: Any, total: int, *, up: bool) -> int:
    """An int-or-percent of `total`, as intstr.GetScaledValueFromIntOrPercent."""
    if isinstance(value, str) and value.endswith("%"):
        percent = int(value[:-1])
        return -(-percent * total // 100) if up else percent * total // 100
    return int(value or 0)


def helm_ready(obj: Object) -> bool:
    """Whether Helm's --wait is content with a live object (Jobs only with --wait-for-jobs: see `job_done`).

    Source: helm v3.19 pkg/kube/ready.go.
    """
    status, spec = obj.get("status") or {}, obj.get("spec") or {}
    kind = obj.get("kind")
    if kind == "Deployment":
        if status.get("observedGeneration", 0) < obj["metadata"].get("generation", 0):
            return False
        wanted = spec.get("replicas", 1)
        rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
        down = share(rolling.get("maxUnavailable", "25%"), wanted, up=False) if wanted else 0
        return bool(status.get("readyReplicas", 0) >= wanted - down)
    if kind == "DaemonSet":
        return _daemonset_ready(obj, spec, status)
    if kind == "StatefulSet":
        wanted = spec.get("replicas", 1)
        return bool(
            status.get("observedGeneration", 0) >= obj["metadata"].get("generation", 0)
            and status.get("updatedReplicas", 0) >= wanted
            and status.get("readyReplicas", 0) == wanted
        )
    if kind == "Pod":
        return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    if kind == "PersistentVolumeClaim":
        return bool(status.get("phase") == "Bound")
    if kind == "Service":
        return _service_ready(spec, status)
    if kind == "CustomResourceDefinition":
        return any(c["type"] == "Established" and c["status"] == "True" for c in status.get("conditions") or ())
    if kind == "ReplicaSet":
        return bool(status.get("readyReplicas", 0) >= spec.get("replicas", 1))
    return True


def _daemonset_ready(obj: Object, spec: Object, status: Object) -> bool:
    if status.get("observedGeneration", 0) < obj["metadata"].get("generation", 0):
        return False
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return True
    desired = status.get("desiredNumberScheduled", 0)
    if status.get("updatedNumberScheduled", 0) != desired:
        return False
    down = share((strategy.get("rollingUpdate") or {}).get("maxUnavailable", 1), desired, up=True)
    return bool(status.get("numberReady", 0) >= desired - down)


def _service_ready(spec: Object, status: Object) -> bool:
    if spec.get("type") == "ExternalName":
        return True
    if not spec.get("clusterIP"):
        return False
    if spec.get("type") == "LoadBalancer" and not spec.get("externalIPs"):
        return bool((status.get("loadBalancer") or {}).get("ingress"))
    return True


def job_done(obj: Object) -> bool | None:
    """True complete, False failed, None still running."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            return bool(condition["type"] == "Complete")
    return None
