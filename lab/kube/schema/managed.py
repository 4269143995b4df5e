"""Who owns which field: managedFields of updates and of server-side apply.

Source: k8s.io/apimachinery/pkg/util/managedfields/internal (v0.33) and structured-merge-diff/v4/merge (4.6). The chain of
managers there is folded into two functions here, `update` and `apply`, in the same order of effects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

from lab.kube import plain
from lab.kube.errors import ApiError, bad_request, internal, quote
from lab.kube.plain import same
from lab.kube.schema import fieldset, smd
from lab.kube.schema.fieldset import FieldSet
from lab.kube.schema.smd import Atom

Json = dict[str, Any]
MOST_UPDATERS: Final = 10
ANCIENT: Final = "ancient-changes"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
STRIPPED: Final[FieldSet] = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        ".": {},
        "f:name": {},
        "f:namespace": {},
        "f:creationTimestamp": {},
        "f:selfLink": {},
        "f:uid": {},
        "f:clusterName": {},
        "f:generation": {},
        "f:managedFields": {},
        "f:resourceVersion": {},
    },
}


class Manager(NamedTuple):
    """A manager's identity. Appliers have no version in theirs."""

    name: str
    operation: str
    api_version: str
    subresource: str

    def printed(self) -> str:
        """As conflicts name it."""
        text = quote(self.name)
        if self.subresource:
            text += f" with subresource {quote(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


@dataclass(frozen=True, slots=True)
class Owned:
    """What one manager owns, in which version, since when."""

    fields: FieldSet
    api_version: str
    time: str | None

    def with_fields(self, fields: FieldSet) -> Owned:
        """The same with other fields."""
        return replace(self, fields=fields)


Managed = dict[Manager, Owned]


@dataclass(frozen=True, slots=True)
class Typing:
    """How a kind is typed: its version, the atom of each version, conversion, fields that requests reset."""

    api_version: str
    kind: str
    atom: Callable[[str], Atom | None]  # of "group/version"; None where it is not served any more
    convert: Callable[[Json, str], Json]  # to another version
    empty: Callable[[], Json]  # a new object, with the zero values of its type
    ignored: Mapping[str, FieldSet]  # by version
    subresource: str = ""
    default: Callable[[Json], Json] = lambda obj: obj  # after an apply


class ConflictsError(Exception):
    """An apply without force met other owners."""

    def __init__(self, conflicts: list[tuple[Manager, fieldset.Path]]) -> None:
        super().__init__("conflicts")
        self.conflicts = conflicts

    def answer(self) -> ApiError:
        """409 with one cause a field."""
        causes = [
            {
                "reason": "FieldManagerConflict",
                "message": f"conflict with {who.printed()}",
                "field": fieldset.spell(path),
            }
            for who, path in self.conflicts
        ]
        count = len(self.conflicts)
        if count == 1:
            who, path = self.conflicts[0]
            text = f"Apply failed with 1 conflict: conflict with {who.printed()}: {fieldset.spell(path)}"
        else:
            lines = []
            for who in sorted({who for who, _ in self.conflicts}, key=_identity):
                lines.append(f"conflicts with {who.printed()}:")
                lines += [f"- {fieldset.spell(path)}" for other, path in self.conflicts if other == who]
            text = f"Apply failed with {count} conflicts: " + "\n".join(lines)
        return ApiError(409, "Conflict", text, {"causes": causes})


def _identity(who: Manager) -> str:
    return json.dumps(who._asdict())


def decode(entries: Any) -> Managed:
    """managedFields by manager. Raises ValueError where they make no sense."""
    made: Managed = {}
    for entry in entries or ():
        operation, version = entry.get("operation", ""), entry.get("apiVersion", "")
        if operation not in ("Apply", "Update"):
            raise ValueError("operation must be `Apply` or `Update`")
        if not version:
            raise ValueError("apiVersion must not be empty")
        if entry.get("fieldsType") != "FieldsV1":
            raise ValueError(f"invalid fieldsType {quote(entry.get('fieldsType', ''))} in managed fields entry")
        fields = entry.get("fieldsV1") or {}
        if not _reads_well(plain.text(fields)):
            raise ValueError("error decoding set")
        who = Manager(
            entry.get("manager", ""), operation, version if operation == "Update" else "", entry.get("subresource", "")
        )
        made[who] = Owned(fields, version, entry.get("time"))
    return made


@lru_cache(maxsize=8192)
def _reads_well(fields: bytes) -> bool:
    """Remembered by text: each write reads all entries of an object, and mostly finds them as they were."""
    return _well_formed(plain.value_of(fields))


