"""Junos' `$9$` form of secrets: reversible, with a random salt, so the same secret never looks the same twice.

Source: the algorithm as published by Crypt::Juniper (CPAN) and reproduced by many tools since.
"""

from __future__ import annotations

import random

MAGIC = "$9$"
FAMILIES = ("QzF3n6/9CAtpu0O", "B1IREhcSyrleKvMW8LXx", "7N-dVbwsY2g4oaJZGUDj", "iHkq.mPf5T")
LETTERS = "".join(FAMILIES)
INDEX = {letter: index for index, letter in enumerate(LETTERS)}
EXTRA = {letter: 3 - family for family, letters in enumerate(FAMILIES) for letter in letters}
WEIGHTS = ((1, 4, 32), (1, 16, 32), (1, 8, 32), (1, 64), (1, 32), (1, 4, 16, 128), (1, 32, 64))


def encode(plain: str, rng: random.Random) -> str:
    """The secret as the device keeps it, under a salt from `rng`."""
    salt = rng.choice(LETTERS)
    padding = "".join(rng.choice(LETTERS) for _ in range(EXTRA[salt]))
    previous, out = salt, [MAGIC, salt, padding]
    for position, code in enumerate(plain.encode()):
        gaps: list[int] = []
        rest = code
        for weight in reversed(WEIGHTS[position % len(WEIGHTS)]):
            gaps.insert(0, rest // weight)
            rest %= weight
        for gap in gaps:
            previous = LETTERS[(gap + INDEX[previous] + 1) % len(LETTERS)]
            out.append(previous)
    return "".join(out)


def decode(kept: str) -> str:
    """The secret in plain. What is not in `$9$` form is returned as it is; a damaged one raises ValueError."""
    if not kept.startswith(MAGIC):
        return kept
    body = kept.removeprefix(MAGIC)
    if not body or any(letter not in INDEX for letter in body):
        raise ValueError("not a $9$ secret")
    previous, rest = body[0], body[1 + EXTRA[body[0]] :]
    codes: list[int] = []
    while rest:
        weights = WEIGHTS[len(codes) % len(WEIGHTS)]
        if len(rest) < len(weights):
            raise ValueError("a $9$ secret that is cut short")
        code = 0
        for weight, letter in zip(weights, rest, strict=False):
            code += weight * ((INDEX[letter] - INDEX[previous]) % len(LETTERS) - 1)
            previous = letter
        codes.append(code % 256)
        rest = rest[len(weights) :]
    return bytes(codes).decode(errors="replace")
