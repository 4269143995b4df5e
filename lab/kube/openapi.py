"""OpenAPI documents: v3 per group and version with hashes, of built-in kinds as recorded and of CRDs as made from their schemas; v2 as JSON.

Source: k8s.io/kube-openapi/pkg/handler3 and k8s.io/apiextensions-apiserver/pkg/controller/openapi, 1.33. Left out: v2 as protobuf, and
the paths of v2.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import weakref
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from lab.kube.discovery import not_acceptable
from lab.kube.registry import DATA, Registry, Resource
from lab.kube.wire import Resp

JSON = "application/json"
ROOT = "/openapi/v3"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
SCHEMAS = "#/components/schemas/"
NO_PROTOBUF = ("application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf;stream=watch")
STRATEGIC = "application/strategic-merge-patch+json"
YEAR = "Wed, 01 Jan 2031 00:00:00 GMT"  # a document named by its hash never changes

_made: weakref.WeakKeyDictionary[Registry, tuple[int, dict[str, bytes]]] = weakref.WeakKeyDictionary()


def respond(
    registry: Registry, path: str, accept: str, query: Mapping[str, list[str]], if_none_match: str = ""
) -> Resp | None:
    """The answer for a path under /openapi, or None where it is not one of them."""
    path = path.rstrip("/")
    if path not in (ROOT, "/openapi/v2") and not path.startswith(ROOT + "/"):
        return None
    if not _takes_json(accept):
        return not_acceptable()
    if path == "/openapi/v2":
        body, etag = _v2()
        return _document(body, etag, if_none_match, {})
    if path == ROOT:
        return Resp(200, json.dumps({"paths": dict(_index(registry))}).encode(), {"content-type": JSON})
    name = path.removeprefix(ROOT + "/")
    found = _body(registry, name)
    if found is None:
        return None
    body, etag = found
    wanted = query.get("hash", [""])[0]
    if not wanted:
        return _document(body, etag, if_none_match, {"vary": "Accept"})
    if wanted != etag:
        return Resp(301, b"", {"location": f"{path}?hash={etag}", "content-type": "text/html; charset=utf-8"})
    return _document(
        body, etag, if_none_match, {"cache-control": "public, immutable", "expires": YEAR, "vary": "Accept"}
    )


def _takes_json(accept: str) -> bool:
    clauses = [clause.split(";")[0].strip() for clause in accept.split(",")] if accept.strip() else ["*/*"]
    return any(clause in (JSON, "*/*", "application/*") for clause in clauses)


def _document(body: bytes, etag: str, if_none_match: str, headers: Mapping[str, str]) -> Resp:
    head = {"content-type": JSON, "etag": f'"{etag}"', "cache-control": "no-cache, private", **headers}
    if if_none_match.strip().strip('"') == etag:
        return Resp(304, b"", head)
    return Resp(200, body, head)


def _index(registry: Registry) -> Iterator[tuple[str, dict[str, str]]]:
    """Document name -> where it is; as on a real server, sorted by name as JSON objects are."""
    names = [
        "api/v1" if not group else f"apis/{group}/{v}"
        for group, versions in registry.groups().items()
        for v in versions
    ]
    for name in sorted(names):
        yield name, {"serverRelativeURL": f"{ROOT}/{name}?hash={_etag(registry, name)}"}


def _etag(registry: Registry, name: str) -> str:
    """The hash of a document; for custom kinds that of what it is made from, so that the index makes no document."""
    file = _file(name)
    if file in _files():
        return _file_hash(file)
    text = json.dumps([r.crd["spec"] for r in _custom(registry, name) if r.crd], sort_keys=True)
    return _hash(name.encode() + text.encode())


def _body(registry: Registry, name: str) -> tuple[bytes, str] | None:
    file = _file(name)
    if file in _files():
        return _read(file), _file_hash(file)
    resources = _custom(registry, name)
    if not resources:
        return None
    held = _made.get(registry)
    if held is None or held[0] != registry.revision:
        held = _made[registry] = (registry.revision, {})
    if name not in held[1]:
        held[1][name] = json.dumps(custom_document(resources), separators=(",", ":")).encode()
    return held[1][name], _etag(registry, name)


def _custom(registry: Registry, name: str) -> list[Resource]:
    parts = name.split("/")
    if len(parts) != 3 or parts[0] != "apis":
        return []
    return [r for r in registry.of_version(parts[1], parts[2]) if r.crd is not None]


def _file(name: str) -> str:
    if name == "api/v1":
        return "core-v1.json.gz"
    parts = name.split("/")
    return f"{parts[1]}-{parts[2]}.json.gz" if len(parts) == 3 and parts[0] == "apis" else ""


@lru_cache(maxsize=1)
def _files() -> frozenset[str]:
    return frozenset(path.name for path in (DATA / "openapi-v3").iterdir())


@lru_cache(maxsize=64)
def _file_hash(file: str) -> str:
    return _hash((DATA / "openapi-v3" / file).read_bytes())


@lru_cache(maxsize=4)
def _read(file: str) -> bytes:
    return gzip.decompress((DATA / "openapi-v3" / file).read_bytes())


def _hash(data: bytes) -> str:
    return hashlib.sha512(data).hexdigest().upper()


# ----------------------------------------------------------------------------------------------------- custom kinds


def custom_document(resources: list[Resource]) -> dict[str, Any]:
    """The v3 document of the custom kinds of one group and version."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for resource in resources:
        model = model_name(resource)
        schemas[model] = _object_schema(resource)
        schemas[model + "List"] = _list_schema(resource, model)
        paths |= dict(_paths(resource, model))
    shared = json.loads(_read("apps-v1.json.gz"))["components"]["schemas"]
    wanted = {name for name in shared if name.startswith(META)} | {
        f"io.k8s.api.autoscaling.v1.{kind}" for kind in ("Scale", "ScaleSpec", "ScaleStatus")
    }
    schemas |= {name: shared[name] for name in sorted(wanted)}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def model_name(resource: Resource) -> str:
    """ "com.example.v1.Kind" for group example.com."""
    return f"{'.'.join(reversed(resource.group.split('.')))}.{resource.version}.{resource.kind}"


