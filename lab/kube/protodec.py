"""Decodes Kubernetes protobuf request bodies (`application/vnd.kubernetes.protobuf`) to the JSON form of the object.

kubectl 1.32 and newer send them from typed commands and do not fall back on 415. Answers stay JSON. Field numbers come from
lab/data/kube/proto.json.gz; its README says how messages map to JSON. Source: k8s.io/apimachinery/pkg/runtime/serializer/protobuf.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from lab.kube.registry import load_gz

MAGIC = b"k8s\0"
META = "k8s.io.apimachinery.pkg.apis.meta.v1."
UNKNOWN = "k8s.io.apimachinery.pkg.runtime.Unknown"
INTS = ("int32", "int64")
# Go encodes plain scalars also when they are zero, pointers only when they are set; the table does not tell the two apart. In these
# fields, which are pointers, a zero is a wish; in all others it is left out, as `omitempty` does.
POINTERS = frozenset(
    [
        "activeDeadlineSeconds",
        "allocateLoadBalancerNodePorts",
        "allowPrivilegeEscalation",
        "allowVolumeExpansion",
        "automountServiceAccountToken",
        "backoffLimit",
        "blockOwnerDeletion",
        "completions",
        "controller",
        "defaultMode",
        "enableServiceLinks",
        "expirationSeconds",
        "failedJobsHistoryLimit",
        "fsGroup",
        "gracePeriodSeconds",
        "hostUsers",
        "immutable",
        "minReplicas",
        "mode",
        "optional",
        "orphanDependents",
        "parallelism",
        "podFailurePolicy",
        "priority",
        "privileged",
        "progressDeadlineSeconds",
        "readOnlyRootFilesystem",
        "replicas",
        "revisionHistoryLimit",
        "runAsGroup",
        "runAsNonRoot",
        "runAsUser",
        "setHostnameAsFQDN",
        "shareProcessNamespace",
        "startingDeadlineSeconds",
        "storageClassName",
        "successfulJobsHistoryLimit",
        "suspend",
        "terminationGracePeriodSeconds",
        "ttlSecondsAfterFinished",
        "xPreserveUnknownFields",
    ]
)
Fields = Mapping[str, tuple[str, str, str]]


class DecodeError(ValueError):
    """The body is not a Kubernetes protobuf object that this server knows."""


def decode(content: bytes) -> dict[str, Any]:
    """The object as JSON would give it, with apiVersion and kind. Raises DecodeError."""
    if not content.startswith(MAGIC):
        raise DecodeError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        envelope = _message(UNKNOWN, content[len(MAGIC) :])
        raw = base64.b64decode(envelope.get("raw", ""))
        api_version, kind = envelope.get("apiVersion", ""), envelope.get("kind", "")
        name = message_name(api_version, kind)
        if name is None:
            raise DecodeError(f'no kind "{kind}" is registered for version "{api_version}" in scheme')
        return {"apiVersion": api_version, "kind": kind, **_message(name, raw)}
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise DecodeError(f"proto: illegal wireType or truncated message ({error})") from error


def message_name(api_version: str, kind: str) -> str | None:
    """The full protobuf name of a kind; options types are known in every group."""
    group, _, version = api_version.rpartition("/")
    found = _index().get((group.partition(".")[0] or "core", version, kind))
    return found or (META + kind if META + kind in _table() else None)


@lru_cache(maxsize=1)
def _table() -> dict[str, Fields]:
    return {
        name: {number: tuple(field) for number, field in fields.items()}
        for name, fields in load_gz("proto.json.gz").items()
    }


@lru_cache(maxsize=1)
def _index() -> dict[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], str] = {}
    for name in _table():
        *_, group, version, kind = name.split(".")
        found[(group, version, kind)] = name
    return found


def _message(name: str, data: bytes) -> dict[str, Any]:
    """The fields of one message as a JSON object."""
    fields = _table()[name]
    out: dict[str, Any] = {}
    for number, wire, value in _wire(data):
        field = fields.get(str(number))
        if field is None:
            continue  # a newer client's field: a real server drops it too
        key, kind, label = field
        if label == "m":
            entry_key, entry_value = _entry(kind, value)
            out.setdefault(key, {})[entry_key] = entry_value
        elif label == "r":
            values = (
                _packed(kind, value) if wire == 2 and kind not in ("string", "bytes") and "." not in kind else [value]
            )
            out.setdefault(key, []).extend(_value(kind, v) for v in values)
        elif label == "i":
            out.update(_message(kind, value))
        else:
            decoded = _value(kind, value)
            if decoded is None or (decoded in ("", 0, False) and "." not in kind and key not in POINTERS):
                continue
            out[key] = decoded
    return out


def _wire(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """Field number, wire type and raw value, in order."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        value: Any
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        elif wire == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
            if at > end:
                raise IndexError("unexpected EOF")
        elif wire == 5:
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        else:
            raise DecodeError(f"proto: illegal wireType {wire}")
        yield tag >> 3, wire, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _packed(kind: str, data: bytes) -> list[Any]:
    if kind == "double":
        return [v for (v,) in struct.iter_unpack("<d", data)]
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _entry(kind: str, data: bytes) -> tuple[str, Any]:
    key, value = "", None
    for number, _, raw in _wire(data):
        if number == 1:
            key = raw.decode()
        else:
            value = _value(kind, raw)
    return key, _zero(kind) if value is None else value


def _zero(kind: str) -> Any:
    """What a map entry without a value stands for."""
    return {"string": "", "bytes": "", "bool": False, "double": 0.0}.get(kind, {} if "." in kind else 0)


def _value(kind: str, raw: Any) -> Any:
    """One value in its JSON form; None where JSON would leave it out."""
    if kind == "string":
        return raw.decode()
    if kind == "bytes":
        return base64.b64encode(raw).decode()
    if kind == "bool":
        return bool(raw)
    if kind in INTS:
        return _signed(raw)
    if kind == "double":
        return int(raw) if float(raw).is_integer() else raw
    return _special(kind, raw)


def _special(kind: str, raw: bytes) -> Any:
    """Messages that are not plain objects in JSON (see the data's README)."""
    short = kind.rpartition(".")[2]
    fields = {number: value for number, _, value in _wire(raw)} if short in _SPECIAL else {}
    match short:
        case "Quantity":
            return fields.get(1, b"0").decode() or "0"
        case "IntOrString":
            return fields.get(3, b"").decode() if fields.get(1) else _signed(fields.get(2, 0))
        case "Time" | "MicroTime":
            return _time(fields, micro=short == "MicroTime") if fields else None
        case "FieldsV1" | "RawExtension" | "JSON":
            return json.loads(fields[1]) if fields.get(1) else None
        case "Verbs" | "ExtraValue":
            return [value.decode() for _, _, value in _wire(raw)]
        case "JSONSchemaPropsOrBool":
            return _message(kind, raw).get("schema", bool(fields.get(1)))
        case "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray":
            message = _message(kind, raw)
            return message.get("schema") or message.get("jSONSchemas") or message.get("property")
    return _message(kind, raw)


_SPECIAL = frozenset(
    ("Quantity", "IntOrString", "Time", "MicroTime", "FieldsV1", "RawExtension", "JSON", "JSONSchemaPropsOrBool")
)


def _time(fields: Mapping[int, int], *, micro: bool) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=_signed(fields.get(1, 0)))
    if micro:
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{fields.get(2, 0) // 1000:06d}Z"
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
