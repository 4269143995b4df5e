"""What talosctl does without a node: gen, machineconfig, validate, config, image, version --client."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from lab.programs.call import Call
from lab.programs.talosctl.session import ToolError, config_path, load_config, table
from lab.talos import config as machineconfig
from lab.talos import generate, goyaml, secrets

CLIENT_VERSION = "\tTag:         v1.11.2\n\tSHA:         511b4d2e\n\tBuilt:       \n\tGo version:  go1.24.7\n\tOS/Arch:     linux/amd64\n"
MODES = ("cloud", "container", "metal", "metal-agent")


def gen_secrets(call: Call) -> int:
    """`gen secrets`: a new bundle, or the one of a control plane's config."""
    name = call.flags["output-file"]
    path = call.path(name)
    if path.exists() and not call.flags["force"]:
        raise ToolError(f'file "{name}" already exists, use --force to overwrite')
    source = call.flags.get("from-controlplane-config")
    if source:
        documents = _load_config(call, source, "failed to load controlplane config")
        bundle = secrets.bundle_of_config(machineconfig.main_document(documents))
    else:
        bundle = secrets.new_bundle()
    _write(path, secrets.dump_bundle(bundle), 0o600)
    return 0


def gen_config(call: Call) -> int:
    """`gen config NAME ENDPOINT`: control plane, worker and client configs."""
    name, endpoint = call.args
    _check_endpoint(endpoint)
    bundle = _bundle(call)
    flags = call.flags
    for flag in ("config-patch", "config-patch-control-plane", "config-patch-worker"):
        _patched(call, [], flags[flag])  # patches are read before anything is made
    call.err("generating PKI and tokens\n")
    options = generate.Options(
        kubernetes=str(flags["kubernetes-version"]).removeprefix("v") or generate.DEFAULT_KUBERNETES,
        installer=flags["install-image"] or generate.DEFAULT_INSTALLER,
        disk=flags["install-disk"],
        sans=tuple(flags["additional-sans"]),
        dns_domain=flags["dns-domain"],
        persist=flags["persist"],
        discovery=flags["with-cluster-discovery"],
        kubespan=flags["with-kubespan"],
        mirrors=tuple(flags["registry-mirror"]),
        docs=flags["with-docs"],
    )
    types = [t.strip() for t in flags["output-types"]]
    if bad := [t for t in types if t not in ("controlplane", "worker", "talosconfig")]:
        raise ToolError(f'unknown output type: "{bad[0]}"')
    texts: dict[str, str] = {}
    for kind, make, extra in (
        ("controlplane", generate.controlplane, "config-patch-control-plane"),
        ("worker", generate.worker, "config-patch-worker"),
    ):
        documents = [make(name, endpoint, bundle, options)]
        for flag in ("config-patch", extra):
            documents = _patched(call, documents, flags[flag])
        texts[kind] = machineconfig.dump(documents)
    texts["talosconfig"] = goyaml.dump(secrets.client_config(name, bundle))
    _write_outputs(call, {t: texts[t] for t in types})
    return 0


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if "://" not in endpoint:
        raise ToolError(f'no scheme and port specified for the cluster endpoint URL\ntry: "https://{endpoint}:6443"')
    if not parts.port:
        raise ToolError(f'no port specified for the cluster endpoint URL\ntry: "{endpoint}:6443"')


def _bundle(call: Call) -> secrets.Bundle:
    name = call.flags["with-secrets"]
    if not name:
        return secrets.new_bundle()
    try:
        text = call.stdin.decode() if name == "/dev/stdin" else call.path(name).read_text(encoding="utf-8")
        return secrets.load_bundle(text)
    except OSError as error:
        raise ToolError(f"failed to load secrets bundle: open {name}: {_reason(error)}") from None
    except ValueError as error:
        raise ToolError(f"failed to load secrets bundle: {error}") from None


def _patched(call: Call, documents: list[machineconfig.Document], patches: list[str]) -> list[machineconfig.Document]:
    try:
        return machineconfig.apply_patches(documents, [_patch_text(call, p) for p in patches])[0]
    except machineconfig.ConfigError as error:
        raise ToolError(f"error parsing config JSON patch: {error}") from None


