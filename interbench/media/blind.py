"""Copies of clips that tell nothing of where they come from, for people who rate them; and gross defects to test them.

Picture and sound are taken over as they are coded, into an MP4 without titles, tags, dates, names of tracks and the
remarks that encoders leave in the picture's stream. What browsers don't play, what would have to be turned or made
square, and sound in which an encoder names itself, is coded anew.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from interbench.domain.ratings import Defect
from interbench.media.picture import on_screen, picture_times
from interbench.media.plain import copied_size, steady_rate
from interbench.media.shown import Pose, pose
from interbench.media.task import Task

_KEPT_PICTURE = frozenset({"h264", "vp9", "av1"})
"""Codecs that every browser plays."""
_REMARKS = "filter_units=remove_types=6"
"""Takes H.264's supplemental information out of a stream, where encoders write their names and settings."""
_KEPT_SOUND = frozenset({"aac", "opus", "flac"})
_ENCODERS = (b"Lavc", b"Lavf", b"LAME")
"""What encoders write into their first packet."""
_SOUND_RATE = 48_000
_FROZEN_RATE = Fraction(25)

_Packets = Iterator[tuple[float, Any]]
"""Packets for the target with their times in seconds, in order."""


def blind_copy(task: Task, out: Path, defect: Defect = "") -> dict[str, Any]:
    """Write a copy of a clip to ``out``, an MP4, with a defect if one is named."""
    with av.open(
        str(out), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}
    ) as target, task.open() as pictures, task.open() as sounds:  # fmt: skip
        picture = task.picture(pictures)
        sound = None if defect == "muted" else task.sound(sounds)
        keep_picture = defect != "frozen" and _picture_kept(task)
        keep_sound = sound is not None and _sound_kept(task)
        tracks: list[_Packets] = [
            _taken_over(picture, pictures, target) if keep_picture else _drawn(task, picture, pictures, target, defect)
        ]
        if sound is not None:
            start = picture_times(task).start
            tracks.append(
                _taken_over(sound, sounds, target) if keep_sound else _spoken(task, sound, sounds, target, start)
            )
        # Streams must be there before the first packet is written: the first step of each makes its own.
        begun = [(next(track), track) for track in tracks]
        assert all(first[1] is None for first, _ in begun)
        for _, packet in heapq.merge(*(track for _, track in begun), key=lambda timed: timed[0]):
            target.mux(packet)
    return {}


def _picture_kept(task: Task) -> bool:
    with task.open() as source:
        stream = task.picture(source)
        if stream.codec_context.codec.canonical_name not in _KEPT_PICTURE:
            return False
        return pose(stream, next(source.decode(stream))).plain


def _sound_kept(task: Task) -> bool:
    with task.open() as source:
        stream = task.sound(source)
        if stream is None or stream.codec_context.codec.canonical_name not in _KEPT_SOUND:
            return False
        first = bytes(next(source.demux(stream)))
        return not any(name in first for name in _ENCODERS)


def _taken_over(stream: Any, source: Any, target: Any) -> _Packets:
    copy = target.add_stream_from_template(stream)
    yield 0.0, None
    clean = _cleaner(stream)
    for packet in source.demux(stream):
        if packet.dts is None:
            break
        yield from _timed(clean(packet), copy)
    yield from _timed(clean(None), copy)


def _drawn(task: Task, stream: Any, source: Any, target: Any, defect: Defect) -> _Packets:
    times = picture_times(task)
    start, end = times.start, times.end()
    rate = _FROZEN_RATE if defect == "frozen" else steady_rate(times.times)
    count = max(1, round((end - start) * rate))
    # One frame stands for all: the same picture again costs next to nothing.
    wanted = [float(start + (0 if defect == "frozen" else (k + Fraction(1, 2)) / rate)) for k in range(count)]
    frames = on_screen(task, source, stream, wanted)
    first = next(frames)
    shown: Pose = pose(stream, first)
    encoder = target.add_stream("libx264", rate=rate)
    encoder.width, encoder.height = size = copied_size(*shown.size(first.width, first.height))
    encoder.codec_context.time_base = 1 / rate
    encoder.pix_fmt = "yuv420p"
    encoder.codec_context.options = {"preset": "veryfast", "crf": "18", "bf": "0", "rc-lookahead": "0", "refs": "1"}
    encoder.codec_context.thread_count = 1
    yield 0.0, None
    clean = _cleaner(encoder)
    converted: av.VideoFrame | None = None
    image: Any = None
    for number, frame in enumerate(itertools.chain((first,), frames)):
        if frame is not converted:
            converted = frame
            image = av.VideoFrame.from_ndarray(shown.rgb(frame, *size), format="rgb24").reformat(format="yuv420p")
        # A coded frame begins where the clip's own picture does.
        image.pts, image.time_base = number + round(start * rate), 1 / rate
        for packet in encoder.encode(image):
            yield from _timed(clean(packet), encoder)
    for packet in encoder.encode(None):
        yield from _timed(clean(packet), encoder)
    yield from _timed(clean(None), encoder)


def _spoken(task: Task, stream: Any, source: Any, target: Any, start: float) -> _Packets:
    encoder = target.add_stream("aac", rate=_SOUND_RATE, layout="stereo")
    encoder.bit_rate = 192_000
    encoder.codec_context.options = {"flags": "+bitexact"}
    yield 0.0, None
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=_SOUND_RATE)
    written: int | None = None
    for frame in itertools.chain(source.decode(stream), (None,)):
        if frame is not None:
            if written is None:
                written = max(0, round((frame.time if frame.time is not None else start) * _SOUND_RATE))
            frame.pts = None
        for piece in resampler.resample(frame):
            piece.pts, piece.time_base = written or 0, Fraction(1, _SOUND_RATE)
            written = (written or 0) + piece.samples
            task.check_time(written / _SOUND_RATE - start)
            yield from _timed(encoder.encode(piece), encoder)
    yield from _timed(encoder.encode(None), encoder)


def _cleaner(stream: Any) -> Any:
    if stream.type == "video" and stream.codec_context.codec.canonical_name == "h264":
        return BitStreamFilterContext(_REMARKS, stream).filter
    return lambda packet: [] if packet is None else [packet]


def _timed(packets: Any, stream: Any) -> _Packets:
    for packet in packets:
        packet.stream = stream
        yield float((packet.dts or 0) * packet.time_base), packet
