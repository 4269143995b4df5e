"""Claims and volumes: binding by class, provisioning by the provisioners that run, release and reclaim.

Source: k8s.io/kubernetes/pkg/controller/volume/persistentvolume, 1.33; sigs.k8s.io/sig-storage-lib-external-provisioner (events).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

from lab.clock import Clock
from lab.ctl.base import Controller, Informers, Keys, key_of, split_key
from lab.ctl.objects import Object, ReadOnly, deleting
from lab.kube.port import KubeError, KubePort
from lab.kube.quantity import value_of

CLAIMS, VOLUMES = "v1/persistentvolumeclaims", "v1/persistentvolumes"
CLASSES, PODS = "storage.k8s.io/v1/storageclasses", "v1/pods"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
BIND_COMPLETED, BOUND_BY = "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
CLAIM_FINALIZER, VOLUME_FINALIZER = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"

Source = Callable[
    [ReadOnly, ReadOnly, str], Object
]  # (claim, class, volume name) -> the volume's source, as part of its spec


class Provisioners:
    """The provisioners that run in a cluster. A domain adds its own when its pods are up and takes it away when they are not.

    `anything` lets every class provision: for a bare API that no storage domain serves.
    """

    def __init__(self, *, anything: bool = False) -> None:
        self.anything = anything
        self._sources: dict[str, Source] = {}
        self._listeners: list[Callable[[], None]] = []

    def add(self, name: str, source: Source | None = None) -> None:
        """Provision for classes with this provisioner from now on."""
        self._sources[name] = source or default_source
        for listener in self._listeners:
            listener()

    def remove(self, name: str) -> None:
        """Provision no more."""
        self._sources.pop(name, None)

    def source(self, name: str) -> Source | None:
        """How to make a volume for this provisioner, or None where it does not run."""
        return self._sources.get(name) or (default_source if self.anything else None)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever one is added."""
        self._listeners.append(listener)


