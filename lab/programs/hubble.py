"""The `hubble` program as far as days 1-14 use it: its version and status; flows come from the agents' export file.

Source: hubble CLI 1.18.3 as recorded.
"""

from __future__ import annotations

from lab.cilium.common import ready
from lab.programs.access import ConfigError, GuardedPort, Unreachable, resolve
from lab.programs.call import Call

VERSION = "hubble v1.18.3 compiled with go1.24.7 on linux/amd64\n"


async def run(call: Call) -> int:
    """Play one command; its exit status."""
    name = " ".join(call.command)
    if name == "version":
        call.out(VERSION)
        return 0
    if name in ("status", "observe", "list nodes") and call.flags.get("port-forward"):
        return await _through_relay(call, name)
    server = call.flags.get("server", "localhost:4245")
    call.err(f'failed to connect to \'{server}\': connection error: desc = "transport: error while dialing: dial tcp 127.0.0.1:{server.rpartition(":")[2]}: connect: connection refused"\n')
    return 1


async def _through_relay(call: Call, name: str) -> int:
    try:
        target = resolve(call, call.flags.get("kube-context", ""), call.flags.get("kubeconfig", ""))
        port = GuardedPort(target, "hubble/1.18.3")
        relay, _ = await port.list("v1/pods", call.flags.get("kube-namespace", "kube-system"), labels="k8s-app=hubble-relay")
    except (ConfigError, Unreachable) as error:
        call.err(f"unable to create k8s client to port forward: {error}\n")
        return 1
    if not any(ready(p) for p in relay):
        call.err('failed to port forward: failed to get service "hubble-relay": services "hubble-relay" not found\n')
        return 1
    agents, _ = await port.list("v1/pods", "kube-system", labels="k8s-app=cilium")
    if name == "status":
        count = sum(ready(p) for p in agents)
        call.out(f"Healthcheck (via localhost:4245): Ok\nCurrent/Max Flows: {count * 4095}/{count * 4095} (100.00%)\nFlows/s: 40.00\nConnected Nodes: {count}/{len(agents)}\n")
    return 0
