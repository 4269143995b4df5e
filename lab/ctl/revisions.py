"""ControllerRevisions: the history of DaemonSets and StatefulSets. Source: k8s.io/kubernetes/pkg/controller/history, 1.33."""

from __future__ import annotations

from collections.abc import Sequence

from lab.ctl.base import Controller, key_of, split_key
from lab.ctl.objects import REVISION_LABEL, Object, ReadOnly, owner_reference, safe_hash
from lab.kube.plain import clone
from lab.kube.port import KubeError

REVISIONS = "apps/v1/controllerrevisions"


def template_hash(owner: ReadOnly) -> str:
    """The hash that names the revision of a workload's present template."""
    return safe_hash(owner["spec"]["template"])


async def ensure_revision(controller: Controller, owner: Object) -> str:
    """Make the ControllerRevision of the present template where it is missing; answers its hash label's value."""
    digest = template_hash(owner)
    history = controller.informers.of(REVISIONS)
    own = history.find("owner", owner["metadata"]["uid"])
    newest = max((rev["revision"] for rev in own), default=0)
    name = f"{owner['metadata']['name']}-{digest}"
    held = next((rev for rev in own if rev["metadata"]["name"] == name), None)
    if held is None:
        await _create(controller, owner, name, digest, newest + 1)
    elif held["revision"] < newest:
        namespace, _ = split_key(key_of(held))
        history.note(await controller.port.patch(REVISIONS, name, {"revision": newest + 1}, namespace))
    return digest


async def _create(controller: Controller, owner: Object, name: str, digest: str, number: int) -> None:
    labels = {**(owner["spec"]["template"].get("metadata", {}).get("labels") or {}), REVISION_LABEL: digest}
    data = {"spec": {"template": {**clone(owner["spec"]["template"]), "$patch": "replace"}}}
    namespace = owner["metadata"]["namespace"]
    revision = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(owner)],
        },
        "data": data,
        "revision": number,
    }
    try:
        controller.informers.of(REVISIONS).note(await controller.port.create(REVISIONS, revision, namespace))
    except KubeError as error:
        if error.status != 409:
            raise


async def prune_revisions(controller: Controller, owner: Object, used: Sequence[str]) -> None:
    """Delete revisions beyond the history limit that no pod uses."""
    own = controller.informers.of(REVISIONS).find("owner", owner["metadata"]["uid"])
    spare = [rev for rev in own if rev["metadata"]["labels"].get(REVISION_LABEL) not in used]
    limit = owner["spec"].get("revisionHistoryLimit", 10)
    for rev in sorted(spare, key=lambda rev: int(rev["revision"]))[: max(len(spare) - limit, 0)]:
        namespace, name = split_key(key_of(rev))
        await controller.port.delete(REVISIONS, name, namespace)
