"""One suite for the port of controllers: in process, and over HTTPS against the same server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lab.clock import Clock
from lab.ctl import workload_controllers
from lab.ctl.base import Informers, start_all, stop_all
from lab.ctl.kubelet import Kubelet, Kubelets, NodeSpec
from lab.kube.pki import kubeconfig
from lab.kube.port import KubeError, KubePort
from lab.kube.remote import RemotePort, path_of
from lab.kube.runner import start_cluster

CONFIGS, PODS = "v1/configmaps", "v1/pods"
Play = Callable[[Callable[[KubePort], Awaitable[None]]], None]


@pytest.fixture(params=["local", "remote"])
def play(request: pytest.FixtureRequest) -> Play:
    """Runs a test with one of the two ports to a server of its own."""

    def run(test: Callable[[KubePort], Awaitable[None]]) -> None:
        async def main() -> None:
            cluster = await start_cluster("infra", Clock(50.0))
            remote = RemotePort.from_kubeconfig(kubeconfig([cluster.context()]), user_agent="tester")
            try:
                await asyncio.wait_for(test(remote if request.param == "remote" else cluster.api.local("tester")), 20)
            finally:
                await remote.close()
                await cluster.stop()

        asyncio.run(main())

    return run


def config(name: str, **data: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default", "labels": {"set": "1"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def test_objects_come_and_go(play: Play) -> None:
    async def test(port: KubePort) -> None:
        made = await port.create(CONFIGS, config("a", x="1"))
        assert made["metadata"]["managedFields"][0]["manager"] == "tester"
        assert await port.get(CONFIGS, "a", "default") == made
        changed = await port.update(CONFIGS, made | {"data": {"x": "2"}})
        assert changed["data"] == {"x": "2"}
        patched = await port.patch(CONFIGS, "a", {"data": {"y": "3"}}, "default")
        assert patched["data"] == {"x": "2", "y": "3"}
        assert (await port.patch(CONFIGS, "a", [{"op": "remove", "path": "/data/y"}], "default", kind="json"))[
            "data"
        ] == {"x": "2"}
        found, version = await port.list(CONFIGS, "default", "set=1")
        assert [obj["metadata"]["name"] for obj in found] == ["a"]
        assert int(version) >= int(patched["metadata"]["resourceVersion"])
        await port.delete(CONFIGS, "a", "default")
        assert await port.get(CONFIGS, "a", "default") is None

    play(test)


def test_refusals_are_errors(play: Play) -> None:
    async def test(port: KubePort) -> None:
        made = await port.create(CONFIGS, config("a"))
        with pytest.raises(KubeError) as twice:
            await port.create(CONFIGS, config("a"))
        assert (twice.value.status, twice.value.reason) == (409, "AlreadyExists")
        await port.patch(CONFIGS, "a", {"data": {"x": "1"}}, "default")
        with pytest.raises(KubeError) as stale:
            await port.update(CONFIGS, made | {"data": {"x": "2"}})
        assert stale.value.reason == "Conflict"
        with pytest.raises(KubeError) as gone:
            await port.delete(CONFIGS, "b", "default")
        assert (gone.value.status, gone.value.message) == (404, 'configmaps "b" not found')
        with pytest.raises(KubeError) as unserved:
            await port.list("none.example.com/v1/things")
        assert unserved.value.status == 404

    play(test)


def test_apply_takes_fields_and_gives_them_up(play: Play) -> None:
    async def test(port: KubePort) -> None:
        await port.apply(CONFIGS, config("a", x="1", y="2"), "one")
        assert (await port.apply(CONFIGS, config("a", x="1"), "one"))["data"] == {"x": "1"}
        with pytest.raises(KubeError) as conflict:
            await port.apply(CONFIGS, config("a", x="2"), "two", force=False)
        assert conflict.value.status == 409
        assert (await port.apply(CONFIGS, config("a", x="2"), "two"))["data"] == {"x": "2"}

    play(test)


def test_a_watch_starts_with_what_is_there(play: Play) -> None:
    async def test(port: KubePort) -> None:
        await port.create(CONFIGS, config("a"))
        _, version = await port.list(CONFIGS, "default")
        seen: list[tuple[str, str]] = []
        async for kind, obj in port.watch(CONFIGS, "default", version):
            if kind == "BOOKMARK":
                continue
            seen.append((kind, obj["metadata"]["name"]))
            if kind == "DELETED":
                break
            await port.delete(CONFIGS, "b", "default")
        assert seen == [("ADDED", "b"), ("DELETED", "b")]

    async def around(port: KubePort) -> None:
        started = asyncio.ensure_future(test(port))
        while await port.get(CONFIGS, "a", "default") is None:
            await asyncio.sleep(0)
        await port.create(CONFIGS, config("b"))
        await started

    play(around)


def test_a_pod_is_bound_and_removed_at_once(play: Play) -> None:
    async def test(port: KubePort) -> None:
        meta = {"name": "p", "namespace": "default"}
        await port.create("v1/serviceaccounts", {"metadata": {"name": "default", "namespace": "default"}})
        await port.create(PODS, {"metadata": meta, "spec": {"containers": [{"name": "c", "image": "i"}]}})
        target = {"apiVersion": "v1", "kind": "Node", "name": "n"}
        await port.create(PODS, {"metadata": meta, "target": target}, "default", subresource="binding")
        bound = await port.get(PODS, "p", "default")
        assert bound is not None
        assert bound["spec"]["nodeName"] == "n"
        await port.patch(PODS, "p", {"status": {"phase": "Running"}}, "default", subresource="status")
        await port.delete(PODS, "p", "default", grace=0)
        assert await port.get(PODS, "p", "default") is None

    play(test)


def test_controllers_run_on_either(play: Play) -> None:
    async def test(port: KubePort) -> None:
        clock = Clock(100.0)
        informers = Informers(port, clock)
        hub = Kubelets(port, clock, informers)
        controllers = workload_controllers(port, clock, informers=informers)
        await start_all(controllers)
        await Kubelet(port, clock, NodeSpec(name="n", addresses=("10.0.0.1",)), kubelets=hub, cni_ready=True).start()
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
        await port.create("apps/v1/deployments", {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
        async for _, obj in port.watch("apps/v1/deployments", "default"):
            if obj.get("status", {}).get("readyReplicas") == 2:
                break
        await stop_all([*controllers, hub])
        await informers.stop()
        assert [crash for c in (*controllers, hub) for crash in c.crashes] == []

    play(test)


@pytest.mark.parametrize(
    ("args", "path"),
    [
        (("v1/nodes",), "/api/v1/nodes"),
        (("v1/pods", "d", "p", "binding"), "/api/v1/namespaces/d/pods/p/binding"),
        (("apps/v1/deployments", "d"), "/apis/apps/v1/namespaces/d/deployments"),
        (("rbac.authorization.k8s.io/v1/clusterroles", "", "system:node"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node"),
    ],
)  # fmt: skip
def test_paths(args: tuple[str, ...], path: str) -> None:
    assert path_of(*args) == path
