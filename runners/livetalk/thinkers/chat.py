"""Any OpenAI-compatible chat model, spoken sentence by sentence by a speech endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from livetalk.base.rates import AUDIO_RATE
from livetalk.thinkers.asking import until_it_fits
from livetalk.thinkers.base import Delta, HeardDelta, Question, Samples, SpeechDelta, TextDelta, Thinker, ThinkerError
from livetalk.thinkers.messages import UNKNOWN_WORDS, chat_messages
from livetalk.thinkers.sentences import Splitter, speakable
from livetalk.thinkers.service import SILENCE_S, ServiceClient, WholeCharacters, mended, read_json
from livetalk.thinkers.sound import to_wav
from livetalk.thinkers.speech_endpoint import SpeechEndpoint

CHAT_KEY_VARIABLE = "LIVETALK_THINKER_KEY"
SPEECH_KEY_VARIABLE = "LIVETALK_SPEECH_KEY"
TRANSCRIBE_KEY_VARIABLE = "LIVETALK_TRANSCRIBE_KEY"

MAX_ANSWER_CHARACTERS = 20_000
"""An answer is over here at the latest: twenty minutes of speech."""

_LONGEST_EVENT = 1_048_576
_LONGEST_STREAM = 16_777_216
_LONGEST_TRANSCRIPT = 1_048_576
_TRANSCRIPTS_KEPT = 512
# Sentences spoken at once: one that is heard, and the next.
_AHEAD = 2


class ChatThinker(Thinker):
    """Any OpenAI-compatible chat model, spoken sentence by sentence by an OpenAI-compatible speech endpoint.

    What the user said as text goes to the model as text. Where there is only sound, a transcription service turns it
    into text; without one the sound itself goes to the model, which must be able to hear.

    Args:
        url: root of the chat service's API, e.g. ``http://127.0.0.1:8000/v1``.
        model: its model; None if it serves one.
        speech_url: root of the speech service's API; None for the chat service's.
        speech_model: its model; None if it serves one.
        transcribe_url: root of a transcription service's API.
        voice: the speaker for questions that name none.
        silence_s: seconds that a service may send nothing.

    Raises:
        ThinkerError: ``failed``; an address or a key is not one.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        speech_url: str | None = None,
        speech_model: str | None = None,
        transcribe_url: str | None = None,
        voice: str | None = None,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.name = f"chat {model}" if model else "chat"
        self._chat = ServiceClient("chat service", url, CHAT_KEY_VARIABLE, silence_s=silence_s)
        self._speech = (
            ServiceClient("speech service", speech_url, SPEECH_KEY_VARIABLE, silence_s=silence_s)
            if speech_url
            else self._chat
        )
        self._ears = (
            ServiceClient("transcription service", transcribe_url, TRANSCRIBE_KEY_VARIABLE, silence_s=silence_s)
            if transcribe_url
            else None
        )
        self._wanted, self._wanted_speech = model, speech_model
        self._model = self._ears_model = ""
        self._mouth: SpeechEndpoint | None = None
        self._voice = voice
        self._transcripts: OrderedDict[bytes, str] = OrderedDict()
        # Whether the model was once found unable to hear: its users' sounds then stay out of the history.
        self._deaf = False

    async def start(self) -> None:
        for service in self._services():
            await service.open()
        self._model = await self._chat.choose_model(self._wanted, "--set thinker.model=NAME")
        speech_model = await self._speech.choose_model(self._wanted_speech, "--set thinker.speech_model=NAME")
        self._mouth = SpeechEndpoint(self._speech, speech_model)
        if self._ears is not None:
            served = await self._ears.models()
            self._ears_model = served[0] if served is not None and len(served) == 1 else "whisper-1"
        self.name = f"chat {self._model} + {speech_model}"

    async def stop(self) -> None:
        for service in self._services():
            await service.close()

    async def answer(self, question: Question) -> AsyncIterator[Delta]:
        if self._mouth is None:
            raise ThinkerError("failed", "The thinker must be started before it can answer.")
        out: asyncio.Queue[_Item] = asyncio.Queue(maxsize=64)
        work = asyncio.create_task(_Telling(self, self._mouth, question, out).run())
        try:
            while (item := await out.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def words(self, question: Question) -> AsyncGenerator[str, None]:
        """The model's answer to a question as :meth:`in_words` gives it, as text, as it is written."""
        try:
            async with contextlib.aclosing(until_it_fits(self._written, question)) as texts:
                async for text in texts:
                    yield text
        except ThinkerError as error:
            if error.code == "unsupported" and question.audio is not None:
                self._deaf = True
                raise ThinkerError(
                    "unsupported",
                    f"The chat model can't hear. Type, choose a model that takes audio, or name a transcription "
                    f"service with --set thinker.transcribe_url=URL. ({error})",
                ) from error
            raise

    def voice_of(self, question: Question) -> str | None:
        return question.voice or self._voice

    def _services(self) -> list[ServiceClient]:
        return [service for service in dict.fromkeys((self._chat, self._speech, self._ears)) if service is not None]

    async def _written(self, question: Question) -> AsyncGenerator[str, None]:
        request: dict[str, Any] = {"model": self._model, "messages": chat_messages(question), "stream": True}
        if question.seed is not None:
            request["seed"] = question.seed
        async with (
            self._chat.post("/v1/chat/completions", json=request) as response,
            contextlib.aclosing(self._chat.events(response, longest=_LONGEST_EVENT, total=_LONGEST_STREAM)) as events,
            contextlib.aclosing(self._texts(events)) as texts,
        ):
            async for text in texts:
                yield text

    async def _texts(self, events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        characters, thoughts = WholeCharacters(), _Thoughts()
        length, finished = 0, False
        async for event in events:
            if event == "[DONE]":
                finished = True
                break
            text, finish = self._chunk(event)
            self._chat.check_finish(finish)
            finished = finished or finish is not None
            text = thoughts.without(characters.feed(text))[: MAX_ANSWER_CHARACTERS - length]
            length += len(text)
            if text:
                yield text
            if length >= MAX_ANSWER_CHARACTERS:
                return
        if not finished:
            raise self._chat.broken("its stream ended before the answer did")
        if rest := thoughts.rest():
            length += len(rest)
            yield rest
        if not length:
            raise self._chat.broken("the answer has no text")

    def _chunk(self, event: str) -> tuple[str, object]:
        """A chunk's text, and why the answer ends with it if it does."""
        chunk = read_json(event)
        self._chat.check_chunk(chunk)
        choices = chunk.get("choices")
        if not choices:
            return "", None
        choice = choices[0] if isinstance(choices, list) else None
        delta = (choice.get("delta") or {}) if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(delta, dict):
            raise self._chat.broken("a chunk of its stream is not one of a chat completion")
        text = delta.get("content") or delta.get("refusal") or ""
        if not isinstance(text, str):
            raise self._chat.broken("a chunk of its stream holds something other than text")
        return text, choice.get("finish_reason")

    async def in_words(self, question: Question) -> Question:
        """The question without the sound whose words are known or can be had."""
        if question.text and question.text.strip():
            question = replace(question, audio=None)
        if self._ears is None:
            if self._deaf:
                heard = [
                    message if message.text or message.audio is None else replace(message, text=UNKNOWN_WORDS)
                    for message in question.history
                ]
                question = replace(question, history=tuple(heard))
            return question
        history = [
            message
            if message.text or message.audio is None
            else replace(message, text=await self._transcribed(self._ears, message.audio) or UNKNOWN_WORDS)
            for message in question.history
        ]
        question = replace(question, history=tuple(history))
        if question.audio is None or not len(question.audio):
            return question
        text = await self._transcribed(self._ears, question.audio)
        if not text:
            raise ThinkerError("unsupported", "There were no words to be heard in what the user said; say it again.")
        return replace(question, text=text, audio=None)

    async def _transcribed(self, ears: ServiceClient, samples: Samples) -> str:
        digest = hashlib.sha256(np.ascontiguousarray(samples).tobytes()).digest()
        if digest not in self._transcripts:
            form = {"model": self._ears_model, "response_format": "json"}
            files = {"file": ("speech.wav", to_wav(samples, AUDIO_RATE), "audio/wav")}
            async with ears.post("/v1/audio/transcriptions", data=form, files=files) as response:
                text = read_json(await ears.body(response, _LONGEST_TRANSCRIPT)).get("text")
            if not isinstance(text, str):
                raise ears.broken("its answer has no text")
            self._transcripts[digest] = mended(text).strip()
            while len(self._transcripts) > _TRANSCRIPTS_KEPT:
                self._transcripts.popitem(last=False)
        return self._transcripts[digest]


_Item: TypeAlias = Delta | Exception | None


@dataclass(frozen=True, slots=True)
class _Sentence:
    """What is to be spoken, where it ends in the answer, and its sound as it comes; an exception or None ends it."""

    spoken: str
    end: int
    sound: asyncio.Queue[tuple[Samples, int] | Exception | None]


class _Telling:
    """One answer on its way: words are read, sentences spoken, and their sound given out in order, all at once.

    What goes wrong travels through the same queues as the sound, so that everything before it is still heard.
    """

    def __init__(
        self, thinker: ChatThinker, mouth: SpeechEndpoint, question: Question, out: asyncio.Queue[_Item]
    ) -> None:
        self._thinker = thinker
        self._mouth = mouth
        self._question = question
        self._out = out
        self._said: asyncio.Queue[_Sentence | Exception | None] = asyncio.Queue()
        self._slots = asyncio.Semaphore(_AHEAD)
        self._tasks: list[asyncio.Task[None]] = []
        self._place = 0
        self._rate: int | None = None

    async def run(self) -> None:
        """Put the answer into the queue, and at its end None or why it is not complete."""
        ending: Exception | None = None
        try:
            self._tasks.append(asyncio.create_task(self._write()))
            await self._deliver()
        except Exception as error:
            ending = error
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._out.put(ending)

    async def _write(self) -> None:
        """Read the words and pass them on whole sentence by whole sentence."""
        splitter, ending = Splitter(), None
        try:
            question = await self._thinker.in_words(self._question)
            if self._question.text != question.text and question.text:
                await self._out.put(HeardDelta(question.text))
            async with contextlib.aclosing(self._thinker.words(question)) as words:
                async for text in words:
                    await self._out.put(TextDelta(text))
                    for sentence in splitter.feed(text):
                        self._say(sentence)
            for sentence in splitter.finish():
                self._say(sentence)
        except Exception as error:
            ending = error
        self._said.put_nowait(ending)

    def _say(self, text: str) -> None:
        self._place += len(text)
        if spoken := speakable(text):
            sentence = _Sentence(spoken, self._place, asyncio.Queue())
            self._tasks.append(asyncio.create_task(self._speak(sentence)))
            self._said.put_nowait(sentence)

    async def _speak(self, sentence: _Sentence) -> None:
        """Fetch a sentence's sound when its turn has come; the slot is free again once all of it is given out."""
        await self._slots.acquire()
        ending = None
        try:
            speech = self._mouth.speak(sentence.spoken, self._thinker.voice_of(self._question))
            async with contextlib.aclosing(speech) as pieces:
                async for piece in pieces:
                    sentence.sound.put_nowait(piece)
        except Exception as error:
            ending = error
        sentence.sound.put_nowait(ending)

    async def _deliver(self) -> None:
        while (sentence := await self._said.get()) is not None:
            if isinstance(sentence, Exception):
                raise sentence
            await self._give(sentence)
            self._slots.release()
        if self._rate is None:
            raise ThinkerError("broken", "The answer holds nothing that can be spoken, only marks or pictures.")

    async def _give(self, sentence: _Sentence) -> None:
        while (piece := await sentence.sound.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            samples, rate = piece
            if self._rate not in (None, rate):
                raise ThinkerError("broken", "The speech service changed its sampling rate between two sentences.")
            self._rate = rate
            await self._out.put(SpeechDelta(samples, rate))
        if self._rate is not None:
            # Which piece is a sentence's last is known too late for it to say so itself.
            await self._out.put(SpeechDelta(np.zeros(0, np.float32), self._rate, sentence.end))


class _Thoughts:
    """Takes out the reasoning that some services leave in front of an answer, between ``<think>`` and ``</think>``."""

    _OPEN, _CLOSE = "<think>", "</think>"

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self._over = False

    def without(self, text: str) -> str:
        """What of the next piece belongs to the answer; its very first white space does not."""
        if self._over:
            return text
        self._held = (self._held + text).lstrip()
        if not self._inside and self._held.startswith(self._OPEN):
            self._inside = True
        if self._inside:
            _, closed, after = self._held.partition(self._CLOSE)
            self._held = after if closed else self._held[-len(self._CLOSE) :]
            self._inside = not closed
            return self.without("") if closed else ""
        if self._OPEN.startswith(self._held):
            return ""
        self._over = True
        return self.rest()

    def rest(self) -> str:
        """What was held back because it might have been the beginning of a thought."""
        held, self._held = self._held, ""
        return "" if self._inside else held
