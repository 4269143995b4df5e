"""What every controller is made of: informers over the port, a queue of keys, late and level-triggered reconciling, events.

Nothing polls: a controller without work has no timer. All of it runs on one asyncio loop. What an informer holds is read-only:
copy before changing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import marshal
import random
import sys
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from lab.clock import Clock
from lab.faults import Effect
from lab.kube.port import CRDS, KubeError, KubePort
from lab.kube.registry import builtin_resources

Object = dict[str, Any]
Handler = Callable[
    [str, Object, Object | None], None
]  # "ADDED" | "MODIFIED" | "DELETED", the object, what it was before
Index = Callable[[Object], Iterable[str]]
Keys = Callable[[Object], Iterable[str]]

LOG = logging.getLogger("lab.ctl")
LAG = (0.3, 1.0)  # simulated seconds that a controller is late (lab.md section 3)
BACKOFF_FIRST = 0.5
STUCK_SECONDS = 30.0  # simulated, between two looks of a controller that a fault has stopped
BACKOFF_LIMIT = 60.0  # simulated seconds; client-go's limiter ends at 1000 s, too long for a rehearsal
RELIST_LIMIT = 15.0  # simulated seconds, also between looks at a kind that is not served yet
TOMBSTONES = 1024
EVENT_MEMORY = 1024  # events that a recorder remembers for counting, as client-go's correlator does with 4096

_KINDS: dict[str, tuple[str, str]] = {}


def kind_of(gvr: str) -> tuple[str, str] | None:
    """(apiVersion, kind) of a built-in gvr."""
    if not _KINDS:
        _KINDS.update({r.gvr: (r.api_version, r.kind) for r in builtin_resources()})
    return _KINDS.get(gvr)


def key_of(obj: Mapping[str, Any]) -> str:
    """ "namespace/name", or "name" for what is cluster-scoped."""
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    return f"{namespace}/{meta['name']}" if namespace else str(meta["name"])


def split_key(key: str) -> tuple[str, str]:
    """Namespace (or "") and name."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


def _version(obj: Mapping[str, Any]) -> int:
    return int(obj["metadata"].get("resourceVersion") or 0)


class Pool:
    """Keeps one copy of what many objects say alike: names of fields, short texts, whole parts of pod specs.

    Fifty thousand pods of a few workloads then fit into a fraction of the memory. What it hands out is read-only.
    """

    def __init__(self, limit: int = 8192) -> None:
        self._held: OrderedDict[bytes, Any] = OrderedDict()
        self._limit = limit

    def share(self, value: Any) -> Any:
        """An equal value, the same one each time while it is in use often enough."""
        if not isinstance(value, (dict, list)):
            return compact(value)
        key = marshal.dumps(value, 0)
        found = self._held.get(key)
        if found is None:
            found = self._held[key] = compact(value)
            if len(self._held) > self._limit:
                self._held.popitem(last=False)
        return found

    def pod(self, pod: Object) -> Object:
        """A pod whose parts are shared where they are alike."""
        status = pod.get("status") or {}
        shared = {key: compact(value) for key, value in status.items()}
        if "conditions" in status:
            shared["conditions"] = [self.share(condition) for condition in status["conditions"] or ()]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": compact(pod["metadata"]),
            "spec": {sys.intern(key): self.share(value) for key, value in pod["spec"].items()},
            "status": shared,
        }


def compact(value: Any) -> Any:
    """The same value with every short text interned: a JSON decoder makes new ones for each object."""
    if isinstance(value, dict):
        return {sys.intern(key): compact(one) for key, one in value.items()}
    if isinstance(value, list):
        return [compact(one) for one in value]
    return sys.intern(value) if type(value) is str and len(value) < 64 else value


def without_schemas(definition: Object) -> Object:
    """A CustomResourceDefinition without the schemas of its versions: nine tenths of it, and nothing that a controller asks for."""
    spec = definition["spec"]
    versions = [{field: value for field, value in one.items() if field != "schema"} for one in spec["versions"]]
    kept: Object = compact({**definition, "spec": {**spec, "versions": versions}})
    return kept


