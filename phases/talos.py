"""Talos: from blank machines to a cluster that waits for nothing but a CNI. Plan: days 1-2 (infra), 8-9 (apps)."""

from __future__ import annotations

from functools import partial

from inventory.model import Cluster, Node, Site
from orchestrator.model.action import ApproveCsrs, Await, Command, HttpCall, Kubeconfig, MakeSecret, WriteFile
from orchestrator.model.check import Answers, Check
from orchestrator.model.phase import Fan, Phase, Step
from orchestrator.model.query import FileRead, KubeList, KubeRaw, Secret, SecretRead
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from orchestrator.tools import factory, kube, talosctl
from orchestrator.tools.answers import careful, dig, digest
from orchestrator.tools.paths import Local
from orchestrator.tools.talosctl import NodeState
from phases import machine_config
from phases.calendar import Days, days

WIDTH = 5  # nodes that install at once: none of them serves anything yet; bounded to spare the factory


def phase(site: Site, cluster: Cluster) -> Phase:
    """Local files before machines, machines before etcd, etcd before the API."""
    when = days(cluster, "talos")
    build = _Builder(site, cluster, when)
    return Phase(
        id=build.id,
        title=f"Talos on {cluster.name}",
        week=cluster.week,
        days=when.text,
        needs=("preflight",),
        steps=(
            build.patches(),
            build.new_secrets(),
            build.keep_secrets(),
            build.talosconfig(),
            build.schematic(),
            build.boot(),
            build.configs(),
            *(build.apply(node) for node in build.nodes),
            build.bootstrap(),
            build.kubeconfig(),
            *build.certificates(),
            build.snapshot(),
        ),
        gates=(build.etcd_gate(), build.api_gate(), build.registered_gate(), build.diagnostics_gate()),
        identity=(build.identity(),),
        adr=("ADR-001",),
        summary=f"{len(build.nodes)} nodes of {cluster.name} from blank machines to Kubernetes without a CNI",
    )


