"""The metal: disks with an identity and content, links, and what the firmware says of the machine."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from inventory.model import DiskSelector, Node

GB = 1_000_000_000
UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": GB,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
EFI_BYTES, STATE_BYTES = 2_200_000_000, 105_000_000


@dataclass(slots=True)
class Volume:
    """A partition: its file system ("" where there is none), label and size."""

    filesystem: str
    label: str
    size: int


@dataclass(slots=True)
class Disk:
    """One disk. `signature` is what stands at its start: "" (blank), "gpt", "ceph_bluestore", "ext4", ..."""

    name: str
    size: int
    model: str = ""
    serial: str = ""
    wwid: str = ""
    transport: str = ""
    rotational: bool = False
    readonly: bool = False
    cdrom: bool = False
    signature: str = ""
    volumes: list[Volume] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Its device file."""
        return f"/dev/{self.name}"

    @property
    def kind(self) -> str:
        """As a Talos disk selector's `type` names it."""
        if self.name.startswith("nvme"):
            return "nvme"
        if self.name.startswith("mmc"):
            return "sd"
        return "hdd" if self.rotational else "ssd"

    def wipe(self) -> None:
        """Make it blank."""
        self.signature, self.volumes = "", []

    def install(self) -> None:
        """Partition the whole disk as the Talos installer does; all that was on it is gone."""
        self.signature = "gpt"
        rest = self.size - EFI_BYTES - STATE_BYTES - 3_000_000
        self.volumes = [
            Volume("vfat", "EFI", EFI_BYTES),
            Volume("", "META", 1_000_000),
            Volume("xfs", "STATE", STATE_BYTES),
            Volume("xfs", "EPHEMERAL", rest),
        ]

    def partition(self, index: int) -> str:
        """The name of the partition at `index`, counted from 0."""
        return f"{self.name}p{index + 1}" if self.name[-1].isdigit() else f"{self.name}{index + 1}"

    def snapshot(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Disk:
        """A disk from its snapshot."""
        return cls(**{**state, "volumes": [Volume(**v) for v in state["volumes"]]})


def disks_of(node: Node, rng: Random) -> list[Disk]:
    """The disks that a site says a node has, each satisfying its selector, and what an ISO boot adds."""
    disks = [_made(node.install_disk, 0, rng, 512_110_190_592)]
    disks += [_made(s, i + 1, rng, 2_000_398_934_016) for i, s in enumerate(node.data_disks)]
    counts: dict[str, int] = {}
    for disk in disks:
        stem = "nvme" if disk.transport == "nvme" else "sd"
        number = counts.get(stem, 0)
        counts[stem] = number + 1
        disk.name = f"nvme{number}n1" if stem == "nvme" else f"sd{chr(ord('a') + number)}"
    loop = Disk("loop0", 78_073_856, readonly=True)
    iso = Disk(
        "sr0", 330_000_000, model="QEMU DVD-ROM", transport="ata", readonly=True, cdrom=True, signature="iso9660"
    )
    return [loop, *disks, iso]


def _made(selector: DiskSelector, index: int, rng: Random, size: int) -> Disk:
    kind = selector.type or "nvme"
    number = f"{rng.randrange(16**10):010X}"
    default_model = "Samsung SSD 980" if index == 0 else "Samsung SSD 990"
    return Disk(
        name="",
        size=size_for(selector.size, size),
        model=(selector.model or default_model).replace("*", "X").replace("?", "X"),
        serial=(selector.serial or f"S{number}").replace("*", "0"),
        wwid=(selector.wwid or f"eui.{rng.randrange(16**16):016x}").replace("*", "0"),
        transport="nvme" if kind == "nvme" else "sata",
        rotational=kind == "hdd",
    )


def size_for(condition: str | None, default: int) -> int:
    """A size that satisfies a Talos size condition, `default` where that does."""
    if condition is None or size_matches(condition, default):
        return default
    operator, number = _condition(condition)
    return {"<": int(number * 0.9), "<=": number, ">": int(number * 1.1), ">=": number, "==": number}[operator]


def size_matches(condition: str, size: int) -> bool:
    """Whether a disk of `size` bytes satisfies a condition such as "<= 512GB". Raises ValueError."""
    operator, number = _condition(condition)
    return {
        "<": size < number,
        "<=": size <= number,
        ">": size > number,
        ">=": size >= number,
        "==": size == number,
    }[operator]


def _condition(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"\s*(<=|>=|==|<|>)?\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or (match[3] or "B").upper() not in UNITS:
        raise ValueError(f"invalid size condition {text!r}")
    return match[1] or "==", int(float(match[2]) * UNITS[(match[3] or "B").upper()])


def choose_disk(disks: Sequence[Disk], install: Mapping[str, Any]) -> Disk | None:
    """The disk that Talos would install on, or None. The selector wins over `disk`. Source: v1alpha1 `Install`, v1.11.2."""
    usable = [d for d in disks if not d.readonly and not d.cdrom and d.size > 0]
    selector = install.get("diskSelector") or {}
    if selector:
        return next((d for d in sorted(usable, key=lambda d: d.name) if _selected(d, selector)), None)
    return next((d for d in usable if d.path == install.get("disk")), None)


def _selected(disk: Disk, selector: Mapping[str, Any]) -> bool:
    texts = {"serial": disk.serial, "wwid": disk.wwid, "model": disk.model, "name": disk.name}
    for key, wanted in selector.items():
        if key == "size":
            if not size_matches(str(wanted), disk.size):
                return False
        elif key == "type":
            if str(wanted).lower() != disk.kind:
                return False
        elif key in texts and not fnmatch.fnmatchcase(texts[key], str(wanted)):
            return False
    return True


def pretty(size: int) -> str:
    """As dustin/go-humanize writes bytes: "512 GB", "2.0 TB", "78 MB"."""
    if size < 10:
        return f"{size} B"
    value, unit = float(size), 0
    names = ("B", "kB", "MB", "GB", "TB", "PB")
    while value >= 1000 and unit < len(names) - 1:
        value, unit = value / 1000, unit + 1
    rounded = int(value * 10 + 0.5) / 10
    return f"{rounded:.1f} {names[unit]}" if rounded < 10 else f"{rounded:.0f} {names[unit]}"
