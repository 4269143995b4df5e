"""The port of controllers that run in this process: the same steps as over HTTP, without the text in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from lab.kube import listing, special, writes
from lab.kube.errors import ApiError
from lab.kube.models import Model
from lab.kube.plain import sent
from lab.kube.port import KubeError, Object, Objects, Patch
from lab.kube.registry import Resource
from lab.kube.rest import Call, DeleteOptions, Preconditions
from lab.kube.wire import User

if TYPE_CHECKING:
    from lab.kube.api import ApiServer

FOREVER = 10 * 365 * 86400.0
MEDIA = {"merge": writes.MERGE, "strategic": writes.STRATEGIC, "json": writes.JSON_PATCH}


def _refused(error: ApiError) -> KubeError:
    return KubeError(error.code, error.reason, error.message, error.details)


class LocalPort:
    """A KubePort on one server. Its requests are in no record; `user` is its field manager and its name in RBAC's eyes."""

    def __init__(self, server: ApiServer, user: str | User, manager: str = "") -> None:
        self._server = server
        self._user = user if isinstance(user, User) else User(user, ("system:masters", "system:authenticated"))
        self._manager = manager or self._user.name

    def _resource(self, gvr: str) -> tuple[Resource, Model]:
        resource = self._server.registry.by_gvr(gvr)
        if resource is None:
            raise KubeError(404, "NotFound", "the server could not find the requested resource")
        return resource, self._server.model(resource)

    def _call(self, gvr: str, verb: str, namespace: str, name: str, subresource: str = "") -> tuple[Call, Model]:
        resource, model = self._resource(gvr)
        call = Call(resource, verb, self._user, namespace if resource.namespaced else "", name, subresource)
        call.manager, call.validation = self._manager, "Ignore"
        return call, model

    async def get(self, gvr: str, name: str, namespace: str = "") -> Object | None:
        """See KubePort."""
        resource, model = self._resource(gvr)
        stored = self._server.store.get(resource.storage_key, namespace if resource.namespaced else "", name)
        return model.load(stored) if stored else None

    async def list(
        self, gvr: str, namespace: str = "", labels: str = "", fields: str = "", *, shared: bool = False
    ) -> tuple[Objects, str]:
        """See KubePort."""
        resource, model = self._resource(gvr)
        query = {"labelSelector": [labels], "fieldSelector": [fields]}
        try:
            options = listing.options_of(query, resource, model.strategy, watch=False)
            page = listing.page(self._server.store, resource, namespace, options)
        except ApiError as error:
            raise _refused(error) from error
        read = model.view if shared else model.load
        return [read(stored) for stored in page.items], str(page.metadata["resourceVersion"])

    async def watch(self, gvr: str, namespace: str = "", since: str = "") -> AsyncIterator[tuple[str, Object]]:
        """See KubePort. A server that ends its watches raises KubeError 410."""
        resource, model = self._resource(gvr)
        options = listing.ListOptions(version=since)
        try:
            watching = listing.open_watch(self._server.store, resource, namespace, options)
        except ApiError as error:
            raise _refused(error) from error
        try:
            while True:
                change = await watching.next(FOREVER)
                if change is None:
                    raise KubeError(410, "Expired", "the watch was closed")
                yield change[0], model.load(change[1])
        finally:
            watching.close()

    async def create(self, gvr: str, obj: Object, namespace: str = "", subresource: str = "") -> Object:
        """See KubePort."""
        meta = obj.get("metadata") or {}
        call, model = self._call(
            gvr, "create", namespace or meta.get("namespace", ""), meta.get("name", ""), subresource
        )
        try:
            if subresource:
                return special.local_subresource(self._server, call, model, sent(obj))
            return special.create(self._server, call, model, self._decoded(call, model, obj))
        except ApiError as error:
            raise _refused(error) from error

    def _decoded(self, call: Call, model: Model, obj: Object) -> Object:
        plain = {"apiVersion": model.resource.api_version, "kind": model.resource.kind} | obj
        return writes.decode(call, model, sent(plain), [], b"")

    async def update(self, gvr: str, obj: Object, subresource: str = "") -> Object:
        """See KubePort."""
        meta = obj["metadata"]
        call, model = self._call(gvr, "update", meta.get("namespace", ""), meta["name"], subresource)
        try:
            if subresource not in ("", "status"):
                return special.local_subresource(self._server, call, model, sent(obj))
            new = self._decoded(call, model, obj)
            transform = writes.put(call, model, new, self._server.rest.now())
            return self._server.rest.update(call, model, transform, preconditions=Preconditions(meta.get("uid")))[0]
        except ApiError as error:
            raise _refused(error) from error

    async def patch(
        self, gvr: str, name: str, patch: Patch, namespace: str = "", subresource: str = "", kind: str = "merge"
    ) -> Object:
        """See KubePort."""
        call, model = self._call(gvr, "patch", namespace, name, subresource)
        found = sent(patch)
        try:
            if subresource not in ("", "status"):
                return special.local_subresource(self._server, call, model, found if isinstance(found, dict) else {})
            transform = writes.patching(call, model, MEDIA[kind], lambda: (found, []), self._server.rest.now())
            return self._server.rest.update(call, model, transform)[0]
        except ApiError as error:
            raise _refused(error) from error

    async def apply(self, gvr: str, obj: Object, manager: str, force: bool = True, subresource: str = "") -> Object:
        """See KubePort."""
        meta = obj["metadata"]
        call, model = self._call(gvr, "patch", meta.get("namespace", ""), meta["name"], subresource)
        call.manager = manager
        found = sent({"apiVersion": model.resource.api_version, "kind": model.resource.kind} | obj)
        now = self._server.rest.now()
        try:
            return self._server.rest.update(
                call, model, lambda old: writes.apply_object(call, model, old, found, force, now), allow_create=True
            )[0]
        except ApiError as error:
            raise _refused(error) from error

    async def delete(
        self, gvr: str, name: str, namespace: str = "", propagation: str = "Background", grace: int | None = None
    ) -> None:
        """See KubePort."""
        call, model = self._call(gvr, "delete", namespace, name)
        try:
            self._server.rest.delete(call, model, DeleteOptions(grace, propagation))
        except ApiError as error:
            raise _refused(error) from error
