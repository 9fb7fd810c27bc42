"""Who uses a shared device next, and how soon each viewer needs it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Deadline = Callable[[], float]
"""When a piece of work must be done, on the engine's clock; asked anew at every choice."""


class DeviceQueue:
    """A device taken in turns, one piece of work at a time: of those who wait, the earliest deadline goes first.

    Equal deadlines go in the order of their coming. Work that has begun is never interrupted.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrivals = itertools.count()
        self._waiting: list[tuple[int, Deadline, threading.Event]] = []
        self._taken = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return len(self._waiting)

    @contextmanager
    def turn(self, deadline: Deadline) -> Iterator[None]:
        """Wait for one's turn and hold the device until the context is left."""
        self._enter(deadline)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, deadline: Deadline) -> None:
        admitted = threading.Event()
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            self._waiting.append((next(self._arrivals), deadline, admitted))
        admitted.wait()

    def _leave(self) -> None:
        with self._lock:
            if not self._waiting:
                self._taken = False
                return
            chosen = min(self._waiting, key=lambda entry: (entry[1](), entry[0]))
            self._waiting.remove(chosen)
        chosen[2].set()  # handed over: nobody who comes now can step in between


class Playback:
    """Where a viewer stands who plays an answer from its first fragment on, as the fragments come.

    Seconds are those of ``clock``. Where playback has to wait for a fragment, that is an underrun, and everything later
    is due that much later. Safe to use from several threads.

    Args:
        clock: what time it is.
        begun: when the answer was asked for: its first fragment is due at once.
    """

    def __init__(self, clock: Callable[[], float], begun: float) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._origin = begun  # when the video's time 0 is played, or would be without any wait to come
        self._started = False
        self._delivered = 0.0
        self._held = 0.0
        self.underruns = 0
        self.underrun_s = 0.0

    def due(self, video_s: float) -> float:
        """When the picture at this second of the answer is needed."""
        with self._lock:
            return self._origin + video_s

    def deliver(self, video_s: float) -> None:
        """So much more video is there."""
        with self._lock:
            late = self._clock() - (self._origin + self._delivered)
            if not self._started or late > 0:
                self._origin += late
            if self._started and late > self._held:
                self.underruns += 1
                self.underrun_s += late - self._held
            self._started, self._held = True, 0.0
            self._delivered += video_s

    def hold(self, seconds: float) -> None:
        """Generation waited so long for the client to read: if the next fragment comes late by that, it is no
        underrun."""
        with self._lock:
            self._held += seconds

    def position(self) -> float:
        """Seconds of the answer that have been played by now."""
        with self._lock:
            if not self._started:
                return 0.0
            return min(max(0.0, self._clock() - self._origin), self._delivered)
