"""`flux` version, check, install and uninstall."""

from __future__ import annotations

import json

from lab.flux.manifests import CONTROLLERS, EXTRA, Options, components, components_text
from lab.helm import goyaml
from lab.helm.functions import semver_matches
from lab.helm.objects import Kind, name_of, namespace_of
from lab.kube.port import CRDS, KubeError
from lab.kube.registry import VERSION_INFO
from lab.programs.access import UNAUTHORIZED, ConfigError, Unreachable, resolve
from lab.programs.call import Call
from lab.programs.flux.base import BY_KIND, REFUSED, VERSION, Client, Fail, Object, client

CONSTRAINT = ">=1.32.0-0"
PART_OF = "app.kubernetes.io/part-of=flux"
DEPLOYMENTS = "apps/v1/deployments"


async def version(call: Call) -> None:
    """Versions of the program, and of the controllers unless --client."""
    out = {"flux": VERSION}
    if call.flags["output"] not in ("", "json", "yaml"):
        raise Fail(f"--output must be json or yaml, not {call.flags['output']}")
    if not call.flags["client"]:
        found = client(call)
        found.reachable()
        deployments, _ = await found.port.list(DEPLOYMENTS, found.namespace, labels=PART_OF)
        if not deployments:
            raise Fail(f"no deployments found in {found.namespace} namespace")
        out["distribution"] = f"flux-{(deployments[0]['metadata'].get('labels') or {}).get('app.kubernetes.io/version', VERSION)}"
        out |= {d["metadata"]["name"]: d["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2] for d in sorted(deployments, key=name_of)}
    if call.flags["output"] == "json":
        call.out(json.dumps(dict(sorted(out.items())), indent=2) + "\n")
    else:
        call.out("".join(f"{k}: {v}\n" for k, v in out.items()))


async def check(call: Call) -> None:
    """Prerequisites, and unless --pre the installation."""
    call.err("► checking prerequisites\n")
    try:
        found = Client(call, resolve(call, call.flags["context"], call.flags["kubeconfig"]))
    except ConfigError as error:
        raise Fail(f"Kubernetes client initialization failed: kubernetes configuration load failed: {error}") from error
    good = _kubernetes(found)
    if call.flags["pre"]:
        if not good:
            raise Fail("")
        found.success("prerequisites checks passed")
        return
    found.action("checking version in cluster")
    good &= await _in_cluster(found)
    found.action("checking controllers")
    good &= await _controllers(found)
    found.action("checking crds")
    good &= await _crds(found)
    if not good:
        raise Fail("check failed")
    found.success("all checks passed")


def _kubernetes(found: Client) -> bool:
    try:
        found.port.check("/version")
    except REFUSED as error:
        found.failure(f"Kubernetes API call failed: {error if isinstance(error, Unreachable) else UNAUTHORIZED}")
        return False
    have = VERSION_INFO["gitVersion"].removeprefix("v")
    if not semver_matches(CONSTRAINT, have):
        found.failure(f"Kubernetes version v{have} does not match {CONSTRAINT}")
        return False
    found.success(f"Kubernetes {have} {CONSTRAINT}")
    return True


async def _in_cluster(found: Client) -> bool:
    try:
        found.reachable()
        crd = await found.port.get(CRDS, "gitrepositories.source.toolkit.fluxcd.io")
    except Fail as error:
        found.failure(f"checking failed: {error}")
        return False
    if crd is None:
        found.failure('checking failed: customresourcedefinitions.apiextensions.k8s.io "gitrepositories.source.toolkit.fluxcd.io" not found')
        return False
    labels = crd["metadata"].get("labels") or {}
    found.success(f"distribution: flux-{labels.get('app.kubernetes.io/version', VERSION)}")
    found.success(f"bootstrapped: {'true' if 'kustomize.toolkit.fluxcd.io/name' in labels else 'false'}")
    return True


async def _controllers(found: Client) -> bool:
    try:
        found.reachable()
    except Fail:
        return False
    deployments, _ = await found.port.list(DEPLOYMENTS, found.namespace, labels=PART_OF)
    if not deployments:
        found.failure(f"no controllers found in the '{found.namespace}' namespace with the label selector '{PART_OF}'")
        return False
    good = True
    for one in sorted(deployments, key=name_of):
        good &= await deployment_ready(found, one)
        found.action(one["spec"]["template"]["spec"]["containers"][0]["image"])
    return good


async def deployment_ready(found: Client, one: Object) -> bool:
    """Wait for a Deployment, and say how it ended."""
    name, namespace = name_of(one), namespace_of(one)

    async def up() -> bool:
        live = await found.port.get(DEPLOYMENTS, name, namespace)
        status = (live or {}).get("status") or {}
        return live is not None and status.get("observedGeneration", 0) >= live["metadata"].get("generation", 1) and status.get("availableReplicas", 0) >= live["spec"].get("replicas", 1)

    try:
        await found.until(up)
    except Fail:
        found.failure(f"{name}: deployment not ready")
        return False
    found.success(f"{name}: deployment ready")
    return True


async def _crds(found: Client) -> bool:
    try:
        found.reachable()
    except Fail:
        return False
    crds, _ = await found.port.list(CRDS, labels=PART_OF)
    if not crds:
        found.failure(f"no crds found with the label selector '{PART_OF}'")
        return False
    for crd in sorted(crds, key=name_of):
        stored = (crd.get("status") or {}).get("storedVersions") or [v["name"] for v in crd["spec"]["versions"] if v["storage"]]
        found.success(f"{crd['metadata']['name']}/{stored[-1]}")
    return True


def options(call: Call) -> Options:
    """The flags that change the manifests. Raises Fail as the program does."""
    flags = call.flags
    wanted = [c for text in (*flags["components"], *flags["components-extra"]) for c in text.split(",") if c]
    for name in wanted:
        if name not in CONTROLLERS and name not in EXTRA:
            raise Fail(f"component {name} is not available")
    if flags["version"] and flags["version"] != VERSION:
        raise Fail(f'GitHub API call failed: Get "https://api.github.com/repos/fluxcd/flux2/releases/tags/{flags["version"]}": dial tcp: lookup api.github.com: no such host')
    return Options(
        namespace=flags["namespace"], components=tuple(wanted), registry=flags["registry"], network_policy=bool(flags["network-policy"]), watch_all=bool(flags["watch-all-namespaces"]),
        cluster_domain=flags["cluster-domain"], log_level=str(flags["log-level"]), toleration_keys=tuple(flags["toleration-keys"]), image_pull_secret=flags["image-pull-secret"],
    )  # fmt: skip


RANK = (
    "CustomResourceDefinition", "Namespace", "ClusterRole", "ClusterRoleBinding", "ResourceQuota", "ServiceAccount", "Service", "Deployment", "NetworkPolicy",
)  # fmt: skip


def apply_order(objects: tuple[Object, ...]) -> list[Object]:
    """In the order in which flux applies and lists them."""
    return sorted(objects, key=lambda o: (RANK.index(o["kind"]) if o["kind"] in RANK else len(RANK), name_of(o)))


async def apply_all(found: Client, objects: list[Object]) -> list[tuple[str, str]]:
    """Server-side apply: (subject, "created" | "configured" | "unchanged") each. Raises Fail."""
    out = []
    for obj in objects:
        kind = found.kinds.find(obj["apiVersion"], obj["kind"])
        if kind is None:
            raise Fail(f'no matches for kind "{obj["kind"]}" in version "{obj["apiVersion"]}"')
        out.append((_subject(obj), await _apply(found, obj, kind)))
        if obj["kind"] == "CustomResourceDefinition" and out[-1][1] == "created":
            await found.call.sleep(0.2)
    return out


async def _apply(found: Client, obj: Object, kind: Kind) -> str:
    live = await found.port.get(kind.gvr, name_of(obj), namespace_of(obj))
    try:
        stored = await found.port.apply(kind.gvr, obj, "flux")
    except KubeError as error:
        raise Fail(f"{_subject(obj)} dry-run failed: {error}") from error
    if live is None:
        return "created"
    return "unchanged" if live["metadata"].get("resourceVersion") == stored["metadata"].get("resourceVersion") else "configured"


def _subject(obj: Object) -> str:
    namespace = namespace_of(obj)
    return f"{obj['kind']}/{f'{namespace}/' if namespace else ''}{name_of(obj)}"


async def install(call: Call) -> None:
    """Apply the manifests, wait for the Deployments; or print them."""
    if call.flags["export"]:
        call.out(components_text(options(call)))
        return
    wanted = options(call)
    found = client(call)
    found.generate("generating manifests")
    objects = components(wanted)
    found.success("manifests build completed")
    found.action(f"installing components in {found.namespace} namespace")
    try:
        found.reachable()
    except Fail as error:
        raise Fail(f"cluster info unavailable: {error}") from error
    call.mutates()
    for subject, what in await apply_all(found, apply_order(objects)):
        call.out(f"{subject} {what}\n")
    found.waiting("verifying installation")
    good = [await deployment_ready(found, o) for o in apply_order(objects) if o["kind"] == "Deployment"]
    if not all(good):
        raise Fail("install failed")
    found.success("install finished")


async def uninstall(call: Call) -> None:
    """Remove Flux, its finalizers and CRDs; what it had applied stays."""
    if not call.flags["silent"] and not call.flags["dry-run"]:
        question = "Are you sure you want to delete Flux and its custom resource definitions"
        call.out(f"\x1b[?25l\x1b[2K\r\x1b[1m\x1b[34m?\x1b[0m \x1b[1m{question}\x1b[0m? \x1b[2m[y/N]\x1b[0m █\n\x1b[1A\x1b[2K\r\x1b[2K\r\n\x1b[?25h")
        raise Fail("aborting")
    found = client(call)
    found.reachable()
    dry = call.flags["dry-run"]
    tail = "(dry run)" if dry else ""
    if not dry:
        call.mutates()
    found.action(f"deleting components in {found.namespace} namespace")
    await _remove_components(found, tail)
    found.action("deleting toolkit.fluxcd.io finalizers in all namespaces")
    await _remove_finalizers(found, tail)
    found.action("deleting toolkit.fluxcd.io custom resource definitions")
    for crd in sorted((await found.port.list(CRDS, labels=PART_OF))[0], key=name_of):
        await _remove(found, CRDS, crd, f"CustomResourceDefinition/{name_of(crd)}", tail)
    if not call.flags["keep-namespace"]:
        space = await found.port.get("v1/namespaces", found.namespace)
        if space is None:
            found.failure(f'Namespace/{found.namespace} deletion failed: namespaces "{found.namespace}" not found')
        else:
            await _remove(found, "v1/namespaces", space, f"Namespace/{found.namespace}", tail)
    found.success("uninstall finished")


async def _remove(found: Client, gvr: str, obj: Object, subject: str, tail: str) -> None:
    if not tail:
        try:
            await found.port.delete(gvr, name_of(obj), namespace_of(obj))
        except KubeError as error:
            found.failure(f"{subject} deletion failed: {error}")
            return
    found.success(f"{subject} deleted {tail}")


async def _remove_components(found: Client, tail: str) -> None:
    rbac = "rbac.authorization.k8s.io/v1"
    kinds = (
        ("Deployment", DEPLOYMENTS, True), ("Service", "v1/services", True), ("NetworkPolicy", "networking.k8s.io/v1/networkpolicies", True), ("ServiceAccount", "v1/serviceaccounts", True),
        ("ClusterRole", f"{rbac}/clusterroles", False), ("ClusterRoleBinding", f"{rbac}/clusterrolebindings", False),
    )  # fmt: skip
    for kind, gvr, namespaced in kinds:
        selector = f"{PART_OF},app.kubernetes.io/instance={found.namespace}"
        objects, _ = await found.port.list(gvr, found.namespace if namespaced else "", labels=selector)
        for obj in sorted(objects, key=name_of):
            await _remove(found, gvr, obj, f"{kind}/{f'{found.namespace}/' if namespaced else ''}{name_of(obj)}", tail)


async def _remove_finalizers(found: Client, tail: str) -> None:
    for name in ("GitRepository", "OCIRepository", "HelmRepository", "HelmChart", "Bucket", "Kustomization", "HelmRelease", "Alert", "Provider", "Receiver"):
        kind = BY_KIND[name]
        if found.kinds.find(kind.api, kind.kind) is None:
            continue
        for obj in await found.list(kind, everywhere=True):
            if not tail and obj["metadata"].get("finalizers"):
                await found.port.patch(kind.gvr, name_of(obj), {"metadata": {"finalizers": None}}, namespace_of(obj))
            found.success(f"{kind.kind}/{namespace_of(obj)}/{name_of(obj)} finalizers deleted {tail}")


async def envsubst(call: Call) -> None:
    """Substitute variables of the environment in stdin."""
    from lab.flux.build import SubstitutionError, substitute

    for line in call.stdin.decode().splitlines():
        try:
            call.out(substitute(line, call.env, strict=bool(call.flags["strict"])) + "\n")
        except SubstitutionError as error:
            raise Fail(str(error)) from error


def yaml_of(obj: Object) -> str:
    """A document of an export."""
    return f"---\n{goyaml.dump(obj)}"


COMMANDS = {"version": version, "check": check, "install": install, "uninstall": uninstall, "envsubst": envsubst}
