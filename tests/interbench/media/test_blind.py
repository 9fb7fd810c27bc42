"""Copies of clips for raters: they tell nothing, and show and sound as the clips do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import harness_kit
import numpy as np
import pytest

from interbench.base.errors import MediaError
from interbench.media.pool import MediaPool

MARKS = (b"x264", b"Lavf", b"Lavc", b"libvpx", b"kestrel", b"encoder", b"Encoded")


def webm(path: Path) -> Path:
    """VP8 and Opus with a title, which browsers play, but not in an MP4."""
    with av.open(str(path), "w", format="webm") as container:
        container.metadata["title"] = "made by kestrel"
        video = container.add_stream("libvpx", rate=10)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound: Any = container.add_stream("libopus", rate=48_000, layout="mono")
        for number in range(10):
            picture = np.full((64, 96, 3), 40 + 15 * number, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        t = np.arange(48_000) / 48_000
        wave = (0.3 * np.sin(2 * np.pi * 220 * t) * (t >= 0.5)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


async def test_it_tells_nothing_and_keeps_length_and_time_of_speech(tmp_path: Path) -> None:
    sources = [harness_kit.write_clip(tmp_path / "a.mp4", seconds=1.0, quiet_s=0.5), webm(tmp_path / "b.webm")]
    async with MediaPool() as media:
        for source in sources:
            before = await media.inspect(source)
            copy = tmp_path / f"{source.stem}-copy.mp4"
            after = await media.blind_copy(source, copy)
            assert any(mark in source.read_bytes() for mark in MARKS)
            assert not [mark for mark in MARKS if mark in copy.read_bytes()]
            assert after.video_codec == "h264" and (after.width, after.height) == (96, 64)
            assert after.duration_s == pytest.approx(before.duration_s, abs=0.12)
            assert after.speech_start_s == pytest.approx(before.speech_start_s, abs=0.05)
            shown = [await media.frames(path, 5, (96, 64)) for path in (source, copy)]
            assert np.abs(shown[0].astype(int) - shown[1]).mean() < 3


async def test_gross_defects_are_gross(tmp_path: Path) -> None:
    source = harness_kit.write_clip(tmp_path / "a.mp4", seconds=1.0, shade=60)
    async with MediaPool() as media:
        still = await media.blind_copy(source, tmp_path / "frozen.mp4", "frozen")
        pictures = await media.frames(tmp_path / "frozen.mp4", 8, (96, 64))
        moving = await media.frames(source, 8, (96, 64))
        assert np.abs(pictures.astype(int) - pictures[0]).max() <= 4 < np.abs(moving.astype(int) - moving[0]).max()
        assert still.audible and still.duration_s == pytest.approx(1.0, abs=0.12)
        silent = await media.blind_copy(source, tmp_path / "muted.mp4", "muted")
        assert not silent.has_audio and silent.frames == 10


async def test_what_is_no_clip_is_refused_as_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    async with MediaPool() as media:
        with pytest.raises(MediaError) as refused:
            await media.blind_copy(tmp_path / "a.mp4", tmp_path / "out.mp4")
    assert refused.value.code in ("truncated", "not_media", "undecodable")
