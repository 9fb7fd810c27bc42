"""How single items work: how hard they are, how far they part systems, and whether they part them the right way.

An item is a scenario in one dimension. Its figures are over the systems that were scored on it; with few systems they
say little, and discrimination needs three.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from interbench.stats.scores import KEYS, FloatArray, Scores

TOP = 10.0
"""Where the judges' scales end."""
FEWEST_SYSTEMS = 3
"""Below it every correlation over systems is 1, -1 or undefined."""


@dataclass(frozen=True, slots=True)
class Item:
    """One scenario in one dimension, or averaged over dimensions. What can't be had is None."""

    scenario: str
    dimension: str | None
    """None: the means of the scenario's figures over its dimensions."""
    systems: int
    """Scored on it; of several dimensions the fewest."""
    planned: int
    """Systems of the runs."""
    mean: float | None
    """Of the systems' raw scores."""
    spread: float | None
    """Their standard deviation (n - 1)."""
    discrimination: float | None
    """Pearson's r, over systems, of the score with the system's mean over the other scenarios of the dimension."""
    ceiling: float | None
    """Share of the systems at :data:`TOP`."""


def items(scores: Scores, dimensions: Collection[str] | None = None) -> tuple[Item, ...]:
    """Every scenario in every dimension in which anything is scored, in the order of the scenarios.

    Args:
        scores: repeated judgements are averaged first.
        dimensions: only these; None for all.
    """
    found: list[Item] = []
    cells = scores.cells
    tables: dict[str, FloatArray] = {}
    for index, key in enumerate(KEYS):
        if dimensions is not None and key not in dimensions:
            continue
        table = np.full((len(scores.systems), len(scores.scenarios)), np.nan)
        chosen = cells.dimension == index
        table[cells.system[chosen], cells.scenario[chosen]] = cells.value[chosen]
        if not np.isnan(table).all():
            tables[key] = table
    for place, scenario in enumerate(scores.scenarios):
        found += [_item(scenario, key, table, place) for key, table in tables.items()]
    return tuple(found)


def by_scenario(found: Sequence[Item]) -> tuple[Item, ...]:
    """The items of every scenario averaged over its dimensions, each figure over those in which it could be had."""
    grouped: dict[str, list[Item]] = {}
    for item in found:
        grouped.setdefault(item.scenario, []).append(item)
    return tuple(
        Item(
            scenario=scenario,
            dimension=None,
            systems=min(item.systems for item in group),
            planned=group[0].planned,
            mean=_mean([item.mean for item in group]),
            spread=_mean([item.spread for item in group]),
            discrimination=_mean([item.discrimination for item in group]),
            ceiling=_mean([item.ceiling for item in group]),
        )
        for scenario, group in grouped.items()
    )


def _item(scenario: str, dimension: str, table: FloatArray, place: int) -> Item:
    column = table[:, place]
    scored = ~np.isnan(column)
    values = column[scored]
    return Item(
        scenario=scenario,
        dimension=dimension,
        systems=int(scored.sum()),
        planned=len(column),
        mean=float(values.mean()) if values.size else None,
        spread=float(values.std(ddof=1)) if values.size > 1 else None,
        discrimination=_discrimination(table, place),
        ceiling=float((values >= TOP).mean()) if values.size else None,
    )


def _discrimination(table: FloatArray, place: int) -> float | None:
    others = np.delete(table, place, axis=1)
    counts = (~np.isnan(others)).sum(axis=1)
    usable = ~np.isnan(table[:, place]) & (counts > 0)
    if usable.sum() < FEWEST_SYSTEMS:
        return None
    own = table[usable, place]
    rest = np.nansum(others[usable], axis=1) / counts[usable]
    if np.ptp(own) == 0 or np.ptp(rest) == 0:
        return None
    return float(np.corrcoef(own, rest)[0, 1])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
