"""Which resources are served: the built-in ones from recorded discovery, and those of established CRDs.

The order is that of the real server: built-in groups by priority, then groups of CRDs by name.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data" / "kube"
VERSION_INFO = {
    "major": "1",
    "minor": "33",
    "emulationMajor": "1",
    "emulationMinor": "33",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "32",
    "gitVersion": "v1.33.13",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-01-05T08:00:00Z",
    "goVersion": "go1.24.9",
    "compiler": "gc",
    "platform": "linux/amd64",
}


@dataclass(frozen=True, slots=True)
class Subresource:
    """A subresource in discovery. `group` and `version` are those of the kind that it speaks, resolved (never empty by omission)."""

    name: str
    kind: str
    group: str
    version: str
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One served resource in one version. Compared by identity: a changed CRD makes new ones."""

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    list_kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    subresources: Mapping[str, Subresource] = field(default_factory=dict)
    storage_version_hash: str = ""
    crd: dict[str, Any] | None = None  # the whole CustomResourceDefinition, or None for built-in kinds
    table_columns: tuple[Mapping[str, Any], ...] = ()  # {name, type, format, priority, description?, jsonPath (CRDs)}
    response_kind: tuple[str, str, str] = ("", "", "")  # group, version, kind as aggregated discovery prints them

    @property
    def api_version(self) -> str:
        """As in objects: "v1" or "apps/v1"."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def gvr(self) -> str:
        """ "v1/pods" or "apps/v1/deployments"."""
        return f"{self.api_version}/{self.plural}"

    @property
    def qualified(self) -> str:
        """As in messages: "pods" or "deployments.apps"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def storage_key(self) -> tuple[str, str]:
        """All versions of a resource share one place in the store, and so do the events of both groups."""
        return ("", "events") if self.group == "events.k8s.io" else (self.group, self.plural)


def load_gz(name: str) -> Any:
    """A gzipped JSON file of lab/data/kube."""
    return json.loads(gzip.decompress((DATA / name).read_bytes()))


def version_hash(group: str, version: str, kind: str) -> str:
    """Source: k8s.io/apiserver/pkg/endpoints/discovery StorageVersionHash (1.33)."""
    text = f"{group}/{version}/{kind}" if group else f"/{version}/{kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


@lru_cache(maxsize=1)
def builtin_resources() -> tuple[Resource, ...]:
    """All built-in resources, in the order of the real server."""
    return tuple(_read_discovery(load_gz("discovery.json.gz"), load_gz("tables.json.gz")))


def _read_discovery(discovery: dict[str, Any], tables: dict[str, Any]) -> Iterator[Resource]:
    for document in ("api", "apis"):
        for group_item in discovery[document]["items"]:
            group = group_item["metadata"].get("name", "")
            for version_item in group_item["versions"]:
                version = version_item["version"]
                columns = tables.get(f"{group}/{version}" if group else version, {})
                for item in version_item["resources"]:
                    yield _builtin(group, version, item, columns.get(item["resource"], ()))


def _builtin(group: str, version: str, item: dict[str, Any], columns: list[dict[str, Any]]) -> Resource:
    kind = item["responseKind"]["kind"]
    subresources = {}
    for sub in item.get("subresources", ()):
        speaks = sub["responseKind"]
        own = not speaks["group"] and not speaks["version"]
        subresources[sub["subresource"]] = Subresource(
            sub["subresource"],
            speaks["kind"],
            group if own else speaks["group"],
            version if own else speaks["version"],
            tuple(sub["verbs"]),
        )
    return Resource(
        group=group,
        version=version,
        plural=item["resource"],
        singular=item.get("singularResource", ""),
        kind=kind,
        list_kind=f"{kind}List",
        namespaced=item["scope"] == "Namespaced",
        short_names=tuple(item.get("shortNames", ())),
        categories=tuple(item.get("categories", ())),
        verbs=tuple(item["verbs"]),
        subresources=subresources,
        storage_version_hash=version_hash(group, version, kind) if "watch" in item["verbs"] else "",
        table_columns=tuple(columns),
        response_kind=(item["responseKind"]["group"], item["responseKind"]["version"], kind),
    )


class Registry:
    """The resources that are served now. `revision` changes with every change, for caches of discovery and OpenAPI."""

    def __init__(self) -> None:
        self.revision = 0
        self._builtin = builtin_resources()
        self._crds: dict[str, tuple[Resource, ...]] = {}  # by CRD name
        self._terminating: set[str] = set()
        self._index: dict[tuple[str, str, str], Resource] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._rebuild()

    def all(self) -> Iterator[Resource]:
        """Every served resource in discovery's order."""
        return iter(self._index.values())

    def get(self, group: str, version: str, plural: str) -> Resource | None:
        """The served resource, or None."""
        return self._index.get((group, version, plural))

    def by_gvr(self, gvr: str) -> Resource | None:
        """The served resource of "v1/pods" or "apps/v1/deployments"."""
        parts = gvr.split("/")
        return self._index.get(("", parts[0], parts[1]) if len(parts) == 2 else (parts[0], parts[1], parts[2]))

    def by_kind(self, group: str, version: str, kind: str) -> Resource | None:
        """The served resource of a kind; an empty version takes the preferred one."""
        for resource in self._index.values():
            if resource.group == group and resource.kind == kind and version in ("", resource.version):
                return resource
        return None

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Group -> its served versions, preferred first, in discovery's order. The core group is ""."""
        return self._groups

    def of_version(self, group: str, version: str) -> list[Resource]:
        """The resources of one group and version, in discovery's order."""
        return [r for r in self._index.values() if r.group == group and r.version == version]

    def serve_crd(self, name: str, resources: tuple[Resource, ...]) -> None:
        """Serve the resources of an established CRD in place of those served for it before."""
        self._crds[name] = resources
        self._rebuild()

    def drop_crd(self, name: str) -> None:
        """Serve the CRD no more."""
        if self._crds.pop(name, None) is not None:
            self._rebuild()

    def crd_resources(self, name: str) -> tuple[Resource, ...]:
        """What is served for a CRD, by its name."""
        return self._crds.get(name, ())

    def _rebuild(self) -> None:
        self.revision += 1
        custom = [resource for resources in self._crds.values() for resource in resources]
        custom.sort(key=lambda r: (r.group, version_rank(r.version), r.plural))
        self._index = {(r.group, r.version, r.plural): r for r in (*self._builtin, *custom)}
        groups: dict[str, list[str]] = {}
        for resource in self._index.values():
            versions = groups.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
        self._groups = {group: tuple(versions) for group, versions in groups.items()}


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Sort key of Kubernetes versions: v2, v1, v2beta1, v1beta1, v1alpha1, then the rest by name.

    Source: k8s.io/apimachinery/pkg/version CompareKubeAwareVersionStrings.
    """
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if not match:
        return (3, 0, 0, version)
    level = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (level, -int(match[1]), -int(match[3] or 0), "")
