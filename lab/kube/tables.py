"""Server-side tables: columns and cells of every built-in kind, and of custom ones by their printer columns.

Source: k8s.io/kubernetes/pkg/printers/internalversion/printers.go and k8s.io/apiextensions-apiserver tableconvertor, 1.33.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lab.kube import jsonpath
from lab.kube.registry import Registry, Resource

Object = Mapping[str, Any]
Cells = Callable[[Object, datetime], list[Any]]
NONE, UNKNOWN, UNSET = "<none>", "<unknown>", "<unset>"
NAME_COLUMN = {"name": "Name", "type": "string", "format": "name", "priority": 0}
AGE_COLUMN = {"name": "Age", "type": "date", "format": "", "priority": 0}
SHOWN_ENDPOINTS = 3


def columns(resource: Resource) -> list[dict[str, Any]]:
    """The column definitions of a resource."""
    if resource.crd is None:
        found: list[Mapping[str, Any]] = list(resource.table_columns) or [
            NAME_COLUMN,
            {**AGE_COLUMN, "name": "Created At"},
        ]
    else:
        own = _printer_columns(resource)
        found = [NAME_COLUMN, *own] if own else [NAME_COLUMN, AGE_COLUMN]
    keys = ("name", "type", "format", "description", "priority")
    defaults: dict[str, Any] = {"format": "", "description": "", "priority": 0}
    return [{key: column.get(key, defaults.get(key)) for key in keys} for column in found]


def render(
    _registry: Registry,
    resource: Resource,
    objs: Iterable[Object],
    query: Mapping[str, list[str]],
    list_meta: Mapping[str, Any],
    *,
    now: datetime,
    with_columns: bool = True,
) -> dict[str, Any]:
    """A Table of objects. `list_meta` is the metadata of the list (or of the single object); rows are cut by `includeObject`."""
    include = query.get("includeObject", ["Metadata"])[0] or "Metadata"
    cells = cells_of(resource)
    meta = {key: list_meta[key] for key in ("resourceVersion", "continue", "remainingItemCount") if list_meta.get(key)}
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": columns(resource) if with_columns else None,
        "rows": [_row(obj, cells(obj, now), include, resource) for obj in objs],
    }


def cells_of(resource: Resource) -> Cells:
    """The function that makes a row's cells."""
    if resource.crd is not None:
        own = _printer_columns(resource) or [{**AGE_COLUMN, "jsonPath": ".metadata.creationTimestamp"}]
        return lambda obj, now: [_meta(obj)["name"], *(_custom_cell(column, obj, now) for column in own)]
    return _CELLS.get(f"{resource.group}/{resource.plural}", _plain)


def _row(obj: Object, cells: list[Any], include: str, resource: Resource) -> dict[str, Any]:
    row: dict[str, Any] = {"cells": cells}
    if resource.plural == "pods" and resource.group == "":
        phase = _status(obj).get("phase")
        if phase in ("Succeeded", "Failed"):
            text = "The pod has completed successfully." if phase == "Succeeded" else "The pod failed."
            row["conditions"] = [{"type": "Completed", "status": "True", "reason": phase, "message": text}]
    if include == "Object":
        row["object"] = {"kind": resource.kind, "apiVersion": resource.api_version, **obj}
    elif include == "None":
        row["object"] = None
    else:
        row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
    return row


# --------------------------------------------------------------------------------------------------- custom columns


def _printer_columns(resource: Resource) -> list[Mapping[str, Any]]:
    versions = (resource.crd or {"spec": {"versions": []}})["spec"]["versions"]
    return next((v.get("additionalPrinterColumns") or [] for v in versions if v["name"] == resource.version), [])


def _custom_cell(column: Mapping[str, Any], obj: Object, now: datetime) -> Any:
    found = jsonpath.find(column["jsonPath"], obj)
    if not found:
        return None
    value = found[0]
    kind = column["type"]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match kind:
        case "integer":
            return int(value) if number else None
        case "number":
            return value if number else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return since(value, now) if isinstance(value, str) else None
    return printed(value)


