"""A Junos configuration as a tree of statements: set and delete lines in, set lines, braces, JSON and patches out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.junos.schema import Statement, canonical, fault, root

Key = tuple[str, ...]
Path = tuple[Key, ...]
VALUE: Key = ("",)  # under a container that itself holds a value
PLAIN = re.compile(r'[^\s;{}\[\]"#!?$*<>()&|`\'\\]+')


class StatementError(Exception):
    """A line that the device does not take. `index` is the token at fault, `text` the device's words."""

    def __init__(self, text: str, index: int) -> None:
        super().__init__(text)
        self.text = text
        self.index = index


class NotFound(Exception):
    """A delete of what is not there: a warning on the device."""


@dataclass(slots=True)
class Branch:
    """A container or list item: its statements by key, in the order in which they were made."""

    items: dict[Key, Branch | str | tuple[str, ...]] = field(default_factory=dict)

    def copy(self) -> Branch:
        """An independent copy."""
        return Branch({key: value.copy() if isinstance(value, Branch) else value for key, value in self.items.items()})


Entry = Branch | str | tuple[str, ...]


@dataclass(slots=True)
class Config:
    """A whole configuration. Equal when it holds the same statements, order of lists included."""

    top: Branch = field(default_factory=Branch)

    def copy(self) -> Config:
        """An independent copy."""
        return Config(self.top.copy())

    def set(self, tokens: Sequence[str]) -> None:
        """Take one `set` line, without the word itself. Raises StatementError."""
        parsed = parse(tokens)
        for step in parsed:
            _apply(self.top, step)

    def delete(self, tokens: Sequence[str]) -> None:
        """Take one `delete` line. An empty one clears everything. Raises StatementError, NotFound."""
        if not tokens:
            self.top = Branch()
            return
        path, value = locate(tokens)
        _delete(self.top, root(), path, value)

    def get(self, *words: str) -> Entry | None:
        """What stands at a path of words, for example ("protocols", "bgp", "group", "X"); None where nothing does."""
        try:
            path, _ = locate(words)
        except StatementError:
            return None
        return find(self.top, path)

    def branch(self, *words: str) -> Branch:
        """The container at a path of words; an empty one where nothing stands."""
        entry = self.get(*words)
        return entry if isinstance(entry, Branch) else Branch()

    def lines(self, *words: str) -> list[str]:
        """The set lines of everything under a path, as `display set` prints them."""
        path, _ = locate(words) if words else ((), None)
        entry = find(self.top, path)
        if entry is None:
            return []
        statement, prefix = statement_at(path), "".join(f"{t} " for key in path for t in key if t)
        if isinstance(entry, Branch):
            return [f"set {prefix}{line}".rstrip() for line in _lines(entry, statement)]
        return [f"set {prefix}{' '.join(tail)}" for tail in _leaf_tails(entry)]

    def text(self, *words: str) -> str:
        """The braces form of everything under a path."""
        path, _ = locate(words) if words else ((), None)
        entry = find(self.top, path)
        if entry is None:
            return ""
        statement = statement_at(path)
        if not isinstance(entry, Branch):
            return "".join(f"{line}\n" for line in _braces_of(path[-1], entry, statement, 0))
        return "".join(f"{line}\n" for line in _braces(entry, statement, 0))

    def json(self, *words: str) -> dict[str, Any]:
        """What `display json` prints under "configuration"."""
        path, _ = locate(words) if words else ((), None)
        entry = find(self.top, path)
        body: Any = {} if entry is None else _json_value(entry, statement_at(path))
        for index in range(len(path) - 1, -1, -1):
            key, statement = path[index], statement_at(path[: index + 1])
            body = _json_nest(key, statement, body)
        return body if isinstance(body, dict) else {}


@dataclass(frozen=True, slots=True)
class Step:
    """One value or presence that a set line asks for: containers on the way, then the last key and its value."""

    path: Path
    statement: Statement
    value: str | None


def tokenize(line: str) -> list[str]:
    """The words of a line; quotes are taken off, brackets are words of their own. Raises StatementError."""
    tokens: list[str] = []
    for match in re.finditer(r'"((?:[^"\\]|\\.)*)"|(\[|\])|([^\s"\[\];]+)|(")|;', line):
        quoted, bracket, plain, stray = match.groups()
        if stray:
            raise StatementError("unbalanced quotes", len(tokens))
        if quoted is not None:
            tokens.append(re.sub(r"\\(.)", r"\1", quoted))
        elif bracket or plain:
            tokens.append(bracket or plain)
    return tokens


