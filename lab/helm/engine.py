"""What `helm` and Flux' helm-controller do to a cluster: install, upgrade, roll back, uninstall, with hooks and waiting.

An action that is cancelled (its client was killed) leaves the release pending, as a killed helm does.
Source: helm v3.19 pkg/action.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from lab.helm import goyaml
from lab.helm import release as rel
from lab.helm.charts import Capabilities, Chart, ChartError, Context, Hook, Rendered, capabilities, render, stored
from lab.helm.objects import (
    Kind,
    Kinds,
    Object,
    helm_ready,
    install_rank,
    job_done,
    merge_patch,
    name_of,
    namespace_of,
    three_way,
)
from lab.helm.release import Release, Storage
from lab.helm.values import merge
from lab.kube.port import CRDS, KubeError, KubePort

POLL = 2.0  # seconds between two looks at what is waited for; helm v3.19 pkg/kube/wait.go
HISTORY = 10


class HelmError(Exception):
    """An action failed; the message is Helm's, without its `Error: UPGRADE FAILED: ` prefix."""


class Clock(Protocol):
    """The part of the world's clock that is used here."""

    def now(self) -> datetime: ...
    def seconds(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Options:
    """Flags of an action. `timeout` in simulated seconds."""

    wait: bool = False
    wait_for_jobs: bool = False
    timeout: float = 300.0
    atomic: bool = False
    create_namespace: bool = False
    no_hooks: bool = False
    skip_crds: bool = False
    take_ownership: bool = False
    dry_run: bool = False
    history: int = HISTORY
    reuse_values: bool = False
    reset_values: bool = False
    force: bool = False
    description: str = ""
    cleanup_on_fail: bool = False


class Deadline:
    """How long an action may still take."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._end = clock, clock.seconds() + seconds

    async def until(self, ready: Callable[[], Awaitable[bool]], message: str) -> None:
        """Ask until `ready`. Raises HelmError with `message` at the end of time."""
        while not await ready():
            if self._clock.seconds() >= self._end:
                raise HelmError(message)
            await self._clock.sleep(min(POLL, max(self._end - self._clock.seconds(), 0.05)))


class Helm:
    """The actions on one namespace of one cluster, as one client does them."""

    def __init__(
        self,
        port: KubePort,
        kinds: Kinds,
        clock: Clock,
        namespace: str,
        *,
        kube_version: str = "v1.33.0",
        random_text: Callable[[int], str] | None = None,
        told_to_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.port, self.kinds, self.clock, self.namespace = port, kinds, clock, namespace
        self.storage = Storage(port, namespace)
        self._version = kube_version
        self._random = random_text
        self.labels: Mapping[str, str] = {}  # put on every object of a release, as helm-controller does
        self._told_to_stop = told_to_stop  # SIGINT or SIGTERM: a cancelled action is marked failed; without, it stays pending

    def capabilities(self) -> Capabilities:
        """Of this cluster, as templates ask."""
        return capabilities(self._version, self.kinds.api_versions())

    async def render(self, chart: Chart, name: str, values: Mapping[str, Any], revision: int, *, upgrade: bool) -> Rendered:
        """The chart's objects for this cluster. Raises HelmError."""
        context = Context(name, self.namespace, revision, upgrade, dict(values), self.capabilities(), self.clock.now(), self._lookup, self._random)
        try:
            return await render(chart, context, self.labels)
        except ChartError as error:
            raise HelmError(str(error)) from error

    async def install(self, name: str, chart: Chart, values: Mapping[str, Any], options: Options) -> Release:
        """A first revision. Raises HelmError."""
        if await self.storage.history(name):
            raise HelmError("cannot re-use a name that is still in use")
        if chart.crds and not options.skip_crds and not options.dry_run:
            await self._install_crds(chart)
        rendered = await self.render(chart, name, values, 1, upgrade=False)
        self._mapped(rendered.objects)
        release = self._new(name, chart, values, rendered, 1, rel.PENDING_INSTALL, "Initial install underway")
        if not options.take_ownership:
            await self._refuse_foreign(name, rendered.objects, "install")
        if options.dry_run:
            return replace(release, description="Dry run complete")
        if options.create_namespace:
            await self._create_namespace()
        await self._store(release)
        try:
            await self._hooks(rendered, "pre-install", options)
            for obj in rendered.objects:
                await self._create_or_adopt(name, obj)
            await self._wait(rendered.objects, options)
            await self._hooks(rendered, "post-install", options)
        except (HelmError, KubeError, asyncio.CancelledError) as stop:
            error = self._error(stop)
            release = release.with_status(rel.FAILED, f'Release "{name}" failed: {error}')
            await self.storage.update(release, self.clock.now())
            if options.atomic:
                await self.uninstall(name, Options(timeout=options.timeout))
                raise HelmError(f"release {name} failed, and has been uninstalled due to atomic being set: {error}") from error
            raise HelmError(str(error)) from error
        release = release.with_status(rel.DEPLOYED, options.description or "Install complete")
        await self.storage.update(release, self.clock.now())
        return release

    async def upgrade(self, name: str, chart: Chart, values: Mapping[str, Any], options: Options) -> Release:
        """A further revision. Raises HelmError."""
        last, current = await self._upgradable(name)
        config = self._config(values, current, options)
        rendered = await self.render(chart, name, config, last.version + 1, upgrade=True)
        self._mapped(rendered.objects)
        release = self._new(name, chart, config, rendered, last.version + 1, rel.PENDING_UPGRADE, "Preparing upgrade", first=current.first_deployed)
        before = objects_of(current.manifest)
        known = {self._key(o) for o in before}
        if not options.take_ownership:
            await self._refuse_foreign(name, [o for o in rendered.objects if self._key(o) not in known], "update")
        if options.dry_run:
            return replace(release, description="Dry run complete")
        await self._store(release)
        try:
            await self._hooks(rendered, "pre-upgrade", options)
            await self._update(name, before, rendered.objects)
            await self._wait(rendered.objects, options)
            await self._hooks(rendered, "post-upgrade", options)
        except (HelmError, KubeError, asyncio.CancelledError) as stop:
            error = self._error(stop)
            release = release.with_status(rel.FAILED, f'Upgrade "{name}" failed: {error}')
            await self.storage.update(release, self.clock.now())
            if options.atomic:
                await self.rollback(name, 0, Options(wait=True, timeout=options.timeout))
                raise HelmError(f"release {name} failed, and has been rolled back due to atomic being set: {error}") from error
            raise HelmError(str(error)) from error
        await self._supersede(name)
        release = release.with_status(rel.DEPLOYED, options.description or "Upgrade complete")
        await self.storage.update(release, self.clock.now())
        await self._prune_history(name, options.history)
        return release

    async def rollback(self, name: str, revision: int, options: Options) -> Release:
        """Back to `revision` (0: the one before), as a new revision. Raises HelmError."""
        history = await self.storage.history(name)
        if not history:
            raise HelmError("release: not found")
        last = history[-1]
        wanted = revision or last.version - 1
        target = next((r for r in history if r.version == wanted), None)
        if target is None:
            raise HelmError(f"release has no {wanted} version")
        release = replace(
            target, version=last.version + 1, status=rel.PENDING_ROLLBACK, description=f"Rollback to {wanted}",
            first_deployed=last.first_deployed, last_deployed=rel.stamp(self.clock.now()),
        )  # fmt: skip
        if options.dry_run:
            return release
        await self._store(release)
        objects = tuple(sorted(objects_of(target.manifest), key=lambda o: install_rank(o.get("kind", ""))))
        hooks = Rendered(target.manifest, objects, tuple(_stored_hook(h) for h in target.hooks), target.notes)
        try:
            await self._hooks(hooks, "pre-rollback", options)
            await self._update(name, objects_of(last.manifest), objects)
            await self._wait(objects, options)
            await self._hooks(hooks, "post-rollback", options)
        except (HelmError, KubeError, asyncio.CancelledError) as stop:
            error = self._error(stop)
            await self.storage.update(last.with_status(rel.SUPERSEDED), self.clock.now())
            await self.storage.update(release.with_status(rel.FAILED, f'Rollback "{name}" failed: {error}'), self.clock.now())
            raise HelmError(str(error)) from error
        await self._supersede(name)
        if last.status in rel.PENDING:
            await self.storage.update(last.with_status(rel.SUPERSEDED), self.clock.now())
        release = release.with_status(rel.DEPLOYED)
        await self.storage.update(release, self.clock.now())
        return release

    async def uninstall(self, name: str, options: Options, *, keep_history: bool = False) -> Release:
        """Remove the objects, then the revisions. Raises HelmError."""
        history = await self.storage.history(name)
        if not history:
            raise HelmError(f"uninstall: Release not loaded: {name}: release: not found")
        last = history[-1]
        if options.dry_run:
            return last
        rendered = Rendered(last.manifest, tuple(objects_of(last.manifest)), tuple(_stored_hook(h) for h in last.hooks), "")
        await self.storage.update(last.with_status(rel.UNINSTALLING, "Deletion in progress (or silently failed)"), self.clock.now())
        await self._hooks(rendered, "pre-delete", options)
        for obj in reversed(rendered.objects):
            if ((obj.get("metadata") or {}).get("annotations") or {}).get("helm.sh/resource-policy") != "keep":
                await self._delete(obj)
        await self._hooks(rendered, "post-delete", options)
        if options.wait:
            await Deadline(self.clock, options.timeout).until(lambda: self._gone(rendered.objects), "context deadline exceeded")
        done = replace(last, status=rel.UNINSTALLED, description="Uninstallation complete", deleted=rel.stamp(self.clock.now()))
        for release in history:
            if keep_history:
                await self.storage.update(done if release.version == last.version else release, self.clock.now())
            else:
                await self.storage.delete(release)
        return done

    def _error(self, stop: BaseException) -> Exception:
        """What ended an action, as an error. A client that is simply gone ends it without a further word: raises."""
        if not isinstance(stop, asyncio.CancelledError):
            return HelmError(str(stop))
        if not self._told_to_stop():
            raise stop
        return HelmError("context canceled")

    def _new(
        self, name: str, chart: Chart, values: Mapping[str, Any], rendered: Rendered, version: int, status: str, description: str, first: str = ""
    ) -> Release:
        now = rel.stamp(self.clock.now())
        hooks = tuple(
            {
                "name": name_of(h.obj), "kind": h.obj.get("kind"), "path": h.path, "manifest": h.text, "events": list(h.events), "weight": h.weight,
                "delete_policies": list(h.delete_policies), "last_run": {"started_at": "", "completed_at": "", "phase": ""},
            }
            for h in rendered.hooks
        )  # fmt: skip
        return Release(name, self.namespace, version, status, description, first or now, now, stored(chart), values, rendered.manifest, rendered.notes, hooks)

    async def _store(self, release: Release) -> None:
        try:
            await self.storage.create(release, self.clock.now())
        except KubeError as error:
            raise HelmError(f"create: failed to create: {error}") from error

    async def _upgradable(self, name: str) -> tuple[Release, Release]:
        """The last revision and the one that is compared with. Raises HelmError."""
        history = await self.storage.history(name)
        if not history:
            raise HelmError(f'"{name}" has no deployed releases')
        last = history[-1]
        if last.status in rel.PENDING:
            raise HelmError("another operation (install/upgrade/rollback) is in progress")
        deployed = [r for r in history if r.status == rel.DEPLOYED]
        if deployed:
            return last, deployed[-1]
        if last.status in (rel.FAILED, rel.SUPERSEDED):
            return last, last
        raise HelmError(f'"{name}" has no deployed releases')

    @staticmethod
    def _config(values: Mapping[str, Any], current: Release, options: Options) -> Mapping[str, Any]:
        """Which values an upgrade takes: Helm copies the old ones where none are given."""
        if options.reset_values:
            return values
        if options.reuse_values:
            return merge(current.config, values)
        return values or current.config

    def _kind(self, obj: Object) -> Kind:
        kind = self.kinds.find(str(obj.get("apiVersion")), str(obj.get("kind")))
        if kind is None:
            namespace = namespace_of(obj)
            raise HelmError(
                "unable to build kubernetes objects from release manifest: resource mapping not found for "
                f'name: "{name_of(obj)}" namespace: "{namespace}" from "": no matches for kind "{obj.get("kind")}" in version '
                f'"{obj.get("apiVersion")}"\nensure CRDs are installed first'
            )
        return kind

    def _mapped(self, objects: tuple[Object, ...]) -> None:
        for obj in objects:
            self._kind(obj)

    def _where(self, obj: Object, kind: Kind) -> str:
        return (namespace_of(obj) or self.namespace) if kind.namespaced else ""

    def _key(self, obj: Object) -> tuple[str, str, str, str]:
        group = str(obj.get("apiVersion", "")).rpartition("/")[0]
        return group, str(obj.get("kind")), namespace_of(obj) or self.namespace, name_of(obj)

    async def _lookup(self, api: str, kind: str, namespace: str, name: str) -> Object | None:
        found = self.kinds.find(api, kind)
        if found is None:
            return None
        if not name:
            items, _ = await self.port.list(found.gvr, namespace)
            return {"items": items}
        return await self.port.get(found.gvr, name, namespace)

    async def _live(self, obj: Object) -> Object | None:
        kind = self._kind(obj)
        return await self.port.get(kind.gvr, name_of(obj), self._where(obj, kind))

    async def _refuse_foreign(self, release: str, objects: tuple[Object, ...] | list[Object], verb: str) -> None:
        for obj in objects:
            live = await self._live(obj)
            problem = ownership_problem(live, release, self.namespace) if live else ""
            if problem:
                raise HelmError(
                    f'Unable to continue with {verb}: {obj["kind"]} "{name_of(obj)}" in namespace "{namespace_of(live or {})}" exists and cannot be '
                    f"imported into the current release: invalid ownership metadata; {problem}"
                )

    async def _create_namespace(self) -> None:
        if await self.port.get("v1/namespaces", self.namespace) is None:
            await self.port.create("v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": {"name": self.namespace}}})

    async def _install_crds(self, chart: Chart) -> None:
        names = []
        for crd in chart.crds:
            if await self.port.get(CRDS, name_of(crd)) is None:
                await self.port.create(CRDS, crd)
                names.append(name_of(crd))

        async def established() -> bool:
            live = [await self.port.get(CRDS, n) for n in names]
            return all(o is not None and helm_ready(o) for o in live)

        await Deadline(self.clock, 60).until(established, "timed out waiting for the condition")

    def _owned(self, release: str, obj: Object) -> Object:
        """The object as it is sent: with Helm's label and annotations."""
        metadata = dict(obj.get("metadata") or {})
        metadata["labels"] = {**(metadata.get("labels") or {}), "app.kubernetes.io/managed-by": "Helm"}
        metadata["annotations"] = {
            **(metadata.get("annotations") or {}), "meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": self.namespace,
        }  # fmt: skip
        kind = self._kind(obj)
        if kind.namespaced:
            metadata["namespace"] = self._where(obj, kind)
        return {**obj, "metadata": metadata}

    async def _create_or_adopt(self, release: str, obj: Object) -> None:
        live = await self._live(obj)
        if live is None:
            await self._create(self._owned(release, obj))
        else:
            await self._patch({}, self._owned(release, obj), live)

    async def _create(self, obj: Object) -> None:
        kind = self._kind(obj)
        await self.port.create(kind.gvr, obj, self._where(obj, kind))

    async def _patch(self, before: Object, wanted: Object, live: Object) -> None:
        merged = three_way(before, wanted, live)
        merged["apiVersion"], merged["metadata"] = live.get("apiVersion"), {**merged["metadata"]}
        patch = merge_patch(live, merged)
        if patch:
            kind = self._kind(wanted)
            await self.port.patch(kind.gvr, name_of(wanted), patch, self._where(wanted, kind))

    async def _update(self, release: str, before: list[Object], wanted: tuple[Object, ...]) -> None:
        old = {self._key(o): o for o in before}
        for obj in wanted:
            live = await self._live(obj)
            owned = self._owned(release, obj)
            if live is None:
                await self._create(owned)
            else:
                await self._patch(old.get(self._key(obj), {}), owned, live)
        kept = {self._key(o) for o in wanted}
        for obj in before:
            policy = ((obj.get("metadata") or {}).get("annotations") or {}).get("helm.sh/resource-policy")
            if self._key(obj) not in kept and policy != "keep":
                await self._delete(obj)

    async def _delete(self, obj: Object) -> None:
        kind = self.kinds.find(str(obj.get("apiVersion")), str(obj.get("kind")))
        if kind is None:
            return
        try:
            await self.port.delete(kind.gvr, name_of(obj), self._where(obj, kind))
        except KubeError as error:
            if error.status != 404:
                raise

    async def _gone(self, objects: tuple[Object, ...]) -> bool:
        return all([await self._live(o) is None for o in objects])

    async def _wait(self, objects: tuple[Object, ...], options: Options) -> None:
        if options.wait:
            await Deadline(self.clock, options.timeout).until(lambda: self._ready(objects, options), "context deadline exceeded")

    async def _ready(self, objects: tuple[Object, ...], options: Options) -> bool:
        for obj in objects:
            live = await self._live(obj)
            if live is None or not helm_ready(live):
                return False
            if options.wait_for_jobs and obj.get("kind") == "Job" and not job_done(live):
                return False
        return True

    async def _hooks(self, rendered: Rendered, event: str, options: Options) -> None:
        if options.no_hooks:
            return
        for hook in (h for h in rendered.hooks if event in h.events):
            await self._run_hook(hook, event, options)

    async def _run_hook(self, hook: Hook, event: str, options: Options) -> None:
        deadline = Deadline(self.clock, options.timeout)
        if "before-hook-creation" in hook.delete_policies:
            await self._delete(hook.obj)
            await deadline.until(lambda: self._gone((hook.obj,)), "timed out waiting for the condition")
        kind = self._kind(hook.obj)
        place = {"namespace": self._where(hook.obj, kind)} if kind.namespaced else {}
        await self.port.create(kind.gvr, {**hook.obj, "metadata": {**hook.obj["metadata"], **place}}, self._where(hook.obj, kind))

        async def finished() -> bool:
            live = await self._live(hook.obj)
            if live is None or live["kind"] not in ("Job", "Pod"):
                return live is not None
            done = job_done(live) if live["kind"] == "Job" else {"Succeeded": True, "Failed": False}.get(live.get("status", {}).get("phase"))
            if done is False:
                raise HelmError(f"{event} hooks failed: 1 error occurred:\n\t* job {name_of(live)} failed: BackoffLimitExceeded\n\n")
            return bool(done)

        try:
            await deadline.until(finished, f"{event} hooks failed: 1 error occurred:\n\t* timed out waiting for the condition\n\n")
        except HelmError:
            if "hook-failed" in hook.delete_policies:
                await self._delete(hook.obj)
            raise
        if "hook-succeeded" in hook.delete_policies:
            await self._delete(hook.obj)

    async def _supersede(self, name: str) -> None:
        for release in await self.storage.history(name):
            if release.status == rel.DEPLOYED:
                await self.storage.update(release.with_status(rel.SUPERSEDED), self.clock.now())

    async def _prune_history(self, name: str, limit: int) -> None:
        history = await self.storage.history(name)
        for release in history[: max(len(history) - limit, 0)] if limit else ():
            if release.status != rel.DEPLOYED:
                await self.storage.delete(release)


