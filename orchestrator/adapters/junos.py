"""The gateway by SSH (paramiko): reading by exec, changing by the safe procedure of foundation.md 7.2.

Candidate under an exclusive lock, `show | compare` must be what was planned, `commit check`, `commit confirmed`, a new session
that proves that management still works, the sessions verified, then the confirmation; else the device rolls back by itself.
"""

from __future__ import annotations

import io
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from orchestrator.adapters.lean import without
from orchestrator.adapters.masking import Masker
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.targets import GatewayTarget
from orchestrator.model.action import JunosChange
from orchestrator.model.data import dataclass
from orchestrator.model.errors import BootstrapError
from orchestrator.model.ports import Outcome
from orchestrator.model.query import Answer, JunosShow
from orchestrator.model.setlines import awaits_confirmation, newest_commit, to_send

if TYPE_CHECKING:
    import paramiko

CONNECT_SECONDS = 15.0
PROMPT = re.compile(r"(?:^|[\r\n])(?:\[edit[^\]]*\]\s*)?[\w.@-]+[>#%] ?$")
LOCKED = ("configuration database locked", "could not lock", "exclusive")
_SECRET = re.compile(r'((?:authentication-key|encrypted-password|secret) )("[^"]*"|\S+)')
_ONE_LINE = re.compile(r"^(teardown|autonomous-system|local-as) (\d+) (.+)$")  # `display set` has a line for each part
_COMMENT = re.compile(r"\s*## .*$")


class GatewayFailed(Exception):
    """The device refused: its words, masked. `locked`: somebody else edits; `silent`: it did not answer."""

    def __init__(self, text: str, *, locked: bool = False, silent: bool = False) -> None:
        super().__init__(text)
        self.locked = locked
        self.silent = silent


class Locked(GatewayFailed):
    """Somebody else holds the configuration."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A candidate against the active configuration, as set lines. Secrets stand as `***`."""

    added: frozenset[str]
    removed: frozenset[str]


def difference(compare: str) -> Difference:
    """The set lines that `show | compare` adds and removes. Source: Junos CLI, patch form with [edit ...] headers."""
    added: set[str] = set()
    removed: set[str] = set()
    base: list[str] = []
    stack: list[str] = []
    for raw in compare.splitlines():
        line = _COMMENT.sub("", raw.rstrip())
        header = re.match(r"^\[edit ?(.*)\]$", line)
        if header:
            base, stack = header[1].split(), []
            continue
        sign, text = line[:1], line[1:].strip()
        if sign not in "+-!" or not text:
            if sign == " " and text.endswith("{"):
                stack.append(text[:-1].strip())
            elif sign == " " and text == "}" and stack:
                stack.pop()
            continue
        if text.endswith("{"):
            stack.append(text[:-1].strip())
        elif text == "}":
            if stack:
                stack.pop()
        else:
            (added if sign == "+" else removed).update(_lines(base, stack, text.rstrip(";")))
    both = added & removed  # a member that stays in a list: the whole list is taken away and added
    return Difference(frozenset(added - both), frozenset(removed - both))


def _lines(base: Sequence[str], stack: Sequence[str], leaf: str) -> list[str]:
    """One set line, or one for each member of a `[ a b ]` list and for each part of what the device prints on one line."""
    listed = re.match(r"^(.*?)\s*\[ (.*) \]$", leaf)
    leaves = [leaf] if listed is None else [f"{listed[1]} {one}".strip() for one in listed[2].split()]
    if joined := _ONE_LINE.match(leaf):
        leaves = [f"{joined[1]} {joined[2]}", f"{joined[1]} {joined[3]}"]
    return [masked_line(" ".join(("set", *base, *stack, one))) for one in leaves]


def masked_line(line: str) -> str:
    """A set line without its secret, in one spelling."""
    return " ".join(_SECRET.sub(r"\1***", line).split())


