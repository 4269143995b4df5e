"""Cluster IPs and node ports: what is taken, and the next free one.

Source: k8s.io/kubernetes/pkg/registry/core/service/ipallocator and portallocator (v1.33).
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from typing import Any, Final

from lab.kube import errors
from lab.kube.errors import FieldError
from lab.kube.store import Event, Key, Store
from lab.kube.validation import services as rules

SERVICES: Final = ("", "services")
NODE_PORTS: Final = range(30000, 32768)
Json = dict[str, Any]


class Addresses:
    """Allocations of one cluster, kept by watching its services."""

    def __init__(self, store: Store, cidrs: Sequence[str], seed: int) -> None:
        self.networks = [ipaddress.ip_network(cidr) for cidr in cidrs]
        self._store = store
        self._random = random.Random(seed + 2)
        self._ips: dict[str, str] = {}
        self._ports: dict[tuple[str, int], str] = {}
        self._held: dict[str, Json] = {}
        store.hooks.append(self._changed)

    def reload(self) -> None:
        """Count anew what is stored."""
        self._ips.clear()
        self._ports.clear()
        for stored in self._store.collection(SERVICES).sorted("")[1]:
            self._take(stored.uid, stored.decode().get("spec") or {})

    def _changed(self, key: Key, event: Event) -> None:
        if key != SERVICES:
            return
        if event.old is not None:
            self._drop(event.old.uid)
        if event.kind != "DELETED":
            self._take(event.new.uid, event.new.decode().get("spec") or {})

    def _take(self, uid: str, spec: Json) -> None:
        for address in spec.get("clusterIPs") or ():
            if address != "None":
                self._ips[address] = uid
        for port in spec.get("ports") or ():
            if port.get("nodePort"):
                self._ports[(port.get("protocol", "TCP"), port["nodePort"])] = uid
        if spec.get("healthCheckNodePort"):
            self._ports[("TCP", spec["healthCheckNodePort"])] = uid

    def _drop(self, uid: str) -> None:
        for address in [address for address, owner in self._ips.items() if owner == uid]:
            del self._ips[address]
        for port in [port for port, owner in self._ports.items() if owner == uid]:
            del self._ports[port]

    def families(self) -> list[str]:
        """IP families that the cluster has, the first one first."""
        return ["IPv6" if network.version == 6 else "IPv4" for network in self.networks]

    def network_of(self, family: str) -> Any:
        """The network of a family, or None."""
        return next((network for network in self.networks if (network.version == 6) == (family == "IPv6")), None)

    def free_ip(self, family: str) -> str:
        """An address that nobody has, from the upper part of the range first. Raises LookupError."""
        network = self.network_of(family)
        size = min(network.num_addresses, 1 << 16) - 2
        low = min(max(16, size // 16), 256)
        for _ in range(200):
            found = str(network.network_address + self._random.randint(low, size))
            if found not in self._ips:
                return found
        raise LookupError("range is full")

    def ip_complaint(self, address: str, uid: str) -> str:
        """Why an address cannot be had; nothing where it can."""
        found = ipaddress.ip_address(address)
        network = next((network for network in self.networks if network.version == found.version), None)
        if network is None or found not in network:
            valid = ",".join(str(one) for one in self.networks)
            return f"failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. The range of valid IPs is {valid}"
        if self._ips.get(address, uid) != uid:
            return f"failed to allocate IP {address}: provided IP is already allocated"
        return ""

    def free_port(self) -> int:
        """A node port that nobody has."""
        while True:
            found = self._random.randrange(NODE_PORTS.start + 86, NODE_PORTS.stop)
            if ("TCP", found) not in self._ports and ("UDP", found) not in self._ports:
                return found

    def port_complaint(self, protocol: str, port: int, uid: str) -> str:
        """Why a node port cannot be had; nothing where it can."""
        if port not in NODE_PORTS:
            return "provided port is not in the valid range. The range of valid ports is 30000-32767"
        if self._ports.get((protocol, port), uid) != uid:
            return "provided port is already allocated"
        return ""


# ------------------------------------------------------------------------------------------------------------ allocation
def _needs_ip(spec: Json) -> bool:
    return spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")


def _needs_ports(spec: Json) -> bool:
    return spec.get("type") == "NodePort" or (
        spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    )


def _refuse(name: str, found: list[FieldError]) -> None:
    if found:
        raise errors.invalid("", "Service", name, found)


class Allocator:
    """Gives a service what it needs before it is judged. Source: registry/core/service/storage/{storage,alloc}.go."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    def begin(self, new: Json, old: Json | None) -> None:
        """Fill in addresses and ports, in place. Raises ApiError."""
        spec = new.setdefault("spec", {})
        before = old["spec"] if old is not None else None
        uid, name = (old or new)["metadata"].get("uid", ""), new["metadata"].get("name", "")
        if before is None:
            if spec.get("clusterIP") and not spec.get("clusterIPs"):
                spec["clusterIPs"] = [spec["clusterIP"]]
        else:
            _keep_allocated(spec, before)
            _normalize(spec, before)
        self._families(new, old, name)
        self._cluster_ips(spec, before, uid, name)
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            self._node_ports(spec, before, uid, name)
        self._health_port(spec, uid)

    # Source: initIPFamilyFields.
    def _families(self, new: Json, old: Json | None, name: str) -> None:
        spec, before = new["spec"], old["spec"] if old is not None else None
        if spec.get("type") == "ExternalName" or _same_dual(spec, before):
            return
        bare = spec.get("clusterIP") == "None" and not spec.get("selector")
        if spec.get("ipFamilyPolicy") is None:
            inherited = (before or {}).get("ipFamilyPolicy")
            spec["ipFamilyPolicy"] = inherited or ("RequireDualStack" if bare else "SingleStack")
        _refuse(name, rules.cluster_ips(spec))
        found: list[FieldError] = []
        here, policy = "spec.ipFamilyPolicy", spec["ipFamilyPolicy"]
        single = policy == "SingleStack"
        if before is not None:
            for key, thing in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
                now, then = spec.get(key) or [], before.get(key) or []
                if single and now == then and len(now) > 1:
                    spec[key] = now[:1]
                elif not single and len(now) == 1 and len(then) == 2 and now[0] == then[0]:
                    text = f"must be 'SingleStack' to release the secondary {thing}"
                    found.append(errors.wrong(here, policy, text))
        if single:
            for key, thing in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")):
                if len(spec.get(key) or ()) == 2:
                    text = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {thing} are specified"
                    found.append(errors.wrong(here, policy, text))
        families = list(spec.get("ipFamilies") or ())
        for place, address in enumerate(spec.get("clusterIPs") or ()):
            if address == "None":
                break
            family = "IPv6" if ":" in address else "IPv4"
            if place >= len(families):
                if family not in self._addresses.families():
                    text = f"{family} is not configured on this cluster"
                    found.append(errors.wrong(f"spec.clusterIPs[{place}]", spec["clusterIPs"], text))
                else:
                    families.append(family)
        _refuse(name, found)
        spec["ipFamilies"] = self._chosen(families, policy, bare, name)

    def _chosen(self, families: list[str], policy: str, bare: bool, name: str) -> list[str]:
        have = self._addresses.families()
        if not bare:
            found: list[FieldError] = []
            if policy == "RequireDualStack" and len(have) < 2:
                text = "this cluster is not configured for dual-stack services"
                found.append(errors.wrong("spec.ipFamilyPolicy", policy, text))
            for place, family in enumerate(families):
                if family not in have:
                    found.append(errors.wrong(f"spec.ipFamilies[{place}]", family, "not configured on this cluster"))
            _refuse(name, found)
        families = families or [have[0]]
        if len(families) == 1 and policy != "SingleStack" and (bare or len(have) == 2):
            families = [*families, "IPv6" if families[0] == "IPv4" else "IPv4"]
        return families

    def _cluster_ips(self, spec: Json, before: Json | None, uid: str, name: str) -> None:
        every = list(spec.get("clusterIPs") or ())
        if spec.get("type") == "ExternalName" or every[:1] == ["None"]:
            return
        if (
            before is not None
            and before.get("type") != "ExternalName"
            and (before.get("clusterIPs") or [])[:1] == ["None"]
        ):
            return
        for place, family in enumerate(spec.get("ipFamilies") or ()):
            given = every[place] if place < len(every) else ""
            if given:
                complaint = self._addresses.ip_complaint(given, uid)
                if complaint:
                    _refuse(name, [errors.wrong("spec.clusterIPs", every, complaint)])
                continue
            made = self._addresses.free_ip(family)
            every[place:] = [made]
        if every:
            spec["clusterIPs"], spec["clusterIP"] = every, every[0]

    def _node_ports(self, spec: Json, before: Json | None, uid: str, name: str) -> None:
        given: dict[int, int] = {}
        held = {port.get("nodePort") for port in (before or {}).get("ports") or ()}
        for place, port in enumerate(spec.get("ports") or ()):
            wanted = port.get("nodePort", 0)
            if not wanted:
                if not _needs_ports(spec):
                    continue
                # The same port under another protocol gets the same node port.
                twin = given.get(port.get("port", 0)) or _requested(spec, port.get("port", 0)) if before is None else 0
                port["nodePort"] = twin or self._addresses.free_port()
            elif wanted not in held:
                complaint = self._addresses.port_complaint(port.get("protocol", "TCP"), wanted, uid)
                if complaint:
                    _refuse(name, [errors.wrong(f"spec.ports[{place}].nodePort", wanted, complaint)])
            given.setdefault(port.get("port", 0), port["nodePort"])

    def _health_port(self, spec: Json, uid: str) -> None:
        if not rules.needs_health_check(spec):
            return
        wanted = spec.get("healthCheckNodePort", 0)
        if not wanted:
            spec["healthCheckNodePort"] = self._addresses.free_port()
            return
        complaint = self._addresses.port_complaint("TCP", wanted, uid)
        if complaint:
            text = f"failed to allocate requested HealthCheck NodePort {wanted}: {complaint}"
            raise errors.internal_error(text)


