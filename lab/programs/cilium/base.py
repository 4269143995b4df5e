"""What the commands of `cilium` share: the cluster, its pods, and Helm actions on the release."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.cilium.attach import Cilium
from lab.helm import catalog, goyaml
from lab.helm import values as val
from lab.helm.charts import Chart, ChartError
from lab.helm.engine import Helm
from lab.kube.port import KubeError
from lab.kube.registry import VERSION_INFO
from lab.programs.access import GuardedPort, Target, Unreachable, kinds_of, resolve
from lab.programs.call import Call

CLI, DEFAULT_IMAGE = "v0.18.8", "v1.18.2"
RELEASE = "cilium"
REFUSED = (Unreachable, KubeError)


class Fail(Exception):
    """Ends the program. `titled`: behind an empty line and `Error: `, as most commands do."""

    def __init__(self, message: str, *, titled: bool = True) -> None:
        super().__init__(message)
        self.titled = titled


@dataclass(slots=True)
class Client:
    """One cluster as the program sees it."""

    call: Call
    target: Target
    port: GuardedPort
    namespace: str

    @property
    def inside(self) -> Cilium | None:
        """Cilium in that cluster, where it answers."""
        found: Cilium | None = self.target.lab.cilium if self.target.lab is not None and not self.target.problem else None
        return found

    def helm(self) -> Helm:
        """Helm actions on the cluster."""
        return Helm(
            self.port, kinds_of(self.target), self.call.clock, self.namespace, kube_version=VERSION_INFO["gitVersion"],
            told_to_stop=lambda: bool(self.call.signal),
        )  # fmt: skip

    async def pods(self, selector: str) -> list[dict[str, Any]]:
        """Pods of Cilium's namespace by label, by name."""
        found, _ = await self.port.list("v1/pods", self.namespace, labels=selector)
        return sorted(found, key=lambda p: str(p["metadata"]["name"]))

    async def config(self) -> Mapping[str, str]:
        """The data of cilium-config. Raises KubeError 404 as the program words it."""
        found = await self.port.get("v1/configmaps", "cilium-config", self.namespace)
        if found is None:
            raise KubeError(404, "NotFound", 'configmaps "cilium-config" not found')
        return dict(found.get("data") or {})

    async def exec_problem(self, node: str) -> str:
        """Why a command cannot be run on a node's pods; empty where it can: its kubelet may wait for a serving certificate."""
        lab = self.target.lab
        machine = next((m for m in self.call.world.machines.values() if m.hostname == node and m.cluster is lab), None)
        if lab is None or machine is None or not await lab.serving_certificate_pending(machine):
            return ""
        return "error dialing backend: remote error: tls: internal error"


def client(call: Call, context: str | None = None, kubeconfig: str | None = None) -> Client:
    """The cluster of a call, or that of another context. Raises ConfigError."""
    target = resolve(call, call.flags["context"] if context is None else context, call.flags["kubeconfig"] if kubeconfig is None else kubeconfig)
    return Client(call, target, GuardedPort(target, f"cilium-cli/{CLI}"), call.flags["namespace"])


async def until(call: Call, seconds: float, done: Callable[[], Awaitable[bool]], every: float = 2.0) -> bool:
    """Ask until `done` or the end of time; whether it was done."""
    end = call.clock.seconds() + seconds
    while not await done():
        if call.clock.seconds() >= end:
            return False
        await call.sleep(min(every, max(end - call.clock.seconds(), 0.05)))
    return True


def chart(version: str) -> Chart:
    """The chart at a version. Fails as the program does."""
    try:
        return catalog.from_repository("https://helm.cilium.io", "cilium", version.removeprefix("v"))
    except ChartError as error:
        raise Fail(str(error), titled=False) from error


def values(call: Call, title: str) -> val.Values:
    """--values files, then --set and its kin."""
    out: val.Values = {}
    try:
        for name in call.flags.get("values", ()):
            out = val.merge(out, goyaml.load(call.path(name).read_text()) or {})
        for flag in ("set", "set-string", "set-file"):
            for expression in call.flags.get(flag, ()):
                val.apply_set(out, expression, as_string=flag != "set")
    except FileNotFoundError as error:
        raise Fail(f"{title}: open {error.filename.rsplit('/', 1)[-1]}: no such file or directory") from error
    except (goyaml.YamlError, val.SetError) as error:
        raise Fail(f"{title}: {error}") from error
    return out
