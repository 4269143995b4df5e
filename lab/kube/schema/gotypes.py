"""The Go types behind the built-in API: what their decoder takes, refuses and drops, and what their encoder prints.

`conform` does both at once: it takes a JSON value as a client sent it and gives the value as a real server would print
it after a round trip through its Go type (empty fields dropped or printed, quantities canonical, times in UTC), noting
the decoder's first error and every unknown field.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from lab.kube import quantity
from lab.kube.errors import quote
from lab.kube.registry import load_gz

ABSENT: Final = object()


class Notes:
    """What decoding one body has found: the first error, unknown fields in document order."""

    __slots__ = ("error", "stack", "unknown")

    def __init__(self) -> None:
        self.error = ""
        self.unknown: list[str] = []
        self.stack: list[tuple[str, str]] = []  # (struct's name, field), ("", "[0]") or ("", ".key")

    def fail(self, text: str) -> None:
        """Keep the first error."""
        if not self.error:
            self.error = text

    def mismatch(self, value: Any, type_name: str) -> None:
        """A value of the wrong JSON type."""
        if self.error:
            return
        fields = [(struct, name) for struct, name in self.stack if struct]
        what = _json_type(value)
        if fields:
            path = ".".join(name for _, name in fields)
            self.error = (
                f"json: cannot unmarshal {what} into Go struct field {fields[-1][0]}.{path} of type {type_name}"
            )
        else:
            self.error = f"json: cannot unmarshal {what} into Go value of type {type_name}"

    def path(self, name: str = "") -> str:
        """ "spec.containers[0].imag", as strict decoding prints it."""
        text = ""
        for struct, part in self.stack:
            text += part if not struct else f".{part}" if text else part
        text = text.removeprefix(".")
        return f"{text}.{name}" if text and name else text or name


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


class Type:
    """A Go type. `name` is its Go spelling in error messages."""

    name = ""
    plain: type | None = None  # what it takes as it is, empty only where it is false

    def conform(self, value: Any, notes: Notes) -> Any:
        """The value as printed; ABSENT-like emptiness is decided by `empty`."""
        raise AssertionError

    def zero(self) -> Any:
        """What Go prints for a value that was not given, where it is printed at all."""
        return None

    def empty(self, value: Any) -> bool:
        """Whether `omitempty` leaves the value out."""
        return False


class _Scalar(Type):
    def __init__(self, name: str, kinds: tuple[type, ...], zero: Any) -> None:
        self.name, self._kinds, self._zero = name, kinds, zero
        if type(self) is _Scalar and zero is not None:
            self.plain = kinds[0]

    def zero(self) -> Any:
        return self._zero

    def empty(self, value: Any) -> bool:
        return value is None or value == self._zero

    def conform(self, value: Any, notes: Notes) -> Any:
        if value is None:
            return self._zero
        if type(value) in self._kinds:
            return value
        notes.mismatch(value, self.name)
        return self._zero


class _Int(_Scalar):
    def __init__(self, name: str, bits: int, *, signed: bool = True) -> None:
        super().__init__(name, (int,), 0)
        self._low = -(1 << (bits - 1)) if signed else 0
        self._high = (1 << (bits - 1 if signed else bits)) - 1

    def conform(self, value: Any, notes: Notes) -> Any:
        if type(value) is int and self._low <= value <= self._high:
            return value
        if value is None:
            return 0
        if type(value) in (int, float):
            if type(value) is float and value.is_integer() and abs(value) < 2**53 and self._low <= value <= self._high:
                return int(value)
            if not notes.error:
                before = notes.error
                notes.mismatch(value, self.name)
                if not before:
                    notes.error = notes.error.replace("unmarshal number", f"unmarshal number {value}", 1)
            return 0
        notes.mismatch(value, self.name)
        return 0


class _Float(_Scalar):
    def __init__(self) -> None:
        super().__init__("float64", (int, float), 0)

    def conform(self, value: Any, notes: Notes) -> Any:
        made = super().conform(value, notes)
        return int(made) if type(made) is float and made.is_integer() and abs(made) < 1e21 else made


class _Bytes(_Scalar):
    def __init__(self) -> None:
        super().__init__("[]uint8", (str,), None)

    def empty(self, value: Any) -> bool:
        return not value

    def conform(self, value: Any, notes: Notes) -> Any:
        if isinstance(value, list) and all(type(entry) is int and 0 <= entry < 256 for entry in value):
            return base64.b64encode(bytes(value)).decode() if value else ""
        if not isinstance(value, str):
            return super().conform(value, notes)
        text = value.replace("\n", "").replace("\r", "")
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            notes.fail(f"illegal base64 data at input byte {_bad_base64(value)}")
            return ""
        return base64.b64encode(raw).decode()


_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _bad_base64(text: str) -> int:
    """The offset that Go's decoder names."""
    quantum = 0
    for place, char in enumerate(text):
        if char in "\r\n":
            continue
        if char == "=":
            if quantum in (0, 1):
                return place
            rest = text[place + 1 :].replace("\n", "")
            if quantum == 2:
                if rest[:1] != "=":
                    return len(text) if not rest else place + 1
                return place + 2
            return place + 1
        if char not in _BASE64:
            return place
        quantum = (quantum + 1) % 4
    return len(text) - quantum if quantum else len(text)


