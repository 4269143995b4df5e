"""Certificates that the Cilium chart and its certgen make. Keys are EC, so that one takes a millisecond.

Validity counts in the world's time. Source: the chart's `genCA`/`genSignedCert` calls and github.com/cilium/certgen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both PEM."""

    cert: str
    key: str

    def data(self, cert: str = "tls.crt", key: str = "tls.key") -> dict[str, str]:
        """As the `data` of a Secret."""
        return {cert: b64(self.cert), key: b64(self.key)}


def b64(text: str) -> str:
    """Base64 of a text."""
    return base64.b64encode(text.encode()).decode()


def unb64(text: str) -> str:
    """The inverse of `b64`; what is none gives the empty string."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def make_ca(now: datetime, days: int = 1095) -> Pair:
    """A self-signed "Cilium CA"."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Cilium CA")])
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(minutes=1), now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(_pem(cert), _key_pem(key))


def sign(ca: Pair, common_name: str, names: Sequence[str], now: datetime, days: int = 1095) -> Pair:
    """A certificate of `ca`. Raises ValueError where the CA is no key pair."""
    issuer = x509.load_pem_x509_certificate(ca.cert.encode())
    signer = load_pem_private_key(ca.key.encode(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("the CA's key is neither RSA nor EC")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateBuilder(
        issuer.subject, subject, key.public_key(), x509.random_serial_number(), now - timedelta(minutes=1), now + timedelta(days=days)
    ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    return Pair(_pem(builder.sign(signer, hashes.SHA256())), _key_pem(key))


def is_pair(cert: str, key: str) -> bool:
    """Whether both parse, as the chart's `buildCustomCert` demands."""
    try:
        x509.load_pem_x509_certificate(cert.encode())
        load_pem_private_key(key.encode(), None)
    except (ValueError, TypeError):
        return False
    return True


@lru_cache(maxsize=256)
def signed_by(cert: str, ca: str) -> bool:
    """Whether `ca` signed `cert`."""
    try:
        leaf, issuer = x509.load_pem_x509_certificate(cert.encode()), x509.load_pem_x509_certificate(ca.encode())
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def expired(cert: str, now: datetime) -> bool:
    """Whether the certificate's time is over."""
    try:
        return x509.load_pem_x509_certificate(cert.encode()).not_valid_after_utc < now
    except ValueError:
        return True


def fingerprint(cert: str) -> str:
    """SHA-256 of the PEM text, as people compare CAs."""
    return hashlib.sha256(cert.strip().encode()).hexdigest()


def _pem(cert: x509.Certificate) -> str:
    return cert.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()).decode()
