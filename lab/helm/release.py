"""Releases as Helm 3 stores them: one Secret a revision, type helm.sh/release.v1, readable by a real helm.

Source: helm v3.19 pkg/storage/driver/secrets.go and util.go.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from lab.helm.objects import Object
from lab.kube.port import KubeError, KubePort

DEPLOYED, SUPERSEDED, FAILED, UNINSTALLED, UNINSTALLING = "deployed", "superseded", "failed", "uninstalled", "uninstalling"
PENDING_INSTALL, PENDING_UPGRADE, PENDING_ROLLBACK = "pending-install", "pending-upgrade", "pending-rollback"
PENDING = (PENDING_INSTALL, PENDING_UPGRADE, PENDING_ROLLBACK)


@dataclass(frozen=True, slots=True)
class Release:
    """One revision. Times are RFC 3339; `chart` is as `charts.stored` makes it; `config` the caller's own values."""

    name: str
    namespace: str
    version: int
    status: str
    description: str
    first_deployed: str
    last_deployed: str
    chart: Mapping[str, Any]
    config: Mapping[str, Any]
    manifest: str
    notes: str = ""
    hooks: tuple[Mapping[str, Any], ...] = ()
    deleted: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def chart_name(self) -> str:
        return str(self.chart["metadata"]["name"])

    @property
    def chart_version(self) -> str:
        return str(self.chart["metadata"]["version"])

    @property
    def app_version(self) -> str:
        return str(self.chart["metadata"].get("appVersion", ""))

    def with_status(self, status: str, description: str = "") -> Release:
        """A copy in another state."""
        return replace(self, status=status, description=description or self.description)


def stamp(now: datetime) -> str:
    """A time as Go's time.Time marshals it, with nanoseconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def to_json(release: Release, *, chart: bool = True) -> Object:
    """The release as Helm's JSON has it; without `chart` as `helm status -o json` prints it."""
    out: Object = {
        "name": release.name,
        "info": {
            "first_deployed": release.first_deployed, "last_deployed": release.last_deployed, "deleted": release.deleted,
            "description": release.description, "status": release.status, "notes": release.notes,
        },
    }  # fmt: skip
    if chart:
        out["chart"] = dict(release.chart)
    if release.config:
        out["config"] = dict(release.config)
    out["manifest"] = release.manifest
    if release.hooks:
        out["hooks"] = [dict(h) for h in release.hooks]
    return out | {"version": release.version, "namespace": release.namespace}


def from_json(body: Mapping[str, Any]) -> Release:
    """The inverse of `to_json`."""
    info = body["info"]
    return Release(
        name=body["name"], namespace=body["namespace"], version=body["version"], status=info["status"], description=info.get("description", ""),
        first_deployed=info.get("first_deployed", ""), last_deployed=info.get("last_deployed", ""), chart=body.get("chart") or {},
        config=body.get("config") or {}, manifest=body.get("manifest", ""), notes=info.get("notes", ""),
        hooks=tuple(body.get("hooks") or ()), deleted=info.get("deleted", ""),
    )  # fmt: skip


def encode(release: Release) -> str:
    """The value of a Secret's `data.release`."""
    packed = gzip.compress(json.dumps(to_json(release), separators=(",", ":")).encode(), compresslevel=6, mtime=0)
    return base64.b64encode(base64.b64encode(packed)).decode()


def decode(data: str) -> Release:
    """The inverse of `encode`. Raises ValueError where it is none."""
    try:
        return from_json(json.loads(gzip.decompress(base64.b64decode(base64.b64decode(data)))))
    except (OSError, KeyError, TypeError) as error:
        raise ValueError(f"no Helm release: {error}") from error


class Storage:
    """The releases of one namespace (or of all, where it is empty)."""

    def __init__(self, port: KubePort, namespace: str) -> None:
        self._port, self.namespace = port, namespace

    async def all(self, name: str = "") -> list[Release]:
        """Every revision, by name, then revision."""
        selector = "owner=helm" + (f",name={name}" if name else "")
        secrets, _ = await self._port.list("v1/secrets", self.namespace, labels=selector)
        releases = [decode(s["data"]["release"]) for s in secrets if s.get("type") == "helm.sh/release.v1" and "release" in (s.get("data") or {})]
        return sorted(releases, key=lambda r: (r.namespace, r.name, r.version))

    async def history(self, name: str) -> list[Release]:
        """The revisions of one release, oldest first; empty where there is none."""
        return await self.all(name)

    async def create(self, release: Release, now: datetime) -> None:
        """Store a new revision. Raises KubeError."""
        await self._port.create("v1/secrets", _secret(release, {"createdAt": str(int(now.timestamp()))}), self.namespace)

    async def update(self, release: Release, now: datetime) -> None:
        """Write the state of a stored revision."""
        secret = _secret(release, {"modifiedAt": str(int(now.timestamp()))})
        patch = {"metadata": {"labels": secret["metadata"]["labels"]}, "data": secret["data"]}
        await self._port.patch("v1/secrets", secret["metadata"]["name"], patch, self.namespace)

    async def delete(self, release: Release) -> None:
        """Forget one revision."""
        try:
            await self._port.delete("v1/secrets", secret_name(release), self.namespace)
        except KubeError as error:
            if error.status != 404:
                raise


def secret_name(release: Release) -> str:
    """sh.helm.release.v1.NAME.vN"""
    return f"sh.helm.release.v1.{release.name}.v{release.version}"


def _secret(release: Release, labels: Mapping[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(release),
            "namespace": release.namespace,
            "labels": {"name": release.name, "owner": "helm", "status": release.status, "version": str(release.version), **labels},
        },
        "type": "helm.sh/release.v1",
        "data": {"release": encode(release)},
    }