class Gateway:
    """One device. Reads share a connection; a change has connections of its own."""

    def __init__(self, target: GatewayTarget, secrets: Secrets, masker: Masker, *, pause: float) -> None:
        self._target = target
        self._secrets = secrets
        self._masker = masker
        self._pause = pause
        self._client: paramiko.SSHClient | None = None
        self._lock = threading.Lock()

    def show(self, query: JunosShow) -> Answer:
        """What an operational command prints. Never a configuration command."""
        command = query.command if "no-more" in query.command else f"{query.command} | no-more"
        if not command.startswith("show "):
            raise AssertionError(f"{command}: a question to the gateway starts with show")
        with self._lock:
            for fresh in (False, True):
                try:
                    client = self._reading(fresh=fresh)
                    return self._exec(client, command, query.within.total_seconds())
                except BootstrapError as error:
                    return Answer(unreachable=str(error))
                except GatewayFailed as error:
                    if fresh:
                        return Answer(unreachable=str(error))
        raise AssertionError("the loop above returns")

    def close(self) -> None:
        """End the shared connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def change(self, action: JunosChange, *, comment: str, log: Callable[[str], None], verified: Callable[[], tuple[bool, str]], deadline: float) -> Outcome:
        """The procedure of foundation.md 7.2. `verified` waits for the sessions and says whether they came."""
        started = time.monotonic()
        try:
            text = self._change(action, comment, log, verified, deadline)
            return Outcome(True, 0, text, seconds=time.monotonic() - started)
        except BootstrapError as error:
            return Outcome(False, 1, str(error), seconds=time.monotonic() - started, permanent=True)
        except GatewayFailed as error:
            return Outcome(False, 1, str(error), seconds=time.monotonic() - started, permanent=not (error.locked or error.silent))

    def _change(self, action: JunosChange, comment: str, log: Callable[[str], None], verified: Callable[[], tuple[bool, str]], deadline: float) -> str:
        pending = self._pending(comment)
        if pending == "ours":
            log("a change of ours waits for its confirmation: verify it and confirm")
            return self._confirm(comment, log, verified)
        if pending == "foreign":
            raise Locked("a commit of somebody else waits for its confirmation (show system commit)", locked=True)
        shell = self._exclusive(action.lock_within.total_seconds())
        try:
            wanted = to_send(action, self._configuration())
            if not wanted:
                return "nothing to change on the device"
            keys = dict(action.secrets)
            for line in wanted:
                self._edit(shell, f'{line} "{self._secrets.resolve(keys[line].ref)}"' if line in keys else line, log)
            planned = Difference(frozenset(masked_line(f"{line} ***" if line in keys else line) for line in wanted), frozenset())
            found = difference(shell.run("show | compare | no-more"))
            log(f"show | compare: +{len(found.added)} -{len(found.removed)}")
            if not found.added and not found.removed:
                return "nothing to change on the device"
            self._refuse_surprises(planned, found, action)
            self._expect(shell.run("commit check"), "configuration check succeeds", log)
            self._expect(shell.run(f'commit confirmed {action.confirm_minutes} comment "{comment}"', within=120.0), "commit complete", log)
            return self._confirm(comment, log, verified, shell)
        finally:
            shell.leave()

    def _confirm(self, comment: str, log: Callable[[str], None], verified: Callable[[], tuple[bool, str]], holder: _Shell | None = None) -> str:
        """A new session proves that management works; then the sessions; then `commit`.

        While `holder` has the exclusive lock nobody else may commit, not even another session of ours."""
        self.close()
        fresh = self._shell()
        editing = holder or fresh
        try:
            came, why = verified()
            if holder is None:
                fresh.run("configure")
            if not came:
                self._roll_back(editing, log)
                raise GatewayFailed(f"the change was rolled back: {why}", silent=True)
            self._expect(editing.run(f'commit comment "{comment}"', within=120.0), "commit complete", log)
            return "committed and confirmed"
        finally:
            fresh.leave()

    def _roll_back(self, shell: _Shell, log: Callable[[str], None]) -> None:
        """Do not wait for the device's own timer when it is plain that the change is not good."""
        with suppress(GatewayFailed):
            shell.run("rollback 1")
            self._expect(shell.run('commit comment "bootstrap: rolled back"', within=120.0), "commit complete", log)

    def _pending(self, comment: str) -> str | None:
        """`ours`, `foreign` or None: whose commit waits for its confirmation."""
        answer = self.show(JunosShow("show system commit"))
        if answer.unreachable is not None:
            raise GatewayFailed(answer.unreachable, silent=True)
        newest = newest_commit(answer.stdout)
        if not awaits_confirmation(answer.stdout):
            return None
        return "ours" if comment in newest else "foreign"

    def _configuration(self) -> str:
        """The active configuration as set lines."""
        answer = self.show(JunosShow("show configuration | display set"))
        if answer.unreachable is not None or answer.rc != 0:
            raise GatewayFailed(answer.unreachable or answer.stderr or "the configuration could not be read", silent=True)
        return answer.stdout

    def _refuse_surprises(self, planned: Difference, found: Difference, action: JunosChange) -> None:
        def is_owned(line: str) -> bool:
            return any(line.removeprefix("set ").startswith(prefix) for prefix in action.owned)

        foreign = sorted(line for line in found.removed if not is_owned(line))
        extra = sorted(found.added - planned.added)
        missing = sorted(planned.added - found.added)
        for what, lines in (("would remove what is not ours", foreign), ("adds what was not planned", extra), ("lacks what was planned", missing)):
            if lines:
                raise GatewayFailed(f"the device's own compare {what}: {'; '.join(lines[:5])}")

    def _edit(self, shell: _Shell, line: str, log: Callable[[str], None]) -> None:
        said = shell.run(line)
        if re.search(r"syntax error|unknown command|invalid|error:", said, re.IGNORECASE):
            raise GatewayFailed(f"{masked_line(line)}: {self._masker.mask(_last(said))}")

    def _expect(self, said: str, wanted: str, log: Callable[[str], None]) -> None:
        for line in said.splitlines():
            if line.strip():
                log(self._masker.mask(line.strip()))
        if wanted not in said:
            raise GatewayFailed(f"wanted '{wanted}', the device said: {self._masker.mask(' '.join(said.split()))[-300:]}")

    def _exclusive(self, within: float) -> _Shell:
        """A shell in exclusive configuration mode. A lock of somebody else is waited for, never broken."""
        retrying = Retrying(retry=retry_if_exception_type(Locked), stop=stop_after_delay(within), wait=wait_fixed(max(self._pause * 10, 0.2)), reraise=True)
        shell: _Shell = retrying(self._try_exclusive)
        return shell

    def _try_exclusive(self) -> _Shell:
        shell = self._shell()
        said = shell.run("configure exclusive")
        if "# " not in shell.prompt and not shell.prompt.endswith("#"):
            shell.leave()
            raise Locked(f"the configuration is locked: {_last(said)}", locked=True)
        return shell

    def _reading(self, *, fresh: bool) -> paramiko.SSHClient:
        if fresh:
            self.close()
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _exec(self, client: paramiko.SSHClient, command: str, within: float) -> Answer:
        try:
            _, out, err = client.exec_command(command, timeout=within)
            stdout, stderr = out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace")
            rc = out.channel.recv_exit_status()
        except Exception as error:
            raise GatewayFailed(f"{self._target.address}: {_name(error)}", silent=True) from error
        return Answer(rc=rc, stdout=stdout, stderr=stderr)

    def _shell(self) -> _Shell:
        return _Shell(self._connect())

    def _connect(self) -> paramiko.SSHClient:
        with without("invoke"):  # runs `Match exec` of ssh configurations, which are not read here
            import paramiko

        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        _pin(client, self._secrets.resolve(self._target.known_hosts.ref))
        password = self._secrets.resolve(self._target.password.ref) if self._target.password else None
        key = _key(self._secrets.resolve(self._target.private_key.ref)) if self._target.private_key else None
        try:
            raw = socket.create_connection((self._target.address, self._target.port), CONNECT_SECONDS)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else every exec waits for a delayed ACK
            client.connect(self._target.address, self._target.port, self._target.user, password, key, sock=raw, look_for_keys=False, allow_agent=False, timeout=CONNECT_SECONDS, banner_timeout=CONNECT_SECONDS, auth_timeout=CONNECT_SECONDS)
        except paramiko.BadHostKeyException as error:
            raise GatewayFailed(f"{self._target.address}: the host key is not the one in known_hosts") from error
        except paramiko.AuthenticationException as error:
            raise GatewayFailed(f"{self._target.address}: the gateway refused the user {self._target.user}") from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            silent = "not found in known_hosts" not in str(error)
            raise GatewayFailed(f"{self._target.address}: {_name(error)}", silent=silent) from error
        return client


