"""What clients send, read into what the routes need.

Nothing here uses a file's name, opens a path or an address, or decodes media (``livetalk.server.media`` does,
elsewhere).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import soxr
from starlette.requests import Request

from livetalk.base.rates import AUDIO_RATE
from livetalk.server.forms import Rule, content_type, in_words, read_fields, read_query, receive
from livetalk.server.limits import Limits
from livetalk.server.problems import ProblemError
from livetalk.sound.files import Samples
from livetalk.thinkers.base import Manner

_L16_RATES = range(8_000, 96_001)
_L16_CHANNELS = range(1, 9)
_MAX_SEED = 2**63 - 1
_MAX_PLAYED_S = 86_400.0
MOST_PITCH = 99
LEAST_RATE, MOST_RATE = 80, 450
_NUMBER_CHARS = 32
_IN_VOICES = " _+.-"


@dataclass(frozen=True, slots=True)
class Opening:
    """What a conversation is opened with."""

    image: bytes | None
    prompt: str | None
    persona: str
    voice: str | None
    manner: Manner
    seed: int


@dataclass(frozen=True, slots=True)
class TurnUpload:
    """A user's turn as it was sent: ``audio`` is a file, ``samples`` is sound that needed no decoding."""

    text: str | None
    audio: bytes | None
    samples: Samples | None
    played_s: float | None


async def read_opening(request: Request, limits: Limits) -> Opening:
    """
    Raises:
        ProblemError: the body is not acceptable.
    """
    read_query(request, {})
    fields = await read_fields(
        request,
        {
            "image": Rule("picture", limits.picture_bytes),
            "prompt": Rule("text", limits.prompt_chars),
            "persona": Rule("text", limits.persona_chars),
            "voice": Rule("text", limits.voice_chars),
            "pitch": Rule("text", _NUMBER_CHARS),
            "rate": Rule("text", _NUMBER_CHARS),
            "seed": Rule("text", _NUMBER_CHARS),
        },
        limits,
    )
    seed, pitch, rate = (fields.text(name) for name in ("seed", "pitch", "rate"))
    return Opening(
        image=fields.file("image"),
        prompt=fields.text("prompt"),
        persona=fields.text("persona") or "",
        voice=None if (voice := fields.text("voice")) is None else voice_name(voice, limits),
        manner=_manner(pitch, rate),
        seed=0 if seed is None else _whole_number("seed", seed, _MAX_SEED),
    )


def read_manner(request: Request) -> Manner:
    """How a voice is to be heard, from the query.

    Raises:
        ProblemError: the query is not acceptable.
    """
    query = read_query(request, {"pitch": _NUMBER_CHARS, "rate": _NUMBER_CHARS})
    return _manner(query.get("pitch"), query.get("rate"))


def _manner(pitch: str | None, rate: str | None) -> Manner:
    return Manner(
        None if pitch is None else _whole_number("pitch", pitch, MOST_PITCH),
        None if rate is None else _whole_number("rate", rate, MOST_RATE, least=LEAST_RATE),
    )


async def read_turn(request: Request, limits: Limits) -> TurnUpload:
    """A turn in fields, or sound as the body itself.

    Raises:
        ProblemError: the body is not acceptable, or says nothing.
    """
    kind, options = content_type(request)
    if kind.startswith("audio/"):
        query = read_query(request, {"text": limits.text_chars, "played_s": _NUMBER_CHARS})
        text, played = query.get("text"), _seconds("played_s", query.get("played_s"))
        if kind == "audio/l16":
            samples = await _read_l16(request, options, limits)
            return TurnUpload(text, None, samples, played)
        return TurnUpload(text, await _read_sound_file(request, limits), None, played)
    read_query(request, {})
    fields = await read_fields(
        request,
        {
            "text": Rule("text", limits.text_chars),
            "audio": Rule("sound", limits.body_bytes),
            "played_s": Rule("text", _NUMBER_CHARS),
        },
        limits,
    )
    text, audio = fields.text("text"), fields.file("audio")
    if text is None and audio is None:
        raise ProblemError("empty_turn", "The turn is empty. Send a `text`, an `audio` file, or both.")
    return TurnUpload(text, audio, None, _seconds("played_s", fields.text("played_s")))


