"""Rows of the table, and which clips each is measured on: systems, ground truth, and the rows that keep them honest."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from interbench.single.base import Clip, Figure
from interbench.single.clips import partners

Kind = Literal["system", "truth", "floor", "shuffled", "rate"]
_CLOSE = 0.5
"""Frames a second within which two rates are the same."""
SYNC_RATE = 25.0


@dataclass(frozen=True, slots=True)
class RowPlan:
    """A row that is to be filled."""

    label: str
    kind: Kind
    clips: tuple[Clip, ...]
    references: tuple[Clip, ...] | None = None
    through: float | None = None
    """For ``rate``: the rate by way of which its clips go."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class FilledRow:
    """A row with its figures."""

    label: str
    kind: Kind
    clips: int
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """By key of the column; a column that is not asked of this kind of row is not in it."""
    note: str = ""


def plan_rows(
    systems: Mapping[str, Sequence[Clip]], references: Sequence[Clip] | None, *, seed: int = 0
) -> list[RowPlan]:
    """The rows for these systems.

    With references: ground truth (reference-free columns), the floor (references against other references), and each
    system against references that are not of its own clips. With systems of another rate than SyncNet's: the ground
    truth by way of that rate.
    """
    rows = []
    if references:
        used = _union(systems, references)
        rows.append(RowPlan("ground truth", "truth", tuple(used)))
        rows += [
            RowPlan(f"ground truth by way of {rate:g} fps", "rate", tuple(used), through=rate)
            for rate in _other_rates(systems)
        ]
    for label, clips in systems.items():
        own = None if references is None else tuple(partners(clips, references)[0])
        rows.append(RowPlan(label, "system", tuple(clips), own))
    if not references:
        return rows
    for label, clips in systems.items():
        if (shuffled := _shuffled(clips, references, seed)) is not None:
            ours, theirs = shuffled
            rows.append(RowPlan(f"{label}, other references", "shuffled", ours, theirs, note=_of(len(ours))))
    if (floor := _floor(references, seed)) is not None:
        rows.append(RowPlan("floor", "floor", *floor, note=_of(len(floor[0]))))
    return rows


def _of(count: int) -> str:
    return f"{count} against {count} clips"


def _union(systems: Mapping[str, Sequence[Clip]], references: Sequence[Clip]) -> list[Clip]:
    """References that any system has clips for; all of them where ids are not shared."""
    used = {clip.id for clips in systems.values() for clip in partners(clips, references)[0]}
    return [clip for clip in references if clip.id in used]


def _other_rates(systems: Mapping[str, Sequence[Clip]]) -> list[float]:
    rates: list[float] = []
    for clips in systems.values():
        known = [clip.facts.fps for clip in clips if clip.facts is not None]
        rate = round(float(np.median(known)), 2) if known else SYNC_RATE
        if abs(rate - SYNC_RATE) > _CLOSE and all(abs(rate - other) > _CLOSE for other in rates):
            rates.append(rate)
    return rates


def _renamed(clips: Sequence[Clip]) -> tuple[Clip, ...]:
    """Under ids of their own, so that nothing is taken for a pair."""
    return tuple(Clip(f"reference {clip.id}", clip.path, clip.source, clip.facts, clip.problem) for clip in clips)


def _shuffled(
    clips: Sequence[Clip], references: Sequence[Clip], seed: int
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]] | None:
    """A system's clips and as many references of other clips; of other videos, where clips share one."""
    pairs, spare = partners(clips, references)
    if len(spare) >= len(clips):
        chosen = random.Random(seed).sample(spare, len(clips))  # noqa: S311 - nothing is secret here
        return tuple(clips), _renamed(chosen)
    by_id = {clip.id: clip for clip in pairs}
    first, second = _halves([clip for clip in clips if clip.id in by_id], seed)
    if len(first) < 2:
        return None
    return tuple(first), _renamed([by_id[clip.id] for clip in second])


def _floor(references: Sequence[Clip], seed: int) -> tuple[tuple[Clip, ...], tuple[Clip, ...]] | None:
    first, second = _halves(references, seed)
    return None if len(first) < 2 else (tuple(first), _renamed(second))


def _halves(clips: Sequence[Clip], seed: int) -> tuple[list[Clip], list[Clip]]:
    """Two disjoint halves of one size; clips of one video stay together, as far as sizes allow."""
    blocks: dict[str, list[Clip]] = {}
    for clip in clips:
        blocks.setdefault(clip.source, []).append(clip)
    order = list(blocks.values())
    random.Random(seed).shuffle(order)  # noqa: S311
    halves: tuple[list[Clip], list[Clip]] = ([], [])
    for block in sorted(order, key=len, reverse=True):
        min(halves, key=len).extend(block)
    size = min(map(len, halves))
    return halves[0][:size], halves[1][:size]
