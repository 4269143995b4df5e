"""Kubelets: nodes that register, keep their status and lease, and run the pods that are bound to them.

One `Kubelets` controller plays all kubelets of a cluster (three thousand of them cost no task each); a `Kubelet` is the handle by which
whoever owns the machine starts, stops and reboots one. Sources: k8s.io/kubernetes/pkg/kubelet (events, nodestatus, status), 1.33.
"""

from __future__ import annotations

import hashlib
import ipaddress
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from lab.clock import Clock
from lab.ctl.base import Controller, Informers, Keys, key_of, split_key
from lab.ctl.behaviour import Behaviour, Behaviours, Exit
from lab.ctl.objects import (
    Object,
    ReadOnly,
    condition,
    deleting,
    micro_stamp,
    pod_finished,
    set_condition,
    stamp,
)
from lab.kube.port import KubeError, KubePort

PODS, NODES, LEASES = "v1/pods", "v1/nodes", "coordination.k8s.io/v1/leases"
LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40  # kubelet's nodeLeaseDurationSeconds
LEASE_RENEW = 10.0  # simulated seconds, but see `Kubelets.renew_wall`
LEASES_FREE = 20  # nodes beyond which leases are renewed more seldom still
PULL_SECONDS = (0.8, 2.5)  # a guess for a near registry
START_SECONDS = 0.4
INIT_SECONDS = 1.0
STOP_SECONDS = 1.0  # containers mind SIGTERM
READY_SECONDS = 0.5
PROBE_SECONDS = 5.0  # between looks at a readiness that a domain holds back
MOUNT_RETRY = (1.0, 30.0)
CRASH_BACKOFF = (10.0, 300.0)  # kubelet's MaxContainerBackOff
NOT_INITIALIZED = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:Network plugin returns error: cni plugin not initialized"
)
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}  # as admission adds it to every new node
NO_EXECUTE_ALL = [{"operator": "Exists", "effect": "NoExecute"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """A machine as its kubelet reports it. `addresses` are internal, the first one is the node's; sizes are Kubernetes quantities."""

    name: str
    addresses: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    cpu: str = "4"
    memory: str = "16Gi"
    ephemeral_storage: str = "100Gi"
    max_pods: int = 110
    architecture: str = "amd64"
    os_image: str = "Talos (v1.11.5)"
    kernel: str = "6.12.57-talos"
    container_runtime: str = "containerd://2.1.5"
    kubelet_version: str = "v1.33.13"
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    pod_cidr: str = ""  # where the node's own spec.podCIDR is not to be used for addresses of pods


class Kubelet:
    """One node's kubelet. Nothing here waits: what it says reaches the API a little later.

    `stop` is a machine that goes away: its pods and its Node stay in the API until others notice. `start` after it with the same
    `boot_id` takes up what ran; `reboot` gives a new one, and every container of the node starts again.
    """

    def __init__(
        self,
        port: KubePort,
        clock: Clock,
        spec: NodeSpec,
        *,
        kubelets: Kubelets | None = None,
        cni_ready: bool = False,
        static_pods: Sequence[Object] = (),
    ) -> None:
        self.kubelets = kubelets or Kubelets.shared(port, clock)
        self.spec = spec if spec.boot_id else replace(spec, boot_id=str(uuid.uuid4()))
        self.static_pods: list[Object] = list(static_pods)
        self.started_at = 0.0
        self._cni_ready = cni_ready
        self._running = False

    @property
    def name(self) -> str:
        """The node's name."""
        return self.spec.name

    @property
    def running(self) -> bool:
        """Whether the machine is up and its kubelet speaks."""
        return self._running

    @property
    def cni_ready(self) -> bool:
        """Whether a CNI plugin is configured on the node; until then it is NotReady and only host-network pods start."""
        return self._cni_ready

    @cni_ready.setter
    def cni_ready(self, ready: bool) -> None:
        if ready != self._cni_ready:
            self._cni_ready = ready
            self.kubelets.touch(self.name)

    async def start(self) -> None:
        """Begin to speak for the node."""
        self._running = True
        self.started_at = self.kubelets.clock.seconds()
        await self.kubelets.start()
        self.kubelets.add(self)

    async def stop(self) -> None:
        """Fall silent."""
        self._running = False
        self.kubelets.silence(self)

    async def reboot(self, *, boot_id: str = "") -> None:
        """Come back as a machine that has been off: a new boot id, all containers anew. Call `stop` first for one that goes down."""
        self.spec = replace(self.spec, boot_id=boot_id or str(uuid.uuid4()))
        await self.start()

    async def remove(self) -> None:
        """Fall silent for good; the Node object is its owner's to delete."""
        await self.stop()
        self.kubelets.discard(self)


@dataclass(slots=True)
class Runtime:
    """What a node knows of a pod that its status does not say."""

    boot_id: str
    stage: str = "new"  # new, pulling, init, running, crashed, finished
    due: float = 0.0  # simulated seconds at which the stage ends
    restarts: int = 0
    mounts_failed: int = 0
    ready_at: float = 0.0
    ends: Exit | None = None
    ends_at: float = 0.0
    stopping: float = 0.0


class Kubelets(Controller):
    """All kubelets of a cluster. Keys are "namespace/name" of pods and names of nodes.

    `renew_wall` bounds how often leases are renewed, in wall seconds: an idle lab at high speed is to cost nothing. The lab's own
    node lifecycle looks at `Informers.silent`; a real controller manager wants 10.
    """

    name: ClassVar[str] = "kubelet"
    component: ClassVar[str] = "kubelet"
    lag: ClassVar[tuple[float, float]] = (0.1, 0.4)
    parallel: ClassVar[int] = 4
    _shared: ClassVar[WeakKeyDictionary[Any, Kubelets]] = WeakKeyDictionary()

    def __init__(
        self,
        port: KubePort,
        clock: Clock,
        informers: Informers | None = None,
        *,
        behaviours: Behaviours | None = None,
        seed: int = 0,
        renew_wall: float = 30.0,
    ) -> None:
        super().__init__(port, clock, informers, seed=seed)
        self.behaviours = behaviours or Behaviours(clock)
        self.renew_wall = renew_wall
        self.nodes: dict[str, Kubelet] = {}
        self._pods: dict[str, Runtime] = {}  # by uid
        self._addresses: dict[str, Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]] = {}
        self._used: dict[str, str] = {}  # address -> pod uid
        self._images: dict[str, set[str]] = {}  # by node
        self._renewed: dict[str, float] = {}
        self._shared.setdefault(port, self)

    @classmethod
    def shared(cls, port: KubePort, clock: Clock) -> Kubelets:
        """The one that plays the kubelets behind a port, made at first use."""
        return cls._shared.get(port) or cls(port, clock)

    def watches(self) -> Mapping[str, Keys]:
        return {PODS: self._pod_keys, NODES: self._node_keys}

    async def start(self) -> None:
        """As any controller; and pods that are gone are forgotten."""
        if not self.running:
            pods = self.informers.of(PODS)
            pods.remove_handler(self._seen)
            pods.add_handler(self._seen)
            for pod in pods.values():
                self._seen("ADDED", pod, None)
        await super().start()

    def _seen(self, kind: str, pod: Object, _old: Object | None) -> None:
        """Addresses are taken by the pods that have them, also by those of a world that was resumed."""
        uid = pod["metadata"]["uid"]
        if kind == "DELETED":
            self._forget(pod)
        elif not pod["spec"].get("hostNetwork"):
            for entry in pod.get("status", {}).get("podIPs") or ():
                self._used.setdefault(entry["ip"], uid)

    def poke(self, pod: ReadOnly) -> None:
        """Look at a pod again: what its behaviour answers has changed."""
        self.enqueue(key_of(pod), 0.0)

    def touch(self, node: str) -> None:
        """Look at a node and all its pods again."""
        self.enqueue(node)
        for pod in self.informers.of(PODS).find("node", node):
            self.enqueue(key_of(pod))

    def add(self, kubelet: Kubelet) -> None:
        """A kubelet speaks from now on."""
        self.nodes[kubelet.name] = kubelet
        self._images[kubelet.name] = self._images.get(kubelet.name, set())
        self._renewed.pop(kubelet.name, None)
        self.informers.speaks(kubelet.name)
        self.touch(kubelet.name)

    def silence(self, kubelet: Kubelet) -> None:
        """A kubelet has fallen silent."""
        self.informers.falls_silent(kubelet.name)

    def discard(self, kubelet: Kubelet) -> None:
        """A machine is gone for good."""
        self.nodes.pop(kubelet.name, None)
        self._images.pop(kubelet.name, None)

    async def reconcile(self, key: str) -> float | None:
        if "/" in key:
            return await self._reconcile_pod(key)
        kubelet = self.nodes.get(key)
        return await self._reconcile_node(kubelet) if kubelet is not None and kubelet.running else None

    def _pod_keys(self, pod: Object) -> Iterable[str]:
        return (key_of(pod),) if pod["spec"].get("nodeName") in self.nodes else ()

    def _node_keys(self, node: Object) -> Iterable[str]:
        name = node["metadata"]["name"]
        return (name,) if name in self.nodes else ()

    # ------------------------------------------------------------------------------------------------------- nodes
    async def _reconcile_node(self, kubelet: Kubelet) -> float | None:
        name = kubelet.name
        node = self.informers.of(NODES).get(name)
        if node is None:
            made = await self._register(kubelet)
            if made is None:
                return 1.0
            node = made
        wanted = node_status(kubelet, node, stamp(self.clock.now()))
        if wanted is not None:
            await self._announce(kubelet, node)
            self.informers.of(NODES).note(await self.port.patch(NODES, name, {"status": wanted}, subresource="status"))
        for pod in kubelet.static_pods:
            await self._mirror(kubelet, node, pod)
        return await self._renew(kubelet, node)

    async def _register(self, kubelet: Kubelet) -> Object | None:
        try:
            made = await self.port.create(NODES, new_node(kubelet.spec))
        except KubeError as error:
            if error.status != 409:
                raise
            return await self.port.get(NODES, kubelet.name)
        self.informers.of(NODES).note(made)
        return made

    async def _announce(self, kubelet: Kubelet, node: ReadOnly) -> None:
        about = {
            **node,
            "metadata": {**node["metadata"], "uid": kubelet.name},
        }  # a kubelet knows its node by name alone
        before = node.get("status", {}).get("nodeInfo", {}).get("bootID", "")
        if before != kubelet.spec.boot_id:
            self._tell(kubelet, about, "Starting", "Starting kubelet.")
            for reason in ("NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"):
                self._tell(kubelet, about, reason, f"Node {kubelet.name} status is now: {reason}")
            self._tell(kubelet, about, "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")
            if before:
                text = f"Node {kubelet.name} has been rebooted, boot id: {kubelet.spec.boot_id}"
                self._tell(kubelet, about, "Rebooted", text, "Warning")
        ready = condition(node, "Ready")
        if kubelet.cni_ready != (ready is not None and ready["status"] == "True"):
            reason = "NodeReady" if kubelet.cni_ready else "NodeNotReady"
            if ready is not None or kubelet.cni_ready:
                self._tell(kubelet, about, reason, f"Node {kubelet.name} status is now: {reason}")

    async def _renew(self, kubelet: Kubelet, node: ReadOnly) -> float:
        crowd = max(1.0, len(self.nodes) / LEASES_FREE)
        every = max(LEASE_RENEW, self.renew_wall * self.clock.speed * crowd)
        left = self._renewed.get(kubelet.name, -every) + every - self.clock.seconds()
        if left > 0.001:
            return left
        self._renewed[kubelet.name] = self.clock.seconds()
        renewed = {"spec": {"renewTime": micro_stamp(self.clock.now())}}
        try:
            await self.port.patch(LEASES, kubelet.name, renewed, LEASE_NAMESPACE)
        except KubeError as error:
            if error.status != 404:
                raise
            await self._make_lease(kubelet, node)
        return every

    async def _make_lease(self, kubelet: Kubelet, node: ReadOnly) -> None:
        owner = {"apiVersion": "v1", "kind": "Node", "name": kubelet.name, "uid": node["metadata"]["uid"]}
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": kubelet.name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
            "spec": {
                "holderIdentity": kubelet.name,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": micro_stamp(self.clock.now()),
            },
        }
        try:
            await self.port.create(LEASES, lease, LEASE_NAMESPACE)
        except KubeError as error:
            if error.status not in (403, 404, 409):  # its namespace may come a little later: the next renewal makes it
                raise
            self._renewed.pop(kubelet.name, None)

    async def _mirror(self, kubelet: Kubelet, node: ReadOnly, static: Object) -> None:
        pod = mirror_pod(static, kubelet.name, node)
        if self.informers.of(PODS).get(key_of(pod)) is None:
            try:
                self.informers.of(PODS).note(await self.port.create(PODS, pod, pod["metadata"]["namespace"]))
            except KubeError as error:
                if error.status != 409:
                    raise

    # -------------------------------------------------------------------------------------------------------- pods
    async def _reconcile_pod(self, key: str) -> float | None:
        pod = self.informers.of(PODS).get(key)
        if pod is None:
            return None
        kubelet = self.nodes.get(pod["spec"].get("nodeName", ""))
        if kubelet is None or not kubelet.running:
            return None
        runtime = self._runtime(kubelet, pod)
        if deleting(pod):
            return await self._terminate(kubelet, pod, runtime)
        if pod_finished(pod):
            runtime.stage = "finished"
            return None
        if runtime.due > self.clock.seconds() + 0.001:
            return runtime.due - self.clock.seconds()
        match runtime.stage:
            case "new" | "crashed":
                return await self._begin(kubelet, pod, runtime)
            case "pulling":
                return await self._pulled(kubelet, pod, runtime)
            case "init":
                return await self._run(kubelet, pod, runtime)
            case "running":
                return await self._keep(kubelet, pod, runtime)
        return None

    def _runtime(self, kubelet: Kubelet, pod: ReadOnly) -> Runtime:
        """What the node knows of the pod. After a reboot all begins anew; a pod that ran under the same boot is taken up."""
        uid = pod["metadata"]["uid"]
        runtime = self._pods.get(uid)
        boot = kubelet.spec.boot_id
        statuses = pod.get("status", {}).get("containerStatuses") or ()
        restarts = max((s.get("restartCount", 0) for s in statuses), default=0)
        ran = any("running" in s.get("state", {}) for s in statuses)
        if runtime is None:
            node = self.informers.of(NODES).get(kubelet.name) or {}
            same_boot = node.get("status", {}).get("nodeInfo", {}).get("bootID") == boot
            runtime = Runtime(boot, restarts=restarts)
            if ran and same_boot:
                runtime.stage = "running"
                self._schedule_end(pod, runtime)
            elif ran:
                runtime.restarts += 1
            self._pods[uid] = runtime
        elif runtime.boot_id != boot:
            again = ran or runtime.stage == "running"
            runtime = self._pods[uid] = Runtime(boot, restarts=restarts + 1 if again else restarts)
        return runtime

    async def _begin(self, kubelet: Kubelet, pod: Object, runtime: Runtime) -> float | None:
        """Network, volumes, then the images."""
        await self._post(pod, starting_status(pod, kubelet.spec, stamp(self.clock.now()), runtime.restarts))
        if not kubelet.cni_ready and not pod["spec"].get("hostNetwork"):
            text = f"network is not ready: {NOT_INITIALIZED}"
            self._tell(kubelet, pod, "NetworkNotReady", text, "Warning")
            return None  # `touch` comes when the network does
        missing = await self._missing(pod)
        if missing:
            self._tell(kubelet, pod, "FailedMount", missing, "Warning")
            runtime.mounts_failed += 1
            return min(MOUNT_RETRY[0] * 2.0 ** min(runtime.mounts_failed, 6), MOUNT_RETRY[1])
        error = self._pull_error(pod)
        if error:
            return await self._pull_failed(kubelet, pod, runtime, error)
        images = self._images[kubelet.name]
        fresh = {c["image"] for c in containers(pod) if pulls(c, images)}
        for container in containers(pod):
            if container["image"] in fresh:
                self._say(kubelet, pod, container, "Pulling", f'Pulling image "{container["image"]}"')
        runtime.stage = "pulling"
        runtime.due = self.clock.seconds() + (self._random.uniform(*PULL_SECONDS) if fresh else START_SECONDS)
        return runtime.due - self.clock.seconds()

    async def _pulled(self, kubelet: Kubelet, pod: Object, runtime: Runtime) -> float | None:
        took = self._random.uniform(*PULL_SECONDS)
        images = self._images[kubelet.name]
        for container in containers(pod):
            image = container["image"]
            if pulls(container, images):
                size = 5_000_000 + int(_digest(image)[:6], 16) * 8
                text = f'Successfully pulled image "{image}" in {took:.3f}s ({took:.3f}s including waiting). Image size: {size} bytes.'
            else:
                text = f'Container image "{image}" already present on machine'
            self._say(kubelet, pod, container, "Pulled", text)
            self._say(kubelet, pod, container, "Created", f"Created container: {container['name']}")
            self._say(kubelet, pod, container, "Started", f"Started container {container['name']}")
        images.update(c["image"] for c in containers(pod))
        inits = pod["spec"].get("initContainers") or ()
        if not inits:
            return await self._run(kubelet, pod, runtime)
        runtime.stage = "init"
        runtime.due = self.clock.seconds() + INIT_SECONDS * len(inits)
        return runtime.due - self.clock.seconds()

    async def _run(self, kubelet: Kubelet, pod: Object, runtime: Runtime) -> float | None:
        """All containers run; readiness comes later."""
        behaviour = self.behaviours.of(pod)
        runtime.stage = "running"
        delay = ready_delay(pod, behaviour)
        runtime.ready_at = self.clock.seconds() + delay
        self._schedule_end(pod, runtime)
        await self._post(pod, running_status(pod, self._facts(kubelet, pod, runtime), ready=False))
        return min(delay, runtime.ends.after) if runtime.ends else delay

    async def _keep(self, kubelet: Kubelet, pod: Object, runtime: Runtime) -> float | None:
        """Readiness, and the end of what ends."""
        now = self.clock.seconds()
        if runtime.ends is not None and runtime.ends_at <= now + 0.001:
            return await self._end(kubelet, pod, runtime, runtime.ends)
        waits = [runtime.ends_at - now] if runtime.ends else []
        if runtime.ready_at > now + 0.001:
            return min([runtime.ready_at - now, *waits])
        behaviour = self.behaviours.of(pod)
        why = behaviour.ready(pod) if behaviour.ready else ""
        held = any(g for g in pod["spec"].get("readinessGates") or () if _gate(pod, g["conditionType"]) != "True")
        await self._post(
            pod, running_status(pod, self._facts(kubelet, pod, runtime), ready=not why, gates_met=not held)
        )
        if why:
            container = pod["spec"]["containers"][0]
            self._say(kubelet, pod, container, "Unhealthy", f"Readiness probe failed: {why}", "Warning")
            waits.append(PROBE_SECONDS)
        return min(waits) if waits else None

    async def _end(self, kubelet: Kubelet, pod: Object, runtime: Runtime, end: Exit) -> float | None:
        """The containers have exited."""
        policy = pod["spec"].get("restartPolicy", "Always")
        facts = self._facts(kubelet, pod, runtime)
        if policy == "Never" or (policy == "OnFailure" and end.code == 0):
            runtime.stage = "finished"
            await self._post(pod, ended_status(pod, facts, end))
            return None
        runtime.restarts += 1
        backoff = min(CRASH_BACKOFF[0] * 2.0 ** min(runtime.restarts - 1, 6), CRASH_BACKOFF[1])
        runtime.stage, runtime.ends = "crashed", None
        runtime.due = self.clock.seconds() + backoff
        await self._post(pod, crashed_status(pod, facts, end, backoff))
        first = pod["spec"]["containers"][0]
        name = f"{pod['metadata']['name']}_{pod['metadata']['namespace']}({pod['metadata']['uid']})"
        text = f"Back-off restarting failed container {first['name']} in pod {name}"
        self._say(kubelet, pod, first, "BackOff", text, "Warning")
        return backoff

    async def _terminate(self, kubelet: Kubelet, pod: Object, runtime: Runtime) -> float | None:
        """Stop the containers, then remove the pod for good."""
        now = self.clock.seconds()
        if not runtime.stopping:
            grace = pod["metadata"].get("deletionGracePeriodSeconds", 30)
            runs = runtime.stage == "running"
            runtime.stopping = now + (min(float(grace), STOP_SECONDS) if runs else 0.0)
            if runs:
                for container in pod["spec"]["containers"]:
                    self._say(kubelet, pod, container, "Killing", f"Stopping container {container['name']}")
        if runtime.stopping > now + 0.001:
            return runtime.stopping - now
        namespace, name = split_key(key_of(pod))
        if pod["metadata"].get("finalizers") and not pod_finished(pod):
            await self._post(pod, ended_status(pod, self._facts(kubelet, pod, runtime), Exit()))
        try:
            await self.port.delete(PODS, name, namespace, grace=0)
        except KubeError as error:
            if error.status != 404:
                raise
        if not pod["metadata"].get("finalizers"):
            self._forget(pod)
            self.informers.of(PODS).note_deleted(pod)
        return None

    def _forget(self, pod: ReadOnly) -> None:
        uid = pod["metadata"]["uid"]
        self._pods.pop(uid, None)
        self.behaviours.forget(pod)
        for entry in pod.get("status", {}).get("podIPs") or ():
            if self._used.get(entry["ip"]) == uid:
                del self._used[entry["ip"]]

    async def _post(self, pod: Object, status: Object | None) -> None:
        """Write a pod's status where it differs from what is known."""
        old = pod.get("status", {})
        if status is None or all(old.get(key) == value for key, value in status.items()):
            return
        namespace, name = split_key(key_of(pod))
        try:
            posted = await self.port.patch(PODS, name, {"status": status}, namespace, subresource="status")
        except KubeError as error:
            if error.status != 404:
                raise
            return
        self.informers.of(PODS).note(posted)

    async def _missing(self, pod: ReadOnly) -> str:
        """The event's text where a volume's source is not there, else ""."""
        namespace = pod["metadata"]["namespace"]
        for gvr, kind, name, volume in sources(pod):
            if await self.port.get(gvr, name, namespace) is None:
                return f'MountVolume.SetUp failed for volume "{volume}" : {kind} "{name}" not found'
        return ""

    def _pull_error(self, pod: ReadOnly) -> str:
        asked = self.behaviours.of(pod).pull_error
        return asked(pod) if asked else ""

    async def _pull_failed(self, kubelet: Kubelet, pod: Object, runtime: Runtime, error: str) -> float:
        container = pod["spec"]["containers"][0]
        image = container["image"]
        self._say(kubelet, pod, container, "Failed", f'Failed to pull image "{image}": {error}', "Warning")
        self._say(kubelet, pod, container, "Failed", "Error: ErrImagePull", "Warning")
        self._say(kubelet, pod, container, "BackOff", f'Back-off pulling image "{image}"')
        status = starting_status(pod, kubelet.spec, stamp(self.clock.now()), runtime.restarts) or pod["status"]
        waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}": {error}'}
        statuses = [{**s, "state": {"waiting": waiting}} for s in status["containerStatuses"]]
        await self._post(pod, {**status, "containerStatuses": statuses})
        runtime.mounts_failed += 1
        return min(CRASH_BACKOFF[0] * 2.0 ** min(runtime.mounts_failed - 1, 6), CRASH_BACKOFF[1])

    def _schedule_end(self, pod: ReadOnly, runtime: Runtime) -> None:
        runtime.ends = self.behaviours.exit_of(pod)
        if runtime.ends is not None:
            runtime.ends_at = self.clock.seconds() + runtime.ends.after

    def _facts(self, kubelet: Kubelet, pod: ReadOnly, runtime: Runtime) -> Facts:
        started = pod.get("status", {}).get("startTime") or stamp(self.clock.now())
        own = kubelet.spec.addresses
        addresses = list(own) if pod["spec"].get("hostNetwork") else self._pod_addresses(kubelet, pod)
        return Facts(list(own), addresses, started, stamp(self.clock.now()), runtime.restarts, kubelet.spec.boot_id)

    def _pod_addresses(self, kubelet: Kubelet, pod: ReadOnly) -> list[str]:
        known = [entry["ip"] for entry in pod.get("status", {}).get("podIPs") or ()]
        if known:
            return known
        node = self.informers.of(NODES).get(kubelet.name) or {"spec": {}}
        ranges = [kubelet.spec.pod_cidr] if kubelet.spec.pod_cidr else list(node["spec"].get("podCIDRs") or ())
        return [
            self._address(cidr, pod["metadata"]["uid"]) for cidr in ranges or [f"10.244.{_octet(kubelet.name)}.0/24"]
        ]

    def _address(self, cidr: str, uid: str) -> str:
        """The next free address of a range; addresses come round again when the range is used up."""
        for _ in range(2):
            hosts = self._addresses.setdefault(cidr, _hosts(cidr))
            for address in hosts:
                if str(address) not in self._used:
                    self._used[str(address)] = uid
                    return str(address)
            del self._addresses[cidr]
        return str(ipaddress.ip_network(cidr)[-2])

    def _tell(self, kubelet: Kubelet, about: ReadOnly, reason: str, message: str, kind: str = "Normal") -> None:
        self.events.emit(about, reason, message, kind, kubelet.name)

    def _say(
        self, kubelet: Kubelet, pod: ReadOnly, container: ReadOnly, reason: str, message: str, kind: str = "Normal"
    ) -> None:
        field_name = "initContainers" if container in (pod["spec"].get("initContainers") or ()) else "containers"
        about = {**pod, "fieldPath": f"spec.{field_name}{{{container['name']}}}"}
        self._tell(kubelet, about, reason, message, kind)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a status is made from, besides the pod."""

    host_ips: list[str]
    pod_ips: list[str]
    started: str
    now: str
    restarts: int
    boot_id: str


# ------------------------------------------------------------------------------------------------------ pure: nodes


def new_node(spec: NodeSpec) -> Object:
    """The Node that a kubelet registers."""
    labels = {
        "beta.kubernetes.io/arch": spec.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": spec.architecture,
        "kubernetes.io/hostname": spec.name,
        "kubernetes.io/os": "linux",
        **spec.labels,
    }
    annotations = {"volumes.kubernetes.io/controller-managed-attach-detach": "true", **spec.annotations}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": spec.name, "labels": labels, "annotations": annotations},
        "spec": {"taints": [*(dict(t) for t in spec.taints), NOT_READY]},
    }


def node_status(kubelet: Kubelet, node: ReadOnly, now: str) -> Object | None:
    """The status to write, or None where the node already says all of it."""
    spec, old = kubelet.spec, node.get("status", {})
    conditions: list[Object] = list(old.get("conditions") or ())
    for wanted in node_conditions(kubelet.cni_ready):
        held = next((c for c in conditions if c["type"] == wanted["type"]), None)
        if held is None or any(held.get(key) != wanted[key] for key in ("status", "reason", "message")):
            conditions = set_condition(conditions, {**wanted, "lastHeartbeatTime": now}, now)
    capacity = {
        "cpu": spec.cpu,
        "ephemeral-storage": spec.ephemeral_storage,
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "memory": spec.memory,
        "pods": str(spec.max_pods),
    }
    status = {
        "addresses": [
            *({"type": "InternalIP", "address": address} for address in spec.addresses),
            {"type": "Hostname", "address": spec.name},
        ],
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": conditions,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "architecture": spec.architecture,
            "bootID": spec.boot_id,
            "containerRuntimeVersion": spec.container_runtime,
            "kernelVersion": spec.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": spec.kubelet_version,
            "machineID": spec.machine_id or _digest(spec.name)[:32],
            "operatingSystem": "linux",
            "osImage": spec.os_image,
            "systemUUID": spec.system_uuid or str(uuid.uuid5(uuid.NAMESPACE_DNS, spec.name)),
        },
    }
    same = (
        all(old.get(key) == value for key, value in status.items() if key not in ("capacity", "allocatable"))
        and capacity.keys() <= old.get("capacity", {}).keys()
    )  # the API writes quantities in its own form
    return None if same else status


def node_conditions(cni_ready: bool) -> Iterator[Object]:
    """The kubelet's conditions; Ready comes last."""
    for kind, reason, message in (
        ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ):
        yield {"type": kind, "status": "False", "reason": reason, "message": message}
    if cni_ready:
        yield {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
        }
    else:
        yield {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": NOT_INITIALIZED}


def mirror_pod(static: Object, node_name: str, node: ReadOnly) -> Object:
    """The mirror of a static pod. Source: kubelet's pod/mirror_client.go and config/common.go."""
    digest = _digest(repr(static))[:32]
    meta = static["metadata"]
    annotations = {
        **(meta.get("annotations") or {}),
        "kubernetes.io/config.hash": digest,
        "kubernetes.io/config.mirror": digest,
        "kubernetes.io/config.seen": node["metadata"].get("creationTimestamp", ""),
        "kubernetes.io/config.source": "file",
    }
    owner = {"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": node["metadata"]["uid"], "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **meta,
            "name": f"{meta['name']}-{node_name}",
            "namespace": meta.get("namespace", "kube-system"),
            "annotations": annotations,
            "ownerReferences": [owner],
        },
        "spec": {"tolerations": NO_EXECUTE_ALL, **static["spec"], "nodeName": node_name},
    }


