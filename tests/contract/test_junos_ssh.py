"""The gateway over SSH: a real client (paramiko), and the product's own adapter, on loopback."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
import pytest

from lab.bgp import BgpFabric, NodeSide
from lab.clock import Clock
from lab.faults import Effect, Faults, Rule
from lab.junos.device import gateway
from lab.junos.factory import Surroundings
from lab.junos.server import Account, Gateway, commands
from lab.record import Record
from orchestrator.adapters.junos import Gateway as Adapter
from orchestrator.adapters.masking import Masker
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.targets import GatewayTarget
from orchestrator.model.action import JunosChange
from orchestrator.model.query import JunosShow, Secret

SITE = Surroundings(64512, "K8S", "ge-0/0/1.0", "bootstrap", ["10.25.11.1/24"])
FAST = 2000.0
OWNED = ("protocols bgp group K ", "policy-options policy-statement IN ", "policy-options policy-statement ECMP ")
LINES = """
set security zones security-zone K8S interfaces ge-0/0/1.0 host-inbound-traffic protocols bgp
set policy-options policy-statement IN term lb from protocol bgp
set policy-options policy-statement IN term lb from route-filter 10.25.20.0/26 prefix-length-range /32-/32
set policy-options policy-statement IN term lb then accept
set policy-options policy-statement IN term rest then reject
set policy-options policy-statement ECMP then load-balance per-packet
set routing-options forwarding-table export ECMP
set protocols bgp group K type external
set protocols bgp group K peer-as 64513
set protocols bgp group K passive
set protocols bgp group K multipath
set protocols bgp group K import IN
set protocols bgp group K family inet unicast prefix-limit maximum 64
set protocols bgp group K family inet unicast prefix-limit teardown 80
set protocols bgp group K family inet unicast prefix-limit teardown idle-timeout 5
set protocols bgp group K neighbor 10.25.11.11 description infra-01
""".strip().splitlines()


def play(tmp_path: Path, client: Callable[[Gateway], Any], *, faults: Faults | None = None, grace: float = 5.0) -> Gateway:
    """Run a gateway on a loop while `client` talks to it from a thread."""

    async def whole() -> Gateway:
        clock = Clock(FAST)
        fabric = BgpFabric(clock, random.Random(2))
        device = gateway(clock, random.Random(1), fabric, SITE, grace=grace)
        server = Gateway(device, tmp_path, {"bootstrap": Account("pw")}, Record(clock), faults)
        await fabric.start()
        await server.start()
        try:
            await asyncio.to_thread(client, server)
        finally:
            await server.stop()
            await fabric.stop()
        return server

    return asyncio.run(whole())


def connect(server: Gateway, **how: Any) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    hosts = server.dir / "known_hosts"
    hosts.write_text(server.known_hosts())
    client.load_host_keys(str(hosts))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    options = {"password": "pw", "look_for_keys": False, "allow_agent": False} | how
    client.connect("127.0.0.1", server.port, "bootstrap", **options)
    return client


def ask(client: paramiko.SSHClient, command: str) -> tuple[str, int]:
    _, out, _ = client.exec_command(command, timeout=10)
    text = out.read().decode()
    return text, out.channel.recv_exit_status()


def test_exec_channels_answer_with_a_status_on_one_connection(tmp_path: Path) -> None:
    def client(server: Gateway) -> None:
        with connect(server) as ssh:
            assert ask(ssh, "show version | match Junos:") == ("Junos: 21.4R3-S5.4\n", 0)
            assert ask(ssh, "show nothing") == ("error: syntax error: nothing\n", 1)
            summary, _ = ask(ssh, "show bgp summary | display json | no-more")
            assert json.loads(summary)["bgp-information"][0]["peer-count"] == [{"data": "1"}]
            said, _ = ask(ssh, "configure exclusive; set system host-name other; show | compare; rollback 0; exit")
            assert "+   host-name other;" in said and said.endswith("Exiting configuration mode\n")

    server = play(tmp_path, client)
    assert [e.mutates for e in server.record.entries()] == [False] * 8


def test_wrong_passwords_and_wrong_host_keys_are_refused(tmp_path: Path) -> None:
    def client(server: Gateway) -> None:
        with pytest.raises(paramiko.AuthenticationException):
            connect(server, password="nope")
        (server.dir / "known_hosts").write_text("")
        stranger = paramiko.SSHClient()
        stranger.set_missing_host_key_policy(paramiko.RejectPolicy())
        with pytest.raises(paramiko.SSHException, match="not found in known_hosts"):
            stranger.connect("127.0.0.1", server.port, "bootstrap", "pw", look_for_keys=False, allow_agent=False)

    play(tmp_path, client)


def test_a_key_logs_in_too_and_the_host_key_stays(tmp_path: Path) -> None:
    key = paramiko.ECDSAKey.generate()

    def client(server: Gateway) -> None:
        server.accounts = {"bootstrap": Account(keys=(f"{key.get_name()} {key.get_base64()}",))}
        with connect(server, password=None, pkey=key) as ssh:
            assert ask(ssh, "show version")[1] == 0

    first, second = play(tmp_path, client), play(tmp_path, client)
    assert first.server.key.public == second.server.key.public
    assert (tmp_path / "gateway_host_key").stat().st_mode & 0o777 == 0o600


def test_a_cut_session_lets_the_lock_go_and_drops_its_candidate(tmp_path: Path) -> None:
    def client(server: Gateway) -> None:
        ssh = connect(server)
        shell = ssh.invoke_shell()
        shell.sendall(b"configure exclusive\nset system host-name other\n")
        wait_for(lambda: server.device.modified)
        ssh.close()
        wait_for(lambda: not server.device.editors)
        assert not server.device.modified

    play(tmp_path, client)


def wait_for(met: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not met():
        assert time.monotonic() < end, "it never came"
        threading_pause()


def threading_pause() -> None:
    """A short rest of this thread, so that the server's get a turn."""
    time.sleep(0.002)


