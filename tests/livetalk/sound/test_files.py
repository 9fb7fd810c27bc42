"""Reading speech from files of all kinds."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from livetalk.base.errors import AudioError
from livetalk.sound.files import frames_covering, padded, read_audio

Wav = Callable[..., bytes]


def tone(seconds: float, rate: int, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def loudest_frequency(samples: np.ndarray, rate: int = 16_000) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[spectrum.argmax()])


def test_no_samples_and_one_sample(wav: Wav) -> None:
    assert read_audio(wav(np.zeros(0))).shape == (0,)
    assert read_audio(wav(np.array([0.5]))) == pytest.approx([0.5], abs=1e-4)


def test_sixteen_kilohertz_comes_through_unchanged(wav: Wav) -> None:
    samples = tone(0.3, 16_000)
    out = read_audio(wav(samples))
    assert out.dtype == np.float32
    assert np.allclose(out, np.round(samples * 32767) / 32768, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_other_rates_keep_length_and_pitch(wav: Wav, rate: int) -> None:
    out = read_audio(wav(tone(1.0, rate), rate))
    assert abs(len(out) - 16_000) <= 1
    assert loudest_frequency(out) == pytest.approx(440, abs=2)
    assert np.abs(out[2000:-2000]).max() == pytest.approx(0.5, abs=0.01)


def test_stereo_is_averaged(wav: Wav) -> None:
    left = tone(0.5, 48_000)
    out = read_audio(wav(np.stack([left, -left], axis=1), 48_000))
    assert np.abs(out).max() < 1e-3
    both = read_audio(wav(np.stack([left, np.zeros_like(left)], axis=1), 48_000))
    assert np.abs(both[1000:-1000]).max() == pytest.approx(0.25, abs=0.01)


def test_eight_bit_is_centred(wav: Wav) -> None:
    out = read_audio(wav(np.zeros(100), width=1))
    assert np.all(out == 0)


def test_ten_minutes(wav: Wav) -> None:
    out = read_audio(wav(tone(600, 8_000), 8_000))
    assert len(out) == 600 * 16_000
    assert loudest_frequency(out[-16_000:]) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(("container", "codec"), [("flac", "flac"), ("mp3", "mp3"), ("mp4", "aac"), ("ogg", "libopus")])
def test_compressed_formats(tmp_path: Path, container: str, codec: str) -> None:
    path = tmp_path / f"speech.{container}"
    samples = tone(1.0, 48_000).astype(np.float32)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=48_000, layout="mono")
        assert isinstance(stream, av.AudioStream)
        resampler = av.AudioResampler(stream.codec_context.format, "mono", 48_000)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        for piece in resampler.resample(frame):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    out = read_audio(path)
    assert abs(len(out) - 16_000) < 1600
    assert loudest_frequency(out[1000:15_000]) == pytest.approx(440, abs=4)


def test_a_wish_for_another_rate(wav: Wav) -> None:
    assert len(read_audio(wav(tone(0.5, 16_000)), 48_000)) == 24_000


@pytest.mark.parametrize("content", [b"", b"not a sound", bytes(range(256)) * 10])
def test_what_is_no_sound_is_refused(content: bytes) -> None:
    with pytest.raises(AudioError, match="can't be decoded") as refused:
        read_audio(content)
    assert "Errno" not in str(refused.value)


def test_a_header_without_the_rest(wav: Wav) -> None:
    with pytest.raises(AudioError, match="can't be decoded"):
        read_audio(wav(tone(0.1, 16_000))[:20])


def test_a_picture_has_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=16)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        file.mux(stream.encode(None))
    with pytest.raises(AudioError, match="no audio stream"):
        read_audio(path)


def test_playlists_open_nothing_else(tmp_path: Path, wav: Wav) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(tone(1.0, 16_000)))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile '{secret}'\n"
    for text in (playlist, concat):
        with pytest.raises(AudioError, match="can't be decoded"):
            read_audio(text.encode())
    path = tmp_path / "list.m3u8"
    path.write_text(playlist)
    with pytest.raises(AudioError, match="can't be decoded"):
        read_audio(path)


def test_values_that_are_not_numbers() -> None:
    stream = io.BytesIO()
    with av.open(stream, "w", format="wav") as file:
        track = file.add_stream("pcm_f32le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.full((1, 100), np.nan, np.float32), format="flt", layout="mono")
        frame.sample_rate = 16_000
        file.mux(track.encode(frame))
        file.mux(track.encode(None))
    with pytest.raises(AudioError, match="not numbers"):
        read_audio(stream.getvalue())


def test_too_long_is_refused_while_decoding(wav: Wav) -> None:
    with pytest.raises(AudioError, match="longer than 2 seconds"):
        read_audio(wav(np.zeros(16_000 * 3)), max_seconds=2)
    assert len(read_audio(wav(np.zeros(16_000)), max_seconds=1)) == 16_000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav.*No such file"):
        read_audio(tmp_path / "gone.wav")


def test_a_cut_wav_gives_what_is_there(wav: Wav) -> None:
    content = wav(tone(1.0, 16_000))
    assert len(read_audio(content[: len(content) // 2])) == pytest.approx(8_000, abs=64)


def test_padding_and_frames() -> None:
    assert padded(np.ones(3, np.float32), 5).tolist() == [1, 1, 1, 0, 0]
    assert padded(np.ones(3, np.float32), 2).tolist() == [1, 1]
    assert [frames_covering(samples, 16) for samples in (0, 1, 1000, 1001, 80_000)] == [0, 1, 1, 2, 80]