def quote(value: str) -> str:
    """The value as it is shown: in quotes where it holds anything but plain characters."""
    if PLAIN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse(tokens: Sequence[str]) -> list[Step]:
    """What a set line asks for, in order. Raises StatementError."""
    if not tokens:
        raise StatementError("missing argument.", 0)
    steps: list[Step] = []
    path: Path = ()
    statement, at = root(), 0
    frames: list[tuple[Statement, Path]] = []
    while at < len(tokens):
        child = _child(statement, tokens[at])
        while child is None and frames:  # a leaf is done: the line may go on with its siblings
            statement, path = frames.pop()
            child = _child(statement, tokens[at])
        if child is None:
            raise StatementError("syntax error.", at)
        at += 1 if child.name else 0
        if child.shape in ("leaf", "leaves"):
            taken, at = _values(child, tokens, at)
            steps += [Step((*path, (child.name,)), child, value) for value in taken]
            continue
        if child.flag:
            steps.append(Step((*path, (child.name,)), child, None))
            continue
        if child.shape == "list":
            value = _value(child.takes, tokens, at)
            at += 1
            key: Key = (child.name, value) if child.name else (value,)
        else:
            key = (child.name,)
        frames.append((statement, path))
        path, statement = (*path, key), child
        if child.holds:
            steps.append(Step((*path, VALUE), child, _value(child.holds, tokens, at)))
            at += 1
        elif child.shape == "valued" and at < len(tokens) and tokens[at] not in child.children:
            steps.append(Step((*path, VALUE), child, _value(child.takes, tokens, at)))
            at += 1
    last = steps[-1].path if steps else ()
    if not steps or last[: len(path)] != path:
        steps.append(Step(path, statement, None))
    return steps


def locate(tokens: Sequence[str]) -> tuple[Path, str | None]:
    """The path that words name, and the one value of it where they name one. Raises StatementError."""
    path: Path = ()
    statement, at = root(), 0
    while at < len(tokens):
        child = _child(statement, tokens[at])
        if child is None:
            if statement.shape in ("leaf", "leaves", "valued") and at == len(tokens) - 1:
                return path, canonical(statement.takes, tokens[at])
            raise StatementError("syntax error.", at)
        at += 1 if child.name else 0
        if child.shape == "list":
            if at >= len(tokens):  # the whole list: `delete protocols bgp group`
                return (*path, (child.name, "*")), None
            value = canonical(child.takes, tokens[at])
            at += 1
            path = (*path, (child.name, value) if child.name else (value,))
        else:
            path = (*path, (child.name,))
        statement = child
    return path, None


def statement_at(path: Path) -> Statement:
    """The grammar's statement for a path."""
    statement = root()
    for key in path:
        statement = statement_of(statement, key)
    return statement


def statement_of(parent: Statement, key: Key) -> Statement:
    """The statement of `key` under `parent`."""
    return parent.children[key[0]] if key[0] in parent.children else parent.children[""]


def find(top: Branch, path: Path) -> Entry | None:
    """What stands at a path; None where nothing does."""
    entry: Entry | None = top
    for key in path:
        if not isinstance(entry, Branch):
            return None
        if key[-1] == "*" and len(key) == 2:
            return Branch({k: v for k, v in entry.items.items() if k[0] == key[0]}) or None
        entry = entry.items.get(key)
    return entry


def items(branch: Branch, name: str) -> Iterator[tuple[str, Branch]]:
    """The list items called `name` under a branch: their key and content."""
    for key, entry in branch.items.items():
        if len(key) == 2 and key[0] == name and isinstance(entry, Branch):
            yield key[1], entry


def leaf(branch: Branch, *names: str) -> str:
    """The value of a leaf below a branch, "" where it is absent."""
    entry: Entry | None = branch
    for name in names:
        entry = entry.items.get((name,)) if isinstance(entry, Branch) else None
    return entry if isinstance(entry, str) else ""


def values(branch: Branch, *names: str) -> tuple[str, ...]:
    """The values of a leaf list below a branch."""
    entry: Entry | None = branch
    for name in names:
        entry = entry.items.get((name,)) if isinstance(entry, Branch) else None
    return entry if isinstance(entry, tuple) else ()


def below(branch: Branch, *names: str) -> Branch:
    """The container below a branch; an empty one where it is absent."""
    entry: Entry | None = branch
    for name in names:
        entry = entry.items.get((name,)) if isinstance(entry, Branch) else None
    return entry if isinstance(entry, Branch) else Branch()


def has(branch: Branch, *names: str) -> bool:
    """Whether a statement stands below a branch."""
    entry: Entry | None = branch
    for name in names:
        entry = entry.items.get((name,)) if isinstance(entry, Branch) else None
    return entry is not None


def compare(old: Config, new: Config) -> str:
    """The patch that `show | compare` prints; "" where nothing differs."""
    return "".join(f"{line}\n" for line in _compare((), root(), old.top, new.top))


def _child(statement: Statement, token: str) -> Statement | None:
    return statement.children.get(token) or (statement.children.get("") if token not in "[]" else None)


