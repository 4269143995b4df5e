"""Where a phase stands in the plan's calendar. The order of the work is a graph; the calendar stays visible (design.md section 3)."""

from __future__ import annotations

from inventory.model import Cluster
from orchestrator.model.data import dataclass

_OF_WEEK = {"talos": (1, 2), "network": (3, 4), "gitops": (5, 7)}  # days 1-7 for infra, 8-14 for apps
MESH = "12-14"


@dataclass(frozen=True, slots=True)
class Days:
    """Days of the plan, inclusive."""

    first: int
    last: int

    @property
    def text(self) -> str:
        return f"{self.first}-{self.last}"


def days(cluster: Cluster, phase: str) -> Days:
    """The days on which the plan has this phase of a cluster that is installed in its week."""
    start, end = _OF_WEEK[phase]
    offset = (cluster.week - 1) * 7
    return Days(start + offset, end + offset)
