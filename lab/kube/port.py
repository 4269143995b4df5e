"""The small port through which every controller talks to Kubernetes: in process here, HTTPS elsewhere.

A `gvr` is "v1/pods" or "apps/v1/deployments". Objects are plain JSON values; what a port returns belongs to the caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

Object = dict[str, Any]
Objects = list[Object]  # named here: inside the port `list` is the verb
Patch = Object | list[Any]
CRDS = "apiextensions.k8s.io/v1/customresourcedefinitions"


class KubeError(Exception):
    """A refusal by the API server, as its Status says it."""

    def __init__(self, status: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}


class KubePort(Protocol):
    """Reads and writes of one cluster. All but `get` raise KubeError on any refusal; `get` answers None for 404."""

    async def get(self, gvr: str, name: str, namespace: str = "") -> Object | None:
        """The object, or None where it is not."""
        ...

    async def list(
        self, gvr: str, namespace: str = "", labels: str = "", fields: str = "", *, shared: bool = False
    ) -> tuple[Objects, str]:
        """Objects and the resource version of the list. An empty namespace lists all. `shared` ones are not to be changed."""
        ...

    def watch(self, gvr: str, namespace: str = "", since: str = "") -> AsyncIterator[tuple[str, Object]]:
        """Events ADDED, MODIFIED, DELETED and BOOKMARK; starts with what is there when `since` is empty."""
        ...

    async def create(self, gvr: str, obj: Object, namespace: str = "", subresource: str = "") -> Object:
        """The object as stored. With a subresource (binding, eviction, token) `obj` names the object that it belongs to."""
        ...

    async def update(self, gvr: str, obj: Object, subresource: str = "") -> Object:
        """Replace; a resourceVersion in `obj` is a precondition (409 Conflict)."""
        ...

    async def patch(
        self,
        gvr: str,
        name: str,
        patch: Patch,
        namespace: str = "",
        subresource: str = "",
        kind: str = "merge",
    ) -> Object:
        """Patch; `kind` is "merge", "strategic" or "json"."""
        ...

    async def apply(self, gvr: str, obj: Object, manager: str, force: bool = True, subresource: str = "") -> Object:
        """Server-side apply of `obj`, which names itself."""
        ...

    async def delete(
        self, gvr: str, name: str, namespace: str = "", propagation: str = "Background", grace: int | None = None
    ) -> None:
        """Delete; what has finalizers stays until they are gone. `grace` 0 removes a pod at once, as a kubelet does.

        404 is raised as KubeError.
        """
        ...
