"""How the live system does as a whole: time to first frame and its parts, pace, conversations at once, memory."""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch

from livetalk.base import termination
from livetalk.base.rates import VIDEO_FPS
from livetalk.live.engine import Engine
from livetalk.live.session import Session
from livetalk.live.settings import LiveSettings
from livetalk.live.turns import Outcome, TurnError, TurnRecord, TurnTimings, UserTurn
from livetalk.render.config import StreamConfig
from livetalk.render.options import ModelChoice, SpeedOptions
from livetalk.thinkers.base import Thinker
from livetalk.thinkers.script import ScriptedThinker
from livetalk.tools.bench import in_gib, process_peak, reserved
from livetalk.tools.environment import Environment, examine
from livetalk.tools.options import LiveLoad

SPEECH = (
    "Let me tell you how this works. While I speak, a model draws every picture of me, a few at a time, and each of "
    "them is on its way to you before the next ones are begun. My voice comes first; my lips have to follow it, block "
    "by block, and never fall behind. If they did, you would see me stop in the middle of a word, and that is what is "
    "counted here.",
)
"""What the scripted thinker says, some twenty seconds of speech: long enough that blocks, not turns, are measured."""
_PARTS = ("thinker_first_text", "thinker_first_sound", "first_window", "first_block")
_TASTE = 3
"""Blocks of an answer that are taken before the user breaks in, where only its beginning is measured."""
_QUESTION = "Tell me how this works, from the beginning, and take your time."


@dataclass(frozen=True, slots=True)
class Spread:
    """Of a time over many turns, in seconds."""

    median: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), float(np.percentile(values, 95)))


@dataclass(frozen=True, slots=True)
class Attempt:
    """So many conversations at once, each answering again and again as soon as its last answer has been played."""

    conversations: int
    video_s: float
    """Generated for all of them."""
    underruns: int
    underrun_s: float
    first_frame: Spread


