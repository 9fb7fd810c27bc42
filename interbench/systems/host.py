"""Runs a system under test on a thread and event loop of its own.

An adapter is other people's code: it may block its event loop, ignore cancellation or raise anything. None of this may
stop the harness, its clock or the other systems, so every call into a system crosses into its own thread, and the
clock is read there, at the moment an event is yielded.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from interbench.systems.base import AvatarSystem
from interbench.systems.events import Elsewhere, Event

T = TypeVar("T")
Clock = Callable[[], float]

GRACE_S = 5.0
"""How long a call that was cancelled may take to clean up before its thread is abandoned."""


class StuckError(Exception):
    """The system does not react to cancellation; its thread was given up."""


class RestartedError(RuntimeError):
    """The system that was being asked is gone: it no longer reacted to another conversation and was replaced."""

    def __init__(self) -> None:
        super().__init__("the system stopped reacting and was restarted")


class RaisedElsewhereError(Exception):
    """An adapter raised on another machine; the message is as it would be put here.

    Args:
        described: what was raised, in words.
        code: its ``code``.
        traceback: all of it, as text; empty where it says nothing to the adapter's author.
        raised_at: the adapter's own line.
    """

    def __init__(self, described: str, code: str, traceback: str = "", raised_at: str = "") -> None:
        super().__init__(described)
        self.code = code
        self.traceback = traceback
        self.raised_at = raised_at


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """Something and the moment (clock seconds) at which it became true."""

    at: float
    value: T
    elsewhere: Elsewhere | None = None
    """What was observed of it on the machine that the system runs on, where that is another."""


class Host:
    """One system on its own thread.

    Args:
        factory: makes the system; called on the host's thread.
        clock: monotonic seconds.
        grace_s: time for cancelled calls to clean up.
        tell: shows the user a line of the system's; called on the host's thread.
    """

    def __init__(
        self,
        factory: Callable[[], AvatarSystem],
        *,
        clock: Clock = time.monotonic,
        grace_s: float = GRACE_S,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._factory = factory
        self._tell = tell
        self._clock = clock
        self._grace_s = grace_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._system: AvatarSystem | None = None
        self._why: Callable[[], Exception] | None = None
        """What whoever asks an abandoned system is told."""
        self._over: asyncio.Future[None] | None = None
        """Done when the system that is running now is abandoned."""
        self.generation = 0
        """Counts restarts: a conversation opened in an earlier generation is gone."""

    @property
    def system(self) -> AvatarSystem:
        if self._system is None:
            raise RuntimeError("the system was not started") if self._why is None else self._why()
        return self._system

    async def start(self) -> None:
        """Make the system and call its ``start``. Whatever it raises is raised here."""
        loop = asyncio.new_event_loop()
        threading.Thread(target=_run_loop, args=(loop,), name="interbench-system", daemon=True).start()
        self._loop, self._over, self._why = loop, asyncio.get_running_loop().create_future(), None

        async def make() -> AvatarSystem:
            system = self._factory()
            if self._tell is not None:
                system.tell = self._tell
            self._system = system
            await system.start()
            return system

        await self.call(make)

    async def call(self, function: Callable[[], Awaitable[T]], limit_s: float | None = None) -> T:
        """Await ``function()`` on the system's loop.

        Raises:
            TimeoutError: after ``limit_s`` seconds; the call has been cancelled.
            StuckError: likewise, but the call did not end when it was cancelled.
            RestartedError: the system was abandoned; or whatever :meth:`abandon` was told.
        """
        if self._loop is None:
            raise RuntimeError("the system was not started") if self._why is None else self._why()

        async def run() -> T:
            return await function()

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        return await self._settle(future, limit_s)

    async def _settle(self, future: concurrent.futures.Future[T], limit_s: float | None) -> T:
        wrapped, over = asyncio.wrap_future(future), self._over
        assert over is not None
        either: set[asyncio.Future[Any]] = {wrapped, over}
        try:
            await asyncio.wait(either, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            future.cancel()
            raise
        if over.done() and (wrapped.cancelled() or not wrapped.done()):
            # Its thread ends, and cancels what it was asked: that is not this task's own cancellation.
            wrapped.cancel()
            raise RestartedError if self._why is None else self._why()
        if wrapped.cancelled():
            # Something in the adapter was cancelled; raised as it is it would end the harness's own task in silence.
            raise RuntimeError("the system's own work was cancelled")
        if wrapped.done():
            return wrapped.result()
        await self._cancel(wrapped)
        raise TimeoutError

    async def _cancel(self, wrapped: asyncio.Future[T]) -> None:
        """Cancel a call on the system's loop and see whether that loop still turns."""
        wrapped.cancel()
        assert self._loop is not None
        alive = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_idle(), self._loop))
        done, _ = await asyncio.wait({alive}, timeout=self._grace_s)
        if not done:
            alive.cancel()
            raise StuckError

    async def events(
        self, iterate: Callable[[], AsyncIterator[Event]], limit_s: float
    ) -> AsyncGenerator[Timed[Event], None]:
        """The events of one turn, each with the clock reading at which the system yielded it.

        The system is asked for its next event only after the caller has asked for it, so what the caller does with an
        event (storing a job id) is done before the system goes on.

        Raises:
            TimeoutError: ``limit_s`` seconds after the first request; the iterator has been closed.
            StuckError: likewise, but the system did not react.
            Exception: whatever the system raised.
        """
        iterator: AsyncIterator[Event] | None = None
        deadline = time.monotonic() + limit_s
        clock = self._clock

        async def step() -> Timed[Event] | None:
            nonlocal iterator
            if iterator is None:
                iterator = aiter(iterate())
            try:
                event = await anext(iterator)
            except StopAsyncIteration:
                return None
            if isinstance(event, Elsewhere):
                return Timed(clock(), event.event, event)
            return Timed(clock(), event)

        async def close() -> None:
            aclose = getattr(iterator, "aclose", None)
            if aclose is not None:
                await aclose()

        stuck = False
        try:
            while True:
                timed = await self.call(step, max(0.0, deadline - time.monotonic()))
                if timed is None:
                    return
                yield timed
        except StuckError:
            stuck = True
            raise
        finally:
            if not stuck:
                # A failure while closing says nothing about the answer, which is already known.
                with contextlib.suppress(Exception):
                    await self.call(close, self._grace_s)

    async def stop(self) -> None:
        """Stop the system and its thread; a system that does not let itself be stopped is abandoned."""
        loop = self._loop
        if loop is None:
            return
        if self._system is not None:
            with contextlib.suppress(Exception):
                await self.call(self._system.stop, self._grace_s * 2)
        await self.abandon()

    async def abandon(self, why: Callable[[], Exception] = RestartedError) -> None:
        """Let the thread end if it can; it is a daemon and never keeps the harness from ending.

        Args:
            why: what is raised where the system is being asked, or is asked before it is started again.
        """
        loop, self._loop, self._system, self._why = self._loop, None, None, why
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    async def restart(self) -> None:
        """Replace a stuck system by a fresh one on a fresh thread."""
        await self.abandon()
        self.generation += 1
        await self.start()


async def _idle() -> None:
    return None


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.wait(pending, timeout=1.0))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
