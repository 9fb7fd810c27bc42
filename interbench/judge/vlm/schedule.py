"""When a request may be sent: how many at a time, how often again, and to which server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import itertools
import math
from collections.abc import AsyncIterator, Callable, Sequence

_FIRST, _FOLLOWING = 1, 0
_SMOOTHING = 0.2


def server_of(key: str, servers: Sequence[str]) -> int:
    """Index of the server that ``key`` belongs to: rendezvous hashing, so that removing one moves only its own keys."""
    return max(range(len(servers)), key=lambda i: hashlib.sha256(f"{servers[i]}\0{key}".encode()).digest())


def server_with_room(key: str, servers: Sequence[str], live: Sequence[int], slack: float = 1.25) -> int:
    """Index of the server that ``key`` is given to, where ``live`` conversations are under way at each.

    The first in the order of the rendezvous hash that has less than ``slack`` times its share: with few conversations
    to a server the hash alone leaves some with several times as many as others (hashing with bounded loads, Mirrokni,
    Thorup and Zadimoghaddam 2018, arXiv:1608.01350).
    """
    most = math.ceil(slack * (sum(live) + 1) / len(servers))

    def rank(i: int) -> bytes:
        return hashlib.sha256(f"{servers[i]}\0{key}".encode()).digest()

    return max((i for i in range(len(servers)) if live[i] < most), key=rank)


class Throttle:
    """Adaptive limit of the requests in flight at one server.

    It starts low, grows by one per round of answers while their latency holds, and halves when the server says that it
    is overloaded. Requests that follow in a conversation already begun go before those that begin one, so that the
    server finishes with a conversation while its prefix is in the cache.

    Args:
        start: first limit; 9 are the dimensions of one conversation.
        most: highest limit.
        tolerance: latency may be this many times the lowest seen at the first limit before growth ends.
        clock: monotonic seconds.
    """

    def __init__(
        self, *, start: int = 9, most: int = 32, tolerance: float = 3.0, clock: Callable[[], float] | None = None
    ) -> None:
        self.limit = float(min(start, most))
        self.in_flight = 0
        self.highest = self.limit
        """The largest limit so far."""
        self.backoffs = 0
        self._start = self.limit
        self._most = most
        self._clock = clock
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._latency = {_FIRST: _Latency(tolerance), _FOLLOWING: _Latency(tolerance)}
        self._halved_at: float | None = None

    def _now(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()

    @contextlib.asynccontextmanager
    async def slot(self, *, first: bool) -> AsyncIterator[None]:
        """Hold one place. ``first``: the request begins a conversation."""
        await self._acquire(_FIRST if first else _FOLLOWING)
        try:
            yield
        finally:
            self.in_flight -= 1
            self._wake()

    async def _acquire(self, rank: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._order), turn))
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.in_flight -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self.in_flight < int(self.limit):
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)

    def answered(self, seconds: float, *, first: bool) -> None:
        """A request was answered after ``seconds``; the limit grows if the latency of its kind still holds."""
        latency = self._latency[_FIRST if first else _FOLLOWING]
        if latency.holds(seconds, rebase=self.limit <= self._start) and self.limit < self._most:
            self.limit = min(self._most, self.limit + 1 / self.limit)
            self.highest = max(self.highest, self.limit)
            self._wake()

    def overloaded(self) -> None:
        """The server refused for being too busy: halve, but only once for refusals of the same second."""
        now = self._now()
        if self._halved_at is None or now - self._halved_at >= 1.0:
            self._halved_at = now
            self.backoffs += 1
            self.limit = max(1.0, self.limit / 2)


class _Latency:
    """Smoothed latency of one kind of request, and the lowest it was while the limit was low."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._recent: float | None = None
        self._base: float | None = None

    def holds(self, seconds: float, *, rebase: bool) -> bool:
        self._recent = seconds if self._recent is None else self._recent + _SMOOTHING * (seconds - self._recent)
        if rebase or self._base is None:
            self._base = self._recent if self._base is None else min(self._base, self._recent)
        return self._recent <= self._tolerance * self._base
