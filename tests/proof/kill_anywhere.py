"""Kill the orchestrator at every journal boundary of the whole rehearsal: `python -m tests.proof.kill_anywhere` (`make kill-anywhere`).

An undisturbed run, phase by phase, is saved (world, state folder, dump) wherever a step or a fan of steps begins, and looked at (dump, journal)
before each action. Then, for each boundary that it passed: world and state as they were there, the real command, SIGKILL to itself at the boundary,
and the real command again until the next such place (some, by seed: to the very end, where one such run may be killed at two of them, in different
phases). World and journal must be what they were there, nothing that may be done once was done twice by the lab's own record, and nobody was asked.
Where they are, the life that resumed goes on and is killed in the next segment: a chain of kills, each with a resume and a comparison of its own.

Boundaries, from outside of the product, by wrapping two of its public methods in this process and no other:
written  a record was given to the operating system, and an intent (action.started) is not synced yet
synced   an intent is on disk and the engine has not gone on
before   the engine is about to write: a child lives and its record does not (action.spawned), an effect is there and its outcome is not (action.ended)

No moment is counted twice. The moment before any other record is the moment after the one before it. And what a killed process has written the
kernel keeps, so that before and after the fsync of a record neither disk nor world differ: only at an intent, after which the world may change,
both are killed at (`--every` adds the others; what a loss of power makes of a write without its fsync is powercut.py's). Phases are added to this
proof by being compiled from the site; nothing here names one.
"""

from __future__ import annotations

import argparse
import difflib
import gc
import importlib
import itertools
import json
import os
import queue
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson

import inventory
import phases
from lab import sitecopy
from lab.control import answer, ask
from orchestrator.adapters.disk import Disk
from orchestrator.adapters.journal import Journal, records_of
from orchestrator.engine.graph import compile_graph
from orchestrator.engine.status import View, fold
from orchestrator.model.action import Approval, Await, Command
from orchestrator.model.phase import Phase
from tests.lab.rig import TEN_WEEKS, Rig

# What controllers do by themselves, at their own pace: how far Flux has come, and how often it has rolled something over on the way.
PACE = re.compile(r'main@sha1:|[0-9a-f]{40}\.tar\.gz|Health check passed in|"revision": \d+|for release [a-z-]+/[a-z-]+\.v\d+ with chart')
QUIET = b'{"result":{"busy":[],'  # how the lab's dump begins where nothing is under way
END = "~end"  # the place after the last step of a phase: its gates and its own end
TO_THE_END = 50  # boundaries after which the run goes on to the end of everything, of all that there are
SOME_TO_THE_END = 16  # of a part of them: one in so many
TRIES = 2  # to reach a boundary again from the begin of its phase, after those in chains: the world may do by itself what the step would
GAP = 1  # segments without a boundary of its own that a chain passes: to begin anew costs more
MISSED = 0.03  # share of boundaries that may not be reached again; they are listed
TIMING = {"timing.poll": 0.25, "timing.etcd": "2m"}  # seldomer asked; an etcd bootstrap that was cut short is awaited for 12 s here, not for a minute
LONGEST = 300.0  # seconds of one life of the command
ROOM = 4 << 30  # bytes for the worlds of all shards

Key = tuple[str, str, str, int]
"""(where, kind of the record, step or phase, how often this was passed before in the same life)"""


@dataclass(frozen=True)
class Boundary:
    """A place to be killed at: the phase that runs, the segment of it, and the key within a life that starts there."""

    phase: str
    segment: str
    key: Key


T = TypeVar("T")


def boundary_of(row: Mapping[str, Any]) -> Boundary:
    """The boundary that a row of the result is about."""
    return Boundary(row["phase"], row["segment"], tuple(row["key"]))


def step_of(segment: str) -> str:
    """The segment that an action's step (or else itself) begins with."""
    return segment.partition("#")[0]


