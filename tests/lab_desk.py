"""A world in this process, driven as an operator drives the daemon: for the lab's own tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from inventory import load
from lab import programs
from lab.build import build
from lab.faults import parse
from lab.programs.call import Call, Result
from lab.world import World

SITES = Path(__file__).parents[1] / "inventory" / "sites"
SCHEMATIC = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
INSTALLER = f"factory.talos.dev/metal-installer/{SCHEMATIC}:v1.11.2"
PATCH = """
cluster:
  allowSchedulingOnControlPlanes: true
  network: {cni: {name: none}, podSubnets: [10.42.0.0/16], serviceSubnets: [10.43.0.0/16]}
  proxy: {disabled: true}
machine:
  kubelet: {nodeIP: {validSubnets: [10.25.11.0/24]}}
"""
NODE = """
machine:
  network:
    hostname: %s
    interfaces:
      - deviceSelector: {hardwareAddr: "%s"}
        addresses: [%s/24]
        vip: {ip: 10.25.11.10}
  install: {diskSelector: {serial: %s}}
"""


class Desk:
    """One world and a working folder. Use as `async with Desk(tmp_path) as desk`."""

    def __init__(self, folder: Path, *, site: str = "ten-weeks", speed: float = 2000.0, seed: int = 1) -> None:
        self.folder = folder
        self.site = load(SITES / site / "site.yaml")
        self.world, self.credentials = build(folder / "lab", self.site, seed=seed, speed=speed)
        self.work = folder / "work"
        self.work.mkdir(parents=True, exist_ok=True)

    async def __aenter__(self) -> Desk:
        await self.world.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.world.stop()

    async def run(self, *argv: str, stdin: bytes = b"") -> Result:
        """Call a simulated program."""
        streams = [b"", b""]

        def write(stream: int, data: bytes) -> None:
            streams[stream - 1] += data

        env = {"HOME": str(self.folder)}
        call = Call(argv=list(argv), cwd=self.work, env=env, stdin=stdin, world=self.world, write=write)
        rc = await programs.run(call)
        return Result(rc, streams[0].decode(errors="replace"), streams[1].decode(errors="replace"))

    async def ok(self, *argv: str) -> str:
        """Call a simulated program that has to succeed; its standard output."""
        result = await self.run(*argv)
        assert result.rc == 0, result.stderr
        return result.stdout

    def talosctl(self, node: str, *argv: str, endpoint: str = "") -> tuple[str, ...]:
        """An argv against one node with the generated client config."""
        address = str(self.world.machines[node].node.address)
        return ("talosctl", "--talosconfig", "out/talosconfig", "-e", endpoint or address, "-n", address, *argv)

    async def generate(self, cluster: str = "infra") -> None:
        """Secrets, configs, and one file a node."""
        assert self.world.factory is not None
        self.world.factory.schematics[SCHEMATIC] = "customization: {}\n"
        (self.work / "all.yaml").write_text(PATCH)
        await self.ok("talosctl", "gen", "secrets", "-o", "secrets.yaml")
        await self.ok(
            "talosctl", "gen", "config", cluster, "https://10.25.11.10:6443", "--with-secrets", "secrets.yaml",
            "--kubernetes-version", "1.33.5", "--install-image", INSTALLER, "--config-patch", "@all.yaml",
            "--with-docs=false", "--with-examples=false", "--output", "out",
        )  # fmt: skip
        for node in self.site.nodes_of(cluster):
            patch = NODE % (node.name, node.mac, node.address, node.install_disk.serial)
            (self.work / f"{node.name}.patch").write_text(patch)
            await self.ok(
                "talosctl", "machineconfig", "patch", "out/controlplane.yaml", "--patch", f"@{node.name}.patch",
                "--output", f"{node.name}.yaml",
            )  # fmt: skip

    async def apply(self, node: str, *, config: str = "") -> Result:
        """Apply a node's config to it in maintenance mode."""
        address = str(self.world.machines[node].node.address)
        file = f"{config or node}.yaml"
        return await self.run("talosctl", "apply-config", "--insecure", "-n", address, "-e", address, "-f", file)

    async def until(self, met: Callable[[], bool], *, seconds: float = 3600.0) -> None:
        """Wait, at most for so many simulated seconds."""
        end = self.world.clock.seconds() + seconds
        while not met():
            assert self.world.clock.seconds() < end, "it did not come to that"
            await asyncio.sleep(0.001)

    async def install(self, *nodes: str) -> None:
        """Apply to every node, and wait until containers run there."""
        for node in nodes:
            assert (await self.apply(node)).rc == 0
        await self.until(lambda: all(self.world.machines[n].cri_up for n in nodes))

    async def form(self, *nodes: str) -> None:
        """Install, bootstrap the first, and wait for etcd and the API."""
        await self.install(*nodes)
        await self.ok(*self.talosctl(nodes[0], "bootstrap"))
        await self.until(lambda: len(voters(self.world, nodes[0])) == len(nodes))
        await self.until(lambda: self.world.clusters["infra"].up)

    def script(self, **rule: object) -> None:
        """Add one fault."""
        rules, _ = parse({"faults": [{"name": f"fault-{len(self.world.faults.rules)}", **rule}]})
        self.world.faults.add(rules[0])


def voters(world: World, label: str) -> list[str]:
    """Nodes that vote in an etcd."""
    members = world.clusters["infra"].members(label)
    return [m.node.name for m in members if m.state.etcd and not m.state.etcd.learner and m.etcd_running]
