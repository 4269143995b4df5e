"""Our YAML says what was put in, to PyYAML (YAML 1.1) too."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.tools.text import dump, duration

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00")) | st.sampled_from(
    ["No", "yes", "~", "1e3", "0x1f", "0o7", "1_000", "aa:bb:cc:dd:ee:01", "10.25.11.0/24", "- a", "a: b", "a #b", "", " ", "10m", "v1", "@x", "*", "&a", "line\n", "a\nb\n", " a\nb\n", "\n", "a\n\n", "1.2", "12:30:45", "2026-01-02", "=", "<<", "a,b", "!x", "%x", "`x", "'", '"', "\\", "{}", "[]", "?", "é", "\u2028", "\x85"]
)
SCALARS = TEXTS | st.integers(-(2**53), 2**53) | st.booleans() | st.none()
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(TEXTS, PLAIN, min_size=1, max_size=5))
def test_what_goes_in_comes_out(value: dict[str, Any]) -> None:
    assert yaml.safe_load(dump(value)) == value


def test_documents_stand_apart() -> None:
    assert list(yaml.safe_load_all(dump({"a": 1}, {"b": [1, {"c": "No"}]}))) == [{"a": 1}, {"b": [1, {"c": "No"}]}]


def test_it_reads_like_yaml_by_hand() -> None:
    value = {"spec": {"blocks": [{"cidr": "10.25.20.0/26", "x": {}}], "allow": "No", "list": ["a", ["b"]], "empty": [], "text": "a\nb\n"}}
    assert dump(value) == (
        "spec:\n  blocks:\n    - cidr: 10.25.20.0/26\n      x: {}\n  allow: \"No\"\n  list:\n    - a\n    - - b\n  empty: []\n  text: |\n    a\n    b\n"
    )


@pytest.mark.parametrize(("span", "text"), [(timedelta(minutes=10), "10m"), (timedelta(seconds=90), "90s"), (timedelta(hours=1), "60m")])
def test_duration(span: timedelta, text: str) -> None:
    assert duration(span) == text
