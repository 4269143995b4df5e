"""An SSH server on loopback by paramiko: password and key logins, several channels a connection, exec and shell.

Paramiko speaks from threads. Whoever serves a channel runs in a thread of its own and hops onto the world's loop (`hop`)
for everything that touches state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import paramiko
from paramiko import common

HANDSHAKE_SECONDS = 30.0
BACKLOG = 64
LOGGER = "lab.ssh"
T = TypeVar("T")


@dataclass(slots=True)
class Call:
    """One channel: `command` is None for a shell; `terminal` when a pseudo terminal was asked for."""

    channel: paramiko.Channel
    user: str
    key: str
    command: str | None
    terminal: bool
    subsystem: str = ""


Serve = Callable[[Call], int]
Login = Callable[[str, str | None, str | None], bool]  # user, password or None, public key ("type base64") or None


def host_key(path: Path) -> paramiko.ECDSAKey:
    """The server's key at `path`, made there (0600) the first time."""
    if path.exists():
        return paramiko.ECDSAKey.from_private_key_file(str(path))
    key = paramiko.ECDSAKey.generate()
    path.touch(mode=0o600)
    key.write_private_key_file(str(path))
    path.chmod(0o600)
    return key


def silence() -> None:
    """Paramiko reports every cut connection as an error of its own: in the lab they are the point."""
    logger = logging.getLogger(LOGGER)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


@dataclass(slots=True)
class SshServer:
    """Listens on 127.0.0.1; `port` is 0 until `start`, then stays. `login` and `serve` are called from threads."""

    key: paramiko.PKey
    login: Login
    serve: Serve
    port: int = 0
    banner: str = "SSH-2.0-OpenSSH_8.0"
    _socket: socket.socket | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _transports: list[paramiko.Transport] = field(default_factory=list)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        silence()
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
        for transport in list(self._transports):
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
            raise ConnectionError("the server has stopped") from error

    def known_hosts(self, name: str = "127.0.0.1") -> str:
        """The line that a client's known_hosts file needs."""
        return f"[{name}]:{self.port} {self.key.get_name()} {self.key.get_base64()}\n"

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return  # stopped
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each answer waits 40 ms for an ack
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        transport.set_log_channel(LOGGER)
        transport.local_version = self.banner
        transport.add_server_key(self.key)
        transport.handshake_timeout = HANDSHAKE_SECONDS
        side = _Side(self)
        self._transports.append(transport)
        try:
            transport.start_server(server=side)
            while transport.is_active():
                channel = transport.accept(1.0)
                if channel is not None:
                    threading.Thread(target=self._channel, args=(side, channel), daemon=True).start()
        except (paramiko.SSHException, EOFError, OSError):
            pass  # the other end has gone; there is nobody to tell
        finally:
            transport.close()
            self._transports.remove(transport)

    def _channel(self, side: _Side, channel: paramiko.Channel) -> None:
        asked = side.asked(channel.get_id())
        try:
            if asked.ready.wait(HANDSHAKE_SECONDS):
                call = Call(channel, side.user, side.key, asked.command, asked.terminal, asked.subsystem)
                channel.send_exit_status(self.serve(call))
        except (OSError, EOFError, paramiko.SSHException):
            pass  # cut in the middle: the client sees that by itself
        finally:
            side.forget(channel.get_id())
            channel.close()


@dataclass(slots=True)
class _Asked:
    """What a client asked of a channel, as it becomes known."""

    command: str | None = None
    terminal: bool = False
    subsystem: str = ""
    ready: threading.Event = field(default_factory=threading.Event)


class _Side(paramiko.ServerInterface):
    """One connection's answers to paramiko."""

    def __init__(self, server: SshServer) -> None:
        self.server = server
        self.user = ""
        self.key = ""
        self._asked: dict[int, _Asked] = {}
        self._guard = threading.Lock()

    def asked(self, number: int) -> _Asked:
        """What was asked of channel `number`."""
        with self._guard:
            return self._asked.setdefault(number, _Asked())

    def forget(self, number: int) -> None:
        """Channel `number` is closed."""
        with self._guard:
            self._asked.pop(number, None)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey,password"

    def check_auth_password(self, username: str, password: str) -> int:
        return self._login(username, password, "")

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return self._login(username, None, f"{key.get_name()} {key.get_base64()}")

    def _login(self, user: str, password: str | None, key: str) -> int:
        if not self.server.login(user, password, key or None):
            return common.AUTH_FAILED
        self.user, self.key = user, key
        return common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return common.OPEN_SUCCEEDED if kind == "session" else common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_pty_request(self, channel: paramiko.Channel, *_size: object) -> bool:
        self.asked(channel.get_id()).terminal = True
        return True

    def check_channel_window_change_request(self, channel: paramiko.Channel, *_size: object) -> bool:
        return True

    def check_channel_env_request(self, channel: paramiko.Channel, name: bytes, value: bytes) -> bool:
        return True

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        self.asked(channel.get_id()).ready.set()
        return True

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        asked = self.asked(channel.get_id())
        asked.command = command.decode(errors="replace")
        asked.ready.set()
        return True

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        return False
