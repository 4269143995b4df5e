"""`bootstrap history`: the journal, shown or verified."""

from __future__ import annotations

import json

import click

from orchestrator.cli.options import option
from orchestrator.cli.shared import Shared, dump
from orchestrator.model.errors import StateError


@click.command()
@option("--verify", "check", env="VERIFY", is_flag=True, help="Recompute the chain; exit 11 when a record was changed, dropped, swapped or added.")
@option("-n", "--last", env="LAST", type=click.IntRange(1), default=None, help="Only the last N records.")
@option("-o", "--output", "form", env="OUTPUT", type=click.Choice(["text", "json", "yaml", "ndjson"]), default="text", help="Form of the data on stdout.")
@click.pass_obj
def history(shared: Shared, check: bool, last: int | None, form: str) -> None:
    """Show what was done, when, and what was decided."""
    from orchestrator.adapters.journal import verify
    from orchestrator.adapters.masking import inert
    from orchestrator.cli import anchor
    from orchestrator.report.history import history as history_text
    from orchestrator.report.paint import count

    folder = shared.room.state_dir / "journal"
    if check:
        found = verify(folder)
        wrong, silent = ([], []) if found.faults else anchor.faults(shared.room, shared.room.records())
        faults = [*found.faults, *wrong]
        if faults:
            raise StateError("the journal does not verify:\n" + "\n".join(f"  {fault}" for fault in faults), hint="docs/guide.md, A journal that is refused")
        if silent:
            shared.say(f"not compared with the marks in {', '.join(silent)}: no answer")
        shared.data(f"{count(found.records, 'record')}, head {found.head[:16]}: the chain is whole and ends where the anchor says" if form == "text" else dump("json", {"records": found.records, "head": found.head, "faults": []}))
        return
    records = list(shared.room.records())
    if last is not None:
        records = records[-last:]
    if form == "ndjson":
        shared.data("\n".join(json.dumps(record) for record in records))
    elif form == "text":
        shared.data(inert(history_text(records)))
    else:
        shared.data(dump(form, {"schema": 1, "records": records}))
