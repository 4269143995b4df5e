"""The simulated talosctl against what the real one printed: exit status, streams and shapes of every recorded case that the lab can play.

Cases are played in the order in which they were recorded where one needs the files of another: each gets a fresh folder with a
generated cluster in it. What is random or of another machine is masked on both sides.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from inventory import load
from lab import programs
from lab.build import build
from lab.machines import Membership, Service
from lab.programs.call import Call, Result
from lab.talos import secrets

SHARED = Path(__file__).parents[2].parent / "shared"
RECORDED = SHARED / "recorded" / "talosctl"
SITE = Path(__file__).parents[2] / "inventory" / "sites" / "ten-weeks" / "site.yaml"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not RECORDED.is_dir(), reason="../shared/recorded is not here"),
]

# Not played, each with its reason.
SHAPE_ONLY = (  # the recorded machine's hardware: the same keys, other values
    "node-get-discoveredvolumes-json",
    "node-get-disks-json",
    "node-get-members-json",
    "node-get-systeminformation-json",
    "node-maintenance-get-disks-json",
)
NOT_PLAYED = {
    "node-get-disks": "the table holds the recorded machine's disks",
    "node-maintenance-get-disks": "the table holds the recorded machine's disks",
    "node-etcd-alarm-list": "an alarm of another member; see test_an_alarm_is_listed",
    "node-services-two-nodes": "an unhealthy etcd beside a running one; see test_services",
    "node-health-nodes-not-ready": "see test_health_waits_for_ready",
    "node-health": "see test_health_lines",
    "dead-health-client-side": "see test_health_of_dead_nodes",
    "node-reboot-wait": "see test_reboot_waits",
    "node-reboot-never-back-timeout": "see test_reboot_waits",
    "node-upgrade-wait": "see test_reboot_waits",
    "node-upgrade-no-wait": "a time of Go with its monotonic clock",
    "node-upgrade-refused-quorum": "see test_upgrade_refuses_without_quorum",
    "node-etcd-snapshot": "sizes of the recorded database; see test_snapshot_text",
    "node-apply-config-needs-reboot": "the recorded node answered with a made-up difference",
    "node-get-machinestatus-not-ready-json": "another state of the node; see test_not_ready",
    "node-get-diagnostics-json": "needs a pending certificate; see the lab's own tests",
    "node-get-diagnostics-table": "needs a pending certificate; see the lab's own tests",
    "node-bootstrap": "needs a node without etcd; see test_bootstrap_texts",
    "node-bootstrap-not-available-yet": "see test_bootstrap_texts",
    "node-get-etcdmembers-none-json": "see test_bootstrap_texts",
    "node-get-nodestatus-json": "needs Kubernetes; see the lab's own tests",
    "node-get-machinestatus-json": "ready needs Kubernetes; see the lab's own tests",
    "node-get-machinestatus-table": "ready needs Kubernetes; see the lab's own tests",
    "node-get-machinestatus-yaml": "ready needs Kubernetes; see the lab's own tests",
    "node-get-machinestatus-two-nodes-json": "ready needs Kubernetes; see the lab's own tests",
    "node-get-machinestatus-one-node-dead-json": "ready needs Kubernetes; see test_one_dead_node",
    "node-get-links-json": "the recorded link is of a made-up kind; see test_links",
    "node-maintenance-get-links-json": "the recorded link is of a made-up kind; see test_links",
    "node-get-extensions": "the recorded schematic has an extension; see test_extensions",
    "node-get-extensions-json": "the recorded schematic has an extension; see test_extensions",
    "node-get-services": "the recorded node has fewer services; see test_services",
    "node-services": "the recorded node has fewer services; see test_services",
    "node-service-etcd": "the recorded node has two events; see test_services",
    "node-get-staticpodstatus-json": "one pod of three; see test_static_pods",
    "node-get-volumestatus-json": "one volume of four",
    "node-get-discoveredvolumes": "the table holds the recorded machine's disks",
    "node-insecure-against-configured": "one of two texts; see test_insecure_against_configured",
    "node-maintenance-apply-config": "see test_maintenance_apply",
    "node-etcd-status": "sizes of the recorded database",
    "node-etcd-status-three-nodes": "sizes of the recorded database",
    "node-apply-config-auto": "the recorded node warned of extensions that the file does not have",
    "node-apply-config-no-reboot": "the recorded node warned of extensions that the file does not have",
    "node-get-members": "the order of the recorded members",
}
MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"Certificate expires: .*"), "Certificate expires: X"),
    (re.compile(r'("certTTL": ).*'), r"\1X"),
    (re.compile(r'("certNotAfter": ).*'), r"\1X"),
    (re.compile(r"(certTTL: ).*"), r"\1X"),
    (re.compile(r"(certNotAfter: ).*"), r"\1X"),
    (re.compile(r"GOVERSION|go1\.\d+\.\d+"), "GO"),
    (re.compile(r"[0-9a-f]{16}"), "ID"),
    (re.compile(r"(client-key-data|client-certificate-data|certificate-authority-data): \S+"), r"\1: AAAA"),
    (re.compile(r"^(\s+(?:crt|key|token|id|secret|secretboxEncryptionSecret): )\S+$", re.M), r"\1REDACTED"),
)


def mask(text: str) -> str:
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    text = re.sub(r'key: REDACTED(?=\n(?: {4}| {8})\w)', "key: REDACTED", text)
    text = text.rstrip("\n")
    head, cut, _ = text.partition("\nUsage:\n")
    return head + cut if cut else text


def keys(text: str) -> set[str]:
    """The paths of all keys in a stream of JSON objects."""
    found: set[str] = set()

    def walk(value: object, path: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                found.add(f"{path}.{key}")
                walk(item, f"{path}.{key}")

    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        walk(value, "")
        rest = rest[end:].strip()
    return found


def cases() -> list[str]:
    if not RECORDED.is_dir():
        return []
    return sorted(p.name for p in RECORDED.iterdir() if p.name not in NOT_PLAYED)


class Desk:
    """A folder and a world, as the recordings had them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world, _ = build(folder / "lab", load(SITE), speed=1000.0, seed=3)
        self.work = folder / "work"
        self.work.mkdir()

    def run(self, *argv: str) -> Result:
        return asyncio.run(self._run(list(argv)))

    async def _run(self, argv: list[str]) -> Result:
        streams = [b"", b""]

        def write(stream: int, data: bytes) -> None:
            streams[stream - 1] += data

        call = Call(argv=argv, cwd=self.work, env={"HOME": str(self.folder)}, stdin=b"", world=self.world, write=write)
        rc = await programs.run(call)
        return Result(rc, streams[0].decode(), streams[1].decode())

    def generate(self) -> None:
        """The files that the recordings began with."""
        for case in ("gen-secrets", "gen-config", "machineconfig-patch"):
            source = RECORDED / case / "input"
            for file in source.rglob("*") if source.is_dir() else ():
                if file.is_file():
                    target = self.work / file.relative_to(source)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_text(file.read_text())
            result = self.run(*json.loads((RECORDED / case / "argv").read_text()))
            assert result.rc == 0, result.stderr

    def configure(self) -> None:
        """infra-01 to infra-03 run with the generated config, in one etcd."""
        world = self.world
        text = (self.work / "out/infra/10.25.11.11.yaml").read_text()
        for i, name in enumerate(("infra-01", "infra-02", "infra-03"), start=1):
            machine = world.machines[name]
            own = text.replace("hostname: infra-01", f"hostname: {name}").replace("10.25.11.11/24", f"10.25.11.1{i}/24")
            machine.state.config = own.replace("ee:01", f"ee:0{i}") if i > 1 else text
            machine.state.stage = "booting"
            machine.state.system_disk = "nvme0n1"
            next(d for d in machine.disks if d.name == "nvme0n1").install()
            machine.state.pods_up = True
            machine.state.previous = ("v1.11.1", "")
            machine.state.etcd = Membership("infra-01", f"5f5b0c1d0000000{i}")
            for service in ("apid", "containerd", "cri", "etcd", "kubelet", "trustd", "udevd"):
                machine.state.services[service] = Service("Running", "OK", 0.0, "Health check successful")
        from lab.cluster import Etcd

        cluster = world.clusters["infra"]
        cluster.etcds["infra-01"] = Etcd("infra-01", world.machines["infra-01"].identity, leader="infra-01")
        cluster.primary = "infra-01"


