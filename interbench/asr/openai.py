"""A transcriber behind an OpenAI-compatible endpoint, ``/v1/audio/transcriptions``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from interbench.asr.base import DOUBTED, Transcriber, Utterance
from interbench.asr.sound import RATE, nothing_to_hear
from interbench.base.errors import TranscriberError, UsageError
from interbench.base.foreign import NotJsonError, listed, mapped, mended, number, parsed_json
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
from interbench.domain.records import Transcript, Word
from interbench.media.pool import encoded_audio

MODEL_VARIABLE = "INTERBENCH_TRANSCRIBER_MODEL"
KEY_VARIABLE = "INTERBENCH_TRANSCRIBER_KEY"

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_HOPELESS = frozenset({None, 200, 301, 302, 303, 307, 308, 401, 403, 404, 405})
"""No connection, no JSON, a redirect, no right to ask, no such page."""
_MAX_ANSWER = 32 * 2**20
_MAX_WAV = 24 * 2**20
"""OpenAI takes files of up to 25 MB, some 13 minutes as WAV; what is longer is sent as FLAC, which loses nothing."""
_DOUBT = 0.6
"""Probability of no speech from which on Whisper itself takes a segment for silence (its ``no_speech_threshold``)."""
_LATE_S = 2.0
"""How far after the end of the sound a word may end; recognisers round up."""


class OpenAITranscriber(Transcriber):
    """An OpenAI-compatible /v1/audio/transcriptions endpoint.

    Sends each utterance as a 16 kHz file and takes text and word times.

    Args:
        url: base address of the server.
        model: the name of its model. None: what ``INTERBENCH_TRANSCRIBER_MODEL`` says, else ``whisper-1``.
        api_key_env: name of the environment variable that holds the key. None: ``INTERBENCH_TRANSCRIBER_KEY``, if it is
            set.
        language: of the speech, ISO 639-1.
        batch_size: requests in flight.
        timeout_s: of one request, from sending to the end of the answer.
        attempts: times that a request may fail before its utterance gets ``error``.
        patience_s: longest wait that a busy server may ask for.
        sleep: how to wait.

    Raises:
        UsageError: the address is wrong, the key is not in the environment, or an option's value means nothing.
    """

    needs_audio = True
    works_here = False

    def __init__(
        self,
        url: str,
        model: str | None = None,
        api_key_env: str | None = None,
        *,
        language: str = "en",
        batch_size: int = 8,
        timeout_s: float = 300.0,
        attempts: int = 5,
        patience_s: float = 120.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        model = os.environ.get(MODEL_VARIABLE, "whisper-1") if model is None else model
        if api_key_env is None and KEY_VARIABLE in os.environ:
            api_key_env = KEY_VARIABLE
        texts = {"model": model, "language": language}
        if wrong := next((name for name, text in texts.items() if not (isinstance(text, str) and text)), None):
            raise UsageError(f"The transcriber's {wrong} is {texts[wrong]!r}; give a text.")
        counts = {"batch_size": batch_size, "attempts": attempts}
        if wrong := next((name for name, count in counts.items() if not (isinstance(count, int) and count >= 1)), None):
            raise UsageError(f"The transcriber's {wrong} is {counts[wrong]!r}; give a whole number from 1 on.")
        times = {"timeout_s": timeout_s, "patience_s": patience_s}
        if wrong := next((name for name, s in times.items() if not (isinstance(s, (int, float)) and s > 0)), None):
            raise UsageError(f"The transcriber's {wrong} is {times[wrong]!r}; give a number of seconds.")
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
        self._client = make_client(self._timeout_s, headers=self._secret.headers())
        # A tenth of a second of silence tells a wrong address, key or model before anything is spent.
        try:
            await self._post(np.zeros(RATE // 10, np.float32), attempts=1)
        except _Refused as refused:
            # Servers differ in what they make of silence; only these mean that nothing will ever work.
            if refused.status in _HOPELESS:
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
        text = self._cleaned(text)
        if not text:
            return Transcript("", flags=("no_speech",))
        words = self._words(answer, len(utterance.samples) / RATE)
        flags = [] if words else ["no_word_times"]
        return Transcript(text, words, (*flags, *([DOUBTED] if _doubted(answer) else [])))

    async def _post(self, samples: npt.NDArray[np.float32], attempts: int) -> dict[str, Any]:
        """The server's answer. Raises :class:`_Refused`."""
        if self._client is None:
            raise TranscriberError("The transcriber must be started before it can transcribe.")
        name, sound = await asyncio.to_thread(_sound_file, samples)
        backoff, tries = Backoff(), 0
        verbose = self._verbose
        while True:
            tries += 1
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await self._attempt(name, sound, verbose)
            except TimeoutError:
                failure = _Refused(None, f"no answer within {self._timeout_s:g} s")
            except httpx.HTTPError as error:
                failure = _Refused(None, f"the connection failed ({trouble(error)})")
                if hopeless(error):
                    raise failure from None
            except _Refused as refused:
                if refused.status in (400, 422) and verbose:
                    # Not every server and model knows word times; or else it is the sound that it does not like.
                    verbose = False
                    tries -= 1
                    continue
                if refused.status not in _BUSY:
                    raise
                failure = refused
            else:
                self._verbose = verbose
                return answer
            if failure.wait_s is not None and failure.wait_s > self._patience_s:
                raise _Refused(failure.status, f"{failure} (it asks to wait {failure.wait_s:.0f} s)")
            pause = backoff.pause(failure.wait_s)
            if tries >= attempts or pause is None:
                raise failure
            await self._sleep(pause)

    async def _attempt(self, name: str, sound: bytes, verbose: bool) -> dict[str, Any]:
        assert self._client is not None
        form: dict[str, Any] = {"model": self._model, "language": self._language, "temperature": "0"}
        form["response_format"] = "verbose_json" if verbose else "json"
        if verbose:
            form["timestamp_granularities[]"] = "word"
        url = f"{self.url}/v1/audio/transcriptions"
        async with self._client.stream("POST", url, data=form, files={"file": (name, sound)}) as response:
            try:
                body = await read_body(response, _MAX_ANSWER)
            except BodyTooLongError:
                raise _Refused(200, f"its answer is larger than {_MAX_ANSWER // 2**20} MiB") from None
            if response.status_code != 200:
                said = self._said(response.status_code, body, redirect(response))
                raise _Refused(response.status_code, said, asked_wait(response.headers))
        answer = _object(body)
        if answer is None:
            text = body.decode(errors="replace")
            raise _Refused(200, f"its answer is not a JSON object: {self._cleaned(excerpt([text], 100))}")
        if not isinstance(answer.get("text"), str) and answer.get("error"):
            raise _Refused(200, self._said(200, body, ""))
        return answer

    def _said(self, status: int, body: bytes, otherwise: str) -> str:
        answer, text = _object(body), body.decode(errors="replace")
        error = text if answer is None else answer.get("error", text)
        said = otherwise or excerpt([str(error.get("message", error) if isinstance(error, dict) else error)])
        return self._cleaned(f"it answered {status}: {said}" if said else f"it answered {status}")

    def _cleaned(self, text: str) -> str:
        """What a server said, without the key, and without half characters, which can't be stored."""
        return self._secret.redact(mended(text)).strip()

    def _words(self, answer: Mapping[str, Any], seconds: float) -> tuple[Word, ...]:
        """The words with their times; none if any is not in the documented form or outside the sound.

        They stand beside the text, or (faster-whisper's servers) in its segments.
        """
        found = answer.get("words")
        try:
            if found is None:
                found = [word for segment in answer["segments"] for word in segment["words"]]
            told = [(self._cleaned(str(word["word"])), number(word["start"]), number(word["end"])) for word in found]
        except (KeyError, TypeError):
            return ()
        words = [Word(text, start, end) for text, start, end in told if start is not None and end is not None]
        late = any(not 0 <= word.start_s <= word.end_s <= seconds + _LATE_S for word in words)
        return () if late or len(words) < len(told) else tuple(words)

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


class _Refused(Exception):  # noqa: N818 - becomes a transcript's error
    def __init__(self, status: int | None, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.wait_s = wait_s
        """How long the server asks to wait."""


def _doubted(answer: Mapping[str, Any]) -> bool:
    """Whether the recogniser itself takes all of it for something other than speech (``no_speech_prob``)."""
    told = [number(mapped(segment).get("no_speech_prob"), 0, 1) for segment in listed(answer.get("segments"))]
    return bool(told) and all(doubt is not None and doubt >= _DOUBT for doubt in told)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        answer = parsed_json(body)
    except NotJsonError:
        return None
    return answer if isinstance(answer, dict) else None


def _sound_file(samples: npt.NDArray[np.float32]) -> tuple[str, bytes]:
    """A name that tells the kind, and the content."""
    kind = "wav" if 2 * len(samples) <= _MAX_WAV else "flac"
    return f"speech.{kind}", encoded_audio(samples, RATE, kind)
