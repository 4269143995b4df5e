"""The simulated helm against what the real one printed: exit status, streams and text of every recorded case that the lab can play."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from lab.helm import release as rel
from lab.helm.charts import Context, capabilities, load_folder, render, stored
from lab.helm.release import Release, Storage
from tests.contract.helm_recorded_desk import RECORDED, Desk, cases

pytestmark = [pytest.mark.shared, pytest.mark.skipif(not RECORDED.is_dir(), reason="../shared/recorded is not here")]

NOT_PLAYED = {
    "package": "prints where it stood",
    "upgrade-hook-timeout": "the recorded chart's archive is not here; the text is tested in test_helm_engine",
    "install-sigint": "needs a signal; see test_helm_engine",
    "install-sigterm": "needs a signal; see test_helm_engine",
    "list-all-namespaces-short": "another release of the recorded cluster",
    "upgrade-install-json": "a template's content is redacted in the recording",
}
# What the cluster held when a case was recorded: releases as name, revision, status; "deploy" has the chart with a Deployment.
STATES: dict[str, tuple[str, ...]] = {
    "get-": ("demo 3 deployed",), "history": ("demo 3 deployed",), "status": ("demo 3 deployed",), "list-one": ("demo 3 deployed",), "list-yaml": ("demo 3 deployed",),
    "list-filter": ("demo 3 deployed",), "rollback": ("demo 3 deployed",), "uninstall": ("demo 3 deployed",), "install-name-in-use": ("demo 3 deployed",),
    "history-after-failed": ("demo 3 deployed", "demo 4 failed deploy"), "status-after-failed": ("demo 3 deployed", "demo 4 failed deploy"), "list-after-failed-upgrade": ("demo 3 deployed", "demo 4 failed deploy"),
    "list-after-failed-install": ("slow 1 failed deploy",), "install-again": ("slow 1 failed deploy",), "upgrade-install-after": ("slow 1 failed deploy",),
    "list-pending-json": ("demo 7 deployed", "stuck 1 pending-install deploy"), "list-default-after-kill": ("demo 7 deployed", "stuck 1 pending-install deploy"),
    "list-pending-upgrade": ("slow 2 deployed", "slow 3 pending-upgrade"), "rollback-pending-upgrade": ("slow 2 deployed", "slow 3 pending-upgrade"),
    "rollback-pending-install": ("stuck 1 pending-install deploy",), "uninstall-pending": ("stuck 1 pending-install deploy",), "status-pending": ("stuck 1 pending-install deploy",),
    "upgrade-while-pending": ("stuck 1 pending-install deploy",), "status-after-sigint": ("intr 1 failed deploy",), "list-after-sigterm": ("intr 1 failed deploy", "term 1 failed deploy"),
    "list-failed-hook": ("cilium 1 failed",), "upgrade-install-second": ("demo 1 deployed",), "upgrade-wait-timeout": ("demo 3 deployed",), "upgrade-atomic": ("demo 3 deployed",),
    **dict.fromkeys(("get-values-not-found", "history-not-found", "status-not-found", "rollback-not-found", "uninstall-not-found", "unknown-"), ()),
}  # fmt: skip
DESCRIPTIONS = {"pending-install": "Initial install underway", "pending-upgrade": "Preparing upgrade", "deployed": "Upgrade complete"}


def state_of(case: str) -> tuple[str, ...]:
    """The longest prefix of the case that the table knows."""
    return STATES.get(max((p for p in STATES if case.startswith(p)), key=len, default=""), ())


async def seed(desk: Desk, words: str) -> None:
    """Write a release and its earlier revisions as they were."""
    name, revision, status, *kind = words.split()
    chart = load_folder(RECORDED / "helm" / ("install-wait-timeout" if kind else "template") / "input" / "chart")
    values = {"clusterName": "infra"} if name == "demo" else {}
    namespace = "kube-system" if name == "cilium" else "apps"
    now = desk.world.clock.now()
    done = await render(chart, Context(name, namespace, 1, False, values, capabilities(), now))
    kept = stored(chart)
    if name == "cilium":
        kept["metadata"] = {"name": "cilium", "version": "1.18.2", "appVersion": "1.18.2"}
    storage = Storage(desk.cluster.port, namespace)
    have = {r.version for r in await storage.history(name)}
    for number in range(max(1, int(revision) - 3), int(revision) + 1):
        last = number == int(revision)
        state = status if last else rel.SUPERSEDED
        text = DESCRIPTIONS.get(state, f'Release "{name}" failed: context canceled' if number == 1 else f'Upgrade "{name}" failed: context deadline exceeded')
        text = "Install complete" if number == 1 and state in (rel.SUPERSEDED, rel.DEPLOYED) else "Upgrade complete" if state == rel.SUPERSEDED else text
        if number not in have:
            release = Release(name, namespace, number, state, text, rel.stamp(now), rel.stamp(now), kept, values, done.manifest, done.notes)
            await storage.create(release, now)


async def fresh(desk: Desk, case: str) -> None:
    """The namespace, the objects and the releases of a case."""
    port = desk.cluster.port
    for name in ("apps", "rook-ceph"):
        if await port.get("v1/namespaces", name) is None:
            await port.create("v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    if case == "install-ownership-conflict":
        settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "apps"}, "data": {"a": "b"}}
        await port.create("v1/configmaps", settings, "apps")
    for words in state_of(case):
        await seed(desk, words)


@pytest.mark.parametrize("case", [c for c in cases("helm") if c not in NOT_PLAYED])
def test_helm_answers_as_recorded(case: str, tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with Desk(tmp_path) as desk:
            await fresh(desk, case)
            desk.place("helm", case)
            if not (desk.work / "chart").exists():
                shutil.copytree(RECORDED / "helm" / "template" / "input" / "chart", desk.work / "chart")
            if case == "list-pending-upgrade-pending-json":
                assert "pending-upgrade" in (await desk.run("helm", "list", "-n", "apps", "-a", env=desk.kubeconfig("live"))).stdout
            return await desk.play("helm", case)

    assert asyncio.run(main()) == []


def test_every_unplayed_case_exists() -> None:
    assert set(NOT_PLAYED) <= set(cases("helm")) | {"install-sigint", "install-sigterm"}
