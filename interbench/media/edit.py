"""Edits of foreign clips, each through the same encoder: what audits of judges are made of.

An edit says, frame by frame of the result, which frame of the clip or of a donor is shown, what is done to it, and what
is heard. The result is H.264 and AAC in MP4 (or VP9 and Opus in WebM), upright, with square pixels, at the clip's own
times. ``sham`` does nothing but that.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation
from PIL import Image, ImageOps

from interbench.media.edit_picture import Change, change_of
from interbench.media.edit_sound import Samples, sound_of
from interbench.media.encoding import macroblock_tree
from interbench.media.files import MediaFaultError, truncated
from interbench.media.hdr import is_hdr
from interbench.media.picture import picture_times
from interbench.media.shown import Pose, pose
from interbench.media.task import Task

CRF = 18
_CLOCK = Fraction(1, 90_000)
_SEARCH = "ref=1:bframes=0:me=dia:subme=1:trellis=0"
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_KEPT_BYTES = 256 * 2**20
"""Of decoded frames that are shown again later; what is more is decoded again when it is needed."""
Shot = tuple[int, int]
"""(0 for the clip and 1 for the donor, number of the frame) that is shown."""
Decoded = tuple[av.VideoFrame, Pose]


def edit(
    task: Task,
    out: Path,
    op: str,
    value: float = 0.0,
    *,
    donor: Task | None = None,
    crf: int = 0,
    container: str = "mp4",
    text: str = "",
    until_s: float | None = None,
    fps: float | None = None,
    side: int | None = None,
) -> dict[str, Any]:
    """Write an edited copy of a clip to ``out``.

    Args:
        op: ``sham``; of the picture ``freeze`` (share), ``loop`` (period in s), ``tempo`` (factor), ``hold`` (s),
            ``drop-first``, ``rate`` (frames/s), ``transplant`` and ``intercut`` (jumps; both from the donor), ``cut``
            (up to ``until_s``), ``grade`` (ΔE), ``zoom`` (factor), ``scale`` (factor), ``range`` (contrast), ``blank``,
            ``write-large``, ``write-small``, ``write-caption``; of the sound ``gain`` (dB), ``desync`` (ms the sound is
            late), ``voice`` (the donor's), ``monotone`` (share of the pitch's movement that is left).
        value: how much.
        donor: whose picture or sound is taken.
        crf: so much coarser.
        container: ``mp4`` or ``webm``.
        text: for the ``write`` edits.
        until_s: for ``cut``.
        fps: at most so many frames a second are written; None for all.
        side: at most so many pixels along the longer side; None for the clip's own size.

    Raises:
        MediaFaultError: the clip can't be decoded, or the edit can't be made of it.
    """
    own = picture_times(task)
    if not own.times:
        raise truncated("its picture track holds no frame with a time")
    begin, end = own.start, own.end()
    times = [time - begin for time in sorted(own.times)]
    foreign: list[float] = []
    if donor is not None and op in ("transplant", "intercut"):
        other = picture_times(donor)
        foreign = [time - other.start for time in sorted(other.times)]
    shots, shown_at = _shots(op, value, times, end - begin, foreign, until_s, fps)
    if until_s is not None and op != "cut":
        kept = max(1, sum(time < until_s for time in shown_at))
        shots, shown_at = shots[:kept], shown_at[:kept]
    if fps is not None:
        shots, shown_at = _thinned(shots, shown_at, fps)
    sound = sound_of(task, donor, op, value, begin, until_s)
    with av.open(
        str(out), "w", format=container, options={"movflags": "+faststart", "fflags": "+bitexact"}
        if container == "mp4" else {"fflags": "+bitexact"},
    ) as target:  # fmt: skip
        audio: Any = None
        if sound is not None:
            rate = 48_000 if container == "webm" else min(_AAC_RATES, key=lambda known: abs(known - sound[1]))
            audio = target.add_stream("libopus" if container == "webm" else "aac", rate=rate, layout="mono")
            audio.bit_rate = 128_000
            if container == "mp4":
                # The thorough search takes longer than the picture, and a judge of stills hears none of it.
                audio.options = {"aac_coder": "fast"}
        video: Any = target.add_stream("libvpx-vp9" if container == "webm" else "libx264", rate=_rate(shown_at))
        video.codec_context.time_base = _CLOCK
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        change: Change | None = None
        picture: Any = None
        of: tuple[Shot, bool] | None = None
        size = _size(task, value if op == "scale" else 1.0, side)
        for shot, frame, seconds in _frames([task, donor], shots, shown_at):
            change = change or change_of(op, value, text)
            touched = change is not None
            if of != (shot, touched):
                picture, of = _drawn(frame, change if touched else None, size), (shot, touched)
            if not video.width or not target.streams.video[0].codec_context.is_open:
                video.width, video.height = picture.width, picture.height
                video.codec_context.options = _options(container, crf, picture.width)
            picture.time_base, picture.pts = _CLOCK, round(seconds / _CLOCK)
            picture.pict_type = av.video.frame.PictureType.NONE
            target.mux(video.encode(picture))
        target.mux(video.encode(None))
        if audio is not None and sound is not None:
            _write_sound(target, audio, *sound)
    return {"frames": len(shots)}


def _options(container: str, crf: int, width: int) -> dict[str, str]:
    if container == "webm":
        return {"deadline": "realtime", "cpu-used": "8", "crf": str(24 + crf), "b": "0"}
    return {"preset": "veryfast", "crf": str(CRF + crf), "x264-params": _SEARCH, **macroblock_tree(width)}


def _rate(times: Sequence[float]) -> Fraction:
    steps = np.diff(times)
    step = float(np.median(steps)) if len(steps) else 0.04
    return Fraction(1 / step if step > 0 else 25).limit_denominator(1001)


def _shots(
    op: str,
    value: float,
    times: list[float],
    length: float,
    foreign: Sequence[float],
    until_s: float | None,
    fps: float | None,
) -> tuple[list[Shot], list[float]]:
    """What is shown, and when, in seconds from the first frame on."""
    count = len(times)
    step = length / count

    def own(numbers: Sequence[int]) -> list[Shot]:
        return [(0, number) for number in numbers]

    def on_screen(moments: Sequence[float]) -> list[int]:
        return [max(0, n - 1) for n in np.searchsorted(times, np.asarray(moments) + 1e-6, side="right").tolist()]

    if op == "freeze":
        # By time and not by number: frames may stay for different times.
        begin = (1 - value) * length / 2
        held = [n for n, time in enumerate(times) if begin - 1e-6 <= time < begin + value * length - 1e-6] or [0]
        return own([held[0] if held[0] <= n <= held[-1] else n for n in range(count)]), times
    if op == "loop":
        # At the rate that is written, so that the period is a whole number of frames.
        rate = 1 / step if fps is None else min(fps, 1 / step)
        half = max(1, round(value * rate / 2))
        first = max(0.0, length / 2 - half / rate / 2)
        moments = [n / rate for n in range(max(1, round(length * rate)))]
        return own(on_screen([first + _to_and_fro(n, half + 1) / rate for n in range(len(moments))])), moments
    if op == "tempo":
        last = times[-1]
        seen = [time * value % (2 * last) if last else 0.0 for time in times]
        return own(on_screen([time if time <= last else 2 * last - time for time in seen])), times
    if op == "hold":
        held_frames = max(1, round(value / step))
        late = [n * step for n in range(held_frames)]
        return own([0] * held_frames + list(range(count))), [*late, *(held_frames * step + time for time in times)]
    if op == "drop-first" and count > 1:
        return own(range(1, count)), times[1:]
    if op == "rate":
        moments = [n / value for n in range(max(1, math.floor(length * value + 1e-6)))]
        return own(on_screen(moments)), moments
    if op == "cut":
        assert until_s is not None
        kept = max(1, int(np.searchsorted(times, until_s)))
        return own(range(kept)), times[:kept]
    if op in ("transplant", "intercut"):
        if not foreign:
            raise MediaFaultError("no_video", "there is no donor for its picture.")
        shown = _foreign(foreign, times)
        return (shown if op == "transplant" else _intercut(round(value), count, shown)), times
    return own(range(count)), times


def _foreign(foreign: Sequence[float], times: Sequence[float]) -> list[Shot]:
    """What of the donor is on screen at each time; a shorter one is shown to and fro."""
    last = foreign[-1]
    seen = [time % (2 * last) if last else 0.0 for time in times]
    at = np.searchsorted(foreign, [(t if t <= last else 2 * last - t) + 1e-6 for t in seen], side="right")
    return [(1, max(0, int(n) - 1)) for n in at]


def _thinned(shots: list[Shot], times: list[float], fps: float) -> tuple[list[Shot], list[float]]:
    """What is on screen ``fps`` times a second."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / fps
    if step >= 1 / fps - 1e-6:
        return shots, times
    moments = [n / fps for n in range(max(1, round((times[-1] + step) * fps)))]
    seen = np.searchsorted(times, np.asarray(moments) + 1e-6, side="right") - 1
    return [shots[n] for n in seen], moments


