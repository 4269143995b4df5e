"""`bootstrap validate` and `bootstrap schema`: the site alone, offline."""

from __future__ import annotations

import click

from orchestrator.cli.options import output
from orchestrator.cli.shared import Shared, dump


@click.command()
@output("json", "yaml")
@click.pass_obj
def validate(shared: Shared, form: str) -> None:
    """Check the site offline: every rule, all errors at once. Exit 3 when something is wrong."""
    import inventory
    import phases
    from orchestrator.engine import api
    from orchestrator.report.paint import count

    site = shared.site
    api.graph(shared.room.subject)
    if form == "text":
        steps = sum(len(phase.steps) for phase in phases.compile(site))
        shared.data(f"{shared.path}: valid; {count(len(site.clusters), 'cluster')}, {count(len(site.nodes), 'node')}, {count(steps, 'step')}")
    else:
        shared.data(dump(form, {"site": site.name, "valid": True, "digest": inventory.site_digest(site)}))


@click.command()
@click.pass_obj
def schema(shared: Shared) -> None:
    """Print the JSON Schema of a site, for editors."""
    import inventory.schema

    shared.data(dump("json", inventory.schema.json_schema()))
