"""What clients asked of a real kube-apiserver, out of its audit events. Source: audit.k8s.io/v1, k8s.io/apiserver v0.33."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lab.kube.wire import RequestRecord

OWN = ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]
POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted", "Panic"],
    "rules": [
        {"level": "None", "users": OWN},
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},  # the controller manager's controllers
        {"level": "None", "nonResourceURLs": ["/*"]},
        {"level": "Metadata"},
    ],
}
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
ASKS = frozenset({"subjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews", "tokenreviews", "localsubjectaccessreviews"})


def request_of(event: Mapping[str, Any]) -> RequestRecord | None:
    """One finished request of a client, or None for what the lab's record does not hold."""
    ref = event.get("objectRef")
    if event.get("kind") != "Event" or event.get("stage") != "ResponseComplete" or not ref:
        return None
    status = int((event.get("responseStatus") or {}).get("code", 200))
    dry = bool(parse_qs(urlsplit(event["requestURI"]).query).get("dryRun"))
    plural = ref.get("resource", "")
    group, version = ref.get("apiGroup", ""), ref.get("apiVersion", "")
    return RequestRecord(
        verb=event["verb"],
        gvr="/".join(part for part in (group, version, plural) if part),
        namespace=ref.get("namespace", ""),
        name=ref.get("name", ""),
        subresource=ref.get("subresource", ""),
        user=(event.get("impersonatedUser") or event["user"]).get("username", ""),
        dry_run=dry,
        mutates=event["verb"] in WRITES and plural not in ASKS and not dry and status < 400,
        status=status,
        user_agent=event.get("userAgent", ""),
    )
