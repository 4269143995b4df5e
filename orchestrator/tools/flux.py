"""flux: argv, and judges of Flux' own objects, which tell more than the exit codes do. Source: gitops-storage.md 2-6; flux v2.7.5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inventory.model import Git, Site
from orchestrator.model.check import Answers
from orchestrator.model.query import Answer, KubeGet, Secret, ToolQuery, Value
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from orchestrator.tools.answers import dig, gone, listed, refused, said
from orchestrator.tools.kube import condition, first_open, rolled_out
from orchestrator.tools.paths import Local
from orchestrator.tools.text import duration

SYSTEM = "flux-system"
CONTROLLERS = ("source-controller", "kustomize-controller", "helm-controller", "notification-controller")
KUSTOMIZATION = "kustomize.toolkit.fluxcd.io/v1"
SOURCE = "source.toolkit.fluxcd.io/v1"
HELM = "helm.toolkit.fluxcd.io/v2"
TRANSIENT_REASONS = frozenset(
    {"Progressing", "ProgressingWithRetry", "DependencyNotReady", "HealthCheckFailed", "ArtifactFailed", "PruneFailed", "GitOperationFailed"}
)
PERMANENT_REASONS = frozenset({"BuildFailed", "AuthenticationFailed", "InvalidCELExpression", "AccessDenied", "RetriesExceeded", "MissingRollbackTarget"})


def _at(cluster: str) -> tuple[str, ...]:
    return ("--kubeconfig", Local(cluster).kubeconfig, "--context", cluster)


def cluster_path(git: Git, cluster: str) -> str:
    """The folder of the repository that this cluster's root Kustomization reconciles."""
    return f"{git.path.strip('/')}/{cluster}".strip("/")


# --- argv ------------------------------------------------------------------------------------------------------------


def bootstrap(site: Site, cluster: str) -> tuple[str, ...]:
    """Install Flux and let it follow the repository. May be repeated; pushes to Git. Stdin is closed, so that it never prompts."""
    git = site.git
    common = (*_at(cluster), f"--branch={git.branch}", f"--path={cluster_path(git, cluster)}", f"--timeout={duration(site.timing.flux_bootstrap)}")
    names = (f"--author-name={git.author.name}", f"--author-email={git.author.email}", f"--cluster-domain={site.cluster(cluster).domain}")
    return ("flux", "bootstrap", git.provider, *common, *_where(git), *names)


def _where(git: Git) -> tuple[str, ...]:
    if git.provider == "git":
        if git.url.startswith(("ssh://", "git@")):
            key = git.private_key
            return (f"--url={git.url}", "--silent", *((f"--private-key-file={key.rest}",) if key is not None and key.scheme == "file" else ()))
        insecure = ("--allow-insecure-http",) if git.url.startswith("http://") else ()
        return (f"--url={git.url}", "--silent", "--token-auth", f"--username={git.username}", *insecure)
    host = (f"--hostname={git.hostname}",) if git.hostname else ()
    personal = ("--personal",) if git.personal else ()
    token = ("--token-auth",) if git.auth == "token" else ()
    return (f"--owner={git.owner}", f"--repository={git.repository}", *host, *personal, *token)


def credentials(git: Git) -> dict[str, Value]:
    """What `flux bootstrap` gets in its environment, and no other child does."""
    if git.token is None:
        return {}
    name = {"github": "GITHUB_TOKEN", "gitea": "GITEA_TOKEN", "git": "GIT_PASSWORD"}[git.provider]
    return {name: Secret(str(git.token))}


def reconcile_source(site: Site, cluster: str) -> tuple[str, ...]:
    return ("flux", "reconcile", "source", "git", SYSTEM, *_at(cluster), f"--timeout={duration(site.timing.reconcile)}")


def reconcile(site: Site, cluster: str, name: str) -> tuple[str, ...]:
    return ("flux", "reconcile", "kustomization", name, *_at(cluster), f"--timeout={duration(site.timing.reconcile)}")


def reconcile_release(site: Site, cluster: str, name: str, space: str) -> tuple[str, ...]:
    return ("flux", "reconcile", "helmrelease", name, "--namespace", space, *_at(cluster), f"--timeout={duration(site.timing.reconcile)}")


def check_pre(cluster: str) -> ToolQuery:
    return ToolQuery(("flux", "check", "--pre", *_at(cluster)))


def judge_check_pre(answers: Answers) -> Verdict:
    """The API answers and its version is one that Flux supports. All text is on stderr."""
    answer = answers[0]
    if answer.unreachable is not None:
        return unknown(answer.unreachable)
    if answer.rc == 0 and "prerequisites checks passed" in answer.stderr:
        return met("flux check --pre passed")
    if "API call failed" in answer.stderr:
        return unknown(said(answer))
    return unmet(said(answer)) if answer.rc != 0 else unknown("flux check --pre said nothing")


# --- objects ---------------------------------------------------------------------------------------------------------


def source(cluster: str) -> KubeGet:
    return KubeGet(cluster, SOURCE, "GitRepository", SYSTEM, SYSTEM)


