"""When certificates end, as read by hand, against what cryptography reads."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchestrator.adapters.certificates import ends


def certificate(end: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "n" * 60)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), end - timedelta(days=1), end)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("year", [1951, 1999, 2000, 2026, 2049, 2050, 2101])
def test_the_end_of_a_certificate_is_the_one_that_cryptography_reads(year: int) -> None:
    end = datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert ends(base64.b64encode(b"words before\n" + certificate(end)).decode()) == end


def test_what_is_no_certificate_has_no_end() -> None:
    pem = certificate(datetime(2030, 1, 1, tzinfo=UTC))
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    assert ends("") is None and ends("%") is None and ends(base64.b64encode(b"no PEM").decode()) is None
    for size in range(len(der)):
        cut = b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(der[:size]) + b"\n-----END CERTIFICATE-----\n"
        found = ends(base64.b64encode(cut).decode())
        assert found is None
