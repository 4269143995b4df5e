"""What an operator sees when a command fails: one clear error, or a card; a bug says that it is one."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import click

from orchestrator.model.errors import BootstrapError


def report_failure(error: Exception, *, verbose: bool, mask: Callable[[str], str] = str) -> int:
    """Print the error on stderr, each text masked and inert, and give the exit code."""
    from orchestrator.adapters.masking import inert

    def say(text: str) -> None:
        click.echo(inert(mask(text)), err=True)

    if verbose:
        say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, BootstrapError):
        say(f"error: {error}")
        if error.hint:
            say(f"hint: {error.hint}")
        return error.exit_code
    from inventory import SiteErrors

    if isinstance(error, SiteErrors):
        from orchestrator.report.site import site_errors

        say(site_errors(error.errors))
        return 3
    if isinstance(error, OSError):
        say(f"error: {error}")
        say("hint: bootstrap doctor")
        return 11
    say(f"bug: {type(error).__name__}: {error}")
    say("hint: this should not happen; run again with -v and file what it prints")
    return 1
