"""How a player shows a stored picture: turned as the file says, with pixels made square and light that a screen has."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from av.video.reformatter import Interpolation

from interbench.media.hdr import is_hdr, ordinary

_MOST_ASPECT = 16
"""Pixels that are said to be longer than this are a damaged header."""
_ASKEW = 0.1
"""Off-axis share of a display matrix (the tangent of 6 degrees) from which it no longer is a turn by right angles."""


@dataclass(frozen=True, slots=True)
class Pose:
    """What is done to a stored frame before it is shown: pixels made square, axes exchanged, rows or columns reversed.

    Frames with a display matrix of another angle are shown as they are stored, as browsers do.
    """

    aspect: Fraction = Fraction(1)
    """Width of a stored pixel over its height."""
    exchanged: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    @property
    def plain(self) -> bool:
        """Whether the stored frame is shown as it is."""
        return self == Pose()

    @property
    def mirrored(self) -> bool:
        return self.exchanged ^ self.rows_reversed ^ self.columns_reversed

    @property
    def rotation(self) -> int:
        """Degrees clockwise by which the frame, mirrored first if it is :attr:`mirrored`, is turned."""
        if self.exchanged:
            return 90 if self.columns_reversed else 270
        return 180 if self.rows_reversed else 0

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height as shown; of oblong pixels the shorter side grows, as in the HTML standard."""
        if self.aspect > 1:
            width = max(1, round(width * self.aspect))
        elif self.aspect < 1:
            height = max(1, round(height / self.aspect))
        return (height, width) if self.exchanged else (width, height)

    def rgb(self, frame: av.VideoFrame, width: int, height: int) -> npt.NDArray[np.uint8]:
        """The frame as shown, scaled to ``width`` x ``height``: ``[height, width, 3]``."""
        stored = (height, width) if self.exchanged else (width, height)
        if is_hdr(frame):
            pixels = ordinary(frame, *stored)
        else:
            scaled = frame.reformat(*stored, format="rgb24", interpolation=Interpolation.AREA)
            pixels = scaled.to_ndarray().astype(np.uint8, copy=False)
        if self.exchanged:
            pixels = pixels.swapaxes(0, 1)
        if self.rows_reversed:
            pixels = pixels[::-1]
        if self.columns_reversed:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(pixels)


def pose(stream: av.VideoStream, frame: av.VideoFrame) -> Pose:
    """How frames of ``stream`` are shown, told by its pixel aspect and the display matrix that a frame carries."""
    exchanged = rows = columns = False
    attached: Any = frame.side_data
    matrix = next((data for data in attached if data.type is Type.DISPLAYMATRIX), None)
    if matrix is not None:
        values = np.frombuffer(bytes(matrix), np.int32).astype(np.float64)
        if len(values) == 9:
            exchanged, rows, columns = _axes(*values[[0, 1, 3, 4]].tolist())
    return Pose(_aspect(stream), exchanged, rows, columns)


def _axes(a: float, b: float, c: float, d: float) -> tuple[bool, bool, bool]:
    """Of the display matrix x' = ax + cy, y' = bx + dy: axes exchanged, rows reversed, columns reversed."""
    along, across = abs(a) + abs(d), abs(b) + abs(c)
    if min(along, across) > _ASKEW * max(along, across) or not along + across:
        return False, False, False
    return (True, b < 0, c < 0) if across > along else (False, d < 0, a < 0)


def _aspect(stream: av.VideoStream) -> Fraction:
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not aspect or not Fraction(1, _MOST_ASPECT) <= aspect <= _MOST_ASPECT:
        return Fraction(1)
    return Fraction(aspect)