def test_faults_are_carried_out_where_they_happen(tmp_path: Path) -> None:
    faults = Faults(
        Clock(FAST),
        random.Random(1),
        [
            Rule("locked", Effect(message="configuration database locked by:"), actor="ssh:gateway", verb="configure exclusive", count=1),
            Rule("lost", Effect(cut=True), actor="ssh:gateway", verb="commit confirmed"),
            Rule("half", Effect(truncate=10), actor="ssh:gateway", verb="show version"),
            Rule("out", Effect(denied=True), actor="ssh:gateway", verb="login", skip=1),
        ],
    )

    def client(server: Gateway) -> None:
        with connect(server) as ssh:
            assert ask(ssh, "configure exclusive")[0] == "error: configuration database locked by:\n"
            assert ask(ssh, "show version")[0] == "Hostname: "
            shell = ssh.invoke_shell()
            shell.sendall(b"configure exclusive\nset system host-name other\ncommit confirmed 5\n")
            wait_for(lambda: not ssh.get_transport().is_active())
            assert server.device.host == "other", "the answer was lost, not the deed"
        with pytest.raises(paramiko.AuthenticationException):
            connect(server)

    play(tmp_path, client, faults=faults)


def test_commands_of_one_request_are_split_outside_of_quotes() -> None:
    assert commands('set x "a; b"; commit\nexit') == ['set x "a; b"', "commit", "exit"]


def adapter(server: Gateway, tmp_path: Path) -> Adapter:
    masker = Masker()
    (tmp_path / "hosts").write_text(server.known_hosts())
    (tmp_path / "hosts").chmod(0o600)
    secrets = Secrets(tmp_path, masker, {"PASSWORD": "pw", "KEY": "geheim"})
    target = GatewayTarget("127.0.0.1", server.port, "bootstrap", Secret("file:hosts"), Secret("env:PASSWORD"))
    return Adapter(target, secrets, masker, pause=0.01)


def change(lines: list[str]) -> JunosChange:
    key = ("set protocols bgp group K authentication-key", Secret("env:KEY"))
    return JunosChange(tuple(lines), OWNED, (key,))


