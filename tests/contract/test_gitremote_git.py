"""The Git remote against the real git, over HTTP and SSH, and the product's own adapter."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import paramiko
import pytest

from lab.clock import Clock
from lab.faults import Effect, Faults, Rule
from lab.gitremote import DeniedError, GitRemote, Push, Token
from lab.gitstore import GitStore, MovedError
from lab.record import Record
from orchestrator.adapters.git import Repository
from orchestrator.adapters.masking import Masker
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.targets import GitTarget
from orchestrator.model.action import GitCommit
from orchestrator.model.query import GitRead, Secret

AUTHOR = "Flux <flux@example.org>"
TOKEN, READER, OLD = "ghp_writer", "ghp_reader", "ghp_old"


def remote(tmp_path: Path, clock: Clock, **options: Any) -> GitRemote:
    tokens = {
        TOKEN: Token("example-bot", expires=clock.epoch + timedelta(days=300)),
        READER: Token("reader", ("read:org",), ("read",)),
        OLD: Token("old", expires=clock.epoch - timedelta(days=1)),
    }
    folder = tmp_path / "world"
    folder.mkdir(exist_ok=True)
    return GitRemote(clock, random.Random(1), Record(clock), folder, "example-org", "k8s-gitops", tokens=tokens, **options)


def play(tmp_path: Path, client: Callable[[GitRemote], Any], **options: Any) -> GitRemote:
    """Run a remote on a loop while `client` uses it from a thread."""

    async def whole() -> GitRemote:
        server = remote(tmp_path, Clock(1000.0), **({"initial": {"README.md": b"# Start\n"}} | options))
        await server.start()
        try:
            await asyncio.to_thread(client, server)
        finally:
            await server.stop()
        return server

    return asyncio.run(whole())


def git(*args: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    plain = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "HOME": "/nonexistent"}
    who = {f"GIT_{role}_{what}": "t@t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    argv = ["git", "-c", "init.defaultBranch=main", *args]
    return subprocess.run(argv, cwd=cwd, env=plain | who | (env or {}), capture_output=True, text=True, timeout=30, check=False)


def as_user(server: GitRemote, token: str) -> str:
    return server.url.replace("http://", f"http://git:{token}@")


def clone(server: GitRemote, into: Path, token: str = TOKEN) -> Path:
    done = git("clone", "-q", as_user(server, token), str(into))
    assert done.returncode == 0, done.stderr
    return into


def push(work: Path, path: str, text: str) -> subprocess.CompletedProcess[str]:
    (work / path).write_text(text)
    git("add", ".", cwd=work)
    git("commit", "-q", "-m", f"Write {path}", cwd=work)
    return git("push", "-q", "origin", "HEAD:main", cwd=work)


def test_a_clone_a_push_and_what_the_world_hears_of_it(tmp_path: Path) -> None:
    heard: list[Push] = []

    def client(server: GitRemote) -> None:
        server.on_push.append(heard.append)
        work = clone(server, tmp_path / "work")
        assert (work / "README.md").read_text() == "# Start\n"
        assert push(work, "a.yaml", "a: 1\n").returncode == 0
        assert server.tree()["a.yaml"] == b"a: 1\n"
        assert git("rev-parse", "HEAD", cwd=work).stdout.strip() == server.head()

    server = play(tmp_path, client)
    assert [(p.branch, p.who) for p in heard] == [("main", "example-bot")] and heard[0].after == server.head()
    kinds = {(e.what, e.mutates) for e in server.record.entries()}
    assert kinds == {("fetch", False), ("push", False), ("push", True)}
    assert len(server.record.writes()) == 1 and server.record.writes()[0].ok


def test_large_pushes_stay_readable(tmp_path: Path) -> None:
    def client(server: GitRemote) -> None:
        work = clone(server, tmp_path / "work")
        for number in range(150):
            (work / f"file-{number}.yaml").write_text(f"number: {number}\n" * 50)
        assert push(work, "last.yaml", "x: 1\n").returncode == 0
        assert len(server.tree()) == 152 and server.tree()["file-149.yaml"] == b"number: 149\n" * 50

    play(tmp_path, client)


@pytest.mark.parametrize(("token", "text"), [("nope", "Authentication failed"), (OLD, "Authentication failed"), ("", "Authentication failed|could not read")])
def test_a_bad_token_reads_nothing(tmp_path: Path, token: str, text: str) -> None:
    def client(server: GitRemote) -> None:
        done = git("ls-remote", as_user(server, token) if token else server.url)
        assert done.returncode == 128 and any(part in done.stderr for part in text.split("|"))

    play(tmp_path, client)


def test_a_reader_may_not_push_and_history_is_not_rewritten(tmp_path: Path) -> None:
    def client(server: GitRemote) -> None:
        reading = clone(server, tmp_path / "reading", READER)
        assert "403" in push(reading, "a.yaml", "a").stderr
        work = clone(server, tmp_path / "work")
        git("commit", "-q", "--amend", "-m", "Rewritten", cwd=work)
        forced = git("push", "-q", "--force", "origin", "HEAD:main", cwd=work)
        assert forced.returncode == 1 and "non-fast-forward" in forced.stderr

    play(tmp_path, client)


def test_a_repository_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    def client(server: GitRemote) -> None:
        assert "not found" in git("ls-remote", as_user(server, TOKEN)).stderr
        server.create()
        empty = git("ls-remote", as_user(server, TOKEN))
        assert (empty.returncode, empty.stdout) == (0, "")
        work = clone(server, tmp_path / "work")
        assert push(work, "first.yaml", "x").returncode == 0

    play(tmp_path, client, initial=None)


def test_a_race_lands_first_and_the_loser_is_told(tmp_path: Path) -> None:
    faults = Faults(Clock(), random.Random(1), [Rule("race", Effect(race=True), actor="git", verb="push", count=1)])

    def client(server: GitRemote) -> None:
        work = clone(server, tmp_path / "work")
        lost = push(work, "a.yaml", "a")
        assert lost.returncode == 1 and ("cannot lock ref" in lost.stderr or "fetch first" in lost.stderr)
        assert "NOTES.md" in server.tree() and "a.yaml" not in server.tree()
        git("pull", "-q", "--rebase", "origin", "main", cwd=work)
        assert git("push", "-q", "origin", "HEAD:main", cwd=work).returncode == 0
        assert {"NOTES.md", "a.yaml"} <= set(server.tree())

    play(tmp_path, client, faults=faults)


def test_a_cut_push_may_have_landed(tmp_path: Path) -> None:
    faults = Faults(Clock(), random.Random(1), [Rule("cut", Effect(cut=True), actor="git", verb="push", count=1)])

    def client(server: GitRemote) -> None:
        work = clone(server, tmp_path / "work")
        assert push(work, "a.yaml", "a").returncode != 0
        assert "a.yaml" in server.tree()

    play(tmp_path, client, faults=faults)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no OpenSSH client on this machine")
def test_ssh_serves_keys_and_tells_read_only_ones_apart(tmp_path: Path) -> None:
    key = paramiko.ECDSAKey.generate()
    key.write_private_key_file(str(tmp_path / "key"))

    def client(server: GitRemote) -> None:
        (tmp_path / "hosts").write_text(server.known_hosts())
        ssh = f"ssh -F /dev/null -i {tmp_path / 'key'} -o IdentitiesOnly=yes -o UserKnownHostsFile={tmp_path / 'hosts'} -o StrictHostKeyChecking=yes -o BatchMode=yes"
        env = {"GIT_SSH_COMMAND": ssh}
        assert "Permission denied" in git("ls-remote", server.ssh_url, env=env).stderr
        read_only = server.add_deploy_key("ro", f"{key.get_name()} {key.get_base64()} comment", read_only=True)
        done = git("clone", "-q", server.ssh_url, str(tmp_path / "work"), env=env)
        assert done.returncode == 0, done.stderr
        (tmp_path / "work" / "a.yaml").write_text("a")
        git("add", ".", cwd=tmp_path / "work")
        git("commit", "-q", "-m", "a", cwd=tmp_path / "work")
        refused = git("push", "-q", "origin", "HEAD:main", cwd=tmp_path / "work", env=env)
        assert refused.returncode == 128 and "read only" in refused.stderr
        server.remove_deploy_key(read_only.id)
        server.add_deploy_key("rw", f"{key.get_name()} {key.get_base64()}", read_only=False)
        assert git("push", "-q", "origin", "HEAD:main", cwd=tmp_path / "work", env=env).returncode == 0
        assert "a.yaml" in server.tree()

    play(tmp_path, client)


def call(server: GitRemote, method: str, path: str, body: Any = None, token: str = TOKEN) -> tuple[int, Any, dict[str, str]]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.web.url + path, data, {"Authorization": f"Bearer {token}"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            text = reply.read()
            return reply.status, json.loads(text) if text else None, dict(reply.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null"), dict(error.headers)


def test_the_forge_tells_of_the_token_and_the_repository(tmp_path: Path) -> None:
    ours = "/api/v3/repos/example-org/k8s-gitops"

    def client(server: GitRemote) -> None:
        assert call(server, "GET", ours)[0] == 404
        made = call(server, "POST", "/api/v3/orgs/example-org/repos", {"name": "k8s-gitops", "private": True})
        assert made[0] == 201 and made[1]["private"]
        status, found, headers = call(server, "GET", ours)
        assert status == 200 and found["permissions"]["admin"] and found["empty"]
        assert headers["X-OAuth-Scopes"] == "repo" and headers["github-authentication-token-expiration"].endswith(" UTC")
        assert call(server, "GET", ours, token="nope")[0] == 401
        assert call(server, "GET", ours, token=READER)[1]["permissions"] == {"admin": False, "maintain": False, "push": False, "triage": False, "pull": True}
        assert call(server, "POST", "/api/v3/orgs/example-org/repos", {"name": "k8s-gitops"})[0] == 422
        assert call(server, "GET", "/api/v1/version")[1] == {"version": "1.24.6"}

    play(tmp_path, client, initial=None)


def test_deploy_keys_are_made_listed_and_removed(tmp_path: Path) -> None:
    keys = "/api/v3/repos/example-org/k8s-gitops/keys"
    key = paramiko.ECDSAKey.generate()
    public = f"{key.get_name()} {key.get_base64()}"

    def client(server: GitRemote) -> None:
        status, made, _ = call(server, "POST", keys, {"title": "flux", "key": public, "read_only": True})
        assert status == 201 and made["read_only"]
        assert call(server, "POST", keys, {"title": "again", "key": public})[0] == 422
        assert call(server, "POST", keys, {"title": "bad", "key": "nonsense"})[0] == 422
        assert [k["title"] for k in call(server, "GET", keys)[1]] == ["flux"]
        assert call(server, "GET", keys, token=READER)[0] == 404
        assert call(server, "DELETE", f"{keys}/{made['id']}")[0] == 204 and server.deploy_keys == []

    server = play(tmp_path, client)
    assert [e.what for e in server.record.writes()] == ["git POST", "git DELETE"]


def test_the_products_adapter_reads_and_commits(tmp_path: Path) -> None:
    faults = Faults(Clock(), random.Random(1), [Rule("race", Effect(race=True), actor="git", verb="push", count=1)])

    def client(server: GitRemote) -> None:
        masker = Masker()
        target = GitTarget(server.url, "main", "git", "bootstrap", "b@localhost", token=Secret("env:TOKEN"))
        product = Repository(target, tmp_path / "state", Secrets(tmp_path, masker, {"TOKEN": TOKEN}), masker, {"PATH": os.environ["PATH"]})
        assert product.read(GitRead(("README",))).body["files"] == {"README.md": "# Start\n"}
        outcome = product.commit(GitCommit("Say why", {"clusters/a.yaml": "a: 1\n"}), lambda: None)
        assert outcome.ok, outcome.text
        assert server.tree(path="clusters") == {"clusters/a.yaml": b"a: 1\n"} and "NOTES.md" in server.tree()

    play(tmp_path, client, faults=faults)


def test_commits_of_the_world_are_what_git_reads(tmp_path: Path) -> None:
    async def whole() -> None:
        server = remote(tmp_path, Clock(), initial={})
        first = server.commit("main", {"b/z.yaml": b"1", "b.yaml": b"2", "a/x": b"3"}, "One", AUTHOR)
        second = server.commit("main", {"b/z.yaml": None, "c": b"4"}, "Two", AUTHOR, expect=first)
        assert server.commit("main", {"c": b"4"}, "Nothing new", AUTHOR) == second
        with pytest.raises(MovedError):
            server.commit("main", {"d": b"5"}, "Late", AUTHOR, expect=first)
        assert server.tree(second) == {"b.yaml": b"2", "a/x": b"3", "c": b"4"} and server.tree(first, "b") == {"b/z.yaml": b"1"}
        assert [c.message for c in server.store.log()] == ["Two\n", "One\n"] and server.store.contains("main", first)
        assert git("fsck", "--strict", cwd=server.store.path).stderr == ""
        assert git("log", "--format=%s %an", cwd=server.store.path).stdout == "Two Flux\nOne Flux\n"

    asyncio.run(whole())


def test_insiders_need_a_credential_too(tmp_path: Path) -> None:
    async def whole() -> None:
        server = remote(tmp_path, Clock(), initial={"a": b"1"})
        head, files = await server.fetch(token=READER)
        assert files == {"a": b"1"}
        with pytest.raises(DeniedError):
            await server.push("main", {"b": b"2"}, "x", AUTHOR, expect=head, token=READER)
        assert await server.push("main", {"b": b"2"}, "x", AUTHOR, expect=head, token=TOKEN) == server.head()
        with pytest.raises(DeniedError):
            await server.fetch(token=OLD)

    asyncio.run(whole())


def test_a_snapshot_goes_back_and_a_dump_hides_ciphertext(tmp_path: Path) -> None:
    async def whole() -> None:
        server = remote(tmp_path, Clock(), initial={"a": b"1"})
        state = json.loads(json.dumps(server.snapshot()))
        sealed = b"data: ENC[AES256_GCM,data:xyz=,iv:abc,tag:q==,type:str]\nlastmodified: \"2026-01-05T08:00:00Z\"\n"
        server.commit("main", {"a": b"2", "s.yaml": sealed}, "More", AUTHOR)
        assert server.dump()["tree"] == {"a": ["2"], "s.yaml": ["data: <enc>", "lastmodified: <time>"]}
        server.restore(state)
        assert server.tree() == {"a": b"1"} and server.snapshot()["store"]["refs"] == state["store"]["refs"]
        other = GitStore(tmp_path / "other.git")
        other.restore(state["store"])
        assert other.files() == {"a": b"1"}

    asyncio.run(whole())


def test_a_snapshot_of_no_repository_takes_it_away(tmp_path: Path) -> None:
    async def whole() -> None:
        server = remote(tmp_path, Clock())
        state = json.loads(json.dumps(server.snapshot()))
        server.create({"a": b"1"})
        server.restore(state)
        assert not server.exists and server.dump()["tree"] == {}

    asyncio.run(whole())
