"""`bootstrap version`."""

from __future__ import annotations

import click

from orchestrator.cli import VERSION
from orchestrator.cli.options import output
from orchestrator.cli.shared import Shared, dump


@click.command()
@output("json", "yaml")
@click.pass_obj
def version(shared: Shared, form: str) -> None:
    """Print the version of bootstrap and of the formats that it writes."""
    document = {"version": VERSION, "formats": {"site": 1, "plan": 1, "journal": 1, "events": 1}}
    shared.data(f"bootstrap {VERSION}" if form == "text" else dump(form, document))
