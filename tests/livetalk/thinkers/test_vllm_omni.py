"""Qwen3-Omni behind vLLM-Omni, over real HTTP against a server that speaks its format."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
import pytest
from http_stub import HttpStub, Plain, Request, Streamed
from live_kit import PATIENCE_S
from livetalk.thinkers.base import Message, Question, TextDelta, Thinker, ThinkerError
from livetalk.thinkers.messages import MAX_HISTORY_CHARACTERS, SPEAKING, UNKNOWN_WORDS
from livetalk.thinkers.sound import to_wav
from livetalk.thinkers.vllm_omni import KEY_VARIABLE, VllmOmniThinker
from omni_stub import MODEL, Answer, OmniStub, tone
from thinker_kit import Told, asked, started, told, until_sound

SHORT = Answer(text=("Hi ", "you."), sound=(tone(0.001),))


async def ask(stub: HttpStub, question: Any = None, **options: Any) -> Told:
    async with started(VllmOmniThinker(stub.url, **options)) as thinker:
        return await told(thinker, question or asked())


def always(answer: Answer) -> OmniStub:
    return OmniStub(lambda request, number: answer)


async def test_an_answer_comes_as_text_and_sound() -> None:
    async with OmniStub() as stub, started(VllmOmniThinker(f"{stub.url}/v1/")) as thinker:
        assert thinker.name == f"vllm-omni {MODEL}"
        answer = await told(thinker, asked("How are you?", seed=7))
    assert answer.error is None
    assert answer.text == "Hello there. How are you?"
    np.testing.assert_allclose(answer.samples, np.concatenate(Answer().sound), atol=1e-4)
    assert {piece.rate for piece in answer.speech} == {24_000}
    assert stub.questions == [
        {
            "model": MODEL,
            "messages": [
                {"role": "system", "content": f"You are Ada, a pilot.\n\n{SPEAKING}"},
                {"role": "user", "content": "How are you?"},
            ],
            "modalities": ["text", "audio"],
            "audio": {"format": "pcm"},
            "stream": True,
            "seed": 7,
        }
    ]


@pytest.mark.parametrize(
    "shape",
    [
        {"form": "wav"},
        {"form": "wav", "metadata": False},
        {"form": "pcm", "metadata": False},
        {"form": "pcm", "openai": True},
        {"form": "wav", "openai": True},
    ],
)
async def test_every_way_to_carry_sound_is_understood(shape: dict[str, Any]) -> None:
    sound = (tone(0.1), tone(0.2), tone(0.05))
    async with always(Answer(sound=sound, **shape)) as stub:
        answer = await ask(stub)
    assert answer.error is None
    assert answer.text == "Hello there. How are you?"
    np.testing.assert_allclose(answer.samples, np.concatenate(sound), atol=1e-4)


async def test_pieces_are_given_as_they_come() -> None:
    gate = asyncio.Event()
    async with always(Answer(gates={3: gate})) as stub, started(VllmOmniThinker(stub.url)) as thinker:
        answer = thinker.answer(asked())
        assert await anext(answer) == TextDelta("Hello ")
        first = await until_sound(answer)
        assert len(first.samples) == 0.32 * 24_000, "while the service has not written the rest yet"
        gate.set()
        assert [piece.text async for piece in answer if isinstance(piece, TextDelta)] == ["there. ", "How are you?"]


async def test_what_the_user_said_goes_as_sound_and_the_past_as_text() -> None:
    now, before = tone(0.5, rate=16_000), tone(0.25, rate=16_000)
    history = (
        Message("user", "Hello", before),
        Message("assistant", "Hello you"),
        Message("user", None, before),
        Message("assistant", None),
        Message("user", "And another"),
        Message("assistant", "Well"),
    )
    async with OmniStub() as stub:
        answer = await ask(stub, asked(None, now, history=history, voice="Ethan"))
    assert answer.error is None
    assert stub.questions[0]["speaker"] == "Ethan"
    roles = [(message["role"], message["content"]) for message in stub.questions[0]["messages"]]
    assert roles[1:3] == [("user", "Hello"), ("assistant", "Hello you")]
    assert roles[3][0] == "user", "what was not answered is one message with what came next"
    assert [part["type"] for part in roles[3][1]] == ["input_audio", "text"]
    assert roles[4] == ("assistant", "Well")
    assert [part["type"] for part in roles[5][1]] == ["input_audio"]
    np.testing.assert_allclose(stub.heard[0], before, atol=1e-4)
    np.testing.assert_allclose(stub.heard[1], now, atol=1e-4)


async def test_a_conversation_of_any_length_fits() -> None:
    long = tuple(Message(role, f"{number} " + "x" * 990) for number in range(100) for role in ("user", "assistant"))
    spoken = tuple(Message("user", None, np.zeros(50 * 16_000, np.float32)) for _ in range(4))
    async with OmniStub() as stub:
        await ask(stub, asked(history=long))
        await ask(stub, asked(history=spoken))
    contents = [message["content"] for message in stub.questions[0]["messages"]]
    assert sum(map(len, contents[1:-1])) <= MAX_HISTORY_CHARACTERS
    assert contents[-2].startswith("99 ") and contents[-1] == "How are you?"
    parts = stub.questions[1]["messages"][1]["content"]
    assert [part.get("text", "sound") for part in parts] == [UNKNOWN_WORDS] * 2 + ["sound"] * 2 + ["How are you?"]


async def test_a_conversation_outlives_the_models_context() -> None:
    refusal = Plain(400, {"error": {"message": "This model's maximum context length is 32768 tokens.", "code": 400}})
    history = [Message(role, f"{role} {turn}") for turn in range(8) for role in ("user", "assistant")]
    stub = OmniStub(lambda request, number: Answer(instead=refusal if len(request["messages"]) > 8 else None))
    async with stub:
        answer = await ask(stub, asked(history=tuple(history)))
        stub.script = lambda request, number: Answer(instead=refusal)
        hopeless = await ask(stub)
    assert answer.error is None and answer.text
    assert [message["content"] for message in stub.questions[2]["messages"]][1::4] == ["user 6", "How are you?"]
    assert hopeless.code == "failed" and "32768" in str(hopeless.error)


async def test_leaving_an_answer_closes_the_connection_at_once() -> None:
    never = asyncio.Event()
    async with always(Answer(gates={3: never})) as stub, started(VllmOmniThinker(stub.url)) as thinker:
        answer = thinker.answer(asked())
        await until_sound(answer)
        assert not stub.left.is_set()
        await answer.aclose()  # type: ignore[attr-defined]
        await asyncio.wait_for(stub.left.wait(), PATIENCE_S)
        stub.script = lambda request, number: SHORT
        assert (await told(thinker, asked())).text == "Hi you.", "and the thinker can be asked again"


async def test_cancelling_the_reader_closes_the_connection_too() -> None:
    never = asyncio.Event()
    async with always(Answer(gates={0: never})) as stub, started(VllmOmniThinker(stub.url)) as thinker:
        reading = asyncio.create_task(told(thinker, asked()))
        await stub.asked("/v1/chat/completions")
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.wait_for(stub.left.wait(), PATIENCE_S)


async def test_characters_survive_being_cut_in_two_and_halves_do_no_harm() -> None:
    text = ("A \ud83d", "\ude00 and ", "\udc00", "\ud83d")
    async with always(Answer(text=text, sound=(tone(0.01),))) as stub:
        answer = await ask(stub, asked("half \ud83d", history=(Message("assistant", "other \ude00"),)))
    assert answer.error is None
    assert answer.text == "A 😀 and \ufffd"
    assert [message["content"] for message in stub.questions[0]["messages"][1:]] == ["other \ufffd", "half \ufffd"]


@pytest.mark.parametrize("question", [asked(None), asked("  \n"), asked(None, np.zeros(0, np.float32))])
async def test_a_turn_of_nothing_is_not_asked(question: Question) -> None:
    async with OmniStub() as stub:
        answer = await ask(stub, question)
    assert answer.code == "unsupported" and "say or type something" in str(answer.error)
    assert stub.questions == []


async def test_several_answers_at_once() -> None:
    def script(request: dict[str, Any], number: int) -> Answer:
        return Answer(text=(request["messages"][-1]["content"],), sound=(tone(0.01),))

    async with OmniStub(script) as stub, started(VllmOmniThinker(stub.url)) as thinker:
        answers = await asyncio.gather(*(told(thinker, asked(f"question {number}")) for number in range(8)))
    assert [answer.text for answer in answers] == [f"question {number}" for number in range(8)]


async def test_a_stream_cut_anywhere_ends_in_a_clear_outcome() -> None:
    async with (
        OmniStub(lambda request, number: SHORT, model="m") as stub,
        started(VllmOmniThinker(stub.url)) as thinker,
    ):
        whole = await told(thinker, asked())
        assert whole.error is None
        # The last chunk, which only says that the body is over, is of no interest once the answer has said so itself.
        end = stub.sent - len(b"0\r\n\r\n") - len(b"\r\n")
        outcomes = set()
        for place in range(stub.sent):
            stub.cut_at = place
            answer = await told(thinker, asked())
            assert whole.text.startswith(answer.text)
            np.testing.assert_array_equal(answer.samples, whole.samples[: len(answer.samples)])
            outcomes.add((answer.code, place >= end))
            if answer.error is None:
                assert (answer.text, len(answer.samples)) == (whole.text, len(whole.samples))
    assert outcomes == {("broken", False), (None, True)}


@pytest.mark.parametrize(
    ("extra", "code", "says"),
    [
        (b"data: {not json}\n\n", "broken", "JSON"),
        (b"data: [1, 2]\n\n", "broken", "JSON"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "broken", "JSON"),
        (b'data: {"choices": [{"delta": 5}]}\n\n', "broken", "chat completion"),
        (b"data: \xc3\n\n", "broken", "UTF-8"),
        ({"choices": [{"delta": {"content": "%%%"}}], "modality": "audio"}, "broken", "base64"),
        ({"choices": [{"delta": {"content": "QUJDR"}}], "modality": "audio"}, "broken", "base64"),
        ({"choices": [{"delta": {"content": 7}}], "modality": "audio"}, "broken", "base64"),
        ({"choices": [{"delta": {"content": "é"}}], "modality": "audio"}, "broken", "base64"),
        (
            {"choices": [{"delta": {"content": "AAAA"}, "audio_metadata": {"format": "mp3"}}], "modality": "audio"},
            "broken",
            "another format",
        ),
        ({"choices": ["x"]}, "broken", "chat completion"),
        ({"object": "error", "message": "no memory", "code": 503}, "overloaded", "no memory"),
        (b'event: error\ndata: {"message": "no memory"}\n\n', "broken", "no memory"),
        ({"choices": [{"delta": {}, "finish_reason": "error"}]}, "broken", "broke the answer off"),
        ({"choices": [{"delta": {"content": ""}, "finish_reason": "abort"}], "modality": "audio"}, "broken", "off"),
        (
            {"error": {"message": "CUDA out of\nmemory\x1b[31m", "type": "InternalServerError", "code": 500}},
            "broken",
            "broke the answer off: CUDA out of memory",
        ),
        ({"error": {"message": "slow down", "code": 429}}, "overloaded", "slow down"),
        ({"error": "plain words"}, "broken", "plain words"),
        ({"error": {"code": 5}}, "broken", "it did not say why"),
        ({"choices": [{"delta": {}, "finish_reason": "content_filter"}]}, "refused", "refuses"),
    ],
)
async def test_what_goes_wrong_in_the_stream_is_told_after_what_came_before(extra: Any, code: str, says: str) -> None:
    async with always(Answer(extra={3: extra})) as stub:
        answer = await ask(stub)
    assert answer.text == "Hello "
    assert len(answer.samples) == 0.32 * 24_000
    assert answer.code == code
    assert says in str(answer.error)
    assert "\x1b" not in str(answer.error) and "\n" not in str(answer.error)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(sound=()), "has no sound"),
        (Answer(text=(), sound=()), "has no sound"),
        (Answer(done=False, finish=None), "ended before"),
        (Answer(form="mp3"), "another format"),
        (Answer(form="mp3", metadata=False, sound=(np.zeros(3, np.float32),)), None),
    ],
)
async def test_answers_that_are_none(answer: Answer, says: str | None) -> None:
    async with always(answer) as stub:
        got = await ask(stub)
    if says is None:
        # Nothing says that these are not the samples that were asked for.
        assert got.error is None
    else:
        assert got.code == "broken" and says in str(got.error)
        assert got.text == "".join(answer.text) or answer.form == "mp3"


def in_wav(sound: bytes, announced: int | None = None) -> bytes:
    """A WAV file of 16-bit samples at 24 kHz, of the length that its header announces."""
    file = to_wav(np.frombuffer(sound, "<i2").astype(np.float32) / np.float32(32_767), 24_000)
    return file if announced is None else file[:40] + struct.pack("<I", announced) + file[44:]


PCM = (tone(0.01) * 32767).round().astype("<i2").tobytes()


@pytest.mark.parametrize(
    "pieces",
    [
        (in_wav(PCM[:100]), in_wav(PCM[100:300]), in_wav(PCM[300:])),
        (in_wav(PCM[:101] + b"\0", 0xFFFFFFFF)[:-1], PCM[101:302], PCM[302:]),
        (in_wav(PCM)[:99], in_wav(PCM)[99:200], in_wav(PCM)[200:]),
        (in_wav(PCM[:100]), PCM[100:201], PCM[201:]),
        (in_wav(PCM)[:7], in_wav(PCM)[7:45], in_wav(PCM)[45:]),
    ],
    ids=["a file each", "a file without an end", "one file", "a file and raw samples", "cut in the header"],
)
@pytest.mark.parametrize("form", ["wav", None])
async def test_files_in_pieces_of_sound(pieces: tuple[bytes, ...], form: str | None) -> None:
    described = {} if form is None else {"audio_metadata": {"format": form, "sample_rate_hz": 24_000, "channels": 1}}
    events = [
        {"choices": [{"delta": {"content": base64.b64encode(piece).decode()}, **described}], "modality": "audio"}
        for piece in pieces
    ]
    words = ("a", "b", "c", "d")
    async with always(Answer(text=words, sound=(), extra=dict(enumerate(events)))) as stub:
        answer = await ask(stub)
        assert answer.error is None and answer.text == "abcd"
        np.testing.assert_allclose(answer.samples, tone(0.01), atol=1e-4)
        stub.script = lambda request, number: Answer(text=words, sound=(), extra={0: events[0]})
        short = await ask(stub)
    assert np.array_equal(short.samples, answer.samples[: len(short.samples)])
    # Half a sample of a file without an end is left out; one that says how long it is has to be there, and its head.
    unending = pieces[0][40:44] == b"\xff" * 4
    whole = len(in_wav(PCM[:100]))
    assert short.code == (None if unending or len(pieces[0]) == whole else "broken")


async def test_a_chunk_may_name_no_modality_and_add_nothing() -> None:
    last = [{"choices": [{"index": 0, "finish_reason": "stop", **delta}]} for delta in ({}, {"delta": None})]
    plain = {"choices": [{"delta": {"content": "Oh. "}}], "modality": None}
    usage = {"choices": None, "usage": {"total_tokens": 3}, "modality": None}
    async with always(Answer(extra={1: plain, 2: usage, 3: last[0], 4: last[1]})) as stub:
        answer = await ask(stub)
    assert (answer.text, answer.error) == ("Oh. Hello there. How are you?", None)


async def test_samples_may_be_split_between_chunks_and_half_a_one_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = (tone(0.01) * 32767).round().astype("<i2").tobytes()

    def pieces(*parts: bytes) -> Answer:
        events = {
            number: {
                "choices": [{"index": 0, "delta": {"content": base64.b64encode(part).decode()}}],
                "modality": "audio",
            }
            for number, part in enumerate(parts)
        }
        return Answer(text=("a", "b", "c", "d"), sound=(), extra=events)

    async with always(pieces(whole[:101], whole[101:102], whole[102:401], whole[401:])) as stub:
        answer = await ask(stub)
        assert answer.error is None
        np.testing.assert_allclose(answer.samples, tone(0.01), atol=1e-4)
        assert caplog.messages == []
        stub.script = lambda request, number: pieces(whole[:101])
        answer = await ask(stub)
    assert answer.error is None and len(answer.samples) == 50
    assert "in the middle of a sample" in caplog.text


async def test_a_stream_may_leave_its_last_mark_out() -> None:
    async with always(Answer(done=False)) as stub:
        answer = await ask(stub)
    assert (answer.error, answer.text, len(answer.samples)) == (None, "Hello there. How are you?", 26_880)


@pytest.mark.parametrize("spelt", ["url-safe", "in lines", "without padding", "as a data URL"])
async def test_every_legal_spelling_of_base64_is_read(spelt: str) -> None:
    sound = bytes(range(256)) * 2 + b"\xfb\xef"  # all letters of both alphabets, and padding
    plain = base64.b64encode(sound).decode()
    assert "+" in plain and "/" in plain and plain.endswith("=")
    spelling = {
        "url-safe": base64.urlsafe_b64encode(sound).decode(),
        "in lines": base64.encodebytes(sound).decode().replace("\n", "\r\n"),
        "without padding": plain.rstrip("="),
        "as a data URL": f"data:audio/pcm;base64,{plain}",
    }[spelt]
    event = {"choices": [{"index": 0, "delta": {"content": spelling}}], "modality": "audio"}
    async with always(Answer(text=("a",), sound=(), extra={0: event})) as stub:
        answer = await ask(stub)
    np.testing.assert_array_equal(answer.samples, np.frombuffer(sound, "<i2") / np.float32(32768))


async def test_sound_keeps_its_rate() -> None:
    async with OmniStub() as stub:
        encoded = base64.b64encode(to_wav(tone(0.1), 16_000)).decode()
        slower = {"choices": [{"delta": {"content": encoded}}], "modality": "audio"}
        stub.script = lambda request, number: Answer(sound=(tone(0.1),), form="wav", extra={3: slower})
        answer = await ask(stub)
    assert answer.code == "broken" and "sampling rate" in str(answer.error)


@pytest.mark.parametrize(
    ("response", "code", "says"),
    [
        (Plain(401, {"error": "Unauthorized"}), "unauthorized", KEY_VARIABLE),
        (Plain(403, {"error": {"message": "no"}}), "unauthorized", KEY_VARIABLE),
        (Plain(404, {"error": {"message": "The model `x` does not exist."}}), "failed", "The model `x` does not exist"),
        (Plain(404, {"detail": "Not Found"}), "failed", "neither this model nor this path"),
        (Plain(429, {"error": {"message": "Slow down"}}, {"retry-after": "7"}), "overloaded", "wait 7 s"),
        (Plain(503, b"", {"retry-after": "soon"}), "overloaded", "Try again later"),
        (Plain(400, {"error": {"message": "context too long", "code": 400}}), "failed", "context too long"),
        (Plain(400, {"error": {"message": "x", "code": "content_filter"}}), "refused", "refuses"),
        (Plain(422, {"detail": [{"msg": "Field required"}]}), "failed", "Field required"),
        (Plain(500, b"<html><h1>Internal Server Error</h1></html>"), "failed", "status 500."),
        (Plain(504, b""), "timed_out", "too long"),
        (Plain(307, b"", {"location": "http://169.254.169.254/"}), "failed", "redirect"),
        (Plain(200, b"<html>Please log in</html>", {"content-type": "text/html"}), "broken", "does not stream"),
        (Plain(200, {"choices": []}), "broken", "does not stream"),
        (
            Plain(200, b"\x1f\x8b" + b"\0" * 50, {"content-type": "text/event-stream", "content-encoding": "gzip"}),
            "broken",
            "compresses",
        ),
        (Plain(400, b"x" * 200_000), "failed", "status 400."),
    ],
)
async def test_refusals_say_what_to_do(response: Plain, code: str, says: str) -> None:
    async with always(Answer(instead=response)) as stub:
        answer = await ask(stub)
    assert (answer.text, answer.speech) == ("", [])
    assert answer.code == code
    assert says in str(answer.error)
    assert len(str(answer.error)) < 700
    assert len(stub.requests) == 2, "one for the list of models and one for the answer; none to anywhere else"


async def test_a_flood_is_stopped() -> None:
    async def flood() -> AsyncGenerator[bytes, None]:
        for _ in range(600):
            yield b"x" * 65_536

    async with always(Answer(instead=Streamed(flood()))) as stub:
        answer = await ask(stub)
        assert answer.code == "broken" and "longer than" in str(answer.error)
        await asyncio.wait_for(stub.left.wait(), PATIENCE_S)


async def test_a_service_that_falls_silent_is_given_up() -> None:
    never = asyncio.Event()
    async with always(Answer(gates={3: never})) as stub:
        answer = await ask(stub, silence_s=1.0)
        assert answer.code == "timed_out" and answer.text == "Hello "
        await asyncio.wait_for(stub.left.wait(), PATIENCE_S)


async def test_a_service_that_closes_the_connection_without_a_word() -> None:
    class Rude(HttpStub):
        async def respond(self, request: Request) -> Plain | None:
            return Plain(200, {"data": [{"id": "m"}]}) if request.method == "GET" else None

    async with Rude() as stub:
        assert (await ask(stub)).code == "broken"


async def test_a_service_that_is_not_there() -> None:
    async with OmniStub() as stub:
        url = stub.url
    thinker: Thinker = VllmOmniThinker(url)
    with pytest.raises(ThinkerError, match="Is it running") as caught:
        await thinker.start()
    assert caught.value.code == "unreachable"
    await thinker.stop()
    await thinker.stop()


async def test_a_service_that_dies_between_two_answers() -> None:
    async with OmniStub() as stub:
        thinker = VllmOmniThinker(stub.url)
        await thinker.start()
    answer = await told(thinker, asked())
    assert answer.code == "unreachable"
    async with stub:
        assert (await told(thinker, asked())).error is None, "and comes back"
    await thinker.stop()


async def test_the_model_is_the_one_that_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    async with OmniStub(model="my-omni") as stub:
        assert (await ask(stub)).error is None
        assert stub.questions[0]["model"] == "my-omni"
        with pytest.raises(ThinkerError, match=r"no model 'other'.*--set thinker.model=NAME: my-omni"):
            await ask(stub, model="other")


async def test_voices_are_checked_where_they_are_known() -> None:
    async with OmniStub() as stub, started(VllmOmniThinker(stub.url)) as thinker:
        thinker.check_voice("Chelsie")
        thinker.check_voice("aiden")
        with pytest.raises(ThinkerError, match="Aiden, Chelsie, Ethan"):
            thinker.check_voice("Alloy")
        answer = await told(thinker, asked(voice="nobody"))
    assert answer.code == "failed" and "Supported: aiden" in str(answer.error)
    async with OmniStub(model="tuned") as stub, started(VllmOmniThinker(stub.url)) as thinker:
        thinker.check_voice("whoever")


async def test_the_key_is_shown_to_the_service_and_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    async with OmniStub(key="sk-secret") as stub:
        with pytest.raises(ThinkerError, match=KEY_VARIABLE) as caught:
            await ask(stub)
        assert caught.value.code == "unauthorized"
        assert "authorization" not in stub.requests[0].headers, "another service's key is not shown"
        monkeypatch.setenv(KEY_VARIABLE, "sk-secret")
        echo = Plain(400, {"error": {"message": "Bad request with key sk-secret"}})
        stub.script = lambda request, number: Answer(instead=echo)
        async with started(VllmOmniThinker(stub.url)) as thinker:
            answer = await told(thinker, asked())
            assert "[key]" in str(answer.error)
            shown = [str(answer.error), thinker.name, repr(vars(thinker)), caplog.text]
    assert not any("sk-secret" in text for text in shown)
    for wrong in ("sk-\nsecret", "schlüssel"):
        monkeypatch.setenv(KEY_VARIABLE, wrong)
        with pytest.raises(ThinkerError, match="no key has"):
            VllmOmniThinker("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8091", "ftp://host", "http://", "http://host:99999", "http://user:secret@host", "http://host/?key=secret"],
)  # fmt: skip
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(ThinkerError, match="address of the vLLM-Omni server") as caught:
        VllmOmniThinker(url)
    assert "secret" not in str(caught.value)
