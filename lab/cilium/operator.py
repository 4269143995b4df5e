"""The Cilium operator: it brings the CRDs, hands out load balancer addresses, and breaks BGP configuration down to nodes.

It works while one of its pods is ready. Source: github.com/cilium/cilium operator/, v1.18.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from lab.cilium.common import (
    CLUSTER_CONFIGS,
    CONFIGMAPS,
    NAMESPACE,
    NODE_CONFIGS,
    NODES,
    OPERATOR,
    OVERRIDES,
    PEER_CONFIGS,
    PODS,
    POOLS,
    SECRETS,
    SERVICES,
    Object,
    conditions,
    config_of,
    crds,
    has_labels,
    labels_of,
    operator_up,
    selects,
    service_labels,
    stamp,
)
from lab.ctl.base import Controller, Keys
from lab.kube.port import CRDS, KubeError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
SATISFIED = "cilium.io/IPAMRequestSatisfied"
CLASSES = (None, "io.cilium/bgp-control-plane", "io.cilium/l2-announcer")


def _operator_pods(pod: Object) -> Iterable[str]:
    return ("all",) if has_labels(pod, OPERATOR) else ()


def _always(_obj: Object) -> Iterable[str]:
    return ("all",)


class CrdInstaller(Controller):
    """Creates and updates the CRDs when an operator comes up. Those of BGP only with the BGP control plane."""

    name: ClassVar[str] = "cilium-operator-crds"
    component: ClassVar[str] = "cilium-operator"
    lag: ClassVar[tuple[float, float]] = (1.0, 3.0)

    def watches(self) -> Mapping[str, Keys]:
        return {PODS: _operator_pods, CONFIGMAPS: lambda c: ("all",) if c["metadata"]["name"] == "cilium-config" else (), CRDS: lambda _: ()}

    async def reconcile(self, key: str) -> float | None:
        settings = config_of(self.informers)
        if not operator_up(self.informers) or not settings:
            return None
        for crd in crds():
            name = crd["metadata"]["name"]
            if name.startswith("ciliumbgp") and settings.get("enable-bgp-control-plane") != "true":
                continue
            if self.informers.of(CRDS).get(name) is None:
                await self.clock.sleep(0.1)
                try:
                    await self.port.create(CRDS, crd)
                except KubeError as error:
                    if error.status != 409:
                        raise
        return None


class LbIpam(Controller):
    """Gives addresses of pools to Services of type LoadBalancer, and says in conditions what it could not do."""

    name: ClassVar[str] = "cilium-operator-lbipam"
    component: ClassVar[str] = "cilium-operator"

    def watches(self) -> Mapping[str, Keys]:
        return {PODS: _operator_pods, SERVICES: _always, POOLS: _always}

    async def reconcile(self, key: str) -> float | None:
        if not operator_up(self.informers) or config_of(self.informers).get("enable-lb-ipam", "true") != "true":
            return None
        pools = sorted(self.informers.of(POOLS).values(), key=lambda p: (p["metadata"].get("creationTimestamp", ""), p["metadata"]["name"]))
        conflicts = _conflicts(pools)
        usable = [p for p in pools if p["metadata"]["name"] not in conflicts and not p["spec"].get("disabled")]
        services = [s for s in self.informers.of(SERVICES).values() if not s["metadata"].get("deletionTimestamp")]
        services.sort(key=lambda s: (s["metadata"].get("creationTimestamp", ""), s["metadata"]["namespace"], s["metadata"]["name"]))
        taken: dict[str, str] = {}
        for service in services:  # addresses that are held stay held, whatever the order
            if wants_address(service):
                taken |= {ip: _key(service) for ip in _held(service) if _allowed(usable, service, ip)}
        for service in services:
            if wants_address(service):
                await self._serve(service, usable, taken)
            elif _held(service) and service["spec"].get("type") != "LoadBalancer":
                await self._write(service, [], None)
        for pool in pools:
            await self._count(pool, conflicts.get(pool["metadata"]["name"], ""), taken)
        return None

    async def _serve(self, service: Object, pools: list[Object], taken: dict[str, str]) -> None:
        fitting = [p for p in pools if selects(p["spec"].get("serviceSelector"), service_labels(service))]
        requested = _requested(service)
        mine: list[str] = []
        problem: tuple[str, str] | None = None
        if not pools:
            problem = ("no_pool", "There are no enabled CiliumLoadBalancerIPPools that match this service")
        elif not fitting:
            problem = ("pool_selector_mismatch", "The pool selectors of all pools do not match this service")
        elif requested:
            for ip in requested:
                if taken.get(ip, _key(service)) != _key(service):
                    problem = ("already_allocated", f"The IP '{ip}' is already allocated to another service")
                elif not _allowed(fitting, service, ip):
                    problem = ("no_pool", f"No pool exists with a CIDR containing '{ip}'")
                else:
                    mine.append(ip)
        else:
            for family in service["spec"].get("ipFamilies") or ("IPv4",):
                held = [ip for ip in _held(service) if taken.get(ip) == _key(service) and (":" in ip) == (family == "IPv6")]
                fresh = held[0] if held else next((ip for ip in _free(fitting, family) if ip not in taken), "")
                if fresh:
                    mine.append(fresh)
                elif not any(True for p in fitting for n in _ranges(p) if (n[0].version == 6) == (family == "IPv6")):
                    problem = ("no_pool", "There are no enabled CiliumLoadBalancerIPPools that match this service")
                else:
                    problem = ("out_of_ips", "All pools that match this service are exhausted")
        for ip in _held(service):
            if ip not in mine and taken.get(ip) == _key(service):
                del taken[ip]
        taken |= {ip: _key(service) for ip in mine}
        await self._write(service, mine, problem or ("satisfied", ""))

    async def _write(self, service: Object, ips: list[str], outcome: tuple[str, str] | None) -> None:
        status = service.get("status") or {}
        ingress = [{"ip": ip, "ipMode": "VIP"} for ip in ips]
        wanted: Object = {"loadBalancer": {"ingress": ingress} if ingress else {}}
        if outcome:
            ok = outcome[0] == "satisfied"
            one = {"type": SATISFIED, "status": "True" if ok else "False", "reason": outcome[0], "message": outcome[1]}
            wanted["conditions"] = conditions(status.get("conditions"), [one], stamp(self.clock))
        changed = [i["ip"] for i in (status.get("loadBalancer") or {}).get("ingress") or ()] != ips or (outcome and wanted["conditions"] != status.get("conditions"))
        if changed:
            meta = service["metadata"]
            patch = {"status": {**wanted, "loadBalancer": {"ingress": ingress or None}}}
            self.informers.of(SERVICES).note(await self.port.patch(SERVICES, meta["name"], patch, meta["namespace"], "status"))

    async def _count(self, pool: Object, conflict: str, taken: Mapping[str, str]) -> None:
        total = sum(_size(low, high) for low, high in _ranges(pool))
        used = sum(1 for ip in taken if _inside(pool, ip))
        now = [{"type": "cilium.io/PoolConflict", "status": "True" if conflict else "False", "reason": "cidr_overlap" if conflict else "resolved", "message": conflict}]
        for name, number in (("IPsTotal", total), ("IPsAvailable", total - used), ("IPsUsed", used)):
            now.append({"type": f"cilium.io/{name}", "status": "Unknown", "reason": "noreason", "message": str(number)})
        before = (pool.get("status") or {}).get("conditions")
        generation = pool["metadata"].get("generation", 1)
        wanted = conditions(before, [{**c, "observedGeneration": generation} for c in now], stamp(self.clock))
        if wanted != before:
            name = pool["metadata"]["name"]
            self.informers.of(POOLS).note(await self.port.patch(POOLS, name, {"status": {"conditions": wanted}}, subresource="status"))


def wants_address(service: Mapping[str, Any]) -> bool:
    """Whether LB IPAM serves it."""
    return service["spec"].get("type") == "LoadBalancer" and service["spec"].get("loadBalancerClass") in CLASSES


def _key(service: Mapping[str, Any]) -> str:
    meta = service["metadata"]
    sharing = (meta.get("annotations") or {}).get("lbipam.cilium.io/sharing-key")
    return f"shared:{sharing}" if sharing else f"{meta['namespace']}/{meta['name']}"


def _held(service: Mapping[str, Any]) -> list[str]:
    return [i["ip"] for i in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or () if "ip" in i]


def _requested(service: Mapping[str, Any]) -> list[str]:
    annotations = service["metadata"].get("annotations") or {}
    asked = annotations.get("lbipam.cilium.io/ips") or annotations.get("io.cilium/lb-ipam-ips") or service["spec"].get("loadBalancerIP") or ""
    return [ip.strip() for ip in asked.split(",") if ip.strip()]


def _ranges(pool: Mapping[str, Any]) -> Iterator[tuple[Address, Address]]:
    """First and last usable address of each block."""
    for block in pool["spec"].get("blocks") or ():
        if block.get("cidr"):
            network = ipaddress.ip_network(block["cidr"], strict=False)
            low, high = network[0], network[-1]
            if pool["spec"].get("allowFirstLastIPs", "Yes") == "No" and network.num_addresses > 2:
                low, high = low + 1, high - 1
        else:
            low = ipaddress.ip_address(block["start"])
            high = ipaddress.ip_address(block.get("stop") or block["start"])
        yield low, high


def _size(low: Address, high: Address) -> int:
    return int(high) - int(low) + 1


def _free(pools: list[Object], family: str) -> Iterator[str]:
    for pool in pools:
        for low, high in _ranges(pool):
            if (low.version == 6) == (family == "IPv6"):
                kind = type(low)
                yield from (str(kind(n)) for n in range(int(low), int(high) + 1))


def _allowed(pools: list[Object], service: Mapping[str, Any], ip: str) -> bool:
    return any(_inside(p, ip) for p in pools if selects(p["spec"].get("serviceSelector"), service_labels(service)))


def _inside(pool: Mapping[str, Any], ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    return any(int(low) <= int(address) <= int(high) and low.version == address.version for low, high in _ranges(pool))


def _conflicts(pools: list[Object]) -> dict[str, str]:
    """Pool name -> why it is out, the newest of two that overlap."""
    seen: list[tuple[Address, Address, str]] = []
    out: dict[str, str] = {}
    for pool in pools:
        name = pool["metadata"]["name"]
        mine = list(_ranges(pool))
        for low, high in mine:
            for other_low, other_high, other in seen:
                if low.version == other_low.version and int(low) <= int(other_high) and int(other_low) <= int(high):
                    out[name] = f"Pool conflicts since range '{low} - {high}' overlaps range '{other_low} - {other_high}' from IP Pool '{other}'"
        if name not in out:
            seen += [(low, high, name) for low, high in mine]
    return out


class BgpOperator(Controller):
    """Makes a CiliumBGPNodeConfig of every node that a CiliumBGPClusterConfig selects, and says what does not fit."""

    name: ClassVar[str] = "cilium-operator-bgp"
    component: ClassVar[str] = "cilium-operator"

    def watches(self) -> Mapping[str, Keys]:
        return {
            PODS: _operator_pods, NODES: _always, CLUSTER_CONFIGS: _always, NODE_CONFIGS: _always, PEER_CONFIGS: _always, OVERRIDES: _always,
            SECRETS: lambda s: ("all",) if s["metadata"]["namespace"] == NAMESPACE and s.get("type") != "helm.sh/release.v1" else (),
        }  # fmt: skip

    async def reconcile(self, key: str) -> float | None:
        settings = config_of(self.informers)
        if not operator_up(self.informers) or settings.get("enable-bgp-control-plane") != "true":
            return None
        configs = sorted(self.informers.of(CLUSTER_CONFIGS).values(), key=lambda c: (c["metadata"].get("creationTimestamp", ""), c["metadata"]["name"]))
        wanted: dict[str, tuple[Object, Object]] = {}
        for config in configs:
            nodes = [n for n in self.informers.of(NODES).values() if selects(config["spec"].get("nodeSelector"), labels_of(n))]
            others = sorted({wanted[n["metadata"]["name"]][0]["metadata"]["name"] for n in nodes if n["metadata"]["name"] in wanted})
            if not others:
                wanted |= {n["metadata"]["name"]: (config, self._node_spec(config, n["metadata"]["name"])) for n in nodes}
            await self._judge(config, bool(nodes), others)
        for name, (config, spec) in wanted.items():
            await self._ensure(name, config, spec)
        for have in self.informers.of(NODE_CONFIGS).values():
            if have["metadata"]["name"] not in wanted and not have["metadata"].get("deletionTimestamp"):
                await self._drop(have)
        for peer in self.informers.of(PEER_CONFIGS).values():
            await self._judge_peer(peer, settings.get("bgp-secrets-namespace", NAMESPACE))
        return None

    def _node_spec(self, config: Object, node: str) -> Object:
        override = self.informers.of(OVERRIDES).get(node) or {"spec": {}}
        overrides = {i["name"]: i for i in override["spec"].get("bgpInstances") or ()}
        instances = []
        for instance in config["spec"]["bgpInstances"]:
            over = overrides.get(instance["name"], {})
            peers_over = {p["name"]: p for p in over.get("peers") or ()}
            peers = []
            for peer in instance.get("peers") or ():
                one = {k: peer[k] for k in ("name", "peerAddress", "peerASN", "peerConfigRef", "autoDiscovery") if k in peer}
                if peers_over.get(peer["name"], {}).get("localAddress"):
                    one["localAddress"] = peers_over[peer["name"]]["localAddress"]
                peers.append(one)
            made: Object = {"name": instance["name"], "localASN": over.get("localASN", instance.get("localASN"))}
            port = over.get("localPort", instance.get("localPort"))
            made |= {"localPort": port} if port is not None else {}
            made |= {"routerID": over["routerID"]} if over.get("routerID") else {}
            instances.append(made | ({"peers": peers} if peers else {}))
        return {"bgpInstances": instances}

    async def _ensure(self, name: str, config: Object, spec: Object) -> None:
        have = self.informers.of(NODE_CONFIGS).get(name)
        if have is None:
            owner = {"apiVersion": "cilium.io/v2", "kind": "CiliumBGPClusterConfig", "name": config["metadata"]["name"], "uid": config["metadata"]["uid"], "controller": True}
            made = {"apiVersion": "cilium.io/v2", "kind": "CiliumBGPNodeConfig", "metadata": {"name": name, "ownerReferences": [owner]}, "spec": spec}
            self.informers.of(NODE_CONFIGS).note(await self.port.create(NODE_CONFIGS, made))
        elif have["spec"] != spec:
            changed = {**have, "spec": spec}
            self.informers.of(NODE_CONFIGS).note(await self.port.update(NODE_CONFIGS, changed))

    async def _drop(self, have: Object) -> None:
        try:
            await self.port.delete(NODE_CONFIGS, have["metadata"]["name"])
        except KubeError as error:
            if error.status != 404:
                raise

    async def _judge(self, config: Object, any_node: bool, others: list[str]) -> None:
        refs = {p["peerConfigRef"]["name"] for i in config["spec"]["bgpInstances"] for p in i.get("peers") or () if p.get("peerConfigRef")}
        missing = sorted(r for r in refs if self.informers.of(PEER_CONFIGS).get(r) is None)
        faults = (
            ("NoMatchingNode", not any_node, "No node matches spec.nodeSelector"),
            ("MissingPeerConfigs", bool(missing), f"Referenced CiliumBGPPeerConfig(s) are missing: [{' '.join(missing)}]"),
            ("ConflictingClusterConfig", bool(others), f"Selecting the same node(s) with ClusterConfig(s): [{' '.join(others)}]"),
        )
        await self._say(CLUSTER_CONFIGS, config, faults)

    async def _judge_peer(self, peer: Object, namespace: str) -> None:
        ref = peer["spec"].get("authSecretRef")
        secret = self.informers.of(SECRETS).get(f"{namespace}/{ref}") if ref else {}
        await self._say(PEER_CONFIGS, peer, (("MissingAuthSecret", secret is None, f"Referenced Auth Secret is missing: {ref}"),))

    async def _say(self, gvr: str, obj: Object, faults: Iterable[tuple[str, bool, str]]) -> None:
        generation = obj["metadata"].get("generation", 1)
        now = [
            {
                "type": f"cilium.io/{name}", "status": "True" if bad else "False", "reason": name,
                "message": message if bad else "", "observedGeneration": generation,
            }
            for name, bad, message in faults
        ]  # fmt: skip
        before = (obj.get("status") or {}).get("conditions")
        wanted = conditions(before, now, stamp(self.clock))
        if wanted != before:
            name = obj["metadata"]["name"]
            self.informers.of(gvr).note(await self.port.patch(gvr, name, {"status": {"conditions": wanted}}, subresource="status"))
