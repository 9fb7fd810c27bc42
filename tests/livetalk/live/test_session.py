"""Conversations through the real engine: real networks with random weights, real streams, a thinker that obeys."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import itertools
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from known import known
from livetalk.base.errors import ImageError, SessionError
from livetalk.live.engine import Engine
from livetalk.live.piece_queue import Piece, PieceQueue
from livetalk.live.session import Session
from livetalk.live.settings import LiveSettings
from livetalk.live.turns import CapacityError, Outcome, TurnError, UserTurn
from livetalk.render.config import block_frames
from livetalk.render.encoders.image import preprocess
from livetalk.render.encoders.speech import SpeechStream
from livetalk.render.performer import Performer, SeededNoise
from livetalk.render.pipeline import Models
from livetalk.render.portrait import portrait
from livetalk.render.vae import VAEStream
from livetalk.sound.resample import StreamResampler
from livetalk.thinkers.base import Delta, HeardDelta, Question, SpeechDelta, TextDelta, ThinkerError
from livetalk.video.fragments import FragmentWriter
from PIL import Image
from session_kit import RATE, STREAM, Step, TellingThinker, clip, make_engine, pocket_models, read, speech, voice

WAIT_S = 120.0
AAC_FRAME = 1024
HELLO = UserTurn(text="Hello.")
SILENCE = SpeechDelta(np.zeros(RATE, np.float32), RATE)

Open = Callable[..., Awaitable[tuple[Engine, Session]]]


@pytest.fixture(scope="module")
def models() -> Models:
    return pocket_models()


@pytest.fixture
async def converse(models: Models) -> AsyncIterator[Open]:
    """Start an engine with a thinker and open a conversation on it."""
    engines = []

    async def start(thinker: TellingThinker, **live: Any) -> tuple[Engine, Session]:
        engine = make_engine(models, thinker, **live)
        engines.append(engine)
        await engine.start()
        return engine, await engine.open()

    yield start
    for engine in engines:
        await engine.stop()


class Clock:
    """Stands still until it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def within(awaited: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaited, WAIT_S)


# -- turns -----------------------------------------------------------------------------------------------------------


async def test_an_answer_is_a_clip_with_the_thinkers_words_and_sound(converse: Open) -> None:
    said = voice(2.0)
    _, session = await converse(TellingThinker([TextDelta("Well, "), TextDelta("yes."), SpeechDelta(said, RATE)]))
    answer = session.respond(HELLO)
    assert answer.index == 1 and session.record(1).outcome is Outcome.running
    frames, sound = clip(await within(read(answer)))
    record = session.record(1)
    assert record.outcome is Outcome.completed and record.error_code is None
    assert record.text == record.heard_text == "Well, yes."
    assert record.user_text == "Hello."
    assert len(frames) == record.frames == 9 + 12 + 12, "whole blocks that cover the speech"
    assert record.video_s == 33 / 16
    assert 0 <= len(sound) - 33 * 3000 < AAC_FRAME, "as long as the pictures, up to what decoders do not trim"
    heard = sound[: 2 * 48_000 : 2]
    assert np.corrcoef(heard, said)[0, 1] > 0.98
    assert np.abs(sound[2 * 48_000 + 1024 :]).max() < 0.02, "the rest of the last block is silence"
    timings = record.timings
    order = [
        timings.thinker_first_text_s,
        timings.thinker_first_sound_s,
        timings.first_window_s,
        timings.first_block_s,
        timings.first_fragment_s,
        timings.finished_s,
    ]
    assert order == sorted(map(known, order))
    assert record.real_time_factor is not None and record.real_time_factor > 0


async def test_a_piece_for_each_block_that_plays_by_itself(converse: Open) -> None:
    _, session = await converse(TellingThinker([speech(2.0)]))
    pieces = await within(read(session.respond(HELLO)))
    assert pieces[0][4:8] == b"ftyp" and all(piece[4:8] == b"moof" for piece in pieces[1:])
    assert [len(clip(pieces[:count])[0]) for count in (1, 2, 3)] == [9, 21, 33]


