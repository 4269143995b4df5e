"""Scripted faults as the lab plays them: around programs, in front of the API, in machines and the factory, and how a world begins."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from lab.faults import Condition
from tests.lab_desk import Desk

ASK = ("talosctl", "get", "machinestatus", "--insecure", "-n", "10.25.11.11", "-e", "10.25.11.11", "-o", "json")


def play(folder: Path, scene: Callable[[Desk], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Desk(folder) as desk:
            await scene(desk)

    asyncio.run(run())


def test_a_program_that_fails_before_it_does_anything(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        desk.script(actor="talosctl", verb="gen secrets", effect={"before": True, "exit": 0})
        assert (await desk.run("talosctl", "gen", "secrets", "-o", "s.yaml")).rc == 0
        assert not (desk.work / "s.yaml").exists()
        desk.world.faults.lift()
        desk.script(actor="talosctl", verb="gen secrets", effect={"exit": 1, "stderr": "broken pipe\n"})
        result = await desk.run("talosctl", "gen", "secrets", "-o", "s.yaml")
        assert (result.rc, result.stderr) == (1, "broken pipe\n")
        assert (desk.work / "s.yaml").exists()

    play(tmp_path, scene)


def test_output_that_is_cut_garbled_or_another(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        whole = await desk.ok(*ASK)
        desk.script(actor="talosctl", verb="get", argv="*machinestatus*", node="infra-01", effect={"truncate": 40})
        assert await desk.ok(*ASK) == whole[:40]
        desk.world.faults.lift()
        desk.script(actor="talosctl", cluster="infra", effect={"garble": True})
        with pytest.raises(json.JSONDecodeError):
            json.loads(await desk.ok(*ASK))
        desk.world.faults.lift()
        desk.script(actor="talosctl", effect={"stdout": "{}"})
        assert await desk.ok(*ASK) == "{}"

    play(tmp_path, scene)


def test_a_program_that_is_slow_or_hangs(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        desk.script(actor="talosctl", count=1, effect={"latency": "10m"})
        begin = desk.world.clock.seconds()
        await desk.ok(*ASK)
        assert desk.world.clock.seconds() - begin >= 590
        desk.script(actor="talosctl", effect={"hang": True, "before": True})
        task = asyncio.ensure_future(desk.run(*ASK))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert desk.world.record.entries()[-1].ok is False

    play(tmp_path, scene)


def test_another_cluster_answers(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await desk.generate()
        await desk.install("infra-01")
        desk.script(actor="talosctl", verb="get", effect={"wrong_cluster": "apps"})
        result = await desk.run(*desk.talosctl("infra-01", "get", "machinestatus"))
        assert "x509: certificate signed by unknown authority" in result.stderr

    play(tmp_path, scene)


def test_the_api_answers_with_errors_or_not_at_all(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await desk.generate()
        await desk.form("infra-01")
        cluster = desk.world.clusters["infra"]

        def ask() -> tuple[int, str]:
            context = ssl.create_default_context(cadata=cluster.ca.cert_pem if cluster.ca else "")
            try:
                with urllib.request.urlopen(f"{cluster.url}/version", context=context, timeout=10) as answer:
                    return answer.status, answer.headers.get("retry-after", "")
            except urllib.error.HTTPError as error:
                return error.code, error.headers.get("retry-after", "")

        assert (await asyncio.to_thread(ask))[0] in (200, 401)
        desk.script(actor="api:infra", verb="GET", object="/version", count=1, effect={"status": 429, "retry_after": 7})
        assert await asyncio.to_thread(ask) == (429, "7")
        desk.script(actor="api:infra", count=1, effect={"cut": True})
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            await asyncio.to_thread(ask)
        assert (await asyncio.to_thread(ask))[0] in (200, 401)

    play(tmp_path, scene)


def test_an_installation_that_fails_and_one_that_never_ends(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await desk.generate()
        desk.script(actor="machine:infra-01", verb="install", count=1, effect={"fail": "no space left on device"})
        desk.script(actor="machine:infra-02", verb="install", effect={"stop": True})
        first, second = desk.world.machines["infra-01"], desk.world.machines["infra-02"]
        assert (await desk.apply("infra-01")).rc == 0
        assert (await desk.apply("infra-02")).rc == 0
        await desk.until(lambda: first.state.boots == 1)
        assert (first.stage(), first.state.problem) == ("maintenance", "no space left on device")
        assert not second.answers
        assert (await desk.apply("infra-01")).rc == 0
        await desk.until(lambda: first.cri_up)

    play(tmp_path, scene)


def test_the_factory_fails_for_a_while(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        factory = desk.world.factory
        assert factory is not None
        desk.script(actor="http:factory", verb="GET", object="/versions", count=1, effect={"status": 503})

        def ask() -> int:
            try:
                with urllib.request.urlopen(f"{factory.url}/versions", timeout=10) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return int(error.code)

        assert [await asyncio.to_thread(ask) for _ in range(2)] == [503, 200]

    play(tmp_path, scene)


def test_how_a_world_begins(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        machines = desk.world.machines
        machines["infra-01"].begin(Condition(node="infra-01", disk="S6XXDATA01", holds="ceph_bluestore"))
        machines["infra-02"].begin(Condition(node="infra-02", clock_skew=90.0))
        machines["infra-03"].begin(Condition(node="infra-03", absent=True))
        await desk.generate()
        volumes = await desk.ok("talosctl", "get", "discoveredvolumes", "--insecure", "-n", "10.25.11.11", "-e", "10.25.11.11")
        assert "ceph_bluestore" in volumes
        gone = await desk.run("talosctl", "get", "disks", "--insecure", "-n", "10.25.11.13", "-e", "10.25.11.13")
        assert "no route to host" in gone.stderr
        await desk.install("infra-02")
        refused = await desk.run(*desk.talosctl("infra-02", "bootstrap"))
        assert "FailedPrecondition desc = time is not in sync yet" in refused.stderr

    play(tmp_path, scene)
