"""The world as canonical JSON, so that two worlds can be compared line by line.

Random values are placeholders that are consistent within one dump: the same value has the same name wherever it stands. What differs
between two runs of the same deeds is left out. Source: design.md 8 "Dump".
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from lab.kube.plain import canonical
from lab.talos import config as talosconfig

if TYPE_CHECKING:
    from lab.cluster import LabCluster
    from lab.world import World

# Objects that say how something went, not what is there.
LEFT_OUT = {("v1", "Event"), ("events.k8s.io/v1", "Event"), ("coordination.k8s.io/v1", "Lease")}
METADATA = (
    "managedFields",
    "resourceVersion",
    "uid",
    "generation",
    "creationTimestamp",
    "selfLink",
    "deletionTimestamp",
)
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?")
VOLATILE = frozenset(
    {
        "observedGeneration", "lastTransitionTime", "lastUpdateTime", "lastProbeTime", "lastHeartbeatTime", "startTime", "startedAt",
        "finishedAt", "completionTime", "renewTime", "acquireTime", "containerID", "imageID", "restartCount", "bootID", "machineID",
        "systemUUID", "bootid", "lastHandledReconcileAt", "history", "firstDeployed", "lastDeployed", "timestamp", "establishedTime",
        "observedLastAppliedResourceVersion", "leaseTransitions", "lastState", "deploymentRevision", "peeringStateSince",
    }
)  # fmt: skip
ANNOTATIONS_OUT = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "reconcile.fluxcd.io/requestedAt",
    "kubectl.kubernetes.io/restartedAt",
    "deployment.kubernetes.io/revision",
)
TOOK = re.compile(r"\bin \d[\dhm.µn]*s\b")
COMMIT = re.compile(r"\b[0-9a-f]{40}\b")
POD_SUFFIX = re.compile(
    r"^(?P<stem>.+?)-(?:(?P<hash>[0-9a-f]{8,10}|[bcdfghjklmnpqrstvwxz2456789]{8,10})-)?(?P<id>[bcdfghjklmnpqrstvwxz2456789]{5})$"
)
TEXTS = 50_000  # that a table keeps
OBJECTS = 4096  # that stay shown
BEGIN = "-----BEGIN "
PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?-----END [A-Z0-9 ]+-----\n?", re.S)
HELM_SECRET = re.compile(r"sh\.helm\.release\.v1\.(?P<name>.+)\.v\d+")


class _Table:
    """How texts are shown under some names: two dumps of which the names are the same share what they found."""

    def __init__(self, names: frozenset[tuple[str, str]]) -> None:
        self._known = dict(names)
        longest = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(p) for p in longest) or r"(?!)")
        self._shown: dict[str, str] = {}

    def shown(self, text: str) -> str:
        """The text with placeholders."""
        shown = self._shown.get(text)
        if shown is None:
            shown = self._pattern.sub(lambda m: self._known[m[0]], text)
            shown = COMMIT.sub("<commit>", TOOK.sub("in <duration>", TIME.sub("<time>", shown)))
            if len(self._shown) >= TEXTS:
                self._shown.clear()
            self._shown[text] = shown
        return shown


_table = lru_cache(maxsize=16)(_Table)


@dataclass(frozen=True, slots=True)
class _Shown:
    """An object as a dump showed it, and every placeholder that was asked for on the way."""

    meta: dict[str, Any]
    table: _Table
    asked: dict[str, str | None]
    plain: Any


_SHOWN: dict[int, _Shown] = {}  # by the identity of metadata that are shared between dumps


class Names:
    """Placeholders: the first hint for a value is its name for good."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._taken: dict[str, int] = {}
        self._parts: set[str] = set()
        self._table: _Table | None = None
        self._asked: dict[str, str | None] = {}

    def child(self) -> Names:
        """Names of its own on top of these: what two clusters made up may be spelled alike."""
        made = Names()
        made._known, made._taken, made._parts = dict(self._known), dict(self._taken), set(self._parts)
        return made

    def name(self, value: str, hint: str, *, within: bool = False) -> str:
        """The placeholder of `value`; with `within` also where it is a part of a text."""
        if value not in self._known:
            count = self._taken[hint] = self._taken.get(hint, 0) + 1
            self._known[value] = f"<{hint}>" if count == 1 else f"<{hint}:{count}>"
        self._asked[value] = self._known[value]
        if within and value not in self._parts:
            self._parts.add(value)
            self._table = None
        return self._known[value]

    def known(self, value: str) -> str | None:
        """The placeholder, where the value has one."""
        found = self._asked[value] = self._known.get(value)
        return found

    def in_text(self, text: str) -> str:
        """Every value that was named `within` replaced, the longest first; times, durations and commits too."""
        return self.table().shown(text)

    def table(self) -> _Table:
        """How texts are shown under the names of now."""
        if self._table is None:
            self._table = _table(frozenset((part, self._known[part]) for part in self._parts))
        return self._table

    def object(self, obj: dict[str, Any]) -> Any:
        """`_object` of a shared object; what an earlier dump has shown is shown again where it would be the same."""
        meta = obj["metadata"]
        held = _SHOWN.get(id(meta))
        if held is not None and held.meta is meta and held.table is self.table() and all(self._known.get(v) == p for v, p in held.asked.items()):
            return held.plain
        count, self._asked = len(self._known), {}
        plain = _object(obj, self)
        if len(self._known) == count and "resourceVersion" in meta:  # who gives names must give them in every dump
            if len(_SHOWN) >= OBJECTS:
                _SHOWN.clear()
            _SHOWN[id(meta)] = _Shown(meta, self.table(), self._asked, plain)
        return plain


