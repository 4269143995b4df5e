"""The S3 store as clients see it: signed requests on loopback, errors in S3's words."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from lab.clock import Clock
from lab.faults import Effect, Faults, Rule
from lab.record import Record
from lab.s3 import S3Store, Signed, User, signature
from lab.web import Request
from orchestrator.adapters.http import head_bucket

KEY, SECRET = "LABKEY", "labsecret"


def play(client: Callable[[S3Store], Any], **options: Any) -> S3Store:
    async def whole() -> S3Store:
        clock = Clock(100.0)
        users = {KEY: User(SECRET), "OTHER": User("othersecret", ("elsewhere",)), "READER": User("readsecret", read_only=True)}
        store = S3Store(clock, random.Random(1), Record(clock), users, **options)
        store.buckets["backup"] = {}
        await store.start()
        try:
            await asyncio.to_thread(client, store)
        finally:
            await store.stop()
        return store

    return asyncio.run(whole())


def ask(
    store: S3Store, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None, key: str = KEY, secret: str = SECRET, ago: float = 0
) -> tuple[int, bytes, dict[str, str]]:
    """One request, signed as the AWS SDKs sign."""
    at = datetime.now(UTC) - timedelta(seconds=ago)
    sent = {"host": urlsplit(store.url).netloc, "x-amz-date": f"{at:%Y%m%dT%H%M%SZ}", "x-amz-content-sha256": hashlib.sha256(body).hexdigest()} | (headers or {})
    names = tuple(sorted(sent))
    scope = f"{at:%Y%m%d}/us-east-1/s3/aws4_request"
    made = signature(secret, Request(method, target, "", {}, sent, body), Signed(key, scope, names, "", at.replace(microsecond=0)))
    sent["Authorization"] = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={';'.join(names)}, Signature={made}"
    request = urllib.request.Request(store.url + target, body or None, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read(), dict(reply.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def code(answer: tuple[int, bytes, dict[str, str]]) -> tuple[int, str]:
    text = answer[1].decode()
    return answer[0], text.partition("<Code>")[2].partition("</Code>")[0]


def test_objects_are_put_read_in_part_and_removed() -> None:
    def client(store: S3Store) -> None:
        assert ask(store, "PUT", "/backup/a/b%20c.txt", b"hello world", {"x-amz-meta-who": "me"})[0] == 200
        status, body, headers = ask(store, "GET", "/backup/a/b%20c.txt")
        assert (status, body, headers["x-amz-meta-who"]) == (200, b"hello world", "me")
        assert ask(store, "GET", "/backup/a/b%20c.txt", headers={"range": "bytes=-5"})[:2] == (206, b"world")
        assert ask(store, "GET", "/backup/a/b%20c.txt", headers={"range": "bytes=0-4"})[2]["Content-Range"] == "bytes 0-4/11"
        assert ask(store, "HEAD", "/backup/a/b%20c.txt")[2]["Content-Length"] == "11"
        assert ask(store, "PUT", "/backup/copy", headers={"x-amz-copy-source": "/backup/a/b%20c.txt"})[0] == 200
        assert ask(store, "DELETE", "/backup/a/b%20c.txt")[0] == 204
        assert code(ask(store, "GET", "/backup/a/b%20c.txt")) == (404, "NoSuchKey")
        assert store.get("backup", "copy") == b"hello world"

    store = play(client)
    assert [(e.what, e.ok) for e in store.record.writes()] == [("PUT object", True), ("PUT object", True), ("DELETE object", True)]


def test_a_listing_pages_and_folds_folders() -> None:
    def client(store: S3Store) -> None:
        for name in ("a/1", "a/2", "b", "c/3", "d"):
            store.put("backup", name, b"x")
        folded = ask(store, "GET", "/backup?delimiter=%2F&list-type=2")[1].decode()
        assert folded.count("<Contents>") == 2 and folded.count("<CommonPrefixes>") == 2 and "<KeyCount>4</KeyCount>" in folded
        first = ask(store, "GET", "/backup?list-type=2&max-keys=2")[1].decode()
        token = first.partition("<NextContinuationToken>")[2].partition("<")[0]
        second = ask(store, "GET", f"/backup?continuation-token={quote(token, safe='')}&list-type=2&max-keys=9")[1].decode()
        assert "<IsTruncated>true</IsTruncated>" in first and "<Key>a/2</Key>" in first
        assert "<Key>b</Key>" in second and "<Key>a/2</Key>" not in second and "<IsTruncated>false</IsTruncated>" in second
        assert "<Key>a/1</Key>" in ask(store, "GET", "/backup?prefix=a%2F")[1].decode()

    play(client)


def test_many_objects_go_at_once_and_multipart_comes_together() -> None:
    def client(store: S3Store) -> None:
        number = ask(store, "POST", "/backup/big?uploads=")[1].decode().partition("<UploadId>")[2].partition("<")[0]
        for part, data in ((1, b"one"), (2, b"two")):
            assert ask(store, "PUT", f"/backup/big?partNumber={part}&uploadId={number}", data)[0] == 200
        parts = b"".join(b"<Part><PartNumber>%d</PartNumber></Part>" % part for part in (1, 2))
        done = ask(store, "POST", f"/backup/big?uploadId={number}", b"<CompleteMultipartUpload>" + parts + b"</CompleteMultipartUpload>")
        assert done[0] == 200 and b"-2&quot;" in done[1] and store.get("backup", "big") == b"onetwo"
        assert code(ask(store, "PUT", f"/backup/big?partNumber=3&uploadId={number}", b"x")) == (404, "NoSuchUpload")
        body = b"<Delete><Object><Key>big</Key></Object><Object><Key>none</Key></Object></Delete>"
        assert ask(store, "POST", "/backup?delete=", body)[1].count(b"<Deleted>") == 2 and store.buckets["backup"] == {}
        assert code(ask(store, "POST", "/backup?delete=", b"<!DOCTYPE x><Delete/>")) == (400, "MalformedXML")

    play(client)


def test_chunked_bodies_are_unwrapped() -> None:
    def client(store: S3Store) -> None:
        framed = b"5;chunk-signature=abc\r\nhello\r\n0;chunk-signature=def\r\n\r\n"
        headers = {"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}
        assert ask(store, "PUT", "/backup/x", framed, headers)[0] == 200 and store.get("backup", "x") == b"hello"

    play(client)


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({"key": "NOBODY"}, (403, "InvalidAccessKeyId")),
        ({"secret": "wrong"}, (403, "SignatureDoesNotMatch")),
        ({"key": "OTHER", "secret": "othersecret"}, (403, "AccessDenied")),
        ({"ago": 3600}, (403, "RequestTimeTooSkewed")),
        ({"headers": {"x-amz-content-sha256": "0" * 64}}, (400, "XAmzContentSHA256Mismatch")),
    ],
)
def test_wrong_credentials_are_told_apart(how: dict[str, Any], wanted: tuple[int, str]) -> None:
    play(lambda store: check(code(ask(store, "GET", "/backup", **how)), wanted))


def check(found: object, wanted: object) -> None:
    assert found == wanted


def test_unsigned_requests_missing_buckets_and_readers_are_refused() -> None:
    def client(store: S3Store) -> None:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{store.url}/backup", timeout=10)
        assert caught.value.code == 403
        assert code(ask(store, "GET", "/none")) == (404, "NoSuchBucket")
        assert code(ask(store, "PUT", "/backup/x", b"x", key="READER", secret="readsecret")) == (403, "AccessDenied")
        assert code(ask(store, "DELETE", "/none")) == (404, "NoSuchBucket")
        assert ask(store, "PUT", "/fresh")[0] == 200 and code(ask(store, "PUT", "/fresh")) == (409, "BucketAlreadyOwnedByYou")
        assert b"<Name>fresh</Name>" in ask(store, "GET", "/")[1]
        store.put("fresh", "x", b"x")
        assert code(ask(store, "DELETE", "/fresh")) == (409, "BucketNotEmpty")

    play(client)


def test_a_full_or_faulty_store_says_so() -> None:
    rules = [Rule("busy", Effect(status=503), actor="s3", verb="GET", count=1), Rule("no", Effect(denied=True), actor="s3", object="backup/secret")]

    def client(store: S3Store) -> None:
        assert code(ask(store, "GET", "/backup")) == (503, "SlowDown")
        assert code(ask(store, "PUT", "/backup/secret", b"x")) == (403, "AccessDenied")
        assert code(ask(store, "PUT", "/backup/x", b"x" * 20)) == (507, "XMinioStorageFull")
        assert ask(store, "PUT", "/backup/x", b"x" * 10)[0] == 200

    play(client, faults=Faults(Clock(), random.Random(1), rules), capacity=15)


def test_the_products_question_is_answered() -> None:
    def client(store: S3Store) -> None:
        def status(bucket: str, secret: str = SECRET) -> int | None:
            return head_bucket(store.url, "us-east-1", bucket, KEY, secret, within=10).status

        assert (status("backup"), status("none"), status("backup", "wrong")) == (200, 404, 403)

    store = play(client)
    assert store.record.writes() == []


def test_a_snapshot_goes_back() -> None:
    def client(store: S3Store) -> None:
        store.put("backup", "a", b"\x00\xff")
        state, before = json.loads(json.dumps(store.snapshot())), store.dump()
        store.put("backup", "b", b"2")
        store.restore(state)
        assert store.dump() == before and store.get("backup", "a") == b"\x00\xff"

    play(client)
