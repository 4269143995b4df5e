"""Nothing leaves this machine: a whole rehearsal in a network namespace that has nothing but `lo`."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.lab.rig import Rig

pytestmark = pytest.mark.lab
ALONE = ["unshare", "--map-root-user", "--net", "sh", "-euc", 'ip link set lo up; exec "$@"', "alone"]


def namespaces() -> bool:
    """Whether this machine lets us make a network namespace."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not namespaces(), reason="this machine allows no network namespace (unshare, ip)")
def test_a_rehearsal_needs_nothing_but_loopback(tmp_path: Path) -> None:
    argv = [*ALONE, sys.executable, "-m", "orchestrator", "-q", "rehearse", "--until", "network@infra", "--dir", str(tmp_path / "lab")]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_all_that_the_product_dials_in_the_lab_is_loopback(tmp_path: Path) -> None:
    """By every URL and address of the lab's copy of the site that this workstation dials."""
    import inventory

    with Rig(tmp_path / "lab") as rig:
        site = inventory.load(rig.site / "site.yaml")
    dialled = [site.git.url, site.factory.url, *(cluster.api or "" for cluster in site.clusters)]
    dialled += [f"ssh://{site.gateway.address}"] if site.gateway else []
    dialled += [site.store.endpoint] if site.store else []
    for url in dialled:
        assert ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback, url


def test_no_argv_of_ours_reaches_past_the_simulated_programs() -> None:
    """Production code opens connections in adapters alone, and `git` is the only program that dials by itself."""
    root = Path(__file__).parents[2] / "orchestrator"
    openers = re.compile(r"\b(socket\.create_connection|urllib3\.PoolManager|paramiko\.SSHClient|subprocess\.(run|Popen))\b")
    found = {path.parent.name for path in root.rglob("*.py") if openers.search(path.read_text())}
    assert found <= {"adapters", "cli"}
