"""The speed columns: what the exchanges of a run took, by system."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

import numpy as np

from interbench.base.foreign import mapped, number
from interbench.domain.records import Exchange
from interbench.report.rows import Speed, Step

NOT_MEASURED = "not_measured"
"""Why records of before first speech was measured have none."""


def speeds(exchanges: Sequence[Exchange]) -> dict[str, Speed]:
    """The speed columns by system: over completed turns that were not taken up after an interruption.

    Latency is the median time to first frame, and time to first speech its median over the turns in which something is
    heard; frames per second are all frames over all time to complete.
    """
    by_system: dict[str, list[Exchange]] = {}
    for exchange in exchanges:
        if exchange.completed and exchange.timings is not None and not exchange.timings.resumed:
            by_system.setdefault(exchange.system, []).append(exchange)
    result = {}
    for system, timed in by_system.items():
        timings = [exchange.timings for exchange in timed if exchange.timings is not None]
        heard = [timing.first_speech_s for timing in timings if timing.first_speech_s is not None]
        unheard = Counter(
            timing.no_speech.value if timing.no_speech else NOT_MEASURED
            for timing in timings
            if timing.first_speech_s is None
        )
        frames = sum(exchange.facts.frames for exchange in timed if exchange.facts is not None)
        total = sum(timing.complete_s for timing in timings)
        first = [timing.first_frame_s for timing in timings if not timing.continuous]
        result[system] = Speed(
            latency_s=statistics.median(first) if first else None,
            continuous=len(timings) - len(first),
            fps=frames / total if total > 0 else None,
            n=len(timings),
            steps=_steps(timed),
            first_speech_s=statistics.median(heard) if heard else None,
            unheard=dict(unheard),
        )
    return result


def _before_the_clock(exchange: Exchange) -> dict[str, float]:
    """What making up and speaking the words took for a system that is told them; neither is part of its latency."""
    made = {
        "words (before the clock)": mapped(exchange.detail.get("script")).get("model_s"),
        "speech (before the clock)": mapped(exchange.detail.get("speech")).get("made_s"),
    }
    return {name: seconds for name, value in made.items() if (seconds := number(value)) is not None}


def _steps(timed: Sequence[Exchange]) -> tuple[Step, ...]:
    seconds: dict[str, list[float]] = {}
    for exchange in timed:
        for name, value in {**_before_the_clock(exchange), **exchange.parts_s}.items():
            seconds.setdefault(name, []).append(value)
    return tuple(
        Step(name, statistics.median(values), float(np.percentile(values, 95)), len(values))
        for name, values in seconds.items()
    )
