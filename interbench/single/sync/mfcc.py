"""Mel-frequency cepstra as SyncNet was trained on: the defaults of python_speech_features 0.6, restated.

Windows of 25 ms every 10 ms, rectangular, 512-point transform, 26 triangular filters from 0 to 8 kHz, pre-emphasis
0.97, 13 coefficients lifted by 22, the first replaced by the log of the window's energy. On samples of 16 bits as they
are: dividing them by full scale shifts the first coefficient, and SyncNet with it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import dct

RATE = 16_000
COEFFICIENTS = 13
_WINDOW, _STEP, _POINTS, _FILTERS = 400, 160, 512, 26
_EMPHASIS, _LIFT = 0.97, 22
_LEAST = np.finfo(np.float64).eps

Cepstra = npt.NDArray[np.float64]


def mfcc(samples: npt.NDArray[np.int16]) -> Cepstra:
    """Cepstra [columns, 13] of 16-bit samples at 16 kHz; 100 columns a second.

    Raises:
        TypeError: the samples are not 16-bit numbers.
    """
    if samples.dtype != np.int16:
        raise TypeError(f"cepstra are made of 16-bit samples, not of {samples.dtype}")
    signal = samples.astype(np.float64)
    signal = np.append(signal[:1], signal[1:] - _EMPHASIS * signal[:-1])
    count = 1 if len(signal) <= _WINDOW else 1 + -(-(len(signal) - _WINDOW) // _STEP)
    padded = np.concatenate([signal, np.zeros((count - 1) * _STEP + _WINDOW - len(signal))])
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_STEP][:count]
    power = np.square(np.abs(np.fft.rfft(frames, _POINTS))) / _POINTS
    energy = _positive(power.sum(axis=1))
    cepstra = dct(np.log(_positive(power @ _filters().T)), type=2, axis=1, norm="ortho")[:, :COEFFICIENTS]
    cepstra *= 1 + _LIFT / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / _LIFT)
    cepstra[:, 0] = np.log(energy)
    return np.asarray(cepstra, np.float64)


def _positive(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(values == 0, _LEAST, values)


def _filters() -> npt.NDArray[np.float64]:
    """Triangles [26, 257] with corners at whole points of the transform."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, _FILTERS + 2) / 2595) - 1)
    points = np.floor((_POINTS + 1) * corners / RATE).astype(int)
    bank = np.zeros((_FILTERS, _POINTS // 2 + 1))
    for number, (low, peak, high) in enumerate(zip(points, points[1:], points[2:], strict=False)):
        bank[number, low:peak] = (np.arange(low, peak) - low) / (peak - low)
        bank[number, peak:high] = (high - np.arange(peak, high)) / (high - peak)
    return bank


def sixteen_bit(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Samples in -1..1 as 16-bit numbers, as FFmpeg makes them: what was read from such numbers becomes them again."""
    return np.rint(samples.astype(np.float64) * 32768).clip(-32768, 32767).astype(np.int16)