# ------------------------------------------------------------------------------------------------------- pure: pods


def containers(pod: ReadOnly) -> list[Object]:
    """Init containers, then the others."""
    return [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]


def pulls(container: ReadOnly, present: set[str]) -> bool:
    """Whether the image is fetched, by its pull policy."""
    policy = container.get("imagePullPolicy") or ("Always" if ":latest" in container["image"] else "IfNotPresent")
    return policy == "Always" or container["image"] not in present


def sources(pod: ReadOnly) -> Iterator[tuple[str, str, str, str]]:
    """(gvr, kind, name, volume) of the ConfigMaps and Secrets without which the pod cannot start."""
    for volume in pod["spec"].get("volumes") or ():
        parts = [volume, *(volume.get("projected", {}).get("sources") or ())]
        for part in parts:
            config, secret = part.get("configMap"), part.get("secret")
            if config and not config.get("optional") and config.get("name") != "kube-root-ca.crt":
                yield "v1/configmaps", "configmap", config["name"], volume["name"]
            if secret and not secret.get("optional"):
                yield "v1/secrets", "secret", secret.get("secretName") or secret.get("name"), volume["name"]
    for container in containers(pod):
        refs = [*(e.get("valueFrom", {}) for e in container.get("env") or ()), *(container.get("envFrom") or ())]
        for ref in refs:
            config = ref.get("configMapKeyRef") or ref.get("configMapRef")
            secret = ref.get("secretKeyRef") or ref.get("secretRef")
            if config and not config.get("optional"):
                yield "v1/configmaps", "configmap", config["name"], container["name"]
            if secret and not secret.get("optional"):
                yield "v1/secrets", "secret", secret["name"], container["name"]


