"""Any chat model with a speech endpoint, over real HTTP."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import wave
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import pytest
from chat_stub import SECONDS_A_CHARACTER, ChatStub, Sound, Words, pcm
from http_stub import Plain
from live_kit import PATIENCE_S, LiveServer, wav
from live_kit import tone as hum
from livetalk.thinkers.base import Message, TextDelta, ThinkerError
from livetalk.thinkers.chat import MAX_ANSWER_CHARACTERS, SPEECH_KEY_VARIABLE, ChatThinker
from livetalk.thinkers.messages import SPEAKING, UNKNOWN_WORDS
from livetalk.thinkers.sound import to_wav
from omni_stub import tone
from thinker_kit import Told, asked, started, told, until_sound

TWO = Words(text=("One is here. ", "Two is there."))


async def ask(stub: ChatStub, question: Any = None, **options: Any) -> Told:
    async with started(ChatThinker(stub.url, **options)) as thinker:
        return await told(thinker, question or asked())


def saying(*text: str, **more: Any) -> ChatStub:
    return ChatStub(lambda request, number: Words(text=text, **more))


def levels(answer: Told) -> list[int]:
    """The numbers of the sentences that were spoken, in the order in which they are heard."""
    found: list[int] = []
    for level in np.round(answer.samples * 100).astype(int).tolist():
        if not found or found[-1] != level:
            found.append(level)
    return found


async def test_an_answer_is_spoken_sentence_by_sentence() -> None:
    history = (Message("user", "Hello"), Message("assistant", "Hello you"))
    async with ChatStub(models=("a", "b")) as stub:
        thinker = ChatThinker(stub.url, model="a", speech_url=f"{stub.url}/v1", speech_model="b", voice="nova")
        async with started(thinker):
            answer = await told(thinker, asked("How are you?", history=history, seed=3))
            assert thinker.name == "chat a + b"
            await told(thinker, asked(voice="onyx"))
    assert answer.error is None
    assert answer.text == "Hello there, dear user. How are you today?"
    assert stub.questions[0] == {
        "model": "a",
        "messages": [
            {"role": "system", "content": f"You are Ada, a pilot.\n\n{SPEAKING}"},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello you"},
            {"role": "user", "content": "How are you?"},
        ],
        "stream": True,
        "seed": 3,
    }
    fields = {"model": "b", "response_format": "pcm", "stream_format": "audio"}
    assert stub.sentences == [
        {**fields, "input": "Hello there, dear user.", "voice": "nova"},
        {**fields, "input": "How are you today?", "voice": "nova"},
        {**fields, "input": "Hello there, dear user.", "voice": "onyx"},
        {**fields, "input": "How are you today?", "voice": "onyx"},
    ]


async def test_the_sound_is_whole_in_order_and_says_what_is_spoken() -> None:
    async with ChatStub() as stub:
        answer = await ask(stub)
    first, second = "Hello there, dear user.", "How are you today?"
    expected = pcm(len(first) * SECONDS_A_CHARACTER, 0.01) + pcm(len(second) * SECONDS_A_CHARACTER, 0.02)
    np.testing.assert_array_equal(answer.samples, np.frombuffer(expected, "<i2").astype(np.float32) / 32768)
    assert {piece.rate for piece in answer.speech} == {24_000}
    lengths = np.cumsum([len(piece.samples) for piece in answer.speech]).tolist()
    ends = [(length, piece.text_end) for length, piece in zip(lengths, answer.speech, strict=True) if piece.text_end]
    assert ends == [(240 * len(first), len(first) + 1), (240 * len(first + second), len(answer.text))]
    assert None in {piece.text_end for piece in answer.speech}, "how far a sentence has come is not known"


async def test_an_answer_cut_short_in_a_sentence_is_remembered_as_far_as_it_was_heard(
    serve: Callable[..., LiveServer],
) -> None:
    words = "All of this is one single sentence that goes on for quite some time without any end to it."
    loud = Sound(pieces=[pcm(0.1, 0.5)] * 60)
    async with ChatStub(lambda request, number: Words(text=(words,)), lambda request, number: loud) as stub:

        def converse() -> dict[str, Any]:
            server = serve(thinker=ChatThinker(stub.url))
            with server.client() as client:
                address = f"/v1/conversations/{server.open(client)}"
                client.post(f"{address}/turns", data={"text": "Tell me."})
                turn: dict[str, Any] = client.post(f"{address}/interrupt", data={"played_s": "3"}).json()
                return turn

        turn = await asyncio.to_thread(converse)
    assert turn["outcome"] == "interrupted"
    assert turn["heard_text"] == "All of this is one single sentence that goes"


async def test_speech_begins_while_the_answer_is_still_written() -> None:
    gate = asyncio.Event()
    stub = saying("One is here. T", "wo is there.", gates={1: gate})
    async with stub, started(ChatThinker(stub.url)) as thinker:
        answer = thinker.answer(asked())
        assert await anext(answer) == TextDelta("One is here. T")
        await until_sound(answer)
        gate.set()
        assert [delta.text async for delta in answer if isinstance(delta, TextDelta)] == ["wo is there."]


async def test_the_next_sentence_is_asked_for_while_one_is_spoken_but_no_further() -> None:
    first, second = asyncio.Event(), asyncio.Event()
    gates = {0: first, 1: second}
    stub = ChatStub(
        lambda request, number: Words(text=tuple(f"Sentence number {name}. " for name in "abcde")),
        lambda request, number: Sound(gate=gates.get(number)),
    )
    async with stub, started(ChatThinker(stub.url)) as thinker:
        telling = asyncio.create_task(told(thinker, asked()))
        await stub.asked("/v1/audio/speech", 2)
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(stub.sentences) == 2
        second.set()
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(stub.sentences) == 2, "the second waits to be heard, and the third waits for it"
        first.set()
        answer = await telling
    assert levels(answer) == [1, 2, 3, 4, 5]
    assert [request["input"][16] for request in stub.sentences] == list("abcde")


async def test_marks_and_emoji_stay_in_the_text_and_out_of_the_speech() -> None:
    text = "**Sure!** Here is [a link](https://example.com/x). 😀\n\n- one thing\n- another thing\n\n🎉"
    async with saying(text) as stub:
        answer = await ask(stub)
    assert answer.error is None and answer.text == text
    assert [request["input"] for request in stub.sentences] == [
        "Sure!",
        "Here is a link.",
        "one thing",
        "another thing",
    ]


async def test_thoughts_are_neither_told_nor_spoken() -> None:
    for thought in ("<think>Hmm. What now?</think>\n\nHello there.", "\n<think>\n</think>Hello there."):
        for size in (1, 2, 5, 100):
            async with saying(*(thought[start : start + size] for start in range(0, len(thought), size))) as stub:
                answer = await ask(stub)
            assert (answer.text, answer.error) == ("Hello there.", None)
            assert [request["input"] for request in stub.sentences] == ["Hello there."]
    async with saying("<thi", "ngs> to say") as stub:
        assert (await ask(stub)).text == "<things> to say"
    async with saying("<thi") as stub:
        assert (await ask(stub)).text == "<thi"
    async with saying("<think>never done") as stub:
        answer = await ask(stub)
    assert (answer.text, answer.code) == ("", "broken")


async def test_a_thought_of_which_only_the_end_is_marked_is_neither_told_nor_spoken() -> None:
    whole = "The user greets me. I should be brief.\n</think>\n\nHello there."
    for size in (1, 7, 100):
        async with saying(*(whole[start : start + size] for start in range(0, len(whole), size))) as stub:
            answer = await ask(stub)
        assert (answer.text, answer.error) == ("Hello there.", None)
        assert [request["input"] for request in stub.sentences] == ["Hello there."]


async def test_a_model_that_thought_once_is_waited_for_from_then_on() -> None:
    gate = asyncio.Event()
    texts = ("I should greet. ", "And be brief.</think>Hi.")
    late = Words(text=texts, gates={1: gate})
    stub = ChatStub(lambda request, number: late if number else Words(text=texts))
    async with stub, started(ChatThinker(stub.url)) as thinker:
        assert (await told(thinker, asked())).text == "Hi."
        second = asyncio.create_task(told(thinker, asked()))
        await stub.asked("/v1/chat/completions", 2)
        gate.set()
        assert (await second).text == "Hi."


async def test_a_thought_that_was_told_before_its_end_ends_the_answer_and_is_learnt_from() -> None:
    gate = asyncio.Event()
    stub = saying("I should greet. A", "nd be brief.</think>Hi.", gates={1: gate})
    async with stub, started(ChatThinker(stub.url)) as thinker:
        answer = thinker.answer(asked())
        await until_sound(answer)
        gate.set()
        with pytest.raises(ThinkerError, match=r"thinker\.thinking=inline") as caught:
            async for _ in answer:
                pass
        assert caught.value.code == "broken"
        assert (await told(thinker, asked())).text == "Hi."


async def test_a_service_that_separates_thoughts_holds_nothing_back() -> None:
    gate = asyncio.Event()
    apart = b'data: {"choices": [{"index": 0, "delta": {"reasoning_content": "Hmm."}}]}\n\n'
    for options, extra in (({"thinking": "separate"}, {}), ({}, {0: apart})):
        stub = saying("One is here. T", "wo is there.", gates={1: gate}, extra=extra)
        async with stub, started(ChatThinker(stub.url, **options)) as thinker:  # type: ignore[arg-type]
            answer = thinker.answer(asked())
            assert await anext(answer) == TextDelta("One is here. T")
            await answer.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", ["deepseek-ai/DeepSeek-R1", "Qwen/QwQ-32B", "Qwen3-30B-A3B-Thinking-2507"])
async def test_a_model_that_always_thinks_is_known_by_its_name(model: str) -> None:
    gate = asyncio.Event()
    words = Words(text=("I should greet. ", "And be brief.</think>Hi."), gates={1: gate})
    stub = ChatStub(lambda request, number: words, models=(model,))
    async with stub, started(ChatThinker(stub.url)) as thinker:
        answer = asyncio.create_task(told(thinker, asked()))
        await stub.asked("/v1/chat/completions")
        gate.set()
        assert (await answer).text == "Hi."


async def test_where_thoughts_are_is_one_of_three() -> None:
    with pytest.raises(ThinkerError, match="auto, inline, separate"):
        ChatThinker("http://127.0.0.1:9", thinking="loud")  # type: ignore[arg-type]


async def test_reasoning_in_fields_of_its_own_is_passed_over() -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": None, "reasoning_content": "Hmm."}}]}
    refusal = {"choices": [{"index": 0, "delta": {"refusal": "I will not."}}]}
    usage = {"choices": [], "usage": {"total_tokens": 3}}
    events = [b"data: " + json.dumps(value).encode() + b"\n\n" for value in (chunk, usage, refusal)]
    async with saying("Yes. ", "", extra={0: events[0] + events[1], 1: events[2]}) as stub:
        assert (await ask(stub)).text == "Yes. I will not."


async def test_an_answer_has_an_end() -> None:
    words = Words(text=["all work and no play " * 40] * 40)
    sound = Sound(pieces=[pcm(0.001, 0.1)])
    async with ChatStub(lambda request, number: words, lambda request, number: sound) as stub:
        answer = await ask(stub)
        assert len(answer.text) == MAX_ANSWER_CHARACTERS
        assert answer.error is None


async def test_a_spoken_turn_is_written_down_first() -> None:
    now, before = tone(0.3, rate=16_000), tone(0.2, rate=16_000)
    history = (Message("user", None, before), Message("assistant", "Yes"))
    async with ChatStub() as stub, started(ChatThinker(stub.url, transcribe_url=stub.url)) as thinker:
        answers = [await told(thinker, asked(None, now, history=history)) for _ in range(2)]
        typed = await told(thinker, asked("typed words", now))
    assert [answer.error for answer in [*answers, typed]] == [None] * 3
    assert [answer.heard for answer in [*answers, typed]] == [["what I said"], ["what I said"], []]
    contents = [message["content"] for message in stub.questions[0]["messages"]]
    assert contents[1:] == ["what I said", "Yes", "what I said"]
    assert stub.questions[2]["messages"][-1]["content"] == "typed words"
    assert len(stub.transcribed) == 2, "each sound is written down once"
    with wave.open(io.BytesIO(stub.transcribed[1])) as file:
        assert (file.getframerate(), file.getnframes()) == (16_000, len(now))


async def test_a_spoken_turn_without_words_is_not_answered() -> None:
    async with ChatStub() as stub:
        stub.transcript = "  "
        answer = await ask(stub, asked(None, tone(0.3, rate=16_000)), transcribe_url=stub.url)
    assert answer.code == "unsupported" and "say it again" in str(answer.error)
    assert stub.questions == [] and answer.heard == []


async def test_sound_of_the_past_without_words_is_not_sent_to_a_model_that_reads() -> None:
    history = (Message("user", None, tone(0.2, rate=16_000)), Message("assistant", "Yes"))
    async with ChatStub() as stub:
        stub.transcript = ""
        answer = await ask(stub, asked("typed", history=history), transcribe_url=stub.url)
    assert answer.error is None
    assert [message["content"] for message in stub.questions[0]["messages"]][1:] == [UNKNOWN_WORDS, "Yes", "typed"]


@pytest.mark.parametrize(
    "refusal",
    [
        {"message": "This model's maximum context length is 8192 tokens. However, you requested 9001.", "code": 400},
        {
            "message": "The decoder prompt (length 9001) is longer than the maximum model length of 8192. Make sure "
            "that `max_model_len` is no smaller than the number of text tokens plus multimodal tokens."
        },
        {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"},
        {"message": "Please shorten.", "code": "context_length_exceeded"},
    ],
)
async def test_a_conversation_outlives_the_models_context(refusal: dict[str, Any]) -> None:
    def words(request: dict[str, Any], number: int) -> Words:
        full = len(request["messages"]) > 6
        return Words(instead=Plain(400, {"error": refusal})) if full else TWO

    said = [("user", f"Question {turn}") if turn % 2 == 0 else ("assistant", f"Answer {turn}") for turn in range(40)]
    async with ChatStub(words) as stub, started(ChatThinker(stub.url)) as thinker:
        answer = await told(thinker, asked(history=tuple(Message(*message) for message in said)))  # type: ignore[arg-type]
        asked_for = [message["content"] for message in stub.questions[-1]["messages"]]
        stub.words = lambda request, number: Words(instead=Plain(400, {"error": refusal}))
        hopeless = await told(thinker, asked())
    assert answer.error is None and answer.text == "One is here. Two is there."
    assert asked_for[1:] == ["Question 36", "Answer 37", "Question 38", "Answer 39", "How are you?"]
    assert hopeless.code == "failed" and refusal["message"].rstrip(".") in str(hopeless.error)


async def test_half_a_character_in_a_transcript_harms_nothing() -> None:
    async with ChatStub() as stub:
        stub.transcript = "so \ud83d"
        answer = await ask(stub, asked(None, tone(0.3, rate=16_000)), transcribe_url=stub.url)
    assert (answer.heard, answer.error) == (["so \ufffd"], None)
    assert stub.questions[0]["messages"][-1]["content"] == "so \ufffd"


async def test_the_words_of_a_spoken_turn_are_shown_and_remembered(serve: Callable[..., LiveServer]) -> None:
    async with ChatStub() as stub:

        def converse() -> list[dict[str, Any]]:
            server = serve(thinker=ChatThinker(stub.url, transcribe_url=stub.url), live={"history_audio_s": 0.0})
            spoken = {"audio": ("turn.wav", wav(hum(0.5)), "audio/wav")}
            with server.client() as client:
                name = server.open(client)
                for turn in (
                    {"files": spoken},
                    {"data": {"text": "I typed."}},
                    {"files": spoken, "data": {"text": "I said."}},
                ):
                    response = client.post(f"/v1/conversations/{name}/turns", **turn)
                    assert response.status_code == 200, response.text
                    index = response.headers["livetalk-turn"]
                    server.check_documented(client.get(f"/v1/conversations/{name}/turns/{index}"))
                turns: list[dict[str, Any]] = client.get(f"/v1/conversations/{name}").json()["turns"]
                return turns

        turns = await asyncio.to_thread(converse)
    assert [(turn["user_text"], turn["user_text_source"]) for turn in turns] == [
        ("what I said", "transcribed"),
        ("I typed.", "typed"),
        ("I said.", "typed"),
    ]
    said = [message["content"] for message in stub.questions[2]["messages"] if message["role"] == "user"]
    assert said == ["what I said", "I typed.", "I said."], "also where the sound itself is no longer kept"
    assert len(stub.transcribed) == 1


async def test_a_turn_of_nothing_is_not_asked() -> None:
    async with ChatStub() as stub:
        answer = await ask(stub, asked(" ", np.zeros(0, np.float32)), transcribe_url=stub.url)
    assert answer.code == "unsupported" and "say or type something" in str(answer.error)
    assert stub.questions == [] and stub.transcribed == []


async def test_characters_may_be_cut_in_two() -> None:
    async with saying("So \ud83d", "\ude00 it is.") as stub:
        answer = await ask(stub, asked("half \ud83d"), voice="\udc00")
    assert (answer.text, answer.error) == ("So 😀 it is.", None)
    assert stub.sentences[0]["input"] == "So it is."


async def test_a_model_that_hears_gets_the_sound() -> None:
    async with ChatStub(hears=True) as stub:
        answer = await ask(stub, asked(None, tone(0.3, rate=16_000)))
    assert answer.error is None
    assert [part["type"] for part in stub.questions[0]["messages"][-1]["content"]] == ["input_audio"]


async def test_a_model_that_cannot_hear_says_what_to_do_and_can_still_be_written_to() -> None:
    spoken = tone(0.3, rate=16_000)
    async with ChatStub() as stub, started(ChatThinker(stub.url)) as thinker:
        answer = await told(thinker, asked(None, spoken))
        assert answer.code == "unsupported"
        assert "thinker.transcribe_url=URL" in str(answer.error) and "not a multimodal model" in str(answer.error)
        later = await told(thinker, asked("typed", history=(Message("user", None, spoken), Message("assistant", "Hm"))))
    assert later.error is None
    assert [message["content"] for message in stub.questions[0]["messages"]][1:] == [UNKNOWN_WORDS, "Hm", "typed"]


async def test_leaving_an_answer_closes_both_connections_at_once() -> None:
    never = asyncio.Event()
    async with saying("One is here. T", "wo", gates={1: never}) as chat:
        speech = ChatStub(sound=lambda request, number: Sound(gate=never if number else None))
        async with speech, started(ChatThinker(chat.url, speech_url=speech.url)) as thinker:
            answer = thinker.answer(asked())
            await until_sound(answer)
            await answer.aclose()  # type: ignore[attr-defined]
            await asyncio.wait_for(chat.left.wait(), PATIENCE_S)
            chat.words = lambda request, number: TWO
            answer = thinker.answer(asked())
            assert await anext(answer) == TextDelta("One is here. ")
            await speech.asked("/v1/audio/speech", 3)
            await answer.aclose()  # type: ignore[attr-defined]
            await asyncio.wait_for(speech.left.wait(), PATIENCE_S)
            assert not [task for task in asyncio.all_tasks() if "_Telling" in repr(task)]


async def test_a_chat_stream_cut_anywhere_ends_in_a_clear_outcome_after_its_whole_sentences() -> None:
    chat, speech = saying("One. ", "Yes, ", "two"), ChatStub()
    outcomes = set()
    async with chat, speech, started(ChatThinker(chat.url, speech_url=speech.url)) as thinker:
        whole = await told(thinker, asked())
        assert whole.error is None
        for place in range(0, chat.sent, 3):
            chat.cut_at = place
            speech.sentences.clear()
            answer = await told(thinker, asked())
            assert whole.text.startswith(answer.text)
            assert levels(answer) == list(range(1, len(speech.sentences) + 1))
            if answer.error is None:
                assert answer.text == whole.text
            outcomes.add((answer.code, len(speech.sentences)))
    assert outcomes == {("broken", 0), ("broken", 1), (None, 2)}


async def test_a_speech_stream_cut_anywhere_ends_in_a_clear_outcome_with_what_was_heard() -> None:
    short = Sound(pieces=[pcm(0.0005, 0.5)] * 4)
    chat, speech = saying("One is here. ", "Two."), ChatStub(sound=lambda request, number: short)
    heard = set()
    async with chat, speech, started(ChatThinker(chat.url, speech_url=speech.url)) as thinker:
        whole = await told(thinker, asked())
        assert whole.error is None
        for place in range(speech.sent):
            speech.cut_at = place
            answer = await told(thinker, asked())
            assert (answer.code, answer.text) == ("broken", whole.text)
            np.testing.assert_array_equal(answer.samples, whole.samples[: len(answer.samples)])
            heard.add(len(answer.samples))
    assert max(heard) == len(whole.samples) // 2, "the first sentence; the second was never given"


async def test_when_a_sentence_cannot_be_spoken_the_ones_before_it_are() -> None:
    busy = Sound(instead=Plain(429, {"error": {"message": "Slow down"}}, {"retry-after": "3"}))
    stub = ChatStub(
        lambda request, number: Words(text=tuple(f"Sentence number {name}. " for name in "abc")),
        lambda request, number: busy if number == 1 else Sound(),
    )
    async with stub:
        answer = await ask(stub)
    assert answer.code == "overloaded" and "wait 3 s" in str(answer.error)
    assert levels(answer) == [1]
    assert answer.speech[-1].text_end == len("Sentence number a. ")


WAV = to_wav(np.full(2_400, 0.25, np.float32), 16_000)
BIG_ENDIAN = np.frombuffer(WAV[44:], "<i2").astype(">i2").tobytes()


async def test_half_a_sample_at_the_end_of_a_sentence_is_left_out_and_the_next_is_spoken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sound = Sound(pieces=[pcm(0.1, 0.1), b"\1"])
    async with ChatStub(lambda request, number: TWO, lambda request, number: sound) as stub:
        answer = await ask(stub)
    assert answer.error is None and len(answer.samples) == 4_800
    assert [record.message.split(";")[0] for record in caplog.records if record.name == "livetalk.thinkers"] == [
        "A service's sound ends in the middle of a sample"
    ] * 2


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("audio/pcm;channels=0", "channels '0'"),
        ("audio/pcm;channels=99", "channels '99'"),
        ("audio/pcm;rate=9999999999", "rate '9999999999'"),
        ("audio/pcm;rate=-1", "rate '-1'"),
        ("audio/pcm;rate=\u0663", "rate"),
        ("audio/pcm;bits=24", "24 bits"),
        ("audio/pcm;endian=middle", "endian 'middle'"),
        ("audio/pcm;format=mulaw", "format=mulaw"),
        ("audio/pcm;layout=5.1", "layout=5.1"),
    ],
)
async def test_raw_sound_that_describes_itself_in_a_way_not_read_here_is_refused(kind: str, says: str) -> None:
    plain = Plain(200, WAV[44:], {"content-type": kind.encode().decode("latin-1")})
    async with ChatStub(lambda request, number: Words(text=("One.",)), lambda *_: Sound(instead=plain)) as stub:
        answer = await ask(stub)
    assert answer.code == "broken" and says in str(answer.error) and not len(answer.samples)


@pytest.mark.parametrize(
    ("sound", "rate", "length"),
    [
        (Sound(pieces=[WAV], content_type="audio/wav"), 16_000, 2_400),
        (Sound(pieces=[WAV[:3], WAV[3:30], WAV[30:1_001], WAV[1_001:]], content_type="audio/x-wav"), 16_000, 2_400),
        (Sound(pieces=[WAV[:40] + struct.pack("<I", 0xFFFFFFFF) + WAV[44:]], content_type="audio/wav"), 16_000, 2_400),
        (Sound(pieces=[WAV], content_type="application/octet-stream"), 16_000, 2_400),
        (Sound(pieces=[WAV[44:]], content_type="audio/pcm;rate=22050"), 22_050, 2_400),
        (Sound(pieces=[WAV[44:45], WAV[45:]], content_type="audio/pcm"), 24_000, 2_400),
        (Sound(pieces=[WAV[44:]], content_type="audio/pcm;rate=24000;channels=2"), 24_000, 1_200),
        (Sound(pieces=[WAV[44:]], content_type='audio/pcm; Rate="8000"; Channels=1; charset=binary'), 8_000, 2_400),
        (Sound(pieces=[BIG_ENDIAN], content_type="audio/L16;rate=16000"), 16_000, 2_400),
        (Sound(pieces=[BIG_ENDIAN], content_type="audio/L16;rate=48000;channels=2"), 48_000, 1_200),
        (Sound(pieces=[BIG_ENDIAN], content_type="audio/pcm;endianness=big"), 24_000, 2_400),
        (Sound(pieces=[BIG_ENDIAN], content_type="audio/pcm;format=s16be;bits=16"), 24_000, 2_400),
        (Sound(pieces=[WAV[44:]], content_type="audio/pcm;encoding=pcm_s16le;sample_rate=16000"), 16_000, 2_400),
        (Sound(pieces=[np.full(2_400, 0.25, "<f4").tobytes()], content_type="audio/pcm;format=f32le"), 24_000, 2_400),
        (Sound(pieces=[WAV[44:], b"\7"], content_type="audio/pcm"), 24_000, 2_400),
        (Sound(pieces=[WAV[:40] + struct.pack("<I", 4_801) + WAV[44:] + b"\7"]), 16_000, 2_400),
    ],
)
async def test_speech_formats(sound: Sound, rate: int, length: int) -> None:
    async with ChatStub(lambda request, number: Words(text=("One.",)), lambda request, number: sound) as stub:
        answer = await ask(stub)
    assert answer.error is None
    assert {piece.rate for piece in answer.speech} == {rate}
    assert len(answer.samples) == length
    np.testing.assert_allclose(answer.samples, 0.25, atol=1e-4)


def in_mp3(samples: np.ndarray[Any, Any], rate: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as file:
        stream = file.add_stream("mp3", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32_767).astype("<i2")[None], format="s16", layout="mono")
        frame.rate = rate
        file.mux([*stream.encode(frame), *stream.encode(None)])
    return buffer.getvalue()


@pytest.mark.parametrize("size", [7, 500, 100_000])
@pytest.mark.parametrize("rate", [24_000, 44_100])
async def test_a_service_that_only_makes_mp3(rate: int, size: int) -> None:
    said = tone(1.0, 300.0, rate)
    file = in_mp3(said, rate)
    sound = Sound(pieces=[file[start : start + size] for start in range(0, len(file), size)], content_type="audio/mpeg")
    async with ChatStub(lambda request, number: Words(text=("One.",)), lambda request, number: sound) as stub:
        answer = await ask(stub)
    assert answer.error is None
    assert {piece.rate for piece in answer.speech} == {rate}
    assert len(said) <= len(answer.samples) < len(said) + 0.1 * rate
    strongest = np.abs(np.fft.rfft(answer.samples)).argmax() * rate / len(answer.samples)
    assert strongest == pytest.approx(300, abs=2)
    assert np.abs(answer.samples).max() == pytest.approx(np.abs(said).max(), rel=0.1)


@pytest.mark.parametrize(
    "refusal",
    [
        {"error": {"message": "response_format must be mp3 or wav"}},
        {"detail": [{"loc": ["body", "response_format"], "msg": "Input should be 'mp3' or 'wav'"}]},
    ],
)
async def test_a_service_that_refuses_a_format_is_asked_for_the_next(refusal: dict[str, Any]) -> None:
    made = Sound(pieces=[WAV], content_type="audio/wav")
    stub = ChatStub(
        lambda request, number: TWO,
        lambda request, number: made if request["response_format"] == "wav" else Sound(instead=Plain(422, refusal)),
    )
    async with stub, started(ChatThinker(stub.url)) as thinker:
        answers = [await told(thinker, asked()) for _ in range(2)]
        assert [(answer.error, len(answer.samples)) for answer in answers] == [(None, 4_800)] * 2
        assert {request["response_format"] for request in stub.sentences[-2:]} == {"wav"}, "it is remembered"
        stub.sound = lambda request, number: Sound(instead=Plain(422, refusal))
        answer = await told(thinker, asked())
    assert answer.code == "failed" and "wav" in str(answer.error)


@pytest.mark.parametrize(
    ("sound", "says"),
    [
        (Sound(pieces=[b"abc" * 100], content_type="audio/mpeg"), "empty"),
        (Sound(pieces=[b"OggS"], content_type="audio/ogg"), "can't be decoded"),
        (Sound(pieces=[b"ID3\4" + b"abcd" * 100]), "can't be decoded"),
        (Sound(pieces=[b"x"], content_type="audio/midi"), "'audio/midi'"),
        (Sound(instead=Plain(200, b"<html>", {"content-type": "text/html"})), "'text/html'"),
        (Sound(instead=Plain(200, {"ok": True})), "'application/json'"),
        (Sound(instead=Plain(200, b"", {"content-type": "audio/pcm"})), "empty"),
        (Sound(pieces=[b"abc"]), "before it is complete"),
        (Sound(pieces=[WAV[:100]], content_type="audio/wav"), "before it is complete"),
        (Sound(pieces=[pcm(1, 0)] * 400), "minutes of sound"),
        (Sound(pieces=[b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + b"\0" * 16], content_type="audio/wav"), "0 channels"),
    ],
)
async def test_sound_that_is_none(sound: Sound, says: str) -> None:
    async with ChatStub(lambda request, number: Words(text=("One.",)), lambda request, number: sound) as stub:
        answer = await ask(stub)
    assert (answer.code, answer.text) == ("broken", "One.")
    assert says in str(answer.error)


def in_file(form: str, codec: str) -> bytes:
    """A second of a tone at 48 kHz."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=form) as file:
        track: Any = file.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(hum(1.0, rate=48_000).astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        for piece in av.AudioResampler(track.codec_context.format, "mono", 48_000, frame_size=960).resample(frame):
            file.mux(track.encode(piece))
        file.mux(track.encode(None))
    return stream.getvalue()


@pytest.mark.parametrize("content_type", ["as it is", "audio/pcm", "audio/wav"])
@pytest.mark.parametrize(
    ("form", "codec", "named"),
    [("flac", "flac", "audio/flac"), ("ogg", "libopus", "audio/ogg; codecs=opus")],
)
async def test_compressed_speech_is_heard_whatever_it_is_called(
    form: str, codec: str, named: str, content_type: str
) -> None:
    data = in_file(form, codec)
    sound = Sound(
        pieces=[data[:3], data[3:50], data[50:]], content_type=named if content_type == "as it is" else content_type
    )
    async with ChatStub(lambda request, number: Words(text=("One.",)), lambda request, number: sound) as stub:
        answer = await ask(stub)
    assert answer.error is None
    assert len(answer.samples) == pytest.approx(16_000, abs=400)
    assert np.abs(np.fft.rfft(answer.samples[:16_000])).argmax() == pytest.approx(
        np.abs(np.fft.rfft(hum(1.0, rate=16_000))).argmax(), abs=2
    )


async def test_the_rate_stays_the_same_throughout_an_answer() -> None:
    sounds = [Sound(), Sound(pieces=[WAV], content_type="audio/wav")]
    async with ChatStub(lambda request, number: TWO, lambda request, number: sounds[number]) as stub:
        answer = await ask(stub)
    assert answer.code == "broken" and levels(answer) == [1]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (Words(text=()), "broken", "no text"),
        (Words(text=("😀",)), "broken", "nothing that can be spoken"),
        (Words(finish=None, done=False), "broken", "ended before"),
        (Words(finish="content_filter"), "refused", "refuses"),
        (Words(extra={3: b"data: nonsense\n\n"}), "broken", "JSON"),
        (Words(extra={3: b'data: {"choices": [7]}\n\n'}), "broken", "chat completion"),
        (Words(extra={3: b'data: {"choices": [{"delta": {"content": 7}}]}\n\n'}), "broken", "other than text"),
        (Words(extra={3: b'data: {"error": {"message": "died"}}\n\n'}), "broken", "died"),
        (Words(extra={3: b"data: " + b"x" * 2_000_000}), "broken", "longer than"),
        (Words(instead=Plain(401, {"error": {"message": "no"}})), "unauthorized", "LIVETALK_THINKER_KEY"),
        (Words(instead=Plain(400, {"error": {"message": "no", "code": "content_policy_violation"}})), "refused", "no"),
        (Words(instead=Plain(200, {"choices": []})), "broken", "does not stream"),
    ],
)
async def test_answers_that_go_wrong(words: Words, code: str, says: str) -> None:
    async with ChatStub(lambda request, number: words) as stub:
        answer = await ask(stub)
    assert answer.code == code
    assert says in str(answer.error)


