"""Thinker, renderer, decoder and encoder at work side by side, on a clock that only moves when the test says so.

Every stage really runs (tiny networks, a real encoder) and takes a stated time on that clock besides. The test waits
until exactly those stages are at work that should be, and only then lets the time go on: what it asserts about times
holds on every machine, however slow.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from known import known
from livetalk.live.engine import Engine
from livetalk.live.session import Session
from livetalk.live.turns import Outcome, UserTurn
from livetalk.render.model.block import BlockGenerator
from livetalk.render.pipeline import Models
from livetalk.render.vae import VAEStream
from livetalk.thinkers.base import Delta, Question, TextDelta, Thinker
from livetalk.video.fragments import FragmentWriter
from session_kit import make_engine, pocket_models, read, speech

WAIT_S = 120.0
DENOISE_S, CLEAN_S, DECODE_S, ENCODE_S = 0.10, 0.02, 0.12, 0.12
TURN = UserTurn(text="Tell me everything.")


class Clock:
    """Time passes where the test lets it. Whoever works is known by name."""

    def __init__(self) -> None:
        self.now = 0.0
        self.names: dict[int, str] = {}
        """What is added to the name of work that these objects do."""
        self._at_work: dict[str, tuple[float, threading.Event]] = {}
        self._changed = threading.Condition()
        self._free = False

    def __call__(self) -> float:
        return self.now

    def work(self, name: str, seconds: float) -> None:
        """Be at work for so long."""
        over = threading.Event()
        with self._changed:
            if self._free:
                return
            self._at_work[name] = (self.now + seconds, over)
            self._changed.notify_all()
        assert over.wait(WAIT_S), f"{name} was never finished"

    async def sleep(self, name: str, seconds: float) -> None:
        await asyncio.to_thread(self.work, name, seconds)

    async def at_work(self, *names: str) -> None:
        """Wait until exactly these are at work."""

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: set(self._at_work) == set(names), WAIT_S)

        met = await asyncio.to_thread(wait)
        assert met, f"at {self.now:.2f} s at work: {sorted(self._at_work)}, expected: {sorted(names)}"

    def go_on(self, now: float) -> None:
        """Let the time pass until the next piece of work is over, which is expected to be at `now`."""
        with self._changed:
            self.now = min(due for due, _ in self._at_work.values())
            assert self.now == pytest.approx(now)
            for name, (due, over) in list(self._at_work.items()):
                if due <= self.now + 1e-9:
                    del self._at_work[name]
                    over.set()

    def run_free(self) -> None:
        """Nothing takes any time from now on."""
        with self._changed:
            self._free = True
            for _, over in self._at_work.values():
                over.set()
            self._at_work.clear()


class SpeakingThinker(Thinker):
    """Speaks a second of sound at a time: the first after 0.3 s, then one every 0.2 s, eight in all."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def answer(self, question: Question) -> AsyncIterator[Delta]:
        for piece in range(8):
            await self.clock.sleep(f"speech {piece}", 0.2 if piece else 0.3)
            if not piece:
                yield TextDelta("A long story.")
            yield speech(1.0, piece)


class ReadyThinker(Thinker):
    """Has eight seconds of speech ready."""

    async def answer(self, question: Question) -> AsyncIterator[Delta]:
        yield TextDelta("A long story.")
        yield speech(8.0)


