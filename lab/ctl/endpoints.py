"""EndpointSlices and Endpoints of Services with a selector. Source: k8s.io/kubernetes/pkg/controller/{endpointslice,endpoint}, 1.33."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from lab.ctl.base import Controller, Keys, key_of, split_key
from lab.ctl.objects import Object, ReadOnly, deleting, owner_reference, pod_finished, pod_ready
from lab.kube.port import KubeError

SERVICES, PODS, NODES = "v1/services", "v1/pods", "v1/nodes"
SLICES, ENDPOINTS = "discovery.k8s.io/v1/endpointslices", "v1/endpoints"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
SERVICE_LABEL = "kubernetes.io/service-name"
PER_SLICE = 100  # --max-endpoints-per-slice


class Endpoints(Controller):
    """Keys are "namespace/name" of Services. The first slice of a family holds all endpoints up to a hundred, further ones the rest."""

    name: ClassVar[str] = "endpointslice"
    component: ClassVar[str] = "endpoint-slice-controller"

    def watches(self) -> Mapping[str, Keys]:
        return {SERVICES: lambda obj: (key_of(obj),), PODS: self._of_pod, SLICES: _of_slice, ENDPOINTS: lambda _: ()}

    def _of_pod(self, pod: Object) -> Iterator[str]:
        labels = pod["metadata"].get("labels") or {}
        for service in self.informers.of(SERVICES).find("namespace", pod["metadata"]["namespace"]):
            if selects(service, labels):
                yield key_of(service)

    async def reconcile(self, key: str) -> float | None:
        service = self.informers.of(SERVICES).get(key)
        if service is None or not service["spec"].get("selector") or deleting(service):
            return None
        namespace = service["metadata"]["namespace"]
        pods = [
            pod
            for pod in self.informers.of(PODS).find("namespace", namespace)
            if selects(service, pod["metadata"].get("labels") or {}) and not pod_finished(pod)
        ]
        pods.sort(key=lambda pod: str(pod["metadata"]["name"]))
        families = service["spec"].get("ipFamilies") or ["IPv4"]
        for family in families:
            await self._slices(service, family, pods)
        await self._endpoints(service, pods, families[0])
        return None

    async def _slices(self, service: Object, family: str, pods: Sequence[Object]) -> None:
        found = [
            s
            for s in self.informers.of(SLICES).find("owner", service["metadata"]["uid"])
            if s["addressType"] == family and not deleting(s)
        ]
        found.sort(key=lambda s: str(s["metadata"]["name"]))
        endpoints = [e for pod in pods if (e := self._endpoint(pod, service, family))]
        groups = [endpoints[at : at + PER_SLICE] for at in range(0, len(endpoints), PER_SLICE)] or [[]]
        first = next((pod for pod in pods), None)
        ports = [_port(port, first) for port in service["spec"].get("ports") or ()] if pods else []
        for place, group in enumerate(groups):
            wanted: Object = {"endpoints": group, "ports": ports}
            if place < len(found):
                held = found[place]
                if any((held.get(part) or []) != value for part, value in wanted.items()):
                    namespace, name = split_key(key_of(held))
                    self.informers.of(SLICES).note(await self.port.patch(SLICES, name, wanted, namespace))
            else:
                await self._create_slice(service, family, wanted)
        for spare in found[len(groups) :]:
            namespace, name = split_key(key_of(spare))
            await self.port.delete(SLICES, name, namespace)

    async def _create_slice(self, service: Object, family: str, wanted: Object) -> None:
        meta = service["metadata"]
        labels = {**(meta.get("labels") or {}), MANAGED_BY: MANAGER, SERVICE_LABEL: meta["name"]}
        if service["spec"].get("clusterIP") == "None":
            labels["service.kubernetes.io/headless"] = ""
        made = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": f"{meta['name']}-",
                "namespace": meta["namespace"],
                "labels": labels,
                "ownerReferences": [owner_reference(service)],
            },
            "addressType": family,
            **wanted,
        }
        try:
            self.informers.of(SLICES).note(await self.port.create(SLICES, made, meta["namespace"]))
        except KubeError as error:
            if error.status not in (403, 404):  # the namespace ends
                raise

    def _endpoint(self, pod: ReadOnly, service: ReadOnly, family: str) -> Object | None:
        addresses = [
            entry["ip"]
            for entry in pod.get("status", {}).get("podIPs") or ()
            if (":" in entry["ip"]) == (family == "IPv6")
        ]
        if not addresses:
            return None
        ready = pod_ready(pod) and not deleting(pod)
        always = bool(service["spec"].get("publishNotReadyAddresses"))
        out: Object = {
            "addresses": addresses[:1],
            "conditions": {"ready": ready or always, "serving": pod_ready(pod), "terminating": deleting(pod)},
            "nodeName": pod["spec"]["nodeName"],
            "targetRef": _reference(pod),
        }
        hostname = pod["spec"].get("hostname")
        if hostname and pod["spec"].get("subdomain") == service["metadata"]["name"]:
            out["hostname"] = hostname
        node = self.informers.of(NODES).get(pod["spec"]["nodeName"])
        zone = ((node or {"metadata": {}})["metadata"].get("labels") or {}).get("topology.kubernetes.io/zone")
        return out | ({"zone": zone} if zone else {})

    async def _endpoints(self, service: Object, pods: Sequence[Object], family: str) -> None:
        """The older form, which a few clients still read."""
        meta = service["metadata"]
        ready: list[Object] = []
        not_ready: list[Object] = []
        always = bool(service["spec"].get("publishNotReadyAddresses"))
        for pod in pods:
            endpoint = self._endpoint(pod, service, family)
            if endpoint is None or deleting(pod):
                continue
            address = {
                "ip": endpoint["addresses"][0],
                "nodeName": endpoint["nodeName"],
                "targetRef": endpoint["targetRef"],
            }
            if "hostname" in endpoint:
                address["hostname"] = endpoint["hostname"]
            (ready if pod_ready(pod) or always else not_ready).append(address)
        ports = [_port(port, pods[0] if pods else None) for port in service["spec"].get("ports") or ()]
        subset: Object = {"ports": ports} if ports else {}
        subset |= {"addresses": ready} if ready else {}
        subset |= {"notReadyAddresses": not_ready} if not_ready else {}
        subsets = [subset] if ready or not_ready else []
        held = self.informers.of(ENDPOINTS).get(key_of(service))
        if held is not None:
            if (held.get("subsets") or []) != subsets:
                change = {"subsets": subsets or None}
                self.informers.of(ENDPOINTS).note(
                    await self.port.patch(ENDPOINTS, meta["name"], change, meta["namespace"])
                )
            return
        labels = {**(meta.get("labels") or {}), "endpoints.kubernetes.io/managed-by": "endpoint-controller"}
        made: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"], "labels": labels},
        }
        try:
            made |= {"subsets": subsets} if subsets else {}
            self.informers.of(ENDPOINTS).note(await self.port.create(ENDPOINTS, made, meta["namespace"]))
        except KubeError as error:
            if error.status not in (403, 404, 409):
                raise


class EndpointsCleaner(Controller):
    """Endpoints of Services that are gone, which no owner reference covers. Keys are "namespace/name"."""

    name: ClassVar[str] = "endpoint"

    def watches(self) -> Mapping[str, Keys]:
        return {SERVICES: self._of_service, ENDPOINTS: lambda _: ()}

    def _of_service(self, service: Object) -> Iterable[str]:
        gone = self.informers.of(SERVICES).get(key_of(service)) is None
        return (key_of(service),) if gone else ()

    async def reconcile(self, key: str) -> float | None:
        held = self.informers.of(ENDPOINTS).get(key)
        if held is None or self.informers.of(SERVICES).get(key) is not None:
            return None
        namespace, name = split_key(key)
        try:
            await self.port.delete(ENDPOINTS, name, namespace)
        except KubeError as error:
            if error.status != 404:
                raise
        return None


def selects(service: ReadOnly, labels: ReadOnly) -> bool:
    """Whether a Service's selector is there and fits."""
    selector = service["spec"].get("selector")
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def _of_slice(found: Object) -> Iterable[str]:
    name = (found["metadata"].get("labels") or {}).get(SERVICE_LABEL)
    managed = (found["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER
    return (f"{found['metadata']['namespace']}/{name}",) if name and managed else ()


def _reference(pod: ReadOnly) -> Object:
    meta = pod["metadata"]
    return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}


def _port(port: ReadOnly, pod: ReadOnly | None) -> Object:
    """A service port resolved at a pod; a name that no container has stays at the service's number."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, str):
        named = [
            p["containerPort"]
            for c in (pod["spec"]["containers"] if pod else ())
            for p in c.get("ports") or ()
            if p.get("name") == target
        ]
        target = named[0] if named else port["port"]
    out: Object = {"name": port.get("name", ""), "port": target, "protocol": port.get("protocol", "TCP")}
    return out | ({"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {})
