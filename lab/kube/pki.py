"""Certificates of a lab cluster: its CA, the API server's certificate, client certificates and kubeconfigs.

Keys are EC P-256, so that a cluster's whole PKI is made in a few milliseconds. Validity is counted in wall time, because it is
checked by real TLS clients, whose clock is the wall's. Source: the layout of `talosctl kubeconfig`, v1.11.
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SKEW = timedelta(
    hours=1
)  # certificates begin this long before they are made, as kubeadm's and Talos' do not mind skewed clocks
CA_DAYS = 3650  # Talos' default for its Kubernetes CA
CERTIFICATE_DAYS = 365  # Talos' default for admin kubeconfigs
NO_CHECK_TIME = (
    0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME: an expired certificate is refused by HTTP with 401, not by TLS
)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class KubeContext:
    """One context of a kubeconfig; `token` stands in for a client certificate where it is not empty."""

    name: str
    cluster: str
    server: str
    ca: str
    user: str
    pair: KeyPair | None = None
    token: str = ""
    namespace: str = "default"


class ClusterCA:
    """The Kubernetes CA of one cluster."""

    def __init__(self, cert_pem: str, key_pem: str) -> None:
        """Take a given CA, for example that of a Talos secrets bundle. Raises ValueError where either is not PEM."""
        self.cert_pem = cert_pem
        self.key_pem = key_pem
        self._cert = x509.load_pem_x509_certificate(cert_pem.encode())
        self._key = _issuer_key(key_pem)

    @classmethod
    def generate(cls, common_name: str = "kubernetes", *, days: int = CA_DAYS) -> Self:
        """A fresh CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, common_name)])
        begin = datetime.now(UTC) - SKEW
        cert = (
            _builder(name, name, key.public_key(), begin, begin + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(_cert_pem(cert), _key_pem(key))

    def issue(
        self,
        common_name: str,
        groups: Sequence[str] = (),
        *,
        hosts: Sequence[str] = (),
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> KeyPair:
        """A certificate for a client (CN is the user, O are its groups) or, where `hosts` are given, for a server.

        `not_after` in the past makes an expired one, for drills.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        name = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        begin = not_before or datetime.now(UTC) - SKEW
        end = not_after or begin + SKEW + timedelta(days=CERTIFICATE_DAYS)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _builder(name, self._cert.subject, key.public_key(), min(begin, end - SKEW), end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(h) for h in hosts]), critical=False
            )
        algorithm = None if isinstance(self._key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        return KeyPair(_cert_pem(builder.sign(self._key, algorithm)), _key_pem(key))

    def server_context(
        self, hosts: Sequence[str] = ("127.0.0.1", "localhost", "kubernetes.default.svc")
    ) -> ssl.SSLContext:
        """TLS for the API server: its own certificate, client certificates of this CA wanted but not needed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.num_tickets = 1  # as Go's; a ticket holds the client's certificate and is a sixth of a handshake
        load_pair(context, self.issue("kube-apiserver", hosts=hosts))
        context.load_verify_locations(cadata=self.cert_pem)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
        return context

    def client_context(
        self, user: str, groups: Sequence[str] = (), *, context_name: str, server: str, cluster: str = ""
    ) -> KubeContext:
        """A kubeconfig context with a new client certificate."""
        return KubeContext(
            context_name, cluster or context_name, server, self.cert_pem, user, pair=self.issue(user, groups)
        )

    def kubeconfig(self, server: str, user: str, groups: Sequence[str], context_name: str) -> str:
        """The text of a kubeconfig with one context, its certificates embedded."""
        return kubeconfig([self.client_context(user, groups, context_name=context_name, server=server)])


def kubeconfig(contexts: Sequence[KubeContext]) -> str:
    """The text of a kubeconfig; the first context is the current one. Source: clientcmd API v1."""
    clusters = {c.cluster: {"server": c.server, "certificate-authority-data": _b64(c.ca)} for c in contexts}
    users = {f"{c.user}@{c.cluster}": _credentials(c) for c in contexts}
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster} for name, cluster in clusters.items()],
        "users": [{"name": name, "user": user} for name, user in users.items()],
        "contexts": [
            {
                "name": c.name,
                "context": {"cluster": c.cluster, "namespace": c.namespace, "user": f"{c.user}@{c.cluster}"},
            }
            for c in contexts
        ],
        "current-context": contexts[0].name,
    }
    return yaml.safe_dump(config, sort_keys=False, width=2**20)


def load_pair(context: ssl.SSLContext, pair: KeyPair) -> None:
    """Give a TLS context its certificate; the ssl module reads it from a file alone."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # made 0600, gone at once
        file.write(pair.cert + pair.key)
        file.flush()
        context.load_cert_chain(file.name)


def _credentials(context: KubeContext) -> dict[str, str]:
    if context.token:
        return {"token": context.token}
    if context.pair is None:
        return {}
    return {"client-certificate-data": _b64(context.pair.cert), "client-key-data": _b64(context.pair.key)}


def _issuer_key(pem: str) -> CertificateIssuerPrivateKeyTypes:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)):
        return key
    raise ValueError(f"a CA cannot sign with a key of type {type(key).__name__}")


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _cert_pem(cert: x509.Certificate) -> str:
    return cert.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
