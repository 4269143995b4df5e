"""A platform of answers: what every query of the phases is answered with, in a few moods. No I/O, no simulation.

`finished` answers as the platform does after day 14, `maintenance` as machines do that were just booted, `sick` as one on which everything is
there and nothing is well, `test` as in the middle of a test, `foreign` as somebody else's, `silent` not at all, `garbled` with text that means nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from inventory.model import DiskSelector, Node, Role, Site
from orchestrator.model.action import GitCommit, Mark, Objects, WriteFile
from orchestrator.model.phase import Phase
from orchestrator.model.query import (
    Answer,
    FileRead,
    GitRead,
    HttpGet,
    JunosShow,
    KubeGet,
    KubeList,
    KubeRaw,
    ProgramOnPath,
    Query,
    SecretRead,
    StoreHead,
    ToolQuery,
    Workstation,
)
from orchestrator.model.setlines import settled
from orchestrator.tools import cilium, factory, flux, junos
from orchestrator.tools.git import sha256
from phases import cilium_config, repository

Mood = Literal["finished", "maintenance", "sick", "test", "foreign", "silent", "garbled"]
REFUSED = 'rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp: connect: connection refused"'
OTHER_CA = 'rpc error: code = Unavailable desc = connection error: desc = "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"'
BROKEN_PIPE = "rpc error: code = Unavailable desc = write tcp 127.0.0.1:40000->10.25.11.11:50000: write: broken pipe"
NOW = "2026-01-02T03:04:05.000Z"
SHA = "63efee12364d233dd5b3542c89eecbc7116161e4"
REVISION = f"main@sha1:{SHA}"
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
GARBAGE = Answer(rc=0, stdout="\x00\x1b[31m<<<", stderr="\x07", status=200, body=["?"], extra={"headers": "?"})


class Platform:
    """Answers of one mood. Every answer is made from the site and the phases, so that it fits any site."""

    def __init__(self, site: Site, phases: tuple[Phase, ...], mood: Mood) -> None:
        self.site, self.phases, self.mood = site, phases, mood
        actions = [action for phase in phases for step in phase.steps for action in step.actions]
        self.objects = {(a.cluster, o["kind"], o["metadata"]["name"]): o for a in actions if isinstance(a, Objects) and not a.delete for o in a.objects}
        self.files = {a.path: a.text for a in actions if isinstance(a, WriteFile)}
        self.marks = {(a.cluster, a.name): a.digest for a in actions if isinstance(a, Mark)}
        self.git: dict[str, str] = {}
        for action in actions:
            if isinstance(action, GitCommit):
                self.git |= {path: text for path, text in action.files.items() if text is not None}
        self.git = {path: text for path, text in self.git.items() if not path.endswith("reconcile-test.yaml")}

    def ask(self, query: Query) -> Answer:
        if self.mood == "silent":
            return Answer(unreachable="10.25.11.11: connection refused")
        if self.mood == "garbled":
            return Answer(status=599) if isinstance(query, StoreHead) else GARBAGE
        match query:
            case ToolQuery():
                return getattr(self, f"_{query.tool}")(query.argv)
            case KubeGet() | KubeList() | KubeRaw():
                return Answer(unreachable="connection refused") if self.mood == "maintenance" else self._kube(query)
            case JunosShow():
                return self._junos(query.command)
            case GitRead():
                return self._git(query)
            case HttpGet():
                return self._http(query.url)
            case StoreHead():
                return Answer(status=403 if self.mood == "sick" else 200)
            case FileRead():
                return self._file(query.path)
            case SecretRead():
                return self._secret(query)
            case ProgramOnPath():
                return Answer(body={"path": None if self.mood == "sick" else f"/usr/bin/{query.program}"})
            case Workstation():
                return Answer(body={"now": NOW, "python": "3.9.1" if self.mood == "sick" else "3.11.7", "free_bytes": 1 << 34, "writable": True})
        raise AssertionError(query)

    # --- programs ----------------------------------------------------------------------------------------------------

    def _talosctl(self, argv: tuple[str, ...]) -> Answer:
        if argv[1] == "version":
            return Answer(stdout=f"Client:\nTalos {self.site.versions.talos if self.mood != 'sick' else 'v1.8.0'}\n")
        if argv[1] == "validate":
            return Answer(stdout=f"{argv[3]} is valid for metal mode\n") if self.mood != "sick" else Answer(rc=1, stderr="1 error occurred:\n\t* bad\n")
        if "config" in argv[:5]:
            return self._config_info(argv)
        node = self._node(argv)
        if self.mood == "foreign":
            words = "rpc error: code = Unavailable desc = remote error: tls: certificate required"
            return Answer(rc=1, stderr=words if "--insecure" in argv else OTHER_CA)
        if "--insecure" in argv:
            return self._insecure(node, argv[argv.index("get") + 1])
        if self.mood == "maintenance":
            return Answer(rc=1, stderr=OTHER_CA)
        if "get" in argv:
            words = argv[argv.index("get") + 1 : argv.index("-o")]
            return Answer(stdout="".join(json.dumps(o, indent=4) + "\n" for o in self._resources(node, *words)))
        if "members" in argv or "status" in argv:
            return Answer(stdout=self._etcd_table(node, members="members" in argv))
        assert "health" in argv
        if self.mood == "sick":
            return Answer(rc=1, stderr="waiting for all k8s nodes to report ready: some nodes are not ready: [x]\nrpc error: code = DeadlineExceeded\n")
        return Answer(stderr="waiting for etcd to be healthy: ...\nwaiting for etcd to be healthy: OK\n")

    def _node(self, argv: tuple[str, ...]) -> Node:
        address = argv[argv.index("-n") + 1]
        return next(n for n in self.site.nodes if address in (str(n.address), str(n.maintenance_address)))

    def _config_info(self, argv: tuple[str, ...]) -> Answer:
        if self.mood == "maintenance":
            return Answer(rc=1, stderr="no context is set\n")
        cluster = argv[2].split("/")[2]
        endpoints = [str(n.address) for n in self.site.control_planes(cluster)] if self.mood != "sick" else ["192.0.2.9"]
        return Answer(stdout=json.dumps({"context": cluster, "nodes": endpoints[:1], "endpoints": endpoints}, indent=2))

    def _insecure(self, node: Node, what: str) -> Answer:
        if self.mood == "sick" and what == "machinestatus":
            return Answer(rc=1, stderr="rpc error: code = Unavailable desc = remote error: tls: certificate required")
        if self.mood in ("finished", "test"):
            return Answer(rc=1, stderr=BROKEN_PIPE)
        return Answer(stdout="".join(json.dumps(o, indent=4) + "\n" for o in self._resources(node, what)))

    def _resources(self, node: Node, what: str, name: str = "") -> list[dict[str, Any]]:
        sick = self.mood == "sick"
        match what:
            case "machinestatus":
                stage = "maintenance" if self.mood == "maintenance" else "running"
                unmet = [{"name": "time", "reason": "time not in sync"}] if sick else []
                return [_talos("machine", {"stage": stage, "status": {"ready": True, "unmetConditions": unmet}})]
            case "links":
                mac = "00:00:00:00:00:99" if sick else node.mac or "aa:bb:cc:00:00:01"
                return [_talos("enp1s0", {"hardwareAddr": mac, "permanentAddr": mac})]
            case "systeminformation":
                return [_talos("systeminformation", {"serialnumber": node.serial or "SN1"})]
            case "disks":
                if sick:
                    return [_talos("sda", {"serial": "OTHER", "readonly": False, "cdrom": False, "size": 1, "dev_path": "/dev/sda"})]
                return [_disk(f"nvme{i}n1", selector) for i, selector in enumerate((node.install_disk, *node.data_disks))]
            case "discoveredvolumes":
                return [_talos(f"nvme{i}n1", {"name": "", "type": "disk"}) for i in range(1 + len(node.data_disks))]
            case "systemdisk":
                return [_talos("system-disk", {"diskID": "nvme0n1", "devPath": "/dev/nvme0n1"})]
            case "version":
                return [_talos("version", {"version": self.site.versions.talos})]
            case "extensions":
                return [_talos(0, {"metadata": {"name": "schematic", "version": factory.schematic_id(self.site)}})]
            case "services":
                return [_talos(name, {"running": not sick, "healthy": not sick, "unknown": False})]
            case "etcdmembers":
                return [] if sick else [_talos("local", {"memberID": "00005f5b0c1d0001"})]
            case "diagnostics":
                return [_talos("kubelet-csr", {"message": "kubelet server certificate rotation is enabled, but CSR is not approved", "details": []})] if sick else []
        raise AssertionError(what)

    def _etcd_table(self, node: Node, *, members: bool) -> str:
        planes = self.site.control_planes(node.cluster)
        if members:
            head = "NODE          ID                 HOSTNAME   PEER URLS                  CLIENT URLS                LEARNER\n"
            rows = [f"{node.address!s:<14}5f5b0c1d0000000{i}   {n.name[:8]:<11}{'https://x:2380':<27}{'https://x:2379':<27}false\n" for i, n in enumerate(planes)]
            return head + "".join(rows)
        head = "NODE          MEMBER             DB SIZE   IN USE           LEADER             RAFT INDEX   RAFT TERM   RAFT APPLIED INDEX   LEARNER   PROTOCOL   STORAGE   ERRORS\n"
        return head + f"{node.address!s:<14}5f5b0c1d00000000   26 MB     12 MB (44.00%)   5f5b0c1d00000000   123456       3           123456               false     3.6.4      3.6.0     \n"

    def _helm(self, argv: tuple[str, ...]) -> Answer:
        if argv[1] == "version":
            return Answer(stdout=f"{self.site.versions.helm}+g4a19a5b\n" if self.mood != "sick" else "v2.1.0\n")
        if self.mood == "maintenance":
            return Answer(rc=1, stderr='Error: Kubernetes cluster unreachable: Get "https://127.0.0.1:1/version": dial tcp: connect: connection refused')
        cluster = argv[argv.index("--kube-context") + 1]
        if argv[1] == "list":
            status = "failed" if self.mood == "sick" else "deployed"
            return Answer(stdout=json.dumps([{"name": "cilium", "status": status, "chart": f"cilium-{self.site.versions.cilium}", "revision": "2"}]))
        values: dict[str, Any] = cilium_config.values(self.site, self.site.cluster(cluster))
        return Answer(stdout=json.dumps(values | ({"debug": {"enabled": True}} if self.mood in ("sick", "foreign") else {})))

    def _cilium(self, argv: tuple[str, ...]) -> Answer:
        if argv[1] == "version":
            return Answer(stdout=f"cilium-cli: {self.site.versions.cilium_cli if self.mood != 'sick' else 'v0.15.0'} compiled with go1.24\n")
        if self.mood == "maintenance":
            return Answer(rc=1, stderr="Error: Unable to determine status: connection refused")
        cluster = argv[argv.index("--context") + 1]
        nodes = self.site.nodes_of(cluster)
        if argv[1] == "status":
            errors = {"cilium": {"cilium-a": {"Errors": ["exec failed"], "Warnings": [], "Disabled": False}}} if self.mood == "sick" else {}
            state = {"Type": "DaemonSet", "Desired": len(nodes), "Ready": len(nodes), "Available": len(nodes), "Unavailable": 0}
            return Answer(stdout=json.dumps({"pod_state": {"cilium": state}, "pods_count": {"all": 9, "by_cilium": 9}, "errors": errors}))
        if argv[1] == "bgp":
            assert self.site.gateway is not None
            session = "active" if self.mood == "sick" else "established"
            return Answer(stdout=json.dumps({n.name: [{"peer-address": str(self.site.gateway.peer), "session-state": session}] for n in nodes}))
        others = {cilium_config.mesh_name(c): {"configured": len(nodes), "connected": 0 if self.mood == "sick" else len(nodes)} for c in self.site.clusters if c.name != cluster}
        part = {"clusters": others, "total": len(nodes), "errors": {}}
        kvstore = {"clusters": {k: {"configured": 2, "connected": 2} for k in others}, "total": 2}
        return Answer(stdout=json.dumps({"access_information": {"client_key": "PRIVATE"}, "connectivity": part, "kvstoremesh": {"enabled": True, "status": kvstore}}))

    def _flux(self, argv: tuple[str, ...]) -> Answer:
        if argv[1] == "version":
            return Answer(stdout=json.dumps({"flux": self.site.versions.flux if self.mood != "sick" else "v0.1.0"}))
        if self.mood == "sick":
            return Answer(rc=1, stderr="► checking prerequisites\n✗ Kubernetes version v1.28.0 does not match >=1.32.0-0\n")
        return Answer(stderr="► checking prerequisites\n✔ Kubernetes 1.33.5 >=1.32.0-0\n✔ prerequisites checks passed\n")

    def _kubectl(self, argv: tuple[str, ...]) -> Answer:
        return Answer(stdout=json.dumps({"clientVersion": {"gitVersion": "v1.37.1" if self.mood != "sick" else "v1.20.1"}}))

    # --- the API -----------------------------------------------------------------------------------------------------

    def _kube(self, query: KubeGet | KubeList | KubeRaw) -> Answer:
        sick = self.mood == "sick"
        if isinstance(query, KubeRaw):
            return Answer(status=500, stdout="[+]ping ok\n[-]etcd failed: reason withheld\n") if sick else Answer(status=200, stdout="ok")
        if isinstance(query, KubeList):
            return Answer(status=200, body={"kind": f"{query.kind}List", "items": self._list(query)})
        found = self._get(query)
        return Answer(status=404, body={"kind": "Status", "reason": "NotFound"}) if found is None else Answer(status=200, body=found)

    def _list(self, query: KubeList) -> list[dict[str, Any]]:
        sick = self.mood == "sick"
        nodes = self.site.nodes_of(query.cluster)
        match query.kind:
            case "Node":
                return [self._node_object(node) for node in nodes]
            case "CustomResourceDefinition":
                names = (*cilium.BASE_CRDS, *cilium.BGP_CRDS, cilium.L2_CRD)
                return [_object("CustomResourceDefinition", name, conditions={"Established": "False" if sick else "True"}) for name in names]
            case "CertificateSigningRequest":
                spec = {"signerName": "kubernetes.io/kubelet-serving", "username": f"system:node:{nodes[0].name}"}
                return [{**_object("CertificateSigningRequest", "csr-1"), "spec": spec, "status": {} if sick else {"conditions": [{"type": "Approved", "status": "True"}]}}]
            case "CiliumLoadBalancerIPPool":
                state = "True" if sick else "False"
                return [_object(query.kind, pool.name, conditions={"cilium.io/PoolConflict": state}) for pool in self.site.cluster(query.cluster).pools]
            case "CiliumBGPNodeConfig":
                assert self.site.gateway is not None
                peers = [{"peerAddress": str(self.site.gateway.peer), "peeringState": "active" if sick else "established"}]
                return [{**_object(query.kind, node.name), "status": {"bgpInstances": [{"peers": peers}]}} for node in nodes]
            case "CiliumBGPClusterConfig" | "CiliumBGPPeerConfig":
                return [_object(query.kind, "x", conditions={"cilium.io/MissingPeerConfigs": "False", "cilium.io/MissingAuthSecret": "False"})]
        raise AssertionError(query)

    def _node_object(self, node: Node) -> dict[str, Any]:
        ready = "False" if self.mood == "sick" else "True"
        found = _object("Node", node.name, conditions={"Ready": ready}, message="kubelet stopped posting")
        address = "192.0.2.77" if self.mood == "sick" else str(node.address)
        found["status"]["addresses"] = [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": node.name}]
        if self.mood == "sick":
            found["metadata"]["name"] = node.name if node.role is Role.WORKER else f"{node.name}"
        return found

    def _get(self, query: KubeGet) -> dict[str, Any] | None:
        sick = self.mood == "sick"
        match query.kind:
            case "Deployment" | "DaemonSet" if query.name in ("kube-proxy", "kube-flannel"):
                return _workload(query.kind, query.name, 0) if sick else None
            case "Deployment" | "DaemonSet":
                return _workload(query.kind, query.name, 0 if sick else 2)
            case "HelmRelease":
                return None if self.mood in ("test", "foreign") else self._release(query.name)
            case "GitRepository" | "Kustomization":
                return self._flux_object(query)
            case "Secret":
                text = "another" if sick else CA
                keys = {"ca.crt": text, "ca.key": "k"} if query.name == "cilium-ca" else {} if sick else {"password": "p"}
                suffix = query.cluster if sick else ""
                return {**_object("Secret", query.name), "data": {k: base64.b64encode((v + suffix).encode()).decode() for k, v in keys.items()}}
            case "ConfigMap" if query.name == repository.TEST_NAME:
                return _object("ConfigMap", query.name) if self.mood in ("test", "sick") else None
            case "ConfigMap":
                digest = self.marks[(query.cluster, query.name)]
                return {**_object("ConfigMap", query.name), "data": {"digest": "other" if sick else digest, "result": "passed", "time": NOW}}
            case "Service":
                return {**_object("Service", query.name), "spec": {"ports": [{"nodePort": 1 if sick else self.site.cluster(query.cluster).mesh_port}]}}
            case "Job":
                return _object("Job", query.name, conditions={"Failed" if sick else "Complete": "True"})
            case "Namespace" if sick:
                return None
        wanted = self.objects[(query.cluster, query.kind, query.name)]
        return {**wanted, "spec": {}} if sick else dict(wanted)

    def _release(self, name: str) -> dict[str, Any]:
        found = _object("HelmRelease", name, conditions={"Ready": "False" if self.mood == "sick" else "True"})
        found["status"] |= {"observedGeneration": 1, "history": [{"status": "deployed", "chartVersion": self.site.versions.cilium}]}
        return found

    def _flux_object(self, query: KubeGet) -> dict[str, Any]:
        sick = self.mood == "sick"
        found = _object(query.kind, query.name, conditions={"Ready": "False" if sick else "True"})
        path = "clusters/other" if sick else flux.cluster_path(self.site.git, query.cluster)
        found["spec"] = {"path": f"./{path}"}
        found["status"] |= {"observedGeneration": 1, "artifact": {"revision": REVISION}, "lastAppliedRevision": REVISION}
        return found

    # --- everything else ---------------------------------------------------------------------------------------------

    def _junos(self, command: str) -> Answer:
        sick = self.mood == "sick"
        if command == junos.COMMITS.command:
            note = "commit confirmed, rollback in 5mins" if sick else ""
            return Answer(stdout=f"0   2026-01-02 03:04:05 UTC by bootstrap via cli {note}\n1   2026-01-01 03:04:05 UTC by bootstrap via cli commit confirmed, rollback in 5mins\n")
        if command == junos.SUMMARY.command:
            states = {str(node.address): "Active" if sick or self.mood == "maintenance" else "Established" for node in self.site.nodes}
            peers = [{"peer-address": [{"data": a}], "peer-state": [{"data": s}]} for a, s in states.items()]
            return Answer(stdout=json.dumps({"bgp-information": [{"bgp-peer": peers}]}))
        assert self.site.gateway is not None
        gateway = self.site.gateway
        asn = 65000 if sick else gateway.asn
        base = [
            "set version 21.4R3-S5.4",
            "set system host-name srx320",
            f"set routing-options autonomous-system {asn}",
            f"set security zones security-zone {gateway.zone} interfaces {gateway.interface} host-inbound-traffic system-services ssh",
        ]
        lines: list[str] = []
        if self.mood in ("finished", "test"):
            for cluster in self.site.clusters:
                lines += settled(junos.wanted(self.site, cluster), frozenset(base))
                lines += [f'{line} "$9$abc"' for line, _ in junos.secrets(self.site, cluster)]
        return Answer(stdout="".join(f"{line}\n" for line in [*base, *dict.fromkeys(lines)]))

    def _git(self, query: GitRead) -> Answer:
        if self.mood == "foreign":
            return Answer(unreachable="git: fatal: Authentication failed for 'https://git.example.org/'")
        if self.mood == "maintenance":
            return Answer(body={"head": None, "files": {}, "rendered": {}})
        files = {path: text for path, text in self.git.items() if path.startswith(query.under)}
        rendered = {path: sha256(text) for path, text in files.items()}
        if self.mood == "sick":
            return Answer(body={"head": SHA, "files": dict.fromkeys(files, "kind: Else\n"), "rendered": {}})
        return Answer(body={"head": SHA, "files": files, "rendered": rendered})

    def _http(self, url: str) -> Answer:
        sick = self.mood == "sick"
        headers = {"headers": {"date": "Fri, 02 Jan 2026 09:00:00 GMT" if sick else "Fri, 02 Jan 2026 03:04:06 GMT", "x-oauth-scopes": "gist" if sick else "repo, read:org"}}
        if url.endswith("/versions"):
            return Answer(status=200, body=["v1.0.0"] if sick else [self.site.versions.talos], extra=headers)
        if url.endswith("/official"):
            return Answer(status=200, body=[{"name": name} for name in self.site.factory.extensions], extra=headers)
        if "/pxe/" in url:
            return Answer(status=404, stdout="not found") if self.mood in ("sick", "maintenance") else Answer(status=200, stdout=f"#!ipxe\nkernel https://x/image/{factory.schematic_id(self.site)}/k\n")
        assert "/repos/" in url
        if self.mood == "maintenance":
            return Answer(status=404, body={"message": "Not Found"}, extra=headers)
        return Answer(status=200, body={"permissions": {"push": not sick}}, extra=headers)

    def _file(self, path: str) -> Answer:
        if self.mood == "maintenance":
            return Answer(body={"exists": False, "mode": None, "sha256": None, "text": None})
        text = self.files.get(path, "")
        if path.endswith(".xml"):
            failures = 3 if self.mood == "sick" else 0
            text = f'<testsuites><testsuite name="connectivity test" tests="70" errors="0" failures="{failures}" skipped="4"></testsuite></testsuites>'
        if self.mood == "sick":
            return Answer(body={"exists": True, "mode": 0o644, "sha256": "0", "text": text if path.endswith(".xml") else "old"})
        return Answer(body={"exists": True, "mode": 0o600, "sha256": hashlib.sha256(text.encode()).hexdigest(), "text": text})

    def _secret(self, query: SecretRead) -> Answer:
        if self.mood in ("maintenance", "sick") and not query.fields:
            return Answer(body={"exists": False, "fields": {}})
        return Answer(body={"exists": True, "fields": {name: hashlib.sha256(CA.encode()).hexdigest() for name in query.fields}})


def _talos(name: str | int, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"metadata": {"id": name, "namespace": "runtime"}, "node": "", "spec": dict(spec)}


def _disk(name: str, selector: DiskSelector) -> dict[str, Any]:
    kind = selector.type or "nvme"
    spec = {
        "dev_path": f"/dev/{name}",
        "size": _size(selector.size),
        "serial": selector.serial or f"SERIAL-{name}",
        "wwid": selector.wwid or f"wwid-{name}",
        "model": (selector.model or "Model").replace("*", "X"),
        "transport": {"nvme": "nvme", "sd": "mmc"}.get(kind, "sata"),
        "rotational": kind == "hdd",
        "readonly": False,
        "cdrom": False,
    }
    return _talos(name, spec)


def _size(wanted: str | None) -> int:
    """A size that fits a comparison such as `<= 512GB`."""
    match = re.search(r"(\d+)\s*([GT])", wanted or "500GB")
    assert match is not None
    size = int(match[1]) * {"G": 10**9, "T": 10**12}[match[2]]
    return size + 10**9 if ">" in (wanted or "") else size - 10**9


def _object(kind: str, name: str, *, conditions: Mapping[str, str] | None = None, message: str = "m") -> dict[str, Any]:
    shown = [{"type": t, "status": s, "reason": "R", "message": message, "observedGeneration": 1} for t, s in (conditions or {}).items()]
    return {"apiVersion": "x/v1", "kind": kind, "metadata": {"name": name, "generation": 1}, "status": {"conditions": shown}}


def _workload(kind: str, name: str, ready: int) -> dict[str, Any]:
    found = _object(kind, name)
    found["spec"] = {"replicas": 2}
    found["status"] = {
        "observedGeneration": 1,
        "desiredNumberScheduled": 2,
        "updatedNumberScheduled": 2,
        "numberAvailable": ready,
        "updatedReplicas": 2,
        "availableReplicas": ready,
    }
    return found

