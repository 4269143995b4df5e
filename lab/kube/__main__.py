"""`python -m lab.kube`: bare lab clusters for the checks, until a signal ends them."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from lab.clock import Clock
from lab.kube.runner import start_cluster, write_kubeconfig


async def serve(options: argparse.Namespace) -> None:
    """Start, write the kubeconfig, say so on stdout, and wait."""
    done = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    clock = Clock(options.speed)
    clusters = [
        await start_cluster(
            name, clock, seed=options.seed + place, nodes=options.nodes, controllers=options.controllers
        )
        for place, name in enumerate(options.clusters.split(","))
    ]
    write_kubeconfig(options.dir / "kubeconfig", clusters)
    for cluster in clusters:
        print(f"{cluster.name} {cluster.server.url}", flush=True)
    await done.wait()
    for cluster in clusters:
        await cluster.stop()


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.kube", description="Bare lab clusters, until a signal ends them."
    )
    parser.add_argument("--clusters", default="infra", help="names, separated by commas (default: infra)")
    parser.add_argument("--dir", type=Path, required=True, help="folder that gets the kubeconfig")
    parser.add_argument("--controllers", action="store_true", help="run workload controllers and nodes too")
    parser.add_argument("--nodes", type=int, default=3, help="nodes of each cluster, with --controllers (default: 3)")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds in a second (default: 1)")
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(serve(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
