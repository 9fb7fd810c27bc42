"""A scripted HTTP/1.1 server on loopback, for clients that must survive whatever a service does to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
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

    pieces: AsyncGenerator[bytes, None]
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
        self.port = 0
        self._news = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def asked(self, path: str, times: int = 1) -> None:
        """Wait until so many requests for a path have come in."""
        while sum(request.path == path for request in self.requests) < times:
            self._news.clear()
            await self._news.wait()

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
        begun = b""
        try:
            while True:
                request = await _read(reader, begun)
                self.requests.append(request)
                self._news.set()
                begun = await self._answer(request, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Send the response, and give it up when the client leaves.

        Returns:
            The first byte of the next request, if it was so quick.

        Raises:
            ConnectionError: the connection is not to be used again.
        """
        sending = asyncio.create_task(self._send(request, writer))
        leaving = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            gone = leaving.done() and (leaving.exception() or not leaving.result())
            broken = sending.done() and isinstance(sending.exception(), ConnectionError)
            if broken or (gone and not sending.done()):
                self.left.set()
            if broken or gone or not await sending:
                raise ConnectionError
            return leaving.result() if leaving.done() else b""
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        response = await self.respond(request)
        out = _Writer(writer, self.cut_at if request.method == "POST" else None)
        whole = response is not None
        try:
            if isinstance(response, Plain):
                body = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
                fields = {"content-type": "application/json", "content-length": str(len(body)), **response.headers}
                await out.write(_head(response.status, fields) + body)
            elif response is not None:
                await out.write(_head(200, {"content-type": response.content_type, "transfer-encoding": "chunked"}))
                async with contextlib.aclosing(response.pieces) as pieces:
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


async def _read(reader: asyncio.StreamReader, begun: bytes) -> Request:
    head = (begun + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
