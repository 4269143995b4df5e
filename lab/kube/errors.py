"""Refusals as a real API server words them: Status objects, and field errors that become their causes.

ApiError
  everything that is answered with a Status; the constructors below fix code, reason and message of each sort.
FieldError is not an exception: validation collects a list of them and `invalid` makes one 422 of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final


class ApiError(Exception):
    """An answer of 4xx or 5xx. `details` is the Status' details object, None where it has none."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}

    def status(self) -> dict[str, Any]:
        """The Status object."""
        made: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            made["reason"] = self.reason
        if self.details is not None:
            made["details"] = self.details
        made["code"] = self.code
        return made


def about(group: str, kind: str, name: str = "", **more: Any) -> dict[str, Any]:
    """A Status' details; empty parts are left out as Go does."""
    parts = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in parts.items() if value} | more


def qualified(group: str, plural: str) -> str:
    """ "pods", or "deployments.apps"."""
    return f"{plural}.{group}" if group else plural


def bad_request(message: str) -> ApiError:
    """400 BadRequest."""
    return ApiError(400, "BadRequest", message)


def not_found(group: str, plural: str, name: str) -> ApiError:
    """404 of an object."""
    return ApiError(404, "NotFound", f"{qualified(group, plural)} {quote(name)} not found", about(group, plural, name))


def already_exists(group: str, plural: str, name: str) -> ApiError:
    """409 of a creation."""
    message = f"{qualified(group, plural)} {quote(name)} already exists"
    return ApiError(409, "AlreadyExists", message, about(group, plural, name))


MODIFIED: Final = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(group: str, plural: str, name: str, why: str = MODIFIED) -> ApiError:
    """409 of an update."""
    message = f"Operation cannot be fulfilled on {qualified(group, plural)} {quote(name)}: {why}"
    return ApiError(409, "Conflict", message, about(group, plural, name))


def forbidden(group: str, plural: str, name: str, why: str) -> ApiError:
    """403, with the resource in front."""
    what = qualified(group, plural)
    if not what:
        message = f"forbidden: {why}"
    elif name:
        message = f"{what} {quote(name)} is forbidden: {why}"
    else:
        message = f"{what} is forbidden: {why}"
    return ApiError(403, "Forbidden", message, about(group, plural, name))


def method_not_allowed(group: str, plural: str, message: str = "") -> ApiError:
    """405."""
    text = message or "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", text, about(group, plural))


def unserved(details: dict[str, Any] | None = None) -> ApiError:
    """404 of a path that nobody serves."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details or {})


def internal(message: str) -> ApiError:
    """500 as it is answered for an error that has no Status of its own: without a reason."""
    return ApiError(500, "", message)


def internal_error(message: str) -> ApiError:
    """500 InternalError."""
    causes = {"causes": [{"message": message}]}
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", causes)


def expired(message: str) -> ApiError:
    """410 of a resource version or a continue token."""
    return ApiError(410, "Expired", message)


# ------------------------------------------------------------------------------------------------- field errors
REQUIRED: Final = "Required value"
INVALID: Final = "Invalid value"
UNSUPPORTED: Final = "Unsupported value"
DUPLICATE: Final = "Duplicate value"
FORBIDDEN: Final = "Forbidden"
TOO_LONG: Final = "Too long"
TOO_MANY: Final = "Too many"
NOT_FOUND: Final = "Not found"
INTERNAL: Final = "Internal error"
TYPE_INVALID: Final = "Invalid value (type)"

REASONS: Final = {
    REQUIRED: "FieldValueRequired",
    INVALID: "FieldValueInvalid",
    UNSUPPORTED: "FieldValueNotSupported",
    DUPLICATE: "FieldValueDuplicate",
    FORBIDDEN: "FieldValueForbidden",
    TOO_LONG: "FieldValueTooLong",
    TOO_MANY: "FieldValueTooMany",
    NOT_FOUND: "FieldValueNotFound",
    INTERNAL: "InternalError",
    TYPE_INVALID: "FieldValueTypeInvalid",
}
_WITHOUT_VALUE: Final = {REQUIRED, FORBIDDEN, TOO_LONG, INTERNAL}


class Raw(str):
    """A bad value that is printed as it is, without quotes (a Go dump, a Stringer)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class FieldError:
    """One violation. Source: k8s.io/apimachinery/pkg/util/validation/field (v0.33) Error."""

    sort: str
    field: str
    value: Any = None
    detail: str = ""

    @property
    def body(self) -> str:
        """Without the field."""
        name = INVALID if self.sort == TYPE_INVALID else self.sort
        text = name if self.sort in _WITHOUT_VALUE else f"{name}: {dump(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    @property
    def text(self) -> str:
        """With the field."""
        return f"{self.field}: {self.body}"

    def cause(self) -> dict[str, str]:
        """As in a Status."""
        return {"reason": REASONS[self.sort], "message": self.body, "field": self.field}


def required(field: str, detail: str = "") -> FieldError:
    """A value is missing."""
    return FieldError(REQUIRED, field, "", detail)


def wrong(field: str, value: Any, detail: str) -> FieldError:
    """A value is invalid."""
    return FieldError(INVALID, field, value, detail)


def unsupported(field: str, value: Any, allowed: Iterable[str]) -> FieldError:
    """A value is none of an enumeration; `allowed` is printed in the order given."""
    listed = ", ".join(quote(one) for one in allowed)
    return FieldError(UNSUPPORTED, field, value, f"supported values: {listed}" if listed else "")


def duplicate(field: str, value: Any) -> FieldError:
    """A value that has to be unique is not."""
    return FieldError(DUPLICATE, field, value)


def forbidden_field(field: str, detail: str) -> FieldError:
    """A field that may not be set, or not be set so."""
    return FieldError(FORBIDDEN, field, "", detail)


def too_long(field: str, most: int) -> FieldError:
    """A text is longer than `most` bytes."""
    return FieldError(TOO_LONG, field, "", f"may not be more than {most} bytes" if most >= 0 else "value is too long")


def too_many(field: str, actual: int, most: int) -> FieldError:
    """A list or map has more than `most` items."""
    return FieldError(TOO_MANY, field, actual, f"must have at most {most} item{'' if most == 1 else 's'}")


def invalid(group: str, kind: str, name: str, found: Sequence[FieldError]) -> ApiError:
    """422 with all causes. Equal messages are said once, as Go's aggregate does."""
    texts = list(dict.fromkeys(error.text for error in found))
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    what = f"{kind}.{group}" if group else kind
    message = f"{what} {quote(name)} is invalid: {joined}" if texts else f"{what} {quote(name)} is invalid"
    details = about(group, kind, name)
    if found:
        details["causes"] = [error.cause() for error in found]
    return ApiError(422, "Invalid", message, details)


_PLAIN = re.compile(r"[ !#-\[\]-~]*")
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\t": "\\t",
    "\r": "\\r",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
}


def quote(text: str) -> str:
    """Go's %q."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def dump(value: Any) -> str:
    """A bad value as Go prints it; objects approximately, as Go's own dump of internal types cannot be had here."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if value is None:
        return '"null"'
    if isinstance(value, dict):
        inner = ", ".join(f"{quote(str(key))}:{dump(entry)}" for key, entry in sorted(value.items()))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list | tuple):
        if all(isinstance(entry, str) for entry in value):
            return f"[]string{{{', '.join(map(dump, value))}}}"
        return f"[]interface {{}}{{{', '.join(map(dump, value))}}}"
    return str(value)
