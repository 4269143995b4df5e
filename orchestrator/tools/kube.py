"""Judges of Kubernetes objects, and the queries that they judge. Source: Kubernetes API 1.33; foundation.md 4.3-6."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from inventory.model import Node
from orchestrator.model.check import Answers
from orchestrator.model.query import Answer, KubeGet, KubeList
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from orchestrator.tools.answers import dig, gone, items, listed, refused

OURS = "bootstrap-system"  # the namespace of marks
NO_CNI = ("cni plugin not initialized", "NetworkPluginNotReady", "network plugin is not ready")
FLUX_OWNS = "kustomize.toolkit.fluxcd.io/name"


def namespace(name: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A Namespace object."""
    metadata: dict[str, Any] = {"name": name}
    if labels:
        metadata["labels"] = dict(labels)
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def get(cluster: str, wanted: Mapping[str, Any]) -> KubeGet:
    """The question for one whole object."""
    meta = wanted["metadata"]
    return KubeGet(cluster, wanted["apiVersion"], wanted["kind"], meta["name"], meta.get("namespace"))


def nodes(cluster: str) -> KubeList:
    return KubeList(cluster, "v1", "Node")


def condition(found: Any, kind: str) -> Mapping[str, Any]:
    """The condition of that type, or an empty mapping."""
    return next((c for c in listed(dig(found, "status", "conditions")) if dig(c, "type") == kind), {})


def addresses(found: Any) -> set[str]:
    """InternalIPs of a Node."""
    return {str(dig(a, "address")) for a in listed(dig(found, "status", "addresses")) if dig(a, "type") == "InternalIP"}


# --- nodes -----------------------------------------------------------------------------------------------------------


def judge_identity(wanted: tuple[Node, ...], others: tuple[Node, ...], answers: Answers) -> Verdict:
    """The API behind the context is the inventory's cluster: its nodes have our names and addresses and nobody else's.

    Applying one cluster's values to the other would change cluster.id and pod addresses of a live one (foundation.md 5.2).
    """
    problem = refused(answers[0])
    if problem is not None:
        return problem
    foreign_addresses = {str(node.address): node.name for node in others}
    ours = {node.name: str(node.address) for node in wanted}
    wrong = []
    for found in items(answers[0]):
        name, internal = str(dig(found, "metadata", "name")), addresses(found)
        other = sorted(foreign_addresses[a] for a in internal if a in foreign_addresses)
        if other:
            wrong.append(f"{name} has the address of {', '.join(other)} of another cluster")
        elif name not in ours:
            wrong.append(f"{name} is not in the inventory")
        elif internal and ours[name] not in internal:
            wrong.append(f"{name} has {', '.join(sorted(internal))}, wanted {ours[name]}")
    if wrong:
        return unmet(f"this is not the inventory's cluster: {'; '.join(wrong)}", permanent=True, foreign=True)
    if not items(answers[0]):
        return unknown("no node has registered yet")
    return met(f"{len(items(answers[0]))} nodes, all of the inventory")


def judge_registered(wanted: tuple[Node, ...], answers: Answers) -> Verdict:
    """All nodes are there and wait for nothing but a network plugin, or are Ready (foundation.md 4.4)."""
    problem = refused(answers[0])
    if problem is not None:
        return problem
    found = {str(dig(o, "metadata", "name")): o for o in items(answers[0])}
    missing = [node.name for node in wanted if node.name not in found]
    if found and len(missing) == len(wanted):  # waiting does not make another cluster ours
        return unmet(f"this is not the inventory's cluster: its nodes are {', '.join(sorted(found)[:5])}", permanent=True, foreign=True)
    if missing:
        return unmet(f"not registered yet: {', '.join(missing)}")
    for node in wanted:
        if str(node.address) not in addresses(found[node.name]):
            return unmet(f"{node.name} has {', '.join(sorted(addresses(found[node.name]))) or 'no address yet'}, wanted {node.address}")
        ready = condition(found[node.name], "Ready")
        if ready.get("status") != "True" and not any(text in str(ready.get("message", "")) for text in NO_CNI):
            return unmet(f"{node.name} is not ready: {ready.get('message') or 'no condition yet'}")
    return met(f"{len(wanted)} nodes registered")


