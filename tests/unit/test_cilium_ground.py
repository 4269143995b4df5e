"""Cilium and Flux on the lab's own API server, in jumping time: from the chart to nodes that are ready, and from Git to objects."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from lab.bgp import BgpFabric
from lab.cilium import ca
from lab.cilium.attach import Cilium, attach
from lab.cilium.chart import chart
from lab.cilium.mesh import Meshes
from lab.ctl.base import start_all
from lab.flux import manifests
from lab.flux.attach import attach as attach_flux
from lab.gitremote import GitRemote, Token
from lab.helm import goyaml
from lab.helm.engine import Helm, HelmError, Options
from lab.helm.objects import RegistryKinds
from lab.programs.flux.check import apply_order
from lab.record import Record
from tests.unit.ctl_ground import Ground

CAPS = {"ciliumAgent": ["CHOWN", "NET_ADMIN"], "cleanCiliumState": ["NET_ADMIN"]}
VALUES: dict[str, Any] = {
    "cluster": {"name": "infra", "id": 1}, "ipam": {"mode": "kubernetes"}, "kubeProxyReplacement": True, "k8sServiceHost": "localhost", "k8sServicePort": 7445,
    "cgroup": {"autoMount": {"enabled": False}, "hostRoot": "/sys/fs/cgroup"}, "securityContext": {"capabilities": CAPS}, "bgpControlPlane": {"enabled": True},
    "hubble": {"relay": {"enabled": True}, "tls": {"auto": {"method": "cronJob"}}},
}  # fmt: skip
POOLS = "cilium.io/v2/ciliumloadbalancerippools"
Played = Callable[["Field"], Coroutine[Any, Any, None]]


class Field(Ground):
    """A ground with Cilium's controllers, and Flux' where a remote is given."""

    cilium: Cilium

    async def inhabit(self, remote: Any = None, reach: str = "") -> None:
        self.cluster_name, self.kubelet_host = "infra", self.hub
        self.cilium = attach(self, meshes=Meshes(), fabric=BgpFabric(self.clock, random.Random(1)), reach=lambda _h, _p, _n: reach, service_ip="10.96.0.1")
        added = [*self.cilium.controllers, *(attach_flux(self, remote) if remote is not None else ())]
        await start_all(added)
        self.controllers += added

    def helm(self, **options: Any) -> Helm:
        return Helm(self.port, RegistryKinds(self.api.registry), self.clock, "kube-system", **options)

    async def until(self, work: Coroutine[Any, Any, Any], limit: float = 900.0) -> Any:
        """Let time pass until `work` is done."""
        task, end = asyncio.ensure_future(work), self.clock.seconds() + limit
        while not task.done() and self.clock.seconds() < end:
            await self.clock.run(2)
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            pytest.fail("not done in time")
        return task.result()

    async def installed(self) -> None:
        """Cilium is there and every node ready."""
        await self.until(self.helm().install("cilium", chart("1.18.12"), VALUES, Options()))
        await self.clock.run(90)


def field(test: Played, *, remote: Any = None, reach: str = "") -> None:
    """Run a test on a fresh field of two nodes without a CNI."""

    async def main() -> None:
        ground = Field()
        await ground.start(2, cni_ready=False)
        await ground.inhabit(remote, reach)
        try:
            await test(ground)
        finally:
            await ground.stop()

    asyncio.run(main())


def test_the_chart_makes_nodes_ready_and_the_operator_brings_crds() -> None:
    async def test(ground: Field) -> None:
        await ground.installed()
        for node in (await ground.port.list("v1/nodes"))[0]:
            assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "True"
        assert len((await ground.port.list("apiextensions.k8s.io/v1/customresourcedefinitions"))[0]) == 22
        assert {"hubble-server-certs", "hubble-relay-client-certs", "cilium-ca"} <= {s["metadata"]["name"] for s in (await ground.port.list("v1/secrets", "kube-system"))[0]}
        before = await ground.get("apps/v1/daemonsets", "cilium", "kube-system")
        again = await ground.until(ground.helm().upgrade("cilium", chart("1.18.12"), VALUES, Options()))
        after = await ground.get("apps/v1/daemonsets", "cilium", "kube-system")
        assert (again.version, after["metadata"]["generation"]) == (2, before["metadata"]["generation"])

    field(test)


@pytest.mark.parametrize(
    ("caps", "reach", "message"),
    [({**CAPS, "ciliumAgent": ["SYS_MODULE"]}, "", "can't apply capabilities"), (CAPS, "connect: connection refused", "Unable to contact k8s api-server")],
)
def test_agents_that_cannot_start_leave_the_nodes_not_ready(caps: dict[str, Any], reach: str, message: str) -> None:
    async def test(ground: Field) -> None:
        values = {**VALUES, "securityContext": {"capabilities": caps}, "hubble": {"enabled": False}}
        await ground.until(ground.helm().install("cilium", chart("1.18.12"), values, Options()))
        await ground.clock.run(120)
        pods = (await ground.port.list("v1/pods", "kube-system", "k8s-app=cilium"))[0]
        assert any(message in str(p["status"]) for p in pods)
        node = (await ground.port.list("v1/nodes"))[0][0]
        assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "False"

    field(test, reach=reach)


def test_a_killed_helm_leaves_a_pending_release_and_a_stopped_one_a_failed_one() -> None:
    async def test(ground: Field) -> None:
        for told, status in ((False, "pending-install"), (True, "failed")):
            helm = ground.helm(told_to_stop=lambda told=told: told)
            name = f"r{told}".lower()
            task = asyncio.ensure_future(helm.install(name, chart("1.18.12"), VALUES, Options(wait=True, take_ownership=True)))
            await ground.clock.run(3)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, HelmError):
                await task
            assert [r.status for r in await helm.storage.history(name)] == [status]
        with pytest.raises(HelmError, match="another operation"):
            await ground.helm().upgrade("rfalse", chart("1.18.12"), VALUES, Options())
        with pytest.raises(HelmError, match="release has no 0 version"):
            await ground.helm().rollback("rfalse", 0, Options())

    field(test)


def service(name: str, **annotations: str) -> dict[str, Any]:
    """A Service that wants an address."""
    spec = {"type": "LoadBalancer", "selector": {"app": name}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default", "annotations": annotations}, "spec": spec}


def test_pools_hand_out_addresses_and_say_what_they_cannot() -> None:
    async def test(ground: Field) -> None:
        await ground.installed()
        await ground.port.create("v1/services", service("a"), "default")
        await ground.clock.run(5)
        assert (await condition(ground, "a"))["reason"] == "no_pool" if await conditions_of(ground, "a") else True
        pool = {"apiVersion": "cilium.io/v2", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": "one"}, "spec": {"allowFirstLastIPs": "No", "blocks": [{"cidr": "10.0.10.0/30"}]}}
        await ground.port.create(POOLS, pool)
        await ground.port.create(POOLS, {**pool, "metadata": {"name": "two"}, "spec": {"blocks": [{"cidr": "10.0.10.0/29"}]}})
        for name, wish in (("b", ""), ("c", ""), ("d", "10.0.10.1")):
            await ground.port.create("v1/services", service(name, **({"lbipam.cilium.io/ips": wish} if wish else {})), "default")
        await ground.clock.run(20)
        held = {n: [i["ip"] for i in (await ground.get("v1/services", n))["status"].get("loadBalancer", {}).get("ingress", [])] for n in "abcd"}
        assert (held["a"], held["b"], held["c"], held["d"]) == (["10.0.10.1"], ["10.0.10.2"], [], [])
        assert [(await condition(ground, n))["reason"] for n in "abcd"] == ["satisfied", "satisfied", "out_of_ips", "already_allocated"]
        two = await ground.get(POOLS, "two", "")
        assert next(c["status"] for c in two["status"]["conditions"] if c["type"] == "cilium.io/PoolConflict") == "True"

    field(test)


async def conditions_of(ground: Field, name: str) -> list[dict[str, Any]]:
    """The conditions of a Service."""
    found: list[dict[str, Any]] = (await ground.get("v1/services", name))["status"].get("conditions", [])
    return found


async def condition(ground: Field, name: str) -> dict[str, Any]:
    """The word of LB IPAM on a Service."""
    return next(c for c in await conditions_of(ground, name) if c["type"] == "cilium.io/IPAMRequestSatisfied")


def test_bgp_resources_become_node_configs_and_faults_are_named() -> None:
    async def test(ground: Field) -> None:
        await ground.installed()
        peer = {"name": "gw", "peerASN": 64512, "peerAddress": "10.0.0.254", "peerConfigRef": {"name": "gw"}}
        config = {"apiVersion": "cilium.io/v2", "kind": "CiliumBGPClusterConfig", "metadata": {"name": "c"}, "spec": {"bgpInstances": [{"name": "i", "localASN": 64513, "peers": [peer]}]}}
        await ground.port.create("cilium.io/v2/ciliumbgpclusterconfigs", config)
        await ground.clock.run(10)
        stored = await ground.get("cilium.io/v2/ciliumbgpclusterconfigs", "c", "")
        assert {c["type"]: c["status"] for c in stored["status"]["conditions"]} == {"cilium.io/NoMatchingNode": "False", "cilium.io/MissingPeerConfigs": "True", "cilium.io/ConflictingClusterConfig": "False"}
        shared = {"apiVersion": "cilium.io/v2", "kind": "CiliumBGPPeerConfig", "metadata": {"name": "gw"}, "spec": {"authSecretRef": "none", "families": [{"afi": "ipv4", "safi": "unicast"}]}}
        await ground.port.create("cilium.io/v2/ciliumbgppeerconfigs", shared)
        await ground.clock.run(15)
        nodes = (await ground.port.list("cilium.io/v2/ciliumbgpnodeconfigs"))[0]
        assert sorted(n["metadata"]["name"] for n in nodes) == ["n1", "n2"]
        assert nodes[0]["status"]["bgpInstances"][0]["peers"][0]["peeringState"] in ("active", "idle")
        missing = (await ground.get("cilium.io/v2/ciliumbgppeerconfigs", "gw", ""))["status"]["conditions"]
        assert [(c["type"], c["status"]) for c in missing] == [("cilium.io/MissingAuthSecret", "True")]

    field(test)


def test_certificates_of_one_ca_are_told_from_those_of_another() -> None:
    now = Ground().clock.now()
    one, other = ca.make_ca(now), ca.make_ca(now)
    leaf = ca.sign(one, "x", ["x"], now)
    assert (ca.signed_by(leaf.cert, one.cert), ca.signed_by(leaf.cert, other.cert), ca.is_pair("x", "y")) == (True, False, False)


def test_flux_applies_what_git_says_and_prunes_what_it_says_no_more(tmp_path: Path) -> None:
    async def test(ground: Field) -> None:
        git.clock = ground.clock
        await ground.installed()
        for obj in apply_order(manifests.components(manifests.Options())):
            kind = None
            while kind is None:
                kind = RegistryKinds(ground.api.registry).find(obj["apiVersion"], obj["kind"])
                await ground.clock.run(1)
            await ground.port.apply(kind.gvr, obj, "flux")
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "flux-system", "namespace": "flux-system"}, "stringData": {"username": "git", "password": "t"}}
        await ground.port.create("v1/secrets", secret, "flux-system")
        await ground.clock.run(30)
        await ground.port.create(f"{SOURCE}/gitrepositories", {"apiVersion": SOURCE, **_of(manifests.git_repository("flux-system", "flux-system", "http://x/o/r.git", "main", "flux-system"))}, "flux-system")
        await ground.port.create(f"{KS}/kustomizations", manifests.kustomization("flux-system", "flux-system", "./c"), "flux-system")
        await ground.clock.run(40)
        root = await ground.get(f"{KS}/kustomizations", "flux-system", "flux-system")
        assert root["status"]["lastAppliedRevision"] == f"main@sha1:{git.head()}"
        assert (await ground.get("v1/configmaps", "x"))["data"] == {"a": "1"}
        git.commit("main", {"c/x.yaml": None, "c/y.yaml": _configmap("y")}, "Change", "a <a@b>")
        await ground.clock.run(200)
        assert await ground.port.get("v1/configmaps", "x", "default") is None
        assert await ground.port.get("v1/configmaps", "y", "default") is not None
        git.commit("main", {"c/bad.yaml": b"a: b: c\n"}, "Break", "a <a@b>")
        await ground.clock.run(200)
        root = await ground.get(f"{KS}/kustomizations", "flux-system", "flux-system")
        ready = next(c for c in root["status"]["conditions"] if c["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "BuildFailed")
        assert root["status"]["lastAppliedRevision"] != root["status"]["lastAttemptedRevision"]

    clock = Ground().clock
    git = GitRemote(clock=clock, rng=random.Random(1), record=Record(clock), dir=tmp_path, owner="o", repository="r", tokens={"t": Token("o")})
    git.create({"c/x.yaml": _configmap("x")})
    field(test, remote=git)


SOURCE, KS = "source.toolkit.fluxcd.io/v1", "kustomize.toolkit.fluxcd.io/v1"


def _of(obj: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in obj.items() if k != "apiVersion"}


def _configmap(name: str) -> bytes:
    return goyaml.dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"a": "1"}}).encode()
