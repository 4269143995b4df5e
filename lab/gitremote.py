"""The Git remote on loopback: the smart HTTP protocol, Git over SSH, and as much of a forge's API as preflight and Flux ask for.

Objects and refs are real (`lab.gitstore`); the real git speaks the pack protocol. For a URL http://127.0.0.1:P/OWNER/REPO.git
the API's base is http://127.0.0.1:P/api/v3 (GitHub Enterprise's path) and http://127.0.0.1:P/api/v1 (Gitea's).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import re
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from lab.actor import Snapshot
from lab.clock import Clock
from lab.faults import Effect, Faults, Happening
from lab.gitstore import GitStore
from lab.record import Record
from lab.sshd import Call, SshServer, host_key
from lab.web import Cut, Reply, Request, WebServer

ACTOR = "git"
FOREIGN_AUTHOR = "Somebody Else <somebody@example.org>"
SEALED = re.compile(r"ENC\[AES256_GCM,[^\]]*\]")
AGE = re.compile(r"-----BEGIN AGE ENCRYPTED FILE-----.*?-----END AGE ENCRYPTED FILE-----", re.S)
SEALED_AT = re.compile(r'(lastmodified: )"?[0-9TZ:-]+"?')
Need = Literal["read", "write", "admin"]


class DeniedError(Exception):
    """The remote does not let this credential do that; the text is what Git prints."""


@dataclass(frozen=True, slots=True)
class Token:
    """A personal access token: whose it is, what it may do and until when. Fine-grained ones have no scopes."""

    login: str
    scopes: tuple[str, ...] = ("repo",)
    rights: tuple[Need, ...] = ("read", "write", "admin")
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeployKey:
    """A key of the repository itself."""

    id: int
    title: str
    key: str
    read_only: bool
    made_at: str


@dataclass(frozen=True, slots=True)
class Push:
    """A branch moved."""

    branch: str
    before: str
    after: str
    who: str


@dataclass(slots=True)
class GitRemote:
    """One repository, `owner`/`repository`, below `dir`. `tokens` are by their secret, `keys` by "type base64".

    It is made with the files of `initial` (none: empty); where that is None somebody has to create it through the API.
    """

    clock: Clock
    rng: random.Random
    record: Record
    dir: Path
    owner: str
    repository: str
    branch: str = "main"
    tokens: dict[str, Token] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)  # users' own keys: login
    faults: Faults | None = None
    organization: bool = True
    port: int = 0
    ssh_port: int = 0
    initial: Mapping[str, bytes] | None = None
    on_push: list[Callable[[Push], None]] = field(default_factory=list)
    deploy_keys: list[DeployKey] = field(default_factory=list)
    store: GitStore = field(init=False)
    web: WebServer = field(init=False)
    ssh: SshServer = field(init=False)
    _under_way: int = 0

    def __post_init__(self) -> None:
        self.store = GitStore(self.dir / "repository.git", self.branch)
        self.web = WebServer(self._answer, self.port)
        self.ssh = SshServer(host_key(self.dir / "git_host_key"), self._login, self._serve, self.ssh_port)
        if self.initial is not None:
            self.create(self.initial)

    # -- the actor ---------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The actor's name."""
        return "git"

    @property
    def url(self) -> str:
        """The repository over HTTP."""
        return f"{self.web.url}/{self.owner}/{self.repository}.git"

    @property
    def ssh_url(self) -> str:
        """The repository over SSH."""
        return f"ssh://git@127.0.0.1:{self.ssh.port}/{self.owner}/{self.repository}.git"

    @property
    def exists(self) -> bool:
        """Whether the repository was created."""
        return self.store.exists

    def known_hosts(self) -> str:
        """The line for a client's known_hosts file."""
        return self.ssh.known_hosts()

    async def start(self) -> None:
        """Listen."""
        await self.web.start()
        await self.ssh.start()
        self.port, self.ssh_port = self.web.port, self.ssh.port

    async def stop(self) -> None:
        """Cut every connection."""
        await self.web.stop()
        await self.ssh.stop()

    def snapshot(self) -> Snapshot:
        """The repository whole, and its deploy keys."""
        store = self.store.snapshot() if self.exists else None
        return {"store": store, "deploy_keys": [asdict(key) for key in self.deploy_keys]}

    def restore(self, state: Snapshot) -> None:
        """Take over a snapshot."""
        if state["store"] is not None:
            self.store.restore(state["store"])
        elif self.exists:
            self.store.remove()
        self.deploy_keys = [DeployKey(**entry) for entry in state["deploy_keys"]]

    def dump(self) -> Snapshot:
        """The tree at the default branch's head, line by line, and who may reach it. Ciphertext is a placeholder."""
        files = self.store.files() if self.exists else {}
        return {
            "exists": self.exists,
            "branch": self.branch,
            "tree": {path: shown(content) for path, content in sorted(files.items())},
            "deploy_keys": sorted(f"{key.title} {'read-only' if key.read_only else 'read-write'}" for key in self.deploy_keys),
        }

    def busy(self) -> bool:
        """Whether a push or fetch is under way."""
        return self._under_way > 0

    # -- for others in the world -------------------------------------------------------------------------------------

    def create(self, files: Mapping[str, bytes] | None = None) -> None:
        """Make the repository, with a first commit of `files` where any are given. No harm where it exists."""
        if self.exists:
            return
        self.store.create()
        if files:
            self.commit(self.branch, files, "Initial commit", f"{self.owner} <{self.owner}@users.noreply.example.org>")

    def head(self, branch: str = "") -> str:
        """The commit at a branch (the default one), "" where it has none."""
        return self.store.head(branch) if self.exists else ""

    def tree(self, sha: str = "", path: str = "") -> dict[str, bytes]:
        """Path to content at a commit, below a folder; paths are whole. Raises KeyError where there is no such commit."""
        return self.store.files(sha, path)

    def commit(
        self, branch: str, changes: Mapping[str, bytes | None], message: str, author: str, *, expect: str | None = None
    ) -> str:
        """A commit made on the server; see GitStore.commit. Raises MovedError."""
        before = self.head(branch)
        sha = self.store.commit(branch, changes, message, author, self.clock.now(), expect=expect)
        if sha != before:
            self._tell(Push(branch, before, sha, author))
        return sha

    def token(self, secret: str) -> Token | None:
        """The token, unless it is unknown or expired."""
        found = self.tokens.get(secret)
        if found is not None and found.expires is not None and found.expires <= self.clock.now():
            return None
        return found

    def allows(self, need: Need, *, token: str = "", key: str = "") -> bool:
        """Whether a credential may read, write or administrate: a token's secret, or a public key ("type base64 ...")."""
        if token:
            found = self.token(token)
            return found is not None and need in found.rights
        public = " ".join(key.split()[:2])
        if public in self.keys:
            return True
        deploy = next((k for k in self.deploy_keys if k.key == public), None)
        return deploy is not None and (need == "read" or (need == "write" and not deploy.read_only))

    async def fetch(self, branch: str = "", *, token: str = "", key: str = "") -> tuple[str, dict[str, bytes]]:
        """What a clone by somebody inside the world gets: the head and its files. Raises DeniedError."""
        await self._passes("fetch", branch or self.branch, token=token, key=key)
        head = self.head(branch)
        return head, self.tree(head) if head else {}

    async def push(
        self,
        branch: str,
        changes: Mapping[str, bytes | None],
        message: str,
        author: str,
        *,
        expect: str,
        token: str = "",
        key: str = "",
    ) -> str:
        """What a push by somebody inside the world does, made on `expect`. Raises DeniedError, MovedError."""
        await self._passes("push", branch, token=token, key=key)
        return self.commit(branch, changes, message, author, expect=expect)

    def add_deploy_key(self, title: str, key: str, *, read_only: bool) -> DeployKey:
        """Register a key. Raises ValueError where it is in use, or is no key."""
        public = " ".join(key.split()[:2])
        if not re.match(r"(ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/=]+$", public):
            raise ValueError("key is invalid. You must supply a key in OpenSSH public key format")
        if any(k.key == public for k in self.deploy_keys):
            raise ValueError("key is already in use")
        number = max((k.id for k in self.deploy_keys), default=1000) + self.rng.randint(1, 9)
        made = self.clock.now().isoformat(timespec="seconds").replace("+00:00", "Z")
        entry = DeployKey(number, title, public, read_only, made)
        self.deploy_keys.append(entry)
        return entry

    def remove_deploy_key(self, number: int) -> bool:
        """Forget a key. Returns whether there was one."""
        before = len(self.deploy_keys)
        self.deploy_keys = [k for k in self.deploy_keys if k.id != number]
        return len(self.deploy_keys) < before

    async def _passes(self, verb: str, branch: str, *, token: str, key: str) -> None:
        effect = await self._slowed(verb, branch, "")
        if not self.exists:
            raise DeniedError("remote: Repository not found.")
        if (effect and effect.denied) or not self.allows("write" if verb == "push" else "read", token=token, key=key):
            raise DeniedError("remote: Permission to repository denied" if verb == "push" else "authentication required")
        if effect and effect.full:
            raise DeniedError("remote: fatal: unable to write file: No space left on device")
        if effect and (effect.fail or effect.status or effect.cut):
            raise DeniedError(effect.fail or effect.message or f"unexpected http status {effect.status or 500}")
        if effect and effect.race:
            self._race(branch)

    def _race(self, branch: str) -> None:
        """Somebody else's commit lands first."""
        number = len(self.store.log(self.head(branch)))
        self.commit(branch, {"NOTES.md": f"Note {number} of somebody else\n".encode()}, "Add a note", FOREIGN_AUTHOR)

    def _tell(self, push: Push) -> None:
        for tell in list(self.on_push):
            tell(push)

    async def _slowed(self, verb: str, thing: str, user: str) -> Effect | None:
        if self.faults is None or not self.faults.rules:
            return None
        effect = self.faults.find(Happening(actor=ACTOR, verb=verb, object=thing, user=user))
        if effect is not None and effect.latency:
            await self.clock.sleep(effect.latency)
        while effect is not None and effect.hang:
            await asyncio.sleep(1)
        return effect

    # -- HTTP --------------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Reply:
        if request.path.startswith("/api/"):
            return await self._forge(request)
        match = re.fullmatch(r"/([^/]+)/([^/]+?)(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)", request.path)
        if match is None:
            return Reply(404, b"Not Found\n")
        service = request.query.get("service", "") if match[3] == "info/refs" else match[3]
        if service not in ("git-upload-pack", "git-receive-pack"):
            return Reply(403, b"Please upgrade your git client.\n")
        writes = service == "git-receive-pack"
        login, refusal = self._basic(request, "write" if writes else "read")
        if refusal is not None:
            self._noted(login, service, request, mutates=False, ok=False)
            return refusal
        if not self.exists or (match[1], match[2]) != (self.owner, self.repository):
            return Reply(404, b"Repository not found.\n")
        return await self._pack(request, service, login, advertise=match[3] == "info/refs")

    async def _pack(self, request: Request, service: str, login: str, *, advertise: bool) -> Reply:
        verb = "push" if service == "git-receive-pack" else "fetch"
        effect = await self._slowed(verb if not advertise else f"{verb}-refs", self.branch, login)
        if effect is not None and (refused := _refused(effect)) is not None:
            self._noted(login, service, request, mutates=False, ok=False)
            return refused
        if effect is not None and effect.race:
            self._race(self.branch)
        before = self.store.refs()
        with self.clock.hold():
            body = await self._git(service, request.body, request.header("git-protocol"), advertise=advertise)
        moved = self._moved(before, login)
        pushing = verb == "push" and not advertise
        self._noted(login, service, request, mutates=pushing, ok=bool(moved) or not pushing)
        if effect is not None and effect.cut:
            raise Cut
        if advertise:
            line = f"# service={service}\n".encode()
            protocol = request.header("git-protocol")
            head = b"" if "version=2" in protocol and verb == "fetch" else f"{len(line) + 4:04x}".encode() + line + b"0000"
            return Reply(200, head + body, {"Content-Type": f"application/x-{service}-advertisement", "Cache-Control": "no-cache"})
        return Reply(200, body, {"Content-Type": f"application/x-{service}-result", "Cache-Control": "no-cache"})

    async def _git(self, service: str, body: bytes, protocol: str, *, advertise: bool) -> bytes:
        args = [service.removeprefix("git-"), "--stateless-rpc", *(["--http-backend-info-refs"] if advertise else [])]
        self._under_way += 1
        try:
            process = await asyncio.create_subprocess_exec(
                "git",
                *args,
                str(self.store.path),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=environment(self.dir, protocol),
            )
            output, _ = await process.communicate(body)
        finally:
            self._under_way -= 1
        return output

    def _moved(self, before: Mapping[str, str], who: str) -> list[Push]:
        after = self.store.refs()
        moved = [
            Push(ref.removeprefix("refs/heads/"), before.get(ref, ""), sha, who)
            for ref, sha in after.items()
            if before.get(ref) != sha
        ]
        for push in moved:
            self._tell(push)
        return moved

    def _basic(self, request: Request, need: Need) -> tuple[str, Reply | None]:
        """Who asks, and the refusal where the credential does not do."""
        secret = credential(request.header("authorization"))
        token = self.token(secret)
        if token is None:
            text = b"Invalid username or token. Password authentication is not supported for Git operations.\n"
            return "anonymous", Reply(401, text if secret else b"Authentication required\n", {"WWW-Authenticate": 'Basic realm="Git"'})
        if need not in token.rights:
            denied = f"Permission to {self.owner}/{self.repository}.git denied to {token.login}.\n"
            return token.login, Reply(403, denied.encode())
        return token.login, None

    def _noted(self, who: str, service: str, request: Request, *, mutates: bool, ok: bool) -> None:
        what = "push" if service == "git-receive-pack" else "fetch"
        self.record.add(actor=who, via="git", what=what, request=f"{request.method} {request.path}", mutates=mutates, ok=ok)

    # -- the forge's API ---------------------------------------------------------------------------------------------

    async def _forge(self, request: Request) -> Reply:
        effect = await self._slowed(request.method, request.path, "")
        if effect is not None and (refused := _refused(effect)) is not None:
            return refused
        if effect is not None and effect.cut:
            raise Cut
        github = request.path.startswith("/api/v3")
        secret = credential(request.header("authorization"))
        token = self.token(secret)
        path = request.path.removeprefix("/api/v3" if github else "/api/v1").rstrip("/") or "/"
        if token is None and path not in ("/version", "/meta"):
            reply = _json(401, {"message": "Bad credentials" if github else "token is required", "status": "401"})
        else:
            reply = self._route(request, path, token or Token("anonymous", (), ()), github=github)
        mutates = request.method not in ("GET", "HEAD") and reply.status < 300
        who = token.login if token else "anonymous"
        self.record.add(
            actor=who, via="http", what=f"git {request.method}", request=f"{request.method} {request.path}", mutates=mutates, ok=reply.status < 400
        )
        return self._with_headers(reply, token, github=github)

    def _route(self, request: Request, path: str, token: Token, *, github: bool) -> Reply:
        ours = f"/repos/{self.owner}/{self.repository}"
        if path == "/version":
            return _json(200, {"version": "1.24.6"})
        if path in ("/", "/meta", "/rate_limit"):
            return _json(200, {"installed_version": "3.17.0"})
        if path == "/user":
            return _json(200, {"login": token.login, "id": 4711, "type": "User"})
        if path in (f"/orgs/{self.owner}", f"/users/{self.owner}") and request.method == "GET":
            return _json(200, self._owner())
        if path in (f"/orgs/{self.owner}/repos", "/user/repos") and request.method == "POST":
            return self._create(request, token)
        if not self.exists or not path.startswith(ours) or "read" not in token.rights:
            return _json(404, {"message": "Not Found", "status": "404"})
        return self._in_repository(request, path.removeprefix(ours), token, github=github)

    def _create(self, request: Request, token: Token) -> Reply:
        if "admin" not in token.rights:
            return _json(403, {"message": "Resource not accessible by personal access token", "status": "403"})
        wanted = json.loads(request.body or b"{}")
        if wanted.get("name") != self.repository or self.exists:
            return _json(422, {"message": "Repository creation failed.", "errors": [{"message": "name already exists on this account"}]})
        self.create({"README.md": f"# {self.repository}\n".encode()} if wanted.get("auto_init") else None)
        return _json(201, self._described(token))

    def _in_repository(self, request: Request, path: str, token: Token, *, github: bool) -> Reply:
        if path == "" and request.method == "GET":
            return _json(200, self._described(token))
        if match := re.fullmatch(r"/branches/(.+)", path):
            sha = self.head(match[1])
            found = {"name": match[1], "commit": {"sha": sha, "id": sha}, "protected": False}
            return _json(200, found) if sha else _json(404, {"message": "Branch not found", "status": "404"})
        if path == "/branches":
            heads = {ref.removeprefix("refs/heads/"): sha for ref, sha in self.store.refs().items()}
            return _json(200, [{"name": name, "commit": {"sha": sha, "id": sha}} for name, sha in heads.items()])
        if path.startswith("/keys"):
            return self._keys(request, path.removeprefix("/keys").strip("/"), token)
        if match := re.fullmatch(r"/(?:git/)?commits/([0-9a-f]{40}|.+)", path):
            return self._one_commit(match[1])
        return _json(404, {"message": "Not Found", "status": "404"})

    def _one_commit(self, name: str) -> Reply:
        try:
            info = self.store.info(self.head(name) or name)
        except KeyError:
            return _json(404, {"message": "Not Found", "status": "404"})
        return _json(200, {"sha": info.sha, "commit": {"message": info.message}, "parents": [{"sha": p} for p in info.parents]})

    def _keys(self, request: Request, number: str, token: Token) -> Reply:
        if "admin" not in token.rights:
            return _json(404, {"message": "Not Found", "status": "404"})
        if request.method == "GET" and not number:
            return _json(200, [_key(key) for key in self.deploy_keys])
        if request.method == "POST" and not number:
            wanted = json.loads(request.body or b"{}")
            try:
                made = self.add_deploy_key(str(wanted.get("title", "")), str(wanted.get("key", "")), read_only=bool(wanted.get("read_only")))
            except ValueError as error:
                return _json(422, {"message": "Validation Failed", "errors": [{"resource": "PublicKey", "field": "key", "message": str(error)}]})
            return _json(201, _key(made))
        known = next((key for key in self.deploy_keys if str(key.id) == number), None)
        if known is None:
            return _json(404, {"message": "Not Found", "status": "404"})
        if request.method == "DELETE":
            self.remove_deploy_key(known.id)
            return Reply(204)
        return _json(200, _key(known))

    def _owner(self) -> dict[str, Any]:
        return {"login": self.owner, "id": 42, "type": "Organization" if self.organization else "User"}

    def _described(self, token: Token) -> dict[str, Any]:
        return {
            "id": 1296269,
            "name": self.repository,
            "full_name": f"{self.owner}/{self.repository}",
            "private": True,
            "empty": not self.head(),
            "owner": self._owner(),
            "default_branch": self.branch,
            "archived": False,
            "disabled": False,
            "clone_url": self.url,
            "ssh_url": self.ssh_url,
            "permissions": {
                "admin": "admin" in token.rights,
                "maintain": "admin" in token.rights,
                "push": "write" in token.rights,
                "triage": "write" in token.rights,
                "pull": "read" in token.rights,
            },
        }

    def _with_headers(self, reply: Reply, token: Token | None, *, github: bool) -> Reply:
        """What GitHub says of the token on every answer. Clients compare its end with their own clock, so it is told in wall time."""
        if not github or token is None:
            return reply
        headers = {**reply.headers, "X-GitHub-Media-Type": "github.v3; format=json"}
        if token.scopes:
            headers |= {"X-OAuth-Scopes": ", ".join(token.scopes), "X-Accepted-OAuth-Scopes": "repo"}
        if token.expires is not None:
            ends = datetime.now(UTC) + (token.expires - self.clock.now())
            headers["github-authentication-token-expiration"] = f"{ends:%Y-%m-%d %H:%M:%S} UTC"
        return Reply(reply.status, reply.body, headers)

    # -- SSH, from the server's threads --------------------------------------------------------------------------------

    def _login(self, user: str, password: str | None, key: str | None) -> bool:
        return user == "git" and key is not None and self.allows("read", key=key)

    def _serve(self, call: Call) -> int:
        match = re.fullmatch(r"git[- ](upload|receive)-pack '?/?([^/']+)/([^/']+?)(?:\.git)?/?'?", call.command or "")
        if match is None:
            call.channel.sendall(b"Hi! You've successfully authenticated, but shell access is not provided.\n")
            return 1
        service = f"git-{match[1]}-pack"
        need: Need = "write" if match[1] == "receive" else "read"
        if not self.exists or (match[2], match[3]) != (self.owner, self.repository):
            call.channel.sendall_stderr(b"ERROR: Repository not found.\n")
            return 128
        if not self.allows(need, key=call.key):
            call.channel.sendall_stderr(b"ERROR: The key you are authenticating with has been marked as read only.\n")
            return 128
        effect = self.ssh.hop(self._slowed("push" if need == "write" else "fetch", self.branch, "git"))
        if effect is not None and (effect.denied or effect.full):
            call.channel.sendall_stderr(b"ERROR: access denied or repository disabled\n")
            return 128
        before = self.store.refs()
        if effect is not None and effect.race:
            self.ssh.hop(self._racing())
        status = self._piped(call, service)
        self.ssh.hop(self._after_ssh(before, service, call.command or "", status))
        return status

    async def _racing(self) -> None:
        self._race(self.branch)

    async def _after_ssh(self, before: Mapping[str, str], service: str, command: str, status: int) -> None:
        moved = self._moved(before, "git")
        pushing = service == "git-receive-pack"
        self.record.add(
            actor="git", via="git", what="push" if pushing else "fetch", request=command, mutates=pushing, ok=status == 0 and (bool(moved) or not pushing)
        )

    def _piped(self, call: Call, service: str) -> int:
        """Run git for one channel, both ways, until it ends."""
        argv = ["git", service.removeprefix("git-"), str(self.store.path)]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(self.dir, "")
        ) as process:
            threading.Thread(target=_pump, args=(call, process), daemon=True).start()
            if process.stdout is not None:
                while chunk := process.stdout.read1(65536):  # type: ignore[attr-defined]  # a BufferedReader, which has it
                    call.channel.sendall(chunk)
            return process.wait()


