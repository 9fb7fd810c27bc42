"""Clips of others' programs brought into the form in which they are answers: cropped, trimmed, with a sound track.

Done in the media worker like everything that decodes foreign files. The picture is encoded again, at high quality.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from interbench.media.files import MediaFaultError, truncated
from interbench.media.picture import picture_times
from interbench.media.shown import Pose, pose
from interbench.media.task import Task
from interbench.media.wav import WavError, decode_wav

_CLOCK = Fraction(1, 90_000)


def reshape(
    task: Task,
    out: Path,
    crop: tuple[int, int, int, int] | None = None,
    start_s: float = 0.0,
    seconds: float | None = None,
    speech: str | None = None,
) -> dict[str, Any]:
    """Write a clip's answer to ``out`` as MP4 (H.264, AAC).

    Args:
        crop: x, y, width and height in pixels of what is kept of the picture.
        start_s: what lies before is left out.
        seconds: the length that is kept from there on; None for all.
        speech: a WAV file that takes the place of the clip's own sound.

    Raises:
        MediaFaultError: the picture is smaller than the crop, or nothing is left.
    """
    showing = picture_times(task)
    begin = showing.start + start_s
    end = showing.end() if seconds is None else min(showing.end(), begin + seconds)
    with av.open(str(out), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as target:
        sound = _given(speech) if speech is not None else _own(task, begin, end)
        audio: Any = None
        if sound is not None:
            samples, rate = sound
            audio = target.add_stream("aac", rate=rate, layout="mono")
            audio.bit_rate = 128_000
        kept = 0
        with task.open() as source:
            stream = task.picture(source)
            video: Any = target.add_stream("libx264", rate=stream.average_rate or 25)
            video.codec_context.time_base = _CLOCK
            video.pix_fmt = "yuv420p"
            video.codec_context.options = {"preset": "veryfast", "crf": "14", "rc-lookahead": "0", "refs": "1"}
            video.codec_context.thread_count = 1
            shown = Pose()
            for frame in source.decode(stream):
                if frame.time is None or not begin - 1e-3 <= frame.time < end - 1e-3:
                    continue
                task.check_picture(frame.width, frame.height)
                if not kept:
                    shown = pose(stream, frame)
                pixels = shown.rgb(frame, *shown.size(frame.width, frame.height))
                pixels = _cropped(pixels, crop)
                if not kept:
                    video.height, video.width = pixels.shape[0], pixels.shape[1]
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
                picture.time_base = _CLOCK
                picture.pts = round((frame.time - begin) / _CLOCK)
                target.mux(video.encode(picture))
                kept += 1
            target.mux(video.encode(None))
        if not kept:
            raise truncated(f"none of its picture lies after the first {start_s:g} s")
        if audio is not None:
            frame_of_sound = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[None, :]), format="fltp", layout="mono"
            )
            frame_of_sound.sample_rate, frame_of_sound.pts = rate, 0
            target.mux(audio.encode(frame_of_sound))
            target.mux(audio.encode(None))
    return {"frames": kept}


def _cropped(pixels: npt.NDArray[np.uint8], crop: tuple[int, int, int, int] | None) -> npt.NDArray[np.uint8]:
    """What is kept of a picture, with even sides as 4:2:0 colour wants them."""
    height, width = pixels.shape[:2]
    if crop is not None:
        x, y, wide, high = crop
        if x + wide > width or y + high > height:
            raise MediaFaultError(
                "unexpected_size",
                f"its picture of {width}x{height} has no part of {wide}x{high} at {x},{y}. The program writes another "
                f"layout than its recipe says; is the checkout at the recipe's commit?",
            )
        pixels, height, width = pixels[y : y + high, x : x + wide], high, wide
    return np.ascontiguousarray(pixels[: height - height % 2, : width - width % 2])


def _own(task: Task, begin: float, end: float) -> tuple[npt.NDArray[np.float32], int] | None:
    """The clip's own sound between two times, mono at its own rate; None if it has none."""
    with task.open() as source:
        stream = task.sound(source)
        if stream is None:
            return None
        rate = stream.rate
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        samples = np.zeros(max(1, round((end - begin) * rate)), np.float32)
        for frame in source.decode(stream):
            task.check_time(frame.time or 0.0)
            at = round(((frame.time or 0.0) - begin) * rate)
            frame.pts = None
            for piece in resampler.resample(frame):
                _place(samples, piece.to_ndarray()[0], at)
                at += piece.samples
        return samples, rate


def placed_sound(task: Task, begin: float) -> tuple[npt.NDArray[np.float32], int] | None:
    """All of a clip's sound from ``begin`` on, mono at its own rate; None if it has none."""
    with task.open() as source:
        stream = task.sound(source)
        if stream is None:
            return None
        length = float((stream.duration or 0) * (stream.time_base or 0)) + float(
            (stream.start_time or 0) * (stream.time_base or 0)
        )
        declared = float((source.duration or 0) / av.time_base)
    end = max(picture_times(task).end(), length, 0.0 if length else declared)
    task.check_time(end - begin)
    return _own(task, begin, end)


def _given(speech: str) -> tuple[npt.NDArray[np.float32], int]:
    try:
        samples, header = decode_wav(Path(speech).read_bytes())
    except WavError as error:
        raise MediaFaultError("undecodable", f"the speech that it should have is no WAV file ({error})") from None
    return samples.mean(axis=1).astype(np.float32), header.rate


def _place(samples: npt.NDArray[np.float32], piece: npt.NDArray[np.float32], at: int) -> None:
    if at < 0:
        piece, at = piece[-at:], 0
    room = len(samples) - at
    if room > 0 and len(piece):
        samples[at : at + len(piece)] = piece[:room]
