"""The simulated command line tools: one module a tool, each with `async def run(call: Call) -> int`.

`run` is the one way in: it parses as the real tool does, plays the faults that the world file scripts for the call, runs the
tool, and leaves one entry in the world's record.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, cast

from lab.faults import Effect, Happening
from lab.programs import cobra, standin

if TYPE_CHECKING:
    from lab.programs.call import Call

TOOLS = ("talosctl", "helm", "cilium", "flux", "hubble", "op")
UNPARSED = ("op",)  # no recorded command table: the tool reads its own arguments
LOG = logging.getLogger("lab.programs")

Run = Callable[["Call"], Awaitable[int]]


class _Tool(Protocol):
    run: Run


async def run(call: Call) -> int:
    """Run one call to its exit code. A cancelled call (its client has gone) is recorded as failed."""
    tool = call.argv[0].rsplit("/", 1)[-1]
    at = call.world.record.stamp()
    rc = 1
    with call.world.clock.hold():
        try:
            rc = await _run(tool, call)
        finally:
            call.world.record.add(
                actor=tool,
                via="cli",
                what=" ".join((tool, *call.command)),
                argv=call.argv,
                mutates=call.mutated,
                ok=rc == 0,
                at=at,
            )
    return rc


async def _run(tool: str, call: Call) -> int:
    if tool in call.world.stand_ins:
        return standin.run(call)
    if tool not in UNPARSED:
        parsed = cobra.parse(tool, call.argv)
        if isinstance(parsed, cobra.Refusal):
            call.out(parsed.stdout)
            call.err(parsed.stderr)
            return parsed.rc
        call.command, call.flags, call.given, call.args = parsed.command, parsed.flags, parsed.given, parsed.args
    else:
        call.command, call.args = tuple(call.argv[1:2]), call.argv[1:]
    effect = _effect(tool, call)
    if effect is None:
        return await _tool(tool)(call)
    return await _with(effect, _tool(tool), call)


def _tool(tool: str) -> Run:
    module = importlib.import_module(f"lab.programs.{tool}")
    return cast(_Tool, module).run


def _effect(tool: str, call: Call) -> Effect | None:
    if not call.world.faults.rules:
        return None
    node, cluster = _about(call)
    happening = Happening(tool, " ".join(call.command), argv=" ".join(call.argv[1:]), node=node, cluster=cluster)
    call.effect = call.world.faults.find(happening)
    return call.effect


def _about(call: Call) -> tuple[str, str]:
    """The node and the cluster that a command line names: by --nodes, or by a context called like the cluster."""
    for address in call.flags.get("nodes") or ():
        machine = call.world.machine_at(address)
        known = [m for m in call.world.machines.values() if str(m.node.address) == address]
        found = machine or (known[0] if known else None)
        if found is not None:
            return found.node.name, found.node.cluster
    context = str(call.flags.get("kube-context") or call.flags.get("context") or "").removeprefix("admin@")
    return "", context if context in call.world.clusters else ""


async def _with(effect: Effect, tool: Run, call: Call) -> int:
    """Play a scripted fault around a call: before it, on its output, on its exit status."""
    if effect.hang and effect.before:
        await asyncio.Event().wait()
    if effect.latency:
        await call.sleep(effect.latency)
    if effect.before:
        call.out(effect.stdout or "")
        call.err(effect.stderr or "")
        return effect.exit or 0
    write, held = call.write, bytearray()

    def hold_back(stream: int, data: bytes) -> None:
        if stream == 1 and (effect.stdout is not None or effect.truncate is not None or effect.garble):
            held.extend(data)
        elif stream == 1 or effect.stderr is None:
            write(stream, data)

    call.write = hold_back
    try:
        rc = await tool(call)
    finally:
        call.write = write
    if effect.hang:
        await asyncio.Event().wait()
    text = bytes(held) if effect.stdout is None else effect.stdout.encode()
    if effect.garble:
        text = bytes(b ^ 0x80 if i % 3 == 0 else b for i, b in enumerate(text))
    write(1, text if effect.truncate is None else text[: effect.truncate])
    if effect.stderr is not None:
        write(2, effect.stderr.encode())
    return rc if effect.exit is None else effect.exit
