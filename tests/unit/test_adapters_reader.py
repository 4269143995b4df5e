"""The reader: which questions it does not put to a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from orchestrator.adapters.masking import Masker
from orchestrator.adapters.reader import SiteReader
from orchestrator.adapters.secrets import Secrets
from orchestrator.model.query import Answer, ToolQuery

CONFIG = ".bootstrap/clusters/infra/talosconfig"
SHIM = "#!/bin/sh\necho asked >> asked\necho '{}'\n"


def reader(folder: Path) -> SiteReader:
    (folder / "bin").mkdir()
    (folder / "bin" / "talosctl").write_text(SHIM)
    (folder / "bin" / "talosctl").chmod(0o755)
    environ = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
    nothing = cast("Any", None)
    return SiteReader(folder, clusters={}, gateway=None, repository=nothing, secrets=Secrets(folder, Masker(), environ), masker=Masker(), environ=environ, is_read=lambda argv: True)


def ask(one: SiteReader, *words: str) -> Answer:
    return one.ask(ToolQuery(("talosctl", *words)))


def test_no_node_is_asked_with_a_talosconfig_that_is_not_there(tmp_path: Path) -> None:
    one = reader(tmp_path)
    answer = ask(one, "--talosconfig", CONFIG, "-e", "10.0.0.1", "-n", "10.0.0.1", "get", "disks")
    assert answer.rc == 1 and CONFIG in answer.stderr and answer.unreachable is None
    assert not (tmp_path / "asked").exists()
    assert ask(one, "--talosconfig", CONFIG, "config", "info").rc == 0  # that one says itself what it finds
    assert ask(one, "-n", "10.0.0.1", "get", "disks", "--insecure").rc == 0
    (tmp_path / CONFIG).parent.mkdir(parents=True)
    (tmp_path / CONFIG).touch()
    assert ask(one, "--talosconfig", CONFIG, "-e", "10.0.0.1", "-n", "10.0.0.1", "get", "disks").rc == 0
    assert (tmp_path / "asked").read_text() == "asked\n" * 3
