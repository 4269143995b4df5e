"""cilium (the command line) and the status that Cilium writes. Source: foundation.md 5.4, 5.5, 6, 8; cilium-cli v0.18.8."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from inventory.model import Connectivity, Node, Site
from orchestrator.model.check import Answers
from orchestrator.model.query import FileRead, KubeList, ToolQuery
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from orchestrator.tools.answers import dig, items, listed, parsed, refused, said
from orchestrator.tools.kube import condition
from orchestrator.tools.paths import Local
from orchestrator.tools.text import duration

BGP_CRDS = (
    "ciliumbgpadvertisements.cilium.io",
    "ciliumbgpclusterconfigs.cilium.io",
    "ciliumbgpnodeconfigs.cilium.io",
    "ciliumbgppeerconfigs.cilium.io",
)
POOL_CRD = "ciliumloadbalancerippools.cilium.io"
L2_CRD = "ciliuml2announcementpolicies.cilium.io"
BASE_CRDS = ("ciliumendpoints.cilium.io", "ciliumidentities.cilium.io", "ciliumnetworkpolicies.cilium.io", "ciliumnodes.cilium.io", POOL_CRD)
PRIVILEGED = "pod-security.kubernetes.io/enforce=privileged"


def _at(cluster: str) -> tuple[str, ...]:
    return ("--kubeconfig", Local(cluster).kubeconfig, "--context", cluster)


def status(cluster: str) -> ToolQuery:
    """Once, without `--wait`: the data tells, not the exit code."""
    return ToolQuery(("cilium", "status", *_at(cluster), "--interactive=false", "-o", "json"), within=timedelta(minutes=1))


def bgp_peers(cluster: str) -> ToolQuery:
    return ToolQuery(("cilium", "bgp", "peers", *_at(cluster), "-o", "json"), within=timedelta(minutes=1))


def mesh_status(cluster: str) -> ToolQuery:
    """Its answer holds a client's private key."""
    argv = ("cilium", "clustermesh", "status", *_at(cluster), "-o", "json")
    return ToolQuery(argv, within=timedelta(minutes=2), secret_output=True)


def connectivity_test(site: Site, cluster: str, junit: str, *, timeout: timedelta, single_node: bool) -> tuple[str, ...]:
    """The test of one cluster. Pods need the privileged label: Talos enforces baseline (foundation.md 5.5)."""
    one = ("--single-node",) if single_node else ()
    return (
        *("cilium", "connectivity", "test", *_at(cluster), "--namespace-labels", PRIVILEGED, *one, *targets(site.connectivity)),
        *("--timeout", duration(timeout), "--junit-file", junit),
    )


def mesh_connectivity_test(site: Site, first: str, other: str, junit: str, *, timeout: timedelta) -> tuple[str, ...]:
    """The test across two clusters. Both contexts come from KUBECONFIG: `--kubeconfig` is ignored for the second (8.4)."""
    return (
        *("cilium", "connectivity", "test", "--context", first, "--multi-cluster", other, "--namespace-labels", PRIVILEGED),
        *(*targets(site.connectivity), "--timeout", duration(timeout), "--junit-file", junit),
    )


def targets(wanted: Connectivity) -> tuple[str, ...]:
    """Where the tests to the world go; without a target of the site's own they are left out."""
    if wanted.external_target is None:
        return ("--test", "!/pod-to-world", "--test", "!/pod-to-cidr")
    given = (
        ("--external-target", wanted.external_target),
        ("--external-ip", wanted.external_ip),
        ("--external-other-ip", wanted.external_other_ip),
        ("--external-cidr", wanted.external_cidr),
    )
    return tuple(word for flag, value in given if value is not None for word in (flag, str(value)))


def junit(path: str) -> FileRead:
    return FileRead(path, text=True)


_SUITE = re.compile(r"<testsuite\s([^>]*)>")
_COUNT = re.compile(r'\b(tests|failures|errors|skipped)="(\d+)"')