def ready_delay(pod: ReadOnly, behaviour: Behaviour) -> float:
    """Simulated seconds from start to ready: by the behaviour, else by the first readiness probe, else at once."""
    if behaviour.ready_after is not None:
        return behaviour.ready_after
    probes = [c["readinessProbe"] for c in pod["spec"]["containers"] if c.get("readinessProbe")]
    return max((float(p.get("initialDelaySeconds", 0)) + 1.0 for p in probes), default=READY_SECONDS)


def starting_status(pod: ReadOnly, node: NodeSpec, now: str, restarts: int) -> Object | None:
    """The first status of a pod on its node, or after a reboot: containers wait."""
    old = pod.get("status", {})
    statuses = old.get("containerStatuses") or ()
    if statuses and all("waiting" in s.get("state", {}) for s in statuses) and old.get("hostIP"):
        return None
    inits = pod["spec"].get("initContainers") or ()
    reason = "PodInitializing" if inits else "ContainerCreating"
    names = " ".join(c["name"] for c in pod["spec"]["containers"])
    conditions: list[Object] = list(old.get("conditions") or ())
    conditions = set_condition(conditions, {"type": "PodReadyToStartContainers", "status": "False"}, now)
    initialized: Object = {"type": "Initialized", "status": "False" if inits else "True"}
    if inits:
        waits = f"containers with incomplete status: [{' '.join(c['name'] for c in inits)}]"
        initialized |= {"reason": "ContainersNotInitialized", "message": waits}
    conditions = set_condition(conditions, initialized, now)
    unready = {
        "status": "False",
        "reason": "ContainersNotReady",
        "message": f"containers with unready status: [{names}]",
    }
    conditions = set_condition(conditions, {"type": "Ready", **unready}, now)
    conditions = set_condition(conditions, {"type": "ContainersReady", **unready}, now)
    conditions = set_condition(conditions, {"type": "PodScheduled", "status": "True"}, now)
    status: Object = {
        "phase": "Pending" if not restarts else "Running",
        "conditions": conditions,
        "hostIP": node.addresses[0],
        "hostIPs": [{"ip": address} for address in node.addresses],
        "startTime": old.get("startTime") or now,
        "containerStatuses": [waiting_container(c, reason, restarts) for c in pod["spec"]["containers"]],
    }
    if inits:
        status["initContainerStatuses"] = [waiting_container(c, "PodInitializing", 0) for c in inits]
    return status


