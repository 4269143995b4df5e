"""From a site file to a Site, or to every mistake in it.

Three readings, each on what the one before left whole: form (`source`: YAML, includes, duplicate keys), types (`model`), rules
(`rules`). A value that is wrong by itself is taken out of the tree before the rules look, so that they speak of the rest and not
of the consequences.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from inventory import rules, source
from inventory.errors import SiteError, SiteErrors
from inventory.findings import Finding, Keys
from inventory.model import Site
from inventory.references import SecretRef
from inventory.selection import nearest
from inventory.structure import MISSING_KEY, NOT_A_LIST, UNKNOWN_KEY, Data, Wrong, build, hints, section_of

MAX_FILES = 100
MAX_DEPTH = 8  # files that include files
MAX_DETAILS = 500  # mistakes of type beyond which rules are not asked: finding what is left whole would take too long
MAX_ERRORS = 100  # beyond, the file is something else, and a longer list helps nobody

# What stands in for a required section that is broken, so that the rules can look at the others. Valid, and met by no rule.
_STAND_INS: Mapping[str, object] = {
    "name": "site",
    "clusters": [],
    "nodes": [],
    "git": {"url": "https://git.invalid/site.git", "auth": "token", "token": "env:GIT_PASSWORD"},
    "cilium_ca": "file:cilium-ca.invalid",
}


def load(path: Path, env: Mapping[str, str] | None = None) -> Site:
    """The site at `path`. Raises SiteErrors; see `inventory.load`."""
    files = _Files(path)
    tree = files.read()
    if tree is None or files.unread:
        raise SiteErrors(_in_order(files))
    typed = _typed(tree)
    files.errors.extend(typed.errors)
    if typed.site is not None:
        files.errors.extend(_placed(typed.tree, finding) for finding in _judged(typed.site, typed.broken, env))
    if files.errors or typed.site is None:
        raise SiteErrors(_in_order(files))
    return typed.site


def site_digest(site: Site) -> str:
    """SHA-256 (hex) over the canonical JSON of the site, defaults included."""
    data = site.model_dump(mode="json", by_alias=True)
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def references(site: Site) -> tuple[tuple[str, SecretRef], ...]:
    """Every reference to a secret with the dotted path of its key, in the order of the model."""
    return tuple((source.key_text(keys), reference) for keys, reference in _references(site, ()))


def _references(value: object, keys: Keys) -> Iterator[tuple[Keys, SecretRef]]:
    if isinstance(value, SecretRef):
        yield keys, value
    elif isinstance(value, Data):
        for name in type(value).model_fields:
            yield from _references(getattr(value, name), (*keys, name))
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from _references(item, (*keys, number))


# --- files ----------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Files:
    """The root file and what it includes, as one tree."""

    root: Path
    errors: list[SiteError] = field(default_factory=list)
    order: list[Path] = field(default_factory=list)
    unread: bool = False  # whether a part is missing, so that nothing can be said of the whole

    def read(self) -> source.Mapping | None:
        """The merged tree, None when the root file has none."""
        return self._read(self.root, ())

    def _read(self, file: Path, above: tuple[Path, ...]) -> source.Mapping | None:
        self.order.append(file)
        tree, errors = source.read(file)
        self.errors.extend(errors)
        if tree is None:
            self.unread = True
            return None
        include = tree.values.pop("include", None)
        tree.keys.pop("include", None)
        for item in self._items(include):
            self._include(tree, file, item, above)
        return tree

    def _items(self, include: source.Node | None) -> Iterator[source.Scalar]:
        if include is None:
            return
        items = include.items if isinstance(include, source.Sequence) else [include]
        for item in items:
            if isinstance(item, source.Scalar) and item.text and not item.null:
                yield item
            else:
                self._say(
                    item,
                    "an included file is named by its path",
                    found=source.describe(item),
                    allowed="a relative path, or a list of them",
                )

    def _include(self, tree: source.Mapping, file: Path, item: source.Scalar, above: tuple[Path, ...]) -> None:
        target = file.parent / item.text
        problem = self._problem(item.text, target, (*above, file))
        if problem:
            near = nearest(item.text, _beside(file)) if problem == _ABSENT else None
            self._say(item, problem, found=source.shown(item.text), allowed=_INCLUDABLE, near=near)
            return
        below = self._read(target, (*above, file))
        if below is not None:
            self._merge(tree, below)

    def _problem(self, text: str, target: Path, open_: tuple[Path, ...]) -> str | None:
        pure = PurePosixPath(text)
        if pure.is_absolute() or text.startswith("~"):
            return "an included file is named by a relative path"
        try:
            real, home = target.resolve(), self.root.parent.resolve()
            if not real.is_relative_to(home):
                return "the included file lies outside of the site's folder"
            if real in {known.resolve() for known in open_}:
                return "the file includes itself"
            if real in {known.resolve() for known in self.order}:
                return "the file is included twice"
            if not real.is_file():
                return _ABSENT
        except (OSError, RuntimeError, ValueError):  # a loop of symbolic links, or a path that no system has
            return "the included file cannot be found"
        if len(self.order) >= MAX_FILES or len(open_) > MAX_DEPTH:
            return f"more than {MAX_FILES} files, or {MAX_DEPTH} levels of them, are included"
        return None

    def _merge(self, tree: source.Mapping, below: source.Mapping) -> None:
        """Lists of an included file follow those that are there; anything else is given in one file alone."""
        for key, value in below.values.items():
            there = tree.values.get(key)
            if there is None:
                tree.values[key] = value
                tree.keys[key] = below.keys[key]
            elif isinstance(there, source.Sequence) and isinstance(value, source.Sequence):
                there.items.extend(value.items)
            else:
                first, mark = tree.keys[key], below.keys[key]
                told = f"the key is given already in {first.file.name} line {first.line}"
                self.errors.append(
                    _error(
                        mark, (key,), told, found=source.shown(key), allowed="each key in one file; lists are joined"
                    )
                )

    def _say(self, node: source.Node, message: str, *, found: str, allowed: str, near: str | None = None) -> None:
        self.unread = True
        self.errors.append(_error(node.mark, ("include",), message, found=found, allowed=allowed, near=near))


_ABSENT = "the included file does not exist"
_INCLUDABLE = "a file beside the site or below it, once"


def _beside(file: Path) -> tuple[str, ...]:
    """Names of the other YAML files in the folder of `file`."""
    try:
        names = sorted(entry.name for entry in islice(file.parent.iterdir(), 1000))
    except OSError:  # a folder that may be entered but not listed
        return ()
    return tuple(name for name in names if name.endswith((".yaml", ".yml")) and name != file.name)


def _in_order(files: _Files) -> tuple[SiteError, ...]:
    rank = {file: number for number, file in enumerate(files.order)}
    return tuple(
        sorted(files.errors, key=lambda error: (rank.get(error.file, 0), error.line, error.column))[:MAX_ERRORS]
    )


def _error(
    mark: source.Mark,
    keys: Keys,
    message: str,
    *,
    found: str | None = None,
    allowed: str | None = None,
    near: str | None = None,
    hint: str | None = None,
) -> SiteError:
    return SiteError(
        mark.file,
        mark.line,
        mark.column,
        source.key_text(keys),
        message,
        found=found,
        allowed=allowed,
        nearest=near,
        hint=hint,
    )


# --- types ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Typed:
    """The site as far as it is sound: `tree` is what of the file went into `site`, `broken` the sections that lost something."""

    tree: source.Mapping
    site: Site | None
    errors: tuple[SiteError, ...] = ()
    broken: frozenset[str] = frozenset()


def _typed(tree: source.Mapping) -> _Typed:
    """Validate, take out what is wrong, and again, until what is left is a site."""
    errors: tuple[SiteError, ...] | None = None
    broken: set[str] = set()
    rest: source.Mapping = tree
    stand_ins: dict[str, object] = {}
    for _ in range(source.MAX_DEPTH):
        made = build(Site, {**_as_dict(rest), **stand_ins})
        if isinstance(made, Site):
            return _Typed(rest, made, errors or (), frozenset(broken))
        if errors is None:
            errors = _type_errors(rest, made[:MAX_DETAILS])
        broken |= {str(wrong.keys[0]) for wrong in made}
        absent = {str(wrong.keys[0]) for wrong in made if not _to_drop(wrong)}
        if len(made) > MAX_DETAILS or not absent <= _STAND_INS.keys():
            break
        stand_ins |= {key: _STAND_INS[key] for key in absent}
        dropped = (source.find(rest, _to_drop(wrong)) for wrong in made if _to_drop(wrong))
        left = source.without(rest, frozenset(id(node) for node in dropped if node is not None))
        assert isinstance(left, source.Mapping)  # the root itself is never dropped
        rest = left
    return _Typed(rest, None, errors or (), frozenset(broken))


def _as_dict(tree: source.Mapping) -> dict[str, object]:
    return {key: source.plain(value) for key, value in tree.values.items()}


def _to_drop(wrong: Wrong) -> Keys:
    """The value that must go for the mistake to go: for a missing key the mapping that lacks it."""
    return wrong.keys[:-1] if wrong.kind == MISSING_KEY else wrong.keys


def _type_errors(tree: source.Mapping, wrongs: tuple[Wrong, ...]) -> tuple[SiteError, ...]:
    """One error a mistake: a key that is missing because it is mistyped is told as the mistyped one."""
    unknown = {wrong.keys: _meant(tree, wrong.keys) for wrong in wrongs if wrong.kind == UNKNOWN_KEY}
    meant = {(*keys[:-1], near) for keys, near in unknown.items() if near}
    return tuple(
        _unknown_key(tree, wrong.keys, unknown[wrong.keys]) if wrong.keys in unknown else _type_error(tree, wrong)
        for wrong in wrongs
        if not (wrong.kind == MISSING_KEY and wrong.keys in meant)
    )


def _meant(tree: source.Mapping, keys: Keys) -> str | None:
    """The key that an unknown one most likely stands for: one that is not given yet, if any is alike."""
    given = source.find(tree, keys[:-1])
    options = tuple(_names(_section_at(keys[:-1])))
    absent = tuple(name for name in options if not (isinstance(given, source.Mapping) and name in given.values))
    return nearest(str(keys[-1]), absent) or nearest(str(keys[-1]), options)


def _unknown_key(tree: source.Mapping, keys: Keys, near: str | None) -> SiteError:
    parent = source.find(tree, keys[:-1])
    assert isinstance(parent, source.Mapping)  # it holds the key
    allowed = ", ".join((*_names(_section_at(keys[:-1])), *(("include",) if len(keys) == 1 else ())))
    mark, found = parent.keys[str(keys[-1])], source.shown(str(keys[-1]))
    return _error(mark, keys, "unknown key", found=found, allowed=allowed, near=near)


def _type_error(tree: source.Mapping, wrong: Wrong) -> SiteError:
    keys, why = wrong.keys, wrong.why
    mark, node = source.place(tree, keys), source.find(tree, keys)
    found = source.describe(node) if node is not None else "nothing"
    if why is not None:
        found = "a value (not repeated here)" if why.secret else found
        return _error(mark, keys, why.message, found=found, allowed=why.allowed, near=why.near, hint=why.hint)
    if wrong.kind == MISSING_KEY:
        about = _names(_section_at(keys[:-1])).get(str(keys[-1]))
        return _error(mark, keys, "the key is missing", found="nothing", allowed=f"`{keys[-1]}`: {about}")
    if wrong.kind == NOT_A_LIST:
        near = f"[{found}]" if isinstance(node, source.Scalar) and not node.null else None
        return _error(mark, keys, "the value is not a list", found=found, allowed="a list", near=near)
    allowed = f"a mapping with {', '.join(_names(_section_at(keys)))}"
    return _error(mark, keys, "the value is not a mapping", found=found, allowed=allowed)


def _names(section: type[Data]) -> dict[str, str]:
    """The keys of a section with their descriptions."""
    return {info.alias: info.about for info in section.model_fields.values()}


def _section_at(keys: Keys) -> type[Data]:
    """The section of the model that stands at `keys`, or the last one above it."""
    section: type[Data] = Site
    for key in keys:
        if isinstance(key, str) and key in section.model_fields:
            section = section_of(hints(section)[key]) or section
    return section


# --- rules ----------------------------------------------------------------------------------------------------------------------


def _judged(site: Site, broken: frozenset[str], env: Mapping[str, str] | None) -> Iterator[Finding]:
    yield from rules.judge(site, broken)
    for keys, reference in _references(site, ()):
        if env is not None and reference.scheme == "env" and env.get(reference.rest) == "":
            yield Finding(
                keys,
                f"the environment variable {reference.rest} is set but empty",
                allowed="a variable with the secret in it",
                hint=f"set {reference.rest}, or unset it to be asked when it is needed",
            )


def _placed(tree: source.Mapping, finding: Finding) -> SiteError:
    node = source.find(tree, finding.keys)
    found = finding.found or (source.describe(node) if node is not None else "nothing")
    return _error(
        source.place(tree, finding.keys),
        source.written(tree, finding.keys),
        finding.message,
        found=found,
        allowed=finding.allowed,
        near=finding.nearest,
        hint=finding.hint,
    )
