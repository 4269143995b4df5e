"""`flux` build, diff, tree, trace, events, logs, stats and debug."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.flux import kstatus
from lab.flux.build import BuildError, PathError, flux_build
from lab.flux.kustomization import entry_of
from lab.helm import goyaml
from lab.helm.objects import name_of, namespace_of, three_way
from lab.programs.access import Unreachable
from lab.programs.call import Call
from lab.programs.flux.base import BY_KIND, KINDS, Client, Fail, Object, client, table

# --- build and diff --------------------------------------------------------------------------------------------------


def _local_files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and ".git" not in p.parts}


async def _kustomization(call: Call) -> Object:
    """The Kustomization of the call: from a file, or from the cluster; the rest of it from both."""
    name = call.args[0]
    file = call.flags["kustomization-file"]
    if file:
        path = call.path(file)
        if not path.is_file():
            raise Fail(f'invalid kustomization file "{file}"')
        documents = [d for d in goyaml.load_all(path.read_text()) if isinstance(d, dict) and d.get("kind") == "Kustomization" and name_of(d) == name]
        if not documents:
            raise Fail(f"failed find kustomization with name '{name}' in file '{file}'")
        if call.flags.get("dry-run"):
            return documents[0]
    elif call.flags.get("dry-run"):
        raise Fail("dry-run mode requires a kustomization file")
    found = client(call)
    try:
        live = await found.get(KINDS["kustomization"], name)
    except Fail as error:
        raise Fail(f"failed to get kustomization object: {error}") from error
    return {**live, "spec": documents[0]["spec"]} if file else live


async def _variables(call: Call, obj: Object) -> dict[str, str]:
    post = obj["spec"].get("postBuild") or {}
    out: dict[str, str] = {}
    if not call.flags.get("dry-run"):
        found = client(call)
        for ref in post.get("substituteFrom") or ():
            if ref["kind"] == "ConfigMap":
                live = await found.port.get("v1/configmaps", ref["name"], found.namespace)
                out |= (live or {}).get("data") or {}
    out |= {k: str(v) for k, v in (post.get("substitute") or {}).items()}
    if call.flags["strict-substitute"] and not out:
        out = {"_": ""}  # strictness is only looked at where there is anything to substitute
    return out


async def _built(call: Call) -> tuple[Object, list[Object]]:
    path = call.flags["path"]
    folder = call.path(path)
    if not path or not folder.is_dir():
        raise Fail(f'invalid resource path "{path}"')
    obj = await _kustomization(call)
    meta = obj["metadata"]
    files = _local_files(folder)
    spec = {**obj["spec"], "path": "."}
    try:
        variables = await _variables(call, obj)
        return obj, flux_build(files, spec, meta["name"], meta.get("namespace", "flux-system"), variables, strict=bool(call.flags["strict-substitute"]))
    except PathError as error:
        raise Fail(f'invalid resource path "{path}"') from error
    except BuildError as error:
        missing = str(error).rpartition("lstat ")[2].partition(":")[0] if "no such file" in str(error) else ""
        text = f"failed to generate kustomization.yaml: lstat {folder / missing}: no such file or directory <nil> <nil>" if missing else str(error)
        raise Fail(text) from error


async def build_kustomization(call: Call) -> None:
    """The objects as the controller would apply them."""
    if not call.args:
        raise Fail("kustomization name is required")
    _, objects = await _built(call)
    for obj in objects:
        shown = {**obj, "data": dict.fromkeys(obj.get("data") or {}, "KioqKioqKg==")} if obj["kind"] == "Secret" and obj.get("data") else obj
        call.out(goyaml.dump(shown) + "---\n")


async def diff_kustomization(call: Call) -> None:
    """What would change: 0 nothing, 1 something, 2 an error."""
    if not call.args:
        raise Fail("kustomization name is required")
    bad_file = call.flags["kustomization-file"] and not call.path(call.flags["kustomization-file"]).is_file()
    try:
        obj, objects = await _built(call)
        text = await _differences(call, obj, objects)
    except Fail as error:
        raise Fail(str(error), 1 if bad_file else 2) from error
    except Unreachable as error:
        raise Fail(str(error), 2) from error
    if call.flags["progress-bar"]:
        call.out(".  Kustomization diffing...: running dry-run\n.. Kustomization diffing...: processing inventory\n✓  Kustomization diffing...\n")
    if text:
        call.out(text)
        call.err("⚠️ identified at least one change, exiting with non-zero exit code\n")
        raise Fail("", 1)


async def _differences(call: Call, owner: Object, objects: list[Object]) -> str:
    found = client(call)
    out = ""
    for obj in objects:
        namespace = namespace_of(obj)
        subject = f"{obj['kind']}/{f'{namespace}/' if namespace else ''}{name_of(obj)}"
        kind = found.kinds.find(obj["apiVersion"], obj["kind"])
        if kind is None:
            raise Fail(f'{subject} dry-run failed: no matches for kind "{obj["kind"]}" in version "{obj["apiVersion"]}"')
        live = await found.port.get(kind.gvr, name_of(obj), namespace)
        if live is None:
            out += f"► {subject} created\n"
            continue
        wanted = three_way({}, obj, live)
        changes = list(_changes(live, wanted, ""))
        if changes:
            out += f"► {subject} drifted\n\n" + "".join(f"{path}\n{text}\n" for path, text in changes)
    kept = {entry_of(o)[0] for o in objects}
    for entry in ((owner.get("status") or {}).get("inventory") or {}).get("entries") or ():
        if entry["id"] not in kept and owner["spec"].get("prune"):
            namespace, name, _, kind_name = entry["id"].split("_", 3)
            out += f"► {kind_name}/{f'{namespace}/' if namespace else ''}{name} deleted\n"
    return out


def _changes(live: Any, wanted: Any, path: str) -> Iterator[tuple[str, str]]:
    """(path, dyff's lines) of each difference."""
    if isinstance(live, Mapping) and isinstance(wanted, Mapping):
        for key in sorted({*live, *wanted}):
            where = f"{path}.{key}" if path else str(key)
            if where in ("metadata.managedFields", "metadata.resourceVersion", "status"):
                continue
            if key not in live:
                yield path or key, f"+ one map entry added:\n{_indented(key, wanted[key])}"
            elif key not in wanted:
                yield path or key, f"- one map entry removed:\n{_indented(key, live[key])}"
            else:
                yield from _changes(live[key], wanted[key], where)
    elif live != wanted:
        yield path, f"± value change\n- {_scalar(live)}\n+ {_scalar(wanted)}\n"


def _indented(key: str, value: Any) -> str:
    return "".join(f"  {line}\n" for line in goyaml.dump({key: value}).splitlines())


def _scalar(value: Any) -> str:
    return goyaml.dump(value).strip().removesuffix("\n...").removesuffix("...").strip()


# --- tree and trace --------------------------------------------------------------------------------------------------


async def tree_kustomization(call: Call) -> None:
    """The inventory, nested by Kustomization."""
    if not call.args:
        raise Fail("kustomization name is required")
    found = client(call)
    root = await _tree(call, found, call.args[0], found.namespace, set())
    if call.flags["output"] == "json":
        call.out(json.dumps(root, indent=2) + "\n")
    elif call.flags["output"] == "yaml":
        call.out(goyaml.dump(root))
    else:
        call.out(_label(root) + "\n" + "".join(_branches(root, "")) + "\n")


async def _tree(call: Call, found: Client, name: str, namespace: str, above: set[str]) -> Object:
    obj = await found.get(KINDS["kustomization"], name, namespace)
    node: Object = {"resource": _resource(namespace, name, "kustomize.toolkit.fluxcd.io", "Kustomization"), "resources": []}
    for entry in ((obj.get("status") or {}).get("inventory") or {}).get("entries") or ():
        space, one, group, kind = entry["id"].split("_", 3)
        if call.flags["compact"] and not group.endswith("toolkit.fluxcd.io"):
            continue
        inner = kind == "Kustomization" and group.startswith("kustomize") and one not in above and one != name
        if inner:
            node["resources"].append(await _tree(call, found, one, space, {*above, name}))
        else:
            node["resources"].append({"resource": _resource(space, one, group, kind)})
    return node if node["resources"] else {"resource": node["resource"]}


def _resource(namespace: str, name: str, group: str, kind: str) -> Object:
    return {"Namespace": namespace, "Name": name, "GroupKind": {"Group": group, "Kind": kind}}


def _label(node: Object) -> str:
    one = node["resource"]
    return f"{one['GroupKind']['Kind']}/{one['Namespace'] + '/' if one['Namespace'] else ''}{one['Name']}"


def _branches(node: Object, indent: str) -> Iterator[str]:
    children = node.get("resources") or []
    for i, child in enumerate(children):
        last = i == len(children) - 1
        yield f"{indent}{'└── ' if last else '├── '}{_label(child)}\n"
        yield from _branches(child, indent + ("    " if last else "│   "))


async def trace(call: Call) -> None:
    """Who applied an object."""
    found = client(call)
    flags = call.flags
    if len(call.args) == 2:
        raise Fail(f'failed to find object: {flags["kind"].lower()}s "{call.args[0]}" not found')
    kind = found.kinds.find(flags["api-version"], flags["kind"])
    found.reachable()
    if kind is None:
        raise Fail(f'failed to find object: no matches for kind "{flags["kind"]}" in version "{flags["api-version"]}"')
    live = await found.port.get(kind.gvr, call.args[0], found.namespace if kind.namespaced else "")
    if live is None:
        raise Fail(f'failed to find object: {kind.plural} "{call.args[0]}" not found')
    labels = live["metadata"].get("labels") or {}
    owner = labels.get("kustomize.toolkit.fluxcd.io/name")
    call.out(f"\nObject:          {flags['kind']}/{call.args[0]}\n" + (f"Namespace:       {found.namespace}\n" if kind.namespaced else ""))
    if not owner:
        call.out("Status:          Not managed by Flux\n")
        return
    call.out("Status:          Managed by Flux\n---\n")
    one = await found.get(KINDS["kustomization"], owner, labels["kustomize.toolkit.fluxcd.io/namespace"])
    ready = kstatus.condition(one, "Ready")
    call.out(
        f"Kustomization:   {owner}\nNamespace:       {namespace_of(one)}\nPath:            {one['spec'].get('path', './')}\nRevision:        {(one.get('status') or {}).get('lastAppliedRevision', '')}\n"
        f"Status:          Last reconciled at {_time(ready.get('lastTransitionTime', ''))}\nMessage:         {ready.get('message', '')}\n---\n"
    )
    ref = one["spec"]["sourceRef"]
    source = await found.get(BY_KIND[ref["kind"]], ref["name"], ref.get("namespace") or namespace_of(one))
    said = kstatus.condition(source, "Ready")
    call.out(
        f"{ref['kind']}:   {ref['name']}\nNamespace:       {namespace_of(source)}\nURL:             {source['spec']['url']}\nBranch:          {(source['spec'].get('ref') or {}).get('branch', '')}\n"
        f"Revision:        {((source.get('status') or {}).get('artifact') or {}).get('revision', '')}\nStatus:          Last reconciled at {_time(said.get('lastTransitionTime', ''))}\n"
        f"Message:         {said.get('message', '')}\n"
    )


def _time(text: str) -> str:
    return text.replace("T", " ").replace("Z", " +0000 UTC")


# --- events, logs, stats, debug --------------------------------------------------------------------------------------


async def events(call: Call) -> None:
    """Events of Flux' objects."""
    found = client(call)
    found.reachable()
    everywhere = bool(call.flags["all-namespaces"])
    objects, _ = await found.port.list("v1/events", "" if everywhere else found.namespace)
    wanted = call.flags["for"]
    types = [t for text in call.flags["types"] for t in text.split(",") if t]
    rows = []
    for one in sorted(objects, key=lambda e: str(e.get("lastTimestamp") or "")):
        about = one["involvedObject"]
        subject = f"{about.get('kind')}/{about.get('name')}"
        ours = about.get("kind") in BY_KIND and "toolkit.fluxcd.io" in about.get("apiVersion", "")
        if not ours or (wanted and subject.lower() != wanted.lower()) or (types and one.get("type") not in types):
            continue
        count = one.get("count", 1)
        seen = _ago(call, one.get("lastTimestamp", ""))
        age = f"{seen} (x{count} over {_ago(call, one.get('firstTimestamp', ''))})" if count > 1 else seen
        rows.append([*([one["metadata"]["namespace"]] if everywhere else []), age, one.get("type", ""), one.get("reason", ""), subject, one.get("message", "").splitlines()[0] if one.get("message") else ""])
    if not rows:
        found.failure(f"No events found in {'all namespaces' if everywhere else f'{found.namespace} namespace'}.")
        return
    call.out(table([*(["Namespace"] if everywhere else []), "Last seen", "Type", "Reason", "Object", "Message"], rows))


def _ago(call: Call, text: str) -> str:
    from datetime import datetime

    if not text:
        return "<unknown>"
    left = int((call.clock.now() - datetime.fromisoformat(text.replace("Z", "+00:00"))).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if left >= size * (2 if unit == "m" else 1):
            return f"{left // size}{unit}"
    return f"{max(left, 0)}s"


async def logs(call: Call) -> None:
    """Lines of the controllers, from what they wrote as events."""
    found = client(call)
    found.reachable()
    space = call.flags["flux-namespace"]
    pods, _ = await found.port.list("v1/pods", space, labels="app.kubernetes.io/instance=" + space)
    if not pods:
        raise Fail(f'no Flux pods found in namespace "{space}"')
    objects, _ = await found.port.list("v1/events", "" if call.flags["all-namespaces"] else found.namespace)
    for one in sorted(objects, key=lambda e: str(e.get("lastTimestamp") or "")):
        about = one["involvedObject"]
        level = "error" if one.get("type") == "Warning" else "info"
        skip = about.get("kind") not in BY_KIND or (call.flags["level"] and call.flags["level"] != level) or (call.flags["kind"] and call.flags["kind"].lower() != about["kind"].lower())
        if skip or (call.flags["name"] and call.flags["name"] != about.get("name")):
            continue
        call.out(f"{one.get('lastTimestamp')} {level} {about['kind']}/{about['name']}.{about.get('namespace')} - {one.get('message', '')}\n")


STATS = ("GitRepository", "OCIRepository", "HelmRepository", "HelmChart", "Bucket", "Kustomization", "HelmRelease", "Alert", "Provider", "Receiver", "ImageUpdateAutomation", "ImagePolicy", "ImageRepository")  # fmt: skip


async def stats(call: Call) -> None:
    """How many of each kind run, fail, are suspended; size of their artifacts."""
    found = client(call)
    found.reachable()
    rows = []
    for name in STATS:
        kind = BY_KIND.get(name)
        served = kind is not None and found.kinds.find(kind.api, kind.kind) is not None
        objects = await found.list(kind, everywhere=bool(call.flags["all-namespaces"])) if kind is not None and served else []
        suspended = sum(bool(o["spec"].get("suspend")) for o in objects)
        failing = sum(kstatus.condition(o, "Ready").get("status") == "False" for o in objects)
        size = sum(((o.get("status") or {}).get("artifact") or {}).get("size", 0) for o in objects)
        rows.append([name, str(len(objects) - suspended), str(failing), str(suspended), _bytes(size) if size else "-"])
    call.out(table(["Reconcilers", "Running", "Failing", "Suspended", "Storage"], rows))


def _bytes(size: int) -> str:
    value, units = float(size), ["B", "KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.1f} {units[0]}"


async def debug_kustomization(call: Call) -> None:
    """Status, variables or history of a Kustomization."""
    flags = call.flags
    if sum(bool(flags[f]) for f in ("show-status", "show-vars", "show-history")) != 1:
        raise Fail("exactly one of --show-status, --show-vars, or --show-history must be set")
    found = client(call)
    obj = await found.get(KINDS["kustomization"], call.args[0])
    if flags["show-status"]:
        call.out("# Status documentation: https://fluxcd.io/flux/components/kustomize/kustomizations/#kustomization-status\n" + goyaml.dump(obj.get("status") or {}))
    elif flags["show-history"]:
        call.out(goyaml.dump((obj.get("status") or {}).get("history") or []))
    else:
        if not obj["spec"].get("postBuild"):
            raise Fail("no post build substitutions found")
        for key, value in sorted((await _variables(call, obj)).items()):
            call.out(f"{key}={value}\n")


async def debug_helmrelease(call: Call) -> None:
    """Status, values or history of a HelmRelease."""
    flags = call.flags
    if sum(bool(flags[f]) for f in ("show-status", "show-values", "show-history")) != 1:
        raise Fail("either --show-status, --show-values, or --show-history must be set")
    found = client(call)
    obj = await found.get(KINDS["helmrelease"], call.args[0])
    if flags["show-status"]:
        call.out("# Status documentation: https://fluxcd.io/flux/components/helm/helmreleases/#helmrelease-status\n" + goyaml.dump(obj.get("status") or {}))
    elif flags["show-history"]:
        call.out(goyaml.dump((obj.get("status") or {}).get("history") or []))
    else:
        call.out(goyaml.dump(obj["spec"].get("values") or {}))


COMMANDS = {
    "build_kustomization": build_kustomization, "diff_kustomization": diff_kustomization, "tree_kustomization": tree_kustomization, "trace": trace, "events": events, "logs": logs,
    "stats": stats, "debug_kustomization": debug_kustomization, "debug_helmrelease": debug_helmrelease,
}  # fmt: skip
