"""Evaluation of CEL trees on JSON values. Errors are those of cel-go: "no such key: x", "divide by zero".

Values are JSON's, plus bytes, Timestamp (datetime), timedelta, and `Optional`. A value with a schema is read through
`Typed`, which knows formats and escaped names.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from lab.kube import plain, quantity
from lab.kube.schema import structural
from lab.kube.schema.celparse import Node, UInt
from lab.kube.schema.celtypes import escape


class EvaluationError(Exception):
    """An expression has no value."""


class Optional:
    """A value or none."""

    __slots__ = ("there", "value")

    def __init__(self, there: bool, value: Any = None) -> None:
        self.there, self.value = there, value

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Optional)
            and self.there == other.there
            and (not self.there or same(self.value, other.value))
        )

    def __hash__(self) -> int:
        return hash(self.there)


class Object:
    """A JSON object read by its schema: fields by their escaped names, an unset field is none."""

    __slots__ = ("fields", "raw", "schema")

    def __init__(self, raw: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
        self.raw, self.schema = raw, schema
        self.fields = schema.get("properties") or {}

    def key_of(self, name: str) -> str | None:
        """The JSON name of an escaped one."""
        if name in self.raw and escape(name) == name:
            return name
        return next((key for key in self.raw if escape(key) == name), None)

    def get(self, name: str) -> Any:
        """A field's value. Raises EvaluationError."""
        key = self.key_of(name)
        if key is None:
            raise EvaluationError(f"no such key: {name}")
        return typed(self.raw[key], self.fields.get(key) or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Object) and plain.same(self.raw, other.raw)

    def __hash__(self) -> int:
        return id(self)


class SetList(list[Any]):
    """A list of type set: equal in any order, and joined without duplicates."""


class MapList(list[Any]):
    """A list of type map: equal in any order."""


def typed(value: Any, schema: Mapping[str, Any]) -> Any:
    """A JSON value as rules see it."""
    if value is None or schema.get("x-kubernetes-int-or-string"):
        return value
    if isinstance(value, dict):
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            return {key: typed(entry, more) for key, entry in value.items()}
        return Object(value, schema)
    if isinstance(value, list):
        items = schema.get("items") or {}
        found = [typed(entry, items) for entry in value]
        sort = schema.get("x-kubernetes-list-type")
        return SetList(found) if sort == "set" else MapList(found) if sort == "map" else found
    if schema.get("type") == "number" and isinstance(value, int):
        return float(value)
    if isinstance(value, str):
        return _formatted(value, schema.get("format", ""))
    return value


def _formatted(value: str, form: str) -> Any:
    if form in ("date-time", "date"):
        try:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            raise EvaluationError(f"Invalid date {value}") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if form == "duration":
        return parse_duration(value)
    return base64.b64decode(value) if form == "byte" else value


