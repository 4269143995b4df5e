"""Puts Flux into a cluster of the lab: its controllers, idle until their pods run, and the behaviour of those pods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from lab.cilium.common import CrdGate
from lab.clock import Clock
from lab.ctl.base import Controller, Informers
from lab.ctl.behaviour import Behaviour
from lab.ctl.kubelet import Kubelets
from lab.flux.common import Artifacts, Remote
from lab.flux.helmrelease import HelmReleases
from lab.flux.kustomization import Kustomizations
from lab.flux.source import Sources
from lab.helm.objects import RegistryKinds
from lab.kube.port import KubePort


class Cluster(Protocol):
    """What is needed of a cluster (lab.cluster.LabCluster has it)."""

    port: KubePort
    clock: Clock
    informers: Informers
    kubelet_host: Kubelets
    api: Any


SOURCES = tuple(f"{n}.source.toolkit.fluxcd.io" for n in ("gitrepositories", "helmrepositories", "helmcharts", "ocirepositories"))
KUSTOMIZE, HELM = "kustomizations.kustomize.toolkit.fluxcd.io", "helmreleases.helm.toolkit.fluxcd.io"


def attach(cluster: Cluster, remote: Remote | None) -> Sequence[Controller]:
    """The controllers of one cluster, waiting for Flux' CRDs. `remote` is the world's Git remote."""
    port, clock, informers = cluster.port, cluster.clock, cluster.informers
    artifacts, kinds = Artifacts(), RegistryKinds(cluster.api.registry)
    sources = Sources(port, clock, informers, artifacts, remote)
    if remote is not None:
        remote.on_push.append(lambda _push: sources.pushed() if sources.running else None)
    cluster.kubelet_host.behaviours.register(Behaviour(image="fluxcd/", ready_after=6.0))
    return [CrdGate(port, clock, informers, [
        (SOURCES, sources),
        ((KUSTOMIZE, *SOURCES), Kustomizations(port, clock, informers, artifacts, kinds)),
        ((HELM, *SOURCES), HelmReleases(port, clock, informers, artifacts, kinds)),
    ])]  # fmt: skip
