"""One cluster's real control plane on loopback: its files, its processes, and ports to it.

Sources: `kube-apiserver --help` and so on, v1.33; talos `internal/app/machined/pkg/controllers/k8s/control_plane_static_pod.go`, v1.11.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import shutil
import ssl
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.ground.audit import POLICY, request_of
from lab.ground.nodes import NodeGate
from lab.ground.processes import Process
from lab.kube.pki import ClusterCA, KeyPair, load_pair
from lab.kube.port import KubeError
from lab.kube.remote import RemotePort
from lab.kube.streams import PodHost
from lab.kube.wire import RequestRecord, User

LOG = logging.getLogger("lab.ground")
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
ISSUER = "https://kubernetes.default.svc.cluster.local"
SELF = "lab:controllers"  # the lab's own identity; it is a master, and not in the record
HOSTS = ("127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
START_SECONDS = 180.0  # wall; a busy machine takes a minute
LOOK_SECONDS = 0.1
NODE_BITS = {4: 24, 6: 64}  # kube-controller-manager's defaults for the size of a node's pod network
MOST_BITS = 16  # it refuses more nodes than that


class GroundError(Exception):
    """The control plane does not come up, or cannot do what is asked."""


@dataclass(frozen=True, slots=True)
class Networks:
    """What a cluster's addresses come from."""

    services: tuple[str, ...]
    pods: tuple[str, ...]


def missing(folder: Path) -> list[str]:
    """The programs that a control plane needs and `folder` does not have."""
    return [name for name in PROGRAMS if not os.access(folder / name, os.X_OK)]


