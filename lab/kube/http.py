"""The HTTP/1.1 adapter of a lab API server: asyncio streams, TLS with optional client certificates, bearer tokens.

It parses requests, authenticates them, hands them to a handler and writes what comes back: a whole answer, a chunked stream, or a
socket for an upgraded protocol. It knows nothing of Kubernetes beyond the body of a 401 and the header names that it joins.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

from lab.kube.wire import ConnectionCutError, Req, Resp, Stream, Upgrade, User

Handler = Callable[[Req], Awaitable[Resp | Stream | Upgrade]]
TokenReader = Callable[[str], User | None]

LOG = logging.getLogger("lab.kube.http")
HEAD_LIMIT_BYTES = 1 << 20  # Go's http.DefaultMaxHeaderBytes
BODY_LIMIT_BYTES = 3 << 20  # kube-apiserver's MaxRequestBodyBytes, 3 MiB (1.33)
MULTIPLE = "\n"  # joins repeated Impersonate-* headers, whose values may hold commas


class UnauthorizedError(Exception):
    """A credential was sent and is not good."""


class BadRequestError(Exception):
    """Not HTTP as this server speaks it; the status goes to the client, then the connection is closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def no_tokens(_token: str) -> User | None:
    """A token reader that knows no token."""
    return None


class HttpServer:
    """One listening port on loopback. `port` is 0 until `start`, then stays the same over `stop` and `start`.

    `stalled` holds back every answer while it is set: a server that accepts and never speaks.
    """

    def __init__(
        self, handler: Handler, *, tls: ssl.SSLContext | None = None, tokens: TokenReader = no_tokens, port: int = 0
    ) -> None:
        self.handler = handler
        self.tokens = tokens
        self.port = port
        self.stalled = False
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, ssl=self._tls, limit=HEAD_LIMIT_BYTES, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections and cut the open ones, as a machine that goes down does."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        await self.cut_all()

    async def cut_all(self) -> None:
        """Cut every open connection; the server goes on listening."""
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
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ConnectionCutError, ssl.SSLError, TimeoutError):
            writer.transport.abort()  # the other end has gone, or is to believe that we have
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            del self._open[task]
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer)
        while True:
            try:
                req = await read_request(reader, writer)
            except BadRequestError as error:
                writer.write(head(error.status, {"content-type": "text/plain"}, length=len(str(error)), close=True))
                writer.write(str(error).encode())
                await writer.drain()
                return
            if req is None:
                return
            while self.stalled:
                await asyncio.sleep(0.05)
            close = req.headers.get("connection", "").lower() == "close"
            try:
                req.user = self._authenticate(req, peer)
            except UnauthorizedError:
                answer: Resp | Stream | Upgrade = unauthorized()
            else:
                answer = await self._handle(req)
            if isinstance(answer, Resp):
                send(writer, answer, close=close, bodiless=req.method == "HEAD")
                if writer.transport.get_write_buffer_size() > 1 << 16:
                    await writer.drain()
                if close:
                    return
            elif isinstance(answer, Stream):
                await stream(reader, writer, answer)
                return
            else:
                await answer.run(req, reader, writer)
                return

    async def _handle(self, req: Req) -> Resp | Stream | Upgrade:
        """The handler's answer; a bug in it is 500, as the real server's panic handler answers."""
        try:
            return await self.handler(req)
        except ConnectionCutError:
            raise
        except Exception as error:  # one request must not end the connection of all
            LOG.exception("%s %s", req.method, req.path)
            return status_answer(500, "InternalError", f"Internal error occurred: {error!r}")

    def _authenticate(self, req: Req, peer: dict[str, Any] | None) -> User | None:
        """The certificate's user, else the token's; None without a credential. Raises UnauthorizedError."""
        if peer:
            user = certificate_user(peer)
            if user is not None:
                return user
            raise UnauthorizedError
        scheme, _, token = req.headers.get("authorization", "").partition(" ")
        if not scheme:
            return None
        user = self.tokens(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise UnauthorizedError
        return user


def peer_of(writer: asyncio.StreamWriter) -> dict[str, Any] | None:
    """The verified client certificate as the ssl module gives it, or None without one."""
    secured = writer.get_extra_info("ssl_object")
    return (secured.getpeercert() or None) if secured else None


_seconds = lru_cache(maxsize=256)(ssl.cert_time_to_seconds)


def certificate_user(peer: dict[str, Any]) -> User | None:
    """CN is the name, each O a group; None where it is expired or not yet valid. Source: k8s x509 CommonNameUserConversion."""
    now = time.time()
    if not _seconds(peer["notBefore"]) <= now <= _seconds(peer["notAfter"]):
        return None
    subject = [pair for part in peer["subject"] for pair in part]
    names = [value for key, value in subject if key == "commonName"]
    groups = tuple(value for key, value in subject if key == "organizationName")
    return User(names[-1], groups) if names else None


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Req | None:
    """The next request of a connection, or None at its end. Raises BadRequestError."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise
        return None
    except asyncio.LimitOverrunError:
        raise BadRequestError(431, "431 Request Header Fields Too Large") from None
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequestError(400, "400 Bad Request")
    headers = parse_headers(lines)
    path, _, query = parts[1].partition("?")
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await read_body(reader, headers)
    return Req(parts[0], unquote(path), parse_qs(query, keep_blank_values=True) if query else {}, headers, body, None)


def parse_headers(lines: list[str]) -> dict[str, str]:
    """Lower-case names. Repeated headers are joined by a comma, impersonation's by a line feed (`MULTIPLE`)."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequestError(400, "400 Bad Request: malformed header")
        name, value = name.strip().lower(), value.strip()
        if name in headers:
            headers[name] += (MULTIPLE if name.startswith("impersonate-") else ", ") + value
        else:
            headers[name] = value
    return headers


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The whole body, by length or in chunks. Raises BadRequestError where it is too large."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _read_chunks(reader)
    length = headers.get("content-length", "0")
    if not length.isdigit():
        raise BadRequestError(400, "400 Bad Request: bad Content-Length")
    if int(length) > BODY_LIMIT_BYTES:
        raise BadRequestError(413, "413 Request Entity Too Large")
    return await reader.readexactly(int(length)) if length != "0" else b""


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    total = 0
    while True:
        try:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        except ValueError:
            raise BadRequestError(400, "400 Bad Request: bad chunk") from None
        total += size
        if total > BODY_LIMIT_BYTES:
            raise BadRequestError(413, "413 Request Entity Too Large")
        if size == 0:
            while (await reader.readuntil(b"\r\n")) != b"\r\n":
                pass  # trailers say nothing that is used here
            return b"".join(parts)
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)


