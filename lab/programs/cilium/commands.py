"""`cilium` bgp, config, install, upgrade, uninstall, hubble, encryption, features and version."""

from __future__ import annotations

import json
from typing import Any

from lab.cilium.common import ready
from lab.helm import goyaml
from lab.helm import values as val
from lab.helm.engine import HelmError, Options
from lab.kube.port import KubeError
from lab.programs.access import Unreachable
from lab.programs.call import Call
from lab.programs.cilium.base import CLI, DEFAULT_IMAGE, REFUSED, Client, Fail, chart, client, until, values
from lab.programs.tabwriter import align


async def version(call: Call) -> None:
    """Versions of the program and of what runs; exit 0 whatever it finds."""
    call.out(f"cilium-cli: {CLI} compiled with go1.25.0 on linux/amd64\ncilium image (default): {DEFAULT_IMAGE}\ncilium image (stable): unknown\n")
    if call.flags["client"]:
        return
    try:
        found = client(call)
        found.port.check("/version")
        history = await found.helm().storage.history(call.flags["helm-release-name"])
        running = history[-1].app_version if history else "unknown. Unable to obtain cilium version. Reason: release: not found"
    except Unreachable as error:
        running = f"unknown. Unable to obtain cilium version. Reason: Kubernetes cluster unreachable: {error}"
    except KubeError as error:
        running = f"unknown. Unable to obtain cilium version. Reason: {error}"
    call.out(f"cilium image (running): {running}\n")


async def config_view(call: Call) -> None:
    """The ConfigMap."""
    found = client(call)
    try:
        data = await found.config()
    except REFUSED as error:
        raise Fail(f"Unable to view config:  unable get ConfigMap \"cilium-config\": {error}") from error
    call.out("".join(f"{k:<50}{v}\n" for k, v in sorted(data.items())))


async def config_set(call: Call) -> None:
    """Write one key, and restart the agents."""
    found = client(call)
    key, value = call.args[0], call.args[1]
    call.mutates()
    call.out(f"✨ Patching ConfigMap cilium-config with {key}={value}...\n")
    try:
        await found.port.patch("v1/configmaps", "cilium-config", {"data": {key: value}}, found.namespace)
        await _restart(call, found)
    except REFUSED as error:
        raise Fail(f"Unable to set config:  unable to patch ConfigMap: {error}") from error


async def config_delete(call: Call) -> None:
    """Remove one key, and restart the agents."""
    found = client(call)
    call.mutates()
    call.out(f"✨ Removing key {call.args[0]} from ConfigMap cilium-config...\n")
    try:
        await found.port.patch("v1/configmaps", "cilium-config", {"data": {call.args[0]: None}}, found.namespace)
        await _restart(call, found)
    except REFUSED as error:
        raise Fail(f"Unable to delete config:  {error}") from error


async def _restart(call: Call, found: Client) -> None:
    if not call.flags.get("restart", True):
        call.out("⚠️  Restart Cilium on all nodes for the change to take effect\n")
        return
    call.out("♻️  Restarted Cilium pods\n")
    for pod in await found.pods("k8s-app=cilium"):
        await found.port.delete("v1/pods", pod["metadata"]["name"], found.namespace)


# --- BGP -------------------------------------------------------------------------------------------------------------


