"""Scripted faults: what goes wrong in the world, as data.

A world file is YAML:

```yaml
faults:
  - name: slow-factory            # shown in summaries; required, unique
    actor: http:factory           # glob over who is asked: talosctl, helm, cilium, flux (programs), api:CLUSTER, ssh:gateway,
                                  #   git, s3, http:factory, machine:NODE, controller:CLUSTER, bgp
    verb: "GET"                   # glob over the verb: apply-config, "etcd members", get, create, push, commit, PUT, install, boot...
    argv: "*--mode auto*"         # programs only: glob over the arguments joined by blanks
    object: "v1/configmaps/*"     # glob over what it is done to: gvr/namespace/name, a file, a ref, a bucket/key
    node: infra-02                # glob over the node's name
    cluster: infra                # glob over the cluster's name
    user: "*"                     # glob over the user or the user agent of an API request
    skip: 1                       # let the first N matches pass
    count: 2                      # hit at most N times (default: always)
    chance: 0.5                   # hit with this probability, by the world's seed
    after: 10m                    # simulated time since the world began (30, "30s", "10m", "2h")
    until: 20m
    effect:                       # at least one
      latency: 30s                # answer later
      hang: true                  # never answer; the client has to give up
      exit: 1                     # programs: exit status, after having done the work, unless `before`
      before: true                # programs: do nothing, just `exit`, `stdout`, `stderr`
      stdout: "text"              # programs: printed in place of the real output
      stderr: "text"              # programs: printed on stderr, instead of what it said
      truncate: 100               # programs: stdout stops after N bytes
      garble: true                # programs: stdout is made undecodable
      wrong_cluster: apps         # programs and API: another cluster answers
      status: 503                 # API and HTTP: answered in place of the server
      reason: ServiceUnavailable
      message: "text"
      retry_after: 5
      cut: true                   # the connection closes without an answer
      cut_after: 3                # a watch closes after N events
      expired: true               # 410 to a watch, or to a list that continues
      stop: true                  # machine: it does not come back from this boot; controller: it does not reconcile; bgp: session down
      fail: "text"                # machine and controller: the thing fails with this reason
      denied: true                # git, s3, ssh: authentication or permission refused
      full: true                  # git, s3: no space left
      race: true                  # git: somebody else's commit lands first
conditions:                       # how the world begins, rather than what happens in it
  - node: infra-01
    disk: S6XXDATA01              # serial of a disk that is not blank
    holds: ceph_bluestore
  - node: infra-02
    clock_skew: 90s
  - node: infra-03
    absent: true                  # powered off
  - cluster: infra
    client_certificate: expired   # what `talosctl kubeconfig` hands out
```

Rules are tried in order and the first that matches takes effect. Matching is the only thing done here: each actor carries the
effect out where it happens. Source: issue 4 section 4.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

import yaml

NAME_FIELDS = ("actor", "verb", "argv", "object", "node", "cluster", "user")


class WorldFileError(ValueError):
    """The world file has an entry that is not in the schema."""


class _Seconds(Protocol):
    def seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that is about to happen, as rules see it."""

    actor: str
    verb: str
    argv: str = ""
    object: str = ""
    node: str = ""
    cluster: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """What goes wrong. Durations are simulated seconds. See the module's docstring for each field."""

    latency: float = 0.0
    hang: bool = False
    exit: int | None = None
    before: bool = False
    stdout: str | None = None
    stderr: str | None = None
    truncate: int | None = None
    garble: bool = False
    wrong_cluster: str = ""
    status: int = 0
    reason: str = ""
    message: str = ""
    retry_after: int = 0
    cut: bool = False
    cut_after: int = -1
    expired: bool = False
    stop: bool = False
    fail: str = ""
    denied: bool = False
    full: bool = False
    race: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the world file: when it matches, and the effect."""

    name: str
    effect: Effect
    actor: str = "*"
    verb: str = "*"
    argv: str = "*"
    object: str = "*"
    node: str = "*"
    cluster: str = "*"
    user: str = "*"
    skip: int = 0
    count: int | None = None
    chance: float = 1.0
    after: float = 0.0
    until: float | None = None

    def matches(self, what: Happening) -> bool:
        """Whether every pattern matches; counts, chances and times are for `Faults`."""
        return all(fnmatchcase(getattr(what, name), getattr(self, name)) for name in NAME_FIELDS)


@dataclass(frozen=True, slots=True)
class Condition:
    """How one node or cluster begins. See the module's docstring."""

    node: str = ""
    cluster: str = ""
    disk: str = ""
    holds: str = ""
    clock_skew: float = 0.0
    absent: bool = False
    client_certificate: str = ""


@dataclass(slots=True)
class _Count:
    seen: int = 0
    hit: int = 0


