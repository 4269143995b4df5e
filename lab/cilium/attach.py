"""Puts Cilium into a cluster of the lab: its controllers, and the behaviour of its pods. Idle until the chart is installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lab.bgp import BgpFabric
from lab.cilium.agent import (
    Certgen,
    CiliumAgents,
    Reach,
    agent_exec,
    container_of,
    crash_of,
    flows,
    peer_json,
    why_not_ready,
)
from lab.cilium.bgp import AgentBgp
from lab.cilium.common import AGENT, APISERVER, NAMESPACE, OPERATOR, CrdGate, config_of
from lab.cilium.l2 import L2Announcer
from lab.cilium.mesh import Mesh, Meshes
from lab.cilium.operator import BgpOperator, CrdInstaller, LbIpam
from lab.cilium.traffic import Traffic, main_command, makes_calls
from lab.clock import Clock
from lab.ctl.base import Controller, Informers
from lab.ctl.behaviour import Behaviour, Exit
from lab.ctl.kubelet import Kubelet, Kubelets
from lab.kube.port import KubePort
from lab.kube.streams import ExecResult

BGP_CRDS = tuple(f"ciliumbgp{n}.cilium.io" for n in ("clusterconfigs", "nodeconfigs", "peerconfigs", "advertisements", "nodeconfigoverrides"))


class Cluster(Protocol):
    """What is needed of a cluster (lab.cluster.LabCluster has it)."""

    cluster_name: str
    port: KubePort
    clock: Clock
    informers: Informers
    kubelet_host: Kubelets
    kubelets: dict[str, Kubelet]


@dataclass(slots=True)
class Cilium:
    """Cilium in one cluster: what the cilium program asks."""

    cluster: str
    informers: Informers
    mesh: Mesh
    bgp: AgentBgp
    traffic: Traffic
    controllers: list[Controller]

    def version(self, pod: Mapping[str, Any]) -> str:
        """The agent's version, from its image."""
        match = re.search(r":v([0-9][^@]*)", container_of(pod, "cilium-agent").get("image", ""))
        return match[1] if match else "unknown"

    def peers(self, node: str) -> list[dict[str, Any]]:
        """A node's BGP peers as its agent lists them."""
        return [peer_json(p, self.bgp, self.bgp.clock) for p in self.bgp.peers.get(node, ())]

    def exec(self, pod: Mapping[str, Any], argv: Sequence[str], stdin: bytes) -> ExecResult:
        """A command in an agent's container."""
        node = pod["spec"].get("nodeName", "")
        settings = config_of(self.informers)
        answer = agent_exec(
            argv, version=self.version(pod), pod=pod, peers=self.peers(node), clusters=self.mesh.agent_view(),
            bgp=settings.get("enable-bgp-control-plane") == "true",
        )  # fmt: skip
        if answer is not None:
            return answer
        file = settings.get("hubble-export-file-path", "")
        if argv[:1] == ["cat"] and file and argv[1:] == [file]:
            return ExecResult(0, flows(pod, settings.get("cluster-name", ""), self.bgp.clock))
        if argv[:1] == ["ls"] and file and argv[-1] in (file, file.rsplit("/", 1)[0]):
            return ExecResult(0, f"{file.rsplit('/', 1)[1]}\n".encode())
        return self.traffic.run(pod, argv, stdin)


def attach(cluster: Cluster, *, meshes: Meshes, fabric: BgpFabric | None, reach: Reach, service_ip: str = "", gateway: str = "") -> Cilium:
    """Register the pods' behaviours and make the controllers. `reach` says whether the API answers an agent at an address."""
    port, clock, informers, host = cluster.port, cluster.clock, cluster.informers, cluster.kubelet_host
    mesh = Mesh(port, clock, informers, cluster.cluster_name, meshes)
    bgp = AgentBgp(port, clock, informers, cluster.cluster_name, fabric, gateway)
    gate = CrdGate(port, clock, informers, [
        (("ciliumloadbalancerippools.cilium.io",), LbIpam(port, clock, informers)),
        (BGP_CRDS, BgpOperator(port, clock, informers)),
        (BGP_CRDS, bgp),
        (("ciliuml2announcementpolicies.cilium.io",), L2Announcer(port, clock, informers)),
    ])  # fmt: skip
    agents = CiliumAgents(port, clock, informers, host, cluster.kubelets)
    controllers: list[Controller] = [CrdInstaller(port, clock, informers), agents, Certgen(port, clock, informers), mesh, gate]
    cilium = Cilium(cluster.cluster_name, informers, mesh, bgp, Traffic(mesh), controllers)
    crash: Callable[[Mapping[str, Any]], Exit | None] = lambda pod: crash_of(pod, reach, service_ip)  # noqa: E731 - given to two behaviours
    behaviours = host.behaviours
    behaviours.register(Behaviour(exec=lambda pod, _c, argv, stdin: cilium.traffic.run(pod, argv, stdin)))
    behaviours.register(_Caller(cilium.traffic).behaviour())
    behaviours.register(Behaviour(labels=OPERATOR, namespace=NAMESPACE, ready_after=12.0, exits=crash))
    behaviours.register(Behaviour(
        labels=AGENT, namespace=NAMESPACE, ready_after=40.0, exits=crash, ready=lambda _pod: why_not_ready(informers),
        exec=lambda pod, _c, argv, stdin: cilium.exec(pod, argv, stdin),
    ))  # fmt: skip
    behaviours.register(Behaviour(labels={"k8s-app": "cilium-envoy"}, namespace=NAMESPACE, ready_after=8.0))
    behaviours.register(Behaviour(labels={"k8s-app": "hubble-relay"}, namespace=NAMESPACE, ready_after=15.0))
    behaviours.register(Behaviour(labels=APISERVER, namespace=NAMESPACE, ready_after=25.0))
    return cilium


class _Caller:
    """Pods whose own command is a call: their log shows the answers, and a Job's ends as the call did."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self._said: dict[str, ExecResult] = {}

    def behaviour(self) -> Behaviour:
        """Fits every pod that makes calls."""
        return _Fits(exits=self._exit, logs=self._logs, exec=lambda pod, _c, argv, stdin: self.traffic.run(pod, argv, stdin))

    def _once(self, pod: Mapping[str, Any]) -> ExecResult:
        uid = pod["metadata"]["uid"]
        if uid not in self._said:
            self._said[uid] = self.traffic.run(pod, main_command(pod), b"")
        return self._said[uid]

    def _exit(self, pod: Mapping[str, Any]) -> Exit | None:
        if pod["spec"].get("restartPolicy") == "Always":
            return None
        result = self._once(pod)
        return Exit(result.rc, 5.0, result.stderr.decode())

    def _logs(self, pod: Mapping[str, Any], _container: str) -> Sequence[str]:
        result = self._once(pod)
        return (result.stdout + result.stderr).decode().splitlines()


class _Fits(Behaviour):
    """A Behaviour of the pods that make calls."""

    def fits(self, pod: Mapping[str, Any]) -> bool:
        return makes_calls(pod)
