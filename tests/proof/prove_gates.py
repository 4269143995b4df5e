"""`make prove-gates`: no gate that cannot fail (design.md promise 4).

Every question of the phases (precondition, identity, goal, wait, verification, gate) over every example site is given an answer on which
it says MET. The answer is then broken field by field: dropped, null, of another type, another value, an empty list, cut off. A question
fails the proof when no mutation closes it, when none of its content does (silence alone proves little), when one of its answers never
matters, or when a judge raises.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import inventory
import phases
from inventory.model import Site
from orchestrator.model.check import Answers, Check, verdict
from orchestrator.model.phase import Phase
from orchestrator.model.query import Answer, Query, ToolQuery
from orchestrator.model.verdict import State
from orchestrator.tools.answers import stream
from tests.unit.phases_platform import Mood, Platform

SITES = sorted((Path(__file__).parents[2] / "inventory" / "sites").glob("*/site.yaml"))
MOODS: tuple[Mood, ...] = ("finished", "test", *(m for m in get_args(Mood) if m not in ("finished", "test")))
GONE = object()
OTHER = {"True": "False", "False": "True", "established": "active", "Established": "Active", "deployed": "failed", "passed": "failed"}

Path_ = tuple[str | int, ...]
Make = Callable[[], Any]



@dataclass(frozen=True, slots=True)
class Mutation:
    """One broken answer: `name` says what was done to which field."""

    name: str
    make: Callable[[], Answer]
    content: bool = True  # whether what was said changed, rather than whether anything was


@dataclass(slots=True)
class Proof:
    """What was tried on one question, and what it answered."""

    kind: str
    check: Check
    tried: int = 0
    closed: int = 0
    by_content: int = 0
    unmet: int = 0
    deaf: tuple[str, ...] = ()
    raised: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Why this question is no proof; empty for a good one."""
        found = [f"raises: {text}" for text in self.raised[:3]]
        if not self.tried:
            found.append("has no answer on which it is MET")
        elif not self.closed:
            found.append(f"none of {self.tried} mutations closes it")
        elif not self.by_content:
            found.append("only silence closes it, no content does")
        elif not self.unmet:
            found.append("no mutation makes it UNMET")
        return found + [f"does not care for the answer to {text}" for text in self.deaf]


def bases(check: Check, platforms: Mapping[str, Platform]) -> list[Answers]:
    """Answers of every mood, whole; then each kind of question answered in one mood and the rest in another."""
    said = {mood: tuple(platform.ask(query) for query in check.ask) for mood, platform in platforms.items()}
    kinds = [_kind(query) for query in check.ask]
    mixed = [
        tuple(a if k == kind else b for k, a, b in zip(kinds, said[one], said[other], strict=True))
        for kind in dict.fromkeys(kinds)
        for one in platforms
        for other in platforms
        if one != other and len(set(kinds)) > 1
    ]
    return [*said.values(), *mixed]


def _kind(query: Query) -> str:
    return f"{type(query).__name__} {query.tool} {'--insecure' in query.argv}" if isinstance(query, ToolQuery) else type(query).__name__


class _More(Platform):
    """Two moods more: machines that are configured while this workstation has no talosconfig, and blank ones without the time."""

    def __init__(self, site: Site, compiled: tuple[Phase, ...], more: str) -> None:
        super().__init__(site, compiled, "maintenance")
        self.more = more

    def ask(self, query: Query) -> Answer:
        answer = super().ask(query)
        if not isinstance(query, ToolQuery) or "machinestatus" not in query.argv:
            return answer
        if self.more == "unsynced":
            return replace(answer, stdout=answer.stdout.replace("[]", '[{"name": "time", "reason": "not in sync"}]'))
        insecure = "--insecure" in query.argv
        words = "rpc error: desc = remote error: tls: certificate required" if insecure else "failed to open config file: no such file or directory"
        return Answer(rc=1, stderr=words)


