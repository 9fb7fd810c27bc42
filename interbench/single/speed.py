"""Throughput and first-frame latency: their own measurement, warmed and repeated, with nothing else going on."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from interbench.base.progress import Progress
from interbench.domain.records import Exchange
from interbench.media.pool import MediaPool
from interbench.single.base import Column, Figure
from interbench.single.data import Condition
from interbench.single.play import Player, play, scenario_of
from interbench.store.run_folder import Run

COLUMNS = (
    Column(
        "fps", "FPS", "higher", "frames of the clip for each second from request to complete answer, median over runs"
    ),
    Column("latency_s", "Latency s", "lower", "seconds until the first frame could be shown, median over runs"),
)
_REPLICATES = 2000
_LEVEL = (2.5, 97.5)


def caveat(warm_ups: int, runs: int, condition: Condition) -> str:
    """How speed was measured."""
    facts = condition.cut.facts
    size = "" if facts is None else f", {facts.duration_s:g} s at {facts.width}x{facts.height}"
    return (
        f"FPS and latency: one condition{size}, {warm_ups} warm-ups that do not count, median and bootstrap interval "
        f"of {runs} runs, one after the other, nothing else going on. The clock runs from handing over the request; "
        f"a system that hands over a file shows its first frame when the file is complete; decoding by the viewer does "
        f"not count. One system and machine, whatever the data set."
    )


async def measure_speed(
    player: Player,
    condition: Condition,
    folder: Path,
    media: MediaPool,
    progress: Progress,
    *,
    warm_ups: int,
    runs: int,
    seed: int,
    deadline_s: float,
) -> dict[str, Figure]:
    """Speed of one system, played alone, again and again on the same condition.

    A measurement that was interrupted begins anew: a system that has just been started is not warm.
    """
    parts = [
        scenario_of(condition, f"{'warm-up' if number < warm_ups else 'run'}-{number:03d}")
        for number in range(warm_ups + runs)
    ]
    label = f"{player.label}, speed"
    own = Player(label, player.spec, player.factory)
    _forget_half(folder, label, [part.scenario.id for part in parts])
    exchanges = await play(own, parts, folder, media, progress, seed=seed, deadline_s=deadline_s)
    return speed_figures(exchanges[warm_ups:])


def _forget_half(folder: Path, label: str, ids: Sequence[str]) -> None:
    if not folder.is_dir():
        return
    with Run(folder, write=True) as run:
        done = {exchange.scenario for exchange in run.exchanges(label)}
        if not done.issuperset(ids):
            for id_ in done:
                run.discard(label, id_)


def speed_figures(exchanges: Sequence[Exchange]) -> dict[str, Figure]:
    """The cells, of the runs that count."""

    def fps(exchange: Exchange) -> float | None:
        timings, facts = exchange.timings, exchange.facts
        return None if timings is None or facts is None or timings.resumed else timings.throughput_fps(facts)

    def latency(exchange: Exchange) -> float | None:
        timings = exchange.timings
        if timings is None or exchange.facts is None or timings.resumed:
            return None
        return timings.first_speech_s if timings.continuous else timings.first_frame_s

    return {"fps": _figure(exchanges, fps), "latency_s": _figure(exchanges, latency)}


def _figure(exchanges: Sequence[Exchange], value: Callable[[Exchange], float | None]) -> Figure:
    values = [found for exchange in exchanges if (found := value(exchange)) is not None]
    if not values:
        codes = [exchange.code or exchange.outcome.value for exchange in exchanges]
        return Figure(None, 0, len(exchanges), missing=max(codes, key=codes.count) if codes else "no runs")
    median = statistics.median(values)
    if len(values) < 2:
        return Figure(median, len(values), len(exchanges))
    drawn = np.random.default_rng(0).choice(values, (_REPLICATES, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), _LEVEL)
    return Figure(median, len(values), len(exchanges), float(low), float(high), detail={"runs": values})
