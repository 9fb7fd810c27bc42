"""Real clips of the puppet and its defects, decoded again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from interbench.domain.persona import Persona
from interbench.media.speech import SpeechError, synthesize
from interbench.systems.puppet import render as rendering
from interbench.systems.puppet.defects import DEFECTS
from interbench.systems.puppet.motion import FPS, TAIL_S
from interbench.systems.puppet.render import render

TEXT = "Papa bought a map."
MOUTH = np.s_[285:345, 215:297]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory, maya: Persona) -> tuple[Path, rendering.Clip]:
    path = tmp_path_factory.mktemp("intact") / "clip.mp4"
    return path, render(path, maya, TEXT, mood="happy", seed=1)


@pytest.fixture
def defective(tmp_path: Path, maya: Persona, decode: Callable[[Path], Any]) -> Callable[..., Any]:
    def make(name: str, turn: int = 1) -> Any:
        path = tmp_path / f"{name}-{turn}.mp4"
        render(path, maya, TEXT, mood="happy", seed=1, turn=turn, staging=DEFECTS[name].staging)
        return decode(path)

    return make


def test_a_clip_is_h264_and_aac_of_the_right_shape_and_length(
    intact: tuple[Path, rendering.Clip], decode: Callable[[Path], Any]
) -> None:
    path, clip = intact
    shown = decode(path)
    assert (shown.video_codec, shown.audio_codec, shown.pixel_format) == ("h264", "aac", "yuv420p")
    assert shown.frames.shape[1:] == (512, 512, 3)
    assert shown.fps == FPS
    assert len(shown.frames) == clip.frames
    expected = clip.speech_start_s + clip.speech_s + TAIL_S
    assert len(shown.frames) / FPS == pytest.approx(expected, abs=1.5 / FPS)
    assert len(shown.samples) / shown.rate == pytest.approx(expected, abs=0.06)


def test_the_index_comes_first_so_that_playback_can_start_at_once(intact: tuple[Path, rendering.Clip]) -> None:
    data = intact[0].read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_sound_starts_with_the_speech_and_is_audible(
    intact: tuple[Path, rendering.Clip], decode: Callable[[Path], Any]
) -> None:
    path, clip = intact
    shown = decode(path)
    start = round(clip.speech_start_s * shown.rate)
    assert np.abs(shown.samples[: start - shown.rate // 20]).max() < 0.02
    spoken = shown.samples[start : start + round(clip.speech_s * shown.rate)]
    assert np.sqrt(np.square(spoken).mean()) > 0.03
    assert np.abs(spoken).max() < 1.0


def test_the_same_request_gives_the_same_bytes(
    intact: tuple[Path, rendering.Clip], tmp_path: Path, maya: Persona
) -> None:
    render(tmp_path / "other.mp4", maya, "Something else.", mood="sad", seed=2)
    rendering._figure.cache_clear()
    render(tmp_path / "again.mp4", maya, TEXT, mood="happy", seed=1)
    assert (tmp_path / "again.mp4").read_bytes() == intact[0].read_bytes()


def test_decoded_lips_part_on_vowels_and_meet_on_bilabials(
    intact: tuple[Path, rendering.Clip], decode: Callable[[Path], Any], maya: Persona
) -> None:
    path, clip = intact
    frames = decode(path).frames[(slice(None), *MOUTH)].astype(int)
    # The inside of the mouth is the only dark red area there.
    cavity = ((frames.sum(axis=3) < 200) & (frames[..., 0] > frames[..., 2])).mean(axis=(1, 2))
    voice = maya.voice.model_copy(update={"rate": round(maya.voice.rate * 1.03)})
    phonemes = synthesize(TEXT, voice, pitch_range=66).phonemes

    def shown(names: tuple[str, ...]) -> list[float]:
        middles = [(start + end) / 2 for name, start, end in phonemes if name.strip("ˈˌ") in names]
        return [float(cavity[int((clip.speech_start_s + middle) * FPS)]) for middle in middles]

    vowels, bilabials = shown(("ɑː", "æ", "ɔː")), shown(("p", "b", "m"))
    assert len(vowels) >= 3
    assert len(bilabials) >= 4
    assert min(vowels) > 2 * max(bilabials[1:])


def test_a_person_moves_and_a_frozen_one_does_not(
    intact: tuple[Path, rendering.Clip], decode: Callable[[Path], Any], defective: Callable[..., Any]
) -> None:
    def motion(frames: np.ndarray) -> float:
        # The median, because a key frame renews even a still picture.
        small = frames[:, ::4, ::4].astype(np.int16)
        return float(np.median(np.abs(np.diff(small, axis=0)).mean(axis=(1, 2, 3))))

    assert motion(decode(intact[0]).frames) > 0.3
    frozen = defective("frozen")
    assert motion(frozen.frames) < 0.05
    assert np.abs(frozen.samples).max() > 0.1


def test_a_blank_clip_is_black_and_speaks(defective: Callable[..., Any]) -> None:
    blank = defective("blank")
    assert blank.frames.max() <= 2
    assert np.abs(blank.samples).max() > 0.1


def test_a_silent_clip_has_an_empty_track_and_moving_lips(defective: Callable[..., Any]) -> None:
    silent = defective("silent")
    assert len(silent.samples) > silent.rate
    assert np.abs(silent.samples).max() < 1e-4
    assert np.abs(np.diff(silent.frames[(slice(None), *MOUTH)].astype(np.int16), axis=0)).max() > 60


def test_a_broken_file_cannot_be_opened(tmp_path: Path, maya: Persona) -> None:
    path = tmp_path / "broken.mp4"
    render(path, maya, TEXT, mood="happy", seed=1, staging=DEFECTS["broken"].staging)
    assert path.stat().st_size > 1000
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(path))


def test_drift_shows_the_persona_first_and_others_after(
    intact: tuple[Path, rendering.Clip], decode: Callable[[Path], Any], defective: Callable[..., Any]
) -> None:
    def distance(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.abs(one[-1].astype(int) - other[-1].astype(int)).mean())

    own = decode(intact[0]).frames
    assert distance(own, defective("drift", 1).frames) == 0
    second, third = defective("drift", 2).frames, defective("drift", 3).frames
    assert min(distance(own, second), distance(own, third), distance(second, third)) > 15


def test_the_wrong_mood_looks_different(
    intact: tuple[Path, rendering.Clip], decode: Callable[[Path], Any], tmp_path: Path, maya: Persona
) -> None:
    clip = render(tmp_path / "w.mp4", maya, TEXT, mood="happy", seed=1, staging=DEFECTS["wrong-mood"].staging)
    assert (intact[1].mood, clip.mood) == ("happy", "angry")
    face = np.s_[-1, 180:320, 180:330]
    assert np.abs(decode(intact[0]).frames[face].astype(int) - decode(tmp_path / "w.mp4").frames[face]).mean() > 3


def test_an_empty_reply_gives_a_short_silent_nod(tmp_path: Path, maya: Persona, decode: Callable[[Path], Any]) -> None:
    clip = render(tmp_path / "empty.mp4", maya, "", mood="", seed=1)
    shown = decode(tmp_path / "empty.mp4")
    assert clip.speech_s == 0
    assert 0.5 < len(shown.frames) / FPS < 1.2
    assert np.abs(shown.samples).max() < 1e-4


def test_too_long_a_reply_fails_clearly_and_writes_nothing(
    tmp_path: Path, maya: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "MAX_REPLY_S", 2.0)
    with pytest.raises(SpeechError, match="more than 2 seconds"):
        render(tmp_path / "long.mp4", maya, "la " * 200, mood="", seed=1)
    assert os.listdir(tmp_path) == []  # noqa: PTH208
