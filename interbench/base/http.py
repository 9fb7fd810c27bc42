"""HTTP with others' servers: one rule for proxies, one bounded reader, one way to wait, plain words for trouble."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import math
import os
import re
import ssl
import zlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from interbench.base.errors import UsageError
from interbench.base.foreign import mended, number
from interbench.base.remote import excerpt, is_loopback

ENCODINGS = "gzip, deflate"
"""What a client lets servers compress with: what can be undone piece by piece within bounds."""
ATTEMPTS = 6
"""How often a server is asked for what costs next to nothing."""
LONGEST_WAIT_S = 366 * 24 * 3600.0
_PIECE = 2**16
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED\]?[^:]*: ([^(]+)")
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|record layer failure|UNKNOWN_PROTOCOL|HTTP_REQUEST|packet length too long")
_TLS_RECORD = re.compile(r"illegal status line: bytearray\(b'\\x1[4567]\\x03")


class BodyTooLongError(Exception):
    """A body is longer than its reader accepts; the rest of it was not read."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"it is longer than {limit} bytes")
        self.limit = limit


class UnreadableBodyError(httpx.DecodingError):
    """A body is compressed in a way that can't be undone, or ends before it does."""


# -- clients ----------------------------------------------------------------------------------------------------------


def proxy_for(url: str) -> str | None:
    """The proxy on the way to ``url``: none to this machine, otherwise what the environment says (``HTTPS_PROXY``,
    ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``)."""
    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def make_transport(url: str, **options: object) -> httpx.AsyncHTTPTransport:
    """The way to one server, by :func:`proxy_for`.

    Raises:
        UsageError: the environment names a proxy that can't be used.
    """
    return _transport(proxy_for(url), **options)


def _transport(proxy: str | None, **options: object) -> httpx.AsyncHTTPTransport:
    try:
        return httpx.AsyncHTTPTransport(proxy=proxy, **options)  # type: ignore[arg-type]
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        if proxy is None:
            raise
        raise UsageError(
            f"The proxy in the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) can't be used: "
            f"{excerpt([str(error)], 200)} Mend it, or except the server with NO_PROXY."
        ) from None


def tls() -> ssl.SSLContext:
    """Whose certificates are accepted: httpx's choice, read once. Reading them takes longer than most requests."""
    return _tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