async def test_a_stream_may_end_without_its_last_mark_or_without_a_reason() -> None:
    for words in (Words(done=False), Words(finish=None), Words(finish="length")):
        async with ChatStub(lambda request, number, words=words: words) as stub:  # type: ignore[misc]
            assert (await ask(stub)).error is None


async def test_services_that_fall_silent_are_given_up() -> None:
    never = asyncio.Event()
    async with saying("One is here. T", "wo", gates={1: never}) as stub:
        answer = await ask(stub, silence_s=1.0)
    assert answer.code == "timed_out" and levels(answer) == [1]
    async with ChatStub(sound=lambda request, number: Sound(gate=never)) as stub:
        answer = await ask(stub, silence_s=1.0)
    assert answer.code == "timed_out" and "hanging" in str(answer.error)


async def test_models_are_found_or_asked_for() -> None:
    async with ChatStub(models=("a", "b:latest", "org/c")) as stub:
        with pytest.raises(ThinkerError, match=r"thinker\.model=NAME \(a, b:latest, org/c\)"):
            await ask(stub)
        with pytest.raises(ThinkerError, match=r"thinker\.speech_model=NAME"):
            await ask(stub, model="a")
        with pytest.raises(ThinkerError, match="no model 'd'"):
            await ask(stub, model="d")
        assert (await ask(stub, model="b", speech_model="c")).error is None
    async with ChatStub(models=None) as stub:
        with pytest.raises(ThinkerError, match="has no list of models"):
            await ask(stub)
        assert (await ask(stub, model="x", speech_model="y")).error is None


async def test_each_service_has_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVETALK_THINKER_KEY", "chat-key")
    monkeypatch.setenv("LIVETALK_TRANSCRIBE_KEY", "ears-key")
    async with ChatStub(key="chat-key") as chat, ChatStub(key="speech-key") as speech, ChatStub(key="ears-key") as ears:
        options = {"speech_url": speech.url, "transcribe_url": ears.url}
        with pytest.raises(ThinkerError, match=SPEECH_KEY_VARIABLE) as caught:
            await ask(chat, **options)
        assert "chat-key" not in str(caught.value)
        monkeypatch.setenv(SPEECH_KEY_VARIABLE, "speech-key")
        answer = await ask(chat, asked(None, tone(0.1, rate=16_000)), **options)
    assert answer.error is None


async def test_a_speech_service_that_is_not_there_is_found_out_at_the_start() -> None:
    async with ChatStub() as gone:
        url = gone.url
    async with ChatStub() as stub:
        with pytest.raises(ThinkerError, match=r"speech service at .* can't be reached"):
            await ask(stub, speech_url=url)


async def test_an_answer_before_the_start_is_refused() -> None:
    answer = await told(ChatThinker("http://127.0.0.1:1"), asked())
    assert answer.code == "failed" and "started" in str(answer.error)
