"""Parses a command line as the real tool does, by the data of `lab/data/cli/`, and refuses what the real tool refuses.

It plays spf13/cobra with pflag: how a subcommand is found among flags, shorthands, `--flag=value`, repeated flags, values that a
flag takes only after `=`, required flags, flag groups, number of arguments, suggestions. The wording of refusals is each tool's.
Source: cobra v1.9 `command.go`, `args.go`; pflag v1.0; recorded/*/unknown-flag, unknown-command, missing-positional, no-arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from lab import faults

DATA = Path(__file__).parents[1] / "data" / "cli"
REPEATABLE = ("stringSlice", "stringArray", "intSlice", "filter", "map")
COMMA = ("stringSlice", "intSlice")
USAGE_AFTER_ERROR = ("talosctl", "velero")  # the others set cobra's SilenceUsage


@dataclass(frozen=True, slots=True)
class Parsed:
    """A command line that the real tool would run. See `Call` for the shape of `flags`."""

    command: tuple[str, ...]
    flags: dict[str, Any]
    given: frozenset[str]
    args: list[str]
    changed: dict[str, str] = field(default_factory=dict)  # the flags that were given, as written


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the real tool prints when it does not run anything: an error, or help (exit 0)."""

    rc: int
    stdout: str
    stderr: str


class _UsageError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. `no_option` is its value when it stands alone, or None when it needs one."""

    name: str
    type: str
    default: str
    short: str
    repeat: bool
    no_option: str | None
    required: bool
    hidden: bool

    @property
    def label(self) -> str:
        """As pflag names it in errors."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its path, its flags with those that it inherits, and what it accepts."""

    path: tuple[str, ...]
    use: str
    aliases: tuple[str, ...]
    args: str
    runnable: bool
    hidden: bool
    raw: bool
    no_args_error: str
    flags: Mapping[str, Flag]
    exclusive: tuple[tuple[str, ...], ...]
    own: tuple[str, ...]


@lru_cache
def commands(tool: str) -> dict[tuple[str, ...], Command]:
    """Every command of `tool` by its path; the root is ()."""
    raw: dict[str, dict[str, Any]] = json.loads((DATA / f"{tool}.json").read_text(encoding="utf-8"))["commands"]
    return {_path(name): _command(_path(name), raw) for name in raw}


def parse(tool: str, argv: list[str]) -> Parsed | Refusal:
    """What `argv` (with the tool's name first) means to the real tool."""
    table = commands(tool)
    command, rest = _find(table, argv[1:])
    flags: dict[str, Any] = {f.name: _default(f) for f in command.flags.values()}
    try:
        if not command.path and (unknown := _unknown_command(tool, table, command, rest)):
            return _refuse(tool, command, unknown)
        if command.raw:
            return Parsed(command.path, flags, frozenset(), rest)
        changed, args = _flags(command, rest, flags)
        if "help" in changed:
            return Refusal(0, usage(tool, command, head=True), "")
        if "version" in changed and not command.path:
            return Parsed(command.path, flags, frozenset(changed), args, changed)
        if not command.runnable or (tool == "cilium" and not command.path):  # its root runs only to print help
            return Refusal(0, usage(tool, command, head=True), "")
        _check_count(tool, command, args)
        _check_required(command, changed)
        return Parsed(command.path, flags, frozenset(changed), args, changed)
    except _UsageError as error:
        return _refuse(tool, command, str(error))


def usage(tool: str, command: Command, *, head: bool = False) -> str:
    """Help of a command: its usage line, its subcommands and its flags."""
    name = " ".join((tool, *command.path))
    table = commands(tool)
    children = [
        c for p, c in table.items() if len(p) == len(command.path) + 1 and p[:-1] == command.path and not c.hidden
    ]
    lines = [f"{name}\n"] if head else []
    lines.append("Usage:")
    lines += [f"  {name}{command.use[len(command.use.split(' ')[0]) :]} [flags]"] if command.runnable else []
    lines += [f"  {name} [command]"] if children else []
    if children:
        lines += ["", "Available Commands:", *(f"  {c.path[-1]}" for c in sorted(children, key=lambda c: c.path))]
    if shown := [f for f in command.flags.values() if not f.hidden]:
        lines += ["", "Flags:", *(_flag_line(f) for f in sorted(shown, key=lambda f: f.name))]
    if children:
        lines += ["", f'Use "{name} [command] --help" for more information about a command.']
    return "\n".join(lines) + "\n"


