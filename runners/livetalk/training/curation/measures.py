"""What is measured of a condition's picture and speech. Nothing is decided here: see ``thresholds``.

Definitions are our own, for the paper names none of its thresholds (distill.md, section 3.1, marks them as not
published). All figures are made at a fixed scale, so that they compare across clips of different sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from livetalk.base.rates import AUDIO_RATE
from livetalk.training.curation.clips import Picture, Samples
from livetalk.training.curation.faces import Face, FaceFinder

_REC709 = np.array([0.2126, 0.7152, 0.0722], np.float32)
_DARK, _BRIGHT = 5 / 255, 250 / 255
_FACE_SIDE = 160
"""Pixels of a face's height where its sharpness is measured: larger faces are reduced, smaller ones not enlarged."""
_WINDOW_S = 0.02
_BELOW_LOUD_DB, _SILENCE_DB = 30.0, -50.0

MEASURES: dict[str, str] = {
    "seconds": "length of the speech in seconds",
    "luma": "mean luma (Rec. 709) of the picture, 0 to 1",
    "clipped": "share of pixels that are all but black or all but white",
    "faces": "faces found in the picture",
    "face_luma": "mean luma of the largest face, 0 to 1",
    "face_height": "height of the largest face over that of the picture",
    "sharpness": "variance of the Laplacian over the largest face, scaled to at most 160 pixels of height, in levels^2",
    "yaw": "how far the largest face is turned aside, in degrees, without sign, from five landmarks",
    "speech_share": "share of 20 ms windows within 30 dB of the loud ones and above -50 dBFS: sound, not words",
    "level_db": "root mean square of those windows, in dBFS",
}
"""Every built-in measure and what it is; scores of one's own are named ``score.NAME``."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures by measure; where there is none, the reason stands in ``missing``."""

    values: dict[str, float]
    missing: dict[str, str]
    face: Face | None
    """The largest face, if one was found."""


def measure(picture: Picture, speech: Samples, finder: FaceFinder | None) -> Measured:
    """Measure one condition.

    Args:
        picture: RGB, uint8 [height, width, 3].
        speech: 16 kHz mono, float32.
        finder: finds faces; None leaves what needs a face missing.
    """
    luma = _luma(picture)
    values = {
        "seconds": len(speech) / AUDIO_RATE,
        "luma": float(luma.mean()),
        "clipped": float(((luma <= _DARK) | (luma >= _BRIGHT)).mean()),
        **_of_speech(speech),
    }
    missing: dict[str, str] = {}
    needing_a_face = ("face_luma", "face_height", "sharpness", "yaw")
    if "speech_share" not in values or "level_db" not in values:
        missing["level_db"] = "the speech is silent"
    if finder is None:
        missing |= dict.fromkeys(("faces", *needing_a_face), "no face detector was chosen")
        return Measured(values, missing, None)
    faces = finder.find(picture)
    values["faces"] = float(len(faces))
    if not faces:
        missing |= dict.fromkeys(needing_a_face, "no face was found")
        return Measured(values, missing, None)
    face = max(faces, key=lambda one: one.width * one.height)
    crop = _crop(luma, face)
    if crop.size < 9 or min(crop.shape) < 3:
        missing |= dict.fromkeys(needing_a_face, "the face found is smaller than three pixels")
        return Measured(values, missing, None)
    values["face_luma"] = float(crop.mean())
    values["face_height"] = face.height / picture.shape[0]
    values["sharpness"] = _sharpness(crop)
    if face.yaw is None:
        missing["yaw"] = f"{finder.identity} tells no landmarks"
    else:
        values["yaw"] = abs(face.yaw)
    return Measured(values, missing, face)


def _luma(picture: Picture) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = ((picture.astype(np.float32) / 255) @ _REC709).astype(np.float32)
    return found


def _crop(luma: npt.NDArray[np.float32], face: Face) -> npt.NDArray[np.float32]:
    top, left = max(0, round(face.top)), max(0, round(face.left))
    return luma[top : max(0, round(face.top + face.height)), left : max(0, round(face.left + face.width))]


def _sharpness(luma: npt.NDArray[np.float32]) -> float:
    image = Image.fromarray(luma * 255)
    if image.height > _FACE_SIDE:
        width = max(3, round(image.width * _FACE_SIDE / image.height))
        image = image.resize((width, _FACE_SIDE), Image.Resampling.BOX)
    levels = np.asarray(image)
    inner = levels[1:-1, 1:-1]
    laplacian = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


def _of_speech(speech: Samples) -> dict[str, float]:
    size = round(_WINDOW_S * AUDIO_RATE)
    count = len(speech) // size
    if not count:
        return {"speech_share": 0.0}
    power = np.square(speech[: count * size].reshape(count, size).astype(np.float64)).mean(axis=1)
    levels = 10 * np.log10(np.maximum(power, 1e-12))
    active = (levels >= np.percentile(levels, 95) - _BELOW_LOUD_DB) & (levels > _SILENCE_DB)
    found = {"speech_share": float(active.mean())}
    if active.any():
        found["level_db"] = float(10 * np.log10(power[active].mean()))
    return found