async def _per_node(call: Call, found: Client, what: str) -> dict[str, list[dict[str, Any]]]:
    """Each node's peers, by asking its agent; agents that fail are named on stderr, and the exit status stays 0."""
    try:
        agents = await found.pods(call.flags["agent-pod-selector"])
    except REFUSED as error:
        raise Fail(f"Unable to get {what}: unable to list Cilium pods: {error}") from error
    out: dict[str, list[dict[str, Any]]] = {}
    errors = []
    for pod in agents:
        node = pod["spec"].get("nodeName", "")
        if call.flags["node"] and node != call.flags["node"]:
            continue
        name = pod["metadata"]["name"]
        problem = await found.exec_problem(node)
        settings = await found.config()
        if not problem and settings.get("enable-bgp-control-plane") != "true":
            problem = f'command failed (pod={found.namespace}/{name}, container=cilium-agent): command terminated with exit code 1: "Error: BGP Control Plane disabled\\n"'
        if problem or not ready(pod) or found.inside is None:
            problem = problem or f"command failed (pod={found.namespace}/{name}, container=cilium-agent): container not running"
            errors.append(f"failed to fetch bgp state from {name}: {problem}")
        else:
            out[node] = found.inside.peers(node)
    if errors:
        call.err("Errors by retrieving routes: " + "\n".join(errors) + "\n\n")
    return dict(sorted(out.items()))


async def bgp_peers(call: Call) -> None:
    """Sessions of every node."""
    found = client(call)
    peers = await _per_node(call, found, "peering status")
    if call.flags["output"] == "json":
        call.out(json.dumps(peers, indent=1) + "\n")
        return
    rows = [["Node", "Local AS", "Peer AS", "Peer Address", "Session State", "Uptime", "Family", "Received", "Advertised"]]
    for node, sessions in peers.items():
        for s in sessions:
            for i, f in enumerate(s["families"]):
                head = [node, str(s["local-asn"]), str(s["peer-asn"]), s["peer-address"], s["session-state"], duration(s.get("uptime-nanoseconds", 0))]
                rows.append([*(head if not i else [""] * 6), f"{f['afi']}/{f['safi']}", str(f.get("received", 0)), str(f.get("advertised", 0))])
    call.out(align([[*r[:-1], r[-1]] if i == 0 else [*r, ""] for i, r in enumerate(rows)], padding=3))


def duration(nanoseconds: int) -> str:
    """As Go prints a Duration in whole seconds."""
    seconds = nanoseconds // 10**9
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{seconds}s"


async def bgp_routes(call: Call) -> None:
    """Routes of every node: `available|advertised ipv4|ipv6 unicast [peer ADDRESS]`."""
    found = client(call)
    which, family = (call.args + ["available", "ipv4"][len(call.args) :])[:2] if len(call.args) < 2 else call.args[:2]
    if which not in ("available", "advertised"):
        raise Fail(f'Unable to get routes: invalid route type "{which}"')
    peer = call.args[call.args.index("peer") + 1] if "peer" in call.args and call.args.index("peer") + 1 < len(call.args) else ""
    sessions = await _per_node(call, found, "routes")
    out: dict[str, list[dict[str, Any]]] = {}
    for node in sessions:
        routes = []
        for one in found.inside.bgp.peers.get(node, ()) if found.inside else ():
            up = found.inside is not None and found.inside.bgp.session(one).established
            if (peer and one.side.peer_address != peer) or (which == "advertised" and not up):
                continue
            for prefix in one.side.routes:
                if (":" in prefix) == (family == "ipv6"):
                    routes.append(_route(call, prefix, one.side.peer_address if which == "advertised" else "", one.side.local_asn))
        out[node] = list({(r["prefix"], r.get("neighbor", "")): r for r in routes}.values())
    if call.flags["output"] == "json":
        call.out(json.dumps(out, indent=1) + "\n")
        return
    rows = [["Node", "VRouter", *(["Peer"] if which == "advertised" else []), "Prefix", "NextHop", "Age", "Attrs"]]
    for node, found_routes in out.items():
        for i, r in enumerate(found_routes):
            rows.append([node if not i else "", str(r["router-asn"]), *([r["neighbor"]] if which == "advertised" else []), r["prefix"], "0.0.0.0", duration(r["paths"][0]["age-nanoseconds"]), "[{Origin: i} {Nexthop: 0.0.0.0}]"])
    call.out(align(rows, padding=3))


