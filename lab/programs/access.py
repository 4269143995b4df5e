"""How helm, cilium and flux reach a cluster: by the kubeconfig and context that they are given, with its credentials, as client-go does.

The server's URL says which cluster of the world is meant; an API that does not answer, a foreign CA and a refused credential give client-go's own
error texts. Requests then go straight to the API server of this process, as the user of the credential.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from lab.helm import goyaml
from lab.helm.objects import RegistryKinds
from lab.kube.port import KubeError, KubePort, Object, Objects, Patch
from lab.kube.wire import User
from lab.programs.call import Call

if TYPE_CHECKING:
    from lab.cluster import LabCluster

UNAUTHORIZED = "the server has asked for the client to provide credentials"
UNKNOWN_CA = "tls: failed to verify certificate: x509: certificate signed by unknown authority"


class ConfigError(Exception):
    """The kubeconfig does not say where to go; the message is client-go's."""


class Unreachable(OSError):
    """Nothing answers, or not to this client; the message begins with `Get "https://..."` as client-go's."""


@dataclass(frozen=True, slots=True)
class Target:
    """One context of a kubeconfig, resolved. `problem` says why the API will not answer, empty where it will."""

    context: str
    cluster_name: str
    server: str
    namespace: str
    user: User | None
    lab: LabCluster | None
    problem: str


def files_of(call: Call, flag: str) -> list[Path]:
    """The kubeconfig files in client-go's order: the flag alone, else KUBECONFIG's, else ~/.kube/config."""
    if flag:
        return [call.path(flag)]
    listed = [f for f in call.env.get("KUBECONFIG", "").split(":") if f]
    return [call.path(f) for f in listed] or [Path(call.env.get("HOME", "/nonexistent")) / ".kube/config"]


def merged(files: list[Path], *, explicit: bool) -> Object:
    """The files' entries, the first of a name wins. Raises ConfigError; only an explicit file has to exist."""
    out: Object = {"clusters": {}, "users": {}, "contexts": {}, "current-context": ""}
    for file in files:
        try:
            document = _document(file.read_text())
        except FileNotFoundError as error:
            if explicit:
                raise ConfigError(f"stat {file}: no such file or directory") from error
            continue
        except (OSError, UnicodeDecodeError, goyaml.YamlError) as error:
            raise ConfigError(f'error loading config file "{file}": {error}') from error
        for kind, inner in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
            for entry in (document or {}).get(kind) or ():
                out[kind].setdefault(entry["name"], entry.get(inner) or {})
        out["current-context"] = out["current-context"] or (document or {}).get("current-context") or ""
    return out


@lru_cache(maxsize=16)
def _document(text: str) -> Any:
    """Read once, and only looked at: every command begins with the kubeconfig. Raises YamlError."""
    return goyaml.load(text)


def resolve(call: Call, context: str = "", kubeconfig: str = "") -> Target:
    """The target of a call. Raises ConfigError where the context is not there."""
    config = merged(files_of(call, kubeconfig), explicit=bool(kubeconfig))
    name = context or config["current-context"]
    if not config["contexts"] and not name:
        return Target("", "", "http://localhost:8080", "default", None, None, "dial tcp 127.0.0.1:8080: connect: connection refused")
    if name not in config["contexts"]:
        raise ConfigError(f'context "{name}" does not exist' if name else "no context exists with the name: \"\"")
    chosen = config["contexts"][name]
    cluster = config["clusters"].get(chosen.get("cluster", ""), {})
    server = str(cluster.get("server") or "http://localhost:8080").rstrip("/")
    lab = call.world.cluster_at(server)
    if call.effect is not None and call.effect.wrong_cluster in call.world.clusters:
        return _elsewhere(call.world.clusters[call.effect.wrong_cluster], name, server)
    user, problem = _authenticate(lab, cluster, config["users"].get(chosen.get("user", ""), {}), server)
    return Target(name, str(chosen.get("cluster", "")), server, str(chosen.get("namespace") or "default"), user, lab, problem)


def _elsewhere(lab: LabCluster, context: str, server: str) -> Target:
    """A scripted fault: another cluster answers at this address, and takes the client for its own admin."""
    return Target(context, lab.cluster_name, server, "default", User("admin", ("system:masters", "system:authenticated")), lab, "")


def _authenticate(lab: LabCluster | None, cluster: Object, user: Object, server: str) -> tuple[User | None, str]:
    parts = urlsplit(server)
    if lab is None or not lab.up or lab.ca is None:
        return None, f"dial tcp {parts.hostname}:{parts.port or 443}: connect: connection refused"
    authority = _unb64(cluster.get("certificate-authority-data", ""))
    if not cluster.get("insecure-skip-tls-verify") and authority and authority.strip() != lab.ca.cert_pem.strip() and not _same_key(authority, lab.ca.cert_pem):
        return None, UNKNOWN_CA
    if user.get("token"):
        found = lab.api.authenticate(user["token"])
        return found, "" if found else UNAUTHORIZED
    return _of_certificate(_unb64(user.get("client-certificate-data", "")), lab.ca.cert_pem)


