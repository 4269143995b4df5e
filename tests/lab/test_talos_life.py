"""Machines and etcd in the lab: what is done in the wrong order, or to the wrong node, has its real consequences."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from lab import snapshot
from lab.dump import dump, lines
from lab.kube.port import KubeError
from tests.lab_desk import Desk, voters

THREE = ("infra-01", "infra-02", "infra-03")


def play(folder: Path, scene: Callable[[Desk], Awaitable[None]], **options: object) -> None:
    async def run() -> None:
        async with Desk(folder, **options) as desk:  # type: ignore[arg-type]
            await desk.generate()
            await scene(desk)

    asyncio.run(run())


def test_a_machine_installs_reboots_and_trusts_its_pki(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        machine = desk.world.machines["infra-01"]
        assert (await desk.apply("infra-01")).rc == 0
        down = await desk.run(*desk.talosctl("infra-01", "get", "machinestatus"))
        assert "connection refused" in down.stderr
        await desk.until(lambda: machine.cri_up)
        out = await desk.ok(*desk.talosctl("infra-01", "get", "machinestatus", "-o", "json"))
        assert json.loads(out)["spec"]["stage"] == "booting"
        assert "S5XXNVME01" in next(d.serial for d in machine.disks if d.name == machine.state.system_disk)
        assert machine.state.version == "v1.11.2"
        insecure = await desk.run("talosctl", "get", "machinestatus", "--insecure", "-n", "10.25.11.11", "-e", "10.25.11.11")
        assert insecure.rc == 1
        assert "certificate required" in insecure.stderr or "broken pipe" in insecure.stderr

    play(tmp_path, scene)


def test_etcd_forms_once_and_the_api_answers(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        early = await desk.run(*desk.talosctl("infra-01", "bootstrap"))
        assert "x509: certificate signed by unknown authority" in early.stderr
        await desk.form(*THREE)
        again = await desk.run(*desk.talosctl("infra-01", "bootstrap"))
        assert again.rc == 1
        assert "AlreadyExists desc = etcd data directory is not empty" in again.stderr
        joined = await desk.run(*desk.talosctl("infra-02", "bootstrap"))
        assert "AlreadyExists" in joined.stderr
        status = await desk.ok(*desk.talosctl("infra-03", "etcd", "status"))
        assert desk.world.machines["infra-01"].state.etcd.member in status.splitlines()[1]  # type: ignore[union-attr]
        nodes, _ = await desk.world.clusters["infra"].port.list("v1/nodes")
        await desk.until(lambda: len(desk.world.clusters["infra"].kubelets) == 3)
        assert {n["metadata"]["name"] for n in nodes} <= set(THREE)

    play(tmp_path, scene)


def test_a_second_bootstrap_splits_etcd(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await desk.install(*THREE)
        await desk.ok(*desk.talosctl("infra-01", "bootstrap"))
        await desk.ok(*desk.talosctl("infra-03", "bootstrap"))
        await desk.until(lambda: bool(voters(desk.world, "infra-01")) and bool(voters(desk.world, "infra-03")))
        assert set(desk.world.clusters["infra"].etcds) == {"infra-01", "infra-03"}
        one = await desk.ok(*desk.talosctl("infra-01", "etcd", "members"))
        other = await desk.ok(*desk.talosctl("infra-03", "etcd", "members"))
        assert "infra-03" not in one.split("CLIENT URLS")[1].replace("infra-03   https", "") or one != other

    play(tmp_path, scene)


def test_the_wrong_file_takes_the_host_name_but_not_the_address_of_another_mac(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        machine = desk.world.machines["infra-02"]
        serial = machine.node.install_disk.serial
        text = (desk.work / "infra-01.yaml").read_text().replace("S5XXNVME01", str(serial))
        (desk.work / "wrong.yaml").write_text(text)
        assert (await desk.apply("infra-02", config="wrong")).rc == 0
        await desk.until(lambda: machine.cri_up)
        assert machine.hostname == "infra-01"
        assert machine.addresses == ["10.25.11.12"]
        by_name = text.replace("deviceSelector:\n                hardwareAddr: aa:bb:cc:dd:ee:01", "interface: enp1s0")
        (desk.work / "taken.yaml").write_text(by_name)
        assert (await desk.apply("infra-03", config="taken")).rc == 0
        third = desk.world.machines["infra-03"]
        await desk.until(lambda: third.stage() == "maintenance" and third.state.boots > 0)
        assert "no disk found" in third.state.problem  # the selector names a disk that it does not have

    play(tmp_path, scene)


def test_an_image_that_the_factory_does_not_have_leaves_the_machine_in_maintenance(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        assert desk.world.factory is not None
        desk.world.factory.schematics.clear()
        machine = desk.world.machines["infra-01"]
        assert (await desk.apply("infra-01")).rc == 0
        await desk.until(lambda: machine.state.boots == 1)
        assert machine.stage() == "maintenance"
        assert "not found" in machine.state.problem
        assert machine.state.installs == 0

    play(tmp_path, scene)


def test_without_quorum_the_api_is_gone_and_comes_back(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await desk.form(*THREE)
        cluster = desk.world.clusters["infra"]
        desk.world.machines["infra-02"].power(False)
        assert cluster.has_quorum("infra-01")
        desk.world.machines["infra-03"].power(False)
        await desk.until(lambda: not cluster.up)
        with pytest.raises(OSError, match=r"refused|Connect"):
            await asyncio.open_connection("127.0.0.1", cluster.tcp_port)
        desk.world.machines["infra-02"].power(True)
        await desk.until(lambda: cluster.up)
        assert (await desk.run(*desk.talosctl("infra-02", "etcd", "members"))).stdout.count("false") == 3

    play(tmp_path, scene)


def test_reboot_waits_and_reset_leads_back_to_maintenance(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await desk.form(*THREE)
        for kubelet in desk.world.clusters["infra"].kubelets.values():
            kubelet.cni_ready = True
        before = desk.world.machines["infra-02"].state.boot_id
        result = await desk.run(*desk.talosctl("infra-02", "reboot", "--wait", "--timeout", "20m", endpoint="10.25.11.11"))
        assert result.rc == 0, result.stderr
        assert result.stderr.endswith("events check condition met\n\"10.25.11.12\": post check passed\n")
        assert desk.world.machines["infra-02"].state.boot_id != before
        desk.script(actor="machine:infra-02", verb="boot", effect={"stop": True})
        gone = await desk.run(*desk.talosctl("infra-02", "reboot", "--wait", "--timeout", "30s", endpoint="10.25.11.11"))
        assert gone.rc == 1
        desk.world.faults.lift()
        reset = ("reset", "--graceful=false", "--reboot", "--system-labels-to-wipe", "STATE", "--system-labels-to-wipe", "EPHEMERAL",
                 "--wait=false")  # fmt: skip
        await desk.ok(*desk.talosctl("infra-03", *reset, endpoint="10.25.11.11"))
        await desk.until(lambda: desk.world.machines["infra-03"].stage() == "maintenance")

    play(tmp_path, scene)


def test_a_pending_serving_certificate_is_a_diagnostic(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        for node in THREE:
            text = (desk.work / f"{node}.yaml").read_text()
            text = text.replace("        nodeIP:", "        extraArgs:\n            rotate-server-certificates: \"true\"\n        nodeIP:")
            (desk.work / f"{node}.yaml").write_text(text)
        await desk.form(*THREE)
        cluster = desk.world.clusters["infra"]
        out = await desk.ok(*desk.talosctl("infra-01", "get", "diagnostics", "-o", "json"))
        assert json.loads(out)["metadata"]["id"] == "kubelet-csr"
        gvr = "certificates.k8s.io/v1/certificatesigningrequests"
        for _ in range(2000):
            requests, _version = await cluster.port.list(gvr)
            if len(requests) == 3:
                break
            await asyncio.sleep(0.001)
        assert {r["spec"]["username"] for r in requests} == {f"system:node:{n}" for n in THREE}
        for request in requests:
            approved = {"type": "Approved", "status": "True", "reason": "Tested", "message": ""}
            await cluster.port.update(gvr, {**request, "status": {"conditions": [approved]}}, subresource="approval")
        for _ in range(2000):
            if not await desk.ok(*desk.talosctl("infra-01", "get", "diagnostics", "-o", "json")):
                return
            await asyncio.sleep(0.001)
        raise AssertionError("the certificate was not issued")

    play(tmp_path, scene)


def test_snapshot_restores_the_store_of_a_new_etcd(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await desk.form("infra-01")
        cluster = desk.world.clusters["infra"]
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "namespace": "default"}, "data": {"a": "b"}}
        await cluster.port.create("v1/configmaps", config, "default")
        out = await desk.ok(*desk.talosctl("infra-01", "etcd", "snapshot", "db.snapshot"))
        assert out.startswith('etcd snapshot saved to "db.snapshot" (')
        desk.world.machines["infra-01"].leave_etcd()
        await desk.until(lambda: not cluster.up)
        await desk.ok(*desk.talosctl("infra-01", "bootstrap", "--recover-from", "db.snapshot"))
        await desk.until(lambda: cluster.up)
        found = await cluster.port.get("v1/configmaps", "kept", "default")
        assert found is not None
        assert found["data"] == {"a": "b"}

    play(tmp_path, scene)


def test_a_saved_world_goes_on_where_it_was(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await desk.form(*THREE)
        assert not await desk.world.quiet()
        state = json.loads(json.dumps(snapshot.take(desk.world, {}, {})))
        before = lines(await dump(desk.world))
        desk.world.machines["infra-02"].power(False)
        desk.world.machines["infra-03"].reset((), reboot=True, mode="all", disks=())
        await desk.world.stop()
        snapshot.restore(desk.world, state)
        await desk.world.start()
        assert not await desk.world.quiet()
        assert lines(await dump(desk.world)) == before

    play(tmp_path, scene)


def test_talos_enforces_the_baseline_from_the_first_day(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await desk.form("infra-01")
        port = desk.world.clusters["infra"].port

        async def pod(namespace: str) -> None:
            spec = {"hostNetwork": True, "containers": [{"name": "c", "image": "busybox"}]}
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace}, "spec": spec}
            await port.create("v1/pods", body, namespace)

        for name, labels in (("plain", {}), ("free", {"pod-security.kubernetes.io/enforce": "privileged"})):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            await port.create("v1/namespaces", body)
        with pytest.raises(KubeError, match='violates PodSecurity "baseline:latest"'):
            await pod("plain")
        await pod("free")
        await pod("kube-system")

    play(tmp_path, scene)
