"""A set spoken by a server with OpenAI's interface: what it is asked, and what becomes of its trouble."""

from __future__ import annotations

import io
import json
import threading
import wave
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from interbench.base.errors import UsageError
from interbench.cli.set_verbs import Speaker, speak_set
from interbench.domain.persona import Voice
from interbench.media.speech import SpeechError
from interbench.scenarios.sets import load_set, validate_set
from interbench.scenarios.speech_server import SpeechServer


class Server(ThreadingHTTPServer):
    """Answers with a second of tone; ``troubles`` are statuses to answer with first."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.troubles: list[int] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append(json.loads(body) | {"path": self.path})
        self.server.keys.append(self.headers["authorization"])
        status = self.server.troubles.pop(0) if self.server.troubles else 200
        answer = tone() if status == 200 else b'{"error": "no such voice"}'
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        return


def tone() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes((9000 * np.sin(np.arange(48_000) / 9)).astype("<i2").tobytes())
    return buffer.getvalue()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_set_is_spoken_with_voices_and_moods(
    workshop: Any, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_TTS_KEY", "sesame")
    workshop.mute()
    workshop.lines[0]["user_voice"] = {"description": "a man in his sixties"}
    workshop.save()
    speaker = Speaker(url=server.url, model="tts-x", voices=("anna", "ben"), key_env="SOME_TTS_KEY")
    speak_set(workshop.folder, speaker, quiet=True)
    assert "4 files spoken" in capsys.readouterr().out
    assert {asked["path"] for asked in server.asked} == {"/v1/audio/speech"}
    assert set(server.keys) == {"Bearer sesame"}
    first = server.asked[0]
    assert (first["model"], first["input"], first["response_format"]) == (
        "tts-x",
        "Where is the oldest bridge of the city?",
        "wav",
    )
    assert "a man in his sixties" in first["instructions"] and "Mood: curious." in first["instructions"]
    assert len({asked["voice"] for asked in server.asked[:2]}) == 1, "a speaker keeps the voice"
    assert validate_set(workshop.folder) == []
    assert load_set(workshop.folder).scenarios[0].turns[0].audio == "audio/one/1.ogg"
    speak_set(workshop.folder, speaker, quiet=True)
    assert len(server.asked) == 4


def test_a_busy_server_is_asked_again_and_a_refusal_is_told(server: Server) -> None:
    speech = SpeechServer(server.url, model="m", voices=["a"])
    server.troubles = [503]
    assert speech("Hello.", Voice(), "calm").rate == 24_000
    assert len(server.asked) == 2
    server.troubles = [400]
    with pytest.raises(SpeechError, match=r"answered 400: .*no such voice"):
        speech("Hello.", Voice(), "calm")
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "http://127.0.0.1:1", "model": "m"}, "--voices"),
        ({"url": "http://127.0.0.1:1", "command": "x"}, "not both"),
        ({"model": "m"}, "name it with --url"),
    ],
)
def test_options_that_can_t_be_meant(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Speaker(**options).made()
