"""The thinker's voices, as a client lists and hears them."""

from __future__ import annotations

import asyncio

from livetalk.base.errors import LiveTalkError
from livetalk.server.answers import as_problem
from livetalk.server.problems import ProblemError
from livetalk.thinkers.base import OWN_MANNER, KnownVoice, Manner, Thinker
from livetalk.thinkers.sound import to_wav

_SAMPLE_S = 30.0
_KEPT = 64


class VoiceSamples:
    """Has each voice speak once, when somebody first wants to hear it; what the last 64 said is kept.

    One voice speaks at a time, so that samples never crowd out conversations.

    Args:
        thinker: started before a voice is asked for.
    """

    def __init__(self, thinker: Thinker) -> None:
        self._thinker = thinker
        self._kept: dict[tuple[str, Manner], bytes] = {}
        self._speaking = asyncio.Lock()

    @property
    def known(self) -> tuple[KnownVoice, ...]:
        """The voices that the thinker knows by name; none where only its service knows them."""
        return self._thinker.voices()

    async def sample(self, name: str, manner: Manner = OWN_MANNER) -> bytes:
        """A few words in a voice, as a WAV file.

        Args:
            name: one of the known voices, or another that the thinker does not refuse.
            manner: how it speaks; what the thinker's speaker does not follow changes nothing.

        Raises:
            ProblemError: what the thinker ran into (``unsupported`` where it has no such voice), or ``timed_out``.
        """
        async with self._speaking:
            followed = Manner(
                manner.pitch if "pitch" in self._thinker.manners else None,
                manner.rate if "rate" in self._thinker.manners else None,
            )
            key = (name, followed)
            sound = self._kept.pop(key, None)
            if sound is None:
                sound = await self._spoken(name, followed)
            self._kept[key] = sound  # the latest last
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
            return sound

    async def _spoken(self, name: str, manner: Manner) -> bytes:
        try:
            self._thinker.check_voice(name)
            async with asyncio.timeout(_SAMPLE_S):
                samples, rate = await self._thinker.sample(name, manner)
        except TimeoutError:
            raise ProblemError("timed_out", f"The voice was not heard within {_SAMPLE_S:.0f} s; try again.") from None
        except LiveTalkError as error:
            raise as_problem(error) from None
        return to_wav(samples, rate)
