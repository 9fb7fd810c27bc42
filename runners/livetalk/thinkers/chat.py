"""Any OpenAI-compatible chat model, spoken sentence by sentence by a speech endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, get_args

import numpy as np

from livetalk.base.rates import AUDIO_RATE
from livetalk.thinkers.asking import until_it_fits
from livetalk.thinkers.base import Delta, HeardDelta, Question, Samples, SpeechDelta, TextDelta, Thinker, ThinkerError
from livetalk.thinkers.foreign import WholeCharacters, mended
from livetalk.thinkers.messages import UNKNOWN_WORDS, chat_messages
from livetalk.thinkers.sentences import Splitter, speakable
from livetalk.thinkers.service import SILENCE_S, ServiceClient, read_json
from livetalk.thinkers.sound import to_wav
from livetalk.thinkers.speech_endpoint import SpeechEndpoint
from livetalk.thinkers.thoughts import Thinking, ThoughtAloudError, Thoughts, thinks_by_name

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
_FIRST_WORDS_S = 0.2
_APART = ("reasoning_content", "reasoning")
_ALOUD = (
    "spoke its thoughts: what came before `</think>` was told as its answer. From now on its answers wait for the end "
    "of their thoughts; tell the thinker so from the start (--set thinker.thinking=inline)."
)


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
        thinking: where the model's thoughts are, which are never spoken: ``inline`` in front of the answer, which
            then waits for their end; ``separate`` in fields of their own, or nowhere; ``auto`` finds it out.
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
        thinking: Thinking = "auto",
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
        if thinking not in get_args(Thinking):
            raise ThinkerError("failed", f"thinking is {', '.join(get_args(Thinking))}, not {str(thinking)[:80]!r}.")
        self._thinking: Thinking = thinking
        self._transcripts: OrderedDict[bytes, str] = OrderedDict()
        # Whether the model was once found unable to hear: its users' sounds then stay out of the history.
        self._deaf = False

    async def start(self) -> None:
        for service in self._services():
            await service.open()
        self._model = await self._chat.choose_model(self._wanted, "--set thinker.model=NAME")
        if self._thinking == "auto" and (thinks_by_name(self._model) or await self._chat.opens_a_thought(self._model)):
            self._thinking = "inline"
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
        length = 0
        async with contextlib.aclosing(self._parts(events)) as parts:
            async for text in parts:
                text = text[: MAX_ANSWER_CHARACTERS - length]
                length += len(text)
                if text:
                    yield text
                if length >= MAX_ANSWER_CHARACTERS:
                    return
        if not length:
            raise self._chat.broken("the answer has no text")

    async def _parts(self, events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        """The answer's text without its thoughts, as soon as it is known to be none."""
        thinking, finished = self._thinking, False
        characters, thoughts = WholeCharacters(), Thoughts(hold=thinking != "separate")
        # Nobody knows yet whether a model thinks that has not answered before: its first words wait for a moment.
        until = None if thinking == "inline" else asyncio.get_running_loop().time() + _FIRST_WORDS_S
        async with contextlib.aclosing(_timed(events, lambda: until if thoughts.holding else None)) as timed:
            async for event in timed:
                if event is None:
                    for piece in thoughts.release():
                        yield piece
                    continue
                if event == "[DONE]":
                    finished = True
                    break
                text, finish, apart = self._chunk(event)
                self._chat.check_finish(finish)
                finished = finished or finish is not None
                if apart:
                    for piece in thoughts.release():
                        yield piece
                try:
                    yield thoughts.without(characters.feed(text))
                except ThoughtAloudError:
                    self._thinking = "inline"
                    raise ThinkerError("broken", f"{self._chat.named} {_ALOUD}") from None
        if not finished:
            raise self._chat.broken("its stream ended before the answer did")
        if thinking == "auto":
            self._thinking = "inline" if thoughts.found else "separate"
        for piece in thoughts.rest():
            yield piece

    def _chunk(self, event: str) -> tuple[str, object, bool]:
        """A chunk's text, why the answer ends with it if it does, and whether it holds thoughts in a field of their
        own."""
        chunk = read_json(event)
        self._chat.check_chunk(chunk)
        choices = chunk.get("choices")
        if not choices:
            return "", None, False
        choice = choices[0] if isinstance(choices, list) else None
        delta = (choice.get("delta") or {}) if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(delta, dict):
            raise self._chat.broken("a chunk of its stream is not one of a chat completion")
        text = delta.get("content") or delta.get("refusal") or ""
        if not isinstance(text, str):
            raise self._chat.broken("a chunk of its stream holds something other than text")
        return text, choice.get("finish_reason"), any(delta.get(name) for name in _APART)

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


async def _timed(
    events: AsyncGenerator[str, None], until: Callable[[], float | None]
) -> AsyncGenerator[str | None, None]:
    """The events, and None when the time that ``until`` tells has come before the next one."""
    next_one: asyncio.Future[str] | None = None
    try:
        while True:
            limit = until()
            if next_one is None and limit is None:
                async for event in events:
                    yield event
                    if until() is not None:
                        break
                else:
                    return
                continue
            next_one = next_one or asyncio.ensure_future(anext(events))
            wait = None if limit is None else max(0.0, limit - asyncio.get_running_loop().time())
            await asyncio.wait({next_one}, timeout=wait)
            if not next_one.done():
                yield None
                continue
            came, next_one = next_one, None
            try:
                event = came.result()
            except StopAsyncIteration:
                return
            yield event
    finally:
        if next_one is not None:
            next_one.cancel()
            await asyncio.gather(next_one, return_exceptions=True)
