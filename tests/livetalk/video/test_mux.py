"""The MP4 that comes out."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from known import known
from livetalk.base.errors import OutputError
from livetalk.sound.files import read_audio
from livetalk.video.mux import SOUND_RATE, VideoWriter


def frames(count: int, first: int = 0) -> np.ndarray:
    """Grey frames, each a little brighter than the one before."""
    levels = (np.arange(first, first + count) * 3 + 30).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, 48, 64, 3)).copy()


def chirp(seconds: float) -> np.ndarray:
    t = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    return (0.5 * np.sin(2 * np.pi * (300 + 400 * t) * t)).astype(np.float32)


def test_plays_with_sound_in_step(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    sound = chirp(2.0)
    with VideoWriter(path, 64, 48, sound=sound, metadata={"comment": "made for a test"}) as writer:
        writer.write(frames(9))
        writer.write(frames(12, 9))
        writer.write(frames(11, 21))
    with av.open(str(path), "r") as file:
        assert file.metadata["comment"] == "made for a test"
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (video.width, video.height) == (64, 48) and video.average_rate == 16
        assert (audio.codec_context.name, audio.rate, audio.codec_context.layout.nb_channels) == ("aac", 48_000, 1)
        assert float(known(audio.duration) * known(audio.time_base)) == pytest.approx(2.0, abs=0.03)
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video)]
    assert len(pictures) == 32
    assert np.abs(np.stack(pictures).astype(int) - frames(32)).max() <= 3
    decoded = read_audio(path, SOUND_RATE)[: len(sound)]
    lag = np.argmax(np.correlate(decoded[20_000:30_000], sound[20_000:30_000], "full")) - 9_999
    assert abs(lag) <= 0.005 * SOUND_RATE


def test_the_index_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 64, 48) as writer:
        writer.write(frames(4))
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_sound_is_cut_to_the_frames(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 64, 48, sound=chirp(5.0)) as writer:
        writer.write(frames(16))
    with av.open(str(path), "r") as file:
        audio = file.streams.audio[0]
        assert float(known(audio.duration) * known(audio.time_base)) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("samples", [0, 1, 500])
def test_hardly_any_sound(tmp_path: Path, samples: int) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 64, 48, sound=np.zeros(samples, np.float32)) as writer:
        writer.write(frames(2))
    with av.open(str(path), "r") as file:
        assert len(list(file.decode(video=0))) == 2


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"an older clip")
    with pytest.raises(RuntimeError, match="stop"), VideoWriter(path, 64, 48, sound=chirp(1.0)) as writer:
        writer.write(frames(9))
        raise RuntimeError("stop")
    assert path.read_bytes() == b"an older clip"
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]


def test_wrong_frames_and_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even size"):
        VideoWriter(tmp_path / "odd.mp4", 63, 48)
    with pytest.raises(ValueError, match="expected uint8 frames"), VideoWriter(tmp_path / "x.mp4", 64, 48) as writer:
        writer.write(np.zeros((1, 48, 48, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("new/folder/clip.mp4", "There is no folder"),
        ("clip.webm", "nothing but MP4"),
        ("clip", "nothing but MP4"),
    ],
)
def test_no_folder_is_made_unasked_and_no_other_ending_written(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(OutputError, match=words):
        VideoWriter(tmp_path / name, 64, 48)
    assert list(tmp_path.iterdir()) == []
