"""Bare lab clusters: API servers with their certificates, on request with controllers and nodes. For checks, tests and people.

The rehearsal's world starts its clusters itself, from the same parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lab.clock import Clock
from lab.kube.api import ApiServer
from lab.kube.http import HttpServer
from lab.kube.pki import ClusterCA, KubeContext, kubeconfig
from lab.kube.port import KubePort

if TYPE_CHECKING:
    from lab.ctl.base import Controller
    from lab.ctl.kubelet import Kubelet, Kubelets

ADMIN, ADMINS = "admin", ("system:masters",)


@dataclass(slots=True)
class Cluster:
    """One running cluster; `controllers` and `kubelets` are empty where only the API runs."""

    name: str
    api: ApiServer
    server: HttpServer
    ca: ClusterCA
    port: KubePort
    controllers: list[Controller] = field(default_factory=list)
    kubelets: list[Kubelet] = field(default_factory=list)
    hub: Kubelets | None = None

    def context(self, user: str = ADMIN, groups: Sequence[str] = ADMINS) -> KubeContext:
        """A kubeconfig context named like the cluster, with a new client certificate."""
        return self.ca.client_context(user, groups, context_name=self.name, server=self.server.url)

    async def stop(self) -> None:
        """End all of it."""
        await self.server.stop()
        if self.hub is not None:
            from lab.ctl.base import stop_all

            await stop_all([*self.controllers, self.hub])
            await self.hub.informers.stop()


async def start_cluster(
    name: str, clock: Clock, *, seed: int = 0, nodes: int = 0, controllers: bool = False
) -> Cluster:
    """An API server on a free port; with `controllers` also these, and `nodes` nodes that run pods."""
    api = ApiServer(name, clock=clock, seed=seed)
    ca = ClusterCA.generate()
    server = HttpServer(api.handle, tls=ca.server_context(), tokens=api.authenticate)
    await server.start()
    cluster = Cluster(name, api, server, ca, api.local("kube-controller-manager"))
    if controllers:
        await _start_controllers(cluster, clock, seed, nodes)
    return cluster


async def _start_controllers(cluster: Cluster, clock: Clock, seed: int, nodes: int) -> None:
    from lab.ctl import Provisioners, workload_controllers
    from lab.ctl.base import Informers, start_all
    from lab.ctl.kubelet import Kubelet, Kubelets, NodeSpec

    informers = Informers(cluster.port, clock)
    kubelet_port = cluster.api.local("kubelet")
    cluster.hub = Kubelets(kubelet_port, clock, informers, seed=seed)
    cluster.api.host = cluster.hub.behaviours
    cluster.controllers = workload_controllers(
        cluster.port,
        clock,
        informers=informers,
        scheduler_port=cluster.api.local("kube-scheduler"),
        root_ca=cluster.ca.cert_pem,
        pod_cidrs=("10.244.0.0/16",),
        provisioners=Provisioners(anything=True),
        seed=seed,
    )
    await start_all(cluster.controllers)
    for number in range(1, nodes + 1):
        spec = NodeSpec(name=f"{cluster.name}-{number:02}", addresses=(f"10.0.0.{number}",))
        kubelet = Kubelet(kubelet_port, clock, spec, kubelets=cluster.hub, cni_ready=True)
        await kubelet.start()
        cluster.kubelets.append(kubelet)


def write_kubeconfig(path: Path, clusters: Sequence[Cluster]) -> None:
    """One file with a context for each cluster, for its owner's eyes alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(kubeconfig([cluster.context() for cluster in clusters]))


@dataclass(slots=True)
class Running:
    """Clusters that run in a thread of their own."""

    clusters: dict[str, Cluster]
    loop: asyncio.AbstractEventLoop
    kubeconfig: Path


@contextlib.contextmanager
def running(
    folder: Path, names: Sequence[str] = ("infra",), *, speed: float = 50.0, nodes: int = 2, controllers: bool = True
) -> Iterator[Running]:
    """Clusters in a thread, until the block ends; `folder` gets the kubeconfig."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="lab-kube", daemon=True)
    thread.start()

    async def start() -> dict[str, Cluster]:
        clock = Clock(speed)
        return {
            name: await start_cluster(name, clock, seed=place, nodes=nodes, controllers=controllers)
            for place, name in enumerate(names)
        }

    clusters = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    write_kubeconfig(folder / "kubeconfig", list(clusters.values()))
    try:
        yield Running(clusters, loop, folder / "kubeconfig")
    finally:
        for cluster in clusters.values():
            asyncio.run_coroutine_threadsafe(cluster.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