def waiting_container(container: ReadOnly, reason: str, restarts: int) -> Object:
    """The status of a container that does not run yet."""
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": False,
        "started": False,
        "restartCount": restarts,
        "lastState": {},
        "state": {"waiting": {"reason": reason}},
    }


def running_status(pod: ReadOnly, facts: Facts, *, ready: bool, gates_met: bool = True) -> Object:
    """All containers run; they are ready or not."""
    old = {s["name"]: s for s in pod.get("status", {}).get("containerStatuses") or ()}
    names = " ".join(c["name"] for c in pod["spec"]["containers"])
    conditions: list[Object] = list(pod.get("status", {}).get("conditions") or ())
    for kind in ("PodReadyToStartContainers", "Initialized"):
        conditions = set_condition(_without(conditions, kind, "True"), {"type": kind, "status": "True"}, facts.now)
    unready = {"reason": "ContainersNotReady", "message": f"containers with unready status: [{names}]"}
    gated = {
        "reason": "ReadinessGatesNotReady",
        "message": "corresponding condition of pod readiness gate does not exist.",
    }
    for kind, status, why in (
        ("Ready", ready and gates_met, gated if ready else unready),
        ("ContainersReady", ready, unready),
        ("PodScheduled", True, {}),
    ):
        text = "True" if status else "False"
        new = {"type": kind, "status": text, **({} if status else why)}
        conditions = set_condition(_without(conditions, kind, text), new, facts.now)
    status_: Object = {
        "phase": "Running",
        "conditions": conditions,
        **_addresses(facts),
        "containerStatuses": [
            running_container(pod, c, old.get(c["name"], {}), facts, ready) for c in pod["spec"]["containers"]
        ],
    }
    inits = pod["spec"].get("initContainers") or ()
    if inits:
        known = {s["name"]: s for s in pod["status"].get("initContainerStatuses") or ()}
        status_["initContainerStatuses"] = [init_done(pod, c, known.get(c["name"], {}), facts) for c in inits]
    return status_


