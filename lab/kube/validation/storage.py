"""Volumes, claims and classes. Source: pkg/apis/core/validation and pkg/apis/storage/validation (v1.33)."""

from __future__ import annotations

from typing import Any, Final

from lab.kube import errors, names, quantity
from lab.kube.errors import Raw
from lab.kube.validation import common, pods
from lab.kube.validation.common import STRUCT, Errors, each

Json = dict[str, Any]
MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES: Final = ("Block", "Filesystem")
SOURCES: Final = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs", "iscsi",
    "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk", "scaleIO",
    "local", "storageos", "csi",
)  # fmt: skip
REQUIRED_PARTS: Final = {
    "gcePersistentDisk": ("pdName",), "awsElasticBlockStore": ("volumeID",), "glusterfs": ("endpoints", "path"),
    "cephfs": ("monitors",), "rbd": ("monitors", "image"), "cinder": ("volumeID",), "flexVolume": ("driver",),
    "azureFile": ("secretName", "shareName"), "vsphereVolume": ("volumePath",), "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",), "azureDisk": ("diskName", "diskURI"), "storageos": ("volumeName",),
}  # fmt: skip
CHANGED: Final = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def _access(found: list[str], field: str) -> Errors:
    result = [errors.unsupported(field, mode, MODES) for mode in found if mode not in MODES]
    if "ReadWriteOncePod" in found and any(mode in MODES and mode != "ReadWriteOncePod" for mode in found):
        result.append(errors.forbidden_field(field, "may not use ReadWriteOncePod with other access modes"))
    return result


def _positive(value: str, field: str) -> Errors:
    return [] if quantity.value_of(value) > 0 else [errors.wrong(field, value, "must be greater than zero")]


def claim_spec(spec: Json, field: str) -> Errors:
    """Source: ValidatePersistentVolumeClaimSpec."""
    result: Errors = []
    modes = spec.get("accessModes") or []
    if not modes:
        result.append(errors.required(f"{field}.accessModes", "at least 1 access mode is required"))
    result += common.selector(spec.get("selector"), f"{field}.selector") + _access(modes, f"{field}.accessModes")
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    here = f"{field}.resources[storage]"
    if size is None:
        result.append(errors.required(here))
    else:
        result += _positive(size, here) or common.quantity_value("storage", size, here)
    result += _class_name(spec, field)
    if spec.get("volumeMode") is not None and spec["volumeMode"] not in VOLUME_MODES:
        result.append(errors.unsupported(f"{field}.volumeMode", spec["volumeMode"], VOLUME_MODES))
    for key in ("dataSource", "dataSourceRef"):
        if spec.get(key) is not None:
            result += _data_source(spec[key], f"{field}.{key}")
    one, other = spec.get("dataSource"), spec.get("dataSourceRef")
    if other is not None and not other.get("namespace") and one is not None and one != other:
        result.append(errors.wrong(field, STRUCT, "must match dataSourceRef"))
    return result


def _class_name(spec: Json, field: str) -> Errors:
    name = spec.get("storageClassName")
    return each(f"{field}.storageClassName", name, names.dns1123_subdomain(name)) if name else []


def _data_source(found: Json, field: str) -> Errors:
    result = [errors.required(f"{field}.{key}") for key in ("name", "kind") if not found.get(key)]
    group = found.get("apiGroup") or ""
    if not group and found.get("kind") != "PersistentVolumeClaim":
        text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        result.append(errors.wrong(field, found.get("kind", ""), text))
    if group:
        result += each(f"{field}.apiGroup", group, names.dns1123_subdomain(group))
    return result


def claim(new: Json, old: Json | None) -> Errors:
    """Creation and update of a claim."""
    spec = new["spec"]
    result = claim_spec(spec, "spec")
    if old is None:
        return result
    before = old["spec"]
    bound = (new.get("status") or {}).get("phase") == "Bound"
    if _fixed(spec, bound, before) != _fixed(before, bound, before):
        result.append(errors.forbidden_field("spec", CHANGED))
    now = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
    then = ((before.get("resources") or {}).get("requests") or {}).get("storage", "0")
    if quantity.compare(now, then) < 0:
        have = ((old.get("status") or {}).get("capacity") or {}).get("storage", "0")
        if quantity.compare(now, have) <= 0:
            text = "field can not be less than status.capacity"
            result.append(errors.forbidden_field("spec.resources.requests.storage", text))
    return result + common.immutable(spec.get("volumeMode"), before.get("volumeMode"), "volumeMode")


