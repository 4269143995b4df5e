"""The subresources of a pod that a kubelet answers: log, exec, attach, port-forward.

The API server looks the pod up, authorizes the request and hands it over here; `PodHost` is whoever plays the kubelets. Source:
k8s.io/kubernetes/pkg/registry/core/pod/strategy.go (LogLocation, streamParams), 1.33.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from lab.kube import spdy, websocket
from lab.kube.wire import Req, Resp, Stream, Upgrade

Pod = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a command in a container ended."""

    rc: int = 0
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a container's log, without its line feed."""

    at: datetime
    text: str


class PodHost(Protocol):
    """Whoever plays the kubelets of a cluster."""

    async def exec(self, pod: Pod, container: str, argv: Sequence[str], stdin: bytes) -> ExecResult:
        """Run a command in a container."""
        ...

    def logs(self, pod: Pod, container: str) -> Sequence[LogLine]:
        """What the container has logged, oldest first."""
        ...

    def follow(self, pod: Pod, container: str) -> AsyncIterator[LogLine]:
        """What the container logs from now on, until it ends."""
        ...

    async def forward(self, pod: Pod, port: int, data: bytes) -> bytes:
        """What a container answers on a port to the first bytes of a connection."""
        ...

    def now(self) -> datetime:
        """The simulated time."""
        ...


class RefusedError(Exception):
    """The request cannot be served; becomes a Status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


async def serve(req: Req, pod: Pod, subresource: str, host: PodHost | None) -> Resp | Stream | Upgrade:
    """Answer `log`, `exec`, `attach` or `portforward` of a pod that exists."""
    try:
        if subresource != "portforward":
            container = choose_container(pod, _one(req, "container"))
        if not pod["spec"].get("nodeName"):
            if subresource == "log":
                return _text(b"")
            raise RefusedError(400, "BadRequest", f"pod {_name(pod)} does not have a host assigned")
        if host is None:
            raise RefusedError(500, "InternalError", "error dialing backend: no kubelet answers")
        if subresource == "log":
            return log(req, pod, container, host)
        if subresource == "portforward":
            return _portforward(req, pod, host)
        return _exec(req, pod, container, subresource, host)
    except RefusedError as error:
        return _status(error)


def choose_container(pod: Pod, wanted: str) -> str:
    """The container that is meant. Raises RefusedError with the real wording."""
    spec = pod["spec"]
    main: list[str] = [c["name"] for c in spec.get("containers", ())]
    if wanted:
        others = [c["name"] for kind in ("initContainers", "ephemeralContainers") for c in spec.get(kind, ())]
        if wanted in (*main, *others):
            return wanted
        raise RefusedError(400, "BadRequest", f"container {wanted} is not valid for pod {_name(pod)}")
    if len(main) == 1:
        return main[0]
    inits = [c["name"] for c in spec.get("initContainers", ())]
    choices = f"choose one of: [{' '.join(main)}]" + (
        f" or one of the init containers: [{' '.join(inits)}]" if inits else ""
    )
    raise RefusedError(400, "BadRequest", f"a container name must be specified for pod {_name(pod)}, {choices}")


# -------------------------------------------------------------------------------------------------------------- logs


def log(req: Req, pod: Pod, container: str, host: PodHost) -> Resp | Stream:
    """A container's log, cut as the query wants it."""
    waiting = _waiting_reason(pod, container)
    if waiting:
        text = f'container "{container}" in pod "{_name(pod)}" is waiting to start: {waiting}'
        raise RefusedError(400, "BadRequest", text)
    if _flag(req, "previous"):
        text = f'previous terminated container "{container}" in pod "{_name(pod)}" not found'
        raise RefusedError(400, "BadRequest", text)
    stamped = _flag(req, "timestamps")
    lines = [_line(line, stamped) for line in _since(req, host.logs(pod, container), host.now())]
    tail = _one(req, "tailLines")
    if tail.isdigit():
        lines = lines[len(lines) - int(tail) :] if int(tail) < len(lines) else lines
    if _flag(req, "follow"):
        return Stream(200, {"content-type": "text/plain"}, _follow(lines, host.follow(pod, container), stamped))
    body = b"".join(lines)
    limit = _one(req, "limitBytes")
    return _text(body[: int(limit)] if limit.isdigit() else body)


