"""The simulated flux against what the real one printed: exit status, streams and text of every recorded case that the lab can play.

One world plays all of them, put back to the state of the recordings before each: no Flux at all, Flux without objects, or the full set.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract import flux_recorded_state as state
from tests.contract.helm_recorded_desk import RECORDED, Desk, cases

pytestmark = [pytest.mark.shared, pytest.mark.skipif(not RECORDED.is_dir(), reason="../shared/recorded is not here")]

NOT_PLAYED = {
    "check-after-uninstall": "CRDs that were still going away",
    "create-secret-git-ssh-export": "the resolver's own error",
    "debug-hr-values": "the recorded release had no values",
    "events": "ages of a moment", "events-all": "ages of a moment",
    "install-export-head": "the head of the file; see test_flux_manifests",
}  # fmt: skip
EMPTY = re.compile(r"empty|stats-empty|get-ks-label-none")
OFFLINE = re.compile(r"^(install-deployments|dead|nocrd|badtoken|no-arguments|unknown|flag|version-client|create-.*-export|create-kustomization|build-ks-dry|envsubst|install-bad|bad-namespace|missing)")
MASKS = (
    (re.compile(r"127\.0\.0\.1:PORT/org"), "127.0.0.1:PORT/org"),
    (re.compile(r'"TIME"|TIME'), "TIME"),
    (re.compile(r"^ *reconcile\.fluxcd\.io/\w+At: .*\n", re.M), ""),
    (re.compile(r"^  annotations:\n(?=  name)", re.M), ""),
    (re.compile(r"lastHandledReconcileAt: .*\n"), ""),
    (re.compile(r"bserved?Generation: \d+|observedGeneration: \d+"), "observedGeneration: N"),
)


class _Idle:
    """In place of the workload controllers, which the recorded API did not have."""

    running, idle = False, True
    crashes: list[str] = []  # noqa: RUF012 - never written

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def script(self, fault: object) -> None: ...


class Player:
    """A desk whose cluster is put back before each case."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.kept: dict[str, Any] = {}
        mask = desk.mask
        desk.mask = lambda text: self._mask(mask(text))  # type: ignore[method-assign]

    @staticmethod
    def _mask(text: str) -> str:
        for pattern, replacement in MASKS:
            text = pattern.sub(replacement, text)
        return text.rstrip()

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[state.Answerer]:
        """Somebody answers requests meanwhile."""
        answerer = state.Answerer(self.desk.cluster.port)
        task = asyncio.create_task(answerer.run())
        try:
            yield answerer
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def prepare(self) -> None:
        """The three states."""
        api, port = self.desk.cluster.api, self.desk.cluster.port
        self.kept["offline"] = api.snapshot()
        await state.install(port, api.registry)
        self.kept["empty"] = api.snapshot()
        await state.fill(port)
        self.kept["full"] = api.snapshot()

    async def case(self, name: str) -> list[str]:
        """Play one case."""
        which = "offline" if OFFLINE.match(name) else "empty" if EMPTY.search(name) else "full"
        self.desk.cluster.api.restore(self.kept[which])
        self.desk.place("flux", name)
        port = self.desk.cluster.port
        if name == "get-ks-suspended":
            for one in ("apps", "infra"):
                await port.patch("kustomize.toolkit.fluxcd.io/v1/kustomizations", one, {"spec": {"suspend": True}}, "flux-system")
        if name.startswith(("uninstall", "delete-source")) and which == "full":
            await state.fill(port, late=True)
        if name == "delete-source-git":
            made = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": {"name": "made", "namespace": "flux-system"}, "spec": {"interval": "1m0s", "url": "https://x/y"}}
            await port.create("source.toolkit.fluxcd.io/v1/gitrepositories", made, "flux-system")
        if name == "check-bootstrapped":
            mark = {"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": "flux-system"}}}
            await port.patch("apiextensions.k8s.io/v1/customresourcedefinitions", "gitrepositories.source.toolkit.fluxcd.io", mark)
        if name.startswith("diff-ks"):
            status = {"inventory": {"entries": state.ENTRIES[:2]}}
            await port.patch("kustomize.toolkit.fluxcd.io/v1/kustomizations", "apps", {"status": status}, "flux-system", "status")
        if which == "offline":
            return await self.desk.play("flux", name)
        async with self.answering():
            return await self.desk.play("flux", name)


