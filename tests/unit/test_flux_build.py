"""The small kustomize, substitution, kstatus."""

from __future__ import annotations

from typing import Any

import pytest

from lab.flux import kstatus
from lab.flux.build import Builder, BuildError, PathError, SubstitutionError, flux_build, substitute
from lab.flux.common import go_duration, seconds
from lab.helm import goyaml


def cm(name: str, **data: str) -> bytes:
    """A ConfigMap."""
    return goyaml.dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}).encode()


def test_without_a_kustomization_every_manifest_counts() -> None:
    built = Builder({"a/x.yaml": cm("x"), "a/sub/y.yml": cm("y"), "a/readme.md": b"no", "b/z.yaml": cm("z")}).build("./a")
    assert [o["metadata"]["name"] for o in built] == ["y", "x"]


def test_bases_patches_labels_and_generators() -> None:
    files = {
        "base/kustomization.yaml": b"resources: [x.yaml]\n", "base/x.yaml": cm("x", a="1"),
        "top/kustomization.yaml": b"""
resources: [../base]
components: [../part]
namespace: apps
namePrefix: p-
labels: [{pairs: {l: v}}]
configMapGenerator: [{name: g, literals: [k=v], options: {disableNameSuffixHash: true}}]
patches: [{target: {kind: ConfigMap, name: x}, patch: '[{"op": "replace", "path": "/data/a", "value": "2"}]'}]
""",
        "part/kustomization.yaml": b"apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [c.yaml]\n", "part/c.yaml": cm("c"),
    }  # fmt: skip
    built = {o["metadata"]["name"]: o for o in Builder(files).build("top")}
    assert sorted(built) == ["p-c", "p-g", "p-x"]
    assert built["p-x"]["data"] == {"a": "2"}
    assert built["p-x"]["metadata"] == {"name": "p-x", "namespace": "apps", "labels": {"l": "v"}}


@pytest.mark.parametrize(
    ("files", "path", "kind"),
    [
        ({"a/x.yaml": cm("x")}, "b", PathError),
        ({"a/kustomization.yaml": b"resources: [nope.yaml]\n"}, "a", BuildError),
        ({"a/kustomization.yaml": b"resourcez: []\n"}, "a", BuildError),
        ({"a/x.yaml": cm("x"), "a/y.yaml": cm("x")}, "a", BuildError),
        ({"a/x.yaml": b"kind: ConfigMap\n"}, "a", BuildError),
        ({"a/x.yaml": b"a: b: c\n"}, "a", BuildError),
    ],
)  # fmt: skip
def test_what_does_not_build_is_refused(files: dict[str, bytes], path: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        Builder(files).build(path)


def test_substitution_follows_envsubst() -> None:
    variables = {"a": "1", "e": ""}
    assert substitute("${a} ${b:=x} ${e:-y} $${a} $a ${nope}", variables) == "1 x y ${a} $a "
    with pytest.raises(SubstitutionError):
        substitute("${nope}", variables, strict=True)


def test_a_flux_build_marks_its_objects_and_spares_those_that_opt_out() -> None:
    kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "k", "annotations": {"kustomize.toolkit.fluxcd.io/substitute": "disabled"}}, "data": {"x": "${a}"}}
    files = {"p/x.yaml": cm("x", v="v-${a}"), "p/k.yaml": goyaml.dump(kept).encode()}
    built = {o["metadata"]["name"]: o for o in flux_build(files, {"path": "./p", "targetNamespace": "t"}, "ks", "flux-system", {"a": "1"})}
    assert (built["x"]["data"], built["k"]["data"]) == ({"v": "v-1"}, {"x": "${a}"})
    assert built["x"]["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] == "ks"
    assert built["x"]["metadata"]["namespace"] == "t"


def condition(kind: str, status: str) -> dict[str, str]:
    """A condition."""
    return {"type": kind, "status": status, "reason": "x", "message": ""}


@pytest.mark.parametrize(
    ("obj", "state"),
    [
        (None, "NotFound"),
        ({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}}, "Current"),
        ({"kind": "X", "apiVersion": "x/v1", "metadata": {"generation": 2}, "status": {"observedGeneration": 1}}, "InProgress"),
        ({"kind": "X", "apiVersion": "x/v1", "metadata": {}, "status": {"conditions": [condition("Ready", "False")]}}, "InProgress"),
        ({"kind": "X", "apiVersion": "x/v1", "metadata": {}, "status": {"conditions": [condition("Ready", "True"), condition("Stalled", "True")]}}, "Failed"),
        ({"kind": "X", "apiVersion": "x/v1", "metadata": {"deletionTimestamp": "t"}}, "Terminating"),
        ({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": {}}, "InProgress"),
        ({"kind": "Job", "apiVersion": "batch/v1", "metadata": {}, "spec": {}, "status": {"conditions": [condition("Failed", "True")]}}, "Failed"),
    ],
)  # fmt: skip
def test_kstatus_tells_current_from_the_rest(obj: dict[str, Any] | None, state: str) -> None:
    assert kstatus.status_of(obj) == state


def test_health_expressions_decide_where_they_are_given() -> None:
    expression = {"apiVersion": "x/v1", "kind": "X", "current": "has(status.ok) && status.ok"}
    obj: dict[str, Any] = {"kind": "X", "apiVersion": "x/v1", "metadata": {}, "status": {}}
    assert kstatus.by_expressions(obj, [expression]) == "InProgress"
    assert kstatus.by_expressions({**obj, "status": {"ok": True}}, [expression]) == "Current"


@pytest.mark.parametrize(("text", "value"), [("10m0s", 600.0), ("1h0m0s", 3600.0), ("1m30s", 90.0), ("500ms", 0.5)])
def test_durations_go_both_ways(text: str, value: float) -> None:
    assert (seconds(text), go_duration(value)) == (value, text)
