"""The lab's API server in process: storage, patches, server-side apply, watches, custom resources, allocation, admission."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lab.clock import Clock
from lab.kube.api import ApiServer
from lab.kube.wire import Req, Stream, User

ADMIN = User("admin", ("system:masters",))
Json = dict[str, Any]


class Cluster:
    """One server and a client of it."""

    def __init__(self) -> None:
        self.server = ApiServer("lab", clock=Clock())

    async def ask(
        self, method: str, path: str, body: Any = None, media: str = "application/json", **query: str
    ) -> tuple[int, Json]:
        """A request's code and answer."""
        headers = {"user-agent": "test/1", **({"content-type": media} if body is not None else {})}
        data = json.dumps(body).encode() if body is not None else b""
        asked = Req(method, path, {key: [value] for key, value in query.items()}, headers, data, ADMIN)
        answer: Any = await self.server.handle(asked)
        return answer.status, json.loads(answer.body)


def run(test: Callable[[Cluster], Awaitable[None]]) -> None:
    """A test on a new cluster."""

    async def inside() -> None:
        await test(Cluster())

    asyncio.run(inside())


MAPS = "/api/v1/namespaces/default/configmaps"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


def test_versions_conflicts_and_preconditions() -> None:
    async def test(lab: Cluster) -> None:
        code, made = await lab.ask("POST", MAPS, {"metadata": {"name": "a"}, "data": {"x": "1"}})
        assert code == 201
        code, changed = await lab.ask("PATCH", f"{MAPS}/a", {"data": {"y": "2"}}, MERGE)
        assert (code, changed["data"]) == (200, {"x": "1", "y": "2"})
        code, refused = await lab.ask("PUT", f"{MAPS}/a", made)
        assert (code, refused["reason"]) == (409, "Conflict")
        code, same = await lab.ask("PATCH", f"{MAPS}/a", {"data": {"y": "2"}}, MERGE)
        assert same["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]
        code, refused = await lab.ask("DELETE", f"{MAPS}/a", {"preconditions": {"uid": "other"}})
        assert (code, refused["reason"]) == (409, "Conflict")
        code, gone = await lab.ask("DELETE", f"{MAPS}/a")
        assert (code, gone["status"]) == (200, "Success")
        assert (await lab.ask("GET", f"{MAPS}/a"))[0] == 404

    run(test)


def test_appliers_own_fields_and_conflict() -> None:
    async def test(lab: Cluster) -> None:
        wish = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}
        code, made = await lab.ask("PATCH", f"{MAPS}/a", wish, APPLY, fieldManager="one")
        assert code == 201
        assert made["metadata"]["managedFields"][0]["fieldsV1"] == {"f:data": {"f:x": {}}}
        other = wish | {"data": {"x": "2"}}
        code, refused = await lab.ask("PATCH", f"{MAPS}/a", other, APPLY, fieldManager="two")
        assert (code, refused["reason"]) == (409, "Conflict")
        assert refused["details"]["causes"][0]["field"] == ".data.x"
        code, taken = await lab.ask("PATCH", f"{MAPS}/a", other, APPLY, fieldManager="two", force="true")
        assert (code, taken["data"]) == (200, {"x": "2"})
        assert [entry["manager"] for entry in taken["metadata"]["managedFields"]] == ["two"]

    run(test)


def test_a_watch_tells_what_happened_since_a_version() -> None:
    async def test(lab: Cluster) -> None:
        _, listed = await lab.ask("GET", MAPS)
        await lab.ask("POST", MAPS, {"metadata": {"name": "a"}})
        await lab.ask("PATCH", f"{MAPS}/a", {"data": {"y": "2"}}, MERGE)
        await lab.ask("DELETE", f"{MAPS}/a")
        since = listed["metadata"]["resourceVersion"]
        answer = await lab.server.handle(
            Req("GET", MAPS, {"watch": ["1"], "resourceVersion": [since]}, {"user-agent": "test/1"}, b"", ADMIN)
        )
        assert isinstance(answer, Stream)
        seen = []
        async for chunk in answer.chunks:
            seen += [json.loads(line)["type"] for line in chunk.splitlines()]
            if len(seen) >= 3:
                break
        assert seen == ["ADDED", "MODIFIED", "DELETED"]

    run(test)


