"""Words and voice of systems that have none: where they come from, and that they are made once."""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import harness_kit
import numpy as np
import pytest
from http_stub import HttpStub, Plain, Request, Streamed

from interbench.base.errors import ScriptError, UsageError
from interbench.domain.records import Script
from interbench.drive.voice import ReplySpeaker, SpeechServer, kept
from interbench.drive.words import tell
from interbench.media.pool import AUDIO_RATE, MediaPool
from interbench.media.speech import read_wav
from interbench.media.wav import decode_wav
from interbench.scenarios.plan import PlannedScenario, plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.store.run_folder import Run


def wav(seconds: float = 0.5, rate: int = 24_000) -> bytes:
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((9000 * np.sin(np.arange(round(seconds * rate)) / 9)).astype("<i2").tobytes())
    return sink.getvalue()


class Server(HttpStub):
    """Answers chats and speaks; ``answers`` takes the place of what it would say, ``said`` of the words."""

    def __init__(self, said: str = "Reply {number}.", **answers: Plain) -> None:
        super().__init__()
        self.said = said
        self.answers: Mapping[str, Plain] = answers

    async def respond(self, request: Request) -> Plain | Streamed:
        kind = "speech" if request.path.endswith("/audio/speech") else "chat"
        if kind in self.answers:
            return self.answers[kind]
        if kind == "speech":
            return Plain(body=wav(), headers={"Content-Type": "audio/wav"})
        asked = request.json["messages"]
        said = self.said.format(number=sum(message["role"] == "user" for message in asked))
        if "audio" not in request.json.get("modalities", ()):
            return Plain(body={"choices": [{"message": {"content": said}}]})
        # A choice per modality, as vLLM-Omni gives them.
        sound = base64.b64encode(wav()).decode()
        return Plain(
            body={
                "choices": [
                    {"message": {"content": said, "audio": None}},
                    {"message": {"content": None, "audio": {"data": sound, "transcript": ""}}},
                ]
            }
        )


@pytest.fixture
async def server() -> AsyncGenerator[Server, None]:
    async with Server() as running:
        yield running


@pytest.fixture
def planned(tmp_path: Path) -> PlannedScenario:
    whole = load_set(str(harness_kit.write_set(tmp_path / "set", count=1, turns=2)))
    return plan_scenarios(whole, whole)[0]


async def test_a_speech_server_is_asked_once_per_reply(
    tmp_path: Path, planned: PlannedScenario, server: Server
) -> None:
    with Run(tmp_path / "run", write=True) as run:
        voices = {"female": "nova", "default": "alloy"}
        speaker = ReplySpeaker(run, SpeechServer(server.url, model="tts", voice=voices))
        first = await speaker.speak(planned, 1, Script("It is blue."))
        again = await ReplySpeaker(run, SpeechServer(server.url, model="tts", voice=voices)).speak(
            planned, 1, Script("It is blue.")
        )
        assert first == again and len(server.requests) == 1
        assert server.requests[0].json == {
            "model": "tts",
            "input": "It is blue.",
            "voice": "nova",
            "response_format": "wav",
        }
        assert read_wav(first.path).rate == 16_000 and first.seconds == pytest.approx(0.5)
        other = await speaker.speak(planned, 1, Script("It is red."))
        assert other.path != first.path and len(server.requests) == 2
        first.path.write_bytes(first.path.read_bytes()[:-10])
        assert kept(first.path) is None
        assert (await speaker.speak(planned, 1, Script("It is blue."))).sha256 == first.sha256


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Plain(401, {"error": {"message": "no key"}}), "answered 401: .*no key"),
        (Plain(200, b"<html>hello</html>"), "is no WAV file"),
        (Plain(200, {"error": "no such voice"}), "is no WAV file .*no such voice"),
    ],
)
async def test_a_speech_server_that_does_not_speak_is_told_about(
    tmp_path: Path, planned: PlannedScenario, answer: Plain, words: str
) -> None:
    async with Server(speech=answer) as server:
        with Run(tmp_path / "run", write=True) as run, pytest.raises(ScriptError, match=words):
            await ReplySpeaker(run, SpeechServer(server.url, model="tts")).speak(planned, 1, Script("It is blue."))


