"""What does not fit the common path of a resource: reviews, subresources of their own kind, probes, impersonation.

Source: k8s.io/kubernetes/pkg/registry (v1.33), by resource.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from lab.kube import errors, gojson, listing, plain, rbac, scale, selectors, writes
from lab.kube.errors import ApiError, bad_request
from lab.kube.models import Model, scale_atom
from lab.kube.plain import clone
from lab.kube.rbac import Attributes, Authorizer
from lab.kube.registry import Resource
from lab.kube.rest import Call, DeleteOptions, Preconditions, stamp
from lab.kube.schema import gotypes, managed, patch
from lab.kube.selectors import FieldTerm
from lab.kube.store import Event, Key, Store
from lab.kube.wire import Req, Resp, User

if TYPE_CHECKING:
    from lab.kube.api import ApiServer

Json = dict[str, Any]
EVENTS: Final = (("", "events"), ("events.k8s.io", "events"))
EVENT_TTL: Final = timedelta(hours=1)
PARTIAL: Final = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
PROBES: Final = (
    "ping", "log", "etcd", "etcd-readiness", "informer-sync", "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers", "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes", "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller", "autoregister-completion", "shutdown",
)  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- who asks
def impersonated(req: Req, user: User, authorizer: Authorizer) -> User:
    """The user that the Impersonate headers name, where `user` may be them. Raises ApiError 403."""
    name = req.headers.get("impersonate-user", "")
    groups = tuple(
        part for part in req.headers.get("impersonate-group", "").replace("\n", ",").split(",") if part.strip()
    )
    uid = req.headers.get("impersonate-uid", "")
    extra = {
        key.removeprefix("impersonate-extra-"): tuple(value.replace("\n", ",").split(","))
        for key, value in req.headers.items()
        if key.startswith("impersonate-extra-")
    }
    if not (name or groups or uid or extra):
        return user
    if not name:
        first = groups[0] if groups else ""
        raise errors.internal_error("requested [{Group  " + first + "  }] without impersonating a user")
    asked = [Attributes("impersonate", resource="users", name=name)]
    if name.startswith("system:serviceaccount:") and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        asked = [Attributes("impersonate", resource="serviceaccounts", namespace=namespace, name=account)]
        if not groups:
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    asked += [
        Attributes("impersonate", resource="groups", name=group.strip())
        for group in groups
        if not group.startswith("system:serviceaccounts")
    ]
    for one in asked:
        if not authorizer.allowed(user, one):
            raise rbac.refusal(user, one)
    cleaned = tuple(group.strip() for group in groups)
    if name == "system:anonymous":
        return User(name, cleaned or ("system:unauthenticated",), uid, extra)
    if "system:authenticated" not in cleaned:
        cleaned = (*cleaned, "system:authenticated")
    return User(name, cleaned, uid, extra)


def single_name(req: Req) -> str:
    """The one name that a list or watch is narrowed to, for authorization."""
    values = req.query.get("fieldSelector")
    if not values:
        return ""
    try:
        terms = selectors.parse_fields(values[0])
    except selectors.SelectorError:
        return ""
    return next((term.value for term in terms if term.field == "metadata.name" and not term.negated), "")


def narrowed(options: listing.ListOptions, name: str) -> listing.ListOptions:
    """The watch of one object."""
    return replace(options, fields=(*options.fields, FieldTerm("metadata.name", name, False)))


# -------------------------------------------------------------------------------------------------------- small answers
def health(probe: str, path: str, *, verbose: bool) -> Resp:
    """/healthz, /livez, /readyz and their single checks."""
    headers = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
    if path != probe:
        known = path.removeprefix(probe + "/") in PROBES
        return Resp(200, b"ok", headers) if known else Resp(404, b"404 page not found\n", headers)
    if not verbose:
        return Resp(200, b"ok", headers)
    lines = "".join(f"[+]{name} ok\n" for name in PROBES)
    return Resp(200, f"{lines}{probe.strip('/')} check passed\n".encode(), headers)


def known_extra(server: ApiServer, path: str) -> Resp | None:
    """Other paths that a real server answers."""
    if path == "/metrics":
        text = f"# TYPE apiserver_storage_objects gauge\napiserver_storage_resource_version {server.store.version}\n"
        return Resp(200, text.encode(), {"content-type": "text/plain; version=0.0.4"})
    if path == "/.well-known/openid-configuration":
        body = {
            "issuer": "https://kubernetes.default.svc.cluster.local",
            "jwks_uri": "https://127.0.0.1/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return Resp(200, plain.text(body), {"content-type": "application/json"})
    return None


def component_status(name: str) -> Json:
    """ComponentStatus is answered, not stored."""
    healthy = {"type": "Healthy", "status": "True", "message": "ok"}
    return {"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [healthy]}


def partial(obj: Json) -> Json:
    """Metadata alone."""
    return PARTIAL | {"metadata": obj.get("metadata", {})}


class Expiring:
    """Events go an hour after their last change; looked at when the next one is written."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store, self._now = store, now
        self._queue: list[tuple[datetime, str, str, int, Key]] = []
        self._busy = False

    def note(self, key: Key, event: Event) -> None:
        """A hook of the store."""
        if key not in EVENTS or event.kind == "DELETED" or self._busy:
            return
        now = self._now()
        heapq.heappush(self._queue, (now + EVENT_TTL, event.new.namespace, event.new.name, event.new.version, key))
        self._busy = True
        try:
            while self._queue and self._queue[0][0] <= now:
                _, namespace, name, version, where = heapq.heappop(self._queue)
                stored = self._store.get(where, namespace, name)
                if stored is not None and stored.version == version:
                    self._store.remove(where, namespace, name)
        finally:
            self._busy = False


