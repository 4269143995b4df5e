"""The JSON Schema of a site file, for editors and for `bootstrap schema`.

It says what can be said of single values; what needs several (`inventory.rules`) is left to `bootstrap validate`.
"""

from __future__ import annotations

import json
from typing import Any

FILE_NAME = "site.schema.json"
MODELINE = f"# yaml-language-server: $schema=./{FILE_NAME}"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

_INCLUDE: dict[str, Any] = {
    "description": "further files of the site, relative to this one; their lists follow the lists of this file",
    "anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string", "minLength": 1}}],
}


def json_schema() -> dict[str, Any]:
    """The schema as JSON Schema 2020-12. What is required is not asked here, since an included file may hold it."""
    from inventory.model import Site

    made = _tidy(Site.model_json_schema(by_alias=True))
    made["properties"] = {"include": _INCLUDE, **made["properties"]}
    made.pop("required", None)
    return {"$schema": DIALECT, "title": "Site", **made}


def json_schema_text() -> str:
    """The schema as the text of a file; equal from run to run."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidy(value: Any) -> Any:
    """Drop the titles that repeat a key, and write an optional value as its type: nothing is given by leaving the key out."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _tidy(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))}
    choices = kept.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        left = [choice for choice in choices if choice != {"type": "null"}]
        kept = {
            **{key: item for key, item in kept.items() if key != "anyOf"},
            **(left[0] if len(left) == 1 else {"anyOf": left}),
        }
    if "default" in kept and (kept["default"] is None or isinstance(kept["default"], dict)):
        del kept["default"]  # a section's default is that of its keys, which stand with them
    return kept
