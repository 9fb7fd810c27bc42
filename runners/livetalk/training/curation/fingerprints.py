"""Recognising the same recording again: of sound through re-encoding and cutting, of pictures through scaling.

Sound: signs of energy differences between neighbouring bands and frames, 32 bits each 11.6 ms, after Haitsma and
Kalker, "A highly robust audio fingerprinting system" (ISMIR 2002), whose threshold of 0.35 for the share of differing
bits over three seconds is taken. Windows without sound tell nothing and are left out. Pictures: signs of horizontal
differences of a 9x8 reduction of the luma (a difference hash).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.signal import fftconvolve

from livetalk.base.rates import AUDIO_RATE
from livetalk.training.curation.clips import Picture, Samples
from livetalk.training.curation.faces import Face

SAME_SOUND = 0.35
"""Share of differing bits below which two stretches are the same recording."""
SAME_PICTURE = 6
"""Differing bits, of 64, up to which two pictures are the same."""

_BANDS = 33
_LOWEST_HZ, _HIGHEST_HZ = 300.0, 2000.0
_FRAME = 5936
"""Samples of a frame: 0.371 s at 16 kHz, of which neighbours share 31 of 32 parts."""
_HOP = 186
_LEAST_FRAMES = 172
"""Frames that two stretches must share to be compared: two seconds."""
_SILENCE_DB = -55.0
_LEAST_FACE = 16
"""Pixels of the shorter side of a face that is recognised."""
_FLAT = 2.0
"""Standard deviation, in levels, below which a reduced picture's differences are noise."""

Bits = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a condition, or a clip of a test split, is recognised by."""

    name: str
    sound: Bits
    """-1, 0 or 1, int8 [frames, 32]; 0 where there was no sound."""
    pictures: tuple[int, ...]
    """64-bit hashes of its pictures, or of the faces in them."""


@dataclass(frozen=True, slots=True)
class Match:
    """Two that are the same."""

    name: str
    by: str
    """``sound`` or ``picture``."""
    distance: float
    """Share of differing bits, 0 to 1."""


def sound_bits(speech: Samples) -> Bits:
    """The fingerprint of 16 kHz mono sound, int8 [frames, 32]; shorter than one frame gives none."""
    count = 1 + (len(speech) - _FRAME) // _HOP if len(speech) >= _FRAME else 0
    if count < 2:
        return np.zeros((0, _BANDS - 1), np.int8)
    edges = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, _BANDS + 1)
    bins = np.round(edges / AUDIO_RATE * _FRAME).astype(int)
    window = np.hanning(_FRAME).astype(np.float32)
    energy = np.empty((count, _BANDS), np.float64)
    level = np.empty(count)
    frames = np.lib.stride_tricks.sliding_window_view(speech, _FRAME)[::_HOP]
    for begin in range(0, count, 256):
        block = frames[begin : begin + 256]
        spectrum = np.abs(np.fft.rfft(block * window, axis=1)) ** 2
        sums = np.add.reduceat(spectrum, bins[:-1], axis=1)
        # The last of the sums would run on to the end of the spectrum.
        sums[:, -1] = spectrum[:, bins[-2] : bins[-1]].sum(axis=1)
        energy[begin : begin + 256] = sums
        level[begin : begin + 256] = np.square(block).mean(axis=1)
    across = energy[:, :-1] - energy[:, 1:]
    change = across[1:] - across[:-1]
    bits = np.where(change > 0, 1, -1).astype(np.int8)
    silent = 10 * np.log10(np.maximum(level, 1e-12)) < _SILENCE_DB
    bits[silent[1:] | silent[:-1]] = 0
    return bits


def picture_hash(picture: Picture) -> int | None:
    """A 64-bit hash of an RGB picture, uint8 [height, width, 3]; None of one that shows next to nothing."""
    small = Image.fromarray(picture).convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    values = np.asarray(small, np.int16)
    if values.std() < _FLAT:
        return None
    bits = (values[:, 1:] > values[:, :-1]).reshape(-1)
    return int("".join("1" if bit else "0" for bit in bits), 2)


def picture_hashes(picture: Picture, face: Face | None) -> tuple[int, ...]:
    """The hashes of a picture: of all of it, and of the face in it, if one was found and is large enough."""
    found = [picture_hash(picture)]
    if face is not None:
        top, left = max(0, round(face.top)), max(0, round(face.left))
        crop = picture[top : round(face.top + face.height), left : round(face.left + face.width)]
        if crop.size and min(crop.shape[:2]) >= _LEAST_FACE:
            found.append(picture_hash(crop))
    return tuple(one for one in found if one is not None)


def sound_distance(first: Bits, second: Bits) -> float:
    """The least share of differing bits over all shifts that leave two seconds in common; 1 where there is none."""
    shorter = min(len(first), len(second))
    if shorter < 2:
        return 1.0
    least = min(_LEAST_FRAMES, shorter) * (_BANDS - 1)
    backwards = second[::-1].astype(np.float32)
    agreement = fftconvolve(first.astype(np.float32), backwards, axes=0).sum(axis=1)
    told = fftconvolve(np.abs(first[:, :1]).astype(np.float32), np.abs(backwards[:, :1]), axes=0)[:, 0]
    told = np.round(told) * (_BANDS - 1)
    enough = told >= least
    if not enough.any():
        return 1.0
    return float(np.clip((1 - agreement[enough] / told[enough]) / 2, 0, 1).min())


def find_match(one: Fingerprint, others: Iterable[Fingerprint]) -> Match | None:
    """The nearest of the others that is the same recording or shows the same picture, or None."""
    best: Match | None = None
    for other in others:
        for match in _matches(one, other):
            if best is None or match.distance < best.distance:
                best = match
    return best


def _matches(one: Fingerprint, other: Fingerprint) -> Sequence[Match]:
    found = []
    distance = sound_distance(one.sound, other.sound)
    if distance < SAME_SOUND:
        found.append(Match(other.name, "sound", distance))
    bits = [(mine ^ theirs).bit_count() for mine in one.pictures for theirs in other.pictures]
    if bits and min(bits) <= SAME_PICTURE:
        found.append(Match(other.name, "picture", min(bits) / 64))
    return found
