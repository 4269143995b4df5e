"""The `helm` program: v3.19.5 as recorded. Charts come from folders, archives, and the repositories that `lab.helm.catalog` knows."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.helm import catalog, goyaml
from lab.helm import release as rel
from lab.helm import values as val
from lab.helm.charts import (
    Chart,
    ChartError,
    Context,
    Rendered,
    capabilities,
    load_archive,
    load_folder,
    render,
)
from lab.helm.engine import Helm, HelmError, Options
from lab.helm.release import Release
from lab.kube.port import KubeError
from lab.kube.registry import VERSION_INFO
from lab.programs.access import UNAUTHORIZED, ConfigError, GuardedPort, Target, Unreachable, kinds_of, resolve
from lab.programs.call import Call

VERSION, COMMIT = "v3.19.5", "4a19a5b6fb912c5c28a779e73f2e0880d9e239a4"


class Fail(Exception):
    """Ends the program with `Error: MESSAGE`."""


async def run(call: Call) -> int:
    """Play one command; its exit status."""
    name = "_".join(call.command).replace("-", "_")
    try:
        await COMMANDS[name](call)
    except Fail as error:
        call.err(f"Error: {error}\n")
        return 1
    return 0


# --- reaching the cluster --------------------------------------------------------------------------------------------


def _target(call: Call) -> Target:
    try:
        return resolve(call, call.flags["kube-context"], call.flags["kubeconfig"])
    except ConfigError as error:
        raise Fail(f"Kubernetes cluster unreachable: {error}") from error


def _helm(call: Call, prefix: str = "", namespace: str | None = None) -> Helm:
    """The actions on the call's cluster. Fails with helm's words where the API does not answer."""
    try:
        target = _target(call)
    except Fail as error:
        raise Fail(prefix + str(error)) from error
    port = GuardedPort(target, "Helm/3.19.5")
    try:
        port.check("/version")
    except (Unreachable, KubeError) as error:
        raise Fail(f"{prefix}Kubernetes cluster unreachable: {error}") from error
    space = (call.flags["namespace"] or target.namespace) if namespace is None else namespace
    rng = call.world.random_for(f"helm/{target.cluster_name}")
    text = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return Helm(port, kinds_of(target), call.clock, space, kube_version=VERSION_INFO["gitVersion"], random_text=lambda n: "".join(rng.choices(text, k=n)), told_to_stop=lambda: bool(call.signal))


async def _history(call: Call, helm: Helm, name: str) -> list[Release]:
    try:
        history = await helm.storage.history(name)
    except (Unreachable, KubeError) as error:
        raise Fail(str(error)) from error
    if not history:
        raise Fail("release: not found")
    return history


def _revision(history: Sequence[Release], wanted: int) -> Release:
    if not wanted:
        return history[-1]
    found = next((r for r in history if r.version == wanted), None)
    if found is None:
        raise Fail("release: not found")
    return found


# --- charts and values -----------------------------------------------------------------------------------------------


def _chart(call: Call, reference: str) -> Chart:
    """The chart that a command line names. Fails as helm does."""
    repo, version = call.flags.get("repo", ""), call.flags.get("version", "")
    try:
        if repo:
            return catalog.from_repository(repo, reference, version)
        if reference.startswith("oci://"):
            return catalog.from_registry(reference, version)
        path = call.path(reference)
        if path.is_dir():
            return load_folder(path)
        if path.is_file():
            return load_archive(path.read_bytes())
        if reference.startswith((".", "/")) or reference.count("/") != 1:
            raise Fail(f'path "{reference}" not found' if "/" in reference else f"non-absolute URLs should be in form of repo_name/path_to_chart, got: {reference}")
        alias, name = reference.split("/")
        known = {r["name"]: r["url"] for r in _repositories(call)}
        if alias not in known:
            raise Fail(f"repo {alias} not found")
        return catalog.from_repository(known[alias], name, version)
    except ChartError as error:
        raise Fail(str(error)) from error


def _values(call: Call) -> val.Values:
    """-f files, then --set in helm's order of kinds."""
    out: val.Values = {}
    for name in call.flags["values"]:
        out = val.merge(out, _values_file(call, name))
    for kind, key in (("set-json", "as_json"), ("set", ""), ("set-string", "as_string"), ("set-file", "file"), ("set-literal", "literal")):
        for expression in call.flags.get(kind, ()):
            try:
                _apply_set(call, out, kind, key, expression)
            except val.SetError as error:
                raise Fail(f"failed parsing --{kind} data: {error}") from error
    return out


