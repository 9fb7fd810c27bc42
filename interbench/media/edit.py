"""Edits of foreign clips, each through the same encoder: what audits of judges are made of.

An edit says, frame by frame of the result, which frame of the clip or of a donor is shown, what is done to it, and what
is heard. The result is H.264 and AAC in MP4 (or VP9 and Opus in WebM), upright, with square pixels, at the clip's own
times. ``sham`` does nothing but that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from interbench.media.encoding import macroblock_tree
from interbench.media.files import MediaFaultError, truncated
from interbench.media.hdr import is_hdr
from interbench.media.picture import picture_times
from interbench.media.reshape import placed_sound
from interbench.media.shown import Pose, pose
from interbench.media.task import Task
from interbench.stats.colour import lab_of, srgb_of

CRF = 18
_CLOCK = Fraction(1, 90_000)
_SEARCH = "ref=1:bframes=0:me=dia:subme=1:trellis=0"
_LUT = 17
Samples = npt.NDArray[np.float32]
Shot = tuple[int, int]
"""(0 for the clip and 1 for the donor, number of the frame) that is shown."""
_Change = Callable[[Image.Image], Image.Image]


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
) -> dict[str, Any]:
    """Write an edited copy of a clip to ``out``.

    Args:
        op: ``sham``; of the picture ``freeze`` (share), ``loop`` (period in s), ``tempo`` (factor), ``hold`` (s),
            ``drop-first``, ``rate`` (frames/s), ``transplant`` and ``intercut`` (jumps; both from the donor), ``cut``
            (up to ``until_s``), ``grade`` (ΔE), ``zoom`` (factor), ``scale`` (factor), ``range`` (contrast), ``blank``,
            ``write-large``, ``write-small``, ``write-caption``; of the sound ``gain`` (dB), ``desync`` (ms the sound is
            late), ``voice`` (the donor's).
        value: how much.
        donor: whose picture or sound is taken.
        crf: so much coarser.
        container: ``mp4`` or ``webm``.
        text: for the ``write`` edits.
        until_s: for ``cut``.
        fps: at most so many frames a second are written; None for all.

    Raises:
        MediaFaultError: the clip can't be decoded, or the edit can't be made of it.
    """
    own = picture_times(task)
    if not own.times:
        raise truncated("its picture track holds no frame with a time")
    begin, end = own.start, own.end()
    times = [time - begin for time in sorted(own.times)]
    other = picture_times(donor) if donor is not None else None
    shots, shown_at = _shots(op, value, times, end - begin, 0 if other is None else len(other.times), until_s, fps)
    if until_s is not None and op != "cut":
        kept = max(1, sum(time < until_s for time in shown_at))
        shots, shown_at = shots[:kept], shown_at[:kept]
    if fps is not None:
        shots, shown_at = _thinned(shots, shown_at, fps)
    sound = _sound(task, donor, op, value, begin, until_s)
    with av.open(
        str(out), "w", format=container, options={"movflags": "+faststart", "fflags": "+bitexact"}
        if container == "mp4" else {"fflags": "+bitexact"},
    ) as target:  # fmt: skip
        audio: Any = None
        if sound is not None:
            rate = 48_000 if container == "webm" else sound[1]
            audio = target.add_stream("libopus" if container == "webm" else "aac", rate=rate, layout="mono")
            audio.bit_rate = 128_000
        video: Any = target.add_stream("libvpx-vp9" if container == "webm" else "libx264", rate=_rate(shown_at))
        video.codec_context.time_base = _CLOCK
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        change = _change(op, value, text)
        picture: Any = None
        of: tuple[Shot, bool] | None = None
        size: tuple[int, int] | None = None
        for shot, frame, seconds in _frames([task, donor], shots, shown_at):
            touched = change is not None and not (op == "intercut" and shot[0] == 0)
            if of != (shot, touched):
                size = size or _size(*frame, value if op == "scale" else 1.0)
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
    op: str, value: float, times: list[float], length: float, others: int, until_s: float | None, fps: float | None
) -> tuple[list[Shot], list[float]]:
    """What is shown, and when, in seconds from the first frame on."""
    count = len(times)
    step = length / count

    def own(numbers: Sequence[int]) -> list[Shot]:
        return [(0, number) for number in numbers]

    if op == "freeze":
        held = max(1, round(value * count))
        first = (count - held) // 2
        return own([first if first <= n < first + held else n for n in range(count)]), times
    if op == "loop":
        # At the rate that is written, so that the period is a whole number of frames.
        rate = 1 / step if fps is None else min(fps, 1 / step)
        half = max(1, round(value * rate / 2))
        first = max(0, round(count / 2 - half / rate / step / 2))
        moments = [n / rate for n in range(max(1, round(length * rate)))]
        seen = [first + round(_to_and_fro(n, half + 1) / rate / step) for n in range(len(moments))]
        return own([min(count - 1, number) for number in seen]), moments
    if op == "tempo":
        return own([_to_and_fro(int(n * value + 1e-6), count) for n in range(count)]), times
    if op == "hold":
        held = max(1, round(value / step))
        late = [n * step for n in range(held)]
        return own([0] * held + list(range(count))), [*late, *(held * step + time for time in times)]
    if op == "drop-first" and count > 1:
        return own(range(1, count)), times[1:]
    if op == "rate":
        moments = [n / value for n in range(max(1, math.floor(length * value + 1e-6)))]
        return own([int(np.searchsorted(times, m + 1e-6, side="right")) - 1 for m in moments]), moments
    if op == "cut":
        assert until_s is not None
        kept = max(1, int(np.searchsorted(times, until_s)))
        return own(range(kept)), times[:kept]
    if op in ("transplant", "intercut"):
        if not others:
            raise MediaFaultError("no_video", "there is no donor for its picture.")
        foreign = [(1, _to_and_fro(n, others)) for n in range(count)]
        if op == "transplant":
            return foreign, times
        return _intercut(round(value), count, foreign), times
    return own(range(count)), times


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
) -> Iterator[tuple[Shot, tuple[av.VideoFrame, Pose], float]]:
    """The frames in the order of the shots; one that is needed again is kept until then."""
    last = {shot: number for number, shot in enumerate(shots)}
    readers = [None if task is None else _Reader(task) for task in tasks]
    kept: dict[Shot, tuple[av.VideoFrame, Pose]] = {}
    for number, (shot, seconds) in enumerate(zip(shots, times, strict=True)):
        reader = readers[shot[0]]
        assert reader is not None
        while shot not in kept:
            read = reader.next()
            if read is None:
                raise truncated(f"frame {shot[1]} of its picture can't be decoded")
            place = (shot[0], read[0])
            if last.get(place, -1) >= number:
                kept[place] = read[1]
        yield shot, kept[shot], seconds
        if last[shot] == number:
            del kept[shot]


class _Reader:
    """The frames of a clip, numbered as they are shown."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._frames = self._read()

    def next(self) -> tuple[int, tuple[av.VideoFrame, Pose]] | None:
        return next(self._frames, None)

    def _read(self) -> Iterator[tuple[int, tuple[av.VideoFrame, Pose]]]:
        with self._task.open() as source:
            stream = self._task.picture(source)
            shown: Pose | None = None
            for number, frame in enumerate(source.decode(stream)):
                self._task.check_picture(frame.width, frame.height)
                shown = shown or pose(stream, frame)
                yield number, (frame, shown)


def _size(frame: av.VideoFrame, how: Pose, scale: float) -> tuple[int, int]:
    """Width and height of what is written, even as 4:2:0 colour wants them."""
    width, height = how.size(frame.width, frame.height)
    return max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)


