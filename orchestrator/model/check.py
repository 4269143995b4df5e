"""A Check: a read-only question and the pure function that judges its answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from orchestrator.model.data import dataclass
from orchestrator.model.query import Answer, Query
from orchestrator.model.verdict import State, Verdict, unknown

Answers = tuple[Answer, ...]
Judge = Callable[[Answers], Verdict]


@dataclass(frozen=True, slots=True)
class Check:
    """One question (of one or more queries) and its judge. Precondition, gate and goal are all this type.

    `title` completes "waiting for ...": "etcd to have three healthy members". `within` zero asks once; more waits.
    `in_a_row` holds it until it was met that often without a break. `hears_silence` judges see unreachable answers;
    for all others an unreachable answer is UNKNOWN before the judge is asked. `causes` are likely causes from the
    reference, `hint` the command that an operator runs next while it stays unmet.
    """

    id: str
    title: str
    ask: tuple[Query, ...]
    judge: Judge
    hint: str = ""
    causes: tuple[str, ...] = ()
    within: timedelta = timedelta(0)
    in_a_row: int = 1
    hears_silence: bool = False
    source: str = ""


def verdict(check: Check, answers: Answers) -> Verdict:
    """The judge's finding, or UNKNOWN where a target did not answer."""
    if not check.hears_silence:
        for answer in answers:
            if answer.unreachable is not None:
                return unknown(answer.unreachable)
    return check.judge(answers)


def all_of(verdicts: tuple[Verdict, ...]) -> Verdict:
    """MET when all are; else the first permanent, then the first UNMET, then the first UNKNOWN."""
    for wanted in (lambda v: v.state is State.UNMET and v.permanent, lambda v: v.state is State.UNMET, lambda v: v.state is State.UNKNOWN):
        for one in verdicts:
            if wanted(one):
                return one
    evidence = {key: value for one in verdicts for key, value in one.evidence.items()}
    return Verdict(State.MET, "; ".join(v.reason for v in verdicts if v.reason), evidence)
