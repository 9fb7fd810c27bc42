"""Sound files of scenario sets: written by us, read by us, made by others."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from known import known

from interbench.base.errors import MediaError, UsageError
from interbench.media.pool import Limits, MediaPool, SoundFacts, encode_audio, probe_audio_files


def speech_like(seconds: float = 2.0, rate: int = 16_000) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    swell: np.ndarray = 0.5 * np.sin(2 * np.pi * 220 * time) * np.sin(np.pi * time) ** 2
    return swell.astype(np.float32)


@pytest.mark.parametrize(("suffix", "codec"), [(".wav", "pcm_s16le"), (".flac", "flac"), (".mp3", "mp3")])
def test_what_is_written_is_what_is_read(tmp_path: Path, suffix: str, codec: str) -> None:
    path, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    samples = speech_like()
    encode_audio(samples, 16_000, path)
    encode_audio(samples, 16_000, again)
    assert path.read_bytes() == again.read_bytes()
    (facts,) = probe_audio_files([path])
    assert isinstance(facts, SoundFacts)
    assert (facts.container, facts.codec, facts.rate, facts.channels) == (suffix[1:], codec, 16_000, 1)
    assert facts.duration_s == pytest.approx(2.0, abs=0.08)
    assert facts.peak == pytest.approx(np.abs(samples).max(), abs=0.03)
    assert facts.rms == pytest.approx(np.sqrt(np.square(samples).mean()), rel=0.08)  # LAME scales by 0.95


async def test_samples_survive(tmp_path: Path) -> None:
    samples = speech_like()
    encode_audio(samples, 16_000, tmp_path / "a.flac")
    async with MediaPool() as pool:
        heard = await pool.audio(tmp_path / "a.flac")
    assert known(heard).shape == samples.shape
    assert np.abs(heard - samples).max() <= 1 / 32767


def test_loud_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    encode_audio(np.array([2.0, -2.0] * 800, np.float32), 16_000, tmp_path / "a.wav")
    with wave.open(str(tmp_path / "a.wav")) as file:
        values = np.frombuffer(file.readframes(1600), np.int16)
    assert set(values.tolist()) == {32767, -32768}


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.wav, \.mp3, \.flac"):
        encode_audio(speech_like(), 16_000, tmp_path / "a.aiff")


def test_every_file_gets_its_answer_whatever_the_others_are(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    good, cut, text, link = tmp_path / "a.wav", tmp_path / "b.wav", tmp_path / "c.wav", tmp_path / "d.wav"
    encode_audio(speech_like(), 16_000, good)
    cut.write_bytes(good.read_bytes()[:20_000])
    text.write_text("hello")
    link.symlink_to(good)
    video = make_clip(tmp_path / "e.mp4")
    results = probe_audio_files([text, good, cut, tmp_path / "nothing.wav", link, video])
    codes = [r.code if isinstance(r, MediaError) else r.rate for r in results]
    assert codes == ["not_media", 16_000, "truncated", "missing", 16_000, "no_audio"]


def test_a_file_that_takes_too_long_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    encode_audio(speech_like(), 16_000, tmp_path / "a.wav")
    results = probe_audio_files([tmp_path / "a.wav"] * 2, Limits(timeout_s=0.01))
    assert [r.code for r in results if isinstance(r, MediaError)] == ["timeout", "timeout"]
    results = probe_audio_files([tmp_path / "a.wav"] * 2, Limits(memory_bytes=48 * 2**20))
    assert [r.code in ("crashed", "memory") for r in results if isinstance(r, MediaError)] == [True, True]


def test_nothing_to_probe() -> None:
    assert probe_audio_files([]) == []
