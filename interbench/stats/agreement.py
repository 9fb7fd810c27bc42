"""How far people agree with one another, and a judge with them, in one dimension.

Everything is by bootstrap over whole scenarios, the same draw for every figure; where three or more people rated, alpha
and the ceiling draw raters as well. What has no variation has no figure (see :mod:`interbench.stats.ranking`).
``docs/rating.md`` says how to read the figures.

Sources: Krippendorff, Content Analysis (ordinal metric); Shrout and Fleiss 1979 (ICC); Deutsch, Foster and Freitag,
"Ties Matter", 2023 (pairwise accuracy with ties).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interbench.stats.ranking import (
    NO_VARIATION,
    Estimate,
    group_means,
    kendall,
    kendall_of_columns,
    membership,
    pearson,
    scenario_draws,
    spearman,
)
from interbench.stats.scores import FloatArray, Ints

FEWEST_TO_DRAW = 3
"""Raters from which on replicates draw raters as well: of two, half of the draws would be one rater twice."""
FEWEST_FOR_RHO = 6
"""Systems from which on their means have a rank correlation beside the count of inversions."""
NOT_JUDGED = "not judged"
NOT_RATED = "not rated"
FEW_RATERS = "too few raters"
FEW_SYSTEMS = "too few systems"
NO_PAIRS = "no pairs"
"""Why there is no figure."""
_SCENARIOS, _RATERS, _HALVES = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Rated:
    """One dimension's ratings by people, and a judge's scores of the same conversations; n conversations."""

    systems: tuple[str, ...]
    scenarios: tuple[str, ...]
    raters: tuple[str, ...]
    system: Ints
    """Index into :attr:`systems`, shape (n,)."""
    scenario: Ints
    """Index into :attr:`scenarios`, shape (n,)."""
    values: FloatArray
    """Shape (raters, n); NaN where a rater did not rate."""
    judge: FloatArray
    """Shape (n,); NaN where there is no score."""

    @property
    def present(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.values)

    @property
    def means(self) -> FloatArray:
        """Mean over raters, shape (n,); NaN where nobody rated."""
        count = self.present.sum(axis=0)
        total = np.where(self.present, self.values, 0.0).sum(axis=0)
        means: FloatArray = np.full(len(total), np.nan)
        np.divide(total, count, out=means, where=count > 0)
        return means


@dataclass(frozen=True)
class Agreement:
    """Of people with one another and of a judge with people, in one dimension."""

    raters: int
    conversations: int
    """With at least one rating."""
    ratings: int
    alpha: Estimate
    icc_single: Estimate
    """ICC(1,1): of one rater."""
    icc_mean: Estimate
    """ICC(1,k): of the mean of as many raters as a conversation has."""
    ceiling: Estimate
    """Mean over raters of Spearman's correlation of a rater with the mean of the others."""
    judge_on_others: Estimate
    """The same with the judge in the rater's place, on the conversations that it scored."""
    judge_above_rater: Estimate
    """Difference of the two on those conversations: 0 or more is as good as a rater."""
    pooled_spearman: Estimate
    pooled_tau: Estimate
    within_spearman: Estimate
    """Mean over systems of the correlation over each one's conversations."""
    within_tau: Estimate
    between_spearman: Estimate
    """Of the systems' means; of few systems there is none, see :attr:`inversions`."""
    between_tau: Estimate
    inversions: tuple[tuple[str, str], ...]
    """Pairs of systems of which people place the first above, and the judge the second."""
    system_pairs: int
    """Pairs of systems that people do not tie."""
    accuracy: Estimate
    """Share of pairs of systems on one scenario that the judge orders as people do, ties counted."""
    pairs: int
    bias: Mapping[str, Estimate]
    """Mean of judge less people by system, on the scale."""


