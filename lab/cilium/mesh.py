"""ClusterMesh: whether a cluster reaches another's control plane, by their configuration, certificates, ports and ids.

`judge` is what a connection attempt finds; `Mesh` is one cluster's side, a controller that keeps a link a remote cluster, with the time that a real
one takes. Errors are worded as agents word them. Source: github.com/cilium/cilium pkg/clustermesh, v1.18.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlsplit

from lab.cilium import ca
from lab.cilium.common import (
    AGENT,
    APISERVER,
    CONFIGMAPS,
    NAMESPACE,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
    Object,
    config_of,
    has_labels,
    pods_of,
    ready,
)
from lab.clock import Clock
from lab.ctl.base import Controller, Informers, Keys
from lab.helm import goyaml
from lab.kube.port import KubePort

CONNECT = (15.0, 45.0)  # simulated seconds from a sound configuration to a ready link: secrets reach pods, agents dial, state is read
UNKNOWN_CONFIG = "remote cluster configuration required but not found"


@dataclass(slots=True)
class Link:
    """One remote cluster as configured here. `error` is empty once it is ready."""

    remote: str
    error: str = "not connected"
    due: float | None = None  # simulated seconds at which the link is ready; None while something is wrong

    def ready(self, now: float) -> bool:
        """Whether it is connected and synchronised."""
        return self.due is not None and now >= self.due


@dataclass(slots=True)
class Meshes:
    """All clusters' sides, so that they find each other. Shared by the controllers of one world."""

    sides: dict[str, Mesh] = field(default_factory=dict)

    def tell(self, but: Mesh) -> None:
        """Something changed on one side: the others look again."""
        for side in self.sides.values():
            if side is not but and side.running:
                side.enqueue("mesh")

    def at(self, host: str, port: int) -> Mesh | None:
        """The cluster whose mesh API answers at an address."""
        return next((s for s in self.sides.values() if s.answers(host, port)), None)


