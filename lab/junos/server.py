"""The gateway on the network: its command line over SSH, with what the world's faults make of it."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.actor import Snapshot
from lab.faults import Effect, Faults, Happening
from lab.junos.cli import END_OF_INPUT, Cli, Did
from lab.junos.device import JunosDevice
from lab.record import Record
from lab.sshd import Call, SshServer, host_key

ACTOR = "ssh:gateway"
CONTROL_C, BACKSPACE = "\x03", ("\x08", "\x7f")
GONE_POLL_WALL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Account:
    """Who may log in, and how: a password, public keys ("type base64"), or both."""

    password: str = ""
    keys: tuple[str, ...] = ()


@dataclass(slots=True)
class Gateway:
    """The gateway as one actor: the device, and its SSH server on loopback. `dir` keeps the host key."""

    device: JunosDevice
    dir: Path
    accounts: Mapping[str, Account]
    record: Record
    faults: Faults | None = None
    port: int = 0
    server: SshServer = field(init=False)
    _terminals: int = 0

    def __post_init__(self) -> None:
        self.server = SshServer(host_key(self.dir / "gateway_host_key"), self._login, self._serve, self.port)

    @property
    def name(self) -> str:
        """The actor's name."""
        return "gateway"

    async def start(self) -> None:
        """Listen, and go on with what was pending. The sessions of the fabric begin with their gateway."""
        await self.device.fabric.start()
        await self.device.start()
        await self.server.start()
        self.port = self.server.port

    async def stop(self) -> None:
        """Cut every session."""
        await self.server.stop()
        await self.device.stop()
        await self.device.fabric.stop()

    def snapshot(self) -> Snapshot:
        """The device's state."""
        return self.device.snapshot()

    def restore(self, state: Snapshot) -> None:
        """Take over a device's state; sessions are cut."""
        self.server.cut()
        self.device.restore(state)

    def dump(self) -> Snapshot:
        """The device as `lab dump` shows it."""
        return self.device.dump()

    def busy(self) -> bool:
        """Whether a commit runs or waits for its confirmation, or a session is on its way."""
        return self.device.busy() or self.device.fabric.busy()

    def known_hosts(self) -> str:
        """The line for a client's known_hosts file."""
        return self.server.known_hosts()

    # -- from the server's threads ----------------------------------------------------------------------------------

    def _login(self, user: str, password: str | None, key: str | None) -> bool:
        account = self.accounts.get(user)
        good = account is not None and (
            (key is not None and key in account.keys)
            or (bool(account.password) and password is not None and hmac.compare_digest(password, account.password))
        )
        denied = self.server.hop(self._denied(user))
        if not good and key is None:
            self.server.hop(self._noted(user, Did("login", f"{user} by password", mutates=False, ok=False)))
        return good and not denied

    def _serve(self, call: Call) -> int:
        terminal = f"p{self._next_terminal()}" if call.terminal else ""
        cli = Cli(self.device, call.user, terminal, note=lambda did: self._note(call.user, did))
        try:
            if call.command is not None:
                return self._exec(call, cli)
            return self._shell(call, cli)
        finally:
            self.server.hop(_left(cli))

    def _next_terminal(self) -> int:
        self._terminals = (self._terminals + 1) % 1000
        return self._terminals

    def _exec(self, call: Call, cli: Cli) -> int:
        """`ssh host "command; command"`: each in turn, whatever came of the one before."""
        failed = False
        for line in commands(call.command or ""):
            said, cut = self.server.hop(self._line(call, cli, line))
            if cut:
                call.channel.get_transport().close()
                return 255
            failed = failed or cli.failed
            call.channel.sendall(said.encode())
        return 1 if failed else 0

    def _shell(self, call: Call, cli: Cli) -> int:
        newline = "\r\n" if call.terminal else "\n"

        def send(text: str) -> None:
            if text:
                call.channel.sendall(text.replace("\n", newline).encode())

        self.device.broadcasts.append(send)
        try:
            send(f"--- JUNOS 21.4R3-S5.4 Kernel 64-bit  JNPR-12.1\n{cli.prompt if call.terminal else ''}")
            for line in _lines(call, send if call.terminal else _unseen):
                said, cut = self.server.hop(self._line(call, cli, line))
                if cut:
                    call.channel.get_transport().close()
                    return 255
                send(said)
                if cli.closed:
                    return 0
                send(f"{cli.lead or (chr(10) if cli.prompt and not cli.editor else '')}{cli.prompt}" if call.terminal else "")
            return 0
        finally:
            self.device.broadcasts.remove(send)

    # -- on the loop ------------------------------------------------------------------------------------------------

    async def _line(self, call: Call, cli: Cli, line: str) -> tuple[str, bool]:
        """Run one line under the world's faults. Returns what is printed, and whether the connection is cut instead."""
        with self.device.clock.hold():
            effect = self._effect(cli.user, line)
            if effect is None:
                return await cli.line(line), False
            await self.device.clock.sleep(effect.latency)
            while effect.hang and not _gone(call):
                await asyncio.sleep(GONE_POLL_WALL_SECONDS)
            if effect.hang or (effect.before and effect.cut):
                return "", True
            if effect.fail or effect.message:
                cli.failed = True
                return f"error: {effect.fail or effect.message}\n", effect.cut
            said = "" if effect.before else await cli.line(line)
            said = effect.stdout if effect.stdout is not None else said
            if effect.truncate is not None:
                said = said[: effect.truncate]
            if effect.garble:
                said = "".join(chr(33 + ord(letter) % 90) for letter in said)
            cli.failed = cli.failed or bool(effect.exit)
            return said, effect.cut

    def _effect(self, user: str, line: str) -> Effect | None:
        if self.faults is None or not self.faults.rules:
            return None
        verb = " ".join(line.split("|")[0].split()[:2])
        return self.faults.find(Happening(actor=ACTOR, verb=verb, object=line, user=user))

    async def _denied(self, user: str) -> bool:
        if self.faults is None or not self.faults.rules:
            return False
        effect = self.faults.find(Happening(actor=ACTOR, verb="login", user=user))
        return effect is not None and (effect.denied or effect.cut)

    async def _noted(self, user: str, did: Did) -> None:
        self._note(user, did)

    def _note(self, user: str, did: Did) -> None:
        self.record.add(actor=user, via="ssh", what=did.what, request=did.request, mutates=did.mutates, ok=did.ok)