@pytest.fixture(scope="module")
def models() -> Models:
    return pocket_models()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Also makes every stage take its time. Of several conversations the work is named after them: A, B, …"""
    clock = Clock()
    counts: dict[tuple[int, str], Any] = {}

    def timed(owner: type, method: str, stage: str, seconds: float) -> None:
        original = getattr(owner, method)

        def work(self: Any, *args: Any) -> Any:
            count = next(counts.setdefault((id(self), stage), itertools.count()))
            clock.work(f"{stage} {count}{clock.names.get(id(self), '')}", seconds)
            return original(self, *args)

        monkeypatch.setattr(owner, method, work)

    timed(BlockGenerator, "denoise", "denoise", DENOISE_S)
    timed(BlockGenerator, "clean", "clean", CLEAN_S)
    timed(VAEStream, "decode", "decode", DECODE_S)
    timed(FragmentWriter, "write", "encode", ENCODE_S)
    return clock


@pytest.fixture
async def converse(models: Models, clock: Clock) -> AsyncIterator[Callable[..., Any]]:
    engines = []

    async def start(thinker: Thinker, conversations: int = 1) -> tuple[Engine, list[Session]]:
        engine = make_engine(models, thinker, clock=clock, capacity=conversations)
        engines.append(engine)
        await engine.start()
        sessions = [await engine.open(seed=seed) for seed in range(conversations)]
        for letter, session in zip(["A", "B", "C"] if conversations > 1 else [""], sessions, strict=False):
            performer = known(session._context).performer
            for owner in (performer.generator, performer.decoder):
                clock.names[id(owner)] = f" {letter}".rstrip()
        return engine, sessions

    yield start
    clock.run_free()
    for engine in engines:
        await engine.stop()


async def test_the_first_frame_needs_the_first_window_and_the_first_block_and_nothing_more(
    converse: Callable[..., Any], clock: Clock
) -> None:
    _, [session] = await converse(SpeakingThinker(clock))
    answer = session.respond(TURN)
    first = asyncio.ensure_future(anext(answer))
    await clock.at_work("speech 0")
    clock.go_on(0.3)
    await clock.at_work("denoise 0", "speech 1")
    clock.go_on(0.4)
    await clock.at_work("decode 0", "clean 0", "speech 1")
    clock.go_on(0.42)  # the clean pass is over; the second block still lacks its sound
    await clock.at_work("decode 0", "speech 1")
    clock.go_on(0.5)
    await clock.at_work("decode 0", "denoise 1", "speech 2")
    clock.go_on(0.52)
    await clock.at_work("encode 0", "denoise 1", "speech 2")
    clock.go_on(0.6)
    # All four at once, each at another block.
    await clock.at_work("encode 0", "decode 1", "clean 1", "speech 2")
    assert not first.done()
    clock.go_on(0.62)
    await clock.at_work("encode 0", "decode 1", "speech 2")
    clock.go_on(0.64)
    assert (await asyncio.wait_for(first, WAIT_S))[4:8] == b"ftyp"
    timings = session.record(1).timings
    assert timings.thinker_first_text_s == timings.thinker_first_sound_s == pytest.approx(0.3)
    assert timings.first_window_s == pytest.approx(0.3)
    assert timings.first_block_s == pytest.approx(0.3 + DENOISE_S + DECODE_S)
    assert timings.first_fragment_s == pytest.approx(0.3 + DENOISE_S + DECODE_S + ENCODE_S)
    assert timings.finished_s is None, "the thinker still speaks"
    clock.run_free()
    await asyncio.wait_for(read(answer), WAIT_S)
    assert session.record(1).outcome is Outcome.completed


async def test_a_thinker_ahead_of_time_keeps_every_stage_at_work(converse: Callable[..., Any], clock: Clock) -> None:
    """Steady state: the slowest stage sets the pace, a block every 0.12 s."""
    _, [session] = await converse(ReadyThinker())
    reading = asyncio.ensure_future(read(session.respond(TURN)))
    await clock.at_work("denoise 0")
    clock.go_on(0.10)
    await clock.at_work("decode 0", "clean 0")
    clock.go_on(0.12)
    await clock.at_work("decode 0", "denoise 1")
    for block in range(1, 6):
        at = 0.10 + DECODE_S * block
        clock.go_on(at)  # a block is decoded, and the next one denoised, at the same moment
        await clock.at_work(f"encode {block - 1}", f"decode {block}", f"clean {block}")
        clock.go_on(at + CLEAN_S)
        await clock.at_work(f"encode {block - 1}", f"decode {block}", f"denoise {block + 1}")
    # The renderer was the busiest: six blocks by now, of which four have been coded.
    rendering_s = 6 * (DENOISE_S + CLEAN_S)
    assert session.record(1).real_time_factor == pytest.approx(rendering_s / ((9 + 3 * 12) / 16))
    clock.run_free()
    await asyncio.wait_for(reading, WAIT_S)
    record = session.record(1)
    assert record.timings.first_fragment_s == pytest.approx(DENOISE_S + DECODE_S + ENCODE_S)
    assert record.underruns == 0 and record.underrun_s == 0.0


async def test_the_nearest_deadline_gets_the_device(converse: Callable[..., Any], clock: Clock) -> None:
    """A conversation that begins to answer goes before the clean pass of one that is ahead of its viewer."""
    engine, [one, other] = await converse(ReadyThinker(), 2)
    reading = [asyncio.ensure_future(read(one.respond(TURN)))]
    await clock.at_work("denoise 0 A")
    reading.append(asyncio.ensure_future(read(other.respond(TURN))))
    await waits_for(engine, 1)
    clock.go_on(0.10)
    await clock.at_work("decode 0 A", "denoise 0 B")
    await waits_for(engine, 1)  # A's clean pass
    clock.go_on(0.20)
    # Equal deadlines: who came first. B's block also waits for the decoder.
    await clock.at_work("decode 0 A", "clean 0 A")
    await waits_for(engine, 1)  # B's clean pass, which comes before A's second block does
    clock.go_on(0.22)
    await clock.at_work("encode 0", "decode 0 B", "clean 0 B")
    await waits_for(engine, 1)  # A's second block: the device is taken until the clean pass is over
    clock.go_on(0.24)
    clock.run_free()
    await asyncio.wait_for(asyncio.gather(*reading), WAIT_S)
    for session in (one, other):
        assert session.record(1).outcome is Outcome.completed and session.record(1).underruns == 0


async def test_a_new_turn_waits_for_the_block_in_work_only(converse: Callable[..., Any], clock: Clock) -> None:
    _, [session] = await converse(ReadyThinker())
    first = session.respond(TURN)
    await clock.at_work("denoise 0")
    clock.go_on(0.10)
    await clock.at_work("decode 0", "clean 0")
    clock.go_on(0.12)
    await clock.at_work("decode 0", "denoise 1")
    second = session.respond(TURN)  # block 1 has just been begun
    reading = asyncio.ensure_future(read(second))
    clock.go_on(0.22)
    await clock.at_work("encode 0", "decode 1", "clean 1")
    clock.go_on(0.24)
    await clock.at_work("encode 0", "decode 1")
    clock.go_on(0.34)
    await clock.at_work("encode 1", "denoise 2")
    clock.run_free()
    await asyncio.wait_for(asyncio.gather(read(first), reading), WAIT_S)
    assert session.record(1).outcome is Outcome.interrupted and session.record(1).frames == 21
    assert session.record(2).timings.first_window_s == pytest.approx(0.34 - 0.12)


async def waits_for(engine: Engine, count: int) -> None:
    """Until so many wait for the device."""

    def wait() -> None:
        while engine.rendering.waiting != count:
            time.sleep(0)

    await asyncio.wait_for(asyncio.to_thread(wait), WAIT_S)