# --------------------------------------------------------------------------------------------------------------- delete
def delete_options(req: Req, call: Call) -> DeleteOptions:
    """From the body, or from the query where there is no body. Raises ApiError."""
    body: Json = {}
    if req.body.strip():
        value, _ = writes.parse(req.body, req.headers.get("content-type", ""), "DeleteOptions")
        struct = gotypes.types().of_kind("", "v1", "DeleteOptions")
        if not isinstance(value, dict) or struct is None:
            raise bad_request("the object provided is unrecognized (must be of type DeleteOptions)")
        if value.get("kind") not in (None, "", "DeleteOptions"):
            raise bad_request("decoded object cannot be converted to DeleteOptions")
        notes = gotypes.Notes()
        body = struct.conform(value, notes)
        if notes.error:
            raise bad_request(f'DeleteOptions in version "v1" cannot be handled as a DeleteOptions: {notes.error}')
    query = req.query
    dry = body.get("dryRun") or query.get("dryRun") or []
    grace = body.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        text = query["gracePeriodSeconds"][0]
        if not text.lstrip("-").isdigit():
            raise bad_request(f"strconv.ParseInt: parsing {errors.quote(text)}: invalid syntax")
        grace = int(text)
    propagation = body.get("propagationPolicy") or next(iter(query.get("propagationPolicy") or ()), None)
    orphan = body.get("orphanDependents")
    if orphan is None and query.get("orphanDependents"):
        orphan = query["orphanDependents"][0].lower() in ("true", "1")
    _check_delete_options(orphan, propagation, dry)
    call.dry_run = bool(dry)
    wanted = body.get("preconditions") or {}
    return DeleteOptions(grace, propagation, orphan, Preconditions(wanted.get("uid"), wanted.get("resourceVersion")))


def _check_delete_options(orphan: bool | None, propagation: str | None, dry: list[str]) -> None:
    """Source: ValidateDeleteOptions."""
    found = []
    if orphan is not None and propagation is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        found.append(errors.wrong("propagationPolicy", propagation, text))
    if propagation not in (None, "Foreground", "Background", "Orphan"):
        allowed = ("Foreground", "Background", "Orphan", "nil")
        found.append(errors.unsupported("propagationPolicy", propagation, allowed))
    found += writes.dry_run_errors(dry)
    if found:
        raise errors.invalid("meta.k8s.io", "DeleteOptions", "", found)


