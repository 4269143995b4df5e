"""The S3 store on loopback: the part of the protocol that backup tools use, with checked keys and signatures.

Objects, ranges, listing, multi-delete, multipart and aws-chunked bodies; errors as MinIO words them. Path style only.
Source: the Amazon S3 API Reference, and AWS Signature Version 4; gitops-storage.md 10.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

from lab.actor import Snapshot
from lab.clock import Clock
from lab.faults import Effect, Faults, Happening
from lab.record import Record
from lab.web import Cut, Reply, Request, WebServer

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
SKEW_LIMIT = timedelta(minutes=15)
ALGORITHM = "AWS4-HMAC-SHA256"
STREAMING = "STREAMING-"
LIST_MOST = 1000
STATUS = {
    "AccessDenied": 403,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidPart": 400,
    "InvalidRange": 416,
    "MalformedXML": 400,
    "MethodNotAllowed": 405,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "PreconditionFailed": 412,
    "RequestTimeTooSkewed": 403,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "XAmzContentSHA256Mismatch": 400,
    "XMinioStorageFull": 507,
}
TEXTS = {
    "AccessDenied": "Access Denied.",
    "BucketAlreadyOwnedByYou": "Your previous request to create the named bucket succeeded and you already own it.",
    "BucketNotEmpty": "The bucket you tried to delete is not empty",
    "InvalidAccessKeyId": "The Access Key Id you provided does not exist in our records.",
    "InvalidBucketName": "The specified bucket is not valid.",
    "InvalidPart": "One or more of the specified parts could not be found.",
    "InvalidRange": "The requested range is not satisfiable",
    "MalformedXML": "The XML you provided was not well-formed or did not validate against our published schema.",
    "MethodNotAllowed": "The specified method is not allowed against this resource.",
    "NoSuchBucket": "The specified bucket does not exist",
    "NoSuchKey": "The specified key does not exist.",
    "NoSuchUpload": "The specified multipart upload does not exist.",
    "PreconditionFailed": "At least one of the pre-conditions you specified did not hold",
    "RequestTimeTooSkewed": "The difference between the request time and the server's time is too large.",
    "SignatureDoesNotMatch": "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    "SlowDown": "Resource requested is unreadable, please reduce your request rate",
    "XAmzContentSHA256Mismatch": "The provided 'x-amz-content-sha256' header does not match what was computed.",
    "XMinioStorageFull": "Storage backend has reached its minimum free drive threshold. Please delete a few objects to proceed.",
}


class S3Error(Exception):
    """An answer that is an error; `code` is S3's."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.text = text or TEXTS.get(code, code)


@dataclass(frozen=True, slots=True)
class Stored:
    """One object. `at` is the world's time."""

    data: bytes
    etag: str
    at: datetime
    kind: str = "binary/octet-stream"
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class User:
    """Who holds an access key, and on which buckets: empty means all."""

    secret: str
    buckets: tuple[str, ...] = ()
    read_only: bool = False


