"""Two systems on the same clips: how much their figures differ, and how sure that is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from interbench.single.base import Figure, Metric, Taken
from interbench.single.figures import interval_of_means
from interbench.stats.clip_sets import jackknife_half
from interbench.stats.comparison import holm, permutation_test


@dataclass(frozen=True, slots=True)
class Filled:
    """A system's clips with what a metric found in them, and the figures that came of it."""

    own: Sequence[Taken]
    references: Sequence[Taken] | None
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Difference:
    """What one system has more than another in one column, on the clips that both have."""

    one: str
    other: str
    column: str
    """Its key."""
    clips: int
    value: float | None
    """The figure of ``one`` less that of ``other``; None if there is none."""
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """Two-sided, by exchanging the two systems' clips within a source video; None for distances between sets."""
    p_holm: float | None = None
    """After Holm's correction over the columns in which the two systems are compared."""
    missing: str = ""


def differences(metric: Metric, filled: Mapping[str, Filled], *, seed: int = 0) -> list[Difference]:
    """Every two systems in every column of ``metric`` that has a better and a worse, before Holm's correction.

    Distances between sets: both against the same references, jackknifed over clips, each left out of both systems
    together with its reference, so that the bias of so few clips cancels in part. Everything else: the mean of the
    clips' differences, with a bootstrap over the source videos.
    """
    columns = [column.key for column in metric.columns if column.better != "neither"]
    found = []
    for (one, a), (other, b) in itertools.combinations(filled.items(), 2):
        if metric.compares:
            found += _of_sets(metric, columns, (one, a), (other, b))
        else:
            found += [_of_clips(key, (one, a), (other, b), seed) for key in columns]
    return found


def corrected(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """With Holm's correction over the columns of each two systems."""
    families: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(found):
        families.setdefault((one.one, one.other), []).append(place)
    done = list(found)
    for places in families.values():
        p = np.array([np.nan if (value := found[place].p) is None else value for place in places])
        for place, value in zip(places, holm(p), strict=True):
            if not np.isnan(value):
                done[place] = replace(done[place], p_holm=float(value))
    return tuple(done)


def _of_sets(
    metric: Metric, columns: Sequence[str], one: tuple[str, Filled], other: tuple[str, Filled]
) -> list[Difference]:
    sides = (one[1], other[1])
    missing = next((figure.missing for side in sides for figure in side.figures.values() if figure.missing), "")
    known = [_replicates(side.figures, columns) for side in sides]
    if not missing and not all(known):
        missing = "needs at least three clips, each with a reference of its own"
    if missing:
        return [Difference(one[0], other[0], key, 0, None, missing=missing) for key in columns]
    figures = [side.figures for side in sides]
    if known[0] != known[1]:
        both = known[0] & known[1]
        if len(both) < 3:
            return [
                Difference(one[0], other[0], key, len(both), None, missing="fewer than three clips in both")
                for key in columns
            ]
        figures = [_on(metric, side, both) for side in sides]
        known = [_replicates(figures_, columns) for figures_ in figures]
    ids = sorted(known[0])
    found = []
    for key in columns:
        a, b = (figures_[key] for figures_ in figures)
        assert a.value is not None and b.value is not None
        value = a.value - b.value
        without = np.array([a.detail["without"][clip] - b.detail["without"][clip] for clip in ids])
        half = jackknife_half(without)
        found.append(Difference(one[0], other[0], key, len(ids), value, value - half, value + half))
    return found


def _replicates(figures: Mapping[str, Figure], columns: Sequence[str]) -> frozenset[str]:
    """Ids of the clips that were left out in turn; none where clips and references are no pairs."""
    return frozenset.intersection(*(frozenset(figures[key].detail.get("without", ())) for key in columns))


def _on(metric: Metric, side: Filled, ids: frozenset[str]) -> Mapping[str, Figure]:
    assert side.references is not None
    own, references = ([one for one in taken if one.clip.id in ids] for taken in (side.own, side.references))
    return metric.figures(own, references)


def _of_clips(key: str, one: tuple[str, Filled], other: tuple[str, Filled], seed: int) -> Difference:
    theirs = {taken.clip.id: taken for taken in other[1].own}
    by_source: dict[str, list[float]] = {}
    for taken in one[1].own:
        partner = theirs.get(taken.clip.id)
        if partner is not None and key in taken.measured.values and key in partner.measured.values:
            gap = taken.measured.values[key] - partner.measured.values[key]
            by_source.setdefault(taken.clip.source, []).append(gap)
    gaps = list(by_source.values())
    count = sum(map(len, gaps))
    if not count:
        return Difference(one[0], other[0], key, 0, None, missing="no clip that both have was scored in both")
    value = float(np.mean(np.concatenate(gaps)))
    if len(gaps) < 2:
        return Difference(one[0], other[0], key, count, value)
    low, high = interval_of_means(gaps, seed)
    p, _, _ = permutation_test(np.array([[sum(source)] for source in gaps]), seed=seed)
    return Difference(one[0], other[0], key, count, value, low, high, float(p[0]))
