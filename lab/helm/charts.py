"""Charts: loaded from a folder or an archive, or known to the lab as code, and rendered to objects.

A chart of the catalog makes its objects in Python (see `lab.cilium.chart`); one from disk is rendered from its own templates.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.helm import goyaml
from lab.helm.functions import functions, semver_key, semver_matches
from lab.helm.objects import Object, install_rank, name_of
from lab.helm.template import Executor, FunctionError, Template, TemplateError, parse
from lab.helm.values import Values, coalesce, schema_errors


class ChartError(Exception):
    """A chart that cannot be found, loaded or rendered; the message is Helm's."""


@dataclass(frozen=True, slots=True)
class ApiVersions:
    """Helm's Capabilities.APIVersions."""

    served: frozenset[str]

    def Has(self, name: str) -> bool:  # noqa: N802 - the name that templates call
        return name in self.served


@dataclass(frozen=True, slots=True)
class KubeVersion:
    """Helm's Capabilities.KubeVersion."""

    Version: str
    Major: str
    Minor: str

    @property
    def GitVersion(self) -> str:  # noqa: N802 - the name that templates call
        return self.Version

    def __str__(self) -> str:
        return self.Version


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the cluster can do, as templates ask."""

    KubeVersion: KubeVersion
    APIVersions: ApiVersions
    HelmVersion: Mapping[str, str] = field(default_factory=lambda: {"Version": "v3.19.2"})


def capabilities(version: str = "v1.34.0", served: frozenset[str] = frozenset()) -> Capabilities:
    """Of a cluster at `version`; the default is what Helm 3.19 assumes without one."""
    major, minor = version.removeprefix("v").split(".")[:2]
    return Capabilities(KubeVersion(version, major, minor), ApiVersions(served))


Lookup = Callable[[str, str, str, str], Awaitable[Object | None]]


async def no_lookup(_api: str, _kind: str, _namespace: str, _name: str) -> Object | None:
    """As `helm template` looks up: nothing is there."""
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """What a rendering is told. `values` are the chart's own under the caller's."""

    release: str
    namespace: str
    revision: int
    upgrade: bool
    values: Values
    capabilities: Capabilities
    now: datetime
    lookup: Lookup = no_lookup
    random_text: Callable[[int], str] | None = None


Source = tuple[str, Sequence[Object]]  # path below the chart's name, and the objects of that file
Maker = Callable[["Context", "Chart"], Awaitable[tuple[list[Source], str]]]  # files and notes


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart at one version. `make` renders a chart that the lab knows as code; else `templates` are rendered."""

    metadata: Mapping[str, Any]
    values: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None
    templates: tuple[tuple[str, str], ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    crds: tuple[Object, ...] = ()
    subcharts: tuple[Chart, ...] = ()
    make: Maker | None = None
    values_text: str = ""

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def version(self) -> str:
        return str(self.metadata["version"])

    @property
    def app_version(self) -> str:
        return str(self.metadata.get("appVersion", ""))


@dataclass(frozen=True, slots=True)
class Hook:
    """An object that runs at an event and is no part of the release's manifest."""

    path: str
    text: str
    obj: Object
    events: tuple[str, ...]
    weight: int
    delete_policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """`manifest` is Helm's text; `objects` the same in installation order."""

    manifest: str
    objects: tuple[Object, ...]
    hooks: tuple[Hook, ...]
    notes: str


async def render(chart: Chart, context: Context, labels: Mapping[str, str] | None = None) -> Rendered:
    """The objects of `chart`, with `labels` put on each as a post-renderer would. Raises ChartError with Helm's wording."""
    values = effective(chart, context.values)
    broken = _check_schema(chart, values)
    if broken:
        raise ChartError(f"values don't meet the specifications of the schema(s) in the following chart(s):\n{broken}")
    context = Context(
        context.release, context.namespace, context.revision, context.upgrade, values,
        context.capabilities, context.now, context.lookup, context.random_text,
    )  # fmt: skip
    if chart.make:
        sources, notes = await chart.make(context, chart)
        marked = [(f"{chart.name}/{path}", _labelled(obj, labels)) for path, objs in sources for obj in objs]
        return _sorted([(path, _text(obj), obj) for path, obj in marked], notes)
    texts, notes = await _from_templates(chart, context)
    if labels:
        texts = [(path, _text(obj), obj) for path, obj in ((path, _labelled(obj, labels)) for path, _, obj in texts)]
    return _sorted(texts, notes)


def _text(obj: Object) -> str:
    return goyaml.dump(obj).rstrip("\n")


def _labelled(obj: Object, labels: Mapping[str, str] | None) -> Object:
    if not labels:
        return obj
    metadata = obj.get("metadata") or {}
    return {**obj, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}}


def effective(chart: Chart, values: Mapping[str, Any]) -> Values:
    """The chart's defaults, and those of its subcharts, under `values`."""
    out = coalesce(chart.values, values)
    for sub in chart.subcharts:
        inner = out.get(sub.name)
        inner = dict(inner) if isinstance(inner, Mapping) else {}
        if "global" in out:
            inner["global"] = coalesce(inner.get("global", {}), out["global"])
        out[sub.name] = effective(sub, inner)
    return out


