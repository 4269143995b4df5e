"""Hostile input to everything that reads: judges, journal, anchor, saved plans, sites. `make fuzz` is the long run; each prints its count.

No exception but the one clear error, no hang, nothing unbounded: a verdict's reason fits a screen, its evidence is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import inventory
import phases
from orchestrator.adapters.journal import Journal, load, records_of, verify
from orchestrator.engine.plan import Plan
from orchestrator.engine.render import render
from orchestrator.engine.status import fold
from orchestrator.model.check import Check, verdict
from orchestrator.model.errors import BootstrapError
from orchestrator.model.query import Answer
from orchestrator.model.verdict import State, Verdict
from tests.proof import hostile

EXAMPLES = Path(inventory.__file__).parent / "sites"
SLOW = 5.0  # seconds of processor time for one call; a quadratic reader takes minutes for the same input
LONGEST_REASON = 4000
MOST_EVIDENCE = 100_000
SEEN: Counter[str] = Counter()


def checks() -> dict[tuple[str, str], Check]:
    """Every question of the product's phases over all example sites, by (site, role and id)."""
    found = {}
    for path in sorted(EXAMPLES.glob("*/site.yaml")):
        for role, check in phases.checks(phases.compile(inventory.load(path))):
            found[path.parent.name, f"{role} {check.id}"] = check
        for check in phases.workstation(inventory.load(path)):
            found[path.parent.name, f"doctor {check.id}"] = check
    return found


class Hang(AssertionError):
    """A call took longer than SLOW."""


@contextmanager
def bounded(name: str) -> Iterator[None]:
    """Ends what hangs, a regular expression too: the matcher looks for signals."""

    def late(number: int, frame: object) -> None:
        raise Hang(f"{name}: longer than {SLOW} s")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, SLOW)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def judged(name: str, check: Check, answers: tuple[Answer, ...]) -> Verdict:
    """The verdict. Raises AssertionError for one that cannot be shown or kept."""
    with bounded(name):
        found = verdict(check, answers)
    SEEN["judgements"] += 1
    assert isinstance(found, Verdict) and found.state in State and isinstance(found.reason, str), name
    assert len(found.reason) <= LONGEST_REASON, f"{name}: a reason of {len(found.reason)} characters"
    assert len(json.dumps(dict(found.evidence))) <= MOST_EVIDENCE, f"{name}: much evidence"
    json.dumps(found.reason).encode()
    return found


def fixed(name: str, check: Check) -> None:
    """All fixed answers to all of the check's questions at once, and to each of them with the others silent."""
    for row in zip(*(hostile.fixed(query) for query in check.ask), strict=True):
        found = judged(name, check, row)
        assert not (found.met and len(check.ask) and all(answer == Answer(rc=255) for answer in row)), f"{name}: met by a program that failed"


def random(name: str, check: Check, chance: Random) -> None:
    """One random answer to each question."""
    judged(name, check, tuple(hostile.random_answer(query, chance) for query in check.ask))


def plan_texts(chance: Random) -> Iterator[str]:
    """A real plan, changed."""
    whole = saved_plan()
    data = json.loads(whole)
    yield whole[: chance.randrange(len(whole))]
    at = chance.randrange(len(whole))
    yield whole[:at] + chance.choice(hostile.NASTY) + whole[at + chance.randrange(9) :]
    here = data
    while isinstance(here, dict | list) and here:
        key = chance.choice(list(here) if isinstance(here, dict) else list(range(len(here))))
        if not isinstance(here[key], dict | list) or chance.random() < 0.3 or not here[key]:  # type: ignore[index]
            here[key] = hostile.value(chance)  # type: ignore[index]
            break
        here = here[key]  # type: ignore[index]
    yield json.dumps(data)
    yield hostile.text(chance)


def saved_plan() -> str:
    """A plan of a small site, made once without a world: everything is unknown."""
    if not _PLAN:
        from datetime import UTC, datetime

        from orchestrator.engine import api
        from tests.unit.engine_world import FakeClock

        site = inventory.load(EXAMPLES / "single-node" / "site.yaml")

        class Nobody:
            def ask(self, query: object) -> Answer:
                return Answer(unreachable="nobody")

            def watch(self, *rest: object) -> bool:
                return False

        subject = api.Subject(site=site.name, site_digest="d", phases=phases.compile(site))
        assert datetime.now(UTC)
        _PLAN.append(api.plan(subject, api.Choice(), reader=Nobody(), records=(), clock=FakeClock()).text())
    return _PLAN[0]


_PLAN: list[str] = []


def plans(chance: Random) -> None:
    """Saved plans: a Plan or one clear error; what is read can be written again."""
    for text in plan_texts(chance):
        SEEN["plans"] += 1
        try:
            plan = Plan.parse(text)
            plan.text()
            assert plan.id
        except BootstrapError as error:
            assert len(str(error)) < LONGEST_REASON and error.hint


