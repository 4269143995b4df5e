"""`dataclass`, as the standard library's with `frozen=True, slots=True`, made in a third of the time.

The library compiles six functions for each frozen class. This room alone has forty of them, and every command pays for them before
it says a word: 60 of the 250 ms that `status` may take. Here `__init__` alone is compiled; what else there is, is shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # all that is checked holds of these classes too
else:
    import dataclasses
    from operator import attrgetter

    _set = object.__setattr__

    def dataclass(*, frozen, slots, kw_only=False):
        """The decorator. Only for classes that cannot be changed."""
        assert frozen and slots
        bare = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)

        def made(cls):
            cls = bare(cls)
            fields = dataclasses.fields(cls)
            names = tuple(field.name for field in fields)
            for name, function in {"__init__": _init(cls, fields), **_shared(names)}.items():
                if name not in cls.__dict__ or name in ("__init__", "__hash__"):
                    setattr(cls, name, function)
            return cls

        return made

    def _init(cls, fields):
        known = {"_set": _set, "_MISSING": dataclasses.MISSING}
        plain, named, body = [], [], []
        for field in fields:
            name, value = field.name, field.name
            word = name
            if field.default is not dataclasses.MISSING:
                known[f"_default_{name}"] = field.default
                word = f"{name}=_default_{name}"
            elif field.default_factory is not dataclasses.MISSING:
                known[f"_factory_{name}"] = field.default_factory
                word = f"{name}=_MISSING"
                value = f"_factory_{name}() if {name} is _MISSING else {name}"
            (named if field.kw_only else plain).append(word)
            body.append(f" _set(self, {name!r}, {value})")
        words = ", ".join(["self", *plain, *(["*", *named] if named else [])])
        exec(f"def __init__({words}):\n" + ("\n".join(body) or " pass"), known)  # names of fields alone, as the library does
        made = known["__init__"]
        made.__qualname__ = f"{cls.__qualname__}.__init__"
        return made

    def _shared(names):
        values = attrgetter(*names) if len(names) > 1 else (lambda self: tuple(getattr(self, name) for name in names))

        def equal(self, other):
            return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

        def hashed(self):
            return hash(values(self))

        def told(self):
            return f"{self.__class__.__qualname__}({', '.join([f'{name}={getattr(self, name)!r}' for name in names])})"

        return {"__eq__": equal, "__hash__": hashed, "__repr__": told, **_FROZEN}

    def _refuse_set(self, name, value):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def _refuse_delete(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def _state(self):
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def _restore(self, state):
        for field, value in zip(dataclasses.fields(self), state, strict=True):
            _set(self, field.name, value)

    _FROZEN = {"__setattr__": _refuse_set, "__delattr__": _refuse_delete, "__getstate__": _state, "__setstate__": _restore}
