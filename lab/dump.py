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
from typing import TYPE_CHECKING, Any

from lab.talos import config as talosconfig

if TYPE_CHECKING:
    from lab.cluster import LabCluster
    from lab.world import World

# Objects that say how something went, not what is there.
LEFT_OUT = {("v1", "Event"), ("events.k8s.io/v1", "Event"), ("coordination.k8s.io/v1", "Lease")}
METADATA = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink", "deletionTimestamp")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?")
VOLATILE = frozenset(
    {
        "observedGeneration", "lastTransitionTime", "lastUpdateTime", "lastProbeTime", "lastHeartbeatTime", "startTime", "startedAt",
        "finishedAt", "completionTime", "renewTime", "acquireTime", "containerID", "imageID", "restartCount", "bootID", "machineID",
        "systemUUID", "lastHandledReconcileAt", "history", "firstDeployed", "lastDeployed", "timestamp", "establishedTime",
        "observedLastAppliedResourceVersion", "leaseTransitions", "lastState", "deploymentRevision", "peeringStateSince",
    }
)  # fmt: skip
ANNOTATIONS_OUT = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "reconcile.fluxcd.io/requestedAt",
    "kubectl.kubernetes.io/restartedAt",
    "deployment.kubernetes.io/revision",
)
POD_SUFFIX = re.compile(r"^(?P<stem>.+?)-(?:(?P<hash>[0-9a-f]{8,10}|[bcdfghjklmnpqrstvwxz2456789]{8,10})-)?(?P<id>[bcdfghjklmnpqrstvwxz2456789]{5})$")
PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?-----END [A-Z0-9 ]+-----\n?", re.S)
HELM_SECRET = re.compile(r"sh\.helm\.release\.v1\.(?P<name>.+)\.v\d+")


class Names:
    """Placeholders: the first hint for a value is its name for good."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._taken: dict[str, int] = {}

    def name(self, value: str, hint: str) -> str:
        """The placeholder of `value`."""
        if value not in self._known:
            count = self._taken[hint] = self._taken.get(hint, 0) + 1
            self._known[value] = f"<{hint}>" if count == 1 else f"<{hint}:{count}>"
        return self._known[value]

    def known(self, value: str) -> str | None:
        """The placeholder, where the value has one."""
        return self._known.get(value)

    def in_text(self, text: str) -> str:
        """Every known value in a text replaced, longest first."""
        for value in sorted((v for v in self._known if len(v) >= 5 and v in text), key=len, reverse=True):
            text = text.replace(value, self._known[value])
        return text


async def dump(world: World) -> dict[str, Any]:
    """The canonical document; `lines` writes it."""
    names = Names()
    _name_ports(world, names)
    for name, cluster in sorted(world.clusters.items()):
        _name_secrets(world, name, cluster, names)
    objects = {name: await _objects(cluster) for name, cluster in sorted(world.clusters.items())}
    for name, found in objects.items():
        _name_pods(name, found, names)
    document: dict[str, Any] = {
        "machines": {m.node.name: _machine(m.dump(), names) for m in world.machines.values()},
        "clusters": {
            name: {
                **cluster.dump(),
                "objects": {key: _object(obj, names) for key, obj in _keyed(name, objects[name], names)},
            }
            for name, cluster in sorted(world.clusters.items())
        },
    }
    for actor in (world.factory, world.git, world.s3, world.gateway, world.bgp):
        if actor is not None:
            document[actor.name] = _plain(actor.dump(), names)
    return document


def lines(document: dict[str, Any]) -> list[str]:
    """One line a scalar, keys sorted, so that a line-by-line comparison names the place."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).splitlines()


def _name_ports(world: World, names: Names) -> None:
    for name, cluster in world.clusters.items():
        names.name(f"127.0.0.1:{cluster.tcp_port}", f"addr:api:{name}")
    for actor, port in (("git", world.git.port), ("git-ssh", world.git.ssh_port), ("s3", world.s3.port)):
        names.name(f"127.0.0.1:{port}", f"addr:{actor}")
    if world.gateway is not None:
        names.name(f"127.0.0.1:{world.gateway.port}", "addr:gateway")
    if world.factory is not None:
        names.name(f"127.0.0.1:{world.factory.tcp_port}", "addr:factory")
    names.name(str(world.dir), "dir")


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
        items, _ = await cluster.port.list(gvr)
        found += [{**item, "apiVersion": api_version, "kind": kind} for item in items]
    return found


def _name_pods(cluster: str, objects: list[dict[str, Any]], names: Names) -> None:
    """Names that a controller made up are placeholders by what they belong to."""
    owners = {o["metadata"].get("uid"): o for o in objects}
    for obj in sorted(objects, key=lambda o: (o["kind"], o["metadata"].get("namespace", ""), _stable_order(o, owners))):
        meta = obj["metadata"]
        if "uid" in meta:
            names.name(meta["uid"], f"uid:{cluster}")
        stem = _made_up(obj)
        if stem:
            place = obj.get("spec", {}).get("nodeName", "") if obj["kind"] == "Pod" else ""
            names.name(meta["name"], f"{obj['kind'].lower()}:{stem}" + (f":{place}" if place else ""))


def _stable_order(obj: dict[str, Any], owners: dict[Any, dict[str, Any]]) -> tuple[str, str, str]:
    stem = _made_up(obj) or obj["metadata"]["name"]
    node = str(obj.get("spec", {}).get("nodeName", "")) if obj["kind"] == "Pod" else ""
    return (stem, node, "")


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


def _keyed(cluster: str, objects: list[dict[str, Any]], names: Names) -> Iterator[tuple[str, dict[str, Any]]]:
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
        yield f"helm/{key}", {"kind": "Release", "apiVersion": "helm", "metadata": {"name": key}, "release": _release(obj)}


def _release(secret: dict[str, Any]) -> Any:
    """Chart, version, status and values of a Helm release. Source: helm.sh/release.v1: base64 of base64 of gzip of JSON."""
    try:
        inner = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        release = json.loads(gzip.decompress(inner))
        meta = release["chart"]["metadata"]
        return {
            "chart": f"{meta['name']}-{meta['version']}",
            "status": release["info"]["status"],
            "values": release.get("config") or {},
            "manifest": hashlib.sha256(release.get("manifest", "").encode()).hexdigest() if release.get("manifest") else "",
        }
    except (KeyError, ValueError, OSError, binascii.Error):
        return "unreadable"


def _object(obj: dict[str, Any], names: Names) -> Any:
    obj = {k: v for k, v in obj.items() if k not in ("apiVersion", "kind")}
    meta = {k: v for k, v in obj.pop("metadata", {}).items() if k not in METADATA}
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k not in ANNOTATIONS_OUT}
    meta.pop("annotations", None)
    if annotations:
        meta["annotations"] = annotations
    return _plain({"metadata": meta, **obj}, names)


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


def _sorted_conditions(items: list[Any]) -> list[Any]:
    if items and all(isinstance(i, dict) and "type" in i and "status" in i for i in items):
        return sorted(items, key=lambda i: str(i["type"]))
    return items


def _text(value: str, names: Names) -> str:
    known = names.known(value) or names.known(value.strip())
    if known:
        return known
    decoded = _decoded(value)
    if decoded is not None and (PEM.search(decoded) or names.known(decoded.strip())):
        return f"<base64 {_text(decoded, names)}>"
    value = PEM.sub(lambda m: names.name(m[0].strip(), "pem") + "\n", value)
    value = names.in_text(value)
    return TIME.sub("<time>", value)


def _decoded(value: str) -> str | None:
    if len(value) < 16 or len(value) % 4 or not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", value):
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
