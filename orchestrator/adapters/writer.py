"""The writer: the only way by which the product changes anything. Built by `up` alone, never by a plan."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.adapters import http, process
from orchestrator.adapters.crypto import approvable, make_ca, make_password, make_ssh_key
from orchestrator.adapters.files import make_private, private_dir, write_private
from orchestrator.adapters.git import Repository
from orchestrator.adapters.junos import Gateway
from orchestrator.adapters.kube import Cluster, KubeRefused, Transient, encode_secret
from orchestrator.adapters.masking import Masker, inert
from orchestrator.adapters.reader import SiteReader, values
from orchestrator.adapters.secrets import Secrets
from orchestrator.model.action import (
    Action,
    Approval,
    ApproveCsrs,
    Await,
    Command,
    DeleteSelected,
    GitCommit,
    HttpCall,
    JunosChange,
    Kubeconfig,
    MakeSecret,
    Mark,
    Objects,
    WriteFile,
)
from orchestrator.model.check import Check, verdict
from orchestrator.model.errors import BootstrapError
from orchestrator.model.ports import Outcome, Place
from orchestrator.model.query import KubeList
from orchestrator.model.verdict import State

MARKS = "bootstrap-system"
Classify = Callable[[tuple[str, ...], int, str, str], str]


class NothingLeft(Exception):
    """A file that an earlier action should have written is not there, or is not what it should be: that action is to be done again."""


def _left(path: Path) -> str:
    """What an earlier action wrote. Raises NothingLeft."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NothingLeft(f"{path.name} was to be written and cannot be read: {getattr(error, 'strerror', None) or error}") from error


