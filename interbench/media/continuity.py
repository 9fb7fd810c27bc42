"""What ties a clip to the one before it: its last frame, and the new end of a clip that was extended.

Clips are foreign data, so they are decoded in a process of its own: ``python -m interbench.media.continuity``.
"""

from __future__ import annotations

import asyncio
import collections
import os
import sys
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from interbench.base.errors import MediaError
from interbench.media.encoding import macroblock_tree
from interbench.media.hdr import is_hdr
from interbench.media.shown import Pose, pose

_TIMEOUT_S = 120.0
_THREADS = 4
"""A number of its own: with another number of threads the encoder would write other bytes."""


async def last_frame(clip: Path, output: Path) -> Path:
    """Write the last frame of ``clip``, as a player shows it, as PNG to ``output``.

    Raises:
        MediaError: it can't be decoded.
    """
    await _run("last-frame", str(clip), str(output))
    return output


async def keep_end(clip: Path, seconds: float) -> None:
    """Cut ``clip`` down to its last ``seconds``, in place. It is encoded again, at high quality and as a player shows
    it: upright and with square pixels.

    Raises:
        MediaError: it can't be decoded.
    """
    shorter = clip.with_suffix(".end.mp4")
    await _run("end", str(clip), str(shorter), repr(seconds))
    shorter.replace(clip)


async def _run(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "interbench.media.continuity",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME", "TMPDIR") if name in os.environ},
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, errors = await process.communicate()
    except TimeoutError:
        raise MediaError("timeout", f"{arguments[1]}: decoding was given up after {_TIMEOUT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        words = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise MediaError("undecodable", f"{arguments[1]}: {words[0]}")


def write_last_frame(clip: Path, output: Path) -> None:
    with av.open(str(clip)) as container:
        last = collections.deque(container.decode(video=0), maxlen=1)
        if not last:
            raise MediaError("no_video", f"{clip} has no picture")
        frame = last[0]
        shown = pose(container.streams.video[0], frame)
        Image.fromarray(shown.rgb(frame, *shown.size(frame.width, frame.height))).save(output, "PNG")


def _first_frame(clip: Path) -> tuple[Pose, av.VideoFrame]:
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            return pose(container.streams.video[0], frame), frame
    raise MediaError("no_video", f"{clip} has no picture")


def write_end(clip: Path, output: Path, seconds: float) -> None:
    shown, first = _first_frame(clip)
    width, height = shown.size(first.width, first.height)
    stored = shown.plain and not is_hdr(first)
    with av.open(str(clip)) as source, av.open(str(output), "w", options={"movflags": "faststart"}) as target:
        picture = source.streams.video[0]
        length = (source.duration or 0) / av.time_base
        if picture.duration and picture.time_base:
            length = float(picture.duration * picture.time_base)
        start = max(0.0, length - seconds)
        options = {"crf": "16"} | macroblock_tree(width)
        video = target.add_stream("libx264", rate=picture.average_rate, options=options)
        video.codec_context.thread_count = _THREADS
        # 4:2:0 colour has no odd sizes; such a picture is made smaller by its odd row or column.
        width, height = width & ~1, height & ~1
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.time_base = Fraction(1, 90_000)
        sounds = source.streams.audio[:1]
        audio = target.add_stream("aac", rate=sounds[0].rate, layout=sounds[0].layout) if sounds else None
        samples = 0
        for frame in source.decode(picture, *sounds):
            if not isinstance(frame, (av.VideoFrame, av.AudioFrame)) or frame.time is None or frame.time < start - 1e-6:
                continue
            if isinstance(frame, av.VideoFrame):
                moment = frame.time - start
                if not stored:
                    frame = av.VideoFrame.from_ndarray(shown.rgb(frame, width, height), format="rgb24")
                frame.time_base = Fraction(1, 90_000)
                frame.pts = round(moment * 90_000)
                frame.pict_type = av.video.frame.PictureType.NONE
                target.mux(video.encode(frame))
            elif audio is not None:
                frame.pts, samples = samples, samples + frame.samples
                frame.time_base = Fraction(1, frame.sample_rate)
                target.mux(audio.encode(frame))
        target.mux(video.encode(None))
        if audio is not None:
            target.mux(audio.encode(None))


if __name__ == "__main__":
    task, source, output, *rest = sys.argv[1:]
    if task == "last-frame":
        write_last_frame(Path(source), Path(output))
    else:
        write_end(Path(source), Path(output), float(rest[0]))
