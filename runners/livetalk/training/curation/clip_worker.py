"""The process in which one foreign clip is cut: ``python -m livetalk.training.curation.clip_worker``.

Asked by ``livetalk.training.curation.clips`` on standard input, one JSON object; answered on standard output: a line of
JSON, then the bytes that it announces. A clip of a data set is nobody's trusted file: memory and time are bounded, and
nothing can be written.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soxr

from livetalk.base.rates import AUDIO_RATE

_FORMATS = "mov,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg"
"""Containers that hold picture and sound themselves; playlists, which name further files, are not among them."""
_LARGEST_PIXELS = 4096 * 4096


class UnusableClipError(Exception):
    """The clip holds no picture or no sound that could be cut."""


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    seconds: float
    most: int
    stride: float
    memory: int
    processor_seconds: int


def cut(request: Request) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The clip's cuts, in order: what describes each, and picture and sound of each (RGB bytes, float32 bytes).

    A cut is taken every ``stride`` seconds of what both streams cover; the last one may be shorter. Its picture is the
    first frame shown at or after its beginning, turned as a player turns it.
    """
    options = {"format_whitelist": _FORMATS}
    with av.open(request.path, "r", options=options) as container:
        if not container.streams.video:
            raise UnusableClipError("it has no picture")
        if not container.streams.audio:
            raise UnusableClipError("it has no sound")
        needed = request.stride * (request.most - 1) + request.seconds
        sound, sound_start = _sound(container, needed)
    with av.open(request.path, "r", options=options) as container:
        video = container.streams.video[0]
        if video.codec_context.width * video.codec_context.height > _LARGEST_PIXELS:
            raise UnusableClipError("its picture has more than 4096x4096 pixels")
        video.thread_type = "NONE"
        described: list[dict[str, Any]] = []
        begin, contents = 0.0, []
        first: float | None = None
        for frame in container.decode(video):
            at = float(frame.time) if frame.time is not None else (0.0 if first is None else first)
            if first is None:
                first = at
                # Both streams begin where the later one does.
                begin = max(first, sound_start)
            if at + 1e-6 < begin + len(described) * request.stride:
                continue
            index = len(described)
            start = begin + index * request.stride
            offset = round((start - sound_start) * AUDIO_RATE)
            samples = sound[offset : offset + round(request.seconds * AUDIO_RATE)]
            if index and len(samples) < round(request.seconds * AUDIO_RATE):
                break
            if not len(samples):
                raise UnusableClipError("picture and sound never play together")
            picture = _upright(frame)
            described.append(
                {
                    "start": round(start, 6),
                    "height": picture.shape[0],
                    "width": picture.shape[1],
                    "samples": len(samples),
                }
            )
            contents += [picture.tobytes(), samples.tobytes()]
            if len(described) == request.most:
                break
    if not described:
        raise UnusableClipError("no picture can be decoded")
    return described, contents


def _upright(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    """RGB [height, width, 3] as a player shows it: the display matrix's quarter turns are carried out."""
    picture: npt.NDArray[Any] = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, quarters))


def _sound(container: av.container.InputContainer, seconds: float) -> tuple[npt.NDArray[np.float32], float]:
    """16 kHz mono up to so many seconds, and when its first sample plays."""
    stream = container.streams.audio[0]
    resampler = av.AudioResampler(format="fltp", layout=stream.layout)
    blocks: list[npt.NDArray[np.float32]] = []
    length, start = 0, 0.0
    for frame in container.decode(stream):
        if not blocks and frame.time is not None:
            start = float(frame.time)
        for part in resampler.resample(frame):
            blocks.append(part.to_ndarray().mean(axis=0).astype(np.float32))
            length += len(blocks[-1])
        # A second more, so that sound which begins before the picture still covers every cut.
        if length > (seconds + 1 + max(0.0, -start)) * stream.rate and length > 60 * stream.rate:
            break
    if not length:
        raise UnusableClipError("no sound can be decoded")
    sound = np.concatenate(blocks)
    if not np.isfinite(sound).all():
        raise UnusableClipError("its sound holds values that are not numbers")
    if stream.rate != AUDIO_RATE:
        sound = soxr.resample(sound, stream.rate, AUDIO_RATE, quality="HQ").astype(np.float32)
    return np.ascontiguousarray(sound), start


def _bound(memory: int, seconds: int) -> None:
    with contextlib.suppress(OSError):  # only Linux tells what is mapped already
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _limit("RLIMIT_AS", mapped + memory)
    _limit("RLIMIT_CPU", seconds)
    _limit("RLIMIT_FSIZE", 0)
    _limit("RLIMIT_CORE", 0)


def _limit(name: str, value: int) -> None:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def main() -> None:
    request = Request(**json.load(sys.stdin))
    answers = os.fdopen(os.dup(1), "wb")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    _bound(request.memory, request.processor_seconds)
    contents: list[bytes] = []
    try:
        cuts, contents = cut(request)
        head: dict[str, Any] = {"cuts": cuts}
    except UnusableClipError as error:
        head = {"unusable": str(error)}
    except MemoryError:
        head = {"unusable": "decoding it takes more memory than is granted"}
    except Exception as error:
        # What a library raises over foreign data is the data's doing.
        head = {"unusable": f"it can't be decoded ({getattr(error, 'strerror', None) or type(error).__name__})"}
    answers.write(json.dumps(head).encode() + b"\n" + b"".join(contents))
    answers.flush()


if __name__ == "__main__":
    main()
