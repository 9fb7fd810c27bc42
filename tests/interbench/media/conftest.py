"""Real clips, made with the same library that real systems use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import pytest_asyncio

from interbench.media.pool import MediaPool


def _picture(index: int, width: int, height: int) -> np.ndarray:
    """A frame whose left half tells its index (grey level) and whose right half has structure."""
    frame = np.full((height, width, 3), (index * 8) % 248, np.uint8)
    y, x = np.mgrid[:height, : width - width // 2]
    frame[:, width // 2 :, 1] = (x * 5 + y * 3 + index) % 256
    return frame


def write_clip(
    path: Path,
    *,
    frames: int = 25,
    size: tuple[int, int] = (96, 64),
    fps: int = 25,
    times: Sequence[int] | None = None,
    sound: np.ndarray | None = None,
    rate: int = 48_000,
    sound_offset_s: float = 0.0,
    video_codec: str = "libx264",
    audio_codec: str = "aac",
    pixel_format: str = "yuv420p",
    container_options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    picture: Callable[[int, int, int], np.ndarray] = _picture,
) -> Path:
    """Write a clip. ``times``: presentation times of the frames in units of 1/fps. ``frames=0``: no picture track."""
    width, height = size
    with av.open(str(path), "w", options=container_options or {}) as container:
        video: Any = container.add_stream(video_codec, rate=fps) if frames else None
        if video is not None:
            video.codec_context.time_base = Fraction(1, fps)
            video.width, video.height, video.pix_fmt = width, height, pixel_format
            video.codec_context.options = codec_options or {}
        audio: Any = container.add_stream(audio_codec, rate=rate, layout="mono") if sound is not None else None
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, width, height), format="rgb24")
            frame.pts = index if times is None else times[index]
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        if audio is not None and sound is not None:
            resampler = av.AudioResampler(format=audio.codec_context.format, layout="mono", rate=rate, frame_size=960)
            piece = av.AudioFrame.from_ndarray(sound.astype(np.float32).reshape(1, -1), format="flt", layout="mono")
            piece.sample_rate, piece.pts = rate, round(sound_offset_s * rate)
            for chunk in [*resampler.resample(piece), *resampler.resample(None)]:
                container.mux(audio.encode(chunk))
            container.mux(audio.encode(None))
    return path


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Path]:
    return write_clip


@pytest.fixture(scope="session")
def tone() -> Callable[..., np.ndarray]:
    """A 440 Hz tone: ``tone(seconds, level_dbfs, rate)``, its level as root mean square."""

    def make(seconds: float, level: float = -20.0, rate: int = 48_000) -> np.ndarray:
        amplitude = 10 ** (level / 20) * 2**0.5
        return (amplitude * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[MediaPool]:
    async with MediaPool() as shared:
        yield shared
