"""Files, secrets, keys and the gateway's compare."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchestrator.adapters import crypto, files
from orchestrator.adapters.junos import difference, masked_line
from orchestrator.adapters.masking import Masker
from orchestrator.adapters.secrets import SecretMissing, Secrets
from orchestrator.model.errors import PreconditionError

COMPARE = """[edit policy-options]
+   policy-statement K8S-INFRA-IN {
+       term lb {
+           from {
+               protocol bgp;
+               route-filter 10.25.20.0/26 prefix-length-range /32-/32;
+           }
+           then accept;
+       }
+   }
[edit protocols bgp]
+    group K8S-INFRA {
+        type external;
+        authentication-key "$9$abcdef"; ## SECRET-DATA
+        neighbor 10.25.11.11 {
+            description infra-01;
+        }
+    }
[edit protocols]
-   lldp {
-       interface all;
-   }
[edit routing-options forwarding-table]
-    export OLD;
+    export [ OLD ECMP ];
"""


def test_compare_is_read_as_set_lines() -> None:
    found = difference(COMPARE)
    assert found.added == {
        "set policy-options policy-statement K8S-INFRA-IN term lb from protocol bgp",
        "set policy-options policy-statement K8S-INFRA-IN term lb from route-filter 10.25.20.0/26 prefix-length-range /32-/32",
        "set policy-options policy-statement K8S-INFRA-IN term lb then accept",
        "set protocols bgp group K8S-INFRA type external",
        "set protocols bgp group K8S-INFRA authentication-key ***",
        "set protocols bgp group K8S-INFRA neighbor 10.25.11.11 description infra-01",
        "set routing-options forwarding-table export ECMP",
    }
    assert found.removed == {"set protocols lldp interface all"}  # OLD is written anew, not removed


def test_no_difference_is_empty() -> None:
    assert not difference("\n").added and not difference("").removed


def test_a_secret_in_a_line_is_masked() -> None:
    assert masked_line('set protocols bgp group X authentication-key "abc def"') == "set protocols bgp group X authentication-key ***"


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        files.write_private(tmp_path / "a" / "b" / "f", "text")
    finally:
        os.umask(old)
    assert (tmp_path / "a" / "b" / "f").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_a_kept_secret_is_never_overwritten(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, Masker(), {})
    secrets.keep("file:s/x", "one")
    with pytest.raises(PreconditionError):
        secrets.keep("file:s/x", "two")
    assert secrets.resolve("file:s/x") == "one"


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("v")
    (tmp_path / "x").chmod(0o644)
    with pytest.raises(PreconditionError, match="0644"):
        Secrets(tmp_path, Masker(), {}).resolve("file:x")


@pytest.mark.parametrize(("ref", "value"), [("env:TOKEN", "abcdefgh"), ("exec:printf abc-def", "abc-def")])
def test_references_resolve_and_are_masked_from_then_on(tmp_path: Path, ref: str, value: str) -> None:
    masker = Masker()
    secrets = Secrets(tmp_path, masker, {"TOKEN": "abcdefgh", "PATH": os.environ["PATH"]})
    assert secrets.resolve(ref) == value
    assert masker.mask(f"x {value} y") == "x *** y"


@pytest.mark.parametrize("ref", ["env:NONE", "file:none", "exec:false"])
def test_a_reference_to_nothing_says_so(tmp_path: Path, ref: str) -> None:
    with pytest.raises(SecretMissing):
        Secrets(tmp_path, Masker(), {"PATH": os.environ["PATH"]}).resolve(ref)


def test_a_made_ca_is_a_ca() -> None:
    made = yaml.safe_load(crypto.make_ca("Cilium CA"))
    certificate = x509.load_pem_x509_certificate(made["ca.crt"].encode())
    key = serialization.load_pem_private_key(made["ca.key"].encode(), None)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert key.public_key().public_numbers() == certificate.public_key().public_numbers()  # type: ignore[union-attr]  # an EC key


def request(user: str, names: list[str], signer: str = crypto.KUBELET_SERVING, decided: bool = False) -> dict[str, object]:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False).sign(key, hashes.SHA256())
    status = {"conditions": [{"type": "Denied"}]} if decided else {}
    return {"metadata": {"name": "csr-1"}, "spec": {"username": user, "signerName": signer, "request": base64.b64encode(csr.public_bytes(serialization.Encoding.PEM)).decode()}, "status": status}


@pytest.mark.parametrize(
    ("csr", "fine"),
    [
        (request("system:node:infra-01", ["infra-01"]), True),
        (request("system:node:infra-01", ["infra-01", "evil.example.org"]), False),
        (request("system:node:other", ["other"]), False),
        (request("admin", ["infra-01"]), False),
        (request("system:node:infra-01", ["infra-01"], signer="kubernetes.io/kube-apiserver-client"), False),
        (request("system:node:infra-01", ["infra-01"], decided=True), False),
        ({"metadata": {"name": "x"}, "spec": {"username": "system:node:infra-01", "signerName": crypto.KUBELET_SERVING, "request": "bm9wZQ=="}}, False),
    ],
)
def test_only_a_known_node_asking_for_itself_is_approved(csr: dict[str, object], fine: bool) -> None:
    assert crypto.approvable(csr, {"infra-01": ("10.25.11.11",)}) is fine
