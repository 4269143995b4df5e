"""Server-side tables: ages, pod states, custom columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lab.kube import jsonpath, tables
from lab.kube.registry import Registry, Resource

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (600, "10m"), (10799, "179m"), (10800, "3h"),
     (11000, "3h3m"), (28800, "8h"), (172799, "47h"), (172800, "2d"), (176400, "2d1h"), (691200, "8d"), (63072000, "2y"),
     (63158400, "2y1d"), (252288000, "8y")],
)  # fmt: skip
def test_ages_as_kubectl_shows_them(seconds: int, shown: str) -> None:
    assert tables.human(seconds) == shown


def pod(phase: str, *states: dict[str, Any], **more: Any) -> dict[str, Any]:
    statuses = [{"name": str(i), "ready": "running" in s, "restartCount": i, "state": s} for i, s in enumerate(states)]
    meta = {"name": "p"} | ({"deletionTimestamp": "2026-01-05T08:59:00Z"} if more.get("deleting") else {})
    spec = {"containers": [{"name": s["name"]} for s in statuses]}
    return {
        "metadata": meta,
        "spec": spec,
        "status": {"phase": phase, "containerStatuses": statuses} | more.get("status", {}),
    }


@pytest.mark.parametrize(
    ("given", "state"),
    [
        (pod("Running", {"running": {}}, {"running": {}}), ("Running", 2, 1)),
        (pod("Pending", {"waiting": {"reason": "ContainerCreating"}}), ("ContainerCreating", 0, 0)),
        (pod("Running", {"waiting": {"reason": "CrashLoopBackOff"}}, {"running": {}}), ("CrashLoopBackOff", 1, 1)),
        (pod("Succeeded", {"terminated": {"exitCode": 0, "reason": "Completed"}}), ("Completed", 0, 0)),
        (pod("Failed", {"terminated": {"exitCode": 3}}), ("ExitCode:3", 0, 0)),
        (pod("Running", {"running": {}}, deleting=True), ("Terminating", 1, 0)),
        (pod("Failed", status={"reason": "Evicted"}), ("Evicted", 0, 0)),
    ],
)
def test_the_status_of_a_pod(given: dict[str, Any], state: tuple[str, int, int]) -> None:
    assert tables.pod_reason(given) == state


def test_an_init_container_holds_the_pod() -> None:
    given = pod("Pending", {"waiting": {"reason": "PodInitializing"}})
    given["spec"]["initContainers"] = [{"name": "i"}, {"name": "j"}]
    done = {"name": "i", "state": {"terminated": {"exitCode": 0}}}
    given["status"]["initContainerStatuses"] = [done, {"name": "j", "state": {"running": {}}}]
    assert tables.pod_reason(given)[0] == "Init:1/2"


def test_every_built_in_kind_has_a_row_as_wide_as_its_columns() -> None:
    for resource in Registry().all():
        if "get" not in resource.verbs:
            continue
        bare = {"metadata": {"name": "x", "creationTimestamp": "2026-01-05T08:00:00Z"}}
        table = tables.render(Registry(), resource, [bare], {}, {"resourceVersion": "1"}, now=NOW)
        assert len(table["rows"][0]["cells"]) == len(table["columnDefinitions"]), resource.gvr


def custom(columns: list[dict[str, Any]]) -> Resource:
    crd = {"spec": {"versions": [{"name": "v1", "additionalPrinterColumns": columns}]}}
    return Resource("example.com", "v1", "things", "thing", "Thing", "ThingList", True, crd=crd)


def test_custom_columns_follow_their_types() -> None:
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Gone", "type": "string", "jsonPath": ".spec.none"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    obj = {
        "metadata": {"name": "x", "creationTimestamp": "2026-01-05T08:00:00Z"},
        "spec": {"size": 3},
        "status": {"conditions": [{"type": "Other", "status": "True"}, {"type": "Ready", "status": "False"}]},
    }
    table = tables.render(Registry(), custom(columns), [obj], {"includeObject": ["None"]}, {}, now=NOW)
    assert table["rows"] == [{"cells": ["x", 3, "False", None, "60m"], "object": None}]


def test_a_custom_kind_without_columns_shows_its_age() -> None:
    assert [c["name"] for c in tables.columns(custom([]))] == ["Name", "Age"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        ("{.a.b}", [1]),
        (".a['b']", [1]),
        (r".a.c\.d", [2]),
        (".l[0].n", ["x"]),
        (".l[-1].n", ["y"]),
        (".l[*].n", ["x", "y"]),
        (".l[?(@.n=='y')].v", [5]),
        (".l[?(@.v>3)].n", ["y"]),
        (".l[?(@.w)].n", []),
        (".none.at.all", []),
        ("..deep", []),
    ],
)
def test_paths(path: str, found: list[Any]) -> None:
    obj = {"a": {"b": 1, "c.d": 2}, "l": [{"n": "x", "v": 2}, {"n": "y", "v": 5}]}
    assert jsonpath.find(path, obj) == found