class _Builder:
    """The steps of one cluster. Only names that repeat are kept here."""

    def __init__(self, site: Site, cluster: Cluster, when: Days) -> None:
        self.site, self.cluster, self.when = site, cluster, when
        self.id = f"talos@{cluster.name}"
        self.local = Local(cluster.name)
        self.nodes = site.nodes_of(cluster.name)
        self.control_planes = site.control_planes(cluster.name)
        self.first = self.control_planes[0]

    def patches(self) -> Step:
        """Cheap, not secret, and the base of everything generated: always as the site says."""
        files = machine_config.files(self.site, self.cluster)
        return Step(
            id=f"{self.id}/patches",
            title="write the patches of the machine configurations",
            days=self.when.text,
            goal=Check(
                id=f"{self.id}/patches",
                title="patches to be as the site says",
                ask=tuple(FileRead(path, text=True) for path in files),
                judge=careful(partial(judge_texts, tuple(files.values()))),
                hint=f"bootstrap up --step {self.id}/patches",
            ),
            actions=tuple(WriteFile(path, text) for path, text in files.items()),
            notes=("plan: content of the patch files unspecified -> cni none, no kube-proxy, own subnets, KubePrism, VIP, disk by selector (foundation.md 13, row 5)",),
        )

    def new_secrets(self) -> Step:
        """Made once; who has them already keeps them."""
        path = Secret(str(self.cluster.talos_secrets))
        return Step(
            id=f"{self.id}/secrets",
            title="make the cluster's Talos secrets, once",
            days=self.when.text,
            goal=Check(
                id=f"{self.id}/secrets",
                title="a secrets bundle to exist",
                ask=(SecretRead(path), FileRead(self.local.bundle)),
                judge=careful(judge_bundle),
                hint=f"see where the site keeps it: {path.ref}",
            ),
            actions=(Command(talosctl.gen_secrets(self.site, self.cluster), private=(self.local.bundle,)),),
            notes=("plan: gen config without a secrets file -> gen secrets once, --with-secrets always, else every run makes new PKI (foundation.md 13, row 2)",),
        )

    def keep_secrets(self) -> Step:
        secret = Secret(str(self.cluster.talos_secrets))
        return Step(
            id=f"{self.id}/keep-secrets",
            title=f"keep the Talos secrets at {secret.ref}",
            days=self.when.text,
            goal=Check(
                id=f"{self.id}/keep-secrets",
                title="the secrets bundle to be kept where the site says",
                ask=(SecretRead(secret),),
                judge=careful(kube.judge_secret_kept),
                hint="the bundle is the root of trust: without it the cluster cannot be managed again",
            ),
            actions=(MakeSecret(secret, "file", path=self.local.bundle),),
        )

    def talosconfig(self) -> Step:
        _, stdin = talosctl.bundle(self.cluster)
        return Step(
            id=f"{self.id}/talosconfig",
            title="make the talosconfig, one file for this cluster",
            days=self.when.text,
            goal=Check(
                id=f"{self.id}/talosconfig",
                title="the talosconfig to name this cluster's endpoints",
                ask=(FileRead(self.local.talosconfig), talosctl.config_info(self.cluster)),
                judge=careful(partial(talosctl.judge_talosconfig, self.site, self.cluster)),
                hint=f"talosctl --talosconfig {self.local.talosconfig} config info",
                hears_silence=True,
            ),
            actions=(
                Command(talosctl.gen_talosconfig(self.cluster), stdin=stdin, private=(self.local.talosconfig,), secret_output=True),
                Command(talosctl.config_endpoints(self.site, self.cluster), private=(self.local.talosconfig,)),
                Command(talosctl.config_nodes(self.site, self.cluster), private=(self.local.talosconfig,)),
            ),
            notes=("plan: no talosconfig handling -> one file a cluster with its endpoints (foundation.md 13, row 8)",),
        )

    def schematic(self) -> Step:
        return Step(
            id=f"{self.id}/schematic",
            title=f"register schematic {factory.schematic_id(self.site)[:12]} with the Image Factory",
            days=self.when.text,
            goal=Check(
                id=f"{self.id}/schematic",
                title="the Image Factory to know the schematic",
                ask=(factory.known(self.site),),
                judge=careful(partial(factory.judge_known, self.site)),
                hint=f"curl -sI {factory.iso_url(self.site)}",
                causes=("the factory is not reachable from here", "an extension does not exist for this Talos version"),
                within=self.site.timing.reachable,
            ),
            actions=(HttpCall("POST", f"{self.site.factory.url.rstrip('/')}/schematics", factory.schematic(self.site)),),
            notes=("plan: ISO first, then the schematic -> schematic first; ISO and installer from the same id (foundation.md 13, row 1)",),
        )

    def boot(self) -> Step:
        """A wait, not a deed: a person boots the machines from the ISO."""
        return Step(
            id=f"{self.id}/boot",
            title=f"boot {', '.join(node.name for node in self.nodes)} from {factory.iso_url(self.site)}",
            days=self.when.text,
            goal=Check(
                id=f"{self.id}/boot",
                title=f"all machines of {self.cluster.name} to answer",
                ask=tuple(query for node in self.nodes for query in talosctl.state_queries(node)),
                judge=careful(partial(judge_booted, self.nodes)),
                hint=f"boot the missing machines from {factory.iso_url(self.site)}",
                causes=("the machine is off or did not boot from the ISO", "it got another address by DHCP: set maintenance_address", "port 50000 is filtered"),
                within=self.site.timing.boot,
                hears_silence=True,
                source="foundation.md 1.1",
            ),
            actions=(),
            settle=self.site.timing.boot,
        )

    def configs(self) -> Step:
        """With the PKI in them; needed only while some node has no configuration."""
        inputs = digest(*machine_config.files(self.site, self.cluster).items(), talosctl.gen_config(self.site, self.cluster, image=factory.installer(self.site)))
        _, stdin = talosctl.bundle(self.cluster)
        made = tuple(self.local.node(node.name) for node in self.nodes)
        generate = Command(
            talosctl.gen_config(self.site, self.cluster, image=factory.installer(self.site)),
            stdin=stdin,
            private=tuple(f"{self.local.generated}/{role}.yaml" for role in ("controlplane", "worker")),
            secret_output=True,
        )
        return Step(
            id=f"{self.id}/configs",
            title="generate the machine configurations",
            days=self.when.text,
            goal=Check(
                id=f"{self.id}/configs",
                title="a valid configuration for every machine",
                ask=(
                    FileRead(self.local.stamp, text=True),
                    *(FileRead(path) for path in made),
                    *(query for node in self.nodes for query in talosctl.state_queries(node)),
                ),
                judge=careful(partial(judge_configs, self.nodes, inputs)),
                hint=" ".join(talosctl.validate(self.first).argv),
                hears_silence=True,
            ),
            actions=(
                generate,
                *(Command(talosctl.patch_node(node), private=(self.local.node(node.name),), secret_output=True) for node in self.nodes),
                Await(self._valid()),
                WriteFile(self.local.stamp, f"{inputs}\n"),
            ),
            notes=(
                "plan: talos/controlplane/10.25.11.11.yaml -> gen config writes one file a role; machineconfig patch makes one a node (foundation.md 13, row 6)",
                "plan: endpoint https://10.25.11.11:6443 -> the VIP, in the certificates' SANs (row 3); --with-cluster-discovery dropped, it is the default (row 4)",
                "plan: no Kubernetes version -> pinned (row 30)",
            ),
        )

    def _valid(self) -> Check:
        """Before the stamp is written: files with the stamp are valid."""
        return Check(
            id=f"{self.id}/configs-valid",
            title="the generated configurations to be valid",
            ask=tuple(talosctl.validate(node) for node in self.nodes),
            judge=careful(partial(talosctl.judge_valid, self.nodes)),
            hint=" ".join(talosctl.validate(self.first).argv),
            causes=("a key of a patch is misspelt", "no disk is selected"),
        )

    def apply(self, node: Node) -> Step:
        """The only step of the first fortnight that writes to a disk: its identity is confirmed first, in this very run."""
        return Step(
            id=f"{self.id}/apply-config/{node.name}",
            title=f"install Talos on {node.name} ({talosctl.maintenance_address(node)})",
            days=self.when.text,
            goal=Check(
                id=f"{self.id}/apply-config/{node.name}",
                title=f"{node.name} to run Talos {self.site.versions.talos} from its disk",
                ask=(*talosctl.state_queries(node), *talosctl.installed_queries(node)),
                judge=careful(partial(judge_applied, node, self.site.versions.talos, factory.schematic_id(self.site) if self.site.factory.extensions else None)),
                hint=f"talosctl --talosconfig {self.local.talosconfig} -e {node.address} -n {node.address} get machinestatus",
                causes=("the installer image cannot be pulled from the factory", "the node came up at another address", "the machine boots from another disk"),
                within=self.site.timing.install,
                hears_silence=True,
                source="foundation.md 4.1",
            ),
            actions=(Await(self._identity(node)), Command(talosctl.apply_config(node))),
            node=node.name,
            fan=Fan(f"{self.id}/apply-config", WIDTH),
            disruption="installs",
            reversible="no",
            settle=self.site.timing.install,
            notes=("plan: apply-config --nodes -> --insecure, one node a call, only in maintenance mode, after its MAC and disk were seen (foundation.md 13, rows 7, 32)",),
        )

    def _identity(self, node: Node) -> Check:
        return Check(
            id=f"{self.id}/identity/{node.name}",
            title=f"the machine at {talosctl.maintenance_address(node)} to be {node.name}, with its disk",
            ask=talosctl.blank_queries(node),
            judge=careful(partial(talosctl.judge_blank, node)),
            hint=f"talosctl -n {talosctl.maintenance_address(node)} -e {talosctl.maintenance_address(node)} get disks --insecure",
            causes=("two machines are swapped", "the disk was replaced: correct its selector in the site", "a data disk holds somebody's data"),
            within=self.site.timing.reachable,
            source="foundation.md 4.1",
        )

    def bootstrap(self) -> Step:
        ready = Check(
            id=f"{self.id}/etcd-bootstrap-possible",
            title=f"{self.first.name} to be ready for the bootstrap of etcd",
            ask=talosctl.running_query(self.first),
            judge=careful(talosctl.judge_ready_for_bootstrap),
            hint=f"talosctl --talosconfig {self.local.talosconfig} -e {self.first.address} -n {self.first.address} service cri",
            causes=("the time is not in sync: check NTP", "the node still pulls its images"),
            within=self.site.timing.etcd_bootstrap,
        )
        return Step(
            id=f"{self.id}/etcd-bootstrap",
            title=f"bootstrap etcd, once, on {self.first.name}",
            days=self.when.text,
            goal=Check(
                id=f"{self.id}/etcd-bootstrap",
                title="etcd to be bootstrapped",
                ask=talosctl.etcd_started_queries(self.control_planes),
                judge=careful(partial(talosctl.judge_etcd_started, self.control_planes)),
                hint=f"talosctl --talosconfig {self.local.talosconfig} -e {self.first.address} -n {self.first.address} service etcd",
                causes=("a control plane cannot be asked: without all of them nobody knows whether etcd exists",),
                within=self.site.timing.etcd,
                hears_silence=True,
                source="foundation.md 4.2",
            ),
            actions=(Await(ready), Command(talosctl.bootstrap(self.first), once=True)),
            node=self.first.name,
            reversible="no",
            settle=self.site.timing.etcd,
            notes=("plan: no talosctl bootstrap -> exactly once on one control plane, else etcd never forms (foundation.md 13, row 9)",),
        )

    def kubeconfig(self) -> Step:
        """From the machine configuration: it does not prove the API, so that the goal asks the API too."""
        context = self.cluster.name
        return Step(
            id=f"{self.id}/kubeconfig",
            title=f"fetch the kubeconfig, context {context}",
            days=self.when.text,
            goal=Check(
                id=f"{self.id}/kubeconfig",
                title=f"the API of {self.cluster.name} to answer",
                ask=(FileRead(self.local.kubeconfig), KubeRaw(self.cluster.name, "/readyz")),
                judge=careful(judge_kubeconfig),
                hint=f"kubectl --kubeconfig {self.local.kubeconfig} --context {context} get --raw=/readyz",
                causes=("the control plane's static pods are still starting", "the VIP is not held by any control plane", "the kubeconfig's certificate expired (one year)"),
                within=self.site.timing.api,
                hears_silence=True,
                source="foundation.md 4.3",
            ),
            actions=(
                Command(talosctl.kubeconfig(self.first), private=(self.local.admin_kubeconfig,), secret_output=True),
                Kubeconfig(self.local.admin_kubeconfig, self.local.kubeconfig, context, server=self.cluster.api),
            ),
            settle=self.site.timing.api,
            notes=("plan: talosctl kubeconfig, later --context infra -> the generated context is admin@infra, it is renamed (foundation.md 13, row 11)",),
        )

    def certificates(self) -> tuple[Step, ...]:
        """Only where the site wants rotation; nobody else approves these requests (foundation.md 3.3)."""
        if self.cluster.kubelet_certificates != "approve":
            return ()
        known = {node.name: tuple(str(a) for a in (node.address, *node.addresses)) for node in self.nodes}
        return (
            Step(
                id=f"{self.id}/kubelet-certificates",
                title="approve the kubelets' serving certificates",
                days=self.when.text,
                goal=Check(
                    id=f"{self.id}/kubelet-certificates",
                    title="every kubelet to have its serving certificate",
                    ask=(kube.nodes(self.cluster.name), kube.csrs(self.cluster.name), *(talosctl.get(node, "diagnostics") for node in self.nodes)),
                    judge=careful(partial(kube.judge_csrs, self.nodes)),
                    hint=f"kubectl --kubeconfig {self.local.kubeconfig} --context {self.cluster.name} get csr",
                    causes=("a kubelet has not asked yet", "a request names addresses that the inventory does not have"),
                    within=self.site.timing.health,
                    source="foundation.md 3.3",
                ),
                actions=(ApproveCsrs(self.cluster.name, known),),
                settle=self.site.timing.health,
                notes=("plan: kubelet certificates not mentioned -> decided by the site (foundation.md 13, row 31)",),
            ),
        )

    def snapshot(self) -> Step:
        return Step(
            id=f"{self.id}/etcd-snapshot",
            title="take a first snapshot of etcd",
            days=self.when.text,
            goal=Check(
                id=f"{self.id}/etcd-snapshot",
                title="a snapshot of etcd to lie here",
                ask=(FileRead(self.local.snapshot),),
                judge=careful(judge_private_file),
                hint=f"ls -l {self.local.snapshot}",
            ),
            actions=(
                Await(self._etcd(f"{self.id}/etcd-before-snapshot")),
                Command(talosctl.etcd_snapshot(self.first), private=(self.local.snapshot,)),
            ),
        )

    def identity(self) -> Check:
        """Nothing of this cluster answers as somebody else's: each machine is blank, ours, or silent."""
        return Check(
            id=f"{self.id}/identity",
            title=f"the machines of {self.cluster.name} to be blank or ours",
            ask=tuple(query for node in self.nodes for query in talosctl.state_queries(node)),
            judge=careful(partial(judge_not_foreign, self.nodes)),
            hint="compare the addresses in the site with the machines; the secrets bundle must be the one they were installed with",
            causes=("another installation owns the machine", "the secrets bundle is not the one of this cluster"),
            hears_silence=True,
            source="design.md promise 13",
        )

    def _etcd(self, name: str) -> Check:
        return Check(
            id=name,
            title=f"etcd to have {len(self.control_planes)} healthy members",
            ask=talosctl.etcd_healthy_queries(self.control_planes),
            judge=careful(partial(talosctl.judge_etcd_healthy, self.control_planes)),
            hint=f"talosctl --talosconfig {self.local.talosconfig} -e {self.first.address} -n {self.first.address} etcd members",
            causes=("a control plane is still joining", "the clocks differ", "etcd's disk is too slow"),
            within=self.site.timing.etcd,
            in_a_row=2,
            source="foundation.md 4.2",
        )

    def etcd_gate(self) -> Check:
        return self._etcd(f"{self.id}/etcd")

    def api_gate(self) -> Check:
        return Check(
            id=f"{self.id}/api",
            title=f"the API of {self.cluster.name} to be ready",
            ask=(KubeRaw(self.cluster.name, "/readyz"),),
            judge=careful(judge_readyz),
            hint=f"kubectl --kubeconfig {self.local.kubeconfig} --context {self.cluster.name} get --raw='/readyz?verbose'",
            causes=("a static pod of the control plane does not start", "etcd has no quorum"),
            within=self.site.timing.api,
            source="foundation.md 4.3",
        )

    def registered_gate(self) -> Check:
        return Check(
            id=f"{self.id}/nodes",
            title=f"all {len(self.nodes)} nodes to be registered and to wait for nothing but a CNI",
            ask=(KubeList(self.cluster.name, "v1", "Node"),),
            judge=careful(partial(kube.judge_registered, self.nodes)),
            hint=f"kubectl --kubeconfig {self.local.kubeconfig} --context {self.cluster.name} get nodes -o wide",
            causes=("a kubelet cannot reach the API", "a node took another address: check nodeIP.validSubnets"),
            within=self.site.timing.nodes_ready,
            source="foundation.md 4.4",
        )

    def diagnostics_gate(self) -> Check:
        return Check(
            id=f"{self.id}/diagnostics",
            title="Talos to warn of nothing",
            ask=tuple(talosctl.get(node, "diagnostics") for node in self.nodes),
            judge=careful(partial(talosctl.judge_no_diagnostics, self.nodes)),
            hint=f"talosctl --talosconfig {self.local.talosconfig} -e {self.first.address} -n {self.first.address} get diagnostics",
            causes=("pod or service networks overlap the node network", "a kubelet's serving certificate waits for approval"),
            within=self.site.timing.nodes_ready,
            source="foundation.md 4.4",
        )