def agree(rated: Rated, *, replicates: int = 2000, seed: int = 0) -> Agreement:
    """All figures of one dimension."""
    drawn = scenario_draws(len(rated.scenarios), replicates, seed, _SCENARIOS)
    weights = drawn[rated.scenario]
    raters = len(rated.raters)
    drawn_raters = (
        scenario_draws(raters, replicates, seed, _RATERS)
        if raters >= FEWEST_TO_DRAW
        else np.ones((raters, 1 + replicates))
    )
    single, mean = _icc(rated, weights)
    ceiling, judge_on_others, difference = _ceiling(rated, weights, drawn_raters)
    with_judge = _with_judge(rated, weights, drawn, seed)
    return Agreement(
        raters=int(rated.present.any(axis=1).sum()),
        conversations=int(rated.present.any(axis=0).sum()),
        ratings=int(rated.present.sum()),
        alpha=_estimated(ordinal_alpha(rated.values, weights, drawn_raters), rated, 2),
        icc_single=_estimated(single, rated, 2),
        icc_mean=_estimated(mean, rated, 2),
        ceiling=_estimated(ceiling, rated, 2),
        judge_on_others=_judged(judge_on_others, rated, 2),
        judge_above_rater=_judged(difference, rated, 2),
        pooled_spearman=_judged(with_judge.pooled[0], rated, 1),
        pooled_tau=_judged(with_judge.pooled[1], rated, 1),
        within_spearman=_judged(with_judge.within[0], rated, 1),
        within_tau=_judged(with_judge.within[1], rated, 1),
        between_spearman=Estimate.missing(FEW_SYSTEMS)
        if len(rated.systems) < FEWEST_FOR_RHO
        else _judged(with_judge.between[0], rated, 1),
        between_tau=_judged(with_judge.between[1], rated, 1),
        inversions=with_judge.inversions,
        system_pairs=with_judge.system_pairs,
        accuracy=_judged(with_judge.accuracy, rated, 1, NO_PAIRS),
        pairs=with_judge.pairs,
        bias=with_judge.bias,
    )


def ordinal_alpha(
    values: FloatArray, weights: FloatArray | None = None, raters: FloatArray | None = None
) -> FloatArray:
    """Krippendorff's alpha with the ordinal metric, per replicate.

    A rater who is drawn twice is never compared with themselves; every conversation still counts as often as it has
    ratings.

    Args:
        values: shape (raters, n), NaN where a rater did not rate.
        weights: of conversations, shape (n, replicates); None for each once.
        raters: weights of raters, shape (raters, replicates).
    """
    present = ~np.isnan(values)
    weights = np.ones((values.shape[1], 1)) if weights is None else weights
    raters = np.ones((len(values), weights.shape[1])) if raters is None else raters
    levels = np.unique(values[present])
    if len(levels) < 2:
        return np.full(weights.shape[1], np.nan)
    code = np.searchsorted(levels, np.where(present, values, levels[0]))
    count = present.T.astype(np.float64) @ raters
    compared = count**2 - present.T.astype(np.float64) @ raters**2
    share = weights * np.divide(count, compared, out=np.zeros(compared.shape), where=compared > 0)
    size = len(levels)
    coincidences = np.zeros((size * size, weights.shape[1]))
    for r, s in itertools.permutations(range(len(values)), 2):
        both = np.flatnonzero(present[r] & present[s])
        if len(both):
            pairs = membership(code[r, both] * size + code[s, both], size * size) @ share[both]
            coincidences += pairs * raters[r] * raters[s]
    matrix = coincidences.T.reshape(-1, size, size)
    n = matrix.sum(axis=2)
    middle = np.cumsum(n, axis=1) - n / 2
    distance = (middle[:, :, None] - middle[:, None, :]) ** 2
    observed = (matrix * distance).sum(axis=(1, 2))
    expected = (n[:, :, None] * n[:, None, :] * distance).sum(axis=(1, 2))
    total = n.sum(axis=1)
    result: FloatArray = 1 - (total - 1) * observed / np.where(expected > 0, expected, np.nan)
    return result


