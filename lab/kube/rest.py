"""Create, update, delete and list: the steps of the real server's generic registry, in its order.

Nothing here knows of HTTP. Source: k8s.io/apiserver/pkg/registry/generic/registry/store.go and registry/rest (v0.33).
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from lab.kube import errors
from lab.kube.errors import ApiError, bad_request, conflict, internal, invalid, not_found
from lab.kube.models import Model
from lab.kube.plain import canonical, clone, same
from lab.kube.registry import Resource
from lab.kube.schema import managed, meta
from lab.kube.store import Store, Stored
from lab.kube.strategies import Context
from lab.kube.wire import User

Json = dict[str, Any]
Transform = Callable[[Json], Json]
NAME_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"  # k8s.io/apimachinery/pkg/util/rand
CREATE_WITH_VERSION: Final = "resourceVersion should not be set on objects to be created"
ETCD_PATHS: Final = {
    ("", "nodes"): "minions",
    ("", "services"): "services/specs",
    ("", "endpoints"): "services/endpoints",
    ("", "replicationcontrollers"): "controllers",
    ("networking.k8s.io", "ingresses"): "ingress",
    ("apiextensions.k8s.io", "customresourcedefinitions"): "apiextensions.k8s.io/customresourcedefinitions",
    ("apiregistration.k8s.io", "apiservices"): "apiregistration.k8s.io/apiservices",
}


def stamp(now: datetime) -> str:
    """A time as objects print it."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class Call:
    """One request to a resource, and what it asks for beside the object."""

    resource: Resource
    verb: str
    user: User
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    manager: str = "unknown"
    dry_run: bool = False
    validation: str = "Warn"
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Add a Warning header, each text once."""
        if text not in self.warnings:
            self.warnings.append(text)


class Admission(Protocol):
    """What may change or refuse a write; see lab/kube/admission.py. `old` is None at creation, `new` at deletion."""

    def mutate(self, call: Call, new: Json, old: Json | None) -> None:
        """Change `new`, in place. Raises ApiError."""
        ...

    def validate(self, call: Call, new: Json | None, old: Json | None) -> None:
        """Raises ApiError."""
        ...


@dataclass(slots=True)
class Preconditions:
    """Of a deletion or a PUT that names a uid."""

    uid: str | None = None
    version: str | None = None


@dataclass(slots=True)
class DeleteOptions:
    """Of a deletion."""

    grace: int | None = None
    propagation: str | None = None
    orphan: bool | None = None
    preconditions: Preconditions = field(default_factory=Preconditions)


class Rest:
    """The operations on one cluster's store."""

    def __init__(
        self,
        store: Store,
        admission: Admission,
        now: Callable[[], datetime],
        seed: int,
        read: Callable[[str, str, str], Json | None],
    ) -> None:
        self.store, self.admission, self._now = store, admission, now
        self._random = random.Random(seed)
        self._read = read
        self.begin: dict[
            str, Callable[[Json, Json | None], None]
        ] = {}  # by qualified resource; allocates what it needs

    def new_uid(self) -> str:
        """A random UUID, from the seed."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def new_name(self, prefix: str) -> str:
        """generateName's work."""
        return prefix[:58] + "".join(self._random.choices(NAME_LETTERS, k=5))

    def context(self, call: Call) -> Context:
        """For strategies."""
        return Context(now=stamp(self._now()), user=call.user.name, read=self._read)

    def now(self) -> str:
        """As objects print it."""
        return stamp(self._now())

    # ------------------------------------------------------------------------------------------------------------ create
    def create(self, call: Call, model: Model, obj: Json) -> Json:
        """Store a decoded new object; as read back. Raises ApiError."""
        meta_ = self._metadata(obj)
        self._match_namespace(call, meta_)
        for text in meta.deduplicate_owners(meta_):
            call.warn(text)
        entries = managed.update(model.empty(), obj, model.typing(call.subresource), call.manager, self.now())
        self._set_managed(meta_, entries)
        self.admission.mutate(call, obj, None)
        return self._create(call, model, obj)

    def _create(self, call: Call, model: Model, obj: Json) -> Json:
        """From the generic registry on: metadata, strategy, validation, admission, storage."""
        strategy, resource = model.strategy, model.resource
        meta_ = obj["metadata"]
        meta_["uid"], meta_["creationTimestamp"] = self.new_uid(), self.now()
        for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            meta_.pop(key, None)
        if meta_.get("generateName") and not meta_.get("name"):
            meta_["name"] = self._free_name(resource, meta_)
        self._match_namespace(call, meta_)
        if strategy.generation:
            meta_["generation"] = 1
        self._begin(call, obj, None)
        strategy.prepare(obj, None, self.context(call))
        name = meta_.get("name", "")
        found = meta.validate(meta_, resource.namespaced, strategy.names) + strategy.validate(obj, None)
        if found:
            raise invalid(resource.group, obj.get("kind") or resource.kind, name, found)
        for text in strategy.warn(obj, None):
            call.warn(text)
        self.admission.validate(call, obj, None)
        old = self.store.get(resource.storage_key, meta_.get("namespace", ""), name)
        version = meta_.get("resourceVersion", "")
        if version not in ("", "0"):
            raise internal(CREATE_WITH_VERSION)
        if old is not None:
            raise self._taken(call, old)
        return self._commit(call, model, model.normal(obj), None)

    def _begin(self, call: Call, new: Json, old: Json | None) -> None:
        hook = self.begin.get(call.resource.qualified)
        if hook is not None and not call.subresource:
            hook(new, old)

    def _taken(self, call: Call, old: Stored) -> ApiError:
        error = errors.already_exists(call.resource.group, call.resource.plural, old.name)
        if b'"deletionTimestamp"' in old.raw and old.decode()["metadata"].get("deletionTimestamp"):
            error.message = f"object is being deleted: {error.message}"
        return error

    def _free_name(self, resource: Resource, meta_: Json) -> str:
        name = ""
        for _ in range(8):
            name = self.new_name(meta_["generateName"])
            if self.store.get(resource.storage_key, meta_.get("namespace", ""), name) is None:
                break
        return name

    def _commit(self, call: Call, model: Model, done: Json, old: Stored | None) -> Json:
        """Store `done`, which `model.normal` made; as read back."""
        done["metadata"].pop("resourceVersion", None)
        if call.dry_run:
            if old is not None:
                done["metadata"]["resourceVersion"] = str(old.version)
            return model.shown(clone(done))
        stored = self.store.commit(model.resource.storage_key, model.to_storage(done), model.fields(done))
        done["metadata"]["resourceVersion"] = str(stored.version)
        return model.shown(done)

    @staticmethod
    def _metadata(obj: Json) -> Json:
        found = obj.get("metadata")
        if not isinstance(found, dict):
            found = obj["metadata"] = {}
        return found

    @staticmethod
    def _set_managed(meta_: Json, entries: list[Json]) -> None:
        if entries:
            meta_["managedFields"] = entries
        else:
            meta_.pop("managedFields", None)

    def _match_namespace(self, call: Call, meta_: Json) -> None:
        """Source: rest.EnsureObjectNamespaceMatchesRequestNamespace."""
        wanted = call.namespace if call.resource.namespaced else ""
        given = meta_.get("namespace", "")
        if given == wanted:
            return
        if not wanted:
            meta_.pop("namespace", None)
        elif not given:
            meta_["namespace"] = wanted
        else:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")

    # ------------------------------------------------------------------------------------------------------------ update
    def update(
        self,
        call: Call,
        model: Model,
        transform: Transform,
        *,
        preconditions: Preconditions | None = None,
        allow_create: bool = False,
    ) -> tuple[Json, bool]:
        """Change an object by `transform`; what is read back and whether it was created. Raises ApiError.

        `transform` gets the present object (an empty one where there is none), which it leaves as it is, and keeps account of
        managedFields itself.
        """
        resource, strategy = model.resource, model.strategy
        old = self.store.get(resource.storage_key, call.namespace, call.name)
        if preconditions and preconditions.uid is not None:
            self._check_uid(call, old, preconditions.uid)
        if old is None:
            if not (strategy.create_on_update and not call.subresource) and not allow_create:
                raise not_found(resource.group, resource.plural, call.name)
            return self._create_by_update(call, model, transform), True
        return self._update(call, model, transform, old), False

    def _create_by_update(self, call: Call, model: Model, transform: Transform) -> Json:
        obj = transform(model.empty())
        meta_ = self._metadata(obj)
        self._match_namespace(call, meta_)
        self.admission.mutate(call, obj, None)
        return self._create(call, model, obj)

    def _check_uid(self, call: Call, old: Stored | None, uid: str) -> None:
        found = old.uid if old else ""
        if found == uid:
            return
        resource = call.resource
        key = f"/registry/{etcd_path(resource)}/" + (f"{call.namespace}/" if resource.namespaced else "") + call.name
        why = (
            f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: "
            f"UID in precondition: {uid}, UID in object meta: {found}"
        )
        raise conflict(resource.group, resource.plural, call.name, why)

    def _update(self, call: Call, model: Model, transform: Transform, stored: Stored) -> Json:
        resource = model.resource
        old = model.load(stored)
        new = transform(old)
        meta_ = self._metadata(new)
        self._match_namespace(call, meta_)
        self.admission.mutate(call, new, old)
        for text in meta.deduplicate_owners(meta_):
            call.warn(text)
        version = meta_.get("resourceVersion", "")
        if version and not version.isdigit():
            raise internal(f"strconv.ParseUint: parsing {errors.quote(version)}: invalid syntax")
        if version in ("", "0"):
            if not model.strategy.unconditional:
                error = errors.wrong("metadata.resourceVersion", errors.Raw("0x0"), "must be specified for an update")
                raise invalid(resource.group, resource.plural, call.name, [error])
            meta_["resourceVersion"] = str(stored.version)
        elif int(version) != stored.version:
            raise conflict(resource.group, resource.plural, call.name)
        self._begin(call, new, old)
        self._prepare(call, model, new, old)
        self._validate_update(call, model, new, old)
        self.admission.validate(call, new, old)
        return self._finish(call, model, new, old, stored)

    def _prepare(self, call: Call, model: Model, new: Json, old: Json) -> None:
        """Source: rest.BeforeUpdate."""
        strategy, meta_, before = model.strategy, new["metadata"], old["metadata"]
        if before.get("generation"):
            meta_["generation"] = before["generation"]
        else:
            meta_.pop("generation", None)
        if call.subresource == "status":
            self._prepare_status(call, model, new, old)
        else:
            if strategy.has_status and call.subresource == "":
                if "status" in old:
                    new["status"] = old["status"]
                else:
                    new.pop("status", None)
            if call.subresource in ("", "scale"):  # the others have strategies of their own: they change one part
                strategy.prepare(new, old, self.context(call))
            if strategy.generation and call.subresource in ("", "scale") and self._moved(model, new, old):
                meta_["generation"] = (before.get("generation") or 0) + 1
        if not meta_.get("uid"):
            meta_["uid"] = before.get("uid", "")
        for key in ("creationTimestamp", "deletionTimestamp"):
            if before.get(key):
                meta_[key] = before[key]
        if before.get("deletionGracePeriodSeconds") is not None and meta_.get("deletionGracePeriodSeconds") is None:
            meta_["deletionGracePeriodSeconds"] = before["deletionGracePeriodSeconds"]

    @staticmethod
    def _moved(model: Model, new: Json, old: Json) -> bool:
        """Whether a field that counts for the generation differs."""
        if model.resource.crd is not None:
            ignored = {"metadata", "status"} if "status" in model.resource.subresources else {"metadata"}
            keys = (new.keys() | old.keys()) - ignored
            return any(not same(new.get(key), old.get(key)) for key in keys)
        names = [name for name in model.strategy.generation if name == "annotations" or not same(new.get(name), old.get(name))]
        done = model.normal(new) if names else new
        for name in names:
            if name == "annotations":
                if (new["metadata"].get("annotations") or {}) != (old["metadata"].get("annotations") or {}):
                    return True
            elif not same(done.get(name), old.get(name)):
                return True
        return False

    def _prepare_status(self, call: Call, model: Model, new: Json, old: Json) -> None:
        strategy = model.strategy
        if model.resource.crd is not None:
            kept = old | {"metadata": dict(old["metadata"])}
            status, entries = new.get("status"), new["metadata"].get("managedFields")
            if "status" in new:
                kept["status"] = status
            else:
                kept.pop("status", None)
            new.clear()
            new.update(kept)
            self._set_managed(new["metadata"], entries or [])
            return
        if "spec" in old:
            new["spec"] = clone(old["spec"])
        strategy.prepare_status(new, old, self.context(call))

    def _validate_update(self, call: Call, model: Model, new: Json, old: Json) -> None:
        if call.subresource == "binding":
            return  # the real server stores a binding without another validation of the pod
        strategy, resource = model.strategy, model.resource
        check = strategy.validate_status if call.subresource == "status" else strategy.validate
        generic = meta.validate(new["metadata"], resource.namespaced, meta.path_segment)
        found = [*generic, *meta.validate_update(new["metadata"], old["metadata"]), *check(new, old)]
        if found:
            raise invalid(resource.group, new.get("kind") or resource.kind, call.name, found)
        if call.subresource != "status":
            for text in strategy.warn(new, old):
                call.warn(text)

    def _finish(self, call: Call, model: Model, new: Json, old: Json, stored: Stored) -> Json:
        meta_, before = new["metadata"], old["metadata"]
        if (
            before.get("deletionTimestamp")
            and not meta_.get("finalizers")
            and not before.get("deletionGracePeriodSeconds")
        ) and not self._blocked(model, new):
            return self._delete_emptied(call, model, new, stored)
        done = model.normal(new)
        done["metadata"]["resourceVersion"] = str(stored.version)
        if unchanged(done, model.held(stored, old)):
            return old
        return self._commit(call, model, done, stored)

    @staticmethod
    def _blocked(model: Model, obj: Json) -> bool:
        """A namespace stays while its own finalizers are there."""
        return model.resource.qualified == "namespaces" and bool((obj.get("spec") or {}).get("finalizers"))

    def _delete_emptied(self, call: Call, model: Model, new: Json, stored: Stored) -> Json:
        """The last finalizer went: the object goes too, and the answer is the object as it would have been."""
        done = model.normal(new)
        if not call.dry_run:
            self.store.remove(model.resource.storage_key, call.namespace, call.name, model.to_storage(clone(done)))
        done["metadata"]["resourceVersion"] = str(stored.version)
        return done

    # ------------------------------------------------------------------------------------------------------------ delete
    def delete(self, call: Call, model: Model, options: DeleteOptions) -> tuple[Json, bool]:
        """The last state of the object, and whether it is gone. Raises ApiError. Source: Store.Delete."""
        resource = model.resource
        stored = self.store.get(resource.storage_key, call.namespace, call.name)
        if stored is None:
            raise not_found(resource.group, resource.plural, call.name)
        old = model.load(stored)
        self._check_preconditions(model, call, old, options.preconditions)
        self.admission.validate(call, None, old)
        new = clone(old)
        graceful, pending = self._graceful(model, new, options)
        if pending:
            return old, False
        self._gc_finalizers(model, new, options)
        waits = bool(new["metadata"].get("finalizers")) or self._blocked(model, new)
        if not graceful and waits:
            self._mark(new)
            if self._blocked(model, new):  # Source: registry/core/namespace/storage Delete
                new["status"] = {**(new.get("status") or {}), "phase": "Terminating"}
        if waits and resource.qualified == "namespaces":
            new.setdefault("status", {})["phase"] = "Terminating"
        if (graceful and (options.grace or 0) > 0) or waits:
            return self._store_deleting(call, model, new, old, stored), False
        last = self._last_state(model, new if graceful else old)
        if not call.dry_run:
            if graceful:
                self._commit(call, model, model.normal(new), stored)
            gone = self.store.remove(resource.storage_key, call.namespace, call.name)
            if gone is not None:
                last["metadata"]["resourceVersion"] = str(gone.version)
        return last, True

    def _store_deleting(self, call: Call, model: Model, new: Json, old: Json, stored: Stored) -> Json:
        done = model.normal(new)
        if same(done, old):
            return old
        return self._commit(call, model, done, stored)

    @staticmethod
    def _last_state(model: Model, obj: Json) -> Json:
        return model.normal(obj) if obj else obj

    def _check_preconditions(self, model: Model, call: Call, old: Json, wanted: Preconditions) -> None:
        resource, meta_ = model.resource, old["metadata"]
        if wanted.uid is not None and wanted.uid != meta_["uid"]:
            why = (
                f"the UID in the precondition ({wanted.uid}) does not match the UID in record ({meta_['uid']}). "
                "The object might have been deleted and then recreated"
            )
            raise conflict(resource.group, resource.kind, call.name, why)
        if wanted.version is not None and wanted.version != meta_["resourceVersion"]:
            why = (
                f"the ResourceVersion in the precondition ({wanted.version}) does not match the ResourceVersion in record "
                f"({meta_['resourceVersion']}). The object might have been modified"
            )
            raise conflict(resource.group, resource.kind, call.name, why)

    def _graceful(self, model: Model, obj: Json, options: DeleteOptions) -> tuple[bool, bool]:
        """Source: rest.BeforeDelete."""
        if options.grace is not None and options.grace < 0:
            options.grace = 1
        if not model.strategy.graceful:
            return False, False
        meta_ = obj["metadata"]
        period = meta_.get("deletionGracePeriodSeconds")
        if meta_.get("deletionTimestamp"):
            if not period:
                return False, False
            if options.grace is None or options.grace >= period:
                return False, True
            shorter = max(
                datetime.strptime(meta_["deletionTimestamp"], "%Y-%m-%dT%H:%M:%S%z")
                - timedelta(seconds=period - options.grace),
                self._now(),
            )
            meta_["deletionTimestamp"], meta_["deletionGracePeriodSeconds"] = stamp(shorter), options.grace
            return True, False
        options.grace = pod_grace(obj, options.grace)
        meta_["deletionTimestamp"] = stamp(self._now() + timedelta(seconds=options.grace))
        meta_["deletionGracePeriodSeconds"] = options.grace
        if meta_.get("generation"):
            meta_["generation"] += 1
        return True, False

    def _gc_finalizers(self, model: Model, obj: Json, options: DeleteOptions) -> None:
        """Source: deletionFinalizersForGarbageCollection."""
        if not model.strategy.collected:
            return
        meta_ = obj["metadata"]
        have = list(meta_.get("finalizers") or ())
        orphan, foreground = self._policy(model, have, options)
        kept = [one for one in have if one not in ("orphan", "foregroundDeletion")]
        kept += ["orphan"] if orphan else []
        kept += ["foregroundDeletion"] if foreground else []
        if set(kept) == set(have):
            return
        if kept:
            meta_["finalizers"] = kept
        else:
            meta_.pop("finalizers", None)

    @staticmethod
    def _policy(model: Model, have: list[str], options: DeleteOptions) -> tuple[bool, bool]:
        if options.orphan is not None:
            return options.orphan, False
        if options.propagation is not None:
            return options.propagation == "Orphan", options.propagation == "Foreground"
        for one in have:
            if one in ("orphan", "foregroundDeletion"):
                return one == "orphan", one == "foregroundDeletion"
        return model.strategy.orphans, False

    def _mark(self, obj: Json) -> None:
        """Source: markAsDeleting."""
        meta_ = obj["metadata"]
        if not meta_.get("deletionTimestamp") and meta_.get("generation"):
            meta_["generation"] += 1
        if not meta_.get("deletionTimestamp") or meta_["deletionTimestamp"] > self.now():
            meta_["deletionTimestamp"] = self.now()
        meta_["deletionGracePeriodSeconds"] = 0

    # -------------------------------------------------------------------------------------------------------------- list
    def items(self, resource: Resource, namespace: str) -> Iterator[Stored]:
        """Objects now, in order."""
        return iter(self.store.collection(resource.storage_key).sorted(namespace)[1])


