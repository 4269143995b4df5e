"""What talosctl asks of a node: apply-config, bootstrap, kubeconfig, reboot, reset, upgrade, rollback, services, version, wipe.

Source: talos `cmd/talosctl/cmd/talos`, v1.11.2; recorded/talosctl/{node,dead}-*.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lab import etcdfile
from lab.machines import Refused
from lab.programs.talosctl.local import CLIENT_VERSION
from lab.programs.talosctl.resources import unmet_conditions
from lab.programs.talosctl.session import RpcError, ToolError, connect, table
from lab.talos import goyaml

if TYPE_CHECKING:
    from lab.machines import Machine
    from lab.programs.call import Call

RETRY_SECONDS = 1.0
SHA = "511b4d2e"


async def apply_config(call: Call) -> int:
    """`apply-config -f FILE`: in maintenance mode it starts the installation."""
    flags = call.flags
    name = flags["file"] or (call.args[0] if call.args else "")
    if not name:
        raise ToolError("no filename supplied for configuration")
    if flags["mode"] == "interactive":
        raise ToolError("interactive mode needs a terminal")
    client = connect(call, insecure=flags["insecure"])
    try:
        text = call.path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise ToolError(f'failed to read configuration from "{name}": open {name}: {_reason(error)}') from None
    for patch in flags["config-patch"]:
        text = _patched(call, text, patch)
    nodes = client.nodes[:1] if flags["insecure"] else client.nodes
    for node in nodes:
        try:
            machine = client.machine(node)
            _check_fingerprint(flags["cert-fingerprint"], machine, insecure=flags["insecure"])
            maintenance = not machine.configured
            if not flags["dry-run"]:
                call.mutates()
            warnings, used, details = machine.apply(
                text, flags["mode"], dry_run=flags["dry-run"], timeout=flags["timeout"]
            )
        except (RpcError, Refused) as error:
            raise ToolError(f"error applying new configuration: {_rpc(error)}") from None
        for warning in warnings:
            call.err(f"WARNING: {warning}\n")
        call.err(_applied(used, details, dry_run=flags["dry-run"], maintenance=maintenance, timeout=flags["timeout"]))
    return 0


def _applied(mode: str, details: str, *, dry_run: bool, maintenance: bool, timeout: float) -> str:
    if maintenance:
        return f"Dry run summary:\n{details}\n" if dry_run else ""
    text = {
        "no-reboot": "Applied configuration without a reboot",
        "reboot": "Applied configuration with a reboot",
        "staged": "Staged configuration to be applied after the next reboot",
        "try": f"The config is applied in 'try' mode and will be automatically reverted back in {go_duration(timeout)}",
    }[mode]
    if dry_run:
        return f"Dry run summary:\n{text} (skipped in dry-run).\n{details}\n"
    return f"{text}: {details}\n" if details else f"{text}\n"


def _check_fingerprint(wanted: list[str], machine: Machine, *, insecure: bool) -> None:
    if wanted and insecure and machine.fingerprint not in wanted:
        raise RpcError(
            "Unavailable",
            "connection error: desc = \"transport: authentication handshake failed: leaf peer certificate doesn't match the "
            f'provided fingerprints: [{" ".join(wanted)}]"',
        )


def _patched(call: Call, text: str, patch: str) -> str:
    from lab.talos import config as machineconfig

    if patch.startswith("@"):
        patch = call.path(patch[1:]).read_text(encoding="utf-8")
    try:
        documents, _ = machineconfig.apply_patches(machineconfig.load(text), [patch])
    except machineconfig.ConfigError as error:
        raise ToolError(str(error)) from None
    return machineconfig.dump(documents)


async def bootstrap(call: Call) -> int:
    """`bootstrap`: begin etcd on the node, from nothing or from a snapshot."""
    client = connect(call, single="bootstrap")
    snapshot: dict[str, Any] | None = None
    if source := call.flags["recover-from"]:
        try:
            snapshot = etcdfile.read(call.path(source))
        except (OSError, ValueError) as error:
            raise ToolError(f"error uploading snapshot: {error}") from None
    try:
        machine = client.first()
        cluster = machine.cluster
        call.mutates()
        if cluster is None:
            machine.bootstrap(machine.node.name)
        else:
            cluster.bootstrap(machine, snapshot)
    except (RpcError, Refused) as error:
        raise ToolError(f"error executing bootstrap: {_rpc(error)}") from None
    return 0


async def kubeconfig(call: Call) -> int:
    """`kubeconfig [PATH]`: written or merged; it does not prove that the API answers."""
    client = connect(call, single="kubeconfig")
    flags = call.flags
    try:
        machine = client.first()
        if machine.cluster is None or not machine.control_plane:
            raise RpcError("Unimplemented", "kubeconfig is not available on worker nodes")
        text = machine.cluster.kubeconfig(machine)
    except RpcError as error:
        raise ToolError(f"error copying: {error}") from None
    target = call.args[0] if call.args else ""
    if target == "-" and not flags["merge"]:
        call.out(text)
        return 0
    path = call.path(target) if target else Path(call.env.get("HOME", str(call.cwd))) / ".kube" / "config"
    if path.is_dir():
        path = path / "kubeconfig"
    if not flags["merge"]:
        if path.exists() and not flags["force"]:
            raise ToolError(f'kubeconfig file already exists, use --force to overwrite: "{target or path}"')
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, text)
        return 0
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, text)
    merged, renamed = _merge(yaml.safe_load(path.read_text(encoding="utf-8")) or {}, yaml.safe_load(text), flags)
    _write(path, goyaml.dump_sorted(merged))
    for line in renamed:
        call.out(line)
    return 0


def _merge(config: dict[str, Any], new: dict[str, Any], flags: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Merge as clientcmd does it with Talos' rules: --force overwrites, else what differs is renamed.

    Source: recorded node-kubeconfig-merge*, node-kubeconfig-force-context-name-*.
    """
    wanted = flags["force-context-name"]
    lines: list[str] = []
    names: dict[str, str] = {}
    for part in ("clusters", "users", "contexts"):
        entries = config.setdefault(part, []) or []
        config[part] = entries
        for entry in new[part]:
            entry = dict(entry)
            name = entry["name"]
            if part == "contexts" and wanted:
                entry["name"] = _free(entries, wanted) if not flags["force"] and name in _names(entries) else wanted
                if not flags["force"] and entry["name"] == wanted and name in _names(entries):
                    entry["name"] = f"{wanted}-1"
                lines.append(f'renamed context "{name}" -> "{entry["name"]}"\n')
            elif name in _names(entries) and not flags["force"] and part == "contexts":
                entry["name"] = _free(entries, name)
            names[f"{part}/{name}"] = entry["name"]
            entries[:] = [e for e in entries if e["name"] != entry["name"]] + [entry]
        entries.sort(key=lambda e: str(e["name"]))
    current = new["current-context"]
    config["current-context"] = names.get(f"contexts/{current}", current)
    config.setdefault("apiVersion", "v1")
    config.setdefault("kind", "Config")
    return config, lines


