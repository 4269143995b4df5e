"""Discovery, OpenAPI and protobuf bodies, from data alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.kube import discovery, openapi, protodec
from lab.kube.registry import Registry, Resource, Subresource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
REGISTRY = Registry()


def body(path: str, accept: str = "") -> Any:
    answer = discovery.respond(REGISTRY, path, accept)
    assert answer is not None
    return json.loads(answer.body)


@pytest.mark.parametrize(
    ("accept", "version"),
    [
        (AGGREGATED, "v2"),
        (AGGREGATED.replace("v2", "v2beta1") + ",application/json", "v2beta1"),
        ("application/json", ""),
        ("", ""),
        (AGGREGATED.replace("v2", "v9"), "none"),
        (AGGREGATED.replace("v2", "v9") + ",application/json", ""),
        ("text/html", "none"),
    ],
)
def test_the_form_of_discovery_is_negotiated(accept: str, version: str) -> None:
    assert discovery.negotiate(accept) == version


def test_the_groups_own_kinds_leave_their_group_empty() -> None:
    groups = {g["metadata"].get("name", ""): g for g in body("/apis", AGGREGATED)["items"]}
    found = next(r for r in groups["apps"]["versions"][0]["resources"] if r["resource"] == "deployments")
    assert found["responseKind"] == {"group": "", "version": "", "kind": "Deployment"}
    assert {s["subresource"]: s["responseKind"]["group"] for s in found["subresources"]} == {
        "scale": "autoscaling",
        "status": "",
    }


def test_short_names_belong_to_the_main_resource() -> None:
    listed = {r["name"]: r for r in body("/apis/apps/v1")["resources"]}
    assert listed["deployments"]["shortNames"] == ["deploy"]
    assert "shortNames" not in listed["deployments/status"]
    assert listed["deployments/scale"]["group"] == "autoscaling"


@pytest.mark.parametrize("path", ["/apis/none", "/apis/apps/v9", "/api/v2", "/nonsense", "/apis/apps/v1/deployments"])
def test_what_is_not_served_is_not_answered(path: str) -> None:
    assert discovery.respond(REGISTRY, path, "") is None


def test_an_etag_saves_the_body() -> None:
    first = discovery.respond(REGISTRY, "/apis", AGGREGATED)
    assert first is not None
    again = discovery.respond(REGISTRY, "/apis", AGGREGATED, first.headers["etag"])
    assert again is not None
    assert (again.status, again.body) == (304, b"")


def test_a_document_named_by_its_hash_never_changes() -> None:
    index = openapi.respond(REGISTRY, "/openapi/v3", "", {})
    assert index is not None
    url = json.loads(index.body)["paths"]["apis/apps/v1"]["serverRelativeURL"]
    path, _, digest = url.partition("?hash=")
    found = openapi.respond(REGISTRY, path, "", {"hash": [digest]})
    moved = openapi.respond(REGISTRY, path, "", {"hash": ["OLD"]})
    assert found is not None
    assert moved is not None
    assert "immutable" in found.headers["cache-control"]
    assert (moved.status, moved.headers["location"]) == (301, url)


def test_a_custom_kind_is_published_with_its_operations() -> None:
    schema = {"type": "object", "properties": {"spec": {"x-kubernetes-int-or-string": True}}}
    crd = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}
    status = {"status": Subresource("status", "Thing", "lab.example.com", "v1", ("get",))}
    thing = Resource(
        "lab.example.com", "v1", "things", "thing", "Thing", "ThingList", True, subresources=status, crd=crd
    )
    document = openapi.custom_document([thing])
    model = document["components"]["schemas"]["com.example.lab.v1.Thing"]
    assert model["properties"]["spec"]["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    patch = document["paths"]["/apis/lab.example.com/v1/namespaces/{namespace}/things/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "lab.example.com", "kind": "Thing", "version": "v1"}
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    assert "Deployment" not in json.dumps(document["paths"])


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value


def message(api_version: str, kind: str, raw: bytes) -> bytes:
    head = field(1, api_version.encode()) + field(2, kind.encode())
    return protodec.MAGIC + field(1, head) + field(2, raw)


def test_a_protobuf_body_becomes_its_json() -> None:
    meta = field(1, b"x") + field(2, b"") + field(8, b"") + field(11, field(1, b"a") + field(2, b"b"))
    raw = field(1, meta) + field(2, field(1, b"k") + field(2, b"\x00\x01")) + field(3, b"Opaque")
    assert protodec.decode(message("v1", "Secret", raw)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "x", "labels": {"a": "b"}},
        "data": {"k": "AAE="},
        "type": "Opaque",
    }


def test_zero_replicas_are_a_wish() -> None:
    raw = field(2, b"\x08\x00")
    assert protodec.decode(message("apps/v1", "Deployment", raw))["spec"] == {"replicas": 0}


@pytest.mark.parametrize("content", [b"", b"{}", protodec.MAGIC + b"\xff\xff", message("v1", "Nothing", b"")])
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(protodec.DecodeError):
        protodec.decode(content)
