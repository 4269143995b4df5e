"""Metadata of objects: what validation says of it at creation and at updates.

Source: k8s.io/apimachinery/pkg/api/validation objectmeta.go (v0.33).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from lab.kube import errors, names
from lab.kube.errors import FieldError

Json = dict[str, Any]
NameCheck = Callable[[str, bool], list[str]]
IMMUTABLE: Final = "field is immutable"
ANNOTATIONS_LIMIT_BYTES: Final = 256 * 1024
BANNED_OWNERS: Final = {("v1", "Event")}
STANDARD_FINALIZERS: Final = {"foregroundDeletion", "orphan", "kubernetes"}


def subdomain(name: str, prefix: bool) -> list[str]:
    """NameIsDNSSubdomain."""
    return names.dns1123_subdomain(names.masked(name) if prefix else name)


def label(name: str, prefix: bool) -> list[str]:
    """NameIsDNSLabel."""
    return names.dns1123_label(names.masked(name) if prefix else name)


def label_1035(name: str, prefix: bool) -> list[str]:
    """NameIsDNS1035Label."""
    return names.dns1035_label(names.masked(name) if prefix else name)


def path_segment(name: str, prefix: bool) -> list[str]:
    """Names of RBAC objects."""
    return names.path_segment(name, prefix=prefix)


def labels(values: Any, field: str) -> list[FieldError]:
    """Keys and values of labels."""
    found = []
    for key, value in (values or {}).items():
        found += [errors.wrong(field, key, text) for text in names.qualified_name(key)]
        found += [errors.wrong(field, value, text) for text in names.label_value(value)]
    return found


def annotation_map(values: Any, field: str) -> list[FieldError]:
    """Keys of annotations, and their size."""
    found, size = [], 0
    for key, value in (values or {}).items():
        size += len(key.encode()) + len(value.encode())
        found += [errors.wrong(field, key, text) for text in names.qualified_name(key.lower())]
    if size > ANNOTATIONS_LIMIT_BYTES:
        found.append(errors.too_long(field, ANNOTATIONS_LIMIT_BYTES))
    return found


def finalizer_name(value: str, field: str) -> list[FieldError]:
    """One finalizer, as every kind takes it."""
    return [errors.wrong(field, value, text) for text in names.qualified_name(value)]


def owners(values: Any, field: str) -> list[FieldError]:
    """ownerReferences."""
    found, controllers = [], 0
    first = ""
    for owner in values or ():
        here = field
        version = owner.get("apiVersion", "")
        if version.count("/") > 1 or not version.rpartition("/")[2]:
            found.append(errors.wrong(f"{here}.apiVersion", version, "version must not be empty"))
        if not owner.get("kind"):
            found.append(errors.wrong(f"{here}.kind", owner.get("kind", ""), "kind must not be empty"))
        if not owner.get("name"):
            found.append(errors.wrong(f"{here}.name", owner.get("name", ""), "name must not be empty"))
        if not owner.get("uid"):
            found.append(errors.wrong(f"{here}.uid", owner.get("uid", ""), "uid must not be empty"))
        if (version, owner.get("kind")) in BANNED_OWNERS:
            found.append(
                errors.wrong(here, owner, f"{version}, Kind={owner['kind']} is disallowed from being an owner")
            )
        if owner.get("controller"):
            controllers += 1
            name = owner.get("name", "")
            if controllers == 1:
                first = name
            else:
                text = f'Only one reference can have Controller set to true. Found "true" in references for {first} and {name}'
                found.append(errors.wrong(field, values, text))
    return found


def validate(meta: Json, namespaced: bool, check: NameCheck, field: str = "metadata") -> list[FieldError]:
    """A new object's metadata."""
    found: list[FieldError] = []
    name, generate, namespace = meta.get("name", ""), meta.get("generateName", ""), meta.get("namespace", "")
    if generate:
        found += [errors.wrong(f"{field}.generateName", generate, text) for text in check(generate, True)]
    if not name:
        found.append(errors.required(f"{field}.name", "name or generateName is required"))
    else:
        found += [errors.wrong(f"{field}.name", name, text) for text in check(name, False)]
    if namespaced:
        if not namespace:
            found.append(errors.required(f"{field}.namespace"))
        else:
            found += [errors.wrong(f"{field}.namespace", namespace, text) for text in names.dns1123_label(namespace)]
    elif namespace:
        found.append(errors.forbidden_field(f"{field}.namespace", "not allowed on this type"))
    return found + common(meta, field)


