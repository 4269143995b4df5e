"""One cluster: the etcd that its machines form, the Kubernetes API that stands on it, its controllers and kubelets.

`settle` looks at the machines and brings the rest in line: members join one at a time, a leader is elected, the API answers while etcd
has a quorum and a control plane's pods run. A second bootstrap makes a second etcd, as with real Talos: nothing guards against it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from inventory.model import Cluster
from lab import manifests, serving
from lab.ctl import Provisioners, workload_controllers
from lab.ctl.base import Controller, Informers, start_all, stop_all
from lab.ctl.kubelet import Kubelet, Kubelets
from lab.faults import Effect, Happening
from lab.ground.api import GroundApi
from lab.ground.plane import GroundError, Networks, Plane
from lab.kube.api import ApiServer
from lab.kube.http import HttpServer
from lab.kube.pki import ClusterCA
from lab.kube.port import KubePort
from lab.kube.wire import Fault, Req, RequestRecord, Resp, Stream, Upgrade
from lab.serving import Signer
from lab.talos import secrets

if TYPE_CHECKING:
    from lab.machines import Machine
    from lab.world import World

LOG = logging.getLogger("lab.cluster")
CONTROLLER = "kube-controller-manager"
LEASE_WALL_SECONDS = 5.0  # a real controller manager counts a lease's age by the wall
ADMIN_GROUPS = ("system:masters",)  # Talos' admin kubeconfig

Extra = Callable[["LabCluster"], Sequence[Controller]]


@dataclass(slots=True)
class Etcd:
    """One etcd cluster, named after the machine on which it was bootstrapped."""

    label: str
    identity: tuple[str, str]
    leader: str = ""  # name of a machine
    term: int = 2
    bootstraps: int = 1
    revision: int = 1
    alarms: dict[str, str] = field(default_factory=dict)


class LabCluster:
    """One cluster of the site, by its name."""

    def __init__(self, name: str, spec: Cluster, world: World, *, tcp_port: int = 0, blank: bool = False) -> None:
        """`blank`: its store is about to be restored."""
        self.cluster_name = name
        self.spec = spec
        self.world = world
        self.clock = world.clock
        self.seed = world.random_for(f"cluster:{name}").randrange(2**31)
        self.tcp_port = tcp_port or free_port()
        self.etcds: dict[str, Etcd] = {}
        self.primary = ""  # label of the etcd that the API stands on
        self.up = False
        self.ca: ClusterCA | None = None
        self.extras: list[Extra] = []
        self.on_up: list[Callable[[], None]] = []
        self.plane = self._new_plane()  # a real control plane, or None for the lab's own API
        self.api = self._new_api(blank=blank)
        self.port: KubePort = self.api.local(CONTROLLER)
        self.informers = Informers(self.port, self.clock)
        self.kubelet_host = Kubelets(self.port, self.clock, self.informers, seed=self.seed, renew_wall=LEASE_WALL_SECONDS if self.plane else 30.0)
        self.api.host = self.kubelet_host.behaviours
        self.kubelets: dict[str, Kubelet] = {}
        self.controllers: list[Controller] = []
        self.provisioners = Provisioners()
        self.cilium: Any = None  # lab.cilium.attach.Cilium, once the API has come up for the first time
        self.without_machines = False  # an API that answers by itself: `lab start --at kubernetes`
        self._server: HttpServer | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._settling = False
        self._cni_before: set[str] = set()  # nodes whose CNI was ready when the world was saved
        self._remembered: list[dict[str, Any]] = []  # what its controllers knew then
        self._asked: set[str] = set()

    # --- as an actor -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """ "cluster:NAME"."""
        return f"cluster:{self.cluster_name}"

    async def start(self) -> None:
        """Watch the machines; the API follows them."""
        self.settle()
        if self._task is None:
            if self.wanted_up:
                await self._converge()
            self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Close the API and stop every controller; what is stored stays."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._take_down()

    def snapshot(self) -> dict[str, Any]:
        """etcd, the API's store, its CA and its TCP port. Raises GroundError on a real control plane."""
        if self.plane is not None:
            raise GroundError("a world on a real control plane cannot be saved")
        return {
            "etcds": {k: asdict(e) for k, e in self.etcds.items()},
            "primary": self.primary,
            "tcp_port": self.tcp_port,
            "ca": [self.ca.cert_pem, self.ca.key_pem] if self.ca else None,
            "without_machines": self.without_machines,
            "store": self.api.snapshot() if self.ca else None,
            "cni": sorted(n for n, k in self.kubelets.items() if k.cni_ready),
            "controllers": [c.memory() for c in self.controllers] or self._remembered,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot; the TCP port stays this process' own."""
        self.etcds = {k: Etcd(**{**e, "identity": tuple(e["identity"])}) for k, e in state["etcds"].items()}
        self.primary = state["primary"]
        self.ca = ClusterCA(*state["ca"]) if state["ca"] else None
        self.without_machines = state["without_machines"]
        if state["store"] is not None:
            self._fresh_store(state["store"])
        self._cni_before = set(state["cni"])
        self._remembered = state["controllers"]

    def dump(self) -> dict[str, Any]:
        """etcd's members and who leads nothing: only what two equal worlds share. Objects are added by lab.dump."""
        return {
            "up": self.up,
            "etcds": {
                label: {
                    "bootstraps": etcd.bootstraps,
                    "members": sorted(m.hostname for m in self.members(label)),
                    "learners": sorted(
                        m.hostname for m in self.members(label) if m.state.etcd and m.state.etcd.learner
                    ),
                    "alarms": dict(sorted(etcd.alarms.items())),
                }
                for label, etcd in sorted(self.etcds.items())
            },
        }

    def busy(self) -> bool:
        """Whether the API is about to change, or a controller has work."""
        if self.up != self.wanted_up:
            return True
        return self.up and not all(c.idle for c in (*self.controllers, self.kubelet_host))

    # --- what others ask -------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where this workstation reaches the API."""
        return f"https://127.0.0.1:{self.tcp_port}"

    @property
    def wanted_up(self) -> bool:
        """Whether the API ought to answer: etcd has a quorum and a control plane's pods run."""
        if self.without_machines:
            return True
        return self.has_quorum(self.primary) and any(
            m.state.pods_up and m.etcd_running for m in self.members(self.primary)
        )

    @property
    def kubeprism_port(self) -> int:
        """Where every machine's KubePrism listens; 0 where it is off."""
        for machine in self.members(self.primary):
            prism = (machine.machine_config.get("features") or {}).get("kubePrism") or {}
            return int(prism.get("port", 7445)) if prism.get("enabled") else 0
        return 7445

    @property
    def has_kube_proxy(self) -> bool:
        """Whether Talos runs kube-proxy here."""
        return not any((m.cluster_config.get("proxy") or {}).get("disabled") for m in self.members(self.primary))

    def leads_here(self, host: str, port: int) -> bool:
        """Whether an API URL with this host and port is this cluster's."""
        if host in ("127.0.0.1", "localhost", "::1"):
            return port == self.tcp_port
        if port != self.spec.endpoint.port:
            return False
        endpoint = {str(self.spec.endpoint.vip), self.spec.endpoint.host}
        return host in endpoint or any(host in m.addresses for m in self.members(self.primary))

    def members(self, label: str) -> list[Machine]:
        """The machines whose disks hold a member of that etcd, in the site's order."""
        return [m for m in self.world.machines.values() if m.state.etcd is not None and m.state.etcd.cluster == label]

    def has_quorum(self, label: str) -> bool:
        """Whether more than half of an etcd's voters run."""
        voters = [m for m in self.members(label) if m.state.etcd is not None and not m.state.etcd.learner]
        return bool(voters) and sum(m.etcd_running for m in voters) * 2 > len(voters)

    def etcd_of(self, machine: Machine) -> Etcd | None:
        """The etcd that a machine belongs to."""
        return self.etcds.get(machine.state.etcd.cluster) if machine.state.etcd else None

    def holder_of_vip(self) -> Machine | None:
        """The machine that answers at the cluster's virtual address: Talos elects through etcd, the lab takes its leader."""
        etcd = self.etcds.get(self.primary)
        return self.world.machines.get(etcd.leader) if etcd is not None and self.spec.endpoint.vip else None

    def served_kinds(self) -> list[tuple[str, str]]:
        """(gvr, kind) of everything that the API serves, each resource in one version."""
        seen: dict[tuple[str, str], tuple[str, str]] = {}
        for resource in self.api.registry.all():
            if "list" in resource.verbs:
                seen.setdefault(resource.storage_key, (resource.gvr, resource.kind))
        return list(seen.values())

    def stored_revision(self) -> int:
        """The store's revision: etcd's raft index moves with it."""
        return int(self.api.store.version)

    def stored_bytes(self) -> int:
        """A guess at the size of etcd's database."""
        return 8_000_000 + 3_000 * self.stored_revision()

    async def serving_certificate_pending(self, machine: Machine) -> bool:
        """Whether the machine's kubelet asks for a serving certificate that nobody has approved."""
        if not self.up or not machine.rotates_certificates:
            return False
        return not await serving.approved(self.port, machine.hostname)

    async def set_kubelet_version(self, node: str, machine: Machine, version: str) -> None:
        """`upgrade-k8s` has brought one machine's kubelet to another version."""
        machine.set_kubernetes(version)
        self._wake.set()

    def kubeconfig(self, machine: Machine) -> str:
        """What `talosctl kubeconfig` hands out on that machine, from its config alone: it does not prove that the API answers."""
        ca = machine.cluster_config["ca"]
        name = machine.cluster_config["clusterName"]
        endpoint = machine.cluster_config["controlPlane"]["endpoint"]
        days = (
            -1
            if any(c.client_certificate == "expired" and c.cluster in (name, "") for c in self.world.faults.conditions)
            else None
        )
        return manifests.admin_kubeconfig(name, endpoint, secrets.unb64(ca["crt"]), secrets.unb64(ca["key"]), days)

    # --- what happens to it ----------------------------------------------------------------------------------------

    def bootstrap(self, machine: Machine, snapshot: dict[str, Any] | None = None) -> None:
        """Begin a new etcd on `machine`. Raises Refused as Talos does; that another etcd exists elsewhere is no reason to."""
        label = machine.node.name
        machine.bootstrap(label)
        before = self.etcds.get(label)
        self.etcds[label] = Etcd(label, machine.identity, bootstraps=before.bootstraps + 1 if before else 1)
        if not self.members(self.primary) or self.primary == label:
            self.primary = label
            document = machine.cluster_config
            self.ca = ClusterCA(secrets.unb64(document["ca"]["crt"]), secrets.unb64(document["ca"]["key"]))
            self._fresh_store(snapshot)
        self.settle()

    def admit(self, machine: Machine) -> None:
        """Add `machine` as a learner of the etcd that it can reach and whose PKI it shares."""
        etcd = self._joinable(machine)
        if etcd is not None and machine.state.etcd is None:
            machine.joined(etcd.label)
            etcd.revision += 1
        self.settle()

    def settle(self) -> None:
        """Look at the machines again: elect, let join, start static pods; then the API follows in its own time."""
        if self._settling:
            return
        self._settling = True
        try:
            self._forget_empty()
            for etcd in self.etcds.values():
                self._elect(etcd)
            for machine in self.world.machines.values():
                if machine.cluster is self:
                    self._settle_machine(machine)
        finally:
            self._settling = False
        self._wake.set()

    def _settle_machine(self, machine: Machine) -> None:
        if machine.etcd_running and machine.state.etcd and self.has_quorum(machine.state.etcd.cluster):
            machine.want_pods()
        waiting = machine.control_plane and machine.cri_up and machine.state.etcd is None
        if waiting and not machine.state.etcd_joining and self._joinable(machine) is not None:
            machine.join()

    def _joinable(self, machine: Machine) -> Etcd | None:
        """The etcd that `machine` would join: of its own PKI, with a quorum and without a learner (etcd allows one)."""
        for etcd in self.etcds.values():
            if etcd.identity != machine.identity or not self.has_quorum(etcd.label):
                continue
            members = self.members(etcd.label)
            if any(m.state.etcd and m.state.etcd.learner for m in members):
                continue
            if any(
                m.state.etcd_joining for m in self.world.machines.values() if m is not machine and m.cluster is self
            ):
                continue
            return etcd
        return None

    def _forget_empty(self) -> None:
        for label in [label for label in self.etcds if not self.members(label)]:
            if label != self.primary:
                del self.etcds[label]

    def _elect(self, etcd: Etcd) -> None:
        running = [m for m in self.members(etcd.label) if m.etcd_running and m.state.etcd and not m.state.etcd.learner]
        if not self.has_quorum(etcd.label):
            etcd.leader = ""
        elif etcd.leader not in {m.node.name for m in running}:
            etcd.leader = running[0].node.name
            etcd.term += 1

    def forfeit(self, etcd: Etcd) -> str:
        """Hand leadership to another member; its name, or "" where there is none."""
        others = [m for m in self.members(etcd.label) if m.etcd_running and m.node.name != etcd.leader]
        if not others:
            return ""
        etcd.leader = others[0].node.name
        etcd.term += 1
        return etcd.leader

    # --- the API ---------------------------------------------------------------------------------------------------

    def _new_api(self, *, blank: bool = False) -> ApiServer:
        cidrs = tuple(str(n) for n in self.spec.services)
        if self.plane is not None:
            api: ApiServer = GroundApi(
                self.plane, self.cluster_name, clock=self.clock, seed=self.seed, service_cidrs=cidrs
            )
        else:
            api = ApiServer(self.cluster_name, clock=self.clock, seed=self.seed, service_cidrs=cidrs, blank=blank)
        api.record = self._recorded
        api.faults = self._api_fault
        return api

    def _new_plane(self) -> Plane | None:
        programs = self.world.control_plane
        if programs is None:
            return None
        networks = Networks(tuple(map(str, self.spec.services)), tuple(map(str, self.spec.pods)))
        folder = self.world.dir / "ground" / self.cluster_name
        return Plane(programs, folder, self.cluster_name, self.tcp_port, (free_port(), free_port()), networks)

    def _fresh_store(self, snapshot: dict[str, Any] | None) -> None:
        """A new, empty store (a new etcd has none of the old one's keys), or the one of a snapshot."""
        if snapshot is None:
            self.api.empty()
        else:
            self.api.restore(snapshot)
        for kubelet in self.kubelets.values():
            self.kubelet_host.discard(kubelet)
        self.kubelets.clear()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._converge()
            except Exception:
                LOG.exception("%s", self.name)

    async def _converge(self) -> None:
        if self.wanted_up and not self.up:
            await self._bring_up()
        elif not self.wanted_up and self.up:
            await self._take_down()
        if self.up:
            await self._settle_kubelets()
            await self._ask_for_certificates()

    async def _bring_up(self) -> None:
        if self.ca is None:
            self.ca = ClusterCA.generate()
        hosts = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        hosts += [h for h in (str(self.spec.endpoint.vip or ""), self.spec.endpoint.host or "") if h]
        await self._serve(self.ca, hosts)
        self.up = True
        if not self.controllers:
            self.controllers = self._own_controllers(self.ca)
            for extra in self.extras:
                self.controllers += extra(self)
            for controller, memory in zip(self.controllers, self._remembered, strict=False):
                controller.recall(memory)
        for controller in self.controllers:
            controller.script(self._controller_fault)
        await start_all(self.controllers)
        for listener in self.on_up:
            listener()
        if not self.without_machines:
            self.api.plugins.pod_security, self.api.plugins.pod_security_exempt = manifests.pod_security(self._first_document())
            await manifests.install(self.port, self._first_document(), self.spec)

    async def _serve(self, ca: ClusterCA, hosts: Sequence[str]) -> None:
        """The API answers: the lab's own, or the real one with its controllers, whose start takes no time in the world."""
        if self.plane is None:
            self._server = HttpServer(
                self._handle, tls=ca.server_context(hosts), tokens=self.api.authenticate, port=self.tcp_port
            )
            await self._server.start()
            self.tcp_port = self._server.port
            return
        with self.clock.standing():
            await self.plane.start(ca, self._first_document(), hosts, self._recorded, self.api.host)

    def _own_controllers(self, ca: ClusterCA) -> list[Controller]:
        """What stands in for the controller manager and the scheduler; nothing where those are real."""
        if isinstance(self.api, GroundApi):
            self.api.follow(self.informers)
            return []
        workloads = workload_controllers(
            self.port,
            self.clock,
            informers=self.informers,
            root_ca=ca.cert_pem,
            pod_cidrs=[str(n) for n in self.spec.pods],
            provisioners=self.provisioners,
            seed=self.seed,
        )
        return [*workloads, Signer(self.port, self.clock, self.informers, ca, seed=self.seed)]

    async def _ask_for_certificates(self) -> None:
        """Kubelets with rotation ask for a serving certificate once their node has an address."""
        for machine in self.world.machines.values():
            if machine.hostname in self._asked or not machine.rotates_certificates or not self._belongs(machine):
                continue
            if machine.hostname in self.kubelets and machine.kubelet_running:
                user = self.api.local(f"system:node:{machine.hostname}")
                name = f"csr-{machine.uuid.replace('-', '')[:5]}"
                await serving.request(user, machine.hostname, manifests.node_spec(machine).addresses, name)
                self._asked.add(machine.hostname)

    def _first_document(self) -> dict[str, Any]:
        members = self.members(self.primary)
        return members[0].cluster_config if members else {}

    async def _take_down(self) -> None:
        self.up = False
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
        for kubelet in self.kubelets.values():
            if kubelet.running:
                await kubelet.stop()
        await self.kubelet_host.stop()
        await stop_all(self.controllers)
        await self.informers.stop()
        if self.plane is not None:
            await self.plane.stop()

    async def _settle_kubelets(self) -> None:
        await self.kubelet_host.start()
        for machine in self.world.machines.values():
            kubelet = self.kubelets.get(machine.hostname) if machine.configured else self._kubelet_of(machine)
            speaks = machine.kubelet_running and self._belongs(machine)
            if speaks and (kubelet is None or kubelet.spec.boot_id != machine.state.boot_id):
                await self._start_kubelet(machine, kubelet)
            elif speaks and kubelet is not None and not kubelet.running:
                await kubelet.start()
            elif kubelet is not None and kubelet.running and not speaks and self._kubelet_of(machine) is kubelet:
                await kubelet.stop()
            if speaks and (kubelet := self.kubelets.get(machine.hostname)) is not None:
                pods = manifests.static_pods(machine) if machine.state.pods_up else []
                if pods != kubelet.static_pods:
                    kubelet.static_pods = pods
                    self.kubelet_host.touch(kubelet.name)

    def _kubelet_of(self, machine: Machine) -> Kubelet | None:
        return next((k for k in self.kubelets.values() if k.spec.system_uuid == machine.uuid), None)

    def _belongs(self, machine: Machine) -> bool:
        """Whether the machine's kubelet speaks to this API: same cluster and CA, and not on an etcd of its own."""
        primary = self.etcds.get(self.primary)
        if machine.cluster is not self or primary is None or machine.identity != primary.identity:
            return False
        return machine.state.etcd is None or machine.state.etcd.cluster == self.primary

    async def _start_kubelet(self, machine: Machine, old: Kubelet | None) -> None:
        kubelet = Kubelet(
            self.port,
            self.clock,
            manifests.node_spec(machine),
            kubelets=self.kubelet_host,
            cni_ready=old.cni_ready if old is not None else machine.hostname in self._cni_before,
            static_pods=manifests.static_pods(machine) if machine.state.pods_up else [],
        )
        self.kubelets[machine.hostname] = kubelet
        await kubelet.start()

    async def _handle(self, req: Req) -> Resp | Stream | Upgrade:
        effect = self._find(req)
        if effect is not None and effect.wrong_cluster:
            other = self.world.clusters.get(effect.wrong_cluster)
            if other is not None:
                return await other.api.handle(req)
        return await self.api.handle(req)

    def _find(self, req: Req) -> Effect | None:
        if not any(rule.effect.wrong_cluster for rule in self.world.faults.rules):
            return None
        return self.world.faults.find(
            Happening(f"api:{self.cluster_name}", req.method, object=req.path, cluster=self.cluster_name)
        )

    def _controller_fault(self, controller: str, key: str) -> Effect | None:
        if not self.world.faults.rules:
            return None
        actor = f"controller:{self.cluster_name}"
        return self.world.faults.find(Happening(actor, controller, object=key, cluster=self.cluster_name))

    def _api_fault(self, req: Req) -> Fault | None:
        if not self.world.faults.rules:
            return None
        agent = req.headers.get("user-agent", "")
        effect = self.world.faults.find(
            Happening(f"api:{self.cluster_name}", req.method, object=req.path, cluster=self.cluster_name, user=agent)
        )
        return None if effect is None else _as_fault(effect)

    def _recorded(self, what: RequestRecord) -> None:
        path = "/".join(p for p in (what.gvr, what.namespace, what.name, what.subresource) if p)
        self.world.record.add(
            actor=what.user or "system:anonymous",
            via="api",
            what=f"{self.cluster_name}: {what.verb} {path}" + (" (dry run)" if what.dry_run else ""),
            request=f"{what.verb} {path} -> {what.status} ({what.user_agent.split(' ')[0]})",
            mutates=what.mutates,
            ok=what.status < 400,
        )


def _as_fault(effect: Effect) -> Fault:
    return Fault(
        latency=effect.latency if not effect.hang else 1e9,
        status=effect.status,
        reason=effect.reason,
        message=effect.message,
        retry_after=effect.retry_after,
        cut=effect.cut,
        cut_after=effect.cut_after,
        expired=effect.expired,
    )


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def host_of(url: str) -> str:
    """The host part of a URL."""
    return urlsplit(url).hostname or ""
