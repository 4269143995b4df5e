"""A small kustomize: from files to objects, with the fields that GitOps repositories use, and Flux' own additions.

What it cannot build it refuses by name. Pure: files come as path -> content. Source: sigs.k8s.io/kustomize v5.7, github.com/fluxcd/pkg/kustomize.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from posixpath import basename, dirname, join, normpath
from typing import Any

from lab.helm import goyaml

Object = dict[str, Any]
Files = Mapping[str, bytes]
NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
KNOWN = {
    "apiVersion", "kind", "metadata", "resources", "bases", "components", "namespace", "namePrefix", "nameSuffix", "commonLabels", "labels", "commonAnnotations", "patches",
    "patchesStrategicMerge", "patchesJson6902", "configMapGenerator", "secretGenerator", "generatorOptions", "images", "replicas", "sortOptions", "buildMetadata", "openapi",
}  # fmt: skip
CLUSTER_KINDS = {
    "Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "PersistentVolume", "StorageClass", "PriorityClass", "IngressClass", "APIService", "Node",
    "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "RuntimeClass", "CSIDriver", "VolumeSnapshotClass",
    "ClusterSecretStore", "ClusterIssuer", "ClusterExternalSecret", "GatewayClass", "CiliumLoadBalancerIPPool", "CiliumBGPAdvertisement", "CiliumBGPClusterConfig", "CiliumBGPPeerConfig",
    "CiliumBGPNodeConfig", "CiliumBGPNodeConfigOverride", "CiliumClusterwideNetworkPolicy", "CiliumL2AnnouncementPolicy", "CiliumNode", "CiliumIdentity", "CiliumEgressGatewayPolicy",
    "CiliumCIDRGroup", "CiliumPodIPPool", "CiliumBGPPeeringPolicy", "CiliumClusterwideEnvoyConfig",
}  # fmt: skip


class BuildError(Exception):
    """The files do not build; the message is kustomize's."""


class PathError(BuildError):
    """The folder is not there."""


@lru_cache(maxsize=1024)
def parsed(content: bytes) -> tuple[Object, ...]:
    """The objects of one file; shared, so never changed in place. Raises YamlError."""
    return tuple(o for o in goyaml.load_all(content) if isinstance(o, dict))


class _Seeded:
    """Big generated files whose objects are known already: parsing them would take longer than all the rest."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Object, ...]] = {}

    def put(self, content: bytes, objects: Iterable[Object]) -> None:
        self._known[hashlib.sha256(content).hexdigest()] = tuple(objects)

    def get(self, content: bytes) -> tuple[Object, ...] | None:
        return self._known.get(hashlib.sha256(content).hexdigest()) if len(content) > 50_000 else None


SEEDED = _Seeded()


def _objects(path: str, content: bytes) -> tuple[Object, ...]:
    known = SEEDED.get(content)
    if known is not None:
        return known
    try:
        found = parsed(content)
    except goyaml.YamlError as error:
        raise BuildError(f"accumulating resources: accumulation err='accumulating resources from '{basename(path)}': MalformedYAMLError: {error} in File: {basename(path)}'") from error
    out: list[Object] = []
    for obj in found:
        if obj.get("kind") == "List" or (str(obj.get("kind", "")).endswith("List") and isinstance(obj.get("items"), list)):
            out += obj["items"]
        elif not obj.get("kind") or not obj.get("apiVersion") or not (obj.get("metadata") or {}).get("name"):
            missing = "kind" if not obj.get("kind") else "apiVersion" if not obj.get("apiVersion") else "metadata.name"
            raise BuildError(f"accumulating resources: accumulation err='accumulating resources from '{basename(path)}': missing {missing} in object {{{path}}}'")
        else:
            out.append(obj)
    return tuple(out)


def identity(obj: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Group, kind, namespace, name."""
    meta = obj.get("metadata") or {}
    return str(obj.get("apiVersion", "")).rpartition("/")[0], str(obj.get("kind", "")), str(meta.get("namespace") or ""), str(meta.get("name") or "")