@dataclass(slots=True)
class Faults:
    """The rules of one world, and how often each was seen and has hit."""

    clock: _Seconds
    rng: random.Random
    rules: list[Rule] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    _counts: dict[str, _Count] = field(default_factory=dict)

    def find(self, what: Happening) -> Effect | None:
        """The effect of the first rule that hits, which is counted; None for almost everything."""
        for rule in self.rules:
            if rule.matches(what) and self._due(rule):
                return rule.effect
        return None

    def hits(self) -> dict[str, int]:
        """How often each rule has taken effect, by name."""
        return {rule.name: self._counts.get(rule.name, _Count()).hit for rule in self.rules}

    def add(self, rule: Rule) -> None:
        """One more rule, tried last; one of the same name is replaced and its counts forgotten."""
        self.lift(rule.name)
        self.rules.append(rule)

    def lift(self, name: str = "") -> None:
        """Take back one rule, or all."""
        self.rules = [r for r in self.rules if name and r.name != name]
        self._counts = {n: c for n, c in self._counts.items() if name and n != name}

    def snapshot(self) -> dict[str, Any]:
        """The counts, by rule; rules come from the world file."""
        return {name: [c.seen, c.hit] for name, c in self._counts.items()}

    def restore(self, counts: Mapping[str, Any]) -> None:
        """Put the counts of a snapshot back."""
        self._counts = {name: _Count(seen, hit) for name, (seen, hit) in counts.items()}

    def _due(self, rule: Rule) -> bool:
        now = self.clock.seconds()
        if now < rule.after or (rule.until is not None and now >= rule.until):
            return False
        counts = self._counts.setdefault(rule.name, _Count())
        counts.seen += 1
        if counts.seen <= rule.skip or (rule.count is not None and counts.hit >= rule.count):
            return False
        if rule.chance < 1.0 and self.rng.random() >= rule.chance:
            return False
        counts.hit += 1
        return True


def load(path: Path) -> tuple[list[Rule], list[Condition]]:
    """The rules and conditions of a world file. Raises WorldFileError with the entry at fault."""
    try:
        return parse(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except yaml.YAMLError as error:
        raise WorldFileError(f"{path}: {error}") from error
    except WorldFileError as error:
        raise WorldFileError(f"{path}: {error}") from error


def parse(document: Any) -> tuple[list[Rule], list[Condition]]:
    """The rules and conditions of a world file's content. Raises WorldFileError."""
    if not isinstance(document, dict):
        raise WorldFileError("a world file is a mapping with faults and conditions")
    _known("", document, ("faults", "conditions"))
    rules = [_rule(i, entry) for i, entry in enumerate(document.get("faults") or [])]
    names = [r.name for r in rules]
    if twice := {n for n in names if names.count(n) > 1}:
        raise WorldFileError(f"faults: name used twice: {', '.join(sorted(twice))}")
    conditions = [_condition(i, entry) for i, entry in enumerate(document.get("conditions") or [])]
    return rules, conditions


def seconds(value: Any) -> float:
    """A duration of a world file or of a Go flag: a number, or text such as 30s, 1h30m, 500ms. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    units = {"ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "s": 1.0, "m": 60.0, "h": 3600.0}
    text = str(value).strip()
    if text == "0":
        return 0.0
    sign = -1.0 if text.startswith("-") else 1.0
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(ms|us|µs|ns|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.lstrip("+-"):
        raise ValueError(f'invalid duration "{value}"')
    return sign * sum(float(number) * units[unit] for number, unit in parts)


def _rule(index: int, entry: Any) -> Rule:
    where = f"faults[{index}]"
    if not isinstance(entry, dict):
        raise WorldFileError(f"{where}: not a mapping")
    _known(where, entry, tuple(f.name for f in fields(Rule)))
    if not entry.get("name") or not entry.get("effect"):
        raise WorldFileError(f"{where}: name and effect are required")
    values = {**entry, "effect": _effect(where, entry["effect"])}
    _durations(where, values, ("after", "until"))
    return Rule(**values)


def _effect(where: str, entry: Any) -> Effect:
    if not isinstance(entry, dict):
        raise WorldFileError(f"{where}.effect: not a mapping")
    _known(f"{where}.effect", entry, tuple(f.name for f in fields(Effect)))
    values = dict(entry)
    _durations(f"{where}.effect", values, ("latency",))
    return Effect(**values)


def _condition(index: int, entry: Any) -> Condition:
    where = f"conditions[{index}]"
    if not isinstance(entry, dict):
        raise WorldFileError(f"{where}: not a mapping")
    _known(where, entry, tuple(f.name for f in fields(Condition)))
    values = dict(entry)
    _durations(where, values, ("clock_skew",))
    return Condition(**values)


def _durations(where: str, values: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if values.get(name) is not None:
            try:
                values[name] = seconds(values[name])
            except ValueError as error:
                raise WorldFileError(f"{where}.{name}: {error}") from error


def _known(where: str, entry: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for key in entry:
        if key not in names:
            prefix = f"{where}: " if where else ""
            raise WorldFileError(f"{prefix}unknown key {key!r}; allowed are {', '.join(names)}")
