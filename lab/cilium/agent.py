"""The Cilium agents: what makes them start, fail and become ready, and what their node is after that.

Readiness is judged by `why_not_ready`, which Behaviours ask; `CiliumAgents` does what a ready agent does to its node. Source: Cilium 1.18
daemon start-up, and foundation.md 5.3 for what Talos forbids.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from lab.cilium import ca
from lab.cilium.bgp import AgentBgp, Peer, applied_keepalive, count
from lab.cilium.chart import mesh_certificates
from lab.cilium.common import (
    AGENT,
    CILIUM_NODES,
    CONFIGMAPS,
    NODES,
    PODS,
    SECRETS,
    Object,
    agent_on,
    config_of,
    has_labels,
    labels_of,
    pods_of,
    stamp,
)
from lab.clock import Clock
from lab.ctl.base import Controller, Informers, Keys
from lab.ctl.behaviour import Exit
from lab.ctl.kubelet import Kubelet, Kubelets
from lab.kube.port import CRDS, KubeError, KubePort
from lab.kube.streams import ExecResult

CAPS_REFUSED = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "
    "error during container init: unable to apply caps: can't apply capabilities: operation not permitted: unknown"
)
API_UNREACHABLE = (
    'level=fatal msg="failed to start: Build config failed: Unable to contact k8s api-server" '
    'error="Get \\"https://{0}/api/v1/namespaces/kube-system\\": dial tcp {0}: {1}"'
)
NEEDED_CRDS = ("ciliumnodes.cilium.io", "ciliumidentities.cilium.io", "ciliumendpoints.cilium.io", "ciliumnetworkpolicies.cilium.io")
Reach = Callable[[str, str, str], str]  # host, port, node -> "" or why the API does not answer there


def container_of(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A container by its name; empty where there is none."""
    return next((c for c in pod["spec"]["containers"] if c["name"] == name), {})


def env_of(container: Mapping[str, Any], name: str) -> str:
    """The literal value of an environment variable."""
    return next((e.get("value", "") for e in container.get("env") or () if e["name"] == name), "")


def api_address(pod: Mapping[str, Any], service_ip: str) -> tuple[str, str]:
    """Where an agent or operator asks for the API: what the chart says, else the Service, which nobody serves before Cilium does."""
    main = pod["spec"]["containers"][0]
    return env_of(main, "KUBERNETES_SERVICE_HOST") or service_ip, env_of(main, "KUBERNETES_SERVICE_PORT") or "443"


def crash_of(pod: Mapping[str, Any], reach: Reach, service_ip: str) -> Exit | None:
    """Why an agent's or operator's container ends again and again; None where it runs on."""
    added = ((pod["spec"]["containers"][0].get("securityContext") or {}).get("capabilities") or {}).get("add") or ()
    inits = [((c.get("securityContext") or {}).get("capabilities") or {}).get("add") or () for c in pod["spec"].get("initContainers") or ()]
    if any("SYS_MODULE" in caps for caps in (added, *inits)):
        return Exit(128, 0.5, CAPS_REFUSED)
    host, port = api_address(pod, service_ip)
    refused = reach(host, port, pod["spec"].get("nodeName", ""))
    return Exit(1, 15.0, API_UNREACHABLE.format(f"{host}:{port}", refused)) if refused else None


def why_not_ready(informers: Informers) -> str:
    """Why an agent that runs is not ready; empty where it is."""
    if not config_of(informers):
        return 'configmaps "cilium-config" not found'
    for name in NEEDED_CRDS:
        crd = informers.of(CRDS).get(name)
        established = crd is not None and any(c["type"] == "Established" and c["status"] == "True" for c in crd.get("status", {}).get("conditions") or ())
        if not established:
            return f"Still waiting for Cilium Operator to register the following CRDs: [crd:{name}]"
    return ""


