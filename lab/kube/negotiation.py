"""What a client accepts: JSON, a table, or metadata alone. Source: k8s.io/apiserver/pkg/endpoints/handlers/negotiation (v0.33)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lab.kube.errors import ApiError

JSON: Final = "application/json"
ACCEPTED: Final = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
CUSTOM_ACCEPTED: Final = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`media` is application/json or application/yaml; `kind` is "", "Table", "PartialObjectMetadata" or its list."""

    media: str
    kind: str = ""
    version: str = ""


def negotiate(accept: str, accepted: tuple[str, ...] = ACCEPTED) -> Wanted:
    """The first clause that can be served, by quality. Raises ApiError 406."""
    clauses = []
    for place, clause in enumerate(accept.split(",") if accept.strip() else ["*/*"]):
        media, *pairs = (part.strip() for part in clause.split(";"))
        parameters = dict(pair.partition("=")[::2] for pair in pairs)
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 1.0
        clauses.append((-quality, place, media.lower(), parameters))
    for _, _, media, parameters in sorted(clauses, key=lambda clause: clause[:2]):
        found = _serve(media, parameters)
        if found:
            return found
    raise ApiError(406, "NotAcceptable", "only the following media types are accepted: " + ", ".join(accepted))


def _serve(media: str, parameters: dict[str, str]) -> Wanted | None:
    kind = parameters.get("as", "")
    if kind and not (parameters.get("g") == "meta.k8s.io" and parameters.get("v") in ("v1", "v1beta1")):
        return None
    if kind not in ("", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
        return None
    if media in (JSON, "*/*", "application/*"):
        return Wanted(JSON, kind, parameters.get("v", ""))
    if media == "application/yaml":
        return Wanted("application/yaml", kind, parameters.get("v", ""))
    return None