def test_validation_names_every_fault() -> None:
    async def test(lab: Cluster) -> None:
        body = {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "b"}}, "spec": {"containers": []}}}}  # fmt: skip
        code, refused = await lab.ask("POST", "/apis/apps/v1/namespaces/default/deployments", body)
        assert code == 422
        fields = [cause["field"] for cause in refused["details"]["causes"]]
        assert fields == ["spec.template.metadata.labels", "spec.template.spec.containers"]

    run(test)


def test_services_get_addresses_and_keep_them() -> None:
    async def test(lab: Cluster) -> None:
        path = "/api/v1/namespaces/default/services"
        body = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
        code, made = await lab.ask("POST", path, body)
        assert code == 201
        assert made["spec"]["clusterIPs"] == [made["spec"]["clusterIP"]]
        assert 30000 <= made["spec"]["ports"][0]["nodePort"] < 32768
        code, again = await lab.ask("PUT", f"{path}/s", body)
        assert (code, again["spec"]) == (200, made["spec"])
        code, refused = await lab.ask(
            "PATCH", f"{path}/s", {"spec": {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]}}, MERGE
        )
        assert (code, refused["reason"]) == (422, "Invalid")

    run(test)


def test_pods_are_admitted_by_security_and_quota() -> None:
    async def test(lab: Cluster) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "baseline"}
        await lab.ask("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": labels}}, MERGE)
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}}
        await lab.ask("POST", "/api/v1/namespaces/default/resourcequotas", quota)
        pods = "/api/v1/namespaces/default/pods"
        spec: Json = {"containers": [{"name": "c", "image": "x:1"}]}
        code, refused = await lab.ask("POST", pods, {"metadata": {"name": "a"}, "spec": spec | {"hostNetwork": True}})
        assert code == 403
        assert 'violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)' in refused["message"]
        assert (await lab.ask("POST", pods, {"metadata": {"name": "a"}, "spec": spec}))[0] == 201
        code, refused = await lab.ask("POST", pods, {"metadata": {"name": "b"}, "spec": spec})
        assert code == 403
        assert "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1" in refused["message"]

    run(test)


@pytest.mark.parametrize(
    ("rule", "found"),
    [("self.size <= 3", []), ("self.size <= 1", ["spec"])],
)
def test_custom_resources_are_defaulted_pruned_and_judged(rule: str, found: list[str]) -> None:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {"size": {"type": "integer", "default": 2}},
                "x-kubernetes-validations": [{"rule": rule}],
            }
        },
    }
    definition = {
        "metadata": {"name": "things.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    server = ApiServer("lab", clock=Clock())
    lab = Cluster.__new__(Cluster)
    lab.server = server

    async def test() -> None:
        code, made = await lab.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        assert code == 201, made
        server.definitions.settle("things.example.org")
        code, thing = await lab.ask(
            "POST", "/apis/example.org/v1/namespaces/default/things",
            {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"extra": 1}},
        )  # fmt: skip
        if found:
            assert (code, [cause["field"] for cause in thing["details"]["causes"]]) == (422, found)
        else:
            assert (code, thing["spec"]) == (201, {"size": 2})

    asyncio.run(test())


def test_a_new_etcd_gives_no_uid_again() -> None:
    """Also where the server was made to take over a saved store and never filled one before."""

    def uids(server: ApiServer) -> set[str]:
        return {row[4] for row in server.snapshot()["objects"]}

    server = ApiServer("lab", clock=Clock(), blank=True)
    assert uids(server) == set()
    server.empty()
    first = uids(server)
    assert len(first) == len(server.snapshot()["objects"]) > 10
    asyncio.run(server.local("system:admin").create("/v1/configmaps", {"metadata": {"name": "one", "namespace": "default"}}))
    assert len(uids(server)) == len(first) + 1
    server.empty()
    assert len(uids(server)) == len(first)
    assert not uids(server) & first