def _intercut(jumps: int, count: int, foreign: list[Shot]) -> list[Shot]:
    """There and back ``jumps`` times, evenly spread."""
    shots: list[Shot] = [(0, n) for n in range(count)]
    part = count / (2 * jumps + 1)
    for jump in range(jumps):
        first, after = round((2 * jump + 1) * part), round((2 * jump + 2) * part)
        shots[first:after] = foreign[first:after]
    return shots


def _to_and_fro(number: int, count: int) -> int:
    if count < 2:
        return 0
    at = number % (2 * (count - 1))
    return at if at < count else 2 * (count - 1) - at


def _frames(
    tasks: Sequence[Task | None], shots: Sequence[Shot], times: Sequence[float]
) -> Iterator[tuple[Shot, Decoded, float]]:
    """The frames in the order of the shots.

    Those that are shown again later are kept, as many as fit; the others are decoded again from the beginning on.
    """
    uses: dict[Shot, deque[int]] = {}
    for number, shot in enumerate(shots):
        uses.setdefault(shot, deque()).append(number)
    readers = [None if task is None else _Reader(task) for task in tasks]
    kept: dict[Shot, Decoded] = {}
    held = 0
    for shot, seconds in zip(shots, times, strict=True):
        reader = readers[shot[0]]
        assert reader is not None
        if shot not in kept and reader.number > shot[1]:
            reader.again()
        while shot not in kept:
            read = reader.next()
            if read is None:
                raise truncated(f"frame {shot[1]} of its picture can't be decoded")
            place = (shot[0], read[0])
            if uses.get(place) and place not in kept:
                kept[place] = read[1]
                held += _bytes(read[1])
                while held > _KEPT_BYTES and len(kept) > 1:
                    farthest = max(kept, key=lambda one: (one != shot, uses[one][0]))
                    held -= _bytes(kept.pop(farthest))
        yield shot, kept[shot], seconds
        uses[shot].popleft()
        if not uses[shot]:
            held -= _bytes(kept.pop(shot))


