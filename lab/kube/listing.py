"""Lists, pages and watches: from one snapshot, in the order of keys, with bookmarks and 410.

Source: k8s.io/apiserver/pkg/endpoints/handlers get.go, pkg/storage (v0.33).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import bisect
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.kube import errors, gojson, plain, selectors
from lab.kube.errors import ApiError, bad_request, expired
from lab.kube.models import Model
from lab.kube.registry import Resource
from lab.kube.selectors import FieldSelector, Selector
from lab.kube.store import Collection, Event, GoneError, Store, Stored
from lab.kube.strategies import Strategy

Json = dict[str, Any]
BOOKMARK_BEFORE_END = 2.0  # seconds; a real server's watch cache sends the last one so much before the time-out
BOOKMARK_EVERY = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Of a list or a watch."""

    labels: Selector = ()
    fields: FieldSelector = ()
    limit: int = 0
    token: str = ""
    version: str = ""
    match: str = ""
    bookmarks: bool = False
    timeout: float = 0.0
    initial: bool | None = None


def options_of(query: Mapping[str, list[str]], resource: Resource, strategy: Strategy, *, watch: bool) -> ListOptions:
    """Raises ApiError."""

    def one(name: str) -> str:
        values = query.get(name)
        return values[0] if values else ""

    try:
        labels = selectors.parse_labels(one("labelSelector"))
        fields = selectors.parse_fields(one("fieldSelector"))
    except selectors.SelectorError as error:
        raise bad_request(str(error)) from error
    fields = tuple(_known_field(term, resource, strategy) for term in fields)
    limit = _number(one("limit"))
    made = ListOptions(
        labels=labels,
        fields=fields,
        limit=max(0, limit),
        token=one("continue"),
        version=one("resourceVersion"),
        match=one("resourceVersionMatch"),
        bookmarks=_flag(one("allowWatchBookmarks")),
        timeout=float(_number(one("timeoutSeconds"))),
        initial=_flag(one("sendInitialEvents")) if "sendInitialEvents" in query else None,
    )
    _check(made, watch=watch)
    return made


def _number(text: str) -> int:
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        raise bad_request(f"strconv.ParseInt: parsing {errors.quote(text)}: invalid syntax") from None


def _flag(text: str) -> bool:
    return text.lower() not in ("", "0", "false")


