"""From a request's body to the object that is to be stored: decoding, the four patch types, managedFields.

Source: k8s.io/apiserver/pkg/endpoints/handlers create.go, update.go, patch.go, rest.go (v0.33).
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from typing import Any, Final

from lab.kube import errors, gojson, plain, protodec
from lab.kube.errors import ApiError, FieldError, bad_request
from lab.kube.models import BuiltinModel, CustomModel, Model
from lab.kube.registry import builtin_resources
from lab.kube.rest import Call
from lab.kube.schema import managed, meta, patch
from lab.kube.schema.gotypes import types

Json = dict[str, Any]
JSON: Final = "application/json"
YAML: Final = "application/yaml"
PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
JSON_PATCH: Final = "application/json-patch+json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
SCHEME: Final = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"


# -------------------------------------------------------------------------------------------------------------- options
def check_options(kind: str, query: dict[str, list[str]], patch_type: str = "") -> None:
    """dryRun, fieldValidation, fieldManager and force. Raises ApiError."""
    found: list[FieldError] = []
    manager = _one(query, "fieldManager")
    if kind == "PatchOptions":
        force = _one(query, "force")
        if patch_type != APPLY and force:
            found.append(errors.forbidden_field("force", "may not be specified for non-apply patch"))
        if patch_type == APPLY and not manager:
            found.append(errors.required("fieldManager", "is required for apply patch"))
    found += meta.field_manager(manager, "fieldManager")
    found += dry_run_errors(query.get("dryRun") or [])
    validation = _one(query, "fieldValidation")
    if validation not in ("", "Ignore", "Warn", "Strict"):
        found.append(errors.unsupported("fieldValidation", validation, ("Ignore", "Warn", "Strict")))
    if found:
        raise errors.invalid("meta.k8s.io", kind, "", found)


def dry_run_errors(values: list[str]) -> list[FieldError]:
    """Anything but All is refused."""
    if not values or set(values) == {"All"}:
        return []
    return [errors.unsupported("dryRun", values, ("All",))]


def _one(query: dict[str, list[str]], name: str) -> str:
    values = query.get(name)
    return values[0] if values else ""


def manager_of(query: dict[str, list[str]], user_agent: str) -> str:
    """The field manager: as asked, else the first word of the user agent. Source: managerOrUserAgent."""
    asked = _one(query, "fieldManager")
    return asked or "".join(char for char in user_agent.split("/")[0][:128] if char.isprintable()) or "unknown"


# --------------------------------------------------------------------------------------------------------------- decode
def media_type(content_type: str) -> str:
    """Without parameters."""
    return content_type.partition(";")[0].strip().lower()


def unsupported_media(*accepted: str) -> ApiError:
    """415."""
    text = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return ApiError(415, "UnsupportedMediaType", text)


def parse(body: bytes, content_type: str, kind: str, *, custom: bool = False) -> tuple[Any, list[str]]:
    """A body as JSON values, and the keys that stand twice in it. Raises ApiError."""
    media = media_type(content_type) or JSON
    if media == PROTOBUF and not custom:
        try:
            return protodec.decode(body), []
        except (protodec.DecodeError, binascii.Error) as error:
            raise bad_request(
                f"the object provided is unrecognized (must be of type {kind}): {error} ({summary(body)})"
            ) from error
    if media not in (JSON, YAML):
        raise unsupported_media(JSON, YAML) if custom else unsupported_media(JSON, YAML, PROTOBUF)
    try:
        if media == YAML:
            value = gojson.load_yaml(body)
            return value, []
        value, twice = gojson.loads(body)
    except gojson.SyntaxFault as error:
        if media == YAML:
            raise bad_request(
                f"the object provided is unrecognized (must be of type {kind}): {error} ({summary(body)})"
            ) from error
        text = f"couldn't get version/kind; json parse error: {error}"
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): {text} ({summary(body)})"
        ) from error
    return value, [f'duplicate field "{path}"' for path in gojson.duplicate_paths(body)] if twice else []


def summary(body: bytes) -> str:
    """The first thirty bytes. Source: summarizeData."""
    if not body:
        return "<empty>"
    shown = body[:30].decode("utf-8", "replace") if body[:1] == b"{" else body[:30].hex()
    return shown + " ..." if len(body) > 30 else shown


def decode(call: Call, model: Model, value: Any, twice: list[str], raw: bytes) -> Json:
    """A parsed body as an object of the model's kind, defaults filled in. Raises ApiError."""
    resource = model.resource
    if not isinstance(value, dict):
        found = "array" if isinstance(value, list) else "string" if isinstance(value, str) else "number"
        text = f'couldn\'t get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }}'
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): {text} ({summary(raw)})"
        )
    if isinstance(model, CustomModel):
        return _decode_custom(call, model, value, twice, raw)
    return _decode_builtin(call, model, value, twice, raw)


