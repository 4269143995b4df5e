"""Discovery documents: aggregated (v2, v2beta1) and legacy ones, `/version` and the root's list of paths.

Documents are cached by the registry's revision. Source: k8s.io/apiserver/pkg/endpoints/discovery, 1.33.
"""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

from lab.kube.registry import VERSION_INFO, Registry, Resource, Subresource
from lab.kube.wire import Resp

JSON = "application/json"
AGGREGATED = ("v2", "v2beta1")  # of apidiscovery.k8s.io
PROTOBUF = "application/vnd.kubernetes.protobuf"
ACCEPTED = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
CLIENT_CIDRS = [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}]
PROBES = ("/healthz", "/livez", "/readyz")

_cache: weakref.WeakKeyDictionary[Registry, tuple[int, dict[str, tuple[bytes, str]]]] = weakref.WeakKeyDictionary()


def respond(registry: Registry, path: str, accept: str, if_none_match: str = "") -> Resp | None:
    """The answer for a discovery path, or None where `path` is not one of them (or its group is not served)."""
    path = path.rstrip("/") or "/"
    if path == "/version":
        return _json(json.dumps(VERSION_INFO, indent=2).encode())
    if path != "/" and not path.startswith("/api"):
        return None
    aggregated = ""
    if path in ("/api", "/apis"):
        aggregated = negotiate(accept)
        if aggregated == "none":
            return not_acceptable()
    key = f"{path}#{aggregated}"
    found = _cached(registry, key)
    if found is None:
        document = _aggregated(registry, path, aggregated) if aggregated else _legacy(registry, path)
        if document is None:
            return None
        found = _remember(registry, key, document)
    body, etag = found
    media = f"{JSON};g=apidiscovery.k8s.io;v={aggregated};as=APIGroupDiscoveryList" if aggregated else JSON
    headers = {"content-type": media}
    if aggregated:
        headers |= {"etag": f'"{etag}"', "vary": "Accept", "cache-control": "public"}
        if if_none_match.strip().strip('"') == etag:
            return Resp(304, b"", headers)
    return Resp(200, body, headers)


def negotiate(accept: str) -> str:
    """Version of aggregated discovery that the client prefers, "" for the legacy form, "none" where nothing fits."""
    for clause in accept.split(",") if accept.strip() else ["*/*"]:
        media, *pairs = (part.strip() for part in clause.split(";"))
        wants = dict(pair.partition("=")[::2] for pair in pairs)
        if wants.get("as") == "APIGroupDiscoveryList":
            if media == JSON and wants.get("g") == "apidiscovery.k8s.io" and wants.get("v") in AGGREGATED:
                return wants["v"]
        elif media in (JSON, "*/*", "application/*", "application/yaml", PROTOBUF) and "as" not in wants:
            return ""
    return "none"


def not_acceptable() -> Resp:
    """406 as a real server says it."""
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": ACCEPTED,
        "reason": "NotAcceptable",
        "code": 406,
    }
    return Resp(406, json.dumps(status).encode(), {"content-type": JSON})


def _json(body: bytes) -> Resp:
    return Resp(200, body, {"content-type": JSON})


def _cached(registry: Registry, key: str) -> tuple[bytes, str] | None:
    entry = _cache.get(registry)
    return entry[1].get(key) if entry and entry[0] == registry.revision else None


def _remember(registry: Registry, key: str, document: Mapping[str, Any]) -> tuple[bytes, str]:
    body = json.dumps(document, separators=(",", ":")).encode()
    entry = _cache.get(registry)
    if entry is None or entry[0] != registry.revision:
        entry = _cache[registry] = (registry.revision, {})
    entry[1][key] = (body, hashlib.sha512(body).hexdigest()[:128].upper())
    return entry[1][key]


# ------------------------------------------------------------------------------------------------------- aggregated


def _aggregated(registry: Registry, path: str, version: str) -> dict[str, Any]:
    core = path == "/api"
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [
            _group_item(registry, group, versions)
            for group, versions in registry.groups().items()
            if (group == "") == core
        ],
    }


def _group_item(registry: Registry, group: str, versions: tuple[str, ...]) -> dict[str, Any]:
    name = {"name": group} if group else {}
    return {
        "metadata": {**name, "creationTimestamp": None},
        "versions": [
            {
                "version": version,
                "resources": [_resource_item(r) for r in registry.of_version(group, version)],
                "freshness": "Current",
            }
            for version in versions
        ],
    }


def _resource_item(resource: Resource) -> dict[str, Any]:
    group, version, kind = resource.response_kind
    if resource.crd is not None:  # custom resources name their own group in full
        group, version, kind = resource.group, resource.version, resource.kind
    item: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": group, "version": version, "kind": kind or resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        item["shortNames"] = list(resource.short_names)
    if resource.categories:
        item["categories"] = list(resource.categories)
    subresources = [_subresource_item(resource, sub) for sub in resource.subresources.values()]
    if subresources:
        item["subresources"] = subresources
    return item


def _subresource_item(resource: Resource, sub: Subresource) -> dict[str, Any]:
    own = resource.crd is None and (sub.group, sub.version) == (resource.group, resource.version)
    return {
        "subresource": sub.name,
        "responseKind": {"group": "" if own else sub.group, "version": "" if own else sub.version, "kind": sub.kind},
        "verbs": list(sub.verbs),
    }


# ----------------------------------------------------------------------------------------------------------- legacy


def _legacy(registry: Registry, path: str) -> dict[str, Any] | None:
    groups = registry.groups()
    parts = path.strip("/").split("/")
    if path == "/":
        return {"paths": list(_paths(groups))}
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": CLIENT_CIDRS}
    if parts == ["api", "v1"]:
        return {"kind": "APIResourceList", "groupVersion": "v1", "resources": list(_resources(registry, "", "v1"))}
    if parts == ["apis"]:
        named = [_group(group, versions) for group, versions in groups.items() if group]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": named}
    if parts[0] != "apis" or len(parts) > 3 or not groups.get(parts[1]):
        return None
    if len(parts) == 2:
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1], groups[parts[1]])}
    if parts[2] not in groups[parts[1]]:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{parts[1]}/{parts[2]}",
        "resources": list(_resources(registry, parts[1], parts[2])),
    }


def _paths(groups: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    yield from ("/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/apis/")
    for group in sorted(g for g in groups if g):
        yield f"/apis/{group}"
        yield from (f"/apis/{group}/{version}" for version in groups[group])
    yield from (*PROBES, "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/openid/v1/jwks", "/version")


def _group(group: str, versions: tuple[str, ...]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _resources(registry: Registry, group: str, version: str) -> Iterator[dict[str, Any]]:
    for resource in registry.of_version(group, version):
        item: dict[str, Any] = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            item["shortNames"] = list(resource.short_names)
        if resource.categories:
            item["categories"] = list(resource.categories)
        if resource.storage_version_hash:
            item["storageVersionHash"] = resource.storage_version_hash
        yield item
        for sub in resource.subresources.values():
            foreign = (sub.group, sub.version) != (resource.group, resource.version)
            yield {
                "name": f"{resource.plural}/{sub.name}",
                "singularName": "",
                "namespaced": resource.namespaced,
                **({"group": sub.group, "version": sub.version} if foreign else {}),
                "kind": sub.kind,
                "verbs": list(sub.verbs),
            }