def _value(kind: str, tokens: Sequence[str], at: int) -> str:
    if at >= len(tokens):
        raise StatementError("missing argument.", at)
    if text := fault(kind, tokens[at]):
        raise StatementError(text, at)
    return canonical(kind, tokens[at])


def _values(statement: Statement, tokens: Sequence[str], at: int) -> tuple[list[str], int]:
    """The value, or the bracketed values, that stand at `at`, and where the line goes on."""
    if statement.shape != "leaves" or tokens[at : at + 1] != ["["]:
        return [_value(statement.takes, tokens, at)], at + 1
    end = next((i for i in range(at, len(tokens)) if tokens[i] == "]"), None)
    if end is None:
        raise StatementError("syntax error.", len(tokens))
    return [_value(statement.takes, tokens, i) for i in range(at + 1, end)], end + 1


def _apply(top: Branch, step: Step) -> None:
    branch = top
    inner = step.path if step.value is None else step.path[:-1]
    for key in inner:
        entry = branch.items.setdefault(key, Branch())
        if not isinstance(entry, Branch):
            raise StatementError("syntax error.", 0)
        branch = entry
    if step.value is None:
        return
    key = step.path[-1]
    if step.statement.shape == "leaves":
        present = branch.items.get(key, ())
        have = present if isinstance(present, tuple) else ()
        branch.items[key] = have if step.value in have else (*have, step.value)
    else:
        branch.items[key] = step.value


def _delete(branch: Branch, statement: Statement, path: Path, value: str | None) -> None:
    key = path[0]
    if key[-1] == "*" and len(key) == 2:
        matching = [k for k in branch.items if k[0] == key[0] and len(k) == 2]
        for k in matching:
            del branch.items[k]
        if not matching:
            raise NotFound
        return
    entry = branch.items.get(key)
    child = statement_of(statement, key)
    if entry is None:
        raise NotFound
    if len(path) > 1:
        if not isinstance(entry, Branch):
            raise NotFound
        _delete(entry, child, path[1:], value)
        if not entry.items and not child.stays and child.shape != "list":
            del branch.items[key]
    elif value is None:
        del branch.items[key]
    else:
        _delete_value(branch, key, entry, value)


def _delete_value(branch: Branch, key: Key, entry: Entry, value: str) -> None:
    if isinstance(entry, Branch) and entry.items.get(VALUE) == value:
        del entry.items[VALUE]
        if not entry.items:
            del branch.items[key]
    elif isinstance(entry, tuple) and value in entry:
        left = tuple(v for v in entry if v != value)
        if left:
            branch.items[key] = left
        else:
            del branch.items[key]
    elif entry == value:
        del branch.items[key]
    else:
        raise NotFound


def _ordered(branch: Branch, statement: Statement) -> list[tuple[Key, Entry, Statement]]:
    """The branch's statements as they are shown: the value first, then by the grammar's order; lists in their own order."""
    known = [(k, v, statement_of(statement, k)) for k, v in branch.items.items() if k != VALUE]
    return sorted(known, key=lambda item: item[2].order)


def _lines(branch: Branch, statement: Statement) -> Iterator[str]:
    held = branch.items.get(VALUE)
    if isinstance(held, str):
        yield quote(held)
    ordered = _ordered(branch, statement)
    if not ordered and held is None:
        yield ""
    for key, entry, child in ordered:
        words = " ".join(w if i == 0 and child.name else quote(w) for i, w in enumerate(key))
        if isinstance(entry, Branch):
            for tail in _lines(entry, child):
                yield f"{words} {tail}".rstrip()
        else:
            for tails in _leaf_tails(entry):
                yield f"{words} {' '.join(tails)}"


