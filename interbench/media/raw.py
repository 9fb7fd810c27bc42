"""Decoded pictures and sounds, as the stacks of live services hand them over and take them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, TypeAlias

import av
import numpy as np
import numpy.typing as npt

Picture: TypeAlias = av.VideoFrame


def brightness(picture: Picture) -> npt.NDArray[np.uint8]:
    """Height × width."""
    plain = picture if picture.format.name in ("yuv420p", "yuvj420p", "gray") else picture.reformat(format="gray")
    plane = plain.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plain.height, : plain.width].copy()


def from_i420(width: int, height: int, data: memoryview | bytes) -> Picture:
    """A picture out of three planes, one after another, colour at half resolution."""
    half = (width + 1) // 2, (height + 1) // 2
    given = np.frombuffer(data, np.uint8)
    found = av.VideoFrame(width, height, "yuv420p")
    at = 0
    for plane, (wide, high) in zip(found.planes, ((width, height), half, half), strict=True):
        rows = np.zeros((high, plane.line_size), np.uint8)
        rows[:, :wide] = given[at : at + wide * high].reshape(high, wide)
        plane.update(rows.tobytes().ljust(plane.buffer_size, b"\0")[: plane.buffer_size])
        at += wide * high
    return found


def mono(sound: Any, rate: int) -> npt.NDArray[np.float32]:
    """A decoded piece of sound as mono samples in -1..1 at ``rate``."""
    pieces = sound.to_ndarray()
    samples = pieces.T if sound.format.is_planar else pieces.reshape(-1, len(sound.layout.channels))
    scaled = samples.mean(axis=1) if samples.dtype.kind == "f" else samples.mean(axis=1) / 32768.0
    if sound.sample_rate != rate:
        places = np.arange(round(len(scaled) * rate / sound.sample_rate)) * sound.sample_rate / rate
        scaled = np.interp(places, np.arange(len(scaled)), scaled)
    found: npt.NDArray[np.float32] = scaled.astype(np.float32)
    return found


def piece(samples: npt.NDArray[np.int16], rate: int, at: int) -> av.AudioFrame:
    """Mono 16-bit samples as a piece of sound that begins with sample ``at``."""
    found = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
    found.sample_rate, found.pts, found.time_base = rate, at, Fraction(1, rate)
    return found