def _icc(rated: Rated, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """ICC(1,1) and ICC(1,k) of the one-way model with unequal numbers of ratings, over conversations with any."""
    present = rated.present
    count = present.sum(axis=0)
    kept = count > 0
    count, weights = count[kept].astype(np.float64), weights[kept]
    means = rated.means[kept]
    spread = (np.where(present, rated.values - rated.means, 0.0)[:, kept] ** 2).sum(axis=0)
    items, total = weights.sum(axis=0), count @ weights
    grand = np.divide((count * means) @ weights, total, out=np.full(len(total), np.nan), where=total > 0)
    between = (count * means**2) @ weights - total * grand**2
    within = spread @ weights
    # Rounding must not make variation of none.
    between = np.where(between <= 1e-9 * np.maximum(total * grand**2, 1.0), 0.0, between)
    with np.errstate(invalid="ignore", divide="ignore"):
        ms_between = between / np.where(items > 1, items - 1, np.nan)
        ms_within = within / np.where(total > items, total - items, np.nan)
        k = (total - (count**2 @ weights) / total) / (items - 1)
        below = ms_between + (k - 1) * ms_within
        single = (ms_between - ms_within) / np.where(below > 0, below, np.nan)
        mean = (ms_between - ms_within) / np.where(ms_between > 0, ms_between, np.nan)
    return single, mean


def _ceiling(rated: Rated, weights: FloatArray, raters: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Raters, and the judge, against the mean of the other raters; and the difference on what the judge scored."""
    present, width = rated.present, weights.shape[1]
    count = present.sum(axis=0)
    total = np.where(present, rated.values, 0.0).sum(axis=0)
    alone, beside, judged = (np.full((len(rated.raters), width), np.nan) for _ in range(3))
    for r in range(len(rated.raters)):
        kept = np.flatnonzero(present[r] & (count > 1))
        others = (total[kept] - rated.values[r, kept]) / (count[kept] - 1)
        alone[r] = spearman(rated.values[r, kept], others, weights[kept])
        scored = ~np.isnan(rated.judge[kept])
        both, others = kept[scored], others[scored]
        beside[r] = spearman(rated.values[r, both], others, weights[both])
        judged[r] = spearman(rated.judge[both], others, weights[both])
    unusable = np.isnan(beside) | np.isnan(judged)
    beside[unusable] = judged[unusable] = np.nan
    mean_judged = _weighted_mean(judged, raters)
    return _weighted_mean(alone, raters), mean_judged, mean_judged - _weighted_mean(beside, raters)


@dataclass(frozen=True)
class _WithJudge:
    pooled: tuple[FloatArray, FloatArray]
    within: tuple[FloatArray, FloatArray]
    between: tuple[FloatArray, FloatArray]
    inversions: tuple[tuple[str, str], ...]
    system_pairs: int
    accuracy: FloatArray
    pairs: int
    bias: Mapping[str, Estimate]


def _with_judge(rated: Rated, weights: FloatArray, drawn: FloatArray, seed: int) -> _WithJudge:
    kept = np.flatnonzero(~np.isnan(rated.judge) & ~np.isnan(rated.means))
    people, judge = rated.means[kept], rated.judge[kept]
    weights, system, scenario = weights[kept], rated.system[kept], rated.scenario[kept]
    count, width = len(rated.systems), weights.shape[1]
    rho, tau = np.full((count, width), np.nan), np.full((count, width), np.nan)
    for s in range(count):
        own = system == s
        rho[s] = spearman(people[own], judge[own], weights[own])
        tau[s] = kendall(people[own], judge[own], weights[own])
    once = np.ones((count, width))
    of_people = group_means(people, system, count, weights)
    of_judge = group_means(judge, system, count, weights)
    both = ~np.isnan(of_people[:, 0]) & ~np.isnan(of_judge[:, 0])
    ordered = [
        (a, b)
        for a, b in itertools.permutations(np.flatnonzero(both), 2)
        if of_people[a, 0] > of_people[b, 0] + _ROUNDING
    ]
    difference = of_judge - of_people
    correct, place = _ordered_alike(people, judge, system, scenario, drawn, seed)
    share = drawn[place]
    chosen = share.sum(axis=0)
    return _WithJudge(
        pooled=(spearman(people, judge, weights), kendall(people, judge, weights)),
        within=(_weighted_mean(rho, once), _weighted_mean(tau, once)),
        between=(
            pearson(_ranks(of_people[both]), _ranks(of_judge[both]), once[both]),
            kendall_of_columns(of_people[both], of_judge[both]),
        ),
        inversions=tuple(
            (rated.systems[a], rated.systems[b]) for a, b in ordered if of_judge[a, 0] < of_judge[b, 0] - _ROUNDING
        ),
        system_pairs=len(ordered),
        accuracy=np.divide(correct.astype(np.float64) @ share, chosen, out=np.full(width, np.nan), where=chosen > 0),
        pairs=len(correct),
        bias={
            name: Estimate.of(difference[s], NOT_JUDGED if np.isnan(of_judge[s, 0]) else NOT_RATED)
            for s, name in enumerate(rated.systems)
        },
    )


_ROUNDING = 1e-9
"""Means that differ by less are equal."""


def _ordered_alike(
    people: FloatArray, judge: FloatArray, system: Ints, scenario: Ints, drawn: FloatArray, seed: int
) -> tuple[NDArray[np.bool_], Ints]:
    """Per pair of conversations of one scenario whether the judge orders it as people do, and its scenario.

    A pair that people tie is ordered alike if the judge's difference is at most epsilon. Epsilon is what serves best on
    the other half of the scenarios.
    """
    first, second = [], []
    for place in np.unique(scenario):
        for i, j in itertools.combinations(np.flatnonzero(scenario == place), 2):
            if system[i] != system[j]:
                first.append(i)
                second.append(j)
    a, b = np.array(first, np.int64), np.array(second, np.int64)
    by_people = np.where(np.abs(people[a] - people[b]) < _ROUNDING, 0.0, people[a] - people[b])
    by_judge = judge[a] - judge[b]
    half = np.random.default_rng((seed, _HALVES)).permutation(len(drawn)) % 2
    side = half[scenario[a]] if len(a) else np.empty(0, np.int64)
    correct = np.zeros(len(a), bool)
    for mine in (0, 1):
        other = side != mine
        epsilon = _best_epsilon(by_people[other], by_judge[other])
        correct[side == mine] = _alike(by_people[side == mine], by_judge[side == mine], epsilon)
    return correct, scenario[a] if len(a) else np.empty(0, np.int32)


def _best_epsilon(by_people: FloatArray, by_judge: FloatArray) -> float:
    steps = np.unique(np.concatenate([[0.0], np.abs(by_judge)]))
    right = [int(_alike(by_people, by_judge, float(step)).sum()) for step in steps]
    return float(steps[int(np.argmax(right))])


def _alike(by_people: FloatArray, by_judge: FloatArray, epsilon: float) -> NDArray[np.bool_]:
    tied = np.abs(by_judge) <= epsilon + _ROUNDING
    return np.where(by_people == 0, tied, ~tied & (np.sign(by_people) == np.sign(by_judge)))


def _ranks(columns: FloatArray) -> FloatArray:
    """Mean ranks within each column."""
    lower = (columns[None, :] < columns[:, None]).sum(axis=1)
    equal = (columns[None, :] == columns[:, None]).sum(axis=1)
    return np.where(np.isnan(columns), np.nan, lower + (equal + 1) / 2)


def _weighted_mean(rows: FloatArray, weights: FloatArray) -> FloatArray:
    """Over the rows that are there, per column."""
    there = ~np.isnan(rows)
    total = np.where(there, weights, 0.0).sum(axis=0)
    summed = np.where(there, rows * weights, 0.0).sum(axis=0)
    means: FloatArray = np.full(len(total), np.nan)
    np.divide(summed, total, out=means, where=total > 0)
    return means


def _estimated(values: FloatArray, rated: Rated, raters: int, why: str = NO_VARIATION) -> Estimate:
    """``raters``: how many have to have rated one conversation for there to be a figure."""
    if not rated.present.any():
        return Estimate.missing(NOT_RATED)
    if rated.present.sum(axis=0).max() < raters:
        return Estimate.missing(FEW_RATERS)
    return Estimate.of(values, why)


def _judged(values: FloatArray, rated: Rated, raters: int, why: str = NO_VARIATION) -> Estimate:
    if np.isnan(rated.judge).all():
        return Estimate.missing(NOT_JUDGED)
    return _estimated(values, rated, raters, why)