def _names(entries: list[dict[str, Any]]) -> set[str]:
    return {e["name"] for e in entries}


def _free(entries: list[dict[str, Any]], name: str) -> str:
    taken, count = _names(entries), 1
    while f"{name}-{count}" in taken:
        count += 1
    return f"{name}-{count}"


async def reboot(call: Call) -> int:
    """`reboot`: waits for the new boot unless told not to."""
    return await _watched(call, "reboot", lambda machine: machine.reboot())


async def shutdown(call: Call) -> int:
    """`shutdown`: power off."""
    return await _watched(call, "shutdown", lambda machine: machine.power(False), back=False)


async def reset(call: Call) -> int:
    """`reset`: wipe what is named, by default the whole system disk and etcd's membership."""
    flags = call.flags
    labels = flags["system-labels-to-wipe"]

    def act(machine: Machine) -> None:
        if flags["graceful"] and machine.state.etcd is not None and machine.cluster is not None:
            if not machine.cluster.has_quorum(machine.state.etcd.cluster):
                raise Refused("FailedPrecondition", "etcd quorum is not satisfied")
            machine.state.etcd = None
        machine.reset(labels, reboot=flags["reboot"], mode=flags["wipe-mode"], disks=flags["user-disks-to-wipe"])

    return await _watched(call, "reset", act, back=bool(flags["reboot"]))


