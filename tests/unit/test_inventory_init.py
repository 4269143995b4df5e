"""New sites: what is asked, what is derived, and that the result loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import inventory
from inventory import init
from inventory.init import Answers

ONE = Answers(
    name="home",
    nodes=(init.node("home-1=192.168.1.21,aa:bb:cc:dd:ee:01,type: nvme"),),
    git_url="https://github.com/me/cluster.git",
)
THREE = replace(
    ONE,
    nodes=tuple(init.node(f"home-{n}=192.168.1.2{n},aa:bb:cc:dd:ee:0{n},S{n}") for n in (1, 2, 3)),
    vip="192.168.1.20",
    pool="192.168.1.192/28",
)


def written(files: dict[str, str], folder: Path) -> inventory.Site:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return inventory.load(folder / "site.yaml")


@pytest.mark.parametrize("name", init.templates())
def test_template_loads_where_it_is_written(name: str, tmp_path: Path) -> None:
    files = init.from_template(name)
    assert written(files, tmp_path) == inventory.load(Path(inventory.__file__).parent / "sites" / name / "site.yaml")
    assert {"site.schema.json", ".gitignore"} <= files.keys()


def test_an_unknown_template_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        init.from_template("../ten-weeks")


def test_nothing_is_asked_that_can_be_derived() -> None:
    assert init.questions(ONE) == ()
    assert init.questions(THREE) == ()
    assert [question.key for question in init.questions(Answers())] == ["name", "nodes", "git_url"]
    bare = replace(THREE, vip="", nodes=(init.node("a=10.0.0.1"), *THREE.nodes[1:]))
    assert [question.key for question in init.questions(bare)] == ["node a identity", "node a disk", "vip"]
    with pytest.raises(ValueError, match="MAC address or serial number of a"):
        init.minimal(bare)


@pytest.mark.parametrize(
    ("answers", "endpoint", "provider"),
    [
        (ONE, "https://192.168.1.21:6443", "github"),
        (THREE, "https://192.168.1.20:6443", "github"),
        (replace(ONE, git_url="ssh://git@git.example.org/a/b.git"), "https://192.168.1.21:6443", "git"),
        (replace(ONE, git_url="https://git.example.org/a/b.git"), "https://192.168.1.21:6443", "git"),
        (
            replace(ONE, nodes=(init.node("null=fd00:1::21,SN1,S1"),), name="null"),
            "https://[fd00:1::21]:6443",
            "github",
        ),
        (
            replace(ONE, nodes=(init.node("n=10.44.1.1,0012,S1"),), network="10.0.0.0/8", route="10.0.0.1"),
            "https://10.44.1.1:6443",
            "github",
        ),
        (
            replace(THREE, nodes=(*THREE.nodes, init.node("w=192.168.1.30,SNW,SW,worker"))),
            "https://192.168.1.20:6443",
            "github",
        ),
    ],
)
def test_minimal_site_loads(answers: Answers, endpoint: str, provider: str, tmp_path: Path) -> None:
    site = written(init.minimal(answers), tmp_path)
    assert (site.clusters[0].endpoint.url, site.git.provider) == (endpoint, provider)
    assert [node.name for node in site.nodes] == [node.name for node in answers.nodes]


def test_hostile_answers_stay_values(tmp_path: Path) -> None:
    """An answer cannot add keys to the site: it is one value, which the loader then refuses."""
    answers = replace(ONE, nodes=(init.node('home-1=192.168.1.21,x"\ngit: {},S1'),))
    with pytest.raises(inventory.SiteErrors) as caught:
        written(init.minimal(answers), tmp_path)
    assert [error.key for error in caught.value.errors] == ["nodes[0].serial"]


@pytest.mark.parametrize("text", ["", "a", "a=", "=1.2.3.4", "a=1.2.3.4,b,c,d"])
def test_a_node_that_is_not_one_names_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="NAME=ADDRESS"):
        init.node(text)
