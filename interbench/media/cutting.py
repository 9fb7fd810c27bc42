"""Cutting a piece out of a foreign clip: a square of one size, at one rate, with its sound to the sample."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation

from interbench.media.encoding import macroblock_tree
from interbench.media.files import MediaFaultError
from interbench.media.limits import AUDIO_RATE
from interbench.media.picture import on_screen, picture_times
from interbench.media.sequence import late
from interbench.media.shown import Pose, pose
from interbench.media.sound import Sound
from interbench.media.task import Task, refuse_corrupt

_ROUNDING_S = 1e-3
_TONE_BLOCK = AUDIO_RATE


def cut(
    task: Task, start: float, duration: float, box: tuple[int, int, int, int] | None, side: int, rate: int, out: Path
) -> dict[str, Any]:
    """Write ``duration`` seconds from ``start`` on to ``out``: H.264 and FLAC in Matroska, ``side`` pixels square.

    Same input, same bytes. The sound is 16 kHz mono and begins with the first frame: nothing of it is coded away and no
    codec shifts it.

    Args:
        task: the clip.
        start: seconds from its first picture.
        duration: seconds.
        box: left, top, width and height in pixels of what is shown; None for the largest square in the middle.
        side: of the square that is written.
        rate: frames a second, each the one on screen then.
        out: file to write.
    """
    times = picture_times(task)
    length = times.end() - times.start
    if start < 0 or start + duration > length + 0.5 / rate:
        raise MediaFaultError(
            "too_short", f"it shows {length:.2f} s, and {start:g} to {start + duration:g} s are wanted."
        )
    count = math.floor(duration * rate + 0.5)
    moments = [times.start + start + number / rate + _ROUNDING_S for number in range(count)]
    with task.open() as source, av.open(str(out), "w", format="matroska", options={"fflags": "+bitexact"}) as target:
        stream = task.picture(source)
        lead = late(task, source, times.start)
        video = target.add_stream("libx264", rate=rate)
        video.width = video.height = side
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, rate)
        video.codec_context.thread_count = 1
        video.options = {"preset": "veryfast", "crf": "10", "bf": "0", **macroblock_tree(side)}
        audio: Any = target.add_stream("flac", rate=AUDIO_RATE, layout="mono")
        audio.codec_context.options = {"flags": "+bitexact"}
        audio.codec_context.format = "s16"
        samples = _samples(task, lead + start, duration)
        shown: Pose | None = None
        converted, picture = None, None
        for number, frame in enumerate(on_screen(task, source, stream, moments)):
            shown = shown or pose(stream, frame)
            if frame is not converted:
                converted = frame
                whole = shown.rgb(frame, *shown.size(frame.width, frame.height))
                picture = av.VideoFrame.from_ndarray(_square(whole, box), format="rgb24").reformat(
                    side,
                    side,
                    format="yuv420p",
                    interpolation=Interpolation.AREA if min(whole.shape[:2]) > side else Interpolation.BICUBIC,
                )
            assert picture is not None
            picture.pts, picture.time_base = number, Fraction(1, rate)
            target.mux(video.encode(picture))
        target.mux(video.encode(None))
        for first in range(0, len(samples), _TONE_BLOCK):
            part = np.ascontiguousarray(samples[None, first : first + _TONE_BLOCK])
            piece = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            piece.sample_rate, piece.pts = AUDIO_RATE, first
            target.mux(audio.encode(piece))
        target.mux(audio.encode(None))
    return {}


def _square(picture: npt.NDArray[np.uint8], box: tuple[int, int, int, int] | None) -> npt.NDArray[np.uint8]:
    height, width = picture.shape[:2]
    if box is None:
        side = min(height, width)
        box = (width - side) // 2, (height - side) // 2, side, side
    left, top, wide, high = box
    part = picture[max(0, top) : max(0, top + high), max(0, left) : max(0, left + wide)]
    if not part.size:
        raise MediaFaultError("outside", f"the box {list(box)} lies outside its picture of {width}x{height}.")
    # What is not square is cut to the square in its middle.
    side = min(part.shape[:2])
    up, over = (part.shape[0] - side) // 2, (part.shape[1] - side) // 2
    return np.ascontiguousarray(part[up : up + side, over : over + side])


def _samples(task: Task, start: float, duration: float) -> npt.NDArray[np.int16]:
    sound = Sound(task)
    with task.open() as container:
        stream = task.sound(container)
        if stream is None:
            raise MediaFaultError("no_audio", "it has no sound track.")
        for packet in container.demux(stream):
            refuse_corrupt(packet)
            for frame in stream.decode(packet):
                sound.frame(frame)
    samples = sound.samples(sound.start or 0.0)
    first, count = round(start * AUDIO_RATE), round(duration * AUDIO_RATE)
    part = samples[first : first + count]
    whole = np.zeros(count, np.float32)
    whole[: len(part)] = part
    samples_16: npt.NDArray[np.int16] = np.rint(whole * 32768.0).clip(-32768, 32767).astype(np.int16)
    return samples_16
