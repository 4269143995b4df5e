"""A small HTTP/1.1 server on loopback for the world's stores: whole bodies, raw targets, keep-alive.

The Kubernetes API has a server of its own with other limits (`lab.kube.http`); this one takes bodies as large as Git and S3 need and
keeps the request's target as it was sent, which request signatures are made over.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

HEAD_LIMIT_BYTES = 1 << 20
BODY_LIMIT_BYTES = 1 << 30


class Cut(Exception):
    """A handler's wish to close the connection without an answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `target` is as sent; `path` is decoded; header names are in lower case."""

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        """A header's value, "" where it is absent."""
        return self.headers.get(name, "")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `length` stands in for the body's where an answer to HEAD has none."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None


Handler = Callable[[Request], Awaitable[Reply]]


@dataclass(slots=True)
class WebServer:
    """Listens on 127.0.0.1; `port` is 0 until `start`, then stays."""

    handler: Handler
    port: int = 0
    _server: asyncio.Server | None = None
    _open: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=HEAD_LIMIT_BYTES, backlog=256)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections and cut the open ones."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        tasks = list(self._open.items())
        for task, writer in tasks:
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._open[task] = writer
        try:
            while (request := await _read(reader, writer)) is not None:
                reply = await self.handler(request)
                closing = request.header("connection").lower() == "close"
                _write(writer, reply, bodiless=request.method == "HEAD", closing=closing)
                await writer.drain()
                if closing:
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, Cut):
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            del self._open[task]
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request; None at the end. Raises ValueError on what is not HTTP."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _body(reader, headers)
    path, _, query = target.partition("?")
    return Request(method, target, unquote(path), dict(parse_qsl(query, keep_blank_values=True)), headers, body)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        parts = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            if size > BODY_LIMIT_BYTES:
                raise ValueError("body too large")
            parts.append(await reader.readexactly(size))
            await reader.readline()
        while (await reader.readline()).strip():
            pass  # trailers
        body = b"".join(parts)
    else:
        length = int(headers.get("content-length", "0"))
        if length > BODY_LIMIT_BYTES:
            raise ValueError("body too large")
        body = await reader.readexactly(length) if length else b""
    return gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body


def _write(writer: asyncio.StreamWriter, reply: Reply, *, bodiless: bool, closing: bool) -> None:
    try:
        phrase = HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Unknown"
    length = len(reply.body) if reply.length is None else reply.length
    lines = [f"HTTP/1.1 {reply.status} {phrase}", f"Date: {datetime.now(UTC):%a, %d %b %Y %H:%M:%S GMT}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    if reply.status not in (204, 304):
        lines.append(f"Content-Length: {length}")
    if closing:
        lines.append("Connection: close")
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace"))
    if not bodiless:
        writer.write(reply.body)
