"""`bootstrap completion`: the completion script of a shell."""

from __future__ import annotations

import click

from orchestrator.cli import cli
from orchestrator.cli.shared import Shared


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def completion(shared: Shared, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  source <(bootstrap completion bash)
    zsh:   source <(bootstrap completion zsh)
    fish:  bootstrap completion fish | source
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"no completion for {shell}")
    shared.data(made(cli, {}, "bootstrap", "_BOOTSTRAP_COMPLETE").source())
