"""Clients of others' servers: one rule for proxies, bounded bodies, waits that end, trouble in plain words."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import subprocess
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from interbench.base.errors import UsageError
from interbench.base.http import (
    Backoff,
    BodyTooLongError,
    UnreadableBodyError,
    asked_wait,
    body_pieces,
    hopeless,
    make_client,
    proxy_for,
    read_body,
    redirect,
    trouble,
)

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")


@asynccontextmanager
async def listening(answer: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers every connection with these bytes; its port, and what it was sent."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard.append(await reader.read(65536))
            writer.write(answer)
            await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


def response(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


async def body(answer: bytes, limit: int = 1000) -> bytes:
    async with (
        listening(answer) as (port, _),
        make_client(10.0) as client,
        client.stream("GET", f"http://127.0.0.1:{port}/") as got,
    ):
        return await read_body(got, limit)


# -- bodies -----------------------------------------------------------------------------------------------------------


async def test_bodies_are_read_in_every_compression_that_was_asked_for() -> None:
    data = b"some words, " * 50
    bare = zlib.compressobj(wbits=-15)
    for packed, name in (
        (data, "identity"),
        (gzip.compress(data, mtime=0), "gzip"),
        (gzip.compress(data[:300], mtime=0) + gzip.compress(data[300:], mtime=0), "x-gzip"),
        (zlib.compress(data), "deflate"),
        (bare.compress(data) + bare.flush(), "deflate"),
        (zlib.compress(gzip.compress(data, mtime=0)), "gzip, deflate"),
    ):
        assert await body(response(packed, f"Content-Encoding: {name}")) == data, name


async def test_no_more_is_read_than_the_limit_however_it_is_packed() -> None:
    assert len(await body(response(bytes(1000)))) == 1000
    for packed, name in ((bytes(1001), "identity"), (zlib.compress(bytes(10**7), 9), "deflate")):
        with pytest.raises(BodyTooLongError, match="longer than 1000 bytes"):
            await body(response(packed, f"Content-Encoding: {name}"))


@pytest.mark.parametrize(
    ("packed", "name", "says"),
    [
        (b"plain", "gzip", "can't be decompressed"),
        (gzip.compress(b"x" * 500, mtime=0)[:-5], "gzip", "ends before it is complete"),
        (b"plain", "br", "'br', which was not asked for"),
    ],
)
async def test_bodies_that_cannot_be_unpacked_are_told(packed: bytes, name: str, says: str) -> None:
    with pytest.raises(UnreadableBodyError, match=says):
        await body(response(packed, f"Content-Encoding: {name}"))


async def test_pieces_come_as_they_are_sent() -> None:
    more = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")
        await more.wait()
        writer.write(b"two")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, make_client(10.0) as client:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with client.stream("GET", url) as got:
            pieces = body_pieces(got)
            assert await anext(pieces) == b"one"
            more.set()
            assert [piece async for piece in pieces] == [b"two"]


# -- proxies ----------------------------------------------------------------------------------------------------------


def test_one_rule_says_which_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:2")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    assert proxy_for("http://example.org/") == "http://proxy:1"
    assert proxy_for("https://example.org/") == "http://proxy:2"
    assert proxy_for("https://inside.example/") is None
    for here in ("127.0.0.1:8000", "localhost", "[::1]:8000", "127.0.0.2"):
        assert proxy_for(f"http://{here}/") is None
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("ALL_PROXY", "http://proxy:3")
    assert proxy_for("https://example.org/") == "http://proxy:3"


async def test_a_client_keeps_to_it_request_by_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(response(b"proxied")) as (proxy, asked), listening(response(b"direct")) as (port, _):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy}")
        async with make_client(10.0) as client:
            assert (await client.get("http://nowhere.example/x")).content == b"proxied"
            assert (await client.get(f"http://127.0.0.1:{port}/")).content == b"direct"
    assert len(asked) == 1 and asked[0].startswith(b"GET http://nowhere.example/x")


async def test_a_proxy_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "nonsense://x")
    async with make_client(10.0) as client:
        with pytest.raises(UsageError, match="The proxy in the environment"):
            await client.get("http://nowhere.example/x")


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_waits_double_and_end() -> None:
    backoff = Backoff(1.0, 5.0, total_s=20.0)
    assert [backoff.pause() for _ in range(6)] == [1, 2, 4, 5, 5, None]
    assert backoff.waited_s == 17


def test_a_server_is_heeded_as_far_as_it_makes_sense() -> None:
    backoff = Backoff(1.0, 8.0, total_s=100.0, heeded_s=30.0)
    asked = (7.0, 3600.0, 0.0, -5.0, float("nan"), float("inf"))
    assert [backoff.pause(seconds) for seconds in asked] == [7, 30, 4, 8, 8, 8]
    assert backoff.pause(50.0) == 30.0 and backoff.pause() is None


def test_milliseconds_come_before_seconds() -> None:
    assert asked_wait({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert asked_wait({"retry-after-ms": "²", "retry-after": "9"}) == 9.0
    assert asked_wait({"retry-after-ms": "9" * 400}) is None
    assert asked_wait({}) is None


# -- words ------------------------------------------------------------------------------------------------------------


async def failure(url: str) -> Exception:
    async with make_client(10.0) as client:
        with pytest.raises(httpx.RequestError) as caught:
            await client.get(url)
    return caught.value


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that nobody vouches for."""
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_certificate_that_nobody_vouches_for_is_named(tmp_path: Path) -> None:
    context = await asyncio.to_thread(self_signed, tmp_path)
    async with listening(response(b""), context) as (port, _):
        error = await failure(f"https://127.0.0.1:{port}/")
        assert "its certificate is not accepted" in trouble(error) and "SSL_CERT_FILE" in trouble(error)
        assert hopeless(error)
        plain = await failure(f"http://127.0.0.1:{port}/")
        assert not isinstance(plain, httpx.ConnectError)


async def test_tls_to_a_plain_port_is_named() -> None:
    async with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _):
        error = await failure(f"https://127.0.0.1:{port}/")
    assert "does not speak TLS" in trouble(error) and hopeless(error)


async def test_nobody_at_home_may_pass() -> None:
    error = await failure("http://127.0.0.1:9/")
    assert trouble(error).startswith("ConnectError") and not hopeless(error)


def test_a_redirect_names_where_it_leads_without_what_may_be_a_key() -> None:
    moved = httpx.Response(308, headers={"location": "https://elsewhere.example/v1?signature=secret#x"})
    assert redirect(moved).startswith("the server redirects to https://elsewhere.example/v1, which is not followed")
    assert redirect(httpx.Response(200)) == ""
