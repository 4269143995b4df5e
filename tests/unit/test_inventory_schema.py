"""The published schema: every key described, every example accepted, and the broken values that it can see refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import inventory
from inventory import init, schema
from inventory.reference import site_reference

SITES = Path(inventory.__file__).parent / "sites"
ROOT = Path(__file__).parents[2]
KINDS = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}


def breaches(value: Any, rule: dict[str, Any], whole: dict[str, Any], where: str = "") -> Iterator[str]:
    """Where `value` breaks `rule`: the part of JSON Schema that ours uses."""
    rule = {**whole["$defs"][rule["$ref"].rsplit("/", 1)[-1]], **rule} if "$ref" in rule else rule
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(
        isinstance(value, KINDS[kind]) and isinstance(value, bool) is (kind == "boolean") for kind in kinds
    ):
        yield f"{where}: not {kinds}"
        return
    if "anyOf" in rule and all(list(breaches(value, choice, whole)) for choice in rule["anyOf"]):
        yield f"{where}: none of anyOf"
    if isinstance(value, str) and not re.search(rule.get("pattern", ""), value):
        yield f"{where}: pattern"
    if isinstance(value, str) and len(value) > rule.get("maxLength", len(value)):
        yield f"{where}: length"
    if "enum" in rule and value not in rule["enum"]:
        yield f"{where}: enum"
    if isinstance(value, int | float) and not rule.get("minimum", value) <= value <= rule.get("maximum", value):
        yield f"{where}: range"
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from breaches(item, rule.get("items", {}), whole, f"{where}[{number}]")
    if isinstance(value, dict):
        yield from (f"{where}.{key}: missing" for key in rule.get("required", ()) if key not in value)
        for key, item in value.items():
            if key in rule.get("properties", {}):
                yield from breaches(item, rule["properties"][key], whole, f"{where}.{key}")
            elif rule.get("additionalProperties") is False:
                yield f"{where}.{key}: unknown"


@pytest.mark.parametrize("file", sorted(SITES.rglob("*.yaml")), ids=lambda file: str(file.relative_to(SITES)))
def test_examples_fit(file: Path) -> None:
    made = schema.json_schema()
    assert list(breaches(yaml.safe_load(file.read_text(encoding="utf-8")), made, made)) == []


@pytest.mark.parametrize(
    "case",
    [
        "unknown-key",
        "bad-choice",
        "id-too-large",
        "name-in-capitals",
        "missing-key",
        "secret-by-value",
        "bad-duration",
        "not-a-list",
    ],
)
def test_an_editor_sees_what_one_value_says(case: str) -> None:
    file = ROOT / "tests" / "cases" / "inventory" / "broken" / case / "site.yaml"
    made = schema.json_schema()
    assert list(breaches(yaml.safe_load(file.read_text(encoding="utf-8")), made, made))


def test_every_key_is_described() -> None:
    made = schema.json_schema()
    sections = [made, *made["$defs"].values()]
    bare = [
        key
        for section in sections
        for key, info in section.get("properties", {}).items()
        if not info.get("description")
    ]
    assert bare == []
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert all(section.get("additionalProperties") is False for section in sections if "properties" in section)


def test_patterns_are_of_every_dialect() -> None:
    """Editors take ECMAScript's regular expressions: nothing that Python alone has."""
    text = json.dumps(schema.json_schema())
    assert not re.search(r"\(\?P|\(\?i|\\\\A|\\\\Z", text)


def test_text_is_equal_from_run_to_run() -> None:
    assert schema.json_schema_text() == schema.json_schema_text()
    assert init.from_template()["site.schema.json"] == schema.json_schema_text()


def test_reference_is_up_to_date() -> None:
    committed = (ROOT / "docs" / "reference" / "site.md").read_text(encoding="utf-8")
    assert committed == site_reference(), "run: python -m inventory.reference > docs/reference/site.md"