class Builder:
    """Builds folders of one tree of files."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.folders = {d for f in files for d in _parents(f)}

    def build(self, path: str) -> list[Object]:
        """The objects of the kustomization (or, without one, of all manifests) below `path`. Raises BuildError, PathError."""
        folder = normpath(path).removeprefix("./").strip("/")
        folder = "" if folder == "." else folder
        if folder and folder not in self.folders:
            raise PathError(f"stat {folder}: no such file or directory")
        return self._unique(self._folder(folder, ()))

    def _unique(self, objects: list[Object]) -> list[Object]:
        seen: set[tuple[str, str, str, str]] = set()
        for obj in objects:
            key = identity(obj)
            if key in seen:
                group, kind, namespace, name = key
                raise BuildError(
                    f"accumulating resources: may not add resource with an already registered id: {kind}.{obj['apiVersion'].rpartition('/')[2]}.{group or '[noGrp]'}/{name}.{namespace or '[noNs]'}"
                )
            seen.add(key)
        return objects

    def _document(self, folder: str) -> tuple[str, Object] | None:
        for name in NAMES:
            path = join(folder, name)
            if path in self.files:
                try:
                    return path, goyaml.load(self.files[path]) or {}
                except goyaml.YamlError as error:
                    raise BuildError(f"invalid Kustomization: {error}") from error
        return None

    def _folder(self, folder: str, above: tuple[str, ...]) -> list[Object]:
        if folder in above:
            raise BuildError(f"accumulating resources: cycle detected: candidate root '{folder}' contains visited root '{folder}'")
        found = self._document(folder)
        if found is None:
            return self._generated(folder, above)
        return self._kustomization(folder, found[1], [], above)

    def _generated(self, folder: str, above: tuple[str, ...]) -> list[Object]:
        """Flux' own kustomization of a folder without one: every manifest below, folders with one as bases."""
        prefix = f"{folder}/" if folder else ""
        bases = sorted({d for d in self.folders if d.startswith(prefix) and d != folder and any(join(d, n) in self.files for n in NAMES)})
        tops = [b for b in bases if not any(b.startswith(f"{o}/") for o in bases)]
        out: list[Object] = []
        for path in sorted(self.files):
            inside = path.startswith(prefix) and path.endswith((".yaml", ".yml"))
            if inside and not any(path.startswith(f"{b}/") for b in tops):
                out += _objects(path, self.files[path])
        for base in tops:
            out += self._folder(base, (*above, folder))
        return out

    def _kustomization(self, folder: str, spec: Object, inherited: list[Object], above: tuple[str, ...]) -> list[Object]:
        unknown = sorted(set(spec) - KNOWN)
        if unknown:
            raise BuildError(f'invalid Kustomization: json: unknown field "{unknown[0]}"')
        out = list(inherited)
        for entry in [*(spec.get("resources") or ()), *(spec.get("bases") or ())]:
            out += self._resource(folder, entry, above)
        generators = spec.get("generatorOptions") or {}
        renamed: dict[tuple[str, str], str] = {}
        for kind, key in (("ConfigMap", "configMapGenerator"), ("Secret", "secretGenerator")):
            for generator in spec.get(key) or ():
                made, plain = self._generate(folder, kind, generator, generators)
                renamed[kind, plain] = made["metadata"]["name"]
                out.append(made)
        for entry in spec.get("components") or ():
            inner = normpath(join(folder, entry))
            document = self._document(inner)
            if document is None:
                raise BuildError(f"accumulating components: accumulateDirectory: couldn't make target for path '{inner}': unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '{inner}'")
            out = self._kustomization(inner, document[1], out, (*above, folder))
        out = [_with_references(o, renamed) for o in out] if renamed else out
        return self._transform(folder, spec, out)

    def _resource(self, folder: str, entry: str, above: tuple[str, ...]) -> list[Object]:
        if "://" in entry or entry.startswith("github.com/"):
            raise BuildError(f"accumulating resources: accumulation err='accumulating resources from '{entry}': remote bases are not fetched by the lab'")
        path = normpath(join(folder, entry))
        if path in self.files:
            return list(_objects(path, self.files[path]))
        if path in self.folders or path == ".":
            if self._document("" if path == "." else path) is None:
                raise BuildError(f"accumulating resources: accumulation err='accumulating resources from '{entry}': read {path}: is a directory': recursed accumulation of path '{path}': unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '{path}'")
            return self._folder("" if path == "." else path, (*above, folder))
        raise BuildError(f"accumulating resources: accumulation err='accumulating resources from '{entry}': open {path}: no such file or directory': must build at directory: not a valid directory: evalsymlink failure on '{path}' : lstat {path}: no such file or directory")

    def _generate(self, folder: str, kind: str, generator: Object, common: Object) -> tuple[Object, str]:
        data: dict[str, str] = {}
        for literal in generator.get("literals") or ():
            key, _, value = literal.partition("=")
            data[key] = value.strip("\"'") if value[:1] == value[-1:] and value[:1] in "\"'" else value
        for entry in generator.get("files") or ():
            key, separator, name = entry.partition("=")
            path = normpath(join(folder, name if separator else entry))
            if path not in self.files:
                raise BuildError(f"loading KV pairs: file sources: [{entry}]: open {path}: no such file or directory")
            data[key if separator else basename(entry)] = self.files[path].decode(errors="replace")
        for entry in [*(generator.get("envs") or ()), *([generator["env"]] if generator.get("env") else ())]:
            for line in self.files.get(normpath(join(folder, entry)), b"").decode().splitlines():
                if line.strip() and not line.startswith("#"):
                    key, _, value = line.partition("=")
                    data[key] = value
        options = {**common, **(generator.get("options") or {})}
        body = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()} if kind == "Secret" else data
        name = generator["name"]
        suffix = "" if options.get("disableNameSuffixHash") else f"-{_hash(kind, body)}"
        meta: Object = {"name": f"{name}{suffix}"}
        meta |= {k: options[k] for k in ("labels", "annotations") if options.get(k)}
        meta |= {"namespace": generator["namespace"]} if generator.get("namespace") else {}
        out: Object = {"apiVersion": "v1", "kind": kind, "metadata": meta, "data": body}
        return (out | {"type": generator.get("type", "Opaque")} if kind == "Secret" else out), name

    def _transform(self, folder: str, spec: Object, objects: list[Object]) -> list[Object]:
        out = objects
        for patch in _patches(spec):
            out = self._patch(folder, patch, out)
        if spec.get("namespace"):
            out = [in_namespace(o, spec["namespace"]) for o in out]
        if spec.get("namePrefix") or spec.get("nameSuffix"):
            out = [_named(o, f"{spec.get('namePrefix', '')}{o['metadata']['name']}{spec.get('nameSuffix', '')}") for o in out]
        for labels, templates, selectors in _labels(spec):
            out = [with_labels(o, labels, templates=templates, selectors=selectors) for o in out]
        if spec.get("commonAnnotations"):
            out = [with_annotations(o, spec["commonAnnotations"]) for o in out]
        for image in spec.get("images") or ():
            out = [_with_image(o, image) for o in out]
        for replicas in spec.get("replicas") or ():
            out = [{**o, "spec": {**o["spec"], "replicas": replicas["count"]}} if o["metadata"]["name"] == replicas["name"] and o["kind"] in ("Deployment", "StatefulSet") else o for o in out]
        return out

    def _patch(self, folder: str, patch: Object, objects: list[Object]) -> list[Object]:
        text = patch.get("patch")
        if text is None and patch.get("path"):
            path = normpath(join(folder, patch["path"]))
            if path not in self.files:
                raise BuildError(f"evalsymlink failure on '{path}' : lstat {path}: no such file or directory")
            text = self.files[path].decode()
        out = objects
        for document in goyaml.load_all(text or ""):
            out = apply_patch(document, patch.get("target"), out)
        return out


