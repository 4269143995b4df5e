"""The `flux` program: v2.7.5 as recorded. Progress and errors go to stderr, tables and exports to stdout."""

from __future__ import annotations

import re

from lab.programs.call import Call
from lab.programs.flux import bootstrap, check, inspect, objects
from lab.programs.flux.base import REFUSED, VERSION, Fail

COMMANDS = {**check.COMMANDS, **bootstrap.COMMANDS, **objects.COMMANDS, **inspect.COMMANDS}


async def run(call: Call) -> int:
    """Play one command; its exit status."""
    name = "_".join(call.command).replace("-", "_")
    if not name and call.flags.get("version"):
        call.out(f"flux version {VERSION.removeprefix('v')}\n")
        return 0
    try:
        space = call.flags.get("namespace", "")
        if space and not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", space):
            raise Fail(f'namespace must be a valid DNS label: "{space}"')
        if name not in COMMANDS:
            raise Fail(f"the lab does not play `flux {' '.join(call.command)}`")
        await COMMANDS[name](call)
    except Fail as error:
        if str(error):
            call.err(f"✗ {error}\n")
        return error.rc
    except REFUSED as error:
        call.err(f"✗ {error}\n")
        return 1
    return 0
