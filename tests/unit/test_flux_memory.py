"""What Flux' controllers of a saved world go on with: what was dealt with, when to look again, the artifacts that they keep."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import pytest

from lab.clock import Clock
from lab.ctl.base import Informers
from lab.ctl.namespace import ServiceAccounts
from lab.flux.common import Artifacts, Remote
from lab.flux.source import Sources
from lab.helm import catalog
from lab.kube.port import KubePort

PLACE = ("GitRepository", "flux-system", "flux-system")
KEY = "/".join(PLACE)
FACTS = (1, "", "uid-1")


class Repository:
    """A remote that knows one commit."""

    on_push: tuple[object, ...] = ()

    def tree(self, commit: str) -> dict[str, bytes]:
        return {"a.yaml": commit.encode(), ".gitignore": b"x"}


def sources(clock: Clock) -> Sources:
    port = cast(KubePort, None)  # nothing is asked of the API here
    return Sources(port, clock, Informers(port, clock), Artifacts(), cast(Remote, Repository()))


def resumed(before: Sources, clock: Clock) -> Sources:
    """Another process' controllers after a save and a resume."""
    after = sources(clock)
    after.recall(json.loads(json.dumps(before.memory())))
    return after


def test_what_was_dealt_with_is_not_looked_at_again() -> None:
    clock = Clock(1.0, elapsed=100.0)
    before = sources(clock)
    before.settle(KEY, FACTS, 600.0)
    after = resumed(before, clock)
    assert 590.0 < after.due(KEY, FACTS) <= 600.0
    assert after.due(KEY, (2, "", "uid-1")) == 0.0, "a new generation"
    assert sources(clock).due(KEY, FACTS) == 0.0, "without the memory it would"


def test_a_push_that_nobody_has_seen_is_seen_at_its_time() -> None:
    async def run() -> float:
        clock = Clock(1.0, elapsed=100.0)
        before = sources(clock)
        before.settle(KEY, FACTS, 600.0)
        before.hasten(KEY, 30.0)
        found = resumed(before, clock).due(KEY, FACTS)
        await before.stop()
        return found

    assert 20.0 < asyncio.run(run()) <= 30.0


def test_artifacts_are_there_again() -> None:
    clock = Clock(1.0)
    before = sources(clock)
    revision = f"main@sha1:{'a' * 40}"
    before.artifacts.files[PLACE] = (revision, {})
    url, (offer, *_) = next(iter(catalog.REPOSITORIES.items()))
    origin = ("repository", url, offer.name, offer.versions[0])
    before.artifacts.charts["flux-system", "one"] = (origin, before._made(*origin))
    after = resumed(before, clock)
    assert after.artifacts.of(*PLACE, revision) == {"a.yaml": b"a" * 40}
    kept, chart = after.artifacts.charts["flux-system", "one"]
    assert kept == origin and (chart.name, chart.version) == (offer.name, offer.versions[0])


def test_a_controller_without_a_memory_takes_none() -> None:
    clock = Clock(1.0)
    port = cast(KubePort, None)
    plain = ServiceAccounts(port, clock, Informers(port, clock))
    assert plain.memory() == {}
    with pytest.raises(ValueError, match="no memory"):
        plain.recall({"handled": {}})
