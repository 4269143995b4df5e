"""`flux bootstrap github|gitea|git`: manifests into Git, components and credentials into the cluster, then wait for both.

All three act on the world's one remote. Order and lines are those of the recorded runs; what GitHub and Gitea add is by their source.
Source: github.com/fluxcd/flux2 v2.7.5 pkg/bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.cilium.ca import b64
from lab.flux import kstatus
from lab.flux.build import SEEDED
from lab.flux.common import go_duration
from lab.flux.manifests import (
    KUSTOMIZATION_TEXT,
    VERSION,
    Options,
    components,
    components_text,
    git_repository,
    kustomization,
    sync_text,
)
from lab.flux.source import same_repository
from lab.gitremote import DeniedError
from lab.gitstore import MovedError
from lab.programs.call import Call
from lab.programs.flux.base import KINDS, Client, Fail, Object, client
from lab.programs.flux.check import apply_all, apply_order, deployment_ready, options


@dataclass(slots=True)
class Repo:
    """The repository as one bootstrap reaches it. `token` or `key` (a public key) opens it; `shown` is its URL in messages."""

    provider: str
    url: str
    shown: str
    ssh_url: str
    branch: str
    token: str = ""
    key: str = ""
    head: str = ""


class Bootstrap:
    """One run."""

    def __init__(self, call: Call, found: Client, repo: Repo, wanted: Options) -> None:
        self.call, self.found, self.repo, self.wanted = call, found, repo, wanted
        self.git: Any = call.world.git
        self.path = str(call.flags["path"]).removeprefix("./").strip("/")
        self.secret = call.flags["secret-name"]
        self.namespace = found.namespace
        self.author = f"{call.flags['author-name']} <{call.flags['author-email']}>"

    @property
    def folder(self) -> str:
        """Where the manifests go."""
        return f"{self.path}/{self.namespace}".strip("/")

    async def run(self) -> None:
        """All steps. Raises Fail."""
        await self.clone()
        await self.components()
        await self.credentials()
        await self.sync()
        await self.health()

    async def clone(self) -> None:
        """A fresh clone; failing twice before it gives up."""
        repo, found = self.repo, self.found
        found.action(f'cloning branch "{repo.branch}" from Git repository "{repo.url}"')
        for attempt in range(3):
            problem = await self._fetch()
            if not problem:
                found.success("cloned repository")
                return
            text = f"unable to clone '{repo.url}': {problem}"
            if attempt == 2:
                raise Fail(f"failed to clone repository: {text}")
            found.warning(f"clone failure: {text}")
            await self.call.sleep(1.0)

    async def _fetch(self) -> str:
        unreachable = self.unreachable()
        if unreachable:
            return unreachable
        if self.git is None or not self.git.exists or not same_repository(self.repo.url, self.git):
            return "repository not found: "
        try:
            self.repo.head, _ = await self.git.fetch(self.repo.branch, token=self.repo.token, key=self.repo.key)
        except DeniedError as error:
            return str(error)
        return ""

    def unreachable(self) -> str:
        """Loopback addresses lead to the world's remote alone; every other host name stands for it."""
        parts = urlsplit(self.repo.url)
        host, port = parts.hostname or "", parts.port or {"https": 443, "http": 80, "ssh": 22}.get(parts.scheme, 443)
        if host not in ("127.0.0.1", "localhost") or self.git is None or port in (self.git.port, self.git.ssh_port):
            return ""
        if parts.scheme == "ssh":
            return f"dial tcp {host}:{port}: connect: connection refused"
        return f'Get "{self.repo.url}/info/refs?service=git-upload-pack": dial tcp 127.0.0.1:{port}: connect: connection refused'

    async def commit(self, files: dict[str, str], message: str, what: str) -> None:
        """Commit and push what differs; a lost race is run once more from a fresh clone."""
        found, repo = self.found, self.repo
        changes = {p: t.encode() for p, t in files.items()}
        for attempt in range(2):
            tree = self.git.tree(repo.head, self.folder) if repo.head else {}
            if all(tree.get(p) == c for p, c in changes.items()):
                found.success(f"{what} are up to date")
                return
            appendix = self.call.flags["commit-message-appendix"]
            text = message + (f"\n\n{appendix}" if appendix else "")
            self.call.mutates()
            try:
                sha = await self.git.push(repo.branch, changes, text, self.author, expect=repo.head, token=repo.token, key=repo.key)
            except DeniedError as error:
                raise Fail(f"failed to push manifests: {error}") from error
            except MovedError as error:
                if attempt:
                    raise Fail(f"failed to push manifests: {error}") from error
                await self.clone()
                continue
            found.success(f'committed {what} to "{repo.branch}" ("{sha}")')
            found.action(f'pushing {what} to "{repo.url}"')
            repo.head = sha
            return

    async def components(self) -> None:
        """gotk-components.yaml into Git, and into the cluster where the root has never applied."""
        found = self.found
        found.action("generating component manifests")
        text = components_text(self.wanted)
        SEEDED.put(text.encode(), components(self.wanted))
        found.success("generated component manifests")
        await self.commit({f"{self.folder}/gotk-components.yaml": text}, f"Add Flux {VERSION} component manifests", "component manifests")
        root = await self.root()
        if not ((root or {}).get("status") or {}).get("lastAppliedRevision"):
            found.action(f'installing components in "{self.namespace}" namespace')
            self.call.mutates()
            await apply_all(found, apply_order(components(self.wanted)))
            found.success("installed components")
        found.success("reconciled components")

    async def root(self) -> Object | None:
        """The root Kustomization, where its kind is served."""
        kind = KINDS["kustomization"]
        if self.found.kinds.find(kind.api, kind.kind) is None:
            return None
        return await self.found.port.get(kind.gvr, self.namespace, self.namespace)

    async def credentials(self) -> None:
        """The Secret by which source-controller reads, and the deploy key where that is how."""
        found, call = self.found, self.call
        name = f"{self.namespace}/{self.secret}"
        found.action(f'determining if source secret "{name}" exists')
        there = await found.port.get("v1/secrets", self.secret, self.namespace)
        data = self._given()
        if there is not None and data is None:
            found.success("source secret up to date")
            return
        found.action("generating source secret")
        if data is None:
            data = self._new_key()
        public = data.get("identity.pub", "")
        if public:
            found.success(f"public key: {public.strip()}")
            self._register(public)
        found.action(f'applying source secret "{name}"')
        call.mutates()
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.secret, "namespace": self.namespace}, "data": {k: b64(v) for k, v in data.items()}}
        await apply_all(found, [secret])
        found.success("reconciled source secret")

    def _given(self) -> dict[str, str] | None:
        """What the call says the Secret is to hold; None where a key is to be made."""
        flags = self.call.flags
        if flags["token-auth"]:
            if flags.get("with-bearer-token"):
                return {"bearerToken": self.repo.token}
            return {"username": flags.get("username") or "git", "password": self.repo.token}
        if self.repo.provider == "git" and self.repo.key:
            private = self.call.path(flags["private-key-file"]).read_text()
            return {"identity": private, "identity.pub": self.repo.key + "\n", "known_hosts": self.git.known_hosts()}
        return None

    def _new_key(self) -> dict[str, str]:
        """A fresh ECDSA P-384 key pair."""
        key = ec.generate_private_key(ec.SECP384R1())
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
        return {"identity": private, "identity.pub": public + "\n", "known_hosts": self.git.known_hosts()}

    def _register(self, public: str) -> None:
        """The deploy key, named after branch and path; one of that name with another key is replaced."""
        if self.repo.provider == "git":
            return
        title = f"{self.namespace}-{self.repo.branch}-{self.namespace}-./{self.path}"
        if not self.git.allows("admin", token=self.repo.token):
            raise Fail(f'failed to reconcile deploy key "{title}": 403 Resource not accessible by personal access token')
        self.call.mutates()
        for key in [k for k in self.git.deploy_keys if k.title == title]:
            self.git.remove_deploy_key(key.id)
        self.git.add_deploy_key(title, public, read_only=not self.call.flags["read-write-key"])
        self.found.success(f'configured deploy key "{title}" for "{self.repo.shown}"')

    async def sync(self) -> None:
        """gotk-sync.yaml into Git and the cluster."""
        found, flags = self.found, self.call.flags
        root = await self.root()
        path = f"./{self.path}"
        have = (root or {}).get("spec", {}).get("path", "")
        if root is not None and have.removeprefix("./").strip("/") != self.path:
            raise Fail(f'sync path configuration ("{path}") would overwrite path ("{have}") of existing Kustomization')
        found.action("generating sync manifests")
        url = self.repo.url if flags["token-auth"] or self.repo.provider == "git" else self.repo.ssh_url
        interval = go_duration(flags["interval"])
        source = git_repository(self.namespace, self.namespace, url, self.repo.branch, self.secret, interval)
        sync = kustomization(self.namespace, self.namespace, path)
        found.success("generated sync manifests")
        files = {f"{self.folder}/gotk-sync.yaml": sync_text(source, sync), f"{self.folder}/kustomization.yaml": KUSTOMIZATION_TEXT}
        await self.commit(files, "Add Flux sync manifests", "sync manifests")
        found.action("applying sync manifests")
        self.call.mutates()
        await self._served()
        await apply_all(found, [source, sync])
        found.success("reconciled sync configuration")

    async def _served(self) -> None:
        async def there() -> bool:
            return all(self.found.kinds.find(KINDS[k].api, KINDS[k].kind) is not None for k in ("kustomization", "source git"))

        await self.found.until(there)

    async def health(self) -> None:
        """GitRepository, Kustomization, Deployments: all are asked, then what failed is said."""
        found = self.found
        failures: list[str] = []
        for name in ("source git", "kustomization"):
            kind = KINDS[name]
            found.waiting(f'waiting for {kind.kind} "{self.namespace}/{self.namespace}" to be reconciled')
            late = found.late()
            try:
                if late:
                    raise Fail("client rate limiter Wait returned an error: context deadline exceeded")
                await self._reconciled(name)
                found.success(f"{kind.kind} reconciled successfully")
            except Fail as error:
                found.failure(str(error))
                failures.append(f"error while waiting for {kind.kind} to be ready: '{error}'")
        found.action("confirming components are healthy")
        found.end = max(found.end, self.call.clock.seconds() + 5.0)
        states = [await deployment_ready(found, o) for o in apply_order(components(self.wanted)) if o["kind"] == "Deployment"]
        if all(states):
            found.success("all components are healthy")
        else:
            failures.append("timeout waiting for components to be healthy")
        if failures:
            text = failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]"
            raise Fail(f"bootstrap failed with {len(failures)} health check failure(s): {text}")

    async def _reconciled(self, name: str) -> None:
        """Ready at the pushed revision; a first Ready=False of that revision ends the wait."""
        kind = KINDS[name]
        revision = f"{self.repo.branch}@sha1:{self.repo.head}"

        async def done() -> bool:
            obj = await self.found.port.get(kind.gvr, self.namespace, self.namespace)
            status = (obj or {}).get("status") or {}
            ready = kstatus.condition(obj or {"status": {}}, "Ready")
            if obj is None or not ready or ready.get("observedGeneration", 0) < obj["metadata"].get("generation", 1):
                return False
            if name == "source git":
                at = (status.get("artifact") or {}).get("revision")
                attempted = at == revision or ready.get("status") == "False"
            else:
                attempted = revision in (status.get("lastAttemptedRevision"), status.get("lastAppliedRevision"))
            if attempted and ready.get("status") == "False":
                raise Fail(str(ready.get("message")))
            return attempted and ready.get("status") == "True"

        await self.found.until(done)


