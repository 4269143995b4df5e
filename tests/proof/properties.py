"""Quorum is sacred: random sites, failures, kills and resumes through the real engine. `make properties` runs 100,000 cases.

A case is a set of phases (the product's own of a random site, or what later weeks will do to machines), a world in which things go wrong, up to
five lives of the engine that are killed at random boundaries or given a selection, and lives without a kill until all is done. At every deed:
never more nodes of a group down than its fan is wide, those that an earlier life left down included; never two control planes; nothing that
may be done once is done twice; etcd is bootstrapped once a cluster; no disk is touched whose identity was not confirmed in that very run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as some

from orchestrator.engine import asking
from orchestrator.engine.api import Choice
from orchestrator.model.errors import BootstrapError, NeedsError, UsageError
from orchestrator.model.phase import Phase as Part
from tests.proof.quorum import Case, InOrder, World, compiled_phases, upgrade_phases

SITES = 24  # random sites that a shard compiles; the cases on them differ in everything else
LIVES = 14  # without a kill, after which a case must be done
SEEN: Counter[str] = Counter()


@cache
def _compiled(number: int) -> tuple[Part, ...]:
    with tempfile.TemporaryDirectory() as folder:
        return compiled_phases(Random(number), Path(folder))


def case(shape: int, number: int, kills: list[int], selections: int) -> None:
    """One case. Raises AssertionError with what was violated."""
    chance = Random(f"{shape} {number}")
    parts = upgrade_phases(chance) if shape % 32 else _compiled(number % SITES)
    world = World(parts, chance)
    _plant_foreign(world, chance)
    history = Case(world)
    for kill in kills:
        _live(history, _choice(parts, chance) if selections & 1 else None, kill)
        selections >>= 1
        assert world.violations == [], world.violations
    SEEN["kills"] += len(kills)
    if world.foreign:
        _ends_before_foreign(history)
        return
    for _ in range(LIVES):
        report = history.up()
        SEEN["runs"] += 1
        assert world.violations == [], world.violations
        if report is not None and report.exit_code == 0:
            break
        world.trouble /= 2  # what is wrong gets mended, in the end
    assert report is not None and report.exit_code == 0, [card.to_json() for card in report.failures] if report else "killed"
    assert not world.down
    again = history.up()
    assert again is not None and (again.exit_code, again.actions) == (0, 0)


def _plant_foreign(world: World, chance: Random) -> None:
    """In one of ten cases a machine is somebody else's: a wrong disk, a swapped cable."""
    identities = [a.check.id for step in world.steps.values() if step.disruption == "installs" for a in step.actions if hasattr(a, "check")]
    if identities and chance.random() < 0.1:
        world.foreign.add(chance.choice(identities))
        SEEN["with a foreign machine"] += 1


def _ends_before_foreign(history: Case) -> None:
    report = history.up()
    assert report is None or report.exit_code != 0
    assert history.world.violations == [], history.world.violations


def _choice(parts: tuple[Part, ...], chance: Random) -> Choice:
    """A selection as an operator may type it: one step, or without one."""
    step = chance.choice([step.id for part in parts for step in part.steps])
    return chance.choice([Choice(steps=(step,)), Choice(until=step), Choice(skip=(step,), reason="broken")])


def _live(history: Case, choice: Choice | None, kill: int) -> None:
    try:
        history.up(choice, boundaries=kill)
    except (NeedsError, UsageError):
        SEEN["refused selections"] += 1
    SEEN["runs"] += 1


def check(cases: int, begin: int, *, shape: int | None = None) -> None:
    """Run so many cases. Raises the smallest case that fails, as hypothesis finds it."""

    @seed(begin)
    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink))
    @given(
        some.integers(0, 63) if shape is None else some.just(shape),
        some.integers(0, 1 << 40),
        some.lists(some.integers(0, 120), max_size=5),
        some.integers(0, 31),
    )
    def property_(shape: int, number: int, kills: list[int], selections: int) -> None:
        SEEN["cases"] += 1
        case(shape, number, kills, selections)

    pool, asking.ThreadPoolExecutor = asking.ThreadPoolExecutor, InOrder  # type: ignore[misc,assignment]  # cheaper, and the same questions
    try:
        property_()
    finally:
        asking.ThreadPoolExecutor = pool  # type: ignore[misc]


def said() -> str:
    """The counts in one line."""
    return ", ".join(f"{count} {name}" for name, count in SEEN.items())


def main() -> int:
    """The long run, in shards side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alone", action="store_true", help="run in this process")
    arguments = parser.parse_args()
    started = time.monotonic()
    if arguments.alone:
        try:
            check(arguments.cases, arguments.seed)
        finally:
            print(said(), flush=True)
        return 0
    each = -(-arguments.cases // arguments.shards)
    command = [sys.executable, "-m", "tests.proof.properties", "--alone", "--cases", str(each), "--seed"]
    shards = [subprocess.Popen([*command, str(arguments.seed + number)], stdout=subprocess.PIPE, text=True) for number in range(arguments.shards)]
    totals: Counter[str] = Counter()
    for shard in shards:
        out, _ = shard.communicate()
        for part in out.strip().splitlines()[-1].split(", ") if out.strip() else []:
            count, _, name = part.partition(" ")
            totals[name] += int(count)
    good = all(shard.returncode == 0 for shard in shards)
    print(", ".join(f"{count} {name}" for name, count in totals.items()) + f", {time.monotonic() - started:.0f} s: {'none violated' if good else 'VIOLATED'}")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BootstrapError as error:
        sys.exit(f"{type(error).__name__}: {error}")