def returns_deleted(resource: Resource) -> bool:
    """Kinds whose deletion answers with the object. Source: ReturnDeletedObject in pkg/registry."""
    return resource.qualified in (
        "pods",
        "services",
        "serviceaccounts",
        "podtemplates",
        "resourcequotas",
        "persistentvolumes",
        "persistentvolumeclaims",
        "storageclasses.storage.k8s.io",
        "csidrivers.storage.k8s.io",
        "csinodes.storage.k8s.io",
        "volumeattachments.storage.k8s.io",
        "volumeattributesclasses.storage.k8s.io",
        "deviceclasses.resource.k8s.io",
        "resourceclaims.resource.k8s.io",
        "resourceclaimtemplates.resource.k8s.io",
        "resourceslices.resource.k8s.io",
    )


# --------------------------------------------------------------------------------------------------------------- create
def create(server: ApiServer, call: Call, model: Model, obj: Json) -> Json:
    """Create an object of any resource; bindings are no objects."""
    if call.resource.qualified == "bindings":
        return _bind(server, call, obj, (obj.get("metadata") or {}).get("name", ""))
    return server.rest.create(call, model, obj)


# --------------------------------------------------------------------------------------------------------- subresources
def subresource(server: ApiServer, req: Req, call: Call, model: Model, verb: str, media: str) -> tuple[int, Json]:
    """A write to a subresource that is not status. Raises ApiError."""
    sub = call.subresource
    if sub == "scale":
        return 200, _write_scale(server, req, call, model, verb, media)
    if verb == "patch":
        if media not in writes.patch_types(model):
            raise writes.unsupported_media(*writes.patch_types(model))
        force = (req.query.get("force") or [""])[0].lower() in ("true", "1")
        transform = writes.patcher(call, model, media, req.body, force, server.rest.now())
        return 200, server.rest.update(call, model, transform)[0]
    value, twice = writes.parse(req.body, req.headers.get("content-type", ""), call.resource.subresources[sub].kind)
    if not isinstance(value, dict):
        raise bad_request("the object provided is unrecognized")
    del twice
    return (201 if verb == "create" else 200), local_subresource(server, call, model, value)


def local_subresource(server: ApiServer, call: Call, model: Model, value: Json) -> Json:
    """A write to a subresource, from JSON values. Raises ApiError."""
    sub = call.subresource
    if sub == "token":
        return _issue_token(server, call, value)
    if sub == "eviction":
        return _evict(server, call, value)
    if sub == "binding":
        return _bind(server, call, value, call.name)
    if sub == "scale":
        return _put_scale(server, call, model, value)
    if sub in ("finalize", "approval", "ephemeralcontainers", "resize"):
        decoded = writes.decode(
            call, model, {"apiVersion": model.resource.api_version, "kind": model.resource.kind} | value, [], b"{}"
        )
        writes.check_name(call, decoded)
        return _part(server, call, model, decoded)
    raise errors.method_not_allowed(call.resource.group, call.resource.plural)


def _part(server: ApiServer, call: Call, model: Model, decoded: Json) -> Json:
    """finalize, approval, resize, ephemeralcontainers: a part of the object is taken over."""

    def transform(old: Json) -> Json:
        new = clone(old)
        version = decoded["metadata"].get("resourceVersion")
        new["metadata"]["resourceVersion"] = version or old["metadata"]["resourceVersion"]
        if call.subresource == "finalize":
            new["spec"] = decoded.get("spec") or {}
        elif call.subresource == "approval":
            new.setdefault("status", {})["conditions"] = (decoded.get("status") or {}).get("conditions")
        elif call.subresource == "ephemeralcontainers":
            new["spec"]["ephemeralContainers"] = (decoded.get("spec") or {}).get("ephemeralContainers")
        else:
            _take_resources(new, decoded)
        return writes.with_owners(call, model, old, new, server.rest.now())

    done, _ = server.rest.update(call, model, transform)
    if (
        call.subresource == "finalize"
        and done["metadata"].get("deletionTimestamp")
        and not (done.get("spec") or {}).get("finalizers")
    ) and not done["metadata"].get("finalizers"):
        server.store.remove(call.resource.storage_key, "", call.name)
    return done


