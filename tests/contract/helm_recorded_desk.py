"""A desk for playing recorded cases of helm, cilium and flux: a world with one answering API and no kubelets, a folder, masks.

As when the recordings were made: a live API with workload controllers but nobody who runs pods, one that refuses connections, one that does not know
the token, or no kubeconfig at all.
"""

from __future__ import annotations

import difflib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from inventory import load
from lab import programs
from lab.build import build
from lab.kube.pki import kubeconfig
from lab.programs.call import Call, Result

SHARED = Path(__file__).parents[2].parent / "shared"
RECORDED = SHARED / "recorded"
SITE = Path(__file__).parents[2] / "inventory" / "sites" / "ten-weeks" / "site.yaml"
TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( \+0000 UTC|Z)?"
MASKS = (
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"GOVERSION|go1\.\d+(\.\d+)?"), "GO"),
    (re.compile(TIME), "TIME"),
    (re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} +\d+ \d\d:\d\d:\d\d \d{4}"), "TIME"),
    (re.compile(r" on RESOLVER:53"), ""),
    (re.compile(r"\b[0-9a-f]{40}\b|SHA40"), "SHA"),
    (re.compile(r"example-org/"), "org/"),
)


def cases(tool: str) -> list[str]:
    """Names of the recorded cases; none where the shared folder is missing. Runs that were killed left nothing to compare."""
    folder = RECORDED / tool
    return sorted(d.name for d in folder.iterdir() if "killed" not in (d / "rc").read_text()) if folder.is_dir() else []


class Desk:
    """A world and a folder."""

    def __init__(self, folder: Path, *, speed: float = 4000.0) -> None:
        self.folder = folder
        self.world, _ = build(folder / "lab", load(SITE), speed=speed, seed=3)
        self.work = folder / "work"
        self.work.mkdir()
        self.cluster = self.world.clusters["infra"]

    async def __aenter__(self) -> Desk:
        self.cluster.without_machines = True
        await self.cluster.start()
        await self.world.git.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cluster.stop()
        await self.world.git.stop()

    async def run(self, *argv: str, env: dict[str, str] | None = None, stdin: bytes = b"") -> Result:
        """Play one command line."""
        streams = [b"", b""]

        def write(stream: int, data: bytes) -> None:
            streams[stream - 1] += data

        home = {"HOME": str(self.folder / "home")}
        call = Call(argv=list(argv), cwd=self.work, env={**home, **(env or {})}, stdin=stdin, world=self.world, write=write)
        rc = await programs.run(call)
        return Result(rc, streams[0].decode(), streams[1].decode())

    def kubeconfig(self, kind: str) -> dict[str, str]:
        """The environment of a recording: `live`, `dead` or `badtoken`."""
        server = "https://127.0.0.1:9" if kind == "dead" else self.cluster.url
        assert self.cluster.ca is not None
        context = self.cluster.ca.client_context("admin", ("system:masters",), context_name="infra", server=server, cluster="infra")
        text = kubeconfig([context])
        if kind == "badtoken":
            document = yaml.safe_load(text)
            document["users"][0]["user"] = {"token": "nope"}
            text = yaml.safe_dump(document)
        file = self.folder / f"{kind}.kubeconfig"
        file.write_text(text)
        return {"KUBECONFIG": str(file)}

    def place(self, tool: str, case: str) -> None:
        """An empty folder with the case's input."""
        for entry in self.work.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        source = RECORDED / tool / case / "input"
        if source.is_dir():
            shutil.copytree(source, self.work, dirs_exist_ok=True)

    def mask(self, text: str) -> str:
        """What is of this machine or this moment, and help texts after their first line."""
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace(str(self.work.resolve()), "WORK").replace(str(self.folder / "home"), "WORK/.home")
        for pattern, replacement in MASKS:
            text = pattern.sub(replacement, text)
        return "HELP" if "Usage:\n" in text else text.rstrip()

    async def play(self, tool: str, case: str, argv: list[str] | None = None, env: dict[str, str] | None = None) -> list[str]:
        """Run a recorded case; the differences from what the real program printed."""
        folder = RECORDED / tool / case
        context: dict[str, Any] = json.loads((folder / "context.json").read_text()) if (folder / "context.json").is_file() else {}
        given = dict(context.get("env", {}))
        if context.get("cluster"):
            given |= self.kubeconfig(context["cluster"])
        words = argv or json.loads((folder / "argv").read_text())
        result = await self.run(*words, env={**given, **(env or {})}, stdin=context.get("stdin", "").encode())
        out = [] if str(result.rc) == (folder / "rc").read_text().strip() else [f"exit {result.rc}, not {(folder / 'rc').read_text()}"]
        for name, text in (("stdout", result.stdout), ("stderr", result.stderr)):
            wanted, have = self.mask((folder / name).read_text()), self.mask(text)
            if wanted != have:
                lines = difflib.unified_diff(wanted.splitlines(), have.splitlines(), "recorded", "lab", lineterm="", n=0)
                out.append(f"{name}:\n" + "\n".join(lines))
        return out