def _apply_set(call: Call, out: val.Values, kind: str, key: str, expression: str) -> None:
    if kind == "set-file":
        name, _, path = expression.partition("=")
        expression = f"{name}={_read(call, path).replace(chr(92), chr(92) * 2).replace(',', chr(92) + ',')}"
    val.apply_set(out, expression, as_string=key in ("as_string", "file", "literal"), as_json=key == "as_json")


def _read(call: Call, name: str) -> str:
    try:
        return call.stdin.decode() if name == "-" else call.path(name).read_text()
    except FileNotFoundError as error:
        raise Fail(f"open {name}: no such file or directory") from error


def _values_file(call: Call, name: str) -> val.Values:
    try:
        loaded = goyaml.load(_read(call, name))
    except goyaml.YamlError as error:
        raise Fail(f"failed to parse {name}: error converting YAML to JSON: {error}") from error
    return loaded if isinstance(loaded, dict) else {}


def _options(call: Call) -> Options:
    flags = call.flags
    return Options(
        wait=bool(flags.get("wait") or flags.get("atomic") or flags.get("wait-for-jobs")), wait_for_jobs=bool(flags.get("wait-for-jobs")), timeout=float(flags.get("timeout", 300.0)),
        atomic=bool(flags.get("atomic")), create_namespace=bool(flags.get("create-namespace")), no_hooks=bool(flags.get("no-hooks")), skip_crds=bool(flags.get("skip-crds")),
        take_ownership=bool(flags.get("take-ownership")), dry_run=_dry(call), history=int(flags.get("history-max", 10)), reuse_values=bool(flags.get("reuse-values") or flags.get("reset-then-reuse-values")),
        reset_values=bool(flags.get("reset-values")), force=bool(flags.get("force")), description=str(flags.get("description", "")),
    )  # fmt: skip


def _dry(call: Call) -> bool:
    value = call.flags.get("dry-run", "")
    return value if isinstance(value, bool) else value not in ("", "none", "false")


# --- printing --------------------------------------------------------------------------------------------------------


