"""The process that decodes a live stream as it arrives: ``python -m interbench.media.listen LIMITS``.

Standard input is the stream, an MP4 in fragments; standard output has a JSON line for every piece of sound and every
picture: when it plays, how many bytes of the stream it needs, and what it is like. It is held to the limits of
:mod:`interbench.media.worker`, and ends with its input.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import sys
from typing import Any

import av
import numpy as np

from interbench.media.limits import Limits
from interbench.media.task import AUDIO_DECODERS, VIDEO_DECODERS
from interbench.media.worker import bound_process

THUMB = 48
RATE = 16_000
_MOST_PIXELS = 4096 * 4096


class _Pipe:
    """Standard input as a file that gives what is there instead of waiting for more."""

    def read(self, size: int) -> bytes:
        return os.read(0, size)


def listen(write: Any) -> None:
    """Decode standard input to its end."""
    options = {
        "protocol_whitelist": "none",
        "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2",
        "codec_whitelist": ",".join(sorted(VIDEO_DECODERS | AUDIO_DECODERS)),
        "max_streams": "8",
        "probesize": "4096",
        "analyzeduration": "0",
        "fflags": "nobuffer",
    }
    with av.open(_Pipe(), "r", format="mp4", options=options, buffer_size=4096) as container:
        for stream in container.streams:
            stream.codec_context.thread_count = 1
        for video in container.streams.video:
            video.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        used = [*container.streams.video[:1], *container.streams.audio[:1]]
        needed = 0
        for packet in container.demux(used):
            if packet.pos is not None:
                needed = max(needed, packet.pos + packet.size)
            for frame in packet.decode():
                if (
                    not isinstance(frame, (av.VideoFrame, av.AudioFrame))
                    or frame.pts is None
                    or frame.time_base is None
                ):
                    continue
                t = float(frame.pts * frame.time_base)
                if isinstance(frame, av.VideoFrame):
                    grey = frame.to_ndarray(format="gray")
                    height, width = grey.shape
                    small = np.ascontiguousarray(grey[:: max(1, height // THUMB), :: max(1, width // THUMB)])
                    pixels = base64.b64encode(small.tobytes()).decode()
                    write({"t": t, "bytes": needed, "shape": small.shape, "pixels": pixels})
                else:
                    pieces = [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
                    if pieces:
                        samples = np.concatenate(pieces)
                        data = base64.b64encode((samples * 32767).clip(-32768, 32767).astype("<i2").tobytes())
                        write({"t": t, "bytes": needed, "samples": data.decode()})


def main() -> None:
    limits = Limits(**json.loads(sys.argv[1]))
    bound_process(limits)
    # A session of ten minutes takes less than this of one core; a hostile stream can't take more.
    cpu = int(limits.duration_s)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (cpu if hard == resource.RLIM_INFINITY else min(cpu, hard), hard))
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def write(line: dict[str, Any]) -> None:
        answers.write(json.dumps(line).encode() + b"\n")

    try:
        listen(write)
    except (av.FFmpegError, ValueError, MemoryError) as error:
        write({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
