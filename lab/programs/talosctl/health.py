"""`talosctl health`: the checks in their order, each waited for.

Source: talos `pkg/cluster/check/default.go`, v1.11.2; recorded/talosctl/node-health*; foundation.md 4.4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from lab.programs.talosctl.resources import diagnostics, node_ready, unmet_conditions
from lab.programs.talosctl.session import RpcError, ToolError, connect, unreachable

if TYPE_CHECKING:
    from lab.cluster import LabCluster
    from lab.machines import Machine
    from lab.programs.call import Call

ASK_EVERY = 5.0
CAPS = {"no diagnostics": 60.0, "all k8s nodes to report ready": 600.0}
CAP = 300.0
DEADLINE = "rpc error: code = DeadlineExceeded desc = context deadline exceeded"

Nodes = list[tuple[str, "Machine | None"]]


class _Skip(Exception):
    pass


class _Unmet(Exception):
    pass


class Checks:
    """What is asked of the machines and of Kubernetes. Each check returns, or raises with what is missing."""

    def __init__(self, call: Call, cluster: LabCluster | None, control: Nodes, workers: Nodes) -> None:
        self.call = call
        self.cluster = cluster
        self.control = control
        self.workers = workers
        self.all: Nodes = [*control, *workers]

    def ordered(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """Title and check, in the real order."""
        return [
            ("etcd to be healthy", self.etcd_healthy),
            ("etcd members to be consistent across nodes", self.etcd_consistent),
            ("etcd members to be control plane nodes", self.etcd_control),
            ("apid to be ready", self.apid),
            ("all nodes memory sizes", self.apid),
            ("all nodes disk sizes", self.apid),
            ("no diagnostics", self.no_diagnostics),
            ("kubelet to be healthy", self.kubelet),
            ("all nodes to finish boot sequence", self.booted),
            ("all k8s nodes to report", self.reported),
            ("all control plane static pods to be running", self.static_pods),
            ("all control plane components to be ready", self.static_pods),
            ("all k8s nodes to report ready", self.ready),
            ("kube-proxy to report ready", self.kube_proxy),
            ("coredns to report ready", self.coredns),
            ("all k8s nodes to report schedulable", self.schedulable),
        ]

    def _machine(self, node: str, machine: Machine | None) -> Machine:
        found = machine if machine is not None and machine.answers else self.call.world.machine_at(node)
        if found is None:
            raise _Unmet(str(unreachable(self.call, node)))
        return found

    async def _service(self, nodes: Nodes, name: str) -> None:
        for node, known in nodes:
            machine = self._machine(node, known)
            service = machine.state.services.get(name)
            if service is None:
                raise _Unmet(f'{node}: service "{name}" not found')
            if service.state != "Running" or service.health != "OK":
                expected = "Running" if service.state != "Running" else "healthy"
                raise _Unmet(
                    f'1 error occurred:\n\t* {node}: service "{name}" not in expected state "{expected}": current state [{service.state}] {service.message}\n\n'
                )

    async def etcd_healthy(self) -> None:
        await self._service(self.control, "etcd")

    async def etcd_consistent(self) -> None:
        labels = set()
        for node, known in self.control:
            machine = self._machine(node, known)
            if machine.state.etcd is None:
                raise _Unmet(f"{node}: etcd is not running")
            if machine.state.etcd.learner:
                raise _Unmet(f"etcd member {machine.hostname} is a learner")
            labels.add(machine.state.etcd.cluster)
        if len(labels) > 1:
            raise _Unmet("etcd member ids don't match between nodes")

    async def etcd_control(self) -> None:
        found = sorted(m.address for m in (self.cluster.members(self.cluster.primary) if self.cluster else []))
        wanted = sorted(node for node, _ in self.control)
        if found != wanted:
            raise _Unmet(
                f"mismatch between etcd member and control plane nodes: etcd {_go(found)}, control plane {_go(wanted)}"
            )

    async def apid(self) -> None:
        await self._service(self.all, "apid")

    async def no_diagnostics(self) -> None:
        lines = []
        for node, known in self.all:
            for identifier, spec in await diagnostics(self._machine(node, known)):
                details = "".join(f"\n\t\t- {d}" for d in spec["details"])
                lines.append(f"active diagnostics: {node}: {spec['message']} ({identifier}){details}")
        if lines:
            raise _Unmet("\n\t".join(lines))

    async def kubelet(self) -> None:
        await self._service(self.all, "kubelet")

    async def booted(self) -> None:
        for node, known in self.all:
            machine = self._machine(node, known)
            if machine.stage() != "running":
                unmet = [u["name"] for u in await unmet_conditions(machine)]
                raise _Unmet(f"nodes {_go([node])} are not running: stage {machine.stage()}, unmet {_go(unmet)}")

    async def _nodes(self) -> list[dict[str, Any]]:
        if self.cluster is None or not self.cluster.up:
            endpoint = self.cluster.spec.endpoint if self.cluster else None
            host = endpoint.vip or endpoint.host if endpoint else "localhost"
            raise _Unmet(f'Get "https://{host}:6443/api/v1/nodes": dial tcp {host}:6443: connect: connection refused')
        return (await self.cluster.port.list("v1/nodes"))[0]

    async def reported(self) -> None:
        found = sorted(_internal(n) for n in await self._nodes())
        wanted = sorted(node for node, _ in self.all)
        missing = [w for w in wanted if w not in found]
        if missing:
            raise _Unmet(f"can't find expected node with IPs {_quoted(missing)}")
        extra = [f for f in found if f not in wanted]
        if extra:
            raise _Unmet(f"unexpected nodes with IPs {_quoted(extra)}")

    async def static_pods(self) -> None:
        missing = [node for node, known in self.control if not self._machine(node, known).state.pods_up]
        if missing:
            raise _Unmet(
                f"missing static pods on node {missing[0]}: [kube-system/kube-apiserver kube-system/kube-controller-manager kube-system/kube-scheduler]"
            )

    async def ready(self) -> None:
        bad = [n["metadata"]["name"] for n in await self._nodes() if not node_ready(n)]
        if bad:
            raise _Unmet(f"some nodes are not ready: {_go(sorted(bad))}")

    async def kube_proxy(self) -> None:
        if (
            self.cluster is None
            or await self.cluster.port.get("apps/v1/daemonsets", "kube-proxy", "kube-system") is None
        ):
            raise _Skip

    async def coredns(self) -> None:
        if self.cluster is None:
            raise _Skip
        deployment = await self.cluster.port.get("apps/v1/deployments", "coredns", "kube-system")
        if deployment is None:
            raise _Skip
        wanted = deployment["spec"].get("replicas", 1)
        have = deployment.get("status", {}).get("readyReplicas", 0)
        if have < wanted:
            raise _Unmet(
                f"not all pods are ready: {have}/{wanted} ready"
                if have
                else 'no ready pods found for namespace "kube-system" and label selector "k8s-app=kube-dns"'
            )

    async def schedulable(self) -> None:
        bad = [n["metadata"]["name"] for n in await self._nodes() if n.get("spec", {}).get("unschedulable")]
        if bad:
            raise _Unmet(f"some nodes are not schedulable: {_go(sorted(bad))}")


async def health(call: Call) -> int:
    """`health`: exit 1 when a check is not met in its time."""
    flags = call.flags
    client = connect(call, single="health")
    server = flags["server"]
    limit = float(flags["wait-timeout"])
    end = call.clock.seconds() + limit
    prefix = "" if not server else "rpc error: code = DeadlineExceeded desc = "
    try:
        first = client.first()
    except RpcError as error:
        if server:
            raise ToolError(str(error)) from None
        call.err(f"waiting for etcd to be healthy: ...\nwaiting for etcd to be healthy: {error}\n")
        await call.sleep(limit)
        raise ToolError("context deadline exceeded") from None
    control, workers = _inventory(call, first)
    if server:
        call.err(f"discovered nodes: {_quoted([n for n, _ in (*control, *workers)])}\n")
    checks = Checks(call, first.cluster, control, workers)
    for title, check in checks.ordered():
        if not await _wait(call, title, check, min(end, call.clock.seconds() + CAPS.get(title, CAP))):
            raise ToolError(f"{prefix}context deadline exceeded")
    return 0


async def _wait(call: Call, title: str, check: Callable[[], Awaitable[None]], end: float) -> bool:
    call.err(f"waiting for {title}: ...\n")
    said = ""
    while True:
        try:
            await check()
        except _Skip:
            call.err(f"waiting for {title}: SKIP\n")
            return True
        except _Unmet as error:
            if str(error) != said:
                said = str(error)
                call.err(f"waiting for {title}: {said}\n")
            if call.clock.seconds() >= end:
                return False
            await call.sleep(min(ASK_EVERY, max(0.1, end - call.clock.seconds())))
            continue
        call.err(f"waiting for {title}: OK\n")
        return True


def _inventory(call: Call, first: Machine) -> tuple[Nodes, Nodes]:
    """The nodes to look at: those of the flags, else what discovery knows."""
    flags = call.flags
    named = [*flags["control-plane-nodes"], *flags["worker-nodes"]]
    if named or flags.get("init-node"):
        world = call.world
        control = [*flags["control-plane-nodes"]]
        if flags.get("init-node") and flags["init-node"] not in control:
            control.insert(0, flags["init-node"])
        return [(n, world.machine_at(n)) for n in control], [(n, world.machine_at(n)) for n in flags["worker-nodes"]]
    mates = [m for m in call.world.machines.values() if m.configured and m.answers and m.identity == first.identity]
    return (
        [(m.address, m) for m in mates if m.control_plane],
        [(m.address, m) for m in mates if not m.control_plane],
    )


def _internal(node: dict[str, Any]) -> str:
    addresses = node.get("status", {}).get("addresses", [])
    return next((a["address"] for a in addresses if a["type"] == "InternalIP"), "")


def _go(values: Sequence[str]) -> str:
    return f"[{' '.join(values)}]"


def _quoted(values: Sequence[str]) -> str:
    return "[" + " ".join(f'"{v}"' for v in values) + "]"