def _print(call: Call, value: Any) -> bool:
    """As JSON or YAML where the call wants that; False for text."""
    output = call.flags.get("output", "table")
    if output == "json":
        call.out(json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n")
    elif output == "yaml":
        call.out(goyaml.dump(value))
    else:
        return False
    return True


def table(rows: Sequence[Sequence[str]]) -> str:
    """gosuri/uitable as helm uses it: cells padded to their column, tabs between, and a trailing pad."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return "".join("\t".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + "\n" for row in rows)


def _asctime(text: str) -> str:
    moment = datetime.fromisoformat(text[:19] + "+00:00")
    return f"{moment:%a %b} {moment.day:2d} {moment:%H:%M:%S %Y}"


def _utc(text: str) -> str:
    return f"{text[:10]} {text[11:19]}.{text[20:29]} +0000 UTC" if text else ""


def _describe(release: Release, rendered: Rendered | None = None, *, show: bool = False) -> str:
    lines = [
        f"NAME: {release.name}", f"LAST DEPLOYED: {_asctime(release.last_deployed)}", f"NAMESPACE: {release.namespace}", f"STATUS: {release.status}",
        f"REVISION: {release.version}",
    ]  # fmt: skip
    if show:
        hooks = rendered.hooks if rendered else ()
        lines += ["TEST SUITE: None", "HOOKS:"]
        lines += [f"---\n# Source: {h.path}\n{h.text}" for h in hooks]
        lines += ["MANIFEST:", release.manifest]
    else:
        lines.append("TEST SUITE: None")
    if release.notes:
        lines += ["NOTES:", release.notes.strip("\n") or release.notes]
    return "\n".join(lines) + "\n"


# --- commands that change a cluster ----------------------------------------------------------------------------------


async def install(call: Call) -> None:
    helm = _helm(call, "INSTALLATION FAILED: ")
    name, reference = _name_and_chart(call)
    try:
        chart = _chart(call, reference)
        values = _values(call)
    except Fail as error:
        raise Fail(f"INSTALLATION FAILED: {error}") from error
    await _install(call, helm, name, chart, values)


def _name_and_chart(call: Call) -> tuple[str, str]:
    if call.flags.get("generate-name"):
        reference = call.args[-1]
        return f"{reference.rstrip('/').rsplit('/', 1)[-1]}-{int(call.clock.now().timestamp())}", reference
    if len(call.args) < 2:
        raise Fail("INSTALLATION FAILED: must either provide a name or specify --generate-name")
    return call.args[0], call.args[1]


async def _install(call: Call, helm: Helm, name: str, chart: Chart, values: val.Values) -> None:
    options = _options(call)
    if not options.dry_run:
        call.mutates()
    try:
        release = await helm.install(name, chart, values, options)
    except (HelmError, KubeError, Unreachable) as error:
        _say_cancelled(call, name)
        raise Fail(f"INSTALLATION FAILED: {error}{_debug_hint(error)}") from error
    await _show(call, helm, release, chart, values)


def _say_cancelled(call: Call, name: str) -> None:
    if call.signal:
        call.out(f"Release {name} has been cancelled.\n")


def _debug_hint(error: Exception) -> str:
    return "" if not str(error).startswith(("template:", "execution error", "parse error", "YAML parse error")) else "\n\nUse --debug flag to render out invalid YAML"


async def _show(call: Call, helm: Helm, release: Release, chart: Chart, values: val.Values) -> None:
    if _print(call, rel.to_json(release)):
        return
    rendered = await helm.render(chart, release.name, values, release.version, upgrade=release.version > 1) if _dry(call) else None
    call.out(_describe(release, rendered, show=_dry(call)))


async def upgrade(call: Call) -> None:
    helm = _helm(call, "" if call.flags["install"] else "UPGRADE FAILED: ")
    name, reference = call.args
    try:
        history = await helm.storage.history(name)
    except (Unreachable, KubeError) as error:
        raise Fail(f"UPGRADE FAILED: {error}") from error
    fresh = call.flags["install"] and (not history or history[-1].status == rel.UNINSTALLED)
    if fresh:
        if call.flags.get("output", "table") == "table":
            call.out(f'Release "{name}" does not exist. Installing it now.\n')
        chart = _chart(call, reference)
        await _install(call, helm, name, chart, _values(call))
        return
    values, chart = _values(call), _chart(call, reference)
    options = _options(call)
    if not options.dry_run:
        call.mutates()
    try:
        release = await helm.upgrade(name, chart, values, options)
    except (HelmError, KubeError, Unreachable) as error:
        _say_cancelled(call, name)
        raise Fail(f"UPGRADE FAILED: {error}{_debug_hint(error)}") from error
    if call.flags.get("output", "table") == "table" and not options.dry_run:
        call.out(f'Release "{name}" has been upgraded. Happy Helming!\n')
    await _show(call, helm, release, chart, values)


async def rollback(call: Call) -> None:
    helm = _helm(call)
    revision = call.args[1] if len(call.args) > 1 else "0"
    if not revision.isdigit():
        raise Fail(f"could not convert revision to a number: strconv.Atoi: parsing \"{revision}\": invalid syntax")
    if not _dry(call):
        call.mutates()
    try:
        await helm.rollback(call.args[0], int(revision), _options(call))
    except (HelmError, KubeError, Unreachable) as error:
        raise Fail(str(error)) from error
    call.out("Rollback was a success! Happy Helming!\n")


async def uninstall(call: Call) -> None:
    helm = _helm(call)
    for name in call.args:
        if not _dry(call):
            call.mutates()
        try:
            await helm.uninstall(name, _options(call), keep_history=bool(call.flags["keep-history"]))
        except (HelmError, KubeError, Unreachable) as error:
            if not (call.flags["ignore-not-found"] and "not found" in str(error)):
                raise Fail(str(error)) from error
        call.out(f'release "{name}" uninstalled\n')


async def test(call: Call) -> None:
    helm = _helm(call)
    release = _revision(await _history(call, helm, call.args[0]), 0)
    call.out(_describe(release))


# --- commands that read ----------------------------------------------------------------------------------------------


async def list_releases(call: Call) -> None:
    flags = call.flags
    helm = _helm(call, namespace="" if flags["all-namespaces"] else None)
    try:
        everything = await helm.storage.all()
    except (Unreachable, KubeError) as error:
        raise Fail(f"query: failed to query with labels: {error}" if not str(error).startswith(UNAUTHORIZED) else str(error)) from error
    newest = {(r.namespace, r.name): r for r in everything}
    kept = [r for r in newest.values() if _listed(r, flags)]
    if flags["filter"]:
        kept = [r for r in kept if re.search(flags["filter"], r.name)]
    kept.sort(key=lambda r: (r.last_deployed if flags["date"] else r.name, r.namespace), reverse=bool(flags["reverse"]))
    kept = kept[flags["offset"] :][: flags["max"] or None]
    if flags["short"]:
        if not _print(call, [r.name for r in kept]):
            call.out("".join(f"{r.name}\n" for r in kept))
        return
    rows = [_row(r) for r in kept]
    if not _print(call, rows):
        head = ["NAME", "NAMESPACE", "REVISION", "UPDATED", "STATUS", "CHART", "APP VERSION"]
        call.out(table(([] if flags["no-headers"] else [head]) + [list(r.values()) for r in rows]) if rows or not flags["no-headers"] else "")


def _listed(release: Release, flags: Mapping[str, Any]) -> bool:
    if flags["all"]:
        return True
    wanted = {
        s
        for flag, names in (
            ("deployed", [rel.DEPLOYED]), ("failed", [rel.FAILED]), ("pending", list(rel.PENDING)), ("superseded", [rel.SUPERSEDED]),
            ("uninstalled", [rel.UNINSTALLED]), ("uninstalling", [rel.UNINSTALLING]),
        )
        if flags[flag]
        for s in names
    }  # fmt: skip
    return release.status in (wanted or {rel.DEPLOYED, rel.FAILED})


def _row(release: Release) -> dict[str, str]:
    return {
        "name": release.name, "namespace": release.namespace, "revision": str(release.version), "updated": _utc(release.last_deployed), "status": release.status,
        "chart": f"{release.chart_name}-{release.chart_version}", "app_version": release.app_version,
    }  # fmt: skip


async def status(call: Call) -> None:
    helm = _helm(call)
    release = _revision(await _history(call, helm, call.args[0]), call.flags["revision"])
    if not _print(call, rel.to_json(release, chart=False)):
        call.out(_describe(release))


async def history(call: Call) -> None:
    helm = _helm(call)
    found = (await _history(call, helm, call.args[0]))[-call.flags["max"] :]
    rows = [
        {"revision": r.version, "updated": r.last_deployed, "status": r.status, "chart": f"{r.chart_name}-{r.chart_version}", "app_version": r.app_version, "description": r.description}
        for r in found
    ]  # fmt: skip
    if not _print(call, rows):
        cells = [[str(r["revision"]), _asctime(str(r["updated"])), *(str(v) for v in list(r.values())[2:])] for r in rows]
        call.out(table([["REVISION", "UPDATED", "STATUS", "CHART", "APP VERSION", "DESCRIPTION"], *cells]))


async def get_values(call: Call) -> None:
    helm = _helm(call)
    release = _revision(await _history(call, helm, call.args[0]), call.flags["revision"])
    values = val.coalesce(release.chart.get("values") or {}, release.config) if call.flags["all"] else dict(release.config)
    if not _print(call, values or (None if not call.flags["all"] else {})):
        call.out("COMPUTED VALUES:\n" if call.flags["all"] else "USER-SUPPLIED VALUES:\n")
        call.out(goyaml.dump(values) if values else "null\n")


async def get_manifest(call: Call) -> None:
    helm = _helm(call)
    call.out(_revision(await _history(call, helm, call.args[0]), call.flags["revision"]).manifest + "\n")


async def get_notes(call: Call) -> None:
    helm = _helm(call)
    notes = _revision(await _history(call, helm, call.args[0]), call.flags["revision"]).notes
    call.out(f"NOTES:\n{notes}\n" if notes else "")


async def get_hooks(call: Call) -> None:
    helm = _helm(call)
    release = _revision(await _history(call, helm, call.args[0]), call.flags["revision"])
    call.out("".join(f"---\n# Source: {h['path']}\n{h['manifest']}\n" for h in release.hooks))


async def get_all(call: Call) -> None:
    helm = _helm(call)
    release = _revision(await _history(call, helm, call.args[0]), call.flags["revision"])
    computed = val.coalesce(release.chart.get("values") or {}, release.config)
    call.out(
        f"{_describe(release).split('TEST SUITE')[0]}CHART: {release.chart_name}\nVERSION: {release.chart_version}\nAPP_VERSION: {release.app_version}\nTEST SUITE: None\n"
        f"USER-SUPPLIED VALUES:\n{goyaml.dump(dict(release.config))}\nCOMPUTED VALUES:\n{goyaml.dump(computed)}\nHOOKS:\nMANIFEST:\n{release.manifest}\n"
    )


async def get_metadata(call: Call) -> None:
    helm = _helm(call)
    release = _revision(await _history(call, helm, call.args[0]), call.flags["revision"])
    facts = {
        "name": release.name, "chart": release.chart_name, "version": release.chart_version, "appVersion": release.app_version, "namespace": release.namespace,
        "revision": release.version, "status": release.status, "deployedAt": release.last_deployed[:19] + "Z",
    }  # fmt: skip
    if not _print(call, facts):
        names = ("NAME", "CHART", "VERSION", "APP_VERSION", "NAMESPACE", "REVISION", "STATUS", "DEPLOYED_AT")
        call.out("".join(f"{n}: {v}\n" for n, v in zip(names, facts.values(), strict=True)))


# --- commands without a cluster --------------------------------------------------------------------------------------


async def template(call: Call) -> None:
    name, reference = ("release-name", call.args[0]) if len(call.args) == 1 else (call.args[0], call.args[1])
    chart, values = _chart(call, reference), _values(call)
    served = frozenset(v for text in call.flags["api-versions"] for v in text.split(","))
    version = call.flags["kube-version"]
    can = capabilities(f"v{version.removeprefix('v')}", served) if version else capabilities(served=served)
    context = Context(name, call.flags["namespace"] or "default", 1, bool(call.flags["is-upgrade"]), values, can, call.clock.now())
    try:
        rendered = await render(chart, context)
    except ChartError as error:
        raise Fail(f"{error}{_debug_hint(error)}") from error
    crds = "".join(f"---\n{goyaml.dump(c)}" for c in chart.crds) if call.flags["include-crds"] else ""
    hooks = "" if call.flags["no-hooks"] else "".join(f"---\n# Source: {h.path}\n{h.text}\n" for h in rendered.hooks)
    text = crds + rendered.manifest + hooks
    only = call.flags["show-only"]
    call.out(_only(chart, text, only) if only else text)


def _only(chart: Chart, text: str, paths: Iterable[str]) -> str:
    pieces = [f"---\n{p}" for p in text.split("---\n") if p]
    out = ""
    for path in paths:
        mine = [p for p in pieces if p.startswith(f"---\n# Source: {chart.name}/{path}\n")]
        if not mine:
            raise Fail(f"could not find template {path} in chart")
        out += "".join(mine)
    return out


async def show_chart(call: Call) -> None:
    call.out(goyaml.dump(dict(_chart(call, call.args[0]).metadata)) + "\n")


async def show_values(call: Call) -> None:
    call.out(_chart(call, call.args[0]).values_text + "\n")


async def show_crds(call: Call) -> None:
    call.out("".join(f"---\n{goyaml.dump(c)}\n" for c in _chart(call, call.args[0]).crds))


async def show_readme(call: Call) -> None:
    call.out(_chart(call, call.args[0]).files.get("README.md", b"").decode())


async def show_all(call: Call) -> None:
    chart = _chart(call, call.args[0])
    call.out(goyaml.dump(dict(chart.metadata)) + "\n---\n" + chart.values_text + "\n")


async def lint(call: Call) -> None:
    failed = 0
    for reference in call.args or ["."]:
        call.out(f"==> Linting {reference}\n")
        try:
            chart = load_folder(call.path(reference))
            if "icon" not in chart.metadata:
                call.out("[INFO] Chart.yaml: icon is recommended\n")
            await render(chart, Context("test-release", "default", 1, False, _values(call), capabilities(), call.clock.now()))
        except ChartError as error:
            call.out(f"[ERROR] templates/: {error}\n")
            failed += 1
        call.out("\n")
    count = len(call.args or ["."])
    if failed:
        raise Fail(f"{count} chart(s) linted, {failed} chart(s) failed")
    call.out(f"{count} chart(s) linted, 0 chart(s) failed\n")


async def package(call: Call) -> None:
    for reference in call.args:
        folder = call.path(reference)
        try:
            chart = load_folder(folder)
        except ChartError as error:
            raise Fail(str(error)) from error
        out = call.path(call.flags["destination"]) / f"{chart.name}-{chart.version}.tgz"
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.add(folder, arcname=chart.name)
        out.write_bytes(buffer.getvalue())
        call.out(f"Successfully packaged chart and saved it to: {out}\n")


async def dependency_list(call: Call) -> None:
    reference = (call.args or ["."])[0]
    chart = load_folder(call.path(reference))
    found = chart.metadata.get("dependencies") or ()
    if not found:
        call.out(f"WARNING: no dependencies at {Path(reference) / 'charts'}\n")
        return
    rows = [[d["name"], d.get("version", ""), d.get("repository", ""), "ok" if any(s.name == d["name"] for s in chart.subcharts) else "missing"] for d in found]
    call.out(table([["NAME", "VERSION", "REPOSITORY", "STATUS"], *rows]))


async def pull(call: Call) -> None:
    for reference in call.args:
        chart = _chart(call, reference)
        if chart.make:
            raise Fail(f"failed to fetch {reference}: the lab knows {chart.name} as code and has no archive of it")


async def version(call: Call) -> None:
    if call.flags["short"]:
        call.out(f"{VERSION}+g{COMMIT[:7]}\n")
    elif call.flags["template"]:
        call.out(str(call.flags["template"]).replace("{{.Version}}", VERSION).replace("{{ .Version }}", VERSION).replace("{{.GitCommit}}", COMMIT))
    else:
        call.out(f'version.BuildInfo{{Version:"{VERSION}", GitCommit:"{COMMIT}", GitTreeState:"clean", GoVersion:"go1.24.9"}}\n')


async def env(call: Call) -> None:
    home = call.env.get("HOME", "")
    settings = {
        "HELM_BIN": "helm", "HELM_BURST_LIMIT": "100", "HELM_CACHE_HOME": f"{home}/.cache/helm", "HELM_CONFIG_HOME": f"{home}/.config/helm", "HELM_DATA_HOME": f"{home}/.local/share/helm",
        "HELM_DEBUG": "false", "HELM_KUBEAPISERVER": "", "HELM_KUBEASGROUPS": "", "HELM_KUBEASUSER": "", "HELM_KUBECAFILE": "", "HELM_KUBECONTEXT": call.flags["kube-context"],
        "HELM_KUBEINSECURE_SKIP_TLS_VERIFY": "false", "HELM_KUBETLS_SERVER_NAME": "", "HELM_KUBETOKEN": "", "HELM_MAX_HISTORY": "10", "HELM_NAMESPACE": call.flags["namespace"] or "default",
        "HELM_PLUGINS": f"{home}/.local/share/helm/plugins", "HELM_QPS": "0.00", "HELM_REGISTRY_CONFIG": f"{home}/.config/helm/registry/config.json",
        "HELM_REPOSITORY_CACHE": f"{home}/.cache/helm/repository", "HELM_REPOSITORY_CONFIG": f"{home}/.config/helm/repositories.yaml",
    }  # fmt: skip
    wanted = call.args[:1]
    call.out("".join(f'{k}="{v}"\n' for k, v in settings.items()) if not wanted else f"{settings.get(wanted[0], '')}\n")


# --- repositories ----------------------------------------------------------------------------------------------------


def _repo_file(call: Call) -> Path:
    given = str(call.flags.get("repository-config", ""))
    home = call.env.get("HOME", "")
    return call.path(given.replace("$HOME", home)) if given else Path(home) / ".config/helm/repositories.yaml"


def _repositories(call: Call) -> list[dict[str, str]]:
    file = _repo_file(call)
    if not file.is_file():
        return []
    return [{"name": r["name"], "url": r["url"]} for r in (goyaml.load(file.read_text()) or {}).get("repositories") or ()]


def _save(call: Call, repositories: list[dict[str, str]]) -> None:
    file = _repo_file(call)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(goyaml.dump({"apiVersion": "", "generated": "0001-01-01T00:00:00Z", "repositories": repositories}))


async def repo_list(call: Call) -> None:
    found = _repositories(call)
    if _print(call, found):
        return
    if not found:
        raise Fail("no repositories to show")
    call.out(table([["NAME", "URL"], *([r["name"], r["url"]] for r in found)]))


async def repo_add(call: Call) -> None:
    name, url = call.args
    found = _repositories(call)
    if any(r["name"] == name for r in found) and not call.flags["force-update"]:
        if any(r == {"name": name, "url": url} for r in found):
            call.out(f'"{name}" already exists with the same configuration, skipping\n')
            return
        raise Fail(f"repository name ({name}) already exists, please specify a different name")
    try:
        catalog.index(url)
    except ChartError as error:
        raise Fail(str(error)) from error
    _save(call, [*(r for r in found if r["name"] != name), {"name": name, "url": url}])
    call.out(f'"{name}" has been added to your repositories\n')


async def repo_update(call: Call) -> None:
    found = _repositories(call)
    if not found:
        raise Fail("no repositories found. You must add one before updating")
    call.out("Hang tight while we grab the latest from your chart repositories...\n")
    for repository in found:
        call.out(f'...Successfully got an update from the "{repository["name"]}" chart repository\n')
    call.out("Update Complete. ⎈Happy Helming!⎈\n")


async def repo_remove(call: Call) -> None:
    found = _repositories(call)
    for name in call.args:
        if not any(r["name"] == name for r in found):
            raise Fail(f"no repo named {name!r} found".replace("'", '"'))
        found = [r for r in found if r["name"] != name]
        call.out(f'"{name}" has been removed from your repositories\n')
    _save(call, found)


async def search_repo(call: Call) -> None:
    found = _repositories(call)
    if not found:
        raise Fail("no repositories configured")
    word = call.args[0] if call.args else ""
    rows = []
    for repository in found:
        for offer in catalog.index(repository["url"]):
            newest = offer.resolve(call.flags["version"])
            if word in f"{repository['name']}/{offer.name}" and newest:
                chart = offer.at(newest)
                rows.append({"name": f"{repository['name']}/{offer.name}", "version": newest, "app_version": chart.app_version, "description": str(chart.metadata.get("description", ""))})
    if not _print(call, rows):
        call.out(table([["NAME", "CHART VERSION", "APP VERSION", "DESCRIPTION"], *(list(r.values()) for r in rows)]) if rows else "No results found\n")


async def _unplayed(call: Call) -> None:
    raise Fail(f"the lab does not play `helm {' '.join(call.command)}`")


COMMANDS = {
    "install": install, "upgrade": upgrade, "rollback": rollback, "uninstall": uninstall, "test": test, "list": list_releases, "status": status, "history": history,
    "get_values": get_values, "get_manifest": get_manifest, "get_notes": get_notes, "get_hooks": get_hooks, "get_all": get_all, "get_metadata": get_metadata,
    "template": template, "show_chart": show_chart, "show_values": show_values, "show_crds": show_crds, "show_readme": show_readme, "show_all": show_all, "lint": lint,
    "package": package, "dependency_list": dependency_list, "pull": pull, "version": version, "env": env, "repo_list": repo_list, "repo_add": repo_add,
    "repo_update": repo_update, "repo_remove": repo_remove, "search_repo": search_repo,
    **dict.fromkeys((
        "completion_bash", "completion_fish", "completion_powershell", "completion_zsh", "create", "dependency_build", "dependency_update", "plugin_install", "plugin_list",
        "plugin_uninstall", "plugin_update", "push", "registry_login", "registry_logout", "repo_index", "search_hub", "verify",
    ), _unplayed),
}  # fmt: skip
