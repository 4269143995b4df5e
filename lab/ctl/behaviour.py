"""How pods behave: what a domain says about an image, a label or an owner, and what a kubelet does without such a word.

A domain registers `Behaviour`s; the last one that fits a pod decides. `Behaviours` is also the `PodHost` that the API server asks for
logs, exec and port-forward.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lab.clock import Clock
from lab.ctl.objects import controller_of
from lab.kube.streams import ExecResult, LogLine

Pod = Mapping[str, Any]
Answer = ExecResult | Awaitable[ExecResult]

LOG_LINES = 500  # a container; the lab's logs are bounded
JOB_SECONDS = 3.0  # what the only command of a Job takes where nobody says otherwise: a guess


@dataclass(frozen=True, slots=True)
class Exit:
    """A container's end: so many simulated seconds after its start, with this code and message."""

    code: int = 0
    after: float = JOB_SECONDS
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a domain says about some pods. A field that is None leaves the default.

    `ready` is asked once `ready_after` (simulated seconds) has passed and again on `Kubelets.poke`; it answers "" for ready, else what
    the probe says. `exits` gives the main container's end, None for one that runs on; for a pod whose restart policy restarts it,
    a crash loop follows. `exec` answers (argv, stdin) of a container, `logs` adds lines in front of what was said with
    `Behaviours.say`. `pull_error` makes the image unobtainable.
    """

    image: str = ""  # a part of any container's image
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: str = (
        ""  # "DaemonSet/cilium": kind and name of the controller (a Deployment's pods: "ReplicaSet/NAME-" as a prefix)
    )
    namespace: str = ""
    ready_after: float | None = None
    ready: Callable[[Pod], str] | None = None
    exits: Callable[[Pod], Exit | None] | None = None
    exec: Callable[[Pod, str, Sequence[str], bytes], Answer] | None = None
    logs: Callable[[Pod, str], Sequence[str]] | None = None
    forward: Callable[[Pod, int, bytes], bytes] | None = None
    pull_error: Callable[[Pod], str] | None = None

    def fits(self, pod: Pod) -> bool:
        """Whether it speaks of this pod. One without any criterion speaks of all."""
        meta = pod["metadata"]
        if self.namespace and meta.get("namespace") != self.namespace:
            return False
        labels = meta.get("labels") or {}
        if any(labels.get(key) != value for key, value in self.labels.items()):
            return False
        if self.owner:
            owner = controller_of(pod) or {"kind": "", "name": ""}
            name = f"{owner['kind']}/{owner['name']}"
            if not (name.startswith(self.owner) if self.owner.endswith("-") else name == self.owner):
                return False
        return not self.image or any(self.image in c.get("image", "") for c in pod["spec"]["containers"])


NOTHING = Behaviour()


class Behaviours:
    """The registry of one cluster, its containers' logs, and the host that answers for its pods."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all: list[Behaviour] = []
        self._logs: dict[tuple[str, str], deque[LogLine]] = {}
        self._followers: dict[tuple[str, str], set[asyncio.Queue[LogLine | None]]] = {}

    def register(self, behaviour: Behaviour) -> Callable[[], None]:
        """Add one; the answer removes it again."""
        self._all.append(behaviour)
        return lambda: self._all.remove(behaviour)

    def of(self, pod: Pod) -> Behaviour:
        """The last registered one that fits."""
        return next((b for b in reversed(self._all) if b.fits(pod)), NOTHING)

    def exit_of(self, pod: Pod) -> Exit | None:
        """When and how the main container ends: by its behaviour, else after a while for a Job's pod, else never."""
        behaviour = self.of(pod)
        if behaviour.exits is not None:
            return behaviour.exits(pod)
        owner = controller_of(pod)
        return Exit() if owner and owner["kind"] == "Job" else None

    def say(self, pod: Pod, text: str, container: str = "") -> None:
        """Append to a container's log (its first container by default)."""
        line = LogLine(self._clock.now(), text)
        key = (pod["metadata"]["uid"], container or pod["spec"]["containers"][0]["name"])
        self._logs.setdefault(key, deque(maxlen=LOG_LINES)).append(line)
        for queue in self._followers.get(key, ()):
            queue.put_nowait(line)

    def forget(self, pod: Pod) -> None:
        """The pod is gone: drop its logs and end those who follow them."""
        uid = pod["metadata"]["uid"]
        for key in [key for key in self._logs if key[0] == uid]:
            del self._logs[key]
        for key in [key for key in self._followers if key[0] == uid]:
            for queue in self._followers[key]:
                queue.put_nowait(None)

    # PodHost -----------------------------------------------------------------------------------------------------
    def now(self) -> datetime:
        """The simulated time."""
        return self._clock.now()

    async def exec(self, pod: Pod, container: str, argv: Sequence[str], stdin: bytes) -> ExecResult:
        """Ask the pod's behaviour, else play the few commands that any image has."""
        behaviour = self.of(pod)
        if behaviour.exec is None:
            return plain_command(pod, argv, stdin)
        answer = behaviour.exec(pod, container, argv, stdin)
        return await answer if inspect.isawaitable(answer) else answer

    def logs(self, pod: Pod, container: str) -> Sequence[LogLine]:
        """Lines of the behaviour, then those that were said."""
        behaviour = self.of(pod)
        told = list(self._logs.get((pod["metadata"]["uid"], container), ()))
        if behaviour.logs is None:
            return told
        begin = told[0].at if told else self._clock.now()
        return [*(LogLine(begin, text) for text in behaviour.logs(pod, container)), *told]

    async def follow(self, pod: Pod, container: str) -> AsyncIterator[LogLine]:
        """Lines as they are said, until the pod is gone."""
        key = (pod["metadata"]["uid"], container)
        queue: asyncio.Queue[LogLine | None] = asyncio.Queue()
        self._followers.setdefault(key, set()).add(queue)
        try:
            while (line := await queue.get()) is not None:
                yield line
        finally:
            followers = self._followers[key]
            followers.discard(queue)
            if not followers:
                del self._followers[key]

    async def forward(self, pod: Pod, port: int, data: bytes) -> bytes:
        """Ask the behaviour, else answer as a small web server."""
        behaviour = self.of(pod)
        if behaviour.forward is not None:
            return behaviour.forward(pod, port, data)
        body = f"{pod['metadata']['name']}:{port}\n".encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
            len(body),
            body,
        )


def plain_command(pod: Pod, argv: Sequence[str], stdin: bytes) -> ExecResult:
    """`true`, `false`, `cat`, `echo`, `hostname` and `sh -c "exit N"`; anything else is not in the image."""
    match list(argv):
        case ["true"]:
            return ExecResult()
        case ["false"]:
            return ExecResult(1)
        case ["cat"]:
            return ExecResult(0, stdin)
        case ["echo", *words]:
            return ExecResult(0, (" ".join(words) + "\n").encode())
        case ["hostname"]:
            return ExecResult(0, f"{pod['metadata']['name']}\n".encode())
        case [("sh" | "/bin/sh"), "-c", script]:
            first, _, rest = script.partition(" ")
            if first == "exit" and rest.strip().isdigit():
                return ExecResult(int(rest))
            return plain_command(pod, script.split(), stdin)
    program = argv[0] if argv else ""
    message = f'exec: "{program}": executable file not found in $PATH\n'
    return ExecResult(127, b"", message.encode())
