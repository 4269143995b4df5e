"""Models: how objects of a resource are decoded, defaulted, typed, stored and read back.

There is one model for a built-in resource (a Go type and an OpenAPI schema) and one for a custom one (the schema of its CRD).
Both work on whole objects, `apiVersion` and `kind` included, in the version that was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from lab.kube import builtin, conversion
from lab.kube.errors import bad_request, wrong
from lab.kube.plain import clone, text
from lab.kube.registry import DATA, Resource, load_gz
from lab.kube.schema import crd, gotypes, managed, patch, smd, structural
from lab.kube.schema.fieldset import FieldSet
from lab.kube.store import Stored
from lab.kube.strategies import Strategy, reset_fields

Json = dict[str, Any]


class Decoded:
    """A decoded body: the object, and what strict decoding has to say."""

    __slots__ = ("obj", "strict")

    def __init__(self, obj: Json, strict: list[str]) -> None:
        self.obj, self.strict = obj, strict


class Model:
    """What both sorts share."""

    def __init__(self, resource: Resource, strategy: Strategy) -> None:
        self.resource, self.strategy = resource, strategy
        self._typings: dict[str, managed.Typing] = {}

    def decode(self, body: Json) -> Decoded:
        """A body of the right kind and version. Raises ValueError with the decoder's words."""
        raise AssertionError

    def default(self, obj: Json) -> None:
        """Fill in defaults, in place."""
        raise AssertionError

    def normal(self, obj: Json) -> Json:
        """The object as it is read back after a write."""
        raise AssertionError

    def shown(self, obj: Json) -> Json:
        """A written object as it is answered: what reading adds to it is added in place."""
        return obj

    def held(self, stored: Stored, old: Json) -> Json:
        """What is stored, to tell whether a write changes it; `old` is what was read of it."""
        return old

    def load(self, stored: Stored) -> Json:
        """A stored object in this resource's version."""
        raise AssertionError

    def view(self, stored: Stored) -> Json:
        """The same, shared and not to be changed below its first level."""
        return self.load(stored)

    def to_storage(self, obj: Json) -> Json:
        """The object in the version that is stored."""
        raise AssertionError

    def empty(self) -> Json:
        """A new object, as its type makes it."""
        raise AssertionError

    def typing(self, subresource: str) -> managed.Typing:
        """For managedFields; cached."""
        found = self._typings.get(subresource)
        if found is None:
            found = self._typings[subresource] = self._typing(subresource)
        return found

    def _typing(self, subresource: str) -> managed.Typing:
        raise AssertionError

    def prefix(self) -> bytes:
        """The start of an encoded object."""
        head = json.dumps({"kind": self.resource.kind, "apiVersion": self.resource.api_version}, separators=(",", ":"))
        return head[:-1].encode() + b","

    def encode(self, stored: Stored) -> bytes:
        """A stored object as it is sent."""
        raise AssertionError

    def encode_item(self, stored: Stored) -> bytes:
        """A stored object as it stands in a list."""
        return self.encode(stored)

    def warnings(self) -> tuple[str, ...]:
        """What every request to this version is told."""
        return ()

    def fields(self, obj: Json) -> dict[str, str]:
        """What field selectors can ask beside name and namespace; empty values are left out."""
        return {name: value for name, read in self.strategy.selectable.items() if (value := read(obj))}


# ------------------------------------------------------------------------------------------------------------- built-in
@lru_cache(maxsize=64)
def openapi(group: str, version: str) -> Mapping[str, Any]:
    """The schemas of a built-in group and version."""
    name = f"openapi-v3/{group or 'core'}-{version}.json.gz"
    document: Mapping[str, Any] = load_gz(name) if (DATA / name).exists() else {"components": {"schemas": {}}}
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    return schemas


@lru_cache(maxsize=512)
def schema_name(group: str, version: str, kind: str) -> str:
    """The name of a kind's schema in its OpenAPI document."""
    for name, schema in openapi(group, version).items():
        for gvk in schema.get("x-kubernetes-group-version-kind", ()):
            if (gvk["group"], gvk["version"], gvk["kind"]) == (group, version, kind) and not name.endswith("List"):
                return str(name)
    return ""


@lru_cache(maxsize=64)
def _reader(group: str, version: str) -> smd.SchemaReader:
    return smd.SchemaReader(openapi(group, version))


def builtin_atom(api_version: str, kind: str) -> smd.Atom | None:
    """The typed schema of a built-in kind."""
    group, _, version = api_version.rpartition("/")
    if (group, kind) == ("autoscaling", "Scale"):  # published where it is served, not with its own group
        return _reader("apps", "v1").named("io.k8s.api.autoscaling.v1.Scale")
    name = schema_name(group, version, kind)
    return _reader(group, version).named(name) if name else None