@pytest.fixture(scope="module")
def desks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Desk]:
    return lambda: Desk(tmp_path_factory.mktemp("desk"))


def prepare(desk: Desk, case: str) -> None:
    """The files and the state of the node that the recording had."""
    desk.generate()
    work = desk.work
    if case in ("gen-secrets",):
        (work / "secrets.yaml").unlink()
    if case == "gen-config":
        for file in (work / "out/infra").iterdir():
            file.unlink()
    if case.startswith("config-") and "fresh" not in case:
        desk.run("talosctl", "--talosconfig", "out/infra/talosconfig", "config", "endpoint", *[f"10.25.11.1{i}" for i in (1, 2, 3)])
        desk.run("talosctl", "--talosconfig", "out/infra/talosconfig", "config", "node", "10.25.11.11")
    if case == "config-merge-again":
        desk.run("talosctl", "--talosconfig", "merged", "config", "merge", "out/infra/talosconfig")
    if case.startswith("get-without"):
        (work / "tc-empty").write_text("context: infra\ncontexts: {infra: {}}\n")
    source = RECORDED / case / "input"
    if source.is_dir() and (source / "change.txt").is_file():
        _change(desk, case)
    elif source.is_dir():
        for file in source.rglob("*"):
            if file.is_file():
                target = work / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(file.read_text())
    _missing_parts(desk, case)
    if case.startswith("node-") and "maintenance" not in case:
        desk.configure()
    if case == "node-wrong-secrets":
        bundle = secrets.new_bundle()
        (work / "other").mkdir()
        (work / "other/talosconfig").write_text(yaml.safe_dump(secrets.client_config("infra", bundle, ["10.25.11.11"])))
    if "kubeconfig" in case and ("merge" in case or "exists" in case):
        desk.run("talosctl", "--talosconfig", "out/infra/talosconfig", "-e", "10.25.11.11", "-n", "10.25.11.11", "kubeconfig",
                 "infra.kubeconfig", "--merge=false", "--force")  # fmt: skip


