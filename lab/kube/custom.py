"""CustomResourceDefinitions at work: names are accepted, definitions become established, are served, and go with their objects.

What apiextensions' controllers do in a real server happens here, a little later than the write, as it does there.
Source: k8s.io/apiextensions-apiserver/pkg/controller/{status,establish,finalizer} (v0.33).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lab.kube.models import CustomModel, Model
from lab.kube.plain import clone
from lab.kube.registry import Resource
from lab.kube.rest import Call, DeleteOptions, Preconditions, stamp
from lab.kube.schema import crd
from lab.kube.store import Event, Key, Stored, read
from lab.kube.wire import User

if TYPE_CHECKING:
    from lab.kube.api import ApiServer

Json = dict[str, Any]
KEY: Key = ("apiextensions.k8s.io", "customresourcedefinitions")
SELF = User("system:apiserver", ("system:masters",))
ESTABLISHED_AFTER = 0.4  # simulated seconds; a real server takes about as long
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


class Definitions:
    """The definitions of one cluster."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._pending: set[str] = set()
        server.store.hooks.append(self._changed)

    def reload(self) -> None:
        """Serve what a restored store holds."""
        served = {resource.crd["metadata"]["name"] for resource in self._server.registry.all() if resource.crd}
        for name in served:
            self._server.registry.drop_crd(name)
        for stored in self._server.store.collection(KEY).sorted("")[1]:
            if _condition(stored.view(), "Established") == "True":
                self._serve(stored)

    def _changed(self, key: Key, event: Event) -> None:
        if key != KEY:
            return
        definition = event.new.view()
        name = definition["metadata"]["name"]
        if event.kind == "DELETED":
            self._server.registry.drop_crd(name)
            self._server.store.end((definition["spec"]["group"], definition["spec"]["names"]["plural"]))
            return
        if _condition(definition, "Established") == "True":
            before = event.old.view() if event.old else {}
            if before.get("spec") != definition["spec"] or _condition(before, "Established") != "True":
                self._serve(event.new)
        if name not in self._pending and self._wants(definition):
            self._pending.add(name)
            self._later(name)

    @staticmethod
    def _wants(definition: Mapping[str, Any]) -> bool:
        if definition["metadata"].get("deletionTimestamp"):
            return CLEANUP in (definition["metadata"].get("finalizers") or ())
        return _condition(definition, "Established") != "True" or not _names_settled(definition)

    def _later(self, name: str) -> None:
        def run() -> None:
            self._pending.discard(name)
            self.settle(name)

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            run()  # no loop yet: the world is being set up
        else:
            self._server.clock.call_later(ESTABLISHED_AFTER, run)

    def settle(self, name: str) -> None:
        """Bring one definition forward: names and establishment, or its end."""
        stored = self._server.store.get(KEY, "", name)
        if stored is None:
            return
        definition = stored.decode()
        if definition["metadata"].get("deletionTimestamp"):
            self._finish(definition)
        elif self._wants(definition):
            self._update(name, "status", self._accepted(definition))

    def _accepted(self, definition: Json) -> Json:
        """The status after names are accepted. Source: controller/status naming_controller.go."""
        now = stamp(self._server.clock.now())
        wished = definition["spec"]["names"]
        conditions = [
            one
            for one in definition["status"].get("conditions") or ()
            if one["type"] not in ("NamesAccepted", "Established")
        ]
        taken = self._conflict(definition)
        if taken:
            kept = definition["status"].get("acceptedNames") or {"plural": "", "kind": ""}
            conditions = _set(conditions, "NamesAccepted", "False", taken[0], taken[1], now)
            conditions = _set(conditions, "Established", "False", "NotAccepted", "not all names are accepted", now)
            return definition | {"status": definition["status"] | {"conditions": conditions, "acceptedNames": kept}}
        conditions = _set(conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        text = "the initial names have been accepted"
        conditions = _set(conditions, "Established", "True", "InitialNamesAccepted", text, now)
        return definition | {"status": definition["status"] | {"conditions": conditions, "acceptedNames": dict(wished)}}

    def _conflict(self, definition: Json) -> tuple[str, str] | None:
        spec, name = definition["spec"], definition["metadata"]["name"]
        wished = spec["names"]
        plurals, kinds = set(), set()
        for resource in self._server.registry.all():
            if resource.group == spec["group"] and (resource.crd is None or resource.crd["metadata"]["name"] != name):
                plurals |= {resource.plural, resource.singular, *resource.short_names}
                kinds |= {resource.kind, resource.list_kind}
        if wished["plural"] in plurals:
            return ("PluralConflict", f'"{wished["plural"]}" is already in use')
        if wished.get("singular") in plurals:
            return ("SingularConflict", f'"{wished["singular"]}" is already in use')
        for short in wished.get("shortNames") or ():
            if short in plurals:
                return ("ShortNamesConflict", f'"{short}" is already in use')
        if wished["kind"] in kinds:
            return ("KindConflict", f'"{wished["kind"]}" is already in use')
        if wished.get("listKind") in kinds:
            return ("ListKindConflict", f'"{wished["listKind"]}" is already in use')
        return None

    def _serve(self, stored: Stored) -> None:
        server, definition = self._server, stored.view()
        server.store.begin((definition["spec"]["group"], definition["status"]["acceptedNames"]["plural"]))
        server.registry.serve_crd(definition["metadata"]["name"], _served(stored.raw))

    def _finish(self, definition: Json) -> None:
        """Delete the objects, then let the definition go. Source: controller/finalizer crd_finalizer.go."""
        server, name = self._server, definition["metadata"]["name"]
        left = False
        for resource in server.registry.crd_resources(name)[:1]:
            model = server.model(resource)
            for stored in tuple(server.store.collection(resource.storage_key).sorted("")[1]):
                call = Call(resource, "delete", SELF, stored.namespace, stored.name, manager="kube-apiserver")
                _, gone = server.rest.delete(call, model, DeleteOptions())
                left = left or not gone
        if left:
            self._pending.add(name)
            self._later(name)
            return
        meta = definition["metadata"]
        kept = [one for one in meta.get("finalizers") or () if one != CLEANUP]
        self._update(name, "", definition | {"metadata": meta | {"finalizers": kept}})

    def _update(self, name: str, subresource: str, wished: Json) -> None:
        server = self._server
        resource = server.registry.get(KEY[0], "v1", KEY[1])
        if resource is None:
            return
        call = Call(resource, "update", SELF, "", name, subresource, manager="kube-apiserver")
        model = server.model(resource)

        def transform(old: Json) -> Json:
            from lab.kube import writes

            new = clone(old) | {key: value for key, value in wished.items() if key in ("spec", "status")}
            if not subresource:
                new["metadata"]["finalizers"] = wished["metadata"]["finalizers"]
            return writes.with_owners(call, model, old, new, server.rest.now())

        server.rest.update(call, model, transform, preconditions=Preconditions())


@lru_cache(maxsize=512)
def _served(raw: bytes) -> tuple[Resource, ...]:
    """What a definition serves: the same resources for the same text, so that models last while worlds are put back."""
    return crd.resources(read(raw))


def _condition(definition: Mapping[str, Any], sort: str) -> str:
    for found in (definition.get("status") or {}).get("conditions") or ():
        if found["type"] == sort:
            return str(found["status"])
    return ""


def _names_settled(definition: Mapping[str, Any]) -> bool:
    accepted = (definition.get("status") or {}).get("acceptedNames") or {}
    return {k: v for k, v in accepted.items() if v} == {k: v for k, v in definition["spec"]["names"].items() if v}


def _set(conditions: list[Json], sort: str, status: str, reason: str, message: str, now: str) -> list[Json]:
    made = {"type": sort, "status": status, "lastTransitionTime": now, "reason": reason, "message": message}
    return [*(one for one in conditions if one["type"] != sort), made]


def custom_model(resource: Resource) -> Model:
    """The model of a custom resource."""
    from lab.kube.customrules import custom_strategy

    definition = resource.crd or {}
    return CustomModel(resource, custom_strategy(definition, resource.version), crd.typed(definition))
