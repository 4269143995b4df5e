"""What a drill leans on in the lab: controllers that faults stop, machines that lifting mends, programs of `exec:` references."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from inventory import load
from lab.faults import Condition, Effect
from orchestrator.model.query import Answer
from orchestrator.model.verdict import State
from orchestrator.tools import kube
from tests.lab_desk import SITES, Desk


def test_a_controller_that_a_fault_stops_does_nothing_until_it_is_lifted() -> None:
    from lab.ctl.base import Controller

    class Counting(Controller):
        name = "counting"
        done = 0

        def watches(self) -> dict[str, Any]:
            return {}

        async def reconcile(self, key: str) -> float | None:
            self.done += 1
            return None

    async def story() -> None:
        from lab.clock import Clock

        controller = Counting(None, Clock(speed=1000.0), object())  # type: ignore[arg-type]  # neither port nor caches are asked here
        asked: list[tuple[str, str]] = []

        def fault(name: str, key: str) -> Effect | None:
            asked.append((name, key))
            return Effect(stop=True) if len(asked) == 1 else None

        controller.script(fault)
        assert await controller._attempt("a/b") is not None and controller.done == 0
        assert await controller._attempt("a/b") is None and controller.done == 1
        assert asked == [("counting", "a/b"), ("counting", "a/b")]

    asyncio.run(story())


def test_lifting_mends_how_a_machine_began(tmp_path: Path) -> None:
    async def story() -> None:
        async with Desk(tmp_path) as desk:
            machine = desk.world.machines["infra-01"]
            conditions = [Condition(node="infra-01", disk="nvme1n1", holds="ceph_bluestore"), Condition(node="infra-01", clock_skew=90.0)]
            for condition in conditions:
                machine.begin(condition)
            disk = next(disk for disk in machine.disks if disk.name == "nvme1n1")
            assert disk.signature == "ceph_bluestore" and not machine.time_in_sync
            for condition in conditions:
                machine.mend(condition)
            assert disk.signature == "" and machine.time_in_sync

    asyncio.run(story())


def test_a_program_of_an_exec_reference_prints_what_the_lab_decided(tmp_path: Path) -> None:
    async def story() -> None:
        async with Desk(tmp_path) as desk:
            desk.world.printed = {("pass", "show", "a b"): "hush"}
            found = await desk.run("pass", "show", "a b")
            assert (found.rc, found.stdout) == (0, "hush\n")
            assert (await desk.run("pass", "show", "other")).rc == 1

    asyncio.run(story())


def test_another_clusters_nodes_are_not_waited_for() -> None:
    site = load(SITES / "ten-weeks" / "site.yaml")
    answer = Answer(status=200, body={"kind": "NodeList", "items": [{"metadata": {"name": "apps-01"}}]})
    found = kube.judge_registered(site.nodes_of("infra"), (answer,))
    assert found.state is State.UNMET and found.foreign and found.permanent and "apps-01" in found.reason
    empty = kube.judge_registered(site.nodes_of("infra"), (Answer(status=200, body={"kind": "NodeList", "items": []}),))
    assert empty.state is State.UNMET and not empty.foreign
