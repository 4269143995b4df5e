"""The journal's head in the clusters: ConfigMap bootstrap-system/journal-head, so that a cut or rewritten journal shows even to
whoever changed chain and anchor file alike (design.md section 9).

Written at the end of a run that changed something, and where it is missing; asked by `history --verify` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.model.query import KubeGet

if TYPE_CHECKING:
    from orchestrator.adapters.kube import Cluster
    from orchestrator.cli.shared import Room

NAMESPACE = "bootstrap-system"
NAME = "journal-head"
SECONDS = 15.0
Records = Sequence[Mapping[str, Any]]


def put(room: Room, records: Records, *, changed: bool) -> list[str]:
    """Write the head's mark into every cluster that answers and has the marks' namespace. -> what did not work"""
    from orchestrator.adapters.kube import KubeRefused, Transient

    failed = []
    for name, cluster in _clusters(room).items():
        there = _held(cluster, name)
        if there is None and cluster.ask(KubeGet(name, "v1", "Namespace", NAMESPACE)).status != 200:
            continue
        if changed or there is None:
            try:
                cluster.apply(_mark(records), "bootstrap", SECONDS)
            except (KubeRefused, Transient) as error:
                failed.append(f"{name}: {error}")
    return failed


def faults(room: Room, records: Records) -> tuple[list[str], list[str]]:
    """Compare the journal with the marks. -> (what does not fit, clusters that could not be asked)"""
    wrong, silent = [], []
    for name, cluster in _clusters(room).items():
        answer = cluster.ask(KubeGet(name, "v1", "ConfigMap", NAME, NAMESPACE))
        if answer.unreachable is not None:
            silent.append(name)
            continue
        count, head = _parsed(answer.body)
        if count > len(records):
            wrong.append(f"{count - len(records)} records are missing at the end: the mark in {name} counts {count}")
        elif count and records[count - 1]["hash"] != head:
            wrong.append(f"record {count} is not the one that the mark in {name} names: the chain was rewritten")
    return wrong, silent


def _clusters(room: Room) -> dict[str, Cluster]:
    """Those whose kubeconfig is here."""
    made: dict[str, Cluster] = room.parts["clusters"]
    return {name: one for name, one in made.items() if (room.state_dir / "clusters" / name / "kubeconfig").exists()}


def _held(cluster: Cluster, name: str) -> Any:
    answer = cluster.ask(KubeGet(name, "v1", "ConfigMap", NAME, NAMESPACE))
    return answer.body if answer.status == 200 else None


def _mark(records: Records) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data = {"step": "journal", "digest": f"{len(records)}:{records[-1]['hash'] if records else ''}", "result": "head", "at": now}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data}


def _parsed(body: Any) -> tuple[int, str]:
    digest = str((body.get("data") or {}).get("digest", "")) if isinstance(body, dict) else ""
    count, _, head = digest.partition(":")
    return (int(count), head) if count.isdigit() else (0, "")
