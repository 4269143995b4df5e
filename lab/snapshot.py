"""A whole world as one document: to save and resume a lab, and to put it back within its process."""

from __future__ import annotations

import gzip
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from lab.kube.plain import text, value_of
from lab.world import World

FORMAT = 3
FILE = "world.json.gz"


def take(world: World, credentials: dict[str, Any], ports: dict[str, int]) -> dict[str, Any]:
    """Everything that is needed to go on from here, as JSON values."""
    actors = {actor.name: actor.snapshot() for actor in world.actors()}
    if world.bgp is not None:
        actors[world.bgp.name] = world.bgp.snapshot()
    return {
        "format": FORMAT,
        "site": world.site.name,
        "seed": world.seed,
        "speed": world.clock.speed,
        "elapsed": world.clock.seconds(),
        "ports": ports,
        "credentials": credentials,
        "vaults": dict(world.vaults),
        "record": world.record.snapshot(),
        "faults": world.faults.snapshot(),
        "actors": actors,
    }


def restore(world: World, state: dict[str, Any]) -> None:
    """Put a stopped world into the state of a snapshot of the same site. Raises ValueError where it is of another."""
    if state["format"] != FORMAT or state["site"] != world.site.name:
        raise ValueError(
            f"a snapshot of {state['site']!r} in format {state['format']}, wanted {world.site.name!r} in {FORMAT}"
        )
    world.clock.set(state["elapsed"])
    world.record.restore(state["record"])
    world.faults.restore(state["faults"])
    world.vaults = dict(state["vaults"])
    actors = state["actors"]
    if world.bgp is not None and world.bgp.name in actors:
        world.bgp.restore(actors[world.bgp.name])
    machines = [a for a in world.actors() if a.name.startswith("machine:")]
    others = [a for a in world.actors() if not a.name.startswith("machine:")]
    for actor in (*machines, *others):  # clusters look at the machines
        if actor.name in actors:
            actor.restore(actors[actor.name])


def write(folder: Path, state: dict[str, Any]) -> None:
    """Into a folder, mode 0700: it holds secrets."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = folder / f".{FILE}.part"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(gzip.compress(text(state), compresslevel=1, mtime=0))
    part.replace(folder / FILE)


def read(folder: Path) -> dict[str, Any]:
    """A snapshot from its folder. Raises OSError, ValueError."""
    file = folder / FILE
    facts = file.stat()
    state: dict[str, Any] = value_of(_unpacked(file, facts.st_mtime_ns, facts.st_size))
    return state


@lru_cache(maxsize=1)
def _unpacked(file: Path, _changed: int, _size: int) -> bytes:
    """The text of a snapshot; who puts one world back again and again has it at hand."""
    return gzip.decompress(file.read_bytes())
