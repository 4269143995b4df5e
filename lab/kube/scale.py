"""The scale subresource of workloads and custom resources.

Source: k8s.io/kubernetes/pkg/registry/apps/deployment/storage/storage.go ScaleREST, k8s.io/apimachinery/pkg/util/managedfields
scalehandler.go and k8s.io/apiextensions-apiserver/pkg/registry/customresource/etcd.go (v1.33).
"""

from __future__ import annotations

from typing import Any

from lab.kube import errors
from lab.kube.errors import FieldError
from lab.kube.models import CustomModel, Model
from lab.kube.schema import gotypes, managed

Json = dict[str, Any]
VERSION = "autoscaling/v1"


def selector_text(selector: Json | None) -> str:
    """A LabelSelector as one line, sorted by key."""
    parts = [(key, f"{key}={value}") for key, value in ((selector or {}).get("matchLabels") or {}).items()]
    for expression in (selector or {}).get("matchExpressions") or ():
        key, operator, values = expression["key"], expression["operator"], sorted(expression.get("values") or ())
        text = {
            "In": f"{key} in ({','.join(values)})",
            "NotIn": f"{key} notin ({','.join(values)})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }[operator]
        parts.append((key, text))
    return ",".join(text for _, text in sorted(parts))


def at_path(obj: Any, path: str) -> Any:
    """The value at a simple JSON path such as ".spec.replicas"; None where there is none."""
    for part in path.strip(".").split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(part)
    return obj


def set_at_path(obj: Json, path: str, value: Any) -> None:
    """Set the value at a simple JSON path."""
    *parents, last = path.strip(".").split(".")
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value


def paths_of(model: Model) -> tuple[str, str, str]:
    """Where replicas are wished, where they are counted, where the selector stands as text (custom resources)."""
    if isinstance(model, CustomModel):
        declared = model.subresources["scale"]
        return declared["specReplicasPath"], declared["statusReplicasPath"], declared.get("labelSelectorPath", "")
    return ".spec.replicas", ".status.replicas", ""


def of(model: Model, obj: Json) -> Json:
    """The Scale of an object. Raises ApiError where a custom resource names no replicas."""
    wished, counted, selector_path = paths_of(model)
    meta = obj["metadata"]
    shown = {
        key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if key in meta
    }
    replicas = at_path(obj, wished)
    if replicas is None and isinstance(model, CustomModel):
        raise errors.internal_error(f"the spec replicas field {errors.quote(wished)} does not exist")
    if isinstance(model, CustomModel):
        selector = at_path(obj, selector_path) if selector_path else ""
    else:
        raw = (obj.get("spec") or {}).get("selector")
        selector = (
            ",".join(f"{key}={value}" for key, value in sorted((raw or {}).items()))
            if model.resource.kind == "ReplicationController"
            else selector_text(raw)
        )
    made: Json = {
        "kind": "Scale",
        "apiVersion": VERSION,
        "metadata": shown,
        "spec": {},
        "status": {"replicas": at_path(obj, counted) or 0},
    }
    if replicas:
        made["spec"]["replicas"] = replicas
    if selector:
        made["status"]["selector"] = selector
    return made


def conform(body: Json) -> tuple[Json, list[str]]:
    """A Scale as decoded, and its unknown fields. Raises ValueError."""
    struct = gotypes.types().of_kind("autoscaling", "v1", "Scale")
    if struct is None:
        raise AssertionError("the type of Scale is missing")
    notes = gotypes.Notes()
    made: Json = struct.conform(body, notes)
    if notes.error:
        raise ValueError(notes.error)
    return made | {"kind": "Scale", "apiVersion": VERSION}, [f'unknown field "{name}"' for name in notes.unknown]


def validate(scale: Json) -> list[FieldError]:
    """Source: pkg/apis/autoscaling/validation ValidateScale."""
    found: list[FieldError] = []
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        found.append(errors.wrong("spec.replicas", replicas, "must be greater than or equal to 0"))
    return found


# ----------------------------------------------------------------------------------------------------- managed fields
def _element_path(path: str) -> list[str]:
    return [f"f:{part}" for part in path.strip(".").split(".")]


def _node_at(fields: Json, path: list[str]) -> bool:
    for part in path:
        if part not in fields:
            return False
        fields = fields[part]
    return True


def to_scale(entries: Any, path: str) -> list[Json]:
    """The parent's managers of the replicas, as managers of a Scale."""
    made = []
    for entry in entries or ():
        if _node_at(entry.get("fieldsV1") or {}, _element_path(path)):
            made.append(entry | {"apiVersion": VERSION, "fieldsV1": {"f:spec": {"f:replicas": {}}}})
    return made


def to_parent(scale_entries: Any, parent_entries: Any, path: str, api_version: str) -> list[Json]:
    """The parent's managedFields after a write of its Scale. Source: ScaleHandler.ToParent."""
    parents = managed.decode(parent_entries)
    scales = managed.decode(scale_entries)
    elements = _element_path(path)
    kept: managed.Managed = {}
    for who, owned in parents.items():
        if not _node_at(owned.fields, elements) or scales.pop(who, None) is not None:
            kept[who] = owned
        else:
            left = _without(owned.fields, elements)
            if left:
                kept[who] = owned.with_fields(left)
    nested: Json = {}
    for element in reversed(elements):
        nested = {element: nested}
    for who, owned in scales.items():  # under the identity it has in the Scale: an updater may stand here twice
        if _node_at(owned.fields, ["f:spec", "f:replicas"]):
            kept[who] = managed.Owned(nested, api_version, owned.time)
    return managed.encode(kept)


def _without(fields: Json, path: list[str]) -> Json:
    if path[0] not in fields:
        return fields
    if len(path) == 1:
        return {key: value for key, value in fields.items() if key != path[0]}
    inner = _without(fields[path[0]], path[1:])
    made = {key: value for key, value in fields.items() if key != path[0]}
    return made | ({path[0]: inner} if inner and set(inner) != {"."} else {})
