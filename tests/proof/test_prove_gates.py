"""The quick version of `make prove-gates`, and proof that the proof can fail."""

from __future__ import annotations

from orchestrator.model.check import Check, Judge
from orchestrator.model.query import Answer, KubeRaw
from orchestrator.model.verdict import Verdict, met, unmet
from tests.proof import prove_gates
from tests.proof.prove_gates import SITES, prove

ASK = (KubeRaw("infra", "/readyz"), KubeRaw("infra", "/livez"))
WELL = (Answer(status=200, stdout="ok"), Answer(status=200, stdout="ok"))


def test_no_gate_of_the_smallest_site_cannot_fail() -> None:
    site = next(path for path in SITES if path.parent.name == "single-node")
    proofs = prove_gates.prove_site(site, most=60)
    assert len(proofs) > 50
    assert {proof.check.id: proof.faults for proof in proofs if proof.faults} == {}


def _check(judge: Judge) -> Check:
    return Check("x", "x", ASK, judge)


def test_a_gate_that_is_always_open_is_found() -> None:
    faults = prove("gate", _check(lambda answers: met()), [WELL]).faults
    assert any("only silence closes it" in text for text in faults)


def test_a_gate_that_hears_nothing_is_found() -> None:
    check = Check("x", "x", ASK, lambda answers: met(), hears_silence=True)
    faults = prove("gate", check, [WELL]).faults
    assert any("mutations closes it" in text for text in faults)


def test_an_answer_that_never_matters_is_found() -> None:
    def judge(answers: tuple[Answer, ...]) -> Verdict:
        return met() if answers[0].stdout == "ok" else unmet("not ready")

    check = Check("x", "x", ASK, judge, hears_silence=True)
    assert prove("gate", check, [WELL]).faults == ["does not care for the answer to KubeRaw /livez"]


def test_a_judge_that_raises_is_found() -> None:
    def judge(answers: tuple[Answer, ...]) -> Verdict:
        return met() if answers[0].stdout.index("ok") >= 0 and answers[1].stdout == "ok" else unmet("no")

    assert any("raises" in text for text in prove("gate", _check(judge), [WELL]).faults)