def prove(kind: str, check: Check, given: Sequence[Answers], most: int = 0) -> Proof:
    """Break every answer in every way, from the first base on which the check is MET; from more of them only while something is unproven.
    `most` > 0 takes an even sample of so many an answer."""
    proof = Proof(kind, check)
    silent = set(range(len(check.ask)))
    open_first = sorted(given, key=lambda answers: verdict(check, answers).state is not State.MET)  # stable: pure moods before mixed ones
    for answers in open_first:
        begun = verdict(check, answers)
        if begun.state is State.MET and not (proof.unmet and proof.by_content):
            _close(proof, answers, silent, most)
        elif silent:
            silent -= {i for i in silent if _matters(check, answers, i, given)}
        if begun.state is State.UNMET and proof.tried:
            proof.unmet += 1  # another platform's answers: every field at once
    proof.deaf = tuple(_short(check.ask[i]) for i in sorted(silent))
    return proof


def _close(proof: Proof, answers: Answers, silent: set[int], most: int) -> None:
    for index, answer in enumerate(answers):
        for mutation in _sample(list(mutations(answer)), most):
            proof.tried += 1
            try:
                found = verdict(proof.check, (*answers[:index], mutation.make(), *answers[index + 1 :]))
            except Exception as error:  # any error of a judge is what this looks for
                proof.raised.append(f"{mutation.name}: {type(error).__name__}: {error}")
                continue
            if found.state is not State.MET:
                silent.discard(index)
                proof.closed += 1
                proof.by_content += mutation.content
                proof.unmet += found.state is State.UNMET


def _matters(check: Check, answers: Answers, index: int, given: Sequence[Answers]) -> bool:
    """Whether the finding moves with this answer, on a platform where the check may be closed already."""
    begun = verdict(check, answers)
    others = [one[index] for one in given] + [mutation.make() for mutation in _sample(list(mutations(answers[index])), 40)]
    return any(verdict(check, (*answers[:index], other, *answers[index + 1 :])) != begun for other in others)


