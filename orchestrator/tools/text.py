"""YAML for people and for Git: stable, block style, no anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Two spaces below a list's key, no anchors, multi-line texts as blocks."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else '"' if _ambiguous(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _ambiguous(text: str) -> bool:
    """Words that YAML 1.1 readers take for booleans (`"No"` in CiliumLoadBalancerIPPool), and MACs that look like base 60."""
    return text.lower() in ("yes", "no", "on", "off", "y", "n") or (":" in text and text.replace(":", "").isalnum() and " " not in text)


def _mapping(dumper: yaml.SafeDumper, data: Mapping[str, Any]) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", data.items())


def _sequence(dumper: yaml.SafeDumper, data: Sequence[Any]) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data)


_Dumper.add_representer(str, _string)
_Dumper.add_representer(dict, _mapping)
_Dumper.add_representer(tuple, _sequence)


def dump(*documents: Mapping[str, Any]) -> str:
    """YAML documents in the given order of keys, `---` between them."""
    texts = [yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=4096, allow_unicode=True) for document in documents]
    return "---\n".join(texts)


def duration(span: timedelta) -> str:
    """As Go takes it in a flag: `10m`, `90s`."""
    seconds = int(span.total_seconds())
    return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"
