"""Connections to one judge server, and whether it is still the one that was asked at first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from interbench.base.http import (
    make_transport,
)
from interbench.base.remote import Secret
from interbench.judge.vlm.failures import UnavailableError, Unreachable

_CONNECT_S = 20.0
"""How long a connection may take to come about; where packets are dropped, the system itself tries for minutes."""


@dataclass(slots=True)
class Line:
    """A connection."""

    stream: object
    since: float
    """When the request that opened it was sent."""
    heard: float = 0.0
    """When the server last answered on it."""
    known: bool = False
    """Whether it leads to the server that was asked at first."""


class Connections:
    """A connection per request in flight, driven without a client's cookies and redirects: the cost of a shared pool
    grows with the number of its connections, and judging makes many small requests.

    Args:
        url: base address, without ``/v1``.
        secret: the key, if any.
    """

    def __init__(self, url: str, secret: Secret) -> None:
        self._url = url
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._transports: list[httpx.AsyncHTTPTransport] = []
        self._tls = httpx.create_ssl_context() if url.startswith("https") else False
        self._headers = {"host": urlsplit(url).netloc, "content-type": "application/json", **secret.headers()}
        self._recognise: Callable[[], Awaitable[None]] | None = None
        self._recognising = asyncio.Lock()
        self._lines: dict[httpx.AsyncHTTPTransport, Line] = {}
        self._doubts = 0

    def guard(self, recognise: Callable[[], Awaitable[None]]) -> None:
        """From now on accept answers only of the server that was asked so far.

        A connection leads to the same process for as long as it lasts, and so do all that were opened meanwhile. Before
        an answer over any other is accepted, and after every sign of a restart, ``recognise`` is called.

        Args:
            recognise: raises :class:`JudgeError` if another model answers now.
        """
        self._recognise = recognise
        for line in self._lines.values():
            line.known = True

    async def close(self) -> None:
        """Close all connections."""
        transports, self._transports, self._idle = self._transports, [], []
        self._lines.clear()
        for transport in transports:
            await transport.aclose()

    @contextlib.asynccontextmanager
    async def send(
        self, method: str, url: httpx.URL, body: bytes | None
    ) -> AsyncGenerator[tuple[httpx.Response, Line], None]:
        """The response, its body still to be read, and the way it came. To be used under a timeout."""
        if self._idle:
            transport = self._idle.pop()
        else:
            limits = httpx.Limits(max_connections=1, keepalive_expiry=3.0)
            transport = make_transport(self._url, verify=self._tls, limits=limits)
            self._transports.append(transport)
        try:
            request = httpx.Request(
                method, url, headers=self._headers, content=body, extensions={"timeout": {"connect": _CONNECT_S}}
            )
            sent = _now()
            response = await transport.handle_async_request(request)
            stream = response.extensions.get("network_stream")
            line = self._lines.get(transport)
            if line is None or line.stream is not stream:
                line = self._lines[transport] = Line(stream, sent)
            line.heard = _now()
            try:
                yield response, line
            finally:
                await response.aclose()
        except httpx.HTTPError:
            self.doubt()
            raise
        finally:
            self._idle.append(transport)

    def doubt(self) -> None:
        """The server may have been restarted."""
        self._doubts += 1
        for line in self._lines.values():
            line.known = False

    async def confirm(self, line: Line) -> None:
        """Return if the server at the other end is the one that was asked at first.

        Raises:
            Unreachable: it is gone again.
            JudgeError: it is not.
        """
        if self._recognise is None or line.known:
            return
        if any(other.known and other.heard >= line.since for other in self._lines.values()):
            # That connection still held when this one was opened, so both lead to the same process.
            line.known = True
            return
        async with self._recognising:
            if line.known:
                return
            lines, doubts = list(self._lines.values()), self._doubts
            try:
                await self._recognise()
            except UnavailableError as error:
                raise Unreachable(str(error)) from None
            if doubts == self._doubts:
                for one in lines:
                    one.known = True


def _now() -> float:
    return asyncio.get_running_loop().time()