# --- judges that combine tools ---------------------------------------------------------------------------------------


def judge_texts(wanted: tuple[str, ...], answers: Answers) -> Verdict:
    """Files with exactly these texts."""
    if any(not isinstance(dig(answer.body, "exists"), bool) for answer in answers):
        return unknown("a file cannot be read")
    different = sum(dig(answer.body, "text") != text for answer, text in zip(answers, wanted, strict=True))
    return unmet(f"{different} of {len(wanted)} files to write") if different else met(f"{len(wanted)} files as the site says")


def judge_bundle(answers: Answers) -> Verdict:
    """Kept, or made and not yet kept. Answers: SecretRead, FileRead."""
    if any(not isinstance(dig(answer.body, "exists"), bool) for answer in answers):
        return unknown("whether there is a bundle is not known")
    if answers[0].body["exists"]:
        return met("kept where the site says")
    return met("made, not kept yet") if answers[1].body["exists"] else unmet("there is no secrets bundle")


def judge_booted(nodes: tuple[Node, ...], answers: Answers) -> Verdict:
    """Every machine answers, with or without a configuration of ours; silence is what is waited for, not an error."""
    states = talosctl.states(nodes, answers)
    foreign = [name for name, state in states.items() if state is NodeState.FOREIGN]
    if foreign:
        return unmet(f"configured with other secrets: {', '.join(foreign)}", permanent=True, foreign=True)
    unread = [name for name, state in states.items() if state in (NodeState.UNREAD, NodeState.LOCKED)]
    if unread:
        return unknown(f"cannot be classed: {', '.join(unread)}")
    missing = [name for name, state in states.items() if state is NodeState.UNREACHABLE]
    found = {name: state.value for name, state in states.items()}
    return unmet(f"still missing: {', '.join(missing)}", nodes=found) if missing else met(f"{len(nodes)} of {len(nodes)} machines answer", nodes=found)