async def dump(world: World) -> dict[str, Any]:
    """The canonical document; `lines` writes it."""
    names = Names()
    _name_ports(world, names)
    for name, cluster in sorted(world.clusters.items()):
        _name_secrets(world, name, cluster, names)
    document: dict[str, Any] = {
        "machines": {m.node.name: _machine(m.dump(), names) for m in world.machines.values()},
        "clusters": {
            name: await _cluster(name, cluster, names.child()) for name, cluster in sorted(world.clusters.items())
        },
    }
    for actor in (world.factory, world.git, world.s3, world.gateway, world.bgp):
        if actor is not None:
            document[actor.name] = _plain(actor.dump(), names)
    return document


async def _cluster(name: str, cluster: LabCluster, names: Names) -> dict[str, Any]:
    objects = await _objects(cluster)
    _name_made(objects, names)
    return {**cluster.dump(), "objects": {key: names.object(obj) for key, obj in _keyed(objects, names)}}


def lines(document: dict[str, Any]) -> list[str]:
    """One line a scalar, keys sorted, so that a line-by-line comparison names the place."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode().splitlines()


def _name_ports(world: World, names: Names) -> None:
    for name, cluster in world.clusters.items():
        names.name(f"127.0.0.1:{cluster.tcp_port}", f"addr:api:{name}", within=True)
    for actor, port in (("git", world.git.port), ("git-ssh", world.git.ssh_port), ("s3", world.s3.port)):
        names.name(f"127.0.0.1:{port}", f"addr:{actor}", within=True)
    if world.gateway is not None:
        names.name(f"127.0.0.1:{world.gateway.port}", "addr:gateway", within=True)
    if world.factory is not None:
        names.name(f"127.0.0.1:{world.factory.tcp_port}", "addr:factory", within=True)
    names.name(str(world.dir), "dir", within=True)
    if head := world.git.head():
        names.name(head, "commit:HEAD", within=True)


def _name_secrets(world: World, name: str, cluster: LabCluster, names: Names) -> None:
    """What a cluster's bundle holds, as the machine configs show it."""
    for machine in world.machines.values():
        config, own = machine.cluster_config, machine.machine_config
        if config.get("clusterName") != name:
            continue
        for hint, value in (
            ("id", config.get("id")),
            ("secret", config.get("secret")),
            ("token", config.get("token")),
            ("secretbox", config.get("secretboxEncryptionSecret")),
            ("trustd", own.get("token")),
        ):
            if value:
                names.name(str(value), f"{hint}:{name}")
        for hint, pair in (
            ("talos-ca", own.get("ca")),
            ("ca", config.get("ca")),
            ("aggregator-ca", config.get("aggregatorCA")),
            ("sa", config.get("serviceAccount")),
            ("etcd-ca", (config.get("etcd") or {}).get("ca")),
        ):
            for part in ("crt", "key"):
                if pair and pair.get(part):
                    names.name(str(pair[part]), f"{hint}:{name}" if part == "crt" else f"{hint}-key:{name}")
    if cluster.ca is not None:
        names.name(cluster.ca.cert_pem.strip(), f"ca:{name}")


