"""What a failed call's words mean: worth another try, in vain, or not known.

Sources: foundation.md 1.1, 4.1, 4.2, 12; gitops-storage.md 3, 4; recorded/README.md. Exit codes say nothing more than "failed",
so that the text decides; the goal of the step decides in the end.
"""

from __future__ import annotations

import re
from typing import Literal

Class = Literal["transient", "permanent", "unknown"]

_PERMANENT = {
    "*": (
        r"unknown (?:shorthand )?flag|unknown command|accepts (?:between|exactly|at least|at most)|required flag",
        r"\bForbidden\b|forbidden: User|\bUnauthorized\b|must be logged in",
        r"x509: certificate (?:has expired|is not valid)",
        r"executable file not found|no such file or directory",
        r"context .* (?:does not exist|not found)|no configuration has been provided",
    ),
    "talosctl": (
        r"code = (?:InvalidArgument|Unimplemented|PermissionDenied|Unauthenticated)",
        r"bootstrap can only be performed on a control plane node",
        r"error validating installer image",
        r"already exists, use --force to overwrite",
        r"1 error occurred:|errors occurred:",
        r"failed to determine endpoints|nodes are not set|no context is set",
    ),
    "helm": (
        r"has no 0 version|another operation \(install/upgrade/rollback\) is in progress|cannot re-use a name",
        r"invalid ownership metadata|values don't meet the specifications|execution error at|parse error at",
        r"chart \".*\" version \".*\" not found|chart \".*\" matching .* not found",
    ),
    "cilium": (
        r"cannot auto-detect service type|cannot re-use a name|has the same (?:name|id)|CA certificates? do(?:es)? not match",
        r"\d+/\d+ tests failed",
    ),
    "flux": (
        r"sync path configuration .* would overwrite path",
        r"authentication required|authentication failed|invalid credentials|401|403 (?:Forbidden|Resource)",
        r"repository not found|GITHUB_TOKEN|resource is suspended|object is suspended",
    ),
    "kubectl": (r"error: the server doesn't have a resource type", r"\(Invalid\)|is invalid:", r"\(BadRequest\)"),
}

_TRANSIENT = {
    "*": (
        r"connection refused|i/o timeout|no route to host|network is unreachable|connection reset|broken pipe|\bEOF\b",
        r"TLS handshake timeout|context deadline exceeded|Client\.Timeout|timed out",
        r"etcdserver: (?:leader changed|request timed out|no leader)|too many requests|\b(?:429|500|502|503|504)\b",
        r"the object has been modified|\(Conflict\)|no matches for kind|unable to recognize|the server is currently unable",
        r"temporary failure in name resolution|no such host",
    ),
    "talosctl": (
        r"bootstrap is not available yet|time is not in sync yet|failed to acquire upgrade mutex",
        r"code = (?:Unavailable|DeadlineExceeded|Aborted|ResourceExhausted)",
    ),
    "helm": (r"timed out waiting for the condition|not a valid chart repository or cannot be reached|cluster unreachable",),
    "cilium": (r"not connected|synchronization in progress|unable to determine status|tls: internal error",),
    "flux": (r"GitOperationFailed|non-fast-forward|failed to push|health check failure|retrying",),
    "kubectl": (r"unable to connect to the server",),
}

_REFUSED = (r"asked for the client to provide credentials", r"x509: certificate has expired", r"could not read token|token is empty")
"""The credentials are not accepted, whatever else is said."""

_DONE = {"talosctl": (r"etcd data directory is not empty", r"certificate signed by unknown authority")}
"""Refusals that only the goal can tell the meaning of: done before, or a node that is still in maintenance mode."""


def classify(argv: tuple[str, ...], rc: int, stdout: str, stderr: str) -> Class:
    """The class of a failure by its words. A call that ended well has none: `unknown`."""
    if rc == 0:
        return "unknown"
    tool = argv[0].rsplit("/", 1)[-1]
    text = f"{stderr[-16384:]}\n{stdout[-16384:]}"
    if _any(_DONE.get(tool, ()), text):
        return "unknown"
    if _any(_REFUSED, text):
        return "permanent"
    for scope in (tool, "*"):  # a tool's own words are the more exact ones
        if _any(_PERMANENT.get(scope, ()), text):
            return "permanent"
        if _any(_TRANSIENT.get(scope, ()), text):
            return "transient"
    return "unknown"


def _any(patterns: tuple[str, ...], text: str) -> bool:
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)
