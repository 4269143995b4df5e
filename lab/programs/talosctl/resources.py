"""`talosctl get`: Talos' resources of a machine, and their three renderings.

Source: talos `pkg/machinery/resources`, `cmd/talosctl/cmd/talos/{get,output}`, v1.11.2; recorded/talosctl/node-get-*.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.hardware import pretty
from lab.programs.talosctl.session import Client, RpcError, ToolError, connect, multi, table
from lab.talos import goyaml

if TYPE_CHECKING:
    from lab.machines import Machine
    from lab.programs.call import Call

Spec = dict[str, Any]
Items = Sequence[tuple[str, Spec]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource type: its names, where it lives, what it holds and which columns its table has."""

    type: str
    singular: str
    namespace: str
    aliases: tuple[str, ...]
    items: Callable[[Machine], Awaitable[Items]]
    columns: tuple[tuple[str, Callable[[Spec], str]], ...] = ()
    sensitive: bool = False  # not readable in maintenance mode


def text(key: str) -> Callable[[Spec], str]:
    """A column that shows one field."""
    return lambda spec: shown(spec.get(key))


def shown(value: Any) -> str:
    """A value as Go templates print it into a table."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else str(value)


async def get(call: Call) -> int:
    """`get TYPE [ID]`."""
    output = call.flags["output"]
    if output not in ("table", "json", "yaml") and not output.startswith("jsonpath="):
        raise ToolError(f'output format "{output}" is not supported')
    client = connect(call, insecure=call.flags["insecure"])
    wanted = call.args[0].lower()
    identifier = call.args[1] if len(call.args) > 1 else ""
    errors: list[str] = []
    rows: list[list[str]] = []
    kind: Kind | None = None
    single_error: Exception | None = None
    for node in client.nodes if not call.flags["insecure"] else client.nodes[:1]:
        try:
            machine = client.machine(node)
            kind = kind or kind_of(wanted)
            if wanted == "rd":
                rows += _definition(node, identifier)
                continue
            items = await _items(kind, machine, identifier, insecure=call.flags["insecure"])
        except RpcError as error:
            single_error = error
            errors.append(str(error))
            continue
        _render(call, client, kind, node, items, rows, output)
    if rows and output == "table":
        call.out(table(rows))
    if errors:
        plain = len(client.nodes) == 1 and not isinstance(single_error, _MissingError)
        raise ToolError(errors[0] if plain or len(errors) == len(client.nodes) > 1 else multi(errors))
    return 0


class _MissingError(RpcError):
    pass


async def _items(kind: Kind, machine: Machine, identifier: str, *, insecure: bool) -> Items:
    if insecure and kind.sensitive:
        raise RpcError("PermissionDenied", "not authorized")
    items = await kind.items(machine)
    if identifier:
        items = [i for i in items if i[0] == identifier]
        if not items:
            raise _MissingError(
                "NotFound", f"resource {kind.type}({kind.namespace}/{identifier}@undefined) doesn't exist"
            )
    return items


def kind_of(name: str) -> Kind:
    """The type called `name`. Raises RpcError, also where several start with it."""
    if name == "rd":
        return KINDS[0]
    exact = [k for k in KINDS if name in _names(k)]
    if exact:
        return exact[0]
    if name in AMBIGUOUS:
        raise RpcError("InvalidArgument", f'resource type "{name}" is ambiguous: [{AMBIGUOUS[name]}]')
    raise RpcError("NotFound", f'resource "{name}" is not registered')


AMBIGUOUS = {
    "ms": "machinestatuses.runtime.talos.dev manifeststatuses.kubernetes.talos.dev memorystats.perf.talos.dev "
    "mountstatuses.block.talos.dev",
}


def _names(kind: Kind) -> set[str]:
    plural = kind.type.lower()
    return {plural, plural.split(".")[0], kind.singular.lower(), *kind.aliases}


def _definition(node: str, identifier: str) -> list[list[str]]:
    rows = [["NODE", "NAMESPACE", "TYPE", "ID", "VERSION", "ALIASES"]]
    for kind in KINDS:
        plural = kind.type.lower()
        if not identifier or identifier.lower() in _names(kind):
            rows.append(
                [node, "meta", "ResourceDefinition", plural, "1", " ".join((kind.singular.lower(), *kind.aliases))]
            )
    return rows


def _render(
    call: Call, client: Client, kind: Kind, node: str, items: Items, rows: list[list[str]], output: str
) -> None:
    shown_node = "" if client.context is None else node
    stamp = call.world.record.stamp()[:19] + "Z"
    printed = []
    for index, (identifier, spec) in enumerate(items):
        if output == "table":
            if not rows:
                rows.append(["NODE", "NAMESPACE", "TYPE", "ID", "VERSION", *(name for name, _ in kind.columns)])
            rows.append(
                [shown_node, kind.namespace, kind.singular, identifier, "1", *(f(spec) for _, f in kind.columns)]
            )
        elif output == "yaml":
            printed.append(("---\n" if index else "") + _yaml(kind, shown_node, identifier, spec, stamp))
        elif output == "json":
            printed.append(json.dumps(_object(kind, shown_node, identifier, spec, stamp), indent=4, sort_keys=True) + "\n")
        else:
            found = _jsonpath(_object(kind, shown_node, identifier, spec, stamp), output.removeprefix("jsonpath="))
            call.out(shown(found) + "\n")
    call.out("".join(printed))


def _object(kind: Kind, node: str, identifier: str, spec: Spec, stamp: str) -> dict[str, Any]:
    number = int(identifier) if re.fullmatch(r"0|[1-9]\d*", identifier) else None
    metadata = {
        "created": stamp,
        "id": identifier if number is None else number,
        "namespace": kind.namespace,
        "owner": None,
        "phase": "running",
        "type": kind.type,
        "updated": stamp,
        "version": 1,
    }
    return {"metadata": metadata, "node": node, "spec": spec}


def _yaml(kind: Kind, node: str, identifier: str, spec: Spec, stamp: str) -> str:
    head = (
        f"node: {node}\nmetadata:\n    namespace: {kind.namespace}\n    type: {kind.type}\n    id: {identifier}\n"
        f"    version: 1\n    owner:\n    phase: running\n    created: {stamp}\n    updated: {stamp}\n"
    )
    return head + goyaml.dump({"spec": spec})


def _jsonpath(value: Any, path: str) -> Any:
    for part in re.findall(r"[\w-]+", path.strip("{}")):
        value = value.get(part) if isinstance(value, dict) else None
    return value


# --- what each type holds ----------------------------------------------------------------------------------------------


async def machine_status(machine: Machine) -> Items:
    """Stage, and what is missing for ready."""
    stage = machine.stage()
    unmet = [] if stage == "maintenance" else await unmet_conditions(machine)
    return [("machine", {"stage": stage, "status": {"ready": not unmet, "unmetConditions": unmet}})]


async def unmet_conditions(machine: Machine) -> list[dict[str, str]]:
    """Why a machine is not ready. Source: `machine_status.go`, v1.11.2."""
    unmet: list[dict[str, str]] = []
    if not machine.time_in_sync:
        unmet.append({"name": "time", "reason": "time is not in sync"})
    services = machine.state.services
    waiting = [n for n in ("apid", "cri", "etcd", "kubelet") if n in services and not _is_up(services[n])]
    if waiting:
        unmet.append({"name": "services", "reason": ", ".join(f"{n} not running" for n in waiting)})
    if machine.control_plane and not machine.state.pods_up:
        unmet.append({"name": "staticPods", "reason": "static pods are not ready"})
    node = await node_of(machine)
    if node is None:
        unmet.append({"name": "nodeReady", "reason": f'node "{machine.hostname}" status is not available yet'})
    elif not node_ready(node):
        unmet.append({"name": "nodeReady", "reason": f'node "{machine.hostname}" is not ready'})
    return unmet


def _is_up(service: Any) -> bool:
    return bool(service.state in ("Running", "Finished") and service.health != "Fail")


async def node_of(machine: Machine) -> dict[str, Any] | None:
    """The Kubernetes Node of a machine, where its API answers."""
    cluster = machine.cluster
    if cluster is None or not cluster.up:
        return None
    return await cluster.port.get("v1/nodes", machine.hostname)


def node_ready(node: dict[str, Any]) -> bool:
    """Whether a Node is Ready."""
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def version(machine: Machine) -> Items:
    """The running Talos."""
    return [("version", {"version": machine.state.version})]


async def services(machine: Machine) -> Items:
    """Every service of Talos."""
    return [
        (
            name,
            {
                "healthy": s.healthy if s.health != "?" else s.state == "Running",
                "running": s.running,
                "unknown": s.health == "?",
            },
        )
        for name, s in sorted(machine.state.services.items())
    ]


async def members(machine: Machine) -> Items:
    """What the discovery service knows: every configured machine of the same cluster that answers."""
    found = []
    if machine.configured:
        for other in machine.world.machines.values():
            if other.configured and other.answers and other.identity == machine.identity:
                spec: Spec = {
                    "addresses": other.addresses,
                    "hostname": other.hostname,
                    "machineType": other.machine_config.get("type", ""),
                    "nodeId": other.uuid.replace("-", ""),
                    "operatingSystem": f"Talos ({other.state.version})",
                }
                if other.control_plane:
                    spec["controlPlane"] = {"port": 6443}
                found.append((other.hostname, spec))
    return sorted(found, key=lambda item: item[0])


async def disks(machine: Machine) -> Items:
    """Every block device."""
    return [(d.name, _disk(d, i)) for i, d in enumerate(sorted(machine.disks, key=lambda d: d.name))]


def _disk(disk: Any, index: int) -> Spec:
    spec: Spec = {
        "bus_path": f"/pci0000:00/0000:00:{index:02x}.0",
        "cdrom": disk.cdrom,
        "dev_path": disk.path,
        "io_size": 512,
        "model": disk.model,
        "pretty_size": pretty(disk.size),
        "readonly": disk.readonly,
        "rotational": disk.rotational,
        "sector_size": 512,
        "serial": disk.serial,
        "size": disk.size,
        "sub_system": "/sys/class/block",
        "transport": disk.transport,
        "wwid": disk.wwid,
    }
    if disk.serial:
        prefix = "nvme" if disk.transport == "nvme" else "ata"
        spec["symlinks"] = [f"/dev/disk/by-id/{prefix}-{disk.model.replace(' ', '_')}_{disk.serial}"]
    kept = ("readonly", "cdrom")
    return {k: v for k, v in spec.items() if v not in ("", False) or k in kept}


async def discovered_volumes(machine: Machine) -> Items:
    """What stands on the disks: `name` is empty or absent where nothing was found."""
    found: list[tuple[str, Spec]] = []
    for disk in sorted(machine.disks, key=lambda d: d.name):
        if disk.name == "loop0":
            found.append((disk.name, _volume(disk.name, "disk", "", "squashfs", disk.size, "", "")))
            continue
        found.append((disk.name, _volume(disk.name, "disk", "", disk.signature, disk.size, "", "")))
        for i, volume in enumerate(disk.volumes):
            name = disk.partition(i)
            label = volume.label if volume.filesystem else ""
            found.append(
                (name, _volume(name, "partition", disk.name, volume.filesystem, volume.size, label, volume.label))
            )
    return found


def _volume(name: str, kind: str, parent: str, signature: str, size: int, label: str, partition: str) -> Spec:
    spec: Spec = {
        "dev_path": f"/dev/{name}",
        "device_path": f"/devices/pci0000:00/{name}",
        "io_size": 512,
        "label": label,
        "name": signature,
        "parent": parent,
        "partition_label": partition,
        "pretty_size": pretty(size),
        "sector_size": 512,
        "size": size,
        "type": kind,
    }
    return {k: v for k, v in spec.items() if v != ""}


async def system_disk(machine: Machine) -> Items:
    """Where Talos is installed; nothing in maintenance mode."""
    name = machine.state.system_disk
    return [("system-disk", {"devPath": f"/dev/{name}", "diskID": name})] if name and machine.configured else []


async def system_information(machine: Machine) -> Items:
    """SMBIOS."""
    spec = {"manufacturer": "ACME", "productName": "Mini", "serialnumber": machine.serial, "uuid": machine.uuid}
    return [("systeminformation", spec)]


async def links(machine: Machine) -> Items:
    """Network links: the loopback and the one card."""
    loopback = {
        "broadcastAddr": "00:00:00:00:00:00",
        "flags": "UP,LOOPBACK,RUNNING,LOWER_UP",
        "hardwareAddr": "00:00:00:00:00:00",
        "index": 1,
        "kind": "",
        "linkIndex": 0,
        "linkState": True,
        "mtu": 65536,
        "operationalState": "unknown",
        "queueDisc": "noqueue",
        "slaveKind": "",
        "type": "loopback",
    }
    card = {
        "broadcastAddr": "ff:ff:ff:ff:ff:ff",
        "driver": "igc",
        "duplex": "Full",
        "flags": "UP,BROADCAST,RUNNING,MULTICAST,LOWER_UP",
        "hardwareAddr": machine.mac,
        "index": 2,
        "kind": "",
        "linkIndex": 0,
        "linkState": True,
        "mtu": 1500,
        "operationalState": "up",
        "permanentAddr": machine.mac,
        "port": "TwistedPair",
        "queueDisc": "mq",
        "slaveKind": "",
        "type": "ether",
    }
    return [(machine.link, card), ("lo", loopback)]


async def addresses(machine: Machine) -> Items:
    """Addresses of the card, the virtual one included on the machine that holds it."""
    held = list(machine.addresses)
    cluster = machine.cluster
    if cluster is not None and cluster.up and cluster.holder_of_vip() is machine:
        held.append(str(cluster.spec.endpoint.vip))
    return [
        (
            f"{machine.link}/{a}/24",
            {"address": f"{a}/24", "family": "inet6" if ":" in a else "inet4", "linkName": machine.link},
        )
        for a in held
    ]


async def etcd_members(machine: Machine) -> Items:
    """This machine's member, which exists once it has joined."""
    etcd = machine.state.etcd
    return [("local", {"memberID": etcd.member})] if etcd is not None and machine.etcd_running else []


