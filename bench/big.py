"""A site as the ten-week plan's, with as many nodes as are asked for: two clusters, each with three control planes and workers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import inventory

TEMPLATE = Path(inventory.__file__).parent / "sites" / "ten-weeks"
NETWORK = IPv4Network("10.25.96.0/20")  # in place of the plan's /24; what the plan keeps beside its nodes moves along
PLAN_NETWORK = "10.25.11."
CONTROL_PLANES = 3
FIRST = 64  # host number of the first node: gateway and VIPs stand below


def write(folder: Path, nodes: int) -> Path:
    """The site in `folder`. -> its file"""
    shutil.copytree(TEMPLATE, folder)
    site = folder / "site.yaml"
    start = f"{NETWORK.network_address}".rpartition(".")[0] + "."
    text = site.read_text().replace("10.25.11.0/24", str(NETWORK)).replace(PLAN_NETWORK, start)
    site.write_text(text)
    (folder / "nodes.yaml").write_text("nodes:\n" + "".join(_nodes(nodes)))
    return site


def _nodes(count: int) -> Iterator[str]:
    for number in range(count):
        cluster, place = ("infra", "apps")[number % 2], number // 2
        role = "controlplane" if place < CONTROL_PLANES else "worker"
        mac = f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        yield f"  - {{name: {cluster}-{place + 1:03d}, cluster: {cluster}, role: {role}, address: {NETWORK[FIRST + number]}, mac: '{mac}', install_disk: {{serial: BIG{number:05d}}}}}\n"
