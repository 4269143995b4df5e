"""Where this workstation dials: what the adapters need of a site, as plain data."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from orchestrator.model.data import dataclass
from orchestrator.model.query import Secret


@dataclass(frozen=True, slots=True)
class KubeTarget:
    """One cluster's API: a kubeconfig file of its own and the context in it."""

    kubeconfig: Path
    context: str


@dataclass(frozen=True, slots=True)
class GatewayTarget:
    """The gateway's SSH server. Host keys are pinned by `known_hosts` (text in OpenSSH's form)."""

    address: str
    port: int
    user: str
    known_hosts: Secret
    password: Secret | None = None
    private_key: Secret | None = None


@dataclass(frozen=True, slots=True)
class GitTarget:
    """The repository that Flux reconciles."""

    url: str
    branch: str
    username: str
    author_name: str
    author_email: str
    token: Secret | None = None
    private_key: Secret | None = None
    known_hosts: Secret | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """All that one site dials, and its folder."""

    site_dir: Path
    clusters: dict[str, KubeTarget]
    gateway: GatewayTarget | None
    git: GitTarget
    poll: timedelta = timedelta(seconds=5)
    scale: float = 1.0