async def upgrade(call: Call) -> int:
    """`upgrade --image IMAGE`."""
    flags = call.flags
    image = flags["image"] or "ghcr.io/siderolabs/installer:v1.11.2"

    def act(machine: Machine) -> None:
        cluster = machine.cluster
        if cluster is not None and machine.state.etcd is not None and not flags["force"]:
            etcd = cluster.etcd_of(machine)
            members = cluster.members(etcd.label) if etcd else []
            if len(members) == 2:
                raise Refused(
                    "FailedPrecondition",
                    f"failed to acquire upgrade mutex: etcd member count({len(members)}) is insufficient to maintain quorum "
                    "if upgrade commences",
                )
            sick = [m for m in members if not m.etcd_running and m is not machine]
            if sick:
                raise Refused(
                    "FailedPrecondition",
                    f"failed to acquire upgrade mutex: etcd member {sick[0].hostname} is not healthy",
                )
        machine.upgrade(image, stage=flags["stage"])

    if not flags["wait"]:
        client = connect(call)
        rows = [["NODE", "ACK", "STARTED"]]
        for node in client.nodes:
            try:
                machine = client.machine(node)
                call.mutates()
                act(machine)
            except (RpcError, Refused) as error:
                raise ToolError(f"error performing upgrade: {_rpc(error)}") from None
            now = call.clock.now()
            rows.append([node, "Upgrade request received", f"{now:%Y-%m-%d %H:%M:%S.%f}000 +0000 UTC m=+0.039284623"])
        call.out(table([[*row[:-1], row[-1].ljust(len(rows[-1][-1]))] for row in rows]))
        return 0
    return await _watched(call, "upgrade", act)


async def rollback(call: Call) -> int:
    """`rollback`: boot the other image."""
    client = connect(call)
    for node in client.nodes:
        try:
            machine = client.machine(node)
            call.mutates()
            machine.rollback()
        except (RpcError, Refused) as error:
            raise ToolError(f"error executing rollback: {_rpc(error)}") from None
    return 0


async def _watched(call: Call, sequence: str, act: Callable[[Machine], None], *, back: bool = True) -> int:
    """Act on every node, then follow each by its events until it is back. Exit 1 at the timeout."""
    client = connect(call)
    if not call.flags.get("wait", True):
        for node in client.nodes:
            try:
                machine = client.machine(node)
                call.mutates()
                act(machine)
            except (RpcError, Refused) as error:
                raise ToolError(f"error executing {sequence}: {_rpc(error)}") from None
        return 0
    limit = float(call.flags.get("timeout") or 1800.0)
    results = await asyncio.gather(
        *(_follow(call, client.machine, n, sequence, act, limit, back) for n in client.nodes)
    )
    return 0 if all(results) else 1


