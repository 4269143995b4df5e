"""What is written for a site: valid, deterministic, without a secret, and the same for Helm and for Flux."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

import inventory
import phases
from inventory.model import Site
from orchestrator.model.query import Answer
from orchestrator.model.verdict import State
from orchestrator.tools.git import judge_files, sha256
from phases import cilium_config, machine_config, repository

SITES = sorted((Path(__file__).parents[2] / "inventory" / "sites").glob("*/site.yaml"))
CRDS = Path(__file__).parents[3] / "shared" / "crds"


@pytest.fixture(params=SITES, ids=lambda path: path.parent.name, scope="module")
def site(request: pytest.FixtureRequest) -> Site:
    return inventory.load(request.param)


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def objects(site: Site) -> list[tuple[str, dict[str, Any]]]:
    return [(path, document) for path, text in phases.render(site).items() if path.startswith("git/") and path.endswith(".yaml") for document in documents(text)]


def test_rendering_twice_gives_the_same(site: Site) -> None:
    assert phases.render(site) == phases.render(site)


def test_every_file_is_yaml_and_ends_in_a_newline(site: Site) -> None:
    for path, text in phases.render(site).items():
        assert text.endswith("\n") and "\t" not in text, path
        if path.endswith(".yaml"):
            assert documents(text), path


def test_no_secret_and_no_anchor_is_rendered(site: Site) -> None:
    for path, text in phases.render(site).items():
        assert not re.search(r"BEGIN .*KEY|&id\d|\*id\d|ca\.key|password: \S", text), path


def test_every_object_is_named_and_no_two_are_the_same(site: Site) -> None:
    for cluster in site.clusters:
        seen = [(o["apiVersion"], o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for path, o in objects(site) if Path(path).parent.name == cluster.name]
        assert len(seen) == len(set(seen))


def test_layers_stand_behind_those_that_they_need(site: Site) -> None:
    for cluster in site.clusters:
        layers = {o["metadata"]["name"]: o for path, o in objects(site) if o["kind"] == "Kustomization" and Path(path).parent.name == cluster.name}
        assert set(layers) == set(repository.LAYERS)
        for layer in layers.values():
            assert all(need["name"] in layers for need in layer["spec"].get("dependsOn", []))
            folder = layer["spec"]["path"].removeprefix("./")
            assert any(path.startswith(f"git/{folder}/") for path in phases.render(site)), folder
        assert not any(layers[name]["spec"]["prune"] for name in ("crds", "cilium", "cilium-config"))


def test_flux_gets_the_values_that_helm_got(site: Site) -> None:
    for cluster in site.clusters:
        release = next(o for path, o in objects(site) if o["kind"] == "HelmRelease" and Path(path).parent.name == cluster.name)
        helm = documents(phases.render(site)[f"helm/{cluster.name}/cilium-values.yaml"])[0]
        assert release["spec"]["values"] == helm
        assert release["spec"]["chart"]["spec"]["version"] == site.versions.cilium
        assert (release["metadata"]["name"], release["metadata"]["namespace"], release["spec"]["releaseName"]) == ("cilium", "kube-system", "cilium")
        assert "targetNamespace" not in release["spec"] and "storageNamespace" not in release["spec"]


def test_clusters_share_what_a_mesh_wants_and_nothing_else(site: Site) -> None:
    values = [cilium_config.values(site, cluster) for cluster in site.clusters]
    assert len({one["routingMode"] for one in values}) == 1
    assert len({one["cluster"]["id"] for one in values}) == len(values)
    assert len({one["cluster"]["name"] for one in values}) == len(values)
    ports = [cilium_config.mesh_apiserver(cluster)["clustermesh"]["apiserver"]["service"]["nodePort"] for cluster in site.clusters]
    assert len(site.clusters) == 1 or len(set(ports)) == len(ports)


def test_every_cluster_is_told_of_every_other(site: Site) -> None:
    for cluster in site.clusters:
        told = cilium_config.mesh_connected(site, cluster)["clustermesh"]["config"]["clusters"]
        assert [one["name"] for one in told] == [cilium_config.mesh_name(other) for other in site.clusters if other.name != cluster.name]
        assert all(one["ips"] and one["port"] for one in told)


def test_machine_patches_keep_clusters_apart(site: Site) -> None:
    for cluster in site.clusters:
        patch = machine_config.everywhere(site, cluster)["cluster"]["network"]
        assert patch["cni"] == {"name": "none"}
        assert [ip_network(one) for one in patch["podSubnets"]] == list(cluster.pods)
        for node in site.nodes_of(cluster.name):
            machine = machine_config.one_node(site, cluster, node)["machine"]
            assert machine["network"]["hostname"] == node.name
            assert machine["install"]["diskSelector"]
            assert ("vip" in machine["network"]["interfaces"][0]) == (node.role == "controlplane" and cluster.endpoint.vip is not None)


def test_pools_and_their_announcement_fit_the_site(site: Site) -> None:
    for cluster in site.clusters:
        kinds = [one["kind"] for one in cilium_config.announcements(site, cluster)]
        with_bgp = site.gateway is not None and cluster.bgp is not None
        assert kinds == ([] if not cluster.pools else ["CiliumBGPPeerConfig", "CiliumBGPAdvertisement", "CiliumBGPClusterConfig"] if with_bgp else ["CiliumL2AnnouncementPolicy"])
        assert all(pool["spec"]["allowFirstLastIPs"] == "No" for pool in cilium_config.pools(cluster))


@pytest.mark.shared
@pytest.mark.skipif(not CRDS.is_dir(), reason="the definitions of custom resources (../shared/crds) are not here")
def test_custom_resources_fit_their_definitions(site: Site) -> None:
    schemas = definitions()
    checked = 0
    for path, found in objects(site):
        schema = schemas.get((found["apiVersion"], found["kind"]))
        if schema is not None:
            assert misfits(schema, found, "") == [], path
            checked += 1
    assert checked >= 8 * len(site.clusters)


def definitions() -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    for file in (*CRDS.glob("cilium/*.yaml"), *CRDS.glob("flux/*.yaml")):
        for crd in filter(None, yaml.load_all(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))):
            for version in crd["spec"]["versions"]:
                found[f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]] = version["schema"]["openAPIV3Schema"]
    return found


def misfits(schema: dict[str, Any], value: Any, path: str) -> list[str]:
    """Unknown, missing or mistyped fields. `metadata` is the API server's to know."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    wanted = kinds.get(schema.get("type", ""))
    if wanted is not None and not isinstance(value, wanted):
        return [f"{path}: {type(value).__name__}, wanted {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path}: {value!r} is none of {schema['enum']}"]
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        return [f"{path}: {value!r} does not match {schema['pattern']}"]
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        lacking = [f"{path}.{name} is missing" for name in schema.get("required", []) if name not in value]
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        unknown = [] if open_ended else [f"{path}.{name} is unknown" for name in value if name not in known]
        inner = [m for name, one in value.items() if name in known and name != "metadata" for m in misfits(known[name], one, f"{path}.{name}")]
        return lacking + unknown + inner
    if isinstance(value, list) and "items" in schema:
        return [m for i, one in enumerate(value) for m in misfits(schema["items"], one, f"{path}[{i}]")]
    return []


