"""Cluster IPs and node ports: what is taken, and the next free one.

Source: k8s.io/kubernetes/pkg/registry/core/service/ipallocator and portallocator (v1.33).
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from typing import Any, Final

from lab.kube.store import Event, Key, Store

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
