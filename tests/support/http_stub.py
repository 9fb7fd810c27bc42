"""A scripted HTTP/1.1 server on loopback, for clients that must survive whatever a service does to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Plain:
    """A whole response. `body` may be anything JSON knows, or bytes."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Streamed:
    """A chunked response of status 200 whose pieces are sent as they come."""

    pieces: AsyncIterator[bytes]
    content_type: str = "text/event-stream; charset=utf-8"


class HttpStub:
    """The server. Use as an async context manager; `url` is its address.

    Subclasses say in `respond` what a request gets.

    Attributes:
        requests: all that came in.
        cut_at: bytes of each response to a POST, its head included, after which the connection is closed; None for all.
        sent: bytes of the last response to a POST, whether or not they were cut.
        left: set as soon as a client has closed its connection while a response to it was under way.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.cut_at: int | None = None
        self.sent = 0
        self.left = asyncio.Event()
        self.open_connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def respond(self, request: Request) -> Plain | Streamed | None:
        """The response; None closes the connection without one."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open_connections += 1
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                if not await self._answer(request, reader, writer):
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send the response, and give it up when the client leaves. Whether the connection can be used again."""
        sending = asyncio.create_task(self._send(request, writer))
        leaving = asyncio.create_task(reader.read(1))
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            self.left.set()
        for waiting in (sending, leaving):
            waiting.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
        return not sending.cancelled() and sending.exception() is None and sending.result() and not leaving.done()

    async def _send(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        response = await self.respond(request)
        out = _Writer(writer, self.cut_at if request.method == "POST" else None)
        whole = response is not None
        with contextlib.suppress(_CutError):
            try:
                if isinstance(response, Plain):
                    body = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
                    fields = {"content-type": "application/json", "content-length": str(len(body)), **response.headers}
                    await out.write(_head(response.status, fields) + body)
                elif response is not None:
                    await out.write(
                        _head(200, {"content-type": response.content_type, "transfer-encoding": "chunked"})
                    )
                    async with contextlib.aclosing(response.pieces) as pieces:  # type: ignore[type-var]
                        async for piece in pieces:
                            await out.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    await out.write(b"0\r\n\r\n")
            except _CutError:
                whole = False
        if request.method == "POST":
            self.sent = out.sent
        return whole and (self.cut_at is None or request.method != "POST")


class _CutError(Exception):
    pass


class _Writer:
    def __init__(self, writer: asyncio.StreamWriter, cut_at: int | None) -> None:
        self._writer = writer
        self._cut_at = cut_at
        self.sent = 0

    async def write(self, data: bytes) -> None:
        if self._cut_at is not None and self.sent + len(data) > self._cut_at:
            self._writer.write(data[: self._cut_at - self.sent])
            await self._writer.drain()
            raise _CutError
        self._writer.write(data)
        self.sent += len(data)
        await self._writer.drain()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
