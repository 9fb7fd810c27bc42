"""Clips that judges' loaders don't show as a player does, and plain copies of them.

vLLM reads videos with OpenCV: it takes the frames by number, puts frame ``i`` at ``i / fps``, and believes the header
about how many there are and how fast they come. It decodes no AV1, mirrors nothing and knows no pixels that are not
square. A plain copy is H.264 in MP4, upright, with square pixels, at a constant rate and without sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from interbench.media.hdr import is_hdr
from interbench.media.picture import on_screen, picture_times
from interbench.media.shown import Pose, pose
from interbench.media.task import Task

_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "mpeg4", "mpeg2video", "mjpeg"})
"""What the OpenCV of the Python package index decodes."""
_LATE_S = 0.2
"""A frame that a loader puts further from its time than this is misplaced."""
_SAMPLED = 32
"""Frames that the published protocol takes of a clip."""
_MOST_PIXELS = 2048 * 2048
_FASTEST = 60


def why_not_plain(
    container: InputContainer,
    stream: av.VideoStream,
    times: Sequence[float],
    first: av.VideoFrame,
    *,
    resized: bool,
) -> str:
    """Why a judge's loader would not see what a player shows, as a clause; empty if it does.

    Args:
        times: when its frames are shown, in the order of showing.
        first: one of them.
        resized: whether the frames are of several sizes.
    """
    codec = stream.codec_context.codec.canonical_name
    if codec not in _CODECS:
        return f"its picture is coded as {codec}, which the judge's loader does not decode"
    if not (shown := pose(stream, first)).plain:
        return f"its picture is stored {_stored(shown)}, which not every loader undoes"
    if is_hdr(first):
        return "its picture has a high dynamic range, which the judge's loader does not bring to that of a screen"
    if first.interlaced_frame:
        return "its frames are interlaced, which the judge's loader can't convert at every size"
    if resized:
        return "its frames change their size"
    if stream.index != container.streams.video[0].index:
        return "its first picture track is not the one that plays"
    fps = float(stream.guessed_rate or 0)
    if fps <= 0:
        return "it does not say its frame rate"
    counted = stream.frames or round((container.duration or 0) / av.time_base * fps)
    if counted <= 0:
        return "it says neither how long it is nor how many frames it has"
    if abs(counted - len(times)) > max(2, len(times) / _SAMPLED):
        return f"by its header it has {counted} frames and {len(times)} are there"
    late = np.abs(np.asarray(times) - times[0] - np.arange(len(times)) / fps).max()
    if late > _LATE_S:
        return f"its frames don't come at the {fps:.4g} per second that its header says: one is off by {late:.2f} s"
    return ""


def _stored(shown: Pose) -> str:
    parts = []
    if shown.mirrored:
        parts.append("mirrored")
    if shown.rotation:
        parts.append(f"turned by {shown.rotation} degrees")
    if shown.aspect != 1:
        parts.append(f"with pixels of {shown.aspect.numerator}:{shown.aspect.denominator}")
    return " and ".join(parts)


def plain_copy(task: Task, out: Path) -> dict[str, Any]:
    """Write a plain copy of a clip's picture to ``out``."""
    times = picture_times(task)
    start, end = times.start, times.end()
    rate = steady_rate(times.times)
    count = max(1, round((end - start) * rate))
    _write(task, out, [float(start + (k + Fraction(1, 2)) / rate) for k in range(count)], rate)
    return {}


def excerpt(task: Task, out: Path, parts: Sequence[tuple[float, float]], fps: int) -> dict[str, Any]:
    """Write to ``out`` what is shown in the ``parts`` of a clip, ``fps`` times a second, one part after another.

    Args:
        parts: (from, to) in seconds after the first picture, ascending and apart.
        fps: of the excerpt, whatever the clip's own.
    """
    start = picture_times(task).start
    wanted = [start + begin + k / fps for begin, end in parts for k in range(max(1, round((end - begin) * fps)))]
    _write(task, out, wanted, Fraction(fps))
    return {}


def _write(task: Task, out: Path, wanted: Sequence[float], rate: Fraction) -> None:
    """Write the pictures that are on screen at the ascending times ``wanted`` as a plain video of ``rate``."""
    with task.open() as source, av.open(str(out), "w", format="mp4", options={"fflags": "+bitexact"}) as target:
        stream = task.picture(source)
        encoder: Any = target.add_stream("libx264", rate=rate)
        encoder.codec_context.time_base = 1 / rate
        encoder.pix_fmt = "yuv420p"
        # No look-ahead and one thread: the memory it takes stays small whatever the size.
        encoder.codec_context.options = {"preset": "veryfast", "crf": "14", "bf": "0", "rc-lookahead": "0", "refs": "1"}
        encoder.codec_context.thread_count = 1
        converted: av.VideoFrame | None = None
        picture: av.VideoFrame | None = None
        shown, size = Pose(), (0, 0)
        for number, frame in enumerate(on_screen(task, source, stream, wanted)):
            if picture is None:
                shown = pose(stream, frame)
                size = copied_size(*shown.size(frame.width, frame.height))
                encoder.width, encoder.height = size
            if frame is not converted:
                converted = frame
                picture = av.VideoFrame.from_ndarray(shown.rgb(frame, *size), format="rgb24").reformat(format="yuv420p")
            assert picture is not None
            picture.pts, picture.time_base = number, 1 / rate
            target.mux(encoder.encode(picture))
        target.mux(encoder.encode(None))


def steady_rate(times: Sequence[float]) -> Fraction:
    """A constant rate at which no frame is passed over, up to 60 a second."""
    gaps = np.diff(np.sort(times))
    gaps = gaps[gaps > 1e-4]
    if not len(gaps):
        return Fraction(25)
    usual = float(np.median(gaps))
    even = np.abs(gaps - usual) < 0.1 * usual + 0.001  # times in milliseconds are rounded
    gap = float(gaps[even].mean()) if even.mean() > 0.9 else float(np.percentile(gaps, 10))
    return max(Fraction(1), Fraction(1 / max(gap, 1 / _FASTEST)).limit_denominator(1001))


def copied_size(width: int, height: int) -> tuple[int, int]:
    """Even, as H.264 with colour at half resolution wants it, and no larger than a judge ever looks at."""
    shrink = min(1.0, (_MOST_PIXELS / (width * height)) ** 0.5)
    even = [max(2, 2 * round(side * shrink / 2)) for side in (width, height)]
    return even[0], even[1]
