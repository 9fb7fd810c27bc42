"""The transcriber behind an OpenAI-compatible endpoint, against a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import wave
from collections.abc import AsyncIterator, Callable
from email import message_from_bytes
from email.message import Message
from typing import Any

import numpy as np
import pytest

from interbench.asr.base import DOUBTED, Utterance
from interbench.asr.openai import OpenAITranscriber
from interbench.base.errors import TranscriberError, UsageError
from interbench.domain.records import Word

KEY = "sk-secret-ear-42"
GOOD = {
    "text": " Hello there. ",
    "words": [{"word": "Hello", "start": 0.1, "end": 0.4}, {"word": "there", "start": 0.5, "end": 0.9}],
}
Handler = Callable[[dict[str, bytes], int], tuple[int, Any, dict[str, str]]]


class Server:
    """Answers transcription requests as its handler says, and keeps what it got."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.forms: list[dict[str, bytes]] = []
        self.keys: list[str] = []
        self.serving: list[asyncio.Task[None]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.append(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, _, rest = head.partition(b"\r\n")
                headers = message_from_bytes(rest)
                body = await reader.readexactly(int(headers["content-length"]))
                assert first.startswith(b"POST /v1/audio/transcriptions")
                parts = message_from_bytes(f"content-type: {headers['content-type']}\r\n\r\n".encode() + body)
                payload = parts.get_payload()
                assert isinstance(payload, list)
                sections = [part for part in payload if isinstance(part, Message)]
                form = {
                    str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
                    for part in sections
                }
                self.forms.append(form)  # type: ignore[arg-type]
                self.keys.append(str(headers.get("authorization")))
                status, answer, more = self.handler(form, len(self.forms) - 1)  # type: ignore[arg-type]
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                lines = [
                    f"HTTP/1.1 {status} X",
                    f"content-length: {len(data)}",
                    *(f"{k}: {v}" for k, v in more.items()),
                ]
                writer.write("\r\n".join([*lines, "", ""]).encode() + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def running(handler: Handler) -> AsyncIterator[Server]:
    server = Server(handler)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield server
    # Each ends with its connection, which the client has closed.
    await asyncio.wait_for(asyncio.gather(*server.serving), 30)


def speech(seconds: float = 1.0) -> Utterance:
    wave_form = 0.2 * np.sin(np.arange(int(16000 * seconds)) * 0.3)
    return Utterance("s/c/1", wave_form.astype(np.float32), None, None)


class Waits(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


async def hear(server: Server, *utterances: Utterance, **options: Any) -> Any:
    transcriber = OpenAITranscriber(server.url, "whisper-1", **options)
    await transcriber.start()
    try:
        return await transcriber.transcribe(utterances)
    finally:
        await transcriber.stop()


async def test_text_and_word_times() -> None:
    async with running(lambda form, number: (200, GOOD, {})) as server:
        (transcript,) = await hear(server, speech(2.0))
    assert transcript.text == "Hello there." and transcript.flags == () and transcript.error is None
    assert [(word.text, word.start_s, word.end_s) for word in transcript.words] == [
        ("Hello", 0.1, 0.4),
        ("there", 0.5, 0.9),
    ]
    form = server.forms[-1]
    assert (form["model"], form["language"], form["response_format"]) == (b"whisper-1", b"en", b"verbose_json")
    with wave.open(io.BytesIO(form["file"])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16000, 1, 32000)


async def test_silence_and_no_track_are_not_sent() -> None:
    async with running(lambda form, number: (200, GOOD, {})) as server:
        transcripts = await hear(
            server,
            Utterance("a", None, None, None),
            Utterance("b", np.zeros(16000, np.float32), None, None),
            Utterance("c", np.zeros(3, np.float32), None, None),
        )
        assert len(server.forms) == 1  # the check at the start
    assert [(t.text, t.flags) for t in transcripts] == [("", ("no_audio",)), ("", ("silent",)), ("", ("silent",))]


async def test_a_server_without_word_times_is_asked_plainly() -> None:
    def handler(form: dict[str, bytes], number: int) -> tuple[int, Any, dict[str, str]]:
        if form["response_format"] == b"verbose_json":
            return 400, {"error": {"message": "response_format not supported"}}, {}
        return 200, {"text": "hello"}, {}

    async with running(handler) as server:
        transcripts = await hear(server, speech(), speech())
        assert len(server.forms) == 4
    assert [(t.text, t.flags, t.words) for t in transcripts] == [("hello", ("no_word_times",), ())] * 2


@pytest.mark.parametrize(
    ("answer", "flags"),
    [
        ({"text": ""}, ("no_speech",)),
        ({"text": "  "}, ("no_speech",)),
        ({"text": "hi", "words": "none"}, ("no_word_times",)),
        ({"text": "hi", "words": [{"word": "hi"}]}, ("no_word_times",)),
        ({"text": "hi", "words": None, "segments": None}, ("no_word_times",)),
        (b'{"text": "hi", "words": [{"word": "hi", "start": NaN, "end": 1}]}', ("no_word_times",)),
        (b'{"text": "hi", "words": [{"word": "hi", "start": 0, "end": Infinity}]}', ("no_word_times",)),
        ({"text": "hi", "words": [{"word": "hi", "start": 0.5, "end": 99}]}, ("no_word_times",)),
        ({"text": "hi", "words": [{"word": "hi", "start": 0.5, "end": 0.4}]}, ("no_word_times",)),
    ],
)
async def test_odd_answers_are_flagged(answer: Any, flags: tuple[str, ...]) -> None:
    async with running(lambda form, number: (200, answer, {})) as server:
        (transcript,) = await hear(server, speech())
    assert transcript.flags == flags and transcript.error is None


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"not json", {}),
        (200, b"<html>Sign in</html>", {}),
        (200, b"[" * 100_000, {}),
        (200, [], {}),
        (200, {"no": "text"}, {}),
        (200, {"text": ["hi"]}, {}),
        (200, b'{"text": "' + b"a" * (33 * 2**20) + b'"}', {}),
        (413, {"error": "too large"}, {}),
        (500, b'{"error": {"message": "\\ud800"}}', {}),
    ],
)
async def test_no_transcript_is_an_error_not_silence(answer: tuple[int, Any, dict[str, str]]) -> None:
    async with running(lambda form, number: answer if number else (200, GOOD, {})) as server:
        (transcript,) = await hear(server, speech(), sleep=Waits())
    assert transcript.text == "" and "s/c/1" in transcript.error
    assert transcript.error.isprintable() and len(transcript.error) < 600


async def test_times_in_segments_are_taken() -> None:
    segments = [
        {"words": [{"word": " Hello", "start": 0, "end": 0.4}]},
        {"words": [{"word": " you", "start": 1, "end": 2}]},
    ]
    async with running(lambda form, number: (200, {"text": "Hello you", "segments": segments}, {})) as server:
        (transcript,) = await hear(server, speech(2.0))
    assert transcript.words == (Word("Hello", 0, 0.4), Word("you", 1, 2)) and transcript.flags == ()


async def test_half_characters_do_not_reach_the_ledger() -> None:
    said = {"text": "a \ud800 b", "words": [{"word": "\ud800", "start": 0, "end": 1}]}
    async with running(lambda form, number: (200, said, {})) as server:
        (transcript,) = await hear(server, speech())
    assert (transcript.text, transcript.words) == ("a \ufffd b", (Word("\ufffd", 0, 1),))


async def test_one_refused_sound_does_not_cost_the_others_their_word_times() -> None:
    """OpenAI refuses sounds of less than 0.1 s, for instance, whatever form of answer is asked for."""

    def handler(form: dict[str, bytes], number: int) -> tuple[int, Any, dict[str, str]]:
        if len(form["file"]) < 10_000:
            return 400, {"error": {"message": "the audio file is too short"}}, {}
        return 200, GOOD if form["response_format"] == b"verbose_json" else {"text": "Hello there."}, {}

    async with running(handler) as server:
        short, long = await hear(server, speech(0.2), speech(2.0), batch_size=1)
    assert "too short" in short.error and long.flags == () and len(long.words) == 2


async def test_what_is_too_large_for_openai_goes_without_loss_as_flac() -> None:
    async with running(lambda form, number: (200, GOOD, {})) as server:
        (transcript,) = await hear(server, speech(1200))
        sound = server.forms[-1]["file"]
    assert transcript.text == "Hello there."
    assert sound.startswith(b"fLaC") and len(sound) < 25_000_000


async def test_an_answer_that_trickles_is_given_up() -> None:
    ended = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(message_from_bytes(head.partition(b"\r\n")[2])["content-length"]))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        ended.set()

    listening = await asyncio.start_server(trickle, "127.0.0.1", 0)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        with pytest.raises(TranscriberError, match="no answer within"):
            await OpenAITranscriber(url, "m", timeout_s=0.3).start()
        await asyncio.wait_for(ended.wait(), 30)


