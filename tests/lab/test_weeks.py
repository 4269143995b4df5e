"""Weeks 1 and 2 with the real command in the lab: planned, run, run again, lost, refused, killed."""

from __future__ import annotations

import difflib
import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.journal import Journal
from tests.lab.rig import Rig, once

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("weeks")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A lab in which both weeks are done, from a saved plan."""
    with Rig(tmp_path_factory.mktemp("weeks") / "lab") as rig:
        plan = rig.folder / "plan.json"
        before = rig.writes()
        rig.run("plan")
        rig.run("plan", "--out", str(plan))
        assert rig.writes() == before, "a plan wrote to the world"
        rig.run("up", str(plan))
        yield rig


def same(one: list[str], other: list[str]) -> str:
    """Empty when two dumps are equal, else the first lines that differ."""
    return "\n".join(list(difflib.unified_diff(one, other, "undisturbed", "disturbed", lineterm="", n=1))[:60])


def test_nothing_is_left_to_do_and_a_second_up_changes_nothing(finished: Rig) -> None:
    assert finished.run("plan", "--detailed-exitcode").rc == 0
    before = finished.writes()
    finished.up()
    assert finished.writes() == before


def test_the_world_accepted_one_etcd_bootstrap_a_cluster(finished: Rig) -> None:
    assert once(finished.record(), " bootstrap") - once(finished.record(), "flux bootstrap") == 2


def test_the_machine_readable_shapes(finished: Rig) -> None:
    plan = json.loads(finished.run("plan", "-o", "json").out)
    assert plan["schema"] == 1 and {"site", "site_digest", "phases_digest", "tools", "journal_head", "made_at", "phases", "summary"} <= set(plan)
    assert all(step["verdict"] == "MET" for phase in plan["phases"] for step in phase["steps"])
    status = json.loads(finished.run("status", "-o", "json").out)
    assert status["summary"]["phases"] == status["summary"]["phases_done"] and status["failure"] is None
    records = [json.loads(line) for line in finished.run("history", "-o", "ndjson").out.splitlines()]
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    finished.run("history", "--verify")


def test_a_cut_journal_shows_even_without_its_anchor_file(finished: Rig, tmp_path: Path) -> None:
    """The clusters hold a mark of the head: whoever cuts the chain and removes the anchor beside it is still found."""
    journal = finished.state / "journal"
    shutil.copytree(journal, tmp_path / "kept")
    last = max(journal.glob("*.ndjson"))
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-3]))
    (journal / "anchor").unlink()
    Journal(journal).close()  # as the product itself would anchor it anew
    try:
        refused = finished.run("history", "--verify", expect=11)
        assert "the mark in infra" in refused.err
    finally:
        shutil.rmtree(journal)
        shutil.copytree(tmp_path / "kept", journal)
    finished.run("history", "--verify")


def test_finished_phases_verify(finished: Rig) -> None:
    assert "all stand" in finished.run("verify").out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("get", "nodes"), "infra-01"),
        (("describe", "node", "infra-01"), "Capacity"),
        (("get", "deploy", "-A", "-o", "yaml"), "kustomize-controller"),
        (("-n", "kube-system", "logs", "ds/cilium", "--tail=3"), ""),
        (("get", "events", "-A"), "kube-system"),
        (("wait", "node/infra-01", "--for=condition=Ready", "--timeout=10s"), "condition met"),
        (("-n", "kube-system", "rollout", "status", "ds/cilium", "--timeout=10s"), "successfully rolled out"),
    ],
)
def test_the_real_kubectl_works(finished: Rig, args: tuple[str, ...], says: str) -> None:
    done = finished.kubectl("infra", *args)
    assert done.rc == 0 and says in done.out, done.err


def test_server_side_apply_and_diff_by_kubectl(finished: Rig, tmp_path: Path) -> None:
    manifest = tmp_path / "cm.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: by-hand, namespace: default}\ndata: {a: one}\n")
    assert finished.kubectl("infra", "apply", "--server-side", "-f", str(manifest)).rc == 0
    assert finished.kubectl("infra", "diff", "-f", str(manifest)).rc == 0
    manifest.write_text(manifest.read_text().replace("one", "two"))
    assert finished.kubectl("infra", "diff", "-f", str(manifest)).rc == 1
    assert finished.kubectl("infra", "delete", "-f", str(manifest)).rc == 0


def test_a_lost_journal_is_no_loss(finished: Rig) -> None:
    """The platform is the truth: without journal and runs nothing is left to do. Last of this lab's tests: it loses the journal."""
    shutil.rmtree(finished.state / "journal")
    shutil.rmtree(finished.state / "runs")
    assert finished.run("plan", "--detailed-exitcode").rc == 0


def test_refusals_on_a_blank_site(tmp_path: Path) -> None:
    with Rig(tmp_path / "lab") as rig:
        refused = rig.up("--phase", "network@infra", expect=4)
        assert "bootstrap up --phase talos@infra" in refused.err or "talos@infra" in refused.err
        unknown = rig.up("--phase", "netwrok", expect=64)
        assert "network" in unknown.err
        first = rig.spawn("up", "--yes", "--until", "talos")
        deadline = time.monotonic() + 30
        while not (rig.state / "lock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        second = rig.up(expect=8)
        assert str(first.pid) in second.err and "holds the lock" in second.err
        first.kill()
        first.communicate()
        assert not [write for write in rig.writes() if "network" in write]


@pytest.mark.xdist_group("kills")
def test_kills_in_the_middle_end_in_the_same_world(tmp_path: Path) -> None:
    with Rig(tmp_path / "one") as rig:
        rig.up()
        undisturbed = rig.dump()
    with Rig(tmp_path / "two") as rig:
        for word in ("apply-config", " bootstrap", "helm upgrade", "gateway: ", "flux bootstrap"):
            rig.kill_at(word)
        last = rig.up()
        assert "resolve" not in last.err
        assert same(undisturbed, rig.dump()) == ""
        assert once(rig.record(), " bootstrap") - once(rig.record(), "flux bootstrap") == 2


@pytest.mark.long
@pytest.mark.xdist_group("kills")
def test_twenty_five_kills_at_random_moments_end_in_the_same_world(tmp_path: Path) -> None:
    """Moments are counted in journal records, not seconds, so that a seed means the same on any machine."""
    chance = random.Random(25)
    with Rig(tmp_path / "one") as rig:
        rig.up()
        undisturbed = rig.dump()
    with Rig(tmp_path / "two") as rig:
        for _ in range(25):
            rig.kill_after(chance.randint(1, 40))
        last = rig.up()
        assert "resolve" not in last.err
        assert same(undisturbed, rig.dump()) == ""
        assert once(rig.record(), " bootstrap") - once(rig.record(), "flux bootstrap") == 2