def journals(chance: Random, folder: Path) -> None:
    """Journals: records or one clear error, from files of any content; a chain that is whole and says nonsense is refused too."""
    where = folder / "journal"
    if not where.exists():
        journal = Journal(where)
        for n in range(6):
            journal.append("step.started", run="r", phase="p", step=f"p/{n}", attempt=1, data={"digest": "d"}, durable=False)
        journal.close()
        (folder / "whole").write_bytes((where / "000001.ndjson").read_bytes())
        (folder / "anchor").write_bytes((where / "anchor").read_bytes())
    raw = bytearray((folder / "whole").read_bytes())
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(raw))
        raw[at : at + chance.randrange(5)] = bytes(chance.choice(b'\x00\xff"{}[],:\n\\u09azAZ') for _ in range(chance.randrange(5)))
    anchor = (folder / "anchor").read_bytes() if chance.random() < 0.5 else bytes(chance.randrange(256) for _ in range(chance.randrange(100)))
    (where / "000001.ndjson").write_bytes(bytes(raw) if chance.random() < 0.8 else hostile.text(chance).encode("utf-8", "surrogatepass"))
    (where / "anchor").write_bytes(anchor)
    SEEN["journals"] += 1
    load(where)
    verify(where)
    for read in (records_of, lambda path: Journal(path).close()):
        try:
            read(where)
        except BootstrapError as error:
            assert error.exit_code == 11 and error.hint


def chained(chance: Random) -> None:
    """Records whose chain is right and whose content is not."""
    records, prev = [], ""
    for seq in range(1, chance.randrange(2, 9)):
        kind = chance.choice(("run.started", "phase.started", "step.started", "action.started", "action.spawned", "action.ended", "action.settled", "step.done", "step.failed", "step.unknown", "gate.met", "decision.approved", "decision.resolved", "decision.skipped", "run.done", "phase.failed", "undo.started", "step.undone", "x.y", ""))
        record = {"seq": seq, "at": "2026-03-02T07:00:00.000Z", "run": chance.choice(("r", None, 1)), "kind": kind, "phase": chance.choice(("p", None, [])), "step": chance.choice(("p/s", None, {})), "node": None, "attempt": chance.choice((1, None, "x")), "data": chance.choice((hostile.value(chance, 2), {"index": 0, "digest": "d"}, {})), "prev": prev}
        record["hash"] = prev = str(seq)
        records.append(record)
    SEEN["chains"] += 1
    try:
        fold(records)
    except BootstrapError as error:
        assert error.exit_code == 11 and error.hint


def sites(chance: Random, folder: Path) -> None:
    """Site files: a Site or errors, each with its place."""
    raw = bytearray((EXAMPLES / "single-node" / "site.yaml").read_bytes())
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(raw))
        raw[at : at + chance.randrange(6)] = chance.choice((*hostile.NASTY[:15], ": ", "- ", "&a ", "*a", "!!python/object:os.system ", "<<: ", "|\n", "\t")).encode("utf-8", "surrogatepass")
    file = folder / "site.yaml"
    file.write_bytes(bytes(raw))
    SEEN["sites"] += 1
    try:
        with bounded("site"):
            phases.compile(inventory.load(file))
    except inventory.SiteErrors as caught:
        assert caught.errors and all(error.line >= 1 for error in caught.errors)
        assert all(c.isprintable() or c == "\n" for error in caught.errors for c in str(error))


def tried(call: Callable[..., None], *given: object) -> None:
    """A call whose failure is kept, with where it came from."""
    try:
        call(*given)
    except Exception as error:  # what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{error if isinstance(error, AssertionError) else given[0] if isinstance(given[0], str) else call.__name__}: {type(error).__name__} {str(error)[:120]} ({Path(where.filename).name}:{where.lineno})"
        FAILED.setdefault(f"{Path(where.filename).name}:{where.lineno} {type(error).__name__}", what)


FAILED: dict[str, str] = {}


def every_check(part: int = 1) -> None:
    """All fixed answers to each question (to one in `part`); a check that several sites have alike is asked once."""
    done: set[str] = set()
    for number, ((site, name), check) in enumerate(checks().items()):
        if name not in done and number % part == 0:
            done.add(name)
            tried(fixed, f"{site} {name}", check)


def run(cases: int, seed: int) -> None:
    """So many cases of everything."""
    chance = Random(seed)
    found = checks()
    names = sorted(found)
    SEEN["checks"] = len(names)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(cases):
            name = names[number % len(names)]
            tried(random, " ".join(name), found[name], chance)
            if number % 40 == 0:
                tried(plans, chance)
                tried(journals, chance, Path(folder))
                tried(chained, chance)
            if number % 80 == 0:
                tried(sites, chance, Path(folder))


def rendered() -> None:
    """Every action of every example can be shown, whatever the world says."""
    for path in sorted(EXAMPLES.glob("*/site.yaml")):
        for phase in phases.compile(inventory.load(path)):
            for step in phase.steps:
                for action in (*step.actions, *step.undo):
                    json.dumps(render(action))
                    SEEN["actions shown"] += 1


def main() -> int:
    """The long run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    every_check()
    rendered()
    run(arguments.cases, arguments.seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(", ".join(f"{count} {name}" for name, count in SEEN.items()) + f"; {peak} MiB at most, {time.monotonic() - started:.0f} s: {'no exception, no hang' if not FAILED else f'{len(FAILED)} FAILED'}")
    print("\n".join(FAILED.values()))
    return 1 if FAILED else 0


if __name__ == "__main__":
    sys.exit(main())
