"""What a server puts into an empty cluster: namespaces, RBAC, priority classes, the kubernetes service."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lab.kube.registry import load_gz
from lab.kube.rest import Call
from lab.kube.wire import User

if TYPE_CHECKING:
    from lab.kube.api import ApiServer

Json = dict[str, Any]
NAMESPACES = ("kube-system", "kube-node-lease", "kube-public", "default")
SELF = User("system:apiserver", ("system:masters",))


@lru_cache(maxsize=1)
def _recorded() -> list[Json]:
    found: list[Json] = load_gz("bootstrap.json.gz")
    return found


def fill_empty(server: ApiServer) -> None:
    """Create what is missing; objects that are there stay as they are."""
    for name in NAMESPACES:
        _put(server, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    for obj in _recorded():
        _put(server, obj)
    _put(server, _kubernetes(server))


def _kubernetes(server: ApiServer) -> Json:
    first = str(server.addresses.networks[0].network_address + 1)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": first,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    }


def _put(server: ApiServer, obj: Json) -> None:
    group, _, version = obj["apiVersion"].rpartition("/")
    resource = server.registry.by_kind(group, version, obj["kind"])
    if resource is None:
        raise KeyError(obj["kind"])
    meta = obj["metadata"]
    call = Call(resource, "create", SELF, meta.get("namespace", ""), meta["name"], manager="kube-apiserver")
    model = server.model(resource)
    if server.store.get(resource.storage_key, call.namespace, call.name) is None:
        server.rest.create(call, model, model.decode(obj).obj)