def judge_ready(wanted: tuple[Node, ...], answers: Answers) -> Verdict:
    """All nodes of the inventory are Ready."""
    problem = refused(answers[0])
    if problem is not None:
        return problem
    found = {str(dig(o, "metadata", "name")): o for o in items(answers[0])}
    waiting = [f"{n.name} ({condition(found.get(n.name), 'Ready').get('reason', 'not registered')})" for n in wanted if condition(found.get(n.name), "Ready").get("status") != "True"]
    return unmet(f"not ready: {', '.join(waiting)}") if waiting else met(f"{len(wanted)} of {len(wanted)} nodes ready")


# --- workloads -------------------------------------------------------------------------------------------------------


def deployment(cluster: str, name: str, space: str) -> KubeGet:
    return KubeGet(cluster, "apps/v1", "Deployment", name, space)


def daemonset(cluster: str, name: str, space: str) -> KubeGet:
    return KubeGet(cluster, "apps/v1", "DaemonSet", name, space)


def rolled_out(answer: Answer) -> Verdict:
    """`kubectl rollout status` as a judge: the newest template runs everywhere. Source: kubectl polymorphichelpers/rollout_status.go."""
    problem = refused(answer)
    if problem is not None:
        return problem
    if gone(answer):
        return unmet("not there yet")
    found = answer.body
    kind, name = dig(found, "kind", default="object"), dig(found, "metadata", "name", default="?")
    if not isinstance(dig(found, "metadata", "generation"), int):
        return unknown(f"{kind} {name} tells no generation")
    if dig(found, "status", "observedGeneration", default=0) < found["metadata"]["generation"]:
        return unmet(f"{name}: the newest version is not seen yet")
    status = dig(found, "status", default={})
    if kind == "DaemonSet":
        wanted = dig(status, "desiredNumberScheduled", default=0)
        updated, ready = dig(status, "updatedNumberScheduled", default=0), dig(status, "numberAvailable", default=0)
        if wanted == 0:
            return unmet(f"{name} is wanted on no node yet")
    else:
        wanted = dig(found, "spec", "replicas", default=1)
        updated, ready = dig(status, "updatedReplicas", default=0), dig(status, "availableReplicas", default=0)
    if updated < wanted or ready < wanted:
        return unmet(f"{name}: {ready} of {wanted} available, {updated} updated")
    return met(f"{name} {ready}/{wanted}")


def judge_rolled_out(answers: Answers) -> Verdict:
    """All of them are rolled out."""
    return first_open(rolled_out(answer) for answer in answers)


def first_open(verdicts: Iterable[Verdict]) -> Verdict:
    """The first that is not MET; else MET with all their words."""
    reasons = []
    for verdict in verdicts:
        if not verdict.met:
            return verdict
        reasons.append(verdict.reason)
    return met("; ".join(filter(None, reasons)))


def judge_crds(names: tuple[str, ...], answers: Answers) -> Verdict:
    """The custom resources are served. Answers: the list of CustomResourceDefinitions."""
    problem = refused(answers[0])
    if problem is not None:
        return problem
    established = {str(dig(o, "metadata", "name")) for o in items(answers[0]) if condition(o, "Established").get("status") == "True"}
    missing = [name for name in names if name not in established]
    return unmet(f"not established yet: {', '.join(missing)}") if missing else met(f"{len(names)} CRDs established")


def crds(cluster: str) -> KubeList:
    return KubeList(cluster, "apiextensions.k8s.io/v1", "CustomResourceDefinition")


# --- objects as wished -----------------------------------------------------------------------------------------------


