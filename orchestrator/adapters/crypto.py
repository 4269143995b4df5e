"""Making the few secrets that are ours to make, and reading certificate signing requests."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

CA_DAYS = 3650
KUBELET_SERVING = "kubernetes.io/kubelet-serving"


def make_password() -> str:
    """A random password of 32 letters and digits: nothing that Junos, YAML or a shell would read as syntax."""
    alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789"
    return "".join(secrets.choice(alphabet) for _ in range(32))


def make_ca(subject: str) -> str:
    """A certificate authority as a YAML mapping with `ca.crt` and `ca.key` (PEM, ECDSA P-256, ten years)."""
    import yaml
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(hours=1), now + timedelta(days=CA_DAYS))
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True).add_extension(usage, critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return yaml.safe_dump({"ca.crt": certificate, "ca.key": private}, default_style="|")


def make_ssh_key() -> str:
    """An Ed25519 private key in OpenSSH's form."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key = ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()).decode()


def approvable(request: Mapping[str, Any], nodes: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a CSR is pending, asked for by the kubelet of a node of ours, and names nothing but that node.

    Source: foundation.md 3.3 (b): signer, requester and SANs must all fit.
    """
    spec = request.get("spec", {})
    user = str(spec.get("username", ""))
    node = user.removeprefix("system:node:")
    pending = not (request.get("status") or {}).get("conditions")
    if not pending or spec.get("signerName") != KUBELET_SERVING or not user.startswith("system:node:") or node not in nodes:
        return False
    names = _names(str(spec.get("request", "")))
    return bool(names) and names <= {node, *nodes[node]}


def _names(request: str) -> set[str]:
    """The DNS names and addresses that a CSR (base64 of PEM) asks for; empty when it cannot be read."""
    from cryptography import x509

    try:
        parsed = x509.load_pem_x509_csr(base64.b64decode(request))
        wanted = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return set()
    return {str(one) for one in (*wanted.get_values_for_type(x509.DNSName), *wanted.get_values_for_type(x509.IPAddress))}
