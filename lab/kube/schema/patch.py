"""JSON patch, JSON merge patch and strategic merge patch, as the real server applies them.

Source: gopkg.in/evanphx/json-patch.v4 (4.12) and k8s.io/apimachinery/pkg/util/strategicpatch (v0.33).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from lab.kube.errors import ApiError, bad_request, internal
from lab.kube.plain import clone

Json = dict[str, Any]


def unprocessable() -> ApiError:
    """422 of a patch that cannot be applied; the real server does not say why."""
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})


# ----------------------------------------------------------------------------------------------------------- JSON patch
def json_patch(document: Any, operations: Any) -> Any:
    """Raises ApiError 400 for what is no patch, 422 for what does not apply."""
    if not isinstance(operations, list):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        )
    holder = [clone(document)]
    try:
        for operation in operations:
            _apply_operation(holder, operation)
    except (KeyError, IndexError, ValueError, TypeError):
        raise unprocessable() from None
    return holder[0]


def _apply_operation(holder: list[Any], operation: Json) -> None:
    sort, path = operation.get("op"), operation["path"]
    if sort == "add":
        _add(holder, path, operation.get("value"))
    elif sort == "remove":
        _remove(holder, path)
    elif sort == "replace":
        _replace(holder, path, operation.get("value"))
    elif sort == "move":
        value = _get(holder, operation["from"])
        _remove(holder, operation["from"])
        _add(holder, path, value)
    elif sort == "copy":
        _add(holder, path, clone(_get(holder, operation["from"])))
    elif sort == "test":
        _test(holder, path, operation.get("value"))
    else:
        raise ValueError(f"Unexpected kind: {sort}")


def _find(holder: list[Any], path: str) -> tuple[Any, str]:
    """The container and the last key. Raises KeyError where there is none."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]
    if len(parts) < 2:
        raise KeyError(path)
    node = holder[0]
    for part in parts[1:-1]:
        node = node[_index(node, part)] if isinstance(node, list) else node[part]
        if not isinstance(node, dict | list):
            raise KeyError(path)
    return node, parts[-1]


def _index(items: list[Any], key: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", key):
        raise ValueError(key)
    place = int(key)
    if place < 0:
        place += len(items)
    if not 0 <= place < len(items):
        raise IndexError(key)
    return place


def _get(holder: list[Any], path: str) -> Any:
    node, key = _find(holder, path)
    return node[_index(node, key)] if isinstance(node, list) else node.get(key)


def _add(holder: list[Any], path: str, value: Any) -> None:
    node, key = _find(holder, path)
    if not isinstance(node, list):
        node[key] = value
    elif key == "-":
        node.append(value)
    else:
        place = int(key) if re.fullmatch(r"[+-]?\d+", key) else None
        if place is None or place > len(node) or place < -(len(node) + 1):
            raise IndexError(key)
        node.insert(place if place >= 0 else place + len(node) + 1, value)


def _remove(holder: list[Any], path: str) -> None:
    node, key = _find(holder, path)
    del node[_index(node, key) if isinstance(node, list) else key]


def _replace(holder: list[Any], path: str, value: Any) -> None:
    if path == "":
        if not isinstance(value, dict | list):
            raise ValueError("replace operation value must be object or array")
        holder[0] = value
        return
    node, key = _find(holder, path)
    node[_index(node, key) if isinstance(node, list) else key] = value


def _test(holder: list[Any], path: str, value: Any) -> None:
    found = holder[0] if path == "" else _get(holder, path)
    if found != value:
        raise ValueError(f"testing value {path} failed")


# ---------------------------------------------------------------------------------------------------------- merge patch
def merge_patch(document: Any, patch: Any) -> Any:
    """RFC 7386. Shares what it does not change."""
    if not isinstance(patch, dict):
        return patch
    made = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, dict):
            made[key] = merge_patch(made.get(key), value)
        else:
            made[key] = value
    return made


# ------------------------------------------------------------------------------------------------------ strategic merge
DIRECTIVE: Final = "$patch"
DELETE_PREFIX: Final = "$deleteFromPrimitiveList"
ORDER_PREFIX: Final = "$setElementOrder"
RETAIN: Final = "$retainKeys"


