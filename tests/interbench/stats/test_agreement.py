"""Agreement against independent implementations, published examples, and raters and judges of known truth."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from interbench.stats.agreement import FEW_RATERS, FEW_SYSTEMS, NOT_JUDGED, Agreement, Rated, agree, ordinal_alpha
from interbench.stats.ranking import NO_VARIATION, Estimate, kendall, scenario_draws, spearman
from interbench.stats.scores import FloatArray

NAN = float("nan")
TEXTBOOK = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]
"""Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), example C; ordinal alpha 0.815."""
SHROUT_FLEISS = [[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]]
"""Shrout and Fleiss (1979), table 2: ICC(1,1) = 0.17, ICC(1,4) = 0.44."""


def alpha_by_pairs(table: list[list[float]]) -> float:
    """Ordinal alpha as it is defined, pair by pair, in plain Python."""
    units = [[row[u] for row in table if not math.isnan(row[u])] for u in range(len(table[0]))]
    units = [unit for unit in units if len(unit) > 1]
    n = Counter(value for unit in units for value in unit)
    total = sum(n.values())

    def distance(a: float, b: float) -> float:
        low, high = min(a, b), max(a, b)
        return (sum(n[g] for g in n if low <= g <= high) - (n[low] + n[high]) / 2) ** 2

    observed = sum(distance(a, b) / (len(unit) - 1) for unit in units for a, b in itertools.permutations(unit, 2))
    expected = sum(n[a] * n[b] * distance(a, b) for a in n for b in n if a != b)
    return 1 - (total - 1) * observed / expected if expected else NAN


def rated(
    values: Sequence[Sequence[float]] | FloatArray,
    judge: Sequence[float] | FloatArray | None = None,
    systems: int = 1,
) -> Rated:
    """Conversations in the order system by system."""
    table = np.array(values, float)
    n = table.shape[1] // systems
    return Rated(
        tuple(f"system-{s}" for s in range(systems)),
        tuple(f"scenario-{c}" for c in range(n)),
        tuple(f"r{r}" for r in range(len(table))),
        np.repeat(np.arange(systems), n).astype(np.int32),
        np.tile(np.arange(n), systems).astype(np.int32),
        table,
        np.full(table.shape[1], NAN) if judge is None else np.array(judge, float),
    )


def test_alpha_is_that_of_the_textbook() -> None:
    assert ordinal_alpha(np.array(TEXTBOOK))[0] == pytest.approx(0.815, abs=5e-4)
    assert alpha_by_pairs(TEXTBOOK) == pytest.approx(0.815, abs=5e-4)


@given(st.integers(0, 10_000))
def test_alpha_is_that_of_the_definition_on_tables_with_holes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    raters, units = rng.integers(2, 6), rng.integers(2, 25)
    table = rng.integers(1, rng.integers(2, 11), size=(raters, units)).astype(float)
    table[rng.random(table.shape) < 0.4 * rng.random()] = NAN
    mine, theirs = ordinal_alpha(table)[0], alpha_by_pairs(table.tolist())
    assert mine == pytest.approx(theirs, nan_ok=True)


def test_alpha_of_drawn_conversations_and_raters_is_that_of_a_table_with_them() -> None:
    table = np.array(TEXTBOOK)
    drawn = np.array([2, 0, 1, 1, 3, 1, 0, 1, 1, 1, 1, 0])
    written_out = np.repeat(table, drawn, axis=1)
    assert ordinal_alpha(table, drawn[:, None].astype(float))[0] == pytest.approx(alpha_by_pairs(written_out.tolist()))
    without_first = ordinal_alpha(table, np.ones((12, 1)), np.array([[0.0], [1], [1], [1]]))[0]
    assert without_first == pytest.approx(alpha_by_pairs(TEXTBOOK[1:]))
    one_twice = ordinal_alpha(table[:2], np.ones((12, 1)), np.array([[2.0], [0]]))[0]
    assert math.isnan(one_twice), "a rater drawn twice must not agree with themselves"


def test_icc_is_that_of_shrout_and_fleiss() -> None:
    found = agree(rated(SHROUT_FLEISS), replicates=40)
    assert found.icc_single.value == pytest.approx(0.17, abs=5e-3)
    assert found.icc_mean.value == pytest.approx(0.44, abs=5e-3)


@given(st.integers(0, 10_000))
def test_correlations_of_draws_are_those_of_the_drawn_sample(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    x, y = rng.integers(1, 8, n).astype(float), rng.integers(1, 8, n).astype(float)
    drawn = rng.integers(0, 3, n)
    weights = np.stack([np.ones(n), drawn], axis=1).astype(float)
    rho, tau = spearman(x, y, weights), kendall(x, y, weights)
    for place, times in enumerate((np.ones(n, int), drawn)):
        a, b = np.repeat(x, times), np.repeat(y, times)
        if len(np.unique(a)) > 1 and len(np.unique(b)) > 1:
            assert rho[place] == pytest.approx(stats.spearmanr(a, b).statistic)
            assert tau[place] == pytest.approx(stats.kendalltau(a, b).statistic)
        else:
            assert np.isnan(rho[place]) and np.isnan(tau[place])


def crowd(
    seed: int, raters: int = 4, systems: int = 3, scenarios: int = 60, noise: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    """True qualities, and unbiased raters of them, (n,) and (raters, n)."""
    rng = np.random.default_rng(seed)
    truth = (5.5 + np.arange(systems)[:, None] + rng.normal(0, 1.2, (systems, scenarios))).ravel()
    return truth, np.clip(np.round(truth + rng.normal(0, noise, (raters, len(truth)))), 1, 10)


def test_a_judge_that_is_a_rater_is_as_good_as_a_rater() -> None:
    truth, values = crowd(1, raters=5)
    found = agree(rated(values[:4], values[4], systems=3), replicates=200)
    low, high = found.judge_above_rater.lo, found.judge_above_rater.hi
    assert low is not None and high is not None and low < 0 < high
    noisy = np.round(truth + np.random.default_rng(2).normal(0, 6, len(truth)))
    worse = agree(rated(values, noisy, systems=3), replicates=200)
    assert worse.judge_above_rater.hi is not None and worse.judge_above_rater.hi < 0
    assert found.accuracy.value is not None and worse.accuracy.value is not None
    assert found.accuracy.value > worse.accuracy.value + 0.1


def test_raters_of_known_kinds() -> None:
    truth, honest = crowd(3)
    base = agree(rated(honest, systems=3), replicates=200)
    lenient, reversed_, clicking = honest.copy(), honest.copy(), honest.copy()
    lenient[0] = np.clip(honest[0] + 2, 1, 10)
    reversed_[0] = 11 - honest[0]
    clicking[0] = np.random.default_rng(0).integers(1, 11, len(truth))
    found = {
        name: agree(rated(values, systems=3), replicates=200)
        for name, values in (("lenient", lenient), ("reversed", reversed_), ("clicking", clicking))
    }

    def alpha(of: Agreement) -> float:
        assert of.alpha.value is not None
        return of.alpha.value

    assert alpha(base) > alpha(found["lenient"]) > alpha(found["clicking"]) > alpha(found["reversed"])
    rho, base_rho = found["lenient"].ceiling.value, base.ceiling.value
    assert rho is not None and base_rho is not None
    assert rho == pytest.approx(base_rho, abs=0.07), "who is lenient still orders alike"
    assert base.alpha.lo is not None and base.alpha.hi is not None
    assert base.alpha.lo < alpha(base) < base.alpha.hi


def test_agreement_between_systems_is_not_taken_for_agreement_within() -> None:
    """Simpson's trap: a judge that knows the systems apart and, within each, orders against people."""
    _, values = crowd(5, systems=8, scenarios=20, noise=0.1)
    people = values.mean(axis=0).reshape(8, 20)
    center = people.mean(axis=1, keepdims=True)
    found = agree(rated(values, (4 * center - 0.5 * people).ravel(), systems=8), replicates=60)
    pooled, within, between = (e.value for e in (found.pooled_spearman, found.within_spearman, found.between_spearman))
    assert pooled is not None and within is not None and between is not None
    assert pooled > 0.5 and within < -0.9 and between > 0.95
    few = agree(rated(values[:, :60], people[:3].ravel(), systems=3), replicates=40)
    assert few.between_spearman == Estimate.missing(FEW_SYSTEMS)
    assert few.inversions == () and few.system_pairs == 3


