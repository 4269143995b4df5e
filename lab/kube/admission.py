"""Admission: what changes or refuses a write beside validation, in the real server's order of plugins.

Source: k8s.io/kubernetes/plugin/pkg/admission and k8s.io/apiserver/pkg/admission/plugin (v1.33).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lab.kube import errors
from lab.kube.rest import Call
from lab.kube.store import Store

Json = dict[str, Any]
IMMORTAL = ("default", "kube-system", "kube-public", "kube-node-lease")
Mutator = Callable[["Plugins", Call, Json, Json | None], None]
Validator = Callable[["Plugins", Call, Json | None, Json | None], None]


class Plugins:
    """The plugins of one cluster."""

    def __init__(self, store: Store, mutators: tuple[Mutator, ...], validators: tuple[Validator, ...]) -> None:
        self.store = store
        self._mutators, self._validators = mutators, validators
        self.pod_security: dict[
            str, str
        ] = {}  # labels that hold where a namespace has none, as an admission configuration says
        self.pod_security_exempt: frozenset[str] = frozenset()  # namespaces

    def mutate(self, call: Call, new: Json, old: Json | None) -> None:
        """Change a write, in place."""
        lifecycle(self, call, new, old)
        for plugin in self._mutators:
            plugin(self, call, new, old)

    def validate(self, call: Call, new: Json | None, old: Json | None) -> None:
        """Refuse a write."""
        if new is None:
            lifecycle(self, call, new, old)
        for plugin in self._validators:
            plugin(self, call, new, old)

    def get(self, group: str, plural: str, namespace: str, name: str) -> Json | None:
        """An object now."""
        stored = self.store.get((group, plural), namespace, name)
        return stored.decode() if stored else None


def lifecycle(plugins: Plugins, call: Call, new: Json | None, old: Json | None) -> None:
    """No new objects where there is no namespace, or one that terminates. Source: namespace/lifecycle/admission.go."""
    resource = call.resource
    if resource.qualified == "namespaces":
        if new is None and call.verb == "delete" and call.name in IMMORTAL and not call.subresource:
            raise errors.forbidden("", "namespaces", call.name, "this namespace may not be deleted")
        return
    if not resource.namespaced or new is None or old is not None:
        return
    if call.subresource and call.resource.qualified == "localsubjectaccessreviews.authorization.k8s.io":
        return
    stored = plugins.store.get(("", "namespaces"), "", call.namespace)
    if stored is None:
        raise errors.not_found("", "namespaces", call.namespace)
    if stored.fields.get("status.phase") == "Terminating" or b'"deletionTimestamp"' in stored.raw:
        name = (new.get("metadata") or {}).get("name", "")
        error = errors.forbidden(
            resource.group,
            resource.plural,
            name,
            f"unable to create new content in namespace {call.namespace} because it is being terminated",
        )
        (error.details or {})["causes"] = [
            {
                "reason": "NamespaceTerminating",
                "message": f"namespace {call.namespace} is being terminated",
                "field": "metadata.namespace",
            }
        ]
        raise error
