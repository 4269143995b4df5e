"""How talosctl reaches nodes: client config, endpoints, TLS trust, proxying from the endpoint to the node, and gRPC errors.

Source: talos `pkg/machinery/client`, `cmd/talosctl/pkg/talos/global`, v1.11.2; recorded/talosctl/{dead,node}-*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lab.kube.plain import clone
from lab.programs import cobra
from lab.talos import secrets

if TYPE_CHECKING:
    from lab.machines import Machine
    from lab.programs.call import Call

QUICK = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # read at every call
NODES_NOT_SET = "nodes are not set for the command: please use `--nodes` flag or configuration file to set the nodes to run the command against"


class ToolError(Exception):
    """talosctl ends with exit 1 and this text; `usage` prints the command's help after it."""

    def __init__(self, text: str, *, usage: bool = False) -> None:
        super().__init__(text)
        self.usage = usage


class RpcError(Exception):
    """A gRPC error, as Go prints one."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Client:
    """What a call of talosctl connects with. `context` is None with --insecure."""

    call: Call
    endpoints: tuple[str, ...]
    nodes: tuple[str, ...]
    context: dict[str, Any] | None

    def machine(self, node: str) -> Machine:
        """The machine that answers for `node`. Raises RpcError when nothing does, or no trust comes about."""
        if self.context is None:
            return self._insecure(node)
        door = self._door()
        self._trust(door)
        target = self._at(node) if node not in door.addresses else door
        if target is None:
            raise unreachable(self.call, node)
        if target is not door:
            self._trust(target)
        return target

    def first(self) -> Machine:
        """The machine of the only node."""
        return self.machine(self.nodes[0])

    def _door(self) -> Machine:
        for endpoint in self.endpoints:
            machine = self._at(endpoint)
            if machine is not None:
                return machine
        raise unreachable(self.call, self.endpoints[0])

    def _at(self, address: str) -> Machine | None:
        effect = self.call.effect
        if effect is not None and effect.wrong_cluster:
            return next(
                (m for m in self.call.world.machines.values() if m.answers and m.node.cluster == effect.wrong_cluster),
                None,
            )
        return self.call.world.machine_at(address)

    def _trust(self, machine: Machine) -> None:
        try:
            secrets.check_trust(self.context or {}, machine.ca)
        except secrets.TrustError as error:
            raise RpcError("Unavailable", str(error)) from None

    def _insecure(self, node: str) -> Machine:
        machine = self._at(node)
        if machine is None:
            raise unreachable(self.call, node)
        if machine.configured:
            # A race on the real thing: the server may close before or after the client has written.
            texts = (
                'connection error: desc = "error reading server preface: remote error: tls: certificate required"',
                f"write tcp 127.0.0.1:{40000 + machine.rng.randrange(20000)}->{node}:50000: write: broken pipe",
            )
            raise RpcError("Unavailable", machine.rng.choice(texts))
        return machine


def unreachable(call: Call, address: str) -> RpcError:
    """What dialling `address` gives: nothing there at all, or a machine that does not listen now."""
    there = [m for m in call.world.machines.values() if address in m.addresses and m.state.powered]
    loopback = address.startswith("127.")
    reason = "connection refused" if there or loopback else "no route to host"
    return RpcError(
        "Unavailable",
        f'connection error: desc = "transport: Error while dialing: dial tcp {address}:50000: connect: {reason}"',
    )


def config_path(call: Call) -> Path:
    """The client config in use."""
    named = call.flags.get("talosconfig") or call.env.get("TALOSCONFIG", "")
    return call.path(named) if named else Path(call.env.get("HOME", str(call.cwd))) / ".talos" / "config"


def load_config(path: Path) -> dict[str, Any]:
    """A client config; a missing file counts as an empty one, as with the real tool."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return {"context": "", "contexts": {}}
    config = clone(_parsed(text))
    return {"context": config.get("context", ""), "contexts": config.get("contexts") or {}}


@lru_cache(maxsize=16)
def _parsed(text: str) -> dict[str, Any]:
    """Read once: almost every command begins with it."""
    return yaml.load(text, Loader=QUICK) or {}


def connect(call: Call, *, insecure: bool = False, single: str = "") -> Client:
    """The client of a call. `single` names the command that refuses several nodes. Raises ToolError as the real tool does."""
    nodes = tuple(call.flags.get("nodes") or ())
    endpoints = tuple(call.flags.get("endpoints") or ())
    if insecure:
        if not nodes:
            raise ToolError(NODES_NOT_SET, usage=True)
        return Client(call, nodes, nodes, None)
    config = load_config(config_path(call))
    name = call.flags.get("context") or config["context"]
    context = config["contexts"].get(name)
    if call.flags.get("context") and context is None:
        raise ToolError(f'error constructing client: context "{name}" not found')
    endpoints = endpoints or tuple((context or {}).get("endpoints") or ())
    if not endpoints:
        raise ToolError("error constructing client: failed to determine endpoints")
    nodes = nodes or tuple((context or {}).get("nodes") or ())
    if not nodes:
        raise ToolError(NODES_NOT_SET, usage=True)
    if single and len(nodes) > 1:
        raise ToolError(f'command "{single}" is not supported with multiple nodes', usage=True)
    return Client(call, endpoints, nodes, context if context is not None else {})


def usage(call: Call) -> str:
    """Help of the command, as it follows errors."""
    return "\n" + cobra.usage("talosctl", cobra.commands("talosctl")[call.command])


def multi(errors: Sequence[str]) -> str:
    """hashicorp/go-multierror's text."""
    head = "1 error occurred:" if len(errors) == 1 else f"{len(errors)} errors occurred:"
    return head + "\n" + "".join(f"\t* {e}\n" for e in errors) + "\n"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as Go's tabwriter aligns them with three blanks: the last is not padded."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["   ".join(c.ljust(w) for c, w in zip(row[:-1], widths, strict=False)) for row in rows]
    return "".join(f"{line}   {row[-1]}\n" for line, row in zip(lines, rows, strict=True))
