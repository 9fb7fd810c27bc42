"""A passage of a longer recording as a clip of its own: pictures at their own times, with the sound they go with.

It is coded anew (H.264, constant quality), because a passage rarely begins where a stream can be entered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from interbench.media.files import MediaFaultError
from interbench.media.recording import Writer
from interbench.media.task import Task, refuse_corrupt

RATE = 48_000
_ROUNDING_S = 1e-4


def passage(task: Task, out: Path, start: float, end: float) -> dict[str, Any]:
    """Write what plays from ``start`` to ``end``, in seconds of the file's own time stamps, to ``out``.

    Gives how many pictures it has.
    """
    pictures = 0
    held: av.VideoFrame | None = None
    with task.open() as source, av.open(str(out), "w", format="mp4", options={"movflags": "+faststart"}) as target:
        video = task.picture(source)
        sound = task.sound(source)
        writer = Writer(target, RATE)
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        for packet in source.demux([video] if sound is None else [video, sound]):
            refuse_corrupt(packet)
            for frame in packet.decode():
                if (
                    not isinstance(frame, (av.VideoFrame, av.AudioFrame))
                    or frame.pts is None
                    or frame.time_base is None
                ):
                    continue
                t = float(frame.pts * frame.time_base)
                if t >= end:
                    continue
                if isinstance(frame, av.VideoFrame):
                    task.check_picture(frame.width, frame.height)
                    if t < start - _ROUNDING_S:
                        held = frame
                        continue
                    if held is not None and not pictures and t > start + _ROUNDING_S:
                        writer.picture(held, 0.0)  # what is on screen when the passage begins
                        pictures += 1
                    writer.picture(frame, max(0.0, t - start))
                    pictures += 1
                else:
                    frame.pts = None
                    for piece in resampler.resample(frame):
                        samples = piece.to_ndarray()[0]
                        first, last = round((start - t) * RATE), round((end - t) * RATE)
                        if last > 0 and first < len(samples):
                            writer.sound(samples[max(0, first) : last], max(0.0, t - start))
        if not pictures and held is not None:
            writer.picture(held, 0.0)
            pictures = 1
        if not pictures:
            raise MediaFaultError("no_video", f"no picture of it plays from {start:.2f} to {end:.2f} s.")
        writer.flush()
    return {"pictures": pictures}
