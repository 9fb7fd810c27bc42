"""Threads of a performer, and how what one makes reaches the next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

_A = TypeVar("_A")
_B = TypeVar("_B")
_END: Any = object()


class Threads:
    """One thread that listens, one that draws and one that finishes, begun when they are first used; they end when this
    is left as a context, or is gone."""

    def __init__(self) -> None:
        self.listening = ThreadPoolExecutor(1, "livetalk-speech")
        self.drawing = ThreadPoolExecutor(1, "livetalk-render")
        self.finishing = ThreadPoolExecutor(1, "livetalk-decode")

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self.listening, self.drawing, self.finishing):
            one.shutdown()


class Quiet:
    """Several may be at work at once, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at_work = 0
        self._alone = False

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Wait until nobody is alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._at_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody is at work, and keep it so."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._alone = True  # nobody begins any more
            self._changed.wait_for(lambda: self._at_work == 0)
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()


def drawn(source: Iterator[_A], thread: ThreadPoolExecutor, *, ahead: bool) -> Generator[_A]:
    """The source's items, each drawn in the thread; ``ahead``, while whoever took the last is at work on it.

    Closed, it waits for the item that is being drawn.
    """
    upcoming = thread.submit(next, source, _END)
    try:
        while (item := upcoming.result()) is not _END:
            if ahead:
                upcoming = thread.submit(next, source, _END)
            yield item
            if not ahead:
                upcoming = thread.submit(next, source, _END)
    finally:
        wait([upcoming])


def handed_out(
    source: Generator[_A],
    parts: Callable[[_A], Sequence[Callable[[], _B]]],
    stop: threading.Event,
    threads: Threads,
    *,
    overlap: bool,
) -> Generator[_B]:
    """The parts of every item of the source, each finished in turn; with ``overlap`` the next item is drawn meanwhile.

    However it is left early, it sets ``stop``, by which the source ends; closed, it first finishes what was drawn.
    """
    closed = False
    upcoming = threads.drawing.submit(next, source, _END)
    finishing: list[Future[_B]] = []
    try:
        while (item := upcoming.result()) is not _END:
            if overlap:
                upcoming = threads.drawing.submit(next, source, _END)
            finishing = [threads.finishing.submit(part) for part in parts(item)]
            for future in finishing:
                finished = future.result()
                try:
                    if not closed:
                        yield finished
                except GeneratorExit:
                    closed = True
                    stop.set()
            if not overlap:
                upcoming = threads.drawing.submit(next, source, _END)
    finally:
        stop.set()
        unfinished: list[Future[Any]] = [upcoming, *finishing]
        wait(unfinished)
        source.close()