def judge_not_foreign(nodes: tuple[Node, ...], answers: Answers) -> Verdict:
    """No machine runs with other secrets. A silent one is nobody's yet. Not permanent: a node that changes between the two calls
    looks foreign for a moment."""
    states = talosctl.states(nodes, answers)
    foreign = [name for name, state in states.items() if state is NodeState.FOREIGN]
    if foreign:
        return unmet(f"configured with other secrets: {', '.join(foreign)}", foreign=True)
    unread = [name for name, state in states.items() if state is NodeState.UNREAD]
    if unread:
        return unknown(f"cannot be classed: {', '.join(unread)}")
    return met(", ".join(f"{name} {state.value}" for name, state in states.items()))


def judge_configs(nodes: tuple[Node, ...], inputs: str, answers: Answers) -> Verdict:
    """The generated files are of these inputs, or no node needs one any more. Answers: the stamp, each node's file, each node's
    two states."""
    n = len(nodes)
    states = talosctl.states(nodes, answers[1 + n :])
    if all(state is NodeState.CONFIGURED for state in states.values()):
        return met("every machine is configured")
    stamp, made = answers[0], answers[1 : 1 + n]
    if any(not isinstance(dig(answer.body, "exists"), bool) for answer in (stamp, *made)):
        return unknown("a file cannot be read")
    missing = [node.name for node, file in zip(nodes, made, strict=True) if not file.body["exists"]]
    if missing or str(dig(stamp.body, "text", default="")).strip() != inputs:
        return unmet(f"to be generated: {', '.join(missing) or 'all, from changed inputs'}")
    open_to_others = next((verdict for verdict in map(talosctl.mode_of, made) if verdict is not None), None)
    return open_to_others or met(f"{n} configurations")


