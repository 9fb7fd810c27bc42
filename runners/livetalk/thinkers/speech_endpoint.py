"""Text to speech over an OpenAI-compatible `/v1/audio/speech`, streamed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator
from typing import Any

from livetalk.thinkers.base import Samples
from livetalk.thinkers.service import Service
from livetalk.thinkers.sound import SoundReader

_RATE = 24_000
# Three minutes of 16-bit sound at 48 kHz; a sentence has far less.
_LONGEST_BODY = 18_000_000
_RAW_TYPES = ("audio/pcm", "audio/x-pcm", "audio/raw", "application/octet-stream")
_WAV_TYPES = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")


class SpeechEndpoint:
    """Speaks single sentences.

    Args:
        service: where; opened and closed by its owner.
        model: its model.
    """

    def __init__(self, service: Service, model: str) -> None:
        self._service = service
        self._model = model

    async def speak(self, text: str, voice: str | None) -> AsyncGenerator[tuple[Samples, int], None]:
        """The sound of a text as it is made, in pieces with their sampling rate.

        Raises:
            ThinkerError: the service is not there, refuses, breaks off, or sends no sound or one of another format.
        """
        # OpenAI streams these formats in any case; vLLM-Omni does where `stream_format` asks for it.
        request: dict[str, Any] = {
            "model": self._model,
            "input": text,
            "response_format": "pcm",
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
            reader.finish()
            if not made:
                raise self._service.broken("the speech it sent is empty")

    def _reader(self, content_type: str) -> SoundReader:
        kind = content_type.partition(";")[0].strip().lower()
        if kind and kind not in _RAW_TYPES + _WAV_TYPES:
            raise self._service.broken(
                f"it was asked for PCM sound and sent {kind[:60]!r}. Choose a speech service that can stream PCM or WAV"
            )
        rate = re.search(r";\s*rate=\"?(\d{1,6})\b", content_type)
        return SoundReader(int(rate[1]) if rate and kind in _RAW_TYPES else _RATE)
