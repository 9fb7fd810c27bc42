"""A thinker's speech on its way to the renderer and the file."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
import soxr
from livetalk.live.speech_feed import LEAD_S, LeadingSilence, SpeechFeed
from livetalk.thinkers.base import SpeechDelta, ThinkerError
from session_kit import RATE, voice


def quiet(seconds: float, level: float = 0.0) -> np.ndarray:
    return (level * np.random.default_rng(1).standard_normal(round(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize("level", [0.0, 0.0005])
@pytest.mark.parametrize("size", [1, 100, 2400, 100_000])
def test_leading_silence_is_dropped_up_to_a_little(level: float, size: int) -> None:
    said = voice(0.3)
    samples = np.concatenate([quiet(0.7331, level), said])
    silence = LeadingSilence(RATE)
    kept = np.concatenate([silence.push(samples[start : start + size]) for start in range(0, len(samples), size)])
    lead = len(kept) - len(said)
    assert LEAD_S * RATE - RATE / 100 <= lead <= 0.06 * RATE
    assert np.array_equal(kept[lead:], said)


def test_sound_that_begins_at_once_is_whole() -> None:
    said = voice(0.2)
    assert np.array_equal(LeadingSilence(RATE).push(said), said)


def test_later_pauses_stay() -> None:
    silence = LeadingSilence(RATE)
    silence.push(voice(0.1))
    assert len(silence.push(quiet(2.0))) == 2 * RATE


def test_silence_for_ever_takes_no_memory() -> None:
    silence = LeadingSilence(RATE)
    for _ in range(100):
        assert len(silence.push(quiet(1.0))) == 0
    assert len(silence._held) <= 0.06 * RATE and not silence.over


def test_features_and_file_get_the_same_sound() -> None:
    feed, said = SpeechFeed(60.0), voice(1.0)
    for start in range(0, len(said), 1000):
        feed.push(SpeechDelta(said[start : start + 1000], RATE))
    feed.end()
    heard = np.concatenate(list(feed.samples()))
    assert np.allclose(heard, soxr.resample(said, RATE, 16_000, quality="HQ"), atol=1e-3)
    written = np.concatenate([feed.sound(9 * 3000), feed.sound(12 * 3000)])
    expected = soxr.resample(said, RATE, 48_000, quality="HQ")
    assert np.allclose(written[:48_000], expected, atol=1e-3)
    assert len(written) == 21 * 3000 and not written[48_000:].any(), "the end is silence"


def test_the_file_has_its_sound_by_the_time_the_renderer_has_heard_it() -> None:
    feed = SpeechFeed(60.0)
    feed.push(SpeechDelta(voice(1.0), RATE))
    heard = itertools.islice(feed.samples(), 4)
    assert sum(len(chunk) for chunk in heard) >= 0.95 * 16_000
    assert np.abs(feed.sound(45_000)[44_000:]).max() > 0.01


def test_speech_that_is_there_all_at_once_is_taken_as_it_is_needed() -> None:
    feed, said = SpeechFeed(60.0), voice(30.0)
    feed.push(SpeechDelta(said, RATE))
    feed.end()
    chunks = feed.samples()
    first = next(chunks)
    assert 0 < len(first) <= 8000
    assert np.abs(feed.sound(11_000)[-500:]).max() > 0.01, "and so is the file's"
    assert len(first) + sum(len(chunk) for chunk in chunks) == 30 * 16_000


def test_marks_count_from_the_first_sound_that_is_kept() -> None:
    feed = SpeechFeed(60.0)
    feed.push(SpeechDelta(quiet(2.0), RATE))
    feed.push(SpeechDelta(voice(1.0), RATE, text_end=12))
    assert [mark.characters for mark in feed.marks] == [12]
    assert feed.marks[0].second == pytest.approx(1.0 + LEAD_S, abs=0.011)


def test_a_stop_wakes_whoever_waits_for_sound() -> None:
    feed = SpeechFeed(60.0)
    feed.push(SpeechDelta(voice(0.2), RATE))
    taken: list[int] = []
    waiting = threading.Event()

    def listen() -> None:
        for chunk in feed.samples():
            taken.append(len(chunk))
            waiting.set()

    thread = threading.Thread(target=listen)
    thread.start()
    assert waiting.wait(30)
    feed.stop.set()
    thread.join(30)
    assert not thread.is_alive() and len(taken) == 1


def test_an_answer_that_is_too_long_is_cut() -> None:
    feed = SpeechFeed(1.0)
    feed.push(SpeechDelta(voice(0.75), RATE, text_end=5))
    assert not feed.full
    feed.push(SpeechDelta(voice(0.75), RATE, text_end=10))
    feed.push(SpeechDelta(voice(0.75), RATE, text_end=15))
    feed.end()
    assert feed.full and feed.seconds == 1.0
    assert sum(len(chunk) for chunk in feed.samples()) == 16_000
    assert [mark.characters for mark in feed.marks] == [5]


@pytest.mark.parametrize(
    "piece",
    [
        SpeechDelta(voice(0.1), 16_000),
        SpeechDelta(np.full(100, np.nan, np.float32), RATE),
        SpeechDelta(np.zeros((2, 100), np.float32), RATE),
    ],
)
def test_sound_that_does_not_continue_the_answer_is_refused(piece: SpeechDelta) -> None:
    feed = SpeechFeed(60.0)
    feed.push(SpeechDelta(voice(0.1), RATE))
    with pytest.raises(ThinkerError, match="continue") as refused:
        feed.push(piece)
    assert refused.value.code == "broken"


def test_nothing_said_is_no_sound_at_all() -> None:
    feed = SpeechFeed(60.0)
    feed.push(SpeechDelta(quiet(1.0), RATE))
    feed.end()
    assert list(feed.samples()) == [] and not feed.audible and feed.seconds == 0.0
