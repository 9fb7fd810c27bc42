"""A bounded way from a working thread to a reader on an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass


class StalledError(Exception):
    """The reader takes nothing."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a stream and the video in them."""

    data: bytes
    frames: int


class PieceQueue:
    """Pieces of a stream from the thread that makes them to the one reader; a full pipe holds the writer back.

    Args:
        limit: pieces that may wait.
        patience_s: how long the writer waits for room; the clock is the machine's.
    """

    def __init__(self, limit: int, patience_s: float) -> None:
        self._limit = limit
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._room = threading.Condition()
        self._pieces: deque[Piece] = deque()
        self._ended = False
        self._open = self._holding = True
        self._last_taken = time.monotonic()

    def put(self, piece: Piece) -> None:
        """Hand on a piece; waits while the pipe is full. Without a reader the piece is dropped.

        Raises:
            StalledError: the reader took nothing for longer than it may.
        """
        with self._room:
            self._wait_until_below(self._limit)
            if self._open:
                self._pieces.append(piece)
        self._tell()

    def drain(self) -> None:
        """Wait until the reader has taken everything, or is gone.

        Raises:
            StalledError: the reader took nothing for longer than it may.
        """
        with self._room:
            self._wait_until_below(1)

    def end(self) -> None:
        """Nothing more comes."""
        with self._room:
            self._ended = True
        self._tell()

    def widen(self) -> None:
        """Hold the writer back no longer: the little that is still to come may wait here."""
        with self._room:
            self._holding = False
            self._room.notify_all()

    def leave(self) -> None:
        """The reader is gone: what waits is dropped, and the writer never waits again."""
        with self._room:
            self._open = self._holding = False
            self._pieces.clear()
            self._room.notify_all()
        self._tell()

    async def get(self) -> Piece | None:
        """The next piece; None after the last. For the one reader, on the loop."""
        while True:
            self._news.clear()
            with self._room:
                if self._pieces:
                    self._last_taken = time.monotonic()
                    self._room.notify_all()
                    return self._pieces.popleft()
                if self._ended or not self._open:
                    return None
            await self._news.wait()

    def _wait_until_below(self, limit: float) -> None:
        began = time.monotonic()
        while self._holding and len(self._pieces) >= limit:
            patience = max(self._last_taken, began) + self._patience_s - time.monotonic()
            if patience <= 0:
                raise StalledError
            self._room.wait(patience)

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._news.set)
