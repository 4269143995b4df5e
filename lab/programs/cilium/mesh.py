"""`cilium clustermesh`: status, and the CLI way to enable, connect, disconnect and disable it."""

from __future__ import annotations

import json
from typing import Any

from lab.cilium import ca
from lab.cilium.common import ready
from lab.helm import values as val
from lab.programs.access import ConfigError
from lab.programs.call import Call
from lab.programs.cilium.base import REFUSED, Client, Fail, client, until
from lab.programs.cilium.commands import change_values

TITLE = "Unable to determine status: "
API = "clustermesh-apiserver"


async def _access(found: Client) -> dict[str, Any]:
    """How others reach this cluster's control plane. Raises Fail with what is missing."""
    service = await found.port.get("v1/services", API, found.namespace)
    if service is None:
        raise Fail(f'unable to get clustermesh service "{API}": services "{API}" not found')
    settings = await found.config()
    secret = await found.port.get("v1/secrets", f"{API}-remote-cert", found.namespace)
    if secret is None:
        raise Fail(f'unable to get client secret to access clustermesh service: unable to get secret "{API}-remote-cert" and no fallback secret: secrets "{API}-remote-cert" not found')
    spec = service["spec"]
    nodes, _ = await found.port.list("v1/nodes")
    addresses = [a["address"] for n in nodes for a in n.get("status", {}).get("addresses") or () if a["type"] == "InternalIP"]
    ingress = [i["ip"] for i in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or () if "ip" in i]
    kind, port = spec.get("type", "ClusterIP"), spec["ports"][0]
    ips = addresses if kind == "NodePort" else ingress if kind == "LoadBalancer" else [spec.get("clusterIP", "")]
    if not ips:
        raise Fail("unable to derive service IPs automatically")
    data = secret.get("data") or {}
    return {
        "service_type": kind, "service_ips": ips, "service_port": port.get("nodePort", port["port"]) if kind == "NodePort" else port["port"], "cluster_id": int(settings.get("cluster-id", 0)),
        "cluster_name": settings.get("cluster-name", ""), "ca": ca.unb64(data.get("ca.crt", "")), "client_cert": ca.unb64(data.get("tls.crt", "")), "client_key": ca.unb64(data.get("tls.key", "")),
        "external_workload_cert": None, "external_workload_key": None, "tunnel": settings.get("tunnel-protocol", ""), "max_connected_clusters": int(settings.get("max-connected-clusters", 255)),
    }  # fmt: skip


async def _deployment(found: Client) -> dict[str, Any]:
    obj = await found.port.get("apps/v1/deployments", API, found.namespace)
    if obj is None:
        raise Fail(f'deployments.apps "{API}" not found')
    status, wanted = obj.get("status") or {}, obj["spec"].get("replicas", 1)
    if status.get("readyReplicas", 0) < wanted or status.get("observedGeneration", 0) < obj["metadata"].get("generation", 1):
        raise Fail(f"only {status.get('availableReplicas', 0)} of {wanted} replicas are available")
    return obj


async def _connectivity(found: Client, *, kvstoremesh: bool) -> dict[str, Any]:
    """What agents (or kvstoremesh instances) say of the remote clusters; zero values are left out."""
    inside = found.inside
    pods = await found.pods(f"k8s-app={API}" if kvstoremesh else "k8s-app=cilium")
    clusters: dict[str, dict[str, int]] = {}
    errors: dict[str, dict[str, Any]] = {}
    per_pod, not_ready = [], 0
    for pod in pods:
        name = pod["metadata"]["name"]
        problem = await found.exec_problem(pod["spec"].get("nodeName", ""))
        if problem or not ready(pod) or inside is None:
            errors.setdefault(name, {})[""] = {"Errors": [problem or f"unable to determine status of cilium pod {name!r}: container not found"], "Warnings": [], "Disabled": False}
            not_ready += 1
            continue
        up = 0
        for link in inside.mesh.agent_view():
            count = clusters.setdefault(link["name"], {})
            count["configured"] = count.get("configured", 0) + 1
            if link["ready"]:
                count["connected"] = count.get("connected", 0) + 1
                up += 1
            else:
                errors.setdefault(name, {})[link["name"]] = {"Errors": [f"remote cluster {link['name']!r}: {link['status']}".replace("'", '"')], "Warnings": [], "Disabled": False}
        per_pod.append(up)
        not_ready += up < len(inside.mesh.links)
    numbers = {"min": min(per_pod, default=0), "avg": sum(per_pod) / len(per_pod) if per_pod else 0, "max": max(per_pod, default=0)}
    out: dict[str, Any] = {"connected": {k: v for k, v in numbers.items() if v}, "clusters": clusters, "total": len(pods), "not_ready": not_ready, "errors": errors}
    return {k: v for k, v in out.items() if v or k == "connected"}


