"""What every command starts from: the folder, how to speak, and the site with everything that is built from it.

The only module that knows every room: it turns a site into phases, targets, readers and (for `up` alone) a writer.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.model.errors import BootstrapError

if TYPE_CHECKING:
    from inventory.model import Site
    from orchestrator.adapters.reader import SiteReader
    from orchestrator.adapters.writer import SiteWriter
    from orchestrator.engine.terms import Subject
    from orchestrator.model.ports import Clock


class NoSite(BootstrapError):
    """There is no site file where the command was started."""

    exit_code = 3


@dataclass(frozen=True)
class Shared:
    """How the command was started and how it speaks."""

    directory: str
    site_file: str | None
    color: bool
    interactive: bool
    quiet: bool
    verbose: bool
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def terminal(self) -> bool:
        """Whether a person watches: live views are for terminals only."""
        return sys.stderr.isatty() and self.environ.get("TERM") != "dumb" and "CI" not in self.environ

    def may_ask(self) -> bool:
        """Whether a question can be asked."""
        return self.interactive and sys.stdin.isatty()

    def data(self, text: str) -> None:
        """Data goes to stdout."""
        click.echo(text, color=self.color and sys.stdout.isatty())

    def say(self, text: str) -> None:
        """All else goes to stderr, and not at all with -q."""
        if not self.quiet:
            click.echo(text, err=True, color=self.color and sys.stderr.isatty())

    def mask(self, text: str) -> str:
        """`text` without the secrets that this command has come to know."""
        room = self.__dict__.get("room")
        return text if room is None else str(room.masker.mask(text))

    @cached_property
    def path(self) -> Path:
        """The site file. Raises NoSite."""
        path = Path(self.directory) / (self.site_file or "site.yaml")
        if not path.is_file():
            raise NoSite(f"there is no site file {path}", hint="bootstrap init, or bootstrap -C DIR ...")
        return path

    @cached_property
    def site(self) -> Site:
        """The validated site. Raises SiteErrors."""
        import inventory

        return inventory.load(self.path)

    @cached_property
    def room(self) -> Room:
        """Everything built from the site."""
        return Room(self)


class Room:
    """One site's phases and the adapters that reach its platform. Made once a command."""

    def __init__(self, shared: Shared) -> None:
        from orchestrator.adapters.masking import Masker
        from orchestrator.adapters.secrets import Secrets

        self.shared = shared
        self.site = shared.site
        self.site_dir = shared.path.parent.resolve()
        self.state_dir = self.site_dir / ".bootstrap"
        self.masker = Masker()
        self.secrets = Secrets(self.site_dir, self.masker, shared.environ)

    @cached_property
    def subject(self) -> Subject:
        """The site's phases and what decides about them from outside."""
        import inventory
        import phases
        from orchestrator.engine.terms import Subject

        return Subject(site=self.site.name, site_digest=inventory.site_digest(self.site), phases=phases.compile(self.site), tools=self.tool_versions, poll=self.site.timing.poll, scale=self.site.timing.scale)

    @cached_property
    def tool_versions(self) -> Mapping[str, str]:
        """What identifies the wrapped programs on PATH: where each really is, with its size and age."""
        import phases

        found = {}
        for program in phases.programs(self.site):
            where = shutil.which(program, path=self.shared.environ.get("PATH", ""))
            if where is not None:
                facts = Path(where).resolve().stat()
                found[program] = f"{Path(where).name}:{facts.st_size}:{facts.st_mtime_ns}"
        return found

    @cached_property
    def parts(self) -> dict[str, Any]:
        """The adapters that reader and writer share."""
        from orchestrator.adapters.git import Repository
        from orchestrator.adapters.junos import Gateway
        from orchestrator.adapters.kube import Cluster, pause_of
        from orchestrator.cli.targets import gateway_target, git_target, kube_target

        pause = pause_of(self.site.timing.poll.total_seconds())
        target = gateway_target(self.site)
        return {
            "clusters": {one.name: Cluster(kube_target(self.state_dir, one), pause=pause) for one in self.site.clusters},
            "gateway": None if target is None else Gateway(target, self.secrets, self.masker, pause=pause),
            "repository": Repository(git_target(self.site), self.state_dir, self.secrets, self.masker, self.shared.environ),
            "secrets": self.secrets,
            "masker": self.masker,
            "environ": self.shared.environ,
        }

    @cached_property
    def reader(self) -> SiteReader:
        """Answers questions; changes nothing."""
        from orchestrator.adapters.reader import SiteReader
        from orchestrator.tools.reads import is_read

        return SiteReader(self.site_dir, is_read=is_read, **self.parts)

    def writer(self) -> SiteWriter:
        """The one way to change anything. Called by `up` alone."""
        from orchestrator.adapters.writer import SiteWriter
        from orchestrator.tools import classify

        timing = self.site.timing
        return SiteWriter(self.site_dir, self.state_dir / "runs", reader=self.reader, classify=classify, poll=timing.poll.total_seconds(), scale=timing.scale, **self.parts)

    @cached_property
    def clock(self) -> Clock:
        """Wall time."""
        from orchestrator.adapters.clock import SystemClock

        return SystemClock()

    def records(self) -> Sequence[Mapping[str, Any]]:
        """The journal's records, oldest first; none where there is no journal yet. Writes nothing."""
        from orchestrator.adapters.journal import records_of

        return records_of(self.state_dir / "journal")

    def know_secrets(self) -> None:
        """Register every secret of the site that is there, so that it is masked wherever it turns up."""
        for ref in secret_refs(self.site):
            try:
                self.secrets.resolve(ref)
            except BootstrapError:
                continue  # not there yet, or not readable: the step that needs it says so


def secret_refs(site: Site) -> list[str]:
    """References that resolve without starting a program."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if hasattr(value, "scheme") and hasattr(value, "rest"):
            if value.scheme in ("env", "file"):
                found.append(str(value))
        elif isinstance(value, tuple):
            for one in value:
                walk(one)
        elif hasattr(type(value), "model_fields"):
            for name in type(value).model_fields:
                walk(getattr(value, name))

    walk(site)
    return found


Render = Callable[[Any], str]


def dump(form: str, document: Any) -> str:
    """A document as JSON or YAML; keys keep their order."""
    import json

    if form == "yaml":
        import yaml

        return str(yaml.safe_dump(json.loads(json.dumps(document, default=str)), sort_keys=False, width=120)).rstrip()
    return json.dumps(document, indent=2, default=str)
