"""This workstation: the wrapped programs and their versions, time and space. Source: foundation.md 0; recorded version cases."""

from __future__ import annotations

import re

from inventory.model import Site
from orchestrator.model.check import Answers
from orchestrator.model.query import ProgramOnPath, ToolQuery
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from orchestrator.tools.answers import dig, said

PYTHON = (3, 11)
FREE_BYTES = 512 << 20  # journal, logs and evidence of ten weeks stay far below

VERSIONS: tuple[ToolQuery, ...] = (
    ToolQuery(("talosctl", "version", "--client", "--short")),
    ToolQuery(("helm", "version", "--short")),
    ToolQuery(("cilium", "version", "--client")),
    ToolQuery(("flux", "version", "--client", "-o", "json")),
)
_FOUND = {
    "talosctl": re.compile(r"v(\d+\.\d+\.\d+)"),
    "helm": re.compile(r"v(\d+\.\d+\.\d+)"),
    "cilium": re.compile(r"cilium-cli: v(\d+\.\d+\.\d+)"),
    "flux": re.compile(r'"flux":\s*"v?(\d+\.\d+\.\d+)"'),
}


def programs(site: Site) -> tuple[str, ...]:
    """What has to be on PATH. `git` carries the repository; `op` only where the site keeps secrets in 1Password."""
    base = tuple(query.argv[0] for query in VERSIONS)
    return (*base, "git", *(("op",) if any(ref.startswith("op:") for ref in references(site)) else ()))


def references(site: Site) -> tuple[str, ...]:
    """Every secret reference of the site, in a stable order."""
    given = [cluster.talos_secrets for cluster in site.clusters] + [site.cilium_ca, site.git.token, site.git.private_key, site.git.known_hosts]
    if site.gateway is not None:
        given += [site.gateway.password, site.gateway.private_key, site.gateway.known_hosts, site.gateway.bgp_password]
    if site.store is not None:
        given += [site.store.access_key, site.store.secret_key]
    return tuple(dict.fromkeys(str(ref) for ref in given if ref is not None))


def on_path(site: Site) -> tuple[ProgramOnPath, ...]:
    return tuple(ProgramOnPath(name) for name in programs(site))


def judge_on_path(names: tuple[str, ...], answers: Answers) -> Verdict:
    """Every program stands on PATH."""
    if any(not isinstance(answer.body, dict) or "path" not in answer.body for answer in answers):
        return unknown("PATH could not be searched")
    missing = [name for name, answer in zip(names, answers, strict=True) if not answer.body["path"]]
    return unmet(f"not on PATH: {', '.join(missing)}", permanent=True) if missing else met(f"{len(names)} programs on PATH")


def judge_versions(site: Site, answers: Answers) -> Verdict:
    """talosctl is the cluster's version, cilium-cli the pin, helm and flux of the pinned minor."""
    pins = {"talosctl": (site.versions.talos, 3), "helm": (site.versions.helm, 2), "cilium": (site.versions.cilium_cli, 3), "flux": (site.versions.flux, 2)}
    wrong, found = [], {}
    for query, answer in zip(VERSIONS, answers, strict=True):
        tool = query.argv[0]
        if answer.unreachable is not None:
            return unknown(f"{tool}: {answer.unreachable}")
        match = _FOUND[tool].search(answer.stdout)
        if match is None:
            return unknown(f"{tool} does not tell its version: {said(answer)}")
        found[tool] = match[1]
        parts = match[1].split(".")
        pin, depth = pins[tool]
        if parts[:depth] != pin.removeprefix("v").split(".")[:depth]:
            wrong.append(f"{tool} {match[1]}, wanted {pin}{'' if depth == 3 else ' (same minor)'}")
    return unmet("; ".join(wrong), permanent=True, versions=found) if wrong else met(", ".join(f"{k} {v}" for k, v in found.items()), versions=found)


def judge_workstation(answers: Answers) -> Verdict:
    """A Python that we know, room for what is kept, a folder that can be written. Answer: Workstation."""
    body = answers[0].body
    python, free, writable = (dig(body, key) for key in ("python", "free_bytes", "writable"))
    if not isinstance(python, str) or not isinstance(free, int) or not isinstance(writable, bool):
        return unknown("this machine does not tell")
    wrong = []
    if tuple(int(p) for p in python.split(".")[:2]) < PYTHON:
        wrong.append(f"Python {python}, wanted {'.'.join(map(str, PYTHON))} or newer")
    if free < FREE_BYTES:
        wrong.append(f"{free >> 20} MiB free, wanted {FREE_BYTES >> 20}")
    if not writable:
        wrong.append("the site's folder cannot be written")
    return unmet("; ".join(wrong), permanent=True) if wrong else met(f"Python {python}, {free >> 20} MiB free")