def _route(call: Call, prefix: str, neighbor: str, asn: int) -> dict[str, Any]:
    path = {"age-nanoseconds": int(call.clock.seconds() * 1e9), "best": True, "nlri": {"base64": ""}, "path-attributes": [{"base64": ""}]}
    return {**({"neighbor": neighbor} if neighbor else {}), "paths": [path], "prefix": prefix, "router-asn": asn}


# --- install ---------------------------------------------------------------------------------------------------------


async def _detected(call: Call, found: Client, title: str, *, quiet: bool) -> val.Values:
    """What the program finds out by itself, and says, before the caller's own values."""
    say = (lambda text: None) if quiet else call.out
    own = values(call, title)
    version = call.flags["version"] or DEFAULT_IMAGE
    say(f"ℹ️  Using Cilium version {version.removeprefix('v')}\n")
    auto: val.Values = {"operator": {"replicas": 1}}
    name = (own.get("cluster") or {}).get("name")
    if not name:
        name = found.target.cluster_name or "default"
        say(f"🔮 Auto-detected cluster name: {name}\n")
    auto["cluster"] = {"name": name}
    auto |= {"routingMode": "tunnel", "tunnelProtocol": "vxlan"}
    if "kubeProxyReplacement" not in own:
        try:
            proxy = await found.port.get("apps/v1/daemonsets", "kube-proxy", "kube-system")
        except REFUSED:
            say("⏭️ Skipping auto kube-proxy detection\n")
        else:
            if proxy is None:
                say("🔮 Auto-detected kube-proxy has not been installed\nℹ️  Cilium will fully replace all functionalities of kube-proxy\n")
                host, _, port = found.target.server.removeprefix("https://").partition(":")
                auto |= {"kubeProxyReplacement": True, "k8sServiceHost": host, "k8sServicePort": int(port or 443)}
            else:
                say("🔮 Auto-detected kube-proxy has been installed\n")
    return val.merge(auto, own)


async def install(call: Call) -> None:
    """A Helm install of the chart, or its rendering."""
    found = client(call)
    title = "Unable to install Cilium"
    dry_values, dry = call.flags["dry-run-helm-values"], call.flags["dry-run"]
    merged = await _detected(call, found, title, quiet=dry or dry_values)
    try:
        found.port.check("/version")
    except REFUSED as error:
        raise Fail(f"{title}: Kubernetes cluster unreachable: {error}") from error
    made = chart(call.flags["version"] or DEFAULT_IMAGE)
    if dry_values:
        call.out(goyaml.dump(merged) + "\n")
        return
    helm = found.helm()
    name = call.flags["helm-release-name"]
    try:
        if dry:
            call.out((await helm.render(made, name, merged, 1, upgrade=False)).manifest)
            return
        call.mutates()
        await helm.install(name, made, merged, Options(wait=bool(call.flags["wait"]), timeout=call.flags["wait-duration"]))
    except (HelmError, *REFUSED) as error:
        raise Fail(f"{title}: {error}") from error


async def upgrade(call: Call) -> None:
    """A Helm upgrade of the chart."""
    found = client(call)
    title = "Unable to upgrade Cilium"
    merged = await _detected(call, found, title, quiet=False)
    made = chart(call.flags["version"] or DEFAULT_IMAGE)
    if not call.flags["dry-run"]:
        call.mutates()
    try:
        options = Options(wait=bool(call.flags["wait"]), timeout=call.flags["wait-duration"], dry_run=bool(call.flags["dry-run"]), reuse_values=bool(call.flags["reuse-values"]), reset_values=bool(call.flags["reset-values"]))
        await found.helm().upgrade(call.flags["helm-release-name"], made, merged, options)
    except (HelmError, *REFUSED) as error:
        raise Fail(f"{title}: {error}") from error


