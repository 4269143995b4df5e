"""Quantities: "500m", "1Gi", "1e3". Parsed exactly, printed in the canonical form of a real server.

Source: k8s.io/apimachinery/pkg/api/resource (v0.33) quantity.go.
"""

from __future__ import annotations

import re
from decimal import ROUND_UP, Context, Decimal
from functools import lru_cache
from typing import Final

BAD_FORMAT: Final = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
BAD_SUFFIX: Final = "unable to parse quantity's suffix"
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SUFFIX_OF: Final = {power: suffix for suffix, power in _DECIMAL.items()}
_NUMBER = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?")
_EXACT = Context(prec=100)


class QuantityError(ValueError):
    """Not a quantity; the text is the real server's."""


@lru_cache(maxsize=4096)
def parse(text: str) -> tuple[Decimal, str]:
    """Value and format: "DecimalSI", "BinarySI" or "DecimalExponent".

    Raises QuantityError.
    """
    if not text:
        raise QuantityError(BAD_FORMAT)
    match = _NUMBER.match(text)
    if match is None or not (match[2] or match[3]):
        raise QuantityError(BAD_FORMAT)
    suffix = text[match.end() :]
    if not re.fullmatch(r"[eEinumkKMGTP]*[-+]?[0-9]*", suffix):
        raise QuantityError(BAD_FORMAT)
    number = Decimal(f"{match[1]}{match[2] or '0'}.{match[3] or '0'}")
    if suffix in _BINARY:
        value, form = _EXACT.multiply(number, Decimal(2) ** _BINARY[suffix]), "BinarySI"
    elif suffix in _DECIMAL:
        value, form = number.scaleb(_DECIMAL[suffix], _EXACT), "DecimalSI"
    elif re.fullmatch(r"[eE][-+]?\d+", suffix):
        value, form = number.scaleb(int(suffix[1:]), _EXACT), "DecimalExponent"
    else:
        raise QuantityError(BAD_SUFFIX)
    nano = value.quantize(Decimal("1e-9"), ROUND_UP, _EXACT)
    return nano, form


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """`text` as a server answers it. Raises QuantityError."""
    value, form = parse(text.strip() if text != text.strip() else text)
    return render(value, form)


def render(value: Decimal, form: str = "DecimalSI") -> str:
    """The canonical text of a value."""
    if value == 0:
        return "0"
    if form == "BinarySI" and -1024 < value < 1024:
        form = "DecimalSI"  # too small for a binary suffix
    if form == "BinarySI":
        if value != value.to_integral_value():
            value = value.to_integral_value(ROUND_UP)
        number, power = int(value), 0
        while number % 1024 == 0 and power < 60:
            number, power = number // 1024, power + 10
        return f"{number}{next((s for s, p in _BINARY.items() if p == power), '')}"
    power = -9
    number = int(value.scaleb(9, _EXACT))
    while number % 1000 == 0 and power < 18:
        number, power = number // 1000, power + 3
    if form == "DecimalExponent":
        return f"{number}e{power}" if power else str(number)
    return f"{number}{_SUFFIX_OF[power]}"


def value_of(text: str | int | float) -> Decimal:
    """The exact value of a quantity that was validated before."""
    return parse(str(text))[0]


def add(one: str, other: str, *, sign: int = 1) -> str:
    """Sum (or difference) in the format of the first, unless that is 0."""
    (left, form), (right, other_form) = parse(one), parse(other)
    return render(left + sign * right, other_form if left == 0 else form)


def compare(one: str, other: str) -> int:
    """-1, 0 or 1."""
    left, right = parse(str(one))[0], parse(str(other))[0]
    return (left > right) - (left < right)


def milli(text: str) -> int:
    """Thousandths, rounded up."""
    return int(parse(text)[0].scaleb(3).to_integral_value(ROUND_UP))
