"""Resolving references to secrets, and keeping the few secrets that the product makes.

A value lives in memory only, and only between its resolution and the one call that needs it. `file:` references are relative
to the site's folder. Source for `op`: `op read --no-newline REFERENCE`, `op item create -` with a JSON template on stdin.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from orchestrator.adapters.files import create_private
from orchestrator.adapters.masking import Masker
from orchestrator.model.errors import PreconditionError

OP_SECONDS = 30
OP_ENVIRONMENT = ("PATH", "HOME", "OP_SERVICE_ACCOUNT_TOKEN", "OP_CONNECT_HOST", "OP_CONNECT_TOKEN", "OP_ACCOUNT", "XDG_CONFIG_HOME")


class SecretMissing(PreconditionError):
    """A reference leads to nothing (yet)."""


class Secrets:
    """Resolves and keeps secrets of one site. Each value is registered with the masker before anybody sees it."""

    def __init__(self, site_dir: Path, masker: Masker, environ: Mapping[str, str]) -> None:
        self._dir = site_dir
        self._masker = masker
        self._environ = environ
        self._cache: dict[str, str] = {}
        self._lock = threading.Lock()

    def path(self, ref: str) -> Path | None:
        """The file behind a `file:` reference."""
        return self._dir / ref.removeprefix("file:") if ref.startswith("file:") else None

    def resolve(self, ref: str) -> str:
        """The value, without a trailing newline. Raises SecretMissing."""
        with self._lock:
            if ref not in self._cache:
                value = self._read(ref)
                self._masker.add(value)
                if len(value.splitlines()) > 1:
                    self._masker.add_document(value)
                self._cache[ref] = value
            return self._cache[ref]

    def exists(self, ref: str) -> bool:
        """Whether the reference leads to a value now."""
        try:
            self.resolve(ref)
        except SecretMissing:
            return False
        return True

    def field(self, ref: str, name: str) -> str:
        """The value at `name` of the YAML mapping that the secret holds. Raises SecretMissing."""
        value = self.mapping(ref).get(name)
        if not isinstance(value, str):
            raise SecretMissing(f"the secret {ref} has no field {name}", hint=f"look at what is kept at {ref}")
        self._masker.add(value)
        return value

    def mapping(self, ref: str) -> Mapping[str, object]:
        """The YAML mapping that the secret holds."""
        import yaml

        try:
            loaded = yaml.load(self.resolve(ref), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise SecretMissing(f"the secret {ref} is not YAML", hint=f"look at what is kept at {ref}") from error
        return loaded if isinstance(loaded, dict) else {}

    def digests(self, ref: str, fields: tuple[str, ...]) -> dict[str, str]:
        """SHA-256 of each named field, for comparing without showing."""
        return {name: hashlib.sha256(self.field(ref, name).encode()).hexdigest() for name in fields}

    def keep(self, ref: str, value: str) -> None:
        """Write a value that the product made, once. Raises when something is there already."""
        self._masker.add(value)
        if self.exists(ref):
            raise PreconditionError(f"a secret is kept at {ref} already; it is never overwritten", hint="bootstrap status")
        path = self.path(ref)
        if path is not None:
            create_private(path, value if value.endswith("\n") else value + "\n")
        elif ref.startswith("op:"):
            self._op_create(ref, value)
        else:
            raise PreconditionError(f"a secret cannot be kept at {ref}", hint="use file: or op:// in the site")
        with self._lock:
            self._cache.pop(ref, None)

    def _read(self, ref: str) -> str:
        scheme, _, rest = ref.partition(":")
        if scheme == "env":
            value = self._environ.get(rest)
            if not value:
                raise SecretMissing(f"the environment has no {rest}", hint=f"export {rest}=...")
            return value
        if scheme == "file":
            return _read_file(self._dir / rest, ref)
        argv = ["op", "read", "--no-newline", ref] if scheme == "op" else shlex.split(rest)
        return self._run(argv, ref)

    def _run(self, argv: list[str], ref: str, stdin: str | None = None) -> str:
        env = {name: self._environ[name] for name in OP_ENVIRONMENT if name in self._environ}
        try:
            done = subprocess.run(argv, env=env, cwd=self._dir, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True, text=True, timeout=OP_SECONDS, check=False, start_new_session=True)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SecretMissing(f"{argv[0]} did not give {ref}: {error.__class__.__name__}", hint=f"run {argv[0]} by hand") from error
        if done.returncode != 0 or not done.stdout:
            last = done.stderr.strip().splitlines()[-1:] or ["no output"]
            raise SecretMissing(f"{argv[0]} did not give {ref}: {self._masker.mask(last[0])}", hint=f"run {argv[0]} by hand")
        return done.stdout.rstrip("\n")

    def _op_create(self, ref: str, value: str) -> None:
        vault, item, field = ref.removeprefix("op://").split("/", 2)
        template = {"title": item, "category": "SECURE_NOTE", "fields": [{"id": field, "label": field, "type": "CONCEALED", "value": value}]}
        self._run(["op", "item", "create", "--vault", vault, "-"], ref, stdin=json.dumps(template))


def _read_file(path: Path, ref: str) -> str:
    try:
        value = path.read_text()
    except FileNotFoundError as error:
        raise SecretMissing(f"there is no file for {ref}", hint=f"put the secret into {path.name}, mode 0600") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SecretMissing(f"{ref} cannot be read: {error}", hint=f"ls -l {path.name}") from error
    if path.stat().st_mode & 0o077 and os.name == "posix" and "known_hosts" not in path.name:
        raise PreconditionError(f"{ref} can be read by others (mode {path.stat().st_mode & 0o777:04o}, wanted 0600)", hint=f"chmod 600 {path.name}")
    return value.rstrip("\n")