class Plane:
    """etcd, kube-apiserver, kube-controller-manager and kube-scheduler of one cluster. `folder` holds their data, keys and logs."""

    def __init__(self, binaries: Path, folder: Path, name: str, port: int, etcd_ports: tuple[int, int], networks: Networks) -> None:
        self.binaries, self.folder, self.name = binaries, folder, name
        self.url = f"https://127.0.0.1:{port}"
        self._port, self._etcd_ports, self._networks = port, etcd_ports, networks
        self._tls = ssl.create_default_context()
        self._processes: list[Process] = []
        self._gate: NodeGate | None = None
        self._sockets: Path | None = None
        self._ports: list[RemotePort] = []
        self._forget = True  # what an earlier lab left in the folder is not this world's

    def local(self, user: str | User, agent: str = "") -> RemotePort:
        """A port as `user`. A name alone is one of the lab's own parts, with every right; a kubelet is its node all the same."""
        headers: list[tuple[str, str]] = []
        if isinstance(user, str) and user.startswith("system:node:"):
            user = User(user, ("system:nodes",))
        if isinstance(user, User):
            headers = [("Impersonate-User", user.name), *(("Impersonate-Group", group) for group in user.groups)]
        port = RemotePort(self.url, self._tls, user_agent=agent or (user.name if isinstance(user, User) else user), headers=headers)
        self._ports.append(port)
        return port

    def forget(self) -> None:
        """The next start begins with an empty etcd."""
        self._forget = True

    async def start(
        self, ca: ClusterCA, document: Mapping[str, Any], hosts: Sequence[str], record: Callable[[RequestRecord], None], pods: PodHost | None
    ) -> None:
        """Start all four and wait until the API is ready. `document` is a control plane's `cluster` section, `hosts` go into the
        certificate. Raises GroundError."""
        if lacking := missing(self.binaries):
            raise GroundError(f"no {', '.join(lacking)} in {self.binaries}")
        if self._forget:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._forget = False
        try:
            await self._start(ca, document, hosts, record, pods)
        except BaseException:
            await self.stop()
            raise

    async def _start(
        self, ca: ClusterCA, document: Mapping[str, Any], hosts: Sequence[str], record: Callable[[RequestRecord], None], pods: PodHost | None
    ) -> None:
        self._sockets = Path(tempfile.mkdtemp(prefix="lab-"))  # a socket's path has to be short
        self._gate = NodeGate(self._sockets / "nodes", ca, self.local(SELF, "kubelet"), pods)
        await self._gate.start()
        self._trust(ca)
        self._write(ca, document, [*HOSTS, *hosts])
        await self._run("etcd", _etcd(self.folder, *self._etcd_ports))
        await self._run("kube-apiserver", self._apiserver(), lambda line: self._audited(line, record))
        await self._ready()
        await self._run("kube-controller-manager", self._controller_manager())
        await self._run("kube-scheduler", ("--kubeconfig=kube-scheduler.conf", "--leader-elect=false", "--secure-port=0"))

    async def stop(self) -> None:
        """End all of it, the last one first; what etcd holds stays on disk."""
        for process in reversed(self._processes):
            await process.stop()
        self._processes.clear()
        for port in self._ports:
            await port.close()
        if self._gate is not None:
            await self._gate.stop()
            self._gate = None
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    async def _run(self, program: str, flags: Sequence[str], lines: Callable[[bytes], None] | None = None) -> None:
        self._processes.append(await Process.start([str(self.binaries / program), *flags], self.folder, lines))

    async def _ready(self) -> None:
        loop, port = asyncio.get_running_loop(), self.local(SELF, "lab")
        end = loop.time() + START_SECONDS
        why = ""
        while True:
            try:
                await port.raw("/readyz")
                return
            except (OSError, KubeError) as error:
                why = str(error)
            for process in self._processes:
                if process.ended is not None:
                    raise GroundError(f"{process.name} of {self.name} ended with {process.ended}; see {self.folder}/{process.name}.log")
            if loop.time() > end:
                raise GroundError(f"kube-apiserver of {self.name} is not ready after {START_SECONDS:.0f} s: {why}")
            await asyncio.sleep(LOOK_SECONDS)

    def _audited(self, line: bytes, record: Callable[[RequestRecord], None]) -> None:
        try:
            found = request_of(json.loads(line))
        except ValueError:
            return  # it logs other things there too
        if found is not None:
            record(found)

    # files and flags ------------------------------------------------------------------------------------------------

    def _trust(self, ca: ClusterCA) -> None:
        """Let every port that was handed out speak to this CA's server, as a master."""
        self._tls.load_verify_locations(cadata=ca.cert_pem)
        load_pair(self._tls, ca.issue(SELF, ("system:masters",)))

    def _write(self, ca: ClusterCA, document: Mapping[str, Any], hosts: Sequence[str]) -> None:
        put = self._put
        put("ca.crt", ca.cert_pem)
        put("ca.key", ca.key_pem)
        self._pair("apiserver", ca.issue("kube-apiserver", hosts=hosts))
        self._pair("kubelet-client", ca.issue("apiserver-kubelet-client", ("system:masters",)))
        key = (document.get("serviceAccount") or {}).get("key")
        if key or not (self.folder / "sa.key").exists():
            put("sa.key", base64.b64decode(key).decode() if key else _new_key())
        for name in ("kube-controller-manager", "kube-scheduler"):
            put(f"{name}.conf", ca.kubeconfig(self.url, f"system:{name}", (), name))
        put("audit.yaml", yaml.safe_dump(POLICY | {"rules": [{"level": "None", "users": [SELF]}, *POLICY["rules"]]}))
        put("admission.yaml", yaml.safe_dump(_admission((document.get("apiServer") or {}).get("admissionControl") or ())))
        put("egress.yaml", yaml.safe_dump(_egress(str(self._sockets)) if self._sockets else {}))

    def _put(self, name: str, text: str) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")

    def _pair(self, name: str, pair: KeyPair) -> None:
        self._put(f"{name}.crt", pair.cert)
        self._put(f"{name}.key", pair.key)

    def _apiserver(self) -> tuple[str, ...]:
        return (
            f"--etcd-servers=http://127.0.0.1:{self._etcd_ports[0]}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # an address on loopback is refused as an endpoint
            f"--service-cluster-ip-range={','.join(self._networks.services)}",
            "--tls-cert-file=apiserver.crt",
            "--tls-private-key-file=apiserver.key",
            "--client-ca-file=ca.crt",
            f"--service-account-issuer={ISSUER}",
            "--service-account-key-file=sa.key",
            "--service-account-signing-key-file=sa.key",
            "--kubelet-client-certificate=kubelet-client.crt",
            "--kubelet-client-key=kubelet-client.key",
            "--egress-selector-config-file=egress.yaml",  # nothing is dialled but this: nodes are at addresses that do not exist
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--admission-control-config-file=admission.yaml",
            "--allow-privileged=true",
            "--audit-policy-file=audit.yaml",
            "--audit-log-path=-",
            "--audit-log-mode=batch",
            "--audit-log-batch-max-wait=200ms",
            "--profiling=false",
        )

    def _controller_manager(self) -> tuple[str, ...]:
        masks = [f"--node-cidr-mask-size-ipv{n.version}={node_bits(n)}" for n in map(ip_network, self._networks.pods)]
        if len(masks) == 1:
            masks = [f"--node-cidr-mask-size={masks[0].rpartition('=')[2]}"]
        return (
            "--kubeconfig=kube-controller-manager.conf",
            "--leader-elect=false",
            "--secure-port=0",
            "--controllers=*,tokencleaner",
            "--use-service-account-credentials=true",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={','.join(self._networks.pods)}",
            f"--service-cluster-ip-range={','.join(self._networks.services)}",
            *masks,
            "--configure-cloud-routes=false",
            "--root-ca-file=ca.crt",
            "--cluster-signing-cert-file=ca.crt",
            "--cluster-signing-key-file=ca.key",
            "--service-account-private-key-file=sa.key",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )


def node_bits(network: IPv4Network | IPv6Network) -> int:
    """The size of a node's part of a pod network, in prefix bits: the default where it fits."""
    usual = NODE_BITS[network.version]
    fits = network.prefixlen < usual <= network.prefixlen + MOST_BITS
    return usual if fits else min(network.prefixlen + MOST_BITS // 2, network.max_prefixlen)


def _etcd(folder: Path, client: int, peer: int) -> tuple[str, ...]:
    clients, peers = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    return (
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",  # a lab's data has to outlive its processes, not the machine
        "--log-level=warn",
    )


def _admission(plugins: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Talos' `admissionControl` as kube-apiserver reads it."""
    entries = [{"name": p["name"], "configuration": p.get("configuration") or {}} for p in plugins]
    return {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": entries}


def _egress(sockets: str) -> dict[str, Any]:
    """Every connection to nodes, pods and Services goes through the lab's socket."""
    through = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": f"{sockets}/nodes"}}}
    return {
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{"name": "cluster", "connection": through}],
    }


def _new_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()).decode()
