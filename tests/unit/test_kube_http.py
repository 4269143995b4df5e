"""The HTTP adapter: what goes over the wire, who asks, and how it goes down."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from lab.kube.http import HttpServer
from lab.kube.pki import ClusterCA, KeyPair, load_pair
from lab.kube.wire import ConnectionCutError, Req, Resp, Stream, Upgrade, User

Answer = Resp | Stream | Upgrade
CA = ClusterCA.generate()


def client(pair: KeyPair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=CA.cert_pem)
    if pair is not None:
        load_pair(context, pair)
    return context


def who(req: Req) -> Resp:
    name = req.user.name if req.user else "nobody"
    groups = ",".join(req.user.groups) if req.user else ""
    return Resp(
        200, f"{req.method} {req.path} {name} {groups} {req.body.decode()}".encode(), {"content-type": "text/plain"}
    )


async def plain(req: Req) -> Answer:
    return who(req)


async def talk(
    handler: Callable[[Req], Awaitable[Answer]], request: bytes, *, pair: KeyPair | None = None, tls: bool = False
) -> bytes:
    """One request on a connection of its own; the whole answer."""
    server = HttpServer(
        handler, tls=CA.server_context() if tls else None, tokens=lambda t: User("robot") if t == "good" else None
    )
    await server.start()
    try:
        context = client(pair) if tls else None
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return answer
    finally:
        await server.stop()


def get(path: str = "/x", *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: lab", "Connection: close", *headers, "", "")).encode()


def test_a_request_is_answered_with_its_length() -> None:
    answer = asyncio.run(talk(plain, get("/a%20b?x=1")))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"GET /a b nobody  ")


def test_two_requests_share_a_connection() -> None:
    first = get().replace(b"Connection: close\r\n", b"")
    assert asyncio.run(talk(plain, first + get("/y"))).count(b"HTTP/1.1 200 OK") == 2


def test_a_chunked_body_is_joined() -> None:
    request = (
        b"POST /x HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert asyncio.run(talk(plain, request)).endswith(b"abcde")


@pytest.mark.parametrize(
    ("header", "code", "says"),
    [
        ("Authorization: Bearer good", b"200", b"robot"),
        ("Authorization: Bearer bad", b"401", b'"reason": "Unauthorized"'),
        ("Authorization: Basic eDp5", b"401", b'"message": "Unauthorized"'),
        ("X-Nothing: here", b"200", b"nobody"),
    ],
)
def test_bearer_tokens(header: str, code: bytes, says: bytes) -> None:
    answer = asyncio.run(talk(plain, get("/x", header)))
    assert answer.split()[1] == code
    assert says in answer


def test_a_client_certificate_is_a_user_with_groups() -> None:
    answer = asyncio.run(talk(plain, get(), tls=True, pair=CA.issue("alice", ("ops", "dev"))))
    assert answer.endswith(b"alice ops,dev ")


def test_an_expired_client_certificate_is_401() -> None:
    pair = CA.issue("alice", not_after=datetime.now(UTC) - timedelta(days=1))
    assert asyncio.run(talk(plain, get(), tls=True, pair=pair)).split()[1] == b"401"


def test_no_client_certificate_is_needed() -> None:
    assert asyncio.run(talk(plain, get(), tls=True)).endswith(b"nobody  ")


def test_repeated_impersonation_headers_stay_apart() -> None:
    async def groups(req: Req) -> Answer:
        return Resp(200, repr(req.headers["impersonate-group"].split("\n")).encode(), {})

    answer = asyncio.run(talk(groups, get("/x", "Impersonate-Group: a,b", "Impersonate-Group: c")))
    assert answer.endswith(b"['a,b', 'c']")


def test_a_stream_is_chunked_and_its_source_closed() -> None:
    closed = []

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"one\n"
            yield b"two\n"
        finally:
            closed.append(True)

    async def streams(_req: Req) -> Answer:
        return Stream(200, {"content-type": "application/json"}, chunks())

    answer = asyncio.run(talk(streams, get()))
    assert b"transfer-encoding: chunked" in answer
    assert answer.endswith(b"4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n")
    assert closed


def test_a_cut_connection_gets_nothing() -> None:
    async def cut(_req: Req) -> Answer:
        raise ConnectionCutError

    with pytest.raises(ConnectionError):
        assert asyncio.run(talk(cut, get())) == b""
        raise ConnectionError  # an abort shows as an empty answer or as a reset, as the kernel likes


def test_a_body_that_is_too_large_is_413() -> None:
    request = b"POST /x HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"
    assert asyncio.run(talk(plain, request)).split()[1] == b"413"


def test_a_server_comes_back_on_its_port() -> None:
    async def play() -> tuple[int, int]:
        server = HttpServer(plain)
        await server.start()
        before = server.port
        await server.stop()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", before)
        await server.start()
        _, writer = await asyncio.open_connection("127.0.0.1", before)
        writer.close()
        await server.stop()
        return before, server.port

    before, after = asyncio.run(play())
    assert before == after
