"""The gateway's command line: operational and configuration mode, pipes, and the wording of both.

One `Cli` is one session. Lines go in, text comes out; it knows no socket. Source: foundation.md 7.2, Junos CLI User Guide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lab.junos import show
from lab.junos.device import Editor, JunosDevice, Mode, Refused
from lab.junos.tree import Config, NotFound, StatementError, compare, tokenize

END_OF_INPUT = "\x04"
MASK = re.compile(r'((?:authentication-key|encrypted-password)\s+)("(?:[^"\\]|\\.)*"|\S+)')


@dataclass(frozen=True, slots=True)
class Did:
    """One line as the world's record takes it: secrets are masked."""

    what: str
    request: str
    mutates: bool
    ok: bool


class Failed(Exception):
    """The command did not do what it was asked; the text is what the device prints."""


@dataclass(slots=True)
class Cli:
    """One session of `user`. `terminal` is "" without a terminal, and then errors are one line each."""

    device: JunosDevice
    user: str
    terminal: str = ""
    note: Callable[[Did], None] = lambda _did: None
    editor: Editor | None = None
    path: tuple[str, ...] = ()
    closed: bool = False
    failed: bool = False
    _asked: Callable[[str], str] | None = None
    _loading: tuple[str, list[str]] | None = None
    _dirty: bool = field(default=False)

    @property
    def prompt(self) -> str:
        """What is printed before the next line; empty while the lines of a `load` are taken."""
        if self._loading is not None or self._asked is not None:
            return ""
        return f"{self.user}@{self.device.host}{'#' if self.editor else '>'} "

    @property
    def lead(self) -> str:
        """What stands above the prompt in configuration mode."""
        if self.editor is None or not self.prompt:
            return ""
        left = self.device.remaining()
        warning = f"# commit confirmed will be rolled back in {left} minute{'s' if left > 1 else ''}\n" if left else ""
        return f"\n{warning}[edit{''.join(f' {word}' for word in self.path)}]\n"

    def leave(self) -> None:
        """The session ends, in whatever way."""
        if self.editor is not None:
            self.device.leave(self.editor)
            self.editor = None
        self.closed = True

    async def line(self, text: str) -> str:
        """Take one line and return what is printed for it, prompt and lead excluded."""
        self.failed = False
        if self._loading is not None:
            return self._more(text)
        if self._asked is not None:
            asked, self._asked = self._asked, None
            return asked(text.strip().lower())
        if text == END_OF_INPUT:  # end of input at the prompt
            self.leave()
            return ""
        command, *pipes = _piped(text)
        if not command:
            return ""
        try:
            words = command.split()
            output = await (self._configuring(command, words, pipes) if self.editor else self._operating(words, pipes))
        except StatementError as error:
            output = self._pointing(text, error.index, error.text)
        except (Refused, Failed) as error:
            self.failed = True
            output = f"{error}\n"
        except NotFound:
            output = "warning: statement not found\n"
        if self._loading is None:  # a load is one thing, noted at its end
            self._noted(text.strip())
        return output

    # -- operational mode --------------------------------------------------------------------------------------------

    async def _operating(self, words: Sequence[str], pipes: Sequence[str]) -> str:
        verb = words[0]
        if verb == "show":
            return self._piping(self._show(words[1:], pipes), pipes)
        if verb == "configure":
            return self._configure(words[1:])
        if verb in ("exit", "quit"):
            self.leave()
            return ""
        if verb == "set" and words[1:2] == ["cli"]:
            return _set_cli(words[2:])
        if list(words[:3]) == ["clear", "bgp", "neighbor"]:
            self._dirty = True
            return f"Cleared {len(show.peers(self.device))} connections\n"
        if verb == "ping":
            return _ping(words[1:])
        raise StatementError("unknown command.", 0)

    def _show(self, words: Sequence[str], pipes: Sequence[str]) -> show.Shown:
        if words and words[0] == "configuration":
            rest = list(words[1:])
            return _configuration(self.device.active, rest, pipes, stamp=self.device.history[0].at.isoformat(" ", "seconds"))
        if words and words[0] == "cli":
            return show.Shown("CLI complete-on-space set to on\nCLI screen-length set to 0\nCLI screen-width set to 0\n")
        try:
            return show.show(self.device, words)
        except show.Unknown as error:
            text = "syntax error, expecting <command>." if error.index >= len(words) + 1 else "syntax error."
            raise StatementError(text, error.index) from error

    def _configure(self, words: Sequence[str]) -> str:
        mode: Mode = "shared"
        if words:
            if words[0] not in ("exclusive", "private"):
                raise StatementError("syntax error.", 1)
            mode = "exclusive" if words[0] == "exclusive" else "private"
        others = list(self.device.editors)
        self.editor = self.device.enter(self.user, self.terminal, mode)
        said = "warning: uncommitted changes will be discarded on exit\n" if mode != "shared" else ""
        said += "Entering configuration mode\n"
        if others:
            said += "Users currently editing the configuration:\n"
            said += "".join(f"{self.device.describe(other)}\n" for other in others)
        if mode == "shared" and self.device.modified:
            said += "The configuration has been changed but not committed\n"
        return said

    # -- configuration mode ------------------------------------------------------------------------------------------

    async def _configuring(self, command: str, words: Sequence[str], pipes: Sequence[str]) -> str:
        editor = self._editor()
        match words[0]:
            case "set" | "delete":
                here = " ".join(self.path)
                rest = command.partition(" ")[2]
                self._dirty = editor.mode == "shared"
                self.device.edit(editor, " ".join(part for part in (words[0], here, rest) if part))
                return ""
            case "show":
                return self._piping(self._candidate(words[1:], pipes), pipes)
            case "run":
                return await self._operating(words[1:], pipes) if len(words) > 1 else ""
            case "commit":
                return await self._commit(command, words[1:])
            case "rollback":
                return self._rollback(words[1:])
            case "load":
                return self._load(words[1:])
            case "edit" | "up" | "top":
                return self._move(words)
            case "exit" | "quit":
                return self._exit(words[1:])
            case "status":
                return "".join(f"{self.device.describe(other)}\n" for other in self.device.editors)
        raise StatementError("unknown command.", 0)

    def _editor(self) -> Editor:
        if self.editor is None:
            raise Refused("error: not in configuration mode")
        return self.editor

    def _candidate(self, words: Sequence[str], pipes: Sequence[str]) -> show.Shown:
        config = self.device.candidate(self._editor())
        return _configuration(config, [*self.path, *words], pipes)

    async def _commit(self, command: str, words: Sequence[str]) -> str:
        editor = self._editor()
        wanted = _commit_options(tokenize(command)[1:])
        self._dirty = not wanted.check or self.device.pending is not None
        said = await self.device.commit(
            editor, only_check=wanted.check, minutes=wanted.minutes, comment=wanted.comment, synced=wanted.synchronize
        )
        if wanted.quit and not wanted.check:
            self.device.leave(editor)
            self.editor, self.path = None, ()
            said += "\nExiting configuration mode"
        return f"{said}\n"

    def _rollback(self, words: Sequence[str]) -> str:
        number = words[0] if words else "0"
        if not number.isdigit():
            raise StatementError("syntax error.", 1)
        source = self.device.active if number == "0" else self.device.rollback(int(number))
        self._dirty = self._editor().mode == "shared" and self.device.shared != source
        self.device.replace(self._editor(), source)
        return "load complete\n"

    def _load(self, words: Sequence[str]) -> str:
        if len(words) < 2 or words[0] not in ("set", "merge", "override", "replace") or words[1] != "terminal":
            raise StatementError("syntax error.", 1 if not words or words[0] not in ("set", "merge") else 2)
        self._loading = (words[0], [])
        return "[Type ^D at a new line to end input]\n"

    def _more(self, text: str) -> str:
        """A line of a `load ... terminal`, or its end."""
        if self._loading is None:
            return ""
        how, lines = self._loading
        if END_OF_INPUT not in text:
            lines.append(text)
            return ""
        self._loading = None
        if rest := text.partition(END_OF_INPUT)[0]:
            lines.append(rest)
        try:
            said = self._loaded(how, lines)
        except Refused as error:
            self.failed, said = True, f"{error}\n"
        self._dirty = self._editor().mode == "shared"
        self._noted(f"load {how} terminal\n" + "\n".join(lines))
        return said

    def _loaded(self, how: str, lines: Sequence[str]) -> str:
        editor, faults = self._editor(), []
        if how == "override":
            self.device.replace(editor, Config())
        source = lines if how == "set" else _set_lines(lines)
        for number, line in enumerate(source, 1):
            if not line.strip() or line.lstrip().startswith(("#", "/*")):
                continue
            try:
                self.device.edit(editor, line)
            except NotFound:
                faults.append(f"terminal:{number}:(0) warning: statement not found\n")
            except StatementError as error:
                words = line.split()
                at = words[error.index + 1] if error.index + 1 < len(words) else line.strip()
                column = max(0, line.find(at))
                faults.append(f"terminal:{number}:({column}) {error.text.rstrip('.')}: {at}\n")
        errors = sum("warning" not in fault for fault in faults)
        self.failed = errors > 0
        return "".join(faults) + ("load complete\n" if not errors else f"load complete ({errors} errors)\n")

    def _move(self, words: Sequence[str]) -> str:
        if words[0] == "top":
            self.path = ()
        elif words[0] == "up":
            self.path = self.path[: -int(words[1]) if len(words) > 1 and words[1].isdigit() else -1]
        else:
            self.path = (*self.path, *words[1:])
        return ""

    def _exit(self, words: Sequence[str]) -> str:
        if self.path and list(words) != ["configuration-mode"]:
            self.path = ()
            return ""
        editor = self._editor()
        changed = self.device.candidate(editor) != self.device.active and editor.mode != "private"
        if not changed or not self.terminal:
            return self._out("yes")
        self._asked = self._out
        what = "Discard uncommitted changes" if editor.mode == "exclusive" else "Exit with uncommitted changes"
        return f"The configuration has been changed but not committed\n{what}? [yes,no] (yes) "

    def _out(self, answer: str) -> str:
        if answer not in ("", "y", "yes"):
            return ""
        self.device.leave(self._editor())
        self.editor, self.path = None, ()
        return "Exiting configuration mode\n"

    # -- output ------------------------------------------------------------------------------------------------------

    def _piping(self, shown: show.Shown, pipes: Sequence[str]) -> str:
        text = shown.text
        for pipe in pipes:
            verb, _, rest = pipe.partition(" ")
            rest = rest.strip()
            if verb == "compare":
                text = self._compared(rest)
            elif verb == "display":
                text = _display(shown, text, rest)
            else:
                text = _filtered(text, verb, rest)
        return text

    def _compared(self, rest: str) -> str:
        words = rest.split()
        here = self.device.candidate(self.editor) if self.editor else self.device.active
        if len(words) == 2 and words[0] == "rollback" and words[1].isdigit():
            before = self.device.rollback(int(words[1]))
        elif not words:
            before = self.device.active if self.editor else self.device.rollback(1)
        else:
            raise Failed(f"error: syntax error: {rest}")
        return compare(before, here)

    def _pointing(self, text: str, index: int, message: str) -> str:
        """The device's way to say which word it means: a caret on a terminal, a line without one."""
        self.failed = True
        words = list(re.finditer(r'"[^"]*"|\S+', text))
        verb = 1 if words and words[0].group() in ("set", "delete", "edit") and self.editor else 0
        at = index + verb
        word = words[at].group() if at < len(words) else ""
        if not self.terminal:
            return f"error: {message.rstrip('.')}: {word or text.strip()}\n"
        column = words[at].start() if at < len(words) else len(text.rstrip())
        return f"{' ' * (len(self.prompt) + column)}^\n{message}\n"

    def _noted(self, command: str) -> None:
        words = command.split()
        telling = words[0] in ("load", "show", "run", "configure") or words[1:2] in (["check"], ["confirmed"])
        two = words[:2] if telling and words[1:2] != ["|"] else words[:1]
        mutates, self._dirty = self._dirty, False
        self.note(Did(" ".join(two), MASK.sub(r"\1***", command), mutates, not self.failed))


