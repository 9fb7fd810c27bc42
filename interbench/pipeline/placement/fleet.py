"""The renderers of one system: which of them gets the next conversation, and what becomes of one that is lost.

A renderer that is lost draws no work until it has been seen to be well. Whoever waits is served the longest
conversation first; a conversation goes to the well renderer that has the fewest.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from interbench.base.errors import NodeLostError, StrandedError, SystemLoadError
from interbench.pipeline.placement.event_log import EventLog
from interbench.pipeline.placement.link import Link, Patience
from interbench.pipeline.placement.placed import PlacedSystem
from interbench.pipeline.placement.standing import Standing, Tally
from interbench.systems.host import Host

MOST_LOSSES = 3
"""A renderer that was lost so often is given up; so is, for this invocation, a conversation."""


@dataclass(slots=True)
class Seat:
    """One renderer, whichever process it is just now."""

    number: int
    host: Host | None = None
    link: Link | None = None
    state: str = "starting"
    """``starting``, ``well``, ``lost`` or ``given_up``."""
    live: int = 0
    done: int = 0
    losses: int = 0
    player: Any = None
    """What plays conversations there, made by the fleet's owner."""

    @property
    def name(self) -> str:
        return f"{self.number}@{'?' if self.link is None else self.link.where}"


@dataclass(frozen=True, slots=True)
class Makers:
    """How a fleet comes by what it needs."""

    link: Callable[[Seat], Awaitable[Link]]
    """A fresh actor for a seat, on a node that is alive."""
    host: Callable[[Link], Host]
    """The host of its system."""
    admit: Callable[[Seat, PlacedSystem], None]
    """Sees that what it makes may stand in the run, and gives the seat its player."""
    log: Callable[[Seat, bytes], None] = lambda seat, data: None
    """Keeps what its server says."""


@dataclass(order=True, slots=True)
class _Waiter:
    rank: tuple[int, int]
    seat: asyncio.Future[Seat] = field(compare=False)


