"""Qwen3-Omni behind vLLM-Omni (``vllm serve Qwen/Qwen3-Omni-30B-A3B-Instruct --omni``): hears, thinks and speaks.

The stream is vLLM-Omni's own dialect of chat completions (read in its release 0.30): each chunk names its ``modality``,
and audio chunks carry base64 in ``delta.content``, with ``audio_metadata`` beside the delta. Services that put sound
into ``delta.audio.data`` and its words into ``delta.audio.transcript``, as OpenAI does, are understood as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from livetalk.thinkers.asking import until_it_fits
from livetalk.thinkers.base import Delta, KnownVoice, Question, SpeechDelta, TextDelta, Thinker, ThinkerError
from livetalk.thinkers.foreign import WholeCharacters, decoded
from livetalk.thinkers.messages import chat_messages
from livetalk.thinkers.omni_settings import VOICES
from livetalk.thinkers.service import SILENCE_S, ServiceClient, read_json
from livetalk.thinkers.sound import SoundReader

KEY_VARIABLE = "LIVETALK_THINKER_KEY"

# A server that does not stream its talker sends a whole answer's sound in one event: 24 MiB hold six minutes.
_LONGEST_EVENT = 25_165_824
_LONGEST_STREAM = 134_217_728
_RATE = 24_000


class VllmOmniThinker(Thinker):
    """Qwen3-Omni behind vLLM-Omni's streaming API; hears the user's voice itself.

    The user's own sound goes to the model, with the text beside it where there is some; earlier turns go as text. A
    question's seed seeds the thinker alone: the talker draws with the seed of the server's own configuration.

    Args:
        url: root of its API, e.g. ``http://127.0.0.1:8091/v1``.
        model: the name it serves the model under; None if it serves one.
        voice: the speaker for questions that name none: Ethan, Chelsie or Aiden; None for the model's default.
        silence_s: seconds that the server may send nothing.

    Raises:
        ThinkerError: ``failed``; the address or the key is not one. ``unsupported``; Qwen3-Omni has no such voice.
    """

    def __init__(
        self, url: str, *, model: str | None = None, voice: str | None = None, silence_s: float = SILENCE_S
    ) -> None:
        self.name = f"vllm-omni {model}" if model else "vllm-omni"
        self._service = ServiceClient("vLLM-Omni server", url, KEY_VARIABLE, silence_s=silence_s)
        self._wanted = model
        self._model: str | None = None
        self._voice = voice
        if voice:
            self.check_voice(voice)

    async def start(self) -> None:
        await self._service.open()
        self._model = await self._service.choose_model(self._wanted, "--set thinker.model=NAME")
        self.name = f"vllm-omni {self._model}"

    async def stop(self) -> None:
        await self._service.close()

    def check_voice(self, voice: str) -> None:
        names = [known.name for known in self.voices()]
        if names and voice.title() not in names:
            raise ThinkerError("unsupported", f"Qwen3-Omni has no voice {voice[:80]!r}. It has {', '.join(names)}.")

    def voices(self) -> tuple[KnownVoice, ...]:
        # Only the published model's are known here; another model's are the server's to check.
        return VOICES if "qwen3-omni" in (self._model or self._wanted or "").lower() else ()

    async def answer(self, question: Question) -> AsyncIterator[Delta]:
        async with contextlib.aclosing(until_it_fits(self._told, question)) as deltas:
            async for delta in deltas:
                yield delta

    async def _told(self, question: Question) -> AsyncGenerator[Delta, None]:
        request: dict[str, Any] = {
            "model": self._model,
            "messages": chat_messages(question),
            "modalities": ["text", "audio"],
            "audio": {"format": "pcm"},
            "stream": True,
        }
        if voice := question.voice or self._voice:
            request["speaker"] = voice
        if question.seed is not None:
            request["seed"] = question.seed
        reader = _Answer(self._service)
        async with self._service.post("/v1/chat/completions", json=request) as response:
            limits = {"longest": _LONGEST_EVENT, "total": _LONGEST_STREAM}
            async with contextlib.aclosing(self._service.events(response, **limits)) as events:
                async for event in events:
                    if event == "[DONE]":
                        reader.finish()
                        return
                    for delta in reader.read(event):
                        yield delta
        if not reader.ended:
            raise self._service.broken("its stream ended before the answer did")
        # Some versions and proxies leave the last mark out; the answer has said why it ends.
        reader.finish()


class _Answer:
    """Reads the chunks of one answer."""

    def __init__(self, service: ServiceClient) -> None:
        self._service = service
        self._characters = WholeCharacters()
        self._sound: SoundReader | None = None
        self._rate: int | None = None
        self.ended = False
        """Whether the latest chunk has said why the answer ends."""

    def read(self, event: str) -> list[Delta]:
        """What a chunk adds to the answer."""
        chunk = read_json(event)
        self._service.check_chunk(chunk)
        choices = chunk.get("choices")
        if not choices:
            return []
        choice = choices[0] if isinstance(choices, list) else None
        delta = (choice.get("delta") or {}) if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(delta, dict):
            raise self._service.broken("a chunk of its stream is not one of a chat completion")
        self._service.check_finish(choice.get("finish_reason"))
        self.ended = choice.get("finish_reason") is not None
        modality = chunk.get("modality") or "text"
        content, sound = delta.get("content"), delta.get("audio")
        if modality == "audio":
            return self._read_sound(content, choice.get("audio_metadata"))
        if not isinstance(sound, dict):
            sound = {}
        text = "".join(part for part in (content, sound.get("transcript")) if isinstance(part, str))
        text = self._characters.feed(text) if modality == "text" else ""
        return [*([TextDelta(text)] if text else []), *self._read_sound(sound.get("data"), None)]

    def finish(self) -> None:
        """Check that the answer that has ended is one."""
        if self._sound is not None:
            self._sound.finish()
        if self._rate is None:
            raise self._service.broken(
                "the answer has no sound; serve the model with its talker (`vllm serve … --omni`)"
            )

    def _read_sound(self, encoded: object, metadata: object) -> list[Delta]:
        if encoded is None or encoded == "":
            return []
        try:
            data = decoded(encoded if isinstance(encoded, str) else "?")
        except ValueError:
            raise self._service.broken("a piece of its sound is not base64") from None
        described = metadata if isinstance(metadata, dict) else {}
        if described.get("format", "pcm") not in ("pcm", "pcm16", "s16le", "pcm_s16le", "wav"):
            raise self._service.broken("its sound has another format than the PCM it was asked for")
        # Each piece is a file of its own, or goes on with the sound before it: raw, or a file that is not over.
        if data[:4] == b"RIFF" or self._sound is None or self._sound.complete:
            if self._sound is not None:
                self._sound.finish()
            self._sound = self._reader(described)
        samples = self._sound.feed(data)
        if not len(samples):
            return []
        if self._rate not in (None, self._sound.rate):
            raise self._service.broken("its sound changes its sampling rate")
        self._rate = self._sound.rate
        return [SpeechDelta(samples, self._rate)]

    def _reader(self, described: dict[str, Any]) -> SoundReader:
        rate, channels = described.get("sample_rate_hz", self._rate or _RATE), described.get("channels", 1)
        if not isinstance(rate, int) or not isinstance(channels, int):
            raise self._service.broken("it does not describe its sound in numbers")
        return SoundReader(rate, channels)
