"""talosctl: argv, and judges of what Talos nodes answer. Source: foundation.md 1-4; talosctl v1.11."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from inventory.model import Cluster, DiskSelector, Node, Role, Site
from orchestrator.model.check import Answers
from orchestrator.model.query import Answer, Secret, ToolQuery
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from orchestrator.tools.answers import dig, last_line, listed, parsed, said, stream
from orchestrator.tools.paths import Local
from orchestrator.tools.text import duration

ASK = timedelta(seconds=20)


# --- addresses and files ---------------------------------------------------------------------------------------------


def maintenance_address(node: Node) -> str:
    """Where the node answers before it has a configuration."""
    return str(node.maintenance_address or node.address)


def endpoint(cluster: Cluster) -> str:
    """Host of the Kubernetes endpoint as nodes and certificates name it."""
    return str(cluster.endpoint.host or cluster.endpoint.vip)


def endpoint_url(cluster: Cluster) -> str:
    """URL of the Kubernetes endpoint."""
    host = endpoint(cluster)
    return f"https://[{host}]:{cluster.endpoint.port}" if ":" in host else f"https://{host}:{cluster.endpoint.port}"


def bundle(cluster: Cluster) -> tuple[str, Secret | None]:
    """The secrets bundle as talosctl reads it: its path, or standard input and what goes there (nothing lies around then)."""
    ref = cluster.talos_secrets
    return (ref.rest, None) if ref.scheme == "file" else ("/dev/stdin", Secret(str(ref)))


def control_plane_addresses(site: Site, cluster: Cluster) -> tuple[str, ...]:
    return tuple(str(node.address) for node in site.control_planes(cluster.name))


# --- argv ------------------------------------------------------------------------------------------------------------


def at(node: Node, *words: str) -> tuple[str, ...]:
    """A call of one configured node, asked directly."""
    address = str(node.address)
    return ("talosctl", "--talosconfig", Local(node.cluster).talosconfig, "-e", address, "-n", address, *words)


def get(node: Node, *what: str) -> ToolQuery:
    """Resources of a configured node."""
    return ToolQuery(at(node, "get", *what, "-o", "json"), within=ASK)


def get_insecure(node: Node, what: str) -> ToolQuery:
    """Resources of a node in maintenance mode: one node a call, the flag after the verb (foundation.md 1)."""
    address = maintenance_address(node)
    return ToolQuery(("talosctl", "-n", address, "-e", address, "get", what, "--insecure", "-o", "json"), within=ASK)


def gen_secrets(site: Site, cluster: Cluster) -> tuple[str, ...]:
    """New PKI, once in a cluster's life; never `--force`: every configured node would be orphaned."""
    return ("talosctl", "gen", "secrets", "--talos-version", minor(site.versions.talos), "-o", Local(cluster.name).bundle)


def minor(version: str) -> str:
    """`v1.11` of `v1.11.2`: the contract of a generated configuration."""
    return ".".join(version.split(".")[:2])


def gen_config(site: Site, cluster: Cluster, *, image: str) -> tuple[str, ...]:
    """Configurations of both roles. `--force` is safe: the PKI comes from the bundle (foundation.md 3.2)."""
    local = Local(cluster.name)
    path, _ = bundle(cluster)
    sans = dict.fromkeys((endpoint(cluster), *control_plane_addresses(site, cluster)))
    return (
        *("talosctl", "gen", "config", cluster.name, endpoint_url(cluster), "--with-secrets", path),
        *("--kubernetes-version", site.versions.kubernetes, "--talos-version", minor(site.versions.talos)),
        *("--install-image", image, "--dns-domain", cluster.domain, "--additional-sans", ",".join(sans)),
        *("--config-patch", f"@{local.patch('all')}", "--config-patch-control-plane", f"@{local.patch('controlplane')}"),
        *("--with-docs=false", "--with-examples=false", "--output-types", "controlplane,worker", "--output", local.generated, "--force"),
    )


def gen_talosconfig(cluster: Cluster) -> tuple[str, ...]:
    """The client's credentials, from the bundle alone."""
    path, _ = bundle(cluster)
    return (
        *("talosctl", "gen", "config", cluster.name, endpoint_url(cluster), "--with-secrets", path),
        *("--output-types", "talosconfig", "--output", Local(cluster.name).talosconfig, "--force"),
    )