class Fleet:
    """See the module.

    Args:
        label: the system's.
        count: renderers.
        concurrency: conversations that a renderer has at a time, if its system takes as many.
        makers: see there.
        patience: how long to wait for whom.
        log: what happens is noted there.
        standing: where it is counted, node by node.
        say: shows the user a line.
    """

    def __init__(
        self,
        label: str,
        count: int,
        concurrency: int,
        makers: Makers,
        patience: Patience,
        log: EventLog,
        standing: Standing,
        say: Callable[[str], None],
    ) -> None:
        self.label = label
        self.seats = [Seat(number) for number in range(count)]
        self._concurrency = concurrency
        self._makers = makers
        self._patience = patience
        self._log = log
        self._standing = standing
        self._say = say
        self._waiting: list[_Waiter] = []
        self._order = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = asyncio.Event()
        self._problem: BaseException | None = None

    async def start(self) -> None:
        """Return when the first renderer is well; the others join as they become so.

        Raises:
            InterbenchError: the system can't be started, its renderers differ, or no node is left.
        """
        for seat in self.seats:
            self._run(self._tend(seat))
        await self._begun.wait()
        self._raise()

    async def stop(self) -> None:
        """End all renderers."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._end(seat) for seat in self.seats))

    async def _end(self, seat: Seat) -> None:
        if seat.host is not None:
            await seat.host.stop()
        if seat.link is not None:
            await seat.link.end()

    def _run(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._problem = self._problem or error
        self._begun.set()
        for waiter in self._waiting:
            if not waiter.seat.done():
                waiter.seat.set_exception(self._problem)
        self._waiting.clear()

    def _raise(self) -> None:
        if self._problem is not None:
            raise self._problem

    # -- who plays next -----------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def seat(self, name: str, turns: int) -> AsyncIterator[Seat]:
        """A place for one conversation of so many turns, as soon as there is one.

        Raises:
            StrandedError: no renderer is left.
            InterbenchError: why the fleet can't be used any more.
        """
        self._raise()
        waiter = _Waiter((-turns, next(self._order)), asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiting, waiter)
        self._grant()
        try:
            seat = await waiter.seat
        except asyncio.CancelledError:
            if waiter.seat.done() and not waiter.seat.cancelled() and waiter.seat.exception() is None:
                waiter.seat.result().live -= 1
            raise
        link, tally = seat.link, self._tally(seat)
        tally.live += 1
        self._note("lease", seat, conversation=name)
        try:
            yield seat
            seat.done += 1
            tally.done += 1
        except NodeLostError as lost:
            # Another conversation may have noticed before, and the seat be well again with another process.
            if seat.link is link and seat.state == "well":
                self._lose(seat, str(lost))
            raise
        finally:
            seat.live -= 1
            tally.live -= 1
            self._note("release", seat, conversation=name)
            self._grant()

    def room(self, seat: Seat) -> int:
        """Conversations that a renderer may have at a time."""
        most = self._concurrency
        if seat.host is not None and seat.host.system.capabilities.max_concurrency:
            most = min(most, seat.host.system.capabilities.max_concurrency)
        return most

    def _grant(self) -> None:
        while self._waiting:
            if self._waiting[0].seat.done():
                heapq.heappop(self._waiting)
                continue
            free = [seat for seat in self.seats if seat.state == "well" and seat.live < self.room(seat)]
            if not free:
                return
            seat = min(free, key=lambda seat: (seat.live, seat.done, seat.number))
            seat.live += 1
            heapq.heappop(self._waiting).seat.set_result(seat)

    # -- who is well --------------------------------------------------------------------------------------------------

    def _note(self, what: str, seat: Seat, **facts: Any) -> None:
        waiting = sum(not waiter.seat.done() for waiter in self._waiting)
        live = [other.live for other in self.seats if other.state == "well"]
        counts = {"waiting": waiting, "live": sum(live), "idle": live.count(0), "well": len(live)}
        self._log.note(what, system=self.label, renderer=seat.name, **counts, **facts)

    def _tally(self, seat: Seat) -> Tally:
        return self._standing.of("?" if seat.link is None else seat.link.where, self.label)

    def _is_well(self, seat: Seat) -> None:
        seat.state = "well"
        self._tally(seat).well += 1
        self._note("well", seat)
        self._begun.set()
        self._grant()

    def _lose(self, seat: Seat, why: str) -> None:
        """Give it no more work until it is seen to be well."""
        seat.state = "lost"
        seat.losses += 1
        tally = self._tally(seat)
        tally.well, tally.lost = tally.well - 1, tally.lost + 1
        self._note("lost", seat, why=why)
        self._say(f"{self.label}: renderer {seat.name} is lost: {why} Its conversations go to others.")

    async def _tend(self, seat: Seat) -> None:
        """Start a renderer, look after it, and put another process in its place when it is lost."""
        failures = 0
        while True:
            try:
                await self._begin(seat)
            except (NodeLostError, SystemLoadError) as lost:
                if isinstance(lost, SystemLoadError) and not self._begun.is_set():
                    raise
                # What starts elsewhere can be started: then it is the node that is at fault.
                failures += 1
                await self._drop(seat)
                if failures >= MOST_LOSSES:
                    self._give_up(seat, f"could not be started: {lost}")
                    return
                await asyncio.sleep(min(8.0, self._patience.again_s * 2**failures))
                continue
            failures = 0
            self._is_well(seat)
            while await self._watch(seat):
                pass
            await self._drop(seat)
            if seat.losses >= MOST_LOSSES:
                self._give_up(seat, f"was lost {seat.losses} times")
                return

    async def _begin(self, seat: Seat) -> None:
        """A fresh process for a seat.

        Raises:
            NodeLostError: it went before it was well, or there is no room for it.
        """
        seat.state = "starting"
        link = await self._makers.link(seat)
        seat.link = link
        host = self._makers.host(link)
        try:
            await host.start()
            system = host.system
            assert isinstance(system, PlacedSystem)
        except BaseException:
            await host.abandon()
            raise
        seat.host = host
        self._makers.admit(seat, system)

    async def _watch(self, seat: Seat) -> bool:
        """Look after a renderer that is well, until it is lost; whether the same process came back."""
        assert seat.link is not None
        link = seat.link
        while True:
            try:
                if seat.state == "well":
                    await asyncio.sleep(self._patience.health_s)
                news = await link.ask("news")
                self._take(seat, news)
                if seat.state == "lost":
                    # It was unreachable, not gone. What it was doing is being done elsewhere.
                    await link.ask("forget")
                    if seat.losses >= MOST_LOSSES:
                        return False
                    self._is_well(seat)
                    return True
                if not news["room"]:
                    self._lose(seat, "its disk is full.")
                    return False
            except NodeLostError as lost:
                if seat.state == "well":
                    self._lose(seat, str(lost))
                return False

    def _take(self, seat: Seat, news: Any) -> None:
        for line in news["lines"]:
            self._say(f"{self.label}, renderer {seat.name}: {line}")
        self._makers.log(seat, news["log"])

    async def _drop(self, seat: Seat) -> None:
        """Be done with a process. Whoever still asks it is told of the loss."""
        host, seat.host = seat.host, None
        if host is not None:
            lost = f"The renderer {seat.name} is lost."
            await host.abandon(lambda: NodeLostError(lost))
        if seat.link is not None:
            await seat.link.end()

    def _give_up(self, seat: Seat, why: str) -> None:
        seat.state = "given_up"
        self._note("given_up", seat, why=why)
        self._say(f"{self.label}: renderer {seat.name} is given up: it {why}")
        if all(other.state == "given_up" for other in self.seats):
            self._fail(
                StrandedError(
                    f"No renderer of {self.label} is left; the last one {why} What is done is in the run folder: look "
                    f"after the nodes, then give the same command again to go on."
                )
            )
