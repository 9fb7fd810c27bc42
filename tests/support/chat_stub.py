"""The three OpenAI-compatible endpoints that a chat thinker uses: chat completions, speech and transcriptions."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from http_stub import HttpStub, Plain, Request, Streamed

SECONDS_A_CHARACTER = 0.01


@dataclass(frozen=True)
class Words:
    """What the chat endpoint answers: pieces of text, and how the stream ends.

    Args:
        text: the deltas.
        gates: number of the delta before which the stream waits, and for what.
        extra: raw bytes put in before the delta of that number.
        finish: the last chunk's finish_reason; None for none.
        done: whether `[DONE]` follows.
        instead: a whole response in place of the stream.
    """

    text: Sequence[str] = ("Hello ", "there, ", "dear user. ", "How are ", "you ", "today?")
    gates: Mapping[int, asyncio.Event] = field(default_factory=dict)
    extra: Mapping[int, bytes] = field(default_factory=dict)
    finish: str | None = "stop"
    done: bool = True
    instead: Plain | None = None


@dataclass(frozen=True)
class Sound:
    """What the speech endpoint answers.

    Args:
        pieces: bytes of each piece; None speaks: raw PCM, a constant level for each sentence (its number from 1, in
            hundredths), 10 ms a character, in four pieces of odd length.
        content_type: as the response says.
        gate: waited for before the first piece.
        instead: a whole response in place of the stream.
    """

    pieces: Sequence[bytes] | None = None
    content_type: str = "audio/pcm"
    gate: asyncio.Event | None = None
    instead: Plain | None = None


class ChatStub(HttpStub):
    """The server, for all three at once.

    Args:
        words: (request, its number) -> the chat endpoint's answer.
        sound: (request, its number) -> the speech endpoint's answer.
        hears: whether the model takes `input_audio`.
        key: the key that all endpoints ask for; None for none.
        models: the names in its list; None has no list.
    """

    def __init__(
        self,
        words: Callable[[dict[str, Any], int], Words] | None = None,
        sound: Callable[[dict[str, Any], int], Sound] | None = None,
        *,
        hears: bool = False,
        key: str | None = None,
        models: Sequence[str] | None = ("small-talk",),
    ) -> None:
        super().__init__()
        self.words = words or (lambda request, number: Words())
        self.sound = sound or (lambda request, number: Sound())
        self.hears = hears
        self.key = key
        self.models = models
        self.transcript = "what I said"
        self.questions: list[dict[str, Any]] = []
        self.sentences: list[dict[str, Any]] = []
        self.transcribed: list[bytes] = []

    async def respond(self, request: Request) -> Plain | Streamed | None:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            sent = request.headers.get("authorization", "").removeprefix("Bearer ")
            return Plain(401, {"error": {"message": f"Incorrect API key provided: {sent}.", "code": "invalid_api_key"}})
        if request.path == "/v1/models" and self.models is not None:
            return Plain(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})
        if request.path == "/v1/chat/completions":
            asked = request.json
            if not self.hears and "input_audio" in json.dumps(asked["messages"]):
                return Plain(400, {"error": {"message": "small-talk is not a multimodal model", "code": 400}})
            words = self.words(asked, len(self.questions))
            self.questions.append(asked)
            return words.instead or Streamed(_written(words))
        if request.path == "/v1/audio/speech":
            self.sentences.append(request.json)
            number = len(self.sentences)
            sound = self.sound(request.json, number - 1)
            return sound.instead or Streamed(_spoken(request.json["input"], number, sound), sound.content_type)
        if request.path == "/v1/audio/transcriptions":
            assert request.headers["content-type"].startswith("multipart/form-data")
            found = re.search(
                rb'filename="[^"]+"\r\nContent-Type: audio/wav\r\n\r\n(RIFF.*?)\r\n--', request.body, re.S
            )
            assert found is not None
            self.transcribed.append(found[1])
            return Plain(200, {"text": self.transcript})
        return Plain(404, {"detail": "Not Found"})


def pcm(seconds: float, level: float, rate: int = 24_000) -> bytes:
    """A constant level as 16-bit PCM: what is spoken where can be read off it."""
    return np.full(round(seconds * rate), round(level * 32768), "<i2").tobytes()


async def _written(words: Words) -> AsyncGenerator[bytes, None]:
    for number, text in enumerate(words.text):
        if number in words.gates:
            await words.gates[number].wait()
        if number in words.extra:
            yield words.extra[number]
        delta = {"role": "assistant", "content": text} if number == 0 else {"content": text}
        yield _chunk({"index": 0, "delta": delta, "finish_reason": None})
    if len(words.text) in words.extra:
        yield words.extra[len(words.text)]
    if words.finish is not None:
        yield _chunk({"index": 0, "delta": {}, "finish_reason": words.finish})
    if words.done:
        yield b"data: [DONE]\n\n"


def _chunk(choice: dict[str, Any]) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


async def _spoken(text: str, number: int, sound: Sound) -> AsyncGenerator[bytes, None]:
    if sound.gate is not None:
        await sound.gate.wait()
    pieces = sound.pieces
    if pieces is None:
        whole = pcm(len(text) * SECONDS_A_CHARACTER, number % 100 / 100)
        step = len(whole) // 4 | 1
        pieces = [whole[start : start + step] for start in range(0, len(whole), step)]
    for piece in pieces:
        yield piece
