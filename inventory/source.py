"""A site file as a tree of text with positions: reading YAML without trusting it.

The tree is built from libyaml's events one by one, so that size, depth and number of values are bounded before anything is
made of them. What YAML can do and a site does not need is refused by name: aliases (they multiply), tags (they construct),
several documents, keys that are not text, control characters. Scalars stay text: what `0012`, `1.33` or `11:22:33:44:55:06`
mean is decided by the key that they stand under, not by YAML's guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import yaml

from inventory.errors import SiteError
from inventory.findings import Keys

MAX_BYTES = 1024 * 1024  # a site of 1,000 nodes takes a quarter of it
MAX_DEPTH = 20  # the deepest key of the model stands at 6
MAX_VALUES = 60_000  # a site of 1,000 nodes has a third of it; keys count too
MAX_SHOWN = 80  # characters of a found value that an error repeats

# C0 without tab, LF, CR; DEL; C1; line breaks that editors do not count; and what reorders or hides text on a screen.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff]"
)
_CREDENTIALS = re.compile(r"(https?://|://[^/@:\s]*:)[^/@\s]*@")
_NULL = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; line and column count from 1."""

    file: Path
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text. `null` when nothing, `~` or `null` stands there unquoted."""

    mark: Mark
    text: str
    null: bool = False


@dataclass(slots=True)
class Sequence:
    """A list, in the order of the file. `numbers` are the items' indexes in the file, empty while none was taken out."""

    mark: Mark
    items: list[Node] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    """Keys and values in the order of the file; `keys` says where each key stands."""

    mark: Mark
    values: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Mark] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


def read(file: Path) -> tuple[Mapping | None, tuple[SiteError, ...]]:
    """The tree of `file` and every mistake of form in it; None when no tree could be made."""
    text = _text(file)
    if isinstance(text, SiteError):
        return None, (text,)
    reader = _TreeBuilder(file)
    try:
        root = reader.build(text)
    except _Refused as refused:
        return None, (*reader.errors, refused.error)
    except yaml.YAMLError as error:
        return None, (*reader.errors, _syntax(file, error))
    if not isinstance(root, Mapping):
        mark = root.mark if root else Mark(file, 1, 1)
        said = _error(
            mark, "the file holds no keys", found=describe(root) if root else "nothing", allowed="a mapping of keys"
        )
        return None, (*reader.errors, said)
    return root, tuple(reader.errors)


def key_text(keys: Keys) -> str:
    """`("nodes", 2, "mac")` as `nodes[2].mac`."""
    out = ""
    for part in keys:
        out += f"[{part}]" if isinstance(part, int) else (f".{shown(part)}" if out else shown(part))
    return out


def written(root: Node, keys: Keys) -> Keys:
    """`keys` with the indexes that the file has, for a tree from which items were taken out."""
    out: list[str | int] = []
    node: Node | None = root
    for part in keys:
        out.append(
            node.numbers[part]
            if isinstance(node, Sequence) and isinstance(part, int) and part < len(node.numbers)
            else part
        )
        node = child(node, part)
    return tuple(out)


def without(node: Node, dropped: frozenset[int]) -> Node:
    """The tree less the values whose `id()` is in `dropped`."""
    if isinstance(node, Sequence):
        kept = [(number, item) for number, item in enumerate(node.items) if id(item) not in dropped]
        numbers = [node.numbers[number] if node.numbers else number for number, _ in kept]
        return Sequence(node.mark, [without(item, dropped) for _, item in kept], numbers)
    if isinstance(node, Mapping):
        kept_keys = [key for key, value in node.values.items() if id(value) not in dropped]
        return Mapping(
            node.mark,
            {key: without(node.values[key], dropped) for key in kept_keys},
            {key: node.keys[key] for key in kept_keys},
        )
    return node


def child(node: Node | None, part: str | int) -> Node | None:
    """The value below `node`, None when there is none."""
    if isinstance(node, Mapping) and isinstance(part, str):
        return node.values.get(part)
    if isinstance(node, Sequence) and isinstance(part, int) and 0 <= part < len(node.items):
        return node.items[part]
    return None


