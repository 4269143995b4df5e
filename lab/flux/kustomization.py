"""kustomize-controller: builds, applies, waits for and prunes what a Kustomization says.

Source: github.com/fluxcd/kustomize-controller v1.7.3 internal/controller/kustomization_controller.go; conditions and wording are its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from lab.clock import Clock
from lab.ctl.base import Informers, Keys, key_of
from lab.flux import kstatus
from lab.flux.build import BuildError, PathError, flux_build
from lab.flux.common import (
    CONFIGMAPS,
    GIT,
    GVRS,
    KUSTOMIZATIONS,
    OCI,
    PODS,
    SECRETS,
    Artifacts,
    Flux,
    Object,
    condition,
    conditions,
    go_duration,
    requested,
    seconds,
    stamp,
)
from lab.flux.source import secret_value
from lab.helm.objects import Kind, Kinds, compact, name_of, namespace_of
from lab.kube.plain import canonical
from lab.kube.port import KubeError, KubePort

MANAGER = "kustomize-controller"
REQUEUE_DEPENDENCY = 30.0
POLL = 2.0
SETTLED = 4096  # pairs of wished and held objects that are remembered
FIRST_KINDS = ("CustomResourceDefinition", "Namespace", "ClusterRole")  # applied, and waited for, before the rest
# Source: the orders that fluxcd/pkg/ssa takes from kustomize (sigs.k8s.io/kustomize/api/resid order); what is in neither comes between.
EARLY_KINDS = (
    "ResourceQuota", "StorageClass", "ServiceAccount", "PodSecurityPolicy", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding",
    "ConfigMap", "Secret", "Service", "LimitRange", "Deployment", "StatefulSet", "CronJob", "PodDisruptionBudget",
)  # fmt: skip
LATE_KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
MARK = "kustomize.toolkit.fluxcd.io"


class Failed(Exception):
    """Ends a reconciliation. `retry` in seconds, None for the Kustomization's own retry interval."""

    def __init__(self, reason: str, message: str, retry: float | None = None) -> None:
        super().__init__(message)
        self.reason, self.retry = reason, retry


def _apply_rank(obj: Object) -> tuple[bool, int]:
    """Classes go first, then kinds in their order: a ConfigMap is there before the Kustomization that substitutes from it."""
    kind = obj["kind"]
    place = EARLY_KINDS.index(kind) if kind in EARLY_KINDS else len(EARLY_KINDS) + (kind in LATE_KINDS)
    return not kind.endswith("Class"), place


def _content(obj: Mapping[str, Any]) -> str:
    """A digest of what apply looks at: neither status nor the API's own bookkeeping."""
    meta = {k: v for k, v in obj["metadata"].items() if k not in ("managedFields", "resourceVersion", "generation")}
    return hashlib.sha256(canonical({**{k: v for k, v in obj.items() if k != "status"}, "metadata": meta})).hexdigest()


def entry_of(obj: Mapping[str, Any]) -> tuple[str, str]:
    """An inventory entry: "namespace_name_group_Kind" and the version."""
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    return f"{namespace_of(dict(obj))}_{str(obj['metadata']['name']).replace(':', '__')}_{group}_{obj['kind']}", version


def subject(obj: Mapping[str, Any]) -> str:
    """ "Kind/namespace/name", or "Kind/name" for what is cluster-scoped."""
    namespace = namespace_of(dict(obj))
    return f"{obj['kind']}/{namespace}/{obj['metadata']['name']}" if namespace else f"{obj['kind']}/{obj['metadata']['name']}"


def mark(obj: Mapping[str, Any], name: str) -> str:
    """An annotation or label of kustomize-controller on an object."""
    meta = obj["metadata"]
    return str((meta.get("annotations") or {}).get(f"{MARK}/{name}") or (meta.get("labels") or {}).get(f"{MARK}/{name}") or "")