async def _follow(
    call: Call,
    machine_of: Callable[[str], Machine],
    node: str,
    sequence: str,
    act: Callable[[Machine], None],
    limit: float,
    back: bool,
) -> bool:
    end = call.clock.seconds() + limit
    said = False
    while True:
        try:
            machine = machine_of(node)
            break
        except RpcError as error:
            if not said:
                call.err(f'"{node}": {error}\n"{node}": unavailable, retrying...\n')
                said = True
            if call.clock.seconds() >= end:
                return False
            await call.sleep(RETRY_SECONDS)
    call.err(f'"{node}": waiting for actor ID\n')
    before = machine.state.boot_id
    try:
        call.mutates()
        act(machine)
    except Refused as error:
        call.err(f'"{node}": rpc error: code = {error.code} desc = {error.text}\n')
        return False
    call.err(f'"{node}": actor ID: {machine.uuid[:8]}-{machine.state.boots}\n')
    if sequence in ("reboot", "upgrade"):
        call.err(
            f'"{node}": sequence: {sequence} action: START\n"{node}": phase: drain action: START\n'
            f'"{node}": task: cordonAndDrainNode action: START\n"{node}": sequence: {sequence} action: STOP\n'
        )
    call.err(f'"{node}": stage: REBOOTING ready: false unmetCond: []\n')
    while back and not await _is_back(machine, before):
        if call.clock.seconds() >= end:
            return False
        await call.sleep(RETRY_SECONDS)
    call.err(f'"{node}": events check condition met\n"{node}": post check passed\n')
    return True


async def _is_back(machine: Machine, before: str) -> bool:
    if machine.state.boot_id == before or not machine.answers:
        return False
    if machine.state.stage == "maintenance":
        return True
    return machine.stage() == "running" and not await unmet_conditions(machine)


async def service(call: Call) -> int:
    """`service [NAME [ACTION]]`: a table, or one service's events."""
    client = connect(call)
    name = call.args[0] if call.args else ""
    action = call.args[1] if len(call.args) > 1 else "status"
    rows = [["NODE", "SERVICE", "STATE", "HEALTH", "LAST CHANGE", "LAST EVENT"]]
    found = False
    errors: list[str] = []
    for node in client.nodes:
        try:
            machine = client.machine(node)
        except RpcError as error:
            errors.append(str(error))
            continue
        found = _one_node(call, machine, node, name, action, rows) or found
    if errors and len(errors) == len(client.nodes):
        raise ToolError(f"error listing services: {errors[0]}")
    if name and not found:
        raise ToolError(f'service "{name}" is not registered on any nodes')
    if not name:
        call.out(table(rows))
    return 0


def _one_node(call: Call, machine: Machine, node: str, name: str, action: str, rows: list[list[str]]) -> bool:
    found = False
    for key, state in sorted(machine.state.services.items()):
        age = f"{go_duration(round(call.clock.seconds() - state.since))} ago"
        rows.append([node, key, state.state, state.health, age, state.message])
        if key == name:
            found = True
            if action == "status":
                call.out(
                    f"NODE     {node}\nID       {key}\nSTATE    {state.state}\nHEALTH   {state.health}\n"
                    f"EVENTS   [{state.state}]: {state.message} ({age})\n"
                )
            elif action == "restart" and key not in ("machined", "apid", "etcd", "udevd"):
                call.mutates()
                call.out(table([["NODE", "RESPONSE"], [node, f'Service "{key}" restarted']]))
            else:
                raise ToolError(
                    f'error: rpc error: code = Unknown desc = service "{key}" doesn\'t support {action} operation via API'
                )
    return found


async def version(call: Call) -> int:
    """`version`: client and node."""
    flags = call.flags
    short = flags["short"]
    as_json = bool(flags.get("json"))
    client_part = "Client:\nTalos v1.11.2\n" if short else f"Client:\n{CLIENT_VERSION}"
    if flags["client"] and not as_json:
        call.out(client_part)
        return 0
    client = connect(call, insecure=flags["insecure"])
    if not as_json:
        call.out(client_part + "Server:\n")
    for node in client.nodes:
        try:
            machine = client.machine(node)
        except RpcError as error:
            raise ToolError(f"error getting version: {error}") from None
        if not machine.configured:
            raise ToolError(
                "error getting version: rpc error: code = Unimplemented desc = API is not implemented in maintenance mode"
            )
        tag = machine.state.version
        if as_json:
            call.out(
                f'{{"metadata":{{"hostname":"{node}"}}, "version":{{"tag":"{tag}", "sha":"{SHA}", "goVersion":"go1.24.7", '
                '"os":"linux", "arch":"amd64"}, "platform":{"name":"metal", "mode":"metal"}, "features":{"rbac":true}}\n'
            )
        else:
            call.out(
                f"\tNODE:        {node}\n\tTag:         {tag}\n\tSHA:         {SHA}\n\tBuilt:       \n"
                "\tGo version:  go1.24.7\n\tOS/Arch:     linux/amd64\n\tEnabled:     RBAC\n"
            )
    return 0


