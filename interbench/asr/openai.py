"""A transcriber behind an OpenAI-compatible endpoint, ``/v1/audio/transcriptions``."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
import numpy as np

from interbench.asr.base import Transcriber, Utterance
from interbench.asr.sound import RATE, nothing_to_hear
from interbench.errors import TranscriberError
from interbench.records import Transcript, Word
from interbench.remote import Secret, base_url, excerpt, retry_after

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class OpenAITranscriber(Transcriber):
    """Sends each utterance as a 16 kHz WAV and takes text and word times.

    Args:
        url: base address of the server.
        model: the name of its model.
        api_key_env: name of the environment variable that holds the key.
        language: of the speech, ISO 639-1.
        batch_size: requests in flight.
        timeout_s: of one request.
        attempts: times that a request may fail before its utterance gets ``error``.
        patience_s: longest wait that a busy server may ask for.
        sleep: how to wait.

    Raises:
        UsageError: the address is wrong or the key is not in the environment.
    """

    needs_audio = True

    def __init__(
        self,
        url: str,
        model: str,
        api_key_env: str | None = None,
        *,
        language: str = "en",
        batch_size: int = 8,
        timeout_s: float = 300.0,
        attempts: int = 5,
        patience_s: float = 120.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url = base_url(url)
        self.label = model.rstrip("/").rsplit("/", 1)[-1]
        self.batch_size = batch_size
        self._model = model
        self._language = language
        self._secret = Secret(api_key_env)
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._patience_s = patience_s
        self._sleep = sleep
        self._client: httpx.AsyncClient | None = None
        self._verbose = True

    def identity(self) -> Mapping[str, Any]:
        return {
            "transcriber": "openai",
            "version": 1,
            "url": self.url,
            "model": self._model,
            "language": self._language,
        }

    async def start(self) -> None:
        self._client = httpx.AsyncClient(timeout=self._timeout_s, headers=self._secret.headers())
        # A tenth of a second of silence tells a wrong address, key or model before anything is spent.
        try:
            await self._post(np.zeros(RATE // 10, np.float32), attempts=1)
        except _Refused as refused:
            # Servers differ in what they make of silence; only these mean that nothing will ever work.
            if refused.status in (None, 401, 403, 404, 405):
                await self.stop()
                raise TranscriberError(
                    f"The transcription server {self.url} can't be used: {refused}. Check its address, the model "
                    f"{self._model!r} and the key."
                ) from None

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        return list(await asyncio.gather(*(self._one(utterance) for utterance in batch)))

    async def _one(self, utterance: Utterance) -> Transcript:
        if (silence := nothing_to_hear(utterance)) is not None:
            return silence
        assert utterance.samples is not None
        try:
            answer = await self._post(utterance.samples, self._attempts)
        except _Refused as refused:
            return Transcript("", flags=("failed",), error=f"no transcript of {utterance.key}: {refused}")
        text = answer.get("text")
        if not isinstance(text, str):
            return Transcript("", flags=("failed",), error=f"no transcript of {utterance.key}: the answer has no text")
        text = self._secret.redact(text).strip()
        if not text:
            return Transcript("", flags=("no_speech",))
        words = _words(answer.get("words"))
        return Transcript(text, words, () if words else ("no_word_times",))

    async def _post(self, samples: np.ndarray[Any, np.dtype[np.float32]], attempts: int) -> dict[str, Any]:
        """The server's answer. Raises :class:`_Refused`."""
        if self._client is None:
            raise TranscriberError("The transcriber must be started before it can transcribe.")
        sound = await asyncio.to_thread(_wav, samples)
        wait = 1.0
        tries = 0
        while True:
            verbose = self._verbose
            form: dict[str, Any] = {"model": self._model, "language": self._language, "temperature": "0"}
            form["response_format"] = "verbose_json" if verbose else "json"
            if verbose:
                form["timestamp_granularities[]"] = "word"
            tries += 1
            asked = None
            try:
                response = await self._client.post(
                    f"{self.url}/v1/audio/transcriptions", data=form, files={"file": ("speech.wav", sound, "audio/wav")}
                )
            except httpx.HTTPError as error:
                trouble = _Refused(None, f"the connection failed ({type(error).__name__})")
            else:
                if response.status_code == 200:
                    return _object(response.text)
                trouble = _Refused(response.status_code, self._said(response))
                if response.status_code in (400, 422) and verbose:
                    # Not every server and model knows word times.
                    self._verbose = False
                    tries -= 1
                    continue
                if response.status_code not in _BUSY:
                    raise trouble
                asked = retry_after(response.headers.get("retry-after"))
            wait_s = wait if asked is None else asked
            if tries >= attempts or wait_s > self._patience_s:
                raise trouble
            await self._sleep(wait_s)
            wait = min(2 * wait, 30.0)

    def _said(self, response: httpx.Response) -> str:
        try:
            error = json.loads(response.text).get("error", "")
            said = error.get("message", "") if isinstance(error, dict) else str(error)
        except (ValueError, AttributeError):
            said = response.text
        return self._secret.redact(f"it answered {response.status_code}: {excerpt([said])}")

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


class _Refused(Exception):  # noqa: N818 - becomes a transcript's error
    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(message)
        self.status = status


def _object(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise _Refused(200, "its answer is not a JSON object")
    return answer


def _words(found: object) -> tuple[Word, ...]:
    """The words with their times; none if any is not in the documented form."""
    if not isinstance(found, list):
        return ()
    try:
        return tuple(Word(str(word["word"]).strip(), float(word["start"]), float(word["end"])) for word in found)
    except (KeyError, TypeError, ValueError):
        return ()


def _wav(samples: np.ndarray[Any, np.dtype[np.float32]]) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()