async def node_status(machine: Machine) -> Items:
    """The Node as Kubernetes has it."""
    node = await node_of(machine)
    if node is None:
        return []
    meta = node["metadata"]
    spec = {
        "annotations": meta.get("annotations") or {},
        "labels": meta.get("labels") or {},
        "nodeReady": node_ready(node),
        "nodename": meta["name"],
        "unschedulable": bool(node.get("spec", {}).get("unschedulable")),
    }
    return [(meta["name"], spec)]


async def extensions(machine: Machine) -> Items:
    """System extensions of the running image, and its schematic."""
    schematic = machine.state.schematic
    if not schematic:
        return []
    factory = machine.world.factory
    names = factory.extensions(schematic) if factory is not None else []
    versions = factory.extension_versions() if factory is not None else {}
    found: list[tuple[str, Spec]] = []
    for i, name in enumerate(names):
        short, tag = name.rsplit("/", 1)[-1], versions.get(name, "v1")
        found.append((str(i), _extension(f"{i:03d}.ghcr.io-siderolabs-{short}-{tag}.sqsh", short, tag)))
    number = len(names)
    found.append((str(number), _extension(f"{number:03d}.schematic.sqsh", "schematic", schematic)))
    return found


def _extension(image: str, name: str, tag: str) -> Spec:
    metadata = {
        "author": "Image Factory" if name == "schematic" else "Sidero Labs",
        "compatibility": {"talos": {"version": ""}},
        "description": "",
        "name": name,
        "version": tag,
    }
    return {"image": image, "metadata": metadata}