class Segments:
    """The parts of a phase that follow each other: what comes before its steps (""), each action with what its step does around it, or a fan as
    a whole, and the end."""

    def __init__(self, phase: Phase) -> None:
        self.of: dict[str, str] = {step.id: step.fan.group if step.fan else step.id for step in phase.steps}
        self.order = [""]
        for step in phase.steps:
            acting = [f"{step.id}#{index}" for index, action in enumerate(step.actions) if not isinstance(action, Await | Approval)]
            self.order += [self.of[step.id], *(acting[1:] if not step.fan else ())]
        self.order = [*dict.fromkeys(self.order), END]

    def place(self, kind: str, step: str | None, data: Mapping[str, Any]) -> str:
        """The segment that a record belongs to, or an earlier one of its step; empty for those at a run's begin."""
        if step is None:
            return END if kind in ("gate.met", "gate.failed", "phase.done", "run.done") else ""
        part = f"{step}#{data.get('index')}"
        return part if kind == "action.started" and part in self.order else self.of.get(step, "")

    def behind(self, one: str, other: str) -> bool:
        """Whether the first comes after the second."""
        return self.order.index(one) > self.order.index(other)


@dataclass
class Watch:
    """What one life of the command does at the boundaries that it passes. Installed in the process of that life alone."""

    place: Callable[[str, str | None, Mapping[str, Any]], str]
    on: Callable[[Key], None]
    entering: Callable[[str], None]
    every: bool = False  # also after the fsync of what is no intent
    only: str = ""  # the phase that counts, where a life runs several
    passed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    turn: threading.Lock = field(default_factory=threading.Lock)  # while a world is saved, the others of a fan write down no intent

    def install(self) -> None:
        """Wrap the journal's `append` and the disk's `append`."""
        append, write = Journal.append, Disk.append
        watch = self

        def journaled(journal: Journal, kind: str, **more: Any) -> Mapping[str, Any]:
            if watch.only not in ("", more.get("phase")):
                return append(journal, kind, **more)
            with watch.turn:
                watch.entering(watch.place(kind, more.get("step"), more.get("data") or {}))
            if kind in ("action.spawned", "action.ended"):
                watch.passes("before", kind, more.get("step") or more.get("phase") or "")
            record = append(journal, kind, **more)
            if more.get("durable", True) and (watch.every or kind == "action.started"):
                watch.passes("synced", kind, more.get("step") or more.get("phase") or "")
            return record

        def written(disk: Disk, handle: int, data: bytes) -> None:
            write(disk, handle, data)
            for line in data.splitlines():
                record = json.loads(line)
                if watch.only in ("", record["phase"]):
                    watch.passes("written", record["kind"], record["step"] or record["phase"] or "")

        Journal.append = journaled  # type: ignore[method-assign,assignment]  # the seam of this proof, in a process of its own
        Disk.append = written  # type: ignore[method-assign]

    def passes(self, where: str, kind: str, name: str) -> None:
        """One boundary."""
        count = self.passed[where, kind, name]
        self.passed[where, kind, name] += 1
        self.on((where, kind, name, count))


def die() -> None:
    """As `kill -9` does it: no handler, no cleanup."""
    os.kill(os.getpid(), signal.SIGKILL)


