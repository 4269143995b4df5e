"""Secrets never reach a file, a screen or a record: masked by value (in every usual encoding) and by type.

A value is registered the moment it is resolved. Streams are masked line by line, so that a secret split over two writes is
still found; a multi-line secret is registered line by line as well.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from urllib.parse import quote, quote_plus

MASK = "***"
SHORTEST = 6  # shorter values would mask ordinary words
LONGEST_LINE = 1 << 16  # bytes of a line without an end before it is cut for masking

_WORDS = ("key", "token", "password", "secret")
# (words, pattern): what a pattern finds holds one of its words, in upper or lower case.
_TYPES: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = (
    (("://",), re.compile(r"(://[^/\s:@]+:)[^/\s@]+(@)")),
    (("authorization", "private-token"), re.compile(r"((?i:authorization|private-token)\s*[:=]\s*(?:(?i:bearer|basic|token)\s+)?)[^\s\"',]+()")),
    (_WORDS, re.compile(r"((?:client-key-data|certificate-key|token|password|secretbox|aescbcEncryptionSecret|key|secret|bootstrapToken):\s+)[A-Za-z0-9+/=_.-]{24,}()")),
    (_WORDS, re.compile(r'("(?:client_key|password|token|secret|private_key|client-key-data)"\s*:\s*")(?:[^"\\]|\\.)+(")')),
    (_WORDS, re.compile(r'((?:authentication-key|encrypted-password|secret) ")[^"]+(")')),
    (("$9$",), re.compile(r"()\$9\$[^\s\";]+()")),
    (("gh", "age-secret", "ops_"), re.compile(r"()\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|AGE-SECRET-KEY-1[A-Z0-9]{20,}|ops_[A-Za-z0-9_-]{40,})()")),
    (("eyj",), re.compile(r"()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}()")),
    (("ls0tls1crudjti",), re.compile(r"()\bLS0tLS1CRUdJTi[A-Za-z0-9+/=]{40,}()")),  # base64 of "-----BEGIN ", as kubeconfigs hold keys
)
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY-----")
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def variants(value: str) -> set[str]:
    """The value as it may appear in output: plain, base64 at any alignment, URL-encoded, JSON-escaped, and its lines."""
    found: set[str] = set()
    for text in {value, value.strip(), *value.splitlines()}:
        if len(text) < SHORTEST:
            continue
        found |= {text, quote(text, safe=""), quote(text), quote_plus(text), json.dumps(text)[1:-1]}
        found |= {json.dumps(text, ensure_ascii=False)[1:-1], text.replace("'", "''"), text.replace("'", "'\\''")}
        found |= _base64s(text.encode())
    return {text for text in found if len(text) >= SHORTEST}


def _base64s(raw: bytes) -> set[str]:
    """What of the base64 of any text around `raw` depends on `raw` alone, for its three alignments, in both alphabets."""
    found = set()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        first = (0, 2, 3)[offset]
        end = len(encoded) - (1 if (offset + len(raw)) % 3 else 0)
        core = encoded[first:end]
        if len(core) >= SHORTEST:
            found |= {core, core.replace("+", "-").replace("/", "_")}
    return found


class Masker:
    """Knows the secrets of this process and masks them in text. Safe for threads; values are only ever added.

    Variants are found by their first characters, so that thousands of them cost one look-up a position; and a text is looked at
    in this way only where one may stand in it: of any place where a long one stands, one sample in `SHORTEST` characters tells.
    """

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._starts: dict[str, tuple[str, ...]] = {}  # first characters -> variants that begin so, the longest first
        self._samples: set[str] = set()  # what a sample of a text finds where a long variant stands
        self._short: tuple[str, ...] = ()  # variants that may stand between two samples
        self._lock = threading.Lock()

    def add(self, value: str) -> None:
        """From now on `value` is masked, in all its variants."""
        with self._lock:
            if value in self._values:
                return
            self._values.add(value)
            found = variants(value)
            self._short += tuple(text for text in found if len(text) < 2 * SHORTEST - 1)
            for text in found:
                if len(text) >= 2 * SHORTEST - 1:
                    self._samples.update(text[at : at + SHORTEST] for at in range(SHORTEST))
                start = text[:SHORTEST]
                known = self._starts.get(start, ())
                if text not in known:
                    self._starts[start] = tuple(sorted((*known, text), key=len, reverse=True))

    def add_document(self, text: str) -> None:
        """Every long word of a document that is secret as a whole (a secrets bundle, a key file)."""
        for word in {word for word in re.split(r"[\s\"']+", text) if len(word) >= 20}:
            self.add(word)

    def mask(self, text: str) -> str:
        """`text` without any known secret and without anything that looks like a key or a token."""
        text = self._without_values(text)
        if "PRIVATE KEY-----" in text:
            text = _KEY_BLOCK.sub(MASK, text)
        lowered = text.lower() if text.isascii() else None  # to search for a word is cheap; beyond ASCII case is not so simple
        for words, pattern in _TYPES:
            if lowered is None or any(word in lowered for word in words):
                text = pattern.sub(rf"\g<1>{MASK}\g<2>", text)
        return text

    def _without_values(self, text: str) -> str:
        starts = self._starts
        if not self._suspect(text):
            return text
        parts: list[str] = []
        at = copied = 0
        while at <= len(text) - SHORTEST:
            found = starts.get(text[at : at + SHORTEST])
            hit = next((one for one in found if text.startswith(one, at)), None) if found else None
            if hit is None:
                at += 1
                continue
            parts += (text[copied:at], MASK)
            at = copied = at + len(hit)
        return "".join((*parts, text[copied:])) if parts else text

    def _suspect(self, text: str) -> bool:
        """Whether a variant may stand in the text; never False where one does."""
        samples = [text[at : at + SHORTEST] for at in range(0, len(text) - SHORTEST + 1, SHORTEST)]
        return not self._samples.isdisjoint(samples) or any(one in text for one in self._short)

    def stream(self) -> MaskedStream:
        """A filter for one stream of bytes."""
        return MaskedStream(self)


class MaskedStream:
    """Bytes in, masked text out, whole lines at a time. Undecodable bytes are shown as escapes."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._rest = b""
        self._in_key = False

    def feed(self, chunk: bytes) -> str:
        """The masked text of all lines that `chunk` completes."""
        self._rest += chunk
        cut = self._rest.rfind(b"\n") + 1
        if not cut and len(self._rest) > 2 * LONGEST_LINE:
            cut = len(self._rest) - LONGEST_LINE  # what is kept back is longer than any secret
        whole, self._rest = self._rest[:cut], self._rest[cut:]
        return self._text(whole)

    def close(self) -> str:
        """What is left when the stream ends."""
        whole, self._rest = self._rest, b""
        return self._text(whole)

    def _text(self, raw: bytes) -> str:
        if not raw:
            return ""
        text = raw.decode("utf-8", "backslashreplace")
        if not self._in_key and "PRIVATE KEY-----" not in text:
            return self._masker.mask(text)
        return "".join(self._line(line) for line in text.splitlines(keepends=True))

    def _line(self, line: str) -> str:
        end = "\n" if line.endswith("\n") else ""
        if self._in_key:
            if _KEY_END.search(line):
                self._in_key = False
            return MASK + end
        if _KEY_BEGIN.search(line) and not _KEY_END.search(line):
            self._in_key = True
            return MASK + end
        return self._masker.mask(line)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # each alone: a sequence without its first sign is only text


def inert(text: str) -> str:
    """`text` for a terminal: escape sequences of other programs are shown, never carried out."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text.replace("\r\n", "\n"))
