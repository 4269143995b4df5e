"""`bootstrap status`: where the weeks stand, from the journal alone; and what ends before the plan does."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import output
from orchestrator.cli.shared import Room, Shared, dump

if TYPE_CHECKING:
    from orchestrator.engine.status import Standing

PLAN_DAYS = 70


@click.command()
@output("json", "yaml")
@click.pass_obj
def status(shared: Shared, form: str) -> None:
    """Show where the weeks stand: phases, what runs or waits, the last failure's card, warnings. Asks no platform."""
    from orchestrator.report.paint import Paint
    from orchestrator.report.status import status as status_text

    room = shared.room
    now = datetime.now(UTC)
    standing = found(room, now)
    warnings = expiring(room, now)
    document = standing.to_json() | {"site": room.site.name, "warnings": list(warnings)}
    if form == "text":
        shared.data(status_text(document, Paint(shared.color and sys.stdout.isatty()), warnings=warnings, verbose=shared.verbose))
    else:
        shared.data(dump(form, document))


def found(room: Room, now: datetime) -> Standing:
    """What the journal tells; and of a run that it calls running, whether the one who carries it still holds the lock."""
    # Not by engine.api: importing what plans and runs is a tenth of this command's time.
    from orchestrator.engine.graph import compile_graph
    from orchestrator.engine.status import fold, lost, standing
    from orchestrator.engine.transitions import RunState

    graph = compile_graph(room.subject.phases)
    seen: str | None = None
    while True:
        records = room.records()
        told = standing(graph, fold(records), now)
        if told.run is None or told.run["state"] != RunState.RUNNING or carried(room, told.run["id"]):
            return told
        if seen == told.run["id"]:  # read again behind the look at the lock: it did not end in between
            return lost(told, datetime.fromisoformat(records[-1]["at"]))
        seen = told.run["id"]


def carried(room: Room, run: str) -> bool:
    """Whether somebody who may live holds the lock for this run. Whoever sits on another host may."""
    from orchestrator.adapters.lock import look

    seen = look(room.state_dir)
    return seen is not None and seen.holder.run == run and not seen.dead


def expiring(room: Room, now: datetime) -> tuple[str, ...]:
    """Client certificates in the state folder that end before the plan does (70 days)."""
    files = sorted(path for name in ("kubeconfig", "talosconfig") for path in (room.state_dir / "clusters").glob(f"*/{name}"))
    found = []
    for path in files:
        end = _end_of(path)
        if end is not None and end < now + timedelta(days=PLAN_DAYS):
            what = f"the client certificate in clusters/{path.parent.name}/{path.name}"
            found.append(f"{what} {'ended' if end < now else 'ends'} {end:%Y-%m-%d}; bootstrap up --phase talos@{path.parent.name} makes it anew")
    return tuple(found)


def _end_of(path: Path) -> datetime | None:
    """When the earliest certificate in a kubeconfig or talosconfig ends."""
    from orchestrator.adapters.certificates import ends

    found = re.findall(r"(?:client-certificate-data|crt): ([A-Za-z0-9+/=]+)", path.read_text())
    return min(filter(None, map(ends, found)), default=None)
