"""Kill the orchestrator at every journal boundary of the whole rehearsal: `python -m tests.proof.kill_anywhere` (`make kill-anywhere`).

An undisturbed run, phase by phase, is saved (world, state folder, dump) wherever a step or a fan of steps begins. Then, for each boundary that
it passed: world and state as they were before the step, the real command, SIGKILL to itself at the boundary, and the real command again until
the undisturbed run's next saved place (some, by seed: to the end). World and journal must be what they were there, nothing that may be done
once was done twice by the lab's own record, and nobody was asked.

Boundaries, from outside of the product, by wrapping two of its public methods in this process and no other:
written  a record was given to the operating system and not synced yet
synced   it is on disk and the engine has not gone on
before   the engine is about to write: a child lives and its record does not (action.spawned), an effect is there and its outcome is not (action.ended)

The moment before any other record is the moment after the one before it: neither disk nor world differ, so it is not counted again. Phases are
added to this proof by being compiled from the site; nothing here names one.
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
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

import inventory
import phases
from lab import sitecopy
from lab.control import ask
from orchestrator.adapters.disk import Disk
from orchestrator.adapters.journal import Journal, records_of
from orchestrator.engine.graph import compile_graph
from orchestrator.engine.status import View, fold
from orchestrator.model.action import Command
from tests.lab.rig import TEN_WEEKS, Rig

# What controllers do by themselves, at their own pace: how far Flux has come, and how often it has rolled something over on the way.
PACE = re.compile(r'main@sha1:|[0-9a-f]{40}\.tar\.gz|Health check passed in|"revision": \d+|for release [a-z-]+/[a-z-]+\.v\d+ with chart')
END = "~end"  # the place after the last step of a phase: its gates and its own end
TO_THE_END = 50  # boundaries after which the run goes on to the end of everything, of all that there are
SOME_TO_THE_END = 19  # of a part of them: one in so many
TRIES = 3  # to reach a boundary again: what the world does by itself may be sooner done than the step is asked. The last ones begin with the phase
MISSED = 0.03  # share of boundaries that may not be reached again; they are listed
TIMING = {"timing.poll": 0.25, "timing.etcd": "2m"}  # seldomer asked; an etcd bootstrap that was cut short is awaited for 12 s here, not for a minute
LONGEST = 300.0  # seconds of one life of the command

Key = tuple[str, str, str, int]
"""(where, kind of the record, step or phase, how often this was passed before in the same life)"""


@dataclass(frozen=True)
class Boundary:
    """A place to be killed at: the phase that runs, the segment of it, and the key within a life that starts there."""

    phase: str
    segment: str
    key: Key


@dataclass
class Watch:
    """What one life of the command does at the boundaries that it passes. Installed in the process of that life alone."""

    segment_of: Mapping[str, str]
    on: Callable[[Key], None]
    entering: Callable[[str], None]
    passed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    turn: threading.Lock = field(default_factory=threading.Lock)  # while a world is saved, the others of a fan write down no intent

    def install(self) -> None:
        """Wrap the journal's `append` and the disk's `append`."""
        append, write = Journal.append, Disk.append
        watch = self

        def journaled(journal: Journal, kind: str, **more: Any) -> Mapping[str, Any]:
            with watch.turn:
                watch.entering(watch.place(kind, more.get("step")))
            if kind in ("action.spawned", "action.ended"):
                watch.passes("before", kind, more.get("step") or more.get("phase") or "")
            record = append(journal, kind, **more)
            if more.get("durable", True):
                watch.passes("synced", kind, more.get("step") or more.get("phase") or "")
            return record

        def written(disk: Disk, handle: int, data: bytes) -> None:
            write(disk, handle, data)
            for line in data.splitlines():
                record = json.loads(line)
                watch.passes("written", record["kind"], record["step"] or record["phase"] or "")

        Journal.append = journaled  # type: ignore[method-assign,assignment]  # the seam of this proof, in a process of its own
        Disk.append = written  # type: ignore[method-assign]

    def place(self, kind: str, step: str | None) -> str:
        """The segment that a record belongs to; empty for those at a run's begin."""
        if step is not None:
            return self.segment_of.get(step, "")
        return END if kind in ("gate.met", "gate.failed", "phase.done", "run.done") else ""

    def passes(self, where: str, kind: str, name: str) -> None:
        """One boundary."""
        count = self.passed[where, kind, name]
        self.passed[where, kind, name] += 1
        self.on((where, kind, name, count))


