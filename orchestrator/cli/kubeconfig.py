"""`bootstrap kubeconfig`: what kubectl wants."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.shared import Shared
from orchestrator.model.errors import PreconditionError, UsageError


@click.command()
@click.argument("cluster", required=False)
@click.pass_obj
def kubeconfig(shared: Shared, cluster: str | None) -> None:
    """Print the kubeconfig of CLUSTER, or one with a context for each cluster. It holds a key: mind where it goes."""
    import yaml

    from inventory.selection import nearest

    names = [one.name for one in shared.site.clusters]
    if cluster is not None and cluster not in names:
        near = nearest(cluster, names)
        raise UsageError(f"the site has no cluster {cluster!r}" + (f"; did you mean {near}?" if near else ""), hint=f"one of: {', '.join(names)}")
    merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
    for name in [cluster] if cluster else names:
        path = shared.room.state_dir / "clusters" / name / "kubeconfig"
        if not path.exists():
            raise PreconditionError(f"there is no kubeconfig for {name} yet", hint=f"bootstrap up --until talos@{name}")
        one = yaml.safe_load(path.read_text())
        for key in ("clusters", "users", "contexts"):
            merged[key] += one[key]
        merged.setdefault("current-context", one["current-context"])
    shared.data(yaml.safe_dump(merged, sort_keys=False).rstrip())
