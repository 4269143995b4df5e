"""Which versions go together, as tables with their sources.

A line that no table knows is refused rather than guessed: the phases and the recorded answers were made for the lines that stand here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inventory.findings import Finding, Rule

if TYPE_CHECKING:
    from inventory.model import Site

Line = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Support:
    """The Kubernetes minors, first and last, that a line of a component is made for, and who says so."""

    first: Line
    last: Line
    source: str


# foundation.md 0; Talos support matrix 1.11 and 1.12.
TALOS: dict[Line, Support] = {
    (1, 11): Support((1, 29), (1, 34), "Talos 1.11 support matrix"),
    (1, 12): Support((1, 30), (1, 35), "Talos 1.12 support matrix"),
}
# foundation.md 0. Older lines serve BGP and pools at v2alpha1 only, newer ones were not read.
CILIUM: dict[Line, Support] = {(1, 18): Support((1, 30), (1, 33), "Cilium 1.18, Kubernetes compatibility")}
# gitops-storage.md 1: `flux check --pre` asks for >= 1.32 at 2.7 and for >= 1.33 after it; no upper end is enforced.
FLUX: dict[Line, Support] = {
    (2, 7): Support((1, 32), (1, 99), "flux check --pre 2.7"),
    (2, 8): Support((1, 33), (1, 99), "flux check --pre 2.8"),
    (2, 9): Support((1, 33), (1, 99), "flux check --pre 2.9"),
}
# Helm version support policy: the minor that it was built with and three before.
HELM: dict[Line, Support] = {
    (3, 18): Support((1, 30), (1, 33), "Helm version support policy"),
    (3, 19): Support((1, 31), (1, 34), "Helm version support policy"),
    (3, 20): Support((1, 32), (1, 35), "Helm version support policy"),
}
# foundation.md 0: v0.18 works with Cilium 1.16 and newer; its flags are those that the phases use.
CILIUM_CLI_FROM: Line = (0, 18)

_TABLES = (("talos", "Talos", TALOS), ("cilium", "Cilium", CILIUM), ("flux", "Flux", FLUX), ("helm", "Helm", HELM))


def line_of(version: str) -> Line:
    """Major and minor of `v1.11.2` or `1.33.5`."""
    major, minor = version.removeprefix("v").split(".")[:2]
    return int(major), int(minor)


def versions_are_known(site: Site) -> Iterator[Finding]:
    """Every component is of a line that the product was made for."""
    for key, name, table in _TABLES:
        version = getattr(site.versions, key)
        if line_of(version) not in table:
            yield Finding(
                ("versions", key),
                f"{name} {_text(line_of(version))} is not a line that bootstrap knows",
                found=version,
                allowed=", ".join(_text(line) for line in table),
            )
    if line_of(site.versions.cilium_cli) < CILIUM_CLI_FROM:
        yield Finding(
            ("versions", "cilium_cli"),
            "the cilium command is too old",
            found=site.versions.cilium_cli,
            allowed=f"v{_text(CILIUM_CLI_FROM)} or newer",
        )


def kubernetes_suits_all(site: Site) -> Iterator[Finding]:
    """Kubernetes is in the range of Talos, Cilium and Flux; helm is in the range of Kubernetes."""
    kubernetes = line_of(site.versions.kubernetes)
    supports = {key: table.get(line_of(getattr(site.versions, key))) for key, _, table in _TABLES}
    known = [(key, name, support) for key, name, _ in _TABLES if (support := supports[key])]
    against = next(
        ((key, name, support) for key, name, support in known if not support.first <= kubernetes <= support.last), None
    )
    if against is None or len(known) < len(_TABLES):
        return
    key, name, support = against
    line = _text(line_of(getattr(site.versions, key)))
    if key == "helm":
        fitting = [f"v{_text(line)}" for line, other in HELM.items() if other.first <= kubernetes <= other.last]
        yield Finding(
            ("versions", "helm"),
            f"Helm {line} is not made for Kubernetes {_text(kubernetes)}",
            found=site.versions.helm,
            allowed=" or ".join(fitting),
        )
        return
    first, last = max(support.first for _, _, support in known), min(support.last for _, _, support in known)
    yield Finding(
        ("versions", "kubernetes"),
        f"Kubernetes {_text(kubernetes)} is outside of what {name} {line} is made for ({support.source})",
        found=site.versions.kubernetes,
        allowed=f"{_text(first)} to {_text(last)}" if first < last else _text(first),
    )


def _text(line: Line) -> str:
    return f"{line[0]}.{line[1]}"


_NEEDS = frozenset({"versions"})
RULES = (
    Rule("versions-are-known", versions_are_known, "foundation.md 0, gitops-storage.md 1", _NEEDS),
    Rule("kubernetes-suits-all", kubernetes_suits_all, "foundation.md 0, gitops-storage.md 1", _NEEDS),
)