def default_source(claim: ReadOnly, storage_class: ReadOnly, name: str) -> Object:
    """A CSI volume, or, for a provisioner whose name is no CSI driver's, a folder on the claim's node (as local-path makes)."""
    provisioner = storage_class["provisioner"]
    if "/" not in provisioner:
        return {"csi": {"driver": provisioner, "volumeHandle": name, "fsType": "ext4"}}
    source: Object = {"hostPath": {"path": f"/var/lib/{name}", "type": "DirectoryOrCreate"}}
    node = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)
    if node:
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        source["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
    return source


class Volumes(Controller):
    """Keys are "namespace/name" of claims and names of volumes."""

    name: ClassVar[str] = "persistentvolume-binder"
    component: ClassVar[str] = "persistentvolume-controller"

    def __init__(
        self,
        port: KubePort,
        clock: Clock,
        informers: Informers | None = None,
        *,
        provisioners: Provisioners | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(port, clock, informers, seed=seed)
        self.provisioners = provisioners or Provisioners()
        self.provisioners.listen(self._all_pending)

    def watches(self) -> Mapping[str, Keys]:
        return {
            CLAIMS: self._of_claim,
            VOLUMES: self._of_volume,
            CLASSES: lambda _: self._pending(),
            PODS: _claims_of,
        }

    def _of_claim(self, claim: Object) -> Iterable[str]:
        volume = claim["spec"].get("volumeName")
        return (key_of(claim), volume) if volume else (key_of(claim),)

    def _of_volume(self, volume: Object) -> Iterable[str]:
        claim = volume["spec"].get("claimRef")
        yield volume["metadata"]["name"]
        if claim:
            yield f"{claim['namespace']}/{claim['name']}"
        elif volume.get("status", {}).get("phase") == "Available":
            yield from self._pending()

    def _pending(self) -> list[str]:
        return [key_of(c) for c in self.informers.of(CLAIMS).values() if not c["spec"].get("volumeName")]

    def _all_pending(self) -> None:
        if self.running:
            for key in self._pending():
                self.enqueue(key)

    async def reconcile(self, key: str) -> float | None:
        if "/" in key:
            claim = self.informers.of(CLAIMS).get(key)
            return await self._claim(claim) if claim is not None else None
        volume = self.informers.of(VOLUMES).get(key)
        if volume is not None:
            await self._volume(volume)
        return None

    # ------------------------------------------------------------------------------------------------------ claims
    async def _claim(self, claim: Object) -> float | None:
        if deleting(claim):
            return await self._protect(claim)
        if CLAIM_FINALIZER not in (claim["metadata"].get("finalizers") or ()):
            finalizers = [*(claim["metadata"].get("finalizers") or ()), CLAIM_FINALIZER]
            claim = await self._patch(CLAIMS, claim, {"metadata": {"finalizers": finalizers}})
        name = claim["spec"].get("volumeName")
        if name:
            await self._settle(claim, name)
            return None
        volume = self._matching(claim)
        if volume is not None:
            await self._bind(claim, volume)
            return None
        return await self._provision(claim)

    async def _settle(self, claim: Object, name: str) -> None:
        """A claim that names its volume: bound, or lost with it."""
        volume = self.informers.of(VOLUMES).get(name)
        phase = claim.get("status", {}).get("phase")
        if volume is None:
            if phase == "Bound":
                await self._patch(CLAIMS, claim, {"status": {"phase": "Lost"}}, "status")
                text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
                self.events.emit(claim, "ClaimLost", text, "Warning")
            return
        reference = volume["spec"].get("claimRef")
        if reference is None or (reference["namespace"], reference["name"]) == _identity(claim):
            await self._bind(claim, volume)

    def _matching(self, claim: ReadOnly) -> Object | None:
        """The smallest available volume that fits, one that is kept for this claim first."""
        candidates = [v for v in self.informers.of(VOLUMES).values() if volume_fits(v, claim)]
        kept = [v for v in candidates if v["spec"].get("claimRef")]
        return min(kept or candidates, key=lambda v: value_of(v["spec"]["capacity"]["storage"]), default=None)

    async def _bind(self, claim: Object, volume: Object) -> None:
        namespace, name = _identity(claim)
        reference = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "name": name,
            "namespace": namespace,
            "uid": claim["metadata"]["uid"],
            "resourceVersion": claim["metadata"]["resourceVersion"],
        }
        held = volume["spec"].get("claimRef") or {}
        if held.get("uid") != claim["metadata"]["uid"]:
            if held.get("uid"):
                return  # it was another claim of that name: the volume is Released
            marks = {} if held else {"metadata": {"annotations": {BOUND_BY: "yes"}}}
            volume = await self._patch(VOLUMES, volume, {"spec": {"claimRef": reference}, **marks})
        if volume.get("status", {}).get("phase") != "Bound":
            volume = await self._patch(VOLUMES, volume, {"status": {"phase": "Bound"}}, "status")
        annotations = claim["metadata"].get("annotations") or {}
        if annotations.get(BIND_COMPLETED) != "yes" or not claim["spec"].get("volumeName"):
            done = {BIND_COMPLETED: "yes"} | ({} if claim["spec"].get("volumeName") else {BOUND_BY: "yes"})
            change = {"metadata": {"annotations": done}, "spec": {"volumeName": volume["metadata"]["name"]}}
            claim = await self._patch(CLAIMS, claim, change)
        if claim.get("status", {}).get("phase") != "Bound":
            status = {
                "phase": "Bound",
                "accessModes": volume["spec"]["accessModes"],
                "capacity": {"storage": volume["spec"]["capacity"]["storage"]},
            }
            await self._patch(CLAIMS, claim, {"status": status}, "status")

    async def _provision(self, claim: Object) -> float | None:
        wanted = claim["spec"].get("storageClassName")
        if wanted is None:
            wanted = self._default_class()
            if wanted:
                claim = await self._patch(CLAIMS, claim, {"spec": {"storageClassName": wanted}})
        if not wanted:
            text = "no persistent volumes available for this claim and no storage class is set"
            self.events.emit(claim, "FailedBinding", text)
            return None
        storage_class = self.informers.of(CLASSES).get(wanted)
        if storage_class is None:
            text = f'storageclass.storage.k8s.io "{wanted}" not found'
            self.events.emit(claim, "ProvisioningFailed", text, "Warning")
            return None
        annotations = claim["metadata"].get("annotations") or {}
        if storage_class.get("volumeBindingMode") == "WaitForFirstConsumer" and SELECTED_NODE not in annotations:
            self.events.emit(claim, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
            return None
        provisioner = storage_class["provisioner"]
        if provisioner == "kubernetes.io/no-provisioner":
            return None
        if annotations.get(PROVISIONER) != provisioner:
            marks = {PROVISIONER: provisioner, BETA_PROVISIONER: provisioner}
            claim = await self._patch(CLAIMS, claim, {"metadata": {"annotations": marks}})
        text = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
            "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
            "correctly registered."
        )
        self.events.emit(claim, "ExternalProvisioning", text)
        source = self.provisioners.source(provisioner)
        if source is not None:
            await self._create(claim, storage_class, source)
        return None

    def _default_class(self) -> str:
        classes = self.informers.of(CLASSES).values()
        marked = [c for c in classes if (c["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"]
        newest = max(marked, key=lambda c: str(c["metadata"]["creationTimestamp"]), default=None)
        return str(newest["metadata"]["name"]) if newest else ""

    async def _create(self, claim: Object, storage_class: Object, source: Source) -> None:
        name = f"pvc-{claim['metadata']['uid']}"
        namespace, claim_name = _identity(claim)
        provisioner = storage_class["provisioner"]
        says = {**claim, "metadata": claim["metadata"]}
        text = f'External provisioner is provisioning volume for claim "{namespace}/{claim_name}"'
        self.events.emit(says, "Provisioning", text)
        volume: Object = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "annotations": {PROVISIONED_BY: provisioner}, "finalizers": [VOLUME_FINALIZER]},
            "spec": {
                "accessModes": claim["spec"]["accessModes"],
                "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "name": claim_name,
                    "namespace": namespace,
                    "uid": claim["metadata"]["uid"],
                    "resourceVersion": claim["metadata"]["resourceVersion"],
                },
                "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
                "storageClassName": storage_class["metadata"]["name"],
                "volumeMode": claim["spec"].get("volumeMode", "Filesystem"),
                **({"mountOptions": storage_class["mountOptions"]} if storage_class.get("mountOptions") else {}),
                **source(claim, storage_class, name),
            },
        }
        try:
            self.informers.of(VOLUMES).note(await self.port.create(VOLUMES, volume))
        except KubeError as error:
            if error.status != 409:
                raise
        self.events.emit(says, "ProvisioningSucceeded", f"Successfully provisioned volume {name}")

    async def _protect(self, claim: Object) -> float | None:
        """A claim that ends stays while a pod uses it."""
        namespace, name = _identity(claim)
        users = [
            pod
            for pod in self.informers.of(PODS).find("namespace", namespace)
            if key_of(claim) in _claims_of(pod) and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        ]
        finalizers = claim["metadata"].get("finalizers") or ()
        if users or CLAIM_FINALIZER not in finalizers:
            return None
        kept = [f for f in finalizers if f != CLAIM_FINALIZER]
        try:
            await self.port.patch(CLAIMS, name, {"metadata": {"finalizers": kept or None}}, namespace)
        except KubeError as error:
            if error.status != 404:
                raise
        return None

    # ----------------------------------------------------------------------------------------------------- volumes
    async def _volume(self, volume: Object) -> None:
        finalizers = volume["metadata"].get("finalizers") or ()
        phase = volume.get("status", {}).get("phase")
        reference = volume["spec"].get("claimRef")
        claim = self.informers.of(CLAIMS).get(f"{reference['namespace']}/{reference['name']}") if reference else None
        owned = (
            claim is not None and reference is not None and reference.get("uid") in (None, "", claim["metadata"]["uid"])
        )
        if deleting(volume):
            if not owned and VOLUME_FINALIZER in finalizers:
                kept = [f for f in finalizers if f != VOLUME_FINALIZER]
                await self._patch(VOLUMES, volume, {"metadata": {"finalizers": kept or None}})
            return
        if VOLUME_FINALIZER not in finalizers:
            volume = await self._patch(VOLUMES, volume, {"metadata": {"finalizers": [*finalizers, VOLUME_FINALIZER]}})
        if reference is None or not reference.get("uid"):
            if phase != "Available":
                await self._patch(VOLUMES, volume, {"status": {"phase": "Available"}}, "status")
        elif not owned:
            await self._release(volume, phase)

    async def _release(self, volume: Object, phase: str | None) -> None:
        """Its claim is gone: keep it, or delete it by its policy."""
        if phase != "Released":
            volume = await self._patch(VOLUMES, volume, {"status": {"phase": "Released"}}, "status")
        provisioner = (volume["metadata"].get("annotations") or {}).get(PROVISIONED_BY, "")
        if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete" and self.provisioners.source(provisioner):
            await self.port.delete(VOLUMES, volume["metadata"]["name"])

    async def _patch(self, gvr: str, obj: Object, change: Object, subresource: str = "") -> Object:
        namespace, name = split_key(key_of(obj))
        patched = await self.port.patch(gvr, name, change, namespace, subresource=subresource)
        self.informers.of(gvr).note(patched)
        return patched