@dataclass(slots=True)
class _CommitOptions:
    check: bool = False
    minutes: int = 0
    comment: str = ""
    quit: bool = False
    synchronize: bool = False


def _commit_options(words: Sequence[str]) -> _CommitOptions:
    wanted, rest = _CommitOptions(), list(words)
    while rest:
        word = rest.pop(0)
        if word == "check":
            wanted.check = True
        elif word == "and-quit":
            wanted.quit = True
        elif word == "synchronize":
            wanted.synchronize = True
        elif word == "confirmed":
            wanted.minutes = _minutes(rest.pop(0)) if rest and rest[0].isdigit() else 10
        elif word == "comment" and rest:
            wanted.comment = rest.pop(0)
        else:
            raise StatementError("syntax error.", len(words) - len(rest))
    return wanted


def _minutes(word: str) -> int:
    if not 1 <= int(word) <= 65535:
        raise Failed(f"error: Value {word} is not within range (1..65535)")
    return int(word)


def _piped(text: str) -> list[str]:
    """The command and its pipes: split at bars outside of quotes."""
    parts, quoted = [""], False
    for letter in text.strip():
        quoted ^= letter == '"'
        if letter == "|" and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _configuration(config: Config, words: Sequence[str], pipes: Sequence[str], *, stamp: str = "") -> show.Shown:
    """`show configuration PATH`, in the form that the first `display` asks for."""
    if any(pipe.startswith("display set") for pipe in pipes):
        return show.Shown("".join(f"{line}\n" for line in config.lines(*words)))
    body = config.json(*words) if any(pipe.startswith("display json") for pipe in pipes) else None
    heading = f"## Last commit: {stamp[:19]} UTC\n" if stamp and not words else ""
    return show.Shown(heading + config.text(*words), "configuration", body)


