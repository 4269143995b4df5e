"""`bootstrap verify`: finished phases proven again, and drift."""

from __future__ import annotations

import sys
from typing import Any

import click

from orchestrator.cli.options import choice, output, selection
from orchestrator.cli.shared import Shared, dump
from orchestrator.model.query import GitRead


@click.command()
@selection
@output("json", "yaml")
@click.pass_obj
def verify(shared: Shared, /, form: str, **chosen: object) -> int:
    """Ask the gates and goals of finished phases again. Exit 2 when one does not stand any more, or a file of ours was changed."""
    from orchestrator.engine import api
    from orchestrator.report.paint import Paint
    from orchestrator.report.verify import verification

    room = shared.room
    room.know_secrets()
    found = api.verify(room.subject, choice(**chosen), reader=room.reader, records=room.records(), clock=room.clock)  # type: ignore[arg-type]  # click's values, by name
    document = found.to_json() | {"theirs": theirs(room.reader.ask(GitRead()).body)}
    if form == "text":
        shared.data(shared.mask(verification(document, Paint(shared.color and sys.stdout.isatty()), verbose=shared.verbose)))
    else:
        shared.data(shared.mask(dump(form, document)))
    return 2 if found.drifted or document["theirs"] else 0


def theirs(body: Any) -> list[str]:
    """Files that we rendered and somebody else changed or removed since."""
    import hashlib

    if not isinstance(body, dict):
        return []
    found = []
    for path, digest in body["rendered"].items():
        text = body["files"].get(path)
        if digest != "-" and (text is None or hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() != digest):
            found.append(path)
    return sorted(found)
