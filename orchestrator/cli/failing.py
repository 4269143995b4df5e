"""What an operator sees when a command fails: one clear error, or a card; a bug says that it is one."""

from __future__ import annotations

import sys
import traceback

import click

from orchestrator.model.errors import BootstrapError


def report_failure(error: Exception, *, verbose: bool) -> int:
    """Print the error on stderr and give the exit code."""
    from orchestrator.adapters.masking import inert

    if isinstance(error, BootstrapError):
        if verbose:
            traceback.print_exception(error, file=sys.stderr)
        for number, line in enumerate(str(error).splitlines() or [""]):
            click.echo(inert(line if number else f"error: {line}"), err=True)
        if error.hint:
            click.echo(f"hint: {inert(error.hint)}", err=True)
        return error.exit_code
    from inventory import SiteErrors

    if isinstance(error, SiteErrors):
        from orchestrator.report.site import site_errors

        click.echo(inert(site_errors(error.errors)), err=True)
        return 3
    if isinstance(error, OSError):
        click.echo(f"error: {inert(str(error))}", err=True)
        click.echo("hint: bootstrap doctor", err=True)
        return 11
    click.echo(f"bug: {type(error).__name__}: {inert(str(error))}", err=True)
    if verbose:
        traceback.print_exception(error, file=sys.stderr)
    click.echo("hint: this should not happen; run again with -v and file what it prints", err=True)
    return 1