def _fixed(spec: Json, bound: bool, before: Json) -> Json:
    kept = {key: value for key, value in spec.items() if key != "volumeName" or before.get("volumeName")}
    if bound:
        resources = dict(kept.get("resources") or {})
        requests = {key: value for key, value in (resources.get("requests") or {}).items() if key != "storage"}
        kept["resources"] = resources | {"requests": requests}
        kept.pop("volumeAttributesClassName", None)
    return kept


def volume(new: Json, old: Json | None) -> Errors:
    """Source: ValidatePersistentVolumeSpec."""
    spec, here = new.get("spec") or {}, "spec"
    result: Errors = []
    modes = spec.get("accessModes") or []
    if not modes:
        result.append(errors.required("spec.accessModes"))
    result += _access(modes, "spec.accessModes")
    capacity = spec.get("capacity") or {}
    if not capacity:
        result.append(errors.required("spec.capacity"))
    if "storage" not in capacity or len(capacity) > 1:
        result.append(errors.unsupported("spec.capacity", STRUCT, ("storage",)))
    for name, value in capacity.items():
        if quantity.value_of(value) < 0:
            result.append(errors.wrong(f"spec.capacity[{name}]", value, "must be a valid resource quantity"))
        result += _positive(value, f"spec.capacity[{name}]")
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and policy not in ("Delete", "Recycle", "Retain"):
        result.append(errors.unsupported("spec.persistentVolumeReclaimPolicy", policy, ("Delete", "Recycle", "Retain")))
    affinity = (spec.get("nodeAffinity") or {}).get("required")
    if spec.get("nodeAffinity") is not None:
        if affinity is None:
            result.append(errors.required("spec.nodeAffinity.required", "must specify required node constraints"))
        else:
            result += pods.node_selector(affinity, "spec.nodeAffinity.required")
    result += _sources(spec, here, affinity is not None)
    path = (spec.get("hostPath") or {}).get("path", "")
    if path and not path.strip("/") and policy == "Recycle":
        text = "may not be 'recycle' for a hostPath mount of '/'"
        result.append(errors.forbidden_field("spec.persistentVolumeReclaimPolicy", text))
    result += _class_name(spec, here)
    if spec.get("volumeMode") is not None and spec["volumeMode"] not in VOLUME_MODES:
        result.append(errors.unsupported("spec.volumeMode", spec["volumeMode"], VOLUME_MODES))
    return result + (_volume_update(spec, old.get("spec") or {}) if old is not None else [])


def _sources(spec: Json, field: str, placed: bool) -> Errors:
    count, result = 0, []
    for key in SOURCES:
        source = spec.get(key)
        if source is None:
            continue
        here = f"{field}.{key}"
        if count and key != "flexVolume":
            shown = f"{field}.cephFS" if key == "cephfs" else here
            result.append(errors.forbidden_field(shown, pods.ONE_VOLUME))
            continue
        count += 1
        result += _source(key, source, here)
        if key == "local" and not placed:
            result.append(errors.required(f"{field}.nodeAffinity", "Local volume requires node affinity"))
    return result if count else [*result, errors.required(field, "must specify a volume type")]


def _source(key: str, source: Json, field: str) -> Errors:
    if key == "hostPath":
        return pods.host_path(source, field)
    if key == "nfs":
        return pods.nfs(source, field)
    if key == "iscsi":
        return pods.iscsi(source, field)
    if key == "local":
        path = source.get("path", "")
        return pods.no_backsteps(path, f"{field}.path") if path else [errors.required(f"{field}.path")]
    if key == "csi":
        return _csi(source, field)
    shown = field.replace("gcePersistentDisk", "persistentDisk")
    return [errors.required(f"{shown}.{part}") for part in REQUIRED_PARTS.get(key, ()) if not source.get(part)]


def _csi(source: Json, field: str) -> Errors:
    result = pods.driver_name(source.get("driver", ""), f"{field}.driver")
    if not source.get("volumeHandle"):
        result.append(errors.required(f"{field}.volumeHandle"))
    for key in (
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ):
        reference: Json = source.get(key) or {}
        for part in ("name", "namespace") if source.get(key) is not None else ():
            if not reference.get(part):
                result.append(errors.required(f"{field}.{key}.{part}"))
    return result