# A deliberate copy; its twin: livetalk.thinkers.service.
@functools.cache
def _tls(file: str | None, folder: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()


class _ByProxy(httpx.AsyncBaseTransport):
    """Sends every request the way that :func:`proxy_for` says."""

    def __init__(self, limits: httpx.Limits) -> None:
        self._limits = limits
        self._ways: dict[str | None, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        proxy = proxy_for(str(request.url))
        way = self._ways.get(proxy)
        if way is None:
            way = self._ways[proxy] = _transport(proxy, limits=self._limits, verify=tls())
        return await way.handle_async_request(request)

    async def aclose(self) -> None:
        ways, self._ways = self._ways, {}
        for way in ways.values():
            await way.aclose()


def make_client(
    timeout: float | httpx.Timeout,
    *,
    headers: Mapping[str, str] | None = None,
    limits: httpx.Limits | None = None,
) -> httpx.AsyncClient:
    """A client that keeps to the rule for proxies, follows no redirect, and lets bodies be compressed only in ways that
    :func:`body_pieces` undoes."""
    return httpx.AsyncClient(
        transport=_ByProxy(limits or httpx.Limits(max_connections=100, max_keepalive_connections=20)),
        trust_env=False,
        follow_redirects=False,
        timeout=timeout,
        headers={"Accept-Encoding": ENCODINGS, **(headers or {})},
    )


# -- bodies -----------------------------------------------------------------------------------------------------------


async def body_pieces(response: httpx.Response, limit: float = math.inf) -> AsyncGenerator[bytes, None]:
    """A body as it comes, decompressed. No more than a piece of it is held.

    Raises:
        BodyTooLongError: it is longer than ``limit`` bytes, as it comes or decompressed.
        UnreadableBodyError: it is compressed in a way that was not asked for, or wrongly.
        httpx.TransportError: the connection broke.
    """
    encodings = [name for name in re.split(r"[\s,]+", response.headers.get("content-encoding", "").lower()) if name]
    unpack = [_Unpacked(name) for name in reversed(encodings) if name != "identity"]
    taken = given = 0
    async with aclosing(response.aiter_raw()) as raw:  # type: ignore[type-var]
        async for piece in raw:
            taken += len(piece)
            if taken > limit:
                raise BodyTooLongError(int(limit))
            for part in _through(unpack, piece):
                given += len(part)
                if given > limit:
                    raise BodyTooLongError(int(limit))
                yield part
    if taken and any(not stage.complete for stage in unpack):
        raise UnreadableBodyError("its compressed body ends before it is complete")


async def read_body(response: httpx.Response, limit: int) -> bytes:
    """A whole body of at most ``limit`` bytes.

    Raises:
        BodyTooLongError, UnreadableBodyError, httpx.TransportError: see :func:`body_pieces`.
    """
    data = bytearray()
    async with aclosing(body_pieces(response, limit)) as pieces:
        async for piece in pieces:
            data += piece
    return bytes(data)


class _Unpacked:
    """Undoes one compression, a bounded piece at a time."""

    def __init__(self, name: str) -> None:
        if name not in ("gzip", "x-gzip", "deflate"):
            raise UnreadableBodyError(f"its body is compressed with {mended(name, 40)!r}, which was not asked for")
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._bare = name == "deflate"
        """Whether it may still turn out to be deflate without its head, as some servers send it."""

    @property
    def complete(self) -> bool:
        return self._zlib.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._zlib.eof:  # a further member (RFC 1952, section 2.2)
                self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 32)
            try:
                piece = self._zlib.decompress(data, _PIECE)
            except zlib.error as error:
                if not self._bare:
                    raise UnreadableBodyError(f"its body can't be decompressed ({error})") from None
                self._bare, self._zlib = False, zlib.decompressobj(-zlib.MAX_WBITS)
                continue
            self._bare = False
            data = self._zlib.unconsumed_tail or self._zlib.unused_data
            if piece:
                yield piece


def _through(stages: Sequence[_Unpacked], piece: bytes) -> Iterator[bytes]:
    if not stages:
        yield piece
        return
    for part in stages[0].feed(piece):
        yield from _through(stages[1:], part)


# -- waiting ----------------------------------------------------------------------------------------------------------


def retry_after(value: str | None, now: dt.datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait (RFC 9110, section 10.2.3): a number of them, or a date.

    None where there is nothing to heed: no header, no time to come, or something that is no time. Its twin, which a
    test compares with it, is ``retry_after`` in ``livetalk.thinkers.foreign``.
    """
    value = (value or "").strip()
    if _SECONDS.fullmatch(value):
        seconds = float(value)
    else:
        try:
            when = parsedate_to_datetime(value)
            when = when if when.tzinfo else when.replace(tzinfo=dt.UTC)
            seconds = (when - (now or dt.datetime.now(dt.UTC))).total_seconds()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return min(seconds, LONGEST_WAIT_S) if seconds > 0 else None


def asked_wait(headers: Mapping[str, str], now: dt.datetime | None = None) -> float | None:
    """Seconds that a server asks to wait, in ``retry-after-ms`` or else ``Retry-After``; None if it does not."""
    milliseconds = number(headers.get("retry-after-ms"), 1e-3, 1e3 * LONGEST_WAIT_S)
    return retry_after(headers.get("retry-after"), now) if milliseconds is None else milliseconds / 1000


class Backoff:
    """How long to wait before the next attempt: as the server asks, else twice as long as before.

    Args:
        first_s: the first wait.
        longest_s: where doubling ends.
        total_s: how long to wait in all.
        heeded_s: the longest wait that a server may ask for; one that asks for more is asked again after this time.
    """

    def __init__(
        self, first_s: float = 1.0, longest_s: float = 30.0, *, total_s: float = math.inf, heeded_s: float = math.inf
    ) -> None:
        self._next = first_s
        self._longest_s = longest_s
        self._total_s = total_s
        self._heeded_s = heeded_s
        self.waited_s = 0.0

    def pause(self, asked_s: float | None = None) -> float | None:
        """Seconds to wait now, which count as waited; None if that would be too long in all.

        Args:
            asked_s: what the server asks for; nothing that is no wait is heeded.
        """
        heeded = asked_s is not None and number(asked_s)
        pause = min(heeded, self._heeded_s) if heeded else self._next
        if self.waited_s + pause > self._total_s:
            return None
        self._next = min(2 * self._next, self._longest_s)
        self.waited_s += pause
        return pause


class NoAnswerError(Exception):
    """A server gave no answer; the text says why, in its words where it had any.

    Attributes:
        status: of its last answer; None if there was none.
        hopeless: asking again can't help.
    """

    def __init__(self, why: str, *, status: int | None = None, hopeless: bool = False) -> None:
        super().__init__(why)
        self.status = status
        self.hopeless = hopeless


async def post_again(
    url: str,
    body: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    timeout_s: float,
    limit: int,
    attempts: int = ATTEMPTS,
) -> tuple[httpx.Response, bytes]:
    """Post JSON until the server answers, for what costs next to nothing to ask again.

    Asked again is after a broken or refused connection, and after the statuses 408, 429 and 5xx.

    Args:
        timeout_s: for each part of one attempt, as httpx has it.
        limit: bytes of the answer.
        attempts: in all.

    Returns:
        The answer, of any other status, and its body.

    Raises:
        NoAnswerError: none came, or one that is too long.
    """
    failure, backoff = NoAnswerError("it was never asked"), Backoff(heeded_s=120.0)
    async with make_client(timeout_s, headers=headers) as client:
        for attempt in range(attempts):
            asked = None
            try:
                async with client.stream("POST", url, json=body) as response:
                    data = await read_body(response, limit)
            except BodyTooLongError as error:
                raise NoAnswerError(str(error), hopeless=True) from None
            except (httpx.RequestError, httpx.InvalidURL) as error:
                failure = NoAnswerError(trouble(error), hopeless=hopeless(error))
                if failure.hopeless:
                    break
            else:
                status = response.status_code
                if status not in (408, 429) and status < 500:
                    return response, data
                failure = NoAnswerError(answered(response, data), status=status)
                asked = asked_wait(response.headers)
            if attempt + 1 < attempts:
                await asyncio.sleep(backoff.pause(asked) or 0.0)
    raise failure


def answered(response: httpx.Response, body: bytes) -> str:
    """What a server answered, on one line: its status and its words, which may hold what it was sent."""
    return f"it answered {response.status_code}: {excerpt([mended(body.decode(errors='replace'))])}"


# -- words ------------------------------------------------------------------------------------------------------------


def trouble(error: Exception) -> str:
    """What kept a request from being answered, in plain words, with the name that httpx gives it.

    Its twin, which a test compares with it, is ``trouble`` in ``livetalk.thinkers.foreign``.
    """
    text, name = str(error), type(error).__name__
    if isinstance(error, UnreadableBodyError):
        return text
    if untrusted := _UNTRUSTED.search(text):
        return (
            f"its certificate is not accepted: {untrusted[1].strip()}. If it is yours, name the file of its authority "
            f"in the environment variable SSL_CERT_FILE"
        )
    if _NO_TLS.search(text):
        return "what answers there does not speak TLS; does the address begin with http:// instead of https://?"
    if _TLS_RECORD.search(text):
        return "what answers there speaks TLS; does the address begin with https:// instead of http://?"
    if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol)):
        return f"that is no address ({excerpt([text], 200)})"
    said = excerpt([mended(text)], 200)
    return f"{name}: {said}" if said else name


def hopeless(error: Exception) -> bool:
    """Whether trying again can't help: a refused certificate, TLS where there is none or none where there is."""
    text = str(error)
    return isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol)) or any(
        pattern.search(text) for pattern in (_UNTRUSTED, _NO_TLS, _TLS_RECORD)
    )


def redirect(response: httpx.Response) -> str:
    """What to say of a redirect that is not followed; empty if it is none. Queries in addresses are often keys."""
    if not response.is_redirect:
        return ""
    where = mended(response.headers.get("location", "")).partition("?")[0].partition("#")[0]
    return (
        f"the server redirects to {excerpt([where], 200) or 'nowhere'}, which is not followed: give the address that "
        f"it leads to"
    )
