"""Who answers a request that a pod makes to a Service: local and, for global ones, remote backends; and what they say.

Pods that call `curl` or `wget` on a Service get the answer of a backend; the pods of a Job or Deployment whose command is a loop over such a call log
one answer a round. Source: Cilium's service load balancing with ClusterMesh (foundation.md 8.5).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lab.cilium.common import AGENT, PODS, SERVICES, pods_of, ready, selects
from lab.cilium.mesh import Mesh, remotes
from lab.ctl.behaviour import plain_command
from lab.kube.streams import ExecResult

GLOBAL, SHARED, AFFINITY = "service.cilium.io/global", "service.cilium.io/shared", "service.cilium.io/affinity"
URL = re.compile(r"https?://[^\s'\"|;)]+")


@dataclass(frozen=True, slots=True)
class Backend:
    """A pod that answers, and the cluster it is of."""

    cluster: str
    pod: Mapping[str, Any]


def _annotation(service: Mapping[str, Any], name: str) -> str:
    return str((service["metadata"].get("annotations") or {}).get(name, ""))


def local_backends(side: Mesh, namespace: str, name: str) -> list[Backend]:
    """Ready pods behind a Service of one cluster."""
    service = side.informers.of(SERVICES).get(f"{namespace}/{name}")
    if service is None or not service["spec"].get("selector"):
        return []
    found = side.informers.of(PODS).find("namespace", namespace)
    wanted = {"matchLabels": service["spec"]["selector"]}
    return [Backend(side.cluster, p) for p in sorted(found, key=lambda p: p["metadata"]["name"]) if ready(p) and selects(wanted, p["metadata"].get("labels") or {})]


def backends(side: Mesh, namespace: str, name: str) -> list[Backend] | None:
    """All pods that may answer a call from this cluster; None where there is no such Service here."""
    service = side.informers.of(SERVICES).get(f"{namespace}/{name}")
    if service is None:
        return None
    mine = local_backends(side, namespace, name)
    if _annotation(service, GLOBAL) != "true":
        return mine
    theirs: list[Backend] = []
    for other in remotes(side):
        there = other.informers.of(SERVICES).get(f"{namespace}/{name}")
        if there is not None and _annotation(there, GLOBAL) == "true" and _annotation(there, SHARED) != "false":
            theirs += local_backends(other, namespace, name)
    affinity = _annotation(service, AFFINITY)
    if affinity == "local" and mine:
        return mine
    if affinity == "remote" and theirs:
        return theirs
    return [b for pair in itertools.zip_longest(mine, theirs) for b in pair if b is not None]


def answer_of(backend: Backend, path: str) -> str:
    """What a backend says: its -text argument, the cluster's name from its environment, else its own name."""
    container = backend.pod["spec"]["containers"][0]
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    for i, word in enumerate(words):
        match = re.match(r"--?text=(.*)", word, re.S)
        if match:
            return match[1].strip("\"'") + "\n"
        if word in ("-text", "--text") and i + 1 < len(words):
            return f"{words[i + 1]}\n"
    if path.strip("/") in ("hostname", "hostName"):
        return str(backend.pod["metadata"]["name"])
    env = {e["name"]: e.get("value", "") for e in container.get("env") or ()}
    for name in ("CLUSTER", "CLUSTER_NAME", "TEXT", "MESSAGE", "ECHO"):
        if env.get(name):
            return f"{env[name]}\n"
    echoed = re.search(r"echo\s+(?:-n\s+)?[\"']?([\w.-]+)", " ".join(words))
    return f"{echoed[1]}\n" if echoed else f"{backend.pod['metadata']['name']}\n"


