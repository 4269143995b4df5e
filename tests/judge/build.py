"""Builds a real control plane from source with Go's own module client, into build/judge/bin, once.

A module that requires k8s.io/kubernetes has to replace every k8s.io/* v0.0.0 of its go.mod by the release that belongs to it; etcd is a
main of one line. Where modules come from is Go's own configuration.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "judge"
BINARIES = WORK / "bin"
KUBERNETES = "1.33.13"
ETCD = "3.6.6"
LEAST_GO = (1, 24)
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
PLACEHOLDER = re.compile(r"^\s*(k8s\.io/[a-z0-9.-]+) v0\.0\.0(?: .*)?$", re.MULTILINE)
VERSION = "k8s.io/component-base/version"
MAIN = """package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
"""


def modules(upstream: str, version: str) -> str:
    """The go.mod of a module that builds Kubernetes `version` ("1.33.13") as its own release did; `upstream` is its go.mod."""
    staged = sorted(set(PLACEHOLDER.findall(upstream)))
    release = f"v0.{version.partition('.')[2]}"
    replaced = "".join(f"\t{name} => {name} {release}\n" for name in staged)
    return f"module judge/kubernetes\n\ngo 1.24.0\n\nrequire k8s.io/kubernetes v{version}\n\nreplace (\n{replaced})\n"


def go(folder: Path, *args: str) -> str:
    """Run the go command, politely: it takes minutes of every core it gets."""
    env = {**os.environ, "GOFLAGS": "-mod=mod", "GOWORK": "off"}
    return subprocess.run(["nice", "-n", "15", "go", *args], cwd=folder, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def missing_go() -> str:
    """Why the go command on PATH will not do, or nothing."""
    if shutil.which("go") is None:
        return f"Go {'.'.join(map(str, LEAST_GO))} or newer is needed on PATH: https://go.dev/dl"
    said = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
    match = re.match(r"go(\d+)\.(\d+)", said)
    if match and (int(match[1]), int(match[2])) < LEAST_GO:
        return f"Go {'.'.join(map(str, LEAST_GO))} or newer is needed on PATH; this is {said.strip()}"
    return ""


def _folder(name: str) -> Path:
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def kubernetes() -> None:
    """The three programs of Kubernetes."""
    folder = _folder("kubernetes")
    (folder / "go.mod").write_text("module judge/kubernetes\n\ngo 1.24.0\n")
    found = json.loads(go(folder, "mod", "download", "-json", f"k8s.io/kubernetes@v{KUBERNETES}"))
    (folder / "go.mod").write_text(modules(Path(found["GoMod"]).read_text(), KUBERNETES))
    major, minor, _ = KUBERNETES.split(".")
    named = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    flags = " ".join(["-s -w", *(f"-X {VERSION}.{key}={value}" for key, value in named.items())])
    mains = [f"k8s.io/kubernetes/cmd/{name}" for name in PROGRAMS]
    go(folder, "build", "-p", "2", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", f"{BINARIES}/", *mains)


def etcd() -> None:
    """etcd, newer than what distributions carry."""
    folder = _folder("etcd")
    (folder / "go.mod").write_text(f"module judge/etcd\n\ngo 1.24.0\n\nrequire go.etcd.io/etcd/server/v3 v{ETCD}\n")
    (folder / "main.go").write_text(MAIN)
    go(folder, "build", "-p", "2", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", str(BINARIES / "etcd"), ".")


def main() -> int:
    """Build what is not there yet."""
    BINARIES.mkdir(parents=True, exist_ok=True)
    steps = [(etcd, ("etcd",)), (kubernetes, PROGRAMS)]
    wanted = [step for step, names in steps if not all((BINARIES / name).exists() for name in names)]
    if wanted and (why := missing_go()):
        print(f"judge: {why}", file=sys.stderr)
        return 1
    for step in wanted:
        begun = time.monotonic()
        print(f"judge: building {step.__name__}", file=sys.stderr, flush=True)
        step()
        print(f"judge: {step.__name__} built in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
