"""Puts Flux into a cluster of the lab: idle until its Deployments run."""
from collections.abc import Sequence
from typing import Any
from lab.ctl.base import Controller
def attach(cluster: Any) -> Sequence[Controller]:
    return []
