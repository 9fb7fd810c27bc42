"""When pictures and sounds of a live stream arrived, how loud these are and whether those move.

A *feed's* time is in seconds. For tracks that are received separately it is the harness's monotonic clock, onto which
each track's own time stamps are laid so that the earliest of its packets came without delay: that takes the network's
jitter out and leaves one clock for both. For one stream of both it is the stream's own.
"""

from __future__ import annotations

import asyncio
import bisect
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Thumb = npt.NDArray[np.uint8]
WINDOW_S = 0.02
FLOOR_DB = -50.0
"""dBFS; as in :attr:`interbench.domain.records.ClipFacts.audible`."""
_ABOVE_IDLE_DB = 10.0
"""What is not so much louder than what is heard while the avatar idles is not speech."""
_MOST_FLOOR_DB = -25.0
_IDLE_S = 2.0
_THUMB = 48
_NOTHING_DB = -120.0


@dataclass(frozen=True, slots=True)
class SoundMark:
    """20 ms of sound."""

    t: float
    """Feed time."""
    at: float
    """When it arrived, on the harness's clock."""
    db: float
    """Level, dBFS."""


@dataclass(frozen=True, slots=True)
class PictureMark:
    """One picture."""

    t: float
    at: float
    thumb: Thumb
    """Brightness at a grid of points."""


def levels(samples: Samples, rate: int) -> npt.NDArray[np.float64]:
    """Level in dBFS of every whole 20 ms of mono samples in -1..1; a constant offset is no sound."""
    size = round(WINDOW_S * rate)
    count = len(samples) // size
    windows = samples[: count * size].reshape(count, size).astype(np.float64)
    found: npt.NDArray[np.float64] = 10 * np.log10(np.maximum(windows.var(axis=1), 1e-12))
    return found


def thumb(brightness: npt.NDArray[np.uint8]) -> Thumb:
    """A picture's brightness, height × width, at a grid of points: enough to tell whether anything moves."""
    height, width = brightness.shape
    found: Thumb = np.ascontiguousarray(brightness[:: max(1, height // _THUMB), :: max(1, width // _THUMB)])
    return found


class Timeline:
    """The marks of one live stream, those of long ago forgotten."""

    def __init__(self) -> None:
        self.sounds: list[SoundMark] = []
        self.pictures: list[PictureMark] = []
        self._changed = asyncio.Event()

    def sound(self, mark: SoundMark) -> None:
        self.sounds.append(mark)
        self.touch()

    def picture(self, mark: PictureMark) -> None:
        self.pictures.append(mark)

    def touch(self) -> None:
        """Wake whoever waits."""
        self._changed.set()

    async def wait(self, limit_s: float) -> None:
        """Until something is new, at most ``limit_s``."""
        try:
            async with asyncio.timeout(limit_s):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    def forget(self, before: float) -> None:
        """Drop marks of before that feed time."""
        self.sounds = self.sounds[bisect.bisect_left(self.sounds, before, key=lambda mark: mark.t) :]
        self.pictures = [mark for mark in self.pictures if mark.t >= before]

    def threshold(self, before: float) -> float:
        """The level above which something is heard: that of silence, or of the idle sound before that feed time."""
        idle = [mark.db for mark in self.sounds if before - _IDLE_S <= mark.t < before]
        if len(idle) < 10:
            return FLOOR_DB
        usual = float(np.percentile(idle, 90))
        return min(max(FLOOR_DB, usual + _ABOVE_IDLE_DB), _MOST_FLOOR_DB)

    def first_audible(self, since: float, threshold: float) -> SoundMark | None:
        return next((mark for mark in self.sounds if mark.t >= since and mark.db > threshold), None)

    def last_audible(self, since: float, threshold: float) -> SoundMark | None:
        for mark in reversed(self.sounds):
            if mark.t < since:
                return None
            if mark.db > threshold:
                return mark
        return None

    def fell_silent(self, since: float, threshold: float, least_s: float) -> SoundMark | None:
        """The last sound before the first silence of ``least_s`` that reaches beyond feed time ``since``; None if there
        is no such silence yet."""
        last: SoundMark | None = None
        for mark in self.sounds:
            if mark.db > threshold:
                last = mark
            elif last is not None and mark.t >= since and mark.t - last.t >= least_s:
                return last
        return None

    @property
    def latest(self) -> SoundMark | None:
        return self.sounds[-1] if self.sounds else None


class Windows:
    """Cuts pieces of sound of any length into windows of 20 ms.

    Args:
        rate: samples per second.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._size = round(WINDOW_S * rate)
        self._rest: Samples = np.zeros(0, np.float32)
        self._end: float | None = None

    def take(self, samples: Samples, t: float, at: float) -> list[SoundMark]:
        """The windows that are full with this piece, which begins at feed time ``t`` and arrived ``at``."""
        if self._end is None or abs(t - self._end) > WINDOW_S / 2:
            self._rest = self._rest[:0]  # what is missing in between makes no window
        start = t - len(self._rest) / self.rate
        joined = np.concatenate([self._rest, samples])
        found = levels(joined, self.rate)
        self._rest = joined[len(found) * self._size :]
        self._end = t + len(samples) / self.rate
        return [SoundMark(start + index * WINDOW_S, at, float(db)) for index, db in enumerate(found)]
