"""The conversations that are open: admission, names, and their end when nobody goes on with them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from torch import Tensor

from livetalk.base.memory import give_back
from livetalk.live.engine import Engine
from livetalk.live.session import Session
from livetalk.live.turns import CapacityError
from livetalk.server.limits import Limits
from livetalk.server.problems import ProblemError
from livetalk.thinkers.base import Manner

_REMEMBERED = 10_000  # names of expired conversations
_MAX_USES = 8  # requests at once about one conversation: each may hold an upload in memory
_MAX_RETRY_S = 60.0


class OpenConversation:
    """A session and when it was last used. It does not expire while something holds it with ``in_use``."""

    def __init__(self, session: Session, clock: Callable[[], float]) -> None:
        self.session = session
        self.opened_at = self.used_at = clock()
        self._clock = clock
        self._uses = 0

    def check_use(self) -> None:
        """
        Raises:
            ProblemError: ``busy``; so many requests about one conversation are no conversation.
        """
        if self._uses >= _MAX_USES:
            raise ProblemError(
                "busy",
                f"{_MAX_USES} requests about this conversation are at work; wait for one to end.",
                retry_after_s=1,
            )

    @property
    def used(self) -> bool:
        """Whether requests about it are at work."""
        return self._uses > 0

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        self._uses += 1
        try:
            yield
        finally:
            self._uses -= 1
            self.used_at = self._clock()

    def expires_in_s(self, limits: Limits) -> float:
        """Seconds left if nothing is said from now on; 0 or less means that its time is over."""
        if self._uses:
            return limits.idle_s
        return min(self.used_at + limits.idle_s, self.opened_at + limits.age_s) - self._clock()


class Place:
    """A conversation's place, kept free for whoever is about to open it."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def free(self) -> None:
        """May be called again."""
        if self._give_back is not None:
            self._give_back()
            self._give_back = None


class Conversations:
    """All open conversations of one engine.

    Args:
        engine: what they run on; it is ready.
        limits: how long they live.
        closed: told the reason of each end: ``deleted``, ``expired``, ``shutdown``.
        clock: seconds.
    """

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        *,
        closed: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._closed = closed
        self._clock = clock
        self._open: dict[str, OpenConversation] = {}
        self._expired: OrderedDict[str, None] = OrderedDict()
        self._reserved = 0
        self._ended = False
        """Whether conversations have ended since memory was handed back."""

    async def reserve(self) -> Place:
        """A place, before anything of the request is read: so there are never more uploads in memory than places.

        Raises:
            ProblemError: ``full``.
        """
        await self.expire()
        if self._engine.sessions + self._reserved >= self._engine.capacity:
            raise self._full()
        self._reserved += 1
        return Place(self._give_back)

    def _give_back(self) -> None:
        self._reserved -= 1

    async def open(
        self,
        place: Place,
        *,
        image: Tensor | None,
        prompt: str | None,
        persona: str,
        voice: str | None,
        manner: Manner,
        seed: int,
    ) -> OpenConversation:
        """
        Raises:
            ProblemError: ``full``.
            LiveTalkError: what else ``Engine.open`` raises.
        """
        place.free()  # the engine counts it from here on
        try:
            session = await self._engine.open(
                image=image, prompt=prompt, persona=persona, voice=voice, manner=manner, seed=seed
            )
        except CapacityError:
            raise self._full() from None
        conversation = self._open[session.id] = OpenConversation(session, self._clock)
        return conversation

    def get(self, name: str) -> OpenConversation:
        """
        Raises:
            ProblemError: ``unknown_conversation``, ``expired``.
        """
        conversation = self._open.get(name)
        if conversation is not None and conversation.expires_in_s(self._limits) > 0:
            return conversation
        if conversation is not None or name in self._expired:
            raise self._over()
        raise ProblemError(
            "unknown_conversation",
            "There is no such conversation. It was closed, or the server was restarted since. Open a new one.",
        )

    def get_for_turn(self, name: str) -> OpenConversation:
        """As ``get``, but an old conversation whose last turn still runs takes no further one.

        Raises:
            ProblemError: ``unknown_conversation``, ``expired``.
        """
        conversation = self.get(name)
        if conversation.opened_at + self._limits.age_s <= self._clock():
            raise self._over()
        return conversation

    async def close(self, name: str) -> None:
        """
        Raises:
            ProblemError: ``unknown_conversation``, ``expired``.
        """
        self.get(name)
        await self._end(name, "deleted")

    async def expire(self) -> None:
        """Close every conversation whose time is over."""
        over = [name for name, entry in self._open.items() if entry.expires_in_s(self._limits) <= 0]
        for name in over:
            self._expired[name] = None
            if len(self._expired) > _REMEMBERED:
                self._expired.popitem(last=False)
        await asyncio.gather(*(self._end(name, "expired") for name in over))

    async def keep_expiring(self) -> None:
        """Call ``expire`` for ever, often enough that none stays much longer than it should, and hand back what memory
        the ended ones have freed while nobody is being answered."""
        while True:
            await asyncio.sleep(min(5.0, self._limits.idle_s / 4))
            await self.expire()
            if self._ended and not any(entry.used for entry in self._open.values()):
                self._ended = False
                await asyncio.to_thread(give_back)

    async def close_all(self) -> None:
        """End every answer cleanly, and every conversation."""
        await asyncio.gather(*(self._end(name, "shutdown") for name in list(self._open)))

    async def _end(self, name: str, reason: str) -> None:
        conversation = self._open.pop(name, None)
        if conversation is not None:
            self._closed(reason)
            await conversation.session.close()
            self._ended = True

    def _over(self) -> ProblemError:
        return ProblemError(
            "expired",
            f"The conversation is over: it is closed after {self._limits.idle_s:g} seconds without a turn, and in any "
            f"case {self._limits.age_s:g} seconds after it was opened. Open a new one.",
        )

    def _full(self) -> ProblemError:
        free_in = min((entry.expires_in_s(self._limits) for entry in self._open.values()), default=1.0)
        places = "one conversation" if self._engine.capacity == 1 else f"{self._engine.capacity} conversations"
        return ProblemError(
            "full",
            f"This server holds no more than {places} at once. Try again later, or close one.",
            retry_after_s=min(max(free_in, 1.0), _MAX_RETRY_S),
        )
