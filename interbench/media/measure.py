"""What an edit has come to, measured on the result against the clip that it was made from.

Nothing is taken from the edit itself: both files are decoded and compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from interbench.media.files import MediaFaultError
from interbench.media.picture import on_screen, picture_times
from interbench.media.reshape import placed_sound
from interbench.media.shown import pose
from interbench.media.task import Task
from interbench.stats.colour import delta_e, lab_of

_SMALL = 96
_STILL, _STILL_SHARE = 0.35, 0.4
"""Mean difference of neighbouring frames up to which nothing moves, in levels of 8 bits at :data:`_SMALL` pixels, and
as a share of the median of the clip itself; the lower counts."""
_CUT = 4.0
"""So many times the 90th percentile of differences: another picture."""
_FINE = 160
_TRIED = np.arange(1.0, 1.45, 0.01)
_SEARCHED_MS = 1000
_Floats = npt.NDArray[np.float64]


def measure(task: Task, what: str, donor: Task) -> dict[str, Any]:
    """Measure a result against ``donor``, the clip that it was made from.

    ``what``: ``held`` (share of the longest held stretch), ``held_s`` (of the beginning, in s), ``period_s``,
    ``factor``, ``jumps``, ``delta_e`` (mean), ``zoom``, ``scale`` (of the width), ``range`` (contrast), ``fps``,
    ``gain_db``, ``shift_ms``.
    """
    return {"value": float(_MEASURES[what](task, donor))}


def _grey(task: Task, side: int = _SMALL, fps: float | None = None) -> tuple[_Floats, float]:
    """All frames, small and grey ``[n, side, side]``, and seconds from one to the next."""
    times = picture_times(task)
    length = times.end() - times.start
    count = len(times.times) if fps is None else max(1, round(length * fps))
    wanted = [times.start + (n + 0.5) * length / count for n in range(count)]
    frames = []
    with task.open() as source:
        stream = task.picture(source)
        shown = None
        for frame in on_screen(task, source, stream, wanted):
            shown = shown or pose(stream, frame)
            frames.append(shown.rgb(frame, side, side).astype(np.float64).mean(axis=-1))
    return np.stack(frames), length / count


def _colours(task: Task, count: int = 5) -> _Floats:
    """Frames at ``count`` moments, sRGB in 0..1."""
    times = picture_times(task)
    wanted = [times.start + (n + 0.5) / count * (times.end() - times.start) for n in range(count)]
    with task.open() as source:
        stream = task.picture(source)
        return np.stack([pose(stream, f).rgb(f, _FINE, _FINE) / 255.0 for f in on_screen(task, source, stream, wanted)])


def _moves(frames: _Floats) -> _Floats:
    moved: _Floats = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2))
    return moved


def _runs(still: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, length) of runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], still.astype(np.int8), [0]])))
    return [(int(first), int(after - first)) for first, after in edges.reshape(-1, 2)]


def _stillness(frames: _Floats, donor: Task) -> npt.NDArray[np.bool_]:
    """Between which neighbouring frames nothing moves."""
    bar = min(_STILL, _STILL_SHARE * float(np.median(_moves(_grey(donor)[0]))))
    still = _moves(frames) <= bar
    # Where a coded picture begins anew, a held one changes once, by what the codec left out.
    still[1:-1] |= still[:-2] & still[2:]
    return still


def _held(task: Task, donor: Task) -> float:
    frames, _ = _grey(task)
    longest = max((length for _, length in _runs(_stillness(frames, donor))), default=0)
    return (longest + 1) / len(frames)


def _held_s(task: Task, donor: Task) -> float:
    frames, step = _grey(task)
    runs = _runs(_stillness(frames, donor))
    return (runs[0][1] if runs and runs[0][0] == 0 else 0) * step


def _period_s(task: Task, donor: Task) -> float:
    """To and fro: frame n is frame n + period again, whatever n is."""
    frames, step = _grey(task, 32)
    least = max(2, round(0.3 / step))
    lags = range(least, max(least + 1, min(len(frames) - 4, round(6 / step))))
    apart = [float(np.abs(frames[lag:] - frames[:-lag]).mean()) for lag in lags]
    best = min(apart)
    # The shortest of those that are as good: multiples of the period fit as well.
    return next(lag for lag, value in zip(lags, apart, strict=True) if value <= best * 1.05 + 0.03) * step


def _factor(task: Task, donor: Task) -> float:
    """Slope of which frame of the clip is seen against time, before it turns back."""
    own, step = _grey(task)
    other, other_step = _grey(donor)
    seen = [int(np.argmin(np.abs(other - frame).mean(axis=(1, 2)))) for frame in own]
    turn = int(np.argmax(seen)) + 1
    if turn < 3:
        raise MediaFaultError("unmeasured", "the clip is too short for its tempo to be measured.")
    slope = float(np.polyfit(np.arange(turn), seen[:turn], 1)[0])
    return slope * other_step / step


def _jumps(task: Task, donor: Task) -> float:
    """Pairs of cuts that the clip itself does not have."""
    own, other = _moves(_grey(task)[0]), _moves(_grey(donor)[0])
    bar = max(_CUT * float(np.quantile(other, 0.9)), 1.5 * float(other.max()), 2.0)
    return float((own > bar).sum()) / 2


def _delta_e(task: Task, donor: Task) -> float:
    return float(delta_e(lab_of(_colours(task)), lab_of(_colours(donor))).mean())


def _zoom(task: Task, donor: Task) -> float:
    own, other = _colours(task, 3).mean(axis=-1), _colours(donor, 3).mean(axis=-1)
    apart = []
    centre = np.arange(_FINE) - (_FINE - 1) / 2
    inner = slice(_FINE // 8, -_FINE // 8)
    for factor in _TRIED:
        at = np.clip(np.round(centre / factor + (_FINE - 1) / 2).astype(int), 0, _FINE - 1)
        apart.append(float(np.abs(own - other[:, at][:, :, at])[:, inner, inner].mean()))
    return float(_TRIED[int(np.argmin(apart))])


def _range(task: Task, donor: Task) -> float:
    """Slope of the result's levels on the clip's."""
    own, other = _colours(task).mean(axis=-1).ravel(), _colours(donor).mean(axis=-1).ravel()
    return float(np.polyfit(other, own, 1)[0])


def _width(task: Task) -> int:
    with task.open() as source:
        stream = task.picture(source)
        frame = next(source.decode(stream))
        return pose(stream, frame).size(frame.width, frame.height)[0]


def _fps(task: Task, donor: Task) -> float:
    times = picture_times(task)
    return len(times.times) / (times.end() - times.start)


def _heard(task: Task) -> tuple[_Floats, int]:
    found = placed_sound(task, picture_times(task).start)
    if found is None:
        raise MediaFaultError("no_audio", "it has no sound track.")
    return found[0].astype(np.float64), found[1]


def _gain_db(task: Task, donor: Task) -> float:
    (own, _), (other, _) = _heard(task), _heard(donor)
    own_power, other_power = float((own**2).sum()), float((other**2).sum())
    return 10 * float(np.log10(max(own_power, 1e-12) / max(other_power, 1e-12)))


def _shift_ms(task: Task, donor: Task) -> float:
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


_MEASURES: dict[str, Callable[[Task, Task], float]] = {
    "held": _held,
    "held_s": _held_s,
    "period_s": _period_s,
    "factor": _factor,
    "jumps": _jumps,
    "delta_e": _delta_e,
    "zoom": _zoom,
    "scale": lambda task, donor: _width(task) / _width(donor),
    "range": _range,
    "fps": _fps,
    "gain_db": _gain_db,
    "shift_ms": _shift_ms,
}
"""By name: of the result and the clip that it was made from."""
MEASURES = frozenset(_MEASURES)
