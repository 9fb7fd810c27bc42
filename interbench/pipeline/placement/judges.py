"""Servers of the judge on nodes, as one judge.

A conversation belongs to the server that rendezvous hashing over the living ones says, so one that dies moves only its
own; where that server has much more than its share already, to the next in the order of the hash. What it was asked and
did not answer is asked of the next; when another process takes its place, it has to be the same judge by its identity
and its likeness.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from interbench.base.errors import JudgeError, NodeLostError, StrandedError
from interbench.base.remote import Secret
from interbench.domain.records import Missing, PlayedConversation, Verdict
from interbench.judge.base import Judge, JudgeTask
from interbench.judge.vlm.judge import VLMJudge
from interbench.judge.vlm.schedule import server_with_room
from interbench.pipeline.placement.judge_server import JudgeServerOptions
from interbench.pipeline.placement.link import Link, Patience
from interbench.pipeline.placement.standing import Standing, Tally

MOST_LOSSES = 3
_OF_THE_SERVER = frozenset({Missing.SERVER_ERROR, Missing.TIMED_OUT})
_HIGHEST = "most_in_flight"


@dataclass(slots=True)
class JudgeSeat:
    """One server, whichever process it is just now."""

    number: int
    link: Link | None = None
    judge: VLMJudge | None = None
    well: bool = False
    live: int = 0
    """Conversations that it is being asked about."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when this process is lost; the next one has another."""
    losses: int = 0
    given_up: bool = False
    group: Any = None
    """Ray's placement group."""

    @property
    def name(self) -> str:
        return f"judge-{self.number}"


@dataclass(frozen=True, slots=True)
class JudgeMakers:
    """How the servers come about."""

    link: Callable[[JudgeSeat], Awaitable[Link]]
    judge: Callable[[str], VLMJudge]
    """For the server at an address."""
    free: Callable[[JudgeSeat], Awaitable[None]]
    """Gives the seat's GPUs back."""
    log: Callable[[JudgeSeat, bytes], None]


