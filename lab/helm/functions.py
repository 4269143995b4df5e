"""The functions that a chart's templates may call: Go's own, Sprig's, and Helm's. Pure, but for what the caller hands in.

What is not here is refused by name (`function "x" not defined`), as Go refuses an unknown one.
Source: text/template of Go 1.24, sprig v3.3, helm v3.19 pkg/engine/funcs.go.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from itertools import product
from typing import Any

from lab.helm import goyaml
from lab.helm.template import FailError, Func, FunctionError, go_type, inner_text, text_of, truth


def to_text(value: Any) -> str:
    """Sprig's strval."""
    return "" if value is None else text_of(value)


def to_int(value: Any) -> int:
    """Sprig's toInt64: what is no number is 0."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return int(value)
    try:
        return int(str(value), 0)
    except ValueError:
        try:
            return int(float(str(value)))
        except ValueError:
            return 0


def to_float(value: Any) -> float:
    """Sprig's toFloat64."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def quote(*values: Any) -> str:
    """Each value in double quotes; nil is left out."""
    return " ".join(json.dumps(to_text(v), ensure_ascii=False) for v in values if v is not None)


def squote(*values: Any) -> str:
    """Each value in single quotes; nil is left out."""
    return " ".join(f"'{to_text(v)}'" for v in values if v is not None)


def indent(spaces: int, text: str) -> str:
    """Every line behind `spaces` blanks."""
    pad = " " * spaces
    return pad + str(text).replace("\n", "\n" + pad)


def to_yaml(value: Any) -> str:
    """YAML without the final newline; nil is `null`."""
    return goyaml.dump(value).rstrip("\n").removesuffix("\n...")


def from_yaml(text: str) -> Any:
    """A map; a document that is not YAML comes back as {"Error": text}."""
    try:
        return goyaml.load(text) or {}
    except goyaml.YamlError as error:
        return {"Error": str(error)}


def to_json(value: Any) -> str:
    """Go's compact JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def default(fallback: Any, value: Any = None) -> Any:
    """`value`, or `fallback` where it is empty."""
    return value if truth(value) else fallback


def required(message: str, value: Any) -> Any:
    """`value`; fails with `message` where it is nil or the empty string."""
    if value is None or value == "":
        raise FailError(message)
    return value


def fail(message: str) -> str:
    """Always fails."""
    raise FailError(message)


def kind_of(value: Any) -> str:
    """The reflect.Kind of a decoded value."""
    if value is None:
        return "invalid"
    return {"map[string]interface {}": "map", "[]interface {}": "slice"}.get(go_type(value), go_type(value))


def dictionary(*pairs: Any) -> dict[str, Any]:
    """key, value, key, value..."""
    return {to_text(pairs[i]): pairs[i + 1] if i + 1 < len(pairs) else "" for i in range(0, len(pairs), 2)}


def set_key(target: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Writes into `target` and returns it."""
    target[key] = value
    return target


def unset(target: dict[str, Any], key: str) -> dict[str, Any]:
    """Removes from `target` and returns it."""
    target.pop(key, None)
    return target


def merge(target: dict[str, Any], *sources: Mapping[str, Any], overwrite: bool = False) -> dict[str, Any]:
    """Deep merge into `target`, which wins unless `overwrite`."""
    for source in sources:
        for key, value in (source or {}).items():
            if isinstance(target.get(key), dict) and isinstance(value, Mapping):
                merge(target[key], value, overwrite=overwrite)
            elif overwrite or not truth(target.get(key)):
                target[key] = copy.deepcopy(value)
    return target


