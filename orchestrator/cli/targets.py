"""From the site to where the adapters dial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.adapters.targets import GatewayTarget, GitTarget, KubeTarget
from orchestrator.model.query import Secret

if TYPE_CHECKING:
    from inventory.model import Cluster, Site
    from inventory.references import SecretRef


def kube_target(state_dir: Path, cluster: Cluster) -> KubeTarget:
    """The cluster's own kubeconfig below the state folder."""
    return KubeTarget(state_dir / "clusters" / cluster.name / "kubeconfig", cluster.name)


def gateway_target(site: Site) -> GatewayTarget | None:
    """The gateway's SSH server, where the site has one."""
    gateway = site.gateway
    if gateway is None:
        return None
    return GatewayTarget(gateway.address, gateway.port, gateway.user, Secret(str(gateway.known_hosts)), _secret(gateway.password), _secret(gateway.private_key))


def git_target(site: Site) -> GitTarget:
    """The repository that Flux reconciles."""
    git = site.git
    return GitTarget(git.url, git.branch, git.username, git.author.name, git.author.email, _secret(git.token), _secret(git.private_key), _secret(git.known_hosts))


def _secret(ref: SecretRef | None) -> Secret | None:
    return None if ref is None else Secret(str(ref))
