"""The rating server as a process. Needs the extra ``rate``."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Sequence

import uvicorn

from interbench.base import termination
from interbench.base.errors import UsageError
from interbench.base.remote import is_loopback
from interbench.rating.server import RatingServer
from interbench.rating.study import Study
from interbench.store.ratings import Ratings

_SHUTDOWN_S = 5
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


class _Process(uvicorn.Server):
    """uvicorn's, which says when it listens, and lets the open streams end before it waits for them."""

    def __init__(self, rating: RatingServer, listening: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                rating.app,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,  # it would hold the addresses of raters
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_SHUTDOWN_S,
            )
        )
        self._rating = rating
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
        self._rating.end()
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes a free one.

    Raises:
        UsageError: the address is unknown, taken or forbidden.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"{host} is no address to listen on ({error.strerror or error}).") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise UsageError(
            f"Nothing can listen on {host}:{port} ({error.strerror or error}). Choose another --port."
        ) from None
    return sock


def serve(
    ratings: Ratings, study: Study, *, host: str, port: int, alone: str | None, tell: Callable[[str], None]
) -> None:
    """Serve until the process is told to stop, which is no failure.

    Args:
        ratings: open for writing.
        host: to listen on; on loopback ``alone`` needs no token.
        alone: the one rater who is expected; None for all.
        tell: shows the user a line: the links, as soon as they work.
    """
    local = host in _LOCAL or is_loopback(f"http://{host}")
    raters = [alone] if alone else ratings.raters()
    open_to = frozenset([alone] if alone and local else [])
    with contextlib.closing(bind(host, port)) as sock:
        base = _address(host, sock.getsockname()[1])
        rating = RatingServer(ratings, study, open_to=open_to, hosts=_LOCAL if local else frozenset())

        def listening() -> None:
            for line in links(study, base, raters, open_to):
                tell(line)
            tell("Ctrl-C ends it; every answer is kept, and the same command goes on.")

        server = _Process(rating, listening)

        def stop() -> None:
            server.should_exit = True

        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        with termination.handed_over(stop, _SHUTDOWN_S + 10.0):
            server.run([sock])
    if termination.told():
        termination.end(0, "interbench: stopped serving; every answer is kept.")


def links(study: Study, base: str, raters: Sequence[str], open_to: frozenset[str]) -> list[str]:
    """A line per rater with the link that lets them in."""
    return [f"{rater}: {base}/r/{rater}/" + ("" if rater in open_to else f"#{study.token(rater)}") for rater in raters]


def _address(host: str, port: int) -> str:
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
