"""Structured merge: typed values, their comparison, merging and pruning, on which server-side apply stands.

Source: sigs.k8s.io/structured-merge-diff/v4/typed (4.6) and k8s.io/kube-openapi/pkg/schemaconv.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lab.kube.plain import canonical
from lab.kube.plain import same as identical
from lab.kube.schema import fieldset
from lab.kube.schema.fieldset import FieldSet

ABSENT: Final[Any] = type("Absent", (), {"__repr__": lambda self: "ABSENT"})()


class TypedError(ValueError):
    """A value does not fit its schema; the text begins with the path."""


class Atom:
    """What a value may be: a scalar, a list, a map, or several of them."""

    __slots__ = ("_parts", "deduced", "list", "map", "scalar")

    def __init__(self, scalar: str = "", list_: ListType | None = None, map_: MapType | None = None) -> None:
        self.scalar = scalar  # "", "string", "numeric", "boolean", "untyped"
        self.list = list_
        self.map = map_
        self.deduced = False
        self._parts: dict[str, Atom] = {}

    def of(self, value: Any) -> Atom:
        """The part that fits the value; all of it where none does."""
        if value is ABSENT or value is None:
            return self
        if isinstance(value, dict):
            return self._only("map") if self.map and (self.list or self.scalar) else self
        if isinstance(value, list):
            return self._only("list") if self.list and (self.map or self.scalar) else self
        return self._only("scalar") if self.scalar and (self.map or self.list) else self

    def _only(self, sort: str) -> Atom:
        """One of several parts: "scalar", "list" or "map"."""
        made = self._parts.get(sort)
        if made is None:
            made = self._parts[sort] = Atom()
            setattr(made, sort, getattr(self, sort))
        return made


class ListType:
    """A list: atomic, a set (no keys), or a map (keys)."""

    __slots__ = ("associative", "element", "keys")

    def __init__(self, element: Atom, *, associative: bool = False, keys: tuple[str, ...] = ()) -> None:
        self.element, self.associative, self.keys = element, associative, keys


class MapType:
    """A struct (`fields`), a map (`element`), or both. `defaults` are those of its fields."""

    __slots__ = ("atomic", "defaults", "element", "fields")

    def __init__(
        self,
        fields: Mapping[str, Atom],
        element: Atom | None,
        *,
        atomic: bool = False,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.fields, self.element, self.atomic = dict(fields), element, atomic
        self.defaults = dict(defaults or {})

    def type_of(self, key: str) -> Atom | None:
        """The type of a field; None where the schema declares none."""
        return self.fields.get(key, self.element)


def _untyped() -> tuple[Atom, Atom]:
    atomic = Atom("untyped")
    atomic.list, atomic.map = ListType(atomic), MapType({}, atomic, atomic=True)
    deduced = Atom("untyped")
    deduced.list, deduced.map = ListType(atomic), MapType({}, deduced)
    deduced.deduced = True
    return atomic, deduced


UNTYPED_ATOMIC, DEDUCED = _untyped()


class SchemaReader:
    """OpenAPI v3 schemas as atoms. References are read once each."""

    def __init__(self, models: Mapping[str, Any], preserve: bool = False) -> None:
        self._models, self._preserve = models, preserve
        self._named: dict[str, Atom] = {}

    def named(self, name: str) -> Atom:
        """The atom of a model."""
        atom = self._named.get(name)
        if atom is None:
            atom = self._named[name] = Atom()
            if name.endswith("api.resource.Quantity"):
                atom.scalar = "untyped"
            elif name.endswith("pkg.runtime.RawExtension"):
                atom.scalar, atom.list, atom.map = "untyped", UNTYPED_ATOMIC.list, UNTYPED_ATOMIC.map
            else:
                self._fill(atom, self._models[name], self._preserve)
        return atom

    def atom(self, schema: Mapping[str, Any], preserve: bool = False) -> Atom:
        """The atom of a schema in place."""
        reference = schema.get("$ref") or next(
            (part["$ref"] for part in schema.get("allOf", ()) if len(schema["allOf"]) == 1 and "$ref" in part), None
        )
        if reference:
            found = self.named(reference.rpartition("/")[2])
            relation = schema.get("x-kubernetes-map-type")
            if relation and found.map:
                changed = Atom(found.scalar, found.list, None)
                inner = found.map
                changed.map = MapType(inner.fields, inner.element, atomic=relation == "atomic", defaults=inner.defaults)
                return changed
            return found
        made = Atom()
        self._fill(made, schema, preserve)
        return made

    def _fill(self, atom: Atom, schema: Mapping[str, Any], preserve: bool) -> None:
        preserve = preserve or schema.get("x-kubernetes-preserve-unknown-fields") is True
        sort = schema.get("type", "")
        if sort in ("", "object"):
            atom.map = MapType({}, None)
            self._object(atom.map, schema, preserve)
        if sort in ("", "array"):
            atom.list = self._list(schema, preserve)
        if sort == "":
            atom.scalar = "untyped"
        elif sort in ("integer", "number"):
            atom.scalar = "numeric"
        elif sort == "boolean":
            atom.scalar = "boolean"
        elif sort == "string":
            atom.scalar = "string" if schema.get("format", "") in ("", "byte") else "untyped"

    def _object(self, made: MapType, schema: Mapping[str, Any], preserve: bool) -> None:
        properties = schema.get("properties") or {}
        for name, member in properties.items():
            made.fields[name] = self.atom(member, preserve)
            if "default" in member:
                made.defaults[name] = member["default"]
        more = schema.get("additionalProperties")
        if more is None:
            made.element = DEDUCED if preserve or not properties else None
        elif isinstance(more, dict):
            made.element = self.atom(more, preserve)
        else:
            made.element = DEDUCED if more else None
        made.atomic = schema.get("x-kubernetes-map-type") == "atomic"

    def _list(self, schema: Mapping[str, Any], preserve: bool) -> ListType:
        element = self.atom(schema["items"], preserve) if "items" in schema else UNTYPED_ATOMIC
        relation = schema.get("x-kubernetes-list-type")
        if relation == "set":
            return ListType(element, associative=True)
        if relation == "map":
            return ListType(element, associative=True, keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()))
        if relation is None and "merge" in str(schema.get("x-kubernetes-patch-strategy", "")).split(","):
            key = schema.get("x-kubernetes-patch-merge-key")
            return ListType(element, associative=True, keys=(key,) if key else ())
        return ListType(element)


# ------------------------------------------------------------------------------------------------------ path elements
def field(name: str) -> str:
    """The path element of a field."""
    return f"f:{name}"


def item_element(kind: ListType, item: Any) -> str:
    """The path element of an item of an associative list. Raises TypedError."""
    if not kind.keys:
        if isinstance(item, dict):
            raise TypedError("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise TypedError("not supported: associative list with lists as elements")
        if item is None:
            raise TypedError("associative list without keys has an element that's an explicit null")
        return f"v:{fieldset.to_text(item)}"
    if item is None:
        raise TypedError("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise TypedError("associative list with keys may not have non-map elements")
    defaults = kind.element.map.defaults if kind.element.map else {}
    pairs = {}
    for key in kind.keys:
        if key in item:
            pairs[key] = item[key]
        elif defaults.get(key) is not None:
            pairs[key] = defaults[key]
        else:
            raise TypedError(
                f'associative list with keys has an element that omits key field "{key}" (and doesn\'t have default value)'
            )
    return "k:" + canonical(pairs).decode()


# --------------------------------------------------------------------------------------------------------- validation
def validate(value: Any, atom: Atom, *, allow_duplicates: bool = False) -> None:
    """Whether a value fits. Raises TypedError with every complaint, joined as Go joins them."""
    found: list[tuple[str, str]] = []
    _validate(value, atom, "", allow_duplicates, found)
    if found:
        texts = [f"{path}: {text}" if path else text for path, text in found]
        raise TypedError(texts[0] if len(texts) == 1 else "errors:\n" + "\n".join(f"  {text}" for text in texts))


def _validate(value: Any, atom: Atom, path: str, duplicates: bool, found: list[tuple[str, str]]) -> None:
    kind = atom.of(value)
    if kind.map:
        if value is None:
            return
        if not isinstance(value, dict):
            found.append((path, f"expected map, got &{{{go_value(value)}}}"))
            return
        for key, entry in value.items():
            inner = kind.map.type_of(key)
            if inner is None:
                found.append((f"{path}.{key}", "field not declared in schema"))
                return
            _validate(entry, inner, f"{path}.{key}", duplicates, found)
    elif kind.scalar:
        complaint = _scalar_complaint(kind.scalar, value)
        if complaint:
            found.append((path, complaint))
    elif kind.list:
        if value is None:
            return
        if not isinstance(value, list):
            found.append((path, f"expected list, got &{{{go_value(value)}}}"))
            return
        _validate_items(value, kind.list, path, duplicates, found)


def _validate_items(
    value: list[Any], kind: ListType, path: str, duplicates: bool, found: list[tuple[str, str]]
) -> None:
    seen = set()
    for place, entry in enumerate(value):
        element = f"[{place}]"
        if kind.associative:
            try:
                raw = item_element(kind, entry)
            except TypedError as error:
                found.append((path, f"element {place}: {error}"))
                return
            element = fieldset.spell((raw,))
            if raw in seen and not duplicates:
                found.append((path, f"duplicate entries for key {element}"))
            seen.add(raw)
        _validate(entry, kind.element, path + element, duplicates, found)


def _scalar_complaint(scalar: str, value: Any) -> str:
    if value is None:
        return ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if scalar == "numeric" and not number:
        return f"expected numeric (int or float), got {_go_type(value)}"
    if scalar == "string" and not isinstance(value, str):
        return f"expected string, got &value.valueUnstructured{{Value:{go_syntax(value)}}}"
    if scalar == "boolean" and not isinstance(value, bool):
        return f"expected boolean, got &{{{go_value(value)}}}"
    if scalar == "untyped" and isinstance(value, dict | list):
        return f"expected any scalar, got &{{{go_value(value)}}}"
    return ""


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "[]interface {}" if isinstance(value, list) else "map[string]interface {}"


def go_value(value: Any) -> str:
    """Go's %v."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_value(entry)}" for key, entry in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)


