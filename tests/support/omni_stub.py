"""vLLM-Omni's chat completions for Qwen3-Omni, as its release 0.30 streams them, without the model.

Checks requests as the real server does (modalities, audio format, speaker, model, sound that decodes), and streams text
and sound in its dialect: a top-level `modality`, sound as base64 in `delta.content` with `audio_metadata` beside it,
`finish_reason` on the last chunk only, and `data: [DONE]`.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import wave
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from http_stub import HttpStub, Plain, Request, Streamed

MODEL = "Qwen/Qwen3-Omni-30B-A3B-Instruct"
SPEAKERS = ("aiden", "chelsie", "ethan")
RATE = 24_000
_FORMATS = ("flac", "mp3", "opus", "pcm", "pcm16", "wav")


def tone(seconds: float, hertz: float = 220.0, rate: int = RATE) -> npt.NDArray[np.float32]:
    """Something to hear, at -20 dB of full scale."""
    turns = hertz * np.arange(round(seconds * rate)) / rate
    return np.asarray(0.1 * np.sqrt(2) * np.sin(2 * np.pi * turns), np.float32)


@dataclass(frozen=True)
class Answer:
    """What the stub says to one question.

    Args:
        text: pieces of the answer's text.
        sound: pieces of its sound, float32 at 24 kHz. Text goes first, one piece before each piece of sound.
        gates: number of the event (from 0, the role's) before which the stream waits, and for what.
        extra: events put in before the event of that number, as JSON values or as they are (bytes).
        finish: what ends the answer.
        done: whether `[DONE]` follows.
        form: the format of the sound whatever was asked for; None obeys.
        metadata: whether `audio_metadata` stands beside the sound.
        openai: put the sound into `delta.audio` as OpenAI does.
        instead: a whole response in place of the stream.
    """

    text: Sequence[str] = ("Hello ", "there. ", "How are you?")
    sound: Sequence[npt.NDArray[np.float32]] = (tone(0.32), tone(0.8, 180.0))
    gates: Mapping[int, asyncio.Event] = field(default_factory=dict)
    extra: Mapping[int, Any] = field(default_factory=dict)
    finish: str | None = "stop"
    done: bool = True
    form: str | None = None
    metadata: bool = True
    openai: bool = False
    instead: Plain | Streamed | None = None


Script = Callable[[dict[str, Any], int], Answer]
"""(request, its number from 0) -> what to say."""


class OmniStub(HttpStub):
    """The server.

    Args:
        script: decides about each question; by default one friendly answer.
        key: the key it asks for; None for none.
        model: the name it serves the model under.
    """

    def __init__(self, script: Script | None = None, *, key: str | None = None, model: str = MODEL) -> None:
        super().__init__()
        self.script: Script = script or (lambda request, number: Answer())
        self.key = key
        self.model = model
        self.questions: list[dict[str, Any]] = []
        self.heard: list[npt.NDArray[np.float32]] = []

    async def respond(self, request: Request) -> Plain | Streamed | None:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return Plain(401, {"error": "Unauthorized"})
        if request.path == "/v1/models":
            return Plain(200, {"object": "list", "data": [{"id": self.model, "object": "model", "owned_by": "vllm"}]})
        if request.path != "/v1/chat/completions":
            return Plain(404, {"detail": "Not Found"})
        asked = request.json
        if complaint := self._complaint(asked):
            return complaint
        answer = self.script(asked, len(self.questions))
        self.questions.append(asked)
        return answer.instead or Streamed(self._stream(asked, answer))

    def _complaint(self, asked: dict[str, Any]) -> Plain | None:
        if asked.get("model") != self.model:
            message = f"The model `{asked.get('model')}` does not exist."
            return Plain(404, {"error": {"message": message, "type": "NotFoundError", "param": "model", "code": 404}})
        wrong = ""
        form = asked.get("audio", {}).get("format", "wav")
        speaker = asked.get("voice") or asked.get("speaker")
        if set(asked.get("modalities", ())) - {"text", "audio"}:
            wrong = "Unsupported output modalities for this model. Supported modalities: audio, text"
        elif form not in _FORMATS:
            wrong = f"Invalid audio format '{form}'. Supported formats: {list(_FORMATS)}"
        elif speaker and speaker.lower().strip() not in SPEAKERS:
            wrong = f"Invalid speaker '{speaker}'. Supported: {', '.join(SPEAKERS)}"
        else:
            for message in asked["messages"]:
                for part in message["content"] if isinstance(message["content"], list) else ():
                    if part["type"] == "input_audio":
                        self.heard.append(_decoded(part["input_audio"]))
        return Plain(400, {"error": {"message": wrong, "type": "BadRequestError", "code": 400}}) if wrong else None

    async def _stream(self, asked: dict[str, Any], answer: Answer) -> AsyncGenerator[bytes, None]:
        form = answer.form or asked.get("audio", {}).get("format", "wav")
        chunks = list(_chunks(answer, "pcm" if form == "pcm16" else form))
        for number, (modality, choice) in enumerate(chunks):
            if number in answer.gates:
                await answer.gates[number].wait()
            if number in answer.extra:
                yield _event(answer.extra[number])
            choice = {"index": 0, "logprobs": None, "finish_reason": None, **choice}
            if number == len(chunks) - 1:
                choice["finish_reason"] = answer.finish
            yield _event(
                {
                    "id": "chatcmpl-1f0e",
                    "object": "chat.completion.chunk",
                    "created": 1_760_000_000,
                    "model": self.model,
                    "choices": [choice],
                    "modality": modality,
                    **({"usage": {"prompt_tokens": 41, "total_tokens": 41, "completion_tokens": 0}} if number else {}),
                }
            )
        if len(chunks) in answer.extra:
            yield _event(answer.extra[len(chunks)])
        if answer.done:
            yield b"data: [DONE]\n\n"


def _chunks(answer: Answer, form: str) -> list[tuple[str, dict[str, Any]]]:
    """The modality and the choice of each chunk, in order."""
    found: list[tuple[str, dict[str, Any]]] = [("text", {"delta": {"role": "assistant", "content": ""}})]
    for number in range(max(len(answer.text), len(answer.sound))):
        if number < len(answer.text):
            found.append(("text", {"delta": {"content": answer.text[number]}}))
        if number < len(answer.sound):
            sound = answer.sound[number]
            encoded = base64.b64encode(_encoded(sound, form)).decode()
            if answer.openai:
                found.append(("text", {"delta": {"audio": {"id": "audio-1", "data": encoded}}}))
                continue
            choice: dict[str, Any] = {"delta": {"role": "assistant", "content": encoded}, "stop_reason": None}
            if answer.metadata:
                choice["audio_metadata"] = {
                    "format": form,
                    "sample_rate_hz": RATE,
                    "frame_count": len(sound),
                    "channels": 1,
                }
            found.append(("audio", choice))
    return found


def _encoded(sound: npt.NDArray[np.float32], form: str) -> bytes:
    pcm = (np.clip(sound, -1, 1) * 32767).round().astype("<i2").tobytes()
    if form == "pcm":
        return pcm
    if form != "wav":
        return b"\xff\xfb" + pcm  # a compressed format, for all that a reader of PCM can tell
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(pcm)
    return buffer.getvalue()


def _decoded(part: Mapping[str, str]) -> npt.NDArray[np.float32]:
    assert part["format"] == "wav"
    with wave.open(io.BytesIO(base64.b64decode(part["data"], validate=True))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        return (np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767).astype(np.float32)


def _event(value: Any) -> bytes:
    return value if isinstance(value, bytes) else b"data: " + json.dumps(value).encode() + b"\n\n"
