"""The gateway's configuration tree: set lines in, set lines, braces and patches out."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.junos import check, policy
from lab.junos.factory import Surroundings, configuration, upstream
from lab.junos.secret import decode, encode
from lab.junos.tree import Config, NotFound, StatementError, compare, tokenize

SITE = Surroundings(64512, "K8S", "ge-0/0/1.0", "bootstrap", ["10.25.11.1/24"])
GROUP = """
policy-options policy-statement IN term lb from protocol bgp
policy-options policy-statement IN term lb from route-filter 10.25.20.0/26 prefix-length-range /32-/32
policy-options policy-statement IN term lb then accept
policy-options policy-statement IN term rest then reject
policy-options policy-statement OUT then reject
policy-options policy-statement ECMP then load-balance per-packet
routing-options forwarding-table export ECMP
protocols bgp group K type external
protocols bgp group K peer-as 64513
protocols bgp group K passive
protocols bgp group K import IN
protocols bgp group K export OUT
protocols bgp group K family inet unicast prefix-limit maximum 64
protocols bgp group K family inet unicast prefix-limit teardown 80 idle-timeout 5
protocols bgp group K neighbor 10.25.11.11 description infra-01
""".strip().splitlines()


def with_group(*more: str) -> Config:
    config = configuration(SITE)
    for line in (*GROUP, *more):
        config.set(tokenize(line))
    return config


def test_set_lines_come_back_as_the_device_spells_them() -> None:
    lines = with_group().lines("protocols", "bgp", "group", "K")
    assert lines == [
        "set protocols bgp group K type external",
        "set protocols bgp group K passive",
        "set protocols bgp group K import IN",
        "set protocols bgp group K family inet unicast prefix-limit maximum 64",
        "set protocols bgp group K family inet unicast prefix-limit teardown 80",
        "set protocols bgp group K family inet unicast prefix-limit teardown idle-timeout 5",
        "set protocols bgp group K export OUT",
        "set protocols bgp group K peer-as 64513",
        "set protocols bgp group K neighbor 10.25.11.11 description infra-01",
    ]


def test_a_configuration_made_from_its_own_lines_is_the_same() -> None:
    config, again = with_group(), Config()
    for line in config.lines():
        again.set(tokenize(line)[1:])
    assert again == config and compare(config, again) == ""


def test_one_line_may_set_several_statements() -> None:
    config = Config()
    config.set(tokenize("protocols bgp group X type external peer-as 65001 neighbor 192.0.2.1"))
    assert config.lines() == [
        "set protocols bgp group X type external",
        "set protocols bgp group X peer-as 65001",
        "set protocols bgp group X neighbor 192.0.2.1",
    ]


def test_braces_are_junos() -> None:
    text = with_group().text("policy-options", "policy-statement", "IN")
    assert text == (
        "term lb {\n    from {\n        protocol bgp;\n        route-filter 10.25.20.0/26 prefix-length-range /32-/32;\n    }\n"
        "    then accept;\n}\nterm rest {\n    then reject;\n}\n"
    )
    assert "teardown 80 idle-timeout 5;" in with_group().text("protocols")


def test_a_patch_names_the_places_and_keeps_what_was_there() -> None:
    patch = compare(configuration(SITE), with_group())
    assert "[edit routing-options forwarding-table]\n-   export UPSTREAM-HASH;\n+   export [ UPSTREAM-HASH ECMP ];\n" in patch
    assert "[edit protocols bgp]\n    group UPSTREAM { ... }\n+   group K {\n+       type external;\n" in patch


def test_a_changed_leaf_is_taken_away_and_added() -> None:
    assert compare(with_group(), with_group("protocols bgp group K peer-as 64999")) == (
        "[edit protocols bgp group K]\n-    peer-as 64513;\n+    peer-as 64999;\n"
    )


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("protocols bgpp", "syntax error."),
        ("protocols bgp group X neighbor nowhere", "invalid ip address or hostname: nowhere"),
        ("protocols bgp group X hold-time 5", "Value 5 is not within range (20..65535)"),
        ("protocols bgp group X peer-as none", "Invalid AS number: 'none'"),
        ("protocols bgp group", "missing argument."),
        ("system host-name", "missing argument."),
        ("routing-options forwarding-table export [ A B", "syntax error."),
        ("", "missing argument."),
    ],
)
def test_a_bad_line_is_refused_in_the_devices_words(line: str, text: str) -> None:
    with pytest.raises(StatementError) as caught:
        Config().set(tokenize(line))
    assert caught.value.text == text


def test_delete_takes_empty_containers_along_and_says_when_nothing_was_there() -> None:
    config = with_group()
    config.delete(tokenize("protocols bgp group K family inet unicast prefix-limit"))
    config.delete(tokenize("routing-options forwarding-table export ECMP"))
    assert config.lines("routing-options", "forwarding-table") == ["set routing-options forwarding-table export UPSTREAM-HASH"]
    with pytest.raises(NotFound):
        config.delete(tokenize("protocols bgp group NONE"))
    config.delete(tokenize("protocols bgp group"))
    assert config.lines("protocols") == []


@pytest.mark.parametrize(
    "site",
    [
        Surroundings(64496, "trust", "ge-0/0/0.0", "oncall", ["192.0.2.1/24"]),
        Surroundings(4200000001, "SERVERS", "irb.108", "automation", ["172.20.8.1/22", "fe80::1/64"]),
        Surroundings(65200, "untrust", "ge-0/0/2.128", "pilot", ["198.51.100.1/24"], own_list=False),
    ],
)
def test_whatever_the_site_is_its_gateway_was_in_service(site: Surroundings) -> None:
    config = configuration(site)
    assert check.faults(config) == []
    assert check.interface_of(config, site.addresses[0].split("/")[0]) == site.interface
    carrier = upstream(config)
    assert carrier is not None and carrier.peer_address in check.own_addresses(config)


def test_the_gateway_as_found_can_be_committed_and_keeps_bgp_out() -> None:
    config = configuration(SITE)
    assert check.faults(config) == []
    assert not check.inbound(config, "ge-0/0/1.0", "protocols", "bgp")


def test_an_interfaces_own_list_replaces_its_zones() -> None:
    zone = with_group("security zones security-zone K8S host-inbound-traffic protocols bgp")
    assert not check.inbound(zone, "ge-0/0/1.0", "protocols", "bgp")
    own = with_group("security zones security-zone K8S interfaces ge-0/0/1.0 host-inbound-traffic protocols bgp")
    assert check.inbound(own, "ge-0/0/1.0", "protocols", "bgp")
    assert not check.inbound(own, "ge-0/0/9.0", "protocols", "bgp")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("protocols bgp group Y neighbor 10.25.11.14", "peer AS number must be configured for an external peer"),
        ("protocols bgp group K neighbor 198.51.100.1", "is already configured in group UPSTREAM"),
        ("protocols bgp group K import NONE", "Policy NONE referenced but not defined"),
        ("routing-options forwarding-table export NONE", "Policy NONE referenced but not defined"),
        ("security zones security-zone Z interfaces ge-0/0/7.0", "must be configured under interfaces"),
        ("security zones security-zone Z interfaces ge-0/0/1.0", "already assigned to another zone"),
        ("security policies from-zone K8S to-zone NONE policy p then permit", "Security zone NONE is not defined"),
        ("protocols bgp group K family inet unicast accepted-prefix-limit maximum 5", ""),
        ("interfaces ge-0/0/5 unit 0 family inet address 10.25.11.1/24", "is already configured on ge-0/0/1.0"),
    ],
)
def test_a_commit_check_finds_what_does_not_fit_together(line: str, words: str) -> None:
    found = check.faults(with_group(line))
    assert words in "\n".join(found) if words else found == []


def test_bgp_without_an_as_is_refused() -> None:
    config = with_group()
    config.delete(tokenize("routing-options autonomous-system"))
    assert "must define local autonomous system when enabling BGP" in "\n".join(check.faults(config))


@pytest.mark.parametrize(
    ("prefix", "accepted"), [("10.25.20.1/32", True), ("10.25.20.0/26", False), ("10.25.21.1/32", False), ("0.0.0.0/0", False)]
)
def test_an_import_policy_lets_only_the_pools_addresses_in(prefix: str, accepted: bool) -> None:
    assert policy.accepts(with_group(), ("IN",), prefix) is accepted


def test_without_a_policy_everything_passes() -> None:
    assert policy.accepts(with_group(), (), "203.0.113.0/24")
    assert not policy.accepts(with_group(), ("OUT",), "203.0.113.0/24")


@given(st.text(max_size=40), st.integers(0, 1000))
def test_a_secret_survives_its_encoding_under_any_salt(plain: str, seed: int) -> None:
    kept = encode(plain, random.Random(seed))
    assert kept.startswith("$9$") and decode(kept) == plain


def test_two_encodings_of_a_secret_differ() -> None:
    rng = random.Random(1)
    assert encode("same", rng) != encode("same", rng)
