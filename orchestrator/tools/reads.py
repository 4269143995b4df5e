"""Which calls of the wrapped programs only read. A reader refuses every other one."""

from __future__ import annotations

from collections.abc import Mapping

READ_VERBS: Mapping[str, frozenset[tuple[str, ...]]] = {
    "talosctl": frozenset(
        {
            ("get",),
            ("health",),
            ("version",),
            ("validate",),
            ("config", "info"),
            ("config", "contexts"),
            ("etcd", "members"),
            ("etcd", "status"),
            ("etcd", "alarm", "list"),
            ("service",),
            ("image", "default"),
        }
    ),
    "helm": frozenset(
        {
            ("list",),
            ("status",),
            ("history",),
            ("version",),
            ("get", "values"),
            ("get", "manifest"),
            ("get", "metadata"),
            ("get", "notes"),
            ("get", "hooks"),
        }
    ),
    "cilium": frozenset({("status",), ("version",), ("bgp", "peers"), ("bgp", "routes"), ("clustermesh", "status"), ("config", "view")}),
    "flux": frozenset({("version",), ("check",), ("get",), ("tree",), ("events",), ("stats",), ("trace",), ("export",), ("diff",), ("logs",)}),
    "kubectl": frozenset(
        {
            ("get",),
            ("describe",),
            ("version",),
            ("api-resources",),
            ("api-versions",),
            ("cluster-info",),
            ("explain",),
            ("events",),
            ("logs",),
            ("diff",),
            ("auth", "can-i"),
            ("auth", "whoami"),
            ("config", "get-contexts"),
            ("config", "current-context"),
            ("rollout", "status"),
        }
    ),
    "hubble": frozenset({("status",), ("version",), ("list",)}),
}
"""tool -> verbs, as the words of the command line without its flags."""

DRY_RUNS: Mapping[str, frozenset[tuple[str, ...]]] = {
    "talosctl": frozenset({("apply-config",), ("upgrade-k8s",)}),
    "kubectl": frozenset({("apply",), ("create",), ("delete",), ("patch",)}),
    "flux": frozenset({("build", "kustomization"), ("build", "ks")}),
}
"""Verbs that only read when `--dry-run` (kubectl: `--dry-run=server|client`) is given."""

VALUE_FLAGS: Mapping[str, frozenset[str]] = {
    "talosctl": frozenset({"--talosconfig", "--context", "--cluster", "-e", "--endpoints", "-n", "--nodes", "--namespace", "-o", "--output"}),
    "helm": frozenset({"--kubeconfig", "--kube-context", "-n", "--namespace", "-o", "--output", "-f", "--filter"}),
    "cilium": frozenset({"--kubeconfig", "--context", "-n", "--namespace", "-o", "--output"}),
    "flux": frozenset({"--kubeconfig", "--context", "-n", "--namespace", "--timeout", "-o", "--output"}),
    "kubectl": frozenset({"--kubeconfig", "--context", "-n", "--namespace", "-o", "--output", "-l", "--selector"}),
    "hubble": frozenset({"--kubeconfig", "--kube-context", "-o", "--output", "--server"}),
}
"""Flags that take their value from the next word and may stand before or between the words of a verb."""

FORBIDDEN: Mapping[str, frozenset[str]] = {
    "talosctl": frozenset({"-w", "--watch", "--run-e2e"}),
    "kubectl": frozenset({"-w", "--watch", "--watch-only", "--follow"}),
    "flux": frozenset({"-w", "--watch", "--follow"}),
}
"""Flags by which a read would never end, or would change something."""


def words(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a command line without the program, its flags and their values."""
    takes = VALUE_FLAGS.get(argv[0], frozenset())
    found: list[str] = []
    skip = False
    for word in argv[1:]:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in takes
        else:
            found.append(word)
    return tuple(found)


def is_read(argv: tuple[str, ...]) -> bool:
    """Whether this call is known to change nothing. Unknown programs and verbs are not."""
    if not argv or argv[0] not in READ_VERBS:
        return False
    tool, said = argv[0], words(argv)
    if any(word.partition("=")[0] in FORBIDDEN.get(tool, frozenset()) for word in argv[1:]):
        return False
    if said[:1] == ("logs",) and "-f" in argv:
        return False
    if tool == "talosctl" and said[:1] == ("service",):
        return len(said) <= 2  # `service etcd restart` has a third word
    if tool == "kubectl" and any(word.partition("=")[0] == "--raw" for word in argv[1:]):
        return said[:1] == ("get",)
    if _starts(said, READ_VERBS[tool]):
        return True
    dry = any(word == "--dry-run" if tool != "kubectl" else word in ("--dry-run=server", "--dry-run=client") for word in argv[1:])
    return dry and _starts(said, DRY_RUNS.get(tool, frozenset()))


def _starts(said: tuple[str, ...], verbs: frozenset[tuple[str, ...]]) -> bool:
    return any(said[: len(verb)] == verb for verb in verbs)
