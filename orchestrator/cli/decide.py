"""`approve`, `resolve` and `unlock`: a person's decisions, journaled."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import option
from orchestrator.cli.shared import Room, Shared

if TYPE_CHECKING:
    from orchestrator.cli.masked import MaskedJournal


@click.command()
@click.argument("step")
@option("--reason", env="REASON", required=True, metavar="TEXT", help="Why; kept in the journal.")
@click.pass_obj
def approve(shared: Shared, step: str, reason: str) -> None:
    """Approve STEP, which waits for a person."""
    from orchestrator.engine import api

    with _journal(shared.room) as journal:
        api.approve(shared.room.subject, journal, step, reason=reason, by=getpass.getuser())
    shared.say(f"approved {step}; go on with: bootstrap up")


@click.command()
@click.argument("step")
@option("--as", "found", env="AS", required=True, type=click.Choice(["done", "not-done"]), help="What you found on the platform.")
@option("--reason", env="REASON", required=True, metavar="TEXT", help="How you found it; kept in the journal.")
@click.pass_obj
def resolve(shared: Shared, step: str, found: str, reason: str) -> None:
    """Say how the unknown outcome of STEP was found."""
    from orchestrator.engine import api

    with _journal(shared.room) as journal:
        api.resolve(shared.room.subject, journal, step, done=found == "done", reason=reason, by=getpass.getuser())
    shared.say(f"resolved {step} as {found}; go on with: bootstrap up")


@click.command()
@option("--force", env="FORCE", is_flag=True, help="Even though the owner may live: it stops before its next mutation.")
@click.pass_obj
def unlock(shared: Shared, force: bool) -> None:
    """Remove the lock of an owner that is gone."""
    from orchestrator.adapters.lock import unlock as remove

    folder = shared.room.state_dir
    seen = remove(folder, force=force) if folder.is_dir() else None
    shared.say("nobody holds the lock" if seen is None else f"removed: {seen.explain()}")


@contextmanager
def _journal(room: Room) -> Iterator[MaskedJournal]:
    """The journal, open under the lock."""
    from orchestrator.adapters.journal import Journal
    from orchestrator.adapters.lock import Lock
    from orchestrator.adapters.state import StateFolder
    from orchestrator.cli.masked import MaskedJournal

    folder = StateFolder(room.site_dir)
    folder.prepare()
    lock = Lock.take(folder.path, command=f"bootstrap {click.get_current_context().info_name}")
    try:
        journal = Journal(folder.journal, fence=lock.check)
        try:
            yield MaskedJournal(journal, room.masker)
        finally:
            journal.close()
    finally:
        lock.release()