class Mesh(Controller):
    """One cluster's side."""

    name: ClassVar[str] = "cilium-clustermesh"
    component: ClassVar[str] = "cilium-agent"

    def __init__(self, port: KubePort, clock: Clock, informers: Informers, cluster: str, meshes: Meshes) -> None:
        super().__init__(port, clock, informers)
        self.cluster = cluster
        self.links: dict[str, Link] = {}
        self.meshes = meshes
        meshes.sides[cluster] = self
        self._seen = ""

    def watches(self) -> Mapping[str, Keys]:
        return {
            SECRETS: lambda s: ("mesh",) if s["metadata"]["name"].startswith(("cilium-clustermesh", "cilium-kvstoremesh", "clustermesh-apiserver", "cilium-ca")) else (),
            PODS: lambda p: ("mesh",) if has_labels(p, APISERVER) or has_labels(p, AGENT) else (),
            SERVICES: lambda s: ("mesh",) if s["metadata"]["name"] == "clustermesh-apiserver" else (),
            CONFIGMAPS: lambda c: ("mesh",) if c["metadata"]["name"] == "cilium-config" else (),
            NODES: lambda _: (),
        }  # fmt: skip

    async def start(self) -> None:
        """Connect anew: links are of one life alone, and a restored clock may stand long before the times of the last one."""
        if not self.running:
            self.links, self._seen = {}, ""
        await super().start()

    async def reconcile(self, key: str) -> float | None:
        now, wait = self.clock.seconds(), None
        configured = self.configured()
        for name in [n for n in self.links if n not in configured]:
            del self.links[name]
        for name in configured:
            link = self.links.setdefault(name, Link(name))
            problem = self.judge(name, configured[name])
            if problem:
                link.error, link.due = problem, None
            elif link.due is None:
                link.due = now + self._random.uniform(*CONNECT)
                link.error = "not connected"
            if link.due is not None and link.due > now:
                wait = max(wait or 0.0, link.due - now + 0.1)
            elif link.due is not None:
                link.error = ""
        state = repr(sorted((n, x.error) for n, x in self.links.items())) + repr(self._facts())
        if state != self._seen:
            self._seen = state
            self.meshes.tell(self)
        return wait

    def _facts(self) -> Sequence[Any]:
        """What other clusters see of this one."""
        settings = config_of(self.informers)
        return (settings.get("cluster-name"), settings.get("cluster-id"), self.node_port(), self.api_ready(), self._secret("clustermesh-apiserver-server-cert").get("tls.crt"))

    def _secret(self, name: str) -> Mapping[str, str]:
        return (self.informers.of(SECRETS).get(f"{NAMESPACE}/{name}") or {}).get("data") or {}

    def configured(self) -> dict[str, Object]:
        """Remote clusters -> the etcd configuration by which they are reached (kvstoremesh's where it runs)."""
        names = {n for n in self._secret("cilium-clustermesh") if "." not in n}
        source = self._secret("cilium-kvstoremesh") if self.informers.of(SECRETS).get(f"{NAMESPACE}/cilium-kvstoremesh") else self._secret("cilium-clustermesh")
        return {n: goyaml.load(ca.unb64(source.get(n, ""))) or {} for n in sorted(names)}

    def api_ready(self) -> bool:
        """Whether a clustermesh-apiserver is ready."""
        return any(ready(p) for p in pods_of(self.informers, APISERVER))

    def service(self) -> Object | None:
        """The Service of the mesh's control plane."""
        return self.informers.of(SERVICES).get(f"{NAMESPACE}/clustermesh-apiserver")

    def node_port(self) -> int:
        """Its NodePort; 0 where it has none."""
        service = self.service()
        return int(service["spec"]["ports"][0].get("nodePort") or 0) if service else 0

    def addresses(self) -> set[str]:
        """Internal addresses of the cluster's nodes."""
        return {a["address"] for n in self.informers.of(NODES).values() for a in n.get("status", {}).get("addresses") or () if a["type"] == "InternalIP"}

    def answers(self, host: str, port: int) -> bool:
        """Whether this cluster's control plane is what answers at an address: by NodePort, or by the service's own."""
        service = self.service()
        if service is None or not self.running:
            return False
        ingress = {i.get("ip") for i in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()}
        return (port == self.node_port() and host in self.addresses()) or (port == service["spec"]["ports"][0]["port"] and host in ingress)

    def _targets(self, config: Mapping[str, Any]) -> list[tuple[str, int]]:
        """Addresses of the configured endpoint: those that the agents' host aliases give its name."""
        endpoints = config.get("endpoints") or []
        if not endpoints:
            return []
        parts = urlsplit(str(endpoints[0]))
        host, port = parts.hostname or "", parts.port or 2379
        pods = pods_of(self.informers, APISERVER) or pods_of(self.informers, AGENT)
        aliases = [a["ip"] for p in pods[:1] for a in p["spec"].get("hostAliases") or () if host in a["hostnames"]]
        return [(ip, port) for ip in aliases] or [(host, port)]

    def judge(self, name: str, config: Mapping[str, Any]) -> str:
        """Why the remote cluster cannot be reached; empty where it can."""
        if self.service() is not None and not self.api_ready():
            return "local kvstoremesh is not ready"
        targets = self._targets(config)
        if not targets:
            return UNKNOWN_CONFIG
        mine = config_of(self.informers)
        if targets[0][1] == self.node_port() and targets[0][0] not in self.addresses() and mine.get("kube-proxy-replacement") == "true":
            return UNKNOWN_CONFIG  # the same NodePort here catches the traffic: it reaches the local control plane (foundation.md 8.3)
        remote = next((m for h, p in targets if (m := self.meshes.at(h, p)) is not None), None)
        if remote is None:
            host, port = targets[0]
            return f"failed to connect to etcd: context deadline exceeded: dial tcp {host}:{port}: connect: connection refused"
        if not remote.api_ready():
            return f"failed to connect to etcd: context deadline exceeded: dial tcp {targets[0][0]}:{targets[0][1]}: connect: connection refused"
        trouble = self._trust(name, remote)
        return trouble or self._agree(name, mine, config_of(remote.informers))

    def _trust(self, name: str, remote: Mesh) -> str:
        own = self._secret("cilium-clustermesh")
        specific = f"{name}.etcd-client.crt" in own
        client = ca.unb64(own[f"{name}.etcd-client.crt"]) if specific else ca.unb64(self._secret("clustermesh-apiserver-remote-cert").get("tls.crt", ""))
        trusted = ca.unb64(own.get(f"{name}.etcd-client-ca.crt", "")) if specific else ca.unb64(self._secret("clustermesh-apiserver-remote-cert").get("ca.crt", ""))
        served = remote._secret("clustermesh-apiserver-server-cert")
        if not client:
            return "failed to load TLS certificates: open /var/lib/cilium/clustermesh/common-etcd-client.crt: no such file or directory"
        if not ca.signed_by(ca.unb64(served.get("tls.crt", "")), trusted):
            return "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"
        if not ca.signed_by(client, ca.unb64(served.get("ca.crt", ""))):
            return "transport: authentication handshake failed: remote error: tls: unknown certificate authority"
        if ca.expired(client, self.clock.now()) or ca.expired(ca.unb64(served.get("tls.crt", "")), self.clock.now()):
            return "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
        return ""

    @staticmethod
    def _agree(name: str, mine: Mapping[str, str], theirs: Mapping[str, str]) -> str:
        if theirs.get("cluster-name") != name:
            return UNKNOWN_CONFIG
        if theirs.get("cluster-id") == mine.get("cluster-id"):
            return f"clusterID {mine.get('cluster-id')} is assigned to the local cluster"
        if theirs.get("max-connected-clusters") != mine.get("max-connected-clusters"):
            return f"mismatch MaxConnectedClusters; local={mine.get('max-connected-clusters')}, remote={theirs.get('max-connected-clusters')}"
        return ""

    def reaches(self, remote: str) -> bool:
        """Whether services of `remote` are known here now."""
        link = self.links.get(remote)
        return link is not None and link.ready(self.clock.seconds())

    def agent_view(self) -> list[Object]:
        """The clusters as an agent's status lists them."""
        now = self.clock.seconds()
        return [
            {"name": x.remote, "ready": x.ready(now), "connected": x.ready(now), "status": "etcd: 1/1 connected" if x.ready(now) else x.error,
             "config": {"required": True, "retrieved": x.ready(now), "cluster-id": 0}, "num-nodes": 0}
            for x in self.links.values()
        ]  # fmt: skip


def remotes(side: Mesh) -> Iterable[Mesh]:
    """The other clusters that this one reaches now."""
    for name in side.links:
        if side.reaches(name):
            found = next((m for m in side.meshes.sides.values() if config_of(m.informers).get("cluster-name") == name), None)
            if found is not None:
                yield found
