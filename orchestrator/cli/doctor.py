"""`bootstrap doctor`: this workstation, asked with the same checks that preflight uses, and nothing else."""

from __future__ import annotations

import click

from orchestrator.cli.options import output
from orchestrator.cli.shared import Shared, dump


@click.command()
@output("json", "yaml")
@click.pass_obj
def doctor(shared: Shared, form: str) -> int:
    """Check the workstation: programs and versions, credentials, Git, the state folder. Exit 4 when something is missing."""
    import phases
    from orchestrator.engine.asking import ask_all
    from orchestrator.report.paint import Paint, columns

    room = shared.room
    room.know_secrets()
    checks = {check.id: check for check in phases.workstation(room.site)}
    found, _ = ask_all(checks, room.reader, 8)
    rows = [{"check": name, "title": checks[name].title, "verdict": str(one.state), "reason": shared.mask(one.reason), "hint": checks[name].hint} for name, one in found.items()]
    if form != "text":
        shared.data(dump(form, {"site": room.site.name, "checks": rows}))
    else:
        paint = Paint(shared.color)
        lines = columns([(row["verdict"], row["title"], row["reason"]) for row in rows])
        shared.data("\n".join(paint.state(row["verdict"], line) + (f"\n    next: {row['hint']}" if row["verdict"] != "MET" and row["hint"] else "") for row, line in zip(rows, lines, strict=True)))
    return 0 if all(one.met for one in found.values()) else 4
