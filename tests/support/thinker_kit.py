"""What tests of thinkers share: whole answers, and errors with what came before them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from livetalk.thinkers.base import Delta, HeardDelta, Question, SpeechDelta, TextDelta, Thinker, ThinkerError


@dataclass
class Told:
    """All that a thinker gave, and the error that ended it if one did."""

    text: str = ""
    heard: list[str] = field(default_factory=list)
    speech: list[SpeechDelta] = field(default_factory=list)
    error: ThinkerError | None = None

    @property
    def samples(self) -> npt.NDArray[np.float32]:
        return np.concatenate([np.zeros(0, np.float32), *(piece.samples for piece in self.speech)])

    @property
    def code(self) -> str | None:
        return None if self.error is None else self.error.code


async def told(thinker: Thinker, question: Question) -> Told:
    """The whole answer."""
    answer = Told()
    try:
        async for delta in thinker.answer(question):
            if isinstance(delta, TextDelta):
                answer.text += delta.text
            elif isinstance(delta, HeardDelta):
                answer.heard.append(delta.text)
            else:
                answer.speech.append(delta)
    except ThinkerError as error:
        answer.error = error
    return answer


@contextlib.asynccontextmanager
async def started(thinker: Thinker) -> AsyncIterator[Thinker]:
    try:
        await thinker.start()
        yield thinker
    finally:
        await thinker.stop()


async def until_sound(answer: AsyncIterator[Delta]) -> SpeechDelta:
    """Read an answer up to its first sound."""
    async for delta in answer:
        if isinstance(delta, SpeechDelta):
            return delta
    raise AssertionError("the answer has no sound")


def asked(text: str | None = "How are you?", audio: npt.NDArray[np.float32] | None = None, **more: object) -> Question:
    """A question with nothing before it."""
    fields = {"persona": "You are Ada, a pilot.", "history": (), "text": text, "audio": audio, **more}
    return Question(**fields)  # type: ignore[arg-type]
