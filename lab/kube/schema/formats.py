"""String formats that a schema may name. Source: k8s.io/kube-openapi/pkg/validation/strfmt."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from typing import Final

_UNITS: Final = r"(?:ns|us|µs|μs|ms|s|m|h)"
_GO_DURATION = re.compile(rf"[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+){_UNITS})+)")
_LONG_DURATION = re.compile(r"((?:\d+)\s*(?:\w+)\s*)+")
_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")


def _date_time(text: str) -> bool:
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)", text)
    return bool(match) and _date(f"{match[1]}-{match[2]}-{match[3]}") and int(match[4]) < 24 and int(match[5]) < 60  # type: ignore[index]  # bool() hides the match


def _date(text: str) -> bool:
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", text)
    if not match:
        return False
    month, day = int(match[2]), int(match[3])
    return 1 <= month <= 12 and 1 <= day <= (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]


def _duration(text: str) -> bool:
    if _GO_DURATION.fullmatch(text):
        return True
    units = {
        "ns",
        "us",
        "ms",
        "s",
        "m",
        "h",
        "d",
        "w",
        "hr",
        "min",
        "sec",
        "nano",
        "micro",
        "milli",
        "hour",
        "minute",
        "second",
        "day",
        "week",
    }
    found = re.fullmatch(r"(\d+)\s*(\w+)", text)
    return bool(found) and found[2].rstrip("s") in {unit.rstrip("s") for unit in units}  # type: ignore[index]  # bool() hides the match


def _address(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return ipaddress.ip_address(text).version == version
        except ValueError:
            return False

    return check


def _cidr(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _uri(text: str) -> bool:
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text)) or text.startswith("/")


def _bytes(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _pattern(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: bool(compiled.fullmatch(text))


_HOSTNAME: Final = r"([a-zA-Z0-9\u00a1-\uffff](?:[a-zA-Z0-9\u00a1-\uffff-]{0,62}))(\.[a-zA-Z0-9\u00a1-\uffff](?:[a-zA-Z0-9\u00a1-\uffff-]{0,62}))*\.?"
_CHECKS: Final[dict[str, Callable[[str], bool]]] = {
    "datetime": _date_time,
    "date": _date,
    "duration": _duration,
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": _cidr,
    "uri": _uri,
    "byte": _bytes,
    "uuid": lambda text: bool(_UUID.fullmatch(text)),
    "uuid3": lambda text: bool(_UUID.fullmatch(text)),
    "uuid4": lambda text: bool(_UUID.fullmatch(text)),
    "uuid5": lambda text: bool(_UUID.fullmatch(text)),
    "email": _pattern(r"[^@\s]+@[^@\s]+"),
    "hostname": _pattern(_HOSTNAME),
    "mac": _pattern(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}"),
    "hexcolor": _pattern(r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _pattern(r"rgb\(\s*\d+\s*,\s*\d+\s*,\s*\d+\s*\)"),
    "isbn": _pattern(r"[\d-]{9,16}[\dX]"),
    "isbn10": _pattern(r"[\d-]{9,12}[\dX]"),
    "isbn13": _pattern(r"[\d-]{13,17}"),
    "creditcard": _pattern(r"[\d -]{13,23}"),
    "ssn": _pattern(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "bsonobjectid": _pattern(r"[0-9a-fA-F]{24}"),
    "password": lambda text: True,
}


def known(form: str) -> str:
    """The format, or nothing where the server ignores it, as it does with those of numbers.

    Source: k8s.io/apiextensions-apiserver/pkg/apiserver/validation formats.go (v0.33).
    """
    return form if form.replace("-", "") in _CHECKS else ""


def valid(form: str, text: str) -> bool:
    """Whether a text has a format; unknown ones take anything."""
    check = _CHECKS.get(form.replace("-", ""))
    return check(text) if check else True