def config_endpoints(site: Site, cluster: Cluster) -> tuple[str, ...]:
    return ("talosctl", "--talosconfig", Local(cluster.name).talosconfig, "config", "endpoint", *control_plane_addresses(site, cluster))


def config_nodes(site: Site, cluster: Cluster) -> tuple[str, ...]:
    first = control_plane_addresses(site, cluster)[0]
    return ("talosctl", "--talosconfig", Local(cluster.name).talosconfig, "config", "node", first)


def config_info(cluster: Cluster) -> ToolQuery:
    return ToolQuery(("talosctl", "--talosconfig", Local(cluster.name).talosconfig, "config", "info", "-o", "json"), within=ASK)


def patch_node(node: Node) -> tuple[str, ...]:
    """The role's configuration with what is this node's alone."""
    local = Local(node.cluster)
    source = f"{local.generated}/{node.role.value}.yaml"
    return ("talosctl", "machineconfig", "patch", source, "--patch", f"@{local.node(node.name + '.patch')}", "--output", local.node(node.name))


def validate(node: Node) -> ToolQuery:
    return ToolQuery(("talosctl", "validate", "-c", Local(node.cluster).node(node.name), "-m", "metal", "--strict"), within=ASK)


def apply_config(node: Node) -> tuple[str, ...]:
    """The first configuration of a node in maintenance mode: it installs to its disk and reboots."""
    address = maintenance_address(node)
    return ("talosctl", "apply-config", "--insecure", "-n", address, "-e", address, "-f", Local(node.cluster).node(node.name))


def bootstrap(node: Node) -> tuple[str, ...]:
    """Start etcd on `node`. Once in a cluster's life: a second node would start a second etcd (foundation.md 4.2)."""
    return at(node, "bootstrap")


def kubeconfig(node: Node) -> tuple[str, ...]:
    return at(node, "kubeconfig", Local(node.cluster).admin_kubeconfig, "--merge=false", "--force")


def etcd_snapshot(node: Node) -> tuple[str, ...]:
    return at(node, "etcd", "snapshot", Local(node.cluster).snapshot)


def etcd_members(node: Node) -> ToolQuery:
    return ToolQuery(at(node, "etcd", "members"), within=ASK)


def etcd_status(node: Node) -> ToolQuery:
    return ToolQuery(at(node, "etcd", "status"), within=ASK)


def health(site: Site, cluster: Cluster, wait: timedelta) -> ToolQuery:
    """Talos' own check of the whole cluster, with the node list, else a missing node goes unnoticed (foundation.md 4.4)."""
    first = site.control_planes(cluster.name)[0]
    workers = [str(node.address) for node in site.nodes_of(cluster.name) if node.role is Role.WORKER]
    nodes = ["--control-plane-nodes", ",".join(control_plane_addresses(site, cluster))]
    if workers:
        nodes += ["--worker-nodes", ",".join(workers)]
    return ToolQuery(at(first, "health", *nodes, "--wait-timeout", duration(wait)), within=wait + timedelta(minutes=1))


# --- the state of a node ---------------------------------------------------------------------------------------------


class NodeState(StrEnum):
    """What a node is, by the words of two calls (foundation.md 1.1)."""

    MAINTENANCE = "maintenance"
    CONFIGURED = "configured"
    UNREACHABLE = "unreachable"
    FOREIGN = "foreign"
    LOCKED = "locked"  # it has a configuration, and this workstation has no talosconfig to ask it with
    UNREAD = "unread"


_DOWN = re.compile(r"connection refused|i/o timeout|no route to host|host is down|network is unreachable|deadline exceeded|connection reset", re.IGNORECASE)
_TLS = re.compile(r"certificate required|broken pipe|tls: |bad certificate|authentication handshake failed", re.IGNORECASE)
_OTHER_CA = re.compile(r"unknown authority|certificate required|bad certificate|unknown certificate", re.IGNORECASE)
_NO_CLIENT = re.compile(r"no context is set|failed to determine endpoints|failed to open|no such file|talos ?config|nodes are not set", re.IGNORECASE)


def state_queries(node: Node) -> tuple[ToolQuery, ToolQuery]:
    """The two calls that tell what a node is: without credentials, and with ours."""
    return get_insecure(node, "machinestatus"), get(node, "machinestatus")