def objects_of(manifest: str) -> list[Object]:
    """The objects of a release's manifest."""
    return [o for o in goyaml.load_all(manifest) if isinstance(o, dict) and o.get("kind")]


def ownership_problem(live: Object, release: str, namespace: str) -> str:
    """Why Helm would not take `live` over; empty where it would. Source: helm v3.19 pkg/action/validate.go."""
    metadata = live.get("metadata", {})
    wanted = (
        ("label", metadata.get("labels") or {}, "app.kubernetes.io/managed-by", "Helm"),
        ("annotation", metadata.get("annotations") or {}, "meta.helm.sh/release-name", release),
        ("annotation", metadata.get("annotations") or {}, "meta.helm.sh/release-namespace", namespace),
    )
    problems = []
    for what, have, key, value in wanted:
        if key not in have:
            problems.append(f'{what} validation error: missing key "{key}": must be set to "{value}"')
        elif have[key] != value:
            problems.append(f'{what} validation error: key "{key}" must equal "{value}": current value is "{have[key]}"')
    return "; ".join(problems)


def _stored_hook(hook: Mapping[str, Any]) -> Hook:
    obj = goyaml.load(hook["manifest"])
    return Hook(hook["path"], hook["manifest"], obj, tuple(hook["events"]), hook["weight"], tuple(hook["delete_policies"]))


def digest(values: Mapping[str, Any]) -> str:
    """A stable text of values, to compare two sets."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))