def differences(wanted: Any, found: Any, path: str = "") -> list[str]:
    """Where `found` lacks what is wanted; what it has besides (defaults, status, others' fields) does not count."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return [path or "."]
        return [line for key, value in wanted.items() for line in differences(value, found.get(key), f"{path}.{key}")]
    if isinstance(wanted, (list, tuple)):
        if not isinstance(found, list) or len(found) != len(wanted):
            return [path]
        return [line for i, value in enumerate(wanted) for line in differences(value, found[i], f"{path}[{i}]")]
    return [] if wanted == found else [path]


def as_wished(wanted: Mapping[str, Any], answer: Answer) -> Verdict:
    """The object is there as we want it, or Flux owns it and Git decides."""
    problem = refused(answer)
    if problem is not None:
        return problem
    label = f"{wanted['kind']} {wanted['metadata']['name']}"
    if gone(answer):
        return unmet(f"{label} is not there")
    if dig(answer.body, "kind") != wanted["kind"]:
        return unknown(f"the answer is no {wanted['kind']}")
    if FLUX_OWNS in dig(answer.body, "metadata", "labels", default={}):
        return met(f"{label} is as Git says")
    fields = {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind", "metadata")}
    labels = {key: wanted["metadata"][key] for key in ("labels", "annotations") if key in wanted["metadata"]}
    different = differences(fields, answer.body) + differences(labels, dig(answer.body, "metadata", default={}), ".metadata")
    return unmet(f"{label} differs at {', '.join(different[:5])}") if different else met(f"{label} is there")


def judge_as_wished(wanted: tuple[Mapping[str, Any], ...], answers: Answers) -> Verdict:
    """All objects are as wished."""
    return first_open(as_wished(one, answer) for one, answer in zip(wanted, answers, strict=True))


# --- secrets ---------------------------------------------------------------------------------------------------------


def secret_digest(answer: Answer, key: str) -> str | None:
    """SHA-256 of a Secret's value; the value itself goes nowhere."""
    try:
        return hashlib.sha256(base64.b64decode(str(dig(answer.body, "data", key, default="")), validate=True)).hexdigest()
    except binascii.Error:
        return None


def judge_secret_kept(answers: Answers) -> Verdict:
    """The secret can be resolved. Answer: SecretRead."""
    if not isinstance(dig(answers[0].body, "exists"), bool):
        return unknown("whether the secret is kept is not known")
    return met("kept") if answers[0].body["exists"] else unmet("nothing is kept there yet")


def judge_ca(answers: Answers) -> Verdict:
    """The cluster's cilium-ca is the shared one. Answers: the Secret, SecretRead with `ca.crt`."""
    problem = refused(answers[0])
    if problem is not None:
        return problem
    wanted = dig(answers[1].body, "fields", "ca.crt")
    if gone(answers[0]):
        return unmet("the cluster has no cilium-ca yet")
    if not isinstance(wanted, str):
        return unknown("the shared CA cannot be read")
    found = secret_digest(answers[0], "ca.crt")
    if found is None or "data" not in answers[0].body:
        return unknown("cilium-ca cannot be read")
    if found != wanted:
        return unmet(
            f"the cluster's CA is another ({found[:12]}, wanted {wanted[:12]}): every certificate would have to be issued anew",
            permanent=True,
            foreign=True,
        )
    return met(f"shared CA {wanted[:12]}")


def judge_same_ca(clusters: tuple[str, ...], answers: Answers) -> Verdict:
    """All clusters have the same CA. Answers: cilium-ca of each."""
    found: dict[str, str] = {}
    for name, answer in zip(clusters, answers, strict=True):
        problem = refused(answer)
        if problem is not None:
            return problem
        if gone(answer):
            return unmet(f"{name} has no cilium-ca")
        value = secret_digest(answer, "ca.crt")
        if value is None or not dig(answer.body, "data", "ca.crt"):
            return unknown(f"{name}: cilium-ca cannot be read")
        found[name] = value
    if len(set(found.values())) > 1:
        return unmet(f"the clusters have different CAs: {', '.join(f'{n} {v[:12]}' for n, v in found.items())}", permanent=True)
    return met(f"one CA {next(iter(found.values()))[:12]} in {', '.join(clusters)}")


