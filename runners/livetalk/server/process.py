"""A server as a process: its socket, its signals, and how it tells where it is."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from livetalk.base import termination
from livetalk.base.errors import LiveTalkError
from livetalk.server.app import create_app
from livetalk.server.connection import Connection
from livetalk.server.service import Service

_KEEP_ALIVE_S = 15
_SHUTDOWN_S = 10
_PATIENCE_S = _SHUTDOWN_S + 10.0


class ServeError(LiveTalkError):
    """The server can't run here."""


class Server(uvicorn.Server):
    """uvicorn's, which also says when it listens, and lets answers end cleanly before it closes connections."""

    def __init__(self, service: Service, app: ASGIApp, *, listening: Callable[[], None] = lambda: None) -> None:
        limits = service.limits
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection.within(limits, service.metrics.refused),
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_SHUTDOWN_S,
            )
        )
        self._service = service
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Not where the program heeds signals itself: uvicorn would end it by the signal once more."""
        with contextlib.nullcontext() if termination.heeding() else super().capture_signals():
            yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._service.drain()
        await super().shutdown(sockets)


def serve(service: Service, sock: socket.socket, *, announce: Path | None, listening: Callable[[str], None]) -> None:
    """Serve until the process is told to stop, which is no failure: it then ends with status 0.

    Args:
        service: not yet started.
        sock: bound, see ``bind``.
        announce: a file that says where the server is, as soon as it listens: {"url", "pid"} in JSON. It is removed in
            the end.
        listening: told the address at the same time.

    Raises:
        LiveTalkError: the models or the thinker could not be had, or the file not be written.
    """
    with contextlib.closing(sock):
        _serve(service, sock, announce, listening)
    if termination.told():
        termination.end(0, "livetalk: stopped.")
    if service.failure is not None:
        raise service.failure


def _serve(service: Service, sock: socket.socket, announce: Path | None, listening: Callable[[str], None]) -> None:
    url = url_of(sock)
    if announce is not None and not announce.absolute().parent.is_dir():
        raise ServeError(f"The file {str(announce)!r} can't be written: there is no such folder.")

    def started() -> None:
        if announce is not None:
            _write_announcement(announce, url)
        listening(url)

    def stop() -> None:
        server.should_exit = True

    app = create_app(service, loaded=_settle, load_failed=stop)
    server = Server(service, app, listening=started)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    if announce is not None:
        termination.at_end(partial(_remove_announcement, announce))
    try:
        with termination.handed_over(stop, _PATIENCE_S):
            server.run([sock])
    finally:
        if announce is not None:
            _remove_announcement(announce)


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes a free one.

    Raises:
        ServeError: the address is unknown, taken or forbidden.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise ServeError(
            f"Nothing can be served at {host}, port {port}: {error.strerror or error}. Choose another --host or --port "
            "(0 takes a free one)."
        ) from None
    return sock


def url_of(sock: socket.socket) -> str:
    """The address to use on this machine."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _write_announcement(path: Path, url: str) -> None:
    content = json.dumps({"url": url, "pid": os.getpid()})
    try:
        with termination.undivided():
            descriptor, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
            Path(name).replace(path)
    except OSError as error:
        raise ServeError(f"The file {str(path)!r} can't be written: {error.strerror}.") from None


def _remove_announcement(path: Path) -> None:
    """Unless another server has written it since."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(path.read_text("utf-8"))["pid"] == os.getpid():
            path.unlink()


def _settle() -> None:
    """What is loaded stays until the end: looked through at every full garbage collection, its half a million objects
    would halt all conversations for a good part of a second each time."""
    gc.collect()
    gc.freeze()
