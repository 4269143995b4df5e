"""BGP sessions: up only when both ends agree, and carrying what the policies let through."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from lab.bgp import BgpFabric, GatewaySide, NodeSide, judge
from lab.clock import Clock
from lab.faults import Effect, Faults, Rule

NODE = NodeSide("infra", "infra-01", "10.25.11.11", "10.25.11.1", 64513, 64512, password="key", hold=30, retry=5, routes=("10.25.20.1/32",))
SIDE = GatewaySide("K8S-INFRA", "10.25.11.11", 64513, 64512, password="key", passive=True)
GATEWAY = ("10.25.11.1",)
FAST = 2000.0


@pytest.mark.parametrize(
    ("node", "side", "state", "reason"),
    [
        (NODE, SIDE, "established", ""),
        (NODE, None, "active", "connection reset by peer"),
        (replace(NODE, peer_address="10.25.11.2"), SIDE, "active", "i/o timeout"),
        (replace(NODE, password="other"), SIDE, "active", "i/o timeout"),
        (replace(NODE, local_asn=64999), SIDE, "active", "bad peer AS"),
        (replace(NODE, peer_asn=64999), SIDE, "idle", "as number mismatch expected 64999, received 64512"),
        (replace(NODE, peer_asn=0), SIDE, "established", ""),
        (NODE, replace(SIDE, admits=False), "active", "i/o timeout"),
        (replace(NODE, local_port=179), replace(SIDE, admits=False), "active", "i/o timeout"),
        (replace(NODE, local_port=179), replace(SIDE, admits=False, passive=False), "established", ""),
        (NODE, replace(SIDE, minimum_hold=60), "open_sent", "unacceptable hold time"),
        (NODE, replace(SIDE, families=("ipv6-unicast",)), "open_sent", "unsupported capability"),
        (NODE, replace(SIDE, shutdown=True), "active", "administratively shut down"),
    ],
)
def test_a_session_needs_both_ends_to_agree(node: NodeSide, side: GatewaySide | None, state: str, reason: str) -> None:
    outcome = judge(node, side, GATEWAY)
    assert outcome.state == state and reason in outcome.reason


def fabric(faults: Faults | None = None) -> BgpFabric:
    return BgpFabric(Clock(FAST), random.Random(1), faults)


async def settled(world: BgpFabric) -> None:
    for _ in range(200):
        await asyncio.sleep(0.005)
        if not world.busy():
            return
    raise AssertionError("sessions do not come to rest")


def test_routes_are_accepted_by_the_import_policy_and_withdrawn_with_the_session() -> None:
    async def run() -> None:
        world = fabric()
        world.gateway_side([replace(SIDE, imports=lambda p: p == "10.25.20.1/32")], GATEWAY)
        world.node_side(replace(NODE, routes=("10.25.20.1/32", "10.99.0.1/32")))
        await settled(world)
        session = world.neighbor("10.25.11.11")
        assert session.established and session.hold == 30
        assert session.received == ("10.25.20.1/32", "10.99.0.1/32") and session.accepted == ("10.25.20.1/32",)
        assert world.routes() == {"10.25.20.1/32": ["10.25.11.11"]}
        world.gateway_side([], GATEWAY)
        assert world.routes() == {} and world.session("10.25.11.11").state == "active"
        await world.stop()

    asyncio.run(run())


def test_a_dead_node_keeps_its_routes_until_the_hold_time_is_over() -> None:
    async def run() -> None:
        world = fabric()
        world.gateway_side([SIDE], GATEWAY)
        world.node_side(NODE)
        await settled(world)
        world.node_gone(NODE.address, dead=True)
        assert world.routes() == {"10.25.20.1/32": ["10.25.11.11"]} and world.busy()
        await settled(world)
        assert world.routes() == {} and world.neighbor(NODE.address).gateway_state == "Active"
        await world.stop()

    asyncio.run(run())


def test_a_node_that_floods_is_closed_out_by_the_prefix_limit() -> None:
    async def run() -> None:
        world = fabric()
        world.gateway_side([replace(SIDE, limit=2, teardown=True, idle=None)], GATEWAY)
        world.node_side(NODE)
        await settled(world)
        world.node_side(replace(NODE, routes=tuple(f"10.25.20.{n}/32" for n in range(3))))
        assert not world.session(NODE.address).established
        world.node_side(NODE)
        await settled(world)
        assert not world.session(NODE.address).established, "idle-timeout forever"
        await world.stop()

    asyncio.run(run())


def test_nodes_learn_what_others_advertise_unless_the_export_policy_keeps_it() -> None:
    async def run() -> None:
        world = fabric()
        second = replace(SIDE, neighbor="10.25.11.12")
        world.gateway_side([SIDE, replace(second, exports=lambda _p: False)], GATEWAY)
        world.node_side(NODE)
        world.node_side(replace(NODE, node="infra-02", address="10.25.11.12", routes=("10.25.20.2/32",)))
        await settled(world)
        assert world.session("10.25.11.11").sent == ("10.25.20.2/32",)
        assert world.session("10.25.11.12").sent == ()
        await world.stop()

    asyncio.run(run())


def test_a_scripted_fault_keeps_a_session_down_and_a_change_is_told() -> None:
    async def run() -> None:
        faults = Faults(Clock(FAST), random.Random(1), [Rule("down", Effect(stop=True), actor="bgp", node="infra-01")])
        world, told = fabric(faults), []
        world.on_change.append(lambda: told.append(world.session(NODE.address).state))
        world.gateway_side([SIDE], GATEWAY)
        world.node_side(NODE)
        await settled(world)
        assert not world.session(NODE.address).established
        faults.lift()
        world.update()
        await settled(world)
        assert told[-1] == "established"
        await world.stop()

    asyncio.run(run())


def test_a_snapshot_brings_sessions_back() -> None:
    async def run() -> None:
        world, again = fabric(), fabric()
        world.gateway_side([SIDE], GATEWAY)
        world.node_side(NODE)
        await settled(world)
        again.gateway_side([SIDE], GATEWAY)
        again.restore(world.snapshot())
        assert again.dump() == world.dump() and again.snapshot() == world.snapshot()
        await world.stop()
        await again.stop()

    asyncio.run(run())