def merge_overwrite(target: dict[str, Any], *sources: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge into `target`; the later wins."""
    return merge(target, *sources, overwrite=True)


def dig(*args: Any) -> Any:
    """dig "a" "b" fallback map."""
    *path, fallback, value = args
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return fallback
        value = value[key]
    return value


def index(value: Any, *keys: Any) -> Any:
    """Nested lookup; what is missing in a map is nil."""
    for key in keys:
        if value is None:
            raise FunctionError("index of untyped nil")
        if isinstance(value, Mapping):
            value = value.get(key)
        else:
            if not 0 <= key < len(value):
                raise FunctionError(f"index out of range: {key}")
            value = value[key]
    return value


def go_printf(layout: str, *args: Any) -> str:
    """fmt.Sprintf for the verbs that charts use."""
    rest = list(args)

    def one(match: re.Match[str]) -> str:
        flags, verb = match[1], match[2]
        if verb == "%":
            return "%"
        if not rest:
            return f"%!{verb}(MISSING)"
        value = rest.pop(0)
        if verb == "q":
            return json.dumps(to_text(value), ensure_ascii=False)
        if verb == "d":
            return f"%{flags}d" % value if isinstance(value, int | float) else f"%!d({go_type(value)}={to_text(value)})"
        if verb in "feg":
            return f"%{flags}{verb}" % float(value)
        if verb in "xX":
            return f"%{flags}{verb}" % value if isinstance(value, int) else str(value).encode().hex()
        if verb == "t":
            return text_of(bool(value))
        if verb == "T":
            return go_type(value)
        return f"%{flags}s" % (inner_text(value) if verb == "v" else to_text(value))

    return re.sub(r"%([-+# 0-9.]*)([a-zA-Z%])", one, layout)


def compare(a: Any, b: Any) -> int:
    """Go's basic comparison; types that do not compare are refused."""
    numbers = isinstance(a, int | float) and isinstance(b, int | float) and not isinstance(a, bool) and not isinstance(b, bool)
    if not numbers and not (isinstance(a, str) and isinstance(b, str)):
        raise FunctionError("incompatible types for comparison")
    return int(a > b) - int(a < b)


def equal(first: Any, *others: Any) -> bool:
    """Whether any of `others` equals `first`."""
    for other in others:
        if first is not None and other is not None and isinstance(first, bool) != isinstance(other, bool):
            raise FunctionError("incompatible types for comparison")
        if isinstance(first, str) != isinstance(other, str) and first is not None and other is not None:
            raise FunctionError("incompatible types for comparison")
        if first == other:
            return True
    return False


def _parts(version: str) -> tuple[tuple[int, int, int], str] | None:
    match = re.fullmatch(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", version.strip())
    return ((int(match[1]), int(match[2] or 0), int(match[3] or 0)), match[4] or "") if match else None


def semver_key(version: str) -> tuple[Any, ...]:
    """Sort key of a semantic version; what is none sorts first."""
    parts = _parts(version)
    if not parts:
        return ((-1, -1, -1), 0, ())
    pre = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts[1].split(".")) if parts[1] else ()
    return (parts[0], 0 if parts[1] else 1, pre)


def semver_matches(constraint: str, version: str) -> bool:
    """Masterminds/semver: comma for and, || for or, ~ ^ x and hyphen ranges."""
    return any(all(_one(c, version) for c in re.split(r"\s*,\s*|\s+(?=[<>=!~^])", part.strip()) if c) for part in constraint.split("||"))


def _one(clause: str, version: str) -> bool:
    clause = clause.strip()
    if " - " in clause:
        low, high = clause.split(" - ")
        return semver_key(low) <= semver_key(version) <= semver_key(high)
    match = re.fullmatch(r"(=|!=|>=|<=|>|<|~>?|\^)?\s*v?([0-9xX*.]+(?:-[0-9A-Za-z.-]+)?)(?:\+.*)?", clause)
    if not match:
        raise FunctionError(f"improper constraint: {clause}")
    op, wanted = match[1] or "", match[2]
    release, _, pre = wanted.partition("-")
    numbers = [p for p in release.split(".") if p not in ("x", "X", "*", "")]
    have = semver_key(version)
    if have[1] == 0 and not pre:
        return False  # pre-releases are matched only by constraints that have one
    if not numbers:
        return True
    full = ".".join([*numbers, *["0"] * (3 - len(numbers))]) + (f"-{pre}" if pre else "")
    base = semver_key(full)
    if op in ("", "=") and len(numbers) == 3:
        return bool(have == base)
    if op == "!=":
        return bool(have != base)
    if op in (">=", "<=", ">", "<"):
        return bool({">=": have >= base, "<=": have <= base, ">": have > base, "<": have < base}[op])
    ints = [int(n) for n in numbers]
    if op == "^":
        keep = next((i for i, n in enumerate(ints) if n), len(ints) - 1)
    elif op.startswith("~"):
        keep = min(1, len(ints) - 1)
    else:
        keep = len(ints) - 1
    upper = [*ints[:keep], ints[keep] + 1, *[0] * (2 - keep)]
    return bool(base <= have and have[0] < tuple(upper))


def trunc(length: int, text: str) -> str:
    """The first `length` characters, or the last where it is negative."""
    return text[:length] if length >= 0 else text[length:]


def go_regex(pattern: str) -> re.Pattern[str]:
    """RE2 syntax is close enough to Python's, but for POSIX classes."""
    for name, chars in {"[:alpha:]": "a-zA-Z", "[:digit:]": "0-9", "[:alnum:]": "a-zA-Z0-9", "[:space:]": r"\s"}.items():
        pattern = pattern.replace(name, chars)
    try:
        return re.compile(pattern)
    except re.error as error:
        raise FunctionError(f"error parsing regexp: {error}") from error


def _replacement(text: str) -> str:
    return re.sub(r"\$\{?(\w+)\}?", r"\\g<\1>", text.replace("\\", "\\\\"))


def _list(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    raise FunctionError(f"Cannot find an element of type {go_type(value)}")


def until(*bounds: int) -> list[int]:
    """until N, or untilStep START STOP STEP."""
    return list(range(*bounds))


def functions(now: datetime, lookup: Func | None = None, random_text: Func | None = None) -> dict[str, Func]:
    """The whole table. `lookup` answers from what was fetched before; `random_text(n)` is the seeded source of random strings."""
    text_functions: dict[str, Func] = {
        "quote": quote, "squote": squote, "cat": lambda *v: " ".join(to_text(x) for x in v if x is not None),
        "upper": lambda s: str(s).upper(), "lower": lambda s: str(s).lower(), "title": lambda s: str(s).title(), "untitle": lambda s: s[:1].lower() + s[1:],
        "trim": lambda s: str(s).strip(), "trimAll": lambda c, s: s.strip(c), "trimPrefix": lambda p, s: s.removeprefix(p),
        "trimSuffix": lambda p, s: s.removesuffix(p), "trunc": trunc, "nospace": lambda s: re.sub(r"\s", "", s),
        "contains": lambda sub, s: sub in s, "hasPrefix": lambda p, s: s.startswith(p), "hasSuffix": lambda p, s: s.endswith(p),
        "replace": lambda old, new, s: to_text(s).replace(old, new), "repeat": lambda n, s: s * n, "substr": lambda a, b, s: s[a : b if b >= 0 else None],
        "indent": indent, "nindent": lambda n, s: "\n" + indent(n, s), "join": lambda sep, v: sep.join(to_text(x) for x in v),
        "splitList": lambda sep, s: s.split(sep), "split": lambda sep, s: {f"_{i}": p for i, p in enumerate(s.split(sep))},
        "splitn": lambda sep, n, s: {f"_{i}": p for i, p in enumerate(s.split(sep, n - 1))}, "toString": to_text, "toStrings": lambda v: [to_text(x) for x in v],
        "sortAlpha": lambda v: sorted(to_text(x) for x in v), "plural": lambda one, many, n: one if n == 1 else many,
        "snakecase": lambda s: re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", s).lower().replace("-", "_"),
        "kebabcase": lambda s: re.sub(r"(?<=[a-z0-9])([A-Z])", r"-\1", s).lower().replace("_", "-"),
        "camelcase": lambda s: "".join(p.title() for p in re.split(r"[_-]", s)),
        "regexMatch": lambda p, s: bool(go_regex(p).search(s)), "regexFind": lambda p, s: m[0] if (m := go_regex(p).search(s)) else "",
        "regexFindAll": lambda p, s, n: [m[0] for m in go_regex(p).finditer(s)][: n if n >= 0 else None],
        "regexReplaceAll": lambda p, s, r: go_regex(p).sub(_replacement(r), s),
        "regexReplaceAllLiteral": lambda p, s, r: go_regex(p).sub(lambda _: r, s),
        "regexSplit": lambda p, s, n: go_regex(p).split(s, maxsplit=max(n - 1, 0)), "regexQuoteMeta": re.escape,
        "b64enc": lambda s: base64.b64encode(to_text(s).encode()).decode(), "b64dec": lambda s: base64.b64decode(s).decode(),
        "sha256sum": lambda s: hashlib.sha256(to_text(s).encode()).hexdigest(), "sha1sum": lambda s: hashlib.sha1(to_text(s).encode()).hexdigest(),
        "adler32sum": lambda s: str(__import__("zlib").adler32(to_text(s).encode())), "printf": go_printf, "print": lambda *v: "".join(inner_text(x) for x in v),
        "println": lambda *v: " ".join(inner_text(x) for x in v) + "\n", "html": lambda s: s, "urlquery": lambda s: s,
        "base": lambda p: p.rsplit("/", 1)[-1], "dir": lambda p: p.rsplit("/", 1)[0] if "/" in p else ".", "ext": lambda p: m[0] if (m := re.search(r"\.[^./]*$", p)) else "",
    }  # fmt: skip
    data_functions: dict[str, Func] = {
        "toYaml": to_yaml, "toYamlPretty": to_yaml, "fromYaml": from_yaml, "fromYamlArray": from_yaml, "toJson": to_json, "fromJson": json.loads,
        "fromJsonArray": json.loads, "toPrettyJson": lambda v: json.dumps(v, indent=2, sort_keys=True), "mustToJson": to_json, "toRawJson": lambda v: json.dumps(v),
        "mustToYaml": to_yaml, "mustFromJson": json.loads, "default": default, "empty": lambda v: not truth(v), "required": required, "fail": fail,
        "coalesce": lambda *v: next((x for x in v if truth(x)), None), "ternary": lambda a, b, test: a if test else b,
        "all": lambda *v: all(truth(x) for x in v), "any": lambda *v: any(truth(x) for x in v),
        "list": lambda *v: list(v), "tuple": lambda *v: list(v), "dict": dictionary, "get": lambda d, k: d.get(k, ""), "set": set_key, "unset": unset,
        "hasKey": lambda d, k: k in d, "pluck": lambda k, *ds: [d[k] for d in ds if k in d], "keys": lambda *ds: [k for d in ds for k in d],
        "values": lambda d: list(d.values()), "pick": lambda d, *ks: {k: d[k] for k in ks if k in d}, "omit": lambda d, *ks: {k: v for k, v in d.items() if k not in ks},
        "merge": merge, "mergeOverwrite": merge_overwrite, "mustMerge": merge, "mustMergeOverwrite": merge_overwrite,
        "deepCopy": copy.deepcopy, "mustDeepCopy": copy.deepcopy, "dig": dig, "first": lambda v: v[0] if v else None, "last": lambda v: v[-1] if v else None,
        "rest": lambda v: list(v[1:]), "initial": lambda v: list(v[:-1]), "append": lambda v, x: [*_list(v), x], "prepend": lambda v, x: [x, *_list(v)],
        "concat": lambda *vs: [x for v in vs for x in v], "has": lambda x, v: x in (v or ()), "without": lambda v, *xs: [x for x in v if x not in xs],
        "uniq": lambda v: [x for i, x in enumerate(v) if x not in v[:i]], "compact": lambda v: [x for x in v if truth(x)], "reverse": lambda v: list(reversed(v)),
        "slice": lambda v, *b: v[(b[0] if b else 0) : (b[1] if len(b) > 1 else None)], "index": index, "len": len, "until": until, "untilStep": until,
        "seq": lambda *n: " ".join(str(i) for i in range(1 if len(n) == 1 else n[0], n[-1] + 1)), "chunk": lambda n, v: [v[i : i + n] for i in range(0, len(v), n)],
        "kindOf": kind_of, "kindIs": lambda k, v: kind_of(v) == k, "typeOf": go_type, "typeIs": lambda t, v: go_type(v) == t, "deepEqual": lambda a, b: a == b,
        "cartesian": lambda *v: [list(p) for p in product(*v)],
    }  # fmt: skip
    number_functions: dict[str, Func] = {
        "int": to_int, "int64": to_int, "float64": to_float, "atoi": to_int, "toDecimal": lambda v: int(str(v), 8),
        "add": lambda *v: sum(to_int(x) for x in v), "add1": lambda v: to_int(v) + 1, "sub": lambda a, b: to_int(a) - to_int(b), "mul": _mul,
        "div": lambda a, b: int(to_int(a) / to_int(b)), "mod": lambda a, b: to_int(a) % to_int(b), "max": lambda *v: max(to_int(x) for x in v),
        "min": lambda *v: min(to_int(x) for x in v), "floor": lambda v: float(int(to_float(v) // 1)), "ceil": lambda v: float(-int(-to_float(v) // 1)),
        "round": lambda v, n=0: round(to_float(v), n), "eq": equal, "ne": lambda a, b: not equal(a, b), "lt": lambda a, b: compare(a, b) < 0,
        "le": lambda a, b: compare(a, b) <= 0, "gt": lambda a, b: compare(a, b) > 0, "ge": lambda a, b: compare(a, b) >= 0, "not": lambda v: not truth(v),
        "semverCompare": semver_matches, "semver": _semver,
    }  # fmt: skip
    world_functions: dict[str, Func] = {
        "now": lambda: now, "date": _date, "dateInZone": lambda layout, moment, _zone: _date(layout, moment), "unixEpoch": lambda t: str(int(t.timestamp())),
        "lookup": lookup or (lambda *_: {}), "getHostByName": lambda _: "",
        "randAlphaNum": random_text or (lambda n: "x" * n), "randAlpha": random_text or (lambda n: "x" * n), "uuidv4": lambda: (random_text or (lambda n: "x" * n))(36),
    }  # fmt: skip
    return {**text_functions, **data_functions, **number_functions, **world_functions}


def _mul(*values: Any) -> int:
    product_ = 1
    for value in values:
        product_ *= to_int(value)
    return product_


def _semver(version: str) -> dict[str, Any]:
    parts = _parts(version)
    if not parts:
        raise FunctionError("invalid semantic version")
    return {"Major": parts[0][0], "Minor": parts[0][1], "Patch": parts[0][2], "Prerelease": parts[1], "Metadata": "", "Original": version}


def _date(layout: str, moment: datetime) -> str:
    for go, strftime in (("2006", "%Y"), ("01", "%m"), ("02", "%d"), ("15", "%H"), ("04", "%M"), ("05", "%S"), ("Jan", "%b"), ("Mon", "%a"), ("MST", "UTC")):
        layout = layout.replace(go, strftime)
    return moment.strftime(layout)
