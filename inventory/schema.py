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
    from inventory.structure import schema_of

    made = schema_of(Site)
    made["properties"] = {"include": _INCLUDE, **made["properties"]}
    made.pop("required", None)
    return {"$schema": DIALECT, "title": "Site", **made}


def json_schema_text() -> str:
    """The schema as the text of a file; equal from run to run."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