def go_syntax(value: Any) -> str:
    """Go's %#v."""
    if isinstance(value, dict):
        inner = ", ".join(f'"{key}":{go_syntax(entry)}' for key, entry in sorted(value.items()))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(go_syntax, value))}}}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "interface {}(nil)"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal; a number is no boolean."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


# ---------------------------------------------------------------------------------------------------------- field sets
def to_set(value: Any, atom: Atom) -> FieldSet:
    """All fields that a value names. Source: TypedValue.ToFieldSet."""
    made: FieldSet = {}
    _to_set(value, atom, [], made)
    return made


def _to_set(value: Any, atom: Atom, path: list[str], made: FieldSet) -> None:
    kind = atom.of(value)
    if kind.map:
        if kind.map.atomic:
            fieldset.insert(made, path)
        elif isinstance(value, dict):
            for key, entry in value.items():
                inner = kind.map.type_of(key) or DEDUCED
                path.append(f"f:{key}")
                _to_set(entry, inner, path, made)
                if entry is None or entry == {} or key not in kind.map.fields:
                    fieldset.insert(made, path)
                path.pop()
    elif kind.scalar:
        fieldset.insert(made, path)
    elif kind.list:
        if not kind.list.associative:
            fieldset.insert(made, path)
        elif isinstance(value, list):
            _items_to_set(value, kind.list, path, made)


