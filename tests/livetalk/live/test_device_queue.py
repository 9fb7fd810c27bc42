"""Turn-taking on a shared device, and where a viewer stands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
from livetalk.live.device_queue import DeviceQueue, Playback

WAIT_S = 120.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Queue:
    """Threads that want a device which somebody else still holds."""

    def __init__(self, turns: DeviceQueue) -> None:
        self.turns = turns
        self.order: list[str] = []
        self._threads: list[threading.Thread] = []

    def join(self, name: str, deadline: Callable[[], float]) -> None:
        """Line up; returns once it waits."""

        def work() -> None:
            with self.turns.turn(deadline):
                self.order.append(name)

        before = self.turns.waiting
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)
        while self.turns.waiting == before:
            assert thread.is_alive()

    def finish(self) -> list[str]:
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "nobody handed the device on"
        return self.order


def test_the_earliest_deadline_goes_first() -> None:
    turns = DeviceQueue()
    queue = Queue(turns)
    with turns.turn(lambda: 0.0):
        for name, deadline in (("late", 9.0), ("soon", 1.0), ("later", 10.0), ("now", -5.0)):
            queue.join(name, partial(float, deadline))
        assert queue.order == []
    assert queue.finish() == ["now", "soon", "late", "later"]


def test_equal_deadlines_go_in_the_order_of_their_coming() -> None:
    turns = DeviceQueue()
    queue = Queue(turns)
    with turns.turn(lambda: 0.0):
        for name in "abcd":
            queue.join(name, lambda: 1.0)
    assert queue.finish() == list("abcd")


def test_deadlines_are_asked_anew_at_every_choice() -> None:
    """An answer that is interrupted while it waits stands in the way of the next one, and becomes urgent."""
    turns = DeviceQueue()
    queue = Queue(turns)
    deadlines = {"stopped": 50.0, "other": 10.0}
    with turns.turn(lambda: 0.0):
        queue.join("other", lambda: deadlines["other"])
        queue.join("stopped", lambda: deadlines["stopped"])
        deadlines["stopped"] = float("-inf")
    assert queue.finish() == ["stopped", "other"]


def test_one_piece_of_work_at_a_time() -> None:
    turns = DeviceQueue()
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with turns.turn(lambda: 0.0):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert most == 1 and turns.waiting == 0


def test_work_that_fails_hands_the_device_on() -> None:
    turns = DeviceQueue()
    queue = Queue(turns)
    with pytest.raises(RuntimeError, match="out of memory"), turns.turn(lambda: 0.0):
        queue.join("next", lambda: 1.0)
        raise RuntimeError("out of memory")
    assert queue.finish() == ["next"]


def test_playback_begins_with_the_first_fragment_however_late_it_is() -> None:
    clock = Clock()
    playback = Playback(clock, clock.now)
    assert playback.due(0.0) == 100.0 and playback.position() == 0.0
    clock.now += 3.0
    playback.deliver(0.5)
    assert playback.underruns == 0
    assert playback.due(0.5) == pytest.approx(103.5)
    clock.now += 0.25
    assert playback.position() == pytest.approx(0.25)
    clock.now += 10.0
    assert playback.position() == pytest.approx(0.5), "nobody watches what is not there"


def test_a_late_fragment_is_an_underrun_and_moves_everything_after_it() -> None:
    clock = Clock()
    playback = Playback(clock, clock.now)
    playback.deliver(0.5)
    clock.now += 0.5
    playback.deliver(0.75)  # just in time
    clock.now += 0.95
    playback.deliver(0.75)  # 0.2 s late
    assert playback.underruns == 1 and playback.underrun_s == pytest.approx(0.2)
    assert playback.due(2.0) == pytest.approx(102.2)
    assert playback.position() == pytest.approx(1.25)
    clock.now += 0.7
    playback.deliver(0.75)  # in time for a viewer who had to wait before
    assert playback.underruns == 1


def test_waiting_for_the_client_is_no_underrun() -> None:
    clock = Clock()
    playback = Playback(clock, clock.now)
    playback.deliver(0.5)
    clock.now += 4.0
    playback.hold(4.0)  # it read nothing for so long
    playback.deliver(0.75)
    assert playback.underruns == 0
    clock.now += 1.0
    playback.deliver(0.75)  # late again, and this time nobody else is to blame
    assert playback.underruns == 1 and playback.underrun_s == pytest.approx(0.25)


def test_a_client_that_reads_in_real_time_does_not_put_off_what_is_due() -> None:
    """Its reads hold the generator back all the time, and its playback goes on nevertheless."""
    clock = Clock()
    playback = Playback(clock, clock.now)
    for _ in range(8):
        playback.deliver(0.75)
    for _ in range(20):
        clock.now += 0.75
        playback.hold(0.75)
        playback.deliver(0.75)
    assert playback.due(0.0) == 100.0 and playback.underruns == 0
