"""Network: Cilium by Helm, address pools, BGP with the gateway (or L2 announcements), and the proof that pods can talk.

Plan: days 3-4 (infra), 10-11 (apps). Flux cannot install the CNI that its own pods need (foundation.md 5.1).
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from inventory.model import Cluster, Gateway, Site
from orchestrator.model.action import Await, Command, JunosChange, Mark, Objects, SecretField, WriteFile
from orchestrator.model.check import Check, all_of
from orchestrator.model.phase import Phase, Step
from orchestrator.model.query import FileRead, Secret, SecretRead
from orchestrator.tools import cilium, helm, junos, kube, marks, talosctl
from orchestrator.tools.answers import careful, digest
from orchestrator.tools.paths import Local
from orchestrator.tools.text import dump
from phases import cilium_config, machine_config
from phases.calendar import days

LONG = timedelta(minutes=2)


def phase(site: Site, cluster: Cluster) -> Phase:
    """Secrets before the chart that reads them, CRDs before their objects, both ends of BGP before its sessions."""
    build = _Builder(site, cluster)
    return Phase(
        id=build.id,
        title=f"Network of {cluster.name}",
        week=cluster.week,
        days=build.days,
        needs=(f"talos@{cluster.name}",),
        steps=(
            build.namespace(),
            build.shared_ca(),
            *build.bgp_key(),
            build.cilium(),
            *build.pools(),
            *build.announcements(),
            *build.gateway(),
            build.connectivity_test(),
        ),
        gates=(
            build.rollout_gate(),
            build.status_gate(),
            build.ready_gate(),
            build.dns_gate(),
            build.crds_gate(),
            build.health_gate(),
            *build.pool_gates(),
            *build.session_gates(),
        ),
        preconditions=(build.no_other_cni(),),
        identity=(identity(site, cluster, build.id),),
        adr=("ADR-002",),
        summary="Cilium, load balancer addresses, BGP with the gateway, connectivity test",
    )


def identity(site: Site, cluster: Cluster, phase_id: str) -> Check:
    """Asked before the first change of every phase that works on a cluster's API (design.md promise 10)."""
    local = Local(cluster.name)
    others = tuple(node for node in site.nodes if node.cluster != cluster.name)
    return Check(
        id=f"{phase_id}/identity" if phase_id.endswith(f"@{cluster.name}") else f"{phase_id}/identity-{cluster.name}",
        title=f"the API behind context {cluster.name} to be {cluster.name}'s",
        ask=(kube.nodes(cluster.name),),
        judge=careful(partial(kube.judge_identity, site.nodes_of(cluster.name), others)),
        hint=f"kubectl --kubeconfig {local.kubeconfig} --context {cluster.name} get nodes -o wide",
        causes=("the kubeconfig of another cluster lies here", "a machine that is not in the inventory joined"),
        source="foundation.md 5.2",
    )


