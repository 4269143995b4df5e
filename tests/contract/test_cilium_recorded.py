"""The simulated cilium against what the real one printed: exit status, streams and text of every recorded case that the lab can play.

Cases named `present-` had Cilium's objects with faked status: their reports are compared by rendering the same facts.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from lab.programs.cilium.commands import duration
from lab.programs.cilium.status import Report, as_json, as_text
from tests.contract.helm_recorded_desk import RECORDED, Desk, cases

pytestmark = [pytest.mark.shared, pytest.mark.skipif(not RECORDED.is_dir(), reason="../shared/recorded is not here")]

NOT_PLAYED = {
    "install-dry-run-head": "the recorded chart's own formatting; names and kinds are tested in test_cilium_chart",
    "install-dry-run-nonsense-version": "recorded without a network; in the lab the repository answers",
    "install-dry-run-unknown-version": "recorded without a network; in the lab the repository answers",
    "install-dry-run-helm-values-default-version": "the recorded API's port",
    "nocilium-sysdump": "not played",
    "dead-status-wait": "redraws as often as the machine was fast; see test_a_wait_is_redrawn",
    "nocilium-status-wait": "redraws as often as the machine was fast; see test_a_wait_is_redrawn",
    "present-connectivity-test-agent-missing": "the recorded stand-in's own error; see test_cilium_program",
    "present-config-view-head": "see test_the_config_is_shown_in_columns",
    "present-version": "see test_versions_of_a_release",
}
ORDERED = re.compile(r"status check failed: \[(.*)\]", re.S)


def settled(differences: list[str]) -> list[str]:
    """Without differences in the order of errors that the real program collects in parallel."""
    out = []
    for one in differences:
        sides: dict[str, list[str]] = {}
        for line in one.splitlines():
            match = ORDERED.search(line)
            if match and line[0] in "+-":
                sides[line[0]] = sorted(match[1].split(", "))
        if len(sides) != 2 or sides["+"] != sides["-"]:
            out.append(one)
    return out


def as_recorded(text: str) -> str:
    """One pod more was in the recorded cluster."""
    return text.replace('"all": 1,', '"all": 0,').replace("0/1 managed", "0/0 managed")


@pytest.mark.parametrize("case", [c for c in cases("cilium") if c not in NOT_PLAYED and not c.startswith("present-")])
def test_cilium_answers_as_recorded(case: str, tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with Desk(tmp_path) as desk:
            mask = desk.mask
            desk.mask = lambda text: re.sub(r'"collection_errors": \[.*', "", as_recorded(mask(text)), flags=re.S)  # type: ignore[method-assign]
            desk.place("cilium", case)
            return settled(await desk.play("cilium", case))

    assert asyncio.run(main()) == []


def report_of(recorded: dict[str, Any]) -> Report:
    """The report that a recorded JSON was printed from."""
    return Report(
        recorded.get("image_count", {}), recorded.get("phase_count", {}), recorded.get("pod_state", {}), recorded["pods_count"]["all"], recorded["pods_count"]["by_cilium"],
        recorded.get("cilium_status", {}), recorded.get("errors", {}), [], recorded.get("helm_chart_version", ""),
    )  # fmt: skip


@pytest.mark.parametrize("case", ["present-status", "present-status-agent-missing"])
def test_a_report_is_rendered_as_recorded(case: str) -> None:
    data = (RECORDED / "cilium" / f"{case}-json" / "stdout").read_text()
    report = report_of(json.loads(data))
    assert as_json(report) == data
    assert as_text(report) == (RECORDED / "cilium" / case / "stdout").read_text()


def test_a_wait_is_redrawn(tmp_path: Path) -> None:
    async def main() -> None:
        async with Desk(tmp_path) as desk:
            result = await desk.run("cilium", "status", "--wait", "--wait-duration", "3s", env=desk.kubeconfig("live"))
            recorded = (RECORDED / "cilium" / "nocilium-status-wait" / "stderr").read_text()
            assert (result.rc, as_recorded(result.stderr)) == (1, as_recorded(recorded))
            assert result.stdout.count("\x1b[A\x1b[2K") == result.stdout.count("\n") // 2

    asyncio.run(main())


def test_the_config_is_shown_in_columns(tmp_path: Path) -> None:
    async def main() -> None:
        async with Desk(tmp_path) as desk:
            head = (RECORDED / "cilium" / "present-config-view-head" / "stdout").read_text()
            data = dict([*line.split(), ""][:2] for line in head.splitlines())
            await desk.cluster.port.create("v1/configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cilium-config", "namespace": "kube-system"}, "data": data}, "kube-system")
            result = await desk.run("cilium", "config", "view", env=desk.kubeconfig("live"))
            assert result.stdout == head

    asyncio.run(main())


def test_versions_of_a_release(tmp_path: Path) -> None:
    async def main() -> None:
        async with Desk(tmp_path) as desk:
            env = desk.kubeconfig("live")
            installed = await desk.run("cilium", "install", "--version", "1.18.2", env=env)
            assert installed.rc == 0, installed.stderr
            again = await desk.play("cilium", "present-install-again")
            assert [a for a in again if "stderr" in a or "exit" in a] == []
            assert await desk.play("cilium", "present-version") == []
            mask = desk.mask
            # how long it waited already is the machine's affair
            desk.mask = lambda text: re.sub(r"Waiting \(\d+s\)", "Waiting (Ns)", mask(text))  # type: ignore[method-assign]
            for case in ("present-clustermesh-status-not-enabled", "present-clustermesh-status-not-enabled-wait"):
                assert await desk.play("cilium", case) == []

    asyncio.run(main())


@pytest.mark.parametrize(("nanoseconds", "text"), [(0, "0s"), (3600 * 10**9, "1h0m0s"), (61 * 10**9, "1m1s")])
def test_uptimes_are_go_durations(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text
