"""The plan's own site, compiled: every phase as a file that a reviewer reads. `python -m tests.cases.test_phases_golden` writes them anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import inventory
import phases
from orchestrator.engine.render import check_row, render
from orchestrator.model.check import Check
from orchestrator.model.phase import Phase

HERE = Path(__file__).parent
TEN_WEEKS = HERE.parents[1] / "inventory" / "sites" / "ten-weeks" / "site.yaml"


def compiled() -> dict[str, Phase]:
    return {phase.id: phase for phase in phases.compile(inventory.load(TEN_WEEKS))}


def asked(check: Check) -> dict[str, Any]:
    """What a check asks, short."""
    queries = [" ".join(query.argv) if hasattr(query, "argv") else repr(query) for query in check.ask]
    return {**check_row(check), "ask": [query.replace("datetime.", "") for query in queries], "hint": check.hint, "in_a_row": check.in_a_row}


def shown(phase: Phase) -> dict[str, Any]:
    steps = [
        {
            "id": step.id,
            "title": step.title,
            "days": step.days,
            "goal": asked(step.goal),
            "holds": list(step.holds),
            "class": step.disruption,
            "reversible": step.reversible,
            "actions": [render(action) for action in step.actions],
            "undo": [render(action) for action in step.undo],
        }
        for step in phase.steps
    ]
    checks = {name: [asked(check) for check in getattr(phase, name)] for name in ("preconditions", "identity", "gates")}
    return {"id": phase.id, "week": phase.week, "days": phase.days, "needs": list(phase.needs), "steps": steps, **checks}


def path(phase: str) -> Path:
    return HERE / phase.partition("@")[0] / f"{phase}.json"


def text(phase: Phase) -> str:
    return json.dumps(shown(phase), indent=1, ensure_ascii=False, sort_keys=False) + "\n"


@pytest.mark.parametrize("name", list(compiled()))
def test_the_plans_site_compiles_to_these_steps(name: str) -> None:
    assert json.loads(text(compiled()[name])) == json.loads(path(name).read_text()), "look at the difference, then write the case anew"


def test_no_case_is_left_over() -> None:
    assert set(HERE.glob("*/*@*.json")) | {path("preflight"), path("mesh")} == {path(name) for name in compiled()}


def test_compiling_twice_gives_the_same() -> None:
    once, again = compiled(), compiled()
    assert {name: text(phase) for name, phase in once.items()} == {name: text(phase) for name, phase in again.items()}


if __name__ == "__main__":
    for one in compiled().values():
        path(one.id).write_text(text(one))
