"""The daemon's control port on loopback: calls of simulated programs, and the verbs of `lab stop|status|log|dump|save|...`.

A request is NUL-separated: TOKEN, verb, and for `call` the directory, the count of words, the words, the count of variables, the
variables, and standard input in base64. The answer is frames: `1` or `2` for the stream, eight digits for the length, and so many bytes;
at last `x` and the exit code in eight digits. Every other verb answers one JSON document. While a call runs the client may send T or I:
a signal.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from lab import programs
from lab.programs.call import Call

if TYPE_CHECKING:
    from lab.world import World

LOG = logging.getLogger("lab.control")
Verb = Callable[[list[str]], Awaitable[Any]]


class Control:
    """The control port of one world."""

    def __init__(self, world: World, token: str, verbs: dict[str, Verb]) -> None:
        self.world = world
        self.token = token
        self.verbs = verbs
        self.port = 0
        self.calls = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a port of the system's choice."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 24)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new calls and end those that run."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """End the calls that run."""
        for task in list(self._open):
            if task is not asyncio.current_task():
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
        try:
            token, verb = await _text(reader), await _text(reader)
            if not hmac.compare_digest(token, self.token):
                return
            if verb == "call":
                await self._call(reader, writer)
            else:
                await self._verb(verb, reader, writer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            LOG.debug("a client went away")
        except asyncio.CancelledError:
            LOG.debug("the world stops")
        finally:
            if task is not None:
                self._open.discard(task)
            writer.close()

    async def _verb(self, verb: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = [await _text(reader) for _ in range(int(await _text(reader)))]
        handler = self.verbs.get(verb)
        try:
            answer = {"error": f"no such verb: {verb}"} if handler is None else {"result": await handler(words)}
        except Exception as error:  # whatever a verb raises is its client's to print
            LOG.exception("%s", verb)
            answer = {"error": f"{type(error).__name__}: {error}"}
        writer.write(orjson.dumps(answer) + b"\n")

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cwd = Path(await _text(reader))
        argv = [await _text(reader) for _ in range(int(await _text(reader)))]
        variables = [await _text(reader) for _ in range(int(await _text(reader)))]
        env = {name: value for name, _, value in (v.partition("=") for v in variables)}
        stdin = base64.b64decode(await _text(reader))
        output = _Output(writer)
        call = Call(argv=argv, cwd=cwd, env=env, stdin=stdin, world=self.world, write=output.write)
        self.calls += 1
        running = asyncio.ensure_future(programs.run(call))
        gone = asyncio.ensure_future(_signals(reader, call, running))
        try:
            await asyncio.wait((running, gone), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():  # the client has gone, or has been told to stop
                running.cancel()
            rc = await _result(running, call, output)
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone
        output.end(rc)


async def _signals(reader: asyncio.StreamReader, call: Call, running: asyncio.Future[int]) -> None:
    """Until the client goes away. A signal cancels the call once; how it then ends is the program's."""
    while True:
        sign = await reader.read(1)
        if not sign:
            return
        call.signal = {b"T": "TERM", b"I": "INT"}.get(sign, "TERM")
        running.cancel()


async def _result(running: asyncio.Future[int], call: Call, output: _Output) -> int:
    try:
        return await running
    except asyncio.CancelledError:
        return {"TERM": 143, "INT": 130}.get(call.signal, 137)
    except Exception as error:  # a bug of the lab must not look like an answer of the tool
        LOG.exception("%s", " ".join(call.argv))
        output.write(2, f"lab: internal error: {type(error).__name__}: {error}\n".encode())
        return 126


class _Output:
    """Turns the two streams of a program into frames."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def write(self, stream: int, data: bytes) -> None:
        """Send what a program has written, without NUL: a shell's variable cannot hold one."""
        data = data.replace(b"\0", b"")
        if data and not self._writer.is_closing():
            self._writer.write(b"%d%08d%b" % (stream, len(data), data))

    def end(self, rc: int) -> None:
        """Send the exit code."""
        if not self._writer.is_closing():
            self._writer.write(b"x%08d" % rc)


async def _text(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\0"))[:-1].decode("utf-8", "surrogateescape")


def answer(port: int, token: str, verb: str, words: list[str]) -> bytes:
    """What a running daemon says, in another process: a JSON object with `result` or `error`. Raises OSError where none answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        fields = [token, verb, str(len(words)), *words]
        connection.sendall(b"".join(f.encode() + b"\0" for f in fields))
        with connection.makefile("rb") as stream:
            line = stream.readline()
    if not line:
        raise ConnectionError("the lab does not answer")
    return line


def ask(port: int, token: str, verb: str, words: list[str]) -> Any:
    """`answer`'s result. Raises RuntimeError with the daemon's error."""
    said = orjson.loads(answer(port, token, verb, words))
    if "error" in said:
        raise RuntimeError(said["error"])
    return said["result"]
