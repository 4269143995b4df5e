"""Secrets are found in every encoding, over write boundaries, and by type."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.masking import MASK, Masker, inert

SECRET = "s3cr&t/valüe+with \"quotes\""


def known(*values: str) -> Masker:
    masker = Masker()
    for value in values:
        masker.add(value)
    return masker


@pytest.mark.parametrize(
    "seen",
    [SECRET, quote(SECRET, safe=""), json.dumps(SECRET)[1:-1], base64.b64encode(SECRET.encode()).decode(), base64.b64encode(b"user:" + SECRET.encode() + b"!").decode(), base64.urlsafe_b64encode(b"ab" + SECRET.encode()).decode()],
)
def test_a_known_value_is_masked_in_every_encoding(seen: str) -> None:
    masked = known(SECRET).mask(f"before {seen} after")
    assert seen not in masked
    assert masked.startswith("before ") and masked.endswith(" after") and MASK in masked


@given(st.integers(1, 40), st.integers(0, 30))
def test_a_secret_split_over_writes_is_masked(size: int, lead: int) -> None:
    raw = (("x" * lead) + f" {SECRET} and so on\n").encode()
    stream = known(SECRET).stream()
    text = "".join(stream.feed(raw[at : at + size]) for at in range(0, len(raw), size)) + stream.close()
    assert SECRET not in text and MASK in text and text.endswith(" and so on\n")


def test_each_line_of_a_multi_line_secret_is_masked() -> None:
    value = "first-line-of-it\nsecond-line-of-it\n"
    assert known(value).mask("said: second-line-of-it") == f"said: {MASK}"


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB\nabcdef\n-----END EC PRIVATE KEY-----",
        'set protocols bgp group X authentication-key "$9$abcDEF.ghiJK"',
        "https://user:hunter22222@host/path",
        "Authorization: Bearer abcdefghijklmnop",
        "ghp_abcdefghijklmnopqrstuvwxyz0123",
        '"client_key": "LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0t"',
        "    client-key-data: LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0tAAAA",
    ],
)
def test_what_looks_like_a_key_is_masked(text: str) -> None:
    masked = Masker().mask(text)
    assert MASK in masked
    for part in ("MHcCAQEEIB", "$9$abcDEF.ghiJK", "hunter22222", "abcdefghijklmnop", "LS0tLS1CRUdJTiBF"):
        assert part not in masked


def test_a_private_key_is_masked_line_by_line_in_a_stream() -> None:
    stream = Masker().stream()
    out = "".join(stream.feed(line.encode()) for line in ("ok\n", "-----BEGIN PRIVATE KEY-----\n", "AAAABBBB\n", "-----END PRIVATE KEY-----\n", "done\n"))
    assert "AAAABBBB" not in out and out.startswith("ok\n") and out.endswith("done\n")


def test_terminal_escapes_are_inert() -> None:
    assert "\x1b" not in inert("\x1b[2J\x1b]0;title\x07 text\x00") and "text" in inert("\x1b[1mtext")


@pytest.mark.parametrize("length", [6, 7, 10, 11, 12, 17, 40])
def test_a_value_is_found_wherever_it_stands(length: int) -> None:
    masker = Masker()
    value = ("Zq9x7Kp3" * 5)[:length]
    masker.add(value)
    for before in range(30):
        for behind in (0, 1, 5, 6):
            assert masker.mask("." * before + value + "." * behind) == "." * before + MASK + "." * behind
    assert masker.mask("." * 40 + value[:-1]) == "." * 40 + value[:-1]