def node_state(insecure: Answer, secure: Answer) -> NodeState:
    """One of NodeState by the answers of `state_queries`. Never guesses: text that is not known is UNREAD."""
    if _stage(insecure) == "maintenance":
        return NodeState.MAINTENANCE
    if _stage(secure) is not None:
        return NodeState.CONFIGURED
    open_words, our_words = _words(insecure), _words(secure)
    if not _down(insecure) and _TLS.search(open_words):
        if _NO_CLIENT.search(our_words) and not _OTHER_CA.search(our_words):
            return NodeState.LOCKED
        return NodeState.FOREIGN if _OTHER_CA.search(our_words) else NodeState.UNREACHABLE if _down(secure) else NodeState.UNREAD
    if _down(insecure) and (_down(secure) or _NO_CLIENT.search(our_words)):
        return NodeState.UNREACHABLE
    return NodeState.UNREAD


def _words(answer: Answer) -> str:
    return answer.unreachable or answer.stderr or answer.stdout


def _down(answer: Answer) -> bool:
    return answer.unreachable is not None or answer.timed_out or (answer.rc != 0 and _DOWN.search(answer.stderr) is not None)


def _stage(answer: Answer) -> str | None:
    if answer.unreachable is not None or answer.rc != 0:
        return None
    objects = _stream(answer)
    stage = dig(objects[0], "spec", "stage") if objects else None
    return stage if isinstance(stage, str) and stage else None


def _stream(answer: Answer) -> list[dict[str, Any]]:
    try:
        return stream(answer.stdout)
    except ValueError:
        return []


def states(nodes: tuple[Node, ...], answers: Answers) -> dict[str, NodeState]:
    """Name -> state, for the answers of every node's `state_queries` in order."""
    return {node.name: node_state(answers[2 * i], answers[2 * i + 1]) for i, node in enumerate(nodes)}


def objects(answer: Answer, what: str) -> list[dict[str, Any]]:
    """The objects that a node gave. Raises ValueError where it gave none because it could not be asked."""
    if answer.unreachable is not None:
        raise ValueError(answer.unreachable)
    if answer.rc != 0:
        raise ValueError(f"{what}: {said(answer)}")
    return stream(answer.stdout)


def unasked(answers: Iterable[Answer]) -> Verdict | None:
    """UNKNOWN where a node did not answer a call."""
    for answer in answers:
        if answer.unreachable is not None:
            return unknown(answer.unreachable)
        if answer.rc != 0:
            return unknown(said(answer))
    return None


# --- who a node is and what it holds ---------------------------------------------------------------------------------


def identity_differences(node: Node, links: list[dict[str, Any]], system: list[dict[str, Any]]) -> list[str]:
    """Why this machine is not the inventory's node: MAC and SMBIOS serial, as far as the inventory knows them."""
    found = []
    macs = {str(dig(link, "spec", key, default="")).lower() for link in links for key in ("permanentAddr", "hardwareAddr")} - {""}
    if node.mac and node.mac.lower() not in macs:
        found.append(f"its MACs are {', '.join(sorted(macs)) or 'none'}, wanted {node.mac.lower()}")
    serial = str(dig(system[0], "spec", "serialnumber", default="")) if system else ""
    if node.serial and serial != node.serial:
        found.append(f"its serial number is {serial or 'not told'}, wanted {node.serial}")
    return found


def matches(selector: DiskSelector, disk: Mapping[str, Any]) -> bool:
    """Whether Talos would take this disk for the selector: exactly the given fields count."""
    spec = dig(disk, "spec", default={})
    exact = {"serial": selector.serial, "wwid": selector.wwid}
    if any(wanted is not None and spec.get(key) != wanted for key, wanted in exact.items()):
        return False
    if selector.model is not None and not _globs(selector.model, str(spec.get("model", ""))):
        return False
    if selector.type is not None and _kind(spec) != selector.type:
        return False
    return selector.size is None or _compares(selector.size, spec.get("size"))


def _globs(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text) is not None


