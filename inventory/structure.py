"""Sections of a site: frozen dataclasses whose keys say their type, their default and their meaning once.

A section derives from Data and declares its keys with `key`. From that come the value (`build`: plain data in, a section or every
mistake out), the JSON Schema (`schema_of`) and plain data again (`model_dump`). The names `model_*` are those of pydantic, of which
this is the small part that a site needs; building it on pydantic took 150 ms of every command's start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields, replace
from datetime import timedelta
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Protocol,
    Self,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from inventory.findings import Keys

D = TypeVar("D", bound="Data")
Fault = Callable[["Wrong"], None]

MISSING_KEY, UNKNOWN_KEY, NOT_A_LIST, NOT_A_MAPPING, WRONG_VALUE = "missing", "unknown", "list", "mapping", "value"


class WrongValue(Exception):
    """A value that its type does not allow. `allowed` completes "allowed: ..."; `secret` values are not to be shown."""

    def __init__(
        self,
        allowed: str,
        near: str | None = None,
        *,
        message: str = "the value is not allowed",
        hint: str | None = None,
        secret: bool = False,
    ) -> None:
        super().__init__(message)
        self.message, self.allowed, self.near, self.hint, self.secret = message, allowed, near, hint, secret


@dataclass(frozen=True, slots=True)
class Wrong:
    """One mistake of type: `keys` is where, `kind` one of the constants above, `why` is given for values."""

    keys: Keys
    kind: str
    why: WrongValue | None = None


class Kind(Protocol):
    """What an Annotated type carries: how a value is read, and its JSON Schema, both for the annotated type."""

    def read(self, value: object, of: Any) -> Any:
        """The value that `value` (a text, or a finished value) stands for. Raises WrongValue."""
        ...

    def schema(self, of: Any) -> dict[str, Any]:
        """The JSON Schema of the value as a file holds it."""
        ...


def key(about: str, *, default: Any = MISSING, alias: str | None = None) -> Any:
    """A key of a section: `about` is the sentence that the schema and the reference print, without a default it is required."""
    return field(default=default, kw_only=True, metadata={"about": about, "alias": alias})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(key,))
class Data:
    """A section. Its docstring describes it to the operator."""

    model_fields: ClassVar[dict[str, FieldInfo]]

    def __init_subclass__(cls) -> None:
        dataclass(init=False, repr=False, eq=False, kw_only=True)(cls)  # compiles nothing: what it would is below, once for all
        cls.model_fields = {
            f.name: FieldInfo(f.name, f.metadata["alias"] or f.name, f.metadata["about"], f.default)
            for f in fields(cls)  # type: ignore[arg-type]  # made a dataclass in the line above
        }

    def __init__(self, **values: Any) -> None:
        for name, info in self.model_fields.items():
            if name in values:
                object.__setattr__(self, name, values.pop(name))
            elif info.required:
                raise TypeError(f"{type(self).__name__} wants {name}")
            else:
                object.__setattr__(self, name, info.default)
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.model_fields))

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.model_fields)})"

    def model_dump(
        self,
        *,
        mode: str = "python",
        by_alias: bool = False,
        exclude_none: bool = False,
        exclude_defaults: bool = False,
    ) -> dict[str, Any]:
        """The section as dicts and lists; with mode "json" its leaves are what JSON and YAML hold, else the values themselves."""
        shape = _Shape(mode == "json", by_alias, exclude_none, exclude_defaults)
        return _dumped_section(self, shape)

    def model_copy(self, *, update: dict[str, Any]) -> Self:
        """The section with other values, which are not checked."""
        return replace(self, **update)  # type: ignore[type-var]  # every subclass is a dataclass


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """A key: the attribute's name, the file's word, its sentence, its default (MISSING when required)."""

    name: str
    alias: str
    about: str
    default: Any

    @property
    def required(self) -> bool:
        """Whether a file must give it."""
        return self.default is MISSING


def build(section: type[D], data: object) -> D | tuple[Wrong, ...]:
    """The section that plain data stands for, or every mistake in it."""
    faults: list[Wrong] = []
    made = _built(section, data, (), faults.append)
    return made if made is not None and not faults else tuple(faults)


def section_of(annotation: Any) -> type[Data] | None:
    """The section within an annotation: itself, optional, or the item of a list."""
    if isinstance(annotation, type) and issubclass(annotation, Data):
        return annotation
    if get_origin(annotation) in (Union, UnionType, tuple):
        return next((found for part in get_args(annotation) if (found := section_of(part))), None)
    return None


_HINTS: dict[type[Data], dict[str, Any]] = {}


def hints(section: type[Data]) -> dict[str, Any]:
    """The annotations of a section's keys, evaluated once."""
    if section not in _HINTS:
        found = get_type_hints(section, include_extras=True)
        _HINTS[section] = {name: found[name] for name in section.model_fields}
    return _HINTS[section]


