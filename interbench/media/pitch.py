"""The pitch of speech: how it moves, and speech in which it moves less.

Pitch is found by autocorrelation (normalized, 60 to 400 Hz). It is changed by overlap and add at the speaker's own
periods (TD-PSOLA: Moulines and Charpentier, Speech Communication 9, 1990), so that nothing else changes: not the speed,
not the timbre, and nothing where there is no voice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interbench.media.files import MediaFaultError

LOWEST_HZ, HIGHEST_HZ = 60.0, 400.0
_HOP_S, _FRAME_S = 0.01, 0.04
_VOICED, _LOUD = 0.6, 0.03
"""Autocorrelation from which a frame has a voice, and its level as a share of the loudest frame's."""
_FADE_S = 0.005
_LEAST_VOICED = 20
"""Frames of voice that a clip must have for its pitch to be spoken of."""
Floats = npt.NDArray[np.float64]


def pitches(samples: npt.NDArray[np.floating], rate: int) -> Floats:
    """Hz every 10 ms ``[n]``; NaN where there is no voice."""
    hop, size = round(_HOP_S * rate), round(_FRAME_S * rate)
    padded = np.pad(np.asarray(samples, np.float64), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    frames = (frames - frames.mean(axis=1, keepdims=True)) * np.hanning(size)
    level = np.sqrt((frames**2).mean(axis=1))
    length = 2 * size
    spectrum = np.abs(np.fft.rfft(frames, length)) ** 2
    alike = np.fft.irfft(spectrum)[:, :size]
    # A window alone makes later lags look less alike.
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), length)) ** 2)[:size]
    alike = alike / np.maximum(alike[:, :1], 1e-12) / np.maximum(window / window[0], 1e-3)
    first, last = int(rate / HIGHEST_HZ), min(int(rate / LOWEST_HZ), size // 2)
    searched = alike[:, first : last + 1]
    best = searched.max(axis=1, keepdims=True, initial=0.0)
    # The shortest period that is nearly as good: multiples of it fit as well.
    lag = first + np.argmax(searched >= 0.9 * best, axis=1)
    lag = _peak(alike, lag, last)
    voiced = (best[:, 0] > _VOICED) & (level > _LOUD * level.max(initial=0.0))
    found: Floats = np.where(voiced, rate / lag, np.nan)
    return found


def _peak(alike: Floats, lag: npt.NDArray[np.intp], last: int) -> Floats:
    """From where the rise begins up to its peak, and between samples by a parabola."""
    rows = np.arange(len(alike))
    at = lag.copy()
    for _ in range(last):
        higher = (at < last) & (alike[rows, np.minimum(at + 1, last)] > alike[rows, at])
        if not higher.any():
            break
        at += higher
    before, here, after = alike[rows, at - 1], alike[rows, at], alike[rows, at + 1]
    bend = before - 2 * here + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1.0), 0.0)
    found: Floats = at + np.clip(shift, -0.5, 0.5)
    return found


def movement(samples: npt.NDArray[np.floating], rate: int) -> float:
    """How far the pitch moves, in semitones: half of the range that holds the middle 70 % of the voiced moments.

    Raises:
        MediaFaultError: there is hardly a voice in it.
    """
    return float(np.ptp(np.quantile(12 * np.log2(_known(pitches(samples, rate))), [0.15, 0.85])) / 2)


def _known(track: Floats) -> Floats:
    known: Floats = track[~np.isnan(track)]
    if len(known) < _LEAST_VOICED:
        raise MediaFaultError("unmeasured", "hardly a voice is heard in it, so that it has no pitch.")
    return known


def flattened(samples: npt.NDArray[np.float32], rate: int, left: float) -> npt.NDArray[np.float32]:
    """The same speech with ``left`` (0..1) of the movement of its pitch, around its median.

    Raises:
        MediaFaultError: there is hardly a voice in it.
    """
    track = pitches(samples, rate)
    middle = float(np.median(_known(track)))
    hop = _HOP_S * rate
    voiced = ~np.isnan(track)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voiced.astype(np.int8), [0]])))
    own = np.asarray(samples, np.float64)
    made, weight, share = np.zeros_like(own), np.zeros_like(own), np.zeros_like(own)
    for begin, end in edges.reshape(-1, 2):
        first, after = round(begin * hop), min(len(own), round(end * hop))
        periods = rate / track[begin:end]
        if after - first < 3 * periods.max():
            continue
        share[first:after] = 1.0
        _overlap(own, made, weight, (first, after), periods, hop, middle * (track[begin:end] / middle) ** left / rate)
    fade = np.hanning(2 * round(_FADE_S * rate) + 1)
    share = np.convolve(share, fade / fade.sum(), mode="same") * (weight > 1e-3)
    mixed = own * (1 - share) + share * made / np.maximum(weight, 1e-3)
    return np.clip(mixed, -1.0, 1.0).astype(np.float32)


def _overlap(
    own: Floats, made: Floats, weight: Floats, span: tuple[int, int], periods: Floats, hop: float, rates: Floats
) -> None:
    """Lay the periods of one voiced stretch at their new distances (``rates``: per sample)."""
    first, after = span
    marks = _marks(own, first, after, periods, hop)
    at = float(marks[0])
    while at < after:
        frame = min(len(periods) - 1, int((at - first) / hop))
        mark = int(marks[np.argmin(np.abs(marks - at))])
        half = round(float(periods[frame]))
        to = round(at)
        low = max(-half, -mark, -to)
        high = min(half + 1, len(own) - mark, len(own) - to)
        if high > low:
            window = 0.5 + 0.5 * np.cos(np.pi * np.arange(low, high) / (half + 1))
            made[to + low : to + high] += window * own[mark + low : mark + high]
            weight[to + low : to + high] += window
        at += 1 / rates[frame]


def _marks(own: Floats, first: int, after: int, periods: Floats, hop: float) -> npt.NDArray[np.intp]:
    """Where the periods of a voiced stretch lie: a peak each."""
    rising = 1.0 if own[first:after].max() >= -own[first:after].min() else -1.0
    start = first + int(np.argmax(rising * own[first : min(after, first + round(periods[0]))]))
    marks = [start]
    while True:
        period = float(periods[min(len(periods) - 1, int((marks[-1] - first) / hop))])
        low, high = marks[-1] + round(0.8 * period), marks[-1] + round(1.2 * period) + 1
        if high >= min(after, len(own)):
            return np.asarray(marks)
        marks.append(low + int(np.argmax(rising * own[low:high])))