def _change(desk: Desk, case: str) -> None:
    change = (RECORDED / case / "input/change.txt").read_text()
    before, after = re.fullmatch(r"replaced:\n(.*?)\nby:\n(.*)", change, re.S).groups()  # type: ignore[union-attr]
    text = (desk.work / "out/infra/10.25.11.11.yaml").read_text()
    assert before in text
    target = desk.work / f"{case.removeprefix('validate-')}.yaml"
    target.write_text(text.replace(before, after.rstrip("\n") if not before.endswith("\n") else after, 1))


def _missing_parts(desk: Desk, case: str) -> None:
    """Files that the recordings made by hand."""
    work = desk.work
    if case == "gen-config":
        return
    config = yaml.safe_load((work / "out/infra/10.25.11.11.yaml").read_text())
    if case == "validate-missing-disk" or case == "node-maintenance-apply-config-invalid":
        del config["machine"]["install"]["disk"], config["machine"]["install"]["diskSelector"]
        (work / "missing-disk.yaml").write_text(yaml.safe_dump(config))
        (work / "bad-marker.yaml").write_text(yaml.safe_dump(config))
    if case == "validate-missing-install":
        del config["machine"]["install"]
        (work / "missing-install.yaml").write_text(yaml.safe_dump(config))
    if case.startswith("validate-warning"):
        config["machine"]["install"]["extensions"] = [{"image": "ghcr.io/siderolabs/gvisor:1"}]
        (work / "deprecated.yaml").write_text(yaml.safe_dump(config))
    if "multidoc" in case:
        text = (work / "out/infra/10.25.11.11.yaml").read_text()
        more = "---\napiVersion: v1alpha1\nkind: UserVolumeConfig{}\nname: data\n"
        (work / "multi.yaml").write_text(text + more.format(""))
        (work / "multibad.yaml").write_text(text + more.format("g"))


@pytest.mark.parametrize("case", cases())
def test_recorded(case: str, desks: Callable[[], Desk]) -> None:
    folder = RECORDED / case
    desk = desks()
    prepare(desk, case)
    got = desk.run(*json.loads((folder / "argv").read_text()))
    assert got.rc == int((folder / "rc").read_text())
    if "(help text)" in (folder / "stdout").read_text():
        assert got.stdout and not got.stderr
        return
    if case in SHAPE_ONLY:
        assert keys(got.stdout) <= keys((folder / "stdout").read_text())
        return
    assert mask(got.stdout) == mask((folder / "stdout").read_text())
    assert mask(got.stderr) == mask((folder / "stderr").read_text())
