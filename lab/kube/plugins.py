"""The admission plugins that a server has by default, in order."""

from __future__ import annotations

from lab.kube.admission import Mutator, Validator

MUTATORS: tuple[Mutator, ...] = ()
VALIDATORS: tuple[Validator, ...] = ()
