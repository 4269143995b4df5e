"""HTTP by urllib3: plain GET and POST, and the one signed request that preflight sends to the S3 store."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import urllib3

from orchestrator.model.query import Answer

MOST_BODY = 16 << 20  # bytes
_POOL = urllib3.PoolManager(retries=False)


def request(method: str, url: str, *, headers: Mapping[str, str], body: str | None, within: float) -> Answer:
    """One request, no redirect followed to another host. A target that does not answer is `unreachable`, not an error."""
    try:
        reply = _POOL.request(method, url, headers=dict(headers), body=body, timeout=urllib3.Timeout(total=within), redirect=False, preload_content=False)
        raw = reply.read(MOST_BODY, decode_content=True)
        reply.release_conn()
    except urllib3.exceptions.HTTPError as error:
        return Answer(unreachable=f"{urlsplit(url).netloc}: {_why(error)}")
    text = raw.decode("utf-8", "backslashreplace")
    return Answer(stdout=text, status=reply.status, body=_json(text), extra={"headers": {k.lower(): v for k, v in reply.headers.items()}})


def head_bucket(endpoint: str, region: str, bucket: str, access_key: str, secret_key: str, *, within: float) -> Answer:
    """HEAD of a bucket, path style, signed with AWS Signature Version 4. Source: AWS General Reference, "Signature Version 4"."""
    url = f"{endpoint.rstrip('/')}/{bucket}"
    return request("HEAD", url, headers=_signed("HEAD", url, region, access_key, secret_key), body=None, within=within)


def _signed(method: str, url: str, region: str, access_key: str, secret_key: str) -> dict[str, str]:
    parts = urlsplit(url)
    now = datetime.now(UTC)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": parts.netloc, "x-amz-content-sha256": empty, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = "\n".join((method, parts.path or "/", parts.query, lines, names, empty))
    scope = f"{day}/{region}/s3/aws4_request"
    to_sign = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    return headers | {"Authorization": f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _why(error: Exception) -> str:
    """The innermost reason, short."""
    reason = getattr(error, "reason", None)
    text = str(reason if reason is not None else error)
    return text.rsplit(": ", 1)[-1] if ": " in text else text
