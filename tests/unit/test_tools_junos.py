"""The gateway's difference and its sessions, on text as the device prints it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import inventory
from orchestrator.model.action import JunosChange
from orchestrator.model.query import Answer
from orchestrator.model.setlines import awaits_confirmation, current_lines, missing, settled, to_send
from orchestrator.model.verdict import State
from orchestrator.tools import junos

SITE = inventory.load(Path(__file__).parents[2] / "inventory" / "sites" / "ten-weeks" / "site.yaml")
INFRA, APPS = SITE.cluster("infra"), SITE.cluster("apps")
BARE = """set version 21.4R3-S5.4
set system host-name srx320
set security zones security-zone K8S host-inbound-traffic system-services ping
set security zones security-zone K8S interfaces ge-0/0/1.0
set policy-options policy-statement UPSTREAM-HASH then load-balance per-packet
set routing-options forwarding-table export UPSTREAM-HASH
set protocols bgp group UPSTREAM type external
"""
OWN_LIST = BARE + "set security zones security-zone K8S interfaces ge-0/0/1.0 host-inbound-traffic system-services ssh\n"
ZONE_BGP = "set security zones security-zone K8S host-inbound-traffic protocols bgp"
INTERFACE_BGP = "set security zones security-zone K8S interfaces ge-0/0/1.0 host-inbound-traffic protocols bgp"


def sent(text: str, cluster: inventory.Cluster = INFRA) -> tuple[str, ...]:
    return missing(junos.wanted(SITE, cluster), (line for line, _ in junos.secrets(SITE, cluster)), text)


def test_bgp_goes_into_the_zones_list_where_the_interface_has_none() -> None:
    assert ZONE_BGP in sent(BARE) and INTERFACE_BGP not in sent(BARE)


def test_bgp_goes_into_the_interfaces_own_list_which_replaces_the_zones() -> None:
    assert INTERFACE_BGP in sent(OWN_LIST) and ZONE_BGP not in sent(OWN_LIST)


@pytest.mark.parametrize(("there", "set_it"), [("", True), ("set routing-options autonomous-system 64512\n", False), ("set routing-options autonomous-system 65000\n", False)])
def test_a_global_as_is_never_changed(there: str, *, set_it: bool) -> None:
    assert ("set routing-options autonomous-system 64512" in sent(BARE + there)) is set_it


def test_nothing_is_sent_twice() -> None:
    first = [line if "authentication-key" not in line else f'{line} "$9$salted"' for line in sent(BARE)]
    assert sent(BARE + "\n".join(first)) == ()


def test_the_second_cluster_adds_only_its_own() -> None:
    after = BARE + "\n".join(sent(BARE))
    new = sent(after, APPS)
    assert all("K8S-APPS" in line for line in new)
    assert not any("K8S-INFRA" in line for line in new)


def test_a_key_that_is_there_is_left_alone() -> None:
    there = 'set protocols bgp group K8S-INFRA authentication-key "$9$abc"\n'
    assert not any("authentication-key" in line for line in sent(BARE + there))
    assert "set protocols bgp group K8S-INFRA authentication-key" in sent(BARE)


def test_export_policies_of_others_stay() -> None:
    assert "set routing-options forwarding-table export K8S-ECMP" in sent(BARE)
    assert not any(line.startswith("delete") for line in sent(BARE))


def test_everything_that_is_sent_is_owned_or_shared() -> None:
    owned = junos.owned(SITE, INFRA)
    shared = {ZONE_BGP, "set routing-options forwarding-table export K8S-ECMP", "set routing-options autonomous-system 64512"}
    rest = [line for line in sent(BARE) if not any(line.removeprefix("set ").startswith(prefix) for prefix in owned)]
    assert set(rest) == shared


def test_spelling_does_not_matter() -> None:
    quoted = 'set protocols bgp group K8S-INFRA neighbor 10.25.11.11 description "infra-01"\n'
    assert "set protocols bgp group K8S-INFRA neighbor 10.25.11.11 description infra-01" not in sent(BARE + quoted)


def test_plan_and_writer_ask_the_same_function() -> None:
    change = JunosChange(junos.wanted(SITE, INFRA), junos.owned(SITE, INFRA), junos.secrets(SITE, INFRA))
    assert to_send(change, BARE) == sent(BARE)


def test_every_line_of_ours_is_settled_to_itself_on_its_own_device() -> None:
    lines = sent(BARE)
    assert set(settled(junos.wanted(SITE, INFRA), current_lines(BARE))) == {line for line in lines if "authentication-key" not in line}


CONFIRMED = "0   2026-01-02 03:04:05 UTC by bootstrap via cli\n    bootstrap: x\n1   2026-01-02 03:00:05 UTC by bootstrap via cli commit confirmed, rollback in 5mins\n"
PENDING = "0   2026-01-02 03:00:05 UTC by bootstrap via cli commit confirmed, rollback in 5mins\n    bootstrap: x\n1   2026-01-01 03:00:05 UTC by root via other\n"


def test_only_the_newest_commit_can_wait_for_its_confirmation() -> None:
    assert awaits_confirmation(PENDING) and not awaits_confirmation(CONFIRMED)


WHOLE = BARE + "\n".join(line if "authentication-key" not in line else f'{line} "$9$x"' for line in sent(BARE))


@pytest.mark.parametrize(
    ("text", "commits", "state"),
    [
        (WHOLE, CONFIRMED, State.MET),
        (WHOLE, PENDING, State.UNMET),
        (BARE, CONFIRMED, State.UNMET),
        ("", CONFIRMED, State.UNKNOWN),
        (WHOLE, "", State.UNKNOWN),
        ("error: syntax error", CONFIRMED, State.UNKNOWN),
    ],
)
def test_configured_means_active_and_confirmed(text: str, commits: str, state: State) -> None:
    keys = tuple(line for line, _ in junos.secrets(SITE, INFRA))
    verdict = junos.judge_configured(junos.wanted(SITE, INFRA), keys, (Answer(stdout=text), Answer(stdout=commits)))
    assert verdict.state is state


def summary(**states: str) -> Answer:
    peers = [{"peer-address": [{"data": a.replace("_", ".").removeprefix("n")}], "peer-state": [{"data": s}]} for a, s in states.items()]
    return Answer(stdout=json.dumps({"bgp-information": [{"group-count": [{"data": "1"}], "bgp-peer": peers}]}))


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (summary(n10_25_11_11="Established", n10_25_11_12="Established"), State.MET),
        (summary(n10_25_11_11="Established", n10_25_11_12="Active"), State.UNMET),
        (summary(n10_25_11_11="Established"), State.UNMET),
        (Answer(stdout="BGP is not running\n"), State.UNMET),
        (Answer(stdout=""), State.UNKNOWN),
        (Answer(rc=1, stderr="error"), State.UNKNOWN),
    ],
)
def test_sessions(answer: Answer, state: State) -> None:
    assert junos.judge_sessions(("10.25.11.11", "10.25.11.12"), (answer,)).state is state


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (OWN_LIST, State.MET),
        (OWN_LIST + "set routing-options autonomous-system 64512\n", State.MET),
        (OWN_LIST + "set routing-options autonomous-system 65000\n", State.UNMET),
        (OWN_LIST.replace("K8S", "DMZ"), State.UNMET),
        ("", State.UNKNOWN),
    ],
)
def test_the_gateway_is_the_sites(text: str, state: State) -> None:
    assert SITE.gateway is not None
    assert junos.judge_global_as(SITE.gateway, (Answer(stdout=text),)).state is state