def kustomization(cluster: str, name: str) -> KubeGet:
    return KubeGet(cluster, KUSTOMIZATION, "Kustomization", name, SYSTEM)


def ready(answer: Answer) -> Verdict:
    """The generation that is there now was reconciled and is Ready; suspended objects are never (gitops-storage.md 4)."""
    problem = refused(answer)
    if problem is not None:
        return problem
    if gone(answer):
        return unmet("not there yet")
    found = answer.body
    label = f"{dig(found, 'kind', default='object')} {dig(found, 'metadata', 'name', default='?')}"
    generation = dig(found, "metadata", "generation")
    if not isinstance(generation, int):
        return unknown(f"{label} tells no generation")
    if dig(found, "spec", "suspend"):
        return unmet(f"{label} is suspended", permanent=True)
    state = condition(found, "Ready")
    stalled = condition(found, "Stalled")
    if state.get("status") != "True" or stalled.get("status") == "True":
        reason = str(stalled.get("reason") or state.get("reason") or "no condition yet")
        wait = "no matches for kind" in str(state.get("message", "")) or reason in TRANSIENT_REASONS
        lasting = stalled.get("status") == "True" or (reason in PERMANENT_REASONS and not wait)
        return unmet(f"{label}: {reason}: {str(stalled.get('message') or state.get('message') or '')[:200]}", permanent=lasting)
    seen = state.get("observedGeneration") or dig(found, "status", "observedGeneration", default=0)
    return met(f"{label} ready") if seen == generation else unmet(f"{label}: generation {generation} is not reconciled yet")


def applied(root: Answer, answers: tuple[Answer, ...]) -> Verdict:
    """All Kustomizations are Ready at the revision that the source has."""
    problem = ready(root)
    if not problem.met:
        return problem
    revision = dig(root.body, "status", "artifact", "revision")
    if not isinstance(revision, str):
        return unmet("the source has no artifact yet")
    for answer in answers:
        verdict = ready(answer)
        if not verdict.met:
            return verdict
        at = dig(answer.body, "status", "lastAppliedRevision")
        if at != revision:
            return unmet(f"{dig(answer.body, 'metadata', 'name')} is at {_short(at)}, the source at {_short(revision)}")
    return met(f"{len(answers)} Kustomizations at {_short(revision)}")


def _short(revision: Any) -> str:
    name, _, digest = str(revision).partition(":")
    return f"{name}:{digest[:8]}" if digest else name


def judge_applied(answers: Answers) -> Verdict:
    """Answers: the GitRepository, then Kustomizations."""
    return applied(answers[0], answers[1:])


def judge_applied_at_head(answers: Answers) -> Verdict:
    """The branch's head is applied. Answers: GitRead, the GitRepository, then Kustomizations."""
    head = dig(answers[0].body, "head")
    if not isinstance(head, str):
        return unknown("the repository's head is not known")
    revision = str(dig(answers[1].body, "status", "artifact", "revision", default=""))
    verdict = applied(answers[1], answers[2:])
    if verdict.met and not revision.endswith(f":{head}"):
        return unmet(f"the source is at {_short(revision)}, the branch at {head[:8]}")
    return verdict


def judge_bootstrapped(path: str, answers: Answers) -> Verdict:
    """Flux follows our path, has applied it once, and its controllers run. Answers: GitRepository, root Kustomization, the four
    Deployments. Whether the newest revision is applied is another question, so that a moment's work is no reason to bootstrap again.

    A root Kustomization of another path is somebody else's: bootstrap would push first and refuse then."""
    source_answer, root = answers[0], answers[1]
    for answer in (source_answer, root):
        problem = refused(answer)
        if problem is not None:
            return problem
    if gone(root) or gone(source_answer):
        return unmet("Flux is not installed")
    if dig(root.body, "kind") != "Kustomization":
        return unknown("the answer is no Kustomization")
    found = str(dig(root.body, "spec", "path", default="")).removeprefix("./").strip("/")
    if found != path:
        return unmet(f"Flux follows ./{found}, wanted ./{path}", permanent=True, foreign=True)
    if not dig(root.body, "status", "lastAppliedRevision"):
        return unmet(f"Flux has not applied ./{path} yet: {condition(root.body, 'Ready').get('message', 'no condition yet')}")
    return first_open((met(f"Flux follows ./{path}"), *(rolled_out(answer) for answer in answers[2:])))


def judge_release(chart_version: str, answers: Answers) -> Verdict:
    """The HelmRelease is Ready and its newest revision is the pinned chart, deployed. Answer: HelmRelease."""
    verdict = ready(answers[0])
    if not verdict.met:
        return verdict
    newest: Mapping[str, Any] = next(iter(listed(dig(answers[0].body, "status", "history"))), {})
    if newest.get("status") != "deployed" or newest.get("chartVersion") != chart_version:
        return unmet(f"the newest revision is {newest.get('chartVersion')} {newest.get('status')}, wanted {chart_version} deployed")
    return met(f"chart {chart_version} deployed by Flux")