def _token(call: Call, variable: str, name: str) -> str:
    token = call.env.get(variable, "")
    if token:
        return token
    call.out(f"Please enter your {name} personal access token (PAT): ")
    line = call.stdin.decode().split("\n", 1)[0].strip()
    if not line:
        raise Fail("could not read token: could not read from stdin: EOF")
    return line


async def _hosted(call: Call, provider: str, variable: str, name: str, host: str, api: str) -> None:
    token = _token(call, variable, name)
    found = client(call)
    try:
        found.reachable()
    except Fail as error:
        raise Fail(f"cluster info unavailable: {error}") from error
    flags = call.flags
    hostname = flags["hostname"] or host
    found.action(f"connecting to {hostname}")
    owner, repository = flags["owner"], flags["repository"]
    shown = f"https://{hostname}/{owner}/{repository}"
    trouble = f'failed to get Git repository "{shown}": provider error: '
    if not owner:
        raise Fail(f"{trouble}validation error for {'UserRepositoryRef.UserLogin' if flags['personal'] else 'OrgRepositoryRef.Organization'}: field is required")
    base, _, port = hostname.partition(":")
    git = call.world.git
    if base in ("127.0.0.1", "localhost") and (git is None or port != str(git.port)):
        raise Fail(f'{trouble}Get "https://{hostname}{api}/repos/{owner}/{repository}": dial tcp 127.0.0.1:{port or 443}: connect: connection refused')
    wanted = options(call)
    _check_hosted(call, found, trouble, token, owner, repository)
    repo = Repo(provider, f"{shown}.git", shown, f"ssh://git@{base}/{owner}/{repository}", flags["branch"], token=token)
    if base in ("127.0.0.1", "localhost"):
        repo.url, repo.ssh_url = f"http://{hostname}/{owner}/{repository}.git", git.ssh_url
    await Bootstrap(call, found, repo, wanted).run()


