"""Pods and pod templates. Source: k8s.io/kubernetes/pkg/apis/core/validation validation.go (v1.33)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from lab.kube import errors, names, quantity
from lab.kube.plain import clone
from lab.kube.schema import meta
from lab.kube.validation import common
from lab.kube.validation.common import STRUCT, Errors, each

Json = dict[str, Any]
MODE_WORDS: Final = "must be a number between 0 and 0777 (octal), both inclusive"
ONE_VOLUME: Final = "may not specify more than 1 volume type"
MAX_INT32: Final = 2**31 - 1
FIELD_PATHS: Final = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
VOLUME_FIELD_PATHS: Final = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
RESOURCE_PATHS: Final = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
VOLUME_TYPES: Final = (
    "emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi", "glusterfs",
    "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc", "flexVolume", "configMap",
    "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk", "storageos", "projected", "scaleIO",
    "csi", "ephemeral", "image",
)  # fmt: skip
HOST_PATH_TYPES: Final = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)


# --------------------------------------------------------------------------------------------------------------- paths
def no_backsteps(path: str, field: str) -> Errors:
    """No ".." in a path."""
    return [errors.wrong(field, path, "must not contain '..'")] if ".." in path.split("/") else []


def descending(path: str, field: str) -> Errors:
    """A relative path that stays below its start."""
    result = [errors.wrong(field, path, "must be a relative path")] if path.startswith("/") else []
    return result + no_backsteps(path, field)


def not_reserved(path: str, field: str) -> Errors:
    """A relative path that does not begin with dots."""
    result = descending(path, field)
    if path.startswith("..") and not path.startswith("../"):
        result.append(errors.wrong(field, path, "must not start with '..'"))
    return result


def _mode(value: int | None, field: str) -> Errors:
    return [errors.wrong(field, value, MODE_WORDS)] if value is not None and not 0 <= value <= 0o777 else []


# ------------------------------------------------------------------------------------------------------------- volumes
def volumes(found: list[Json] | None, field: str, owner: str = "") -> tuple[Mapping[str, Json], Errors]:
    """The good volumes by name, and what is wrong with the others. `owner` is the pod's name."""
    good: dict[str, Json] = {}
    result: Errors = []
    for place, volume in enumerate(found or ()):
        here, name = f"{field}[{place}]", volume.get("name", "")
        wrong = _volume(volume, here, owner)
        wrong += (
            [errors.required(f"{here}.name")] if not name else each(f"{here}.name", name, names.dns1123_label(name))
        )
        if name in good:
            wrong.append(errors.duplicate(f"{here}.name", name))
        if wrong:
            result += wrong
        else:
            good[name] = volume
    return good, result


def _volume(volume: Json, field: str, owner: str) -> Errors:
    given = [sort for sort in VOLUME_TYPES if volume.get(sort) is not None]
    if not given:
        return [errors.required(field, "must specify a volume type")]
    first, *others = given
    result: Errors = []
    check = _VOLUME_CHECKS.get(first)
    if check:
        result += check(volume[first], f"{field}.{first}")
    result += [errors.forbidden_field(f"{field}.{other}", ONE_VOLUME) for other in others]
    return result