class _Quantity(Type):
    name = "resource.Quantity"

    def zero(self) -> Any:
        return "0"

    def conform(self, value: Any, notes: Notes) -> Any:
        if value is None:
            return "0"
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            notes.fail(quantity.BAD_FORMAT)
            return "0"
        try:
            return quantity.canonical(value.strip() if isinstance(value, str) else _number(value))
        except quantity.QuantityError as error:
            notes.fail(str(error))
            return "0"


def _number(value: float) -> str:
    return str(value)


class _IntOrString(Type):
    name = "intstr.IntOrString"

    def zero(self) -> Any:
        return 0

    def conform(self, value: Any, notes: Notes) -> Any:
        if value is None:
            return 0
        if isinstance(value, str):
            return value
        if type(value) is int and -(2**31) <= value < 2**31:
            return value
        if type(value) in (int, float):
            notes.mismatch(value, "int32")
            notes.error = notes.error.replace("unmarshal number into", f"unmarshal number {value} into", 1)
        else:
            notes.mismatch(value, "int32")
        return 0


RFC3339: Final = "2006-01-02T15:04:05Z07:00"
RFC3339_MICRO: Final = "2006-01-02T15:04:05.000000Z07:00"
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|([+-])(\d\d):(\d\d))")


class _Time(Type):
    def __init__(self, name: str, layout: str) -> None:
        self.name, self._layout = name, layout

    def conform(self, value: Any, notes: Notes) -> Any:
        if value is None:
            return None
        if not isinstance(value, str):
            notes.mismatch(value, "string")
            return None
        try:
            return parse_time(value, self._layout)
        except ValueError as error:
            notes.fail(str(error))
            return None


@lru_cache(maxsize=4096)
def parse_time(text: str, layout: str) -> str:
    """`text` in UTC, as the layout prints it. Raises ValueError with the words of Go's time.Parse."""
    match = _TIME.fullmatch(text)
    micro = layout == RFC3339_MICRO
    if match is None or (micro and (match[7] is None or len(match[7]) != 6)):
        raise ValueError(_time_error(text, layout))
    year, month, day, hour, minute, second = (int(match[place]) for place in range(1, 7))
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        part = "month" if not 1 <= month <= 12 else "hour" if hour > 23 else "minute" if minute > 59 else "second"
        if 1 <= month <= 12 and hour < 24 and minute < 60 and second < 60:
            part = "day"
        raise ValueError(f"parsing time {quote(text)}: {part} out of range") from None
    if match[9]:
        shift = timedelta(hours=int(match[10]), minutes=int(match[11]))
        moment = moment - shift if match[9] == "+" else moment + shift
    printed = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{printed}.{match[7]}Z" if micro else f"{printed}Z"


def _time_error(text: str, layout: str) -> str:
    rest = text
    for element, pattern in (
        ("2006", r"\d{4}"),
        ("-", "-"),
        ("01", r"\d\d"),
        ("-", "-"),
        ("02", r"\d\d"),
        ("T", "T"),
        ("15", r"\d\d"),
        (":", ":"),
        ("04", r"\d\d"),
        (":", ":"),
        ("05", r"\d\d"),
    ):
        found = re.match(pattern, rest)
        if not found:
            return f'parsing time {quote(text)} as "{layout}": cannot parse {quote(rest)} as "{element}"'
        rest = rest[found.end() :]
    if layout == RFC3339_MICRO:
        found = re.match(r"[.,]\d{6}(?!\d)", rest)
        if not found:
            return f'parsing time {quote(text)} as "{layout}": cannot parse {quote(rest)} as ".000000"'
        rest = rest[found.end() :]
    else:
        rest = re.sub(r"^[.,]\d+", "", rest)
    found = re.match(r"Z|[+-]\d\d:\d\d", rest)
    if not found:
        return f'parsing time {quote(text)} as "{layout}": cannot parse {quote(rest)} as "Z07:00"'
    return f"parsing time {quote(text)}: extra text: {quote(rest[found.end() :])}"