def _identity(claim: ReadOnly) -> tuple[str, str]:
    return claim["metadata"]["namespace"], claim["metadata"]["name"]


def _claims_of(pod: Object) -> list[str]:
    """Keys of the claims that a pod uses."""
    namespace = pod["metadata"]["namespace"]
    names = [v.get("persistentVolumeClaim", {}).get("claimName") for v in pod["spec"].get("volumes") or ()]
    return [f"{namespace}/{name}" for name in names if name]


def volume_fits(volume: ReadOnly, claim: ReadOnly) -> bool:
    """Whether an unbound volume satisfies a claim."""
    spec, wanted = volume["spec"], claim["spec"]
    reference = spec.get("claimRef")
    if reference and (reference["namespace"], reference["name"]) != _identity(claim):
        return False
    if reference and reference.get("uid") not in (None, "", claim["metadata"]["uid"]):
        return False
    if deleting(volume) or (
        not reference and volume.get("status", {}).get("phase") not in ("Available", "Pending", None)
    ):
        return False
    if (spec.get("storageClassName") or "") != (wanted.get("storageClassName") or ""):
        return False
    if not set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return False
    if spec.get("volumeMode", "Filesystem") != wanted.get("volumeMode", "Filesystem"):
        return False
    size = (wanted.get("resources") or {}).get("requests", {}).get("storage", "0")
    return value_of(spec["capacity"]["storage"]) >= value_of(size)