def test_the_products_adapter_changes_the_gateway_safely(tmp_path: Path) -> None:
    def client(server: Gateway) -> None:
        product, log = adapter(server, tmp_path), []
        side = NodeSide("infra", "infra-01", "10.25.11.11", "10.25.11.1", 64513, 64512, "geheim", retry=5)
        asyncio.run_coroutine_threadsafe(dial(server, side), server.server._loop).result()

        def verified() -> tuple[bool, str]:
            wait_for(lambda: server.device.fabric.session("10.25.11.11").established)
            return True, ""

        outcome = product.change(change(LINES), comment="bootstrap network@infra", log=log.append, verified=verified, deadline=30)
        assert outcome.ok, (outcome.text, log)
        assert server.device.pending is None and not server.device.editors
        shown = product.show(JunosShow("show configuration protocols | display set")).stdout
        assert 'authentication-key "$9$' in shown and not any("geheim" in line for line in log)
        again = product.change(JunosChange(("set system domain-name example.org",), OWNED), comment="second", log=log.append, verified=lambda: (True, ""), deadline=30)
        assert again.ok, (again.text, log)
        product.close()

    server = play(tmp_path, client)
    assert [e.what for e in server.record.writes()] == ["commit confirmed", "commit"] * 2


async def dial(server: Gateway, side: NodeSide) -> None:
    server.device.fabric.node_side(side)


def test_the_products_adapter_rolls_back_what_does_not_come_up(tmp_path: Path) -> None:
    def client(server: Gateway) -> None:
        product = adapter(server, tmp_path)
        before = server.device.active.copy()
        outcome = product.change(change(LINES), comment="c", log=lambda _l: None, verified=lambda: (False, "no session"), deadline=30)
        assert not outcome.ok and server.device.active == before and server.device.pending is None
        product.close()

    play(tmp_path, client)


def test_the_products_adapter_waits_for_a_foreign_lock(tmp_path: Path) -> None:
    def client(server: Gateway) -> None:
        product = adapter(server, tmp_path)
        holder = asyncio.run_coroutine_threadsafe(take(server), server.server._loop).result()
        action = JunosChange(tuple(LINES), OWNED)
        short = JunosChange(action.lines, action.owned, lock_within=action.lock_within * 0.001)
        refused = product.change(short, comment="c", log=lambda _l: None, verified=lambda: (True, ""), deadline=30)
        assert not refused.ok and "locked" in refused.text and not refused.permanent
        asyncio.run_coroutine_threadsafe(release(server, holder), server.server._loop).result()
        assert product.change(action, comment="c", log=lambda _l: None, verified=lambda: (True, ""), deadline=30).ok
        product.close()

    play(tmp_path, client)


async def take(server: Gateway) -> Any:
    return server.device.lock("oncall")


async def release(server: Gateway, holder: Any) -> None:
    server.device.leave(holder)


CHILD = """
import sys, time
from pathlib import Path
from orchestrator.adapters.junos import Gateway
from orchestrator.adapters.masking import Masker
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.targets import GatewayTarget
from orchestrator.model.action import JunosChange
from orchestrator.model.query import Secret

masker = Masker()
secrets = Secrets(Path(sys.argv[1]), masker, {"PASSWORD": "pw"})
target = GatewayTarget("127.0.0.1", int(sys.argv[2]), "bootstrap", Secret("file:hosts"), Secret("env:PASSWORD"))

def verified():
    print("verifying", flush=True)
    time.sleep(60)
    return True, ""

action = JunosChange(("set system domain-name example.org",), ())
Gateway(target, secrets, masker, pause=0.01).change(action, comment="ours 1", log=lambda _l: None, verified=verified, deadline=60)
"""


def test_a_killed_product_finds_its_own_commit_waiting_and_confirms_it(tmp_path: Path) -> None:
    def client(server: Gateway) -> None:
        product = adapter(server, tmp_path)
        argv = [sys.executable, "-c", CHILD, str(tmp_path), str(server.port)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
            assert child.stdout is not None and child.stdout.readline() == b"verifying\n"
            child.kill()
        wait_for(lambda: not server.device.editors)
        assert server.device.pending is not None
        action = JunosChange(("set system domain-name example.org",), ())
        outcome = product.change(action, comment="ours 1", log=lambda _l: None, verified=lambda: (True, ""), deadline=30)
        assert outcome.ok, outcome.text
        product.close()

    server = play(tmp_path, client)
    assert server.device.pending is None and "set system domain-name example.org" in server.device.active.lines()
    assert [e.what for e in server.record.writes()] == ["commit confirmed", "commit"]