def _decode_builtin(call: Call, model: Model, value: Json, twice: list[str], raw: bytes) -> Json:
    resource = model.resource
    said, kind = value.get("apiVersion") or "", value.get("kind") or ""
    for name, given in (("apiVersion", said), ("kind", kind)):
        if not isinstance(given, str):
            text = f"couldn't get version/kind; json parse error: json: cannot unmarshal {_sort(given)} into Go struct field .{name} of type string"
            raise bad_request(
                f"the object provided is unrecognized (must be of type {resource.kind}): {text} ({summary(raw)})"
            )
    said, kind = said or resource.api_version, kind or resource.kind
    if (said, kind) != (resource.api_version, resource.kind):
        _refuse_kind(resource.kind, resource.api_version, said, kind)
    try:
        decoded = model.decode(value)
    except ValueError as error:
        raise _cannot_be_handled(model, str(error)) from error
    _judge_strict(call, model, [*twice, *decoded.strict])
    return decoded.obj


def _sort(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def _refuse_kind(wanted: str, version: str, said: str, kind: str) -> None:
    group, _, short = said.rpartition("/")
    if types().of_kind(group, short, kind) is None:
        why = f'no kind "{kind}" is registered for version "{said}" in scheme "{SCHEME}"'
        if not any(resource.api_version == said for resource in builtin_resources()):
            why = f'no kind "{kind}" is registered for version "{said}" in scheme "{SCHEME}"'
        raise bad_request(f'{kind} in version "{short}" cannot be handled as a {wanted}: {why}')
    if said != version and kind == wanted:
        raise bad_request(f"the API version in the data ({said}) does not match the expected API version ({version})")
    why = f"converting ({short}.{kind}) to (core.{wanted}): unknown conversion"
    raise bad_request(f'{kind} in version "{short}" cannot be handled as a {wanted}: {why}')


def _decode_custom(call: Call, model: CustomModel, value: Json, twice: list[str], raw: bytes) -> Json:
    resource = model.resource
    if not value.get("kind") or not value.get("apiVersion"):
        shown = summary(raw)
        missing = "Kind" if not value.get("kind") else "apiVersion"
        source = json.dumps(value)
        text = f"Object '{missing}' is missing in '{raw.decode('utf-8', 'replace') if raw[:1] == b'{' else source}'"
        raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind}): {text} ({shown})")
    model.check_kind(value)
    try:
        decoded = model.decode(value)
    except ValueError as error:
        raise _cannot_be_handled(model, str(error)) from error
    _judge_strict(call, model, [*twice, *decoded.strict])
    return decoded.obj


def _cannot_be_handled(model: Model, why: str) -> ApiError:
    resource = model.resource
    return bad_request(f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}')


def _judge_strict(call: Call, model: Model, found: list[str]) -> None:
    """Unknown and duplicate fields: refused, warned of, or ignored."""
    if not found or call.validation == "Ignore":
        return
    if call.validation == "Strict":
        raise _cannot_be_handled(model, f"strict decoding error: {', '.join(dict.fromkeys(found))}")
    for text in found:
        call.warn(text)


# ------------------------------------------------------------------------------------------------------------------ put
def check_name(call: Call, obj: Json) -> None:
    """The object's own name and namespace against those of the URL. Raises ApiError."""
    found = obj.get("metadata") or {}
    name, namespace = found.get("name", ""), found.get("namespace", "")
    if call.resource.namespaced and namespace and namespace != call.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if not name:
        raise bad_request("name must be provided")
    if name != call.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({call.name})")