async def test_busy_servers_are_waited_for_as_they_ask() -> None:
    def handler(form: dict[str, bytes], number: int) -> tuple[int, Any, dict[str, str]]:
        return {1: (429, {}, {"retry-after": "7"}), 2: (503, {}, {}), 3: (500, {}, {})}.get(number, (200, GOOD, {}))

    waits = Waits()
    async with running(handler) as server:
        (transcript,) = await hear(server, speech(), sleep=waits)
    assert transcript.text == "Hello there." and waits == [7, 2, 4]


async def test_patience_ends() -> None:
    waits = Waits()
    async with running(lambda form, number: (429, {}, {}) if number else (200, GOOD, {})) as server:
        (transcript,) = await hear(server, speech(), sleep=waits, attempts=3)
        assert len(server.forms) == 4
    assert waits == [1, 2] and "429" in transcript.error


@pytest.mark.parametrize("answer", [b"<html>Sign in</html>", b"ok", []])
async def test_a_page_that_is_no_transcription_server_is_noticed_at_the_start(answer: Any) -> None:
    async with running(lambda form, number: (200, answer, {})) as server:
        with pytest.raises(TranscriberError, match="not a JSON object"):
            await hear(server, speech())


@pytest.mark.parametrize("status", [307, 401, 403, 404])
async def test_a_server_that_can_not_work_is_noticed_at_the_start(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EAR_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    async with running(lambda form, number: (status, {"error": {"message": f"bad {KEY}"}}, {})) as server:
        with pytest.raises(TranscriberError) as caught:
            await hear(server, speech(), api_key_env="EAR_KEY")
        assert server.keys == [f"Bearer {KEY}"]
    assert KEY not in str(caught.value) + caplog.text


async def test_no_server_is_noticed_at_the_start() -> None:
    with pytest.raises(TranscriberError, match="can't be used"):
        await OpenAITranscriber("http://127.0.0.1:9", "m").start()


def test_an_unset_key_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EAR_KEY", raising=False)
    with pytest.raises(UsageError, match="EAR_KEY"):
        OpenAITranscriber("http://127.0.0.1:9", "m", "EAR_KEY")


async def test_the_key_is_removed_from_transcripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAR_KEY", KEY)
    said = {"text": f"key {KEY}", "words": [{"word": KEY, "start": 0, "end": 1}]}
    async with running(lambda form, number: (200, said, {})) as server:
        (transcript,) = await hear(server, speech(), api_key_env="EAR_KEY")
    assert KEY not in repr(transcript) and transcript.text == "key [key]"


# -- what servers say that nobody expects -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("doubts", "flagged"),
    [
        ([0.98], True),
        ([0.6, 0.99], True),
        ([0.98, 0.1], False),
        ([0.2], False),
        ([0.98, None], False),
        (["0.98"], True),
        ([7], False),
        ([float("nan")], False),
        ([], False),
    ],
    ids=repr,
)
async def test_the_recognisers_own_doubt_is_a_flag_and_the_text_is_kept(doubts: list[Any], flagged: bool) -> None:
    segments = [{"no_speech_prob": doubt, "words": []} for doubt in doubts]
    answer = {"text": "Thank you for watching!", "segments": segments}
    async with running(lambda form, number: (200, answer, {})) as server:
        (transcript,) = await hear(server, speech())
    assert transcript.text == "Thank you for watching!" and transcript.error is None
    assert (DOUBTED in transcript.flags) is flagged