class CiliumAgents(Controller):
    """What ready agents do to their nodes, and a push to pods whose readiness hangs on what has just changed. Keys are node names."""

    name: ClassVar[str] = "cilium-agent"
    component: ClassVar[str] = "cilium-agent"

    def __init__(self, port: KubePort, clock: Clock, informers: Informers, host: Kubelets, kubelets: Mapping[str, Kubelet]) -> None:
        super().__init__(port, clock, informers)
        self._host, self._kubelets = host, kubelets

    def watches(self) -> Mapping[str, Keys]:
        return {
            PODS: lambda p: (p["spec"]["nodeName"],) if has_labels(p, AGENT) and p["spec"].get("nodeName") else (),
            NODES: lambda n: (n["metadata"]["name"],),
            CRDS: self._poke, CONFIGMAPS: lambda c: self._poke(c) if c["metadata"]["name"] == "cilium-config" else (),
        }  # fmt: skip

    def _poke(self, _obj: Object) -> Iterable[str]:
        """Readiness of agents hangs on CRDs and the ConfigMap."""
        for pod in pods_of(self.informers, AGENT):
            self._host.poke(pod)
        return ("crds",)

    async def reconcile(self, key: str) -> float | None:
        if key == "crds":
            for one in self.informers.of(NODES).values():
                self.enqueue(one["metadata"]["name"])
            return None
        node = self.informers.of(NODES).get(key)
        agent = agent_on(self.informers, key)
        if node is None:
            await self._forget(key)
            return None
        if agent is None:
            return None
        kubelet = self._kubelets.get(key)
        if kubelet is not None:
            kubelet.cni_ready = True
        await self._announce(node)
        return await self._own_node(node)

    async def _announce(self, node: Object) -> None:
        """Condition NetworkUnavailable, and the taint that the operator takes off."""
        name = node["metadata"]["name"]
        have = next((c for c in node.get("status", {}).get("conditions") or () if c["type"] == "NetworkUnavailable"), None)
        if have is None or have["status"] != "False":
            now = stamp(self.clock)
            said = {"type": "NetworkUnavailable", "status": "False", "reason": "CiliumIsUp", "message": "Cilium is running on this node", "lastHeartbeatTime": now, "lastTransitionTime": now}
            await self.port.patch(NODES, name, {"status": {"conditions": [said]}}, subresource="status", kind="strategic")
        taints = node["spec"].get("taints") or []
        kept = [t for t in taints if t["key"] != "node.cilium.io/agent-not-ready"]
        if kept != taints:
            await self.port.patch(NODES, name, {"spec": {"taints": kept or None}})

    async def _own_node(self, node: Object) -> float | None:
        """The CiliumNode."""
        name = node["metadata"]["name"]
        wanted = cilium_node(node)
        try:
            have = await self.port.get(CILIUM_NODES, name)
            if have is None:
                await self.port.create(CILIUM_NODES, wanted)
            elif have["spec"] != {**have["spec"], **wanted["spec"]}:
                await self.port.patch(CILIUM_NODES, name, {"spec": wanted["spec"]})
        except KubeError as error:
            if error.status not in (404, 409):
                raise
            return 5.0
        return None

    async def _forget(self, name: str) -> None:
        try:
            await self.port.delete(CILIUM_NODES, name)
        except KubeError as error:
            if error.status != 404:
                raise


def cilium_node(node: Mapping[str, Any]) -> Object:
    """The CiliumNode of a node, with ipam mode kubernetes."""
    meta = node["metadata"]
    addresses = [{"type": a["type"], "ip": a["address"]} for a in node.get("status", {}).get("addresses") or () if a["type"] == "InternalIP"]
    cidrs = node["spec"].get("podCIDRs") or []
    spec: Object = {"addresses": addresses, "ipam": {"podCIDRs": cidrs} if cidrs else {}}
    boot = node.get("status", {}).get("nodeInfo", {}).get("bootID")
    if boot:
        spec["bootid"] = boot
    owner = {"apiVersion": "v1", "kind": "Node", "name": meta["name"], "uid": meta["uid"]}
    return {"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": meta["name"], "labels": dict(labels_of(node)), "ownerReferences": [owner]}, "spec": spec}