async def diagnostics(machine: Machine) -> Items:
    """What Talos warns of; empty on a sound machine."""
    found: list[tuple[str, Spec]] = []
    overlap = machine.address_overlap()
    if overlap:
        found.append(
            (
                "address-overlap",
                {"details": overlap, "message": "host and Kubernetes pod/service CIDR addresses overlap"},
            )
        )
    cluster = machine.cluster
    if cluster is not None and await cluster.serving_certificate_pending(machine):
        message = "kubelet server certificate rotation is enabled, but CSR is not approved"
        details = ["kubelet API error: remote error: tls: internal error", "pending CSRs: " + machine.hostname]
        found.append(("kubelet-csr", {"details": details, "message": message}))
    return found


async def static_pods(machine: Machine) -> Items:
    """The control plane's pods on this machine."""
    if not machine.state.pods_up:
        return []
    spec = {"conditions": [{"status": "True", "type": "Ready"}], "phase": "Running"}
    names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    return [(f"kube-system/{n}-{machine.hostname}", spec) for n in names]


async def volumes(machine: Machine) -> Items:
    """Talos' own volumes."""
    disk = next((d for d in machine.disks if d.name == machine.state.system_disk), None)
    if disk is None or not machine.configured:
        return []
    found = []
    for i, volume in enumerate(disk.volumes):
        spec = {
            "filesystem": volume.filesystem,
            "location": f"/dev/{disk.partition(i)}",
            "parentLocation": disk.path,
            "phase": "ready",
            "prettySize": pretty(volume.size),
            "size": volume.size,
            "type": "partition",
        }
        found.append((volume.label, {k: v for k, v in spec.items() if v != ""}))
    return found