class PlacedJudge(Judge):
    """See the module.

    Args:
        count: servers.
        gpus: of each.
        options: how they are started.
        makers: see there.
        patience: how long to wait for whom.
        standing: where what they do is counted, node by node.
    """

    hands_over_files = True

    def __init__(
        self,
        count: int,
        gpus: int,
        options: JudgeServerOptions,
        makers: JudgeMakers,
        patience: Patience,
        standing: Standing,
    ) -> None:
        # Of no server: for what follows from the options alone.
        like = makers.judge("http://127.0.0.1:9")
        self.label = like.label
        self.shown = like.shown
        self.dimensions = like.dimensions
        self.max_conversations = count * like.max_conversations
        self.seats = [JudgeSeat(number) for number in range(count)]
        self._gpus = gpus
        self._options = options
        self._view = like.settings.view
        self._makers = makers
        self._patience = patience
        self._standing = standing
        self._every: list[VLMJudge] = []
        self._first: VLMJudge | None = None
        self._likeness: Mapping[str, Any] | None = None
        self._changed = asyncio.Condition()
        self._watchers: list[asyncio.Task[None]] = []
        self._problem: BaseException | None = None

    async def start(self) -> None:
        try:
            self.tell(f"starting {len(self.seats)} judge server(s) on the nodes")
            # The first one's trouble is everybody's, and told once.
            await self._begin(self.seats[0])
            results = await asyncio.gather(*map(self._begin, self.seats[1:]), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        except NodeLostError as lost:
            await self.stop()
            raise JudgeError(f"The judge's servers can't be started: {lost}") from None
        except BaseException:
            await self.stop()
            raise
        self._watchers = [asyncio.create_task(self._tend(seat)) for seat in self.seats]

    async def _begin(self, seat: JudgeSeat) -> None:
        """A fresh server for a seat, which has to be the same judge as the others.

        Raises:
            NodeLostError: it went before it was well, or there is no room for it.
            JudgeError: it can't be started, or is another judge.
        """
        seat.gone = asyncio.Event()
        link = seat.link = await self._makers.link(seat)
        key = secrets.token_urlsafe(32)
        told = await link.ask("start", self._options, self._gpus, self._view, key, takes_s=self._options.ready_s)
        if "error" in told:
            # What was served before can be served: then it is the node that is at fault.
            kind = JudgeError if self._first is None else NodeLostError
            raise kind(f"On the node {link.where}: {told['error']}")
        judge = self._makers.judge(told["url"])
        judge.tell = self.tell
        judge.show_key(Secret.of(key))
        await judge.start()
        if self._first is None:
            self._first, self.label = judge, judge.label
            self._likeness = judge.likeness()
        elif judge.identity() != self._first.identity():
            raise JudgeError(
                f"The judge's server on the node {link.where} serves something else than the others: "
                f"{judge.identity()['served']!r} instead of {self._first.identity()['served']!r}."
            )
        elif self._likeness is not None:
            judge.recognise(self._likeness)
        self._every.append(judge)
        seat.judge, seat.well = judge, True
        self._tally(seat).well += 1
        async with self._changed:
            self._changed.notify_all()

    def _tally(self, seat: JudgeSeat) -> Tally:
        assert seat.link is not None
        return self._standing.of(seat.link.where, "judge")

    def identity(self) -> Mapping[str, Any]:
        if self._first is None:
            raise JudgeError("The judge must be started before it can say which model it is.")
        return self._first.identity()

    def likeness(self) -> Mapping[str, Any] | None:
        return self._likeness

    def recognise(self, likeness: Mapping[str, Any]) -> None:
        assert self._first is not None
        self._first.recognise(likeness)

    async def judge(self, conversation: PlayedConversation, tasks: Sequence[JudgeTask]) -> AsyncIterator[Verdict]:
        left = {(task.dimension, task.sample): task for task in tasks}
        for last in (False, False, True):
            seat = await self._seat(f"{conversation.system}/{conversation.scenario.id}")
            gone, tally = seat.gone, self._tally(seat)
            asked: AsyncGenerator[Verdict, None] = self._asked(seat, conversation, list(left.values()))
            seat.live += 1
            tally.live += 1
            try:
                async with contextlib.aclosing(asked) as verdicts:
                    async for verdict in verdicts:
                        if verdict.missing in _OF_THE_SERVER and not last and await self._lost(seat, gone):
                            continue
                        left.pop((verdict.dimension, verdict.sample), None)
                        yield verdict
            finally:
                seat.live -= 1
                tally.live -= 1
            if not left:
                tally.done += 1
                return

    async def _asked(
        self, seat: JudgeSeat, conversation: PlayedConversation, tasks: Sequence[JudgeTask]
    ) -> AsyncGenerator[Verdict, None]:
        """What a server says until it has said all, or is lost."""
        assert seat.judge is not None
        gone = asyncio.create_task(seat.gone.wait())
        verdicts = seat.judge.judge(conversation, tasks)
        try:
            while True:
                step = asyncio.ensure_future(_next(verdicts))
                await asyncio.wait({step, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not step.done():
                    step.cancel()
                    await asyncio.wait({step})
                    return
                try:
                    verdict = step.result()
                except JudgeError:
                    if await self._lost(seat, seat.gone):
                        return
                    raise
                if verdict is None:
                    return
                yield verdict
        finally:
            gone.cancel()
            aclose = getattr(verdicts, "aclose", None)
            if aclose is not None:
                await aclose()

    async def _lost(self, seat: JudgeSeat, gone: asyncio.Event) -> bool:
        """Whether what went wrong is the server's end, and no answer of it."""
        if gone.is_set():
            return True
        assert seat.link is not None
        try:
            return bool((await seat.link.ask("news"))["ended"])
        except NodeLostError:
            return True

    async def _seat(self, key: str) -> JudgeSeat:
        """The living server that a conversation belongs to.

        Raises:
            StrandedError: there is none any more.
        """
        async with self._changed:
            while True:
                if self._problem is not None:
                    raise self._problem
                well = [seat for seat in self.seats if seat.well]
                if well:
                    return well[server_with_room(key, [seat.name for seat in well], [seat.live for seat in well])]
                await self._changed.wait()

    async def _tend(self, seat: JudgeSeat) -> None:
        """Look after a server, and put another in its place when it is lost."""
        try:
            while True:
                why = await self._end_of(seat)
                seat.well, seat.losses, tally = False, seat.losses + 1, self._tally(seat)
                tally.well, tally.lost = tally.well - 1, tally.lost + 1
                seat.gone.set()
                self.tell(f"{seat.name} is lost: {why} What it was asked is asked of the others.")
                await self._drop(seat)
                while not seat.well:
                    if seat.losses >= MOST_LOSSES:
                        await self._give_up(seat, why)
                        return
                    try:
                        await self._begin(seat)
                        self.tell(f"{seat.name} is served again")
                    except NodeLostError as lost:
                        seat.losses, why = seat.losses + 1, str(lost)
                        await self._drop(seat)
        except Exception as error:
            await self._fail(error)

    async def _end_of(self, seat: JudgeSeat) -> str:
        """Returns when a server has ended, with why."""
        assert seat.link is not None
        while True:
            try:
                news = await seat.link.ask("news")
            except NodeLostError as lost:
                return str(lost)
            self._makers.log(seat, news["log"])
            if news["ended"]:
                return f"On the node {seat.link.where} {news['ended']}."
            await asyncio.sleep(self._patience.health_s)

    async def _drop(self, seat: JudgeSeat) -> None:
        judge, seat.judge = seat.judge, None
        if judge is not None:
            await judge.stop()
        if seat.link is not None:
            await seat.link.end()
        await self._makers.free(seat)

    async def _give_up(self, seat: JudgeSeat, why: str) -> None:
        seat.given_up = True
        if all(other.given_up for other in self.seats):
            await self._fail(
                StrandedError(
                    f"No server of the judge is left; the last one: {why} What is done is in the run folder: look "
                    f"after the nodes, then give the same command again to go on."
                )
            )

    async def _fail(self, error: Exception) -> None:
        self._problem = self._problem or error
        async with self._changed:
            self._changed.notify_all()

    def summary(self) -> Mapping[str, Any]:
        result: dict[str, Any] = {}
        for one in (judge.summary() for judge in self._every):
            for name, value in one.items():
                if name not in result or result[name] is None or value is None:
                    result[name] = value if name not in result else None
                elif name == "remarks":
                    result[name] = sorted({*result[name], *value})
                else:
                    result[name] = max(result[name], value) if name == _HIGHEST else result[name] + value
        return result

    async def stop(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for seat in self.seats:
            if seat.link is not None and not seat.given_up:
                with contextlib.suppress(NodeLostError, RuntimeError):
                    await seat.link.ask("stop", takes_s=20.0)
            await self._drop(seat)


async def _next(verdicts: AsyncIterator[Verdict]) -> Verdict | None:
    try:
        return await anext(verdicts)
    except StopAsyncIteration:
        return None
