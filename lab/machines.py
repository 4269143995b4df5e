"""One machine: power, disks, the config that was applied to it, Talos' services, and its life from maintenance mode to running.

It does what Talos does with what it is told; it knows nothing of command lines. Questions of several machines (etcd, the Kubernetes
API) belong to its cluster. Durations are simulated and jittered by the seed. Source: talos `internal/app/machined`, v1.11.2;
foundation.md 1-4.
"""

from __future__ import annotations

import fnmatch
import hashlib
import ipaddress
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from inventory.model import Node
from lab.agenda import Agenda
from lab.faults import Condition, Effect, Happening
from lab.hardware import Disk, choose_disk, disks_of
from lab.talos import config as talosconfig
from lab.talos import secrets
from lab.talos.config import Document

if TYPE_CHECKING:
    from lab.cluster import LabCluster
    from lab.world import World

# Simulated seconds, as (least, most). A machine of this class needs 2-10 minutes from apply to booted (foundation.md 4.1).
PULL = (40.0, 90.0)
INSTALL = (30.0, 60.0)
REBOOT = (60.0, 100.0)
CRI = (6.0, 12.0)
KUBELET = (8.0, 15.0)
ETCD_START = (6.0, 12.0)
ETCD_JOIN = (8.0, 16.0)
ETCD_PROMOTE = (6.0, 12.0)
STATIC_PODS = (20.0, 35.0)
INSTALL_FAILURE = (60.0, 90.0)
DRAIN = (5.0, 20.0)

ISO_VERSION = "v1.11.2"
CONTROLPLANE_SERVICES = ("etcd", "trustd")
ALWAYS = ("apid", "auditd", "containerd", "cri", "dashboard", "kubelet", "machined", "syslogd", "udevd")
UP = ("maintenance", "booting", "running", "upgrading")

# What Talos changes without a reboot. Source: v1alpha1_runtime `CanApplyImmediate`, v1.11.2.
IMMEDIATE_MACHINE = (
    "acceptedCAs",
    "ca",
    "certSANs",
    "controlPlane",
    "env",
    "features",
    "install",
    "kernel",
    "kubelet",
    "logging",
    "network",
    "nodeAnnotations",
    "nodeLabels",
    "nodeTaints",
    "pods",
    "registries",
    "seccompProfiles",
    "sysctls",
    "sysfs",
    "time",
    "udev",
)


class Refused(Exception):
    """A gRPC error of the node: code and description as talosctl shows them."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(slots=True)
class Service:
    """A Talos service. `health` is "OK", "Fail" or "?"."""

    state: str
    health: str
    since: float
    message: str

    @property
    def running(self) -> bool:
        """As the Services resource says it."""
        return self.state in ("Running", "Finished")

    @property
    def healthy(self) -> bool:
        """As the Services resource says it; what has no check counts as healthy."""
        return self.health != "Fail" and self.running


@dataclass(slots=True)
class Membership:
    """What the machine's disk holds of etcd: which etcd, which member, and whether it is a voter."""

    cluster: str
    member: str
    learner: bool = False


@dataclass(slots=True)
class State:
    """Everything that a machine remembers."""

    powered: bool = True
    stage: str = "maintenance"
    config: str = ""
    pending: str = ""
    staged: str = ""
    fallback: str = ""
    version: str = ISO_VERSION
    schematic: str = ""
    previous: tuple[str, str] | None = None
    wanted: tuple[str, str] | None = None
    boots: int = 0
    boot_id: str = ""
    booted_at: float = 0.0
    skew: float = 0.0
    address_since: float = 0.0
    services: dict[str, Service] = field(default_factory=dict)
    etcd: Membership | None = None
    etcd_joining: bool = False
    pods_up: bool = False
    system_disk: str = ""
    problem: str = ""
    cordoned: bool = False
    installs: int = 0


