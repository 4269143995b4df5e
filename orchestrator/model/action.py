"""Changes as data: nothing happens until a Writer is given one. Every action can be shown whole in a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from typing import Any, Literal

from orchestrator.model.check import Check
from orchestrator.model.data import dataclass
from orchestrator.model.query import NOTHING, Secret, Value


@dataclass(frozen=True, slots=True)
class Command:
    """A call of a wrapped program that changes something. `argv` starts with the program and holds no secret, run id,
    temporary path or time; `cwd` is the site's folder. `evidence` are files below it that the run leaves (JUnit results).
    `private` are files it writes that must be 0600 afterwards. `once`: a second run would do harm, so that an unknown
    outcome is never answered by another try.
    """

    argv: tuple[str, ...]
    env: Mapping[str, Value] = field(default_factory=lambda: NOTHING)
    within: timedelta = timedelta(minutes=5)
    stdin: Secret | None = None
    once: bool = False
    evidence: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    secret_output: bool = False

    @property
    def tool(self) -> str:
        return self.argv[0]


@dataclass(frozen=True, slots=True)
class SecretField:
    """A place in an object that is filled with a secret when it is applied: `("data", "password")`; base64 under data."""

    path: tuple[str, ...]
    secret: Secret
    field: str | None = None  # a key of the YAML mapping that the secret holds


@dataclass(frozen=True, slots=True)
class Objects:
    """Server-side apply of whole objects, in order (or their deletion, in reverse)."""

    cluster: str
    objects: tuple[Mapping[str, Any], ...]
    secrets: tuple[tuple[int, SecretField], ...] = ()  # (index of the object, what goes where)
    field_manager: str = "bootstrap"
    delete: bool = False
    within: timedelta = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class DeleteSelected:
    """Deletion of all objects of a kind that carry these labels; none there is fine."""

    cluster: str
    api_version: str
    kind: str
    labels: str
    namespace: str | None = None
    within: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class GitCommit:
    """Our files in the repository, in one commit on top of the branch's head. None removes a file of ours.

    A file that somebody else changed since our last commit is kept as it is (promise 13). No change: no commit.
    """

    message: str
    files: Mapping[str, str | None]
    within: timedelta = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class JunosChange:
    """Set lines for the gateway, by candidate, exclusive lock, compare, check, commit confirmed, verification, confirmation.

    `sessions` must be Established within `verify_within` on the device before the change is confirmed; else it rolls back.
    `owned` are prefixes of the hierarchy that are ours: a line removed outside of them refuses the change. `secrets` are
    (set-line prefix, secret): the line is sent with the secret's value and only where the device has none.
    """

    lines: tuple[str, ...]
    owned: tuple[str, ...]
    secrets: tuple[tuple[str, Secret], ...] = ()
    confirm_minutes: int = 5
    sessions: tuple[str, ...] = ()
    verify: Check | None = None
    lock_within: timedelta = timedelta(minutes=5)
    within: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A request that changes something elsewhere: the Image Factory's POST /schematics."""

    method: Literal["POST", "PUT", "DELETE"]
    url: str
    body: str = ""
    headers: Mapping[str, Value] = field(default_factory=lambda: NOTHING)
    within: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class WriteFile:
    """A file below the site's folder, written whole, atomically, 0600 (folders 0700)."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class MakeSecret:
    """A secret that the product makes once and keeps where the site says. Never overwrites one that is there.

    recipe: `password` (text), `ca` (YAML mapping with ca.crt and ca.key, PEM), `age`; or `file` with the path of a file
    that a wrapped program wrote: it is moved to its place.
    """

    secret: Secret
    recipe: Literal["password", "ca", "ssh-key", "file"]
    subject: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """Takes the kubeconfig that talosctl wrote to `source`, renames its context to `context`, points it at `server` when
    given, and writes `path` (0600)."""

    source: str
    path: str
    context: str
    server: str | None = None
    tls_server_name: str | None = None


@dataclass(frozen=True, slots=True)
class ApproveCsrs:
    """Approves pending kubelet-serving CSRs of exactly these nodes (name -> addresses), nothing else."""

    cluster: str
    nodes: Mapping[str, tuple[str, ...]]
    within: timedelta = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Mark:
    """The trace that a test leaves: ConfigMap bootstrap-system/<name> with the digest of its inputs, result and time."""

    cluster: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Await:
    """A wait inside of a step, between two of its actions: UNMET at its deadline fails the step.

    It is asked again by each run that does the action behind it: what it guards is done on a fresh answer. `once`: not by a run that
    goes on behind it, since what follows ends what it waited for (the object of a test, which is removed in the end).
    """

    check: Check
    once: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's decision: `bootstrap approve STEP --reason TEXT`."""

    question: str


Action = (
    Command
    | Objects
    | DeleteSelected
    | GitCommit
    | JunosChange
    | HttpCall
    | WriteFile
    | MakeSecret
    | Kubeconfig
    | ApproveCsrs
    | Mark
    | Await
    | Approval
)
