"""`cilium connectivity test`: deploys its workloads, runs the selected tests one after another, writes a JUnit file.

A test passes unless the world gives a reason: agents that are not ready, a mesh that is not connected, a pod that could not be deployed.
Durations are a guess: seven minutes for a full run. Source: cilium-cli v0.18.8 connectivity/check; not recorded beyond its refusals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from lab.cilium.common import ready
from lab.kube.port import KubeError
from lab.programs.access import ConfigError
from lab.programs.call import Call
from lab.programs.cilium.base import DEFAULT_IMAGE, REFUSED, Client, Fail, client, until

TESTS: tuple[tuple[str, tuple[str, ...]], ...] = (  # tests with their scenarios, in the order of a run
    ("no-policies", ("pod-to-pod", "client-to-client", "pod-to-service", "pod-to-hostport", "pod-to-world", "pod-to-host", "host-to-pod")),
    ("no-policies-from-outside", ("from-cidr-to-pod",)),
    ("no-policies-extra", ("pod-to-remote-nodeport", "pod-to-local-nodeport")),
    ("allow-all-except-world", ("pod-to-pod", "client-to-client", "pod-to-service", "pod-to-hostport", "pod-to-host")),
    ("client-ingress", ("client-to-client",)),
    ("client-ingress-knp", ("client-to-client",)),
    ("allow-all-with-metrics-check", ("pod-to-pod",)),
    ("all-ingress-deny", ("pod-to-pod",)),
    ("all-ingress-deny-from-outside", ("from-cidr-to-pod",)),
    ("all-ingress-deny-knp", ("pod-to-pod",)),
    ("all-egress-deny", ("pod-to-pod",)),
    ("all-egress-deny-knp", ("pod-to-pod",)),
    ("all-entities-deny", ("pod-to-pod", "pod-to-cidr")),
    ("cluster-entity", ("pod-to-pod",)),
    ("cluster-entity-multi-cluster", ("pod-to-pod",)),
    ("host-entity-egress", ("pod-to-host",)),
    ("host-entity-ingress", ("host-to-pod",)),
    ("echo-ingress", ("pod-to-pod",)),
    ("echo-ingress-from-outside", ("from-cidr-to-pod",)),
    ("echo-ingress-knp", ("pod-to-pod",)),
    ("client-ingress-icmp", ("client-to-client",)),
    ("client-egress", ("pod-to-pod",)),
    ("client-egress-knp", ("pod-to-pod",)),
    ("client-egress-expression", ("pod-to-pod",)),
    ("client-egress-expression-port-range", ("pod-to-pod",)),
    ("client-egress-expression-knp", ("pod-to-pod",)),
    ("client-with-service-account-egress-to-echo", ("pod-to-pod",)),
    ("client-egress-to-echo-service-account", ("pod-to-pod",)),
    ("to-entities-world", ("pod-to-world",)),
    ("to-entities-world-port-range", ("pod-to-world",)),
    ("to-cidr-external", ("pod-to-cidr",)),
    ("to-cidr-external-knp", ("pod-to-cidr",)),
    ("from-cidr-host-netns", ("from-cidr-to-pod",)),
    ("echo-ingress-from-other-client-deny", ("pod-to-pod", "client-to-client")),
    ("client-ingress-from-other-client-icmp-deny", ("pod-to-pod", "client-to-client")),
    ("client-egress-to-echo-deny", ("pod-to-pod", "client-to-client")),
    ("client-ingress-to-echo-named-port-deny", ("pod-to-pod",)),
    ("client-egress-to-echo-expression-deny", ("pod-to-pod",)),
    ("client-egress-to-cidr-deny", ("pod-to-cidr",)),
    ("client-egress-to-cidr-deny-default", ("pod-to-cidr",)),
    ("health", ("cilium-health",)),
    ("north-south-loadbalancing", ("outside-to-nodeport",)),
    ("pod-to-pod-encryption", ("pod-to-pod-encryption",)),
    ("node-to-node-encryption", ("node-to-node-encryption",)),
    ("client-egress-l7-method", ("pod-to-pod-with-endpoints",)),
    ("client-egress-l7", ("pod-to-pod", "pod-to-world")),
    ("client-egress-l7-named-port", ("pod-to-pod", "pod-to-world")),
    ("client-egress-tls-sni", ("pod-to-world",)),
    ("dns-only", ("pod-to-pod", "pod-to-world")),
    ("to-fqdns", ("pod-to-world", "pod-to-world-2")),
    ("pod-to-controlplane-host", ("pod-to-controlplane-host",)),
    ("pod-to-k8s-on-controlplane", ("pod-to-k8s-on-controlplane",)),
    ("local-redirect-policy", ("lrp",)),
    ("check-log-errors", ("no-errors-in-logs",)),
)
SKIPPED = {  # not run on a cluster as the plan's: the feature is off, or there is no node without Cilium
    "no-policies-from-outside", "all-ingress-deny-from-outside", "echo-ingress-from-outside", "north-south-loadbalancing", "pod-to-pod-encryption", "node-to-node-encryption",
    "local-redirect-policy", "from-cidr-host-netns", "pod-to-k8s-on-controlplane",
}  # fmt: skip
MULTI = "cluster-entity-multi-cluster"
SECONDS = (7.0, 12.0)  # simulated, of one test
CLIENT = ("client", "client2", "client3")
ECHO = ("echo-same-node", "echo-other-node")


@dataclass(slots=True)
class Outcome:
    """One test's end."""

    name: str
    scenarios: tuple[str, ...]
    state: str  # passed, failed, skipped
    seconds: float
    reason: str = ""


