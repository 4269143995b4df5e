"""The API server of one cluster: from a request to its answer. It knows no socket; see lab/kube/http.py.

Order of the real server's filters: authentication, impersonation, authorization, then the resource's handler.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Protocol

import yaml

from lab.kube import builtin, discovery, errors, listing, plain, scale, special, streams, writes
from lab.kube.admission import Plugins
from lab.kube.bootstrap import fill_empty
from lab.kube.custom import Definitions, custom_model
from lab.kube.errors import ApiError
from lab.kube.local import LocalPort
from lab.kube.models import BuiltinModel, Model
from lab.kube.negotiation import Wanted, negotiate
from lab.kube.plugins import MUTATORS, VALIDATORS
from lab.kube.port import KubePort
from lab.kube.rbac import Attributes, Authorizer, refusal
from lab.kube.registry import Registry, Resource
from lab.kube.rest import Call, DeleteOptions, Preconditions, Rest
from lab.kube.services import Addresses, Allocator
from lab.kube.store import Store, Stored
from lab.kube.tokens import Tokens
from lab.kube.wire import ConnectionCutError, Fault, Req, RequestRecord, Resp, Stream, Upgrade, User

Json = dict[str, Any]
Answer = Resp | Stream | Upgrade
ANONYMOUS: Final = User("system:anonymous", ("system:unauthenticated",))
AUTHENTICATED: Final = "system:authenticated"
JSON_HEADERS: Final = {"content-type": "application/json"}
READS: Final = {"get", "list", "watch"}
HEALTH: Final = ("/healthz", "/livez", "/readyz")
POD_STREAMS: Final = ("log", "exec", "attach", "portforward")
REVIEWS: Final = {
    "subjectaccessreviews", "selfsubjectaccessreviews", "localsubjectaccessreviews", "selfsubjectrulesreviews", "tokenreviews", "selfsubjectreviews",
}  # fmt: skip


class Clock(Protocol):
    """Simulated time; see lab/clock.py."""

    speed: float

    def now(self) -> datetime:
        """The time of day, in UTC."""
        ...

    def seconds(self) -> float:
        """Since the world began."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def call_later(self, seconds: float, fn: Callable[[], object]) -> object:
        """Call later; needs a running loop."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """What a path and a method ask for."""

    verb: str
    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def target_of(req: Req) -> Target | None:
    """The resource that a path names; None for other paths. Source: apiserver/pkg/endpoints/request requestinfo.go."""
    parts = [part for part in req.path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watching = rest[0] == "watch" and len(rest) > 1
    if watching:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    elif rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
    plural, name = rest[0], rest[1] if len(rest) > 1 else ""
    subresource = "/".join(rest[2:3])
    return Target(_verb(req, name, watching), group, version, plural, namespace, name, subresource)


def _verb(req: Req, name: str, watching: bool) -> str:
    verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}.get(
        req.method, ""
    )
    if verb == "get":
        if watching or _flag(req, "watch"):
            return "watch"
        return "get" if name else "list"
    return "deletecollection" if verb == "delete" and not name else verb


def _one(req: Req, name: str) -> str:
    values = req.query.get(name)
    return values[0] if values else ""


def _flag(req: Req, name: str) -> bool:
    return name in req.query and _one(req, name).lower() not in ("0", "false")


@lru_cache(maxsize=2048)
def _model_of(resource: Resource) -> Model:
    """A resource's model: the same one for all servers of this process."""
    if resource.crd is not None:
        return custom_model(resource)
    return BuiltinModel(resource, builtin.strategy_of(resource.group, resource.plural))