def _parents(path: str) -> Iterable[str]:
    folder = dirname(path)
    while folder:
        yield folder
        folder = dirname(folder)


def _hash(kind: str, data: Mapping[str, str]) -> str:
    """Kustomize's ten characters. The encoding is its own; equal content gives an equal name."""
    text = hashlib.sha256(json.dumps({"kind": kind, "data": data}, sort_keys=True).encode()).hexdigest()
    return text[:10].translate(str.maketrans("013aeo", "ghkmtb"))


def _patches(spec: Object) -> list[Object]:
    out = list(spec.get("patches") or ())
    for one in spec.get("patchesStrategicMerge") or ():
        out.append({"patch": one} if "\n" in one else {"path": one})
    for one in spec.get("patchesJson6902") or ():
        out.append(one)
    return out


def _labels(spec: Object) -> list[tuple[Object, bool, bool]]:
    out: list[tuple[Object, bool, bool]] = []
    if spec.get("commonLabels"):
        out.append((spec["commonLabels"], True, True))
    for entry in spec.get("labels") or ():
        selectors = bool(entry.get("includeSelectors"))
        out.append((entry["pairs"], selectors or bool(entry.get("includeTemplates")), selectors))
    return out


def _meta(obj: Object, **changes: Any) -> Object:
    return {**obj, "metadata": {**obj["metadata"], **changes}}