def _pump(call: Call, process: subprocess.Popen[bytes]) -> None:
    if process.stdin is None:
        return
    with contextlib.suppress(OSError, ValueError):  # git ended first: what is left to send has nobody to read it
        while data := call.channel.recv(65536):
            process.stdin.write(data)
            process.stdin.flush()
    with contextlib.suppress(OSError):
        process.stdin.close()


def environment(home: Path, protocol: str) -> dict[str, str]:
    """What the real git is given: no configuration but the repository's own."""
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    return env | ({"GIT_PROTOCOL": protocol} if protocol else {})


def credential(header: str) -> str:
    """The token of an Authorization header: bearer, token, or either part of basic; "" where there is none."""
    kind, _, value = header.partition(" ")
    if kind.lower() in ("bearer", "token"):
        return value.strip()
    if kind.lower() == "basic":
        with contextlib.suppress(ValueError):
            user, _, password = base64.b64decode(value).decode().partition(":")
            return user if password in ("", "x-oauth-basic") else password
    return ""


def shown(content: bytes) -> list[str] | str:
    """A file for a dump: its lines, with ciphertext as placeholders; its size where it is not text."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return f"<binary:{len(content)}>"
    text = SEALED_AT.sub(r"\1<time>", AGE.sub("<age>", SEALED.sub("<enc>", text)))
    return text.splitlines()


def _refused(effect: Effect) -> Reply | None:
    if effect.status:
        headers = {"Retry-After": str(effect.retry_after)} if effect.retry_after else {}
        return Reply(effect.status, (effect.message or effect.reason or "error").encode(), headers)
    if effect.denied:
        return Reply(403, b"Forbidden\n")
    if effect.full:
        return Reply(500, b"fatal: unable to write file: No space left on device\n")
    return None


def _json(status: int, value: Any) -> Reply:
    return Reply(status, json.dumps(value).encode() + b"\n", {"Content-Type": "application/json; charset=utf-8"})


def _key(key: DeployKey) -> dict[str, Any]:
    return {"id": key.id, "key": key.key, "title": key.title, "verified": True, "created_at": key.made_at, "read_only": key.read_only}