def _display(shown: show.Shown, text: str, how: str) -> str:
    form = how.split()[0] if how else ""
    if form in ("set", "inheritance", "detail", "omit", "commit-scripts"):
        return text
    if shown.body is None:
        return text
    if form == "json":
        return json.dumps({"configuration": shown.body}, indent=4) + "\n" if shown.element == "configuration" else show.as_json(shown)
    if form == "xml" and shown.element != "configuration":
        return show.as_xml(shown)
    raise Failed(f"error: syntax error: {how}")


def _filtered(text: str, verb: str, rest: str) -> str:
    lines = text.splitlines(keepends=True)
    pattern = rest.strip('"')
    if verb in ("match", "except", "find"):
        try:
            found = re.compile(pattern, re.IGNORECASE)
        except re.error as error:
            raise Failed(f"error: regular expression error: {error}") from error
        if verb == "find":
            start = next((i for i, line in enumerate(lines) if found.search(line)), len(lines))
            return "".join(lines[start:]) or "\nPattern not found\n"
        return "".join(line for line in lines if bool(found.search(line)) == (verb == "match"))
    if verb == "count":
        return f"Count: {len(lines)} lines\n"
    if verb == "last":
        return "".join(lines[-int(rest or 24) :])
    if verb == "trim":
        return "".join(line[int(rest or 0) :] for line in lines)
    if verb in ("no-more", "hold", "refresh"):
        return text
    raise Failed(f"error: syntax error: {verb}")


