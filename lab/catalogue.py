"""The catalogue of named faults: world files with what the product is expected to answer. Data: lab/data/faults/*.yaml.

An entry:

```yaml
- name: factory-down             # unique; what `rehearse --faults` takes
  about: one line for people
  after: blank                   # what is done when it strikes: blank, or the phase that has just ended
  until: preflight               # how far `up` is asked to go
  faults: [...]                  # as in a world file (lab/faults.py)
  conditions: [...]
  hit: true                      # a rule has to have taken effect (false: conditions, or a fault that the product never runs into)
  answer:
    exit: 6                      # of `up`; 0: the product gets over it by itself
    by: preflight/factory        # the step or check on the card (a glob); `-` where the exit is 0
    words: [does not answer]     # on the card: wanted, found and causes
  random: true                   # may be drawn by `rehearse --faults random`
```

After it is lifted, `bootstrap up` has to finish. Source: issue 4 section 4.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab import faults
from lab.faults import WorldFileError

FOLDER = Path(__file__).with_name("data") / "faults"
PLACES = ("blank", "preflight", "talos", "network", "gitops")
KEYS = ("name", "about", "after", "until", "faults", "conditions", "hit", "answer", "random")


@dataclass(frozen=True, slots=True)
class Entry:
    """One named fault. `world` is the content of a world file."""

    name: str
    about: str
    after: str
    until: str
    world: dict[str, Any]
    exit: int
    by: str
    words: tuple[str, ...] = ()
    hit: bool = True
    random: bool = False
    rules: tuple[faults.Rule, ...] = field(default=(), compare=False)

    def to_json(self) -> dict[str, Any]:
        """As `lab catalogue` prints it."""
        return {key: value for key, value in asdict(self).items() if key != "rules"}


def load(folder: Path = FOLDER) -> list[Entry]:
    """Every entry, those that strike first coming first. Raises WorldFileError with the file and the entry at fault."""
    entries: list[Entry] = []
    for path in sorted(folder.glob("*.yaml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or []
        for number, raw in enumerate(document):
            try:
                entries.append(_entry(raw))
            except (WorldFileError, KeyError, TypeError) as error:
                raise WorldFileError(f"{path.name}, entry {number + 1}: {error}") from error
    names = [entry.name for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise WorldFileError(f"named twice: {', '.join(twice)}")
    return sorted(entries, key=lambda entry: PLACES.index(entry.after))


def _entry(raw: Any) -> Entry:
    if unknown := [key for key in raw if key not in KEYS]:
        raise WorldFileError(f"unknown key {unknown[0]!r}; allowed are {', '.join(KEYS)}")
    if raw["after"] not in PLACES:
        raise WorldFileError(f"after: {raw['after']!r} is none of {', '.join(PLACES)}")
    rules = [{"name": f"{raw['name']}-{i}" if i else raw["name"], **rule} for i, rule in enumerate(raw.get("faults") or [])]
    world = {"faults": rules, "conditions": raw.get("conditions") or []}
    parsed, _ = faults.parse(world)
    answer = raw["answer"]
    return Entry(
        name=raw["name"],
        about=raw["about"],
        after=raw["after"],
        until=raw["until"],
        world=world,
        exit=int(answer["exit"]),
        by=str(answer.get("by", "-")),
        words=tuple(str(word) for word in answer.get("words") or ()),
        hit=bool(raw.get("hit", bool(rules))),
        random=bool(raw.get("random", False)),
        rules=tuple(parsed),
    )
