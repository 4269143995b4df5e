"""Pod Security Standards: baseline and restricted, by the labels of a namespace.

Source: k8s.io/pod-security-admission policy and admission (v0.33). The latest version of each standard is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]
PREFIX: Final = "pod-security.kubernetes.io/"
LEVELS: Final = ("privileged", "baseline", "restricted")
CAPABILITIES: Final = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
    "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip
SYSCTLS: Final = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip
VOLUMES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SELINUX_TYPES: Final = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
TEMPLATES: Final = {
    "Deployment": ("spec", "template"), "ReplicaSet": ("spec", "template"), "DaemonSet": ("spec", "template"),
    "StatefulSet": ("spec", "template"), "Job": ("spec", "template"), "ReplicationController": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"), "PodTemplate": ("template",),
}  # fmt: skip


@dataclass(slots=True)
class Verdict:
    """Warnings, and why the object is refused."""

    warnings: list[str] = field(default_factory=list)
    refusal: str = ""


def judge(new: Json, old: Json | None, kind: str, labels: Json) -> Verdict:
    """A pod, or an owner of a template (of which one only warns)."""
    verdict = Verdict()
    if kind == "Pod":
        spec, meta = new.get("spec") or {}, new.get("metadata") or {}
        if old is not None and old.get("spec") == new.get("spec"):
            return verdict
        enforced = _level(labels, "enforce")
        reasons = complaints(spec, meta, enforced[0])
        if reasons:
            verdict.refusal = f'violates PodSecurity "{enforced[0]}:{enforced[1]}": {", ".join(reasons)}'
            return verdict
    elif kind in TEMPLATES:
        template: Any = new
        for key in TEMPLATES[kind]:
            template = (template or {}).get(key) or {}
        spec, meta = template.get("spec") or {}, template.get("metadata") or {}
    else:
        return verdict
    warned = _level(labels, "warn")
    reasons = complaints(spec, meta, warned[0])
    if reasons:
        verdict.warnings.append(f'would violate PodSecurity "{warned[0]}:{warned[1]}": {", ".join(reasons)}')
    return verdict


def _level(labels: Json, mode: str) -> tuple[str, str]:
    level = labels.get(f"{PREFIX}{mode}", "privileged")
    return (level if level in LEVELS else "restricted"), labels.get(f"{PREFIX}{mode}-version", "latest")


def complaints(spec: Json, meta: Json, level: str) -> list[str]:
    """What a pod violates of a standard."""
    if level == "privileged":
        return []
    checks = BASELINE if level == "baseline" else RESTRICTED
    return [text for check in checks if (text := check(spec, meta))]


def _containers(spec: Json) -> Iterator[Json]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def _context(holder: Json) -> Json:
    found: Json = holder.get("securityContext") or {}
    return found


def _words(things: list[str], one: str, many: str = "") -> str:
    listed = ", ".join(f'"{thing}"' for thing in things)
    return f"{one if len(things) == 1 else many or one + 's'} {listed}"


def _allow_escalation(spec: Json, meta: Json) -> str:
    bad = [
        one.get("name", "") for one in _containers(spec) if _context(one).get("allowPrivilegeEscalation") is not False
    ]
    if not bad:
        return ""
    return f"allowPrivilegeEscalation != false ({_words(bad, 'container')} must set securityContext.allowPrivilegeEscalation=false)"


def _app_armor(spec: Json, meta: Json) -> str:
    bad: list[str] = []
    for holder, name in [(spec, "pod"), *((one, f'container "{one.get("name", "")}"') for one in _containers(spec))]:
        if (_context(holder).get("appArmorProfile") or {}).get("type") == "Unconfined":
            bad.append(name)
    if bad:
        return f'forbidden AppArmor profile ({" and ".join(bad)} must not set AppArmor profile type to "Unconfined")'
    notes = {
        key: value
        for key, value in (meta.get("annotations") or {}).items()
        if key.startswith("container.apparmor.security.beta.kubernetes.io/")
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    }
    if not notes:
        return ""
    listed = ", ".join(f'"{key}"="{notes[key]}"' for key in sorted(notes))
    return f"forbidden AppArmor profile ({'annotation' if len(notes) == 1 else 'annotations'} {listed})"


def _added_capabilities(spec: Json, allowed: set[str]) -> tuple[list[str], list[str]]:
    names, wrong = [], set()
    for one in _containers(spec):
        added = {cap for cap in (_context(one).get("capabilities") or {}).get("add") or () if cap not in allowed}
        if added:
            names.append(one.get("name", ""))
            wrong |= added
    return names, sorted(wrong)


def _capabilities(spec: Json, meta: Json) -> str:
    names, wrong = _added_capabilities(spec, CAPABILITIES)
    if not names:
        return ""
    listed = ", ".join(f'"{one}"' for one in wrong)
    return f"non-default capabilities ({_words(names, 'container')} must not include {listed} in securityContext.capabilities.add)"


def _restricted_capabilities(spec: Json, meta: Json) -> str:
    names, wrong = _added_capabilities(spec, {"NET_BIND_SERVICE"})
    keeps = [
        one.get("name", "")
        for one in _containers(spec)
        if "ALL" not in ((_context(one).get("capabilities") or {}).get("drop") or ())
    ]
    parts = [f'{_words(keeps, "container")} must set securityContext.capabilities.drop=["ALL"]'] if keeps else []
    if names:
        listed = ", ".join(f'"{one}"' for one in wrong)
        parts.append(f"{_words(names, 'container')} must not include {listed} in securityContext.capabilities.add")
    return f"unrestricted capabilities ({'; '.join(parts)})" if parts else ""


def _host_namespaces(spec: Json, meta: Json) -> str:
    found = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    return f"host namespaces ({', '.join(found)})" if found else ""


def _host_path(spec: Json, meta: Json) -> str:
    bad = [one.get("name", "") for one in spec.get("volumes") or () if one.get("hostPath") is not None]
    return f"hostPath volumes ({_words(bad, 'volume')})" if bad else ""


def _host_ports(spec: Json, meta: Json) -> str:
    bad, ports = [], set()
    for one in _containers(spec):
        found = {port["hostPort"] for port in one.get("ports") or () if port.get("hostPort")}
        if found:
            bad.append(one.get("name", ""))
            ports |= found
    if not bad:
        return ""
    word = "hostPort" if len(ports) == 1 else "hostPorts"
    return f"hostPort ({_words(bad, 'container')} {'uses' if len(bad) == 1 else 'use'} {word} {', '.join(map(str, sorted(ports)))})"


def _host_process(spec: Json, meta: Json) -> str:
    def hosted(holder: Json) -> bool:
        return bool((_context(holder).get("windowsOptions") or {}).get("hostProcess"))

    bad = [one.get("name", "") for one in _containers(spec) if hosted(one)]
    parts = (["pod"] if hosted(spec) else []) + ([_words(bad, "container")] if bad else [])
    return (
        f"hostProcess ({' and '.join(parts)} must not set securityContext.windowsOptions.hostProcess=true)"
        if parts
        else ""
    )


def _privileged(spec: Json, meta: Json) -> str:
    bad = [one.get("name", "") for one in _containers(spec) if _context(one).get("privileged")]
    return f"privileged ({_words(bad, 'container')} must not set securityContext.privileged=true)" if bad else ""


def _proc_mount(spec: Json, meta: Json) -> str:
    bad, sorts = [], set()
    for one in _containers(spec):
        found = _context(one).get("procMount")
        if found not in (None, "Default"):
            bad.append(one.get("name", ""))
            sorts.add(f'"{found}"')
    return (
        f"procMount ({_words(bad, 'container')} must not set securityContext.procMount to {', '.join(sorted(sorts))})"
        if bad
        else ""
    )


def _volume_types(spec: Json, meta: Json) -> str:
    bad, sorts = [], set()
    for one in spec.get("volumes") or ():
        found = next((key for key, value in one.items() if key != "name" and value is not None), "")
        if found and found not in VOLUMES:
            bad.append(one.get("name", ""))
            sorts.add(f'"{found}"')
    if not bad:
        return ""
    uses = "uses restricted volume type" if len(bad) == 1 else "use restricted volume types"
    return f"restricted volume types ({_words(bad, 'volume')} {uses} {', '.join(sorted(sorts))})"


def _non_root(spec: Json, meta: Json) -> str:
    said = _context(spec).get("runAsNonRoot")
    wrong = [one.get("name", "") for one in _containers(spec) if _context(one).get("runAsNonRoot") is False]
    unset = [one.get("name", "") for one in _containers(spec) if _context(one).get("runAsNonRoot") is None]
    parts = ["pod must not set securityContext.runAsNonRoot=false"] if said is False else []
    if wrong:
        parts.append(f"{_words(wrong, 'container')} must not set securityContext.runAsNonRoot=false")
    if parts:
        return f"runAsNonRoot != true ({' and '.join(parts)})"
    if said is None and unset:
        return f"runAsNonRoot != true (pod or {_words(unset, 'container')} must set securityContext.runAsNonRoot=true)"
    return ""


def _root_user(spec: Json, meta: Json) -> str:
    bad = [one.get("name", "") for one in _containers(spec) if _context(one).get("runAsUser") == 0]
    parts = (["pod"] if _context(spec).get("runAsUser") == 0 else []) + ([_words(bad, "container")] if bad else [])
    return f"runAsUser=0 ({' and '.join(parts)} must not set runAsUser=0)" if parts else ""


def _seccomp_type(holder: Json) -> str | None:
    return (_context(holder).get("seccompProfile") or {}).get("type")


def _seccomp_baseline(spec: Json, meta: Json) -> str:
    bad = [one.get("name", "") for one in _containers(spec) if _seccomp_type(one) == "Unconfined"]
    parts = (["pod"] if _seccomp_type(spec) == "Unconfined" else []) + ([_words(bad, "container")] if bad else [])
    return (
        f'seccompProfile ({" and ".join(parts)} must not set securityContext.seccompProfile.type to "Unconfined")'
        if parts
        else ""
    )


def _seccomp_restricted(spec: Json, meta: Json) -> str:
    fine, said = ("RuntimeDefault", "Localhost"), _seccomp_type(spec)
    wrong = [one.get("name", "") for one in _containers(spec) if _seccomp_type(one) not in (None, *fine)]
    unset = [one.get("name", "") for one in _containers(spec) if _seccomp_type(one) is None]
    parts = (["pod"] if said not in (None, *fine) else []) + ([_words(wrong, "container")] if wrong else [])
    if parts:
        return (
            f'seccompProfile ({" and ".join(parts)} must not set securityContext.seccompProfile.type to "Unconfined")'
        )
    if said is None and unset:
        names = _words(unset, "container")
        return f'seccompProfile (pod or {names} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    return ""


def _selinux(spec: Json, meta: Json) -> str:
    sorts, others, holders = set(), set(), []
    for holder, name in [(spec, "pod"), *((one, f'container "{one.get("name", "")}"') for one in _containers(spec))]:
        found = _context(holder).get("seLinuxOptions")
        if found is None:
            continue
        bad = False
        if found.get("type", "") not in SELINUX_TYPES:
            sorts.add(f'"{found["type"]}"')
            bad = True
        for key in ("user", "role"):
            if found.get(key):
                others.add(f"{key} may not be set")
                bad = True
        if bad:
            holders.append(name)
    if not holders:
        return ""
    word = "type" if len(sorts) == 1 else "types"
    parts = [f"{word} {', '.join(sorted(sorts))}"] if sorts else []
    parts += sorted(others, reverse=True)
    return f"seLinuxOptions ({' and '.join(holders)} set forbidden securityContext.seLinuxOptions: {'; '.join(parts)})"


def _sysctls(spec: Json, meta: Json) -> str:
    bad = [one.get("name", "") for one in _context(spec).get("sysctls") or () if one.get("name") not in SYSCTLS]
    return f"forbidden sysctls ({', '.join(bad)})" if bad else ""


Check = Callable[[Json, Json], str]
BASELINE: Final[tuple[Check, ...]] = (
    _app_armor, _capabilities, _host_namespaces, _host_path, _host_ports, _host_process, _privileged, _proc_mount, _seccomp_baseline,
    _selinux, _sysctls,
)  # fmt: skip
RESTRICTED: Final[tuple[Check, ...]] = (
    _allow_escalation, _app_armor, _restricted_capabilities, _host_namespaces, _host_ports, _host_process, _privileged,
    _proc_mount, _volume_types, _non_root, _root_user, _seccomp_restricted, _selinux, _sysctls,
)  # fmt: skip