async def wipe_disk(call: Call) -> int:
    """`wipe disk NAME...`: refused for disks in use."""
    client = connect(call, insecure=call.flags["insecure"])
    for node in client.nodes[:1] if call.flags["insecure"] else client.nodes:
        try:
            machine = client.machine(node)
        except RpcError as error:
            raise ToolError(f"error wiping block devices: {error}") from None
        for name in call.args:
            disk = next((d for d in machine.disks if d.name == name), None)
            if disk is None:
                raise ToolError(
                    f'error wiping block devices: rpc error: code = NotFound desc = blockdevice "{name}" not found'
                )
            if name == machine.state.system_disk and machine.configured:
                raise ToolError(
                    "error wiping block devices: rpc error: code = FailedPrecondition "
                    f'desc = blockdevice "{name}" is in use by disk "/dev/{name}"'
                )
            call.mutates()
            disk.wipe()
    return 0


async def upgrade_k8s(call: Call) -> int:
    """`upgrade-k8s`: one control plane upgrades the whole cluster."""
    client = connect(call, single="upgrade-k8s")
    target = str(call.flags["to"]).removeprefix("v")
    try:
        machine = client.first()
    except RpcError as error:
        raise ToolError(
            f"error detecting the lowest Kubernetes version error building kubernetes client: {error}"
        ) from None
    cluster = machine.cluster
    if cluster is None or not cluster.up:
        raise ToolError("error detecting the lowest Kubernetes version: the Kubernetes API does not answer")
    kubelets = [(m.hostname, m) for m in machine.world.machines.values() if m.cluster is cluster and m.configured]
    current = min((_kubelet_version(m) for _, m in kubelets), default="1.33.5")
    call.err(f"automatically detected the lowest Kubernetes version {current}\n")
    if current.split(".")[:2] != target.split(".")[:2] and int(target.split(".")[1]) - int(current.split(".")[1]) != 1:
        raise ToolError(
            f'unsupported upgrade path {".".join(current.split(".")[:2])}->{".".join(target.split(".")[:2])} (from "{current}" to "{target}")'
        )
    verb = "would be updated" if call.flags["dry-run"] else "updated"
    for name, m in kubelets:
        call.err(f' > "{m.address}": kubelet: v{_kubelet_version(m)} -> v{target} ({verb})\n')
        if not call.flags["dry-run"]:
            call.mutates()
            await call.sleep(30.0)
            await cluster.set_kubelet_version(name, m, f"v{target}")
    return 0


def _kubelet_version(machine: Machine) -> str:
    image = str((machine.machine_config.get("kubelet") or {}).get("image", ""))
    return image.rsplit(":v", 1)[-1] or "1.33.5"


def go_duration(seconds: float) -> str:
    """As Go prints a duration of whole seconds."""
    total = int(seconds)
    hours, minutes, rest = total // 3600, total % 3600 // 60, total % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _rpc(error: RpcError | Refused) -> str:
    return str(error) if isinstance(error, RpcError) else f"rpc error: code = {error.code} desc = {error.text}"


def _reason(error: OSError) -> str:
    return {2: "no such file or directory", 13: "permission denied"}.get(error.errno or 0, str(error.strerror).lower())


def _write(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