async def test_a_turn_goes_on_where_the_last_one_ended(
    converse: Open, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Picture for picture as one performer would have drawn both turns without a break."""
    shown, write = [], FragmentWriter.write

    def noted(writer: FragmentWriter, frames: Any, sound: Any) -> bytes:
        shown.append(frames.copy())
        return write(writer, frames, sound)

    monkeypatch.setattr(FragmentWriter, "write", noted)
    first, second = [speech(1.2, 1), speech(0.6, 2)], [speech(1.5, 3)]
    _, session = await converse(TellingThinker(first, second), capacity=1)
    for _ in range(2):
        await within(read(session.respond(HELLO)))

    picture = preprocess(portrait(), ((32, 32),))
    performer = Performer(models.dit, models.vae.decoder_stream(), STREAM)
    performer.start(models.encode_prompt(LiveSettings(STREAM).prompt), models.vae.encode_image(picture), SeededNoise(0))
    listeners = [SpeechStream(models.speech)]
    rows = []
    for turn, begin, blocks in ((first, 0, 3), (second, 3, 2)):
        listener = listeners[-1]
        resampler = StreamResampler(RATE, 16_000)
        for piece in turn:
            listener.push(resampler.push(piece.samples))
        listener.push(resampler.push(np.zeros(0, np.float32), last=True))
        listener.close()
        origin = block_frames(begin)[0]
        for block in range(begin, begin + blocks):
            start, end = block_frames(block)
            rows.append(listener.features(start - origin, end - origin))
        listeners.append(SpeechStream(models.speech, voice=listener.loudness))
    expected = torch.cat([block.frames for block in performer.blocks(rows)]).numpy()
    assert [len(frames) for frames in shown] == [9, 12, 12, 12, 12]
    assert np.array_equal(np.concatenate(shown), expected)


async def test_a_clip_begins_with_its_first_audible_block(converse: Open) -> None:
    _, session = await converse(TellingThinker([TextDelta("Hm."), SILENCE, SILENCE, speech(0.8)]))
    frames, sound = clip(await within(read(session.respond(HELLO))))
    assert len(frames) == 9 + 12
    assert np.flatnonzero(np.abs(sound) > 0.05)[0] / 48_000 < 0.06


async def test_the_thinker_knows_the_whole_conversation(converse: Open) -> None:
    thinker = TellingThinker([TextDelta("First."), speech(0.5)], [TextDelta("Second."), speech(0.5)])
    engine, _ = await converse(thinker, capacity=2)
    session = await engine.open(persona="You are Ada.", voice="low", seed=7)
    spoken = np.ones(8000, np.float32)
    for turn in (UserTurn(text="One?", audio=spoken), UserTurn(audio=spoken), UserTurn(text="Three?")):
        await within(read(session.respond(turn)))
    questions = thinker.questions
    assert [question.text for question in questions] == ["One?", None, "Three?"]
    assert questions[1].audio is spoken and questions[2].audio is None
    assert {(question.persona, question.voice) for question in questions} == {("You are Ada.", "low")}
    assert len({question.seed for question in questions}) == 3
    assert [(message.role, message.text) for message in questions[2].history] == [
        ("user", "One?"),
        ("assistant", "First."),
        ("user", None),
        ("assistant", "Second."),
    ]
    assert [message.audio is spoken for message in questions[2].history] == [True, False, True, False]


async def test_what_the_thinker_heard_is_the_users_text_where_nothing_was_typed(converse: Open) -> None:
    waiting = asyncio.Event()
    sound = voice(0.5)
    thinker = TellingThinker(
        [HeardDelta("my words"), waiting, TextDelta("Well."), speech(1.0)],
        [HeardDelta("my words"), TextDelta("Well."), speech(1.0)],
    )
    _, session = await converse(thinker)
    answer = session.respond(UserTurn(text=" ", audio=sound))
    assert (session.record(1).user_text, session.record(1).user_text_source) == (None, None)
    for _ in range(200):
        await asyncio.sleep(0)
    assert session.record(1).user_text == "my words"
    assert session.record(1).user_text_source == "transcribed"
    assert session.record(1).timings.thinker_first_text_s is None
    waiting.set()
    await within(read(answer))
    await within(read(session.respond(UserTurn(text="typed", audio=sound))))
    assert [(record.user_text, record.user_text_source) for record in session.records] == [
        ("my words", "transcribed"),
        ("typed", "typed"),
    ]
    assert [message.text for message in thinker.questions[1].history] == ["my words", "Well."]
    assert thinker.questions[1].history[0].audio is sound
    assert session.record(2).text == "Well."


async def test_records_can_be_asked_for_at_any_time(converse: Open) -> None:
    go_on = asyncio.Event()
    _, session = await converse(TellingThinker([TextDelta("So "), speech(1.5), go_on, TextDelta("far."), speech(0.5)]))
    answer = session.respond(HELLO)
    await within(anext(answer))
    running = session.record(1)
    assert running.outcome is Outcome.running and running.text == "So " and running.frames == 9
    assert running.timings.first_fragment_s is not None and running.timings.finished_s is None
    go_on.set()
    await within(read(answer))
    assert session.record(1).text == "So far." and session.records == (session.record(1),)
    for index in (0, 2, -1):
        with pytest.raises(KeyError):
            session.record(index)


async def test_a_picture_and_a_prompt_show_in_the_video(converse: Open) -> None:
    engine, _ = await converse(TellingThinker(), capacity=3)
    red = io.BytesIO()
    Image.new("RGB", (64, 64), (220, 30, 30)).save(red, "PNG")
    sessions = [await engine.open(image=red.getvalue()), await engine.open(prompt="A cat.")]
    clips = [clip(await within(read(session.respond(HELLO))))[0].astype(int) for session in sessions]
    assert np.abs(clips[0] - clips[1]).mean() > 5.0
    assert engine.sessions == 3


async def test_a_prompt_is_encoded_once(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livetalk.live.engine._PROMPTS_KEPT", 2)
    encoded = []

    def text() -> Any:
        encoder = models.text()

        def noting(prompt: str) -> torch.Tensor:
            encoded.append(prompt)
            return encoder(prompt)

        return noting

    engine = make_engine(replace(models, text=text), TellingThinker(), prompt="A")
    await engine.start()
    for prompt in (None, "B", "A", "C", "B", None):
        session = await engine.open(prompt=prompt)
        await session.close()
    await engine.stop()
    assert encoded == ["A", "B", "C", "B", "A"], "the two used last are kept"


async def test_a_renderer_that_is_too_slow_is_counted(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block takes a second of the engine's clock, and lasts three quarters of one."""
    clock = Clock()
    write = FragmentWriter.write

    def slow(*args: Any) -> bytes:
        clock.now += 1.0
        return write(*args)

    monkeypatch.setattr(FragmentWriter, "write", slow)
    engine = make_engine(models, TellingThinker([speech(3.0)]), clock=clock)
    await engine.start()
    session = await engine.open()
    await within(read(session.respond(HELLO)))
    record = session.record(1)
    assert record.frames == 9 + 4 * 12 and record.timings.first_fragment_s == pytest.approx(1.0)
    assert record.underruns == 4
    assert record.underrun_s == pytest.approx((1.0 - 9 / 16) + 3 * (1.0 - 12 / 16))
    assert record.real_time_factor == pytest.approx(5.0 / (57 / 16))
    await engine.stop()


# -- interruptions ---------------------------------------------------------------------------------------------------


async def test_a_new_turn_interrupts_the_running_answer(converse: Open) -> None:
    words = "one two three four five six seven eight"
    thinker = TellingThinker(
        [TextDelta(words), speech(4.0, text_end=len(words)), None], [TextDelta("Ok."), speech(0.5)]
    )
    _, session = await converse(thinker)
    first = session.respond(HELLO)
    pieces = [await within(anext(first)), await within(anext(first)), await within(anext(first))]
    second = session.respond(UserTurn(text="Stop."), played_s=2.0)
    assert session.record(1).outcome is Outcome.interrupted
    pieces += await within(read(first))
    frames, sound = clip(pieces)
    assert len(frames) == session.record(1).frames and len(frames) % 12 == 9, "it ends with a whole block"
    assert 0 <= len(sound) - len(frames) * 3000 < AAC_FRAME
    assert len(frames) <= 57, "no more than what was ready and the block in work"
    await within(read(second))
    assert session.record(2).outcome is Outcome.completed
    assert session.record(1).heard_text == "one two three four"
    assert [message.text for message in thinker.questions[1].history] == ["Hello.", "one two three four"]
    assert thinker.closed == 2, "the service no longer speaks to nobody"


async def test_what_was_heard_is_estimated_where_the_client_does_not_say(models: Models) -> None:
    clock, words = Clock(), "one two three four five six seven eight"
    thinker = TellingThinker([TextDelta(words), speech(2.0, text_end=len(words)), None])
    engine = make_engine(models, thinker, clock=clock)
    await engine.start()
    session = await engine.open()
    answer = session.respond(HELLO)
    for _ in range(2):
        await within(anext(answer))
    clock.now += 1.0
    assert session.record(1).heard_text == "one two three four", "half of it, a second after the first fragment"
    await within(session.interrupt())
    assert session.record(1).outcome is Outcome.interrupted
    assert session.record(1).heard_text == "one two three four"
    await engine.stop()


async def test_an_answer_that_was_cut_short_by_its_viewer_is_interrupted_even_if_all_of_it_was_sent(
    converse: Open,
) -> None:
    words = "one two three four"
    thinker = TellingThinker([TextDelta(words), speech(2.0)])
    _, session = await converse(thinker)
    await within(read(session.respond(HELLO)))
    assert session.record(1).outcome is Outcome.completed
    await within(read(session.respond(UserTurn(text="Wait!"), played_s=1.0)))
    assert session.record(1).outcome is Outcome.interrupted and session.record(1).heard_text == "one two"
    assert [message.text for message in thinker.questions[1].history] == ["Hello.", "one two"]


@pytest.mark.parametrize("played_s", [None, 2.0, 60.0])
async def test_an_answer_that_was_heard_to_its_end_is_complete(converse: Open, played_s: float | None) -> None:
    _, session = await converse(TellingThinker([TextDelta("one two"), speech(2.0)]))
    await within(read(session.respond(HELLO)))
    await within(read(session.respond(HELLO, played_s=played_s)))
    assert session.record(1).outcome is Outcome.completed and session.record(1).heard_text == "one two"


async def test_an_interruption_before_the_first_frame(converse: Open) -> None:
    thinker = TellingThinker([TextDelta("Hm"), None])
    _, session = await converse(thinker)
    first = session.respond(HELLO)
    reading = asyncio.ensure_future(anext(first))
    await within(thinker.asked.wait())
    second = session.respond(UserTurn(text="I mean, goodbye."))
    with pytest.raises(TurnError) as error:
        await within(reading)
    assert error.value.code == "interrupted"
    assert await within(read(first)) == []
    await within(read(second))
    assert session.record(1).heard_text == "" and session.record(1).error_code is None
    assert [message.text for message in thinker.questions[1].history] == ["Hello."], "the user did say it"


async def test_many_interruptions_at_once_leave_only_the_last(converse: Open) -> None:
    _, session = await converse(TellingThinker())
    answers = [session.respond(HELLO) for _ in range(6)]
    await within(read(answers[-1]))
    assert [record.outcome for record in session.records] == [Outcome.interrupted] * 5 + [Outcome.completed]
    assert session.record(6).frames == 21


async def test_an_interruption_without_a_new_turn(converse: Open) -> None:
    thinker = TellingThinker([TextDelta("one two three"), speech(4.0), None])
    _, session = await converse(thinker)
    await within(session.interrupt())  # nothing is running: nothing happens
    answer = session.respond(HELLO)
    pieces = [await within(anext(answer))]
    await within(session.interrupt(0.5))
    pieces += await within(read(answer))
    record = session.record(1)
    assert record.outcome is Outcome.interrupted and record.frames == len(clip(pieces)[0])
    assert record.timings.finished_s is not None and thinker.closed == 1
    await within(read(session.respond(HELLO)))
    assert session.record(2).outcome is Outcome.completed


# -- thinkers that fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps", [[], [TextDelta("So,")], [TextDelta("So,"), SpeechDelta(np.zeros(RATE, np.float32), RATE)]]
)
async def test_a_thinker_that_fails_before_the_first_frame(converse: Open, steps: list[Any]) -> None:
    thinker = TellingThinker([*steps, ThinkerError("unreachable", "The service is down; start it.")])
    _, session = await converse(thinker)
    answer = session.respond(HELLO)
    with pytest.raises(ThinkerError, match="start it") as error:
        await within(anext(answer))
    record = session.record(1)
    assert error.value.code == record.error_code == "unreachable" and record.error_message == str(error.value)
    assert record.outcome is Outcome.failed and record.heard_text == "" and record.frames == 0
    await within(read(session.respond(UserTurn(text="And now?"))))
    assert session.record(2).outcome is Outcome.completed
    assert thinker.questions[1].history == (), "it would be asked, and perhaps fail, once more"


