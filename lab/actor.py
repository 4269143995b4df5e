"""What every inhabitant of the world has in common: it starts, stops, can be written down and put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Snapshot = dict[str, Any]


class Actor(Protocol):
    """One inhabitant of the world: a machine, the gateway, the Git remote, a store."""

    @property
    def name(self) -> str:
        """Unique in the world, for example "machine:infra-01"; the key of snapshots and dumps."""
        ...

    async def start(self) -> None:
        """Listen and begin to act. After `restore` it goes on from the snapshot."""
        ...

    async def stop(self) -> None:
        """Stop acting and close every socket. State is kept."""
        ...

    def snapshot(self) -> Snapshot:
        """Everything that `restore` needs, as JSON values."""
        ...

    def restore(self, state: Snapshot) -> None:
        """Take over the state of a snapshot; called before `start`, or while running."""
        ...

    def dump(self) -> Snapshot:
        """The state as `lab dump` compares it: no times, ports or random values (design.md 8 "Dump")."""
        ...

    def busy(self) -> bool:
        """Whether something is under way that will end by itself, so that a dump should wait for it."""
        ...


OnChange = Callable[[], None]