def _requested(spec: Json, port: int) -> int:
    return next((one["nodePort"] for one in spec["ports"] if one.get("port") == port and one.get("nodePort")), 0)


def _same_dual(spec: Json, before: Json | None) -> bool:
    keys = ("ipFamilyPolicy", "clusterIP", "clusterIPs", "ipFamilies")
    return (
        before is not None
        and before.get("ipFamilyPolicy") == "PreferDualStack"
        and all(spec.get(key) == before.get(key) for key in keys)
    )


def _keep_allocated(spec: Json, before: Json) -> None:
    """What a client left out stays. Source: patchAllocatedValues."""
    if _needs_ip(spec) and _needs_ip(before):
        for key in ("clusterIP", "clusterIPs"):
            if not spec.get(key) and before.get(key):
                spec[key] = before[key]
    sorts = ("NodePort", "LoadBalancer")
    if spec.get("type") in sorts and before.get("type") in sorts:
        ports, old = spec.get("ports") or [], before.get("ports") or []
        used = {port.get("nodePort") for port in ports} & {port.get("nodePort") for port in old}
        known = {port.get("name", ""): port.get("nodePort", 0) for port in old}
        for port in ports:
            held = known.get(port.get("name", ""), 0)
            if not port.get("nodePort") and held and held not in used:
                port["nodePort"] = held
    if rules.needs_health_check(spec) and rules.needs_health_check(before) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before.get("healthCheckNodePort", 0)