async def uninstall(call: Call) -> None:
    """The test namespaces, then the release."""
    found = client(call)
    call.mutates()
    for step in range(2):
        call.out("🔥 Deleting pods in cilium-test namespace...\n🔥 Deleting cilium-test namespace...\n")
        if not step:
            call.out("⌛ Uninstalling Cilium\n")
            try:
                await found.helm().uninstall(call.flags["helm-release-name"], Options(wait=bool(call.flags["wait"])))
                problem = ""
            except (HelmError, *REFUSED) as error:
                problem = str(error)
    if problem:
        raise Fail(f"Unable to uninstall Cilium:  {problem}")
    call.out("✅ Cilium was successfully uninstalled.\n")


# --- Hubble and the rest ---------------------------------------------------------------------------------------------


async def change_values(call: Call, found: Client, change: val.Values, title: str) -> None:
    """Upgrade the release with its own chart and values plus `change`."""
    helm = found.helm()
    try:
        history = await helm.storage.history(call.flags["helm-release-name"])
        if not history:
            raise HelmError("release: not found")
        call.mutates()
        await helm.upgrade(call.flags["helm-release-name"], chart(history[-1].chart_version), change, Options(reuse_values=True))
    except (HelmError, *REFUSED) as error:
        raise Fail(f"{title}: {error}") from error


async def hubble_enable(call: Call) -> None:
    """Switch on Hubble, its relay, and the UI where asked for."""
    change: val.Values = {"hubble": {"enabled": True, "relay": {"enabled": bool(call.flags["relay"])}}}
    if call.flags["ui"]:
        change["hubble"]["ui"] = {"enabled": True}
    await change_values(call, client(call), change, "Unable to enable Hubble")


async def hubble_disable(call: Call) -> None:
    """Switch off Hubble."""
    await change_values(call, client(call), {"hubble": {"enabled": False, "relay": {"enabled": False}, "ui": {"enabled": False}}}, "Unable to disable Hubble")


async def hubble_port_forward(call: Call) -> None:
    """Forwards until it is stopped."""
    found = client(call)
    try:
        service = await found.port.get("v1/services", "hubble-relay", found.namespace)
    except REFUSED as error:
        raise Fail(f'Unable to port forward: failed to port forward: failed to get service "hubble-relay": {error}') from error
    if service is None:
        raise Fail('Unable to port forward: failed to port forward: failed to get service "hubble-relay": services "hubble-relay" not found')
    call.out(f"ℹ️  Hubble Relay is available at 127.0.0.1:{call.flags['port-forward']}\n")

    async def never() -> bool:
        return False

    await until(call, 1e9, never, every=3600)


async def encryption_status(call: Call) -> None:
    """Whether traffic is encrypted, by node."""
    found = client(call)
    try:
        agents = await found.pods("k8s-app=cilium")
    except REFUSED as error:
        raise Fail(f"Unable to print encryption status: {error}") from error
    if not agents:
        raise Fail("Unable to print encryption status: unable to find Cilium pods")
    call.out(f"Encryption: Disabled ({len(agents)}/{len(agents)} nodes)\n")


async def features_status(call: Call) -> None:
    """Which features are on, as the metrics say."""
    found = client(call)
    try:
        await found.pods("k8s-app=cilium")
    except REFUSED as error:
        raise Fail(f"Unable to print features: {error}") from error
    call.out(
        "Cluster-wide Component Detection\nUniform  Name                Labels  cluster-wide  \nYes      kube_proxy_enabled          0             \n"
        "Yes      node_local_dns              0             \nYes      openshift_enabled           0             \n\nCilium Operators\nUniform  Name  Labels  \n\n"
        "Cilium Agents\nUniform  Name  Labels  \n"
    )


COMMANDS = {
    "version": version, "config_view": config_view, "config_set": config_set, "config_delete": config_delete, "bgp_peers": bgp_peers, "bgp_routes": bgp_routes,
    "install": install, "upgrade": upgrade, "uninstall": uninstall, "hubble_enable": hubble_enable, "hubble_disable": hubble_disable,
    "hubble_port_forward": hubble_port_forward, "encryption_status": encryption_status, "features_status": features_status,
}  # fmt: skip
