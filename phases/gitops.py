"""GitOps: the repository's tree, Flux following it, Cilium adopted without a restart, and a proof that Git rules.

Plan: days 5-7 (infra), 12-14 (apps).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from inventory.model import Cluster, Site
from orchestrator.model.action import Await, Command, GitCommit, Mark
from orchestrator.model.check import Check, Judge
from orchestrator.model.phase import Phase, Step
from orchestrator.model.query import GitRead
from orchestrator.tools import flux, git, helm, kube, marks
from orchestrator.tools.answers import careful, digest
from orchestrator.tools.paths import Local
from phases import cilium_config, network, repository
from phases.calendar import days

MARGIN = timedelta(minutes=2)  # of our own deadline beyond a program's --timeout


def phase(site: Site, cluster: Cluster) -> Phase:
    """The tree before Flux, so that its first sync finds it; each layer waits for those that it needs."""
    build = _Builder(site, cluster)
    return Phase(
        id=build.id,
        title=f"GitOps on {cluster.name}",
        week=cluster.week,
        days=build.days,
        needs=(f"network@{cluster.name}",),
        steps=(build.layout(), build.flux_bootstrap(), build.layers(), build.adoption(), build.reconcile_test()),
        gates=(build.system_gate(), build.layers_gate(), build.release_gate(), *build.values_gates()),
        preconditions=(build.repository_readable(),),
        identity=(network.identity(site, cluster, build.id),),
        adr=("ADR-003",),
        summary="repository tree, flux bootstrap, layers, Cilium adopted, reconcile test",
    )


class _Builder:
    """The steps of one cluster."""

    def __init__(self, site: Site, cluster: Cluster) -> None:
        self.site, self.cluster, self.name = site, cluster, cluster.name
        self.days = days(cluster, "gitops").text
        self.id = f"gitops@{cluster.name}"
        self.local = Local(cluster.name)
        self.path = flux.cluster_path(site.git, cluster.name)
        self.files: Mapping[str, str] = repository.files(site, cluster)
        self.values = cilium_config.values(site, cluster)
        self.at = f"--kubeconfig {self.local.kubeconfig} --context {cluster.name}"

    def repository_readable(self) -> Check:
        return Check(
            id=f"{self.id}/repository",
            title="the repository to answer",
            ask=(GitRead((self.path,)),),
            judge=careful(git.judge_readable),
            hint=f"git ls-remote {self.site.git.url}",
            causes=("the token or key is not accepted", "the repository does not exist yet"),
            within=self.site.timing.reachable,
            hears_silence=True,
        )

    def layout(self) -> Step:
        accepted = {path: (text,) for path, text in self.files.items()}
        return Step(
            id=f"{self.id}/layout",
            title=f"commit the tree of {self.name} to {self.site.git.branch}",
            days=self.days,
            goal=Check(
                id=f"{self.id}/layout",
                title=f"{len(accepted)} files of ours to be in the repository",
                ask=(GitRead(tuple(sorted(self._folders()))),),
                judge=careful(partial(git.judge_files, accepted)),
                hint=f"git -C CLONE log --stat -- {self.path}",
                causes=("a push lost a race too often", "the branch is protected"),
                within=MARGIN,
                source="gitops-storage.md 5; design.md promise 13",
            ),
            actions=(GitCommit(f"Lay out {self.name}", self.files),),
            holds=("git",),
            notes=("plan: layers without dependsOn or health -> each layer waits for those that it needs (gitops-storage.md 15, row 6)",),
        )

    def _folders(self) -> set[str]:
        return {f"{path.rsplit('/', 1)[0]}/" for path in self.files}

    def flux_bootstrap(self) -> Step:
        """Pushes to Git and installs Flux; may be repeated. It gets the token in its environment, and no other child does."""
        within = self.site.timing.flux_bootstrap
        before = Check(
            id=f"{self.id}/values-before-adoption",
            title="Cilium's live values to be those of Git",
            ask=(helm.values(self.name), helm.release_object(self.name)),
            judge=careful(partial(helm.judge_values_as_git, self.values)),
            hint=f"helm -n kube-system --kubeconfig {self.local.kubeconfig} --kube-context {self.name} get values cilium",
            causes=("somebody upgraded Cilium by hand: the takeover would restart every agent",),
            within=self.site.timing.unknown,
            hears_silence=True,
            source="foundation.md 5.3",
        )
        possible = Check(
            id=f"{self.id}/flux-possible",
            title="flux check --pre to pass",
            ask=(flux.check_pre(self.name),),
            judge=careful(flux.judge_check_pre),
            hint=f"flux check --pre {self.at}",
            within=self.site.timing.unknown,
        )
        return Step(
            id=f"{self.id}/flux-bootstrap",
            title=f"bootstrap Flux {self.site.versions.flux} on {self.path}",
            days=self.days,
            goal=Check(
                id=f"{self.id}/flux-bootstrap",
                title=f"Flux to follow ./{self.path}",
                ask=(flux.source(self.name), flux.kustomization(self.name, flux.SYSTEM), *(kube.deployment(self.name, c, flux.SYSTEM) for c in flux.CONTROLLERS)),
                judge=careful(partial(flux.judge_bootstrapped, self.path)),
                hint=f"flux get all -A {self.at}",
                causes=("the controllers' images cannot be pulled", "the deploy key was removed", "a manifest in the cluster's folder is broken"),
                within=self.site.timing.reconcile,
                source="gitops-storage.md 3",
            ),
            actions=(
                Await(possible),
                Await(before),
                Command(flux.bootstrap(self.site, self.name), env=flux.credentials(self.site.git), within=within + MARGIN),
            ),
            holds=("git",),
            reversible="compensable",
            notes=(
                "plan: flux bootstrap on days 3-4 and again on 5-7 -> once, after Cilium (foundation.md 13, row 13)",
                "plan: --personal for any owner -> only where the owner is the token's own user (gitops-storage.md 15, row 3)",
                "plan: no token, no context, default timeout -> all three given (rows 4, 5)",
            ),
        )

    def _applied(self, name: str, *, within: timedelta) -> Check:
        return Check(
            id=name,
            title=f"{len(repository.LAYERS)} layers to be reconciled",
            ask=(flux.source(self.name), flux.kustomization(self.name, flux.SYSTEM), *(flux.kustomization(self.name, layer) for layer in repository.LAYERS)),
            judge=careful(flux.judge_applied),
            hint=f"flux get ks -A {self.at}",
            causes=("a layer waits for one that it needs", "an object of a layer does not become healthy"),
            within=within,
            source="gitops-storage.md 4",
        )

    def layers(self) -> Step:
        return Step(
            id=f"{self.id}/layers",
            title="reconcile the layers",
            days=self.days,
            goal=self._applied(f"{self.id}/layers", within=2 * self.site.timing.reconcile),
            actions=(self._command(flux.reconcile_source(self.site, self.name)), self._command(flux.reconcile(self.site, self.name, flux.SYSTEM))),
        )

    def _command(self, argv: tuple[str, ...]) -> Command:
        return Command(argv, within=self.site.timing.reconcile + MARGIN)

    def _released(self, name: str) -> Check:
        return Check(
            id=name,
            title=f"Flux to own Cilium {self.site.versions.cilium}",
            ask=(helm.release_object(self.name),),
            judge=careful(partial(flux.judge_release, self.site.versions.cilium)),
            hint=f"flux get hr -A {self.at}",
            causes=("the chart's repository does not answer", "an agent does not come back after an upgrade"),
            within=self.site.timing.cilium,
            source="gitops-storage.md 4",
        )

    def adoption(self) -> Step:
        return Step(
            id=f"{self.id}/cilium-adopted",
            title="hand Cilium over to Flux",
            days=self.days,
            goal=self._released(f"{self.id}/cilium-adopted"),
            actions=(self._command(flux.reconcile_release(self.site, self.name, helm.RELEASE, helm.NAMESPACE)),),
            notes=("same name, namespace, chart and values: helm-controller makes one more revision and no pod restarts (foundation.md 5.3)",),
        )

    def reconcile_test(self) -> Step:
        """A real object is made and removed through Git. Interrupted, it goes on where it was: each of its parts may be repeated."""
        path, name = repository.test_path(self.site, self.name), "reconcile-test"
        inputs = digest(name, self.site.git.url, self.path, self.site.versions.flux)
        wanted = repository.test_object(self.name)
        sync = (self._command(flux.reconcile_source(self.site, self.name)), self._command(flux.reconcile(self.site, self.name, "apps")))
        return Step(
            id=f"{self.id}/reconcile-test",
            title="make and remove an object through Git",
            days=self.days,
            goal=Check(
                id=f"{self.id}/reconcile-test",
                title="the reconcile test to have passed",
                ask=(marks.mark(self.name, name),),
                judge=careful(partial(marks.judge_mark, inputs)),
                hint=f"flux get ks apps {self.at}",
                within=MARGIN,
                source="gitops-storage.md 6",
            ),
            actions=(
                GitCommit(f"Test the reconciliation of {self.name}", {path: repository.test_file(self.name)}),
                *sync,
                Await(self._seen("made", wanted, kube.judge_present), once=True),
                GitCommit(f"End the test of the reconciliation of {self.name}", {path: None}),
                *sync,
                Await(self._seen("removed", wanted, kube.judge_absent), once=True),
                Mark(self.name, name, inputs),
            ),
            holds=("git",),
        )

    def _seen(self, what: str, wanted: Mapping[str, object], judge: Judge) -> Check:
        return Check(
            id=f"{self.id}/reconcile-test-{what}",
            title=f"the test's object to be {what}",
            ask=(kube.get(self.name, wanted),),
            judge=careful(judge),
            hint=f"kubectl {self.at} -n {flux.SYSTEM} get configmap {repository.TEST_NAME}",
            causes=("the layer apps is not reconciled", "the push did not reach the branch that Flux follows"),
            within=self.site.timing.reconcile,
        )

    def system_gate(self) -> Check:
        return Check(
            id=f"{self.id}/controllers",
            title="Flux' controllers to run",
            ask=tuple(kube.deployment(self.name, controller, flux.SYSTEM) for controller in flux.CONTROLLERS),
            judge=careful(kube.judge_rolled_out),
            hint=f"flux check {self.at}",
            causes=("an image cannot be pulled", "no node takes its pods"),
            within=self.site.timing.reconcile,
        )

    def layers_gate(self) -> Check:
        return self._applied(f"{self.id}/reconciled", within=self.site.timing.reconcile)

    def release_gate(self) -> Check:
        return self._released(f"{self.id}/release")

    def values_gates(self) -> tuple[Check, ...]:
        """The CNI still runs everywhere after the takeover."""
        return (
            Check(
                id=f"{self.id}/agents",
                title="Cilium's agents to run after the takeover",
                ask=(kube.daemonset(self.name, "cilium", "kube-system"),),
                judge=careful(kube.judge_rolled_out),
                hint=f"kubectl {self.at} -n kube-system get ds cilium",
                causes=("the values in Git differ from those of the installation, and the agents restart",),
                within=self.site.timing.cilium,
            ),
        )
