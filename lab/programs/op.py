"""The simulated 1Password CLI: `op read REFERENCE`, `op item create|edit` as far as the product keeps secrets there, `op whoami`.

There is no recording of the real program; texts are those of its documentation (op 2.x).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.programs.call import Call


async def run(call: Call) -> int:
    """Run one command on the world's vaults (`World.vaults`: reference -> value)."""
    words = [w for w in call.args if not w.startswith("-")]
    vaults = call.world.vaults
    if call.args == ["--version"]:
        call.out("2.32.0\n")
        return 0
    match words:
        case ["whoami"]:
            call.out("URL:        https://my.1password.com\nUser Type:  SERVICE_ACCOUNT\n")
            return 0
        case ["read", reference, *_]:
            if reference not in vaults:
                return _error(call, f"could not read secret '{reference}': could not find item")
            call.out(
                vaults[reference] if "--no-newline" in call.args or "-n" in call.args else vaults[reference] + "\n"
            )
            return 0
        case ["item", ("create" | "edit"), *_]:
            return _keep(call)
        case _:
            return _error(call, f'unknown command "{" ".join(words[:2])}" for "op"')


def _keep(call: Call) -> int:
    """An item as a JSON template on standard input, with --vault (and --title)."""
    try:
        template = json.loads(call.stdin)
        vault = _flag(call, "--vault")
        title = _flag(call, "--title") or template["title"]
        fields = {f.get("label") or f["id"]: f["value"] for f in template["fields"]}
    except (ValueError, KeyError, TypeError) as error:
        return _error(call, f"invalid JSON in piped input: {error}")
    call.mutates()
    for label, value in fields.items():
        call.world.vaults[f"op://{vault}/{title}/{label}"] = value
    call.out(f"Title:    {title}\nVault:    {vault}\n")
    return 0


def _flag(call: Call, name: str) -> str:
    for i, word in enumerate(call.args):
        if word == name and i + 1 < len(call.args):
            return call.args[i + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return ""


def _error(call: Call, text: str) -> int:
    call.err(f"[ERROR] {call.clock.now():%Y/%m/%d %H:%M:%S} {text}\n")
    return 1
