"""The lab's Kubernetes API at the size of a large platform: 3,000 nodes and 50,000 pods, in one process, asked without a network between.

    python -m bench.scale [--nodes 3000] [--pods 50000]      one line of JSON
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from lab.clock import Clock
from lab.kube.api import ApiServer
from lab.kube.wire import Req, User

ADMIN = User("admin", ("system:masters",))
WATCHES, CHANGES, GETS, PAGE = 200, 100, 2000, 500
STATM_PAGE = 4096


class Caller:
    """Requests of an administrator."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def __call__(self, method: str, path: str, body: Any = None, kind: str = "application/json", **query: object) -> Any:
        headers = {"user-agent": "bench"} | ({"content-type": kind} if body is not None else {})
        answer = await self._server.handle(Req(method, path, {name: [str(one)] for name, one in query.items()}, headers, b"" if body is None else json.dumps(body).encode(), ADMIN))
        if answer.status >= 300:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.body!r}")
        return answer


def node(number: int) -> dict[str, Any]:
    """A node as a kubelet registers it."""
    size = {"cpu": "64", "memory": "256Gi"}
    status = {"capacity": size, "allocatable": size, "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": f"node-{number}", "labels": {"kubernetes.io/hostname": f"node-{number}"}}, "status": status}


def pod(number: int, nodes: int) -> dict[str, Any]:
    """A small pod that is bound to a node."""
    container = {"name": "main", "image": "registry.example/app:1", "env": [{"name": "A", "value": "b"}], "resources": {"requests": {"cpu": "10m"}}}
    return {"metadata": {"name": f"pod-{number}", "labels": {"app": "bench"}}, "spec": {"nodeName": f"node-{number % nodes}", "containers": [container]}}


async def measured(nodes: int, pods: int) -> dict[str, float]:
    """All figures, in seconds and MiB."""
    call = Caller(ApiServer("infra", clock=Clock()))
    begun = time.perf_counter()
    for number in range(nodes):
        await call("POST", "/api/v1/nodes", node(number))
    for number in range(pods):
        await call("POST", "/api/v1/namespaces/default/pods", pod(number, nodes))
    found = {"filled": time.perf_counter() - begun}
    found["get"] = percentile([await timed(call("GET", f"/api/v1/namespaces/default/pods/pod-{number * 7 % pods}")) for number in range(GETS)])
    pages, version = await listed(call)
    found |= {"page": max(pages), "pages": sum(pages)}
    found["watches"] = await watched(call, version)
    found["memory"] = int(Path("/proc/self/statm").read_text().split()[1]) * STATM_PAGE / 2**20
    return found


async def timed(waiting: Any) -> float:
    """Seconds until an answer."""
    begun = time.perf_counter()
    await waiting
    return time.perf_counter() - begun


def percentile(times: list[float]) -> float:
    """The 99th."""
    return sorted(times)[int(len(times) * 0.99)]


async def listed(call: Caller) -> tuple[list[float], str]:
    """All pods in pages. -> (seconds of each page, the list's version)"""
    times: list[float] = []
    more: dict[str, str] = {}
    while True:
        begun = time.perf_counter()
        meta = json.loads((await call("GET", "/api/v1/pods", limit=PAGE, **more)).body)["metadata"]
        times.append(time.perf_counter() - begun)
        if not meta.get("continue"):
            return times, str(meta["resourceVersion"])
        more = {"continue": meta["continue"]}


async def watched(call: Caller, version: str) -> float:
    """Seconds until every watch has had every change."""

    async def watch() -> None:
        answer, left = await call("GET", "/api/v1/pods", watch="1", resourceVersion=version), CHANGES
        async for _ in answer.chunks:
            left -= 1
            if not left:
                return

    watches = [asyncio.create_task(watch()) for _ in range(WATCHES)]
    await asyncio.sleep(0.1)
    begun = time.perf_counter()
    for number in range(CHANGES):
        await call("PATCH", f"/api/v1/namespaces/default/pods/pod-{number}/status", {"status": {"phase": "Running"}}, "application/merge-patch+json")
        await asyncio.sleep(0)
    await asyncio.wait_for(asyncio.gather(*watches), 120)
    return time.perf_counter() - begun


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--nodes", type=int, default=3000)
    options.add_argument("--pods", type=int, default=50_000)
    chosen = options.parse_args()
    print(json.dumps(asyncio.run(measured(chosen.nodes, chosen.pods))))


if __name__ == "__main__":
    main()