def put(call: Call, model: Model, obj: Json, now: str) -> Callable[[Json], Json]:
    """The transformation of a PUT."""

    def transform(old: Json) -> Json:
        return with_owners(call, model, old, obj, now)

    return transform


def with_owners(call: Call, model: Model, old: Json, new: Json, now: str) -> Json:
    """`new` with the managedFields of a write over `old`."""
    meta_ = new.get("metadata")
    if not isinstance(meta_, dict):
        meta_ = new["metadata"] = {}
    entries = managed.update(old, new, model.typing(call.subresource), call.manager, now)
    if entries:
        meta_["managedFields"] = entries
    else:
        meta_.pop("managedFields", None)
    return new


# ---------------------------------------------------------------------------------------------------------------- patch
def patch_types(model: Model) -> tuple[str, ...]:
    """What a resource takes, as 415 lists them."""
    if isinstance(model, CustomModel):
        return (JSON_PATCH, MERGE, APPLY)
    return (JSON_PATCH, MERGE, STRATEGIC, APPLY)


def patcher(call: Call, model: Model, media: str, body: bytes, force: bool, now: str) -> Callable[[Json], Json]:
    """The transformation of a PATCH; reads the body when it is applied, as the real server does."""
    if media == APPLY:
        return lambda old: _apply(call, model, old, body, force, now)
    return patching(call, model, media, lambda: _read_patch(media, body), now)


def patching(
    call: Call, model: Model, media: str, read: Callable[[], tuple[Any, list[str]]], now: str
) -> Callable[[Json], Json]:
    """The transformation of a patch that `read` gives, with what strict decoding has to say of its text."""

    def transform(old: Json) -> Json:
        _refuse_missing(call, old)
        found, strict = read()
        if media == STRATEGIC:
            return _strategic(call, model, old, found, strict, now)
        return _json_or_merge(call, model, old, media, found, strict, now)

    return transform


def _read_patch(media: str, body: bytes) -> tuple[Any, list[str]]:
    try:
        found, twice = gojson.loads(body)
    except gojson.SyntaxFault as error:
        raise bad_request(str(error) if media == STRATEGIC else f"error decoding patch: {error}") from error
    return found, [f'duplicate field "{path}"' for path in gojson.duplicate_paths(body)] if twice else []


def _refuse_missing(call: Call, old: Json) -> None:
    if not (old.get("metadata") or {}).get("uid"):
        raise errors.not_found(call.resource.group, call.resource.plural, call.name)


def _json_or_merge(
    call: Call, model: Model, old: Json, media: str, found: Any, strict: list[str], now: str
) -> Json:
    if media == JSON_PATCH:
        strict = [f"json patch {text}" for text in (*strict, *_unknown_operations(found))]
        patched = patch.json_patch(old, found)
    else:
        if not isinstance(found, dict):
            words = f"json: cannot unmarshal {_sort(found) if not isinstance(found, str) else 'string'} into Go value of type map[string]interface {{}}"
            raise bad_request(f"error decoding patch: {words}")
        patched = patch.merge_patch(old, found)
    return _patched(call, model, old, patched, strict, now, merged=False, shown=patched)


def _unknown_operations(operations: Any) -> list[str]:
    known = {"op", "path", "from", "value"}
    if not isinstance(operations, list):
        return []
    return [
        f'unknown field "[{place}].{key}"'
        for place, operation in enumerate(operations)
        if isinstance(operation, dict)
        for key in operation
        if key not in known
    ]


def _strategic(call: Call, model: Model, old: Json, found: Any, strict: list[str], now: str) -> Json:
    if not isinstance(found, dict):
        words = f"json: cannot unmarshal {_sort(found) if not isinstance(found, str) else 'string'} into Go value of type map[string]interface {{}}"
        raise bad_request(words)
    if not isinstance(model, BuiltinModel):
        raise unsupported_media(*patch_types(model))
    patched = patch.strategic(old, found, model.lookup())
    return _patched(call, model, old, patched, strict, now, merged=True, shown=found)