@dataclass(slots=True)
class Upload:
    """A multipart upload under way."""

    bucket: str
    key: str
    kind: str
    meta: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class S3Store:
    """One store. `users` are by access key; `capacity` in bytes, 0 without a limit; `skew` is how far its clock is off."""

    clock: Clock
    rng: random.Random
    record: Record
    users: dict[str, User]
    region: str = "us-east-1"
    faults: Faults | None = None
    port: int = 0
    capacity: int = 0
    skew: timedelta = timedelta(0)
    buckets: dict[str, dict[str, Stored]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    web: WebServer = field(init=False)

    def __post_init__(self) -> None:
        self.web = WebServer(self._handle, self.port)

    @property
    def name(self) -> str:
        """The actor's name."""
        return "s3"

    @property
    def url(self) -> str:
        """The endpoint."""
        return self.web.url

    async def start(self) -> None:
        """Listen."""
        await self.web.start()
        self.port = self.web.port

    async def stop(self) -> None:
        """Cut every connection."""
        await self.web.stop()

    def snapshot(self) -> Snapshot:
        """Buckets with their objects, and uploads under way."""
        return {
            "buckets": {bucket: {key: _packed(stored) for key, stored in keys.items()} for bucket, keys in self.buckets.items()},
            "uploads": {
                number: {
                    "bucket": u.bucket,
                    "key": u.key,
                    "kind": u.kind,
                    "meta": u.meta,
                    "parts": {str(part): base64.b64encode(data).decode() for part, data in u.parts.items()},
                }
                for number, u in self.uploads.items()
            },
        }

    def restore(self, state: Snapshot) -> None:
        """Take over a snapshot."""
        self.buckets = {b: {key: _unpacked(entry) for key, entry in keys.items()} for b, keys in state["buckets"].items()}
        self.uploads = {}
        for number, u in state["uploads"].items():
            parts = {int(part): base64.b64decode(data) for part, data in u["parts"].items()}
            self.uploads[number] = Upload(u["bucket"], u["key"], u["kind"], dict(u["meta"]), parts)

    def dump(self) -> Snapshot:
        """Buckets, and the size and digest of each object."""
        return {
            bucket: {key: f"{len(s.data)} {hashlib.sha256(s.data).hexdigest()[:16]}" for key, s in sorted(keys.items())}
            for bucket, keys in sorted(self.buckets.items())
        }

    def busy(self) -> bool:
        """Never: it does nothing by itself."""
        return False

    def put(self, bucket: str, key: str, data: bytes, *, kind: str = "binary/octet-stream") -> Stored:
        """Store an object, for others in the world. Raises S3Error."""
        return self._store(self._bucket(bucket), key, data, kind, {})

    def get(self, bucket: str, key: str) -> bytes:
        """An object's content, for others in the world. Raises S3Error."""
        return self._object(bucket, key).data

    # -- requests ----------------------------------------------------------------------------------------------------

    async def _handle(self, request: Request) -> Reply:
        bucket, _, key = request.path.lstrip("/").partition("/")
        effect = self._effect(request)
        if effect is not None:
            await self.clock.sleep(effect.latency)
            while effect.hang:
                await asyncio.sleep(1)
        who, mutates = "anonymous", _mutates(request)
        try:
            if effect is not None and effect.before and effect.cut:
                raise Cut
            who = self._authorised(request, bucket, mutates=mutates)
            _injected(effect, mutates=mutates)
            reply = self._answer(request, bucket, key)
        except S3Error as error:
            reply = _error(error, request)
        what, ok = _operation(request, bucket, key), reply.status < 400
        self.record.add(actor=who, via="s3", what=what, request=f"{request.method} {request.path}", mutates=mutates, ok=ok)
        if effect is not None and effect.cut:
            raise Cut
        return reply

    def _effect(self, request: Request) -> Effect | None:
        if self.faults is None or not self.faults.rules:
            return None
        return self.faults.find(Happening(actor="s3", verb=request.method, object=request.path.lstrip("/")))

    def _answer(self, request: Request, bucket: str, key: str) -> Reply:
        if not bucket:
            return self._list_buckets(request)
        if not key:
            return self._on_bucket(request, bucket)
        match request.method:
            case "PUT" if "partNumber" in request.query:
                return self._put_part(request)
            case "PUT":
                return self._put(request, bucket, key)
            case "POST":
                return self._multipart(request, bucket, key)
            case "GET" | "HEAD":
                return self._get(request, bucket, key)
            case "DELETE" if "uploadId" in request.query:
                self.uploads.pop(request.query["uploadId"], None)
                return Reply(204)
            case "DELETE":
                self._bucket(bucket).pop(key, None)
                return Reply(204)
        raise S3Error("MethodNotAllowed")

    def _list_buckets(self, request: Request) -> Reply:
        if request.method not in ("GET", "HEAD"):
            raise S3Error("MethodNotAllowed")
        rows = "".join(f"<Bucket><Name>{escape(b)}</Name><CreationDate>2025-12-01T08:00:00.000Z</CreationDate></Bucket>" for b in self.buckets)
        return _xml("ListAllMyBucketsResult", f"<Owner><ID>lab</ID><DisplayName>lab</DisplayName></Owner><Buckets>{rows}</Buckets>")

    def _on_bucket(self, request: Request, bucket: str) -> Reply:
        query = request.query
        if request.method == "PUT" and not query:
            return self._make(bucket)
        keys = self._bucket(bucket)
        if request.method == "HEAD":
            return Reply(200, headers={"x-amz-bucket-region": self.region})
        if request.method == "DELETE":
            if keys:
                raise S3Error("BucketNotEmpty")
            del self.buckets[bucket]
            return Reply(204)
        if request.method == "POST" and "delete" in query:
            return _deleted(keys, request.body)
        if request.method == "PUT":
            return Reply(200)  # versioning, lifecycle and the like: accepted, not kept
        if "location" in query:
            return _xml("LocationConstraint", "" if self.region == "us-east-1" else self.region)
        if "versioning" in query:
            return _xml("VersioningConfiguration", "")
        if "object-lock" in query:
            raise S3Error("ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket")
        if "uploads" in query:
            rows = "".join(
                f"<Upload><Key>{escape(u.key)}</Key><UploadId>{n}</UploadId></Upload>" for n, u in self.uploads.items() if u.bucket == bucket
            )
            return _xml("ListMultipartUploadsResult", f"<Bucket>{escape(bucket)}</Bucket><IsTruncated>false</IsTruncated>{rows}")
        return _listing(bucket, keys, query)

    def _make(self, bucket: str) -> Reply:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
            raise S3Error("InvalidBucketName")
        if bucket in self.buckets:
            raise S3Error("BucketAlreadyOwnedByYou")
        self.buckets[bucket] = {}
        return Reply(200, headers={"Location": f"/{bucket}"})

    def _put(self, request: Request, bucket: str, key: str) -> Reply:
        keys = self._bucket(bucket)
        if request.header("if-none-match") == "*" and key in keys:
            raise S3Error("PreconditionFailed")
        if source := request.header("x-amz-copy-source"):
            from_bucket, _, from_key = unquote(source).lstrip("/").partition("/")
            found = self._object(from_bucket, from_key)
            stored = self._store(keys, key, found.data, found.kind, dict(found.meta))
            stamp = stored.at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
            return _xml("CopyObjectResult", f"<LastModified>{stamp}</LastModified><ETag>&quot;{stored.etag}&quot;</ETag>")
        stored = self._store(keys, key, payload(request), request.header("content-type") or "binary/octet-stream", _meta(request))
        return Reply(200, headers={"ETag": f'"{stored.etag}"'})

    def _put_part(self, request: Request) -> Reply:
        upload = self._upload(request)
        data = payload(request)
        self._room(len(data))
        upload.parts[int(request.query["partNumber"])] = data
        return Reply(200, headers={"ETag": f'"{_md5(data)}"'})

    def _multipart(self, request: Request, bucket: str, key: str) -> Reply:
        place = f"<Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key>"
        if "uploads" in request.query:
            self._bucket(bucket)
            number = f"{self.rng.getrandbits(128):032x}"
            kind = request.header("content-type") or "binary/octet-stream"
            self.uploads[number] = Upload(bucket, key, kind, _meta(request))
            return _xml("InitiateMultipartUploadResult", f"{place}<UploadId>{number}</UploadId>")
        upload = self._upload(request)
        parts = [int(number) for number in re.findall(rb"<PartNumber>\s*(\d+)\s*</PartNumber>", request.body)]
        if not parts or any(part not in upload.parts for part in parts):
            raise S3Error("InvalidPart")
        whole = [upload.parts[part] for part in parts]
        etag = f"{_md5(b''.join(hashlib.md5(p, usedforsecurity=False).digest() for p in whole))}-{len(whole)}"
        self._store(self._bucket(bucket), key, b"".join(whole), upload.kind, upload.meta, etag=etag)
        del self.uploads[request.query["uploadId"]]
        return _xml("CompleteMultipartUploadResult", f"{place}<ETag>&quot;{etag}&quot;</ETag>")

    def _get(self, request: Request, bucket: str, key: str) -> Reply:
        stored = self._object(bucket, key)
        headers = {
            "ETag": f'"{stored.etag}"',
            "Content-Type": stored.kind,
            "Last-Modified": f"{stored.at:%a, %d %b %Y %H:%M:%S GMT}",
            "Accept-Ranges": "bytes",
            **{f"x-amz-meta-{name}": value for name, value in stored.meta.items()},
        }
        if not request.header("range"):
            return Reply(200, stored.data, headers)
        first, last = _range(request.header("range"), len(stored.data))
        headers["Content-Range"] = f"bytes {first}-{last}/{len(stored.data)}"
        return Reply(206, stored.data[first : last + 1], headers)

    def _store(self, keys: dict[str, Stored], key: str, data: bytes, kind: str, meta: dict[str, str], *, etag: str = "") -> Stored:
        self._room(len(data))
        keys[key] = Stored(data, etag or _md5(data), self.clock.now().replace(microsecond=0), kind, meta)
        return keys[key]

    def _room(self, more: int) -> None:
        used = sum(len(s.data) for keys in self.buckets.values() for s in keys.values())
        if self.capacity and used + more > self.capacity:
            raise S3Error("XMinioStorageFull")

    def _bucket(self, bucket: str) -> dict[str, Stored]:
        if bucket not in self.buckets:
            raise S3Error("NoSuchBucket")
        return self.buckets[bucket]

    def _object(self, bucket: str, key: str) -> Stored:
        keys = self._bucket(bucket)
        if key not in keys:
            raise S3Error("NoSuchKey")
        return keys[key]

    def _upload(self, request: Request) -> Upload:
        found = self.uploads.get(request.query.get("uploadId", ""))
        if found is None:
            raise S3Error("NoSuchUpload")
        return found

    # -- who asks ----------------------------------------------------------------------------------------------------

    def _authorised(self, request: Request, bucket: str, *, mutates: bool) -> str:
        """The access key of a request that is signed by its holder, who may do that. Raises S3Error."""
        signed = _signed(request)
        user = self.users.get(signed.access_key)
        if user is None:
            raise S3Error("InvalidAccessKeyId")
        if abs(datetime.now(UTC) + self.skew - signed.at) > (signed.valid or SKEW_LIMIT):
            raise S3Error("AccessDenied", "Request has expired") if signed.valid else S3Error("RequestTimeTooSkewed")
        if not hmac.compare_digest(signature(user.secret, request, signed), signed.signature):
            raise S3Error("SignatureDoesNotMatch")
        digest = request.header("x-amz-content-sha256")
        if re.fullmatch(r"[0-9a-f]{64}", digest) and hashlib.sha256(request.body).hexdigest() != digest:
            raise S3Error("XAmzContentSHA256Mismatch")
        if (bucket and user.buckets and bucket not in user.buckets) or (mutates and user.read_only):
            raise S3Error("AccessDenied")
        return signed.access_key


@dataclass(frozen=True, slots=True)
class Signed:
    """What a request says of its signature. `valid` is set for a presigned URL."""

    access_key: str
    scope: str
    names: tuple[str, ...]
    signature: str
    at: datetime
    valid: timedelta | None = None


def _signed(request: Request) -> Signed:
    query = request.query
    if "X-Amz-Signature" in query:
        access_key, _, scope = query.get("X-Amz-Credential", "").partition("/")
        names, given = query.get("X-Amz-SignedHeaders", ""), query["X-Amz-Signature"]
        stamp, valid = query.get("X-Amz-Date", ""), timedelta(seconds=int(query.get("X-Amz-Expires", "0")))
    else:
        header = request.header("authorization")
        parts = dict(re.findall(r"(Credential|SignedHeaders|Signature)=([^,\s]+)", header))
        if not header.startswith(ALGORITHM) or len(parts) != 3:
            raise S3Error("AccessDenied")
        access_key, _, scope = parts["Credential"].partition("/")
        names, given, valid = parts["SignedHeaders"], parts["Signature"], None
        stamp = request.header("x-amz-date")
    try:
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise S3Error("AccessDenied") from error
    return Signed(access_key, scope, tuple(names.split(";")), given, at, valid)


def signature(secret: str, request: Request, signed: Signed) -> str:
    """The signature that the holder of `secret` would make. Source: "Signature Calculations for the Authorization Header"."""
    path, _, query = request.target.partition("?")
    pairs = [(k, v) for k, v in parse_qsl(query, keep_blank_values=True) if k != "X-Amz-Signature"]
    canonical_query = "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(pairs))
    headers = "".join(f"{name}:{' '.join(request.header(name).split())}\n" for name in signed.names)
    digest = "UNSIGNED-PAYLOAD" if signed.valid else request.header("x-amz-content-sha256")
    lines = (request.method, quote(unquote(path), safe="/-_.~"), canonical_query, headers, ";".join(signed.names), digest)
    whole = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    to_sign = "\n".join((ALGORITHM, f"{signed.at:%Y%m%dT%H%M%SZ}", signed.scope, whole))
    key = f"AWS4{secret}".encode()
    for part in signed.scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def payload(request: Request) -> bytes:
    """The body without aws-chunked framing. Raises S3Error."""
    streaming = request.header("x-amz-content-sha256").startswith(STREAMING) or "aws-chunked" in request.header("content-encoding")
    if not streaming:
        return request.body
    parts, rest = [], request.body
    while rest:
        head, found, rest = rest.partition(b"\r\n")
        try:
            size = int(head.split(b";")[0], 16)
        except ValueError as error:
            raise S3Error("InvalidArgument", "bad aws-chunked body") from error
        if not size or not found:
            break
        parts.append(rest[:size])
        rest = rest[size + 2 :]
    return b"".join(parts)


def _listing(bucket: str, keys: Mapping[str, Stored], query: Mapping[str, str]) -> Reply:
    """`ListObjectsV2`, and the first version of it."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    most = min(LIST_MOST, int(query.get("max-keys") or LIST_MOST))
    token = query.get("continuation-token")
    after = base64.b64decode(token).decode() if token else query.get("start-after") or query.get("marker", "")
    rows: list[str] = []
    folders: list[str] = []
    last, truncated = after, False
    for key in sorted(keys):
        folder = _folder(key, prefix, delimiter)
        shown = folder or key
        if not key.startswith(prefix) or shown <= after or shown in folders:
            continue
        if len(rows) + len(folders) >= most:
            truncated = True
            break
        last = shown
        if folder:
            folders.append(folder)
        else:
            rows.append(_row(key, keys[key]))
    version2 = query.get("list-type") == "2"
    inner = f"<Name>{escape(bucket)}</Name><Prefix>{escape(prefix)}</Prefix><MaxKeys>{most}</MaxKeys>"
    inner += f"<Delimiter>{escape(delimiter)}</Delimiter>" if delimiter else ""
    inner += f"<KeyCount>{len(rows) + len(folders)}</KeyCount>" if version2 else f"<Marker>{escape(after)}</Marker>"
    inner += f"<IsTruncated>{str(truncated).lower()}</IsTruncated>"
    if truncated:
        following = base64.b64encode(last.encode()).decode() if version2 else escape(last)
        inner += f"<NextContinuationToken>{following}</NextContinuationToken>" if version2 else f"<NextMarker>{following}</NextMarker>"
    inner += "".join(rows) + "".join(f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in folders)
    return _xml("ListBucketResult", inner)


def _folder(key: str, prefix: str, delimiter: str) -> str:
    if not delimiter or not key.startswith(prefix) or delimiter not in key[len(prefix) :]:
        return ""
    return prefix + key[len(prefix) :].split(delimiter)[0] + delimiter


def _row(key: str, stored: Stored) -> str:
    stamp = stored.at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    head = f"<Key>{escape(key)}</Key><LastModified>{stamp}</LastModified><ETag>&quot;{stored.etag}&quot;</ETag>"
    return f"<Contents>{head}<Size>{len(stored.data)}</Size><StorageClass>STANDARD</StorageClass></Contents>"


def _deleted(keys: dict[str, Stored], body: bytes) -> Reply:
    """`DeleteObjects`. Raises S3Error."""
    if b"<!DOCTYPE" in body:  # no entity of a client's own is ever expanded
        raise S3Error("MalformedXML")
    from xml.etree import ElementTree  # here, since a lab's start does not wait for what only backups ask for

    try:
        tree = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise S3Error("MalformedXML") from error
    names = [element.text or "" for element in tree.iter() if element.tag.rpartition("}")[2] == "Key"]
    quiet = any(element.text == "true" for element in tree.iter() if element.tag.rpartition("}")[2] == "Quiet")
    for name in names:
        keys.pop(name, None)
    return _xml("DeleteResult", "" if quiet else "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in names))


def _range(header: str, size: int) -> tuple[int, int]:
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if match is None or header == "bytes=-":
        raise S3Error("InvalidRange")
    if not match[1]:
        first, last = max(0, size - int(match[2])), size - 1
    else:
        first, last = int(match[1]), min(size - 1, int(match[2]) if match[2] else size - 1)
    if first > last or first >= size:
        raise S3Error("InvalidRange")
    return first, last


def _injected(effect: Effect | None, *, mutates: bool) -> None:
    """What a scripted fault answers in place of the store. Raises S3Error."""
    if effect is None:
        return
    if effect.denied:
        raise S3Error("AccessDenied")
    if effect.full and mutates:
        raise S3Error("XMinioStorageFull")
    if effect.status:
        raise S3Error(effect.reason or ("SlowDown" if effect.status == 503 else "InternalError"), effect.message)


def _mutates(request: Request) -> bool:
    return request.method in ("PUT", "POST", "DELETE")


def _operation(request: Request, bucket: str, key: str) -> str:
    kind = "object" if key else "bucket" if bucket else "service"
    return f"{request.method} {kind}"


def _meta(request: Request) -> dict[str, str]:
    return {n.removeprefix("x-amz-meta-"): v for n, v in request.headers.items() if n.startswith("x-amz-meta-")}


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _xml(name: str, inner: str) -> Reply:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{NAMESPACE}">{inner}</{name}>'
    return Reply(200, body.encode(), {"Content-Type": "application/xml"})


def _error(error: S3Error, request: Request) -> Reply:
    status = STATUS.get(error.code, 500 if error.code == "InternalError" else 404)
    inner = f"<Code>{error.code}</Code><Message>{escape(error.text)}</Message><Resource>{escape(request.path)}</Resource>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}<RequestId>LAB</RequestId></Error>'
    headers = {"Content-Type": "application/xml", "x-minio-error-code": error.code}
    return Reply(status, body.encode(), headers)


def _packed(stored: Stored) -> dict[str, Any]:
    return {
        "data": base64.b64encode(stored.data).decode(),
        "etag": stored.etag,
        "at": stored.at.isoformat(),
        "kind": stored.kind,
        "meta": dict(stored.meta),
    }


def _unpacked(entry: Mapping[str, Any]) -> Stored:
    at = datetime.fromisoformat(entry["at"])
    return Stored(base64.b64decode(entry["data"]), entry["etag"], at, entry["kind"], dict(entry["meta"]))