def _gvk(resource: Resource, kind: str) -> dict[str, str]:
    return {"group": resource.group, "kind": kind, "version": resource.version}


def _version(resource: Resource) -> Mapping[str, Any]:
    versions = resource.crd["spec"]["versions"] if resource.crd else ()
    found: Mapping[str, Any] = next((v for v in versions if v["name"] == resource.version), {})
    return found


def _object_schema(resource: Resource) -> dict[str, Any]:
    root = (_version(resource).get("schema") or {}).get("openAPIV3Schema") or {"type": "object"}
    schema = _published(root)
    properties = dict(schema.get("properties") or {})
    properties |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"allOf": [{"$ref": SCHEMAS + META + "ObjectMeta"}]},
    }
    return {**schema, "properties": properties, "x-kubernetes-group-version-kind": [_gvk(resource, resource.kind)]}


def _published(schema: Any) -> Any:
    """A structural schema as OpenAPI v3 shows it: an int-or-string says so by `anyOf`."""
    if not isinstance(schema, Mapping):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties") and isinstance(value, Mapping):
            out[key] = {name: _published(one) for name, one in value.items()}
        elif key in ("items", "additionalProperties", "not"):
            out[key] = _published(value)
        elif key in ("allOf", "anyOf", "oneOf") and isinstance(value, list):
            out[key] = [_published(one) for one in value]
        else:
            out[key] = value
    if out.get("x-kubernetes-int-or-string") and "anyOf" not in out and "allOf" not in out:
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return out


