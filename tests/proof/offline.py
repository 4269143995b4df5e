"""A site on disk whose every address is a closed port of this machine: commands run for real and reach nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import inventory
from lab import sitecopy

EXAMPLES = Path(inventory.__file__).parent / "sites"
NOBODY = "127.0.0.1:9"  # the discard port: nothing listens, so every dial is refused at once
CREDENTIALS = sitecopy.Credentials(gateway_password="gateway-pass-word", git_token="git-token-value", access_key="access-key-value", secret_key="secret-key-value")


def write(folder: Path, example: str = "single-node") -> Path:
    """Write an example with addresses that lead nowhere, and the secrets that it reads. -> the site's folder"""
    site = inventory.load(EXAMPLES / example / "site.yaml")
    apis = {cluster.name: f"https://127.0.0.1:{port}" for port, cluster in enumerate(site.clusters, 1)}
    changed = sitecopy.addresses(site, factory=f"http://{NOBODY}", apis=apis, gateway_port=9, git_url=_git(str(site.git.url)), store=f"http://{NOBODY}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.yaml").write_text(sitecopy.text(site, changed | {"timing.poll": 0.05, "timing.scale": 0.001}))
    sitecopy.place(site, folder, CREDENTIALS, gateway_hosts="[127.0.0.1]:9 ssh-ed25519 AAAA", git_hosts="[127.0.0.1]:9 ssh-ed25519 AAAA")
    return folder


def _git(url: str) -> str:
    return f"ssh://git@{NOBODY}/x.git" if url.startswith("ssh") else f"https://{NOBODY}/x.git"


def environment(**more: str) -> dict[str, str]:
    """What a command of the product gets in these tests: no ambient configuration, no home."""
    return {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8", "PYTHONPATH": str(Path(__file__).parents[2])} | more


def bootstrap(*args: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """The real command, as a program of its own."""
    argv = [sys.executable, "-m", "orchestrator", *map(str, args)]
    return subprocess.run(argv, cwd=cwd or Path(os.sep), env=environment() if env is None else env, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True, text=True, timeout=60, check=False)