def _of_certificate(pem: str, authority: str) -> tuple[User | None, str]:
    """The user that a client certificate names. Its time counts by the wall, as for every TLS client of the lab."""
    if not pem:
        return None, UNAUTHORIZED
    leaf = _issued(pem, authority)
    if leaf is None:
        return None, UNAUTHORIZED
    if not leaf.not_valid_before_utc <= datetime.now(UTC) <= leaf.not_valid_after_utc:
        return None, UNAUTHORIZED
    names = [str(a.value) for a in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(a.value) for a in leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return User(names[0] if names else "", (*groups, "system:authenticated")), ""


@lru_cache(maxsize=64)
def _issued(pem: str, authority: str) -> x509.Certificate | None:
    """The certificate, where `authority` signed it."""
    try:
        leaf = x509.load_pem_x509_certificate(pem.encode())
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    except (ValueError, TypeError, InvalidSignature):
        return None
    return leaf


def _same_key(one: str, other: str) -> bool:
    try:
        return x509.load_pem_x509_certificate(one.encode()).public_key() == x509.load_pem_x509_certificate(other.encode()).public_key()
    except ValueError:
        return False


def _unb64(text: str) -> str:
    try:
        return base64.b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def path_of(gvr: str, name: str = "", namespace: str = "") -> str:
    """The API path of a resource."""
    parts = gvr.split("/")
    root = f"/api/{parts[0]}" if len(parts) == 2 else f"/apis/{parts[0]}/{parts[1]}"
    place = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{place}/{parts[-1]}" + (f"/{name}" if name else "")


class GuardedPort:
    """A KubePort that answers as a client sees it: when the API is down, or does not know the client, each call says so with its URL."""

    def __init__(self, target: Target, agent: str) -> None:
        self.target = target
        self._port: KubePort | None = target.lab.api.local(target.user, agent) if target.lab is not None and target.user is not None else None

    def check(self, path: str, query: str = "", verb: str = "Get") -> KubePort:
        """The port. Raises Unreachable, or KubeError 401."""
        target = self.target
        problem = target.problem
        if not problem and (target.lab is None or not target.lab.up):
            parts = urlsplit(target.server)
            problem = f"dial tcp {parts.hostname}:{parts.port}: connect: connection refused"
        if problem == UNAUTHORIZED:
            raise KubeError(401, "Unauthorized", UNAUTHORIZED)
        if problem or self._port is None:
            raise Unreachable(f'{verb} "{target.server}{path}{query}": {problem}')
        return self._port

    async def get(self, gvr: str, name: str, namespace: str = "") -> Object | None:
        return await self.check(path_of(gvr, name, namespace)).get(gvr, name, namespace)

    async def list(
        self, gvr: str, namespace: str = "", labels: str = "", fields: str = "", *, shared: bool = False
    ) -> tuple[Objects, str]:
        query = f"?labelSelector={quote(labels, safe='')}" if labels else ""
        return await self.check(path_of(gvr, "", namespace), query).list(gvr, namespace, labels, fields, shared=shared)

    async def watch(self, gvr: str, namespace: str = "", since: str = "") -> AsyncIterator[tuple[str, Object]]:
        async for event in self.check(path_of(gvr, "", namespace)).watch(gvr, namespace, since):
            yield event

    async def create(self, gvr: str, obj: Object, namespace: str = "", subresource: str = "") -> Object:
        return await self.check(path_of(gvr, "", namespace), verb="Post").create(gvr, obj, namespace, subresource)

    async def update(self, gvr: str, obj: Object, subresource: str = "") -> Object:
        return await self.check(path_of(gvr, obj["metadata"]["name"], obj["metadata"].get("namespace", "")), verb="Put").update(gvr, obj, subresource)

    async def patch(self, gvr: str, name: str, patch: Patch, namespace: str = "", subresource: str = "", kind: str = "merge") -> Object:
        return await self.check(path_of(gvr, name, namespace), verb="Patch").patch(gvr, name, patch, namespace, subresource, kind)

    async def apply(self, gvr: str, obj: Object, manager: str, force: bool = True, subresource: str = "") -> Object:
        path = path_of(gvr, obj["metadata"]["name"], obj["metadata"].get("namespace", ""))
        return await self.check(path, verb="Patch").apply(gvr, obj, manager, force, subresource)

    async def delete(
        self, gvr: str, name: str, namespace: str = "", propagation: str = "Background", grace: int | None = None
    ) -> None:
        await self.check(path_of(gvr, name, namespace), verb="Delete").delete(gvr, name, namespace, propagation, grace)


def kinds_of(target: Target) -> RegistryKinds:
    """What the target's cluster serves; nothing where there is none."""
    return RegistryKinds(target.lab.api.registry if target.lab is not None else _Nothing())


class _Nothing:
    revision = 0

    def all(self) -> Iterator[Any]:
        return iter(())