TEXT, OTHER, PATH = "kind: A\n", "kind: B\n", "clusters/infra/a.yaml"


@pytest.mark.parametrize(
    ("there", "rendered", "state", "foreign"),
    [
        (TEXT, {PATH: sha256(TEXT)}, State.MET, False),
        (TEXT, {}, State.MET, False),  # somebody lost the trailers, the text is ours
        (None, {}, State.UNMET, False),
        (OTHER, {PATH: sha256(OTHER)}, State.UNMET, False),  # ours, of an older site
        (OTHER, {PATH: sha256(TEXT)}, State.MET, False),  # theirs: kept, and named as drift
        (None, {PATH: sha256(TEXT)}, State.MET, False),  # removed by somebody: kept away
        (OTHER, {}, State.UNMET, True),  # never ours
    ],
)
def test_what_somebody_else_pushed_is_kept(there: str | None, rendered: dict[str, str], state: State, *, foreign: bool) -> None:
    files = {} if there is None else {PATH: there}
    verdict = judge_files({PATH: (TEXT,)}, (Answer(body={"head": "x", "files": files, "rendered": rendered}),))
    assert (verdict.state, verdict.foreign) == (state, foreign)
    drift = state is State.MET and there != TEXT
    assert bool(verdict.evidence.get("drift")) is drift


def test_a_mesh_half_done_is_no_reason_to_go_back() -> None:
    half, whole = "a\n", "b\n"
    answer = Answer(body={"head": "x", "files": {PATH: whole}, "rendered": {PATH: sha256(whole)}})
    assert judge_files({PATH: (half, whole)}, (answer,)).state is State.MET
    assert judge_files({PATH: (half,)}, (answer,)).state is State.UNMET