def _take_resources(new: Json, wished: Json) -> None:
    given = {one["name"]: one.get("resources") for one in (wished.get("spec") or {}).get("containers") or ()}
    for container in new["spec"].get("containers") or ():
        if container["name"] in given:
            container["resources"] = given[container["name"]] or {}


def _issue_token(server: ApiServer, call: Call, value: Json) -> Json:
    """Source: registry/core/serviceaccount/storage/token.go."""
    struct = gotypes.types().of_kind("authentication.k8s.io", "v1", "TokenRequest")
    account = server._read("v1/serviceaccounts", call.namespace, call.name)
    if account is None:
        raise errors.not_found("", "serviceaccounts", call.name)
    notes = gotypes.Notes()
    made: Json = struct.conform(value, notes) if struct else value
    if notes.error:
        raise bad_request(f'TokenRequest in version "v1" cannot be handled as a TokenRequest: {notes.error}')
    spec = made.get("spec") or {}
    seconds = spec.get("expirationSeconds") or 3600
    if seconds < 600:
        found = errors.wrong("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        raise errors.invalid("authentication.k8s.io", "TokenRequest", "", [found])
    seconds = min(seconds, 1 << 32)
    audiences = spec.get("audiences") or ["https://kubernetes.default.svc.cluster.local"]
    token, end = server.tokens.issue(account, seconds, audiences, spec.get("boundObjectRef"))
    meta = {"name": call.name, "namespace": call.namespace, "creationTimestamp": server.rest.now()}
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": meta,
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": spec.get("boundObjectRef")},
        "status": {"token": token, "expirationTimestamp": stamp(end)},
    }


def _bind(server: ApiServer, call: Call, value: Json, name: str) -> Json:
    """A pod gets its node. Source: registry/core/pod/storage/storage.go BindingREST."""
    target = (value.get("target") or {}).get("name", "")
    if not target:
        found = errors.required("target.name")
        raise errors.invalid("", "Binding", name, [found])
    pods = server.registry.get("", "v1", "pods")
    if pods is None:
        raise AssertionError("pods are always served")
    model = server.model(pods)
    inner = Call(pods, "update", call.user, call.namespace, name, "binding", manager=call.manager, dry_run=call.dry_run)

    def transform(old: Json) -> Json:
        if old["metadata"].get("deletionTimestamp"):
            raise errors.conflict(
                "", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host"
            )
        if old["spec"].get("nodeName"):
            raise errors.conflict(
                "",
                "pods/binding",
                name,
                f"pod {name} is already assigned to node {errors.quote(old['spec']['nodeName'])}",
            )
        new = clone(old)
        new["spec"]["nodeName"] = target
        conditions = [one for one in (new.get("status") or {}).get("conditions") or () if one["type"] != "PodScheduled"]
        scheduled = {
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": server.rest.now(),
        }
        new.setdefault("status", {})["conditions"] = [*conditions, scheduled]
        return new

    server.rest.update(inner, model, transform)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _evict(server: ApiServer, call: Call, value: Json) -> Json:
    """Delete a pod where its budget allows. Source: registry/core/pod/storage/eviction.go."""
    pods = server.registry.get("", "v1", "pods")
    pod = server._read("v1/pods", call.namespace, call.name)
    if pod is None or pods is None:
        raise errors.not_found("", "pods", call.name)
    given = (value.get("metadata") or {}).get("name", "")
    if given != call.name:
        raise bad_request("name in URL does not match name in Eviction object")
    wished = value.get("deleteOptions") or {}
    dry = bool(wished.get("dryRun")) or call.dry_run
    budgets = _budgets_of(server, pod)
    if len(budgets) > 1:
        raise errors.internal_error(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    if budgets and not _may_go_anyway(pod, budgets[0]):
        _spend(server, call, pod, budgets[0], dry)
    inner = Call(pods, "delete", call.user, call.namespace, call.name, manager=call.manager, dry_run=dry)
    wanted = wished.get("preconditions") or {}
    options = DeleteOptions(
        wished.get("gracePeriodSeconds"),
        wished.get("propagationPolicy"),
        None,
        Preconditions(wanted.get("uid"), wanted.get("resourceVersion")),
    )
    server.rest.delete(inner, server.model(pods), options)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _budgets_of(server: ApiServer, pod: Json) -> list[Json]:
    labels = pod["metadata"].get("labels") or {}
    found = []
    for stored in server.store.collection(("policy", "poddisruptionbudgets")).sorted(pod["metadata"]["namespace"])[1]:
        budget = stored.decode()
        selector = selectors.of_object((budget.get("spec") or {}).get("selector"))
        if selector is not None and selectors.matches(selector, labels):
            found.append(budget)
    return found


def _may_go_anyway(pod: Json, budget: Json) -> bool:
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed", "Pending") or pod["metadata"].get("deletionTimestamp"):
        return True
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ())
    if ready:
        return False
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    state = budget.get("status") or {}
    return bool(state.get("desiredHealthy", 0) > 0 and state.get("currentHealthy", 0) >= state.get("desiredHealthy", 0))