class _Any(Type):
    """RawExtension, FieldsV1, JSON: taken as it is."""

    def conform(self, value: Any, notes: Notes) -> Any:
        return value

    def empty(self, value: Any) -> bool:
        return value is None


class _Raw(_Any):
    """runtime.RawExtension: a struct, so it is printed as null where it is not a pointer."""

    def empty(self, value: Any) -> bool:
        return False


class _Pointer(Type):
    def __init__(self, inner: Type) -> None:
        self._inner = inner
        self.name = inner.name

    def conform(self, value: Any, notes: Notes) -> Any:
        return None if value is None else self._inner.conform(value, notes)

    def empty(self, value: Any) -> bool:
        return value is None


class _List(Type):
    def __init__(self, inner: Type) -> None:
        self._inner = inner
        self.name = f"[]{inner.name}"

    def empty(self, value: Any) -> bool:
        return not value

    def conform(self, value: Any, notes: Notes) -> Any:
        if not isinstance(value, list):
            if value is not None:
                notes.mismatch(value, self.name)
            return None
        made = []
        plain = self._inner.plain
        for place, entry in enumerate(value):
            if type(entry) is plain:
                made.append(entry)
                continue
            notes.stack.append(("", f"[{place}]"))
            made.append(self._inner.conform(entry, notes))
            notes.stack.pop()
        return made or None


class _Map(Type):
    def __init__(self, inner: Type) -> None:
        self._inner = inner
        self.name = f"map[string]{inner.name}"

    def empty(self, value: Any) -> bool:
        return not value

    def conform(self, value: Any, notes: Notes) -> Any:
        if not isinstance(value, dict):
            if value is not None:
                notes.mismatch(value, self.name)
            return None
        made = {}
        plain = self._inner.plain
        for key, entry in value.items():
            if type(entry) is plain:
                made[key] = entry
                continue
            notes.stack.append(("", f".{key}"))
            made[key] = self._inner.conform(entry, notes)
            notes.stack.pop()
        return made or None


class _NamedMap(_Map):
    def __init__(self, inner: Type, name: str) -> None:
        super().__init__(inner)
        self.name = name


