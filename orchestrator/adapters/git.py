"""The repository, through git itself: a bare clone of our own below the state folder, no work tree, no ambient configuration.

Commits are built from blobs and trees and pushed without force. What somebody else changed since our last commit is kept:
our commits name the digest of each file that we rendered in a trailer (design.md promise 13).
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path

from orchestrator.adapters.files import private_dir, write_private
from orchestrator.adapters.masking import Masker
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.targets import GitTarget
from orchestrator.model.action import GitCommit
from orchestrator.model.data import dataclass
from orchestrator.model.errors import BootstrapError, StepError
from orchestrator.model.ports import Outcome
from orchestrator.model.query import Answer, GitRead

TRAILER = "Bootstrap-Rendered"
_RENDERED = re.compile(rf"^{TRAILER}: ([0-9a-f]{{64}}|-) (.+)$", re.MULTILINE)
PUSH_TRIES = 5
_ASKPASS = """#!/bin/sh
case "$1" in
Username*) printf '%s\\n' "$BOOTSTRAP_GIT_USERNAME" ;;
*) printf '%s\\n' "$BOOTSTRAP_GIT_PASSWORD" ;;
esac
"""


class GitFailed(Exception):
    """git ended with an error: its last line, masked."""


@dataclass(frozen=True, slots=True)
class Head:
    """The branch as it is: its commit, its files (path -> blob id), and what our commits say that we rendered."""

    sha: str | None
    blobs: Mapping[str, str] = field(default_factory=dict)
    rendered: Mapping[str, str] = field(default_factory=dict)


class Repository:
    """One remote branch. Safe for threads: one git at a time."""

    def __init__(self, target: GitTarget, state_dir: Path, secrets: Secrets, masker: Masker, environ: Mapping[str, str]) -> None:
        self._target = target
        self._dir = state_dir / "git"
        self._secrets = secrets
        self._masker = masker
        self._environ = environ
        self._lock = threading.RLock()
        self._head: Head | None = None
        self._texts: dict[str, str] = {}
        self._remote_env: dict[str, str] | None = None

    def read(self, query: GitRead) -> Answer:
        """`{"head", "files", "rendered"}` of the branch now."""
        try:
            with self._lock:
                head = self._fetch(query.within.total_seconds())
                paths = [path for path in head.blobs if any(path.startswith(under) for under in query.under)]
                texts = self._blobs([head.blobs[path] for path in paths])
                files = {path: texts[head.blobs[path]] for path in paths}
        except (GitFailed, subprocess.TimeoutExpired) as error:
            return Answer(unreachable=f"git: {error if isinstance(error, GitFailed) else 'no answer in time'}", extra={"text": str(error)})
        except BootstrapError as error:
            return Answer(unreachable=str(error))
        return Answer(body={"head": head.sha, "files": files, "rendered": dict(head.rendered)})

    def commit(self, action: GitCommit, before_push: Callable[[], None]) -> Outcome:
        """Our files on top of the branch, pushed; a push that lost a race is built anew on the new head."""
        started = time.monotonic()
        within = action.within.total_seconds()
        for attempt in range(PUSH_TRIES):
            try:
                with self._lock:
                    head = self._fetch(within)
                    changes, kept = self._changes(action, head)
                    if not changes:
                        return Outcome(True, 0, _said("nothing to commit", kept), seconds=time.monotonic() - started)
                    sha = self._build(action.message, head, changes)
                    before_push()
                    self._git("push", "--quiet", self._target.url, f"{sha}:refs/heads/{self._target.branch}", remote=True, within=within)
                    self._head = None
                return Outcome(True, 0, _said(f"pushed {sha}", kept), seconds=time.monotonic() - started)
            except GitFailed as error:
                lost_race = any(word in str(error) for word in ("non-fast-forward", "fetch first", "cannot lock ref", "failed to update ref", "stale info"))
                if not lost_race or attempt == PUSH_TRIES - 1:
                    return Outcome(False, 1, str(error), seconds=time.monotonic() - started)
        raise AssertionError("the loop above returns")

    def _changes(self, action: GitCommit, head: Head) -> tuple[dict[str, str | None], list[str]]:
        """What really has to change, and the files of others that stay as they are."""
        changes: dict[str, str | None] = {}
        kept = []
        for path, text in action.files.items():
            there = self._blob(head.blobs[path]) if path in head.blobs else None
            if there == text:
                continue
            if there is not None and head.rendered.get(path) != _digest(there):
                kept.append(path)
            elif not (text is None and there is None):
                changes[path] = text
        return changes, kept

    def _build(self, message: str, head: Head, changes: Mapping[str, str | None]) -> str:
        index = {"GIT_INDEX_FILE": str(self._dir / "bootstrap-index")}
        self._git("read-tree", head.sha or "--empty", env=index)
        lines = []
        for path, text in changes.items():
            if text is None:
                lines.append(f"0 {'0' * 40}\t{path}")
            else:
                lines.append(f"100644 {self._git('hash-object', '-w', '--stdin', stdin=text).strip()}\t{path}")
        self._git("update-index", "--index-info", env=index, stdin="\n".join(lines) + "\n")
        tree = self._git("write-tree", env=index).strip()
        trailers = "\n".join(f"{TRAILER}: {'-' if text is None else _digest(text)} {path}" for path, text in sorted(changes.items()))
        parents = ("-p", head.sha) if head.sha else ()
        who = {"GIT_AUTHOR_NAME": self._target.author_name, "GIT_AUTHOR_EMAIL": self._target.author_email, "GIT_COMMITTER_NAME": self._target.author_name, "GIT_COMMITTER_EMAIL": self._target.author_email}
        return self._git("commit-tree", tree, *parents, "-F", "-", env=who, stdin=f"{message.rstrip()}\n\n{trailers}\n").strip()

    def _fetch(self, within: float) -> Head:
        """The head as the remote has it now; objects are fetched only when it moved."""
        self._prepare()
        listed = self._git("ls-remote", self._target.url, f"refs/heads/{self._target.branch}", remote=True, within=within)
        sha = listed.split()[0] if listed.strip() else None
        if self._head is None or self._head.sha != sha:
            self._head = Head(None) if sha is None else self._load(sha, within)
        return self._head

    def _load(self, sha: str, within: float) -> Head:
        known = subprocess.run(["git", "cat-file", "-e", f"{sha}^{{commit}}"], cwd=self._dir, env=self._env({}), stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
        if not known:
            self._git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", self._target.url, f"+refs/heads/{self._target.branch}:refs/remotes/site", remote=True, within=within)
        blobs = {}
        for row in filter(None, self._git("ls-tree", "-r", "-z", sha).split("\0")):
            meta, path = row.split("\t", 1)
            if meta.split()[1] == "blob":
                blobs[path] = meta.split()[2]
        rendered: dict[str, str] = {}
        for match in _RENDERED.finditer(self._git("log", "--reverse", "--format=%B", f"--grep=^{TRAILER}:", sha)):
            rendered[match[2]] = match[1]
        return Head(sha, blobs, rendered)

    def _blob(self, blob: str) -> str:
        return self._blobs([blob])[blob]

    def _blobs(self, wanted: list[str]) -> Mapping[str, str]:
        """Texts by blob id; a blob never changes, so each is read once."""
        missing = [blob for blob in dict.fromkeys(wanted) if blob not in self._texts]
        if missing:
            rest = self._git("cat-file", "--batch", stdin="\n".join(missing) + "\n").encode("utf-8", "surrogateescape")
            for blob in missing:
                header, rest = rest.split(b"\n", 1)
                size = int(header.split()[2])
                self._texts[blob], rest = rest[:size].decode("utf-8", "surrogateescape"), rest[size + 1 :]
        return self._texts

    def _prepare(self) -> None:
        if not (self._dir / "HEAD").exists():
            private_dir(self._dir)
            self._git("init", "--quiet", "--bare", ".")

    def _git(self, *args: str, remote: bool = False, env: Mapping[str, str] | None = None, stdin: str | None = None, within: float = 60.0) -> str:
        whole = self._env(dict(env or {}) | (self._credentials() if remote else {}))
        argv = ["git", "-c", "credential.helper=", "-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "gc.auto=0", *args]
        done = subprocess.run(argv, cwd=self._dir, env=whole, input=None if stdin is None else stdin.encode(), stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True, timeout=within, check=False, start_new_session=True)
        if done.returncode != 0:
            lines = [line for line in self._masker.mask(done.stderr.decode("utf-8", "backslashreplace")).splitlines() if line.strip() and not line.startswith("hint:")]
            raise GitFailed("; ".join(lines[-3:]) or f"git {args[0]} ended with {done.returncode}")
        return done.stdout.decode("utf-8", "surrogateescape")

    def _env(self, extra: Mapping[str, str]) -> dict[str, str]:
        base = {name: self._environ[name] for name in ("PATH", "SSL_CERT_FILE", "TMPDIR") if name in self._environ}
        quiet = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "HOME": str(self._dir), "GIT_DIR": str(self._dir)}
        return base | quiet | dict(extra)

    def _credentials(self) -> dict[str, str]:
        """Environment of the one git that talks to the remote: a token by askpass, or a key by ssh. Made once."""
        if self._remote_env is None:
            self._remote_env = self._ssh() if self._target.url.startswith("ssh:") or "@" in self._target.url.split("/")[0] else self._askpass()
        return self._remote_env

    def _askpass(self) -> dict[str, str]:
        if self._target.token is None:
            return {}
        script = self._dir / "askpass"
        if not script.exists():
            write_private(script, _ASKPASS)
            script.chmod(0o700)
        return {"GIT_ASKPASS": str(script), "BOOTSTRAP_GIT_USERNAME": self._target.username, "BOOTSTRAP_GIT_PASSWORD": self._secrets.resolve(self._target.token.ref)}

    def _ssh(self) -> dict[str, str]:
        if self._target.private_key is None or self._target.known_hosts is None:
            raise StepError("Git over SSH wants a private key and known hosts", hint="set git.private_key and git.known_hosts in the site")
        key = self._file(self._target.private_key.ref, "ssh-key")
        hosts = self._file(self._target.known_hosts.ref, "known_hosts")
        options = f"-F /dev/null -i '{key}' -o IdentitiesOnly=yes -o IdentityAgent=none -o UserKnownHostsFile='{hosts}' -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o BatchMode=yes"
        return {"GIT_SSH_COMMAND": f"ssh {options}", "GIT_SSH_VARIANT": "ssh"}

    def _file(self, ref: str, name: str) -> Path:
        """A secret that ssh reads from a file: where it is, or a private copy below the state folder."""
        value = self._secrets.resolve(ref)
        path = self._secrets.path(ref)
        if path is None:
            path = self._dir / name
            write_private(path, value + "\n")
        return path.absolute()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _said(what: str, kept: list[str]) -> str:
    return what if not kept else f"{what}; kept as somebody else left them: {', '.join(kept)}"
