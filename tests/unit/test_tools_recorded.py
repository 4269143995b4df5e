"""Judges on what the real programs printed (../shared/recorded): the answers that open them, and those that must not."""

from __future__ import annotations

import json
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from inventory.model import DiskSelector, Node
from orchestrator.model.query import Answer
from orchestrator.model.verdict import State
from orchestrator.tools import cilium, classify, flux, helm, talosctl
from orchestrator.tools.answers import careful, stream
from orchestrator.tools.talosctl import NodeState, node_state

RECORDED = Path(__file__).parents[2].parent / "shared" / "recorded"
pytestmark = [pytest.mark.shared, pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded runs (../shared/recorded) are not here")]
THERE = Answer(status=404, body={"kind": "Status"})
GONE = THERE


def answer(case: str) -> Answer:
    folder = RECORDED / case
    rc = (folder / "rc").read_text().strip()
    return Answer(rc=int(rc) if rc.isdigit() else 124, stdout=(folder / "stdout").read_text(), stderr=(folder / "stderr").read_text())


def node(name: str, address: str, *, mac: str | None = None, serial: str | None = None, disk: str = "S5XXNE0R000001") -> Node:
    return Node(name=name, cluster="infra", address=IPv4Address(address), mac=mac, serial=serial, install_disk=DiskSelector(serial=disk))


@pytest.mark.parametrize(
    ("insecure", "secure", "state"),
    [
        ("node-maintenance-get-machinestatus-json", "node-secure-against-maintenance", NodeState.MAINTENANCE),
        ("node-insecure-against-configured", "node-get-machinestatus-json", NodeState.CONFIGURED),
        ("dead-get-machinestatus-insecure", "dead-get-members-json", NodeState.UNREACHABLE),
        ("node-insecure-against-configured", "node-wrong-secrets", NodeState.FOREIGN),
        ("node-insecure-against-configured", "config-info-missing-file", NodeState.LOCKED),
        ("dead-get-machinestatus-insecure", "get-without-endpoints", NodeState.UNREACHABLE),
        ("node-insecure-against-configured", "dead-get-members-json", NodeState.UNREACHABLE),
        ("no-arguments", "no-arguments", NodeState.UNREAD),
        ("dead-get-machinestatus-insecure", "node-secure-against-maintenance", NodeState.UNREAD),
    ],
)
def test_node_state_by_the_words_of_two_calls(insecure: str, secure: str, state: NodeState) -> None:
    assert node_state(answer(f"talosctl/{insecure}"), answer(f"talosctl/{secure}")) is state


@pytest.mark.parametrize("tls", ["rpc error: code = Unavailable desc = connection error: desc = \"error reading server preface: remote error: tls: certificate required\""])
def test_certificate_required_with_other_secrets_is_foreign(tls: str) -> None:
    assert node_state(Answer(rc=1, stderr=tls), answer("talosctl/node-wrong-secrets")) is NodeState.FOREIGN


def blank() -> list[Answer]:
    links, disks = answer("talosctl/node-maintenance-get-links-json"), answer("talosctl/node-maintenance-get-disks-json")
    return [links, answer("talosctl/node-get-systeminformation-json"), disks, Answer()]


@pytest.mark.parametrize(
    ("wanted", "state"),
    [
        (node("infra-01", "10.25.11.11", mac="AA:BB:CC:DD:EE:01"), State.MET),
        (node("infra-01", "10.25.11.11", mac="aa:bb:cc:dd:ee:99"), State.UNMET),
        (node("infra-01", "10.25.11.11", mac="aa:bb:cc:dd:ee:01", serial="SN2"), State.UNMET),
        (node("infra-01", "10.25.11.11", serial="SN1"), State.MET),
        (node("infra-01", "10.25.11.11", mac="aa:bb:cc:dd:ee:01", disk="OTHER"), State.UNMET),
    ],
)
def test_right_machine_and_right_disk_or_nothing(wanted: Node, state: State) -> None:
    verdict = talosctl.judge_blank(wanted, tuple(blank()))
    assert verdict.state is state and verdict.permanent == (state is State.UNMET)


def test_a_node_that_cannot_be_asked_is_not_confirmed() -> None:
    answers = (answer("talosctl/dead-get-machinestatus-insecure"), *blank()[1:])
    assert talosctl.judge_blank(node("infra-01", "10.25.11.11", mac="aa:bb:cc:dd:ee:01"), answers).state is State.UNKNOWN


def test_a_data_disk_with_a_filesystem_is_not_blank() -> None:
    disks = stream(answer("talosctl/node-get-disks-json").stdout)
    volumes = stream(answer("talosctl/node-get-discoveredvolumes-json").stdout)
    used = next(d for d in disks if any(v["spec"].get("parent") == d["metadata"]["id"] for v in volumes))
    wanted = node("infra-01", "10.25.11.11").model_copy(update={"data_disks": (DiskSelector(serial=used["spec"]["serial"]),)})
    assert talosctl.dirty_data_disks(wanted, disks, volumes)


THREE = (node("infra-01", "10.25.11.11"), node("infra-02", "10.25.11.12"), node("infra-03", "10.25.11.13"))
MEMBER, NO_MEMBER = "talosctl/node-get-etcdmembers-json", "talosctl/node-get-etcdmembers-none-json"
STOPPED = Answer(stdout=json.dumps({"metadata": {"id": "etcd"}, "spec": {"running": False, "healthy": False, "unknown": True}}))
DEAD = "talosctl/dead-get-members-json"


@pytest.mark.parametrize(
    ("members", "state"),
    [
        ((NO_MEMBER, NO_MEMBER, NO_MEMBER), State.UNMET),
        ((MEMBER, NO_MEMBER, NO_MEMBER), State.MET),
        ((NO_MEMBER, NO_MEMBER, MEMBER), State.MET),
        ((NO_MEMBER, DEAD, NO_MEMBER), State.UNKNOWN),
        ((MEMBER, DEAD, DEAD), State.MET),
        ((DEAD, DEAD, DEAD), State.UNKNOWN),
    ],
)
def test_etcd_is_bootstrapped_only_when_every_node_was_asked(members: tuple[str, ...], state: State) -> None:
    answers = tuple(part for case in members for part in (answer(case), STOPPED))
    assert talosctl.judge_etcd_started(THREE, answers).state is state


def test_etcd_that_is_starting_is_not_started_again() -> None:
    running = answer("talosctl/node-get-services-etcd-json")
    answers = (answer(NO_MEMBER), running, answer(NO_MEMBER), STOPPED, answer(NO_MEMBER), STOPPED)
    assert talosctl.judge_etcd_started(THREE, answers).state is State.UNKNOWN


def etcd(status: str = "talosctl/node-etcd-status", members: str = "talosctl/node-etcd-members") -> tuple[Answer, ...]:
    return (answer("talosctl/node-get-services-etcd-json"), answer(members), answer(status)) * 3


def test_etcd_gate_opens_on_three_members_with_one_leader() -> None:
    assert talosctl.judge_etcd_healthy(THREE, etcd()).state is State.MET


@pytest.mark.parametrize(
    ("old", "new", "state"),
    [
        ("false\n", "true \n", State.UNMET),
        ("5f5b0c1d00000002   infra-02", "5f5b0c1d0000000f   infra-02", State.UNMET),
        ("NODE          ID", "ID            NODE", State.UNKNOWN),
    ],
)
def test_etcd_gate_stays_closed_when_the_members_differ(old: str, new: str, state: State) -> None:
    good = etcd()
    spoilt = Answer(stdout=good[1].stdout.replace(old, new))
    assert spoilt.stdout != good[1].stdout
    answers = (good[0], spoilt, good[2], *good[3:])
    assert careful(partial(talosctl.judge_etcd_healthy, THREE))(answers).state is state


def test_etcd_gate_reads_errors_of_the_status() -> None:
    row = answer("talosctl/node-etcd-status-three-nodes").stdout.splitlines()
    sick = Answer(stdout="\n".join((row[0], row[3])) + "\n")
    good = etcd()
    assert talosctl.judge_etcd_healthy(THREE, (*good[:8], sick)).state is State.UNMET


def test_etcd_gate_wants_all_members() -> None:
    good = etcd()
    assert talosctl.judge_etcd_healthy(THREE[:1], good[:3]).state is State.UNMET


@pytest.mark.parametrize(
    ("case", "state"),
    [("node-health", State.MET), ("node-health-nodes-not-ready", State.UNMET), ("dead-health", State.UNMET), ("no-arguments", State.UNKNOWN)],
)
def test_health(case: str, state: State) -> None:
    assert talosctl.judge_health((answer(f"talosctl/{case}"),)).state is state


@pytest.mark.parametrize(("case", "state"), [("node-get-diagnostics-none-json", State.MET), ("node-get-diagnostics-json", State.UNMET), ("dead-get-members-json", State.UNKNOWN)])
def test_diagnostics(case: str, state: State) -> None:
    assert talosctl.judge_no_diagnostics(THREE[:1], (answer(f"talosctl/{case}"),)).state is state


VERSION, VALUES = "1.18.12", {"clusterName": "infra"}


def release(case: str) -> Answer:
    found = answer(f"helm/{case}")
    return Answer(rc=found.rc, stdout=found.stdout.replace('"demo"', '"cilium"').replace("demo-1", "cilium-1").replace('"stuck"', '"cilium"').replace('"slow"', '"cilium"'), stderr=found.stderr)


@pytest.mark.parametrize(
    ("case", "state"),
    [
        ("list-filter-json", State.MET),
        ("list-filter-none-json", State.UNMET),
        ("list-pending-upgrade-all-json", State.UNMET),
        ("list-failed-hook-release-json", State.UNMET),
        ("dead-list", State.UNKNOWN),
        ("no-kubeconfig-list", State.UNKNOWN),
        ("no-arguments", State.UNKNOWN),
    ],
)
def test_cilium_release_before_flux(case: str, state: State) -> None:
    judge = careful(partial(helm.judge_installed, VERSION, VALUES))
    assert judge((release(case), answer("helm/get-values-json"), GONE)).state is state


def test_other_values_are_upgraded_and_a_missing_api_is_not_guessed() -> None:
    shown = release("list-filter-json")
    assert helm.judge_installed(VERSION, {"clusterName": "apps"}, (shown, answer("helm/get-values-json"), GONE)).state is State.UNMET
    assert helm.judge_installed(VERSION, VALUES, (shown, answer("helm/get-values-json"), Answer(status=503, body={}))).state is State.UNKNOWN


def test_once_flux_owns_cilium_values_are_not_compared() -> None:
    owner = Answer(status=200, body={"kind": "HelmRelease", "metadata": {"name": "cilium", "generation": 1}})
    assert helm.judge_installed(VERSION, {"clusterName": "apps"}, (release("list-filter-json"), answer("helm/get-values-json"), owner)).state is State.MET


@pytest.mark.parametrize(
    ("case", "nodes", "state"),
    [
        ("present-status-json", 3, State.MET),
        ("present-status-json", 2, State.UNMET),
        ("present-status-agent-missing-json", 3, State.UNMET),
        ("nocilium-status-json-interactive-false", 3, State.UNMET),
        ("nocilium-status-wait-json", 3, State.UNKNOWN),
        ("dead-status-json", 3, State.UNMET),
        ("no-kubeconfig-status", 3, State.UNKNOWN),
    ],
)
def test_cilium_status(case: str, nodes: int, state: State) -> None:
    assert careful(partial(cilium.judge_status, nodes))((answer(f"cilium/{case}"),)).state is state


@pytest.mark.parametrize(
    ("case", "state"),
    [
        ("present-bgp-peers-json", State.UNMET),  # infra-03 is active
        ("present-bgp-peers-one-agent-fails-json", State.UNMET),
        ("nocilium-bgp-peers-json", State.UNMET),
        ("dead-bgp-peers", State.UNKNOWN),
    ],
)
def test_bgp_peers_need_every_node(case: str, state: State) -> None:
    assert careful(partial(cilium.judge_bgp_peers, THREE, "10.25.11.1"))((answer(f"cilium/{case}"),)).state is state


def test_bgp_peers_of_the_nodes_that_are_established() -> None:
    assert cilium.judge_bgp_peers(THREE[:2], "10.25.11.1", (answer("cilium/present-bgp-peers-json"),)).state is State.MET


@pytest.mark.parametrize("case", ["nocilium-clustermesh-status-wait-json", "present-clustermesh-status-not-enabled"])
def test_mesh_that_is_not_there(case: str) -> None:
    assert cilium.judge_mesh(3, ("apps",), (answer(f"cilium/{case}"),)).state is State.UNMET


@pytest.mark.parametrize(
    ("case", "state"), [("check-pre", State.MET), ("dead-check-pre", State.UNKNOWN), ("badtoken-check-pre", State.UNKNOWN), ("unknown-flag", State.UNMET), ("no-arguments", State.UNKNOWN)]
)
def test_flux_check_pre(case: str, state: State) -> None:
    assert flux.judge_check_pre((answer(f"flux/{case}"),)).state is state


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        ("talosctl/dead-apply-config-insecure", "transient"),
        ("talosctl/node-bootstrap-not-available-yet", "transient"),
        ("talosctl/node-bootstrap-already", "unknown"),
        ("talosctl/node-maintenance-apply-config-invalid", "permanent"),
        ("talosctl/node-maintenance-apply-config-staged", "permanent"),
        ("talosctl/gen-secrets-exists", "permanent"),
        ("talosctl/unknown-flag", "permanent"),
        ("talosctl/node-wrong-secrets", "unknown"),
        ("talosctl/gen-config", "unknown"),
        ("helm/dead-upgrade-install", "transient"),
        ("helm/upgrade-while-pending", "permanent"),
        ("helm/upgrade-wait-timeout", "transient"),
        ("helm/upgrade-install-repo-unreachable", "transient"),
        ("helm/rollback-pending-install", "permanent"),
        ("helm/install-ownership-conflict", "permanent"),
        ("helm/unknown-flag", "permanent"),
        ("helm/badtoken-list", "permanent"),
        ("cilium/dead-connectivity-test", "transient"),
        ("cilium/unknown-flag", "permanent"),
        ("flux/bootstrap-git-other-path-refused", "permanent"),
        ("flux/bootstrap-git-kustomization-never-ready", "transient"),
        ("flux/bootstrap-github-no-token", "permanent"),
        ("flux/reconcile-ks-suspended", "permanent"),
        ("flux/reconcile-ks-failing", "transient"),
    ],
)
def test_failures_are_classed_by_their_words(case: str, wanted: str) -> None:
    found = answer(case)
    assert classify((case.partition("/")[0],), found.rc, found.stdout, found.stderr) == wanted
