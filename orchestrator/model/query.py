"""Questions as data. A query never changes anything: readers refuse what is not on their list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from orchestrator.model.data import dataclass

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by reference (`op://...`, `env:NAME`, `file:PATH`). `prefix` is put before the value where it goes: `Bearer `."""

    ref: str
    prefix: str = ""


Value = str | Secret


@dataclass(frozen=True, slots=True)
class ToolQuery:
    """A read-only call of a wrapped program. `argv` starts with the program; `cwd` is always the site's folder."""

    argv: tuple[str, ...]
    env: Mapping[str, Value] = field(default_factory=lambda: NOTHING)
    within: timedelta = timedelta(seconds=30)
    secret_output: bool = False  # the output holds keys: kept in memory only, never in evidence

    @property
    def tool(self) -> str:
        return self.argv[0]


@dataclass(frozen=True, slots=True)
class KubeGet:
    """One object, by `api_version`, `kind` and name. A missing object answers status 404."""

    cluster: str
    api_version: str
    kind: str
    name: str
    namespace: str | None = None
    within: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class KubeList:
    """All objects of a kind; `body` is the list, whole (pages joined)."""

    cluster: str
    api_version: str
    kind: str
    namespace: str | None = None
    labels: str = ""
    fields: str = ""
    within: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class KubeRaw:
    """A path of the API as text, such as `/readyz`."""

    cluster: str
    path: str
    within: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class KubeDryRun:
    """A server-side dry-run apply of one object: `body` is the object as it would be, `extra["live"]` what is there (or null)."""

    cluster: str
    object: Mapping[str, Any]
    field_manager: str = "bootstrap"
    within: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class JunosShow:
    """An operational command of the gateway; `stdout` is what it printed."""

    command: str
    within: timedelta = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class GitRead:
    """The branch's head: `body` is `{"head": sha | null, "files": {path: text}, "rendered": {path: sha256}}` for paths under `under`.

    `rendered` are the digests that our commits' trailers name for each file (design.md promise 13).
    """

    under: tuple[str, ...] = ("",)
    within: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class HttpGet:
    """GET of a URL. `body` is the JSON where the answer is JSON, `stdout` the text, `status` the code, `extra["headers"]`."""

    url: str
    headers: Mapping[str, Value] = field(default_factory=lambda: NOTHING)
    within: timedelta = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class StoreHead:
    """HEAD of the site's bucket with its credentials (signed request): `status` is the code."""

    endpoint: str
    region: str
    bucket: str
    access_key: Secret
    secret_key: Secret
    within: timedelta = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file below the site's folder: `body` is `{"exists", "mode", "sha256", "text"}`; text only where `text` is asked for.

    A file with secrets is asked with `text=False`: its digest and mode are enough.
    """

    path: str
    text: bool = False


@dataclass(frozen=True, slots=True)
class SecretRead:
    """Whether a secret can be resolved now: `body` is `{"exists": bool, "fields": {name: sha256}}`, never the value.

    `fields` names keys of a YAML mapping whose values' digests are wanted: `("ca.crt",)`.
    """

    secret: Secret
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProgramOnPath:
    """Where a program stands on PATH: `body` is `{"path": str | null}`."""

    program: str


@dataclass(frozen=True, slots=True)
class Workstation:
    """Facts of this machine: `body` is `{"now": RFC 3339, "python": "3.11.7", "free_bytes": n, "writable": bool}`."""


Query = (
    ToolQuery
    | KubeGet
    | KubeList
    | KubeRaw
    | KubeDryRun
    | JunosShow
    | GitRead
    | HttpGet
    | StoreHead
    | FileRead
    | SecretRead
    | ProgramOnPath
    | Workstation
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `unreachable` says why nothing did: the target did not answer within the query's time."""

    rc: int = 0
    stdout: str = ""
    stderr: str = ""
    status: int | None = None
    body: Any = None
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    unreachable: str | None = None
    timed_out: bool = False
