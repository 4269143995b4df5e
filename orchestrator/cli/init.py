"""`bootstrap init`: a new site, from an example or from what cannot be derived."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import option
from orchestrator.cli.shared import Shared
from orchestrator.model.errors import PreconditionError, UsageError

if TYPE_CHECKING:
    from inventory.init import Answers, Question


@click.command()
@option("--template", env="TEMPLATE", metavar="NAME", default=None, help="An example site (default: ten-weeks; --template list names them).")
@option("--minimal", env="MINIMAL", is_flag=True, help="A one-cluster site from a few answers.")
@option("--name", env="NAME", default="", help="Name of the site and its cluster.")
@option("--node", "nodes", env="NODE", multiple=True, metavar="NAME=ADDRESS[,MAC|SERIAL[,DISK]][,worker]", help="A machine (repeatable).")
@option("--vip", env="VIP", default="", metavar="ADDRESS", help="The control plane's virtual address.")
@option("--git-url", env="GIT_URL", default="", metavar="URL", help="The repository that Flux reconciles.")
@option("--network", env="NETWORK", default="", metavar="CIDR", help="The nodes' network (default: around the first node).")
@option("--pool", env="POOL", default="", metavar="CIDR", help="Addresses for services of type LoadBalancer.")
@click.pass_obj
def init(shared: Shared, template: str | None, minimal: bool, name: str, nodes: tuple[str, ...], vip: str, git_url: str, network: str, pool: str) -> None:
    """Write a new site into the current folder (or -C DIR). Nothing that is there is overwritten.

    Without options it is the site of the ten-week plan. With --minimal or --node it is a one-cluster site: what can be derived
    is derived, the rest is asked for on a terminal, and named with --non-interactive.
    """
    from inventory import init as new

    if template == "list":
        shared.data("\n".join(new.templates()))
        return
    if minimal or nodes:
        try:
            machines = tuple(new.node(text) for text in nodes)
        except ValueError as error:
            raise UsageError(str(error), hint="bootstrap init --help") from error
        given = new.Answers(name=name, nodes=machines, vip=vip, git_url=git_url, network=network, pool=pool)
        files = new.minimal(_complete(shared, given))
    else:
        files = _template(template or "ten-weeks")
    _write(shared, Path(shared.directory), files)


def _template(name: str) -> dict[str, str]:
    from inventory import init as new
    from inventory.selection import nearest

    try:
        return new.from_template(name)
    except KeyError:
        near = nearest(name, new.templates())
        raise UsageError(f"there is no example site {name!r}" + (f"; did you mean {near}?" if near else ""), hint="bootstrap init --template list") from None


def _complete(shared: Shared, answers: Answers) -> Answers:
    """Ask what is open where somebody can answer; else name all of it at once."""
    from inventory import init as new

    while missing := new.questions(answers):
        if not shared.may_ask():
            listed = "\n".join(f"  {one.key}: {one.text}" for one in missing)
            raise UsageError(f"a minimal site needs more:\n{listed}", hint="give them as options; bootstrap init --help")
        answers = _ask(answers, missing[0])
    return answers


def _ask(answers: Answers, question: Question) -> Answers:
    from inventory import init as new

    said = click.prompt(question.text, err=True)
    words = question.key.split()
    if words[0] == "nodes":
        return replace(answers, nodes=(*answers.nodes, *(new.node(one) for one in said.split())))
    if words[0] == "node":
        changed = tuple(_with(one, words[2], said) if one.name == words[1] else one for one in answers.nodes)
        return replace(answers, nodes=changed)
    changed_answers: Answers = _with(answers, words[0], said)
    return changed_answers


def _with(record: Any, name: str, value: str) -> Any:
    """The record with one text changed, whose name comes from a Question."""
    return replace(record, **{name: value})


def _write(shared: Shared, folder: Path, files: dict[str, str]) -> None:
    there = [path for path in files if (folder / path).exists() and path != ".gitignore"]
    if there:
        raise PreconditionError(f"{folder} has {', '.join(there)} already; nothing was written", hint="choose another folder: bootstrap -C DIR init")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.write_text(text)
    shared.say(f"wrote {', '.join(files)} to {folder}")
    shared.say("next: edit site.yaml, then bootstrap validate; bootstrap rehearse tries it without a machine")
