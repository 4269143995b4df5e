"""`bootstrap rehearse --faults`: named faults, one or many, played near the place where they strike.

A lab is started where the phases before the fault are done (made once, then kept by the lab), the fault is added, the real `up` runs into
it, the fault is lifted, and `up` has to finish. What is expected of each stands in the lab's catalogue.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from orchestrator.model.data import dataclass
from orchestrator.model.errors import BootstrapError, UsageError

UNDER_ENV = 'set -eu; . "$0"; exec "$@"'
HANDLED = (4, 5, 6, 10)  # exit codes of a fault that was caught: precondition, step, gate, unknown outcome
DEADLINES = 0.03  # of the real ones, while a fault is in the world: nine simulated minutes of a minute at the lab's usual speed
MOST_RUNS = 4  # of `up` after the faults are lifted
START_TRIES = 5
START_PAUSE_SECONDS = 5.0
HUNG_SECONDS = 300.0
HUNG = 124  # stands for the exit code of an `up` that did not end


class LabFailed(BootstrapError):
    """The lab could not be started or asked."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A named fault of the lab's catalogue and the answer that is expected. `exit` None: any that says what was caught."""

    name: str
    about: str
    after: str
    until: str
    world: Mapping[str, Any]
    exit: int | None
    by: str
    words: tuple[str, ...]
    hit: bool
    random: bool

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Fault:
        """A fault from what `lab catalogue` prints."""
        return cls(**{**data, "words": tuple(data["words"])})


@dataclass(frozen=True, slots=True)
class Played:
    """How one drill went. `by` is where the product stopped, `found` what its card said; `problems` is empty for a good answer."""

    name: str
    about: str
    after: str
    exit: int
    by: str
    found: str
    struck: Mapping[str, int]
    lifted_exit: int
    seconds: float
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As the summary's document holds it."""
        return asdict(self)

    def line(self) -> str:
        """One line for people: what was injected, and how it was caught."""
        how = "the product got over it" if self.exit == 0 else f"exit {self.exit} by {self.by}: {self.found}"
        mark = "✓" if not self.problems else "✗"
        hits = f"; hit {sum(self.struck.values())}x" if self.struck else ""
        rest = "".join(f"\n    {text}" for text in self.problems)
        return f"{mark} {self.name} ({self.about}{hits}): {how}; lifted: exit {self.lifted_exit}  {self.seconds:.0f}s{rest}"


def catalogue() -> tuple[Fault, ...]:
    """Every named fault, those that strike first coming first."""
    return tuple(Fault.of(entry) for entry in json.loads(lab("catalogue")))


def chosen(faults: tuple[Fault, ...], names: Iterable[str], seed: int) -> tuple[Fault, ...]:
    """The faults that `--faults` names: all, random (one drill that mixes a few), or by name. Raises UsageError with the nearest."""
    by_name = {fault.name: fault for fault in faults}
    found: list[Fault] = []
    for name in names:
        if name == "all":
            found += faults
        elif name == "random":
            found.append(mixed(faults, seed))
        elif name in by_name:
            found.append(by_name[name])
        else:
            near = get_close_matches(name, (*by_name, "all", "random", "list"), 1)
            raise UsageError(f"there is no fault {name}", hint=f"did you mean {near[0]}?" if near else "bootstrap rehearse --faults list")
    return tuple({fault.name: fault for fault in found}.values())


def mixed(faults: tuple[Fault, ...], seed: int) -> Fault:
    """Two or three faults of one place at once, some of them late, by the seed."""
    rng = random.Random(f"faults/{seed}")
    drawn = [fault for fault in faults if fault.random]
    place = rng.choice(sorted({fault.after for fault in drawn}))
    here = [fault for fault in drawn if fault.after == place]
    some = rng.sample(here, min(len(here), rng.randint(2, 3)))
    rules = [{"skip": rng.choice((0, 0, 0, 1)), **rule} for fault in some for rule in fault.world["faults"]]
    conditions = [one for fault in some for one in fault.world["conditions"]]
    until = max((fault.until for fault in some), key=("preflight", "talos", "network", "gitops", "mesh").index)
    about = ", ".join(fault.name for fault in some)
    return Fault(f"random-{seed}", about, place, until, {"faults": rules, "conditions": conditions}, None, "*", (), False, False)


