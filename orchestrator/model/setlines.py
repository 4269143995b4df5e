"""A gateway's configuration as set lines: which of the lines that are wanted have to be sent to a device. Pure.

A plan shows this difference, a Writer sends it, a goal asks for it to be empty: one function, so that plan equals deed.
Source: foundation.md 7; Junos CLI 21.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from orchestrator.model.action import JunosChange

_INTERFACE = re.compile(r"^(set security zones security-zone \S+) interfaces (\S+) host-inbound-traffic ")
_QUOTED = re.compile(r'"([\w./:-]+)"')
_ZONE = re.compile(r"^(set security zones security-zone \S+) host-inbound-traffic ")
GLOBAL_AS = "set routing-options autonomous-system "


def spelled(line: str) -> str:
    """One spelling: single blanks, no quotes around a plain word, no comment."""
    bare = " ".join(line.partition("##")[0].split())
    return _QUOTED.sub(r"\1", bare) if '"' in bare else bare


@lru_cache(maxsize=4)  # several checks judge one answer
def current_lines(text: str) -> frozenset[str]:
    """The set lines of `show configuration | display set`."""
    return frozenset(spelled(line) for line in text.splitlines() if line.strip().startswith("set "))


def settled(lines: tuple[str, ...], current: frozenset[str]) -> tuple[str, ...]:
    """The lines that are right for this device (foundation.md 7.1).

    An interface's own host-inbound list replaces the zone's: where there is one, `bgp` goes there, and where there is none it must
    not be made (it would lock management out). A global AS that is set is never changed."""
    chosen = []
    for line in lines:
        inner, outer = _INTERFACE.match(line), _ZONE.match(line)
        if inner is not None and not _own_list(inner[1], inner[2], current):
            continue
        if outer is not None and any(_own_list(m[1], m[2], current) for m in map(_INTERFACE.match, lines) if m is not None):
            continue
        if line.startswith(GLOBAL_AS) and any(there.startswith(GLOBAL_AS) for there in current):
            continue
        chosen.append(line)
    return tuple(chosen)


def _own_list(zone: str, interface: str, current: frozenset[str]) -> bool:
    return any(line.startswith(f"{zone} interfaces {interface} host-inbound-traffic ") for line in current)


def missing(lines: Iterable[str], keys: Iterable[str], text: str) -> tuple[str, ...]:
    """What has to be sent to a device whose configuration is `text`; keys (without their value) only where the device has none."""
    current = current_lines(text)
    new = tuple(line for line in settled(tuple(lines), current) if spelled(line) not in current)
    return new + tuple(key for key in keys if not any(line.startswith(f"{key} ") for line in current))


def to_send(change: JunosChange, text: str) -> tuple[str, ...]:
    """The difference that a plan shows and a Writer sends, in order; a key's line stands without its value."""
    return missing(change.lines, (prefix for prefix, _ in change.secrets), text)


def newest_commit(text: str) -> str:
    """Entry 0 of `show system commit`, with its comment. History keeps its words: `commit confirmed` in an older entry says nothing."""
    return re.split(r"^[ \t]*1\s", text, maxsplit=1, flags=re.MULTILINE)[0]


def awaits_confirmation(text: str) -> bool:
    """Whether the newest commit rolls back by itself unless it is confirmed. `text` is what `show system commit` prints."""
    return re.search(r"rollback (?:in|pending)|commit confirmed", newest_commit(text), re.IGNORECASE) is not None