def judge_junit(answers: Answers) -> Verdict:
    """The test's own result file: something was tested and nothing failed (the exit code is a hint)."""
    text = dig(answers[0].body, "text", default="")
    if not isinstance(dig(answers[0].body, "exists"), bool):
        return unknown("the result file cannot be read")
    suites = [{key: int(n) for key, n in _COUNT.findall(head)} for head in _SUITE.findall(text[: 1 << 20])]
    if not suites:
        return unmet("the test left no result", permanent=True)
    total = {key: sum(s.get(key, 0) for s in suites) for key in ("tests", "failures", "errors", "skipped")}
    if total["failures"] or total["errors"]:
        return unmet(f"{total['failures'] + total['errors']} of {total['tests']} tests failed", permanent=True, counts=total)
    if total["tests"] - total["skipped"] <= 0:
        return unmet("no test was run", permanent=True, counts=total)
    return met(f"{total['tests'] - total['skipped']} tests passed, {total['skipped']} skipped", counts=total)


# --- status ----------------------------------------------------------------------------------------------------------


def judge_status(nodes: int, answers: Answers) -> Verdict:
    """Every component has what it wants, and no agent reports an error. `cilium status` can exit 0 with errors present."""
    answer = answers[0]
    if answer.unreachable is not None:
        return unknown(answer.unreachable)
    if not answer.stdout.strip():
        return unknown(said(answer))
    found = parsed(answer)
    if not isinstance(found, Mapping) or "pods_count" not in found:
        return unknown("no status of Cilium")
    problems = _problems(found)
    if problems:
        return unmet("; ".join(problems[:4]))
    agents = dig(found, "pod_state", "cilium", default={})
    if dig(agents, "Desired", default=0) != nodes:
        return unmet(f"{dig(agents, 'Desired', default=0)} agents for {nodes} nodes")
    waiting = [f"{name} {dig(s, 'Ready', default=0)}/{dig(s, 'Desired', default=0)}" for name, s in found["pod_state"].items() if dig(s, "Ready", default=0) != dig(s, "Desired", default=0)]
    if waiting:
        return unmet(f"not ready: {', '.join(waiting)}")
    return met(f"{nodes} agents, {len(found['pod_state'])} components ready")


def _problems(found: Mapping[str, Any]) -> list[str]:
    errors = dig(found, "errors", default={})
    said_by = [f"{pod}: {text}" for pods in errors.values() for pod, told in pods.items() for text in listed(dig(told, "Errors"))]
    return said_by + (["the status could not be collected whole"] if found.get("collection_errors") else [])


# --- load balancer addresses and BGP ---------------------------------------------------------------------------------


def pools(cluster: str) -> KubeList:
    return KubeList(cluster, "cilium.io/v2", "CiliumLoadBalancerIPPool")


def judge_pools(wanted: tuple[str, ...], answers: Answers) -> Verdict:
    """The pools are there and conflict with none."""
    problem = refused(answers[0])
    if problem is not None:
        return problem
    found = {str(dig(o, "metadata", "name")): o for o in items(answers[0])}
    missing = [name for name in wanted if name not in found]
    if missing:
        return unmet(f"no pool {', '.join(missing)}")
    for name in wanted:
        conflict = condition(found[name], "cilium.io/PoolConflict")
        if conflict.get("status") == "True":
            return unmet(f"pool {name} conflicts: {conflict.get('message') or conflict.get('reason')}", permanent=True)
    return met(f"{len(wanted)} pools")


def node_configs(cluster: str) -> KubeList:
    return KubeList(cluster, "cilium.io/v2", "CiliumBGPNodeConfig")


def cluster_configs(cluster: str) -> KubeList:
    return KubeList(cluster, "cilium.io/v2", "CiliumBGPClusterConfig")


def peer_configs(cluster: str) -> KubeList:
    return KubeList(cluster, "cilium.io/v2", "CiliumBGPPeerConfig")


_FAULTS = ("cilium.io/NoMatchingNode", "cilium.io/MissingPeerConfigs", "cilium.io/ConflictingClusterConfig", "cilium.io/MissingAuthSecret")