def _leaf_tails(entry: str | tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(entry, str):
        yield (quote(entry),)
    else:
        for value in entry:
            yield (quote(value),)


def _leaf_text(key: Key, entry: str | tuple[str, ...], statement: Statement) -> str:
    if isinstance(entry, tuple):
        shown = quote(entry[0]) if len(entry) == 1 else f"[ {' '.join(quote(v) for v in entry)} ]"
    elif statement.secret:
        return f'{key[0]} "{entry}"; ## SECRET-DATA'
    else:
        shown = quote(entry)
    return f"{key[0]} {shown};"


def _one_line(branch: Branch, statement: Statement) -> str:
    parts = []
    held = branch.items.get(VALUE)
    if isinstance(held, str):
        parts.append(quote(held))
    for key, entry, child in _ordered(branch, statement):
        if isinstance(entry, Branch):
            parts.append(" ".join([*key, *filter(None, [_one_line(entry, child)])]))
        else:
            parts.append(_leaf_text(key, entry, child).removesuffix(";"))
    return " ".join(parts)


def _plain_only(branch: Branch, statement: Statement) -> bool:
    """A single bare flag or single-valued leaf and nothing else: `then accept;`."""
    ordered = _ordered(branch, statement)
    if len(ordered) != 1:
        return False
    _, entry, child = ordered[0]
    return child.flag or (not isinstance(entry, Branch))


def _braces(branch: Branch, statement: Statement, depth: int) -> Iterator[str]:
    for key, entry, child in _ordered(branch, statement):
        yield from _braces_of(key, entry, child, depth)


def _braces_of(key: Key, entry: Entry, statement: Statement, depth: int, *, prefix: str = "") -> Iterator[str]:
    pad = "    " * depth
    if not isinstance(entry, Branch):
        yield f"{pad}{prefix}{_leaf_text(key, entry, statement)}"
        return
    words = prefix + " ".join(w if i == 0 and statement.name else quote(w) for i, w in enumerate(key))
    if statement.joined and any(k != VALUE for k in entry.items):
        for inner, value, child in _ordered(entry, statement):
            yield from _braces_of(inner, value, child, depth, prefix=f"{words} ")
        return
    one_line = statement.one_line or statement.holds or (statement.condensed and _plain_only(entry, statement))
    if one_line or not entry.items:
        yield f"{pad}{words} {_one_line(entry, statement)}".rstrip() + ";"
        return
    held = entry.items.get(VALUE)
    yield f"{pad}{words}{f' {quote(held)}' if isinstance(held, str) else ''} {{"
    yield from _braces(entry, statement, depth + 1)
    yield f"{pad}}}"


def _json_value(entry: Entry, statement: Statement) -> Any:
    if isinstance(entry, str):
        return int(entry) if entry.isdigit() else entry
    if isinstance(entry, tuple):
        return list(entry)
    body: dict[str, Any] = {}
    held = entry.items.get(VALUE)
    if isinstance(held, str):
        body["value"] = held
    for key, value, child in _ordered(entry, statement):
        if child.flag:
            body[key[0]] = [None]
        elif child.shape == "list":
            item = {"name": key[-1], **_json_value(value, child)}
            body.setdefault(child.name or "name", []).append(item)
        else:
            body[key[0]] = _json_value(value, child)
    return body


def _json_nest(key: Key, statement: Statement, body: Any) -> Any:
    if statement.shape == "list" and isinstance(body, dict):
        return {statement.name or "name": [{"name": key[-1], **body}]}
    return {key[0]: body}


def _compare(path: Path, statement: Statement, old: Branch, new: Branch) -> Iterator[str]:
    here: list[str] = []
    inside: list[tuple[Key, Statement, Branch, Branch]] = []
    depth = max(2, len(path))
    for key, child in _merged(statement, old, new):
        before, after = old.items.get(key), new.items.get(key)
        if before == after:
            continue
        both = isinstance(before, Branch) and isinstance(after, Branch)
        if both and not (child.one_line or child.holds):
            inside.append((key, child, _as_branch(before), _as_branch(after)))
            continue
        if before is not None:
            here += [f"-{' ' * depth}{line}" for line in _hunk(key, before, child)]
        if after is not None:
            here += _neighbour(new, key, child, old, depth) if before is None else []
            here += [f"+{' ' * depth}{line}" for line in _hunk(key, after, child)]
    if here:
        yield f"[edit{''.join(f' {quote(w)}' for key in path for w in key)}]"
        yield from here
    for key, child, before_branch, after_branch in inside:
        yield from _compare((*path, key), child, before_branch, after_branch)


def _as_branch(entry: Entry | None) -> Branch:
    return entry if isinstance(entry, Branch) else Branch()


def _hunk(key: Key, entry: Entry, statement: Statement) -> list[str]:
    if key == VALUE and isinstance(entry, str):
        return [f"{quote(entry)};"]
    return [f" {line}" for line in _braces_of(key, entry, statement, 0)]


def _neighbour(new: Branch, key: Key, statement: Statement, old: Branch, depth: int) -> list[str]:
    """The item before a new one of a list that had items already, shown for its place."""
    if statement.shape != "list":
        return []
    siblings = [k for k in new.items if len(k) == len(key) and k[0] == key[0] and statement.name]
    index = siblings.index(key) if key in siblings else 0
    if index == 0 or siblings[index - 1] not in old.items:
        return []
    before = siblings[index - 1]
    return [f" {' ' * depth} {' '.join(before)} {{ ... }}"]


def _merged(statement: Statement, old: Branch, new: Branch) -> list[tuple[Key, Statement]]:
    keys = {**dict.fromkeys(old.items), **dict.fromkeys(new.items)}
    pairs = [(k, statement if k == VALUE else statement_of(statement, k)) for k in keys]
    return sorted(pairs, key=lambda pair: -1 if pair[0] == VALUE else pair[1].order)