def _write_outputs(call: Call, texts: dict[str, str]) -> None:
    output = call.flags["output"] or ("." if len(texts) > 1 else "")
    if len(texts) == 1:
        ((kind, text),) = texts.items()
        if output == "-":
            call.out(text)
            return
        targets = {output or (f"{kind}.yaml" if kind != "talosconfig" else kind): text}
    else:
        names = {"controlplane": "controlplane.yaml", "worker": "worker.yaml", "talosconfig": "talosconfig"}
        targets = {str(Path(output) / names[kind]): text for kind, text in texts.items()}
    for target, text in targets.items():
        path = call.path(target)
        if path.exists() and not call.flags["force"]:
            raise ToolError(f'file "{target}" already exists, use --force to overwrite')
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, text, 0o644)
        call.err(f"Created {target}\n")


def machineconfig_patch(call: Call) -> int:
    """`machineconfig patch FILE`: apply patches in order."""
    documents = _load_config(call, call.args[0])
    try:
        documents, as_json = machineconfig.apply_patches(documents, [_patch_text(call, p) for p in call.flags["patch"]])
    except machineconfig.ConfigError as error:
        raise ToolError(str(error)) from None
    text = goyaml.dump_sorted(documents[0]) if as_json else machineconfig.dump(documents)
    if call.flags["output"]:
        _write(call.path(call.flags["output"]), text, 0o644)
    else:
        call.out(text + "\n")
    return 0


def machineconfig_gen(call: Call) -> int:
    """`machineconfig gen`: the same as `gen config`."""
    return gen_config(call)


def validate(call: Call) -> int:
    """`validate -c FILE -m MODE`."""
    name, mode = call.flags["config"], call.flags["mode"]
    documents = _load_config(call, name)
    if mode not in MODES:
        raise ToolError(f'unknown runtime mode: "{mode}"')
    errors, warnings = machineconfig.validate(documents, mode)
    if call.flags["strict"]:
        errors = [*errors, *(f"warning: {w}" for w in warnings)]
        warnings = []
    for warning in warnings:
        call.err(f"WARNING: {warning}\n")
    if errors:
        raise ToolError(machineconfig.several(errors))
    call.out(f"{name} is valid for {mode} mode\n")
    return 0