def _items_to_set(value: list[Any], kind: ListType, path: list[str], made: FieldSet) -> None:
    elements = [item_element(kind, entry) for entry in value]
    for element, entry in zip(elements, value, strict=True):
        path.append(element)
        if elements.count(element) == 1:
            _to_set(entry, kind.element, path, made)
        fieldset.insert(made, path)
        path.pop()


def named_members(node: FieldSet, atom: Atom) -> FieldSet:
    """With the struct fields on the way to members made members. Source: Set.EnsureNamedFieldsAreMembers."""
    made: FieldSet = {}
    for key, child in node.items():
        if key == "." or not child:
            made[key] = child
            continue
        kind, inner = _below(atom, key)
        deeper = named_members(child, inner)
        if kind and "." not in deeper:
            deeper = {".": {}, **deeper}
        made[key] = deeper
    return made


def _below(atom: Atom, element: str) -> tuple[bool, Atom]:
    """Whether `element` is a declared field, and the type below it."""
    if element.startswith("f:") and atom.map:
        name = element[2:]
        return name in atom.map.fields, atom.map.type_of(name) or Atom()
    if element[:2] in ("k:", "v:", "i:") and atom.list:
        return False, atom.list.element
    return False, Atom()


# ------------------------------------------------------------------------------------------------------------ compare
class Comparison:
    """What differs between two values."""

    __slots__ = ("added", "modified", "removed")

    def __init__(self) -> None:
        self.added: FieldSet = {}
        self.modified: FieldSet = {}
        self.removed: FieldSet = {}

    def without(self, ignored: FieldSet) -> Comparison:
        """Without what lies at or below ignored fields."""
        made = Comparison()
        made.added = fieldset.recursive_difference(self.added, ignored)
        made.modified = fieldset.recursive_difference(self.modified, ignored)
        made.removed = fieldset.recursive_difference(self.removed, ignored)
        return made