def common(meta: Json, field: str = "metadata") -> list[FieldError]:
    """What creation and updates both ask."""
    found: list[FieldError] = []
    if (meta.get("generation") or 0) < 0:
        found.append(errors.wrong(f"{field}.generation", meta["generation"], "must be greater than or equal to 0"))
    found += labels(meta.get("labels"), f"{field}.labels")
    found += annotation_map(meta.get("annotations"), f"{field}.annotations")
    found += owners(meta.get("ownerReferences"), f"{field}.ownerReferences")
    found += _finalizers(meta.get("finalizers"), f"{field}.finalizers")
    return found + managed(meta.get("managedFields"), f"{field}.managedFields")


def _finalizers(values: Any, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for value in values or ():
        found += finalizer_name(value, field)
    if "orphan" in (values or ()) and "foregroundDeletion" in (values or ()):
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(errors.wrong(field, list(values), text))
    return found


def managed(entries: Any, field: str) -> list[FieldError]:
    """managedFields as a client sent them."""
    found = []
    for place, entry in enumerate(entries or ()):
        here = f"{field}[{place}]"
        operation = entry.get("operation", "")
        if operation not in ("Apply", "Update"):
            found.append(errors.wrong(f"{here}.operation", operation, "must be `Apply` or `Update`"))
        sort = entry.get("fieldsType", "")
        if sort and sort != "FieldsV1":
            found.append(errors.wrong(f"{here}.fieldsType", sort, "must be `FieldsV1`"))
        manager = entry.get("manager", "")
        found += field_manager(manager, f"{here}.manager")
        if len(entry.get("subresource", "")) > 256:
            found.append(errors.too_long(f"{here}.subresource", 256))
    return found


def field_manager(manager: str, field: str) -> list[FieldError]:
    """The name of a field manager."""
    if len(manager) > 128:
        return [errors.too_long(field, 128)]
    if manager.isprintable():
        return []
    bad = next(place for place, char in enumerate(manager) if not char.isprintable())
    return [errors.wrong(field, manager, f"invalid character {hex(ord(manager[bad]))} (at position {bad})")]


def validate_update(new: Json, old: Json, field: str = "metadata") -> list[FieldError]:
    """An updated object's metadata; both are complete. `new` may be corrected in place as the real server does."""
    found: list[FieldError] = []
    found += _kept_finalizers(new, old, field)
    if (new.get("generation") or 0) < (old.get("generation") or 0):
        found.append(errors.wrong(f"{field}.generation", new.get("generation", 0), "must not be decremented"))
    for key in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if new.get(key) != old.get(key) and (new.get(key) or old.get(key)):
            found.append(errors.wrong(f"{field}.{key}", _shown(new.get(key)), IMMUTABLE))
    if not new.get("resourceVersion"):
        found.append(errors.wrong(f"{field}.resourceVersion", "", "must be specified for an update"))
    found += labels(new.get("labels"), f"{field}.labels")
    found += annotation_map(new.get("annotations"), f"{field}.annotations")
    found += owners(new.get("ownerReferences"), f"{field}.ownerReferences")
    return found + managed(new.get("managedFields"), f"{field}.managedFields")


def _shown(value: Any) -> Any:
    return "" if value is None else value


def _kept_finalizers(new: Json, old: Json, field: str) -> list[FieldError]:
    if not old.get("deletionTimestamp"):
        return []
    added = [one for one in new.get("finalizers") or () if one not in (old.get("finalizers") or ())]
    if not added:
        return []
    text = "no new finalizers can be added if the object is being deleted, found new finalizers "
    return [errors.forbidden_field(f"{field}.finalizers", text + go_strings(added))]


def go_strings(values: list[str]) -> str:
    """Go's %#v of a []string."""
    return "[]string{" + ", ".join(json.dumps(value) for value in values) + "}"


def deduplicate_owners(meta: Json) -> list[str]:
    """Drop repeated owners by uid, in place; a warning where there were any.

    Source: k8s.io/apiserver/pkg/endpoints/handlers rest.go dedupOwnerReferences.
    """
    found = meta.get("ownerReferences")
    if not isinstance(found, list) or len(found) < 2:
        return []
    seen: set[str] = set()
    kept, dropped = [], []
    for owner in found:
        key = json.dumps(owner, sort_keys=True)
        if key in seen:
            dropped.append(owner.get("uid", ""))
            continue
        seen.add(key)
        kept.append(owner)
    if not dropped:
        return []
    meta["ownerReferences"] = kept
    listed = ", ".join(sorted(set(dropped)))
    return [
        f".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may "
        f"reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {listed}"
    ]


UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
