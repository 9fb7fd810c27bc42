"""The thread that computes several answers at once: whose turn it is, and how answers end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from livetalk.thinkers.base import Delta, SpeechDelta, TextDelta, ThinkerError
from livetalk.thinkers.worker import Steps, Worker


def speech(seconds: float) -> SpeechDelta:
    return SpeechDelta(np.zeros(int(seconds * 100), np.float32), 100)


HOLD = object()
"""A step that holds the thread until `release`, so that what is asked meanwhile is there all at once."""


class Bench:
    """A worker with a clock that is set by hand, and a note of every step it took."""

    def __init__(self) -> None:
        self.now = 0.0
        self.taken: list[str] = []
        self.closed: list[str] = []
        self._holding, self._gate = threading.Event(), threading.Event()
        self.worker = Worker(explain=lambda error: ThinkerError("failed", f"made of {error}"), clock=lambda: self.now)

    def steps(self, name: str, *pieces: Any) -> Steps:
        """An answer of these pieces; an exception among them is raised."""
        try:
            for piece in pieces:
                self.taken.append(name)
                if isinstance(piece, Exception):
                    raise piece
                if piece is HOLD:
                    self._holding.set()
                    self._gate.wait()
                yield None if piece is HOLD else piece
        finally:
            self.closed.append(name)

    async def holding(self) -> None:
        """Wait until the thread is held."""
        await asyncio.to_thread(self._holding.wait)

    def release(self) -> None:
        self._gate.set()

    async def all_at_once(self, *answers: Steps) -> list[list[Delta]]:
        gate = asyncio.create_task(listen(self.worker.run(self.steps("", HOLD))))
        await self.holding()
        given = [asyncio.create_task(listen(self.worker.run(answer))) for answer in answers]
        await asyncio.sleep(0)  # lets them ask
        self.release()
        await gate
        return await asyncio.gather(*given)


async def listen(answer: AsyncIterator[Delta]) -> list[Delta]:
    return [piece async for piece in answer]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    bench.worker.start()
    yield bench
    bench.release()
    bench.worker.stop()


async def test_pieces_come_in_order_and_steps_without_any_are_not_seen(bench: Bench) -> None:
    pieces = [TextDelta("a"), speech(1), TextDelta("b"), speech(2)]
    assert await listen(bench.worker.run(bench.steps("x", None, *pieces[:2], None, *pieces[2:], None))) == pieces
    assert bench.closed == ["x"]


async def test_answers_that_are_as_far_take_turns(bench: Bench) -> None:
    first, second = bench.steps("A", *[speech(1)] * 3), bench.steps("B", *[speech(1)] * 3)
    given = await bench.all_at_once(first, second)
    assert [len(pieces) for pieces in given] == [3, 3]
    # The last turns are those that find an answer at its end.
    assert "".join(bench.taken) == "ABABAB"


async def test_whose_sound_runs_out_first_is_next(bench: Bench) -> None:
    await bench.all_at_once(bench.steps("A", *[speech(4)] * 2), bench.steps("B", *[speech(1)] * 6))
    assert "".join(bench.taken) == "ABBBBABB"


async def test_new_answer_is_due_at_once(bench: Bench) -> None:
    """A is seven seconds ahead of its listener when B is asked for; B begins and goes on until it is as far."""
    early = bench.worker.run(bench.steps("A", speech(10), HOLD, speech(1), speech(1)))
    await anext(early)
    await bench.holding()
    bench.now = 3.0
    late = asyncio.create_task(listen(bench.worker.run(bench.steps("B", None, None, *[speech(2)] * 5))))
    await asyncio.sleep(0)
    bench.release()
    assert len(await late) == 5
    assert len(await listen(early)) == 2
    assert "".join(bench.taken) == "AABBBBBBAAB"


async def test_cancelled_answer_is_closed_before_the_next_step(bench: Bench) -> None:
    cancelled = bench.worker.run(bench.steps("A", *[TextDelta("a")] * 100_000))
    await anext(cancelled)
    await cancelled.aclose()
    assert await listen(bench.worker.run(bench.steps("B", TextDelta("b")))) == [TextDelta("b")]
    assert bench.closed == ["A", "B"]
    assert bench.taken.count("A") < 100_000


async def test_cancelled_task_cancels_its_answer(bench: Bench) -> None:
    task = asyncio.create_task(listen(bench.worker.run(bench.steps("A", HOLD, TextDelta("a")))))
    await bench.holding()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    bench.release()
    assert await listen(bench.worker.run(bench.steps("B", TextDelta("b")))) == [TextDelta("b")]
    assert task.cancelled()
    assert bench.taken == ["A", "B"]


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (ThinkerError("unsupported", "No words."), "unsupported", "No words."),
        (ValueError("a stray value"), "failed", "made of a stray value"),
    ],
)
async def test_error_ends_one_answer(bench: Bench, raised: Exception, code: str, message: str) -> None:
    answer = bench.worker.run(bench.steps("A", TextDelta("a"), raised))
    assert await anext(answer) == TextDelta("a")
    with pytest.raises(ThinkerError) as error:
        await anext(answer)
    assert (error.value.code, str(error.value)) == (code, message)
    assert error.value is not raised, "the first one's traceback holds what the answer held"
    assert await listen(bench.worker.run(bench.steps("B", TextDelta("b")))) == [TextDelta("b")]


async def test_stop_ends_what_runs_and_what_comes(bench: Bench) -> None:
    running = bench.worker.run(bench.steps("A", *[TextDelta("a")] * 100_000))
    await anext(running)
    bench.worker.stop()
    with pytest.raises(ThinkerError, match="stopped"):
        await listen(running)
    with pytest.raises(ThinkerError, match="stopped"):
        await listen(bench.worker.run(bench.steps("B", TextDelta("b"))))
    assert bench.closed[0] == "A"
    assert "B" not in bench.taken


def test_listener_whose_loop_is_gone_is_forgotten(bench: Bench) -> None:
    loop = asyncio.new_event_loop()
    abandoned = bench.worker.run(bench.steps("A", *[TextDelta("a")] * 100_000))
    loop.run_until_complete(anext(abandoned))
    loop.close()
    assert asyncio.run(listen(bench.worker.run(bench.steps("B", TextDelta("b"))))) == [TextDelta("b")]
    assert bench.closed == ["A", "B"]
