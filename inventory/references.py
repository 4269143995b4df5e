"""References to secrets: where a value is found, never the value.

`env:NAME` an environment variable, `file:PATH` a file (relative to the site's folder), `op://VAULT/ITEM/FIELD` 1Password
through `op read`, `exec:PROGRAM ARG...` the standard output of a program. A reference to `file:` or `op://` can also keep
a secret that the product makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

Scheme = Literal["env", "file", "op", "exec"]
PATTERN = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|op://[^/]+/[^/]+/.+|exec:.+)$"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is: `str()` gives the reference as written."""

    scheme: Scheme
    rest: str

    @classmethod
    def parse(cls, text: str) -> SecretRef:
        """Raises ValueError naming the allowed forms."""
        scheme, colon, rest = text.partition(":")
        if not colon or not rest or scheme not in ("env", "file", "op", "exec"):
            raise ValueError("a secret is given by reference: env:NAME, file:PATH, op://VAULT/ITEM/FIELD or exec:PROGRAM ARG...")
        return cls(scheme, rest)  # type: ignore[arg-type]  # narrowed by the test above

    @property
    def keeps(self) -> bool:
        """Whether a secret that the product makes can be written there."""
        return self.scheme in ("file", "op")

    def __str__(self) -> str:
        return f"{self.scheme}:{self.rest}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls.parse(_text(value)),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": PATTERN}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a secret is given by reference, as text: env:NAME, file:PATH, op://VAULT/ITEM/FIELD or exec:PROGRAM ARG...")
    return value