def _check_hosted(call: Call, found: Client, trouble: str, token: str, owner: str, repository: str) -> None:
    """Credentials and repository at the forge; a missing repository is made, private."""
    git = call.world.git
    api = f"GET https://api.github.com/repos/{owner}/{repository}"
    if git is None or git.token(token) is None:
        raise Fail(f"{trouble}multiple errors occurred: \n- {api}: 401 Bad credentials []\n- the requested resource was not found")
    if (git.owner, git.repository) != (owner, repository) or call.flags["personal"] is git.organization:
        raise Fail(f"{trouble}multiple errors occurred: \n- {api}: 404 Not Found []\n- the requested resource was not found")
    if not git.exists:
        if not git.allows("admin", token=token):
            raise Fail(f'failed to create new Git repository "{trouble.split(chr(34))[1]}": 403 Resource not accessible by personal access token')
        call.mutates()
        git.create()
        found.success(f'repository "{trouble.split(chr(34))[1]}" created')


async def github(call: Call) -> None:
    """GitHub."""
    await _hosted(call, "github", "GITHUB_TOKEN", "GitHub", "github.com", "/api/v3")


async def gitea(call: Call) -> None:
    """Gitea and Forgejo."""
    await _hosted(call, "gitea", "GITEA_TOKEN", "Gitea", "gitea.com", "/api/v1")