def _spend(server: ApiServer, call: Call, pod: Json, budget: Json, dry: bool) -> None:
    """Source: checkAndDecrement."""
    name, state = budget["metadata"]["name"], budget.get("status") or {}
    text = "Cannot evict pod as it would violate the pod's disruption budget."
    if state.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        words = f"The disruption budget {name} is still being processed by the server."
        causes = [{"reason": "DisruptionBudget", "message": words}]
        raise ApiError(429, "TooManyRequests", text, {"causes": causes, "retryAfterSeconds": 10})
    allowed = state.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise errors.forbidden("policy", "poddisruptionbudgets", name, "pdb disruptions allowed is negative")
    if allowed == 0:
        words = f"The disruption budget {name} needs {state.get('desiredHealthy', 0)} healthy pods and has {state.get('currentHealthy', 0)} currently"
        raise ApiError(429, "TooManyRequests", text, {"causes": [{"reason": "DisruptionBudget", "message": words}]})
    if dry:
        return
    resource = server.registry.get("policy", "v1", "poddisruptionbudgets")
    if resource is None:
        raise AssertionError("budgets are always served")
    inner = Call(resource, "update", call.user, call.namespace, name, "status", manager=call.manager)
    model = server.model(resource)

    def transform(old: Json) -> Json:
        new = clone(old)
        status = new.setdefault("status", {})
        status["disruptionsAllowed"] = allowed - 1
        status["disruptedPods"] = (status.get("disruptedPods") or {}) | {pod["metadata"]["name"]: server.rest.now()}
        return writes.with_owners(inner, model, old, new, server.rest.now())

    server.rest.update(inner, model, transform)


# ---------------------------------------------------------------------------------------------------------------- scale
def _write_scale(server: ApiServer, req: Req, call: Call, model: Model, verb: str, media: str) -> Json:
    if verb == "update":
        value, twice = writes.parse(req.body, req.headers.get("content-type", ""), "Scale")
        if not isinstance(value, dict):
            raise bad_request("the object provided is unrecognized (must be of type Scale)")
        return _put_scale(server, call, model, value, twice)
    stored = server.store.get(call.resource.storage_key, call.namespace, call.name)
    if stored is None:
        raise errors.not_found(call.resource.group, call.resource.plural, call.name)
    accepted = writes.patch_types(model)
    if media not in accepted:
        raise writes.unsupported_media(*accepted)
    force = (req.query.get("force") or [""])[0].lower() in ("true", "1")
    return _patch_scale(server, call, model, media, req.body, force)


SCALE_TYPING: Final = ("autoscaling", "v1", "Scale")


def _scale_typing() -> managed.Typing:
    struct = gotypes.types().of_kind(*SCALE_TYPING)
    if struct is None:
        raise AssertionError("the type of Scale is missing")
    identity = {"kind": "Scale", "apiVersion": scale.VERSION}
    return managed.Typing(
        api_version=scale.VERSION,
        kind="Scale",
        atom=lambda version: scale_atom() if version == scale.VERSION else None,
        convert=lambda obj, version: obj | {"apiVersion": version},
        empty=lambda: struct.zero() | identity,
        ignored={},
        subresource="scale",
        default=lambda obj: scale.conform(obj)[0],
    )


