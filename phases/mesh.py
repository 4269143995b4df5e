"""Mesh: the clusters see each other's services. Plan: days 12-14.

The GitOps way of foundation.md 8.3, in two halves with a gate between them: every cluster serves its state, then every cluster
is told where the others serve theirs. Flux owns Cilium by now, so that both halves are values in Git.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from inventory.model import Cluster, Site
from orchestrator.model.action import Action, Await, Command, GitCommit, Mark, Objects, WriteFile
from orchestrator.model.check import Answers, Check
from orchestrator.model.phase import Phase, Step
from orchestrator.model.query import FileRead, GitRead, KubeGet
from orchestrator.model.verdict import Verdict, met, unmet
from orchestrator.tools import cilium, flux, git, helm, kube, marks
from orchestrator.tools.answers import careful, dig, digest, gone, refused
from orchestrator.tools.paths import Local
from phases import cilium_config, network, repository
from phases.calendar import MESH

MARGIN = timedelta(minutes=2)
SPACE = "mesh-test"
ECHO = "echo"
PORT = 8080
REQUESTS = 20
IMAGE = "registry.k8s.io/e2e-test-images/agnhost:2.53"  # serves /hostname, and has sh and curl for the other side
APISERVER = "clustermesh-apiserver"


def phase(site: Site) -> Phase:
    """Both halves, then proof: status from every side, a service that answers from all clusters, the connectivity test."""
    build = _Builder(site)
    return Phase(
        id="mesh",
        title="Cluster mesh",
        week=max(cluster.week for cluster in site.clusters),
        days=MESH,
        needs=tuple(f"gitops@{name}" for name in build.names),
        steps=(build.apiservers(), build.connect(), build.global_service_test(), *build.connectivity_tests()),
        gates=(build.ca_gate("mesh/ca"), *build.status_gates(), *build.apiserver_gates()),
        preconditions=(build.ca_gate("mesh/ca-before"),),
        identity=tuple(network.identity(site, cluster, "mesh") for cluster in site.clusters),
        adr=("ADR-002",),
        summary=f"{', '.join(build.names)} in one mesh, proven by a global service",
    )


class _Builder:
    """The steps over all clusters."""

    def __init__(self, site: Site) -> None:
        self.site, self.clusters = site, site.clusters
        self.names = tuple(cluster.name for cluster in site.clusters)
        self.first = self.names[0]
        self.half = {repository.mesh_path(c.name): repository.mesh_file(cilium_config.mesh_apiserver(c)) for c in site.clusters}
        self.whole = {repository.mesh_path(c.name): repository.mesh_file(cilium_config.mesh_connected(site, c)) for c in site.clusters}

    def ca_gate(self, name: str) -> Check:
        return Check(
            id=name,
            title="all clusters to have the same Cilium CA",
            ask=tuple(KubeGet(cluster, "v1", "Secret", "cilium-ca", "kube-system") for cluster in self.names),
            judge=careful(partial(kube.judge_same_ca, self.names)),
            hint=f"kubectl --kubeconfig {Local(self.first).kubeconfig} --context {self.first} -n kube-system get secret cilium-ca",
            causes=("Cilium of one cluster was installed before the shared CA",),
            source="foundation.md 8.2",
        )

    def apiservers(self) -> Step:
        """The first half; compensated when the second fails, so that no cluster is left half in a mesh."""
        accepted = {path: (text, self.whole[path]) for path, text in self.half.items()}
        return Step(
            id="mesh/apiservers",
            title="let every cluster serve its state to the mesh",
            days=MESH,
            goal=Check(
                id="mesh/apiservers",
                title=f"{APISERVER} to run in every cluster",
                ask=(GitRead(self._folders()), *(query for c in self.clusters for query in self._served(c))),
                judge=careful(partial(judge_served, self.clusters, accepted, self.site.versions.cilium)),
                hint=self._kubectl(self.first, f"-n kube-system get deploy,svc {APISERVER}"),
                causes=("the node port is taken", "the image cannot be pulled", "Flux does not reconcile the release"),
                within=self.site.timing.mesh,
                source="foundation.md 8.3",
            ),
            actions=(GitCommit("Let every cluster serve its state to the mesh", self.half), *self._sync()),
            holds=("git",),
            reversible="compensable",
            undo=(GitCommit("Take the mesh back", dict.fromkeys(self.half)), *self._sync()),
            compensate_on=("mesh/connect",),
            notes=(
                "plan: cilium clustermesh enable -> values in Git: the command fails on bare metal, and Flux would revert it (foundation.md 13, row 19)",
                "plan: default node port -> one of its own for each cluster (row 20)",
            ),
        )

    def _served(self, cluster: Cluster) -> tuple[KubeGet, ...]:
        service = KubeGet(cluster.name, "v1", "Service", APISERVER, "kube-system")
        return helm.release_object(cluster.name), kube.deployment(cluster.name, APISERVER, "kube-system"), service

    def _folders(self) -> tuple[str, ...]:
        return tuple(f"{path.rsplit('/', 1)[0]}/" for path in self.half)

    def _sync(self) -> tuple[Action, ...]:
        """Every cluster fetches, applies and upgrades now rather than at the next interval."""
        within = self.site.timing.cilium + MARGIN
        return tuple(
            Command(argv, within=within)
            for name in self.names
            for argv in (
                flux.reconcile_source(self.site, name),
                flux.reconcile(self.site, name, "cilium"),
                flux.reconcile_release(self.site, name, helm.RELEASE, helm.NAMESPACE),
            )
        )

    def connect(self) -> Step:
        accepted = {path: (text,) for path, text in self.whole.items()}
        return Step(
            id="mesh/connect",
            title="tell every cluster where the others are",
            days=MESH,
            goal=Check(
                id="mesh/connect",
                title=f"{' and '.join(self.names)} to be connected, seen from every side",
                ask=(GitRead(self._folders()), *(cilium.mesh_status(name) for name in self.names)),
                judge=careful(partial(judge_connected, self.site, accepted)),
                hint=f"cilium clustermesh status --kubeconfig {Local(self.first).kubeconfig} --context {self.first}",
                causes=MESH_CAUSES,
                within=self.site.timing.mesh,
                in_a_row=2,
                source="foundation.md 8.4",
            ),
            actions=(GitCommit("Tell every cluster where the others are", self.whole), *self._sync()),
            holds=("git",),
            reversible="compensable",
            notes=("plan: cilium clustermesh status -> its data decides: it exits 0 on failure (foundation.md 13, row 21)",),
        )

    def global_service_test(self) -> Step:
        """The same Service in every cluster; a client in each must hear answers from all."""
        inputs = digest("global-service-test", self.names, IMAGE, REQUESTS, [probe(c, self.names) for c in self.names])
        jobs = tuple(KubeGet(name, "batch/v1", "Job", f"{ECHO}-client", SPACE) for name in self.names)
        return Step(
            id="mesh/global-service-test",
            title="call a global service from every cluster",
            days=MESH,
            goal=Check(
                id="mesh/global-service-test",
                title="a global service to have answered from every cluster",
                ask=tuple(marks.mark(name, "global-service-test") for name in self.names),
                judge=careful(partial(marks.judge_mark, inputs)),
                hint=self._kubectl(self.first, f"-n {SPACE} get pods,svc -o wide"),
                causes=("endpoints of the other cluster are not synchronized", "the node ports of the mesh are filtered", *MESH_CAUSES),
                within=MARGIN,
                source="foundation.md 8.5",
            ),
            actions=(
                *(Objects(name, (kube.namespace(SPACE),), delete=True, within=timedelta(minutes=5)) for name in self.names),
                *(Objects(name, servers(name)) for name in self.names),
                Await(self._servers_up(), once=True),
                *(Objects(name, (probe(name, self.names),)) for name in self.names),
                Await(self._clients_done(jobs), once=True),
                *(Objects(name, (kube.namespace(SPACE),), delete=True, within=timedelta(minutes=5)) for name in self.names),
                *(Mark(name, "global-service-test", inputs) for name in self.names),
            ),
            notes=("plan: postgres-rw.databases.svc.infra.local -> a global service under cluster.local of the calling cluster (foundation.md 13, row 23)",),
        )

    def _servers_up(self) -> Check:
        return Check(
            id="mesh/global-service-up",
            title="the test's servers to run in every cluster",
            ask=tuple(kube.deployment(name, ECHO, SPACE) for name in self.names),
            judge=careful(kube.judge_rolled_out),
            hint=self._kubectl(self.first, f"-n {SPACE} get pods"),
            causes=("the image cannot be pulled",),
            within=self.site.timing.mesh,
        )

    def _clients_done(self, jobs: tuple[KubeGet, ...]) -> Check:
        return Check(
            id="mesh/global-service-answers",
            title="clients in every cluster to hear all clusters",
            ask=jobs,
            judge=careful(kube.judge_job),
            hint=self._kubectl(self.first, f"-n {SPACE} logs job/{ECHO}-client"),
            causes=("only local backends answer: the mesh is not connected", *MESH_CAUSES),
            within=self.site.timing.mesh,
            source="foundation.md 8.5",
        )

    def connectivity_tests(self) -> tuple[Step, ...]:
        """From the first cluster to each of the others."""
        return tuple(self._connectivity_test(other) for other in self.names[1:])

    def _connectivity_test(self, other: str) -> Step:
        local = Local(self.first)
        name = f"mesh-connectivity-{other}"
        junit = local.evidence(f"{name}.xml")
        timeout = self.site.timing.mesh_test
        argv = cilium.mesh_connectivity_test(self.site, self.first, other, junit, timeout=timeout)
        inputs = digest(name, argv, self.site.versions.cilium, sorted(self.whole.items()))
        spaces = tuple(Objects(c, (kube.namespace("cilium-test-1"),), delete=True, within=timedelta(minutes=5)) for c in (self.first, other))
        result = Check(
            id=f"mesh/connectivity-result-{other}",
            title="the test's result file to show no failure",
            ask=(FileRead(junit, text=True),),
            judge=careful(cilium.judge_junit),
            hint=f"less {junit}",
        )
        return Step(
            id=f"mesh/connectivity-test-{other}",
            title=f"run the connectivity test between {self.first} and {other}",
            days=MESH,
            goal=Check(
                id=f"mesh/connectivity-test-{other}",
                title=f"the connectivity test between {self.first} and {other} to have passed",
                ask=(marks.mark(self.first, name),),
                judge=careful(partial(marks.judge_mark, inputs)),
                hint=f"less {junit}",
                causes=MESH_CAUSES,
                within=MARGIN,
                source="foundation.md 8.4",
            ),
            actions=(
                WriteFile(junit, ""),  # an earlier result must not pass for this one
                Command(argv, env={"KUBECONFIG": f"{local.kubeconfig}:{Local(other).kubeconfig}"}, within=timeout + timedelta(minutes=5), evidence=(junit,)),
                *spaces,
                Await(result),
                Mark(self.first, name, inputs),
            ),
            notes=("plan: --multi-cluster apps -> right flag; both contexts come from KUBECONFIG (foundation.md 13, row 22)",),
        )

    def status_gates(self) -> tuple[Check, ...]:
        return tuple(self._status(cluster) for cluster in self.clusters)

    def _status(self, cluster: Cluster) -> Check:
        others = tuple(cilium_config.mesh_name(c) for c in self.clusters if c.name != cluster.name)
        return Check(
            id=f"mesh/status-{cluster.name}",
            title=f"every agent of {cluster.name} to be connected to {', '.join(others)}",
            ask=(cilium.mesh_status(cluster.name),),
            judge=careful(partial(cilium.judge_mesh, len(self.site.nodes_of(cluster.name)), others)),
            hint=f"cilium clustermesh status --kubeconfig {Local(cluster.name).kubeconfig} --context {cluster.name}",
            causes=MESH_CAUSES,
            within=self.site.timing.mesh,
            in_a_row=2,
            source="foundation.md 8.4",
        )

    def apiserver_gates(self) -> tuple[Check, ...]:
        return tuple(
            Check(
                id=f"mesh/apiserver-{name}",
                title=f"{APISERVER} of {name} to run",
                ask=(kube.deployment(name, APISERVER, "kube-system"),),
                judge=careful(kube.judge_rolled_out),
                hint=self._kubectl(name, f"-n kube-system get deploy {APISERVER}"),
                causes=("its certificates are not issued: see the certgen Job",),
                within=self.site.timing.mesh,
            )
            for name in self.names
        )

    def _kubectl(self, cluster: str, words: str) -> str:
        return f"kubectl --kubeconfig {Local(cluster).kubeconfig} --context {cluster} {words}"


MESH_CAUSES = (
    "the clusters have different CAs",
    "two clusters have the same name or id",
    "node ports, udp/8472 or tcp/4240 are filtered between the nodes",
    "agents are still restarting: five to ten minutes are normal",
)


# --- the global service's objects ------------------------------------------------------------------------------------

_RESTRICTED: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}}


def servers(cluster: str) -> tuple[dict[str, Any], ...]:
    """A Service of the same name in every cluster, global, and servers whose pods carry their cluster's name."""
    labels = {"app.kubernetes.io/name": ECHO}
    container = {"name": ECHO, "image": IMAGE, "args": ["netexec", f"--http-port={PORT}"], "ports": [{"containerPort": PORT, "protocol": "TCP"}], "env": [{"name": "CLUSTER", "value": cluster}], "securityContext": _RESTRICTED}
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "automountServiceAccountToken": False}},
    }
    service = {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": PORT, "protocol": "TCP"}]}
    return (
        kube.namespace(SPACE),
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": ECHO, "namespace": SPACE, "labels": labels}, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": ECHO, "namespace": SPACE, "labels": labels, "annotations": {"service.cilium.io/global": "true"}},
            "spec": service,
        },
    )


