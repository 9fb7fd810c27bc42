"""`interbench single --data`: prepare, generate, measure. Each step takes up what is there of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from interbench.base.errors import UsageError
from interbench.base.progress import Progress
from interbench.media.pool import MediaPool
from interbench.pipeline.plan import require_distinct
from interbench.single.base import Clip, Figure
from interbench.single.data import Draw, Prepared, prepare
from interbench.single.measure import Choice, SingleTable, fill
from interbench.single.play import Player, play, played_clips, scenario_of
from interbench.single.rows import plan_rows
from interbench.single.speed import COLUMNS, caveat, measure_speed
from interbench.store.measures import Measures


@dataclass(frozen=True, slots=True)
class Study:
    """What is to be measured, and how systems are played."""

    data: Path
    out: Path
    draw: Draw
    players: Sequence[Player]
    choices: Sequence[Choice]
    speed: bool = False
    warm_ups: int = 2
    runs: int = 5
    deadline_s: float = 600.0
    concurrency: int = 1

    def __post_init__(self) -> None:
        labels = [player.label for player in self.players]
        if len(set(labels)) < len(labels):
            raise UsageError("A system is named twice; give one of them another label: other=name.")
        require_distinct(labels)
        if self.warm_ups < 0 or self.runs < 1 or self.concurrency < 1 or self.draw.count < 1:
            raise UsageError("Counts must be at least 1 (warm-ups: 0).")


async def conduct(study: Study, progress: Progress) -> SingleTable:
    """The table.

    Raises:
        InterbenchError: there is nothing to draw from, or a system can't be started.
    """
    async with MediaPool(size=2) as media:
        prepared = await prepare(study.data, study.out, study.draw, media, progress)
        parts = [scenario_of(condition) for condition in prepared.conditions]
        systems: dict[str, list[Clip]] = {}
        speeds: dict[str, dict[str, Figure]] = {}
        for player in study.players:
            exchanges = await play(
                player, parts, study.out / "run", media, progress,
                seed=study.draw.seed, deadline_s=study.deadline_s, concurrency=study.concurrency,
            )  # fmt: skip
            systems[player.label] = played_clips(exchanges, prepared.conditions, study.out / "run")
        for player in study.players if study.speed else ():
            speeds[player.label] = await measure_speed(
                player, prepared.conditions[0], study.out / "speed", media, progress,
                warm_ups=study.warm_ups, runs=study.runs, seed=study.draw.seed, deadline_s=study.deadline_s,
            )  # fmt: skip
        references = [*(condition.cut for condition in prepared.conditions), *prepared.spare]
        rows = plan_rows(systems, references, seed=study.draw.seed)
        with Measures(study.out) as measures:
            table = await fill(
                rows, study.choices, media=media, measures=measures, progress=progress, seed=study.draw.seed
            )
    table = replace(table, caveats=(*table.caveats, _data_caveat(study, prepared)))
    return _with_speed(table, speeds, caveat(study.warm_ups, study.runs, prepared.conditions[0]))


def _data_caveat(study: Study, prepared: Prepared) -> str:
    lost = f", {len(prepared.unusable)} passed over" if prepared.unusable else ""
    return (
        f"Conditions: {len(prepared.conditions)} of {study.draw.count} asked for, drawn with seed {study.draw.seed}, "
        f"{study.draw.duration:g} s at {study.draw.side}x{study.draw.side}{lost}; SHA-256 over the cuts "
        f"{prepared.digest[:16]}."
    )


def _with_speed(table: SingleTable, speeds: dict[str, dict[str, Figure]], said: str) -> SingleTable:
    if not speeds:
        return table
    rows = tuple(
        replace(row, figures={**row.figures, **speeds[row.label]})
        if row.kind == "system" and row.label in speeds
        else row
        for row in table.rows
    )
    return replace(table, columns=(*table.columns, *COLUMNS), rows=rows, caveats=(*table.caveats, said))
