"""Types of CEL expressions over schemas, and the checker that knows them.

Source: k8s.io/apiserver/pkg/cel/common schemas.go (types of schemas) and cel-go checker (messages), 1.33.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lab.kube.schema.celparse import CelError, Node, UInt, pointed

Type = tuple[Any, ...]
DYN: Final[Type] = ("dyn",)
BOOL: Final[Type] = ("bool",)
INT: Final[Type] = ("int",)
UINT: Final[Type] = ("uint",)
DOUBLE: Final[Type] = ("double",)
STRING: Final[Type] = ("string",)
BYTES: Final[Type] = ("bytes",)
NULL: Final[Type] = ("null_type",)
TIMESTAMP: Final[Type] = ("google.protobuf.Timestamp",)
DURATION: Final[Type] = ("google.protobuf.Duration",)
ANY_OPT: Final[Type] = ("optional_type", DYN)
KUBE: Final = {name: (f"kubernetes.{name}",) for name in ("URL", "Quantity", "NamedFormat")} | {
    name: (f"net.{name}",) for name in ("IP", "CIDR")
}
_KEYWORDS: Final = {
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop",
    "package", "namespace", "return", "var", "void", "while",
}  # fmt: skip


def escape(name: str) -> str:
    """A property's name as an identifier. Source: pkg/cel/escaping.go."""
    if name in _KEYWORDS:
        return f"__{name}__"
    made = name.replace("__", "__underscores__")
    for char, word in ((".", "dot"), ("-", "dash"), ("/", "slash")):
        made = made.replace(char, f"__{word}__")
    return made


class Fields(dict[str, Type]):
    """The fields of an object type, escaped; compared by identity."""

    def __hash__(self) -> int:  # type: ignore[override]  # a type is told from another by identity
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def type_of(schema: Mapping[str, Any], *, root: bool = False) -> Type | None:
    """The type of values of a schema; None where rules cannot see them."""
    if schema.get("x-kubernetes-int-or-string"):
        return DYN
    sort = schema.get("type", "")
    if sort == "array":
        inner = type_of(schema.get("items") or {})
        return ("list", inner) if inner is not None else None
    if sort == "object":
        return _object(schema, root)
    if sort == "string":
        form = schema.get("format", "")
        return {"byte": BYTES, "duration": DURATION, "date": TIMESTAMP, "date-time": TIMESTAMP}.get(form, STRING)
    return {"boolean": BOOL, "number": DOUBLE, "integer": INT}.get(sort)


def _object(schema: Mapping[str, Any], root: bool) -> Type | None:
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        inner = type_of(more)
        return ("map", STRING, inner) if inner is not None else None
    fields = Fields()
    if root or schema.get("x-kubernetes-embedded-resource"):
        fields |= {"kind": STRING, "apiVersion": STRING}
        fields["metadata"] = ("object", Fields({"name": STRING, "generateName": STRING}))
    for name, inner_schema in (schema.get("properties") or {}).items():
        if (root or schema.get("x-kubernetes-embedded-resource")) and name in fields:
            continue
        inner = type_of(inner_schema)
        if inner is not None:
            fields[escape(name)] = inner
    return ("object", fields)


def show(kind: Type) -> str:
    """A type as messages print it."""
    name = kind[0]
    if name == "list":
        return f"list({show(kind[1])})"
    if name == "map":
        return f"map({show(kind[1])}, {show(kind[2])})"
    if name == "optional_type":
        return f"optional_type({show(kind[1])})"
    return "object" if name == "object" else str(name)


def fits(one: Type, other: Type) -> bool:
    """Whether two types may be the same."""
    if DYN in (one, other):
        return True
    if one[0] in ("object", "map") and other[0] in ("object", "map"):
        return bool(one[0] == other[0])
    if one[0] != other[0]:
        return False
    return all(
        fits(left, right)
        for left, right in zip(one[1:], other[1:], strict=True)
        if isinstance(left, tuple) and isinstance(right, tuple)
    )


