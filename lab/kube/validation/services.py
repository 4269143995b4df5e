"""Services and endpoints. Source: k8s.io/kubernetes/pkg/apis/core/validation validation.go (v1.33)."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from lab.kube import errors, names
from lab.kube.schema import meta
from lab.kube.validation import common
from lab.kube.validation.common import STRUCT, Errors, each

Json = dict[str, Any]
PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
FAMILIES: Final = ("IPv4", "IPv6")
FAMILY_POLICIES: Final = ("PreferDualStack", "RequireDualStack", "SingleStack")
ONLY_BALANCER: Final = "may only be used when `type` is 'LoadBalancer'"
NOT_EXTERNAL: Final = "may not be set for ExternalName services"
NOT_AGAIN: Final = "may not change once set"
SOURCE_RANGES: Final = "service.beta.kubernetes.io/load-balancer-source-ranges"
HINTS: Final = "service.kubernetes.io/topology-aware-hints"
MODE: Final = "service.kubernetes.io/topology-mode"


def headless(spec: Json) -> bool:
    """Without a cluster IP by choice."""
    return bool(spec.get("clusterIPs") == ["None"] or (spec.get("clusterIP") == "None" and spec.get("clusterIPs")))


def external(spec: Json) -> bool:
    """Reachable from outside the cluster."""
    sort = spec.get("type")
    return sort in ("LoadBalancer", "NodePort") or (sort == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check(spec: Json) -> bool:
    """Whether a health check node port belongs to it."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _name(field: str, value: str, key: str = "") -> Errors:
    return each(f"{field}{key}", value, names.dns1123_label(value))


def _port(port: Json, named: bool, seen: set[str], field: str) -> Errors:
    name = port.get("name", "")
    result: Errors = []
    if named and not name:
        result.append(errors.required(f"{field}.name"))
    elif name:
        result += _name(f"{field}.name", name)
        if name in seen:
            result.append(errors.duplicate(f"{field}.name", name))
        seen.add(name)
    result += each(f"{field}.port", port.get("port", 0), names.port_number(port.get("port", 0)))
    result += common.one_of(port.get("protocol", ""), PROTOCOLS, f"{field}.protocol")
    target = port.get("targetPort", 0)
    if isinstance(target, str):
        result += each(f"{field}.targetPort", target, names.port_name(target))
    else:
        result += each(f"{field}.targetPort", target, names.port_number(target))
    return result + _protocol(port, field)


def _protocol(port: Json, field: str) -> Errors:
    found = port.get("appProtocol")
    return each(f"{field}.appProtocol", found, names.qualified_name(found)) if found is not None else []