def _drawn(shown: tuple[av.VideoFrame, Pose], change: _Change | None, size: tuple[int, int]) -> av.VideoFrame:
    """A frame as it is encoded."""
    frame, how = shown
    if change is None and how.plain and frame.format.name == "yuv420p" and not is_hdr(frame):
        scaled: av.VideoFrame = frame.reformat(*size, format="yuv420p", interpolation=Interpolation.BICUBIC)
        return scaled
    pixels = how.rgb(frame, *how.size(frame.width, frame.height))
    image = Image.fromarray(pixels)
    if change is not None:
        image = change(image)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    drawn: av.VideoFrame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24").reformat(format="yuv420p")
    return drawn


def _change(op: str, value: float, text: str) -> _Change | None:
    """What is done to every frame; None if nothing."""
    if op == "grade":
        table = _graded(value)
        return lambda image: image.filter(table)
    if op == "zoom":
        return lambda image: _zoomed(image, value)
    if op == "range":
        levels = [max(0, min(255, round((v - 128) * value + 128))) for v in range(256)] * 3
        return lambda image: image.point(levels)
    if op == "blank":
        return lambda image: Image.new("RGB", image.size)
    if op.startswith("write-"):
        return lambda image: _written(image, text, op.removeprefix("write-"))
    return None


