"""A feed of two tracks that are received and decoded separately, such as those of WebRTC."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from interbench.media.limits import Limits
from interbench.media.raw import Picture, brightness
from interbench.media.recording import FilmRecorder, picture_bytes
from interbench.systems.live.timeline import PictureMark, Samples, SoundMark, Timeline, Windows, thumb

RATE = 48_000
"""Samples per second of what is recorded; that of Opus."""
_KEPT_S, _LONG_KEPT_S = 3.0, 60.0
_KEPT_BYTES = 384 * 2**20
_MOST_WAITING = 256 * 2**20
"""Bytes of pictures that wait to be encoded; what comes meanwhile is kept, and bounded, here."""
_WITHIN_S = 10.0
_MOST_PICTURES = 2400
"""Within so many seconds; a machine that was held up gets those of some seconds at once."""
_MOST_AHEAD_S = 30.0
"""So much more sound than time has passed."""


class FeedError(Exception):
    """More is sent than is taken; the message says what."""


class _Laid:
    """Lays a track's own time stamps onto the harness's clock: its least delayed packet came at once."""

    def __init__(self, held_s: float) -> None:
        self._held_s = held_s
        self._offset: float | None = None

    def __call__(self, stamp: float, at: float) -> float:
        offset = at - self._held_s - stamp
        self._offset = offset if self._offset is None else min(self._offset, offset)
        return self._offset + stamp


class TrackFeed:
    """Takes decoded pictures and sounds as they arrive and cuts clips out of them.

    Args:
        picture_held_s: how long the receiver holds a picture back before it hands it over.
        sound_held_s: likewise, of sound; both are taken off, so that picture and sound stay in step.
        limits: of a picture's size.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        picture_held_s: float = 0.0,
        sound_held_s: float = 0.0,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeline = Timeline()
        self.clock = clock
        self._laid_picture, self._laid_sound = _Laid(picture_held_s), _Laid(sound_held_s)
        self._windows = Windows(RATE)
        self._pictures: deque[tuple[float, Picture]] = deque()
        self._sounds: deque[tuple[float, Samples]] = deque()
        self._sound_end: tuple[float, float] | None = None
        """(the track's own time, feed time) at which the latest piece of sound ended."""
        self._bytes = 0
        self._most_pixels = (limits or Limits()).pixels
        self._arrivals: deque[float] = deque(maxlen=_MOST_PICTURES)
        self._heard_s = 0.0
        self._first_heard: float | None = None
        self._recorder: FilmRecorder | None = None
        self._start = 0.0
        self._cut = 0.0
        self._keeping = False

    def position(self, wall: float) -> float:
        """The feed time of a reading of the harness's clock."""
        return wall

    def keep(self, keeping: bool) -> None:
        """Whether what comes from now on may belong to an answer."""
        self._keeping = keeping

    def admit(self, width: int, height: int) -> None:
        """See that a picture is of a size that is taken; for who can ask before a picture is copied.

        Raises:
            FeedError: it is not.
        """
        if not 0 < width * height <= self._most_pixels:
            raise FeedError(
                f"a picture of {width}x{height} pixels came, and more than {self._most_pixels:,} are refused"
            )

    def picture(self, frame: Picture, stamp: float, at: float | None = None) -> None:
        """A picture whose track calls its time ``stamp`` seconds, and which arrived ``at``.

        Raises:
            FeedError: it is too large, or one of too many.
        """
        at = self.clock() if at is None else at
        self.admit(frame.width, frame.height)
        if len(self._arrivals) == _MOST_PICTURES and at - self._arrivals[0] < _WITHIN_S:
            raise FeedError(f"more than {_MOST_PICTURES:,} pictures came within {_WITHIN_S:g} s")
        self._arrivals.append(at)
        t = self._laid_picture(stamp, at)
        if self._pictures and t <= self._pictures[-1][0]:
            t = self._pictures[-1][0] + 1e-4
        self.timeline.picture(PictureMark(t, at, thumb(brightness(frame))))
        self._pictures.append((t, frame))
        self._bytes += picture_bytes(frame)
        self._bound(t)

    def sound(self, samples: Samples, stamp: float, at: float | None = None) -> None:
        """Mono samples in -1..1 at :data:`RATE` that begin at ``stamp`` on their track's clock, and arrived ``at``.

        Raises:
            FeedError: much more sound has come than time has passed.
        """
        at = self.clock() if at is None else at
        self._first_heard = at if self._first_heard is None else self._first_heard
        self._heard_s += len(samples) / RATE
        if self._heard_s - (at - self._first_heard) > _MOST_AHEAD_S:
            raise FeedError(f"{self._heard_s:.0f} s of sound came within {at - self._first_heard:.0f} s")
        t = self._laid_sound(stamp, at)
        if (before := self._sound_end) is not None and abs(stamp - before[0]) < 0.002 and abs(t - before[1]) < 0.01:
            t = before[1]  # in one piece with what came before
        self._sound_end = stamp + len(samples) / RATE, t + len(samples) / RATE
        marks: list[SoundMark] = self._windows.take(samples, t, at)
        for mark in marks:
            self.timeline.sound(mark)
        self._sounds.append((t, samples))
        self._bound(t)

    def begin_clip(self, path: Path, start: float) -> None:
        """Write what comes from feed time ``start`` on to ``path``, as far as :meth:`commit` says."""
        self._recorder = FilmRecorder(path, RATE)
        self._start = self._cut = start

    def commit(self, until: float) -> None:
        """What lies before that feed time belongs to the clip."""
        recorder = self._recorder
        if recorder is not None and recorder.waiting <= _MOST_WAITING:
            self._hand_over(recorder, until)

    def _hand_over(self, recorder: FilmRecorder, until: float) -> None:
        if until <= self._cut:
            return
        before: Picture | None = None
        while self._pictures and self._pictures[0][0] < until:
            t, frame = self._take_picture()
            if t < self._start:
                before = frame
                continue
            if before is not None and not recorder.frames and t > self._start:
                recorder.picture(before, 0.0)  # what is on screen when the clip begins
            before = None
            recorder.picture(frame, t - self._start)
        if before is not None and not recorder.frames:
            recorder.picture(before, 0.0)
        while self._sounds and self._sounds[0][0] < until:
            t, samples = self._sounds.popleft()
            end = t + len(samples) / RATE
            if end > until:
                keep = round((until - t) * RATE)
                self._sounds.appendleft((until, samples[keep:]))
                samples = samples[:keep]
            if t < self._start:
                samples = samples[round((self._start - t) * RATE) :]
                t = self._start
            if len(samples):
                recorder.sound(samples, t - self._start)
        self._cut = until

    async def end_clip(self, end: float) -> int:
        """The clip ends at that feed time; gives how many pictures it has."""
        recorder, self._recorder = self._recorder, None
        assert recorder is not None
        self._hand_over(recorder, end)
        if not recorder.frames:
            await recorder.drop()
            recorder.path.unlink(missing_ok=True)
            return 0
        await recorder.finish(end - self._start)
        return recorder.frames

    async def drop_clip(self) -> None:
        """Stop writing a clip that comes to no end."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            await recorder.drop()

    def _take_picture(self) -> tuple[float, Picture]:
        t, frame = self._pictures.popleft()
        self._bytes -= picture_bytes(frame)
        return t, frame

    def _bound(self, now: float) -> None:
        kept_s = _LONG_KEPT_S if self._keeping or self._recorder is not None else _KEPT_S
        while len(self._pictures) > 1 and (self._pictures[0][0] < now - kept_s or self._bytes > _KEPT_BYTES):
            self._take_picture()
        while self._sounds and self._sounds[0][0] < now - kept_s:
            self._sounds.popleft()