@dataclass(frozen=True, slots=True)
class LiveReport:
    """Times are those of ``livetalk.live.turns.TurnTimings``: seconds after the user's turn was complete."""

    size: str
    weights: str
    device: str
    environment: Environment
    dtype: str
    attention: str
    compiled: bool
    compile_mode: str
    float8: bool
    picture: str
    window: int
    sink: int
    steps: int
    thinker: str
    encoder: str
    start_s: float
    """Loading left out: caches, compiling, capturing."""
    turns: int
    """Over which the times to first frame are taken, in one conversation."""
    first_frame: Spread
    parts: dict[str, Spread]
    window_to_fragment: Spread
    """From the sound of the first block being there to its fragment."""
    frames_per_second: float
    """Of one conversation alone, from its first fragment on."""
    real_time_factor: float
    """Seconds of work per second of video, of the busiest stage."""
    attempts: list[Attempt]
    simultaneous: int
    """The most conversations that played without an underrun."""
    simultaneous_is_limit: bool
    """As many as were tried."""
    seconds_each: float
    """How long each attempt went on."""
    session_video_s: float
    """Of the conversation whose memory is measured."""
    memory_bytes: int
    """Of the device's allocator on CUDA, of the process elsewhere, at its end."""
    memory_drift_bytes: int
    """Since its first third."""
    peak_memory_bytes: int
    peak_reserved_bytes: int | None
    """What the allocator took of the device for that; None where there is none."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    def to_text(self) -> str:
        """A short table with what each figure means."""

        def ms(spread: Spread) -> str:
            return f"{1e3 * spread.median:7.0f} ms median {1e3 * spread.p95:7.0f} ms p95"

        at_once = f"{'at least ' if self.simultaneous_is_limit else ''}{self.simultaneous}"
        rows = [
            ("model", f"{self.size}, weights {self.weights}, {self.dtype}{', float8' if self.float8 else ''}"),
            ("device", f"{self.device}; {self.environment.in_words()}"),
            (
                "kernels",
                f"attention {self.attention}, {f'compiled ({self.compile_mode})' if self.compiled else 'not compiled'}",
            ),
            ("stream", f"{self.picture}, window {self.window}, sink {self.sink}, {self.steps} steps, {self.encoder}"),
            ("thinker", self.thinker),
            ("start", f"{self.start_s:.1f} s for caches, compiling and capturing"),
            ("first frame", f"{ms(self.first_frame)} over {self.turns} turns"),
            *((f"  {name.replace('_', ' ')}", ms(spread)) for name, spread in self.parts.items()),
            ("  window to fragment", ms(self.window_to_fragment)),
            ("throughput", f"{self.frames_per_second:.2f} frames/s, one conversation alone"),
            ("real-time factor", f"{self.real_time_factor:.2f} s of work per s of video"),
            *(
                (
                    f"{attempt.conversations} at once",
                    f"{attempt.underruns} underruns ({attempt.underrun_s:.2f} s) in {attempt.video_s:.0f} s of video, "
                    f"first frame {ms(attempt.first_frame).strip()}",
                )
                for attempt in self.attempts
            ),
            ("simultaneous", f"{at_once} conversations at {VIDEO_FPS} frames/s without underrun"),
            (
                "memory",
                f"{in_gib(self.memory_bytes)}, {self.memory_drift_bytes / 2**20:+.1f} MiB over the last two "
                f"thirds of {self.session_video_s:.0f} s of video; peak {in_gib(self.peak_memory_bytes)}"
                f"{reserved(self.peak_reserved_bytes)}",
            ),
        ]
        return "\n".join(f"{name:<24} {value}" for name, value in rows)


def measure(
    choice: ModelChoice,
    stream: StreamConfig,
    speed: SpeedOptions,
    load: LiveLoad,
    thinker: Thinker | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> LiveReport:
    """Hold conversations with a whole engine and time them.

    Args:
        choice: the models and where they run.
        stream: with bounded positions.
        speed: compiled by default on CUDA only.
        load: what is done, for how long.
        thinker: not yet started; by default a scripted one that speaks for some twenty seconds.
        progress: told what is being done.

    Raises:
        CheckpointError: the checkpoints can't be used.
        ThinkerError, TurnError: the thinker is not there, or a turn went wrong.
    """
    target = torch.device(choice.device)
    on_cuda = target.type == "cuda"
    progress("Loading the models")
    models = choice.load()
    settings = LiveSettings(
        stream,
        capacity=load.conversations,
        compiled=on_cuda if speed.compiled is None else speed.compiled,
        compile_mode=speed.compile_mode,
        float8=speed.float8,
        tune=speed.tune,
        decoder_graph=speed.decoder_graph,
        first_alone=speed.first_alone,
        encoder=load.encoder,
    )
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(target)

    engine = Engine(models, settings, thinker or ScriptedThinker(SPEECH))
    sitting = termination.run(_sit(engine, load, partial(_memory, target), progress))
    records = sitting.records
    passed = sum(not attempt.underruns for attempt in sitting.attempts)
    parts = {
        field.name.removesuffix("_s"): [getattr(record.timings, field.name) for record in records]
        for field in fields(TurnTimings)
    }
    coding = [end - start for start, end in zip(parts["first_window"], parts["first_fragment"], strict=True)]
    whole = [record for record in records if record.outcome is Outcome.completed]
    generation_s = sum((r.timings.finished_s or 0.0) - (r.timings.first_window_s or 0.0) for r in whole)
    return LiveReport(
        size=choice.size.name,
        weights=str(choice.checkpoints or "random"),
        device=torch.cuda.get_device_name(target) if on_cuda else f"cpu, {torch.get_num_threads()} thread(s)",
        environment=examine(target),
        dtype=str(choice.dtype).removeprefix("torch."),
        attention=models.dit.attention,
        compiled=settings.compiled is True,
        compile_mode=settings.compile_mode,
        float8=settings.float8,
        picture=f"{stream.width}×{stream.height}",
        window=stream.window,
        sink=stream.sink,
        steps=stream.steps,
        thinker=engine.thinker.name,
        encoder=engine.encoder,
        start_s=sitting.start_s,
        turns=len(records),
        first_frame=Spread.of(parts["first_fragment"]),
        # A thinker need not give text; what never happened has no time.
        parts={part: Spread.of(parts[part]) for part in _PARTS if None not in parts[part]},
        window_to_fragment=Spread.of(coding),
        frames_per_second=sum(record.frames for record in whole) / generation_s,
        real_time_factor=statistics.median(record.real_time_factor or 0.0 for record in whole),
        attempts=sitting.attempts,
        simultaneous=passed,
        simultaneous_is_limit=passed == load.conversations,
        seconds_each=load.seconds,
        session_video_s=sum(record.video_s for record in records),
        memory_bytes=sitting.memory[-1],
        memory_drift_bytes=sitting.memory[-1] - sitting.memory[len(sitting.memory) // 3],
        peak_memory_bytes=torch.cuda.max_memory_allocated(target) if on_cuda else process_peak(),
        peak_reserved_bytes=torch.cuda.max_memory_reserved(target) if on_cuda else None,
    )


@dataclass(frozen=True, slots=True)
class _Sitting:
    start_s: float
    records: list[TurnRecord]
    """Of the conversation held alone."""
    memory: list[int]
    """After each of its turns."""
    attempts: list[Attempt]


async def _sit(engine: Engine, load: LiveLoad, memory: Callable[[], int], progress: Callable[[str], None]) -> _Sitting:
    try:
        progress("Reserving caches, compiling and capturing")
        began = time.perf_counter()
        await engine.start()
        start_s = time.perf_counter() - began
        progress(f"Timing {load.turns} turns of one conversation")
        records, used = await _one_conversation(engine, load.turns, memory)
        attempts: list[Attempt] = []
        while len(attempts) < load.conversations and not any(attempt.underruns for attempt in attempts):
            count = len(attempts) + 1
            progress(f"{count} at once for {load.seconds:g} s")
            attempts.append(await _attempt(engine, count, load.seconds))
    finally:
        await engine.stop()
    return _Sitting(start_s, records, used, attempts)


async def _one_conversation(
    engine: Engine, turns: int, memory: Callable[[], int]
) -> tuple[list[TurnRecord], list[int]]:
    """Turns one after the other; all but three are broken off once their beginning is there."""
    session = await engine.open()
    used = []
    for turn in range(turns):
        if turn in (0, turns // 2, turns - 1):
            await _hear_out(session)
        else:
            answer = session.respond(UserTurn(text=_QUESTION))
            for _ in range(_TASTE):
                await anext(answer, None)
            await session.interrupt()
        _check(session.records[-1])
        used.append(memory())
    await session.close()
    return list(session.records), used


async def _attempt(engine: Engine, conversations: int, seconds: float) -> Attempt:
    """All begin at the same moment, which is the hardest."""
    sessions = [await engine.open(seed=seed) for seed in range(conversations)]
    end = engine.clock() + seconds
    await asyncio.gather(*(_keep_talking(session, engine.clock, end) for session in sessions))
    records = [record for session in sessions for record in session.records]
    await asyncio.gather(*(session.close() for session in sessions))
    return Attempt(
        conversations=conversations,
        video_s=sum(record.video_s for record in records),
        underruns=sum(record.underruns for record in records),
        underrun_s=sum(record.underrun_s for record in records),
        first_frame=Spread.of([record.timings.first_fragment_s or 0.0 for record in records]),
    )


async def _keep_talking(session: Session, clock: Callable[[], float], end: float) -> None:
    """Ask, hear the answer to its end, and ask again."""
    while (asked := clock()) < end:
        record = await _hear_out(session)
        played = asked + (record.timings.first_fragment_s or 0.0) + record.underrun_s + record.video_s
        await asyncio.sleep(max(0.0, played - clock()))


async def _hear_out(session: Session) -> TurnRecord:
    async for _ in session.respond(UserTurn(text=_QUESTION)):
        pass
    return _check(session.records[-1])


def _check(record: TurnRecord) -> TurnRecord:
    """
    Raises:
        TurnError: the turn went wrong, so that nothing could be measured.
    """
    if record.outcome not in (Outcome.completed, Outcome.interrupted) or record.timings.first_fragment_s is None:
        message = record.error_message or "It was over before its first frame."
        raise TurnError(record.error_code or "failed", f"Turn {record.index} of the benchmark went wrong. {message}")
    return record


def _memory(device: torch.device) -> int:
    """In use now."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    status = Path("/proc/self/statm")
    # Other systems than Linux only tell the peak.
    return int(status.read_text().split()[1]) * resource.getpagesize() if status.exists() else process_peak()
