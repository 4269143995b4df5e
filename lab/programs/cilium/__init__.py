"""The `cilium` program: cilium-cli v0.18.8 as recorded."""

from __future__ import annotations

from lab.programs.access import ConfigError
from lab.programs.call import Call
from lab.programs.cilium import commands, connectivity, mesh, status
from lab.programs.cilium.base import Fail

COMMANDS = {
    **commands.COMMANDS,
    **status.COMMANDS,
    **mesh.COMMANDS,
    **connectivity.COMMANDS,
}


async def run(call: Call) -> int:
    """Play one command; its exit status."""
    name = "_".join(call.command).replace("-", "_")
    try:
        if name not in COMMANDS:
            raise Fail(f"the lab does not play `cilium {' '.join(call.command)}`")
        await COMMANDS[name](call)
    except ConfigError as error:
        call.err(f"unable to create Kubernetes client: {error}\n")
        return 1
    except Fail as error:
        call.err(f"\nError: {error}\n" if error.titled else f"{error}\n")
        return 1
    return 0