def play(fault: Fault, folder: Path, site: Path, *, seed: int, keep: bool, say: Callable[[str], None]) -> Played:
    """One drill in a new folder, which is removed when it went well."""
    began = time.monotonic()
    where = folder / fault.name
    where.mkdir(parents=True)
    world = where / "world.json"
    world.write_text(json.dumps(fault.world))
    _start(where, site, seed, fault.after)
    try:
        lab("fault", "--dir", str(where), "--add", str(world))
        usual = _scale(where, DEADLINES)
        code, report = _up(where, fault.until)
        _scale(where, usual)
        struck = json.loads(lab("status", "--dir", str(where)))["faults"]
        lab("fault", "--dir", str(where), "--lift", "all")
        problems = list(_judged(fault, code, report, struck))
        lifted = code
        for _ in range(MOST_RUNS):
            if code == 0 or lifted == 0:
                break
            lifted, report_after = _up(where, fault.until)
            if lifted == 10:
                _resolve(where, report_after)
        if lifted != 0:
            problems.append(f"lifted, and `up` does not finish: {_said(report_after)}")
    finally:
        if not keep:
            lab("stop", "--dir", str(where))
    card = next(iter(_cards(report)), {})
    played = Played(fault.name, fault.about, fault.after, code, _where(card) if card else "-", _one_line(str(card.get("found", ""))), struck, lifted, time.monotonic() - began, tuple(problems))
    if not played.problems and not keep:
        shutil.rmtree(where, ignore_errors=True)
    say(played.line())
    return played


def _start(where: Path, site: Path, seed: int, after: str) -> None:
    """A kept world comes back on its own ports: where somebody has one of them for a moment, wait."""
    for left in range(START_TRIES, 0, -1):
        try:
            lab("start", "--dir", str(where), "--site", str(site), "--seed", str(seed), "--at", after)
            return
        except LabFailed as error:
            if left == 1 or "address already in use" not in str(error):
                raise
            time.sleep(START_PAUSE_SECONDS)


def _scale(where: Path, scale: float) -> float:
    """Set `timing.scale` in the lab's copy of the site. -> what it was."""
    path = where / "site" / "site.yaml"
    text = path.read_text(encoding="utf-8")
    found = re.search(r"^  scale: ([0-9.]+)$", text, re.MULTILINE)
    if found is None:
        raise LabFailed(f"{path} has no timing.scale")
    path.write_text(text[: found.start(1)] + f"{scale:g}" + text[found.end(1) :], encoding="utf-8")
    return float(found[1])


def _judged(fault: Fault, code: int, report: Mapping[str, Any], struck: Mapping[str, int]) -> Iterator[str]:
    """What is wrong with the answer to a fault."""
    if fault.hit and not any(struck.values()):
        yield "the fault never struck"
    cards = _cards(report)
    if fault.exit is None:
        if code not in (0, *HANDLED):
            yield f"exit {code} is no answer to a fault: {_said(report)}"
        elif code != 0 and not all(card.get("found") and card.get("next") for card in cards):
            yield "a card does not say what was found, or what to do next"
        return
    if code != fault.exit:
        yield f"exit {code}, wanted {fault.exit}: {_said(report)}"
        return
    if code == 0:
        return
    hit = [card for card in cards if any(fnmatchcase(str(card.get(key) or ""), fault.by) for key in ("check", "step", "phase"))]
    if not hit:
        yield f"caught by {', '.join(map(_where, cards)) or 'nothing'}, wanted {fault.by}"
    text = json.dumps(hit, ensure_ascii=False).lower()
    yield from (f"the card does not say {word!r}: {_said(report)}" for word in fault.words if hit and word.lower() not in text)


def _cards(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(report.get("failures") or ())


def _where(card: Mapping[str, Any]) -> str:
    return str(card.get("check") or card.get("step") or card.get("phase"))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _said(report: Mapping[str, Any]) -> str:
    return "; ".join(f"{_where(card)}: {_one_line(str(card.get('found')))}" for card in _cards(report)) or _one_line(str(report.get("error", "no card")))


def _resolve(where: Path, report: Mapping[str, Any]) -> None:
    """A person's word where nothing else tells: the action is to be done again."""
    for card in _cards(report):
        if card.get("step"):
            product(where, "resolve", str(card["step"]), "--as", "not-done", "--reason", "the fault was lifted")


def _up(where: Path, until: str) -> tuple[int, dict[str, Any]]:
    """`up` in the lab's environment. -> exit code, its report (or `{"error": last words}`)."""
    try:
        done = product(where, "-q", "up", "--yes", "--until", until, "-o", "json")
    except subprocess.TimeoutExpired:
        return HUNG, {"error": f"`up` did not end within {HUNG_SECONDS:.0f} s"}
    (where / "up.err").open("a").write(done.stderr)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = {"error": done.stderr[-800:]}
    return done.returncode, found if isinstance(found, dict) else {"error": str(found)}


def product(where: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the real command on the lab's copy of the site."""
    argv = ["/bin/sh", "-c", UNDER_ENV, str(where / "env"), sys.executable, "-m", "orchestrator", "-C", str(where / "site"), *args]
    return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=HUNG_SECONDS, check=False)


def lab(*args: str) -> str:
    """Run one command of the lab; what it printed. Raises LabFailed."""
    done = subprocess.run([sys.executable, "-m", "lab", *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise LabFailed(f"lab {args[0]} failed: {done.stderr.strip()[-800:]}", hint="bootstrap doctor")
    return done.stdout