async def machine_config(machine: Machine) -> Items:
    """The whole config; holds every secret."""
    return [("v1alpha1", machine.document)] if machine.configured else []


async def hostname(machine: Machine) -> Items:
    """The host name."""
    return [("hostname", {"domainname": "", "hostname": machine.hostname})]


async def time_status(machine: Machine) -> Items:
    """Whether NTP has set the clock."""
    return [("node", {"epoch": 1, "synced": machine.time_in_sync, "syncDisabled": False})]


async def kubeprism(machine: Machine) -> Items:
    """KubePrism, once the API can be reached through it."""
    cluster = machine.cluster
    healthy = machine.configured and cluster is not None and cluster.up
    return [("k8s-loadbalancer", {"healthy": healthy, "host": "127.0.0.1:7445"})] if machine.configured else []


async def machine_type(machine: Machine) -> Items:
    """controlplane or worker."""
    return [("machine-type", machine.machine_config.get("type", "unknown"))] if machine.configured else []


KINDS: tuple[Kind, ...] = (
    Kind("MachineStatuses.runtime.talos.dev", "MachineStatus", "runtime", (), machine_status,
         (("STAGE", text("stage")), ("READY", lambda s: shown(s["status"]["ready"])))),
    Kind("Versions.runtime.talos.dev", "Version", "runtime", (), version, (("VERSION", text("version")),)),
    Kind("Services.v1alpha1.talos.dev", "Service", "runtime", ("svc",), services,
         (("RUNNING", text("running")), ("HEALTHY", text("healthy")), ("HEALTH UNKNOWN", text("unknown")))),
    Kind("Members.cluster.talos.dev", "Member", "cluster", (), members,
         (("HOSTNAME", text("hostname")), ("MACHINE TYPE", text("machineType")), ("OS", text("operatingSystem")),
          ("ADDRESSES", text("addresses")))),
    Kind("Disks.block.talos.dev", "Disk", "runtime", ("d",), disks,
         (("SIZE", text("pretty_size")), ("READ ONLY", text("readonly")), ("TRANSPORT", text("transport")),
          ("ROTATIONAL", text("rotational")), ("WWID", text("wwid")), ("MODEL", text("model")), ("SERIAL", text("serial")))),
    Kind("DiscoveredVolumes.block.talos.dev", "DiscoveredVolume", "runtime", ("dv",), discovered_volumes,
         (("TYPE", text("type")), ("SIZE", text("pretty_size")), ("DISCOVERED", text("name")), ("LABEL", text("label")),
          ("PARTITIONLABEL", text("partition_label")))),
    Kind("SystemDisks.block.talos.dev", "SystemDisk", "runtime", (), system_disk, (("DISK", text("diskID")),)),
    Kind("SystemInformations.hardware.talos.dev", "SystemInformation", "hardware", (), system_information,
         (("MANUFACTURER", text("manufacturer")), ("PRODUCTNAME", text("productName")), ("SERIALNUMBER", text("serialnumber")),
          ("UUID", text("uuid")))),
    Kind("LinkStatuses.net.talos.dev", "LinkStatus", "network", ("link", "links"), links,
         (("TYPE", text("type")), ("KIND", text("kind")), ("HW ADDR", text("hardwareAddr")), ("OPER STATE", text("operationalState")),
          ("LINK STATE", text("linkState")))),
    Kind("AddressStatuses.net.talos.dev", "AddressStatus", "network", ("address", "addresses"), addresses,
         (("ADDRESS", text("address")), ("LINK", text("linkName")))),
    Kind("EtcdMembers.etcd.talos.dev", "EtcdMember", "etcd", (), etcd_members, (("ID", text("memberID")),)),
    Kind("NodeStatuses.kubernetes.talos.dev", "NodeStatus", "k8s", (), node_status,
         (("READY", text("nodeReady")), ("UNSCHEDULABLE", text("unschedulable")))),
    Kind("ExtensionStatuses.runtime.talos.dev", "ExtensionStatus", "runtime", ("extensions", "extension"), extensions,
         (("NAME", lambda s: str(s["metadata"]["name"])), ("VERSION", lambda s: str(s["metadata"]["version"])))),
    Kind("Diagnostics.runtime.talos.dev", "Diagnostic", "runtime", (), diagnostics, (("MESSAGE", text("message")),)),
    Kind("StaticPodStatuses.kubernetes.talos.dev", "StaticPodStatus", "k8s", (), static_pods,
         (("READY", lambda s: str(s["conditions"][0]["status"])),)),
    Kind("VolumeStatuses.block.talos.dev", "VolumeStatus", "runtime", ("vs",), volumes,
         (("TYPE", text("type")), ("PHASE", text("phase")), ("LOCATION", text("location")), ("SIZE", text("prettySize")))),
    Kind("MachineConfigs.config.talos.dev", "MachineConfig", "config", ("mc",), machine_config, sensitive=True),
    Kind("HostnameStatuses.net.talos.dev", "HostnameStatus", "network", ("hostname",), hostname,
         (("HOSTNAME", text("hostname")), ("DOMAINNAME", text("domainname")))),
    Kind("TimeStatuses.v1alpha1.talos.dev", "TimeStatus", "runtime", ("timestatus",), time_status, (("SYNCED", text("synced")),)),
    Kind("KubePrismStatuses.kubernetes.talos.dev", "KubePrismStatus", "k8s", (), kubeprism, (("HEALTHY", text("healthy")),)),
    Kind("MachineTypes.config.talos.dev", "MachineType", "config", (), machine_type),
)  # fmt: skip