class _Shell:
    """An interactive session: a line in, everything up to the next prompt out."""

    def __init__(self, client: paramiko.SSHClient) -> None:
        self._client = client
        self._channel = client.invoke_shell(term="dumb", width=511, height=10000)
        self.prompt = ""
        self._read(20.0)
        self.run("set cli screen-length 0")
        self.run("set cli screen-width 0")

    def run(self, line: str, within: float = 30.0) -> str:
        """What the device said to `line`, without its echo and its prompt."""
        try:
            self._channel.sendall((line + "\n").encode())
        except OSError as error:
            raise GatewayFailed(f"the session was lost: {_name(error)}", silent=True) from error
        said = self._read(within)
        first, _, rest = said.partition("\n")
        return rest if first.strip().endswith(line.strip()) else said

    def leave(self) -> None:
        """Drop the candidate and the lock, and go."""
        with suppress(Exception):
            if "#" in self.prompt:
                self.run("rollback 0", 10.0)
                self.run("exit configuration-mode", 10.0)
            self._channel.sendall(b"exit\n")
        self._client.close()

    def _read(self, within: float) -> str:
        """Text up to a prompt at the end of what came."""
        deadline = time.monotonic() + within
        text = ""
        self._channel.settimeout(within)
        while True:
            try:
                chunk = self._channel.recv(1 << 16)
            except OSError as error:
                raise GatewayFailed(f"the session did not answer: {_name(error)}", silent=True) from error
            if not chunk:
                raise GatewayFailed("the device closed the session", silent=True)
            text += chunk.decode("utf-8", "replace").replace("\r", "")
            found = PROMPT.search(text)
            if found and not self._channel.recv_ready():
                self.prompt = found.group().strip()
                return text[: found.start()]
            if time.monotonic() > deadline:
                raise GatewayFailed(f"no prompt within {within:.0f} s", silent=True)


def _pin(client: paramiko.SSHClient, text: str) -> None:
    """Load host keys given as text in OpenSSH's known_hosts form."""
    from paramiko.hostkeys import HostKeyEntry

    for line in filter(None, map(str.strip, text.splitlines())):
        entry = HostKeyEntry.from_line(line)
        if entry is not None and entry.key is not None:
            for name in entry.hostnames or ():
                client.get_host_keys().add(name, entry.key.get_name(), entry.key)


def _key(text: str) -> Any:
    import paramiko

    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        with suppress(paramiko.SSHException):
            return kind.from_private_key(io.StringIO(text + "\n"))
    raise GatewayFailed("the private key of the gateway's user cannot be read")


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip() and line.strip() != "^"]
    return " / ".join(lines[-2:]) or "nothing"


def _name(error: BaseException) -> str:
    return str(error) or error.__class__.__name__

