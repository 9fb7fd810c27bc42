"""How many requests go out, in which order, and to which server."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from interbench.judge.vlm.schedule import Throttle, server_of, server_with_room


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_conversation_stays_with_its_server() -> None:
    servers = [f"http://gpu{n}:8000" for n in range(4)]
    keys = [f"system/{n}" for n in range(400)]
    homes = {key: server_of(key, servers) for key in keys}
    assert homes == {key: server_of(key, servers) for key in keys}
    assert min(Counter(homes.values()).values()) > 60
    fewer = servers[:3]
    moved = [key for key in keys if homes[key] < 3 and server_of(key, fewer) != homes[key]]
    assert moved == []


def test_no_server_has_much_more_than_its_share() -> None:
    servers = [f"judge-{n}" for n in range(16)]
    live = [0] * 16
    alone = Counter(server_of(f"system/{n}", servers) for n in range(64))
    for n in range(64):
        live[server_with_room(f"system/{n}", servers, live)] += 1
    assert sum(live) == 64
    assert max(live) == 5 < max(alone.values())
    idle = [0] * 16
    assert all(server_with_room(f"s/{n}", servers, idle) == server_of(f"s/{n}", servers) for n in range(50))
    assert server_with_room("s/1", servers[:1], [7]) == 0


def test_grows_while_latency_holds_and_never_beyond_its_most() -> None:
    throttle = Throttle(start=2, most=5)
    for _ in range(100):
        throttle.answered(1.0, first=False)
    assert (throttle.limit, throttle.highest) == (5, 5)


def test_stops_growing_when_latency_does_not_hold() -> None:
    throttle = Throttle(start=2, most=64, tolerance=2.0)
    for _ in range(5):
        throttle.answered(1.0, first=False)
    for _ in range(20):
        throttle.answered(10.0, first=False)
    before = throttle.limit
    for _ in range(50):
        throttle.answered(10.0, first=False)
    assert throttle.limit == before < 10


def test_slow_beginnings_do_not_count_against_followers() -> None:
    throttle = Throttle(start=2, most=8)
    for _ in range(100):
        throttle.answered(30.0, first=True)
        throttle.answered(1.0, first=False)
    assert throttle.limit == 8


def test_halves_once_for_refusals_of_the_same_moment() -> None:
    clock = Clock()
    throttle = Throttle(start=16, most=32, clock=clock)
    for _ in range(9):
        throttle.overloaded()
    assert (throttle.limit, throttle.backoffs) == (8, 1)
    clock.now = 1.5
    throttle.overloaded()
    assert (throttle.limit, throttle.backoffs) == (4, 2)
    for second in range(10):
        clock.now = 3.0 + 2 * second
        throttle.overloaded()
    assert throttle.limit == 1


async def test_followers_go_before_new_conversations() -> None:
    throttle = Throttle(start=1, most=1)
    order: list[str] = []

    async def one(name: str, first: bool) -> None:
        async with throttle.slot(first=first):
            order.append(name)

    async with throttle.slot(first=True):
        waiting = [asyncio.create_task(one(name, first)) for name, first in (("new", True), ("a", False), ("b", False))]
        for _ in waiting:
            await asyncio.sleep(0)
        assert len(throttle._waiting) == 3
    await asyncio.gather(*waiting)
    assert order == ["a", "b", "new"]
    assert throttle.in_flight == 0


async def test_a_cancelled_request_gives_its_place_back() -> None:
    throttle = Throttle(start=1, most=1)

    async def hold() -> None:
        async with throttle.slot(first=False):
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    waiter = asyncio.create_task(hold())
    for _ in range(2):
        await asyncio.sleep(0)
    assert len(throttle._waiting) == 1
    for task in (waiter, holder):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(5), throttle.slot(first=False):
        assert throttle.in_flight == 1
    assert throttle.in_flight == 0


async def test_never_more_than_the_limit_at_once() -> None:
    throttle = Throttle(start=3, most=3)
    most = 0

    async def one() -> None:
        nonlocal most
        async with throttle.slot(first=False):
            most = max(most, throttle.in_flight)
            await asyncio.sleep(0)

    await asyncio.gather(*(one() for _ in range(50)))
    assert most == 3
