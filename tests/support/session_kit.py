"""Conversations in this process, small enough to hold hundreds of turns a minute, with a thinker that does as told."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from livetalk.live.engine import Engine, LiveSettings
from livetalk.render.config import DiTConfig, Size, StreamConfig, TextConfig, VAEConfig, size
from livetalk.render.pipeline import Models, random_models
from livetalk.thinkers.base import Delta, Question, SpeechDelta, TextDelta, Thinker

RATE = 24_000
STREAM = StreamConfig(latent_height=4, latent_width=4, position="bounded", steps=2)

Step = Delta | BaseException | asyncio.Event | None
"""A piece; an error to raise; an event to wait for; None to wait for ever."""


def pocket_models() -> Models:
    """All networks, with random weights, for pictures of 32 x 32."""
    tiny = size("tiny")
    dit = DiTConfig(
        dim=24,
        num_heads=1,
        num_layers=4,
        ffn_dim=32,
        text_dim=8,
        freq_dim=16,
        audio_hidden=8,
        audio_feat_dim=tiny.speech.feature_dim,
    )
    text = TextConfig(vocab_size=512, dim=8, dim_attn=8, dim_ffn=8, num_heads=1, num_layers=1)
    return random_models(
        Size("pocket", dit, VAEConfig(dim=2, dim_mult=(1, 1, 1, 1), num_res_blocks=0), text, tiny.speech, STREAM)
    )


def voice(seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """Something like a voice: a swelling hum and a little noise, audible from its first sample on."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    hum = np.sin(2 * np.pi * (140 + 20 * seed) * time_s) * (0.3 + 0.2 * np.sin(2 * np.pi * 3 * time_s))
    noise = np.random.default_rng(seed).standard_normal(len(time_s))
    return (hum + 0.02 * noise).astype(np.float32)


def speech(seconds: float, seed: int = 0, text_end: int | None = None) -> SpeechDelta:
    return SpeechDelta(voice(seconds, seed), RATE, text_end)


class TellingThinker(Thinker):
    """Goes through the steps it is given for each turn; without steps, it says a second of something."""

    name = "telling"

    def __init__(self, *answers: Iterable[Step]) -> None:
        self.answers = [list(answer) for answer in answers]
        self.questions: list[Question] = []
        self.asked = asyncio.Event()
        self.closed = 0
        """Answers that are over, in whatever way."""
        self.over = asyncio.Event()
        self.stopped = False

    async def answer(self, question: Question) -> AsyncIterator[Delta]:
        index = len(self.questions)
        self.questions.append(question)
        self.asked.set()
        steps: Sequence[Step] = (
            self.answers[index] if index < len(self.answers) else [TextDelta("Well."), speech(1.0, index)]
        )
        try:
            for step in steps:
                if isinstance(step, BaseException):
                    raise step
                if step is None:
                    await asyncio.Event().wait()
                elif isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield step
        finally:
            self.closed += 1
            self.over.set()

    async def stop(self) -> None:
        self.stopped = True


def make_engine(models: Models, thinker: Thinker, *, clock: Callable[[], float] | None = None, **live: Any) -> Engine:
    settings = replace(LiveSettings(STREAM, encoder="libx264"), **live)
    return Engine(models, settings, thinker, **({} if clock is None else {"clock": clock}))


async def read(answer: AsyncIterator[bytes]) -> list[bytes]:
    """All pieces of an answer."""
    return [piece async for piece in answer]


def clip(pieces: Iterable[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Frames [T,H,W,3] and sound of a stream, whole or as much of it as there is."""
    content = b"".join(pieces)
    with av.open(io.BytesIO(content), "r") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(io.BytesIO(content), "r") as container:
        sound = [frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)]
    return np.stack(frames), np.concatenate(sound)
