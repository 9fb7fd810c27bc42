"""An answer on its way to the client, as it is made."""

from __future__ import annotations

import asyncio
import time

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from livetalk.base.errors import LiveTalkError
from livetalk.live.session import Answer
from livetalk.live.turns import TurnError
from livetalk.server import problems
from livetalk.server.conversations import OpenConversation
from livetalk.server.metrics import Metrics
from livetalk.server.problems import KINDS, ProblemError
from livetalk.thinkers.base import ThinkerError

MEDIA_TYPE = "video/mp4"
TURN_HEADER = "Livetalk-Turn"


class AnswerResponse(Response):
    """Begins when the first fragment is there; what fails before that is an error response of its own.

    A client that closes the connection ends the turn at once. One that takes nothing for ``stall_s`` seconds is cut
    off; until then it holds up no more than its own answer.

    Args:
        conversation: kept alive meanwhile.
        answer: not yet iterated.
        complete_at: ``time.monotonic()`` when the last byte of the user's turn had come.
        stall_s: seconds.
        metrics: told how the turn went.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self, conversation: OpenConversation, answer: Answer, *, complete_at: float, stall_s: float, metrics: Metrics
    ) -> None:
        super().__init__(headers={TURN_HEADER: str(answer.index), "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._conversation = conversation
        self._answer = answer
        self._complete_at = complete_at
        self._stall_s = stall_s
        self._metrics = metrics
        self._first_frame_s: float | None = None
        self._sent_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics.turn_began()
        with self._conversation.in_use():
            pump = asyncio.create_task(self._pump(scope, receive, send))
            gone = asyncio.create_task(_disconnected(receive))
            try:
                await asyncio.wait((pump, gone), return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                pump.cancel()
                outcomes = await asyncio.gather(pump, gone, return_exceptions=True)
                await self._answer.aclose()
                record = self._conversation.session.record(self._answer.index)
                self._metrics.turn_ended(record, first_frame_s=self._first_frame_s, sent_bytes=self._sent_bytes)
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]

    async def _pump(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            fragment = await anext(self._answer, None)
            if fragment is None:
                raise ProblemError("no_answer", "The answer ended without a picture. Ask again.")
        except (ProblemError, ThinkerError, TurnError) as error:
            problem = as_problem(error)
            self._metrics.refused(problem.code)
            response = problems.response(problem)
            response.headers[TURN_HEADER] = self.headers[TURN_HEADER]
            await response(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            while fragment is not None:
                await self._hand_on(send, fragment)
                if self._first_frame_s is None:
                    self._first_frame_s = time.monotonic() - self._complete_at
                fragment = await anext(self._answer, None)
            await self._hand_on(send, b"", last=True)
        except _StalledError:
            self._answer.give_up()
            scope["state"]["connection"].abort()

    async def _hand_on(self, send: Send, data: bytes, *, last: bool = False) -> None:
        """Give the connection more, as soon as the client has taken what it was given before."""
        try:
            async with asyncio.timeout(self._stall_s):
                await send({"type": "http.response.body", "body": data, "more_body": not last})
        except TimeoutError:
            raise _StalledError from None
        self._sent_bytes += len(data)


def as_problem(error: LiveTalkError) -> ProblemError:
    """What went wrong with an answer, or a conversation, as the protocol says it."""
    if isinstance(error, ProblemError):
        return error
    code = getattr(error, "code", "failed")
    return ProblemError(
        code if code in KINDS else "failed", str(error), retry_after_s=5 if code == "overloaded" else None
    )


class _StalledError(Exception):
    """The client takes nothing."""


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
