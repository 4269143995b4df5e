"""ServiceAccount tokens: signed and read back, bound to their account and their time.

The form is that of a real server's JWTs; the signature is an HMAC (HS256), which no client looks at.
Source: k8s.io/kubernetes/pkg/serviceaccount/claims.go (v1.33).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lab.kube.wire import User

ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
Json = dict[str, Any]


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def account_user(namespace: str, name: str, uid: str, extra: dict[str, tuple[str, ...]] | None = None) -> User:
    """The user that a ServiceAccount is."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid, extra or {})


class Tokens:
    """The issuer of one cluster."""

    def __init__(self, seed: int, now: Callable[[], datetime]) -> None:
        self._key = hashlib.sha256(f"service account key {seed}".encode()).digest()
        self._now = now

    def issue(
        self, account: Json, seconds: int, audiences: Sequence[str], bound: Json | None = None
    ) -> tuple[str, datetime]:
        """A token of an account, and when it runs out. `bound` is the pod or secret that it is bound to."""
        meta, now = account["metadata"], self._now().astimezone(UTC)
        end = now + timedelta(seconds=seconds)
        private: Json = {"namespace": meta["namespace"], "serviceaccount": {"name": meta["name"], "uid": meta["uid"]}}
        if bound:
            private[bound["kind"].lower()] = {"name": bound["name"], "uid": bound.get("uid", "")}
        claims = {
            "aud": list(audiences) or [ISSUER],
            "exp": int(end.timestamp()),
            "iat": int(now.timestamp()),
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": private,
            "nbf": int(now.timestamp()),
            "sub": f"system:serviceaccount:{meta['namespace']}:{meta['name']}",
        }
        head = _b64(json.dumps({"alg": "HS256", "kid": "lab"}, separators=(",", ":")).encode())
        body = f"{head}.{_b64(json.dumps(claims, separators=(',', ':')).encode())}"
        return f"{body}.{self._sign(body)}", end

    def _sign(self, body: str) -> str:
        return _b64(hmac.new(self._key, body.encode(), hashlib.sha256).digest())

    def claims_of(self, token: str) -> Json | None:
        """The claims of a token that this issuer signed and that has not run out."""
        body, _, signature = token.rpartition(".")
        if body.count(".") != 1 or not hmac.compare_digest(self._sign(body), signature):
            return None
        try:
            claims = json.loads(_unb64(body.partition(".")[2]))
        except (ValueError, binascii.Error):
            return None
        if not isinstance(claims, dict) or claims.get("exp", 0) <= self._now().timestamp():
            return None
        return claims

    def user_of(self, token: str, uid_of: Callable[[str, str], str]) -> User | None:
        """The account of a token, where it still is the same account."""
        claims = self.claims_of(token)
        if claims is None or ISSUER not in claims["aud"]:
            return None
        private = claims["kubernetes.io"]
        namespace, account = private["namespace"], private["serviceaccount"]
        if uid_of(namespace, account["name"]) != account["uid"]:
            return None
        extra: dict[str, tuple[str, ...]] = {"authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",)}
        return account_user(namespace, account["name"], account["uid"], extra)