def find(root: Node, keys: Keys) -> Node | None:
    """The value at `keys`, None when the file does not have it."""
    node: Node | None = root
    for part in keys:
        node = child(node, part)
    return node


def place(root: Node, keys: Keys) -> Mark:
    """Where the value at `keys` stands; for one that is not written, where the mapping that lacks it begins."""
    node = root
    for part in keys:
        below = child(node, part)
        if below is None:
            break
        node = below
    return node.mark


def plain(node: Node) -> object:
    """The tree as dicts, lists, texts and None."""
    if isinstance(node, Scalar):
        return None if node.null else node.text
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, value in node.values.items()}


def describe(node: Node) -> str:
    """What stands there, as an error says it: short, on one line."""
    if isinstance(node, Scalar):
        return "nothing" if node.null else shown(node.text)
    if isinstance(node, Sequence):
        return "an empty list" if not node.items else "a list"
    return "a mapping of keys"


def shown(text: str) -> str:
    """A text fit for a terminal: credentials of URLs left out, unprintable characters escaped, cut to a readable length."""
    bare = _CREDENTIALS.sub(r"\1***@", text)
    cut = bare if len(bare) <= MAX_SHOWN else bare[:MAX_SHOWN] + "..."
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    return safe or "an empty text"


def _text(file: Path) -> str | SiteError:
    """The decoded file, or why it cannot be taken."""
    start = Mark(file, 1, 1)
    try:
        if not file.is_file():
            kind = "a folder" if file.is_dir() else "something that is not a file" if file.exists() else None
            if kind:
                return _error(start, "the site is a file", found=kind, allowed="a file in YAML")
            return _error(start, "the file does not exist", hint="`bootstrap init` writes a new site")
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _error(start, f"the file cannot be read: {reason}", hint="check its owner and permissions")
    if len(raw) > MAX_BYTES:
        return _error(
            start,
            "the file is too large",
            found=f"over {MAX_BYTES} bytes",
            allowed=f"up to {MAX_BYTES} bytes",
            hint="split it with `include`",
        )
    return _decoded(file, raw)


def _decoded(file: Path, raw: bytes) -> str | SiteError:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _error(Mark(file, 1, 1), "the file's encoding is not UTF-8", found="UTF-16", allowed="UTF-8")
    try:
        text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        return _error(
            _mark_after(file, before),
            "the file's encoding is not UTF-8",
            found=f"byte 0x{raw[error.start]:02x}",
            allowed="UTF-8",
        )
    bad = _UNPRINTABLE.search(text)
    if bad:
        mark = _mark_after(file, text[: bad.start()])
        return _error(
            mark, "the file holds a control character", found=f"U+{ord(bad.group()):04X}", allowed="printable text"
        )
    return text


def _mark_after(file: Path, before: str) -> Mark:
    lines = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return Mark(file, len(lines), len(lines[-1]) + 1)


def _error(
    mark: Mark,
    message: str,
    *,
    found: str | None = None,
    allowed: str | None = None,
    hint: str | None = None,
    key: str = "",
) -> SiteError:
    return SiteError(mark.file, mark.line, mark.column, key, message, found=found, allowed=allowed, hint=hint)


def _syntax(file: Path, error: yaml.YAMLError) -> SiteError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or "not YAML"
    context = getattr(error, "context", None)
    place = Mark(file, mark.line + 1, mark.column + 1) if mark else Mark(file, 1, 1)
    told = f"{problem}, {context}" if context else str(problem)
    return _error(place, f"not valid YAML: {shown(told)}", hint="check indentation, quotes and brackets at this place")


class _Refused(Exception):
    """The file uses what a site does not allow; reading stops."""

    def __init__(self, error: SiteError) -> None:
        super().__init__(error.message)
        self.error = error