def _built(section: type[D], data: object, at: Keys, fault: Fault) -> D | None:
    if not isinstance(data, dict):
        fault(Wrong(at, NOT_A_MAPPING))
        return None
    types, sound, values = hints(section), True, {}
    known = {info.alias: info for info in section.model_fields.values()}
    for alias, info in known.items():
        if alias in data:
            seen: list[Wrong] = []
            values[info.name] = _read(types[info.name], data[alias], (*at, alias), seen.append)
            sound = sound and not seen
            for wrong in seen:
                fault(wrong)
        elif info.required:
            sound = False
            fault(Wrong((*at, alias), MISSING_KEY))
    for name in data:
        if name not in known:
            sound = False
            fault(Wrong((*at, name), UNKNOWN_KEY))
    return section(**values) if sound else None


def _read(annotation: Any, value: object, at: Keys, fault: Fault) -> Any:
    """The value for one annotation; what is wrong goes to `fault`, and None comes back."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return None if value is None else _read(next(part for part in parts if part is not NoneType), value, at, fault)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            fault(Wrong(at, NOT_A_LIST))
            return None
        return tuple(_read(parts[0], item, (*at, number), fault) for number, item in enumerate(value))
    if isinstance(annotation, type) and issubclass(annotation, Data):
        return _built(annotation, value, at, fault)
    try:
        return _kind(annotation).read(value, parts[0] if parts else annotation)
    except WrongValue as wrong:
        fault(Wrong(at, WRONG_VALUE, wrong))
        return None


def _kind(annotation: Any) -> Kind:
    kind: Kind = get_args(annotation)[1] if get_origin(annotation) is Annotated else annotation.KIND
    return kind


@dataclass(frozen=True, slots=True)
class _Shape:
    """What `model_dump` was asked for."""

    json: bool = True
    by_alias: bool = True
    exclude_none: bool = False
    exclude_defaults: bool = False


def _dumped_section(section: Data, shape: _Shape) -> dict[str, Any]:
    pairs = ((info, getattr(section, name)) for name, info in section.model_fields.items())
    return {
        (info.alias if shape.by_alias else info.name): _dumped(value, shape)
        for info, value in pairs
        if not (shape.exclude_none and value is None) and not (shape.exclude_defaults and value == info.default)
    }


def _dumped(value: Any, shape: _Shape) -> Any:
    if isinstance(value, Data):
        return _dumped_section(value, shape)
    if isinstance(value, tuple):
        made = [_dumped(item, shape) for item in value]
        return made if shape.json else tuple(made)
    if not shape.json or value is None or isinstance(value, bool | int | float):
        return value
    return duration_text(value) if isinstance(value, timedelta) else str(value)


def duration_text(value: timedelta) -> str:
    """The shortest text of a duration in whole units: `5m`, `1h30m`, `0.25s`."""
    seconds, micros = divmod(round(value.total_seconds() * 1_000_000), 1_000_000)
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    fraction = f"{left}.{micros:06}".rstrip("0") if micros else str(left)
    parts = [f"{hours}h"] * bool(hours) + [f"{minutes}m"] * bool(minutes) + [f"{fraction}s"] * bool(left or micros)
    return "".join(parts) or "0s"


# --- JSON Schema ----------------------------------------------------------------------------------------------------------------


def schema_of(section: type[Data]) -> dict[str, Any]:
    """The JSON Schema of a section, with the sections below it under `$defs`."""
    below: dict[str, type[Data]] = {}
    for part in _sections(section):
        below.setdefault(part.__name__, part)
    return {"$defs": {name: _schema(part) for name, part in sorted(below.items())}, **_schema(section)}


def _sections(section: type[Data]) -> Iterator[type[Data]]:
    for annotation in hints(section).values():
        below = section_of(annotation)
        if below:
            yield below
            yield from _sections(below)


def _schema(section: type[Data]) -> dict[str, Any]:
    required = [info.alias for info in section.model_fields.values() if info.required]
    return {
        "type": "object",
        "description": section.__doc__,
        "properties": {
            info.alias: _property(info, hints(section)[name]) for name, info in section.model_fields.items()
        },
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _property(info: FieldInfo, annotation: Any) -> dict[str, Any]:
    """The form of a value, its meaning, and its default where that is a single value."""
    plain = info.default is not MISSING and info.default is not None and not isinstance(info.default, Data | tuple)
    shown = {"default": _dumped(info.default, _Shape())} if plain else {}
    return {**_form(annotation), "description": info.about, **shown}


def _form(annotation: Any) -> dict[str, Any]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _form(next(part for part in parts if part is not NoneType))
    if origin is tuple:
        return {"type": "array", "items": _form(parts[0])}
    if isinstance(annotation, type) and issubclass(annotation, Data):
        return {"$ref": f"#/$defs/{annotation.__name__}"}
    return _kind(annotation).schema(parts[0] if parts else annotation)
