"""The repository adapter against a real bare repository on disk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.adapters.git import Repository
from orchestrator.adapters.masking import Masker
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.targets import GitTarget
from orchestrator.model.action import GitCommit
from orchestrator.model.query import GitRead

ENV = {"PATH": os.environ["PATH"]}
GIT_ENV = ENV | {"GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": "x@y", "GIT_COMMITTER_NAME": "x", "GIT_COMMITTER_EMAIL": "x@y", "GIT_CONFIG_GLOBAL": os.devnull}


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True, env=GIT_ENV)
    return path


def repository(tmp_path: Path, remote: Path, name: str = "state") -> Repository:
    masker = Masker()
    target = GitTarget(str(remote), "main", "git", "bootstrap", "b@localhost")
    return Repository(target, tmp_path / name, Secrets(tmp_path, masker, {}), masker, ENV)


def commit(repo: Repository, **files: str | None) -> str:
    outcome = repo.commit(GitCommit("Say why", files), lambda: None)
    assert outcome.ok, outcome.text
    return outcome.text


def push_by_hand(tmp_path: Path, remote: Path, path: str, text: str) -> None:
    work = tmp_path / f"work-{path}"
    subprocess.run(["git", "clone", "-q", str(remote), str(work)], check=True, env=GIT_ENV)
    (work / path).write_text(text)
    for args in (["add", "."], ["commit", "-q", "-m", "by hand"], ["push", "-q"]):
        subprocess.run(["git", *args], cwd=work, check=True, env=GIT_ENV)


def test_an_empty_remote_has_no_head(tmp_path: Path, remote: Path) -> None:
    answer = repository(tmp_path, remote).read(GitRead())
    assert answer.body == {"head": None, "files": {}, "rendered": {}}


def test_a_commit_is_read_back_with_what_we_rendered(tmp_path: Path, remote: Path) -> None:
    repo = repository(tmp_path, remote)
    commit(repo, **{"a.yaml": "one\n", "b.yaml": "two\n"})
    body = repo.read(GitRead(("a",))).body
    assert body["files"] == {"a.yaml": "one\n"} and set(body["rendered"]) == {"a.yaml", "b.yaml"}


def test_the_same_again_makes_no_commit(tmp_path: Path, remote: Path) -> None:
    repo = repository(tmp_path, remote)
    commit(repo, **{"a.yaml": "one\n"})
    head = repo.read(GitRead()).body["head"]
    assert commit(repo, **{"a.yaml": "one\n"}) == "nothing to commit"
    assert repo.read(GitRead()).body["head"] == head


def test_what_somebody_else_changed_is_kept(tmp_path: Path, remote: Path) -> None:
    repo = repository(tmp_path, remote)
    commit(repo, **{"a.yaml": "one\n", "b.yaml": "two\n"})
    push_by_hand(tmp_path, remote, "a.yaml", "theirs\n")
    said = commit(repo, **{"a.yaml": "new\n", "b.yaml": "newer\n"})
    assert "kept as somebody else left them: a.yaml" in said
    assert repo.read(GitRead()).body["files"] == {"a.yaml": "theirs\n", "b.yaml": "newer\n"}


def test_a_file_of_ours_can_be_removed(tmp_path: Path, remote: Path) -> None:
    repo = repository(tmp_path, remote)
    commit(repo, **{"a.yaml": "one\n", "b.yaml": "two\n"})
    commit(repo, **{"a.yaml": None})
    assert set(repo.read(GitRead()).body["files"]) == {"b.yaml"}


def test_a_lost_race_is_built_anew(tmp_path: Path, remote: Path) -> None:
    repo = repository(tmp_path, remote)
    commit(repo, **{"a.yaml": "one\n"})
    raced: list[int] = []

    def race() -> None:
        if not raced:
            raced.append(1)
            push_by_hand(tmp_path, remote, "c.yaml", "in between\n")

    outcome = repo.commit(GitCommit("Say why", {"b.yaml": "two\n"}), race)
    assert outcome.ok
    assert set(repo.read(GitRead()).body["files"]) == {"a.yaml", "b.yaml", "c.yaml"}


def test_a_remote_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    answer = repository(tmp_path, tmp_path / "nowhere.git").read(GitRead())
    assert answer.unreachable is not None and "git" in answer.unreachable