def die() -> None:
    """As `kill -9` does it: no handler, no cleanup."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Saved:
    """World and state where a segment begins, and what was there to see."""

    folder: Path
    dump: list[str]
    view: dict[str, Any]


class Harness:
    """One lab, the undisturbed run through it, and the kills."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig, self.folder = rig, folder
        _hurry(rig.site / "site.yaml")
        self.env = rig.env()
        self.site = inventory.load(rig.site / "site.yaml")
        self.compiled = phases.compile(self.site)
        self.graph = compile_graph(self.compiled)
        self.once = {action.argv for phase in self.compiled for step in phase.steps for action in step.actions if isinstance(action, Command) and action.once}
        self.saved: dict[tuple[str, str], Saved] = {}
        self.segments: dict[str, list[str]] = {}
        self.boundaries: list[Boundary] = []
        self.last: list[str] = []
        self.picked: set[tuple[str, str]] = set()
        self.wanted: set[tuple[str, str]] = set()
        port, token = (rig.folder / "control").read_text().split()
        self.lab: Callable[..., Any] = lambda verb, *words: ask(int(port), token, verb, list(words))

    # The undisturbed run

    def choose(self, sample: int, seed: int, only: str = "") -> None:
        """Which segments are killed in: all, or one, or for a sample some, by seed; these and what follows each of them are saved."""
        for name in self.graph.order:
            self.segments[name] = ["", *dict.fromkeys(self.segment_of(name).values()), END]
        places = [(name, segment) for name in self.graph.order for segment in self.segments[name]]
        picked = set(places) if not sample else set(random.Random(seed).sample(places, min(len(places), max(6, sample // 3))))
        if only:
            picked = {place for place in places if place[1] == only}
        self.picked = picked
        self.wanted = picked | {(name, "") for name, _ in picked} | {after for place, after in itertools.pairwise(places) if place in picked}

    def segment_of(self, phase: str) -> dict[str, str]:
        """Step -> the segment that it is a part of: itself, or its fan."""
        return {step.id: step.fan.group if step.fan else step.id for step in self.graph.phases[phase].steps}

    def undisturbed(self) -> None:
        """All phases, one after the other, saved at each segment that is wanted."""
        for name in self.graph.order:
            segment_of = self.segment_of(name)
            self.save(name, "")
            log = self.folder / "passed.ndjson"
            log.unlink(missing_ok=True)
            code, err = self.life(name, self._recording(name, segment_of, log))
            assert code == 0, f"the undisturbed run failed in {name}: {code}\n{err[-3000:]}"
            for line in log.read_text().splitlines():
                row = json.loads(line)
                if "entered" in row:
                    self.adopt(name, row["entered"])
                elif (name, row["segment"]) in self.picked:
                    self.boundaries.append(Boundary(name, row["segment"], tuple(row["key"])))
        self.last = self.dump()

    def _recording(self, phase: str, segment_of: Mapping[str, str], log: Path) -> Watch:
        """Writes down each boundary with the segment that it lies in, and saves where a new one begins."""
        order = self.segments[phase]
        here = [""]

        def entering(segment: str) -> None:
            if segment and order.index(segment) > order.index(here[0]):
                here[0] = segment
                self.save(phase, segment)
                with log.open("a") as file:
                    file.write(json.dumps({"entered": segment}) + "\n")
                watch.passed.clear()  # a life that starts here passes the first of its kind

        def on(key: Key) -> None:
            with log.open("a") as file:
                file.write(json.dumps({"segment": here[0], "key": key}) + "\n")

        watch = Watch(segment_of, on, entering)
        return watch

    def place(self, phase: str, segment: str) -> Path:
        """The folder of what is saved there."""
        return self.folder / "saved" / (phase + "__" + (segment or "begin")).replace("/", "_")

    def save(self, phase: str, segment: str) -> None:
        """World and state folder as they are, and the dump once it is quiet, into a folder: also from within the life that runs."""
        if (phase, segment) not in self.wanted:
            return
        place = self.place(phase, segment)
        self.lab("save", str(place / "world"))
        shutil.copytree(self.rig.site, place / "site", ignore=_outputs)
        lines = self.dump()
        (place / "dump.json").write_bytes(orjson.dumps(lines))
        if not segment:
            self.adopt(phase, segment)

    def adopt(self, phase: str, segment: str) -> None:
        """Know what was saved."""
        if (phase, segment) not in self.wanted:
            return
        place = self.place(phase, segment)
        records = records_of(place / "site" / ".bootstrap" / "journal")
        self.saved[phase, segment] = Saved(place, orjson.loads((place / "dump.json").read_bytes()), standing(fold(records)))

    def dump(self) -> list[str]:
        """The world once it is quiet, line by line."""
        found = self.lab("dump")
        assert not found["busy"], f"the world does not become quiet: {found['busy']}"
        lines: list[str] = found["lines"]
        return lines

    # One life

    def life(self, phase: str | None, watch: Watch | None) -> tuple[int, str]:
        """The command in a process of its own, forked from this one. -> exit code (-9: killed), stderr"""
        out = self.folder / "stderr"
        self._learn()
        pid = os.fork()
        if pid == 0:
            self._live(phase, watch, out)
        deadline = time.monotonic() + LONGEST
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status), out.read_text(errors="replace")
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return -signal.SIGALRM, f"no end within {LONGEST} s\n" + out.read_text(errors="replace")
            time.sleep(0.005)

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

    def kill(self, boundary: Boundary, *, to_the_end: bool, begin: str) -> dict[str, Any]:
        """One boundary, in a life that begins at the segment `begin`. -> what was found: `fate` is ok, missed, lost, twice or asked."""
        order = self.segments[boundary.phase]
        later = order[order.index(boundary.segment) + 1 :]
        self.restore(self.saved[boundary.phase, begin])
        segment_of = self.segment_of(boundary.phase)
        leave: Callable[[str], None] = lambda segment: die() if segment in later else None  # noqa: E731 - two lives share it
        hit = self.folder / "hit"
        hit.unlink(missing_ok=True)
        here = [begin]

        def entering(segment: str) -> None:
            leave(segment)
            if segment == boundary.segment != here[0]:
                here[0] = segment
                watch.passed.clear()  # keys are counted from where the segment begins

        def on(key: Key) -> None:
            if key == boundary.key and here[0] == boundary.segment:
                hit.touch()
                die()

        watch = Watch(segment_of, on, entering)
        code, err = self.life(boundary.phase, watch)
        if not hit.exists():
            return self.found("missed", boundary, f"exit {code}: {err[-300:]}")
        code, err = self.life(None, None) if to_the_end else self.life(boundary.phase, Watch(segment_of, lambda key: None, leave))
        if code in (7, 10):
            return self.found("asked", boundary, err)
        if code not in ((0,) if to_the_end or not later else (0, -signal.SIGKILL)):
            return self.found("lost", boundary, f"exit {code}: {err[-1500:]}")
        return self.compare(boundary, later, to_the_end)

    def restore(self, saved: Saved) -> None:
        """Put world and state back."""
        self.lab("restore", str(saved.folder / "world"))
        shutil.rmtree(self.rig.site)
        shutil.copytree(saved.folder / "site", self.rig.site)

    def compare(self, boundary: Boundary, later: list[str], to_the_end: bool) -> dict[str, Any]:
        """World, journal and record with the undisturbed run's at the place that was reached."""
        following = next((self.saved[boundary.phase, one] for one in later if (boundary.phase, one) in self.saved), None)
        after = self.graph.order.index(boundary.phase) + 1
        if following is None and not to_the_end and after < len(self.graph.order):
            following = self.saved[self.graph.order[after], ""]
        wanted = self.last if to_the_end or following is None else following.dump
        if differing := _differing(self.dump(), wanted):
            return self.found("lost", boundary, f"the world differs: {differing[:12]}")
        view = fold(records_of(self.rig.state / "journal"))
        if following is not None and not to_the_end and standing(view) != following.view:
            return self.found("lost", boundary, f"the journal differs: {_difference(standing(view), following.view)}")
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
        "steps": {name: (step.state, sorted(step.spent), sorted(step.unsettled())) for name, step in sorted(view.steps.items()) if step.state != "pending"},
        "phases": {name: phase.state for name, phase in sorted(view.phases.items())},
    }


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
    """One share of the boundaries, in a lab of its own; the results, one a line, on stdout."""
    number, of = map(int, arguments.shard.split("/"))
    with tempfile.TemporaryDirectory(prefix="kill-anywhere-") as folder, Rig(Path(folder) / "lab", site=arguments.site) as rig:
        harness = Harness(rig, Path(folder))
        started = time.monotonic()
        harness.choose(arguments.sample, arguments.seed, arguments.only)
        harness.undisturbed()
        print(json.dumps({"undisturbed": round(time.monotonic() - started, 1), "boundaries": len(harness.boundaries)}), flush=True)
        hasty: set[tuple[str, str]] = set()  # segments that the world does by itself before a life that begins there gets to them
        for place, boundary, ending in chosen(harness.boundaries, arguments.sample, arguments.seed):
            if place % of != number:
                continue
            for attempt in range(TRIES):
                early = attempt > 0 or (boundary.phase, boundary.segment) in hasty
                row = harness.kill(boundary, to_the_end=ending, begin="" if early else boundary.segment)
                if row["fate"] != "missed":
                    break
                hasty.add((boundary.phase, boundary.segment))
            print(json.dumps(row | {"seconds": round(time.monotonic() - started, 1), "to_the_end": ending}), flush=True)


def chosen(boundaries: list[Boundary], sample: int, seed: int) -> list[tuple[int, Boundary, bool]]:
    """(place, boundary, whether to go on to the very end): all, or a seeded sample; the same in every shard."""
    chance = random.Random(seed)
    ordered = sorted(set(boundaries), key=lambda one: (one.phase, one.segment, one.key))
    picked = ordered if not sample else sorted(chance.sample(ordered, min(sample, len(ordered))), key=ordered.index)
    ends = set(chance.sample(picked, min(len(picked), TO_THE_END, max(1, len(picked) // SOME_TO_THE_END))))
    return [(place, one, one in ends) for place, one in enumerate(picked)]


def _rows(shards: list[subprocess.Popen[str]]) -> Iterator[dict[str, Any]]:
    """What the shards find, as it comes; what is not well is printed at once."""
    found: queue.Queue[str | None] = queue.Queue()

    def read(shard: subprocess.Popen[str]) -> None:
        for line in shard.stdout or ():
            found.put(line)
        found.put(None)

    for shard in shards:
        threading.Thread(target=read, args=(shard,), daemon=True).start()
    left = len(shards)
    count = 0
    while left:
        line = found.get()
        if line is None:
            left -= 1
            continue
        row = json.loads(line)
        count += "fate" in row
        if "undisturbed" in row:
            print(f"undisturbed: {row['boundaries']} boundaries in {row['undisturbed']} s", flush=True)
        elif row["fate"] != "ok":
            print(f"{row['fate']}: {row['phase']} {row['segment']} {row['key']}: {row['why']}", flush=True)
        if count and count % 50 == 0 and "fate" in row:
            print(f"... {count} after {row['seconds']} s", flush=True)
        yield row


def main() -> int:
    """Run the shards side by side, print what they find, end with the one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", type=Path, default=TEN_WEEKS)
    parser.add_argument("--sample", type=int, default=0, help="a seeded sample of so many boundaries (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one segment: the id of a step, or a fan's name")
    parser.add_argument("--shards", type=int, default=3, help="labs side by side; each waits for its world now and then, so one more than processors")
    parser.add_argument("--shard", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.shard:
        shard(arguments)
        return 0
    started = time.monotonic()
    passed_on = ["--site", str(arguments.site), "--sample", str(arguments.sample), "--seed", str(arguments.seed), "--only", arguments.only]
    shards = [
        subprocess.Popen([sys.executable, "-m", "tests.proof.kill_anywhere", *passed_on, "--shard", f"{n}/{arguments.shards}"], stdout=subprocess.PIPE, text=True)
        for n in range(arguments.shards)
    ]
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