class Kustomizations(Flux):
    """The controller. Keys are "namespace/name"."""

    name: ClassVar[str] = "flux-kustomize"
    component: ClassVar[str] = "kustomize-controller"
    app = "kustomize-controller"
    parallel: ClassVar[int] = 4
    settled: ClassVar[dict[tuple[str, str], None]] = {}
    """(what was wished, what the API then held): an apply would change nothing, and it is most of what a reconcile costs. The latter
    has the UID, so that all worlds of a process can share it."""

    def __init__(self, port: KubePort, clock: Clock, informers: Informers, artifacts: Artifacts, kinds: Kinds) -> None:
        super().__init__(port, clock, informers)
        self.artifacts, self.kinds = artifacts, kinds

    def watches(self) -> Mapping[str, Keys]:
        return {
            KUSTOMIZATIONS: lambda k: (key_of(k),), GIT: self._users, OCI: self._users,
            PODS: lambda p: self._all() if (p["metadata"].get("labels") or {}).get("app") == self.app else (),
        }  # fmt: skip

    def _all(self) -> Iterable[str]:
        return tuple(key_of(k) for k in self.informers.of(KUSTOMIZATIONS).values())

    def _users(self, source: Object) -> Iterable[str]:
        meta = source["metadata"]
        for one in self.informers.of(KUSTOMIZATIONS).values():
            ref = one["spec"]["sourceRef"]
            if ref["name"] == meta["name"] and (ref.get("namespace") or one["metadata"]["namespace"]) == meta["namespace"]:
                yield key_of(one)

    async def reconcile(self, key: str) -> float | None:
        obj = await self.attended(KUSTOMIZATIONS, key, self._finalize)
        if obj is None:
            return None
        source = self._source(obj)
        revision = ((source or {}).get("status") or {}).get("artifact", {}).get("revision", "")
        facts = (obj["metadata"].get("generation"), obj["metadata"]["uid"], requested(obj), revision)
        wait = self.due(key, facts)
        if wait:
            return wait
        obj = await self.ensure_finalizer(KUSTOMIZATIONS, obj)
        return await self._one(key, obj, source, revision, facts)

    async def _one(self, key: str, obj: Object, source: Object | None, revision: str, facts: Any) -> float:
        spec = obj["spec"]
        interval = seconds(spec.get("interval"), 600.0)
        retry = seconds(spec.get("retryInterval"), interval)
        begin = self.clock.seconds()
        handled = {"lastHandledReconcileAt": requested(obj)} if requested(obj) else {}
        try:
            files = self._files(obj, source, revision)
            self._dependencies(obj, source, revision)
            if self._news(obj, revision) and not (spec.get("wait") or spec.get("healthChecks")):
                obj = await self._say(obj, f"Building manifests for revision {revision} with a timeout of {self._timeout_text(obj)}")
            inventory = await self._roll(obj, files, revision)
        except Failed as error:
            now = stamp(self.clock)
            obj = self.informers.of(KUSTOMIZATIONS).get(key) or obj
            # the object-level observedGeneration moves only once it is ready; health says so by a condition of its own
            wanted = [("Ready", "False", error.reason, str(error))]
            if error.reason == "HealthCheckFailed":
                wanted.append(("Healthy", "False", "HealthCheckFailed", str(error)))
            wanted.append(("Reconciling", "True", "ProgressingWithRetry", f"Detected a failure, retrying in {go_duration(error.retry or retry)}"))
            status: Object = {"conditions": conditions(obj, wanted, now), **handled}
            if revision and error.reason not in ("DependencyNotReady", "ArtifactFailed"):
                status["lastAttemptedRevision"] = revision
                status["history"] = self._history(obj, error.reason, revision, begin)
            await self.write(KUSTOMIZATIONS, obj, status)
            self.events.emit(obj, error.reason, str(error), "Normal" if error.reason == "DependencyNotReady" else "Warning")
            return self.settle(key, facts, error.retry or retry)
        obj = self.informers.of(KUSTOMIZATIONS).get(key) or obj
        message = f"Applied revision: {revision}"
        fresh = (obj.get("status") or {}).get("lastAppliedRevision") != revision
        done = [("Ready", "True", "ReconciliationSucceeded", message)]
        if spec.get("wait") or spec.get("healthChecks"):
            done.append(("Healthy", "True", "Succeeded", f"Health check passed in {go_duration(round(self.clock.seconds() - begin, 3))}"))
        status = {
            "conditions": conditions(obj, done, stamp(self.clock), drop=("Reconciling", "Stalled")), "inventory": {"entries": inventory}, "lastAppliedRevision": revision,
            "lastAttemptedRevision": revision, "observedGeneration": obj["metadata"].get("generation", 1), **handled,
        }  # fmt: skip
        if self._news(obj, revision) or requested(obj) != (obj.get("status") or {}).get("lastHandledReconcileAt", ""):
            status["history"] = self._history(obj, "ReconciliationSucceeded", revision, begin)
        await self.write(KUSTOMIZATIONS, obj, status)
        if fresh:
            self.events.emit(obj, "ReconciliationSucceeded", f"Reconciliation finished in {go_duration(round(self.clock.seconds() - begin, 3))}, next run in {go_duration(interval)}")
        return self.settle(key, facts, self.periodic(interval))

    @staticmethod
    def _news(obj: Object, revision: str) -> bool:
        """Whether this run is about something that has not been applied yet: a quiet look at drift says nothing."""
        status = obj.get("status") or {}
        return status.get("lastAppliedRevision") != revision or status.get("observedGeneration") != obj["metadata"].get("generation", 1)

    def _history(self, obj: Object, state: str, revision: str, begin: float) -> list[Object]:
        """The last five distinct ends, newest first."""
        before = (obj.get("status") or {}).get("history") or []
        content = f"sha256:{hashlib.sha256((revision + compact(obj['spec'])).encode()).hexdigest()}"
        now = stamp(self.clock)
        took = go_duration(round(self.clock.seconds() - begin, 3))
        one = next((dict(h) for h in before if h["digest"] == content and h["lastReconciledStatus"] == state), None)
        if one is None:
            one = {"digest": content, "firstReconciled": now, "totalReconciliations": 0, "metadata": {"revision": revision}, "lastReconciledStatus": state}
        one |= {"lastReconciled": now, "lastReconciledDuration": took, "totalReconciliations": one["totalReconciliations"] + 1}
        return [one, *(h for h in before if (h["digest"], h["lastReconciledStatus"]) != (content, state))][:5]

    @staticmethod
    def _timeout(obj: Object) -> float:
        interval = seconds(obj["spec"].get("interval"), 600.0)
        return seconds(obj["spec"].get("timeout"), max(interval - 30.0, 30.0))

    def _timeout_text(self, obj: Object) -> str:
        return go_duration(self._timeout(obj))

    async def _say(self, obj: Object, message: str) -> Object:
        """Progress in the conditions."""
        wanted = [("Reconciling", "True", "Progressing", message), ("Ready", "Unknown", "Progressing", "Reconciliation in progress")]
        return await self.write(KUSTOMIZATIONS, obj, {"conditions": conditions(obj, wanted, stamp(self.clock))})

    # --- what it builds from -----------------------------------------------------------------------------------------

    def _source(self, obj: Object) -> Object | None:
        ref = obj["spec"]["sourceRef"]
        gvr = GVRS.get(ref["kind"])
        return self.informers.of(gvr).get(f"{ref.get('namespace') or obj['metadata']['namespace']}/{ref['name']}") if gvr else None

    def _files(self, obj: Object, source: Object | None, revision: str) -> Mapping[str, bytes]:
        ref = obj["spec"]["sourceRef"]
        namespace = ref.get("namespace") or obj["metadata"]["namespace"]
        if source is None:
            raise Failed("ArtifactFailed", f"Source '{ref['kind']}/{namespace}/{ref['name']}' not found")
        if not revision:
            raise Failed("ArtifactFailed", f"Source artifact not found, retrying in {go_duration(REQUEUE_DEPENDENCY)}", REQUEUE_DEPENDENCY)
        files = self.artifacts.of(ref["kind"], namespace, ref["name"], revision)
        if files is None:
            raise Failed("ArtifactFailed", f"Source artifact not found, retrying in {go_duration(5)}", 5.0)
        return files

    def _dependencies(self, obj: Object, source: Object | None, revision: str) -> None:
        for dep in obj["spec"].get("dependsOn") or ():
            namespace = dep.get("namespace") or obj["metadata"]["namespace"]
            name = f"{namespace}/{dep['name']}"
            other = self.informers.of(KUSTOMIZATIONS).get(name)
            if other is None:
                raise Failed("DependencyNotReady", f"dependency '{name}' not found: kustomizations.kustomize.toolkit.fluxcd.io \"{dep['name']}\" not found", REQUEUE_DEPENDENCY)
            if dep.get("readyExpr"):
                if kstatus.evaluate(dep["readyExpr"], {"self": obj, "dep": other}) is not True:
                    raise Failed("DependencyNotReady", f"dependency '{name}' is not ready according to readyExpr eval", REQUEUE_DEPENDENCY)
                continue
            ready = condition(other, "Ready")
            if ready.get("status") != "True" or ready.get("observedGeneration", 0) < other["metadata"].get("generation", 1):
                raise Failed("DependencyNotReady", f"dependency '{name}' is not ready", REQUEUE_DEPENDENCY)
            same = other["spec"]["sourceRef"] == obj["spec"]["sourceRef"]
            if same and (other.get("status") or {}).get("lastAppliedRevision") != revision:
                raise Failed("DependencyNotReady", f"dependency '{name}' revision is not up to date", REQUEUE_DEPENDENCY)

    async def _variables(self, obj: Object) -> dict[str, str]:
        post = obj["spec"].get("postBuild") or {}
        out: dict[str, str] = {}
        namespace = obj["metadata"]["namespace"]
        for ref in post.get("substituteFrom") or ():
            found = await self.port.get(SECRETS if ref["kind"] == "Secret" else CONFIGMAPS, ref["name"], namespace)
            if found is None:
                if not ref.get("optional"):
                    plural = "secrets" if ref["kind"] == "Secret" else "configmaps"
                    raise Failed("BuildFailed", f"post build failed for '{obj['metadata']['name']}': substitute from '{ref['kind']}/{ref['name']}' error: {plural} \"{ref['name']}\" not found")
                continue
            out |= {k: secret_value(found, k) for k in found.get("data") or {}} if ref["kind"] == "Secret" else (found.get("data") or {})
        return {**out, **{k: str(v) for k, v in (post.get("substitute") or {}).items()}}

    async def built(self, obj: Object, files: Mapping[str, bytes]) -> list[Object]:
        """The objects that the Kustomization is made of. Raises Failed."""
        meta, spec = obj["metadata"], obj["spec"]
        try:
            variables = await self._variables(obj)
            objects = flux_build(files, spec, meta["name"], meta["namespace"], variables)
        except PathError as error:
            raise Failed("ArtifactFailed", f"kustomization path not found: {error}") from error
        except BuildError as error:
            text = str(error)
            raise Failed("BuildFailed", text if text.startswith("var substitution failed") else f"kustomize build failed: {text}") from error
        return [self._defaulted(o) for o in objects]

    def _defaulted(self, obj: Object) -> Object:
        """Namespaced objects without a namespace are refused by the controller, unless the API would default them."""
        kind = self.kinds.find(obj["apiVersion"], obj["kind"])
        if kind is not None and kind.namespaced and not namespace_of(obj):
            raise Failed("ReconciliationFailed", f"{obj['kind']}/{name_of(obj)} namespace not specified: the server could not find the requested resource")
        return obj

    # --- what it does to the cluster ---------------------------------------------------------------------------------

    async def _roll(self, obj: Object, files: Mapping[str, bytes], revision: str) -> list[Object]:
        objects = await self.built(obj, files)
        wanted = [o for o in objects if mark(o, "reconcile") != "disabled"]
        first = [o for o in wanted if o["kind"] in FIRST_KINDS]
        rest = sorted((o for o in wanted if o["kind"] not in FIRST_KINDS), key=_apply_rank)
        changed = await self._apply_all(obj, first)
        if first:
            await self._await_first(first)
        changed += await self._apply_all(obj, rest)
        if changed:
            self.events.emit(obj, "Progressing", "\n".join(changed[:40]))
        entries = [{"id": i, "v": v} for i, v in sorted({entry_of(o) for o in objects})]
        await self._prune(obj, entries)
        await self._health(obj, wanted, revision)
        return entries

    async def _apply_all(self, owner: Object, objects: Sequence[Object]) -> list[str]:
        out = []
        for one in objects:
            kind = self.kinds.find(one["apiVersion"], one["kind"])
            if kind is None:
                raise Failed("ReconciliationFailed", f'{subject(one)} dry-run failed: no matches for kind "{one["kind"]}" in version "{one["apiVersion"]}"')
            changed = await self._apply(owner, one, kind)
            if changed:
                out.append(f"{subject(one)} {changed}")
        return out

    async def _apply(self, owner: Object, one: Object, kind: Kind) -> str:
        """Server-side apply of one object: "created", "configured", or nothing where it was so already."""
        live = await self.port.get(kind.gvr, name_of(one), namespace_of(one))
        policy = mark(one, "ssa")
        if live is not None and (policy in ("IfNotPresent", "Ignore") or mark(live, "reconcile") == "disabled"):
            return ""
        if policy == "Ignore":
            return ""
        wished = _content(one)
        if live is not None and (wished, _content(live)) in self.settled:
            return ""
        try:
            stored = await self.port.apply(kind.gvr, one, MANAGER)
        except KubeError as error:
            immutable = "immutable" in error.message and (owner["spec"].get("force") or mark(one, "force") == "enabled")
            if not immutable:
                raise Failed("ReconciliationFailed", f"{subject(one)} dry-run failed ({error.reason or 'Unknown'}): {error.message}") from error
            await self.port.delete(kind.gvr, name_of(one), namespace_of(one))
            stored = await self.port.apply(kind.gvr, one, MANAGER)
        self.settled[wished, _content(stored)] = None
        if len(self.settled) > SETTLED:
            del self.settled[next(iter(self.settled))]
        if live is None:
            return "created"
        same = live["metadata"].get("resourceVersion") == stored["metadata"].get("resourceVersion")
        return "" if same else "configured"

    async def _await_first(self, objects: Sequence[Object]) -> None:
        """CRDs and namespaces are there before what needs them."""
        end = self.clock.seconds() + 60
        for one in objects:
            kind = self.kinds.find(one["apiVersion"], one["kind"])
            while kind is not None and kstatus.status_of(await self.port.get(kind.gvr, name_of(one), namespace_of(one))) != kstatus.CURRENT:
                if self.clock.seconds() > end:
                    raise Failed("ReconciliationFailed", f"timeout waiting for: [{subject(one)} status: 'InProgress']")
                await self.clock.sleep(0.5)

    async def _prune(self, obj: Object, entries: Sequence[Mapping[str, str]]) -> None:
        """Delete what the last inventory had and this one has not."""
        if not obj["spec"].get("prune"):
            return
        now = {e["id"] for e in entries}
        stale = [e for e in (((obj.get("status") or {}).get("inventory") or {}).get("entries") or ()) if e["id"] not in now]
        gone = await self._delete_entries(obj, stale)
        if gone:
            self.events.emit(obj, "Progressing", "\n".join(f"{g} deleted" for g in gone))

    async def _delete_entries(self, owner: Object, entries: Sequence[Mapping[str, str]]) -> list[str]:
        out = []
        mine = {f"{MARK}/name": owner["metadata"]["name"], f"{MARK}/namespace": owner["metadata"]["namespace"]}
        for entry in reversed(entries):
            namespace, name, group, kind_name = entry["id"].split("_", 3) if entry["id"].count("_") == 3 else _split_entry(entry["id"])
            kind = self.kinds.find(f"{group}/{entry['v']}" if group else entry["v"], kind_name)
            live = await self.port.get(kind.gvr, name, namespace) if kind is not None else None
            if kind is None or live is None or mark(live, "prune") == "disabled":
                continue
            labels = live["metadata"].get("labels") or {}
            if any(labels.get(k) != v for k, v in mine.items()):
                continue
            try:
                await self.port.delete(kind.gvr, name, namespace)
            except KubeError as error:
                if error.status != 404:
                    raise Failed("PruneFailed", f"prune failed: {kind_name}/{name} delete failed: {error.message}") from error
            out.append(subject(live))
        return out

    async def _health(self, obj: Object, objects: Sequence[Object], revision: str) -> None:
        spec = obj["spec"]
        checks = [(o["apiVersion"], o["kind"], namespace_of(o), name_of(o)) for o in objects] if spec.get("wait") else [
            (c.get("apiVersion") or "v1", c["kind"], c.get("namespace") or obj["metadata"]["namespace"], c["name"]) for c in spec.get("healthChecks") or ()
        ]  # fmt: skip
        if not checks:
            return
        timeout = self._timeout(obj)
        if self._news(obj, revision):
            await self._say(obj, f"Running health checks for revision {revision} with a timeout of {go_duration(timeout)}")
        end = self.clock.seconds() + timeout
        while True:
            waiting, failed = await self._states(checks, spec.get("healthCheckExprs") or ())
            if not waiting and not failed:
                return
            if (failed and not waiting) or self.clock.seconds() >= end:
                took = go_duration(round(timeout, 3))
                what = f"failed early due to stalled resources: [{', '.join(failed)}]" if failed and not waiting else f"timeout waiting for: [{', '.join([*waiting, *failed])}]"
                raise Failed("HealthCheckFailed", f"health check failed after {took}: {what}")
            if self._overtaken(obj, revision):
                raise Failed("HealthCheckFailed", "New reconciliation triggered by GitRepository revision", 0.5)
            await self.clock.sleep(min(POLL, max(end - self.clock.seconds(), 0.05)))

    def _overtaken(self, obj: Object, revision: str) -> bool:
        """A newer revision or generation does not wait for the health of this one."""
        now = self.informers.of(KUSTOMIZATIONS).get(key_of(obj))
        source = self._source(obj)
        newest = ((source or {}).get("status") or {}).get("artifact", {}).get("revision", revision)
        return now is None or now["metadata"].get("generation") != obj["metadata"].get("generation") or newest != revision

    async def _states(self, checks: Sequence[tuple[str, str, str, str]], expressions: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
        waiting, failed = [], []
        for api, kind_name, namespace, name in checks:
            kind = self.kinds.find(api, kind_name)
            live = await self.port.get(kind.gvr, name, namespace if kind.namespaced else "") if kind is not None else None
            state = kstatus.by_expressions(live, expressions) or kstatus.status_of(live)
            text = f"{kind_name}/{f'{namespace}/' if namespace else ''}{name} status: '{state}'"
            if state == kstatus.FAILED:
                failed.append(text)
            elif state != kstatus.CURRENT:
                waiting.append(text)
        return waiting, failed

    async def _finalize(self, obj: Object) -> None:
        """A deleted Kustomization takes its inventory along, unless it was suspended or says otherwise."""
        spec = obj["spec"]
        policy = spec.get("deletionPolicy", "MirrorPrune")
        wanted = policy in ("Delete", "WaitForTermination") or (policy == "MirrorPrune" and spec.get("prune"))
        if wanted and not spec.get("suspend"):
            await self._delete_entries(obj, ((obj.get("status") or {}).get("inventory") or {}).get("entries") or ())
        await self.drop_finalizer(KUSTOMIZATIONS, obj)
        self.forget(key_of(obj))


def _split_entry(text: str) -> tuple[str, str, str, str]:
    """An entry whose name holds underscores, which stand for colons."""
    namespace, _, rest = text.partition("_")
    rest, _, kind = rest.rpartition("_")
    name, _, group = rest.rpartition("_")
    return namespace, name.replace("__", ":"), group, kind

