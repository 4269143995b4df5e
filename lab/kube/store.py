"""Where objects live: one resource version for all, events kept in bounded rings, watchers told at once.

Objects are kept as JSON text without `kind` and `apiVersion`: small, immutable, and ready to be sent. Whoever changes an
object decodes it, which is a copy.
"""

from __future__ import annotations

import bisect
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from lab.kube.plain import text, value_of

Key = tuple[str, str]  # group, plural
RING: Final = 4096
READ: Final = 4096  # texts of objects that stay read


class GoneError(Exception):
    """A resource version that the ring no longer reaches."""


@dataclass(slots=True, eq=False)
class Stored:
    """One object at one version. `labels` and `fields` serve selectors without decoding."""

    namespace: str
    name: str
    uid: str
    version: int
    raw: bytes
    labels: Mapping[str, str]
    fields: Mapping[str, str]

    def decode(self) -> dict[str, Any]:
        """A copy of the object, without kind and apiVersion."""
        return value_of(self.raw)  # type: ignore[no-any-return]  # always written from a dict

    def view(self) -> Mapping[str, Any]:
        """The same, shared and not to be changed. A text that was read is not read again, also in a world that was put back."""
        return read(self.raw)

    @property
    def place(self) -> str:
        """The order of listings: that of etcd's keys."""
        return f"{self.namespace}/{self.name}"


@lru_cache(maxsize=READ)
def read(raw: bytes) -> dict[str, Any]:
    """What an object's text says, shared and not to be changed."""
    return value_of(raw)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Event:
    """One change: ADDED has no `old`; DELETED carries the last state, under the version of the deletion."""

    version: int
    kind: str
    new: Stored
    old: Stored | None


Watcher = Callable[[Event], None]
Hook = Callable[[Key, Event], None]


class Collection:
    """All objects of one resource, and what happened to them lately."""

    def __init__(self, floor: int) -> None:
        self.spaces: dict[str, dict[str, Stored]] = {}
        self.ring: deque[Event] = deque(maxlen=RING)
        self.floor = floor  # the last version that the ring does not explain
        self.watchers: set[Watcher] = set()
        self.count = 0
        self._sorted: dict[str, tuple[list[str], list[Stored]]] = {}

    def get(self, namespace: str, name: str) -> Stored | None:
        space = self.spaces.get(namespace)
        return space.get(name) if space else None

    def put(self, stored: Stored) -> None:
        space = self.spaces.setdefault(stored.namespace, {})
        known = stored.name in space
        space[stored.name] = stored
        if not known:
            self.count += 1
        for view in {"", stored.namespace}:
            lists = self._sorted.get(view)
            if lists is not None:
                self._place(lists, stored, known)

    def _place(self, lists: tuple[list[str], list[Stored]], stored: Stored, known: bool) -> None:
        at = bisect.bisect_left(lists[0], stored.place)
        if known:
            lists[1][at] = stored
        else:
            lists[0].insert(at, stored.place)
            lists[1].insert(at, stored)

    def drop(self, namespace: str, name: str) -> None:
        space = self.spaces[namespace]
        place = space.pop(name).place
        self.count -= 1
        if not space:
            del self.spaces[namespace]
        for view in {"", namespace}:
            lists = self._sorted.get(view)
            if lists is not None:
                at = bisect.bisect_left(lists[0], place)
                del lists[0][at], lists[1][at]
        if namespace and namespace not in self.spaces:
            self._sorted.pop(namespace, None)

    def sorted(self, namespace: str) -> tuple[list[str], list[Stored]]:
        """Places and objects of a namespace ("" for all), in order. Not to be changed."""
        lists = self._sorted.get(namespace)
        if lists is None:
            spaces: Iterable[dict[str, Stored]] = (
                [self.spaces.get(namespace, {})] if namespace else self.spaces.values()
            )
            found = sorted((stored for space in spaces for stored in space.values()), key=lambda stored: stored.place)
            lists = ([stored.place for stored in found], found)
            if not namespace or namespace in self.spaces:
                self._sorted[namespace] = lists
        return lists

    def record(self, event: Event) -> None:
        if len(self.ring) == RING:
            self.floor = self.ring[0].version
        self.ring.append(event)
        for watcher in tuple(self.watchers):
            watcher(event)

    def since(self, version: int) -> list[Event]:
        """Events after a version. Raises GoneError."""
        if version < self.floor:
            raise GoneError
        events: list[Event] = []
        for event in reversed(self.ring):
            if event.version <= version:
                break
            events.append(event)
        events.reverse()
        return events

    def at(self, version: int, namespace: str) -> list[Stored]:
        """Objects as they were at a version, in order. Raises GoneError."""
        later = self.since(version)
        _, current = self.sorted(namespace)
        if not later:
            return current
        state = {stored.place: stored for stored in current}
        for event in reversed(later):
            if namespace and event.new.namespace != namespace:
                continue
            if event.old is None:
                state.pop(event.new.place, None)
            else:
                state[event.new.place] = event.old
        return [state[place] for place in sorted(state)]


