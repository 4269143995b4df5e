"""`flux` get, reconcile, suspend, resume, export, create and delete."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

from lab.flux import kstatus
from lab.flux.common import go_duration
from lab.helm import goyaml
from lab.helm.objects import name_of
from lab.kube.port import KubeError
from lab.programs.call import Call
from lab.programs.flux.base import (
    BY_KIND,
    KINDS,
    REFUSED,
    Client,
    Fail,
    KindOf,
    Object,
    client,
    exported,
    short_hash,
    table,
)
from lab.programs.flux.check import yaml_of

PLURALS = {
    "kustomizations": "kustomization", "helmreleases": "helmrelease", "alerts": "alert", "alert-providers": "alert-provider", "receivers": "receiver",
}  # fmt: skip
SOURCES = ("source oci", "source bucket", "source git", "source helm", "source chart")


# --- get -------------------------------------------------------------------------------------------------------------


def revision_of(obj: Object) -> str:
    """The revision as `get` shows it."""
    status = obj.get("status") or {}
    if obj["kind"] == "Kustomization":
        return str(status.get("lastAppliedRevision", ""))
    if obj["kind"] == "HelmRelease":
        return str((status.get("history") or [{}])[0].get("chartVersion", ""))
    return str((status.get("artifact") or {}).get("revision", ""))


def row(obj: Object, *, everywhere: bool, short: str = "") -> list[str]:
    """NAMESPACE (with -A), NAME, REVISION, SUSPENDED, READY, MESSAGE."""
    ready = kstatus.condition(obj, "Ready")
    state, message = (ready["status"], ready["message"]) if ready else ("False", "waiting to be reconciled")
    name = f"{short}/{name_of(obj)}" if short else name_of(obj)
    cells = [name, short_hash(revision_of(obj)), "True" if obj["spec"].get("suspend") else "False", state, short_hash(message)]
    return [obj["metadata"]["namespace"], *cells] if everywhere else cells


HEAD = ("Name", "Revision", "Suspended", "Ready", "Message")


def _selected(call: Call, objects: list[Object]) -> list[Object]:
    selector = call.flags.get("status-selector", "")
    if not selector:
        return objects
    kind, _, wanted = selector.partition("=")
    out = []
    for obj in objects:
        found = kstatus.condition(obj, kind.capitalize()) or next((c for c in (obj.get("status") or {}).get("conditions") or () if c["type"].lower() == kind.lower()), {})
        if found and found["status"].lower() == wanted.lower():
            out.append(obj)
    return out


async def _get(call: Call, found: Client, kind: KindOf, *, short: str = "") -> str:
    flags = call.flags
    everywhere = bool(flags["all-namespaces"])
    objects = await found.list(kind, everywhere=everywhere, labels=flags["label-selector"])
    if call.args and not short:
        objects = [o for o in objects if name_of(o) == call.args[0]]
        if not objects:
            raise Fail(f"{kind.kind} object '{call.args[0]}' not found in {'any namespace' if everywhere else f'{chr(34)}{found.namespace}{chr(34)} namespace'}")
    if not objects:
        if short:
            return ""
        raise Fail(f"no {kind.kind} objects found in {'any namespace' if everywhere else f'{chr(34)}{found.namespace}{chr(34)} namespace'}")
    head = ("Namespace", *HEAD) if everywhere else HEAD
    rows = [row(o, everywhere=everywhere, short=short) for o in _selected(call, objects)]
    return table(head, rows, header=not flags["no-header"])


def getter(key: str) -> Any:
    """The command that lists one kind."""

    async def get(call: Call) -> None:
        found = client(call)
        call.out(await _get(call, found, KINDS[key]))

    return get


async def _several(call: Call, keys: tuple[str, ...]) -> None:
    found = client(call)
    pieces = []
    for key in keys:
        try:
            text = await _get(call, found, KINDS[key], short=KINDS[key].short)
        except Fail as error:
            if "no matches for" not in str(error):
                found.failure(str(error))
            continue
        if text:
            pieces.append(text)
    call.out("\n".join(pieces) + ("\n" if pieces else ""))


async def get_sources_all(call: Call) -> None:
    """Every kind of source."""
    await _several(call, SOURCES)


async def get_all(call: Call) -> None:
    """Sources, releases, Kustomizations, notifications: exit 0 whatever there is."""
    await _several(call, (*SOURCES, "helmrelease", "kustomization", "receiver", "alert-provider", "alert"))


# --- reconcile, suspend, resume --------------------------------------------------------------------------------------


async def annotate(found: Client, kind: KindOf, name: str, namespace: str, extra: tuple[str, ...] = ()) -> str:
    """Ask for a reconciliation; the value of the annotation."""
    at = f"{found.call.clock.now():%Y-%m-%dT%H:%M:%S.%f}000Z"
    found.action(f"annotating {kind.kind} {name} in {namespace} namespace")
    found.call.mutates()
    marks = dict.fromkeys(("reconcile.fluxcd.io/requestedAt", *extra), at)
    await found.port.patch(kind.gvr, name, {"metadata": {"annotations": marks}}, namespace)
    found.success(f"{kind.kind} annotated")
    return at


async def _reconcile(found: Client, kind: KindOf, name: str, namespace: str, extra: tuple[str, ...] = ()) -> Object:
    obj = await found.get(kind, name, namespace)
    if obj["spec"].get("suspend"):
        raise Fail("resource is suspended")
    at = await annotate(found, kind, name, namespace, extra)
    if kind.kind == "HelmRepository" and obj["spec"].get("type") == "oci":
        found.success("reconciliation not supported by the object of type 'oci'")
        return obj
    found.waiting(f"waiting for {kind.kind} reconciliation")
    return await found.ready(kind, name, namespace, handled=at)


async def _reconcile_source(found: Client, kind: str, name: str, namespace: str) -> None:
    done = await _reconcile(found, BY_KIND[kind], name, namespace)
    found.success(f"fetched revision {revision_of(done)}")


def source_reconciler(key: str) -> Any:
    """`flux reconcile source ...`."""

    async def reconcile(call: Call) -> None:
        kind = KINDS[key]
        if not call.args:
            raise Fail(f"{kind.kind} name is required")
        found = client(call)
        await _reconcile_source(found, kind.kind, call.args[0], found.namespace)

    return reconcile


async def reconcile_kustomization(call: Call) -> None:
    """Its source first with --with-source."""
    if not call.args:
        raise Fail("Kustomization name is required")
    found, kind = client(call), KINDS["kustomization"]
    obj = await found.get(kind, call.args[0])
    if obj["spec"].get("suspend"):
        raise Fail("resource is suspended")
    if call.flags["with-source"]:
        ref = obj["spec"]["sourceRef"]
        await _reconcile_source(found, ref["kind"], ref["name"], ref.get("namespace") or found.namespace)
    done = await _reconcile(found, kind, call.args[0], found.namespace)
    found.success(f"applied revision {revision_of(done)}")


async def reconcile_helmrelease(call: Call) -> None:
    """Its chart and repository first with --with-source."""
    if not call.args:
        raise Fail("HelmRelease name is required")
    found, kind = client(call), KINDS["helmrelease"]
    obj = await found.get(kind, call.args[0])
    if obj["spec"].get("suspend"):
        raise Fail("resource is suspended")
    if call.flags["with-source"]:
        chart = (obj["spec"].get("chart") or {}).get("spec")
        if chart:
            ref = chart["sourceRef"]
            namespace = ref.get("namespace") or found.namespace
            await _reconcile_source(found, ref["kind"], ref["name"], namespace)
            await _reconcile_source(found, "HelmChart", f"{found.namespace}-{call.args[0]}", namespace)
        else:
            ref = obj["spec"]["chartRef"]
            await _reconcile_source(found, ref["kind"], ref["name"], ref.get("namespace") or found.namespace)
    extra = (("reconcile.fluxcd.io/forceAt",) if call.flags["force"] else ()) + (("reconcile.fluxcd.io/resetAt",) if call.flags["reset"] else ())
    done = await _reconcile(found, kind, call.args[0], found.namespace, extra)
    found.success(f"applied revision {revision_of(done)}")


async def reconcile_receiver(call: Call) -> None:
    """A receiver has nothing to fetch."""
    if not call.args:
        raise Fail("receiver name is required")
    found = client(call)
    await _reconcile(found, KINDS["receiver"], call.args[0], found.namespace)


async def _named(found: Client, kind: KindOf, *, missing: str) -> AsyncIterator[Object]:
    """The objects that the call names, or --all, one after another; what is missing is said, and exits 0."""
    call = found.call
    found.served(kind)
    if call.flags.get("all"):
        for obj in await found.list(kind):
            yield obj
        return
    for name in call.args:
        live = await found.port.get(kind.gvr, name, found.namespace)
        if live is None:
            found.failure(missing.format(kind=kind.kind, name=name, namespace=found.namespace))
        else:
            yield {"apiVersion": kind.api, "kind": kind.kind, **live}


def suspender(key: str) -> Any:
    """`flux suspend ...`: exit 0 whatever happens."""

    async def suspend(call: Call) -> None:
        kind = KINDS[key]
        if not call.args and not call.flags.get("all"):
            raise Fail(f"{kind.word} name is required")
        found = client(call)
        try:
            async for obj in _named(found, kind, missing="{kind} {name} not found in {namespace} namespace"):
                found.action(f"suspending {kind.word} {name_of(obj)} in {found.namespace} namespace")
                call.mutates()
                await found.port.patch(kind.gvr, name_of(obj), {"spec": {"suspend": True}}, found.namespace)
                found.success(f"{kind.word} suspended")
        except Fail as error:
            names = ",".join(call.args)
            found.failure(f"failed suspending {kind.kind} {names} in {found.namespace} namespace: {error}")
        except REFUSED as error:
            found.failure(str(error))

    return suspend


def resumer(key: str) -> Any:
    """`flux resume ...`: with one name, or --wait, it waits too; exit 0 whatever happens."""

    async def resume(call: Call) -> None:
        kind = KINDS[key]
        if not call.args and not call.flags.get("all"):
            raise Fail(f"{kind.word} name is required")
        found = client(call)
        objects: list[Object] = []
        try:
            async for obj in _named(found, kind, missing="{kind} object '{name}' not found in {namespace} namespace"):
                objects.append(obj)
                found.action(f"resuming {kind.word} {name_of(obj)} in {found.namespace} namespace")
                call.mutates()
                await found.port.patch(kind.gvr, name_of(obj), {"spec": {"suspend": None}}, found.namespace)
                found.success(f"{kind.word} resumed")
        except Fail as error:
            found.failure(str(error))
            return
        if len(call.args) == 1 or call.flags.get("wait"):
            await _await_resumed(found, kind, objects)

    return resume


async def _await_resumed(found: Client, kind: KindOf, objects: list[Object]) -> None:
    for _ in objects:
        found.waiting(f"waiting for {kind.kind} reconciliation")
    for obj in objects:
        done: Object = {"kind": kind.kind}
        try:
            done = await found.ready(kind, name_of(obj))
        except Fail as error:
            found.failure(str(error))
        found.success(f"{kind.kind} {name_of(obj)} reconciliation completed")
        if kind.kind in ("Kustomization", "HelmRelease"):
            found.success(f"applied revision {revision_of(done)}")
        else:
            found.success(f"fetched revision {revision_of(done)}")


# --- export, delete --------------------------------------------------------------------------------------------------


def exporter(key: str) -> Any:
    """`flux export ...`."""

    async def export(call: Call) -> None:
        kind = KINDS[key]
        if not call.args and not call.flags.get("all"):
            raise Fail("name is required")
        found = client(call)
        if call.flags.get("all"):
            objects = await found.list(kind)
            if not objects:
                raise Fail(f"no objects found in {found.namespace} namespace")
        else:
            objects = [await found.get(kind, call.args[0])]
        call.out("".join(yaml_of(exported(o)) for o in objects))

    return export


def deleter(key: str) -> Any:
    """`flux delete ...`: asks unless --silent; without a terminal that is a no."""

    async def delete(call: Call) -> None:
        kind = KINDS[key]
        if not call.args:
            raise Fail(f"{kind.word} name is required")
        found = client(call)
        await found.get(kind, call.args[0])
        if not call.flags["silent"]:
            call.out(f"\x1b[?25l\x1b[2K\r\x1b[1m\x1b[34m?\x1b[0m \x1b[1mAre you sure you want to delete this {kind.word}\x1b[0m? \x1b[2m[y/N]\x1b[0m █\n\x1b[1A\x1b[2K\r\x1b[2K\r\n\x1b[?25h")
            raise Fail("aborting")
        found.action(f"deleting {kind.word} {call.args[0]} in {found.namespace} namespace")
        call.mutates()
        await found.port.delete(kind.gvr, call.args[0], found.namespace)
        found.success(f"{kind.word} deleted")

    return delete


# --- create ----------------------------------------------------------------------------------------------------------


def _meta(call: Call) -> Object:
    labels = call.flags.get("label") or []
    out: Object = {"name": call.args[0], "namespace": call.flags["namespace"]}
    return out | ({"labels": dict(x.partition("=")[::2] for x in labels)} if labels else {})


async def _create(call: Call, key: str, spec: Object, *, fetched: bool) -> None:
    kind = KINDS[key]
    obj = {"apiVersion": kind.api, "kind": kind.kind, "metadata": _meta(call), "spec": spec}
    if call.flags["export"]:
        call.out(yaml_of(obj))
        return
    found = client(call)
    word = f"{kind.kind} source" if key.startswith("source") else kind.kind
    found.generate(f"generating {word}")
    found.action(f"applying {word}")
    found.served(kind)
    call.mutates()
    live = await found.port.get(kind.gvr, call.args[0], found.namespace)
    try:
        if live is None:
            await found.port.create(kind.gvr, obj, found.namespace)
        else:
            await found.port.update(kind.gvr, {**live, "spec": spec})
    except KubeError as error:
        raise Fail(str(error)) from error
    found.success(f"{word} {'created' if live is None else 'updated'}")
    found.waiting(f"waiting for {word} reconciliation")
    done = await found.ready(kind, call.args[0])
    found.success(f"{word} reconciliation completed" if fetched else f"{kind.kind} {call.args[0]} is ready")
    found.success(f"fetched revision: {revision_of(done)}" if fetched else f"applied revision {revision_of(done)}")


def _need_name(call: Call) -> None:
    if not call.args:
        raise Fail("name is required")


async def create_source_git(call: Call) -> None:
    """A GitRepository."""
    _need_name(call)
    flags = call.flags
    ref = {k: flags[f] for k, f in (("branch", "branch"), ("tag", "tag"), ("semver", "tag-semver"), ("commit", "commit"), ("name", "ref-name")) if flags[f]}
    if not flags["url"]:
        raise Fail("url is required")
    if not ref:
        raise Fail("a Git ref is required, use one of the following: --branch, --tag, --commit, --ref-name or --tag-semver")
    spec: Object = {"interval": go_duration(flags["interval"]), "ref": ref, "url": flags["url"]}
    if flags["secret-ref"]:
        spec["secretRef"] = {"name": flags["secret-ref"]}
    await _create(call, "source git", spec, fetched=True)


async def create_source_helm(call: Call) -> None:
    """A HelmRepository."""
    _need_name(call)
    flags = call.flags
    if not flags["url"]:
        raise Fail("url is required")
    spec: Object = {"interval": go_duration(flags["interval"]), "url": flags["url"]} | ({"type": "oci"} if flags["url"].startswith("oci://") else {})
    if flags["secret-ref"]:
        spec["secretRef"] = {"name": flags["secret-ref"]}
    await _create(call, "source helm", spec, fetched=True)


async def create_source_oci(call: Call) -> None:
    """An OCIRepository."""
    _need_name(call)
    flags = call.flags
    if not flags["url"]:
        raise Fail("url is required")
    ref = {k: flags[f] for k, f in (("tag", "tag"), ("semver", "tag-semver"), ("digest", "digest")) if flags[f]}
    if not ref:
        raise Fail("--tag, --tag-semver or --digest is required")
    spec = {"interval": go_duration(flags["interval"]), "provider": str(flags["provider"] or "generic"), "ref": ref, "url": flags["url"]}
    await _create(call, "source oci", spec, fetched=True)


def _reference(text: str, kinds: tuple[str, ...], flag: str) -> Object:
    """ "Kind/name[.namespace]"."""
    kind, separator, rest = text.rpartition("/")
    if separator and kind not in kinds:
        raise Fail(f'invalid argument "{text}" for "--{flag}" flag: source kind \'{kind}\' is not supported, must be one of: {", ".join(kinds)}')
    name, _, namespace = rest.partition(".")
    return {"kind": kind or kinds[-1], "name": name} | ({"namespace": namespace} if namespace else {})


async def create_kustomization(call: Call) -> None:
    """A Kustomization."""
    _need_name(call)
    flags = call.flags
    if not flags["source"]:
        raise Fail("source is required")
    source = _reference(str(flags["source"]), ("OCIRepository", "GitRepository", "Bucket"), "source")
    path = str(flags["path"] or "./")
    spec: Object = {"interval": go_duration(flags["interval"]), "path": path if path.startswith("./") else f"./{path}", "prune": bool(flags["prune"]), "sourceRef": source}
    if flags["depends-on"]:
        spec["dependsOn"] = [{"name": d.rpartition("/")[2], **({"namespace": d.partition("/")[0]} if "/" in d else {})} for d in flags["depends-on"]]
    if flags["target-namespace"]:
        spec["targetNamespace"] = flags["target-namespace"]
    if flags["wait"]:
        spec |= {"wait": True, "timeout": go_duration(flags["health-check-timeout"])}
    await _create(call, "kustomization", spec, fetched=False)


async def create_helmrelease(call: Call) -> None:
    """A HelmRelease."""
    _need_name(call)
    flags = call.flags
    if not flags["chart"] and not flags["chart-ref"]:
        raise Fail("chart or chart-ref is required")
    spec: Object = {"interval": go_duration(flags["interval"])}
    if flags["chart"]:
        source = _reference(str(flags["source"]), ("HelmRepository", "GitRepository", "Bucket"), "source")
        chart: Object = {"chart": flags["chart"], "reconcileStrategy": flags["reconcile-strategy"], "sourceRef": source}
        spec["chart"] = {"spec": chart | ({"version": flags["chart-version"]} if flags["chart-version"] else {})}
    else:
        spec["chartRef"] = _reference(str(flags["chart-ref"]), ("HelmChart", "OCIRepository"), "chart-ref")
    for field, flag in (("releaseName", "release-name"), ("targetNamespace", "target-namespace"), ("storageNamespace", "storage-namespace")):
        if flags[flag]:
            spec[field] = flags[flag]
    if flags["values"]:
        merged: Object = {}
        for name in flags["values"]:
            merged |= goyaml.load(call.path(name).read_text()) or {}
        spec["values"] = merged
    await _create(call, "helmrelease", spec, fetched=False)


async def create_secret_git(call: Call) -> None:
    """A Secret for a GitRepository."""
    _need_name(call)
    flags = call.flags
    url = flags["url"]
    if not url:
        raise Fail("url is required")
    data: dict[str, str] = {}
    if url.startswith("ssh://"):
        host = url.split("://", 1)[1].split("/", 1)[0].rpartition("@")[2]
        raise Fail(f"SSH key scan for host {host if ':' in host else f'{host}:22'} failed, error: dial tcp: lookup {host.partition(':')[0]}: no such host")
    if flags["bearer-token"]:
        data = {"bearerToken": flags["bearer-token"]}
    elif flags["username"] and flags["password"]:
        data = {"password": flags["password"], "username": flags["username"]}
    else:
        raise Fail("for Git over HTTP/S the username and password, or a bearer token is required")
    secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": _meta(call), "stringData": data}
    if flags["export"]:
        call.out(yaml_of(secret) + "\n")
        return
    found = client(call)
    found.reachable()
    call.mutates()
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": _meta(call), "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}}
    await found.port.apply("v1/secrets", body, "flux")
    found.action(f"git secret '{call.args[0]}' created in '{found.namespace}' namespace")


COMMANDS: dict[str, Any] = {
    "get_all": get_all, "get_sources_all": get_sources_all, "reconcile_kustomization": reconcile_kustomization, "reconcile_helmrelease": reconcile_helmrelease,
    "reconcile_receiver": reconcile_receiver, "create_source_git": create_source_git, "create_source_helm": create_source_helm, "create_source_oci": create_source_oci,
    "create_kustomization": create_kustomization, "create_helmrelease": create_helmrelease, "create_secret_git": create_secret_git,
    **{f"get_{plural.replace('-', '_')}": getter(key) for plural, key in PLURALS.items()},
    **{f"get_sources_{key.split()[1]}": getter(key) for key in SOURCES},
    **{f"reconcile_{key.replace(' ', '_')}": source_reconciler(key) for key in SOURCES},
    **{f"{verb}_{key.replace(' ', '_').replace('-', '_')}": make(key) for verb, make in (("suspend", suspender), ("resume", resumer), ("export", exporter), ("delete", deleter)) for key in KINDS},
}  # fmt: skip
