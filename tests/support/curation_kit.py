"""Clips of a data set that nobody has: a drawn person, sound as loud and soft as speech, and what spoils them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from livetalk.render.portrait import portrait

RATE = 16_000
FPS = 8


def person(size: int = 192) -> np.ndarray:
    """RGB, uint8 [size, size, 3]: a face that the detector finds."""
    return np.asarray(portrait(size))


def babble(seconds: float, seed: int) -> np.ndarray:
    """Syllables of changing pitch and colour, float32 at 16 kHz; another seed is another recording."""
    rng = np.random.default_rng(seed)
    sound = np.zeros(round(seconds * RATE))
    at = 0.05
    while at < seconds:
        length = rng.uniform(0.09, 0.25)
        count = round(length * RATE)
        time = np.arange(count) / RATE
        pitch = rng.uniform(110, 260)
        tone = sum(rng.uniform(0.1, 1) * np.sin(2 * np.pi * k * pitch * time) for k in range(1, 12))
        begin = round(at * RATE)
        part = (tone * np.hanning(count))[: len(sound) - begin]
        sound[begin : begin + len(part)] += part
        at += length + rng.uniform(0.01, 0.08)
    level: np.ndarray = (0.4 * sound / np.abs(sound).max()).astype(np.float32)
    return level


def write_clip(
    path: Path,
    picture: np.ndarray,
    sound: np.ndarray | None,
    *,
    moving: Callable[[np.ndarray, int], np.ndarray] = lambda picture, frame: picture,
    seconds: float | None = None,
    rate: int = RATE,
    setup: Callable[[Any], None] = lambda stream: None,
) -> Path:
    """An MP4 (H.264, AAC) of one picture; ``moving`` may change it from frame to frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    length = seconds or (len(sound) / rate if sound is not None else 1.0)
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "14"})
        video.height, video.width = picture.shape[:2]
        video.pix_fmt = "yuv420p"
        setup(video)
        audio = file.add_stream("aac", rate=rate, layout="mono", bit_rate=96_000) if sound is not None else None
        for index in range(round(length * FPS)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(moving(picture, index)), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            file.mux(video.encode(frame))
        file.mux(video.encode())
        if audio is not None and sound is not None:
            block = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            block.rate, block.pts, block.time_base = rate, 0, Fraction(1, rate)
            file.mux(audio.encode(block))
            file.mux(audio.encode())
    return path