def test_inversions_name_the_one_that_people_prefer_first() -> None:
    values = [[9, 9, 5, 5, 1, 1]]
    found = agree(rated(values, [1, 1, 5, 5, 9, 9], systems=3), replicates=40)
    assert set(found.inversions) == {
        ("system-0", "system-1"), ("system-0", "system-2"), ("system-1", "system-2"),
    }  # fmt: skip
    assert found.between_tau.value == -1 and found.bias["system-0"].value == -8


def test_no_variation_is_no_figure() -> None:
    found = agree(rated([[5, 5, 5, 5], [5, 5, 5, 5]], [3, 4, 5, 6], systems=2), replicates=40)
    for figure in (found.alpha, found.icc_single, found.icc_mean, found.ceiling, found.pooled_spearman):
        assert figure == Estimate.missing(NO_VARIATION)
    alone = agree(rated([[5, 6, 7, 8]], systems=2), replicates=40)
    assert alone.alpha == Estimate.missing(FEW_RATERS)
    assert alone.pooled_tau == Estimate.missing(NOT_JUDGED)


def test_ties_are_counted_and_their_width_comes_from_the_other_half() -> None:
    rng = np.random.default_rng(0)
    scenarios = 80
    a = rng.integers(4, 8, scenarios).astype(float)
    b = np.where(rng.random(scenarios) < 0.5, a, a + 2)
    judge = np.concatenate([a, b]) + rng.uniform(-0.2, 0.2, 2 * scenarios)
    people = np.concatenate([a, b])[None]
    found = agree(rated(people, judge, systems=2), replicates=40)
    assert found.accuracy.value is not None and found.accuracy.value > 0.95
    assert found.pairs == scenarios


def test_draws_begin_with_everything_once_and_are_the_same_every_time() -> None:
    drawn = scenario_draws(7, 50, seed=3)
    assert (drawn[:, 0] == 1).all() and (drawn.sum(axis=0) == 7).all()
    assert (drawn == scenario_draws(7, 50, seed=3)).all()
    assert (drawn != scenario_draws(7, 50, seed=3, stream=1)).any()


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Spearman of a judge with known correlation, over many small studies."""
    population_truth, population = crowd(0, raters=1, systems=1, scenarios=40_000)
    judge = population_truth + np.random.default_rng(9).normal(0, 1, 40_000)
    true = stats.spearmanr(population[0], judge).statistic
    covered = 0
    for trial in range(40):
        part = slice(trial * 100, (trial + 1) * 100)
        estimate = agree(rated(population[:, part], judge[part]), replicates=200, seed=trial).pooled_spearman
        assert estimate.lo is not None and estimate.hi is not None
        covered += estimate.lo <= true <= estimate.hi
    assert covered >= 33