class _Builder:
    """The steps of one cluster."""

    def __init__(self, site: Site, cluster: Cluster) -> None:
        self.site, self.cluster, self.name = site, cluster, cluster.name
        self.days = days(cluster, "network").text
        self.id = f"network@{cluster.name}"
        self.local = Local(cluster.name)
        self.nodes = site.nodes_of(cluster.name)
        self.values = cilium_config.values(site, cluster)
        self.kubectl = f"kubectl --kubeconfig {self.local.kubeconfig} --context {cluster.name}"

    # --- before Cilium -----------------------------------------------------------------------------------------------

    def no_other_cni(self) -> Check:
        return Check(
            id=f"{self.id}/no-other-cni",
            title="no kube-proxy and no Flannel",
            ask=(kube.daemonset(self.name, "kube-proxy", "kube-system"), kube.daemonset(self.name, "kube-flannel", "kube-system")),
            judge=careful(lambda answers: all_of(tuple(kube.judge_absent((answer,)) for answer in answers))),
            hint=f"{self.kubectl} -n kube-system delete daemonset kube-proxy kube-flannel",
            causes=("the cluster was bootstrapped without the patches; Talos never deletes what it made",),
            source="foundation.md 5.2",
        )

    def namespace(self) -> Step:
        wanted = cilium_config.marks_namespace()
        return self._objects("namespace", "make the namespace of the marks", (wanted,), hint=f"{self.kubectl} get namespace bootstrap-system")

    def shared_ca(self) -> Step:
        ca = Secret(str(self.site.cilium_ca))
        wanted = cilium_config.ca_secret()
        fields = tuple((0, SecretField(("data", key), ca, key)) for key in ("ca.crt", "ca.key"))
        return Step(
            id=f"{self.id}/cilium-ca",
            title="put the mesh's shared CA where Cilium looks for it",
            days=self.days,
            goal=Check(
                id=f"{self.id}/cilium-ca",
                title="cilium-ca to be the shared one",
                ask=(kube.get(self.name, wanted), SecretRead(ca, ("ca.crt",))),
                judge=careful(kube.judge_ca),
                hint=f"{self.kubectl} -n kube-system get secret cilium-ca",
                causes=("Cilium was installed before the shared CA and made its own",),
                within=self.site.timing.unknown,
                source="foundation.md 8.2",
            ),
            actions=(Objects(self.name, (wanted,), fields),),
            notes=("plan: cluster.id for apps only -> name, id and the shared CA at the first install of every cluster (foundation.md 13, row 14)",),
        )

    def bgp_key(self) -> tuple[Step, ...]:
        if self.site.gateway is None or self.cluster.bgp is None or self.site.gateway.bgp_password is None:
            return ()
        wanted = cilium_config.bgp_secret()
        field = SecretField(("data", "password"), Secret(str(self.site.gateway.bgp_password)))
        return (
            Step(
                id=f"{self.id}/bgp-key",
                title="put the MD5 key of the BGP sessions where Cilium reads it",
                days=self.days,
                goal=Check(
                    id=f"{self.id}/bgp-key",
                    title="the key of the BGP sessions to be there",
                    ask=(kube.get(self.name, wanted),),
                    judge=careful(partial(kube.judge_secret_there, "password")),
                    hint=f"{self.kubectl} -n kube-system get secret {cilium_config.BGP_SECRET}",
                    within=self.site.timing.unknown,
                ),
                actions=(Objects(self.name, (wanted,), ((0, field),)),),
            ),
        )

    # --- Cilium ------------------------------------------------------------------------------------------------------

    def cilium(self) -> Step:
        """One repeatable form for the first install, a changed value and an interrupted run."""
        within = self.site.timing.cilium + helm.INSTALL_WITHIN
        return Step(
            id=f"{self.id}/cilium",
            title=f"install Cilium {self.site.versions.cilium} by Helm",
            days=self.days,
            goal=Check(
                id=f"{self.id}/cilium",
                title=f"Cilium {self.site.versions.cilium} to be installed",
                ask=(helm.listed(self.name), helm.values(self.name), helm.release_object(self.name)),
                judge=careful(partial(helm.judge_installed, self.site.versions.cilium, self.values)),
                hint=f"helm --kubeconfig {self.local.kubeconfig} --kube-context {self.name} -n kube-system status cilium",
                causes=("the chart cannot be fetched", "images are still being pulled", "a hook (certgen) does not end"),
                within=self.site.timing.cilium,
                hears_silence=True,
                source="foundation.md 5.2",
            ),
            actions=(
                WriteFile(self.local.values, dump(self.values)),
                helm.forget_interrupted(self.name),
                Command(helm.upgrade(self.site, self.name), within=within),
                Await(self._rollout(f"{self.id}/rolled-out")),
            ),
            settle=self.site.timing.cilium,
            reversible="compensable",
            notes=(
                "plan: Cilium through flux bootstrap -> Helm first, Flux adopts it (foundation.md 13, row 12)",
                "plan: Cilium 1.18+ -> pinned below 1.19 (row 33); Hubble's relay and exporter from the first day (row 34)",
            ),
        )

    def _crds(self, name: str, wanted: tuple[str, ...]) -> Check:
        return Check(
            id=name,
            title=f"{len(wanted)} kinds of Cilium to be served",
            ask=(kube.crds(self.name),),
            judge=careful(partial(kube.judge_crds, wanted)),
            hint=f"{self.kubectl} -n kube-system logs deploy/cilium-operator",
            causes=("the operator makes them when it starts: it is not running", "BGP is off in the values"),
            within=self.site.timing.crds,
            source="foundation.md 5.4",
        )

    # --- addresses and routes ----------------------------------------------------------------------------------------

    def pools(self) -> tuple[Step, ...]:
        wanted = cilium_config.pools(self.cluster)
        if not wanted:
            return ()
        before = Await(self._crds(f"{self.id}/pool-kinds", (cilium.POOL_CRD,)))
        note = "plan: pools 'different range' -> outside of the node network, one per cluster, else nobody answers for them (foundation.md 13, rows 15, 16)"
        return (self._objects("pools", "make the pools of load balancer addresses", wanted, before=(before,), hint=f"{self.kubectl} get ciliumloadbalancerippools", notes=(note,)),)

    def announcements(self) -> tuple[Step, ...]:
        wanted = cilium_config.announcements(self.site, self.cluster)
        if not wanted:
            return ()
        with_bgp = self.site.gateway is not None and self.cluster.bgp is not None
        before = Await(self._crds(f"{self.id}/announcement-kinds", cilium.BGP_CRDS if with_bgp else (cilium.L2_CRD,)))
        name, title = ("bgp", "configure BGP on the cluster's side") if with_bgp else ("l2", "announce the pools on the node network")
        note = "plan: BGP on the cluster alone -> both sides, cilium.io/v2 (foundation.md 13, row 17)"
        return (self._objects(name, title, wanted, before=(before,), hint=f"{self.kubectl} get {'ciliumbgpclusterconfigs' if with_bgp else 'ciliuml2announcementpolicies'}", notes=(note,) if with_bgp else ()),)

    def gateway(self) -> tuple[Step, ...]:
        if self.site.gateway is None or self.cluster.bgp is None:
            return ()
        return (self._gateway(self.site.gateway),)

    def _gateway(self, gateway: Gateway) -> Step:
        lines = junos.wanted(self.site, self.cluster)
        keys = junos.secrets(self.site, self.cluster)
        confirm = timedelta(minutes=gateway.confirm_minutes)
        return Step(
            id=f"{self.id}/gateway",
            title=f"configure BGP group {junos.group(self.cluster)} on the gateway",
            days=self.days,
            goal=Check(
                id=f"{self.id}/gateway",
                title="the gateway's configuration to hold our lines, confirmed",
                ask=(junos.CONFIGURATION, junos.COMMITS),
                judge=careful(partial(junos.judge_configured, lines, tuple(line for line, _ in keys))),
                hint=f"ssh {gateway.user}@{gateway.address} show configuration protocols bgp group {junos.group(self.cluster)}",
                causes=("somebody else holds the configuration lock", "the sessions did not come up, and the change was rolled back"),
                within=self.site.timing.unknown,
                source="foundation.md 7",
            ),
            actions=(
                Await(self._rollout(f"{self.id}/rolled-out-before-sessions")),
                JunosChange(
                    lines=lines,
                    owned=junos.owned(self.site, self.cluster),
                    secrets=keys,
                    confirm_minutes=gateway.confirm_minutes,
                    sessions=tuple(str(node.address) for node in self.nodes),
                    verify=self._nodes_side(f"{self.id}/gateway-verified"),
                    lock_within=self.site.timing.gateway_lock,
                    within=self.site.timing.gateway_lock + confirm + self.site.timing.bgp,
                ),
            ),
            holds=("gateway",),
            reversible="compensable",
            settle=2 * confirm + self.site.timing.gateway_lock + self.site.timing.unknown,
        )

    # --- test --------------------------------------------------------------------------------------------------------

    def connectivity_test(self) -> Step:
        """Pods of all kinds talk to each other. A test changes the cluster for a while and leaves its mark."""
        junit = self.local.evidence("connectivity-test.xml")
        timeout = self.site.connectivity.timeout
        argv = cilium.connectivity_test(self.site, self.name, junit, timeout=timeout, single_node=len(machine_config.taking_workloads(self.site, self.cluster)) == 1)
        inputs = digest("connectivity-test", self.values, self.site.versions.cilium, argv)
        return Step(
            id=f"{self.id}/connectivity-test",
            title="run Cilium's connectivity test",
            days=self.days,
            goal=Check(
                id=f"{self.id}/connectivity-test",
                title="the connectivity test to have passed",
                ask=(marks.mark(self.name, "connectivity-test"),),
                judge=careful(partial(marks.judge_mark, inputs)),
                hint=f"less {junit}",
                causes=("Pod Security refuses the client pods", "the targets outside of the cluster do not answer", "a firewall between nodes"),
                within=LONG,
                source="foundation.md 5.5",
            ),
            actions=(
                Await(self._rollout(f"{self.id}/rolled-out-before-test")),
                Await(self._ready(f"{self.id}/nodes-ready-before-test")),
                Await(self._status(f"{self.id}/status-before-test")),
                WriteFile(junit, ""),  # an earlier result must not pass for this one
                Command(argv, within=timeout + timedelta(minutes=5), evidence=(junit,)),
                Objects(self.name, (kube.namespace("cilium-test-1"),), delete=True, within=timedelta(minutes=5)),
                Await(self._tested(junit)),
                Mark(self.name, "connectivity-test", inputs),
            ),
            notes=("plan: cilium connectivity test -> privileged label, own targets, a deadline, cleaned up (foundation.md 13, row 18)",),
        )

    def _tested(self, junit: str) -> Check:
        return Check(
            id=f"{self.id}/connectivity-result",
            title="the test's result file to show no failure",
            ask=(FileRead(junit, text=True),),
            judge=careful(cilium.judge_junit),
            hint=f"less {junit}",
        )

    # --- gates -------------------------------------------------------------------------------------------------------

    def _rollout(self, name: str) -> Check:
        return Check(
            id=name,
            title="Cilium's agents, Envoy and operator to be rolled out",
            ask=(
                kube.daemonset(self.name, "cilium", "kube-system"),
                kube.daemonset(self.name, "cilium-envoy", "kube-system"),
                kube.deployment(self.name, "cilium-operator", "kube-system"),
                kube.deployment(self.name, "hubble-relay", "kube-system"),
            ),
            judge=careful(kube.judge_rolled_out),
            hint=f"{self.kubectl} -n kube-system get pods -o wide",
            causes=("an image cannot be pulled", "an agent crashes: see its log"),
            within=self.site.timing.cilium,
            source="foundation.md 5.4",
        )

    def _status(self, name: str) -> Check:
        return Check(
            id=name,
            title="cilium status to report no error",
            ask=(cilium.status(self.name),),
            judge=careful(partial(cilium.judge_status, len(self.nodes))),
            hint=f"cilium status --kubeconfig {self.local.kubeconfig} --context {self.name}",
            causes=("tls: internal error: kubelet serving certificates wait for approval", "an agent is still starting"),
            within=self.site.timing.cilium,
            in_a_row=2,
            source="foundation.md 5.4",
        )

    def _ready(self, name: str) -> Check:
        return Check(
            id=name,
            title=f"all {len(self.nodes)} nodes to be Ready",
            ask=(kube.nodes(self.name),),
            judge=careful(partial(kube.judge_ready, self.nodes)),
            hint=f"{self.kubectl} get nodes",
            causes=("the agent of that node does not run", "the node is rebooting"),
            within=self.site.timing.nodes_ready,
            source="foundation.md 5.4",
        )

    def rollout_gate(self) -> Check:
        return self._rollout(f"{self.id}/rollout")

    def status_gate(self) -> Check:
        return self._status(f"{self.id}/status")

    def ready_gate(self) -> Check:
        return self._ready(f"{self.id}/nodes-ready")

    def dns_gate(self) -> Check:
        return Check(
            id=f"{self.id}/dns",
            title="CoreDNS to be available",
            ask=(kube.deployment(self.name, "coredns", "kube-system"),),
            judge=careful(kube.judge_rolled_out),
            hint=f"{self.kubectl} -n kube-system get pods -l k8s-app=kube-dns",
            causes=("no node takes its pods", "pods have no network"),
            within=self.site.timing.nodes_ready,
            source="foundation.md 5.4",
        )

    def crds_gate(self) -> Check:
        return self._crds(f"{self.id}/kinds", cilium.BASE_CRDS)

    def health_gate(self) -> Check:
        return Check(
            id=f"{self.id}/health",
            title="talosctl health to pass",
            ask=(talosctl.health(self.site, self.cluster, self.site.timing.nodes_ready),),
            judge=careful(talosctl.judge_health),
            hint=" ".join(talosctl.health(self.site, self.cluster, self.site.timing.nodes_ready).argv),
            causes=("a node is missing", "Talos warns of something: talosctl get diagnostics"),
            within=self.site.timing.health,
            source="foundation.md 4.4",
        )

    def pool_gates(self) -> tuple[Check, ...]:
        if not self.cluster.pools:
            return ()
        return (
            Check(
                id=f"{self.id}/pools-free",
                title="the pools to conflict with none",
                ask=(cilium.pools(self.name),),
                judge=careful(partial(cilium.judge_pools, tuple(pool.name for pool in self.cluster.pools))),
                hint=f"{self.kubectl} get ciliumloadbalancerippools",
                causes=("another pool overlaps: the newer one loses",),
                within=self.site.timing.crds,
                source="foundation.md 6",
            ),
        )

    def session_gates(self) -> tuple[Check, ...]:
        """Both ends tell it by themselves."""
        if self.site.gateway is None or self.cluster.bgp is None:
            return ()
        peer = str(self.site.gateway.peer)
        return (
            self._nodes_side(f"{self.id}/sessions-cluster"),
            Check(
                id=f"{self.id}/sessions-agents",
                title="every agent to tell of its session",
                ask=(cilium.bgp_peers(self.name),),
                judge=careful(partial(cilium.judge_bgp_peers, self.nodes, peer)),
                hint=f"cilium bgp peers --kubeconfig {self.local.kubeconfig} --context {self.name}",
                causes=("an agent does not answer", *SESSION_CAUSES),
                within=self.site.timing.bgp,
                in_a_row=2,
                source="foundation.md 6",
            ),
            Check(
                id=f"{self.id}/sessions-gateway",
                title=f"the gateway to have group {junos.group(self.cluster)} Established",
                ask=(junos.SUMMARY,),
                judge=careful(partial(junos.judge_sessions, tuple(str(node.address) for node in self.nodes))),
                hint=f"ssh {self.site.gateway.user}@{self.site.gateway.address} show bgp summary",
                causes=SESSION_CAUSES,
                within=self.site.timing.bgp,
                in_a_row=2,
                source="foundation.md 7.3",
            ),
        )

    def _nodes_side(self, name: str) -> Check:
        peer = str(self.site.gateway.peer) if self.site.gateway is not None else ""
        return Check(
            id=name,
            title="Cilium's BGP sessions to be established on every node",
            ask=(cilium.node_configs(self.name), cilium.cluster_configs(self.name), cilium.peer_configs(self.name)),
            judge=careful(partial(cilium.judge_bgp_nodes, self.nodes, peer)),
            hint=f"{self.kubectl} get ciliumbgpnodeconfigs -o yaml",
            causes=SESSION_CAUSES,
            within=self.site.timing.bgp,
            source="foundation.md 6",
        )

    def _objects(self, name: str, title: str, wanted: tuple[dict[str, object], ...], *, hint: str, before: tuple[Await, ...] = (), notes: tuple[str, ...] = ()) -> Step:
        return Step(
            id=f"{self.id}/{name}",
            title=title,
            days=self.days,
            goal=Check(
                id=f"{self.id}/{name}",
                title=f"{', '.join(str(dict(o)['kind']) for o in wanted[:3])} to be as the site says",
                ask=tuple(kube.get(self.name, one) for one in wanted),
                judge=careful(partial(kube.judge_as_wished, wanted)),
                hint=hint,
                within=self.site.timing.unknown,
            ),
            actions=(*before, Objects(self.name, wanted)),
            notes=notes,
        )


SESSION_CAUSES = (
    "the MD5 keys differ: they only show as 'active' and timeouts",
    "the AS numbers differ",
    "the zone does not let BGP in (host-inbound-traffic)",
)
