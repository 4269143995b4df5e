"""What passes between the HTTP adapter and the API server: requests, the three kinds of answer, and faults.

Nothing here knows of sockets beyond the stream pair that an `Upgrade` is handed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, as authentication found it: a certificate's CN and O, or a token's claims."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class Req:
    """One request. `headers` has lower-case names; `user` is None where no credential was sent."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    user: User | None


@dataclass(slots=True)
class Resp:
    """A complete answer; the media type is in `headers` as `content-type`."""

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class Stream:
    """A chunked answer that ends when `chunks` does: a watch, or followed logs."""

    status: int
    headers: dict[str, str]
    chunks: AsyncIterator[bytes]


@dataclass(slots=True)
class Upgrade:
    """A request that takes over the connection: exec, attach, port-forward. `run` owns the socket until it returns."""

    run: Callable[[Req, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request. Seconds are of simulated time.

    `status` answers in place of the server (429 and 503 with `retry_after`); `cut` closes the connection without an answer, or,
    on a watch, after `cut_after` events.
    """

    latency: float = 0.0
    status: int = 0
    reason: str = ""
    message: str = ""
    retry_after: int = 0
    cut: bool = False
    cut_after: int = -1
    expired: bool = False  # 410 to a watch or to a list that continues


class ConnectionCutError(Exception):
    """The connection is to be closed without a further byte."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One finished request of a client, for the world's record. `gvr` is like "apps/v1/deployments" or "v1/pods"."""

    verb: str
    gvr: str
    namespace: str
    name: str
    subresource: str
    user: str
    dry_run: bool
    mutates: bool
    status: int
    user_agent: str
