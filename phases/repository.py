"""The Git tree that Flux reconciles, rendered from the site. Source: gitops-storage.md 5.

Each cluster has folders of its own, so that clusters are worked on side by side and a commit of one never touches the other:
`clusters/<c>/` holds Kustomizations and variables only, `infrastructure/*/<c>/` and `apps/<c>/` what the layers apply.
Layers: crds <- cilium <- cilium-config <- operators <- apps; network and CRD layers never prune.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from inventory.model import Cluster, Site
from orchestrator.tools import flux, helm
from orchestrator.tools.talosctl import endpoint
from orchestrator.tools.text import dump, duration
from phases import cilium_config

LAYERS = ("crds", "cilium", "cilium-config", "operators", "apps")
MESH_VALUES = "cilium-mesh-values"
WATCH = {"reconcile.fluxcd.io/watch": "Enabled"}  # a change of the ConfigMap is reconciled at once
HEADER = "# Written by bootstrap from the site's file. A change made here is kept, and shown as drift.\n"
TEST_NAME = "bootstrap-reconcile-test"


def files(site: Site, cluster: Cluster) -> Mapping[str, str]:
    """Path in the repository -> text, for one cluster. No secret is in them."""
    root, name = flux.cluster_path(site.git, cluster.name), cluster.name
    return {
        f"{root}/00-crds.yaml": _yaml(_layer(site, name, "crds", folder("crds", name), prune=False, within=timedelta(minutes=3))),
        f"{root}/10-network.yaml": _yaml(
            _layer(site, name, "cilium", folder("cilium", name), needs=("crds",), prune=False),
            _layer(site, name, "cilium-config", folder("cilium-config", name), needs=("cilium",), prune=False),
        ),
        f"{root}/30-operators.yaml": _yaml(_layer(site, name, "operators", folder("operators", name), needs=("cilium-config",))),
        f"{root}/90-apps.yaml": _yaml(_layer(site, name, "apps", folder("apps", name), needs=("operators",), within=timedelta(minutes=5))),
        f"{root}/cluster-vars.yaml": _yaml(_variables(site, cluster)),
        f"{folder('crds', name)}/layer.yaml": _yaml(_about("crds", "definitions that later layers need")),
        f"{folder('cilium', name)}/helmrelease.yaml": _yaml(_chart_source(), _release(site, cluster)),
        f"{folder('cilium-config', name)}/network.yaml": _yaml(*_network(site, cluster)),
        f"{folder('operators', name)}/layer.yaml": _yaml(_about("operators", "controllers that services and apps need")),
        f"{folder('apps', name)}/layer.yaml": _yaml(_about("apps", "what the platform is for")),
    }


def readme(site: Site) -> str:
    """What the folder above the clusters' folders is for."""
    rows = "".join(f"- `{flux.cluster_path(site.git, cluster.name)}/`: what Flux reconciles on {cluster.name}\n" for cluster in site.clusters)
    layers = " <- ".join(LAYERS)
    return f"# Clusters\n\n{rows}\nLayers, each waiting for the one before: {layers}.\nFiles written by bootstrap say so; a change made to one is kept, and shown as drift.\n"


def folder(layer: str, cluster: str) -> str:
    """Where a layer of a cluster stands in the repository."""
    parents = {
        "crds": "infrastructure/crds",
        "cilium": "infrastructure/controllers/cilium",
        "cilium-config": "infrastructure/configs/cilium",
        "operators": "infrastructure/controllers/operators",
        "apps": "apps",
    }
    return f"{parents[layer]}/{cluster}"


def mesh_path(cluster: str) -> str:
    """The file by which the mesh phase adds to Cilium's values without touching the release itself."""
    return f"{folder('cilium', cluster)}/mesh-values.yaml"


def mesh_file(values: Mapping[str, Any]) -> str:
    """A ConfigMap that the HelmRelease reads when it is there."""
    metadata = {"name": MESH_VALUES, "namespace": helm.NAMESPACE, "labels": WATCH}
    return _yaml({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"values.yaml": dump(values)}})