def _sample(found: Sequence[Mutation], most: int) -> Sequence[Mutation]:
    return found if not most or len(found) <= most else [found[i * len(found) // most] for i in range(most)]


def _short(query: Query) -> str:
    return " ".join(query.argv) if isinstance(query, ToolQuery) else f"{type(query).__name__} {getattr(query, 'name', '') or getattr(query, 'path', '') or getattr(query, 'url', '')}".strip()


def mutations(answer: Answer) -> Iterator[Mutation]:
    """Every broken form of one answer."""
    silent = Answer(unreachable="connection refused")
    late = Answer(rc=-1, unreachable="did not end within 30 s", timed_out=True)
    yield Mutation("silent", lambda: silent, False)
    yield Mutation("late", lambda: late, False)
    yield _with("rc=1", answer, rc=1, stderr=f"{answer.stderr}error\n")
    if answer.status is not None:
        for status in (0, 301, 401, 403, 404, 410, 429, 500, 503):
            yield _with(f"status={status}", answer, status=status)
            yield _with(f"status={status}, no body", answer, status=status, body={"kind": "Status", "code": status}, stdout="")
    for stream_name in ("stdout", "stderr"):
        for name, make in _texts(getattr(answer, stream_name)):
            yield Mutation(f"{stream_name} {name}", partial(_replaced, answer, stream_name, make))
    for part in ("body", "extra"):
        value = getattr(answer, part)
        for name, make in _values(dict(value) if part == "extra" else value) if value is not None else ():
            yield Mutation(f"{part} {name}", partial(_replaced, answer, part, make))


def _with(name: str, answer: Answer, **changed: Any) -> Mutation:
    return Mutation(name, lambda: replace(answer, **changed))


def _replaced(answer: Answer, part: str, make: Make) -> Answer:
    value = make()
    return replace(answer, **{part: value if part != "extra" or isinstance(value, dict) else {}})


def _texts(text: str) -> Iterator[tuple[str, Make]]:
    """Broken forms of a text: cut off, of other letters, without each of its lines or words, or with a field of its JSON broken."""
    if not text:
        yield "something where nothing was", lambda: "unexpected\n"
        return
    yield "empty", lambda: ""
    yield "half", lambda: text[: len(text) // 2]
    yield "garbled", lambda: "".join(chr(ord(c) ^ 0x80) if i % 3 == 0 else c for i, c in enumerate(text))
    yield "an error page", lambda: "<html>502 Bad Gateway</html>"
    documents = _documents(text)
    if documents is not None:
        yield from ((name, partial(_dumped, make)) for name, make in _values(documents))
        return
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        yield f"without line {number}", partial(_relined, lines, number, "")
        for word in dict.fromkeys(line.split()):
            yield f"line {number}: {word}", partial(_relined, lines, number, line.replace(word, OTHER.get(word, "other"), 1))


def _relined(lines: list[str], number: int, line: str) -> str:
    return "".join([*lines[:number], line, *lines[number + 1 :]])


def _dumped(make: Make) -> str:
    value = make()
    return "".join(json.dumps(one, indent=4) + "\n" for one in value) if isinstance(value, list) else json.dumps(value)


def _documents(text: str) -> list[Any] | None:
    """The JSON of a text: one document, or one after the other."""
    try:
        return [json.loads(text)]
    except ValueError:
        pass
    try:
        return list(stream(text)) or None
    except ValueError:
        return None


def _values(value: Any) -> Iterator[tuple[str, Make]]:
    """`value` with one place in it broken, for every place and way."""
    for path, found in _places(value, ()):
        for name, other in _others(found):
            if not path and other is GONE:
                continue
            yield f"{'/'.join(map(str, path)) or '.'} {name}", partial(_put, value, path, other)


def _places(value: Any, path: Path_) -> Iterator[tuple[Path_, Any]]:
    yield path, value
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _places(one, (*path, key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _places(one, (*path, number))


def _others(value: Any) -> Iterator[tuple[str, Any]]:
    """What may stand in a value's place."""
    yield "gone", GONE
    yield "null", None
    yield "a list", [] if value != [] else [1]
    yield "a map", {} if value != {} else {"x": 1}
    yield "a number", 7 if value != 7 else 8
    if isinstance(value, bool):
        yield "not", not value
    elif isinstance(value, int | float):
        yield "more", value + 1
        yield "less", value - 1
        yield "zero", 0
        yield "as text", str(value)
    elif isinstance(value, str):
        yield "empty", ""
        yield "another", OTHER.get(value, f"{value}x")
        yield "half", value[: len(value) // 2]
    elif isinstance(value, list) and value:
        yield "twice", [*value, *value]
    elif isinstance(value, Mapping):
        yield "text", "text"


def _put(value: Any, path: Path_, other: Any) -> Any:
    if not path:
        return other
    copied = copy.copy(value) if isinstance(value, list) else dict(value)
    if len(path) == 1 and other is GONE:
        del copied[path[0]]
    else:
        copied[path[0]] = _put(copied[path[0]], path[1:], other)
    return copied


def prove_site(path: Path, most: int = 0) -> list[Proof]:
    """All questions of one site."""
    site = inventory.load(path)
    compiled = phases.compile(site)
    platforms: dict[str, Platform] = {mood: Platform(site, compiled, mood) for mood in MOODS}
    platforms |= {more: _More(site, compiled, more) for more in ("keyless", "unsynced")}
    return [prove(kind, check, bases(check, platforms), most) for kind, check in phases.checks(compiled)]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="prove-gates", description=__doc__.splitlines()[0])
    parser.add_argument("--site", action="append", default=[], help="name of an example site (default: all)")
    parser.add_argument("--most", type=int, default=0, help="mutations an answer, evenly sampled (default: all)")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each question")
    options = parser.parse_args(argv)
    gates = tried = 0
    bad: list[str] = []
    for path in SITES:
        name = path.parent.name
        if options.site and name not in options.site:
            continue
        proofs = prove_site(path, options.most)
        gates += len(proofs)
        tried += sum(proof.tried for proof in proofs)
        bad += [f"{name}: {proof.kind} {proof.check.id}: {text}" for proof in proofs for text in proof.faults]
        print(f"{name}: {len(proofs)} gates, {sum(p.tried for p in proofs)} mutations, {sum(p.closed for p in proofs)} close", flush=True)
        if options.verbose:
            for proof in proofs:
                print(f"  {proof.kind:13} {proof.check.id}: {proof.closed} of {proof.tried} close, {proof.unmet} UNMET")
    for line in bad:
        print(line, file=sys.stderr)
    print(f"{gates} gates x {tried} mutations, {len(bad)} that cannot fail")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
