"""Which outputs hold keys: they stay in memory, and reach no file, log or evidence."""

from __future__ import annotations

from orchestrator.tools.reads import words

_PRIVATE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("cilium", ("clustermesh", "status")),  # access_information.client_key (foundation.md 8.4)
    ("talosctl", ("get", "machineconfig")),
    ("talosctl", ("get", "mc")),
    ("talosctl", ("gen", "secrets")),
    ("talosctl", ("gen", "config")),
    ("talosctl", ("machineconfig", "patch")),
    ("talosctl", ("kubeconfig",)),
    ("flux", ("debug",)),
    ("flux", ("create", "secret")),
    ("kubectl", ("get", "secret")),
    ("kubectl", ("get", "secrets")),
    ("kubectl", ("config", "view")),
    ("kubectl", ("create", "token")),
    ("helm", ("get", "manifest")),
    ("helm", ("get", "all")),
    ("op", ()),
)


def is_private(argv: tuple[str, ...]) -> bool:
    """Whether the output of this call can hold keys."""
    said = words(argv)
    return any(argv[0] == tool and said[: len(verb)] == verb for tool, verb in _PRIVATE)
