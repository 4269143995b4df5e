"""A bare Git repository on disk, read and written without a process: loose objects and plain refs, as the real git finds them.

The real git serves it to clients (`lab.gitremote`); pushes are unpacked into loose objects, so that this module sees them all.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\tlogAllRefUpdates = false
[receive]
\tdenyNonFastForwards = true
\tdenyDeletes = true
\tfsckObjects = true
[transfer]
\tunpackLimit = 1000000
[gc]
\tauto = 0
[uploadpack]
\tallowReachableSHA1InWant = true
[http]
\treceivepack = true
"""
FILE, PROGRAM, LINK, TREE = "100644", "100755", "120000", "40000"


class MovedError(Exception):
    """The branch is not where the writer thought: a race that it lost."""


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """One commit. `at` is its committer's time."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: str
    at: datetime
    message: str


@dataclass(slots=True)
class GitStore:
    """The repository at `path`; `create` makes it."""

    path: Path
    branch: str = "main"

    @property
    def exists(self) -> bool:
        """Whether it was made."""
        return (self.path / "HEAD").exists()

    def create(self) -> None:
        """An empty repository whose HEAD names the default branch."""
        for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        (self.path / "config").write_text(CONFIG, encoding="ascii")
        (self.path / "HEAD").write_text(f"ref: refs/heads/{self.branch}\n", encoding="ascii")

    def remove(self) -> None:
        """No repository any more."""
        shutil.rmtree(self.path)

    def refs(self) -> dict[str, str]:
        """Every ref with its commit."""
        top = self.path / "refs"
        if not top.exists():
            return {}
        files = sorted(file for file in top.rglob("*") if file.is_file() and not file.name.endswith(".lock"))
        return {str(file.relative_to(self.path)): file.read_text(encoding="ascii").strip() for file in files}

    def head(self, branch: str = "") -> str:
        """The commit at a branch (the default one); "" where it has none."""
        file = self.path / "refs" / "heads" / (branch or self.branch)
        return file.read_text(encoding="ascii").strip() if file.is_file() else ""

    def files(self, sha: str = "", under: str = "") -> dict[str, bytes]:
        """Path to content at a commit (default: the default branch's head), below the folder `under`. Raises KeyError."""
        sha = sha or self.head()
        if not sha:
            return {}
        prefix = f"{under.strip('/')}/" if under.strip("/") not in ("", ".") else ""
        entries = self._flat(self.info(sha).tree)
        return {path: self.read(blob)[1] for path, (mode, blob) in entries.items() if path.startswith(prefix) and mode != LINK}

    def info(self, sha: str) -> CommitInfo:
        """One commit. Raises KeyError where there is none."""
        kind, data = self.read(sha)
        if kind != "commit":
            raise KeyError(sha)
        head, _, message = data.decode(errors="replace").partition("\n\n")
        fields: dict[str, list[str]] = {}
        for line in head.splitlines():
            name, _, value = line.partition(" ")
            fields.setdefault(name, []).append(value)
        author, _, _ = fields["author"][0].rpartition(" ")[0].rpartition(" ")
        at = datetime.fromtimestamp(int(fields["committer"][0].split()[-2]), UTC)
        return CommitInfo(sha, fields["tree"][0], tuple(fields.get("parent", ())), author, at, message)

    def log(self, sha: str = "", limit: int = 1000) -> list[CommitInfo]:
        """Commits along the first parents, the newest first."""
        found: list[CommitInfo] = []
        sha = sha or self.head()
        while sha and len(found) < limit:
            found.append(self.info(sha))
            sha = found[-1].parents[0] if found[-1].parents else ""
        return found

    def contains(self, branch: str, sha: str) -> bool:
        """Whether `sha` is on the branch's first-parent line."""
        return any(commit.sha == sha for commit in self.log(self.head(branch)))

    def commit(
        self, branch: str, changes: Mapping[str, bytes | None], message: str, author: str, at: datetime, *, expect: str | None = None
    ) -> str:
        """A commit on a branch, made on the server: None deletes a path. `author` is "Name <mail>".

        Returns the new head; the old one where nothing changes. Raises MovedError where the head is not `expect`.
        """
        parent = self.head(branch)
        if expect is not None and expect != parent:
            raise MovedError(f"{branch} is at {parent or 'nothing'}, not at {expect or 'nothing'}")
        entries = dict(self._flat(self.info(parent).tree)) if parent else {}
        for path, content in changes.items():
            if content is None:
                entries.pop(path, None)
            else:
                mode = entries[path][0] if path in entries else FILE
                entries[path] = (mode, self.write("blob", content))
        tree = self._tree(entries)
        if parent and self.info(parent).tree == tree:
            return parent
        stamp = f"{author} {int(at.timestamp())} +0000"
        lines = [f"tree {tree}", *([f"parent {parent}"] if parent else []), f"author {stamp}", f"committer {stamp}"]
        text = message if message.endswith("\n") else f"{message}\n"
        sha = self.write("commit", ("\n".join(lines) + "\n\n" + text).encode())
        self._point(branch, sha)
        return sha

    def read(self, sha: str) -> tuple[str, bytes]:
        """An object's type and content. Raises KeyError where there is none."""
        try:
            return _object(self._file(sha))
        except (FileNotFoundError, IsADirectoryError):
            raise KeyError(sha) from None

    def write(self, kind: str, data: bytes) -> str:
        """Store an object; its id."""
        whole = f"{kind} {len(data)}".encode() + b"\0" + data
        sha = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
        file = self._file(sha)
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            fresh = file.with_suffix(".new")
            fresh.write_bytes(zlib.compress(whole, 1))
            fresh.replace(file)
        return sha

    def snapshot(self) -> dict[str, Any]:
        """Refs and all objects."""
        objects = {
            file.parent.name + file.name: base64.b64encode(file.read_bytes()).decode()
            for file in sorted((self.path / "objects").glob("??/*"))
        }
        return {"refs": self.refs(), "objects": objects}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Refs as in a snapshot, and every object that they need."""
        if not self.exists:
            self.create()
        for sha, packed in state["objects"].items():
            file = self._file(sha)
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(base64.b64decode(packed))
        for ref in self.refs():
            if ref not in state["refs"]:
                (self.path / ref).unlink()
        for ref, sha in state["refs"].items():
            (self.path / ref).parent.mkdir(parents=True, exist_ok=True)
            (self.path / ref).write_text(f"{sha}\n", encoding="ascii")

    def _file(self, sha: str) -> Path:
        return self.path / "objects" / sha[:2] / sha[2:]

    def _point(self, branch: str, sha: str) -> None:
        file = self.path / "refs" / "heads" / branch
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f"{file.name}.lock")
        fresh.write_text(f"{sha}\n", encoding="ascii")
        fresh.replace(file)

    def _flat(self, tree: str, prefix: str = "") -> dict[str, tuple[str, str]]:
        """Path to (mode, blob) of a whole tree."""
        _, data = self.read(tree)
        found: dict[str, tuple[str, str]] = {}
        while data:
            head, _, rest = data.partition(b"\0")
            mode, _, name = head.decode(errors="surrogateescape").partition(" ")
            sha, data = rest[:20].hex(), rest[20:]
            if mode == TREE:
                found |= self._flat(sha, f"{prefix}{name}/")
            elif mode in (FILE, PROGRAM, LINK):
                found[prefix + name] = (mode, sha)
        return found

    def _tree(self, entries: Mapping[str, tuple[str, str]]) -> str:
        """Write the tree of flat entries; its id. Git sorts folders as if their names ended in a slash."""
        here: dict[str, tuple[str, str]] = {}
        inside: dict[str, dict[str, tuple[str, str]]] = {}
        for path, entry in entries.items():
            first, slash, rest = path.partition("/")
            if slash:
                inside.setdefault(first, {})[rest] = entry
            else:
                here[first] = entry
        for name, below in inside.items():
            here[name] = (TREE, self._tree(below))
        ordered = sorted(here.items(), key=lambda item: item[0] + ("/" if item[1][0] == TREE else ""))
        body = b"".join(f"{mode} {name}".encode(errors="surrogateescape") + b"\0" + bytes.fromhex(sha) for name, (mode, sha) in ordered)
        return self.write("tree", body)


@lru_cache(maxsize=1024)
def _object(file: Path) -> tuple[str, bytes]:
    """An object's type and content; what lies under a hash never changes."""
    head, _, data = zlib.decompress(file.read_bytes()).partition(b"\0")
    return head.split(b" ")[0].decode(), data