def head(status: int, headers: dict[str, str], *, length: int | None = None, close: bool = False) -> bytes:
    """The status line and headers; without a length the body is chunked."""
    lines = [f"HTTP/1.1 {status} {_phrase(status)}", f"date: {datetime.now(UTC):%a, %d %b %Y %H:%M:%S GMT}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if "cache-control" not in headers:
        lines.append("cache-control: no-cache, private")
    if length is None:
        lines.append("transfer-encoding: chunked")
    elif status not in (204, 304):
        lines.append(f"content-length: {length}")
    if close:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"


def send(writer: asyncio.StreamWriter, resp: Resp, *, close: bool, bodiless: bool = False) -> None:
    """Write a complete answer in one piece."""
    start = head(resp.status, resp.headers, length=len(resp.body), close=close)
    writer.write(start if bodiless or resp.status in (204, 304) else start + resp.body)


async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Stream) -> None:
    """Write a chunked answer until it ends or the client goes, then close its source."""
    writer.write(head(answer.status, answer.headers, close=True))
    gone = asyncio.ensure_future(reader.read(1))  # a client that streams sends nothing more: data or EOF is its end
    pump = asyncio.ensure_future(_pump(writer, answer))
    try:
        await asyncio.wait((gone, pump), return_when=asyncio.FIRST_COMPLETED)
        if pump.done():
            pump.result()
    finally:
        for task in (gone, pump):
            task.cancel()
        await asyncio.gather(gone, pump, return_exceptions=True)


async def _pump(writer: asyncio.StreamWriter, answer: Stream) -> None:
    chunks = answer.chunks
    try:
        async for chunk in chunks:
            if chunk:
                writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                if writer.transport.get_write_buffer_size() > 1 << 16:
                    await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    finally:
        closer = getattr(chunks, "aclose", None)  # an async generator runs its own clean-up then
        if closer is not None:
            with contextlib.suppress(RuntimeError):
                await closer()


def unauthorized() -> Resp:
    """What a real server answers to a bad credential."""
    return status_answer(401, "Unauthorized", "Unauthorized")


def status_answer(code: int, reason: str, message: str) -> Resp:
    """A failure as a Status."""
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return Resp(code, json.dumps(status).encode(), {"content-type": "application/json"})