class _TreeBuilder:
    """Events in, tree out, without recursion; duplicate keys are noted and the first one is kept."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.errors: list[SiteError] = []
        self._count = 0

    def build(self, text: str) -> Node | None:
        """The first document's tree, None for an empty file. Raises YAMLError and _Refused."""
        root: Node | None = None
        documents = 0
        open_: list[tuple[Sequence | Mapping, list[tuple[str, Mark]]]] = []
        for event in self._events(text):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._refuse(
                        event,
                        "a site file holds one document",
                        "a second document (`---`)",
                        hint="use `include` for further files",
                    )
            elif isinstance(event, yaml.CollectionEndEvent):
                open_.pop()
            elif isinstance(event, yaml.NodeEvent):
                node = self._node(event)
                if not open_:
                    root = node
                elif self._awaits_key(open_):
                    open_[-1][1].append((self._key(event, node), node.mark))
                    continue
                else:
                    self._attach(open_, node)
                if isinstance(node, Sequence | Mapping):
                    open_.append((node, []))
                    if len(open_) > MAX_DEPTH:
                        raise self._refuse(event, "the file nests too deeply", f"over {MAX_DEPTH} levels")
        return root

    def _events(self, text: str) -> Iterator[yaml.Event]:
        yield from yaml.parse(text, Loader=yaml.CSafeLoader)

    @staticmethod
    def _awaits_key(open_: list[tuple[Sequence | Mapping, list[tuple[str, Mark]]]]) -> bool:
        return isinstance(open_[-1][0], Mapping) and not open_[-1][1]

    def _attach(self, open_: list[tuple[Sequence | Mapping, list[tuple[str, Mark]]]], node: Node) -> None:
        parent, pending = open_[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
            return
        key, mark = pending.pop()
        if key in parent.values:
            first = parent.keys[key]
            self.errors.append(
                _error(
                    mark,
                    f"the key is given twice, first in line {first.line}",
                    found=shown(key),
                    allowed="each key once",
                    key=self._path(open_, key),
                )
            )
            return
        parent.values[key] = node
        parent.keys[key] = mark

    @staticmethod
    def _path(open_: list[tuple[Sequence | Mapping, list[tuple[str, Mark]]]], key: str) -> str:
        """The dotted path of `key` in the innermost open mapping: what is open is the last that its parent has."""
        parts: list[str | int] = []
        for (parent, pending), (below, _) in pairwise(open_):
            if isinstance(parent, Sequence):
                parts.append(len(parent.items) - 1)
            else:
                parts.append(
                    next(
                        (name for name, value in parent.values.items() if value is below),
                        pending[-1][0] if pending else "",
                    )
                )
        return key_text((*parts, key))

    def _node(self, event: yaml.NodeEvent) -> Node:
        self._count += 1
        if self._count > MAX_VALUES:
            raise self._refuse(event, "the file holds too many values", f"over {MAX_VALUES}")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self._refuse(
                event,
                "anchors and aliases are not allowed in a site",
                f"{'*' if isinstance(event, yaml.AliasEvent) else '&'}{shown(event.anchor or '')}",
                hint="write the value out where it is needed",
            )
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise self._refuse(event, "tags are not allowed in a site", shown(tag), hint="leave the tag out")
        mark = self._mark(event)
        if isinstance(event, yaml.ScalarEvent):
            if _UNPRINTABLE.search(event.value):
                raise self._refuse(
                    event, "the text holds a control character", shown(event.value), hint="remove the escape sequence"
                )
            return Scalar(mark, event.value, null=not event.style and event.value in _NULL)
        return Sequence(mark) if isinstance(event, yaml.SequenceStartEvent) else Mapping(mark)

    def _key(self, event: yaml.NodeEvent, node: Node) -> str:
        if not isinstance(node, Scalar):
            raise self._refuse(event, "a key is a text", describe(node))
        if node.text == "<<":
            raise self._refuse(
                event, "merge keys are not allowed in a site", "<<", hint="write the values out where they are needed"
            )
        return node.text

    def _mark(self, event: yaml.Event) -> Mark:
        start = event.start_mark
        return Mark(self.file, start.line + 1, start.column + 1) if start else Mark(self.file, 1, 1)

    def _refuse(self, event: yaml.Event, message: str, found: str, *, hint: str | None = None) -> _Refused:
        return _Refused(_error(self._mark(event), message, found=found, hint=hint))