def running_container(pod: ReadOnly, container: ReadOnly, old: ReadOnly, facts: Facts, ready: bool) -> Object:
    """The status of a container that runs; one that restarted says how it ended before."""
    runs = old.get("state", {}).get("running") if old.get("restartCount") == facts.restarts else None
    last = old.get("lastState") or {}
    if runs is None and facts.restarts and not last:
        last = {"terminated": terminated(pod, container, facts, Exit(255), facts.restarts - 1, reason="Unknown")}
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": f"{container['image'].split('@')[0].rpartition(':')[0] or container['image']}@sha256:{_digest(container['image'])}",
        "containerID": container_id(pod, container, facts.restarts),
        "ready": ready,
        "started": True,
        "restartCount": facts.restarts,
        "lastState": last,
        "state": {"running": runs or {"startedAt": facts.now}},
    }


def init_done(pod: ReadOnly, container: ReadOnly, old: ReadOnly, facts: Facts) -> Object:
    """The status of an init container that has done its work; a sidecar runs on."""
    if old.get("ready"):
        return dict(old)
    base = waiting_container(container, "", 0) | {
        "imageID": f"{container['image']}@sha256:{_digest(container['image'])}",
        "containerID": container_id(pod, container, 0),
        "ready": True,
    }
    if container.get("restartPolicy") == "Always":
        return base | {"started": True, "state": {"running": {"startedAt": facts.now}}}
    return base | {"state": {"terminated": terminated(pod, container, facts, Exit(), 0)}}