async def read_played(request: Request, limits: Limits) -> float | None:
    """The field ``played_s`` of a request that may also have no body.

    Raises:
        ProblemError: the body is not acceptable.
    """
    read_query(request, {})
    fields = await read_fields(request, {"played_s": Rule("text", _NUMBER_CHARS)}, limits)
    return _seconds("played_s", fields.text("played_s"))


async def _read_l16(request: Request, options: Mapping[str, str], limits: Limits) -> Samples:
    """``audio/L16`` (RFC 2586): 16-bit samples, high byte first, with the parameters rate and channels."""
    rate, channels = options.get("rate", ""), options.get("channels", "1")
    if not (rate.isascii() and rate.isdigit() and len(rate) < 7 and int(rate) in _L16_RATES):
        raise ProblemError(
            "unsupported_media_type", "audio/L16 needs a rate, e.g. `audio/L16;rate=16000`, of 8000 to 96000."
        )
    if not (channels.isascii() and channels.isdigit() and len(channels) < 3 and int(channels) in _L16_CHANNELS):
        raise ProblemError("unsupported_media_type", "audio/L16 can have 1 to 8 channels here.")
    content = bytearray()
    width = 2 * int(channels)
    most = math.floor(limits.turn_audio_s * int(rate)) * width
    seconds = limits.body_s + limits.turn_audio_s
    await receive(request, most, seconds, content.extend, excess=_audio_too_long(limits))
    if not content or len(content) % width:
        raise ProblemError("bad_audio", "The body does not hold a whole number of samples of 16 bits, or none at all.")
    samples = np.frombuffer(content, ">i2").reshape(-1, int(channels)).mean(axis=1, dtype=np.float32) / 32768
    if int(rate) == AUDIO_RATE:
        return np.ascontiguousarray(samples, np.float32)
    resampled: Samples = await asyncio.to_thread(soxr.resample, samples, int(rate), AUDIO_RATE, quality="HQ")
    return resampled


async def _read_sound_file(request: Request, limits: Limits) -> bytes:
    content = bytearray()
    excess = ProblemError(
        "body_too_large",
        f"The sound is larger than {in_words(limits.body_bytes)}; besides, a turn may last at most "
        f"{limits.turn_audio_s:g} seconds. Send less, or a compressed format.",
    )
    await receive(request, limits.body_bytes, limits.body_s + limits.turn_audio_s, content.extend, excess=excess)
    if not content:
        raise ProblemError("empty_turn", "The turn is empty: the body holds no sound.")
    return bytes(content)


def _audio_too_long(limits: Limits) -> ProblemError:
    return ProblemError(
        "audio_too_long", f"A turn may last at most {limits.turn_audio_s:g} seconds. Say it in several."
    )


def voice_name(name: str, limits: Limits) -> str:
    """What may be the name of a voice.

    Raises:
        ProblemError: ``bad_field``.
    """
    if len(name) > limits.voice_chars or not all(letter.isalnum() or letter in _IN_VOICES for letter in name):
        raise ProblemError(
            "bad_field",
            f"The field `voice` may hold letters, digits, spaces and {' '.join(_IN_VOICES.strip())} only, and at most "
            f"{limits.voice_chars} characters.",
        )
    return name


def _whole_number(name: str, text: str, most: int, least: int = 0) -> int:
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
        raise ProblemError("bad_field", f"The field `{name}` must be a whole number from {least} to {most}.")
    return int(text)


def _seconds(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _MAX_PLAYED_S:
        raise ProblemError("bad_field", f"The field `{name}` must be a number of seconds from 0 to {_MAX_PLAYED_S:g}.")
    return value
