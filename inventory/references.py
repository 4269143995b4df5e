"""References to secrets: where a value is found, never the value.

`env:NAME` an environment variable, `file:PATH` a file (relative to the site's folder), `op://VAULT/ITEM/FIELD` 1Password
through `op read`, `exec:PROGRAM ARG...` the standard output of a program. A reference to `file:` or `op://` can also keep
a secret that the product makes.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from inventory.structure import WrongValue

Scheme = Literal["env", "file", "op", "exec"]
PATTERN = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^\s].*|op://[^/]+/[^/]+/.+|exec:[^\s-].*)$"
FORMS = "env:NAME, file:PATH, op://VAULT/ITEM/FIELD or exec:PROGRAM ARG..."
_RULES: dict[Scheme, str] = {
    "env": r"[A-Za-z_][A-Za-z0-9_]*",
    "file": r"(?!\s|-).*[^/\s]",
    # Source: `op read --help`: op://<vault>/<item>/[section/]<field>
    "op": r"//(?!-)[^/?\s][^/?]*/[^/?]+(/[^/?]+){1,2}",
    "exec": r"[^\s-].*",
}
MAX_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is: `str()` gives the reference as written."""

    KIND: ClassVar[_ReferenceKind]

    scheme: Scheme
    rest: str

    @classmethod
    def parse(cls, text: str) -> SecretRef:
        """Raises ValueError naming the allowed forms, without the text: it may be the secret itself."""
        scheme, _, rest = text.partition(":")
        known: dict[str, Scheme] = {"env": "env", "file": "file", "op": "op", "exec": "exec"}
        if scheme not in known:
            raise ValueError(f"a secret is given by reference: {FORMS}")
        if (
            len(text) > MAX_LENGTH
            or "\n" in text
            or not re.fullmatch(_RULES[known[scheme]], rest)
            or not _splits(scheme, rest)
        ):
            raise ValueError(f"the reference after `{scheme}:` is not well formed: {FORMS}")
        return cls(known[scheme], rest)

    @property
    def keeps(self) -> bool:
        """Whether a secret that the product makes can be written there."""
        return self.scheme in ("file", "op")

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and its arguments of an `exec:` reference, split as a shell would, run without one."""
        return tuple(shlex.split(self.rest)) if self.scheme == "exec" else ()

    def path(self, folder: Path) -> Path:
        """The file of a `file:` reference; a relative one is below `folder`, the site's."""
        return folder / self.rest

    @property
    def identity(self) -> str:
        """The same text for two references that name the same place."""
        return f"file:{posixpath.normpath(self.rest)}" if self.scheme == "file" else str(self)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.rest}"


def _splits(scheme: str, rest: str) -> bool:
    if scheme != "exec":
        return True
    try:
        return bool(shlex.split(rest))
    except ValueError:
        return False


class _ReferenceKind:
    """How a site file gives a reference."""

    def read(self, value: object, of: Any) -> SecretRef:
        """The reference of a text. Raises WrongValue, which never repeats what may be the secret itself."""
        if isinstance(value, SecretRef):
            return value
        text = value if isinstance(value, str) else ""
        try:
            return SecretRef.parse(text)
        except ValueError:
            scheme = text.partition(":")[0]
            if scheme in _RULES:
                raise WrongValue(FORMS, message=f"the reference after `{scheme}:` is not well formed") from None
            hint = "put the value into a file below `secrets/` and name it as file:secrets/NAME"
            raise WrongValue(
                FORMS, message="a secret is given by reference, never by value", hint=hint, secret=True
            ) from None

    def schema(self, of: Any) -> dict[str, Any]:
        """The forms as a pattern."""
        return {"type": "string", "pattern": PATTERN}


SecretRef.KIND = _ReferenceKind()
