"""Text to speech over an OpenAI-compatible ``/v1/audio/speech``, streamed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from livetalk.thinkers.base import Samples, ThinkerError
from livetalk.thinkers.compressed import SpeechFileReader
from livetalk.thinkers.service import ServiceClient
from livetalk.thinkers.sound import RAW_KINDS, SoundReader

if TYPE_CHECKING:
    from livetalk.thinkers.mp3 import Mp3Reader

_RATE = 24_000
# Three minutes of 16-bit sound at 48 kHz; a sentence has far less.
_LONGEST_BODY = 18_000_000
_RAW_TYPES = ("audio/pcm", "audio/x-pcm", "audio/raw", "audio/l16", "application/octet-stream")
_BYTE_ORDERS = {
    **dict.fromkeys(("little", "little-endian", "le", "littleendian", "lsb"), False),
    **dict.fromkeys(("big", "big-endian", "be", "bigendian", "msb", "network"), True),
}
_SAMPLE_FORMAT = re.compile(r"(?:pcm_?)?(?P<kind>s|f|i|int|float|linear)?(?P<bits>16|24|32|64)(?P<order>le|be)?")
_IGNORED = ("charset", "q")
_WAV_TYPES = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")
_MP3_TYPES = ("audio/mpeg", "audio/mp3", "audio/x-mp3")
_FILE_TYPES = ("audio/ogg", "application/ogg", "audio/opus", "audio/vorbis", "audio/flac", "audio/x-flac")
# As they are asked for, the next where the service refuses one.
_FORMS = ("pcm", "wav", "mp3")


class SpeechEndpoint:
    """Speaks single sentences.

    Args:
        service: where; opened and closed by its owner.
        model: its model.
    """

    def __init__(self, service: ServiceClient, model: str) -> None:
        self._service = service
        self._model = model
        self._form = _FORMS[0]

    async def speak(self, text: str, voice: str | None) -> AsyncGenerator[tuple[Samples, int], None]:
        """The sound of a text as it is made, in pieces with their sampling rate.

        Raises:
            ThinkerError: the service is not there, refuses, breaks off, or sends no sound or one of another format.
        """
        while True:
            form = self._form
            try:
                async with contextlib.aclosing(self._spoken(text, voice, form)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except ThinkerError as error:
                # Not every service can make every format; one that refuses has sent no sound yet.
                named = error.code in ("failed", "unsupported") and re.search("format|pcm|wav|mp3", str(error), re.I)
                if not named:
                    raise
                further = _FORMS[_FORMS.index(form) + 1 :]
                self._form = (*further, _FORMS[0])[0]
                if not further:
                    raise

    async def _spoken(self, text: str, voice: str | None, form: str) -> AsyncGenerator[tuple[Samples, int], None]:
        # OpenAI streams these formats in any case; vLLM-Omni does where ``stream_format`` asks for it.
        request: dict[str, Any] = {
            "model": self._model,
            "input": text,
            "response_format": form,
            "stream_format": "audio",
        }
        if voice:
            request["voice"] = voice
        async with self._service.post("/v1/audio/speech", json=request) as response:
            reader = self._reader(response.headers.get("content-type", ""))
            taken, made = 0, 0
            async with contextlib.aclosing(self._service.pieces(response)) as pieces:
                async for piece in pieces:
                    taken += len(piece)
                    if taken > _LONGEST_BODY:
                        raise self._service.broken("a sentence becomes minutes of sound")
                    samples = reader.feed(piece)
                    made += len(samples)
                    if len(samples):
                        yield samples, reader.rate
            last = reader.finish()
            if len(last):
                made += len(last)
                yield last, reader.rate
            if not made:
                raise self._service.broken("the speech it sent is empty")

    def _reader(self, content_type: str) -> SpeechFileReader | Mp3Reader:
        kind = content_type.partition(";")[0].strip().lower()
        if kind in _MP3_TYPES:
            from livetalk.thinkers.mp3 import Mp3Reader  # its decoder is a library that few need

            return Mp3Reader()
        if kind and kind not in _RAW_TYPES + _WAV_TYPES + _FILE_TYPES:
            raise self._service.broken(
                f"it was asked for {self._form} and sent {kind[:60]!r}. Choose a service that makes PCM, WAV, MP3, Ogg "
                "or FLAC"
            )
        if kind in _FILE_TYPES + _WAV_TYPES:
            return SpeechFileReader(SoundReader())
        try:
            return SpeechFileReader(_raw_reader(kind, content_type))
        except ValueError as error:
            raise self._service.broken(f"it was asked for PCM and sent {content_type[:120]!r}, {error}") from None


def _raw_reader(kind: str, content_type: str) -> SoundReader:
    """A reader of raw samples as their media type describes them (RFC 2586 for ``audio/L16``).

    Raises:
        ValueError: they have a form that is not read here, or that nobody knows.
    """
    rate, channels = _RATE, 1
    letters, wide, big = "i", 2, kind == "audio/l16"
    for name, value in _parameters(content_type):
        if name in _IGNORED:
            continue
        match name:
            case "rate" | "samplerate" | "sample_rate" | "sample-rate":
                rate = _count(name, value, 192_000)
            case "channels" | "channel" | "channel_count":
                channels = _count(name, value, 8)
            case "bits" | "bitdepth" | "bit_depth" | "bits_per_sample" | "samplesize" | "sample_size":
                wide = _count(name, value, 64) // 8
            case "endian" | "endianness" | "byteorder" | "byte_order":
                if value not in _BYTE_ORDERS:
                    raise ValueError(f"whose {name} {value[:40]!r} nobody knows")
                big = _BYTE_ORDERS[value]
            case "format" | "encoding" | "codec" | "sample_format" if found := _SAMPLE_FORMAT.fullmatch(value):
                letters, wide = ("f" if found["kind"] in ("f", "float") else "i"), int(found["bits"]) // 8
                big = found["order"] == "be" if found["order"] else big
            case _:
                raise ValueError(f"whose parameter {name[:40]}={value[:40]!r} is not known here")
    form = f"{'>' if big else '<'}{letters}{wide}"
    if form not in RAW_KINDS:
        raise ValueError(f"samples of {8 * wide} bits, which are not read here")
    return SoundReader(rate, channels, form)


def _parameters(content_type: str) -> list[tuple[str, str]]:
    """Names and values of a media type's parameters, both in lower case."""
    found = re.findall(r';\s*([^\s=;]+)\s*=\s*("[^"]*"|[^;]*)', content_type)
    return [(name.lower(), value.strip().strip('"').strip().lower()) for name, value in found]


def _count(name: str, value: str, most: int) -> int:
    if not re.fullmatch(r"[1-9]\d{0,6}", value, re.ASCII) or int(value) > most:
        raise ValueError(f"whose {name} {value[:40]!r} is no number of them")
    return int(value)