def _set_lines(lines: Sequence[str]) -> list[str]:
    """The set lines of a configuration in braces."""
    out: list[str] = []
    path: list[list[str]] = []
    words: list[str] = []
    text = re.sub(r"/\*.*?\*/", " ", "\n".join(re.sub(r"##.*$", "", line) for line in lines), flags=re.S)
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[{};]|[^\s{};"]+', text):
        token = match.group()
        if token == "{":
            path.append(words)
            words = []
        elif token in ";}":
            if words:
                out.append(" ".join(["set", *(w for part in path for w in part), *words]))
                words = []
            if token == "}" and path:
                path.pop()
        else:
            words.append(token)
    return [line.replace("replace: ", "") for line in out]


def _set_cli(words: Sequence[str]) -> str:
    if len(words) == 2 and words[0] in ("screen-width", "screen-length", "idle-timeout", "complete-on-space"):
        label = {"screen-width": "Screen width", "screen-length": "Screen length", "idle-timeout": "Idle timeout"}.get(words[0], "CLI")
        return f"{label} set to {words[1]}\n"
    if words and words[0] == "timestamp":
        return ""
    raise StatementError("syntax error.", 2)


def _ping(words: Sequence[str]) -> str:
    target = words[0] if words else ""
    return f"PING {target} ({target}): 56 data bytes\n\n--- {target} ping statistics ---\n0 packets transmitted, 0 packets received\n"
