"""All frames of a foreign clip in order, some at a time: what the metrics of single clips look at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from av.container import InputContainer

from interbench.media.files import MediaFaultError, truncated
from interbench.media.picture import on_screen, picture_times
from interbench.media.shown import Pose, pose
from interbench.media.task import Task

_AT_ONCE_BYTES = 96 * 2**20
_ROUNDING_S = 1e-3
"""Containers round time stamps to a millisecond: a frame that is on screen from a moment on may be stamped so much
later."""


def sequence(task: Task, first: int, rate: float | None, size: tuple[int, int] | None, out: Path) -> dict[str, Any]:
    """Write frames from number ``first`` on to ``out`` as raw RGB ``[count, height, width, 3]``, as many as fit.

    With a ``rate`` frame ``n`` is the one on screen ``n / rate`` seconds after the picture begins. The answer says how
    many were written, how many there are in all, and the file's own rate.
    """
    times = picture_times(task)
    if not times.times:
        raise truncated("its picture track holds no frame with a time")
    start, length = times.start, times.end() - times.start
    fps = len(times.times) / length if length > 0 else 0.0
    if rate is None:
        wanted = sorted(times.times)
    else:
        if not rate > 0:
            raise ValueError("a rate must be positive")
        wanted = [start + number / rate for number in range(max(1, math.floor(length * rate + 0.5 + 1e-6)))]
    moments = [time + _ROUNDING_S for time in wanted[first:]]
    count = 0
    width = height = 0
    with task.open() as container, out.open("wb") as target:
        stream = task.picture(container)
        behind = late(task, container, start)
        if first and stream.time_base is not None:
            container.seek(math.floor(wanted[first] / stream.time_base), stream=stream, backward=True)
        shown: Pose | None = None
        converted, pixels, most = None, b"", 1
        for frame in on_screen(task, container, stream, moments):
            if shown is None:
                shown = pose(stream, frame)
                width, height = size or shown.size(frame.width, frame.height)
                task.check_picture(width, height)
                most = max(1, min(_AT_ONCE_BYTES, task.limits.output_bytes) // (width * height * 3))
            if frame is not converted:
                converted, pixels = frame, shown.rgb(frame, width, height).tobytes()
            target.write(pixels)
            count += 1
            if count == most:
                break
    if not count:
        raise MediaFaultError("undecodable", f"it has {len(wanted)} frames and none from number {first} on is there.")
    return {"count": count, "total": len(wanted), "fps": fps, "late_s": behind, "width": width, "height": height}


def late(task: Task, container: InputContainer, start: float) -> float:
    """Seconds from the beginning of the sound to that of the picture."""
    stream = task.sound(container)
    if stream is None or stream.start_time is None or stream.time_base is None:
        return 0.0
    return max(0.0, start - float(stream.start_time * stream.time_base))