async def test_a_voice_for_everybody_is_asked_for(planned: PlannedScenario) -> None:
    with pytest.raises(UsageError, match="name no voice for tess"):
        await SpeechServer("http://127.0.0.1:9", model="tts", voice={"male": "onyx"})("Hello.", planned.persona)


async def test_a_chat_model_answers_with_the_conversation_so_far(
    tmp_path: Path, planned: PlannedScenario, server: Server
) -> None:
    with Run(tmp_path / "run", write=True) as run:
        told = tell(run, words=f"chat:{server.url}", words_options={"model": "m", "words": 9})
        assert (await told.writer.reply(planned, 2)).text == "Reply 2."
        assert (await told.writer.reply(planned, 1)).text == "Reply 1."
        assert told.identity["words"]["from"] == "chat" and told.identity["words"]["model"] == "m"
    messages = server.requests[1].json["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[2]["content"] == "Reply 1."


async def test_a_thinker_hears_thinks_and_speaks_once(tmp_path: Path, planned: PlannedScenario, server: Server) -> None:
    recording = tmp_path / "user.wav"
    recording.write_bytes(wav(0.2, 16_000))
    heard = PlannedScenario(planned.scenario, planned.persona, (recording, None), planned.portrait, planned.references)
    with Run(tmp_path / "run", write=True) as run:
        for _ in range(2):
            told = tell(run, words=f"thinker:{server.url}", words_options={"model": "omni"})
            script = await told.writer.reply(heard, 2)
            spoken = await told.speaker.speak(heard, 2, script)
            assert script.text == "Reply 2." and spoken.seconds == pytest.approx(0.5)
    assert len(server.requests) == 2
    (part_heard,) = server.requests[0].json["messages"][1]["content"]
    assert part_heard["input_audio"]["format"] == "wav"
    assert base64.b64decode(part_heard["input_audio"]["data"]) == recording.read_bytes()
    assert server.requests[1].json["messages"][-1]["content"] == planned.scenario.turns[1].text


@pytest.mark.parametrize(("said", "variant"), [("I am sorry. How are you, really?", 1), ("I am sorry.", 0)])
async def test_a_thinker_hears_the_recording_of_the_line_that_its_answer_calls_for(
    tmp_path: Path, said: str, variant: int
) -> None:
    """The bundled recordings are Ogg, which no such server takes, and a variant has a recording of its own."""
    whole = load_set("all")
    (part,) = [p for p in plan_scenarios(whole, whole) if p.scenario.id == "support-breakup-playlist"]
    recorded = part.line_audio(2, variant)
    assert recorded is not None and recorded.suffix == ".ogg"
    turn = part.scenario.turns[1]
    async with Server(said) as server, MediaPool() as media:
        with Run(tmp_path / "run", write=True) as run:
            told = tell(run, words=f"thinker:{server.url}", words_options={"model": "omni"})
            await told.speaker.speak(part, 3, await told.writer.reply(part, 3))
            wanted = await media.audio(recorded)
        _, second, third = (request.json["messages"] for request in server.requests)
    (heard,) = second[-1]["content"]
    assert heard["input_audio"]["format"] == "wav" and wanted is not None
    samples, header = decode_wav(base64.b64decode(heard["input_audio"]["data"]))
    assert len(samples) / header.rate == pytest.approx(len(wanted) / AUDIO_RATE)
    assert third[3]["content"] == turn.line(variant), "what was heard stays in the conversation as its words"
    assert (turn.line(variant) == turn.text) == (variant == 0)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"content": "Only words."}, "no sound; serve the model with its talker"),
        ({"content": "Words.", "audio": {"data": "bm8gd2F2"}}, "no WAV file"),
    ],
)
async def test_a_thinker_without_a_voice_is_told_about(
    tmp_path: Path, planned: PlannedScenario, message: Any, words: str
) -> None:
    async with Server(chat=Plain(body=json.dumps({"choices": [{"message": message}]}).encode())) as server:
        with Run(tmp_path / "run", write=True) as run, pytest.raises(ScriptError, match=words):
            await tell(run, words=f"thinker:{server.url}", words_options={"model": "omni"}).writer.reply(planned, 1)