def judge_secret_there(key: str, answers: Answers) -> Verdict:
    """The Secret exists and its key is not empty."""
    problem = refused(answers[0])
    if problem is not None:
        return problem
    if gone(answers[0]):
        return unmet("the Secret is not there")
    if dig(answers[0].body, "kind") != "Secret":
        return unknown("the answer is no Secret")
    return met(f"key {key} is set") if dig(answers[0].body, "data", key) else unmet(f"the Secret has no {key}")


# --- kubelet certificates --------------------------------------------------------------------------------------------


def csrs(cluster: str) -> KubeList:
    return KubeList(cluster, "certificates.k8s.io/v1", "CertificateSigningRequest")


def judge_csrs(wanted: tuple[Node, ...], answers: Answers) -> Verdict:
    """Nobody waits for a kubelet serving certificate. Answers: Nodes, CertificateSigningRequests, diagnostics of every node."""
    for answer in answers[:2]:
        problem = refused(answer)
        if problem is not None:
            return problem
    registered = {str(dig(o, "metadata", "name")) for o in items(answers[0])}
    missing = [node.name for node in wanted if node.name not in registered]
    if missing:
        return unknown(f"not registered yet: {', '.join(missing)}")
    names = {f"system:node:{node.name}" for node in wanted}
    pending = sorted({str(dig(o, "spec", "username")) for o in items(answers[1]) if _pending(o) and dig(o, "spec", "username") in names})
    if pending:
        return unmet(f"CSRs wait for approval: {', '.join(pending)}")
    for node, answer in zip(wanted, answers[2:], strict=True):
        if answer.unreachable is not None or answer.rc != 0:
            return unknown(f"{node.name} cannot be asked for its diagnostics")
        if "kubelet-csr" in answer.stdout:
            return unmet(f"{node.name}: its kubelet has no serving certificate yet")
    return met("every kubelet has its serving certificate")


def _pending(found: Any) -> bool:
    decided = {dig(c, "type") for c in listed(dig(found, "status", "conditions"))}
    return dig(found, "spec", "signerName") == "kubernetes.io/kubelet-serving" and not decided & {"Approved", "Denied", "Failed"}


# --- jobs ------------------------------------------------------------------------------------------------------------


def judge_job(answers: Answers) -> Verdict:
    """Every Job ended well; a failed one stays failed."""
    verdicts = []
    for answer in answers:
        problem = refused(answer)
        if problem is not None:
            return problem
        name = dig(answer.body, "metadata", "name", default="job")
        if gone(answer):
            verdicts.append(unmet("the Job is not there"))
        elif condition(answer.body, "Failed").get("status") == "True":
            verdicts.append(unmet(f"{name} failed: {condition(answer.body, 'Failed').get('message', '')}", permanent=True))
        elif condition(answer.body, "Complete").get("status") == "True":
            verdicts.append(met(f"{name} passed"))
        elif dig(answer.body, "kind") != "Job":
            verdicts.append(unknown("the answer is no Job"))
        else:
            verdicts.append(unmet(f"{name} is at work"))
    return next((v for v in verdicts if v.permanent), None) or first_open(verdicts)


def judge_absent(answers: Answers) -> Verdict:
    """The object is gone."""
    problem = refused(answers[0])
    if problem is not None:
        return problem
    return met("gone") if gone(answers[0]) else unmet("still there")


def judge_present(answers: Answers) -> Verdict:
    """The object is there."""
    problem = refused(answers[0])
    if problem is not None:
        return problem
    return unmet("not there yet") if gone(answers[0]) else met("there")
