"""The site: what the operator wants, as validated data, with its loader, its rules and the example sites.

`load` reads a site file, `site_digest` names its content. The names below are imported when they are first used, so that
`import inventory` costs nothing: the model needs pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from inventory.errors import SiteError, SiteErrors
    from inventory.model import Cluster, Node, Role, Site
    from inventory.references import SecretRef
    from inventory.selection import nearest

__all__ = ["Cluster", "Node", "Role", "SecretRef", "Site", "SiteError", "SiteErrors", "load", "nearest", "site_digest"]

_HOMES = {
    "Cluster": "model",
    "Node": "model",
    "Role": "model",
    "Site": "model",
    "SecretRef": "references",
    "SiteError": "errors",
    "SiteErrors": "errors",
    "nearest": "selection",
}


def load(path: Path, env: Mapping[str, str] | None = None) -> Site:
    """The site of the file at `path` and the files that it includes.

    With `env`, references to environment variables that are set but empty are mistakes too; an unset one is not, since it is asked
    for when it is needed. Raises SiteErrors with every mistake.
    """
    from inventory.loader import load as load_

    return load_(path, env)


def site_digest(site: Site) -> str:
    """SHA-256 (hex) of the site's content: equal for equal wishes, however they are spelled and split into files."""
    from inventory.loader import site_digest as digest

    return digest(site)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