def _check_schema(chart: Chart, values: Mapping[str, Any]) -> str:
    text = ""
    if chart.schema:
        errors = schema_errors(chart.schema, values)
        if errors:
            text += f"{chart.name}:\n" + "".join(f"- {e}\n" for e in errors)
    for sub in chart.subcharts:
        text += _check_schema(sub, values.get(sub.name, {}))
    return text


def _enabled(chart: Chart, values: Mapping[str, Any]) -> list[Chart]:
    """Subcharts whose condition holds."""
    conditions = {d.get("alias") or d["name"]: d.get("condition", "") for d in chart.metadata.get("dependencies", ())}
    kept = []
    for sub in chart.subcharts:
        verdicts = [_lookup_path(values, c.strip()) for c in conditions.get(sub.name, "").split(",") if c.strip()]
        if next((v for v in verdicts if isinstance(v, bool)), True):
            kept.append(sub)
    return kept


def _lookup_path(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


class _NeedLookup(Exception):
    pass


async def _from_templates(chart: Chart, context: Context) -> tuple[list[tuple[str, str, Object]], str]:
    """Render from templates. `lookup` is asked ahead: what a run misses is fetched, then the run is repeated."""
    found: dict[tuple[str, str, str, str], Object] = {}

    def lookup(api: str, kind: str, namespace: str, name: str) -> Object:
        key = (api, kind, namespace, name)
        if key not in found:
            raise _NeedLookup(*key)
        return found[key]

    while True:
        try:
            outputs = _run(chart, context, lookup)
            break
        except _NeedLookup as need:
            api, kind, namespace, name = need.args
            found[api, kind, namespace, name] = await context.lookup(api, kind, namespace, name) or {}
    texts: list[tuple[str, str, Object]] = []
    notes = ""
    for path, text in outputs:
        if path.endswith("/NOTES.txt"):
            notes = text if path == f"{chart.name}/templates/NOTES.txt" else notes
            continue
        for document in _documents(text):
            texts.append((path, document, _as_object(path, document)))
    return [t for t in texts if t[2]], notes


def _run(chart: Chart, context: Context, lookup: Callable[..., Object]) -> list[tuple[str, str]]:
    parsed: dict[str, Template] = {}
    scopes: dict[str, dict[str, Any]] = {}
    _collect(chart, context, context.values, f"{chart.name}", parsed, scopes)
    executor = Executor(parsed, functions(context.now, lookup, context.random_text))
    out = []
    for path in sorted(parsed):
        if path.rsplit("/", 1)[-1].startswith("_"):
            continue
        data = {**scopes[path], "Template": {"Name": path, "BasePath": path.split("/templates/")[0] + "/templates"}}
        try:
            out.append((path, executor.run(path, data).replace("<no value>", "")))
        except (TemplateError, FunctionError) as error:
            raise ChartError(f"{error}") from error
    return out


def _collect(
    chart: Chart, context: Context, values: Mapping[str, Any], prefix: str, parsed: dict[str, Template], scopes: dict[str, dict[str, Any]]
) -> None:
    scope = {
        "Values": values,
        "Release": {
            "Name": context.release, "Namespace": context.namespace, "Revision": context.revision, "Service": "Helm",
            "IsInstall": not context.upgrade, "IsUpgrade": context.upgrade,
        },
        "Chart": {k[:1].upper() + k[1:]: v for k, v in chart.metadata.items()} | {"IsRoot": "/" not in prefix},
        "Capabilities": context.capabilities,
        "Files": _Files(chart.files),
        "Subcharts": {},
    }  # fmt: skip
    for name, text in chart.templates:
        path = f"{prefix}/{name}"
        try:
            parsed[path] = parse(path, text)
        except TemplateError as error:
            raise ChartError(f"parse error at ({str(error).removeprefix('template: ')}") from error
        scopes[path] = scope
    for sub in _enabled(chart, values):
        _collect(sub, context, values.get(sub.name, {}), f"{prefix}/charts/{sub.name}", parsed, scopes)


class _Files:
    """Helm's .Files."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def Get(self, name: str) -> str:  # noqa: N802 - the name that templates call
        return self._files.get(name, b"").decode(errors="replace")

    def Glob(self, pattern: str) -> dict[str, bytes]:  # noqa: N802 - the name that templates call
        return {n: d for n, d in self._files.items() if Path(n).match(pattern)}

    def AsConfig(self) -> str:  # noqa: N802 - the name that templates call
        return goyaml.dump({n.rsplit("/", 1)[-1]: d.decode() for n, d in self._files.items()})


def _documents(text: str) -> list[str]:
    parts: list[str] = []
    current: list[str] = []
    for line in text.splitlines():
        if line.rstrip() == "---" or line.startswith("--- "):
            parts.append("\n".join(current))
            current = []
        else:
            current.append(line)
    parts.append("\n".join(current))
    return [p.strip("\n") for p in parts if p.strip()]


def _as_object(path: str, text: str) -> Object:
    try:
        value = goyaml.load(text)
    except goyaml.YamlError as error:
        raise ChartError(f"YAML parse error on {path}: error converting YAML to JSON: {error}") from error
    return value if isinstance(value, dict) else {}


def _sorted(texts: list[tuple[str, str, Object]], notes: str) -> Rendered:
    hooks, plain = [], []
    for path, text, obj in texts:
        annotations = (obj.get("metadata") or {}).get("annotations") or {}
        events = annotations.get("helm.sh/hook")
        if events:
            policies = tuple(p.strip() for p in annotations.get("helm.sh/hook-delete-policy", "before-hook-creation").split(","))
            weight = int(annotations.get("helm.sh/hook-weight", 0))
            hooks.append(Hook(path, text, obj, tuple(e.strip() for e in events.split(",")), weight, policies))
        else:
            plain.append((path, text, obj))
    plain.sort(key=lambda t: (install_rank(t[2].get("kind", "")), name_of(t[2])))
    manifest = "".join(f"---\n# Source: {path}\n{text}\n" for path, text, _ in plain)
    hooks.sort(key=lambda h: (h.weight, install_rank(h.obj.get("kind", "")), name_of(h.obj)))
    return Rendered(manifest, tuple(o for _, _, o in plain), tuple(hooks), notes)


def load_folder(folder: Path) -> Chart:
    """A chart on disk. Raises ChartError."""
    if not (folder / "Chart.yaml").is_file():
        raise ChartError("Chart.yaml file is missing")
    return _chart({p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()})


def load_folder_files(files: Mapping[str, bytes]) -> Chart:
    """A chart out of paths and contents. Raises ChartError."""
    if "Chart.yaml" not in files:
        raise ChartError("Chart.yaml file is missing")
    return _chart(files)


def load_archive(data: bytes) -> Chart:
    """A packaged chart (.tgz). Raises ChartError."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive.getmembers():
                stream = archive.extractfile(member) if member.isfile() else None
                if stream:
                    files[member.name.split("/", 1)[-1]] = stream.read()
    except (tarfile.TarError, OSError) as error:
        raise ChartError(f"failed to load chart: {error}") from error
    return _chart(files)


def _chart(files: Mapping[str, bytes]) -> Chart:
    try:
        metadata = goyaml.load(files["Chart.yaml"]) or {}
        values = goyaml.load(files.get("values.yaml", b"")) or {}
    except goyaml.YamlError as error:
        raise ChartError(f"cannot load Chart.yaml: error converting YAML to JSON: {error}") from error
    subs: dict[str, dict[str, bytes]] = {}
    for path, data in files.items():
        if path.startswith("charts/") and path.count("/") >= 2:
            _, name, rest = path.split("/", 2)
            subs.setdefault(name, {})[rest] = data
    subcharts = [_chart(s) for s in subs.values() if "Chart.yaml" in s]
    subcharts += [load_archive(d) for p, d in files.items() if p.startswith("charts/") and p.endswith(".tgz") and p.count("/") == 1]
    schema = json.loads(files["values.schema.json"]) if "values.schema.json" in files else None
    return Chart(
        metadata=metadata,
        values=values,
        schema=schema,
        templates=tuple((p, d.decode()) for p, d in sorted(files.items()) if p.startswith("templates/")),
        files={p: d for p, d in files.items() if not p.startswith(("templates/", "charts/", "crds/")) and p not in ("Chart.yaml", "values.yaml", "values.schema.json", "Chart.lock")},
        crds=tuple(o for p, d in sorted(files.items()) if p.startswith("crds/") for o in goyaml.load_all(d)),
        subcharts=tuple(subcharts),
        values_text=files.get("values.yaml", b"").decode(),
    )  # fmt: skip


def stored(chart: Chart) -> Object:
    """The chart as a release keeps it."""
    return {
        "metadata": dict(chart.metadata),
        "lock": None,
        "templates": [{"name": n, "data": base64.b64encode(t.encode()).decode()} for n, t in chart.templates],
        "values": dict(chart.values),
        "schema": base64.b64encode(json.dumps(chart.schema).encode()).decode() if chart.schema and not chart.make else None,
        "files": None,
    }


@dataclass(frozen=True, slots=True)
class Offer:
    """A chart that a repository has, at its versions; `at` makes one."""

    name: str
    versions: tuple[str, ...]
    at: Callable[[str], Chart]

    def resolve(self, wanted: str) -> str | None:
        """The newest version that `wanted` (a version, a constraint, or nothing for the newest stable) allows."""
        fitting = [v for v in self.versions if v == wanted or (not wanted and "-" not in v)]
        if not fitting and wanted:
            try:
                fitting = [v for v in self.versions if semver_matches(wanted, v)]
            except FunctionError:
                return None
        return max(fitting, key=semver_key, default=None)
