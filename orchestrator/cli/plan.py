"""`bootstrap plan`: readers only."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import choice, option, output, selection
from orchestrator.cli.shared import Shared, dump

if TYPE_CHECKING:
    from orchestrator.engine.plan import Plan


def masked_reasons(plan: Plan, mask: Callable[[str], str]) -> Plan:
    """The plan with what its verdicts quote masked. Its actions name secrets and hold none: they stay as they will be done."""
    phases = tuple(
        replace(
            phase,
            steps=tuple(replace(step, reason=mask(step.reason)) for step in phase.steps),
            gates=tuple({**gate, "reason": mask(gate["reason"])} for gate in phase.gates),
        )
        for phase in plan.phases
    )
    return replace(plan, phases=phases)


@click.command()
@selection
@option("--out", env="OUT", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Save the plan, for `up FILE`.")
@option("--detailed-exitcode", env="DETAILED_EXITCODE", is_flag=True, help="Exit 2 when something is left to do.")
@output("json", "yaml")
@click.pass_obj
def plan(shared: Shared, /, out: Path | None, detailed_exitcode: bool, form: str, **chosen: object) -> int:
    """Show what `up` would do: each step's verdict, the very commands, objects and diffs. Changes nothing."""
    from orchestrator.adapters.files import write_private
    from orchestrator.engine import api
    from orchestrator.report.paint import Paint
    from orchestrator.report.plan import plan as plan_text

    room = shared.room
    room.know_secrets()
    made = api.plan(room.subject, choice(**chosen), reader=room.reader, records=room.records(), clock=room.clock)  # type: ignore[arg-type]  # click's values, by name
    document = made.to_json()
    if out is not None:
        write_private(out.resolve(), masked_reasons(made, room.masker.mask).text())
    text = plan_text(document, Paint(shared.color and sys.stdout.isatty()), verbose=shared.verbose) if form == "text" else dump(form, document)
    shared.data(room.masker.mask(text))
    if out is not None:
        shared.say(f"saved to {out}; carry it out with: bootstrap up {out}")
    return 2 if detailed_exitcode and made.pending else 0
