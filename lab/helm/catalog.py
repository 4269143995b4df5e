"""The chart repositories and registries of the world: which charts they offer, and what helm says of those that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from lab.cilium import chart as cilium
from lab.helm.charts import Chart, ChartError, Offer

REPOSITORIES: dict[str, tuple[Offer, ...]] = {cilium.REPOSITORY: (cilium.OFFER,)}
REGISTRIES: dict[str, Offer] = {"oci://quay.io/cilium/charts/cilium": cilium.OFFER}


def index(url: str) -> Sequence[Offer]:
    """What a repository offers. Raises ChartError where nobody answers at `url`."""
    found = REPOSITORIES.get(url.rstrip("/"))
    if found is None:
        raise ChartError(f'looks like "{url}" is not a valid chart repository or cannot be reached: Get "{url.rstrip("/")}/index.yaml": {_refused(url)}')
    return found


def _refused(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("127.0.0.1", "localhost"):
        return f"dial tcp 127.0.0.1:{parts.port or 80}: connect: connection refused"
    return f"dial tcp: lookup {host}: no such host"


def from_repository(url: str, name: str, version: str) -> Chart:
    """A chart of a repository at a version or constraint. Raises ChartError."""
    offer = next((o for o in index(url) if o.name == name), None)
    found = offer.resolve(version) if offer else None
    if offer is None or found is None:
        what = f'chart "{name}" version "{version}"' if version else f'chart "{name}"'
        raise ChartError(f"{what} not found in {url} repository")
    return offer.at(found)


def from_registry(reference: str, version: str) -> Chart:
    """A chart of an OCI registry. Raises ChartError."""
    offer = REGISTRIES.get(reference)
    found = offer.resolve(version) if offer else None
    if offer is None or found is None:
        raise ChartError(f"failed to perform \"FetchReference\" on source: {reference.removeprefix('oci://')}:{version}: not found")
    return offer.at(found)