_T: Final[Type] = ("param",)
_LIST: Final[Type] = ("list", DYN)
_MAP: Final[Type] = ("map", DYN, DYN)
ORDERED: Final = (BOOL, INT, UINT, DOUBLE, STRING, BYTES, TIMESTAMP, DURATION)

# function -> overloads: (arguments, result)
_OVERLOADS: Final[dict[str, list[Any]]] = {
    "!_": [((BOOL,), BOOL)],
    "-_": [((INT,), INT), ((DOUBLE,), DOUBLE)],
    "_&&_": [((BOOL, BOOL), BOOL)],
    "_||_": [((BOOL, BOOL), BOOL)],
    "_+_": [((t, t), t) for t in (INT, UINT, DOUBLE, STRING, BYTES, DURATION)] + [
        ((TIMESTAMP, DURATION), TIMESTAMP), ((DURATION, TIMESTAMP), TIMESTAMP), ((_LIST, _LIST), _LIST),
    ],
    "_-_": [((t, t), t) for t in (INT, UINT, DOUBLE, DURATION)] + [((TIMESTAMP, TIMESTAMP), DURATION), ((TIMESTAMP, DURATION), TIMESTAMP)],
    "_*_": [((t, t), t) for t in (INT, UINT, DOUBLE)],
    "_/_": [((t, t), t) for t in (INT, UINT, DOUBLE)],
    "_%_": [((t, t), t) for t in (INT, UINT)],
    **{f"_{op}_": [((t, t), BOOL) for t in ORDERED] + [
        ((a, b), BOOL) for a in (INT, UINT, DOUBLE) for b in (INT, UINT, DOUBLE) if a != b
    ] for op in ("<", "<=", ">", ">=")},
    "size": [((t,), INT) for t in (STRING, BYTES, _LIST, _MAP)],
    ".size": [((t,), INT) for t in (STRING, BYTES, _LIST, _MAP)],
    "int": [((t,), INT) for t in (INT, UINT, DOUBLE, STRING, TIMESTAMP, DURATION)],
    "uint": [((t,), UINT) for t in (INT, UINT, DOUBLE, STRING)],
    "double": [((t,), DOUBLE) for t in (INT, UINT, DOUBLE, STRING)],
    "string": [((t,), STRING) for t in (STRING, BOOL, INT, UINT, DOUBLE, BYTES, TIMESTAMP, DURATION)],
    "bool": [((t,), BOOL) for t in (BOOL, STRING)],
    "bytes": [((t,), BYTES) for t in (BYTES, STRING)],
    "dyn": [((DYN,), DYN)],
    "type": [((DYN,), ("type", DYN))],
    "duration": [((t,), DURATION) for t in (STRING, DURATION)],
    "timestamp": [((t,), TIMESTAMP) for t in (STRING, TIMESTAMP, INT)],
    "matches": [((STRING, STRING), BOOL)],
    **{f".{name}": [((STRING, STRING), BOOL)] for name in ("startsWith", "endsWith", "contains", "matches")},
    **{f".{name}": [((TIMESTAMP,), INT), ((TIMESTAMP, STRING), INT), *([((DURATION,), INT)] if name in ("getHours", "getMinutes", "getSeconds", "getMilliseconds") else [])]
       for name in ("getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek", "getHours", "getMinutes", "getSeconds", "getMilliseconds")},
    ".charAt": [((STRING, INT), STRING)],
    ".indexOf": [((STRING, STRING), INT), ((STRING, STRING, INT), INT), ((_LIST, DYN), INT)],
    ".lastIndexOf": [((STRING, STRING), INT), ((STRING, STRING, INT), INT), ((_LIST, DYN), INT)],
    ".lowerAscii": [((STRING,), STRING)],
    ".upperAscii": [((STRING,), STRING)],
    ".replace": [((STRING, STRING, STRING), STRING), ((STRING, STRING, STRING, INT), STRING)],
    ".split": [((STRING, STRING), ("list", STRING)), ((STRING, STRING, INT), ("list", STRING))],
    ".substring": [((STRING, INT), STRING), ((STRING, INT, INT), STRING)],
    ".trim": [((STRING,), STRING)],
    ".join": [((_LIST,), STRING), ((_LIST, STRING), STRING)],
    ".format": [((STRING, _LIST), STRING)],
    ".reverse": [((STRING,), STRING), ((_LIST,), _LIST)],
    "strings.quote": [((STRING,), STRING)],
    ".isSorted": [((_LIST,), BOOL)],
    ".sum": [((_LIST,), DYN)],
    ".min": [((_LIST,), DYN)],
    ".max": [((_LIST,), DYN)],
    ".find": [((STRING, STRING), STRING)],
    ".findAll": [((STRING, STRING), ("list", STRING)), ((STRING, STRING, INT), ("list", STRING))],
    "isURL": [((STRING,), BOOL)],
    "url": [((STRING,), KUBE["URL"])],
    **{f".{name}": [((KUBE["URL"],), STRING)] for name in ("getScheme", "getHost", "getHostname", "getPort", "getEscapedPath")},
    ".getQuery": [((KUBE["URL"],), ("map", STRING, ("list", STRING)))],
    "isQuantity": [((STRING,), BOOL)],
    "quantity": [((STRING,), KUBE["Quantity"])],
    ".sign": [((KUBE["Quantity"],), INT)],
    ".isInteger": [((KUBE["Quantity"],), BOOL)],
    ".asInteger": [((KUBE["Quantity"],), INT)],
    ".asApproximateFloat": [((KUBE["Quantity"],), DOUBLE)],
    ".add": [((KUBE["Quantity"], KUBE["Quantity"]), KUBE["Quantity"]), ((KUBE["Quantity"], INT), KUBE["Quantity"])],
    ".sub": [((KUBE["Quantity"], KUBE["Quantity"]), KUBE["Quantity"]), ((KUBE["Quantity"], INT), KUBE["Quantity"])],
    ".isGreaterThan": [((KUBE["Quantity"], KUBE["Quantity"]), BOOL)],
    ".isLessThan": [((KUBE["Quantity"], KUBE["Quantity"]), BOOL)],
    ".compareTo": [((KUBE["Quantity"], KUBE["Quantity"]), INT)],
    "isIP": [((STRING,), BOOL)],
    "ip": [((STRING,), KUBE["IP"])],
    "ip.isCanonical": [((STRING,), BOOL)],
    ".family": [((KUBE["IP"],), INT)],
    **{f".{name}": [((KUBE["IP"],), BOOL)] for name in ("isUnspecified", "isLoopback", "isLinkLocalMulticast", "isLinkLocalUnicast", "isGlobalUnicast")},
    "isCIDR": [((STRING,), BOOL)],
    "cidr": [((STRING,), KUBE["CIDR"])],
    ".containsIP": [((KUBE["CIDR"], KUBE["IP"]), BOOL), ((KUBE["CIDR"], STRING), BOOL)],
    ".containsCIDR": [((KUBE["CIDR"], KUBE["CIDR"]), BOOL), ((KUBE["CIDR"], STRING), BOOL)],
    ".ip": [((KUBE["CIDR"],), KUBE["IP"])],
    ".masked": [((KUBE["CIDR"],), KUBE["CIDR"])],
    ".prefixLength": [((KUBE["CIDR"],), INT)],
    "sets.contains": [((_LIST, _LIST), BOOL)],
    "sets.equivalent": [((_LIST, _LIST), BOOL)],
    "sets.intersects": [((_LIST, _LIST), BOOL)],
    "optional.none": [((), ANY_OPT)],
    "optional.of": [((DYN,), ANY_OPT)],
    "optional.ofNonZeroValue": [((DYN,), ANY_OPT)],
    ".hasValue": [((ANY_OPT,), BOOL)],
    ".value": [((ANY_OPT,), DYN)],
    ".or": [((ANY_OPT, ANY_OPT), ANY_OPT)],
    ".orValue": [((ANY_OPT, DYN), DYN)],
}  # fmt: skip