class Machine:
    """One machine of the site, by its node's name."""

    def __init__(self, node: Node, world: World) -> None:
        self.node = node
        self.world = world
        self.rng = world.random_for(f"machine:{node.name}")
        self.clock = world.clock
        self.disks: list[Disk] = disks_of(node, self.rng)
        self.mac = (node.mac or _mac(self.rng.randrange(2**24))).lower()
        self.serial = node.serial or f"SN{self.rng.randrange(16**8):08X}"
        self.uuid = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        self.link = "enp1s0"
        self.state = State(boot_id=self._new_id())
        self.agenda = Agenda(world.clock, self._fire)
        self._document: tuple[str, Document] = ("", {})

    # --- as an actor -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """ "machine:NODE"."""
        return f"machine:{self.node.name}"

    async def start(self) -> None:
        """Let its timers run."""
        self.agenda.start()

    async def stop(self) -> None:
        """Hold its timers."""
        self.agenda.stop()

    def snapshot(self) -> dict[str, Any]:
        """State, disks, timers and randomness."""
        return {
            "state": asdict(self.state),
            "disks": [d.snapshot() for d in self.disks],
            "agenda": self.agenda.snapshot(),
            "rng": _rng_state(self.rng.getstate()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        values = dict(state["state"])
        values["services"] = {k: Service(**v) for k, v in values["services"].items()}
        values["etcd"] = Membership(**values["etcd"]) if values["etcd"] else None
        for pair in ("previous", "wanted"):
            values[pair] = tuple(values[pair]) if values[pair] else None
        self.state = State(**values)
        self.disks = [Disk.restored(d) for d in state["disks"]]
        self.agenda.restore(state["agenda"])
        version, numbers, gauss = state["rng"]
        self.rng.setstate((version, tuple(numbers), gauss))

    def dump(self) -> dict[str, Any]:
        """What is on its disks, what it was told and how it stands; see lab.dump for the placeholders of secrets."""
        state = self.state
        return {
            "powered": state.powered,
            "stage": state.stage,
            "version": state.version,
            "schematic": state.schematic,
            "config": state.config,
            "staged": state.staged,
            "addresses": self.addresses,
            "system_disk": state.system_disk,
            "installs": state.installs,
            "services": {k: [s.state, s.health] for k, s in sorted(state.services.items())},
            "etcd": asdict(state.etcd) if state.etcd else None,
            "disks": {
                d.name: {
                    "serial": d.serial,
                    "signature": d.signature,
                    "volumes": [[v.filesystem, v.label, v.size] for v in d.volumes],
                }
                for d in self.disks
            },
        }

    def busy(self) -> bool:
        """Whether it is on its way from one stage to another."""
        return bool(self.agenda)

    def begin(self, condition: Condition) -> None:
        """Make the machine start as a world file's condition says."""
        if condition.disk:
            for disk in self.disks:
                if condition.disk in (disk.serial, disk.name):
                    disk.signature = condition.holds or "ext4"
        if condition.clock_skew:
            self.state.skew = condition.clock_skew
        if condition.absent:
            self.state.powered = False
            self.state.stage = "off"

    def mend(self, condition: Condition) -> None:
        """What an operator does about such a condition: wipe the disk, set the clock, switch the machine on."""
        for disk in self.disks:
            if condition.disk and condition.disk in (disk.serial, disk.name) and disk.name != self.state.system_disk:
                disk.wipe()
        if condition.clock_skew:
            self.state.skew = 0.0
        if condition.absent:
            self.power(True)

    @property
    def stuck(self) -> bool:
        """Whether a fault has stopped it for good: it did not come back from a boot, or hangs in the installer."""
        hangs = self.state.stage == "installing" and not ("installed" in self.agenda or "install-failed" in self.agenda)
        return self.state.powered and (self.state.stage == "off" or hangs)

    # --- what others ask -------------------------------------------------------------------------------------------

    @property
    def configured(self) -> bool:
        """Whether it runs with a config of its own: its API wants Talos' PKI."""
        return bool(self.state.config) and self.state.stage in UP and self.state.stage != "maintenance"

    @property
    def answers(self) -> bool:
        """Whether anything listens on its port 50000."""
        return self.state.powered and self.state.stage in UP

    @property
    def document(self) -> Document:
        """The machine's v1alpha1 config, or an empty mapping."""
        text = self.state.config
        if self._document[0] != text:
            self._document = (text, talosconfig.main_document(talosconfig.load(text)) if text else {})
        return self._document[1]

    @property
    def machine_config(self) -> Document:
        """`machine` of the config."""
        return self.document.get("machine") or {}

    @property
    def cluster_config(self) -> Document:
        """`cluster` of the config."""
        return self.document.get("cluster") or {}

    @property
    def hostname(self) -> str:
        """From the config, else the one that Talos derives."""
        return (self.machine_config.get("network") or {}).get("hostname") or f"talos-{self.mac.replace(':', '')[-6:]}"

    @property
    def control_plane(self) -> bool:
        """Whether the config makes it one."""
        return self.machine_config.get("type") in ("controlplane", "init")

    @property
    def ca(self) -> str | None:
        """PEM of the Talos CA that it trusts, or None in maintenance mode."""
        return secrets.unb64(self.machine_config["ca"]["crt"]) if self.configured else None

    @property
    def cluster(self) -> LabCluster | None:
        """The cluster that its config names, where this world has one."""
        return self.world.clusters.get(self.cluster_config.get("clusterName", ""))

    @property
    def identity(self) -> tuple[str, str]:
        """What makes two machines members of one cluster: the cluster's id and the CA of Talos."""
        return (self.cluster_config.get("id", ""), (self.machine_config.get("ca") or {}).get("crt", ""))

    @property
    def addresses(self) -> list[str]:
        """Where it answers now: its lease's address in maintenance mode, else those that the config gives to its link."""
        leased = [str(self.node.maintenance_address or self.node.address)]
        if not self.state.config or self.state.stage == "maintenance":
            return leased
        mine: list[str] = []
        for interface in (self.machine_config.get("network") or {}).get("interfaces") or []:
            if self._is_mine(interface):
                mine += [str(a).partition("/")[0] for a in interface.get("addresses") or ()]
        return mine or leased

    @property
    def address(self) -> str:
        """The first of its addresses."""
        return self.addresses[0]

    @property
    def address_since(self) -> float:
        """When it took its addresses."""
        return self.state.address_since

    @property
    def cri_up(self) -> bool:
        """Whether containers can run."""
        return self._service_ok("cri")

    @property
    def etcd_running(self) -> bool:
        """Whether its etcd member takes part."""
        return self.state.etcd is not None and self._service_ok("etcd") and self.answers

    @property
    def kubelet_running(self) -> bool:
        """Whether its kubelet runs."""
        return self._service_ok("kubelet") and self.answers

    @property
    def rotates_certificates(self) -> bool:
        """Whether its kubelet asks for a serving certificate."""
        arguments = (self.machine_config.get("kubelet") or {}).get("extraArgs") or {}
        return str(arguments.get("rotate-server-certificates", "")).lower() == "true"

    def set_kubernetes(self, version: str) -> None:
        """`upgrade-k8s` changes the kubelet's image in the stored config."""
        documents = talosconfig.load(self.state.config)
        kubelet = talosconfig.main_document(documents)["machine"]["kubelet"]
        kubelet["image"] = f"ghcr.io/siderolabs/kubelet:{version}"
        self._set_config(talosconfig.dump(documents))

    @property
    def time_in_sync(self) -> bool:
        """Whether NTP has set its clock."""
        return abs(self.state.skew) < 1.0

    @property
    def fingerprint(self) -> str:
        """SPKI fingerprint of the certificate that it shows in maintenance mode, as `--cert-fingerprint` takes it."""
        return secrets.b64(hashlib.sha256(f"{self.uuid}/{self.state.boots}".encode()).digest())

    def address_overlap(self) -> list[str]:
        """Host addresses that lie in the cluster's own networks, as the diagnostic lists them."""
        network = self.cluster_config.get("network") or {}
        found = []
        for kind, default in (("podSubnets", "10.244.0.0/16"), ("serviceSubnets", "10.96.0.0/12")):
            for subnet in network.get(kind) or [default]:
                inside = [a for a in self.addresses if _within(a, str(subnet))]
                found += [f"host address {a} is within {kind} {subnet}" for a in inside]
        return found

    def stage(self) -> str:
        """As the MachineStatus resource names it; `running` when the boot sequence is through."""
        if self.state.stage != "booting":
            return self.state.stage
        needed = ("kubelet", "etcd") if self.control_plane else ("kubelet",)
        return "running" if all(self._service_ok(s) for s in needed) else "booting"

    def _service_ok(self, name: str) -> bool:
        service = self.state.services.get(name)
        return service is not None and service.state == "Running" and service.health != "Fail"

    def _is_mine(self, interface: Document) -> bool:
        selector = interface.get("deviceSelector") or {}
        if not selector:
            return bool(interface.get("interface", self.link) == self.link)
        wanted = selector.get("hardwareAddr") or selector.get("permanentAddr")
        return wanted is None or bool(fnmatch.fnmatchcase(self.mac, str(wanted).lower()))

    # --- what it is told -------------------------------------------------------------------------------------------

    def apply(self, text: str, mode: str, *, dry_run: bool, timeout: float = 60.0) -> tuple[list[str], str, str]:
        """Take a machine config: (warnings, mode that was used, details). Raises Refused.

        In maintenance mode this begins the installation, which wipes the chosen disk.
        """
        try:
            documents = talosconfig.load(text)
        except talosconfig.ConfigError as error:
            raise Refused("InvalidArgument", str(error)) from None
        errors, warnings = talosconfig.validate(documents)
        if errors:
            raise Refused("InvalidArgument", f"configuration validation failed: {talosconfig.several(errors)}")
        if not self.configured:
            if mode in ("no-reboot", "staged"):
                raise Refused(
                    "Unimplemented", f"apply configuration --mode='{mode}' is not supported in maintenance mode"
                )
            if dry_run:
                return warnings, mode, "Node is running in maintenance mode and does not have a config yet."
            self._begin_install(text)
            return warnings, mode, ""
        return warnings, *self._reconfigure(text, talosconfig.main_document(documents), mode, dry_run, timeout)

    def _reconfigure(self, text: str, new: Document, mode: str, dry_run: bool, timeout: float) -> tuple[str, str]:
        old = self.document
        change = talosconfig.diff(self.state.config, text)
        needs_reboot = _without_immediate(old) != _without_immediate(new)
        if mode in ("no-reboot", "try") and needs_reboot:
            raise Refused("InvalidArgument", f"this config change can't be applied in immediate mode\ndiff: {change}")
        used = mode
        if mode == "auto":
            used = "reboot" if needs_reboot else "no-reboot"
        if dry_run:
            return used, f"Config diff:\n\n{change or 'No changes.'}"
        if used == "staged":
            self.state.staged = text
        elif used == "reboot":
            self._set_config(text)
            self.reboot()
        else:
            if used == "try":
                self.state.fallback = self.state.config
                self.agenda.set("try-over", timeout)
            else:
                self.state.fallback = ""
                self.agenda.cancel("try-over")
            self._set_config(text)
        return used, change if used == "reboot" else ""

    def _set_config(self, text: str) -> None:
        before = self.addresses
        self.state.config = text
        if self.addresses != before:
            self.state.address_since = self.clock.seconds()
        self._changed()

    def _begin_install(self, text: str) -> None:
        effect = self._fault("install")
        self.state.pending = text
        self.state.stage = "installing"
        document = talosconfig.main_document(talosconfig.load(text))
        install = (document.get("machine") or {}).get("install") or {}
        problem = effect.fail if effect else ""
        disk = choose_disk(self.disks, install)
        if disk is None:
            problem = problem or "no disk found matching provided parameters"
        schematic, version = _image(install.get("image", ""))
        if not problem and not self.world.image_exists(install.get("image", "")):
            problem = f'error pulling image "{install.get("image", "")}": not found'
        seconds = self._jitter(PULL) + self._jitter(INSTALL) + (effect.latency if effect else 0.0)
        if problem or disk is None:
            self.state.problem = problem
            self.agenda.set("install-failed", self._jitter(INSTALL_FAILURE))
            return
        if effect and effect.stop:
            return  # it hangs in the installer
        self.state.wanted = (version, schematic)
        self.state.system_disk = disk.name
        # The disk is written over early in the run of the installer: a power cut after this point leaves it unbootable.
        disk.install()
        self.state.installs += 1
        self.agenda.set("installed", seconds)

    def bootstrap(self, label: str) -> None:
        """Start a new etcd on this machine. Raises Refused as Talos does; see `LabCluster.bootstrap` for the cluster's part."""
        if not self.control_plane:
            raise Refused("FailedPrecondition", "bootstrap can only be performed on a control plane node")
        if not self.cri_up:
            raise Refused("FailedPrecondition", "bootstrap is not available yet")
        if not self.time_in_sync:
            raise Refused("FailedPrecondition", "time is not in sync yet")
        if self.state.etcd is not None:
            raise Refused("AlreadyExists", "etcd data directory is not empty")
        self.state.etcd = Membership(label, f"{self.rng.getrandbits(64):016x}")
        self._set_service("etcd", "Preparing", "?", "Running pre state")
        self.agenda.cancel("etcd-join")
        self.state.etcd_joining = False
        self.agenda.set("etcd-up", self._jitter(ETCD_START))

    def join(self) -> None:
        """Begin to join the etcd that other members run; see `LabCluster.settle`."""
        self.state.etcd_joining = True
        self.agenda.set("etcd-join", self._jitter(ETCD_JOIN))

    def joined(self, label: str) -> None:
        """Become a learner of an etcd."""
        self.state.etcd = Membership(label, f"{self.rng.getrandbits(64):016x}", learner=True)
        self._set_service("etcd", "Running", "OK", "Health check successful")
        self.agenda.set("etcd-promote", self._jitter(ETCD_PROMOTE))

    def leave_etcd(self) -> None:
        """Its member is gone, and its data with it; Talos then joins anew."""
        self.state.etcd = None
        for timer in ("etcd-up", "etcd-promote"):
            self.agenda.cancel(timer)
        if self.control_plane and self.cri_up:
            self._set_service("etcd", "Preparing", "?", "Running pre state")
        self._changed()

    def reboot(self, *, seconds: float = 0.0) -> None:
        """Go down and come back."""
        self._go_down("rebooting")
        effect = self._fault("boot")
        if effect and effect.stop:
            self.state.stage = "off"
            self._changed()
            return
        extra = effect.latency if effect else 0.0
        self.agenda.set("booted", self._jitter(REBOOT) + seconds + extra)

    def upgrade(self, image: str, *, stage: bool = False) -> None:
        """Install another image and boot it. Raises Refused."""
        if not self.world.image_exists(image):
            raise Refused("InvalidArgument", f'error validating installer image "{image}": failed to pull image')
        schematic, version = _image(image)
        self.state.wanted = (version or self.state.version, schematic)
        if stage:
            return
        self.state.stage = "upgrading"
        self.agenda.set("upgraded", self._jitter(PULL) + self._jitter(DRAIN))
        self._changed()

    def rollback(self) -> None:
        """Boot the image before. Raises Refused."""
        if self.state.previous is None:
            raise Refused("FailedPrecondition", "previous UKI not found")
        self.state.wanted = self.state.previous
        self.reboot()

    def reset(self, labels: Sequence[str], *, reboot: bool, mode: str, disks: Sequence[str]) -> None:
        """Forget: the labelled partitions of the system disk, or all of it; and the named data disks."""
        for path in disks if mode in ("all", "user-disks") else ():
            for disk in self.disks:
                if disk.path == path:
                    disk.wipe()
        if mode != "user-disks":
            wipe = set(labels) or {"STATE", "EPHEMERAL", "ALL"}
            if "STATE" in wipe:
                self.state.config = self.state.staged = self.state.fallback = ""
            if "EPHEMERAL" in wipe:
                self.state.etcd = None
            if "ALL" in wipe:
                for disk in self.disks:
                    if disk.name == self.state.system_disk:
                        disk.wipe()
                self.state.system_disk = self.state.schematic = ""
        self._go_down("resetting")
        if reboot:
            self.agenda.set("booted", self._jitter(REBOOT))
        else:
            self.state.powered = False
            self.state.stage = "off"
        self._changed()

    def power(self, on: bool) -> None:
        """Pull the plug, or put it in again."""
        self.state.powered = on
        if not on:
            self._go_down("off")
        elif self.state.stage == "off":
            self.state.stage = "rebooting"
            self.agenda.set("booted", self._jitter(REBOOT))
        self._changed()

    # --- what happens by itself ------------------------------------------------------------------------------------

    def _fire(self, what: str) -> None:
        {
            "installed": self._installed,
            "install-failed": self._install_failed,
            "booted": self._booted,
            "cri": self._cri,
            "kubelet": self._kubelet,
            "etcd-up": self._etcd_up,
            "etcd-join": self._etcd_join,
            "etcd-promote": self._etcd_promote,
            "pods": self._pods,
            "upgraded": self.reboot,
            "try-over": self._try_over,
        }[what]()
        self._changed()

    def _installed(self) -> None:
        self.state.config, self.state.pending = self.state.pending, ""
        self.state.address_since = self.clock.seconds()
        self.reboot()

    def _install_failed(self) -> None:
        """Talos reboots after a failed sequence, and finds no config."""
        self.state.pending = ""
        self.state.stage = "rebooting"
        self.agenda.set("booted", self._jitter(REBOOT))

    def _booted(self) -> None:
        state = self.state
        state.powered = True
        state.boots += 1
        state.boot_id = self._new_id()
        state.booted_at = self.clock.seconds()
        if state.staged:
            state.config, state.staged = state.staged, ""
        if state.wanted is not None:
            if state.schematic or state.installs > 1:
                state.previous = (state.version, state.schematic)
            (state.version, state.schematic), state.wanted = state.wanted, None
        if not state.config:
            state.stage = "maintenance"
            state.services = {}
            return
        state.stage = "booting"
        for name in ("machined", "syslogd", "auditd", "containerd", "apid", "dashboard"):
            self._set_service(name, "Running", "?" if name in ("machined", "auditd", "dashboard") else "OK", _STARTED)
        self._set_service("udevd", "Running", "OK", "Health check successful")
        self._set_service("cri", "Preparing", "?", "Running pre state")
        self._set_service("kubelet", "Waiting", "?", 'Waiting for service "cri" to be "up", time sync, network')
        if self.control_plane:
            self._set_service("trustd", "Running", "OK", "Health check successful")
            self._set_service(
                "etcd", "Waiting", "?", 'Waiting for service "cri" to be "up", time sync, network, etcd spec'
            )
        self.agenda.set("cri", self._jitter(CRI))

    def _cri(self) -> None:
        self._set_service("cri", "Running", "OK", "Health check successful")
        self.agenda.set("kubelet", self._jitter(KUBELET))
        if self.control_plane:
            self._set_service("etcd", "Preparing", "?", "Running pre state")
            if self.state.etcd is not None:
                self.agenda.set("etcd-up", self._jitter(ETCD_START))

    def _kubelet(self) -> None:
        self._set_service("kubelet", "Running", "OK", "Health check successful")

    def _etcd_up(self) -> None:
        if self.state.etcd is not None:
            self._set_service("etcd", "Running", "OK", "Health check successful")
            if self.state.etcd.learner:
                self.agenda.set("etcd-promote", self._jitter(ETCD_PROMOTE))

    def _etcd_join(self) -> None:
        self.state.etcd_joining = False
        if self.cluster is not None:
            self.cluster.admit(self)

    def _etcd_promote(self) -> None:
        if self.state.etcd is not None:
            self.state.etcd.learner = False

    def _pods(self) -> None:
        self.state.pods_up = True

    def _try_over(self) -> None:
        if self.state.fallback:
            self.state.config, self.state.fallback = self.state.fallback, ""

    def want_pods(self) -> None:
        """The control plane's static pods start, once etcd runs here."""
        if not self.state.pods_up and "pods" not in self.agenda:
            self.agenda.set("pods", self._jitter(STATIC_PODS))

    def _go_down(self, stage: str) -> None:
        self.agenda.clear()
        self.state.stage = stage
        self.state.services = {}
        self.state.pods_up = False
        self.state.etcd_joining = False
        self._changed()

    def _set_service(self, name: str, state: str, health: str, message: str) -> None:
        self.state.services[name] = Service(state, health, round(self.clock.seconds(), 3), message)

    def _changed(self) -> None:
        for cluster in self.world.clusters.values():
            cluster.settle()

    def _fault(self, verb: str) -> Effect | None:
        return self.world.faults.find(
            Happening(
                self.name, verb, node=self.node.name, cluster=self.cluster_config.get("clusterName", self.node.cluster)
            )
        )

    def _jitter(self, span: tuple[float, float]) -> float:
        return self.rng.uniform(*span)

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))


_STARTED = "Service started as goroutine"


def _image(image: str) -> tuple[str, str]:
    """(schematic, version) of an installer image; the schematic is empty for images that are not a factory's."""
    path, _, version = image.rpartition(":")
    if "installer/" in path and path.split("/")[-2] in ("metal-installer", "metal-installer-secureboot", "installer"):
        last = path.rsplit("/", 1)[-1]
        return (last if len(last) == 64 else ""), version
    return "", version


def _without_immediate(document: Document) -> Document:
    machine = {k: v for k, v in (document.get("machine") or {}).items() if k not in IMMEDIATE_MACHINE}
    return {"machine": machine, "persist": document.get("persist")}


def _within(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except (ValueError, TypeError):
        return False


def _mac(number: int) -> str:
    return "02:00:00:" + ":".join(f"{(number >> shift) & 255:02x}" for shift in (16, 8, 0))


def _rng_state(state: tuple[Any, ...]) -> list[Any]:
    return [state[0], list(state[1]), state[2]]