async def _objects(cluster: LabCluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if cluster.ca is None and not cluster.without_machines:
        return found
    for gvr, kind in cluster.served_kinds():
        api_version = gvr.rpartition("/")[0]
        if (api_version, kind) in LEFT_OUT:
            continue
        items, _ = await cluster.port.list(gvr, shared=True)
        found += [{**item, "apiVersion": api_version, "kind": kind} for item in items]
    return found


def _name_made(objects: list[dict[str, Any]], names: Names) -> None:
    """What controllers chose (names of pods, addresses, uids) gets placeholders by what it belongs to."""
    order = sorted(objects, key=lambda o: (o["kind"], o["metadata"].get("namespace", ""), _stable_order(o)))
    for obj in order:
        meta, spec = obj["metadata"], obj.get("spec") or {}
        if "uid" in meta:
            names.name(meta["uid"], "uid")
        stem = _made_up(obj)
        if stem:
            place = spec.get("nodeName", "") if _bound_to_node(obj) else ""
            names.name(meta["name"], f"{obj['kind'].lower()}:{stem}" + (f":{place}" if place else ""), within=True)
        if obj["kind"] == "Node":
            for i, cidr in enumerate(spec.get("podCIDRs") or ()):
                names.name(cidr, f"pod-cidr:{meta['name']}" + (f":{i}" if i else ""), within=True)
        elif obj["kind"] == "Service":
            for i, address in enumerate(a for a in spec.get("clusterIPs") or () if a != "None"):
                names.name(
                    address, f"cluster-ip:{meta['namespace']}/{meta['name']}" + (f":{i}" if i else ""), within=True
                )
        elif obj["kind"] == "Pod" and not spec.get("hostNetwork"):
            for entry in (obj.get("status") or {}).get("podIPs") or ():
                names.name(entry["ip"], f"pod-ip:{stem or meta['name']}", within=True)


def _bound_to_node(obj: dict[str, Any]) -> bool:
    """Whether a pod's node is wished rather than chosen: a DaemonSet's and a static one's."""
    return obj["kind"] == "Pod" and any(
        r["kind"] in ("DaemonSet", "Node") for r in obj["metadata"].get("ownerReferences", ())
    )


def _stable_order(obj: dict[str, Any]) -> tuple[str, str]:
    stem = _made_up(obj) or obj["metadata"]["name"]
    return (stem, str(obj.get("spec", {}).get("nodeName", "")) if _bound_to_node(obj) else "")


def _made_up(obj: dict[str, Any]) -> str:
    """What a generated name begins with, or "" where somebody chose the name."""
    meta = obj["metadata"]
    owner = next((r for r in meta.get("ownerReferences", ()) if r.get("controller")), None)
    if obj["kind"] == "Pod" and owner is not None and owner["kind"] != "Node":
        match = POD_SUFFIX.match(meta["name"])
        if owner["kind"] == "StatefulSet":
            return ""
        return match["stem"] if match else ""
    if obj["kind"] in ("EndpointSlice", "ControllerRevision", "Job", "CertificateSigningRequest") and (
        owner is not None or obj["kind"] == "CertificateSigningRequest"
    ):
        return str(meta.get("generateName") or meta["name"].rsplit("-", 1)[0])
    return ""


def _keyed(objects: list[dict[str, Any]], names: Names) -> Iterator[tuple[str, dict[str, Any]]]:
    releases: dict[str, tuple[int, dict[str, Any]]] = {}
    for obj in objects:
        meta = obj["metadata"]
        helm = HELM_SECRET.fullmatch(meta["name"]) if obj["kind"] == "Secret" else None
        if helm:
            number = int(meta["name"].rsplit(".v", 1)[-1])
            key = f"{meta.get('namespace', '')}/{helm['name']}"
            if key not in releases or releases[key][0] < number:
                releases[key] = (number, obj)
            continue
        shown = names.known(meta["name"]) or meta["name"]
        yield "/".join(p for p in (obj["apiVersion"], obj["kind"], meta.get("namespace", ""), shown) if p), obj
    for key, (_, obj) in sorted(releases.items()):
        yield (
            f"helm/{key}",
            {"kind": "Release", "apiVersion": "helm", "metadata": {"name": key}, "release": _release(obj)},
        )


def _release(secret: dict[str, Any]) -> Any:
    """Chart, version, status and values of a Helm release. Source: helm.sh/release.v1: base64 of base64 of gzip of JSON."""
    try:
        return _unpacked(secret["data"]["release"])
    except (KeyError, ValueError, OSError, binascii.Error):
        return "unreadable"


@lru_cache(maxsize=64)
def _unpacked(packed: str) -> dict[str, Any]:
    inner = base64.b64decode(base64.b64decode(packed))
    release = json.loads(gzip.decompress(inner))
    meta, manifest = release["chart"]["metadata"], release.get("manifest", "")
    return {
        "chart": f"{meta['name']}-{meta['version']}",
        "status": release["info"]["status"],
        "values": release.get("config") or {},
        "manifest": hashlib.sha256(manifest.encode()).hexdigest() if manifest else "",
    }


def _object(obj: dict[str, Any], names: Names) -> Any:
    kind = obj["kind"]
    if kind == "CustomResourceDefinition":
        obj = {**obj, "spec": _digest_of_versions(obj["spec"])}
    elif kind == "Pod" and not _bound_to_node(obj):
        obj = _anywhere(obj)
    elif kind == "Node":
        obj = {**obj, "status": {k: v for k, v in (obj.get("status") or {}).items() if k != "images"}}
    elif kind == "ConfigMap" and {"digest", "step"} <= (obj.get("data") or {}).keys():
        # A mark: what it was made from names this lab's own addresses.
        obj = {**obj, "data": {**obj["data"], "digest": f"<mark:{obj['data']['step']}>"}}
    elif kind == "Secret":
        obj = {**obj, "data": {k: _secret(obj, k, v, names) for k, v in (obj.get("data") or {}).items()}}
    elif kind == "Service" and not any("f:nodePort" in str(m.get("fieldsV1")) for m in obj["metadata"].get("managedFields") or ()):
        obj = {**obj, "spec": {**obj["spec"], "ports": [_chosen_port(p) for p in obj["spec"].get("ports") or ()]}}
    elif kind == "EndpointSlice":
        obj = {**obj, "endpoints": sorted((_endpoint(e, names) for e in obj.get("endpoints") or ()), key=str)}
    elif kind == "Endpoints":
        obj = {**obj, "subsets": [_subset(s, names) for s in obj.get("subsets") or ()]}
    obj = {k: v for k, v in obj.items() if k not in ("apiVersion", "kind")}
    meta = {k: v for k, v in obj.pop("metadata", {}).items() if k not in METADATA}
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k not in ANNOTATIONS_OUT}
    meta.pop("annotations", None)
    if annotations:
        meta["annotations"] = annotations
    return _plain({"metadata": meta, **obj}, names)