def compare(old: Any, new: Any, atom: Atom) -> Comparison:
    """What `new` has added, modified and removed."""
    made = Comparison()
    _compare(old, new, atom, [], made)
    return made


def _compare(old: Any, new: Any, atom: Atom, path: list[str], made: Comparison) -> None:
    if old is new or (isinstance(old, dict | list) and identical(old, new)):  # whole branches are mostly untouched
        return
    kind_old, kind_new = atom.of(old), atom.of(new)
    if new is ABSENT:
        leaf = _compare_as(kind_old, old, new, path, made)
    elif old is ABSENT or _same_kind(kind_old, kind_new):
        leaf = _compare_as(kind_new, old, new, path, made)
    else:
        _compare_as(kind_old, old, new, path, made)
        leaf = _compare_as(kind_new, old, new, path, made)
    if not leaf:
        if old is ABSENT:
            fieldset.insert(made.added, path)
        elif new is ABSENT:
            fieldset.insert(made.removed, path)


def _same_kind(one: Atom, other: Atom) -> bool:
    return one is other or (one.scalar == other.scalar and one.list is other.list and one.map is other.map)


def _compare_as(kind: Atom, old: Any, new: Any, path: list[str], made: Comparison) -> bool:
    """Compare as one kind; True where the value was a leaf."""
    if kind.map:
        left = old if isinstance(old, dict) else {}
        right = new if isinstance(new, dict) else {}
        if kind.map.atomic or (not left and not right):
            _leaf(old, new, path, made)
            return True
        for key in left.keys() | right.keys() if left and right else left or right:
            inner = kind.map.type_of(key) or DEDUCED
            path.append(f"f:{key}")
            _compare(left.get(key, ABSENT), right.get(key, ABSENT), inner, path, made)
            path.pop()
        return False
    if kind.scalar:
        _leaf(old, new, path, made)
        return True
    if kind.list:
        before = old if isinstance(old, list) else []
        after = new if isinstance(new, list) else []
        if not kind.list.associative or (not before and not after):
            _leaf(old, new, path, made)
            return True
        _compare_items(before, after, kind.list, path, made)
    return False


def _leaf(old: Any, new: Any, path: list[str], made: Comparison) -> None:
    if old is ABSENT:
        fieldset.insert(made.added, path)
    elif new is ABSENT:
        fieldset.insert(made.removed, path)
    elif not same(old, new):
        fieldset.insert(made.modified, path)


def _indexed(items: Sequence[Any], kind: ListType) -> dict[str, list[Any]]:
    made: dict[str, list[Any]] = {}
    for entry in items:
        made.setdefault(item_element(kind, entry), []).append(entry)
    return made


def _compare_items(before: list[Any], after: list[Any], kind: ListType, path: list[str], made: Comparison) -> None:
    left, right = _indexed(before, kind), _indexed(after, kind)
    for element in dict.fromkeys([*left, *right]):
        old, new = left.get(element, []), right.get(element, [])
        path.append(element)
        if len(old) <= 1 and len(new) <= 1:
            _compare(old[0] if old else ABSENT, new[0] if new else ABSENT, kind.element, path, made)
        elif len(old) >= 2 and len(new) >= 2:
            if old != new:
                fieldset.insert(made.modified, path)
        elif len(old) >= 2:
            if new:
                _compare(ABSENT, new[0], kind.element, path, made)
            fieldset.insert(made.removed, path)
        else:
            if old:
                _compare(old[0], ABSENT, kind.element, path, made)
            fieldset.insert(made.added, path)
        path.pop()


# -------------------------------------------------------------------------------------------------------------- merge
def merge(live: Any, config: Any, atom: Atom) -> Any:
    """`config` laid over `live`. Raises TypedError."""
    made = _merge(live, config, atom)
    return {} if made is ABSENT else made


def _merge(old: Any, new: Any, atom: Atom) -> Any:
    kind = atom.of(old) if new is ABSENT else atom.of(new)
    if kind.map:
        left = old if isinstance(old, dict) else None
        right = new if isinstance(new, dict) else None
        if kind.map.atomic or (not left and not right):
            return old if new is ABSENT else new
        return _merge_maps(left or {}, right or {}, kind.map)
    if kind.scalar:
        return old if new is ABSENT else new
    if kind.list:
        before = old if isinstance(old, list) else None
        after = new if isinstance(new, list) else None
        if not kind.list.associative or (not before and not after):
            return old if new is ABSENT else new
        return _merge_items(before or [], after or [], kind.list)
    return old if new is ABSENT else new