class ApiServer:
    """One cluster's API. `record` is told of each finished request of a client, `faults` may spoil one."""

    def __init__(
        self, name: str, *, clock: Clock, seed: int = 0, service_cidrs: Sequence[str] = ("10.96.0.0/12",), blank: bool = False
    ) -> None:
        """`blank`: without what a server puts into an empty cluster, since a store is about to be restored."""
        self.name, self.clock = name, clock
        self.store = Store()
        self.registry = Registry()
        self.record: Callable[[RequestRecord], None] | None = None
        self.faults: Callable[[Req], Fault | None] | None = None
        self.host: streams.PodHost | None = None
        self.metrics: Callable[[ApiServer, Target], Json | None] | None = None
        self.static_tokens: dict[str, User] = {}
        self.authorizer = Authorizer(self.store)
        self.tokens = Tokens(seed, clock.now)
        self.addresses = Addresses(self.store, service_cidrs, seed)
        self.plugins = Plugins(self.store, MUTATORS, VALIDATORS)
        self.rest = Rest(self.store, self.plugins, clock.now, seed, self._read)
        self.rest.begin["services"] = Allocator(self.addresses).begin
        self.definitions = Definitions(self)
        self._random = random.Random(seed + 1)
        self._watchings: set[listing.Watching] = set()
        self._encoded: dict[tuple[int, int], tuple[Stored, bytes]] = {}
        self._expiring = special.Expiring(self.store, clock.now)
        self.store.hooks.append(self._expiring.note)
        if not blank:
            fill_empty(self)

    # ------------------------------------------------------------------------------------------------------------ parts
    def model(self, resource: Resource) -> Model:
        """The model of a served resource."""
        return _model_of(resource)

    def _read(self, gvr: str, namespace: str, name: str) -> Json | None:
        resource = self.registry.by_gvr(gvr)
        stored = self.store.get(resource.storage_key, namespace, name) if resource else None
        return self.model(resource).load(stored) if resource and stored else None

    def local(self, user: str | User, manager: str = "") -> KubePort:
        """A port in this process, for a controller or a simulated program; `manager` (its name) is its field manager."""
        return LocalPort(self, user, manager)

    def snapshot(self) -> Json:
        """The whole store as JSON values."""
        return self.store.snapshot()

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Replace the whole store. Open watches end."""
        self.end_watches()
        self.store.restore(snapshot)
        self.authorizer = Authorizer(self.store)
        self.addresses.reload()
        self.definitions.reload()

    def empty(self) -> None:
        """The store as a server finds it in an etcd that is new; what was drawn for an earlier one is not drawn again."""
        self.restore(Store().snapshot())
        fill_empty(self)

    def end_watches(self) -> None:
        """End every open watch, as a restart does."""
        for watching in tuple(self._watchings):
            watching.close()

    def authenticate(self, token: str) -> User | None:
        """The user of a bearer token, or None where it is not good."""
        return self.static_tokens.get(token) or self.tokens.user_of(token, self._account_uid)

    def _account_uid(self, namespace: str, name: str) -> str:
        stored = self.store.get(("", "serviceaccounts"), namespace, name)
        return stored.uid if stored else ""

    # ---------------------------------------------------------------------------------------------------------- requests
    async def handle(self, req: Req) -> Answer:
        """Answer one request of a client. Raises ConnectionCutError where a fault says so."""
        fault = self.faults(req) if self.faults else None
        if fault is not None:
            if fault.latency:
                await self.clock.sleep(fault.latency)
            if fault.cut and fault.cut_after < 0:
                raise ConnectionCutError
            if fault.status:
                return faulty(fault)
        target = target_of(req)
        warnings: list[str] = []
        user = ANONYMOUS
        try:
            user = self._user(req)
            answer = await self._answer(req, user, target, warnings, fault)
        except ApiError as error:
            answer = refuse(error)
        if warnings and isinstance(answer, Resp | Stream):
            answer.headers["warning"] = ", ".join(f"299 - {_quoted(text)}" for text in warnings)
        if self.record is not None and target is not None:
            self.record(self._recorded(req, user, target, answer))
        return answer

    def _recorded(self, req: Req, user: User, target: Target, answer: Answer) -> RequestRecord:
        dry = "dryRun" in req.query or b'"dryRun"' in req.body
        status = answer.status if isinstance(answer, Resp | Stream) else 101
        reads = target.verb in READS or target.plural in REVIEWS or target.subresource in POD_STREAMS
        gvr = (
            f"{target.group}/{target.version}/{target.plural}" if target.group else f"{target.version}/{target.plural}"
        )
        return RequestRecord(
            verb=target.verb,
            gvr=gvr,
            namespace=target.namespace,
            name=target.name,
            subresource=target.subresource,
            user=user.name,
            dry_run=dry,
            mutates=not reads and not dry and status < 400,
            status=status,
            user_agent=req.headers.get("user-agent", ""),
        )

    def _user(self, req: Req) -> User:
        user = req.user
        if user is None:
            scheme, _, token = req.headers.get("authorization", "").partition(" ")
            if scheme.lower() == "bearer":
                user = self.authenticate(token.strip())
            if scheme and user is None:
                raise ApiError(401, "Unauthorized", "Unauthorized")
        if user is None:
            user = ANONYMOUS
        elif AUTHENTICATED not in user.groups and user.name != ANONYMOUS.name:
            user = User(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)
        return special.impersonated(req, user, self.authorizer)

    async def _answer(
        self, req: Req, user: User, target: Target | None, warnings: list[str], fault: Fault | None
    ) -> Answer:
        if target is None:
            return self._other(req, user)
        resource = self.registry.get(target.group, target.version, target.plural)
        namespace = target.namespace
        asked = Attributes(
            verb=target.verb,
            group=target.group,
            resource=f"{target.plural}/{target.subresource}" if target.subresource else target.plural,
            namespace=namespace,
            name=target.name or special.single_name(req),
        )
        if not self.authorizer.allowed(user, asked):
            raise refusal(user, asked)
        if resource is None:
            return self._unserved(req, target)
        if target.plural == "namespaces" and not target.group:
            namespace = ""
        if bool(namespace) and not resource.namespaced:
            return not_served()
        if not namespace and resource.namespaced and target.verb not in ("list", "watch"):
            if target.name:
                return not_served()
            raise self._no_method(resource, target)
        return await self._resource(req, user, target, resource, namespace, warnings, fault)

    def _no_method(self, resource: Resource, target: Target) -> ApiError:
        if resource.crd is not None:
            if target.verb in ("update", "patch") and not target.name:
                return errors.bad_request("name must be provided")
            text = f"{target.verb} is not supported on resources of kind {errors.quote(resource.qualified)}"
            return errors.method_not_allowed(resource.group, resource.plural, text)
        return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})

    def _unserved(self, req: Req, target: Target) -> Answer:
        if self.metrics is not None and target.group == "metrics.k8s.io":
            found = self.metrics(self, target)
            if found is not None:
                return self._reply(200, found, Wanted("application/json"))
        return not_served()

    def _other(self, req: Req, user: User) -> Answer:
        """Paths that name no resource."""
        path = req.path
        asked = Attributes(verb=req.method.lower(), path=path)
        if not self.authorizer.allowed(user, asked):
            raise refusal(user, asked)
        for probe in HEALTH:
            if path == probe or path.startswith(probe + "/"):
                return special.health(probe, path, verbose=_flag(req, "verbose"))
        accept = req.headers.get("accept", "")
        found = discovery.respond(self.registry, path, accept, req.headers.get("if-none-match", ""))
        if found is None and path.startswith("/openapi"):
            from lab.kube import openapi  # loads every schema; most clusters are never asked

            found = openapi.respond(self.registry, path, accept, req.query, req.headers.get("if-none-match", ""))
        if found is not None and req.method not in ("GET", "HEAD"):
            return method_not_allowed()
        return found if found is not None else special.known_extra(self, path) or not_served()

    # ---------------------------------------------------------------------------------------------------------- resource
    async def _resource(
        self,
        req: Req,
        user: User,
        target: Target,
        resource: Resource,
        namespace: str,
        warnings: list[str],
        fault: Fault | None,
    ) -> Answer:
        sub = target.subresource
        model = self.model(resource)
        if sub and sub not in resource.subresources:
            if resource.crd is not None:
                raise errors.not_found(resource.group, resource.plural, target.name)
            raise errors.unserved()
        verbs = resource.subresources[sub].verbs if sub else resource.verbs
        call = Call(resource, target.verb, user, namespace, target.name, sub, warnings=warnings)
        for text in model.warnings():
            call.warn(text)
        if sub in POD_STREAMS and resource.qualified == "pods":
            return await self._stream_of_pod(req, call)
        verb = target.verb
        if sub and verb == "list":
            verb = "get"
        nameless = verb in ("update", "patch") and not target.name
        if verb not in verbs or nameless or (verb == "create" and target.name and not sub):
            raise self._no_method(resource, target)
        wanted = negotiate(req.headers.get("accept", ""))
        if resource.group in ("authorization.k8s.io", "authentication.k8s.io"):
            return self._reply(201, special.review(self, call, self._body(req, call, model)), wanted)
        if verb in READS:
            return self._read_verb(req, call, model, verb, wanted, fault)
        if verb in ("delete", "deletecollection"):
            return self._delete(req, call, model, verb, wanted)
        return self._write(req, call, model, verb, wanted)

    async def _stream_of_pod(self, req: Req, call: Call) -> Answer:
        pod = self._read("v1/pods", call.namespace, call.name)
        if pod is None:
            raise errors.not_found("", "pods", call.name)
        return await streams.serve(req, pod, call.subresource, self.host)

    def _read_verb(self, req: Req, call: Call, model: Model, verb: str, wanted: Wanted, fault: Fault | None) -> Answer:
        if verb == "get":
            return self._get(req, call, model, wanted)
        options = listing.options_of(req.query, model.resource, model.strategy, watch=verb == "watch")
        if fault is not None and fault.expired:
            raise errors.expired(f"too old resource version: {options.version or 1} ({self.store.version})")
        if verb == "watch":
            if call.name:
                options = special.narrowed(options, call.name)
            return self._watch(req, call, model, options, wanted, fault)
        return self._list(req, call, model, options, wanted)

    def _get(self, req: Req, call: Call, model: Model, wanted: Wanted) -> Answer:
        resource = model.resource
        listing.version_of(_one(req, "resourceVersion"), self.store)
        stored = self.store.get(resource.storage_key, call.namespace, call.name)
        if stored is None:
            if resource.qualified == "componentstatuses":
                return self._reply(200, special.component_status(call.name), wanted)
            raise errors.not_found(resource.group, resource.plural, call.name)
        if call.subresource == "scale":
            return self._reply(200, scale.of(model, model.load(stored)), wanted)
        if wanted == Wanted("application/json"):
            return Resp(200, model.encode(stored), dict(JSON_HEADERS))
        return self._reply(200, model.load(stored), wanted, req=req, model=model)

    def _list(self, req: Req, call: Call, model: Model, options: listing.ListOptions, wanted: Wanted) -> Answer:
        resource = model.resource
        if resource.qualified == "componentstatuses":
            page = listing.Page([], {"resourceVersion": ""})
        else:
            page = listing.page(self.store, resource, call.namespace, options)
        if wanted == Wanted("application/json"):
            head = json.dumps(
                {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": page.metadata}
            )
            body = head[:-1].encode() + b', "items": [' + b",".join(map(model.encode_item, page.items)) + b"]}"
            return Resp(200, body, dict(JSON_HEADERS))
        objs = [model.load(stored) for stored in page.items]
        if wanted.kind == "Table":
            return self._table(req, model, objs, page.metadata)
        if wanted.kind.startswith("PartialObjectMetadata"):
            items = [special.partial(obj) for obj in objs]
            made = {
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": page.metadata,
                "items": items,
            }
            return self._reply(200, made, Wanted(wanted.media))
        made = {
            "kind": resource.list_kind,
            "apiVersion": resource.api_version,
            "metadata": page.metadata,
            "items": objs,
        }
        return self._reply(200, made, wanted)

    def _table(self, req: Req, model: Model, objs: list[Json], metadata: Json) -> Resp:
        from lab.kube import tables

        made = tables.render(self.registry, model.resource, objs, req.query, metadata, now=self.clock.now())
        return Resp(200, plain.text(made), dict(JSON_HEADERS))

    def _watch(
        self, req: Req, call: Call, model: Model, options: listing.ListOptions, wanted: Wanted, fault: Fault | None
    ) -> Answer:
        watching = listing.open_watch(self.store, model.resource, call.namespace, options)
        self._watchings.add(watching)
        timeout = options.timeout or self._random.uniform(1800, 3600)
        encode = self._encoder(req, model, wanted)
        cut = fault.cut_after if fault is not None and fault.cut else -1

        async def chunks() -> Any:
            try:
                async for event in listing.events(watching, self.store, model, options, encode, timeout, cut):
                    yield event
            finally:
                self._watchings.discard(watching)
                watching.close()

        headers = dict(JSON_HEADERS)
        return Stream(200, headers, chunks())

    def _encoder(self, req: Req, model: Model, wanted: Wanted) -> listing.Encode:
        if not wanted.kind:
            return lambda kind, stored: (
                b'{"type":"' + kind.encode() + b'","object":' + self._shared(model, stored) + b"}\n"
            )
        first = [True]

        def transform(kind: str, stored: Stored) -> bytes:
            obj = model.load(stored)
            if wanted.kind == "Table":
                from lab.kube import tables

                made = tables.render(
                    self.registry,
                    model.resource,
                    [obj],
                    req.query,
                    {"resourceVersion": str(stored.version)},
                    now=self.clock.now(),
                )
                if not first[0]:
                    made.pop("columnDefinitions", None)
                first[0] = False
            else:
                made = special.partial(obj)
            return plain.text({"type": kind, "object": made}) + b"\n"

        return transform

    def _shared(self, model: Model, stored: Stored) -> bytes:
        """The encoded object, made once for all watchers of a version."""
        if isinstance(model, BuiltinModel) and not model.converts:
            return model.encode(stored)
        key = (id(model), id(stored))
        found = self._encoded.get(key)
        if found is None or found[0] is not stored:
            if len(self._encoded) > 512:
                self._encoded.clear()
            found = self._encoded[key] = (stored, model.encode(stored))
        return found[1]

    # ------------------------------------------------------------------------------------------------------------ writes
    def _body(self, req: Req, call: Call, model: Model) -> Json:
        value, twice = writes.parse(
            req.body, req.headers.get("content-type", ""), model.resource.kind, custom=model.resource.crd is not None
        )
        return writes.decode(call, model, value, twice, req.body)

    def _options(self, req: Req, call: Call, kind: str, media: str = "") -> None:
        writes.check_options(kind, req.query, media)
        call.dry_run = bool(req.query.get("dryRun"))
        call.validation = _one(req, "fieldValidation") or "Warn"
        call.manager = writes.manager_of(req.query, req.headers.get("user-agent", ""))

    def _write(self, req: Req, call: Call, model: Model, verb: str, wanted: Wanted) -> Answer:
        if call.subresource and call.subresource != "status":
            return self._write_subresource(req, call, model, verb, wanted)
        if verb == "create":
            self._options(req, call, "CreateOptions")
            obj = self._body(req, call, model)
            made = special.create(self, call, model, obj) if not call.subresource else obj
            return self._reply(201, made, wanted, req=req, model=model)
        if verb == "update":
            self._options(req, call, "UpdateOptions")
            obj = self._body(req, call, model)
            writes.check_name(call, obj)
            uid = (obj.get("metadata") or {}).get("uid") or None
            transform = writes.put(call, model, obj, self.rest.now())
            done, created = self.rest.update(call, model, transform, preconditions=Preconditions(uid))
            return self._reply(201 if created else 200, done, wanted, req=req, model=model)
        media = writes.media_type(req.headers.get("content-type", ""))
        if media not in writes.patch_types(model):
            raise writes.unsupported_media(*writes.patch_types(model))
        self._options(req, call, "PatchOptions", media)
        transform = writes.patcher(
            call, model, media, req.body, _one(req, "force").lower() in ("true", "1"), self.rest.now()
        )
        done, created = self.rest.update(
            call, model, transform, allow_create=media == writes.APPLY and not call.subresource
        )
        return self._reply(201 if created else 200, done, wanted, req=req, model=model)

    def _write_subresource(self, req: Req, call: Call, model: Model, verb: str, wanted: Wanted) -> Answer:
        kinds = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}
        media = writes.media_type(req.headers.get("content-type", ""))
        self._options(req, call, kinds[verb], media if verb == "patch" else "")
        status, made = special.subresource(self, req, call, model, verb, media)
        return self._reply(status, made, wanted)

    def _delete(self, req: Req, call: Call, model: Model, verb: str, wanted: Wanted) -> Answer:
        options = special.delete_options(req, call)
        if verb == "deletecollection":
            return self._delete_collection(req, call, model, options, wanted)
        last, gone = self.rest.delete(call, model, options)
        resource = model.resource
        if gone and not special.returns_deleted(resource):
            details = errors.about(resource.group, resource.plural, call.name) | {"uid": last["metadata"]["uid"]}
            status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
            return self._reply(200, status, Wanted(wanted.media))
        return self._reply(200, last, wanted, req=req, model=model)

    def _delete_collection(self, req: Req, call: Call, model: Model, options: DeleteOptions, wanted: Wanted) -> Answer:
        found = listing.options_of(req.query, model.resource, model.strategy, watch=False)
        page = listing.page(self.store, model.resource, call.namespace, found)
        items = []
        for stored in page.items:
            one = Call(
                call.resource,
                "delete",
                call.user,
                stored.namespace,
                stored.name,
                "",
                call.manager,
                call.dry_run,
                call.validation,
                call.warnings,
            )
            again = DeleteOptions(options.grace, options.propagation, options.orphan, options.preconditions)
            try:
                self.rest.delete(one, model, again)
            except ApiError as error:
                if error.code != 404:
                    raise
            items.append(model.load(stored))
        resource = model.resource
        if resource.crd is None:
            items = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in items]
        made = {
            "kind": resource.list_kind,
            "apiVersion": resource.api_version,
            "metadata": page.metadata,
            "items": items,
        }
        return self._reply(200, made, Wanted(wanted.media))

    # ------------------------------------------------------------------------------------------------------------ answers
    def _reply(
        self, status: int, obj: Json, wanted: Wanted, *, req: Req | None = None, model: Model | None = None
    ) -> Resp:
        if wanted.kind == "Table" and req is not None and model is not None and obj.get("kind") == model.resource.kind:
            made = self._table(req, model, [obj], {"resourceVersion": obj["metadata"].get("resourceVersion", "")})
            made.status = status
            return made
        if wanted.kind == "PartialObjectMetadata" and obj.get("kind") != "Status":
            obj = special.partial(obj)
        if wanted.media == "application/yaml":
            return Resp(status, yaml.safe_dump(obj).encode(), {"content-type": "application/yaml"})
        return Resp(status, plain.text(obj), dict(JSON_HEADERS))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def refuse(error: ApiError) -> Resp:
    """A Status as an answer."""
    headers = dict(JSON_HEADERS) | error.headers
    seconds = (error.details or {}).get("retryAfterSeconds")
    if seconds:
        headers["retry-after"] = str(seconds)
    return Resp(error.code, plain.text(error.status()), headers)


def faulty(fault: Fault) -> Resp:
    """A scripted failure."""
    reasons = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout", 409: "Conflict"}
    reason = fault.reason or reasons.get(fault.status, "")
    details = {"retryAfterSeconds": fault.retry_after} if fault.retry_after else None
    return refuse(
        ApiError(fault.status, reason, fault.message or "the server is currently unable to handle the request", details)
    )


def not_served() -> Resp:
    """404 of a path that nobody serves: no Status, as the real server's mux answers it."""
    return Resp(
        404, b"404 page not found\n", {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
    )


def method_not_allowed() -> Resp:
    """405 of a path that is only read."""
    return refuse(errors.method_not_allowed("", ""))
