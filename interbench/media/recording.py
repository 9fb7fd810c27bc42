"""Pictures and sound that were received live, written down as a clip: H.264 and AAC in MP4, each at its own time.

The pictures come decoded (a WebRTC stack decodes them for itself), so that nothing foreign is parsed here. Encoding
runs in a thread of its own; whoever receives is never kept waiting.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
_CLOCK = 90_000
"""Ticks per second of the pictures' times, as in RTP."""
_BLOCK_S = 0.5
"""Of sound that is encoded at once."""


class FilmRecorder:
    """Writes one clip.

    Args:
        path: of the MP4 file.
        rate: samples per second of the sound.
    """

    def __init__(self, path: Path, rate: int) -> None:
        self.path = path
        self.frames = 0
        """Pictures handed over."""
        self.waiting = 0
        """Bytes of pictures that were handed over and are not encoded yet, roughly."""
        self._rate = rate
        self._queue: queue.SimpleQueue[tuple[Any, float] | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="interbench-recorder", daemon=True)
        self._thread.start()

    def picture(self, frame: av.VideoFrame, t: float) -> None:
        """A picture that is shown from ``t`` seconds of the clip on; times ascend."""
        self.frames += 1
        with self._counting:
            self.waiting += picture_bytes(frame)
        self._queue.put((frame, t))

    def sound(self, samples: Samples, t: float) -> None:
        """Mono samples in -1..1 that begin at ``t`` seconds of the clip; what lies between two pieces is silence."""
        self._queue.put((samples, t))

    async def finish(self, seconds: float) -> None:
        """Fill the sound up to ``seconds`` and write the file to its end.

        Raises:
            OSError: it can't be written.
        """
        self._queue.put((np.zeros(0, np.float32), seconds))
        await self.drop()
        if self._error is not None:
            raise self._error

    async def drop(self) -> None:
        """Stop writing; what is there stays."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        try:
            with av.open(str(self.path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
                writer = Writer(container, self._rate)
                while (item := self._queue.get()) is not None:
                    what, t = item
                    if isinstance(what, av.VideoFrame):
                        writer.picture(what, t)
                        with self._counting:
                            self.waiting -= picture_bytes(what)
                    else:
                        writer.sound(what, t)
                writer.flush()
        except Exception as error:  # told by finish
            self._error = error


def picture_bytes(frame: av.VideoFrame) -> int:
    """What a picture takes in memory, with colour at half resolution."""
    return frame.width * frame.height * 3 // 2


class Writer:
    """Codes pictures and sound into an open container, each at its own time; both come in the order of time."""

    def __init__(self, container: Any, rate: int) -> None:
        self._container = container
        self._rate = rate
        video = container.add_stream("libx264", rate=25)
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, _CLOCK)
        video.codec_context.thread_count = 1
        video.options = {"preset": "veryfast", "crf": "16", "bf": "0", "rc-lookahead": "0"}
        self._video = video
        self._audio = container.add_stream("aac", rate=rate, layout="mono")
        self._audio.bit_rate = 128_000
        self._size: tuple[int, int] | None = None
        self._last = -1
        self._pending: list[Samples] = []
        self._held = 0
        self._written = 0
        """Samples that have been encoded."""

    def picture(self, frame: av.VideoFrame, t: float) -> None:
        if self._size is None:
            self._size = max(2, frame.width // 2 * 2), max(2, frame.height // 2 * 2)
            self._video.width, self._video.height = self._size
        pts = max(self._last + 1, round(t * _CLOCK))
        # A stream that adapts to the line changes its size; a clip has one.
        picture = frame.reformat(width=self._size[0], height=self._size[1], format="yuv420p")
        picture.pts, picture.time_base = pts, Fraction(1, _CLOCK)
        picture.pict_type = av.video.frame.PictureType.NONE
        self._last = pts
        self._container.mux(self._video.encode(picture))

    def sound(self, samples: Samples, t: float) -> None:
        behind = round(t * self._rate) - self._written - self._held
        if behind > 0:
            self._hold(np.zeros(behind, np.float32))
        elif behind < 0:
            samples = samples[-behind:]
        self._hold(samples)
        while self._held >= _BLOCK_S * self._rate:
            self._encode(self._held)

    def _hold(self, samples: Samples) -> None:
        if len(samples):
            self._pending.append(samples)
            self._held += len(samples)

    def _encode(self, count: int) -> None:
        block = np.concatenate(self._pending)[None, :count]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._written
        self._written += count
        self._pending, self._held = [], 0
        self._container.mux(self._audio.encode(frame))

    def flush(self) -> None:
        if self._held:
            self._encode(self._held)
        if self._size is not None:
            self._container.mux(self._video.encode(None))
        if self._written:
            self._container.mux(self._audio.encode(None))