def test_path(site: Site, cluster: str) -> str:
    """Where the reconcile test puts its object."""
    return f"{folder('apps', cluster)}/reconcile-test.yaml"


def test_object(cluster: str) -> dict[str, Any]:
    """A harmless object that is made and removed through Git."""
    metadata = {"name": TEST_NAME, "namespace": flux.SYSTEM}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"cluster": cluster}}


def test_file(cluster: str) -> str:
    return _yaml(test_object(cluster))


def _yaml(*documents: Mapping[str, Any]) -> str:
    return HEADER + dump(*documents)


def _layer(site: Site, cluster: str, name: str, path: str, *, needs: tuple[str, ...] = (), prune: bool = True, within: timedelta = timedelta(minutes=10)) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "interval": "1h",
        "retryInterval": "2m",
        "timeout": duration(within),
        "path": f"./{path}",
        "prune": prune,
        "wait": True,
        "sourceRef": {"kind": "GitRepository", "name": flux.SYSTEM},
        "postBuild": {"substituteFrom": [{"kind": "ConfigMap", "name": "cluster-vars"}]},
    }
    if not prune:
        spec["deletionPolicy"] = "Orphan"
    if needs:
        spec["dependsOn"] = [{"name": need} for need in needs]
    return {"apiVersion": flux.KUSTOMIZATION, "kind": "Kustomization", "metadata": {"name": name, "namespace": flux.SYSTEM}, "spec": spec}


def _variables(site: Site, cluster: Cluster) -> dict[str, Any]:
    """What manifests of later layers may name as ${cluster_name} and so on."""
    data = {
        "cluster_name": cluster.name,
        "cluster_id": str(cluster.cilium.id),
        "cluster_domain": cluster.domain,
        "cluster_endpoint": endpoint(cluster),
        **{f"pool_{i}": str(pool.cidr) for i, pool in enumerate(cluster.pools)},
    }
    metadata = {"name": "cluster-vars", "namespace": flux.SYSTEM, "labels": WATCH}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _about(layer: str, purpose: str) -> dict[str, Any]:
    """A layer is never empty: kustomize refuses an empty one."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"layer-{layer}", "namespace": flux.SYSTEM}, "data": {"purpose": purpose}}


def _chart_source() -> dict[str, Any]:
    metadata = {"name": "cilium", "namespace": helm.NAMESPACE}
    return {"apiVersion": flux.SOURCE, "kind": "HelmRepository", "metadata": metadata, "spec": {"interval": "12h", "url": helm.REPOSITORY}}


def _release(site: Site, cluster: Cluster) -> dict[str, Any]:
    """Adopts the release that Helm made: same name, namespace, chart and values, or it would be a second CNI over the live one.

    A failure never uninstalls Cilium (foundation.md 5.3)."""
    retry = {"strategy": {"name": "RetryOnFailure", "retryInterval": "5m"}}
    return {
        "apiVersion": flux.HELM,
        "kind": "HelmRelease",
        "metadata": {"name": helm.RELEASE, "namespace": helm.NAMESPACE},
        "spec": {
            "interval": "1h",
            "timeout": duration(site.timing.cilium),
            "releaseName": helm.RELEASE,
            "chart": {"spec": {"chart": "cilium", "version": site.versions.cilium, "sourceRef": {"kind": "HelmRepository", "name": "cilium"}, "interval": "12h"}},
            # no wait: certificates come from hooks that run only after it (cilium issue 40381); the mesh's gates wait instead
            "install": {"crds": "CreateReplace", "disableWait": True, **retry},
            "upgrade": {"crds": "CreateReplace", "disableWait": True, **retry},
            "valuesFrom": [{"kind": "ConfigMap", "name": MESH_VALUES, "optional": True}],
            "values": cilium_config.values(site, cluster),
        },
    }


def _network(site: Site, cluster: Cluster) -> tuple[Mapping[str, Any], ...]:
    return (cilium_config.marks_namespace_in_git(), *cilium_config.pools(cluster), *cilium_config.announcements(site, cluster))