class SiteWriter:
    """Carries out the actions of one site. What a child prints goes to `runs/<id>/`, masked."""

    def __init__(
        self,
        site_dir: Path,
        runs_dir: Path,
        *,
        reader: SiteReader,
        clusters: Mapping[str, Cluster],
        gateway: Gateway | None,
        repository: Repository,
        secrets: Secrets,
        masker: Masker,
        environ: Mapping[str, str],
        classify: Classify,
        poll: float,
        scale: float,
    ) -> None:
        self._dir = site_dir
        self._runs = runs_dir
        self._reader = reader
        self._clusters = clusters
        self._gateway = gateway
        self._repository = repository
        self._secrets = secrets
        self._masker = masker
        self._environ = environ
        self._classify = classify
        self._poll = poll
        self._scale = scale

    def do(self, action: Action, place: Place, stopped: Callable[[], bool], spawned: Callable[[int], None]) -> Outcome:
        """Do one action once. Raises BootstrapError only when it is refused before anything was changed."""
        started = time.monotonic()
        try:
            match action:
                case Command():
                    return self._command(action, place, stopped, spawned)
                case Objects():
                    text = self._objects(action)
                case DeleteSelected():
                    self._clusters[action.cluster].delete_selected(action, action.within.total_seconds() * self._scale)
                    text = f"deleted what is {action.kind} with {action.labels}"
                case GitCommit():
                    return self._repository.commit(action, lambda: None)
                case JunosChange():
                    return self._junos(action, place, stopped)
                case HttpCall():
                    return self._http(action)
                case WriteFile():
                    write_private(self._dir / action.path, action.text)
                    text = f"wrote {action.path}"
                case MakeSecret():
                    text = self._make_secret(action)
                case Kubeconfig():
                    text = self._kubeconfig(action)
                case ApproveCsrs():
                    text = self._approve_csrs(action)
                case Mark():
                    text = self._mark(action, place)
                case Await() | Approval():
                    raise AssertionError(f"{type(action).__name__} is the engine's, not the writer's")
        except NothingLeft as error:
            return Outcome(False, 1, self._masker.mask(str(error)), seconds=time.monotonic() - started, permanent=True)
        except KubeRefused as error:
            return Outcome(False, 1, self._masker.mask(str(error)), seconds=time.monotonic() - started, permanent=True)
        except Transient as error:
            return Outcome(False, 1, self._masker.mask(str(error)), seconds=time.monotonic() - started)
        return Outcome(True, 0, text, seconds=time.monotonic() - started)

    def _command(self, action: Command, place: Place, stopped: Callable[[], bool], spawned: Callable[[int], None]) -> Outcome:
        for path in action.private:
            private_dir((self._dir / path).parent)
        for path in action.evidence:
            (self._dir / path).unlink(missing_ok=True)  # evidence of an earlier try is not evidence of this one
            private_dir((self._dir / path).parent)
        env = process.environment(self._environ, values(action.env, self._secrets)) | {"BOOTSTRAP_ACTION": place.marker}
        stem = self._stem(place)
        out, err = Path(f"{stem}.stdout"), Path(f"{stem}.stderr")
        stdin = None if action.stdin is None else self._secrets.resolve(action.stdin.ref)
        try:
            ended = process.run(action.argv, env=env, cwd=self._dir, within=action.within.total_seconds() * self._scale, masker=self._masker, stdout=None if action.secret_output else out, stderr=err, stdin=stdin, stopped=stopped, spawned=spawned)
        except FileNotFoundError as error:
            raise BootstrapError(f"{action.tool} is not on PATH", hint="bootstrap doctor") from error
        finally:
            for path in action.private:
                make_private(self._dir / path)
        kept = [*self._keep(action.evidence, stem), *(str(path.relative_to(self._runs.parent)) for path in (out, err) if path.exists() and path.stat().st_size)]
        permanent = ended.rc != 0 and not ended.timed_out and self._classify(action.argv, ended.rc, ended.stdout, ended.tail) == "permanent"
        return Outcome(ended.rc == 0 and not ended.timed_out and not ended.stopped, ended.rc, inert(ended.tail), tuple(kept), ended.seconds, ended.timed_out, permanent)

    def _keep(self, evidence: tuple[str, ...], stem: Path) -> list[str]:
        kept = []
        for path in evidence:
            source = self._dir / path
            if source.exists():
                copy_to = stem.with_name(f"{stem.name}.{source.name}")
                write_private(copy_to, self._masker.mask(source.read_text(errors="backslashreplace")))
                kept.append(str(copy_to.relative_to(self._runs.parent)))
        return kept

    def _stem(self, place: Place) -> Path:
        folder = self._runs / place.run
        private_dir(folder)
        return folder / f"{place.step.replace('/', '__')}__{place.attempt:02d}-{place.index:02d}"

    def _objects(self, action: Objects) -> str:
        cluster = self._clusters[action.cluster]
        within = action.within.total_seconds() * self._scale
        if action.delete:
            for manifest in reversed(action.objects):
                cluster.delete(manifest, within)
            return f"deleted {len(action.objects)} objects"
        filled: list[dict[str, Any]] = [copy.deepcopy(dict(manifest)) for manifest in action.objects]
        for index, place in action.secrets:
            value = self._secrets.field(place.secret.ref, place.field) if place.field else self._secrets.resolve(place.secret.ref)
            encode_secret(filled[index], place.path, value)
        for manifest in filled:
            cluster.apply(manifest, action.field_manager, within)
        return f"applied {len(filled)} objects"

    def _junos(self, action: JunosChange, place: Place, stopped: Callable[[], bool]) -> Outcome:
        if self._gateway is None:
            raise BootstrapError("the site has no gateway")
        action = replace(action, lock_within=action.lock_within * self._scale)
        comment = "bootstrap " + hashlib.sha256("\n".join(action.lines).encode()).hexdigest()[:16]
        deadline = time.monotonic() + action.within.total_seconds() * self._scale
        log = self._stem(place)
        log = log.with_name(f"{log.name}.session")
        with log.open("a", encoding="utf-8") as handle:
            log.chmod(0o600)

            def write(line: str) -> None:
                handle.write(self._masker.mask(line) + "\n")
                handle.flush()

            outcome = self._gateway.change(action, comment=comment, log=write, verified=lambda: self._wait(action.verify, stopped), deadline=deadline)
        return Outcome(outcome.ok, outcome.rc, self._masker.mask(outcome.text), (str(log.relative_to(self._runs.parent)),), outcome.seconds, outcome.timed_out, outcome.permanent)

    def _wait(self, check: Check | None, stopped: Callable[[], bool]) -> tuple[bool, str]:
        """Wait for a check inside of an action. -> (met, why not)"""
        if check is None:
            return True, ""
        deadline = time.monotonic() + check.within.total_seconds() * self._scale
        while True:
            found = verdict(check, tuple(self._reader.ask(query) for query in check.ask))
            if found.state is State.MET:
                return True, ""
            if stopped() or time.monotonic() >= deadline or found.permanent:
                return False, found.reason
            time.sleep(min(self._poll, max(0.0, deadline - time.monotonic())))

    def _http(self, action: HttpCall) -> Outcome:
        answer = http.request(action.method, action.url, headers=values(action.headers, self._secrets), body=action.body, within=action.within.total_seconds())
        if answer.unreachable is not None:
            return Outcome(False, 1, answer.unreachable)
        fine = answer.status is not None and answer.status < 300
        return Outcome(fine, 0 if fine else 1, self._masker.mask(f"HTTP {answer.status}: {answer.stdout[:200].strip()}"), permanent=answer.status in (400, 401, 403, 404, 422))

    def _make_secret(self, action: MakeSecret) -> str:
        match action.recipe:
            case "password":
                value = make_password()
            case "ca":
                value = make_ca(action.subject)
            case "ssh-key":
                value = make_ssh_key()
            case "file":
                value = _left(self._dir / action.path)
        self._secrets.keep(action.secret.ref, value)
        if action.recipe == "file":
            (self._dir / action.path).unlink()
        return f"kept a new secret at {action.secret.ref}"

    def _kubeconfig(self, action: Kubeconfig) -> str:
        import yaml

        source = self._dir / action.source
        try:
            config = yaml.safe_load(_left(source))
            for entry in config["contexts"]:
                entry["name"] = action.context
            config["current-context"] = action.context
            for entry in config["clusters"]:
                if action.server:
                    entry["cluster"]["server"] = action.server
                if action.tls_server_name:
                    entry["cluster"]["tls-server-name"] = action.tls_server_name
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise NothingLeft(f"{action.source} is no kubeconfig: {type(error).__name__}") from error
        write_private(self._dir / action.path, yaml.safe_dump(config, sort_keys=False))
        if source != self._dir / action.path:
            source.unlink()
        return f"wrote {action.path}, context {action.context}"

    def _approve_csrs(self, action: ApproveCsrs) -> str:
        cluster = self._clusters[action.cluster]
        answer = cluster.ask(KubeList(action.cluster, "certificates.k8s.io/v1", "CertificateSigningRequest"))
        approved = []
        for request in (answer.body or {}).get("items", []) if answer.status == 200 else []:
            if approvable(request, action.nodes):
                cluster.approve(request["metadata"]["name"], action.within.total_seconds() * self._scale)
                approved.append(request["metadata"]["name"])
        return f"approved {len(approved)} certificate signing requests"

    def _mark(self, action: Mark, place: Place) -> str:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        data = {"step": place.step, "digest": action.digest, "result": "passed", "at": now}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": action.name, "namespace": MARKS}, "data": data}
        self._clusters[action.cluster].apply(manifest, "bootstrap", 60.0 * self._scale)
        return f"marked {action.name} as passed"

    def close(self) -> None:
        """End shared connections."""
        with suppress(Exception):
            if self._gateway is not None:
                self._gateway.close()