class Checker:
    """Types of one expression. Raises CelError at the first thing that is wrong."""

    def __init__(self, source: str, variables: Mapping[str, Type]) -> None:
        self.source = source
        self.scopes: list[Mapping[str, Type]] = [variables]
        self.names: set[str] = set()

    def fail(self, node: Node, text: str) -> CelError:
        return CelError(pointed(self.source, node.at, text))

    def check(self, node: Node) -> Type:
        """The type of an expression."""
        if node.kind == "const":
            return _constant(node.value)
        if node.kind == "ident":
            return self._ident(node)
        if node.kind in ("select", "test"):
            found = self._select(node)
            return BOOL if node.kind == "test" else found
        if node.kind == "list":
            return ("list", _common([self.check(part) for part in node.parts]))
        if node.kind == "map":
            keys = _common([self.check(key) for key, _ in node.parts])
            return ("map", keys, _common([self.check(value) for _, value in node.parts]))
        if node.kind == "comprehension":
            return self._comprehension(node)
        if node.kind == "bind":
            kind = self.check(node.parts[0])
            return self._scoped({node.value: kind}, node.parts[1])
        return self._call(node)

    def _scoped(self, more: Mapping[str, Type], node: Node) -> Type:
        self.scopes.append(more)
        try:
            return self.check(node)
        finally:
            self.scopes.pop()

    def _ident(self, node: Node) -> Type:
        for scope in reversed(self.scopes):
            if node.value in scope:
                self.names.add(node.value)
                return scope[node.value]
        if node.value in ("int", "uint", "double", "string", "bool", "bytes", "list", "map", "null_type", "type"):
            return ("type", DYN)
        raise self.fail(node, f"undeclared reference to '{node.value}' (in container '')")

    def _select(self, node: Node) -> Type:
        target = self.check(node.parts[0])
        optional = target[0] == "optional_type"
        inner = target[1] if optional else target
        if inner[0] == "map":
            found = inner[2]
        elif inner == DYN:
            found = DYN
        elif inner[0] == "object":
            if node.value not in inner[1]:
                raise self.fail(node, f"undefined field '{node.value}'")
            found = inner[1][node.value]
        else:
            raise self.fail(node, f"type '{show(inner)}' does not support field selection")
        return ("optional_type", found) if optional else found

    def _comprehension(self, node: Node) -> Type:
        name, *variables = node.value
        target = self.check(node.parts[0])
        if name in ("optMap", "optFlatMap"):
            inner = target[1] if target[0] == "optional_type" else DYN
            result = self._scoped({variables[0]: inner}, node.parts[1])
            return ("optional_type", result) if name == "optMap" else result
        if target[0] == "list":
            kinds = [INT, target[1]] if len(variables) == 2 else [target[1]]
        elif target[0] == "map":
            kinds = [target[1], target[2]] if len(variables) == 2 else [target[1]]
        elif target[0] == "object":
            raise self.fail(
                node.parts[0],
                f"expression of type '{show(target)}' cannot be range of a comprehension (must be list, map, or dynamic)",
            )
        elif target == DYN:
            kinds = [DYN] * len(variables)
        else:
            raise self.fail(
                node.parts[0],
                f"expression of type '{show(target)}' cannot be range of a comprehension (must be list, map, or dynamic)",
            )
        scope = dict(zip(variables, kinds, strict=True))
        results = [self._scoped(scope, part) for part in node.parts[1:]]
        if name in ("all", "exists", "exists_one", "existsOne", "filter") and not fits(results[0], BOOL):
            word = {"all": "_&&_", "exists": "_||_"}.get(name, "_?_:_")
            raise self.fail(node, f"found no matching overload for '{word}' applied to '(bool, {show(results[0])})'")
        if name in ("map", "transformList"):
            return ("list", results[-1])
        if name == "filter":
            return ("list", kinds[0])
        return BOOL

    def _call(self, node: Node) -> Type:
        name = node.value
        arguments = [self.check(part) for part in node.parts]
        special = self._special(node, name, arguments)
        if special is not None:
            return special
        overloads = _OVERLOADS.get(name)
        if overloads is None:
            raise self.fail(node, f"undeclared reference to '{name.removeprefix('.')}' (in container '')")
        for wanted, result in overloads:
            if len(wanted) == len(arguments) and all(map(fits, wanted, arguments)):
                if name in ("_+_", ".reverse") and arguments[0][0] == "list":
                    return arguments[0]
                if name in (".sum", ".min", ".max"):
                    return arguments[0][1] if arguments[0][0] == "list" else DYN
                return DYN if DYN in arguments and name in ("_+_", "_-_", "_*_", "_/_", "_%_", "-_") else result
        return self._no_overload(node, name, arguments)

    def _no_overload(self, node: Node, name: str, arguments: list[Type]) -> Type:
        if name.startswith("."):
            target, *rest = arguments
            shown = f"{show(target)}.({', '.join(map(show, rest))})"
            raise self.fail(node, f"found no matching overload for '{name[1:]}' applied to '{shown}'")
        raise self.fail(
            node, f"found no matching overload for '{name}' applied to '({', '.join(map(show, arguments))})'"
        )

    def _special(self, node: Node, name: str, arguments: list[Type]) -> Type | None:
        if name in ("_==_", "_!=_"):
            one, other = arguments
            nullable = NULL in (one, other) and (
                one[0] in ("object", "null_type", "google.protobuf.Timestamp", "google.protobuf.Duration")
                or other[0] in ("object", "null_type")
            )
            if not fits(one, other) and not nullable:
                self._no_overload(node, name, arguments)
            return BOOL
        if name == "_?_:_":
            if not fits(arguments[0], BOOL) or not fits(arguments[1], arguments[2]):
                self._no_overload(node, name, arguments)
            return arguments[1] if arguments[1] != DYN else arguments[2]
        if name == "@in":
            element, holder = arguments
            if (
                (holder[0] == "list" and fits(element, holder[1]))
                or (holder[0] == "map" and fits(element, holder[1]))
                or holder == DYN
            ):
                return BOOL
            self._no_overload(node, "@in", arguments)
        if name in ("_[_]", "_[?_]"):
            holder, index = arguments
            inner = holder[1] if holder[0] == "optional_type" else holder
            if inner[0] == "list" and fits(index, INT):
                found = inner[1]
            elif inner[0] == "map" and fits(index, inner[1]):
                found = inner[2]
            elif inner == DYN:
                found = DYN
            else:
                self._no_overload(node, name, arguments)
            return ("optional_type", found) if name == "_[?_]" or holder[0] == "optional_type" else found
        if name == "_?._":
            fake = Node("select", node.at, node.parts[1].value, (node.parts[0],))
            found = self._select(fake)
            return found if found[0] == "optional_type" else ("optional_type", found)
        if name == "optional.of" and len(arguments) == 1:
            return ("optional_type", arguments[0])
        if name == ".orValue" and arguments[0][0] == "optional_type":
            return arguments[0][1] if arguments[0][1] != DYN else arguments[1]
        if name == ".value" and arguments[0][0] == "optional_type":
            found_value: Type = arguments[0][1]
            return found_value
        return None


def _constant(value: Any) -> Type:
    if value is None:
        return NULL
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, UInt):
        return UINT
    if isinstance(value, int):
        return INT
    if isinstance(value, float):
        return DOUBLE
    return BYTES if isinstance(value, bytes) else STRING


def _common(kinds: list[Type]) -> Type:
    if not kinds:
        return DYN
    first = kinds[0]
    return first if all(fits(first, kind) and kind != DYN for kind in kinds) else DYN