async def _follow(lines: Sequence[bytes], more: AsyncIterator[LogLine], stamped: bool) -> AsyncIterator[bytes]:
    if lines:
        yield b"".join(lines)
    async for line in more:
        yield _line(line, stamped)


def _line(line: LogLine, stamped: bool) -> bytes:
    return (f"{line.at:%Y-%m-%dT%H:%M:%S.%f}000Z " if stamped else "").encode() + line.text.encode() + b"\n"


def _since(req: Req, lines: Sequence[LogLine], now: datetime) -> Sequence[LogLine]:
    begin = None
    if _one(req, "sinceSeconds").isdigit():
        begin = now - timedelta(seconds=int(_one(req, "sinceSeconds")))
    elif _one(req, "sinceTime"):
        begin = datetime.fromisoformat(_one(req, "sinceTime")).astimezone(UTC)
    return lines if begin is None else [line for line in lines if line.at >= begin]


def _waiting_reason(pod: Pod, container: str) -> str:
    status = pod.get("status", {})
    for kind in ("containerStatuses", "initContainerStatuses"):
        for found in status.get(kind, ()):
            if found["name"] == container:
                return str(found.get("state", {}).get("waiting", {}).get("reason", ""))
    return "ContainerCreating" if status.get("phase") == "Pending" else ""


# ------------------------------------------------------------------------------------------- exec, attach, port-forward


def _exec(req: Req, pod: Pod, container: str, subresource: str, host: PodHost) -> Upgrade:
    if subresource == "exec" and not req.query.get("command"):
        raise RefusedError(400, "BadRequest", "you must specify at least 1 command for the container")
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        text = f"cannot exec into a container in a completed pod; current phase is {pod['status']['phase']}"
        raise RefusedError(400, "BadRequest", text)
    waiting = _waiting_reason(pod, container)
    if waiting:
        raise RefusedError(500, "InternalError", f'unable to upgrade connection: container not found ("{container}")')
    argv = req.query.get("command", [])

    async def run(stdin: bytes) -> ExecResult:
        if subresource == "attach":
            lines = b"".join(_line(line, False) for line in host.logs(pod, container))
            return ExecResult(0, lines)
        return await host.exec(pod, container, argv, stdin)

    wants = websocket.Wants(stdin=_flag(req, "stdin"), stdout=_flag(req, "stdout"), stderr=_flag(req, "stderr"))
    if "websocket" in req.headers.get("upgrade", "").lower():
        return websocket.exec_upgrade(wants, run)
    if "spdy" in req.headers.get("upgrade", "").lower():
        return spdy.exec_upgrade(wants, run)
    raise RefusedError(400, "BadRequest", "Upgrade request required")


def _portforward(req: Req, pod: Pod, host: PodHost) -> Upgrade:
    async def forward(port: int, data: bytes) -> bytes:
        return await host.forward(pod, port, data)

    if pod.get("status", {}).get("phase") != "Running":
        text = f"unable to forward port because pod is not running. Current status={pod.get('status', {}).get('phase')}"
        raise RefusedError(400, "BadRequest", text)
    if "websocket" in req.headers.get("upgrade", "").lower():
        if "SPDY/3.1+portforward.k8s.io" in req.headers.get("sec-websocket-protocol", ""):
            return websocket.tunnel_upgrade(forward)
        ports = [int(p) for value in req.query.get("ports", ()) for p in value.split(",") if p.isdigit()]
        return websocket.portforward_upgrade(ports, forward)
    if "spdy" in req.headers.get("upgrade", "").lower():
        return spdy.portforward_upgrade(forward)
    raise RefusedError(400, "BadRequest", "Upgrade request required")


def _one(req: Req, name: str) -> str:
    return req.query.get(name, [""])[0]


def _flag(req: Req, name: str) -> bool:
    return _one(req, name).lower() in ("true", "1")


def _name(pod: Pod) -> str:
    return str(pod["metadata"]["name"])


def _text(body: bytes) -> Resp:
    return Resp(200, body, {"content-type": "text/plain"})


def _status(error: RefusedError) -> Resp:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(error),
        "reason": error.reason,
        "code": error.status,
    }
    return Resp(error.status, json.dumps(status).encode(), {"content-type": "application/json"})
