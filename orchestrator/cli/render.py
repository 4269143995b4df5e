"""`bootstrap render`: what the product would write, to look at."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.options import option
from orchestrator.cli.shared import Shared
from orchestrator.model.errors import PreconditionError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@option("--force", env="FORCE", is_flag=True, help="Write into a folder that holds something.")
@click.pass_obj
def render(shared: Shared, folder: Path, force: bool) -> None:
    """Write the Talos patches and the Git tree of the site to FOLDER. Needs no platform; holds no secret."""
    import phases
    from orchestrator.report.paint import count

    files = phases.render(shared.site)
    if folder.exists() and any(folder.iterdir()) and not force:
        raise PreconditionError(f"{folder} is not empty", hint="name a new folder, or --force")
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    shared.say(f"wrote {count(len(files), 'file')} to {folder}")
