"""A picture and a sound of which a test can measure whether they are in step: a square that is bright while a tone is
heard, by a pattern that resembles itself at no other offset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

UNIT_S = 0.12
"""The shortest that the tone is heard, or not."""
WIDTH, HEIGHT = 128, 96
_PATTERN = np.random.default_rng(5).integers(0, 2, 400).astype(bool)


def is_on(seconds: float) -> bool:
    """Whether the tone is heard so long after the answer began; it is at its beginning."""
    unit = int(seconds / UNIT_S)
    return seconds >= 0 and (unit == 0 or bool(_PATTERN[unit % len(_PATTERN)]))


def picture(seconds: float | None, number: int, *, moving: bool = True) -> npt.NDArray[np.uint8]:
    """Brightness of one picture; ``seconds`` into the answer, None while idle. A bar moves so that none is the same."""
    plane = np.full((HEIGHT, WIDTH), 60, np.uint8)
    if moving:
        at = (number * 5) % (WIDTH - 8)
        plane[80:92, at : at + 8] = 200
    if moving and seconds is not None and is_on(seconds):
        plane[24:64, 40:88] = 220
    return plane


def frame(seconds: float | None, number: int, *, moving: bool = True) -> Any:
    """The same as a frame for an encoder."""
    plane = picture(seconds, number, moving=moving)
    return av.VideoFrame.from_ndarray(np.repeat(plane[:, :, None], 3, axis=2), format="rgb24")


def tone(seconds: float | None, count: int, rate: int) -> npt.NDArray[np.int16]:
    """``count`` samples of the sound; ``seconds`` into the answer, None while idle."""
    if seconds is None:
        return np.zeros(count, np.int16)
    times = seconds + np.arange(count) / rate
    gate = np.array([is_on(t) for t in times[:: max(1, rate // 1000)]])
    gate = np.repeat(gate, max(1, rate // 1000))[:count]
    sound: npt.NDArray[np.int16] = (8000 * np.sin(2 * np.pi * 440 * times) * gate).astype(np.int16)
    return sound


def mouth_lag_s(clip: Path) -> float:
    """The same of speech, whose light is on while it is loud."""
    return lag_s(clip, loud=0.1)


def lag_s(clip: Path, loud: float = 0.25) -> float:
    """By how much the sound of a clip is behind its picture, in seconds, from the correlation of the two patterns.

    Args:
        loud: share of the loudest level above which the tone is heard.
    """
    light: list[tuple[float, float]] = []
    sound: list[npt.NDArray[np.float32]] = []
    rate, begins = 16_000, None
    with av.open(str(clip)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        for packet in container.demux():
            for decoded in packet.decode():
                assert isinstance(decoded, (av.VideoFrame, av.AudioFrame))
                assert decoded.pts is not None and decoded.time_base is not None
                if isinstance(decoded, av.VideoFrame):
                    grey = decoded.to_ndarray(format="gray")
                    light.append((float(decoded.pts * decoded.time_base), float(grey[24:64, 40:88].mean())))
                else:
                    begins = float(decoded.pts * decoded.time_base) if begins is None else begins
                    sound += [piece.to_ndarray()[0] for piece in resampler.resample(decoded)]
    samples = np.concatenate(sound)
    step = 0.005
    size = round(step * rate)
    count = len(samples) // size
    level = samples[: count * size].reshape(count, size).std(axis=1)
    level = np.convolve(level, np.ones(5) / 5, "same")
    times = (begins or 0.0) + np.arange(count) * step
    shown = np.array([value for _, value in light])
    at = np.searchsorted([t for t, _ in light], times, side="right") - 1
    bright = shown[np.clip(at, 0, len(shown) - 1)]
    heard = (level > level.max() * loud).astype(float) - 0.5
    seen = (bright > 140).astype(float) - 0.5
    reach = round(0.4 / step)
    likeness = {
        shift: float((heard[reach + shift : len(heard) - reach + shift] * seen[reach : len(seen) - reach]).mean())
        for shift in range(-reach, reach + 1)
    }
    best = max(likeness, key=lambda shift: likeness[shift])
    assert likeness[best] > 0.15, f"picture and sound are not of one pattern ({likeness[best]:.3f})"
    return best * step