def ended_status(pod: ReadOnly, facts: Facts, end: Exit) -> Object:
    """The pod has run to its end."""
    reason = "PodCompleted" if end.code == 0 else "PodFailed"
    conditions: list[Object] = list(pod.get("status", {}).get("conditions") or ())
    for kind, status in (
        ("PodReadyToStartContainers", "False"),
        ("Initialized", "True"),
        ("Ready", "False"),
        ("ContainersReady", "False"),
        ("PodScheduled", "True"),
    ):
        why = (
            {"reason": reason}
            if kind in ("Ready", "ContainersReady") or (kind == "Initialized" and end.code == 0)
            else {}
        )
        conditions = set_condition(
            _without(conditions, kind, status), {"type": kind, "status": status, **why}, facts.now
        )
    old = {s["name"]: s for s in pod.get("status", {}).get("containerStatuses") or ()}
    statuses = []
    for c in pod["spec"]["containers"]:
        base = running_container(pod, c, old.get(c["name"], {}), facts, False)
        begun = base["state"]["running"]["startedAt"]
        ended = terminated(pod, c, facts, end, facts.restarts) | {"startedAt": begun}
        statuses.append(base | {"started": False, "state": {"terminated": ended}})
    return {
        "phase": "Succeeded" if end.code == 0 else "Failed",
        "conditions": conditions,
        **_addresses(facts),
        "containerStatuses": statuses,
    }