def judge_applied(node: Node, version: str, schematic: str | None, answers: Answers) -> Verdict:
    """The node has our configuration and runs what it should. Answers: its two states, then `installed_queries`."""
    state = talosctl.node_state(answers[0], answers[1])
    if state is NodeState.MAINTENANCE:
        return unmet(f"{node.name} is in maintenance mode")
    if state is NodeState.FOREIGN:  # refused before by identity; here also what two calls see of a node that changes between them
        return unknown(f"{node.name} answers like a machine with other secrets")
    if state is not NodeState.CONFIGURED:
        return unknown(f"{node.name} does not answer ({state.value})")
    return talosctl.judge_installed(node, version, schematic, answers[2:])


def judge_kubeconfig(answers: Answers) -> Verdict:
    """The file is there, private, and opens the API. Answers: FileRead, KubeRaw /readyz."""
    file, api = answers
    if not isinstance(dig(file.body, "exists"), bool):
        return unknown("the kubeconfig cannot be read")
    if not file.body["exists"]:
        return unmet("there is no kubeconfig of this cluster here")
    open_to_others = talosctl.mode_of(file)
    if open_to_others is not None:
        return open_to_others
    if api.status in (401, 403) or "certificate" in (api.unreachable or ""):
        return unmet(f"the kubeconfig does not open the API: {api.unreachable or api.status}")
    return unknown(api.unreachable) if api.unreachable is not None else judge_readyz((api,), starting=True)


def judge_readyz(answers: Answers, *, starting: bool = False) -> Verdict:
    """`/readyz` says ok. Answer: KubeRaw."""
    api = answers[0]
    if api.status == 200 and api.stdout.strip() == "ok":
        return met("the API is ready")
    failing = [line for line in api.stdout.splitlines() if line.startswith("[-]")]
    if starting or (not failing and api.status not in (500, 503)):
        return unknown(f"the API answered {api.status}")
    return unmet(f"not ready: {', '.join(failing) or api.status}")


def judge_private_file(answers: Answers) -> Verdict:
    """The file is there and nobody else reads it."""
    body = answers[0].body
    if not isinstance(dig(body, "exists"), bool):
        return unknown("the file cannot be read")
    if not body["exists"]:
        return unmet("there is none yet")
    return talosctl.mode_of(answers[0]) or met("there")
