"""helm: argv and judges. Source: foundation.md 5.2; helm v3.19."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from inventory.model import Site
from orchestrator.model.action import DeleteSelected
from orchestrator.model.check import Answers
from orchestrator.model.query import Answer, KubeGet, ToolQuery
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from orchestrator.tools.answers import dig, gone, parsed, refused, said
from orchestrator.tools.kube import condition, differences
from orchestrator.tools.paths import Local
from orchestrator.tools.text import duration

REPOSITORY = "https://helm.cilium.io"
NAMESPACE = "kube-system"
RELEASE = "cilium"
_PENDING = "status in (pending-install,pending-upgrade,pending-rollback)"


def _at(cluster: str) -> tuple[str, ...]:
    return ("--namespace", NAMESPACE, "--kubeconfig", Local(cluster).kubeconfig, "--kube-context", cluster)


def listed(cluster: str) -> ToolQuery:
    """The release, also a pending one: without `--all` it is left out, exit 0."""
    return ToolQuery(("helm", "list", "--all", *_at(cluster), "-o", "json", "--filter", f"^{RELEASE}$"))


def values(cluster: str) -> ToolQuery:
    return ToolQuery(("helm", "get", "values", RELEASE, *_at(cluster), "-o", "json"))


def release_object(cluster: str) -> KubeGet:
    """Flux's HelmRelease, once Flux owns the release."""
    return KubeGet(cluster, "helm.toolkit.fluxcd.io/v2", "HelmRelease", RELEASE, NAMESPACE)


def forget_interrupted(cluster: str) -> DeleteSelected:
    """Drop the record of an interrupted install or upgrade, which would refuse every later one; the objects and the last
    good revision stay, and the next upgrade takes them over. Nothing matches when nothing was interrupted."""
    return DeleteSelected(cluster, "v1", "Secret", f"owner=helm,name={RELEASE},{_PENDING}", NAMESPACE)


def upgrade(site: Site, cluster: str) -> tuple[str, ...]:
    """Install or upgrade Cilium; the form that may be repeated.

    Without `--wait`: hubble-relay needs certificates that a post-install hook makes, and Helm runs those hooks only after the
    wait; the gates after the step wait instead. Source: cilium issue 40381.
    """
    return (
        *("helm", "upgrade", "--install", RELEASE, "cilium", "--repo", REPOSITORY, "--version", site.versions.cilium, *_at(cluster)),
        *("-f", Local(cluster).values, "--timeout", duration(site.timing.cilium)),
    )


def _release(answer: Answer) -> Mapping[str, Any] | None:
    """The release as `helm list` shows it, or None. Raises ValueError."""
    rows = parsed(answer)
    if not isinstance(rows, list):
        raise ValueError("not a list of releases")
    return next((row for row in rows if dig(row, "name") == RELEASE), None)


def judge_installed(version: str, wanted: Mapping[str, Any], answers: Answers) -> Verdict:
    """Cilium is installed: as Git says where Flux owns it, else with the site's version and values.

    Answers: `helm list`, `helm get values`, HelmRelease."""
    shown, live, owner = answers
    if shown.unreachable is not None:
        return unknown(shown.unreachable)
    if shown.rc != 0:
        return unknown(said(shown))
    release = _release(shown)
    if release is None:
        return unmet("Cilium is not installed")
    status, chart = str(release.get("status")), str(release.get("chart"))
    if owner.unreachable is None and owner.status == 200:
        return _owned(status, chart, owner)
    problem = refused(owner)
    if problem is not None:
        return problem
    if status != "deployed":
        return unmet(f"the release is {status}", status=status)
    if chart != f"cilium-{version}":
        return unmet(f"the chart is {chart}, wanted cilium-{version}")
    if live.unreachable is not None or live.rc != 0:
        return unknown(live.unreachable or said(live))
    different = differences(wanted, parsed(live)) + [f"-{key}" for key in parsed(live) if key not in wanted]
    return unmet(f"values differ at {', '.join(different[:5])}") if different else met(f"{chart} deployed, values as the site says")


def _owned(status: str, chart: str, owner: Answer) -> Verdict:
    if status in ("deployed", "pending-upgrade"):
        return met(f"{chart} {status}, owned by Flux, as Git says")
    return unmet(f"the release is {status}; Flux owns it: {condition(owner.body, 'Ready').get('message', 'no message')}")


def judge_values_as_git(wanted: Mapping[str, Any], answers: Answers) -> Verdict:
    """Before Flux takes over: the live values are those of Git, since a difference restarts every agent (foundation.md 5.3).

    Answers: `helm get values`, HelmRelease."""
    live, owner = answers
    problem = refused(owner)
    if problem is not None:
        return problem
    if not gone(owner):
        return met("Flux owns the release already")
    if live.unreachable is not None or live.rc != 0:
        return unknown(live.unreachable or said(live))
    found = parsed(live)
    different = differences(wanted, found) + [f"-{key}" for key in found if key not in wanted]
    if different:
        return unmet(f"the live values are not those of Git: {', '.join(different[:5])}", permanent=True)
    return met("the live values are those of Git")


INSTALL_WITHIN = timedelta(minutes=2)  # beyond helm's own --timeout: the chart is fetched before that clock starts
