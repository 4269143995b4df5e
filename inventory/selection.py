"""The nearest match: what a mistyped word most likely meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

LONGEST = 80  # characters; beyond, a word is no typo, and comparing would be slow
LIKE = 0.6  # the cutoff that difflib itself proposes


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The option most like `word`, whatever its case, or None when none is alike. Equal likeness: the first option."""
    if not word or len(word) > LONGEST:
        return None
    scored = [(_likeness(word.casefold(), option.casefold()), option) for option in options if len(option) <= LONGEST]
    best = max(scored, key=lambda pair: pair[0], default=(0.0, ""))
    return best[1] if best[0] >= LIKE else None


def _likeness(word: str, option: str) -> float:
    if len(word) > 2 and (option.startswith(word) or word.startswith(option)):
        return max(LIKE, SequenceMatcher(None, word, option).ratio())
    return SequenceMatcher(None, word, option).ratio()
