"""Kubelet serving certificates: the requests that kubelets make where rotation is on, and the signer that answers approved ones.

Nobody approves them by default (foundation.md 3.3). Source: k8s.io/kubernetes/pkg/kubelet/certificate, 1.33.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.ctl.base import Controller, Keys
from lab.kube.port import KubeError, KubePort

if TYPE_CHECKING:
    from lab.kube.pki import ClusterCA

GVR = "certificates.k8s.io/v1/certificatesigningrequests"
SIGNER = "kubernetes.io/kubelet-serving"
Object = dict[str, Any]


def has_condition(request: Mapping[str, Any], kind: str) -> bool:
    """Whether a CSR carries a condition."""
    return any(c.get("type") == kind for c in request.get("status", {}).get("conditions", []))


def requests_of(requests: Iterable[Object], node: str) -> list[Object]:
    """The serving CSRs of one node."""
    return [
        r
        for r in requests
        if r["spec"].get("signerName") == SIGNER and r["spec"].get("username") == f"system:node:{node}"
    ]


async def approved(port: KubePort, node: str) -> bool:
    """Whether a serving certificate of `node` has been issued."""
    items, _ = await port.list(GVR)
    return any(r.get("status", {}).get("certificate") for r in requests_of(items, node))


async def request(port: KubePort, node: str, addresses: Sequence[str], name: str) -> None:
    """Ask for a serving certificate of `node`, unless it has asked."""
    items, _ = await port.list(GVR)
    if requests_of(items, node):
        return
    body = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(_csr(node, addresses)).decode(),
            "signerName": SIGNER,
            "usages": ["digital signature", "server auth"],
            "username": f"system:node:{node}",  # an API server writes the same from who asks
            "groups": ["system:nodes", "system:authenticated"],
        },
    }
    await port.create(GVR, body)


def _csr(node: str, addresses: Sequence[str]) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName(node)]
    names += [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Signer(Controller):
    """Issues certificates for approved kubelet-serving requests."""

    name: ClassVar[str] = "csrsigning"

    def __init__(self, port: KubePort, clock: Any, informers: Any, ca: ClusterCA, *, seed: int = 0) -> None:
        super().__init__(port, clock, informers, seed=seed)
        self.ca = ca

    def watches(self) -> Mapping[str, Keys]:
        return {GVR: lambda obj: (obj["metadata"]["name"],)}

    async def reconcile(self, key: str) -> float | None:
        found = self.informers.of(GVR).get(key)
        if found is None or found["spec"].get("signerName") != SIGNER:
            return None
        if found.get("status", {}).get("certificate") or not has_condition(found, "Approved"):
            return None
        pair = self.ca.issue(found["spec"].get("username", key), ("system:nodes",), hosts=("127.0.0.1",))
        patch = {"status": {"certificate": base64.b64encode(pair.cert.encode()).decode()}}
        try:
            await self.port.patch(GVR, key, patch, subresource="status")
        except KubeError as error:
            if error.status != 404:
                raise
        return None