def _known_field(term: selectors.FieldTerm, resource: Resource, strategy: Strategy) -> selectors.FieldTerm:
    if term.field in strategy.selectable or term.field == "metadata.name":
        return term
    if term.field == "metadata.namespace" and (resource.namespaced or not strategy.unknown_field):
        return term
    if strategy.unknown_field:
        raise bad_request(strategy.unknown_field.format(label=term.field, quoted=errors.quote(term.field)))
    raise bad_request(
        f'{errors.quote(term.field)} is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


def _check(options: ListOptions, *, watch: bool) -> None:
    """Source: ValidateListOptions."""
    found = []
    if options.match:
        if watch and options.initial is None:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            found.append(errors.forbidden_field("resourceVersionMatch", text))
        elif not watch:
            if not options.version:
                text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
                found.append(errors.forbidden_field("resourceVersionMatch", text))
            if options.token:
                text = "resourceVersionMatch is forbidden when continue is provided"
                found.append(errors.forbidden_field("resourceVersionMatch", text))
            if options.match not in ("Exact", "NotOlderThan"):
                found.append(errors.unsupported("resourceVersionMatch", options.match, ("Exact", "NotOlderThan", "")))
            if options.match == "Exact" and options.version == "0":
                text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
                found.append(errors.forbidden_field("resourceVersionMatch", text))
    if options.initial is not None:
        if not watch:
            found.append(errors.forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
        elif options.initial and options.match != "NotOlderThan":
            text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            found.append(errors.forbidden_field("resourceVersionMatch", text))
    if found:
        raise errors.invalid("meta.k8s.io", "ListOptions", "", found)


def matches(options: ListOptions, stored: Stored) -> bool:
    """Whether an object is selected."""
    if options.labels and not selectors.matches(options.labels, stored.labels):
        return False
    return not options.fields or selectors.fields_match(options.fields, lambda name: field_of(stored, name))


def field_of(stored: Stored, name: str) -> str:
    """A selectable field's value."""
    if name == "metadata.name":
        return stored.name
    if name == "metadata.namespace":
        return stored.namespace
    return stored.fields.get(name, "")


def version_of(text: str, store: Store) -> int:
    """A resourceVersion as a number. Raises ApiError where it is none, or of the future."""
    if not text:
        return 0
    if not text.isdigit():
        raise bad_version(text)
    number = int(text)
    if number > store.version:
        message = f"Too large resource version: {number}, current: {store.version}"
        details = {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }
        raise ApiError(504, "Timeout", f"Timeout: {message}", details)
    return number


def bad_version(text: str) -> ApiError:
    """A resourceVersion that is no number."""
    error = errors.wrong("resourceVersion", text, f"strconv.ParseUint: parsing {errors.quote(text)}: invalid syntax")
    return bad_request(error.text)


# ----------------------------------------------------------------------------------------------------------------- list
@dataclass(frozen=True, slots=True)
class Page:
    """Selected objects, and the list's metadata."""

    items: list[Stored]
    metadata: Json


def page(store: Store, resource: Resource, namespace: str, options: ListOptions) -> Page:
    """A list, or one page of it. Raises ApiError."""
    collection = store.collection(resource.storage_key)
    version, start = store.version, ""
    if options.token:
        if options.version not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        version, start = read_token(options.token)
        if version > store.version:
            version = store.version
    elif options.version:
        asked = version_of(options.version, store)
        if options.match == "Exact" or (not options.match and options.limit and asked):
            version = asked
    try:
        found = collection.at(version, namespace)
    except GoneError:
        raise _too_old(options) from None
    single = next((term.value for term in options.fields if term.field == "metadata.name" and not term.negated), None)
    if single is not None and namespace:
        one = collection.get(namespace, single) if version == store.version else None
        found = [one] if one else [stored for stored in found if stored.name == single]
    places = (
        collection.sorted(namespace)[0] if found is collection.sorted(namespace)[1] else [one.place for one in found]
    )
    first = bisect.bisect_left(places, start) if start else 0
    return _cut(found, first, version, options)


def _too_old(options: ListOptions) -> ApiError:
    if options.token:
        return expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
            "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
            "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
            "deleted between the time the first chunk was returned and now may show up in the list."
        )
    return expired("The resourceVersion for the provided list is too old.")


def _cut(found: list[Stored], first: int, version: int, options: ListOptions) -> Page:
    metadata: Json = {"resourceVersion": str(version)}
    selects = bool(options.labels or options.fields)
    if not options.limit:
        items = found[first:] if first else found
        return Page([one for one in items if matches(options, one)] if selects else list(items), metadata)
    items, at = [], first
    while at < len(found) and len(items) < options.limit:
        if not selects or matches(options, found[at]):
            items.append(found[at])
        at += 1
    more = at < len(found) if not selects else any(matches(options, one) for one in found[at:])
    if more:
        metadata["continue"] = make_token(version, items[-1].place + "\0")
        if not selects:
            metadata["remainingItemCount"] = len(found) - at
    return Page(items, metadata)


def make_token(version: int, start: str) -> str:
    """Source: storage.EncodeContinue."""
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(token: str) -> tuple[int, str]:
    """Version and first key. Raises ApiError."""
    words = "invalid continue token: continue key is not valid: "
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        bad = next((place for place, char in enumerate(token) if not (char.isalnum() or char in "-_")), len(token))
        raise bad_request(f"{words}illegal base64 data at input byte {bad}") from None
    try:
        found, _ = gojson.loads(raw.decode("latin-1"))
    except gojson.SyntaxFault as error:
        raise bad_request(f"{words}{error}") from error
    if not isinstance(found, dict) or found.get("v") != "meta.k8s.io/v1":
        version = found.get("v", "") if isinstance(found, dict) else ""
        raise bad_request(f"{words}server does not recognize this encoded version {errors.quote(str(version))}")
    if not found.get("rv"):
        raise bad_request("invalid continue token: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    if not found.get("start"):
        raise bad_request(
            "invalid continue token: continue key is not valid: encoded start key empty (version meta.k8s.io/v1)"
        )
    return int(found["rv"]), str(found["start"])


# ---------------------------------------------------------------------------------------------------------------- watch
Change = tuple[str, Stored]  # ADDED, MODIFIED or DELETED, and the object to report


class Watching:
    """One open watch: what happened since a version, then what happens. `close` ends it."""

    def __init__(
        self, store: Store, collection: Collection, namespace: str, options: ListOptions, first: list[Change]
    ) -> None:
        self._store, self._collection = store, collection
        self._namespace, self._options = namespace, options
        self._ready: deque[Change] = deque(first)
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False
        collection.watchers.add(self._tell)

    def _tell(self, event: Event) -> None:
        change = selected(event, self._namespace, self._options)
        if change is not None:
            self._ready.append(change)
            self._wake()

    def close(self) -> None:
        """No more events."""
        self.closed = True
        self._collection.watchers.discard(self._tell)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            _release(self._waiter)

    async def next(self, timeout: float) -> Change | None:
        """The next change, or None after `timeout` wall seconds or where the watch was closed."""
        if not self._ready and not self.closed:
            # by hand: `asyncio.wait_for` makes a task for each event, and there are hundreds of watches
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_later(timeout, _release, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        return self._ready.popleft() if self._ready else None


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def selected(event: Event, namespace: str, options: ListOptions) -> Change | None:
    """What an event is to a watcher: entering a selection is an addition, leaving it a deletion."""
    if namespace and event.new.namespace != namespace:
        return None
    if not options.labels and not options.fields:
        return (event.kind, event.new)
    now = event.kind != "DELETED" and matches(options, event.new)
    before = event.old is not None and matches(options, event.old)
    if now:
        return ("MODIFIED" if before else "ADDED", event.new)
    if not before:
        return None
    return (
        "DELETED",
        event.new if event.kind == "DELETED" or event.old is None else _as_of(event.old, event.new.version),
    )


def _as_of(old: Stored, version: int) -> Stored:
    """The last state that was selected, under the version of the change that took it out."""
    obj = old.decode()
    obj["metadata"]["resourceVersion"] = str(version)
    return Stored(old.namespace, old.name, old.uid, version, plain.text(obj), old.labels, old.fields)


def open_watch(store: Store, resource: Resource, namespace: str, options: ListOptions) -> Watching:
    """Start watching. Raises ApiError 410 or 504."""
    collection = store.collection(resource.storage_key)
    version = version_of(options.version, store)
    if version == 0 or options.initial:
        first: list[Change] = [("ADDED", one) for one in collection.sorted(namespace)[1] if matches(options, one)]
        if options.initial is False:
            first = []
    else:
        try:
            events = collection.since(version)
        except GoneError:
            raise expired(f"too old resource version: {version} ({collection.floor + 1})") from None
        first = [change for event in events if (change := selected(event, namespace, options)) is not None]
    return Watching(store, collection, namespace, options, first)


Encode = Callable[[str, Stored], bytes]


async def events(
    watching: Watching,
    store: Store,
    model: Model,
    options: ListOptions,
    encode: Encode,
    timeout: float,
    cut_after: int = -1,
) -> AsyncIterator[bytes]:
    """Encoded events until the time-out (in wall seconds), bookmarks among them."""
    loop = asyncio.get_running_loop()
    end, marked = loop.time() + timeout, store.version if not options.initial else -1
    next_mark = min(loop.time() + BOOKMARK_EVERY, end - BOOKMARK_BEFORE_END)
    initial = len(watching._ready) if options.initial else -1
    sent = 0
    try:
        while True:
            if initial == 0:
                yield bookmark(model, store.version, initial=True)
                initial, marked = -1, store.version
            now = loop.time()
            if now >= end:
                return
            change = await watching.next(max(0.0, min(end, next_mark if options.bookmarks else end) - now))
            if change is not None:
                yield encode(*change)
                sent += 1
                initial -= 1 if initial > 0 else 0
                if 0 <= cut_after <= sent:
                    return
            elif watching.closed:
                return
            elif options.bookmarks and loop.time() >= next_mark:
                if store.version != marked:
                    marked = store.version
                    yield bookmark(model, marked)
                last = end - BOOKMARK_BEFORE_END
                next_mark = min(loop.time() + BOOKMARK_EVERY, last) if loop.time() < last else end + 1
    finally:
        watching.close()


def bookmark(model: Model, version: int, *, initial: bool = False) -> bytes:
    """A BOOKMARK event."""
    meta: Json = {"resourceVersion": str(version), "creationTimestamp": None}
    if initial:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    obj = {"kind": model.resource.kind, "apiVersion": model.resource.api_version, "metadata": meta}
    return plain.text({"type": "BOOKMARK", "object": obj}) + b"\n"
