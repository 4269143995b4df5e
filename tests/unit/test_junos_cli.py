"""The gateway's command line: modes, locks, commits that roll back, pipes; each session without a socket."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lab.bgp import BgpFabric, NodeSide
from lab.clock import Clock
from lab.junos.cli import Cli, Did
from lab.junos.device import JunosDevice, gateway
from lab.junos.factory import Surroundings
from lab.junos.show import elapsed

SITE = Surroundings(64512, "K8S", "ge-0/0/1.0", "bootstrap", ["10.25.11.1/24"])
FAST = 5000.0
LINES = """
set security zones security-zone K8S interfaces ge-0/0/1.0 host-inbound-traffic protocols bgp
set policy-options policy-statement IN term lb from route-filter 10.25.20.0/26 prefix-length-range /32-/32
set policy-options policy-statement IN term lb then accept
set policy-options policy-statement IN term rest then reject
set policy-options policy-statement OUT then reject
set protocols bgp group K type external
set protocols bgp group K peer-as 64513
set protocols bgp group K passive
set protocols bgp group K multipath
set protocols bgp group K authentication-key "geheim"
set protocols bgp group K import IN
set protocols bgp group K export OUT
set protocols bgp group K neighbor 10.25.11.11 description infra-01
set protocols bgp group K neighbor 10.25.11.12 description infra-02
""".strip().splitlines()

Talk = Callable[..., Awaitable[str]]


def run(scenario: Callable[[JunosDevice], Awaitable[None]], *, grace: float = 30.0) -> None:
    async def whole() -> None:
        clock = Clock(FAST)
        device = gateway(clock, random.Random(1), BgpFabric(clock, random.Random(2)), SITE, grace=grace)
        await device.start()
        try:
            await scenario(device)
        finally:
            await device.stop()
            await device.fabric.stop()

    asyncio.run(whole())


async def talk(cli: Cli, *lines: str) -> str:
    """All that is printed for some lines."""
    return "".join([await cli.line(line) for line in lines])


def exclusive(device: JunosDevice, *, terminal: str = "p0", notes: list[Did] | None = None) -> Cli:
    return Cli(device, "bootstrap", terminal, note=lambda did: notes.append(did) if notes is not None else None)


async def until(met: Callable[[], bool]) -> None:
    for _ in range(400):
        if met():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came")


def test_the_safe_procedure_brings_sessions_up_and_is_confirmed() -> None:
    async def scenario(device: JunosDevice) -> None:
        notes: list[Did] = []
        cli = exclusive(device, notes=notes)
        assert "Entering configuration mode" in await talk(cli, "configure exclusive")
        assert cli.prompt == "bootstrap@srx320# " and cli.lead == "\n[edit]\n"
        assert await talk(cli, "load set terminal") == "[Type ^D at a new line to end input]\n"
        assert await talk(cli, *LINES, "\x04") == "load complete\n"
        patch = await talk(cli, "show | compare")
        assert "+   group K {" in patch and "geheim" not in patch and "## SECRET-DATA" in patch
        assert await talk(cli, "commit check") == "configuration check succeeds\n"
        said = await talk(cli, "commit confirmed 5")
        assert said == "commit confirmed will be automatically rolled back in 5 minutes unless confirmed\ncommit complete\n"
        assert "# commit confirmed will be rolled back in 5 minutes\n" in cli.lead and device.busy()
        node = NodeSide("infra", "infra-01", "10.25.11.11", "10.25.11.1", 64513, 64512, "geheim", retry=5, routes=("10.25.20.1/32",))
        device.fabric.node_side(node)
        device.fabric.node_side(NodeSide("infra", "infra-02", "10.25.11.12", "10.25.11.1", 64513, 64512, "falsch"))
        other = exclusive(device)
        await until(lambda: device.fabric.session("10.25.11.11").established)
        found = json.loads(await talk(other, "show bgp summary | display json | no-more"))["bgp-information"][0]
        states = {p["peer-address"][0]["data"]: p["peer-state"][0]["data"] for p in found["bgp-peer"]}
        assert states["10.25.11.11"] == "Established" and states["10.25.11.12"] == "Active"
        assert "bgp-rib" not in next(p for p in found["bgp-peer"] if p["peer-address"][0]["data"] == "10.25.11.12")
        assert "to 10.25.11.11 via ge-0/0/1.0" in await talk(other, "show route 10.25.20.0/26 protocol bgp")
        await talk(other, "configure")
        assert "locked by" in await talk(other, "commit"), "whoever holds the lock has to confirm"
        assert await talk(cli, "commit") == "commit complete\n"
        assert not device.busy() and device.remaining() == 0
        lines = (await talk(other, "run show system commit")).splitlines()
        assert lines[0].startswith("0   ") and "confirmed" not in lines[0]
        assert lines[1].endswith("by bootstrap via cli commit confirmed, rollback in 5mins")
        written = {did.what for did in notes if did.mutates}
        assert written == {"commit confirmed", "commit"} and all("geheim" not in did.request for did in notes)

    run(scenario)


def test_an_unconfirmed_commit_rolls_back_and_tells_who_is_there() -> None:
    async def scenario(device: JunosDevice) -> None:
        told: list[str] = []
        before = device.active.copy()
        device.broadcasts.append(told.append)
        cli = exclusive(device)
        await talk(cli, "configure exclusive", "set system host-name other", "commit confirmed 1", "exit")
        assert device.host == "other"
        await until(lambda: device.pending is None)
        assert device.active == before and "Commit was not confirmed; automatic rollback complete." in told[0]
        assert "by root via other" in await talk(cli, "show system commit")

    run(scenario, grace=0.5)


def test_the_rollback_waits_for_a_client_call_in_progress() -> None:
    async def scenario(device: JunosDevice) -> None:
        cli = exclusive(device)
        with device.clock.hold():
            await talk(cli, "configure exclusive", "set system host-name other", "commit confirmed 1")
            await asyncio.sleep(0.2)
            assert device.host == "other"
            assert await talk(cli, "commit") == "commit complete\n"
        await asyncio.sleep(0.1)
        assert device.host == "other"

    run(scenario, grace=0.05)


def test_a_commit_check_confirms_too() -> None:
    async def scenario(device: JunosDevice) -> None:
        notes: list[Did] = []
        cli = exclusive(device, notes=notes)
        await talk(cli, "configure exclusive", "commit check", "set system host-name other", "commit confirmed 1", "commit check")
        assert device.pending is None
        assert [did.mutates for did in notes if did.what == "commit check"] == [False, True]

    run(scenario)


def test_a_lock_is_refused_in_the_devices_words_and_goes_with_its_session() -> None:
    async def scenario(device: JunosDevice) -> None:
        first, second = exclusive(device), exclusive(device, terminal="p1")
        await talk(first, "configure exclusive", "set system host-name other")
        said = await talk(second, "configure exclusive")
        assert said.startswith("error: configuration database locked by:\n  bootstrap terminal p0 (pid ") and "exclusive [edit]" in said
        assert second.failed and second.prompt.endswith("> ")
        await talk(second, "configure")
        assert "locked by" in await talk(second, "set system host-name third")
        assert "locked by" in await talk(second, "commit")
        first.leave()
        assert not device.modified, "an exclusive candidate is discarded"
        await talk(second, "exit")
        assert "Entering configuration mode" in await talk(second, "configure exclusive")

    run(scenario)


def test_somebody_elses_open_candidate_keeps_exclusive_mode_out() -> None:
    async def scenario(device: JunosDevice) -> None:
        first, second = exclusive(device), exclusive(device)
        await talk(first, "configure", "set system host-name other")
        assert "database locked by" in await talk(second, "configure exclusive")
        first.leave()
        assert device.modified, "a shared candidate stays"
        assert await talk(second, "configure exclusive") == "error: configuration database modified\n"
        assert await talk(second, "configure private") == "error: shared configuration database modified\n"

    run(scenario)


def test_private_candidates_are_merged_and_cannot_be_confirmed() -> None:
    async def scenario(device: JunosDevice) -> None:
        first, second = exclusive(device), exclusive(device)
        await talk(first, "configure private", "set system host-name one")
        await talk(second, "configure private", "set system domain-name example.org")
        assert "not allowed in private mode" in await talk(first, "commit confirmed 1")
        assert await talk(first, "commit") == "commit complete\n"
        assert await talk(second, "commit") == "commit complete\n"
        assert device.host == "one" and "set system domain-name example.org" in device.active.lines()

    run(scenario)


def test_a_refused_commit_changes_nothing() -> None:
    async def scenario(device: JunosDevice) -> None:
        before = device.active.copy()
        cli = exclusive(device)
        said = await talk(cli, "configure exclusive", "set protocols bgp group X type external", "set protocols bgp group X neighbor 10.25.11.14", "commit")
        assert said.endswith(
            "[edit protocols]\n  'bgp'\n    Error in neighbor 10.25.11.14 of group X:\n"
            "    peer AS number must be configured for an external peer\nerror: configuration check-out failed\n"
        )
        assert device.active == before and cli.failed

    run(scenario)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("show foo", "                       ^\nsyntax error.\n"),
        ("frobnicate", "                  ^\nunknown command.\n"),
        ("show bgp nothing", "                           ^\nsyntax error.\n"),
    ],
)
def test_a_caret_points_at_the_wrong_word_on_a_terminal(line: str, said: str) -> None:
    async def scenario(device: JunosDevice) -> None:
        cli = exclusive(device)
        assert await talk(cli, line) == said and cli.failed

    run(scenario)


def test_rollback_compares_and_pipes() -> None:
    async def scenario(device: JunosDevice) -> None:
        cli = exclusive(device)
        await talk(cli, "configure exclusive", "set system host-name other", 'commit comment "Rename it"')
        assert await talk(cli, "rollback 1", "show | compare") == "load complete\n[edit system]\n-   host-name other;\n+   host-name srx320;\n"
        assert await talk(cli, "rollback 0", "show | compare") == "load complete\n"
        assert "could not open configuration file for rollback 9" in await talk(cli, "rollback 9")
        await talk(cli, "exit")
        assert await talk(cli, "show configuration | compare rollback 1") == "[edit system]\n-   host-name srx320;\n+   host-name other;\n"
        assert await talk(cli, "show configuration system | display set | match host-name") == "set system host-name other\n"
        assert await talk(cli, "show configuration | display set | match HOST-NAME | count") == "Count: 1 lines\n"
        assert "Rename it" in (await talk(cli, "show system commit")).splitlines()[1]

    run(scenario)


def test_uncommitted_changes_are_asked_about_on_a_terminal_only() -> None:
    async def scenario(device: JunosDevice) -> None:
        cli = exclusive(device)
        said = await talk(cli, "configure exclusive", "set system host-name other", "exit")
        assert said.endswith("Discard uncommitted changes? [yes,no] (yes) ") and cli.prompt == ""
        assert await talk(cli, "no") == "" and cli.prompt.endswith("# ")
        assert (await talk(cli, "exit", "yes")).endswith("Exiting configuration mode\n") and not device.modified
        quiet = exclusive(device, terminal="")
        assert (await talk(quiet, "configure exclusive", "set system host-name other", "exit")).endswith("Exiting configuration mode\n")

    run(scenario)


def test_braces_are_loaded_and_bad_lines_counted() -> None:
    async def scenario(device: JunosDevice) -> None:
        cli = exclusive(device, terminal="")
        await talk(cli, "configure exclusive", "load merge terminal")
        assert await talk(cli, "system {", "    host-name other; /* why */", "    domain-name example.org;", "}", "\x04") == "load complete\n"
        assert "+   host-name other;" in await talk(cli, "show | compare")
        await talk(cli, "load set terminal")
        said = await talk(cli, "set system host-name third", "set nothing", "delete protocols ospf", "\x04")
        assert "terminal:2:(4) syntax error: nothing\n" in said and said.endswith("load complete (2 errors)\n")

    run(scenario)


def test_a_snapshot_keeps_a_pending_confirmation() -> None:
    async def scenario(device: JunosDevice) -> None:
        cli = exclusive(device)
        await talk(cli, "configure exclusive", "set system host-name other", "commit confirmed 5")
        state: Any = json.loads(json.dumps(device.snapshot()))
        await talk(cli, "commit")
        device.restore(state)
        assert device.pending is not None and device.host == "other" and not device.editors
        await until(lambda: device.pending is None)
        assert device.host == "srx320"

    run(scenario, grace=0.5)


def test_a_dump_shows_no_secret_and_is_the_same_under_another_salt() -> None:
    async def scenario(device: JunosDevice) -> None:
        cli = exclusive(device)
        await talk(cli, "configure exclusive", *LINES, "commit")
        first = device.dump()
        await talk(cli, 'set protocols bgp group K authentication-key "geheim"', "commit")
        assert device.dump() == first and any('authentication-key "<secret:1>"' in line for line in first["configuration"])

    run(scenario)


@pytest.mark.parametrize(
    ("seconds", "text"), [(310, "5:10"), (3910, "1:05:10"), (273910, "3d 4:05:10"), (9 * 86400 + 11045, "1w2d 3:04:05")]
)
def test_times_are_shown_as_bgp_shows_them(seconds: int, text: str) -> None:
    assert elapsed(seconds) == text