def _patched(
    call: Call, model: Model, old: Json, patched: Any, strict: list[str], now: str, *, merged: bool, shown: Any
) -> Json:
    """A patched object, decoded again. What does not decode is a 422 of no kind."""

    def refuse(why: str) -> ApiError:
        value = _go_plain(shown) if merged else json.dumps(shown)
        return errors.invalid("", "", "", [errors.wrong("patch", value, why)])

    if not isinstance(patched, dict):
        raise refuse("couldn't get version/kind; json parse error")
    if isinstance(model, CustomModel):
        if not patched.get("kind") or not patched.get("apiVersion"):
            missing = "Kind" if not patched.get("kind") else "apiVersion"
            raise refuse(f"Object '{missing}' is missing in '{json.dumps(patched)}'")
        model.check_kind(patched)
    elif not merged:
        said, kind = patched.get("apiVersion") or model.resource.api_version, patched.get("kind") or model.resource.kind
        if (said, kind) != (model.resource.api_version, model.resource.kind):
            group, _, short = str(said).rpartition("/")
            if types().of_kind(group, short, str(kind)) is None:
                raise refuse(f'no kind "{kind}" is registered for version "{said}" in scheme "{SCHEME}"')
            raise refuse(f"unable to decode {said}, Kind={kind} into {model.resource.kind}")
    try:
        decoded = model.decode(patched)
    except ValueError as error:
        raise refuse(_converter_words(str(error)) if merged else str(error)) from error
    found = [*strict, *decoded.strict]
    if found and call.validation == "Strict":
        raise refuse(f"strict decoding error: {', '.join(found)}")
    if found and call.validation == "Warn":
        for text in found:
            call.warn(text)
    new = with_owners(call, model, old, decoded.obj, now)
    _after_patch(call, new)
    return new


def _go_plain(value: Any) -> str:
    """Go's %+v of decoded JSON."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_go_plain(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_go_plain, value)) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _converter_words(text: str) -> str:
    """Strategic merge decodes by another way in Go, with words of its own."""
    return text


def _after_patch(call: Call, new: Json) -> None:
    found = new.get("metadata") or {}
    if call.resource.namespaced and found.get("namespace") and found["namespace"] != call.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    name = found.get("name", "")
    if not name:
        raise bad_request(
            f"the name of the object ({call.name} based on URL) was undeterminable: name must be provided"
        )
    if name != call.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({call.name})")


def _apply(call: Call, model: Model, old: Json, body: bytes, force: bool, now: str) -> Json:
    twice: list[str] = []
    try:
        if body[:1] == b"{":
            found, doubled = gojson.loads(body)
            twice = gojson.duplicate_paths(body) if doubled else []
        else:
            found = gojson.load_yaml(body)
    except gojson.SyntaxFault as error:
        raise bad_request(f"error decoding YAML: {error}") from error
    if found is None:
        found = {}
    if not isinstance(found, dict):
        words = f"json: cannot unmarshal {_sort(found) if not isinstance(found, str) else 'string'} into Go value of type map[string]interface {{}}"
        raise bad_request(f"error decoding YAML: error unmarshaling JSON: while decoding JSON: {words}")
    new = apply_object(call, model, old, found, force, now)
    if twice and call.validation == "Strict":
        raise bad_request(f"error strict decoding YAML: {', '.join(twice)}")
    return new


def apply_object(call: Call, model: Model, old: Json, found: Json, force: bool, now: str) -> Json:
    """Server-side apply of a parsed object. Raises ApiError."""
    typing = model.typing(call.subresource)
    new = managed.apply(old, found, typing, call.manager, force=force, now=now)
    uid = (old.get("metadata") or {}).get("uid")
    new_uid = (new.get("metadata") or {}).get("uid")
    if new_uid and not uid:
        why = f"uid mismatch: the provided object specified uid {new_uid}, and no existing object was found"
        raise errors.conflict(call.resource.group, call.resource.plural, call.name, why)
    entries = (new.get("metadata") or {}).get("managedFields")
    try:
        new = typing.default(plain.sent(new))
    except ValueError as error:
        raise errors.internal(str(error)) from error
    if entries:
        new["metadata"]["managedFields"] = entries
    _after_patch(call, new)
    return new