def probe(cluster: str, expected: tuple[str, ...]) -> dict[str, Any]:
    """A Job that succeeds only when every cluster answered at least once and no request failed. It asks each server for its own
    environment, which names its cluster."""
    url = f"http://{ECHO}.{SPACE}/shell?cmd=printenv%20CLUSTER"
    script = (
        "heard=''; "
        f"for i in $(seq {REQUESTS}); do answer=$(curl -sf -m 5 \"$TARGET\") || exit 1; heard=\"$heard $answer\"; done; "
        'for name in $EXPECT; do case "$heard" in *"\\"$name"*) ;; *) echo "no answer from $name: $heard"; exit 1 ;; esac; done; echo "$heard"'
    )
    container = {
        "name": "client",
        "image": IMAGE,
        "command": ["sh", "-c", script],
        "env": [{"name": "TARGET", "value": url}, {"name": "EXPECT", "value": " ".join(expected)}],
        "securityContext": _RESTRICTED,
    }
    labels = {"app.kubernetes.io/name": "global-service-probe", "app.kubernetes.io/instance": cluster}
    template = {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [container], "automountServiceAccountToken": False}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{ECHO}-client", "namespace": SPACE, "labels": labels},
        "spec": {"backoffLimit": 5, "template": template},
    }


# --- judges that combine tools ---------------------------------------------------------------------------------------


