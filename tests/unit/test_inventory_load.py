"""Loading whole sites: the examples, several mistakes at once, includes, digests, cost."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import inventory
from inventory import init
from inventory.loader import references
from inventory.model import Site
from inventory.structure import build

SITES = Path(inventory.__file__).parent / "sites"
TEN_WEEKS = SITES / "ten-weeks" / "site.yaml"


@pytest.mark.parametrize("name", init.templates())
def test_example_is_valid_and_reads_back(name: str, tmp_path: Path) -> None:
    site = inventory.load(SITES / name / "site.yaml")
    copy = tmp_path / "site.yaml"
    copy.write_text(yaml.safe_dump(site.model_dump(mode="json", by_alias=True)), encoding="utf-8")
    assert inventory.load(copy) == site
    assert inventory.site_digest(inventory.load(copy)) == inventory.site_digest(site)


@pytest.mark.parametrize("name", init.templates())
def test_example_names_its_schema(name: str) -> None:
    assert (
        (SITES / name / "site.yaml")
        .read_text(encoding="utf-8")
        .startswith("# yaml-language-server: $schema=./site.schema.json\n")
    )


def test_the_plans_site() -> None:
    site = inventory.load(TEN_WEEKS)
    assert [cluster.name for cluster in site.clusters] == ["infra", "apps"]
    assert [str(node.address) for node in site.control_planes("apps")] == ["10.25.11.14", "10.25.11.15", "10.25.11.16"]
    assert site.cluster("infra").endpoint.url == "https://10.25.11.10:6443"
    with pytest.raises(KeyError):
        site.cluster("nowhere")


def test_all_mistakes_of_all_files_at_once_in_their_order(tmp_path: Path) -> None:
    text = TEN_WEEKS.read_text(encoding="utf-8")
    text = text.replace("  zone: K8S", "  zone: -K8S").replace("services: [10.45.0.0/16]", "services: [10.43.0.0/16]")
    (tmp_path / "site.yaml").write_text(text.replace("branch: main", "brnch: main"), encoding="utf-8")
    nodes = (TEN_WEEKS.parent / "nodes.yaml").read_text(encoding="utf-8")
    nodes = nodes.replace("10.25.11.16", "10.25.11.15").replace("aa:bb:cc:dd:ee:02", "aa:bb:cc:dd:ee:01")
    (tmp_path / "nodes.yaml").write_text(nodes, encoding="utf-8")
    with pytest.raises(inventory.SiteErrors) as caught:
        inventory.load(tmp_path / "site.yaml")
    assert [(error.file.name, error.key) for error in caught.value.errors] == [
        ("site.yaml", "clusters[1].services[0]"),
        ("site.yaml", "gateway.zone"),
        ("site.yaml", "git.brnch"),
        ("nodes.yaml", "nodes[1].mac"),
        ("nodes.yaml", "nodes[5].address"),
    ]
    assert caught.value.exit_code == 3


def test_a_broken_element_keeps_the_numbers_of_the_others(tmp_path: Path) -> None:
    """Rules look at what is left when node 0 is taken out, and still name node 2 as the file does."""
    nodes = (TEN_WEEKS.parent / "nodes.yaml").read_text(encoding="utf-8")
    nodes = nodes.replace("address: 10.25.11.11\n", "address: here\n").replace("S5XXNVME03", "S5XXNVME02")
    (tmp_path / "nodes.yaml").write_text(nodes, encoding="utf-8")
    (tmp_path / "site.yaml").write_text(TEN_WEEKS.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(inventory.SiteErrors) as caught:
        inventory.load(tmp_path / "site.yaml")
    assert [error.key for error in caught.value.errors] == ["nodes[0].address", "nodes[2].install_disk.serial"]


def test_rules_still_look_when_a_required_section_is_missing(tmp_path: Path) -> None:
    text = TEN_WEEKS.read_text(encoding="utf-8").replace("cilium_ca: file:secrets/cilium-ca.yaml", "")
    (tmp_path / "site.yaml").write_text(text.replace("10.44.0.0/16", "10.42.0.0/16"), encoding="utf-8")
    (tmp_path / "nodes.yaml").write_text(
        (TEN_WEEKS.parent / "nodes.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    with pytest.raises(inventory.SiteErrors) as caught:
        inventory.load(tmp_path / "site.yaml")
    assert [error.key for error in caught.value.errors] == ["cilium_ca", "clusters[1].pods[0]"]


def test_files_in_included_folders_include_from_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    site = TEN_WEEKS.read_text(encoding="utf-8").replace("include: [nodes.yaml]", "include: nodes/all.yaml")
    (tmp_path / "site.yaml").write_text(site, encoding="utf-8")
    head, _, rest = (TEN_WEEKS.parent / "nodes.yaml").read_text(encoding="utf-8").partition("  - name: apps-01")
    (tmp_path / "nodes" / "all.yaml").write_text("include: [apps.yaml]\n" + head, encoding="utf-8")
    (tmp_path / "nodes" / "apps.yaml").write_text("nodes:\n  - name: apps-01" + rest, encoding="utf-8")
    assert inventory.load(tmp_path / "site.yaml") == inventory.load(TEN_WEEKS)


def test_a_link_out_of_the_folder_is_no_include(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "nodes.yaml").write_text("nodes: []\n", encoding="utf-8")
    (home / "nodes.yaml").symlink_to(tmp_path / "nodes.yaml")
    (home / "site.yaml").write_text("include: nodes.yaml\n", encoding="utf-8")
    with pytest.raises(inventory.SiteErrors, match="outside of the site's folder"):
        inventory.load(home / "site.yaml")


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_no_file_is_one_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(inventory.SiteErrors) as caught:
        inventory.load(tmp_path / name)
    assert len(caught.value.errors) == 1


def test_a_large_file_is_refused_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_bytes(b"# " + b"x" * 3_000_000)
    with pytest.raises(inventory.SiteErrors, match="too large"):
        inventory.load(tmp_path / "site.yaml")


def test_an_environment_variable_that_is_set_to_nothing() -> None:
    assert inventory.load(TEN_WEEKS, {}) == inventory.load(TEN_WEEKS)
    with pytest.raises(inventory.SiteErrors) as caught:
        inventory.load(TEN_WEEKS, {"GITHUB_TOKEN": "", "GATEWAY_PASSWORD": "x"})
    assert [(error.key, error.line) for error in caught.value.errors] == [("git.token", 63)]


def test_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    site = inventory.load(TEN_WEEKS)
    assert len(inventory.site_digest(site)) == 64
    moved = site.model_copy(update={"timing": site.timing.model_copy(update={"scale": 2.0})})
    assert inventory.site_digest(moved) != inventory.site_digest(site)


def test_references_are_listed_with_their_keys() -> None:
    listed = dict(references(inventory.load(TEN_WEEKS)))
    assert str(listed["git.token"]) == "env:GITHUB_TOKEN"
    assert listed["clusters[1].talos_secrets"].path(Path("/site")) == Path("/site/secrets/apps.talos.yaml")
    assert len(listed) == 9


def test_a_finished_site_is_taken_as_data() -> None:
    """`build` accepts finished values too, in either form of `model_dump`."""
    site = inventory.load(TEN_WEEKS)
    assert build(Site, site.model_dump(by_alias=True)) == site
    assert build(Site, site.model_dump(mode="json", by_alias=True)) == site
    short = site.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert build(Site, short) == site
    assert "timing" not in short and "role" not in short["nodes"][0]


def test_a_site_is_frozen() -> None:
    with pytest.raises(AttributeError):
        inventory.load(TEN_WEEKS).name = "other"  # type: ignore[misc]  # that is the point


def test_importing_the_room_costs_nothing() -> None:
    """Neither YAML nor the model is imported with the room, and loading needs no heavy module at all."""
    code = (
        "import sys, pathlib, inventory, inventory.selection; early = {'yaml', 'inventory.model'} & set(sys.modules);"
        "inventory.load(pathlib.Path(sys.argv[1])); late = {'pydantic', 'kubernetes', 'rich', 'structlog'} & set(sys.modules);"
        "sys.exit(f'{early} {late}' if early or late else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(TEN_WEEKS)], check=False).returncode == 0


def test_the_plans_site_loads_within_60_ms() -> None:
    inventory.load(TEN_WEEKS)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        inventory.load(TEN_WEEKS)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.060


def test_a_site_of_300_nodes_loads(tmp_path: Path) -> None:
    lines = ["nodes:"]
    for number in range(300):
        role = "controlplane" if number < 3 else "worker"
        address = f"172.20.{8 + number // 100}.{30 + number % 100}"
        mac = f"3c:ec:ef:30:{number // 256:02x}:{number % 256:02x}"
        disk = f"{{serial: SYS{number:04}}}"
        lines.append(
            f'  - {{name: n{number}, cluster: prod, role: {role}, address: {address}, mac: "{mac}", install_disk: {disk}}}'
        )
    (tmp_path / "nodes.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    site = (SITES / "workers" / "site.yaml").read_text(encoding="utf-8")
    site = site.replace("[nodes/controlplanes.yaml, nodes/workers.yaml]", "nodes.yaml")
    (tmp_path / "site.yaml").write_text(site, encoding="utf-8")
    assert len(inventory.load(tmp_path / "site.yaml").nodes) == 300
