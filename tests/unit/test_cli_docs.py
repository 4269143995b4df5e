"""Generated pages are current."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_state_diagram_is_that_of_the_table() -> None:
    made = runpy.run_path(str(DOCS / "states.py"))["page"]()
    assert (DOCS / "states.md").read_text() == made, "make diagrams"