_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def parse_duration(text: str) -> timedelta:
    """Go's time.ParseDuration. Raises EvaluationError."""
    body = text.lstrip("+-")
    if body == "0":
        return timedelta(0)
    found = _DURATION.findall(body)
    if not found or "".join(number + unit for number, unit in found) != body:
        raise EvaluationError(f'time: invalid duration "{text}"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in found)
    return timedelta(seconds=-seconds if text.startswith("-") else seconds)


def same(one: Any, other: Any) -> bool:
    """CEL's equality: numbers across types, lists of type set and map in any order."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return False
        if isinstance(one, SetList | MapList) or isinstance(other, SetList | MapList):
            return all(any(same(left, right) for right in other) for left in one)
        return all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return type(one) is type(other) and bool(one == other)


class Evaluator:
    """One evaluation; `variables` are by name."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self.scopes: list[Mapping[str, Any]] = [variables]

    def value(self, node: Node) -> Any:
        """Raises EvaluationError."""
        kind = node.kind
        if kind == "const":
            return node.value
        if kind == "ident":
            return self._ident(node.value)
        if kind == "select":
            return select(self.value(node.parts[0]), node.value)
        if kind == "test":
            return has(self.value(node.parts[0]), node.value)
        if kind == "list":
            return [self.value(part) for part in node.parts]
        if kind == "map":
            return {self.value(key): self.value(entry) for key, entry in node.parts}
        if kind == "comprehension":
            return self._comprehension(node)
        if kind == "bind":
            return self._scoped({node.value: self.value(node.parts[0])}, node.parts[1])
        return self._call(node)

    def _ident(self, name: str) -> Any:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return TypeName(name)

    def _scoped(self, more: Mapping[str, Any], node: Node) -> Any:
        self.scopes.append(more)
        try:
            return self.value(node)
        finally:
            self.scopes.pop()

    def _call(self, node: Node) -> Any:
        name = node.value
        if name in ("_&&_", "_||_"):
            return self._logic(node, short=name == "_||_")
        if name == "_?_:_":
            condition = self.value(node.parts[0])
            if not isinstance(condition, bool):
                raise EvaluationError("no such overload")
            return self.value(node.parts[1 if condition else 2])
        if name == "_?._":
            return optional_select(self.value(node.parts[0]), node.parts[1].value)
        arguments = [self.value(part) for part in node.parts]
        function = FUNCTIONS.get(name)
        if function is None:
            raise EvaluationError(f"no such overload: {name.removeprefix('.')}")
        try:
            return function(*arguments)
        except (TypeError, AttributeError):
            raise EvaluationError("no such overload") from None

    def _logic(self, node: Node, *, short: bool) -> bool:
        """&& and || are commutative in their errors."""
        failed: EvaluationError | None = None
        for part in node.parts:
            try:
                found = self.value(part)
            except EvaluationError as error:
                failed = error
                continue
            if found is short:
                return bool(short)
            if not isinstance(found, bool):
                failed = EvaluationError("no such overload")
        if failed:
            raise failed
        return not short

    def _comprehension(self, node: Node) -> Any:
        name, *variables = node.value
        target = self.value(node.parts[0])
        if name in ("optMap", "optFlatMap"):
            if not target.there:
                return Optional(False)
            found = self._scoped({variables[0]: target.value}, node.parts[1])
            return Optional(True, found) if name == "optMap" else found
        pairs = (
            list(target.items())
            if isinstance(target, dict)
            else [(item if len(variables) == 1 else place, item) for place, item in enumerate(target)]
        )
        scopes = [dict(zip(variables, pair if len(variables) == 2 else pair[:1], strict=True)) for pair in pairs]
        if name in ("all", "exists"):
            return self._any(scopes, node.parts[1], short=name == "exists")
        if name in ("exists_one", "existsOne"):
            return sum(self._scoped(scope, node.parts[1]) is True for scope in scopes) == 1
        if name == "filter":
            return [scope[variables[0]] for scope in scopes if self._scoped(scope, node.parts[1])]
        if name == "transformMap":
            return {pair[0]: self._scoped(scope, node.parts[1]) for pair, scope in zip(pairs, scopes, strict=True)}
        if len(node.parts) == 3:
            return [self._scoped(scope, node.parts[2]) for scope in scopes if self._scoped(scope, node.parts[1])]
        return [self._scoped(scope, node.parts[1]) for scope in scopes]

    def _any(self, scopes: list[dict[str, Any]], test: Node, *, short: bool) -> bool:
        failed: EvaluationError | None = None
        for scope in scopes:
            try:
                if self._scoped(scope, test) is short:
                    return bool(short)
            except EvaluationError as error:
                failed = failed or error
        if failed:
            raise failed
        return not short


class TypeName(str):
    """The name of a type, as a value."""

    __slots__ = ()


def select(target: Any, name: str) -> Any:
    """A field. Raises EvaluationError."""
    if isinstance(target, Optional):
        return optional_select(target, name)
    if isinstance(target, Object):
        return target.get(name)
    if isinstance(target, dict):
        if name not in target:
            raise EvaluationError(f"no such key: {name}")
        return target[name]
    raise EvaluationError("no such overload")


def optional_select(target: Any, name: str) -> Optional:
    """A field, or none."""
    inner = target.value if isinstance(target, Optional) else target
    if (isinstance(target, Optional) and not target.there) or not has(inner, name):
        return Optional(False)
    return Optional(True, select(inner, name))


def has(target: Any, name: str) -> bool:
    """Whether a field is set."""
    if isinstance(target, Optional):
        return target.there and has(target.value, name)
    if isinstance(target, Object):
        return target.key_of(name) is not None
    if isinstance(target, dict):
        return name in target
    raise EvaluationError("no such overload")


# ------------------------------------------------------------------------------------------------------------ functions
def _add(one: Any, other: Any) -> Any:
    if isinstance(one, bool) or isinstance(other, bool):
        raise TypeError
    if isinstance(one, SetList) and isinstance(other, list):
        return SetList([*one, *(entry for entry in other if not any(same(entry, mine) for mine in one))])
    made = one + other
    if type(made) is int and not -(1 << 63) <= made < 1 << 63:
        raise EvaluationError("integer overflow")
    return made


def _arithmetic(work: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def function(one: Any, other: Any) -> Any:
        if isinstance(one, bool | str) or isinstance(other, bool | str):
            raise TypeError
        made = work(one, other)
        if type(made) is int and not -(1 << 63) <= made < 1 << 63:
            raise EvaluationError("integer overflow")
        return made

    return function


def _divide(one: Any, other: Any) -> Any:
    if isinstance(one, int) and isinstance(other, int):
        if other == 0:
            raise EvaluationError("division by zero")
        return int(Decimal(one) / Decimal(other))
    if other == 0:
        return float("nan") if one == 0 else float("inf") if one > 0 else float("-inf")
    return one / other


def _modulo(one: Any, other: Any) -> Any:
    if other == 0:
        raise EvaluationError("modulus by zero")
    return one - other * int(Decimal(one) / Decimal(other))


def _compare(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def function(one: Any, other: Any) -> bool:
        if isinstance(one, bool) != isinstance(other, bool):
            raise TypeError
        return test(one, other)

    return function


def _inside(element: Any, holder: Any) -> bool:
    if isinstance(holder, dict):
        return element in holder
    if isinstance(holder, list):
        return any(same(element, entry) for entry in holder)
    raise TypeError


def _index(holder: Any, index: Any) -> Any:
    if isinstance(holder, Optional):
        return _optional_index(holder, index)
    if isinstance(holder, dict):
        if index not in holder:
            raise EvaluationError(f"no such key: {index}")
        return holder[index]
    if isinstance(holder, list):
        if not 0 <= index < len(holder):
            raise EvaluationError(f"index out of bounds: {index}")
        return holder[int(index)]
    if isinstance(holder, Object):
        return holder.get(index)
    raise TypeError


def _optional_index(holder: Any, index: Any) -> Optional:
    if isinstance(holder, Optional):
        if not holder.there:
            return holder
        holder = holder.value
    try:
        return Optional(True, _index(holder, index))
    except EvaluationError:
        return Optional(False)


def _size(value: Any) -> int:
    if isinstance(value, Object):
        return len(value.raw)
    return len(value)


def _to_int(value: Any) -> int:
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, timedelta):
        return int(value.total_seconds() * 1e9)
    try:
        return int(value)
    except ValueError:
        raise EvaluationError(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None


def _to_double(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise EvaluationError(f'strconv.ParseFloat: parsing "{value}": invalid syntax') from None


def to_string(value: Any) -> str:
    """string()."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return f"{int(seconds)}s" if seconds.is_integer() else f"{seconds}s"
    if isinstance(value, dict | list | Object):
        raise TypeError
    return str(value)


def _matches(text: str, pattern: str) -> bool:
    try:
        return structural.regex(pattern).search(text) is not None
    except re.error as error:
        raise EvaluationError(f"error parsing regexp: {error}") from None


def _timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, int):
        return datetime.fromtimestamp(value, UTC)
    made: datetime = _formatted(value, "date-time")
    return made


def _substring(text: str, start: int, end: int | None = None) -> str:
    last = len(text) if end is None else end
    if not 0 <= start <= last <= len(text):
        raise EvaluationError(f"index out of range: {start if not 0 <= start <= len(text) else last}")
    return text[start:last]


def _find_index(holder: Any, wanted: Any, start: int = 0) -> int:
    if isinstance(holder, str):
        return holder.find(wanted, start)
    return next((place for place, entry in enumerate(holder) if same(entry, wanted)), -1)


def _find_last(holder: Any, wanted: Any, start: int | None = None) -> int:
    if isinstance(holder, str):
        return holder.rfind(wanted) if start is None else holder.rfind(wanted, 0, start + len(wanted))
    return next((place for place in range(len(holder) - 1, -1, -1) if same(holder[place], wanted)), -1)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count)


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if separator == "":
        return list(text)
    return text.split(separator, count - 1 if count > 0 else -1)


def _char_at(text: str, place: int) -> str:
    if not 0 <= place <= len(text):
        raise EvaluationError(f"index out of range: {place}")
    return text[place : place + 1]


def _format(text: str, arguments: list[Any]) -> str:
    values = iter(arguments)

    def one(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        value = next(values)
        if match[2] in "fe":
            return f"{float(value):.{int(match[1] or 6)}{match[2]}}"
        if match[2] in "xXbo":
            return format(int(value), match[2])
        return _formatted_value(value)

    return re.sub(r"%(?:%|(?:\.(\d+))?([sdfexXbo]))", one, text)


def _formatted_value(value: Any) -> str:
    if isinstance(value, Object):
        value = dict(value.raw)
    if isinstance(value, list):
        return (
            "["
            + ", ".join(f'"{entry}"' if isinstance(entry, str) else _formatted_value(entry) for entry in value)
            + "]"
        )
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}":{_formatted_value(entry)}' for key, entry in sorted(value.items())) + "}"
    return "null" if value is None else to_string(value)


def _extreme(pick: Callable[[list[Any]], Any], name: str) -> Callable[[list[Any]], Any]:
    def function(items: list[Any]) -> Any:
        if not items:
            raise EvaluationError(f"{name} called on empty list")
        return pick(items)

    return function


def _sum(items: list[Any]) -> Any:
    total: Any = 0
    for place, item in enumerate(items):
        total = item if place == 0 else total + item
    return total


class Url:
    """A parsed absolute URL."""

    def __init__(self, text: str) -> None:
        parts = urlsplit(text)
        if not parts.scheme and not text.startswith("/"):
            raise EvaluationError(
                f'URL parse error during conversion from string: parse "{text}": invalid URI for request'
            )
        self.parts = parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)


def _is(make: Callable[[str], Any]) -> Callable[[str], bool]:
    def function(text: str) -> bool:
        try:
            make(text)
        except (EvaluationError, ValueError):
            return False
        return True

    return function


def _quantity(text: str) -> Decimal:
    try:
        return quantity.parse(text)[0]
    except quantity.QuantityError as error:
        raise EvaluationError(str(error)) from None


def _ip(text: str) -> Any:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise EvaluationError(
            f'IP Address "{text}" parse error during conversion from string: unable to parse IP'
        ) from None


def _cidr(text: str) -> Any:
    try:
        return ipaddress.ip_interface(text) if "/" in text else _no_cidr(text)
    except ValueError:
        return _no_cidr(text)


def _no_cidr(text: str) -> Any:
    raise EvaluationError(f'network address parse error during conversion from string: "{text}"')


def _optional_value(found: Optional) -> Any:
    if not found.there:
        raise EvaluationError("optional.none() dereference")
    return found.value


def _type(value: Any) -> TypeName:
    if value is None:
        return TypeName("null_type")
    names = (
        (bool, "bool"),
        (UInt, "uint"),
        (int, "int"),
        (float, "double"),
        (str, "string"),
        (bytes, "bytes"),
        (list, "list"),
        (dict, "map"),
        (Object, "map"),
    )
    return TypeName(next((name for sort, name in names if isinstance(value, sort)), "dyn"))


def _part(name: str) -> Callable[..., int]:
    def function(value: Any, zone: str = "UTC") -> int:
        if isinstance(value, timedelta):
            seconds = value.total_seconds()
            parts: dict[str, int] = {
                "Hours": int(seconds // 3600),
                "Minutes": int(seconds // 60),
                "Seconds": int(seconds),
                "Milliseconds": int(seconds * 1000),
            }
            return parts[name]
        moment = value.astimezone(UTC)
        day = moment.timetuple()
        fields: dict[str, int] = {
            "FullYear": moment.year,
            "Month": moment.month - 1,
            "DayOfYear": day.tm_yday - 1,
            "DayOfMonth": moment.day - 1,
            "Date": moment.day,
            "DayOfWeek": (moment.weekday() + 1) % 7,
            "Hours": moment.hour,
            "Minutes": moment.minute,
            "Seconds": moment.second,
            "Milliseconds": moment.microsecond // 1000,
        }
        return fields[name]  # fmt: skip

    return function


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "!_": lambda value: not value,
    "-_": lambda value: -value,
    "_+_": _add,
    "_-_": _arithmetic(lambda one, other: one - other),
    "_*_": _arithmetic(lambda one, other: one * other),
    "_/_": _arithmetic(_divide),
    "_%_": _arithmetic(_modulo),
    "_==_": same,
    "_!=_": lambda one, other: not same(one, other),
    "_<_": _compare(lambda one, other: one < other),
    "_<=_": _compare(lambda one, other: one <= other),
    "_>_": _compare(lambda one, other: one > other),
    "_>=_": _compare(lambda one, other: one >= other),
    "@in": _inside,
    "_[_]": _index,
    "_[?_]": _optional_index,
    "size": _size,
    ".size": _size,
    "int": _to_int,
    "uint": lambda value: UInt(_to_int(value)),
    "double": _to_double,
    "string": to_string,
    "bool": lambda value: value if isinstance(value, bool) else value == "true",
    "bytes": lambda value: value.encode() if isinstance(value, str) else value,
    "dyn": lambda value: value,
    "type": _type,
    "duration": lambda value: parse_duration(value) if isinstance(value, str) else value,
    "timestamp": _timestamp,
    "matches": _matches,
    ".matches": _matches,
    ".startsWith": lambda text, other: text.startswith(other),
    ".endsWith": lambda text, other: text.endswith(other),
    ".contains": lambda text, other: other in text,
    ".charAt": _char_at,
    ".indexOf": _find_index,
    ".lastIndexOf": _find_last,
    ".lowerAscii": lambda text: "".join(char.lower() if char.isascii() else char for char in text),
    ".upperAscii": lambda text: "".join(char.upper() if char.isascii() else char for char in text),
    ".replace": _replace,
    ".split": _split,
    ".substring": _substring,
    ".trim": lambda text: text.strip(),
    ".join": lambda items, separator="": separator.join(items),
    ".format": _format,
    ".reverse": lambda value: value[::-1],
    "strings.quote": lambda text: f'"{text}"',
    ".isSorted": lambda items: all(items[place] <= items[place + 1] for place in range(len(items) - 1)),
    ".sum": _sum,
    ".min": _extreme(min, "min"),
    ".max": _extreme(max, "max"),
    ".find": lambda text, pattern: (match[0] if (match := structural.regex(pattern).search(text)) else ""),
    ".findAll": lambda text, pattern, count=-1: [match[0] for match in structural.regex(pattern).finditer(text)][: count if count >= 0 else None],
    "isURL": _is(Url),
    "url": Url,
    ".getScheme": lambda url: url.parts.scheme,
    ".getHost": lambda url: url.parts.netloc.rpartition("@")[2],
    ".getHostname": lambda url: url.parts.hostname or "",
    ".getPort": lambda url: str(url.parts.port or ""),
    ".getEscapedPath": lambda url: url.parts.path,
    ".getQuery": lambda url: parse_qs(url.parts.query, keep_blank_values=True),
    "isQuantity": _is(_quantity),
    "quantity": _quantity,
    ".sign": lambda value: (value > 0) - (value < 0),
    ".isInteger": lambda value: value == value.to_integral_value(),
    ".asInteger": lambda value: int(value),
    ".asApproximateFloat": lambda value: float(value),
    ".add": lambda one, other: one + other,
    ".sub": lambda one, other: one - other,
    ".isGreaterThan": lambda one, other: one > other,
    ".isLessThan": lambda one, other: one < other,
    ".compareTo": lambda one, other: (one > other) - (one < other),
    "isIP": _is(_ip),
    "ip": _ip,
    "ip.isCanonical": lambda text: str(_ip(text)) == text,
    ".family": lambda address: address.version,
    ".isUnspecified": lambda address: address.is_unspecified,
    ".isLoopback": lambda address: address.is_loopback,
    ".isLinkLocalMulticast": lambda address: address.is_multicast and address.is_link_local,
    ".isLinkLocalUnicast": lambda address: address.is_link_local and not address.is_multicast,
    ".isGlobalUnicast": lambda address: not (address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local),
    "isCIDR": _is(_cidr),
    "cidr": _cidr,
    ".containsIP": lambda network, address: (_ip(address) if isinstance(address, str) else address) in network.network,
    ".containsCIDR": lambda network, other: (_cidr(other) if isinstance(other, str) else other).network.subnet_of(network.network),
    ".ip": lambda network: network.ip,
    ".masked": lambda network: ipaddress.ip_interface(str(network.network)),
    ".prefixLength": lambda network: network.network.prefixlen,
    "sets.contains": lambda one, other: all(_inside(entry, one) for entry in other),
    "sets.equivalent": lambda one, other: all(_inside(entry, one) for entry in other) and all(_inside(entry, other) for entry in one),
    "sets.intersects": lambda one, other: any(_inside(entry, one) for entry in other),
    "optional.none": lambda: Optional(False),
    "optional.of": lambda value: Optional(True, value),
    "optional.ofNonZeroValue": lambda value: Optional(bool(value), value),
    ".hasValue": lambda found: found.there,
    ".value": _optional_value,
    ".or": lambda one, other: one if one.there else other,
    ".orValue": lambda found, other: found.value if found.there else other,
    **{f".get{name}": _part(name) for name in ("FullYear", "Month", "DayOfYear", "DayOfMonth", "Date", "DayOfWeek", "Hours", "Minutes", "Seconds", "Milliseconds")},
}  # fmt: skip
