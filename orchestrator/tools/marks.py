"""Marks: the trace that a test leaves in its cluster, and its goal (design.md section 2)."""

from __future__ import annotations

from orchestrator.model.check import Answers
from orchestrator.model.query import KubeGet
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from orchestrator.tools.answers import dig, gone, refused
from orchestrator.tools.kube import OURS


def mark(cluster: str, name: str) -> KubeGet:
    """The ConfigMap that the test leaves."""
    return KubeGet(cluster, "v1", "ConfigMap", name, OURS)


def judge_mark(digest: str, answers: Answers) -> Verdict:
    """Every mark says: passed, with the same inputs."""
    for answer in answers:
        problem = refused(answer)
        if problem is not None:
            return problem
        if gone(answer):
            return unmet("the test has not passed here yet")
        data = dig(answer.body, "data")
        if not isinstance(data, dict) or "digest" not in data:
            return unknown("the mark cannot be read")
        if data.get("result") != "passed":
            return unmet(f"the mark says {data.get('result')}")
        if data["digest"] != digest:
            return unmet("the test passed with other inputs")
    return met("passed with these inputs")