Change = Callable[[Json], tuple[Json, list[str]]]


def _put_scale(server: ApiServer, call: Call, model: Model, value: Json, twice: list[str] | None = None) -> Json:
    said = value.get("apiVersion") or scale.VERSION
    if (value.get("kind") or "Scale", said) != ("Scale", scale.VERSION):
        raise bad_request(
            f'{value.get("kind")} in version "{said.rpartition("/")[2]}" cannot be handled as a Scale: no kind "{value.get("kind")}" is registered for version "{said}"'
        )
    try:
        wished, unknown = scale.conform(value)
    except ValueError as error:
        raise bad_request(f'Scale in version "v1" cannot be handled as a Scale: {error}') from error
    strict = [*(twice or []), *unknown]
    if strict and call.validation == "Strict":
        raise bad_request(
            f'Scale in version "v1" cannot be handled as a Scale: strict decoding error: {", ".join(strict)}'
        )
    for text in strict if call.validation == "Warn" else ():
        call.warn(text)
    writes.check_name(call, wished)
    return _change_scale(server, call, model, lambda old: _owned(call, old, wished, server.rest.now()))


def _owned(call: Call, old: Json, new: Json, now: str) -> Json:
    entries = managed.update(old, new, _scale_typing(), call.manager, now)
    new["metadata"]["managedFields"] = entries
    return new


def _patch_scale(server: ApiServer, call: Call, model: Model, media: str, body: bytes, force: bool) -> Json:
    now = server.rest.now()

    def transform(old: Json) -> Json:
        if media == writes.APPLY:
            found = gojson.load_yaml(body) if body[:1] != b"{" else gojson.loads(body)[0]
            made = managed.apply(old, found, _scale_typing(), call.manager, force=force, now=now)
            entries = made["metadata"].get("managedFields")
            made = scale.conform(made)[0]
            made["metadata"]["managedFields"] = entries or []
            return made
        try:
            found, _ = gojson.loads(body)
        except gojson.SyntaxFault as error:
            raise bad_request(f"error decoding patch: {error}") from error
        held = clone(old)
        patched = patch.json_patch(held, found) if media == writes.JSON_PATCH else patch.merge_patch(held, found)
        try:
            done, unknown = scale.conform(patched)
        except ValueError as error:
            raise errors.invalid(
                "", "", "", [errors.wrong("patch", plain.text(patched).decode(), str(error))]
            ) from error
        for text in unknown if call.validation == "Warn" else ():
            call.warn(text)
        return _owned(call, old, done, now)

    return _change_scale(server, call, model, transform)


def _change_scale(server: ApiServer, call: Call, model: Model, change: Callable[[Json], Json]) -> Json:
    wished_path = scale.paths_of(model)[0]

    def transform(old: Json) -> Json:
        present = scale.of(model, old)
        present["metadata"]["managedFields"] = scale.to_scale(old["metadata"].get("managedFields"), wished_path)
        shown = scale.conform(present)[0]
        shown["metadata"]["managedFields"] = present["metadata"]["managedFields"]
        new_scale = change(shown)
        if new_scale["metadata"].get("name") != call.name:
            raise bad_request(
                f"the name of the object ({new_scale['metadata'].get('name', '')}) does not match the name on the URL ({call.name})"
            )
        found = scale.validate(new_scale) if model.resource.crd is None else []
        if found:
            raise errors.invalid("autoscaling", "Scale", call.name, found)
        new = clone(old)
        scale.set_at_path(new, wished_path, (new_scale.get("spec") or {}).get("replicas", 0))
        version = new_scale["metadata"].get("resourceVersion")
        new["metadata"]["resourceVersion"] = version or old["metadata"]["resourceVersion"]
        if new_scale["metadata"].get("uid") and new_scale["metadata"]["uid"] != old["metadata"]["uid"]:
            why = f"Precondition failed: UID in precondition: {new_scale['metadata']['uid']}, UID in object meta: {old['metadata']['uid']}"
            raise errors.conflict(call.resource.group, call.resource.plural, call.name, why)
        entries = scale.to_parent(
            new_scale["metadata"].get("managedFields"),
            old["metadata"].get("managedFields"),
            wished_path,
            model.resource.api_version,
        )
        new["metadata"]["managedFields"] = entries
        return new

    done, _ = server.rest.update(call, model, transform)
    return scale.of(model, done)


