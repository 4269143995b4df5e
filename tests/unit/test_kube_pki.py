"""Certificates and kubeconfigs of a lab cluster."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from lab.kube.pki import ClusterCA, KubeContext, kubeconfig


def names(pem: str, oid: x509.ObjectIdentifier) -> list[str | bytes]:
    return [a.value for a in x509.load_pem_x509_certificate(pem.encode()).subject.get_attributes_for_oid(oid)]


def test_a_client_certificate_carries_user_and_groups() -> None:
    pair = ClusterCA.generate().issue("admin", ("system:masters", "ops"))
    assert names(pair.cert, NameOID.COMMON_NAME) == ["admin"]
    assert names(pair.cert, NameOID.ORGANIZATION_NAME) == ["system:masters", "ops"]


def test_a_given_ca_signs_what_it_issues() -> None:
    made = ClusterCA.generate()
    again = ClusterCA(made.cert_pem, made.key_pem)
    cert = x509.load_pem_x509_certificate(again.issue("x").cert.encode())
    cert.verify_directly_issued_by(x509.load_pem_x509_certificate(made.cert_pem.encode()))


def test_an_ed25519_ca_of_a_talos_bundle_is_taken() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "kubernetes")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    )
    cert = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, None)
    encoding = serialization.Encoding.PEM
    pem = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    issued = ClusterCA(cert.public_bytes(encoding).decode(), pem).issue("x", hosts=("127.0.0.1", "localhost"))
    x509.load_pem_x509_certificate(issued.cert.encode()).verify_directly_issued_by(cert)
    assert cert.fingerprint(hashes.SHA256())


def test_an_expired_certificate_can_be_made() -> None:
    end = datetime.now(UTC) - timedelta(days=2)
    cert = x509.load_pem_x509_certificate(ClusterCA.generate().issue("late", not_after=end).cert.encode())
    assert cert.not_valid_before_utc < cert.not_valid_after_utc < datetime.now(UTC)


def test_a_kubeconfig_names_context_cluster_and_user() -> None:
    ca = ClusterCA.generate()
    config = yaml.safe_load(ca.kubeconfig("https://127.0.0.1:1", "admin", ("system:masters",), "infra"))
    assert config["current-context"] == "infra"
    assert config["contexts"][0]["context"] == {"cluster": "infra", "namespace": "default", "user": "admin@infra"}
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
    assert base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode() == ca.cert_pem


def test_a_token_stands_in_for_a_certificate() -> None:
    config = yaml.safe_load(kubeconfig([KubeContext("c", "c", "https://x", "ca", "u", token="secret")]))
    assert config["users"] == [{"name": "u@c", "user": {"token": "secret"}}]


def test_what_is_not_pem_is_refused() -> None:
    with pytest.raises(ValueError, match="PEM"):
        ClusterCA("nonsense", "nonsense")
