"""Cuts: where a picture differs from the one before by its colours, as PySceneDetect's content detector has it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_THRESHOLD = 27.0
_LEAST_FRAMES = 15
_LOOKED_AT = 256
"""Pixels along the width that are looked at."""


class Scenes:
    """Finds cuts in frames that come in order."""

    def __init__(self) -> None:
        self._before: npt.NDArray[np.float32] | None = None
        self._starts = [0]
        self._frames = 0

    def add(self, picture: npt.NDArray[np.uint8]) -> None:
        """Take the next frame, RGB [h, w, 3]."""
        step = max(1, picture.shape[1] // _LOOKED_AT)
        colours = _hsv(picture[::step, ::step])
        if self._before is not None and colours.shape == self._before.shape:
            difference = float(np.abs(colours - self._before).mean(axis=(0, 1)).mean())
            if difference >= _THRESHOLD and self._frames - self._starts[-1] >= _LEAST_FRAMES:
                self._starts.append(self._frames)
        self._before = colours
        self._frames += 1

    def found(self) -> list[tuple[int, int]]:
        """First and last-but-one frame of each scene."""
        return list(zip(self._starts, [*self._starts[1:], self._frames], strict=True))


def _hsv(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Hue in 0..180, saturation and value in 0..255: the units in which the threshold is."""
    red, green, blue = (picture[..., c].astype(np.float32) for c in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    span = value - np.minimum(np.minimum(red, green), blue)
    some = np.where(span > 0, span, 1)
    hue = np.where(
        value == red,
        (green - blue) / some,
        np.where(value == green, 2 + (blue - red) / some, 4 + (red - green) / some),
    )
    hue = np.where(span > 0, hue * 30 % 180, 0)
    saturation = span / np.where(value > 0, value, 1) * 255
    return np.stack([hue, saturation, value], axis=-1).astype(np.float32)