def crashed_status(pod: ReadOnly, facts: Facts, end: Exit, backoff: float) -> Object:
    """The containers have exited and wait to be started again."""
    meta = pod["metadata"]
    status = running_status(pod, facts, ready=False)
    statuses = []
    for c in pod["spec"]["containers"]:
        name = f"{c['name']} pod={meta['name']}_{meta['namespace']}({meta['uid']})"
        message = f"back-off {_go_duration(backoff)} restarting failed container={name}"
        statuses.append(
            waiting_container(c, "CrashLoopBackOff", facts.restarts)
            | {
                "containerID": container_id(pod, c, facts.restarts - 1),
                "lastState": {"terminated": terminated(pod, c, facts, end, facts.restarts - 1)},
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": message}},
            }
        )
    return {**status, "containerStatuses": statuses}


def terminated(pod: ReadOnly, container: ReadOnly, facts: Facts, end: Exit, restart: int, reason: str = "") -> Object:
    """How a container ended."""
    state: Object = {
        "exitCode": end.code,
        "reason": reason or ("Completed" if end.code == 0 else "Error"),
        "startedAt": facts.started,
        "finishedAt": facts.now,
        "containerID": container_id(pod, container, restart),
    }
    return state | ({"message": end.message} if end.message else {})


def container_id(pod: ReadOnly, container: ReadOnly, restart: int) -> str:
    """Made up, the same every time."""
    return "containerd://" + _digest(f"{pod['metadata']['uid']}/{container['name']}/{restart}")


def _addresses(facts: Facts) -> Object:
    return {
        "hostIP": facts.host_ips[0],
        "hostIPs": [{"ip": ip} for ip in facts.host_ips],
        "podIP": facts.pod_ips[0],
        "podIPs": [{"ip": ip} for ip in facts.pod_ips],
        "startTime": facts.started,
    }


def _without(conditions: Iterable[ReadOnly], kind: str, status: str) -> list[Object]:
    """Drop a stale reason and message of a condition whose status changes."""
    return [
        {k: v for k, v in c.items() if k not in ("reason", "message")}
        if c["type"] == kind and c["status"] != status
        else dict(c)
        for c in conditions
    ]


def _gate(pod: ReadOnly, kind: str) -> str:
    found = condition(pod, kind)
    return found["status"] if found else ""


def _go_duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _octet(name: str) -> int:
    return int(_digest(name)[:2], 16)


def _hosts(cidr: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Addresses for pods: the network's own and the first three are kept for the node."""
    network = ipaddress.ip_network(cidr)
    return (network[place] for place in range(4, min(network.num_addresses - 1, 1 << 16)))