async def test_a_thinker_that_dies_in_mid_sentence(converse: Open) -> None:
    words = "one two three four five six"
    dead = ThinkerError("broken", "The stream ended in the middle.")
    thinker = TellingThinker([TextDelta(words), speech(1.5, text_end=13), dead])
    _, session = await converse(thinker)
    frames, sound = clip(await within(read(session.respond(HELLO))))
    record = session.record(1)
    assert (record.outcome, record.error_code) == (Outcome.failed, "broken")
    assert len(frames) == 9 + 12 + 12 and len(sound) >= 33 * 3000, "what was spoken is shown to its end"
    assert record.text == words and record.heard_text.startswith("one two three")
    await within(read(session.respond(HELLO)))
    assert thinker.questions[1].history[1].text == record.heard_text


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([], "no_answer"),
        ([TextDelta("")], "no_answer"),
        ([TextDelta("Words."), TextDelta(" More.")], "no_speech"),
        ([TextDelta("Words."), SILENCE, SILENCE], "no_speech"),
    ],
)
async def test_a_thinker_that_says_nothing(converse: Open, steps: list[Any], code: str) -> None:
    _, session = await converse(TellingThinker(steps))
    with pytest.raises(TurnError) as error:
        await within(read(session.respond(HELLO)))
    assert error.value.code == session.record(1).error_code == code
    assert session.record(1).outcome is Outcome.failed and session.record(1).heard_text == ""
    await within(read(session.respond(HELLO)))
    assert session.record(2).outcome is Outcome.completed