def _load_config(call: Call, name: str, prefix: str = "") -> list[machineconfig.Document]:
    try:
        return machineconfig.load(call.path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise ToolError(f"{prefix + ': ' if prefix else ''}open {name}: {_reason(error)}") from None
    except machineconfig.ConfigError as error:
        raise ToolError(str(error)) from None


def _patch_text(call: Call, patch: str) -> str:
    if not patch.startswith("@"):
        return patch
    try:
        return call.path(patch[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise ToolError(f"open {patch[1:]}: {_reason(error)}") from None


def config_endpoint(call: Call) -> int:
    """`config endpoint ADDRESS...`."""
    return _set_context(call, "endpoints")


def config_node(call: Call) -> int:
    """`config node ADDRESS...`."""
    return _set_context(call, "nodes")


def _set_context(call: Call, key: str) -> int:
    path = config_path(call)
    config = load_config(path)
    context = _current(call, config)
    if call.args:
        ordered = {"endpoints": context.get("endpoints") or [], "nodes": context.get("nodes") or [], **context}
        ordered[key] = list(call.args)
        context.clear()
        context.update({k: v for k, v in ordered.items() if v or k == "endpoints"})
    else:
        context.pop(key, None)
    _save(path, config)
    return 0


def _current(call: Call, config: dict[str, Any]) -> dict[str, Any]:
    name = call.flags.get("context") or config["context"]
    if not name:
        raise ToolError("no context is set")
    if name not in config["contexts"]:
        raise ToolError(f'context "{name}" is not defined')
    found: dict[str, Any] = config["contexts"][name]
    return found


def config_context(call: Call) -> int:
    """`config context NAME`: use it from now on."""
    path = config_path(call)
    config = load_config(path)
    if call.args[0] not in config["contexts"]:
        raise ToolError(f'context "{call.args[0]}" is not defined')
    config["context"] = call.args[0]
    _save(path, config)
    return 0


def config_contexts(call: Call) -> int:
    """`config contexts`: a table."""
    config = load_config(config_path(call))
    rows = [["CURRENT", "NAME", "ENDPOINTS", "NODES"]]
    for name, context in sorted(config["contexts"].items()):
        mark = "*" if name == config["context"] else ""
        rows.append([mark, name, ",".join(context.get("endpoints") or []), ",".join(context.get("nodes") or [])])
    call.out(table(rows))
    return 0


def config_merge(call: Call) -> int:
    """`config merge FILE`: contexts of the same name are renamed."""
    path = config_path(call)
    config, other = load_config(path), load_config(call.path(call.args[0]))
    for name, context in other["contexts"].items():
        new = name
        count = 0
        while new in config["contexts"]:
            count += 1
            new = f"{name}-{count}"
        if new != name:
            call.err(f'renamed talosconfig context "{name}" -> "{new}"\n')
        config["contexts"][new] = context
        if name == other["context"]:
            config["context"] = new
    _save(path, config)
    return 0


def config_remove(call: Call) -> int:
    """`config remove NAME`."""
    path = config_path(call)
    config = load_config(path)
    if call.args[0] not in config["contexts"]:
        raise ToolError(f'context "{call.args[0]}" is not defined')
    if call.args[0] == config["context"]:
        raise ToolError("cannot remove the current context, please switch to another context first")
    del config["contexts"][call.args[0]]
    _save(path, config)
    return 0


def config_info(call: Call) -> int:
    """`config info`: the current context and its certificate."""
    config = load_config(config_path(call))
    name = call.flags.get("context") or config["context"]
    context = _current(call, config)
    certificate = x509.load_pem_x509_certificate(secrets.unb64(context["crt"]).encode())
    roles = secrets.roles(certificate)
    end = certificate.not_valid_after_utc
    nodes, endpoints = list(context.get("nodes") or []), list(context.get("endpoints") or [])
    left = humanized((end - datetime.now(UTC)).total_seconds())
    if call.flags["output"] == "json":
        value = {"context": name, "nodes": nodes, "endpoints": endpoints, "roles": roles}
        call.out(json.dumps({**value, "certTTL": left, "certNotAfter": f"{end:%Y-%m-%d}"}, indent=2) + "\n")
    elif call.flags["output"] == "yaml":
        value = {"context": name, "nodes": nodes, "endpoints": endpoints, "roles": roles}
        call.out(goyaml.dump({**value, "certTTL": left, "certNotAfter": f"{end:%Y-%m-%d}"}))
    elif call.flags["output"] == "text":
        call.out(
            f"Current context:     {name}\n"
            f"Nodes:               {', '.join(nodes) or 'not defined'}\n"
            f"Endpoints:           {', '.join(endpoints) or 'not defined'}\n"
            f"Roles:               {', '.join(roles)}\n"
            f"Certificate expires: {left} ({end:%Y-%m-%d})\n"
        )
    else:
        raise ToolError(f'unknown output format: "{call.flags["output"]}"')
    return 0


def humanized(seconds: float) -> str:
    """As dustin/go-humanize writes a time from now."""
    days = seconds / 86400
    for limit, size, unit in ((365, 30, "month"), (30, 7, "week"), (7, 1, "day")):
        if days >= limit:
            break
        if days >= size:
            number = int(days / size)
            return f"{number} {unit}{'s' if number > 1 else ''} from now"
    else:
        hours = int(seconds / 3600)
        return f"{hours} hours from now" if hours > 1 else "1 hour from now"
    years = int((days + 1) / 365)
    return f"{years} year{'s' if years > 1 else ''} from now"


def image_default(call: Call) -> int:
    """`image default`: what this release installs."""
    call.out(
        "ghcr.io/siderolabs/flannel:v0.27.2\n"
        "registry.k8s.io/coredns/coredns:v1.12.3\n"
        "gcr.io/etcd-development/etcd:v3.6.4\n"
        "registry.k8s.io/kube-apiserver:v1.34.1\n"
        "registry.k8s.io/kube-controller-manager:v1.34.1\n"
        "registry.k8s.io/kube-scheduler:v1.34.1\n"
        "registry.k8s.io/kube-proxy:v1.34.1\n"
        "ghcr.io/siderolabs/kubelet:v1.34.1\n"
        "ghcr.io/siderolabs/installer:v1.11.2\n"
        "registry.k8s.io/pause:3.10\n"
    )
    return 0


def _save(path: Path, config: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, goyaml.dump(config), 0o600)


def _write(path: Path, text: str, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def _reason(error: OSError) -> str:
    return {2: "no such file or directory", 13: "permission denied", 21: "is a directory"}.get(
        error.errno or 0, str(error.strerror or error).lower()
    )