def _list_schema(resource: Resource, model: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "items": {"type": "array", "items": {"$ref": SCHEMAS + model}},
            "metadata": {"allOf": [{"$ref": SCHEMAS + META + "ListMeta"}]},
        },
        "x-kubernetes-group-version-kind": [_gvk(resource, resource.list_kind)],
    }


def _paths(resource: Resource, model: str) -> Iterator[tuple[str, Any]]:
    """The operations, patterned on those of Deployments."""
    base = f"/apis/{resource.group}/{resource.version}/"
    inside = base + ("namespaces/{namespace}/" if resource.namespaced else "") + resource.plural
    pattern = "/apis/apps/v1/namespaces/{namespace}/deployments"
    if resource.namespaced:
        yield base + resource.plural, _item(resource, model, "/apis/apps/v1/deployments")
    yield inside, _item(resource, model, pattern)
    yield inside + "/{name}", _item(resource, model, pattern + "/{name}")
    for sub in ("status", "scale"):
        if sub in resource.subresources:
            yield f"{inside}/{{name}}/{sub}", _item(resource, model, f"{pattern}/{{name}}/{sub}")


def _item(resource: Resource, model: str, pattern: str) -> Any:
    camel = (
        "".join(word.capitalize() for word in resource.group.replace("-", ".").split("."))
        + resource.version.capitalize()
    )
    text = _pattern(pattern)
    for old, new in (
        (
            json.dumps({"group": "apps", "kind": "Deployment", "version": "v1"}),
            json.dumps(_gvk(resource, resource.kind)),
        ),
        ("io.k8s.api.apps.v1.Deployment", model),
        ("AppsV1NamespacedDeployment", camel + ("Namespaced" if resource.namespaced else "") + resource.kind),
        ("AppsV1Deployment", camel + resource.kind),
        (
            "CollectionNamespacedDeployment",
            "Collection" + ("Namespaced" if resource.namespaced else "") + resource.kind,
        ),
        ("apps_v1", f"{resource.group.split('.')[0]}_{resource.version}"),
        ("AppsV1", camel),
    ):
        text = text.replace(old, new)
    item = json.loads(text)
    if not resource.namespaced:
        item["parameters"] = [p for p in item.get("parameters", ()) if p["name"] != "namespace"]
    return item


@lru_cache(maxsize=8)
def _pattern(path: str) -> str:
    """A path item of Deployments without what custom kinds do not take."""

    def drop(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: drop(one) for key, one in value.items() if key not in (*NO_PROTOBUF, STRATEGIC)}
        return [drop(one) for one in value] if isinstance(value, list) else value

    return json.dumps(drop(json.loads(_read("apps-v1.json.gz"))["paths"][path]))


# --------------------------------------------------------------------------------------------------------------- v2


@lru_cache(maxsize=1)
def _v2() -> tuple[bytes, str]:
    """The definitions of all built-in kinds in the older form."""
    definitions: dict[str, Any] = {}
    for file in sorted(_files()):
        for name, schema in json.loads(_read(file))["components"]["schemas"].items():
            definitions[name] = _older(schema)
    document = {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.33.13"},
        "paths": {},
        "definitions": dict(sorted(definitions.items())),
    }
    body = json.dumps(document, separators=(",", ":")).encode()
    return body, _hash(body)


def _older(value: Any) -> Any:
    """A v3 schema as v2 writes it: plain references, no `oneOf`, defaults of structs left out."""
    if isinstance(value, list):
        return [_older(one) for one in value]
    if not isinstance(value, dict):
        return value
    parts = value.get("allOf")
    if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict) and "$ref" in parts[0]:
        rest = {key: one for key, one in value.items() if key not in ("allOf", "default")}
        return _older({**rest, **parts[0]})
    out = {key: _older(one) for key, one in value.items() if key != "oneOf"}
    if isinstance(out.get("$ref"), str):
        out["$ref"] = out["$ref"].replace(SCHEMAS, "#/definitions/")
    if "oneOf" in value and isinstance(value["oneOf"], list) and "type" not in out:
        out["type"] = "string"
    return out