class Traffic:
    """Calls from the pods of one cluster. Backends take turns, so that a few calls reach all of them."""

    def __init__(self, side: Mesh) -> None:
        self.side = side
        self._turn = itertools.count()

    def call(self, pod: Mapping[str, Any], url: str) -> ExecResult:
        """One request: rc 0 and the body, or curl's 6 (no such host), 7 (nobody answers), 28 (no network)."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not pods_of(self.side.informers, AGENT):
            return ExecResult(28, b"", f"curl: (28) Failed to connect to {host} port {parts.port or 80}: Operation timed out\n".encode())
        labels = host.split(".")
        namespace = labels[1] if len(labels) > 1 else str(pod["metadata"]["namespace"])
        if len(labels) > 2 and (labels[2] != "svc" or labels[3:] not in ([], ["cluster", "local"])):
            return ExecResult(6, b"", f"curl: (6) Could not resolve host: {host}\n".encode())
        found = self._by_address(host) if re.fullmatch(r"[0-9.]+", host) else backends(self.side, namespace, labels[0])
        if found is None:
            return ExecResult(6, b"", f"curl: (6) Could not resolve host: {host}\n".encode())
        if not found:
            return ExecResult(7, b"", f"curl: (7) Failed to connect to {host} port {parts.port or 80}: Connection refused\n".encode())
        return ExecResult(0, answer_of(found[next(self._turn) % len(found)], parts.path).encode())

    def _by_address(self, host: str) -> list[Backend] | None:
        for service in self.side.informers.of(SERVICES).values():
            ingress = [i.get("ip") for i in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()]
            if host in (service["spec"].get("clusterIP"), *ingress):
                return backends(self.side, service["metadata"]["namespace"], service["metadata"]["name"])
        mine = [p for p in self.side.informers.of(PODS).values() if p.get("status", {}).get("podIP") == host]
        return [Backend(self.side.cluster, p) for p in mine if ready(p)]

    def run(self, pod: Mapping[str, Any], argv: Sequence[str], stdin: bytes) -> ExecResult:
        """A command in a pod: curl and wget by themselves, or in a shell, perhaps in a counted loop."""
        script = " ".join(argv[2:]) if len(argv) > 2 and argv[0].rsplit("/", 1)[-1] in ("sh", "bash", "ash") and argv[1].startswith("-") else ""
        text = script or " ".join(argv)
        urls = URL.findall(_expanded(pod, text))
        program = argv[0].rsplit("/", 1)[-1] if argv else ""
        if not urls or (not script and program not in ("curl", "wget")):
            return plain_command(pod, argv, stdin)
        rc, out, err = 0, b"", b""
        for _ in range(rounds(script)):
            for url in urls:
                result = self.call(pod, url)
                rc, out, err = result.rc, out + result.stdout + (b"" if result.stdout.endswith(b"\n") or not script else b"\n"), err + result.stderr
        return ExecResult(rc if not script or "|| true" not in script else 0, out, err)


def _expanded(pod: Mapping[str, Any], text: str) -> str:
    env = {e["name"]: e.get("value", "") for c in pod["spec"]["containers"] for e in c.get("env") or ()}
    return re.sub(r"\$\{?(\w+)\}?", lambda m: env.get(m[1], m[0]), text)


def rounds(script: str) -> int:
    """How often a script's loop runs: `seq 20`, `seq 1 20`, `{1..20}`; 1 without a loop."""
    match = re.search(r"seq\s+(?:\d+\s+)?(\d+)|\{\d+\.\.(\d+)\}", script)
    if match:
        return int(match[1] or match[2])
    listed = re.search(r"for\s+\w+\s+in\s+((?:\d+\s*)+)", script)
    counted = re.search(r"-l[te]\s+(\d+)", script)
    return len(listed[1].split()) if listed else int(counted[1]) if counted else 1


def main_command(pod: Mapping[str, Any]) -> list[str]:
    """Command and arguments of a pod's first container."""
    container = pod["spec"]["containers"][0]
    return [*(container.get("command") or ()), *(container.get("args") or ())]


def makes_calls(pod: Mapping[str, Any]) -> bool:
    """Whether a pod's own command is a call, so that its log shows answers."""
    text = " ".join(main_command(pod))
    return bool(re.search(r"\b(curl|wget)\b", text)) and bool(URL.search(_expanded(pod, text)))
