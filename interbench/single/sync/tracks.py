"""From face boxes of single pictures to tracks of one face, and from a track to the squares that SyncNet looks at.

The rules are those of the pipeline that SyncNet was published with (``run_pipeline.py``), its quirk kept: while a
picture's boxes are gone through, taking one out makes the next one be passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from interbench.single.bilinear import bilinear_bytes

_GAP = 25
_OVERLAP = 0.5
_MEDIAN = 13
_SCALE = 0.4
_GREY = 110
SIDE = 224

Box = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Track:
    """One face over a stretch of frames without a gap."""

    first: int
    """Number of its first frame."""
    boxes: npt.NDArray[np.float64]
    """Corners [frames, 4] (x0, y0, x1, y1) in pixels."""

    @property
    def frames(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True)
class Square:
    """What is cut out of a frame, in the frame padded by ``pad`` pixels on every side."""

    top: int
    bottom: int
    left: int
    right: int
    pad: int


def find_tracks(
    boxes: Sequence[Sequence[Box]],
    *,
    min_track: int,
    min_side: float = 100.0,
    gap: int = _GAP,
    overlap: float = _OVERLAP,
) -> list[Track]:
    """Tracks of the faces of consecutive frames.

    Args:
        boxes: per frame the corners of its faces, in the detector's order.
        min_track: a track must hold more detections than this.
        min_side: and the larger of its mean width and height must be more than this many pixels.
        gap: frames that a face may be lost for within its track.
        overlap: share (intersection over union) that a box must have with the last one to go on with it; more.
    """
    left = [list(faces) for faces in boxes]
    found: list[Track] = []
    while True:
        numbers: list[int] = []
        track: list[Box] = []
        for number, faces in enumerate(left):
            _follow(number, faces, numbers, track, gap, overlap)
        if not track:
            return found
        if len(track) <= min_track:
            continue
        every = np.arange(numbers[0], numbers[-1] + 1)
        corners = np.stack(track)
        whole = np.stack([np.interp(every, numbers, corners[:, side]) for side in range(4)], axis=1)
        sides = whole[:, 2:] - whole[:, :2]
        if sides.mean(axis=0).max() > min_side:
            found.append(Track(numbers[0], whole))


def _follow(number: int, faces: list[Box], numbers: list[int], track: list[Box], gap: int, overlap: float) -> None:
    """Take from one frame's faces what belongs to the track."""
    place = 0
    while place < len(faces):
        face = faces[place]
        place += 1
        if track and number - numbers[-1] > gap:
            return
        if not track or _overlap(face, track[-1]) > overlap:
            track.append(face)
            numbers.append(number)
            # The list shrinks under the walk: the face that moves up into this place is passed over.
            del faces[place - 1]


def _overlap(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def _smoothed(values: Box, width: int) -> Box:
    """Running median, with zeros before the first and after the last value: so the published pipeline has it."""
    smoothed: Box = median_filter(values, width, mode="constant", cval=0.0)
    return smoothed


def squares(track: Track, *, median: int = _MEDIAN, scale: float = _SCALE) -> list[Square]:
    """What is cut out of each frame of a track, its place and size smoothed over ``median`` frames."""
    corners = track.boxes
    half = _smoothed(np.maximum(corners[:, 3] - corners[:, 1], corners[:, 2] - corners[:, 0]) / 2, median)
    middle_x = _smoothed((corners[:, 0] + corners[:, 2]) / 2, median)
    middle_y = _smoothed((corners[:, 1] + corners[:, 3]) / 2, median)
    return [square(float(s), float(x), float(y), scale) for s, x, y in zip(half, middle_x, middle_y, strict=True)]


def square(half: float, x: float, y: float, scale: float = _SCALE) -> Square:
    """What is cut out around a face of ``half`` its size at (``x``, ``y``).

    Wider by ``scale`` to each side, and lower by twice that, so that the mouth lies in the middle.
    """
    pad = int(half * (1 + 2 * scale))
    x, y = x + pad, y + pad
    return Square(
        int(y - half),
        int(y + half * (1 + 2 * scale)),
        int(x - half * (1 + scale)),
        int(x + half * (1 + scale)),
        pad,
    )


def cut(picture: npt.NDArray[np.uint8], square: Square) -> npt.NDArray[np.uint8]:
    """The square of a picture [h, w, 3], as 224 x 224; grey where it reaches beyond the picture."""
    pad = square.pad
    padded = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), constant_values=_GREY)
    part = padded[max(square.top, 0) : square.bottom, max(square.left, 0) : square.right]
    return bilinear_bytes(part, SIDE, SIDE)
