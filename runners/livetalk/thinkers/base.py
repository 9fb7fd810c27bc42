"""The seam between a session and whoever thinks and speaks for the avatar.

A thinker holds no conversation: the session hands it the persona and everything that was said, and gets text and speech
back piece by piece. What was cut off by the user is in the history only as far as it was heard, so a thinker never has
to know about interruptions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from livetalk.base.errors import LiveTalkError

Samples = npt.NDArray[np.float32]


class ThinkerError(LiveTalkError):
    """An answer could not be given or completed.

    Args:
        code: one of ``unreachable``, ``refused`` (by the service's own rules), ``unauthorized``, ``overloaded``,
            ``timed_out``, ``broken`` (the stream ended in mid-answer or was not what the format says), ``unsupported``
            (the thinker can't take this turn, e.g. sound only), ``failed``.
        message: one paragraph that says what to do; never a key, never a whole response.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the past conversation."""

    role: Literal["user", "assistant"]
    text: str | None
    """None where the user only spoke and nobody transcribed it."""
    audio: Samples | None = None
    """The user's own sound, 16 kHz mono."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a voice speaks, where whoever opened the conversation says so; a speaker follows as far as it can."""

    pitch: int | None = None
    """0 (deep) to 99 (high); 50 is the voice's own."""
    rate: int | None = None
    """Words per minute."""


OWN_MANNER = Manner()
"""Of a voice that is told nothing else."""


@dataclass(frozen=True, slots=True)
class Question:
    """A turn of the user, with all a thinker may know."""

    persona: str
    """Who the avatar is: the system prompt; empty for none."""
    history: tuple[Message, ...]
    """Oldest first, as it was heard."""
    text: str | None
    """What the user typed or is known to have said."""
    audio: Samples | None
    """What the user said, 16 kHz mono float32."""
    voice: str | None = None
    """A name the thinker's speaker knows; None for its default."""
    seed: int | None = None
    manner: Manner = OWN_MANNER


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer's text; pieces are joined as they are."""

    text: str


@dataclass(frozen=True, slots=True)
class SpeechDelta:
    """The next piece of the answer's sound; pieces join without a gap."""

    samples: Samples
    """Mono float32 in [-1, 1]; none in a piece that only says where the answer is."""
    rate: int
    """Samples per second, the same throughout an answer."""
    text_end: int | None = None
    """Characters of the answer's text that are spoken once this piece is, where known."""


@dataclass(frozen=True, slots=True)
class HeardDelta:
    """The words of the user's own sound, from a thinker that wrote them down. At most one an answer, never empty, and
    only where the question has no text."""

    text: str


Delta: TypeAlias = TextDelta | SpeechDelta | HeardDelta


@dataclass(frozen=True, slots=True)
class KnownVoice:
    """A voice that can be named in a question."""

    name: str
    description: str = ""
    """For people, in a few words."""
    gender: Literal["female", "male"] | None = None
    """As it sounds; None where that is not known."""


SAMPLE_TEXT = "Hello, it is good to see you. This is how I sound."
"""What a voice says when somebody wants to hear it."""

_SAMPLE_S = 8.0


class Thinker(ABC):
    """Answers questions as a stream of text and speech. Several answers may run at once."""

    name: str = ""
    """Kind and model, for people and for manifests; never an address with a key in it."""

    manners: tuple[str, ...] = ()
    """Which fields of ``Manner`` its speaker follows."""

    async def start(self) -> None:
        """Load or reach the model.

        Raises:
            ThinkerError: it is not there.
        """

    def check_voice(self, voice: str) -> None:
        """Refuse a voice that is known not to exist, before a conversation begins with it.

        Raises:
            ThinkerError: ``unsupported``.
        """

    def voices(self) -> tuple[KnownVoice, ...]:
        """The voices that are known by name, once it is started; none where only a service knows them."""
        return ()

    async def sample(self, voice: str, manner: Manner = OWN_MANNER) -> tuple[Samples, int]:
        """A few words in a voice, for people to choose by: mono float32 in [-1, 1], and samples per second.

        A thinker that can only answer is asked to say them; its answer is cut after 8 s.

        Raises:
            ThinkerError: the voice is unknown, or was not heard.
        """
        question = Question("", (), f"Say only this, and nothing else: {SAMPLE_TEXT}", None, voice, manner=manner)
        pieces: list[Samples] = []
        rate = 0
        async with aclosing(cast(AsyncGenerator[Delta], self.answer(question))) as deltas:
            async for delta in deltas:
                if isinstance(delta, SpeechDelta):
                    pieces.append(delta.samples)
                    rate = delta.rate
                    if sum(map(len, pieces)) >= _SAMPLE_S * rate:
                        break
        if not any(map(len, pieces)):
            raise ThinkerError("failed", f"{self.name} said nothing in the voice {voice[:80]!r}; try it again.")
        return np.concatenate(pieces)[: round(_SAMPLE_S * rate)], rate

    @abstractmethod
    def answer(self, question: Question) -> AsyncIterator[Delta]:
        """The answer, piece by piece, as early as each piece is known.

        Text and speech are the answer's; what the user was heard to say may come before them.

        Closing the iterator (``aclose``) cancels the answer and frees what it holds, at the service too. Time limits
        are the session's.

        Raises:
            ThinkerError: on the first or any later piece; what came before it stands.
        """

    async def stop(self) -> None:
        """Free everything. Called once, also after a failed ``start``."""
