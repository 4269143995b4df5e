"""An SSH server on loopback: the listening half. What speaks the protocol is `lab.sshside`, loaded at the first connection.

Paramiko takes a fifth of a second to import, which a lab's start does not wait for, and speaks from threads. Whoever serves a channel
runs in a thread of its own and hops onto the world's loop (`hop`) for everything that touches state.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

if TYPE_CHECKING:
    import paramiko

BACKLOG = 64
T = TypeVar("T")


@dataclass(slots=True)
class Call:
    """One channel: `command` is None for a shell; `terminal` when a pseudo terminal was asked for."""

    channel: paramiko.Channel
    user: str
    key: str
    command: str | None
    terminal: bool


Serve = Callable[[Call], int]
Login = Callable[[str, str | None, str | None], bool]  # user, password or None, public key ("type base64") or None


@dataclass(frozen=True, slots=True)
class HostKey:
    """A server's key: its file, and its public half as "type base64"."""

    path: Path
    public: str


def host_key(path: Path) -> HostKey:
    """The server's key at `path`, made there (0600) the first time."""
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    key = load_ssh_private_key(path.read_bytes(), None)
    return HostKey(path, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


@dataclass(slots=True)
class SshServer:
    """Listens on 127.0.0.1; `port` is 0 until `start`, then stays. `login` and `serve` are called from threads."""

    key: HostKey
    login: Login
    serve: Serve
    port: int = 0
    banner: str = "SSH-2.0-OpenSSH_8.0"
    _socket: socket.socket | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    transports: list[paramiko.Transport] = field(default_factory=list)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        self._loop = asyncio.get_running_loop()
        listening = socket.create_server(("127.0.0.1", self.port), backlog=BACKLOG)
        self.port = listening.getsockname()[1]
        self._socket = listening
        threading.Thread(target=self._accept, args=(listening,), name=f"ssh-{self.port}", daemon=True).start()

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # a closed socket alone does not wake the thread in accept
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut every open connection; the server goes on listening."""
        for transport in list(self.transports):
            transport.close()

    def hop(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop and wait for it; from a thread only. Raises ConnectionError when the server stops meanwhile."""
        if self._loop is None or self._loop.is_closed():
            work.close()
            raise ConnectionError("the server has stopped")

        async def tracked() -> T:
            task = asyncio.current_task()
            if task is not None:
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            return await work

        try:
            return asyncio.run_coroutine_threadsafe(tracked(), self._loop).result()
        except CancelledError as error:
            work.close()  # where it was ended before it began
            raise ConnectionError("the server has stopped") from error

    def known_hosts(self, name: str = "127.0.0.1") -> str:
        """The line that a client's known_hosts file needs."""
        return f"[{name}]:{self.port} {self.key.public}\n"

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return  # stopped
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each answer waits 40 ms for an ack
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection: socket.socket) -> None:
        from lab.sshside import converse

        converse(self, connection)