def commands(text: str) -> list[str]:
    """The commands of an exec request: split at semicolons and line ends outside of quotes."""
    found, quoted = [""], False
    for letter in text:
        quoted ^= letter == '"'
        if letter in ";\n" and not quoted:
            found.append("")
        else:
            found[-1] += letter
    return [line.strip() for line in found if line.strip()]


async def _left(cli: Cli) -> None:
    cli.leave()


def _unseen(_text: str) -> None:
    """No echo: there is no terminal."""


def _gone(call: Call) -> bool:
    transport = call.channel.get_transport()
    return call.channel.closed or not transport.is_active()


def _lines(call: Call, echo: Callable[[str], None]) -> Iterator[str]:
    """Lines as they are typed, echoed, until the client ends its input."""
    line, before = "", ""
    while data := call.channel.recv(65536):
        shown = ""
        for letter in data.decode(errors="replace"):
            ends = letter == "\r" or (letter == "\n" and before != "\r")
            before = letter
            if letter == END_OF_INPUT or ends:
                echo(shown + ("\n" if ends else ""))
                yield line + ("" if ends else END_OF_INPUT)
                line = shown = ""
            elif letter in BACKSPACE:
                line, shown = line[:-1], shown + "\b \b"
            elif letter == CONTROL_C:
                line, shown = "", shown + "\n"
            elif letter != "\n":
                line, shown = line + letter, shown + letter
        echo(shown)
    if line:
        yield line