async def status(call: Call) -> None:
    """Access information, connectivity of agents and of kvstoremesh; in JSON a failed wait still exits 0."""
    found = client(call)
    out: dict[str, Any] = {}
    last: list[str] = [""]
    as_data, begin = call.flags["output"] == "json", call.clock.seconds()
    limit = call.flags["wait-duration"] if call.flags["wait"] else 0.0

    async def accessible() -> bool:
        try:
            out["access_information"] = await _access(found)
            out["deployment"] = await _deployment(found)
        except Fail as error:
            last[0] = str(error)
            if call.flags["wait"] and call.clock.seconds() - begin < limit:
                call.err(f"⌛ Waiting ({int(call.clock.seconds() - begin)}s) for access information: {error}\n")
            return False
        except REFUSED as error:
            raise Fail(f'{TITLE} unable to retrieve ConfigMap "cilium-config": {error}') from error
        return True

    try:
        await found.config()
    except REFUSED as error:
        raise Fail(f'{TITLE} unable to retrieve ConfigMap "cilium-config": {error}') from error
    if not await until(call, limit, accessible, every=10.0):
        raise Fail(f"{TITLE} {'timeout while waiting for condition, last error: ' if call.flags['wait'] else ''}{last[0]}")
    service = out["access_information"]
    if not as_data:
        call.out(f"✅ Service \"{API}\" of type \"{service['service_type']}\" found\n✅ Cluster access information is available:\n")
        call.out("".join(f"  - {ip}:{service['service_port']}\n" for ip in service["service_ips"]) + f'✅ Deployment {API} is ready\n')
    kvstoremesh = any(c["name"] == "kvstoremesh" for c in out.pop("deployment")["spec"]["template"]["spec"]["containers"])

    async def connected() -> bool:
        out["connectivity"] = await _connectivity(found, kvstoremesh=False)
        if kvstoremesh:
            out["kvstoremesh"] = {"enabled": True, "status": await _connectivity(found, kvstoremesh=True)}
        wrong = out["connectivity"].get("errors") or (out.get("kvstoremesh") or {}).get("status", {}).get("errors")
        if wrong and call.flags["wait"]:
            call.err(f"⌛ Waiting ({int(call.clock.seconds() - begin)}s) for clusters to be connected: {len(wrong)} nodes are not ready\n")
        return not wrong

    good = await until(call, max(limit - (call.clock.seconds() - begin), 0.0), connected, every=10.0)
    if as_data:
        call.out(json.dumps(out, indent=1) + "\n")
    else:
        _say(call, out)
        if not good:
            raise Fail(f"{TITLE} Unable to determine status: {'timeout while waiting for condition, last error: ' if call.flags['wait'] else ''}some nodes are not ready")


def _say(call: Call, out: dict[str, Any]) -> None:
    if "kvstoremesh" in out:
        call.out("ℹ️  KVStoreMesh is enabled\n")
    found = out["connectivity"]
    total, clusters = found.get("total", 0), found.get("clusters", {})
    numbers = found["connected"]
    text = f"[min:{numbers.get('min', 0)} / avg:{numbers.get('avg', 0):.1f} / max:{numbers.get('max', 0)}]"
    mark = "⚠️ " if found.get("not_ready") else "✅"
    call.out(f"\n{mark} {total - found.get('not_ready', 0)}/{total} nodes are connected to all clusters {text}\n" if clusters else "")
    for name, count in sorted(clusters.items()):
        call.out(f"🔌 Cluster Connections:\n  - {name}: {count.get('configured', 0)}/{total} configured, {count.get('connected', 0)}/{total} connected\n")
    if not clusters:
        call.out("\n🔌 No cluster connected\n")
    call.out("\n🔀 Global services: [ min:0 / avg:0.0 / max:0 ]\n\n")
    for pod, by_cluster in found.get("errors", {}).items():
        for cluster, entry in by_cluster.items():
            call.err(f"❌ {pod}: {cluster}: {'; '.join(entry['Errors'])}\n")


async def enable(call: Call) -> None:
    """Deploy the control plane by an upgrade of the release."""
    found = client(call)
    kind = call.flags["service-type"]
    if kind == "NodePort":
        call.out("⚠️  Using service type NodePort may fail when nodes are removed from the cluster!\n")
    elif kind not in ("", "LoadBalancer", "ClusterIP"):
        raise Fail(f"Unable to enable ClusterMesh: service type \"{kind}\" is not valid")
    elif kind == "ClusterIP":
        call.out("⚠️  Using service type ClusterIP may prevent clusters from connecting\n")
    if not kind:
        raise Fail("Unable to enable ClusterMesh: cannot auto-detect service type, please specify using '--service-type' option")
    change: val.Values = {"clustermesh": {"useAPIServer": True, "apiserver": {"service": {"type": kind}, "tls": {"auto": {"enabled": True, "method": "cronJob", "schedule": "0 0 1 */4 *"}}}}}
    if "enable-kvstoremesh" in call.given:
        change["clustermesh"]["apiserver"]["kvstoremesh"] = {"enabled": bool(call.flags["enable-kvstoremesh"])}
    await change_values(call, found, change, "Unable to enable ClusterMesh")


async def disable(call: Call) -> None:
    """Remove the control plane."""
    await change_values(call, client(call), {"clustermesh": {"useAPIServer": False}}, "Unable to disable ClusterMesh")