def _flag_line(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else "    "
    kind = "" if flag.type == "bool" else f" {flag.type if ',' not in flag.type else 'string'}"
    return f"  {short}--{flag.name}{kind}"


def _refuse(tool: str, command: Command, message: str) -> Refusal:
    if tool == "flux":
        text = f"✗ {message}\n"
    elif tool == "helm":
        text = message + "\n" if message.startswith("Error: ") else f"Error: {message}\n"
    elif tool == "velero":
        text = f"{message if message.startswith('An error') else 'Error: ' + message.removeprefix('Error: ')}\n"
    else:
        text = f"{message}\n"
    if tool in USAGE_AFTER_ERROR:
        text += ("" if tool == "velero" else "\n") + usage(tool, command)
    return Refusal(1, "", text)


def _path(name: str) -> tuple[str, ...]:
    return tuple(name.split())


def _command(path: tuple[str, ...], raw: Mapping[str, dict[str, Any]]) -> Command:
    entry = raw[" ".join(path)]
    flags: dict[str, Flag] = {"help": Flag("help", "bool", "false", "h", False, "true", False, False)}
    sources: list[Iterable[dict[str, Any]]] = [raw[""].get("globalFlags", ())]
    sources += [raw[" ".join(path[:n])].get("persistent", ()) for n in range(len(path) + 1)]
    sources.append(entry.get("flags", ()))
    for source in sources:
        flags.update((f["name"], _flag(f)) for f in source)
    groups = entry.get("flagGroups", {}).get("mutuallyExclusive", ())
    return Command(
        path=path,
        use=entry.get("use", path[-1] if path else ""),
        aliases=tuple(entry.get("aliases", ())),
        args=entry.get("args", "any"),
        runnable=entry.get("runnable", True),
        hidden=entry.get("hidden", False),
        raw=entry.get("rawArgs", False),
        no_args_error=entry.get("noArgsError", ""),
        flags=flags,
        exclusive=tuple(tuple(g.split()) for g in groups),
        own=tuple(f["name"] for f in entry.get("flags", ())),
    )


def _flag(raw: Mapping[str, Any]) -> Flag:
    no_option = raw.get("noOpt", "true" if raw["type"] == "bool" else None)
    return Flag(
        raw["name"],
        raw["type"],
        raw.get("default", ""),
        raw.get("short", ""),
        bool(raw.get("repeat")) or raw["type"] in REPEATABLE,
        no_option,
        bool(raw.get("required")),
        bool(raw.get("hidden")),
    )


def _find(table: Mapping[tuple[str, ...], Command], args: list[str]) -> tuple[Command, list[str]]:
    """The command that cobra runs, and what is left of the arguments. Source: cobra `Command.Find`, `stripFlags`."""
    command = table[()]
    while True:
        index = _first_word(command, args)
        if index is None:
            return command, args
        child = _child(table, command, args[index])
        if child is None:
            return command, args
        command, args = child, [*args[:index], *args[index + 1 :]]


def _first_word(command: Command, args: list[str]) -> int | None:
    """The place of the first argument that is no flag and no flag's value, as far as `command` knows its flags."""
    index = 0
    while index < len(args):
        arg = args[index]
        if arg == "--":
            return None
        if arg.startswith("--") and "=" not in arg:
            flag = command.flags.get(arg[2:])
            index += 1 if flag is not None and flag.no_option is not None else 2
        elif arg.startswith("-") and "=" not in arg and len(arg) == 2:
            flag = _short(command, arg[1])
            index += 1 if flag is not None and flag.no_option is not None else 2
        elif arg and not arg.startswith("-"):
            return index
        else:
            index += 1
    return None


def _child(table: Mapping[tuple[str, ...], Command], command: Command, word: str) -> Command | None:
    direct = table.get((*command.path, word))
    if direct is not None:
        return direct
    depth = len(command.path)
    return next(
        (c for p, c in table.items() if len(p) == depth + 1 and p[:depth] == command.path and word in c.aliases), None
    )


def _short(command: Command, letter: str) -> Flag | None:
    return next((f for f in command.flags.values() if f.short == letter), None)


def _unknown_command(tool: str, table: Mapping[tuple[str, ...], Command], root: Command, rest: list[str]) -> str | None:
    index = _first_word(root, rest)
    if index is None:
        return None
    word = rest[index]
    message = f'unknown command "{word}" for "{tool}"'
    names = sorted(p[0] for p, c in table.items() if len(p) == 1 and not c.hidden)
    near = [n for n in names if _distance(word.lower(), n.lower()) <= 2 or n.lower().startswith(word.lower())]
    if near:
        message += "\n\nDid you mean this?\n" + "".join(f"\t{n}\n" for n in near)
    if tool == "helm":
        message += ("" if near else "\n") + "\nRun 'helm --help' for usage."
    return message


def _distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def _flags(command: Command, args: list[str], values: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Sets `values` and returns the flags given and the positional arguments. Source: pflag `FlagSet.parseArgs`."""
    changed: dict[str, str] = {}
    words: list[str] = []
    queue = list(args)
    while queue:
        arg = queue.pop(0)
        if arg == "--":
            return changed, [*words, *queue]
        if not arg.startswith("-") or arg == "-":
            words.append(arg)
        elif arg.startswith("--"):
            _long(command, arg, queue, values, changed)
        else:
            _shorts(command, arg, queue, values, changed)
        if "help" in changed:
            break
    return changed, words


def _long(command: Command, arg: str, queue: list[str], values: dict[str, Any], changed: dict[str, str]) -> None:
    name, equals, value = arg[2:].partition("=")
    if not name or name.startswith("-"):
        raise _UsageError(f"bad flag syntax: {arg}")
    flag = command.flags.get(name)
    if flag is None:
        raise _UsageError(f"unknown flag: --{name}")
    if not equals:
        if flag.no_option is not None:
            value = flag.no_option
        elif queue:
            value = queue.pop(0)
        else:
            raise _UsageError(f"flag needs an argument: --{name}")
    _set(flag, value, values, changed)


def _shorts(command: Command, arg: str, queue: list[str], values: dict[str, Any], changed: dict[str, str]) -> None:
    letters = arg[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        flag = _short(command, letter)
        if flag is None:
            raise _UsageError(f"unknown shorthand flag: '{letter}' in -{letter}{letters}")
        if letters.startswith("="):
            _set(flag, letters[1:], values, changed)
            return
        if flag.no_option is not None:
            _set(flag, flag.no_option, values, changed)
        elif letters:
            _set(flag, letters, values, changed)
            return
        elif queue:
            _set(flag, queue.pop(0), values, changed)
        else:
            raise _UsageError(f"flag needs an argument: '{letter}' in -{letter}")


def _set(flag: Flag, text: str, values: dict[str, Any], changed: dict[str, str]) -> None:
    try:
        value = _value(flag, text)
    except ValueError as error:
        raise _UsageError(f'invalid argument "{text}" for "{flag.label}" flag: {error}') from None
    if flag.repeat and flag.name in changed and isinstance(value, list):
        values[flag.name] = [*values[flag.name], *value]
    elif isinstance(value, dict) and flag.name in changed:
        values[flag.name] = {**values[flag.name], **value}
    else:
        values[flag.name] = value
    changed[flag.name] = text


def _value(flag: Flag, text: str) -> Any:
    """The typed value. Raises ValueError with pflag's reason."""
    kind = flag.type
    if kind in _SCALARS:
        return _SCALARS[kind](text)
    if kind in ("stringToString", "mapStringString", "map"):
        return _pairs(text)
    if ", " in kind and flag.name != "user-disks-to-wipe":
        if text not in kind.split(", "):
            raise ValueError(f"possible options are: {kind}")
        return text
    if flag.repeat:
        return _split(text) if kind in COMMA else [text]
    return text


def _split(text: str) -> list[str]:
    """One CSV record, as pflag reads a slice."""
    if not text:
        return []
    parts = re.findall(r'(?:"((?:[^"]|"")*)"|([^,]*))(?:,|$)', text)
    parts = parts[: text.count(",") + 1] if '"' not in text else [p for p in parts if any(p)]
    return [quoted.replace('""', '"') or plain for quoted, plain in parts]


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in _split(text):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{part} must be formatted as key=value")
        pairs[key] = value
    return pairs


def _bool(text: str) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def _integer(function: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", text) or (function == "ParseUint" and text.startswith("-")):
            raise ValueError(f'strconv.{function}: parsing "{text}": invalid syntax')
        return int(text)

    return read


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f'strconv.ParseFloat: parsing "{text}": invalid syntax') from None


def _duration(text: str) -> float:
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text) and text != "0":
            raise ValueError(f'time: missing unit in duration "{text}"')
        return faults.seconds(text)
    except ValueError as error:
        reason = str(error) if str(error).startswith("time:") else f'time: invalid duration "{text}"'
        raise ValueError(reason) from None


_SCALARS: dict[str, Callable[[str], Any]] = {
    "bool": _bool,
    "int": _integer("ParseInt"),
    "int32": _integer("ParseInt"),
    "int64": _integer("ParseInt"),
    "uint": _integer("ParseUint"),
    "uint16": _integer("ParseUint"),
    "uint32": _integer("ParseUint"),
    "uint64": _integer("ParseUint"),
    "float32": _float,
    "float64": _float,
    "duration": _duration,
}


def _default(flag: Flag) -> Any:
    if flag.repeat and flag.type not in ("stringToString", "mapStringString", "map"):
        inner = flag.default.removeprefix("[").removesuffix("]")
        return [part.strip() for part in inner.split(",")] if inner else []
    if flag.type in ("stringToString", "mapStringString", "map"):
        return {}
    if flag.type in _SCALARS:
        try:
            return _SCALARS[flag.type](flag.default)
        except ValueError:
            return 0 if flag.type != "bool" else False  # a default that the data gives as text, such as "auto"
    return flag.default


def _check_count(tool: str, command: Command, args: list[str]) -> None:
    """Source: cobra `args.go`; helm has its own validators (`pkg/cmd/require`)."""
    kind, _, number = command.args.partition(":")
    count = len(args)
    if (
        tool != "helm"
        and count == 0
        and command.no_args_error
        and kind not in ("any", "none")
        and not _accepts(kind, number, 0)
    ):
        raise _UsageError(command.no_args_error)
    if _accepts(kind, number, count):
        return
    if tool == "helm":
        raise _UsageError(_helm_count(command, kind, number))
    name = " ".join((tool, *command.path))
    if kind == "none":
        raise _UsageError(f'unknown command "{args[0]}" for "{name}"')
    if kind == "exact":
        raise _UsageError(f"accepts {number} arg(s), received {count}")
    if kind == "min":
        raise _UsageError(f"requires at least {number} arg(s), only received {count}")
    if kind == "max":
        raise _UsageError(f"accepts at most {number} arg(s), received {count}")
    low, _, high = number.partition("-")
    raise _UsageError(f"accepts between {low} and {high} arg(s), received {count}")


def _accepts(kind: str, number: str, count: int) -> bool:
    if kind == "none":
        return count == 0
    if kind == "exact":
        return count == int(number)
    if kind == "min":
        return count >= int(number)
    if kind == "max":
        return count <= int(number)
    if kind == "range":
        low, _, high = number.partition("-")
        return int(low) <= count <= int(high)
    return True


def _helm_count(command: Command, kind: str, number: str) -> str:
    name = " ".join(("helm", *command.path))
    plural = "argument" if number == "1" else "arguments"
    use = f"\n\nUsage:  {name}{command.use[len(command.use.split(' ')[0]) :]} [flags]"
    if kind == "none":
        return f'"{name}" accepts no arguments{use}'
    words = {"exact": "requires", "min": "requires at least", "max": "accepts at most"}[kind]
    return f'"{name}" {words} {number} {plural}{use}'


def _check_required(command: Command, changed: Mapping[str, str]) -> None:
    missing = sorted(f.name for f in command.flags.values() if f.required and f.name not in changed)
    if missing:
        raise _UsageError("required flag(s) " + ", ".join(f'"{m}"' for m in missing) + " not set")
    for group in command.exclusive:
        used = sorted(name for name in group if name in changed)
        if len(used) > 1:
            raise _UsageError(
                f"if any flags in the group [{' '.join(group)}] are set none of the others can be; "
                f"[{' '.join(used)}] were all set"
            )