PLAYED = [c for c in cases("flux") if c not in NOT_PLAYED and (not c.startswith("bootstrap-git-") or c == "bootstrap-git-http-refused")]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Differences of every case, all played in one world."""

    async def main() -> dict[str, list[str]]:
        desk = Desk(tmp_path_factory.mktemp("flux"), speed=60.0)  # requests are answered well within their timeouts
        desk.cluster.controllers = [_Idle()]  # type: ignore[list-item]
        async with desk:
            player = Player(desk)
            await player.prepare()
            return {c: await player.case(c) for c in PLAYED}

    return asyncio.run(main())


@pytest.mark.parametrize("case", PLAYED)
def test_flux_answers_as_recorded(case: str, answers: dict[str, list[str]]) -> None:
    assert answers[case] == []


BOOTSTRAPS = ("no-credentials", "first", "again", "other-path-refused", "kustomization-never-ready", "root-kustomization-fails", "source-never-ready", "repo-missing", "unreachable")


@pytest.mark.parametrize("case", BOOTSTRAPS)
def test_bootstrap_runs_as_recorded(case: str, tmp_path: Path) -> None:
    """On an empty cluster, or on one that `first` has been run on; the world's remote stands for the recorded one."""

    async def main() -> list[str]:
        desk = Desk(tmp_path, speed=60.0 if case in ("no-credentials", "unreachable", "repo-missing") else 12.0)
        desk.cluster.controllers = [_Idle()]  # type: ignore[list-item]
        async with desk:
            git = desk.world.git
            git.create({"README.md": b"x"})
            env = {"GIT_PASSWORD": next(iter(git.tokens))}
            player = Player(desk)
            mask = desk.mask
            own, recorded = f"{git.owner}/{git.repository}", "org/k8s-gitops"
            desk.mask = lambda text: mask(text.replace(own, recorded))  # type: ignore[method-assign]
            async with player.answering() as answerer:
                git.on_push.append(lambda push: setattr(answerer, "head", push.after))
                task = asyncio.create_task(_ready_deployments(desk))
                if case not in ("first", "repo-missing", "unreachable", "no-credentials"):
                    assert await desk.play("flux", "bootstrap-git-first", _words("first", git.url), env) == []
                await _trouble(case, desk, answerer)
                out = await desk.play("flux", f"bootstrap-git-{case}", _words(case, git.url), env)
                task.cancel()
                return out

    assert asyncio.run(main()) == []


def _words(case: str, url: str) -> list[str]:
    """The recorded command line with the world's own address."""
    words: list[str] = json.loads((RECORDED / "flux" / f"bootstrap-git-{case}" / "argv").read_text())
    return [re.sub(r"http://127\.0\.0\.1:PORT/org/k8s-gitops\.git", url, w).replace("http://127.0.0.1:PORT", url.split("/example-org")[0]) for w in words]


async def _ready_deployments(desk: Desk) -> None:
    """Deployments are ready as soon as they are there."""
    port = desk.cluster.port
    while True:
        for one in (await port.list("apps/v1/deployments", "flux-system"))[0]:
            if not (one.get("status") or {}).get("availableReplicas"):
                await state.deployed(port, one["metadata"]["name"])
        await asyncio.sleep(0.02)


async def _trouble(case: str, desk: Desk, answerer: state.Answerer) -> None:
    """What was wrong with the cluster when a failing case was recorded."""
    port = desk.cluster.port
    blank = {"status": {"conditions": None, "lastAppliedRevision": None, "lastAttemptedRevision": None, "artifact": None}}
    kustomize, source = "kustomize.toolkit.fluxcd.io/v1/kustomizations", "source.toolkit.fluxcd.io/v1/gitrepositories"
    if case in ("kustomization-never-ready", "source-never-ready", "root-kustomization-fails"):
        answerer.deaf = {"Kustomization", *(["GitRepository"] if case.startswith("source") else [])}
        await port.patch(kustomize, "flux-system", blank, "flux-system", "status")
    if case == "source-never-ready":
        await port.patch(source, "flux-system", blank, "flux-system", "status")
    if case == "root-kustomization-fails":
        message = "kustomize build failed: accumulating resources: open nope.yaml: no such file or directory"
        answerer.root_message, answerer.deaf = message, set()