def pod_grace(pod: Json, asked: int | None) -> int:
    """Source: registry/core/pod/strategy.go CheckGracefulDelete."""
    spec = pod.get("spec") or {}
    period = asked if asked is not None else spec.get("terminationGracePeriodSeconds", 30)
    if not spec.get("nodeName"):
        return 0
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return 0
    return 1 if period < 0 else int(period)


def unchanged(one: Json, other: Json) -> bool:
    """Whether two states of an object differ in nothing but managers' times; most writes are told from their old state early."""
    if one.keys() != other.keys() or any(one[key] != other[key] for key in one if key != "metadata"):
        return False
    return same(timeless(one), timeless(other))


def timeless(obj: Json) -> Json:
    """Without managers' times: a change of nothing else is no change. Source: IgnoreManagedFieldsTimestampsTransformer."""
    meta_ = obj["metadata"]
    entries = [
        {key: value for key, value in entry.items() if key != "time"} for entry in meta_.get("managedFields") or ()
    ]
    entries.sort(key=canonical)
    return obj | {"metadata": meta_ | {"managedFields": entries}}


def etcd_path(resource: Resource) -> str:
    """Where a resource's objects stand below /registry."""
    if resource.crd is not None:
        return f"{resource.group}/{resource.plural}"
    return ETCD_PATHS.get((resource.group, resource.plural), resource.plural)