def _kind(spec: Mapping[str, Any]) -> str:
    if spec.get("transport") == "nvme":
        return "nvme"
    if spec.get("transport") == "mmc":
        return "sd"
    return "hdd" if spec.get("rotational") else "ssd"


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def _compares(wanted: str, size_bytes: Any) -> bool:
    match = re.fullmatch(r"\s*(<=|>=|<|>|==)?\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B?)\s*", wanted, re.IGNORECASE)
    if match is None or not isinstance(size_bytes, int):
        return False
    limit = float(match[2]) * _UNITS.get(match[3].upper(), 1)
    return {"<=": size_bytes <= limit, ">=": size_bytes >= limit, "<": size_bytes < limit, ">": size_bytes > limit}.get(match[1] or "==", size_bytes == limit)


def disk_id(disk: Mapping[str, Any]) -> str:
    return str(dig(disk, "metadata", "id", default=""))


def _fitting(selector: DiskSelector, disks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The disks that a selector means. What cannot be written is never meant: loop devices, optical drives."""
    return [disk for disk in disks if not dig(disk, "spec", "readonly") and not dig(disk, "spec", "cdrom") and matches(selector, disk)]


def install_disk(node: Node, disks: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """The one disk that Talos may take whole, and why it may not. -> (id, differences)"""
    fitting = _fitting(node.install_disk, disks)
    if len(fitting) != 1:
        there = ", ".join(f"{disk_id(d)} ({dig(d, 'spec', 'serial', default='no serial')})" for d in disks if not dig(d, "spec", "readonly"))
        return "", [f"{len(fitting)} disks fit {_selector(node.install_disk)}; there are {there or 'none'}"]
    disk = fitting[0]
    return disk_id(disk), [f"{disk_id(disk)} is planned as a data disk" for data in node.data_disks if matches(data, disk)]


def _selector(selector: DiskSelector) -> str:
    return ", ".join(f"{key} {value}" for key, value in selector.model_dump(exclude_none=True).items())


def dirty_data_disks(node: Node, disks: list[dict[str, Any]], volumes: list[dict[str, Any]]) -> list[str]:
    """Data disks that are missing or not blank: a partition, a file system or a BlueStore label is somebody's data."""
    found = []
    for selector in node.data_disks:
        fitting = _fitting(selector, disks)
        if len(fitting) != 1:
            found.append(f"{len(fitting)} disks fit data disk {_selector(selector)}")
            continue
        name = disk_id(fitting[0])
        signs = [dig(v, "spec", "name", default="") for v in volumes if dig(v, "metadata", "id") == name or dig(v, "spec", "parent") == name]
        if any(signs) or any(dig(v, "spec", "parent") == name for v in volumes):
            found.append(f"data disk {name} is not blank: {', '.join(filter(None, signs)) or 'partitions'}")
    return found


def judge_blank(node: Node, answers: Answers) -> Verdict:
    """Whether the machine at this address is the node, with the disk that may be installed to. Answers: links,
    systeminformation, disks, discoveredvolumes; without credentials."""
    silence = unasked(answers)
    if silence is not None:
        return silence
    links, system, disks, volumes = (objects(answer, "maintenance mode") for answer in answers)
    if not links or not disks:
        return unknown(f"{node.name}: the node names no links or disks yet")
    disk, wrong = install_disk(node, disks)
    wrong = identity_differences(node, links, system) + wrong + dirty_data_disks(node, disks, volumes)
    if wrong:
        return unmet(f"{maintenance_address(node)} is not {node.name} as the site has it: {'; '.join(wrong)}", permanent=True)
    return met(f"{node.name}: {node.mac or node.serial or maintenance_address(node)}, installs to {disk}", node=node.name, disk=disk)


def blank_queries(node: Node) -> tuple[ToolQuery, ...]:
    return tuple(get_insecure(node, what) for what in ("links", "systeminformation", "disks", "discoveredvolumes"))


# --- a configured node -----------------------------------------------------------------------------------------------


def installed_queries(node: Node) -> tuple[ToolQuery, ...]:
    return tuple(get(node, what) for what in ("systemdisk", "disks", "version", "extensions"))


def judge_installed(node: Node, version: str, schematic: str | None, answers: Answers) -> Verdict:
    """Right disk, right Talos, right schematic (None: any, an image without extensions may not name it). Answers: systemdisk,
    disks, version, extensions."""
    silence = unasked(answers)
    if silence is not None:
        return silence
    system, disks, versions, extensions = (objects(answer, node.name) for answer in answers)
    if not system or not versions:
        return unknown(f"{node.name} does not tell its disk and version yet")
    on = str(dig(system[0], "spec", "diskID", default=""))
    disk = next((d for d in disks if disk_id(d) == on), {})
    wrong = []
    if not matches(node.install_disk, disk):
        wrong.append(f"it runs from {on} ({dig(disk, 'spec', 'serial', default='no serial')}), wanted {_selector(node.install_disk)}")
    found = str(dig(versions[0], "spec", "version", default=""))
    if found != version:
        wrong.append(f"it runs Talos {found}, wanted {version}")
    image = next((dig(e, "spec", "metadata", "version") for e in extensions if dig(e, "spec", "metadata", "name") == "schematic"), "none")
    if schematic is not None and image == "none":
        return unknown(f"{node.name} does not name its schematic yet")
    if schematic is not None and image != schematic:
        wrong.append(f"its image is of schematic {str(image)[:12]}, wanted {schematic[:12]}")
    if wrong:
        return unmet(f"{node.name} is ours, but {'; '.join(wrong)}", permanent=True)
    return met(f"{node.name} runs Talos {version} from {on}")


def running_query(node: Node) -> tuple[ToolQuery, ...]:
    return get(node, "machinestatus"), get(node, "services", "cri")


def judge_ready_for_bootstrap(answers: Answers) -> Verdict:
    """The container runtime is up and the time is in sync: before that, bootstrap is refused (foundation.md 4.2)."""
    silence = unasked(answers)
    if silence is not None:
        return silence
    machine, service = (objects(answer, "node") for answer in answers)
    if not machine or not service:
        return unmet("the node does not report its container runtime yet")
    conditions = {str(dig(c, "name")) for c in listed(dig(machine[0], "spec", "status", "unmetConditions"))}
    if "time" in conditions:
        return unmet("the time is not in sync yet")
    if not (dig(service[0], "spec", "running") and dig(service[0], "spec", "healthy")):
        return unmet("the container runtime is not healthy yet")
    return met("container runtime healthy, time in sync")


def judge_etcd_started(nodes: tuple[Node, ...], answers: Answers) -> Verdict:
    """Whether etcd was bootstrapped, anywhere. Answers: etcdmembers and the etcd service of every control plane, in order.

    A member on any node proves it, whoever else is silent; its absence is believed only when every node was asked."""
    silence: Verdict | None = None
    starting: list[str] = []
    for i, node in enumerate(nodes):
        members, service = answers[2 * i], answers[2 * i + 1]
        unasked_here = unasked((members, service))
        if unasked_here is not None:
            silence = silence or unknown(f"{node.name} cannot be asked: {unasked_here.reason}")
            continue
        if objects(members, node.name):
            return met(f"{node.name} is a member of etcd", member=node.name)
        if any(dig(o, "spec", "running") for o in objects(service, node.name)):
            starting.append(node.name)
    if silence is not None:
        return silence
    return unknown(f"etcd is starting on {', '.join(starting)}") if starting else unmet("no control plane is a member of etcd")


def etcd_started_queries(nodes: tuple[Node, ...]) -> tuple[ToolQuery, ...]:
    return tuple(query for node in nodes for query in (get(node, "etcdmembers"), get(node, "services", "etcd")))


def table(text: str) -> list[dict[str, str]]:
    """Rows of a talosctl table by its header; columns are where the header's words start. Raises ValueError."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or not lines[0].startswith("NODE"):
        raise ValueError("not a table")
    heads = list(re.finditer(r"\S+(?: \S+)*", lines[0]))
    edges = [(head.group(), head.start(), heads[i + 1].start() if i + 1 < len(heads) else None) for i, head in enumerate(heads)]
    return [{name: line[start:end].strip() for name, start, end in edges} for line in lines[1:]]


def judge_etcd_healthy(nodes: tuple[Node, ...], answers: Answers) -> Verdict:
    """All control planes are voting members of one etcd with one leader. Answers: per node the etcd service, `etcd members`,
    `etcd status` (foundation.md 4.2: asked node by node, since a partial failure exits 0)."""
    views: set[frozenset[str]] = set()
    leaders: set[str] = set()
    for i, node in enumerate(nodes):
        service, members, status = answers[3 * i : 3 * i + 3]
        silence = unasked((service, members, status))
        if silence is not None:
            return unknown(f"{node.name}: {silence.reason}")
        state = objects(service, node.name)
        if not state or not (dig(state[0], "spec", "running") and dig(state[0], "spec", "healthy")):
            return unmet(f"etcd on {node.name} is not healthy yet")
        rows, own = table(members.stdout), table(status.stdout)
        if any(row["LEARNER"] != "false" for row in rows):
            return unmet(f"{node.name} still sees a learner")
        if not own or own[0]["ERRORS"]:
            return unmet(f"etcd on {node.name}: {own[0]['ERRORS'] if own else 'no status'}")
        views.add(frozenset(row["ID"] for row in rows))
        leaders.add(own[0]["LEADER"])
    if len(views) > 1:
        return unmet(f"the nodes see different members of etcd: {' | '.join(' '.join(sorted(v)) for v in sorted(views, key=sorted))}")
    members_seen = len(next(iter(views)))
    if members_seen != len(nodes):
        return unmet(f"etcd has {members_seen} of {len(nodes)} members")
    if len(leaders) != 1 or leaders & {"", "0", "0000000000000000"}:
        return unmet(f"etcd has no single leader: {', '.join(sorted(leaders))}")
    return met(f"etcd: {len(nodes)} of {len(nodes)} members, one leader")


def etcd_healthy_queries(nodes: tuple[Node, ...]) -> tuple[ToolQuery, ...]:
    return tuple(query for node in nodes for query in (get(node, "services", "etcd"), etcd_members(node), etcd_status(node)))


def judge_no_diagnostics(nodes: tuple[Node, ...], answers: Answers) -> Verdict:
    """Talos warns of nothing on any node. Answers: diagnostics of every node."""
    silence = unasked(answers)
    if silence is not None:
        return silence
    warnings = [f"{node.name}: {dig(o, 'spec', 'message', default='?')}" for node, answer in zip(nodes, answers, strict=True) for o in objects(answer, node.name)]
    return unmet("; ".join(warnings)) if warnings else met("no diagnostics")


def judge_valid(nodes: tuple[Node, ...], answers: Answers) -> Verdict:
    """Every generated configuration is one that Talos takes. Answers: `validate` of every node's file."""
    for node, answer in zip(nodes, answers, strict=True):
        if answer.unreachable is not None:
            return unknown(answer.unreachable)
        if answer.rc != 0:
            return unmet(f"{node.name}: {said(answer)}", permanent=True)
        if "is valid for metal mode" not in answer.stdout:
            return unknown(f"{node.name}: talosctl validate said nothing")
    return met(f"{len(nodes)} configurations are valid")


def judge_talosconfig(site: Site, cluster: Cluster, answers: Answers) -> Verdict:
    """The file has the cluster's context and endpoints. Answers: FileRead, `config info`."""
    file, info = answers
    if not isinstance(dig(file.body, "exists"), bool):
        return unknown("the talosconfig cannot be read")
    if not file.body["exists"]:
        return unmet("there is no talosconfig of this cluster here")
    if info.unreachable is not None:
        return unknown(info.unreachable)
    if info.rc != 0:
        return unmet(f"the talosconfig cannot be read: {said(info)}")
    found = parsed(info)
    wanted = {"context": cluster.name, "endpoints": list(control_plane_addresses(site, cluster))}
    different = [f"{key} {found.get(key)}" for key, value in wanted.items() if found.get(key) != value]
    if different:
        return unmet(f"the talosconfig is another: {', '.join(different)}")
    return mode_of(file) or met(f"talosconfig of {cluster.name}")


def mode_of(file: Answer) -> Verdict | None:
    """UNMET where a file that holds keys can be read by others."""
    mode = dig(file.body, "mode")
    return unmet(f"mode {mode:04o}, wanted 0600") if isinstance(mode, int) and mode & 0o077 else None


def judge_health(answers: Answers) -> Verdict:
    """`talosctl health` passed. Its progress and its reason stand on stderr (recorded: node-health)."""
    answer = answers[0]
    if answer.rc == 0 and "waiting for" in answer.stderr:
        return met("talosctl health passed")
    if answer.rc == 0:
        return unknown("talosctl health ended without having checked anything")
    waiting = [line for line in answer.stderr.splitlines() if line.startswith("waiting for") and not line.endswith(("OK", "SKIP", "..."))]
    return unmet(last_line(waiting[-1]) if waiting else said(answer))