def in_namespace(obj: Object, namespace: str) -> Object:
    """The object moved to a namespace, where its kind has one; subjects of bindings follow."""
    if obj["kind"] == "Namespace":
        return obj
    if obj["kind"] in CLUSTER_KINDS:
        return obj
    out = _meta(obj, namespace=namespace)
    if obj["kind"] == "RoleBinding":
        out["subjects"] = [{**s, "namespace": namespace} if s.get("kind") == "ServiceAccount" and s.get("name") == "default" else s for s in obj.get("subjects") or ()]
    return out


def _named(obj: Object, name: str) -> Object:
    return obj if obj["kind"] in ("Namespace", "CustomResourceDefinition") else _meta(obj, name=name)


def with_labels(obj: Object, labels: Mapping[str, str], *, templates: bool = False, selectors: bool = False) -> Object:
    """The object with labels, in its pod template and selectors too where asked for."""
    out = _meta(obj, labels={**(obj["metadata"].get("labels") or {}), **labels})
    template = (obj.get("spec") or {}).get("template")
    if templates and isinstance(template, Mapping):
        meta = template.get("metadata") or {}
        out["spec"] = {**obj["spec"], "template": {**template, "metadata": {**meta, "labels": {**(meta.get("labels") or {}), **labels}}}}
    if selectors and isinstance((obj.get("spec") or {}).get("selector"), Mapping):
        selector = obj["spec"]["selector"]
        nested = "matchLabels" in selector
        out["spec"] = {**out["spec"], "selector": {**selector, "matchLabels": {**selector["matchLabels"], **labels}} if nested else {**selector, **labels}}
    return out


def with_annotations(obj: Object, annotations: Mapping[str, str]) -> Object:
    """The object with annotations."""
    return _meta(obj, annotations={**(obj["metadata"].get("annotations") or {}), **annotations})


def _with_image(obj: Object, image: Mapping[str, Any]) -> Object:
    def one(container: Object) -> Object:
        name, _, rest = str(container.get("image", "")).partition("@")
        base, _, tag = name.rpartition(":") if ":" in name.rsplit("/", 1)[-1] else (name, "", "")
        if base != image["name"]:
            return container
        new = image.get("newName", base)
        if image.get("digest"):
            return {**container, "image": f"{new}@{image['digest']}"}
        tag = image.get("newTag", tag)
        return {**container, "image": f"{new}:{tag}" if tag else new + (f"@{rest}" if rest else "")}

    mapped: Object = _mapped_containers(obj, one)
    return mapped


def _mapped_containers(value: Any, one: Callable[[Object], Object]) -> Any:
    if isinstance(value, Mapping):
        return {k: [one(c) for c in v] if k in ("containers", "initContainers") and isinstance(v, list) else _mapped_containers(v, one) for k, v in value.items()}
    if isinstance(value, list):
        return [_mapped_containers(v, one) for v in value]
    return value


