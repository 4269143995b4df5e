"""`cilium status`: what is deployed, how many are ready, what is wrong; as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from lab.cilium.agent import status_json
from lab.cilium.common import ready
from lab.kube.port import KubeError
from lab.programs.access import Unreachable
from lab.programs.call import Call
from lab.programs.cilium.base import REFUSED, Client, Fail, client, until
from lab.programs.tabwriter import align

RED, GREEN, YELLOW, CYAN, BLUE, MAGENTA, END = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m", "\x1b[34m", "\x1b[35m", "\x1b[0m"
APPS = "apps/v1"
SELECTORS = {  # component -> labels of its pods, in the order of the report
    "cilium": "k8s-app=cilium", "cilium-envoy": "name=cilium-envoy", "cilium-operator": "io.cilium/app=operator",
    "clustermesh-apiserver": "k8s-app=clustermesh-apiserver", "hubble-relay": "app.kubernetes.io/name=hubble-relay",
}  # fmt: skip
WARNED = {"clustermesh-apiserver": "clustermesh is not deployed", "hubble-relay": "hubble relay is not deployed", "hubble-ui": "hubble ui is not deployed"}


@dataclass(slots=True)
class Report:
    """What one look at the cluster found. `down` is the error of the first call where the API does not answer."""

    images: dict[str, dict[str, int]] = field(default_factory=dict)
    phases: dict[str, dict[str, int]] = field(default_factory=dict)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods_all: int = 0
    pods_cilium: int = 0
    agents: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    collection: list[Exception] = field(default_factory=list)
    chart: str = ""

    def note(self, component: str, subject: str, *, error: str = "", warning: str = "", disabled: bool = False) -> None:
        """Add to a component's errors, warnings, or mark it disabled."""
        entry = self.errors.setdefault(component, {}).setdefault(subject, {"Errors": [], "Warnings": [], "Disabled": disabled})
        entry["Errors"] += [error] if error else []
        entry["Warnings"] += [warning] if warning else []

    def count(self, component: str, what: str) -> int:
        """How many errors or warnings a component has."""
        return sum(len(e[what]) for e in self.errors.get(component, {}).values())

    def disabled(self, component: str) -> bool:
        """Whether a component is not deployed."""
        return any(e["Disabled"] for e in self.errors.get(component, {}).values())

    @property
    def errors_found(self) -> bool:
        """Whether any component has an error."""
        return any(self.count(c, "Errors") for c in self.errors) or bool(self.collection)

    @property
    def warnings_found(self) -> bool:
        """Whether any component has a warning."""
        return any(self.count(c, "Warnings") for c in self.errors)


async def collect(found: Client) -> Report:
    """One look. Never raises: what could not be asked is in `collection`."""
    report = Report()
    await _workload(found, report, "daemonsets", "cilium", optional=False)
    await _workload(found, report, "daemonsets", "cilium-envoy", optional=True)
    for name in ("cilium-operator", "clustermesh-apiserver", "hubble-relay", "hubble-ui"):
        await _workload(found, report, "deployments", name, optional=True)
    if not any(isinstance(e, Unreachable) for e in report.collection):
        await _pods(found, report)
    else:
        for selector in (*SELECTORS.values(), ""):
            await _try(found, report, f"/api/v1/namespaces/{found.namespace}/pods" if selector else "/api/v1/pods", selector)
    try:
        await found.config()
    except REFUSED as error:
        report.collection.append(_Config(f'unable to retrieve ConfigMap "cilium-config": {error}'))
    return report


class _Config(Exception):
    """A failed look at the ConfigMap: JSON shows nothing of it."""


async def _try(found: Client, report: Report, path: str, selector: str) -> None:
    try:
        found.port.check(path, f"?labelSelector={quote(selector, safe='')}" if selector else "")
    except REFUSED as error:
        report.collection.append(error)


