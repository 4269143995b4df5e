"""WebSockets as kubectl and the Python client use them: exec and attach (v5, v4), port-forward by channels, and SPDY in a tunnel.

Source: RFC 6455; k8s.io/apimachinery/pkg/util/remotecommand and k8s.io/apiserver/pkg/util/proxy, 1.33.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.kube import spdy
from lab.kube.wire import Req, Upgrade

if TYPE_CHECKING:
    from lab.kube.streams import ExecResult

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
TEXT, BINARY, CLOSING, PING, PONG = 1, 2, 8, 9, 10
EXEC_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io")
TUNNEL = "SPDY/3.1+portforward.k8s.io"
PORT_PROTOCOLS = ("v4.channel.k8s.io", "portforward.k8s.io")

Run = Callable[[bytes], Awaitable["ExecResult"]]
Forward = Callable[[int, bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Wants:
    """Which standard streams a client asked for."""

    stdin: bool
    stdout: bool
    stderr: bool


class Socket:
    """The server's end of an open WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes | None:
        """The next message's payload, or None when the client closes. Answers pings on the way."""
        message = b""
        while True:
            first, second = await self._reader.readexactly(2)
            opcode, size = first & 15, second & 127
            if size == 126:
                size = int.from_bytes(await self._reader.readexactly(2))
            elif size == 127:
                size = int.from_bytes(await self._reader.readexactly(8))
            mask = await self._reader.readexactly(4) if second & 128 else b"\0\0\0\0"
            payload = unmask(await self._reader.readexactly(size), mask)
            if opcode == CLOSING:
                return None
            if opcode == PING:
                await self.send(payload, PONG)
            elif opcode != PONG:
                message += payload
                if first & 128:
                    return message

    async def send(self, payload: bytes, opcode: int = BINARY) -> None:
        """Send one unfragmented message."""
        size = len(payload)
        if size < 126:
            head = bytes([128 | opcode, size])
        elif size < 1 << 16:
            head = bytes([128 | opcode, 126]) + size.to_bytes(2)
        else:
            head = bytes([128 | opcode, 127]) + size.to_bytes(8)
        self._writer.write(head + payload)
        await self._writer.drain()

    async def close(self, code: int = 1000) -> None:
        """Say goodbye."""
        await self.send(code.to_bytes(2), CLOSING)


def unmask(payload: bytes, mask: bytes) -> bytes:
    """XOR with the client's mask, as one big integer: Python's bytes loops are slow."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)


def accept(req: Req, writer: asyncio.StreamWriter, protocol: str) -> None:
    """Write the 101 that opens a WebSocket."""
    key = req.headers.get("sec-websocket-key", "").encode()
    answer = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest()).decode()
    chosen = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {answer}\r\n{chosen}\r\n".encode()
    )


def choose(req: Req, known: tuple[str, ...]) -> str:
    """The first protocol of the client's that is known, or "" (the client then sees that none was)."""
    offered = [p.strip() for p in req.headers.get("sec-websocket-protocol", "").split(",")]
    return next((p for p in offered if p in known), "")


def exec_upgrade(wants: Wants, run: Run) -> Upgrade:
    """exec and attach: stdin is read to its end, then the command runs and its output goes out."""

    async def serve(req: Req, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = choose(req, EXEC_PROTOCOLS)
        accept(req, writer, protocol)
        socket = Socket(reader, writer)
        # Only v5 can say that stdin has ended; with older ones there is no end to wait for.
        stdin = await _stdin(socket) if wants.stdin and protocol.startswith("v5") else b""
        result = await run(stdin)
        if wants.stdout and result.stdout:
            await socket.send(bytes([STDOUT]) + result.stdout)
        if wants.stderr and result.stderr:
            await socket.send(bytes([STDERR]) + result.stderr)
        await socket.send(bytes([ERROR]) + json.dumps(spdy.exit_status(result.rc)).encode())
        await socket.close()

    return Upgrade(serve)


async def _stdin(socket: Socket) -> bytes:
    data = b""
    while (message := await socket.receive()) is not None:
        if message[:1] == bytes([STDIN]):
            data += message[1:]
        elif message[:2] == bytes([CLOSE, STDIN]):
            break
    return data


def portforward_upgrade(ports: list[int], forward: Forward) -> Upgrade:
    """Port-forward by channels, as the Python client speaks it: two channels a port, data and error."""

    async def serve(req: Req, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accept(req, writer, choose(req, PORT_PROTOCOLS))
        socket = Socket(reader, writer)
        for place, port in enumerate(ports):
            for channel in (2 * place, 2 * place + 1):
                await socket.send(bytes([channel]) + port.to_bytes(2, "little"))
        while (message := await socket.receive()) is not None:
            channel = message[0]
            if len(message) > 1 and channel % 2 == 0 and channel // 2 < len(ports):
                await socket.send(bytes([channel]) + await forward(ports[channel // 2], message[1:]))

    return Upgrade(serve)


def tunnel_upgrade(forward: Forward) -> Upgrade:
    """Port-forward of kubectl 1.31 and newer: SPDY frames inside binary messages."""

    async def serve(req: Req, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accept(req, writer, TUNNEL)
        socket = Socket(reader, writer)
        inner = asyncio.StreamReader()

        async def pump() -> None:
            while (message := await socket.receive()) is not None:
                inner.feed_data(message)
            inner.feed_eof()

        pumping = asyncio.ensure_future(pump())
        try:
            await spdy.serve_portforward(inner, socket.send, forward)
        finally:
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)

    return Upgrade(serve)
