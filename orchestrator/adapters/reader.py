"""The reader: every query of the model, answered by the adapter that it belongs to. Nothing here can change the platform."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.adapters import http, process
from orchestrator.adapters.files import describe, workstation
from orchestrator.adapters.git import Repository
from orchestrator.adapters.junos import Gateway
from orchestrator.adapters.kube import Cluster
from orchestrator.adapters.masking import Masker
from orchestrator.adapters.secrets import SecretMissing, Secrets
from orchestrator.model.check import Check
from orchestrator.model.errors import BootstrapError
from orchestrator.model.query import (
    Answer,
    FileRead,
    GitRead,
    HttpGet,
    JunosShow,
    KubeDryRun,
    KubeGet,
    KubeList,
    KubeRaw,
    ProgramOnPath,
    Query,
    Secret,
    SecretRead,
    StoreHead,
    ToolQuery,
    Value,
    Workstation,
)

IsRead = Callable[[tuple[str, ...]], bool]
MOST_TOOLS = 8  # programs that questions run at once


def values(env: Mapping[str, Value], secrets: Secrets) -> dict[str, str]:
    """Names with their values; a secret is resolved here and lives for this one call. Raises SecretMissing."""
    return {name: value.prefix + secrets.resolve(value.ref) if isinstance(value, Secret) else value for name, value in env.items()}


class SiteReader:
    """Answers queries about one site. Refuses a program call that is not on the list of read-only ones."""

    def __init__(self, site_dir: Path, *, clusters: Mapping[str, Cluster], gateway: Gateway | None, repository: Repository, secrets: Secrets, masker: Masker, environ: Mapping[str, str], is_read: IsRead) -> None:
        self._dir = site_dir
        self._clusters = clusters
        self._gateway = gateway
        self._repository = repository
        self._secrets = secrets
        self._masker = masker
        self._environ = environ
        self._is_read = is_read
        self._tools = threading.BoundedSemaphore(MOST_TOOLS)

    def ask(self, query: Query) -> Answer:
        """Never raises for a target that does not answer, nor for a secret that is not there."""
        match query:
            case ToolQuery():
                return self._tool(query)
            case KubeGet() | KubeList() | KubeRaw() | KubeDryRun():
                return self._clusters[query.cluster].ask(query)
            case JunosShow():
                return self._gateway.show(query) if self._gateway else Answer(unreachable="the site has no gateway")
            case GitRead():
                return self._repository.read(query)
            case HttpGet():
                return self._http(query)
            case StoreHead():
                return self._store(query)
            case FileRead():
                return Answer(body=describe(self._dir / query.path, text=query.text))
            case SecretRead():
                return self._secret(query)
            case ProgramOnPath():
                return Answer(body={"path": shutil.which(query.program, path=self._environ.get("PATH", ""))})
            case Workstation():
                return Answer(body=workstation(self._dir))

    def watch(self, check: Check, stop: Callable[[], bool], seconds: float) -> bool:
        """Wait for a change of the one Kubernetes object or list that the check asks about."""
        if len(check.ask) != 1 or not isinstance(check.ask[0], KubeGet | KubeList):
            return False
        query = check.ask[0]
        return self._clusters[query.cluster].watch(query, stop, seconds)

    def _tool(self, query: ToolQuery) -> Answer:
        if not self._is_read(query.argv):
            raise AssertionError(f"{' '.join(query.argv)} is not read-only: make it a Command")
        absent = self._absent_talosconfig(query.argv)
        if absent is not None:
            return Answer(rc=1, stderr=f"there is no talosconfig {absent} yet")
        try:
            env = process.environment(self._environ, values(query.env, self._secrets))
            with self._tools:
                ended = process.run(query.argv, env=env, cwd=self._dir, within=query.within.total_seconds(), masker=self._masker, tail=False)
        except FileNotFoundError:
            return Answer(unreachable=f"{query.tool} is not on PATH")
        except BootstrapError as error:
            return Answer(unreachable=str(error))
        silent = f"{query.tool} did not end within {query.within.total_seconds():.0f} s" if ended.timed_out else None
        return Answer(rc=ended.rc, stdout=ended.stdout, stderr=self._masker.mask(ended.stderr), unreachable=silent, timed_out=ended.timed_out)

    def _absent_talosconfig(self, argv: tuple[str, ...]) -> str | None:
        """The talosconfig that a node would be asked with, where there is none: each such call could only fail, five for a blank node."""
        named = argv[:2] == ("talosctl", "--talosconfig") and "config" not in argv[3:4]
        return argv[2] if named and not (self._dir / argv[2]).exists() else None

    def _http(self, query: HttpGet) -> Answer:
        try:
            return http.request("GET", query.url, headers=values(query.headers, self._secrets), body=None, within=query.within.total_seconds())
        except BootstrapError as error:
            return Answer(unreachable=str(error))

    def _store(self, query: StoreHead) -> Answer:
        try:
            access, secret = self._secrets.resolve(query.access_key.ref), self._secrets.resolve(query.secret_key.ref)
        except BootstrapError as error:
            return Answer(unreachable=str(error))
        return http.head_bucket(query.endpoint, query.region, query.bucket, access, secret, within=query.within.total_seconds())

    def _secret(self, query: SecretRead) -> Answer:
        try:
            self._secrets.resolve(query.secret.ref)
            return Answer(body={"exists": True, "fields": self._secrets.digests(query.secret.ref, query.fields)})
        except SecretMissing as error:
            return Answer(body={"exists": False, "fields": {}, "why": str(error)})
        except BootstrapError as error:
            return Answer(unreachable=str(error))