async def _workload(found: Client, report: Report, plural: str, name: str, *, optional: bool) -> None:
    try:
        obj = await found.port.get(f"{APPS}/{plural}", name, found.namespace)
    except REFUSED as error:
        if name in WARNED:
            report.note(name, name, warning=WARNED[name])
        else:
            report.collection.append(error)
            report.note(name, name, error=str(error))
        return
    if obj is None:
        if optional:
            report.note(name, name, disabled=True)
        else:
            missing = KubeError(404, "NotFound", f'{plural}.apps "{name}" not found', {"name": name, "group": "apps", "kind": plural})
            report.collection.append(missing)
            report.note(name, name, error=str(missing))
        return
    kind = "DaemonSet" if plural == "daemonsets" else "Deployment"
    status, spec = obj.get("status") or {}, obj["spec"]
    if kind == "DaemonSet":
        desired, is_ready, available, away = (int(status.get(k, 0)) for k in ("desiredNumberScheduled", "numberReady", "numberAvailable", "numberUnavailable"))
    else:
        desired, is_ready, available, away = int(spec.get("replicas", 1)), *(int(status.get(k, 0)) for k in ("readyReplicas", "availableReplicas", "unavailableReplicas"))
        report.note(name, name)
    report.states[name] = {"Type": kind, "Desired": desired, "Ready": is_ready, "Available": available, "Unavailable": away}
    generation = obj["metadata"].get("generation", 1)
    if status.get("observedGeneration", 0) < generation:
        report.note(name, name, error=f"{kind} {name} is rolling out - observed generation is {status.get('observedGeneration', 0)}, expected {generation}")
    elif is_ready < desired or (kind == "DaemonSet" and desired == 0):
        text = f"{desired - is_ready} pods of {kind} {name} are not ready" if desired else f"{kind} {name} has no pods"
        report.note(name, name, error=text)
    elif kind == "DaemonSet" and status.get("updatedNumberScheduled", 0) < desired:
        report.note(name, name, error=f"{kind} {name} is rolling out - {status.get('updatedNumberScheduled', 0)} out of {desired} pods updated")


async def _pods(found: Client, report: Report) -> None:
    for name, selector in SELECTORS.items():
        pods = await found.pods(selector)
        if name == "cilium-envoy" and name not in report.states:
            continue
        images, phases = report.images.setdefault(name, {}), report.phases.setdefault(name, {})
        for pod in pods:
            phase = pod.get("status", {}).get("phase", "Pending")
            phases[phase] = phases.get(phase, 0) + 1
            for container in pod["spec"]["containers"]:
                images[container["image"]] = images.get(container["image"], 0) + 1
            if phase == "Pending":
                report.note(name, pod["metadata"]["name"], warning="pod is pending")
        if name == "cilium":
            await _agents(found, report, pods)
    everything, _ = await found.port.list("v1/pods")
    own = [p for p in everything if not p["spec"].get("hostNetwork") and p.get("status", {}).get("phase") == "Running"]
    report.pods_all = len(own)
    report.pods_cilium = len([p for p in own if report.agents])
    try:
        history = await found.helm().storage.history(found.call.flags.get("helm-release-name", "cilium"))
        report.chart = history[-1].chart_version if history else ""
    except REFUSED as error:
        report.collection.append(error)


async def _agents(found: Client, report: Report, pods: list[dict[str, Any]]) -> None:
    inside = found.inside
    for pod in pods:
        name = pod["metadata"]["name"]
        if pod.get("status", {}).get("phase") != "Running" or inside is None:
            continue
        problem = await found.exec_problem(pod["spec"].get("nodeName", ""))
        if problem:
            report.note("cilium", name, error=f"unable to retrieve cilium status: {problem}")
        elif ready(pod):
            report.agents[name] = status_json(inside.version(pod), pod.get("status", {}).get("podIP", ""), inside.mesh.agent_view())


def as_json(report: Report) -> str:
    """The report as `-o json` prints it: one blank of indent, empty sections left out."""
    out: dict[str, Any] = {}
    if report.images:
        out |= {"image_count": report.images, "phase_count": report.phases}
    if report.states:
        out["pod_state"] = dict(sorted(report.states.items()))
    out["pods_count"] = {"all": report.pods_all, "by_cilium": report.pods_cilium}
    if report.agents:
        out |= {"cilium_status": report.agents, "cilium_endpoints": {n: [] for n in report.agents}}
    if report.errors:
        out["errors"] = dict(sorted(report.errors.items()))
    if report.collection:
        out["collection_errors"] = [_error_json(e) for e in report.collection]
    if report.chart:
        out["helm_chart_version"] = report.chart
    return json.dumps(out, indent=1, ensure_ascii=False) + "\n"


def _error_json(error: Exception) -> Mapping[str, Any]:
    if isinstance(error, KubeError):
        status = {"metadata": {}, "status": "Failure", "message": error.message, "reason": error.reason}
        return {"ErrStatus": status | ({"details": error.details} if error.details else {}) | {"code": error.status}}
    if isinstance(error, Unreachable):
        url = str(error).split('"')[1]
        refused = {"Op": "dial", "Net": "tcp", "Source": None, "Addr": {"IP": "127.0.0.1", "Port": 0, "Zone": ""}, "Err": {"Syscall": "connect", "Err": 111}}
        return {"Op": "Get", "URL": url, "Err": refused}
    return {}