def _graded(delta_e: float) -> ImageFilter.Color3DLUT:
    """Warmer and lighter: every colour moves by ``delta_e`` in CIELAB, as far as sRGB reaches."""
    axis = np.linspace(0.0, 1.0, _LUT)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    lab = lab_of(np.stack([red, green, blue], axis=-1))
    # Towards the middle where there is no more room above.
    sign = np.where(lab[..., :1] > 55, -1.0, 1.0)
    shifted = lab + delta_e * np.concatenate(
        [0.45 * sign, 0.2 * np.ones_like(sign), 0.87 * np.ones_like(sign)], axis=-1
    )
    return ImageFilter.Color3DLUT(_LUT, srgb_of(shifted).reshape(-1, 3).ravel().tolist())


def _zoomed(image: Image.Image, factor: float) -> Image.Image:
    width, height = image.width / factor, image.height / factor
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, left + width, top + height)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


_SIZES = {"large": 0.06, "small": 0.022, "caption": 0.036}
"""Height of the letters as a share of the picture's."""


def _written(image: Image.Image, text: str, how: str) -> Image.Image:
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn, "RGBA")
    size = max(8, round(_SIZES[how] * image.height))
    font = ImageFont.load_default(size)
    lines = _lines(text, lambda line: pen.textlength(line, font=font), 0.92 * image.width)
    height = round(1.3 * size)
    top = image.height - height * len(lines) - size if how == "caption" else round(0.03 * image.height)
    for number, line in enumerate(lines):
        width = pen.textlength(line, font=font)
        x, y = (image.width - width) / 2, top + number * height
        pen.rectangle((x - size / 3, y, x + width + size / 3, y + height), fill=(0, 0, 0, 170))
        pen.text((x, y), line, font=font, fill=(255, 255, 255, 255))
    return drawn


def _lines(text: str, width: Callable[[str], float], most: float) -> list[str]:
    lines = [""]
    # The built-in letters have no others than these; what is drawn must be the same on every machine.
    for word in text.encode("latin-1", "replace").decode("latin-1").split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width(longer) > most:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _sound(
    task: Task, donor: Task | None, op: str, value: float, begin: float, until_s: float | None
) -> tuple[Samples, int] | None:
    found = placed_sound(task, begin)
    if op == "voice":
        if donor is None:
            raise MediaFaultError("no_audio", "there is no donor for its sound.")
        given = placed_sound(donor, picture_times(donor).start)
        if given is None or found is None:
            raise MediaFaultError("no_audio", "the clip or its donor has no sound track.")
        seconds = len(found[0]) / found[1]
        samples = given[0][: round(seconds * given[1])]
        return np.pad(samples, (0, max(0, round(seconds * given[1]) - len(samples)))), given[1]
    if found is None:
        return None
    samples, rate = found
    if op == "gain":
        return (samples * np.float32(10 ** (value / 20)) if value > -100 else np.zeros_like(samples)), rate
    if op == "desync":
        shift = round(value / 1000 * rate)
        moved = np.zeros_like(samples)
        if shift >= 0:
            moved[shift:] = samples[: len(samples) - shift]
        else:
            moved[:shift] = samples[-shift:]
        return moved, rate
    if op == "hold":
        return np.concatenate([np.zeros(round(value * rate), np.float32), samples]), rate
    if until_s is not None:
        return samples[: max(1, round(until_s * rate))], rate
    return found


def _write_sound(target: Any, audio: Any, samples: Samples, rate: int) -> None:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None, :]), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    resampler = av.AudioResampler(
        format=audio.codec_context.format, layout="mono", rate=audio.codec_context.sample_rate
    )
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        target.mux(audio.encode(piece))
    target.mux(audio.encode(None))