def _merge_maps(left: dict[str, Any], right: dict[str, Any], kind: MapType) -> Any:
    made = {}
    for key in [*left, *(key for key in right if key not in left)]:
        inner = kind.type_of(key) or DEDUCED
        value = _merge(left.get(key, ABSENT), right.get(key, ABSENT), inner)
        if value is not ABSENT:
            made[key] = value
    return made or ABSENT


def _merge_items(before: list[Any], after: list[Any], kind: ListType) -> Any:
    """Items of `after` in its order, those of `before` alone in between. Source: mergingWalker.visitListItems."""
    lefts = [item_element(kind, entry) for entry in before]
    rights = [item_element(kind, entry) for entry in after]
    if len(set(rights)) != len(rights):
        twice = next(element for element in rights if rights.count(element) > 1)
        raise TypedError(f"duplicate entries for key {fieldset.spell((twice,))}")
    left = {element: entry if lefts.count(element) == 1 else None for element, entry in zip(lefts, before, strict=True)}
    right = dict(zip(rights, after, strict=True))
    shared = [element for element in rights if element in left]
    merged: set[str] = set()
    made: list[Any] = []

    def emit(element: str) -> None:
        merged.add(element)
        value = _merge(left.get(element, ABSENT), right[element], kind.element)
        if value is not ABSENT:
            made.append(value)
        if shared and shared[0] == element:
            shared.pop(0)

    i = j = 0
    while i < len(lefts) or j < len(rights):
        if i < len(lefts) and j < len(rights):
            if lefts[i] == rights[j]:
                emit(lefts[i])
                i, j = i + 1, j + 1
                continue
            if lefts[i] in right and shared and shared[0] != lefts[i]:
                i += 1
                continue
        if i < len(lefts):
            if lefts[i] not in right:
                value = _merge(before[i], ABSENT, kind.element)
                if value is not ABSENT:
                    made.append(value)
                i += 1
                continue
            if lefts[i] in merged:
                i += 1
        if j < len(rights):
            emit(rights[j])
            j += 1
    return made or ABSENT


# ------------------------------------------------------------------------------------------------------------- remove
def remove(value: Any, gone: FieldSet, atom: Atom) -> Any:
    """`value` without the fields of a set. What gets empty by it becomes null. Source: TypedValue.RemoveItems."""
    kind = atom.of(value)
    if kind.map:
        if not isinstance(value, dict) or not value or kind.map.atomic:
            return None
        return _remove_fields(value, gone, kind.map)
    if kind.scalar:
        return value
    if kind.list and isinstance(value, list) and value and kind.list.associative:
        return _remove_items(value, gone, kind.list)
    return None


def _remove_fields(value: dict[str, Any], gone: FieldSet, kind: MapType) -> Any:
    made = {}
    for key, entry in value.items():
        node = gone.get(f"f:{key}")
        if node is None:
            made[key] = entry
        elif not fieldset.is_member(node):
            made[key] = remove(entry, node, kind.type_of(key) or DEDUCED)
    return made or None


def _remove_items(value: list[Any], gone: FieldSet, kind: ListType) -> Any:
    made = []
    for entry in value:
        node = gone.get(item_element(kind, entry))
        if node is None:
            made.append(entry)
        elif not fieldset.is_member(node):
            made.append(remove(entry, node, kind.element))
    return made or None


# ---------------------------------------------------------------------------------------------------------- reconcile
def reconcile(owned: FieldSet, atom: Atom) -> FieldSet:
    """A set made under another schema, fitted to this one: fields below what is atomic now become that one field.

    Source: typed.ReconcileFieldSetWithSchema.
    """
    return _reconcile(owned, atom, atomic=False)


def _reconcile(node: FieldSet, atom: Atom, *, atomic: bool) -> FieldSet:
    if atom.map:
        if atom.deduced or (atom.map.element is DEDUCED and not atom.map.fields):
            return node
        if atom.map.atomic and not atomic:
            return {} if node else node
    elif atom.scalar:
        return node
    elif atom.list and not atom.list.associative and not atomic:
        return {}
    made = {}
    for key, child in node.items():
        if key == "." or not child:
            made[key] = child
            continue
        _, inner = _below(atom, key)
        if not (inner.map or inner.list or inner.scalar):
            made[key] = child
            continue
        made[key] = _reconcile(child, inner, atomic=False)
    return made
