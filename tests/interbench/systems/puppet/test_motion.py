from __future__ import annotations

import itertools

import numpy as np
import pytest

from interbench.media.speech import Span, Speech, synthesize
from interbench.systems.puppet.moods import EXPRESSIONS, OPPOSITES, mood_of
from interbench.systems.puppet.motion import FPS, TAIL_S, Manner, lead_s, poses
from interbench.systems.puppet.visemes import VISEMES, mouth_track

OPEN, SPREAD, PRESS, TUCK = 0, 1, 2, 3


@pytest.fixture(scope="module")
def said() -> Speech:
    return synthesize("Bob and Mary bought a big map of Paris. Oh, what a wonderful view of the farm!")


def at(track: np.ndarray, span: Span) -> np.ndarray:
    return np.asarray(track[min(len(track) - 1, int((span.start_s + span.end_s) / 2 * FPS))])


def test_lips_close_on_every_bilabial_and_open_on_open_vowels(said: Speech) -> None:
    track = mouth_track(said.phonemes, said.duration_s, FPS)
    closed = [at(track, span) for span in said.phonemes if span.text in ("b", "p", "m")]
    wide = [at(track, span) for span in said.phonemes if span.text.strip("ˈˌ") in ("ɑː", "æ", "ɔː")]
    assert len(closed) >= 6
    assert len(wide) >= 3
    assert all(mouth[OPEN] == 0 and mouth[PRESS] == 1 for mouth in closed)
    assert all(mouth[OPEN] > 0.3 for mouth in wide)


def test_f_and_v_tuck_the_lower_lip_and_w_rounds(said: Speech) -> None:
    track = mouth_track(said.phonemes, said.duration_s, FPS)
    assert all(at(track, span)[TUCK] == 1 for span in said.phonemes if span.text in ("f", "v"))
    assert all(at(track, span)[SPREAD] < -0.35 for span in said.phonemes if span.text == "w")


def test_pauses_close_the_mouth(said: Speech) -> None:
    track = mouth_track(said.phonemes, said.duration_s, FPS)
    gaps = [
        (left.end_s, right.start_s)
        for left, right in itertools.pairwise(said.phonemes)
        if right.start_s - left.end_s > 0.25
    ]
    assert gaps
    for start, end in gaps:
        assert track[int((start + end) / 2 * FPS), OPEN] < 0.12


def test_openness_follows_the_loudness_of_the_sound(said: Speech) -> None:
    track = mouth_track(said.phonemes, said.duration_s, FPS)
    size = said.rate // FPS
    frames = len(said.samples) // size
    envelope = np.sqrt(np.square(said.samples[: frames * size]).reshape(frames, size).mean(axis=1))
    count = min(frames, len(track))
    assert np.corrcoef(envelope[:count], track[:count, OPEN])[0, 1] > 0.4


def test_every_english_phoneme_has_a_mouth() -> None:
    sounds = synthesize(
        "The quick brown fox jumps over the lazy dog. She sells seashells; measure the joy, church, thing, voice, "
        "now, ear, air, tour, bird, butter, little, button."
    ).phonemes
    marks = set("ˈˌː ̩‍ʲʰ̃ʔ")
    unknown = {char for name, _, _ in sounds for char in name if char not in VISEMES and char not in marks}
    assert not unknown


def test_a_clip_is_listening_speech_and_settling(said: Speech) -> None:
    sequence = poses(said, "warm", 3, Manner())
    lead = round(lead_s(3, Manner()) * FPS)
    assert len(sequence) == lead + int(np.ceil(said.duration_s * FPS)) + round(TAIL_S * FPS)
    assert 0.3 <= lead / FPS <= 0.5
    assert all(pose.mouth.open == 0 for pose in sequence[:lead])
    assert max(pose.pitch for pose in sequence[:lead]) > 0.4, "no nod while listening"
    assert all(pose.mouth.open == 0 for pose in sequence[-8:])


@pytest.mark.parametrize("seed", range(5))
def test_people_blink_look_away_and_come_back(said: Speech, seed: int) -> None:
    sequence = poses(said, "neutral", seed, Manner())
    lids = np.array([pose.eyes.lid for pose in sequence])
    blinks = int(((lids[1:] < 0.2) & (lids[:-1] >= 0.2)).sum())
    assert 1 <= blinks <= len(sequence) / FPS
    gaze = np.array([abs(pose.eyes.gaze_x) for pose in sequence])
    assert gaze.max() >= 3
    assert (gaze == 0).mean() > 0.5
    assert gaze[-6:].max() == 0


def test_a_newsreader_neither_nods_nor_looks_away(said: Speech) -> None:
    sequence = poses(said, "neutral", 1, Manner(newsreader=True))
    assert all(pose.eyes.gaze_x == 0 and pose.dy == 0 for pose in sequence)
    assert max(abs(pose.tilt) for pose in sequence) < 0.3


def test_lips_out_of_step_are_shifted_by_as_much(said: Speech) -> None:
    intact, late = poses(said, "neutral", 2, Manner()), poses(said, "neutral", 2, Manner(lips_offset_s=0.6))
    shift = round(0.6 * FPS)
    assert len(intact) == len(late)
    assert [pose.mouth.open for pose in late[shift:]] == [pose.mouth.open for pose in intact[:-shift]]
    assert [pose.eyes for pose in late] == [pose.eyes for pose in intact]


def test_the_same_seed_gives_the_same_motion(said: Speech) -> None:
    assert poses(said, "happy", 9, Manner()) == poses(said, "happy", 9, Manner())
    assert poses(said, "happy", 9, Manner()) != poses(said, "happy", 10, Manner())


def test_moods_move_the_face(said: Speech) -> None:
    happy, sad = (poses(said, mood, 4, Manner())[-1] for mood in ("happy", "sad"))
    assert happy.mouth.smile > 0.5 > 0 > sad.mouth.smile
    assert sad.brows.inner > 0.5
    assert happy.eyes.squint > sad.eyes.squint


@pytest.mark.parametrize(
    ("words", "mood"),
    [
        ("happy", "happy"),
        ("Warm and gently amused", "amused"),
        ("sympathetic, unhurried", "sympathetic"),
        ("CONCERNED", "concerned"),
        ("calm", "calm"),
        ("curious", "curious"),
        ("excited", "excited"),
        ("", "neutral"),
        ("mauve {x}", "neutral"),
    ],
)
def test_words_for_moods_find_an_expression(words: str, mood: str) -> None:
    assert mood_of(words) == mood


def test_every_mood_has_an_opposite_that_is_another() -> None:
    assert set(OPPOSITES) == set(EXPRESSIONS)
    assert all(EXPRESSIONS[mood] != EXPRESSIONS[other] for mood, other in OPPOSITES.items())