class Lookup:
    """Patch strategies, read from OpenAPI schemas."""

    def __init__(self, models: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
        self._models = models
        self._schema = self._resolve(schema)

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        reference = schema.get("$ref") or next(
            (part["$ref"] for part in schema.get("allOf", ()) if "$ref" in part), None
        )
        return self._models[reference.rpartition("/")[2]] if reference else schema

    def below(self, key: str) -> tuple[Lookup, str, str]:
        """The schema of a field (of its items, for a list), its strategy without retainKeys, its merge key."""
        found = (self._schema.get("properties") or {}).get(key)
        if found is None:
            more = self._schema.get("additionalProperties")
            found = more if isinstance(more, dict) else {}
        strategies = [
            part for part in str(found.get("x-kubernetes-patch-strategy", "")).split(",") if part != "retainKeys"
        ]
        merge_key = found.get("x-kubernetes-patch-merge-key", "")
        inner = self._resolve(found)
        if inner.get("type") == "array":
            inner = inner.get("items", {})
        return Lookup(self._models, inner), strategies[0] if strategies else "", merge_key


def strategic(document: Json, patch: Json, lookup: Lookup) -> Json:
    """Raises ApiError where directives make no sense."""
    return _merge_map(clone(document), clone(patch), lookup)


def _no_merge_key(item: Any, key: str) -> ApiError:
    return internal(f"map: {_go_map(item)} does not contain declared merge key: {key}")


def _go_map(value: Any) -> str:
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_go_map(entry)}" for key, entry in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_go_map, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)


def _merge_map(original: Json, patch: Json, lookup: Lookup) -> Json:
    if DIRECTIVE in patch:
        directive = patch.pop(DIRECTIVE)
        if directive == "replace":
            return patch
        if directive == "delete":
            return {}
        raise internal(f"unknown patch type {_go_map(directive)} in map: {_go_map(patch)}")
    _retain_keys(original, patch)
    _set_element_order(original, patch, lookup)
    for key, value in patch.items():
        deletes = key.startswith(DELETE_PREFIX)
        if deletes:
            key = key.removeprefix(DELETE_PREFIX + "/")
        if value is None:
            original.pop(key, None)
        elif key not in original or not _same_sort(original[key], value):
            if not deletes:
                _take(original, key, value)
        elif isinstance(value, dict):
            below, strategy, _ = lookup.below(key)
            original[key] = value if strategy == "replace" else _merge_map(original[key], value, below)
        elif isinstance(value, list):
            below, strategy, merge_key = lookup.below(key)
            original[key] = _merge_list(original[key], value, below, strategy, merge_key, deletes)
        else:
            original[key] = value
    return original


def _same_sort(one: Any, other: Any) -> bool:
    return type(one) is type(other)


def _take(original: Json, key: str, value: Any) -> None:
    """A value that was not there before (or was of another type): without nulls and directives."""
    _discard_nulls(value)
    value, kept = _without_directives(value)
    if kept:
        original[key] = value
    else:
        original.pop(key, None)


def _discard_nulls(value: Any) -> None:
    if isinstance(value, dict):
        for key in [key for key, entry in value.items() if entry is None]:
            del value[key]
        for entry in value.values():
            _discard_nulls(entry)
    elif isinstance(value, list):
        for entry in value:
            _discard_nulls(entry)


def _without_directives(value: Any) -> tuple[Any, bool]:
    """Source: removeDirectives."""
    if isinstance(value, dict):
        if value.get(DIRECTIVE) == "delete":
            return None, False
        made = {}
        for key, entry in value.items():
            if key in (DIRECTIVE, RETAIN) or key.startswith((ORDER_PREFIX, DELETE_PREFIX)):
                continue
            done, kept = _without_directives(entry)
            if kept:
                made[key] = done
        return made, True
    if isinstance(value, list):
        pairs = [_without_directives(entry) for entry in value]
        return [done for done, kept in pairs if kept], True
    return value, True


def _retain_keys(original: Json, patch: Json) -> None:
    if RETAIN not in patch:
        return
    kept = patch.pop(RETAIN)
    words = "invalid patch format of $retainKeys"
    if not isinstance(kept, list):
        raise bad_request(words)
    for key, value in patch.items():
        if value is not None and not key.startswith((DELETE_PREFIX, ORDER_PREFIX)) and key not in kept:
            raise bad_request(words)
    for key in [key for key in original if key not in kept]:
        del original[key]