def _well_formed(fields: Any) -> bool:
    if not isinstance(fields, dict):
        return False
    return all(
        (key == "." or (len(key) > 1 and key[1] == ":" and key[0] in "fkvi")) and _well_formed(child)
        for key, child in fields.items()
    )


def encode(managed: Managed) -> list[Json]:
    """As in metadata: by operation, time, name."""
    made = []
    for who, owned in managed.items():
        entry: Json = {"manager": who.name, "operation": who.operation, "apiVersion": owned.api_version}
        if owned.time:
            entry["time"] = owned.time
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": owned.fields}
        if who.subresource:
            entry["subresource"] = who.subresource
        made.append(entry)
    return sorted(
        made,
        key=lambda entry: (
            entry["operation"],
            entry.get("time", ""),
            entry["manager"],
            entry["apiVersion"],
            entry.get("subresource", ""),
        ),
    )


def without(obj: Json) -> Json:
    """The object without managedFields; shares everything else."""
    meta = obj.get("metadata")
    if not isinstance(meta, dict) or "managedFields" not in meta:
        return obj
    return obj | {"metadata": {key: value for key, value in meta.items() if key != "managedFields"}}


def _entries(obj: Json) -> Any:
    meta = obj.get("metadata")
    return meta.get("managedFields") if isinstance(meta, dict) else None


def _live_or_new(live: Json, new: Json, subresource: str) -> Managed:
    """The managers to start from: the request may clear or replace them, on the main resource only."""
    theirs = _entries(new)
    try:
        if not subresource:
            if theirs == [] or (isinstance(theirs, list) and len(theirs) == 1 and not any(theirs[0].values())):
                return {}
            managed = decode(theirs)
            if managed:
                return managed
    except ValueError:
        pass
    try:
        return decode(_entries(live))
    except ValueError:
        return {}


# ------------------------------------------------------------------------------------------------------------- update
def update(live: Json, new: Json, typing: Typing, manager: str, now: str) -> list[Json]:
    """managedFields after a write of `new` over `live` (in the same version). Never fails: a muddle clears them.

    Source: FieldManager.UpdateNoErrors.
    """
    try:
        managed = _live_or_new(live, new, typing.subresource)
        if not managed and (live.get("metadata") or {}).get("uid"):
            return []
        who = Manager(manager or "unknown", "Update", typing.api_version, typing.subresource)
        managed = _track(without(live), without(new), typing, managed, who, now)
    except (ValueError, KeyError):
        return []
    return encode(_cap(managed))


def _track(live: Json, new: Json, typing: Typing, managed: Managed, who: Manager, now: str) -> Managed:
    """Source: managedFieldsUpdater, stripMeta and Updater.Update."""
    managed = _reconciled(live, typing, managed)
    managed, compared = _settle(live, new, typing, managed, None, force=True)
    version = typing.api_version
    taken = fieldset.union(compared.modified, compared.added)
    ignored = typing.ignored.get(version)
    if ignored:
        taken = fieldset.recursive_difference(taken, ignored)
    taken = fieldset.difference(taken, STRIPPED)
    if taken:
        before = managed.get(who)
        fields = fieldset.union(taken, before.fields) if before else taken
        managed[who] = Owned(fields, version, now)
    return managed


def _reconciled(live: Json, typing: Typing, managed: Managed) -> Managed:
    made = {}
    for who, owned in managed.items():
        atom = typing.atom(owned.api_version)
        if atom is not None:
            fits = _fits(plain.text(owned.fields), atom)
            made[who] = owned if fits else owned.with_fields(smd.reconcile(owned.fields, atom))
    return made


@lru_cache(maxsize=8192)
def _fits(fields: bytes, atom: Atom) -> bool:
    """Whether fields stand as the schema has them; remembered, as schemas hardly change."""
    given = plain.value_of(fields)
    return bool(smd.reconcile(given, atom) == given)