@pytest.mark.parametrize(
    ("steps", "limits", "frames"),
    [
        ([None], {"first_piece_s": 0.05}, 0),
        ([TextDelta("So,"), None], {"gap_s": 0.05}, 0),
        ([TextDelta("So,"), None], {"first_sound_s": 0.05}, 0),
        ([TextDelta("So, one two."), speech(1.0), None], {"gap_s": 1.0}, 21),
    ],
)
async def test_a_thinker_that_is_too_slow(
    converse: Open, steps: list[Any], limits: dict[str, float], frames: int
) -> None:
    thinker = TellingThinker(steps)
    _, session = await converse(thinker, **limits)
    answer = session.respond(HELLO)
    if frames:
        await within(read(answer))
    else:
        with pytest.raises(ThinkerError, match="in time"):
            await within(read(answer))
    record = session.record(1)
    assert (record.outcome, record.error_code, record.frames) == (Outcome.timed_out, "timed_out", frames)
    assert thinker.closed == 1
    assert bool(record.heard_text) == bool(frames)


async def test_an_answer_that_is_too_long_is_cut_off_cleanly(converse: Open) -> None:
    words = "one two three four"
    thinker = TellingThinker([TextDelta(words), *(speech(0.5, text_end=4 * i) for i in range(100))])
    _, session = await converse(thinker, max_answer_s=1.25)
    frames, _ = clip(await within(read(session.respond(HELLO))))
    record = session.record(1)
    assert (record.outcome, record.error_code, len(frames)) == (Outcome.timed_out, "too_long", 21)
    assert record.heard_text and record.heard_text != words and thinker.closed == 1