class Harness:
    """One lab, the undisturbed run through it, and the kills."""

    def __init__(self, rig: Rig, folder: Path, *, every: bool = False) -> None:
        self.rig, self.folder, self.every = rig, folder, every
        _hurry(rig.site / "site.yaml")
        self.env = rig.env()
        self.site = inventory.load(rig.site / "site.yaml")
        self.compiled = phases.compile(self.site)
        self.graph = compile_graph(self.compiled)
        self.once = {action.argv for phase in self.compiled for step in phase.steps for action in step.actions if isinstance(action, Command) and action.once}
        self.segments = {name: Segments(self.graph.phases[name]) for name in self.graph.order}
        self.boundaries: list[Boundary] = []
        self.last = b""
        self.picked: set[tuple[str, str]] = set()
        self.seen: set[tuple[str, str]] = set()  # places where world and journal are looked at
        self.begun: set[tuple[str, str]] = set()  # places where a life may begin
        self.ending: list[tuple[str, str]] = []  # places of the boundaries that lead to the very end
        port, token = (rig.folder / "control").read_text().split()
        self.lab: Callable[..., Any] = lambda verb, *words: ask(int(port), token, verb, list(words))
        self.said: Callable[[str], bytes] = lambda verb: answer(int(port), token, verb, [])

    # The undisturbed run

    def choose(self, sample: int, seed: int, only: str = "", mine: Collection[str] | None = None) -> None:
        """Which places are killed at: all, or one step's, or for a sample some, by seed. Looked at are those in the phases that are `mine` (default:
        all), and what follows each of them. Saved are where their phases and steps begin, and the steps of all that go on to the very end."""
        places = [(name, segment) for name in self.graph.order for segment in self.segments[name].order]
        self.picked = set(places) if not sample else set(random.Random(seed).sample(places, min(len(places), max(6, sample // 3))))
        if only:
            self.picked = {place for place in places if step_of(place[1]) == only}
        near = self.picked if mine is None else {place for place in self.picked if place[0] in mine}
        near |= {(name, "") for name, _ in near}
        self.seen = near | {after for place, after in itertools.pairwise(places) if place in near or (after[1] == "" and (place[0], "") in near)}
        self.ending = in_turn([place for place in places if place in self.picked], by=lambda place: place[0], seed=seed)[:TO_THE_END]
        self.begun = {(name, step_of(segment)) for name, segment in (*near, *self.ending)} | {(name, "") for name, _ in self.ending}

    def undisturbed(self) -> None:
        """All phases, one after the other, looked at and saved at the places that were chosen."""
        for name in self.graph.order:
            self.save(name, "")
            log = self.folder / "passed.ndjson"
            log.unlink(missing_ok=True)
            code, err = self.life(name, self._recording(name, log))
            assert code == 0, f"the undisturbed run failed in {name}: {code}\n{err[-3000:]}"
            for line in log.read_text().splitlines():
                row = json.loads(line)
                if (name, row["segment"]) in self.picked:
                    self.boundaries.append(Boundary(name, row["segment"], tuple(row["key"])))
        self.last = self.dump()

    def _recording(self, phase: str, log: Path) -> Watch:
        """Writes down each boundary with the segment that it lies in, and saves where a new one begins."""
        segments = self.segments[phase]
        here = [""]

        def entering(segment: str) -> None:
            if segments.behind(segment, here[0]):
                here[0] = segment
                self.save(phase, segment)
                watch.passed.clear()  # a life that starts here passes the first of its kind

        def on(key: Key) -> None:
            with log.open("a") as file:
                file.write(json.dumps({"segment": here[0], "key": key}) + "\n")

        watch = Watch(segments.place, on, entering, every=self.every)
        return watch

    def place(self, phase: str, segment: str) -> Path:
        """The folder of what is saved there."""
        return self.folder / "saved" / (phase + "__" + (segment or "begin")).replace("/", "_")

    def save(self, phase: str, segment: str) -> None:
        """World and state folder where a life may begin, and what there is to see once the world is quiet: also from within the life that runs."""
        place = self.place(phase, segment)
        if (phase, segment) in self.begun:
            place.mkdir(parents=True)
            self.lab("save", str(place / "world"))
            shutil.copytree(self.rig.site, place / "site", ignore=_outputs)
        if (phase, segment) in self.seen:
            place.mkdir(parents=True, exist_ok=True)
            (place / "dump.json").write_bytes(self.dump())
            (place / "view.json").write_bytes(orjson.dumps(self.standing()))

    def standing(self) -> dict[str, Any]:
        """What the journal says now."""
        folder = self.rig.state / "journal"
        return standing(fold(records_of(folder) if folder.exists() else ()))

    def dump(self) -> bytes:
        """The world once it is quiet, as the lab says it: with its lines. What is the same need not be read."""
        said = self.said("dump")
        if not said.startswith(QUIET):
            raise AssertionError(f"the world does not become quiet: {said[:300]!r}")
        return said

    # One life

    def life(self, phase: str | None, watch: Watch | None) -> tuple[int, str]:
        """The command in a process of its own, forked from this one. -> exit code (-9: killed), stderr"""
        out = self.folder / "stderr"
        self._learn()
        pid = os.fork()
        if pid == 0:
            self._live(phase, watch, out)
        handle = os.pidfd_open(pid)
        try:
            ended = bool(select.select([handle], [], [], LONGEST)[0])
        finally:
            os.close(handle)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        said = out.read_text(errors="replace")
        return (os.waitstatus_to_exitcode(status), said) if ended else (-signal.SIGALRM, f"no end within {LONGEST} s\n{said}")

    def _learn(self) -> None:
        """Import what an earlier life has imported, so that the next ones need not."""
        known = self.folder / "modules"
        if not known.exists():
            return
        for name in known.read_text().split():
            with suppress(ImportError):
                importlib.import_module(name)
        known.unlink()
        gc.collect()
        gc.freeze()  # a child that collects garbage would copy all of it

    def _live(self, phase: str | None, watch: Watch | None, out: Path) -> None:
        before = set(sys.modules)
        code = 1
        try:
            os.setsid()
            handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            null = os.open(os.devnull, os.O_RDWR)
            for number, to in ((0, null), (1, null), (2, handle)):
                os.dup2(to, number)
            os.environ.clear()
            os.environ.update(self.env)
            if watch is not None:
                watch.install()
            from orchestrator.cli import run

            sys.argv[1:] = ["-q", "-C", str(self.rig.site), "up", "--yes", *(["--phase", phase] if phase else [])]
            code = run(sys.argv[1:])
            if new := set(sys.modules) - before:
                (self.folder / "modules").write_text("\n".join(sorted(new)))
        finally:
            os._exit(code)

    # The kills

    def kill(self, chain: Sequence[Boundary], *, begin: str, hasty: bool = False) -> list[dict[str, Any]]:
        """A chain of boundaries of one phase, in lives of which the first begins at the segment `begin`. -> a row for each of them: `fate` is ok,
        missed, lost, twice or asked. After one that is not well, the others begin where their own step was saved. `hasty` lives do not stop
        between the actions of a step to compare."""
        phase, rows = chain[0].phase, list[dict[str, Any]]()
        ahead, cut = list(chain), list[Boundary]()  # to be killed at; killed at, and not compared yet
        self.restore(self.place(phase, begin))
        while True:
            told = self.folder / "told"
            told.unlink(missing_ok=True)
            code, err = self.life(phase, self._chained(cut, ahead, begin, told, hasty=hasty))
            said = [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []
            for row in said:
                if row["fate"] in ("hit", "missed"):
                    met = ahead.pop(0)
                if row["fate"] == "hit":
                    cut = [met]
                    continue
                rows.append(row)
                if row["fate"] != "missed":
                    cut = []
            if not said or said[-1]["fate"] != "hit":
                break
        if cut:
            rows.append(self.verdict(cut[0], code, err, to_the_end=False))
        elif rows and rows[-1]["fate"] == "ok" and code not in (0, -signal.SIGKILL):
            rows[-1] |= {"fate": "lost", "why": f"went on well and failed then: exit {code}: {err[-1500:]}"}
        elif ahead and (code != -signal.SIGKILL or not rows):
            rows.append(self.found("missed", ahead.pop(0), f"exit {code}: {err[-300:]}"))
        if ahead:
            rows += self.kill(ahead, begin=step_of(ahead[0].segment), hasty=hasty)
        assert len(rows) == len(chain), f"{len(chain)} boundaries, {len(rows)} results"
        return rows

    def end(self, first: Boundary, later: Boundary | None, begin: str) -> list[dict[str, Any]]:
        """On to the very end from a boundary; on the way killed at another one, of a later phase, which goes on to the end too. -> a row for each."""
        self.restore(self.place(first.phase, begin))
        hit, code, err = self._to(first, begin, alone=True)
        wanted = [first] if later is None else [first, later]
        met = [first] if hit else []
        if hit and later is not None:
            hit, code, err = self._to(later, "", alone=False)
            met += [later] if hit else []
        if met and code == -signal.SIGKILL:
            code, err = self.life(None, None)
        judged = self.verdict(first, code, err, to_the_end=True) if met else {}
        return [judged | asdict(one) if one in met else self.found("missed", one, f"exit {code}: {err[-300:]}") for one in wanted]

    def _to(self, one: Boundary, begin: str, *, alone: bool) -> tuple[bool, int, str]:
        """A life of the boundary's phase alone or of all that are left, killed there. -> whether it came there, exit code, stderr"""
        told = self.folder / "told"
        told.unlink(missing_ok=True)
        watch = self._chained([], [one], begin, told, hasty=True)
        watch.only = "" if alone else one.phase
        code, err = self.life(one.phase if alone else None, watch)
        return told.exists() and json.loads(told.read_text())["fate"] == "hit", code, err

    def _chained(self, cut: Sequence[Boundary], ahead: Sequence[Boundary], begin: str, told: Path, *, hasty: bool) -> Watch:
        """What a life does that was cut at one boundary (or begins) and is to be cut at the first of those ahead: compare, tell, die."""
        phase = (*cut, *ahead)[0].phase
        segments = self.segments[phase]
        here = [cut[0].segment if cut else begin]
        after, to_come = list(cut), list(ahead)

        def tell(row: dict[str, Any]) -> None:
            with told.open("a") as file:
                file.write(json.dumps(row) + "\n")

        def entering(segment: str) -> None:
            if not segments.behind(segment, here[0]):
                return
            here[0] = segment
            watch.passed.clear()  # keys are counted from where a segment begins
            if after and (phase, segment) in self.seen and not (hasty and segment != step_of(segment)):
                row = self.compare(after.pop(), self.place(phase, segment))
                tell(row)
                if row["fate"] != "ok":
                    die()
            while to_come and segments.behind(segment, to_come[0].segment):
                tell(self.found("missed", to_come.pop(0), "it was not passed"))
            if not to_come and not after:
                die()

        def on(key: Key) -> None:
            if to_come and not after and here[0] == to_come[0].segment and key == to_come[0].key:
                tell(self.found("hit", to_come[0], ""))
                die()

        watch = Watch(segments.place, on, entering, every=self.every)
        return watch

    def verdict(self, boundary: Boundary, code: int, err: str, *, to_the_end: bool) -> dict[str, Any]:
        """What became of a boundary whose run came to its own end."""
        if code in (7, 10):
            return self.found("asked", boundary, err)
        return self.found("lost", boundary, f"exit {code}: {err[-1500:]}") if code else self.compare(boundary, None if to_the_end else self.next_of(boundary.phase))

    def next_of(self, phase: str) -> Path | None:
        """What was saved where a phase had ended and the next one had not begun; None after the last."""
        after = self.graph.order.index(phase) + 1
        return self.place(self.graph.order[after], "") if after < len(self.graph.order) else None

    def restore(self, place: Path) -> None:
        """Put world and state back as they were saved there."""
        self.lab("restore", str(place / "world"))
        shutil.rmtree(self.rig.site)
        shutil.copytree(place / "site", self.rig.site)

    def compare(self, boundary: Boundary, saved: Path | None) -> dict[str, Any]:
        """World, journal and record with the undisturbed run's where it was saved, or (None) with its world at the very end."""
        wanted = self.last if saved is None else (saved / "dump.json").read_bytes()
        there = self.dump()
        if there != wanted and (differing := _differing(_lines(there), _lines(wanted))):
            return self.found("lost", boundary, f"the world differs: {differing[:12]}")
        if saved is not None and (view := self.standing()) != (there_was := orjson.loads((saved / "view.json").read_bytes())):
            return self.found("lost", boundary, f"the journal differs: {_difference(view, there_was)}")
        ran = Counter(tuple(row["argv"]) for row in self.lab("log", "writes") if row["mutates"] and row["ok"] and "argv" in row)
        twice = [argv for argv in self.once if ran[argv] > 1]
        return self.found("twice" if twice else "ok", boundary, str(twice or ""))

    @staticmethod
    def found(fate: str, boundary: Boundary, why: str) -> dict[str, Any]:
        """A row of the result."""
        return {"fate": fate, "why": why, **asdict(boundary)}


def _hurry(file: Path) -> None:
    """Timing in the lab's copy of the site, where a thousand lives wait: as an operator may set it."""
    file.write_text(sitecopy.text(inventory.load(file), TIMING))


def standing(view: View) -> dict[str, Any]:
    """What the journal says of steps and phases, without when, by which run and how often it was tried."""
    return {
        "steps": {name: [step.state, sorted(step.spent), sorted(step.unsettled())] for name, step in sorted(view.steps.items()) if step.state != "pending"},
        "phases": {name: phase.state for name, phase in sorted(view.phases.items())},
    }


def _lines(dump: bytes) -> list[str]:
    lines: list[str] = orjson.loads(dump)["result"]["lines"]
    return lines


def _differing(there: list[str], wanted: list[str]) -> list[str]:
    """The lines of two dumps that differ by more than pace."""
    if len(there) == len(wanted) and all(PACE.search(one) and PACE.search(other) for one, other in zip(there, wanted, strict=True) if one != other):
        return []
    there, wanted = ([line for line in lines if not PACE.search(line)] for lines in (there, wanted))
    return [line for line in difflib.unified_diff(wanted, there, lineterm="", n=0) if line[0] in "+-" and line[:3] not in ("---", "+++")] if there != wanted else []


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    rows = [(kind, name, one[kind].get(name), other[kind].get(name)) for kind in one for name in {*one[kind], *other[kind]}]
    return "; ".join(f"{name}: {mine}, wanted {theirs}" for _, name, mine, theirs in rows if mine != theirs)


def _outputs(folder: str, names: list[str]) -> list[str]:
    """What earlier commands printed is not needed to go on."""
    return names if Path(folder).name == "runs" else []


def shard(arguments: argparse.Namespace) -> None:
    """The boundaries of some phases, in a lab of its own; then those that lead to the very end, of all phases, as they are handed out on stdin. The
    results, one a line, on stdout."""
    with tempfile.TemporaryDirectory(prefix="kill-anywhere-", dir=_memory()) as folder, Rig(Path(folder) / "lab", site=arguments.site) as rig:
        harness = Harness(rig, Path(folder), every=arguments.every)
        started = time.monotonic()

        def tell(row: dict[str, Any]) -> None:
            print(json.dumps(row | {"seconds": round(time.monotonic() - started, 1)}), flush=True)

        mine = share(harness.graph.order, *map(int, arguments.shard.split("/")))
        harness.choose(arguments.sample, arguments.seed, arguments.only, mine)
        harness.undisturbed()
        picked = chosen(harness.boundaries, harness.ending, arguments.sample, arguments.seed)
        ends = [(harness.graph.order.index(one.phase), asdict(one)) for one, ending in picked if ending and one.phase in mine]
        tell({"boundaries": len(harness.boundaries), "ends": ends})
        missed: list[Boundary] = []
        for chain in chains([one for one, ending in picked if not ending and one.phase in mine], harness.segments):
            for row in harness.kill(chain, begin=step_of(chain[0].segment)):
                if row["fate"] == "missed":
                    missed.append(boundary_of(row))
                else:
                    tell(row)
        # What the world does by itself while a world is compared, the step need not do any more: again without a stop in the middle of a step.
        for chain in chains(missed, harness.segments, hasty=True):
            for row in harness.kill(chain, begin=step_of(chain[0].segment), hasty=True):
                tell(again(row, lambda one: harness.kill([one], begin="", hasty=True)))
        tell({"idle": True})
        for line in sys.stdin:
            first, *later = map(boundary_of, json.loads(line))
            for row in harness.end(first, later[0] if later else None, step_of(first.segment)):
                tell(again(row, lambda one: harness.end(one, None, "")) | {"to_the_end": True})
            tell({"idle": True})


def again(row: dict[str, Any], attempt: Callable[[Boundary], list[dict[str, Any]]]) -> dict[str, Any]:
    """A row, or if its boundary was missed what comes of it in another attempt, which begins with the phase."""
    for _ in range(TRIES):
        if row["fate"] == "missed":
            (row,) = attempt(boundary_of(row))
    return row


def share(names: Sequence[str], number: int, of: int) -> set[str]:
    """The phases of one of so many shards: dealt out to and fro, since late phases cost more to be killed in."""
    return {name for place, name in enumerate(names) if number == (place % of if place // of % 2 == 0 else of - 1 - place % of)}


def _memory() -> str | None:
    """A folder in memory where there is room: to a killed process a file there is as safe as on a disk, and an fsync need not wait."""
    shm = Path("/dev/shm")
    return str(shm) if os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > ROOM else None


def in_turn(them: Sequence[T], *, by: Callable[[T], str], seed: int) -> list[T]:
    """All, shuffled by seed, and one of each sort before the second of any."""
    sorts = [[one for one in them if by(one) == sort] for sort in dict.fromkeys(map(by, them))]
    for of in sorts:
        random.Random(f"{seed}/{by(of[0])}").shuffle(of)
    return [one for row in itertools.zip_longest(*sorts) for one in row if one is not None]


def chosen(boundaries: Sequence[Boundary], ending: Sequence[tuple[str, str]], sample: int, seed: int) -> list[tuple[Boundary, bool]]:
    """(boundary, whether to go on to the very end): all, or a seeded sample; the same in every shard. To the end go those at the places `ending`, as
    many of one phase as of another."""
    ordered = sorted(set(boundaries), key=lambda one: (one.phase, one.segment, one.key))
    picked = ordered if not sample else sorted(random.Random(seed).sample(ordered, min(sample, len(ordered))), key=ordered.index)
    rank = {place: number for number, place in enumerate(ending)}
    there = sorted((one for one in picked if (one.phase, one.segment) in rank), key=lambda one: rank[one.phase, one.segment])
    first = in_turn(there, by=lambda one: f"{one.phase} {one.segment}", seed=seed)
    ends = set(first[: min(TO_THE_END, max(1, len(picked) // SOME_TO_THE_END))])
    return [(one, one in ends) for one in picked]


def chains(picked: Sequence[Boundary], segments: Mapping[str, Segments], *, hasty: bool = False) -> list[list[Boundary]]:
    """Boundaries of segments, or if `hasty` of steps, that follow each other: what takes longest first."""
    place: Callable[[str], str] = step_of if hasty else str
    waiting: dict[tuple[str, str], list[Boundary]] = {}
    for one in picked:
        waiting.setdefault((one.phase, place(one.segment)), []).append(one)
    made: list[list[Boundary]] = []
    while waiting:
        for phase in segments:
            chain, gap = list[Boundary](), 0
            for segment in dict.fromkeys(map(place, segments[phase].order)):
                if left := waiting.get((phase, segment)):
                    if gap > GAP and chain:
                        made.append(chain)
                        chain = []
                    chain.append(left.pop(0))
                    gap = 0
                    if not left:
                        del waiting[phase, segment]
                else:
                    gap += 1
            if chain:
                made.append(chain)
    return sorted(made, key=len, reverse=True)


def _rows(shards: Sequence[subprocess.Popen[str]]) -> Iterator[dict[str, Any]]:
    """What the shards find, as it comes; what is not well is printed at once. The boundaries that lead to the very end go to whoever is idle, those with
    the longest way first, and with each one that has a short way."""
    found: queue.Queue[tuple[subprocess.Popen[str], str | None]] = queue.Queue()

    def read(shard: subprocess.Popen[str]) -> None:
        for line in shard.stdout or ():
            found.put((shard, line))
        found.put((shard, None))

    for shard in shards:
        threading.Thread(target=read, args=(shard,), daemon=True).start()
    begun, left, count = 0, len(shards), 0
    idle: list[subprocess.Popen[str]] = []
    ends: list[tuple[int, dict[str, Any]]] = []
    while left:
        shard, line = found.get()
        if line is None:
            left -= 1
            begun += 1  # also one that came to nothing: the others go on
            continue
        row = json.loads(line)
        if "ends" in row:
            print(f"undisturbed: {row['boundaries']} boundaries in {row['seconds']} s", flush=True)
            begun += 1
            ends = sorted([*ends, *row["ends"]], key=lambda one: (one[0], json.dumps(one[1])))
        elif "idle" in row:
            idle.append(shard)
        else:
            count += 1
            if row["fate"] != "ok":
                print(f"{row['fate']}: {row['phase']} {row['segment']} {row['key']}: {row['why']}", flush=True)
            if count % 50 == 0:
                print(f"... {count} after {row['seconds']} s", flush=True)
        while idle and begun >= len(shards):
            _hand_out(idle.pop(), ends)
        yield row


def _hand_out(shard: subprocess.Popen[str], ends: list[tuple[int, dict[str, Any]]]) -> None:
    """What to do next, or the word that there is nothing left."""
    assert shard.stdin is not None
    with suppress(BrokenPipeError):
        if ends:
            shard.stdin.write(json.dumps(draw(ends)) + "\n")
            shard.stdin.flush()
        else:
            shard.stdin.close()


def draw(ends: list[tuple[int, T]]) -> list[T]:
    """Take out the first of those that are left, in the order of phases, and the last one if that is of a later phase."""
    place, first = ends.pop(0)
    return [first, ends.pop()[1]] if ends and ends[-1][0] > place else [first]


def main() -> int:
    """Run the shards side by side, print what they find, end with the one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", type=Path, default=TEN_WEEKS)
    parser.add_argument("--sample", type=int, default=0, help="a seeded sample of so many boundaries (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one segment: the id of a step, or a fan's name")
    parser.add_argument("--every", action="store_true", help="kill also between write and fsync of records that are no intents")
    parser.add_argument("--shards", type=int, default=4, help="labs side by side; each waits for its world now and then, so more than processors")
    parser.add_argument("--shard", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.shard:
        shard(arguments)
        return 0
    started = time.monotonic()
    passed_on = ["--site", str(arguments.site), "--sample", str(arguments.sample), "--seed", str(arguments.seed), "--only", arguments.only, *(["--every"] if arguments.every else [])]
    argv = [sys.executable, "-m", "tests.proof.kill_anywhere", *passed_on]
    shards = [subprocess.Popen([*argv, "--shard", f"{number}/{arguments.shards}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for number in range(arguments.shards)]
    rows = list(_rows(shards))
    codes = [one.wait() for one in shards]
    fates = Counter(row["fate"] for row in rows if "fate" in row)
    kills = sum(fates.values())
    ended = sum(1 for row in rows if row.get("to_the_end"))
    print(f"{[row['boundaries'] for row in rows if 'boundaries' in row]} boundaries passed undisturbed, {ended} went on to the end, {fates['missed']} not reached again, {time.monotonic() - started:.0f} s")
    print(f"{kills - fates['missed']} boundaries, {fates['lost']} lost, {fates['twice']} twice, {fates['asked']} asked")
    return 0 if codes == [0] * len(codes) and set(fates) <= {"ok", "missed"} and fates["missed"] <= MISSED * kills else 1


if __name__ == "__main__":
    sys.exit(main())