async def test_a_server_on_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with running(lambda form, number: (200, GOOD, {})) as server:
        (transcript,) = await hear(server, speech(2.0))
    assert transcript.text == "Hello there."


@pytest.mark.parametrize("start", [10**400, "9" * 400, float("nan"), float("inf"), "², 1", None, True])
async def test_times_that_are_none_leave_the_words_out(start: Any) -> None:
    answer = {"text": "Half \ud83d word", "words": [{"word": "Half", "start": start, "end": 0.4}]}
    async with running(lambda form, number: (200, json.dumps(answer).encode(), {})) as server:
        (transcript,) = await hear(server, speech())
    assert (transcript.text, transcript.words, transcript.flags) == ("Half \ufffd word", (), ("no_word_times",))


async def test_odd_waits_are_not_heeded() -> None:
    odd = ["²", "9" * 400, "-5", "0", "Mon, 01 Jan 0001 00:00:00 GMT"]

    def handler(form: dict[str, bytes], number: int) -> tuple[int, Any, dict[str, str]]:
        if 1 <= number <= len(odd):
            return 429, {}, {"retry-after": odd[number - 1].encode().decode("latin-1")}
        return 200, GOOD, {}

    waits = Waits()
    async with running(handler) as server:
        (transcript,) = await hear(server, speech(2.0), sleep=waits, attempts=9)
    assert transcript.text == "Hello there." and waits == [1, 2, 4, 8, 16]


async def test_a_redirect_and_an_error_in_a_good_answer_are_told() -> None:
    moved = {"location": "https://elsewhere.example/v1/audio/transcriptions?key=secret"}
    async with running(lambda form, number: (308, b"", moved)) as server:
        with pytest.raises(TranscriberError, match=r"redirects to https://elsewhere\.example/v1/audio/transcriptions,"):
            await hear(server, speech())
    error = {"error": {"message": "The model sleeps."}}
    async with running(lambda form, number: (200, error if number else GOOD, {})) as server:
        (transcript,) = await hear(server, speech())
    assert transcript.error is not None and "The model sleeps." in transcript.error
