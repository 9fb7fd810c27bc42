"""What an edit of the sound has come to, measured on the result against the clip that it was made from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interbench.media.files import MediaFaultError
from interbench.media.picture import picture_times
from interbench.media.pitch import movement
from interbench.media.reshape import placed_sound
from interbench.media.task import Task

_SEARCHED_MS = 1000
_MOVING = 0.5
"""Semitones: less is monotone."""
_Floats = npt.NDArray[np.float64]


def _heard(task: Task) -> tuple[_Floats, int]:
    found = placed_sound(task, picture_times(task).start)
    if found is None:
        raise MediaFaultError("no_audio", "it has no sound track.")
    return found[0].astype(np.float64), found[1]


def gain_db(task: Task, donor: Task) -> float:
    """How much louder, by the mean square."""
    (own, _), (other, _) = _heard(task), _heard(donor)
    own_power, other_power = float((own**2).sum()), float((other**2).sum())
    return 10 * float(np.log10(max(own_power, 1e-12) / max(other_power, 1e-12)))


def shift_ms(task: Task, donor: Task) -> float:
    """Lag at which the loudness by millisecond agrees best."""

    def loudness(heard: tuple[_Floats, int]) -> _Floats:
        samples, rate = heard
        size = rate // 1000
        power: _Floats = np.sqrt((samples[: len(samples) // size * size].reshape(-1, size) ** 2).mean(axis=1))
        varying: _Floats = power - power.mean()
        return varying

    own, other = loudness(_heard(task)), loudness(_heard(donor))
    size = max(len(own), len(other)) + _SEARCHED_MS
    spectrum = np.fft.rfft(own, 2 * size) * np.conj(np.fft.rfft(other, 2 * size))
    agreement = np.fft.irfft(spectrum)
    lags = np.concatenate([agreement[: _SEARCHED_MS + 1], agreement[-_SEARCHED_MS:]])
    best = int(np.argmax(lags))
    return float(best if best <= _SEARCHED_MS else best - 2 * _SEARCHED_MS - 1)


def voice(task: Task, donor: Task, other: Task) -> float:
    """Correlation of the samples with those of another clip, at the lag of 50 ms at most where it is best."""
    (own, rate), (given, other_rate) = _heard(task), _heard(other)
    if rate != other_rate:
        moments = np.arange(round(len(given) * rate / other_rate)) * other_rate / rate
        given = np.interp(moments, np.arange(len(given)), given)
    count = min(len(own), len(given))
    own, given = own[:count], given[:count]
    power = float(np.sqrt((own**2).sum() * (given**2).sum()))
    if power <= 0:
        raise MediaFaultError("unmeasured", "it or its donor is silent.")
    agreement = np.fft.irfft(np.fft.rfft(own, 2 * count) * np.conj(np.fft.rfft(given, 2 * count)), 2 * count)
    most = max(1, rate // 20)
    return float(max(agreement[:most].max(), agreement[-most:].max()) / power)


def pitch(task: Task, donor: Task) -> float:
    """Share of the movement of the pitch that is left."""
    (own, rate), (other, other_rate) = _heard(task), _heard(donor)
    before = movement(other, other_rate)
    if before < _MOVING:
        raise MediaFaultError("unmeasured", "its voice is monotone as it is.")
    return movement(own, rate) / before
