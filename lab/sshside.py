"""The SSH protocol of a lab's server, by paramiko: one connection's logins, channels and requests, each channel in a thread."""

from __future__ import annotations

import logging
import socket
import threading
from dataclasses import dataclass, field

import paramiko
from paramiko import common

from lab.sshd import Call, SshServer

HANDSHAKE_SECONDS = 30.0
LOGGER = "lab.ssh"


def converse(server: SshServer, connection: socket.socket) -> None:
    """Serve one connection until either end leaves."""
    _silence()
    transport = paramiko.Transport(connection)
    transport.set_log_channel(LOGGER)
    transport.local_version = server.banner
    transport.add_server_key(paramiko.ECDSAKey.from_private_key_file(str(server.key.path)))
    transport.handshake_timeout = HANDSHAKE_SECONDS
    side = _Side(server)
    server.transports.append(transport)
    try:
        transport.start_server(server=side)
        while transport.is_active():
            channel = transport.accept(1.0)
            if channel is not None:
                threading.Thread(target=_channel, args=(server, side, channel), daemon=True).start()
    except (paramiko.SSHException, EOFError, OSError):
        pass  # the other end has gone; there is nobody to tell
    finally:
        transport.close()
        server.transports.remove(transport)


def _channel(server: SshServer, side: _Side, channel: paramiko.Channel) -> None:
    asked = side.asked(channel.get_id())
    try:
        if asked.ready.wait(HANDSHAKE_SECONDS):
            call = Call(channel, side.user, side.key, asked.command, asked.terminal)
            channel.send_exit_status(server.serve(call))
    except (OSError, EOFError, paramiko.SSHException):
        pass  # cut in the middle: the client sees that by itself
    finally:
        side.forget(channel.get_id())
        channel.close()


def _silence() -> None:
    """Paramiko reports every cut connection as an error of its own: in the lab they are the point."""
    logger = logging.getLogger(LOGGER)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


@dataclass(slots=True)
class _Asked:
    """What a client asked of a channel, as it becomes known."""

    command: str | None = None
    terminal: bool = False
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
