"""The reference of all keys in Markdown, made from the model: `python -m inventory.reference > docs/reference/site.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inventory.schema import json_schema

_INTRO = """# Site reference

Every key of a site file. Made from the model by `python -m inventory.reference`; a test holds it to that.

- A site is one YAML file, `site.yaml`, and the files that it includes. `bootstrap schema` prints the JSON Schema that editors use.
- Secrets are given by reference: `env:NAME`, `file:PATH` (relative to the site's folder), `op://VAULT/ITEM/FIELD`, `exec:PROGRAM ARG...`.
  What the product makes itself (`talos_secrets`, `cilium_ca`) is kept there, so those are `file:` or `op://`.
- Times are `90s`, `5m`, `1h30m`, `3d`, or a number of seconds.
- Not allowed, each with its error: anchors and aliases, tags, merge keys, a second document, duplicate keys, control characters,
  files over 1 MiB, other encodings than UTF-8, includes outside of the site's folder.
- **bold** keys are required.

Rules over several keys (overlaps, duplicates, quorum, families, versions) are checked by `bootstrap validate`; see `inventory/rules/`.
"""


def site_reference() -> str:
    """One table a section, sections in the order in which they are first used."""
    schema = json_schema()
    required = ("name", "network", "clusters", "nodes", "git", "cilium_ca")
    parts = [_INTRO, *_section("Site", schema, required)]
    for name in _in_order(schema):
        section = schema["$defs"][name]
        parts.extend(_section(name, section, tuple(section.get("required", ()))))
    return "\n".join(parts)


def _in_order(schema: dict[str, Any]) -> tuple[str, ...]:
    order: list[str] = []
    waiting = list(_refs(schema["properties"]))
    while waiting:
        name = waiting.pop(0)
        if name not in order and "properties" in schema["$defs"][name]:
            order.append(name)
            waiting.extend(_refs(schema["$defs"][name]))
    return tuple(order)


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield str(value["$ref"]).rsplit("/", 1)[-1]
        for item in value.values():
            yield from _refs(item)
    elif isinstance(value, list):
        for item in value:
            yield from _refs(item)


def _section(name: str, section: dict[str, Any], required: tuple[str, ...]) -> list[str]:
    rows = [_row(key, info, key in required) for key, info in section["properties"].items()]
    about = str(section.get("description", "")).replace("\n", " ")
    return [f"## {name}\n", f"{about}\n", "| key | form | default | meaning |", "|---|---|---|---|", *rows, ""]


def _row(key: str, info: dict[str, Any], required: bool) -> str:
    cells = (f"**{key}**" if required else key, _form(info), _default(info), _cell(str(info.get("description", ""))))
    return f"| {' | '.join(cells)} |"


def _form(info: dict[str, Any]) -> str:
    if "$ref" in info:
        name = str(info["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "enum" in info:
        return " or ".join(f"`{value}`" for value in info["enum"])
    if info.get("type") == "array":
        return f"list of {_form(info['items'])}"
    if info.get("type") in ("integer", "number"):
        low = info.get("minimum", info.get("exclusiveMinimum"))
        return f"number {'above ' if 'exclusiveMinimum' in info else ''}{low} to {info.get('maximum')}"
    return {"boolean": "`true` or `false`"}.get(str(info.get("type")), _text_form(info))


def _text_form(info: dict[str, Any]) -> str:
    choices = info.get("anyOf", ())
    if {"format": "ipv4"} in choices:
        return "address"
    pattern = str(info.get("pattern", ""))
    if "op://" in pattern:
        return "secret reference"
    if r"[0-9]{1,3}$" in pattern and "/" in pattern:
        return "network"
    if any(choice.get("type") == "array" for choice in choices):
        return "path, or list of paths"
    return "time" if any(choice.get("type") == "number" for choice in choices) else "text"


def _default(info: dict[str, Any]) -> str:
    if "default" not in info or info["default"] == []:
        return ""
    value = info["default"]
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    print(site_reference(), end="")
