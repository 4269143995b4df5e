"""Options that several commands share. Each has a BOOTSTRAP_* twin in the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from orchestrator.engine.terms import Choice
from orchestrator.model.errors import UsageError

F = TypeVar("F", bound=Callable[..., object])


def option(*names: str, env: str, **rest: object) -> Callable[[F], F]:
    """A click option with its twin."""
    return click.option(*names, envvar=f"BOOTSTRAP_{env}", show_envvar=False, **rest)  # type: ignore[arg-type]  # click's own signature is open


def output(*forms: str) -> Callable[[F], F]:
    """`-o`: text unless asked otherwise."""
    return option("-o", "--output", "form", env="OUTPUT", type=click.Choice(["text", *forms]), default="text", help="Form of the data on stdout.")


def selection(function: F) -> F:
    """The options that select phases and steps."""
    rows = (
        option("--phase", "phases", env="PHASE", multiple=True, metavar="NAME[@CLUSTER]", help="Only this phase (repeatable)."),
        option("--step", "steps", env="STEP", multiple=True, metavar="PHASE/STEP", help="Only this step (repeatable)."),
        option("--from", "first", env="FROM", metavar="NAME", help="From this phase on, inclusive."),
        option("--until", env="UNTIL", metavar="NAME", help="Up to this phase, inclusive."),
        option("--week", "weeks", env="WEEK", multiple=True, type=click.IntRange(1, 10), help="Only this week of the plan."),
        option("--cluster", "clusters", env="CLUSTER", multiple=True, help="Only this cluster."),
        option("--skip", env="SKIP", multiple=True, metavar="NAME", help="Leave this phase or step out; wants --reason."),
        option("--reason", env="REASON", default="", metavar="TEXT", help="Why it is skipped; journaled."),
    )
    for row in reversed(rows):
        function = row(function)
    return function


def choice(*, phases: tuple[str, ...], steps: tuple[str, ...], first: str | None, until: str | None, weeks: tuple[int, ...], clusters: tuple[str, ...], skip: tuple[str, ...], reason: str) -> Choice:
    """The operator's selection as data. Raises UsageError."""
    if skip and not reason.strip():
        raise UsageError("--skip wants a reason, which the journal keeps", hint='add --reason "..."')
    return Choice(phases=phases, steps=steps, first=first, until=until, weeks=weeks, clusters=clusters, skip=skip, reason=reason)