def _bytes(decoded: Decoded) -> int:
    frame, _ = decoded
    return sum(plane.buffer_size for plane in frame.planes)


class _Reader:
    """The frames of a clip, numbered as they are shown."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.again()

    def again(self) -> None:
        """Begin anew."""
        self.number = 0
        """Of the frame that comes next."""
        self._frames = self._read()

    def next(self) -> tuple[int, Decoded] | None:
        read = next(self._frames, None)
        self.number += 1
        return read

    def _read(self) -> Iterator[tuple[int, Decoded]]:
        with self._task.open() as source:
            stream = self._task.picture(source)
            shown: Pose | None = None
            for number, frame in enumerate(source.decode(stream)):
                self._task.check_picture(frame.width, frame.height)
                shown = shown or pose(stream, frame)
                yield number, (frame, shown)


def _size(task: Task, scale: float, side: int | None) -> tuple[int, int]:
    """Width and height of what is written, even as 4:2:0 colour wants them: the clip's, whoever is shown in it."""
    read = _Reader(task).next()
    if read is None:
        raise truncated("its picture track holds no frame that can be decoded")
    frame, how = read[1]
    width, height = how.size(frame.width, frame.height)
    if side is not None:
        scale *= min(1.0, side / max(width, height))
    return max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)


def _drawn(shown: Decoded, change: Change | None, size: tuple[int, int]) -> av.VideoFrame:
    """A frame as it is encoded; one of another shape loses its margins."""
    frame, how = shown
    width, height = how.size(frame.width, frame.height)
    fits = abs(width * size[1] - height * size[0]) <= 2 * max(width, height)
    if change is None and fits and how.plain and frame.format.name == "yuv420p" and not is_hdr(frame):
        scaled: av.VideoFrame = frame.reformat(*size, format="yuv420p", interpolation=Interpolation.BICUBIC)
        return scaled
    shrink = min(1.0, max(size[0] / width, size[1] / height))
    image = Image.fromarray(how.rgb(frame, max(1, round(width * shrink)), max(1, round(height * shrink))))
    if not fits:
        image = ImageOps.fit(image, size, Image.Resampling.BICUBIC)
    if change is not None:
        image = change(image)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    drawn: av.VideoFrame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24").reformat(format="yuv420p")
    return drawn


def _write_sound(target: Any, audio: Any, samples: Samples, rate: int) -> None:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None, :]), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    resampler = av.AudioResampler(
        format=audio.codec_context.format, layout="mono", rate=audio.codec_context.sample_rate
    )
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        target.mux(audio.encode(piece))
    target.mux(audio.encode(None))