def special_ip(address: str, field: str) -> Errors:
    """Addresses that no endpoint may have. Source: ValidateEndpointIP."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return [errors.wrong(field, address, "must be a valid IP address")]
    result: Errors = []
    if found.is_unspecified:
        result.append(errors.wrong(field, address, f"may not be unspecified ({address})"))
    if found.is_loopback:
        result.append(errors.wrong(field, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if found.is_link_local:
        result.append(errors.wrong(field, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if found.is_multicast and (
        found in ipaddress.ip_network("224.0.0.0/24") if found.version == 4 else (int(found) >> 112) & 0xF == 2
    ):
        text = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        result.append(errors.wrong(field, address, text))
    return result


def cidr(value: str, field: str) -> Errors:
    """An address range."""
    text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
    return [] if names.is_cidr(value) else [errors.wrong(field, value, text)]


def _by_type(spec: Json) -> Errors:
    sort, result = spec.get("type"), []
    if not spec.get("ports") and not headless(spec) and sort != "ExternalName":
        result.append(errors.required("spec.ports"))
    if sort in ("LoadBalancer", "NodePort") and headless(spec):
        text = f"may not be set to 'None' for {sort} services"
        result.append(errors.wrong("spec.clusterIPs[0]", "None", text))
    if sort == "ExternalName":
        if spec.get("clusterIPs"):
            result.append(errors.forbidden_field("spec.clusterIPs", NOT_EXTERNAL))
        if spec.get("ipFamilies"):
            result.append(errors.forbidden_field("spec.ipFamilies", NOT_EXTERNAL))
        if spec.get("ipFamilyPolicy") is not None:
            result.append(errors.forbidden_field("spec.ipFamilyPolicy", NOT_EXTERNAL))
        name = spec.get("externalName", "").removesuffix(".")
        if name:
            result += each("spec.externalName", name, names.dns1123_subdomain(name))
        else:
            result.append(errors.required("spec.externalName"))
    return result


def _affinity(spec: Json) -> Errors:
    sort, config = spec.get("sessionAffinity", ""), spec.get("sessionAffinityConfig")
    result = common.one_of(sort, ("ClientIP", "None"), "spec.sessionAffinity")
    here = "spec.sessionAffinityConfig"
    why = "when session affinity type is ClientIP"
    if sort == "None" and config is not None:
        result.append(errors.forbidden_field(here, "must not be set when session affinity is None"))
    if sort != "ClientIP":
        return result
    if config is None:
        return [*result, errors.required(here, why)]
    if config.get("clientIP") is None:
        return [*result, errors.required(f"{here}.clientIP", why)]
    seconds = config["clientIP"].get("timeoutSeconds")
    if seconds is None:
        return [*result, errors.required(f"{here}.clientIP.timeoutSeconds", why)]
    if not 0 < seconds <= 86400:
        text = "must be greater than 0 and less than 86400"
        result.append(errors.wrong(f"{here}.clientIP.timeoutSeconds", seconds, text))
    return result


def cluster_ips(spec: Json) -> Errors:
    """Source: ValidateServiceClusterIPsRelatedFields."""
    if spec.get("type") == "ExternalName":
        return []
    first, every, families = spec.get("clusterIP", ""), spec.get("clusterIPs") or [], spec.get("ipFamilies") or []
    here, result = "spec.clusterIPs", []
    if first and not every:
        result.append(errors.required(here))
    elif first and every[0] != first:
        result.append(errors.wrong(here, every, "first value must match `clusterIP`"))
    elif not first and every:
        result.append(errors.wrong(here, every, "must be empty when `clusterIP` is not specified"))
    for place, family in enumerate(families):
        if family not in FAMILIES:
            result.append(errors.unsupported(f"spec.ipFamilies[{place}]", family, FAMILIES))
        if family in families[:place]:
            result.append(errors.duplicate(f"spec.ipFamilies[{place}]", family))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in FAMILY_POLICIES:
        result.append(errors.unsupported("spec.ipFamilyPolicy", policy, FAMILY_POLICIES))
    bad = False
    for place, address in enumerate(every):
        if place == 0 and address == "None":
            if len(every) > 1:
                bad = True
                result.append(errors.wrong(here, every, "'None' must be the first and only value"))
            continue
        complaints = each(f"{here}[{place}]", address, names.ip(address))
        bad = bad or bool(complaints)
        result += complaints
    if len(every) > 2:
        result.append(errors.wrong(here, every, "may only hold up to 2 values"))
    return result if bad else result + _families_match(every, families, headless(spec))


def _families_match(every: list[str], families: list[str], bare: bool) -> Errors:
    here, result = "spec.clusterIPs", []
    if len(every) > 1 and len({":" in address for address in every}) < 2:
        result.append(errors.wrong(here, every, "may specify no more than one IP for each IP family"))
    if not bare:
        for place, (address, family) in enumerate(zip(every, families, strict=False)):
            if family in FAMILIES and (":" in address) != (family == "IPv6"):
                text = f"expected an {family} value as indicated by `ipFamilies[{place}]`"
                result.append(errors.wrong(f"{here}[{place}]", address, text))
    return result


def _duplicates(spec: Json) -> Errors:
    result: Errors = []
    ports = spec.get("ports") or []
    if spec.get("type") == "ClusterIP":
        for place, port in enumerate(ports):
            if port.get("nodePort"):
                text = "may not be used when `type` is 'ClusterIP'"
                result.append(errors.forbidden_field(f"spec.ports[{place}].nodePort", text))
    seen: set[tuple[str, int]] = set()
    for place, port in enumerate(ports):
        if port.get("nodePort"):
            key = (port.get("protocol", ""), port["nodePort"])
            if key in seen:
                result.append(errors.duplicate(f"spec.ports[{place}].nodePort", port["nodePort"]))
            seen.add(key)
    seen = set()
    for place, port in enumerate(ports):
        key = (port.get("protocol", ""), port.get("port", 0))
        if key in seen:
            shown = {
                "Name": "",
                "Protocol": key[0],
                "AppProtocol": None,
                "Port": key[1],
                "TargetPort": STRUCT,
                "NodePort": 0,
            }
            result.append(errors.duplicate(f"spec.ports[{place}]", _go_port(shown)))
        seen.add(key)
    return result


def _go_port(parts: Json) -> errors.Raw:
    return errors.Raw(
        f'core.ServicePort{{Name:"", Protocol:"{parts["Protocol"]}", AppProtocol:(*string)(nil), Port:{parts["Port"]}, '
        'TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:""}, NodePort:0}'
    )


def _ranges(service: Json) -> Errors:
    spec, result = service["spec"], []
    balanced = spec.get("type") == "LoadBalancer"
    written = (service["metadata"].get("annotations") or {}).get(SOURCE_RANGES)
    if spec.get("loadBalancerSourceRanges"):
        here = "spec.LoadBalancerSourceRanges"
        if not balanced:
            result.append(errors.forbidden_field(here, ONLY_BALANCER))
        for place, value in enumerate(spec["loadBalancerSourceRanges"]):
            result += cidr(value.strip(), f"{here}[{place}]")
    elif written is not None:
        here = f"metadata.annotations[{SOURCE_RANGES}]"
        if not balanced:
            result.append(errors.forbidden_field(here, ONLY_BALANCER))
        if written.strip():
            for value in written.split(","):
                result += cidr(value.strip(), here)
    return result


def _balancer_class(spec: Json) -> Errors:
    found = spec.get("loadBalancerClass")
    if found is None:
        return []
    if spec.get("type") != "LoadBalancer":
        return [errors.forbidden_field("spec.loadBalancerClass", ONLY_BALANCER)]
    return each("spec.loadBalancerClass", found, names.qualified_name(found))


def _policies(spec: Json) -> Errors:
    result: Errors = []
    policy, here = spec.get("externalTrafficPolicy", ""), "spec.externalTrafficPolicy"
    if external(spec):
        result += common.one_of(policy, ("Cluster", "Local"), here)
    elif policy:
        result.append(errors.wrong(here, policy, "may only be set for externally-accessible services"))
    check, here = spec.get("healthCheckNodePort", 0), "spec.healthCheckNodePort"
    if needs_health_check(spec):
        result += each(here, check, names.port_number(check)) if check else [errors.required(here)]
    elif check:
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        result.append(errors.wrong(here, check, text))
    inner, here = spec.get("internalTrafficPolicy"), "spec.internalTrafficPolicy"
    if inner is None:
        if spec.get("type") in ("NodePort", "LoadBalancer", "ClusterIP"):
            result.append(errors.required(here))
    elif inner not in ("Cluster", "Local"):
        result.append(errors.unsupported(here, inner, ("Cluster", "Local")))
    spread = spec.get("trafficDistribution")
    if spread is not None and spread != "PreferClose":
        result.append(errors.unsupported("spec.trafficDistribution", spread, ("PreferClose",)))
    return result


def _whole(service: Json) -> Errors:
    spec = service["spec"]
    notes = service["metadata"].get("annotations") or {}
    result: Errors = []
    if MODE in notes and HINTS in notes and notes[MODE] != notes[HINTS]:
        text = f"must match annotations[{HINTS}] when both are specified"
        result.append(errors.wrong(f"metadata.annotations[{MODE}]", notes[MODE], text))
    result += _by_type(spec)
    seen: set[str] = set()
    ports = spec.get("ports") or []
    for place, port in enumerate(ports):
        result += _port(port, len(ports) > 1, seen, f"spec.ports[{place}]")
    result += meta.labels(spec.get("selector"), "spec.selector") + _affinity(spec) + cluster_ips(spec)
    for place, address in enumerate(spec.get("externalIPs") or ()):
        here = f"spec.externalIPs[{place}]"
        result += each(here, address, names.ip(address)) or special_ip(address, here)
    result += common.one_of(spec.get("type", ""), TYPES, "spec.type") + _duplicates(spec) + _ranges(service)
    allocate = spec.get("allocateLoadBalancerNodePorts")
    if allocate is not None and spec.get("type") != "LoadBalancer":
        result.append(errors.forbidden_field("spec.allocateLoadBalancerNodePorts", ONLY_BALANCER))
    if allocate is None and spec.get("type") == "LoadBalancer":
        result.append(errors.required("allocateLoadBalancerNodePorts"))
    return result + _balancer_class(spec) + _policies(spec)


def service(new: Json, old: Json | None) -> Errors:
    """Creation and update."""
    return _whole(new)


def upgrade(new: Json, old: Json) -> Errors:
    """What an update asks before everything else."""
    fresh, stale = new["spec"], old["spec"]
    result: Errors = []
    if "ExternalName" not in (fresh.get("type"), stale.get("type")):
        if not (headless(fresh) and headless(stale)):
            result += _moved_ips(fresh, stale)
        if not headless(fresh) and not headless(stale):
            result += _moved_families(fresh, stale)
    balanced = fresh.get("type") == stale.get("type") == "LoadBalancer"
    if balanced and fresh.get("loadBalancerClass") != stale.get("loadBalancerClass"):
        result.append(errors.wrong("spec.loadBalancerClass", fresh.get("loadBalancerClass"), NOT_AGAIN))
    result += _balancer_class(fresh)
    checked = needs_health_check(fresh) and needs_health_check(stale)
    if checked and fresh.get("healthCheckNodePort") != stale.get("healthCheckNodePort"):
        result.append(errors.forbidden_field("spec.healthCheckNodePort", common.IMMUTABLE))
    return result


def _moved_ips(fresh: Json, stale: Json) -> Errors:
    now, before, here = fresh.get("clusterIPs") or [], stale.get("clusterIPs") or [], "spec.clusterIPs"
    result: Errors = []
    if len(now) == len(before):
        for place, address in enumerate(before):
            if address != now[place]:
                result.append(errors.wrong(f"{here}[{place}]", now, NOT_AGAIN))
        return result
    if len(before) > len(now):
        if not now:
            result.append(errors.wrong(f"{here}[0]", now, "primary clusterIP can not be unset"))
        elif now[0] != before[0]:
            result.append(errors.wrong(f"{here}[0]", now, NOT_AGAIN))
        if len(now) == 1 and fresh.get("ipFamilyPolicy") != "SingleStack":
            text = "must be set to 'SingleStack' when releasing the secondary clusterIP"
            result.append(errors.wrong("spec.ipFamilyPolicy", fresh.get("ipFamilyPolicy"), text))
    elif before and now[0] != before[0]:
        result.append(errors.wrong(f"{here}[0]", now, NOT_AGAIN))
    return result


def _moved_families(fresh: Json, stale: Json) -> Errors:
    now, before, here = fresh.get("ipFamilies") or [], stale.get("ipFamilies") or [], "spec.ipFamilies[0]"
    result: Errors = []
    if len(now) == len(before):
        return [errors.wrong(here, now, NOT_AGAIN) for mine, theirs in zip(now, before, strict=True) if mine != theirs]
    if len(before) > len(now):
        if not fresh.get("clusterIPs"):
            result.append(errors.wrong(here, now, "primary ipFamily can not be unset"))
        if now and now[0] != before[0]:
            result.append(errors.wrong(here, fresh.get("clusterIPs") or [], NOT_AGAIN))
        if len(now) == 1 and fresh.get("ipFamilyPolicy") != "SingleStack":
            text = "must be set to 'SingleStack' when releasing the secondary ipFamily"
            result.append(errors.wrong("spec.ipFamilyPolicy", fresh.get("ipFamilyPolicy"), text))
    elif before and now and now[0] != before[0]:
        result.append(errors.wrong(here, fresh.get("clusterIPs") or [], NOT_AGAIN))
    return result


def status(new: Json, old: Json | None) -> Errors:
    """Source: ValidateServiceStatusUpdate."""
    result: Errors = []
    balanced = new["spec"].get("type") == "LoadBalancer"
    found = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    if not balanced and found:
        text = "may only be used when `spec.type` is 'LoadBalancer'"
        return [errors.forbidden_field("status.loadBalancer.ingress", text)]
    for place, one in enumerate(found):
        here = f"status.loadBalancer.ingress[{place}]"
        if one.get("ip"):
            result += each(f"{here}.ip", one["ip"], names.ip(one["ip"]))
        mode = one.get("ipMode")
        if one.get("ip") and mode is None:
            result.append(errors.required(f"{here}.ipMode", "must be specified when `ip` is set"))
        elif mode is not None and not one.get("ip"):
            result.append(errors.forbidden_field(f"{here}.ipMode", "may not be specified when `ip` is not set"))
        elif mode is not None and mode not in ("Proxy", "VIP"):
            result.append(errors.unsupported(f"{here}.ipMode", mode, ("Proxy", "VIP")))
        if one.get("hostname"):
            name = one["hostname"]
            result += each(f"{here}.hostname", name, names.dns1123_subdomain(name))
            if names.is_ip(name):
                result.append(errors.wrong(f"{here}.hostname", name, "must be a DNS name, not an IP address"))
    return result


# ----------------------------------------------------------------------------------------------------------- endpoints
def endpoints(new: Json, old: Json | None) -> Errors:
    """Source: validateEndpointSubsets."""
    result: Errors = []
    if old is not None and old.get("subsets") == new.get("subsets"):
        return result
    for place, subset in enumerate(new.get("subsets") or ()):
        here = f"subsets[{place}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            result.append(errors.required(here, "must specify `addresses` or `notReadyAddresses`"))
        for key in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(key) or ()):
                result += _address(address, f"{here}.{key}[{number}]")
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            result += _endpoint_port(port, len(ports) > 1, f"{here}.ports[{number}]")
    return result


def _address(found: Json, field: str) -> Errors:
    address = found.get("ip", "")
    result = each(f"{field}.ip", address, names.ip(address))
    if found.get("hostname"):
        result += _name(f"{field}.hostname", found["hostname"])
    if found.get("nodeName") is not None:
        result += each(f"{field}.nodeName", found["nodeName"], names.dns1123_subdomain(found["nodeName"]))
    return result + special_ip(address, f"{field}.ip")


def _endpoint_port(port: Json, named: bool, field: str) -> Errors:
    result: Errors = []
    if named and not port.get("name"):
        result.append(errors.required(f"{field}.name"))
    elif port.get("name"):
        result += _name(f"{field}.name", port["name"])
    result += each(f"{field}.port", port.get("port", 0), names.port_number(port.get("port", 0)))
    result += common.one_of(port.get("protocol", ""), PROTOCOLS, f"{field}.protocol")
    return result + _protocol(port, field)


def slices(new: Json, old: Json | None) -> Errors:
    """Source: k8s.io/kubernetes/pkg/apis/discovery/validation."""
    sort, result = new.get("addressType", ""), []
    if old is not None and old.get("addressType") != sort:
        result.append(errors.wrong("addressType", sort, common.IMMUTABLE))
    if sort not in ("FQDN", "IPv4", "IPv6"):
        if not sort:
            result.append(errors.required("addressType"))
        else:
            result.append(errors.unsupported("addressType", sort, ("FQDN", "IPv4", "IPv6")))
    every = new.get("endpoints") or ()
    if len(every) > 1000:
        return [*result, errors.too_many("endpoints", len(every), 1000)]
    for place, one in enumerate(every):
        here = f"endpoints[{place}]"
        addresses = one.get("addresses") or []
        if not addresses:
            result.append(errors.required(f"{here}.addresses", "must contain at least 1 address"))
        elif len(addresses) > 100:
            result.append(errors.too_many(f"{here}.addresses", len(addresses), 100))
        for number, address in enumerate(addresses):
            spot = f"{here}.addresses[{number}]"
            if sort == "FQDN":
                result += each(spot, address, names.dns1123_subdomain(address))
            elif sort in ("IPv4", "IPv6"):
                if not names.is_ip(address) or (":" in address) != (sort == "IPv6"):
                    result.append(errors.wrong(spot, address, f"must be a valid {sort} address"))
                else:
                    result += special_ip(address, spot)
        if one.get("hostname") is not None:
            result += _name(f"{here}.hostname", one["hostname"])
    ports = new.get("ports") or ()
    seen: set[str] = set()
    for place, port in enumerate(ports):
        here, name = f"ports[{place}]", port.get("name") or ""
        if name:
            result += _name(f"{here}.name", name)
        if name in seen:
            result.append(errors.duplicate(f"{here}.name", name))
        seen.add(name)
        result += common.one_of(port.get("protocol") or "", PROTOCOLS, f"{here}.protocol")
        result += _protocol(port, here)
    return result
