"""How much a clip looks like another: who, in what clothes, before what, regardless of what they are doing.

A clip becomes a map of overlapping windows, each with its typical colour and structure and with how much it changes
within the clip. Two clips are compared window by window; a window may find its counterpart a little aside (posture),
what moves within a clip is allowed to differ between clips as much (mouth, eyes, nods), and what one exposure and one
zoom explain for the whole picture does not count. What remains counts.

Faces are not recognised: two people of the same colouring, hair and build look the same to these windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float32]

TAKEN = 96
"""Frames are taken at this width and height in pixels, whatever their own."""
SIDE = 64
"""They, or what a zoom leaves of them, are compared at this width and height."""
ZOOMS = (1.0, 1.06, 1.12)
"""Zooms that are tried on either of two clips; the one that explains most is believed."""
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
GAIN = (0.8, 1.25)
"""Gains of the whole picture that are explained away."""
OFFSET = 12.0
"""Shift of L* of the whole picture that is explained away at most, either way."""
KEPT = 0.6
"""Share of the windows, those that agree best, by which gain and offset are found: what has changed has no say."""

BLANK = 1.5
"""A frame whose colours deviate less than this from its mean colour shows nothing."""
FROZEN = 1.0
"""A clip in which no window ever deviates more than this from its typical values is a still picture."""
NOISE = 0.5
"""Correlation of neighbouring pixels below which a frame is noise; pictures of anything have more."""
LASTING = 20.0
"""Where more than half of the windows deviate more than this from their typical values on average, nothing in the
picture lasts."""
PURE = 40.0
"""Chroma from which a pixel counts as of a pure colour."""
BARS = 5
"""Sixths of the colour circle that a test card holds in pure colours; a picture of a person has fewer."""
BAR_SHARE = 0.03
"""Share of the picture that each of them takes up at least."""


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """The look of one clip at one zoom. ``windows``: [15, 15, 6]; ``motion``: [15, 15], how far frames are from the
    typical one."""

    windows: _Floats
    motion: _Floats


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The look of one clip at every zoom of :data:`ZOOMS`, or why there is nothing to be compared."""

    zoomed: tuple[Appearance, ...]
    nothing: str = ""
    """Why what is shown can't be a person who talks, as a clause; empty if it can."""
    still: bool = False
    """Nothing moves in it: a picture, and no video."""


def look(frames: npt.NDArray[np.uint8]) -> Look:
    """The look of a clip, from some of its frames: sRGB ``[n, TAKEN, TAKEN, 3]``, evenly spaced by time."""
    lab = _lab(frames)
    zoomed = tuple(describe(_zoomed(lab, zoom)) for zoom in ZOOMS)
    still = float(zoomed[0].motion.max()) < FROZEN if len(frames) > 1 else True
    return Look(zoomed, _nothing_shown(lab, zoomed[0].motion), still)


def describe(lab: _Floats) -> Appearance:
    """The look of a clip, from some of its frames as CIELAB: ``[n, SIDE, SIDE, 3]``."""
    features = _windows(np.concatenate([lab, EDGE_WEIGHT * _edges(lab[..., 0])], axis=-1))
    typical = np.median(features, axis=0)
    motion = np.linalg.norm(features - typical, axis=-1).mean(axis=0)
    return Appearance(typical.astype(np.float32), motion.astype(np.float32))


def _nothing_shown(lab: _Floats, motion: _Floats) -> str:
    deviation = np.sqrt(lab.var(axis=(1, 2)).sum(axis=-1))
    if bool((deviation < BLANK).all()):
        return "its frames are of one colour"
    lightness = lab[..., 0]
    if float(np.median([_neighbours(frame) for frame in lightness])) < NOISE:
        return "its frames are noise: neighbouring pixels have nothing in common"
    if float(np.median(motion)) > LASTING:
        return "nothing in its picture lasts from one frame to the next"
    if _is_test_card(lab):
        return "it shows the pure colours of a test card"
    return ""


def _neighbours(frame: _Floats) -> float:
    """Correlation of the pixels of a frame with those at their right and below."""
    return min(_correlation(frame[:, :-1], frame[:, 1:]), _correlation(frame[:-1], frame[1:]))


def _correlation(one: _Floats, other: _Floats) -> float:
    a, b = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 1e-6 else 1.0


def _is_test_card(lab: _Floats) -> bool:
    typical = np.median(lab, axis=0)
    pure = np.hypot(typical[..., 1], typical[..., 2]) >= PURE
    sixth = np.floor((np.arctan2(typical[..., 2], typical[..., 1]) / (2 * np.pi) % 1.0) * 6).astype(int)
    shares = np.bincount(sixth[pure], minlength=7)[:6] / pure.size
    return bool((shares >= BAR_SHARE).sum() >= BARS)


