"""A kubeconfig as a pool of connections.

Certificates, keys and tokens are read here: the official client writes them to files under the system's temporary folder, and a
process that is killed leaves an administrator's key behind. What needs more than that (a plugin, a provider, a proxy) is still the
official client's. Source of the fields: client-go's clientcmd/api/v1 types (v0.33).
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from orchestrator.model.data import dataclass

POOL = 16  # connections that are kept open to one API
OFFICIAL = frozenset({"exec", "auth-provider", "username", "as", "as-groups"})


class BadKubeconfig(Exception):
    """The file cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An API's address without a slash at its end, a urllib3 pool, and what makes the headers of credentials, anew for each request."""

    host: str
    pool: Any
    headers: Callable[[], Mapping[str, str]]


def connect(path: Path, context: str) -> Connection:
    """The connection that a context of a kubeconfig describes. Raises BadKubeconfig."""
    try:
        document = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        chosen = _named(document, "contexts", "context", context)
        cluster, user = _named(document, "clusters", "cluster", chosen["cluster"]), _named(document, "users", "user", chosen["user"])
        if OFFICIAL & user.keys() or cluster.get("proxy-url"):
            return _official(path, context)
        return _plain(path.parent, cluster, user)
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadKubeconfig(f"{path.name}: {type(error).__name__}: {error}") from error


def _named(document: Any, kind: str, key: str, name: str) -> dict[str, Any]:
    for entry in document.get(kind) or ():
        if entry["name"] == name:
            found: dict[str, Any] = entry[key]
            return found
    raise BadKubeconfig(f"it has no {key} {name!r}")


def _plain(folder: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> Connection:
    import urllib3
    from urllib3.util.ssl_ import create_urllib3_context

    trust = create_urllib3_context()
    if cluster.get("insecure-skip-tls-verify"):
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    elif authority := _content(folder, cluster, "certificate-authority"):
        trust.load_verify_locations(cadata=authority)
    else:
        trust.load_default_certs()
    certificate, key = _content(folder, user, "client-certificate"), _content(folder, user, "client-key")
    if certificate:
        with _as_file(f"{certificate}\n{key}") as name:
            trust.load_cert_chain(name)

    def headers() -> Mapping[str, str]:
        token = user.get("token") or (Path(folder, user["tokenFile"]).read_text().strip() if user.get("tokenFile") else "")
        return {"authorization": f"Bearer {token}"} if token else {}

    more = {"server_hostname": cluster["tls-server-name"], "assert_hostname": cluster["tls-server-name"]} if cluster.get("tls-server-name") else {}
    pool = urllib3.PoolManager(maxsize=POOL, ssl_context=trust, **more)
    return Connection(cluster["server"].rstrip("/"), pool, headers)


def _content(folder: Path, fields: Mapping[str, Any], name: str) -> str:
    """PEM that is in the file itself, or in one beside it; empty where neither is."""
    if data := fields.get(f"{name}-data"):
        try:
            return base64.b64decode(data, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise BadKubeconfig(f"{name}-data is not PEM in base64") from error
    return Path(folder, fields[name]).read_text() if fields.get(name) else ""


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """A name under which OpenSSL finds a text. Where the system can, it is in memory alone, and gone with this process."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("key")
        try:
            os.write(handle, text.encode())
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
    else:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            yield file.name


def _official(path: Path, context: str) -> Connection:
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, new_client_from_config

    plain = Configuration()
    plain.proxy = None  # ambient proxies never stand between us and a cluster
    try:
        client = new_client_from_config(str(path), context=context, persist_config=False, client_configuration=plain)  # type: ignore[no-untyped-call]  # the client has no annotations there
    except ConfigException as error:
        raise BadKubeconfig(str(error)) from error

    def headers() -> Mapping[str, str]:
        return {one["key"]: one["value"] for one in client.configuration.auth_settings().values() if one["in"] == "header" and one["value"]}

    return Connection(client.configuration.host, client.rest_client.pool_manager, headers)
