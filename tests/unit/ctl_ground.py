"""A cluster in one thread whose time jumps from timer to timer: controllers run through minutes without waiting.

Used by the tests of lab.ctl; it is the lab's own API server, clock excepted.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

from lab.clock import EPOCH, Clock
from lab.ctl import Provisioners, workload_controllers
from lab.ctl.base import Controller, Informers, start_all, stop_all
from lab.ctl.kubelet import Kubelet, Kubelets, NodeSpec
from lab.kube.api import ApiServer

Object = dict[str, Any]
SPINS = 40  # turns of the loop after which everything that can run has run


class Timer:
    """A call that is due at a simulated second."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Never call."""
        self.call = None


class JumpClock(Clock):
    """Simulated time that stands still until `run` jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.elapsed = 0.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._serial = itertools.count()

    def seconds(self) -> float:
        return self.elapsed

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.elapsed)

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.call_later(seconds, lambda: future.done() or future.set_result(None))
        await future

    def call_later(self, seconds: float, fn: Callable[[], object]) -> Any:
        timer = Timer(fn)
        heapq.heappush(self._timers, (self.elapsed + max(seconds, 0.0), next(self._serial), timer))
        return timer

    async def run(self, seconds: float) -> None:
        """Let so many simulated seconds pass."""
        end = self.elapsed + seconds
        while True:
            for _ in range(SPINS):
                await asyncio.sleep(0)
            if not self._timers or self._timers[0][0] > end:
                self.elapsed = end
                return
            due, _, timer = heapq.heappop(self._timers)
            self.elapsed = max(self.elapsed, due)
            if timer.call is not None:
                timer.call()


class Ground:
    """An API server with all controllers and some nodes."""

    def __init__(self) -> None:
        self.clock = JumpClock()
        self.api = ApiServer("test", clock=self.clock)
        self.port = self.api.local("kube-controller-manager")
        self.informers = Informers(self.port, self.clock)
        self.provisioners = Provisioners()
        self.hub = Kubelets(self.api.local("kubelet"), self.clock, self.informers)
        self.api.host = self.hub.behaviours
        self.kubelets: dict[str, Kubelet] = {}
        self.controllers: list[Controller] = []

    async def start(self, nodes: int = 2, *, cni_ready: bool = True) -> None:
        """Start everything and let the nodes register."""
        self.controllers = workload_controllers(
            self.port,
            self.clock,
            informers=self.informers,
            root_ca="PEM",
            pod_cidrs=("10.244.0.0/16",),
            provisioners=self.provisioners,
        )
        await start_all(self.controllers)
        for number in range(1, nodes + 1):
            spec = NodeSpec(name=f"n{number}", addresses=(f"10.0.0.{number}",))
            kubelet = Kubelet(self.port, self.clock, spec, kubelets=self.hub, cni_ready=cni_ready)
            self.kubelets[spec.name] = kubelet
            await kubelet.start()
        await self.clock.run(5)

    async def stop(self) -> None:
        """End all of it; a crash of any controller fails the test."""
        await stop_all([*self.controllers, self.hub])
        await self.informers.stop()
        assert [crash for c in (*self.controllers, self.hub) for crash in c.crashes] == []

    async def get(self, gvr: str, name: str, namespace: str = "default") -> Object:
        """An object that must be there."""
        found = await self.port.get(gvr, name, namespace)
        assert found is not None, f"{gvr} {name} is not there"
        return found

    async def pods(self, labels: str = "") -> list[Object]:
        """Pods of the default namespace."""
        return (await self.port.list("v1/pods", "default", labels))[0]

    async def events(self, about: str) -> list[str]:
        """Reasons of the events about something, oldest first."""
        found = (await self.port.list("v1/events", ""))[0]
        mine = [e for e in found if e["involvedObject"]["name"] == about]
        return [e["reason"] for e in sorted(mine, key=lambda e: int(e["metadata"]["resourceVersion"]))]


def play(test: Callable[[Ground], Coroutine[Any, Any, None]], nodes: int = 2, *, cni_ready: bool = True) -> None:
    """Run a test on a fresh ground."""

    async def main() -> None:
        ground = Ground()
        await ground.start(nodes, cni_ready=cni_ready)
        try:
            await test(ground)
        finally:
            await ground.stop()

    asyncio.run(main())


def workload(kind: str, name: str, replicas: int | None = 1, **spec: Any) -> Object:
    """A Deployment, ReplicaSet, DaemonSet or StatefulSet of one container."""
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}
    size = {} if replicas is None else {"replicas": replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**size, "selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }
