"""Network policies, ingresses, RBAC, budgets, leases, priorities and autoscalers.

Source: k8s.io/kubernetes/pkg/apis/{networking,rbac,policy,coordination,scheduling,autoscaling}/validation (v1.33).
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from lab.kube import errors, names
from lab.kube.errors import Raw
from lab.kube.schema import meta
from lab.kube.validation import batch, common
from lab.kube.validation.common import STRUCT, Errors, each
from lab.kube.validation.services import cidr

Json = dict[str, Any]
PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
RBAC: Final = "rbac.authorization.k8s.io"
METRICS: Final = ("ContainerResource", "External", "Object", "Pods", "Resource")
SYSTEM_PRIORITIES: Final = {"system-node-critical": 2000001000, "system-cluster-critical": 2000000000}
BAD_SEQUENCES: Final = ("//", "/./", "/../", "%2f", "%2F")
BAD_ENDS: Final = ("/..", "/.")


# ---------------------------------------------------------------------------------------------------- network policies
def network_policy(new: Json, old: Json | None) -> Errors:
    """Source: ValidateNetworkPolicySpec."""
    spec = new.get("spec") or {}
    result = common.selector(spec.get("podSelector") or {}, "spec.podSelector")
    for key, peers in (("ingress", "from"), ("egress", "to")):
        for place, rule in enumerate(spec.get(key) or ()):
            here = f"spec.{key}[{place}]"
            for number, port in enumerate(rule.get("ports") or ()):
                result += _policy_port(port, f"{here}.ports[{number}]")
            for number, peer in enumerate(rule.get(peers) or ()):
                result += _peer(peer, f"{here}.{peers}[{number}]")
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        return [*result, errors.wrong("spec.policyTypes", STRUCT, "may not specify more than two policyTypes")]
    for place, one in enumerate(types):
        if one not in ("Ingress", "Egress"):
            result.append(errors.unsupported(f"spec.policyTypes[{place}]", one, ("Ingress", "Egress")))
    return result


def _policy_port(found: Json, field: str) -> Errors:
    protocol, port, end = found.get("protocol"), found.get("port"), found.get("endPort")
    result: Errors = []
    if protocol is not None and protocol not in PROTOCOLS:
        result.append(errors.unsupported(f"{field}.protocol", protocol, PROTOCOLS))
    if port is None:
        if end is not None:
            text = "may not be specified when `port` is not specified"
            result.append(errors.wrong(f"{field}.endPort", end, text))
    elif isinstance(port, str):
        if end is not None:
            text = "may not be specified when `port` is non-numeric"
            result.append(errors.wrong(f"{field}.endPort", end, text))
        result += each(f"{field}.port", port, names.port_name(port))
    else:
        result += each(f"{field}.port", port, names.port_number(port))
        if end is not None:
            if end < port:
                result.append(errors.wrong(f"{field}.endPort", port, "must be greater than or equal to `port`"))
            result += each(f"{field}.endPort", end, names.port_number(end))
    return result


def _peer(peer: Json, field: str) -> Errors:
    result: Errors = []
    count = 0
    for key in ("podSelector", "namespaceSelector"):
        if peer.get(key) is not None:
            count += 1
            result += common.selector(peer[key], f"{field}.{key}")
    block = peer.get("ipBlock")
    if block is not None:
        count += 1
        result += _block(block, f"{field}.ipBlock")
    if count == 0:
        result.append(errors.required(field, "must specify a peer"))
    elif count > 1 and block is not None:
        result.append(errors.forbidden_field(field, "may not specify both ipBlock and another peer"))
    return result


def _block(block: Json, field: str) -> Errors:
    whole = block.get("cidr", "")
    if not whole:
        return [errors.required(f"{field}.cidr")]
    result = cidr(whole, f"{field}.cidr")
    if result:
        return result
    outer = ipaddress.ip_network(whole, strict=False)
    for place, part in enumerate(block.get("except") or ()):
        here = f"{field}.except[{place}]"
        complaints = cidr(part, here)
        result += complaints
        if complaints:
            continue
        inner = ipaddress.ip_network(part, strict=False)
        fits = inner.version == outer.version and inner.network_address in outer and outer.prefixlen < inner.prefixlen
        if not fits:
            result.append(errors.wrong(here, part, "must be a strict subset of `cidr`"))
    return result


# ----------------------------------------------------------------------------------------------------------- ingresses
def _host(value: str, field: str) -> Errors:
    check = names.wildcard_subdomain if "*" in value else names.dns1123_subdomain
    return each(field, value, check(value))


def ingress(new: Json, old: Json | None) -> Errors:
    """Source: ValidateIngressSpec."""
    spec = new.get("spec") or {}
    rules, backend = spec.get("rules") or [], spec.get("defaultBackend")
    result: Errors = []
    if not rules and backend is None:
        text = "either `defaultBackend` or `rules` must be specified"
        result.append(errors.wrong("spec", None, text))
    if backend is not None:
        result += _backend(backend, "spec.defaultBackend")
    for place, rule in enumerate(rules):
        here, host = f"spec.rules[{place}]", rule.get("host", "")
        if host:
            if names.is_ip(host):
                result.append(errors.wrong(f"{here}.host", host, "must be a DNS name, not an IP address"))
            result += _host(host, f"{here}.host")
        if rule.get("http") is not None:
            result += _paths(rule["http"].get("paths") or [], f"{here}.http.paths")
    for place, tls in enumerate(spec.get("tls") or ()):
        for number, host in enumerate(tls.get("hosts") or ()):
            result += _host(host, f"spec.tls[{place}].hosts[{number}]")
        secret = tls.get("secretName", "")
        if secret:
            result += each(f"spec.tls[{place}].secretName", secret, names.dns1123_subdomain(secret))
    name = spec.get("ingressClassName")
    if name is not None:
        result += each("spec.ingressClassName", name, names.dns1123_subdomain(name))
    noted = (new["metadata"].get("annotations") or {}).get("kubernetes.io/ingress.class")
    if old is None and noted is not None and name is not None and noted != name:
        text = "must match `ingressClassName` when both are specified"
        result.append(errors.wrong("annotations.kubernetes.io/ingress.class", noted, text))
    return result


def _paths(found: list[Json], field: str) -> Errors:
    if not found:
        return [errors.required(field)]
    result: Errors = []
    for place, one in enumerate(found):
        here, sort, path = f"{field}[{place}]", one.get("pathType"), one.get("path", "")
        if sort is None:
            result.append(errors.required(f"{here}.pathType", "pathType must be specified"))
            continue
        if sort not in ("Exact", "Prefix", "ImplementationSpecific"):
            result.append(errors.unsupported(f"{here}.pathType", sort, ("Exact", "ImplementationSpecific", "Prefix")))
        elif not path.startswith("/") and (path or sort != "ImplementationSpecific"):
            result.append(errors.wrong(f"{here}.path", path, "must be an absolute path"))
        if sort in ("Exact", "Prefix"):
            for text in BAD_SEQUENCES:
                if text in path:
                    result.append(errors.wrong(f"{here}.path", path, f"must not contain '{text}'"))
            for text in BAD_ENDS:
                if path.endswith(text):
                    result.append(errors.wrong(f"{here}.path", path, f"cannot end with '{text}'"))
        result += _backend(one.get("backend") or {}, f"{here}.backend")
    return result


def _backend(found: Json, field: str) -> Errors:
    service, resource = found.get("service"), found.get("resource")
    if service is not None and resource is not None:
        return [errors.wrong(field, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _reference(resource, f"{field}.resource")
    if service is None:
        return [errors.wrong(field, "", "resource or service backend is required")]
    name, port, result = service.get("name", ""), service.get("port") or {}, []
    if not name:
        result.append(errors.required(f"{field}.service.name"))
    else:
        result += each(f"{field}.service.name", name, names.dns1035_label(name))
    if port.get("name") and port.get("number"):
        result.append(errors.wrong(field, "", "cannot set both port name & port number"))
    elif port.get("name"):
        result += each(f"{field}.service.port.name", port["name"], names.port_name(port["name"]))
    elif port.get("number"):
        result += each(f"{field}.service.port.number", port["number"], names.port_number(port["number"]))
    else:
        result.append(errors.required(field, "port name or number is required"))
    return result


def _reference(found: Json, field: str) -> Errors:
    result: Errors = []
    if found.get("apiGroup") is not None:
        result += each(f"{field}.apiGroup", found["apiGroup"], names.dns1123_subdomain(found["apiGroup"]))
    for key in ("kind", "name"):
        value = found.get(key, "")
        if not value:
            result.append(errors.required(f"{field}.{key}", f"{key} is required"))
        else:
            result += each(f"{field}.{key}", value, names.path_segment(value))
    return result


def ingress_status(new: Json, old: Json | None) -> Errors:
    """Source: ValidateIngressLoadBalancerStatus."""
    result: Errors = []
    for place, one in enumerate(((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()):
        here = f"status.loadBalancer.ingress[{place}]"
        if one.get("ip"):
            result += each(f"{here}.ip", one["ip"], names.ip(one["ip"]))
        if one.get("hostname"):
            result += each(f"{here}.hostname", one["hostname"], names.dns1123_subdomain(one["hostname"]))
            if names.is_ip(one["hostname"]):
                text = "must be a DNS name, not an IP address"
                result.append(errors.wrong(f"{here}.hostname", one["hostname"], text))
    return result


def ingress_class(new: Json, old: Json | None) -> Errors:
    """Source: ValidateIngressClass."""
    spec = new.get("spec") or {}
    controller, result = spec.get("controller", ""), []
    if len(controller) > 250:
        result.append(errors.too_long("spec.controller", 250))
    result += batch.domain_path(controller, "spec.controller")
    found = spec.get("parameters")
    if found is None:
        return result
    here, scope, namespace = "spec.parameters", found.get("scope"), found.get("namespace")
    result += _reference(found, here)
    if scope is None:
        return [*result, errors.required(f"{here}.scope")]
    if scope not in ("Cluster", "Namespace"):
        result.append(errors.unsupported(f"{here}.scope", scope, ("Cluster", "Namespace")))
    elif scope == "Namespace" and namespace is None:
        result.append(errors.required(f"{here}.namespace", "`parameters.scope` is set to 'Namespace'"))
    elif scope == "Namespace":
        result += each(f"{here}.namespace", namespace, names.dns1123_label(namespace))
    elif namespace is not None:
        result.append(errors.forbidden_field(f"{here}.namespace", "`parameters.scope` is set to 'Cluster'"))
    return result


def ingress_class_update(new: Json, old: Json) -> Errors:
    """What an update asks first."""
    now, then = (new.get("spec") or {}).get("controller", ""), (old.get("spec") or {}).get("controller", "")
    return common.immutable(now, then, "spec.controller")


# ---------------------------------------------------------------------------------------------------------------- rbac
def _rule(rule: Json, namespaced: bool, field: str) -> Errors:
    result: Errors = []
    if not rule.get("verbs"):
        result.append(errors.required(f"{field}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        if namespaced:
            text = "namespaced rules cannot apply to non-resource URLs"
            result.append(errors.wrong(f"{field}.nonResourceURLs", urls, text))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            text = "rules cannot apply to both regular resources and non-resource URLs"
            result.append(errors.wrong(f"{field}.nonResourceURLs", urls, text))
        return result
    if not rule.get("apiGroups"):
        result.append(errors.required(f"{field}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        result.append(errors.required(f"{field}.resources", "resource rules must supply at least one resource"))
    return result


def role(new: Json, old: Json | None) -> Errors:
    """A Role."""
    result: Errors = []
    for place, rule in enumerate(new.get("rules") or ()):
        result += _rule(rule, True, f"rules[{place}]")
    return result


def cluster_role(new: Json, old: Json | None) -> Errors:
    """A ClusterRole."""
    result: Errors = []
    for place, rule in enumerate(new.get("rules") or ()):
        result += _rule(rule, False, f"rules[{place}]")
    found, here = new.get("aggregationRule"), "aggregationRule.clusterRoleSelectors"
    if found is not None:
        if not found.get("clusterRoleSelectors"):
            text = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            result.append(errors.required(here, text))
        for place, one in enumerate(found.get("clusterRoleSelectors") or ()):
            result += common.selector(one, f"{here}[{place}]")
    return result


def _binding(new: Json, old: Json | None, kinds: tuple[str, ...], namespaced: bool) -> Errors:
    reference, result = new.get("roleRef") or {}, []
    if reference.get("apiGroup", "") != RBAC:
        result.append(errors.unsupported("roleRef.apiGroup", reference.get("apiGroup", ""), (RBAC,)))
    if reference.get("kind", "") not in kinds:
        result.append(errors.unsupported("roleRef.kind", reference.get("kind", ""), kinds))
    name = reference.get("name", "")
    if not name:
        result.append(errors.required("roleRef.name"))
    else:
        result += each("roleRef.name", name, names.path_segment(name))
    for place, subject in enumerate(new.get("subjects") or ()):
        result += _subject(subject, namespaced, f"subjects[{place}]")
    return result


def binding_moved(new: Json, old: Json) -> Errors:
    """roleRef cannot change."""
    if (new.get("roleRef") or {}) == (old.get("roleRef") or {}):
        return []
    reference = new.get("roleRef") or {}
    shown = Raw("rbac.RoleRef{" + ", ".join(
        f'{key}:"{reference.get(name, "")}"' for key, name in (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
    ) + "}")  # fmt: skip
    return [errors.wrong("roleRef", shown, "cannot change roleRef")]


def role_binding(new: Json, old: Json | None) -> Errors:
    """A RoleBinding."""
    return _binding(new, old, ("Role", "ClusterRole"), True)


def cluster_role_binding(new: Json, old: Json | None) -> Errors:
    """A ClusterRoleBinding."""
    return _binding(new, old, ("ClusterRole",), False)


def _subject(subject: Json, namespaced: bool, field: str) -> Errors:
    name, kind, group = subject.get("name", ""), subject.get("kind", ""), subject.get("apiGroup", "")
    result = [] if name else [errors.required(f"{field}.name")]
    if kind == "ServiceAccount":
        if name:
            result += each(f"{field}.name", name, names.dns1123_subdomain(name))
        if group:
            result.append(errors.unsupported(f"{field}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            result.append(errors.required(f"{field}.namespace"))
    elif kind in ("User", "Group"):
        if group != RBAC:
            result.append(errors.unsupported(f"{field}.apiGroup", group, (RBAC,)))
    else:
        result.append(errors.unsupported(f"{field}.kind", kind, ("ServiceAccount", "User", "Group")))
    return result


# -------------------------------------------------------------------------------------------------------------- others
def budget(new: Json, old: Json | None) -> Errors:
    """A PodDisruptionBudget."""
    spec, result = new.get("spec") or {}, []
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        result.append(errors.wrong("spec", STRUCT, "minAvailable and maxUnavailable cannot be both set"))
    for key in ("minAvailable", "maxUnavailable"):
        if spec.get(key) is not None:
            result += common.integer_or_percent(spec[key], f"spec.{key}") + common.at_most_100(spec[key], f"spec.{key}")
    result += common.selector(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in ("AlwaysAllow", "IfHealthyBudget"):
        allowed = ("AlwaysAllow", "IfHealthyBudget")
        result.append(errors.unsupported("spec.unhealthyPodEvictionPolicy", policy, allowed))
    return result


def budget_status(new: Json, old: Json | None) -> Errors:
    """Source: ValidatePodDisruptionBudgetStatusUpdate."""
    status = new.get("status") or {}
    result: Errors = []
    for key in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
        result += common.non_negative(status.get(key, 0), f"status.{key}")
    return result


def lease(new: Json, old: Json | None) -> Errors:
    """Source: ValidateLeaseSpec."""
    spec, result = new.get("spec") or {}, []
    seconds, moves = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        result.append(errors.wrong("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if moves is not None and moves < 0:
        result.append(errors.wrong("spec.leaseTransitions", moves, common.NON_NEGATIVE))
    strategy = spec.get("strategy")
    if strategy is not None:
        if "/" not in strategy:
            if strategy != "OldestEmulationVersion":
                result.append(errors.unsupported("spec.strategy.strategy", strategy, ("OldestEmulationVersion",)))
        else:
            result += each("spec.strategy.strategy", strategy, names.qualified_name(strategy))
    if spec.get("preferredHolder") and not strategy:
        text = "may only be specified if `strategy` is defined"
        result.append(errors.forbidden_field("spec.preferredHolder", text))
    return result


def priority_class(new: Json, old: Json | None) -> Errors:
    """Source: ValidatePriorityClass and its update."""
    value, policy = new.get("value", 0), new.get("preemptionPolicy")
    if old is not None:
        changed = value != old.get("value", 0)
        result = [errors.forbidden_field("value", "may not be changed in an update.")] if changed else []
        return result + common.immutable(policy, old.get("preemptionPolicy"), "preemptionPolicy")
    name, result = new["metadata"].get("name", ""), []
    if name.startswith("system-"):
        complaint = _system_priority(name, value, bool(new.get("globalDefault")))
        if complaint:
            text = f"priority class names with 'system-' prefix are reserved for system use only. error: {complaint}"
            result.append(errors.forbidden_field("metadata.name", text))
    elif value > 1000000000:
        text = "maximum allowed value of a user defined priority is 1000000000"
        result.append(errors.forbidden_field("value", text))
    if policy is not None:
        result += common.one_of(policy, ("PreemptLowerPriority", "Never"), "preemptionPolicy")
    return result


def _system_priority(name: str, value: int, default: bool) -> str:
    if name not in SYSTEM_PRIORITIES:
        return f"{name} is not a known system priority class"
    if value != SYSTEM_PRIORITIES[name]:
        return f"value of {name} PriorityClass must be {SYSTEM_PRIORITIES[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if default else ""


def autoscaler(new: Json, old: Json | None) -> Errors:
    """Source: validateHorizontalPodAutoscalerSpec; the object is in the v2 form."""
    spec, result = new.get("spec") or {}, []
    low, high = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if low is not None and low < 1:
        result.append(errors.wrong("spec.minReplicas", low, "must be greater than or equal to 1"))
    if high < 1:
        result.append(errors.wrong("spec.maxReplicas", high, "must be greater than 0"))
    if low is not None and high < low:
        result.append(errors.wrong("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
    result += _target_reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    for place, metric in enumerate(spec.get("metrics") or ()):
        result += _metric(metric, f"spec.metrics[{place}]")
    for key in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(key)
        if rules is not None:
            result += _scaling(rules, f"spec.behavior.{key}")
    return result


def _target_reference(found: Json, field: str) -> Errors:
    result: Errors = []
    for key in ("kind", "name"):
        value = found.get(key, "")
        result += (
            each(f"{field}.{key}", value, names.path_segment(value)) if value else [errors.required(f"{field}.{key}")]
        )
    return result


def _scaling(rules: Json, field: str) -> Errors:
    result: Errors = []
    window, here = rules.get("stabilizationWindowSeconds"), f"{field}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        result.append(errors.wrong(here, window, "must be greater than or equal to zero"))
    if window is not None and window > 3600:
        result.append(errors.wrong(here, window, "must be less than or equal to 3600"))
    choice = rules.get("selectPolicy")
    if choice is not None and choice not in ("Disabled", "Max", "Min"):
        result.append(errors.unsupported(f"{field}.selectPolicy", choice, ("Disabled", "Max", "Min")))
    if not rules.get("policies"):
        result.append(errors.required(f"{field}.policies", "must specify at least one Policy"))
    for place, policy in enumerate(rules.get("policies") or ()):
        here = f"{field}.policies[{place}]"
        if policy.get("type") not in ("Percent", "Pods"):
            result.append(errors.unsupported(f"{here}.type", policy.get("type", ""), ("Percent", "Pods")))
        for key in ("value", "periodSeconds"):
            if policy.get(key, 0) <= 0:
                result.append(errors.wrong(f"{here}.{key}", policy.get(key, 0), "must be greater than zero"))
        if policy.get("periodSeconds", 0) > 1800:
            text = "must be less than or equal to 1800"
            result.append(errors.wrong(f"{here}.periodSeconds", policy["periodSeconds"], text))
    return result


SOURCES: Final = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}


def _metric(metric: Json, field: str) -> Errors:
    sort, result = metric.get("type", ""), []
    if not sort:
        result.append(errors.required(f"{field}.type", "must specify a metric source type"))
    if sort not in METRICS:
        result.append(errors.unsupported(f"{field}.type", sort, METRICS))
    present = [key for key in SOURCES.values() if metric.get(key) is not None]
    if present:
        result += _metric_source(present[0], metric[present[0]], f"{field}.{present[0]}")
    expected = SOURCES.get(sort)
    if expected is None:
        result.append(errors.unsupported(f"{field}.type", sort, METRICS))
    elif metric.get(expected) is None:
        text = "must populate information for the given metric source"
        result.append(errors.required(f"{field}.{expected}", text))
    if len(present) != 1:
        for key in present:
            if key != expected:
                text = "must populate the given metric source only"
                result.append(errors.forbidden_field(f"{field}.{key}", text))
    return result


def _metric_source(key: str, source: Json, field: str) -> Errors:
    result: Errors = []
    target = source.get("target") or {}
    if key == "object":
        result += _target_reference(source.get("describedObject") or {}, f"{field}.describedObject")
    if key in ("object", "external", "pods"):
        identifier = source.get("metric") or {}
        name = identifier.get("name", "")
        if not name:
            result.append(errors.required(f"{field}.metric.name", "must specify a metric name"))
        else:
            result += each(f"{field}.metric.name", name, names.path_segment(name))
        result += common.selector(identifier.get("selector"), f"{field}.metric.selector")
    elif not source.get("name"):
        result.append(errors.required(f"{field}.name", "must specify a resource name"))
    if key == "containerResource":
        container = source.get("container", "")
        if not container:
            result.append(errors.required(f"{field}.container", "must specify a container"))
        else:
            result += each(f"{field}.container", container, names.dns1123_label(container))
    return result + _metric_target(key, target, f"{field}.target")


def _metric_target(key: str, target: Json, field: str) -> Errors:
    sort, result = target.get("type", ""), []
    if not sort:
        result.append(errors.required(f"{field}.type", "must specify a metric target type"))
    if sort not in ("Utilization", "Value", "AverageValue"):
        text = "must be either Utilization, Value, or AverageValue"
        result.append(errors.wrong(f"{field}.type", sort, text))
    value, average, use = target.get("value"), target.get("averageValue"), target.get("averageUtilization")
    if use is not None and use < 1:
        result.append(errors.wrong(f"{field}.averageUtilization", use, "must be greater than 0"))
    if key in ("resource", "containerResource"):
        if use is None and average is None:
            text = "must set either a target raw value or a target utilization"
            result.append(errors.required(f"{field}.averageUtilization", text))
        if use is not None and average is not None:
            text = "may not set both a target raw value and a target utilization"
            result.append(errors.forbidden_field(f"{field}.averageValue", text))
    elif key == "pods":
        if average is None:
            result.append(errors.required(f"{field}.averageValue", "must specify a positive target averageValue"))
    elif value is None and average is None:
        text = "must set either a target value or averageValue"
        if key == "external":
            text = "must set either a target value for metric or a per-pod target"
        result.append(errors.required(f"{field}.averageValue", text))
    elif key == "external" and value is not None and average is not None:
        text = "may not set both a target value for metric and a per-pod target"
        result.append(errors.forbidden_field(f"{field}.value", text))
    return result


def runtime_class(new: Json, old: Json | None) -> Errors:
    """A RuntimeClass."""
    handler = new.get("handler", "")
    result = each("handler", handler, names.dns1123_label(handler))
    if old is not None:
        result = common.immutable(handler, old.get("handler", ""), "handler")
    return result


def template_labels(found: Json | None, field: str) -> Errors:
    """Labels, where nothing else is asked."""
    return meta.labels(found, field)