class Certgen(Controller):
    """What the certificate jobs do while their pod runs. Keys are pods."""

    name: ClassVar[str] = "cilium-certgen"
    lag: ClassVar[tuple[float, float]] = (0.3, 0.8)
    KINDS: ClassVar[tuple[str, ...]] = ("hubble-generate-certs", "clustermesh-apiserver-generate-certs")

    def __init__(self, port: KubePort, clock: Clock, informers: Informers) -> None:
        super().__init__(port, clock, informers)
        self._done: set[str] = set()

    def watches(self) -> Mapping[str, Keys]:
        return {PODS: lambda p: (f"{p['metadata']['namespace']}/{p['metadata']['name']}",) if labels_of(p).get("k8s-app") in self.KINDS else ()}

    async def reconcile(self, key: str) -> float | None:
        pod = self.informers.of(PODS).get(key)
        if pod is None or pod["metadata"]["uid"] in self._done or pod.get("status", {}).get("phase") not in ("Running", "Succeeded"):
            return None
        namespace = pod["metadata"]["namespace"]
        authority = await self._authority(namespace)
        now = self.clock.now()
        cluster = config_of(self.informers).get("cluster-name", "default")
        if labels_of(pod)["k8s-app"] == "hubble-generate-certs":
            wanted = [("hubble-server-certs", f"*.{cluster.replace('.', '-')}.hubble-grpc.cilium.io"), ("hubble-relay-client-certs", "*.hubble-relay.cilium.io")]
            for name, cn in wanted:
                await self._write(namespace, name, ca.sign(authority, cn, [cn], now), authority)
        else:
            for what, cn, names in mesh_certificates(cluster, "mesh.cilium.io", namespace):
                await self._write(namespace, f"clustermesh-apiserver-{what}-cert", ca.sign(authority, cn, names, now), authority)
        self._done.add(pod["metadata"]["uid"])
        return None

    async def _authority(self, namespace: str) -> ca.Pair:
        there = await self.port.get(SECRETS, "cilium-ca", namespace)
        if there and (there.get("data") or {}).get("ca.crt"):
            return ca.Pair(ca.unb64(there["data"]["ca.crt"]), ca.unb64(there["data"]["ca.key"]))
        made = ca.make_ca(self.clock.now())
        await self.port.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cilium-ca", "namespace": namespace}, "data": made.data("ca.crt", "ca.key")}, namespace)
        return made

    async def _write(self, namespace: str, name: str, pair: ca.Pair, authority: ca.Pair) -> None:
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name, "namespace": namespace}, "data": {"ca.crt": ca.b64(authority.cert), **pair.data()}}
        there = await self.port.get(SECRETS, name, namespace)
        if there is None:
            await self.port.create(SECRETS, secret, namespace)
        else:
            await self.port.patch(SECRETS, name, {"data": secret["data"]}, namespace)


def status_json(version: str, pod_ip: str, clusters: Sequence[Object]) -> Object:
    """What `cilium-dbg status -o json` of an agent says, as far as `cilium status` shows it."""
    return {
        "cilium": {"msg": version, "state": "Ok"},
        "cluster": {"ciliumHealth": {"state": "Ok"}, "nodes": []},
        "cluster-mesh": {"clusters": list(clusters)},
        "container-runtime": {"state": "Disabled"},
        "hubble": {"state": "Ok"},
        "ipam": {"ipv4": [pod_ip] if pod_ip and ":" not in pod_ip else [], "ipv6": None, "status": "IPAM: 4/254"},
        "kubernetes": {"k8s-api-versions": None, "msg": "1.33", "state": "Ok"},
        "kvstore": {"state": "Disabled"},
        "nodeMonitor": {},
    }


