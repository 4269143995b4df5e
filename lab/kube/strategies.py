"""What is particular to a kind: its names, generation, what a write may touch, defaults, validation.

One `Strategy` a resource, in a table at the end of the module. Source: k8s.io/kubernetes/pkg/registry/*/*/strategy.go (v1.33).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lab.kube.errors import FieldError
from lab.kube.schema import meta
from lab.kube.schema.fieldset import FieldSet

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What a strategy may know beside the objects: the time, as objects print it, and the cluster's choices."""

    now: str
    user: str = ""
    read: Callable[[str, str, str], Json | None] = lambda gvr, namespace, name: None


def _nothing(new: Json, old: Json | None, context: Context) -> None:
    return None


def _no_errors(new: Json, old: Json | None) -> list[FieldError]:
    return []


def _no_warnings(new: Json, old: Json | None) -> list[str]:
    return []


def _no_default(obj: Json) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Strategy:
    """How one resource is written. `old` is None at creation everywhere."""

    names: meta.NameCheck = meta.subdomain
    namespaced: bool = True
    generation: Sequence[str] = ()  # fields whose change bumps metadata.generation
    has_status: bool = False  # status is reset by writes to the main resource
    unconditional: bool = True
    create_on_update: bool = False
    graceful: bool = False
    default: Callable[[Json], None] = _no_default
    prepare: Callable[[Json, Json | None, Context], None] = _nothing
    validate: Callable[[Json, Json | None], list[FieldError]] = _no_errors
    prepare_status: Callable[[Json, Json | None, Context], None] = _nothing
    validate_status: Callable[[Json, Json | None], list[FieldError]] = _no_errors
    warn: Callable[[Json, Json | None], list[str]] = _no_warnings
    selectable: Mapping[str, Callable[[Json], str]] = field(default_factory=dict)
    unknown_field: str = ""  # of a field selector, with {label}; the default names the two that every kind has
    status_reset: FieldSet = field(default_factory=lambda: {"f:spec": {}})
    extra_reset: FieldSet = field(default_factory=dict)
    orphans: bool = False  # deletes without a policy orphan what is owned
    collected: bool = True  # garbage collection knows it: finalizers orphan and foregroundDeletion are set
    etcd: str = ""  # the path below /registry, where it is not the plural


def reset_fields(strategy: Strategy, subresource: str) -> FieldSet:
    """Fields that a request to the resource, or to a subresource of it, cannot set."""
    if subresource == "status":
        return strategy.status_reset
    return {**({"f:status": {}} if strategy.has_status else {}), **strategy.extra_reset}


GENERIC: Final = Strategy()
