"""The simulated talosctl 1.11.2."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from lab.programs.talosctl import etcd, health, local, node, resources
from lab.programs.talosctl.session import RpcError, ToolError, usage

if TYPE_CHECKING:
    from lab.programs.call import Call

LOCAL: dict[tuple[str, ...], Callable[[Call], int]] = {
    ("gen", "secrets"): local.gen_secrets,
    ("gen", "config"): local.gen_config,
    ("machineconfig", "gen"): local.machineconfig_gen,
    ("machineconfig", "patch"): local.machineconfig_patch,
    ("validate",): local.validate,
    ("config", "endpoint"): local.config_endpoint,
    ("config", "node"): local.config_node,
    ("config", "context"): local.config_context,
    ("config", "contexts"): local.config_contexts,
    ("config", "merge"): local.config_merge,
    ("config", "remove"): local.config_remove,
    ("config", "info"): local.config_info,
    ("image", "default"): local.image_default,
}
REMOTE: dict[tuple[str, ...], Callable[[Call], Awaitable[int]]] = {
    ("get",): resources.get,
    ("apply-config",): node.apply_config,
    ("bootstrap",): node.bootstrap,
    ("kubeconfig",): node.kubeconfig,
    ("reboot",): node.reboot,
    ("shutdown",): node.shutdown,
    ("reset",): node.reset,
    ("upgrade",): node.upgrade,
    ("upgrade-k8s",): node.upgrade_k8s,
    ("rollback",): node.rollback,
    ("service",): node.service,
    ("version",): node.version,
    ("wipe", "disk"): node.wipe_disk,
    ("health",): health.health,
    ("etcd", "members"): etcd.members,
    ("etcd", "status"): etcd.status,
    ("etcd", "alarm", "list"): etcd.alarm_list,
    ("etcd", "alarm", "disarm"): etcd.alarm_disarm,
    ("etcd", "snapshot"): etcd.snapshot,
    ("etcd", "forfeit-leadership"): etcd.forfeit,
    ("etcd", "leave"): etcd.leave,
    ("etcd", "remove-member"): etcd.remove_member,
    ("etcd", "defrag"): etcd.defrag,
}


async def run(call: Call) -> int:
    """Run one command. Everything but gen, machineconfig, validate and config talks to a node."""
    try:
        if call.command in LOCAL:
            return LOCAL[call.command](call)
        handler = REMOTE.get(call.command)
        if handler is None:
            raise ToolError(f"the lab does not play `talosctl {' '.join(call.command)}`")
        return await handler(call)
    except ToolError as error:
        call.err(f"{error}\n" + (usage(call) if error.usage else ""))
    except RpcError as error:
        call.err(f"{error}\n")
    return 1
