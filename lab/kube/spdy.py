"""The part of SPDY/3.1 that exec (kubectl up to 1.29) and port-forward need: streams that a client opens, data both ways.

Source: SPDY protocol draft 3.1; github.com/moby/spdystream; k8s.io/kubelet/pkg/cri/streaming, 1.33.
"""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from lab.kube.wire import Req, Upgrade

if TYPE_CHECKING:
    from lab.kube.streams import ExecResult
    from lab.kube.websocket import Wants

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 1
EXEC_PROTOCOL = "v4.channel.k8s.io"
PORT_PROTOCOL = "portforward.k8s.io"

Send = Callable[[bytes], Awaitable[None]]
Run = Callable[[bytes], Awaitable["ExecResult"]]
Forward = Callable[[int, bytes], Awaitable[bytes]]


def _words(text: str) -> bytes:
    return b"".join(len(word).to_bytes(4) + word.encode() for word in text.split())


# The protocol's fixed compression dictionary (draft 3, section 2.6.10.1).
DICTIONARY = (
    _words(
        """options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow
        authorization cache-control connection content-base content-encoding content-language content-length
        content-location content-md5 content-range content-type date etag expect expires from host if-match
        if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
        proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade
        user-agent vary via warning www-authenticate method get status"""
    )
    + _words("")
    + len("200 OK").to_bytes(4)
    + b"200 OK"
    + _words("version")
    + len("HTTP/1.1").to_bytes(4)
    + b"HTTP/1.1"
    + _words("url public set-cookie keep-alive origin")
    + b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    b"203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    b"403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    b"Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    b"chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    b"text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


class Session:
    """One SPDY connection, seen from the server. Streams are known by id; `events` yields what the client does."""

    def __init__(self, reader: asyncio.StreamReader, send: Send) -> None:
        self._reader = reader
        self._send = send
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(level=zlib.Z_BEST_COMPRESSION, zdict=DICTIONARY)

    async def next(self) -> tuple[str, int, dict[str, str] | bytes, bool] | None:
        """("open", id, headers, fin), ("data", id, bytes, fin), ("reset", id, b"", True), or None at the end."""
        while True:
            try:
                first, second = struct.unpack(">II", await self._reader.readexactly(8))
                payload = await self._reader.readexactly(second & 0xFFFFFF)
            except asyncio.IncompleteReadError:
                return None
            flags = second >> 24
            if not first >> 31:
                if payload:  # both windows are topped up at once: nothing here is ever held back
                    for stream in (first, 0):
                        await self._control(WINDOW_UPDATE, struct.pack(">II", stream, len(payload)))
                return "data", first, payload, bool(flags & FIN)
            kind = first & 0xFFFF
            if kind == SYN_STREAM:
                stream = struct.unpack(">I", payload[:4])[0] & 0x7FFFFFFF
                headers = self._headers(payload[10:])
                await self._control(SYN_REPLY, stream.to_bytes(4) + self._pack({}))
                return "open", stream, headers, bool(flags & FIN)
            if kind == RST_STREAM:
                return "reset", struct.unpack(">I", payload[:4])[0], b"", True
            if kind == PING:
                await self._control(PING, payload)
            elif kind == GOAWAY:
                return None

    async def data(self, stream: int, payload: bytes, *, fin: bool = False) -> None:
        """Send data on a stream, and close our half of it with `fin`."""
        pieces = [payload[at : at + 32768] for at in range(0, len(payload), 32768)] or [b""]
        for place, piece in enumerate(pieces):
            last = fin and place == len(pieces) - 1
            await self._send(struct.pack(">II", stream, (FIN if last else 0) << 24 | len(piece)) + piece)

    async def goodbye(self) -> None:
        """End the session."""
        await self._control(GOAWAY, struct.pack(">II", 0, 0))

    async def _control(self, kind: int, payload: bytes) -> None:
        await self._send(struct.pack(">II", 1 << 31 | 3 << 16 | kind, len(payload)) + payload)

    def _headers(self, packed: bytes) -> dict[str, str]:
        raw = self._inflate.decompress(packed)
        count, at = struct.unpack(">I", raw[:4])[0], 4
        found = []
        for _ in range(2 * count):
            size = struct.unpack(">I", raw[at : at + 4])[0]
            found.append(raw[at + 4 : at + 4 + size].decode())
            at += 4 + size
        return dict(zip(found[::2], found[1::2], strict=True))

    def _pack(self, headers: dict[str, str]) -> bytes:
        raw = len(headers).to_bytes(4)
        for name, value in headers.items():
            raw += len(name).to_bytes(4) + name.encode() + len(value).to_bytes(4) + value.encode()
        return self._deflate.compress(raw) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _switch(writer: asyncio.StreamWriter, protocol: str) -> Send:
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        f"X-Stream-Protocol-Version: {protocol}\r\n\r\n".encode()
    )

    async def send(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    return send


def exit_status(rc: int) -> dict[str, object]:
    """What the error channel says when a command has ended."""
    if rc == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {rc}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(rc)}]},
    }


def exec_upgrade(wants: Wants, run: Run) -> Upgrade:
    """exec over SPDY: the client opens error, stdin, stdout and stderr; stdin ends with FIN."""

    async def serve(_req: Req, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(reader, _switch(writer, EXEC_PROTOCOL))
        needed = {"error"} | {name for name in ("stdin", "stdout", "stderr") if getattr(wants, name)}
        streams: dict[str, int] = {}
        stdin, ended = b"", not wants.stdin
        while not (needed <= streams.keys() and ended):
            event = await session.next()
            if event is None:
                return
            what, stream, payload, fin = event
            if what == "open" and isinstance(payload, dict):
                streams[payload.get("streamtype", "")] = stream
            elif what == "data" and isinstance(payload, bytes) and stream == streams.get("stdin"):
                stdin += payload
            ended = ended or (fin and stream == streams.get("stdin"))
        result = await run(stdin)
        for name, output in (("stdout", result.stdout), ("stderr", result.stderr)):
            if name in streams:
                await session.data(streams[name], output, fin=True)
        await session.data(streams["error"], json.dumps(exit_status(result.rc)).encode(), fin=True)
        await session.goodbye()

    return Upgrade(serve)


def portforward_upgrade(forward: Forward) -> Upgrade:
    """Port-forward over plain SPDY (kubectl up to 1.30)."""

    async def serve(_req: Req, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_portforward(reader, _switch(writer, PORT_PROTOCOL), forward)

    return Upgrade(serve)


async def serve_portforward(reader: asyncio.StreamReader, send: Send, forward: Forward) -> None:
    """Each connection is a pair of streams, error and data; what arrives on data is answered and the stream is closed."""
    session = Session(reader, send)
    ports: dict[int, int] = {}
    while (event := await session.next()) is not None:
        what, stream, payload, _ = event
        if what == "open" and isinstance(payload, dict):
            if payload.get("streamtype") == "data":
                ports[stream] = int(payload.get("port", 0))
            else:
                await session.data(stream, b"", fin=True)  # an error stream that closes empty: all is well
        elif what == "data" and isinstance(payload, bytes) and payload and stream in ports:
            await session.data(stream, await forward(ports.pop(stream), payload), fin=True)