def _secret(obj: dict[str, Any], key: str, value: str, names: Names) -> str:
    """What is secret is random: equal values have the same placeholder, also in other clusters. Certificates show whose they are."""
    shown = _text(value, names)
    return shown if shown.startswith("<") else names.name(value, f"secret:{obj['metadata']['name']}/{key}")


def _chosen_port(port: dict[str, Any]) -> dict[str, Any]:
    """A port of a Service for which nobody asked for a node port: which one it got is chance."""
    return {**port, "nodePort": "<node-port>"} if "nodePort" in port else port


def _anywhere(pod: dict[str, Any]) -> dict[str, Any]:
    """A pod whose node the scheduler chose: which one it was depends on who was ready first."""
    spec = {k: v for k, v in pod.get("spec", {}).items() if k != "nodeName"}
    status = {k: v for k, v in (pod.get("status") or {}).items() if k not in ("hostIP", "hostIPs", "podIP", "podIPs")}
    if status.get("phase") in ("Succeeded", "Failed"):  # whether it was seen ready before it ended is chance
        status["conditions"] = [{k: v for k, v in c.items() if k != "message"} for c in status.get("conditions") or ()]
    return {**pod, "spec": spec, "status": status}


def _endpoint(endpoint: dict[str, Any], names: Names) -> dict[str, Any]:
    """One endpoint, without the node where its address says which pod it is."""
    kept = {k: v for k, v in endpoint.items() if k not in ("nodeName", "zone")}
    plain: dict[str, Any] = _plain(kept, names)
    return plain


