"""The agents' BGP: each node's configuration becomes peers of the fabric, and their sessions the node configuration's status.

Source: github.com/cilium/cilium pkg/bgpv1/manager/reconcilerv2, v1.18.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from lab.bgp import IPV4, IPV6, BgpFabric, NodeSide, Session
from lab.cilium import ca
from lab.cilium.common import (
    ADVERTISEMENTS,
    AGENT,
    NAMESPACE,
    NODE_CONFIGS,
    NODES,
    PEER_CONFIGS,
    PODS,
    SECRETS,
    SERVICES,
    Object,
    agent_on,
    config_of,
    has_labels,
    labels_of,
    selects,
    service_labels,
)
from lab.clock import Clock
from lab.ctl.base import Controller, Informers, Keys
from lab.kube.port import KubePort

ENDPOINT_SLICES = "discovery.k8s.io/v1/endpointslices"
DEFAULT_FAMILIES = ({"afi": "ipv4", "safi": "unicast"}, {"afi": "ipv6", "safi": "unicast"})


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer of one node as its agent runs it; `side` is what the fabric is told."""

    instance: str
    name: str
    side: NodeSide
    keepalive: float
    multihop: int
    graceful: bool


class AgentBgp(Controller):
    """Runs each node's peers while its agent is ready. Keys are node names."""

    name: ClassVar[str] = "cilium-agent-bgp"
    component: ClassVar[str] = "cilium-agent"

    def __init__(self, port: KubePort, clock: Clock, informers: Informers, cluster: str, fabric: BgpFabric | None, gateway: str = "") -> None:
        super().__init__(port, clock, informers)
        self.cluster, self.fabric, self.gateway = cluster, fabric, gateway
        self.peers: dict[str, list[Peer]] = {}  # by node

    def watches(self) -> Mapping[str, Keys]:
        return {
            NODE_CONFIGS: lambda c: (c["metadata"]["name"],),
            PODS: lambda p: (p["spec"]["nodeName"],) if has_labels(p, AGENT) and p["spec"].get("nodeName") else (),
            PEER_CONFIGS: self._all, ADVERTISEMENTS: self._all,
            SERVICES: lambda s: self._all(s) if s["spec"].get("type") == "LoadBalancer" or s["spec"].get("externalIPs") else (),
            ENDPOINT_SLICES: lambda e: self._all(e) if self._local_service(e) else (),
            SECRETS: lambda s: self._all(s) if s["metadata"]["namespace"] == NAMESPACE and s.get("type") != "helm.sh/release.v1" else (),
        }  # fmt: skip

    def _all(self, _obj: Object) -> Iterable[str]:
        return tuple(c["metadata"]["name"] for c in self.informers.of(NODE_CONFIGS).values())

    def _local_service(self, piece: Object) -> bool:
        service = self.informers.of(SERVICES).get(f"{piece['metadata']['namespace']}/{labels_of(piece).get('kubernetes.io/service-name', '')}")
        return service is not None and service["spec"].get("externalTrafficPolicy") == "Local"

    async def start(self) -> None:
        if not self.running and self.fabric is not None:
            self.fabric.on_change.append(self._changed)
        await super().start()

    async def stop(self) -> None:
        if self.fabric is not None and self._changed in self.fabric.on_change:
            self.fabric.on_change.remove(self._changed)
        await super().stop()

    def _changed(self) -> None:
        for name in self._all({}):
            self.enqueue(name)

    async def reconcile(self, key: str) -> float | None:
        config = self.informers.of(NODE_CONFIGS).get(key)
        node = self.informers.of(NODES).get(key)
        agent = agent_on(self.informers, key)
        if config is None or node is None or agent is None or config_of(self.informers).get("enable-bgp-control-plane") != "true":
            self._withdraw(key, node, config is not None and agent is None)
            return None
        before, now = self.peers.get(key, []), list(self._peers(config, node))
        self.peers[key] = now
        if self.fabric is not None:
            for old in before:
                if old.side.key not in {p.side.key for p in now}:
                    self.fabric.node_gone(old.side.address, old.side.peer_address)
            for peer in now:
                self.fabric.node_side(peer.side)
        await self._report(config, key)
        return None

    def _withdraw(self, key: str, node: Object | None, agent_away: bool) -> None:
        """The node's peers end: at once where they are no longer wanted, at the hold time where the agent is merely away or the node dead."""
        peers = self.peers.get(key, [])
        alive = node is not None and any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions") or ())
        for peer in peers:
            if self.fabric is not None and not (agent_away and alive and peer.graceful):
                self.fabric.node_gone(peer.side.address, peer.side.peer_address, dead=agent_away)
        if not (agent_away and alive):
            self.peers.pop(key, None)

    def _peers(self, config: Object, node: Object) -> Iterator[Peer]:
        name = node["metadata"]["name"]
        addresses = [a["address"] for a in node.get("status", {}).get("addresses") or () if a["type"] == "InternalIP"]
        for instance in config["spec"].get("bgpInstances") or ():
            for peer in instance.get("peers") or ():
                remote = peer.get("peerAddress") or (self.gateway if peer.get("autoDiscovery") else "")
                local = peer.get("localAddress") or next((a for a in addresses if remote and (":" in a) == (":" in remote)), "")
                ref = (peer.get("peerConfigRef") or {}).get("name", "")
                shared = self.informers.of(PEER_CONFIGS).get(ref) if ref else {"spec": {}}
                if not remote or not local or shared is None:
                    continue
                yield self._peer(instance, peer, shared["spec"], name, local, remote)

    def _peer(self, instance: Object, peer: Object, shared: Object, node: str, local: str, remote: str) -> Peer:
        timers = shared.get("timers") or {}
        families = shared.get("families") or DEFAULT_FAMILIES
        routes = sorted({r for f in families for r in self._routes(f, node)})
        graceful = shared.get("gracefulRestart") or {}
        side = NodeSide(
            cluster=self.cluster, node=node, address=local, peer_address=remote, local_asn=instance.get("localASN", 0), peer_asn=peer.get("peerASN", 0),
            password=self._password(shared.get("authSecretRef", "")), families=tuple(IPV6 if f["afi"] == "ipv6" else IPV4 for f in families if f["safi"] == "unicast"),
            hold=timers.get("holdTimeSeconds", 90), retry=timers.get("connectRetryTimeSeconds", 120), port=(shared.get("transport") or {}).get("peerPort", 179),
            local_port=instance.get("localPort") or 0, routes=tuple(routes),
        )  # fmt: skip
        return Peer(instance["name"], peer["name"], side, timers.get("keepAliveTimeSeconds", 30), shared.get("ebgpMultihop", 1), bool(graceful.get("enabled")))

    def _password(self, name: str) -> str:
        namespace = config_of(self.informers).get("bgp-secrets-namespace", NAMESPACE)
        secret = self.informers.of(SECRETS).get(f"{namespace}/{name}") if name else None
        return ca.unb64(((secret or {}).get("data") or {}).get("password", ""))

    def _routes(self, family: Mapping[str, Any], node: str) -> Iterator[str]:
        """Prefixes that this node announces for one family, by the advertisements that the family selects."""
        if "advertisements" not in family:
            return
        for advertisement in self.informers.of(ADVERTISEMENTS).values():
            if not selects(family["advertisements"], labels_of(advertisement)):
                continue
            for item in advertisement["spec"].get("advertisements") or ():
                if item["advertisementType"] == "PodCIDR":
                    found = self.informers.of(NODES).get(node) or {"spec": {}}
                    yield from (c for c in found["spec"].get("podCIDRs") or () if (":" in c) == (family["afi"] == "ipv6"))
                elif item["advertisementType"] == "Service" and item.get("selector") is not None:
                    yield from self._service_routes(item, family, node)

    def _service_routes(self, item: Mapping[str, Any], family: Mapping[str, Any], node: str) -> Iterator[str]:
        kinds = (item.get("service") or {}).get("addresses") or ()
        for service in self.informers.of(SERVICES).values():
            if not selects(item["selector"], service_labels(service)) or not self._announced_here(service, node):
                continue
            found: list[str] = []
            if "LoadBalancerIP" in kinds:
                found += [i["ip"] for i in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or () if "ip" in i]
            if "ClusterIP" in kinds:
                found += [ip for ip in service["spec"].get("clusterIPs") or () if ip != "None"]
            if "ExternalIP" in kinds:
                found += service["spec"].get("externalIPs") or []
            for ip in found:
                address = ipaddress.ip_address(ip)
                if (address.version == 6) == (family["afi"] == "ipv6"):
                    yield f"{ip}/{address.max_prefixlen}"

    def _announced_here(self, service: Object, node: str) -> bool:
        if service["spec"].get("loadBalancerClass") not in (None, "io.cilium/bgp-control-plane"):
            return False
        if service["spec"].get("externalTrafficPolicy") != "Local":
            return True
        meta = service["metadata"]
        for piece in self.informers.of(ENDPOINT_SLICES).find("namespace", meta["namespace"]):
            if labels_of(piece).get("kubernetes.io/service-name") == meta["name"]:
                for endpoint in piece.get("endpoints") or ():
                    if endpoint.get("nodeName") == node and (endpoint.get("conditions") or {}).get("ready", True):
                        return True
        return False

    def session(self, peer: Peer) -> Session:
        """What has become of a peer's session."""
        if self.fabric is None:
            return Session(state="active", reason=f"dial tcp {peer.side.peer_address}:{peer.side.port}: i/o timeout")
        return self.fabric.session(peer.side.address, peer.side.peer_address)

    async def _report(self, config: Object, node: str) -> None:
        if config_of(self.informers).get("enable-bgp-control-plane-status-report", "true") != "true":
            return
        instances: dict[str, Object] = {i["name"]: {"name": i["name"], "localASN": i.get("localASN"), "peers": []} for i in config["spec"].get("bgpInstances") or ()}
        for peer in self.peers.get(node, ()):
            instances[peer.instance]["peers"].append(self._peer_status(peer))
        status = {"bgpInstances": list(instances.values())}
        if (config.get("status") or {}).get("bgpInstances") != status["bgpInstances"]:
            self.informers.of(NODE_CONFIGS).note(await self.port.patch(NODE_CONFIGS, node, {"status": status}, subresource="status"))

    def _peer_status(self, peer: Peer) -> Object:
        session = self.session(peer)
        out: Object = {"name": peer.name, "peerAddress": peer.side.peer_address, "peerASN": peer.side.peer_asn, "peeringState": session.state}
        if session.established:
            out["establishedTime"] = f"{self.clock.epoch + timedelta(seconds=session.since):%Y-%m-%dT%H:%M:%SZ}"
            out["timers"] = {"appliedHoldTimeSeconds": int(session.hold), "appliedKeepaliveSeconds": int(applied_keepalive(peer, session))}
        out["routeCount"] = [
            {"afi": afi, "safi": "unicast", "advertised": count(peer.side.routes, afi) if session.established else 0, "received": count(session.sent, afi)}
            for afi in ("ipv4", "ipv6")
            if (IPV6 if afi == "ipv6" else IPV4) in peer.side.families
        ]
        return out


def applied_keepalive(peer: Peer, session: Session) -> float:
    """A third of the hold time that both sides came to, or what is configured where that is less."""
    return min(peer.keepalive, session.hold / 3) if session.hold else peer.keepalive


def count(prefixes: Iterable[str], afi: str) -> int:
    """How many prefixes are of an address family."""
    return sum(1 for p in prefixes if (":" in p) == (afi == "ipv6"))
