"""Every broken site gives its one error, at its place. The cases are folders: a site, and what is expected of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import inventory

BROKEN = Path(__file__).parents[1] / "cases" / "inventory" / "broken"
CASES = sorted(folder.name for folder in BROKEN.iterdir())


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 45


@pytest.mark.parametrize("case", CASES)
def test_one_error_at_its_place(case: str) -> None:
    folder = BROKEN / case
    expected = yaml.safe_load((folder / "expected.yaml").read_text(encoding="utf-8"))
    with pytest.raises(inventory.SiteErrors) as caught:
        inventory.load(folder / "site.yaml")
    assert len(caught.value.errors) == 1, str(caught.value)
    error = caught.value.errors[0]
    found = {name: getattr(error, name) for name in expected if name != "file"}
    assert {"file": error.file.relative_to(folder).as_posix(), **found} == expected


@pytest.mark.parametrize("case", CASES)
def test_no_error_repeats_a_secret(case: str) -> None:
    with pytest.raises(inventory.SiteErrors) as caught:
        inventory.load(BROKEN / case / "site.yaml")
    assert "hunter2" not in str(caught.value)


def test_every_rule_has_a_broken_site() -> None:
    """A rule that no case can break is not proven to work: the union of findings over all cases names every rule."""
    from inventory import source
    from inventory.loader import _Files, _typed
    from inventory.rules import RULES

    broken_by: set[str] = set()
    for case in CASES:
        tree = _Files(BROKEN / case / "site.yaml").read()
        typed = _typed(tree) if isinstance(tree, source.Mapping) else None
        if typed is not None and typed.site is not None:
            broken_by |= {rule.name for rule in RULES if any(rule.check(typed.site))}
    assert {rule.name for rule in RULES} <= broken_by