@pytest.mark.parametrize("end", ["leave", "interrupt"])
async def test_an_answer_that_would_be_too_long_may_end_before(converse: Open, end: str) -> None:
    """A quick thinker has said too much long before anybody hears so much of it."""
    thinker = TellingThinker([TextDelta("one two three"), *(speech(0.5) for _ in range(100))])
    _, session = await converse(thinker, max_answer_s=1.25)
    answer = session.respond(HELLO)
    await within(anext(answer))

    await within(thinker.over.wait())
    await within(answer.aclose() if end == "leave" else session.interrupt(0.25))
    record = session.record(1)
    assert record.error_code is None
    assert record.outcome is (Outcome.disconnected if end == "leave" else Outcome.interrupted)


async def test_a_thinker_with_a_bug_does_not_end_the_conversation(
    converse: Open, caplog: pytest.LogCaptureFixture
) -> None:
    _, session = await converse(TellingThinker([ZeroDivisionError("secret detail")]))
    with pytest.raises(ThinkerError) as error:
        await within(read(session.respond(HELLO)))
    assert error.value.code == "failed" and "secret" not in str(error.value)
    assert "secret detail" in caplog.text, "the log says what happened"
    await within(read(session.respond(HELLO)))
    assert session.record(2).outcome is Outcome.completed


async def test_sound_that_changes_its_rate_is_a_broken_stream(converse: Open) -> None:
    _, session = await converse(TellingThinker([speech(1.0), SpeechDelta(voice(0.5), 16_000)]))
    await within(read(session.respond(HELLO)))
    assert (session.record(1).outcome, session.record(1).error_code) == (Outcome.failed, "broken")


