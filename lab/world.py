"""The simulated world: clusters, machines, the gateway, the Git remote, the factory and the store, under one clock.

It wires the actors together and answers what more than one of them needs to know. What each of them does is in its own module.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inventory.model import Site
from lab.actor import Actor
from lab.clock import Clock
from lab.cluster import LabCluster
from lab.factory import Factory
from lab.faults import Faults
from lab.machines import Machine
from lab.record import Record

CALM_SECONDS = 90.0  # simulated; Flux looks at its repository every 60 s and at a dependency every 30 s
CALM_WALL_SECONDS = 0.2
QUIET_WALL_SECONDS = 120.0


@dataclass
class World:
    """Everything there is. Built by `lab.build.build`; `start` and `stop` run it."""

    dir: Path
    site: Site
    seed: int
    clock: Clock
    rng: random.Random
    record: Record
    faults: Faults
    clusters: dict[str, LabCluster] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    factory: Factory | None = None
    gateway: Any = None  # lab.junos.JunosDevice, or None where the site has no gateway
    git: Any = None  # lab.git's GitRemote
    s3: Any = None  # lab.s3.S3Store
    bgp: Any = None  # lab.bgp.BgpFabric
    resumed_at: float = 0.0  # simulated seconds at which a snapshot was taken over
    control_plane: Path | None = None  # programs of a real control plane, where the clusters stand on one
    vaults: dict[str, str] = field(default_factory=dict)  # op://... -> value
    printed: dict[tuple[str, ...], str] = field(default_factory=dict)  # argv of an exec: reference -> what it prints

    @property
    def stand_ins(self) -> frozenset[str]:
        """Names of the programs that are played for `exec:` references."""
        return frozenset(argv[0] for argv in self.printed)
    extra: list[Actor] = field(default_factory=list)

    def actors(self) -> list[Actor]:
        """Every actor, in the order in which they start."""
        named: Sequence[Actor | None] = (self.factory, self.git, self.s3, self.gateway)
        return [
            *(a for a in named if a is not None),
            *self.extra,
            *self.clusters.values(),
            *self.machines.values(),
        ]

    async def start(self) -> None:
        """Every actor listens and acts."""
        self.clock.keep_steady()
        for actor in self.actors():
            await actor.start()

    async def stop(self) -> None:
        """Every actor stops, the last one first."""
        for actor in reversed(self.actors()):
            await actor.stop()
        self.clock.stop_ticking()
        self.record.close()

    def random_for(self, name: str) -> random.Random:
        """A source of randomness of an actor's own, so that what one does never moves another's. Same seed, same numbers.

        A resumed world draws others than it drew before: a UID or a boot id given once is not given again.
        """
        return random.Random(f"{self.seed}/{name}" + (f"/{self.resumed_at}" if self.resumed_at else ""))

    def cluster_at(self, server: str) -> LabCluster | None:
        """The cluster whose API `server` (a URL) leads to: its loopback port, its endpoint, or a control plane's address."""
        parts = urlsplit(server)
        host, port = parts.hostname or "", parts.port or 443
        for cluster in self.clusters.values():
            if cluster.leads_here(host, port):
                return cluster
        return None

    def machine_at(self, address: str) -> Machine | None:
        """The machine that answers at `address` now. Where two do, the one that took it last: its ARP reply is the newest."""
        there = [m for m in self.machines.values() if m.answers and address in m.addresses]
        return max(there, key=lambda m: m.address_since, default=None)

    def image_exists(self, image: str) -> bool:
        """Whether a machine can pull an installer image."""
        return self.factory is not None and self.factory.has_image(image)

    async def quiet(self, *, limit: float = QUIET_WALL_SECONDS) -> list[str]:
        """Wait until nothing is under way. -> names of the actors that still were busy after `limit` wall seconds: none when it is quiet."""
        loop = asyncio.get_running_loop()
        end = loop.time() + limit
        # A controller's lag, a kubelet's retry and Flux' next look are times of the world: so long nothing may stir.
        calm_since, looked_since = self.clock.seconds(), loop.time()
        while self.clock.seconds() - calm_since < CALM_SECONDS or loop.time() - looked_since < CALM_WALL_SECONDS:
            await asyncio.sleep(0.02)
            busy = [actor.name for actor in self.actors() if actor.busy()]
            if busy:
                calm_since, looked_since = self.clock.seconds(), loop.time()
            if loop.time() > end:
                return busy or ["the clock"]
        return []
