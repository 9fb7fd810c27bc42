"""One conversation: turns in, streamed answers out; what was seen and said lives on from turn to turn."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

from livetalk.live.answer import Answer, AnswerContext
from livetalk.live.memory import Memory
from livetalk.live.turns import Outcome, TurnError, TurnRecord, UserTurn, VideoFormat
from livetalk.thinkers.base import Manner, Question

__all__ = ["Answer", "Session"]


class Session:
    """One conversation. ``Engine.open`` makes it; all methods belong to one event loop.

    Args:
        context: what answers are made with.
        video: what they look like.
        persona, voice, manner, seed: for the thinker.
        leave: called once, when nothing is at work any more.
    """

    def __init__(
        self,
        context: AnswerContext,
        video: VideoFormat,
        *,
        persona: str,
        voice: str | None,
        manner: Manner,
        seed: int,
        leave: Callable[[Session], Awaitable[None]],
    ) -> None:
        self.id = uuid.uuid4().hex
        self.video = video
        self._context: AnswerContext | None = context
        self._persona, self._voice, self._manner, self._seed = persona, voice, manner, seed
        self._leave = leave
        self._memory = Memory(context.settings.history_audio_s, context.settings.history_chars)
        self._records: list[TurnRecord] = []  # of all turns but the latest
        self._latest: Answer | None = None
        self._past: dict[int, Answer] = {}  # interrupted, and perhaps still on their way to the client
        self._closing: asyncio.Task[None] | None = None

    def respond(self, turn: UserTurn, *, played_s: float | None = None) -> Answer:
        """Begin to answer. A running answer is interrupted first, as ``interrupt`` does.

        Raises:
            TurnError: ``closed``.
        """
        context = self._context
        if context is None or self._closing is not None:
            raise TurnError("closed", "The conversation is closed; open a new one.")
        stage_free = asyncio.Event()
        if self._latest is None:
            stage_free.set()
        else:
            self._latest.interrupt(played_s)
            stage_free = self._latest.stage_free
            self._settle(self._latest)
            self._leave_behind(keep=1)
        question = Question(
            persona=self._persona,
            history=self._memory.messages(),
            text=turn.text,
            audio=turn.audio,
            voice=self._voice,
            seed=self._seed + len(self._records),
            manner=self._manner,
        )
        answer = Answer(len(self._records) + 1, turn, question, context, stage_free)
        self._latest = answer
        return answer

    async def interrupt(self, played_s: float | None = None) -> None:
        """End the running answer, if there is one, after the block in work; its stream ends with a whole fragment.

        Args:
            played_s: seconds of the answer that the client had played; memory keeps what was heard until then. By
                default as many as have passed since its first fragment, and all of an answer that was read to its end.
        """
        if self._latest is not None:
            self._latest.interrupt(played_s)
            await self._latest.ended()

    def record(self, index: int) -> TurnRecord:
        """A turn as it stands, also while it runs.

        Raises:
            KeyError: there is no such turn.
        """
        self._catch_up()
        if 1 <= index <= len(self._records):
            return self._records[index - 1]
        if self._latest is not None and index == self._latest.index:
            return self._latest.record()
        raise KeyError(index)

    @property
    def records(self) -> tuple[TurnRecord, ...]:
        """All turns, oldest first."""
        self._catch_up()
        latest = () if self._latest is None else (self._latest.record(),)
        return (*self._records, *latest)

    async def close(self) -> None:
        """End a running answer and free everything; may be called again."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        latest, self._latest = self._latest, None
        if latest is not None:
            latest.interrupt(None, TurnError("closed", "The conversation was closed during the answer."))
            self._settle(latest)
        await asyncio.gather(*(answer.ended() for answer in self._past.values()))
        self._leave_behind(keep=0)
        self._context = None
        await self._leave(self)

    def _settle(self, answer: Answer) -> None:
        """A turn is past: keep what is worth remembering of it."""
        record = answer.record()
        self._records.append(record)
        self._past[answer.index] = answer
        # What failed before anything was heard would make the thinker fail again, or be asked twice.
        if record.heard_text or record.outcome not in (Outcome.failed, Outcome.timed_out):
            self._memory.add(answer.user_text, answer.said.audio, record.heard_text)

    def _catch_up(self) -> None:
        """What was made of an interrupted answer still reaches the client; memory stays as it was then."""
        for index, answer in self._past.items():
            self._records[index - 1] = replace(answer.record(), heard_text=self._records[index - 1].heard_text)

    def _leave_behind(self, keep: int) -> None:
        """Let go of all past answers but the last few; only those may still be read."""
        self._catch_up()
        while len(self._past) > keep:
            self._past.pop(next(iter(self._past)))
