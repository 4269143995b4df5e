"""Validation rules of schemas (x-kubernetes-validations): compiled once a schema, evaluated on each write.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel validation.go, compilation.go (v0.33).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lab.kube import errors, plain
from lab.kube.errors import FieldError
from lab.kube.schema import structural
from lab.kube.schema.celeval import EvaluationError, Evaluator, Optional, typed
from lab.kube.schema.celparse import CelError, Node, parse
from lab.kube.schema.celtypes import BOOL, STRING, Checker, Type, fits, type_of
from lab.kube.schema.smd import ABSENT

Schema = Mapping[str, Any]
Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule. `error` and `message_error` say why it does not compile."""

    source: Mapping[str, Any]
    tree: Node | None = None
    message: Node | None = None
    uses_old: bool = False
    error: str = ""
    message_error: str = ""


_cache: Final[dict[int, tuple[Schema, tuple[Rule, ...]]]] = {}


def rules_of(schema: Schema, *, root: bool = False) -> tuple[Rule, ...]:
    """The compiled rules of one schema node; kept as long as the schema."""
    found = _cache.get(id(schema))
    if found is None or found[0] is not schema:
        if len(_cache) > 4096:
            _cache.clear()
        kind = type_of(schema, root=root)
        made = tuple(compile_rule(rule, kind) for rule in schema.get("x-kubernetes-validations") or ())
        found = _cache[id(schema)] = (schema, made)
    return found[1]


def compile_rule(rule: Mapping[str, Any], kind: Type | None) -> Rule:
    """Parse and check one rule on a type."""
    source = rule.get("rule", "")
    if not source.strip():
        return Rule(rule)
    if kind is None:
        return Rule(rule, error="compilation failed: no type")
    old: Type = ("optional_type", kind) if rule.get("optionalOldSelf") else kind
    try:
        tree = parse(source)
        checker = Checker(source, {"self": kind, "oldSelf": old})
        result = checker.check(tree)
    except CelError as error:
        return Rule(rule, error=f"compilation failed: {error}")
    if result != BOOL and result != ("dyn",):
        return Rule(rule, error="cel expression must evaluate to a bool")
    message, message_error = _message(rule.get("messageExpression", ""), kind, old)
    return Rule(rule, tree, message, "oldSelf" in checker.names, "", message_error)


def _message(source: str, kind: Type, old: Type) -> tuple[Node | None, str]:
    if not source:
        return None, ""
    try:
        tree = parse(source)
        result = Checker(source, {"self": kind, "oldSelf": old}).check(tree)
    except CelError as error:
        return None, f"messageExpression compilation failed: {error}"
    if not fits(result, STRING):
        return None, "messageExpression must evaluate to a string"
    return tree, ""


def validate(schema: Schema, new: Any, old: Any, warn: Warn | None = None) -> list[FieldError]:
    """Violations of all rules in an object. `old` is None at creation."""
    found: list[FieldError] = []
    _walk(schema, new, ABSENT if old is None else old, "", found, root=True)
    return found


def _walk(schema: Schema, new: Any, old: Any, path: str, found: list[FieldError], *, root: bool = False) -> None:
    if new is None or not _has_rules(schema):
        return
    _judge(schema, new, old, path, found, root=root)
    for part in schema.get("allOf") or ():
        _walk(part, new, old, path, found)
    if isinstance(new, dict):
        _walk_map(schema, new, old, path, found)
    elif isinstance(new, list) and isinstance(schema.get("items"), dict):
        before = structural._correlated(old, schema) if old is not ABSENT else None
        for place, entry in enumerate(new):
            earlier = before(place, entry) if before else ABSENT
            _walk(schema["items"], entry, earlier, f"{path}[{place}]", found)


_rule_cache: Final[dict[int, tuple[Schema, bool]]] = {}


def _has_rules(schema: Schema) -> bool:
    known = _rule_cache.get(id(schema))
    if known is None or known[0] is not schema:
        if len(_rule_cache) > 8192:
            _rule_cache.clear()
        from lab.kube.schema import crd

        known = _rule_cache[id(schema)] = (schema, crd.names_rules(schema))
    return known[1]


def _walk_map(schema: Schema, new: dict[str, Any], old: Any, path: str, found: list[FieldError]) -> None:
    before = old if isinstance(old, dict) else {}
    properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
    for key, entry in new.items():
        inner = properties.get(key)
        here = f"{path}.{key}" if path else key
        if inner is None and isinstance(more, dict):
            inner, here = more, f"{path}[{key}]"
        if inner is not None:
            _walk(inner, entry, before.get(key, ABSENT), here, found)


def _judge(schema: Schema, new: Any, old: Any, path: str, found: list[FieldError], *, root: bool) -> None:
    rules = rules_of(schema, root=root)
    if not rules:
        return
    sort = schema.get("type", "")
    seen = typed(new, _rooted(schema) if root else schema)
    earlier = None if old is ABSENT or old is None else typed(old, _rooted(schema) if root else schema)
    unchanged = earlier is not None and plain.same(new, old)
    for rule in rules:
        if rule.error:
            found.append(errors.wrong(path or "<nil>", sort, f"rule compile error: {rule.error}"))
            continue
        optional = bool(rule.source.get("optionalOldSelf"))
        if rule.tree is None or (rule.uses_old and earlier is None and not optional):
            continue
        variables: dict[str, Any] = {"self": seen}
        if optional:
            variables["oldSelf"] = Optional(earlier is not None, earlier)
        elif earlier is not None:
            variables["oldSelf"] = earlier
        if unchanged and not rule.uses_old:
            continue
        _evaluate(rule, variables, sort, path, found)


def _rooted(schema: Schema) -> Schema:
    """The root's schema with the fields that every object has."""
    properties = dict(schema.get("properties") or {})
    properties |= {"kind": {"type": "string"}, "apiVersion": {"type": "string"}}
    properties["metadata"] = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}},
    }
    return {**schema, "properties": properties}


def _evaluate(rule: Rule, variables: dict[str, Any], sort: str, path: str, found: list[FieldError]) -> None:
    source = rule.source
    shown = (source.get("message") or source.get("rule") or "").strip()
    if rule.tree is None:
        return
    try:
        result = Evaluator(variables).value(rule.tree)
    except EvaluationError as error:
        text = str(error)
        if text.startswith("no such overload"):
            text = f"'{text}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
        else:
            text = f"{text} evaluating rule: {shown}"
        found.append(errors.wrong(path or "<nil>", sort, text))
        return
    if result is True:
        return
    where = path
    if source.get("fieldPath"):
        where = f"{path}{source['fieldPath']}" if path else source["fieldPath"].lstrip(".")
    message = source.get("message", "").strip() or f"failed rule: {shown}"
    if rule.message is not None:
        message = _said(rule.message, variables) or message
    found.append(_refusal(source.get("reason"), where or "<nil>", sort, message))


def _said(message: Node, variables: dict[str, Any]) -> str:
    try:
        text = Evaluator(variables).value(message)
    except EvaluationError:
        return ""
    trimmed = text.strip() if isinstance(text, str) else ""
    return trimmed if "\n" not in trimmed and len(trimmed) <= 5 * 1024 else ""


def _refusal(reason: str | None, where: str, sort: str, message: str) -> FieldError:
    if reason == "FieldValueForbidden":
        return errors.forbidden_field(where, message)
    if reason == "FieldValueRequired":
        return errors.required(where, message)
    if reason == "FieldValueDuplicate":
        return errors.duplicate(where, sort)
    return errors.wrong(where, sort, message)
