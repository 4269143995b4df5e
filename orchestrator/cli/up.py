"""`bootstrap up` and `resume`: the only commands that build a writer."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import choice, option, selection
from orchestrator.cli.shared import Room, Shared, dump
from orchestrator.model.errors import UsageError, WaitingForPerson

if TYPE_CHECKING:
    from orchestrator.engine.plan import Plan
    from orchestrator.engine.terms import Choice, Report, Stop


def acting(function: Any) -> Any:
    """The options of commands that act."""
    rows = (
        option("--yes", "-y", env="YES", is_flag=True, help="Accept the plan that is shown. Never grants an approval, nor what destroys."),
        option("--confirm", "confirmed", env="CONFIRM", multiple=True, metavar="NAME", help="Confirm by name what would be destroyed (repeatable)."),
        option("-o", "--output", "form", env="OUTPUT", type=click.Choice(["text", "json", "ndjson"]), default="text", help="ndjson: every event on stdout; json: the summary."),
    )
    for row in reversed(rows):
        function = row(function)
    return function


@click.command()
@click.argument("plan_file", metavar="[PLAN]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@selection
@acting
@click.pass_obj
def up(shared: Shared, /, plan_file: Path | None, yes: bool, confirmed: tuple[str, ...], form: str, **chosen: object) -> int:
    """Run the plan, or go on where it stopped. With PLAN (from `plan --out`) do nothing beyond it."""
    wanted = choice(**chosen)  # type: ignore[arg-type]  # click's values, by name
    return _up(shared, wanted, _saved(plan_file), yes=yes, confirmed=frozenset(confirmed), form=form)


@click.command()
@acting
@click.pass_obj
def resume(shared: Shared, yes: bool, confirmed: tuple[str, ...], form: str) -> int:
    """Go on with the run that stopped, with its selection."""
    from orchestrator.engine import api

    return _up(shared, api.last_choice(shared.room.records()), None, yes=yes, confirmed=frozenset(confirmed), form=form)


def _saved(path: Path | None) -> Plan | None:
    if path is None:
        return None
    from orchestrator.engine.plan import MOST_CHARACTERS, Plan

    try:
        with path.open(encoding="utf-8") as file:
            return Plan.parse(file.read(MOST_CHARACTERS + 1))  # one more than it takes: a larger file is refused, not held
    except FileNotFoundError:
        raise UsageError(f"there is no saved plan {path}", hint=f"bootstrap plan --out {path}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no saved plan: {error.reason}", hint=f"bootstrap plan --out {path}") from error


def _up(shared: Shared, wanted: Choice, saved: Plan | None, *, yes: bool, confirmed: frozenset[str], form: str) -> int:
    from orchestrator.adapters.lock import Lock
    from orchestrator.adapters.state import StateFolder
    from orchestrator.engine import api
    from orchestrator.engine.terms import Stop

    room = shared.room
    api.selection(room.subject, wanted if saved is None else saved.choice)  # a wrong name is told before anything is made
    folder = StateFolder(room.site_dir)
    folder.prepare()
    room.know_secrets()
    command = room.masker.mask(" ".join(["bootstrap", *sys.argv[1:]]))
    run = folder.new_run()
    lock = Lock.take(folder.path, command=command, run=run)
    stop = Stop()
    with ExitStack() as stack:
        stack.callback(lock.release)
        if lock.took_over is not None:
            shared.say(f"took over the lock: {lock.took_over.explain()}")
        if not _accepted(shared, room, wanted, saved, yes):
            return 7
        with _signals(stop, shared):
            report = _run(shared, room, wanted, saved, lock, run, stop, confirmed, form, command)
    return _end(shared, room, report, run, form)


def _run(shared: Shared, room: Room, wanted: Choice, saved: Plan | None, lock: Any, run: str, stop: Stop, confirmed: frozenset[str], form: str, command: str) -> Report:
    from orchestrator.adapters.children import SystemChildren
    from orchestrator.adapters.events import EventLog
    from orchestrator.adapters.journal import Journal
    from orchestrator.adapters.log import RunLog
    from orchestrator.cli import anchor
    from orchestrator.cli.live import listener
    from orchestrator.cli.masked import MaskedEvents, MaskedJournal
    from orchestrator.engine import api
    from orchestrator.engine.terms import Choice, Ports, UpOptions

    runs = room.state_dir / "runs" / run
    with ExitStack() as stack:
        journal = Journal(room.state_dir / "journal", fence=lock.check)
        stack.callback(journal.close)
        if journal.repaired:
            shared.say(f"journal: {journal.repaired}")
        log = RunLog(runs / "log.ndjson", run=run, mask=room.masker.mask)
        stack.callback(log.close)
        view = stack.enter_context(listener(shared, form))
        events = EventLog(runs / "events.ndjson", run=run, site=room.site.name, listeners=(view, log.event))
        stack.callback(events.close)
        writer = room.writer()
        stack.callback(writer.close)
        ports = Ports(reader=room.reader, writer=writer, clock=room.clock, journal=MaskedJournal(journal, room.masker), events=MaskedEvents(events, room.masker), fence=lock, children=SystemChildren())
        options = UpOptions(run=run, command=command, plan=saved, confirmed=confirmed)
        report = api.up(room.subject, wanted if saved is None else Choice(), ports=ports, options=options, stop=stop)
        if report.exit_code not in (8, 11):  # whoever lost the lock or the journal writes nothing more
            lock.check()
            for problem in anchor.put(room, journal.records(), changed=report.actions > 0):
                shared.say(f"the journal's head could not be marked in {problem}")
        return report


def _accepted(shared: Shared, room: Room, wanted: Choice, saved: Plan | None, yes: bool) -> bool:
    """Show the plan and have it accepted. A saved plan, --yes, or nothing to do needs no question."""
    from orchestrator.engine import api
    from orchestrator.report.paint import Paint
    from orchestrator.report.plan import plan as plan_text
    from orchestrator.report.plan import summary

    if saved is not None or (yes and shared.quiet):
        return True
    made = api.plan(room.subject, wanted, reader=room.reader, records=room.records(), clock=room.clock)
    paint = Paint(shared.color and sys.stderr.isatty())
    document = made.to_json()
    if yes:
        shared.say(summary(document, paint))
        return True
    click.echo(room.masker.mask(plan_text(document, paint, verbose=shared.verbose)), err=True)
    if not made.pending:
        return True
    if not shared.may_ask():
        raise WaitingForPerson("nobody can be asked whether to go on: this is no terminal", hint="read the plan, then: bootstrap up --yes, or bootstrap plan --out FILE and bootstrap up FILE")
    return click.confirm("Carry this out?", err=True)


@contextmanager
def _signals(stop: Stop, shared: Shared) -> Iterator[None]:
    """Two stages: first the next safe point, then the children. SIGTERM and SIGHUP count too."""

    def asked(number: int, frame: object) -> None:
        times = stop.request(143 if number == signal.SIGTERM else 130)
        said = {1: "stopping at the next safe point; again to end what runs", 2: "ending what runs"}.get(times)
        if said is not None:
            with suppress(OSError):
                os.write(2, f"\n{said}\n".encode())  # a handler may run inside of a write: buffered streams refuse a second one

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(shared: Shared, room: Room, report: Report, run: str, form: str) -> int:
    from orchestrator.report.card import card
    from orchestrator.report.paint import Paint
    from orchestrator.report.run import ending

    paint = Paint(shared.color and sys.stderr.isatty())
    if form == "json":
        shared.data(dump("json", report.to_json()))
    for one in report.failures:
        click.echo(card(_inert(one.to_json()), paint), err=True)
    shared.say(ending(report.to_json(), paint, folder=f".bootstrap/runs/{run}"))
    return report.exit_code


def _inert(data: Any) -> Any:
    """A card quotes other programs: their escape sequences are shown, never carried out."""
    from orchestrator.adapters.masking import inert

    if isinstance(data, str):
        return inert(data)
    if isinstance(data, Mapping):
        return {name: _inert(one) for name, one in data.items()}
    return [_inert(one) for one in data] if isinstance(data, list) else data
