"""Whatever the file holds, loading ends with a Site or with errors that a terminal can show; never with a traceback, soon, and small."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import inventory
from inventory.source import MAX_BYTES

TEN_WEEKS = Path(inventory.__file__).parent / "sites" / "ten-weeks"
SITE = (TEN_WEEKS / "site.yaml").read_text(encoding="utf-8").replace("include: [nodes.yaml]\n", "") + (
    TEN_WEEKS / "nodes.yaml"
).read_text(encoding="utf-8")
SECONDS = 3.0  # generous: other work shares the machine; a quadratic reader would take minutes
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def loads_or_says(home: Path, raw: bytes) -> tuple[inventory.SiteError, ...]:
    """The errors, none for a valid site; everything that an operator would see is checked to be showable."""
    file = home / "site.yaml"
    file.write_bytes(raw)
    start = time.process_time()
    try:
        inventory.load(file)
        errors: tuple[inventory.SiteError, ...] = ()
    except inventory.SiteErrors as caught:
        errors = caught.errors
        assert errors
    assert time.process_time() - start < SECONDS
    lines = raw.count(b"\n") + raw.count(b"\r") + 2
    for error in errors:
        assert 1 <= error.line <= lines and error.column >= 1
        assert all(c.isprintable() or c == "\n" for c in str(error)), repr(str(error))
        assert len(str(error)) < 4000
    return errors


@FUZZ
@given(raw=st.binary(max_size=2000))
def test_any_bytes(home: Path, raw: bytes) -> None:
    loads_or_says(home, raw)


@FUZZ
@given(text=st.text(alphabet=st.sampled_from("abc:-[]{}&*!|>'\"%@`#,? \t\n\r0.~<=\\\x00\x1b\x85\u2028"), max_size=400))
def test_any_text_of_yaml_signs(home: Path, text: str) -> None:
    loads_or_says(home, text.encode())


@FUZZ
@given(seed=st.integers(0, 2**32), cuts=st.integers(1, 6))
def test_a_site_with_bytes_changed(home: Path, seed: int, cuts: int) -> None:
    chance = random.Random(seed)
    raw = bytearray(SITE.encode())
    for _ in range(cuts):
        at = chance.randrange(len(raw))
        raw[at : at + chance.randrange(4)] = bytes(
            chance.choice(b"\x00\x1b\xff:-[]{}&*!|>'\"#,? \n\tazAZ09./") for _ in range(chance.randrange(4))
        )
    loads_or_says(home, bytes(raw))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=40)
    | st.sampled_from(
        [
            "-x",
            "--force",
            "../..",
            "/etc/passwd",
            "a" * 5000,
            "10.0.0.0/0",
            "::/0",
            "fe80::1%eth0",
            "env:",
            "exec:-x",
            "file:",
            "op://",
            "9" * 400,
            "1e999",
            "\u0661",
        ]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@FUZZ
@given(seed=st.integers(0, 2**32), value=VALUES, drop=st.booleans())
def test_a_site_with_a_value_changed(home: Path, seed: int, value: Any, drop: bool) -> None:
    data = yaml.safe_load(SITE)
    _change(data, random.Random(seed), value, drop=drop)
    loads_or_says(home, yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass"))


def _change(data: Any, chance: random.Random, value: Any, *, drop: bool) -> None:
    """Walk down at random and put `value` there, or take out what is there."""
    here = data
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = chance.choice(keys)
        if isinstance(here[key], dict | list) and here[key] and chance.random() < 0.8:
            here = here[key]
            continue
        if drop:
            del here[key]
        else:
            here[key] = value
        return


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "{a: " * 100_000,
        "- " * 200_000,
        "? " * 100_000,
        "a: &a [" + "x, " * 1000 + "]\n" + "".join(f"b{n}: [*a]\n" for n in range(1000)),
        "".join(f"k{n}: v\n" for n in range(60_000)),
        "nodes: [" + "{}, " * 90_000 + "]",
        "x: '" + "y" * 900_000 + "'",
        "name: |\n" + "  line\n" * 100_000,
        '"' + "\\" * 500_001,
        "a" * 900_000 + ": b",
        "# " + "c" * 1_000_000,
        "%YAML 9.9\n---\na: b",
    ],
    ids=lambda text: f"{text[:12]!r}x{len(text)}",
)
def test_bombs_are_refused_soon(home: Path, text: str) -> None:
    raw = text.encode()
    assert len(raw) <= MAX_BYTES
    assert loads_or_says(home, raw)