def scale_atom() -> smd.Atom:
    """The typed schema of Scale, which stands in the documents of the groups that have it as a subresource."""
    return _reader("apps", "v1").named("io.k8s.api.autoscaling.v1.Scale")


class BuiltinModel(Model):
    """A built-in resource."""

    def __init__(self, resource: Resource, strategy: Strategy) -> None:
        super().__init__(resource, strategy)
        struct = gotypes.types().of_kind(resource.group, resource.version, resource.kind)
        if struct is None:
            raise KeyError(resource.gvr)
        self.struct = struct
        self._prefix = self.prefix()
        self._identity = {"kind": resource.kind, "apiVersion": resource.api_version}
        stored = conversion.STORED.get((resource.group, resource.plural))
        self._stored = stored if stored != resource.api_version else None  # the form that it is stored in, if another

    def decode(self, body: Json) -> Decoded:
        notes = gotypes.Notes()
        obj = self.struct.conform(body, notes)
        if notes.error:
            raise ValueError(notes.error)
        obj |= self._identity
        self.default(obj)
        return Decoded(obj, [f'unknown field "{name}"' for name in notes.unknown])

    def default(self, obj: Json) -> None:
        self.strategy.default(obj)

    def conform(self, obj: Json) -> Json:
        """Through the Go type, without asking whether it fits."""
        made: Json = self.struct.conform(obj, gotypes.Notes())
        return made | self._identity

    def normal(self, obj: Json) -> Json:
        return self.conform(obj)

    def load(self, stored: Stored) -> Json:
        obj = self._identity | stored.decode()
        if self._stored is None:
            return obj
        made = conversion.convert(obj | {"apiVersion": self._stored}, self.resource.api_version)
        self.default(made)
        return made

    def view(self, stored: Stored) -> Json:
        return {**self._identity, **stored.view()} if self._stored is None else self.load(stored)

    def to_storage(self, obj: Json) -> Json:
        return obj if self._stored is None else conversion.convert(obj, self._stored)

    def fields(self, obj: Json) -> dict[str, str]:
        if self.resource.kind != "Event":
            return super().fields(obj)
        return {name: value for name, value in builtin.event_fields(conversion.convert(obj, "v1")).items() if value}

    def empty(self) -> Json:
        made: Json = self.struct.zero()
        return made | self._identity

    def _typing(self, subresource: str) -> managed.Typing:
        resource = self.resource
        reset = reset_fields(self.strategy, subresource)
        groups = ("", "events.k8s.io") if resource.kind == "Event" else (resource.group,)

        def after_apply(obj: Json) -> Json:
            notes = gotypes.Notes()
            made: Json = self.struct.conform(obj, notes)
            if notes.error:
                meta_ = obj.get("metadata") or {}
                version = resource.api_version if resource.group else f"/{resource.version}"
                what = f"{version}, Kind={resource.kind}"
                raise ValueError(
                    f"failed to convert new object ({meta_.get('namespace', '')}/{meta_.get('name', '')}; {what}) to proper "
                    f"version: unable to convert unstructured object to {what}: {notes.error}"
                )
            made |= self._identity
            self.default(made)
            return made

        return managed.Typing(
            api_version=resource.api_version,
            kind=resource.kind,
            atom=lambda version: builtin_atom(version, resource.kind) if version.rpartition("/")[0] in groups else None,
            convert=conversion.convert,
            empty=self.empty,
            ignored={resource.api_version: reset},
            subresource=subresource,
            default=after_apply,
        )

    def encode(self, stored: Stored) -> bytes:
        if self._stored is not None:
            return text(self.load(stored))
        return self._prefix + stored.raw[1:]

    def encode_item(self, stored: Stored) -> bytes:
        if self._stored is not None:
            obj = self.load(stored)
            return text({k: v for k, v in obj.items() if k not in ("kind", "apiVersion")})
        return stored.raw

    @property
    def converts(self) -> bool:
        """Whether objects are stored in another form."""
        return self._stored is not None

    def lookup(self) -> patch.Lookup:
        """Strategies of strategic merge."""
        models = openapi(self.resource.group, self.resource.version)
        name = schema_name(self.resource.group, self.resource.version, self.resource.kind)
        return patch.Lookup(models, models[name])