def _settle(
    live: Json, new: Json, typing: Typing, managed: Managed, workflow: Manager | None, *, force: bool
) -> tuple[Managed, smd.Comparison]:
    """Take what changed from its other owners. Raises ConflictsError. Source: Updater.update."""
    versions: dict[str, smd.Comparison] = {}
    managed = dict(managed)

    def compared(version: str) -> smd.Comparison | None:
        if version not in versions:
            atom = typing.atom(version)
            if atom is None:
                return None
            asked = version == typing.api_version
            old, now = (live, new) if asked else (typing.convert(live, version), typing.convert(new, version))
            found = smd.compare(old, now, atom)
            versions[version] = found.without(typing.ignored.get(version) or {})
        return versions[version]

    own = compared(typing.api_version) or smd.Comparison()
    conflicts: list[tuple[Manager, fieldset.Path]] = []
    changed: Managed = {}
    for who, owned in list(managed.items()):
        if who == workflow:
            continue
        found = compared(owned.api_version)
        if found is None:
            del managed[who]
            continue
        lost = fieldset.intersection(owned.fields, fieldset.union(found.modified, found.added))
        conflicts += [(who, path) for path in fieldset.paths(lost)]
        left = fieldset.difference(fieldset.difference(owned.fields, lost), found.removed)
        changed[who] = owned.with_fields(left)
    if conflicts and not force:
        raise ConflictsError(conflicts)
    managed |= changed
    return {who: owned for who, owned in managed.items() if owned.fields}, own


def _cap(managed: Managed) -> Managed:
    """At most ten updaters: the oldest are put together. Source: capManagersManager."""
    updaters = [who for who in managed if who.operation == "Update"]
    surplus = len(updaters) - MOST_UPDATERS
    if surplus <= 0:
        return managed
    updaters.sort(key=lambda who: (managed[who].time or "", _identity(who)))
    first: dict[str, Manager] = {}
    for who in updaters:
        if surplus <= 0:
            break
        owned = managed[who]
        version = owned.api_version
        if version not in first:
            first[version] = who
            continue
        bucket = Manager(ANCIENT, "Update", version, "")
        if bucket not in managed:
            managed[bucket] = managed.pop(first[version])
        joined = fieldset.union(owned.fields, managed[bucket].fields)
        managed[bucket] = Owned(joined, version, owned.time)
        managed.pop(who, None)
        surplus -= 1
    return managed


# -------------------------------------------------------------------------------------------------------------- apply
def apply(live: Json, patch: Json, typing: Typing, manager: str, *, force: bool, now: str) -> Json:
    """`patch` applied to `live`, managedFields included. Raises ApiError.

    Source: FieldManager.Apply. `live` is an empty object of its type where there is none yet.
    """
    said = (patch.get("apiVersion", ""), patch.get("kind", ""))
    if said != (typing.api_version, typing.kind):
        group, slash, version = str(said[0]).rpartition("/")
        what = f"{group}/{version}, Kind={said[1]}" if slash else f"/{version}, Kind={said[1]}"
        raise bad_request(f"invalid object type: {what}")
    try:
        managed = decode(_entries(live))
    except ValueError as error:
        raise internal(f"failed to decode managed fields: {error}") from error
    try:
        return _apply_or_take_over(live, patch, typing, managed, manager, force, now)
    except ConflictsError as error:
        raise error.answer() from None


def _apply_or_take_over(
    live: Json, patch: Json, typing: Typing, managed: Managed, manager: str, force: bool, now: str
) -> Json:
    """kubectl may take over what its own client-side apply had set. Source: lastAppliedManager, lastAppliedUpdater."""
    try:
        made = _first_apply(live, patch, typing, managed, manager, force, now)
    except ConflictsError as error:
        if manager != "kubectl":
            raise
        allowed = _last_applied_fields(live, typing)
        if allowed is None:
            raise
        left = [(who, path) for who, path in error.conflicts if not fieldset.has(allowed, path)]
        if left:
            raise ConflictsError(left) from None
        made = _first_apply(live, patch, typing, managed, manager, True, now)
    notes = (made.get("metadata") or {}).get("annotations") or {}
    if manager == "kubectl" and notes.get(LAST_APPLIED):
        meta = made["metadata"]
        made = made | {"metadata": meta | {"annotations": notes | {LAST_APPLIED: _last_applied(patch)}}}
    return made