def _word(report: Report, component: str) -> str:
    errors, warnings = report.count(component, "Errors"), report.count(component, "Warnings")
    if errors:
        return f"{RED}{errors} errors{f', {warnings} warnings' if warnings else ''}{END}"
    if warnings:
        return f"{YELLOW}{warnings} warnings{END}"
    if report.disabled(component):
        return f"{CYAN}disabled{' (using embedded mode)' if component == 'cilium-envoy' else ''}{END}"
    return f"{GREEN}OK{END}"


def _ratio(have: int, want: int) -> str:
    colour = GREEN if have == want else YELLOW if have else RED
    return f"{colour}{have}/{want}{END}"


def as_text(report: Report) -> str:
    """The report with its logo, coloured into a pipe too."""
    words = [_word(report, c) for c in ("cilium", "cilium-operator", "cilium-envoy", "hubble-relay", "clustermesh-apiserver")]
    logo = (
        f"{YELLOW}    /¯¯\\\n"
        f"{CYAN} /¯¯{YELLOW}\\__/{GREEN}¯¯\\{END}    Cilium:             {words[0]}\n"
        f"{CYAN} \\__{RED}/¯¯\\{GREEN}__/{END}    Operator:           {words[1]}\n"
        f"{GREEN} /¯¯{RED}\\__/{MAGENTA}¯¯\\{END}    Envoy DaemonSet:    {words[2]}\n"
        f"{GREEN} \\__{BLUE}/¯¯\\{MAGENTA}__/{END}    Hubble Relay:       {words[3]}\n"
        f"{BLUE}{BLUE}{BLUE}    \\__/{END}       ClusterMesh:        {words[4]}\n\n"
    )
    rows: list[list[str]] = []
    for kind in ("DaemonSet", "Deployment"):
        for name, state in sorted(report.states.items()):
            if state["Type"] == kind:
                away = f", Unavailable: {RED}{state['Unavailable']}/{state['Desired']}{END}" if state["Unavailable"] else ""
                rows.append([kind, name, f"Desired: {state['Desired']}, Ready: {_ratio(state['Ready'], state['Desired'])}, Available: {_ratio(state['Available'], state['Desired'])}{away}"])
    first = "Containers:"
    for name, phases in sorted(report.phases.items()):
        rows.append([first, name, ", ".join(f"{p}: {GREEN if p == 'Running' else YELLOW}{n}{END}" for p, n in sorted(phases.items()))])
        first = ""
    rows.append(["Cluster Pods:", f"{report.pods_cilium}/{report.pods_all} managed by Cilium"])
    rows.append(["Helm chart version:", report.chart])
    first = "Image versions"
    for name, images in sorted(report.images.items()):
        for image, number in sorted(images.items()):
            rows.append([first, name, f"{image}: {number}"])
            first = ""
    for title, key in (("Errors:", "Errors"), ("Warnings:", "Warnings")):
        first = title
        for component, subjects in sorted(report.errors.items()):
            for subject, entry in sorted(subjects.items()):
                for text in entry[key]:
                    rows.append([first, component, subject, text])
                    first = ""
    return logo + align(rows)


async def status(call: Call) -> None:
    """The command."""
    found = client(call)
    as_data = call.flags["output"] == "json"
    report = await collect(found)
    if call.flags["wait"]:
        await _wait(call, found, report, as_data)
        return
    call.out(as_json(report) if as_data else as_text(report))
    if report.collection:
        raise Fail(f"status check failed: [{', '.join(str(e) for e in report.collection)}]", titled=False)


async def _wait(call: Call, found: Client, report: Report, as_data: bool) -> None:
    last = [report]

    async def good() -> bool:
        last[0] = await collect(found)
        return not last[0].errors_found and (call.flags["ignore-warnings"] or not last[0].warnings_found)

    done = await until(call, call.flags["wait-duration"], good)
    if done:
        call.out(as_json(last[0]) if as_data else as_text(last[0]))
        return
    dead = any(isinstance(e, Unreachable) for e in last[0].collection)
    text = as_text(last[0])
    if call.flags["interactive"]:  # redrawn in place, also into a pipe
        call.out(text + "\x1b[A\x1b[2K" * text.count("\n") + text)
    call.err(text)
    raise Fail(f"Unable to determine status:  timeout while waiting for status to become successful{'' if dead else ': context deadline exceeded'}")


COMMANDS = {"status": status}