def similarity(one: Look, other: Look) -> float:
    """1 for the same look, towards 0 the more and the larger its changed parts are: exp(-difference / SCALE).

    The difference is the least over the zooms of either clip.
    """
    pairs = [(a, other.zoomed[0]) for a in one.zoomed] + [(one.zoomed[0], b) for b in other.zoomed[1:]]
    return float(np.exp(-min(mean_difference(a, b) for a, b in pairs) / SCALE))


def mean_difference(one: Appearance, other: Appearance) -> float:
    """Root mean square over all windows of what exposure, position and motion don't explain; in units of ΔE*ab.

    Both ways, because something that was added has no counterpart in one direction only.
    """
    excused = TOLERANCE + np.minimum(np.maximum(one.motion, other.motion), MOST_MOTION)
    both = [
        np.maximum(_nearest(a.windows, _exposed(b.windows, a.windows)) - excused, 0.0)
        for a, b in ((one, other), (other, one))
    ]
    return float(np.sqrt(np.square(both).mean()))


def _exposed(windows: _Floats, wanted: _Floats) -> _Floats:
    """``windows`` with the gain and the offset that bring the lightness of most of them nearest to ``wanted``.

    A least-squares line through L*, found again without the windows that it fits worst, and held to :data:`GAIN` and
    :data:`OFFSET`. Colours and edges take part in the gain.
    """
    x, y = windows[..., 0].ravel(), wanted[..., 0].ravel()
    used = np.ones(x.size, bool)
    gain, offset = 1.0, 0.0
    for _ in range(3):
        spread = float(x[used].var())
        slope = 1.0 if spread < 1.0 else _covariance(x[used], y[used]) / spread
        gain = min(max(slope, GAIN[0]), GAIN[1])
        offset = min(max(float(np.mean(y[used] - gain * x[used])), -OFFSET), OFFSET)
        off = np.abs(gain * x + offset - y)
        most = int(KEPT * (off.size - 1))
        used = off <= np.partition(off, most)[most]
    changed = windows * np.float32(gain)
    changed[..., 0] += np.float32(offset)
    # Where the picture as it is fits better, there was no change of exposure.
    plain, fitted = (float(np.median(np.abs(w[..., 0] - wanted[..., 0]))) for w in (windows, changed))
    return changed if fitted < plain else windows


def _covariance(x: _Floats, y: _Floats) -> float:
    """``np.cov(x, y, bias=True)[0, 1]``, which takes five times as long for so few numbers."""
    both = np.array([x, y], np.float64)
    both -= both.mean(axis=1)[:, None]
    return float(np.dot(both, both.T)[0, 1] * (1 / len(x)))


def _zoomed(lab: _Floats, zoom: float) -> _Floats:
    """The middle of the frames, ``1 / zoom`` of each side, at :data:`SIDE` pixels a side; bilinear."""
    size = lab.shape[1]
    length = size / zoom
    places = (size - length) / 2 + (np.arange(SIDE) + 0.5) * length / SIDE - 0.5
    low = np.clip(np.floor(places).astype(int), 0, size - 2)
    part = np.clip(places - low, 0.0, 1.0).astype(np.float32)
    across = lab[:, :, low] * (1 - part)[:, None] + lab[:, :, low + 1] * part[:, None]
    zoomed: _Floats = across[:, low] * (1 - part)[:, None, None] + across[:, low + 1] * part[:, None, None]
    return zoomed


def crops(frames: npt.NDArray[np.uint8], boxes: Sequence[tuple[float, float, float, float]]) -> npt.NDArray[np.uint8]:
    """The same part of all frames, twice as wide and high as the typical face: sRGB ``[n, TAKEN, TAKEN, 3]``.

    Args:
        frames: sRGB ``[n, height, width, 3]``.
        boxes: faces as (left, top, right, bottom) in pixels, of any of the frames.
    """
    left, top, right, bottom = np.median(np.asarray(boxes, float), axis=0)
    middle_x, middle_y, edge = (left + right) / 2, (top + bottom) / 2, 2 * max(right - left, bottom - top)
    height, width = frames.shape[1:3]
    places = (np.arange(TAKEN) + 0.5) / TAKEN - 0.5
    columns = np.clip(np.round(middle_x + places * edge).astype(int), 0, width - 1)
    rows = np.clip(np.round(middle_y + places * edge).astype(int), 0, height - 1)
    return frames[:, rows][:, :, columns]


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
