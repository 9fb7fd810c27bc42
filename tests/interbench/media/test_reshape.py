"""Clips of others' programs brought into the form of an answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from talk_film import write_talk

from interbench.base.errors import MediaError
from interbench.media.pool import MediaPool
from interbench.media.speech import Speech, write_wav

pytestmark = pytest.mark.asyncio(loop_scope="module")


def beep(path: Path, seconds: float = 1.0) -> Path:
    write_wav(path, Speech(0.4 * np.sin(np.arange(round(seconds * 16_000)) / 7).astype(np.float32), 16_000))
    return path


async def test_the_last_of_three_panels_is_cut_out(pool: MediaPool, tmp_path: Path) -> None:
    clip = write_talk(tmp_path / "three.mp4", beep(tmp_path / "a.wav"), size=(64, 64), fps=10, panels=3)
    target = tmp_path / "one.mp4"
    await pool.reshape(clip, target, crop=(134, 2, 64, 64))
    facts = await pool.inspect(target)
    assert (facts.width, facts.height, facts.frames) == (64, 64, 10) and facts.audible
    frames = await pool.frames(target, 4, (8, 8))
    assert (np.abs(frames.astype(int) - (20, 40, 220)).max(axis=(0, 1, 2)) < 25).all()


async def test_what_stands_before_the_speech_goes_with_picture_and_sound(pool: MediaPool, tmp_path: Path) -> None:
    clip = write_talk(tmp_path / "late.mp4", beep(tmp_path / "a.wav"), fps=25, lead_s=0.4)
    before = await pool.inspect(clip)
    assert before.speech_start_s == pytest.approx(0.45, abs=0.1)
    target = tmp_path / "cut.mp4"
    await pool.reshape(clip, target, start_s=0.4)
    facts = await pool.inspect(target)
    assert facts.duration_s == pytest.approx(1.0, abs=0.1)
    assert facts.speech_start_s is not None and facts.speech_start_s < 0.15


async def test_padding_at_the_end_is_cut_off(pool: MediaPool, tmp_path: Path) -> None:
    clip = write_talk(tmp_path / "long.mp4", beep(tmp_path / "a.wav", 2.0), fps=16)
    target = tmp_path / "cut.mp4"
    await pool.reshape(clip, target, seconds=1.25)
    facts = await pool.inspect(target)
    assert facts.duration_s == pytest.approx(1.25, abs=0.07) and facts.frames == 20


async def test_a_clip_without_sound_gets_the_speech(pool: MediaPool, tmp_path: Path) -> None:
    speech = beep(tmp_path / "a.wav")
    clip = write_talk(tmp_path / "mute.mp4", speech, sound=False)
    assert not (await pool.inspect(clip)).has_audio
    target = tmp_path / "heard.mp4"
    await pool.reshape(clip, target, speech=speech)
    facts = await pool.inspect(target)
    assert facts.audible and facts.audio_s == pytest.approx(1.0, abs=0.1)


async def test_another_layout_than_the_recipe_knows_is_refused(pool: MediaPool, tmp_path: Path) -> None:
    clip = write_talk(tmp_path / "one.mp4", beep(tmp_path / "a.wav"))
    with pytest.raises(MediaError, match="is the checkout at the recipe's commit"):
        await pool.reshape(clip, tmp_path / "x.mp4", crop=(1030, 2, 512, 512))