def judge_bgp_nodes(nodes: tuple[Node, ...], peer: str, answers: Answers) -> Verdict:
    """Every node's session with the gateway is established, as Cilium writes it.

    Answers: CiliumBGPNodeConfig, CiliumBGPClusterConfig, CiliumBGPPeerConfig."""
    for answer in answers:
        problem = refused(answer)
        if problem is not None:
            return problem
    for answer in answers[1:]:
        for found in items(answer):
            bad = [c.removeprefix("cilium.io/") for c in _FAULTS if condition(found, c).get("status") == "True"]
            if bad:
                return unmet(f"{dig(found, 'kind', default='BGP config')} {dig(found, 'metadata', 'name')}: {', '.join(bad)}", permanent="NoMatchingNode" not in bad)
    return _sessions(nodes, peer, {str(dig(o, "metadata", "name")): o for o in items(answers[0])})


def _sessions(nodes: tuple[Node, ...], peer: str, found: Mapping[str, Any]) -> Verdict:
    waiting = []
    for node in nodes:
        peers = [p for instance in listed(dig(found.get(node.name), "status", "bgpInstances")) for p in listed(dig(instance, "peers"))]
        state = next((dig(p, "peeringState", default="unknown") for p in peers if dig(p, "peerAddress") == peer), "not configured")
        if state != "established":
            waiting.append(f"{node.name} {state}")
    return unmet(f"not established: {', '.join(waiting)}") if waiting else met(f"{len(nodes)} of {len(nodes)} sessions established")


def judge_bgp_peers(nodes: tuple[Node, ...], peer: str, answers: Answers) -> Verdict:
    """The same as the agents tell it. An agent that fails is just missing from the answer, exit 0."""
    answer = answers[0]
    if answer.unreachable is not None or answer.rc != 0:
        return unknown(answer.unreachable or said(answer))
    found = parsed(answer)
    if not isinstance(found, Mapping):
        return unknown("no list of peers")
    missing = [node.name for node in nodes if node.name not in found]
    if missing:
        return unmet(f"no answer of the agents on {', '.join(missing)}")
    states = {node.name: next((dig(p, "session-state", default="unknown") for p in found[node.name] if dig(p, "peer-address") == peer), "none") for node in nodes}
    waiting = [f"{name} {state}" for name, state in states.items() if state != "established"]
    return unmet(f"not established: {', '.join(waiting)}") if waiting else met(f"{len(nodes)} sessions established")


# --- cluster mesh ----------------------------------------------------------------------------------------------------


def judge_mesh(nodes: int, others: tuple[str, ...], answers: Answers) -> Verdict:
    """Every agent is connected to every other cluster. A failure still exits 0 in JSON mode, zero values are left out, and no
    entry for a cluster means that it is not configured (foundation.md 8.4). Only counts are kept: the answer holds a key."""
    answer = answers[0]
    if answer.unreachable is not None:
        return unknown(answer.unreachable)
    if answer.rc != 0:
        return unmet(said(answer))
    found = parsed(answer)
    if not isinstance(found, Mapping) or "connectivity" not in found:
        return unknown("no connectivity in the answer")
    kvstore = dig(found, "kvstoremesh", "status") if dig(found, "kvstoremesh", "enabled") else None
    for what, part, total in (("agents", found["connectivity"], nodes), ("kvstoremesh", kvstore, None)):
        if part is not None:
            problem = _mesh_problem(part, others, total)
            if problem:
                return unmet(f"{what}: {problem}")
    return met(f"connected to {', '.join(others)}")


def _mesh_problem(part: Any, others: tuple[str, ...], nodes: int | None) -> str:
    total = dig(part, "total", default=0)
    if nodes is not None and total != nodes:
        return f"{total} report, wanted {nodes}"
    if total == 0:
        return "none reports"
    if dig(part, "not_ready", default=0):
        return f"{part['not_ready']} not ready"
    for other in others:
        configured, connected = dig(part, "clusters", other, "configured", default=0), dig(part, "clusters", other, "connected", default=0)
        if not configured == connected == total:
            return f"{other}: {connected} of {total} connected, {configured} configured"
    errors = [f"{pod}: {text}" for pod, clusters in dig(part, "errors", default={}).items() for told in clusters.values() for text in listed(dig(told, "Errors"))]
    return errors[0] if errors else ""