# -------------------------------------------------------------------------------------------------------------- reviews
def review(server: ApiServer, call: Call, obj: Json) -> Json:
    """Answer an access, token or self review. Raises ApiError."""
    sort, spec = call.resource.plural, obj.get("spec") or {}
    made = clone(obj)
    made["metadata"] = {"creationTimestamp": None} | (obj.get("metadata") or {})
    if sort == "selfsubjectreviews":
        made["status"] = {"userInfo": _user_info(call.user)}
    elif sort == "tokenreviews":
        made["status"] = _token_status(server, spec)
    elif sort == "selfsubjectrulesreviews":
        made["status"] = _rules_status(server, call.user, spec.get("namespace", ""))
    else:
        made["status"] = _access_status(server, call, sort, spec)
    return made


def _user_info(user: User) -> Json:
    made: Json = {"username": user.name}
    if user.uid:
        made["uid"] = user.uid
    if user.groups:
        made["groups"] = list(user.groups)
    if user.extra:
        made["extra"] = {key: list(values) for key, values in user.extra.items()}
    return made


def _token_status(server: ApiServer, spec: Json) -> Json:
    token = spec.get("token", "")
    if not token:
        raise bad_request("token is required for TokenReview in authentication")
    user = server.authenticate(token)
    if user is None:
        return {"user": {}}
    audiences = spec.get("audiences") or ["https://kubernetes.default.svc.cluster.local"]
    return {"authenticated": True, "user": _user_info(user), "audiences": audiences}


def _access_status(server: ApiServer, call: Call, sort: str, spec: Json) -> Json:
    """Source: pkg/registry/authorization and pkg/apis/authorization/validation."""
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    kind = call.resource.kind
    found = []
    if resource is not None and other is not None:
        found.append(
            errors.wrong(
                "spec.nonResourceAttributes",
                errors.Raw("{...}"),
                "cannot be specified in combination with resourceAttributes",
            )
        )
    if resource is None and other is None:
        found.append(
            errors.wrong(
                "spec.resourceAttributes",
                errors.Raw("{...}"),
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )
        )
    if sort != "selfsubjectaccessreviews" and not spec.get("user") and not spec.get("groups"):
        found.append(errors.wrong("spec.user", "", "at least one of user or group must be specified"))
    if found:
        raise errors.invalid("authorization.k8s.io", kind, "", found)
    user = call.user
    if sort != "selfsubjectaccessreviews":
        user = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""))
    if resource is not None:
        plural = resource.get("resource", "")
        if resource.get("subresource"):
            plural += f"/{resource['subresource']}"
        asked = Attributes(
            resource.get("verb", ""),
            resource.get("group", ""),
            plural,
            resource.get("namespace", ""),
            resource.get("name", ""),
        )
    else:
        asked = Attributes((other or {}).get("verb", ""), path=(other or {}).get("path", "") or "/")
    return {"allowed": True} if server.authorizer.allowed(user, asked) else {"allowed": False}


def _rules_status(server: ApiServer, user: User, namespace: str) -> Json:
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    rules = [*server.authorizer.rules(user, ""), *(server.authorizer.rules(user, namespace) if namespace else ())]
    if rbac.MASTERS in user.groups:
        rules = [everything, {"verbs": ["*"], "nonResourceURLs": ["*"]}, *rules]
    return {
        "resourceRules": [
            {key: rule[key] for key in ("verbs", "apiGroups", "resources", "resourceNames") if rule.get(key)}
            for rule in rules
            if rule.get("resources")
        ],
        "nonResourceRules": [
            {"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]}
            for rule in rules
            if rule.get("nonResourceURLs")
        ],
        "incomplete": False,
    }