# --------------------------------------------------------------------------------------------------------------- custom
class CustomModel(Model):
    """A custom resource in one version."""

    def __init__(self, resource: Resource, strategy: Strategy, atom: Callable[[str], smd.Atom | None]) -> None:
        super().__init__(resource, strategy)
        definition = resource.crd or {}
        self.definition = definition
        self.version = crd.version_of(definition, resource.version)
        self.schema = crd.schema_of(definition, resource.version)
        self.storage_version = f"{resource.group}/{crd.storage_version(definition)}"
        self.subresources: Mapping[str, Any] = self.version.get("subresources") or {}
        self.rules = crd.rules_of(definition, resource.version)
        self._atom = atom
        self._prefix = self.prefix()
        self._same = resource.api_version == self.storage_version
        self._as_stored = self._same and not crd.has_defaults(definition, resource.version)  # reading adds nothing
        self._identity = {"apiVersion": resource.api_version, "kind": resource.kind}

    def decode(self, body: Json) -> Decoded:
        obj = clone(body)
        strict = self.shape(obj)
        return Decoded(obj, [f'unknown field "{name}"' for name in strict])

    def warnings(self) -> tuple[str, ...]:
        if not self.version.get("deprecated"):
            return ()
        said = self.version.get("deprecationWarning")
        return (said or f"{self.resource.api_version} {self.resource.kind} is deprecated",)

    def check_kind(self, body: Json) -> None:
        """Raises ApiError where the body is of another version; its kind is judged with everything else."""
        said = body.get("apiVersion", "")
        if said != self.resource.api_version:
            raise bad_request(
                f"the API version in the data ({said}) does not match the expected API version ({self.resource.api_version})"
            )

    def shape(self, obj: Json) -> list[str]:
        """Bring a decoded object into form, in place: metadata, embedded metadata, pruning, defaults. The unknown fields.

        Raises ValueError.
        """
        unknown = self._metadata(obj)
        embedded: list[str] = []
        complaint = structural.coerce_metadata(obj, self.schema, "", unknown=embedded)
        if complaint:
            raise ValueError(complaint)
        if not self.definition["spec"].get("preserveUnknownFields"):
            unknown += structural.prune(obj, self.schema)
        self.default(obj)
        return unknown + embedded

    def _metadata(self, obj: Json) -> list[str]:
        if "metadata" not in obj:
            return []
        notes = gotypes.Notes()
        given = obj["metadata"]
        if not isinstance(given, dict):
            if given is None:
                del obj["metadata"]
                return []
            notes.mismatch(given, "v1.ObjectMeta")
            raise ValueError(wrong("metadata", given, notes.error).text)
        done = structural.metadata_type().conform(given, notes)
        if notes.error:
            raise ValueError(notes.error)
        obj["metadata"] = {key: value for key, value in done.items() if value is not None}
        if given.get("managedFields") == []:
            obj["metadata"]["managedFields"] = []
        return [f"metadata.{name}" for name in notes.unknown]

    def default(self, obj: Json) -> None:
        structural.default(obj, self.schema)

    def normal(self, obj: Json) -> Json:
        meta = {key: value for key, value in obj["metadata"].items() if value not in (None, [], {}, "")}
        return obj | {"metadata": meta}

    def shown(self, obj: Json) -> Json:
        structural.default(obj, self.schema)
        return obj

    def held(self, stored: Stored, old: Json) -> Json:
        made = self._identity | stored.decode()
        made["metadata"]["resourceVersion"] = str(stored.version)
        return made

    def load(self, stored: Stored) -> Json:
        obj = self._identity | stored.decode()
        if not self._same:
            structural.prune(obj, self.schema)
        if not self._plain(stored):
            structural.default(obj, self.schema)
        return obj

    def view(self, stored: Stored) -> Json:
        return {**self._identity, **stored.view()} if self._same and self._plain(stored) else self.load(stored)

    def _plain(self, stored: Stored) -> bool:
        """Whether there is nothing to fill in, and nothing to drop."""
        return self._as_stored and b"null" not in stored.raw

    def to_storage(self, obj: Json) -> Json:
        return obj

    def empty(self) -> Json:
        return dict(self._identity)

    def _typing(self, subresource: str) -> managed.Typing:
        resource = self.resource
        reset: FieldSet = {}
        if subresource == "status":
            reset = self.strategy.status_reset
        elif "status" in self.subresources:
            reset = {"f:status": {}}
        group = resource.group

        def after_apply(obj: Json) -> Json:
            self.default(obj)
            return obj

        def convert(obj: Json, version: str) -> Json:
            return obj | {"apiVersion": version}

        served = {f"{group}/{one['name']}" for one in self.definition["spec"]["versions"]}
        return managed.Typing(
            api_version=resource.api_version,
            kind=resource.kind,
            atom=lambda version: self._atom(version.rpartition("/")[2]) if version in served else None,
            convert=convert,
            empty=self.empty,
            ignored=dict.fromkeys(served, reset),
            subresource=subresource,
            default=after_apply,
        )

    def encode(self, stored: Stored) -> bytes:
        if self._as_stored:
            return self._prefix + stored.raw[1:]
        return text(self.load(stored))


def model_for(resource: Resource, strategy: Strategy, atoms: Callable[[str], smd.Atom | None]) -> Model:
    """The model of a served resource."""
    if resource.crd is not None:
        return CustomModel(resource, strategy, atoms)
    return BuiltinModel(resource, strategy)
