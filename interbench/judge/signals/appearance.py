"""How much a clip looks like another: who, in what clothes, before what, regardless of what they are doing.

A clip becomes a map of overlapping windows, each with its typical colour and structure and with how much it changes
within the clip. Two clips are compared window by window; a window may find its counterpart a little aside (posture),
and what moves within a clip is allowed to differ between clips as much (mouth, eyes, nods). What remains counts.

Faces are not recognised: two people of the same colouring, hair and build look the same to these windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float32]

SIDE = 64
"""Frames are compared at this width and height in pixels, whatever their own."""
FRAMES = 12
"""Frames looked at per clip."""
CELL = 4
"""Pixels on a side of a cell; a window is 2 x 2 cells, and windows overlap by half."""
EDGE_WEIGHT = 2.0
"""How much a difference of one L* per pixel in an edge direction counts, against one unit of colour difference."""
TOLERANCE = 2.0
"""Differences up to this are compression and noise."""
MOST_MOTION = 8.0
"""How much of a difference motion within the clips can excuse at most."""
SCALE = 12.0
"""Difference at which similarity has fallen to 1/e."""
BLANK = 1.5
"""A frame whose colours deviate less than this from its mean colour shows nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """The look of one clip. ``windows``: [15, 15, 6]; ``motion``: [15, 15], how far frames are from the typical one."""

    windows: _Floats
    motion: _Floats
    blank: bool


def describe(frames: npt.NDArray[np.uint8]) -> Appearance:
    """The look of a clip, from some of its frames: sRGB ``[n, SIDE, SIDE, 3]``, evenly spaced by time."""
    lab = _lab(frames)
    deviation = np.sqrt(lab.var(axis=(1, 2)).sum(axis=-1))
    features = _windows(np.concatenate([lab, EDGE_WEIGHT * _edges(lab[..., 0])], axis=-1))
    typical = np.median(features, axis=0)
    motion = np.linalg.norm(features - typical, axis=-1).mean(axis=0)
    return Appearance(typical.astype(np.float32), motion.astype(np.float32), bool((deviation < BLANK).all()))


def mean_difference(one: Appearance, other: Appearance) -> float:
    """Root mean square over all windows of what neither position nor motion explains; in units of CIELAB ΔE*ab.

    Both ways, because something that was added has no counterpart in one direction only.
    """
    excused = TOLERANCE + np.minimum(np.maximum(one.motion, other.motion), MOST_MOTION)
    both = [np.maximum(_nearest(a.windows, b.windows) - excused, 0.0) for a, b in ((one, other), (other, one))]
    return float(np.sqrt(np.square(both).mean()))


def similarity(one: Appearance, other: Appearance) -> float:
    """1 for the same look, towards 0 the more and the larger its changed parts are: exp(-difference / SCALE)."""
    return float(np.exp(-mean_difference(one, other) / SCALE))


def _nearest(windows: _Floats, others: _Floats) -> _Floats:
    """Per window the least distance to the other map's windows at the same place and its eight neighbours: [15, 15]."""
    rows, columns, _ = windows.shape
    padded = np.pad(others, ((1, 1), (1, 1), (0, 0)), mode="edge")
    distances = [
        np.linalg.norm(windows - padded[y : y + rows, x : x + columns], axis=-1) for y in range(3) for x in range(3)
    ]
    nearest: _Floats = np.min(distances, axis=0)
    return nearest


def _windows(features: _Floats) -> _Floats:
    """Means over 2 x 2 cells, every cell: [n, SIDE, SIDE, k] to [n, 15, 15, k]."""
    count, height, width, depth = features.shape
    cells = features.reshape(count, height // CELL, CELL, width // CELL, CELL, depth).mean(axis=(2, 4))
    windows: _Floats = (cells[:, :-1, :-1] + cells[:, 1:, :-1] + cells[:, :-1, 1:] + cells[:, 1:, 1:]) / 4
    return windows


def _edges(lightness: _Floats) -> _Floats:
    """Strength of upright, level and slanting edges per pixel, L* per pixel: [n, h, w] to [n, h, w, 3]."""
    across = np.abs(np.diff(lightness, axis=2, append=lightness[:, :, -1:]))
    down = np.abs(np.diff(lightness, axis=1, append=lightness[:, -1:]))
    aslant = np.zeros_like(lightness)
    aslant[:, :-1, :-1] = np.abs(lightness[:, 1:, 1:] - lightness[:, :-1, :-1])
    return np.stack([across, down, aslant / 2**0.5], axis=-1)


def _lab(srgb: npt.NDArray[np.uint8]) -> _Floats:
    """CIELAB (D65) of sRGB pixels, per IEC 61966-2-1 and CIE 15."""
    linear = _LINEAR[srgb]
    xyz = linear @ _TO_XYZ
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    lab: _Floats = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)
    return lab


_CODES = np.arange(256) / 255
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)
# Rows: red, green, blue; columns: X, Y, Z relative to the white point.
_TO_XYZ = (
    np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    / np.array([0.9505, 1.0, 1.089])
).astype(np.float32)