async def _release_values(found: Client) -> val.Values:
    history = await found.helm().storage.history(found.call.flags["helm-release-name"])
    if not history:
        found.call.out("❌ Unable to find Helm release for the target cluster\n")
        raise Fail("Unable to connect cluster: release: not found")
    return val.coalesce(history[-1].chart.get("values") or {}, history[-1].config)


def _remote(call: Call, context: str) -> Client:
    """The destination: its context comes from KUBECONFIG or the default file alone, whatever --kubeconfig says."""
    try:
        return client(call, context, "")
    except ConfigError as error:
        raise Fail(f'Unable to connect cluster: unable to create Kubernetes client for destination context "{context}": {error}') from error


async def connect(call: Call) -> None:
    """Tell each side of the other."""
    title = "Unable to connect cluster"
    here = client(call)
    await _release_values(here)
    for context in call.flags["destination-context"]:
        there = _remote(call, context)
        try:
            call.out("✨ Extracting access information of cluster " + (await _release_values(here))["cluster"]["name"] + "...\n")
            mine = await _access(here)
            call.out("✨ Extracting access information of cluster " + (await _release_values(there))["cluster"]["name"] + "...\n")
            theirs = await _access(there)
        except Fail as error:
            raise Fail(f"{title}: {error}" if not str(error).startswith(title) else str(error)) from error
        except REFUSED as error:
            raise Fail(f"{title}: {error}") from error
        _refuse_alike(title, mine, theirs)
        if mine["ca"].strip() != theirs["ca"].strip():
            call.out("⚠️ Cilium CA certificates do not match between clusters. Multicluster features will be limited!\n")
        call.out(f"ℹ️ Configuring Cilium in cluster {mine['cluster_name']} to connect to cluster {theirs['cluster_name']}\n")
        await _configure(call, here, theirs, call.flags["destination-endpoint"], embed=mine["ca"].strip() != theirs["ca"].strip(), title=title)
        if call.flags["connection-mode"] != "unicast":
            call.out(f"ℹ️ Configuring Cilium in cluster {theirs['cluster_name']} to connect to cluster {mine['cluster_name']}\n")
            await _configure(call, there, mine, call.flags["source-endpoint"], embed=mine["ca"].strip() != theirs["ca"].strip(), title=title)
        call.out(f"✅ Connected cluster {mine['cluster_name']} <=> {theirs['cluster_name']}!\n")


def _refuse_alike(title: str, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    if mine["cluster_name"] == theirs["cluster_name"]:
        raise Fail(f"{title}: remote and local cluster have the same, non-unique name: {mine['cluster_name']}")
    if mine["cluster_id"] == theirs["cluster_id"]:
        raise Fail(f"{title}: remote and local cluster have the same, non-unique ID: {mine['cluster_id']}")
    if not mine["cluster_id"] or not theirs["cluster_id"]:
        raise Fail(f"{title}: local or remote cluster has reserved cluster ID (0)")
    if mine["max_connected_clusters"] != theirs["max_connected_clusters"]:
        raise Fail(f"{title}: max connected clusters mismatch: {mine['max_connected_clusters']} != {theirs['max_connected_clusters']}")


async def _configure(call: Call, side: Client, other: dict[str, Any], endpoints: list[str], *, embed: bool, title: str) -> None:
    ips = [e.rsplit(":", 1)[0] for e in endpoints] or other["service_ips"][:1]
    port = int(endpoints[0].rsplit(":", 1)[1]) if endpoints else other["service_port"]
    entry: dict[str, Any] = {"name": other["cluster_name"], "ips": ips, "port": port}
    if embed:
        entry["tls"] = {"cert": ca.b64(other["client_cert"]), "key": ca.b64(other["client_key"]), "caCert": ca.b64(other["ca"])}
    have = (await _release_values(side))["clustermesh"]["config"]["clusters"]
    clusters = [c for c in (have if isinstance(have, list) else []) if c["name"] != entry["name"]] + [entry]
    await change_values(call, side, {"clustermesh": {"config": {"enabled": True, "clusters": clusters}}}, title)


async def disconnect(call: Call) -> None:
    """Undo `connect` on both sides."""
    title = "Unable to disconnect clusters"
    here = client(call)
    for context in call.flags["destination-context"]:
        there = _remote(call, context)
        names = [(await _release_values(side))["cluster"]["name"] for side in (here, there)]
        for side, other in ((here, names[1]), (there, names[0])):
            have = (await _release_values(side))["clustermesh"]["config"]["clusters"]
            left = [c for c in (have if isinstance(have, list) else []) if c["name"] != other]
            await change_values(call, side, {"clustermesh": {"config": {"enabled": bool(left), "clusters": left}}}, title)
        call.out(f"✅ Disconnected clusters {names[0]} and {names[1]}.\n")


COMMANDS = {
    "clustermesh_status": status, "clustermesh_enable": enable, "clustermesh_disable": disable, "clustermesh_connect": connect, "clustermesh_disconnect": disconnect,
}  # fmt: skip
