"""Defaults of built-in kinds that are set by code. Source: k8s.io/kubernetes/pkg/apis/*/v1/defaults.go (v1.33)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
BY_RESOURCE: dict[tuple[str, str], Callable[[Json], None]] = {}