def _last_applied(patch: Json) -> str:
    meta = dict(patch.get("metadata") or {})
    if isinstance(meta.get("annotations"), dict):
        meta["annotations"] = {key: value for key, value in meta["annotations"].items() if key != LAST_APPLIED}
        if not meta["annotations"]:
            del meta["annotations"]
    return json.dumps(patch | {"metadata": meta}, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def _last_applied_fields(live: Json, typing: Typing) -> FieldSet | None:
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    atom = typing.atom(typing.api_version)
    if not text or atom is None:
        return None
    try:
        last = json.loads(text)
        if not isinstance(last, dict) or last.get("apiVersion") != typing.api_version:
            return None
        smd.validate(last, atom)
        compared = smd.compare(last, live, atom)
        fields = smd.to_set(last, atom)
    except ValueError:
        return None
    for gone in (compared.modified, compared.added, compared.removed):
        fields = fieldset.difference(fields, gone)
    return fields


def _first_apply(
    live: Json, patch: Json, typing: Typing, managed: Managed, manager: str, force: bool, now: str
) -> Json:
    """Fields that nobody tracked yet get an owner of their own. Source: skipNonAppliedManager, capManagersManager."""
    if not managed:
        before = Manager("before-first-apply", "Update", typing.api_version, typing.subresource)
        managed = _cap(_track(typing.empty(), without(live), typing, {}, before, now))
    who = Manager(manager or "unknown", "Apply", "", typing.subresource)
    new, managed = _merge(live, patch, typing, managed, who, force)
    if who in managed:
        fields = fieldset.difference(managed[who].fields, STRIPPED)
        if fields:
            time = now if new is not None else managed[who].time
            managed[who] = replace(managed[who], fields=fields, time=time)
        else:
            del managed[who]
    made = without(live) if new is None else new
    meta = dict(made.get("metadata") or {})
    meta.pop("managedFields", None)
    if managed:
        meta["managedFields"] = encode(managed)
    return made | {"metadata": meta}


def _merge(
    live: Json, patch: Json, typing: Typing, managed: Managed, who: Manager, force: bool
) -> tuple[Json | None, Managed]:
    """The merged object (None where nothing changes) and its owners. Source: structuredMergeManager, Updater.Apply."""
    meta = patch.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    version = typing.api_version
    atom = typing.atom(version)
    if atom is None:
        raise internal(f"no corresponding type for {version}, Kind={typing.kind}")
    try:
        smd.validate(patch, atom)
    except smd.TypedError as error:
        where = f"{(meta or {}).get('namespace', '')}/{(meta or {}).get('name', '')}" if isinstance(meta, dict) else "/"
        group, slash, short = version.rpartition("/")
        what = f"{where}; {group}/{short}, Kind={typing.kind}" if slash else f"{where}; /{short}, Kind={typing.kind}"
        raise internal(f"failed to create typed patch object ({what}): {error}") from error
    live = without(live)
    managed = _reconciled(live, typing, managed)
    last = managed.get(who)
    merged = smd.merge(live, patch, atom)
    fields = smd.to_set(patch, atom)
    ignored = typing.ignored.get(version)
    if ignored:
        fields = fieldset.recursive_difference(fields, ignored)
    managed[who] = Owned(fields, version, last.time if last else None)
    if last and last.fields:
        merged = _prune(merged, typing, managed, last)
    managed, _ = _settle(live, merged, typing, managed, who, force=force)
    if same(live, merged):
        return None, managed
    return merged, managed


def _prune(merged: Json, typing: Typing, managed: Managed, last: Owned) -> Json:
    """Without what the manager applied before and neither applies now nor anybody else owns. Source: Updater.prune."""
    atom = typing.atom(last.api_version)
    if atom is None:
        return merged
    there = merged if last.api_version == typing.api_version else typing.convert(merged, last.api_version)
    pruned = smd.remove(there, named_set(last.fields, atom), atom)
    pruned = _add_back_owned(there, pruned, typing, managed, last.api_version)
    in_last = there
    pruned_set = named_set(smd.to_set(pruned, atom), atom)
    merged_set = named_set(smd.to_set(in_last, atom), atom)
    gone = fieldset.intersection(fieldset.difference(merged_set, pruned_set), named_set(last.fields, atom))
    made = smd.remove(in_last, gone, atom) or {}
    if last.api_version != typing.api_version:
        made = typing.convert(made, typing.api_version)
    return dict(made)


def named_set(fields: FieldSet, atom: Atom) -> FieldSet:
    """Short for smd.named_members."""
    return smd.named_members(fields, atom)


def _add_back_owned(merged: Any, pruned: Any, typing: Typing, managed: Managed, version: str) -> Any:
    at: dict[str, FieldSet] = {}
    for owned in managed.values():
        at[owned.api_version] = fieldset.union(at.get(owned.api_version, {}), owned.fields)
    order = [version] if version in at else []
    current = version
    for there in [*order, *(other for other in at if other != version)]:
        atom = typing.atom(there)
        if atom is None:
            continue
        if there != current:
            merged, pruned, current = typing.convert(merged, there), typing.convert(pruned or {}, there), there
        kept = fieldset.union(named_set(smd.to_set(pruned, atom), atom), named_set(at[there], atom))
        gone = fieldset.difference(named_set(smd.to_set(merged, atom), atom), kept)
        pruned = smd.remove(merged, gone, atom)
    return typing.convert(pruned or {}, version) if current != version else pruned