class Informer:
    """A cache of one resource, fed by list and watch, with indexes and handlers.

    `project` reduces objects to what is kept of them. A read error makes it list again, later each time.
    """

    def __init__(
        self, port: KubePort, clock: Clock, gvr: str, project: Callable[[Object], Object] | None = None
    ) -> None:
        self.gvr = gvr
        self.objects: dict[str, Object] = {}
        self.synced = asyncio.Event()
        self._port = port
        self._clock = clock
        self._project = project
        self._handlers: list[Handler] = []
        self._indexers: dict[str, Index] = {}
        self._indexes: dict[str, dict[str, dict[str, None]]] = {}
        self._gone: OrderedDict[str, int] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow; does nothing where it follows already."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._follow())

    async def stop(self) -> None:
        """Follow no more; the cache stays."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            self.synced.clear()

    def get(self, key: str) -> Object | None:
        """The cached object."""
        return self.objects.get(key)

    def values(self) -> list[Object]:
        """All cached objects."""
        return list(self.objects.values())

    def add_handler(self, handler: Handler) -> None:
        """Call `handler` on every change from now on."""
        self._handlers.append(handler)

    def remove_handler(self, handler: Handler) -> None:
        """Call `handler` no more."""
        with contextlib.suppress(ValueError):
            self._handlers.remove(handler)

    def add_index(self, name: str, index: Index) -> None:
        """Keep an index; adding one again is harmless."""
        if name not in self._indexers:
            self._indexers[name] = index
            self._indexes[name] = {}
            for key, obj in self.objects.items():
                self._enter(name, key, obj)

    def find(self, index: str, value: str) -> list[Object]:
        """The cached objects with `value` in an index, in the order in which they came."""
        return [self.objects[key] for key in self._indexes[index].get(value, ())]

    def note(self, obj: Object) -> None:
        """Fold in what a write has just answered, so that the next reconcile does not act on an older state."""
        key = key_of(obj)
        if _version(obj) > self._gone.get(key, -1):
            self._put(key, obj)

    def note_deleted(self, obj: Object, version: int = 0) -> None:
        """Fold in that an object has just been removed."""
        key = key_of(obj)
        held = self.objects.get(key)
        if held is not None and held["metadata"].get("uid") == obj["metadata"].get("uid"):
            self._drop(key, version or _version(held))

    async def _follow(self) -> None:
        failures = 0
        since = ""
        while True:
            try:
                if not since:
                    since = await self._relist()
                    failures = 0
                async for kind, obj in self._port.watch(self.gvr, since=since):
                    since = obj["metadata"].get("resourceVersion", since)
                    if kind == "DELETED":
                        self._drop(key_of(obj), _version(obj))
                    elif kind in ("ADDED", "MODIFIED"):
                        self._put(key_of(obj), obj)
            except KubeError as error:
                since = ""
                if error.status not in (404, 410):
                    LOG.warning("watch of %s: %s", self.gvr, error.message)
            except OSError as error:
                LOG.warning("watch of %s: %s", self.gvr, error)
            else:
                continue
            failures += 1
            await self._clock.sleep(min(BACKOFF_FIRST * 2.0**failures, RELIST_LIMIT))

    async def _relist(self) -> str:
        objects, version = await self._port.list(self.gvr, shared=self._project is not None)
        found = {key_of(obj): obj for obj in objects}
        for key in [key for key in self.objects if key not in found]:
            self._drop(key, _version(self.objects[key]))
        self._gone.clear()
        for key, obj in found.items():
            held = self.objects.get(key)
            if held is None or _version(held) != _version(obj):  # older ones too: a store may have been restored
                self._put(key, obj, force=True)
        self.synced.set()
        return version

    def _put(self, key: str, obj: Object, *, force: bool = False) -> None:
        old = self.objects.get(key)
        if (
            not force
            and old is not None
            and _version(old) >= _version(obj)
            and old["metadata"].get("uid") == obj["metadata"].get("uid")
        ):
            return
        if "kind" not in obj:
            known = kind_of(self.gvr)
            if known:
                obj = {"apiVersion": known[0], "kind": known[1], **obj}
        # managedFields are half of many an object, and nothing that a controller asks for
        if self._project is None:
            obj["metadata"].pop("managedFields", None)
        else:
            meta = {field: value for field, value in obj["metadata"].items() if field != "managedFields"}
            obj = self._project({**obj, "metadata": meta})
        if old is not None:
            for name in self._indexers:
                self._leave(name, key, old)
        self.objects[key] = obj
        for name in self._indexers:
            self._enter(name, key, obj)
        self._tell("ADDED" if old is None else "MODIFIED", obj, old)

    def _drop(self, key: str, version: int) -> None:
        self._gone[key] = version
        if len(self._gone) > TOMBSTONES:
            self._gone.popitem(last=False)
        old = self.objects.pop(key, None)
        if old is None:
            return
        for name in self._indexers:
            self._leave(name, key, old)
        self._tell("DELETED", old, old)

    def _tell(self, kind: str, obj: Object, old: Object | None) -> None:
        for handler in tuple(self._handlers):
            handler(kind, obj, old)

    def _enter(self, name: str, key: str, obj: Object) -> None:
        for value in self._indexers[name](obj):
            self._indexes[name].setdefault(value, {})[key] = None

    def _leave(self, name: str, key: str, obj: Object) -> None:
        index = self._indexes[name]
        for value in self._indexers[name](obj):
            entries = index.get(value)
            if entries is not None:
                entries.pop(key, None)
                if not entries:
                    del index[value]


def by_owner(obj: Object) -> Iterator[str]:
    """Index: the uid of the controller that owns the object."""
    for owner in obj["metadata"].get("ownerReferences", ()):
        if owner.get("controller"):
            yield owner["uid"]


def by_namespace(obj: Object) -> Iterator[str]:
    """Index: the namespace."""
    yield obj["metadata"].get("namespace", "")


def orphans(obj: Object) -> Iterator[str]:
    """Index: the namespace of what no controller owns."""
    if not any(owner.get("controller") for owner in obj["metadata"].get("ownerReferences", ())):
        yield obj["metadata"].get("namespace", "")


def by_node(obj: Object) -> Iterator[str]:
    """Index of pods: the node; "" for those without one."""
    yield obj["spec"].get("nodeName", "")


class Informers:
    """The informers of one cluster, shared by its controllers, one a resource."""

    def __init__(self, port: KubePort, clock: Clock) -> None:
        self.port = port
        self.clock = clock
        self.silent: dict[str, float] = {}  # node -> simulated second since when the kubelet that we play is silent
        self.on_silence: list[Callable[[str], None]] = []
        self._all: dict[str, Informer] = {}
        self._projections = {"v1/pods": Pool().pod, CRDS: without_schemas}

    def speaks(self, node: str) -> None:
        """A kubelet of ours speaks (again)."""
        self.silent.pop(node, None)
        self._tell_silence(node)

    def falls_silent(self, node: str) -> None:
        """A kubelet of ours has stopped."""
        self.silent.setdefault(node, self.clock.seconds())
        self._tell_silence(node)

    def _tell_silence(self, node: str) -> None:
        for listener in tuple(self.on_silence):
            listener(node)

    def of(self, gvr: str) -> Informer:
        """The informer of a resource, following from now on."""
        if gvr not in self._all:
            informer = self._all[gvr] = Informer(self.port, self.clock, gvr, self._projections.get(gvr))
            informer.add_index("owner", by_owner)
            informer.add_index("namespace", by_namespace)
            if gvr == "v1/pods":
                informer.add_index("node", by_node)
                informer.add_index("orphan", orphans)
        self._all[gvr].start()
        return self._all[gvr]

    def known(self, gvr: str) -> Informer | None:
        """The informer of a resource that somebody has asked for already."""
        return self._all.get(gvr)

    async def stop(self) -> None:
        """End all of them."""
        await asyncio.gather(*(informer.stop() for informer in self._all.values()))


class EventRecorder:
    """Writes Events as a component's recorder does: one object a (subject, reason, message), counted when it comes again."""

    _serial: ClassVar[Iterator[int]] = itertools.count(1)

    def __init__(self, port: KubePort, clock: Clock, component: str) -> None:
        self._port = port
        self._clock = clock
        self._component = component
        self._known: OrderedDict[tuple[str, ...], tuple[str, str, int]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def emit(self, about: Mapping[str, Any], reason: str, message: str, kind: str = "Normal", host: str = "") -> None:
        """Record an event without waiting for it; `host` is where the component runs."""
        task = asyncio.ensure_future(self.event(about, reason, message, kind, host))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def event(
        self, about: Mapping[str, Any], reason: str, message: str, kind: str = "Normal", host: str = ""
    ) -> None:
        """Record an event; a refusal (a namespace that ends) is nobody's trouble."""
        meta = about["metadata"]
        identity = (
            about.get("kind", ""),
            meta.get("namespace", ""),
            meta["name"],
            meta.get("uid", ""),
            kind,
            reason,
            message,
        )
        known = self._known.get(identity)
        try:
            if known and await self._again(*known):
                self._remember(identity, (known[0], known[1], known[2] + 1))
                return
            made = self._make(about, reason, message, kind, host)
            namespace = made["metadata"]["namespace"]
            self._remember(identity, (namespace, made["metadata"]["name"], 1))
            await self._port.create("v1/events", made, namespace)
        except (KubeError, OSError) as error:
            LOG.debug("event %s of %s: %s", reason, meta["name"], error)

    async def _again(self, namespace: str, name: str, count: int) -> bool:
        change = {"count": count + 1, "lastTimestamp": self.stamp()}
        try:
            await self._port.patch("v1/events", name, change, namespace)
        except KubeError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _remember(self, identity: tuple[str, ...], known: tuple[str, str, int]) -> None:
        self._known[identity] = known
        self._known.move_to_end(identity)
        if len(self._known) > EVENT_MEMORY:
            self._known.popitem(last=False)

    def _make(self, about: Mapping[str, Any], reason: str, message: str, kind: str, host: str) -> Object:
        meta = about["metadata"]
        nanos = int(self._clock.now().timestamp() * 1e6) * 1000 + next(self._serial) % 1000
        subject = {
            "apiVersion": about.get("apiVersion", ""),
            "kind": about.get("kind", ""),
            "name": meta["name"],
            "namespace": meta.get("namespace"),
            "resourceVersion": meta.get("resourceVersion"),
            "uid": meta.get("uid"),
            "fieldPath": about.get("fieldPath"),
        }
        stamp = self.stamp()
        source = {"component": self._component} | ({"host": host} if host else {})
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{meta['name']}.{nanos:x}", "namespace": meta.get("namespace") or "default"},
            "involvedObject": {k: v for k, v in subject.items() if v},
            "reason": reason,
            "message": message[:1024],
            "source": source,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "type": kind,
            "reportingComponent": self._component,
            "reportingInstance": host,
        }

    def stamp(self) -> str:
        """Now, as Kubernetes writes times."""
        return f"{self._clock.now():%Y-%m-%dT%H:%M:%SZ}"


