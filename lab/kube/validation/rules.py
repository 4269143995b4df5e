"""Which rules belong to which resource."""

from __future__ import annotations

from lab.kube.strategies import Strategy


def complete(group: str, plural: str, strategy: Strategy) -> Strategy:
    """A strategy with its rules."""
    return strategy