def _subset(subset: dict[str, Any], names: Names) -> dict[str, Any]:
    return {
        k: sorted((_endpoint(a, names) for a in v), key=str) if k in ("addresses", "notReadyAddresses") else v
        for k, v in subset.items()
    }


def _digest_of_versions(spec: dict[str, Any]) -> dict[str, Any]:
    """A CRD's spec with its schemas as digests: they are thousands of lines that come from one file."""
    versions = {v["name"]: hashlib.sha256(canonical(v)).hexdigest() for v in spec["versions"]}
    return {"group": spec["group"], "names": spec["names"], "scope": spec["scope"], "versions": versions}


def _plain(value: Any, names: Names) -> Any:
    """`value` without times and with placeholders for what is random."""
    if isinstance(value, dict):
        found = {}
        for key, item in value.items():
            if key in VOLATILE or key in ("uid", "resourceVersion"):
                continue
            found[names.in_text(str(key))] = _plain(item, names)
        return found
    if isinstance(value, list):
        items = [_plain(v, names) for v in value]
        return _sorted_conditions(items)
    return _text(value, names) if isinstance(value, str) else value


def _timeless(condition: dict[str, Any]) -> dict[str, Any]:
    """A Deployment that waits longer than its deadline says nothing else than that time has passed."""
    message = str(condition.get("message", "")).replace("has timed out progressing", "is progressing")
    return {**condition, "reason": "ReplicaSetUpdated", "status": "True", "message": message}


def _sorted_conditions(items: list[Any]) -> list[Any]:
    items = [
        _timeless(i) if isinstance(i, dict) and i.get("reason") == "ProgressDeadlineExceeded" else i for i in items
    ]
    if items and all(isinstance(i, dict) and "type" in i and "status" in i for i in items):
        return sorted(items, key=lambda i: str(i["type"]))
    return items


def _text(value: str, names: Names) -> str:
    known = names.known(value) or names.known(value.strip())
    if known:
        return known
    decoded = None if len(value) < 16 or len(value) % 4 else _decoded(value)
    if decoded is not None and (PEM.search(decoded) or names.known(decoded.strip())):
        return f"<base64 {_text(decoded, names)}>"
    return names.in_text(PEM.sub(lambda m: names.name(m[0].strip(), "pem") + "\n", value) if BEGIN in value else value)


@lru_cache(maxsize=8192)
def _decoded(value: str) -> str | None:
    if not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", value):
        return None
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _machine(state: dict[str, Any], names: Names) -> dict[str, Any]:
    for key in ("config", "staged"):
        if state[key]:
            state[key] = [_plain(d, names) for d in talosconfig.load(state[key])]
    if state["etcd"]:
        state["etcd"] = {**state["etcd"], "member": names.name(state["etcd"]["member"], "etcd-member")}
    plain: dict[str, Any] = _plain(state, names)
    return plain