def _volume_update(fresh: Json, stale: Json) -> Errors:
    result: Errors = []
    mine = {key: fresh[key] for key in SOURCES if fresh.get(key) is not None}
    theirs = {key: stale[key] for key in SOURCES if stale.get(key) is not None}
    if "csi" in mine and "csi" in theirs and theirs["csi"].get("controllerExpandSecretRef") is None:
        mine["csi"] = {key: value for key, value in mine["csi"].items() if key != "controllerExpandSecretRef"}
    if mine != theirs:
        text = "spec.persistentvolumesource is immutable after creation\n"
        result.append(errors.forbidden_field("spec.persistentvolumesource", text))
    result += common.immutable(fresh.get("volumeMode"), stale.get("volumeMode"), "volumeMode")
    if stale.get("nodeAffinity") is not None:
        result += common.immutable(fresh.get("nodeAffinity"), stale["nodeAffinity"], "nodeAffinity")
    return result


def storage_class(new: Json, old: Json | None) -> Errors:
    """Source: pkg/apis/storage/validation ValidateStorageClass and ValidateStorageClassUpdate."""
    if old is not None:
        result = [
            errors.forbidden_field(key, f"updates to {key} are forbidden.")
            for key in ("parameters", "provisioner", "reclaimPolicy")
            if (new.get(key) or None) != (old.get(key) or None)
        ]
        return result + common.immutable(
            new.get("volumeBindingMode"), old.get("volumeBindingMode"), "volumeBindingMode"
        )
    provisioner = new.get("provisioner", "")
    if provisioner:
        result = each("provisioner", provisioner.lower(), names.qualified_name(provisioner.lower()))
    else:
        result = [errors.required("provisioner")]
    parameters = new.get("parameters") or {}
    if len(parameters) > 512:
        result.append(errors.too_long("parameters", 512))
    for key in parameters:
        if not key:
            result.append(errors.wrong("parameters", key, "field can not be empty."))
    policy = new.get("reclaimPolicy")
    if policy and policy not in ("Delete", "Retain"):
        result.append(errors.unsupported("reclaimPolicy", policy, ("Delete", "Retain")))
    mode = new.get("volumeBindingMode")
    if mode is None:
        result.append(errors.required("volumeBindingMode"))
    elif mode not in ("Immediate", "WaitForFirstConsumer"):
        result.append(errors.unsupported("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer")))
    return result + _topologies(new.get("allowedTopologies"))


def _topologies(found: list[Json] | None) -> Errors:
    result: Errors = []
    for place, term in enumerate(found or ()):
        seen: set[str] = set()
        for number, one in enumerate(term.get("matchLabelExpressions") or ()):
            here, values = f"allowedTopologies[{place}].matchLabelExpressions[{number}]", one.get("values") or []
            if not values:
                result.append(errors.required(f"{here}.values"))
            for index, value in enumerate(values):
                if value in values[:index]:
                    result.append(errors.duplicate(f"{here}.values[{index}]", value))
            result += common.label_name(one.get("key", ""), f"{here}.key")
            if one.get("key") in seen:
                result.append(errors.duplicate(f"{here}.key", one["key"]))
            seen.add(one.get("key", ""))
    return result


def attachment(new: Json, old: Json | None) -> Errors:
    """A VolumeAttachment."""
    spec = new.get("spec") or {}
    result: Errors = []
    if not spec.get("attacher"):
        result.append(errors.required("spec.attacher"))
    source = spec.get("source") or {}
    if source.get("inlineVolumeSpec") is None and source.get("persistentVolumeName") is None:
        text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        result.append(errors.required("spec.source", text))
    result += each("spec.nodeName", spec.get("nodeName", ""), names.dns1123_subdomain(spec.get("nodeName", "")))
    if old is not None and old.get("spec") != new.get("spec"):
        result.append(errors.wrong("spec", Raw("{...}"), common.IMMUTABLE))
    return result


def claim_status(new: Json, old: Json | None) -> Errors:
    """Source: ValidatePersistentVolumeClaimStatusUpdate."""
    result: Errors = []
    for name, value in ((new.get("status") or {}).get("capacity") or {}).items():
        if quantity.value_of(value) < 0:
            result.append(errors.wrong(f"status.capacity[{name}]", value, "must be a valid resource quantity"))
    return result
