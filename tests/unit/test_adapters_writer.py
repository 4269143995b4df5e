"""What the writer says of an action whose predecessor left nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from orchestrator.adapters.masking import Masker
from orchestrator.adapters.writer import SiteWriter
from orchestrator.model.action import Kubeconfig
from orchestrator.model.ports import Outcome, Place

ACTION = Kubeconfig("admin.kubeconfig", "kubeconfig", "infra", server="https://127.0.0.1:6443")
CONFIG = {"contexts": [{"name": "admin@infra"}], "clusters": [{"name": "infra", "cluster": {"server": "https://x"}}], "current-context": "admin@infra"}


def do(folder: Path) -> Outcome:
    unused: Any = cast("Any", None)
    writer = SiteWriter(folder, folder / "runs", reader=unused, clusters={}, gateway=None, repository=unused, secrets=unused, masker=Masker(), environ={}, classify=unused, poll=1.0, scale=1.0)
    return writer.do(ACTION, Place("run", "talos@infra/kubeconfig", 1, 1), lambda: False, lambda pid: None)


def test_a_kubeconfig_gets_its_context_and_its_server(tmp_path: Path) -> None:
    (tmp_path / "admin.kubeconfig").write_text(yaml.safe_dump(CONFIG))
    assert do(tmp_path).ok
    made = yaml.safe_load((tmp_path / "kubeconfig").read_text())
    assert made["current-context"] == made["contexts"][0]["name"] == "infra"
    assert made["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"


@pytest.mark.parametrize("content", [None, b"", b"clusters: 3", b"\xff\x00", b"{", b"contexts: [1]"])
def test_a_kubeconfig_that_is_not_there_is_a_failure_and_no_crash(tmp_path: Path, content: bytes | None) -> None:
    """Permanent: the attempt ends, and the next one has talosctl write it again."""
    if content is not None:
        (tmp_path / "admin.kubeconfig").write_bytes(content)
    outcome = do(tmp_path)
    assert not outcome.ok and outcome.permanent and "admin.kubeconfig" in outcome.text
    assert not (tmp_path / "kubeconfig").exists()
