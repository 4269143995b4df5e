"""Who may do what: RBAC over the store's own roles and bindings, with the real server's words for refusals.

Rules are read once and kept until a role or binding changes. Source: k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac and
k8s.io/apiserver/pkg/endpoints/handlers/responsewriters errors.go (v1.33).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from lab.kube.errors import ApiError, quote
from lab.kube.store import Event, Key, Store
from lab.kube.wire import User

GROUP: Final = "rbac.authorization.k8s.io"
MASTERS: Final = "system:masters"
Rule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked for. `resource` holds the subresource too: "pods/log"; `path` is set for what is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Authorizer:
    """RBAC of one cluster."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: dict[tuple[User | str, ...], list[Rule]] = {}
        store.hooks.append(self._changed)

    def _changed(self, key: Key, event: Event) -> None:
        if key[0] == GROUP:
            self._cache.clear()

    def allowed(self, user: User, asked: Attributes) -> bool:
        """Whether a user may."""
        if MASTERS in user.groups:
            return True
        if any(rule_allows(rule, asked) for rule in self.rules(user, "")):
            return True
        return bool(asked.namespace) and any(rule_allows(rule, asked) for rule in self.rules(user, asked.namespace))

    def rules(self, user: User, namespace: str) -> list[Rule]:
        """The rules that a user has in the whole cluster (no namespace), or by bindings of one namespace."""
        key = (user.name, *user.groups, "/", namespace)
        found = self._cache.get(key)
        if found is None:
            if len(self._cache) > 4096:
                self._cache.clear()
            found = self._cache[key] = list(self._rules(user, namespace))
        return found

    def _rules(self, user: User, namespace: str) -> Iterator[Rule]:
        plural = "rolebindings" if namespace else "clusterrolebindings"
        for stored in self._store.collection((GROUP, plural)).sorted(namespace)[1]:
            binding = stored.decode()
            if any(is_subject(subject, user, namespace) for subject in binding.get("subjects") or ()):
                yield from self._role(binding["roleRef"], namespace)

    def _role(self, reference: dict[str, str], namespace: str) -> list[Rule]:
        local = reference["kind"] == "Role"
        key = (GROUP, "roles" if local else "clusterroles")
        stored = self._store.get(key, namespace if local else "", reference["name"])
        return (stored.decode().get("rules") or []) if stored else []


def is_subject(subject: dict[str, str], user: User, namespace: str) -> bool:
    """Whether a binding's subject means the user."""
    kind, name = subject.get("kind"), subject.get("name", "")
    if kind == "User":
        return name == user.name
    if kind == "Group":
        return name in user.groups
    if kind == "ServiceAccount":
        return user.name == f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
    return False


def rule_allows(rule: Rule, asked: Attributes) -> bool:
    """Whether one rule allows what is asked."""
    verbs = rule.get("verbs") or ()
    if "*" not in verbs and asked.verb not in verbs:
        return False
    if asked.path:
        return any(
            url == "*" or url == asked.path or (url.endswith("*") and asked.path.startswith(url[:-1]))
            for url in rule.get("nonResourceURLs") or ()
        )
    groups, resources, names = rule.get("apiGroups") or (), rule.get("resources") or (), rule.get("resourceNames") or ()
    if "*" not in groups and asked.group not in groups:
        return False
    sub = asked.resource.partition("/")[2]
    if not ("*" in resources or asked.resource in resources or (sub and f"*/{sub}" in resources)):
        return False
    return not names or asked.name in names


def refusal(user: User, asked: Attributes) -> ApiError:
    """403."""
    who = f"User {quote(user.name)} cannot {asked.verb}"
    if asked.path:
        text = f"{who} path {quote(asked.path)}"
        return ApiError(403, "Forbidden", f"forbidden: {text}", {})
    plural = asked.resource.partition("/")[0]
    text = f"{who} resource {quote(asked.resource)} in API group {quote(asked.group)}"
    text += f" in the namespace {quote(asked.namespace)}" if asked.namespace else " at the cluster scope"
    what = f"{plural}.{asked.group}" if asked.group else plural
    details = {key: value for key, value in (("name", asked.name), ("group", asked.group), ("kind", plural)) if value}
    head = f"{what} {quote(asked.name)}" if asked.name else what
    return ApiError(403, "Forbidden", f"{head} is forbidden: {text}", details)