def printed(value: Any) -> Any:
    """A value as JSONPath prints it in a string column."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, separators=(",", ":")) if isinstance(value, (dict, list)) else str(value)


# ---------------------------------------------------------------------------------------------------------- times


def since(text: str | None, now: datetime) -> str:
    """How long ago, as kubectl shows an age."""
    if not text:
        return UNKNOWN
    try:
        return human((now - datetime.fromisoformat(text).astimezone(UTC)).total_seconds())
    except ValueError:
        return "<invalid>"


def human(total: float) -> str:
    """Source: k8s.io/apimachinery/pkg/util/duration HumanDuration."""
    seconds = int(total)
    if seconds < -1:
        return "<invalid>"
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes, hours = seconds // 60, seconds // 3600
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(hours // 24, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{hours // 24}d"
    if hours < 24 * 365 * 8:
        return _two(hours // 24 // 365, "y", hours // 24 % 365, "d")
    return f"{hours // 24 // 365}y"


def _two(first: int, unit: str, second: int, smaller: str) -> str:
    return f"{first}{unit}{second}{smaller}" if second else f"{first}{unit}"


# ------------------------------------------------------------------------------------------------------ small parts


def _meta(obj: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = obj.get("metadata") or {}
    return found


def _spec(obj: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = obj.get("spec") or {}
    return found


def _status(obj: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = obj.get("status") or {}
    return found


def _age(obj: Object, now: datetime) -> str:
    return since(_meta(obj).get("creationTimestamp"), now)


def _plain(obj: Object, _now: datetime) -> list[Any]:
    return [_meta(obj)["name"], _meta(obj).get("creationTimestamp")]


def _labels(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def _selector(selector: Mapping[str, Any] | None, empty: str = NONE) -> str:
    if selector is None:
        return empty
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for r in selector.get("matchExpressions") or ():
        values = ",".join(sorted(r.get("values") or ()))
        forms = {"In": f"{r['key']} in ({values})", "NotIn": f"{r['key']} notin ({values})", "Exists": r["key"]}
        parts.append(forms.get(r["operator"], f"!{r['key']}"))
    return ",".join(parts) or empty


def _images(template: Mapping[str, Any]) -> list[str]:
    found = (template.get("spec") or {}).get("containers") or ()
    return [",".join(c["name"] for c in found), ",".join(c.get("image", "") for c in found)]


def _modes(modes: Sequence[str] | None) -> str:
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    return ",".join(short[mode] for mode in short if mode in (modes or ()))


def _bool(value: bool | None, unset: str = UNSET) -> str:
    return unset if value is None else str(bool(value))


def _condition(obj: Object, kind: str) -> str:
    return next((c.get("status", "") for c in _status(obj).get("conditions") or () if c["type"] == kind), "")


def _some(items: Sequence[str], limit: int = SHOWN_ENDPOINTS) -> str:
    more = f" + {len(items) - limit} more..." if len(items) > limit else ""
    return ",".join(items[:limit]) + more if items else NONE


# ----------------------------------------------------------------------------------------------------------- core


def _pod(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    reason, ready, restarts = pod_reason(obj)
    last = [
        t["finishedAt"]
        for s in status.get("containerStatuses") or ()
        if (t := (s.get("lastState") or {}).get("terminated")) and t.get("finishedAt")
    ]
    times = f"{restarts} ({since(max(last), now)} ago)" if restarts and last else str(restarts)
    sidecars = sum(c.get("restartPolicy") == "Always" for c in spec.get("initContainers") or ())
    gates = spec.get("readinessGates") or ()
    met = sum(_condition(obj, gate["conditionType"]) == "True" for gate in gates)
    return [
        _meta(obj)["name"],
        f"{ready}/{len(spec.get('containers') or ()) + sidecars}",
        reason,
        times,
        _age(obj, now),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{met}/{len(gates)}" if gates else NONE,
    ]


def pod_reason(obj: Object) -> tuple[str, int, int]:
    """(the STATUS cell, ready containers, restarts)."""
    spec, status = _spec(obj), _status(obj)
    reason = status.get("reason") or status.get("phase") or ""
    if any(
        c["type"] == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in status.get("conditions") or ()
    ):
        reason = "SchedulingGated"
    inits = {c["name"]: c for c in spec.get("initContainers") or ()}
    ready = restarts = sidecar_restarts = 0
    initializing = False
    for place, found in enumerate(status.get("initContainerStatuses") or ()):
        restarts += found.get("restartCount", 0)
        sidecar = inits.get(found["name"], {}).get("restartPolicy") == "Always"
        sidecar_restarts += found.get("restartCount", 0) if sidecar else 0
        state = found.get("state") or {}
        ended, waits = state.get("terminated"), state.get("waiting")
        if ended and not ended.get("exitCode"):
            continue
        if sidecar and found.get("started"):
            ready += bool(found.get("ready"))
            continue
        if ended:
            reason = "Init:" + (ended.get("reason") or f"ExitCode:{ended.get('exitCode')}")
        elif waits and waits.get("reason") not in (None, "", "PodInitializing"):
            reason = f"Init:{waits['reason']}"
        else:
            reason = f"Init:{place}/{len(inits)}"
        initializing = True
        break
    if not initializing or _condition(obj, "Initialized") == "True":
        reason, ready_now, restarts_now, runs = _main_containers(status, reason)
        ready, restarts = ready + ready_now, sidecar_restarts + restarts_now
        if reason == "Completed" and runs:
            reason = "Running" if _condition(obj, "Ready") == "True" else "NotReady"
    if _meta(obj).get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return reason, ready, restarts


def _main_containers(status: Mapping[str, Any], reason: str) -> tuple[str, int, int, bool]:
    ready = restarts = 0
    runs = False
    for found in reversed(status.get("containerStatuses") or ()):
        restarts += found.get("restartCount", 0)
        state = found.get("state") or {}
        ended, waits = state.get("terminated"), state.get("waiting")
        if waits and waits.get("reason"):
            reason = waits["reason"]
        elif ended:
            reason = ended.get("reason") or f"ExitCode:{ended.get('exitCode')}"
        elif found.get("ready") and "running" in state:
            runs = True
            ready += 1
    return reason, ready, restarts, runs


def _node(obj: Object, now: datetime) -> list[Any]:
    info = _status(obj).get("nodeInfo") or {}
    conditions = {c["type"]: c["status"] for c in _status(obj).get("conditions") or ()}
    words = ["Unknown"]
    if "Ready" in conditions:
        words = ["Ready" if conditions["Ready"] == "True" else "NotReady"]
    if _spec(obj).get("unschedulable"):
        words.append("SchedulingDisabled")
    prefix = "node-role.kubernetes.io/"
    labels = _meta(obj).get("labels") or {}
    roles = {key.removeprefix(prefix) for key in labels if key.startswith(prefix) and key != prefix}
    roles |= {value for key, value in labels.items() if key == "kubernetes.io/role" and value}
    addresses = {a["type"]: a["address"] for a in reversed(_status(obj).get("addresses") or ())}
    return [
        _meta(obj)["name"],
        ",".join(words),
        ",".join(sorted(roles)) or NONE,
        _age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _service(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    kind = spec.get("type", "ClusterIP")
    external = list(spec.get("externalIPs") or ())
    if kind == "LoadBalancer":
        entries = (_status(obj).get("loadBalancer") or {}).get("ingress") or ()
        outside = ",".join([e.get("ip") or e.get("hostname", "") for e in entries] + external) or "<pending>"
    elif kind == "ExternalName":
        outside = spec.get("externalName", "")
    else:
        outside = ",".join(external) or NONE
    ports = [
        f"{p['port']}:{p['nodePort']}/{p.get('protocol', 'TCP')}"
        if p.get("nodePort")
        else f"{p['port']}/{p.get('protocol', 'TCP')}"
        for p in spec.get("ports") or ()
    ]
    return [
        _meta(obj)["name"],
        kind,
        spec.get("clusterIP") or NONE,
        outside,
        ",".join(ports) or NONE,
        _age(obj, now),
        _labels(spec.get("selector")),
    ]


def _claim(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    phase = "Terminating" if _meta(obj).get("deletionTimestamp") else status.get("phase", "")
    bound = bool(spec.get("volumeName"))
    return [
        _meta(obj)["name"],
        phase,
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "") if bound else "",
        _modes(status.get("accessModes")) if bound else "",
        spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or UNSET,
        _age(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def _volume(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    claim = spec.get("claimRef")
    return [
        _meta(obj)["name"],
        (spec.get("capacity") or {}).get("storage", ""),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if _meta(obj).get("deletionTimestamp") else status.get("phase", ""),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or UNSET,
        status.get("reason", ""),
        _age(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def _event(obj: Object, now: datetime) -> list[Any]:
    """Both groups are stored alike; the newer one has other names."""
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    series = obj.get("series") or {}
    event_time = obj.get("eventTime")
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp")
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    count = series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1
    first_seen = since(first or event_time, now)
    last_seen = since(series.get("lastObservedTime") or last, now) if series or last else first_seen
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    target = (
        f"{about.get('kind', '').lower()}/{about.get('name', '')}"
        if about.get("name")
        else about.get("kind", "").lower()
    )
    return [
        last_seen,
        obj.get("type", ""),
        obj.get("reason", ""),
        target,
        about.get("fieldPath", ""),
        ", ".join(part for part in (component, host) if part),
        (obj.get("message") or obj.get("note") or "").strip(),
        first_seen,
        count,
        _meta(obj)["name"],
    ]


def _endpoints(obj: Object, now: datetime) -> list[Any]:
    found = []
    for subset in obj.get("subsets") or ():
        ports = subset.get("ports") or [None]
        for port in ports:
            for address in subset.get("addresses") or ():
                ip = f"[{address['ip']}]" if ":" in address["ip"] else address["ip"]
                found.append(f"{ip}:{port['port']}" if port else address["ip"])
    return [_meta(obj)["name"], _some(found), _age(obj, now)]


def _slice(obj: Object, now: datetime) -> list[Any]:
    ports = [str(p["port"]) if p.get("port") else "*" for p in obj.get("ports") or ()]
    addresses = [address for e in obj.get("endpoints") or () for address in e.get("addresses") or ()]
    shown = UNSET if not addresses else _some(addresses)
    return [
        _meta(obj)["name"],
        obj.get("addressType", ""),
        UNSET if not ports else _some(ports),
        shown,
        _age(obj, now),
    ]


def _quota(obj: Object, now: datetime) -> list[Any]:
    status = _status(obj)
    hard, used = status.get("hard") or {}, status.get("used") or {}
    requests = [f"{k}: {used.get(k, '0')}/{hard[k]}" for k in sorted(hard) if not k.startswith("limits.")]
    limits = [f"{k}: {used.get(k, '0')}/{hard[k]}" for k in sorted(hard) if k.startswith("limits.")]
    return [_meta(obj)["name"], ", ".join(requests), ", ".join(limits), _age(obj, now)]


# ------------------------------------------------------------------------------------------------------- workloads


def _deployment(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    return [
        _meta(obj)["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        _age(obj, now),
        *_images(spec.get("template") or {}),
        _selector(spec.get("selector")),
    ]


def _replica_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    selector = spec.get("selector") or {}
    plain = selector if "matchLabels" in selector or "matchExpressions" in selector else {"matchLabels": selector}
    return [
        _meta(obj)["name"],
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        _age(obj, now),
        *_images(spec.get("template") or {}),
        _selector(plain),
    ]


def _daemon_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    keys = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    template = spec.get("template") or {}
    return [
        _meta(obj)["name"],
        *(status.get(key, 0) for key in keys),
        _labels((template.get("spec") or {}).get("nodeSelector")),
        _age(obj, now),
        *_images(template),
        _selector(spec.get("selector")),
    ]


def _stateful_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [_meta(obj)["name"], ready, _age(obj, now), *_images(spec.get("template") or {})]


def _job(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    done = status.get("succeeded", 0)
    wanted, parallel = spec.get("completions"), spec.get("parallelism", 1)
    completions = (
        f"{done}/{wanted}" if wanted is not None else f"{done}/1" + (f" of {parallel}" if parallel > 1 else "")
    )
    duration = ""
    if status.get("startTime"):
        end = status.get("completionTime")
        duration = since(status["startTime"], datetime.fromisoformat(end).astimezone(UTC) if end else now)
    return [
        _meta(obj)["name"],
        _job_state(obj),
        completions,
        duration,
        _age(obj, now),
        *_images(spec.get("template") or {}),
        _selector(spec.get("selector")),
    ]


def _job_state(obj: Object) -> str:
    for kind in ("Complete", "Failed"):
        if _condition(obj, kind) == "True":
            return kind
    if _meta(obj).get("deletionTimestamp"):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if _condition(obj, kind) == "True":
            return kind
    return "Running"


def _cron_job(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    last = status.get("lastScheduleTime")
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    return [
        _meta(obj)["name"],
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        _bool(spec.get("suspend")),
        len(status.get("active") or ()),
        since(last, now) if last else NONE,
        _age(obj, now),
        *_images(job.get("template") or {}),
        _selector(job.get("selector")),
    ]


def _revision(obj: Object, now: datetime) -> list[Any]:
    owner = next((o for o in _meta(obj).get("ownerReferences") or () if o.get("controller")), None)
    controller = NONE
    if owner:
        group = owner["apiVersion"].rpartition("/")[0]
        controller = f"{owner['kind'].lower()}{'.' + group if group else ''}/{owner['name']}"
    return [_meta(obj)["name"], controller, obj.get("revision", 0), _age(obj, now)]


def _autoscaler(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    target = spec.get("scaleTargetRef") or {}
    current: dict[str, Any] = {
        m["resource"]["name"]: m["resource"]["current"].get("averageUtilization")
        for m in status.get("currentMetrics") or ()
        if m.get("type") == "Resource"
    }
    wanted = [
        f"{m['resource']['name']}: {_percent(current.get(m['resource']['name']))}/{m['resource']['target'].get('averageUtilization')}%"
        for m in spec.get("metrics") or ()
        if m.get("type") == "Resource"
    ]
    if "targetCPUUtilizationPercentage" in spec:
        wanted = [
            f"cpu: {_percent(status.get('currentCPUUtilizationPercentage'))}/{spec['targetCPUUtilizationPercentage']}%"
        ]
    return [
        _meta(obj)["name"],
        f"{target.get('kind', '')}/{target.get('name', '')}",
        ", ".join(wanted) or NONE,
        str(spec.get("minReplicas", UNSET)),
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        _age(obj, now),
    ]


def _percent(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value}%"


def _budget(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    return [
        _meta(obj)["name"],
        str(spec["minAvailable"]) if spec.get("minAvailable") is not None else "N/A",
        str(spec["maxUnavailable"]) if spec.get("maxUnavailable") is not None else "N/A",
        _status(obj).get("disruptionsAllowed", 0),
        _age(obj, now),
    ]


# ----------------------------------------------------------------------------------------------------------- others


def _ingress(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
    entries = (_status(obj).get("loadBalancer") or {}).get("ingress") or ()
    return [
        _meta(obj)["name"],
        spec.get("ingressClassName") or NONE,
        ",".join(hosts) or "*",
        ",".join(e.get("ip") or e.get("hostname", "") for e in entries),
        "80, 443" if spec.get("tls") else "80",
        _age(obj, now),
    ]


def _ingress_class(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    found = spec.get("parameters")
    parameters = NONE
    if found:
        kind = f"{found['kind']}.{found['apiGroup']}" if found.get("apiGroup") else found["kind"]
        parameters = f"{kind}/{found['name']}"
    return [_meta(obj)["name"], spec.get("controller", ""), parameters, _age(obj, now)]


def _storage_class(obj: Object, now: datetime) -> list[Any]:
    name = _meta(obj)["name"]
    default = (_meta(obj).get("annotations") or {}).get("storageclass.kubernetes.io/is-default-class") == "true"
    return [
        f"{name} (default)" if default else name,
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        bool(obj.get("allowVolumeExpansion")),
        _age(obj, now),
    ]


def _binding(obj: Object, now: datetime) -> list[Any]:
    role = obj.get("roleRef") or {}
    by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        name = (
            f"{subject.get('namespace', '')}/{subject['name']}"
            if subject["kind"] == "ServiceAccount"
            else subject["name"]
        )
        by_kind.setdefault(subject["kind"], []).append(name)
    named = f"{role.get('kind', '')}/{role.get('name', '')}"
    subjects = [", ".join(by_kind[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [_meta(obj)["name"], named, _age(obj, now), *subjects]


def _api_service(obj: Object, now: datetime) -> list[Any]:
    service = _spec(obj).get("service")
    found = next((c for c in _status(obj).get("conditions") or () if c["type"] == "Available"), None)
    available = "Unknown" if found is None else found["status"]
    if found is not None and found["status"] != "True":
        available = f"{found['status']} ({found.get('reason', '')})"
    return [
        _meta(obj)["name"],
        f"{service['namespace']}/{service['name']}" if service else "Local",
        available,
        _age(obj, now),
    ]


def _signing_request(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    conditions = [c["type"] for c in _status(obj).get("conditions") or ()]
    words = [word for word in ("Approved", "Denied", "Failed") if word in conditions] or ["Pending"]
    if _status(obj).get("certificate"):
        words.append("Issued")
    seconds = spec.get("expirationSeconds")
    return [
        _meta(obj)["name"],
        _age(obj, now),
        spec.get("signerName", NONE),
        spec.get("username", ""),
        human(seconds) if seconds else NONE,
        ",".join(words),
    ]


def _csi_driver(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    tokens = ",".join(t.get("audience", "") for t in spec.get("tokenRequests") or ()) or UNSET
    return [
        _meta(obj)["name"],
        spec.get("attachRequired", True),
        spec.get("podInfoOnMount", False),
        spec.get("storageCapacity", False),
        tokens,
        spec.get("requiresRepublish", False),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE,
        _age(obj, now),
    ]


def _attachment(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    return [
        _meta(obj)["name"],
        spec.get("attacher", ""),
        (spec.get("source") or {}).get("persistentVolumeName", ""),
        spec.get("nodeName", ""),
        bool(_status(obj).get("attached")),
        _age(obj, now),
    ]


def _flow_schema(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    dangling = _condition(obj, "Dangling")
    return [
        _meta(obj)["name"],
        (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
        spec.get("matchingPrecedence", 0),
        (spec.get("distinguisherMethod") or {}).get("type", NONE),
        _age(obj, now),
        dangling or "?",
    ]


def _priority_level(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    limited = spec.get("limited") or {}
    queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
    return [
        _meta(obj)["name"],
        spec.get("type", ""),
        limited.get("nominalConcurrencyShares", NONE),
        queuing.get("queues", NONE),
        queuing.get("handSize", NONE),
        queuing.get("queueLengthLimit", NONE),
        _age(obj, now),
    ]


def _pod_template(obj: Object, _now: datetime) -> list[Any]:
    template = obj.get("template") or {}
    return [_meta(obj)["name"], *_images(template), _labels((template.get("metadata") or {}).get("labels"))]


def _policy(obj: Object, now: datetime) -> list[Any]:
    kind = _spec(obj).get("paramKind")
    shown = f"{kind['apiVersion']}/{kind['kind']}" if kind else UNSET
    return [_meta(obj)["name"], len(_spec(obj).get("validations") or ()), shown, _age(obj, now)]


def _policy_binding(obj: Object, now: datetime) -> list[Any]:
    found = _spec(obj).get("paramRef")
    shown = UNSET
    if found:
        shown = f"{found.get('namespace') or '*'}/{found.get('name') or _selector(found.get('selector'), '*')}"
    return [_meta(obj)["name"], _spec(obj).get("policyName", ""), shown, _age(obj, now)]


def _component(obj: Object, _now: datetime) -> list[Any]:
    healthy = next((c for c in obj.get("conditions") or () if c["type"] == "Healthy"), {"status": "Unknown"})
    status = {"True": "Healthy", "False": "Unhealthy"}.get(healthy["status"], "Unknown")
    return [_meta(obj)["name"], status, healthy.get("message", ""), healthy.get("error", "")]


def _columns(*make: Callable[[Object], Any]) -> Cells:
    """Name, some values, age."""
    return lambda obj, now: [_meta(obj)["name"], *(one(obj) for one in make), _age(obj, now)]


_CELLS: dict[str, Cells] = {
    "/pods": _pod,
    "/nodes": _node,
    "/services": _service,
    "/persistentvolumeclaims": _claim,
    "/persistentvolumes": _volume,
    "/events": _event,
    "events.k8s.io/events": _event,
    "/endpoints": _endpoints,
    "/resourcequotas": _quota,
    "/podtemplates": _pod_template,
    "/componentstatuses": _component,
    "/configmaps": _columns(lambda o: len(o.get("data") or ()) + len(o.get("binaryData") or ())),
    "/secrets": _columns(lambda o: o.get("type", ""), lambda o: len(o.get("data") or ())),
    "/namespaces": _columns(lambda o: _status(o).get("phase", "")),
    "/serviceaccounts": _columns(lambda o: len(o.get("secrets") or ())),
    "/replicationcontrollers": _replica_set,
    "apps/deployments": _deployment,
    "apps/replicasets": _replica_set,
    "apps/daemonsets": _daemon_set,
    "apps/statefulsets": _stateful_set,
    "apps/controllerrevisions": _revision,
    "batch/jobs": _job,
    "batch/cronjobs": _cron_job,
    "autoscaling/horizontalpodautoscalers": _autoscaler,
    "policy/poddisruptionbudgets": _budget,
    "discovery.k8s.io/endpointslices": _slice,
    "networking.k8s.io/ingresses": _ingress,
    "networking.k8s.io/ingressclasses": _ingress_class,
    "networking.k8s.io/networkpolicies": _columns(lambda o: _selector(_spec(o).get("podSelector"))),
    "networking.k8s.io/servicecidrs": _columns(lambda o: ",".join(_spec(o).get("cidrs") or ())),
    "networking.k8s.io/ipaddresses": lambda o, _: [
        _meta(o)["name"],
        "/".join(
            part
            for key in ("resource", "group", "namespace", "name")
            if (part := (_spec(o).get("parentRef") or {}).get(key, ""))
        ),
    ],
    "storage.k8s.io/storageclasses": _storage_class,
    "storage.k8s.io/csidrivers": _csi_driver,
    "storage.k8s.io/csinodes": _columns(lambda o: len(_spec(o).get("drivers") or ())),
    "storage.k8s.io/volumeattachments": _attachment,
    "rbac.authorization.k8s.io/rolebindings": _binding,
    "rbac.authorization.k8s.io/clusterrolebindings": _binding,
    "apiregistration.k8s.io/apiservices": _api_service,
    "certificates.k8s.io/certificatesigningrequests": _signing_request,
    "coordination.k8s.io/leases": _columns(lambda o: _spec(o).get("holderIdentity") or ""),
    "scheduling.k8s.io/priorityclasses": lambda o, now: [
        _meta(o)["name"],
        o.get("value", 0),
        bool(o.get("globalDefault")),
        _age(o, now),
        o.get("preemptionPolicy", ""),
    ],
    "node.k8s.io/runtimeclasses": _columns(lambda o: o.get("handler", "")),
    "admissionregistration.k8s.io/mutatingwebhookconfigurations": _columns(lambda o: len(o.get("webhooks") or ())),
    "admissionregistration.k8s.io/validatingwebhookconfigurations": _columns(lambda o: len(o.get("webhooks") or ())),
    "admissionregistration.k8s.io/validatingadmissionpolicies": _policy,
    "admissionregistration.k8s.io/validatingadmissionpolicybindings": _policy_binding,
    "flowcontrol.apiserver.k8s.io/flowschemas": _flow_schema,
    "flowcontrol.apiserver.k8s.io/prioritylevelconfigurations": _priority_level,
}
