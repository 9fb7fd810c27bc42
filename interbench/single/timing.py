"""Which frames stand for which moments."""

from __future__ import annotations

import math

_ROUNDING = 1e-9


def one_per_second(frames: int, fps: float) -> list[int]:
    """Frames that Q-Align's video scorer looks at: one for each whole second, so none of a shorter clip."""
    return [int(fps * second) for second in range(int(frames / fps))]


def held(frames: int, fps: float, rate: float) -> list[int]:
    """Frames on screen at ``rate`` a second while a clip of ``frames`` at ``fps`` is played.

    The length in time is kept: half a frame of ``rate`` and more at the end counts as one.
    """
    count = math.floor(frames / fps * rate + 0.5 + _ROUNDING)
    return [min(frames - 1, math.floor(number * fps / rate + _ROUNDING)) for number in range(count)]
