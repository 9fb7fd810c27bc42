"""One thread for answers that are computed in this process, step by step, several at once."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

from livetalk.thinkers.base import Delta, SpeechDelta, ThinkerError

log = logging.getLogger("livetalk.thinkers")

Steps: TypeAlias = Generator[Delta | None]
"""An answer being computed: its pieces, and None after a step of which nothing is seen."""


class _Job:
    """An answer under way.

    Args:
        deadline: when its next piece is due, by the worker's clock.
    """

    def __init__(self, steps: Steps, deadline: float) -> None:
        self.steps = steps
        self.deadline = deadline
        self.speaking = False
        self.cancelled = False
        self.pieces: asyncio.Queue[Delta | ThinkerError | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def give(self, piece: Delta | ThinkerError | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self.pieces.put_nowait, piece)
        except RuntimeError:  # whoever listened has gone, and the event loop with them
            self.cancelled = True


class Worker:
    """Runs answers in a thread of its own, off the event loop.

    All answers share the thread; the next step is always that of the answer whose sound runs out first, as if each
    were played from its first piece on. One that has not begun to speak has been due since it was asked for. So an
    answer that is far ahead of its listener makes way for a new one, and lets it catch up.

    Args:
        context: entered by the thread, e.g. the device and stream that it computes on.
        explain: what an unexpected error is for whoever listens; logged here.
        clock: seconds.
    """

    def __init__(
        self,
        *,
        context: Callable[[], AbstractContextManager[object]] = nullcontext,
        explain: Callable[[Exception], ThinkerError],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._explain, self._clock = context, explain, clock
        self._jobs: list[_Job] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="livetalk-thinker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End all answers with ``failed``; returns when the thread has ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    async def run(self, steps: Steps) -> AsyncGenerator[Delta]:
        """The pieces of an answer as the thread comes to them. Closing this ends the answer with the step it is at,
        and frees what it holds; it does not wait for that.

        Raises:
            ThinkerError: as the steps raise it; for anything else that they raise, what ``explain`` makes of it;
                ``failed`` once this has been stopped.
        """
        job = _Job(steps, self._clock())
        with self._changed:
            if self._stopping:
                raise _stopped()
            self._jobs.append(job)
            self._changed.notify()
        try:
            while (piece := await job.pieces.get()) is not None:
                if isinstance(piece, ThinkerError):
                    raise piece
                yield piece
        finally:
            with self._changed:
                job.cancelled = True
                self._changed.notify()

    def _work(self) -> None:
        with self._context():
            while (job := self._next()) is not None:
                self._step(job)

    def _next(self) -> _Job | None:
        """The job whose turn it is; waits for one. None when this is to stop."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._stopping)
                stopping = self._stopping
                left = [job for job in self._jobs if stopping or job.cancelled]
                self._jobs = [job for job in self._jobs if job not in left]
                if self._jobs and not left:
                    return min(self._jobs, key=lambda job: job.deadline)
            for job in left:
                job.steps.close()
                job.give(_stopped())
            if stopping:
                return None

    def _step(self, job: _Job) -> None:
        try:
            piece = next(job.steps)
        except StopIteration:
            self._end(job, None)
        except ThinkerError as error:
            self._end(job, ThinkerError(error.code, str(error)))
        except Exception as error:
            log.exception("An answer failed.")
            self._end(job, self._explain(error))
        else:
            if isinstance(piece, SpeechDelta):
                if not job.speaking:
                    job.speaking, job.deadline = True, self._clock()
                job.deadline += len(piece.samples) / piece.rate
            if piece is not None:
                job.give(piece)

    def _end(self, job: _Job, last: ThinkerError | None) -> None:
        """The errors that are passed on are new ones: a traceback would keep alive all that the answer held."""
        with self._changed:
            self._jobs.remove(job)
        job.give(last)


def _stopped() -> ThinkerError:
    return ThinkerError("failed", "The thinker was stopped; start it again.")