async def plain(call: Call) -> None:
    """Any Git over SSH or HTTP."""
    flags = call.flags
    url = flags["url"]
    parts = urlsplit(url)
    if not url or not parts.scheme:
        raise Fail("invalid repository URL: scheme is required" if url else "invalid repository URL: url is required")
    if parts.scheme not in ("ssh", "http", "https"):
        raise Fail(f"invalid repository URL: scheme {parts.scheme} is not supported")
    found = client(call)
    try:
        found.reachable()
    except Fail as error:
        raise Fail(f"cluster info unavailable: {error}") from error
    if parts.scheme == "http" and not flags["allow-insecure-http"]:
        raise Fail(f"failed to create authentication options for {url}: scheme http is insecure, pass --allow-insecure-http=true to allow it")
    key = ""
    if parts.scheme == "ssh":
        if not flags["private-key-file"]:
            raise Fail("the private key file is required: the lab has no SSH agent")
        key = _public_key(call, flags["private-key-file"])
        if not flags["silent"]:
            raise Fail("aborting")
    token = flags["password"] or call.env.get("GIT_PASSWORD", "")
    repo = Repo("git", url, url, url, flags["branch"], token=token, key=key)
    await Bootstrap(call, found, repo, options(call)).run()


def _public_key(call: Call, name: str) -> str:
    try:
        data = call.path(name).read_bytes()
    except OSError as error:
        raise Fail(f"failed to load private key: open {name}: no such file or directory") from error
    try:
        private = serialization.load_ssh_private_key(data, None) if b"OPENSSH" in data else serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise Fail(f"failed to load private key: ssh: no key found: {error}") from error
    return private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


COMMANDS = {"bootstrap_github": github, "bootstrap_gitea": gitea, "bootstrap_git": plain}
