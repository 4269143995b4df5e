"""The lab's controllers: what kube-controller-manager, kube-scheduler and kubelets do, through the small port alone."""

from __future__ import annotations

from collections.abc import Sequence

from lab.clock import Clock
from lab.ctl.base import Controller, Informers
from lab.ctl.daemonset import DaemonSets
from lab.ctl.deployment import Deployments
from lab.ctl.disruption import Disruption
from lab.ctl.endpoints import Endpoints, EndpointsCleaner
from lab.ctl.gc import GarbageCollector, Graph, PodGarbage
from lab.ctl.job import CronJobs, Jobs
from lab.ctl.namespace import Namespaces, ServiceAccounts
from lab.ctl.nodelifecycle import NodeLifecycle, TaintEviction
from lab.ctl.replicaset import ReplicaSets
from lab.ctl.scheduler import Scheduler
from lab.ctl.statefulset import StatefulSets
from lab.ctl.volumes import Provisioners, Volumes
from lab.kube.port import KubePort


def workload_controllers(
    port: KubePort,
    clock: Clock,
    *,
    informers: Informers | None = None,
    scheduler_port: KubePort | None = None,
    root_ca: str = "",
    pod_cidrs: Sequence[str] = (),
    provisioners: Provisioners | None = None,
    seed: int = 0,
) -> list[Controller]:
    """All of them but the kubelets, to be started in this order with `base.start_all`.

    `root_ca` is the bundle that each namespace gets; `pod_cidrs` are given to nodes; `scheduler_port` makes the scheduler its own
    field manager. One set a cluster.
    """
    shared = informers or Informers(port, clock)
    graph = Graph(port, clock, shared)
    plain = (
        ReplicaSets,
        Deployments,
        DaemonSets,
        StatefulSets,
        Jobs,
        CronJobs,
        Endpoints,
        EndpointsCleaner,
        Disruption,
        TaintEviction,
        PodGarbage,
    )
    return [
        ServiceAccounts(port, clock, shared, seed=seed, root_ca=root_ca),
        NodeLifecycle(port, clock, shared, seed=seed, pod_cidrs=pod_cidrs),
        Scheduler(scheduler_port or port, clock, shared, seed=seed),
        *(make(port, clock, shared, seed=seed) for make in plain),
        Volumes(port, clock, shared, seed=seed, provisioners=provisioners),
        GarbageCollector(port, clock, shared, graph=graph, seed=seed),
        Namespaces(port, clock, shared, graph=graph, seed=seed),
    ]


__all__ = ["Controller", "Informers", "Provisioners", "workload_controllers"]