class Store:
    """Every collection of a cluster. All changes happen on one thread."""

    def __init__(self) -> None:
        self.version = 1
        self._collections: dict[Key, Collection] = {}
        self.hooks: list[Hook] = []

    def collection(self, key: Key) -> Collection:
        """The collection of a resource, made when first asked for."""
        found = self._collections.get(key)
        if found is None:
            found = self._collections[key] = Collection(0)
        return found

    def begin(self, key: Key) -> None:
        """Start a collection whose history begins now: an established CRD's."""
        if key not in self._collections:
            self._collections[key] = Collection(self.version)

    def end(self, key: Key) -> None:
        """Forget a collection."""
        self._collections.pop(key, None)

    def keys(self) -> Iterator[Key]:
        """Of every collection that was used."""
        return iter(tuple(self._collections))

    def get(self, key: Key, namespace: str, name: str) -> Stored | None:
        """The object now."""
        found = self._collections.get(key)
        return found.get(namespace, name) if found else None

    def commit(self, key: Key, obj: dict[str, Any], fields: Mapping[str, str]) -> Stored:
        """Store an object, new or changed; `obj` gets its resourceVersion and belongs to the store then."""
        meta = obj["metadata"]
        collection = self.collection(key)
        old = collection.get(meta.get("namespace", ""), meta["name"])
        stored = self._stored(obj, fields)
        collection.put(stored)
        self._tell(key, collection, Event(stored.version, "MODIFIED" if old else "ADDED", stored, old))
        return stored

    def _stored(self, obj: dict[str, Any], fields: Mapping[str, str]) -> Stored:
        self.version += 1
        meta = obj["metadata"]
        meta["resourceVersion"] = str(self.version)
        labels = {sys.intern(key): sys.intern(value) for key, value in (meta.get("labels") or {}).items()}
        plain = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
        return Stored(
            sys.intern(meta.get("namespace", "")),
            meta["name"],
            meta.get("uid", ""),
            self.version,
            text(plain),
            labels,
            fields,
        )

    def remove(self, key: Key, namespace: str, name: str, last: dict[str, Any] | None = None) -> Stored | None:
        """Remove an object; `last` is its state to report where that differs from what is stored."""
        collection = self.collection(key)
        old = collection.get(namespace, name)
        if old is None:
            return None
        gone = self._stored(last if last is not None else old.decode(), old.fields)
        collection.drop(namespace, name)
        self._tell(key, collection, Event(gone.version, "DELETED", gone, old))
        return gone

    def _tell(self, key: Key, collection: Collection, event: Event) -> None:
        collection.record(event)
        for hook in self.hooks:
            hook(key, event)

    # --------------------------------------------------------------------------------------------------------- snapshot
    def snapshot(self) -> dict[str, Any]:
        """Everything as JSON values; objects as their texts, which nobody needs to read to put them back."""
        objects = [
            [*key, stored.namespace, stored.name, stored.uid, stored.version, dict(stored.labels), dict(stored.fields), stored.raw.decode()]
            for key, collection in self._collections.items()
            for stored in collection.sorted("")[1]
        ]
        return {"version": self.version, "objects": objects}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Replace everything; resource versions are those of the snapshot, and older ones are gone."""
        self._collections.clear()
        self.version = int(snapshot["version"])
        for group, plural, namespace, name, uid, version, labels, fields, raw in snapshot["objects"]:
            collection = self._collections.setdefault((group, plural), Collection(self.version))
            interned = {sys.intern(key): sys.intern(value) for key, value in labels.items()}
            collection.put(Stored(sys.intern(namespace), name, uid, version, raw.encode(), interned, fields))