def _normalize(spec: Json, before: Json) -> None:
    """clusterIP and clusterIPs agree, whichever of the two a client knows. Source: normalizeClusterIPs."""
    one, every = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    old, olds = before.get("clusterIP", ""), before.get("clusterIPs") or []
    if olds and not every and old == one:
        spec["clusterIPs"] = every = olds
    if old == one:
        return
    if old and not one:
        if every == olds:
            spec["clusterIPs"] = []
    elif every == olds:
        spec["clusterIPs"] = [one]


def drop_dependent(spec: Json, before: Json) -> None:
    """What belongs to a type goes with it, where it was not touched. Source: dropTypeDependentFields."""
    if _needs_ip(before) and not _needs_ip(spec):
        if (spec.get("clusterIPs") or []) == (before.get("clusterIPs") or []):
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
        for key in ("ipFamilies", "ipFamilyPolicy"):
            if spec.get(key) == before.get(key):
                spec.pop(key, None)
    sorts = ("NodePort", "LoadBalancer")
    ports, olds = spec.get("ports") or [], before.get("ports") or []
    same_ports = [port.get("nodePort") for port in ports] == [port.get("nodePort") for port in olds]
    if before.get("type") in sorts and spec.get("type") not in sorts and same_ports:
        for port in ports:
            port.pop("nodePort", None)
    checked = rules.needs_health_check(before) and not rules.needs_health_check(spec)
    if checked and spec.get("healthCheckNodePort") == before.get("healthCheckNodePort"):
        spec.pop("healthCheckNodePort", None)
    if before.get("type") == "LoadBalancer" != spec.get("type"):
        for key in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(key) is not None and spec[key] == before.get(key):
                spec.pop(key)
    hidden = rules.external(before) and not rules.external(spec)
    if hidden and spec.get("externalTrafficPolicy") == before.get("externalTrafficPolicy"):
        spec.pop("externalTrafficPolicy", None)
