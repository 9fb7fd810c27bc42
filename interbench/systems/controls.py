"""Systems that do one thing only, so that a table shows what a column is worth: controls, no avatars.

What a control scores in a column is what can be had there without a talking person (``still``, ``text-only``), without
listening (``boilerplate``) or without an answer (``echo``).
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

import interbench
from interbench.domain.persona import Persona
from interbench.media.film import AUDIO_RATE, write_film
from interbench.media.pool import MediaPool
from interbench.media.speech import Samples, level, speakable, synthesize
from interbench.systems.capabilities import Capabilities
from interbench.systems.clip import ClipSystem, Reply
from interbench.systems.events import JsonValue, TurnRequest

SIDE = 512
FPS = 2
"""Nothing moves, so that few frames show all there is."""
TAIL_S = 0.5
"""Silence after the last word."""
CARD = (238, 238, 234)
"""Colour of the empty picture."""
BOILERPLATE = (
    "Thank you so much for sharing that with me, I appreciate it. That sounds like a lot, and I completely understand "
    "how you feel. It's a great question, and there are many ways to look at it. Take a deep breath, and remember that "
    "you are doing your best. I'm here for you, and together we will find what works."
)
"""Sixty words that sound well after anything."""


class _Control(ClipSystem):
    """One still picture, one voice."""

    capabilities = Capabilities(
        inputs=frozenset({"text", "image"}),
        reports_text=True,
        needs_reference=True,
        max_duration_s=600.0,
        sizes=((SIDE, SIDE),),
        fps=float(FPS),
        face_policy="any",
        price_usd_per_s=0.0,
        status="Bundled; a control, no avatar.",
    )
    shows_portrait: ClassVar[bool] = True

    def __init__(self) -> None:
        self._pictures: dict[Path, Image.Image] = {}

    @property
    def version(self) -> str:
        return interbench.__version__

    def settings(self) -> Mapping[str, JsonValue]:
        return {}

    @abstractmethod
    def words(self, turn: TurnRequest) -> str:
        """What is said in ``turn``."""

    async def render(self, persona: Persona, turn: TurnRequest, output: Path) -> Reply:
        text = speakable(self.words(turn))
        picture = await self._picture(turn.portrait)
        await asyncio.to_thread(_write, output, picture, text, persona)
        return Reply(text)

    async def _picture(self, portrait: Path | None) -> Image.Image:
        if not self.shows_portrait:
            return Image.new("RGB", (SIDE, SIDE), CARD)
        if portrait is None:
            raise ValueError("This control shows the persona's portrait, and the persona has none.")
        if portrait not in self._pictures:
            async with MediaPool() as media:
                pixels = await media.picture(portrait, (SIDE, SIDE))
            self._pictures[portrait] = Image.fromarray(pixels)
        return self._pictures[portrait]


def _write(output: Path, picture: Image.Image, text: str, persona: Persona) -> None:
    speech = level(synthesize(text, persona.voice, max_s=600.0))
    frames = max(1, -(-(len(speech.samples) + round(TAIL_S * AUDIO_RATE)) * FPS // AUDIO_RATE))
    samples: Samples = np.zeros(frames * AUDIO_RATE // FPS, np.float32)
    samples[: len(speech.samples)] = speech.samples
    write_film(output, (picture for _ in range(frames)), samples, fps=FPS, key_frames_s=60)


def _reference(turn: TurnRequest) -> str:
    if turn.reference is None:
        raise ValueError("This control speaks the scenario's reference reply, and this turn has none.")
    return turn.reference.reply


class Still(_Control):
    """A control: the portrait as it is, and the reference reply spoken over it."""

    def words(self, turn: TurnRequest) -> str:
        return _reference(turn)


class TextOnly(_Control):
    """A control: the reference reply read aloud over an empty picture, as a chat without an avatar would be."""

    shows_portrait = False

    def words(self, turn: TurnRequest) -> str:
        return _reference(turn)


class Echo(_Control):
    """A control: the portrait as it is, and the user's own line spoken back."""

    def words(self, turn: TurnRequest) -> str:
        return turn.text


class Boilerplate(_Control):
    """A control: the portrait as it is, and the same sixty friendly words in every turn."""

    def words(self, turn: TurnRequest) -> str:
        return BOILERPLATE
