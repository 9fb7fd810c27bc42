"""The scripted thinker and its voice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from livetalk.thinkers import espeak
from livetalk.thinkers.base import Manner, Message, Question, ThinkerError
from livetalk.thinkers.script import ScriptedThinker, read_script
from thinker_kit import Told, asked, told, until_sound

SENTENCE = "Hello, it is good to see you: what is the weather like in Paris?"


def loudness_db(samples: np.ndarray) -> float:
    """RMS over the parts that are spoken, in dB of full scale."""
    frames = samples[: len(samples) // 441 * 441].reshape(-1, 441).astype(np.float64)
    power = np.square(frames).mean(axis=1)
    return float(10 * np.log10(power[power > power.max() * 1e-3].mean()))


def pitch(spoken: espeak.Spoken) -> float:
    """The median over loud frames of 40 ms of the strongest period between 70 and 400 Hz, in Hz."""
    size = espeak.RATE // 25
    found = []
    for start in range(0, len(spoken.samples) - size, size):
        frame = spoken.samples[start : start + size]
        if np.abs(frame).max() > 0.2:
            correlation = np.correlate(frame, frame, "full")[size - 1 :] / np.arange(size, 0, -1)
            low, high = espeak.RATE // 400, espeak.RATE // 70
            found.append(espeak.RATE / (low + int(correlation[low:high].argmax())))
    return float(np.median(found))


@pytest.mark.parametrize("voice", ["en-us", "en-us+f3", "de+m2", "cmn"])
def test_voices_speak_at_the_loudness_of_speech(voice: str) -> None:
    spoken = espeak.speak(SENTENCE, espeak.Voice.parse(voice))
    assert 3 < len(spoken.samples) / espeak.RATE < 9
    assert -23 < loudness_db(spoken.samples) < -17
    assert np.abs(spoken.samples).max() < 1
    assert np.flatnonzero(np.abs(spoken.samples) > 0.005)[0] < 0.06 * espeak.RATE


def test_the_same_text_has_the_same_samples_whatever_was_said_before() -> None:
    first = espeak.speak(SENTENCE)
    espeak.speak("Something else entirely, in another voice.", espeak.Voice.parse("de+f2"))
    again = espeak.speak(SENTENCE)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.words == again.words


def test_voices_differ_in_pitch_and_rate() -> None:
    plain = espeak.speak(SENTENCE)
    high = espeak.speak(SENTENCE, espeak.Voice.parse("en-us,pitch=90"))
    slow = espeak.speak(SENTENCE, espeak.Voice.parse("en-us, rate=100"))
    assert pitch(high) > 1.3 * pitch(plain)
    assert len(slow.samples) > 1.4 * len(plain.samples)


def test_words_are_where_they_sound() -> None:
    spoken = espeak.speak("One, two. Three!")
    assert [("One, two. Three!"[:place]) for place, _ in spoken.words] == ["One", "One, two", "One, two. Three"]
    ends = [sample for _, sample in spoken.words]
    assert ends == sorted(ends) and ends[-1] < len(spoken.samples) - 0.1 * espeak.RATE
    after_one = spoken.samples[ends[0] : ends[0] + round(0.05 * espeak.RATE)]
    assert np.abs(after_one).max() < 0.01, "the pause at the comma comes after the word"


def test_control_characters_and_markup_steer_nothing() -> None:
    tamed = espeak.speak("one\x01two <voice name='x'>three\x00four")
    assert len(tamed.samples) > espeak.RATE
    assert len(espeak.speak("\x00\x01\n \u2028").samples) == 0
    with pytest.raises(ThinkerError) as caught:
        espeak.speak("a" * 5_001)
    assert caught.value.code == "failed"


@pytest.mark.parametrize(
    ("voice", "says"),
    [
        ("tlh", "en-us"),
        ("en-us+zz9", "variant 'zz9'"),
        ("en-us,pitch=100", "pitch"),
        ("en-us,rate=٣٠٠", "rate"),
        ("en-us,speed=3", "rate=165"),
        ("../../etc/passwd", "en-us"),
        ("en-us+../lang/de", "variant"),
        ("", "en-us"),
    ],
)
def test_unknown_voices_are_refused_with_what_there_is(voice: str, says: str) -> None:
    with pytest.raises(ThinkerError, match=says) as caught:
        espeak.Voice.parse(voice)
    assert caught.value.code == "unsupported"
    if voice:
        with pytest.raises(ThinkerError):
            ScriptedThinker(voice=voice)
        with pytest.raises(ThinkerError):
            ScriptedThinker().check_voice(voice)


async def conversation(thinker: ScriptedThinker, turns: list[str | None]) -> list[Told]:
    history: list[Message] = []
    answers = []
    for text in turns:
        audio = None if text else np.zeros(40_000, np.float32)
        answer = await told(thinker, Question("", tuple(history), text, audio))
        history += [Message("user", text, audio), Message("assistant", answer.text)]
        answers.append(answer)
    return answers


async def test_answers_speak_of_the_users_words_now_and_before() -> None:
    turns = ["What is the weather like in Paris?", None, "My dog *Rex* weighs 3.5 kg", "Who is Rex?", "Thanks!"]
    answers = await conversation(ScriptedThinker(), turns)
    texts = [answer.text for answer in answers]
    assert "What is the weather like in Paris?" in texts[0]
    assert "2.5 seconds" in texts[1] and "Before that you said: What is the weather" in texts[1]
    assert "My dog Rex weighs 3.5 kg." in texts[2] and "At the very beginning you said: What is" in texts[2]
    assert "Before that you said: My dog Rex weighs 3.5 kg." in texts[3]
    assert len(set(texts)) == 5
    for answer in answers:
        assert answer.error is None
        assert 2 <= answer.text.count(". ") + answer.text.count("? ") + 1 <= 4
        assert answer.speech[-1].text_end == len(answer.text)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("नमस्ते, आप कैसे हैं?", "नमस्ते आप कैसे हैं?"),
        ("สวัสดีครับ", "สวัสดีครับ."),
        ("cafe\u0301 <b>noir</b> 👨\u200d👩", "cafe\u0301 b noir b."),
        ("می\u200cخواهم", "می\u200cخواهم."),
        ("你好吗？", "你好吗?"),
    ],
)
async def test_words_of_every_script_are_repeated_whole(text: str, quoted: str) -> None:
    answer = await told(ScriptedThinker(), Question("", (), text, None))
    assert f"You said: {quoted} " in answer.text and answer.error is None and len(answer.samples) > 12_000


async def test_the_same_conversation_sounds_the_same() -> None:
    one, other = [await conversation(ScriptedThinker(voice="en-us+f3"), ["Hello?", "Again."]) for _ in range(2)]
    for first, second in zip(one, other, strict=True):
        assert first.text == second.text
        np.testing.assert_array_equal(first.samples, second.samples)


async def test_what_was_heard_is_known_to_the_word() -> None:
    answer = await told(ScriptedThinker(["One two three four. Five six."]), asked())
    ends = [piece.text_end for piece in answer.speech]
    assert all(end is not None for end in ends)
    assert ends == sorted(ends, key=lambda end: end or 0)
    assert {len("One two"), len("One two three")} & set(ends)
    assert ends[-1] == len(answer.text)
    assert {piece.rate for piece in answer.speech} == {22_050}
    assert max(len(piece.samples) for piece in answer.speech) <= 0.25 * 22_050


async def test_what_cannot_be_spoken_stays_in_the_text() -> None:
    answer = await told(ScriptedThinker(["**Great!** 😀 See [the map](https://example.com/a?b=c). 🎉"]), asked())
    plain = await told(ScriptedThinker(["Great! See the map."]), asked())
    assert answer.text == "**Great!** 😀 See [the map](https://example.com/a?b=c). 🎉"
    np.testing.assert_array_equal(answer.samples, plain.samples)
    assert answer.speech[-1].text_end is not None


async def test_a_question_may_name_its_voice() -> None:
    thinker = ScriptedThinker(["Good morning to you."])
    default, other = await told(thinker, asked()), await told(thinker, asked(voice="en-us+f3"))
    assert not np.array_equal(default.samples[:5_000], other.samples[:5_000])
    assert (await told(thinker, asked(voice="tlh"))).code == "unsupported"


async def test_an_answer_can_be_left_after_any_piece_and_the_loop_is_free_meanwhile() -> None:
    thinker = ScriptedThinker(["A sentence. " * 30])
    answer = thinker.answer(asked())
    steps = 0

    async def count() -> None:
        nonlocal steps
        while True:
            await asyncio.sleep(0)
            steps += 1

    counting = asyncio.create_task(count())
    await until_sound(answer)
    counting.cancel()
    assert steps > 1, "the synthesizer ran beside the loop"
    await answer.aclose()  # type: ignore[attr-defined]
    with pytest.raises(StopAsyncIteration):
        await anext(answer)


async def test_scripts_are_read_line_by_line_or_as_json(tmp_path: Path) -> None:
    lines, listed = tmp_path / "lines.txt", tmp_path / "listed.json"
    lines.write_text("\ufeffFirst answer.\r\n\n  Second answer. \n", encoding="utf-8")
    listed.write_text(json.dumps(["First\nanswer.", "Second answer."]))
    assert read_script(lines) == ("First answer.", "Second answer.")
    assert read_script(listed) == ("First\nanswer.", "Second answer.")
    answers = await conversation(ScriptedThinker(read_script(lines)), ["a", "b", "c"])
    assert [answer.text for answer in answers] == ["First answer.", "Second answer.", "First answer."]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no answer"),
        (b" \n\n", "no answer"),
        (b"\xff\xfe", "UTF-8"),
        (b'["one", 2]', "answer 2"),
        (b'["one"', "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"a" * 20_001, "split"),
        (b"a\n" * 600_000, "shorten"),
    ],
)
def test_unusable_scripts_say_what_is_wrong(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "script.txt"
    path.write_bytes(content)
    with pytest.raises(ThinkerError, match=says):
        read_script(path)


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    with pytest.raises(ThinkerError, match="No such file"):
        read_script(tmp_path / "none.txt")


async def test_a_conversation_may_say_how_its_voice_speaks() -> None:
    thinker = ScriptedThinker(["The old bridge opens at noon, and seven boats pass."], voice="en-us,rate=200")
    lengths = {}
    for manner in (Manner(), Manner(rate=100), Manner(rate=300), Manner(pitch=90)):
        lengths[manner] = len((await told(thinker, asked(manner=manner))).samples)
    assert lengths[Manner(rate=300)] < lengths[Manner()] < lengths[Manner(rate=100)]
    low, high = [(await told(thinker, asked(manner=Manner(pitch=pitch)))).samples for pitch in (0, 99)]
    assert not np.array_equal(low[:20_000], high[:20_000])
    assert thinker.manners == ("pitch", "rate")