def _empty_dir(source: Json, field: str) -> Errors:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.value_of(limit) < 0:
        return [errors.forbidden_field(f"{field}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def host_path(source: Json, field: str) -> Errors:
    """A path of the node."""
    if not source.get("path"):
        return [errors.required(f"{field}.path")]
    result = no_backsteps(source["path"], f"{field}.path")
    sort = source.get("type")
    if sort is not None and sort not in HOST_PATH_TYPES:
        result.append(errors.unsupported(f"{field}.type", sort, HOST_PATH_TYPES))
    return result


def _keyed(name_key: str) -> Callable[[Json, str], Errors]:
    def check(source: Json, field: str) -> Errors:
        result = [] if source.get(name_key) else [errors.required(f"{field}.{name_key}")]
        result += _mode(source.get("defaultMode"), f"{field}.defaultMode")
        for place, item in enumerate(source.get("items") or ()):
            result += _key_to_path(item, f"{field}.items[{place}]")
        return result

    return check


def _key_to_path(item: Json, field: str) -> Errors:
    result = [errors.required(f"{field}.{key}") for key in ("key", "path") if not item.get(key)]
    result += not_reserved(item.get("path", ""), f"{field}.path")
    return result + _mode(item.get("mode"), f"{field}.mode")


def nfs(source: Json, field: str) -> Errors:
    """An NFS export."""
    result = [errors.required(f"{field}.{key}") for key in ("server", "path") if not source.get(key)]
    if not source.get("path", "").startswith("/"):
        result.append(errors.wrong(f"{field}.path", source.get("path", ""), "must be an absolute path"))
    return result


def _needs(*keys: str) -> Callable[[Json, str], Errors]:
    def check(source: Json, field: str) -> Errors:
        return [errors.required(f"{field}.{key}") for key in keys if not source.get(key)]

    return check


def _downward_file(item: Json, field: str) -> Errors:
    result = [] if item.get("path") else [errors.required(f"{field}.path")]
    result += not_reserved(item.get("path", ""), f"{field}.path")
    if item.get("fieldRef") is not None:
        result += _field_ref(item["fieldRef"], VOLUME_FIELD_PATHS, f"{field}.fieldRef")
        if item.get("resourceFieldRef") is not None:
            text = "fieldRef and resourceFieldRef can not be specified simultaneously"
            result.append(errors.wrong(field, "resource", text))
    elif item.get("resourceFieldRef") is not None:
        result += _resource_ref(item["resourceFieldRef"], f"{field}.resourceFieldRef", volume=True)
    else:
        result.append(errors.required(field, "one of fieldRef and resourceFieldRef is required"))
    return result + _mode(item.get("mode"), f"{field}.mode")


def _downward(source: Json, field: str) -> Errors:
    result = _mode(source.get("defaultMode"), f"{field}.defaultMode")
    for item in source.get("items") or ():
        result += _downward_file(item, field)
    return result


def _projected(source: Json, field: str) -> Errors:
    result = _mode(source.get("defaultMode"), f"{field}.defaultMode")
    seen: set[str] = set()
    for place, one in enumerate(source.get("sources") or ()):
        here, count = f"{field}.sources[{place}]", 0
        for key in ("secret", "configMap"):
            if one.get(key) is not None:
                count += 1
                result += _projected_object(one[key], f"{here}.{key}", field, seen)
        if one.get("downwardAPI") is not None:
            count += 1
            for item in one["downwardAPI"].get("items") or ():
                result += _downward_file(item, f"{here}.downwardAPI") + _unique_path(
                    item.get("path", ""), item.get("path", ""), field, seen
                )
        if one.get("serviceAccountToken") is not None:
            count += 1
            result += _projected_token(one["serviceAccountToken"], f"{here}.serviceAccountToken", field)
        if count > 1:
            result.append(errors.forbidden_field(here, "may not specify more than 1 volume type per source"))
    return result


def _projected_object(one: Json, here: str, field: str, seen: set[str]) -> Errors:
    result = [] if one.get("name") else [errors.required(f"{here}.name")]
    for place, item in enumerate(one.get("items") or ()):
        result += _key_to_path(item, f"{here}.items[{place}]")
        result += _unique_path(item.get("path", ""), one.get("name", ""), field, seen)
    return result


def _unique_path(path: str, shown: str, field: str, seen: set[str]) -> Errors:
    if path and path in seen:
        return [errors.wrong(field, shown, "conflicting duplicate paths")]
    seen.add(path)
    return []


def _projected_token(token: Json, here: str, field: str) -> Errors:
    seconds, result = token.get("expirationSeconds") or 0, []
    if seconds < 600:
        result.append(
            errors.wrong(f"{here}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        )
    if seconds > 1 << 32:
        text = "may not specify a duration larger than 2^32 seconds"
        result.append(errors.wrong(f"{here}.expirationSeconds", seconds, text))
    if not token.get("path"):
        return [*result, errors.required(f"{field}.path")]
    return result + not_reserved(token["path"], f"{field}.path")


def _csi_inline(source: Json, field: str) -> Errors:
    result = driver_name(source.get("driver", ""), f"{field}.driver")
    secret = source.get("nodePublishSecretRef")
    if secret is not None and not secret.get("name"):
        result.append(errors.required(f"{field}.nodePublishSecretRef.name"))
    return result


def driver_name(name: str, field: str) -> Errors:
    """A CSI driver's name."""
    if not name:
        return [errors.required(field)]
    result = [errors.too_long(field, 63)] if len(name) > 63 else []
    return result + each(field, name, names.dns1123_subdomain(name.lower()))


def _ephemeral(source: Json, field: str) -> Errors:
    template = source.get("volumeClaimTemplate")
    if template is None:
        return [errors.required(f"{field}.volumeClaimTemplate")]
    from lab.kube.validation.storage import claim_spec

    return claim_spec(template.get("spec") or {}, f"{field}.volumeClaimTemplate.spec")


def iscsi(source: Json, field: str) -> Errors:
    """An iSCSI target."""
    result = [errors.required(f"{field}.{key}") for key in ("targetPortal", "iqn") if not source.get(key)]
    if not 0 <= source.get("lun", 0) <= 255:
        result.append(errors.wrong(f"{field}.lun", source["lun"], names.in_range(0, 255)))
    return result


_VOLUME_CHECKS: Final[dict[str, Callable[[Json, str], Errors]]] = {
    "emptyDir": _empty_dir,
    "hostPath": host_path,
    "secret": _keyed("secretName"),
    "configMap": _keyed("name"),
    "nfs": nfs,
    "iscsi": iscsi,
    "persistentVolumeClaim": _needs("claimName"),
    "downwardAPI": _downward,
    "projected": _projected,
    "csi": _csi_inline,
    "ephemeral": _ephemeral,
    "gitRepo": _needs("repository"),
    "rbd": _needs("monitors", "image"),
    "cephfs": _needs("monitors"),
    "cinder": _needs("volumeID"),
    "glusterfs": _needs("endpoints", "path"),
    "flexVolume": _needs("driver"),
    "azureFile": _needs("secretName", "shareName"),
    "vsphereVolume": _needs("volumePath"),
    "photonPersistentDisk": _needs("pdID"),
    "portworxVolume": _needs("volumeID"),
    "gcePersistentDisk": _needs("pdName"),
    "awsElasticBlockStore": _needs("volumeID"),
    "image": _needs("reference"),
}


# ---------------------------------------------------------------------------------------------------------- containers
def _ports(found: list[Json] | None, field: str) -> Errors:
    result: Errors = []
    seen: set[str] = set()
    for place, port in enumerate(found or ()):
        here, name = f"{field}[{place}]", port.get("name", "")
        if name:
            complaints = names.port_name(name)
            if complaints:
                result += each(f"{here}.name", name, complaints)
            elif name in seen:
                result.append(errors.duplicate(f"{here}.name", name))
            else:
                seen.add(name)
        number = port.get("containerPort", 0)
        if not number:
            result.append(errors.required(f"{here}.containerPort"))
        else:
            result += each(f"{here}.containerPort", number, names.port_number(number))
        if port.get("hostPort"):
            result += each(f"{here}.hostPort", port["hostPort"], names.port_number(port["hostPort"]))
        result += common.one_of(port.get("protocol", ""), ("SCTP", "TCP", "UDP"), f"{here}.protocol")
    return result


def _env(found: list[Json] | None, field: str) -> Errors:
    result: Errors = []
    for place, variable in enumerate(found or ()):
        here, name = f"{field}[{place}]", variable.get("name", "")
        result += (
            [errors.required(f"{here}.name")]
            if not name
            else each(f"{here}.name", name, names.relaxed_env_var_name(name))
        )
        if variable.get("valueFrom") is not None:
            result += _value_from(variable, f"{here}.valueFrom")
    return result


def _value_from(variable: Json, field: str) -> Errors:
    source, count = variable["valueFrom"], 0
    result: Errors = []
    if source.get("fieldRef") is not None:
        count += 1
        result += _field_ref(source["fieldRef"], FIELD_PATHS, f"{field}.fieldRef")
    if source.get("resourceFieldRef") is not None:
        count += 1
        result += _resource_ref(source["resourceFieldRef"], f"{field}.resourceFieldRef")
    for key in ("configMapKeyRef", "secretKeyRef"):
        if source.get(key) is not None:
            count += 1
            result += _key_ref(source[key], f"{field}.{key}")
    if not count:
        text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        result.append(errors.wrong(field, "", text))
    elif variable.get("value"):
        result.append(errors.wrong(field, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        result.append(errors.wrong(field, "", "may not have more than one field specified at a time"))
    return result


def _key_ref(found: Json, field: str) -> Errors:
    name, key = found.get("name", ""), found.get("key", "")
    result = each(f"{field}.name", name, names.dns1123_subdomain(name))
    if not key:
        return [*result, errors.required(f"{field}.key")]
    return result + each(f"{field}.key", key, names.config_map_key(key))


_CONVERTIBLE: Final = {
    "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
    "spec.restartPolicy", "spec.serviceAccountName", "spec.schedulerName", "status.phase", "status.hostIP", "status.hostIPs",
    "status.podIP", "status.podIPs",
}  # fmt: skip


def _field_ref(found: Json, allowed: tuple[str, ...], field: str) -> Errors:
    if not found.get("apiVersion"):
        return [errors.required(f"{field}.apiVersion")]
    path = found.get("fieldPath", "")
    if not path:
        return [errors.required(f"{field}.fieldPath")]
    if found["apiVersion"] != "v1":
        text = f"error converting fieldPath: unsupported pod version: {found['apiVersion']}"
        return [errors.wrong(f"{field}.fieldPath", path, text)]
    base, bracket, key = path.partition("['")
    if bracket and key.endswith("']"):
        if base == "metadata.annotations":
            return each(field, key[:-2].lower(), names.qualified_name(key[:-2].lower()))
        if base == "metadata.labels":
            return each(field, key[:-2], names.qualified_name(key[:-2]))
        text = f"error converting fieldPath: field label does not support subscript: {path}"
        return [errors.wrong(f"{field}.fieldPath", path, text)]
    if path not in _CONVERTIBLE and path != "spec.host":
        return [
            errors.wrong(f"{field}.fieldPath", path, f"error converting fieldPath: field label not supported: {path}")
        ]
    return [] if path in allowed else [errors.unsupported(f"{field}.fieldPath", path, allowed)]


def _resource_ref(found: Json, field: str, *, volume: bool = False) -> Errors:
    result: Errors = []
    name = found.get("resource", "")
    if volume and not found.get("containerName"):
        result.append(errors.required(f"{field}.containerName"))
    elif not name:
        result.append(errors.required(f"{field}.resource"))
    elif name not in RESOURCE_PATHS and not name.startswith(("requests.hugepages-", "limits.hugepages-")):
        result.append(errors.unsupported(f"{field}.resource", name, RESOURCE_PATHS))
    return result + _divisor(name, found.get("divisor", "0"), f"{field}.divisor")


def _divisor(name: str, divisor: str, field: str) -> Errors:
    if quantity.value_of(divisor) == 0:
        return []
    if name in ("limits.cpu", "requests.cpu"):
        text = "only divisor's values 1m and 1 are supported with the cpu resource"
        return [] if divisor in ("1m", "1") else [errors.wrong(field, name, text)]
    sizes = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"
    if divisor in sizes.split(", "):
        return []
    what = (
        "memory" if name.endswith(".memory") else "local ephemeral storage" if name.endswith("storage") else "hugepages"
    )
    return [errors.wrong(field, name, f"only divisor's values {sizes} are supported with the {what} resource")]


def _env_from(found: list[Json] | None, field: str) -> Errors:
    result: Errors = []
    for place, source in enumerate(found or ()):
        here, count = f"{field}[{place}]", 0
        if source.get("prefix"):
            result += each(f"{here}.prefix", source["prefix"], names.relaxed_env_var_name(source["prefix"]))
        for key in ("configMapRef", "secretRef"):
            if source.get(key) is not None:
                count += 1
                name = source[key].get("name", "")
                result += (
                    [errors.required(f"{here}.{key}.name")]
                    if not name
                    else each(f"{here}.{key}.name", name, meta.subdomain(name, True))
                )
        if not count:
            result.append(errors.wrong(field, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif count > 1:
            result.append(errors.wrong(field, "", "may not have more than one field specified at a time"))
    return result


def _mounts(container: Json, known: Mapping[str, Json], field: str) -> Errors:
    result: Errors = []
    seen: set[str] = set()
    devices = container.get("volumeDevices") or ()
    device_names, device_paths = {one.get("name") for one in devices}, {one.get("devicePath") for one in devices}
    for place, mount in enumerate(container.get("volumeMounts") or ()):
        here, name, path = f"{field}[{place}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            result.append(errors.required(f"{here}.name"))
        if name not in known:
            result.append(errors.FieldError(errors.NOT_FOUND, f"{here}.name", name))
        if not path:
            result.append(errors.required(f"{here}.mountPath"))
        if path in seen:
            result.append(errors.wrong(f"{here}.mountPath", path, "must be unique"))
        seen.add(path)
        if name in device_names:
            result.append(errors.wrong(f"{here}.name", name, "must not already exist in volumeDevices"))
        if path in device_paths:
            result.append(errors.wrong(f"{here}.mountPath", path, "must not already exist as a path in volumeDevices"))
        result += _sub_paths(mount, here, field) + _propagation(mount, container, field)
    return result


def _sub_paths(mount: Json, here: str, field: str) -> Errors:
    result: Errors = []
    if mount.get("subPath"):
        result += descending(mount["subPath"], f"{field}.subPath")
    if mount.get("subPathExpr"):
        if mount.get("subPath"):
            text = "subPathExpr and subPath are mutually exclusive"
            result.append(errors.wrong(f"{here}.subPathExpr", mount["subPathExpr"], text))
        result += descending(mount["subPathExpr"], f"{field}.subPathExpr")
    return result


def _propagation(mount: Json, container: Json, field: str) -> Errors:
    result: Errors = []
    mode, recursive = mount.get("mountPropagation"), mount.get("recursiveReadOnly")
    if mode is not None:
        here = f"{field}.mountPropagation"
        result += common.one_of(mode, ("Bidirectional", "HostToContainer", "None"), here, required=False)
        if mode == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
            text = "Bidirectional mount propagation is available only to privileged containers"
            result.append(errors.forbidden_field(here, text))
    if recursive is not None:
        here = f"{field}.recursiveReadOnly"
        if recursive in ("Enabled", "IfPossible"):
            if not mount.get("readOnly"):
                result.append(errors.forbidden_field(here, "may only be specified when readOnly is true"))
            if mode not in (None, "None"):
                text = "may only be specified when mountPropagation is None or not specified"
                result.append(errors.forbidden_field(here, text))
        else:
            result += common.one_of(recursive, ("Disabled", "Enabled", "IfPossible"), here, required=False)
    return result


def _devices(container: Json, known: Mapping[str, Json], field: str) -> Errors:
    result: Errors = []
    paths: set[str] = set()
    mounts = container.get("volumeMounts") or ()
    mount_names, mount_paths = {one.get("name") for one in mounts}, {one.get("mountPath") for one in mounts}
    for place, device in enumerate(container.get("volumeDevices") or ()):
        here, name, path = f"{field}[{place}]", device.get("name", ""), device.get("devicePath", "")
        volume = known.get(name)
        if not name:
            result.append(errors.required(f"{here}.name"))
        if volume is not None and volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            text = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            result.append(errors.wrong(f"{here}.name", name, text))
        if volume is None:
            result.append(errors.FieldError(errors.NOT_FOUND, f"{here}.name", name))
        if not path:
            result.append(errors.required(f"{here}.devicePath"))
        if path in paths:
            result.append(errors.wrong(f"{here}.devicePath", path, "must be unique"))
        if path and ".." in path.split("/"):
            result.append(errors.wrong(f"{here}.devicePath", path, "can not contain backsteps ('..')"))
        else:
            paths.add(path)
        if name in mount_names:
            result.append(errors.wrong(f"{here}.name", name, "must not already exist in volumeMounts"))
        if path in mount_paths:
            result.append(errors.wrong(f"{here}.devicePath", path, "must not already exist as a path in volumeMounts"))
    return result


def _handler(found: Json, grace: int | None, field: str) -> Errors:
    result: Errors = []
    given = [key for key in ("exec", "httpGet", "tcpSocket", "grpc", "sleep") if found.get(key) is not None]
    if not given:
        return [errors.required(field, "must specify a handler type")]
    first, *others = given
    here, action = f"{field}.{first}", found[first]
    if first == "exec":
        result += [] if action.get("command") else [errors.required(f"{here}.command")]
    elif first == "httpGet":
        result += _http_get(action, here)
    elif first == "tcpSocket":
        result += _port_or_name(action.get("port"), f"{here}.port")
    elif first == "grpc":
        result += each(f"{here}.port", action.get("port", 0), names.port_number(action.get("port", 0)))
    elif grace is not None and not 0 <= action.get("seconds", 0) <= grace:
        shown = action.get("seconds", 0)
        text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace}). Enable AllowPodLifecycleSleepActionZeroValue feature gate for zero sleep."
        result.append(errors.wrong(here, shown, text))
    return result + [
        errors.forbidden_field(f"{field}.{other}", "may not specify more than 1 handler type") for other in others
    ]


def _http_get(action: Json, field: str) -> Errors:
    result = [] if action.get("path") else [errors.required(f"{field}.path")]
    result += _port_or_name(action.get("port"), f"{field}.port")
    result += common.one_of(action.get("scheme", ""), ("HTTP", "HTTPS"), f"{field}.scheme", required=False)
    for header in action.get("httpHeaders") or ():
        result += each(f"{field}.httpHeaders", header.get("name", ""), names.http_header_name(header.get("name", "")))
    return result


def _port_or_name(port: Any, field: str) -> Errors:
    if isinstance(port, str):
        return each(field, port, names.port_name(port))
    return each(field, port or 0, names.port_number(port or 0))


def _probe(probe: Json | None, sort: str, grace: int | None, field: str) -> Errors:
    if probe is None:
        return []
    result = _handler(probe, grace, field)
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        result += common.non_negative(probe.get(key), f"{field}.{key}")
    seconds = probe.get("terminationGracePeriodSeconds")
    here = f"{field}.terminationGracePeriodSeconds"
    if seconds is not None and seconds <= 0:
        result.append(errors.wrong(here, seconds, "must be greater than 0"))
    if sort == "readiness":
        if seconds is not None:
            result.append(errors.wrong(here, seconds, "must not be set for readinessProbes"))
    elif probe.get("successThreshold") != 1:
        result.append(errors.wrong(f"{field}.successThreshold", probe.get("successThreshold", 0), "must be 1"))
    return result


def _lifecycle(found: Json | None, grace: int | None, field: str) -> Errors:
    result: Errors = []
    for key in ("postStart", "preStop"):
        if (found or {}).get(key) is not None:
            result += _handler((found or {})[key], grace, f"{field}.{key}")
    return result


def _seccomp(profile: Json | None, field: str) -> Errors:
    if profile is None:
        return []
    sort, local = profile.get("type", ""), profile.get("localhostProfile")
    if not sort:
        result = [errors.required(f"{field}.type", "type is required when seccompProfile is set")]
    else:
        result = common.one_of(sort, ("Localhost", "RuntimeDefault", "Unconfined"), f"{field}.type")
    here = f"{field}.localhostProfile"
    if sort == "Localhost":
        if local is None:
            result.append(errors.required(here, "must be set when seccomp type is Localhost"))
        else:
            result += descending(local, here)
    elif local is not None:
        result.append(errors.wrong(here, STRUCT, "can only be set when seccomp type is Localhost"))
    return result


def _app_armor(profile: Json | None, field: str) -> Errors:
    if profile is None:
        return []
    sort, local, here = profile.get("type", ""), profile.get("localhostProfile"), f"{field}.localhostProfile"
    if sort == "Localhost":
        if not local:
            return [errors.required(here, "must be set when AppArmor type is Localhost")]
        return [errors.wrong(here, local, "must not be padded with whitespace")] if local.strip() != local else []
    if sort in ("RuntimeDefault", "Unconfined"):
        return (
            [errors.wrong(here, local, "can only be set when AppArmor type is Localhost")] if local is not None else []
        )
    if not sort:
        return [errors.required(f"{field}.type", "type is required when appArmorProfile is set")]
    return [errors.unsupported(f"{field}.type", sort, ("Localhost", "RuntimeDefault", "Unconfined"))]


def _ids(found: Json, field: str, keys: tuple[str, ...]) -> Errors:
    result: Errors = []
    for key in keys:
        value = found.get(key)
        if value is not None and not 0 <= value <= MAX_INT32:
            result.append(errors.wrong(f"{field}.{key}", value, names.in_range(0, MAX_INT32)))
    return result


def _security_context(found: Json | None, field: str, host_users: bool) -> Errors:
    if found is None:
        return []
    result = _ids(found, field, ("runAsUser", "runAsGroup"))
    mount = found.get("procMount")
    if mount is not None:
        result += common.one_of(mount, ("Default", "Unmasked"), f"{field}.procMount", required=False)
        if host_users and mount == "Unmasked":
            result.append(errors.wrong(f"{field}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    result += _seccomp(found.get("seccompProfile"), f"{field}.seccompProfile")
    if found.get("allowPrivilegeEscalation") is False:
        if found.get("privileged"):
            text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            result.append(errors.wrong(field, STRUCT, text))
        if "CAP_SYS_ADMIN" in ((found.get("capabilities") or {}).get("add") or ()):
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            result.append(errors.wrong(field, STRUCT, text))
    return result + _app_armor(found.get("appArmorProfile"), f"{field}.appArmorProfile")


def _resize_policy(found: list[Json] | None, field: str, restart: str) -> Errors:
    result: Errors = []
    seen: set[str] = set()
    for place, one in enumerate(found or ()):
        name, policy = one.get("resourceName", ""), one.get("restartPolicy", "")
        if name in seen:
            result.append(errors.duplicate(f"{field}[{place}]", name))
        seen.add(name)
        result += common.one_of(name, ("cpu", "memory"), field)
        result += common.one_of(policy, ("NotRequired", "RestartContainer"), field)
        if restart == "Never" and policy != "NotRequired":
            result.append(errors.wrong(field, policy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
    return result


def _container(found: Json, known: Mapping[str, Json], field: str, restart: str, host_users: bool) -> Errors:
    """Source: validateContainerCommon."""
    name = found.get("name", "")
    result = [errors.required(f"{field}.name")] if not name else each(f"{field}.name", name, names.dns1123_label(name))
    if not found.get("image"):
        result.append(errors.required(f"{field}.image"))
    policies = ("File", "FallbackToLogsOnError")
    result += common.one_of(found.get("terminationMessagePolicy", ""), policies, f"{field}.terminationMessagePolicy")
    result += _ports(found.get("ports"), f"{field}.ports")
    result += _env(found.get("env"), f"{field}.env")
    result += _env_from(found.get("envFrom"), f"{field}.envFrom")
    result += _mounts(found, known, f"{field}.volumeMounts")
    result += _devices(found, known, f"{field}.volumeDevices")
    result += common.one_of(
        found.get("imagePullPolicy", ""), ("Always", "IfNotPresent", "Never"), f"{field}.imagePullPolicy"
    )
    result += common.resources(found.get("resources"), f"{field}.resources")
    result += _resize_policy(found.get("resizePolicy"), f"{field}.resizePolicy", restart)
    return result + _security_context(found.get("securityContext"), f"{field}.securityContext", host_users)


def _host_ports(found: list[Json], field: str) -> Errors:
    result: Errors = []
    seen: set[str] = set()
    for place, container in enumerate(found):
        for number, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort"):
                text = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
                if text in seen:
                    result.append(errors.duplicate(f"{field}[{place}].ports[{number}].hostPort", text))
                seen.add(text)
    return result


def _containers(spec: Json, known: Mapping[str, Json], field: str) -> Errors:
    found, grace = spec.get("containers") or [], spec.get("terminationGracePeriodSeconds")
    if not found:
        return [errors.required(field)]
    result: Errors = []
    seen: set[str] = set()
    for place, container in enumerate(found):
        here = f"{field}[{place}]"
        result += _container(container, known, here, spec.get("restartPolicy", ""), spec.get("hostUsers") is not False)
        if container.get("name", "") in seen:
            result.append(errors.duplicate(f"{here}.name", container.get("name", "")))
        seen.add(container.get("name", ""))
        result += _lifecycle(container.get("lifecycle"), grace, f"{here}.lifecycle")
        for sort in ("liveness", "readiness", "startup"):
            result += _probe(container.get(f"{sort}Probe"), sort, grace, f"{here}.{sort}Probe")
        if container.get("restartPolicy") is not None:
            result.append(errors.forbidden_field(f"{here}.restartPolicy", "may not be set for non-init containers"))
    return result + _host_ports(found, field)


def _init_containers(spec: Json, known: Mapping[str, Json], field: str) -> Errors:
    result: Errors = []
    seen = {container.get("name", "") for container in spec.get("containers") or ()}
    grace = spec.get("terminationGracePeriodSeconds")
    for place, container in enumerate(spec.get("initContainers") or ()):
        here, name = f"{field}[{place}]", container.get("name", "")
        result += _container(container, known, here, spec.get("restartPolicy", ""), spec.get("hostUsers") is not False)
        policy = container.get("restartPolicy")
        if policy is not None and policy != "Always":
            result.append(errors.unsupported(f"{here}.restartPolicy", policy, ("Always",)))
        if name in seen:
            result.append(errors.duplicate(f"{here}.name", name))
        elif name:
            seen.add(name)
        result += _host_ports([container], field)
        if policy == "Always":
            result += _lifecycle(container.get("lifecycle"), grace, f"{here}.lifecycle")
            for sort in ("liveness", "readiness", "startup"):
                result += _probe(container.get(f"{sort}Probe"), sort, grace, f"{here}.{sort}Probe")
            continue
        for key in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if container.get(key) is not None:
                text = "may not be set for init containers without restartPolicy=Always"
                result.append(errors.forbidden_field(f"{here}.{key}", text))
    return result


def ephemeral_containers(spec: Json, known: Mapping[str, Json], field: str) -> Errors:
    """Containers for debugging."""
    result: Errors = []
    seen = {one.get("name", "") for key in ("containers", "initContainers") for one in spec.get(key) or ()}
    for place, container in enumerate(spec.get("ephemeralContainers") or ()):
        here, name = f"{field}[{place}]", container.get("name", "")
        result += _container(container, known, here, spec.get("restartPolicy", ""), spec.get("hostUsers") is not False)
        if name in seen:
            result.append(errors.duplicate(f"{here}.name", name))
        seen.add(name)
        for key in ("ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
            if container.get(key):
                text = "cannot be set for an Ephemeral Container"
                result.append(errors.forbidden_field(f"{here}.{key}", text))
    return result


# ---------------------------------------------------------------------------------------------------------- scheduling
def node_selector_term(term: Json, field: str) -> Errors:
    """matchExpressions and matchFields."""
    result: Errors = []
    for place, one in enumerate(term.get("matchExpressions") or ()):
        result += _node_requirement(one, f"{field}.matchExpressions[{place}]")
    for place, one in enumerate(term.get("matchFields") or ()):
        here, values = f"{field}.matchFields[{place}]", one.get("values") or ()
        if one.get("operator") in ("In", "NotIn"):
            if len(values) != 1:
                text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
                result.append(errors.required(f"{here}.values", text))
        else:
            result.append(errors.wrong(f"{here}.operator", one.get("operator", ""), "not a valid selector operator"))
        if one.get("key") != "metadata.name":
            result.append(errors.wrong(f"{here}.key", one.get("key", ""), "not a valid field selector key"))
        else:
            for number, value in enumerate(values):
                result += each(f"{here}.values[{number}]", value, names.dns1123_subdomain(value))
    return result


def _node_requirement(found: Json, field: str) -> Errors:
    operator, values = found.get("operator", ""), found.get("values") or ()
    result: Errors = []
    if operator in ("In", "NotIn"):
        if not values:
            result.append(errors.required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            result.append(errors.forbidden_field(f"{field}.values", text))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            result.append(errors.required(f"{field}.values", text))
    else:
        result.append(errors.wrong(f"{field}.operator", operator, "not a valid selector operator"))
    result += common.label_name(found.get("key", ""), f"{field}.key")
    if operator in ("In", "NotIn"):
        for place, value in enumerate(values):
            result += each(f"{field}.values[{place}]", value, names.label_value(value))
    return result


def node_selector(found: Json, field: str) -> Errors:
    """Terms of a required node affinity."""
    terms = found.get("nodeSelectorTerms") or ()
    here = f"{field}.nodeSelectorTerms"
    if not terms:
        return [errors.required(here, "must have at least one node selector term")]
    return [error for place, term in enumerate(terms) for error in node_selector_term(term, f"{here}[{place}]")]


def _affinity_term(term: Json, field: str) -> Errors:
    result = common.selector(term.get("labelSelector"), f"{field}.labelSelector")
    result += common.selector(term.get("namespaceSelector"), f"{field}.namespaceSelector")
    for name in term.get("namespaces") or ():
        result += each(f"{field}.namespace", name, names.dns1123_label(name))
    for key in ("matchLabelKeys", "mismatchLabelKeys"):
        result += _label_keys(term.get(key), term.get("labelSelector"), f"{field}.{key}")
    topology = term.get("topologyKey", "")
    if not topology:
        result.append(errors.required(f"{field}.topologyKey", "can not be empty"))
    return result + common.label_name(topology, f"{field}.topologyKey")


def _label_keys(keys: list[str] | None, selector: Json | None, field: str) -> Errors:
    if not keys:
        return []
    if selector is None:
        return [errors.forbidden_field(field, "must not be specified when labelSelector is not set")]
    return [error for place, key in enumerate(keys) for error in common.label_name(key, f"{field}[{place}]")]


def _pod_affinity(found: Json | None, field: str) -> Errors:
    result: Errors = []
    for place, term in enumerate((found or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
        result += _affinity_term(term, f"{field}.requiredDuringSchedulingIgnoredDuringExecution[{place}]")
    for place, one in enumerate((found or {}).get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        here = f"{field}.preferredDuringSchedulingIgnoredDuringExecution[{place}]"
        if not 0 < one.get("weight", 0) <= 100:
            result.append(errors.wrong(f"{here}.weight", one.get("weight", 0), "must be in the range 1-100"))
        result += _affinity_term(one.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm")
    return result


def _affinity(found: Json | None, field: str) -> Errors:
    if found is None:
        return []
    result: Errors = []
    node = found.get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is not None:
        result += node_selector(required, f"{field}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution")
    for place, one in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        here = f"{field}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[{place}]"
        if not 0 < one.get("weight", 0) <= 100:
            result.append(errors.wrong(f"{here}.weight", one.get("weight", 0), "must be in the range 1-100"))
        result += node_selector_term(one.get("preference") or {}, f"{here}.preference")
    result += _pod_affinity(found.get("podAffinity"), f"{field}.podAffinity")
    return result + _pod_affinity(found.get("podAntiAffinity"), f"{field}.podAntiAffinity")


def taint_effect(effect: str, field: str, *, empty: bool) -> Errors:
    """NoSchedule, PreferNoSchedule, NoExecute."""
    if not effect and not empty:
        return [errors.required(field)]
    return common.one_of(effect, ("NoSchedule", "PreferNoSchedule", "NoExecute"), field, required=False)


def tolerations(found: list[Json] | None, field: str) -> Errors:
    """Source: ValidateTolerations."""
    result: Errors = []
    for place, one in enumerate(found or ()):
        here = f"{field}[{place}]"
        key, operator, effect = one.get("key", ""), one.get("operator", ""), one.get("effect", "")
        if key:
            result += common.label_name(key, f"{here}.key")
        if not key and operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            result.append(errors.wrong(f"{here}.operator", operator, text))
        if one.get("tolerationSeconds") is not None and effect != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            result.append(errors.wrong(f"{here}.effect", effect, text))
        value = one.get("value", "")
        if operator in ("Equal", ""):
            complaints = names.label_value(value)
            if complaints:
                result.append(errors.wrong(f"{here}.operator", value, ";".join(complaints)))
        elif operator == "Exists":
            if value:
                text = "value must be empty when `operator` is 'Exists'"
                result.append(errors.wrong(f"{here}.operator", value, text))
        else:
            result.append(errors.unsupported(f"{here}.operator", operator, ("Equal", "Exists")))
        if effect:
            result += taint_effect(effect, f"{here}.effect", empty=True)
    return result


def _spread(found: list[Json] | None, field: str) -> Errors:
    result: Errors = []
    constraints = found or []
    for place, one in enumerate(constraints):
        here, action, key = f"{field}[{place}]", one.get("whenUnsatisfiable", ""), one.get("topologyKey", "")
        result += common.positive(one.get("maxSkew", 0), f"{here}.maxSkew")
        if not key:
            result.append(errors.required(f"{here}.topologyKey", "can not be empty"))
        result += common.one_of(
            action, ("DoNotSchedule", "ScheduleAnyway"), f"{here}.whenUnsatisfiable", required=False
        )
        for other in constraints[place + 1 :]:
            if (other.get("topologyKey", ""), other.get("whenUnsatisfiable", "")) == (key, action):
                result.append(errors.duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
                break
        domains = one.get("minDomains")
        if domains is not None:
            result += common.positive(domains, f"{here}.minDomains")
            if action != "DoNotSchedule":
                text = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                result.append(errors.wrong(f"{here}.minDomains", domains, text))
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if one.get(policy) is not None:
                result += common.one_of(one[policy], ("Honor", "Ignore"), f"{here}.{policy}", required=False)
        result += _spread_keys(one, f"{here}.matchLabelKeys")
        result += common.selector(one.get("labelSelector"), f"{here}.labelSelector")
    return result


def _spread_keys(one: Json, field: str) -> Errors:
    keys, selector = one.get("matchLabelKeys"), one.get("labelSelector")
    if not keys:
        return []
    result: Errors = []
    if selector is None:
        result.append(errors.forbidden_field(field, "must not be specified when labelSelector is not set"))
    selected = {*((selector or {}).get("matchLabels") or ())} | {
        e["key"] for e in (selector or {}).get("matchExpressions") or ()
    }
    for place, key in enumerate(keys):
        result += common.label_name(key, f"{field}[{place}]")
        if key in selected:
            result.append(errors.wrong(f"{field}[{place}]", key, "exists in both matchLabelKeys and labelSelector"))
    return result


# ------------------------------------------------------------------------------------------------------------ the spec
def _pod_security(found: Json | None, spec: Json, field: str) -> Errors:
    if found is None:
        return []
    result = _ids(found, field, ("fsGroup", "runAsUser", "runAsGroup"))
    for place, group in enumerate(found.get("supplementalGroups") or ()):
        if not 0 <= group <= MAX_INT32:
            result.append(errors.wrong(f"{field}.supplementalGroups[{place}]", group, names.in_range(0, MAX_INT32)))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        result.append(errors.wrong(f"{field}.shareProcessNamespace", True, text))
    policy = found.get("fsGroupChangePolicy")
    if policy is not None:
        result += common.one_of(policy, ("Always", "OnRootMismatch"), f"{field}.fsGroupChangePolicy", required=False)
    result += _seccomp(found.get("seccompProfile"), f"{field}.seccompProfile")
    result += _app_armor(found.get("appArmorProfile"), f"{field}.appArmorProfile")
    groups = found.get("supplementalGroupsPolicy")
    if groups is not None:
        result += common.one_of(groups, ("Merge", "Strict"), f"{field}.supplementalGroupsPolicy", required=False)
    return result


def _dns_config(spec: Json, field: str) -> Errors:
    config, policy = spec.get("dnsConfig"), spec.get("dnsPolicy")
    if policy == "None":
        if config is None:
            return [errors.required(field, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [errors.required(f"{field}.nameservers", text)]
    result: Errors = []
    servers, searches = (config or {}).get("nameservers") or [], (config or {}).get("searches") or []
    if len(servers) > 3:
        result.append(errors.wrong(f"{field}.nameservers", servers, "must not have more than 3 nameservers"))
    for place, server in enumerate(servers):
        result += each(f"{field}.nameservers[{place}]", server, names.ip(server))
    if len(searches) > 32:
        result.append(errors.wrong(f"{field}.searches", searches, "must not have more than 32 search paths"))
    if len(" ".join(searches)) > 2048:
        text = "must not have more than 2048 characters (including spaces) in the search list"
        result.append(errors.wrong(f"{field}.searches", searches, text))
    for place, search in enumerate(searches):
        if search != ".":
            bare = search.removesuffix(".")
            result += each(f"{field}.searches[{place}]", bare, names.dns1123_subdomain(bare.replace("_", "a")))
    for place, option in enumerate((config or {}).get("options") or ()):
        if not option.get("name"):
            result.append(errors.required(f"{field}.options[{place}]", "must not be empty"))
    return result


def spec_errors(spec: Json, field: str, *, owner: str = "", is_pod: bool = False) -> Errors:
    """Source: ValidatePodSpec."""
    known, result = volumes(spec.get("volumes"), f"{field}.volumes", owner)
    result += _containers(spec, known, f"{field}.containers")
    result += _init_containers(spec, known, f"{field}.initContainers")
    result += ephemeral_containers(spec, known, f"{field}.ephemeralContainers")
    result += _host_network(spec, field, is_pod)
    result += common.one_of(spec.get("restartPolicy", ""), ("Always", "OnFailure", "Never"), f"{field}.restartPolicy")
    policies = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
    result += common.one_of(spec.get("dnsPolicy", ""), policies, f"{field}.dnsPolicy")
    result += meta.labels(spec.get("nodeSelector"), f"{field}.nodeSelector")
    result += _pod_security(spec.get("securityContext"), spec, f"{field}.securityContext")
    result += _affinity(spec.get("affinity"), f"{field}.affinity")
    result += _dns_config(spec, f"{field}.dnsConfig")
    for place, gate in enumerate(spec.get("readinessGates") or ()):
        sort = gate.get("conditionType", "")
        result += each(f"{field}.readinessGates[{place}].conditionType", sort, names.qualified_name(sort))
    result += _scheduling_gates(spec, f"{field}.schedulingGates")
    result += _spread(spec.get("topologySpreadConstraints"), f"{field}.topologySpreadConstraints")
    return result + _host_users(spec, field) + _names(spec, field)


def _host_network(spec: Json, field: str, is_pod: bool) -> Errors:
    result: Errors = []
    if spec.get("hostNetwork"):
        for place, container in enumerate(spec.get("containers") or ()):
            for number, port in enumerate(container.get("ports") or ()):
                host, inner = port.get("hostPort", 0), port.get("containerPort", 0)
                if (is_pod or host) and host != inner:
                    here = f"{field}.containers[{place}].ports[{number}].hostPort"
                    text = "must match `containerPort` when `hostNetwork` is true"
                    result.append(errors.wrong(here, host, text))
    return result


def _scheduling_gates(spec: Json, field: str) -> Errors:
    result: Errors = []
    seen: set[str] = set()
    for place, gate in enumerate(spec.get("schedulingGates") or ()):
        name = gate.get("name", "")
        result += each(f"{field}[{place}]", name, names.qualified_name(name))
        if name in seen:
            result.append(errors.duplicate(f"{field}[{place}]", name))
        seen.add(name)
    return result


def _host_users(spec: Json, field: str) -> Errors:
    if spec.get("hostUsers") is not False:
        return []
    words = "when `pod.Spec.HostUsers` is false"
    pairs = (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
    return [errors.forbidden_field(f"{field}.{shown}", words) for key, shown in pairs if spec.get(key)]


def _names(spec: Json, field: str) -> Errors:
    result: Errors = []
    for key, check in (("serviceAccountName", names.dns1123_subdomain), ("nodeName", names.dns1123_subdomain)):
        if spec.get(key):
            result += each(f"{field}.{key}", spec[key], check(spec[key]))
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is not None and not 1 <= seconds <= MAX_INT32:
        result.append(errors.wrong(f"{field}.activeDeadlineSeconds", seconds, names.in_range(1, MAX_INT32)))
    for key in ("hostname", "subdomain"):
        if spec.get(key):
            result += each(f"{field}.{key}", spec[key], names.dns1123_label(spec[key]))
    result += tolerations(spec.get("tolerations"), f"{field}.tolerations")
    for place, alias in enumerate(spec.get("hostAliases") or ()):
        result += each(f"{field}.hostAliases[{place}].ip", alias.get("ip", ""), names.ip(alias.get("ip", "")))
        for number, host in enumerate(alias.get("hostnames") or ()):
            result += each(f"{field}.hostAliases[{place}].hostnames[{number}]", host, names.dns1123_subdomain(host))
    for key in ("priorityClassName", "runtimeClassName"):
        if spec.get(key):
            result += each(f"{field}.{key}", spec[key], names.dns1123_subdomain(spec[key]))
    policy = spec.get("preemptionPolicy")
    if policy is not None:
        result += common.one_of(policy, ("PreemptLowerPriority", "Never"), f"{field}.preemptionPolicy")
    for name, value in (spec.get("overhead") or {}).items():
        result += common.container_resource_name(name, f"{field}.overhead.limits[{name}]")
        result += common.quantity_value(name, value, f"{field}.overhead.limits[{name}]")
    system = (spec.get("os") or {}).get("name")
    if spec.get("os") is not None:
        result += common.one_of(system or "", ("linux", "windows"), f"{field}.os.name")
    return result


def template(found: Json | None, field: str) -> Errors:
    """A pod template. Source: ValidatePodTemplateSpec."""
    found = found or {}
    inner = found.get("metadata") or {}
    result = meta.labels(inner.get("labels"), f"{field}.labels")
    result += meta.annotation_map(inner.get("annotations"), f"{field}.annotations")
    result += pod_annotations(inner.get("annotations"), f"{field}.annotations")
    spec = found.get("spec") or {}
    result += spec_errors(spec, f"{field}.spec")
    if spec.get("ephemeralContainers"):
        text = "ephemeral containers not allowed in pod template"
        result.append(errors.forbidden_field(f"{field}.spec.ephemeralContainers", text))
    return result


def pod_annotations(found: Json | None, field: str) -> Errors:
    """Annotations that mean something for a pod."""
    cost = (found or {}).get("controller.kubernetes.io/pod-deletion-cost")
    if cost is None:
        return []
    digits = cost.lstrip("+-")
    plain = digits.isdigit() and not (len(digits) > 1 and digits[0] == "0") and not cost.startswith("+")
    if plain and abs(int(cost)) < 1 << 31:
        return []
    return [errors.wrong(field, cost, "must be a 32bit integer")]


# --------------------------------------------------------------------------------------------------------------- pods
def _metadata_and_spec(pod: Json) -> Errors:
    """Source: validatePodMetadataAndSpec; metadata itself is judged by the caller."""
    spec = pod["spec"]
    result = pod_annotations(pod["metadata"].get("annotations"), "metadata.annotations")
    result += spec_errors(spec, "spec", owner=pod["metadata"].get("name", ""), is_pod=True)
    if not spec.get("serviceAccountName"):
        for place, volume in enumerate(spec.get("volumes") or ()):
            for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
                if source.get("serviceAccountToken") is not None:
                    here = f"spec.volumes[{place}].projected.sources[{number}].serviceAccountToken"
                    text = "must not be specified when serviceAccountName is not set"
                    result.append(errors.forbidden_field(here, text))
    for key in ("containers", "initContainers"):
        for place, container in enumerate(spec.get(key) or ()):
            image = container.get("image", "")
            if image.strip() != image:
                text = "must not have leading or trailing whitespace"
                result.append(errors.wrong(f"spec.{key}[{place}].image", image, text))
    return result


def pod(new: Json, old: Json | None) -> Errors:
    """Creation and update of a pod."""
    if old is None:
        result = _metadata_and_spec(new)
        if new["spec"].get("ephemeralContainers"):
            result.append(errors.forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
        if new["spec"].get("nodeName") and new["spec"].get("schedulingGates"):
            text = "cannot be set until all schedulingGates have been cleared"
            result.append(errors.forbidden_field("spec.nodeName", text))
        return result
    return _updated(new, old)


UPDATABLE: Final = ",".join((
    "`spec.containers[*].image`", "`spec.initContainers[*].image`", "`spec.activeDeadlineSeconds`",
    "`spec.tolerations` (only additions to existing tolerations)",
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
))  # fmt: skip


def _updated(new: Json, old: Json) -> Errors:
    """Source: ValidatePodUpdate."""
    fresh, stale = new["spec"], old["spec"]
    result = meta.validate(new["metadata"], True, meta.subdomain) + _metadata_and_spec(new)
    for key in ("containers", "initContainers"):
        mine, theirs = fresh.get(key) or [], stale.get(key) or []
        if len(mine) != len(theirs):
            return [*result, errors.forbidden_field(f"spec.{key}", "pod updates may not add or remove containers")]
        for place, container in enumerate(mine):
            if not container.get("image"):
                result.append(errors.required(f"spec.{key}[{place}].image"))
            elif container["image"].strip() != container["image"]:
                text = "must not have leading or trailing whitespace"
                result.append(errors.wrong(f"spec.{key}[{place}].image", container["image"], text))
    deadline, before = fresh.get("activeDeadlineSeconds"), stale.get("activeDeadlineSeconds")
    here = "spec.activeDeadlineSeconds"
    if deadline is not None:
        if not 0 <= deadline <= MAX_INT32:
            return [*result, errors.wrong(here, deadline, names.in_range(0, MAX_INT32))]
        if before is not None and before < deadline:
            return [*result, errors.wrong(here, deadline, "must be less than or equal to previous value")]
    elif before is not None:
        result.append(errors.wrong(here, None, "must not update from a positive integer to nil value"))
    result += _only_added_tolerations(fresh.get("tolerations") or [], stale.get("tolerations") or [])
    result += _only_deleted_gates(fresh, stale)
    if fresh == stale:
        return result
    munged = _munged(fresh, stale)
    if munged != stale:
        text = f"pod updates may not change fields other than {UPDATABLE}\n  core.PodSpec{{\n  ... // changed fields\n  }}\n"
        result.append(errors.forbidden_field("spec", text))
    return result


def _munged(fresh: Json, stale: Json) -> Json:
    """The new spec with what may change put back."""
    munged = clone(fresh)
    for key in ("containers", "initContainers"):
        for mine, theirs in zip(munged.get(key) or (), stale.get(key) or (), strict=True):
            if "image" in theirs:
                mine["image"] = theirs["image"]
    for key in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        if key in stale:
            munged[key] = stale[key]
        else:
            munged.pop(key, None)
    if stale.get("terminationGracePeriodSeconds", 0) < 0 and munged.get("terminationGracePeriodSeconds") == 1:
        munged["terminationGracePeriodSeconds"] = stale["terminationGracePeriodSeconds"]
    return munged


def _only_added_tolerations(fresh: list[Json], stale: list[Json]) -> Errors:
    def plain(one: Json) -> Json:
        return {key: value for key, value in one.items() if key != "tolerationSeconds"}

    for old in stale:
        if not any(plain(old) == plain(one) for one in fresh):
            text = "existing toleration can not be modified except its tolerationSeconds"
            return [errors.forbidden_field("spec.tolerations", text)]
    return tolerations(fresh, "spec.tolerations")


def _only_deleted_gates(fresh: Json, stale: Json) -> Errors:
    known = {gate.get("name") for gate in stale.get("schedulingGates") or ()}
    return [
        errors.forbidden_field(
            f"spec.schedulingGates[{place}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'",
        )
        for place, gate in enumerate(fresh.get("schedulingGates") or ())
        if gate.get("name") not in known
    ]


def pod_status(new: Json, old: Json | None) -> Errors:
    """Source: ValidatePodStatusUpdate."""
    status, before = new.get("status") or {}, (old or {}).get("status") or {}
    result: Errors = []
    restart = new["spec"].get("restartPolicy")
    result += _transitions(
        status.get("containerStatuses"), before.get("containerStatuses"), "status.containerStatuses", restart
    )
    for place, one in enumerate(status.get("podIPs") or ()):
        result += each(f"status.podIPs[{place}]", one.get("ip", ""), names.ip(one.get("ip", "")))
    addresses = [one.get("ip", "") for one in status.get("podIPs") or ()]
    if len(addresses) > 2 or (len(addresses) == 2 and (":" in addresses[0]) == (":" in addresses[1])):
        text = "may specify no more than one IP for each IP family"
        result.append(errors.wrong("status.podIPs", STRUCT, text))
    return result


def _transitions(fresh: list[Json] | None, stale: list[Json] | None, field: str, restart: str | None) -> Errors:
    if restart == "Always":
        return []
    result: Errors = []
    known = {one.get("name"): one for one in fresh or ()}
    for place, old in enumerate(stale or ()):
        ended = (old.get("state") or {}).get("terminated")
        if ended is None or (ended.get("exitCode", 0) != 0 and restart == "OnFailure"):
            continue
        now = known.get(old.get("name"))
        if now is not None and (now.get("state") or {}).get("terminated") is None:
            text = "may not be transitioned to non-terminated state"
            result.append(errors.forbidden_field(f"{field}[{place}].state", text))
    return result


# -------------------------------------------------------------------------------------------------------------- quality
def quality(spec: Json) -> str:
    """The QoS class. Source: k8s.io/kubernetes/pkg/apis/core/helper/qos ComputePodQOS."""
    every = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    asked: set[str] = set()
    guaranteed = True
    for container in every:
        found = container.get("resources") or {}
        requests, limits = found.get("requests") or {}, found.get("limits") or {}
        for name in ("cpu", "memory"):
            wanted, most = requests.get(name), limits.get(name)
            if any(value is not None and quantity.value_of(value) > 0 for value in (wanted, most)):
                asked.add(name)
            if most is None or quantity.value_of(most) <= 0 or wanted is None or quantity.compare(wanted, most) != 0:
                guaranteed = False
    if not asked:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def warnings(spec: Json, field: str) -> list[str]:
    """What is allowed but hardly meant. Source: k8s.io/kubernetes/pkg/api/pod warnings.go."""
    return [
        f"{field}.topologySpreadConstraints[{place}].labelSelector: a null labelSelector results in matching no pod"
        for place, one in enumerate(spec.get("topologySpreadConstraints") or ())
        if one.get("labelSelector") is None
    ]