async def test_a_thinker_that_will_not_be_cancelled_holds_up_nobody(
    converse: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("livetalk.live.answer._FAREWELL_S", 0.05)
    let_go = asyncio.Event()

    class Stubborn(TellingThinker):
        async def answer(self, question: Question) -> AsyncIterator[Delta]:
            yield speech(1.0)
            try:
                await asyncio.Event().wait()
            finally:
                await let_go.wait()

    engine, session = await converse(Stubborn(), capacity=1)
    first = session.respond(HELLO)
    await within(anext(first))
    second = session.respond(HELLO)
    await within(read(first))
    await within(anext(second))
    await within(session.close())
    assert engine.sessions == 0 and "did not let go of turn 2" in caplog.text
    let_go.set()


# -- clients that go away or do not read -----------------------------------------------------------------------------


async def test_a_client_that_goes_away_stops_everything(converse: Open) -> None:
    thinker = TellingThinker([TextDelta("one two three"), speech(30.0), None])
    _, session = await converse(thinker)
    answer = session.respond(HELLO)
    await within(anext(answer))
    await within(answer.aclose())
    await within(session.interrupt())
    record = session.record(1)
    assert record.outcome is Outcome.disconnected and record.frames == 9
    assert thinker.closed == 1 and not threads("render", "decode", "encode")
    with pytest.raises(StopAsyncIteration):
        await anext(answer)
    await within(read(session.respond(HELLO)))
    assert session.record(2).outcome is Outcome.completed and session.record(1) == record


async def test_a_client_that_goes_away_while_it_waits(converse: Open) -> None:
    _, session = await converse(TellingThinker([TextDelta("Hm"), None]))
    answer = session.respond(HELLO)
    reading = asyncio.ensure_future(read(answer))
    await asyncio.sleep(0)
    await within(answer.aclose())
    assert await within(reading) == []
    assert session.record(1).outcome is Outcome.disconnected


async def test_a_reader_that_is_cancelled_has_gone_away(converse: Open) -> None:
    _, session = await converse(TellingThinker([speech(0.9), None]))
    answer = session.respond(HELLO)
    await within(anext(answer))
    reading = asyncio.ensure_future(anext(answer))
    await asyncio.sleep(0)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    assert session.record(1).outcome is Outcome.disconnected


async def test_generation_pauses_for_a_client_that_does_not_read(
    converse: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, session = await converse(TellingThinker([speech(12.0)]), queue_blocks=2)
    handed, at_the_door = [], threading.Event()
    put = PieceQueue.put

    def noted(pipe: PieceQueue, piece: Piece) -> None:
        handed.append(piece)
        if len(handed) == 4:
            at_the_door.set()
        put(pipe, piece)

    monkeypatch.setattr(PieceQueue, "put", noted)
    answer = session.respond(HELLO)
    pieces = [await within(anext(answer))]
    assert await asyncio.to_thread(at_the_door.wait, WAIT_S)
    # One was read, two wait, one is at the door; at most three more are under way in as many stages.
    assert known(session._context).performer.next_block <= 7
    pieces += await within(read(answer))
    record = session.record(1)
    assert record.outcome is Outcome.completed
    assert len(clip(pieces)[0]) == record.frames == 9 + 16 * 12


async def test_a_client_that_reads_nothing_is_given_up(converse: Open) -> None:
    _, session = await converse(TellingThinker([TextDelta("one"), speech(6.0)]), queue_blocks=1, stall_s=0.5)
    answer = session.respond(HELLO)
    await within(answer.ended())
    record = session.record(1)
    assert (record.outcome, record.error_code, record.frames) == (Outcome.disconnected, "stalled", 0)
    await within(read(session.respond(HELLO)))
    assert session.record(2).outcome is Outcome.completed


async def test_a_client_that_leaves_the_end_unread_is_given_up_too(converse: Open) -> None:
    _, session = await converse(TellingThinker([speech(1.0)]), stall_s=0.5)
    answer = session.respond(HELLO)
    await within(answer.ended())
    assert session.record(1).outcome is Outcome.disconnected


# -- the renderer fails ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["denoise", "decode"])
@pytest.mark.parametrize("after", [0, 1])
async def test_a_renderer_that_fails_begins_anew_with_the_next_turn(
    converse: Open, monkeypatch: pytest.MonkeyPatch, part: str, after: int
) -> None:
    _, session = await converse(TellingThinker([speech(3.0), None], [speech(0.5)]), capacity=1)
    owner = (
        known(session._context).performer.generator if part == "denoise" else known(session._context).performer.decoder
    )
    work, calls = getattr(owner, part), []

    def failing(*args: Any) -> Any:
        calls.append(1)
        if len(calls) > after:
            raise RuntimeError("out of memory")
        return work(*args)

    monkeypatch.setattr(owner, part, failing)
    answer = session.respond(HELLO)
    if after:
        frames, _ = clip(await within(read(answer)))
        assert len(frames) == 9
    else:
        with pytest.raises(TurnError, match="could not be generated"):
            await within(read(answer))
    record = session.record(1)
    assert (record.outcome, record.error_code, record.frames) == (Outcome.failed, "render_failed", 9 * after)
    monkeypatch.undo()
    await within(read(session.respond(HELLO)))
    assert session.record(2).outcome is Outcome.completed
    assert session.record(2).frames == 9, "a new beginning: the first block has nine frames"


async def test_an_encoder_that_fails_leaves_the_picture_in_order(
    converse: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, session = await converse(TellingThinker([speech(3.0), None], [speech(0.5)]), capacity=1)

    def failing(*args: Any) -> bytes:
        raise ValueError("no such encoder")

    with monkeypatch.context() as patched:
        patched.setattr(FragmentWriter, "write", failing)
        with pytest.raises(TurnError, match="could not be generated"):
            await within(read(session.respond(HELLO)))
    await within(read(session.respond(HELLO)))
    assert session.record(2).outcome is Outcome.completed and session.record(2).frames == 12


# -- several conversations -------------------------------------------------------------------------------------------


async def test_two_conversations_at_once_take_the_device_in_turns(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    thinker = TellingThinker(*([speech(3.0, turn)] for turn in range(4)))
    engine = make_engine(models, thinker, capacity=2)
    await engine.start()
    sessions = [await engine.open(seed=seed) for seed in (1, 2)]
    alone = []
    for session in sessions:
        alone.append(await within(read(session.respond(HELLO))))
        await session.close()

    inside, most, order = 0, 0, []
    sessions = [await engine.open(seed=seed) for seed in (1, 2)]
    for number, session in enumerate(sessions):
        generator = known(session._context).performer.generator
        denoise = generator.denoise

        def watched(*args: Any, denoise: Any = denoise, number: int = number) -> torch.Tensor:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            order.append(number)
            try:
                result: torch.Tensor = denoise(*args)
                return result
            finally:
                inside -= 1

        monkeypatch.setattr(generator, "denoise", watched)
    thinker.questions.clear()
    together = await within(asyncio.gather(*(read(session.respond(HELLO)) for session in sessions)))
    monkeypatch.undo()
    assert most == 1, "one block at a time"
    assert order[:2] in ([0, 1], [1, 0]) and sorted(order) == [0] * 5 + [1] * 5
    runs = max(len(list(group)) for _, group in itertools.groupby(order))
    assert runs <= 2, "whoever is nearer to running dry goes first"
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(clip(one)[0], clip(other)[0]), "neither sees the other's pictures"
    await engine.stop()


async def test_one_seed_gives_the_same_bytes_beside_others_or_alone(models: Models) -> None:
    steps: list[Step] = [TextDelta("Well."), speech(1.5)]
    engine = make_engine(models, TellingThinker(*[steps] * 5), capacity=3)
    await engine.start()
    try:
        alone = await engine.open(seed=5)
        expected = await within(read(alone.respond(HELLO)))
        await alone.close()
        sessions = [await engine.open(seed=seed) for seed in (5, 6, 5)]
        one, other, same = await within(asyncio.gather(*(read(session.respond(HELLO)) for session in sessions)))
    finally:
        await engine.stop()
    assert one == same == expected
    assert other != expected


async def test_no_more_conversations_than_there_is_room_for(converse: Open) -> None:
    engine, session = await converse(TellingThinker(), capacity=2)
    await engine.open()
    assert engine.sessions == engine.capacity == 2
    with pytest.raises(CapacityError, match="taken"):
        await engine.open()
    await session.close()
    assert engine.sessions == 1
    await engine.open()


async def test_a_conversation_that_cannot_begin_takes_no_room(converse: Open) -> None:
    engine, session = await converse(TellingThinker(), capacity=1)
    await session.close()
    for _ in range(3):
        with pytest.raises(ImageError):
            await engine.open(image=b"no picture")
    opening = asyncio.ensure_future(engine.open())
    await asyncio.sleep(0)
    assert engine.sessions == 1
    opening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await opening
    assert engine.sessions == 0
    await engine.open()


# -- the end ---------------------------------------------------------------------------------------------------------


async def test_closing_in_mid_answer(converse: Open) -> None:
    thinker = TellingThinker([speech(30.0), None])
    engine, session = await converse(thinker)
    answer = session.respond(HELLO)
    pieces = [await within(anext(answer))]
    await within(asyncio.gather(session.close(), session.close()))
    pieces += await within(read(answer))
    assert len(clip(pieces)[0]) % 12 == 9
    assert engine.sessions == 0 and thinker.closed == 1 and not threads("render", "decode", "encode")
    assert (session.record(1).outcome, session.record(1).error_code) == (Outcome.interrupted, "closed")
    with pytest.raises(TurnError, match="closed") as error:
        session.respond(HELLO)
    assert error.value.code == "closed"
    await within(session.interrupt())
    await within(session.close())


async def test_an_engine_that_stops_ends_every_conversation(models: Models) -> None:
    thinker = TellingThinker([speech(30.0), None], [speech(30.0), None])
    engine = make_engine(models, thinker, capacity=2)
    await engine.start()
    answers = [(await engine.open()).respond(HELLO) for _ in range(2)]
    for answer in answers:
        await within(anext(answer))
    await within(engine.stop())
    await within(engine.stop())
    assert thinker.stopped and engine.sessions == 0 and not threads("")
    with pytest.raises(RuntimeError, match="not running"):
        await engine.open()


async def test_a_closed_conversation_leaves_nothing_behind(models: Models) -> None:
    engine = make_engine(models, TellingThinker([speech(1.0)], [speech(30.0), None]), capacity=1)
    await engine.start()
    session = await engine.open(image=None)
    performer = known(session._context).performer
    finished = session.respond(HELLO)
    await within(read(finished))
    running = session.respond(HELLO)
    await within(anext(running))
    decoder = performer.decoder
    assert isinstance(decoder, VAEStream) and any(slot is not None for slot in decoder.cache)
    gone = [weakref.ref(thing) for thing in (session, finished, running, finished._feed, running._pieces_out)]
    await within(session.close())
    assert decoder.cache == () and performer.generator.cache.valid_frames == 0
    del session, finished, running

    async def let_go() -> None:
        # A thread of the pool says that its work is done a moment before it lets go of it.
        while any(reference() is not None for reference in gone):
            gc.collect()
            await asyncio.sleep(0)

    await within(let_go())
    await engine.stop()


async def test_the_loop_stays_free_while_an_answer_is_made(converse: Open) -> None:
    """A thinker that has everything ready, models that work without a pause: others still get their turn."""
    _, session = await converse(
        TellingThinker([piece for _ in range(200) for piece in (TextDelta("a "), speech(0.02))])
    )
    steps = 0
    reading = asyncio.ensure_future(read(session.respond(HELLO)))
    while not reading.done():
        await asyncio.sleep(0)
        steps += 1
    assert steps > 200
    assert session.record(1).outcome is Outcome.completed


# -- small things ----------------------------------------------------------------------------------------------------


def test_a_turn_holds_words_or_sound() -> None:
    for empty in ({}, {"text": "  "}, {"audio": np.zeros(0, np.float32)}):
        with pytest.raises(TurnError, match="neither words nor sound"):
            UserTurn(**empty)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(SessionError, match="bounded"):
        LiveSettings(stream=STREAM.__class__(4, 4))
    impossible: tuple[dict[str, Any], ...] = ({"capacity": 0}, {"queue_blocks": 0})
    for nothing in impossible:
        with pytest.raises(SessionError, match="nobody"):
            LiveSettings(stream=STREAM, **nothing)


def test_the_portrait_is_the_same_every_time() -> None:
    one, other = portrait(64), portrait(64)
    assert one.size == (64, 64) and one.mode == "RGB" and one.tobytes() == other.tobytes()
    assert np.asarray(one).std() > 20


def threads(*kinds: str) -> list[str]:
    """Threads of the live system that still run."""
    return [
        thread.name
        for thread in threading.enumerate()
        if any(thread.name.startswith(f"livetalk-{kind}") for kind in kinds)
    ]


@pytest.mark.parametrize(("look_ahead", "begins"), [(0, True), (16, False)])
async def test_the_look_ahead_says_how_much_sound_the_first_block_waits_for(
    converse: Open, look_ahead: int, begins: bool
) -> None:
    more = asyncio.Event()
    thinker = TellingThinker([TextDelta("Well."), speech(0.75), more, speech(1.5, 1)])
    engine, session = await converse(thinker, look_ahead=look_ahead)
    answer = session.respond(HELLO)
    first = asyncio.ensure_future(anext(answer))
    if begins:
        await asyncio.wait_for(asyncio.shield(first), WAIT_S)
        more.set()
    else:
        await asyncio.wait_for(thinker.asked.wait(), WAIT_S)
        assert session.record(1).timings.first_window_s is None
        more.set()
        await asyncio.wait_for(asyncio.shield(first), WAIT_S)
    await read(answer)
    assert session.record(1).outcome is Outcome.completed
    assert engine.settings.shown()["look_ahead"] == look_ahead


def test_the_usual_look_ahead_is_not_shown_and_an_impossible_one_refused() -> None:
    assert "look_ahead" not in LiveSettings(STREAM).shown()
    for frames in (-1, 33):
        with pytest.raises(SessionError, match="look-ahead"):
            LiveSettings(STREAM, look_ahead=frames)
