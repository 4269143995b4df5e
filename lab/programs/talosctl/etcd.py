"""`talosctl etcd ...`: tables and snapshots. A partial failure of several nodes still exits 0.

Source: talos `cmd/talosctl/cmd/talos/etcd.go`, v1.11.2; recorded/talosctl/node-etcd-*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lab import etcdfile
from lab.hardware import pretty
from lab.programs.talosctl.session import Client, RpcError, ToolError, connect, table

if TYPE_CHECKING:
    from lab.machines import Machine
    from lab.programs.call import Call

NOT_RUNNING = RpcError("Unavailable", "etcd client is not available")
PROTOCOL, STORAGE = "3.6.4", "3.6.0"


def _each(call: Call, client: Client, what: str, rows_of: Callable[[str, Machine], list[list[str]]]) -> list[list[str]]:
    """Rows of every node; an error of one is a warning, of all of them the command's."""
    rows: list[list[str]] = []
    errors: list[str] = []
    for node in client.nodes:
        try:
            rows += rows_of(node, client.machine(node))
        except RpcError as error:
            errors.append(str(error))
    if errors and len(errors) == len(client.nodes):
        raise ToolError(f"error getting {what}: {errors[0]}")
    for text in errors:
        call.err(f"WARNING: {text}\n")
    return rows


async def members(call: Call) -> int:
    """`etcd members`."""
    client = connect(call)

    def rows_of(node: str, machine: Machine) -> list[list[str]]:
        etcd = _running(machine)
        found = []
        for m in machine.cluster.members(etcd) if machine.cluster else []:
            if m.state.etcd is not None:
                address = _url(m.address)
                found.append(
                    [node, m.state.etcd.member, m.hostname, f"https://{address}:2380", f"https://{address}:2379",
                     "true" if m.state.etcd.learner else "false"]
                )  # fmt: skip
        return sorted(found, key=lambda r: r[2])

    rows = _each(call, client, "members", rows_of)
    call.out(table([["NODE", "ID", "HOSTNAME", "PEER URLS", "CLIENT URLS", "LEARNER"], *rows]))
    return 0


async def status(call: Call) -> int:
    """`etcd status`."""
    client = connect(call)

    def rows_of(node: str, machine: Machine) -> list[list[str]]:
        label = _running(machine)
        cluster, own = machine.cluster, machine.state.etcd
        etcd = cluster.etcds.get(label) if cluster else None
        if own is None or etcd is None or cluster is None:
            raise NOT_RUNNING
        leader = next((m for m in cluster.members(label) if m.node.name == etcd.leader), None)
        leader_id = leader.state.etcd.member if leader and leader.state.etcd else "0"
        index = str(1000 + cluster.stored_revision())
        size = cluster.stored_bytes()
        learner = "true" if own.learner else "false"
        errors = "" if cluster.has_quorum(label) else "etcdserver: no leader"
        return [[node, own.member, pretty(size), f"{pretty(size // 2)} (50.00%)", leader_id, index, str(etcd.term), index,
                 learner, PROTOCOL, STORAGE, errors]]  # fmt: skip

    rows = _each(call, client, "status", rows_of)
    head = ["NODE", "MEMBER", "DB SIZE", "IN USE", "LEADER", "RAFT INDEX", "RAFT TERM", "RAFT APPLIED INDEX", "LEARNER",
            "PROTOCOL", "STORAGE", "ERRORS"]  # fmt: skip
    call.out(table([head, *rows]))
    return 0


async def alarm_list(call: Call) -> int:
    """`etcd alarm list`: nothing where there is no alarm."""
    rows = _each(call, connect(call), "alarms", _alarm_rows)
    if rows:
        call.out(table([["NODE", "MEMBER", "ALARM"], *rows]))
    return 0


def _alarm_rows(node: str, machine: Machine) -> list[list[str]]:
    label = _running(machine)
    etcd = machine.cluster.etcds.get(label) if machine.cluster else None
    return [[node, member, alarm] for member, alarm in sorted((etcd.alarms if etcd else {}).items())]


async def alarm_disarm(call: Call) -> int:
    """`etcd alarm disarm`."""
    client = connect(call)
    rows = _each(call, client, "alarms", _alarm_rows)
    call.mutates()
    for node in client.nodes:
        machine = client.machine(node)
        if machine.cluster and machine.state.etcd:
            machine.cluster.etcds[machine.state.etcd.cluster].alarms.clear()
    if rows:
        call.out(table([["NODE", "MEMBER", "ALARM"], *rows]))
    return 0


async def snapshot(call: Call) -> int:
    """`etcd snapshot PATH`: written beside it first, then renamed."""
    client = connect(call, single="etcd snapshot")
    try:
        machine = client.first()
        label = _running(machine)
        if machine.cluster is None:
            raise NOT_RUNNING
    except RpcError as error:
        raise ToolError(f"error reading file: {error}") from None
    target = call.path(call.args[0])
    stored = machine.cluster.api.snapshot() if label == machine.cluster.primary else {}
    info = etcdfile.write(target, stored)
    call.out(
        f'etcd snapshot saved to "{call.args[0]}" ({info.size} bytes)\n'
        f"snapshot info: hash {info.hash}, revision {info.revision}, total keys {info.keys}, total size {info.content}\n"
    )
    return 0


async def forfeit(call: Call) -> int:
    """`etcd forfeit-leadership`: prints nothing, whether it was the leader or not."""
    client = connect(call)
    for node in client.nodes:
        try:
            machine = client.machine(node)
            label = _running(machine)
        except RpcError as error:
            raise ToolError(f"error executing etcd forfeit leadership: {error}") from None
        cluster = machine.cluster
        if cluster is not None and (etcd := cluster.etcds.get(label)) is not None and etcd.leader == machine.node.name:
            call.mutates()
            cluster.forfeit(etcd)
    return 0


async def leave(call: Call) -> int:
    """`etcd leave`: the node's member goes, its data too."""
    client = connect(call, single="etcd leave")
    try:
        machine = client.first()
        _running(machine)
    except RpcError as error:
        raise ToolError(f"error executing leave: {error}") from None
    call.mutates()
    machine.leave_etcd()
    return 0


async def remove_member(call: Call) -> int:
    """`etcd remove-member ID`: for dead members."""
    client = connect(call, single="etcd remove-member")
    try:
        machine = client.first()
        label = _running(machine)
    except RpcError as error:
        raise ToolError(f"error executing remove member: {error}") from None
    gone = next(
        (
            m
            for m in (machine.cluster.members(label) if machine.cluster else [])
            if m.state.etcd is not None and m.state.etcd.member == call.args[0]
        ),
        None,
    )
    if gone is None:
        raise ToolError(
            "error executing remove member: rpc error: code = Unknown desc = failed to remove member "
            f"{call.args[0]}: etcdserver: member not found"
        )
    call.mutates()
    gone.leave_etcd()
    return 0


async def defrag(call: Call) -> int:
    """`etcd defrag`."""
    client = connect(call, single="etcd defrag")
    try:
        _running(client.first())
    except RpcError as error:
        raise ToolError(f"error executing etcd defragment: {error}") from None
    await call.sleep(3.0)
    return 0


def _running(machine: Machine) -> str:
    """The label of the etcd that runs on the machine. Raises RpcError."""
    if machine.state.etcd is None or not machine.etcd_running:
        raise NOT_RUNNING
    return machine.state.etcd.cluster


def _url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
