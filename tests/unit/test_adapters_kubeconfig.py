"""Kubeconfigs as connections: what is read, what is refused, and that no key is left behind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.kube.pki import ClusterCA
from orchestrator.adapters import kubeconfig
from orchestrator.adapters.kubeconfig import BadKubeconfig, connect

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document() -> Any:
    return yaml.safe_load(ClusterCA.generate().kubeconfig("https://127.0.0.1:6443/", "admin", ("system:masters",), "infra"))


def written(folder: Path, document: Any, **user: Any) -> Path:
    path = folder / "kubeconfig"
    if user:
        document = {**document, "users": [{"name": document["users"][0]["name"], "user": user}]}
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_client_certificate_is_taken_from_the_file_and_left_nowhere(tmp_path: Path, document: Any) -> None:
    """The whole of the temporary folder is looked at, from a process that ends as if it was killed."""
    path, left = written(tmp_path, document), tmp_path / "left"
    left.mkdir()
    script = f"import os; from pathlib import Path; from orchestrator.adapters.kubeconfig import connect; c = connect(Path({str(path)!r}), 'infra'); print(c.host, len(c.pool.connection_pool_kw['ssl_context'].get_ca_certs())); os.sys.stdout.flush(); os._exit(9)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={"TMPDIR": str(left), "PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    assert done.returncode == 9 and done.stdout == "https://127.0.0.1:6443 1\n", done.stderr
    assert list(left.iterdir()) == []


def test_without_files_in_memory_the_file_is_private_and_goes(tmp_path: Path, document: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "left"))
    (tmp_path / "left").mkdir()
    with kubeconfig._as_file("secret") as name:
        assert Path(name).read_text() == "secret" and stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    assert connect(written(tmp_path, document), "infra").headers() == {}
    assert list((tmp_path / "left").iterdir()) == []


def test_tokens_are_headers_and_a_token_file_is_read_again(tmp_path: Path, document: Any) -> None:
    assert connect(written(tmp_path, document, token="abc"), "infra").headers() == {"authorization": "Bearer abc"}
    (tmp_path / "token").write_text("one\n")
    api = connect(written(tmp_path, document, tokenFile="token"), "infra")
    assert api.headers() == {"authorization": "Bearer one"}
    (tmp_path / "token").write_text("two\n")
    assert api.headers() == {"authorization": "Bearer two"}


def test_a_plugin_is_the_official_clients(tmp_path: Path, document: Any) -> None:
    answer = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from-a-plugin"}}'
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "echo", "args": [answer], "interactiveMode": "Never"}
    assert connect(written(tmp_path, document, exec=plugin), "infra").headers() == {"authorization": "Bearer from-a-plugin"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"contexts": []}, "no context 'infra'"),
        ({"clusters": []}, "no cluster"),
        ({"users": None}, "no user"),
        ({"clusters": [{"name": "infra", "cluster": {"server": "https://x", "certificate-authority-data": "?"}}]}, "certificate-authority-data is not PEM"),
        ({"clusters": [{"name": "infra", "cluster": {"server": "https://x", "certificate-authority-data": "eHh4"}}]}, "kubeconfig"),
        ({"contexts": [3]}, "TypeError"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path: Path, document: Any, change: dict[str, Any], says: str) -> None:
    path = written(tmp_path, {**document, **change})
    with pytest.raises(BadKubeconfig, match=says):
        connect(path, "infra")


@pytest.mark.parametrize("text", ["", "{", "- 1", "\x00", "contexts: {a: b}"])
def test_what_is_no_kubeconfig_says_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(BadKubeconfig):
        connect(path, "infra")