def peer_json(peer: Peer, bgp: AgentBgp, clock: Clock) -> Object:
    """One peer as `cilium bgp peers -o json` prints it; zero values are left out."""
    session = bgp.session(peer)
    families = [
        {k: v for k, v in {"accepted": count(session.sent, afi), "advertised": count(peer.side.routes, afi) if session.established else 0, "afi": afi, "received": count(session.sent, afi), "safi": "unicast"}.items() if v}
        for afi in ("ipv4", "ipv6")
        if any(f.startswith(afi) for f in peer.side.families)
    ]  # fmt: skip
    out: Object = {
        "families": families, "local-asn": peer.side.local_asn, "local-capabilities": None, "peer-address": peer.side.peer_address, "peer-asn": peer.side.peer_asn,
        "peer-port": peer.side.port, "remote-capabilities": None, "session-state": session.state,
    }  # fmt: skip
    if session.established:
        out |= {
            "applied-hold-time-seconds": int(session.hold), "applied-keep-alive-time-seconds": int(applied_keepalive(peer, session)),
            "configured-hold-time-seconds": int(peer.side.hold), "configured-keep-alive-time-seconds": int(peer.keepalive), "connect-retry-time-seconds": int(peer.side.retry),
            "ebgp-multihop-ttl": peer.multihop, "uptime-nanoseconds": int((clock.seconds() - session.since) * 1e9),
        }  # fmt: skip
    if peer.side.password:
        out["tcp-password-enabled"] = True
    return dict(sorted(out.items()))


def agent_exec(argv: Sequence[str], *, version: str, pod: Mapping[str, Any], peers: Sequence[Object], clusters: Sequence[Object], bgp: bool) -> ExecResult | None:
    """What the agent's own program answers; None for a command that is not its own."""
    words = [a for a in argv if not a.startswith("-")]
    if not words or words[0] not in ("cilium", "cilium-dbg", "cilium-agent"):
        return None
    rest = words[1:]
    if rest[:1] == ["status"]:
        return _json(status_json(version, pod.get("status", {}).get("podIP", ""), clusters))
    if rest[:2] == ["bgp", "peers"]:
        return _json(list(peers)) if bgp else ExecResult(1, b"", b"Error: BGP Control Plane disabled\n")
    if rest[:2] == ["endpoint", "list"]:
        return _json([])
    if rest[:1] == ["version"]:
        return ExecResult(0, f"Client: {version} \nDaemon: {version} \n".encode())
    return ExecResult(1, b"", f'unknown command "{" ".join(rest)}" for "cilium-dbg"\n'.encode())


def _json(value: Any) -> ExecResult:
    return ExecResult(0, (json.dumps(value, indent=2) + "\n").encode())


def flows(pod: Mapping[str, Any], cluster: str, clock: Clock, lines: int = 20) -> bytes:
    """The last lines of a Hubble export file on an agent's node: a few flows, the same for the same pod."""
    rng = random.Random(str(pod["metadata"]["name"]))
    node = pod["spec"].get("nodeName", "")
    out = []
    for i in range(lines):
        at = clock.now() - timedelta(seconds=(lines - i) * 3)
        port = rng.choice((53, 443, 6443, 10250))
        flow = {
            "time": f"{at:%Y-%m-%dT%H:%M:%S.%f}000Z", "verdict": "FORWARDED", "IP": {"source": f"10.0.0.{rng.randrange(2, 200)}", "destination": f"10.0.0.{rng.randrange(2, 200)}", "ipVersion": "IPv4"},
            "l4": {"TCP" if port != 53 else "UDP": {"source_port": rng.randrange(30000, 60000), "destination_port": port}}, "Type": "L3_L4", "node_name": f"{cluster}/{node}", "is_reply": False,
            "traffic_direction": "EGRESS",
        }  # fmt: skip
        out.append(json.dumps({"flow": flow, "node_name": f"{cluster}/{node}", "time": flow["time"]}, separators=(",", ":")))
    return ("\n".join(out) + "\n").encode()
