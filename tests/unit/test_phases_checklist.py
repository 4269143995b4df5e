"""Every check box of the plan's first fortnight is something that the product does or proves."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

import inventory
import phases
from phases import checklist

ROOT = Path(__file__).parents[2]
PLAN = ROOT.parent / "shared" / "plan" / "implementation-timeline.md"
TEN_WEEKS = ROOT / "inventory" / "sites" / "ten-weeks" / "site.yaml"


def known() -> set[str]:
    compiled = phases.compile(inventory.load(TEN_WEEKS))
    return {check.id for _, check in phases.checks(compiled)} | {step.id for phase in compiled for step in phase.steps}


def boxes_of_the_plan() -> list[tuple[str, str]]:
    text = PLAN.read_text().partition("## Week 3-4")[0]
    found, days = [], ""
    for line in text.splitlines():
        heading = re.match(r"#### Day (\d+-\d+)", line)
        box = re.match(r"- \[ \] (.+)", line)
        if heading:
            days = heading[1]
        elif box:
            found.append((days, box[1]))
    return found


@pytest.mark.shared
@pytest.mark.skipif(not PLAN.exists(), reason="the plan (../shared/plan) is not here")
def test_no_box_of_the_plan_is_missing() -> None:
    assert [(box.days, box.text) for box in checklist.BOXES] == boxes_of_the_plan()


@pytest.mark.parametrize("box", checklist.BOXES, ids=lambda box: f"{box.days} {box.text}")
def test_what_a_box_stands_for_exists(box: checklist.Box) -> None:
    there = known()
    missing = [name for name in checklist.ids(box, "infra", "apps") if not any(fnmatch(one, name) for one in there)]
    assert box.stands_for and missing == []


def test_every_step_of_a_cluster_belongs_to_a_box() -> None:
    compiled = phases.compile(inventory.load(TEN_WEEKS))
    named = [name for box in checklist.BOXES for name in checklist.ids(box, "infra", "apps")]
    steps = [step.id for phase in compiled for step in phase.steps if phase.id != "preflight" and phase.cluster != "apps"]
    housekeeping = {"network@infra/namespace"}
    assert [one for one in steps if not any(fnmatch(one, name) for name in named) and one not in housekeeping] == []