class Controller(ABC):
    """Watches resources, queues keys, reconciles them one at a time: late, level-triggered, restartable.

    A subclass says what it watches and how a change becomes keys; `reconcile` reads caches and writes through the port. It
    answers the simulated seconds after which to look at the key again, or None. Refusals and lost connections are retried with
    backoff; anything else is a bug, logged, and kept in `crashes`.
    """

    name: ClassVar[str]
    component: ClassVar[str] = "kube-controller-manager"  # the source of its events
    lag: ClassVar[tuple[float, float]] = LAG
    parallel: ClassVar[int] = 1

    def __init__(self, port: KubePort, clock: Clock, informers: Informers | None = None, *, seed: int = 0) -> None:
        self.port = port
        self.clock = clock
        self.informers = informers or Informers(port, clock)
        self.events = EventRecorder(port, clock, self.component)
        self.crashes: list[str] = []
        self.fault: Callable[[str, str], Effect | None] | None = None  # (controller, key) -> what a world file scripts for it
        self._random = random.Random(f"{self.name}/{seed}")
        self._timers: dict[str, tuple[float, asyncio.TimerHandle]] = {}
        self._ready: OrderedDict[str, None] = OrderedDict()
        self._busy: set[str] = set()
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._attached: list[tuple[Informer, Handler]] = []

    def script(self, fault: Callable[[str, str], Effect | None]) -> None:
        """Ask `fault` before each reconcile what a world file does to it."""
        self.fault = fault

    @abstractmethod
    def watches(self) -> Mapping[str, Keys]:
        """gvr -> the keys that a change of one of its objects concerns."""

    @abstractmethod
    async def reconcile(self, key: str) -> float | None:
        """Bring one thing closer to what is wanted."""

    async def start(self) -> None:
        """Attach to the informers, queue all that is there, and begin to work. Does nothing where it runs."""
        if self._workers:
            return
        informers = {gvr: (self.informers.of(gvr), keys) for gvr, keys in self.watches().items()}
        for informer, keys in informers.values():
            handler = self._handler(keys)
            informer.add_handler(handler)
            self._attached.append((informer, handler))
            for obj in informer.values():
                self._enqueue_all(keys, obj)
        self._workers = [asyncio.ensure_future(self._work()) for _ in range(self.parallel)]

    async def stop(self) -> None:
        """Stop working and forget the queue; caches stay with the informers."""
        for informer, handler in self._attached:
            informer.remove_handler(handler)
        self._attached.clear()
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._busy.clear()

    def memory(self) -> Object:
        """What it knows and the API does not, as JSON values for a snapshot of the world; most know nothing."""
        return {}

    def recall(self, memory: Object) -> None:
        """Go on with what `memory` said; called before the first start."""
        if memory:
            raise ValueError(f"{self.name} has no memory to put {sorted(memory)} into")

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped."""
        return bool(self._workers)

    @property
    def idle(self) -> bool:
        """Whether nothing is queued for soon or being worked on; timers of more than a second ahead do not count."""
        soon = self.clock.seconds() + 1.0
        return not self._ready and not self._busy and all(due > soon for due, _ in self._timers.values())

    def enqueue(self, key: str, after: float | None = None) -> None:
        """Look at `key` after so many simulated seconds (the controller's usual lag by default), or sooner if already due."""
        seconds = self._random.uniform(*self.lag) if after is None else after
        due = self.clock.seconds() + seconds
        known = self._timers.get(key)
        if known is not None:
            if known[0] <= due:
                return
            known[1].cancel()
        if key in self._ready:
            return
        self._timers[key] = (due, self.clock.call_later(seconds, lambda: self._due(key)))

    def _handler(self, keys: Keys) -> Handler:
        def handle(_kind: str, obj: Object, old: Object | None) -> None:
            self._enqueue_all(keys, obj)
            if old is not None:
                self._enqueue_all(keys, old)

        return handle

    def _enqueue_all(self, keys: Keys, obj: Object) -> None:
        for key in keys(obj):
            self.enqueue(key)

    def _due(self, key: str) -> None:
        self._timers.pop(key, None)
        self._ready[key] = None
        self._wake.set()

    def _take(self) -> str | None:
        for key in self._ready:
            if key not in self._busy:
                del self._ready[key]
                return key
        return None

    async def _work(self) -> None:
        await asyncio.gather(*(informer.synced.wait() for informer, _ in self._attached))
        while True:
            key = self._take()
            if key is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._busy.add(key)
            try:
                again = await self._attempt(key)
            finally:
                self._busy.discard(key)
                self._wake.set()  # a worker may be waiting for this very key
            if again is not None:
                self.enqueue(key, again)

    async def _attempt(self, key: str) -> float | None:
        effect = self.fault(self.name, key) if self.fault is not None else None
        if effect is not None:
            if effect.stop:
                return STUCK_SECONDS
            if effect.fail:
                LOG.info("%s %s: %s", self.name, key, effect.fail)
                return BACKOFF_FIRST + effect.latency
            await self.clock.sleep(effect.latency)
        try:
            again = await self.reconcile(key)
        except (KubeError, OSError) as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            LOG.debug("%s %s: %s", self.name, key, error)
            return min(BACKOFF_FIRST * 2.0 ** min(failures - 1, 10), BACKOFF_LIMIT)
        except Exception as error:  # a bug in one key must not end the whole controller, as in client-go's HandleCrash
            LOG.exception("%s crashed on %s", self.name, key)
            self.crashes.append(f"{self.name} {key}: {error!r}")
            return BACKOFF_LIMIT
        self._failures.pop(key, None)
        return again


async def start_all(controllers: Sequence[Controller]) -> None:
    """Start controllers in order."""
    for controller in controllers:
        await controller.start()


async def stop_all(controllers: Sequence[Controller]) -> None:
    """Stop controllers, last first."""
    for controller in reversed(controllers):
        await controller.stop()
