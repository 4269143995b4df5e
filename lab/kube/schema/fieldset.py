"""Sets of field paths, kept in the very form of `fieldsV1`.

A node is a dict from path elements ("f:name", 'k:{"name":"x"}', 'v:"x"') to nodes. A node is a member of the set where it
is empty or holds "."; the root is never a member. Every function here returns new dicts and changes none.
Source: sigs.k8s.io/structured-merge-diff/v4/fieldpath (4.6).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

FieldSet = dict[str, Any]
Path = tuple[str, ...]


def is_member(node: FieldSet) -> bool:
    """Whether the path of `node` itself is in the set."""
    return not node or "." in node


def insert(root: FieldSet, path: Sequence[str]) -> None:
    """Add `path` in place; for sets under construction only."""
    if not path:
        return
    node, fresh = root, False
    for place, element in enumerate(path):
        known = node.get(element)
        if known is None:
            known = {}
            if not fresh and not node and place:
                node["."] = {}  # a leaf gets children: it stays a member
            node[element] = known
            fresh = True
        else:
            fresh = False
        node = known
    if not fresh and node:
        node["."] = {}


def paths(node: FieldSet, prefix: Path = ()) -> Iterator[Path]:
    """Every member, parents before children."""
    members = sorted((key for key, child in node.items() if key != "." and is_member(child)), key=element_order)
    for key in members:
        yield (*prefix, key)
    for key in sorted((key for key, child in node.items() if key != "." and child), key=element_order):
        yield from paths(node[key], (*prefix, key))


def element_order(element: str) -> tuple[int, str]:
    """Fields, then keys, then values, then indices. Source: PathElement.Less."""
    return ("fkvi".find(element[:1]), element)


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of either."""
    if not other:
        return one
    if not one:
        return other
    made = dict(one)
    for key, child in other.items():
        mine = made.get(key)
        if mine is None:
            made[key] = child
        elif key != ".":
            made[key] = _join(mine, child)
    return made


def _join(mine: FieldSet, child: FieldSet) -> FieldSet:
    merged = union(mine, child)
    if merged and "." not in merged and (is_member(mine) or is_member(child)):
        return {".": {}, **merged}
    return merged


def _made(member: bool, children: FieldSet) -> FieldSet | None:
    """A node of its parts; None where it would be empty and no member."""
    if not children:
        return {} if member else None
    return {".": {}, **children} if member else children


def _children(node: FieldSet) -> FieldSet:
    return {key: child for key, child in node.items() if key != "."} if "." in node else node


def difference(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of `one` that are not members of `other`; their children are judged on their own."""
    if not other:
        return one
    made = {}
    for key, child in one.items():
        if key == ".":
            continue
        theirs = other.get(key)
        if theirs is None:
            made[key] = child
            continue
        left = _made(is_member(child) and not is_member(theirs), difference(_children(child), _children(theirs)))
        if left is not None:
            made[key] = left
    return made


def recursive_difference(one: FieldSet, other: FieldSet) -> FieldSet:
    """Like `difference`, but a member of `other` takes all below it away too."""
    made = {}
    for key, child in one.items():
        if key == ".":
            continue
        theirs = other.get(key)
        if theirs is None:
            made[key] = child
        elif not is_member(theirs):
            left = _made(is_member(child), recursive_difference(_children(child), theirs))
            if left is not None:
                made[key] = left
    return made


def intersection(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of both."""
    made = {}
    for key, child in one.items():
        if key == ".":
            continue
        theirs = other.get(key)
        if theirs is None:
            continue
        left = _made(is_member(child) and is_member(theirs), intersection(_children(child), _children(theirs)))
        if left is not None:
            made[key] = left
    return made


def has(node: FieldSet, path: Sequence[str]) -> bool:
    """Whether `path` is a member."""
    for element in path:
        child = node.get(element)
        if child is None:
            return False
        node = child
    return is_member(node)


def keep(node: FieldSet, wanted: Callable[[Path], bool]) -> FieldSet:
    """The members whose path is `wanted`."""
    made: FieldSet = {}
    for path in paths(node):
        if wanted(path):
            insert(made, path)
    return made


def spell(path: Sequence[str]) -> str:
    """As conflicts print it: `.spec.containers[name="app"].image`."""
    return "".join(_spell(element) for element in path)


def _spell(element: str) -> str:
    sort, text = element[:2], element[2:]
    if sort == "f:":
        return f".{text}"
    if sort == "k:":
        pairs = json.loads(text)
        return "[" + ",".join(f"{key}={to_text(value)}" for key, value in sorted(pairs.items())) + "]"
    if sort == "v:":
        return f"[={to_text(json.loads(text))}]"
    return f"[{text}]"


def to_text(value: Any) -> str:
    """Go's value.ToString."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
