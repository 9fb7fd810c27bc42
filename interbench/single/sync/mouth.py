"""How well what is heard foretells what the mouth does: a measure of lips and sound that needs no trained weights.

The mouth's patch of every frame, steadied on the face above it, is brought to four principal components, and these are
foretold from the sound around the frame by ridge regression, on blocks of time that the regression has not seen. At the
shift of the sound that foretells best the explained variance (R²) says how much the mouth goes with the sound; where
nothing foretells, R² is at or below zero at every shift. Arithmetic on arrays only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FPS = 25
COLUMNS_PER_FRAME = 4
REACH = 15
"""Frames by which the sound is shifted, each way."""
PATCH = (24, 32)
"""Rows and columns of the mouth's patch."""
_FACE = (48, 48)
_SOUND_FRAMES = (-2, -1, 0, 1, 2)
_COMPONENTS = 4
_BLOCKS = 5
_RIDGE = 10.0
"""On standardised inputs; chosen once and not tuned to any data."""

Grey = npt.NDArray[np.float32]
Rows = npt.NDArray[np.float32]
_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Foretold:
    """How much of the mouth's motion the sound foretells."""

    r2: float
    """At the best shift; 1 is all, 0 no more than its mean does."""
    lag_frames: int
    """The best shift: frames of 25 a second by which the sound lies earlier than the picture."""
    by_lag: tuple[float, ...]
    """R² from -15 to 15 frames."""

    @property
    def at_the_edge(self) -> bool:
        """Whether the best shift is the last one looked at."""
        return abs(self.lag_frames) == REACH


class Mouths:
    """Patches of the mouth of consecutive frames of one face."""

    def __init__(self) -> None:
        self._reference: npt.NDArray[np.complexfloating] | None = None
        self._patches: list[Grey] = []

    def add(self, picture: npt.NDArray[np.uint8], box: npt.NDArray[np.float64]) -> None:
        """Take a frame [h, w, 3] and the face in it (x0, y0, x1, y1)."""
        x0, y0, x1, y1 = box
        width, height = x1 - x0, y1 - y0
        upper = _patch(picture, x0, y0, x1, y0 + 0.55 * height, _FACE)
        dx, dy = self._moved(upper)
        x, y = dx * width / _FACE[1], dy * 0.55 * height / _FACE[0]
        mouth = _patch(picture, x0 + 0.2 * width + x, y0 + 0.58 * height + y, x1 - 0.2 * width + x, y1 + y, PATCH)
        self._patches.append(mouth)

    def rows(self) -> Rows:
        """[frames, pixels]."""
        return np.stack([patch.ravel() for patch in self._patches])

    def _moved(self, upper: Grey) -> tuple[float, float]:
        """How far the upper face lies from where it lay in the first frame, by phase correlation."""
        spectrum = np.fft.rfft2(upper - upper.mean())
        if self._reference is None:
            self._reference = spectrum
            return 0.0, 0.0
        cross = spectrum * np.conj(self._reference)
        peak = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), upper.shape)
        row, column = np.unravel_index(int(peak.argmax()), peak.shape)
        down = row - upper.shape[0] if row > upper.shape[0] // 2 else row
        right = column - upper.shape[1] if column > upper.shape[1] // 2 else column
        if max(abs(int(down)), abs(int(right))) > 8:
            return 0.0, 0.0  # no motion between neighbours is so large: the correlation found nothing
        return float(right), float(down)


def _patch(picture: npt.NDArray[np.uint8], x0: float, y0: float, x1: float, y1: float, size: tuple[int, int]) -> Grey:
    """A grey patch of ``size`` rows and columns, each pixel the mean of 2 x 2 samples of its part of the box."""
    rows = np.linspace(y0, y1, 2 * size[0], endpoint=False).round().astype(int).clip(0, picture.shape[0] - 1)
    columns = np.linspace(x0, x1, 2 * size[1], endpoint=False).round().astype(int).clip(0, picture.shape[1] - 1)
    grey = picture[np.ix_(rows, columns)].astype(np.float32).mean(axis=2)
    patch: Grey = grey.reshape(size[0], 2, size[1], 2).mean(axis=(1, 3))
    return patch


def joined(mouths: Rows, cepstra: npt.NDArray[np.float64]) -> Rows:
    """Mouths [frames, pixels] and the four columns of cepstra of each frame, as rows [frames, pixels + 52]."""
    count = min(len(mouths), len(cepstra) // COLUMNS_PER_FRAME)
    sound = cepstra[: count * COLUMNS_PER_FRAME].reshape(count, -1).astype(np.float32)
    return np.concatenate([mouths[:count], sound], axis=1)


def foretell(clips: list[Rows]) -> Foretold | None:
    """How the sound foretells the mouth, over all clips of one speaker together.

    Args:
        clips: rows of :func:`joined` of each.

    Returns:
        None if they are too short, or if nothing moves or sounds in them.
    """
    pixels = PATCH[0] * PATCH[1]
    usable = [clip for clip in clips if len(clip) > 2 * REACH + 10]
    if not usable:
        return None
    mouths = [clip[:, :pixels].astype(np.float64) - clip[:, :pixels].mean(axis=0) for clip in usable]
    sounds = [_around(clip[:, pixels:].astype(np.float64)) for clip in usable]
    motion = _components(np.concatenate(mouths))
    if motion is None or max(float(sound.std(axis=0).max()) for sound in sounds) < 1e-9:
        return None
    parts = np.split(motion, np.cumsum([len(mouth) for mouth in mouths])[:-1])
    by_lag = [_explained(parts, sounds, lag) for lag in range(-REACH, REACH + 1)]
    best = int(np.argmax(by_lag))
    return Foretold(by_lag[best], best - REACH, tuple(by_lag))


def _around(sound: _Array) -> _Array:
    """Cepstra of five moments around each frame [frames, 65]: one column of each of five frames."""
    middle = sound.reshape(len(sound), COLUMNS_PER_FRAME, -1).mean(axis=1)
    index = np.arange(len(sound))[:, None] + np.array(_SOUND_FRAMES)[None, :]
    around: _Array = middle[index.clip(0, len(sound) - 1)].reshape(len(sound), -1)
    return around


def _components(mouths: _Array) -> _Array | None:
    centred = mouths - mouths.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    if values[-1] < 1e-3:
        return None
    found: _Array = centred @ vectors[:, -_COMPONENTS:]
    return found


def _explained(motion: list[_Array], sounds: list[_Array], lag: int) -> float:
    """R² over all components and held-out blocks, the sound of ``lag`` frames before standing for each frame."""
    x, y = [], []
    for own, sound in zip(motion, sounds, strict=True):
        # The same frames at every shift, so that shifts are compared on the same motion.
        frames = np.arange(REACH, len(own) - REACH)
        x.append(sound[frames - lag])
        y.append(own[frames])
    inputs, wanted = np.concatenate(x), np.concatenate(y)
    block = np.arange(len(inputs)) * _BLOCKS // len(inputs)
    missed = total = 0.0
    for number in range(_BLOCKS):
        held = block == number
        mean, scale = inputs[~held].mean(axis=0), inputs[~held].std(axis=0)
        a = (inputs - mean) / np.where(scale > 1e-9, scale, 1)
        middle = wanted[~held].mean(axis=0)
        left = a[~held].T @ a[~held] + _RIDGE * np.eye(a.shape[1])
        weights = np.linalg.solve(left, a[~held].T @ (wanted[~held] - middle))
        missed += float(np.square(wanted[held] - middle - a[held] @ weights).sum())
        total += float(np.square(wanted[held] - middle).sum())
    return 1 - missed / total if total > 0 else 0.0
