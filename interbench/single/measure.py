"""Fills rows: every clip of every row through every metric, each once, and what is known is not measured again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interbench.base.errors import MediaError, most_telling
from interbench.base.progress import Progress
from interbench.media.pool import MediaPool
from interbench.single.base import (
    CheckpointError,
    Clip,
    Column,
    Figure,
    Measured,
    Metric,
    MetricError,
    Taken,
    Unavailable,
)
from interbench.single.metrics.sync import Sync
from interbench.single.pairs import Difference, Filled, corrected, differences
from interbench.single.registry import METRICS
from interbench.single.rows import FilledRow, Kind, RowPlan
from interbench.store.measures import Measures, Record

_AT_ONCE = 2
"""Clips of one metric: while one is computed the next is decoded."""
_ASKED: Mapping[Kind, tuple[bool, bool]] = {
    "system": (True, True),
    "truth": (False, True),
    "floor": (True, False),
    "shuffled": (True, False),
    "rate": (False, True),
}
"""Of each kind of row: whether it has columns that compare, and those that don't."""


@dataclass(frozen=True, slots=True)
class SingleTable:
    """Everything that a rendering needs."""

    columns: tuple[Column, ...]
    rows: tuple[FilledRow, ...]
    unavailable: tuple[Unavailable, ...]
    """Metrics that were asked for and could not be set up."""
    caveats: tuple[str, ...]
    identities: Mapping[str, Mapping[str, Any]]
    """By metric: how it was measured."""
    per_clip: tuple[tuple[str, str, str, Mapping[str, float], str], ...]
    """Row, clip, metric, values, why missing: one for each clip of each row, for whoever wants to look closer."""
    differences: tuple[Difference, ...] = ()
    """Every two systems, in every column that has a better and a worse."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A metric by name, with what it is told."""

    name: str
    options: Mapping[str, Any]

    def make(self) -> Metric:
        return METRICS.make(self.name, self.options)

    @property
    def columns(self) -> tuple[Column, ...]:
        return METRICS.find(self.name).cls.columns

    @property
    def compares(self) -> bool:
        return METRICS.find(self.name).cls.compares


async def fill(
    rows: Sequence[RowPlan],
    choices: Sequence[Choice],
    *,
    media: MediaPool,
    measures: Measures,
    progress: Progress,
    seed: int = 0,
) -> SingleTable:
    """Measure what is not known yet, and make the table.

    A metric that can't be set up leaves dashes and its reason; the others go on.

    Raises:
        InterbenchError: something that stops everything, such as a full disk.
    """
    figures: list[dict[str, Figure]] = [{} for _ in rows]
    unavailable: list[Unavailable] = []
    caveats: list[str] = []
    identities: dict[str, Mapping[str, Any]] = {}
    per_clip: list[tuple[str, str, str, Mapping[str, float], str]] = []
    between: list[Difference] = []
    for choice in choices:
        metric = choice.make()
        try:
            try:
                await metric.start()
            except (MetricError, CheckpointError) as error:
                unavailable.append(Unavailable(choice.name, choice.columns, str(error)))
                continue
            identities[choice.name] = metric.identity()
            caveats += metric.caveats
            filler = Filler(choice.name, metric, media, measures, progress)
            systems: dict[str, Filled] = {}
            for place, row in enumerate(rows):
                if not _asked(row, metric):
                    continue
                of_row = filler
                if row.through is not None:
                    assert isinstance(metric, Sync)
                    of_row = Filler(choice.name, await _started(metric, row.through), media, measures, progress)
                own = await of_row.taken(row.clips)
                references = (
                    None if row.references is None or not metric.compares else await filler.taken(row.references)
                )
                found = metric.figures(own, references, seed=seed)
                figures[place] |= found
                if row.kind == "system":
                    systems[row.label] = Filled(own, references, found)
                per_clip += [
                    (row.label, one.clip.id, choice.name, one.measured.values, one.measured.missing) for one in own
                ]
            # Two distances without references would say the same thing twice.
            if not metric.compares or any(one.references is not None for one in systems.values()):
                between += await asyncio.to_thread(differences, metric, systems, seed=seed)
        finally:
            await metric.stop()
    filled = [
        FilledRow(row.label, row.kind, len(row.clips), of_row, row.note)
        for row, of_row in zip(rows, figures, strict=True)
    ]
    return SingleTable(
        tuple(column for choice in choices for column in choice.columns),
        tuple(filled),
        tuple(unavailable),
        tuple(dict.fromkeys(caveats)),
        identities,
        tuple(per_clip),
        corrected(between),
    )


def _asked(row: RowPlan, metric: Metric) -> bool:
    compares, alone = _ASKED[row.kind]
    if row.kind == "rate" and not isinstance(metric, Sync):
        return False
    return compares if metric.compares else alone


async def _started(metric: Sync, through: float) -> Sync:
    other = metric.by_way_of(through)
    await other.start()
    return other


class Filler:
    """One metric over clips: what is known is taken, what is not is measured and kept."""

    def __init__(self, name: str, metric: Metric, media: MediaPool, measures: Measures, progress: Progress) -> None:
        self._name, self._metric = name, metric
        self._media, self._measures, self._progress = media, measures, progress
        self._key = measures.identify(metric.identity())
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._total = 0

    async def taken(self, clips: Sequence[Clip]) -> list[Taken]:
        """Each clip with what is found in it, in order."""
        self._total += len(clips)
        self._progress.total(self._name, self._total)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._one(clip)) for clip in clips]
        except BaseExceptionGroup as errors:
            raise most_telling(errors) from None
        return [Taken(clip, task.result()) for clip, task in zip(clips, tasks, strict=True)]

    async def _one(self, clip: Clip) -> Measured:
        async with self._turn:
            found = await self._find(clip)
            self._progress.advance(self._name, clip.id)
            return found

    async def _find(self, clip: Clip) -> Measured:
        if clip.facts is None:
            return Measured(missing=clip.problem)
        known = self._measures.get(clip.facts.sha256, self._key)
        if known is None:
            try:
                found = await self._metric.measure(clip, self._media)
            except MediaError as error:
                return Measured(missing=error.code)
            known = Record(found.values, found.missing, found.detail, found.features)
            self._measures.put(clip.facts.sha256, self._key, known)
        return Measured(known.values, known.missing, known.detail, known.features)