def _deployment(name: str, namespace: str, *, echo: bool, images: dict[str, str], other_node: bool) -> dict[str, Any]:
    labels = {"name": name, "kind": "echo" if echo else "client"} | ({"other": name} if name == "client2" else {})
    container: dict[str, Any] = {"name": name, "image": images["echo" if echo else "client"], "imagePullPolicy": "IfNotPresent", "securityContext": {"capabilities": {"add": ["NET_RAW"]}}}
    container |= {"ports": [{"containerPort": 8080, "name": "http-8080"}], "env": [{"name": "PORT", "value": "8080"}]} if echo else {"command": ["/usr/bin/pause"]}
    rule = "podAntiAffinity" if other_node else "podAffinity"
    near = {rule: {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {"matchExpressions": [{"key": "name", "operator": "In", "values": ["client"]}]}, "topologyKey": "kubernetes.io/hostname"}]}}
    spec: dict[str, Any] = {"containers": [container], "serviceAccountName": name}
    if name != "client":
        spec["affinity"] = near
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels, "name": name}, "spec": spec}},
    }  # fmt: skip


class Run:
    """One run of the command."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.here = client(call)
        self.remote: Client | None = None
        self.namespace = f"{call.flags['test-namespace']}-1"
        self.begin = call.clock.seconds()
        self.end = self.begin + (call.flags["timeout"] or 1e12)
        self.name = ""
        self.rng = call.world.random_for(f"connectivity/{call.clock.seconds()}")

    async def check(self) -> None:
        """Cilium is there, and its agents can be asked. Raises Fail."""
        try:
            daemonset = await self.here.port.get("apps/v1/daemonsets", self.call.flags["agent-daemonset-name"], self.here.namespace)
            if daemonset is None:
                raise KubeError(404, "NotFound", f'daemonsets.apps "{self.call.flags["agent-daemonset-name"]}" not found')
        except REFUSED as error:
            self.call.out('🟥 Unable to determine status of Cilium DaemonSet. Run "cilium status" for more details\n')
            raise Fail(f"unable to determine status of Cilium DaemonSet: {error}", titled=False) from error
        pods = await self.here.pods(self.call.flags["agent-pod-selector"])
        for pod in pods:
            name = pod["metadata"]["name"]
            problem = await self.here.exec_problem(pod["spec"].get("nodeName", ""))
            if problem or not ready(pod):
                why = problem or f"command failed (pod={self.here.namespace}/{name}, container=cilium-agent): command terminated with exit code 1"
                self.call.out(f'⚠️  Unable to detect Cilium version, assuming {DEFAULT_IMAGE} for connectivity tests: unable to parse Cilium version on pod "{name}": unable to fetch cilium version on pod "{name}": {why}\n')
                raise Fail(f"failed to fetch cilium runtime config: {why}", titled=False)
        self.name = (await self.here.config()).get("cluster-name", "default")
        if self.call.flags["multi-cluster"]:
            try:
                self.remote = client(self.call, self.call.flags["multi-cluster"], "")
                self.remote.port.check("/version")
            except (ConfigError, *REFUSED) as error:
                raise Fail(f'unable to create Kubernetes client for remote cluster "{self.call.flags["multi-cluster"]}": {error}', titled=False) from error

    async def deploy(self) -> None:
        """Namespace, services, deployments; waits until all are ready. Raises Fail."""
        self.call.mutates()
        for side in (s for s in (self.here, self.remote) if s is not None):
            await self._deploy_in(side)
        for side in (s for s in (self.here, self.remote) if s is not None):
            await self._await(side)

    async def _deploy_in(self, side: Client) -> None:
        name = (await side.config()).get("cluster-name", "default")
        flags, say = self.call.flags, self.call.out
        labels = {"app.kubernetes.io/name": "cilium-cli", **flags["namespace-labels"]}
        if flags["force-deploy"] and await side.port.get("v1/namespaces", self.namespace) is not None:
            say(f"🔥 [{name}] Deleting connectivity check deployments...\n")
            await side.port.delete("v1/namespaces", self.namespace)

            async def gone() -> bool:
                return await side.port.get("v1/namespaces", self.namespace) is None

            await until(self.call, 300, gone)
        if await side.port.get("v1/namespaces", self.namespace) is None:
            say(f"✨ [{name}] Creating namespace {self.namespace} for connectivity check...\n")
            await side.port.create("v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels, "annotations": dict(flags["namespace-annotations"])}})
        images = {"client": flags["curl-image"], "echo": flags["json-mock-image"]}
        for one in self._names(side):
            if await side.port.get("apps/v1/deployments", one, self.namespace) is not None:
                continue
            echo = one in ECHO
            say(f"✨ [{name}] Deploying {one} {'service' if echo else 'deployment'}...\n")
            await self._create(side, "v1/serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": one, "namespace": self.namespace}})
            if echo:
                annotations = {"service.cilium.io/global": "true", "io.cilium/global-service": "true"} if self.remote is not None else {}
                service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": one, "namespace": self.namespace, "labels": {"kind": "echo"}, "annotations": annotations}, "spec": {"type": "NodePort", "selector": {"name": one}, "ports": [{"name": "http", "port": 8080}]}}
                await self._create(side, "v1/services", service)
            await self._create(side, "apps/v1/deployments", _deployment(one, self.namespace, echo=echo, images=images, other_node=one in ("client3", "echo-other-node")))

    async def _create(self, side: Client, gvr: str, obj: dict[str, Any]) -> None:
        try:
            await side.port.create(gvr, obj, self.namespace)
        except KubeError as error:
            if error.status != 409:
                raise Fail(f"connectivity test failed: unable to create {obj['kind'].lower()} {obj['metadata']['name']}: {error}", titled=False) from error

    def _names(self, side: Client) -> Iterator[str]:
        single = self.call.flags["single-node"]
        if self.remote is not None:
            yield from (("client", "client2", "echo-same-node") if side is self.here else ("echo-other-node",))
            return
        yield from (n for n in (*CLIENT, *ECHO) if not (single and n in ("client3", "echo-other-node")))

    async def _await(self, side: Client) -> None:
        name = (await side.config()).get("cluster-name", "default")
        for one in self._names(side):
            self.call.out(f"⌛ [{name}] Waiting for deployment {self.namespace}/{one} to become ready...\n")

            async def up(one: str = one) -> bool:
                obj = await side.port.get("apps/v1/deployments", one, self.namespace)
                return obj is not None and (obj.get("status") or {}).get("readyReplicas", 0) >= obj["spec"].get("replicas", 1)

            if not await until(self.call, max(min(600.0, self.end - self.call.clock.seconds()), 0), up):
                why = "only 0 of 1 replicas are available"
                raise Fail(f"connectivity test failed: timeout reached waiting for deployment {self.namespace}/{one} to become ready (last error: {why})", titled=False)

    def selected(self) -> list[tuple[str, tuple[str, ...]]]:
        """Tests and scenarios that --test leaves: patterns of what to run, and behind `!` of what not."""
        patterns = [p for given in self.call.flags["test"] for p in (given if isinstance(given, list) else [given])]
        wanted, unwanted = [p for p in patterns if not p.startswith("!")], [p[1:] for p in patterns if p.startswith("!")]
        out = []
        for test, scenarios in TESTS:
            left = tuple(s for s in scenarios if not any(_hits(p, test, s) for p in unwanted) and (not wanted or any(_hits(p, test, s) for p in wanted)))
            out.append((test, left))
        return out

    async def trouble(self, test: str) -> str:
        """Why a test would fail now; empty where it passes."""
        for side in (s for s in (self.here, self.remote) if s is not None):
            pods = await side.pods("k8s-app=cilium")
            if not pods or any(not ready(p) for p in pods):
                return "command failed: curl: (28) Connection timed out after 5000 milliseconds"
        if self.remote is None or self.here.inside is None or self.remote.inside is None:
            return ""
        names = [(await s.config()).get("cluster-name", "") for s in (self.here, self.remote)]
        joined = self.here.inside.mesh.reaches(names[1]) and self.remote.inside.mesh.reaches(names[0])
        return "" if joined or test == "health" else "command failed: curl: (6) Could not resolve host: echo-other-node"

    async def run(self) -> list[Outcome]:
        """All tests, in order. Raises Fail at --timeout."""
        tests = self.selected()
        run = [t for t, s in tests if s]
        self.call.out(f"🏃[{self.namespace}] Running {len(tests)} tests ...\n")
        out: list[Outcome] = []
        for number, (test, scenarios) in enumerate(tests, 1):
            skip = test not in run or test in SKIPPED or (test == MULTI and self.remote is None)
            if skip:
                self.call.out(f"[=] [{self.namespace}] Skipping test [{test}] [{number}/{len(tests)}] (skipped by condition)\n")
                out.append(Outcome(test, scenarios, "skipped", 0.0))
                continue
            self.call.out(f"[=] [{self.namespace}] Test [{test}] [{number}/{len(tests)}]\n")
            seconds = self.rng.uniform(*SECONDS)
            await self.call.sleep(seconds)
            reason = await self.trouble(test)
            self.call.out("." * len(scenarios) + "\n" if not reason else f"  ❌ [{self.namespace}] {test}/{scenarios[0]}: {reason}\n")
            out.append(Outcome(test, scenarios, "failed" if reason else "passed", seconds, reason))
            if self.call.clock.seconds() > self.end:
                raise Fail("connectivity test failed: context deadline exceeded", titled=False)
        return out


def _hits(pattern: str, test: str, scenario: str) -> bool:
    """`test`, `test/scenario` or `/scenario` as regular expressions."""
    first, separator, second = pattern.partition("/")
    return bool(re.search(first, test)) and (not separator or bool(re.search(second, scenario)))


def junit(call: Call, outcomes: list[Outcome], seconds: float) -> str:
    """The JUnit report."""
    failed, skipped = sum(o.state == "failed" for o in outcomes), sum(o.state == "skipped" for o in outcomes)
    head = f'tests="{len(outcomes)}" disabled="{skipped}" errors="0" failures="{failed}" time="{seconds:.6f}"'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {head}>"]
    lines.append(
        f'  <testsuite name="connectivity test" id="0" package="cilium" tests="{len(outcomes)}" errors="0" failures="{failed}" skipped="{skipped}" time="{seconds:.6f}" timestamp="{call.clock.now():%Y-%m-%dT%H:%M:%S}">'
    )
    lines.append(f"    <properties>\n      <property name=\"Args\" value={quoteattr(' '.join(call.argv[3:]))}></property>\n    </properties>")
    for one in outcomes:
        inner = ""
        if one.state == "failed":
            inner = f'\n      <failure message={quoteattr(f"{one.name} failed")} type="failure">{one.name}/{one.scenarios[0]}</failure>\n    '
        elif one.state == "skipped":
            inner = f'\n      <skipped message={quoteattr(f"{one.name} skipped")}></skipped>\n    '
        lines.append(f'    <testcase name="{one.name}" classname="connectivity test" status="{one.state}" time="{one.seconds:.6f}">{inner}</testcase>')
    return "\n".join([*lines, "  </testsuite>", "</testsuites>"]) + "\n"


async def connectivity_test(call: Call) -> None:
    """The command: exit 1 where a test failed."""
    run = Run(call)
    await run.check()
    call.out("ℹ️  Monitor aggregation detected, will skip some flow validation steps\n")
    try:
        await run.deploy()
        call.out(f"ℹ️  Skipping IPCache check\n🔭 Enabling Hubble telescope...\nℹ️  Cilium version: {run.here.inside.version((await run.here.pods('k8s-app=cilium'))[0]) if run.here.inside else 'unknown'}\n")
        outcomes = await run.run()
    except REFUSED as error:
        raise Fail(f"connectivity test failed: {error}", titled=False) from error
    if call.flags["junit-file"]:
        call.path(call.flags["junit-file"]).write_text(junit(call, outcomes, call.clock.seconds() - run.begin))
    failed = [o for o in outcomes if o.state == "failed"]
    skipped = sum(o.state == "skipped" for o in outcomes)
    done = len(outcomes) - skipped
    actions = sum(4 * len(o.scenarios) for o in outcomes if o.state != "skipped")
    if not failed:
        call.out(f"\n✅ [{run.namespace}] All {done} tests ({actions} actions) successful, {skipped} tests skipped, 0 scenarios skipped.\n")
        return
    call.out(f"\n📋 Test Report [{run.namespace}]\n❌ {len(failed)}/{done} tests failed ({len(failed)}/{actions} actions), {skipped} tests skipped, 0 scenarios skipped:\n")
    call.out("".join(f"Test [{o.name}]:\n  🟥 {o.name}/{o.scenarios[0]}: {o.reason}\n" for o in failed))
    call.out(f"[{run.namespace}] {len(failed)} tests failed\n")
    raise Fail(f"connectivity test failed: {len(failed)} tests failed", titled=False)


COMMANDS = {"connectivity_test": connectivity_test}
