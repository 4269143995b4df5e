"""The lab's copy of a site: the same but for the addresses that the product dials itself, and for poll and scale of its waits.

The secrets that the site refers to and that are not the product's to make are put where it looks for them. Source: design.md 8 "Sameness".
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from inventory.model import Site
from inventory.references import SecretRef

POLL_SECONDS = 0.1
NEVER_PLAYED = frozenset({"sh", "bash", "dash", "zsh", "env", "cat", "base64", "git", "ssh", "python3", "python"})
"""Programs of `exec:` references that a stand-in would break for everybody else: the real ones run."""
SCALE = 0.1  # deadlines of the orchestrator are wall time: a lab at its usual speed needs less than a tenth of them


@dataclass(slots=True)
class Credentials:
    """What the lab's actors accept, made before they start."""

    gateway_password: str
    git_token: str
    access_key: str
    secret_key: str
    gateway_key: str = ""  # private keys, PEM, where the site logs in with one
    git_key: str = ""


@dataclass(slots=True)
class Placed:
    """What the copy needs besides its file: variables for DIR/env, items of the simulated 1Password, and what the programs of
    `exec:` references print (argv -> secret)."""

    env: dict[str, str] = field(default_factory=dict)
    vaults: dict[str, str] = field(default_factory=dict)
    printed: dict[tuple[str, ...], str] = field(default_factory=dict)


def addresses(
    site: Site, *, factory: str, apis: Mapping[str, str], gateway_port: int, git_url: str, store: str, scale: float = SCALE
) -> dict[str, Any]:
    """The keys of the site that differ in the copy, by dotted path; `apis` are URLs by cluster."""
    changed: dict[str, Any] = {"factory.url": factory, "git.url": git_url}
    changed |= {f"clusters.{i}.api": apis[c.name] for i, c in enumerate(site.clusters)}
    if site.gateway is not None:
        changed |= {"gateway.address": "127.0.0.1", "gateway.port": gateway_port}
    if site.store is not None:
        changed["store.endpoint"] = store
    changed |= {"timing.poll": POLL_SECONDS, "timing.scale": scale}
    return changed


def text(site: Site, changed: Mapping[str, Any]) -> str:
    """The copy's site.yaml, whole: what the original includes stands in it."""
    document: dict[str, Any] = site.model_dump(mode="json", by_alias=True, exclude_none=True)
    document.pop("include", None)
    for path, value in changed.items():
        *parents, last = path.split(".")
        target: Any = document
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
        target[last] = value
    head = f"# The lab's copy of {site.name}: only {', '.join(sorted(changed))} differ.\n"
    return head + yaml.dump(document, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=1000)


class _Dumper(yaml.SafeDumper):
    """Writes no anchors, which a site may not hold, and quotes what YAML 1.1 would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def place(site: Site, folder: Path, have: Credentials, *, gateway_hosts: str, git_hosts: str) -> Placed:
    """Write or name every secret that the product reads and does not make. `*_hosts` are known_hosts lines."""
    placed = Placed()

    def put(reference: SecretRef | None, value: str) -> None:
        if reference is not None and value:
            _put(reference, value, folder, placed)

    if site.gateway is not None:
        put(site.gateway.password, have.gateway_password)
        put(site.gateway.private_key, have.gateway_key)
        put(site.gateway.known_hosts, gateway_hosts)
        if site.gateway.bgp_password is not None and site.gateway.bgp_password.scheme in ("env", "exec"):
            put(site.gateway.bgp_password, hashlib.sha256(f"bgp {have.gateway_password}".encode()).hexdigest()[:20])
    put(site.git.token, have.git_token)
    put(site.git.private_key, have.git_key)
    put(site.git.known_hosts, git_hosts)
    if site.store is not None:
        put(site.store.access_key, have.access_key)
        put(site.store.secret_key, have.secret_key)
    return placed


def _put(reference: SecretRef, value: str, folder: Path, placed: Placed) -> None:
    if reference.scheme == "env":
        placed.env[reference.rest] = value
    elif reference.scheme == "op":
        placed.vaults[str(reference)] = value
    elif reference.scheme == "exec":
        if reference.argv[0] not in NEVER_PLAYED:
            placed.printed[reference.argv] = value
    elif reference.scheme == "file":
        path = folder / reference.rest
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(value)


def env_file(folder: Path, variables: Mapping[str, str]) -> str:
    """DIR/env: loads under `sh -eu`; PATH gets the simulated programs first."""
    own = Path(sys.executable).parent  # last: where bootstrap itself is, and what was installed beside it
    path = f"PATH={shlex.quote(str(folder / 'bin'))}:$PATH:{shlex.quote(str(own))}"
    lines = ["# Loads a lab into a shell: . DIR/env", path, "export PATH"]
    for name, value in variables.items():
        lines.append(f"export {name}={shlex.quote(value)}")
    return "\n".join(lines) + "\n"
