"""A feed of one fragmented MP4 that never stops: its slices are cut anywhere, its clock is its own."""

from __future__ import annotations

import bisect
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from interbench.base.scratch import Scratch
from interbench.media.fragments import Fragment, FragmentError, FragmentReader
from interbench.media.listening import RATE, Piece, StreamDecoder
from interbench.media.pool import MediaPool
from interbench.systems.live.timeline import PictureMark, Timeline, Windows

_KEPT_S = 10.0
_MOST_BYTES = 512 * 2**20
"""Of what is kept of a stream: minutes of it at the usual 5 Mbit/s."""


class StreamFeed:
    """Takes slices of one stream and cuts clips out of it.

    Args:
        media: cuts.
        clock: monotonic seconds.
    """

    def __init__(self, media: MediaPool, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeline = Timeline()
        self.clock = clock
        self.broken = ""
        """Why the stream can't be used any further."""
        self._media = media
        self._reader = FragmentReader()
        self._decoder = StreamDecoder(self._piece, self._ended)
        self._windows = Windows(RATE)
        self._fragments: deque[tuple[float, Fragment]] = deque()
        self._bytes = 0
        self._arrivals: list[tuple[int, float]] = []
        self._clip: tuple[Path, float] | None = None
        self._keeping = False

    async def start(self) -> None:
        await self._decoder.start()

    async def close(self) -> None:
        await self._decoder.close()

    def keep(self, keeping: bool) -> None:
        """Whether everything from now on has to be kept, because an answer may begin in it."""
        self._keeping = keeping

    async def feed(self, data: bytes, at: float | None = None) -> None:
        """The next slice, which arrived ``at``."""
        at = self.clock() if at is None else at
        try:
            fragments = self._reader.feed(data)
        except FragmentError as error:
            self._ended(str(error))
            return
        self._arrivals.append((self._reader.received, at))
        for fragment in fragments:
            self._fragments.append((at, fragment))
            self._bytes += len(fragment.data)
        self._bound(at)
        await self._decoder.feed(data)

    def position(self, wall: float) -> float:
        """The stream's time of what had arrived by then."""
        pictures = [mark.t for mark in self.timeline.pictures if mark.at <= wall]
        sounds = [mark.t for mark in self.timeline.sounds if mark.at <= wall]
        return max([0.0, *pictures[-1:], *sounds[-1:]])

    def begin_clip(self, path: Path, start: float) -> None:
        self._clip = path, start

    def commit(self, until: float) -> None:
        """Nothing is to be done: the stream is kept until the clip is cut."""

    async def end_clip(self, end: float) -> int:
        assert self._clip is not None
        (path, start), self._clip = self._clip, None
        with Scratch("stream") as scratch:
            whole = scratch.path / "stream.mp4"
            whole.write_bytes(b"".join([self._reader.init, *(fragment.data for _, fragment in self._fragments)]))
            return await self._media.passage(whole, path, start, end)

    async def drop_clip(self) -> None:
        self._clip = None

    def _bound(self, now: float) -> None:
        """Forget what is long past, up to a fragment at which the stream can be entered."""
        if self._bytes > _MOST_BYTES:
            self._ended(f"more than {_MOST_BYTES >> 20} MiB of it can't be decoded without what came before")
        if self._keeping or self._clip is not None:
            return
        entry = 0
        for index, (at, fragment) in enumerate(self._fragments):
            if at > now - _KEPT_S:
                break
            if fragment.sync:
                entry = index
        for _ in range(entry):
            self._bytes -= len(self._fragments.popleft()[1].data)
        if entry:
            first = self._fragments[0][1].start
            self._arrivals = self._arrivals[bisect.bisect_left(self._arrivals, (first, 0.0)) :]

    def _arrived(self, needed: int) -> float:
        index = bisect.bisect_left(self._arrivals, (needed, 0.0))
        return self._arrivals[min(index, len(self._arrivals) - 1)][1]

    def _piece(self, piece: Piece) -> None:
        at = self._arrived(piece.needed)
        if piece.thumb is not None:
            self.timeline.picture(PictureMark(piece.t, at, piece.thumb))
        if piece.samples is not None:
            for mark in self._windows.take(piece.samples, piece.t, at):
                self.timeline.sound(mark)

    def _ended(self, why: str) -> None:
        self.broken = self.broken or (f"its stream can't be used: {why}" if why else "its stream has ended")
        self.timeline.touch()
