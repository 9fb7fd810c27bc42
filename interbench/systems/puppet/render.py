"""Makes one clip: text, mood and persona in, MP4 file out."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from interbench.domain.persona import Look, Persona, Voice
from interbench.media.film import AUDIO_RATE, write_film
from interbench.media.speech import Samples, Speech, level, synthesize
from interbench.systems.puppet.casting import drifted
from interbench.systems.puppet.figure.sprites import FigurePainter
from interbench.systems.puppet.moods import EXPRESSIONS, OPPOSITES, mood_of
from interbench.systems.puppet.motion import FPS, lead_s, poses
from interbench.systems.puppet.staging import Staging, touched

MAX_REPLY_S = 600.0
"""Longest speech of one reply in seconds; longer replies are refused, never cut."""
_FIGURES = 12
"""How many people are kept ready to be drawn, at some 25 MB each."""


@dataclass(frozen=True, slots=True)
class Clip:
    """What was rendered. Times in seconds from the first frame."""

    frames: int
    speech_start_s: float
    speech_s: float
    mood: str


def render(
    path: Path, persona: Persona, text: str, *, mood: str, seed: int, turn: int = 1, staging: Staging | None = None
) -> Clip:
    """Write the clip in which ``persona`` says ``text``. The same arguments give the same bytes.

    Raises:
        interbench.media.speech.SpeechError: the voice is unknown, or the text is longer than :data:`MAX_REPLY_S`.
    """
    staging = staging or Staging()
    key = mood_of(mood)
    if touched(turn, staging.wrong_mood):
        key = OPPOSITES[key]
    expression = EXPRESSIONS[key]
    voice = _paced(persona.voice, 1.12 if staging.monotone else expression.pace)
    pitch_range = 8 if staging.monotone else expression.pitch_range
    speech = level(synthesize(text, voice, pitch_range=pitch_range, max_s=MAX_REPLY_S))
    sequence = poses(speech, key, seed, staging.manner, affect=staging.affect)
    drift = staging.drift if touched(turn, staging.drifting) else frozenset()
    shown, look = drifted(persona, turn, drift)
    figure = _figure(shown.model_dump_json(include={"id", "name", "age", "gender", "appearance", "background"}), look)
    lead = lead_s(seed, staging.manner)

    def frames() -> Iterator[Image.Image]:
        if staging.blank or staging.frozen:
            still = Image.new("RGB", (512, 512)) if staging.blank else figure.frame(sequence[0])
            yield from (still for _ in sequence)
        else:
            yield from (figure.frame(pose) for pose in sequence)

    samples = _soundtrack(speech, lead, len(sequence), silent=staging.audio == "silence")
    write_film(path, frames(), samples, fps=FPS, faststart=not staging.truncated)
    if staging.truncated:
        os.truncate(path, path.stat().st_size // 2)
    return Clip(len(sequence), lead, speech.duration_s, key)


@functools.lru_cache(maxsize=_FIGURES)
def _figure(persona: str, look: Look) -> FigurePainter:
    return FigurePainter(Persona.model_validate_json(persona), look)


def _paced(voice: Voice, pace: float) -> Voice:
    return voice.model_copy(update={"rate": min(300, max(80, round(voice.rate * pace)))})


def _soundtrack(speech: Speech, lead: float, frames: int, *, silent: bool) -> Samples:
    """The speech after a silent ``lead``, exactly as long as the picture, at :data:`AUDIO_RATE`."""
    whole = np.zeros(frames * AUDIO_RATE // FPS, np.float32)
    if not silent and len(speech.samples):
        start = round(lead * AUDIO_RATE)
        part = speech.samples[: len(whole) - start]
        whole[start : start + len(part)] = part
    return whole