class Struct(Type):
    """A Go struct, its inlined parts flattened."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._own = name.rpartition(".")[2]
        self.fields: dict[str, tuple[Type, bool]] = {}  # JSON name -> type, omitempty
        self._known: dict[str, tuple[Type, bool, type | None]] = {}  # the same, with the one type that is taken as it is
        self._printed: list[tuple[str, Type]] = []

    def fill(self, fields: Mapping[str, tuple[Type, bool]]) -> None:
        """Set the fields; structs may contain themselves, so this comes after construction."""
        self.fields = dict(fields)
        self._known = {key: (kind, omit, kind.plain) for key, (kind, omit) in fields.items()}
        self._printed = [
            (key, kind)
            for key, (kind, omit) in fields.items()
            if not omit or isinstance(kind, Struct | _Time | _Raw | _Quantity | _IntOrString)
        ]

    def zero(self) -> Any:
        return {key: kind.zero() for key, kind in self._printed}

    def conform(self, value: Any, notes: Notes) -> Any:
        if not isinstance(value, dict):
            if value is not None:
                notes.mismatch(value, self.name)
            return self.zero()
        made = {}
        fields, stack = self._known, notes.stack
        for key, entry in value.items():
            known = fields.get(key)
            if known is None:
                notes.unknown.append(notes.path(key))
                continue
            kind, omit, plain = known
            if type(entry) is plain:  # most fields are texts: they are what they are
                if entry or not omit:
                    made[key] = entry
                continue
            stack.append((self._own, key))
            done = kind.conform(entry, notes)
            stack.pop()
            if not (omit and kind.empty(done)):
                made[key] = done
        for key, kind in self._printed:
            if key not in made:
                made[key] = kind.zero()
        return made


class _OneOf(Type):
    """JSONSchemaPropsOrBool and its like: a schema, or what `others` takes as it is."""

    def __init__(self, name: str, inner: Type, others: tuple[type, ...]) -> None:
        self.name, self._inner, self._others = name, inner, others

    def empty(self, value: Any) -> bool:
        return value is None

    def conform(self, value: Any, notes: Notes) -> Any:
        if isinstance(value, dict):
            return self._inner.conform(value, notes)
        if isinstance(value, list) and list in self._others:
            if all(isinstance(entry, dict) for entry in value):
                return [self._inner.conform(entry, notes) for entry in value]
            return value
        if isinstance(value, bool) and bool in self._others:
            return value
        if value is not None:
            notes.mismatch(value, self.name)
        return None


_BASIC: Final = {
    "string": _Scalar("string", (str,), ""),
    "bool": _Scalar("bool", (bool,), False),
    "int32": _Int("int32", 32),
    "int64": _Int("int64", 64),
    "int": _Int("int", 64),
    "uint8": _Int("uint8", 8, signed=False),
    "uint16": _Int("uint16", 16, signed=False),
    "uint32": _Int("uint32", 32, signed=False),
    "uint64": _Int("uint64", 64, signed=False),
    "float64": _Float(),
    "bytes": _Bytes(),
    "any": _Any(),
    "api/resource.Quantity": _Quantity(),
    "util/intstr.IntOrString": _IntOrString(),
    "meta/v1.Time": _Time("v1.Time", RFC3339),
    "meta/v1.MicroTime": _Time("v1.MicroTime", RFC3339_MICRO),
    "meta/v1.FieldsV1": _Any(),
    "runtime.RawExtension": _Raw(),
    "apiextensions/v1.JSON": _Any(),
}


class Types:
    """All types by name, built when first asked for."""

    def __init__(self, tables: dict[str, Any]) -> None:
        self.kinds: dict[str, str] = tables["kinds"]
        self._structs: dict[str, list[list[Any]]] = tables["structs"]
        self._scalars: dict[str, str] = tables["scalars"]
        self._made: dict[str, Type] = {}

    def of_kind(self, group: str, version: str, kind: str) -> Struct | None:
        """The struct of a built-in kind."""
        name = self.kinds.get(f"{group}/{version}/{kind}")
        made = self.named(name) if name else None
        return made if isinstance(made, Struct) else None

    def named(self, text: str) -> Type:
        """The type of an expression such as "*core/v1.Probe" or "[]string"."""
        if text not in self._made:
            self._made[text] = self._make(text)
        return self._made[text]

    def _make(self, text: str) -> Type:
        if text in _BASIC:
            return _BASIC[text]
        if text.startswith("*"):
            return _Pointer(self.named(text[1:]))
        if text.startswith("[]"):
            return _List(self.named(text[2:]))
        if text.startswith("map:"):
            return _Map(self.named(text[4:]))
        spelled = _go_name(text)
        if text in ("apiextensions/v1.JSONSchemaPropsOrBool", "apiextensions/v1.JSONSchemaPropsOrArray"):
            other = bool if text.endswith("Bool") else list
            return _OneOf(spelled, self.named("apiextensions/v1.JSONSchemaProps"), (other,))
        if text == "apiextensions/v1.JSONSchemaPropsOrStringArray":
            return _OneOf(spelled, self.named("apiextensions/v1.JSONSchemaProps"), (list,))
        if text in self._structs:
            return self._struct(text, spelled)
        return self._alias(self._scalars[text], spelled)

    def _struct(self, text: str, spelled: str) -> Struct:
        made = Struct(spelled)
        self._made[text] = made
        made.fill(self._fields(text))
        return made

    def _fields(self, text: str) -> dict[str, tuple[Type, bool]]:
        found: dict[str, tuple[Type, bool]] = {}
        for name, expression, flags in self._structs[text]:
            if flags & 2:
                found |= self._fields(expression.removeprefix("*"))
            else:
                found[name] = (self.named(expression), bool(flags & 1))
        return found

    def _alias(self, what: str, spelled: str) -> Type:
        """A named string, number, list or map: as what it is, under its own name in messages."""
        if what in ("string", "bool"):
            basic = _BASIC[what]
            return _Scalar(spelled, (str,) if what == "string" else (bool,), basic.zero())
        if what.startswith("map:"):
            return _NamedMap(self.named(what[4:]), spelled)
        if what.startswith("[]"):
            made = _List(self.named(what[2:]))
            made.name = spelled
            return made
        return _BASIC[what]


def _go_name(text: str) -> str:
    """ "core/v1.PodSpec" -> "v1.PodSpec"."""
    return text.rpartition("/")[2]


@lru_cache(maxsize=1)
def types() -> Types:
    """The types of the built-in API."""
    return Types(load_gz("types.json.gz"))
