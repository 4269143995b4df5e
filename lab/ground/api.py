"""A cluster's API where a real kube-apiserver serves it: the lab asks this for ports, served kinds and tokens as it asks its own server.

The lab's server underneath serves nobody; its registry follows the definitions that the real one has established.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.clock import Clock
from lab.ctl.base import Informers
from lab.ground.plane import Plane
from lab.kube.api import ApiServer
from lab.kube.port import CRDS, KubePort
from lab.kube.schema import crd
from lab.kube.wire import User

Object = dict[str, Any]


class GroundApi(ApiServer):
    """The API of one cluster on the second ground."""

    def __init__(self, plane: Plane, name: str, *, clock: Clock, seed: int, service_cidrs: Sequence[str]) -> None:
        super().__init__(name, clock=clock, seed=seed, service_cidrs=service_cidrs)
        self.plane = plane

    def local(self, user: str | User, manager: str = "") -> KubePort:
        """A port to the real server."""
        return self.plane.local(user, manager)

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """A new etcd: an empty one, since a snapshot of the lab's own store cannot be put into a real one."""
        super().restore(snapshot)
        self.plane.forget()

    def follow(self, informers: Informers) -> None:
        """Know the custom kinds from now on."""
        informer = informers.of(CRDS)
        informer.remove_handler(self._defined)
        informer.add_handler(self._defined)

    def _defined(self, kind: str, definition: Object, _old: Object | None) -> None:
        name = definition["metadata"]["name"]
        conditions = (definition.get("status") or {}).get("conditions") or ()
        if kind == "DELETED":
            self.registry.drop_crd(name)
        elif any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            self.registry.serve_crd(name, crd.resources(definition))