def _with_references(obj: Object, renamed: Mapping[tuple[str, str], str]) -> Object:
    """References to generated ConfigMaps and Secrets follow their names."""

    def walk(value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            kind = {"configMap": "ConfigMap", "configMapRef": "ConfigMap", "configMapKeyRef": "ConfigMap", "secretRef": "Secret", "secretKeyRef": "Secret", "secret": "Secret"}.get(key) or value.get("kind")
            out = {k: walk(v, k) for k, v in value.items()}
            for field in ("name", "secretName"):
                new = renamed.get((str(kind), str(value.get(field))))
                if new and key != "metadata":
                    out[field] = new
            return out
        return [walk(v, key) for v in value] if isinstance(value, list) else value

    return {k: walk(v, k) if k not in ("metadata", "kind", "apiVersion") else v for k, v in obj.items()}


# --- patches ---------------------------------------------------------------------------------------------------------


def matches(target: Mapping[str, Any] | None, obj: Object) -> bool:
    """Whether a patch's target selects an object; names are anchored regular expressions."""
    if target is None:
        return True
    group, kind, namespace, name = identity(obj)
    version = obj["apiVersion"].rpartition("/")[2]
    for want, have in ((target.get("group"), group), (target.get("version"), version), (target.get("kind"), kind), (target.get("namespace"), namespace), (target.get("name"), name)):
        if want and not re.fullmatch(want, have):
            return False
    for key, field in (("labelSelector", "labels"), ("annotationSelector", "annotations")):
        for term in (target.get(key) or "").split(","):
            wanted, separator, value = term.strip().partition("=")
            if wanted and (obj["metadata"].get(field) or {}).get(wanted) != (value if separator else (obj["metadata"].get(field) or {}).get(wanted, object())):
                return False
    return True


def apply_patch(patch: Any, target: Mapping[str, Any] | None, objects: list[Object]) -> list[Object]:
    """A strategic merge patch or a list of JSON patch operations on all objects that it is for."""
    out: list[Object] = []
    hit = False
    for obj in objects:
        mine = matches(target, obj) if target else isinstance(patch, Mapping) and identity(patch)[1] == obj["kind"] and identity(patch)[3] == obj["metadata"]["name"]
        if not mine:
            out.append(obj)
            continue
        hit = True
        if isinstance(patch, list):
            out.append(json_patch(copy.deepcopy(obj), patch))
        elif patch.get("$patch") != "delete":
            body = {k: v for k, v in patch.items() if k not in ("apiVersion", "kind")}
            if target:
                body["metadata"] = {k: v for k, v in (body.get("metadata") or {}).items() if k not in ("name", "namespace")}
            out.append(strategic(obj, body))
    if not hit and not target and isinstance(patch, Mapping):
        group, kind, namespace, name = identity(patch)
        raise BuildError(f"no matches for Id {kind}.{patch.get('apiVersion', '').rpartition('/')[2]}.{group or '[noGrp]'}/{name}.{namespace or '[noNs]'}; failed to find unique target for patch {kind}.{patch.get('apiVersion', '').rpartition('/')[2]}.{group or '[noGrp]'}/{name}.{namespace or '[noNs]'}")
    return out


def strategic(base: Any, patch: Any) -> Any:
    """Maps merge, lists of named items merge by name, null and `$patch: delete` remove."""
    if isinstance(base, Mapping) and isinstance(patch, Mapping):
        out = dict(base)
        for key, value in patch.items():
            if value is None or (isinstance(value, Mapping) and value.get("$patch") == "delete"):
                out.pop(key, None)
            elif isinstance(value, Mapping) and value.get("$patch") == "replace":
                out[key] = {k: v for k, v in value.items() if k != "$patch"}
            else:
                out[key] = strategic(base.get(key), value)
        return out
    if isinstance(base, list) and isinstance(patch, list) and all(isinstance(i, Mapping) and "name" in i for i in (*base, *patch)):
        by_name = {i["name"]: i for i in patch}
        kept = [strategic(i, by_name[i["name"]]) if i["name"] in by_name else i for i in base if by_name.get(i["name"], {}).get("$patch") != "delete"]
        have = {i["name"] for i in base}
        return [i for i in patch if i["name"] not in have and i.get("$patch") != "delete"] + kept if kept else list(patch)
    return copy.deepcopy(patch)


def json_patch(obj: Any, operations: Sequence[Mapping[str, Any]]) -> Any:
    """RFC 6902 add, replace, remove, test, move and copy, in place."""
    for operation in operations:
        parts = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:]]
        op = operation["op"]
        if op in ("move", "copy"):
            source = [p.replace("~1", "/").replace("~0", "~") for p in operation["from"].split("/")[1:]]
            value = copy.deepcopy(_at(obj, source[:-1])[_index(_at(obj, source[:-1]), source[-1])])
            if op == "move":
                json_patch(obj, [{"op": "remove", "path": operation["from"]}])
        else:
            value = copy.deepcopy(operation.get("value"))
        parent = _at(obj, parts[:-1])
        last = parts[-1]
        if isinstance(parent, list):
            place = len(parent) if last == "-" else int(last)
            if op in ("add", "move", "copy"):
                parent.insert(place, value)
            elif op == "replace":
                parent[place] = value
            elif op == "remove":
                del parent[place]
        elif op == "remove":
            if last not in parent:
                raise BuildError(f"remove operation does not apply: doc is missing path: {operation['path']}: missing value")
            del parent[last]
        elif op == "replace" and last not in parent:
            raise BuildError(f"replace operation does not apply: doc is missing key: {operation['path']}: missing value")
        elif op != "test":
            parent[last] = value
    return obj


