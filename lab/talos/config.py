"""Machine configs: reading, merging, patching, checking and writing them as Talos does.

A config is a list of documents; the first whose `version` is v1alpha1 is the machine's, the others have a `kind`.
Source: talos `pkg/machinery/config`, v1.11.2; recorded/talosctl/{gen-config,machineconfig-patch,validate}*.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import yaml

from lab.kube.plain import clone
from lab.talos import goyaml
from lab.talos.loader import DuplicateKeyError, load_all
from lab.talos.schema import ANY, CONFIG, DOCUMENT_KINDS, Shape

Document = dict[str, Any]
REPLACED_LISTS = (("cluster", "network", "podSubnets"), ("cluster", "network", "serviceSubnets"))
EXTENSIONS_WARNING = ".machine.install.extensions is deprecated, please see https://www.talos.dev/latest/talos-guides/install/boot-assets/"


class ConfigError(Exception):
    """What talosctl prints when it cannot take a config or a patch."""


def load(text: str, *, flow: bool | None = None) -> list[Document]:
    """The documents of a config or of a strategic merge patch. Raises ConfigError in Talos' words.

    `flow` says whether a report of unknown keys is in JSON's style, where that is not to be seen from `text`.
    """
    documents = _decode(text)
    for document in documents:
        if "kind" in document and "version" not in document:
            kind, version = document["kind"], document.get("apiVersion", "")
            if kind not in DOCUMENT_KINDS:
                raise ConfigError(f'"{kind}" "{version}": not registered')
        elif unknown := _unknown(document, CONFIG):
            style = (
                text.lstrip().startswith("{") if flow is None else flow
            )  # the report keeps the style of what was read
            raise ConfigError(f"unknown keys found during decoding:\n{_render_unknown(unknown, style)}")
    return documents


def _decode(text: str) -> list[Document]:
    return clone(_decoded(text))


@lru_cache(maxsize=64)
def _decoded(text: str) -> list[Document]:
    """Read once: the machines' configs are looked at by almost every command."""
    try:
        documents = load_all(text)
    except DuplicateKeyError as error:
        raise ConfigError(f"error decoding  to *v1alpha1.Config: yaml: unmarshal errors:\n  {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        if error.problem and "mapping values" in error.problem and error.problem_mark:
            raise ConfigError(
                f"decode error: yaml: line {line}: mapping values are not allowed in this context"
            ) from None
        if error.problem and error.problem.startswith("expected <block end>, but found '<scalar>'"):
            # Go's scanner reads on into the next line and stumbles over its colon.
            raise ConfigError(
                f"decode error: yaml: line {line + 1}: mapping values are not allowed in this context"
            ) from None
        raise ConfigError(f"decode error: yaml: line {line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"decode error: yaml: {error}") from None
    for document in documents:
        if not isinstance(document, dict):
            raise ConfigError("decode error: missing kind")
    return documents


def main_document(documents: list[Document]) -> Document:
    """The v1alpha1 document, or an empty one."""
    return next((d for d in documents if "kind" not in d), {})


def dump(documents: list[Document]) -> str:
    """The config as Talos writes it, its keys in Talos' order."""
    ordered = [d if "kind" in d else order(d, CONFIG) for d in documents]
    return "---\n".join(goyaml.dump(d) for d in ordered)


def order(value: Any, shape: Shape) -> Any:
    """`value` with its keys in the order of `shape`; of free-form mappings sorted, as Go writes maps."""
    if isinstance(value, dict):
        if not isinstance(shape, dict):
            return {k: order(value[k], ANY) for k in sorted(value, key=str)}
        if "*" in shape:
            return {k: order(value[k], shape["*"]) for k in sorted(value, key=str)}
        return {k: order(value[k], shape[k]) for k in shape if k in value}
    if isinstance(value, list):
        inner = shape[0] if isinstance(shape, list) else ANY
        return [order(item, inner) for item in value]
    return value


def merge(base: Any, patch: Any, path: tuple[str, ...] = ()) -> Any:
    """Talos' strategic merge: maps merge, lists append, some are replaced, interfaces and VLANs meet by what they are."""
    if isinstance(patch, dict) and isinstance(base, dict):
        merged = dict(base)
        for key, value in patch.items():
            if isinstance(value, dict) and value.get("$patch") == "delete":
                merged.pop(key, None)
            else:
                merged[key] = merge(merged[key], value, (*path, key)) if key in merged else _clean(value)
        return merged
    if isinstance(patch, list) and isinstance(base, list):
        if path in REPLACED_LISTS:
            return list(patch)
        if path[-1:] == ("interfaces",):
            return _merge_by(base, patch, path, ("interface", "deviceSelector"))
        if path[-1:] == ("vlans",):
            return _merge_by(base, patch, path, ("vlanId",))
        if path[-1:] == ("admissionControl",):
            return _merge_by(base, patch, path, ("name",))
        return [*base, *(_clean(item) for item in patch)]
    return patch if path[-1:] == ("auditPolicy",) else _clean(patch)


def _clean(value: Any) -> Any:
    """`value` without what a patch says of deletion."""
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items() if not (isinstance(v, dict) and v.get("$patch") == "delete")}
    return [_clean(v) for v in value] if isinstance(value, list) else value


def _merge_by(base: list[Any], patch: list[Any], path: tuple[str, ...], keys: tuple[str, ...]) -> list[Any]:
    merged = list(base)
    for item in patch:
        place = next((i for i, old in enumerate(merged) if _same(old, item, keys)), None)
        if place is None:
            merged.append(_clean(item))
        else:
            merged[place] = merge(merged[place], item, (*path, "*"))
    return merged


def _same(old: Any, new: Any, keys: tuple[str, ...]) -> bool:
    return any(k in new and old.get(k) == new[k] for k in keys)


def apply_patches(documents: list[Document], patches: Iterable[str]) -> tuple[list[Document], bool]:
    """The patched documents, and whether a JSON patch was among the patches, which changes how the result is written.

    Raises ConfigError in Talos' words.
    """
    as_json = False
    for text in patches:
        operations = _json_patch(text)
        if operations is None:
            load(_without_deletes(text), flow=text.lstrip().startswith("{"))
            documents = _apply_documents(documents, _decode(text))
        elif not documents:
            continue  # only read, to see whether it can be
        elif len(documents) > 1:
            raise ConfigError("JSON6902 patches are not supported for multi-document machine configuration")
        else:
            as_json = True
            documents = [_apply_json(documents[0], operations)]
    return documents, as_json


def _without_deletes(text: str) -> str:
    """The patch without its deletions, which name keys that need no value, for the check of unknown keys."""
    return yaml.safe_dump_all([_clean(d) for d in _decode(text)])


def _apply_documents(documents: list[Document], patches: list[Document]) -> list[Document]:
    result = list(documents)
    for patch in patches:
        place = next((i for i, d in enumerate(result) if _document_id(d) == _document_id(patch)), None)
        if place is None:
            result.append(_clean(patch))
        else:
            result[place] = merge(result[place], patch)
    return result


def _document_id(document: Document) -> tuple[str, str]:
    return (document.get("kind", ""), document.get("name", ""))


def _json_patch(text: str) -> list[dict[str, Any]] | None:
    """The operations, where `text` is a JSON patch (in JSON or YAML): a list."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return value if isinstance(value, list) else None


def _apply_json(document: Document, operations: list[dict[str, Any]]) -> Document:
    result = json.loads(json.dumps(document))
    for operation in operations:
        parts = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:]]
        target = result
        for part in parts[:-1]:
            try:
                target = target[int(part)] if isinstance(target, list) else target[part]
            except (KeyError, IndexError, ValueError):
                kind, path = operation["op"], operation["path"]
                raise ConfigError(
                    f'failure in application of JSON patch: {kind} operation does not apply: doc is missing path: "{path}": missing value'
                ) from None
        _json_operation(target, parts[-1], operation)
    checked = load(yaml.safe_dump(result))
    return main_document(checked)


def _json_operation(target: Any, key: str, operation: dict[str, Any]) -> None:
    if isinstance(target, list):
        index = len(target) if key == "-" else int(key)
        if operation["op"] == "remove":
            del target[index]
        elif operation["op"] == "replace":
            target[index] = operation["value"]
        else:
            target.insert(index, operation["value"])
    elif operation["op"] == "remove":
        if key not in target:
            raise ConfigError(
                f"failure in application of JSON patch: remove operation does not apply: "
                f"doc is missing key: {operation['path']}: missing value"
            )
        del target[key]
    else:
        target[key] = operation["value"]


def _unknown(value: Any, shape: Shape) -> Any:
    """The part of `value` that `shape` does not know, or None."""
    if isinstance(value, dict) and isinstance(shape, dict):
        found: dict[str, Any] = {}
        for key, item in value.items():
            if key in shape or "*" in shape:
                inner = _unknown(item, shape[key] if key in shape else shape["*"])
                if inner is not None:
                    found[key] = inner
            elif key != "$patch":
                found[key] = item
        return found or None
    if isinstance(value, list) and isinstance(shape, list):
        parts = [u for item in value if (u := _unknown(item, shape[0])) is not None]
        return parts or None
    return None


def _render_unknown(value: Any, flow: bool) -> str:
    if not flow:
        return goyaml.dump(value)
    lines: list[str] = []
    column = 0
    while isinstance(value, dict) and len(value) == 1 and not _is_leaf(value):
        ((key, value),) = value.items()
        if not isinstance(value, dict) or _is_leaf(value):
            lines.append(f"{' ' * column}{key}: {json.dumps(value)}")
            break
        lines.append(f"{' ' * column}{key}:")
        column += 4
    return "\n".join(lines) + "\n" if lines else goyaml.dump(value)


def _is_leaf(value: dict[str, Any]) -> bool:
    return not any(isinstance(v, dict) for v in value.values())


def validate(documents: list[Document], mode: str = "metal") -> tuple[list[str], list[str]]:
    """Errors and warnings of Talos' own validation, in its words. Source: v1alpha1_validation.go."""
    document = main_document(documents)
    machine, cluster = document.get("machine") or {}, document.get("cluster") or {}
    errors: list[str] = []
    kind = machine.get("type", "")
    if kind not in ("controlplane", "worker", "init"):
        if cluster.get("etcd"):
            errors.append("etcd config is only allowed on control plane machines")
        if (cluster.get("ca") or {}).get("key"):
            errors.append("cluster CA key is not allowed on non-controlplane nodes (.cluster.ca)")
        errors.append(f'unknown machine type "{kind}"')
    elif kind == "worker" and (cluster.get("ca") or {}).get("key"):
        errors.append("cluster CA key is not allowed on non-controlplane nodes (.cluster.ca)")
    if not ((machine.get("ca") or {}).get("crt")):
        errors.append("trusted CA certificate is required on the machine (.machine.ca.crt)")
    install = machine.get("install")
    if install is None and mode == "metal":
        errors.append('install instructions are required in "metal" mode')
    elif mode == "metal" and not (install or {}).get("disk") and not (install or {}).get("diskSelector"):
        errors.append("either install disk or diskSelector should be defined")
    errors += _endpoint_errors(cluster)
    cni = ((cluster.get("network") or {}).get("cni") or {}).get("name", "flannel")
    if cni not in ("flannel", "custom", "none"):
        errors.append('cni name should be one of ["flannel", "custom", "none"]')
    errors += _device_errors((machine.get("network") or {}).get("interfaces") or [])
    warnings = [EXTENSIONS_WARNING] if (install or {}).get("extensions") else []
    return errors, warnings


def _endpoint_errors(cluster: Document) -> list[str]:
    endpoint = str((cluster.get("controlPlane") or {}).get("endpoint") or "")
    if not endpoint:
        return ["cluster instructions are required" if not cluster else "cluster controlplane endpoint is required"]
    if not urlsplit(endpoint).hostname:
        return ["invalid controlplane endpoint: hostname must not be blank"]
    return []


def _device_errors(devices: list[Document]) -> list[str]:
    errors: list[str] = []
    for device in devices:
        name = device.get("interface", "")
        for address in device.get("addresses") or ():
            if not _is_cidr(str(address)):
                errors.append(f'[networking.os.device.addresses] "{name}": invalid CIDR address: {address}')
        for i, route in enumerate(device.get("routes") or ()):
            if gateway := route.get("gateway"):
                try:
                    ipaddress.ip_address(gateway)
                except ValueError:
                    errors.append(f'[networking.os.device.route[{i}].gateway] "{gateway}": invalid network address')
        if (ip := (device.get("vip") or {}).get("ip")) is not None:
            try:
                ipaddress.ip_address(ip)
            except ValueError:
                errors.append(f'[networking.os.device.vip] failed to parse "{ip}" as IP address')
    return errors


def _is_cidr(text: str) -> bool:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return "/" in text


def several(errors: list[str]) -> str:
    """hashicorp/go-multierror's text."""
    head = "1 error occurred:" if len(errors) == 1 else f"{len(errors)} errors occurred:"
    return head + "\n" + "".join(f"\t* {e}\n" for e in errors) + "\n"


def diff(old: str, new: str) -> str:
    """A short unified diff of two configs, as dry runs show it."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "a", "b", lineterm="", n=3)
    return "\n".join(lines)


def node_addresses(document: Document) -> list[str]:
    """The addresses that the config gives to the machine, without prefix lengths; empty where it leaves them to DHCP."""
    interfaces = ((document.get("machine") or {}).get("network") or {}).get("interfaces") or []
    return [re.sub(r"/\d+$", "", str(a)) for i in interfaces for a in i.get("addresses") or ()]


def vip(document: Document) -> str:
    """The virtual address of the config, or an empty string."""
    interfaces = ((document.get("machine") or {}).get("network") or {}).get("interfaces") or []
    return next((str(i["vip"]["ip"]) for i in interfaces if (i.get("vip") or {}).get("ip")), "")
