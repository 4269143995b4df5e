"""Secrets bundles, Talos' PKI and client configs, in the real files' shapes.

Source: talos `pkg/machinery/config/generate/secrets`, `pkg/machinery/client/config`, v1.11.2; recorded/talosctl/gen-secrets.
"""

from __future__ import annotations

import base64
import random
import secrets as entropy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.talos import goyaml

Bundle = dict[str, Any]
CA_DAYS = 3650
CLIENT_DAYS = 365
SKEW = timedelta(hours=1)
ED25519_HEADER = "ED25519 PRIVATE KEY"


class TrustError(Exception):
    """One end of a TLS connection does not trust the other: the text is Go's."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, PEM."""

    crt: str
    key: str

    def encoded(self) -> dict[str, str]:
        """As the files hold it: base64 of PEM."""
        return {"crt": b64(self.crt), "key": b64(self.key)}


def b64(text: str | bytes) -> str:
    """Standard base64 of text or bytes."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def unb64(text: str) -> str:
    """The text of base64. Raises ValueError."""
    return base64.b64decode(text, validate=True).decode()


def new_bundle() -> Bundle:
    """A fresh secrets bundle."""
    return {
        "cluster": {"id": _random(32, urlsafe=True), "secret": _random(32)},
        "secrets": {"bootstraptoken": _token(6, 16), "secretboxencryptionsecret": _random(32)},
        "trustdinfo": {"token": _token(6, 16)},
        "certs": {
            "etcd": _ca("etcd", ecdsa=True).encoded(),
            "k8s": _ca("kubernetes", ecdsa=True).encoded(),
            "k8saggregator": _ca("front-proxy", ecdsa=True).encoded(),
            "k8sserviceaccount": {"key": b64(_pem(ec.generate_private_key(ec.SECP256R1())))},
            "os": _ca("talos", ecdsa=False).encoded(),
        },
    }


def dump_bundle(bundle: Bundle) -> str:
    """The file's text."""
    return goyaml.dump(bundle)


def load_bundle(text: str) -> Bundle:
    """A bundle from its file. Raises ValueError naming what is missing."""
    bundle = yaml.safe_load(text)
    if not isinstance(bundle, dict):
        raise ValueError("yaml: unmarshal errors: cannot unmarshal into secrets.Bundle")
    for path in (
        "cluster.id",
        "secrets.bootstraptoken",
        "trustdinfo.token",
        "certs.k8s.crt",
        "certs.os.crt",
        "certs.etcd.crt",
    ):
        value: Any = bundle
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not value:
            raise ValueError(f"{path} is required")
    return bundle


def bundle_of_config(document: dict[str, Any]) -> Bundle:
    """The bundle that a control plane's machine config holds."""
    machine, cluster = document["machine"], document["cluster"]
    return {
        "cluster": {"id": cluster["id"], "secret": cluster["secret"]},
        "secrets": {
            "bootstraptoken": cluster["token"],
            "secretboxencryptionsecret": cluster["secretboxEncryptionSecret"],
        },
        "trustdinfo": {"token": machine["token"]},
        "certs": {
            "etcd": cluster["etcd"]["ca"],
            "k8s": cluster["ca"],
            "k8saggregator": cluster["aggregatorCA"],
            "k8sserviceaccount": cluster["serviceAccount"],
            "os": machine["ca"],
        },
    }


def client_config(name: str, bundle: Bundle, endpoints: list[str] | None = None) -> dict[str, Any]:
    """A talosconfig with one context and a new admin certificate."""
    ca = Pair(unb64(bundle["certs"]["os"]["crt"]), unb64(bundle["certs"]["os"]["key"]))
    pair = issue_client(ca, ["os:admin"])
    context = {"endpoints": endpoints or [], "ca": b64(ca.crt), **pair.encoded()}
    return {"context": name, "contexts": {name: context}}


def issue_client(ca: Pair, roles: list[str], *, days: float = CLIENT_DAYS) -> Pair:
    """A client certificate of a Talos CA; the roles are its organizations."""
    key = ed25519.Ed25519PrivateKey.generate()
    issuer = x509.load_pem_x509_certificate(ca.crt.encode())
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, role) for role in roles])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + timedelta(days=days)) - SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(_load_key(ca.key), None)
    )
    return Pair(_cert(certificate), _ed25519_pem(key))


def check_trust(context: dict[str, Any], node_ca: str | None) -> x509.Certificate:
    """Handshake between a talosconfig's context and a node whose CA is `node_ca` (PEM), or None in maintenance mode.

    Returns the client's certificate. Raises TrustError in Go's words.
    """
    try:
        ca = x509.load_pem_x509_certificate(unb64(context["ca"]).encode())
        client = x509.load_pem_x509_certificate(unb64(context["crt"]).encode())
    except (KeyError, ValueError) as error:
        raise TrustError(f"failed to acquire credentials: {error}") from None
    prefix = 'connection error: desc = "transport: authentication handshake failed: tls: failed to verify certificate: '
    if node_ca is None:
        raise TrustError(f'{prefix}x509: certificate signed by unknown authority"')
    node = x509.load_pem_x509_certificate(node_ca.encode())
    if node != ca:
        raise TrustError(
            f'{prefix}x509: certificate signed by unknown authority (possibly because of \\"x509: Ed25519 verification failure\\" '
            'while trying to verify candidate authority certificate \\"talos\\")"'
        )
    try:
        client.verify_directly_issued_by(node)
    except (InvalidSignature, ValueError, TypeError):
        raise TrustError(
            'connection error: desc = "error reading server preface: remote error: tls: bad certificate"'
        ) from None
    if client.not_valid_after_utc < datetime.now(UTC):
        raise TrustError(
            'connection error: desc = "error reading server preface: remote error: tls: expired certificate"'
        )
    return client


def roles(certificate: x509.Certificate) -> list[str]:
    """The roles that a client certificate carries."""
    return [str(a.value) for a in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def _ca(organization: str, *, ecdsa: bool) -> Pair:
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    key = ec.generate_private_key(ec.SECP256R1()) if ecdsa else ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256() if ecdsa else None)
    )
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return Pair(_cert(certificate), _ed25519_pem(key))
    return Pair(_cert(certificate), _pem(key))


def _load_key(pem: str) -> ed25519.Ed25519PrivateKey:
    key = serialization.load_pem_private_key(pem.replace(ED25519_HEADER, "PRIVATE KEY").encode(), None)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ValueError("the Talos CA's key is not Ed25519")
    return key


def _cert(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()


def _ed25519_pem(key: ed25519.Ed25519PrivateKey) -> str:
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return plain.replace("PRIVATE KEY", ED25519_HEADER)


def _random(count: int, *, urlsafe: bool = False) -> str:
    data = entropy.token_bytes(count)
    return (base64.urlsafe_b64encode(data) if urlsafe else base64.b64encode(data)).decode()


def _token(first: int, second: int) -> str:
    source = random.SystemRandom()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return ".".join("".join(source.choice(letters) for _ in range(n)) for n in (first, second))
