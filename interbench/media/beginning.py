"""How much of a clip that arrives in pieces a client must have: to show its first frame, to play its first word."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import av
import numpy as np
import numpy.typing as npt

from interbench.media.files import MediaFaultError
from interbench.media.limits import AUDIO_RATE
from interbench.media.sound import Sound
from interbench.media.task import Task, refuse_corrupt

_WINDOW = AUDIO_RATE // 50
_AUDIBLE_RMS = 10 ** (-50 / 20)
FIRST_FRAME_GUESSES = 24
_SPEECH_START_GUESSES = 8


def first_audible(samples: npt.NDArray[np.float32]) -> float | None:
    """Start in seconds of the first 20 ms window above -50 dBFS; full scale is a root mean square of 1.

    A constant offset is no sound: the level is that of the deviation from the window's mean.
    """
    windows = np.pad(samples, (0, -len(samples) % _WINDOW)).reshape(-1, _WINDOW)
    loud = np.flatnonzero(windows.std(axis=1) > _AUDIBLE_RMS)
    return None if len(loud) == 0 else round(float(loud[0]) * _WINDOW / AUDIO_RATE, 6)


def first_frame_bytes(task: Task, first: av.VideoFrame | None, packet_ends: Sequence[int]) -> int | None:
    """The shortest tried beginning of the file from which the very same first frame can be decoded; None if none does.

    Tried are the ends of the first packets, as the demuxer reports them; some report a few bytes short (WebM) or
    only the payload (transport streams), hence the next ends and the verification.
    """
    ends = sorted(packet_ends)
    for end in [*ends[:1], *(end + 64 for end in ends[:1]), *ends[1:]]:
        size = min(end, task.file.size)
        with contextlib.suppress(av.FFmpegError, MediaFaultError), task.open(size) as container:
            frame = next(container.decode(task.picture(container)), None)
            if frame is not None and first is not None and _same_picture(frame, first):
                return size
    return None


def speech_start_bytes(task: Task, origin: float, start_s: float) -> int | None:
    """The shortest tried beginning of the file in which sound is heard no later than at ``start_s``; None if none.

    Tried are the ends of the sound packets from the one that plays then; see :func:`first_frame_bytes` for the rest.
    """
    ends: list[int] = []
    with task.open() as container:
        stream = task.sound(container)
        for packet in () if stream is None else container.demux(stream):
            if packet.pos is None or packet.pts is None or packet.time_base is None:
                continue
            if float((packet.pts + (packet.duration or 0)) * packet.time_base) - origin > start_s:
                ends.append(packet.pos + packet.size)
            if len(ends) == _SPEECH_START_GUESSES:
                break
    for end in [*ends[:1], *(end + 64 for end in ends[:1]), *ends[1:]]:
        size = min(end, task.file.size)
        heard = _heard_from(task, size, origin)
        if heard is not None and heard <= start_s:
            return size
    return None


def _heard_from(task: Task, size: int, origin: float) -> float | None:
    """When the first ``size`` bytes of the file, decoded as far as they go, first get audible."""
    sound = Sound(task)
    with contextlib.suppress(av.FFmpegError, MediaFaultError), task.open(size) as container:
        if (stream := task.sound(container)) is None:
            return None
        for packet in container.demux(stream):
            refuse_corrupt(packet)
            for frame in stream.decode(packet):
                sound.frame(frame)
    return first_audible(sound.samples(origin))


def _same_picture(one: av.VideoFrame, other: av.VideoFrame) -> bool:
    return (one.width, one.height, one.format.name) == (other.width, other.height, other.format.name) and all(
        bytes(a) == bytes(b) for a, b in zip(one.planes, other.planes, strict=True)
    )
