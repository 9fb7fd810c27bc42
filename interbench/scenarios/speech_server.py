"""A speech server with OpenAI's interface as the voice of a set's users, told their mood in words."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

import httpx

from interbench.base.errors import UsageError
from interbench.base.http import (
    Backoff,
    BodyTooLongError,
    asked_wait,
    hopeless,
    make_client,
    read_body,
    redirect,
    trouble,
)
from interbench.base.remote import Secret, base_url, excerpt
from interbench.base.scratch import Scratch
from interbench.domain.persona import Voice
from interbench.media.speech import Speech, SpeechError, read_wav

_ATTEMPTS = 5
_MAX_BYTES = 64 * 2**20


class SpeechServer:
    """``POST URL/v1/audio/speech`` with ``model``, ``voice``, ``input``, ``instructions`` and ``response_format`` wav.

    ``instructions`` says who speaks and how they feel; servers that know no such field are expected to pass it over, as
    OpenAI's own do with models that take none.

    Args:
        url: the server's address.
        model: the model's name there.
        voices: names of voices there; every speaker (:class:`~interbench.domain.persona.Voice`) always gets the same.
        key_env: name of the environment variable that holds the server's key; None for no key.
        timeout_s: for one line.

    Raises:
        UsageError: the address or the key's variable is wrong, or the model or the voices are missing.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None,
        voices: Sequence[str],
        key_env: str | None = None,
        timeout_s: float = 120.0,
    ) -> None:
        if not model or not voices:
            raise UsageError("A speech server needs --model, and --voices with the names of its voices.")
        self._url = base_url(url) + "/v1/audio/speech"
        self._model = model
        self._voices = tuple(voices)
        self._secret = Secret(key_env)
        self._timeout_s = timeout_s

    @property
    def label(self) -> str:
        """Names everything that shapes its voice; no address, because the same model may lie elsewhere tomorrow."""
        return f"speech server: {self._model} ({', '.join(self._voices)})"

    def voice_of(self, voice: Voice) -> str:
        """The server's voice for a speaker."""
        digest = hashlib.sha256(voice.model_dump_json().encode()).digest()
        return self._voices[int.from_bytes(digest[:4], "big") % len(self._voices)]

    def __call__(self, text: str, voice: Voice, mood: str) -> Speech:
        """Speak one line; no phonemes and words are known.

        Raises:
            SpeechError: the server gives no sound.
        """
        data = asyncio.run(self._ask(self._body(text, voice, mood)))
        with Scratch("speech") as scratch:
            file = Path(scratch.path) / "speech.wav"
            file.write_bytes(data)
            return read_wav(file)

    def _body(self, text: str, voice: Voice, mood: str) -> dict[str, str]:
        who = f"The speaker is {voice.description}. " if voice.description else ""
        return {
            "model": self._model,
            "voice": self.voice_of(voice),
            "input": text,
            "instructions": f"{who}Mood: {mood}. Spoken in conversation, not read out.",
            "response_format": "wav",
        }

    async def _ask(self, body: dict[str, str]) -> bytes:
        problem, backoff = "", Backoff(heeded_s=self._timeout_s)
        async with make_client(self._timeout_s, headers=self._secret.headers()) as client:
            for attempt in range(_ATTEMPTS):
                asked = None
                try:
                    async with client.stream("POST", self._url, json=body) as response:
                        data = await read_body(response, _MAX_BYTES)
                except BodyTooLongError as error:
                    raise SpeechError(f"The speech server at {self._url} sends too much: {error}.") from None
                except (httpx.RequestError, httpx.InvalidURL) as error:
                    problem = f"can't be reached ({trouble(error)})"
                    if hopeless(error):
                        break
                else:
                    if elsewhere := redirect(response):
                        raise SpeechError(f"The speech server at {self._url}: {elsewhere}")
                    if response.status_code == 200:
                        return data
                    said = self._secret.redact(excerpt([data.decode(errors="replace")]))
                    problem, asked = f"answered {response.status_code}: {said}", asked_wait(response.headers)
                    if response.status_code not in (408, 429) and response.status_code < 500:
                        break
                if attempt + 1 < _ATTEMPTS:
                    await asyncio.sleep(backoff.pause(asked) or 0.0)
        raise SpeechError(f"The speech server at {self._url} {problem}. The same command goes on from here.")