def _set_element_order(original: Json, patch: Json, lookup: Lookup) -> None:
    for key in [key for key in patch if key.startswith(ORDER_PREFIX)]:
        order = patch.pop(key)
        name = key.removeprefix(ORDER_PREFIX + "/")
        if not isinstance(order, list):
            raise bad_request("invalid patch format of $setElementOrder list")
        below, strategy, merge_key = lookup.below(name)
        mine, theirs = original.get(name), patch.get(name)
        if mine is None and theirs is None:
            continue
        server = list(mine) if isinstance(mine, list) else []
        if mine is None:
            merged, _ = _without_directives(theirs)
        elif theirs is None:
            merged = list(server)
        else:
            merged = _merge_list(mine, theirs, below, strategy, merge_key, False)
        ordered, only_server = _partition(merged, order, merge_key)
        original[name] = _interleave(ordered, only_server, order, server, merge_key)
        patch.pop(name, None)


def _key_of(item: Any, merge_key: str) -> Any:
    if not merge_key:
        return item
    if not isinstance(item, dict) or merge_key not in item:
        raise _no_merge_key(item, merge_key)
    return item[merge_key]


def _partition(items: list[Any], by: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    keys = [_key_of(item, merge_key) for item in by]
    inside = [item for item in items if _key_of(item, merge_key) in keys]
    return inside, [item for item in items if _key_of(item, merge_key) not in keys]


def _interleave(
    ordered: list[Any], only_server: list[Any], order: list[Any], server: list[Any], merge_key: str
) -> list[Any]:
    """The patch's items in its order, the server's own among them where they stood. Source: normalizeElementOrder."""
    wished = [_key_of(item, merge_key) for item in order]
    stood = [_key_of(item, merge_key) for item in server]
    right = sorted(ordered, key=lambda item: wished.index(_key_of(item, merge_key)))
    left = sorted(
        only_server, key=lambda item: stood.index(_key_of(item, merge_key)) if _key_of(item, merge_key) in stood else -1
    )
    made = []
    while left or right:
        if not left:
            made.append(right.pop(0))
        elif not right:
            made.append(left.pop(0))
        else:
            one, other = _key_of(left[0], merge_key), _key_of(right[0], merge_key)
            first = one in stood and other in stood and stood.index(one) < stood.index(other)
            made.append(left.pop(0) if first else right.pop(0))
    return made


def _merge_list(
    original: list[Any], patch: list[Any], lookup: Lookup, strategy: str, merge_key: str, deletes: bool
) -> list[Any]:
    if strategy != "merge" and not deletes:
        return patch
    if not original and not patch:
        return original
    if not any(isinstance(item, dict) for item in (*original, *patch)):
        if deletes:
            return [item for item in original if item not in patch]
        merged = list(dict.fromkeys([*original, *patch]))
        ordered, only_server = _partition(merged, patch, "")
        return _interleave(ordered, only_server, patch, original, "")
    if not merge_key:
        raise internal("cannot merge lists without merge key")
    kept, plain = _special_elements(original, patch, merge_key)
    merged = _merge_items(list(kept), plain, lookup, merge_key)
    ordered, only_server = _partition(merged, plain, merge_key)
    return _interleave(ordered, only_server, plain, kept, merge_key)


def _special_elements(original: list[Any], patch: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    plain, replaces = [], False
    for item in patch:
        if not isinstance(item, dict):
            raise internal("list element types are not identical")
        directive = item.get(DIRECTIVE)
        if directive is None:
            plain.append(item)
        elif directive == "delete":
            gone = _key_of(item, merge_key)
            original = [entry for entry in original if _key_of(entry, merge_key) != gone]
        elif directive == "replace":
            replaces = True
        else:
            raise internal(f"unknown patch type {_go_map(directive)} in map: {_go_map(item)}")
    return (plain, []) if replaces else (original, plain)


def _merge_items(original: list[Any], patch: list[Any], lookup: Lookup, merge_key: str) -> list[Any]:
    for item in patch:
        key = _key_of(item, merge_key)
        place = next((place for place, entry in enumerate(original) if _key_of(entry, merge_key) == key), None)
        if place is None:
            original.append(item)
        else:
            original[place] = _merge_map(original[place], item, lookup)
    return original