def judge_served(clusters: tuple[Cluster, ...], accepted: git.Accepted, version: str, answers: Answers) -> Verdict:
    """The first half stands everywhere. Answers: GitRead; then per cluster HelmRelease, Deployment, Service."""
    verdict = git.judge_files(accepted, answers[:1])
    if not verdict.met:
        return verdict
    for i, cluster in enumerate(clusters):
        release, deployment, service = answers[1 + 3 * i : 4 + 3 * i]
        for found in (kube.rolled_out(deployment), _port(cluster, service), flux.judge_release(version, (release,))):
            if not found.met:
                return Verdict(found.state, f"{cluster.name}: {found.reason}", found.evidence, found.permanent, found.foreign)
    return met(f"{APISERVER} runs in {', '.join(cluster.name for cluster in clusters)}")


def _port(cluster: Cluster, answer: Any) -> Verdict:
    problem = refused(answer)
    if problem is not None:
        return problem
    if gone(answer):
        return unmet("its Service is not there")
    ports = [dig(port, "nodePort") for port in dig(answer.body, "spec", "ports", default=[])]
    return met() if cluster.mesh_port in ports else unmet(f"it serves at node port {ports}, wanted {cluster.mesh_port}")


def judge_connected(site: Site, accepted: git.Accepted, answers: Answers) -> Verdict:
    """The second half stands, and every cluster sees every other. Answers: GitRead; then the status of each cluster."""
    verdict = git.judge_files(accepted, answers[:1])
    if not verdict.met:
        return verdict
    for cluster, answer in zip(site.clusters, answers[1:], strict=True):
        others = tuple(cilium_config.mesh_name(c) for c in site.clusters if c.name != cluster.name)
        found = cilium.judge_mesh(len(site.nodes_of(cluster.name)), others, (answer,))
        if not found.met:
            return Verdict(found.state, f"{cluster.name}: {found.reason}", found.evidence)
    return met(f"{', '.join(cluster.name for cluster in site.clusters)} see each other")
