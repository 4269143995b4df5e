"""Files of `talosctl etcd snapshot`: the API's store behind a header, with etcd's trailing SHA-256.

A real snapshot is a bbolt database; this one is a gzipped JSON document, padded to bbolt's page size, that only the lab can restore.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC = b"lab-etcd-snapshot/1\n"
PAGE = 4096


@dataclass(frozen=True, slots=True)
class Info:
    """What talosctl prints of a snapshot: sizes in bytes."""

    size: int
    content: int
    hash: str
    revision: int
    keys: int


def write(path: Path, store: dict[str, Any]) -> Info:
    """Write beside `path`, then rename. Mode 0600."""
    body = MAGIC + gzip.compress(json.dumps(store, separators=(",", ":")).encode(), mtime=0)
    body += b"\0" * (-len(body) % PAGE)
    digest = hashlib.sha256(body).digest()
    part = path.with_name(path.name + ".part")
    part.touch(0o600)
    part.write_bytes(body + digest)
    part.rename(path)
    return Info(len(body) + len(digest), len(body), digest.hex()[:8], _revision(store), _keys(store))


def read(path: Path) -> dict[str, Any]:
    """The store of a snapshot. Raises OSError, or ValueError on a damaged file."""
    content = path.read_bytes()
    body, digest = content[:-32], content[-32:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("snapshot hash mismatch")
    if not body.startswith(MAGIC):
        raise ValueError("not a snapshot of this lab")
    store: dict[str, Any] = json.loads(
        zlib.decompressobj(wbits=31).decompress(body[len(MAGIC) :])
    )  # the padding follows it
    return store


def _revision(store: dict[str, Any]) -> int:
    """Source: lab.kube.store.Store.snapshot, wherever the API's snapshot keeps it."""
    inner = store.get("store", store)
    return int(inner.get("version", 1)) if isinstance(inner, dict) else 1


def _keys(store: dict[str, Any]) -> int:
    inner = store.get("store", store)
    return len(inner.get("objects", ())) if isinstance(inner, dict) else 0
