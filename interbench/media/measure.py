"""What an edit has come to, measured on the result against the clip that it was made from.

Nothing is taken from the edit itself: both files are decoded and compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from PIL import Image, ImageOps

from interbench.media import measure_sound
from interbench.media.edit_picture import LEAST_SEEN
from interbench.media.files import MediaFaultError
from interbench.media.picture import on_screen, picture_times
from interbench.media.shown import pose
from interbench.media.task import Task
from interbench.stats.colour import delta_e, lab_of

_SMALL = 96
_STILL, _STILL_SHARE = 0.35, 0.4
"""Mean difference of neighbouring frames up to which nothing moves, in levels of 8 bits at :data:`_SMALL` pixels, and
as a share of the median of the clip itself; the lower counts."""
_MOTIONLESS = 0.05
_CUT = 4.0
"""So many times the 90th percentile of differences: another picture."""
_FINE, _COARSE = 160, 40
_TRIED = np.arange(1.0, 1.45, 0.01)
_MOMENTS = 40
_ALIKE = 0.5
"""Levels of 8 bits up to which two pictures are one."""
_STROKE = 0.73
"""Height of a tall letter of the built-in font, of its size."""
_LOOKS = 5
"""Frames of a clip that letters are looked for in."""
_Floats = npt.NDArray[np.float64]


def measure(task: Task, what: str, donor: Task, other: Task | None = None) -> dict[str, Any]:
    """Measure a result against ``donor``, the clip that it was made from.

    ``what``: of the picture ``held`` (share of the longest held stretch), ``held_s`` (of the beginning, in s),
    ``period_s``, ``factor``, ``jumps``, ``taken`` (share of the frames that are those of ``other``), ``dropped``
    (frames at its beginning), ``length_s``, ``delta_e`` (mean; 0 of what is only encoded anew), ``crf`` (how much
    coarser, as the quantizer has it), ``zoom``, ``scale`` (of the width), ``range`` (contrast), ``blank`` (share of the
    frames in which nothing is to be seen), ``letters`` (their size, of the height), ``fps``, ``webm`` (1 where it is);
    of the sound ``gain_db``, ``shift_ms``, ``voice`` (correlation with that of ``other``), ``pitch`` (share of its
    movement that is left).

    Raises:
        MediaFaultError: ``unmeasured``, where the clip itself leaves nothing to be measured.
    """
    if what in _WITH_DONOR:
        if other is None:
            raise ValueError(f"{what} is measured against a donor")
        return {"value": float(_WITH_DONOR[what](task, donor, other))}
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


def _colours(task: Task, count: int = 5, side: int = _FINE) -> _Floats:
    """Frames at ``count`` moments, sRGB in 0..1."""
    times = picture_times(task)
    wanted = [times.start + (n + 0.5) / count * (times.end() - times.start) for n in range(count)]
    with task.open() as source:
        stream = task.picture(source)
        return np.stack([pose(stream, f).rgb(f, side, side) / 255.0 for f in on_screen(task, source, stream, wanted)])


def _moves(frames: _Floats) -> _Floats:
    moved: _Floats = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2))
    return moved


def _runs(still: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, length) of runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], still.astype(np.int8), [0]])))
    return [(int(first), int(after - first)) for first, after in edges.reshape(-1, 2)]


def _stillness(frames: _Floats, donor: Task) -> npt.NDArray[np.bool_]:
    """Between which neighbouring frames nothing moves."""
    still = _moves(frames) <= min(_STILL, _STILL_SHARE * _usual(donor))
    # Where a coded picture begins anew, a held one changes once, by what the codec left out.
    still[1:-1] |= still[:-2] & still[2:]
    return still


def _usual(donor: Task) -> float:
    """How much moves from one frame of the clip to the next.

    Raises:
        MediaFaultError: nothing does, so that no edit of its motion could be told.
    """
    moved = float(np.median(_moves(_every(donor, _SMALL))))
    if not moved > _MOTIONLESS:
        raise MediaFaultError("unmeasured", "nothing moves in the clip that it was made from.")
    return moved


def _times(task: Task) -> tuple[_Floats, float]:
    """When each frame is shown, from the first on, and the end of the last."""
    showing = picture_times(task)
    return np.sort(np.asarray(showing.times)) - showing.start, showing.end() - showing.start


def _held(task: Task, donor: Task) -> float:
    starts, length = _times(task)
    ends = np.append(starts[1:], length)
    runs = _runs(_stillness(_every(task, _SMALL), donor))
    longest = max((float(ends[first + count] - starts[first]) for first, count in runs), default=0.0)
    return max(longest, float((ends - starts).max())) / length


def _held_s(task: Task, donor: Task) -> float:
    starts, _ = _times(task)
    runs = _runs(_stillness(_every(task, _SMALL), donor))
    return float(starts[runs[0][1]]) if runs and runs[0][0] == 0 else 0.0


def _period_s(task: Task, donor: Task) -> float:
    """To and fro: frame n is frame n + period again, whatever n is."""
    _usual(donor)
    frames, step = _grey(task, 32)
    least = max(2, round(0.3 / step))
    lags = range(least, max(least + 1, min(len(frames) - 4, round(6 / step))))
    apart = [float(np.abs(frames[lag:] - frames[:-lag]).mean()) for lag in lags]
    best = min(apart)
    # The shortest of those that are as good: multiples of the period fit as well.
    return next(lag for lag, value in zip(lags, apart, strict=True) if value <= best * 1.05 + 0.03) * step


def _factor(task: Task, donor: Task) -> float:
    """Slope of which frame of the clip is seen against time, before it turns back."""
    _usual(donor)
    own, step = _grey(task, 32)
    other, other_step = _grey(donor, 32)
    seen = np.argmin(_apart(own, other), axis=1)
    turn = int(np.argmax(seen)) + 1
    if turn < 3:
        raise MediaFaultError("unmeasured", "the clip is too short for its tempo to be measured.")
    slope = float(np.polyfit(np.arange(turn), seen[:turn], 1)[0])
    return slope * other_step / step


def _jumps(task: Task, donor: Task, other: Task) -> float:
    """Pairs of cuts that neither the clip itself has nor its donor."""
    own = _moves(_grey(task)[0])
    before = [_moves(_grey(one)[0]) for one in (donor, other)]
    bar = max(2.0, *(max(_CUT * float(np.quantile(moves, 0.9)), 1.5 * float(moves.max())) for moves in before))
    return float((own > bar).sum()) / 2


def _every(task: Task, side: int = 32, like: Task | None = None) -> _Floats:
    """Every frame, small and grey ``[n, side, side]``; without its margins where ``like`` is of another shape."""
    wanted = None if like is None else _shape(like)
    frames = []
    with task.open() as source:
        stream = task.picture(source)
        shown = None
        for frame in source.decode(stream):
            task.check_picture(frame.width, frame.height)
            shown = shown or pose(stream, frame)
            if wanted is None:
                frames.append(shown.rgb(frame, side, side).astype(np.float64).mean(axis=-1))
                continue
            whole = Image.fromarray(shown.rgb(frame, *shown.size(frame.width, frame.height)))
            fitted = ImageOps.fit(whole, wanted, Image.Resampling.BOX).resize((side, side), Image.Resampling.BOX)
            frames.append(np.asarray(fitted, np.float64).mean(axis=-1))
    return np.stack(frames)


def _shape(task: Task) -> tuple[int, int]:
    """Width and height as shown."""
    with task.open() as source:
        stream = task.picture(source)
        frame = next(source.decode(stream))
        return pose(stream, frame).size(frame.width, frame.height)


def _apart(own: _Floats, others: _Floats) -> _Floats:
    """Mean difference of each frame from each of others: ``[own, others]``."""
    return np.stack([np.abs(others - frame).mean(axis=(1, 2)) for frame in own])


def _taken(task: Task, donor: Task, other: Task) -> float:
    """Of 40 moments: at how many the picture is like one of the other clip rather than like its own at that time."""
    rate = _MOMENTS / max(1e-3, picture_times(task).end() - picture_times(task).start)
    own, before = _grey(task, 32, rate)[0], _grey(donor, 32, rate)[0]
    foreign, count = _every(other, like=task), min(len(own), len(before))
    if float(np.median(_apart(before[:count], foreign).min(axis=1))) < _ALIKE:
        raise MediaFaultError("unmeasured", "its picture and its donor's are the same.")
    there = _apart(own[:count], foreign).min(axis=1)
    return float((there < np.abs(own[:count] - before[:count]).mean(axis=(1, 2))).mean())


def _dropped(task: Task, donor: Task) -> float:
    """By how many frames the result is ahead."""
    _usual(donor)
    own, before = _every(task), _every(donor)
    gone = len(before) - len(own)
    tried = range(max(0, gone - 2), gone + 3)
    apart = {lag: _apart_by(own, before, lag) for lag in tried if len(before) > lag}
    return float(min(apart, key=lambda lag: apart[lag]))


def _apart_by(own: _Floats, before: _Floats, lag: int) -> float:
    count = min(len(own), len(before) - lag)
    return float(np.abs(own[:count] - before[lag : lag + count]).mean())


def _length_s(task: Task, donor: Task) -> float:
    times = picture_times(task)
    return times.end() - times.start


def _quantizer(task: Task) -> float:
    """Mean quantizer of its blocks, as its decoder met it."""
    found = []
    with task.open() as source:
        stream = task.picture(source)
        stream.codec_context.options = {**stream.codec_context.options, "export_side_data": "venc_params"}
        for frame in source.decode(stream):
            attached: Any = frame.side_data
            for data in attached:
                if data.type is Type.VIDEO_ENC_PARAMS:
                    # Each block: x, y, width, height, and how far its quantizer is from the picture's.
                    told = np.frombuffer(bytes(data), np.int32, 5 * data.nb_blocks, data.blocks_offset)
                    found.append(data.qp + (float(told.reshape(-1, 5)[:, 4].mean()) if data.nb_blocks else 0.0))
    if not found:
        raise MediaFaultError("unmeasured", "its coding tells no quantizer.")
    return float(np.mean(found))


def _coarser(task: Task, donor: Task) -> float:
    _usual(donor)
    return _quantizer(task) - _quantizer(donor)


def _blank(task: Task, donor: Task) -> float:
    return float((_every(task).std(axis=(1, 2)) < LEAST_SEEN).mean())


def _letters(task: Task, donor: Task) -> float:
    """Height of an upright stroke over that of the picture, by what fonts have between the two."""
    own, other = (_some_frames(one) for one in (task, donor))
    if own.shape[1:] != other.shape[1:]:
        raise MediaFaultError("unmeasured", "its picture has another size than before.")
    # Where it is changed all the time: who moves is elsewhere in a frame a moment later, what is written stays.
    changed: npt.NDArray[np.bool_] = np.all(np.abs(own - other) > 40, axis=0)
    # What is bright beside the dark ground of a line is no letter.
    inside = np.logical_or.accumulate(changed, axis=1) & np.logical_or.accumulate(changed[:, ::-1], axis=1)[:, ::-1]
    bright = np.all(own > 150, axis=0) & inside
    longest = max((length for column in bright.T for _, length in _runs(column)), default=0)
    return float(longest / _STROKE / own.shape[1])


def _some_frames(task: Task) -> _Floats:
    """Grey, [LOOKS, height, width], spread over the clip."""
    times = picture_times(task)
    length = times.end() - times.start
    moments = [times.start + length * (look + 1) / (_LOOKS + 1) for look in range(_LOOKS)]
    found: list[_Floats] = []
    with task.open() as source:
        stream = task.picture(source)
        for frame in on_screen(task, source, stream, moments):
            how = pose(stream, frame)
            found.append(how.rgb(frame, *how.size(frame.width, frame.height)).astype(np.float64).mean(axis=-1))
    return np.stack(found)


def _webm(task: Task, donor: Task) -> float:
    with task.open() as source:
        sound = task.sound(source)
        codecs = {task.picture(source).codec_context.codec.canonical_name}
        codecs |= set() if sound is None else {sound.codec_context.codec.canonical_name}
    return float(task.kind == "matroska" and codecs <= {"vp9", "opus"})


def _delta_e(task: Task, donor: Task) -> float:
    # Of small pictures, in which what a codec leaves out has been averaged away.
    own, other = _colours(task, side=_COARSE), _colours(donor, side=_COARSE)
    return float(delta_e(lab_of(own), lab_of(other)).mean())


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


def _fps(task: Task, donor: Task) -> float:
    times = picture_times(task)
    return len(times.times) / (times.end() - times.start)


_WITH_DONOR: dict[str, Callable[[Task, Task, Task], float]] = {
    "jumps": _jumps,
    "taken": _taken,
    "voice": measure_sound.voice,
}
_MEASURES: dict[str, Callable[[Task, Task], float]] = {
    "held": _held,
    "held_s": _held_s,
    "period_s": _period_s,
    "factor": _factor,
    "delta_e": _delta_e,
    "zoom": _zoom,
    "scale": lambda task, donor: _shape(task)[0] / _shape(donor)[0],
    "range": _range,
    "fps": _fps,
    "gain_db": measure_sound.gain_db,
    "shift_ms": measure_sound.shift_ms,
    "dropped": _dropped,
    "length_s": _length_s,
    "crf": _coarser,
    "blank": _blank,
    "letters": _letters,
    "webm": _webm,
    "pitch": measure_sound.pitch,
}
"""By name: of the result and the clip that it was made from."""
MEASURES = frozenset(_MEASURES) | frozenset(_WITH_DONOR)
