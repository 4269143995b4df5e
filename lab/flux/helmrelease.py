"""helm-controller: brings releases to what HelmReleases say, through the same engine as `helm`.

Source: github.com/fluxcd/helm-controller v1.4.5 internal/reconcile; conditions and wording are its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from lab.clock import Clock
from lab.ctl.base import Informers, Keys, key_of
from lab.flux.common import (
    CHARTS,
    CONFIGMAPS,
    OCI,
    PODS,
    RELEASES,
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
from lab.flux.kustomization import Failed
from lab.flux.source import is_ready, secret_value
from lab.helm import goyaml
from lab.helm import release as rel
from lab.helm import values as val
from lab.helm.charts import Chart
from lab.helm.engine import Helm, HelmError, Options
from lab.helm.objects import Kinds, compact
from lab.kube.port import KubeError, KubePort
from lab.kube.registry import VERSION_INFO

FORCE, RESET = "reconcile.fluxcd.io/forceAt", "reconcile.fluxcd.io/resetAt"
REQUEUE_DEPENDENCY = 30.0
ORIGIN = "helm.toolkit.fluxcd.io"


def release_name(obj: Mapping[str, Any]) -> str:
    """spec.releaseName, else "[targetNamespace-]name"."""
    spec = obj["spec"]
    prefix = f"{spec['targetNamespace']}-" if spec.get("targetNamespace") else ""
    return str(spec.get("releaseName") or f"{prefix}{obj['metadata']['name']}"[:53])


def namespaces(obj: Mapping[str, Any]) -> tuple[str, str]:
    """Where the objects go, and where the release is kept."""
    spec, own = obj["spec"], obj["metadata"]["namespace"]
    return str(spec.get("targetNamespace") or own), str(spec.get("storageNamespace") or own)


def config_digest(values: Mapping[str, Any]) -> str:
    """As status.lastAttemptedConfigDigest."""
    return f"sha256:{hashlib.sha256(compact(values).encode()).hexdigest()}"


class HelmReleases(Flux):
    """The controller. Keys are "namespace/name"."""

    name: ClassVar[str] = "flux-helm"
    component: ClassVar[str] = "helm-controller"
    app = "helm-controller"
    parallel: ClassVar[int] = 4

    def __init__(self, port: KubePort, clock: Clock, informers: Informers, artifacts: Artifacts, kinds: Kinds) -> None:
        super().__init__(port, clock, informers)
        self.artifacts, self.kinds = artifacts, kinds

    def watches(self) -> Mapping[str, Keys]:
        return {
            RELEASES: lambda r: (key_of(r),), CHARTS: self._users, OCI: self._oci_users,
            SECRETS: self._value_users, CONFIGMAPS: self._value_users,
            PODS: lambda p: tuple(key_of(r) for r in self.informers.of(RELEASES).values()) if (p["metadata"].get("labels") or {}).get("app") == self.app else (),
        }  # fmt: skip

    def _users(self, chart: Object) -> Iterable[str]:
        meta = chart["metadata"]
        return tuple(key_of(r) for r in self.informers.of(RELEASES).values() if chart_key(r) == (meta["namespace"], meta["name"]))

    def _oci_users(self, source: Object) -> Iterable[str]:
        meta = source["metadata"]
        for one in self.informers.of(RELEASES).values():
            ref = one["spec"].get("chartRef") or {}
            if ref.get("name") == meta["name"] and (ref.get("namespace") or one["metadata"]["namespace"]) == meta["namespace"]:
                yield key_of(one)

    def _value_users(self, source: Object) -> Iterable[str]:
        """A labelled ConfigMap or Secret is reacted to at once."""
        if (source["metadata"].get("labels") or {}).get("reconcile.fluxcd.io/watch") != "Enabled":
            return
        for one in self.informers.of(RELEASES).values():
            named = {(r["kind"], r["name"]) for r in one["spec"].get("valuesFrom") or ()}
            if one["metadata"]["namespace"] == source["metadata"]["namespace"] and any(n == source["metadata"]["name"] for _, n in named):
                self.forget(key_of(one))
                yield key_of(one)

    async def reconcile(self, key: str) -> float | None:
        obj = await self.attended(RELEASES, key, self._finalize)
        if obj is None:
            return None
        annotations = obj["metadata"].get("annotations") or {}
        facts = (obj["metadata"].get("generation"), obj["metadata"]["uid"], requested(obj), annotations.get(FORCE), annotations.get(RESET), self._chart_revision(obj))
        wait = self.due(key, facts)
        if wait:
            return wait
        obj = await self.ensure_finalizer(RELEASES, obj)
        return await self._one(key, obj, facts)

    def _chart_revision(self, obj: Object) -> str:
        source = self._chart_source(obj)
        return str(((source or {}).get("status") or {}).get("artifact", {}).get("revision", "")) if source and is_ready(source) else ""

    def _chart_source(self, obj: Object) -> Object | None:
        namespace, name = chart_key(obj)
        ref = obj["spec"].get("chartRef")
        gvr = OCI if ref and ref["kind"] == "OCIRepository" else CHARTS
        return self.informers.of(gvr).get(f"{namespace}/{name}")

    async def _one(self, key: str, obj: Object, facts: Any) -> float:
        spec = obj["spec"]
        interval = seconds(spec.get("interval"), 300.0)
        handled = {"lastHandledReconcileAt": requested(obj)} if requested(obj) else {}
        try:
            self._dependencies(obj)
            chart = await self._chart(obj)
            values = await self._values(obj)
            await self._release(obj, chart, values)
        except Failed as error:
            obj = self.informers.of(RELEASES).get(key) or obj
            stalled = error.reason == "RetriesExceeded"
            wanted = [("Ready", "False", error.reason, str(error))]
            wanted += [("Stalled", "True", error.reason, str(error))] if stalled else []
            drop = ("Reconciling",) if stalled else ("Stalled",)
            status: Object = {"conditions": conditions(obj, wanted, stamp(self.clock), drop=drop), **handled}
            if stalled:
                status["observedGeneration"] = obj["metadata"].get("generation", 1)
            await self.write(RELEASES, obj, status)
            return self.settle(key, facts, error.retry if error.retry is not None else self.periodic(interval) if stalled else interval)
        obj = self.informers.of(RELEASES).get(key) or obj
        await self.write(RELEASES, obj, {**handled, "observedGeneration": obj["metadata"].get("generation", 1)})
        return self.settle(key, facts, self.periodic(interval))

    def _dependencies(self, obj: Object) -> None:
        for dep in obj["spec"].get("dependsOn") or ():
            name = f"{dep.get('namespace') or obj['metadata']['namespace']}/{dep['name']}"
            other = self.informers.of(RELEASES).get(name)
            if other is None or not is_ready(other):
                raise Failed("DependencyNotReady", f"dependency '{name}' is not ready", REQUEUE_DEPENDENCY)

    async def _chart(self, obj: Object) -> Chart:
        """The chart that the release is made of, once its source is ready."""
        namespace, name = chart_key(obj)
        ref = obj["spec"].get("chartRef")
        if ref is None:
            await self._ensure_chart(obj, namespace, name)
        source = self._chart_source(obj)
        what = f"{ref['kind'] if ref else 'HelmChart'} '{namespace}/{name}'"
        if source is None or not (source.get("status") or {}).get("artifact") or not is_ready(source):
            reason = condition(source, "Ready").get("message", "latest generation of object has not been reconciled") if source else "latest generation of object has not been reconciled"
            raise Failed("SourceNotReady", f"{what} is not ready: {reason}", 15.0)
        kept = self.artifacts.charts.get((namespace, f"oci/{name}" if ref and ref["kind"] == "OCIRepository" else name))
        if kept is None:
            raise Failed("ArtifactFailed", f"Could not load chart: {what} has no artifact in storage", 5.0)
        made: Chart = kept[1]
        return made

    async def _ensure_chart(self, obj: Object, namespace: str, name: str) -> None:
        chart = obj["spec"]["chart"]["spec"]
        ref = chart["sourceRef"]
        wanted: Object = {
            "chart": chart["chart"], "version": chart.get("version", "*"), "interval": chart.get("interval") or obj["spec"]["interval"], "reconcileStrategy": chart.get("reconcileStrategy", "ChartVersion"),
            "sourceRef": {"kind": ref["kind"], "name": ref["name"]},
        }  # fmt: skip
        if chart.get("valuesFiles"):
            wanted["valuesFiles"] = chart["valuesFiles"]
        have = await self.port.get(CHARTS, name, namespace)
        meta = obj["metadata"]
        labels = {f"{ORIGIN}/name": meta["name"], f"{ORIGIN}/namespace": meta["namespace"]}
        if have is None:
            made = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmChart", "metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": wanted}
            self.informers.of(CHARTS).note(await self.port.create(CHARTS, made, namespace))
        elif have["spec"] != {**have["spec"], **wanted}:
            self.informers.of(CHARTS).note(await self.port.patch(CHARTS, name, {"spec": wanted}, namespace))
        if (obj.get("status") or {}).get("helmChart") != f"{namespace}/{name}":
            await self.write(RELEASES, obj, {"helmChart": f"{namespace}/{name}"})

    async def _values(self, obj: Object) -> val.Values:
        out: val.Values = {}
        namespace = obj["metadata"]["namespace"]
        for ref in obj["spec"].get("valuesFrom") or ():
            found = await self.port.get(SECRETS if ref["kind"] == "Secret" else CONFIGMAPS, ref["name"], namespace)
            key = ref.get("valuesKey", "values.yaml")
            text = None if found is None else secret_value(found, key) if ref["kind"] == "Secret" else (found.get("data") or {}).get(key)
            there = found is not None and key in (found.get("data") or {})
            if not there:
                if ref.get("optional"):
                    continue
                why = f"missing key '{key}'" if found is not None else f"could not resolve {ref['kind']} chart values reference '{namespace}/{ref['name']}' with key '{key}': {'secrets' if ref['kind'] == 'Secret' else 'configmaps'} \"{ref['name']}\" not found"
                raise Failed("ValuesError", f"could not resolve {ref['kind']} chart values reference '{namespace}/{ref['name']}' with key '{key}': {why}" if found is not None else why, 30.0)
            if ref.get("targetPath"):
                val.apply_set(out, f"{ref['targetPath']}={(text or '').replace(',', chr(92) + ',')}")
            else:
                try:
                    out = val.merge(out, goyaml.load(text or "") or {})
                except goyaml.YamlError as error:
                    raise Failed("ValuesError", f"unable to read values from key '{key}' in {ref['kind']} '{namespace}/{ref['name']}': {error}") from error
        return val.merge(out, obj["spec"].get("values") or {})

    # --- the release -------------------------------------------------------------------------------------------------

    async def _release(self, obj: Object, chart: Chart, values: val.Values) -> None:
        target, storage = namespaces(obj)
        name = release_name(obj)
        meta = obj["metadata"]
        helm = Helm(self.port, self.kinds, self.clock, storage, kube_version=VERSION_INFO["gitVersion"])
        helm.labels = {f"{ORIGIN}/name": meta["name"], f"{ORIGIN}/namespace": meta["namespace"]}
        history = await helm.storage.history(name)
        last = history[-1] if history else None
        annotations = meta.get("annotations") or {}
        status = obj.get("status") or {}
        forced = bool(annotations.get(FORCE)) and annotations.get(FORCE) == annotations.get("reconcile.fluxcd.io/requestedAt") and annotations.get(FORCE) != status.get("lastHandledForceAt")
        reset = bool(annotations.get(RESET)) and annotations.get(RESET) == annotations.get("reconcile.fluxcd.io/requestedAt") and annotations.get(RESET) != status.get("lastHandledResetAt")
        if not forced and self._in_sync(obj, last, chart, values):
            await self._succeed(obj, f"Helm {'install' if last and last.version == 1 else 'upgrade'} succeeded for release {target}/{name}.v{last.version if last else 0} with chart {chart.name}@{chart.version}", last)
            return
        if last is not None and last.status in rel.PENDING:
            await helm.storage.update(last.with_status(rel.FAILED, "Release unlocked from stale 'pending' state"), self.clock.now())
            history = await helm.storage.history(name)
        action = "install" if not [r for r in history if r.status != rel.UNINSTALLED] else "upgrade"
        self._limit(obj, action, reset=reset, forced=forced, values=values, chart=chart)
        await self._act(obj, helm, action, name, target, chart, values, forced=forced, reset=reset)

    def _in_sync(self, obj: Object, last: rel.Release | None, chart: Chart, values: val.Values) -> bool:
        """Whether the newest revision is this controller's own, deployed, of this chart and these values."""
        mine = ((obj.get("status") or {}).get("history") or [{}])[0]
        return (
            last is not None
            and last.status == rel.DEPLOYED
            and mine.get("version") == last.version
            and last.chart_version == chart.version
            and mine.get("configDigest") == config_digest(values)
            and last.chart_name == chart.name
        )

    def _strategy(self, obj: Object, action: str) -> tuple[str, int, float]:
        """(strategy, retries, seconds between): RetryOnFailure retries for ever."""
        own = obj["spec"].get(action) or {}
        strategy = (own.get("strategy") or {}).get("name") or ("RemediateOnFailure")
        between = seconds((own.get("strategy") or {}).get("retryInterval"), 300.0)
        return strategy, int((own.get("remediation") or {}).get("retries", 0)), between

    def _limit(self, obj: Object, action: str, *, reset: bool, forced: bool, values: val.Values, chart: Chart) -> None:
        strategy, retries, _ = self._strategy(obj, action)
        status = obj.get("status") or {}
        same = status.get("lastAttemptedConfigDigest") == config_digest(values) and status.get("lastAttemptedRevision") == chart.version and status.get("lastAttemptedGeneration") == obj["metadata"].get("generation")
        failures = int(status.get(f"{action}Failures", 0)) if same and not reset and not forced else 0
        if strategy != "RetryOnFailure" and retries >= 0 and failures > retries:
            raise Failed("RetriesExceeded", f"Failed to {action} after {failures} attempt(s)")

    async def _act(self, obj: Object, helm: Helm, action: str, name: str, target: str, chart: Chart, values: val.Values, *, forced: bool, reset: bool) -> None:
        spec = obj["spec"]
        own = spec.get(action) or {}
        timeout = seconds(own.get("timeout") or spec.get("timeout"), 300.0)
        running = f"Running '{action}' action with timeout of {go_duration(timeout)}"
        wanted = [("Reconciling", "True", "Progressing", running), ("Ready", "Unknown", "Progressing", running)]
        annotations = obj["metadata"].get("annotations") or {}
        attempt: Object = {
            "lastAttemptedGeneration": obj["metadata"].get("generation", 1), "lastAttemptedRevision": chart.version, "lastAttemptedConfigDigest": config_digest(values),
            "lastAttemptedReleaseAction": action, "storageNamespace": helm.namespace,
        }  # fmt: skip
        if forced:
            attempt["lastHandledForceAt"] = annotations[FORCE]
        if reset:
            attempt["lastHandledResetAt"] = annotations[RESET]
        before = obj.get("status") or {}
        obj = await self.write(RELEASES, obj, {"conditions": conditions(obj, wanted, stamp(self.clock), drop=("Stalled",)), **attempt})
        options = Options(
            wait=not own.get("disableWait"), wait_for_jobs=not own.get("disableWaitForJobs") and not own.get("disableWait"), timeout=timeout, create_namespace=bool(own.get("createNamespace")),
            no_hooks=bool(own.get("disableHooks")), take_ownership=not own.get("disableTakeOwnership"), reset_values=True, history=int(spec.get("maxHistory", 5)),
            skip_crds=own.get("crds", "Create") == "Skip",
        )  # fmt: skip
        try:
            made = await (helm.install if action == "install" else helm.upgrade)(name, chart, values, options)
        except (HelmError, KubeError) as error:
            await self._failed(obj, helm, action, name, target, chart, values, str(error), before, reset=reset)
            return
        self.events.emit(obj, f"{action.capitalize()}Succeeded", f"Helm {action} succeeded for release {target}/{name}.v{made.version} with chart {chart.name}@{chart.version}")
        await self._succeed(obj, f"Helm {action} succeeded for release {target}/{name}.v{made.version} with chart {chart.name}@{chart.version}", made, action=action)

    async def _failed(self, obj: Object, helm: Helm, action: str, name: str, target: str, chart: Chart, values: val.Values, why: str, before: Object, *, reset: bool) -> None:
        """A failed action: counted, remediated where that is the strategy, and said."""
        strategy, retries, between = self._strategy(obj, action)
        message = f"Helm {action} failed for release {target}/{name} with chart {chart.name}@{chart.version}: {why.splitlines()[0] if why else why}"
        reason = f"{action.capitalize()}Failed"
        same = before.get("lastAttemptedConfigDigest") == config_digest(values) and before.get("lastAttemptedRevision") == chart.version
        count = 1 + (int(before.get(f"{action}Failures", 0)) if same and not reset else 0)
        history = await helm.storage.history(name)
        snapshots = self._snapshots(obj, history[-1] if history else None, values)
        wanted = [("Released", "False", reason, message), ("Ready", "False", reason, message)]
        wanted.append(("Reconciling", "True", "ProgressingWithRetry", "retrying"))
        status = {"conditions": conditions(obj, wanted, stamp(self.clock)), "failures": int(before.get("failures", 0)) + 1, f"{action}Failures": count, "history": snapshots}
        await self.write(RELEASES, obj, status)
        self.events.emit(obj, reason, message, "Warning")
        if strategy != "RetryOnFailure" and (retries < 0 or count <= retries):
            await self._remediate(obj, helm, action, name)
        raise Failed(reason, message, between if strategy == "RetryOnFailure" else 5.0 if retries < 0 or count <= retries else 1.0)

    async def _remediate(self, obj: Object, helm: Helm, action: str, name: str) -> None:
        """Between tries: an install is uninstalled, an upgrade rolled back."""
        kind = ((obj["spec"].get(action) or {}).get("remediation") or {}).get("strategy", "rollback")
        try:
            if action == "install" or kind == "uninstall":
                await helm.uninstall(name, Options(wait=True))
            else:
                await helm.rollback(name, 0, Options(wait=True))
        except (HelmError, KubeError) as error:
            self.events.emit(obj, "RemediationFailed", str(error), "Warning")

    def _snapshots(self, obj: Object, made: rel.Release | None, values: val.Values | None) -> list[Object]:
        before = [dict(h) for h in (obj.get("status") or {}).get("history") or ()]
        if made is None:
            return before
        old = next((h for h in before if h["version"] == made.version), None)
        one = {
            "name": made.name, "namespace": namespaces(obj)[0], "version": made.version, "chartName": made.chart_name, "chartVersion": made.chart_version, "appVersion": made.app_version,
            "status": made.status, "firstDeployed": made.first_deployed[:19] + "Z", "lastDeployed": made.last_deployed[:19] + "Z",
            "configDigest": config_digest(values) if values is not None else (old or {}).get("configDigest", config_digest(made.config)),
            "digest": f"sha256:{hashlib.sha256(json.dumps([made.manifest, made.version]).encode()).hexdigest()}",
        }  # fmt: skip
        rest = [{**h, "status": rel.SUPERSEDED if h["status"] == rel.DEPLOYED and made.status == rel.DEPLOYED else h["status"]} for h in before if h["version"] != made.version]
        return [one, *rest][:5]

    async def _succeed(self, obj: Object, message: str, made: rel.Release | None, action: str = "") -> None:
        obj = self.informers.of(RELEASES).get(key_of(obj)) or obj
        verb = action or ("install" if made is not None and made.version == 1 else "upgrade")
        reason = f"{verb.capitalize()}Succeeded"
        wanted = [("Released", "True", reason, message), ("Ready", "True", reason, message)]
        status = {
            "conditions": conditions(obj, wanted, stamp(self.clock), drop=("Reconciling", "Stalled", "Remediated")), "history": self._snapshots(obj, made, dict(made.config) if made else None),
            "observedGeneration": obj["metadata"].get("generation", 1),
        }  # fmt: skip
        if action:
            status |= {"failures": None, "installFailures": None, "upgradeFailures": None}
        await self.write(RELEASES, obj, status)

    async def _finalize(self, obj: Object) -> None:
        """A deleted HelmRelease uninstalls its release and removes its chart, unless it was suspended."""
        if not obj["spec"].get("suspend"):
            _, storage = namespaces(obj)
            helm = Helm(self.port, self.kinds, self.clock, storage)
            name = release_name(obj)
            if await helm.storage.history(name):
                try:
                    await helm.uninstall(name, Options(wait=False))
                except HelmError as error:
                    self.events.emit(obj, "UninstallFailed", str(error), "Warning")
        namespace, chart = chart_key(obj)
        if not obj["spec"].get("chartRef"):
            try:
                await self.port.delete(CHARTS, chart, namespace)
            except KubeError as error:
                if error.status != 404:
                    raise
        await self.drop_finalizer(RELEASES, obj)
        self.forget(key_of(obj))


def chart_key(obj: Mapping[str, Any]) -> tuple[str, str]:
    """Namespace and name of the HelmChart (or of what chartRef names)."""
    meta, spec = obj["metadata"], obj["spec"]
    ref = spec.get("chartRef")
    if ref:
        return str(ref.get("namespace") or meta["namespace"]), str(ref["name"])
    source = spec["chart"]["spec"]["sourceRef"]
    return str(source.get("namespace") or meta["namespace"]), f"{meta['namespace']}-{meta['name']}"