def _index(parent: Any, key: str) -> Any:
    return int(key) if isinstance(parent, list) else key


def _at(obj: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        try:
            obj = obj[_index(obj, part)]
        except (KeyError, IndexError, ValueError) as error:
            raise BuildError(f"operation does not apply: doc is missing path: /{'/'.join(parts)}: missing value") from error
    return obj


# --- Flux' own steps -------------------------------------------------------------------------------------------------

VARIABLE = re.compile(r"\$(\$)?\{([_A-Za-z][_A-Za-z0-9]*)(?:(:?[=-])((?:[^{}]|\$\{[^}]*\})*)|(\^\^?|,,?))?\}")


class SubstitutionError(BuildError):
    """A variable that is not set, in strict mode."""


def substitute(text: str, variables: Mapping[str, str], *, strict: bool = False) -> str:
    """drone/envsubst: ${x}, ${x:=default}, ${x:-default}, ${x^^}, ${x,,}; $${x} stays as ${x}. Unknown ones become empty."""

    def one(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        name, operator, fallback, case = match[2], match[3], match[4], match[5]
        value = variables.get(name)
        if value is None or (operator and operator.startswith(":") and not value):
            if operator is None:
                if strict:
                    raise SubstitutionError(f'variable not set (strict mode): "{name}"')
                return ""
            return substitute(fallback or "", variables, strict=strict).strip('"')
        return {"^^": value.upper(), ",,": value.lower(), "^": value[:1].upper() + value[1:], ",": value[:1].lower() + value[1:]}.get(case or "", value)

    return VARIABLE.sub(one, text)


def substituted(objects: list[Object], variables: Mapping[str, str], *, strict: bool = False) -> list[Object]:
    """Post-build substitution of every object that does not opt out. Nothing happens without variables."""
    if not variables:
        return objects
    out = []
    for obj in objects:
        meta = obj["metadata"]
        marks = {**(meta.get("labels") or {}), **(meta.get("annotations") or {})}
        text = goyaml.dump(obj) if obj["kind"] != "CustomResourceDefinition" else ""
        if marks.get("kustomize.toolkit.fluxcd.io/substitute") == "disabled" or "$" not in text:
            out.append(obj)
            continue
        try:
            out.append(goyaml.load(substitute(text, variables, strict=strict)))
        except goyaml.YamlError as error:
            raise BuildError(f"var substitution failed for '{meta['name']}': {error}") from error
        except SubstitutionError as error:
            raise BuildError(f"var substitution failed for '{meta['name']}': envsubst error: variable substitution failed: {error}") from error
    return out


def flux_build(files: Files, spec: Mapping[str, Any], name: str, namespace: str, variables: Mapping[str, str], *, strict: bool = False) -> list[Object]:
    """What a Flux Kustomization builds: the folder, its own patches and namespace, substitution, owner labels, common metadata."""
    builder = Builder(files)
    objects = builder.build(spec.get("path") or "./")
    extra = {k: spec[k] for k in ("patches", "images", "namePrefix", "nameSuffix", "components") if spec.get(k)}
    if extra:
        folder = normpath(spec.get("path") or ".").removeprefix("./").strip("/")
        objects = builder._kustomization("" if folder == "." else folder, extra, objects, ())
    if spec.get("targetNamespace"):
        objects = [in_namespace(o, spec["targetNamespace"]) for o in objects]
    objects = substituted(objects, variables, strict=strict)
    common = spec.get("commonMetadata") or {}
    owner = {"kustomize.toolkit.fluxcd.io/name": name, "kustomize.toolkit.fluxcd.io/namespace": namespace}
    objects = [with_labels(o, {**owner, **(common.get("labels") or {})}) for o in objects]
    return [with_annotations(o, common["annotations"]) for o in objects] if common.get("annotations") else objects
